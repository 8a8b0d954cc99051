"""What bfloat16 costs on this CPU, computed or imitated, beside float32 in the same run.

    python benchmarks/bfloat16.py [--repeats 3]

Prints whether torch says that the CPU computes in bfloat16, and the seconds in both precisions of
(1) a training step of classifier A with 50 images of 28x28, (2) a latent search of 20 such images
(L = 25, R = 10 pruned to 4 after three steps, the generator of config/mnist_cpu.yaml). Untrained
weights: the arithmetic is the same.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from purification import randomness
from purification.models import half_precision
from purification.models.classifiers import build_classifier
from purification.models.wgan import Generator
from purification.purifiers.defense_gan import draw_starts
from purification.purifiers.descent import SearchSettings
from purification.purifiers.latent_search import latent_search
from purification.training.precision import in_precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    computed = half_precision.computes_in_bfloat16("cpu")
    print(f"this CPU computes in bfloat16: {'yes' if computed else 'no'}")
    half_precision.usable = _as_asked  # imitated where it is not computed
    for name, work in {"training step": _step, "search": _search}.items():
        seconds = {kind: _seconds(work(kind), repeats) for kind in ("float32", "bfloat16")}
        ratio = seconds["bfloat16"] / seconds["float32"]
        told = ", ".join(f"{kind} {value:.3f} s" for kind, value in seconds.items())
        print(f"{name}: {told}, ratio {ratio:.2f}")


def _as_asked(precision: Any, device: torch.device) -> Any:
    return precision


def _step(precision: Any) -> Callable[[], object]:
    random = randomness.generator(0, "benchmark")
    images = torch.rand(50, 1, 28, 28, generator=random)
    labels = torch.randint(10, (50,), generator=random)
    network: nn.Module = in_precision(build_classifier("A"), precision)
    optimizer = torch.optim.Adam(network.parameters())

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def _search(precision: Any) -> Callable[[], object]:
    random = randomness.generator(0, "benchmark")
    images = torch.rand(20, 1, 28, 28, generator=random)
    generator = Generator(latent=64, width=32)
    starts = draw_starts(10, generator.latent, random, "prior")
    settings = SearchSettings(25, prune=((3, 4),), precision=precision)
    return partial(latent_search, generator, images, starts, settings)


def _seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return median(taken)


if __name__ == "__main__":
    main()
