"""The config's key reference, made from the schema: docs/key_reference.py > docs/config.md."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from purification.experiments.methods import defenses, surrogate_settings
from purification.experiments.papers import STUDIES
from purification.experiments.schema import read_schema
from purification.facts import decorated

SCHEMA = Path(__file__).resolve().parents[1] / "workflow/schemas/config.schema.yaml"
_HEAD = """\
# The config, key by key

Made from workflow/schemas/config.schema.yaml by `make docs`. How files are laid over one another,
and how entries are added and removed, is in [config/README.md](../config/README.md). Keys in
*italics* say where and how fast things are computed: editing them makes nothing stale. What is
optional may be left out.
"""
_KINDS_HEAD = """\
## Kinds of settings

A defence or attack of your own names these under `SETTINGS` ([docs/extend.md](extend.md)):
`"count = 3: images a step"` is a whole number from 1, and 3 if it is left out.
"""
_KINDS = {
    **{"object": "mapping", "string": "text", "integer": "whole number", "number": "number"},
    **{"boolean": "`true` or `false`", "null": "`null`", "array": "list"},
}
_BOUNDS = {
    **{"minimum": "at least", "exclusiveMinimum": "above"},
    **{"maximum": "at most", "exclusiveMaximum": "below"},
}
_ASKED = {
    **{"has": "with", "purifier_has": "with", "lacks": "without", "purifier_lacks": "without"},
    **{"kind": "of the kind", "form": "of the form", "method": "of the method"},
    **{"own_method": "of the method", "norm": "of the norm", "randomised": "that are randomised"},
}


class Key(NamedTuple):
    """A key of the config: its place within its section, what it may be, and what it means."""

    place: str
    may_be: str
    meaning: str


def resolved(form: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """A form with what it refers to; what stands beside the reference counts."""
    if "$ref" not in form:
        return dict(form)
    found: Any = root
    for part in form["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    own = {key: value for key, value in form.items() if key not in ("$ref", "properties")}
    return resolved(found, root) | own


def keys(form: Mapping[str, Any], root: Mapping[str, Any], place: str = "") -> Iterator[Key]:
    """The keys of a mapping, each followed by those within it."""
    form = resolved(form, root)
    for name, inner in form.get("properties", {}).items():
        if isinstance(inner, Mapping):
            needed = name in form.get("required", ())
            yield from _key(inner, root, f"{place}{name}", needed)
    if isinstance(inner := form.get("additionalProperties"), Mapping):
        inner = resolved(inner, root)
        if "description" in inner:
            yield from _key(inner, root, f"{place}<name>", True)
        else:
            yield from keys(inner, root, f"{place}<name>.")


def _key(
    form: Mapping[str, Any], root: Mapping[str, Any], place: str, needed: bool
) -> Iterator[Key]:
    own = resolved(form, root)
    name = f"*`{place}`*" if own.get("execution") else f"`{place}`"
    may_be = _may_be(own, root)
    if "default" in own:
        may_be += f"; if left out `{json.dumps(own['default'])}`"
    elif not needed:
        may_be += "; optional"
    yield Key(name, may_be, own.get("description", ""))
    inner = own.get("items", own)
    if isinstance(inner, Mapping):
        yield from keys(inner, root, f"{place}.")


def _may_be(form: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    form = resolved(form, root)
    if "enum" in form:
        words = (value if isinstance(value, str) else json.dumps(value) for value in form["enum"])
        return ", ".join(f"`{word}`" for word in words)
    if "anyOf" in form:
        return ", or ".join(_may_be(branch, root) for branch in form["anyOf"])
    if form.get("type") == "string" and "names" in form:
        words = [f"`{word}`" for word in form.get("or", ())]
        names = f"`{form['names']}`".replace("`studies`", "the tables")
        many = f"names with `{form['apart']}` between," if "apart" in form else "a name"
        return ", ".join([*words, f"{many} in {names}{_that(form.get('that', {}))}"])
    if form.get("type") == "array" and isinstance(form.get("items"), Mapping):
        length = f" of at most {form['maxItems']}" if "maxItems" in form else ""
        return f"list{length}; each {_may_be(form['items'], root)}"
    if form.get("pattern", "").startswith("^[A-Za-z_]\\w*(\\."):
        return "your own as `package.module:name`"
    kinds = form.get("type", "object")
    first, *others = (_KINDS[kind] for kind in (kinds if isinstance(kinds, list) else [kinds]))
    bounds = " and ".join(f"{word} {form[key]}" for key, word in _BOUNDS.items() if key in form)
    return " or ".join([f"{first} {bounds}".strip(), *others])


def _that(conditions: Mapping[str, Any]) -> str:
    said = ""
    for key, value in conditions.items():
        values = [] if value is True else value if isinstance(value, list) else [value]
        said += f" {_ASKED[key]} {' or '.join(f'`{one}`' for one in values)}".rstrip()
    return said


def _table(found: list[Key]) -> list[str]:
    rows = [f"| {' | '.join(key)} |" for key in found]
    return ["", "| key | may be | meaning |", "| --- | --- | --- |", *rows] if rows else []


def sections(root: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Key]]]:
    """Heading, description and keys of each part of the reference, in its order."""
    shared = {name: form for name, form in root["properties"].items() if name not in STUDIES}
    plain = {name: form for name, form in shared.items() if "propertyNames" not in form}
    yield "## Top level", "", list(keys({**root, "properties": plain}, root))
    for name in (name for name in shared if name not in plain):
        yield f"## `{name}`", shared[name]["description"], list(keys(shared[name], root))
        for branch in shared[name]["additionalProperties"].get("allOf", ()):
            if (then := branch["then"]).get("properties"):
                found = [*keys(then, root, "<name>."), *_of_surrogates(branch["if"], root)]
                yield f"### {_condition(branch['if'])}", then.get("description", ""), found
    for name, form in root["$defs"]["forms"].items():
        studies = [
            s.name for s in STUDIES.values() if s.form == name and s.name in root["properties"]
        ]
        if studies:
            heading = ", ".join(f"`{study}`" for study in studies)
            files = [file for study in studies for file in STUDIES[study].paths[:1]]
            made = f" Makes {', '.join(f'`{file}`' for file in files)}." if files else ""
            description = resolved(form, root).get("description", "") + made
            yield f"## {heading} (form `{name}`)", description, list(keys(form, root))


def _of_surrogates(condition: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Key]:
    """What the cheaper version of a defence of this branch takes."""
    facts = defenses().get(condition.get("properties", {}).get("method", {}).get("const"))
    if facts is not None and facts.cheaper:
        form = {**surrogate_settings(facts), "$defs": root["$defs"]}
        yield from keys(form, root, "<name>.surrogate.")


def kinds_of_settings(root: Mapping[str, Any]) -> list[Key]:
    """What the settings of built-in methods may be, by the names under which a method of one's own
    names it in `SETTINGS`, too."""
    used = {
        form["$ref"].removeprefix("#/$defs/")
        for facts in (*decorated("attacks").values(), *defenses().values())
        for form in facts.settings.values()
        if "$ref" in form
    }
    forms = {name: resolved(root["$defs"][name], root) for name in sorted(used)}
    return [
        Key(f"`{name}`", _may_be(form, root), form.get("description", ""))
        for name, form in forms.items()
        if form.get("type") != "object"
    ]


def _condition(form: Mapping[str, Any]) -> str:
    """When a branch holds, in words."""
    said = [f"`{key}` left out" for key in form.get("not", {}).get("required", ())]
    for key, value in form.get("properties", {}).items():
        if "pattern" in value:
            said.append(f"your own `{key}`")
        else:
            values = value.get("enum", [value.get("const")])
            said.append(f"`{key}` " + " or ".join(f"`{one}`" for one in values))
    said += [
        f"`{key}` given"
        for key in form.get("required", ())
        if key not in form.get("properties", {})
    ]
    return ", ".join(said)


def reference(root: Mapping[str, Any]) -> str:
    """The whole document."""
    lines = [_HEAD.rstrip()]
    for heading, description, found in sections(root):
        lines += ["", heading, *(["", description] if description else []), *_table(found)]
    lines += ["", _KINDS_HEAD.rstrip(), *_table(kinds_of_settings(root))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference(read_schema(SCHEMA)))
