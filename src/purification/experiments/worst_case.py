"""Each defence against the best of its attackers for each image: which attacked sets are joined."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from purification.experiments.artifacts import Cell, Made, Measurement, files_of, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.config import ConfigError
from purification.experiments.methods import norm_of, settings_of, stated
from purification.experiments.names import base_name
from purification.experiments.papers import ATTACKED_FORMS, studies_of
from purification.experiments.quirks import CONCERNED
from purification.experiments.tables import paper_table

THREAT_MODELS = ("gray_box", "white_box", "white_box_bpda", "surrogate")
"""Those whose attacks are on the same images, the first of the test set. (A black-box attacker has
some of these.)"""


def worst_case(catalogue: Catalogue) -> Made:
    """The worst case for reading. Its job is told the summaries (`cells`) of all cells of the
    tables that `worst_case` looks at, of attacks of a bounded strength, each set of images once;
    and, for the `radii` of `worst_case.l2`, of attacks without a bound, whose images are measured.
    """
    settings = catalogue.study("worst_case").settings
    radii = settings.get("l2", [])
    cells = [
        cell
        for cell in attacked_cells(catalogue, _attacked(catalogue, settings))
        if cell.labels["epsilon"] is not None or (radii and without_bound(catalogue, cell))
    ]
    content = {"cells": [summary(catalogue, cell) for cell in cells]}
    content |= {"radii": radii} if radii else {}
    return Made("results/worst_case.md", told(content, files_of(cells).values()))


def _attacked(catalogue: Catalogue, settings: Mapping[str, Any]) -> Iterator[Cell]:
    """The cells of the config's `worst_case.tables`, or of all tables of attacks on the defences
    themselves; on its `datasets`, or on all. Of a table of other data sets nothing is looked at."""
    found = {study.name: study for study in studies_of(catalogue.config, *ATTACKED_FORMS)}
    datasets = set(settings.get("datasets", catalogue.config["datasets"]))
    names = settings.get("tables", found)
    if not names:
        listed = " or ".join(ATTACKED_FORMS)
        raise ConfigError(f"worst_case: the config has no table of the form {listed} to look at")
    for name in names:
        own = found[name].settings.get("datasets")
        if "datasets" in settings and isinstance(own, list) and datasets.isdisjoint(own):
            continue
        yield from (c for c in cells_of(catalogue, name) if c.labels["dataset"] in datasets)


def cells_of(catalogue: Catalogue, table: str) -> Iterator[Cell]:
    """All cells of a table."""
    for measurement in paper_table(catalogue, table).measurements:
        if isinstance(measurement, Measurement):
            yield from measurement.cells


def attacked_cells(catalogue: Catalogue, cells: Iterable[Cell]) -> list[Cell]:
    """Those that are attacks on the first test images, each set of images once.

    Randomised defences are left out: which attack is best for an image is known after its draws
    alone, and the best of several by the draws on which they are judged would be a lucky one. So
    are those of a defence with quirks: they are no attackers of the defence itself.
    """
    found: dict[tuple[str, str, str | None], Cell] = {}
    for cell in cells:
        quirk = not cell.all_quirks.isdisjoint(CONCERNED)
        if quirk or "protocol" in cell.labels:
            continue
        if cell.labels["threat_model"] in THREAT_MODELS:
            key = (cell.classifier.path, cell.images.path, cell.group)
            # What shares the set of another threat model (`AttackedDefense.again`) is that attack.
            if key not in found or cell.group in (None, cell.labels["threat_model"]):
                found[key] = cell
    return list(found.values())


def without_bound(catalogue: Catalogue, cell: Cell) -> bool:
    """Whether a cell's attack looks for a small change, which it has no bound of: not one that
    looks at no model."""
    attack = _attack(catalogue, cell)
    known = stated("attacks", attack["method"])
    return "epsilon" not in settings_of(attack) and not known.get("model_free", not known)


def summary(catalogue: Catalogue, cell: Cell) -> dict[str, Any]:
    """A cell's summary and, where the strength is no l-inf norm, of which norm it is: only those of
    one norm are joined."""
    norm = norm_of(_attack(catalogue, cell)) or "unknown"
    if without_bound(catalogue, cell):
        norm = "none"
    return cell.summary if norm == "linf" else {**cell.summary, "norm": norm}


def _attack(catalogue: Catalogue, cell: Cell) -> Mapping[str, Any]:
    found: Mapping[str, Any] = catalogue.config["attacks"][base_name(cell.labels["attack"])]
    return found
