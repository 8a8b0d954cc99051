"""Iterated gradient steps in a ball: BIM, PGD and MIM in the l-inf ball, PGD in the l2 ball."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from purification.attacks import losses
from purification.attacks.balls import Ball, L2Ball, LinfBall
from purification.attacks.best import Best
from purification.attacks.contract import attack
from purification.attacks.drawn import of_each_draw
from purification.attacks.gradient import logits_of, loss_gradient
from purification.randomness import derive_seed, is_randomised
from purification.reach import step_sizes

SETTINGS = {"epsilon": "epsilon", "step_size": "epsilon", "iterations": "count"}
OPTIONS = {
    "restarts": "count = 1",
    "loss": "log_odds|margin|dlr|log_error|targeted = log_odds",
    "momentum": "fraction = 0.0",
    "schedule": "constant|cosine = constant",
    "start": "random|image = random",
    "keep": "last|worst|first_success = last",
}
"""What PGD has besides, in both norms."""
EARLY = {"keep": "first_success"}


@attack(norm="linf", settings=SETTINGS)
def bim(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step_size: float,
    iterations: int,
) -> Tensor:
    """x[t+1] = clip(x[t] + step_size * sign(grad CE(model(x[t]), labels))), x[0] the image.

    Kurakin et al. 2017, "Adversarial examples in the physical world", eq. 2: FGSM repeated, clipped
    after each step to the epsilon ball and to [0, 1]. The signs are those of the label's log-odds,
    as FGSM's (`gradient`). It has no random start: that is PGD's.

    The last iterate is returned, whether it is misclassified or an earlier one was; nothing stops
    early, so that no image depends on its batch. `iterations` forward and backward passes. A pixel
    whose gradient is exactly zero in a step does not move in it.

    Args:
        epsilon: l-inf radius, in pixel units of [0, 1]. Cowboy states no setting of its attacks;
            CleverHans 2.1.0, for orientation, has 0.3.
        step_size: l-inf length of a step, in the same units; CleverHans 0.05, the paper 1 / 255.
        iterations: steps; CleverHans 10, the paper min(255 epsilon + 4, 1.25 * 255 epsilon).
    """
    _check("bim", epsilon, step_size, iterations)
    steps = [step_size] * iterations
    return _climb(model, images, LinfBall(images.detach(), epsilon), steps, _log_odds(labels))


@attack(
    norm="linf",
    settings={**SETTINGS, "step_size": "epsilon = None", **OPTIONS},
    ends_early=EARLY,
)
def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step_size: float | None = None,
    iterations: int,
    restarts: int = 1,
    loss: str = "log_odds",
    momentum: float = 0.0,
    schedule: str = "constant",
    start: str = "random",
    keep: str = "last",
    seed: int,
    indices: Iterable[int],
    begin_at: Tensor | None = None,
) -> Tensor:
    """`bim` from a random point of the epsilon ball around each image.

    Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", sec. 2.1:
    projected gradient descent on the negative loss. The start is uniform in the ball, then clipped
    to [0, 1]. With the defaults one start, and the last iterate, as in the paper. The other
    settings make it stronger for the same passes, or end it where it has succeeded.

    **Losses** (`losses`): `log_odds` of the label, whose gradient is parallel to the
    cross-entropy's; `margin`, the largest other logit minus the label's; `dlr`, that over the
    largest logit minus the third (of two classes the margin); `log_error`, the log of the
    probability of an error; `targeted`, the margin towards one class, the k-th likeliest of the
    others on the image itself in run k. With more runs than other classes the classes come round
    again: of two classes it is the margin in every run. Of a randomised model `log_error` is the
    mean of each draw's, and the others are those of the mean logits of a look.

    **Momentum** is that of MIM: the direction of a step is the sign of
    g[t+1] = momentum * g[t] + J / ||J||_1, J the gradient. (In the l2 ball J / ||J||_2, and the
    direction is g / ||g||_2.) It is not APGD's mean of the last two steps.

    **Keep.** `last` looks at no iterate: `iterations` forward and backward passes a run, and with
    restarts a forward pass more each. `worst` returns the iterate of the greatest loss, any
    misclassified one before the others; `first_success` stops an image where it is first
    misclassified, and it costs no more passes, in further runs neither. Both look at the last
    iterate too, a forward pass more, and at the image itself, which is another one with
    `start: random`. Of the runs of an image the result is that which is misclassified, then that
    of the greatest loss, then the first; of `targeted` the margin decides, as its runs differ. Of a
    randomised model, where a success is one of one draw, the loss alone decides.

    A strong attack for few passes, at a first step of 0.4 epsilon: `{iterations: 25, loss: margin,
    momentum: 0.75, schedule: cosine, start: image, keep: first_success}`. The margin climbs towards
    the class that is nearest at the moment, which need not be the one whose boundary can be
    reached: of 100 digits before a bare classifier A, at 0.1, it leaves 22, the log-odds instead of
    it 18, and `targeted` with nine runs 10. All 4 between the first two change to the second
    likeliest class, while the margin ends towards the likeliest.

    Args:
        epsilon: l-inf radius, in pixel units of [0, 1]; 0.3 in the paper (MNIST), in AE-GAN and in
            CleverHans 2.1.0.
        step_size: l-inf length of the first step, in the same units; 0.01 in the paper and in
            CleverHans. AE-GAN states neither it nor the number of steps. Left out, all steps
            together are 2.5 epsilon long: 2.5 epsilon / iterations each where they are constant.
        iterations: steps of a run; 40 in the paper and in CleverHans.
        restarts: runs of an image, of which the best counts.
        loss: what is climbed.
        momentum: weight of the earlier gradients in a step's direction, from 0 to below 1.
        schedule: `constant`, or `cosine` from `step_size` down to a twentieth of it.
        start: `random`, or the `image` itself; a run that would then repeat an earlier one (any
            after the first, of `targeted` after the last other class) begins at random.
        keep: which iterate is returned: `last`, `worst` or `first_success`.
        begin_at: images (N, C, H, W) at which the runs begin that would begin at the image, and
            the first one in any case.
    """
    plan = _Plan(epsilon, step_size, iterations, restarts, loss, momentum, schedule, start, keep)
    plan.check("pgd")
    ball = LinfBall(images.detach(), epsilon)
    return _restarted(model, labels, ball, plan, seed, indices, begin_at)


@attack(
    norm="l2",
    settings={
        "epsilon": "length",
        "step_size": "length = None",
        "iterations": "count",
        **OPTIONS,
    },
    ends_early=EARLY,
)
def pgd_l2(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step_size: float | None = None,
    iterations: int,
    restarts: int = 1,
    loss: str = "log_odds",
    momentum: float = 0.0,
    schedule: str = "constant",
    start: str = "random",
    keep: str = "last",
    seed: int,
    indices: Iterable[int],
    begin_at: Tensor | None = None,
) -> Tensor:
    """`pgd` in the l2 ball: steps along the gradient over its own l2 norm, for each image.

    Madry et al. 2018, sec. 2.1 and 5.2. After a step the change is drawn back to the ball, and then
    the image clipped to [0, 1]: the box comes last, and the ball still holds, because the clip
    brings every pixel nearer to that of the image, which lies in the box. Starts are uniform in the
    ball. An image whose gradient is exactly zero does not move in a step.

    Args:
        epsilon: l2 radius, in pixel units of [0, 1].
        step_size: l2 length of the first step, in the same units; left out, all steps together are
            2.5 epsilon long.
        iterations: steps of a run.
        restarts: runs of an image, of which the best counts.
        loss: what is climbed, as for `pgd`.
        momentum: weight of the earlier gradients in a step's direction, from 0 to below 1.
        schedule: `constant`, or `cosine` from `step_size` down to a twentieth of it.
        start: `random`, or the `image` itself; a run that would then repeat an earlier one begins
            at random.
        keep: which iterate is returned: `last`, `worst` or `first_success`.
        begin_at: images (N, C, H, W) at which the runs begin that would begin at the image, and
            the first one in any case.
    """
    plan = _Plan(epsilon, step_size, iterations, restarts, loss, momentum, schedule, start, keep)
    plan.check("pgd_l2")
    ball = L2Ball(images.detach(), epsilon)
    return _restarted(model, labels, ball, plan, seed, indices, begin_at)


@attack(norm="linf", settings={**SETTINGS, "momentum": "not_negative"})
def mim(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step_size: float,
    iterations: int,
    momentum: float,
) -> Tensor:
    """`bim` along the sign of g[t+1] = momentum * g[t] + J / ||J||_1, J the gradient, g[0] = 0.

    Dong et al. 2018, "Boosting adversarial attacks with momentum", algorithm 1, eq. 6 and 7, with
    an image's own l1 norm. Their code and CleverHans' divide by the mean of the absolute values
    instead, a constant factor on g, which its sign does not show. foolbox differs: it adds up the
    gradients' signs. The gradient of the label's log-odds stands for the cross-entropy's here too:
    the two are parallel (`gradient`), and the norm takes their lengths away. An image whose
    gradient is exactly zero in a step goes on along g.

    Args:
        epsilon: l-inf radius, in pixel units of [0, 1]; 16 / 255 in the paper, 0.3 in CleverHans.
        step_size: l-inf length of a step, in the same units; epsilon / iterations in the paper,
            0.06 in CleverHans 2.1.0.
        iterations: steps; 10 in both.
        momentum: the decay mu of g; 1.0 in both. 0 is `bim`.
    """
    _check("mim", epsilon, step_size, iterations)
    if not momentum >= 0:
        raise ValueError(f"mim: momentum must not be negative, got {momentum}")
    ball, steps = LinfBall(images.detach(), epsilon), [step_size] * iterations
    return _climb(model, images, ball, steps, _log_odds(labels), momentum)


def _check(method: str, epsilon: float, step_size: float, iterations: int) -> None:
    if not (0 <= epsilon < math.inf and 0 < step_size < math.inf and iterations >= 1):
        raise ValueError(
            f"{method}: epsilon must not be negative, step_size must be positive, iterations at "
            f"least 1; got {epsilon}, {step_size}, {iterations}"
        )


RowsLoss = Callable[[Tensor, Tensor], Tensor]
"""(logits (n, K), int64 (n,), the rows of the batch that they are of) -> (n,)."""


def _log_odds(labels: Tensor) -> RowsLoss:
    return lambda logits, rows: losses.log_odds_against(logits, labels[rows])


@dataclass(frozen=True)
class _Plan:
    """The settings of PGD (`pgd`)."""

    epsilon: float
    step_size: float | None
    iterations: int
    restarts: int
    loss: str
    momentum: float
    schedule: str
    start: str
    keep: str

    def check(self, method: str) -> None:
        """Raises ValueError, with the method's name, for settings out of their range."""
        _check(
            method, self.epsilon, 1 if self.step_size is None else self.step_size, self.iterations
        )
        if self.restarts < 1 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"{method}: restarts must be at least 1, momentum from 0 to below 1; got "
                f"{self.restarts}, {self.momentum}"
            )
        for name, allowed in _WORDS.items():
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(
                    f"{method}: {name} must be one of {', '.join(allowed)}; got {value!r}"
                )

    @property
    def steps(self) -> list[float]:
        return step_sizes(self.epsilon, self.step_size, self.iterations, self.schedule)


