"""Files: image sets and data sets in HDF5, checkpoints in safetensors, each with its recipe.

Equal content gives equal bytes: no time, host or user is stored. Every file is written under
another name and renamed when it is complete, so a file that is there is whole. Whoever reads one
compares its recipe with what the job expects (`provenance`), and its content with the digests that
were written with it: a damaged file is refused, by its name.
"""

import hashlib
import json
import os
import platform
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import h5py
import numpy as np

import purification
from purification import runs
from purification.disk import full_disk_named
from purification.hdf5 import (
    CONTENT,
    HDF5_FORMAT,
    RowWriter,
    content_digest,
    refuse_other_content,
    stored_parts,
    write_array,
)
from purification.provenance import (
    PNG_MARK,
    DamagedFile,
    ForeignFile,
    check_recipe,
    damaged,
    place_of,
)

if TYPE_CHECKING:
    import torch

SPLITS = ("train", "validation", "test")
PROVENANCE = ("recipe", "seed", "versions")  # attributes that only the writing functions set
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
AGAIN = ". Copy it again, or run Snakemake again, which makes it again"
"""What is to be done about a file that is not whole, outside of a job."""
LONGEST_HEADER = 2**26
"""Bytes of a checkpoint's, by far."""
EARLIER = "it has no digests: written by an earlier version of this project, and cannot be checked"
"""What is said of a file of a format that is not read any more."""


@dataclass
class ImageSet:
    """Images, their labels, and what is known of each image.

    images: (N, C, H, W) float32 in [0, 1]. labels: (N,) int64. fields: name -> array of numbers
    with first axis N, such as an attack's success or a reconstruction error. attributes: facts on
    the whole set, each a str, bool, int or float; of a set that was read, also `recipe` and
    `versions` (dicts), and `seed` if it was given.

    Raises ValueError, naming the array and what is wrong with it: type, shape, an empty set, a
    value that is not finite, an image value outside [0, 1] by however little.
    """

    images: np.ndarray
    labels: np.ndarray
    fields: dict[str, np.ndarray] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_images(self.images)
        _check_said(self.labels, self.fields, len(self.images))


def _check_said(labels: np.ndarray, fields: Mapping[str, np.ndarray], n: int) -> None:
    """Raise ValueError unless these are labels and fields of n images."""
    _check_array("labels", labels)
    if labels.dtype != np.int64 or labels.shape != (n,):
        raise ValueError(f"labels: expected int64 ({n},), got {_describe(labels)}")
    for name, values in fields.items():
        if name in ("images", "labels") or not name or "/" in name:
            raise ValueError(f"fields: {name!r} cannot be the name of a field")
        _check_array(name, values)
        if values.ndim == 0 or len(values) != n:
            raise ValueError(f"{name}: expected first axis {n}, got {_describe(values)}")


def _describe(values: np.ndarray | h5py.Dataset) -> str:
    return f"{values.dtype} {values.shape}"


def _check_array(name: str, values: np.ndarray) -> None:
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{name}: expected a NumPy array, got {type(values).__name__}")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected numbers, got {_describe(values)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: {(~np.isfinite(values)).sum()} values are not finite")


def _check_form(images: np.ndarray | h5py.Dataset, name: str) -> None:
    if images.dtype != np.float32 or images.ndim != 4 or images.size == 0:
        raise ValueError(f"{name}: expected float32 (N, C, H, W), got {_describe(images)}")


