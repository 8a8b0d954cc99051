"""AE-GAN+rs's tables as lists of cells, and its figures.

Table 1 (and 9, on CelebA) has attacks on classifier and defence in each threat model, and on the
same classifier by way of substitutes: rows with a substitute beside rows without. Table 2 compares
searches at several L and R, Table 3 the members of the family, Table 8 lengths of the code.
"""

from collections.abc import Iterator
from typing import Any

from purification.experiments.artifacts import Cell, Figure, InferenceRule, Made, told
from purification.experiments.black_box import transferred_cells
from purification.experiments.catalogue import PLAIN, Catalogue
from purification.experiments.cells import (
    CLEAN,
    NOT_AS_NAMED,
    as_named,
    of_attack,
    of_defense,
    of_no_defense,
    titled,
)
from purification.experiments.config import ConfigError
from purification.experiments.image_counts import available, beyond
from purification.experiments.table4 import attacked_cells

SEARCHES_TABLE = "ae_gan_table2"
AE_GAN_FIGURES = tuple(f"ae_gan_figure{n}" for n in range(3, 11))
DETECTION_FIGURES = tuple(f"ae_gan_figure{n}" for n in (3, 6, 7, 8))
SAMPLES, CORRUPTED = "ae_gan_figure4", "ae_gan_figure5"
COST = "cost_accuracy"
"""Name of the measurements of accuracy over cost, and of their figure."""
PAPER_THRESHOLD = {"l1": 0.06}
"""Thresholds that the paper names (appendix F), by the indicator."""
SHOWN = 5
"""Images of a picture, one a class."""
Blocks = list[tuple[str, list[dict[str, Any]]]]


