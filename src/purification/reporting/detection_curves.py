"""Detection over the threshold and the strength of an attack: AE-GAN+rs, Figures 3, 6, 7 and 8.

What a figure shows, in plain JSON values:

    {"jobs": [...],                     # of evaluation.detection_rows, one for each strength
     "indicator": "mse" or "l1",        # that of the jobs' scores
     "false_positive_rate": number,     # on clean validation images; it sets the threshold
     "paper_threshold": number or None, # one that the paper names, in the indicator's units
     "paper_figure": name or None,      # such as "Figure 6", whose printed areas stand beside ours
     "accuracy": bool,                  # whether there is a panel of accuracies (Figure 3 c)
     "seed": int, "repeats": int}       # of the bootstrap

The jobs differ in `epsilon` alone, and have clean and validation images in common.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.detection import error_rates, threshold_at
from purification.evaluation.detection_rows import (
    Scores,
    operating_point,
    paired_auc_interval,
    read_scores,
)
from purification.reporting.detection import roc_panel
from purification.reporting.figures import paper_figure
from purification.reporting.roc import (
    BELOW,
    AccuracyPanel,
    RocPanel,
    check_accuracies,
    draw_accuracies,
    draw_roc,
    looks,
)
from purification.storage import read_field

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INDICATOR_NAMES = {"mse": "mean square error", "l1": "mean absolute error"}
LABELS = ("dataset", "seed", "classifier", "attack", "threat_model", "defense", "epsilon")
COLUMNS = (
    *(*LABELS, "indicator", "measure", "threshold", "threshold_from"),
    *("value", "ci_low", "ci_high", "n", "paper_value"),
)
"""Columns of a figure's numbers. `measure`: auc; fnr, missed attacked images; fpr, false alarms of
clean test images (without attack and epsilon); and at the validation images' threshold detected,
correct (attacked images that the classifier behind one pass gets right) and detected_or_correct.
`threshold_from`: validation, paper or grid (the curves, without intervals). Intervals at 95 %:
bootstrap for auc and for what is found at the validation images' threshold, else Wilson's."""
_SHOWN = {"detected": "Detected", "correct": "Right after one pass"}
_GRID = 201  # thresholds of a curve


@dataclass(frozen=True)
class RatePanel:
    """Error rates over `thresholds` (K,): `missed` attacks (K,) by the label of a strength, and
    `false_alarms` (K,); `marks` are thresholds to be pointed at, by their labels."""

    x_label: str
    thresholds: np.ndarray
    missed: Mapping[str, np.ndarray]
    false_alarms: np.ndarray
    marks: Mapping[str, float]


@dataclass(frozen=True)
class DetectionFigure:
    """The panels (a) to (c), the last of which may be missing."""

    roc: RocPanel
    rates: RatePanel
    accuracies: AccuracyPanel | None


def detection_figure(
    content: Mapping[str, Any], papers: pd.DataFrame | None = None
) -> tuple[DetectionFigure, pd.DataFrame]:
    """The panels of a figure, and its numbers in rows (`COLUMNS`).

    The last panel shows the share of attacked images that are detected, that of those which the
    classifier gets right after one pass, and that of those for which either holds. The paper's
    argument (section 4.4) is that detection makes up where the accuracy falls; what the third line
    lacks to 1 passes the detection and is misclassified.

    For `content` see the module; `papers` are rows of `purification.reporting.papers.paper_values`
    for the figure of that indicator, whose areas stand beside ours at equal settings alone.

    Raises as `roc_figure`, and ValueError for jobs without one set of clean and validation images.
    """
    panel, _ = roc_panel("epsilon", content["jobs"], papers)
    jobs = sorted(content["jobs"], key=lambda job: job["labels"]["epsilon"])
    scores = [read_scores(job) for job in jobs]
    _check_common(scores)
    marks = _thresholds(content, scores)
    grid = _grid(scores)
    rows = [
        row
        for job, held, curve in zip(jobs, scores, panel.curves, strict=True)
        for row in _rows_of_job(content, job, held, curve.auc, curve.paper_auc, marks, grid)
    ]
    rows += _false_alarm_rows(jobs[0], scores[0], marks, grid)
    table = pd.DataFrame(rows, columns=list(COLUMNS)).assign(indicator=content["indicator"])
    missed = {
        curve.label: error_rates(held.clean, held.attacked, grid)[0]
        for curve, held in zip(panel.curves, scores, strict=True)
    }
    false_alarms = error_rates(scores[0].clean, scores[0].attacked, grid)[1]
    x_label = f"Threshold ({INDICATOR_NAMES[content['indicator']]})"
    rates = RatePanel(x_label, grid, missed, false_alarms, _named(marks, content))
    accuracies = _accuracy_panel(table) if content["accuracy"] else None
    return DetectionFigure(RocPanel("ROC", panel.curves), rates, accuracies), table


def detection_curves(figure: DetectionFigure, *paths: Path) -> None:
    """Draw the panels side by side over the width of two columns of a paper, legends below.

    A strength has the same line in the ROC and in the error rates. `paths` are as for
    `paper_figure`. Raises ValueError: accuracies that are none, as `accuracy_lines` refuses them.
    """
    panels = 2 if figure.accuracies is None else 3
    # A panel, its title and axis, and the longest legend.
    rows = len(figure.rates.missed) + 1 + len(figure.rates.marks)
    height = {2: 3.8, 3: 2.4}[panels] + 0.125 * rows
    if figure.accuracies is not None:
        for label, points in figure.accuracies.lines.items():
            check_accuracies(points, figure.accuracies.x, label)
    with paper_figure(2, height, *paths) as drawn:
        axes = drawn.subplots(1, panels, squeeze=False)[0]
        draw_roc(axes[0], figure.roc)
        axes[0].set_ylabel("True positive rate")
        _draw_rates(axes[1], figure.rates)
        if figure.accuracies is not None:
            entries = draw_accuracies(axes[2], figure.accuracies, list(figure.accuracies.lines))
            axes[2].set(ylabel="Share of attacked images", ylim=(-0.02, 1.02), box_aspect=1)
            _legend(axes[2], list(entries.values()), list(entries))


def _check_common(scores: Sequence[Scores]) -> None:
    for held in scores[1:]:
        for name in ("clean", "validation"):
            if not np.array_equal(getattr(held, name), getattr(scores[0], name)):
                raise ValueError(
                    f"one line of false alarms needs the same {name} images for every strength, "
                    f"got other scores of {name} images in two jobs"
                )


def _thresholds(content: Mapping[str, Any], scores: Sequence[Scores]) -> dict[str, float]:
    """By where they are from."""
    rate = content["false_positive_rate"]
    marks = {"validation": threshold_at(scores[0].validation, rate)}
    paper = content["paper_threshold"]
    return marks if paper is None else marks | {"paper": float(paper)}


def _named(marks: Mapping[str, float], content: Mapping[str, Any]) -> dict[str, float]:
    names = {
        "validation": f"η: {100 * content['false_positive_rate']:g} % FPR, validation images",
        "paper": f"η = {content['paper_threshold']}, the paper's",
    }
    return {names[origin]: threshold for origin, threshold in marks.items()}


def _grid(scores: Sequence[Scores]) -> np.ndarray:
    """Thresholds from 0 to where nearly all images of every set are passed."""
    sets = [part for held in scores for part in (held.clean, held.attacked)]
    return np.linspace(0, max(float(np.quantile(part, 0.995)) for part in sets), _GRID)


def _rows_of_job(
    content: Mapping[str, Any],
    job: Mapping[str, Any],
    held: Scores,
    area: float,
    paper: float | None,
    marks: Mapping[str, float],
    grid: np.ndarray,
) -> list[dict[str, Any]]:
    random = {"seed": content["seed"], "repeats": content["repeats"]}
    labels = {name: job["labels"][name] for name in LABELS} | {"n": len(held.attacked)}
    low, high = paired_auc_interval(held.clean, held.attacked, **random)
    rows = [_value("auc", area, (low, high)) | {"paper_value": paper}]
    point = operating_point(held, content["false_positive_rate"], **random)
    # With few validation images the resampled thresholds may all lie on one side of the threshold.
    low, high = min(point["tpr_low"], point["tpr"]), max(point["tpr_high"], point["tpr"])
    found = (point["tpr"], (low, high))
    missed = (1 - point["tpr"], (1 - high, 1 - low))
    at = {"threshold": point["threshold"], "threshold_from": "validation"}
    rows.append(_value("fnr", *missed) | at)
    if "paper" in marks:
        below = held.attacked <= marks["paper"]
        rows.append(_share("fnr", below) | {"threshold": marks["paper"], "threshold_from": "paper"})
    if content["accuracy"]:
        right = _right(job["attacked"], len(held.attacked))
        either = right | (held.attacked > point["threshold"])
        rows.append(_value("detected", *found) | at)
        rows += [_share("correct", right) | at, _share("detected_or_correct", either) | at]
    rates, _ = error_rates(held.clean, held.attacked, grid)
    return [labels | row for row in rows + _curve("fnr", rates, grid)]


def _false_alarm_rows(
    job: Mapping[str, Any], held: Scores, marks: Mapping[str, float], grid: np.ndarray
) -> list[dict[str, Any]]:
    labels = {name: job["labels"][name] for name in LABELS}
    labels |= {"attack": "none", "epsilon": None, "n": len(held.clean)}
    rows = [
        _share("fpr", held.clean > threshold) | {"threshold": threshold, "threshold_from": origin}
        for origin, threshold in marks.items()
    ]
    _, rates = error_rates(held.clean, held.attacked, grid)
    return [labels | row for row in rows + _curve("fpr", rates, grid)]


def _right(source: Mapping[str, Any], n: int) -> np.ndarray:
    """Which of the first n attacked images the classifier behind the purifier gets right."""
    predictions, labels = (
        read_field(source["images"], name, group=source["group"])[:n]
        for name in ("predictions", "labels")
    )
    return predictions == labels


def _value(measure: str, value: float, interval: tuple[float, float]) -> dict[str, Any]:
    return {"measure": measure, "value": value, "ci_low": interval[0], "ci_high": interval[1]}


def _share(measure: str, chosen: np.ndarray) -> dict[str, Any]:
    interval = wilson_interval(int(chosen.sum()), len(chosen))
    return _value(measure, float(chosen.mean()), interval)


def _curve(measure: str, rates: np.ndarray, grid: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"measure": measure, "threshold": t, "threshold_from": "grid", "value": rate}
        for t, rate in zip(grid, rates, strict=True)
    ]


def _accuracy_panel(table: pd.DataFrame) -> AccuracyPanel:
    """Panel (c); its third line names the strength at which least is caught."""
    at = table[table["threshold_from"] == "validation"].astype({"epsilon": float})
    at = at.rename(columns={"value": "accuracy"})
    either = at[at["measure"] == "detected_or_correct"]
    least = either.loc[either["accuracy"].astype(float).idxmin()]
    lines = {name: at[at["measure"] == measure] for measure, name in _SHOWN.items()}
    lines[f"Either (least: {least['accuracy']:.3f}, ε = {least['epsilon']:g})"] = either
    return AccuracyPanel("Detection and accuracy", "epsilon", "Strength ε", lines)


def _draw_rates(axis: "Axes", panel: RatePanel) -> None:
    for (label, rates), look in zip(panel.missed.items(), looks(len(panel.missed)), strict=True):
        axis.plot(panel.thresholds, rates, **look, label=f"FNR, {label}")
    axis.plot(panel.thresholds, panel.false_alarms, color="firebrick", label="FPR")
    # Other greys and dashes than the strengths', and no rising line.
    for (label, threshold), dashes in zip(panel.marks.items(), ("--", ":"), strict=False):
        axis.axvline(threshold, color="0.4", linestyle=dashes, linewidth=0.8, label=label)
    axis.set(
        **{"title": "Missed attacks and false alarms", "xlabel": panel.x_label, "ylabel": "Rate"},
        **{"xlim": (0, panel.thresholds[-1]), "ylim": (-0.02, 1.02), "box_aspect": 1},
        anchor="N",
    )
    _legend(axis, *axis.get_legend_handles_labels())


def _legend(axis: "Axes", handles: list[Any], labels: list[str]) -> None:
    axis.set_anchor("N")
    axis.legend(handles, labels, **BELOW)
