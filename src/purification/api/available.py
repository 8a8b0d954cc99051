"""What there is by name: defences, attacks, data sets, classifiers, budgets."""

import re
from collections.abc import Mapping
from typing import Any

from purification.api.configs import Config, setup_of
from purification.experiments import Catalogue
from purification.experiments.methods import defenses as methods
from purification.facts import decorated, facts_at, facts_of


class Available(dict[str, dict[str, str]]):
    """Names with a line each, by their kind. `print` it."""

    def __str__(self) -> str:
        parts = []
        for kind, names in self.items():
            width = max(map(len, names), default=0)
            parts.append("\n".join([kind, *(f"  {n:{width}}  {t}" for n, t in names.items())]))
        return "\n\n".join(parts)


def available(config: Config = None) -> Available:
    """What there is by name, each with a line: `defenses` and `classifiers` (for `load_defended`),
    `datasets`, `attacks` (for `run_attack`, and as `method` in a config) and `budgets` (for
    `evaluate`).

    `config` as of `load_defended`: defences, classifiers and data sets are the config's. Raises
    ConfigError if it is wrong.
    """
    catalogue = setup_of(None, config).catalogue
    own = catalogue.config
    return Available(
        defenses={name: _defense(catalogue, name) for name in own["defenses"]},
        classifiers={name: _classifier(entry) for name, entry in own["classifiers"].items()},
        datasets={
            name: _first_sentence(facts_at("datasets", entry["source"]).summary)
            for name, entry in own["datasets"].items()
        },
        attacks={
            name: _first_sentence(facts.summary) for name, facts in decorated("attacks").items()
        },
        budgets=_budgets(),
    )


def _defense(catalogue: Catalogue, name: str) -> str:
    entry = catalogue.defense_settings(name)
    method = entry["method"]
    if method == "redeployed":
        return f"The purifier of {entry['purifier']} before {_behind(entry)}."
    if method == "adversarial_training":
        attack = entry.get("attack", "fgsm").upper()
        epsilon = f"{attack} of {entry['epsilon']}"
        return f"No purifier: the classifier, trained on images under {epsilon}."
    facts = facts_of(method) if ":" in method else methods().get(method)
    text = _first_sentence(facts.summary) if facts else method
    # What tells apart defences of one method.
    told = ", ".join(f"{key} {_shown(entry[key])}" for key in _TOLD if key in entry)
    text += f" With {told}." if told else ""
    return f"{text} Before {_behind(entry)}." if "classifier" in entry else text


_TOLD = (
    *("generator", "steps", "restarts", "redraw", "epsilon", "latent", "copies"),
    *("time", "denoising_steps", "sampler", "draws", "aggregation", "from_scratch", "rule"),
)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _behind(entry: Mapping[str, Any]) -> str:
    if entry.get("classifier") == "originals":
        return "the classifier that was trained on the images"
    return "a classifier that was trained on its reconstructions"


def _classifier(entry: Mapping[str, Any]) -> str:
    own = "with weights of its own" if "checkpoint" in entry else f"{entry.get('epochs')} epochs"
    return f"Architecture {entry['architecture']}, {own}."


def _budgets() -> dict[str, str]:
    # Not above: it brings torch, by the attacks, and this is also for a quick look.
    from purification.api.budgets import BUDGETS

    return {name: f"{one.about[0].upper()}{one.about[1:]}." for name, one in BUDGETS.items()}


def _first_sentence(text: str) -> str:
    found = re.match(r".*?[.](?= [A-Z]|$)", text)
    return found[0] if found else text
