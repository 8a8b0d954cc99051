"""Whether an attack's steps can cross its ball."""

import inspect
from collections.abc import Mapping
from typing import Any

from purification.attacks.iterative import step_sizes
from purification.attacks.registry import ATTACKS


def too_short(method: str, settings: Mapping[str, Any]) -> str | None:
    """What to say of a built-in attack whose steps together are shorter than the way that it may
    have to go: 2 epsilon from a random point of the ball, epsilon from the image. None of one that
    goes far enough, or has no `step_size`, and of users' own.

    Papers use such settings: it is no error, but more may be left than under longer steps.
    `settings` are those of `run_attack`, in units of any `pixel_range`.
    """
    if method not in ATTACKS or "step_size" not in ATTACKS[method].settings:
        return None
    epsilon, iterations = settings["epsilon"], settings["iterations"]
    schedule = settings.get("schedule", "constant")
    travels = sum(step_sizes(epsilon, settings.get("step_size"), iterations, schedule))
    # One that states no start begins at the image.
    stated = inspect.signature(ATTACKS[method].function).parameters.get("start")
    start = settings.get("start", stated.default if stated else "image")
    must, whence = (2 * epsilon, "a random start") if start == "random" else (epsilon, "the image")
    if travels >= must * (1 - 1e-9):  # 40 times 0.0025 is not quite 0.1
        return None
    return (
        f"its steps travel {travels:.4g} at most, and from {whence} it is up to {must:.4g} to the "
        f"far side of its ball (epsilon {epsilon:.4g}): longer steps may leave less"
    )
