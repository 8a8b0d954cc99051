"""The leaderboard: what is left of each defence under one cascade of attacks."""

from purification.experiments.artifacts import Made, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import of_defense, of_no_defense
from purification.experiments.names import NONE


def leaderboard(catalogue: Catalogue) -> Made:
    """The leaderboard for reading. Its job is told of each row the attacked set and what names it:
    of each data set, seed and classifier the plain classifier and all of the config's defences."""
    settings = catalogue.study("leaderboard").settings
    rows = []
    for dataset in settings["datasets"]:
        for seed in catalogue.config["seeds"]:
            for classifier in settings["classifiers"]:
                run = {"dataset": dataset, "seed": seed, "classifier": classifier}
                for defense in (NONE, *settings["defenses"]):
                    attacked = catalogue.cascade(
                        dataset, seed, settings["cascade"], defense, classifier
                    )
                    named = of_no_defense() if defense == NONE else of_defense(catalogue, defense)
                    rows.append({"labels": {**run, **named}, "attacked": attacked})
    return Made("results/leaderboard.md", told({"rows": rows}))
