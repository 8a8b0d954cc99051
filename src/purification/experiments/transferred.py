"""Tables of attacks by way of a substitute, as lists of cells, such as Defense-GAN's Table 1.

Rows: dataset, attack, classifier and substitute (a pair such as A/E). Columns: no attack, no
defence and each defence. All are measured on the test images that the attacker does not have.
"""

from collections.abc import Iterator
from typing import Any

from purification.experiments.artifacts import Cell, File
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import defenses_of, named_defense, of_no_defense, of_run
from purification.experiments.names import PLAIN
from purification.experiments.papers import Study


def pairs(study: Study) -> list[tuple[str, str]]:
    """Target and substitute of each row, by their names."""
    return [tuple(pair.split("/")) for pair in study.settings["pairs"]]


def targets(study: Study) -> list[str]:
    """The classifiers that are attacked, each once."""
    return list(dict.fromkeys(target for target, _ in pairs(study)))


def transferred_cells(
    catalogue: Catalogue, study: Study, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Accuracy of one target on the images made against each of its substitutes, undefended and
    behind each defence."""
    common = of_run(catalogue, dataset, seed, classifier, attack) | {"threat_model": "black_box"}
    run: dict[str, Any] = {"dataset": dataset, "seed": seed, "classifier": classifier}
    for target, substitute in pairs(study):
        if target != classifier:
            continue
        for defense in (None, *defenses_of(catalogue, study)):
            # Whom the attacker of the column asks: the plain classifier, or a defence.
            oracle = study.settings["oracle"]
            oracle = {"classifier": PLAIN, "defended": defense or PLAIN}.get(oracle, oracle)
            names: dict[str, Any] = {"oracle": oracle, "substitute": substitute, "attack": attack}
            named = named_defense(catalogue, study, defense) if defense else of_no_defense()
            labels = common | named | {"substitute": substitute, "oracle": oracle}
            images: File = catalogue.black_box(**run, **names)
            deployed = catalogue.deployed(dataset, seed, defense or PLAIN, classifier)
            if defense and catalogue.purifies(defense):
                purifier = catalogue.for_classifier(defense, classifier)
                images = catalogue.purified_black_box(defense=purifier, **run, **names)
            yield Cell(labels, deployed, images)
