"""What is left of a defence when its attacker may take the best of several attacks for each image.

An accuracy under one attack is an upper bound of what a defence withstands. Of defences whose
gradient leads astray no single attack comes near the truth, and which one comes nearest differs
from defence to defence; the share of images that stay right under all of them is a tighter bound
(Carlini et al. 2019, "On evaluating adversarial robustness", ask for it: the worst case example by
example).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from purification.evaluation.accuracy import share
from purification.evaluation.measure import predictions_and_labels
from purification.evaluation.reconstructions import open_source
from purification.evaluation.refusals import refusal

DEFENDED = ("dataset", "seed", "classifier", "defense", "variant", "iterations_L", "restarts_R")
"""Columns that name what is attacked."""
_STRENGTH = ("epsilon", "pixel_range")
_ROUNDING = 1e-5  # as `attacks.run.ROUNDING`, whose module imports torch
WORST_CASE_COLUMNS = (
    *(*DEFENDED, *_STRENGTH, "norm", "n", "attackers", "correct", "accuracy", "ci_low", "ci_high"),
    *("strongest", "strongest_accuracy", "attacks"),
)
"""Columns of `worst_case_rows`. norm: that of epsilon, "linf", "l2" or "unknown", or `MEASURED`,
where epsilon is a radius and an attacker succeeds on an image where the change that was found is no
longer; n: images that all attackers have; attackers: how many (attack, threat model); correct and
accuracy: of the images that the defence gets right under every one of them, with Wilson's 95 %
interval; strongest: the attacker that alone leaves the least of the same images; attacks: all of
them, from the strongest on, each with what it leaves, and after them those that were refused
(`refusals`), which are not counted. Without any other, n is 0 and there is no accuracy."""
MEASURED, NO_BOUND = "l2_measured", "none"
"""The norm of rows at an l2 radius, and that of cells whose attack has no bound."""


def worst_case_rows(
    cells: Sequence[Mapping[str, Any]], threads: int = 1, radii: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """A row for each defence, classifier and strength, in order of first appearance; after them one
    for each defence, classifier and l2 radius, in pixel units of [0, 1].

    Cells are summaries of `Measurement` recipes, attacks alone, with `norm` if that is not "linf";
    the images of their files are the first of one set, in the same order, and may be of different
    number. At a radius stand the attackers that are bounded in the l2 norm or by nothing.
    `threads` are torch's, where a set has no predictions and its classifier must be asked.

    Raises FileNotFoundError; ValueError: a file is not what it should be; two sets of one defence
    have other labels in the same places.
    """
    groups: dict[tuple, list[Mapping[str, Any]]] = defaultdict(list)
    for cell in cells:
        norm = cell.get("norm", "linf")
        if norm != NO_BOUND:
            key = [cell["labels"].get(name) for name in (*DEFENDED, *_STRENGTH)]
            groups[(*key, norm)].append(cell)
        if norm in ("l2", NO_BOUND):
            key = [cell["labels"].get(name) for name in DEFENDED]
            for radius in radii:
                groups[(*key, radius, None, MEASURED)].append(cell)
    measured = [key for key in groups if key[-1] == MEASURED]
    keys = [*(key for key in groups if key not in measured), *measured]
    return [_row(key, groups[key], threads) for key in keys]


def distances(cell: Mapping[str, Any], threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The l2 norm of the change with which a cell's attack made its model err on each image, in
    pixel units of [0, 1] and infinite where it did not, and the true labels, both (N,): at a
    radius no smaller the image counts as broken. Raises as `predictions_and_labels`."""
    predictions, labels = predictions_and_labels(cell, threads)
    lengths = open_source(cell).fields["l2"].astype(np.float64)
    return np.where(predictions == labels, np.inf, lengths), labels


def within(lengths: np.ndarray, radius: float) -> np.ndarray:
    """Which changes are no longer than a radius, up to what float32 rounds."""
    return lengths <= radius + _ROUNDING * max(1.0, radius)


def _right(
    cell: Mapping[str, Any], threads: int, radius: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which images a cell's attack left right, within a radius if there is one, and the labels."""
    if radius is None:
        predictions, labels = predictions_and_labels(cell, threads)
        return predictions == labels, labels
    lengths, labels = distances(cell, threads)
    return ~within(lengths, radius), labels


def _row(key: tuple, cells: Sequence[Mapping[str, Any]], threads: int) -> dict[str, Any]:
    refused = [cell for cell in cells if refusal(cell["images"], cell["group"])]
    without = [f"{attacker(cell)} refused" for cell in refused]
    cells = [cell for cell in cells if cell not in refused]
    named = dict(zip((*DEFENDED, *_STRENGTH, "norm"), key, strict=True))
    if not cells:
        empty = dict.fromkeys(WORST_CASE_COLUMNS[len(named) :])
        return named | empty | {"n": 0, "attackers": 0, "correct": 0, "attacks": "; ".join(without)}
    radius = named["epsilon"] if named["norm"] == MEASURED else None
    right = right_under(cells, threads, radius=radius)
    n = min(map(len, right.values()))
    right = {name: correct[:n] for name, correct in right.items()}
    alone = sorted((float(correct.mean()), name) for name, correct in right.items())
    return {
        **named,
        **{"n": n, "attackers": len(right)},
        **share(np.logical_and.reduce(list(right.values()))),
        **{"strongest": alone[0][1], "strongest_accuracy": alone[0][0]},
        "attacks": "; ".join([*(f"{name} {accuracy:.3f}" for accuracy, name in alone), *without]),
    }


def right_under(
    cells: Sequence[Mapping[str, Any]],
    threads: int = 1,
    known: np.ndarray | None = None,
    radius: float | None = None,
) -> dict[str, np.ndarray]:
    """Which images a defence gets right under each attacker, bool (N,), by his name, such as "fgsm
    white_box": the first N of the set, as many as he attacked. There may be two sets of one
    attacker, of a defence that the config has twice, with other random starts: an image must be
    right in both. Cells as of `worst_case_rows`, none of them refused, and errors as there; `known`
    are true labels that these images, too, must have; at a `radius` an image is right, too, where
    the change that was found is longer."""
    right: dict[str, np.ndarray] = {}
    known = np.empty(0, np.int64) if known is None else known
    for cell in cells:
        correct, labels = _right(cell, threads, radius)
        shared = min(len(known), len(labels))
        if not np.array_equal(known[:shared], labels[:shared]):
            files = ", ".join(dict.fromkeys(cell["images"] for cell in cells))
            raise ValueError(f"expected the same first {shared} images in all of {files}")
        known = max(known, labels, key=len)
        before = right.get(attacker(cell), correct)
        n = min(len(before), len(correct))
        right[attacker(cell)] = before[:n] & correct[:n]
    return right


def attacker(cell: Mapping[str, Any]) -> str:
    """What a cell's attacker is called."""
    return f"{cell['labels']['attack']} {cell['labels']['threat_model']}"
