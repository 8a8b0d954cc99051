"""What is left of each defence under a cascade of attacks, a row a defence."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from purification.evaluation.accuracy import share
from purification.evaluation.cascade import LEFT
from purification.evaluation.checks import CHECK_COLUMNS, check_columns
from purification.storage import read_image_set

_NAMED = ("dataset", "seed", "classifier", "defense", "variant", "iterations_L", "restarts_R")
LEADERBOARD_COLUMNS = (
    *(*_NAMED, "norm", "epsilon", "n", "clean_accuracy", "correct", "accuracy"),
    *("ci_low", "ci_high", "attackers", "strongest", "passes_per_image", *CHECK_COLUMNS, "stages"),
)
"""Columns of `leaderboard_rows`. n: images that were attacked; correct and accuracy: of those that
are right as they are and under every attack, with Wilson's 95 % interval; attackers: the attacks
that were not refused; strongest: the one that broke most images of those that it was asked about,
in its place in the cascade; passes_per_image: passes of the defended model that all attacks took;
stages: all of them in their order, each with the accuracy that is left after it. Between these two
is what the checks found, `CHECK_COLUMNS`."""


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
    attacks = [stage for stage in stages[1:] if stage["refused"] is None]
    strongest = max(attacks, key=lambda stage: stage["broken"], default=None)
    return {
        **{name: labels.get(name) for name in _NAMED},
        **{name: found.attributes[name] for name in ("norm", "epsilon")},
        **{"n": n, "clean_accuracy": int(found.attributes["clean_correct"]) / n},
        **share(found.fields["found_by"] == LEFT),
        "attackers": len(attacks),
        "strongest": _name(strongest) if strongest and strongest["broken"] else None,
        "passes_per_image": sum(stage["passes"] for stage in stages[1:]) / n,
        **check_columns(json.loads(found.attributes.get("checks", "null")), n),
        "stages": "; ".join(_left(stage) for stage in stages[1:]),
    }


def _name(stage: Mapping[str, Any]) -> str:
    words = (stage["attack"], stage.get("check"), stage["threat_model"])
    return " ".join(word for word in words if word)


def _left(stage: Mapping[str, Any]) -> str:
    """What is left after a stage, or that it was refused."""
    left = "refused" if stage["refused"] else f"{stage['accuracy']:.3f}"
    return f"{_name(stage)} {left}"
