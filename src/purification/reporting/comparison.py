"""Our numbers beside the papers' printed ones: which are compared, how near they lie, and a page of
every cell."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from purification.evaluation.measure import QUIRKS_COLUMN
from purification.evaluation.protocols import ONE_SHOT
from purification.evaluation.refusals import REFUSED
from purification.reporting.long_tables import over_seeds, read_long_table, text_of
from purification.reporting.markdown_tables import grid

WITHIN = (0.02, 0.05)
AGREEMENT = ("compared", "within 2 points", "within 5 points", "beyond")
"""What `agreement_counts` counts."""
SEARCHING = ("defense_gan", "ae_gan", "bigan")
"""Defences with a latent search, whose printed white box no gradient reached."""
FEW = 100
"""Fewer images than this are counted apart, too."""

_MEASUREMENT = (
    *("dataset", "attack", "epsilon", "classifier", "substitute", "defense", "variant"),
    *("threat_model", "quirks", "iterations_L", "restarts_R"),
)
CELL_COLUMNS = (
    *("paper", "table", *_MEASUREMENT, "paper_iterations_L", "paper_restarts_R"),
    *("paper_value", "paper_std", "value", "low", "high", "n", "seeds", "difference"),
    *("counted", "why_not", "clean_value"),
)
"""Columns of `cell_table`."""
_PRINTED = ("title", "table", "dataset", "printed_attack", "epsilon", "printed_classifier")
_PRINTED += ("substitute", "defense", "variant", "threat_model", "paper_value")
"""What is the same of two numbers of ours beside one of a paper."""
_DEPLOYED = ("dataset", "classifier", "defense", "variant", "iterations_L", "restarts_R")
_OURS = {"accuracy": "value", "ci_low": "low", "ci_high": "high"}
_NO_GRADIENT = "no_gradient"
# A hair more than each limit: 0.92 - 0.90 is 0.020000000000000018.
_ROUNDING = 1e-9
_GROUP = ["title", "dataset", "defense", "variant", "threat_model"]
_GROUP_HEADER = ("paper", "data set", "defense", "threat model")
_MEANS = ("mean difference", "mean size of it")
_CELL_HEADER = (
    *("attack (epsilon)", "classifier", "substitute", "defense", "threat model", "quirks"),
    *("L, R", "paper's L, R", "paper", "ours", "difference"),
)


@dataclass(frozen=True)
class ComparedTable:
    """A paper's table: `paper` with its `key`, `title` and `no_gradient` (`experiments.papers`),
    `printed` its name there ("Table 4"), the data sets that were measured, and its
    `compared_cells` with ``why_not``, the reason where one does not count."""

    paper: Any
    printed: str
    datasets: tuple[str, ...]
    cells: pd.DataFrame

    @property
    def title(self) -> str:
        return f"{self.paper.title}, {self.printed}"


def compared_cells(long: pd.DataFrame) -> pd.DataFrame:
    """Our numbers for which a paper prints one for the same data set, attack, strength, classifier,
    substitute, defence and threat model; `long` is of `long_table`.

    Returns a row for each, in the order of `long`, with the means over seeds and the intervals of
    `over_seeds`; ``counted``; ``clean_value``, our accuracy behind the same defence without attack.
    The white box of searches does not count: no gradient passes Defense-GAN's in its published
    code, and AE-GAN+rs prints its above the gray box, which a working gradient does not allow. They
    are not one attack with ours, unless ours has the quirk ``no_gradient``. Nor does a cell whose
    attack was refused, which has no number of ours. FGSM without a gradient changes nothing:
    ``clean_value`` is what it amounts to.
    """
    long = long.assign(quirks=text_of(long, QUIRKS_COLUMN))
    printed = long[long["paper_value"].notna()]
    cells = over_seeds(printed, [name for name in _MEASUREMENT if name in printed])
    searched = cells["defense"].isin(SEARCHING) & (cells["threat_model"] == "white_box")
    searched &= ~cells["quirks"].str.contains(_NO_GRADIENT)
    cells["counted"] = ~searched & cells["accuracy"].notna()
    deployed = [name for name in _DEPLOYED if name in long]
    once = text_of(long, "protocol").isin(("", ONE_SHOT))
    clean = long[once & (long["attack"] == "none")]
    clean = clean.groupby([*deployed, "quirks"], dropna=False)["accuracy"].mean().reset_index()
    cells["clean_value"] = [_clean_value(cell, clean, deployed) for _, cell in cells.iterrows()]
    return cells


def _clean_value(cell: pd.Series, clean: pd.DataFrame, deployed: Sequence[str]) -> float:
    """The accuracy without attack of what a cell attacks: of the rows of that defence and
    classifier the one with the most of the cell's quirks, and no other."""
    same = pd.Series(True, clean.index)
    for name in deployed:
        same &= clean[name].isna() if pd.isna(cell[name]) else clean[name] == cell[name]
    own = set(cell["quirks"].split(";"))
    known = [(set(row.quirks.split(";")) - {""}, row.accuracy) for row in clean[same].itertuples()]
    found = [(len(quirks), accuracy) for quirks, accuracy in known if quirks <= own]
    return max(found)[1] if found else float("nan")


