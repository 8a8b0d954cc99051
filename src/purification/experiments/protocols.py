"""By which protocols a randomised defence is judged (`evaluation.protocols` says what they are)."""

from typing import Any

ONE_SHOT, EVALUATIONS, FIXED = "one_shot", "evaluations", "fixed"
"""As in `evaluation.protocols`, which this room may not import."""
JUDGED_DRAWS = 5
"""Draws on which a randomised defence is judged, where the config names no other number."""
SELECTION_DRAWS = 10
"""Draws by which the attacker of a cascade selects, where the config names no other number."""
KNOWN = "_fixed"
"""The end of the names of threat models in which the attacker knows the draw."""


def protocols(threat_model: str, draws: int | None) -> list[dict[str, Any]]:
    """The columns that say by which protocols images of a threat model ("none": clean ones) are
    judged on so many draws, for each row; of a deterministic defence (None) one row without.

    Images that were made for a known draw are judged on that, and on draws that they were not made
    for.
    """
    if draws is None:
        return [{}]
    fresh = {"protocol": ONE_SHOT, "evaluations": 1, "draws": draws}
    if threat_model.endswith(KNOWN):
        return [{"protocol": FIXED, "evaluations": 1, "draws": 1}, fresh]
    # Right in one of one draw is one-shot.
    every = {"protocol": EVALUATIONS, "evaluations": draws, "draws": draws}
    return [fresh, every] if draws > 1 else [fresh]
