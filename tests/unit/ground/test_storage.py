"""Files: same content, same bytes; whole or absent; wrong ones refused by name."""

import importlib
import json
import pkgutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from purification import evaluation, reporting
from purification.freshness import objection_to
from purification.hdf5 import CONTENT, content_digest
from purification.provenance import DamagedFile
from purification.storage import (
    ImageSet,
    _write_hdf5,
    atomic,
    read_checkpoint,
    read_field,
    read_image_set,
    read_split,
    write_checkpoint,
    write_dataset,
    write_image_set,
    write_image_sets,
)
from purification.text_tables import MARKS

RECIPE = {"attack": {"name": "fgsm", "epsilon": 0.3}, "dataset": "digits"}


def _images(n: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 1, 4, 4), dtype=np.float32)


def _labels(n: int = 5) -> np.ndarray:
    return np.arange(n) % 10


def _image_set(n: int = 5) -> ImageSet:
    fields = {
        "success": np.arange(n) % 2 == 0,
        "l2": np.linspace(0, 1, n, dtype=np.float32),
        "logits": np.zeros((n, 10), np.float32),
    }
    return ImageSet(_images(n), _labels(n), fields, {"method": "fgsm", "share": 0.5, "cut": True})


# --- image sets


def test_image_set_comes_back_as_it_was(tmp_path: Path) -> None:
    write_image_set(tmp_path / "set.h5", _image_set(), RECIPE, seed=3)
    back = read_image_set(tmp_path / "set.h5")
    expected = _image_set()
    arrays = {"images": back.images, "labels": back.labels, **back.fields}
    for name, values in {
        "images": expected.images,
        "labels": expected.labels,
        **expected.fields,
    }.items():
        assert arrays.pop(name).dtype == values.dtype
        assert np.array_equal((back.fields | vars(back))[name], values)
    assert not arrays
    versions = back.attributes.pop("versions")
    assert set(versions) == {"python", "torch", "numpy", "purification"}
    assert versions["numpy"] == np.__version__
    assert back.attributes == {
        "method": "fgsm",
        "share": 0.5,
        "cut": True,
        "recipe": RECIPE,
        "seed": 3,
    }


def test_a_user_reads_it_with_plain_h5py(tmp_path: Path) -> None:
    write_image_set(tmp_path / "set.h5", _image_set(), RECIPE, seed=3)
    with h5py.File(tmp_path / "set.h5") as file:
        assert json.loads(file.attrs["recipe"]) == RECIPE
        assert file.attrs["seed"] == 3
        for dataset in file.values():
            assert dataset.compression == "gzip"
            assert dataset.fletcher32
            assert dataset.chunks is not None


def test_only_the_first_images_are_read(tmp_path: Path) -> None:
    write_image_set(tmp_path / "set.h5", _image_set(), RECIPE)
    first = read_image_set(tmp_path / "set.h5", first=2)
    assert np.array_equal(first.images, _images()[:2])
    assert {name: len(values) for name, values in first.fields.items()} == {
        "success": 2,
        "l2": 2,
        "logits": 2,
    }
    assert len(read_image_set(tmp_path / "set.h5", first=99).labels) == 5


def test_a_field_is_read_without_the_images(tmp_path: Path) -> None:
    one, two = (
        ImageSet(np.zeros((3, 1, 2, 2), np.float32), np.arange(3), {"score": np.arange(3) + i / 2})
        for i in range(2)
    )
    write_image_set(tmp_path / "one.h5", one, {})
    write_image_sets(tmp_path / "two.h5", {"a": one, "b": two}, {})
    for path, group, expected in (("one.h5", None, one), ("two.h5", "b", two)):
        read = read_field(tmp_path / path, "score", group=group)
        np.testing.assert_array_equal(read, expected.fields["score"])
        np.testing.assert_array_equal(read_field(tmp_path / path, "labels", group=group), [0, 1, 2])
    with h5py.File(tmp_path / "two.h5", "r+") as file:
        del file["a/images"]
        wrong = np.array([0, np.nan, 2])
        file["b/score"][:] = wrong
        file["b/score"].attrs[CONTENT] = content_digest(wrong)
    assert len(read_field(tmp_path / "two.h5", "score", group="a")) == 3
    with pytest.raises(ValueError, match=r"two\.h5: .*'b/score'; score: 1 values are not finite"):
        read_field(tmp_path / "two.h5", "score", group="b")
    with pytest.raises(ValueError, match=r"one\.h5: expected .* 'a/score'"):
        read_field(tmp_path / "one.h5", "score", group="a")
    with pytest.raises(FileNotFoundError, match=r"none\.h5: no such file"):
        read_field(tmp_path / "none.h5", "score")


