"""The fast adaptive boundary attack: the nearest image that leaves its label."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from purification.attacks.balls import exponents
from purification.attacks.contract import attack
from purification.attacks.gradient import logit_differences, logits_of, per_image
from purification.attacks.losses import left, likeliest_others, margin
from purification.attacks.noise import per_image_noise
from purification.attacks.planes import to_plane
from purification.attacks.watch import part_of_batch
from purification.randomness import derive_seed

OPTIONS = {
    "iterations": "count",
    "restarts": "count = 1",
    "targeted": "boolean = True",
    "targets": "count = 9",
}
_ALPHA, _BETA, _ETA = 0.1, 0.9, 1.05  # the largest weight of the image, step back, overshoot
_FINAL_STEPS, _BEYOND = 3, 0.01  # of the final search, and how far past the boundary it aims
_DUAL = {math.inf: 1.0, 2.0: 2.0}
_TINY = 1e-30


@attack(norm="linf", settings={"epsilon": "epsilon", **OPTIONS}, ends_early=True)
def fab(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    iterations: int,
    restarts: int = 1,
    targeted: bool = True,
    targets: int = 9,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    """The nearest misclassified image in the l-inf norm, by steps onto linearised boundaries.

    Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary
    attack", algorithm 1 with the paper's constants (alpha_max 0.1, beta 0.9, eta 1.05) and final
    search, here three steps of the false position between the image and the nearest one found. A
    step goes to the nearest linearised boundary within the box [0, 1], from the iterate and from
    the image itself, and takes a mean of both; an iterate that is misclassified is drawn a tenth of
    the way back to the image.

    **Within epsilon.** The search does not know epsilon, but for its random starts, and goes on
    after a success: it looks for the smallest change. An image is returned as the nearest that was
    found if that lies within epsilon, so that the accuracy left at this epsilon is right and the
    norms that are kept are the smallest found. If it lies farther away, the point of the way to it
    at the distance epsilon is returned, which is rarely misclassified, and if none was found, or
    the image is misclassified as it is given, the image itself. With the largest epsilon (1) all
    smallest norms are there.

    `targeted` is FAB-T: a run for each of the likeliest other classes on the image itself, which
    sees the boundary towards that class alone. A step costs two forward passes and one backward
    pass, where the plain attack has a backward pass for each other class.

    Args:
        epsilon: l-inf radius, in pixel units of [0, 1].
        iterations: steps of a run; 100 in AutoAttack.
        restarts: runs, the first from the image, others from a random point at half the smallest
            norm so far, or half of epsilon if that is less.
        targeted: a run for each of the `targets`, or one that sees all boundaries at once.
        targets: of a targeted attack: how many classes are aimed at; all others, if there are
            fewer. AutoAttack's 9.
    """
    given = (epsilon, iterations, restarts, targeted, targets, seed, indices)
    return _attack("fab", math.inf, model, images.detach(), labels, *given)


@attack(norm="l2", settings={"epsilon": "length", **OPTIONS}, ends_early=True)
def fab_l2(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    iterations: int,
    restarts: int = 1,
    targeted: bool = True,
    targets: int = 9,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    """`fab` in the l2 norm.

    Croce and Hein 2020, algorithm 1.

    Args:
        epsilon: l2 radius, in pixel units of [0, 1].
        iterations: steps of a run; 100 in AutoAttack.
        restarts: runs, the first from the image, others from a random point near it.
        targeted: a run for each of the `targets`, or one that sees all boundaries at once.
        targets: of a targeted attack: how many classes are aimed at; all others, if there are
            fewer. AutoAttack's 9.
    """
    given = (epsilon, iterations, restarts, targeted, targets, seed, indices)
    return _attack("fab_l2", 2.0, model, images.detach(), labels, *given)


class _Nearest:
    """The nearest misclassified image found of each, and how far away it is: (N,), inf if none."""

    def __init__(self, images: Tensor, order: float) -> None:
        self.given, self.images, self.order = images, images.clone(), order
        self.distances = images.new_full((len(images),), math.inf)

    def see(self, rows: Tensor, candidates: Tensor, wrong: Tensor) -> None:
        distances = _length(candidates - self.given[rows], self.order)
        nearer = wrong & (distances < self.distances[rows])
        self.distances[rows] = torch.where(nearer, distances, self.distances[rows])
        chosen = torch.where(per_image(nearer, candidates), candidates, self.images[rows])
        self.images[rows] = chosen

    def within(self, epsilon: float) -> Tensor:
        """Those within epsilon; of others the point at that distance on the way there."""
        share = torch.where(self.distances > epsilon, epsilon / self.distances, 1)
        on_the_way = self.given + per_image(share, self.given) * (self.images - self.given)
        return torch.where(per_image(share < 1, self.given), on_the_way, self.images)


def _attack(
    method: str,
    order: float,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    iterations: int,
    restarts: int,
    targeted: bool,
    targets: int,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    if not 0 <= epsilon < math.inf or min(iterations, restarts, targets) < 1:
        raise ValueError(
            f"{method}: epsilon must not be negative, iterations, restarts and targets at least 1; "
            f"got {epsilon}, {iterations}, {restarts}, {targets}"
        )
    indices, nearest = list(indices), _Nearest(images, order)
    everything = torch.arange(len(images), device=images.device)
    logits = logits_of(model, images, everything)
    nearest.see(everything, images, left(logits, labels))
    rows = (nearest.distances > 0).nonzero().squeeze(1)
    others = likeliest_others(logits, labels, targets if targeted else logits.shape[1])
    for run, boundaries in enumerate(others.split(1, dim=1) if targeted else [others]):
        for restart in range(restarts if len(rows) else 0):
            start = images
            if restart > 0:
                radii = nearest.distances.clamp(max=epsilon) / 2
                own = derive_seed(seed, "restart", str(run * restarts + restart))
                start = _random_start(images, radii, order, own, indices)
            _run(model, labels, boundaries, start, iterations, rows, nearest)
    _search_back(model, labels, margin(logits, labels), nearest)
    return nearest.within(epsilon)


def _random_start(
    images: Tensor, radii: Tensor, order: float, seed: int, indices: Iterable[int]
) -> Tensor:
    """A point at each distance (N,) from its image before it is clipped to the box."""
    noise = per_image_noise(torch.randn if order == 2 else torch.rand, images, seed, indices)
    noise = noise if order == 2 else 2 * noise - 1
    scale = radii / _length(noise, order).clamp(min=_TINY)
    return (images + per_image(scale, images) * noise).clamp(0, 1)


def _run(
    model: nn.Module,
    labels: Tensor,
    boundaries: Tensor,
    start: Tensor,
    iterations: int,
    rows: Tensor,
    nearest: _Nearest,
) -> None:
    """One run of the images int64 (n,) of a batch, over the boundaries to classes (N, K)."""
    order, images, current = nearest.order, nearest.given[rows], start[rows]
    for _ in range(iterations):
        given = part_of_batch(current.detach().requires_grad_(), rows)
        found = logit_differences(model, given, labels[rows], boundaries[rows])
        values, slopes = _scaled(*found)
        value, slope = _nearest_boundary(values, slopes, _DUAL[order])
        step = to_plane(current, value, slope, order)
        value_there = value + ((images - current) * slope).flatten(1).sum(dim=1)
        step_there = to_plane(images, value_there, slope, order)
        lengths = _length(step, order), _length(step_there, order)
        share = (lengths[0] / (lengths[0] + lengths[1]).clamp(min=_TINY)).clamp(max=_ALPHA)
        share = per_image(share, current)
        reached = (1 - share) * (current + _ETA * step) + share * (images + _ETA * step_there)
        reached = reached.clamp(0, 1)
        wrong = left(logits_of(model, reached, rows), labels[rows])
        nearest.see(rows, reached, wrong)
        back = (1 - _BETA) * images + _BETA * reached
        current = torch.where(per_image(wrong, reached), back, reached)


def _scaled(values: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Linear functions, values (n, K) and slopes (K, n, C, H, W), each times a power of 2 with
    which no square of its slope is lost: they are zero in the same places."""
    powers = -exponents(slopes.flatten(0, 1)).view(slopes.shape[:2])
    shape = (*powers.shape, *[1] * (slopes.dim() - 2))
    return torch.ldexp(values, powers.T), torch.ldexp(slopes, powers.view(shape))


