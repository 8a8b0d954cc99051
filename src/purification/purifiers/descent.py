"""The descent of a latent search, and its exact gradient by the discrete adjoint."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from purification.purifiers.base import reconstruction_error
from purification.purifiers.cuda_graph import repeatable
from purification.purifiers.search_network import Precision, matrix_precision

Objective = Callable[[Tensor, Tensor], Tensor]
"""(reconstructions (M, C, H, W), images (M, C, H, W)) -> (M,), one value an image."""
Optimizer = Literal["gradient_descent", "lbfgs"]
ROWS_IN_CACHE = 64  # of a search on the CPU, at the paper's width


@dataclass(frozen=True)
class SearchSettings:
    """`steps` L, `step_size` and `momentum` of the descent, and the objective it descends.

    Attributes:
        precision: of the generator's linear layers and convolutions during the descent. "tf32"
            concerns CUDA alone. z, velocity and objective are float32 always, and so is the last
            pass, from which the winner is chosen and its image returned.
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
    trajectory: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """z and v after the search's `steps` (from 0) from them, without a graph, and the objective
    (M,) at the z before the last of them (NaN after no step).

    `trajectory` (L, M, d) receives the latents before each step, z[0] .. z[L-1]. The rows do not
    know of each other. So on the CPU they take all their steps a few at a time, whose activations
    then stay in the cache; and memory does not grow with their number.
    """
    latents, velocity = latents.clone(), velocity.clone()
    objective = images.new_full((len(images),), torch.nan)
    size = max(len(images), 1) if images.is_cuda else ROWS_IN_CACHE
    parts = [images, latents, velocity, objective]
    for first, *block in zip(
        range(0, len(images), size), *(part.split(size) for part in parts), strict=True
    ):
        kept = None if trajectory is None else trajectory[:, first : first + size]
        _descend_block(network, *block, settings, steps, kept)
    return latents, velocity, objective


def images_of(generator: nn.Module, latents: Tensor) -> Tensor:
    """Without gradients, and on the CPU in blocks as in `descend`."""
    size = max(len(latents), 1) if latents.is_cuda else ROWS_IN_CACHE
    with matrix_precision("float32"):
        return torch.cat([generator(block) for block in latents.split(size)])


def _descend_block(
    network: nn.Module,
    images: Tensor,
    latents: Tensor,
    velocity: Tensor,
    objective: Tensor,
    settings: SearchSettings,
    steps: range,
    trajectory: Tensor | None,
) -> None:
    """`descend` in place. Nothing in the loop waits for a GPU."""
    # A captured step keeps a number's value for ever, but reads a tensor anew each time.
    size = latents.new_full((), settings.step_size_at(steps.start))

    def step() -> None:
        with torch.enable_grad():
            variable = latents.detach().requires_grad_()
            each = settings.objective(network(variable), images)
            (gradient,) = torch.autograd.grad(each.sum(), variable)
        objective.copy_(each.detach())
        velocity.mul_(settings.momentum).add_(gradient)
        if settings.doubling is None:
            latents.sub_(velocity, alpha=settings.step_size)
        else:
            latents.addcmul_(velocity, size, value=-1)

    with matrix_precision(settings.precision):
        state = (latents, velocity, objective)
        step_again = repeatable(step, state, len(steps)) if settings.cuda_graph else step
        for k in steps:
            if trajectory is not None:
                trajectory[k] = latents
            if settings.doubling is not None and k % settings.doubling == 0:
                size.fill_(settings.step_size_at(k))
            step_again()


def descend_differentiably(
    generator: nn.Module, images: Tensor, start: Tensor, steps: Tensor, settings: SearchSettings
) -> SearchResult:
    """One restart for each image, `start` (N, d), of `steps` (N,), differentiable in the images and
    in the start; in float32 whatever `settings` have."""
    settings = replace(settings, precision="float32")
    parts = []
    for taken in steps.unique().tolist() if settings.tolerance else [settings.steps]:
        rows = (steps == taken).nonzero().squeeze(1)
        parts.append((rows, _Descent.apply(images[rows], start[rows], generator, settings, taken)))
    order = torch.cat([rows for rows, _ in parts]).argsort()
    latents = torch.cat([latents for _, latents in parts])[order]
    with matrix_precision("float32"):
        reconstructions = generator(latents)
    objective = settings.objective(reconstructions, images)
    restart = torch.zeros_like(steps)
    return SearchResult(reconstructions, latents, objective, restart, steps, steps + 1)


class _Descent(torch.autograd.Function):
    """z[L] as a differentiable function of images and starts: the descent's discrete adjoint.

    With a[k], b[k] the gradients of the loss in z[k] and v[k], reversing one step gives

        w = b[k+1] - s[k] * a[k+1],
        b[k] = momentum * w,    a[k] = a[k+1] + (dg/dz)^T w,    dloss/dx += (dg/dx)^T w,

    and a[0] is the gradient in the start. Both products come from one double backward pass at z[k].
    So only the latent codes z[0] .. z[L-1] are kept (d numbers a step and image), and the
    activations of a single step exist at a time: memory for activations is constant in L, less than
    what checkpointing every sqrt(L) steps needs, and nothing is approximated. Cost: one forward and
    one double backward pass a step.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        images: Tensor,
        start: Tensor,
        network: nn.Module,
        settings: SearchSettings,
        steps: int,
    ) -> Tensor:
        trajectory = start.new_empty(steps, *start.shape)
        begun = (images.detach(), start, torch.zeros_like(start))
        latents, _, _ = descend(network, *begun, settings, range(steps), trajectory)
        ctx.save_for_backward(images, trajectory)
        ctx.network, ctx.settings = network, settings
        return latents

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, adjoint_latent: Tensor
    ) -> tuple[Tensor, Tensor, None, None, None]:
        images, trajectory = ctx.saved_tensors
        settings: SearchSettings = ctx.settings
        adjoint_velocity = torch.zeros_like(adjoint_latent)
        adjoint_images = torch.zeros_like(images)
        for k, latents in reversed(list(enumerate(trajectory.unbind(0)))):
            weight = adjoint_velocity - settings.step_size_at(k) * adjoint_latent
            with torch.enable_grad(), matrix_precision(settings.precision):
                variable = latents.detach().requires_grad_()
                target = images.detach().requires_grad_()
                objective = settings.objective(ctx.network(variable), target).sum()
                (gradient,) = torch.autograd.grad(objective, variable, create_graph=True)
                by_latent, by_image = torch.autograd.grad(gradient, (variable, target), weight)
            adjoint_velocity = settings.momentum * weight
            adjoint_latent = adjoint_latent + by_latent
            adjoint_images = adjoint_images + by_image
        return adjoint_images, adjoint_latent, None, None, None