@pytest.mark.slow
def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    # In another process and another second, with the keys in another order.
    write_image_set(tmp_path / "here.h5", _image_set(), {"a": 1, "b": 2}, seed=0)
    write_dataset(tmp_path / "here_data.h5", {"test": (_images(), _labels())}, RECIPE)
    write_checkpoint(
        tmp_path / "here.safetensors", {"w": torch.ones(2)}, {"a": 1, "b": 2}, x="1", y="2"
    )
    time.sleep(1.1)
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_storage import *
from test_storage import _image_set, _images, _labels
write_image_set("there.h5", _image_set(), {{"b": 2, "a": 1}}, seed=0)
write_dataset("there_data.h5", {{"test": (_images(), _labels())}}, RECIPE)
write_checkpoint("there.safetensors", {{"w": torch.ones(2)}}, {{"b": 2, "a": 1}}, y="2", x="1")
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    for name in ("{}.h5", "{}_data.h5", "{}.safetensors"):
        here, there = (tmp_path / name.format(place) for place in ("here", "there"))
        assert here.read_bytes() == there.read_bytes(), name
    write_image_set(tmp_path / "other.h5", _image_set(), {"a": 1, "b": 2}, seed=1)
    assert (tmp_path / "other.h5").read_bytes() != (tmp_path / "here.h5").read_bytes()


def test_provenance_of_another_file_is_not_passed_on(tmp_path: Path) -> None:
    write_image_set(tmp_path / "a.h5", _image_set(), {"made": "first"}, seed=3)
    write_image_set(tmp_path / "b.h5", read_image_set(tmp_path / "a.h5"), {"made": "second"})
    attributes = read_image_set(tmp_path / "b.h5").attributes
    assert attributes["recipe"] == {"made": "second"}
    assert "seed" not in attributes
    assert attributes["method"] == "fgsm"


