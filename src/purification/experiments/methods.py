"""Attacks, defences and data sets by what they state of themselves: the config's form for each.

The schema has what all entries of a section share. What one method has besides, its own file says
(`purification.facts`): here the two are put together.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import jsonschema

from purification.experiments.config_form import unknown, wrong_form
from purification.facts import (
    Facts,
    built_in,
    constant_of,
    decorated,
    facts_at,
    facts_of,
    lengths_among,
)


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


def norm_of(attack: Mapping[str, Any]) -> str | None:
    """The norm by which an attack's `epsilon` bounds it; None: nothing does, or nothing is said."""
    norm: str | None = facts_at("attacks", attack["method"]).stated.get("norm")
    return norm


def least_epsilon(attack: Mapping[str, Any]) -> tuple[str, float]:
    """The setting that an attack's `epsilon` must be above, and its value; "" and 0 without one."""
    name = facts_at("attacks", attack["method"]).stated.get("above", "")
    return name, settings_of(attack).get(name, 0)


def composed(schema: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config's schema with the names of all built-in methods, and a branch for each that states
    its settings; and for the users' own attacks of a config that state theirs.

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
    for name, facts in {**decorated("attacks"), **_own_attacks(schema, config or {})}.items():
        attack["allOf"].append(_attack_branch(attack["properties"], name, facts))
    entry = made["properties"]["defenses"]["additionalProperties"]
    made["$defs"]["defense_method"]["anyOf"][0]["enum"] += sorted(defenses())
    entry["allOf"] += [_branch(entry["properties"], *known) for known in defenses().items()]
    return made


def _own_attacks(schema: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Facts]:
    """Those of a config, of whatever form, that state settings as they should."""
    entries = config.get("attacks")
    entries = entries.values() if isinstance(entries, Mapping) else ()
    methods = [entry.get("method") for entry in entries if isinstance(entry, Mapping)]
    own = [method for method in methods if isinstance(method, str) and ":" in method]
    right = {place: facts_at("attacks", place) for place in own if not [*misstated(schema, place)]}
    return {place: facts for place, facts in right.items() if "settings" in facts.stated}


def _branch(shared: Mapping[str, Any], name: str, facts: Facts) -> dict[str, Any]:
    """The form of a defence of one method."""
    kept = dict.fromkeys(facts.stated.get("keys", shared), True)
    required = [*facts.required, *(k for k in ("classifier", "threat_models") if k in kept)]
    made = _form("method", name, facts, {**kept, **facts.settings}, required)
    made["then"]["dependentRequired"] = facts.stated.get("needs", {})
    return made


def _attack_branch(shared: Mapping[str, Any], name: str, facts: Facts) -> dict[str, Any]:
    """The same of an attack, of which it follows from its facts which of the shared keys it has."""
    climbs = facts.stated.get("labels", not facts.stated.get("model_free"))
    keys = ["images", "paper_name", *(["labels"] if climbs else [])]
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
    return _form("method", name, facts, {**kept, **facts.settings}, list(facts.settings))


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


def own_settings(facts: Facts) -> dict[str, Any]:
    """The schema of `settings` of a user's own code that states them."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": facts.required,
        "properties": dict(facts.settings),
    }


def misstated(schema: Mapping[str, Any], place: str, room: str = "attacks") -> Iterator[str]:
    """Why a user's own attack or data set cannot be used, as far as what it states tells."""
    try:
        facts = facts_at(room, place)
    except ValueError as error:
        yield str(error)
        return
    if not facts.decorator:
        return
    where, settings = f"{place}: @{facts.decorator}", facts.stated.get("settings")
    form = {"$defs": schema["$defs"], "$ref": f"#/$defs/stated_{facts.decorator}"}
    wrong = [f"{where}: {line}" for line in wrong_form(facts.stated, form)]
    yield from wrong
    if wrong or settings is None:
        return
    given = constant_of("purification.attacks.registry:GIVEN")
    taken = {key: has for key, has in [*facts.parameters.items()][3:] if key not in given}
    for key in settings:
        yield from unknown(f"{where}: settings, no parameter", key, taken)
    yield from _wrong_kinds(where, facts, schema)
    missing = [key for key, optional in taken.items() if not optional and key not in settings]
    yield from (f"{where}: settings: the parameter {key!r} is missing" for key in missing)


def _wrong_kinds(where: str, facts: Facts, schema: Mapping[str, Any]) -> Iterator[str]:
    """Settings that are of no definition, or no JSON schemas."""
    for key, kind in facts.settings.items():
        if "$ref" in kind:
            name = kind["$ref"].removeprefix("#/$defs/")
            yield from unknown(f"{where}: settings.{key}", name, schema["$defs"])
        try:
            jsonschema.Draft202012Validator.check_schema(kind)
        except jsonschema.SchemaError as error:
            yield f"{where}: settings.{key}: {error.message}"


def wrong_defenses(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """What users' own defences state wrongly, and their settings; and attacks that a defence learns
    from without there being copies of them."""
    for name, entry in config["defenses"].items():
        place, own = f"defenses.{name}", ":" in entry["method"]
        try:
            facts = facts_for(entry["method"])
            wrong = list(_wrong_defense(facts, entry, schema)) if own and facts else []
        except ValueError as error:
            facts, wrong = None, [str(error)]
        yield from (f"{place}.method: {line}" for line in wrong)
        if facts is None or wrong:
            continue
        if own and "settings" in facts.stated:
            form = {"$defs": schema["$defs"], "properties": {"settings": own_settings(facts)}}
            lines = wrong_form({"settings": entry.get("settings", {})}, form)
            yield from (f"{place}.{line}" for line in lines)
        if "copies" in facts.stated.get("learns_from", ()):
            inner, given = (".settings", entry.get("settings", {})) if own else ("", entry)
            for attack in given.get("copies", ()):
                yield from unknown(f"{place}{inner}.copies", attack, config["copies"])


def _wrong_defense(
    facts: Facts, entry: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[str]:
    where, lessons = f"{facts.file}: {facts.name}", facts.stated.get("learns_from", ())
    stated = {k: list(v) if isinstance(v, tuple) else v for k, v in facts.stated.items()}
    form = {"$defs": schema["$defs"], "$ref": "#/$defs/stated_defense"}
    wrong = [f"{where}: {line}" for line in wrong_form(stated, form)]
    if wrong:
        yield from wrong
        return
    yield from _wrong_kinds(where, facts, schema)
    if ("fit" in (facts.methods or ())) != bool(lessons):
        yield f"{where}: a defence that is trained has both LEARNS_FROM and fit"
    if "copies" in lessons and "copies" not in facts.settings:
        yield f"{where}: learning from copies needs a setting `copies`"
    if "networks" in lessons and "generator" not in entry:
        yield f"{where}: learning from networks needs a `generator` in the config"
    if stated.get("randomised"):
        yield (
            f"{where} is RANDOMISED. Such a purifier needs a protocol of its own, because one draw "
            "hides what its attacker has by the mean over many, and there is none here yet"
        )