def ae_gan_cells(
    catalogue: Catalogue, table: str, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """A table under one attack: on the defences, and by way of the substitutes."""
    names = (catalogue, table, dataset, seed, classifier, attack)
    yield from attacked_cells(*names)
    if attack in catalogue.config[table].get("transferred", ()):
        yield from transferred_cells(*names)


def searches(catalogue: Catalogue) -> list[tuple[int, int]]:
    """The (L, R) of Table 2, restarts outside as there. A search from an encoder has R = 1."""
    wanted = catalogue.config[SEARCHES_TABLE]["searches"]
    restarts = dict.fromkeys([1, *wanted["restarts"]])
    return [(steps, count) for count in restarts for steps in wanted["steps"]]


def ae_gan_figure(catalogue: Catalogue, figure: str) -> Figure:
    """A figure, one of `AE_GAN_FIGURES`, of the first seed."""
    seed = catalogue.config["seeds"][0]
    if figure in DETECTION_FIGURES:
        return _detection(catalogue, figure, seed)
    if figure == SAMPLES:
        return _samples(catalogue, seed)
    make = _corrupted if figure == CORRUPTED else _purified
    blocks = make(catalogue, figure, seed)
    content = {"images": SHOWN, "blocks": [[list(block) for block in own] for own in blocks]}
    content |= {"arranged": "beside"} if figure == CORRUPTED else {}
    return Figure(figure, titled(content))


def _detection(catalogue: Catalogue, figure: str, seed: int) -> Figure:
    """Figures 3, 6, 7, 8: the error of one pass as a detector, for each strength of an attack."""
    wanted = catalogue.config[figure]
    [dataset] = wanted["datasets"]
    run, indicator = (dataset, seed), {"indicator": wanted["indicator"]}
    data = catalogue.dataset(dataset)
    clean = {
        split: catalogue.purified_images(*run, wanted["defense"], split)
        for split in ("validation", "test")
    }
    sources = {
        split: {"images": made, "group": None, "dataset": data, "split": split}
        for split, made in clean.items()
    }
    labels = {"dataset": dataset, "seed": seed, "classifier": wanted["classifier"]}
    labels |= {"attack": wanted["attack"], "threat_model": "gray_box"}
    named = of_defense(catalogue, wanted["defense"])
    labels |= {name: named[name] for name in ("defense", "iterations_L", "restarts_R")}
    labels |= {name: named[name] for name in (NOT_AS_NAMED,) if name in named}
    labels = as_named(catalogue, labels)
    jobs = []
    for epsilon in wanted["epsilons"]:
        attack = catalogue.attack_at(wanted["attack"], epsilon)
        attacked = catalogue.attacked(*run, wanted["defense"], wanted["classifier"], attack)
        source = {"images": attacked, "group": "gray_box"} | indicator
        jobs.append(
            {
                "labels": labels | {"epsilon": epsilon},
                "validation": sources["validation"] | indicator,
                "clean": sources["test"] | indicator,
                "attacked": source,
                "digests": [attacked.digest, *(made.digest for made in clean.values())],
            }
        )
    content = {
        "jobs": jobs,
        **indicator,
        "false_positive_rate": wanted["false_positive_rate"],
        "paper_threshold": PAPER_THRESHOLD.get(wanted["indicator"]),
        "paper_figure": "Figure 6" if figure == "ae_gan_figure6" else None,
        "papers": catalogue.printed_numbers("ae_gan"),
        "accuracy": figure == "ae_gan_figure3",
        "seed": seed,
        "repeats": wanted["repeats"],
    }
    return Figure(figure, content)


def _samples(catalogue: Catalogue, seed: int) -> Figure:
    """Figure 4: what the BiGAN's generator makes of its prior, a panel each data set."""
    wanted = catalogue.config[SAMPLES]
    panels = []
    for dataset in wanted["datasets"]:
        network = catalogue.generator(dataset, seed, wanted["generator"], "bigan")
        panel = {"title": dataset, "images": network, "kind": "BiGAN", "seed": seed}
        panels.append(panel | {"digest": network.digest})
    return Figure(SAMPLES, {"panels": panels, "rows": 6, "columns": 6})


def _corrupted(catalogue: Catalogue, figure: str, seed: int) -> list[Blocks]:
    """Figure 5: corrupted images, what each defence makes of them, and the truth, a block each
    panel."""
    wanted = catalogue.config[figure]
    found = []
    for panel in wanted["panels"]:
        dataset, attack = panel["dataset"], panel["attack"]
        columns = []
        for defense in wanted["defenses"]:
            names = (dataset, seed, defense, wanted["classifier"], attack)
            attacked = catalogue.attacked(*names)
            if not columns:
                assert attacked.gray is not None
                columns.append(attacked.gray.shown("corrupted"))
            columns.append(attacked.shown(defense) | {"group": "gray_box"})
        columns.append(catalogue.dataset(dataset).shown("truth") | {"split": "test"})
        found.append([(f"{dataset}, {attack}", columns)])
    return found


def _purified(catalogue: Catalogue, figure: str, seed: int) -> list[Blocks]:
    """Figures 9 and 10: images under each attack, and those purified."""
    wanted = catalogue.config[figure]
    found = []
    for dataset in wanted["datasets"]:
        attacked, purified = [], []
        for attack in wanted["attacks"]:
            names = (dataset, seed, wanted["defense"], wanted["classifier"], attack)
            made = catalogue.attacked(*names)
            assert made.gray is not None
            attacked.append(made.gray.shown(attack))
            purified.append(made.shown(attack) | {"group": "gray_box"})
        found.append([("Attacked", attacked), ("Purified", purified)])
    return found


def cost_cells(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Accuracy over cost: without defence; behind one pass on clean images; and under attack behind
    each search at each L and R."""
    wanted = catalogue.config[COST]
    common = {"dataset": dataset, "seed": seed, "classifier": classifier}
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    if attack == CLEAN:
        common |= {"attack": CLEAN, "epsilon": None, "threat_model": "none"}
        data = catalogue.dataset(dataset)
        yield Cell(common | of_no_defense(), plain, data, split="test")
        deployed = catalogue.deployed(dataset, seed, wanted["one_pass"], classifier)
        once = catalogue.purified_images(dataset, seed, wanted["one_pass"], "test")
        yield Cell(common | of_defense(catalogue, wanted["one_pass"]), deployed, once)
        return
    common |= of_attack(catalogue, attack)
    bare = catalogue.adversarial(dataset, seed, PLAIN, classifier, attack)
    yield Cell(common | {"threat_model": "white_box"} | of_no_defense(), plain, bare)
    for defense in _at_each_cost(catalogue):
        attacked = catalogue.attacked(dataset, seed, defense, classifier, attack)
        labels = common | of_defense(catalogue, defense)
        for threat_model in wanted["threat_models"]:
            here = labels | {"threat_model": threat_model}
            yield Cell(here, attacked.classifier, attacked, group=threat_model)


def _at_each_cost(catalogue: Catalogue) -> Iterator[str]:
    for defense, grid in sorted(catalogue.config[COST]["lines"].items()):
        for restarts in grid.get("restarts", (None,)):
            for steps in grid["steps"]:
                yield catalogue.defense_at(defense, steps, restarts)


def cost_content(catalogue: Catalogue) -> dict[str, Any]:
    """What the figure of accuracy over cost shows, as `reporting.cost_accuracy` wants it."""
    wanted = catalogue.config[COST]
    # The order of a mapping is that of whichever config file names it first.
    lines = [
        {"label": _line_label(defense, restarts), **_columns(catalogue, defense, restarts)}
        for defense, grid in sorted(wanted["lines"].items())
        for restarts in grid.get("restarts", (None,))
    ]
    reference = wanted["reference"]
    return {
        "dataset": wanted["datasets"][0],
        "classifier": wanted["classifier"],
        "attack": wanted["attack"],
        "epsilon": catalogue.attack(wanted["attack"]).settings.get("epsilon"),
        "threat_models": list(wanted["threat_models"]),
        "lines": lines,
        "reference": _line_label(reference["defense"], reference.get("restarts")),
        "one_pass": _columns(catalogue, wanted["one_pass"], None),
    }


def _columns(catalogue: Catalogue, defense: str, restarts: int | None) -> dict[str, Any]:
    labels = of_defense(catalogue, defense)
    columns = {name: labels[name] for name in ("defense", "variant")}
    return columns | ({"restarts_R": restarts} if restarts else {})


def _line_label(defense: str, restarts: int | None) -> str:
    names = {
        "defense_gan": "Defense-GAN-Rec",
        "defense_gan_plain": "Defense-GAN",
        "ae_gan_rs": "AE-GAN+rs",
        "bigan_s": "BiGAN+s",
    }
    return names.get(defense, defense) + (f", R = {restarts}" if restarts else "")


def inference_rule(catalogue: Catalogue, dataset: str, seed: int) -> InferenceRule:
    """What the inference rule searches and saves, on clean images and under each attack. Raises
    ConfigError if one of these sets has fewer images than are to be timed."""
    wanted = catalogue.config["inference_rule"]
    limits = {
        f"datasets.{dataset}.{split}": available(catalogue.config, dataset, split)
        for split in ("validation", "test")
    }
    for attack in wanted["attacks"]:
        number = catalogue.config["attacks"][attack]["images"]["gray_box"]
        limits[f"attacks.{attack}.images.gray_box"] = number
    for limit, there in limits.items():
        for problem in beyond("inference_rule.images", wanted["images"], limit, there):
            raise ConfigError(problem)
    classifier = catalogue.deployed(dataset, seed, wanted["defense"], wanted["classifier"])
    attacked = tuple(
        catalogue.adversarial(dataset, seed, PLAIN, wanted["classifier"], attack)
        for attack in wanted["attacks"]
    )
    return InferenceRule(
        catalogue.dataset(dataset),
        seed,
        catalogue.purifier(dataset, seed, wanted["defense"]),
        classifier,
        attacked,
        {key: wanted[key] for key in ("images", "batch", "repeats")},
    )


def inference_rules(catalogue: Catalogue) -> list[InferenceRule]:
    """Those of each data set, of the first seed: times differ by no seed."""
    wanted, seed = catalogue.config["inference_rule"], catalogue.config["seeds"][0]
    return [inference_rule(catalogue, dataset, seed) for dataset in wanted["datasets"]]


def rule_table(catalogue: Catalogue) -> Made:
    """All inference rules for reading."""
    rules = inference_rules(catalogue)
    return Made("results/ae_gan/rule.md", told({"digests": [r.digest for r in rules]}, rules))
