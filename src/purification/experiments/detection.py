"""Detection by the purifier's score: the detectors of the config's sweeps and of Table 4."""

from collections.abc import Iterator, Mapping
from typing import Any

from purification.experiments.artifacts import (
    AttackedDefense,
    Detection,
    Detector,
    Made,
    Scored,
    cell_group,
    told,
)
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import CLEAN, NOT_AS_NAMED, as_named, defenses_of, of_defense
from purification.experiments.grids import sweep_cells
from purification.experiments.sweeps import searched, sweep_attacks


def detections(catalogue: Catalogue) -> list[Detection]:
    """One for each data set and seed."""
    return [
        detection(catalogue, dataset, seed)
        for dataset in catalogue.study("detection").settings["datasets"]
        for seed in catalogue.config["seeds"]
    ]


def detection_table(catalogue: Catalogue) -> Made:
    """The detectors of all runs in one table."""
    runs = detections(catalogue)
    content: dict[str, Any] = {"digests": [run.digest for run in runs]}
    content |= {"papers": catalogue.printed_numbers("defense_gan")}
    return Made("results/detection.csv", told(content, runs))


def detection(catalogue: Catalogue, dataset: str, seed: int) -> Detection:
    """All detectors of a run."""
    detectors = [
        swept_detector(catalogue, dataset, seed, attack, cell)
        for attack in sweep_attacks(catalogue, dataset)
        for cell in _cells(catalogue, dataset, attack)
    ]
    if dataset in catalogue.study("table4").settings["datasets"]:
        detectors += _of_table4(catalogue, dataset, seed)
    repeats = catalogue.study("detection").settings["repeats"]
    return Detection(catalogue.dataset(dataset), seed, repeats, tuple(detectors))


def swept_detector(
    catalogue: Catalogue, dataset: str, seed: int, attack: str, cell: tuple[int, int]
) -> Detector:
    """The reconstruction error of the search with that L and R, under the sweeps' attack."""
    wanted = catalogue.study("sweep").settings
    clean, attacked = (searched(catalogue, dataset, seed, name) for name in (CLEAN, attack))
    validation = catalogue.clean_sweep(dataset, seed, clean.defense, "validation")
    group = cell_group(*cell)
    labels = {
        "dataset": dataset,
        "seed": seed,
        "classifier": wanted["classifier"],
        "attack": wanted["attack"],
        "epsilon": catalogue.attack(attack).settings["epsilon"],
        "threat_model": "black_box",
        "defense": clean.defense,
        "iterations_L": cell[0],
        "restarts_R": cell[1],
    }
    labels |= _further(of_defense(catalogue, clean.defense), substitute=wanted["substitute"])
    return Detector(
        _named(catalogue, labels),
        Scored(validation, group),
        Scored(clean, group, hold_out=True),
        Scored(attacked, group),
    )


def _cells(catalogue: Catalogue, dataset: str, attack: str) -> list[tuple[int, int]]:
    """What was searched of the attacked images and of the clean ones."""
    epsilon = catalogue.attack(attack).settings["epsilon"]
    clean = set(sweep_cells(catalogue.config, dataset, None))
    return [cell for cell in sweep_cells(catalogue.config, dataset, epsilon) if cell in clean]


def _of_table4(catalogue: Catalogue, dataset: str, seed: int) -> Iterator[Detector]:
    """The score of each purifier of Table 4 under its attacks, in each threat model.

    A redeployed purifier gives its images the scores that it gives them where it is deployed first.
    """
    study = catalogue.study("table4")
    table = study.settings
    for defense in defenses_of(catalogue, study):
        if not catalogue.purifies(defense) or catalogue.deployment_of(defense) != defense:
            continue
        for attack in table["attacks"]:
            for classifier in table["classifiers"]:
                attacked = catalogue.attacked(dataset, seed, defense, classifier, attack)
                yield from _of_attacked(catalogue, defense, classifier, attacked)


def _of_attacked(
    catalogue: Catalogue, defense: str, classifier: str, attacked: AttackedDefense
) -> Iterator[Detector]:
    purifier = catalogue.for_classifier(defense, classifier)
    run = (attacked.dataset.name, attacked.seed, purifier)
    validation, clean = (
        Scored(catalogue.purified_images(*run, split)) for split in ("validation", "test")
    )
    named = of_defense(catalogue, defense)
    for threat_model in attacked.threat_models:
        labels = {
            "dataset": attacked.dataset.name,
            "seed": attacked.seed,
            "classifier": classifier,
            "attack": attacked.attack.name,
            "epsilon": attacked.attack.settings.get("epsilon"),
            "threat_model": threat_model,
            **{name: named[name] for name in ("defense", "iterations_L", "restarts_R")},
        }
        labels |= _further(named)
        labels = _named(catalogue, labels)
        yield Detector(labels, validation, clean, Scored(attacked, threat_model))


def _further(defense: Mapping[str, Any], **labels: str) -> dict[str, Any]:
    """What else decides whether a detector is what its labels say."""
    return labels | {name: defense[name] for name in (NOT_AS_NAMED,) if name in defense}


def _named(catalogue: Catalogue, labels: Mapping[str, Any]) -> dict[str, Any]:
    """`as_named` of a detector's labels, which have no substitute."""
    named = as_named(catalogue, labels)
    return {name: value for name, value in named.items() if name != "substitute"}
