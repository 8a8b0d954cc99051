"""Attacks, defences and data sets by what they state of themselves: the config's form for each.

The schema has what all entries of a section share. What one method has besides, its own file says
(`purification.facts`): here the two are put together.
"""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from purification.facts import (
    Facts,
    built_in,
    constant_of,
    decorated,
    facts_at,
    facts_of,
    holds_for,
    lengths_among,
)

BEGIN = "begin_at"
"""By which parameter an attack takes the images at which it begins, if it can begin at any."""


@cache
def defenses() -> dict[str, Facts]:
    """The built-in defences by their names in the config: classes with a `METHOD`."""
    found = built_in("purifiers").values()
    return {facts.stated["method"]: facts for facts in found if "method" in facts.stated}


def facts_for(method: str) -> Facts | None:
    """What the code of a defence states; None of a function, or without a purifier of its own.
    Raises ValueError as `facts_of`."""
    found = facts_of(method) if ":" in method else defenses().get(method)
    return found if found and found.methods is not None else None


def is_randomised(defense: Mapping[str, Any]) -> bool:
    """Whether a defence's entry makes a randomised purifier; of a redeployed one that is a question
    to the entry of its purifier. False of what cannot be read (`entries.own_code`)."""
    facts = _readable(defense)
    if facts is None:
        return False
    return holds_for(facts.stated.get("randomised"), given_settings(facts, defense))


def generates(defense: Mapping[str, Any]) -> bool:
    """Whether a defence's entry makes a purifier with a generator, as for `is_randomised`."""
    facts = _readable(defense)
    return facts is not None and has_generator(facts)


def _readable(defense: Mapping[str, Any]) -> Facts | None:
    try:
        return facts_for(defense.get("method", ""))
    except ValueError:
        return None


