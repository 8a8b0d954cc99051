"""Rules of the config's `cascades`. Like a table, one is looked at when it is asked for."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from purification.experiments.methods import (
    BEGIN,
    begins_anywhere,
    facts_for,
    generates,
    norm_of,
    settings_of,
    stated,
)
from purification.experiments.references import Takes, Wrong, purifier_of, randomised, unknown
from purification.experiments.schema import wrong_form
from purification.facts import decorated, holds_for

WHOLE = ("white_box", "white_box_bpda")
"""Threat models whose attacker has the whole defence, if it has a purifier."""
SURROGATE = "surrogate"
"""That of a cheaper version of the defence; also the key of a stage that says which."""
THREAT_MODELS = (*WHOLE, "classifier", "gray_box", SURROGATE)
TRANSFER = "transfer:"
"""As `evaluation.cascade.TRANSFER`, which this room may not import."""
OTHER_SEED = re.compile(r"@seed(?P<seed>0|[1-9]\d{0,18})(:(?P<part>purifier|classifier))?")
"""What is transferred from the same defence of another seed: from the whole, or from a model that
shares the other part with it."""
_ROUNDING = 1e-9  # of a radius in units of [-1, 1], which is divided by 2


def called(stage: Mapping[str, Any]) -> str:
    """What a stage's threat model is called among others: a surrogate with its settings, such as
    "surrogate:restarts=1,steps=5"."""
    settings = stage.get(SURROGATE, {})
    told = ",".join(f"{name}={json.dumps(settings[name])}" for name in sorted(settings))
    return f"{SURROGATE}:{told}" if told else str(stage["threat_model"])


def wrong_stages(
    config: Mapping[str, Any], cascade: Mapping[str, Any], schema: Mapping[str, Any]
) -> Wrong:
    """Stages that do not go with their cascade: their references must be right."""
    if cascade["norm"] == "linf" and cascade["epsilon"] > 1:
        yield "epsilon", f"must be at most 1, the range of a pixel; got {cascade['epsilon']}"
    drawn = cascade.get("randomised", {}).get("stages", ())
    for key, stages in (("stages", cascade["stages"]), ("randomised.stages", drawn)):
        for number, stage in enumerate(stages):
            place = {"fresh": stages is drawn, "first": number == 0}
            for where, what in _wrong_stage(config, cascade, stage, schema, **place):
                yield f"{key}.{number}.{where}", what


def _wrong_stage(
    config: Mapping[str, Any],
    cascade: Mapping[str, Any],
    stage: Mapping[str, Any],
    schema: Mapping[str, Any],
    *,
    fresh: bool,
    first: bool,
) -> Wrong:
    """`fresh`: of a stage that attacks randomised defences on draws that it does not know; `first`:
    of the first one."""
    name, threat_model = stage["attack"], stage["threat_model"]
    attack = config["attacks"][name]
    for what in wrong_strength(name, attack, cascade):
        yield "attack", what
    wrong = [*_wrong_threat_model(config, name, attack, threat_model)]
    yield from (("threat_model", what) for what in wrong)
    if "begin" in stage:
        yield from (("begin", what) for what in _wrong_begin(name, attack, first=first))
    yield from _wrong_surrogate(config, stage, schema)
    other = threat_model.removeprefix(TRANSFER)
    looks = fresh and (threat_model in (*WHOLE, SURROGATE) or bool(OTHER_SEED.fullmatch(other)))
    if not wrong and (looks or (other != threat_model and randomised(config, other))):
        yield from (("attack", what) for what in _of_luck(name, attack))


def _of_luck(name: str, attack: Mapping[str, Any]) -> Iterator[str]:
    """What an attack wants that draws which are not known do not give it."""
    facts = stated("attacks", attack["method"])
    if facts.get("generator"):
        yield (
            f"{name!r} searches the codes at which a defense arrives, and a randomised one arrives "
            "at others in each draw"
        )
    elif holds_for(facts.get("ends_early"), settings_of(attack)):
        yield (
            f"{name!r} ends at an image's first success, which on one draw of a randomised defense "
            "is luck: name an attack that goes on to its end (`keep: last`, say, and `expectation`)"
        )


def _wrong_begin(name: str, attack: Mapping[str, Any], *, first: bool) -> Iterator[str]:
    """What keeps a stage from going on from what those before it found."""
    if first:
        yield "there is no stage before the first one from which it could go on"
    if not begins_anywhere(attack):
        able = [method for method, f in decorated("attacks").items() if BEGIN in f.parameters]
        yield (
            f"attacks.{name} has a method that cannot begin at other images; these can: "
            f"{', '.join(sorted(able))}, and a function of your own with the parameter {BEGIN}"
        )


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


def takes(config: Mapping[str, Any], cascade: Mapping[str, Any]) -> Takes:
    """Which attacks a cascade takes: those of its ball, and those without a bound."""

    def taken(section: str, name: str) -> bool:
        attack = config["attacks"].get(name, {})
        return section != "attacks" or not any(wrong_strength(name, attack, cascade))

    return taken


def _wrong_threat_model(
    config: Mapping[str, Any], name: str, attack: Mapping[str, Any], threat_model: str
) -> Iterator[str]:
    seeds = f"{TRANSFER}@seed1"
    if OTHER_SEED.fullmatch(threat_model.removeprefix(TRANSFER)) and TRANSFER in threat_model:
        threat_model = seeds
    transfers = [*(f"{TRANSFER}{defense}" for defense in config["defenses"]), seeds]
    allowed = [*THREAT_MODELS, *transfers]
    if stated("attacks", attack["method"]).get("generator"):
        # Where it has a generator to search, and codes at which each image arrives.
        allowed = ["white_box", *(f"{TRANSFER}{name}" for name in _with_codes(config))]
    yield from unknown(threat_model, allowed)


def _with_codes(config: Mapping[str, Any]) -> Iterator[str]:
    """The defences whose purifier has a generator, and no random draws."""
    defenses = config["defenses"]
    for name in defenses:
        if generates(defenses.get(purifier_of(config, name), {})) and not randomised(config, name):
            yield name


def _wrong_surrogate(
    config: Mapping[str, Any], stage: Mapping[str, Any], schema: Mapping[str, Any]
) -> Wrong:
    """A surrogate has settings that some defence of the config states; another stage has none."""
    if (SURROGATE in stage) != (stage["threat_model"] == SURROGATE):
        if SURROGATE in stage:
            yield SURROGATE, f"is for the threat model {SURROGATE}; got {stage['threat_model']}"
        else:
            yield SURROGATE, "the key is missing: the settings of the cheaper version"
        return
    forms: dict[str, list[Any]] = {}
    for defense in config["defenses"].values():
        facts = facts_for(defense["method"])
        for name, form in facts.cheaper.items() if facts else ():
            forms.setdefault(name, []).append({"$defs": schema["$defs"], **form})
    for name, value in stage.get(SURROGATE, {}).items():
        yield from ((SURROGATE, text) for text in unknown(name, forms))
        wrong = [list(wrong_form(value, form, "_")) for form in forms.get(name, ())]
        if wrong and all(wrong):
            yield f"{SURROGATE}.{name}", wrong[0][0].partition(": ")[2]