def _nearest_boundary(values: Tensor, slopes: Tensor, dual: float) -> tuple[Tensor, Tensor]:
    """Of linearised boundaries, values (n, K) and slopes (K, n, C, H, W), the value and slope of
    that whose plane is nearest in the norm of which `dual` is the dual's order."""
    norms = torch.linalg.vector_norm(slopes.flatten(2), ord=dual, dim=2).T
    chosen = (values.abs() / norms.clamp(min=_TINY)).argmin(dim=1)
    rows = torch.arange(len(chosen), device=chosen.device)
    return values[rows, chosen], slopes[chosen, rows]


def _search_back(model: nn.Module, labels: Tensor, margins: Tensor, nearest: _Nearest) -> None:
    """Moves what was found towards its image, as far as it stays misclassified: the root of the
    margin between both, by the false position. margins: (N,), at the images given."""
    rows = ((nearest.distances > 0) & nearest.distances.isfinite()).nonzero().squeeze(1)
    if len(rows) == 0:
        return
    images, found, own = nearest.given[rows], nearest.images[rows], labels[rows]
    low, at_low = torch.zeros_like(margins[rows]), margins[rows]
    high, at_high = torch.ones_like(low), margin(logits_of(model, found, rows), own)
    for _ in range(_FINAL_STEPS):
        share = (-at_low / (at_high - at_low).clamp(min=_TINY)).clamp(0, 1)
        place = low + (high - low) * (share + _BEYOND * (1 - share))
        point = images + per_image(place, images) * (found - images)
        logits = logits_of(model, point, rows)
        wrong, value = left(logits, own), margin(logits, own)
        nearest.see(rows, point, wrong)
        high, at_high = torch.where(wrong, place, high), torch.where(wrong, value, at_high)
        low, at_low = torch.where(wrong, low, place), torch.where(wrong, at_low, value)


def _length(change: Tensor, order: float) -> Tensor:
    """The norm of each image's change (N, C, H, W), (N,)."""
    lengths: Tensor = torch.linalg.vector_norm(change.flatten(1), ord=order, dim=1)
    return lengths
