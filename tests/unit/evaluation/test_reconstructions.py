"""Pictures of reconstructions: which images are shown, where they stand, and that all fits."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from purification.evaluation.reconstructions import (
    Block,
    Column,
    beside,
    first_of_each_class,
    picture_blocks,
    reconstruction_blocks,
    side_by_side,
    stacked,
)
from purification.reporting import reconstructions
from purification.reporting.reconstructions import reconstruction_grid
from purification.storage import ImageSet, write_dataset, write_image_set, write_image_sets

HELD_OUT = 150
LABELS = np.array([3, 1, 3, 0, 1, 2, 0], np.int64)  # of the images after the attacker's
FIRST = [3, 1, 5, 0]  # of the classes 0 to 3


def pictures(n: int, shift: float = 0.0, size: int = 28) -> np.ndarray:
    """Image i has the value (i + 1) / 20 + shift everywhere."""
    values = (np.arange(n, dtype=np.float32)[:, None, None, None] + 1) / 20 + np.float32(shift)
    return np.broadcast_to(values, (n, 1, size, size)).copy()


@pytest.fixture
def blocks(tmp_path: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """Sources of a small Figure 6: the data set, the attacked images, and a sweep's file."""
    n = len(LABELS)
    labels = np.concatenate([np.zeros(HELD_OUT, np.int64), LABELS])
    images = np.concatenate([np.ones((HELD_OUT, 1, 28, 28), np.float32), pictures(n)])
    write_dataset(tmp_path / "data.h5", {"test": (images, labels)}, {})
    write_image_set(tmp_path / "attacked.h5", ImageSet(pictures(n, 0.1), LABELS), {})
    kept = n - 1  # the sweep holds the first images only
    sets = {
        name: ImageSet(
            pictures(kept, shift),
            LABELS[:kept],
            {"reconstruction_error": np.arange(kept) / 100 + shift},
        )
        for name, shift in (("L25_R1", 0.2), ("L50_R1", 0.3), ("L25_R2", 0.4))
    }
    write_image_sets(tmp_path / "sweep.h5", sets, {})
    data = {"header": "original", "images": str(tmp_path / "data.h5"), "split": "test"}
    attacked = {"header": "attacked", "images": str(tmp_path / "attacked.h5"), "group": None}
    sweep = [
        {"header": header, "images": str(tmp_path / "sweep.h5"), "group": group}
        for header, group in (("L = 25", "L25_R1"), ("L = 50", "L50_R1"), ("R = 2", "L25_R2"))
    ]
    return [("", [data | {"hold_out": True}, attacked]), ("R = 1", sweep[:2]), ("L", sweep[2:])]


# Which images


def test_first_image_of_each_class() -> None:
    assert first_of_each_class(LABELS, 4).tolist() == FIRST
    assert first_of_each_class(LABELS, 2).tolist() == FIRST[:2]
    assert first_of_each_class(LABELS, 10).tolist() == FIRST


def test_the_same_images_in_every_column(blocks: list) -> None:
    read = reconstruction_blocks(blocks, 4)
    assert [block.title for block in read] == ["", "R = 1", "L"]
    columns = [column for block in read for column in block.columns]
    assert [column.header for column in columns] == [
        *("original", "attacked", "L = 25", "L = 50", "R = 2"),
    ]
    for column, shift in zip(columns, (0, 0.1, 0.2, 0.3, 0.4), strict=True):
        expected = pictures(len(LABELS), shift)[FIRST]
        np.testing.assert_array_equal(column.images, expected)
    assert [column.errors is None for column in columns] == [True, True, False, False, False]
    np.testing.assert_allclose(columns[2].errors, np.array(FIRST) / 100 + 0.2)


def test_images_of_a_field(tmp_path: Path, blocks: list) -> None:
    n = len(LABELS)
    fields = {"adversarial": pictures(n, 0.5), "reconstruction_error": np.zeros(n)}
    sets = {"white_box": ImageSet(pictures(n), LABELS, fields)}
    write_image_sets(tmp_path / "defense.h5", sets, {})
    source = {"header": "a", "images": str(tmp_path / "defense.h5"), "group": "white_box"}
    [block] = reconstruction_blocks([("", [source | {"field": "adversarial"}, source])], 4)
    attacked, purified = block.columns
    np.testing.assert_array_equal(attacked.images, pictures(n, 0.5)[FIRST])
    assert attacked.errors is None, "the error is that of the purified image"
    assert purified.errors is not None
    with pytest.raises(ValueError, match=r"defense\.h5 white_box: no field 'x'"):
        reconstruction_blocks([("", [source | {"field": "x"}])], 4)


