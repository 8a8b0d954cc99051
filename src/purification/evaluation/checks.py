"""Checks of a cascade: is what it leaves the defence's merit, or do its attacks fall short?

They run when all stages are done, and are counted as the stages are. A stage sees only what those
before it have left, so that no two of its numbers are of the same images; each check has a control
that makes up for that:

- **doubled**: the strongest gradient attack at twice its iterations, on what all stages have left.
  What that breaks is broken. If it is more than a point, it had not converged (Carlini et al. 2019,
  "On evaluating adversarial robustness").
- **control**: images that an attack without gradients, or one on another model, was the first to
  break are handed to the gradient attacks, too. Those that none of them breaks, the doubled one
  neither, are a sign of masked gradients (Athalye et al. 2018, section 3.1: black-box attacks are
  better than white-box ones. Croce and Hein's AutoAttack, 2020, warns if Square Attack, after all
  the others, takes more than 0.2 points).
- **larger_epsilon**: the strongest gradient attack in a ball of twice the radius, on the same
  images as in the cascade. It must leave no more (the same section; Carlini et al. 2019).
- **looks**: whether the defence draws random numbers, optimises in its forward pass, or has
  gradients that are exactly zero (`evaluation.looks`).

A gradient attack is one that climbs a gradient and attacks the whole defence: by its own gradient,
by BPDA, or by way of a cheaper version of it. The strongest is, of those that iterate, the one that
broke most images in its place. Of a randomised defence an image is broken, as in the cascade, on
which it errs in all draws by which the attacker selects; in a control, on most of them. What is
measured is kept (`Found.checked`); which flags that raises is decided when it is read
(`check_columns`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from purification.attacks import MaskedGradientError
from purification.attacks.registry import find_attack
from purification.evaluation.flags import (
    BEATS,
    LARGER_EPSILON,
    NOT_CONVERGED,
    OPTIMISES,
    QUERIES,
    RANDOMISED,
    TRANSFER,
    ZERO_GRADIENT,
)
from purification.evaluation.looks import is_noisy, optimises, zero_gradient_share
from purification.evaluation.threat_models import KNOWN

if TYPE_CHECKING:
    from purification.evaluation.cascade import Found, Stage
    from purification.evaluation.judge import Judge

DOUBLED, CONTROL, LARGER, LOOKS = "doubled", "control", "larger_epsilon", "looks"
"""The checks, by what the column `kind` of the costs calls them."""
WHOLE = ("white_box", "white_box_bpda", "surrogate")
"""Threat models whose attacker has the whole defence. A surrogate's name goes on with its settings,
behind a colon."""
DOUBLED_ERROR = "doubled_error"
"""Of what doubling took on draws: its standard error, in images."""
UNCONVERGED = 0.01
"""Twice the iterations may take this share of the images of a converged attack."""
CHECK_COLUMNS = (
    *("flags", "randomised", "optimises_in_forward", "zero_gradient_share"),
    *("only_by_queries", "only_by_transfer", "taken_by_doubling", "larger_epsilon_leaves"),
)
"""Columns of what the checks of a cascade found; all but `flags` are empty where a check was not
made. flags: the names of those raised, joined by `;`. only_by_queries, only_by_transfer: images
that a score or decision attack, or one on another model, breaks and no gradient attack does.
taken_by_doubling: images that were left and that twice the iterations broke; of a randomised
defence the sum of the shares of draws on which they are wrong since, on draws by which nothing was
selected; the flag is raised for what is beyond twice its standard error there.
larger_epsilon_leaves: images that the strongest gradient attack leaves in the larger ball, less
those in the cascade's."""
_LOOKED_AT = 32  # images
_ITERATIONS = "iterations"
_Cost = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """A cascade whose stages are done, for its checks.

    Attributes:
        stages: all of them, in their order.
        found: what they found, and what is found here.
        judge: the defended model, and the images with their labels and balls.
        run: attacks all that is left by a further stage (of this number, for this check), keeps
            what it breaks, and returns its costs.
        attacked: what a stage's attack makes of the images of these numbers, int64 (n,), from the
            images themselves. Raises MaskedGradientError.
        every_image: whether each stage was asked about all images that are right as they are.
    """

    stages: "Sequence[Stage]"
    found: "Found"
    judge: "Judge"
    run: Callable[["Stage", int, str], _Cost]
    attacked: Callable[["Stage", Tensor], Tensor]
    every_image: bool = False

    def asked(self, number: int) -> list[int]:
        """The numbers of the images that the stage of that number attacked, ascending."""
        if self.every_image:
            return [int(image) for image in self.found.right_at_first]
        later = (self.found.found_by >= number).nonzero().flatten().tolist()
        return sorted([*self.found.left.tolist(), *later])

    @property
    def gradient_stages(self) -> "dict[int, Stage]":
        """Those of the stages that are gradient attacks, by their numbers."""
        return {number: one for number, one in enumerate(self.stages) if is_gradient_attack(one)}

    def found_by_others(self, before: int) -> list[int]:
        """The numbers of the images that another stage than a gradient attack was the first to
        break, one of those `before` that number."""
        others = {*range(min(before, len(self.stages)))} - {*self.gradient_stages}
        return [i for i, stage in enumerate(self.found.found_by.tolist()) if stage in others]


