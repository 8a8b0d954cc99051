"""Which L, R and epsilon Defense-GAN's sweeps want: the config's grids as sets of cells.

Tables 3 and 8 to 11 and Figures 4 to 7 look at the same few searches. Every set of images is
searched once, for the cells that any of them wants.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from purification.experiments.methods import settings_of

SWEPT_TABLES = ("table3", "table8", "table9", "table10", "table11")
ROC_FIGURES = {"figure4": ("table8", "table10"), "figure5": ("table9", "table11")}
"""Their panels over L and over R have the L and R of these tables."""


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
    own = config[target]
    if target in SWEPT_TABLES:
        return [_grid(config, own, "epsilon" if target == "table3" else "search")]
    if target in ROC_FIGURES:
        over_steps, over_restarts = ROC_FIGURES[target]
        return [
            _grid(config, config[over_steps], "steps"),
            _grid(config, config[over_restarts], "restarts"),
            _grid(config, own, "epsilon"),
        ]
    if target == "figure6":
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


def _targets() -> tuple[str, ...]:
    return (*SWEPT_TABLES, *ROC_FIGURES, "figure6", "figure7")


def _all_grids(config: Mapping[str, Any], dataset: str) -> Iterator[Grid]:
    for target in _targets():
        if dataset in config[target]["datasets"]:
            yield from grids_of(config, target)


def _grid(
    config: Mapping[str, Any], section: Mapping[str, Any], name: str, *, clean: bool = True
) -> Grid:
    own = settings_of(config["attacks"][config["sweep"]["attack"]]).get("epsilon")
    epsilons = section.get("epsilons", [own])
    steps, restarts = (
        (value,) if isinstance(value, int) else tuple(value)
        for value in (section["steps"], section["restarts"])
    )
    return Grid(name, tuple(epsilons), steps, restarts, clean)
