"""Users' own data sets: what their loader returns, checked before anything is made of it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from purification.datasets.splits import Split
from purification.plugins import files_for, import_named
from purification.runtime import warn

PARTS = ("train", "validation", "test")
DARK = 0.05
"""Images of [0, 1] have a brighter pixel; those that were divided by 255 twice have none."""


def load_own(
    place: str,
    data_root: str,
    validation: int | None,
    test: int | None,
    files: Mapping[str, str] | None = None,
    shape: tuple[int, int, int] | None = None,
) -> dict[str, Split]:
    """The splits that the function "package.module:function" returns.

    It is called as `function(data_root, validation, test)`, where `files` has the SHA-256 of files
    that it reads, by name, with their paths as `files` too (`plugins.files_for`). It must return a
    dict from exactly train, validation and test to (images (N, C, H, W) float32 in [0, 1], labels
    (N,) int64), with images of one shape, and at least `validation` and `test` of them where these
    are not None. `shape`: what the images must have, if the function states it (`contract.source`).

    Raises ValueError, naming the place, the split and what to do, if it does not. Warns of images
    that are nearly black, of a single class, and of images that are in two splits.
    """
    own = import_named(place)
    splits = own(data_root, validation, test, **files_for(place, own, files))
    if not isinstance(splits, Mapping) or set(splits) != set(PARTS):
        got = sorted(map(str, splits)) if isinstance(splits, Mapping) else type(splits).__name__
        raise ValueError(f"{place} must return a dict with train, validation and test; got {got}")
    made = {split: _checked(f"{place}, {split}", splits[split]) for split in PARTS}
    for split, count in (("validation", validation), ("test", test)):
        there = len(made[split][1])
        if count is not None and there < count:
            raise ValueError(
                f"{place}, {split}: {there} images, and the config asks for {count}: make "
                f"datasets.<name>.{split} smaller, or return more"
            )
    shapes = {split: images.shape[1:] for split, (images, _) in made.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{shape} in {split}" for split, shape in shapes.items())
        raise ValueError(f"{place}: images must have one shape in all splits; got {listed}")
    found = made["train"][0].shape[1:]
    if shape is not None and found != tuple(shape):
        raise ValueError(f"{place} states images of the shape {tuple(shape)}; got {found}")
    _warn_of_oddities(place, made)
    return made


def _checked(place: str, returned: Any) -> Split:
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise ValueError(f"{place}: must be (images, labels); got {type(returned).__name__}")
    images, labels = returned
    for name, array in (("images", images), ("labels", labels)):
        if not isinstance(array, np.ndarray):
            hint = ": call .numpy()" if hasattr(array, "numpy") else ""
            kind = type(array).__name__
            raise ValueError(f"{place}: {name} must be a NumPy array; got a {kind}{hint}")
    _check_shape(place, images)
    _check_range(place, images)
    if labels.dtype != np.int64 or labels.shape != (len(images),):
        hint = ": take .argmax(axis=1)" if labels.ndim == 2 else ""
        hint = hint or (": call .astype(np.int64)" if labels.dtype.kind in "iuf" else "")
        raise ValueError(
            f"{place}: labels must be int64 of shape ({len(images)},), one for each image; got "
            f"{labels.dtype} {labels.shape}{hint}"
        )
    return images, labels


def _check_shape(place: str, images: np.ndarray) -> None:
    got = f"{place}: images must have the shape (N, C, H, W); got {images.shape}"
    if images.ndim == 3:
        raise ValueError(f"{got}: images of one channel want it too, images[:, None]")
    if images.ndim != 4:
        raise ValueError(got)
    if 0 in images.shape:
        raise ValueError(f"{got}: there is none")
    if images.shape[1] > 4 >= images.shape[3]:
        raise ValueError(f"{got}: the channels look last, call images.transpose(0, 3, 1, 2)")


def _check_range(place: str, images: np.ndarray) -> None:
    if images.dtype != np.float32:
        divided = " / 255" if images.dtype.kind in "iu" else ""
        raise ValueError(
            f"{place}: images must be float32; got {images.dtype}: write "
            f"images.astype(np.float32){divided}"
        )
    if wrong := int((~np.isfinite(images)).sum()):
        raise ValueError(f"{place}: {wrong} values of the images are not finite")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        hint = ": divide them by 255" if low >= 0 and 2 < high <= 255 else ""
        hint = ": write (images + 1) / 2" if -1 <= low < 0 and high <= 1 else hint
        raise ValueError(
            f"{place}: images must have values in [0, 1]; got {low:.6g} to {high:.6g}{hint}"
        )


def _warn_of_oddities(place: str, splits: Mapping[str, Split]) -> None:
    for split, (images, labels) in splits.items():
        if (high := images.max()) < DARK:
            warn(
                f"{place}, {split}: no pixel is above {high:.3g}, of 1: were the images divided by "
                "255 twice?"
            )
        if len(labels) > 1 and (labels == labels[0]).all():
            warn(f"{place}, {split}: all {len(labels)} images are of the class {labels[0]}")
    rows = {split: [_digest(image) for image in images] for split, (images, _) in splits.items()}
    for earlier, later in (("train", "test"), ("train", "validation"), ("validation", "test")):
        known = set(rows[earlier])
        if again := sum(row in known for row in rows[later]):
            number = f"{again} of {len(rows[later])}"
            warn(f"{place}: {number} {later} images are among the {earlier} images, too")


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest()
