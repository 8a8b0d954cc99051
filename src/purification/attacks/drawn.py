"""A randomised model as an attack sees it: which draw each look at an image is.

A randomised model has the attribute `randomised` and takes `model(images, seeds)`, `seeds` (N,)
int64 on the CPU (`purifiers.base.Defended`). Its draws belong to images, never to batches: the k-th
time that an attack asks about an image is draw k of the attack's seed, whatever stands beside it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from purification.attacks.watch import rows_of
from purification.guests import GuestError
from purification.randomness import derive_seed, draw_seeds, is_randomised

Policy = Literal["fresh", "fixed"]


@dataclass(frozen=True)
class Draws:
    """The draws of a randomised model in one attack; of a deterministic model there are none.

    Attributes:
        seed: the attack's.
        judge: of the draws on which the attacked images are judged: draw 0 of each image.
        policy: "fresh": each look is a draw of its own, and none that of the judgement. "fixed":
            all are that of the judgement, as if the attacker knew the defence's random numbers.
        expectation: K draws a look, whose mean logits are what the attack sees, but for a loss of
            each draw (`of_each_draw`); of one that is "fixed" they would be K times the same, and
            there is one.
    """

    seed: int
    judge: int
    policy: Policy = "fresh"
    expectation: int = 1

    @property
    def passes(self) -> int:
        """Of an image through the model, in one look."""
        return 1 if self.policy == "fixed" else self.expectation

    def attacked(self, model: nn.Module, indices: Sequence[int], purpose: str) -> nn.Module:
        """The model for looks at a batch of these images; looks of one purpose are counted from 0.
        A deterministic model itself."""
        if not is_randomised(model):
            return model
        if self.policy == "fixed":
            return Drawn(model, self.judge, indices, None)
        return Drawn(model, derive_seed(self.seed, purpose), indices, self.expectation)

    def judged(self, model: nn.Module, images: Tensor, indices: Sequence[int]) -> Tensor:
        """Logits (N, classes) on the first draw of the judgement."""
        logits: Tensor
        if is_randomised(model):
            logits = model(images, draw_seeds(self.judge, indices, 0))
        else:
            logits = model(images)
        return logits


def of_each_draw(model: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same model, (n, C, H, W) -> logits (n, classes), but of a look by K > 1 draws (`Drawn`)
    (n, K, classes), for a loss that is one of each draw and not of their mean logits."""

    def asked(images: Tensor) -> Tensor:
        logits = model(images)
        of_draws: Tensor = getattr(logits, "_draws", logits)
        return of_draws

    return asked


class Drawn(nn.Module):
    """A randomised model on a batch of images under attack: (n, C, H, W) -> logits (n, classes).

    It is asked about all images of the batch, in their order, or about some, which then are a
    `part_of_batch`; one that stands there twice is looked at twice. Other numbers of images raise
    GuestError, because it is not known whose draws they are to have.

    Args:
        model: takes (images, seeds).
        seed: of `draw_seeds`.
        indices: the numbers of the images of the batch.
        expectation: K; look k is the mean of the logits over the draws k K .. k K + K - 1, for
            values and gradients alike, from one pass of n K images. None: every look is draw 0.
    """

    def __init__(
        self, model: nn.Module, seed: int, indices: Sequence[int], expectation: int | None
    ) -> None:
        super().__init__()
        self.model = model
        self.randomised = expectation is not None
        self._seed, self._indices, self._each = seed, [*indices], expectation or 1
        self._looks: Counter[int] = Counter()

    def forward(self, images: Tensor) -> Tensor:
        rows = self._rows_of(images)
        each = self._each
        draws = [k * each + i for k in map(self._look_at, rows) for i in range(each)]
        numbers = [self._indices[row] for row in rows for _ in range(each)]
        seeds = draw_seeds(self._seed, numbers, draws)
        copies = images if each == 1 else images.repeat_interleave(each, dim=0)
        logits: Tensor = self.model(copies, seeds)
        if each == 1:
            return logits
        of_draws = logits.view(len(images), each, -1)
        mean = of_draws.mean(dim=1)
        mean._draws = of_draws  # type: ignore[attr-defined]
        return mean

    def _look_at(self, row: int) -> int:
        """The number of this look at an image of the batch."""
        if not self.randomised:
            return 0
        self._looks[row] += 1
        return self._looks[row] - 1

    def _rows_of(self, images: Tensor) -> list[int]:
        rows = rows_of(images)
        if rows is not None:
            found: list[int] = rows.tolist()
            return found
        if len(images) != len(self._indices):
            raise GuestError(
                f"an attack asked a randomised model about {len(images)} images of a batch of "
                f"{len(self._indices)}, and it is not known which: their draws belong to them. "
                "Call it with all of them, or say which (attacks.watch.part_of_batch)"
            )
        return [*range(len(images))]
