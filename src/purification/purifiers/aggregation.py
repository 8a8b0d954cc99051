"""What a randomised defence makes of several draws of one image: one draw, a mean, or a vote."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from purification.randomness import derive_seed

AGGREGATED = {
    "draws": "count = 1: purified images of one evaluation, all of which the classifier sees",
    "aggregation": "mean|vote = mean: their mean logits, or the class that most of them are given",
}
"""What randomised purifiers state of it among their settings."""


@dataclass(frozen=True)
class Aggregation:
    """How an evaluation of a randomised defence comes from `draws` purified images of each image.

    `by` is "mean", of their logits, or "vote": the class that most of them are given (Cohen et al.
    2019, section 3.2.2, without its test of significance and so without an abstention).
    """

    draws: int = 1
    by: str = "mean"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Aggregation":
        """As the settings of a purifier with `AGGREGATED` have it."""
        return cls(settings["draws"], settings["aggregation"])

    def seeds(self, seeds: Tensor) -> Tensor:
        """The seeds (N, draws) of an evaluation's draws, by those of the evaluation, int64 (N,),
        which are those of the first draws: each a function of its image's alone."""
        further = [
            [derive_seed(seed, "further draw", str(k)) for k in range(1, self.draws)]
            for seed in seeds.tolist()
        ]
        return torch.cat([seeds[:, None], torch.tensor(further, dtype=torch.int64)], dim=1)

    def logits(self, logits: Tensor) -> Tensor:
        """The defence's logits (N, K) from those of each draw, (N, draws, K).

        Of a vote they are the number of votes, and the mean probability halved, which decides ties.
        Votes have no gradient: it is that of the logarithm of the mean probability, which an
        attacker of a vote climbs (Salman et al. 2019, equation 3).
        """
        if self.by == "mean":
            return logits.mean(dim=1)
        log_mean = logits.log_softmax(dim=2).logsumexp(dim=1)  # up to a constant
        votes = nn.functional.one_hot(logits.argmax(dim=2), logits.shape[2]).sum(dim=1)
        value = votes + logits.softmax(dim=2).mean(dim=1) / 2
        # The parentheses keep the value exact: log_mean - log_mean.detach() is zero, bit for bit.
        return value.detach() + (log_mean - log_mean.detach())


ONE_DRAW = Aggregation()


def aggregation_of(purifier: nn.Module) -> Aggregation:
    """That which a purifier has as its `aggregation`; else each evaluation is one draw."""
    own = getattr(purifier, "aggregation", ONE_DRAW)
    return own if isinstance(own, Aggregation) else ONE_DRAW