def is_gradient_attack(stage: "Stage") -> bool:
    """Whether a stage climbs a gradient, and attacks the whole defence."""
    return _has_all(stage) and find_attack(stage.attack["method"]).gradient_based


def _has_all(stage: "Stage") -> bool:
    """Whether its attacker has the whole defence."""
    return stage.threat_model.partition(":")[0].removesuffix(KNOWN) in WHOLE


def check_steps(bench: Bench) -> list[Callable[[], _Cost]]:
    """The checks in their order. Each returns its costs, as a stage has them, and keeps what it
    found in `Found.checked`. Which they are depends on the stages alone, so that a cascade that was
    interrupted goes on where it was."""
    gradients, doubled = bench.gradient_stages, _doubled(bench)
    first = min({*range(len(bench.stages))} - {*gradients}, default=None)
    steps: list[Callable[[], _Cost]] = [partial(_double, bench)] if doubled else []
    if first is not None:
        steps += [partial(_control, bench, number) for number in gradients if number > first]
        steps += [partial(_control, bench, len(bench.stages))] if doubled else []
    if bounded := _enlarged(bench):
        steps.append(partial(_enlarge, bench, bounded))
    return [*steps, partial(_look, bench)]


def _strongest(bench: Bench, stages: "Mapping[int, Stage]") -> int:
    """The number of that of the stages which broke most in its place: of those that iterate, where
    there are any, and of refused ones only where there is no other."""
    costs = bench.found.costs[1:]

    def rank(number: int) -> tuple[bool, bool, int]:
        iterates = _ITERATIONS in stages[number].attack["settings"]
        return costs[number]["refused"] is None, iterates, costs[number]["broken"]

    return max(stages, key=rank)


# --- twice the iterations


def _doubled(bench: Bench) -> "dict[int, Stage]":
    """The gradient attacks that have iterations, with twice as many. An attack keeps its name, and
    so its random numbers."""
    return {
        number: _with(stage, {_ITERATIONS: 2 * own})
        for number, stage in bench.gradient_stages.items()
        if isinstance(own := stage.attack["settings"].get(_ITERATIONS), int)
    }


def _with(stage: "Stage", settings: Mapping[str, Any]) -> "Stage":
    own = {**stage.attack["settings"], **settings}
    return replace(stage, attack={**stage.attack, "settings": own})


def _double(bench: Bench) -> _Cost:
    rows, doubled = bench.found.left, _doubled(bench)
    before = _wrong(bench, rows)
    cost = bench.run(doubled[_strongest(bench, doubled)], len(bench.stages), DOUBLED)
    if cost["refused"] is None:
        taken, checked = _wrong(bench, rows) - before, bench.found.checked
        checked[DOUBLED] = float(taken.sum())
        if bench.judge.asked_anew() is not bench.judge:
            checked[DOUBLED_ERROR] = float(taken.square().sum()) ** 0.5
    return cost


def _wrong(bench: Bench, rows: Tensor) -> Tensor:
    """Share of draws, float64 (n,), on which the model errs on what is found of these images."""
    judge = bench.judge.asked_anew()
    if judge is bench.judge or not len(rows):
        errors = bench.found.errors[rows]
    else:
        errors = judge.says(bench.found.images[rows], rows).errors
    return errors.double() / judge.draws


# --- what other attacks broke, by gradient attacks


def _control(bench: Bench, number: int) -> _Cost:
    """Hand a gradient attack, the stage of that number or the doubled one behind them, what it was
    not asked about because another one was faster, in a stage before. (Later ones had only what it
    did not break.)"""
    stage = bench.gradient_stages.get(number)
    if stage is None:
        doubled = _doubled(bench)
        stage = doubled[_strongest(bench, doubled)]
    controlled = bench.found.checked.setdefault(CONTROL, [])
    rows = [image for image in bench.found_by_others(number) if image not in controlled]
    # On most draws: what another attack broke on all of them, it may have broken by a little luck.
    most = bench.judge.draws // 2 + 1
    broken, cost = _attack(bench, stage, rows, bench.judge.epsilon, most)
    controlled += [image for image, one in zip(rows, broken, strict=True) if one]
    return {"stage": number, "kind": CONTROL, **cost}


def _attack(
    bench: Bench, stage: "Stage", rows: Sequence[int], epsilon: float, least: int
) -> tuple[list[bool], _Cost]:
    """Which of these images an attack breaks within that radius, so that the model errs on so many
    draws at `least`, and its costs."""
    numbers, refused, outside = torch.tensor(rows), None, 0
    broken = [False] * len(rows)
    if rows:
        try:
            attacked = bench.attacked(stage, numbers)
        except MaskedGradientError as error:
            refused = " ".join(str(error).split())
        else:
            wrong = bench.judge.says(attacked, numbers).errors >= least
            inside = bench.judge.inside(attacked, numbers, epsilon)
            broken, outside = (wrong & inside).tolist(), int((wrong & ~inside).sum())
    cost = {"attack": stage.attack["name"], "threat_model": stage.threat_model}
    cost |= {"asked": len(rows), "broken": sum(broken), "outside": outside, "refused": refused}
    return broken, cost


