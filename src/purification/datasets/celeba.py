"""CelebA's aligned faces with the gender of each (Liu et al. 2015), as Defense-GAN has them."""

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from purification.datasets.contract import source
from purification.datasets.splits import Split, check_count

ALIGNED = (178, 218)  # width and height of the aligned images
CROP, SIDE = 108, 64
PUBLISHED = {"train": 162_770, "validation": 19_867, "test": 19_962}
PARTS = {"train": "0", "validation": "1", "test": "2"}
ATTRIBUTE = "Male"
IMAGES = "img_align_celeba"
ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"

_AGAIN = "get the file again (`unzip -t` tells whether it is whole)"


@source(name="celeba", shape=(3, 64, 64), images=PUBLISHED, classes=2)
def load_celeba(
    data_root: Path, validation: int | None, test: int | None, *, train: int | None
) -> dict[str, Split]:
    """The first `train`, `validation` and `test` images of CelebA's official parts (None: all).

    images: (N, 3, 64, 64) float32 in [0, 1], RGB: the middle 108x108 pixels of the aligned image of
    178x218, reduced by bilinear interpolation with antialiasing (Pillow's). labels: int64, 1 where
    the attribute Male is 1, else 0. Defense-GAN (app. F) states "center-cropped" and 64x64; size of
    the crop and interpolation are its published code's. The official parts have 162,770, 19,867 and
    19,962 images; a thousand take 49 MB.

    Files are looked for in `data_root`/celeba, as torchvision keeps them: the two lists, and the
    images in a folder (or in a folder of the same name within it) or still in their zip file. The
    zip file is used where the folder does not have all images. Nothing is downloaded or written.

    Raises RuntimeError if a file is missing (saying which, where, and where to get it), is damaged,
    or is no aligned image; ValueError, naming file and line, if a list is not in the official form,
    and for impossible numbers of images.
    """
    folder = data_root / "celeba"
    _check_files(folder)
    parts = _read_partition(folder / PARTITION)
    gender = _read_attribute(folder / ATTRIBUTES, ATTRIBUTE)
    wanted = {}
    for (split, part), count in zip(PARTS.items(), (train, validation, test), strict=True):
        available = [name for name, of in parts.items() if of == part]
        count = len(available) if count is None else count
        check_count("celeba", split, count, len(available))
        wanted[split] = available[:count]
    every = [name for names in wanted.values() for name in names]
    with _pictures(folder, every) as (place, held, read):
        _check_names(every, gender, held, folder, place)
        labels = {split: [gender[name] for name in names] for split, names in wanted.items()}
        return {
            split: (_decode(names, read, place), np.array(labels[split], np.int64))
            for split, names in wanted.items()
        }


def _check_files(folder: Path) -> None:
    missing = [name for name in (ATTRIBUTES, PARTITION) if not (folder / name).is_file()]
    if not ((folder / IMAGES).is_dir() or (folder / f"{IMAGES}.zip").is_file()):
        missing.insert(0, f"{IMAGES}/ (or {IMAGES}.zip)")
    if missing:
        raise _incomplete(", ".join(missing), folder, folder)


def _incomplete(missing: str, place: Path, folder: Path) -> RuntimeError:
    return RuntimeError(
        f"CelebA: {missing} not in {place.absolute()}, and CelebA cannot be downloaded from here. "
        'Get it from its official page ("CelebA, Large-scale CelebFaces Attributes", '
        f"mmlab.ie.cuhk.edu.hk/projects/CelebA.html), and put {IMAGES}.zip (or the folder {IMAGES} "
        f"with the 202,599 .jpg files in it), {ATTRIBUTES} and {PARTITION} into "
        f"{folder.absolute()}, or set data_root to the folder that has celeba/ with them."
    )


def _lines(path: Path) -> list[str]:
    # What is no text is then refused by its line, as whatever else is not in the official form.
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _read_partition(path: Path) -> dict[str, str]:
    """The part ("0", "1", "2") of each image, by the name of its file, in the list's order."""
    parts: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        match line.split():
            case [name, "0" | "1" | "2" as part] if name not in parts:
                parts[name] = part
            case [name, "0" | "1" | "2"]:
                raise ValueError(f"{path.absolute()}, line {number}: {name} stands there twice")
            case _:
                expected = "a file name and 0, 1 or 2"
                raise ValueError(f"{path.absolute()}, line {number}: expected {expected}: {line!r}")
    return parts


