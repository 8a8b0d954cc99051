"""Accuracy over the l2 norm of attacks that nothing bounds: which attacked sets are looked at."""

from purification.experiments.artifacts import Made, files_of, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.worst_case import attacked_cells, cells_of, summary, without_bound


def accuracy_l2(catalogue: Catalogue) -> Made:
    """The figure. Its job is told the summaries (`cells`) of all cells of the config's
    `accuracy_l2.tables` whose attack has no bound, each set of images once."""
    settings = catalogue.study("accuracy_l2").settings
    attacked = attacked_cells(cells_of(catalogue, settings["tables"]))
    cells = [cell for cell in attacked if without_bound(catalogue, cell)]
    content = {
        "cells": [summary(catalogue, cell) for cell in cells],
        "largest_radius": settings["largest_radius"],
    }
    return Made("results/figures/accuracy_l2.png", told(content, files_of(cells).values()))
