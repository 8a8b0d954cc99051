"""What the loaders of all sources share."""

import numpy as np

Split = tuple[np.ndarray, np.ndarray]
"""Images (N, C, H, W), float32 in [0, 1], and their labels (N,), int64."""


def check_count(name: str, split: str, count: int, available: int) -> None:
    """Raise ValueError if a split cannot have `count` images."""
    if not 1 <= count <= available:
        raise ValueError(f"{name}: {split} must have 1 to {available} images, not {count}")
