"""Leaderboards: what is left of each defence under one cascade of attacks and under the papers'
attacks, beside what its paper claims."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from purification.experiments.artifacts import (
    AttackedAdaptively,
    Cell,
    Made,
    PurificationCosts,
    files_in,
    files_of,
    told,
)
from purification.experiments.cascades import wrong_strength
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import CLEAN, as_named, of_defense, of_no_defense
from purification.experiments.config import ConfigError
from purification.experiments.direct import direct_cells
from purification.experiments.names import NONE
from purification.experiments.papers import PAPERS, Study
from purification.experiments.protocols import KNOWN, protocols
from purification.experiments.quirks import CONCERNED

TIMED_IMAGES, TIMED_REPEATS = 50, 3
"""How many images are purified for the time of a purification, and how often."""


BOARDS = ("leaderboard", "modern")
"""The studies of this form: of the papers' defences, and of later purifiers."""


def leaderboard(catalogue: Catalogue, board: str = "leaderboard") -> Made:
    """A leaderboard for reading. Its job is told of each row what names it (`labels`), its set
    under the cascade (`attacked`) and what that cost (`costs`), summaries of the cells of its sets
    under the papers' attacks (`cells`) and, if it has a purifier, the file of what a purification
    costs (`purification`), with its name there (`purifier`). There is one of each data set, seed
    and classifier for the plain classifier and for each of the config's defences; of a randomised
    one for each protocol (`protocols`)."""
    rows, cells = rows_and_cells(catalogue, board)
    papers = {key: catalogue.printed_numbers(key) for key in PAPERS}
    digests = [file.digest for file in files_in(rows)]
    content = {"rows": rows, "papers": papers, "digests": digests}
    return Made(f"results/{board}.md", told(content, files_of(cells).values()))


def rows_and_cells(catalogue: Catalogue, board: str) -> tuple[list[dict[str, Any]], list[Cell]]:
    """What the job of a leaderboard is told of its rows, and their cells under the papers'
    attacks."""
    settings = catalogue.study(board).settings
    _check_balls(catalogue, board, settings)
    rows, cells = [], []
    for dataset, seed in catalogue.runs(board):
        for classifier in settings["classifiers"]:
            for defense in (NONE, *settings["defenses"]):
                for row, own in _rows(catalogue, board, dataset, seed, classifier, defense):
                    rows.append(row)
                    cells += own
    return rows, cells


def _rows(
    catalogue: Catalogue, board: str, dataset: str, seed: int, classifier: str, defense: str
) -> Iterator[tuple[dict[str, Any], list[Cell]]]:
    """What the job is told of the rows of a defence, one for each protocol, each with its cells."""
    run = (dataset, seed, classifier)
    labels = row_labels(catalogue, *run, defense)
    for protocol, attacked in _judged(catalogue, board, *run, defense):
        cells = _cells(catalogue, board, *run, attacked)
        row = {"labels": labels | protocol, "attacked": attacked, "costs": attacked.costs}
        row["cells"] = [cell.summary for cell in cells]
        if attacked.purifier is not None:
            row["purification"] = purification_costs(catalogue, *run, board)
            row["purifier"] = catalogue.deployment_of(defense)
        yield row, cells


def _judged(
    catalogue: Catalogue, board: str, dataset: str, seed: int, classifier: str, defense: str
) -> Iterator[tuple[dict[str, Any], AttackedAdaptively]]:
    """A defence under its cascade, by each protocol with the columns that name it."""
    settings = catalogue.study(board).settings
    cascade = settings.get("cascades", {}).get(defense, settings["cascade"])
    run = (dataset, seed, cascade, defense, classifier)
    draws = None if defense == NONE else catalogue.judged_draws(defense)
    for protocol in protocols("white_box", draws):
        yield protocol, catalogue.cascade(*run)
    if draws is not None:
        (known, *_) = protocols(f"white_box{KNOWN}", draws)
        yield known, catalogue.cascade(*run, known_draw=True)


