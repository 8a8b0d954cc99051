"""Cowboy's Figure 3: violin plots of the discriminator's scores of real and attacked images."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from purification.reporting.figures import attack_name, paper_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REAL = "real"
"""The `source` of images that nobody attacked; others are names of attacks."""
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
SUMMARY_COLUMNS = ("dataset", "source", "n", "mean", "min", *QUANTILES, "max", "below_real_median")
"""Columns of `score_summary`. below_real_median: the share of scores under the median of the real
images' scores of the data set; of the real ones themselves 0.5, or less where scores are equal."""
_PANELS = 4


def score_summary(scores: pd.DataFrame) -> pd.DataFrame:
    """How D(x) is distributed, a row (`SUMMARY_COLUMNS`) for each data set and source in order of
    first appearance; min and max of the scores beside their quantiles.

    `scores` have the columns dataset, source ("real", "fgsm", ...) and score in [0, 1], a row an
    image. Raises ValueError: a column is missing, no rows, scores outside [0, 1], or a data set
    without scores of real images.
    """
    _check(scores)
    rows = []
    for dataset, here in scores.groupby("dataset", sort=False):
        middle = here.loc[here["source"] == REAL, "score"].median()
        for source, group in here.groupby("source", sort=False)["score"]:
            rows.append(
                {
                    **{"dataset": dataset, "source": source, "n": len(group)},
                    **{"mean": group.mean(), "min": group.min(), "max": group.max()},
                    **{name: group.quantile(q) for name, q in QUANTILES.items()},
                    "below_real_median": (group < middle).mean(),
                }
            )
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def score_violins(scores: pd.DataFrame, *paths: Path) -> None:
    """Draw the scores' densities, a panel for each data set, a violin for each source.

    Violins are equally wide, end at the lowest and highest score, and have the quartiles in them;
    a dotted line goes through the panel at the real images' median. Below each source stand its
    number of images and its median. Sources are drawn in order of first appearance, real first.
    `scores` are as for `score_summary`, `paths` as for `paper_figure`. Raises ValueError as that
    does, or for more than four data sets.
    """
    summary = score_summary(scores)
    datasets = summary["dataset"].unique().tolist()
    if len(datasets) > _PANELS:
        raise ValueError(f"expected 1 to {_PANELS} data sets, got {', '.join(datasets)}")
    columns = min(len(datasets), 2)
    rows = -(-len(datasets) // columns)
    with paper_figure(columns, 0.1 + 2.2 * rows, *paths) as figure:
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axis, dataset in zip(panels.flat, datasets, strict=False):
            _draw(axis, scores[scores["dataset"] == dataset], summary, dataset)
        for axis in panels[:, 0]:
            axis.set_ylabel("Discriminator's score D(x)")
        for axis in panels.flat[: len(datasets)][-columns:]:
            axis.set_xlabel("Images, how many, median score")
        for axis in panels.flat[len(datasets) :]:
            axis.set_axis_off()


def _draw(axis: "Axes", scores: pd.DataFrame, summary: pd.DataFrame, dataset: str) -> None:
    from purification.reporting.plotting import seaborn

    here = summary[summary["dataset"] == dataset].set_index("source")
    order = [REAL, *(source for source in here.index if source != REAL)]
    blue, orange = seaborn.color_palette("pastel", 2)  # the lines in it are dark
    seaborn.violinplot(
        **{"data": scores, "x": "source", "y": "score", "hue": "source", "order": order},
        **{"palette": dict.fromkeys(order, blue) | {REAL: orange}, "legend": False, "ax": axis},
        **{"density_norm": "width", "cut": 0, "inner": "quartile", "linewidth": 0.6},
    )
    axis.axhline(here.loc[REAL, "median"], color="0.4", linewidth=0.6, linestyle=":", zorder=0)
    axis.set_xticks(range(len(order)), [_label(source, here.loc[source]) for source in order])
    axis.set(title=dataset, xlabel="", ylabel="", ylim=(-0.02, 1.02))
    axis.set_yticks(np.linspace(0, 1, 6))


def _label(source: str, row: pd.Series) -> str:
    # A control has a name that would not fit as it is.
    name = {REAL: REAL, "random_signs": "signs"}.get(source, attack_name(source))
    return f"{name}\nn={row['n']:,}\n{row['median']:.2g}"


def _check(scores: pd.DataFrame) -> None:
    missing = [column for column in ("dataset", "source", "score") if column not in scores]
    if missing or scores.empty:
        raise ValueError(f"scores: {len(scores)} rows, missing columns {missing}")
    # `not all` also refuses NaN.
    if not scores["score"].between(0, 1).all():
        low, high = scores["score"].min(), scores["score"].max()
        raise ValueError(f"scores are probabilities of being real, in [0, 1]; got {low} to {high}")
    without = set(scores["dataset"]) - set(scores.loc[scores["source"] == REAL, "dataset"])
    if without:
        raise ValueError(f"no scores of source {REAL!r} of {', '.join(sorted(without))}")
