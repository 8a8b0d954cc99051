"""Defense-VAE's Table 2 and its figures. Its other tables are of the same forms as Defense-GAN's.

Table 2's rows: dataset, attack, classifier. Columns: what the VAE learned from: all attacks, all
but the row's, and that with a stand-in. All are attacked in the gray box, which is the paper's
white box.
"""

from collections.abc import Iterator
from typing import Any

from purification.experiments.artifacts import Cell, Figure
from purification.experiments.catalogue import PLAIN, Catalogue
from purification.experiments.cells import of_attack, of_defense, of_no_defense
from purification.experiments.papers import Study

SHOWN = {"gray_box_pictures": 5, "black_box_pictures": 10}
"""Images of each data set in a figure of pictures."""


def unseen_cells(
    catalogue: Catalogue, study: Study, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Accuracy of one classifier under one attack, undefended and behind each VAE."""
    common = {"dataset": dataset, "seed": seed, "classifier": classifier}
    common |= of_attack(catalogue, attack)
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    bare = catalogue.adversarial(dataset, seed, PLAIN, classifier, attack)
    yield Cell(common | {"threat_model": "white_box"} | of_no_defense(), plain, bare)
    # The order of keys in the config decides nothing.
    for seen, defenses in sorted(study.settings["trained_on"].items()):
        if attack in defenses:
            attacked = catalogue.attacked(dataset, seed, defenses[attack], classifier, attack)
            labels = of_defense(catalogue, defenses[attack])
            labels |= {"variant": f"{labels['variant']};trained_on={seen}"}
            labels |= {"defense": "defense_vae", "threat_model": "gray_box"}
            yield Cell(common | labels, attacked.classifier, attacked, group="gray_box")


def vae_pictures(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """Images attacked in the gray or in the black box, and what each defence makes of them."""
    gray = study.form == "gray_box_pictures"
    make = _gray_box_pictures if gray else _black_box_pictures
    datasets = [make(catalogue, study, name, seed) for name in study.settings["datasets"]]
    content = {"images": SHOWN[study.form], "blocks": datasets, "parts": 1 if gray else 2}
    return Figure(study, content)


def _gray_box_pictures(
    catalogue: Catalogue, study: Study, dataset: str, seed: int
) -> list[list[Any]]:
    """Figure 1: each strength's attacked images and what each defence makes of them."""
    wanted = study.settings
    original = catalogue.dataset(dataset).shown("original") | {"split": "test"}
    blocks: list[list[Any]] = [["", [original]]]
    for epsilon in wanted["epsilons"]:
        attack = catalogue.attack_at(wanted["attack"], epsilon)
        run = (dataset, seed)
        bare = catalogue.adversarial(*run, PLAIN, wanted["classifier"], attack)
        columns = [bare.shown("attacked")]
        for defense in wanted["defenses"]:
            attacked = catalogue.attacked(*run, defense, wanted["classifier"], attack)
            columns.append(attacked.shown(_header(defense)) | {"group": "gray_box"})
        blocks.append([f"ε = {epsilon:g}", columns])
    return blocks


def _black_box_pictures(
    catalogue: Catalogue, study: Study, dataset: str, seed: int
) -> list[list[Any]]:
    """Figure 5: images attacked by way of a substitute, and what each defence makes of them."""
    wanted = study.settings
    classifier, substitute = wanted["pair"].split("/")
    names = {"oracle": PLAIN, "classifier": classifier, "substitute": substitute}
    names |= {"attack": wanted["attack"]}
    original = catalogue.dataset(dataset).shown("original") | {"split": "test", "hold_out": True}
    columns = [original, catalogue.black_box(dataset, seed, **names).shown("attacked")]
    for defense in wanted["defenses"]:
        purifier = catalogue.for_classifier(defense, classifier)
        purified = catalogue.purified_black_box(dataset, seed, defense=purifier, **names)
        columns.append(purified.shown(_header(defense)))
    return [["", columns]]


def finetuning(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """Accuracy under attack over the epochs of joint training."""
    wanted = study.settings
    [dataset] = wanted["datasets"]
    lines = []
    for defense in wanted["defenses"]:
        for classifier in wanted["classifiers"]:
            trained = catalogue.end_to_end(dataset, seed, defense, classifier)
            title = "From scratch" if trained.from_scratch else "Finetuned from REC"
            line = {"panel": title, "line": f"Classifier {classifier}"}
            line |= {"history": trained, "curve": trained.curve}
            lines.append(line | {"digest": trained.digest})
    return Figure(study, {"lines": lines})


def _header(defense: str) -> str:
    return {"defense_gan": "Defense-GAN", "defense_vae": "Defense-VAE"}.get(defense, defense)