def given_settings(facts: Facts, defense: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a defence's entry, with the defaults that its code states."""
    given = defense.get("settings", {}) if ":" in defense["method"] else defense
    return {**facts.defaults, **given}


def is_cheaper(
    facts: Facts, defense: Mapping[str, Any], wanted: Mapping[str, Any], *, drawn: bool
) -> bool:
    """Whether the version of a defence with these settings, which it states under CHEAPER, is
    another one than the defence: that has more of one of them, or one of them is no setting of it,
    and not off. `drawn`: the defence is randomised."""
    own = given_settings(facts, defense)
    if drawn and any(facts.cheaper[name].get("known_draws") for name in wanted):
        return False
    return any(
        own.get(name) is not None and value < own[name] if name in facts.settings else bool(value)
        for name, value in wanted.items()
    )


@cache
def architectures() -> tuple[str, ...]:
    """The built-in classifiers."""
    return tuple(constant_of("purification.models.classifiers:ARCHITECTURES"))


def settings_of(attack: Mapping[str, Any]) -> dict[str, Any]:
    """An attack's entry with all its settings: those of a user's own stand under `settings`."""
    return {**attack.get("settings", {}), **attack}


def with_settings(attack: Mapping[str, Any], **new: Any) -> dict[str, Any]:
    """An attack's entry with other settings."""
    if ":" in attack["method"]:
        return {**attack, "settings": {**attack.get("settings", {}), **new}}
    return {**attack, **new}


def stated(room: str, place: str) -> Mapping[str, Any]:
    """What an attack or data set states; nothing of what cannot be read (`entries.own_code`)."""
    try:
        return facts_at(room, place).stated
    except ValueError:
        return {}


def begins_anywhere(attack: Mapping[str, Any]) -> bool:
    """Whether an attack's entry can begin its search at other images than those that it attacks."""
    try:
        return BEGIN in facts_at("attacks", attack["method"]).parameters
    except ValueError:
        return False


def has_generator(facts: Facts) -> bool:
    """Whether a defence states a generator (`purifiers.base.Purifier`), itself or by a base of this
    library."""
    bases = (facts_of(base) for base in facts.bases if base.startswith("purification."))
    own = {"latent_codes", "generate"} <= (facts.methods or {}).keys()
    return own or any(map(has_generator, bases))


def norm_of(attack: Mapping[str, Any]) -> str | None:
    """The norm by which an attack's `epsilon` bounds it; None: nothing does, or nothing is said."""
    norm: str | None = stated("attacks", attack["method"]).get("norm")
    return norm


def least_epsilon(attack: Mapping[str, Any]) -> tuple[str, float]:
    """The setting that an attack's `epsilon` must be above, and its value; "" and 0 without one."""
    name = stated("attacks", attack["method"]).get("above", "")
    return name, settings_of(attack).get(name, 0)


def composed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The config's schema with the names of all built-in methods, and a branch for each that states
    its settings.

    A section's entries have `properties` in the schema: the keys that every method has. A method
    whose facts have `keys` takes these of them alone, beside the one that names it.
    """
    made = deepcopy(dict(schema))
    for definition, names in (
        ("attack_method", decorated("attacks")),
        ("dataset_source", decorated("datasets")),
        ("architecture", architectures()),
    ):
        made["$defs"][definition]["anyOf"].insert(0, {"enum": list(names)})
    attack = made["properties"]["attacks"]["additionalProperties"]
    for name, facts in decorated("attacks").items():
        attack["allOf"].append(attack_branch(attack["properties"], name, facts))
    entry = made["properties"]["defenses"]["additionalProperties"]
    made["$defs"]["defense_method"]["anyOf"][0]["enum"] += sorted(defenses())
    entry["allOf"] += [_branch(entry["properties"], *known) for known in defenses().items()]
    return made


def _branch(shared: Mapping[str, Any], name: str, facts: Facts) -> dict[str, Any]:
    """The form of a defence of one method."""
    kept: dict[str, Any] = dict.fromkeys(facts.stated.get("keys", shared), True)
    if not facts.stated.get("randomised"):
        kept.pop("judged_draws", None)
    if not facts.cheaper:
        kept.pop("surrogate", None)
    required = [*facts.required, *(k for k in ("classifier", "threat_models") if k in kept)]
    if kinds := facts.stated.get("generators"):
        named = {"type": "string", "names": "generators", "that": {"kind": list(kinds)}}
        kept["generator"] = {**named, "description": "The generator that it uses."}
        required.append("generator")
    made = _form("method", name, facts, {**kept, **facts.settings}, required)
    further = {"dependentRequired": "needs", "rules": "rules"}
    made["then"] |= {k: facts.stated[v] for k, v in further.items() if v in facts.stated}
    return made


def attack_branch(shared: Mapping[str, Any], name: str, facts: Facts) -> dict[str, Any]:
    """The same of an attack, of which it follows from its facts which of the shared keys it has."""
    climbs = facts.stated.get("labels", not facts.stated.get("model_free"))
    keys = ["images", "paper_name", "quirks", *(["labels"] if climbs else [])]
    keys += [] if facts.stated.get("model_free") else ["expectation"]
    keys += ["published_reach"] if "step_size" in facts.settings and ":" not in name else []
    measured = ["pixel_range"] if lengths_among(facts.stated["settings"]) else []
    if ":" in name:
        settings, strength = own_settings(facts), "epsilon" if "norm" in facts.stated else None
        settings["properties"] |= {key: shared[key] for key in measured}
        needed = [k for k in facts.settings if k == strength or not facts.parameters[k]]
        settings["required"] = needed
        own = {"settings": settings, "files": True} | dict.fromkeys(keys, True)
        return _form("method", name, facts, own, ["settings"] if needed else [])
    kept = dict.fromkeys([*keys, *measured], True)
    # Also those with a default in the code: by what the config says alone it is known to be stale.
    # A default that the attack states never changes, so that a recipe may be without it.
    needed = [key for key, kind in facts.settings.items() if "default" not in kind]
    return _form("method", name, facts, {**kept, **facts.settings}, needed)


def _form(
    key: str, name: str, facts: Facts, properties: Mapping[str, Any], required: list[str]
) -> dict[str, Any]:
    return {
        "if": {"properties": {key: {"const": name}}, "required": [key]},
        "then": {
            "additionalProperties": False,
            "required": required,
            "properties": {**properties, key: True},
            "description": facts.summary,
        },
    }


def surrogate_settings(facts: Facts) -> dict[str, Any]:
    """The schema of what a defence's cheaper version takes."""
    return {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "required": [name for name, form in facts.cheaper.items() if "default" not in form],
        "properties": dict(facts.cheaper),
    }


def own_settings(facts: Facts) -> dict[str, Any]:
    """The schema of `settings` of a user's own code that states them."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": facts.required,
        "properties": dict(facts.settings),
    }
