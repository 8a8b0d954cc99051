"""Detection: the table of all detectors, and the ROC panels of Defense-GAN's Figures 4 and 5."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from purification.evaluation.detection import auc, roc_curve
from purification.evaluation.detection_rows import (
    COLUMNS,
    FURTHER_COLUMNS,
    LABEL_COLUMNS,
    Job,
    read_scores,
)
from purification.evaluation.measure import NAMING_COLUMN
from purification.reporting.csv_files import all_rows, read_rows, write_formatted
from purification.reporting.papers import epsilon_key
from purification.reporting.roc import RocCurve, RocPanel

SETTINGS = {"iterations_L": "L", "restarts_R": "R", "epsilon": "ε"}
"""Columns of the settings that a figure varies, and their names in it."""
POINT_COLUMNS = (
    *("panel", *SETTINGS, "auc", "paper_auc"),
    *("false_positive_rate", "true_positive_rate", "threshold"),
)
"""Columns of a figure's points; `panel` is the setting that its curves differ in."""

_TEXT = ("dataset", "classifier", "attack", "threat_model", "defense")
_COUNTS = ("iterations_L", "restarts_R", "n_validation", "n")
_MATCH = (*_TEXT, "epsilon", "iterations_L", "restarts_R")


def detection_table(files: Iterable[Path], papers: pd.DataFrame | None = None) -> pd.DataFrame:
    """All rows of the files of `detection_rows`, and the papers' areas beside them.

    The order of the CSV `files` is that of datasets and attacks; `papers` are rows of
    `purification.reporting.papers.paper_values`, such as "Figure 5" of Defense-GAN.

    Returns rows sorted by dataset and attack (order of first appearance), then the other labels;
    the columns of the files, and `paper_auc` (see `attach_paper_auc`). A detector of an attack that
    was refused has no numbers, and says why (`refused`).

    Raises as `all_rows`, and ValueError for two rows of one detector.
    """
    rows = all_rows(files, read_detection, "no detection files: nothing to tabulate")
    twice = rows.duplicated(list(LABEL_COLUMNS))
    if twice.any():
        labels = rows.loc[twice, list(LABEL_COLUMNS)].iloc[0].to_dict()
        raise ValueError(f"two rows for one detector: {labels}")
    for name in set(FURTHER_COLUMNS) & set(rows):
        rows[name] = rows[name].fillna("")
    kept = [*COLUMNS, *(name for name in FURTHER_COLUMNS if name in rows)]
    ranks = rows[["epsilon", "threat_model", "classifier", "defense", *_COUNTS[:2], "seed"]].copy()
    for place, name in enumerate(("dataset", "attack")):
        ranks.insert(place, name, pd.factorize(rows[name])[0])
    order = ranks.sort_values(list(ranks.columns), kind="stable", na_position="first").index
    return attach_paper_auc(rows.loc[order, kept].reset_index(drop=True), papers)


def read_detection(path: Path) -> pd.DataFrame:
    """A file of `detection_rows`, or what `write_detection` made of several, with its types.

    Raises FileNotFoundError, or ValueError naming the file if it lacks a column or holds text where
    a number belongs.
    """
    numbers = [name for name in COLUMNS if name not in (*_TEXT, *_COUNTS, "seed")]
    rows = read_rows(path, text=_TEXT, counts=(*_COUNTS, "seed"), numbers=numbers)
    return rows.assign(paper_auc=pd.to_numeric(rows["paper_auc"])) if "paper_auc" in rows else rows


def attach_paper_auc(rows: pd.DataFrame, papers: pd.DataFrame | None) -> pd.DataFrame:
    """A copy of `rows` with the column `paper_auc`, NaN where the paper prints none.

    A printed area stands beside a row when dataset, threat model, attack, epsilon (to 1e-6),
    classifier, defence, L and R agree. (Its substitute is not compared: rows do not name one.) None
    stands beside a row that is not what its name says (`measure.NAMING_COLUMN`).

    Raises:
        ValueError: the papers have two different areas for one row.
    """
    beside = rows.copy()
    beside["paper_auc"] = np.nan
    if papers is None:
        return beside
    printed = papers[papers["metric"] == "auc"]
    areas = pd.Series(printed["value"].array, _keys(printed)).dropna()
    for key in set(areas.index) & set(_keys(rows)):
        values = areas.loc[[key]].unique()
        if len(values) > 1:
            raise ValueError(f"the paper has several areas for one detector: {key}: {values}")
    areas = areas[~areas.index.duplicated()]
    beside["paper_auc"] = areas.reindex(_keys(rows)).array.astype(float)
    if NAMING_COLUMN in rows:
        beside.loc[rows[NAMING_COLUMN].fillna("") != "", "paper_auc"] = np.nan
    return beside


