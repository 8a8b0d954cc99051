"""Each defence against the best of its attackers for each image: which attacked sets are joined."""

from collections.abc import Iterator

from purification.experiments.artifacts import Cell, Made, Measurement, files_of, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.tables import paper_table

THREAT_MODELS = ("gray_box", "white_box", "white_box_bpda")
"""Those whose attacks are on the same images, the first of the test set. (A black-box attacker has
some of these.)"""


def worst_case(catalogue: Catalogue) -> Made:
    """The worst case for reading. Its job is told the summaries (`cells`) of all cells of the
    config's `worst_case.tables` that are attacks of a bounded strength, each set of images once."""
    cells = {
        (cell.classifier.path, cell.images.path, cell.group): cell
        for name in catalogue.study("worst_case").settings["tables"]
        for cell in _bounded(catalogue, name)
    }
    summaries = [cell.summary for cell in cells.values()]
    job = told({"cells": summaries}, files_of(cells.values()).values())
    return Made("results/worst_case.md", job)


def _bounded(catalogue: Catalogue, table: str) -> Iterator[Cell]:
    for measurement in paper_table(catalogue, table).measurements:
        for cell in measurement.cells if isinstance(measurement, Measurement) else ():
            labels = cell.labels
            if labels["threat_model"] in THREAT_MODELS and labels["epsilon"] is not None:
                yield cell
