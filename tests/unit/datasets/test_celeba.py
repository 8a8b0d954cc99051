"""CelebA from its official files: as a folder, as an archive, or refused."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_up_celeba import PARTS, is_male, write_celeba

from purification import datasets

ALL = {"train": None, "validation": None, "test": None}


@pytest.fixture(scope="module", params=[False, True], ids=["folder", "zip"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data root with the made-up files; not to be changed."""
    folder = tmp_path_factory.mktemp("celeba")
    write_celeba(folder, zipped=request.param)
    return str(folder)


def numbers(images: np.ndarray) -> list[int]:
    """The numbers that the pictures show, from 1: their bits are in the upper sixth."""
    bits = images[:, :, 5, 5::11][:, :, :6].mean(axis=1) > 0.5
    return (bits << np.arange(6)).sum(axis=1).tolist()


def test_parts_are_the_official_ones_in_their_order(root: str) -> None:
    splits = datasets.load("celeba", data_root=root, **ALL)
    assert list(splits) == ["train", "validation", "test"]
    first = 1
    for (images, labels), count in zip(splits.values(), PARTS, strict=True):
        shown = numbers(images)
        assert shown == list(range(first, first + count))
        assert labels.tolist() == [int(is_male(number)) for number in shown]
        assert images.shape == (count, 3, 64, 64)
        assert images.dtype == np.float32 and labels.dtype == np.int64
        first += count


def test_images_are_the_middle_in_rgb_and_in_unit_range(root: str) -> None:
    images, labels = datasets.load("celeba", data_root=root, **ALL)["test"]
    assert images.min() >= 0 and images.max() <= 1
    below = images[:, :, 14:]
    red, green, blue = (below[:, channel].mean(axis=(1, 2)) for channel in range(3))
    tolerance = {"abs": 0.03}  # JPEG's
    assert red == pytest.approx(np.where(labels == 1, 200 / 255, 0), **tolerance)
    assert blue == pytest.approx(np.where(labels == 0, 200 / 255, 0), **tolerance)
    # One pixel more on any side would let in the green around.
    assert green == pytest.approx(np.zeros(len(labels)), **tolerance)
    for border in (images[:, 1, -1], images[:, 1, 14:, 0], images[:, 1, 14:, -1]):
        assert border.max() < 0.2


def test_first_images_of_each_part(root: str) -> None:
    splits = datasets.load("celeba", data_root=root, train=5, validation=3, test=2)
    assert [numbers(images) for images, _ in splits.values()] == [
        [1, 2, 3, 4, 5],
        [41, 42, 43],
        [49, 50],
    ]
    for split, count in zip(splits, PARTS, strict=True):
        for wrong in (0, count + 1):
            with pytest.raises(ValueError, match=f"{split} must have 1 to {count} images"):
                datasets.load("celeba", data_root=root, **ALL | {split: wrong})