def _read_attribute(path: Path, attribute: str) -> dict[str, int]:
    """1 or 0 for each image, by the name of its file: the official list has 1 and -1."""
    place = path.absolute()
    lines = _lines(path)
    names = lines[1].split() if len(lines) > 1 else []
    if attribute not in names or not lines[0].strip().isdecimal():
        raise ValueError(
            f"{place}, lines 1 and 2: expected the number of images, then the names of the "
            f"attributes, {attribute} among them"
        )
    column = 1 + names.index(attribute)
    values: dict[str, int] = {}
    for number, line in enumerate(lines[2:], 3):
        words = line.split()
        if len(words) != 1 + len(names) or words[column] not in ("1", "-1"):
            raise ValueError(
                f"{place}, line {number}: expected a file name and {len(names)} times 1 or -1: "
                f"{line[:60]!r}"
            )
        if words[0] in values:
            raise ValueError(f"{place}, line {number}: {words[0]} stands there twice")
        values[words[0]] = int(words[column] == "1")
    if len(values) != int(lines[0]):
        raise ValueError(f"{place}, line 1: it says {lines[0]} images, but {len(values)} follow")
    return values


def _check_names(
    names: list[str], gender: dict[str, int], held: set[str], folder: Path, place: Path
) -> None:
    """All images that the partition names must be there before the first of them is decoded."""
    unlabelled = [name for name in names if name not in gender]
    if unlabelled:
        raise ValueError(
            f"{(folder / ATTRIBUTES).absolute()}: no line for {unlabelled[0]}, which {PARTITION} "
            f"names ({len(unlabelled)} such images)"
        )
    absent = [name for name in names if name not in held]
    if absent:
        missing = f"{len(absent)} of {len(names)} images, such as {absent[0]},"
        raise _incomplete(missing, place, folder)


@contextmanager
def _pictures(
    folder: Path, wanted: list[str]
) -> Iterator[tuple[Path, set[str], Callable[[str], bytes]]]:
    """Where the image files are, the names of all, and a function that reads one: of the folder if
    it has all that are wanted, else of the zip file if there is one."""
    # Programs that extract "into a folder of that name" make one in the other.
    places = [place for place in (folder / IMAGES, folder / IMAGES / IMAGES) if place.is_dir()]
    found = {place: {path.name for path in place.iterdir()} for place in places}
    path = folder / f"{IMAGES}.zip"
    if found:
        images = max(places, key=lambda place: len(found[place].intersection(wanted)))
        # Extraction may have been interrupted: then the zip file has the rest.
        if found[images].issuperset(wanted) or not path.is_file():
            yield images, found[images], lambda name: (images / name).read_bytes()
            return
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        expected = f"expected CelebA's zip file: {_AGAIN}"
        raise RuntimeError(f"{path.absolute()}: {error}; {expected}") from error
    with archive:
        entries = {entry.rpartition("/")[2]: entry for entry in archive.namelist()}
        yield path, set(entries), lambda name: _member(archive, entries[name], path)


def _member(archive: zipfile.ZipFile, entry: str, path: Path) -> bytes:
    try:
        return archive.read(entry)
    # What zipfile raises for a bad block depends on the byte: a wrong header, stream or checksum.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        damage = f"{entry} in it is damaged ({error})"
        raise RuntimeError(f"{path.absolute()}: {damage}: {_AGAIN}") from error


def _decode(names: list[str], read: Callable[[str], bytes], place: Path) -> np.ndarray:
    """Images (N, 3, 64, 64), float32 in [0, 1]. `place`: the folder or zip file, for messages."""
    from PIL import Image

    left, top = ((side - CROP) // 2 for side in ALIGNED)
    box = (left, top, left + CROP, top + CROP)
    place = place.absolute()
    # Filled in place: a list of arrays, then stacked, would take twice the memory.
    images = np.empty((len(names), 3, SIDE, SIDE), np.float32)
    for row, name in enumerate(names):
        try:
            with Image.open(io.BytesIO(read(name))) as picture:
                size = picture.size
                rgb = picture.convert("RGB")
        except OSError as error:
            remedy = f"get it again, or remove the folder where {IMAGES}.zip lies beside it"
            raise RuntimeError(f"{place / name}: no image ({error}): {remedy}") from error
        if size != ALIGNED:
            raise RuntimeError(
                f"{place / name}: {size[0]}x{size[1]} pixels; expected CelebA's aligned 178x218"
            )
        small = rgb.crop(box).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        images[row] = np.asarray(small).transpose(2, 0, 1)
    images /= 255
    return images
