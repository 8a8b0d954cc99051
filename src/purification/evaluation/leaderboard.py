"""What is left of each defence under a cascade of attacks and under the papers' attacks, a row a
defence."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from purification.evaluation.accuracy import share
from purification.evaluation.cascade import CLEAN, LEFT
from purification.evaluation.checks import CHECK_COLUMNS, check_columns
from purification.evaluation.flags import TRANSFER
from purification.evaluation.measure import NAMING_COLUMN
from purification.evaluation.protocols import FIXED, share_under
from purification.evaluation.refusals import refusal
from purification.evaluation.threat_models import KNOWN
from purification.evaluation.worst_case import attacker, right_under
from purification.storage import StoredSet, open_image_set

RUN = ("dataset", "seed", "classifier")
"""The columns that rows share which are compared."""
PROTOCOL = ("protocol", "evaluations", "draws")
"""Those of randomised defences alone (`protocols.PROTOCOL_COLUMNS`)."""
NAMED = (*RUN, "defense", "variant", "iterations_L", "restarts_R", *PROTOCOL)
"""The columns that name a row."""
BOXES = ("gray_box", "white_box_bpda", "white_box")
"""The threat models of the papers' attacks, each with its columns."""
BOX_ENDS = ("", "_ci_low", "_ci_high", "_n", "_attacks")
_NUMBERS = {"": "accuracy", "_ci_low": "ci_low", "_ci_high": "ci_high", "_n": "n"}
LEADERBOARD_COLUMNS = (
    *(*NAMED, NAMING_COLUMN, "norm", "epsilon", "n", "clean_accuracy"),
    *(f"{box}{end}" for box in BOXES for end in BOX_ENDS),
    *("correct", "accuracy", "ci_low", "ci_high", "spread", "below_no_defense", "attackers"),
    *("strongest", *CHECK_COLUMNS, "purification_passes", "passes_per_image", "stages"),
)
"""Columns of `leaderboard_rows`.

n: images that the cascade attacked, the first of the test set. clean_accuracy: of these, as they
are. gray_box, white_box_bpda and white_box: the share of the first <box>_n that is right as it is
and under each of the papers' attacks in that threat model (<box>_attacks), with Wilson's 95 %
interval; empty where there is none. If the papers' attacks have no set in a threat model, it is of
the cascade's stages there, as long as none before the last of them was of another: what these would
leave alone is unknown. In a cascade of `every_image` it is known of all that begin by themselves,
of randomised defences on fresh draws, too: of these it is what the best of the stages there leaves,
chosen by the mean over images, because to choose for each image by the draws of the judgement would
be luck. correct and accuracy, the worst case: of the n images those that are right as they are,
under the whole cascade, and under all of the papers' attacks that attacked them.
below_no_defense: "yes" where that is less than without defence in the same run. attackers: stages
and sets of the papers' attacks (attack, threat model) that were not refused; one that is a stage,
too, once. strongest: the attack that took most accuracy in its place: the stages in their order,
then the papers' attacks. Next is what the checks of the cascade found (`CHECK_COLUMNS`); of what
other models' images alone break, the papers' attacks are part. purification_passes: passes of an
image through the purifier's network. passes_per_image: of the defended model, for all stages.
stages: all of them in their order, then what the papers' attacks broke in addition, each with the
accuracy that is left after it.

A randomised defence has a row for each protocol. In the two on fresh draws clean_accuracy is of the
images as they are, correct and accuracy are of those that the cascade's attacker has selected, by
the same protocol and on the same draws; spread as of `protocols.PROTOCOL_COLUMNS`. strongest and
stages are by the draws by which the attacker has selected, and so its opinion. The papers' attacks
have no part: the best of them for an image would be chosen by the draws on which it is judged."""
TIME_COLUMNS = (
    *(*NAMED, "purification_ms", "purification_ms_q1", "purification_ms_q3"),
    *("attack_seconds", "device", "threads", "torch"),
)
"""Columns of `time_rows`, which no run repeats. Milliseconds an image of a purification, alone on
the machine; seconds of the whole cascade an image, which other jobs may have slowed; and on what
the former were taken."""


