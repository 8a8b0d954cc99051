"""What attacks cost that ask the model again only about images that moved (`attacks.moved`).

    python benchmarks/attacks.py [--run results/digits/seed0] [--models A B white_box ...]
        [--settings cw cw_tuned] [--turns 3] [--threads 1] [--device cpu]

Takes the networks of a finished run (`snakemake results/table4.csv`): the classifiers A and B
alone, attacked on 100 test images, and A behind Defense-GAN (Defense-GAN-Rec; the default config's
L = 25, R = 2) by the true gradient and by BPDA, on 20. Each is attacked by `cw_l2` and by the plain
loop below, which runs the model for all images in all steps, through `run_attack` (with its look at
the clean images and its last predictions), in turns in one process.

A line for each says: seconds of the process on the CPU (on a GPU those that pass), the median of
all turns; the median of the turns' ratios; images in forward passes of the whole model; mean l2
norm and success rate; and by how much a pixel of both differs at most.
"""

import argparse
import math
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification import randomness
from purification.attacks import AttackResult, run_attack
from purification.evaluation.threat_models import attacked_model
from purification.models.checkpoints import load_network
from purification.purifiers import DefenseGAN, SearchSettings, draw_starts
from purification.storage import read_split

STEPS, RESTARTS = 25, 2  # of the default config
SETTINGS: dict[str, dict[str, Any]] = {
    "cw": {"learning_rate": 10.0, "constant": 100.0, "iterations": 100},
    "cw_tuned": {"learning_rate": 0.2, "constant": 5.0, "iterations": 50},
}  # of the default config, in one search step and with confidence 0
MODELS = {"A": 100, "B": 100, "white_box": 20, "white_box_bpda": 20}
"""By name: the number of images."""


def plain_cw(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    learning_rate: float,
    constant: float,
    iterations: int,
) -> Tensor:
    """`cw_l2`, one search step and confidence 0, by autograd and for all images in all steps."""
    own = functional.one_hot(labels, 10).bool()
    w = torch.atanh(0.999999 * (2 * images - 1)).requires_grad_()
    start = ((torch.tanh(w) + 1) / 2).detach()
    mean, square = torch.zeros_like(images), torch.zeros_like(images)
    best, best_norm = images, images.new_full((len(images),), math.inf)
    for step in range(1, iterations + 1):
        with torch.enable_grad():
            candidates = (torch.tanh(w) + 1) / 2
            logits = model(candidates)
            other = logits.masked_fill(own, -math.inf).amax(dim=1)
            margin = logits.masked_fill(~own, 0).sum(dim=1) - other
            distance = (candidates - start).square().flatten(1).sum(dim=1)
            loss = (distance + constant * margin.clamp(min=0)).sum()
        (gradient,) = torch.autograd.grad(loss, w)
        mean = mean.lerp(gradient, 0.1)
        square = square.lerp(gradient.square(), 0.001)
        spread = (square / (1 - 0.999**step)).sqrt() + 1e-8
        w = (w.detach() - learning_rate * (mean / (1 - 0.9**step) / spread)).requires_grad_()
        candidates = candidates.detach()
        norm = torch.linalg.vector_norm((candidates - images).flatten(1), dim=1)
        closer = (margin.detach() < 0) & (norm < best_norm)
        best = torch.where(closer.view(-1, 1, 1, 1), candidates, best)
        best_norm = torch.where(closer, norm, best_norm)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("results/digits/seed0"))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["cw"])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images, labels = (
        torch.from_numpy(part)
        for part in read_split(options.run.parent / "dataset.h5", "test", first=100)
    )
    print(
        f"{'model':<15} {'settings':<9} {'attack':<6} {'seconds':>8} {'ratio':>6} {'images':>7} "
        f"{'l2':>9} {'success':>8} {'apart':>8}"
    )
    for name in options.models:
        model = model_of(name, options.run).to(options.device)
        count = MODELS[name]
        for settings in options.settings:
            compare(name, model, images[:count], labels[:count], settings, options)


def model_of(name: str, run: Path) -> nn.Module:
    if name in ("A", "B"):
        return load_network(run / f"classifiers/plain/{name}.safetensors", "Classifier")
    generator = load_network(run / "generators/wgan_gp.safetensors", "Generator")
    random = randomness.generator(0, "benchmark")
    starts = draw_starts(RESTARTS, generator.latent, random)
    purifier = DefenseGAN(generator, starts, SearchSettings(STEPS))
    classifier = load_network(run / "classifiers/defense_gan/A.safetensors", "Classifier")
    return attacked_model(name, purifier, classifier)


def compare(
    name: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: str,
    options: argparse.Namespace,
) -> None:
    own = SETTINGS[settings]
    # By the name of this file, as a user's own attack is.
    attacks = {
        "plain": (f"{Path(__file__).stem}:plain_cw", own),
        "ours": ("cw_l2", own | {"binary_search_steps": 1, "confidence": 0.0}),
    }
    seconds: dict[str, list[float]] = {attack: [] for attack in attacks}
    passes, results = {}, {}
    for _ in range(options.turns):
        for attack, (method, own) in attacks.items():
            taken, passes[attack], results[attack] = once(method, model, images, labels, own)
            seconds[attack].append(taken)
    ratios = [plain / ours for plain, ours in zip(*seconds.values(), strict=True)]
    apart = (results["ours"].images - results["plain"].images).abs().max().item()
    for attack, result in results.items():
        ratio, far = (statistics.median(ratios), apart) if attack == "ours" else (1.0, 0.0)
        print(
            f"{name:<15} {settings:<9} {attack:<6} {statistics.median(seconds[attack]):>8.2f} "
            f"{ratio:>6.1f} {passes[attack]:>7} {result.l2.mean():>9.5f} "
            f"{result.success.float().mean():>8.3f} {far:>8.1e}",
            flush=True,
        )


def once(
    method: str, model: nn.Module, images: Tensor, labels: Tensor, settings: dict[str, Any]
) -> tuple[float, int, AttackResult]:
    """Seconds, images in forward passes, and what came of it."""
    passes = 0

    def count(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal passes
        passes += len(given[0])

    device = next(model.parameters()).device
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    handle = model.register_forward_pre_hook(count)
    started = clock()
    result = run_attack(
        *(method, model, images, labels),
        **{"indices": range(len(images)), "seed": 0, "batch_size": 100, "settings": settings},
    )
    taken = clock() - started
    handle.remove()
    return taken, passes, result


if __name__ == "__main__":
    main()
