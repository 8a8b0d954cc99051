"""Defense-VAE's Tables 2 and 4 and Figures 1, 4 and 5. Its other tables are of the same form as
Defense-GAN's.

Table 2's rows: dataset, attack, classifier. Columns: what the VAE learned from: all attacks, all
but the row's, and that with a stand-in. All are attacked in the gray box, which is the paper's
white box.
"""

from collections.abc import Iterator
from typing import Any

from purification.experiments.artifacts import Cell, Figure, RunTimes, Table
from purification.experiments.catalogue import PLAIN, Catalogue
from purification.experiments.cells import of_attack, of_defense, of_no_defense, titled

UNSEEN = "defense_vae_table2"
RUN_TIMES = "defense_vae_table4"
VAE_FIGURES = ("defense_vae_figure1", "defense_vae_figure4", "defense_vae_figure5")
SHOWN = {"defense_vae_figure1": 5, "defense_vae_figure5": 10}
"""Images of each data set in a figure of pictures."""


def unseen_cells(
    catalogue: Catalogue, dataset: str, seed: int, classifier: str, attack: str
) -> Iterator[Cell]:
    """Table 2: accuracy of one classifier under one attack, undefended and behind each VAE."""
    common = {"dataset": dataset, "seed": seed, "classifier": classifier}
    common |= of_attack(catalogue, attack)
    plain = catalogue.classifier(dataset, seed, PLAIN, classifier)
    bare = catalogue.adversarial(dataset, seed, PLAIN, classifier, attack)
    yield Cell(common | {"threat_model": "white_box"} | of_no_defense(), plain, bare)
    # The order of keys in the config decides nothing.
    for seen, defenses in sorted(catalogue.config[UNSEEN]["trained_on"].items()):
        if attack in defenses:
            attacked = catalogue.attacked(dataset, seed, defenses[attack], classifier, attack)
            labels = of_defense(catalogue, defenses[attack])
            labels |= {"variant": f"{labels['variant']};trained_on={seen}"}
            labels |= {"defense": "defense_vae", "threat_model": "gray_box"}
            yield Cell(common | labels, attacked.classifier, attacked, group="gray_box")


def run_times(catalogue: Catalogue, dataset: str, seed: int) -> RunTimes:
    """Table 4 of one data set: a VAE and the search at each L and R, timed in turns."""
    wanted = catalogue.config[RUN_TIMES]
    vae = catalogue.for_classifier(wanted["defense"], wanted["classifier"])
    purifiers = {name: catalogue.purifier(dataset, seed, name) for name in (vae, wanted["search"])}
    searches = {
        f"L{steps}_R{restarts}": {"steps": steps, "restarts": restarts}
        for steps in wanted["steps"]
        for restarts in wanted["restarts"]
    }
    return RunTimes(
        catalogue.dataset(dataset),
        seed,
        wanted["defense"],
        purifiers[vae],
        purifiers[wanted["search"]],
        searches,
        {key: wanted[key] for key in ("images", "batch", "search_images", "repeats")},
    )


def run_time_table(catalogue: Catalogue) -> Table:
    """Table 4, of the first seed: times differ by no seed."""
    seed = catalogue.config["seeds"][0]
    datasets = catalogue.config[RUN_TIMES]["datasets"]
    timed = tuple(run_times(catalogue, dataset, seed) for dataset in datasets)
    return Table(RUN_TIMES, timed, papers=catalogue.printed_numbers("defense_vae"))


def vae_figure(catalogue: Catalogue, figure: str) -> Figure:
    """A figure, one of `VAE_FIGURES`, of the first seed."""
    if figure == "defense_vae_figure4":
        return _finetuning(catalogue, figure)
    wanted, seed = catalogue.config[figure], catalogue.config["seeds"][0]
    blocks = _gray_box_pictures if figure == "defense_vae_figure1" else _black_box_pictures
    datasets = [blocks(catalogue, figure, dataset, seed) for dataset in wanted["datasets"]]
    content = {"images": SHOWN[figure], "blocks": [[list(block) for block in d] for d in datasets]}
    content |= {"parts": 1 if figure == "defense_vae_figure1" else 2}
    return Figure(figure, titled(content))


def _gray_box_pictures(
    catalogue: Catalogue, figure: str, dataset: str, seed: int
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Figure 1: each strength's attacked images and what each defence makes of them."""
    wanted = catalogue.config[figure]
    original = catalogue.dataset(dataset).shown("original") | {"split": "test"}
    blocks = [("", [original])]
    for epsilon in wanted["epsilons"]:
        attack = catalogue.attack_at(wanted["attack"], epsilon)
        run = (dataset, seed)
        bare = catalogue.adversarial(*run, PLAIN, wanted["classifier"], attack)
        columns = [bare.shown("attacked")]
        for defense in wanted["defenses"]:
            attacked = catalogue.attacked(*run, defense, wanted["classifier"], attack)
            columns.append(attacked.shown(_header(defense)) | {"group": "gray_box"})
        blocks.append((f"ε = {epsilon:g}", columns))
    return blocks


def _black_box_pictures(
    catalogue: Catalogue, figure: str, dataset: str, seed: int
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Figure 5: images attacked by way of a substitute, and what each defence makes of them."""
    wanted = catalogue.config[figure]
    classifier, substitute = wanted["pair"].split("/")
    names = {"oracle": PLAIN, "classifier": classifier, "substitute": substitute}
    names |= {"attack": wanted["attack"]}
    original = catalogue.dataset(dataset).shown("original") | {"split": "test", "hold_out": True}
    columns = [original, catalogue.black_box(dataset, seed, **names).shown("attacked")]
    for defense in wanted["defenses"]:
        purifier = catalogue.for_classifier(defense, classifier)
        purified = catalogue.purified_black_box(dataset, seed, defense=purifier, **names)
        columns.append(purified.shown(_header(defense)))
    return [("", columns)]


def _finetuning(catalogue: Catalogue, figure: str) -> Figure:
    """Figure 4: accuracy under attack over the epochs of joint training."""
    wanted, seed = catalogue.config[figure], catalogue.config["seeds"][0]
    [dataset] = wanted["datasets"]
    lines = []
    for defense in wanted["defenses"]:
        for classifier in wanted["classifiers"]:
            trained = catalogue.end_to_end(dataset, seed, defense, classifier)
            title = "From scratch" if trained.from_scratch else "Finetuned from REC"
            line = {"panel": title, "line": f"Classifier {classifier}"}
            line |= {"history": trained, "curve": trained.curve}
            lines.append(line | {"digest": trained.digest})
    return Figure(figure, {"lines": lines})


def _header(defense: str) -> str:
    return {"defense_gan": "Defense-GAN", "defense_vae": "Defense-VAE"}.get(defense, defense)
