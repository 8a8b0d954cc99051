"""Pictures of reconstructions (Defense-GAN, Figures 6, 7; Defense-VAE, Figures 1, 5): an image a
row, a setting a column."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from purification.evaluation.reconstructions import Block, Column
from purification.reporting.figures import DPI, checked_images, paper_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Shape = tuple[int, int]
"""Height and width, pixels."""

# Lengths are in inches.
_WIDTH = 7.0  # of the figure
_BETWEEN = 0.045  # images of a block
_BLOCK_GAP = (0.1, 0.3)  # between blocks, at least and at most
_SIDES = (0.3, 0.8)  # of an image: below it its error and its header have no room
_LINE, _RULE = 0.125, 0.06  # heights of a line of text, and of the rule below a title
_EDGE = 0.03  # above all, and between a header and its images
_ERROR, _ERROR_POINTS = 0.125, 5.5
_TITLE_POINTS = 8
_TITLE_CHARACTERS = 120  # of a line of the heading
_FOOT = 0.17
_FOOT_TEXT = (
    "Numbers: reconstruction error (mean square difference from the image that was purified)."
)


@dataclass(frozen=True)
class _Layout:
    """Sizes: the side that an image has room for, the largest image's, from one block to the next,
    from a row to the next, and the heights of the heading, of titles and of headers."""

    side: float
    image: tuple[float, float]
    gap: float
    step: float
    heading: float
    titles: float
    headers: float

    @property
    def top(self) -> float:
        """Of the first row of images."""
        return 2 * _EDGE + self.heading + self.titles + self.headers

    def width(self, columns: int) -> float:
        """Of that many columns of one block."""
        return columns * (self.image[1] + _BETWEEN) - _BETWEEN


def reconstruction_grid(
    blocks: Sequence[Block], path_png: Path, path_pdf: Path, title: str = ""
) -> None:
    """Draw images in rows and settings in columns, over the width of two columns of a paper.

    Columns of a block stand under its title and a rule, which says what they share ("R = 1"); each
    has its header ("L = 25"), or none. Below a reconstruction stands its error, and a line at the
    foot says so. A pixel of any image is a square of a whole number of the PNG's pixels, the same
    for images of one size; those of several sizes (`stacked` data sets) are nearly as large.

    The blocks stand from left to right, the title above them in as many lines as it needs. Both
    files are written complete, or neither. Raises ValueError: no columns or too many for the width,
    columns that differ in the number or, in any row, the size of their images, or what are no
    images in [0, 1].
    """
    columns = [column for block in blocks for column in block.columns]
    shapes = _checked_shapes(columns)
    heading = textwrap.wrap(title, _TITLE_CHARACTERS)
    layout = _layout(blocks, shapes, len(heading) * _LINE)
    with_errors = any(column.errors is not None for column in columns)
    height = layout.top + len(shapes) * layout.step + (_FOOT if with_errors else 0.0)
    used = sum(layout.width(len(block.columns)) for block in blocks)
    left = (_WIDTH - used - layout.gap * (len(blocks) - 1)) / 2
    with paper_figure(2, height, path_png, path_pdf) as figure:
        if heading:
            _text(figure, _WIDTH / 2, _EDGE, "\n".join(heading))
        for block in blocks:
            if block.title:
                width = layout.width(len(block.columns))
                _draw_title(figure, block.title, layout.heading, left, width)
            for i, column in enumerate(block.columns):
                _draw_column(figure, column, left + layout.width(i + 1) - layout.image[1], layout)
            left += layout.width(len(block.columns)) + layout.gap
        if with_errors:
            _text(figure, _WIDTH / 2, height - _EDGE, _FOOT_TEXT, va="bottom")


def _checked_shapes(columns: Sequence[Column]) -> list[Shape]:
    """Height and width of each row's images, the same in all columns, or ValueError."""
    if not columns or not len(columns[0].images):
        raise ValueError("no columns of images to show")
    shapes = [[image.shape[:2] for image in _checked(column)] for column in columns]
    for column, own in zip(columns, shapes, strict=True):
        if own != shapes[0]:
            raise ValueError(
                f"expected as many images of one size in each column, got {columns[0].header!r}: "
                f"{_listed(shapes[0])}, {column.header!r}: {_listed(own)}"
            )
        if column.errors is not None and len(column.errors) != len(own):
            raise ValueError(f"{column.header}: {len(own)} images, {len(column.errors)} errors")
    return shapes[0]


