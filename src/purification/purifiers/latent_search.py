"""The gradient search in a generator's latent space that the search-based defences share.

Gradient descent with momentum on an objective of the generated image, from given starts:

    v[k+1] = momentum * v[k] + g(z[k], x),    z[k+1] = z[k] - step_size * v[k+1],    v[0] = 0,

where g is the gradient in z of the objective (by default the per-image mean square error). Source:
Defense-GAN, section 3 and Algorithm in Figure 2; momentum 0.7, step 10 on the mean square and
starts of standard deviation sqrt(1/latent) are the published code's, the paper states none of them.
Two differences from that code, on purpose: the image returned is G(z[L]), where the published code
returns the image from before the last update; and the step stays constant, which is also what the
published code does (its decay never takes effect).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from purification.purifiers.base import reconstruction_error

Objective = Callable[[Tensor, Tensor], Tensor]
"""(reconstructions (M, C, H, W), images (M, C, H, W)) -> (M,), one value an image."""


@dataclass(frozen=True)
class SearchSettings:
    """`steps` L, `step_size` and `momentum` of the descent, and the objective it descends."""

    steps: int
    step_size: float = 10.0
    momentum: float = 0.7
    objective: Objective = reconstruction_error


@dataclass(frozen=True)
class SearchResult:
    """The winner of each image's restarts: `reconstructions` (N, C, H, W), `latents` (N, d),
    `objective` (N,) at the winner, and `restart` (N,) its index."""

    reconstructions: Tensor
    latents: Tensor
    objective: Tensor
    restart: Tensor


def latent_search(
    generator: nn.Module, images: Tensor, starts: Tensor, settings: SearchSettings
) -> SearchResult:
    """Search the latent code whose image is closest to each given image.

    `images` is (N, C, H, W) in [0, 1]; `starts` is (R, d), the same starts for every image, or (N,
    R, d), own starts for each. The R restarts run side by side in one batch; the one with the least
    objective against the given image wins. No gradients of the generator's weights are computed.

    Where gradients are wanted (grad mode on, `images.requires_grad`), the result is differentiable
    in the images through all steps of the winning restart; see `_Descent`. Which restart wins is a
    discrete choice and has no gradient. Each image's result is a function of that image alone.
    """
    starts = _starts_of_each(starts, images)
    count, restarts, _ = starts.shape
    with torch.no_grad():
        targets = images.detach().repeat_interleave(restarts, dim=0)
        latents, _ = _descend(generator, targets, starts.flatten(0, 1), settings)
        reconstructions = generator(latents)
        objective, restart = (
            settings.objective(reconstructions, targets).view(count, restarts).min(dim=1)
        )
        rows = torch.arange(count, device=images.device)
        winners = rows * restarts + restart
    if not (torch.is_grad_enabled() and images.requires_grad):
        return SearchResult(reconstructions[winners], latents[winners], objective, restart)
    # The winning restart is run again, now with its trajectory kept: one more restart's work, and
    # the memory of the gradient does not depend on the number of restarts.
    latent = _Descent.apply(images, starts[rows, restart], generator, settings)
    reconstruction = generator(latent)
    return SearchResult(reconstruction, latent, settings.objective(reconstruction, images), restart)


def sweep_search(
    generator: nn.Module,
    images: Tensor,
    starts: Tensor,
    settings: SearchSettings,
    cells: Iterable[tuple[int, int]],
) -> dict[tuple[int, int], SearchResult]:
    """What `latent_search` finds for every (steps L, restarts R) of `cells`, from one search.

    A search of many steps passes every smaller L on its way, and its first R restarts are those of
    a search with R. So the restarts run side by side to the L of the cells that want them, and then
    drop out: the cost is the area under the cells (with L = 25 to 1600 at R = 10 and R = 1 to 20 at
    L = 100 it is 20 restarts for 100 steps and 10 for 1,500 more), and one forward pass at each L.
    Each cell equals `latent_search` with that L and the first R starts, up to the rounding of
    batches of another size. Nothing is differentiable in the images.

    Args:
        generator, images, starts: as for `latent_search`, which also says the memory.
        settings: its `steps` are not used.
        cells: (L, R) pairs, L at least 1 and R from 1 to the number of starts, in any order.

    Raises:
        ValueError: no cells or one out of range, or starts that `latent_search` refuses.
    """
    starts = _starts_of_each(starts, images)
    cells = sorted({(int(steps), int(restarts)) for steps, restarts in cells})
    _check_cells(cells, available=starts.shape[1])
    count, done, found = len(images), 0, {}
    latents, velocity = starts, torch.zeros_like(starts)  # (N, R, d)
    with torch.no_grad():
        images = images.detach()
        for reached in dict.fromkeys(steps for steps, _ in cells):
            side_by_side = max(restarts for steps, restarts in cells if steps >= reached)
            targets = images.repeat_interleave(side_by_side, dim=0)
            stretch = replace(settings, steps=reached - done)
            flat, speed = (part[:, :side_by_side].flatten(0, 1) for part in (latents, velocity))
            flat, speed = _descend(generator, targets, flat, stretch, speed)
            done = reached
            generated = generator(flat)
            objective = settings.objective(generated, targets).view(count, side_by_side)
            rows = torch.arange(count, device=images.device) * side_by_side
            for first in (restarts for steps, restarts in cells if steps == reached):
                best, restart = objective[:, :first].min(dim=1)
                winners = rows + restart
                found[reached, first] = SearchResult(
                    generated[winners], flat[winners], best, restart
                )
            latents, velocity = (part.view(count, side_by_side, -1) for part in (flat, speed))
    return found


def _starts_of_each(starts: Tensor, images: Tensor) -> Tensor:
    """The starts (N, R, d) of N images, of their type and on their device, or ValueError."""
    count = len(images)
    if starts.dim() == 2:
        starts = starts.expand(count, *starts.shape)
    if starts.dim() != 3 or len(starts) != count:
        raise ValueError(
            f"starts must be (R, d) or (N, R, d) with N = {count}, got {tuple(starts.shape)}"
        )
    return starts.to(images)


def _check_cells(cells: Sequence[tuple[int, int]], available: int) -> None:
    wrong = [cell for cell in cells if cell[0] < 1 or not 1 <= cell[1] <= available]
    if wrong or not cells:
        raise ValueError(
            f"cells must be one or more (L, R) with L at least 1 and R from 1 to {available}, the "
            f"number of starts; got {wrong}"
        )


def _descend(
    generator: nn.Module,
    images: Tensor,
    latents: Tensor,
    settings: SearchSettings,
    velocity: Tensor | None = None,
    trajectory: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """z and v after `settings.steps` more steps from them, without a graph.

    `velocity` None is the v = 0 of the beginning. `trajectory` (L, M, d) receives the latents
    before each step, z[0] .. z[L-1].
    """
    if velocity is None:
        velocity = torch.zeros_like(latents)
    for step in range(settings.steps):
        if trajectory is not None:
            trajectory[step] = latents
        with torch.enable_grad():
            variable = latents.detach().requires_grad_()
            objective = settings.objective(generator(variable), images).sum()
            (gradient,) = torch.autograd.grad(objective, variable)
        velocity = settings.momentum * velocity + gradient
        latents = latents - settings.step_size * velocity
    return latents, velocity


class _Descent(torch.autograd.Function):
    """z[L] as a differentiable function of the images, by the discrete adjoint of the descent.

    With a[k], b[k] the gradients of the loss in z[k] and v[k], reversing one step gives

        w = b[k+1] - step_size * a[k+1],
        b[k] = momentum * w,    a[k] = a[k+1] + (dg/dz)^T w,    dloss/dx += (dg/dx)^T w,

    both products from one double backward pass at z[k]. So only the latent codes z[0] .. z[L-1] are
    kept (d numbers a step and image), and the activations of a single step exist at a time: memory
    for activations is constant in L, less than what checkpointing every sqrt(L) steps needs, and
    nothing is approximated. Cost: one forward and one double backward pass a step.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        images: Tensor,
        start: Tensor,
        generator: nn.Module,
        settings: SearchSettings,
    ) -> Tensor:
        trajectory = start.new_empty(settings.steps, *start.shape)
        latents, _ = _descend(generator, images.detach(), start, settings, trajectory=trajectory)
        ctx.save_for_backward(images, trajectory)
        ctx.generator = generator
        ctx.settings = settings
        return latents.clone() if settings.steps == 0 else latents

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, adjoint_latent: Tensor
    ) -> tuple[Tensor, None, None, None]:
        images, trajectory = ctx.saved_tensors
        settings: SearchSettings = ctx.settings
        adjoint_velocity = torch.zeros_like(adjoint_latent)
        adjoint_images = torch.zeros_like(images)
        for latents in reversed(trajectory.unbind(0)):
            weight = adjoint_velocity - settings.step_size * adjoint_latent
            with torch.enable_grad():
                variable = latents.detach().requires_grad_()
                target = images.detach().requires_grad_()
                objective = settings.objective(ctx.generator(variable), target).sum()
                (gradient,) = torch.autograd.grad(objective, variable, create_graph=True)
                by_latent, by_image = torch.autograd.grad(gradient, (variable, target), weight)
            adjoint_velocity = settings.momentum * weight
            adjoint_latent = adjoint_latent + by_latent
            adjoint_images = adjoint_images + by_image
        return adjoint_images, None, None, None
