"""Defense-GAN's Tables 1 and 2 as lists of cells: attacks by way of a substitute.

Rows: dataset, attack, classifier and substitute (a pair such as A/E). Columns: no attack, no
defence and each defence. All are measured on the test images that the attacker does not have.
"""

from collections.abc import Iterator

from purification.experiments.artifacts import Cell
from purification.experiments.catalogue import PLAIN, Catalogue
from purification.experiments.cells import defenses_of, named_defense, of_attack, of_no_defense


def pairs(catalogue: Catalogue, table: str) -> list[tuple[str, str]]:
    """Target and substitute of each row, by their names."""
    return [tuple(pair.split("/")) for pair in catalogue.config[table]["pairs"]]


def targets(catalogue: Catalogue, table: str) -> list[str]:
    """The classifiers that are attacked, each once."""
    return list(dict.fromkeys(target for target, _ in pairs(catalogue, table)))


def transferred_cells(
    catalogue: Catalogue, table: str, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Accuracy of one target on the images made against each of its substitutes, undefended and
    behind each defence."""
    common = {"dataset": dataset, "seed": seed, "classifier": classifier}
    common |= of_attack(catalogue, attack) | {"threat_model": "black_box"}
    run = {"dataset": dataset, "seed": seed, "classifier": classifier}
    for target, substitute in pairs(catalogue, table):
        if target != classifier:
            continue
        for defense in (None, *defenses_of(catalogue, table)):
            oracle = _oracle(catalogue.config[table]["oracle"], defense)
            names = {"oracle": oracle, "substitute": substitute, "attack": attack}
            named = named_defense(catalogue, table, defense) if defense else of_no_defense()
            labels = common | named
            labels |= {"substitute": substitute, "oracle": oracle}
            if defense is None:
                deployed = catalogue.classifier(dataset, seed, PLAIN, classifier)
            else:
                deployed = catalogue.deployed(dataset, seed, defense, classifier)
            if defense is None or not catalogue.purifies(defense):
                images = catalogue.black_box(**run, **names)
            else:
                purifier = catalogue.for_classifier(defense, classifier)
                images = catalogue.purified_black_box(defense=purifier, **run, **names)
            yield Cell(labels, deployed, images)


def _oracle(setting: str, defense: str | None) -> str:
    """Whom the attacker of a column asks: "plain", or a defence."""
    if setting == "classifier":
        return PLAIN
    if setting == "defended":
        return defense or PLAIN
    return setting
