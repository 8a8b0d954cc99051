"""HopSkipJump (Chen et al. 2020): the nearest image of another class, by the model's decisions."""

import math
from collections.abc import Generator, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.attacks.contract import attack
from purification.attacks.losses import left
from purification.attacks.watch import part_of_batch
from purification.randomness import per_image_generators

_FIRST_DIRECTIONS = 100  # B0 of the paper, the directions behind the first estimated gradient
_FIRST_DELTA = 0.1  # their length, in pixel units of [0, 1], as in the authors' code
_LEAST_DIRECTIONS = 10  # behind the last one, for which the queries must do
_MOST_HALVINGS = 20  # of an interval or of a step: beyond it are float32's last digits
_SQUARES = (1, 2, 4, 8)  # sides of the squares of which noise to start from is made
_STARTS = 20  # how often an image looks for a start
_ROWS = 128  # images shown to the model at a time, if the batch has fewer

_Asking = Generator[Tensor, Tensor, Tensor]
"""Asks the model about images (k, C, H, W), and is told of which it errs, bool (k,)."""


@attack(settings={"queries": "count"}, gradient_based=False, ends_early=True)
def hop_skip_jump(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    queries: int = 1000,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    """The l-inf nearest image that leaves `labels`, found by asking for the predicted class alone.

    Chen et al. 2020, "HopSkipJumpAttack: a query-efficient decision-based attack", algorithms 1 and
    2, with the constants of the authors' code. From noise that leaves the label, an image goes to
    the boundary by bisection. Then, in turns: it estimates there, from the decisions at
    100 sqrt(t) points around it in iteration t, the gradient of the boundary, takes a step along it
    that is halved until it leaves the label, and goes back to the boundary. There an interval is
    bisected to 1 / d^2 of it, of d pixels, but 20 times at most: beyond are float32's last digits.

    Like `deepfool` it has no `epsilon`: what it tells is the norm of each change, and the share of
    images of a larger norm is the accuracy at any epsilon. It needs neither gradients nor logits,
    so that a masked gradient hides nothing from it. Its points around the boundary are l2
    `distance / d` away, some 1e-6 a pixel: a model that rounds its pixels, or a long search whose
    rounding is larger, gives it no direction.

    An image that is misclassified is returned as it is; so is one for which no noise leaves the
    label (noise of single pixels and of squares of 2, 4 and 8, and images of a single colour, 100
    in all), which is counted as a failure. No image depends on the rest of its batch.

    Args:
        queries: points that the model is shown for each image, at most, beside one look at the
            image as it is given.
    """
    return _attack("hop_skip_jump", math.inf, model, images, labels, queries, seed, indices)


@attack(settings={"queries": "count"}, gradient_based=False, ends_early=True)
def hop_skip_jump_l2(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    queries: int = 1000,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    """`hop_skip_jump` for the l2 nearest image. An interval is bisected to 1 / (d sqrt(d)).

    Args:
        queries: points that the model is shown for each image, at most, beside one look at the
            image as it is given.
    """
    return _attack("hop_skip_jump_l2", 2.0, model, images, labels, queries, seed, indices)


@torch.no_grad()
def _attack(
    method: str,
    order: float,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    queries: int,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    """`order`: of the norm. All but the model's passes is computed on the CPU, image by image."""
    generators = per_image_generators(seed, indices)
    if queries < 1 or len(generators) != len(images):
        raise ValueError(
            f"{method}: queries must be at least 1 and there must be an index an image; got "
            f"{queries}, and {len(generators)} indices for {len(images)} images"
        )
    given = images.detach()
    asked = _Asked(model, given, labels)
    right = ~asked.errs(torch.arange(len(given)), given)
    walks = {
        row: _Walk(image, order, queries, generators[row])
        for row, image in enumerate(given.cpu())
        if right[row]
    }
    _together(asked, walks)
    result = given.clone()
    for row, walk in walks.items():
        result[row] = walk.nearest.to(result)
    return result


class _Asked:
    """The model's decisions on images of a batch under attack, a number of rows at a time."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        self._model, self._labels, self._device = model, labels, images.device
        self._at_once = max(len(images), _ROWS)

    def errs(self, rows: Tensor, points: Tensor) -> Tensor:
        """Whether each of `points` (n, C, H, W) leaves the label of the image in `rows` (n,), whose
        perturbed form it is; bool (n,), on the CPU."""
        found = []
        for row, part in zip(rows.split(self._at_once), points.split(self._at_once), strict=True):
            row = row.to(self._device)
            logits = self._model(part_of_batch(part.to(self._device), row))
            found.append((left(logits, self._labels[row])).cpu())
        return torch.cat(found)


def _together(asked: _Asked, walks: dict[int, "_Walk"]) -> None:
    """All walks to their ends, side by side: what each asks next goes to the model in one batch."""
    running = {row: walk.walk() for row, walk in walks.items()}
    asking = {row: next(walk) for row, walk in running.items()}
    while asking:
        counts = [len(points) for points in asking.values()]
        rows = torch.tensor(list(asking)).repeat_interleave(torch.tensor(counts))
        answers = asked.errs(rows, torch.cat(list(asking.values()))).split(counts)
        for row, answer in zip(list(asking), answers, strict=True):
            try:
                asking[row] = running[row].send(answer)
            except StopIteration:
                del asking[row]


class _Walk:
    """The way of one image (C, H, W), on the CPU, with its own random numbers.

    Attributes:
        nearest: the nearest point that left the label; the image itself before there is one.
    """

    def __init__(self, image: Tensor, order: float, queries: int, random: torch.Generator) -> None:
        self.nearest = self._image = image
        self._least = math.inf
        self._order, self._left, self._random = order, queries, random
        pixels = image.numel()
        self._pixels = pixels
        power = 1.5 if order == 2 else 2.0
        self._bisections = min(math.ceil(power * math.log2(pixels)), _MOST_HALVINGS)

    def walk(self) -> Generator[Tensor, Tensor, None]:
        current = yield from self._start()
        if current is None:
            return
        current = yield from self._to_boundary(current)
        iteration = 1
        # What a step and the way back take is kept.
        while (spare := self._left - self._bisections - 5) >= _LEAST_DIRECTIONS:
            distance = self._distances(current[None]).item()
            delta = _FIRST_DELTA if iteration == 1 else distance / self._pixels
            count = min(int(_FIRST_DIRECTIONS * math.sqrt(iteration)), spare)
            direction = yield from self._gradient(current, delta, count)
            moved = yield from self._step(current, direction, distance / math.sqrt(iteration))
            if moved is not None:
                current = yield from self._to_boundary(moved)
            iteration += 1

    def _ask(self, points: Tensor) -> _Asking:
        """Whether points (k, C, H, W) leave the label; keeps the nearest that does."""
        self._left -= len(points)
        errs = yield points
        distances = self._distances(points).masked_fill(~errs, math.inf)
        least = distances.argmin()
        if distances[least] < self._least:
            self.nearest, self._least = points[least], distances[least].item()
        return errs

    def _distances(self, points: Tensor) -> Tensor:
        change = (points - self._image).flatten(1)
        distances: Tensor = torch.linalg.vector_norm(change, ord=self._order, dim=1)
        return distances

    def _start(self) -> Generator[Tensor, Tensor, Tensor | None]:
        """The nearest of some noise that leaves the label; None if none does."""
        for _ in range(_STARTS):
            noise = self._noise()[: self._left]
            if not len(noise):
                break
            yield from self._ask(noise)
            if self._least < math.inf:
                return self.nearest
        return None

    def _noise(self) -> Tensor:
        """Uniform in [0, 1): of squares of each side, and of one colour."""
        channels, height, width = self._image.shape
        made = []
        for side in (*_SQUARES, max(height, width)):
            shape = (1, channels, -(-height // side), -(-width // side))
            cells = torch.rand(shape, generator=self._random)
            large = functional.interpolate(cells, scale_factor=side, mode="nearest")
            made.append(large[:, :, :height, :width])
        return torch.cat(made).to(self._image)

    def _to_boundary(self, point: Tensor) -> _Asking:
        """Algorithm 1: from a point that leaves the label towards the image, as far as it does."""
        change = point - self._image
        radius = change.abs().max()
        low, high = 0.0, 1.0
        for _ in range(min(self._bisections, self._left)):
            middle = (low + high) / 2
            if self._order == 2:
                nearer = self._image + middle * change
            else:
                nearer = self._image + change.clamp(-middle * radius, middle * radius)
            errs = yield from self._ask(nearer[None])
            if errs[0]:
                point, high = nearer, middle
            else:
                low = middle
        return point

    def _gradient(self, current: Tensor, delta: float, count: int) -> _Asking:
        """Equation 16: directions, weighted by the decisions above their mean; of unit length in
        l2, the signs in l-inf."""
        shape = (count, *current.shape)
        if self._order == 2:
            drawn = torch.randn(shape, generator=self._random)
        else:
            drawn = 2 * torch.rand(shape, generator=self._random) - 1
        drawn = drawn.to(current)
        drawn /= torch.linalg.vector_norm(drawn.flatten(1), dim=1).view(-1, 1, 1, 1)
        points = (current + delta * drawn).clamp(0, 1)
        errs = yield from self._ask(points)
        weights = 2 * errs.to(current) - 1
        # Where all agree there is nothing to compare with.
        if 0 < errs.sum() < count:
            weights -= weights.mean()
        gradient = torch.einsum("n,nchw->chw", weights, (points - current) / delta)
        return gradient / gradient.norm().clamp(min=1e-12) if self._order == 2 else gradient.sign()

    def _step(
        self, current: Tensor, direction: Tensor, length: float
    ) -> Generator[Tensor, Tensor, Tensor | None]:
        """The first of ever shorter steps that leaves the label; None if none does."""
        for _ in range(min(_MOST_HALVINGS, self._left)):
            moved = (current + length * direction).clamp(0, 1)
            errs = yield from self._ask(moved[None])
            if errs[0]:
                return moved
            length /= 2
        return None
