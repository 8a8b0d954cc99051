"""The gradient search in a generator's latent space that the search-based defences share.

Gradient descent with momentum on an objective of the generated image, from given starts:

    v[k+1] = momentum * v[k] + g(z[k], x),    z[k+1] = z[k] - s[k] * v[k+1],    v[0] = 0,

where s[k] is the step size, constant or doubled every so many steps, and g is the gradient in z of
the objective (by default the per-image mean square error). Source: Defense-GAN, section 3 and
Algorithm in Figure 2; momentum 0.7, step 10 on the mean square and starts of standard deviation
sqrt(1/latent) are the published code's, the paper states none of them.
On purpose the image returned is G(z[L]), where that code returns the one from before the last
update; its decay of the step never takes effect. The doubling is AE-GAN+rs's (`purifiers.ae_gan`).

L-BFGS takes its place where the settings' `optimizer` says so: another search, of no paper
(`purifiers.lbfgs`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from purification.purifiers.base import NO_TRANSFORMS, is_transformed
from purification.purifiers.descent import (
    SearchResult,
    SearchSettings,
    descend,
    descend_differentiably,
    images_of,
)
from purification.purifiers.lbfgs import Path, iterate, with_gradient
from purification.purifiers.piecewise_linear import PiecewiseLinear
from purification.purifiers.search_network import search_network


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
    result is a function of that image alone. L-BFGS has another gradient, in the images alone:
    that of the minimum that it approaches (`lbfgs.with_gradient`).

    Raises ValueError for starts of another shape, NotImplementedError within a transform of
    `torch.func` and, on the way back, for batched gradients.
    """
    refuse_transformed(images)
    if torch.is_inference_mode_enabled():
        # A step may need autograd's gradient, and inference tensors have none. Copies do.
        with torch.inference_mode(False), torch.no_grad():
            return latent_search(generator, images.clone(), starts.clone(), settings)
    found = _found(generator, images, _starts_of_each(starts, images), settings)
    if found.reconstructions.requires_grad:
        found.reconstructions.register_hook(refuse_transformed)
    return found


def refuse_transformed(tensor: Tensor) -> None:
    """Raise NotImplementedError for images, or a gradient, that stand for several at once."""
    if is_transformed(tensor):
        raise NotImplementedError(
            "a latent search is not to be had under torch.func's transforms, or with batched "
            f"gradients: {NO_TRANSFORMS}"
        )


def _found(
    generator: nn.Module, images: Tensor, starts: Tensor, settings: SearchSettings
) -> SearchResult:
    """`latent_search` from `starts` (N, R, d)."""
    settings = settings.on(images.device)
    network, generator = _networks(generator, settings)
    wanted = images.requires_grad or starts.requires_grad
    differentiable = torch.is_grad_enabled() and wanted
    descends = settings.optimizer == "gradient_descent"
    same_for_all = not (settings.prune or settings.tolerance) and settings.precision == "float32"
    # Where all images go at once, as on a GPU, many restarts' trails would be too much.
    together = isinstance(generator, PiecewiseLinear) and not images.is_cuda
    if differentiable and descends and same_for_all and (starts.shape[1] == 1 or together):
        steps = torch.full((len(images),), settings.steps, device=images.device)
        return descend_differentiably(generator, images, starts, steps, settings)
    with torch.no_grad():
        found = _search(network, generator, images.detach(), starts.detach(), settings)
    if not differentiable:
        return found
    # The values are those found, to the last bit, with the gradients of another result.
    if descends:
        # The winning restart is run again, now with its trail kept: one more restart's work.
        winners = starts[torch.arange(len(images), device=images.device), found.restart, None]
        again = descend_differentiably(generator, images, winners, found.steps, settings)
    else:
        again = with_gradient(generator, images, found, settings)
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
    state: tuple[Tensor, ...]  # (M, K, ...) each, as of `_advance`
    before: Tensor  # (M,), objective of the best at the last look at the tolerance

    def of(self, images: Tensor) -> "_Running":
        """Those of some of the images, by a mask or by indices."""
        state = tuple(part[images] for part in self.state)
        own = (self.image[images], self.restart[images])
        return _Running(*own, state, self.before[images])

    def best(self, objective: Tensor, keep: int) -> "_Running":
        """The `keep` restarts of least objective (M, K) of each image."""
        order = objective.topk(keep, dim=1, largest=False).indices
        state = tuple(part.take_along_dim(_fitted(order, part), dim=1) for part in self.state)
        return replace(self, restart=self.restart.gather(1, order), state=state)


