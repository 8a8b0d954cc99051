"""The leaderboard: what is left of each defence under one cascade of attacks."""

from collections.abc import Iterator
from typing import Any

from purification.experiments.artifacts import AttackedAdaptively, Made, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import of_defense, of_no_defense
from purification.experiments.names import NONE
from purification.experiments.protocols import KNOWN, protocols


def leaderboard(catalogue: Catalogue) -> Made:
    """The leaderboard for reading. Its job is told of each row the attacked set and what names it:
    of each data set, seed and classifier the plain classifier and all of the config's defences, a
    randomised one by each protocol (`protocols`)."""
    settings = catalogue.study("leaderboard").settings
    rows = []
    for dataset in settings["datasets"]:
        for seed in catalogue.config["seeds"]:
            for classifier in settings["classifiers"]:
                run = {"dataset": dataset, "seed": seed, "classifier": classifier}
                for defense in (NONE, *settings["defenses"]):
                    named = of_no_defense() if defense == NONE else of_defense(catalogue, defense)
                    own = (dataset, seed, settings["cascade"], defense, classifier)
                    for protocol, attacked in _judged(catalogue, *own):
                        rows.append({"labels": {**run, **named, **protocol}, "attacked": attacked})
    return Made("results/leaderboard.md", told({"rows": rows}))


def _judged(
    catalogue: Catalogue, dataset: str, seed: int, cascade: str, defense: str, classifier: str
) -> Iterator[tuple[dict[str, Any], AttackedAdaptively]]:
    """A defence under a cascade, with the columns that name the protocol."""
    run = (dataset, seed, cascade, defense, classifier)
    draws = None if defense == NONE else catalogue.judged_draws(defense)
    for protocol in protocols("white_box", draws):
        yield protocol, catalogue.cascade(*run)
    if draws is not None:
        (known, *_) = protocols(f"white_box{KNOWN}", draws)
        yield known, catalogue.cascade(*run, known_draw=True)
