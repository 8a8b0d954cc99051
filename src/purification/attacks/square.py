"""Square Attack (Andriushchenko et al. 2020): random search by the model's scores alone."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from purification.attacks import losses
from purification.attacks.balls import L2Ball, LinfBall
from purification.attacks.contract import attack
from purification.attacks.gradient import per_image
from purification.attacks.watch import part_of_batch
from purification.randomness import is_randomised, per_image_generators

SETTINGS = {
    "queries": "count",
    "p_init": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "restarts": "count",
}
# After so many of 10,000 queries the share of the pixels in a square is halved (section 4.1; the
# 500 is the published code's).
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_LONGEST = 10_000
_DRAWN_AT_ONCE = 500  # queries whose random numbers an image draws together
_TILES = 5  # on a side of the first l2 perturbation
_SMALLEST_NORM = 1e-12


@attack(norm="linf", settings={"epsilon": "epsilon", **SETTINGS}, gradient_based=False)
def square(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    queries: int = 5000,
    p_init: float = 0.8,
    restarts: int = 1,
    seed: int,
    indices: Iterable[int],
    begin_at: Tensor | None = None,
) -> Tensor:
    """Random squares of +epsilon or -epsilon, kept where they lower the label's margin.

    Andriushchenko et al. 2020, "Square Attack: a query-efficient black-box adversarial attack via
    random search", algorithms 1 and 2. It asks the model for logits and for no gradient, so that a
    masked one hides nothing from it. The margin is the label's logit minus the largest other one.
    The search starts with vertical stripes one pixel wide. Each query sets a square, in each
    channel by itself, to the image + epsilon or - epsilon within [0, 1]. The square has a random
    place and a share of the image's pixels that begins with `p_init` and is halved nine times, at
    the published code's shares of `queries`. Signs that would leave the image as it is are turned
    round, as nothing can be learned from them; the published code draws others.

    An image that leaves its label is done and costs no more queries, and one that is misclassified
    as it is given is returned unchanged. (Before a randomised model, where a success is one of one
    draw, all go on to the last query.) If none is found, the perturbation of least margin is
    returned. The model is asked about the images that are left, a smaller batch in each query.

    Args:
        epsilon: l-inf radius, in pixel units of [0, 1].
        queries: passes of an image through the model in each restart, at most; the first look at
            the image as it is given is one more. The paper has 10,000, AutoAttack 5,000.
        p_init: share of the pixels in the first squares, in (0, 1]; 0.8 in AutoAttack, 0.05 in the
            paper (ImageNet).
        restarts: random starts; one in the paper and in AutoAttack.
        begin_at: images (N, C, H, W) in the place of the first of them.
    """
    _check("square", epsilon, queries, p_init, restarts)
    images = images.detach()
    return _Search(_Squares(images, epsilon), model, images, labels).run(
        queries, p_init, restarts, seed, indices, begin_at
    )


@attack(norm="l2", settings={"epsilon": "length", **SETTINGS}, gradient_based=False)
def square_l2(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    queries: int = 5000,
    p_init: float = 0.8,
    restarts: int = 1,
    seed: int,
    indices: Iterable[int],
    begin_at: Tensor | None = None,
) -> Tensor:
    """`square` in an l2 ball: a query moves the perturbation of two squares into one of them.

    Andriushchenko et al. 2020, algorithms 1 and 3. What a square holds is mixed with a bump of two
    halves of opposite signs, horizontal or vertical, and given the length that both squares had and
    that the ball has left. Squares have an odd side of 3 pixels at least. The start is a grid of
    such bumps, 5 on a side.

    Args:
        epsilon: l2 radius, in pixel units of [0, 1].
        queries: passes of an image through the model in each restart, at most; the first look at
            the image as it is given is one more.
        p_init: share of the pixels in the first squares, in (0, 1]; 0.8 in AutoAttack, 0.1 in the
            paper (ImageNet).
        restarts: random starts.
        begin_at: images (N, C, H, W) in the place of the first of them.
    """
    _check("square_l2", epsilon, queries, p_init, restarts)
    images = images.detach()
    return _Search(_Bumps(images, epsilon), model, images, labels).run(
        queries, p_init, restarts, seed, indices, begin_at
    )


def _check(method: str, epsilon: float, queries: int, p_init: float, restarts: int) -> None:
    if not (0 <= epsilon < math.inf and 0 < p_init <= 1 and queries >= 1 and restarts >= 1):
        raise ValueError(
            f"{method}: epsilon must not be negative, p_init must be in (0, 1], queries and "
            f"restarts at least 1; got {epsilon}, {p_init}, {queries}, {restarts}"
        )


def _share(p_init: float, query: int, queries: int) -> float:
    """The share of an image's pixels in the square of a query, from 1: rescaled to `queries`."""
    at = query * _LONGEST // queries
    return p_init / 2.0 ** sum(at > halving for halving in _HALVINGS)


