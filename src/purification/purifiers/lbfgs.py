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

from dataclasses import replace
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from purification.purifiers.descent import ROWS_IN_CACHE, SearchResult, SearchSettings
from purification.purifiers.search_network import matrix_precision
from purification.purifiers.step_derivatives import Objective, step_derivatives

MEMORY = 10  # iterations whose pairs are kept
SHRINK = 0.5  # the next trial's share of a failed step
FLOOR = 1e-3  # of the Hessian's largest eigenvalue, the least one in a gradient
CURVATURE = 1e-3  # least cosine of s and y; less, and 1 / s.y magnifies float32's rounding


class Path(NamedTuple):
    """Where L-BFGS stands, a row for each restart, (M, ...); `start` says it of the beginning.

    A row is a function of its own image and start alone.
    """

    best: Tensor  # (M, d), the code of least objective so far
    trial: Tensor  # (M, d), the next to be evaluated
    value: Tensor  # (M,), objective at the best
    gradient: Tensor  # (M, d), at the best
    moves: Tensor  # (M, P, d), s of the last P <= MEMORY iterations, the latest last
    changes: Tensor  # (M, P, d), their y
    weights: Tensor  # (M, P), 1 / s.y, or 0 where the pair is left out
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
            *(codes.new_zeros(*rows, 0, latent) for _ in range(2)),
            codes.new_zeros(*rows, 0),
            codes.new_full(rows, step_size),
        )

    def after(self, value: Tensor, gradient: Tensor) -> Self:
        """One iteration on: objective (M,) and gradient (M, d) were found at the trial."""
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
            torch.cat([kept, pair[:, None]], dim=1)[:, -MEMORY:]
            for kept, pair in zip((self.moves, self.changes), latest, strict=True)
        )
        weights = torch.cat([self.weights, (paired / curvature)[:, None]], dim=1)[:, -MEMORY:]
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
            derivatives = step_derivatives(network, images[rows], settings.objective)
            for _ in range(iterations):
                value, gradient, _ = derivatives.gradient(part.trial)
                part = part.after(value, gradient)
            ended.append(part)
    return Path(*map(torch.cat, zip(*ended, strict=True))) if ended else path


def with_gradient(
    generator: nn.Module, images: Tensor, found: SearchResult, settings: SearchSettings
) -> SearchResult:
    """What a search found for `images`, made again at its codes: differentiable in them, once.

    The gradient is not that of the iterations. It is that of a minimum z*(x) of the objective f
    near the code found, by the implicit function theorem,

        dz*/dx = -H^-1 (d2f / dz dx),    H = d2f / dz2,

    in float32 whatever `settings` have. It is exact where the search has converged. The start has
    no part in it, as a minimum is no function of where the search began. The unrolled iterations
    have an exact gradient too, but it grows from step to step, as L-BFGS magnifies small
    differences on its way, and attacks by it are weak (docs/search.md).

    H is computed whole, by d second derivatives. Its eigenvalues are taken by their absolute value
    and no less than `FLOOR` of the largest, so that a code that is no minimum yet, or a direction
    that the image does not depend on, cannot make the gradient explode. Memory: one evaluation of
    the generator with its second derivative, and d * d numbers an image; flat in L and R.
    """
    latents = _Minimum.apply(images, found.latents, generator, settings.objective)
    with matrix_precision("float32"):
        reconstructions = generator(latents)
        objective = settings.objective(reconstructions, images)
    made = {"reconstructions": reconstructions, "latents": latents, "objective": objective}
    return replace(found, **made)


class _Minimum(torch.autograd.Function):
    """Latents (N, d) as they are; their gradient goes to the images, as of `with_gradient`."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        images: Tensor,
        latents: Tensor,
        network: nn.Module,
        objective: Objective,
    ) -> Tensor:
        ctx.save_for_backward(images, latents)
        ctx.network, ctx.objective = network, objective
        return latents.clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, adjoint: Tensor
    ) -> tuple[Tensor, None, None, None]:
        images, latents = (saved.detach().requires_grad_() for saved in ctx.saved_tensors)
        with torch.enable_grad(), matrix_precision("float32"):
            objective = ctx.objective(ctx.network(latents), images).sum()
            (gradient,) = torch.autograd.grad(objective, latents, create_graph=True)
            rows = [
                torch.autograd.grad(each.sum(), latents, retain_graph=True)[0]
                for each in gradient.unbind(1)
            ]
            weight = _solve(torch.stack(rows, dim=1), adjoint)
            (by_images,) = torch.autograd.grad(gradient, images, -weight)
        return by_images, None, None, None


def _solve(hessian: Tensor, right: Tensor) -> Tensor:
    """|H|^-1 times `right` (N, d), with H (N, d, d) and the eigenvalues as of `with_gradient`."""
    values, vectors = torch.linalg.eigh((hessian + hessian.mT) / 2)
    values = values.abs()
    least = FLOOR * values.amax(dim=1, keepdim=True)
    values = values.clamp_min(torch.finfo(values.dtype).eps).maximum(least)
    return (vectors @ ((vectors.mT @ right[..., None]) / values[..., None])).squeeze(-1)