def leaderboard_rows(rows: Iterable[Mapping[str, Any]], threads: int = 1) -> list[dict[str, Any]]:
    """A row for each of `rows`: of each data set, seed and classifier together, from the defence of
    which most is left on.

    Each has `labels` and the place of an `attacked` set (`evaluation.cascade.attack_adaptively`),
    and may have `cells`, summaries of sets of the same images under the papers' attacks, as of
    `worst_case_rows`, of which those that are `again` stages of the cascade say so in their labels;
    and `passes`, those of a purification (`evaluation.costs`). `threads` as there.

    Raises FileNotFoundError; ValueError: a file is not what it should be, or of other images.
    """
    judged = [_row(one, threads) for one in rows]
    made = [row for row, _ in judged]
    undefended = {_run(row): left for row, left in judged if row["defense"] == "none"}
    for row, left in judged:
        bare = undefended.get(_run(row))
        if bare is None:
            continue
        # The same images: one of the two may be of fewer.
        n = min(len(bare), len(left))
        own = share_under(row["protocol"] or FIXED, row["evaluations"] or 1, left[:n])
        if own["accuracy"] < bare[:n].mean():
            row["below_no_defense"] = "yes"
    order = list(dict.fromkeys(map(_run, made)))
    return sorted(made, key=lambda row: (order.index(_run(row)), -row["accuracy"]))


def _run(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in (*RUN, "norm", "epsilon"))


def _row(one: Mapping[str, Any], threads: int) -> tuple[dict[str, Any], np.ndarray]:
    """A row, and which images are left, bool (N, D)."""
    found = open_image_set(one["attacked"])
    cells = [cell for cell in one.get("cells", ()) if not refusal(cell["images"], cell["group"])]
    refused = [cell for cell in one.get("cells", ()) if cell not in cells]
    protocol, evaluations = one["labels"].get("protocol"), one["labels"].get("evaluations", 1)
    by = found.fields["found_by"]
    # An image that is misclassified as it is may be right under an attack.
    sets = {
        name: right[: len(by)] & (by[: len(right)] != CLEAN)
        for name, right in right_under(cells, threads, found.labels).items()
    }
    clean, left = _right(protocol, found)
    stages, further = json.loads(found.attributes["stages"]), []
    checked = json.loads(found.attributes.get("checks", "null"))
    if checked and sets and TRANSFER in checked:
        checked[TRANSFER] += _only_transferred(sets, left[:, 0])
    for name, right in sets.items():
        before = left.copy()
        left[: len(right)] &= right[:, None]
        if broken := int(before.sum() - left.sum()):
            further.append({"name": name, "broken": broken, "accuracy": float(left.mean())})
    stages = [*({"name": _name(stage), **stage} for stage in stages), *further]
    attacks = [stage | {"took": took} for stage, took in _taken(stages) if not stage.get("refused")]
    stages = stages[1:]
    strongest = max(attacks, key=lambda stage: stage["took"], default=None)
    counted = {attacker(cell) for cell in cells if not cell["labels"].get("again")}
    without, under = (share_under(protocol or FIXED, evaluations, one) for one in (clean, left))
    n, alone = len(left), _alone(protocol, found)
    if alone is None and protocol not in (None, FIXED):
        # Which stages broke an image on fresh draws is the attacker's opinion.
        boxed = {box: _box(box, sets, refused, None) for box in BOXES}
    elif alone is None:
        boxed = {box: _box(box, sets, refused, _of_stages(box, found, stages)) for box in BOXES}
    else:
        judge = partial(share_under, protocol or FIXED, evaluations)
        fresh = protocol not in (None, FIXED)
        of_box = partial(_best, stages=stages, alone=alone, judge=judge, fresh=fresh)
        boxed = {box: _box(box, sets, refused, of_box(box)) for box in BOXES}
    row = {
        **{name: one["labels"].get(name) for name in (*NAMED, NAMING_COLUMN)},
        **{name: found.attributes[name] for name in ("norm", "epsilon")},
        **{"n": n, "clean_accuracy": without["accuracy"]},
        **{name: value for own in boxed.values() for name, value in own.items()},
        **{name: value for name, value in under.items() if name != "n"},
        "below_no_defense": None,
        "attackers": len(attacks) - len(further) + len(counted),
        "strongest": strongest["name"] if strongest and strongest["took"] > 0 else None,
        **check_columns(checked, n),
        "purification_passes": one.get("passes"),
        "passes_per_image": sum(stage.get("passes", 0) for stage in stages) / n,
        "stages": "; ".join(_left(stage) for stage in stages),
    }
    return row, left


def _only_transferred(sets: Mapping[str, np.ndarray], left: np.ndarray) -> int:
    """How many of the images that the cascade has left, (N,), the papers' attacks on other models
    break, and none of theirs on the whole defence does."""
    right = {True: left.copy(), False: np.ones_like(left)}
    for name, one in sets.items():
        right[name.rpartition(" ")[2] in BOXES[1:]][: len(one)] &= one
    return int((right[True] & ~right[False]).sum())