def test_sources_of_other_images_are_refused(blocks: list) -> None:
    blocks[0][1][0]["hold_out"] = False
    with pytest.raises(ValueError, match=r"attacked\.h5: .*data\.h5 test row by row.* of 6 rows"):
        reconstruction_blocks(blocks, 4)
    with pytest.raises(ValueError, match="no sources"):
        reconstruction_blocks([], 4)


# Defense-VAE's Figures 1 and 5


def colours(n: int, shift: float) -> np.ndarray:
    """As `pictures`, 64x64 in three colours."""
    return pictures(n, shift, size=64).repeat(3, axis=1)


def attacked_and_purified(folder: Path, make: Any, labels: np.ndarray) -> Path:
    """Files as the workflow has them: a data set, and for each strength the attacked images and two
    defences' files with their threat models."""
    folder.mkdir()
    n = len(labels)
    write_dataset(folder / "data.h5", {"test": (make(n, 0.0), labels)}, {})
    for epsilon in (0.05, 0.1):
        attacked = make(n, epsilon)
        write_image_set(folder / f"fgsm@{epsilon}.h5", ImageSet(attacked, labels), {})
        for i, name in enumerate(("gan", "vae"), start=1):
            fields = {"adversarial": attacked, "reconstruction_error": np.full(n, i / 1000)}
            gray = ImageSet(make(n, epsilon + i / 5), labels, fields)
            white = ImageSet(make(n, 0.0), labels)
            sets = {"gray_box": gray, "white_box": white}
            write_image_sets(folder / f"{name}_fgsm@{epsilon}.h5", sets, {})
    return folder


