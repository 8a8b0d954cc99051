"""Accuracies of classifiers on image sets, as rows of the long tables."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch

from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.adversarial import attack_summary
from purification.models.checkpoints import load_network
from purification.storage import read_image_set, read_split

BATCH_SIZE = 500
COLUMNS = (
    *("dataset", "seed", "classifier", "attack", "epsilon", "threat_model", "defense", "variant"),
    *("iterations_L", "restarts_R", "n", "correct", "accuracy", "ci_low", "ci_high"),
    *("success_rate", "mean_l2", "mean_linf", "zero_gradient_share"),
)
"""Columns of a measurement file; README.md of resources/papers explains the shared ones."""


def measure(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row (keys: COLUMNS) for each cell of a `Measurement` recipe.

    A cell has `labels` (the columns that name it), `paths` (`classifier`, `images`, `adversarial`)
    and `split` (of a dataset file; None for an image set). Accuracy is over all images of the file;
    the interval is Wilson's at 95 %. The attack's own success rate, norms and share of zero
    gradients, against the model that it attacked, are those of `attack_summary`.
    """
    return [_row(cell) for cell in cells]


def _row(cell: Mapping[str, Any]) -> dict[str, Any]:
    paths = cell["paths"]
    correct, n = _count_correct(paths["classifier"], paths["images"], cell["split"])
    low, high = wilson_interval(correct, n)
    row = {"n": n, "correct": correct, "accuracy": correct / n, "ci_low": low, "ci_high": high}
    attack: dict[str, float | None] = dict.fromkeys(
        ("success_rate", "mean_l2", "mean_linf", "zero_gradient_share")
    )
    if paths["adversarial"]:
        adversarial = read_image_set(paths["adversarial"])
        summary = attack_summary(adversarial.fields, adversarial.labels)
        attack = {name: None if math.isnan(value) else value for name, value in summary.items()}
    return {**cell["labels"], **row, **attack}


@cache
def _count_correct(classifier: str, images_path: str, split: str | None) -> tuple[int, int]:
    """How many images of a file a classifier gets right, and of how many."""
    if split is None:
        image_set = read_image_set(images_path)
        images, labels = image_set.images, image_set.labels
    else:
        images, labels = read_split(images_path, split)
    model = load_network(classifier, "Classifier")
    with torch.inference_mode():
        batches = torch.from_numpy(images).split(BATCH_SIZE)
        predictions = torch.cat([model(batch).argmax(dim=1) for batch in batches])
    return int((predictions == torch.from_numpy(labels)).sum()), len(labels)
