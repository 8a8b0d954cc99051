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
    TrainingCourse,
)
from purification.experiments.catalogue import PLAIN, Catalogue
from purification.experiments.cells import of_attack

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


def comparisons(catalogue: Catalogue) -> list[dict[str, Any]]:
    """What each row of the paired comparison is made from: the sets of Table 2's first two
    defences, of the same attacked images."""
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
    return rows


def _paired(labels: Mapping[str, Any], sets: Mapping[str, AttackedDefense]) -> dict[str, Any]:
    """A row for the gray box: in the white box each is attacked by images of its own."""
    (one, first), (other, second) = sets.items()
    places = {"first": first, "second": second}
    return {
        "labels": {**labels, "first": one, "second": other},
        **{
            name: {"images": attacked.path, "group": "gray_box", "digest": attacked.digest}
            for name, attacked in places.items()
        },
    }


def detection_runs(catalogue: Catalogue) -> dict[str, Any]:
    """What the table of detection is made from: settings, and the scores of each run."""
    classifier = catalogue.config[SCORES]["classifier"]
    runs = [
        {
            "labels": {"dataset": s.dataset.name, "seed": s.seed, "classifier": classifier},
            "scores": s.path,
            "digest": s.digest,
        }
        for s in all_scores(catalogue)
    ]
    return {"settings": dict(catalogue.config["cowboy_detection"]), "runs": runs}


def cowboy_figure(catalogue: Catalogue, figure: str) -> Figure:
    """A figure, one of `COWBOY_FIGURES`, of the first seed."""
    wanted, seed = catalogue.config[figure], catalogue.config["seeds"][0]
    if figure in ("cowboy_figure1", "cowboy_figure2"):
        return Figure(figure, {"seed": seed, **wanted}, ())
    if figure == CLEANED:
        return _cleaned(catalogue, figure, seed)
    if figure in (COURSE, "cowboy_figure7"):
        courses = [training_course(catalogue, d, seed) for d in wanted["datasets"]]
        paths = [c.path if figure == COURSE else c.scores_path for c in courses]
        digests = dict(zip(paths, (c.digest for c in courses), strict=True))
        return Figure(figure, {"digests": digests}, tuple(paths))
    scores = [discriminator_scores(catalogue, d, seed) for d in wanted["datasets"]]
    files = {s.path: s.digest for s in scores}
    content: dict[str, Any] = {"scores": files}
    if figure == LOW_SCORES:
        files = files | {s.dataset.path: s.dataset.digest for s in scores}
        content |= {"images": SHOWN[figure], "datasets": [s.dataset.path for s in scores]}
    return Figure(figure, content, tuple(files))


def _cleaned(catalogue: Catalogue, figure: str, seed: int) -> Figure:
    """Figure 5: originals, attacked, and cleaned, one block an attack."""
    wanted = catalogue.config[figure]
    datasets, files = [], []
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
        files += [column["images"] for _, columns in blocks for column in columns]
        datasets.append([list(block) for block in blocks])
    content = {"images": SHOWN[figure], "blocks": datasets, "parts": 1}
    return Figure(figure, content, tuple(files))
