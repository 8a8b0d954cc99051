"""What a longer training of the GAN brings: Cowboy's Figures 6 and 7, each from a tidy CSV.

Figure 6 (columns `ACCURACY_COLUMNS`): a row for each number of training and of cleaning steps. Rows
without training steps need no GAN, and are the figure's horizontal lines: the accuracy under attack
without cleaning (cleaning_steps 0), and with the attack "none" that of clean images.

Figure 7 (columns `SCORE_COLUMNS`): a row for each number of training steps and source, "real" or
"attack", with the mean and the quartiles of the discriminator's scores D(x).
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from purification.reporting.csv_files import read_rows
from purification.reporting.figures import (
    attack_name,
    legend_below,
    legend_entries,
    log_ticks,
    paper_figure,
)
from purification.reporting.roc import MARKERS, AccuracyPanel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACCURACY_COLUMNS = (
    *("dataset", "attack", "training_steps", "cleaning_steps"),
    *("n", "accuracy", "ci_low", "ci_high"),
)
SCORE_COLUMNS = ("dataset", "attack", "training_steps", "source", "n", "mean", "q25", "q75")
NO_ATTACK = "none"
_SOURCES = {"real": ("Real", 1), "attack": ("Adversarial", 0)}
"""Name in the figure, and place of the colour in seaborn's "colorblind": the paper's orange and
blue."""


def cleaning_panels(path: Path) -> list[AccuracyPanel]:
    """The panels of Figure 6, one for each data set and attack, for `roc.accuracy_lines`.

    Raises FileNotFoundError, or ValueError naming the file: no such CSV, a point twice, a panel
    without its line of attacked or of clean images.
    """
    numbers = ("accuracy", "ci_low", "ci_high")
    counts = ("training_steps", "cleaning_steps", "n")
    rows = read_rows(path, text=("dataset", "attack"), counts=counts, numbers=numbers)
    _check_unique(rows, path, ["dataset", "attack", "training_steps", "cleaning_steps"])
    swept = rows[rows["training_steps"].notna()]
    if swept.empty:
        raise ValueError(f"{path}: no rows with training_steps")
    fixed = rows[rows["training_steps"].isna()].set_index(["dataset", "attack"])["accuracy"]
    panels = []
    for (dataset, attack), here in swept.groupby(["dataset", "attack"], sort=False):
        levels = {}
        for label, key in (("Clean images", NO_ATTACK), ("Attacked, not cleaned", attack)):
            if (dataset, key) not in fixed.index:
                raise ValueError(
                    f"{path}: no row of {dataset}, attack {key!r}, without training_steps"
                )
            levels[label] = float(fixed.loc[dataset, key])
        lines = {
            f"{steps:,} cleaning steps": line.astype({"training_steps": int})
            for steps, line in here.groupby("cleaning_steps")
        }
        title = _title(dataset, attack)
        panels.append(AccuracyPanel(title, "training_steps", "GAN training steps", lines, levels))
    return panels


def read_mean_scores(path: Path) -> pd.DataFrame:
    """The rows of Figure 7, columns `SCORE_COLUMNS`.

    Raises FileNotFoundError, or ValueError naming the file: no such CSV, no rows, a point twice, a
    source that is neither "real" nor "attack", training steps below 1, scores outside [0, 1].
    """
    text, counts = ("dataset", "attack", "source"), ("training_steps", "n")
    rows = read_rows(path, text=text, counts=counts, numbers=("mean", "q25", "q75"))
    _check_unique(rows, path, ["dataset", "attack", "training_steps", "source"])
    if unknown := set(rows["source"]) - set(_SOURCES):
        raise ValueError(f"{path}: source {sorted(unknown)}: expected {' or '.join(_SOURCES)}")
    if rows.empty or not (rows["training_steps"] >= 1).all():
        steps = rows["training_steps"].tolist()
        raise ValueError(f"{path}: training_steps must be positive, got {steps}")
    scores = rows[["mean", "q25", "q75"]]
    if not (scores.ge(0) & scores.le(1)).all(axis=None) or (rows["q25"] > rows["q75"]).any():
        raise ValueError(f"{path}: expected scores in [0, 1] and q25 <= q75, got {scores}")
    return rows[list(SCORE_COLUMNS)].astype({"training_steps": int, "n": int})


def mean_score_curves(rows: pd.DataFrame, *paths: Path) -> None:
    """Draw Figure 7: mean D(x) over training steps, in panels for each data set and attack.

    Bands go from the first to the third quartile of the images' scores; they say how the images
    differ, not how well the mean is known. The horizontal axis is logarithmic, with a tick at each
    checkpoint.

    `rows` are of `read_mean_scores`; one pair of data set and attack takes a column of a paper, two
    take both. `paths` are as for `paper_figure`. Raises ValueError: no such pair, or more than two.
    """
    panels = list(rows.groupby(["dataset", "attack"], sort=False))
    if not 1 <= len(panels) <= 2:
        pairs = [_title(*pair) for pair, _ in panels]
        raise ValueError(f"expected 1 or 2 pairs of data set and attack, got {pairs}")
    with paper_figure(len(panels), 2.2, *paths) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (pair, here) in zip(axes, panels, strict=True):
            _draw(axis, here)
            axis.set_title(_title(*pair))
        axes[0].set_ylabel("Discriminator's score D(x)")
        legend_below(figure, legend_entries(axes), ncols=2)


def _draw(axis: "Axes", rows: pd.DataFrame) -> None:
    from purification.reporting.plotting import seaborn

    colors = seaborn.color_palette("colorblind")
    for (source, (label, color)), marker in zip(_SOURCES.items(), MARKERS, strict=False):
        line = rows[rows["source"] == source].sort_values("training_steps")
        if line.empty:
            continue
        x = line["training_steps"]
        band = {"color": colors[color], "alpha": 0.2, "linewidth": 0}
        axis.fill_between(x, line["q25"], line["q75"], **band)
        look = {"color": colors[color], "marker": marker, "markersize": 3.2}
        axis.plot(x, line["mean"], label=f"{label} (mean, quartiles)", **look)
    log_ticks(axis, sorted(rows["training_steps"].unique()))
    axis.set(xlabel="GAN training steps", ylim=(-0.02, 1.02))


def _title(dataset: str, attack: str) -> str:
    return f"{dataset}, {attack_name(attack)}"


def _check_unique(rows: pd.DataFrame, path: Path, key: list[str]) -> None:
    if rows.duplicated(key).any():
        first = rows.loc[rows.duplicated(key), key].iloc[0].to_dict()
        raise ValueError(f"{path}: two rows of {first}")
