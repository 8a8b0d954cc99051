"""The papers' tables as lists of measurements: their rows, and what the reader is told of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from purification.experiments.ae_gan import (
    COST,
    SEARCHES_TABLE,
    ae_gan_cells,
    cost_cells,
    cost_content,
    searches,
)
from purification.experiments.artifacts import Made, Measurement, Table, told
from purification.experiments.black_box import targets, transferred_cells
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import CLEAN, UNIT_RANGE, as_named, clean_cells
from purification.experiments.config import AE_GAN_TABLES, COWBOY_TABLES, ConfigError
from purification.experiments.defense_vae import UNSEEN, unseen_cells
from purification.experiments.generator_quality import QUALITY, quality_measurement
from purification.experiments.grids import SWEPT_TABLES
from purification.experiments.methods import settings_of
from purification.experiments.sweeps import (
    SWEEP,
    WHITE_BOX,
    searched_cells,
    table_attacks,
    table_cells,
    white_box_cells,
)
from purification.experiments.table4 import attacked_cells

BLACK_BOX = ("table1", "table2", "defense_vae_table3", "defense_vae_table8")
"""Attacks by way of a substitute."""
WHITE_BOX_TABLES = ("table4", "table12", "defense_vae_table1", "defense_vae_table7")
"""The other threat models."""


def paper_table(catalogue: Catalogue, table: str) -> Table:
    """A table, one of `PAPER_TABLES`, as the config asks for it."""
    wanted = catalogue.config[table]
    if table in SWEPT_TABLES:
        return _swept_table(catalogue, table)
    classifiers = targets(catalogue, table) if table in BLACK_BOX else wanted["classifiers"]
    measurements = [
        measurement(catalogue, table, dataset, seed, classifier, attack)
        for dataset in wanted["datasets"]
        for seed in catalogue.config["seeds"]
        for attack in (CLEAN, *wanted["attacks"])
        for classifier in classifiers
    ]
    shown = tuple(searches(catalogue)) if table == SEARCHES_TABLE else None
    return _table(catalogue, table, measurements, shown)


def _table(
    catalogue: Catalogue,
    table: str,
    measurements: Sequence[Measurement],
    shown: tuple[tuple[int, int], ...] | None,
) -> Table:
    papers = catalogue.printed_numbers(Table(table, ()).paper)
    notes = tuple(table_notes(catalogue, table))
    return Table(table, tuple(measurements), shown, notes, papers)


def cost_measurements(catalogue: Catalogue) -> list[Measurement]:
    """What the figure of accuracy over cost is drawn from, of all seeds."""
    wanted = catalogue.config[COST]
    return [
        measurement(catalogue, COST, dataset, seed, wanted["classifier"], attack)
        for dataset in wanted["datasets"]
        for seed in catalogue.config["seeds"]
        for attack in (CLEAN, wanted["attack"])
    ]


def cost_figure(catalogue: Catalogue) -> Made:
    """The figure of accuracy over cost."""
    measurements = cost_measurements(catalogue)
    digests = [measurement.digest for measurement in measurements]
    job = told({**cost_content(catalogue), "digests": digests}, measurements)
    return Made("results/figures/cost_accuracy.png", job)


def _swept_table(catalogue: Catalogue, table: str) -> Table:
    """Table 3, or one of 8 to 11: what it shows of the measurements of the sweeps."""
    measurements = [
        measurement(
            catalogue, SWEEP, dataset, seed, catalogue.config["sweep"]["classifier"], attack
        )
        for dataset in catalogue.config[table]["datasets"]
        for seed in catalogue.config["seeds"]
        for attack in table_attacks(catalogue, table)
    ]
    return _table(catalogue, table, measurements, table_cells(catalogue, table))


def measurement(
    catalogue: Catalogue, table: str, dataset: str, seed: int, classifier: str, attack: str
) -> Measurement:
    """All cells of a table that share dataset, seed, classifier and attack."""
    if table == QUALITY:
        return quality_measurement(catalogue, dataset, seed, classifier, attack)
    folder = f"results/{dataset}/seed{seed}"
    black_box = table in BLACK_BOX
    known = catalogue.config["attacks"]
    if table != SWEEP and attack not in (CLEAN, *known):
        raise ConfigError(f"no '{attack}' under attacks in the config: {', '.join(known)}")
    if table == SWEEP:
        swept = catalogue.config[SWEEP]["classifier"]
        if classifier != swept:
            raise ConfigError(f"sweep.classifier is {swept!r}: nothing is swept of {classifier!r}")
        cells = searched_cells(catalogue, dataset, seed, attack)
    elif table == WHITE_BOX:
        cells = white_box_cells(catalogue, dataset, seed, classifier, attack)
    elif table == COST:
        cells = cost_cells(catalogue, dataset, seed, classifier, attack)
    elif attack == CLEAN:
        cells = clean_cells(catalogue, table, dataset, seed, classifier, hold_out=black_box)
    elif table == UNSEEN:
        cells = unseen_cells(catalogue, dataset, seed, classifier, attack)
    elif table in AE_GAN_TABLES:
        cells = ae_gan_cells(catalogue, table, dataset, seed, classifier, attack)
    elif black_box:
        cells = transferred_cells(catalogue, table, dataset, seed, classifier, attack)
    else:
        cells = attacked_cells(catalogue, table, dataset, seed, classifier, attack)
    named = (replace(cell, labels=as_named(catalogue, cell.labels)) for cell in cells)
    return Measurement(folder, table, classifier, attack, tuple(named))


def table_notes(catalogue: Catalogue, table: str) -> list[str]:
    """What a reader of the table must know of its settings, a paragraph each."""
    config = catalogue.config
    wanted = config[SWEEP] if table in SWEPT_TABLES else config[table]
    notes = [f"Seeds: {', '.join(map(str, config['seeds']))}."]
    if "oracle" in wanted:
        notes.append(f"Oracle: `{wanted['oracle']}`. Substitutes: {_listed(config['substitute'])}.")
    if table in SWEPT_TABLES:
        notes.append(
            "Other L and R than the defence's, from one search of each set of images; "
            "Defense-GAN-Rec's classifier is the one trained for the defence's own L and R."
        )
    if table in (*WHITE_BOX_TABLES, UNSEEN) and Table(table, ()).paper == "defense_vae":
        notes.append(
            "The paper attacks the bare classifier and calls it a white box: its numbers for "
            "Defense-VAE stand beside our gray box."
        )
    if table in AE_GAN_TABLES:
        notes.append(
            "Gray box: images made against the bare classifier; half-masked images, which need no "
            "model, stand there too. The paper's white box of its searches lies at or above its "
            "gray box and its clean accuracy, so that no gradient can have passed them; ours is "
            "the true one. Its Defense-GAN stands before the same classifier as the others "
            "(appendix B), which is our Orig."
        )
    if table in COWBOY_TABLES:
        notes.append(
            "The paper names no strength of any attack and no threat model: its numbers stand "
            "beside ours in the gray box, at our strengths. `defense_gan` is the same GAN and the "
            "same search without the discriminator, as in the paper's Table 2."
        )
    for attack in wanted.get("attacks") or [wanted["attack"]]:
        notes.append(_attack_note(attack, config["attacks"][attack]))
    for defense in _defenses(wanted):
        settings = config["defenses"][defense]
        notes.append(f"Defense `{defense}`: {_listed(settings, hide=('threat_models',))}.")
        if "generator" in settings:
            generator = settings["generator"]
            networks = config["generators"]
            datasets = config[table]["datasets"]
            notes.append(_generator_note(generator, networks[generator], datasets))
    return notes


def _defenses(wanted: Mapping[str, Any]) -> list[str]:
    """The defences of a table, each once."""
    columns = sorted(wanted.get("trained_on", {}).items())
    unseen = [defense for _, column in columns for _, defense in sorted(column.items())]
    return list(dict.fromkeys([*wanted.get("defenses", ()), *unseen]))


def _attack_note(name: str, settings: Mapping[str, Any]) -> str:
    note = f"Attack `{name}`: {_listed(settings, hide=('images',))}."
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
    for dataset in datasets:
        if other := settings.get("per_dataset", {}).get(dataset):
            note += f" On {dataset}: {_listed(other)}."
    return note


def _listed(settings: Mapping[str, Any], hide: tuple[str, ...] = ()) -> str:
    # Sorted: the order of keys in the config decides nothing. And where a user's files lie is no
    # fact about the numbers.
    hide = (*hide, "files")
    shown = [(key, settings[key]) for key in sorted(settings) if key not in hide]
    return ", ".join(f"{key} {_in_order(value)}" for key, value in shown)


def _in_order(value: Any) -> Any:
    """A setting, the keys of mappings in it sorted."""
    if isinstance(value, Mapping):
        return {key: _in_order(value[key]) for key in sorted(value, key=str)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value
