"""The papers' data sets as arrays in [0, 1], with the papers' splits: one file for each source.

A source is a function `(data_root, validation, test)` that states what it loads (`source`). `load`
finds them by name.
"""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from purification.datasets.contract import source
from purification.datasets.own import load_own
from purification.datasets.splits import Split
from purification.facts import decorated, facts_at

if TYPE_CHECKING:
    import torch

    Images = TypeVar("Images", np.ndarray, torch.Tensor)

__all__ = [
    "BLACK_BOX_HOLD_OUT",
    "SOURCES",
    "Split",
    "attacker_images",
    "check_labels",
    "classes_of",
    "evaluation_images",
    "load",
    "source",
]

BLACK_BOX_HOLD_OUT = 150  # test images that the black-box attacker keeps (Defense-GAN, sec. 4.1)


SOURCES: dict[str, Callable[..., dict[str, Split]]] = {
    name: getattr(import_module(f"purification.datasets.{facts.file.stem}"), facts.name)
    for name, facts in decorated("datasets").items()
}
"""The function that loads each built-in data set, by its name in the config."""


def load(
    name: str,
    *,
    data_root: str,
    validation: int | None,
    test: int | None,
    train: int | None = None,
    files: Mapping[str, str] | None = None,
) -> dict[str, Split]:
    """The splits train, validation and test, each (images, labels), of a data set.

    images: (N, C, H, W) float32 in [0, 1]. labels: (N,) int64 from 0. `validation` and `test`
    are numbers of images; no seed enters, so that all runs have the same splits.

    `name` is one of `SOURCES`, or "package.module:function", a user's own (`load_own`). None takes
    all of a split that is published as a part of its own; if validation is, `train` is a number of
    images too. `files`: the SHA-256 of files that a user's own reads, by name. `~` at the beginning
    of `data_root` is the home folder.

    Raises ValueError for an unknown name, impossible numbers of images, or what a user's own must
    not return; RuntimeError, naming places and files, if a file is missing and cannot be had, is
    not the official one, or would be downloaded into a `data_root` whose parent folder is missing.
    """
    data_root = os.path.expanduser(data_root)  # noqa: PTH111 (Path's raises for unknown users)
    if ":" not in name and name not in SOURCES:
        known = ", ".join(SOURCES)
        raise ValueError(f"dataset {name!r}: expected one of {known}, or 'package.module:function'")
    stated = facts_at("datasets", name).stated
    in_parts = "validation" in stated.get("images", ())
    if ":" not in name and in_parts:
        return SOURCES[name](Path(data_root), validation, test, train=train)
    if train is not None:
        raise ValueError(f"{name}: train is what the other splits leave, not a number; got {train}")
    if ":" in name:
        return load_own(name, data_root, validation, test, files, stated.get("shape"))
    if validation is None:
        raise ValueError(f"{name}: validation must be a number of images")
    return SOURCES[name](Path(data_root), validation, test)


def classes_of(settings: Mapping[str, Any]) -> int:
    """The number of classes of a data set, from its settings in the config or in a recipe: what
    they name as `classes`, else what its source states, else ten."""
    stated = facts_at("datasets", settings["source"]).stated
    return int(settings.get("classes", stated.get("classes", 10)))


def check_labels(splits: Mapping[str, Split], classes: int) -> None:
    """Raise ValueError, naming split and label, if there is a label outside 0..classes - 1."""
    for split, (_, labels) in splits.items():
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise ValueError(
                f"split {split!r}: {len(wrong)} labels are outside 0..{classes - 1}, such as "
                f"{wrong[0]}; a data set of your own names its number of classes as `classes`"
            )


def attacker_images(images: "Images") -> "Images":
    """The test images (or labels) that the black-box attacker has: the first 150."""
    return images[: _hold_out(images)]


def evaluation_images(images: "Images") -> "Images":
    """The test images (or labels) on which a black-box attack is measured: all but the first 150.

    As `attacker_images`, raises ValueError if no more than 150 are given.
    """
    return images[_hold_out(images) :]


def _hold_out(images: "Images") -> int:
    if len(images) <= BLACK_BOX_HOLD_OUT:
        raise ValueError(
            f"black box: the attacker takes {BLACK_BOX_HOLD_OUT} test images, "
            f"and there are only {len(images)}"
        )
    return BLACK_BOX_HOLD_OUT
