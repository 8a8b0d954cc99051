"""Accuracy over the l2 norm of attacks that nothing bounds, as a figure."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from purification.evaluation.accuracy_l2 import ALL
from purification.reporting.figures import legend_below, legend_entries, paper_figure
from purification.reporting.roc import DASHES, MARKERS, check_number, line_look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 2  # panels side by side
_PANEL = ["dataset", "classifier"]


def accuracy_l2(points: pd.DataFrame, *paths: Path) -> None:
    """Draw what is left by the best of all attackers over the l2 radius, a panel for each data set
    and classifier and a line for each defence: the mean over seeds.

    `points`: of `evaluation.accuracy_l2.accuracy_l2_rows`; `paths` as for `paper_figure`. Raises
    ValueError for more defences than can be told apart.
    """
    best = points[points["attack"] == ALL].copy()
    best["label"] = [_label(row) for _, row in best.iterrows()]
    labels = list(dict.fromkeys(best["label"]))
    check_number("defenses", len(labels), len(MARKERS))
    panels = list(best.groupby(_PANEL, sort=False))
    lines = -(-len(panels) // _COLUMNS)
    height = 0.3 + 2.0 * lines + 0.15 * -(-len(labels) // 3)
    with paper_figure(2, height, *paths) as figure:
        axes = figure.subplots(lines, _COLUMNS, sharey=True, squeeze=False).ravel()
        for axis, ((dataset, classifier), here) in zip(axes, panels, strict=False):
            for i, label in enumerate(labels):
                _draw(axis, i, label, here[here["label"] == label])
            axis.set(title=f"{dataset}, classifier {classifier}", ylim=(-0.02, 1.02))
            axis.set_xlabel("l2 distance (pixels in [0, 1])")
        for axis in axes[::_COLUMNS]:
            axis.set_ylabel("Accuracy")
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        legend_below(figure, legend_entries(axes), ncols=3)


def _label(row: pd.Series) -> str:
    """Such as "defense_gan rec (4 attackers, n = 20)"."""
    name = " ".join(filter(None, [row["defense"], row["variant"] or ""]))
    search = [f"{s} = {row[c]:g}" for s, c in _SEARCH.items() if pd.notna(row[c])]
    many = f"{row['attackers']} attacker{'s' * (row['attackers'] != 1)}, n = {row['n']}"
    return f"{name} ({', '.join([*search, many])})"


_SEARCH = {"L": "iterations_L", "R": "restarts_R"}


def _draw(axis: "Axes", i: int, label: str, points: pd.DataFrame) -> None:
    if points.empty:
        return
    mean = points.groupby("radius")["accuracy"].mean()
    look = {name: value for name, value in line_look(i).items() if name != "elinewidth"}
    every = max(len(mean) // 10, 1)
    axis.plot(mean.index, mean, linestyle=DASHES[i], markevery=every, label=label, **look)
