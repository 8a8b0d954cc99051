"""The columns of a picture of reconstructions: a few images, one of each class, in every setting.

A source says where a column's images are, in plain JSON values:

    {"header": text, "images": path, "group": name or None, "split": name or None,
     "hold_out": bool, "field": name or None}

`group` is a set within a file of several, `split` that of a data set, `field` a field of the set
that holds images (`adversarial`) and is shown in place of its images. `hold_out`: without the first
images, which the black-box attacker has. Row i of all sources belongs to the same image.

A picture is

    {"images": number of classes, "blocks": [[[title, sources], ...], ...],
     "arranged": "stacked" (or missing) or "beside", "parts": number or missing}

with blocks for each data set: those of the next stand below (`stacked`), or to the right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from purification.datasets import BLACK_BOX_HOLD_OUT, evaluation_images
from purification.storage import (
    ImageSet,
    StoredSet,
    open_image_set,
    open_split,
    read_image_set,
    read_split,
)

Source = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """Images in [0, 1] from top to bottom, (K, C, H, W) or, of several sizes, K of (C, H, W); the
    text above them; and, of reconstructions, their errors (K,): mean squares, squared pixel
    units."""

    header: str
    images: np.ndarray | Sequence[np.ndarray]
    errors: np.ndarray | None = None


@dataclass(frozen=True)
class Block:
    """Columns that stand together, and what they share; an empty title where that is nothing."""

    title: str
    columns: Sequence[Column]


def first_of_each_class(labels: np.ndarray, classes: int) -> np.ndarray:
    """Places (K,) of the first image of each of the `classes` lowest labels (at least 1), or of
    all, in the order of the labels (N,), N >= 1."""
    _, first = np.unique(labels, return_index=True)
    return first[:classes]


def reconstruction_blocks(
    blocks: Sequence[tuple[str, Sequence[Source]]], classes: int
) -> list[Block]:
    """The blocks of Defense-GAN's Figure 6 or 7, or of Defense-VAE's Figure 1 or 5, from files.

    A block is a title, and sources from left to right (see the module). The images are the first of
    each class, `classes` at most, among those that all sources hold. Below the images of a set
    stand its reconstruction errors, if it has that field.

    Raises FileNotFoundError; ValueError: no sources; a file lacks what a source names; or the
    labels of two sources do not agree, so that they cannot be of the same images.
    """
    sets = [[(source, read_source(source)) for source in sources] for _, sources in blocks]
    together = [pair for block in sets for pair in block]
    if not together:
        raise ValueError("no sources of images to show")
    rows = first_of_each_class(_common_labels(together), classes)
    return [
        Block(title, [_column(source, image_set, rows) for source, image_set in block])
        for (title, _), block in zip(blocks, sets, strict=True)
    ]


def picture_blocks(content: Mapping[str, Any]) -> list[Block]:
    """The blocks of a whole picture (see the module), from left to right.

    Raises FileNotFoundError, ValueError: as `reconstruction_blocks`, `stacked` and `side_by_side`;
    another arrangement.
    """
    arrangements = {"stacked": stacked, "beside": beside}
    arranged = content.get("arranged", "stacked")
    if arranged not in arrangements:
        known = ", ".join(arrangements)
        raise ValueError(f"picture arranged {arranged!r}: expected one of {known}")
    shown = [reconstruction_blocks(blocks, content["images"]) for blocks in content["blocks"]]
    return side_by_side(arrangements[arranged](shown), content.get("parts", 1))


def beside(datasets: Sequence[Sequence[Block]]) -> list[Block]:
    """The blocks of several data sets from left to right.

    They have as many rows as the data set with the fewest images shown: a row is then no image in
    several settings, but an image of each data set.
    """
    blocks = [block for own in datasets for block in own]
    rows = min(len(column.images) for block in blocks for column in block.columns)
    shown = slice(rows)
    return [Block(block.title, [_rows(c, shown) for c in block.columns]) for block in blocks]


def stacked(datasets: Sequence[Sequence[Block]]) -> list[Block]:
    """The blocks of several data sets as one: the images of each below those of the one before.

    Titles and headers are the first's; images may differ in size and in the number of colours
    between the data sets. Raises ValueError where the blocks do not agree in number.
    """
    together = [(same[0].title, [b.columns for b in same]) for same in zip(*datasets, strict=True)]
    return [Block(title, [_stacked(c) for c in zip(*of, strict=True)]) for title, of in together]


def side_by_side(blocks: Sequence[Block], parts: int) -> list[Block]:
    """A high picture as a wide one: the first of `parts` equal shares of the rows, the next beside.

    What an even division leaves over at the end is not shown. Raises ValueError if there are fewer
    images than parts.
    """
    share = min(len(column.images) for block in blocks for column in block.columns) // parts
    if not share:
        raise ValueError(f"too few images for {parts} parts side by side")
    return [
        Block(block.title, [_rows(column, rows) for column in block.columns])
        for rows in (slice(i * share, (i + 1) * share) for i in range(parts))
        for block in blocks
    ]


def _rows(column: Column, rows: slice | np.ndarray) -> Column:
    errors = None if column.errors is None else column.errors[rows]
    return Column(column.header, column.images[rows], errors)


def _stacked(columns: Sequence[Column]) -> Column:
    images = [image for column in columns for image in column.images]
    errors = [column.errors for column in columns if column.errors is not None]
    return Column(columns[0].header, images, np.concatenate(errors) if errors else None)


def read_source(source: Source, first: int | None = None) -> ImageSet:
    """What a source names (see the module), or the first images of it. Raises as `read_image_set`,
    and ValueError for a set without the field."""
    if source.get("split"):
        image_set = ImageSet(*read_split(source["images"], source["split"], first))
    else:
        image_set = read_image_set(source["images"], first, group=source.get("group"))
    name = source.get("field")
    if name:
        if name not in image_set.fields:
            raise ValueError(f"{_place(source)}: no field {name!r}, has {list(image_set.fields)}")
        image_set = ImageSet(image_set.fields[name], image_set.labels)
    if not source.get("hold_out"):
        return image_set
    fields = {field: evaluation_images(values) for field, values in image_set.fields.items()}
    images, labels = evaluation_images(image_set.images), evaluation_images(image_set.labels)
    return ImageSet(images, labels, fields)


def open_source(source: Source) -> StoredSet:
    """What a source without `field` names, its images still in their file. Raises as
    `open_image_set`."""
    if source.get("split"):
        found = open_split(source["images"], source["split"])
    else:
        found = open_image_set(source["images"], group=source.get("group"))
    if not source.get("hold_out"):
        return found
    labels, images = evaluation_images(found.labels), found.images.part(BLACK_BOX_HOLD_OUT)
    fields = {field: evaluation_images(values) for field, values in found.fields.items()}
    return StoredSet(images, labels, fields)


def _common_labels(sets: Sequence[tuple[Source, ImageSet]]) -> np.ndarray:
    """Labels (N,) of the images that all sets hold."""
    n = min(len(image_set.labels) for _, image_set in sets)
    first_source, first = sets[0]
    for source, image_set in sets[1:]:
        differ = np.flatnonzero(image_set.labels[:n] != first.labels[:n])
        if len(differ):
            raise ValueError(
                f"{_place(source)}: expected the images of {_place(first_source)} row by row, but "
                f"the labels of {len(differ)} of {n} rows differ, first of row {differ[0]}"
            )
    return first.labels[:n]


def _column(source: Source, image_set: ImageSet, rows: np.ndarray) -> Column:
    errors = image_set.fields.get("reconstruction_error")
    return _rows(Column(source["header"], image_set.images, errors), rows)


def _place(source: Source) -> str:
    return " ".join(filter(None, (str(source["images"]), source.get("group"), source.get("split"))))