def _with(value: float) -> np.ndarray:
    images = _images()
    images[3, 0, 1, 2] = value
    return images


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (_images().astype(np.float64), "images: expected float32"),
        (_images()[:, 0], "images: expected float32 \\(N, C, H, W\\)"),
        (_images()[:0], "images: expected float32"),
        (_with(np.nan), "images: 1 values are not finite"),
        (_with(np.inf), "images: 1 values are not finite"),
        (_with(np.nextafter(np.float32(1), np.float32(2))), "images: expected values in"),
        (_with(-1e-7), "images: expected values in"),
        (torch.zeros(5, 1, 4, 4), "images: expected a NumPy array"),
    ],
)
def test_invalid_images_are_refused(images: np.ndarray, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ImageSet(images, _labels())


@pytest.mark.parametrize(
    ("labels", "fields", "complaint"),
    [
        (_labels(4), {}, "labels: expected int64"),
        (_labels().astype(np.int32), {}, "labels: expected int64"),
        (_labels()[:, None], {}, "labels: expected int64"),
        (_labels(), {"l2": np.zeros(4)}, "l2: expected first axis 5"),
        (_labels(), {"l2": np.ones(())}, "l2: expected first axis 5"),
        (_labels(), {"l2": np.full(5, np.nan)}, "l2: 5 values are not finite"),
        (_labels(), {"name": np.array(list("abcde"))}, "name: expected numbers"),
        (_labels(), {"images": np.zeros(5)}, "cannot be the name"),
        (_labels(), {"a/b": np.zeros(5)}, "cannot be the name"),
    ],
)
def test_invalid_labels_and_fields_are_refused(
    labels: np.ndarray, fields: dict[str, np.ndarray], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        ImageSet(_images(), labels, fields)


def test_limits_of_the_range_are_inside() -> None:
    ImageSet(np.array([0, 1], np.float32).reshape(1, 1, 1, 2), np.array([7]))


def test_a_set_spoilt_after_it_was_made_is_not_written(tmp_path: Path) -> None:
    image_set = _image_set()
    image_set.images = image_set.images + np.float32(1)
    with pytest.raises(ValueError, match="images"):
        write_image_set(tmp_path / "set.h5", image_set, RECIPE)
    image_set = _image_set()
    image_set.attributes["what"] = [1, 2]
    with pytest.raises(TypeError, match="attribute 'what'"):
        write_image_set(tmp_path / "set.h5", image_set, RECIPE)
    assert not list(tmp_path.iterdir())


# --- reading what is not there, or not right


def test_missing_file_is_named(tmp_path: Path) -> None:
    for read in (read_image_set, read_checkpoint, lambda path: read_split(path, "test")):
        with pytest.raises(FileNotFoundError, match=r"absent\.bin: no such file; expected"):
            read(tmp_path / "absent.bin")


def test_foreign_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "foreign.bin"
    path.write_text("not a set of images")
    for read in (read_image_set, read_checkpoint, lambda path: read_split(path, "test")):
        with pytest.raises(ValueError, match=r"foreign\.bin: expected"):
            read(path)


@pytest.mark.parametrize("left", [0, 4, 8, 100, 500, -1])
@pytest.mark.parametrize("name", ["set.h5", "net.safetensors"])
def test_a_file_that_is_not_whole_is_said_to_be_just_that(
    tmp_path: Path, name: str, left: int
) -> None:
    path = tmp_path / name
    if name == "set.h5":
        write_image_set(path, _image_set(200), RECIPE)
        read: Any = read_image_set
    else:
        write_checkpoint(path, {"w": torch.ones(100)}, RECIPE)
        read = read_checkpoint
    path.write_bytes(path.read_bytes()[:left])
    size = path.stat().st_size
    what = f"the file is cut off after {size:,} bytes" if left else "the file is empty"
    with pytest.raises(DamagedFile, match=rf"{name}: {what}; expected .*run Snakemake again"):
        read(path)
    # Before a run, too, which then makes it again: there is nothing else to do.
    assert what in str(objection_to(path, RECIPE)) and "again" not in str(
        objection_to(path, RECIPE)
    )


def test_missing_dataset_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["images"] = _images()
    with pytest.raises(ValueError, match=r"set\.h5: expected an image set: .*'labels'"):
        read_image_set(tmp_path / "set.h5")
    write_dataset(tmp_path / "data.h5", {"test": (_images(), _labels())}, RECIPE)
    with pytest.raises(ValueError, match=r"data\.h5: expected a data set: .*train/images"):
        read_split(tmp_path / "data.h5", "train")
    with pytest.raises(ValueError, match=r"data\.h5: expected an image set"):
        read_image_set(tmp_path / "data.h5")


def test_invalid_values_in_a_file_are_refused(tmp_path: Path) -> None:
    arrays = {"images": _images() + np.float32(1), "labels": _labels()}
    attributes = {"recipe": "{}", "fields": '["images", "labels"]'}
    _write_hdf5(tmp_path / "set.h5", arrays, {"": attributes})
    with pytest.raises(ValueError, match=r"set\.h5.* images: expected values in"):
        read_image_set(tmp_path / "set.h5")


def test_safetensors_of_another_program_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r"net\.safetensors: expected a checkpoint"):
        read_checkpoint(tmp_path / "net.safetensors")


# --- data sets


def test_splits_come_back_as_they_were(tmp_path: Path) -> None:
    splits = {
        name: (_images(n, seed=n), _labels(n))
        for name, n in (("train", 9), ("validation", 4), ("test", 5))
    }
    write_dataset(tmp_path / "data.h5", splits, RECIPE)
    for name, (images, labels) in splits.items():
        back = read_split(tmp_path / "data.h5", name)
        assert np.array_equal(back[0], images)
        assert np.array_equal(back[1], labels)
        assert back[0].dtype == np.float32
        assert back[1].dtype == np.int64
    images, labels = read_split(tmp_path / "data.h5", "train", first=3)
    assert np.array_equal(images, splits["train"][0][:3])
    assert len(labels) == 3


def test_invalid_splits_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split 'tset': expected one of train, validation, test"):
        write_dataset(tmp_path / "data.h5", {"tset": (_images(), _labels())}, RECIPE)
    with pytest.raises(ValueError, match="split 'test': labels"):
        write_dataset(tmp_path / "data.h5", {"test": (_images(), _labels(4))}, RECIPE)
    assert not list(tmp_path.iterdir())


# --- checkpoints


def test_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    shared = torch.arange(6, dtype=torch.float32)
    state = {
        "weight": torch.nn.Parameter(torch.randn(3, 4)),
        "transposed": torch.randn(3, 4).T,
        "rng": torch.get_rng_state(),
        "step": torch.tensor(7),
        "shared": shared,
        "again": shared[2:],
        "empty": torch.zeros(0),
    }
    write_checkpoint(tmp_path / "net.safetensors", state, RECIPE, architecture="A")
    back, metadata = read_checkpoint(tmp_path / "net.safetensors")
    assert set(back) == set(state)
    for name, tensor in state.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
    assert metadata.pop("versions")["purification"]
    assert metadata == {"recipe": RECIPE, "architecture": "A"}


def test_invalid_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="'epochs'"):
        write_checkpoint(tmp_path / "n.safetensors", {}, RECIPE, epochs=3)  # type: ignore
    with pytest.raises(ValueError, match="versions"):
        write_checkpoint(tmp_path / "n.safetensors", {}, RECIPE, versions="mine")


