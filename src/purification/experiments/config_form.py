"""What no schema says of the config's values and names, and how a mistake is told.

The functions yield one line a mistake, each beginning with its place in the config.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from purification.experiments.papers import wrong_tables

FILES_BESIDE = {
    *("classifier", "cleaning", "costs", "curve", "history", "long"),
    *("samples", "scores", "snapshots", "state", "times", "vae"),
}
"""What stands between a name and the suffix in paths of the rules: `wgan_gp.state.safetensors`."""
SUFFIXES = {"csv", "h5", "html", "log", "md", "pdf", "png", "safetensors", "tsv"}
"""Of the files that stand in one folder with those that are called by a name."""
FREE = "settings"
"""The key under which a user's own code finds what it likes."""


class ConfigError(ValueError):
    """The config is wrong; the message lists every place, with what was expected there."""


def wrong_values(value: Any, place: str = "") -> Iterator[str]:
    """Values that no key takes, wherever they stand: numbers that are none, what YAML makes of
    dates, keys that are no text, and text that hides something."""
    free = FREE in place.split(".")
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
    yield from wrong_tables(config)
    reserved = {word.casefold(): word for word in reserved}
    sections = (
        "datasets",
        "classifiers",
        "generators",
        "attacks",
        "defenses",
        "tables",
        "cascades",
    )
    for section in sections:
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


def listed(allowed: list[str]) -> str:
    """What is allowed, at the end of a message."""
    return f"allowed: {', '.join(allowed) or 'nothing, because the config has none'}"


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
