"""The rows of a picture of purified images: what is shown, and what a classifier says of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from purification.models.checkpoints import load_network
from purification.storage import read_image_set, read_split


@dataclass(frozen=True)
class ExampleRow:
    """One row of the picture: its label, images (columns, C, H, W) and the classes predicted."""

    label: str
    images: np.ndarray
    predictions: list[int]


def example_rows(
    rows: Sequence[tuple[str, str, str | None, str]], columns: int
) -> list[ExampleRow]:
    """The first `columns` images of each row (label, file, split or None, classifier's file)."""
    shown = []
    for label, path, split, classifier in rows:
        if split is None:
            images = read_image_set(path, first=columns).images
        else:
            images, _ = read_split(path, split, first=columns)
        with torch.inference_mode():
            logits = load_network(classifier, "Classifier")(torch.from_numpy(images))
        shown.append(ExampleRow(label, images, logits.argmax(dim=1).tolist()))
    return shown
