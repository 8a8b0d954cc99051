"""The papers' data sets as arrays in [0, 1], with the papers' splits.

Digits, MNIST, Fashion-MNIST, CelebA, CIFAR-10 and SVHN, one file a source. `load` finds them by
name.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from purification.datasets.celeba import load_celeba
from purification.datasets.cifar10 import load_cifar10
from purification.datasets.digits import load_digits
from purification.datasets.mnist import load_mnist
from purification.datasets.official import check_root
from purification.datasets.own import load_own
from purification.datasets.splits import Split
from purification.datasets.svhn import load_svhn

if TYPE_CHECKING:
    import torch

    Images = TypeVar("Images", np.ndarray, torch.Tensor)

__all__ = [
    "BLACK_BOX_HOLD_OUT",
    "NAMES",
    "Split",
    "attacker_images",
    "check_labels",
    "classes_of",
    "evaluation_images",
    "load",
]

NAMES = ("digits", "mnist", "fmnist", "celeba", "cifar10", "svhn")
BLACK_BOX_HOLD_OUT = 150  # test images that the black-box attacker keeps (Defense-GAN, sec. 4.1)


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

    - "digits", "mnist", "fmnist": (N, 1, 28, 28), ten classes; see `load_digits`, `load_mnist`.
    - "celeba": (N, 3, 64, 64), two classes; see `load_celeba`. The splits are the official ones,
      None takes all of one, and `train` is a number of images too.
    - "cifar10": (N, 3, 32, 32), ten classes; see `load_cifar10`.
    - "svhn": (N, 3, 32, 32), ten classes; see `load_svhn`.
    - "package.module:function": a user's own; see `load_own`. `files`: the SHA-256 of files that it
      reads, by name.

    `~` at the beginning of `data_root` is the home folder.

    Raises ValueError for an unknown name, impossible numbers of images, or what a user's own must
    not return; RuntimeError, naming places and files, if a file is missing and cannot be had, is
    not the official one, or would be downloaded into a `data_root` whose parent folder is missing.
    """
    data_root = os.path.expanduser(data_root)  # noqa: PTH111 (Path's raises for unknown users)
    if name == "celeba":
        return load_celeba(Path(data_root), train=train, validation=validation, test=test)
    if train is not None:
        raise ValueError(f"{name}: train is what the other splits leave, not a number; got {train}")
    if ":" in name:
        return load_own(name, data_root, validation, test, files)
    if name not in NAMES:
        known = ", ".join(NAMES)
        raise ValueError(f"dataset {name!r}: expected one of {known}, or 'package.module:function'")
    if validation is None:
        raise ValueError(f"{name}: validation must be a number of images")
    if name == "digits":
        return load_digits(validation, test)
    check_root(Path(data_root))
    if name == "cifar10":
        return load_cifar10(Path(data_root), validation, test)
    if name == "svhn":
        return load_svhn(Path(data_root), validation, test)
    return load_mnist(name, Path(data_root), validation, test)


def classes_of(settings: Mapping[str, Any]) -> int:
    """The number of classes of a data set, from its settings in the config or in a recipe.

    Two of CelebA (gender), else what a user's own names as `classes`, else ten.
    """
    return 2 if settings["source"] == "celeba" else settings.get("classes", 10)


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
