"""Auto-PGD (Croce and Hein 2020): projected gradient steps that halve where they gain nothing."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor, nn

from purification.attacks import losses
from purification.attacks.balls import Ball, L2Ball, LinfBall
from purification.attacks.best import Best
from purification.attacks.contract import attack
from purification.attacks.gradient import logits_of, loss_gradient, per_image
from purification.randomness import derive_seed, is_randomised

OPTIONS = {
    "iterations": "count",
    "loss": "cross_entropy|dlr|targeted_dlr|margin = cross_entropy",
    "restarts": "count = 1",
    "targets": "count = 9",
}
_MOMENTUM = 0.75  # alpha: how much of x[k + 1] is the new step
_RISES = 0.75  # rho: the share of steps that must gain
_FIRST, _SHORTER, _SHORTEST = 0.22, 0.03, 0.06  # of the checkpoints


@attack(norm="linf", settings={"epsilon": "epsilon", **OPTIONS})
def apgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    iterations: int,
    loss: str = "cross_entropy",
    restarts: int = 1,
    targets: int = 9,
    seed: int,
    indices: Iterable[int],
    begin_at: Tensor | None = None,
) -> Tensor:
    """Auto-PGD: gradient signs in steps of 2 epsilon at first, which are halved where they stall.

    Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks", algorithm 1, with the paper's constants: momentum 0.75, and
    checkpoints after 0, 22 and 41 % of the iterations and so on, at each of which the step of an
    image is halved if fewer than 75 % of its steps since the last one gained, or if neither step
    nor greatest loss have changed since. Then it goes on from its best point. A run begins at a
    random point of the ball. No step size is to be chosen.

    **Losses** (`losses`). For `cross_entropy` the log-odds of the label are climbed: the
    cross-entropy is log(1 + exp(log-odds)), so that their gradients are parallel and each step is
    the same in the l-inf ball and in the l2 ball; and as one grows with the other, comparisons of
    losses are the same too. In float32 the log-odds still differ where a confident classifier's
    cross-entropy is 0. `dlr` is eq. 6, `margin` its numerator, `targeted_dlr` eq. 7 towards the
    likeliest other classes on the image itself, one after another, as many as `targets`. For fewer
    than 3 classes (targeted: 4) the ratios are the margin.

    An image that is misclassified, be it as it was given, stops, and costs no more passes. The
    result is its first misclassified iterate, else the iterate of the greatest loss of all runs (of
    `targeted_dlr`: the greatest margin). At most 1 + runs (iterations + 1) forward passes and
    runs * iterations backward passes; runs are `restarts`, times the targets. The choice of images
    that go on waits for the device in each step. Before a randomised model, where a success is one
    of one draw, all images go on to the end, and the greatest loss decides alone.

    Args:
        epsilon: l-inf radius, in pixel units of [0, 1].
        iterations: steps of a run; 100 in AutoAttack.
        loss: `cross_entropy`, `dlr`, `targeted_dlr` or `margin`; AutoAttack's standard version has
            the first and the third.
        restarts: random starts, of `targeted_dlr` for each target.
        begin_at: images (N, C, H, W) in the place of the first of them.
        targets: of `targeted_dlr` alone: how many classes are aimed at; all others, if there are
            fewer. AutoAttack's 9.
    """
    ball = LinfBall(images.detach(), epsilon)
    return _attack(
        "apgd", model, labels, ball, iterations, loss, restarts, targets, seed, indices, begin_at
    )


@attack(norm="l2", settings={"epsilon": "length", **OPTIONS})
def apgd_l2(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    iterations: int,
    loss: str = "cross_entropy",
    restarts: int = 1,
    targets: int = 9,
    seed: int,
    indices: Iterable[int],
    begin_at: Tensor | None = None,
) -> Tensor:
    """`apgd` in the l2 ball: steps along the gradient over its own l2 norm, for each image.

    Croce and Hein 2020, algorithm 1. After a step the change is drawn back to the ball, then the
    image clipped to [0, 1], with which the ball still holds.

    Args:
        epsilon: l2 radius, in pixel units of [0, 1].
        iterations: steps of a run; 100 in AutoAttack.
        loss: `cross_entropy`, `dlr`, `targeted_dlr` or `margin`, as for `apgd`.
        restarts: random starts, of `targeted_dlr` for each target.
        begin_at: images (N, C, H, W) in the place of the first of them.
        targets: of `targeted_dlr` alone: how many classes are aimed at; all others, if there are
            fewer. AutoAttack's 9.
    """
    ball = L2Ball(images.detach(), epsilon)
    name = "apgd_l2"
    return _attack(
        name, model, labels, ball, iterations, loss, restarts, targets, seed, indices, begin_at
    )


_UNTARGETED = {
    "cross_entropy": losses.log_odds_against,
    "dlr": losses.dlr,
    "margin": losses.margin,
    # What its runs are compared by.
    "targeted_dlr": losses.margin,
}


def _attack(
    method: str,
    model: nn.Module,
    labels: Tensor,
    ball: Ball,
    iterations: int,
    loss: str,
    restarts: int,
    targets: int,
    seed: int,
    indices: Iterable[int],
    begin_at: Tensor | None,
) -> Tensor:
    if not 0 <= ball.epsilon < math.inf or min(iterations, restarts, targets) < 1:
        raise ValueError(
            f"{method}: epsilon must not be negative, iterations, restarts and targets at least 1; "
            f"got {ball.epsilon}, {iterations}, {restarts}, {targets}"
        )
    if loss not in _UNTARGETED:
        raise ValueError(f"{method}: loss must be one of {', '.join(_UNTARGETED)}; got {loss!r}")
    images, indices = ball.images, list(indices)
    best = Best(
        *(images, labels, lambda logits, rows: _UNTARGETED[loss](logits, labels[rows])),
        successes=not is_randomised(model),
    )
    rows = torch.arange(len(images), device=images.device)
    logits = logits_of(model, images, rows)
    best.see(rows, images, logits)
    aims = losses.likeliest_others(logits, labels, targets).unbind(1)
    for run, aim in enumerate(aims if loss == "targeted_dlr" else [labels]):
        for restart in range(restarts):
            rows = best.staying()
            if len(rows) == 0:
                return best.images
            number = run * restarts + restart
            own = seed if number == 0 else derive_seed(seed, "restart", str(number))
            start = ball.random(own, indices)
            if restart == 0 and begin_at is not None:
                start = begin_at
            _climb(model, labels, aim, start, ball, iterations, loss, rows, best)
    return best.images


@dataclass
class _State:
    """What is known of the n images of a run that are not misclassified yet, row by row.

    Attributes:
        rows: int64 (n,), where they stand in the batch.
        labels, aims: int64 (n,), the labels, and the classes that are aimed at.
        images: (n, C, H, W), the centres of the balls.
        now, before: (n, C, H, W), the last two iterates; `loss` (n,) and `gradient` of the last.
        best: (n, C, H, W), the iterate of the greatest loss, `best_loss` (n,), `best_gradient`.
        step: (n,), length of a step.
        gains: (n,), steps since the last checkpoint that gained.
        best_then: (n,), the greatest loss at the last checkpoint.
        halved_then: bool (n,), whether the step was halved there.
    """

    rows: Tensor
    labels: Tensor
    aims: Tensor
    images: Tensor
    now: Tensor
    before: Tensor
    loss: Tensor
    gradient: Tensor
    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor
    step: Tensor
    gains: Tensor
    best_then: Tensor
    halved_then: Tensor

    def part(self, kept: Tensor) -> Self:
        """Of some of them, int64 (m,)."""
        return type(self)(*(getattr(self, own.name)[kept] for own in fields(self)))

    def stuck(self, steps: int) -> Tensor:
        """Whether step and point go back, bool (n,), so many steps after the last checkpoint:
        conditions 1 and 2 of the paper. What the next checkpoint compares with is noted."""
        few = self.gains < _RISES * steps
        same = ~self.halved_then & (self.best_loss == self.best_then)
        stuck = few | same
        self.halved_then, self.best_then = stuck, self.best_loss
        self.gains = torch.zeros_like(self.gains)
        return stuck

    def next(self, ball: Ball, with_momentum: bool) -> Tensor:
        """The next iterate (n, C, H, W): a step along the gradient, or the mean of that and of the
        step before."""
        step = per_image(self.step, self.now) * ball.step(self.gradient)
        reached = ball.project(self.now + step)
        if not with_momentum:
            return reached
        change = _MOMENTUM * (reached - self.now) + (1 - _MOMENTUM) * (self.now - self.before)
        return ball.project(self.now + change)

    def take(self, point: Tensor, loss: Tensor, gradient: Tensor) -> None:
        """The next iterate (n, C, H, W), with the loss (n,) and the gradient there."""
        self.gains = self.gains + (loss > self.loss)
        self.before, self.now, self.loss, self.gradient = self.now, point, loss, gradient
        better = loss > self.best_loss
        self.best_loss = torch.where(better, loss, self.best_loss)
        chosen = per_image(better, point)
        self.best = torch.where(chosen, point, self.best)
        self.best_gradient = torch.where(chosen, gradient, self.best_gradient)

    def go_back(self, stuck: Tensor) -> None:
        """Half the step, from the best point, of the images bool (n,) that are stuck."""
        self.step = torch.where(stuck, self.step / 2, self.step)
        self.loss = torch.where(stuck, self.best_loss, self.loss)
        chosen = per_image(stuck, self.now)
        self.now = torch.where(chosen, self.best, self.now)
        self.gradient = torch.where(chosen, self.best_gradient, self.gradient)


def checkpoints(iterations: int) -> list[int]:
    """The iterations after which steps may be halved, w[1], w[2], ... of the paper: w[j] is
    ceil(p[j] * iterations), with p[0] = 0, p[1] = 0.22 and p[j + 1] = p[j] + max(p[j] - p[j - 1] -
    0.03, 0.06)."""
    found, share, width = list[int](), _FIRST, _FIRST
    while share < 1:
        # Products such as 0.41 * 100 are a little above the whole number that they are.
        found.append(math.ceil(round(share * iterations, 6)))
        width = max(width - _SHORTER, _SHORTEST)
        share += width
    return sorted(set(found))


def _climb(
    model: nn.Module,
    labels: Tensor,
    aims: Tensor,
    start: Tensor,
    ball: Ball,
    iterations: int,
    loss: str,
    rows: Tensor,
    best: Best,
) -> None:
    """One run of the images int64 (n,) of a batch from their starts, those of all (N, C, H, W)."""
    ball, labels, aims = ball.part(rows), labels[rows], aims[rows]
    point = ball.project(start[rows])
    logits, value, gradient = _look(model, point, labels, aims, loss, rows)
    wrong = best.see(rows, point, logits)
    steps = torch.full_like(value, 2 * ball.epsilon)
    none = torch.zeros_like(value)
    state = _State(
        *(rows, labels, aims, ball.images, point, point, value, gradient),
        *(point, value, gradient, steps, none, value, none.bool()),
    ).part((~wrong).nonzero().squeeze(1))
    halving, last = set(checkpoints(iterations)), 0
    for k in range(iterations):
        if len(state.rows) == 0:
            return
        stuck = None
        if k in halving:
            stuck, last = state.stuck(k - last), k
        point = state.next(type(ball)(state.images, ball.epsilon), with_momentum=k > 0)
        if k == iterations - 1:  # what a gradient would be for
            best.see(state.rows, point, logits_of(model, point, state.rows))
            return
        look = _look(model, point, state.labels, state.aims, loss, state.rows)
        wrong = best.see(state.rows, point, look[0])
        state.take(point, *look[1:])
        if stuck is not None:
            state.go_back(stuck)
        if bool(wrong.any()):
            state = state.part((~wrong).nonzero().squeeze(1))


def _look(
    model: nn.Module, images: Tensor, labels: Tensor, aims: Tensor, loss: str, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (n, K) of images, their loss (n,) and its gradient (n, C, H, W)."""

    def climbed(logits: Tensor) -> Tensor:
        if loss == "targeted_dlr":
            return losses.targeted_dlr(logits, labels, aims)
        return _UNTARGETED[loss](logits, labels)

    logits, gradient = loss_gradient(model, images, climbed, rows)
    return logits, climbed(logits), gradient
