"""Each defence against the best of its attackers for each image: which attacked sets are joined."""

from collections.abc import Iterator
from typing import Any

from purification.experiments.artifacts import Cell, Made, Measurement, files_of, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.config import ConfigError
from purification.experiments.methods import norm_of
from purification.experiments.names import base_name
from purification.experiments.papers import ATTACKED_FORMS, studies_of
from purification.experiments.tables import paper_table

THREAT_MODELS = ("gray_box", "white_box", "white_box_bpda", "surrogate")
"""Those whose attacks are on the same images, the first of the test set. (A black-box attacker has
some of these.)"""


def worst_case(catalogue: Catalogue) -> Made:
    """The worst case for reading. Its job is told the summaries (`cells`) of all cells of the
    tables that `worst_case` looks at, of attacks of a bounded strength, each set of images once.

    Randomised defences are left out: which attack is best for an image is known after its draws
    alone, and the best of several by the draws on which they are judged would be a lucky one.
    """
    cells = {
        (cell.classifier.path, cell.images.path, cell.group): cell
        for cell in _attacked(catalogue)
        if cell.labels["threat_model"] in THREAT_MODELS
        and cell.labels["epsilon"] is not None
        and "protocol" not in cell.labels
    }
    summaries = [_with_norm(catalogue, cell) for cell in cells.values()]
    job = told({"cells": summaries}, files_of(cells.values()).values())
    return Made("results/worst_case.md", job)


def _attacked(catalogue: Catalogue) -> Iterator[Cell]:
    """The cells of the config's `worst_case.tables`, or of all tables of attacks on the defences
    themselves; on its `datasets`, or on all. Of a table of other data sets nothing is looked at."""
    settings = catalogue.study("worst_case").settings
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
        for measurement in paper_table(catalogue, name).measurements:
            if isinstance(measurement, Measurement):
                yield from (c for c in measurement.cells if c.labels["dataset"] in datasets)


def _with_norm(catalogue: Catalogue, cell: Cell) -> dict[str, Any]:
    """A cell's summary and, where the strength is no l-inf norm, of which norm it is: only those of
    one norm are joined."""
    attack = catalogue.config["attacks"][base_name(cell.labels["attack"])]
    norm = norm_of(attack) or "unknown"
    return cell.summary if norm == "linf" else {**cell.summary, "norm": norm}
