"""Pictures for the report: sample grids, loss curves, what purification does to an image.

Figures are drawn on the Agg canvas through `Figure` objects, so no display is needed and nothing of
matplotlib's global state is touched. Matplotlib and seaborn come from `plotting`, which is imported
inside the functions: they take longer to load than most jobs' own work.
"""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from purification.provenance import PNG_MARK, digest_of_job, quirks_of_job
from purification.storage import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMN_INCHES = 3.35  # one column of a two-column paper
_PAGE_INCHES = 7.0  # both columns and the gap between them
DPI = 300
_FONT_POINTS = 7
_TITLE_CHARACTERS, _TITLE_LINE = 62, 0.125  # of a line over one column, and its height
_WRONG = "#b2182b"
# Default entries of the files' metadata, the date and matplotlib's version: without them the bytes
# stay the same.
_MARK = {".png": PNG_MARK, ".pdf": "Keywords"}
"""Where a file's metadata have the digest of the recipe of the job that drew it."""
_METADATA = {".png": ("Software",), ".pdf": ("CreationDate", "Creator", "Producer")}
TRAINING_PANELS = {
    "Generator": {"Wasserstein estimate": ["wasserstein"], "Gradient penalty": ["penalty"]},
    "GAN": {"Loss": ["discriminator", "generator"]},
    "Diffusion": {"Loss": ["loss"]},
}
"""What `loss_curve` shows of a training's history, by the kind of the network."""


