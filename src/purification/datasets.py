"""Handwritten digits, MNIST and Fashion-MNIST as arrays in [0, 1], with the papers' splits."""

import gzip
import hashlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from purification.plugins import import_named
from purification.storage import atomic

if TYPE_CHECKING:
    import torch
    from torchvision.datasets import MNIST

    Images = TypeVar("Images", np.ndarray, torch.Tensor)

Split = tuple[np.ndarray, np.ndarray]

NAMES = ("digits", "mnist", "fmnist")
BLACK_BOX_HOLD_OUT = 150  # test images that the black-box attacker keeps (Defense-GAN, sec. 4.1)
DOWNLOAD_TIMEOUT = 60.0  # seconds without an answer; a cluster's nodes may drop what goes outside


def load(name: str, *, data_root: str, validation: int, test: int | None) -> dict[str, Split]:
    """The splits train, validation and test, each (images, labels), of a data set.

    images: (N, 1, 28, 28) float32 in [0, 1]. labels: (N,) int64 in 0..9. `validation` and `test`
    are numbers of images; no seed enters, so that all runs have the same splits.

    - "digits": the 1,797 digits of 8x8 pixels in scikit-learn, enlarged bilinearly. In any stretch
      of a split, such as its first 100 images, the classes have their shares of the whole.
    - "mnist", "fmnist": validation is the end of the official training file, train the rest (with
      10,000 the 50,000/10,000 of Defense-GAN, sec. 4), test the beginning of the official test file
      or, if None, all of it. Files are looked for in `data_root`/MNIST/raw and
      `data_root`/FashionMNIST/raw, as torchvision keeps them, and downloaded if missing. Only the
      .gz files are used, and only if their checksums are the official ones; nothing but a download
      is written to `data_root`.
    - "package.module:function": a user's own, called as `function(data_root, validation, test)`.

    Raises ValueError for an unknown name or impossible numbers of images, RuntimeError, naming
    places and files, if a file is missing and cannot be had, or is not the official one.
    """
    if ":" in name:
        return import_named(name)(data_root, validation, test)
    if name not in NAMES:
        known = ", ".join(NAMES)
        raise ValueError(f"dataset {name!r}: expected one of {known}, or 'package.module:function'")
    if name == "digits":
        return _digits(validation, test)
    return _mnist(name, Path(data_root), validation, test)


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


def _check_count(name: str, split: str, count: int, available: int) -> None:
    if not 1 <= count <= available:
        raise ValueError(f"{name}: {split} must have 1 to {available} images, not {count}")


def _digits(validation: int, test: int | None) -> dict[str, Split]:
    import torch
    from sklearn.datasets import load_digits

    if test is None:
        raise ValueError("digits: test must be a number of images, there is no official test file")
    bunch = load_digits()
    # At least one image each for the splits that come after.
    _check_count("digits", "test", test, len(bunch.target) - 2)
    _check_count("digits", "validation", validation, len(bunch.target) - test - 1)
    # In float64, so that rounding to float32 hides the differences between CPUs' instructions.
    small = torch.from_numpy(bunch.images / 16.0)[:, None]
    large = torch.nn.functional.interpolate(small, size=(28, 28), mode="bilinear")
    images = large.clamp(0, 1).numpy().astype(np.float32)
    labels = bunch.target.astype(np.int64)
    order = _stratified_order(labels)
    bounds = {
        "train": order[test + validation :],
        "validation": order[test : test + validation],
        "test": order[:test],
    }
    return {split: (images[rows], labels[rows]) for split, rows in bounds.items()}


def _stratified_order(labels: np.ndarray) -> np.ndarray:
    """A permutation of the rows in which every class is spread evenly from beginning to end.

    The k-th of a class's n images gets a random place in the k-th n-th of the whole.
    """
    # Shuffled by a hash: unlike a random generator's, its order is the same in every version.
    digests = [hashlib.sha256(f"digits {row}".encode()).digest() for row in range(len(labels))]
    shuffled = np.array(sorted(range(len(labels)), key=digests.__getitem__))
    uniform = np.array([int.from_bytes(digest[-4:], "big") / 2**32 for digest in digests])
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        place[rows] = (np.arange(len(rows)) + uniform[rows]) / len(rows)
    return np.argsort(place, kind="stable")


def _mnist(name: str, data_root: Path, validation: int, test: int | None) -> dict[str, Split]:
    from torchvision import datasets

    source = {"mnist": datasets.MNIST, "fmnist": datasets.FashionMNIST}[name]
    raw = data_root / source.__name__ / "raw"
    _download_missing(source, raw)
    _check_checksums(source, raw)
    with _extracted(source, raw) as root:
        images, labels = _arrays(source(root, train=True))
        test_images, test_labels = _arrays(source(root, train=False))
    _check_count(name, "validation", validation, len(labels) - 1)
    test = len(test_labels) if test is None else test
    _check_count(name, "test", test, len(test_labels))
    return {
        "train": (images[:-validation], labels[:-validation]),
        "validation": (images[-validation:], labels[-validation:]),
        "test": (test_images[:test], test_labels[:test]),
    }


def _arrays(parsed: "MNIST") -> Split:
    images = parsed.data.numpy()[:, None].astype(np.float32) / np.float32(255)
    return images, parsed.targets.numpy().astype(np.int64)


def _missing(source: "type[MNIST]", raw: Path) -> list[tuple[str, str]]:
    return [entry for entry in source.resources if not (raw / entry[0]).is_file()]


def _download_missing(source: "type[MNIST]", raw: Path) -> None:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # torchvision sets none
    try:
        for filename, md5 in _missing(source, raw):
            _download(source.mirrors, raw / filename, md5)
    except (OSError, RuntimeError, HTTPException) as error:
        raise RuntimeError(
            f"{source.__name__}: {', '.join(dict(_missing(source, raw)))} not in {raw.absolute()}, "
            f"and the download failed ({error}). Put the official files there, "
            f"or set data_root to the folder that has {source.__name__}/raw with them."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _download(mirrors: list[str], path: Path, md5: str) -> None:
    from torchvision.datasets.utils import download_url

    for mirror in mirrors:
        try:
            with atomic(path) as temporary:
                download_url(mirror + path.name, temporary.parent, temporary.name, md5)
            return
        except (OSError, RuntimeError, HTTPException):
            if mirror == mirrors[-1]:
                raise


def _check_checksums(source: "type[MNIST]", raw: Path) -> None:
    for filename, md5 in source.resources:
        with (raw / filename).open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != md5:
            raise RuntimeError(
                f"{(raw / filename).absolute()}: not the official file of {source.__name__} "
                f"(md5 {found}, expected {md5}). Remove it to have it downloaded again."
            )


@contextmanager
def _extracted(source: "type[MNIST]", raw: Path) -> Iterator[str]:
    """A temporary root in torchvision's layout: `data_root` may be read-only, and extracted files
    that lie there have no checksums to be verified by."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, source.__name__, "raw")
        folder.mkdir(parents=True)
        for filename, _ in source.resources:
            with (
                gzip.open(raw / filename) as packed,
                (folder / Path(filename).stem).open("wb") as f,
            ):
                shutil.copyfileobj(packed, f)
        yield root