def _fitted(order: Tensor, part: Tensor) -> Tensor:
    """`order` (M, K) with as many dimensions as `part`."""
    return order.view(*order.shape, *[1] * (part.dim() - 2))


def _begun(starts: Tensor, settings: SearchSettings) -> tuple[Tensor, ...]:
    """What `_advance` begins with, from `starts` (N, R, d)."""
    if settings.optimizer == "lbfgs":
        return Path.start(starts, settings.step_size)
    return starts, torch.zeros_like(starts)


def _advance(
    network: nn.Module,
    images: Tensor,
    state: tuple[Tensor, ...],
    settings: SearchSettings,
    steps: range,
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The optimizer's state after the search's `steps`, and an objective (M, K) of each restart.

    `images` are (M, C, H, W), `state` (M, K, ...) each; the first of it are the codes that the
    restarts have to show. The objective is theirs by L-BFGS, and theirs before the last step by
    gradient descent.
    """
    shape = state[0].shape[:2]
    targets = images.repeat_interleave(shape[1], dim=0)
    flat = [part.flatten(0, 1) for part in state]
    if settings.optimizer == "lbfgs":
        path = iterate(network, targets, Path(*flat), settings, len(steps))
        flat, objective = [*path], path.value
    else:
        latents, velocity = flat
        *flat, objective = descend(network, targets, latents, velocity, settings, steps)
    return tuple(part.view(*shape, *part.shape[1:]) for part in flat), objective.view(shape)


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
    state = _begun(starts, settings)
    running = _Running(image, restart.expand(count, -1), state, before)
    prune, finished, done, evaluations = dict(settings.prune), [], 0, 0
    # After these steps restarts or images may drop out.
    looks = {*prune, settings.steps}
    if settings.tolerance:
        looks |= set(range(settings.patience, settings.steps, settings.patience))
    for reached in sorted(looks):
        targets, steps = images[running.image], range(done, reached)
        state, objective = _advance(network, targets, running.state, settings, steps)
        running = replace(running, state=state)
        evaluations += running.restart.shape[1] * len(steps)
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
    latents = running.state[0].flatten(0, 1)
    reconstructions = images_of(generator, latents)
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
    """Results of some images each, by these images' indices: all in the order of the indices."""
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
    settings = settings.on(images.device)
    network, generator = _networks(generator, settings)
    count, done, found = len(images), 0, {}
    state = _begun(starts, settings)
    with torch.no_grad():
        images = images.detach()
        for reached in dict.fromkeys(steps for steps, _ in cells):
            side_by_side = max(restarts for steps, restarts in cells if steps >= reached)
            state = tuple(part[:, :side_by_side] for part in state)
            state, _ = _advance(network, images, state, settings, range(done, reached))
            done, latents = reached, state[0].flatten(0, 1)
            generated = images_of(generator, latents)
            targets = images.repeat_interleave(side_by_side, dim=0)
            objective = settings.objective(generated, targets).view(count, side_by_side)
            for first in (restarts for steps, restarts in cells if steps == reached):
                cost = first * (reached + 1)
                found[reached, first] = _least(generated, latents, objective, reached, cost, first)
    return found


def _networks(generator: nn.Module, settings: SearchSettings) -> tuple[nn.Module, nn.Module]:
    """What descends, and what makes the images that are judged and returned, in float32; of
    settings as they are computed (`SearchSettings.on`)."""
    network = search_network(generator, settings.precision)
    half = settings.precision == "bfloat16"
    return network, search_network(generator) if half else network


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
