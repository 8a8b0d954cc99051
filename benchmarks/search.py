"""The latent search, its gradient and WGAN-GP training against plain PyTorch and the peak rate.

    python benchmarks/search.py [--device cpu|cuda] [--preset small|large] [--threads N]
        [--parts search latency gradient training compile] [--limit SECONDS] [--output search.csv]

Prints a table and writes it as CSV, the machine described in its columns. The plain search and the
plain training are written here as public re-implementations write them: restarts one after the
other, weight gradients on, contiguous tensors, `.item()` in each step. "frozen" is that search with
`requires_grad_(False)` on the generator, as a careful user writes it, "frozen, autocast" the same
under autocast in bfloat16 (where the CPU computes in it). Variants that are compared
run in turns, and `seconds` is the median of their turns, so that other work on the machine hits
all of them alike; the ratios are what to read. With one thread on the CPU it is the
process's CPU time, else wall time. The network is Defense-GAN's (latent 128, width 64,
28x28), in part 4 also the digits' (64, 16), with random weights: no step's time depends on them.

`share of peak` divides the operations that the layers must do by the best rate measured in the same
run, in the same precision, of matrix products and 3x3 convolutions: of the two, MKL's products are
slower than oneDNN's convolutions on AMD. The share of start-up and imports in a whole run is
measured by benchmarks/overhead.py.
"""

import argparse
import csv
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional

from purification import randomness
from purification.models.wgan import Critic, Generator
from purification.purifiers import SearchSettings, draw_starts, latent_search
from purification.purifiers.search_network import matrix_precision, search_network
from purification.training.wgan_gp import train_wgan_gp

LATENT, WIDTH = 128, 64
DIGITS = 64, 16  # of the generator of config/config.yaml
# (L, R, images) of each part; "small" takes some four minutes on two cores.
PRESETS = {
    "small": {
        "search": [(10, 10, 50), (10, 1, 100)],
        "latency": [(200, 1, 1), (40, 1, 2), (40, 1, 4), (20, 1, 8), (10, 1, 20), (10, 1, 64)],
        "gradient": [(10, 1, 20), (40, 1, 20), (10, 4, 20), (10, 10, 20)],
        "digits": [(25, 1, 20), (25, 2, 20)],
        "training": 2,
    },
    "large": {
        "search": [(10, 10, 100), (200, 10, 100), (200, 10, 1000), (200, 1, 1000), (25, 10, 5000)],
        "latency": [(200, 10, 1), *((200, 1, count) for count in (1, 2, 4, 8, 20, 64))],
        "gradient": [(25, 1, 100), (100, 1, 100), (200, 1, 100), (200, 10, 100), (200, 20, 100)],
        "digits": [(25, 1, 100), (25, 2, 100)],
        "training": 100,
    },
}
Row = dict[str, str | float]


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    bench = Bench(device, deadline=time.monotonic() + options.limit, turns=options.turns)
    preset = PRESETS[options.preset]
    peaks = {precision: peak_rate(device, precision) for precision in precisions(device)}
    rows = [{"part": "peak", "what": name, "value": rate / 1e9, "unit": "GFLOP/s"}
            for name, rate in peaks.items()]  # fmt: skip
    show(rows)
    parts = {
        "search": lambda: searches(bench, preset["search"], peaks),
        "latency": lambda: latencies(bench, preset["latency"]),
        "gradient": lambda: [
            *gradients(bench, preset["gradient"], LATENT, WIDTH),
            *gradients(bench, preset["digits"], *DIGITS),
        ],
        "training": lambda: trainings(bench, preset["training"], peaks),
        "compile": lambda: compiled_steps(bench),
    }
    for name in options.parts:
        for row in parts[name]():
            rows.append(row)
            show([row])
    if options.output:
        write(options.output, rows, machine(device, options.threads))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--preset", choices=PRESETS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    names = ["search", "latency", "gradient", "training"]
    # torch.compile needs a C++ compiler, which not every machine has.
    parser.add_argument("--parts", nargs="+", choices=[*names, "compile"], default=names)
    parser.add_argument("--limit", type=float, default=240.0, help="no new turn after so long")
    parser.add_argument("--turns", type=int, default=5, help="of each variant at most")
    parser.add_argument("--output", type=Path, help="also write the table here, as CSV")
    options = parser.parse_args()
    options.preset = options.preset or ("small" if options.device == "cpu" else "large")
    return options


