"""Which L, R and epsilon Defense-GAN's sweeps want: the config's grids as sets of cells.

Tables 3 and 8 to 11, Figures 4 to 7 and a user's own tables look at the same few searches. Every
set of images is searched once, for the cells that any of them wants.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from purification.experiments.papers import SWEPT_FORMS, Study, studies_of, study_of

GRID_FORMS = (*SWEPT_FORMS, "roc", "reconstructions_over_search", "reconstructions_over_epsilon")
"""Tables and figures that are cut from the sweeps."""


@dataclass(frozen=True)
class Grid:
    """Every epsilon with every L and R. `name`: over what it goes. `clean`: whether the images
    without attack are wanted too."""

    name: str
    epsilons: tuple[float, ...]
    steps: tuple[int, ...]
    restarts: tuple[int, ...]
    clean: bool = True

    @property
    def cells(self) -> list[tuple[int, int]]:
        """(L, R) in the config's order."""
        return list(product(self.steps, self.restarts))


def grids_of(config: Mapping[str, Any], target: str) -> list[Grid]:
    """The grids of a table or figure ("table8", "figure4"), in the order in which it shows them."""
    study = study_of(config, target)
    return _grids(config, study) if study else []


def _grids(config: Mapping[str, Any], study: Study) -> list[Grid]:
    own = study.settings
    if study.form in SWEPT_FORMS:
        return [_grid(config, own, "epsilon" if study.form == "over_epsilon" else "search")]
    if study.form == "roc":
        # Its panels over L and over R have the L and R of the tables that it is of.
        over_steps, over_restarts = (config[name] for name in study.of)
        return [
            _grid(config, over_steps, "steps"),
            _grid(config, over_restarts, "restarts"),
            _grid(config, own, "epsilon"),
        ]
    if study.form == "reconstructions_over_search":
        return [
            _grid(config, own["over_steps"], "steps", clean=False),
            _grid(config, own["over_restarts"], "restarts", clean=False),
        ]
    return [_grid(config, own, "epsilon", clean=False)]


def sweep_cells(
    config: Mapping[str, Any], dataset: str, epsilon: float | None
) -> list[tuple[int, int]]:
    """All (L, R) wanted of a data set's images attacked with that strength (None: not attacked),
    in rising order."""
    return sorted(
        {
            cell
            for grid in _all_grids(config, dataset)
            if (grid.clean if epsilon is None else epsilon in grid.epsilons)
            for cell in grid.cells
        }
    )


def sweep_epsilons(config: Mapping[str, Any], dataset: str) -> list[float]:
    """All strengths of the sweeps' attack on a data set, in rising order."""
    return sorted({e for grid in _all_grids(config, dataset) for e in grid.epsilons})


def _all_grids(config: Mapping[str, Any], dataset: str) -> Iterator[Grid]:
    for study in studies_of(config, *GRID_FORMS):
        if dataset in study.settings["datasets"]:
            yield from _grids(config, study)


def _grid(
    config: Mapping[str, Any], section: Mapping[str, Any], name: str, *, clean: bool = True
) -> Grid:
    own = config["attacks"][config["sweep"]["attack"]].get("epsilon")
    epsilons = section.get("epsilons", [own])
    steps, restarts = (
        (value,) if isinstance(value, int) else tuple(value)
        for value in (section["steps"], section["restarts"])
    )
    return Grid(name, tuple(epsilons), steps, restarts, clean)
