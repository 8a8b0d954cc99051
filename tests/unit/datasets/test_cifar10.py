"""CIFAR-10 from its official files: as batches, as the archive, by download, or refused."""

import hashlib
import pickle
import tarfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torchvision
from conftest import REPOSITORY
from made_up_cifar10 import ARCHIVE, FILES, FOLDER, PACKED, accept, label_of, write_cifar10
from torchvision.datasets import CIFAR10

from purification import datasets

SHARED_DATA = REPOSITORY / "../shared/data"


class Network:
    """Stands for torchvision's download: what the official address has, and what was asked."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.asked: list[str] = []

    def download_url(self, url: str, root: Path, filename: str, md5: str) -> None:
        self.asked.append(url)
        Path(root, filename).write_bytes(b"half")
        if self.content is None:
            raise URLError("no network")
        Path(root, filename).write_bytes(self.content)
        if hashlib.md5(self.content).hexdigest() != md5:
            raise RuntimeError("File not found or corrupted.")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """No network until it is given the archive; the made-up files pass for the official ones."""
    accept(monkeypatch, FILES, PACKED)
    network = Network()
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", network.download_url)
    return network


def load(root: Path, validation: int = 7, test: int | None = None) -> dict[str, datasets.Split]:
    return datasets.load("cifar10", data_root=str(root), validation=validation, test=test)


def numbers(split: datasets.Split) -> list[int]:
    return np.rint(split[0][:, 0, 9, 9] * 255).astype(int).tolist()


def files_under(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


BATCHES = {f"{FOLDER}/{name}": content for name, content in FILES.items()}


def test_splits_of_the_official_batches(network: Network, tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    splits = load(tmp_path)
    assert list(splits) == ["train", "validation", "test"]
    assert [numbers(split) for split in splits.values()] == [
        list(range(23)),
        list(range(23, 30)),
        list(range(30, 36)),
    ]
    for split in splits.values():
        images, labels = split
        assert labels.tolist() == [label_of(number) for number in numbers(split)]
        assert images.shape == (len(labels), 3, 32, 32)
        assert images.dtype == np.float32 and labels.dtype == np.int64
    assert numbers(load(tmp_path, test=4)["test"]) == [30, 31, 32, 33]
    datasets.check_labels(splits, datasets.classes_of({"source": "cifar10"}))
    assert files_under(tmp_path) == BATCHES and network.asked == []


def test_colours_and_directions(network: Network, tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    images, _ = load(tmp_path)["test"]
    assert (images[:, 1, 1:] == 1).all() and (images[:, 2, 1:] == 0).all()
    assert images[0, 0, 1:] == pytest.approx(30 / 255)
    first_row = np.zeros((3, 32))
    first_row[2, 1] = 1
    assert (images[:, :, 0] == first_row).all()


def test_archive_is_read_where_it_lies(network: Network, tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(PACKED)
    tmp_path.chmod(0o555)
    try:
        assert numbers(load(tmp_path)["train"]) == list(range(23))
    finally:
        tmp_path.chmod(0o755)
    assert files_under(tmp_path) == {ARCHIVE: PACKED} and network.asked == []


def test_archive_is_read_by_a_python_without_filters(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 3.11.4 (PEP 706)."""
    unpack = tarfile.TarFile.extractall
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda self, path: unpack(self, path))
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    (tmp_path / ARCHIVE).write_bytes(PACKED)
    assert numbers(load(tmp_path)["train"]) == list(range(23))


def test_archive_completes_a_folder_with_a_batch_missing(network: Network, tmp_path: Path) -> None:
    write_cifar10(tmp_path, without="data_batch_3")
    (tmp_path / ARCHIVE).write_bytes(PACKED)
    assert numbers(load(tmp_path)["train"]) == list(range(23))
    assert not (tmp_path / FOLDER / "data_batch_3").exists()


