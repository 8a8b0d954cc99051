"""The config's form: what each value may be, the names, and how a mistake is told.

The functions yield one line a mistake, each beginning with its place in the config.
"""

import difflib
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jsonschema

NAMED_ENTRIES = (
    *("datasets", "classifiers", "generators", "attacks", "copies", "defenses", "tables"),
    *("tables.*.trained_on", "tables.*.trained_on.*"),
    *("classifiers.*.per_dataset", "generators.*.per_dataset", "copies.*"),
    *(f"{section}.*.files" for section in ("datasets", "classifiers", "attacks", "defenses")),
    *("defense_vae_table2.trained_on", "defense_vae_table2.trained_on.*", "cost_accuracy.lines"),
)
"""Mappings whose keys are names, of which an overlay can remove an entry."""
FILES_BESIDE = {
    *("benchmark", "classifier", "cleaning", "curve", "history", "long"),
    *("samples", "scores", "snapshots", "state", "vae"),
}
"""What stands between a name and the suffix in paths of the rules: `wgan_gp.state.safetensors`."""
SUFFIXES = {"csv", "h5", "html", "log", "md", "pdf", "png", "safetensors", "tsv"}
"""Of the files that stand in one folder with those that are called by a name."""
_FREE = "settings"
"""The key under which a user's own code finds what it likes."""


def prepared(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the config as the rest reads it: without the entries that an overlay has removed
    (`null` under a name), and `~` in `data_root` replaced by the home folder."""
    made = {key: _without_removed(value, str(key)) for key, value in config.items()}
    root = made.get("data_root")
    if isinstance(root, str) and root.startswith("~"):
        made["data_root"] = os.path.expanduser(root)  # noqa: PTH111 (Path's raises where there is no such user)
    return made


def _without_removed(value: Any, place: str) -> Any:
    if isinstance(value, list | tuple):
        return [_without_removed(item, f"{place}.-") for item in value]
    if not isinstance(value, Mapping):
        return value
    removable = any(_matches(place, pattern) for pattern in NAMED_ENTRIES)
    return {
        key: _without_removed(item, f"{place}.{str(key).replace('.', '-')}")
        for key, item in value.items()
        if not (removable and item is None)
    }


def _matches(place: str, pattern: str) -> bool:
    parts, wanted = place.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(
        w in ("*", p) for p, w in zip(parts, wanted, strict=True)
    )


def wrong_values(value: Any, place: str = "") -> Iterator[str]:
    """Values that no key takes, wherever they stand: numbers that are none, what YAML makes of
    dates, keys that are no text, and text that hides something."""
    free = _FREE in place.split(".")
    if isinstance(value, Mapping):
        for key, item in value.items():
            inner = f"{place}.{key}" if place else str(key)
            if not isinstance(key, str):
                yield f"{place or 'the top level'}: the key {key!r} is no text: put it in quotes"
            else:
                yield from () if free else _hidden(f"{place or 'the top level'}: the key", key)
                yield from wrong_values(item, inner)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from wrong_values(item, f"{place}.{number}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{place}: must be a finite number; got {value}"
    elif isinstance(value, str):
        yield from () if free else _hidden(f"{place}:", value)
    elif not isinstance(value, bool | int | float | None):
        kind = type(value).__name__
        yield f"{place}: YAML reads {str(value)!r} as a {kind}: put it in quotes"


def _hidden(place: str, text: str) -> Iterator[str]:
    if not text.isprintable():
        yield f"{place} {text!r} has a line end or another character that cannot be seen: remove it"
    elif text != text.strip():
        yield f"{place} {text!r} begins or ends with a blank: remove it"


def wrong_data_root(root: str) -> Iterator[str]:
    """A folder that would be made under a name that nobody means."""
    if root.startswith("~"):
        yield f"data_root: no home folder is known for {root.split('/')[0]!r}: write the path out"
    elif "$" in root:
        yield f"data_root: variables are not replaced in {root!r}: write the path out"


def wrong_names(config: Mapping[str, Any], reserved: Iterable[str]) -> Iterator[str]:
    """Names whose files would be another's. `reserved`: those that a defence may not have."""
    reserved = {word.casefold(): word for word in reserved}
    for section in ("datasets", "classifiers", "generators", "attacks", "defenses", "tables"):
        same: dict[str, str] = {}
        for name in config.get(section, ()):
            place = f"{section}: the name {name!r}"
            _, dot, end = name.casefold().rpartition(".")
            if dot and end in FILES_BESIDE | SUFFIXES:
                yield (
                    f"{place} cannot be used here, because files of other names end in '.{end}': "
                    f"write {name[: -len(end) - 1]}_{end}"
                )
            # A folder of results may be copied to a disk that does not tell capital letters, where
            # the second would silently replace the first.
            twin = same.setdefault(name.casefold(), name)
            if twin != name:
                yield f"{place} differs from {twin!r} in capital letters alone: choose another"
            word = reserved.get(name.casefold(), name)
            if section == "defenses" and word != name:
                yield f"{place} differs from {word!r}, which the workflow has, in capital letters"


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


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {"enum": _enum},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


def wrong_form(config: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """What a JSON schema does not allow."""
    errors = _Validator(schema).iter_errors(config)
    for error in sorted(errors, key=lambda error: [str(part) for part in error.path]):
        yield from _explain(error)


def _explain(error: jsonschema.ValidationError) -> Iterator[str]:
    place = ".".join(str(part) for part in error.absolute_path) or "the top level"
    got = f"got {error.instance!r}"
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
            why = error.schema.get("description", error.message)
            name = error.instance if len(str(error.instance)) < 100 else error.instance[:60] + "..."
            yield f"{place}: the name {name!r} cannot be used here ({why})"
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
    if _is_number(value):
        exact = float(value)
        if whole and exact.is_integer():
            return f" (write {int(exact)}, without quotes)"
        return " (YAML reads 1e-4 as text: write 1.0e-4, without quotes)"
    return ""


def unknown(place: str, name: str, section: Iterable[str]) -> Iterator[str]:
    """A reference to what is not in its section."""
    known = [str(key) for key in section]
    if name not in known:
        yield f"{place}: got {name!r}{did_you_mean(name, known)}; {listed(known)}"


def listed(allowed: list[str]) -> str:
    """What is allowed, at the end of a message."""
    return f"allowed: {', '.join(allowed) or 'nothing, because the config has none'}"


def did_you_mean(name: str, allowed: list[str]) -> str:
    """A guess in brackets, or nothing."""
    close = difflib.get_close_matches(name, allowed, n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
