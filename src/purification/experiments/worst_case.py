"""Each defence against the best of its attackers for each image: which attacked sets are joined."""

from collections.abc import Iterable, Mapping
from typing import Any

from purification.experiments.artifacts import Cell, Made, Measurement, files_of, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.methods import norm_of, settings_of, stated
from purification.experiments.names import base_name
from purification.experiments.tables import paper_table

THREAT_MODELS = ("gray_box", "white_box", "white_box_bpda", "surrogate")
"""Those whose attacks are on the same images, the first of the test set. (A black-box attacker has
some of these.)"""


def worst_case(catalogue: Catalogue) -> Made:
    """The worst case for reading. Its job is told the summaries (`cells`) of all cells of the
    config's `worst_case.tables` that are attacks of a bounded strength, each set of images once;
    and, for the `radii` of `worst_case.l2`, of attacks without a bound, whose images are measured.
    """
    settings = catalogue.study("worst_case").settings
    radii = settings.get("l2", [])
    cells = [
        cell
        for cell in attacked_cells(catalogue, settings["tables"])
        if cell.labels["epsilon"] is not None or (radii and without_bound(catalogue, cell))
    ]
    content = {"cells": [summary(catalogue, cell) for cell in cells]}
    content |= {"radii": radii} if radii else {}
    return Made("results/worst_case.md", told(content, files_of(cells).values()))


def attacked_cells(catalogue: Catalogue, tables: Iterable[str]) -> list[Cell]:
    """All cells of tables that are attacks on the first test images, each set of images once.

    Randomised defences are left out: which attack is best for an image is known after its draws
    alone, and the best of several by the draws on which they are judged would be a lucky one.
    """
    cells: dict[tuple[str, str, str | None], Cell] = {}
    for measurement in (
        one for name in tables for one in paper_table(catalogue, name).measurements
    ):
        for cell in measurement.cells if isinstance(measurement, Measurement) else ():
            if cell.labels["threat_model"] in THREAT_MODELS and "protocol" not in cell.labels:
                cells.setdefault((cell.classifier.path, cell.images.path, cell.group), cell)
    return list(cells.values())


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
