"""The gradient search in a generator's latent space that the search-based defences share.

Gradient descent with momentum on an objective of the generated image, from given starts:

    v[k+1] = momentum * v[k] + g(z[k], x),    z[k+1] = z[k] - s[k] * v[k+1],    v[0] = 0,

where s[k] is the step size, constant or doubled every so many steps, and g is the gradient in z of
the objective (by default the per-image mean square error). Source: Defense-GAN, section 3 and
Algorithm in Figure 2; momentum 0.7, step 10 on the mean square and starts of standard deviation
sqrt(1/latent) are the published code's, the paper states none of them.
On purpose the image returned is G(z[L]), where that code returns the one from before the last
update; its decay of the step never takes effect. The doubling is AE-GAN+rs's (`purifiers.ae_gan`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from purification.purifiers.base import reconstruction_error
from purification.purifiers.cuda_graph import repeatable
from purification.purifiers.search_network import Precision, matrix_precision, search_network

Objective = Callable[[Tensor, Tensor], Tensor]
"""(reconstructions (M, C, H, W), images (M, C, H, W)) -> (M,), one value an image."""
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


def latent_search(
    generator: nn.Module, images: Tensor, starts: Tensor, settings: SearchSettings
) -> SearchResult:
    """Search the latent code whose image is closest to each given image.

    `images` is (N, C, H, W) in [0, 1]; `starts` is (R, d), the same starts for every image, or (N,
    R, d), own starts for each. The R restarts run side by side in one batch; the one with the least
    objective against the given image wins. No gradients of the generator's weights are computed.

    Where gradients are wanted (grad mode on, and images or starts that require them), the result is
    differentiable in both through all steps of the winning restart; see `_Descent`. So a start that
    was computed from the image passes on its part of the image's gradient. Which restart wins, goes
    on or is finished is a discrete choice and has no gradient. At lower precision the values are
    that search's, and the gradient is that of the same descent in float32: through bfloat16's
    rounding, which has no useful derivative, attacks are weaker (docs/performance.md). Each image's
    result is a function of that image alone.
    """
    starts = _starts_of_each(starts, images)
    network = search_network(generator, settings.precision)
    generator = search_network(generator)
    wanted = images.requires_grad or starts.requires_grad
    differentiable = torch.is_grad_enabled() and wanted
    exact = settings.precision == "float32"
    if differentiable and exact and starts.shape[1] == 1 and not settings.tolerance:
        # The one descent that there is keeps its trajectory at once.
        steps = torch.full((len(images),), settings.steps, device=images.device)
        return _descend_differentiably(generator, images, starts[:, 0], steps, settings)
    with torch.no_grad():
        found = _search(network, generator, images.detach(), starts.detach(), settings)
    if not differentiable:
        return found
    # The winning restart is run again, now with its trajectory kept: one more restart's work, and
    # the memory of the gradient does not depend on the number of restarts.
    start = starts[torch.arange(len(images), device=images.device), found.restart]
    again = _descend_differentiably(generator, images, start, found.steps, settings)
    if exact:
        return replace(again, restart=found.restart, evaluations=found.evaluations)
    # The values found to the last bit, with the gradients of the other result.
    own = {}
    for name in ("reconstructions", "latents", "objective"):
        other = getattr(again, name)
        own[name] = getattr(found, name) + (other - other.detach())
    return replace(found, **own)


@dataclass(frozen=True)
class _Running:
    """The restarts that still run, K of each of M images."""

    image: Tensor  # (M,), its index
    restart: Tensor  # (M, K), their indices
    latents: Tensor  # (M, K, d)
    velocity: Tensor  # (M, K, d)
    before: Tensor  # (M,), objective of the best at the last look at the tolerance

    def of(self, images: Tensor) -> "_Running":
        """Those of some of the images, by a mask or by indices."""
        return _Running(*(getattr(self, field.name)[images] for field in fields(self)))

    def best(self, objective: Tensor, keep: int) -> "_Running":
        """The `keep` restarts of least objective (M, K) of each image."""
        order = objective.topk(keep, dim=1, largest=False).indices
        latents, velocity = (
            part.gather(1, order[..., None].expand(-1, -1, part.shape[2]))
            for part in (self.latents, self.velocity)
        )
        restart = self.restart.gather(1, order)
        return replace(self, restart=restart, latents=latents, velocity=velocity)


def _search(
    network: nn.Module,
    generator: nn.Module,
    images: Tensor,
    starts: Tensor,
    settings: SearchSettings,
) -> SearchResult:
    """`latent_search` without gradients: `network` descends, `generator` makes what is returned."""
    count, restarts, _ = starts.shape
    image, restart = (torch.arange(n, device=images.device) for n in (count, restarts))
    before = images.new_full((count,), torch.inf)
    running = _Running(image, restart.expand(count, -1), starts, torch.zeros_like(starts), before)
    prune, finished, done, evaluations = dict(settings.prune), [], 0, 0
    # After these steps restarts or images may drop out.
    looks = {*prune, settings.steps}
    if settings.tolerance:
        looks |= set(range(settings.patience, settings.steps, settings.patience))
    for reached in sorted(looks):
        shape = running.restart.shape
        targets = images[running.image].repeat_interleave(shape[1], dim=0)
        moving = (running.latents.flatten(0, 1), running.velocity.flatten(0, 1))
        *moving, objective = _descend(network, targets, *moving, settings, range(done, reached))
        latents, velocity = (part.view(*shape, -1) for part in moving)
        running = replace(running, latents=latents, velocity=velocity)
        objective = objective.view(shape)
        evaluations += shape[1] * (reached - done)
        done = reached
        if done in prune and prune[done] < running.restart.shape[1]:
            running = running.best(objective, prune[done])
        if settings.tolerance and done % settings.patience == 0 and done < settings.steps:
            now = objective.min(dim=1).values
            falling = running.before - now > settings.tolerance * now
            if not bool(falling.all()):
                ended = running.of(~falling)
                finished.append(_winners(generator, images, ended, settings, done, evaluations))
            running = replace(running, before=now).of(falling)
            if not len(running.image):
                return _in_order(finished)
    finished.append(_winners(generator, images, running, settings, done, evaluations))
    return _in_order(finished)


def _winners(
    generator: nn.Module,
    images: Tensor,
    running: _Running,
    settings: SearchSettings,
    steps: int,
    evaluations: int,
) -> tuple[Tensor, SearchResult]:
    """Images' indices, and what was found for them: the restart that is best after all steps."""
    side_by_side = running.restart.shape[1]
    latents = running.latents.flatten(0, 1)
    reconstructions = _images_of(generator, latents)
    targets = images[running.image].repeat_interleave(side_by_side, dim=0)
    objective = settings.objective(reconstructions, targets).view(-1, side_by_side)
    found = _least(reconstructions, latents, objective, steps, evaluations + side_by_side)
    restart = running.restart.gather(1, found.restart[:, None]).squeeze(1)
    return running.image, replace(found, restart=restart)