def _listed(shapes: Sequence[Shape]) -> str:
    """Such as "5 of 28x28, 5 of 64x64"."""
    return ", ".join(f"{len(list(same))} of {h}x{w}" for (h, w), same in groupby(shapes))


def _checked(column: Column) -> list[np.ndarray]:
    """The images, (H, W, C) each, or ValueError."""
    if isinstance(column.images, np.ndarray):
        return list(checked_images(column.images, column.header))
    return [checked_images(image[None], column.header)[0] for image in column.images]


def _layout(blocks: Sequence[Block], shapes: Sequence[Shape], heading: float) -> _Layout:
    """Images as large as they fit, what is left between the blocks; or ValueError."""
    columns = [column for block in blocks for column in block.columns]
    between = _BLOCK_GAP[0] * (len(blocks) - 1) + _BETWEEN * (len(columns) - len(blocks))
    side = min(_SIDES[1], (_WIDTH - between) / len(columns))
    if side < _SIDES[0]:
        raise ValueError(f"{len(columns)} columns in {len(blocks)} blocks have no room on the page")
    sizes = [_enlarged(shape, side) for shape in shapes]
    image = (max(height for height, _ in sizes), max(width for _, width in sizes))
    rest = _WIDTH - len(columns) * image[1] - _BETWEEN * (len(columns) - len(blocks))
    return _Layout(
        side=side,
        image=image,
        gap=min(_BLOCK_GAP[1], rest / max(1, len(blocks) - 1)),
        step=image[0] + (_ERROR if any(c.errors is not None for c in columns) else _BETWEEN),
        heading=heading,
        titles=_LINE + _RULE if any(block.title for block in blocks) else 0.0,
        headers=_LINE * max(len(column.header.splitlines()) for column in columns),
    )


def _enlarged(shape: Shape, side: float) -> tuple[float, float]:
    """Height and width of an image on the page that fits into a square of that side.

    A pixel is a whole number of dots, or nearest-neighbour enlargement would make some wider.
    """
    dots = max(1, int(side * DPI / max(shape)))
    return shape[0] * dots / DPI, shape[1] * dots / DPI


def _draw_title(figure: "Figure", title: str, top: float, left: float, width: float) -> None:
    from purification.reporting.plotting import Line2D

    _text(figure, left + width / 2, top + _EDGE, title, fontsize=_TITLE_POINTS)
    ends = [left / _WIDTH, (left + width) / _WIDTH]
    y = 1 - (top + _EDGE + _LINE + _RULE / 2) / figure.get_size_inches()[1]
    figure.add_artist(Line2D(ends, [y, y], color="0", linewidth=0.5))


def _draw_column(figure: "Figure", column: Column, left: float, layout: _Layout) -> None:
    """The header, and below it images from top to bottom, with their errors."""
    page, (row_height, column_width) = figure.get_size_inches()[1], layout.image
    middle = left + column_width / 2
    _text(figure, middle, layout.top - _EDGE, column.header, va="bottom")
    for i, image in enumerate(_checked(column)):
        top = layout.top + i * layout.step
        height, width = _enlarged(image.shape[:2], layout.side)
        corner = (middle - width / 2, page - top - (row_height + height) / 2)
        x, y = (round(place * DPI) / DPI for place in corner)
        box = (x / _WIDTH, y / page, width / _WIDTH, height / page)
        show_image(figure, image, box).set_axis_off()
        if column.errors is not None:
            error = f"{column.errors[i]:.4f}"
            below = top + (row_height + height) / 2 + 0.015
            _text(figure, middle, below, error, fontsize=_ERROR_POINTS)


def _text(figure: "Figure", x: float, y: float, text: str, **settings: object) -> None:
    """Text centred at x, from y downwards, measured from the top left corner."""
    place = (x / _WIDTH, 1 - y / figure.get_size_inches()[1])
    figure.text(*place, text, **{"ha": "center", "va": "top"} | settings)
