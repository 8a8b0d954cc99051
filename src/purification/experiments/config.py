"""The config, checked: what all share before the DAG is built, a study when it is asked for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from purification.experiments import cascades, entries, studies
from purification.experiments.config_form import (
    ConfigError,
    wrong_data_root,
    wrong_names,
    wrong_values,
)
from purification.experiments.image_counts import SWEPT
from purification.experiments.layers import prepared
from purification.experiments.papers import STUDIES, Study, place_of, studies_of
from purification.experiments.quirks import with_quirks
from purification.experiments.references import (
    broken_rules,
    located,
    not_measured,
    wrong_references,
)
from purification.experiments.schema import (
    examined,
    explained,
    of_cascade,
    of_form,
    shared,
    wrong_form,
)
from purification.guesses import did_you_mean

__all__ = ["ConfigError", "check_cascade", "check_config", "check_study", "uses"]


def check_config(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The config as all that comes after reads it (`layers.prepared`, `quirks.with_quirks`), with
    what is shared and all names checked; of studies nothing else. Raises ConfigError naming each
    wrong place and what is allowed there: first of the form, then of references, then of rules of
    several keys."""
    made, part = prepared(config), shared(schema)
    always = {k: v for k, v in made.items() if k not in (*STUDIES, "tables", "cascades")}
    found = examined(made, part)
    _refuse(
        lambda: (*wrong_values(always), *explained(found)),
        lambda: (
            *wrong_data_root(made["data_root"]),
            *wrong_names(made, schema["$defs"]["column"]["not"]["enum"]),
        ),
        lambda: wrong_references(found, made),
        lambda: broken_rules(found, part, made, entries),
    )
    return with_quirks(made)


def check_study(config: Mapping[str, Any], schema: Mapping[str, Any], study: Study) -> None:
    """Raise ConfigError, as `check_config`, for a study of a config that this has made. What the
    study `uses` must be right."""
    settings, place = study.settings, place_of(study)
    own = schema["$defs"]["forms"][study.form]
    found = examined(settings, of_form(schema, study.form))
    protocols = own.get("randomised", False)
    takes = studies.takes(config, study, protocols=protocols)
    _refuse(
        lambda: (*wrong_values(settings, place), *explained(found, place)),
        # All sweeps are cut from one search: of which L and R, their settings say.
        lambda: (
            line
            for other in studies_of(config, *SWEPT)
            if study.form == "sweep"
            for line in _wrong_settings(schema, other)
        ),
        lambda: wrong_references(found, config, place, takes),
        lambda: () if protocols else not_measured(found, config, place),
        lambda: (
            located(place, where, what)
            for rule in (*own.get("rules", ()), "images", "draws")
            for where, what in getattr(studies, rule)(config, study)
        ),
    )


def check_cascade(
    config: Mapping[str, Any], schema: Mapping[str, Any], name: str
) -> Mapping[str, Any]:
    """A cascade of a config that `check_config` has made. Raises ConfigError, as there, if there is
    none of that name or it is wrong."""
    known: Mapping[str, Any] = config.get("cascades", {})
    if name not in known:
        listed = ", ".join(known) or "none"
        hint = did_you_mean(name, list(known))
        raise ConfigError(f"no {name!r} under cascades in the config{hint}: {listed}")
    settings: Mapping[str, Any] = known[name]
    found, place = examined(settings, of_cascade(schema)), f"cascades.{name}"
    _refuse(
        lambda: (*wrong_values(settings, place), *explained(found, place)),
        lambda: wrong_references(found, config, place, cascades.takes(config, settings)),
        lambda: (
            located(place, where, what.replace("{cascade}", place))
            for where, what in cascades.wrong_stages(config, settings, schema)
        ),
    )
    return settings


def _wrong_settings(schema: Mapping[str, Any], study: Study) -> Iterator[str]:
    place = place_of(study)
    yield from wrong_values(study.settings, place)
    yield from wrong_form(study.settings, of_form(schema, study.form), place)


def uses(schema: Mapping[str, Any], study: Study) -> tuple[str, ...]:
    """The studies that one reads beside its own section."""
    return (*schema["$defs"]["forms"][study.form].get("uses", ()), *study.of)


def _refuse(*checks: Callable[[], Iterator[str] | tuple[str, ...]]) -> None:
    """Raise what the first check finds that finds anything."""
    for check in checks:
        if problems := dict.fromkeys(check()):
            lines = "\n".join(f"  {line}" for line in problems)
            raise ConfigError(f"the config is wrong:\n{lines}")
