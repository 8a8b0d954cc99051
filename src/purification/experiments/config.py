"""The config, checked: the shared sections before the DAG is built, a study when it is asked for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from purification.experiments import entries, studies
from purification.experiments.config_form import (
    prepared,
    wrong_data_root,
    wrong_names,
    wrong_values,
)
from purification.experiments.image_counts import SWEPT, too_many_images
from purification.experiments.papers import ACCURACY_FORMS, STUDIES, Study, named
from purification.experiments.references import broken_rules, wrong_references
from purification.experiments.schema import of_form, shared, wrong_form

PAPER_TABLES = named(*ACCURACY_FORMS)
"""The papers' tables of accuracies."""
AE_GAN_TABLES = tuple(name for name in PAPER_TABLES if name.startswith("ae_gan"))
COWBOY_TABLES = tuple(name for name in PAPER_TABLES if name.startswith("cowboy"))


class ConfigError(ValueError):
    """The config is wrong; the message lists every place, with what was expected there."""


def check_config(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The config as all that comes after reads it (`config_form.prepared`), its shared sections
    and its names checked; of the studies nothing is looked at.

    Raises ConfigError naming each wrong place and what is allowed there. References are looked at
    only when the form is right, and what takes several keys to tell when the references are.
    """
    made = prepared(config)
    part = shared(schema)
    always = {k: v for k, v in made.items() if not isinstance(k, str) or k in schema["required"]}
    _refuse(
        lambda: (*wrong_values(always), *wrong_form(made, part)),
        lambda: (
            *wrong_data_root(made["data_root"]),
            *wrong_names(made, schema["$defs"]["column"]["not"]["enum"]),
        ),
        lambda: wrong_references(made, part, made),
        lambda: broken_rules(made, part, made, entries.RULES),
    )
    return made


def check_study(
    config: Mapping[str, Any], schema: Mapping[str, Any], study: Study, place: str
) -> None:
    """Raise ConfigError, as `check_config`, for a study whose settings stand at a place of a config
    that is checked otherwise, what the study uses included."""
    form, settings = of_form(schema, study.form), study.settings
    rules = dict(studies.RULES)
    if "over_latent" in study.quirks:
        rules["columns"] = rules["over_latent"]
    own = {"rules": [quirk for quirk in study.quirks if quirk == "compared"]}
    others = [name for name in SWEPT if name in config] if uses(schema, study) else []
    _refuse(
        lambda: (*wrong_values(settings, place), *wrong_form(settings, form, place)),
        # One search serves all sweeps that the config has: which, their settings say.
        lambda: (
            line
            for other in others
            for line in wrong_form(config[other], of_form(schema, STUDIES[other].form), other)
        ),
        lambda: wrong_references(settings, form, config, place),
        lambda: (
            *broken_rules(settings, form, config, rules, place),
            *broken_rules(settings, own, config, rules, place),
            *too_many_images(config, settings),
        ),
    )


def uses(schema: Mapping[str, Any], study: Study) -> tuple[str, ...]:
    """The sections that a study reads beside its own."""
    return (*schema["$defs"]["forms"].get(study.form, {}).get("uses", ()), *study.of)


def _refuse(*checks: Callable[[], Iterator[str] | tuple[str, ...]]) -> None:
    """Raise what the first check finds that finds anything."""
    for check in checks:
        if problems := dict.fromkeys(check()):
            lines = "\n".join(f"  {line}" for line in problems)
            raise ConfigError(f"the config is wrong:\n{lines}")