def _least(
    reconstructions: Tensor,
    latents: Tensor,
    objective: Tensor,
    steps: int,
    evaluations: int,
    among: int | None = None,
) -> SearchResult:
    """Each image's restart of least `objective` (M, K), `among` the first of the K, all by default;
    `reconstructions` and `latents` have a row for each of the M * K."""
    count, side_by_side = objective.shape
    least, restart = objective[:, :among].min(dim=1)
    row = torch.arange(count, device=objective.device) * side_by_side + restart
    numbers = (torch.full_like(restart, number) for number in (steps, evaluations))
    return SearchResult(reconstructions[row], latents[row], least, restart, *numbers)


def _in_order(parts: list[tuple[Tensor, SearchResult]]) -> SearchResult:
    """The images of all parts in the order of their indices."""
    if len(parts) == 1:
        return parts[0][1]
    order = torch.cat([images for images, _ in parts]).argsort()
    names = [field.name for field in fields(SearchResult)]
    return SearchResult(
        *(torch.cat([getattr(part, name) for _, part in parts])[order] for name in names)
    )


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
        settings: its `steps` are not used; nothing may be pruned or stopped early, because the
            search for more steps would then not be that for fewer, continued.
        cells: (L, R) pairs, L at least 1 and R from 1 to the number of starts, in any order.

    Raises:
        ValueError: no cells or one out of range, starts that `latent_search` refuses, or settings
            with `prune` or `tolerance`.
    """
    if settings.prune or settings.tolerance:
        raise ValueError("a sweep takes all steps of all restarts: no prune, no tolerance")
    starts = _starts_of_each(starts, images)
    cells = sorted({(int(steps), int(restarts)) for steps, restarts in cells})
    wrong = [cell for cell in cells if cell[0] < 1 or not 1 <= cell[1] <= starts.shape[1]]
    if wrong or not cells:
        raise ValueError(
            "cells must be one or more (L, R) with L at least 1 and R from 1 to "
            f"{starts.shape[1]}, the number of starts; got {wrong}"
        )
    network, generator = search_network(generator, settings.precision), search_network(generator)
    count, done, found = len(images), 0, {}
    latents, velocity = starts, torch.zeros_like(starts)  # (N, R, d)
    with torch.no_grad():
        images = images.detach()
        for reached in dict.fromkeys(steps for steps, _ in cells):
            side_by_side = max(restarts for steps, restarts in cells if steps >= reached)
            targets = images.repeat_interleave(side_by_side, dim=0)
            flat, speed = (part[:, :side_by_side].flatten(0, 1) for part in (latents, velocity))
            steps = range(done, reached)
            flat, speed, _ = _descend(network, targets, flat, speed, settings, steps)
            done = reached
            generated = _images_of(generator, flat)
            objective = settings.objective(generated, targets).view(count, side_by_side)
            for first in (restarts for steps, restarts in cells if steps == reached):
                cost = first * (reached + 1)
                found[reached, first] = _least(generated, flat, objective, reached, cost, first)
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


def _descend(
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


def _images_of(generator: nn.Module, latents: Tensor) -> Tensor:
    """Without gradients, and on the CPU in blocks as in `_descend`."""
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
    """`_descend` in place. Nothing in the loop waits for a GPU."""
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


def _descend_differentiably(
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
        latents, _, _ = _descend(network, *begun, settings, range(steps), trajectory)
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
