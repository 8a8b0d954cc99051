"""The rows of a picture of purified images: what is shown, and what a classifier says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from purification.evaluation.reconstructions import read_source
from purification.models.checkpoints import load_network
from purification.models.prediction import predict


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
        image_set = read_source(row, columns)
        images, labels = image_set.images, image_set.labels
        network = load_network(row["classifier"], "Classifier")
        logits = predict(network, torch.from_numpy(images), device="cpu")
        predictions = logits.argmax(dim=1).tolist()
        shown.append(ExampleRow(row["labels"]["row"], images, predictions, labels.tolist()))
    return shown