@dataclass
class _Squares:
    """Perturbed images of `square`, from random numbers in [0, 1)."""

    images: Tensor
    epsilon: float

    def __post_init__(self) -> None:
        self._lowest = (self.images - self.epsilon).clamp(min=0)
        self._highest = (self.images + self.epsilon).clamp(max=1)
        _, self._channels, self._height, self._width = self.images.shape
        self.numbers_to_start = self._channels * self._width
        self.numbers_to_move = 2 + self._channels

    @property
    def ball(self) -> LinfBall:
        return LinfBall(self.images, self.epsilon)

    def start(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """Those of images `rows` (n,) to begin with; `numbers` (n, numbers_to_start)."""
        up = (numbers < 0.5).view(-1, self._channels, 1, self._width)
        return torch.where(up, self._highest[rows], self._lowest[rows])

    def side(self, share: float) -> int:
        side = max(round(math.sqrt(share * self._height * self._width)), 1)
        return min(side, self._height, self._width)

    def move(self, rows: Tensor, current: Tensor, share: float, numbers: Tensor) -> Tensor:
        """Proposals in the place of `current`, both (n, C, H, W), from `numbers` (n,
        numbers_to_move)."""
        inside = _window(_corner(numbers[:, :2], self.side(share), current), current)
        up = (numbers[:, 2:] < 0.5)[:, :, None, None]
        lowest, highest = self._lowest[rows], self._highest[rows]
        moved = torch.where(inside, torch.where(up, highest, lowest), current)
        same = per_image((moved == current).flatten(1).all(dim=1), current)
        return torch.where(inside & same, torch.where(up, lowest, highest), moved)


@dataclass(frozen=True)
class _Window:
    """Squares of one side in n images: their upper left corners, (n,) each."""

    top: Tensor
    left: Tensor
    side: int


def _corner(numbers: Tensor, side: int, images: Tensor) -> _Window:
    """Squares at a random place of each image, all places alike, from `numbers` (n, 2)."""
    free = numbers.new_tensor([length - side + 1 for length in images.shape[2:]])
    # In float32 a number just below 1 may round up to the number of places.
    corner = torch.minimum((numbers * free).long(), free.long() - 1)
    return _Window(corner[:, 0], corner[:, 1], side)


def _window(window: _Window, images: Tensor) -> Tensor:
    """Which pixels are inside, bool (n, 1, H, W)."""
    inside = []
    for first, length in zip((window.top, window.left), images.shape[2:], strict=True):
        place = torch.arange(length, device=images.device) - first[:, None]
        inside.append((place >= 0) & (place < window.side))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


@dataclass
class _Bumps:
    """Perturbed images of `square_l2`, from random numbers in [0, 1)."""

    images: Tensor
    epsilon: float

    def __post_init__(self) -> None:
        _, self._channels, self._height, self._width = self.images.shape
        self._tile = max(min(self._height, self._width) // _TILES, 1)
        self._tiles = (self._height // self._tile, self._width // self._tile)
        self.numbers_to_start = self._channels * math.prod(self._tiles) + 1
        self.numbers_to_move = 5 + self._channels

    @property
    def ball(self) -> L2Ball:
        return L2Ball(self.images, self.epsilon)

    def start(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """As of `_Squares`: tiles in the middle of the image, of the length epsilon together."""
        bump = self._turned(self._tile, numbers[:, 0])
        signs = torch.where(numbers[:, 1:] < 0.5, 1.0, -1.0).to(self.images)
        signs = signs.view(-1, self._channels, *self._tiles)
        # Each sign times the bump: (n, C, tiles, side, tiles, side).
        tiles = signs[:, :, :, None, :, None] * bump[:, None, None, :, None, :]
        sides = [count * self._tile for count in self._tiles]
        change = torch.zeros_like(self.images[rows])
        top, left = (self._height - sides[0]) // 2, (self._width - sides[1]) // 2
        grid = tiles.reshape(len(rows), self._channels, *sides)
        change[:, :, top : top + sides[0], left : left + sides[1]] = grid
        length = _length(change.flatten(1))
        return (self.images[rows] + change * per_image(self.epsilon / length, change)).clamp(0, 1)

    def side(self, share: float) -> int:
        side = max(round(math.sqrt(share * self._height * self._width)), 3)
        return min(side + (side % 2 == 0), self._height, self._width)

    def move(self, rows: Tensor, current: Tensor, share: float, numbers: Tensor) -> Tensor:
        """As of `_Squares`."""
        side, given = self.side(share), self.images[rows]
        change = current - given
        into, out = (_corner(numbers[:, i : i + 2], side, current) for i in (0, 2))
        inside = _window(into, current)
        both = inside | _window(out, current)
        bump = _placed(self._turned(side, numbers[:, 4]), into, current)
        signs = torch.where(numbers[:, 5:] < 0.5, 1.0, -1.0).to(current)[:, :, None, None]
        held = change * inside
        mixed = signs * bump + held / _length_of_channels(held)
        left = (self.epsilon**2 - change.square().flatten(1).sum(dim=1)).clamp(min=0)
        free = per_image(left / self._channels, change)
        available = ((change * both).square().sum(dim=(2, 3), keepdim=True) + free).sqrt()
        new = mixed / _length_of_channels(mixed) * available
        moved = torch.where(inside, new, torch.where(both, 0.0, change))
        # Rounding in the sums may leave it a little too long.
        shrink = (self.epsilon / _length(moved.flatten(1))).clamp(max=1)
        return (given + moved * per_image(shrink, moved)).clamp(0, 1)

    def _turned(self, side: int, numbers: Tensor) -> Tensor:
        """`_bump` or its transpose, (n, side, side), by `numbers` (n,)."""
        bump = _bump(side).to(self.images)
        return torch.where((numbers < 0.5)[:, None, None], bump, bump.T)


def _length(vectors: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    return length.clamp(min=_SMALLEST_NORM)


def _length_of_channels(change: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(change, dim=(2, 3), keepdim=True)
    return length.clamp(min=_SMALLEST_NORM)


def _placed(bumps: Tensor, window: _Window, images: Tensor) -> Tensor:
    """Bumps (n, side, side) where the windows are, (n, 1, H, W), zero elsewhere."""
    canvas = torch.zeros_like(images[:, :1])
    steps = torch.arange(window.side, device=images.device)
    rows, columns = (first[:, None] + steps for first in (window.top, window.left))
    image = torch.arange(len(images), device=images.device)[:, None, None]
    canvas[image, 0, rows[:, :, None], columns[:, None, :]] = bumps
    return canvas


def _bump(side: int) -> Tensor:
    """The paper's eta, (side, side) of length 1: an upper half above zero, a lower one below.

    In each half a pixel at the distance d from the middle (the larger of those along the two sides)
    has the sum of 1 / (j + 1)^2 for j from d to n, n the distance of the farthest (equation 2).
    """
    upper = side // 2
    halves = [_half_bump(upper, side)] if upper else []
    bump = torch.cat([*halves, -_half_bump(side - upper, side)])
    return bump / _norm(bump)


def _norm(values: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(values)
    return norm


def _half_bump(height: int, width: int) -> Tensor:
    farthest = max(height, width) // 2
    sides = [(torch.arange(length) - length // 2).abs() for length in (height, width)]
    distance = torch.maximum(sides[0][:, None], sides[1][None, :])
    terms = 1 / torch.arange(1, farthest + 2).square()
    values = terms.flip(0).cumsum(0).flip(0)[distance]
    return values / _norm(values)


class _Search:
    """Random search over a batch of images, each with numbers of its own."""

    def __init__(
        self, proposals: _Squares | _Bumps, model: nn.Module, images: Tensor, labels: Tensor
    ) -> None:
        self._proposals, self._model, self._labels = proposals, model, labels
        self._by_luck = is_randomised(model)
        self._device = images.device
        self._best = images.clone()
        self._least = images.new_full((len(images),), math.inf)
        self._wrong = torch.zeros_like(labels, dtype=torch.bool)

    @torch.no_grad()
    def run(
        self,
        queries: int,
        p_init: float,
        restarts: int,
        seed: int,
        indices: Iterable[int],
        begin_at: Tensor | None,
    ) -> Tensor:
        """The images of least margin of all restarts, (N, C, H, W), or the first misclassified."""
        generators = per_image_generators(seed, indices)
        if len(generators) != len(self._best):
            count = len(self._best)
            raise ValueError(f"square attack: {len(generators)} indices for {count} images")
        images = self._best.clone()
        self._ask(torch.arange(len(images), device=self._device), images)
        # The image itself is returned only if it is misclassified.
        self._least.masked_fill_(~self._wrong, math.inf)
        for restart in range(restarts):
            given = begin_at if restart == 0 else None
            self._restart(generators, queries, p_init, given)
        return self._best

    def _restart(
        self,
        generators: list[torch.Generator],
        queries: int,
        p_init: float,
        begin_at: Tensor | None,
    ) -> None:
        made, rows = self._proposals, (~self._wrong).nonzero().squeeze(1)
        if not len(rows):
            return
        if begin_at is None:
            numbers = self._numbers(generators, rows, 1, made.numbers_to_start)[:, 0]
            current = made.start(rows, numbers)
        else:
            current = made.ball.part(rows).project(begin_at[rows])
        least = self._ask(rows, current)
        numbers = torch.empty(0)
        for query in range(1, queries):
            at = (query - 1) % _DRAWN_AT_ONCE
            kept = (~self._wrong[rows]).nonzero().squeeze(1)
            if len(kept) < len(rows):
                rows, current, least = rows[kept], current[kept], least[kept]
                numbers = numbers[kept] if at else numbers
            if not len(rows):
                return
            if not at:
                count = min(_DRAWN_AT_ONCE, queries - query)
                numbers = self._numbers(generators, rows, count, made.numbers_to_move)
            share = _share(p_init, query, queries)
            proposed = made.move(rows, current, share, numbers[:, at])
            margin = self._ask(rows, proposed)
            better = margin < least
            current = torch.where(per_image(better, current), proposed, current)
            least = torch.where(better, margin, least)

    def _numbers(
        self, generators: list[torch.Generator], rows: Tensor, queries: int, each: int
    ) -> Tensor:
        """Uniform in [0, 1), (n, queries, each), of each of the images `rows` (n,) its own."""
        # Drawn on the CPU and in float32, so that a GPU and float64 get the same numbers.
        chosen = [generators[row] for row in rows.tolist()]
        return torch.stack([torch.rand(queries, each, generator=g) for g in chosen]).to(
            self._device
        )

    def _ask(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """Margins (n,) of candidates for the images `rows` (n,), after which the best are known."""
        labels = self._labels[rows]
        logits = self._model(part_of_batch(candidates, rows))
        margin, wrong = -losses.margin(logits, labels), losses.left(logits, labels)
        if self._by_luck:
            wrong = torch.zeros_like(wrong)
        better = wrong | (margin < self._least[rows])
        self._least[rows] = torch.where(better, margin, self._least[rows])
        self._best[rows] = torch.where(per_image(better, candidates), candidates, self._best[rows])
        self._wrong[rows] |= wrong
        return margin
