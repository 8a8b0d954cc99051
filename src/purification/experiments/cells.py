"""What the cells of all tables share: how a defence is named, and the accuracies without attack."""

from collections.abc import Iterator
from typing import Any

from purification.experiments.artifacts import Cell
from purification.experiments.catalogue import PLAIN, Catalogue

CLEAN = "none"
"""Attack and defence of a cell that has none."""
UNIT_RANGE = [0, 1]
"""The range of our images."""


def clean_cells(
    catalogue: Catalogue, table: str, dataset: str, seed: int, classifier: str, *, hold_out: bool
) -> Iterator[Cell]:
    """Accuracy on clean test images, undefended and behind each defence of the table.

    `hold_out`: without the images that the black-box attacker has.
    """
    data = catalogue.dataset(dataset)
    common = {"dataset": dataset, "seed": seed, "classifier": classifier, "attack": CLEAN}
    common |= {"epsilon": None, "threat_model": "none"}
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    yield Cell(common | of_no_defense(), plain, data, split="test", hold_out=hold_out)
    for defense in defenses_of(catalogue, table):
        labels = common | of_defense(catalogue, defense)
        deployed = catalogue.deployed(dataset, seed, defense, classifier)
        if catalogue.purifies(defense):
            purifier = catalogue.for_classifier(defense, classifier)
            purified = catalogue.purified_images(dataset, seed, purifier, "test")
            yield Cell(labels, deployed, purified, hold_out=hold_out)
        else:
            yield Cell(labels, deployed, data, split="test", hold_out=hold_out)


def defenses_of(catalogue: Catalogue, table: str) -> list[str]:
    """The table's defences. Where a redeployed one deploys just what another does (both the plain
    classifier, say), it would fill the same column again, and is left out."""
    columns = {}
    for defense in catalogue.config[table].get("defenses", ()):
        columns.setdefault(tuple(of_defense(catalogue, defense).values()), defense)
    return list(columns.values())


def of_attack(catalogue: Catalogue, attack: str) -> dict[str, Any]:
    """The columns that name an attack: its key in the config and its strength as it stands there.

    Where these are not what they seem, two more: `paper_attack`, the name by which it is compared
    with a paper's, and `pixel_range`, the range of images in whose units the strength is.
    """
    settings = catalogue.config["attacks"][attack]
    labels = {"attack": attack, "epsilon": catalogue.attack(attack).settings.get("epsilon")}
    if "paper_name" in settings:
        labels["paper_attack"] = settings["paper_name"]
    if settings.get("pixel_range", UNIT_RANGE) != UNIT_RANGE:
        labels["pixel_range"] = str(list(settings["pixel_range"]))
    return labels


def of_no_defense() -> dict[str, Any]:
    """The columns that name a defence, where there is none."""
    return {"defense": "none", "variant": "", "iterations_L": None, "restarts_R": None}


def of_defense(catalogue: Catalogue, defense: str) -> dict[str, Any]:
    """The columns that name a defence, in the vocabulary of resources/papers."""
    name = catalogue.deployment_of(defense)
    settings = catalogue.config["defenses"][name]
    classifier = catalogue.config["defenses"][defense].get("classifier")
    name, variant = settings.get("column", name), ""
    if settings["method"] == "adversarial_training":
        name, variant = "adv_training", f"eps={settings['epsilon']:g}"
    elif settings["method"] == "defense_vae":
        variant = {"reconstructions": "rec", "originals": "base"}[classifier]
    elif settings["method"] == "defense_vae_e2e":
        name = settings.get("column", "defense_vae")
        variant = "e2e_scratch" if settings["from_scratch"] else "e2e"
    elif settings["method"] == "defense_gan":
        variant = {"reconstructions": "rec", "originals": "orig"}[classifier]
    elif classifier == "reconstructions":
        variant = "rec"
    return {
        "defense": name,
        "variant": variant,
        "iterations_L": settings.get("steps"),
        "restarts_R": settings.get("restarts"),
    }
