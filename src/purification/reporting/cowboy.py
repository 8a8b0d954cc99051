"""Cowboy's scores and comparisons as tables, from the files of the workflow."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from purification.evaluation.discriminator import REAL, SCORE_COLUMNS, discriminator_detection
from purification.reporting.csv_files import write_numbers
from purification.reporting.markdown_tables import grid
from purification.storage import read_split
from purification.text_tables import read_text_table, write_page

_RUN = ("dataset", "seed", "classifier")


def read_scores(path: Path) -> pd.DataFrame:
    """A file of scores, columns `SCORE_COLUMNS`.

    Raises FileNotFoundError, or ValueError naming the file if it lacks a column.
    """
    rows = pd.read_csv(io.StringIO(read_text_table(path)))
    if missing := [name for name in SCORE_COLUMNS if name not in rows]:
        raise ValueError(f"{path}: missing columns: {', '.join(missing)}")
    return rows


def test_and_real_scores(paths: Iterable[Path]) -> pd.DataFrame:
    """What Figure 3 shows: real validation images (as its caption says) and attacked test images;
    columns dataset, source and score. The data set is that of the file's folder."""
    parts = []
    for path in paths:
        rows = read_scores(path)
        real = (rows["split"] == "validation") & (rows["source"] == REAL)
        attacked = (rows["split"] == "test") & (rows["source"] != REAL)
        kept = rows[real | attacked].assign(dataset=path.parents[2].name)
        parts.append(kept[["dataset", "source", "score"]])
    return pd.concat(parts, ignore_index=True)


def score_extremes(
    scores: Iterable[str], datasets: Iterable[str], images: int
) -> list[tuple[str, Any, list[str]]]:
    """Figure 4's validation images: of each data set the `images` of lowest score, and those of
    the highest, as (title, images (K, C, H, W), a label each)."""
    rows = []
    for path, dataset in zip(scores, datasets, strict=True):
        found = read_scores(Path(path))
        found = found[(found["split"] == "validation") & (found["source"] == REAL)]
        found = found.sort_values("logit", kind="stable")
        shown, _ = read_split(dataset, "validation")
        name = Path(dataset).parent.name
        for title, part in (("lowest", found.head(images)), ("highest", found.tail(images))):
            labels = [f"{score:.3g}" for score in part["score"]]
            rows.append((f"{name}, {title} scores", shown[part["index"].to_numpy()], labels))
    return rows


def detection_of(runs: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> pd.DataFrame:
    """The table of detection, all runs. A run: `labels` (dataset, seed, classifier) and `scores`,
    its file. Settings: `threshold_attack`, `exponents` and `repeats`."""
    rows = [
        {**run["labels"], **row}
        for run in runs
        for row in discriminator_detection(
            read_scores(Path(run["scores"])), **settings, seed=run["labels"]["seed"]
        )
    ]
    return pd.DataFrame(rows)


def write_discriminator_detection(
    table: pd.DataFrame, csv: Path, markdown: Path, recipe: Mapping[str, Any]
) -> None:
    """Write the table of detection, and what a reader needs beside it."""
    notes = (
        "AUC: area under the ROC curve of D(x), clean test images against the same images under "
        "attack, with its 95 % bootstrap interval. Threshold: the L^p mean (exponent p) of D over "
        "validation images under the attack named, which cost the classifier `accuracy_drop`; "
        "below it an image is flagged. Empty where that attack costs less than 0.2 (the paper, "
        "footnote 2). The paper prints score distributions only."
    )
    _write(table, csv, markdown, recipe, "Cowboy: detection by the discriminator's score", notes)


def write_comparison(
    rows: Sequence[Mapping[str, Any]], csv: Path, markdown: Path, recipe: Mapping[str, Any]
) -> None:
    """Write the paired comparison of two defences."""
    notes = (
        "Both defenses clean the same attacked images (gray box), from the same start. "
        "`difference`: accuracy behind the first less that behind the second, with Newcombe's 95 % "
        "interval of paired proportions; `p_value`: McNemar's exact two-sided test, each attack "
        "by itself. All rows rest on one GAN and one start: they say nothing of other trainings."
    )
    title = "Cowboy: with and without the discriminator"
    _write(pd.DataFrame(rows), csv, markdown, recipe, title, notes)


def _write(
    table: pd.DataFrame,
    csv: Path,
    markdown: Path,
    recipe: Mapping[str, Any],
    title: str,
    notes: str,
) -> None:
    text = grid(table, (map(_text, row) for row in table.itertuples(index=False)))
    write_numbers(table, csv)
    write_page(markdown, f"# {title}\n\n{notes}\n\n{text}\n", recipe, csv)


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
