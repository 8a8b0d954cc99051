"""How a randomised defence is judged: on which draws, and what is made of them.

- `one_shot`: the attack may look as often as it likes; its image is judged once, on a draw that no
  look was. The accuracy is the mean over D such draws, with the spread over them.
- `evaluations`: an image is right if the defence gets it right in each of N evaluations on such
  draws. A randomised defence loses clean images that way too, so that the clean accuracy is to be
  read under the same N.
- `fixed`: the attacker knows the draw of each image, and the image is judged on that one.

A draw is a function of (seed, image, draw) alone, and the draws of the judgement are the same for
clean images and for all attacks. None of an attack's own looks is among them. That an attack
succeeds on one of its looks says nothing, and counts nowhere.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from purification.evaluation.accuracy import share, wilson_interval
from purification.randomness import derive_seed

if TYPE_CHECKING:
    import numpy as np

ONE_SHOT, EVALUATIONS, FIXED = "one_shot", "evaluations", "fixed"
PROTOCOL_COLUMNS = ("protocol", "evaluations", "draws", "spread")
"""Further columns of randomised defences: the protocol (see the module); N, the evaluations that an
image has to stand (1 but for `evaluations`); the draws that were looked at, on which an accuracy is
a mean, or which all must be right; and the sample standard deviation of a draw's accuracy over the
draws, of the mean. `correct` counts each of an image's one-shot judgements, so that
accuracy = correct / (n * draws / evaluations); the interval is Wilson's of n images, because the
draws of an image are not independent of one another."""


DRAWS_EACH, AGGREGATED_BY = "draws_each", "aggregated_by"
"""Attributes of the sets of a file of purified images, where one evaluation is of several draws
(`purifiers.aggregation`): their number, and how their logits are put together."""


def judging_seed(recipe: Mapping[str, Any], known: bool = False) -> int:
    """The seed of the draws on which a recipe's purifier is judged; of those that an attacker of
    fixed randomness knows if they are `known`."""
    name = "known draw" if known else "judgement"
    return derive_seed(recipe["seed"], recipe["purifier"]["name"], name)


def draw_group(draw: int) -> str:
    """The name of the set of a draw, from 0, in a file of purified images of a randomised purifier:
    `draw1` is the first. Where an evaluation is of several, they are counted through."""
    return f"draw{draw + 1}"


def share_under(protocol: str, evaluations: int, right: "np.ndarray") -> dict[str, Any]:
    """The numbers of a row from which draws (N, D), bool, are right of N images: `n`, `correct`,
    `accuracy`, its 95 % interval, and `spread`. Raises ValueError if there are fewer draws than
    `evaluations`."""
    n, draws = right.shape
    if draws < evaluations:
        raise ValueError(f"{evaluations} evaluations need as many draws, got {draws}")
    if protocol != ONE_SHOT:
        judged = right[:, : evaluations if protocol == EVALUATIONS else 1]
        return {**share(judged.all(axis=1)), "spread": None}
    accuracy = float(right.mean())
    low, high = wilson_interval(accuracy * n, n)
    spread = float(right.mean(axis=0).std(ddof=1)) if draws > 1 else None
    numbers = {"n": n, "correct": int(right.sum()), "accuracy": accuracy}
    return {**numbers, "ci_low": low, "ci_high": high, "spread": spread}
