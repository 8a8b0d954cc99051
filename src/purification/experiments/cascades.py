"""Rules of the config's `cascades`. Like a table, one is looked at when it is asked for."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from purification.experiments.methods import norm_of, settings_of, stated
from purification.experiments.references import Wrong, randomised, unknown
from purification.facts import holds_for

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
    drawn = cascade.get("randomised", {}).get("stages", ())
    for key, stages in (("stages", cascade["stages"]), ("randomised.stages", drawn)):
        for number, stage in enumerate(stages):
            place, name, threat_model = f"{key}.{number}", stage["attack"], stage["threat_model"]
            attack = config["attacks"][name]
            for what in _wrong_strength(name, attack, cascade):
                yield f"{place}.attack", what
            wrong = [*_wrong_threat_model(config, name, attack, threat_model)]
            yield from ((f"{place}.threat_model", what) for what in wrong)
            looked_at = "defenses" if stages is drawn and threat_model in WHOLE else ""
            if not wrong and threat_model.startswith(TRANSFER):
                other = threat_model.removeprefix(TRANSFER)
                looked_at = f"defenses.{other}" if randomised(config, other) else ""
            if looked_at:
                yield from ((f"{place}.attack", what) for what in _of_luck(name, attack, looked_at))


def _of_luck(name: str, attack: Mapping[str, Any], looked_at: str) -> Iterator[str]:
    """Of an attack that cannot be one on draws that are not known."""
    facts = stated("attacks", attack["method"])
    if facts.get("generator"):
        yield (
            f"{name!r} searches the codes at which a defense arrives, and randomised {looked_at} "
            "arrive at others in each draw"
        )
    elif holds_for(facts.get("ends_early"), settings_of(attack)):
        yield (
            f"{name!r} ends at an image's first success, which on one draw of randomised "
            f"{looked_at} is luck: name an attack that goes on to its end (`keep: last`, say, with "
            "`expectation`)"
        )


def _wrong_strength(
    name: str, attack: Mapping[str, Any], cascade: Mapping[str, Any]
) -> Iterator[str]:
    if (norm := norm_of(attack)) is None:  # what it finds counts where it lies in the ball
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
