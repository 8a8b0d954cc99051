"""The papers' figures by their forms: what each shows, and the files that it is drawn from."""

from collections.abc import Callable
from itertools import product
from typing import Any

from purification.experiments.ae_gan import one_pass_detection, samples
from purification.experiments.artifacts import Figure
from purification.experiments.catalogue import Catalogue
from purification.experiments.config import ConfigError
from purification.experiments.cowboy import over_training, scores, toy
from purification.experiments.defense_vae import finetuning
from purification.experiments.detection import swept_detector
from purification.experiments.grids import grids_of
from purification.experiments.papers import PICTURE_FORMS, Study
from purification.experiments.pictures import corrupted_pictures, pictures
from purification.experiments.tables import measurement, paper_table

VARIED = {"steps": "iterations_L", "restarts": "restarts_R", "epsilon": "epsilon"}
"""The column of what a grid goes over."""


def paper_figure(catalogue: Catalogue, name: str) -> Figure:
    """A figure of a paper, as the config asks for it. What is not over seeds is of the first."""
    study = catalogue.study(name)
    if study.form not in _MAKE:
        raise ConfigError(f"{name} is no figure")
    return _MAKE[study.form](catalogue, study, catalogue.config["seeds"][0])


def _accuracy_over_search(catalogue: Catalogue, study: Study, _: int) -> Figure:
    """A table over L and one over R, of the first data set that both have."""
    tables = [paper_table(catalogue, name) for name in study.of]
    over_steps, over_restarts = (table.study.settings for table in tables)
    [dataset] = [d for d in over_steps["datasets"] if d in over_restarts["datasets"]][:1]
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
    panels: list[list[Any]] = []
    for grid in grids_of(catalogue.config, study.name):
        attacks = [catalogue.attack_at(attack, epsilon) for epsilon in grid.epsilons]
        swept = ((dataset, seed, *of) for of in product(attacks, grid.cells))
        panels.append([VARIED[grid.name], [swept_detector(catalogue, *of).job for of in swept]])
    return Figure(study, {"panels": panels, "papers": catalogue.printed_numbers(study.paper)})


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


_MAKE: dict[str, Callable[[Catalogue, Study, int], Figure]] = {
    **dict.fromkeys(PICTURE_FORMS, pictures),
    "corrupted_pictures": corrupted_pictures,
    "accuracy_over_search": _accuracy_over_search,
    "roc": _roc,
    "white_box_over_steps": _white_box_over_steps,
    "finetuning": finetuning,
    "one_pass_detection": one_pass_detection,
    "samples": samples,
    "toy": toy,
    "scores": scores,
    "low_scores": scores,
    "cleaning_over_training": over_training,
    "scores_over_training": over_training,
}
"""What makes a figure of each form, of a study and a seed."""
