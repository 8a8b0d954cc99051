"""The rows of a picture of purified images: what is shown, and what a classifier says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from purification.models.checkpoints import load_network
from purification.models.prediction import predict
from purification.storage import read_image_set, read_split


@dataclass(frozen=True)
class ExampleRow:
    """One row of the picture: its label, images (columns, C, H, W), the classes predicted, and the
    true ones."""

    label: str
    images: np.ndarray
    predictions: list[int]
    truth: list[int]


def example_rows(rows: Sequence[Mapping[str, Any]], columns: int) -> list[ExampleRow]:
    """The first `columns` images of each cell summary of an `Examples` recipe."""
    shown = []
    for row in rows:
        if row["split"] is None:
            image_set = read_image_set(row["images"], columns, group=row["group"])
            images, labels = image_set.images, image_set.labels
        else:
            images, labels = read_split(row["images"], row["split"], columns)
        network = load_network(row["classifier"], "Classifier")
        logits = predict(network, torch.from_numpy(images), device="cpu")
        predictions = logits.argmax(dim=1).tolist()
        shown.append(ExampleRow(row["labels"]["row"], images, predictions, labels.tolist()))
    return shown
