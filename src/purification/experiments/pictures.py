"""Figures of images: blocks of columns for each data set, of its first few images."""

from collections.abc import Callable, Sequence
from typing import Any

from purification.experiments.artifacts import (
    AdversarialSet,
    Figure,
    Sweep,
    cell_group,
    files_in,
)
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import header_name, picture_title
from purification.experiments.grids import Grid, grids_of
from purification.experiments.names import PLAIN
from purification.experiments.papers import Study
from purification.experiments.sweeps import searched

Column = dict[str, Any]
Block = list[Any]
"""A title and its columns."""
_SHOWN = {"black_box_pictures": 10}
"""Images of each data set: 5 in the others."""


def pictures(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """A figure of images of any form, of one seed."""
    make, further = _MAKE[study.form]
    blocks = [make(catalogue, study, name, seed) for name in study.settings["datasets"]]
    return _figure(study, {"images": _SHOWN.get(study.form, 5), "blocks": blocks, **further})


def corrupted_pictures(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """Corrupted images, what each defence makes of them, and the truth, a block each panel."""
    wanted, blocks = study.settings, []
    for panel in wanted["panels"]:
        dataset, attack = panel["dataset"], panel["attack"]
        named = _headers(catalogue, wanted["defenses"])
        names = (dataset, seed, wanted["classifier"], attack)
        columns = _gray_box(catalogue, *names, named, attacked="corrupted")
        columns.append(catalogue.dataset(dataset).shown("truth") | {"split": "test"})
        blocks.append([[f"{dataset}, {attack}", columns]])
    return _figure(study, {"images": 5, "blocks": blocks, "arranged": "beside"})


def _figure(study: Study, content: dict[str, Any]) -> Figure:
    """With a title that says how its images were attacked."""
    attacked = [file for file in files_in(content) if isinstance(file, AdversarialSet)]
    return Figure(study, content | {"title": picture_title(attacked)})


def _gray_box_over_epsilon(
    catalogue: Catalogue, study: Study, dataset: str, seed: int
) -> list[Block]:
    """Each strength's attacked images and what each defence makes of them."""
    wanted = study.settings
    named = _headers(catalogue, wanted["defenses"])
    blocks: list[Block] = [["", [_original(catalogue, dataset)]]]
    for epsilon in wanted["epsilons"]:
        attack = catalogue.attack_at(wanted["attack"], epsilon)
        columns = _gray_box(catalogue, dataset, seed, wanted["classifier"], attack, named)
        blocks.append([f"ε = {epsilon:g}", columns])
    return blocks


def _cleaned(catalogue: Catalogue, study: Study, dataset: str, seed: int) -> list[Block]:
    """Each attack's images, and those cleaned."""
    wanted, named = study.settings, {"cleaned": study.settings["defense"]}
    run = (dataset, seed, wanted["classifier"])
    attacked = [[a, _gray_box(catalogue, *run, a, named)] for a in wanted["attacks"]]
    return [["", [_original(catalogue, dataset)]], *attacked]


def _purified(catalogue: Catalogue, study: Study, dataset: str, seed: int) -> list[Block]:
    """Images under each attack, and those purified."""
    wanted = study.settings
    run = (dataset, seed, wanted["classifier"])
    pairs = [
        _gray_box(catalogue, *run, attack, {attack: wanted["defense"]}, attacked=attack)
        for attack in wanted["attacks"]
    ]
    return [["Attacked", [pair[0] for pair in pairs]], ["Purified", [pair[1] for pair in pairs]]]


def _gray_box(
    catalogue: Catalogue,
    dataset: str,
    seed: int,
    classifier: str,
    attack: str,
    defenses: dict[str, str],
    attacked: str = "attacked",
) -> list[Column]:
    """Images attacked in the gray box under that header, and what each defence makes of them, under
    its own."""
    columns = [
        catalogue.attacked_classifier(dataset, seed, PLAIN, classifier, attack).shown(attacked)
    ]
    for header, defense in defenses.items():
        made = catalogue.attacked_defense(dataset, seed, defense, classifier, attack)
        columns.append(made.shown(header) | {"group": "gray_box"})
    return columns


def _black_box(catalogue: Catalogue, study: Study, dataset: str, seed: int) -> list[Block]:
    """Images attacked by way of a substitute, and what each defence makes of them."""
    wanted = study.settings
    classifier, substitute = wanted["pair"].split("/")
    names = {"oracle": PLAIN, "classifier": classifier, "substitute": substitute}
    names |= {"attack": wanted["attack"]}
    attacked = catalogue.black_box(dataset, seed, **names).shown("attacked")
    columns = [_original(catalogue, dataset, hold_out=True), attacked]
    for defense in wanted["defenses"]:
        purifier = catalogue.for_classifier(defense, classifier)
        purified = catalogue.purified_black_box(dataset, seed, defense=purifier, **names)
        columns.append(purified.shown(header_name(catalogue, defense)))
    return [["", columns]]


def _over_search(catalogue: Catalogue, study: Study, dataset: str, seed: int) -> list[Block]:
    """The same attacked images at R = 1 over L, and at one L over R."""
    over_steps, over_restarts = grids_of(catalogue.config, study.name)
    sweep = searched(catalogue, dataset, seed, catalogue.study("sweep").settings["attack"])
    return [
        ["", [_original(catalogue, dataset, hold_out=True), _attacked(sweep)]],
        [_shared("R", over_steps.restarts), _columns(sweep, over_steps, "L")],
        [_shared("L", over_restarts.steps), _columns(sweep, over_restarts, "R")],
    ]


def _over_epsilon(catalogue: Catalogue, study: Study, dataset: str, seed: int) -> list[Block]:
    """Images attacked more and more strongly, each beside its reconstruction."""
    attack = catalogue.study("sweep").settings["attack"]
    [grid] = grids_of(catalogue.config, study.name)
    blocks: list[Block] = [["", [_original(catalogue, dataset, hold_out=True)]]]
    for epsilon in grid.epsilons:
        sweep = searched(catalogue, dataset, seed, catalogue.attack_at(attack, epsilon))
        reconstruction = _columns(sweep, grid, "")[0] | {"header": "G(z*)"}
        blocks.append([f"ε = {epsilon:g}", [_attacked(sweep), reconstruction]])
    return blocks


def _headers(catalogue: Catalogue, defenses: Sequence[str]) -> dict[str, str]:
    """Defences by what stands above them; those of one name by their keys in the config."""
    names = [header_name(catalogue, defense) for defense in defenses]
    pairs = zip(names, defenses, strict=True)
    return {d if names.count(name) > 1 else name: d for name, d in pairs}


def _original(catalogue: Catalogue, dataset: str, **further: bool) -> Column:
    return catalogue.dataset(dataset).shown("original") | {"split": "test", **further}


def _attacked(sweep: Sweep) -> Column:
    assert sweep.attacked is not None
    return sweep.attacked.shown("attacked")


def _columns(sweep: Sweep, grid: Grid, varied: str) -> list[Column]:
    values = {"L": grid.steps, "R": grid.restarts}.get(varied, grid.steps)
    return [
        sweep.shown(f"{varied} = {value}") | {"group": cell_group(*cell)}
        for value, cell in zip(values, grid.cells, strict=True)
    ]


def _shared(name: str, values: Sequence[int]) -> str:
    return ", ".join(f"{name} = {value}" for value in values)


_Make = Callable[[Catalogue, Study, str, int], list[Block]]
_MAKE: dict[str, tuple[_Make, dict[str, int]]] = {
    "gray_box_pictures": (_gray_box_over_epsilon, {"parts": 1}),
    "cleaned_pictures": (_cleaned, {"parts": 1}),
    "purified_pictures": (_purified, {}),
    "black_box_pictures": (_black_box, {"parts": 2}),
    "reconstructions_over_search": (_over_search, {}),
    "reconstructions_over_epsilon": (_over_epsilon, {}),
}
"""The blocks of a data set, by the form, and what else the script is told."""