def figure1_of(folder: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """Figure 1, one data set: an image a row; original, then for each strength attacked, and what
    Defense-GAN and Defense-VAE make of it. The attack is that on the bare classifier."""
    blocks: list[Any] = [
        ["", [{"header": "original", "images": str(folder / "data.h5"), "split": "test"}]]
    ]
    for epsilon in (0.05, 0.1):
        gray_box = {"group": "gray_box"}
        attacked, gan, vae = (str(folder / f"{n}fgsm@{epsilon}.h5") for n in ("", "gan_", "vae_"))
        sources = [
            {"header": "attacked", "images": attacked},
            {"header": "Defense-GAN", "images": gan} | gray_box,
            {"header": "Defense-VAE", "images": vae} | gray_box,
        ]
        blocks.append([f"FGSM, ε = {epsilon:g}", sources])
    return json.loads(json.dumps(blocks))


def figure5_of(folder: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """Figure 5: a black box. Its files begin behind the attacker's images, the data set does not;
    purified black-box images are a file's only set."""
    names = {"attacked": "black_box.h5", "Defense-GAN": "gan.h5", "Defense-VAE": "vae.h5"}
    data = {"header": "original", "images": str(folder / "data.h5"), "split": "test"}
    others = [{"header": header, "images": str(folder / name)} for header, name in names.items()]
    return json.loads(json.dumps([["", [data | {"hold_out": True}, *others]]]))


@pytest.mark.slow
def test_figure1_of_data_sets_of_several_sizes(tmp_path: Path, drawn: list[Any]) -> None:
    grey = attacked_and_purified(tmp_path / "mnist", pictures, LABELS)
    faces = attacked_and_purified(tmp_path / "celeba", colours, LABELS % 2)
    shown = stacked([reconstruction_blocks(figure1_of(folder), 3) for folder in (grey, faces)])
    assert [block.title for block in shown] == ["", "FGSM, ε = 0.05", "FGSM, ε = 0.1"]
    columns = [column for block in shown for column in block.columns]
    assert [c.header for c in columns[1:4]] == ["attacked", "Defense-GAN", "Defense-VAE"]
    first = {"mnist": [3, 1, 5], "celeba": [3, 0]}  # of the classes 0, 1, 2 and of 0, 1
    for column, shift in zip(columns, (0, 0.05, 0.25, 0.45, 0.1, 0.3, 0.5), strict=True):
        values = [image.mean() for image in column.images]
        places = np.array(first["mnist"] + first["celeba"])
        np.testing.assert_allclose(values, (places + 1) / 20 + shift, rtol=1e-5)
        assert [image.shape for image in column.images] == [(1, 28, 28)] * 3 + [(3, 64, 64)] * 2
    assert [c.errors is None for c in columns] == [True, True, False, False, True, False, False]

    reconstruction_grid(shown, tmp_path / "r.png", tmp_path / "r.pdf")
    [figure] = drawn
    boxes = [axis.get_window_extent() for axis in figure.axes]
    assert [round(box.width) for box in boxes[:5]] == [8 * 28] * 3 + [3 * 64] * 2
    assert [round(box.width) for box in boxes] == [round(box.height) for box in boxes]
    middles = [(box.x0 + box.x1) / 2 for box in boxes[:5]]
    assert np.ptp(middles) <= 1, "a column's images stand below each other's middle"
    assert all(box.y0 > below.y1 for box, below in pairwise(boxes[:5]))


def test_figure5_in_two_parts(tmp_path: Path, drawn: list[Any]) -> None:
    n = len(LABELS)
    labels = np.concatenate([np.zeros(HELD_OUT, np.int64), LABELS])
    images = np.concatenate([np.ones((HELD_OUT, 1, 28, 28), np.float32), pictures(n)])
    write_dataset(tmp_path / "data.h5", {"test": (images, labels)}, {})
    write_image_set(tmp_path / "black_box.h5", ImageSet(pictures(n, 0.1), LABELS), {})
    for name, shift in (("gan", 0.2), ("vae", 0.3)):
        fields = {"reconstruction_error": np.arange(n) / 1000}
        write_image_set(tmp_path / f"{name}.h5", ImageSet(pictures(n, shift), LABELS, fields), {})
    read = reconstruction_blocks(figure5_of(tmp_path), 4)
    left, right = side_by_side(read, 2)
    for part, places in ((left, FIRST[:2]), (right, FIRST[2:])):
        assert [c.header for c in part.columns] == [
            *("original", "attacked", "Defense-GAN", "Defense-VAE"),
        ]
        for column, shift in zip(part.columns, (0, 0.1, 0.2, 0.3), strict=True):
            np.testing.assert_array_equal(column.images, pictures(n, shift)[places])
        np.testing.assert_array_equal(part.columns[3].errors, np.array(places) / 1000)
    assert [len(block.columns[0].images) for block in side_by_side(read, 3)] == [1, 1, 1]
    with pytest.raises(ValueError, match="too few images for 5 parts"):
        side_by_side(read, 5)
    reconstruction_grid([left, right], tmp_path / "r.png", tmp_path / "r.pdf")
    assert len(drawn[0].axes) == 2 * 4 * 2


# The picture


@pytest.fixture
def drawn(record_figures: Callable) -> list[Any]:
    return record_figures(reconstructions)


def column(header: str, rows: int = 2, errors: bool = True, size: int = 28) -> Column:
    values = np.full(rows, 0.0123) if errors else None
    return Column(header, pictures(rows, size=size), values)


def figure6(steps: int = 4, restarts: int = 5, size: int = 28) -> list[Block]:
    plain = [column(name, errors=False, size=size) for name in ("original", "attacked")]
    over_steps = [column(f"L = {25 * 2**i}", size=size) for i in range(steps)]
    over_restarts = [column(f"R = {i}", size=size) for i in range(restarts)]
    return [Block("", plain), Block("R = 1", over_steps), Block("L = 25", over_restarts)]


def figure7() -> list[Block]:
    pairs = [
        Block(f"ε = {e}", [column("attacked", errors=False), column("purified")])
        for e in (0.1, 0.15, 0.2, 0.25, 0.3)
    ]
    return [Block("", [column("original", errors=False)]), *pairs]


def pixels_of(path: Path) -> np.ndarray:
    """Grey values, one a pixel."""
    return np.round(imread(path)[..., 0] * 255)


def test_images_stand_in_their_rows_and_columns(
    tmp_path: Path, drawn: list[Any], blocks: list
) -> None:
    read = reconstruction_blocks(blocks, 4)
    reconstruction_grid(read, tmp_path / "r.png", tmp_path / "r.pdf")
    picture = pixels_of(tmp_path / "r.png")
    assert picture.shape[1] == 7.0 * 300
    axes = iter(drawn[0].axes)
    places = np.empty((5, 4, 2))  # column, row, (x from the left, y from the top)
    for j, shown in enumerate(column for block in read for column in block.columns):
        for i, image in enumerate(shown.images):
            box = next(axes).get_window_extent()
            places[j, i] = box.x0, picture.shape[0] - box.y1
            middle = picture[round(places[j, i, 1] + box.height / 2), round(box.x0 + box.width / 2)]
            assert middle == pytest.approx(255 * image[0, 0, 0], abs=1)
    assert (np.diff(places[..., 0], axis=0) > 0).all()
    assert (np.diff(places[..., 1], axis=1) > 0).all()
    assert (np.ptp(places[..., 0], axis=1) < 1).all(), "columns are straight"
    assert (np.ptp(places[..., 1], axis=0) < 1).all(), "rows are straight"


@pytest.mark.parametrize("size", [28, 30, 64])
def test_a_pixel_is_a_square_of_equal_size_everywhere(tmp_path: Path, size: int) -> None:
    board = np.indices((size, size)).sum(0) % 2 * np.ones((2, 1, size, size))
    blocks = [Block("a", [Column(f"c{i}", board.astype(np.float32)) for i in range(9)])]
    reconstruction_grid(blocks, tmp_path / "r.png", tmp_path / "r.pdf")
    picture = pixels_of(tmp_path / "r.png")
    rows = picture[picture.shape[0] // 4 :]  # below the headers
    line = rows[np.argmax((rows == 0).sum(1))]
    edges = np.flatnonzero(np.diff((line == 0).astype(int)))
    lengths = np.diff(edges)
    dark = lengths[::2]
    assert len(dark) >= 9 * (size // 2 - 1)
    assert len(set(dark.tolist())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [figure6(), figure6(7, 5), figure7(), figure6(1, 1)])
def test_all_fits_and_no_texts_meet(tmp_path: Path, drawn: list[Any], blocks: list[Block]) -> None:
    reconstruction_grid(blocks, tmp_path / "r.png", tmp_path / "r.pdf")
    [figure] = drawn
    width, height = figure.get_size_inches() * figure.dpi
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [axis.get_window_extent() for axis in figure.axes]
    assert min(box.x0 for box in boxes) >= -0.5
    assert max(box.x1 for box in boxes) <= width + 0.5
    assert min(box.y0 for box in boxes) >= 0
    assert max(box.y1 for box in boxes) <= height
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            along = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(across, along) < 1, "two things are drawn on one another"


def test_texts_of_the_figure(tmp_path: Path, drawn: list[Any]) -> None:
    reconstruction_grid(figure6(2, 1), tmp_path / "r.png", tmp_path / "r.pdf")
    plain = [Block("", [column("original", errors=False)])]
    reconstruction_grid(plain, tmp_path / "p.png", tmp_path / "p.pdf")
    texts = [text.get_text() for text in drawn[0].texts]
    assert [text for text in texts if text.startswith("L =")] == ["L = 25", "L = 50", "L = 25"]
    assert texts.count("0.0123") == 3 * 2
    assert texts[-1].startswith("Numbers: reconstruction error (mean square difference from ")
    assert [text.get_text() for text in drawn[1].texts] == ["original"]


def test_a_title_stands_above_all_blocks(tmp_path: Path, drawn: list[Any]) -> None:
    title = "fgsm, ε = 0.1 (pixels in [0, 1]). Gray box: made against the bare classifier. " * 2
    paths = (tmp_path / "r.png", tmp_path / "r.pdf")
    reconstruction_grid(figure6(2, 1), *paths)
    reconstruction_grid(figure6(2, 1), *paths, title)
    without, with_title = ([t.get_text() for t in figure.texts] for figure in drawn)
    assert with_title[0].replace("\n", " ") == title.strip() and with_title[0].count("\n") == 1
    assert with_title[1:] == without
    heights = [figure.get_size_inches()[1] for figure in drawn]
    # Everything else is as it was, lower by two lines.
    assert heights[1] - heights[0] == pytest.approx(2 * 0.125)
    tops = [
        [figure.get_size_inches()[1] * (1 - a.get_position().y1) for a in figure.axes]
        for figure in drawn
    ]
    assert tops[1] == pytest.approx([top + 0.25 for top in tops[0]], abs=0.01)


@pytest.mark.slow
def test_files_are_written_not_blank_and_the_same_again(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        paths = (tmp_path / folder / "r.png", tmp_path / folder / "r.pdf")
        reconstruction_grid(figure7(), *paths)
    for name in ("r.png", "r.pdf"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert len(np.unique(pixels_of(tmp_path / "one/r.png"))) > 5
    pdf = (tmp_path / "one/r.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Subtype /Image") >= 11 * 2
    assert b"/Type3" not in pdf


def test_colour_images_keep_their_colours(tmp_path: Path) -> None:
    red = np.zeros((1, 3, 8, 8), np.float32)
    red[:, 0] = 1
    reconstruction_grid([Block("", [Column("c", red)])], tmp_path / "r.png", tmp_path / "r.pdf")
    shown = imread(tmp_path / "r.png")[..., :3]
    assert (shown == (1, 0, 0)).all(-1).sum() > 10_000


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([], "no columns"),
        ([Block("a", [])], "no columns"),
        (
            [Block("a", [column("x", 2), column("y", 3)])],
            r"as many images .*'x': 2 of 28x28, 'y': 3 o",
        ),
        ([Block("a", [column("x"), column("y", size=8)])], "of one size"),
        (
            [Block("a", [column("x"), Column("y", [*pictures(1), *pictures(1, size=8)])])],
            "'x': 2 of 28x28, 'y': 1 of 28x28, 1 of 8x8",
        ),
        ([Block(t, [column("x", n)]) for t, n in (("a", 2), ("b", 3), ("c", 2))], "'x': 3 of"),
        ([Block("a", [Column("x", [])])], "no columns"),
        ([Block("a", [Column("x", pictures(2) + 1)])], r"x: values outside \[0, 1\]"),
        ([Block("a", [Column("x", pictures(2)[0])])], "x: expected .* images"),
        ([Block("a", [Column("x", pictures(2), np.zeros(3))])], "x: 2 images, 3 errors"),
        ([Block("a", [column(str(i)) for i in range(30)])], "30 columns in 1 blocks have no room"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, blocks: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruction_grid(blocks, tmp_path / "r.png", tmp_path / "r.pdf")
    assert list(tmp_path.iterdir()) == []


# AE-GAN+rs's Figures 5, 9 and 10


def test_data_sets_beside_each_other(blocks: list) -> None:
    """An image of each data set in a row, as many as the one with fewer classes has."""
    fewer = [(title, [dict(source) for source in sources]) for title, sources in blocks[1:]]
    content = {"images": 3, "blocks": [blocks, fewer], "arranged": "beside"}
    read = picture_blocks(content)
    assert [block.title for block in read] == ["", "R = 1", "L", "R = 1", "L"]
    one, two = (reconstruction_blocks(own, 3) for own in (blocks, fewer))
    for block, expected in zip(read, one + two, strict=True):
        for column, own in zip(block.columns, expected.columns, strict=True):
            np.testing.assert_array_equal(column.images, own.images)
    shown = beside([one, reconstruction_blocks(fewer, 2)])
    assert {len(column.images) for block in shown for column in block.columns} == {2}


def test_arrangement_of_a_picture(blocks: list) -> None:
    content = {"images": 2, "blocks": [blocks, blocks], "parts": 2}
    read = picture_blocks(content)
    both = [reconstruction_blocks(blocks, 2)] * 2
    for block, expected in zip(read, side_by_side(stacked(both), 2), strict=True):
        for column, own in zip(block.columns, expected.columns, strict=True):
            np.testing.assert_array_equal(column.images, own.images)
    with pytest.raises(ValueError, match="arranged 'x': expected one of stacked, beside"):
        picture_blocks(content | {"arranged": "x"})
