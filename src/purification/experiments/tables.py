"""The studies' tables as lists of measurements: their rows, and what the reader is told of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from purification.experiments.ae_gan import COST, cost_cells, cost_content
from purification.experiments.artifacts import Cell, Made, Measurement, Table, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import (
    CLEAN,
    UNIT_RANGE,
    as_named,
    clean_cells,
    with_quirks_named,
)
from purification.experiments.config import ConfigError
from purification.experiments.defense_vae import unseen_cells
from purification.experiments.direct import direct_cells
from purification.experiments.generator_quality import QUALITY, quality_measurement
from purification.experiments.methods import settings_of
from purification.experiments.papers import (
    ACCURACY_FORMS,
    PAPERS,
    SWEPT_FORMS,
    TIME_FORMS,
    Study,
)
from purification.experiments.quirks import KEY
from purification.experiments.sweeps import (
    SWEEP,
    searched_cells,
    table_attacks,
    table_cells,
    white_box_cells,
)
from purification.experiments.times import time_table
from purification.experiments.transferred import targets, transferred_cells

_CELLS: dict[str, Callable[[Catalogue, Study, str, int, str, str], Iterator[Cell]]] = {
    "direct": direct_cells,
    "searches": direct_cells,
    "transferred": transferred_cells,
    "unseen": unseen_cells,
    "sweep": searched_cells,
    "white_box_over_steps": white_box_cells,
    "cost_accuracy": cost_cells,
}
"""The cells of each form under one attack."""
MEASURED_FORMS = (*_CELLS, QUALITY)
"""The forms of studies that have measurements of their own."""


@cache
def paper_table(catalogue: Catalogue, name: str) -> Table:
    """A table of a paper or of the user's own, as the config asks for it."""
    study = catalogue.study(name)
    if study.form in TIME_FORMS:
        return time_table(catalogue, name)
    if study.form not in ACCURACY_FORMS:
        raise ConfigError(f"{name} is no table")
    source, attacks = study, (CLEAN, *study.settings.get("attacks", ()))
    shown: tuple[tuple[int, int], ...] | None = None
    if study.form in SWEPT_FORMS:
        # What it shows of the measurements of the sweeps.
        source, attacks = catalogue.study(SWEEP), tuple(table_attacks(catalogue, name))
        classifiers, shown = [source.settings["classifier"]], table_cells(catalogue, name)
    elif study.form == "transferred":
        classifiers = targets(study)
    else:
        classifiers = study.settings["classifiers"]
        if study.form == "searches":
            # Restarts outside. A search from an encoder has R = 1.
            wanted = study.settings["searches"]
            restarts = dict.fromkeys([1, *wanted["restarts"]])
            shown = tuple((steps, count) for count in restarts for steps in wanted["steps"])
    measurements = [
        measurement(catalogue, source.name, dataset, seed, classifier, attack)
        for dataset, seed in catalogue.runs(name)
        for attack in attacks
        for classifier in classifiers
    ]
    papers = catalogue.printed_numbers(study.paper)
    notes = tuple(table_notes(catalogue, name))
    return Table(study, tuple(measurements), shown, notes, papers)


def cost_measurements(catalogue: Catalogue) -> list[Measurement]:
    """What the figure of accuracy over cost is drawn from, of all seeds."""
    wanted = catalogue.study(COST).settings
    return [
        measurement(catalogue, COST, dataset, seed, wanted["classifier"], attack)
        for dataset, seed in catalogue.runs(COST)
        for attack in (CLEAN, wanted["attack"])
    ]


def cost_figure(catalogue: Catalogue) -> Made:
    """The figure of accuracy over cost."""
    measurements = cost_measurements(catalogue)
    digests = [measurement.digest for measurement in measurements]
    job = told({**cost_content(catalogue), "digests": digests}, measurements)
    return Made("results/figures/cost_accuracy.png", job)


@cache
def measurement(
    catalogue: Catalogue, name: str, dataset: str, seed: int, classifier: str, attack: str
) -> Measurement:
    """All cells of a study that share dataset, seed, classifier and attack."""
    if name == QUALITY:
        return quality_measurement(catalogue, dataset, seed, classifier, attack)
    study, known = catalogue.study(name), catalogue.config["attacks"]
    if study.form not in _CELLS:
        raise ConfigError(f"nothing is measured for {name} itself")
    if name != SWEEP and attack not in (CLEAN, *known):
        raise ConfigError(f"no '{attack}' under attacks in the config: {', '.join(known)}")
    run = (dataset, seed, classifier)
    if attack == CLEAN and study.form in ACCURACY_FORMS:
        cells = clean_cells(catalogue, study, *run, hold_out=study.form == "transferred")
    else:
        cells = _CELLS[study.form](catalogue, study, *run, attack)
    folder = f"results/{dataset}/seed{seed}"
    return Measurement(folder, name, classifier, attack, tuple(_named(catalogue, cells)))