def read_compared_tables(
    specifications: Iterable[Sequence[str]], papers: Mapping[str, Any]
) -> list[ComparedTable]:
    """Tables from (paper's key, printed name, file of the long table) and the `papers` by their
    keys. Raises as `read_long_table`."""
    tables = []
    for key, printed, file in specifications:
        paper = papers[key]
        long = read_long_table(Path(file))
        datasets = tuple(long["dataset"].unique())
        cells = compared_cells(long)
        cells["why_not"] = cells["counted"].map({True: "", False: paper.no_gradient})
        refused = cells["accuracy"].isna()
        if refused.any():
            cells.loc[refused, "why_not"] = "refused: " + cells.loc[refused, REFUSED]
        tables.append(ComparedTable(paper, printed, datasets, cells))
    return tables


def cell_table(tables: Iterable[ComparedTable]) -> pd.DataFrame:
    """All compared cells, a row each (`CELL_COLUMNS`): accuracies as fractions in [0, 1], `low` and
    `high` our 95 % interval, `difference` ours less the paper's."""
    return _all_cells(tables)[list(CELL_COLUMNS)]


def _all_cells(tables: Iterable[ComparedTable]) -> pd.DataFrame:
    """`cell_table`, and in further columns the paper's name of each attack and classifier."""
    parts = []
    for table in tables:
        named: dict[str, Any] = {"paper": table.paper.key, "table": table.printed}
        named |= {"title": table.paper.title, "substitute": text_of(table.cells, "substitute")}
        for name in ("attack", "classifier"):
            printed = text_of(table.cells, f"paper_{name}")
            named[f"printed_{name}"] = printed.where(printed != "", table.cells[name])
        own = table.cells.rename(columns=_OURS).assign(**named)
        parts.append(own[list(dict.fromkeys([*CELL_COLUMNS, *_PRINTED]))])
    # Without a cell a table's columns may have other types.
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def agreement_counts(differences: pd.Series) -> list[int]:
    """How many differences there are, how many lie within 2 points, how many within 5 (these
    included), and how many beyond."""
    within = [int((differences.abs() <= limit + _ROUNDING).sum()) for limit in WITHIN]
    return [len(differences), *within, len(differences) - within[-1]]


def comparison_page(tables: Sequence[ComparedTable]) -> str:
    """The page as GitHub's Markdown: how many cells agree by paper, the same of each paper's own
    defence, by defence, what is left out, and every cell by table."""
    cells = _all_cells(tables)
    title = "# The papers' numbers and ours"
    if cells.empty:
        datasets = dict.fromkeys(name for table in tables for name in table.datasets)
        return (
            f"{title}\n\nNo number is compared: the papers print none for the data sets and "
            f"settings of this config (data sets: {', '.join(datasets)}). `config/paper.yaml` has "
            "the papers'.\n"
        )
    every, cells = cells, cells[cells["quirks"] == ""]
    parts = [title, _LEGEND, "## By paper", _by_paper(cells)]
    # Without the classifiers alone and the defences that a paper compares its own with. In
    # resources/papers a paper goes by its defence's name.
    parts += [
        "## By paper, its own defense alone",
        _by_paper(cells[cells["defense"] == cells["paper"]]),
    ]
    parts += ["## By defense", _by_group(cells)]
    if len(every) > len(cells):
        parts += ["## With quirks of published code", _with_quirks(every)]
    if not cells["counted"].all():
        parts += ["## Left out of the counts", _left_out(cells)]
    for table in tables:
        parts += [f"## {table.title}", *_cell_sections(table)]
    return "\n\n".join(parts) + "\n"


