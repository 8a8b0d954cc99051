"""What the schema says of a value beside its form: the names of other entries, and rules.

`names`, `that`, `or`, `apart`, `measured_in` and `rules` are described at the head of the schema.
They are read when the form is right, and yield one line a mistake, with its place in the config.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from operator import getitem
from types import ModuleType
from typing import Any

from purification.experiments.config_form import listed
from purification.experiments.methods import defenses, is_randomised, norm_of
from purification.experiments.papers import studies_of
from purification.experiments.schema import Examined
from purification.guesses import did_you_mean

WGAN_GP = "wgan_gp"
"""The kind of a generator that names none."""
SEARCHES = tuple(name for name, facts in defenses().items() if facts.stated.get("swept"))
"""Methods that search a latent space from random starts: swept, and timed in Table 13."""
Wrong = Iterator[tuple[str, str]]
"""Mistakes: a place and what is wrong there, as `located` takes them."""
Takes = Callable[[str, str], bool]
"""Of a section and an entry there: whether later rules let it be named."""


def purifier_of(config: Mapping[str, Any], defense: str) -> str:
    """The defence that a redeployed one takes its purifier from, or itself."""
    return str(config["defenses"].get(defense, {}).get("purifier", defense))


def randomised(config: Mapping[str, Any], defense: str) -> bool:
    """Whether a defence is randomised, itself or by the purifier that it deploys."""
    return is_randomised(config["defenses"].get(purifier_of(config, defense), {}))


def kind_of(generator: Mapping[str, Any]) -> str:
    """What is trained."""
    return str(generator.get("kind", WGAN_GP))


PREDICATES: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any], list[Any]], bool]] = {
    "has": lambda entry, _, keys: all(key in entry for key in keys),
    "lacks": lambda entry, _, keys: not any(key in entry for key in keys),
    "kind": lambda entry, _, kinds: kind_of(entry) in kinds,
    "norm": lambda entry, _, norms: norm_of(entry) in norms,
    "form": lambda entry, _, forms: entry["form"] in forms,
    "own_method": lambda entry, _, methods: entry["method"] in methods,
    "method": lambda _, purifier, methods: purifier["method"] in methods,
    "randomised": lambda _, purifier, wanted: is_randomised(purifier) in wanted,
    "purifier_has": lambda _, purifier, keys: all(key in purifier for key in keys),
    "purifier_lacks": lambda _, purifier, keys: not any(key in purifier for key in keys),
}
"""What a schema's `that` may ask of an entry, of the purifier that it deploys, and of what must be
among these values."""


def known(config: Mapping[str, Any], section: str, that: Mapping[str, Any]) -> list[str]:
    """The names in a section of the config of which all that is asked holds."""

    def holds(entry: Mapping[str, Any]) -> bool:
        purifier = config["defenses"].get(entry.get("purifier"), entry)
        asked = ((PREDICATES[k], v if isinstance(v, list) else [v]) for k, v in that.items())
        return all(predicate(entry, purifier, values) for predicate, values in asked)

    if section == "studies":
        entries: Any = {
            study.name: {"form": study.form, **({"paper": study.paper} if study.paper else {})}
            for study in studies_of(config)
        }
    else:
        entries = reduce(getitem, section.split("."), config)
    return [str(name) for name in entries if not that or holds(entries[name])]


def unknown(name: str, allowed: Iterable[str]) -> Iterator[str]:
    """What is said of a name that is none of those allowed."""
    allowed = list(allowed)
    if name not in allowed:
        yield f"got {name!r}{did_you_mean(name, allowed)}; {listed(allowed)}"


def wrong_references(
    found: Examined,
    config: Mapping[str, Any],
    place: str = "",
    takes: Takes = lambda section, name: True,
) -> Iterator[str]:
    """Names, in a value of the right form, of what the config does not have.

    What is said to be allowed is what `takes` lets pass as well: later rules refuse the rest, with
    their reasons.
    """

    def names(section: str, text: str, own: Mapping[str, Any]) -> Wrong:
        words, there = own.get("or", ()), known(config, section, own.get("that", {}))
        for name in text.split(own["apart"]) if "apart" in own else [text]:
            if name not in (*words, *there):
                taken = [one for one in there if takes(section, one) and measured(one, own)]
                yield from (("", what) for what in unknown(name, [*words, *taken]))

    def measured(name: str, own: Mapping[str, Any]) -> bool:
        return "measured_in" not in own or own["measured_in"] in models(name, own["measured_in"])

    def models(name: str, model: str) -> list[str]:
        """Those of a defence; the one asked for where it has none to name."""
        return list(config["defenses"].get(name, {}).get("threat_models", [model]))

    def measured_in(model: str, name: str, own: Mapping[str, Any]) -> Wrong:
        if model not in models(name, model):
            yield (
                f"/defenses.{name}.threat_models",
                f"{{place}} needs {model}; got {', '.join(models(name, model))}",
            )

    yield from _lines(found, {"names": names, "measured_in": measured_in}, place)


def not_measured(found: Examined, config: Mapping[str, Any], place: str) -> Iterator[str]:
    """Randomised defences, in the settings of a study that has no protocol for them."""

    def names(section: str, text: str, own: Mapping[str, Any]) -> Wrong:
        if section == "defenses" and randomised(config, text):
            yield (
                "",
                f"{text!r} is randomised, and is judged in tables of the forms direct and searches "
                "alone: one draw of it, as it would be looked at here, is no measurement",
            )

    yield from _lines(found, {"names": names}, place)


def broken_rules(
    found: Examined, schema: Mapping[str, Any], config: Mapping[str, Any], rules: ModuleType
) -> Iterator[str]:
    """What the schema's `rules` say of a value whose form and references are right."""

    def broken(wanted: list[str], value: Any, own: Mapping[str, Any]) -> Wrong:
        for rule in wanted:
            yield from getattr(rules, rule)(value, config, schema)

    yield from _lines(found, {"rules": broken}, "")


def _lines(
    found: Examined, keywords: Mapping[str, Callable[[Any, Any, Any], Wrong]], place: str
) -> Iterator[str]:
    for mark in found.marks:
        if look := keywords.get(mark.validator):
            # Of a list it says enough which name is wrong.
            inner = (str(part) for part in mark.absolute_path if not isinstance(part, int))
            here = ".".join(filter(None, (place, *inner)))
            for where, what in look(mark.validator_value, mark.instance, mark.schema):
                yield located(here, where, what)


def located(place: str, where: str, what: str) -> str:
    """A line: a mistake at a place within another, or, after "/", at one elsewhere in the config;
    "{place}" in what is wrong stands for the former."""
    at = where[1:] if where[:1] == "/" else ".".join(filter(None, (place, where)))
    return f"{at}: {what.replace('{place}', place)}"
