"""Curves of a paper's sweeps: ROC panels, and accuracy against a setting of the defence.

Every line has a dash pattern or a marker of its own besides its colour, so that the figures can be
read in grey.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from purification.reporting.figures import legend_below, log_ticks, paper_figure

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
BELOW = {
    **{"loc": "upper center", "bbox_to_anchor": (0.5, -0.18), "frameon": False},
    **{"handlelength": 4, "labelspacing": 0.2},
}
"""How a legend stands below its panel."""
_HOLLOW = {"linestyle": "none", "markerfacecolor": "white", "markeredgewidth": 0.7}


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


def roc_panels(panels: Sequence[RocPanel], *paths: Path) -> None:
    """Draw ROC curves in panels side by side, the areas under them in the legends.

    The figure of Defense-GAN's Figures 4 and 5 (there over L, over R and over epsilon). The curves
    of a panel go from light to dark. Areas that the paper prints stand in brackets behind ours.

    One panel alone takes one column of a paper, two or three take both; `paths` are as for
    `paper_figure`. Raises ValueError: no panels or more than three, a panel without curves or with
    more than can be told apart in grey, or points that are no ROC curve.
    """
    check_number("panels", len(panels), 3)
    for panel in panels:
        check_number(f"curves in {panel.title!r}", len(panel.curves), len(DASHES))
        for curve in panel.curves:
            check_roc(curve)
    # A panel, its title and axis, and the legend: its title and a row for each curve.
    height = {1: 3.8, 2: 4.2, 3: 2.85}[len(panels)] + 0.125 * max(len(p.curves) for p in panels)
    with paper_figure(min(len(panels), 2), height, *paths) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            draw_roc(axis, panel)
        axes[0].set_ylabel("True positive rate")


def accuracy_lines(panels: Sequence[AccuracyPanel], *paths: Path) -> None:
    """Draw accuracy against L, R or another setting, in panels side by side, with error bars.

    The figure of Defense-GAN's Figures 3 and 8. The horizontal axes are logarithmic, with a tick at
    each value that was measured. A line has the same look in all panels. The paper's values are
    hollow markers of the same shape without a line, their bars the printed standard deviations;
    ours are filled, with the confidence interval.

    One panel alone takes one column of a paper, two take both; `paths` are as for `paper_figure`.
    Raises ValueError: no panels or more than two, a panel without lines, more lines than can be
    told apart, a frame that lacks a column or has no rows, or numbers that are no accuracies.
    """
    labels = checked_labels(panels)
    for panel in panels:
        check_number(f"lines in {panel.title!r}", len(panel.lines), len(MARKERS))
        for label, points in panel.lines.items():
            check_accuracies(points, panel.x, f"{panel.title}, {label}")
    levels = list(dict.fromkeys(label for panel in panels for label in panel.levels))
    _check_levels(panels, levels)
    papers = any(_has_paper(points) for panel in panels for points in panel.lines.values())
    shown = [*labels, *levels, *([_PAPER] if papers else [])]

    def draw(axis: "Axes", panel: AccuracyPanel) -> dict[str, Any]:
        return draw_accuracies(axis, panel, labels) | _draw_levels(axis, panel, levels)

    draw_panels(panels, shown, draw, *paths)


def checked_labels(panels: Sequence[AccuracyPanel]) -> list[str]:
    """The labels of all lines, of one or two panels; ValueError if there are too many of either."""
    check_number("panels", len(panels), 2)
    labels = list(dict.fromkeys(label for panel in panels for label in panel.lines))
    check_number("lines", len(labels), len(MARKERS))
    return labels


def draw_panels(
    panels: Sequence[AccuracyPanel],
    labels: Sequence[str],
    draw: Callable[["Axes", AccuracyPanel], Mapping[str, Any]],
    *paths: Path,
    sharey: bool = True,
    **legend: Any,
) -> None:
    """Panels side by side; below them a legend of `labels` with what `draw` returns for each."""
    ncols = min(5 if len(panels) > 1 else 2, len(labels))
    height = 2.0 + 0.15 * -(-len(labels) // ncols)
    with paper_figure(len(panels), height, *paths) as figure:
        axes = figure.subplots(1, len(panels), sharey=sharey, squeeze=False)[0]
        entries: dict[str, Any] = {}
        for axis, panel in zip(axes, panels, strict=True):
            entries |= draw(axis, panel)
        axes[0].set_ylabel("Accuracy")
        legend_below(figure, {label: entries[label] for label in labels}, ncols, **legend)


def line_look(i: int) -> dict[str, Any]:
    """Colour, marker and bars of the i-th line of accuracies."""
    from purification.reporting.plotting import seaborn

    color = seaborn.color_palette("colorblind", len(MARKERS))[i]
    return {"color": color, "marker": MARKERS[i], "markersize": 3.2, "elinewidth": 0.7}


def draw_line(axis: "Axes", i: int, x: Any, points: pd.DataFrame, **more: Any) -> Any:
    """The i-th line of accuracies, over `x`, with its intervals; returns what a legend shows."""
    middle, low, high = (points[name] for name in ("accuracy", "ci_low", "ci_high"))
    bars = np.stack([middle - low, high - middle])
    return axis.errorbar(x, middle, yerr=bars, linestyle=DASHES[i], **line_look(i), **more)


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
        rates = (curve.false_positive_rate, curve.true_positive_rate)
        axis.plot(*rates, **look, label=label, clip_on=False)  # a good detector's touch the frame
    papers = any(curve.paper_auc is not None for curve in panel.curves)
    # Below: the curves of a poor detector run through every corner of the panel.
    title = "AUC (the paper's)" if papers else "AUC"
    axis.legend(title=title, title_fontsize=axis.xaxis.label.get_fontsize(), **BELOW)
    ticks = np.linspace(0, 1, 6)
    axis.set(
        **{"title": panel.title, "xlabel": "False positive rate", "xlim": (0, 1), "ylim": (0, 1)},
        **{"xticks": ticks, "yticks": ticks, "aspect": "equal"},
        anchor="N",  # room that the square leaves belongs below, to the legend
    )


def draw_accuracies(axis: "Axes", panel: AccuracyPanel, labels: Sequence[str]) -> dict[str, Any]:
    """Draw a panel of `accuracy_lines` on an axis; returns what the legend shows for each label,
    and for the paper's values. `labels` are those of all panels of the figure."""
    from purification.reporting.plotting import Line2D

    values = np.unique(np.concatenate([points[panel.x] for points in panel.lines.values()]))
    values = values.astype(float)
    entries: dict[str, Any] = {}
    for i, label in enumerate(labels):
        if label not in panel.lines:
            continue
        points = panel.lines[label].sort_values(panel.x)
        place = 2 * i - len(labels) + 0.5
        entries[label] = draw_line(axis, i, _shifted(points[panel.x], values, place), points)
        if _has_paper(points):
            printed = points.dropna(subset="paper_value").astype({"paper_value": float})
            std = printed.get("paper_std", pd.Series(np.nan, printed.index))
            x, bars = _shifted(printed[panel.x], values, place + 1), pd.to_numeric(std).fillna(0)
            axis.errorbar(x, printed["paper_value"], yerr=bars, **_HOLLOW, **line_look(i))
            entries[_PAPER] = Line2D([], [], color="0.3", marker="o", markersize=3.2, **_HOLLOW)
    log_ticks(axis, values)
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