def purification_costs(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, board: str = BOARDS[0]
) -> PurificationCosts:
    """What a purification costs each of a leaderboard's defences before a classifier: a purifier
    that two of them deploy once, by the name of that which is not redeployed."""
    settings = catalogue.study(board).settings
    deployed = [
        catalogue.deployment_of(defense)
        for defense in settings["defenses"]
        if catalogue.purifies(defense)
    ]
    purifiers = {
        defense: catalogue.purifier(dataset, seed, catalogue.for_classifier(defense, classifier))
        for defense in dict.fromkeys(deployed)
    }
    data = catalogue.dataset(dataset)
    own = "" if board == BOARDS[0] else board
    return PurificationCosts(data, seed, classifier, purifiers, TIMED_IMAGES, TIMED_REPEATS, own)


def _cascades(settings: Mapping[str, Any]) -> dict[str, str]:
    """The cascades of a leaderboard, by the keys there that name them."""
    others = settings.get("cascades", {}).items()
    return {
        "cascade": settings["cascade"],
        **{f"cascades.{defense}": other for defense, other in others},
    }


def _check_balls(catalogue: Catalogue, board: str, settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for one of the papers' attacks, or another cascade, that is of another ball
    than the leaderboard's cascade, and for a cascade of other images than the test set's."""
    cascade, place = settings["cascade"], f"cascades.{settings['cascade']}"
    ball, wrong = catalogue.cascade_settings(cascade), []
    for where, name in _cascades(settings).items():
        own = catalogue.cascade_settings(name)
        if (split := own.get("split", "test")) != "test":
            wrong.append(
                f"{board}.{where}: cascades.{name}.split is {split}: a leaderboard is of test "
                "images"
            )
        wrong += [
            f"{board}.{where}: {place}.{key} is {ball[key]}, and cascades.{name}.{key} "
            f"is {own[key]}: rows that are compared are of one ball"
            for key in ("norm", "epsilon")
            if own[key] != ball[key]
        ]
    for name in settings.get("paper_attacks", ()):
        attack = catalogue.config["attacks"][name]
        wrong += [
            f"{board}.paper_attacks: {what.replace('{cascade}', place)}"
            for what in wrong_strength(name, attack, ball, bounded=True)
        ]
    if wrong:
        raise ConfigError("the config is wrong:\n" + "\n".join(f"  {line}" for line in wrong))


def row_labels(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, defense: str
) -> dict[str, Any]:
    """The columns that name a row."""
    run = {"dataset": dataset, "seed": seed, "classifier": classifier, "attack": CLEAN}
    named = of_no_defense() if defense == NONE else of_defense(catalogue, defense)
    labels = as_named(catalogue, {**run, **named})
    return {name: value for name, value in labels.items() if name != "attack"}


def _cells(
    catalogue: Catalogue,
    board: str,
    dataset: str,
    seed: int,
    classifier: str,
    attacked: AttackedAdaptively,
) -> list[Cell]:
    """A row's cells under the papers' attacks, as a table has them, in the threat models that the
    config has of the defence. An attack that is a stage of the cascade, by whatever name, has it
    among its labels (`again`): it is no further attacker. Of a randomised defence there are none:
    which attack is best for an image would be known by the draws on which it is judged."""
    run, found = (dataset, seed, attacked.defense, classifier), []
    for name in catalogue.study(board).settings.get("paper_attacks", ()):
        attack = catalogue.attack(name)
        own = (attack.method, attack.settings)
        same = [
            s.threat_model for s in attacked.stages if (s.attack.method, s.attack.settings) == own
        ]
        for cell in _under(catalogue, *run, name):
            # The cascade attacks the defence itself, and so do its other attackers.
            if "protocol" not in cell.labels and cell.all_quirks.isdisjoint(CONCERNED):
                again = {"again": True} if cell.labels["threat_model"] in same else {}
                found.append(replace(cell, labels={**cell.labels, **again}))
    return found


def _under(
    catalogue: Catalogue, dataset: str, seed: int, defense: str, classifier: str, attack: str
) -> Iterator[Cell]:
    """Cells of one defence, or of none, under one attack."""
    own = [] if defense == NONE else [defense]
    study = Study("leaderboard", "direct", settings={"defenses": own})
    for cell in direct_cells(catalogue, study, dataset, seed, classifier, attack):
        if (cell.labels["defense"] == NONE) == (defense == NONE):
            yield cell
