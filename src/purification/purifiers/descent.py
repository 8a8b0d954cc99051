"""The descent of a latent search, and its exact gradient by the discrete adjoint.

The codes z[0] to z[L-1] of the winning restart are kept, some hundred numbers a step and image. One
double backward pass at each of them, in reverse, gives the gradient of the unrolled search.
Compared with checkpoints every sqrt(L) steps, the memory for activations is that of one step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from purification.models import half_precision
from purification.purifiers.base import reconstruction_error
from purification.purifiers.cuda_graph import repeatable
from purification.purifiers.piecewise_linear import PiecewiseLinear
from purification.purifiers.search_network import Precision, matrix_precision
from purification.purifiers.step_derivatives import Objective, Pass, step_derivatives

Optimizer = Literal["gradient_descent", "lbfgs"]
ROWS_IN_CACHE = 64  # of a search on the CPU, at the paper's width
KEPT_BYTES = 2**28  # of passes through the network, for the gradient of one search


@dataclass(frozen=True)
class SearchSettings:
    """`steps` L, `step_size` and `momentum` of the descent, and the objective it descends.

    Attributes:
        precision: of the generator's linear layers and convolutions during the descent. "tf32"
            concerns CUDA alone, and "bfloat16" devices that compute in it (`on`). z, velocity and
            objective are float32 always, and so is the last pass, from which the winner is chosen
            and its image returned.
        prune: ((step, restarts), ...), both falling apart: after that step only so many restarts
            go on, those of the least objective (successive halving; Jamieson and Talwalkar 2016).
            Empty: all go to the end.
        tolerance: an image is finished when `patience` steps lowered the objective of its best
            restart by no more than this share. 0: every image takes all steps.
        patience: steps between two looks at `tolerance`.
        cuda_graph: on a GPU, launch each step as one graph. Off until it has been measured on one.
        doubling: the step size doubles after every so many steps, for all images alike. None: it
            is constant.
        optimizer: "lbfgs" takes other steps (`purifiers.lbfgs`), of which `step_size` is the first
            one's, and none has momentum or is doubled. A step is still one evaluation of the
            generator with its gradient. The best code on the way counts, not the last.

    With `prune` or `tolerance` an image's result is still a function of the image alone. Raises
    ValueError if they make no sense.
    """

    steps: int
    step_size: float = 10.0
    momentum: float = 0.7
    objective: Objective = reconstruction_error
    precision: Precision = "float32"
    prune: tuple[tuple[int, int], ...] = ()
    tolerance: float = 0.0
    patience: int = 10
    cuda_graph: bool = False
    doubling: int | None = None
    optimizer: Optimizer = "gradient_descent"

    def __post_init__(self) -> None:
        at = [0, *(step for step, _ in self.prune), self.steps]
        kept = [*(restarts for _, restarts in self.prune), 0]
        if self.prune and (at != sorted(set(at)) or kept != sorted(set(kept), reverse=True)):
            raise ValueError(
                f"prune must be (step, restarts) with steps rising from 1 to {self.steps - 1} and "
                f"restarts falling to 1 at least; got {self.prune}"
            )
        if not 0 <= self.tolerance < 1 or self.patience < 1:
            raise ValueError(
                "tolerance must be in [0, 1) and patience at least 1; "
                f"got {self.tolerance} and {self.patience}"
            )
        if self.doubling is not None and self.doubling < 1:
            raise ValueError(
                f"doubling must be a number of steps, at least 1, or None; got {self.doubling}"
            )
        if self.optimizer not in get_args(Optimizer):
            raise ValueError(
                f"optimizer must be one of {get_args(Optimizer)}, got {self.optimizer!r}"
            )
        if self.optimizer == "lbfgs" and (self.momentum or self.doubling or self.cuda_graph):
            raise ValueError(
                "optimizer lbfgs has no momentum, doubling or cuda_graph: 0, None and False; got "
                f"{self.momentum}, {self.doubling} and {self.cuda_graph}"
            )

    def on(self, device: torch.device) -> Self:
        """Those by which `device` searches: in float32 where it does not compute in bfloat16."""
        return replace(self, precision=half_precision.usable(self.precision, device))

    def shortened(self, steps: int | None, restarts: int | None) -> Self:
        """Those of the first `steps` of the same search, from at most so many `restarts`; None, and
        more than there are: all."""
        steps = self.steps if steps is None else min(steps, self.steps)
        kept = [(s, r) for s, r in self.prune if s < steps and (restarts is None or r < restarts)]
        return replace(self, steps=steps, prune=tuple(kept))

    def step_size_at(self, step: int) -> float:
        """s[k] of step k, from 0: with a doubling of 5 `step_size` in the steps 0 to 4, twice that
        in 5 to 9, and so on."""
        if self.doubling is None:
            return self.step_size
        return self.step_size * 2.0 ** (step // self.doubling)


@dataclass(frozen=True)
class SearchResult:
    """The winner of each image's restarts: `reconstructions` (N, C, H, W), `latents` (N, d),
    `objective` (N,) at the winner, and `restart` (N,) its index.

    `steps` (N,) is how many the winner took, and `evaluations` (N,) what the image cost in all
    restarts: passes through the generator, one for each step (with its gradient) and for each last
    look.
    """

    reconstructions: Tensor
    latents: Tensor
    objective: Tensor
    restart: Tensor
    steps: Tensor
    evaluations: Tensor


def descend(
    network: nn.Module,
    images: Tensor,
    latents: Tensor,
    velocity: Tensor,
    settings: SearchSettings,
    steps: range,
) -> tuple[Tensor, Tensor, Tensor]:
    """z and v after the search's `steps` (from 0) from them, without a graph, and the objective
    (M,) at the z before the last of them (NaN after no step).

    The rows do not know of each other. So on the CPU they take all their steps a few at a time,
    whose activations then stay in the cache; and memory does not grow with their number.
    """
    latents, velocity = latents.clone(), velocity.clone()
    objective = images.new_full((len(images),), torch.nan)
    size = _rows_at_a_time(images)
    parts = [images, latents, velocity, objective]
    for block in zip(*(part.split(size) for part in parts), strict=True):
        _descend_block(network, *block, settings, steps)
    return latents, velocity, objective


def images_of(generator: nn.Module, latents: Tensor) -> Tensor:
    """On the CPU in blocks as in `descend`."""
    with matrix_precision("float32"):
        blocks = latents.split(_rows_at_a_time(latents))
        return torch.cat([generator(block) for block in blocks])


def _rows_at_a_time(rows: Tensor) -> int:
    return max(len(rows), 1) if rows.is_cuda else ROWS_IN_CACHE


class _Trail:
    """What the adjoint of a descent needs of it: z before each step, `latents` (L, M, d), and the
    passes through the network in the last K steps, as many as fit into `budget` bytes: of what was
    kept one tensor (K, ...) each."""

    def __init__(self, latents: Tensor, budget: float, passes: Sequence[Tensor] = ()) -> None:
        self.latents, self.budget, self.passes = latents, budget, passes

    def keep(self, step: int, latents: Tensor) -> None:
        self.latents[step] = latents

    def keep_pass(self, step: int, kept: Pass) -> None:
        if not kept or not self.budget:
            return
        made, *activations = kept
        if not self.passes:
            left = len(self.latents) - step
            size = made.nbytes + sum(activation.numel() for activation in activations)
            if left * size > self.budget:
                return
            signs = (_steps_of(activation, left, torch.bool) for activation in activations)
            self.passes = [_steps_of(made, left, made.dtype), *signs]
        k = step - len(self.latents)
        self.passes[0][k] = made
        for signs, activation in zip(self.passes[1:], activations, strict=True):
            torch.gt(activation, 0, out=signs[k])

    def pass_at(self, step: int) -> Pass:
        """Empty if none was kept of that step."""
        k = step - len(self.latents)
        kept = self.passes and -k <= len(self.passes[0])
        return tuple(part[k] for part in self.passes) if kept else ()

    def of(self, rows: Tensor, network: nn.Module) -> "_Trail":
        """That of some of the rows."""
        passes: list[Tensor] = []
        if self.passes and isinstance(network, PiecewiseLinear):
            made, *signs = self.passes
            passes = [made[:, rows], *(network.rows_of(sign, rows) for sign in signs)]
        return _Trail(self.latents[:, rows], self.budget, passes)


def _steps_of(part: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """An empty tensor (steps, ...) for so many of its kind, each in the same order of memory."""
    shape, strides = (steps, *part.shape), (part.numel(), *part.stride())
    return torch.empty_strided(shape, strides, dtype=dtype, device=part.device)


def _descend_block(
    network: nn.Module,
    images: Tensor,
    latents: Tensor,
    velocity: Tensor,
    objective: Tensor,
    settings: SearchSettings,
    steps: range,
    trail: _Trail | None = None,
) -> None:
    """`descend` in place. Nothing in the loop waits for a GPU."""
    # A captured step keeps a number's value for ever, but reads a tensor anew each time.
    size = latents.new_full((), settings.step_size_at(steps.start))
    derivatives = step_derivatives(network, images, settings.objective)
    k = steps.start

    def step() -> None:
        each, gradient, kept = derivatives.gradient(latents)
        if trail is not None:
            trail.keep_pass(k, kept)
        objective.copy_(each)
        velocity.mul_(settings.momentum).add_(gradient)
        if settings.doubling is None:
            latents.sub_(velocity, alpha=settings.step_size)
        else:
            latents.addcmul_(velocity, size, value=-1)

    with matrix_precision(settings.precision):
        state = (latents, velocity, objective)
        step_again = repeatable(step, state, len(steps)) if settings.cuda_graph else step
        for k in steps:
            if trail is not None:
                trail.keep(k, latents)
            if settings.doubling is not None and k % settings.doubling == 0:
                size.fill_(settings.step_size_at(k))
            step_again()


def descend_differentiably(
    generator: nn.Module, images: Tensor, starts: Tensor, steps: Tensor, settings: SearchSettings
) -> SearchResult:
    """The restart of least objective of `starts` (N, R, d), after `steps` (N,), differentiable in
    the images and in the winner's start. All restarts take all steps, in float32.

    Images are taken a few at a time, with all of their restarts. Of each step the latent codes are
    kept and, where they fit into `KEPT_BYTES` for all images, of the last steps the passes: a byte
    for each activation and four for each pixel. When the images' winners are known only these
    keep theirs. So the memory that is held for the gradient is flat in R, and twice `KEPT_BYTES`
    bounds all that is kept beside the codes; 26 kB an image and step at the paper's width.
    """
    restarts = starts.shape[1]
    size = max(_rows_at_a_time(images) // restarts, 1)
    settings = replace(settings, precision="float32")
    parts = []
    for taken in steps.unique().tolist() if settings.tolerance else [settings.steps]:
        for rows in (steps == taken).nonzero().squeeze(1).split(size):
            # A captured step does not go through `keep_pass`.
            keeps = len(rows) and not (settings.cuda_graph and images.is_cuda)
            budget = KEPT_BYTES * min(restarts * len(rows) / len(images), 1) if keeps else 0
            block = images[rows], starts[rows]
            parts.append((rows, *_descended(generator, *block, settings, taken, budget)))
    rows, *found = (torch.cat(of_all) for of_all in zip(*parts, strict=True))
    order = rows.argsort()
    latents, made, restart = (of_all[order] for of_all in found)
    reconstructions = images_of(generator, latents)
    if restarts > 1:
        # The values with which it won, to the last bit.
        reconstructions = made + (reconstructions - reconstructions.detach())
    objective = settings.objective(reconstructions, images)
    evaluations = restarts * (steps + 1)
    return SearchResult(reconstructions, latents, objective, restart, steps, evaluations)


def _descended(
    generator: nn.Module,
    images: Tensor,
    starts: Tensor,
    settings: SearchSettings,
    steps: int,
    budget: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each image's winner z[L], differentiable, its image if there was a choice, and index."""
    count, restarts, _ = starts.shape
    rows = torch.arange(count, device=images.device) * restarts
    restart = torch.zeros_like(rows)
    with torch.no_grad():
        targets = images.detach().repeat_interleave(restarts, dim=0)
        made, latents = images.detach(), starts.detach().flatten(0, 1).clone()
        trail = _Trail(latents.new_empty(steps, *latents.shape), budget)
        state = latents, torch.zeros_like(latents), latents.new_empty(len(latents))
        _descend_block(generator, targets, *state, settings, range(steps), trail)
        if restarts > 1:
            made = images_of(generator, latents)
            restart = settings.objective(made, targets).view(count, restarts).argmin(dim=1)
            rows = rows + restart
            latents, made, trail = latents[rows], made[rows], trail.of(rows, generator)
    start = starts.flatten(0, 1)[rows]
    latents = _Descent.apply(images, start, latents, generator, settings, trail)
    return latents, made, restart