def _by_paper(cells: pd.DataFrame) -> str:
    few = cells["n"] < FEW
    header = ["paper", *AGREEMENT, "paper's number in our interval", f"of fewer than {FEW} images"]
    header += ["left out"]
    rows = []
    papers = cells.groupby("title", sort=False)
    for name, all_of_it in [*papers, ("all", cells), (f"all of {FEW} images or more", cells[~few])]:
        own = _once(all_of_it)
        counted = own[own["counted"]]
        line = [name, *_agreement(counted), int((counted["n"] < FEW).sum())]
        rows.append([*line, int((~own["counted"]).sum())])
    return grid(header, rows)


def _once(cells: pd.DataFrame) -> pd.DataFrame:
    """Without what another table, or a paper that copies it, prints of the same measurement."""
    return cells.drop_duplicates([*_MEASUREMENT, "paper_value"])


def _by_group(cells: pd.DataFrame) -> str:
    header = [*_GROUP_HEADER, *AGREEMENT, "in our interval", *_MEANS]
    rows = [
        [*_names(key), *_agreement(_once(own)), *_mean_differences(_once(own)["difference"])]
        for key, own in cells[cells["counted"]].groupby(_GROUP, sort=False)
    ]
    return grid(header, rows)


def _with_quirks(cells: pd.DataFrame) -> str:
    """How near the cells come that hang on quirks, and beside them those without any of the same
    printed numbers, where they were measured."""
    columns = (*AGREEMENT[1:], *_MEANS)
    header = [*_GROUP_HEADER, "quirks", "cells", *columns]
    header += ["cells without", *(f"without: {name}" for name in columns)]
    cells = cells[cells["value"].notna()]
    honest = cells[cells["quirks"] == ""]
    rows = []
    for key, own in cells[cells["quirks"] != ""].groupby([*_GROUP, "quirks"], sort=False):
        line: list[Any] = [*_names(key[:-1]), key[-1].replace(";", ", ")]
        same = honest.merge(own[[*_PRINTED]].drop_duplicates(), on=[*_PRINTED])
        for found in (_once(own), _once(same)):
            means = _mean_differences(found["difference"]) if len(found) else ["", ""]
            counts = agreement_counts(found["difference"])
            line += [*counts, *means] if len(found) else [0, "", "", "", *means]
        rows.append(line)
    return f"{_QUIRKS}\n\n{grid(header, rows)}"


def _left_out(cells: pd.DataFrame) -> str:
    header = [*_GROUP_HEADER, "cells", *_MEANS, "why"]
    header += [f"our clean accuracy: {name}" for name in (*AGREEMENT[1:], *_MEANS)]
    rows = []
    groups = cells[~cells["counted"]].groupby([*_GROUP, "why_not"], sort=False)
    for key, own in ((key, _once(own)) for key, own in groups):
        clean = own["clean_value"] - own["paper_value"]
        row = [*_names(key[:-1]), len(own), *_mean_differences(own["difference"]), key[-1]]
        rows.append([*row, *agreement_counts(clean)[1:], *_mean_differences(clean)])
    return f"{_LEFT_OUT}\n\n{grid(header, rows)}"


def _names(key: Sequence[str]) -> list[str]:
    title, dataset, defense, variant, threat_model = key
    return [title, dataset, f"{defense} {variant}".strip(), threat_model]


