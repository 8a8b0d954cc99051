"""Defense-GAN's Figures 3 to 8: what each shows, and the files that it is drawn from."""

from collections.abc import Callable, Sequence
from typing import Any

from purification.experiments.artifacts import (
    AdversarialSet,
    Dataset,
    Figure,
    Sweep,
    cell_group,
)
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import titled
from purification.experiments.config import ConfigError
from purification.experiments.detection import swept_detector
from purification.experiments.grids import Grid, grids_of
from purification.experiments.sweeps import WHITE_BOX, searched
from purification.experiments.tables import measurement, paper_table

FIGURES = ("figure3", "figure4", "figure5", "figure6", "figure7", "figure8")
VARIED = {"steps": "iterations_L", "restarts": "restarts_R", "epsilon": "epsilon"}
"""The column of what a grid goes over."""
SHOWN = 5
"""Images of each data set in Figures 6 and 7."""


def paper_figure(catalogue: Catalogue, figure: str) -> Figure:
    """A figure, one of `FIGURES`, as the config asks for it."""
    make: dict[str, Callable[[Catalogue, str], Figure]] = {
        "figure3": _accuracy_over_search,
        "figure4": _roc,
        "figure5": _roc,
        "figure6": _reconstructions_over_search,
        "figure7": _reconstructions_over_epsilon,
        "figure8": _white_box_over_steps,
    }
    return make[figure](catalogue, figure)


def _accuracy_over_search(catalogue: Catalogue, figure: str) -> Figure:
    """Figure 3: Tables 8 and 10, of the first data set that both have."""
    over_steps, over_restarts = (catalogue.config[name] for name in ("table8", "table10"))
    [dataset] = [d for d in over_steps["datasets"] if d in over_restarts["datasets"]][:1]
    tables = [paper_table(catalogue, name) for name in ("table8", "table10")]
    content = {
        "dataset": dataset,
        "steps": over_restarts["steps"],
        "restarts": over_steps["restarts"],
        "digests": [table.digest for table in tables],
    }
    return Figure(figure, content, tuple(table.long for table in tables))


def _roc(catalogue: Catalogue, figure: str) -> Figure:
    """Figures 4 and 5: the first seed's detectors, over L, over R and over epsilon."""
    [dataset] = catalogue.config[figure]["datasets"]
    seed, attack = catalogue.config["seeds"][0], catalogue.config["sweep"]["attack"]
    panels = [
        (
            VARIED[grid.name],
            [
                swept_detector(catalogue, dataset, seed, catalogue.attack_at(attack, epsilon), cell)
                for epsilon in grid.epsilons
                for cell in grid.cells
            ],
        )
        for grid in grids_of(catalogue.config, figure)
    ]
    content = {"panels": [[varied, [d.job for d in detectors]] for varied, detectors in panels]}
    content |= {"papers": catalogue.printed_numbers("defense_gan")}
    return Figure(figure, content)


def _reconstructions_over_search(catalogue: Catalogue, figure: str) -> Figure:
    """Figure 6: the same attacked images at R = 1 over L, and at one L over R."""
    attack = catalogue.config["sweep"]["attack"]
    over_steps, over_restarts = grids_of(catalogue.config, figure)

    def blocks(dataset: str, seed: int) -> list[tuple[str, list[dict[str, Any]]]]:
        sweep = searched(catalogue, dataset, seed, attack)
        return [
            ("", [_original(catalogue, dataset), _attacked(sweep.attacked, "attacked")]),
            (_shared("R", over_steps.restarts), _columns(sweep, over_steps, "L")),
            (_shared("L", over_restarts.steps), _columns(sweep, over_restarts, "R")),
        ]

    return _pictures(catalogue, figure, blocks)


def _reconstructions_over_epsilon(catalogue: Catalogue, figure: str) -> Figure:
    """Figure 7: images attacked more and more strongly, each beside its reconstruction."""
    attack = catalogue.config["sweep"]["attack"]
    [grid] = grids_of(catalogue.config, figure)

    def blocks(dataset: str, seed: int) -> list[tuple[str, list[dict[str, Any]]]]:
        made = [("", [_original(catalogue, dataset)])]
        for epsilon in grid.epsilons:
            sweep = searched(catalogue, dataset, seed, catalogue.attack_at(attack, epsilon))
            reconstruction = _columns(sweep, grid, "")[0] | {"header": "G(z*)"}
            sources = [_attacked(sweep.attacked, "attacked"), reconstruction]
            made.append((f"ε = {epsilon:g}", sources))
        return made

    return _pictures(catalogue, figure, blocks)


def _white_box_over_steps(catalogue: Catalogue, figure: str) -> Figure:
    """Figure 8."""
    wanted = catalogue.config[figure]
    [dataset] = wanted["datasets"]
    measurements = [
        measurement(catalogue, WHITE_BOX, dataset, seed, classifier, wanted["attack"])
        for seed in catalogue.config["seeds"]
        for classifier in wanted["classifiers"]
    ]
    if not any(m.cells for m in measurements):
        place = f"defenses.{wanted['defense']}.threat_models"
        raise ConfigError(f"{place}: Figure 8 needs white_box or white_box_bpda")
    restarts = catalogue.config["defenses"][wanted["defense"]]["restarts"]
    content = {
        "restarts": restarts,
        "cells": [[steps, restarts] for steps in wanted["steps"]],
        "digests": {m.path: m.digest for m in measurements},
        "papers": catalogue.printed_numbers("defense_gan"),
    }
    return Figure(figure, content, tuple(measurements))


def _pictures(
    catalogue: Catalogue,
    figure: str,
    blocks: Callable[[str, int], Sequence[tuple[str, list[dict[str, Any]]]]],
) -> Figure:
    """A figure of images: the blocks of each data set of the config, of its first seed."""
    seed = catalogue.config["seeds"][0]
    datasets = [blocks(dataset, seed) for dataset in catalogue.config[figure]["datasets"]]
    content = {"images": SHOWN, "blocks": [[list(block) for block in d] for d in datasets]}
    return Figure(figure, titled(content))


def _original(catalogue: Catalogue, dataset: str) -> dict[str, Any]:
    data: Dataset = catalogue.dataset(dataset)
    return data.shown("original") | {"split": "test", "hold_out": True}


def _attacked(attacked: AdversarialSet | None, header: str) -> dict[str, Any]:
    assert attacked is not None
    return attacked.shown(header)


def _columns(sweep: Sweep, grid: Grid, varied: str) -> list[dict[str, Any]]:
    values = {"L": grid.steps, "R": grid.restarts}.get(varied, grid.steps)
    return [
        sweep.shown(f"{varied} = {value}") | {"group": cell_group(*cell)}
        for value, cell in zip(values, grid.cells, strict=True)
    ]


def _shared(name: str, values: Sequence[int]) -> str:
    return ", ".join(f"{name} = {value}" for value in values)
