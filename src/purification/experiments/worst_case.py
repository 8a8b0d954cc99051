"""Each defence against the best of its attackers for each image: which attacked sets are joined."""

from typing import Any

from purification.experiments.artifacts import Cell, Made, Measurement, files_of, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.methods import norm_of
from purification.experiments.names import base_name
from purification.experiments.tables import paper_table

THREAT_MODELS = ("gray_box", "white_box", "white_box_bpda", "surrogate")
"""Those whose attacks are on the same images, the first of the test set. (A black-box attacker has
some of these.)"""


def worst_case(catalogue: Catalogue) -> Made:
    """The worst case for reading. Its job is told the summaries (`cells`) of all cells of the
    config's `worst_case.tables` that are attacks of a bounded strength, each set of images once.

    Randomised defences are left out: which attack is best for an image is known after its draws
    alone, and the best of several by the draws on which they are judged would be a lucky one.
    """
    cells = {
        (cell.classifier.path, cell.images.path, cell.group): cell
        for name in catalogue.study("worst_case").settings["tables"]
        for measurement in paper_table(catalogue, name).measurements
        for cell in (measurement.cells if isinstance(measurement, Measurement) else ())
        if cell.labels["threat_model"] in THREAT_MODELS
        and cell.labels["epsilon"] is not None
        and "protocol" not in cell.labels
    }
    summaries = [_with_norm(catalogue, cell) for cell in cells.values()]
    job = told({"cells": summaries}, files_of(cells.values()).values())
    return Made("results/worst_case.md", job)


def _with_norm(catalogue: Catalogue, cell: Cell) -> dict[str, Any]:
    """A cell's summary and, where the strength is no l-inf norm, of which norm it is: only those of
    one norm are joined."""
    attack = catalogue.config["attacks"][base_name(cell.labels["attack"])]
    norm = norm_of(attack) or "unknown"
    return cell.summary if norm == "linf" else {**cell.summary, "norm": norm}