_UNTARGETED = {
    "log_odds": losses.log_odds_against,
    "margin": losses.margin,
    "dlr": losses.dlr,
    "log_error": losses.log_error,
}
_WORDS = {
    "loss": (*_UNTARGETED, "targeted"),
    "schedule": ("constant", "cosine"),
    "start": ("random", "image"),
    "keep": ("last", "worst", "first_success"),
}


def _restarted(
    model: nn.Module,
    labels: Tensor,
    ball: Ball,
    plan: _Plan,
    seed: int,
    indices: Iterable[int],
    begin_at: Tensor | None,
) -> Tensor:
    """PGD as planned, on the images that are the ball's centres."""
    images, indices = ball.images, list(indices)
    untargeted = _UNTARGETED.get(plan.loss, losses.margin)
    asked = of_each_draw(model) if plan.loss == "log_error" else model

    def known(logits: Tensor, rows: Tensor) -> Tensor:
        return untargeted(logits, labels[rows])

    best = Best(images, labels, known, successes=not is_randomised(model))
    everything = torch.arange(len(images), device=images.device)
    targets = None
    if plan.loss == "targeted" or (plan.start == "random" and plan.keep != "last"):
        logits = logits_of(asked, images, everything)
        if plan.loss == "targeted":
            targets = losses.likeliest_others(logits, labels, plan.restarts)
        if plan.keep != "last":
            best.see(everything, images, logits)
    runs = 1 if targets is None else targets.shape[1]
    for run in range(plan.restarts):
        rows = best.staying() if plan.keep == "first_success" else everything
        if len(rows) == 0:
            break
        start = images if begin_at is None else begin_at
        given = plan.start == "image" or (begin_at is not None and run == 0)
        if not given or run >= runs:
            start = ball.random(_seed_of(seed, run), indices)
        climbed: RowsLoss = known
        if targets is not None:
            climbed = _towards(labels, targets[:, run % runs])
        seen = None if plan.keep == "last" else best
        last = _climb(
            *(asked, start[rows], ball.part(rows), plan.steps, climbed, plan.momentum),
            rows=rows,
            best=seen,
            stops=plan.keep == "first_success",
        )
        if plan.keep == "last":
            if plan.restarts == 1:
                return last
            best.see(rows, last, logits_of(asked, last, rows))
    return best.images


