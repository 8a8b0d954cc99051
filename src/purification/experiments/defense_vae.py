"""Defense-VAE's Table 2 and Figure 4. Its other tables are of the same forms as Defense-GAN's.

Table 2's rows: dataset, attack, classifier. Columns: what the VAE learned from: all attacks, all
but the row's, and that with a stand-in. All are attacked in the gray box, which is the paper's
white box.
"""

from collections.abc import Iterator

from purification.experiments.artifacts import Cell, Figure
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import of_defense, of_run, undefended
from purification.experiments.papers import Study


def unseen_cells(
    catalogue: Catalogue, study: Study, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Accuracy of one classifier under one attack, undefended and behind each VAE."""
    common = of_run(catalogue, dataset, seed, classifier, attack)
    yield undefended(catalogue, dataset, seed, classifier, attack)
    # The order of keys in the config decides nothing.
    for seen, defenses in sorted(study.settings["trained_on"].items()):
        if attack in defenses:
            attacked = catalogue.attacked_defense(
                dataset, seed, defenses[attack], classifier, attack
            )
            labels = of_defense(catalogue, defenses[attack])
            labels |= {"variant": f"{labels['variant']};trained_on={seen}"}
            labels |= {"defense": "defense_vae", "threat_model": "gray_box"}
            yield Cell(common | labels, attacked.classifier, attacked, group="gray_box")


def finetuning(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """Accuracy under attack over the epochs of joint training."""
    wanted = study.settings
    [dataset] = wanted["datasets"]
    lines = []
    for defense in wanted["defenses"]:
        for classifier in wanted["classifiers"]:
            trained = catalogue.end_to_end(dataset, seed, defense, classifier)
            title = "From scratch" if trained.from_scratch else "Finetuned from REC"
            made = {"history": trained, "curve": trained.curve, "digest": trained.digest}
            lines.append({"panel": title, "line": f"Classifier {classifier}", **made})
    return Figure(study, {"lines": lines})
