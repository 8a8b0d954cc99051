"""What a cascade asks of images that its attacks return: does the defended model err, and by how
much; and do they lie in the ball.

A randomised model is asked on draws. The attacker of fresh draws chooses among the images that
several attacks have made of one, and decides which are to be attacked further, by looks of its own:
the same S draws of each image for all of them, which no attack saw, and on which nothing is judged
(`protocols`). By the draws of the judgement it would choose what was lucky there. The more draws
the better it chooses; a poor choice makes it weaker, and the accuracy that is left no less true.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from purification.attacks.losses import margin
from purification.attacks.run import lengths_of, within_ball
from purification.evaluation.protocols import EVALUATIONS, ONE_SHOT, judging_seed, share_under
from purification.models.prediction import predict
from purification.randomness import derive_seed, draw_seeds
from purification.storage import ImageSet


@dataclass(frozen=True)
class Selection:
    """The draws of a randomised model by which an attacker chooses.

    Attributes:
        seed: of `randomness.draw_seeds`.
        draws: S, of each image; draws 0 to S - 1.
        known: its attacks know them, too: there is one, on which the image is also judged.
    """

    seed: int
    draws: int
    known: bool = False

    @classmethod
    def of(cls, recipe: Mapping[str, Any], seed: int) -> "Selection | None":
        """Those of an `AttackedAdaptively` recipe, whose cascade has that seed; of a deterministic
        defence None."""
        if recipe.get("known_draw"):
            return cls(judging_seed(recipe, known=True), 1, known=True)
        draws = recipe.get("selection_draws")
        return None if draws is None else cls(derive_seed(seed, "selection"), draws)


class Said(NamedTuple):
    """What the defended model says of n images: `errors`, int64 (n,), the draws on which it errs;
    `margin`, float32 (n,), its largest other logit minus the label's, the mean over draws; and
    `predictions`, int64 (n,), on the first draw. Of a deterministic model there is one draw."""

    errors: Tensor
    margin: Tensor
    predictions: Tensor


@dataclass(frozen=True)
class Judge:
    """The defended model, (N, C, H, W) in [0, 1] -> logits (N, K), and the images as they are, with
    their labels. `selection`: of a randomised model."""

    defended: nn.Module
    images: Tensor
    labels: Tensor
    norm: str
    epsilon: float
    batch_size: int
    selection: Selection | None = None

    @property
    def draws(self) -> int:
        """Of an image; one that is misclassified on all of them counts as broken."""
        return self.selection.draws if self.selection else 1

    def asked_anew(self) -> "Judge":
        """The same on draws by which nothing was selected. An image that was selected seems worse
        on the draws that decided it than it is, and the more so the more candidates there were, so
        that these say nothing of whether another attack helped. Where no draws select, itself."""
        if self.selection is None or self.selection.known:
            return self
        seed = derive_seed(self.selection.seed, "asked anew")
        return replace(self, selection=replace(self.selection, seed=seed))

    def says(self, images: Tensor, rows: Tensor) -> Said:
        """What is said of images (n, C, H, W) that stand for `rows` (n,)."""
        labels, found = self.labels[rows], []
        for draw in range(self.draws):
            logits = self.logits(images, rows, draw)
            classes = logits.argmax(dim=1)
            found.append(Said((classes != labels).long(), margin(logits, labels), classes))
        errors, margins, classes_on = map(torch.stack, zip(*found, strict=True))
        return Said(errors.sum(dim=0), margins.mean(dim=0), classes_on[0])

    def logits(self, images: Tensor, rows: Tensor, draw: int) -> Tensor:
        """(n, K), on one of the draws."""
        seeds = draw_seeds(self.selection.seed, rows.tolist(), draw) if self.selection else None
        device = next((p.device for p in self.defended.parameters()), images.device)
        size = max(self.batch_size // getattr(self.defended, "passes", 1), 1)
        own = {"batch_size": size, "seeds": seeds, "device": device}
        return predict(self.defended, images, **own)

    def predictions(self, images: Tensor) -> Tensor:
        """Int64 (N, S), of images that stand for all, on each draw."""
        everything = torch.arange(len(images))
        drawn = [self.logits(images, everything, draw) for draw in range(self.draws)]
        return torch.stack([logits.argmax(dim=1) for logits in drawn], dim=1)

    def inside(self, images: Tensor, rows: Tensor, epsilon: float | None = None) -> Tensor:
        """Which images lie in the balls of `rows`, bool (n,), up to what float32 rounds; the radius
        is `epsilon`, or that of the cascade if it is not given."""
        radius = self.epsilon if epsilon is None else epsilon
        return within_ball(change(images, self.images[rows], self.norm), radius)


def change(images: Tensor, originals: Tensor, norm: str) -> Tensor:
    """The norm ("linf" or "l2") of each image's change, float64 (N,), in pixel units of [0, 1]."""
    return lengths_of(images.double() - originals.double(), norm)


def on_fresh_draws(
    made: ImageSet, judge: Judge, selected: Selection, tried: Tensor | None = None
) -> ImageSet:
    """The images of a set on the draws of the judge, by which nothing was `selected`.

    Of known draws the set has `fresh_predictions` besides. Else it is judged by these: as
    `judged_afresh`, and `stage_predictions` (N, D, S) of what each stage made, `tried` (S, N, C, H,
    W), if there is any.
    """
    if selected.known:
        fresh = judge.predictions(torch.from_numpy(made.images)).numpy()
        return replace(made, fields=made.fields | {"fresh_predictions": fresh})
    judged = judged_afresh(made, judge, selected.draws)
    if tried is None or not len(tried):
        return judged
    each = torch.stack([judge.predictions(images) for images in tried], dim=2).numpy()
    return replace(judged, fields=judged.fields | {"stage_predictions": each})


def judged_afresh(made: ImageSet, judge: Judge, selected_by: int) -> ImageSet:
    """The images of a set, and those of the judge as they are, on its draws: with `predictions` and
    `clean_predictions`, int64 (N, D), and the accuracy by each protocol (`protocols`) as a JSON
    attribute. `selected_by`: the draws by which the attacker has selected the images."""
    on_draws = {
        "predictions": judge.predictions(torch.from_numpy(made.images)).numpy(),
        "clean_predictions": judge.predictions(judge.images).numpy(),
    }
    attacked, clean = (classes == made.labels[:, None] for classes in on_draws.values())
    rows = []
    for protocol, evaluations in {ONE_SHOT: 1, EVALUATIONS: judge.draws}.items():
        if (protocol == EVALUATIONS) == (evaluations > 1):  # of one draw that is one-shot
            named = {"protocol": protocol, "evaluations": evaluations, "draws": judge.draws}
            without = share_under(protocol, evaluations, clean)["accuracy"]
            judged = share_under(protocol, evaluations, attacked)
            rows.append({**named, **judged, "clean_accuracy": without})
    attributes = {"protocols": json.dumps(rows), "selection_draws": selected_by}
    return replace(made, fields=made.fields | on_draws, attributes=made.attributes | attributes)