def _check_images(images: np.ndarray, name: str = "images") -> None:
    _check_array(name, images)
    _check_form(images, name)
    low, high = images.min(), images.max()
    if low < 0 or high > 1:
        raise ValueError(f"{name}: expected values in [0, 1], got [{low:.9g}, {high:.9g}]")


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A name to write to in the block, in the folder of `path` (made if missing) and with its
    suffix; renamed to `path` after it. If the block raises, what it wrote is removed, and an older
    file at `path` stays. A killed process leaves a hidden file, which the next writer of `path`
    removes. The file has the permissions of the umask, and is on the disk before it has its name.

    Raises RunEnded if the job that writes belongs to a run of Snakemake that is over, and
    FullDiskError, an OSError that names the file system and what is free there, whatever the block
    raises for want of room.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    owner = f"{runs.here()}-{os.getpid()}"
    temporary = path.with_name(f"{_hidden(path)}{owner}-{uuid.uuid4().hex}{path.suffix}")
    with full_disk_named(path):
        temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode
    try:
        with full_disk_named(path):
            yield temporary
            temporary.chmod(mode)  # safetensors gives its files to their owner alone
            _flush(temporary)
        runs.check_run(path)
        temporary.replace(path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait for the disk: after a power failure a name must not stand for zeros."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # not every file system flushes folders
            raise
    finally:
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    """Remove what dead writers of `path` have left."""
    start = _hidden(path)
    for left in path.parent.glob(f"{_literal(start)}*{_literal(path.suffix)}"):
        host, process, mark = ["", "", *left.name.removeprefix(start).rsplit("-", 2)][-3:]
        if len(mark) != 32 + len(path.suffix) or not process.isdigit():
            continue  # another file's, whose name begins alike
        # Of another machine's writer nothing is known; a run of Snakemake has one job for a file.
        dead = not runs.process_runs(int(process)) if host == runs.here() else runs.in_a_run()
        if dead:
            left.unlink(missing_ok=True)


def _hidden(path: Path) -> str:
    """How the names begin that writers of `path` write to. (The longest name that a file may have
    is 255 bytes: of a long stem the beginning serves.)"""
    return f".{path.stem.encode()[:120].decode(errors='ignore')}-"


def _literal(text: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)


def write_image_set(
    path: str | Path, image_set: ImageSet, recipe: Mapping[str, Any], seed: int | None = None
) -> None:
    """Writes an HDF5 file with the datasets `images`, `labels` and one for each field.

    Attributes of the file: `recipe` and `versions` as JSON, `seed`, and those of the set, without
    the provenance of one that was read from a file.

    Raises ValueError if the set was changed into an invalid one (see `ImageSet`), TypeError if an
    attribute is not a str, bool, int or float, or if the recipe cannot be written as JSON.
    """
    with new_image_file(path, recipe, seed) as file:
        file.write(image_set)


def write_image_sets(
    path: str | Path,
    image_sets: Mapping[str, ImageSet],
    recipe: Mapping[str, Any],
    seed: int | None = None,
) -> None:
    """Writes several sets to one HDF5 file, each as a group of its name with its attributes, and
    otherwise as `write_image_set`."""
    with new_image_file(path, recipe, seed) as file:
        for group, image_set in image_sets.items():
            file.write(image_set, group)


@contextmanager
def new_image_file(
    path: str | Path, recipe: Mapping[str, Any], seed: int | None = None
) -> Iterator["ImageFile"]:
    """A file as `write_image_set` and `write_image_sets` write it, for more images than fit into
    memory: its sets are written in the block, a part at a time, and it has its name after it
    (`atomic`). If the block raises, there is no file."""
    with (
        atomic(path) as temporary,
        h5py.File(temporary, "w", locking=False, libver=HDF5_FORMAT) as file,
    ):
        made = ImageFile(file)
        yield made
        attributes = {"": _provenance(recipe, seed)}
        for one in made.sets:
            # A file of one set has its attributes, and the provenance, in one place.
            attributes[one.group] = _own_attributes(one) | attributes.get(one.group, {})
        _write_attributes(file, attributes)


class ImageFile:
    """A file of image sets that is being written, one set after the other. `sets`: those that are
    complete; their attributes may still be changed."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self.sets: list[NewSet] = []

    def new_set(self, count: int, group: str = "") -> "NewSet":
        """A set of `count` images, as a group of that name; "" in a file of one set. Nothing is in
        the file before its first images."""
        return NewSet(self, self._file, count, group)

    def write(self, image_set: ImageSet, group: str = "") -> None:
        """A whole set. Raises as `write_image_set`."""
        image_set.__post_init__()
        made = self.new_set(len(image_set.images), group)
        made.append("images", image_set.images)
        made.finish(image_set.labels, image_set.fields, image_set.attributes)


class NewSet:
    """An image set that is being written: its images, and fields of the shape of images, a part at
    a time, all else at the end."""

    def __init__(self, made: ImageFile, file: h5py.File, count: int, group: str) -> None:
        self.group = group
        self.names: list[str] = []
        self.attributes: dict[str, Any] = {}
        self._made, self._file, self._count = made, file, count
        self._rows: dict[str, RowWriter] = {}

    def append(self, name: str, images: np.ndarray) -> None:
        """The next (n, C, H, W) of `images` or of a field. Those of one name must be complete
        before others begin, so that the sizes of the parts decide nothing about the file. Raises
        ValueError for what are no images (see `ImageSet`), or more than the set has."""
        _check_images(images, name)
        if name not in self._rows:
            self._rows[name] = RowWriter(self._file, self._place(name), self._count)
        self._rows[name].append(images)

    def complete(self, name: str) -> "StoredImages":
        """What was appended under a name, to be read again until the file is closed. Raises
        ValueError if images are missing."""
        dataset = self._rows[name].finish()
        return StoredImages(lambda rows: dataset[rows], range(len(dataset)))

    def finish(
        self,
        labels: np.ndarray,
        fields: Mapping[str, np.ndarray],
        attributes: Mapping[str, Any],
    ) -> None:
        """Writes all else; the fields stand in the order of `fields`, then those that were
        appended. Raises as `ImageSet` and `write_image_set`."""
        _check_said(labels, fields, self._count)
        for name in self._rows:
            self.complete(name)
        arrays = {"labels": labels, **fields}
        for name, values in arrays.items():
            write_array(self._file, self._place(name), values)
        self.attributes = dict(attributes)
        self.names = list(dict.fromkeys([*_IMAGES, *fields, *self._rows]))
        self._made.sets.append(self)

    def _place(self, name: str) -> str:
        return f"{self.group}/{name}" if self.group else name


def read_image_set(
    path: str | Path, first: int | None = None, *, group: str | None = None
) -> ImageSet:
    """Reads what `write_image_set` wrote, or the set `group` of what `write_image_sets` wrote: the
    first `first` images (all, if there are fewer).

    Raises FileNotFoundError, or ValueError, with the file and what was expected: it is not HDF5, is
    damaged, lacks the group or a dataset, holds an invalid set or is of another recipe.
    """
    with _readable(path, _image_set(group)) as file:
        held = file[group] if group else file
        attributes, names = _attributes_and_fields(file, held)
        images, labels = (_values(held[name], first) for name in _IMAGES)
        fields = {name: _values(held[name], first) for name in names}
        return ImageSet(images, labels, fields, attributes)


class StoredImages:
    """Images (N, C, H, W) float32 in [0, 1] that stay in their file: a slice of them is read when
    it is asked for, as a tensor on the CPU. So `parts.Images` are.

    Before the first slice all of them are read once, and compared with their digest, if these are
    all that the file has: damage is found before hours of work and not after them. Raises
    ValueError, with the file, for what is damaged.
    """

    def __init__(
        self,
        read: Callable[[slice], np.ndarray],
        rows: range,
        verify: Callable[[], None] = lambda: None,
    ) -> None:
        self._read, self._rows, self._verify = read, rows, cache(verify)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> "torch.Tensor":
        import torch

        self._verify()
        part = self._rows[rows]
        return torch.from_numpy(self._read(slice(part.start, part.stop)))

    @property
    def device(self) -> "torch.device":
        """The CPU."""
        import torch

        return torch.device("cpu")

    def part(self, start: int, first: int | None = None) -> "StoredImages":
        """Those from `start` on: the first `first` of them, or all."""
        return StoredImages(self._read, self._rows[start:][:first], self._verify)


@dataclass(frozen=True)
class StoredSet:
    """An `ImageSet` whose images stay in their file. Fields of the shape of images are left out."""

    images: StoredImages
    labels: np.ndarray
    fields: dict[str, np.ndarray] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


def open_image_set(
    path: str | Path, first: int | None = None, *, group: str | None = None
) -> StoredSet:
    """As `read_image_set`, without reading images: of sets that may be larger than the memory."""
    expected = _image_set(group)
    with _readable(path, expected) as file:
        held = file[group] if group else file
        attributes, names = _attributes_and_fields(file, held)
        images, shape = _stored(path, expected, held["images"], first), held["images"].shape
        labels = _values(held["labels"], first)
        small = [name for name in names if held[name].shape[1:] != shape[1:]]
        fields = {name: _values(held[name], first) for name in small}
        _check_said(labels, fields, len(images))
        return StoredSet(images, labels, fields, attributes)


def open_split(path: str | Path, split: str, first: int | None = None) -> StoredSet:
    """As `read_split`, without reading images."""
    expected = _data_set(split)
    with _readable(path, expected) as file:
        images = _stored(path, expected, file[f"{split}/images"], first)
        labels = _values(file[f"{split}/labels"], first)
        _check_said(labels, {}, len(images))
        return StoredSet(images, labels)


def _stored(
    path: str | Path, expected: str, dataset: h5py.Dataset, first: int | None
) -> StoredImages:
    """Images of a file. It is opened for each slice, so that nobody needs to close it."""
    name, count = dataset.name, len(dataset)
    _check_form(dataset, "images")

    def read(rows: slice) -> np.ndarray:
        with _readable(path, expected) as file:
            values = file[name][rows]
            _check_images(values)
            return values

    def verify() -> None:
        with _readable(path, expected) as file:
            for values in stored_parts(file[name]):
                _check_images(values)

    whole = first is None or first >= count
    return StoredImages(read, range(count)[:first], *([verify] if whole else []))


def read_attributes(path: str | Path) -> dict[str, dict[str, Any]]:
    """The attributes of each set of what `write_image_sets` wrote, by its name. Raises as
    `read_image_set`."""
    with _readable(path, "image sets: HDF5 with a group for each") as file:
        return {name: _attributes(held) for name, held in file.items()}


def read_field(path: str | Path, name: str, *, group: str | None = None) -> np.ndarray:
    """One field of a set, or its `labels`, without reading its images: (N, ...) finite numbers.
    Raises as `read_image_set`."""
    place = f"{group}/{name}" if group else name
    with _readable(path, f"an image set: HDF5 with the dataset '{place}'") as file:
        values = _values(file[place])
        _check_array(name, values)
        return values


def image_shape(path: str | Path) -> tuple[int, int, int]:
    """The (C, H, W) of the images of a data set or image set. Raises as `read_image_set`."""
    with _readable(path, "images: HDF5 with a dataset 'images'") as file:
        held = file if "images" in file else next(iter(file.values()))
        return held["images"].shape[1:]


_IMAGES = ("images", "labels")


def _image_set(group: str | None) -> str:
    """What is expected of a file that is read as an image set."""
    place = f"'{group}/images' and '{group}/labels'" if group else "'images' and 'labels'"
    return f"an image set: HDF5 with the datasets {place}"


def _data_set(split: str) -> str:
    return f"a data set: HDF5 with '{split}/images' and '{split}/labels'"


def _attributes_and_fields(file: h5py.File, held: h5py.Group) -> tuple[dict[str, Any], list[str]]:
    """The attributes of a set, with those of its file, and the names of its fields."""
    attributes = _attributes(file) | _attributes(held)
    names = json.loads(attributes.pop("fields"))
    return attributes, [name for name in names if name not in _IMAGES]


def _own_attributes(made: NewSet) -> dict[str, Any]:
    """The attributes of a set's own, and the names of its arrays: one that is gone is missed."""
    own = {k: v for k, v in made.attributes.items() if k not in PROVENANCE}
    for name, value in own.items():
        if not isinstance(value, str | bool | int | float | np.bool | np.integer | np.floating):
            raise TypeError(f"attribute {name!r}: expected str, bool, int or float, got {value!r}")
    return own | {"fields": json.dumps(made.names)}


def write_dataset(
    path: str | Path,
    splits: Mapping[str, tuple[np.ndarray, np.ndarray]],
    recipe: Mapping[str, Any],
) -> None:
    """Writes the (images, labels) of each of `SPLITS`, as in `ImageSet`, to one HDF5 file, as
    `<split>/images` and so on. Raises ValueError, with the split, for another or invalid arrays."""
    arrays = {}
    for split, (images, labels) in splits.items():
        if split not in SPLITS:
            raise ValueError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
        try:
            ImageSet(images, labels)
        except ValueError as error:
            raise ValueError(f"split {split!r}: {error}") from error
        arrays |= {f"{split}/images": images, f"{split}/labels": labels}
    _write_hdf5(path, arrays, {"": _provenance(recipe, seed=None)})


def read_split(
    path: str | Path, split: str, first: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, C, H, W) float32 in [0, 1] and labels (N,) int64 of one split of a data set, or of
    its first `first` images. Raises as `read_image_set`."""
    with _readable(path, _data_set(split)) as file:
        images, labels = (_values(file[f"{split}/{name}"], first) for name in _IMAGES)
        ImageSet(images, labels)
        return images, labels


def write_checkpoint(
    path: str | Path,
    state: Mapping[str, "torch.Tensor"],
    recipe: Mapping[str, Any],
    **metadata: str,
) -> None:
    """Writes tensors, of any type and on any device, to a safetensors file, with `recipe`, the
    versions of the libraries, a digest of all and `metadata` in its header. Raises TypeError if a
    metadata value is not a str, ValueError if one is called `versions` or `sha256`."""
    from safetensors.torch import save_file

    if taken := {"versions", CONTENT} & set(metadata):
        raise ValueError(f"metadata: {', '.join(sorted(taken))!r} is written by itself")
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise TypeError(f"metadata {name!r}: expected str, got {value!r}")
    # A copy of each: safetensors refuses tensors that share memory or are not contiguous.
    tensors = {name: t.detach().cpu().clone().contiguous() for name, t in state.items()}
    header = {"recipe": dict(recipe), "versions": _versions(), **metadata}
    header[CONTENT] = _checkpoint_digest(tensors, header)
    with atomic(path) as temporary:
        # One entry: safetensors writes several in an order that changes from call to call.
        save_file(tensors, temporary, metadata={"purification": _json(header)})


def read_checkpoint(path: str | Path) -> tuple[dict[str, "torch.Tensor"], dict[str, Any]]:
    """Tensors, on the CPU, and metadata of what `write_checkpoint` wrote: `recipe` and `versions`
    are dicts, the others str. Raises FileNotFoundError, or ValueError, which names the file: it is
    damaged, another program's, or of another recipe than the job expects."""
    state, header = read_state(path)
    check_recipe(path, header["recipe"])
    return state, header


def read_state(path: str | Path) -> tuple[dict[str, "torch.Tensor"], dict[str, Any]]:
    """As `read_checkpoint`, of any recipe: the state of a training is no input of its job."""
    from safetensors import SafetensorError, safe_open

    expected = "a checkpoint: safetensors, written by write_checkpoint"
    path = existing(path, expected)
    if lacking := _lacking(path, _size_of_checkpoint):
        raise damaged(path, f"{lacking}; expected {expected}", AGAIN)
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["purification"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        written = header.pop(CONTENT, None)
    except (SafetensorError, KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        raise damaged(path, f"expected {expected}; {error}") from error
    if written is None:
        raise damaged(path, EARLIER)
    if written != _checkpoint_digest(state, header):
        raise damaged(path, "damaged: its digest is not that of what it holds")
    return state, header


def _checkpoint_digest(state: Mapping[str, "torch.Tensor"], header: Mapping[str, Any]) -> str:
    """SHA-256 of all tensors (contiguous, on the CPU) with names, types, shapes, and the header."""
    import torch

    found = hashlib.sha256(_json(header).encode())
    for name in sorted(state):
        tensor = state[name]
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        # bfloat16 is no type of NumPy's: bytes are.
        found.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def picture_digest(path: str | Path) -> str:
    """The digest of its recipe that a picture carries, from the metadata at the beginning of the
    PNG file. Raises DamagedFile."""
    with Path(path).open("rb") as file:
        start = file.read(4096)
    _, mark, rest = start.partition(f"tEXt{PNG_MARK}\0".encode())
    if not mark:
        what = "a picture without the digest of its recipe" if start else "the file is empty"
        raise DamagedFile(f"{path}: {what}")
    return rest[:16].decode("ascii", errors="replace")


def image_recipe(path: str | Path) -> dict[str, Any]:
    """The recipe that an image set or a data set carries, whatever the job expects."""
    with _readable(path, "HDF5 with a recipe", checked=False) as file:
        return json.loads(file.attrs["recipe"])


def checkpoint_recipe(path: str | Path) -> dict[str, Any]:
    """The recipe that a checkpoint carries, whatever the job expects; no tensor is read. Raises
    DamagedFile."""
    try:
        return dict(_checkpoint_header(path)["recipe"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise damaged(path, f"expected a checkpoint with a recipe; {error}") from error


def taken_from(path: str | Path) -> dict[str, Any] | None:
    """What a checkpoint says of where it was taken from (`purification.networks`): `file`, below
    that folder, its `sha256`, the `config` that it belongs to and the `versions` of the libraries
    that trained it. None of one that was trained here. Raises DamagedFile."""
    try:
        note = _checkpoint_header(path).get("taken")
        return None if note is None else dict(json.loads(note))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise damaged(path, f"expected a checkpoint with a recipe; {error}") from error


def _checkpoint_header(path: str | Path) -> dict[str, Any]:
    """What `write_checkpoint` wrote into the header of a safetensors file, which begins with its
    length in 8 bytes, then JSON."""
    if lacking := _lacking(Path(path), _size_of_checkpoint):
        raise ValueError(lacking)
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LONGEST_HEADER:
            raise ValueError("no header")
        header = json.loads(file.read(length))
    held = json.loads(header["__metadata__"]["purification"])
    if CONTENT not in held:
        raise ValueError(EARLIER)
    return dict(held)


def existing(path: str | Path, expected: str) -> Path:
    """Where a result lies. FileNotFoundError, with what was expected there, if nowhere."""
    path = place_of(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {expected}")
    return path


def _lacking(path: Path, size_of: Callable[[BinaryIO], int]) -> str:
    """What is said of a file that is empty, or shorter than it says itself (`size_of`); "" of any
    other. A copy that was broken off leaves such files."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size and size >= size_of(file):
            return ""
    return f"the file is cut off after {size:,} bytes" if size else "the file is empty"


def _size_of_hdf5(file: BinaryIO) -> int:
    """The least number of bytes that a file of a format that is read has by its superblock; 0 of
    what is not HDF5, or of an older format."""
    start = file.read(36)
    if not start.startswith(HDF5_SIGNATURE[: len(start)]) or start[8:9] in (b"\0", b"\1"):
        return 0
    return int.from_bytes(start[28:], "little") if len(start) == 36 else 36


def _size_of_checkpoint(file: BinaryIO) -> int:
    """The same by a safetensors file's header, which has the ends of its tensors; 0 of what has no
    such header."""
    start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    if length > LONGEST_HEADER or start[8:] not in (b"", b"{"):
        return 0
    header = start[8:] + file.read(length - 1)
    try:
        tensors = [value for name, value in json.loads(header).items() if name != "__metadata__"]
        ends = [int(tensor["data_offsets"][1]) for tensor in tensors]
    except (ValueError, AttributeError, KeyError, TypeError):
        ends = []  # cut within the header, or damaged there
    return 8 + length + max(ends, default=0)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "numpy")}
    own = {"purification": purification.__version__}
    return {"python": platform.python_version(), **packages, **own}


def _provenance(recipe: Mapping[str, Any], seed: int | None) -> dict[str, Any]:
    attributes = {"recipe": _json(dict(recipe)), "versions": _json(_versions())}
    return attributes if seed is None else {**attributes, "seed": seed}


def _attributes(file: h5py.Group) -> dict[str, Any]:
    values = {k: v.item() if isinstance(v, np.generic) else v for k, v in file.attrs.items()}
    return {k: json.loads(v) if k in ("recipe", "versions") else v for k, v in values.items()}


def _write_hdf5(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, Mapping[str, Any]],
) -> None:
    """`attributes` are those of each group, by its name; "" is the file itself."""
    with (
        atomic(path) as temporary,
        h5py.File(temporary, "w", locking=False, libver=HDF5_FORMAT) as file,
    ):
        for name, values in arrays.items():
            write_array(file, name, values)
        _write_attributes(file, attributes)


def _write_attributes(file: h5py.File, attributes: Mapping[str, Mapping[str, Any]]) -> None:
    for group, values in attributes.items():
        for name in sorted(values):
            file[group or "/"].attrs[name] = values[name]


def _values(dataset: h5py.Dataset, first: int | None = None) -> np.ndarray:
    """A dataset's values, checked against their digest where all are read: a part has HDF5's own
    checksums, to which a chunk of zeros is right."""
    values = dataset[:first]
    if len(values) == len(dataset):
        refuse_other_content(dataset, content_digest(values))
    return values


@contextmanager
def _readable(path: str | Path, expected: str, checked: bool = True) -> Iterator[h5py.File]:
    """`checked`: its recipe is compared with what the job expects."""
    path = existing(path, expected)
    if lacking := _lacking(path, _size_of_hdf5):
        raise damaged(path, f"{lacking}; expected {expected}", AGAIN if checked else "")
    # No locks: some cluster file systems have none, and a file never changes once it has its name.
    try:
        with path.open("rb") as raw:
            signature = raw.read(9)
        # Before HDF5 is asked, which can be led round in circles by damage in its older formats.
        if signature[:8] == HDF5_SIGNATURE and signature[8:] < b"\x02":
            raise ValueError(EARLIER)
        with h5py.File(path, "r", locking=False) as file:
            recipe = json.loads(file.attrs["recipe"])
            if checked:
                check_recipe(path, recipe)
            yield file
    except ForeignFile:
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise damaged(path, f"expected {expected}; {error}") from error
