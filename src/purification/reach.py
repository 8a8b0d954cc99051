"""How far the steps of an attack go together, and whether that is across its ball."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from purification.facts import decorated

LOWEST = 1 / 20
"""The last step of the cosine schedule, as a share of the first."""
TRAVEL = 2.5
"""How many radii all steps are long together, where no `step_size` is given."""
_TWO_DIGITS = 0.01
_ROUNDING = 1e-9  # 40 times 0.0025 is not quite 0.1


def step_sizes(
    epsilon: float, step_size: float | None, iterations: int, schedule: str
) -> list[float]:
    """The lengths of PGD's steps, the longest first (`attacks.iterative.pgd`)."""
    shares = [1.0] * iterations
    if schedule == "cosine" and iterations > 1:
        fall = [(1 - math.cos(math.pi * t / (iterations - 1))) / 2 for t in range(iterations)]
        shares = [1 - (1 - LOWEST) * share for share in fall]
    longest = TRAVEL * epsilon / sum(shares) if step_size is None else step_size
    return [longest * share for share in shares]


@dataclass(frozen=True)
class TooShort:
    """Steps that together are shorter than the way that they may have to go.

    Attributes:
        epsilon: radius of the ball; all lengths are in the attack's own units of pixels.
        travels: the length of all steps of a run together.
        must: up to how far it is from the start to the far side of the ball.
        start: "random" or "image".
        ways_out: the changes of the attack's settings each of which would suffice, as a config has
            them.
    """

    epsilon: float
    travels: float
    must: float
    start: str
    ways_out: tuple[str, ...]

    def goes(self, share: float) -> bool:
        """Whether the steps go this share of the way, to two digits."""
        return abs(self.travels / self.must - share) <= _TWO_DIGITS

    def __str__(self) -> str:
        whence = "a random start" if self.start == "random" else "the image"
        return (
            f"its steps travel {self.travels:.4g} at most, and from {whence} it is up to "
            f"{self.must:.4g} to the far side of its ball (epsilon {self.epsilon:.4g}): longer "
            f"steps may leave less. Any of these would suffice: {', '.join(self.ways_out)}"
        )


def too_short(method: str, settings: Mapping[str, Any]) -> TooShort | None:
    """What is to be said of a built-in attack whose steps cannot cross its ball: from a random
    point it is 2 epsilon to the far side, from the image epsilon. None of one that goes far enough,
    or has no `step_size`, and of users' own.

    Each step is as long as its `step_size`, whatever the `momentum`, which turns it: momentum
    changes nothing here, nor do restarts. A `schedule` does. Papers use such settings: it is no
    error, but more may be left than under longer steps.

    `settings` are those of `run_attack`, in units of any `pixel_range`.
    """
    facts = decorated("attacks").get(method)
    if facts is None or "step_size" not in facts.settings:
        return None
    given = {**facts.defaults, **settings}
    epsilon, step_size, iterations = (given[k] for k in ("epsilon", "step_size", "iterations"))
    schedule, start = given.get("schedule", "constant"), given.get("start", "image")
    travels = sum(step_sizes(epsilon, step_size, iterations, schedule))
    must = (2 if start == "random" else 1) * epsilon
    if travels >= must * (1 - _ROUNDING):
        return None
    enough = math.ceil(iterations * must / travels * (1 - _ROUNDING))
    while sum(step_sizes(epsilon, step_size, enough, schedule)) < must * (1 - _ROUNDING):
        enough += 1
    ways_out = [f"step_size: {_rounded_up(step_size * must / travels)}", f"iterations: {enough}"]
    if start == "random" and travels >= epsilon * (1 - _ROUNDING):
        ways_out.append("start: image")
    if facts.defaults.get("step_size", ...) is None:
        ways_out.append("step_size left out")
    return TooShort(epsilon, travels, must, start, tuple(ways_out))


def _rounded_up(length: float) -> str:
    """To three digits, so that it suffices as it is written."""
    digit = 10.0 ** (math.floor(math.log10(length)) - 2)
    return f"{math.ceil(length / digit * (1 - _ROUNDING)) * digit:.3g}"
