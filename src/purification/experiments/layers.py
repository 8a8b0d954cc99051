"""Configs laid over one another: mappings are merged, all else is replaced. A list can be changed
without restating it: `attacks-: [cw]` takes entries out of the list `attacks`, `attacks+: [mine]`
adds some at its end. `null` under the name of an entry or a study removes it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from purification.experiments.config_form import FREE, ConfigError
from purification.experiments.papers import PAPERS, STUDIES
from purification.guesses import did_you_mean

DEFAULT_FILES = (
    "config/config.yaml",
    *(f"config/papers/{paper}.yaml" for paper in PAPERS),
    "config/modern.yaml",
)
"""What is read always, one over another: what the papers share, each paper's own, and later
purifiers."""
NAMED_ENTRIES = (
    *(
        "datasets",
        "classifiers",
        "generators",
        "attacks",
        "copies",
        "defenses",
        "tables",
        "cascades",
    ),
    *("tables.*.trained_on", "tables.*.trained_on.*"),
    *("classifiers.*.per_dataset", "generators.*.per_dataset", "copies.*"),
    *(f"{section}.*.files" for section in ("datasets", "classifiers", "attacks", "defenses")),
    *("defense_vae_table2.trained_on", "defense_vae_table2.trained_on.*", "cost_accuracy.lines"),
    *("leaderboard.cascades", "modern.cascades"),
)
"""Mappings whose keys are names, of which an overlay can remove an entry."""


def layered(layers: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Configs, each with the name of its file, and laid over those before it.

    Raises ConfigError for changes of a list that cannot be made, with file and place of each.
    """
    made: dict[str, Any] = {}
    wrong: list[str] = []
    for file, layer in layers:
        lines: list[str] = []
        made = _laid_over(made, layer, "", lines)
        wrong += [f"{file}: {line}" if file else line for line in lines]
    if wrong:
        raise ConfigError("\n".join(["the config is wrong:", *(f"  {line}" for line in wrong)]))
    return made


def _laid_over(base: Any, layer: Any, place: str, wrong: list[str]) -> Any:
    if not isinstance(layer, Mapping):
        return layer
    made = dict(base) if isinstance(base, Mapping) else {}
    changes = [
        key
        for key, value in layer.items()
        if str(key)[-1:] in ("+", "-")
        and f".{FREE}." not in place
        # Names may end so, too.
        and any(isinstance(v, list) for v in (value, layer.get(key[:-1], made.get(key[:-1]))))
    ]
    for key in (key for key in layer if key not in changes):
        made[key] = _laid_over(made.get(key), layer[key], f"{place}{key}.", wrong)
    # What goes before what comes, so that an entry can move to the end.
    for key in sorted(changes, key=lambda key: key[-1], reverse=True):
        name, entries = key[:-1], layer[key]
        if lines := list(_wrong_change(f"{place}{key}", made.get(name), key, entries)):
            wrong += lines
        elif key[-1] == "-":
            made[name] = [entry for entry in made[name] if entry not in entries]
        else:
            made[name] = [*made[name], *entries]
    return made


def _wrong_change(place: str, there: Any, key: str, entries: Any) -> Iterator[str]:
    if not isinstance(entries, list):
        hint = f", such as [{entries}]" if isinstance(entries, str | int | float) else ""
        yield f"{place}: must be a list{hint}; got {entries!r}"
        return
    if not isinstance(there, list):
        yield f"{place}: there is no list {key[:-1]!r} to change"
        return
    for entry in entries:
        if key[-1] == "+" and entry in there:
            yield f"{place}: {entry!r} is in the list already"
        if key[-1] == "-" and entry not in there:
            known = [str(one) for one in there]
            hint = did_you_mean(str(entry), known)
            yield f"{place}: {entry!r} is not in the list{hint}; it has {', '.join(known)}"


def prepared(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the config as the rest reads it: lists changed, what `null` removes left out, and
    `~` in `data_root` replaced by the home folder."""
    made = {
        key: _without_removed(value, str(key))
        for key, value in layered([("", config)]).items()
        if not (key in STUDIES and value is None)
    }
    root = made.get("data_root")
    if isinstance(root, str) and root.startswith("~"):
        made["data_root"] = os.path.expanduser(root)  # noqa: PTH111 (Path's raises where there is no such user)
    return made


def _without_removed(value: Any, place: str) -> Any:
    if isinstance(value, list | tuple):
        return [_without_removed(item, f"{place}.-") for item in value]
    if not isinstance(value, Mapping):
        return value
    nulls = any(item is None for item in value.values())
    removable = nulls and any(fnmatchcase(place, pattern) for pattern in NAMED_ENTRIES)
    return {
        key: _without_removed(item, f"{place}.{str(key).replace('.', '-')}")
        for key, item in value.items()
        if not (removable and item is None)
    }
