"""The best of all that an attack has seen of each image."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from purification.attacks.gradient import per_image
from purification.attacks.losses import left


class Best:
    """For each image of a batch the best candidate so far: a misclassified one before all others,
    then that of the greatest loss, then the first. Without `successes` the loss alone decides, and
    none is called misclassified: of a randomised model that would be luck.

    Attributes:
        images: (N, C, H, W), the images themselves as long as nothing was seen.
        wrong: bool (N,), whether the best candidate is misclassified.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        successes: bool = True,
    ) -> None:
        """`images` (N, C, H, W), `labels` int64 (N,). `loss`: (logits (n, K), int64 (n,), the rows
        of the batch that they are of) -> (n,)."""
        self.images = images.clone()
        self.wrong = torch.zeros_like(labels, dtype=torch.bool)
        self._labels, self._loss, self._successes = labels, loss, successes
        self._losses: Tensor | None = None

    def see(self, rows: Tensor, candidates: Tensor, logits: Tensor) -> Tensor:
        """Take candidates (n, C, H, W), of the rows int64 (n,) of the batch, that are better;
        `logits` (n, K) are the model's of them, or without `successes` whatever the loss takes.
        Returns which are misclassified, bool (n,)."""
        if self._losses is None:
            self._losses = logits.new_full((len(self.images),), -math.inf)
        losses = self._loss(logits, rows)
        wrong = torch.zeros_like(rows, dtype=torch.bool)
        if self._successes:
            wrong = left(logits, self._labels[rows])
        before = self.wrong[rows]
        better = (wrong & ~before) | ((wrong == before) & (losses > self._losses[rows]))
        chosen = torch.where(per_image(better, candidates), candidates, self.images[rows])
        self.images[rows] = chosen
        self._losses[rows] = torch.where(better, losses, self._losses[rows])
        self.wrong[rows] = wrong | before
        return wrong

    def staying(self) -> Tensor:
        """The rows of which nothing seen is misclassified, int64 (n,), ascending."""
        return (~self.wrong).nonzero().squeeze(1)
