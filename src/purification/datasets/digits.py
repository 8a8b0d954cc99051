"""Scikit-learn's handwritten digits, enlarged to the size of MNIST's."""

import hashlib
from pathlib import Path

import numpy as np

from purification.datasets.contract import source
from purification.datasets.splits import Split, check_count


@source(name="digits", shape=(1, 28, 28), images={"train": 1797})
def load_digits(data_root: Path, validation: int, test: int | None) -> dict[str, Split]:
    """The 1,797 digits of 8x8 pixels in scikit-learn, as images (N, 1, 28, 28).

    Enlarged bilinearly. In any stretch of a split, such as its first 100 images, the classes have
    their shares of the whole. Nothing is read from `data_root`. Raises ValueError for impossible
    numbers of images.
    """
    import torch
    from sklearn import datasets as bundled

    if test is None:
        raise ValueError("digits: test must be a number of images, there is no official test file")
    bunch = bundled.load_digits()
    # At least one image each for the splits that come after.
    check_count("digits", "test", test, len(bunch.target) - 2)
    check_count("digits", "validation", validation, len(bunch.target) - test - 1)
    # In float64, so that rounding to float32 hides the differences between CPUs' instructions.
    small = torch.from_numpy(bunch.images / 16.0)[:, None]
    large = torch.nn.functional.interpolate(small, size=(28, 28), mode="bilinear")
    images = large.clamp(0, 1).numpy().astype(np.float32)
    labels = bunch.target.astype(np.int64)
    order = _stratified_order(labels)
    in_test, held, rest = np.split(order, [test, test + validation])
    parts = {"train": rest, "validation": held, "test": in_test}
    return {split: (images[rows], labels[rows]) for split, rows in parts.items()}


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
