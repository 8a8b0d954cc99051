"""Detection by the purifier's score: the detectors of the config's sweeps and of Table 4."""

from collections.abc import Iterator
from typing import Any

from purification.experiments.artifacts import Detection, Detector, Made, Scored, cell_group, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import CLEAN, defenses_of, of_detector
from purification.experiments.grids import sweep_cells
from purification.experiments.sweeps import searched, sweep_attacks


def detections(catalogue: Catalogue) -> list[Detection]:
    """One for each data set and seed."""
    return [detection(catalogue, *run) for run in catalogue.runs("detection")]


def detection_table(catalogue: Catalogue) -> Made:
    """The detectors of all runs in one table."""
    runs = detections(catalogue)
    content: dict[str, Any] = {"digests": [run.digest for run in runs]}
    content |= {"papers": catalogue.printed_numbers("defense_gan")}
    return Made("results/detection.csv", told(content, runs))


def detection(catalogue: Catalogue, dataset: str, seed: int) -> Detection:
    """All detectors of a run."""
    # What was searched of the attacked images and of the clean ones.
    config, clean = catalogue.config, sweep_cells(catalogue.config, dataset, None)
    detectors = [
        swept_detector(catalogue, dataset, seed, attack, cell)
        for attack in sweep_attacks(catalogue, dataset)
        for cell in sweep_cells(config, dataset, catalogue.attack(attack).settings["epsilon"])
        if cell in clean
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
    labels = {name: wanted[name] for name in ("classifier", "substitute", "attack")}
    labels |= {"dataset": dataset, "seed": seed, "threat_model": "black_box"}
    labels |= {"epsilon": catalogue.attack(attack).settings["epsilon"], "defense": clean.defense}
    labels |= {"iterations_L": cell[0], "restarts_R": cell[1]}
    return Detector(
        of_detector(catalogue, clean.defense, labels),
        Scored(validation, group),
        Scored(clean, group, hold_out=True),
        Scored(attacked, group),
    )


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
                purifier = catalogue.for_classifier(defense, classifier)
                validation, clean = (
                    Scored(catalogue.purified_images(dataset, seed, purifier, split))
                    for split in ("validation", "test")
                )
                attacked = catalogue.attacked_defense(dataset, seed, defense, classifier, attack)
                named = {"dataset": dataset, "seed": seed, "classifier": classifier}
                named |= {"attack": attack, "epsilon": attacked.attack.settings.get("epsilon")}
                for model, group in attacked.sets.items():
                    labels = of_detector(catalogue, defense, named | {"threat_model": model})
                    yield Detector(labels, validation, clean, Scored(attacked, group))