def test_missing_archive_is_downloaded_once(network: Network, tmp_path: Path) -> None:
    network.content = PACKED
    root = tmp_path / "data"
    for _ in range(2):
        assert numbers(load(root)["test"]) == list(range(30, 36))
    assert network.asked == [CIFAR10.url]
    assert files_under(root) == {ARCHIVE: PACKED}


def test_neither_file_nor_network_says_what_to_do(network: Network, tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, without="data_batch_3")
    with pytest.raises(RuntimeError) as caught:
        load(tmp_path)
    message = str(caught.value)
    for part in (f"{ARCHIVE} not in {tmp_path}", f"data_batch_3 not in {folder}", "no network"):
        assert part in message
    assert "data_root" in message and "data_batch_2" not in message
    assert files_under(tmp_path).keys() == BATCHES.keys() - {f"{FOLDER}/data_batch_3"}


def test_corrupt_download_is_not_kept(network: Network, tmp_path: Path) -> None:
    network.content = b"an error page"
    with pytest.raises(RuntimeError, match=r"the download failed .*corrupted"):
        load(tmp_path)
    assert files_under(tmp_path) == {}


class Trap:
    """Unpickling it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", sorted(FILES))
def test_wrong_checksum_names_the_file(name: str, network: Network, tmp_path: Path) -> None:
    folder, mark = write_cifar10(tmp_path), tmp_path / "executed"
    (folder / name).write_bytes(pickle.dumps(Trap(mark)))
    network.content = PACKED
    with pytest.raises(RuntimeError, match="not the official file of CIFAR10") as caught:
        load(tmp_path)
    assert str(folder / name) in str(caught.value)
    assert network.asked == []  # what a user put there is not replaced unasked
    assert not mark.exists()  # nor run
    pickle.loads((folder / name).read_bytes())
    assert mark.exists()


def test_wrong_archive_is_refused(network: Network, tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(PACKED[:-1])
    with pytest.raises(RuntimeError, match=rf"{ARCHIVE}: not the official file of CIFAR10"):
        load(tmp_path)


def test_impossible_counts_are_refused(network: Network, tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    for validation, test, complaint in (
        (30, None, "validation must have 1 to 29 images, not 30"),
        (0, None, "validation must have"),
        (7, 7, "test must have 1 to 6 images, not 7"),
    ):
        with pytest.raises(ValueError, match=f"cifar10: {complaint}"):
            load(tmp_path, validation, test)


def test_torchvision_names_the_files_that_are_official() -> None:
    """The made-up files replace these checksums; here they are as published with the data."""
    assert CIFAR10.tgz_md5 == "c58f30108f718f92721af3b95e74349a"
    assert (CIFAR10.base_folder, CIFAR10.filename) == (FOLDER, ARCHIVE)
    assert {name for name, _ in CIFAR10.train_list + CIFAR10.test_list} < FILES.keys()


def test_official_files(monkeypatch: pytest.MonkeyPatch) -> None:
    if not ((SHARED_DATA / FOLDER).is_dir() or (SHARED_DATA / ARCHIVE).is_file()):
        pytest.skip(f"no official files in ../shared/data/{FOLDER}, nor {ARCHIVE} beside it")
    monkeypatch.setattr("socket.socket", None)  # any use of the network fails
    splits = load(SHARED_DATA, validation=5000)
    assert [len(labels) for _, labels in splits.values()] == [45_000, 5_000, 10_000]
    # A frog, two trucks, a deer and a car; a cat, two ships, a plane and a frog.
    assert splits["train"][1][:5].tolist() == [6, 9, 9, 4, 1]
    assert splits["test"][1][:5].tolist() == [3, 8, 8, 0, 6]
    assert np.bincount(splits["test"][1]).tolist() == [1000] * 10
    # Each channel's mean as it is printed in many places.
    means = splits["train"][0].mean(axis=(0, 2, 3), dtype=np.float64)
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)
