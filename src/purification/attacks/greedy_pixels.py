"""Greedy search over single pixels by the model's scores: for defences that round."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from purification.attacks import losses
from purification.attacks.contract import attack
from purification.attacks.watch import part_of_batch
from purification.randomness import per_image_generators

_ROWS = 256  # images shown to the model at a time
_KICKED = 0.1  # share of the pixels that count which a kick sets anew
_FEWEST_KICKED = 4


@attack(
    norm="linf",
    settings={"epsilon": "epsilon", "queries": "count"},
    gradient_based=False,
    ends_early=True,
)
def greedy_pixels(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    queries: int = 5000,
    seed: int,
    indices: Iterable[int],
    begin_at: Tensor | None = None,
) -> Tensor:
    """Sets pixels to their lowest or highest value, those first that lower the label's margin most.

    A local search over corners of the ball, as Moon et al. 2019, "Parsimonious black-box
    adversarial attacks via efficient combinatorial optimization", with single pixels from the
    start. A defence that rounds has no gradient, and of one that rounds to few levels most pixels
    cannot change the answer: squares of random signs waste their queries, and BPDA follows a
    gradient of pixels that do not move. A round shows the model every change of a single pixel. Of
    those that lower the margin (the label's logit minus the largest other one) it takes the best
    half, quarter and so on, and keeps the number of them that lowers it most together. Pixels that
    changed no logit in the first round are not asked about again. Where no single pixel helps, some
    that count are set at random, and the search goes down from there; it stays if it comes lower.

    An image that leaves its label is done, and one that is misclassified as it is given is returned
    unchanged. If none is found, the image of least margin is returned. No image depends on the rest
    of its batch.

    Args:
        epsilon: l-inf radius, in pixel units of [0, 1].
        queries: passes of an image through the model, at most, beside one look at the image as it
            is given. The first round takes two for each pixel and channel.
        begin_at: images (N, C, H, W) where the search begins; None: at the images themselves.
    """
    if not (0 <= epsilon < math.inf and queries >= 1):
        raise ValueError(
            f"greedy_pixels: epsilon must not be negative, queries at least 1; got {epsilon}, "
            f"{queries}"
        )
    images = images.detach()
    generators = per_image_generators(seed, indices)
    if len(generators) != len(images):
        raise ValueError(f"greedy_pixels: {len(generators)} indices for {len(images)} images")
    starts = images if begin_at is None else begin_at
    made = [
        _Search(model, images, labels, row, epsilon, queries, generators[row]).run(starts[row])
        for row in range(len(images))
    ]
    return torch.stack(made)


class _Done(Exception):
    """Of a search that has found a success, or has no queries left."""


class _Search:
    """That of the image `row` of a batch. Images in it are (C * H * W,)."""

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        row: int,
        epsilon: float,
        queries: int,
        generator: torch.Generator,
    ) -> None:
        self._model, self._generator = model, generator
        self._given, self._label, self._row = images[row], labels[row], row
        flat = self._given.flatten()
        self._lowest, self._highest = (flat - epsilon).clamp(min=0), (flat + epsilon).clamp(max=1)
        # The image itself is one look more.
        self._left = queries + 1
        self._best, self._least = flat, math.inf
        self._counting = torch.arange(len(flat), device=flat.device)

    @torch.no_grad()
    def run(self, start: Tensor) -> Tensor:
        try:
            self._ask(self._given.flatten()[None])
            self._least = math.inf  # The image itself is returned only if it is misclassified.
            start = start.flatten().clamp(self._lowest, self._highest)
            self._descend(start, float(self._ask(start[None])), first=True)
            while len(self._counting):
                kicked = self._kicked(self._best)
                self._descend(kicked, float(self._ask(kicked[None])))
        except _Done:
            pass
        return self._best.view_as(self._given)

    def _descend(self, current: Tensor, margin: float, first: bool = False) -> None:
        """To where no single pixel lowers the margin."""
        while True:
            pixels, values = self._moves(current)
            margins = self._ask_of_moves(current, pixels, values)
            if first:
                # Other than by rounding alone.
                changed = (margins - margin).abs() > 1e-5 * max(abs(margin), 1.0)
                self._counting, first = pixels[changed].unique(), False
            order = margins.argsort(stable=True)
            order = order[margins[order] < margin]
            if not len(order):
                return
            several = len(order)
            together = []
            while several:
                # Of two values of a pixel the better one is set last.
                one = current.clone()
                for move in order[:several].flip(0).split(1):
                    one[pixels[move]] = values[move]
                together.append(one)
                several //= 2
            margins = self._ask(torch.stack(together))
            best = int(margins.argmin())
            if float(margins[best]) >= margin:
                return
            current, margin = together[best], float(margins[best])

    def _moves(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (k,) and other values of theirs (k,)."""
        pixels = self._counting.repeat(2)
        values = torch.cat([self._lowest[self._counting], self._highest[self._counting]])
        other = values != current[pixels]
        return pixels[other], values[other]

    def _kicked(self, image: Tensor) -> Tensor:
        """Some of the pixels that count, at their lowest or highest value."""
        count = max(round(_KICKED * len(self._counting)), min(_FEWEST_KICKED, len(self._counting)))
        order = torch.randperm(len(self._counting), generator=self._generator)[:count]
        up = torch.rand(count, generator=self._generator) < 0.5
        pixels, up = self._counting[order.to(image.device)], up.to(image.device)
        kicked = image.clone()
        kicked[pixels] = torch.where(up, self._highest[pixels], self._lowest[pixels])
        return kicked

    def _ask_of_moves(self, current: Tensor, pixels: Tensor, values: Tensor) -> Tensor:
        parts = []
        for some, value in zip(pixels.split(_ROWS), values.split(_ROWS), strict=True):
            candidates = current.repeat(len(some), 1)
            candidates.scatter_(1, some[:, None], value[:, None])
            parts.append(self._ask(candidates))
        return torch.cat(parts)

    def _ask(self, candidates: Tensor) -> Tensor:
        """Margins (k,) of candidates (k, C * H * W), after which the best is known.

        Raises:
            _Done: a success is found, or no query is left.
        """
        candidates = candidates[: self._left]
        if not len(candidates):
            raise _Done
        self._left -= len(candidates)
        shown = candidates.view(-1, *self._given.shape)
        labels = self._label.expand(len(shown))
        rows = torch.full((len(shown),), self._row, device=shown.device)
        logits = self._model(part_of_batch(shown, rows))
        margins = -losses.margin(logits, labels)
        wrong = losses.left(logits, labels)
        best = int(margins.argmin())
        if float(margins[best]) < self._least:
            self._best, self._least = candidates[best], float(margins[best])
        if bool(wrong.any()):
            first = int(wrong.nonzero()[0])
            self._best = candidates[first]
            raise _Done
        if not self._left:
            raise _Done
        return margins
