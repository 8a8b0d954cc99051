"""Defense-GAN's sweeps as lists of cells: Tables 3 and 8 to 11, and Figures 3 to 8.

One classifier under attack by way of one substitute (F and E in the paper), behind the search at
each L and R. Defense-GAN-Rec's classifier is the same everywhere: the one trained on what the
defence's own L and R make of the training images (the paper does not say).
"""

from collections.abc import Iterator

from purification.experiments.artifacts import Cell, Sweep, cell_group
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import CLEAN, of_defense, of_no_defense, of_run, undefended
from purification.experiments.config import ConfigError
from purification.experiments.grids import grids_of, sweep_cells, sweep_epsilons
from purification.experiments.names import PLAIN
from purification.experiments.papers import Study

SWEEP = "sweep"
"""Name of the measurements that all of these tables are cut from."""


def sweep_attacks(catalogue: Catalogue, dataset: str) -> list[str]:
    """The attack of the sweeps at each strength wanted on a data set."""
    attack = catalogue.study(SWEEP).settings["attack"]
    return [catalogue.attack_at(attack, e) for e in sweep_epsilons(catalogue.config, dataset)]


def table_attacks(catalogue: Catalogue, table: str) -> list[str]:
    """No attack, and the attack at each strength of a swept table."""
    attack = catalogue.study(SWEEP).settings["attack"]
    strengths = [e for grid in grids_of(catalogue.config, table) for e in grid.epsilons]
    return [CLEAN, *(catalogue.attack_at(attack, epsilon) for epsilon in strengths)]


def table_cells(catalogue: Catalogue, table: str) -> tuple[tuple[int, int], ...]:
    """The (L, R) of a swept table."""
    return tuple(cell for grid in grids_of(catalogue.config, table) for cell in grid.cells)


def searched(catalogue: Catalogue, dataset: str, seed: int, attack: str) -> Sweep:
    """The search on the test images, clean or attacked."""
    wanted = catalogue.study(SWEEP).settings
    defense = catalogue.deployment_of(wanted["defenses"][0])
    if attack == CLEAN:
        return catalogue.clean_sweep(dataset, seed, defense, "test")
    return catalogue.black_box_sweep(
        dataset,
        seed,
        defense,
        oracle=_oracle(catalogue),
        classifier=wanted["classifier"],
        substitute=wanted["substitute"],
        attack=attack,
    )


def searched_cells(
    catalogue: Catalogue, study: Study, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Accuracy of the sweeps' classifier without defence, and behind each at every L and R."""
    wanted, epsilon = study.settings, None
    if classifier != wanted["classifier"]:
        swept = f"sweep.classifier is {wanted['classifier']!r}"
        raise ConfigError(f"{swept}: nothing is swept of {classifier!r}")
    sweep = searched(catalogue, dataset, seed, attack)
    run = (dataset, seed, classifier)
    if sweep.attacked is None:
        common = of_run(catalogue, *run, CLEAN)
        yield undefended(catalogue, *run, CLEAN, hold_out=True)
    else:
        epsilon = sweep.attacked.attack.settings["epsilon"]
        common = of_run(catalogue, *run, wanted["attack"])
        common |= {"epsilon": epsilon, "threat_model": "black_box"}
        common |= {"substitute": wanted["substitute"], "oracle": _oracle(catalogue)}
        plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
        yield Cell(common | of_no_defense(), plain, sweep.attacked)
    for defense in wanted["defenses"]:
        deployed = catalogue.deployed(dataset, seed, defense, classifier)
        for steps, restarts in sweep_cells(catalogue.config, dataset, epsilon):
            here = {"iterations_L": steps, "restarts_R": restarts}
            labels = common | of_defense(catalogue, defense) | here
            group = cell_group(steps, restarts)
            yield Cell(labels, deployed, sweep, group=group, hold_out=attack == CLEAN)


def white_box_cells(
    catalogue: Catalogue, study: Study, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Figure 8: accuracy of one classifier behind the search, attacked through it, at each L."""
    wanted = study.settings
    common = of_run(catalogue, dataset, seed, classifier, attack)
    for steps in wanted["steps"]:
        defense = catalogue.defense_at(wanted["defense"], steps)
        attacked = catalogue.attacked_defense(dataset, seed, defense, classifier, attack)
        labels = common | of_defense(catalogue, wanted["defense"]) | {"iterations_L": steps}
        for threat_model, group in attacked.sets.items():
            if threat_model != "gray_box":
                here = labels | {"threat_model": threat_model}
                yield Cell(here, attacked.classifier, attacked, group=group)


def _oracle(catalogue: Catalogue) -> str:
    oracle = catalogue.study(SWEEP).settings["oracle"]
    return PLAIN if oracle == "classifier" else oracle
