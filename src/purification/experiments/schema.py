"""The config's schema: completed by the papers' studies, and what it does not allow, in words.

The functions that check yield one line a mistake, each beginning with its place in the config.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import yaml

from purification.experiments.config_form import is_number, listed
from purification.experiments.methods import composed
from purification.experiments.papers import BARE_FORMS, STUDIES
from purification.guesses import did_you_mean


def read_schema(file: Path) -> dict[str, Any]:
    """The schema with what built-in methods state of themselves, and a section for each study of a
    form that takes settings. The same object for the same text: not to be changed."""
    forms = tuple((name, study.form) for name, study in STUDIES.items())
    return _schema(file.read_text(encoding="utf-8"), forms)


@cache
def _schema(text: str, forms: Iterable[tuple[str, str]]) -> dict[str, Any]:
    # libyaml's loader, where it is: the schema is read at the start of every job.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schema = composed(yaml.load(text, Loader=loader))
    schema["properties"] |= {
        name: {"$ref": f"#/$defs/forms/{form}"} for name, form in forms if form not in BARE_FORMS
    }
    return schema


def shared(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of what is checked always; of studies and cascades it knows the names alone."""
    sections = {k: k in STUDIES or form for k, form in schema["properties"].items()}
    cascades = {**schema["properties"]["cascades"], "additionalProperties": True}
    return {**schema, "properties": {**sections, "cascades": cascades}}


