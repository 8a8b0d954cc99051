"""What is said where a file does not fit, by whichever library it is written."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import as_job

from purification.disk import FULL, FullDiskError, full_disk, full_disk_named
from purification.storage import atomic

WRITERS = {
    "HDF5": """
from purification.storage import ImageSet, write_image_set
write_image_set(path, ImageSet(noise, np.zeros(len(noise), np.int64)), {})
""",
    "safetensors": """
import torch
from purification.storage import write_checkpoint
write_checkpoint(path, {"w": torch.from_numpy(noise)}, {})
""",
    "CSV": """
import pandas as pd
with atomic(path) as temporary:
    pd.DataFrame(noise.reshape(-1, 28)).to_csv(temporary)
""",
    "text": """
with atomic(path) as temporary:
    temporary.write_text(str(noise.tolist()))
""",
    "picture": """
from purification.reporting.figures import sample_grid
sample_grid(noise[:300], path, columns=20)
""",
}
SUFFIXES = {"HDF5": ".h5", "picture": ".png"}
SCRIPT = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from purification.runtime import log_to
from purification.storage import atomic

path = Path(sys.argv[1])
log_to(sys.argv[2])
noise = np.random.default_rng(0).random((1000, 1, 28, 28), dtype=np.float32)
if sys.argv[3:]:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
"""


def write(writer: str, folder: Path, log: Path, *limit: str) -> tuple[Path, list[str], list[str]]:
    """A job that writes a file of some MB: the file's path, and what the job shows and its log."""
    path = folder / f"result{SUFFIXES.get(writer, '.file')}"
    done = as_job(SCRIPT + WRITERS[writer], str(path), str(log), *limit, folder=folder)
    assert done.returncode != 0
    return path, done.stderr.splitlines(), log.read_text().splitlines()


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 400 kB."""
    place = tmp_path_factory.mktemp("small")
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no small file system here: no mount")
    if mounted.returncode:
        pytest.skip(f"no small file system here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_named_first(writer: str, small_disk: Path, tmp_path: Path) -> None:
    path, shown, log = write(writer, small_disk, tmp_path / "job.log")
    start = f"the file system {small_disk} is full: no room for {path} ("
    assert shown[0].startswith(start) and shown[0].endswith(" bytes free of 409,600)")
    assert shown[-1] == f"full log: {tmp_path / 'job.log'}"
    [place] = [number for number, line in enumerate(log) if start in line]
    assert all(line.startswith("(also: ") for line in log[place + 1 :])
    assert list(small_disk.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_a_limit_of_a_files_size_is_said(writer: str, tmp_path: Path) -> None:
    path, shown, _ = write(writer, tmp_path, tmp_path / "job.log", "200000")
    assert shown[0].startswith("the file system ") and str(path) in shown[0]
    assert "a limit of this process (ulimit -f)" in shown[0]
    assert not path.exists()


def test_a_device_that_is_always_full() -> None:
    device = Path("/dev/full")
    with (
        pytest.raises(FullDiskError, match="is full: no room for /dev/full") as caught,
        full_disk_named(device),
        device.open("w") as file,
    ):
        file.write("x")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == "/dev/full"
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("number", FULL)
def test_numbers_are_found_in_any_librarys_words(number: int, tmp_path: Path) -> None:
    for error in (
        OSError(number, os.strerror(number)),
        RuntimeError(f"Can't decrement (file write failed: errno = {number}, error message = 'x')"),
        ValueError(f"Error while serializing: I/O error: x (os error {number})"),
    ):
        with pytest.raises(FullDiskError) as caught, atomic(tmp_path / "new/result.file"):
            raise error
        assert caught.value.errno == number
        assert str(tmp_path / "new/result.file") in str(caught.value)
        with pytest.raises(FullDiskError), atomic(tmp_path / "result.file"):
            try:
                raise error
            except Exception:
                raise ValueError("what a library made of it")  # noqa: B904


def test_other_errors_pass(tmp_path: Path) -> None:
    for error in (OSError(errno.EIO, "disk"), ValueError("errno = 2"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, full_disk_named(tmp_path / "result.file"):
            raise error
        assert caught.value is error
    with pytest.raises(FullDiskError) as caught, full_disk_named("outer"):
        raise full_disk("inner")
    assert caught.value.filename == "inner"
