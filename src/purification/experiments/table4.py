"""Defense-GAN's Tables 4 and 12 as lists of cells, our gray-box and BPDA cells beside the paper's.

Rows: dataset, attack, classifier. The paper's columns: no attack, no defence, Defense-GAN-Rec,
MagNet, adversarial training, attacked in the white box. Ours: the other threat models that the
config lists for a defence, and each defence's accuracy on clean images.
"""

from collections.abc import Iterator

from purification.experiments.artifacts import Cell, Examples
from purification.experiments.catalogue import PLAIN, Catalogue
from purification.experiments.cells import (
    defenses_of,
    named_defense,
    of_attack,
    of_no_defense,
    picture_title,
)


def attacked_cells(
    catalogue: Catalogue, table: str, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Accuracy under one attack, undefended and behind each of the table's defences in each of its
    threat models.

    The gray box of every purifier is one and the same set of images, made against the plain
    classifier: what the attacker has who knows of no defence.
    """
    common = {"dataset": dataset, "seed": seed, "classifier": classifier}
    common |= of_attack(catalogue, attack)
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    bare = catalogue.adversarial(dataset, seed, PLAIN, classifier, attack)
    yield Cell(common | {"threat_model": "white_box"} | of_no_defense(), plain, bare)
    for defense in defenses_of(catalogue, table):
        labels = common | named_defense(catalogue, table, defense)
        deployed = catalogue.deployed(dataset, seed, defense, classifier)
        if not catalogue.purifies(defense):
            bare = catalogue.adversarial(dataset, seed, defense, classifier, attack)
            yield Cell(labels | {"threat_model": "white_box"}, deployed, bare)
            continue
        attacked = catalogue.attacked(dataset, seed, defense, classifier, attack)
        for threat_model in attacked.threat_models:
            here = labels | {"threat_model": threat_model}
            yield Cell(here, deployed, attacked, group=threat_model)


def table4_examples(catalogue: Catalogue) -> list[Examples]:
    """A picture for each dataset: the first seed, classifier and attack of the table, gray box."""
    wanted = catalogue.config["table4"]
    seed, classifier = catalogue.config["seeds"][0], wanted["classifiers"][0]
    return [
        examples(catalogue, dataset, seed, classifier, wanted["attacks"][0])
        for dataset in wanted["datasets"]
    ]


def examples(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, attack: str
) -> Examples:
    """The first test images clean, attacked in the gray box, and after each purifier."""
    data = catalogue.dataset(dataset)
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    bare = catalogue.adversarial(dataset, seed, PLAIN, classifier, attack)
    rows = [
        Cell({"row": "original"}, plain, data, split="test"),
        Cell({"row": attack}, plain, bare),
    ]
    for defense in defenses_of(catalogue, "table4"):
        if catalogue.purifies(defense) and "gray_box" in catalogue.threat_models(defense):
            deployed = catalogue.deployed(dataset, seed, defense, classifier)
            attacked = catalogue.attacked(dataset, seed, defense, classifier, attack)
            rows.append(Cell({"row": defense}, deployed, attacked, group="gray_box"))
    title = f"{dataset}: {picture_title([bare])}"
    return Examples(data, seed, classifier, attack, 10, tuple(rows), title)
