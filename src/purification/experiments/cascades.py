"""Rules of the config's `cascades`. Like a table, one is looked at when it is asked for."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from purification.experiments.methods import norm_of, settings_of, stated
from purification.experiments.references import Wrong, unknown

WHOLE = ("white_box", "white_box_bpda")
"""Threat models whose attacker has the whole defence, if it has a purifier."""
THREAT_MODELS = (*WHOLE, "classifier", "gray_box")
TRANSFER = "transfer:"
"""As `evaluation.cascade.TRANSFER`, which this room may not import."""
_ROUNDING = 1e-9  # of a radius in units of [-1, 1], which is divided by 2


def wrong_stages(config: Mapping[str, Any], cascade: Mapping[str, Any]) -> Wrong:
    """Stages that do not go with their cascade: their references must be right."""
    if cascade["norm"] == "linf" and cascade["epsilon"] > 1:
        yield "epsilon", f"must be at most 1, the range of a pixel; got {cascade['epsilon']}"
    for number, stage in enumerate(cascade["stages"]):
        place = f"stages.{number}"
        attack = config["attacks"][stage["attack"]]
        for what in wrong_strength(stage["attack"], attack, cascade):
            yield f"{place}.attack", what
        for what in _wrong_threat_model(config, stage["attack"], attack, stage["threat_model"]):
            yield f"{place}.threat_model", what


def wrong_strength(
    name: str, attack: Mapping[str, Any], cascade: Mapping[str, Any], *, bounded: bool = False
) -> Iterator[str]:
    """What keeps an attack out of a cascade's ball; `bounded`: that nothing bounds it does, too."""
    if (norm := norm_of(attack)) is None:  # what it finds counts where it lies in the ball
        if bounded:
            yield f"attacks.{name} has no bound: name an attack with an epsilon and a norm"
        return
    if norm != cascade["norm"]:
        yield (
            f"attacks.{name} is bounded in the norm {norm}, and {{cascade}}.norm is "
            f"{cascade['norm']}: name an attack of that norm, or one without a bound"
        )
        return
    own = settings_of(attack)
    low, high = own.get("pixel_range", (0, 1))
    epsilon = own["epsilon"] / (high - low)
    if not math.isclose(epsilon, cascade["epsilon"], rel_tol=_ROUNDING):
        units = "" if high - low == 1 else f" ({epsilon:.6g} in pixel units of [0, 1])"
        yield (
            f"attacks.{name}.epsilon is {own['epsilon']}{units}, and {{cascade}}.epsilon is "
            f"{cascade['epsilon']}: name an attack of that strength"
        )


def _wrong_threat_model(
    config: Mapping[str, Any], name: str, attack: Mapping[str, Any], threat_model: str
) -> Iterator[str]:
    transfers = [f"{TRANSFER}{defense}" for defense in config["defenses"]]
    allowed = [*THREAT_MODELS, *transfers]
    if stated("attacks", attack["method"]).get("generator"):
        allowed = ["white_box"]  # it has a generator to search there alone
    yield from unknown(threat_model, allowed)
