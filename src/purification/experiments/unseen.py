"""Defense-VAE's Table 2 as lists of cells: VAEs that have not seen the attack that they meet.

Rows: dataset, attack, classifier. Columns: what the VAE learned from: all attacks, all but the
row's, and that with a stand-in. All are attacked in the gray box, which is the paper's white box.
"""

from collections.abc import Iterator

from purification.experiments.artifacts import Cell
from purification.experiments.catalogue import PLAIN, Catalogue
from purification.experiments.cells import of_attack, of_defense, of_no_defense

UNSEEN = "defense_vae_table2"


def unseen_cells(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Accuracy of one classifier under one attack, undefended and behind each VAE."""
    common = {"dataset": dataset, "seed": seed, "classifier": classifier}
    common |= of_attack(catalogue, attack)
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    bare = catalogue.adversarial(dataset, seed, PLAIN, classifier, attack)
    yield Cell(common | {"threat_model": "white_box"} | of_no_defense(), plain, bare)
    for seen, defenses in catalogue.config[UNSEEN]["trained_on"].items():
        if attack in defenses:
            attacked = catalogue.attacked(dataset, seed, defenses[attack], classifier, attack)
            labels = of_defense(catalogue, defenses[attack])
            labels |= {"variant": f"{labels['variant']};trained_on={seen}"}
            labels |= {"defense": "defense_vae", "threat_model": "gray_box"}
            yield Cell(common | labels, attacked.classifier, attacked, group="gray_box")
