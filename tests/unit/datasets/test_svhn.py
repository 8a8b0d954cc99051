"""SVHN from its official files: where they lie, by download, or refused."""

import hashlib
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torchvision
from conftest import REPOSITORY
from made_up_svhn import FILES, FOLDER, accept, label_of, write_svhn
from torchvision.datasets import SVHN

from purification import datasets

SHARED_DATA = REPOSITORY / "../shared/data"
TRAIN_FILE, TEST_FILE = FILES
OFFICIAL = SVHN.split_list


class Network:
    """Stands for torchvision's download: what the official addresses have, and what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []

    def download_url(self, url: str, root: Path, filename: str, md5: str) -> None:
        self.asked.append(url)
        Path(root, filename).write_bytes(b"half")
        name = url.rsplit("/", 1)[1]
        if name not in self.files:
            raise URLError("no network")
        Path(root, filename).write_bytes(self.files[name])
        if hashlib.md5(self.files[name]).hexdigest() != md5:
            raise RuntimeError("File not found or corrupted.")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """No network until it is given files; the made-up ones pass for the official ones."""
    accept(monkeypatch)
    network = Network()
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", network.download_url)
    return network


def load(root: Path, validation: int = 7, test: int | None = None) -> dict[str, datasets.Split]:
    return datasets.load("svhn", data_root=str(root), validation=validation, test=test)


def numbers(split: datasets.Split) -> list[int]:
    return np.rint(split[0][:, 0, 9, 9] * 255).astype(int).tolist()


def files_under(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_splits_of_the_official_files(network: Network, tmp_path: Path) -> None:
    folder = write_svhn(tmp_path)
    folder.chmod(0o555)
    try:
        splits = load(tmp_path)
    finally:
        folder.chmod(0o755)
    assert list(splits) == ["train", "validation", "test"]
    assert [numbers(split) for split in splits.values()] == [
        list(range(23)),
        list(range(23, 30)),
        list(range(30, 36)),
    ]
    for split in splits.values():
        images, labels = split
        assert labels.tolist() == [label_of(number) for number in numbers(split)]
        assert images.shape == (len(labels), 3, 32, 32) and images.flags.c_contiguous
        assert images.dtype == np.float32 and labels.dtype == np.int64
    assert numbers(load(tmp_path, test=4)["test"]) == [30, 31, 32, 33]
    assert files_under(tmp_path) == FILES and network.asked == []


def test_ten_stands_for_the_digit_0(network: Network, tmp_path: Path) -> None:
    write_svhn(tmp_path)
    splits = load(tmp_path, validation=1)
    datasets.check_labels(splits, datasets.classes_of({"source": "svhn"}))
    assert set(splits["train"][1].tolist()) == set(range(10))
    assert splits["train"][1][0] == 0


def test_colours_and_directions(network: Network, tmp_path: Path) -> None:
    write_svhn(tmp_path)
    images, _ = load(tmp_path)["test"]
    assert (images[:, 1, 1:] == 1).all() and (images[:, 2, 1:] == 0).all()
    assert images[0, 0, 1:] == pytest.approx(30 / 255)
    first_row = np.zeros((3, 32))
    first_row[2, 1] = 1
    assert (images[:, :, 0] == first_row).all()


def test_missing_files_are_downloaded_once(network: Network, tmp_path: Path) -> None:
    network.files = FILES
    root = tmp_path / "data"
    for _ in range(2):
        assert numbers(load(root)["test"]) == list(range(30, 36))
    assert network.asked == [SVHN.split_list[split][0] for split in ("train", "test")]
    assert files_under(root) == FILES


def test_only_the_missing_file_is_downloaded(network: Network, tmp_path: Path) -> None:
    write_svhn(tmp_path, without=TEST_FILE)
    network.files = FILES
    load(tmp_path)
    assert network.asked == [SVHN.split_list["test"][0]]


def test_neither_file_nor_network_says_what_to_do(network: Network, tmp_path: Path) -> None:
    folder = write_svhn(tmp_path, without=TEST_FILE)
    with pytest.raises(RuntimeError) as caught:
        load(tmp_path)
    message = str(caught.value)
    for part in (f"SVHN: {TEST_FILE} not in {folder}", "no network", "data_root"):
        assert part in message
    assert TRAIN_FILE not in message
    assert files_under(tmp_path) == {TRAIN_FILE: FILES[TRAIN_FILE]}


def test_corrupt_download_is_not_kept(network: Network, tmp_path: Path) -> None:
    network.files = {TRAIN_FILE: b"an error page"}
    with pytest.raises(RuntimeError, match=r"the download failed .*corrupted"):
        load(tmp_path)
    assert files_under(tmp_path) == {}


@pytest.mark.parametrize("name", FILES)
def test_wrong_checksum_names_the_file(name: str, network: Network, tmp_path: Path) -> None:
    folder = write_svhn(tmp_path)
    (folder / name).write_bytes(FILES[name][:-1])
    network.files = FILES
    with pytest.raises(RuntimeError, match="not the official file of SVHN") as caught:
        load(tmp_path)
    assert str(folder / name) in str(caught.value)
    assert network.asked == []  # what a user put there is not replaced unasked


def test_impossible_counts_are_refused(network: Network, tmp_path: Path) -> None:
    write_svhn(tmp_path)
    for validation, test, complaint in (
        (30, None, "validation must have 1 to 29 images, not 30"),
        (0, None, "validation must have"),
        (7, 7, "test must have 1 to 6 images, not 7"),
    ):
        with pytest.raises(ValueError, match=f"svhn: {complaint}"):
            load(tmp_path, validation, test)


def test_torchvision_names_the_files_that_are_official() -> None:
    """The made-up files replace these checksums; here they are as torchvision publishes them."""
    assert {split: tuple(OFFICIAL[split][1:]) for split in ("train", "test")} == {
        "train": (TRAIN_FILE, "e26dedcc434d2e4c54c9b2d4a06d8373"),
        "test": (TEST_FILE, "eb5a983be6a315427106f1b164d9cef3"),
    }


def test_official_files(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (SHARED_DATA / FOLDER).is_dir():
        pytest.skip(f"no official files in ../shared/data/{FOLDER}")
    monkeypatch.setattr("socket.socket", None)  # any use of the network fails
    splits = load(SHARED_DATA, validation=7_325)
    assert [len(labels) for _, labels in splits.values()] == [65_932, 7_325, 26_032]
    # As printed in many places: how often each digit is in the test file.
    counts = [1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595]
    assert np.bincount(splits["test"][1]).tolist() == counts
