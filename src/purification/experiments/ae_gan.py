"""AE-GAN+rs's figures, accuracy over cost, and its inference rule."""

from collections.abc import Iterator
from typing import Any

from purification.experiments.artifacts import Cell, Figure, InferenceRule, Made, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.cells import CLEAN, of_defense, of_detector, of_run, undefended
from purification.experiments.names import PLAIN
from purification.experiments.papers import Study, paper_name

COST = "cost_accuracy"
"""Name of the measurements of accuracy over cost, and of their figure."""
PAPER_THRESHOLD = {"l1": 0.06}
"""Thresholds that the paper names (appendix F), by the indicator."""


def one_pass_detection(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """The error of one pass as a detector, for each strength of an attack."""
    wanted = study.settings
    [dataset] = wanted["datasets"]
    run, indicator = (dataset, seed), {"indicator": wanted["indicator"]}
    data = catalogue.dataset(dataset)
    clean, sources = [], {}
    for name, split in (("validation", "validation"), ("clean", "test")):
        made = catalogue.purified_images(*run, wanted["defense"], split)
        clean.append(made.digest)
        sources[name] = indicator | {"images": made, "group": None, "dataset": data, "split": split}
    labels = {"dataset": dataset, "seed": seed, "classifier": wanted["classifier"]}
    labels |= {"attack": wanted["attack"], "threat_model": "gray_box"}
    labels = of_detector(catalogue, wanted["defense"], labels)
    jobs = []
    for epsilon in wanted["epsilons"]:
        attack = catalogue.attack_at(wanted["attack"], epsilon)
        attacked = catalogue.attacked_defense(*run, wanted["defense"], wanted["classifier"], attack)
        sources["attacked"] = {"images": attacked, "group": "gray_box"} | indicator
        own = {"labels": labels | {"epsilon": epsilon}, "digests": [attacked.digest, *clean]}
        jobs.append(own | sources)
    content = {
        "jobs": jobs,
        **indicator,
        "false_positive_rate": wanted["false_positive_rate"],
        "paper_threshold": PAPER_THRESHOLD.get(wanted["indicator"]),
        "paper_figure": study.printed if "printed" in study.quirks else None,
        "papers": catalogue.printed_numbers(study.paper),
        "accuracy": "accuracy" in study.quirks,
        "seed": seed,
        "repeats": wanted["repeats"],
    }
    return Figure(study, content)


def samples(catalogue: Catalogue, study: Study, seed: int) -> Figure:
    """What the BiGAN's generator makes of its prior, a panel each data set."""
    wanted = study.settings
    panels = []
    for dataset in wanted["datasets"]:
        network = catalogue.generator(dataset, seed, wanted["generator"], "bigan")
        panel = {"title": dataset, "images": network, "kind": "BiGAN", "seed": seed}
        panels.append(panel | {"digest": network.digest})
    return Figure(study, {"panels": panels, "rows": 6, "columns": 6})


def cost_cells(
    catalogue: Catalogue, study: Study, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Accuracy over cost: without defence; behind one pass on clean images; and under attack behind
    each search at each L and R."""
    wanted = study.settings
    common = of_run(catalogue, dataset, seed, classifier, attack)
    yield undefended(catalogue, dataset, seed, classifier, attack)
    if attack == CLEAN:
        deployed = catalogue.deployed(dataset, seed, wanted["one_pass"], classifier)
        once = catalogue.purified_images(dataset, seed, wanted["one_pass"], "test")
        yield Cell(common | of_defense(catalogue, wanted["one_pass"]), deployed, once)
        return
    for line, restarts in _lines(study):
        for steps in wanted["lines"][line]["steps"]:
            defense = catalogue.defense_at(line, steps, restarts)
            attacked = catalogue.attacked_defense(dataset, seed, defense, classifier, attack)
            labels = common | of_defense(catalogue, defense)
            for threat_model in wanted["threat_models"]:
                here = labels | {"threat_model": threat_model}
                yield Cell(here, attacked.classifier, attacked, group=attacked.sets[threat_model])


def _lines(study: Study) -> list[tuple[str, int | None]]:
    """Defence and R of each line. The order of a mapping is that of whichever config file names it
    first."""
    lines = sorted(study.settings["lines"].items())
    return [(defense, r) for defense, grid in lines for r in grid.get("restarts", (None,))]


def cost_content(catalogue: Catalogue) -> dict[str, Any]:
    """What the figure of accuracy over cost shows, as `reporting.cost_accuracy` wants it."""
    study = catalogue.study(COST)
    wanted = study.settings
    lines = [
        {"label": _line_label(catalogue, *line), **_columns(catalogue, *line)}
        for line in _lines(study)
    ]
    reference = wanted["reference"]
    return {
        "dataset": wanted["datasets"][0],
        "classifier": wanted["classifier"],
        "attack": wanted["attack"],
        "epsilon": catalogue.attack(wanted["attack"]).settings.get("epsilon"),
        "threat_models": list(wanted["threat_models"]),
        "lines": lines,
        "reference": _line_label(catalogue, reference["defense"], reference.get("restarts")),
        "one_pass": _columns(catalogue, wanted["one_pass"], None),
    }


def _columns(catalogue: Catalogue, defense: str, restarts: int | None) -> dict[str, Any]:
    labels = of_defense(catalogue, defense)
    columns = {name: labels[name] for name in ("defense", "variant")}
    return columns | ({"restarts_R": restarts} if restarts else {})


def _line_label(catalogue: Catalogue, defense: str, restarts: int | None) -> str:
    labels = of_defense(catalogue, defense)
    name = paper_name(labels["defense"], labels["variant"])
    return name + (f", R = {restarts}" if restarts else "")


def inference_rule(catalogue: Catalogue, dataset: str, seed: int) -> InferenceRule:
    """What the inference rule searches and saves, on clean images and under each attack."""
    wanted = catalogue.study("inference_rule").settings
    classifier = catalogue.deployed(dataset, seed, wanted["defense"], wanted["classifier"])
    attacked = tuple(
        catalogue.attacked_classifier(dataset, seed, PLAIN, wanted["classifier"], attack)
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
    wanted, seed = catalogue.study("inference_rule").settings, catalogue.config["seeds"][0]
    return [inference_rule(catalogue, dataset, seed) for dataset in wanted["datasets"]]


def rule_table(catalogue: Catalogue) -> Made:
    """All inference rules for reading."""
    rules = inference_rules(catalogue)
    return Made("results/ae_gan/rule.md", told({"digests": [r.digest for r in rules]}, rules))
