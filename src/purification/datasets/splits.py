"""What the loaders of all sources share."""

import numpy as np

Split = tuple[np.ndarray, np.ndarray]
"""Images (N, C, H, W), float32 in [0, 1], and their labels (N,), int64."""


def check_count(name: str, split: str, count: int, available: int) -> None:
    """Raise ValueError if a split cannot have `count` images."""
    if not 1 <= count <= available:
        raise ValueError(f"{name}: {split} must have 1 to {available} images, not {count}")


def cut(
    name: str, train: Split, held: Split, validation: int, test: int | None
) -> dict[str, Split]:
    """The splits of a data set that is published as a training and a test file: validation is the
    end of the first, test the beginning of the second (None: all of it)."""
    count = len(held[1]) if test is None else test
    check_count(name, "validation", validation, len(train[1]) - 1)
    check_count(name, "test", count, len(held[1]))
    return {
        "train": (train[0][:-validation], train[1][:-validation]),
        "validation": (train[0][-validation:], train[1][-validation:]),
        "test": (held[0][:count], held[1][:count]),
    }