def of_cascade(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a cascade."""
    return {"$defs": schema["$defs"], **schema["properties"]["cascades"]["additionalProperties"]}


def of_form(schema: Mapping[str, Any], form: str) -> dict[str, Any]:
    """The schema of the settings of a study of that form."""
    return {"$defs": schema["$defs"], "$ref": f"#/$defs/forms/{form}"}


def _is_integer(_: Any, instance: Any) -> bool:
    # jsonschema takes 4.0 too, of which a range or a shape cannot be made; and a recipe with 4.0 is
    # another one than with 4.
    return isinstance(instance, int) and not isinstance(instance, bool)


def _enum(
    _: Any, allowed: list[Any], instance: Any, schema: Mapping[str, Any]
) -> Iterator[jsonschema.ValidationError]:
    # Written alike, not only equal: 1.0 is no 1, as in `_is_integer`.
    if repr(instance) not in map(repr, allowed):
        yield jsonschema.ValidationError(f"{instance!r} is not one of {allowed!r}")


def _all_of(
    validator: Any, branches: list[Any], instance: Any, _: Any
) -> Iterator[jsonschema.ValidationError]:
    # Most branches are about entries of another method: to hand these down to find that out took
    # half of a check's time.
    for number, branch in enumerate(branches):
        if not _about_others(branch, instance):
            yield from validator.descend(instance, branch, schema_path=number)


def _about_others(branch: Mapping[str, Any], instance: Any) -> bool:
    """Whether it is plain that the condition of an `if` without `else` does not hold: a key has
    another word than the one that is asked for, or is not there."""
    if branch.keys() - {"if", "then"} or not isinstance(instance, dict):
        return False
    condition = branch.get("if", {})
    if any(key not in instance for key in condition.get("required", ())):
        return True
    for key, form in condition.get("properties", {}).items():
        word = form.get("const")
        if isinstance(word, str) and key in instance and instance[key] != word:
            return True
    return False


def _mark(*_: Any) -> Iterator[jsonschema.ValidationError]:
    yield jsonschema.ValidationError("")


OURS = ("names", "measured_in", "rules")
"""Keywords that JSON schema does not have, read in `references`."""
Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {"enum": _enum, "allOf": _all_of, **dict.fromkeys(OURS, _mark)},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


class Examined(NamedTuple):
    """A value, gone through with its schema once, which is what a check costs."""

    errors: tuple[jsonschema.ValidationError, ...]
    """What the schema does not allow."""
    marks: tuple[jsonschema.ValidationError, ...]
    """Where one of our keywords stands (`validator`), with what it wants (`validator_value`), the
    value that it is about (`instance`) and the schema around it: no errors as such."""


def examined(value: Any, schema: Mapping[str, Any]) -> Examined:
    """What is found in a value. No keyword of ours may stand in a condition or an alternative."""
    errors: list[jsonschema.ValidationError] = []
    marks: list[jsonschema.ValidationError] = []
    for found in Validator(schema).iter_errors(value):
        (marks if found.validator in OURS else errors).append(found)
    return Examined(tuple(errors), tuple(marks))


def wrong_form(value: Any, schema: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """What a schema does not allow in a value that stands at a place ("": the whole config)."""
    return explained(examined(value, schema), place)


def explained(found: Examined, place: str = "") -> Iterator[str]:
    """The errors in a value that stands at a place, in words."""
    for error in sorted(found.errors, key=lambda error: [str(part) for part in error.path]):
        yield from _explain(error, place)


def _explain(error: jsonschema.ValidationError, place: str) -> Iterator[str]:
    place = ".".join(filter(None, (place, *map(str, error.absolute_path)))) or "the top level"
    got, own = f"got {error.instance!r}", error.schema
    match error.validator:
        case "additionalProperties":
            allowed = sorted(error.schema.get("properties", {}))
            for key in sorted(set(map(str, error.instance)) - set(allowed)):
                hint = did_you_mean(key, allowed)
                yield f"{place}: unknown key '{key}'{hint}; {listed(allowed)}"
        case "required":
            missing = [key for key in error.validator_value if key not in error.instance]
            for key in missing:
                yield f"{place}: the key '{key}' is missing"
        case "dependentRequired":
            for key, needed in error.validator_value.items():
                for missing in needed if key in error.instance else ():
                    if missing not in error.instance:
                        yield f"{place}: '{key}' needs the key '{missing}', which is missing"
        case "enum":
            allowed = [str(value) for value in error.validator_value]
            hint = did_you_mean(str(error.instance), allowed)
            yield f"{place}: {got}{hint}; {listed(allowed)}"
        case "anyOf":
            yield f"{place}: {got}{_branches(error)}"
        case "type":
            wanted = error.validator_value
            wanted = wanted if isinstance(wanted, list) else [wanted]
            hint = _right_form(error.instance, wanted)
            kind = type(error.instance).__name__
            yield f"{place}: must be of type {' or '.join(wanted)}; {got} of type {kind}{hint}"
        case "pattern" | "not" | "maxLength":
            why = error.schema.get("why", error.schema.get("description", error.message))
            name = error.instance if len(str(error.instance)) < 100 else error.instance[:60] + "..."
            yield f"{place}: the name {name!r} cannot be used here ({why})"
        case "minItems" | "maxItems" if own.get("minItems") == own.get("maxItems"):
            yield f"{place}: must have {error.validator_value} entries; {got}"
        case _:
            yield f"{place}: {error.message}"


def _branches(error: jsonschema.ValidationError) -> str:
    """What a value of several kinds may be, after what it is."""
    branches = error.validator_value
    allowed = [str(value) for branch in branches for value in branch.get("enum", [])]
    kinds = [branch["type"] for branch in branches if "type" in branch]
    own = any("$ref" in branch for branch in branches)
    hint = did_you_mean(str(error.instance), allowed) or _right_form(error.instance, kinds)
    further = f", or of type {', '.join(kinds)}" if kinds else ""
    further += ", or your own as 'package.module:name'" if own else ""
    return f"{hint}; {listed(allowed)}{further}"


def _right_form(value: Any, wanted: Iterable[str]) -> str:
    """How to write a number or list that was meant, if one was."""
    number, whole = {"number", "integer"} & set(wanted), "number" not in wanted
    if number and isinstance(value, float) and value.is_integer():
        return f" (write {int(value)})"
    if not isinstance(value, str):
        return ""
    if {"array", "object"} & set(wanted) and value[:1] in ("[", "{"):
        return " (after --config in quotes: --config 'seeds=[0, 1]')"
    if not number:
        return ""
    if found := re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*/\s*(\d+(?:\.\d*)?)\s*", value):
        numerator, denominator = map(float, found.groups())
        if denominator and not whole:
            return f" (YAML does not divide: write {numerator / denominator:.4g})"
    if re.fullmatch(r"[+-]?\d+", value):
        return f" (write {value}, without quotes)"
    if is_number(value):
        exact = float(value)
        if whole and exact.is_integer():
            return f" (write {int(exact)}, without quotes)"
        return " (YAML reads 1e-4 as text: write 1.0e-4, without quotes)"
    return ""
