"""Cowboy's Figures 1 and 2: surfaces of a classifier and of a discriminator in the plane.

The arrays are those of `purification.training.toy.Toy`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from purification.reporting.figures import paper_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN = 500  # points of a kind: more would hide the surface
_MARKERS = "o^"


def classifier_surface(
    axis: np.ndarray,
    probability: np.ndarray,
    points: np.ndarray,
    labels: np.ndarray,
    *paths: Path,
) -> None:
    """Draw Figure 1: the probability of class 1, its training points on it.

    Contours are at 0.01, 0.5 (dashed) and 0.99: beyond the outer two the classifier is sure.

    Args:
        axis: (K,), rising coordinates, of rows (y) and columns (x) alike.
        probability: (K, K) in [0, 1], at (axis[column], axis[row]).
        points, labels: (N, 2) and (N,), 0 or 1; the first 500 are shown.
        paths: as for `paper_figure`.

    Raises ValueError: arrays of other shapes, or values outside [0, 1].
    """
    _check(axis, probability, points)
    if labels.shape != (len(points),) or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels: expected {len(points)} of 0 and 1, got shape {labels.shape}")
    shown, of_class = points[:_SHOWN], labels[:_SHOWN]
    kinds = {f"Class {label}": shown[of_class == label] for label in (0, 1)}
    label = "Probability of class 1"
    _draw(axis, probability, label, (0.01, 0.5, 0.99), kinds, paths)


def discriminator_surface(
    axis: np.ndarray,
    score: np.ndarray,
    points: np.ndarray,
    samples: np.ndarray,
    *paths: Path,
) -> None:
    """Draw Figure 2: D's score, the real points and the generator's samples on it.

    The contour is at 0.5, where D takes a point for real as often as not. The scale goes from 0 to
    1 whatever the scores: a discriminator that is undecided everywhere is seen to be so.

    Args:
        axis, score: as for `classifier_surface`.
        points, samples: (N, 2) and (M, 2), real and generated; the first 500 of each are shown.

    `paths` and errors as there.
    """
    _check(axis, score, points, samples)
    kinds = {"Real": points[:_SHOWN], "Generated": samples[:_SHOWN]}
    _draw(axis, score, "Discriminator's score D(x)", (0.5,), kinds, paths)


def _draw(
    axis: np.ndarray,
    values: np.ndarray,
    label: str,
    contours: tuple[float, ...],
    kinds: dict[str, np.ndarray],
    paths: tuple[Path, ...],
) -> None:
    with paper_figure(1, 2.75, *paths) as figure:
        axes: Axes = figure.subplots()
        # One picture in the PDF too, instead of a polygon for each of thousands of points.
        image = axes.imshow(
            values,
            origin="lower",
            extent=_extent(axis),
            cmap="vlag",
            vmin=0,
            vmax=1,
            interpolation="nearest",
        )
        if values.min() < max(contours) and values.max() > min(contours):
            styles = ["--" if level == 0.5 else "-" for level in contours]
            lines = axes.contour(
                axis, axis, values, contours, colors="0.25", linewidths=0.7, linestyles=styles
            )
            axes.clabel(lines, fmt="%g", fontsize=6)
        for (name, kind), marker, color in zip(
            kinds.items(), _MARKERS, ("black", "white"), strict=True
        ):
            axes.scatter(
                *kind.T,
                s=5,
                marker=marker,
                color=color,
                edgecolors="black",
                linewidths=0.25,
                alpha=0.8,
                label=name,
            )
        # Inside, so that it is as high as the square panel.
        figure.colorbar(image, cax=axes.inset_axes((1.04, 0, 0.05, 1)), label=label)
        limits = axis[0], axis[-1]
        axes.set(xlabel="$x_1$", ylabel="$x_2$", xlim=limits, ylim=limits, aspect="equal")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)


def _extent(axis: np.ndarray) -> tuple[float, float, float, float]:
    """Borders of a picture whose pixels' middles are on the grid."""
    half = (axis[1] - axis[0]) / 2
    low, high = float(axis[0] - half), float(axis[-1] + half)
    return low, high, low, high


def _check(axis: np.ndarray, values: np.ndarray, *clouds: np.ndarray) -> None:
    if axis.ndim != 1 or len(axis) < 2 or values.shape != (len(axis), len(axis)):
        raise ValueError(
            f"expected an axis (K,) and values (K, K), got {axis.shape} and {values.shape}"
        )
    if not (values.min() >= 0 and values.max() <= 1):  # also refuses NaN
        raise ValueError(f"values outside [0, 1]: {values.min()} to {values.max()}")
    for cloud in clouds:
        if cloud.ndim != 2 or cloud.shape[1] != 2:
            raise ValueError(f"expected points (N, 2), got shape {cloud.shape}")
