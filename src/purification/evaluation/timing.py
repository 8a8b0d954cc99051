"""How long a latent search takes (Defense-GAN, appendix G, Table 13).

Wall times of the search alone: images, starts and networks are on the device before the clock
starts, and the clock stops when the device is done. Nothing else should run on the machine
meanwhile. Times are the one result here that no seed repeats.
"""

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from purification import randomness
from purification.guests import refuse_not_finite
from purification.models.checkpoints import load_network
from purification.purifiers.defense_gan import draw_starts
from purification.purifiers.descent import SearchSettings
from purification.purifiers.latent_search import latent_search
from purification.runtime import progress
from purification.storage import read_split

_ENDS = ("", "_q1", "_q3")
LEAST_GAIN = 0.05
"""A batch twice as large pays if it makes at least this share more images a second."""


@dataclass(frozen=True)
class BestBatch:
    """The batch that pays, what was tried on the way to it, and why no larger one was.

    `tried` maps a batch size to its images a second. `stopped`: "gain" (twice as many images were
    less than `LEAST_GAIN` faster), "memory" (they did not fit), "limit" (none larger is allowed).
    """

    batch: int
    tried: Mapping[int, float]
    stopped: str


@dataclass(frozen=True)
class SearchTime:
    """Seconds of each repeat of one search over `batch` images.

    `measurement`: "latency", a single image, or "throughput", the best batch.
    """

    steps: int
    restarts: int
    measurement: str
    batch: int
    seconds: tuple[float, ...]
    best: BestBatch


def describe_device(device: torch.device) -> dict[str, Any]:
    """What the times are of: `device` (the GPU's name, or the CPU's model), `threads` of torch on
    the CPU, and torch's version."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else _cpu_name()
    return {"device": name, "threads": torch.get_num_threads(), "torch": str(torch.__version__)}


def describe_images(images: Tensor) -> dict[str, Any]:
    """`describe_device` of the images' device, their `dtype`, and `image_shape` as "1x28x28"."""
    return {
        **describe_device(images.device),
        "dtype": str(images.dtype).removeprefix("torch."),
        "image_shape": "x".join(map(str, images.shape[1:])),
    }


def seconds_of(
    run: Callable[[int], object],
    *,
    repeats: int,
    device: torch.device,
    warm_up: Callable[[], object] | None = None,
) -> tuple[float, ...]:
    """Wall seconds of `run(0)`, ..., `run(repeats - 1)`, one by one.

    `warm_up` (by default `run(0)`) is called before, unmeasured: it loads kernels, chooses
    algorithms and fills the allocator's cache. On CUDA, which computes behind Python's back, the
    clock waits for the device at both ends.
    """
    (warm_up or (lambda: run(0)))()
    return tuple(wall_seconds(partial(run, repeat), device) for repeat in range(repeats))


def find_best_batch(seconds_of_batch: Callable[[int], float], largest: int) -> BestBatch:
    """Doubles the batch from 1 as long as that pays, up to `largest` images (tried itself, too).

    `seconds_of_batch` gives the seconds that a batch takes; it may raise torch.OutOfMemoryError,
    which for a single image is passed on. The best batch is the last that paid: one that makes a
    few per cent more images a second takes twice the memory, and twice as long for an answer.
    """
    best, tried = 1, {1: 1 / seconds_of_batch(1)}
    while best < largest:
        batch = min(2 * best, largest)
        with suppress(torch.OutOfMemoryError):
            tried[batch] = batch / seconds_of_batch(batch)
        if batch not in tried:  # out of the handler, which would keep the failed search's memory
            torch.cuda.empty_cache()
            return BestBatch(best, tried, "memory")
        if tried[batch] < (1 + LEAST_GAIN) * tried[best]:
            return BestBatch(best, tried, "gain")
        best = batch
    return BestBatch(best, tried, "limit")


