"""Accuracy over the epochs of an end-to-end training (Defense-VAE, Figure 4), from its histories.

A history is the CSV of the rows that `purification.training.defense_vae.train_end_to_end` returns:
epoch 0 is the start, and `accuracy_<name>` the accuracy on a set of images that stays as it is.
The paper shows one classifier, which it does not name, finetuned from REC, under FGSM 0.3.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from purification.evaluation.accuracy import wilson_intervals
from purification.reporting.csv_files import read_rows
from purification.reporting.roc import AccuracyPanel, checked_labels, draw_line, draw_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# In epochs, so that bars are not on top of each other: between two lines, and all together at most.
_DODGE, _SPREAD = 0.08, 0.3


def finetuning_panels(lines: Sequence[Mapping[str, Any]], evaluated: str) -> list[AccuracyPanel]:
    """The panels of Figure 4, one for each way to start, from histories.

    Args:
        lines: plain JSON values, in the order of panels and of lines: `panel`, its title
            ("Finetuned from REC"); `line`, its label ("Classifier A"); `history`, the CSV; and
            `images`, how many images the accuracies are of.
        evaluated: the name of the set of images ("fgsm": column `accuracy_fgsm`).

    Returns:
        Panels whose lines have epoch, n, accuracy, and Wilson's interval ci_low and ci_high. The
        images are the same in every epoch: the interval covers the choice of the images, and
        overlapping bars of one line do not say that nothing changed.

    Raises FileNotFoundError; ValueError: no lines, two of one label in a panel; or a history
    without the column, without every epoch from 0 on, or with what is no share of that many images.
    """
    if not lines:
        raise ValueError("no histories of end-to-end training to show")
    panels: dict[str, dict[str, pd.DataFrame]] = {}
    for line in lines:
        panel = panels.setdefault(line["panel"], {})
        if line["line"] in panel:
            raise ValueError(f"two lines {line['line']!r} in panel {line['panel']!r}")
        panel[line["line"]] = _read(Path(line["history"]), f"accuracy_{evaluated}", line["images"])
    return [AccuracyPanel(title, "epoch", "Epoch", panel) for title, panel in panels.items()]


def finetuning_curves(panels: Sequence[AccuracyPanel], *paths: Path) -> None:
    """Draw accuracy over epochs, in panels side by side, with confidence intervals.

    A line has the same look in all panels, its own dashes and marker besides its colour. Each panel
    has an accuracy axis of its own: a training from scratch starts at chance, and on its scale
    nothing would be seen of a finetuning.

    One panel of `finetuning_panels` takes a column of a paper, two take both; `paths` are as for
    `paper_figure`. Raises ValueError: no panels or more than two, or more lines than can be told
    apart.
    """
    from purification.reporting.plotting import MaxNLocator

    labels = checked_labels(panels)
    spread = min(_SPREAD, _DODGE * (len(labels) - 1))
    places = np.linspace(-spread / 2, spread / 2, len(labels)) if spread else [0.0]

    def draw(axis: "Axes", panel: AccuracyPanel) -> dict[str, Any]:
        entries = {
            label: draw_line(axis, i, points[panel.x] + places[i], points)
            for i, label in enumerate(labels)
            if (points := panel.lines.get(label)) is not None
        }
        axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axis.set(title=panel.title, xlabel=panel.x_label)
        return entries

    # Handles long enough for the dashes to be seen.
    draw_panels(panels, labels, draw, *paths, sharey=False, handlelength=3)


def _read(path: Path, column: str, images: int) -> pd.DataFrame:
    """Epoch, n, accuracy and interval of a history; see `finetuning_panels`."""
    history = read_rows(path, text=(), counts=("epoch",), numbers=(column,))
    if history.empty or history["epoch"].tolist() != list(range(len(history))):
        raise ValueError(f"{path}: expected epochs 0, 1, 2, ..., got {history['epoch'].tolist()}")
    counts = history[column] * images
    # Written with six digits, a share of 10,000 images is within 0.01 of a count.
    if (
        not ((counts - counts.round()).abs() < 0.05).all()
        or not history[column].between(0, 1).all()
    ):
        shares = history[column].tolist()
        raise ValueError(f"{path}: {column} are no shares of {images} images: {shares}")
    correct = counts.round().astype(int)
    points = {"epoch": history["epoch"].astype(int), "n": images, "accuracy": correct / images}
    points = pd.DataFrame(points)
    points[["ci_low", "ci_high"]] = wilson_intervals(correct, points["n"])
    return points