# --- a larger ball


def _enlarged(bench: Bench) -> "dict[int, Stage]":
    """The gradient attacks that are bounded in a ball, in the larger one. Without those that went
    on from what others found: here they would begin anew, and be weaker for that."""
    factor = _larger(bench) / bench.judge.epsilon
    found: dict[int, Stage] = {}
    if factor <= 1:
        return found
    for number, stage in bench.gradient_stages.items():
        if stage.goes_on:
            continue
        entry, own = find_attack(stage.attack["method"]), stage.attack["settings"]
        if entry.norm is not None:
            given = [name for name in entry.lengths if own.get(name) is not None]
            found[number] = _with(stage, {name: factor * own[name] for name in given})
    return found


def _enlarge(bench: Bench, bounded: Mapping[int, "Stage"]) -> _Cost:
    """The attack that broke most in its place, on the images that it was asked about there."""
    costs, number = bench.found.costs[1:], _strongest(bench, bounded)
    stage, rows = bounded[number], bench.asked(number)
    broken, cost = _attack(bench, stage, rows, _larger(bench), bench.judge.draws)
    if cost["refused"] is None:
        bench.found.checked[LARGER] = costs[number]["broken"] - sum(broken)
    return {"stage": number, "kind": LARGER, "epsilon": _larger(bench), **cost}


def _larger(bench: Bench) -> float:
    """The radius of the larger ball: twice that of the cascade's, but no more than 1 in l-inf,
    where all pixels are in it."""
    twice = 2 * bench.judge.epsilon
    return min(twice, 1.0) if bench.judge.norm == "linf" else twice


# --- looks, and what all of it says


def _look(bench: Bench) -> _Cost:
    """Looks at the first of the images that were found, and at gradients at all that were given."""
    judge, checked = bench.judge, bench.found.checked
    some = (judge.defended, bench.found.images[:_LOOKED_AT], judge.batch_size)
    checked[RANDOMISED], checked[OPTIMISES] = is_noisy(*some), optimises(*some)
    of_it = (one for one in bench.stages if one.threat_model.removesuffix(KNOWN) == WHOLE[0])
    exact = next((one.model for one in of_it), None)
    if exact is not None:
        given = (exact, judge.images, judge.labels, judge.batch_size)
        checked[ZERO_GRADIENT] = zero_gradient_share(*given)
    checked |= _beaten(bench)
    cost = {"stage": len(bench.stages), "kind": LOOKS, "attack": None, "threat_model": None}
    return {**cost, "asked": len(judge.images), "broken": 0, "outside": 0, "refused": None}


def _beaten(bench: Bench) -> dict[str, int]:
    """How many images no gradient attack breaks, and another does: by which kind."""
    gradients, found_by = bench.gradient_stages, bench.found.found_by.tolist()
    controlled = {*bench.found.checked.get(CONTROL, ())}
    counts = {}
    for name, whole in ((QUERIES, True), (TRANSFER, False)):
        kind = {
            number
            for number, stage in enumerate(bench.stages)
            if number not in gradients and _has_all(stage) == whole
        }
        if gradients and kind:
            missed = [i for i, by in enumerate(found_by) if by in kind and i not in controlled]
            counts[name] = len(missed)
    return counts


def check_columns(checked: Mapping[str, Any] | None, n: int) -> dict[str, Any]:
    """`CHECK_COLUMNS` of a cascade on n images, from what its checks found (`Found.checked`), or
    None: there were none."""
    checked = checked or {}
    # Beyond what the draws on which it was measured may have made of it.
    doubled = checked.get(DOUBLED, 0) - 2 * checked.get(DOUBLED_ERROR, 0)
    numbers = (RANDOMISED, OPTIMISES, ZERO_GRADIENT, QUERIES, TRANSFER, DOUBLED, LARGER)
    raised = {
        RANDOMISED: checked.get(RANDOMISED),
        ZERO_GRADIENT: checked.get(ZERO_GRADIENT, 0) > 0,
        OPTIMISES: checked.get(OPTIMISES),
        QUERIES: checked.get(QUERIES, 0) > BEATS * n,
        TRANSFER: checked.get(TRANSFER, 0) > BEATS * n,
        NOT_CONVERGED: doubled > UNCONVERGED * n,
        LARGER_EPSILON: checked.get(LARGER, 0) > BEATS * n,
    }
    measured = [checked.get(name) for name in numbers]
    flags = ";".join(name for name, is_raised in raised.items() if is_raised)
    return dict(zip(CHECK_COLUMNS, [flags, *measured], strict=True))
