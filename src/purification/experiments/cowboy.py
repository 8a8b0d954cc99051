"""Cowboy's figures, detection by its discriminator, and McNemar's test.

One purifier, its discriminator as a detector, and the same search without the discriminator.
"""

from dataclasses import replace
from itertools import product
from typing import Any

from purification.experiments.artifacts import (
    DiscriminatorScores,
    Figure,
    Made,
    TrainedGAN,
    TrainingCourse,
    told,
)
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import of_run
from purification.experiments.config import ConfigError
from purification.experiments.names import PLAIN
from purification.experiments.papers import Study

SCORES = "cowboy_figure3"
COURSE = "cowboy_figure6"
LOWEST = 10
"""Images of a row of the scores' extremes."""


def discriminator_scores(catalogue: Catalogue, dataset: str, seed: int) -> DiscriminatorScores:
    """The scores that Figures 3 and 4 and the table of detection look at."""
    wanted = catalogue.study(SCORES).settings
    threshold_attack = catalogue.study("cowboy_detection").settings["threshold_attack"]
    run = (dataset, seed, PLAIN, wanted["classifier"])
    attacked = {}
    for attack in wanted["attacks"]:
        # The threshold's attack is looked at on validation images, too.
        splits = ("validation", "test") if attack == threshold_attack else ("test",)
        attacked[attack] = tuple(
            catalogue.attacked_classifier(*run, attack, split) for split in splits
        )
    generator = catalogue.defense_settings(wanted["defense"])["generator"]
    gan = catalogue.generator(dataset, seed, generator, "gan")
    assert isinstance(gan, TrainedGAN)
    data = catalogue.dataset(dataset)
    return DiscriminatorScores(data, seed, wanted["defense"], gan, attacked)


def all_scores(catalogue: Catalogue) -> list[DiscriminatorScores]:
    """Those of each data set and seed."""
    return [discriminator_scores(catalogue, *run) for run in catalogue.runs(SCORES)]


def training_course(catalogue: Catalogue, dataset: str, seed: int) -> TrainingCourse:
    """Figures 6 and 7: at each snapshot of the GAN's training."""
    wanted = catalogue.study(COURSE).settings
    attacked = catalogue.attacked_classifier(
        dataset, seed, PLAIN, wanted["classifier"], wanted["attack"]
    )
    purifier = catalogue.purifier(dataset, seed, wanted["defense"])
    # Its steps are the course's.
    settings = {k: v for k, v in purifier.settings.items() if k != "steps"}
    purifier = replace(purifier, settings=settings)
    [gan] = purifier.networks.values()
    settings = gan.recipe["settings"]
    if "snapshots" not in settings:
        name = wanted["defense"]
        raise ConfigError(
            f"{COURSE}: the GAN of {name!r} has no snapshots: it was trained elsewhere"
        )
    steps = (tuple(settings["snapshots"]), tuple(wanted["cleaning_steps"]))
    return TrainingCourse(catalogue.dataset(dataset), seed, purifier, attacked, *steps)


def mcnemar_table(catalogue: Catalogue) -> Made:
    """The paired comparison for reading; its job is told what each of its `rows` is made from: the
    sets of Table 2's first two defences, of the same attacked images."""
    [compared] = catalogue.study("cowboy_mcnemar").of
    wanted = catalogue.study(compared).settings
    pair = {"first": wanted["defenses"][0], "second": wanted["defenses"][1]}
    rows = []
    for run in catalogue.runs(compared):
        for classifier, attack in product(wanted["classifiers"], wanted["attacks"]):
            row = {"labels": of_run(catalogue, *run, classifier, attack) | pair}
            for place, name in pair.items():
                made = catalogue.attacked_defense(*run, name, classifier, attack)
                # In the white box each is attacked by images of its own.
                row[place] = {"images": made, "group": "gray_box", "digest": made.digest}
            rows.append(row)
    return Made("results/cowboy/mcnemar.md", told({"rows": rows}))


def detection_runs(catalogue: Catalogue) -> Made:
    """Detection by the discriminator's score for reading; its job is told the `settings`, and the
    scores of each of the `runs`."""
    classifier = catalogue.study(SCORES).settings["classifier"]
    runs = [
        {
            "labels": {"dataset": s.dataset.name, "seed": s.seed, "classifier": classifier},
            "scores": s,
            "digest": s.digest,
        }
        for s in all_scores(catalogue)
    ]
    content = {"settings": dict(catalogue.study("cowboy_detection").settings), "runs": runs}
    return Made("results/cowboy/detection.md", told(content))


def toy(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """Two Gaussians."""
    return Figure(study, {"seed": seed, **study.settings})


def scores(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """The discriminator's scores; in the form `low_scores`, the images of the lowest."""
    found = [discriminator_scores(catalogue, d, seed) for d in study.settings["datasets"]]
    content: dict[str, Any] = {"scores": {s.path: s.digest for s in found}}
    if study.form == "low_scores":
        content |= {"images": LOWEST, "datasets": [s.dataset for s in found]}
    return Figure(study, content, tuple(found))


def over_training(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """Accuracy after cleaning over the GAN's training, or the scores over it."""
    courses = [training_course(catalogue, d, seed) for d in study.settings["datasets"]]
    cleaning = study.form == "cleaning_over_training"
    files = tuple(course if cleaning else course.scores_file for course in courses)
    return Figure(study, {"digests": {file.path: file.digest for file in files}}, files)