class _Descent(torch.autograd.Function):
    """z[L] as a differentiable function of images and starts: the descent's discrete adjoint.

    With a[k], b[k] the gradients of the loss in z[k] and v[k], reversing one step gives

        w = b[k+1] - s[k] * a[k+1],
        b[k] = momentum * w,    a[k] = a[k+1] + (dg/dz)^T w,    dloss/dx += (dg/dx)^T w,

    and a[0] is the gradient in the start. Nothing is approximated. Both products come from the pass
    at z[k], which the trail has, or which is made again: then the memory for activations is that of
    a single step. Cost of a step: for a `PiecewiseLinear` one pass each way, as much as the step
    itself; with autograd one forward and one double backward pass.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        images: Tensor,
        start: Tensor,
        latents: Tensor,
        network: nn.Module,
        settings: SearchSettings,
        trail: _Trail,
    ) -> Tensor:
        """The descent is done: it led from `start` to `latents`."""
        # Saved as autograd saves tensors, so that it frees them when the graph is done with.
        ctx.save_for_backward(images, trail.latents, *trail.passes)
        ctx.network, ctx.settings = network, settings
        return latents.clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, adjoint_latent: Tensor
    ) -> tuple[Tensor | None, ...]:
        images, trajectory, *passes = ctx.saved_tensors
        trail = _Trail(trajectory, 0, passes)
        settings: SearchSettings = ctx.settings
        derivatives = step_derivatives(ctx.network, images, settings.objective)
        adjoint_velocity = torch.zeros_like(adjoint_latent)
        adjoint_images = torch.zeros_like(images)
        with matrix_precision(settings.precision):
            for k, latents in reversed(list(enumerate(trajectory.unbind(0)))):
                size = settings.step_size_at(k)
                weight = torch.sub(adjoint_velocity, adjoint_latent, alpha=size)
                by_latent, by_image = derivatives.products(latents, weight, trail.pass_at(k))
                adjoint_velocity = settings.momentum * weight
                adjoint_latent = adjoint_latent + by_latent
                adjoint_images = adjoint_images + by_image
        return adjoint_images, adjoint_latent, None, None, None, None