# --- atomic


@given(name=st.from_regex(r"[a-z]{1,5}(\.[a-z0-9]{1,4}){0,2}", fullmatch=True))
def test_temporary_name_keeps_folder_and_suffix(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("atomic") / "new" / "folder" / name
    with atomic(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == path.suffix
        assert temporary != path
        temporary.write_text("whole")
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == [name]
    assert path.read_text() == "whole"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_interrupted_write_leaves_the_older_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "set.h5"
    path.write_text("older")
    with pytest.raises(error), atomic(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_image_set_interrupted_between_two_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = h5py.Group.create_dataset

    def create_until_labels(self: h5py.Group, name: str, **settings: object) -> h5py.Dataset:
        if name == "labels":
            raise KeyboardInterrupt
        return create(self, name, **settings)

    monkeypatch.setattr(h5py.Group, "create_dataset", create_until_labels)
    with pytest.raises(KeyboardInterrupt):
        write_image_set(tmp_path / "set.h5", _image_set(), RECIPE)
    assert not list(tmp_path.iterdir())


def test_killed_write_leaves_no_half_file_under_the_name(tmp_path: Path) -> None:
    script = """
import sys
from purification.storage import atomic
with atomic("set.h5") as temporary:
    temporary.write_text("half")
    print("written", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "set.h5").exists()
    assert all(path.name.startswith(".") for path in tmp_path.iterdir())


def test_written_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_image_set(tmp_path / "set.h5", _image_set(), RECIPE)
    assert (tmp_path / "set.h5").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_no_table_has_a_column_that_its_writer_would_refuse() -> None:
    # Its job would fail at its last line, after all its work.
    modules = [
        importlib.import_module(module.name)
        for room in (evaluation, reporting)
        for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}.")
    ]
    tables = {
        f"{module.__name__}.{name}": columns
        for module in modules
        for name, columns in vars(module).items()
        if name.endswith("COLUMNS") and isinstance(columns, tuple)
    }
    assert len(tables) > 20
    taken = {name: set(columns) & set(MARKS) for name, columns in tables.items()}
    assert {name for name, columns in taken.items() if columns} == set()
