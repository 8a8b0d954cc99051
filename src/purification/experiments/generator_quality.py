"""How good the generators of some defences are, and how robust the defences: both as numbers."""

from typing import Any

from purification.experiments.artifacts import (
    Cell,
    Figure,
    GeneratorQuality,
    Made,
    Measurement,
    told,
)
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import CLEAN, of_attack, of_defense, of_run, undefended
from purification.experiments.config import ConfigError
from purification.experiments.cowboy import COURSE, training_course
from purification.experiments.names import PLAIN
from purification.experiments.protocols import protocols

QUALITY = "generator_quality"
"""Section of the config, table of the measurements, name of the results."""


def generator_quality(catalogue: Catalogue, dataset: str, seed: int) -> GeneratorQuality:
    """The quality of the generators of all its defences."""
    wanted = catalogue.study(QUALITY).settings
    names = dict.fromkeys(_generator_of(catalogue, name) for name in wanted["defenses"])
    return GeneratorQuality(
        catalogue.dataset(dataset),
        seed,
        catalogue.classifier(dataset, seed, PLAIN, wanted["classifier"]),
        tuple(catalogue.generator(dataset, seed, name) for name in names),
        wanted["images"],
        wanted["draws"],
    )


def quality_measurement(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, attack: str
) -> Measurement:
    """Accuracies on clean test images, or under the attack in the gray box: without defence and
    behind each, of a randomised one the mean over its draws. A defence is called by its key in the
    config."""
    wanted = catalogue.study(QUALITY).settings
    for key, name, allowed in (
        ("classifier", classifier, [wanted["classifier"]]),
        ("attack", attack, [CLEAN, wanted["attack"]]),
    ):
        if name not in allowed:
            raise ConfigError(f"{QUALITY}.{key} is {wanted[key]!r}: nothing is measured of {name}")
    labels = of_run(catalogue, dataset, seed, classifier, attack)
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    cells = [undefended(catalogue, dataset, seed, classifier, attack)]
    for defense in wanted["defenses"]:
        here = labels | of_defense(catalogue, defense) | {"defense": defense}
        here |= protocols("gray_box", catalogue.judged_draws(defense))[0]
        if attack == CLEAN:
            purified = catalogue.purified_images(dataset, seed, defense, "test")
            cells.append(Cell(here, plain, purified))
        else:
            attacked = catalogue.attacked_defense(dataset, seed, defense, classifier, attack)
            gray = here | {"threat_model": "gray_box"}
            cells.append(Cell(gray, plain, attacked, group="gray_box"))
    return Measurement(f"results/{dataset}/seed{seed}", QUALITY, classifier, attack, tuple(cells))


def quality_table(catalogue: Catalogue) -> Figure:
    """What the table of all runs is made from (`reporting.generator_quality`), and its figure."""
    wanted = catalogue.study(QUALITY).settings
    runs = []
    for run in catalogue.runs(QUALITY):
        names = (catalogue, *run, wanted["classifier"])
        clean, attacked = (quality_measurement(*names, a) for a in (CLEAN, wanted["attack"]))
        made = {"quality": generator_quality(catalogue, *run), "clean": clean, "attacked": attacked}
        digests = [file.digest for file in made.values()]
        runs.append({**made, "digests": digests, "course": _course(catalogue, *run)})
    defenses = {name: _generator_of(catalogue, name) for name in wanted["defenses"]}
    content = {"attack": wanted["attack"], "defenses": defenses, "runs": runs}
    return Figure(catalogue.study(QUALITY), content)


def quality_file(catalogue: Catalogue) -> Made:
    """That table."""
    return Made("results/generator_quality.csv", quality_table(catalogue).job)


def quality_figure(catalogue: Catalogue) -> Made:
    """Accuracy over quality, drawn from that table."""
    table = quality_file(catalogue)
    return Made("results/figures/generator_quality.png", told({"digest": table.digest}, [table]))


def _generator_of(catalogue: Catalogue, defense: str) -> str:
    return str(catalogue.defense_settings(catalogue.deployment_of(defense))["generator"])


def _course(catalogue: Catalogue, dataset: str, seed: int) -> dict[str, Any] | None:
    """Cowboy's Figure 6, of the first seed as there, if it is of this data set and of one of these
    defences: the most of its cleaning steps. Its classifier and attack are its own."""
    wanted = catalogue.study(COURSE).settings
    defense = wanted["defense"]
    known = (
        dataset in wanted["datasets"] and defense in catalogue.study(QUALITY).settings["defenses"]
    )
    if not known or seed != catalogue.config["seeds"][0]:
        return None
    course = training_course(catalogue, dataset, seed)
    return {
        "path": course,
        "digest": course.digest,
        "defense": defense,
        "generator": _generator_of(catalogue, defense),
        "classifier": wanted["classifier"],
        "cleaning_steps": max(wanted["cleaning_steps"]),
        "restarts": catalogue.defense_settings(defense)["restarts"],
        **of_attack(catalogue, wanted["attack"]),
    }
