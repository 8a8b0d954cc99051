"""Attacks, defences and data sets by what they state of themselves: the config's form for each.

The schema has what all entries of a section share. What one method has besides, its own file says
(`purification.facts`): here the two are put together.
"""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import jsonschema

from purification.experiments.config_form import did_you_mean, listed, unknown, wrong_form
from purification.facts import Facts, built_in, facts_in, facts_of
from purification.plugins import source_of

SECTIONS = {"attacks": "method", "defenses": "method", "datasets": "source"}
"""Sections whose entries are of a method, and the key that says which."""
_NEEDED = ("classifier", "threat_models")
"""Keys that an entry must have if its method has them at all."""


@cache
def attacks() -> dict[str, Facts]:
    """The built-in attacks by their names in the config: functions with `@attack(...)`."""
    found = built_in("attacks")
    return {name: facts for name, facts in found.items() if facts.decorator == "attack"}


@cache
def sources() -> dict[str, Facts]:
    """The built-in data sets by their names in the config: functions with `@source(...)`."""
    found = built_in("datasets").values()
    return {facts.stated["name"]: facts for facts in found if facts.decorator == "source"}


@cache
def defenses() -> dict[str, Facts]:
    """The built-in defences by their names in the config: classes with a `METHOD`."""
    found = built_in("purifiers").values()
    return {facts.stated["method"]: facts for facts in found if "method" in facts.stated}


def facts_for(method: str) -> Facts | None:
    """What the code of a defence's method states; None if it is a function, or has no purifier of
    its own. Raises ValueError as `facts_of`."""
    if ":" not in method:
        return defenses().get(method)
    module, _, name = method.partition(":")
    file = source_of(module)
    # A name that is imported there, or made by something, may well be a function.
    known = file is not None and name in facts_in(file)
    found = facts_of(method) if known else None
    return found if found and found.methods is not None else None


def composed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The config's schema with a branch for each built-in method that states its settings.

    A section's entries have `properties` in the schema: the keys that every method has. A method
    whose facts have `keys` takes these of them alone, beside the one that names it.
    """
    made = deepcopy(dict(schema))
    for section, known in (("attacks", attacks()), ("defenses", defenses())):
        entry = made["properties"][section]["additionalProperties"]
        key = SECTIONS[section]
        for name, facts in known.items():
            if "settings" in facts.stated:
                entry.setdefault("allOf", []).append(_branch(entry, key, name, facts))
    made["$defs"]["defense_method"]["anyOf"][0]["enum"] += sorted(defenses())
    return made


def _branch(entry: Mapping[str, Any], key: str, name: str, facts: Facts) -> dict[str, Any]:
    """The form of an entry that is of one method."""
    shared = entry.get("properties", {})
    kept = {k: True for k in facts.stated.get("keys", shared) if k in shared}
    return {
        "if": {"properties": {key: {"const": name}}, "required": [key]},
        "then": {
            "additionalProperties": False,
            "required": [*facts.required, *(k for k in _NEEDED if k in kept)],
            "dependentRequired": facts.stated.get("needs", {}),
            "properties": {**kept, key: True, **facts.settings},
            "description": facts.summary,
        },
    }


STATED = ("settings", "learns_from", "column", "randomised")
"""What a user's own defence may state of itself."""
LESSONS = ("images", "copies", "classifier", "networks")
"""What it may learn from."""


def wrong_defenses(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with what users' own defences state, and with their settings; and attacks that
    a defence learns from without there being copies of them."""
    for name, entry in config["defenses"].items():
        place, own = f"defenses.{name}", ":" in entry["method"]
        try:
            facts = facts_for(entry["method"])
        except ValueError as error:
            yield f"{place}.method: {error}"
            continue
        if facts is None:
            continue
        wrong = list(_wrong_facts(facts, entry, schema)) if own else []
        yield from (f"{place}.method: {facts.file}: {facts.name} {line}" for line in wrong)
        if own and not wrong and "settings" in facts.stated:
            lines = wrong_form({"settings": entry.get("settings", {})}, _of_settings(facts, schema))
            yield from (f"{place}.{line}" for line in lines)
        if "copies" in facts.stated.get("learns_from", ()):
            given, within = (entry.get("settings", {}), ".settings") if own else (entry, "")
            for attack in given.get("copies", ()):
                yield from unknown(f"{place}{within}.copies", attack, config["copies"])


def _wrong_facts(
    facts: Facts, entry: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[str]:
    stated, lessons = facts.stated, facts.stated.get("learns_from", ())
    for key in stated.keys() - set(STATED):
        known = [word.upper() for word in STATED]
        yield f"states {key.upper()}{did_you_mean(key.upper(), known)}; {listed(known)}"
    if not isinstance(lessons, tuple | list) or not set(lessons) <= set(LESSONS):
        yield f"LEARNS_FROM is {lessons!r}; it must be a tuple, {listed(list(LESSONS))}"
    elif ("fit" in (facts.methods or ())) != bool(lessons):
        has, lacks = ("LEARNS_FROM", "fit") if lessons else ("fit", "LEARNS_FROM")
        yield f"has {has}, but no {lacks}: a defence that is trained has both"
    elif "copies" in lessons and "copies" not in facts.settings:
        yield 'learns from copies, but its SETTINGS have no "copies": "names"'
    elif "networks" in lessons and "generator" not in entry:
        yield "learns from networks, but the config names no generator for it"
    if stated.get("randomised"):
        yield (
            "is RANDOMISED: a randomised purifier needs a protocol of its own, because a single "
            "draw hides what its attacker has by the mean over many, and there is none here yet"
        )
    if "column" in stated:
        column = {"properties": {"COLUMN": {"$ref": "#/$defs/column"}}, "$defs": schema["$defs"]}
        yield from wrong_form({"COLUMN": stated["column"]}, column)
    yield from _wrong_settings(facts, schema)


def _wrong_settings(facts: Facts, schema: Mapping[str, Any]) -> Iterator[str]:
    """SETTINGS that are no JSON schemas, or name a definition that there is none of."""
    known = [name for name in schema["$defs"] if not name.startswith("form")]
    try:
        made = _of_settings(facts, schema)
        jsonschema.Draft202012Validator.check_schema(made["properties"]["settings"])
    except (AttributeError, TypeError, ValueError, jsonschema.SchemaError) as error:
        reason = getattr(error, "message", error)
        yield f"has SETTINGS that are no mapping from names to JSON schemas: {reason}"
        return
    for name, value in facts.settings.items():
        for word in re.findall(r"'#/\$defs/(\w*)'", repr(value)):
            yield from unknown(f"SETTINGS.{name}", word, known)


def _of_settings(facts: Facts, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an entry's `settings` of a user's own code that states them."""
    form = {
        "type": "object",
        "additionalProperties": False,
        "required": facts.required,
        "properties": dict(facts.settings),
    }
    return {"$defs": schema["$defs"], "properties": {"settings": form}}
