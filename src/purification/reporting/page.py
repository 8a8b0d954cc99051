"""A paper's page: its tables and figures in one Markdown file, our numbers beside the printed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from purification.reporting.comparison import AGREEMENT, agreement_counts, compared_cells
from purification.reporting.detection import read_detection
from purification.reporting.long_tables import read_long_table
from purification.reporting.markdown_tables import MARK, brief_table, grid
from purification.reporting.papers import values_of
from purification.reporting.run_time import long_run_times, run_time_grids
from purification.reporting.timing import read_timings, timing_grids
from purification.reporting.wide_tables import wide_table
from purification.text_tables import read_page


@dataclass(frozen=True)
class PageTable:
    """A table of accuracies: its name such as "Table 8", what it shows, the long table (see
    `purification.reporting.long_tables`), whether it is swept, and the file with all details."""

    name: str
    caption: str
    long: pd.DataFrame
    swept: bool
    file: str


def read_page_tables(
    specifications: Sequence[tuple[str, str, bool, str]], folder: Path
) -> list[PageTable]:
    """Tables from (name, caption, swept, path of the wide table); links are relative to `folder`.

    Raises as `read_long_table`.
    """
    tables = []
    for name, caption, swept, path in specifications:
        wide = Path(path)
        long = read_long_table(wide.with_suffix(".long.csv"))
        file = str(wide.with_suffix(".md").relative_to(folder))
        tables.append(PageTable(name, caption, long, swept, file))
    return tables


def further_section(path: Path) -> tuple[str, str]:
    """Heading and text of a Markdown file, its own headings a level lower, for `paper_page`."""
    heading, _, text = read_page(path).partition("\n")
    return heading.removeprefix("# "), text.replace("\n## ", "\n### ").strip()


def further_sections(
    studies: Iterable[Any], files: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    """Headings and texts of what a page shows besides tables of accuracies.

    Args:
        studies: a paper's, with their `form`, `printed` and `caption`.
        files: by the forms of studies, what each section is read from, and as `paper` the file of
            the paper's numbers, where one needs it; other names are passed over.
    """
    made = []
    for study in studies:
        if study.form not in files:
            continue
        [*paths] = map(Path, files[study.form])
        heading = f"{study.printed}: {study.caption}"
        if study.form == "search_times":
            made.append((heading, timing_grids(read_timings(paths[0]))))
        elif study.form == "run_times":
            printed = values_of(files["paper"][0], study.printed)
            made.append((heading, run_time_grids(long_run_times(paths, printed))))
        elif study.form == "detection":
            made.append(("Detection", detection_summary(read_detection(paths[0]))))
        else:
            made.append(further_section(paths[0]))
    return made


def paper_page(
    title: str,
    notes: Sequence[str],
    tables: Sequence[PageTable],
    figures: Sequence[tuple[str, str, str]],
    further: Sequence[tuple[str, str]],
) -> str:
    """The page as GitHub's Markdown. `notes` are paragraphs below its heading; `figures` the name,
    caption and file (from the page's folder) of each; `further` the heading and text of sections
    behind the tables."""
    parts = [f"# {title}", *notes, "## Agreement with the paper", agreement(tables)]
    for table in tables:
        wide = wide_table(table.long, swept=table.swept)
        parts += [
            f"## {table.name}: {table.caption}",
            brief_table(table.long, wide, swept=table.swept),
            f"Intervals, norms, numbers of images, and the warnings of what {MARK} marks: "
            f"[{table.file}]({table.file}).",
        ]
    for heading, text in further:
        parts += [f"## {heading}", text]
    for name, caption, file in figures:
        parts += [f"## {name}: {caption}", f"![{name}]({file})"]
    return "\n\n".join(parts) + "\n"


def agreement(tables: Sequence[PageTable]) -> str:
    """How many of our numbers lie how near to the printed ones, a row for each table.

    What is compared with what, and what is left out: `compared_cells`.
    """
    found, with_quirks = {}, {}
    for table in tables:
        cells = compared_cells(table.long)
        cells = cells[cells["counted"]]
        honest = cells["quirks"] == ""
        if honest.any():
            found[table.name] = cells.loc[honest, "difference"]
        if not honest.all():
            name = f"{table.name}, with quirks of published code"
            with_quirks[name] = cells.loc[~honest, "difference"]
    if not (found or with_quirks):
        return (
            "No number is compared: the paper prints none for the data sets and settings of this "
            "config. `config/paper.yaml` has the paper's."
        )
    if found:
        found["all"] = pd.concat(found.values())
    found |= with_quirks
    rows = [[name, *agreement_counts(differences)] for name, differences in found.items()]
    return grid(["table", *AGREEMENT], rows)


_RATES = ("tpr_1pct", "fpr_1pct", "tpr_5pct", "fpr_5pct")


def detection_summary(detection: pd.DataFrame) -> str:
    """The table of detectors, a row for each data set, attack, strength, threat model, defence, L
    and R: means over classifiers and seeds.

    `detection` is as `purification.reporting.detection.detection_table` returns it.
    """
    key = ["dataset", "attack", "epsilon", "threat_model", "defense", "iterations_L", "restarts_R"]
    values = ["auc", "paper_auc", "tpr_1pct", "tpr_5pct", "fpr_1pct", "fpr_5pct"]
    groups = detection.groupby(key, sort=False, dropna=False)
    counts = {"n": groups["n"].sum(), "of": groups["auc"].count()}
    rows = groups[values].mean().assign(**counts).reset_index()
    header = ["data set", "attack", "epsilon", "threat model", "defense", "L", "R", "AUC"]
    header += ["TPR at 1 %", "FPR", "TPR at 5 %", "FPR", "detectors", "images"]
    lines = []
    for row in rows.itertuples():
        paper = f" (paper {row.paper_auc:.3f})" if pd.notna(row.paper_auc) else ""
        line = ["" if pd.isna(value) else value for value in (getattr(row, name) for name in key)]
        line.append(f"{row.auc:.3f}{paper}" if row.of else "attack refused")
        line += [f"{getattr(row, name):.3f}" if row.of else "" for name in _RATES]
        lines.append([*line, row.of, row.n])
    return grid(header, lines)
