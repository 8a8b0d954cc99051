"""Numbers of images in the config against those that there are: a line for each that is too large.

An attack or defence can stand in tables of several data sets, of which each gives what it has: a
number is too large if none of them has so many.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from purification.experiments.grids import GRID_FORMS
from purification.experiments.methods import stated
from purification.experiments.papers import studies_of
from purification.experiments.references import Wrong

ATTACKERS_IMAGES = 150
"""As `datasets.BLACK_BOX_HOLD_OUT`, which this room may not import."""
SWEPT = (*GRID_FORMS, "detection")
"""The forms of what the settings of `sweep` hold for."""
_NAMING = {
    "attacks": ("attacks", "attack"),
    "defenses": ("defenses", "defense", "one_pass", "search", "lines", "trained_on"),
}
"""The keys under which a table or figure names them."""


def available(config: Mapping[str, Any], dataset: str, split: str) -> int | None:
    """Images of a split, "validation" or "test"; None: only a user's own loader knows."""
    settings = config["datasets"].get(dataset, {})
    asked: int | None = settings.get(split)
    if asked is None and settings:
        asked = stated("datasets", settings["source"]).get("images", {}).get(split)
    return asked


def too_many_images(config: Mapping[str, Any], settings: Mapping[str, Any]) -> Wrong:
    """Of the attacks and defences that a study names, those that have more images than any data set
    on which they stand, in this study or another. The references of this one must be right."""
    known = (available(config, dataset, "test") for dataset in config["datasets"])
    least = min((images for images in known if images is not None), default=0)
    # Of all tables and figures only where a number can be too large at all.
    there = cache(lambda: _datasets(config))
    for name in named(settings, "attacks"):
        for threat_model, number in config["attacks"].get(name, {}).get("images", {}).items():
            place = f"/attacks.{name}.images.{threat_model}"
            held_out = ATTACKERS_IMAGES if threat_model == "black_box" else 0
            if number is not None and number > least - held_out:
                used = there()["attacks"].get(name, [])
                yield from _beyond_all(config, place, number, used, "test", held_out)
    for name in named(settings, "defenses"):
        purifier = config["defenses"].get(name, {}).get("purifier", name)
        deployed = [n for n, d in config["defenses"].items() if d.get("purifier") == purifier]
        number = config["defenses"].get(purifier, {}).get("clean_images")
        if number is not None and number > least:
            used = [d for n in (purifier, *deployed) for d in there()["defenses"].get(n, [])]
            place = f"/defenses.{purifier}.clean_images"
            yield from _beyond_all(config, place, number, used, "test")


def too_many_validation_images(config: Mapping[str, Any]) -> Wrong:
    """More validation images in a sweep than any of its data sets has."""
    swept = [
        name
        for study in studies_of(config, *SWEPT)
        for name in _names(_mapping(study.settings).get("datasets"))
    ]
    number = config["sweep"]["validation_images"]
    yield from _beyond_all(config, "/sweep.validation_images", number, swept, "validation")


def _mapping(value: Any) -> Mapping[str, Any]:
    """A study's settings as far as it has any: of those that nobody asks for they may be wrong."""
    return value if isinstance(value, Mapping) else {}


def _parts(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    panels = settings.get("panels")
    return [settings, *map(_mapping, panels if isinstance(panels, list) else ())]


def named(settings: Mapping[str, Any], section: str) -> list[str]:
    """The attacks or defences that a study names, each once."""
    keys = _NAMING[section]
    found = (n for part in _parts(settings) for key in keys for n in _names(part.get(key)))
    return list(dict.fromkeys(found))


def _datasets(config: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Of the attacks and of the defences by name, the data sets on which any table or figure has
    it."""
    found: dict[str, dict[str, list[str]]] = {section: {} for section in _NAMING}
    for study in studies_of(config):
        wanted = _mapping(study.settings)
        if "datasets" in wanted or "panels" in wanted:
            shared = _mapping(config.get("sweep")) if study.form in SWEPT else {}
            settings = {**shared, **wanted}
            for part in _parts(settings):
                used = _names(part.get("datasets", part.get("dataset")))
                used = [dataset for dataset in used if dataset in config["datasets"]]
                for section, names in found.items():
                    for name in named({**part, "panels": []}, section):
                        names.setdefault(name, []).extend(used)
    return found


def _names(value: Any) -> list[str]:
    """The names that a setting holds: one, a list, or those in a mapping, keys and values."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [*map(str, value), *(name for item in value.values() for name in _names(item))]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _beyond_all(
    config: Mapping[str, Any],
    place: str,
    number: int | None,
    datasets: Iterable[str],
    split: str,
    held_out: int = 0,
) -> Wrong:
    there = {name: available(config, name, split) for name in datasets}
    if number is None or not there or None in there.values():
        return
    largest = max(there, key=lambda name: there[name] or 0)
    limit = (there[largest] or 0) - held_out
    if number > limit:
        without = f" without the {held_out} of the attacker" if held_out else ""
        what = f"the {split} images of {largest}{without}"
        yield place, f"must be at most {limit}, {what}; got {number} (null takes all)"


def beyond(key: str, number: int, limit: str, there: int | None) -> Wrong:
    """A number of images above `there`, which the place `limit` has (None: nobody knows)."""
    if there is not None and number > there:
        yield key, f"must be at most {limit} = {there}, the images that there are; got {number}"
