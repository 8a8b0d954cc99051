"""What Defense-GAN's accuracy in the gray box depends on, one thing varied at a time.

    python benchmarks/purification_ablation.py --dataset results/mnist/dataset.h5
        --attacked results/mnist/seed0/classifiers/originals/A.safetensors
        --generators results/mnist/seed0/generators/*.safetensors
        [--classifiers FILE ...] [--epsilons 0 0.1 0.2 0.3] [--steps 50] [--restarts 4]
        [--starts published prior] [--codes free sphere] [--step-sizes 10] [--momenta 0.7]
        [--prune STEP:RESTARTS ...] [--precision float32] [--images 500]
        [--threads 1] --output ablation.csv

FGSM is computed on the bare classifier `--attacked`; each attacked image is then searched for on
the range of each generator, and what is found is read by `--attacked` and by `--classifiers`. All L
and R come from one search, unless restarts are pruned: `--prune 3:4 8:1` keeps the best four after
step 3 and the best after step 8. Starts have the published code's standard deviation sqrt(1/latent)
or, "prior", the 1 of the codes that the generator was trained with. Codes are free as in the paper
or on the sphere of radius sqrt(latent), near which all codes of training lie, where the search is
for the z of G(sqrt(latent) z/||z||). The CSV is extended if it exists, a row for each of these,
step size, momentum, pruning, precision, epsilon, L, R and classifier:

    accuracy, low, high    of the classifier on what was found, with Wilson's 95 % interval
    undefended             accuracy of the same classifier on the images as they were attacked
    error                  mean square between attacked image and what was found
    error_to_clean         mean square between the clean image and what was found
    clean_error            mean square between clean image and attacked image
    latent_norm            mean ||z|| / sqrt(latent) of the code found: 1 on that sphere
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification import randomness
from purification.attacks.fgsm import fgsm
from purification.evaluation.accuracy import wilson_interval
from purification.models.checkpoints import load_network
from purification.models.prediction import predict
from purification.purifiers.base import reconstruction_error
from purification.purifiers.defense_gan import draw_starts
from purification.purifiers.latent_search import (
    SearchResult,
    SearchSettings,
    latent_search,
    sweep_search,
)
from purification.storage import read_split

BATCH = 250  # images


class OnSphere(nn.Module):
    """z (N, d) -> the generator's images of sqrt(d) z / ||z||."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor) -> Tensor:
        return self.generator(self.project(z))

    @staticmethod
    def project(z: Tensor) -> Tensor:
        return functional.normalize(z, dim=1) * z.shape[1] ** 0.5


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    images, labels = map(
        torch.from_numpy, read_split(options.dataset, "test", first=options.images)
    )
    names = [options.attacked, *options.classifiers]
    classifiers = {path: load_network(path, "Classifier") for path in dict.fromkeys(names)}
    attacked = {
        epsilon: in_batches(classifiers[options.attacked], images, labels, epsilon)
        for epsilon in options.epsilons
    }
    cells = list(product(options.steps, options.restarts))
    ways = product(
        options.generators, options.starts, options.codes, options.step_sizes, options.momenta
    )
    for path, begin, codes, size, momentum in ways:
        generator = load_network(path, "Generator").requires_grad_(False)
        random = randomness.generator(0, "benchmark")
        starts = draw_starts(max(options.restarts), generator.latent, random, begin)
        if codes == "sphere":
            generator = OnSphere(generator)
        settings = SearchSettings(
            max(options.steps), size, momentum, precision=options.precision, prune=options.prune
        )
        for epsilon, given in attacked.items():
            found = search(generator, given, starts, settings, cells)
            setting = {
                "generator": path,
                "attacked": options.attacked,
                "starts": begin,
                "codes": codes,
                "step_size": size,
                "momentum": momentum,
                "prune": " ".join(f"{step}:{kept}" for step, kept in options.prune),
                "precision": options.precision,
                "epsilon": epsilon,
            }
            rows = (
                {**setting, "steps": cell[0], "restarts": cell[1], **figures}
                for cell, results in found.items()
                for figures in measured(results, images, given, labels, classifiers)
            )
            append(options.output, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--attacked", required=True)
    parser.add_argument("--classifiers", nargs="*", default=[])
    parser.add_argument("--generators", nargs="+", required=True)
    parser.add_argument("--epsilons", nargs="+", type=float, default=[0.0, 0.1, 0.2, 0.3])
    parser.add_argument("--steps", nargs="+", type=int, default=[50])
    parser.add_argument("--restarts", nargs="+", type=int, default=[4])
    parser.add_argument(
        "--starts", nargs="+", choices=["published", "prior"], default=["published"]
    )
    parser.add_argument("--codes", nargs="+", choices=["free", "sphere"], default=["free"])
    parser.add_argument("--step-sizes", nargs="+", type=float, default=[10.0])
    parser.add_argument("--momenta", nargs="+", type=float, default=[0.7])
    parser.add_argument("--prune", nargs="*", type=stage, default=[], metavar="STEP:RESTARTS")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.prune = tuple(options.prune)
    return options


def stage(text: str) -> tuple[int, int]:
    step, kept = text.split(":")
    return int(step), int(kept)


def in_batches(classifier: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    batches = zip(images.split(BATCH), labels.split(BATCH), strict=True)
    return torch.cat([fgsm(classifier, *batch, epsilon=epsilon) for batch in batches])


def search(
    generator: nn.Module,
    images: Tensor,
    starts: Tensor,
    settings: SearchSettings,
    cells: list[tuple[int, int]],
) -> dict[tuple[int, int], dict[str, Tensor]]:
    """By (L, R): `reconstructions` (N, C, H, W) and `latents` (N, d) of all images."""
    parts = [cells_of(generator, batch, starts, settings, cells) for batch in images.split(BATCH)]
    return {
        cell: {
            name: torch.cat([getattr(part[cell], name) for part in parts])
            for name in ("reconstructions", "latents")
        }
        for cell in parts[0]
    }


def cells_of(
    generator: nn.Module,
    images: Tensor,
    starts: Tensor,
    settings: SearchSettings,
    cells: list[tuple[int, int]],
) -> dict[tuple[int, int], SearchResult]:
    """One sweep for all (L, R); with pruning, which a sweep cannot have, a search for each."""
    if not settings.prune:
        return sweep_search(generator, images, starts, settings, cells)
    return {
        (steps, restarts): latent_search(
            generator, images, starts[:restarts], replace(settings, steps=steps)
        )
        for steps, restarts in cells
    }


def measured(
    found: dict[str, Tensor],
    images: Tensor,
    given: Tensor,
    labels: Tensor,
    classifiers: dict[str, nn.Module],
) -> Iterator[dict[str, float | str]]:
    """A row for each classifier."""
    purified, latents = found["reconstructions"], found["latents"]
    for name, classifier in classifiers.items():
        correct = right(classifier, purified, labels)
        low, high = wilson_interval(correct, len(labels))
        yield {
            "classifier": name,
            "images": len(labels),
            "accuracy": correct / len(labels),
            "low": low,
            "high": high,
            "undefended": right(classifier, given, labels) / len(labels),
            "error": reconstruction_error(purified, given).mean().item(),
            "error_to_clean": reconstruction_error(purified, images).mean().item(),
            "clean_error": reconstruction_error(given, images).mean().item(),
            "latent_norm": (latents.norm(dim=1).mean() / latents.shape[1] ** 0.5).item(),
        }


def right(classifier: nn.Module, images: Tensor, labels: Tensor) -> int:
    return int((predict(classifier, images, device="cpu").argmax(dim=1) == labels).sum())


def append(path: Path, rows: Iterator[dict[str, float | str]]) -> None:
    rows = list(rows)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(
            "  ".join(
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in row.items()
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
