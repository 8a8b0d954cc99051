"""Numbers of images in the config against those that there are: a line for each that is too large.

An attack or defence can stand in tables of several data sets, of which each gives what it has: a
number is too large if none of them has so many.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from purification.experiments.artifacts import CELEBA_IMAGES, TEST_IMAGES
from purification.experiments.grids import GRID_FORMS
from purification.experiments.papers import studies_of

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
    source, asked = settings.get("source"), settings.get(split)
    if asked is None and source == "celeba":
        return CELEBA_IMAGES[split]
    return TEST_IMAGES.get(source) if asked is None and split == "test" else asked


def too_many_images(config: Mapping[str, Any]) -> Iterator[str]:
    """The places whose data sets have fewer images. References must be right already."""
    for name, attack in config["attacks"].items():
        used = _datasets(config, "attacks", name)
        for threat_model, number in attack["images"].items():
            black = threat_model == "black_box"
            place = f"attacks.{name}.images.{threat_model}"
            yield from _beyond(config, place, number, used, held_out=black)
    for name, defense in config["defenses"].items():
        deployed = [n for n, d in config["defenses"].items() if d.get("purifier") == name]
        used = [d for n in (name, *deployed) for d in _datasets(config, "defenses", n)]
        place = f"defenses.{name}.clean_images"
        yield from _beyond(config, place, defense.get("clean_images"), used)
    swept = [name for study in studies_of(config, *SWEPT) for name in study.settings["datasets"]]
    number = config["sweep"]["validation_images"]
    yield from _beyond(config, "sweep.validation_images", number, swept, split="validation")
    yield from _too_many_timed(config)


def _datasets(config: Mapping[str, Any], section: str, name: str) -> list[str]:
    """The data sets on which any table or figure has an attack or a defence."""
    found: list[str] = []
    for study in studies_of(config):
        wanted = study.settings
        if "datasets" in wanted or "panels" in wanted:
            settings = {**config["sweep"], **wanted} if study.form in SWEPT else wanted
            for part in (settings, *wanted.get("panels", ())):
                named = [n for key in _NAMING[section] for n in _names(part.get(key, ()))]
                found += _names(part.get("datasets", part.get("dataset", ()))) * (name in named)
    return found


def _names(value: Any) -> list[str]:
    """The names that a setting holds: one, a list, or those in a mapping, keys and values."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [*value, *(name for item in value.values() for name in _names(item))]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _beyond(
    config: Mapping[str, Any],
    place: str,
    number: int | None,
    datasets: Iterable[str],
    *,
    split: str = "test",
    held_out: bool = False,
) -> Iterator[str]:
    there = {name: available(config, name, split) for name in datasets}
    if number is None or not there or None in there.values():
        return
    largest = max(there, key=lambda name: there[name] or 0)
    limit = (there[largest] or 0) - ATTACKERS_IMAGES * held_out
    if number > limit:
        without = f" without the {ATTACKERS_IMAGES} of the attacker" if held_out else ""
        yield (
            f"{place}: must be at most {limit}, the {split} images of {largest}{without}; got "
            f"{number} (null takes all)"
        )


def _too_many_timed(config: Mapping[str, Any]) -> Iterator[str]:
    """Images of which each data set must have so many: a time for fewer is another number."""
    counted = {"search_times": ("largest_batch",), "run_times": ("images", "search_images")}
    for study in studies_of(config, *counted):
        for name in study.settings["datasets"]:
            for key in counted[study.form]:
                limit = (f"datasets.{name}.test", available(config, name, "test"))
                yield from beyond(f"{study.name}.{key}", study.settings[key], *limit)


def beyond(place: str, number: int, limit: str, there: int | None) -> Iterator[str]:
    """A number of images above `there`, which the place `limit` has (None: nobody knows)."""
    if there is not None and number > there:
        yield f"{place}: must be at most {limit} = {there}, the images that there are; got {number}"