def test_number_of_classes() -> None:
    assert datasets.classes_of({"source": "celeba"}) == 2
    assert datasets.classes_of({"source": "mnist"}) == 10
    assert datasets.classes_of({"source": "my_lab:load"}) == 10
    assert datasets.classes_of({"source": "my_lab:load", "classes": 3}) == 3
    images = np.zeros((2, 1, 1, 1), np.float32)
    for wrong in (3, -1):
        splits = {"test": (images, np.array([0, wrong]))}
        with pytest.raises(ValueError, match=f"'test': 1 labels are outside 0..2, such as {wrong}"):
            datasets.check_labels(splits, 3)
    datasets.check_labels({"test": (images, np.array([0, 2]))}, 3)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def edit(name: str, line: int, text: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        lines[line - 1] = text
        (folder / name).write_text("\n".join(lines) + "\n")

    return apply


PARTITION, ATTRIBUTES = "list_eval_partition.txt", "list_attr_celeba.txt"
BROKEN = {
    "no partition": (remove(PARTITION), [PARTITION, "mmlab.ie.cuhk.edu.hk", "data_root"]),
    "no attributes": (remove(ATTRIBUTES), [f"CelebA: {ATTRIBUTES} not in"]),
    "an image is missing": (
        remove("img_align_celeba/000052.jpg"),
        ["1 of 60 images, such as 000052.jpg, not in", "202,599 .jpg files"],
    ),
    "an unknown part": (edit(PARTITION, 7, "000007.jpg 3"), [f"{PARTITION}, line 7: expected a"]),
    "a part without a name": (edit(PARTITION, 9, "2"), [f"{PARTITION}, line 9: expected a file"]),
    "an image twice": (edit(PARTITION, 8, "000007.jpg 0"), ["line 8: 000007.jpg stands"]),
    "another number of rows": (edit(ATTRIBUTES, 1, "61"), ["line 1: it says 61 images, but 60"]),
    "no such attribute": (edit(ATTRIBUTES, 2, "Young Old Tall"), ["lines 1 and 2", "Male among"]),
    "a row too short": (edit(ATTRIBUTES, 5, "000003.jpg -1 1"), [f"{ATTRIBUTES}, line 5: exp"]),
    "neither 1 nor -1": (edit(ATTRIBUTES, 4, "000002.jpg 1 0 1"), [f"{ATTRIBUTES}, line 4"]),
    "no such row": (
        edit(ATTRIBUTES, 62, "900000.jpg 1 1 1"),
        [f"{ATTRIBUTES}: no line for 000060.jpg, which {PARTITION} names (1 such images)"],
    ),
    "no picture": (
        edit("img_align_celeba/000003.jpg", 1, "x"),
        ["000003.jpg: no image", "get it again, or remove the folder"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused_with_their_place(case: str, tmp_path: Path) -> None:
    folder = write_celeba(tmp_path)
    change, expected = BROKEN[case]
    if case == "no picture":
        (folder / "img_align_celeba/000003.jpg").write_text("a page of errors")
    change(folder)
    with pytest.raises((ValueError, RuntimeError)) as refused:
        datasets.load("celeba", data_root=str(tmp_path), **ALL)
    for part in [*expected, str(folder)]:
        assert part in str(refused.value)


def test_other_sizes_and_cut_files_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    image = write_celeba(tmp_path) / "img_align_celeba/000001.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RuntimeError, match=r"000001.jpg: no image .*truncated"):
        datasets.load("celeba", data_root=str(tmp_path), **ALL)
    Image.new("RGB", (178, 178)).save(image)
    with pytest.raises(RuntimeError, match=r"000001.jpg: 178x178 pixels; expected .* 178x218"):
        datasets.load("celeba", data_root=str(tmp_path), **ALL)


def test_a_zip_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write_celeba(tmp_path, zipped=True) / "img_align_celeba.zip"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RuntimeError, match=r"img_align_celeba\.zip: .*expected CelebA's zip file"):
        datasets.load("celeba", data_root=str(tmp_path), **ALL)


def entries(path: Path) -> dict[str, int]:
    """The place of each entry in a zip file."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: info.header_offset for info in archive.infolist()}


@pytest.mark.parametrize("left", [0, 20])
def test_zip_file_is_taken_where_extraction_was_interrupted(left: int, tmp_path: Path) -> None:
    folder = write_celeba(tmp_path, zipped=True)
    with zipfile.ZipFile(folder / "img_align_celeba.zip") as archive:
        (folder / "img_align_celeba").mkdir()
        archive.extractall(folder, archive.namelist()[:left])
    splits = datasets.load("celeba", data_root=str(tmp_path), **ALL)
    assert numbers(splits["train"][0]) == list(range(1, 41))


def test_whole_folder_is_taken_beside_a_broken_zip_file(tmp_path: Path) -> None:
    folder = write_celeba(tmp_path)
    (folder / "img_align_celeba.zip").write_bytes(b"half")
    assert len(datasets.load("celeba", data_root=str(tmp_path), **ALL)["train"][0]) == 40


def test_folder_in_the_folder_is_found(tmp_path: Path) -> None:
    folder = write_celeba(tmp_path)
    (folder / "img_align_celeba").rename(folder / "inner")
    (folder / "img_align_celeba").mkdir()
    inner = (folder / "inner").rename(folder / "img_align_celeba/img_align_celeba")
    assert len(datasets.load("celeba", data_root=str(tmp_path), **ALL)["train"][0]) == 40
    (inner / "000052.jpg").unlink()
    with pytest.raises(RuntimeError, match=f"000052.jpg, not in {inner}, .* into {folder}, or"):
        datasets.load("celeba", data_root=str(tmp_path), **ALL)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("place", [0, 60, 600])
def test_bad_block_in_the_zip_file_names_its_image(
    compressed: bool, place: int, tmp_path: Path
) -> None:
    """Wherever it lies: in the entry's header, at the beginning of its data or within."""
    path = write_celeba(tmp_path, zipped=True) / "img_align_celeba.zip"
    if compressed:
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    entry = "img_align_celeba/000003.jpg"
    damaged = bytearray(path.read_bytes())
    start = entries(path)[entry] + place
    damaged[start : start + 60] = b"\xff" * 60
    path.write_bytes(damaged)
    with pytest.raises(RuntimeError, match=f"{path}: {entry} in it is damaged .*: get the file a"):
        datasets.load("celeba", data_root=str(tmp_path), **ALL)
