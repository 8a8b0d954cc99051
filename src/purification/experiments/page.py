"""The page of the Defense-GAN paper, and all that its target makes."""

from dataclasses import dataclass

from purification.experiments.catalogue import Catalogue
from purification.experiments.detection import detections
from purification.experiments.figures import FIGURES, paper_figure
from purification.experiments.grids import SWEPT_TABLES
from purification.experiments.table13 import timing_table
from purification.experiments.tables import PAPER_TABLES, paper_table

TABLE_CAPTIONS = {
    "table1": "black-box attacks (the paper: MNIST)",
    "table2": "black-box attacks (the paper: Fashion-MNIST)",
    "table3": "black-box FGSM of several strengths",
    "table4": "white-box attacks, with the gray box and BPDA beside them",
    "table8": "accuracy over the steps L (MNIST)",
    "table9": "accuracy over the steps L (Fashion-MNIST)",
    "table10": "accuracy over the restarts R (MNIST)",
    "table11": "accuracy over the restarts R (Fashion-MNIST)",
    "table12": "white-box attacks (the paper: CelebA)",
}
FIGURE_CAPTIONS = {
    "figure3": "accuracy over L and over R",
    "figure4": "ROC of detection over L, R and epsilon (MNIST)",
    "figure5": "ROC of detection over L, R and epsilon (Fashion-MNIST)",
    "figure6": "reconstructions over L and over R",
    "figure7": "reconstructions over epsilon",
    "figure8": "white-box accuracy over L",
}


@dataclass(frozen=True)
class Page:
    """What the script is told: `tables` and `figures` as [name, caption, (swept,) file], with a
    digest of all that they show, and the notes."""

    tables: list[list]
    figures: list[list[str]]
    notes: list[str]
    digests: list[str]


def defense_gan_page(catalogue: Catalogue) -> Page:
    """The page of Defense-GAN, as the config asks for it."""
    tables = [paper_table(catalogue, name) for name in PAPER_TABLES]
    figures = [paper_figure(catalogue, name) for name in FIGURES]
    shown = [*tables, *figures, timing_table(catalogue), *detections(catalogue)]
    datasets = sorted({d for name in PAPER_TABLES for d in catalogue.config[name]["datasets"]})
    seeds = ", ".join(map(str, catalogue.config["seeds"]))
    notes = [
        "Our numbers beside those of Samangouei et al. (ICLR 2018): accuracies with half the width "
        "of their 95 % interval, and in brackets the paper's number and our difference from it, "
        "where it prints one for the same data set and settings. An attack is named by what the "
        "attacker differentiates (README.md); the paper's white box had no gradient.",
        f"Data sets: {', '.join(datasets)}. Seeds: {seeds}.",
    ]
    return Page(
        [
            [_title(table.name), TABLE_CAPTIONS[table.name], table.name in SWEPT_TABLES, table.path]
            for table in tables
        ],
        [
            [_title(figure.name), FIGURE_CAPTIONS[figure.name], f"figures/{figure.name}.png"]
            for figure in figures
        ],
        notes,
        [artifact.digest for artifact in shown],
    )


def _title(name: str) -> str:
    """ "Table 10" of "table10"."""
    return name.replace("table", "Table ").replace("figure", "Figure ")
