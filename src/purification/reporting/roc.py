"""Curves of a paper's sweeps: ROC panels, and accuracy against a setting of the defence.

Every line has a dash pattern or a marker of its own besides its colour, so that the figures can be
read in grey.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from purification.reporting.figures import paper_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = (
    *("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.2, 1, 1.2)), (0, (9, 2))),
    *((0, (3, 1, 1, 1, 1, 1)), (0, (1, 2.5)), (0, (7, 1.5, 2.5, 1.5))),
)
MARKERS = "osD^vPX*"
_DODGE = 0.05  # between lines, so that bars are not on top of each other: see `_shifted`
_LEVEL_DASHES = ("-", "--", ":")
_PAPER = "hollow: the paper's"


@dataclass(frozen=True)
class RocCurve:
    """One curve: `label` such as "L = 25", its points (K,) from (0, 0) to (1, 1), the area under
    it, and the area that the paper prints, if any."""

    label: str
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    auc: float
    paper_auc: float | None = None


@dataclass(frozen=True)
class RocPanel:
    """One panel: its title, and its curves in the order of the setting that they differ in."""

    title: str
    curves: Sequence[RocCurve]


@dataclass(frozen=True)
class AccuracyPanel:
    """One panel of accuracy against a setting.

    title: above it. x: the column with the setting, positive numbers. x_label: name of the axis.
    lines: label to a frame with the columns `x`, `accuracy`, `ci_low` and `ci_high`, and, where the
    paper prints a number, `paper_value` and `paper_std` (either may be missing or NaN).
    levels: label to an accuracy that has no setting, drawn as a horizontal line.
    """

    title: str
    x: str
    x_label: str
    lines: Mapping[str, pd.DataFrame]
    levels: Mapping[str, float] = field(default_factory=dict)


def roc_panels(panels: Sequence[RocPanel], path_png: Path, path_pdf: Path) -> None:
    """Draw ROC curves in panels side by side, the areas under them in the legends.

    The figure of Defense-GAN's Figures 4 and 5 (there over L, over R and over epsilon). The curves
    of a panel go from light to dark. Areas that the paper prints stand in brackets behind ours.

    Args:
        panels: one to three of them; one alone takes one column of a paper, more take two.
        path_png, path_pdf: the files; both are written complete, or neither.

    Raises:
        ValueError: no panels or more than three, a panel without curves or with more than can be
            told apart in grey, or points that are no ROC curve.
    """
    check_number("panels", len(panels), 3)
    for panel in panels:
        check_number(f"curves in {panel.title!r}", len(panel.curves), len(DASHES))
        for curve in panel.curves:
            check_roc(curve)
    # A panel, its title and axis, and the legend: its title and a row for each curve.
    height = {1: 3.8, 2: 4.2, 3: 2.85}[len(panels)] + 0.125 * max(len(p.curves) for p in panels)
    with paper_figure(min(len(panels), 2), height, path_png, path_pdf) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            draw_roc(axis, panel)
        axes[0].set_ylabel("True positive rate")


def accuracy_lines(panels: Sequence[AccuracyPanel], path_png: Path, path_pdf: Path) -> None:
    """Draw accuracy against L, R or another setting, in panels side by side, with error bars.

    The figure of Defense-GAN's Figures 3 and 8. The horizontal axes are logarithmic, with a tick at
    each value that was measured. A line has the same look in all panels. The paper's values are
    hollow markers of the same shape without a line, their bars the printed standard deviations;
    ours are filled, with the confidence interval.

    Args:
        panels: one or two of them; one alone takes one column of a paper, two take both.
        path_png, path_pdf: the files; both are written complete, or neither.

    Raises:
        ValueError: no panels or more than two, a panel without lines, more lines than can be told
            apart, or a frame that lacks a column or has no rows, or numbers that are no accuracies.
    """
    check_number("panels", len(panels), 2)
    labels = list(dict.fromkeys(label for panel in panels for label in panel.lines))
    check_number("lines", len(labels), len(MARKERS))
    for panel in panels:
        check_number(f"lines in {panel.title!r}", len(panel.lines), len(MARKERS))
        for label, points in panel.lines.items():
            check_accuracies(points, panel.x, f"{panel.title}, {label}")
    levels = list(dict.fromkeys(label for panel in panels for label in panel.levels))
    _check_levels(panels, levels)
    papers = any(_has_paper(points) for panel in panels for points in panel.lines.values())
    count = len(labels) + len(levels) + papers
    ncols = min(5 if len(panels) > 1 else 2, count)
    height = 2.0 + 0.15 * -(-count // ncols)
    with paper_figure(len(panels), height, path_png, path_pdf) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        entries: dict[str, Any] = {}
        for axis, panel in zip(axes, panels, strict=True):
            entries |= draw_accuracies(axis, panel, labels)
            entries |= _draw_levels(axis, panel, levels)
        axes[0].set_ylabel("Accuracy")
        shown = [label for label in (*labels, *levels, _PAPER) if label in entries]
        figure.legend(
            [entries[label] for label in shown],
            shown,
            loc="outside lower center",
            ncols=ncols,
            frameon=False,
        )


def looks(lines: int) -> list[dict[str, Any]]:
    """Colour, dashes and width of lines over a rising setting, from light to dark.

    They go from wide to narrow: of curves that run along one another, as good detectors' do along
    the frame, each is seen at the sides of the next.
    """
    from purification.reporting.plotting import seaborn

    # The lightest colours of the map would be lost on white.
    colors = seaborn.color_palette("viridis_r", as_cmap=True)(np.linspace(0.2, 1, max(2, lines)))
    widths = np.linspace(1 + 0.15 * lines, 1, lines)
    return [
        {"color": color, "linestyle": dashes, "linewidth": width}
        for color, dashes, width in zip(colors, DASHES, widths, strict=False)
    ]


def draw_roc(axis: "Axes", panel: RocPanel) -> None:
    """Draw a panel of `roc_panels` on an axis, its legend below."""
    axis.plot([0, 1], [0, 1], color="0.75", linewidth=0.6, zorder=0)  # scores that tell nothing
    for curve, look in zip(panel.curves, looks(len(panel.curves)), strict=True):
        label = f"{curve.label}: {curve.auc:.3f}"
        if curve.paper_auc is not None:
            label += f" ({curve.paper_auc:.3f})"
        axis.plot(
            curve.false_positive_rate,
            curve.true_positive_rate,
            **look,
            label=label,
            # Curves of a good detector run along the frame.
            clip_on=False,
        )
    papers = any(curve.paper_auc is not None for curve in panel.curves)
    # Below: the curves of a poor detector run through every corner of the panel.
    axis.legend(
        title="AUC (the paper's)" if papers else "AUC",
        title_fontsize=axis.xaxis.label.get_fontsize(),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.18),
        frameon=False,
        handlelength=4,
        labelspacing=0.2,
    )
    ticks = np.linspace(0, 1, 6)
    axis.set(
        title=panel.title,
        xlabel="False positive rate",
        xlim=(0, 1),
        ylim=(0, 1),
        xticks=ticks,
        yticks=ticks,
        aspect="equal",
        anchor="N",  # room that the square leaves belongs below, to the legend
    )


def draw_accuracies(axis: "Axes", panel: AccuracyPanel, labels: Sequence[str]) -> dict[str, Any]:
    """Draw a panel of `accuracy_lines` on an axis; returns what the legend shows for each label,
    and for the paper's values. `labels` are those of all panels of the figure."""
    from purification.reporting.plotting import FixedLocator, Line2D, NullLocator, seaborn

    values = np.unique(np.concatenate([points[panel.x] for points in panel.lines.values()]))
    values = values.astype(float)
    colors = seaborn.color_palette("colorblind", len(MARKERS))
    entries: dict[str, Any] = {}
    for i, label in enumerate(labels):
        if label not in panel.lines:
            continue
        points = panel.lines[label].sort_values(panel.x)
        look = {"color": colors[i], "marker": MARKERS[i], "markersize": 3.2, "elinewidth": 0.7}
        place = 2 * i - len(labels) + 0.5
        entries[label] = axis.errorbar(
            _shifted(points[panel.x], values, place),
            points["accuracy"],
            yerr=_lengths(points["accuracy"], points["ci_low"], points["ci_high"]),
            linestyle=DASHES[i],
            **look,
        )
        if _has_paper(points):
            printed = points.dropna(subset="paper_value").astype({"paper_value": float})
            std = printed.get("paper_std", pd.Series(np.nan, printed.index))
            axis.errorbar(
                _shifted(printed[panel.x], values, place + 1),
                printed["paper_value"],
                yerr=pd.to_numeric(std).fillna(0),
                linestyle="none",
                markerfacecolor="white",
                markeredgewidth=0.7,
                **look,
            )
            entries[_PAPER] = Line2D(
                *([], []),
                color="0.3",
                marker="o",
                markersize=3.2,
                markerfacecolor="white",
                markeredgewidth=0.7,
                linestyle="none",
            )
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(values))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set(title=panel.title, xlabel=panel.x_label)
    return entries