class Bench:
    """Measures variants in turns, on one device, until a deadline."""

    def __init__(self, device: torch.device, deadline: float, turns: int) -> None:
        self.device, self.deadline, self.turns = device, deadline, turns
        # A single thread's own time: it does not wait for the other work of a busy machine.
        alone = device.type == "cpu" and torch.get_num_threads() == 1
        self.clock = time.process_time if alone else time.perf_counter

    def seconds(self, variants: dict[str, Callable[[], object]]) -> dict[str, float]:
        """Median over the turns; one turn at least, after one pass to warm up."""
        for work in variants.values():
            self.once(work)
        times = {name: [] for name in variants}
        for turn in range(self.turns):
            if turn and time.monotonic() > self.deadline:
                break
            for name, work in variants.items():
                times[name].append(self.once(work))
        return {name: statistics.median(values) for name, values in times.items()}

    def once(self, work: Callable[[], object]) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        start = self.clock()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock() - start

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """What `work` needs beyond what is there before it, at the most.

        On the CPU the resident memory of the process, read each millisecond: memory that the
        process has and reuses is not seen, so measure the smallest first.
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            self.once(work)
            return torch.cuda.max_memory_allocated(self.device) - before
        process, done = psutil.Process(), threading.Event()
        before = peak = process.memory_info().rss

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.001):
                peak = max(peak, process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            work()
        finally:
            done.set()
            watcher.join()
        return peak - before


def precisions(device: torch.device) -> tuple[str, ...]:
    if device.type == "cuda":
        return "float32", "tf32", "bfloat16"
    # A CPU without bfloat16 arithmetic takes some hundred times as long.
    half = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return ("float32", "bfloat16") if half else ("float32",)


def new_generator(device: torch.device, latent: int = LATENT, width: int = WIDTH) -> Generator:
    with randomness.isolated_rng(0):
        return Generator(latent, width).eval().to(device)


def problem(
    images: int, restarts: int, device: torch.device, latent: int = LATENT
) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) and starts (R, latent)."""
    random = randomness.generator(0, "images")
    pictures = torch.rand(images, 1, 28, 28, generator=random).to(device)
    return pictures, draw_starts(restarts, latent, random).to(device)


# Part 1 and 2: images a second, and the share of the machine's rate


def searches(
    bench: Bench, cells: Iterable[tuple[int, int, int]], peaks: dict[str, float]
) -> Iterable[Row]:
    plain, arranged = new_generator(bench.device), frozen(bench.device)
    for steps, restarts, count in cells:
        images, starts = problem(count, restarts, bench.device)
        variants = {"plain": partial(plain_search, plain, images, starts, steps)}
        variants |= frozen_searches(bench.device, images, starts, steps)
        for precision in peaks:
            settings = SearchSettings(steps, precision=precision)
            variants[precision] = partial(latent_search, arranged, images, starts, settings)
            if bench.device.type == "cuda":
                graph = replace(settings, cuda_graph=True)
                variants[f"{precision}, graph"] = partial(
                    latent_search, arranged, images, starts, graph
                )
        seconds = bench.seconds(variants)
        work = count * restarts * (2 * steps + 1) * pass_operations(arranged)
        for name, taken in seconds.items():
            row = {
                "part": "search",
                "what": f"L={steps}, R={restarts}, {count} images, {name}",
                "value": count / taken,
                "unit": "images/s",
                "times plain": seconds["plain"] / taken,
                "times frozen": seconds["frozen"] / taken,
            }
            if "frozen, autocast" in seconds:
                row["times frozen, autocast"] = seconds["frozen, autocast"] / taken
            precision = name.removesuffix(", graph")
            if precision in peaks:
                row["share of peak"] = work / taken / peaks[precision]
            yield row


