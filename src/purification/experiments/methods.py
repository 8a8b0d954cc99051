"""Attacks, defences and data sets by what they state of themselves: the config's form for each.

The schema has what all entries of a section share. What one method has besides, its own file says
(`purification.facts`): here the two are put together.
"""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from purification.facts import Facts, built_in

SECTIONS = {"attacks": "method", "defenses": "method", "datasets": "source"}
"""Sections whose entries are of a method, and the key that says which."""


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
    return made


def _branch(entry: Mapping[str, Any], key: str, name: str, facts: Facts) -> dict[str, Any]:
    """The form of an entry that is of one method."""
    shared = entry.get("properties", {})
    kept = {k: True for k in facts.stated.get("keys", shared) if k in shared}
    return {
        "if": {"properties": {key: {"const": name}}, "required": [key]},
        "then": {
            "additionalProperties": False,
            "required": [*facts.required, *facts.stated.get("required_keys", ())],
            "properties": {**kept, key: True, **facts.settings},
            "description": facts.summary,
        },
    }


def own_settings(facts: Facts, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of `settings` of a user's own code that states them."""
    return {
        "$defs": schema["$defs"],
        "type": "object",
        "additionalProperties": False,
        "required": facts.required,
        "properties": dict(facts.settings),
    }