def _right(protocol: str | None, found: StoredSet) -> tuple[np.ndarray, np.ndarray]:
    """What a defence gets right of the images as they are, and of those that were found, bool (N,
    D). A deterministic one is as one of known draws."""
    fields = found.fields
    if protocol in (None, FIXED):
        by = fields["found_by"][:, None]
        return by != CLEAN, by == LEFT
    truth = found.labels[:, None]
    return fields["clean_predictions"] == truth, fields["predictions"] == truth


def _taken(stages: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, Any], float]]:
    """Each stage after the clean pass, and by how much it lowered the accuracy."""
    return [
        # Two that broke as many images took as much.
        (dict(stage), round(before["accuracy"] - stage["accuracy"], 9))
        for before, stage in pairwise(stages)
    ]


Judged = tuple[Mapping[str, Any] | None, list[str]]
"""The numbers of a threat model's columns, or None, and what they are of."""


def _alone(protocol: str | None, found: StoredSet) -> np.ndarray | None:
    """What a defence gets right of the images that each stage of a cascade of `every_image` made,
    bool (N, D, S), of those that are right as they are; None of another cascade."""
    fields = found.fields
    if "stage_predictions" in fields:
        right: np.ndarray = fields["stage_predictions"] == found.labels[:, None, None]
        return right
    if "broken_by" not in fields:
        return None
    left: np.ndarray = ~fields["broken_by"].astype(bool)[:, None]
    return left & (fields["found_by"] != CLEAN)[:, None, None]


def _best(
    box: str,
    stages: Sequence[Mapping[str, Any]],
    alone: np.ndarray,
    judge: Callable[[np.ndarray], dict[str, Any]],
    fresh: bool,
) -> Judged:
    """What the stages of one threat model leave, which have attacked every image: of several on
    `fresh` draws, be it one, of the best of them; else of them together. One that went on from what
    others found left nothing by itself, and its images were what these had left."""
    own = [
        stage
        for stage in stages
        if stage.get("threat_model", "").removesuffix(KNOWN) == box
        and stage.get("kind") is None
        and "begin" not in stage
    ]
    numbers = [stage["stage"] for stage in own if stage["refused"] is None]
    names = [f"{s['attack']} {box}" for s in own if s["refused"] is None]
    without = [f"{s['attack']} refused" for s in own if s["refused"] is not None]
    if not numbers:
        return None, without
    if not fresh:
        return judge(alone[:, :, numbers].all(axis=2)), [*names, *without]
    each = [judge(alone[:, :, number]) for number in numbers]
    return min(each, key=lambda numbers: numbers["accuracy"]), [*names, *without]


def _box(
    box: str,
    sets: Mapping[str, np.ndarray],
    refused: Sequence[Mapping[str, Any]],
    stages: Judged | None,
) -> dict[str, Any]:
    """A threat model's columns: of the papers' attacks, or else of the cascade's `stages`."""
    own = {name: right for name, right in sets.items() if name.endswith(f" {box}")}
    without = [f"{attacker(c)} refused" for c in refused if c["labels"]["threat_model"] == box]
    numbers, names = None, list(own)
    if own:
        n = min(map(len, own.values()))
        numbers = share(np.logical_and.reduce([one[:n] for one in own.values()]))
    elif not without and stages is not None:
        numbers, names = stages
    numbers = numbers or dict.fromkeys(_NUMBERS.values())
    listed = "; ".join([*(name.removesuffix(f" {box}") for name in names), *without])
    return {f"{box}{end}": numbers[name] for end, name in _NUMBERS.items()} | {
        f"{box}_attacks": listed or None
    }


def _of_stages(box: str, found: StoredSet, stages: Sequence[Mapping[str, Any]]) -> Judged:
    """What the cascade's stages of one threat model leave, and their names; None if others have
    been before the last of them, or if there is none."""
    stages = [s | {"box": s.get("threat_model", "").removesuffix(KNOWN)} for s in stages]
    own = [s for s in stages if s["box"] == box and s["refused"] is None]
    numbers = [stage["stage"] for stage in own]
    before = [s for s in stages if s.get("stage", LEFT) in range(max(numbers, default=0))]
    if not own or any(s["box"] != box and s["broken"] for s in before):
        return None, []
    by = found.fields["found_by"]
    names = [f"{stage['attack']} {box}" for stage in own]
    return share((by != CLEAN) & ~np.isin(by, numbers)), names


def _name(stage: Mapping[str, Any]) -> str:
    words = (stage["attack"], stage.get("kind"), stage["threat_model"])
    return " ".join(word for word in words if word)


def _left(stage: Mapping[str, Any]) -> str:
    """What is left after a stage, or that it was refused."""
    left = "refused" if stage.get("refused") else f"{stage['accuracy']:.3f}"
    return f"{stage['name']} {left}"