def _seed_of(seed: int, run: int) -> int:
    """Of a run's starts; the first one's is the attack's own."""
    return seed if run == 0 else derive_seed(seed, "restart", str(run))


def _towards(labels: Tensor, targets: Tensor) -> RowsLoss:
    return lambda logits, rows: losses.targeted_margin(logits, labels[rows], targets[rows])


def _climb(
    model: Callable[[Tensor], Tensor],
    start: Tensor,
    ball: Ball,
    steps: Sequence[float],
    loss: RowsLoss,
    momentum: float = 0.0,
    *,
    rows: Tensor | None = None,
    best: Best | None = None,
    stops: bool = False,
) -> Tensor:
    """`mim` from `start` (n, C, H, W), which is projected as the iterates are.

    `rows` int64 (n,): where these images, the centres of `ball`, stand in the batch; None: they are
    the batch. With `best` every iterate is looked at and shown to it; with `stops` an image is left
    out once it is misclassified. Returns the last iterates of those that are left.
    """
    if rows is None:
        rows = torch.arange(len(start), device=start.device)
    current = ball.project(start.detach())
    direction = torch.zeros_like(current)
    for step in steps:
        logits, gradients = loss_gradient(model, current, _of_rows(loss, rows), rows)
        if best is not None:
            wrong = best.see(rows, current, logits)
            if stops and bool(wrong.any()):
                kept = (~wrong).nonzero().squeeze(1)
                rows, current, ball = rows[kept], current[kept], ball.part(kept)
                direction, gradients = direction[kept], gradients[kept]
                if len(rows) == 0:
                    return current
        direction = momentum * direction + ball.normalised(gradients)
        current = ball.project(current + step * ball.step(direction))
    if best is not None:
        best.see(rows, current, logits_of(model, current, rows))
    return current


def _of_rows(loss: RowsLoss, rows: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logits: loss(logits, rows)
