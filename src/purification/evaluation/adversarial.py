"""Attacking a split of a data set as a recipe says, and the files of what comes of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from purification.attacks import AttackResult, run_attack
from purification.purifiers.loading import Purified
from purification.randomness import derive_seed
from purification.runtime import progress
from purification.storage import ImageSet, read_split, write_image_set


def attack_split(
    model: nn.Module, recipe: Mapping[str, Any], dataset: str, path: str, batch_size: int
) -> tuple[AttackResult, np.ndarray]:
    """Attack the first test images of the file `dataset` as an `AdversarialSet` recipe says.

    Returns the result and the true labels (N,). Random numbers come from the recipe's seed and the
    artifact's `path`. Raises as `run_attack`.
    """
    images, labels = read_split(dataset, "test", first=recipe["images"])
    attack = recipe["attack"]
    with progress(len(images), attack["name"], "image") as bar:
        result = run_attack(
            attack["method"],
            model,
            torch.from_numpy(images),
            torch.from_numpy(labels),
            indices=range(len(images)),
            seed=derive_seed(recipe["seed"], path),
            batch_size=batch_size,
            settings=attack["settings"],
            progress=bar,
        )
    return result, labels


def write_adversarial(
    path: str, result: AttackResult, labels: np.ndarray, recipe: Mapping[str, Any]
) -> None:
    """Write adversarial images with, per image, what `AttackResult` says; summary as attributes."""
    names = ("success", "predictions", "clean_predictions", "l2", "linf", "zero_gradient")
    fields = {name: getattr(result, name).numpy() for name in names}
    summary = attack_summary(fields, labels)
    write_image_set(
        path, ImageSet(result.images.numpy(), labels, fields, summary), recipe, recipe["seed"]
    )


def attack_summary(fields: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Success rate, mean l2 and linf norm, and share of zero gradients of an adversarial set.

    Norms are means over the images that the attack had to change and did: right before, wrong
    after. An image that was wrong before needs no change and a failure of CW is returned unchanged;
    both would make the attack look cheaper than it is. NaN if there is no such image.
    """
    changed = fields["success"] & (fields["clean_predictions"] == labels)
    return {
        "success_rate": float(fields["success"].mean()),
        "mean_l2": float(fields["l2"][changed].mean()) if changed.any() else float("nan"),
        "mean_linf": float(fields["linf"][changed].mean()) if changed.any() else float("nan"),
        "zero_gradient_share": float(fields["zero_gradient"].mean()),
    }


def write_purified(
    path: str, purified: Purified, labels: np.ndarray, recipe: Mapping[str, Any]
) -> None:
    """Write purified images with, their scores and reconstruction errors; means as attributes."""
    fields = {
        "score": purified.score.numpy(),
        "reconstruction_error": purified.reconstruction_error.numpy(),
    }
    means = {f"mean_{name}": float(values.mean()) for name, values in fields.items()}
    write_image_set(
        path, ImageSet(purified.images.numpy(), labels, fields, means), recipe, recipe["seed"]
    )
