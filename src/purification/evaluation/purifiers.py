"""Purifiers whose recipe leaves a threshold to validation images."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from purification.evaluation.detection import threshold_at
from purification.purifiers.loading import VALIDATION, from_recipe, load_purifier, purifier_class
from purification.storage import image_shape, read_field

Files = Mapping[str, str]
"""A recipe's inputs by name."""
BatchSize = int | Literal["auto"]


def fitted_purifier(
    recipe: Mapping[str, Any], files: Files, shape: tuple[int, int, int] | None = None
) -> nn.Module:
    """The purifier of a `Purifier` recipe, as `load_purifier` makes it. `shape`: (C, H, W), where
    no file of images tells it.

    The threshold of an inference rule (AE-GAN+rs, section 3.2) is the score above which lies the
    recipe's `false_positive_rate` of the validation images that `files` has the scores of.
    """
    if VALIDATION in recipe["networks"]:
        scores = read_field(files[VALIDATION], "score")
        threshold = threshold_at(scores, recipe["settings"]["false_positive_rate"])
        recipe = {**recipe, "settings": {**recipe["settings"], "threshold": threshold}}
    if shape is None and takes_shape(recipe["method"]):
        shape = image_shape(files.get("attacked") or files["dataset"])
    return load_purifier(recipe, files, shape)


def takes_shape(method: str) -> bool:
    """Whether a purifier of this method is built from the shape of the images: a class that neither
    loads what it has learned nor builds itself from its recipe."""
    build = purifier_class(method)
    trained = bool(getattr(build, "LEARNS_FROM", ()))
    return isinstance(build, type) and not trained and not from_recipe(method, build)
