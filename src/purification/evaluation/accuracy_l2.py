"""Accuracy over the l2 norm of attacks that nothing bounds, such as CW and DeepFool.

They look for a small change with which the model errs, and what they find has a norm. An image
counts as broken at a radius if the attack's image errs and its l2 distance is at most the radius.
The accuracy at each radius is an upper bound: no such attack finds the nearest image on which the
model errs, and one that is tuned to another end (the paper's CW has a learning rate of 10) is far
from it. The best of several attacks, image by image, is a tighter one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from purification.evaluation.accuracy import share
from purification.evaluation.refusals import refusal
from purification.evaluation.worst_case import DEFENDED, distances, within

ALL = "all"
"""`attack` and `threat_model` of the best of a defence's attackers for each image."""
RADII = 101
"""Radii from 0 to the largest, equally far apart."""
ACCURACY_L2_COLUMNS = (
    *(*DEFENDED, "attack", "threat_model", "attackers", "radius"),
    *("n", "correct", "accuracy", "ci_low", "ci_high"),
)
"""Columns of `accuracy_l2_rows`. attackers: how many (attack, threat model) an image withstands;
radius: in pixel units of [0, 1]; n: images, of several attackers as many as all of them have;
correct and accuracy: of those that no attacker broke within the radius, with Wilson's 95 %
interval."""


def accuracy_l2_rows(
    cells: Sequence[Mapping[str, Any]], largest_radius: float, threads: int = 1
) -> list[dict[str, Any]]:
    """A row for each defence, classifier, attacker and radius, and for the best of all attackers.

    Cells are summaries of `Measurement` recipes, attacks without a bound; the images of their files
    are the first of one set, in the same order, and may be of different number. Those that were
    refused (`refusals`) are left out. `threads` are torch's, where a classifier must be asked.

    Raises FileNotFoundError; ValueError: a file is not what it should be; two sets of one defence
    have other labels in the same places; or there are no cells.
    """
    groups: dict[tuple, dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]] = defaultdict(dict)
    for cell in cells:
        if not refusal(cell["images"], cell["group"]):
            labels = cell["labels"]
            attacker = (labels["attack"], labels["threat_model"])
            key = tuple(labels.get(name) for name in DEFENDED)
            groups[key][attacker] = distances(cell, threads)
    if not groups:
        raise ValueError("no attacks without a bound: nothing to draw (config: accuracy_l2)")
    radii = np.linspace(0, largest_radius, RADII)
    return [row for key, group in groups.items() for row in _rows(key, group, radii)]


def _rows(
    key: tuple, group: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]], radii: np.ndarray
) -> list[dict[str, Any]]:
    n = min(len(labels) for _, labels in group.values())
    truths = [labels[:n] for _, labels in group.values()]
    named = dict(zip(DEFENDED, key, strict=True))
    if any(not np.array_equal(labels, truths[0]) for labels in truths):
        raise ValueError(f"expected the same first {n} images in all sets of {named}")
    lines = {attacker: (1, lengths) for attacker, (lengths, _) in group.items()}
    nearest = np.min([lengths[:n] for lengths, _ in group.values()], axis=0)
    lines[ALL, ALL] = (len(group), nearest)
    return [
        {
            **named,
            **{"attack": attack, "threat_model": threat_model, "attackers": attackers},
            **{"radius": float(radius), "n": len(lengths)},
            **share(~within(lengths, radius)),
        }
        for (attack, threat_model), (attackers, lengths) in lines.items()
        for radius in radii
    ]