def write_detection(
    table: pd.DataFrame, path: Path, recipe: Mapping[str, Any] | None = None
) -> None:
    """Write `detection_table`: 4 decimals, thresholds and epsilon to 6 significant digits, missing
    cells empty. As for `write_formatted`."""
    written = table.copy()
    for name in written:
        if name == "epsilon" or str(name).startswith("threshold"):
            written[name] = written[name].map("{:.6g}".format).where(written[name].notna(), "")
    write_formatted(written, path, "%.4f", recipe)


def roc_figure(
    panels: Sequence[tuple[str, Sequence[Job]]], papers: pd.DataFrame | None = None
) -> tuple[list[RocPanel], pd.DataFrame]:
    """The panels of Defense-GAN's Figure 4 or 5, for `roc_panels`, and their points.

    The title of a panel is derived from the jobs: the settings that its curves have in common.

    Args:
        panels: the setting that varies (a key of `SETTINGS`), and the jobs of the curves (see
            `purification.evaluation.detection_rows`), one for each value; their order does not
            matter.
        papers: as for `detection_table`.

    Returns:
        The panels, their curves by rising setting; and a row for each point of each curve, columns
        `POINT_COLUMNS`.

    Raises as `read_scores`; ValueError: a panel without curves, or whose curves differ in other
    labels than the one that varies, or have a value of it twice.
    """
    made = [roc_panel(varied, jobs, papers) for varied, jobs in panels]
    points = [points for _, points in made]
    if not points:
        raise ValueError("no panels: nothing to draw")
    return [panel for panel, _ in made], pd.concat(points, ignore_index=True)


def roc_panel(
    varied: str, jobs: Sequence[Job], papers: pd.DataFrame | None
) -> tuple[RocPanel, pd.DataFrame]:
    """One panel of `roc_figure`, and its points; arguments and errors as there."""
    if varied not in SETTINGS:
        raise ValueError(f"a panel is over one of {', '.join(SETTINGS)}, not {varied!r}")
    _check_labels(pd.DataFrame([job["labels"] for job in jobs]), varied)
    jobs = sorted(jobs, key=lambda job: job["labels"][varied])
    labels = pd.DataFrame([job["labels"] for job in jobs])
    areas = attach_paper_auc(labels, papers)["paper_auc"]
    curves, points = [], []
    for job, paper in zip(jobs, areas, strict=True):
        curve, thresholds = _curve(job, varied, None if pd.isna(paper) else float(paper))
        curves.append(curve)
        columns = {"panel": varied} | {name: job["labels"][name] for name in SETTINGS}
        columns |= {"auc": curve.auc, "paper_auc": paper}
        columns |= {"false_positive_rate": curve.false_positive_rate}
        columns |= {"true_positive_rate": curve.true_positive_rate, "threshold": thresholds}
        points.append(pd.DataFrame(columns, columns=list(POINT_COLUMNS)))
    common = labels.iloc[0]
    title = ", ".join(
        f"{symbol} = {common[name]:g}"
        for name, symbol in SETTINGS.items()
        if name != varied and pd.notna(common[name])
    )
    return RocPanel(title, curves), pd.concat(points, ignore_index=True)


def _curve(job: Job, varied: str, paper_auc: float | None) -> tuple[RocCurve, np.ndarray]:
    """A curve and the thresholds of its points."""
    scores = read_scores(job)
    false_positive, true_positive, thresholds = roc_curve(scores.clean, scores.attacked)
    label = f"{SETTINGS[varied]} = {job['labels'][varied]:g}"
    area = auc(scores.clean, scores.attacked)
    return RocCurve(label, false_positive, true_positive, area, paper_auc), thresholds


def _check_labels(labels: pd.DataFrame, varied: str) -> None:
    missing = [name for name in LABEL_COLUMNS if name not in labels]
    if labels.empty or missing:
        raise ValueError(f"panel over {varied}: {len(labels)} curves, labels lack {missing}")
    others = [name for name in LABEL_COLUMNS if name != varied]
    # An attack may be called by its strength.
    others = [name for name in others if not (varied == "epsilon" and name == "attack")]
    different = [name for name in others if labels[name].nunique(dropna=False) > 1]
    if different or labels[varied].duplicated().any() or labels[varied].isna().any():
        raise ValueError(
            f"panel over {varied}: expected one curve for each value and all else equal, got "
            f"{varied} {labels[varied].tolist()} and different {different}"
        )


def _keys(rows: pd.DataFrame) -> pd.Index:
    """What a printed area and ours agree in, as text."""
    parts = rows[list(_MATCH)].copy()
    parts["epsilon"] = epsilon_key(rows["epsilon"].astype(float))
    for name in ("iterations_L", "restarts_R"):
        # The papers' 0 steps are no search, as our missing L.
        counts = pd.to_numeric(rows[name]).fillna(0).astype(int)
        parts[name] = counts.astype(str).where(counts > 0, "")
    return pd.Index(["|".join(row) for row in parts.itertuples(index=False)], dtype=object)
