"""Defense-GAN's Table 4 as a list of cells, with our gray-box and BPDA cells beside the paper's.

Rows: dataset, attack, classifier. The paper's columns: no attack, no defence, Defense-GAN-Rec,
MagNet, adversarial training, attacked in the white box. Ours: the other threat models that the
config lists for a defence, and each defence's accuracy on clean images.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from purification.experiments.artifacts import Cell, Examples, Measurement, Table
from purification.experiments.catalogue import PLAIN, Catalogue

CLEAN = "none"


def table4(catalogue: Catalogue) -> Table:
    """The table as the config asks for it."""
    wanted = catalogue.config["table4"]
    measurements = [
        table4_measurement(catalogue, dataset, seed, classifier, attack)
        for dataset in wanted["datasets"]
        for seed in catalogue.config["seeds"]
        for attack in (CLEAN, *wanted["attacks"])
        for classifier in wanted["classifiers"]
    ]
    return Table("table4", tuple(measurements))


def table4_measurement(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, attack: str
) -> Measurement:
    """All cells of one row and seed."""
    cells = clean_cells if attack == CLEAN else attacked_cells
    folder = f"results/{dataset}/seed{seed}"
    of_row = tuple(cells(catalogue, dataset, seed, classifier, attack))
    return Measurement(folder, "table4", classifier, attack, of_row)


def clean_cells(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, attack: str = CLEAN
) -> Iterator[Cell]:
    """Accuracy on clean test images, undefended and behind each defence."""
    data = catalogue.dataset(dataset)
    common = {"dataset": dataset, "seed": seed, "classifier": classifier, "attack": CLEAN}
    common |= {"epsilon": None, "threat_model": "none"}
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    yield Cell(common | _of_no_defense(), plain, data, split="test")
    for defense in catalogue.config["table4"]["defenses"]:
        labels = common | _of_defense(catalogue, defense)
        deployed = catalogue.deployed(dataset, seed, defense, classifier)
        if _purifies(catalogue, defense):
            purified = catalogue.purified_images(dataset, seed, defense, "test")
            yield Cell(labels, deployed, purified)
        else:
            yield Cell(labels, deployed, data, split="test")


def attacked_cells(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Accuracy under one attack, undefended and behind each defence in each of its threat models.

    The gray box of every purifier is one and the same set of images, made against the plain
    classifier: what the attacker has who knows of no defence.
    """
    epsilon = catalogue.attack(attack).settings.get("epsilon")
    common = {"dataset": dataset, "seed": seed, "classifier": classifier, "attack": attack}
    common |= {"epsilon": epsilon}
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    bare = catalogue.adversarial(dataset, seed, PLAIN, classifier, attack)
    yield Cell(common | {"threat_model": "white_box"} | _of_no_defense(), plain, bare)
    for defense in catalogue.config["table4"]["defenses"]:
        labels = common | _of_defense(catalogue, defense)
        deployed = catalogue.deployed(dataset, seed, defense, classifier)
        if not _purifies(catalogue, defense):
            bare = catalogue.adversarial(dataset, seed, defense, classifier, attack)
            yield Cell(labels | {"threat_model": "white_box"}, deployed, bare)
            continue
        attacked = catalogue.attacked(dataset, seed, defense, classifier, attack)
        for threat_model in attacked.threat_models:
            here = labels | {"threat_model": threat_model}
            yield Cell(here, deployed, attacked, group=threat_model)


def table4_notes(catalogue: Catalogue) -> list[str]:
    """What a reader of the table must know of its settings, a paragraph each."""
    config = catalogue.config
    notes = [f"Seeds: {', '.join(map(str, config['seeds']))}."]
    for attack in config["table4"]["attacks"]:
        notes.append(f"Attack `{attack}`: {_listed(config['attacks'][attack], hide=('images',))}.")
    for defense in config["table4"]["defenses"]:
        settings = config["defenses"][defense]
        notes.append(f"Defense `{defense}`: {_listed(settings, hide=('threat_models',))}.")
        if "generator" in settings:
            generator = settings["generator"]
            notes.append(f"Generator `{generator}`: {_listed(config['generators'][generator])}.")
    return notes


def _listed(settings: Mapping[str, Any], hide: tuple[str, ...] = ()) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items() if key not in hide)


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
    for defense in catalogue.config["table4"]["defenses"]:
        if _purifies(catalogue, defense) and "gray_box" in catalogue.threat_models(defense):
            deployed = catalogue.deployed(dataset, seed, defense, classifier)
            attacked = catalogue.attacked(dataset, seed, defense, classifier, attack)
            rows.append(Cell({"row": defense}, deployed, attacked, group="gray_box"))
    return Examples(data, seed, classifier, attack, 10, tuple(rows))


def _purifies(catalogue: Catalogue, defense: str) -> bool:
    return catalogue.config["defenses"][defense]["method"] != "adversarial_training"


def _of_no_defense() -> dict[str, Any]:
    return {"defense": "none", "variant": "", "iterations_L": None, "restarts_R": None}


def _of_defense(catalogue: Catalogue, defense: str) -> dict[str, Any]:
    """The columns that name a defence, in the vocabulary of resources/papers."""
    settings = catalogue.config["defenses"][defense]
    name, variant = defense, ""
    if settings["method"] == "adversarial_training":
        name, variant = "adv_training", f"eps={settings['epsilon']:g}"
    elif settings["method"] == "defense_gan":
        variant = {"reconstructions": "rec", "originals": "orig"}[settings["classifier"]]
    elif settings["classifier"] == "reconstructions":
        variant = "rec"
    return {
        "defense": name,
        "variant": variant,
        "iterations_L": settings.get("steps"),
        "restarts_R": settings.get("restarts"),
    }