def frozen(device: torch.device, latent: int = LATENT, width: int = WIDTH) -> nn.Module:
    generator = new_generator(device, latent, width).requires_grad_(False)
    return generator.to(memory_format=torch.channels_last)


def frozen_searches(
    device: torch.device, images: Tensor, starts: Tensor, steps: int
) -> dict[str, Callable[[], Tensor]]:
    """The plain search through a generator without gradients of its weights."""
    generator = new_generator(device).requires_grad_(False)

    def half(z: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return generator(z).float()

    made_by = {"frozen": generator}
    if "bfloat16" in precisions(device):
        made_by["frozen, autocast"] = half
    return {
        name: partial(plain_search, make, images, starts, steps) for name, make in made_by.items()
    }


def plain_search(
    generator: Callable[[Tensor], Tensor], images: Tensor, starts: Tensor, steps: int
) -> Tensor:
    """Defense-GAN's search as public PyTorch re-implementations have it; reconstructions."""
    found, errors = [], []
    for start in starts:
        z = start.expand(len(images), -1).clone().requires_grad_()
        optimizer = torch.optim.SGD([z], lr=10.0, momentum=0.7)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = (generator(z) - images).square().flatten(1).mean(dim=1).sum()
            loss.backward()
            optimizer.step()
            loss.item()
        with torch.no_grad():
            found.append(generator(z))
            errors.append((found[-1] - images).square().flatten(1).mean(dim=1))
    best = torch.stack(errors).argmin(dim=0)
    return torch.stack(found)[best, torch.arange(len(images), device=images.device)]


def pass_operations(generator: Generator) -> float:
    """Operations of one image's forward pass, multiplications and additions, from the layers'
    shapes; the backward pass to z takes as many. Taps on the padding are not counted."""
    return 2.0 * generator.project.weight.numel() + sum(convolution_operations(generator))


def convolution_operations(generator: Generator) -> list[float]:
    """Those of each transposed convolution; the critic's convolutions take as many, in reverse."""
    found = []
    side = generator._start[1]
    for layer in generator.upsample:
        if isinstance(layer, nn.ConvTranspose2d):
            size = (side - 1) * 2 - 2 * layer.padding[0] + 5 + layer.output_padding[0]
            taps = sum(
                0 <= 2 * i - layer.padding[0] + k < size for i in range(side) for k in range(5)
            )
            found.append(2.0 * taps**2 * layer.in_channels * layer.out_channels)
            side = size
    return found


def peak_rate(device: torch.device, precision: str) -> float:
    """The most floating-point operations a second of matrix products and 3x3 convolutions."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    size, maps, side = (8192, 512, 56) if device.type == "cuda" else (1024, 128, 14)
    images = 64
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    x = torch.randn(images, maps, side, side, device=device).to(dtype)
    weight = torch.randn(maps, maps, 3, 3, device=device).to(dtype)
    x, weight = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, weight))
    # Of a side's 3 * side taps, 2 are on the padding.
    convolution = 2 * images * maps**2 * (3 * side - 2) ** 2
    bench = Bench(device, deadline=float("inf"), turns=1)
    with torch.no_grad(), matrix_precision(precision):
        products = min(bench.once(lambda: a @ b) for _ in range(12))
        convolve = min(
            bench.once(lambda: functional.conv2d(x, weight, padding=1)) for _ in range(12)
        )
    return max(2 * size**3 / products, convolution / convolve)


# Part 3: latency


def latencies(bench: Bench, cells: Iterable[tuple[int, int, int]]) -> Iterable[Row]:
    generator = frozen(bench.device)
    for steps, restarts, count in cells:
        images, starts = problem(count, restarts, bench.device)
        variants = frozen_searches(bench.device, images, starts, steps)
        for precision in precisions(bench.device):
            graph = bench.device.type == "cuda"
            settings = SearchSettings(steps, precision=precision, cuda_graph=graph)
            variants[precision] = partial(latent_search, generator, images, starts, settings)
        taken = bench.seconds(variants)
        for name, seconds in taken.items():
            baseline = "frozen, autocast" if name == "bfloat16" else "frozen"
            yield {
                "part": "latency",
                "what": f"L={steps}, R={restarts}, {count} images, {name}",
                "value": 1000 * seconds,
                "unit": "ms",
                f"times {baseline}": taken[baseline] / seconds,
            }


# Part 4: the white-box gradient


def gradients(
    bench: Bench, cells: Iterable[tuple[int, int, int]], latent: int, width: int
) -> Iterable[Row]:
    """A search and its gradient, in searches. Both take 2 L passes and one at R = 1."""
    generator = frozen(bench.device, latent, width)
    for steps, restarts, count in cells:
        images, starts = problem(count, restarts, bench.device, latent)
        settings = SearchSettings(steps)

        search = partial(latent_search, generator, images, starts, settings)
        gradient = partial(white_box, generator, images, starts, settings)
        name = f"width {width}, L={steps}, R={restarts}, {count} images"
        memory = bench.peak_bytes(gradient)
        seconds = bench.seconds({"search": search, "gradient": gradient})
        yield {
            "part": "gradient",
            "what": name,
            "value": seconds["gradient"],
            "unit": "s",
            "times search": seconds["gradient"] / seconds["search"],
            "peak MB": memory / 1e6,
        }


def white_box(
    generator: nn.Module, images: Tensor, starts: Tensor, settings: SearchSettings
) -> Tensor:
    images = images.clone().requires_grad_()
    found = latent_search(generator, images, starts, settings)
    return torch.autograd.grad(found.reconstructions.sum(), images)[0]


# Part 5: training


def trainings(bench: Bench, iterations: int, peaks: dict[str, float]) -> Iterable[Row]:
    random = randomness.generator(0, "training images")
    images = torch.rand(1000, 1, 28, 28, generator=random)
    with randomness.isolated_rng(0):
        plain = Generator(LATENT).to(bench.device), Critic().to(bench.device)
        ours = Generator(LATENT).to(bench.device), Critic().to(bench.device)

    def train(**arrangement: object) -> None:
        train_wgan_gp(
            *ours, images, iterations=iterations, batch_size=50, critic_steps=5,
            gradient_penalty=10.0, learning_rate=1e-4, betas=(0.5, 0.9), seed=0, state_path=None,
            state_every=iterations, recipe_digest="", device=bench.device, **arrangement,
        )  # fmt: skip

    for number, layer in enumerate(plain[1].features):
        if not isinstance(layer, nn.Conv2d | nn.Flatten):
            plain[1].features[number] = nn.LeakyReLU(0.2)
    half = {"precision": "bfloat16"}
    seconds = bench.seconds(
        {
            "plain": lambda: plain_training(*plain, images, iterations),
            "ours": train,
            "ours, fast convolutions": partial(train, fast_convolutions=True),
            "ours, bfloat16": partial(train, **half),
            "ours, bfloat16, fast convolutions": partial(train, fast_convolutions=True, **half),
        }
    )
    for name, taken in seconds.items():
        yield {
            "part": "training",
            "what": f"WGAN-GP, batch 50, {name}",
            "value": iterations / taken,
            "unit": "iterations/s",
            "times plain": seconds["plain"] / taken,
        }
    if bench.device.type == "cpu":
        work = iterations * training_operations(ours[0], batch_size=50, critic_steps=5)
        fast = {"float32": "ours, fast convolutions"}
        fast["bfloat16"] = "ours, bfloat16, fast convolutions"
        for precision, name in fast.items():
            share = share_of_convolutions(
                partial(train, fast_convolutions=True, precision=precision)
            )
            yield {
                "part": "training",
                "what": f"convolutions of {name}",
                "value": 100 * share,
                "unit": "% of the time",
                "share of peak": work / (share * seconds[name]) / peaks[precision],
            }


def share_of_convolutions(work: Callable[[], object]) -> float:
    """Of the time of all operators in `work`, by the profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        work()
    times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    names = ("mkldnn_convolution", "_convolution", "convolution_backward")
    return sum(times.get(f"aten::{name}", 0) for name in names) / sum(times.values())


def training_operations(generator: Generator, batch_size: int, critic_steps: int) -> float:
    """Of the convolutions in an iteration, which none of its arrangements can do without.

    A critic's step takes real and generated images forward, back to the first layer's maps and to
    the weights; mixed ones forward, back to the images, forward again and to the weights. A
    generator's takes its own passes forward, back and to the weights, the critic's forward and
    back.
    """
    layers = convolution_operations(generator)
    once = sum(layers)
    critic = 2 * (3 * once - layers[-1]) + 4 * once
    return batch_size * (critic_steps * (once + critic) + 5 * once)


def plain_training(
    generator: nn.Module, critic: nn.Module, images: Tensor, iterations: int
) -> None:
    """WGAN-GP as public PyTorch implementations have it: one batch at a time from a loader."""
    device = next(generator.parameters()).device
    generator.train()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images), batch_size=50, shuffle=True, drop_last=True
    )
    settings = {"lr": 1e-4, "betas": (0.5, 0.9)}
    critic_optimizer = torch.optim.Adam(critic.parameters(), **settings)
    generator_optimizer = torch.optim.Adam(generator.parameters(), **settings)
    batches = iter(loader)
    for _ in range(iterations):
        for _ in range(5):
            batch = next(batches, None)
            if batch is None:
                batches = iter(loader)
                batch = next(batches)
            real = batch[0].to(device)
            fake = generator(torch.randn(len(real), LATENT, device=device)).detach()
            mix = torch.rand(len(real), 1, 1, 1, device=device)
            mixed = (mix * real + (1 - mix) * fake).requires_grad_()
            scores = critic(mixed)
            (slope,) = torch.autograd.grad(
                scores, mixed, torch.ones_like(scores), create_graph=True, retain_graph=True
            )
            penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
            critic_optimizer.zero_grad()
            loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
            loss.backward()
            critic_optimizer.step()
            loss.item()
        generator_optimizer.zero_grad()
        loss = -critic(generator(torch.randn(50, LATENT, device=device))).mean()
        loss.backward()
        generator_optimizer.step()
        loss.item()