def sample_grid(images: Any, path: Path, columns: int) -> None:
    """Write images side by side, row by row, each pixel a 3x3 block, on a grey ground.

    `images` are (N, C, H, W), values in [0, 1], C = 1 or 3, array or CPU tensor; `columns` of them
    are in a row, and the last row may be shorter. The PNG `path` is written complete or not at all.
    Raises ValueError: no images, another shape or values outside [0, 1], or columns below 1.
    """
    images = checked_images(images, "images")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, not {columns}")
    n, height, width, channels = images.shape
    rows, gap = -(-n // columns), 2
    grid = np.full(
        (rows * (height + gap) + gap, min(columns, n) * (width + gap) + gap, channels), 0.6
    )
    for i, image in enumerate(images):
        top = gap + (i // columns) * (height + gap)
        left = gap + (i % columns) * (width + gap)
        grid[top : top + height, left : left + width] = image
    magnified = grid.repeat(3, axis=0).repeat(3, axis=1)
    with _figure(magnified.shape[1] / DPI, magnified.shape[0] / DPI, path) as figure:
        # Not through axes: one array element is to be one pixel of the file.
        figure.figimage(np.broadcast_to(magnified, (*magnified.shape[:2], 3)))


def loss_curve(
    history: pd.DataFrame, path: Path, title: str, *, x: str, panels: Mapping[str, Sequence[str]]
) -> None:
    """Draw a training history as panels one above the other over a shared horizontal axis.

    Args:
        history: a row for each logged iteration or epoch.
        path: PNG file, written complete or not at all.
        title: above the first panel.
        x: column of the horizontal axis, which is also its name (underscores as blanks).
        panels: name of a vertical axis to the columns drawn on it, such as ``{"Loss": ["loss"]}``.
            Several columns get a legend. Missing values are left out, and a column without any.

    Raises ValueError: no panels, no rows, or a column that the history lacks.
    """
    from purification.reporting.plotting import MaxNLocator

    wanted = [x, *(column for columns in panels.values() for column in columns)]
    missing = [column for column in wanted if column not in history]
    if missing or not panels or history.empty:
        raise ValueError(
            f"cannot draw {title!r}: {len(history)} rows, {len(panels)} panels, "
            f"missing columns {missing}; the history has {list(history.columns)}"
        )
    with _figure(_COLUMN_INCHES, 0.4 + 1.25 * len(panels), path) as figure:
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axis, (name, columns) in zip(axes, panels.items(), strict=True):
            _draw_lines(axis, history, x, columns)
            axis.set_ylabel(name)
        axes[0].set_title(title)
        axes[-1].set_xlabel(x.replace("_", " "))
        axes[-1].xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        figure.align_ylabels(axes)


def purification_examples(
    rows: Sequence[tuple[str, Any]],
    path: Path,
    predictions: Sequence[Sequence[object] | None] | None = None,
    truth: Sequence[object] = (),
    title: str = "",
    further: Sequence[Path] = (),
) -> None:
    """Show the same images as original, adversarial and purified: a row a kind, a column an image.

    `rows` are (label, images (N, C, H, W) in [0, 1]) from top to bottom, N the same in all;
    `predictions` has for each row the text under each of its images (such as the class that the
    classifier answers), or None. One that is not the `truth`, of each column, is red and bold,
    behind a cross, and its image has a frame; an empty truth calls none wrong. The `title` takes
    as many lines as it needs. The PNG `path`, as wide as one column of a paper, and the files
    `further`, as of `paper_figure`, are written complete or not at all. Raises ValueError: no rows,
    images of another shape or range, or numbers of images, rows and predictions that do not agree.
    """
    if not rows:
        raise ValueError("no rows of images to show")
    pictures = [(label, checked_images(images, label)) for label, images in rows]
    below = list(predictions) if predictions is not None else [None] * len(rows)
    n = len(pictures[0][1])
    lengths = [len(images) for _, images in pictures] + [len(t) for t in below if t is not None]
    lengths += [len(truth)] if len(truth) else []
    if len(below) != len(rows) or set(lengths) != {n}:
        raise ValueError(
            f"{len(rows)} rows, {len(below)} rows of predictions, and per row {lengths} images, "
            "predictions or classes: the numbers do not agree"
        )
    margin = 0.12 + 0.054 * max(len(line) for label, _ in rows for line in label.split("\n"))
    side = (_COLUMN_INCHES - margin) / n
    text_height = 0.15 if predictions is not None else 0.0
    row_height = side + text_height
    heading = textwrap.wrap(title, _TITLE_CHARACTERS)
    body = row_height * len(rows)
    height = body + _TITLE_LINE * len(heading)
    with _figure(_COLUMN_INCHES, height, path, *further) as figure:
        if heading:
            figure.text(0.5, 1, "\n".join(heading), ha="center", va="top")
        for i, ((label, images), texts) in enumerate(zip(pictures, below, strict=True)):
            top = body - i * row_height
            middle = (top - side / 2) / height
            figure.text((margin - 0.06) / _COLUMN_INCHES, middle, label, ha="right", va="center")
            for j, image in enumerate(images):
                left = margin + j * side
                inner = side * 0.94
                corner = ((left + side * 0.03) / _COLUMN_INCHES, (top - side * 0.97) / height)
                box = (*corner, inner / _COLUMN_INCHES, inner / height)
                wrong = texts is not None and len(truth) > 0 and texts[j] != truth[j]
                axis = show_image(figure, image, box)
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set(visible=wrong, color=_WRONG, linewidth=1.0)
                if texts is not None:
                    figure.text(
                        *((left + side / 2) / _COLUMN_INCHES, (top - side - 0.005) / height),
                        f"\N{BALLOT X}{texts[j]}" if wrong else str(texts[j]),
                        **{"ha": "center", "va": "top", "color": _WRONG if wrong else "0"},
                        weight="bold" if wrong else "normal",
                    )


def show_image(figure: "Figure", image: np.ndarray, box: tuple[float, ...]) -> "Axes":
    """Draw an image (H, W, 1 or 3) in a box of the figure (left, bottom, width, height)."""
    axis = figure.add_axes(box)
    colours = np.broadcast_to(image, (*image.shape[:2], 3))
    axis.imshow(colours, interpolation="nearest", aspect="auto")
    return axis


def attack_name(attack: str, epsilon: float = math.nan) -> str:
    """Such as "FGSM 0.3"."""
    name = attack.upper().replace("_", "-")
    return name if pd.isna(epsilon) else f"{name} {epsilon:g}"


def legend_below(figure: "Figure", entries: Mapping[str, Any], ncols: int, **look: Any) -> None:
    """The legend of all panels: `entries` by their labels."""
    place = {"loc": "outside lower center", "ncols": ncols, "frameon": False}
    figure.legend(entries.values(), entries.keys(), **place, **look)


def legend_entries(axes: Iterable["Axes"]) -> dict[str, Any]:
    """What is labelled in any of the panels: a line may be missing in one of them."""
    named = (zip(*axis.get_legend_handles_labels(), strict=True) for axis in axes)
    return {label: handle for pairs in named for handle, label in pairs}


def log_ticks(axis: "Axes", values: Iterable[float]) -> None:
    """A logarithmic horizontal axis with a tick at each value, and no other."""
    from purification.reporting.plotting import FixedLocator, NullLocator

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(values))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_locator(NullLocator())


def checked_images(images: Any, name: str) -> np.ndarray:
    """Images as (N, H, W, C), or ValueError."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(f"{name}: expected (N, 1 or 3, H, W) images, got shape {images.shape}")
    if not (images.min() >= 0 and images.max() <= 1):  # also refuses NaN
        raise ValueError(f"{name}: values outside [0, 1]: {images.min()} to {images.max()}")
    return images.transpose(0, 2, 3, 1)


def _draw_lines(axis: Any, history: pd.DataFrame, x: str, columns: Sequence[str]) -> None:
    from purification.reporting.plotting import seaborn

    # Line styles tell the curves apart in grey as well.
    styles = ("-", "--", ":", "-.")
    for i, column in enumerate(columns):
        line = pd.DataFrame({"x": history[x], "y": pd.to_numeric(history[column])}).dropna()
        if line.empty:
            continue
        seaborn.lineplot(
            **{"data": line, "x": "x", "y": "y", "ax": axis, "legend": False},
            **{"estimator": None, "errorbar": None, "linestyle": styles[i % len(styles)]},
            label=column.replace("_", " ") if len(columns) > 1 else None,
            marker="o" if len(line) == 1 else None,  # a single point makes no line
        )
    if len(axis.get_legend_handles_labels()[1]) > 1:
        axis.legend(frameon=False)


def labelled_images(rows: Sequence[tuple[str, Any, Sequence[str]]], *paths: Path) -> None:
    """Draw rows of images, a label below each, over two columns of a paper.

    `rows`: title, images (K, C, H, W) in [0, 1] and K labels of each. `paths`: as `paper_figure`.
    Raises ValueError: no rows, images as `sample_grid` refuses them, another number of labels.
    """
    checked = [(title, checked_images(images, title), labels) for title, images, labels in rows]
    if not checked or any(len(images) != len(labels) for _, images, labels in checked):
        raise ValueError("labelled images: expected at least one row, and a label for each image")
    most = max(len(images) for _, images, _ in checked)
    height = len(checked) * (_PAGE_INCHES / most + 0.45)
    with paper_figure(2, height, *paths) as figure:
        parts = np.atleast_1d(figure.subfigures(len(checked), 1))
        for part, (title, images, labels) in zip(parts, checked, strict=True):
            part.suptitle(title, fontsize="medium")
            axes = part.subplots(1, most, squeeze=False)[0]
            for axis in axes:
                axis.set_axis_off()
            for axis, image, label in zip(axes, images, labels, strict=False):
                axis.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axis.set_title(label, y=-0.3, fontsize=6)


@contextmanager
def paper_figure(columns: int, height: float, *paths: Path) -> Iterator["Figure"]:
    """A figure for `reporting`'s other modules: one or two columns of a paper wide, in its style.

    `columns` (1 or 2) are those that it spans, `height` is in inches. The files `paths`, each in
    the format of its suffix, .png or .pdf, are written at the end of the block: all of them
    complete, or none if the block raises. Raises ValueError for another suffix.
    """
    unknown = [str(path) for path in paths if path.suffix not in _METADATA]
    if unknown:
        raise ValueError(f"figures are {' or '.join(_METADATA)}, not {', '.join(unknown)}")
    with _figure({1: _COLUMN_INCHES, 2: _PAGE_INCHES}[columns], height, *paths) as figure:
        yield figure


@contextmanager
def _figure(width: float, height: float, *paths: Path) -> Iterator["Figure"]:
    """A figure of that many inches in the project's style, written to `paths` at the end."""
    from purification.reporting.plotting import (
        Figure,
        FigureCanvasAgg,
        cycler,
        only_style,
        seaborn,
    )

    sizes = ("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    style = seaborn.axes_style("ticks") | {
        **dict.fromkeys(sizes, _FONT_POINTS),
        "axes.titlesize": _FONT_POINTS + 1,
        "axes.linewidth": 0.6,
        "lines.linewidth": 1.1,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "pdf.fonttype": 42,  # TrueType: journals refuse matplotlib's usual Type 3
        "axes.prop_cycle": cycler(color=seaborn.color_palette("colorblind")),
    }
    with only_style(style):
        figure = Figure(figsize=(width, height), dpi=DPI)
        FigureCanvasAgg(figure)
        yield figure
        below = 0.0
        if quirks := quirks_of_job():
            below = 0.12 / height
            said = f"With quirks of published code: {', '.join(quirks)}"
            figure.text(0.99, 0.1 * below, said, ha="right", va="bottom", fontsize=_FONT_POINTS - 1)
        if figure.axes and figure.axes[0].get_subplotspec() is not None:
            figure.set_layout_engine("constrained", rect=(0, below, 1, 1 - below))
        with ExitStack() as stack:
            for path in paths:
                temporary = stack.enter_context(atomic(path))
                kind = path.suffix
                metadata = dict.fromkeys(_METADATA[kind]) | {_MARK[kind]: digest_of_job()}
                figure.savefig(temporary, format=kind[1:], dpi=DPI, metadata=metadata)
