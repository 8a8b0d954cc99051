"""AE-GAN+rs's tables as lists of cells.

Table 1 (and 9, on CelebA) has attacks on classifier and defence in each threat model, and on the
same classifier by way of substitutes: rows with a substitute beside rows without. Table 2 compares
searches at several L and R, Table 3 the members of the family, Table 8 lengths of the code.
"""

from collections.abc import Iterator

from purification.experiments.artifacts import Cell
from purification.experiments.black_box import transferred_cells
from purification.experiments.catalogue import PLAIN, Catalogue
from purification.experiments.cells import CLEAN, of_attack, of_defense, of_no_defense
from purification.experiments.table4 import attacked_cells

SEARCHES_TABLE = "ae_gan_table2"


def ae_gan_cells(
    catalogue: Catalogue, table: str, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Tables 1, 3, 8 and 9 under one attack: on the defences, and by way of the substitutes."""
    names = (catalogue, table, dataset, seed, classifier, attack)
    yield from attacked_cells(*names)
    if attack in catalogue.config[table].get("transferred", ()):
        yield from transferred_cells(*names)


def searches(catalogue: Catalogue) -> list[tuple[int, int]]:
    """The (L, R) of Table 2, restarts outside as there."""
    wanted = catalogue.config[SEARCHES_TABLE]["searches"]
    return [(steps, restarts) for restarts in wanted["restarts"] for steps in wanted["steps"]]


def searches_cells(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Table 2: no attack, or one, on each defence at each L and R. A search from an encoder's code
    has one start, hence R = 1 alone."""
    common = {"dataset": dataset, "seed": seed, "classifier": classifier}
    clean = attack == CLEAN
    if clean:
        common |= {"attack": CLEAN, "epsilon": None, "threat_model": "none"}
        images = {"images": catalogue.dataset(dataset), "split": "test"}
    else:
        common |= of_attack(catalogue, attack) | {"threat_model": "white_box"}
        images = {"images": catalogue.adversarial(dataset, seed, PLAIN, classifier, attack)}
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    yield Cell(common | of_no_defense(), plain, **images)
    for defense in _at_each_search(catalogue):
        labels = common | of_defense(catalogue, defense)
        deployed = catalogue.deployed(dataset, seed, defense, classifier)
        if clean:
            yield Cell(labels, deployed, catalogue.purified_images(dataset, seed, defense, "test"))
            continue
        attacked = catalogue.attacked(dataset, seed, defense, classifier, attack)
        for threat_model in attacked.threat_models:
            here = labels | {"threat_model": threat_model}
            yield Cell(here, deployed, attacked, group=threat_model)


def _at_each_search(catalogue: Catalogue) -> Iterator[str]:
    """Table 2's defences at each L and R that they have."""
    for defense in catalogue.config[SEARCHES_TABLE]["defenses"]:
        restarts_vary = "restarts" in catalogue.defense_settings(defense)
        for steps, restarts in searches(catalogue):
            if restarts_vary:
                yield catalogue.defense_at(defense, steps, restarts)
            elif restarts == 1:
                yield catalogue.defense_at(defense, steps)
