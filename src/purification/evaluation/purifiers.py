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


def fitted_purifier(recipe: Mapping[str, Any], files: Files) -> nn.Module:
    """The purifier of a `Purifier` recipe, as `load_purifier` makes it.

    The threshold of an inference rule (AE-GAN+rs, section 3.2) is the score above which lies the
    recipe's `false_positive_rate` of the validation images that `files` has the scores of.
    """
    if VALIDATION in recipe["networks"]:
        scores = read_field(files[VALIDATION], "score")
        threshold = threshold_at(scores, recipe["settings"]["false_positive_rate"])
        recipe = {**recipe, "settings": {**recipe["settings"], "threshold": threshold}}
    build, shape = purifier_class(recipe["method"]), None
    trained = bool(getattr(build, "LEARNS_FROM", ()))
    if isinstance(build, type) and not trained and not from_recipe(recipe["method"], build):
        shape = image_shape(files.get("attacked") or files["dataset"])
    return load_purifier(recipe, files, shape)
