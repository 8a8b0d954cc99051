"""The quality of a run's generators as rows of a table, beside that of real images.

What is compared with real test images, as many of each: images of codes that the generator was
trained to make images of (`samples.PRIORS`), several draws of them; and real validation images, the
floor that a perfect generator would reach. The numbers are in words in `generator_quality`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from purification.evaluation.generator_quality import (
    classifier_features,
    frechet_distance,
    generated_images,
    precision_and_recall,
)
from purification.evaluation.quality_columns import MEASURES, QUALITY_COLUMNS, REAL
from purification.evaluation.samples import PRIORS
from purification.models.checkpoints import load_network, load_snapshot
from purification.randomness import generator
from purification.storage import read_split

_KINDS = {"Generator": "wgan_gp", "AEGAN": "ae_gan", "BiGAN": "bigan", "GAN": "gan"}
_KINDS |= {"Diffusion": "diffusion"}
"""The config's name of each kind of network."""


def quality_rows(
    recipe: Mapping[str, Any], files: Mapping[str, str], device: torch.device
) -> list[dict[str, Any]]:
    """Rows (keys: `QUALITY_COLUMNS`) of a `GeneratorQuality` recipe: validation images, then each
    generator, its snapshots first. `files` are the recipe's inputs by name.

    If there are fewer validation images than test images, they are compared with as many of these:
    `n` of their row is smaller, and their distance greater than it would be with more. All
    snapshots of a training are given the same codes as its end.

    Raises FileNotFoundError; ValueError: a file is not what its name says, a generator has no
    prior, or there are fewer than 4 validation or test images.
    """
    classifier = load_network(files["classifier"], "Classifier")

    def features(images: Tensor) -> Tensor:
        return classifier_features(classifier, images, device=device)

    test, validation = (
        torch.from_numpy(read_split(files["dataset"], split)[0]) for split in ("test", "validation")
    )
    n = min(len(test), recipe["images"] or len(test))
    fewer = min(n, len(validation))
    common = {"dataset": recipe["dataset"]["name"], "seed": recipe["seed"]}
    common = dict.fromkeys(QUALITY_COLUMNS) | common | {"features": recipe["classifier"]["name"]}
    sets = [features(_spread(images, fewer)) for images in (test, validation)]
    rows = [common | {"kind": REAL, "snapshot": False, "n": fewer} | _measures(sets[0], sets[1:])]
    real = features(_spread(test, n))
    for made in recipe["generators"]:
        for named, network in _networks(made, files):
            draws = [_codes(made, n, network.latent, str(d)) for d in range(recipe["draws"])]
            # Of a network that has more parts than one.
            part = getattr(network, "generator", network)
            found = [features(generated_images(part, z, device=device)) for z in draws]
            rows.append(common | named | {"n": n} | _measures(real, found))
    return rows


def _measures(real: Tensor, draws: list[Tensor]) -> dict[str, float | None]:
    """Mean and, of several draws, standard deviation of each of `MEASURES`."""
    found = torch.tensor(
        [(frechet_distance(real, each), *precision_and_recall(real, each)) for each in draws],
        dtype=torch.float64,
    )
    spread = found.std(dim=0).tolist() if len(draws) > 1 else [None] * len(MEASURES)
    deviations = {f"{name}_sd": value for name, value in zip(MEASURES, spread, strict=True)}
    return dict(zip(MEASURES, found.mean(dim=0).tolist(), strict=True)) | deviations


def _codes(made: Mapping[str, Any], count: int, latent: int, draw: str) -> Tensor:
    kind, settings = made["kind"], made["settings"]
    if kind not in PRIORS or settings.get("adversarial") == "none":
        raise ValueError(f"generator {made['name']}: no codes are known that it makes images of")
    random = generator(made["seed"], "quality", made["name"], draw)
    return PRIORS[kind](count, latent, random)


def _networks(
    made: Mapping[str, Any], files: Mapping[str, str]
) -> Iterator[tuple[dict[str, Any], nn.Module]]:
    """A generator's snapshots and its end, each with the columns that name it."""
    name, settings = made["name"], made["settings"]
    named = {key: settings.get(key) for key in ("width", "latent", "iterations", "epochs")}
    named |= {"generator": name, "kind": _KINDS[made["kind"]], "snapshot": False}
    for step in settings.get("snapshots", ()):
        # The last one may be the network itself.
        if step < settings["iterations"]:
            network = load_snapshot(files[f"snapshots_{name}"], step)
            yield named | {"iterations": step, "snapshot": True}, network
    yield named, load_network(files[f"generator_{name}"], made["kind"])


def _spread(images: Tensor, count: int) -> Tensor:
    """Not the first ones: MNIST's first 5,000 test images are the easier ones."""
    return images[:: len(images) // count][:count]