def time_search(
    generator: nn.Module,
    images: Tensor,
    starts: Tensor,
    search: SearchSettings,
    *,
    steps: Sequence[int],
    restarts: Sequence[int],
    repeats: int,
    largest_batch: int,
) -> list[SearchTime]:
    """Times `latent_search` for each number of restarts R and of steps L.

    For each R the best batch is found once, at the least L, and serves every L: all steps of a
    search cost the same time and memory. Then for each L come a single image and the best batch,
    `repeats` times each, after a warm-up of the least L at the same batch. Each repeat takes the
    next images of the set, from its beginning again at its end.

    Args:
        generator: z (M, d) -> images (M, C, H, W), on the device, without gradients of weights.
        images: (N, C, H, W) in [0, 1], on the device, N at least `largest_batch`.
        starts: (at least max(restarts), d); the first R of them are used.
        search: its `steps` are not used.
        steps, restarts, repeats: each number at least 1.

    Returns:
        For each R and L, in the order given, a "latency" and a "throughput".

    Raises:
        ValueError: there are too few images or starts.
        FloatingPointError: a search's reconstructions are not finite.
        torch.OutOfMemoryError: a single image does not fit into the device's memory.
    """
    if len(images) < largest_batch:
        raise ValueError(f"largest_batch is {largest_batch}, but there are {len(images)} images")
    if len(starts) < max(restarts):
        raise ValueError(f"{max(restarts)} restarts need as many starts, got {len(starts)}")
    times = []

    def timed(length: int, count: int, batch: int) -> tuple[float, ...]:
        batches = [batch_of(images, repeat, batch) for repeat in range(repeats)]

        last: list[Tensor] = []

        def run(repeat: int, length: int = length) -> None:
            settings = replace(search, steps=length)
            found = latent_search(generator, batches[repeat], starts[:count], settings)
            last[:] = [found.reconstructions]

        def warm_up() -> None:
            run(0, length=min(steps))

        seconds = seconds_of(run, repeats=repeats, device=images.device, warm_up=warm_up)
        refuse_not_finite(last[0], f"the search of {length} steps: its reconstructions")
        return seconds

    with progress(len(restarts) * (1 + 2 * len(steps)), "timing", "search") as bar:
        for count in restarts:
            best = find_best_batch(
                lambda batch, count=count: float(np.median(timed(min(steps), count, batch))),
                largest_batch,
            )
            bar.update(restarts=count, batch=best.batch)
            for length in steps:
                for kind, batch in (("latency", 1), ("throughput", best.batch)):
                    seconds = timed(length, count, batch)
                    times.append(SearchTime(length, count, kind, batch, seconds, best))
                    bar.update(seconds_per_image=float(np.median(seconds)) / batch)
    return times


def timing_rows(
    recipe: Mapping[str, Any], files: Mapping[str, str], device: torch.device
) -> list[dict[str, Any]]:
    """The rows of a `Timing` recipe's file: real test images, the trained generator, float32.

    The starts are those of the defence. `files` are the paths of `dataset` and `generator`. Raises
    ValueError if the data set has fewer test images than the largest batch.
    """
    wanted, network = recipe["settings"], recipe["generator"]
    images, _ = read_split(files["dataset"], "test", wanted["largest_batch"])
    random = randomness.generator(recipe["seed"], recipe["defense"], "starts")
    starts = draw_starts(max(wanted["restarts"]), network["settings"]["latent"], random)
    generator = load_network(files["generator"], network["kind"]).requires_grad_(False)
    given = torch.from_numpy(images).to(device)
    search = SearchSettings(steps=0, **recipe["search"])
    times = time_search(generator.to(device), given, starts.to(device), search, **wanted)
    labels = {"dataset": recipe["dataset"]["name"]}
    labels |= {name: recipe[name] for name in ("seed", "defense")}
    facts = describe_images(given)
    facts |= {name: network["settings"].get(name) for name in ("latent", "width")}
    return [labels | _summary(time) | facts for time in times]


def quartiles(name: str, values: np.ndarray) -> dict[str, float]:
    """The median as `name`, the quartiles as `name`_q1 and `name`_q3, to six digits."""
    low, median, high = map(_short, np.quantile(values, (0.25, 0.5, 0.75)))
    return {f"{name}{end}": value for end, value in zip(_ENDS, (median, low, high), strict=True)}


def _summary(time: SearchTime) -> dict[str, Any]:
    low, median, high = np.quantile(time.seconds, (0.25, 0.5, 0.75)) / time.batch
    names = [f"{n}{end}" for n in ("seconds_per_image", "images_per_second") for end in _ENDS]
    values = map(_short, (median, low, high, 1 / median, 1 / high, 1 / low))
    return {
        **{"iterations_L": time.steps, "restarts_R": time.restarts},
        **{"measurement": time.measurement, "batch": time.batch, "repeats": len(time.seconds)},
        **dict(zip(names, values, strict=True)),
        "batches_tried": _listed(time.best.tried),
        "images_per_second_tried": _listed(map(_short, time.best.tried.values())),
        "stopped": time.best.stopped,
    }


def _short(number: float) -> float:
    """Six significant digits, more than any clock here gives."""
    return float(f"{number:.6g}")


def _listed(values: Iterable[Any]) -> str:
    return " ".join(map(str, values))


def batch_of(images: Tensor, repeat: int, batch: int) -> Tensor:
    """The images of a repeat: (batch, C, H, W)."""
    rows = torch.arange(repeat * batch, (repeat + 1) * batch, device=images.device) % len(images)
    return images[rows]


def wall_seconds(run: Callable[[], object], device: torch.device) -> float:
    """Of `run()`, with what the device computes for it."""
    _wait_for(device)
    start = perf_counter()
    run()
    _wait_for(device)
    return perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _cpu_name() -> str:
    """The CPU's model where the system tells it (Linux), else the best that Python knows."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
