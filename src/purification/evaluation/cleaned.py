"""The same attacked images, as each of several defences cleans them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from purification.evaluation.protocols import judging_seed
from purification.evaluation.purifiers import Files, fitted_purifier
from purification.evaluation.reconstructions import first_of_each_class
from purification.models.checkpoints import load_network
from purification.models.prediction import predict
from purification.purifiers.base import purified_by
from purification.randomness import draw_seeds, is_randomised
from purification.storage import ImageSet, read_image_set, read_split, write_image_sets

CLEAN, ATTACKED = "clean", "attacked"
"""The sets of a file beside those of the defences, which are called as these are."""
PURIFIED = "purified "
"""Begins the names of the defences' sets."""


def clean_by_each(recipe: Mapping[str, Any], files: Files, path: str, device: torch.device) -> None:
    """Writes what a `CleanedByEach` recipe says to `path`: sets of the first image of each class,
    those that are `clean` and `attacked`, and what each defence makes of the latter (`purified
    <name>`), each with the field `predictions`, the class that its classifier names.

    A randomised defence is shown on the first of the draws on which it is judged.

    `files` are the recipe's inputs by name. Raises FileNotFoundError; ValueError: a file is broken.
    """
    attacked = read_image_set(files["attacked"])
    chosen = first_of_each_class(attacked.labels, recipe["images"])
    images, labels = read_split(files["dataset"], "test", len(attacked.labels))
    plain = load_network(files["classifier"], "Classifier").to(device)
    given, truth = attacked.images[chosen], labels[chosen]
    sets = {CLEAN: _named(plain, images[chosen], truth, device)}
    sets[ATTACKED] = _named(plain, given, truth, device)
    for name, own in recipe["purifiers"].items():
        parts = {part: files[f"{name}_{part}"] for part in own["networks"]}
        purifier = fitted_purifier(own, {"dataset": files["dataset"], **parts}).to(device).eval()
        seeds = None
        if is_randomised(purifier):
            seeded = judging_seed({"seed": recipe["seed"], "purifier": own})
            seeds = draw_seeds(seeded, chosen.tolist(), 0)
        with torch.no_grad():
            made = purified_by(purifier, torch.from_numpy(given).to(device), seeds).cpu().numpy()
        deployed = load_network(files[f"{name}_classifier"], "Classifier").to(device)
        sets[f"{PURIFIED}{name}"] = _named(deployed, made, truth, device)
    write_image_sets(path, sets, recipe, recipe["seed"])


def _named(
    classifier: torch.nn.Module, images: np.ndarray, labels: np.ndarray, device: torch.device
) -> ImageSet:
    """A set with the classes that a classifier names."""
    logits = predict(classifier, torch.from_numpy(images), device=device)
    return ImageSet(images, labels, {"predictions": logits.argmax(dim=1).numpy()})