# Part 6: torch.compile


def compiled_steps(bench: Bench, rows: int = 64) -> Iterable[Row]:
    """One gradient of the search at `rows` codes, its network as it is and by torch.compile."""
    generator = frozen(bench.device)
    images, codes = problem(rows, rows, bench.device)

    def gradient(network: nn.Module) -> Tensor:
        z = codes.detach().requires_grad_()
        errors = (network(z) - images).square().flatten(1).mean(dim=1)
        return torch.autograd.grad(errors.sum(), z)[0]

    networks = {"plain": new_generator(bench.device).requires_grad_(False)}
    networks |= {name: search_network(generator, name) for name in ("float32", "bfloat16")}
    for name, network in networks.items():
        variants = {
            name: partial(gradient, network),
            f"{name}, compiled": partial(gradient, torch.compile(network)),
        }
        seconds = bench.seconds(variants)
        for variant, taken in seconds.items():
            yield {
                "part": "compile",
                "what": f"gradient at {rows} codes, {variant}",
                "value": 1000 * taken,
                "unit": "ms",
                "times eager": seconds[name] / taken,
            }


# The table


def show(rows: Iterable[Row]) -> None:
    for row in rows:
        more = "  ".join(
            f"{name} {row[name]:.2f}" for name in list(row)[4:] if not isinstance(row[name], str)
        )
        print(f"{row['part']:<9} {row['what']:<44} {row['value']:>10.4g} {row['unit']:<13} {more}")
        sys.stdout.flush()


def machine(device: torch.device, threads: int) -> dict[str, str | int]:
    name = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0].split(":")[1].strip() if models else name
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent, capture_output=True, text=True,
    )  # fmt: skip
    return {
        "processor": name,
        "cores": os.cpu_count() or 0,
        "threads": threads,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "",
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
    }


def write(path: Path, rows: list[Row], described: dict[str, str | int]) -> None:
    columns = ["part", "what", "value", "unit", "times plain", "times frozen", "share of peak"]
    columns += ["times frozen, autocast", "times search", "peak MB", "times eager", *described]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **described} for row in rows)


if __name__ == "__main__":
    main()
