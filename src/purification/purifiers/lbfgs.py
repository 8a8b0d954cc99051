"""L-BFGS as the optimizer of a latent search: each restart of each image by itself, in one batch.

From the differences of codes s and of gradients y of the last iterations, the two-loop recursion
(Nocedal and Wright, Numerical Optimization, 2nd ed., Algorithm 7.4) makes the direction -H g with H
the quasi-Newton estimate of the inverse Hessian. There is no line search: an iteration evaluates
the generator once, forward and backward, at a trial code, and what it finds there decides:

- a lower objective is accepted, and the next trial is a full step, z - H g;
- otherwise the row stays at its best code, and the next trial is half as far from it on the
  same line.

Both give a pair (s, y), which is left out where the curvature s.y is not positive. Before there is
any pair H is the step size, so that the first step is gradient descent's.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from purification.purifiers.descent import (
    ROWS_IN_CACHE,
    Objective,
    SearchResult,
    SearchSettings,
)
from purification.purifiers.search_network import matrix_precision

MEMORY = 10  # iterations whose pairs are kept
SHRINK = 0.5  # the next trial's share of a failed step
CURVATURE = 1e-3  # least cosine of s and y; less, and 1 / s.y magnifies float32's rounding


class Path(NamedTuple):
    """Where L-BFGS stands, a row for each restart, (M, ...); `start` says it of the beginning.

    A row is a function of its own image and start alone.
    """

    best: Tensor  # (M, d), the code of least objective so far
    trial: Tensor  # (M, d), the next to be evaluated
    value: Tensor  # (M,), objective at the best
    gradient: Tensor  # (M, d), at the best
    moves: Tensor  # (M, MEMORY, d), the pairs' s, the latest last
    changes: Tensor  # (M, MEMORY, d), their y
    weights: Tensor  # (M, MEMORY), 1 / s.y, or 0 where the pair is left out
    scale: Tensor  # (M,), s.y / y.y of the latest pair, the step size before: H without its pairs

    @classmethod
    def start(cls, codes: Tensor, step_size: float) -> Self:
        """From `codes` (..., d), which have not been evaluated."""
        rows, latent = codes.shape[:-1], codes.shape[-1]
        return cls(
            codes,
            codes,
            codes.new_full(rows, torch.inf),
            torch.zeros_like(codes),
            *(codes.new_zeros(*rows, MEMORY, latent) for _ in range(2)),
            codes.new_zeros(*rows, MEMORY),
            codes.new_full(rows, step_size),
        )

    def after(self, value: Tensor, gradient: Tensor) -> Self:
        """One iteration on: objective (M,) and gradient (M, d) were found at the trial.

        Differentiable in the path and in the gradient. Which trial is accepted, and which pair is
        left out, are discrete choices without a gradient.
        """
        move, change = self.trial - self.best, gradient - self.gradient
        curvature, squares = (move * change).sum(1), change.square().sum(1)
        lengths = (move.square().sum(1) * squares).sqrt()
        # The first trial is the start itself, and NaN compares as False.
        paired = (curvature > CURVATURE * lengths) & self.value.isfinite()
        lower = value < self.value
        keep, accept = paired[:, None], lower[:, None]
        curvature, squares = (torch.where(paired, n, 1) for n in (curvature, squares))
        latest = (torch.where(keep, move, 0), torch.where(keep, change, 0))
        moves, changes = (
            torch.cat([kept[:, 1:], pair[:, None]], dim=1)
            for kept, pair in zip((self.moves, self.changes), latest, strict=True)
        )
        weights = torch.cat([self.weights[:, 1:], (paired / curvature)[:, None]], dim=1)
        scale = torch.where(paired, curvature / squares, self.scale)
        made = self._replace(
            best=torch.where(accept, self.trial, self.best),
            value=torch.where(lower, value, self.value),
            gradient=torch.where(accept, gradient, self.gradient),
            moves=moves,
            changes=changes,
            weights=weights,
            scale=scale,
        )
        return made._replace(trial=torch.where(accept, made.newton(), made.best + SHRINK * move))

    def newton(self) -> Tensor:
        """z - H g at the best code, by the two-loop recursion."""
        direction, factors = self.gradient, []
        pairs = list(zip(*(part.unbind(1) for part in self[4:7]), strict=True))
        for move, change, weight in reversed(pairs):
            factors.append(weight[:, None] * (move * direction).sum(1, keepdim=True))
            direction = direction - factors[-1] * change
        direction = self.scale[:, None] * direction
        for move, change, weight in pairs:
            factor = factors.pop() - weight[:, None] * (change * direction).sum(1, keepdim=True)
            direction = direction + factor * move
        return self.best - direction


def iterate(
    network: nn.Module, images: Tensor, path: Path, settings: SearchSettings, iterations: int
) -> Path:
    """The path (M, ...) so many iterations on, without gradients, towards `images` (M, C, H, W).

    On the CPU a few rows at a time take all their iterations, as in `descent.descend`.
    """
    size = max(len(images), 1) if images.is_cuda else ROWS_IN_CACHE
    ended = []
    with matrix_precision(settings.precision):
        for first in range(0, len(images), size):
            rows = slice(first, first + size)
            part = Path(*(tensor[rows] for tensor in path))
            for _ in range(iterations):
                found = _evaluate(network, images[rows], part.trial, settings.objective)
                part = part.after(*found)
            ended.append(part)
    return Path(*map(torch.cat, zip(*ended, strict=True))) if ended else path


def iterate_differentiably(
    generator: nn.Module, images: Tensor, start: Tensor, steps: Tensor, settings: SearchSettings
) -> SearchResult:
    """One restart for each image, `start` (N, d), of `steps` (N,) iterations, in float32 whatever
    `settings` have; differentiable, once, in the images and in the start.

    The gradient is exact: that of the unrolled iterations, through all codes, gradients, pairs and
    scales. Discrete choices (accepted or not, pair or none) are taken as they are and have none.
    Autograd keeps the recursion's vectors, some 5 * MEMORY * d numbers an iteration and image (13
    kB at d = 64). Of the generator it keeps nothing: each evaluation is made again when its second
    derivatives are needed (`_Gradient`), so that activations of one iteration exist at a time.
    """
    path, latents = Path.start(start, settings.step_size), start
    with matrix_precision("float32"):
        for step in range(1, int(steps.max()) + 1 if len(steps) else 1):
            found = _Gradient.apply(path.trial, images, generator, settings.objective)
            path = path.after(*found)
            latents = torch.where((steps == step)[:, None], path.best, latents)
        reconstructions = generator(latents)
        objective = settings.objective(reconstructions, images)
    return SearchResult(
        reconstructions, latents, objective, torch.zeros_like(steps), steps, steps + 1
    )


def _evaluate(
    network: nn.Module, images: Tensor, latents: Tensor, objective: Objective
) -> tuple[Tensor, Tensor]:
    """Objective (M,) and its gradient (M, d) at `latents` (M, d)."""
    with torch.enable_grad():
        variable = latents.detach().requires_grad_()
        each = objective(network(variable), images)
        (gradient,) = torch.autograd.grad(each.sum(), variable)
    return each.detach(), gradient


class _Gradient(torch.autograd.Function):
    """`_evaluate` whose gradient is differentiable in latents and images; the objective, which is
    only compared, is not."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        latents: Tensor,
        images: Tensor,
        network: nn.Module,
        objective: Objective,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(latents, images)
        ctx.network, ctx.objective = network, objective
        value, gradient = _evaluate(network, images.detach(), latents, objective)
        ctx.mark_non_differentiable(value)
        return value, gradient

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, _: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, None, None]:
        latents, images = (saved.detach().requires_grad_() for saved in ctx.saved_tensors)
        with torch.enable_grad(), matrix_precision("float32"):
            objective = ctx.objective(ctx.network(latents), images).sum()
            (gradient,) = torch.autograd.grad(objective, latents, create_graph=True)
            by_latents, by_images = torch.autograd.grad(gradient, (latents, images), weight)
        return by_latents, by_images, None, None
