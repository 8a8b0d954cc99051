"""Jobs on whole sets of images: their memory does not grow with the images, what they write depends
on no part, and one that is killed leaves nothing that could be taken for its result."""

import json
import os
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import REPOSITORY, environment, in_fork, starters

from purification.hand_over import Fork
from purification.storage import (
    ImageSet,
    new_image_file,
    open_image_set,
    open_split,
    read_image_set,
    write_dataset,
    write_image_set,
)

BENCHMARK = REPOSITORY / "benchmarks/memory.py"
FEW, MANY = 500, 6500
SHAPE = (3, 32, 32)
IMPORTS = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(BENCHMARK.parent)!r})
import memory
"""
COPY = (MANY - FEW) * 12_288 / 1e6
"""What the further images take in MB, 74."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks, and data sets of both sizes."""
    place = tmp_path_factory.mktemp("memory")
    made = f"memory.make_files(Path({str(place)!r}), ({FEW}, {MANY}), {SHAPE})"
    (place / "make.py").write_text(f"{IMPORTS}\n{made}\n")
    done = in_fork(starters()[1], str(place / "make.py"), folder=place, environment=environment())
    assert done.returncode == 0, done.stdout
    return place


def peaks(folder: Path, kind: str) -> list[float]:
    """The peak in MB of one process after the job on the few images, and then on the many."""
    options = ["--folder", str(folder), "--work", kind, str(FEW), str(FEW), str(MANY)]
    run = (starters()[1], str(BENCHMARK), *options)
    done = in_fork(*run, folder=folder, environment=environment())
    assert done.returncode == 0, done.stdout
    # The first of the three warms up what a process allocates once.
    return json.loads(done.stdout.splitlines()[-1])[1:]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["purify", "attack", "white box", "gray box", "copies", "measure"])
def test_memory_does_not_grow_with_the_images(folder: Path, kind: str) -> None:
    few, many = peaks(folder, kind)
    # Parts and a batch; how much of them depends on the CPU. Whoever holds the images has a copy.
    assert many - few < 0.6 * COPY


@pytest.mark.slow
def test_what_is_kept_in_memory_is_seen(folder: Path) -> None:
    """The test above can fail: whole tensors are several copies."""
    few, many = peaks(folder, "in memory")
    assert many - few > COPY


# --- files


def image_set(count: int) -> ImageSet:
    random = np.random.default_rng(0)
    images = random.random((count, *SHAPE), dtype=np.float32)
    fields = {"score": random.random(count), "adversarial": images**2}
    return ImageSet(images, np.arange(count) % 10, fields, {"mean": 0.5})


def write_parts(path: Path, made: ImageSet, size: int, groups: list[str]) -> None:
    with new_image_file(path, {"kind": "test"}, 3) as file:
        for group in groups:
            new = file.new_set(len(made.images), group)
            for name, images in (
                ("adversarial", made.fields["adversarial"]),
                ("images", made.images),
            ):
                for start in range(0, len(images), size):
                    new.append(name, images[start : start + size])
            new.finish(made.labels, {"score": made.fields["score"]}, made.attributes)


@pytest.mark.parametrize("groups", [[""], ["gray_box", "white_box"]])
def test_parts_decide_no_byte(tmp_path: Path, groups: list[str]) -> None:
    made = image_set(100)  # of 21 images a chunk
    for size in (1, 20, 21, 64, 100):
        write_parts(tmp_path / f"{size}.h5", made, size, groups)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    for group in groups:
        found = read_image_set(tmp_path / "20.h5", group=group or None)
        np.testing.assert_array_equal(found.images, made.images)
        assert list(found.fields) == ["score", "adversarial"]
        for name, values in made.fields.items():
            np.testing.assert_array_equal(found.fields[name], values)
        assert (found.attributes["mean"], found.attributes["seed"]) == (0.5, 3)


def test_a_set_without_all_its_images_is_no_file(tmp_path: Path) -> None:
    made = image_set(30)
    for appended, complaint in ((29, "29 rows of the 30"), (31, "more than the 30 rows")):
        with (
            pytest.raises(ValueError, match=complaint),
            new_image_file(tmp_path / "set.h5", {}) as file,
        ):
            new = file.new_set(30)
            new.append("images", np.resize(made.images, (appended, *SHAPE)))
            new.finish(made.labels, {}, {})
    with (
        pytest.raises(ValueError, match=r"images: expected values in \[0, 1\]"),
        new_image_file(tmp_path / "set.h5", {}) as file,
    ):
        file.new_set(30).append("images", made.images + 1)
    assert not list(tmp_path.iterdir())


def test_stored_images_are_those_of_the_file(tmp_path: Path) -> None:
    made = image_set(50)
    write_image_set(tmp_path / "set.h5", made, {})
    write_dataset(tmp_path / "data.h5", {"test": (made.images, made.labels)}, {})
    found = open_image_set(tmp_path / "set.h5")
    assert (len(found.images), list(found.fields)) == (50, ["score"])
    np.testing.assert_array_equal(found.images[10:25].numpy(), made.images[10:25])
    np.testing.assert_array_equal(found.images[40:99].numpy(), made.images[40:])
    np.testing.assert_array_equal(found.labels, made.labels)
    np.testing.assert_array_equal(found.images.part(7, 20)[5:].numpy(), made.images[12:27])
    first = open_split(tmp_path / "data.h5", "test", first=12)
    assert (len(first.images), len(first.labels)) == (12, 12)
    np.testing.assert_array_equal(first.images[:].numpy(), made.images[:12])


def test_damage_is_found_before_the_first_slice(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    write_image_set(path, image_set(50), {})
    with h5py.File(path, "r+") as file:
        file["images"][49] = 0.5  # with right checksums, and none of the digest's
    assert len(open_image_set(path, first=49).images[:10]) == 10
    found = open_image_set(path)
    with pytest.raises(ValueError, match=r"set\.h5: .*'/images' are not those of its digest"):
        found.images[:10]


KILLED = """
import signal
from purification.evaluation import adversarial
from purification.storage import NewSet

append, parts = NewSet.append, []

def stopped(self, name, images):
    append(self, name, images)
    parts.append(name)
    if len(parts) == 3:
        print("written", flush=True)
        signal.pause()

NewSet.append = stopped
memory.peak_after({kind!r}, Path.cwd(), {count})
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["purify", "attack", "gray box"])
def test_a_killed_job_leaves_no_file_under_the_name(folder: Path, kind: str) -> None:
    script = folder / "killed.py"
    script.write_text(IMPORTS + KILLED.format(kind=kind, count=MANY))
    read, write = os.pipe()
    with Path(os.devnull).open() as nothing, os.fdopen(read) as told:
        streams = (nothing.fileno(), write, write)
        place = {"folder": folder, "environment": environment()}
        fork = Fork(starters()[1], [str(script)], **place, streams=streams)
        os.close(write)
        assert told.readline() == "written\n"
        os.kill(fork.process, signal.SIGKILL)
        assert fork.wait() == -signal.SIGKILL
    path = folder / f"made {kind} {MANY}.h5"
    assert not path.exists()
    [left] = folder.glob(f".made {kind}*")
    with new_image_file(path, {}) as file:  # the next writer of the file
        file.write(image_set(2))
        assert not left.exists()
    path.unlink()
