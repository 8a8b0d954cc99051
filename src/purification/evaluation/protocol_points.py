"""How accurate randomised defences are by the number of evaluations, by the draws of a look, and by
the noise that they add: points of figures, from the sets that cascades leave.

Accuracy under N of D judged draws is the mean over all choices of N of them: an image that is right
on r draws counts C(r, N) / C(D, N). With N = 1 that is the one-shot accuracy, with N = D the share
that is right on all of them (`evaluation.protocols`). Intervals are Wilson's 95 % of n images.
"""

import json
from collections.abc import Iterable, Mapping
from math import comb
from typing import Any

import numpy as np

from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.cascade import LEFT
from purification.evaluation.protocols import EVALUATIONS, ONE_SHOT
from purification.models.checkpoints import load_network
from purification.models.diffusion import deviation_at, level_of
from purification.storage import StoredSet, open_image_set

RUN = ("dataset", "seed", "classifier", "defense", "variant")
NUMBERS = ("n", "accuracy", "ci_low", "ci_high")
CLEAN, FRESH = "clean", "attacked on fresh draws"
KNOWN, MOVED = "attacked on a known draw", "made for a known draw, on fresh draws"
LINES = (CLEAN, FRESH, MOVED, KNOWN)
"""What is judged: the images as they are; those of an attacker who knows no draw; those of one who
knows the draw, on draws that he does not know, and on the known one, of which there is only N = 1.
"""
BALL = ("norm", "epsilon")
EVALUATION_COLUMNS = (*RUN, *BALL, "line", "evaluations", *NUMBERS)
DRAW_COLUMNS = (*RUN, *BALL, "attack", "expectation", "protocol", "evaluations", *NUMBERS)
TIME_COLUMNS = (
    *(*RUN, "time", "is_default", "level", "deviation", "norm", "epsilon", "n", "draws"),
    *(f"{what}{end}" for what in ("clean", "attacked") for end in ("", "_ci_low", "_ci_high")),
    *("clean_all", "attacked_all", "attacked_all_ci_low", "attacked_all_ci_high"),
)
"""Columns of `time_rows`. deviation: the standard deviation of the noise beside the image, in pixel
units of [0, 1]. clean and attacked: on one draw, a mean over `draws`; the columns with `all`: under
all of them."""


def under_evaluations(right: np.ndarray, evaluations: int) -> dict[str, Any]:
    """`NUMBERS` from which of D draws are right of N images, bool (N, D), if an image must be right
    in so many evaluations, at most D."""
    n, draws = right.shape
    ways = [comb(r, evaluations) / comb(draws, evaluations) for r in range(draws + 1)]
    accuracy = float(np.array(ways)[right.sum(axis=1)].mean())
    low, high = wilson_interval(accuracy * n, n)
    return dict(zip(NUMBERS, (n, accuracy, low, high), strict=True))


def evaluation_points(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The points of accuracy over evaluations, `EVALUATION_COLUMNS`. Each of `rows` has the
    `labels` of a defence and the places of its sets, `fresh` and `known`, of cascades of
    `every_image`. Raises FileNotFoundError, ValueError: a file is not what it should be."""
    points = []
    for row in rows:
        fresh, known = (open_image_set(row[name]) for name in ("fresh", "known"))
        lines = {
            CLEAN: _right(fresh, "clean_predictions"),
            FRESH: _right(fresh, "predictions"),
            MOVED: _right(known, "fresh_predictions"),
            KNOWN: (known.fields["found_by"] == LEFT)[:, None],
        }
        for line, right in lines.items():
            for number in range(1, right.shape[1] + 1):
                named = {"line": line, "evaluations": number, **_ball(fresh)}
                points.append({**_run(row), **named, **under_evaluations(right, number)})
    return points


def draw_points(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The points of accuracy over the draws of a look, `DRAW_COLUMNS`, one-shot and under all of
    the judged draws. Each of `rows` has the `labels` of a defence, the place of an `attacked` set
    and the numbers of its stages by their `expectations`. Raises as `evaluation_points`."""
    points = []
    for row in rows:
        found = open_image_set(row["attacked"])
        stages = {one["stage"]: one for one in json.loads(found.attributes["stages"])}
        right = found.fields["stage_predictions"] == found.labels[:, None, None]
        for expectation, stage in row["expectations"].items():
            for protocol, number in {ONE_SHOT: 1, EVALUATIONS: right.shape[1]}.items():
                named = {"expectation": int(expectation), "protocol": protocol, **_ball(found)}
                named |= {"attack": stages[stage]["attack"], "evaluations": number}
                numbers = under_evaluations(right[:, :, stage], number)
                points.append({**_run(row), **named, **numbers})
    return points


def time_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `TIME_COLUMNS`. Each of `rows` has `labels`, a `time`, whether it `is_default`, and
    the places of an `attacked` set of validation images and of the diffusion model, its `network`.
    Raises as `evaluation_points`."""
    made = []
    for row in rows:
        found, model = open_image_set(row["attacked"]), load_network(row["network"], "Diffusion")
        clean, attacked = (_right(found, name) for name in ("clean_predictions", "predictions"))
        n, draws = clean.shape
        level = level_of(row["time"], model.signal)
        numbers: dict[str, Any] = {
            **{"time": row["time"], "is_default": row["is_default"], "level": level},
            **{"deviation": deviation_at(level, model.signal), "n": n, "draws": draws},
            **_ball(found),
        }
        for what, right in (("clean", clean), ("attacked", attacked)):
            one, every = under_evaluations(right, 1), under_evaluations(right, draws)
            numbers[what], numbers[f"{what}_all"] = one["accuracy"], every["accuracy"]
            for end in ("_ci_low", "_ci_high"):
                numbers[f"{what}{end}"] = one[end[1:]]
                numbers[f"{what}_all{end}"] = every[end[1:]]
        made.append({name: (_run(row) | numbers)[name] for name in TIME_COLUMNS})
    return made


def _right(found: StoredSet, name: str) -> np.ndarray:
    """Which draws are right, bool (N, D)."""
    if name not in found.fields:
        raise ValueError(f"a set without {name!r}: expected one of a cascade of every_image")
    right: np.ndarray = found.fields[name] == found.labels[:, None]
    return right


def _ball(found: StoredSet) -> dict[str, Any]:
    return {name: found.attributes[name] for name in BALL}


def _run(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row["labels"].get(name) for name in RUN}
