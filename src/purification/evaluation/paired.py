"""Columns of a table compared on the images that they share: which of two defences is right more
often under one attack.

Two accuracies with an interval each say little of their difference when the images are the same
(`mcnemar`). A table often has several classifiers, and all of them see the same images, so that
their counts are not independent. Images are. So each image is taken once: for it, behind how many
of the classifiers is the first defence right, and behind how many the second. The exact sign test
asks whether the images on which the first is ahead are as many as those on which it is behind
(Dixon and Mood 1946, "The statistical sign test"). With one classifier and one seed that is
McNemar's exact test.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from purification.evaluation.mcnemar import PairedCounts, exact_p_value
from purification.evaluation.measure import QUIRKS_COLUMN, predictions_and_labels
from purification.evaluation.refusals import refusal

LABELS = ("dataset", "attack", "epsilon", "threat_model")
"""What the two of a pair have in common."""
COLUMNS = (
    *(*LABELS, "defense", "variant", "other_defense", "other_variant"),
    *("n", "models", "difference", "ahead", "behind", "p_value", "p_value_holm"),
)
"""Columns of `paired_rows`. n: images that both were attacked on. models: pairs of a seed and a
classifier (with its substitute). difference: accuracy of the first less that of the other, the mean
over models. ahead and behind: images on which the first is right in more of them, or in fewer.
p_value: of the sign test, two-sided. p_value_holm: corrected for all rows (Holm 1979)."""
_MODEL = ("seed", "classifier", "substitute")
_NO_DEFENSE = ("none", "")


@dataclass(frozen=True)
class Judged:
    """Which images of a cell are classified rightly, (N,), and their labels, (N,)."""

    right: np.ndarray
    labels: np.ndarray


def paired_rows(cells: Sequence[Mapping[str, Any]], threads: int = 1) -> list[dict[str, Any]]:
    """A row (`COLUMNS`) for each two columns of a table that are of the same attack and threat
    model; the bare classifier is compared with the defences of each.

    `cells` are cell summaries of the table's measurements (`measure`). Those without attack are
    passed over, so are refused ones, randomised defences, which say something else in each draw,
    and what hangs on quirks of published code. Raises ValueError, naming the files, if two of a
    pair are not of the same images.
    """
    found: dict[tuple[Any, ...], dict[tuple[Any, ...], dict[tuple[Any, ...], Any]]] = {}
    for cell in cells:
        own = cell["labels"]
        if own["attack"] == "none" or not {"protocol", QUIRKS_COLUMN}.isdisjoint(own):
            continue
        if refusal(cell["images"], cell["group"]):
            continue
        column = (own["defense"], own["variant"])
        place = tuple(own.get(name) for name in LABELS[:-1])
        threat_model = own["threat_model"] if column != _NO_DEFENSE else ""
        columns = found.setdefault((*place, threat_model), {})
        models = columns.setdefault(column, {})
        models[tuple(own.get(name) for name in _MODEL)] = cell
    rows, read = [], _Reader(threads)
    for place, columns in found.items():
        if place[-1] == "":
            continue
        bare = found.get((*place[:-1], ""), {})
        for pair in combinations([*bare.items(), *columns.items()], 2):
            row = _compared(dict(zip(LABELS, place, strict=True)), pair, read)
            rows += [row] if row else []
    return [row | {"p_value_holm": p} for row, p in zip(rows, holm(rows), strict=True)]


def cells_of(sources: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], int]:
    """The cell summaries of the measurements among the sources of a job (path to recipe) whose sets
    are among them, too; and how many under attack are left out, because their sets are gone."""
    cells = [
        cell
        for recipe in sources.values()
        if recipe.get("kind") == "Measurement"
        for cell in recipe["cells"]
    ]
    there = [cell for cell in cells if cell["images"] in sources]
    left_out = [
        cell
        for cell in cells
        if cell["images"] not in sources
        and cell["labels"]["attack"] != "none"
        and {"protocol", QUIRKS_COLUMN}.isdisjoint(cell["labels"])
    ]
    return there, len(left_out)


class _Reader:
    """What each cell says of its images, read once."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._known: dict[tuple[Any, ...], Judged] = {}

    def __call__(self, cell: Mapping[str, Any]) -> Judged:
        key = (cell["images"], cell["group"], cell["classifier"])
        if key not in self._known:
            predictions, labels = predictions_and_labels(cell, self._threads)
            self._known[key] = Judged(predictions == labels, labels)
        return self._known[key]


def _compared(
    place: Mapping[str, Any], pair: Iterable[tuple[tuple[Any, ...], Mapping[Any, Any]]], read: Any
) -> dict[str, Any] | None:
    """The row of two columns; None if no model has both."""
    (one, first), (other, second) = pair
    models = [model for model in first if model in second]
    if not models:
        return None
    judged = [(read(first[m]), read(second[m])) for m in models]
    n = min(len(side.labels) for both in judged for side in both)
    for m, both in zip(models, judged, strict=True):
        if not np.array_equal(*(side.labels[:n] for side in both)):
            files = " and ".join(str(cells[m]["images"]) for cells in (first, second))
            raise ValueError(f"{files}: expected the same images, but their labels differ")
    ahead = sum(a.right[:n].astype(int) - b.right[:n].astype(int) for a, b in judged)
    more, fewer = int((ahead > 0).sum()), int((ahead < 0).sum())
    return {
        **place,
        **dict(zip(COLUMNS[len(LABELS) :][:4], (*one, *other), strict=True)),
        "n": n,
        "models": len(models),
        "difference": float(ahead.mean()) / len(models),
        "ahead": more,
        "behind": fewer,
        "p_value": exact_p_value(PairedCounts(0, more, fewer, n - more - fewer)),
    }


def holm(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """The p-values of rows, corrected for their number: Holm 1979, "A simple sequentially rejective
    multiple test procedure", Scandinavian Journal of Statistics 6."""
    values = np.array([row["p_value"] for row in rows], dtype=float)
    order = np.argsort(values, kind="stable")
    steps = np.minimum(1, values[order] * (len(values) - np.arange(len(values))))
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(steps) if len(values) else steps
    return [float(value) for value in corrected]