def _draw_levels(axis: "Axes", panel: AccuracyPanel, levels: Sequence[str]) -> dict[str, Any]:
    """Draw a panel's horizontal lines; returns what the legend shows for each."""
    return {
        label: axis.axhline(
            panel.levels[label], color="0.35", linewidth=0.9, linestyle=_LEVEL_DASHES[i], zorder=0
        )
        for i, label in enumerate(levels)
        if label in panel.levels
    }


def _shifted(x: pd.Series, values: np.ndarray, place: float) -> np.ndarray:
    """Places on the logarithmic axis: the same share of the smallest gap between values for all."""
    gap = np.diff(np.log(values)).min() if len(values) > 1 else np.log(2)
    return x.to_numpy(float) * np.exp(_DODGE * place * gap)


def _lengths(middle: pd.Series, low: pd.Series, high: pd.Series) -> np.ndarray:
    """Lengths (2, K) of the bars down and up."""
    return np.stack([middle - low, high - middle])


def _has_paper(points: pd.DataFrame) -> bool:
    return "paper_value" in points and bool(points["paper_value"].notna().any())


def check_number(what: str, number: int, most: int) -> None:
    """ValueError unless there are 1 to `most` of them."""
    if not 1 <= number <= most:
        raise ValueError(f"expected 1 to {most} {what}, got {number}")


