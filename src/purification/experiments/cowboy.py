"""Cowboy's experiments: its tables are of the form of Defense-GAN's Table 4; its figures.

One purifier, its discriminator as a detector, and the same search without the discriminator.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from purification.experiments.artifacts import (
    GAN,
    AttackedDefense,
    DiscriminatorScores,
    Figure,
    Made,
    TrainingCourse,
    told,
)
from purification.experiments.catalogue import PLAIN, Catalogue
from purification.experiments.cells import of_attack, titled

COMPARED = "cowboy_table2"
SCORES = "cowboy_figure3"
LOW_SCORES = "cowboy_figure4"
CLEANED = "cowboy_figure5"
COURSE = "cowboy_figure6"
COWBOY_FIGURES = tuple(f"cowboy_figure{n}" for n in range(1, 8))
SHOWN = {LOW_SCORES: 10, CLEANED: 5}
"""Images of a row, and images of a column."""


def discriminator_scores(catalogue: Catalogue, dataset: str, seed: int) -> DiscriminatorScores:
    """The scores that Figures 3 and 4 and the table of detection look at."""
    wanted = catalogue.config[SCORES]
    threshold_attack = catalogue.config["cowboy_detection"]["threshold_attack"]
    run = (dataset, seed, PLAIN, wanted["classifier"])
    attacked = {}
    for attack in wanted["attacks"]:
        # The threshold's attack is looked at on validation images, too.
        splits = ("validation", "test") if attack == threshold_attack else ("test",)
        attacked[attack] = tuple(catalogue.adversarial(*run, attack, split) for split in splits)
    generator = catalogue.defense_settings(wanted["defense"])["generator"]
    gan = catalogue.generator(dataset, seed, generator, "gan")
    assert isinstance(gan, GAN)
    data = catalogue.dataset(dataset)
    return DiscriminatorScores(data, seed, wanted["defense"], gan, attacked)


def all_scores(catalogue: Catalogue) -> list[DiscriminatorScores]:
    """Those of each data set and seed."""
    return [
        discriminator_scores(catalogue, dataset, seed)
        for dataset in catalogue.config[SCORES]["datasets"]
        for seed in catalogue.config["seeds"]
    ]


def training_course(catalogue: Catalogue, dataset: str, seed: int) -> TrainingCourse:
    """Figures 6 and 7: at each snapshot of the GAN's training."""
    wanted = catalogue.config[COURSE]
    attacked = catalogue.adversarial(dataset, seed, PLAIN, wanted["classifier"], wanted["attack"])
    purifier = catalogue.purifier(dataset, seed, wanted["defense"])
    # Its steps are the course's.
    settings = {k: v for k, v in purifier.settings.items() if k != "steps"}
    purifier = replace(purifier, settings=settings)
    [gan] = purifier.networks.values()
    steps = (tuple(gan.settings["snapshots"]), tuple(wanted["cleaning_steps"]))
    return TrainingCourse(catalogue.dataset(dataset), seed, purifier, attacked, *steps)


def comparisons(catalogue: Catalogue) -> Made:
    """The paired comparison for reading; its job is told what each of its `rows` is made from: the
    sets of Table 2's first two defences, of the same attacked images."""
    wanted = catalogue.config[COMPARED]
    first, second = wanted["defenses"][:2]
    rows = []
    for dataset in wanted["datasets"]:
        for seed in catalogue.config["seeds"]:
            for classifier in wanted["classifiers"]:
                for attack in wanted["attacks"]:
                    run = (dataset, seed)
                    sets = {
                        name: catalogue.attacked(*run, name, classifier, attack)
                        for name in (first, second)
                    }
                    labels = {"dataset": dataset, "seed": seed, "classifier": classifier}
                    labels |= of_attack(catalogue, attack)
                    rows.append(_paired(labels, sets))
    return Made("results/cowboy/mcnemar.md", told({"rows": rows}))


def _paired(labels: Mapping[str, Any], sets: Mapping[str, AttackedDefense]) -> dict[str, Any]:
    """A row for the gray box: in the white box each is attacked by images of its own."""
    (one, first), (other, second) = sets.items()
    places = {"first": first, "second": second}
    return {
        "labels": {**labels, "first": one, "second": other},
        **{
            name: {"images": attacked, "group": "gray_box", "digest": attacked.digest}
            for name, attacked in places.items()
        },
    }


def detection_runs(catalogue: Catalogue) -> Made:
    """Detection by the discriminator's score for reading; its job is told the `settings`, and the
    scores of each of the `runs`."""
    classifier = catalogue.config[SCORES]["classifier"]
    runs = [
        {
            "labels": {"dataset": s.dataset.name, "seed": s.seed, "classifier": classifier},
            "scores": s,
            "digest": s.digest,
        }
        for s in all_scores(catalogue)
    ]
    content = {"settings": dict(catalogue.config["cowboy_detection"]), "runs": runs}
    return Made("results/cowboy/detection.md", told(content))


def cowboy_figure(catalogue: Catalogue, figure: str) -> Figure:
    """A figure, one of `COWBOY_FIGURES`, of the first seed."""
    wanted, seed = catalogue.config[figure], catalogue.config["seeds"][0]
    if figure in ("cowboy_figure1", "cowboy_figure2"):
        return Figure(figure, {"seed": seed, **wanted})
    if figure == CLEANED:
        return _cleaned(catalogue, figure, seed)
    if figure in (COURSE, "cowboy_figure7"):
        courses = [training_course(catalogue, d, seed) for d in wanted["datasets"]]
        files = tuple(c if figure == COURSE else c.scores_file for c in courses)
        return Figure(figure, {"digests": {file.path: file.digest for file in files}}, files)
    scores = [discriminator_scores(catalogue, d, seed) for d in wanted["datasets"]]
    content: dict[str, Any] = {"scores": {s.path: s.digest for s in scores}}
    if figure == LOW_SCORES:
        content |= {"images": SHOWN[figure], "datasets": [s.dataset for s in scores]}
    return Figure(figure, content, tuple(scores))


def _cleaned(catalogue: Catalogue, figure: str, seed: int) -> Figure:
    """Figure 5: originals, attacked, and cleaned, one block an attack."""
    wanted = catalogue.config[figure]
    datasets = []
    for dataset in wanted["datasets"]:
        original = catalogue.dataset(dataset).shown("original") | {"split": "test"}
        blocks: list[tuple[str, list[dict[str, Any]]]] = [("", [original])]
        for attack in wanted["attacks"]:
            names = (dataset, seed, wanted["defense"], wanted["classifier"], attack)
            attacked = catalogue.attacked(*names)
            assert attacked.gray is not None
            columns = [attacked.gray.shown("attacked")]
            columns.append(attacked.shown("cleaned") | {"group": "gray_box"})
            blocks.append((attack, columns))
        datasets.append([list(block) for block in blocks])
    content = {"images": SHOWN[figure], "blocks": datasets, "parts": 1}
    return Figure(figure, titled(content))