def _named(catalogue: Catalogue, cells: Iterable[Cell]) -> Iterator[Cell]:
    """The cells with all of their labels. What a defence with a quirk has in common with that
    without, such as clean images that it purifies alike, is one cell."""
    found: dict[Any, Cell] = {}
    for cell in cells:
        labels = with_quirks_named(as_named(catalogue, cell.labels), cell.all_quirks)
        made = replace(cell, labels=labels)
        found.setdefault((*labels.items(), made.images.path, made.group), made)
    yield from found.values()


def table_notes(catalogue: Catalogue, name: str) -> list[str]:
    """What a reader of the table must know of its settings, a paragraph each."""
    config, study = catalogue.config, catalogue.study(name)
    swept = study.form in SWEPT_FORMS
    wanted = catalogue.study(SWEEP).settings if swept else study.settings
    notes = [f"Seeds: {', '.join(map(str, config['seeds']))}."]
    if "oracle" in wanted:
        notes.append(f"Oracle: `{wanted['oracle']}`. Substitutes: {_listed(config['substitute'])}.")
    if swept:
        notes.append(
            "Other L and R than the defence's, from one search of each set of images; "
            "Defense-GAN-Rec's classifier is the one trained for the defence's own L and R."
        )
    known = PAPERS[study.paper].known.get("tables", {}) if study.paper else {}
    if study.form in known.get("forms", ()):
        notes.append(known["note"])
    for own in wanted.get("classifiers", ()):
        if "checkpoint" in config["classifiers"][own]:
            notes.append(f"Classifier `{own}` was trained elsewhere.")
    notes += [
        f"Classifier `{own}`: {_listed({KEY: entry[KEY]})}."
        for own, entry in config["classifiers"].items()
        if KEY in entry and own in _classifiers_of(wanted)
    ]
    for attack in wanted.get("attacks") or [wanted["attack"]]:
        notes.append(_attack_note(attack, config["attacks"][attack]))
    columns = sorted(wanted.get("trained_on", {}).items())
    unseen = [defense for _, column in columns for _, defense in sorted(column.items())]
    for defense in dict.fromkeys([*wanted.get("defenses", ()), *unseen]):
        settings = config["defenses"][defense]
        # Of a user's own with its defaults, which stand nowhere else.
        own = {"settings": catalogue.settings_of(defense)} if ":" in settings["method"] else {}
        note = f"Defense `{defense}`: {_listed(settings | own, hide=('threat_models',))}."
        if draws := catalogue.judged_draws(defense):
            note += (
                f" It is randomised: every image is judged on {draws} draws that no look of an "
                "attack was."
            )
        notes.append(note)
        if "generator" in settings:
            generator = settings["generator"]
            network = config["generators"][generator]
            notes.append(_generator_note(generator, network, study.settings["datasets"]))
    return notes


def _classifiers_of(wanted: Mapping[str, Any]) -> set[str]:
    """The classifiers of a table, substitutes included."""
    pairs = [name for pair in wanted.get("pairs", ()) for name in pair.split("/")]
    single = [wanted[key] for key in ("classifier", "substitute") if key in wanted]
    return {*wanted.get("classifiers", ()), *pairs, *single}


def _attack_note(name: str, settings: Mapping[str, Any]) -> str:
    note = f"Attack `{name}`: {_listed(settings, hide=('images', 'published_reach'))}."
    settings = settings_of(settings)
    low, high = settings.get("pixel_range", UNIT_RANGE)
    if [low, high] != UNIT_RANGE:
        note += (
            f" Its epsilon is in units of images in [{low}, {high}]: {settings['epsilon']:g} is "
            f"{settings['epsilon'] / (high - low):g} in those of our images, in [0, 1], and so are "
            "all norms."
        )
    return note


def _generator_note(name: str, settings: Mapping[str, Any], datasets: Sequence[str]) -> str:
    note = f"Generator `{name}`: {_listed(settings, hide=('per_dataset',))}."
    if "checkpoint" in settings:
        return f"{note} It was trained elsewhere."
    for dataset in datasets:
        if other := settings.get("per_dataset", {}).get(dataset):
            note += f" On {dataset}: {_listed(other)}."
    return note


def _listed(settings: Mapping[str, Any], hide: tuple[str, ...] = ()) -> str:
    # Sorted: the order of keys in the config decides nothing. And where a user's files lie is no
    # fact about the numbers.
    hide = (*hide, "files", "checkpoint")
    shown = [(key, settings[key]) for key in sorted(settings) if key not in hide]
    return ", ".join(f"{key} {_in_order(value)}" for key, value in shown)


def _in_order(value: Any) -> Any:
    """A setting, the keys of mappings in it sorted."""
    if isinstance(value, Mapping):
        return {key: _in_order(value[key]) for key in sorted(value, key=str)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value
