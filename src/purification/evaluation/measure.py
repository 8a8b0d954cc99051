"""Accuracies of classifiers on image sets, as rows of the long tables."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from purification.evaluation.accuracy import share
from purification.evaluation.protocols import (
    AGGREGATED_BY,
    DRAWS_EACH,
    FIXED,
    PROTOCOL_COLUMNS,
    draw_group,
    share_under,
)
from purification.evaluation.reconstructions import open_source
from purification.evaluation.refusals import REFUSED, refusal
from purification.evaluation.summary import attack_summary
from purification.storage import StoredSet

if TYPE_CHECKING:
    import torch

ATTACK_COLUMNS = ("success_rate", "mean_l2", "mean_linf", "zero_gradient_share")
"""What `attack_summary` says of the attack, against the model that it attacked (for the gray box,
the plain classifier)."""
COLUMNS = (
    *("dataset", "seed", "classifier", "attack", "epsilon", "threat_model", "defense", "variant"),
    *("iterations_L", "restarts_R", "n", "correct", "accuracy", "ci_low", "ci_high"),
    *ATTACK_COLUMNS,
)
"""Columns of a measurement file; README.md of resources/papers explains the shared ones."""
BLACK_BOX_COLUMNS = ("substitute", "oracle", "queries")
"""Further columns under black-box attack: the substitute's name, whom its attacker asked ("plain",
or a defence), and how many images were labelled for it."""

ATTACK_UNIT_COLUMNS = ("paper_attack", "pixel_range")
"""Further columns of an attack whose name or units are not the paper's or ours: the name by which
it is compared with the paper's, and the range of images in whose units `epsilon` is ("[-1, 1]")."""

NAMING_COLUMN = "not_as_named"
"""A further column where a data set, network, attack or defence is not what its name says, which a
paper has too: why, and so why no paper's number stands beside."""

QUIRKS_COLUMN = "quirks"
"""A further column where a number hangs on quirks of published code, which the config turns on
(`experiments.quirks`): their names, joined by `;`."""

QUIRK_COLUMNS = (QUIRKS_COLUMN, "paper_classifier")
"""This, and beside a classifier with quirks that has a name of its own the paper's network that it
is compared as."""


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of the file that holds these rows of `measure`."""
    further = (*BLACK_BOX_COLUMNS, *ATTACK_UNIT_COLUMNS, *PROTOCOL_COLUMNS)
    further += (*QUIRK_COLUMNS, NAMING_COLUMN, REFUSED)
    return [*COLUMNS, *(name for name in further if any(name in row for row in rows))]


def measure(cells: Sequence[Mapping[str, Any]], threads: int = 1) -> list[dict[str, Any]]:
    """One row (keys: `columns_of`) for each cell summary of a `Measurement` recipe.

    Accuracy is over all images of the cell's set; the interval is Wilson's at 95 %. Sets attacked
    in the white and gray box hold the predictions of the model that the cell is about; for others
    the classifier is asked. The attack's success rate, norms and share of zero gradients, against
    the model that it attacked, are those of `attack_summary`.

    A cell of a randomised defence says its protocol (`protocols`), by which its images' draws are
    counted; there are further columns then, `PROTOCOL_COLUMNS`. Success rate and norms are on the
    first of these draws, or on the known one.

    A cell whose attack was refused (`refusals`) has a row without numbers: n is 0, and the column
    `refused` says why.
    """
    return [_row(cell, threads) for cell in cells]


def predictions_and_labels(
    cell: Mapping[str, Any], threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """What the model of a cell says of each image, and the true labels, both (N,). The set's own
    predictions, or else the classifier's, as in `measure`. The cell's attack must not have been
    refused. Raises ValueError of a randomised defence, which says something else in each draw."""
    if "protocol" in cell["labels"]:
        raise ValueError(f"{cell['images']}: a randomised defence has no one prediction an image")
    image_set = open_source(cell)
    return _predictions(cell, image_set, threads), image_set.labels


def _row(cell: Mapping[str, Any], threads: int) -> dict[str, Any]:
    if reason := refusal(cell["images"], cell["group"]):
        numbers = dict.fromkeys(("accuracy", "ci_low", "ci_high", *ATTACK_COLUMNS))
        return {**cell["labels"], "n": 0, "correct": 0, **numbers, REFUSED: reason}
    image_set = open_source(_first_draw(cell))
    attack: dict[str, float | int | None] = dict.fromkeys(ATTACK_COLUMNS)
    if "success" in image_set.fields:
        summary = attack_summary(image_set.fields, image_set.labels)
        attack = {name: None if math.isnan(value) else value for name, value in summary.items()}
    if "queries" in image_set.attributes:
        attack["queries"] = image_set.attributes["queries"]
    if protocol := cell["labels"].get("protocol"):
        right = _drawn_predictions(cell, image_set, threads) == image_set.labels[:, None]
        judged = share_under(protocol, cell["labels"]["evaluations"], right)
        return {**cell["labels"], **judged, **attack}
    predictions = _predictions(cell, image_set, threads)
    return {**cell["labels"], **share(predictions == image_set.labels), **attack}


def _first_draw(cell: Mapping[str, Any], draw: int = 0) -> Mapping[str, Any]:
    """A cell of clean images of a randomised defence with the set of one of its draws."""
    own = "protocol" in cell["labels"] and cell["group"] is None
    return {**cell, "group": draw_group(draw)} if own else cell


def _drawn_predictions(cell: Mapping[str, Any], image_set: StoredSet, threads: int) -> np.ndarray:
    """Of a randomised defence, (N, D): on its draws, or on the one that the attacker knew."""
    labels = cell["labels"]
    if cell["group"] is not None:
        known = labels["protocol"] == FIXED
        found = image_set.fields["known_predictions" if known else "predictions"]
        return found[:, None] if known else found[:, : labels["draws"]]
    each = image_set.attributes.get(DRAWS_EACH, 1)
    sets = [open_source(_first_draw(cell, draw)) for draw in range(labels["draws"] * each)]
    if each == 1:
        return np.stack([_predictions(cell, one, threads) for one in sets], axis=1)
    import torch

    from purification.purifiers.aggregation import Aggregation

    how = Aggregation(each, image_set.attributes[AGGREGATED_BY])
    logits = torch.stack([_logits(cell, one, threads) for one in sets], dim=1)
    by_evaluation = logits.unflatten(1, (-1, each)).unbind(1)
    found = [how.logits(own).argmax(dim=1).numpy() for own in by_evaluation]
    return np.stack(found, axis=1)


def _predictions(cell: Mapping[str, Any], image_set: StoredSet, threads: int) -> np.ndarray:
    if "predictions" in image_set.fields:
        return image_set.fields["predictions"]
    return _logits(cell, image_set, threads).argmax(dim=1).numpy()


def _logits(cell: Mapping[str, Any], image_set: StoredSet, threads: int) -> "torch.Tensor":
    """The classifier's (N, K), for the images of a set."""
    # Here and not above: most rows need no torch, which takes longer to import than they take.
    import torch

    from purification.models.checkpoints import load_network
    from purification.models.prediction import predict

    torch.set_num_threads(threads)
    classifier = load_network(cell["classifier"], "Classifier")
    return predict(classifier, image_set.images, device="cpu")