def _agreement(cells: pd.DataFrame) -> list[int]:
    """`agreement_counts`, and how many of the paper's numbers lie within our interval."""
    printed = cells["paper_value"]
    inside = printed.between(cells["low"] - _ROUNDING, cells["high"] + _ROUNDING)
    return [*agreement_counts(cells["difference"]), int(inside.sum())]


def _mean_differences(differences: pd.Series) -> list[str]:
    if differences.isna().all():
        return ["", ""]
    return [f"{differences.mean():+.3f}", f"{differences.abs().mean():.3f}"]


def _cell_sections(table: ComparedTable) -> list[str]:
    """A grid of every cell for each data set, and which data sets have none."""
    parts = []
    for dataset, cells in table.cells.groupby("dataset", sort=False):
        # What this table does not have, such as a substitute, would be an empty column.
        lines = map(_cell_line, cells.itertuples())
        parts += [f"### {dataset}", grid(_CELL_HEADER, lines, filled=True)]
    without = [name for name in table.datasets if name not in set(table.cells["dataset"])]
    if without:
        parts.append(
            f"Nothing to compare on {', '.join(without)}: the paper prints no number for our "
            "settings there."
        )
    return parts


def _cell_line(cell: Any) -> list[str]:
    """One cell as `_CELL_HEADER` has it."""
    attack = cell.attack if pd.isna(cell.epsilon) else f"{cell.attack} ({cell.epsilon:.6g})"
    paper = f"{cell.paper_value:.3f}"
    paper += f" ± {cell.paper_std:.3f}" if pd.notna(cell.paper_std) else ""
    seeds = f", {cell.seeds} seeds" if cell.seeds > 1 else ""
    ours = f"{cell.accuracy:.3f} ± {(cell.ci_high - cell.ci_low) / 2:.3f} ({cell.n}{seeds})"
    difference = f"{cell.difference:+.3f}" + ("" if cell.counted else ", not counted")
    if not cell.seeds:
        ours, difference = "attack refused", "not counted"
    return [
        *(attack, cell.classifier, getattr(cell, "substitute", "")),
        *(f"{cell.defense} {cell.variant}".strip(), cell.threat_model),
        cell.quirks.replace(";", ", "),
        _search(cell.iterations_L, cell.restarts_R),
        _search(cell.paper_iterations_L, cell.paper_restarts_R),
        *(paper, ours),
        difference,
    ]


def _search(steps: Any, restarts: Any) -> str:
    """L and R; empty where there is neither."""
    return ", ".join(str(value) for value in (steps, restarts) if pd.notna(value))


_LEGEND = (
    "A cell is a number that a paper prints and that was measured here for the same data set, "
    "attack, strength, classifier of the same letter (and substitute), defense and threat model; "
    "Cowboy prints no strength, and its numbers stand beside ours of any. A strength is in the "
    "attack's own units (`pixel_range` in the config). L and R of a search may differ, and then "
    "both are shown. What a paper prints and was not measured is not here. A number of which "
    "several tables or papers print the same value for the same measurement (Defense-VAE copies "
    "columns of Defense-GAN) counts once.\n\n"
    "Accuracies are fractions; ours with half the width of the 95 % Wilson interval, whose ends "
    "`comparison.csv` has, and the number of images. Several seeds: their mean, and the interval "
    "of their pooled counts, which does not cover the spread between seeds. Differences are ours "
    "less the paper's, by the mean over seeds; `within 5 points` includes those within 2. The "
    "interval is that of our sample alone; the paper's number has an error of its own."
)
_QUIRKS = (
    "Some printed numbers cannot be what the paper says they are. These of ours were made with "
    "quirks of published code that the config turns on, and stand in none of the counts above: a "
    "paper's number that is met so is met by its mistake. The last columns are of our numbers "
    "without quirks beside the same printed ones, where there are some; white boxes of searches "
    "included, which the counts leave out."
)
_LEFT_OUT = (
    "FGSM through which no gradient passes changes nothing, and CW nothing but its distance; a "
    "random start (RAND+FGSM, PGD) is all that is left of those that have one. So the last columns "
    "compare the printed numbers with our accuracy behind the same defense *without* attack."
)
