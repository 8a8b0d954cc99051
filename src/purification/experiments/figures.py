"""The papers' figures by their forms: what each shows, and the files that it is drawn from."""

from collections.abc import Callable, Sequence
from typing import Any

from purification.experiments.ae_gan import (
    corrupted_pictures,
    one_pass_detection,
    purified_pictures,
    samples,
)
from purification.experiments.artifacts import (
    AdversarialSet,
    Dataset,
    Figure,
    Sweep,
    cell_group,
)
from purification.experiments.catalogue import Catalogue
from purification.experiments.config import ConfigError
from purification.experiments.cowboy import cleaned_pictures, over_training, scores, toy
from purification.experiments.defense_vae import finetuning, vae_pictures
from purification.experiments.detection import swept_detector
from purification.experiments.grids import Grid, grids_of
from purification.experiments.papers import Study
from purification.experiments.sweeps import searched
from purification.experiments.tables import measurement, paper_table

VARIED = {"steps": "iterations_L", "restarts": "restarts_R", "epsilon": "epsilon"}
"""The column of what a grid goes over."""
SHOWN = 5
"""Images of each data set in Figures 6 and 7."""


def paper_figure(catalogue: Catalogue, name: str) -> Figure:
    """A figure of a paper, as the config asks for it. What is not over seeds is of the first."""
    study = catalogue.study(name)
    if study.form not in _MAKE:
        raise ConfigError(f"{name} is no figure")
    return _MAKE[study.form](catalogue, study, catalogue.config["seeds"][0])


def _accuracy_over_search(catalogue: Catalogue, study: Study, _: int) -> Figure:
    """A table over L and one over R, of the first data set that both have."""
    over_steps, over_restarts = (catalogue.study(name).settings for name in study.of)
    [dataset] = [d for d in over_steps["datasets"] if d in over_restarts["datasets"]][:1]
    tables = [paper_table(catalogue, name) for name in study.of]
    content = {
        "dataset": dataset,
        "steps": over_restarts["steps"],
        "restarts": over_steps["restarts"],
        "digests": [table.digest for table in tables],
    }
    return Figure(study, content, tuple(table.long for table in tables))


def _roc(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """One seed's detectors, over L, over R and over epsilon."""
    [dataset] = study.settings["datasets"]
    attack = catalogue.study("sweep").settings["attack"]
    panels = [
        (
            VARIED[grid.name],
            [
                swept_detector(catalogue, dataset, seed, catalogue.attack_at(attack, epsilon), cell)
                for epsilon in grid.epsilons
                for cell in grid.cells
            ],
        )
        for grid in grids_of(catalogue.config, study.name)
    ]
    content = {"panels": [[varied, [d.job for d in detectors]] for varied, detectors in panels]}
    content |= {"papers": catalogue.printed_numbers(study.paper)}
    return Figure(study, content)


def _reconstructions_over_search(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """The same attacked images at R = 1 over L, and at one L over R."""
    attack = catalogue.study("sweep").settings["attack"]
    over_steps, over_restarts = grids_of(catalogue.config, study.name)

    def blocks(dataset: str) -> list[list[Any]]:
        sweep = searched(catalogue, dataset, seed, attack)
        return [
            ["", [_original(catalogue, dataset), _attacked(sweep.attacked, "attacked")]],
            [_shared("R", over_steps.restarts), _columns(sweep, over_steps, "L")],
            [_shared("L", over_restarts.steps), _columns(sweep, over_restarts, "R")],
        ]

    return _pictures(study, blocks)


def _reconstructions_over_epsilon(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """Images attacked more and more strongly, each beside its reconstruction."""
    attack = catalogue.study("sweep").settings["attack"]
    [grid] = grids_of(catalogue.config, study.name)

    def blocks(dataset: str) -> list[list[Any]]:
        made: list[list[Any]] = [["", [_original(catalogue, dataset)]]]
        for epsilon in grid.epsilons:
            sweep = searched(catalogue, dataset, seed, catalogue.attack_at(attack, epsilon))
            reconstruction = _columns(sweep, grid, "")[0] | {"header": "G(z*)"}
            sources = [_attacked(sweep.attacked, "attacked"), reconstruction]
            made.append([f"ε = {epsilon:g}", sources])
        return made

    return _pictures(study, blocks)


def _white_box_over_steps(catalogue: Catalogue, study: Study, _: int) -> Figure:
    """Accuracy of several classifiers behind one search, attacked through it, over L."""
    wanted = study.settings
    [dataset] = wanted["datasets"]
    measurements = [
        measurement(catalogue, study.name, dataset, seed, classifier, wanted["attack"])
        for seed in catalogue.config["seeds"]
        for classifier in wanted["classifiers"]
    ]
    if not any(m.cells for m in measurements):
        place = f"defenses.{wanted['defense']}.threat_models"
        raise ConfigError(f"{place}: {study.printed} needs white_box or white_box_bpda")
    restarts = catalogue.config["defenses"][wanted["defense"]]["restarts"]
    content = {
        "restarts": restarts,
        "cells": [[steps, restarts] for steps in wanted["steps"]],
        "digests": {m.path: m.digest for m in measurements},
        "papers": catalogue.printed_numbers(study.paper),
    }
    return Figure(study, content, tuple(measurements))


def _pictures(study: Study, blocks: Callable[[str], list[list[Any]]]) -> Figure:
    """A figure of images: the blocks of each of its data sets."""
    made = [blocks(dataset) for dataset in study.settings["datasets"]]
    return Figure(study, {"images": SHOWN, "blocks": made})


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


_MAKE: dict[str, Callable[[Catalogue, Study, int], Figure]] = {
    "accuracy_over_search": _accuracy_over_search,
    "roc": _roc,
    "reconstructions_over_search": _reconstructions_over_search,
    "reconstructions_over_epsilon": _reconstructions_over_epsilon,
    "white_box_over_steps": _white_box_over_steps,
    "gray_box_pictures": vae_pictures,
    "black_box_pictures": vae_pictures,
    "finetuning": finetuning,
    "one_pass_detection": one_pass_detection,
    "samples": samples,
    "corrupted_pictures": corrupted_pictures,
    "purified_pictures": purified_pictures,
    "toy": toy,
    "scores": scores,
    "low_scores": scores,
    "cleaned_pictures": cleaned_pictures,
    "cleaning_over_training": over_training,
    "scores_over_training": over_training,
}
"""What makes a figure of each form, of a study and a seed."""
