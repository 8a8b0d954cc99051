"""The config's names: what it says under each, and how what differs from it is called."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from purification.diffusers_folder import weights_of
from purification.experiments.config import (
    ConfigError,
    check_cascade,
    check_config,
    check_study,
    uses,
)
from purification.experiments.config_form import is_number
from purification.experiments.entries import OWN_CODE, checkpoints_of
from purification.experiments.methods import (
    facts_for,
    has_generator,
    is_cheaper,
    least_epsilon,
    norm_of,
    settings_of,
    stated,
    surrogate_settings,
    with_settings,
)
from purification.experiments.papers import STUDIES, Study, study_of
from purification.experiments.protocols import JUDGED_DRAWS
from purification.experiments.quirks import CONCERNED, KEY
from purification.experiments.references import randomised
from purification.experiments.schema import read_schema, wrong_form
from purification.guesses import did_you_mean
from purification.plugins import place_of_file

NONE = "none"
"""The folder of what is measured without a defence."""
PLAIN = "plain"
"""Training of the classifiers that belong to no defence."""
THREAT_MODELS = (
    *("white_box", "gray_box", "white_box_bpda"),
    *("white_box_fixed", "white_box_bpda_fixed", "surrogate"),
)
VARIED = "@"
"""Stands between a name of the config and what differs from its settings there: `fgsm@0.15`,
`defense_gan@L50`."""


class Names:
    """What a config has under its names, varied ones included. Others raise ConfigError."""

    def __init__(self, config: Mapping[str, Any], schema_file: Path) -> None:
        self._schema = read_schema(schema_file)
        self.config = check_config(config, self._schema)
        self._papers = schema_file.parents[2] / "resources/papers"
        own = {path for section in OWN_CODE for path in self._files_of(section)}
        entries = [(e, key) for part, key in OWN_CODE.items() for e in self.config[part].values()]
        weights = {str(weights_of(p)) for e, _ in entries for p in checkpoints_of(e).values()}
        self.files = sorted(own | weights)
        """The files that users' own code reads, and those of weights."""
        self._facts = {n: facts_for(e["method"]) for n, e in self.config["defenses"].items()}
        self.code = sorted({e[key] for e, key in entries if ":" in e.get(key, "")})
        """The places of users' own code."""
        self.remarks: dict[str, str] = {}
        """What is to be said of entries that were asked for, and is no mistake, by their places."""

    @cache  # noqa: B019
    def study(self, name: str) -> Study:
        """A study or a table of the user's own, with its settings in the config. They are looked at
        here and nowhere before: ConfigError if there are none or they are wrong."""
        found = study_of(self.config, name)
        if found is None:
            known = [*STUDIES, *self.config.get("tables", ())]
            hint = "" if name in known else did_you_mean(name, known)
            raise ConfigError(f"{name!r} is asked for, and the config has no such section{hint}")
        for used in uses(self._schema, found):
            self.study(used)
        check_study(self.config, self._schema, found)
        return found

    def cascade_settings(self, name: str) -> Mapping[str, Any]:
        """Those of a cascade, looked at here as those of a study."""
        return check_cascade(self.config, self._schema, name)

    def runs(self, name: str) -> list[tuple[str, int]]:
        """Each data set of a study with each seed."""
        return [
            (d, seed)
            for d in self.study(name).settings["datasets"]
            for seed in self.config["seeds"]
        ]

    def defense_settings(self, defense: str) -> Mapping[str, Any]:
        """A defence's settings in the config, also of one with another L or R."""
        return self._lookup("defenses", defense)

    def _lookup(self, section: str, name: str) -> Mapping[str, Any]:
        base, at, change = name.partition(VARIED)
        if at:
            return self._varied(section, base, change)
        try:
            found: Mapping[str, Any] = self.config[section][name]
            return found
        except KeyError:
            known = list(self.config[section])
            hint = did_you_mean(name, known)
            raise ConfigError(
                f"no '{name}' under {section} in the config{hint}: {', '.join(known)}"
            ) from None

    def _varied(self, section: str, base: str, change: str) -> Mapping[str, Any]:
        """The settings of `<base>@<change>`. Each has one name: other spellings, and the value that
        the config has, are refused, so that nothing is made twice."""
        own, name = self._lookup(section, base), f"{base}{VARIED}{change}"
        if section == "defenses" and own["method"] == "redeployed":
            purifier = f"{own['purifier']}{VARIED}{change}"
            self._lookup("defenses", purifier)
            return {**own, "purifier": purifier}
        if section == "defenses" and "steps" in own:
            return self._varied_search(base, own, change)
        if section == "defenses" and "time" in own and change[:1] == "t":
            return self._varied_time(base, own, change)
        if section == "defenses" and self._per_classifier(base):
            self._lookup("classifiers", change)
            return own
        if section != "attacks" or not (norm := norm_of(own)):
            raise ConfigError(f"{name}: nothing of {section}.{base} can vary so")
        # An l2 radius may exceed the range of a pixel.
        most = 1 if norm == "linf" else math.inf
        if not (is_number(change) and least_epsilon(own)[1] < float(change) <= most):
            raise ConfigError(f"{name}: {change!r} is no epsilon for {section}.{base}")
        if (called := self.attack_at(base, float(change))) != name:
            raise ConfigError(f"{name}: with this epsilon it is called {called!r}")
        return with_settings(own, epsilon=float(change))

    def _varied_search(self, base: str, own: Mapping[str, Any], change: str) -> Mapping[str, Any]:
        """The settings of a search with another L, other R or both: `@L50`, `@R1`, `@L50R1`."""
        name, found = f"{base}{VARIED}{change}", re.fullmatch(r"(?:L(\d+))?(?:R(\d+))?", change)
        keys = ("steps", "restarts")
        new = {k: int(v) for k, v in zip(keys, found.groups(), strict=True) if v} if found else {}
        if not new or not all(new.values()) or not new.keys() <= own.keys():
            raise ConfigError(f"{name}: {change!r} is no L (and R) for defenses.{base}")
        called = self.defense_at(base, **new)
        if called != name:
            raise ConfigError(f"{name}: with these steps it is called {called!r}")
        return {**own, **new}

    def _varied_time(self, base: str, own: Mapping[str, Any], change: str) -> Mapping[str, Any]:
        """The settings of a purifier by diffusion with another t*: `@t0.2`."""
        name, number = f"{base}{VARIED}{change}", change[1:]
        if not (is_number(number) and 0 < float(number) <= 1):
            raise ConfigError(f"{name}: {number!r} is no time for defenses.{base}")
        if (called := self.defense_at_time(base, float(number))) != name:
            raise ConfigError(f"{name}: with this time it is called {called!r}")
        return {**own, "time": float(number)}

    def stated(self, defense: str, fact: str, default: Any = None) -> Any:
        """What the code of a defence states of itself (`purifiers.base.Purifier`)."""
        facts = self._facts[base_name(defense)]
        return facts.stated.get(fact, default) if facts else default

    def _per_classifier(self, defense: str) -> bool:
        """Whether a defence's purifier is another one for each classifier: `defense_vae@A`."""
        return not {"copies", "classifier"}.isdisjoint(self.stated(defense, "learns_from", ()))

    def deployment_of(self, defense: str) -> str:
        """The defence whose purifier this one deploys: itself, unless it is a redeployed one."""
        settings = self._lookup("defenses", defense)
        return settings["purifier"] if settings["method"] == "redeployed" else defense

    def attack_at(self, attack: str, epsilon: float) -> str:
        """The name of an attack with another strength."""
        same = settings_of(self._lookup("attacks", attack))["epsilon"] == epsilon
        return attack if same else f"{attack}{VARIED}{float(epsilon)!r}"

    def defense_at(
        self, defense: str, steps: int | None = None, restarts: int | None = None
    ) -> str:
        """The name of a search-based defence with another L or R (None: its own)."""
        own = self._lookup("defenses", self.deployment_of(defense))
        new = (("L", "steps", steps), ("R", "restarts", restarts))
        change = "".join(f"{c}{v}" for c, key, v in new if v is not None and v != own[key])
        return f"{defense}{VARIED}{change}" if change else defense

    def defense_at_time(self, defense: str, time: float) -> str:
        """The name of a purifier by diffusion with another t*."""
        same = self._lookup("defenses", defense)["time"] == time
        return defense if same else f"{defense}{VARIED}t{float(time)!r}"

    def for_classifier(self, defense: str, classifier: str) -> str:
        """The name of the purifier that a defence puts before a classifier."""
        deployment = self.deployment_of(defense)
        if not self._per_classifier(deployment):
            return defense
        # With other quirks it makes other images.
        other = self.quirks_of(defense) != self.quirks_of(deployment)
        return f"{base_name(defense if other else deployment)}{VARIED}{classifier}"

    def quirks_of(
        self, defense: str, threat_models: Iterable[str] | None = None
    ) -> tuple[str, ...]:
        """The quirks of a defence; of those that concern one of these threat models, "none" for
        clean images."""
        own: Sequence[str] = self._lookup("defenses", defense).get(KEY, ())
        asked = None if threat_models is None else set(threat_models)
        return tuple(q for q in own if asked is None or not asked.isdisjoint(CONCERNED[q]))

    def purifies(self, defense: str) -> bool:
        """Whether a defence has a purifier, not only a classifier of its own."""
        return bool(self._lookup("defenses", defense)["method"] != "adversarial_training")

    def judged_draws(self, defense: str) -> int | None:
        """Draws on which a randomised defence is judged; None of a deterministic one."""
        name = self.deployment_of(defense)
        if not randomised(self.config, base_name(name)):
            return None
        return int(self._lookup("defenses", name).get("judged_draws", JUDGED_DRAWS))

    def searches_codes(self, attack: str) -> bool:
        """Whether an attack searches the codes of a defence's generator."""
        method = self._lookup("attacks", attack)["method"]
        return bool(stated("attacks", method).get("generator"))

    def needs_gradient(self, attack: str) -> bool:
        """Whether an attack climbs a gradient, so that another backward pass makes another one."""
        known = stated("attacks", self._lookup("attacks", attack)["method"])
        return bool(known.get("gradient_based", True))

    def generates(self, defense: str) -> bool:
        """Whether a defence's purifier has a generator, whose codes can be searched."""
        facts = self._facts[base_name(self.deployment_of(defense))]
        return facts is not None and has_generator(facts)

    def has_surrogate(self, defense: str, wanted: Mapping[str, Any]) -> bool:
        """Whether a defence has a cheaper version with these settings."""
        name = self.deployment_of(defense)
        facts, entry = self._facts[base_name(name)], self._lookup("defenses", name)
        if facts is None or not facts.cheaper:
            return False
        form = {"$defs": self._schema["$defs"], **surrogate_settings(facts)}
        drawn = self.judged_draws(defense) is not None
        return not any(wrong_form(wanted, form)) and is_cheaper(facts, entry, wanted, drawn=drawn)

    def threat_models(self, defense: str) -> list[str]:
        """What is measured of a purifier, in an order that the config's does not change."""
        wanted = self._lookup("defenses", defense)["threat_models"]
        return [name for name in THREAT_MODELS if name in wanted]

    def _files_of(self, section: str, name: str | None = None) -> list[str]:
        """The files that an entry of a section names, or all of them."""
        known = self.config[section]
        entries = known.values() if name is None else [known.get(base_name(name), {})]
        paths = (path for entry in entries for path in entry.get("files", {}).values())
        return [str(place_of_file(path)) for path in paths]


def base_name(name: str) -> str:
    """A name without what differs from its settings in the config."""
    return name.split(VARIED)[0]
