"""What is left of each defence under a cascade of attacks, a row a defence."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from purification.evaluation.cascade import CLEAN, LEFT
from purification.evaluation.protocols import FIXED, share_under
from purification.storage import ImageSet, read_image_set

_NAMED = ("dataset", "seed", "classifier", "defense", "variant", "iterations_L", "restarts_R")
_PROTOCOL = ("protocol", "evaluations", "draws")
LEADERBOARD_COLUMNS = (
    *(*_NAMED, *_PROTOCOL, "norm", "epsilon", "n", "clean_accuracy", "correct", "accuracy"),
    *("ci_low", "ci_high", "spread", "attackers", "strongest", "passes_per_image", "stages"),
)
"""Columns of `leaderboard_rows`. n: images that were attacked; correct and accuracy: of those that
are right as they are and under every attack, with Wilson's 95 % interval; attackers: the attacks
that were not refused; strongest: the one that took most accuracy in its place in the cascade;
passes_per_image: passes of the defended model that all attacks took; stages: all of them in their
order, each with the accuracy that is left after it.

A randomised defence has a row for each protocol, whose columns are those of `protocols`. In the two
on fresh draws clean_accuracy is of the images as they are, correct and accuracy are of those that
the attacker has selected, by the same protocol on the same draws; strongest and stages are by the
draws by which it has selected."""


def leaderboard_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each of `rows`, which have `labels` and the place of an `attacked` set
    (`evaluation.cascade.attack_adaptively`): of each data set, seed and classifier together, from
    the defence of which most is left on.

    Raises FileNotFoundError; ValueError: a file is not what it should be.
    """
    made = [_row(one["labels"], one["attacked"]) for one in rows]
    order = list(dict.fromkeys(_run(row) for row in made))
    return sorted(made, key=lambda row: (order.index(_run(row)), -row["accuracy"]))


def _run(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _NAMED[:3])


def _row(labels: Mapping[str, Any], attacked: str) -> dict[str, Any]:
    found = read_image_set(attacked)
    stages = json.loads(found.attributes["stages"])
    n = len(found.labels)
    attacks = [stage | {"took": took} for stage, took in _taken(stages) if stage["refused"] is None]
    strongest = max(attacks, key=lambda stage: stage["took"], default=None)
    protocol, evaluations = labels.get("protocol", FIXED), labels.get("evaluations", 1)
    clean, right = (share_under(protocol, evaluations, one) for one in _right(protocol, found))
    return {
        **{name: labels.get(name) for name in (*_NAMED, *_PROTOCOL)},
        **{name: found.attributes[name] for name in ("norm", "epsilon")},
        **{"n": n, "clean_accuracy": clean["accuracy"]},
        **{name: right[name] for name in ("correct", "accuracy", "ci_low", "ci_high", "spread")},
        "attackers": len(attacks),
        "strongest": _name(strongest) if strongest and strongest["took"] > 0 else None,
        "passes_per_image": sum(stage["passes"] for stage in stages[1:]) / n,
        "stages": "; ".join(_left(stage) for stage in stages[1:]),
    }


def _taken(stages: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], float]]:
    """Each stage after the clean pass, and by how much it lowered the accuracy."""
    return [
        # Two that broke as many images took as much.
        (stage, round(before["accuracy"] - stage["accuracy"], 9))
        for before, stage in pairwise(stages)
    ]


def _right(protocol: str, found: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """What the defence gets right of the images as they are, and of those that were found, bool
    (N, D). A deterministic one is as one of known draws."""
    fields = found.fields
    if protocol == FIXED:
        by = fields["found_by"][:, None]
        return by != CLEAN, by == LEFT
    truth = found.labels[:, None]
    return fields["clean_predictions"] == truth, fields["predictions"] == truth


def _name(stage: Mapping[str, Any]) -> str:
    return f"{stage['attack']} {stage['threat_model']}"


def _left(stage: Mapping[str, Any]) -> str:
    """What is left after a stage, or that it was refused."""
    left = "refused" if stage["refused"] else f"{stage['accuracy']:.3f}"
    return f"{_name(stage)} {left}"
