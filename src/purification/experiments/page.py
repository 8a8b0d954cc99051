"""The papers' pages: which tables and figures they show, and what they say of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from purification.experiments.ae_gan import (
    SEARCHES_TABLE,
    ae_gan_figure,
    inference_rules,
    rule_table,
)
from purification.experiments.artifacts import Figure, File, Recipe, Table, table_place, told
from purification.experiments.catalogue import Catalogue
from purification.experiments.cowboy import (
    all_scores,
    comparisons,
    cowboy_figure,
    detection_runs,
)
from purification.experiments.defense_vae import run_time_table, vae_figure
from purification.experiments.detection import detection_table, detections
from purification.experiments.figures import FIGURES, paper_figure
from purification.experiments.grids import SWEPT_TABLES
from purification.experiments.table13 import timing_table
from purification.experiments.tables import cost_measurements, paper_table

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


VAE_TABLE_CAPTIONS = {
    "defense_vae_table1": "attacks on the bare classifier, and on VAE and classifier",
    "defense_vae_table2": "attacks that the VAE has not seen",
    "defense_vae_table3": "black-box attacks",
    "defense_vae_table7": "as Table 1 (the paper: CIFAR-10 and CelebA)",
    "defense_vae_table8": "as Table 3 (the paper: CIFAR-10)",
}
VAE_FIGURE_CAPTIONS = {
    "defense_vae_figure1": "originals, attacked, and purified by Defense-GAN and Defense-VAE",
    "defense_vae_figure4": "accuracy under attack over the epochs of end-to-end training",
    "defense_vae_figure5": "the same under black-box attack",
}


AE_GAN_TABLE_CAPTIONS = {
    "ae_gan_table1": "attacks in each threat model",
    "ae_gan_table2": "searches with few steps, beside Defense-GAN's",
    "ae_gan_table3": "the family: with and without discriminator, noise (r) and search (s)",
    "ae_gan_table8": "lengths of the code",
    "ae_gan_table9": "as Table 1 (the paper: CelebA)",
}
AE_GAN_FIGURE_CAPTIONS = {
    "ae_gan_figure3": "detection by the mean square error of one pass (MNIST)",
    "ae_gan_figure4": "samples of the BiGAN",
    "ae_gan_figure5": "corrupted images, purified",
    "ae_gan_figure6": "detection by the mean absolute error (MNIST)",
    "ae_gan_figure7": "detection by the mean absolute error (Fashion-MNIST)",
    "ae_gan_figure8": "detection by the mean square error (Fashion-MNIST)",
    "ae_gan_figure9": "attacked and purified (MNIST)",
    "ae_gan_figure10": "attacked and purified (Fashion-MNIST)",
}
COWBOY_TABLE_CAPTIONS = {
    "cowboy_table1": "attacked and cleaned",
    "cowboy_table2": "Cowboy beside the same search without the discriminator",
}
COWBOY_FIGURE_CAPTIONS = {
    "cowboy_figure1": "a classifier's probability, two Gaussians",
    "cowboy_figure2": "a discriminator's score, two Gaussians",
    "cowboy_figure3": "the discriminator's scores of real and of attacked images",
    "cowboy_figure4": "validation images of the lowest and of the highest score",
    "cowboy_figure5": "originals, attacked, and cleaned",
    "cowboy_figure6": "accuracy after cleaning over the GAN's training",
    "cowboy_figure7": "scores over the GAN's training",
}


@dataclass(frozen=True)
class Page:
    """`tables` and `figures` as [name, caption, (swept,) file], and the notes. `shown`: all that
    stands there; `read`: the files of ours that are read for it, but for the tables."""

    tables: list[list]
    figures: list[list[str]]
    notes: list[str]
    shown: list[File]
    read: list[File]

    @property
    def job(self) -> Recipe:
        """What the script is told; a table is read from its long form."""
        tables = [[*names, table.path] for *names, table in self.tables]
        content = {"tables": tables, "figures": self.figures, "notes": self.notes}
        content["digests"] = [file.digest for file in self.shown]
        return told(content, [*(table.long for *_, table in self.tables), *self.read])


def defense_gan_page(catalogue: Catalogue) -> Page:
    """The page of Defense-GAN, as the config asks for it."""
    tables = [paper_table(catalogue, name) for name in TABLE_CAPTIONS]
    figures = [paper_figure(catalogue, name) for name in FIGURES]
    shown = [*tables, *figures, timing_table(catalogue), *detections(catalogue)]
    datasets = sorted({d for name in TABLE_CAPTIONS for d in catalogue.config[name]["datasets"]})
    seeds = ", ".join(map(str, catalogue.config["seeds"]))
    notes = [
        "Our numbers beside those of Samangouei et al. (ICLR 2018): accuracies with half the width "
        "of their 95 % interval, and in brackets the paper's number and our difference from it, "
        "where it prints one for the same data set and settings. An attack is named by what the "
        "attacker differentiates (README.md); the paper's white box had no gradient.",
        f"Data sets: {', '.join(datasets)}. Seeds: {seeds}.",
    ]
    links = [[_title(f.name), FIGURE_CAPTIONS[f.name], f"figures/{f.name}.png"] for f in figures]
    read = [timing_table(catalogue).long, detection_table(catalogue)]
    return Page(_listed(tables, TABLE_CAPTIONS), links, notes, shown, read)


def defense_vae_page(catalogue: Catalogue) -> Page:
    """The page of Defense-VAE, as the config asks for it."""
    note = (
        "Our numbers beside those of Li and Ji (2019), as on Defense-GAN's page. The paper's white "
        "box is attacked through the bare classifier alone: it is our gray box, and stands beside "
        "it. Our white box differentiates VAE and classifier; the paper has no such column. Its "
        "columns of other defenses are copied from the Defense-GAN paper."
    )
    times = run_time_table(catalogue)
    captions = (VAE_TABLE_CAPTIONS, vae_figure, VAE_FIGURE_CAPTIONS)
    return _page(catalogue, *captions, note, [times], times.measurements)


def ae_gan_page(catalogue: Catalogue) -> Page:
    """The page of AE-GAN+rs, as the config asks for it."""
    note = (
        "Our numbers beside those of the paper (2020), as on Defense-GAN's page. In the white box "
        "the attacker differentiates encoder, search and classifier; how gradients pass the "
        "paper's search is not stated. Variants: r, noise in training; s, a search of every image; "
        "rule, a search of suspicious images only. The paper's Defense-GAN stands before the same "
        "classifier as the others (appendix B), which is our Orig."
    )
    also = [*cost_measurements(catalogue), *inference_rules(catalogue)]
    captions = (AE_GAN_TABLE_CAPTIONS, ae_gan_figure, AE_GAN_FIGURE_CAPTIONS)
    page = _page(catalogue, *captions, note, also, [rule_table(catalogue)])
    page.figures.append(
        ["Cost", "robust accuracy over generator evaluations", "figures/cost_accuracy.png"]
    )
    return page


def cowboy_page(catalogue: Catalogue) -> Page:
    """The page of Cowboy, as the config asks for it."""
    note = (
        "Our numbers beside those of Santhanam and Grnarova (2018), as on Defense-GAN's page. The "
        "paper names no strength of any attack and no threat model; its attacks see the bare "
        "classifier, which is our gray box. Our white box differentiates the search and the "
        "classifier; the paper has no such column."
    )
    also = all_scores(catalogue)
    captions = (COWBOY_TABLE_CAPTIONS, cowboy_figure, COWBOY_FIGURE_CAPTIONS)
    read = [comparisons(catalogue), detection_runs(catalogue)]
    return _page(catalogue, *captions, note, also, read)


def _page(
    catalogue: Catalogue,
    table_captions: dict[str, str],
    find_figure: Callable[[Catalogue, str], Figure],
    figure_captions: dict[str, str],
    note: str,
    also: Sequence[File],
    read: Sequence[File],
) -> Page:
    """The page of a paper whose tables and figures lie in a folder of its own. `also`: what it
    shows besides; `read`: from which files."""
    tables = [paper_table(catalogue, name) for name in table_captions]
    figures = [find_figure(catalogue, name) for name in figure_captions]
    links = [
        [_title(f.name), figure_captions[f.name], f"{table_place(f.name)}.png"] for f in figures
    ]
    shown = [*tables, *figures, *also]
    return Page(_listed(tables, table_captions), links, [note], shown, list(read))


def _listed(tables: list[Table], captions: dict[str, str]) -> list[list]:
    swept = (*SWEPT_TABLES, SEARCHES_TABLE)
    return [
        [_title(table.name), captions[table.name], table.name in swept, table] for table in tables
    ]


def _title(name: str) -> str:
    """ "Table 10" of "table10" and of "defense_vae_table10"."""
    own = name.rpartition("_")[2]
    return own.replace("table", "Table ").replace("figure", "Figure ")