def _check_levels(panels: Sequence[AccuracyPanel], labels: Sequence[str]) -> None:
    if len(labels) > len(_LEVEL_DASHES):
        raise ValueError(f"expected at most {len(_LEVEL_DASHES)} levels, got {', '.join(labels)}")
    for panel in panels:
        for label, accuracy in panel.levels.items():
            if not 0 <= accuracy <= 1:
                raise ValueError(f"{panel.title}, {label}: {accuracy} is no accuracy")


def check_roc(curve: RocCurve) -> None:
    """ValueError unless the points rise from (0, 0) to (1, 1)."""
    rates = [np.asarray(r) for r in (curve.false_positive_rate, curve.true_positive_rate)]
    shapes = {r.shape for r in rates}
    # `not all` also refuses NaN.
    if (
        len(shapes) > 1
        or rates[0].ndim != 1
        or len(rates[0]) < 2
        or not all(r[0] == 0 and r[-1] == 1 and (np.diff(r) >= 0).all() for r in rates)
    ):
        raise ValueError(
            f"{curve.label}: expected two rates (K,) that rise from 0 to 1, got shapes {shapes}"
        )


def check_accuracies(points: pd.DataFrame, x: str, name: str) -> None:
    """ValueError, naming the line, unless `accuracy_lines` can draw it."""
    missing = [column for column in (x, "accuracy", "ci_low", "ci_high") if column not in points]
    if missing or points.empty:
        raise ValueError(f"{name}: {len(points)} rows, missing columns {missing}")
    if not (points[x] > 0).all():
        raise ValueError(f"{name}: {x} must be positive, got {points[x].tolist()}")
    low, middle, high = (points[column] for column in ("ci_low", "accuracy", "ci_high"))
    if not ((low >= 0) & (low <= middle) & (middle <= high) & (high <= 1)).all():
        raise ValueError(f"{name}: expected 0 <= ci_low <= accuracy <= ci_high <= 1")
