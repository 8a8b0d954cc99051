"""Splits and their partition; official files verified, found without a network, or asked for."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from conftest import REPOSITORY
from made_up_mnist import FILES, SOURCES, accept, write_mnist

from purification import datasets

SHARED_DATA = REPOSITORY / "../shared/data"


def _rows(images: np.ndarray) -> Counter[bytes]:
    return Counter(image.tobytes() for image in images)


# --- digits


@pytest.fixture(scope="module")
def digits() -> dict[str, datasets.Split]:
    return datasets.load("digits", data_root="/nowhere", validation=150, test=500)


def test_digits_are_a_partition_of_all_1797(digits: dict[str, datasets.Split]) -> None:
    from sklearn.datasets import load_digits

    assert list(digits) == ["train", "validation", "test"]
    assert [len(labels) for _, labels in digits.values()] == [1147, 150, 500]
    bunch = load_digits()
    small = torch.tensor(bunch.images / 16)[:, None]
    large = torch.nn.functional.interpolate(small, (28, 28), mode="bilinear", align_corners=False)
    both = [np.concatenate([split[i] for split in digits.values()]) for i in (0, 1)]
    # Every image once, with its own label: nothing is in two splits, nothing lost.
    key = [(image.tobytes(), label) for image, label in zip(*both, strict=True)]
    expected = large.float().numpy()
    assert Counter(key) == Counter(
        (image.tobytes(), label) for image, label in zip(expected, bunch.target, strict=True)
    )


def test_digits_have_the_form_of_mnist(digits: dict[str, datasets.Split]) -> None:
    for images, labels in digits.values():
        assert images.shape == (len(labels), 1, 28, 28)
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
        assert images.min() == 0
        assert images.max() == 1


def test_every_stretch_of_digits_is_stratified(digits: dict[str, datasets.Split]) -> None:
    shares = np.bincount(np.concatenate([labels for _, labels in digits.values()])) / 1797
    for _, labels in digits.values():
        for start in range(0, len(labels) - 100, 37):
            counts = np.bincount(labels[start : start + 100], minlength=10)
            assert np.abs(counts - 100 * shares).max() <= 2


def test_digits_do_not_depend_on_any_random_state(digits: dict[str, datasets.Split]) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is what is tested
    again = datasets.load("digits", data_root="/elsewhere", validation=150, test=500)
    for split, (images, labels) in digits.items():
        assert np.array_equal(images, again[split][0])
        assert np.array_equal(labels, again[split][1])
    # The same for ever: results of different versions are compared image by image.
    digest = hashlib.sha256(digits["test"][1].tobytes()).hexdigest()
    assert digest == "54153aba5500ed5bd40e25bc3974ce913581651be524d2c391520627b293394f"


def test_digits_are_shuffled(digits: dict[str, datasets.Split]) -> None:
    # Spread evenly, yet in no fixed sequence: a batch must not be foretold by the one before.
    labels = digits["test"][1]
    rounds = {tuple(labels[start : start + 10].tolist()) for start in range(0, 100, 10)}
    assert len(rounds) == 10
    # In scikit-learn's order the digits of one writer lie together; neighbours must not stay so.
    order = datasets.digits._stratified_order(
        np.concatenate([labels for _, labels in digits.values()])
    )
    assert sorted(order.tolist()) == list(range(1797))
    assert np.abs(np.corrcoef(order, np.arange(1797))[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("validation", "test", "complaint"),
    [
        (150, None, "no official test file"),
        (150, 0, "test must have 1 to 1795 images, not 0"),
        (150, 1796, "test must have"),
        (0, 500, "validation must have 1 to 1296 images, not 0"),
        (1297, 500, "validation must have"),
    ],
)
def test_impossible_digit_counts_are_refused(
    validation: int, test: int | None, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        datasets.load("digits", data_root=".", validation=validation, test=test)


def test_largest_digit_counts_leave_one_training_image() -> None:
    splits = datasets.load("digits", data_root=".", validation=1296, test=500)
    assert len(splits["train"][1]) == 1


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'minst': expected one of celeba, cifar10, digits, mn"):
        datasets.load("minst", data_root=".", validation=1, test=1)


# --- made-up files in torchvision's layout


class Network:
    """Stands for torchvision's download: what a mirror has, and what was asked of it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []

    def download_url(self, url: str, root: Path, filename: str, md5: str) -> None:
        self.asked.append(url)
        name = url.rsplit("/", 1)[1]
        Path(root, filename).write_bytes(b"half")
        if name not in self.files:
            raise URLError("no network")
        Path(root, filename).write_bytes(self.files[name])
        if hashlib.md5(self.files[name]).hexdigest() != md5:
            raise RuntimeError("File not found or corrupted.")


@pytest.fixture(params=["mnist", "fmnist"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def source(name: str) -> type[torchvision.datasets.MNIST]:
    return SOURCES[name]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, source: type[torchvision.datasets.MNIST]) -> Network:
    network = Network()
    accept(monkeypatch, source)
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", network.download_url)
    return network


def _numbers(split: datasets.Split) -> list[int]:
    return np.rint(split[0][:, 0, 0, 0] * 255).astype(int).tolist()


def test_splits_of_the_official_files(
    name: str, source: type, network: Network, tmp_path: Path
) -> None:
    write_mnist(tmp_path, source)
    splits = datasets.load(name, data_root=str(tmp_path), validation=10, test=None)
    assert list(splits) == ["train", "validation", "test"]
    assert _numbers(splits["train"]) == list(range(50))
    assert _numbers(splits["validation"]) == list(range(50, 60))
    assert _numbers(splits["test"]) == list(range(60, 80))
    for split in splits.values():
        images, labels = split
        assert labels.tolist() == [number % 10 for number in _numbers(split)]
        assert images.shape == (len(labels), 1, 28, 28)
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
        assert (images[:, 0, 27, 27] == 1).all()
        assert images.min() == 0
    first = datasets.load(name, data_root=str(tmp_path), validation=10, test=7)
    assert _numbers(first["test"]) == list(range(60, 67))
    assert network.asked == []


def test_nothing_is_written_beside_the_files(
    name: str, source: type, network: Network, tmp_path: Path
) -> None:
    raw = write_mnist(tmp_path, source)
    for path in (*raw.iterdir(), raw, raw.parent, tmp_path):
        path.chmod(path.stat().st_mode & ~0o222)
    before = sorted(tmp_path.rglob("*"))
    try:
        datasets.load(name, data_root=str(tmp_path), validation=10, test=None)
        assert sorted(tmp_path.rglob("*")) == before
    finally:
        for path in (tmp_path, raw.parent, raw):
            path.chmod(0o755)


def test_extracted_files_are_not_trusted(
    name: str, source: type, network: Network, tmp_path: Path
) -> None:
    raw = write_mnist(tmp_path, source)
    (raw / "train-images-idx3-ubyte").write_bytes(b"of somebody")
    splits = datasets.load(name, data_root=str(tmp_path), validation=10, test=None)
    assert _numbers(splits["train"]) == list(range(50))


@pytest.mark.parametrize("file", sorted(FILES))
def test_wrong_checksum_names_the_file(
    name: str, source: type, network: Network, tmp_path: Path, file: str
) -> None:
    raw = write_mnist(tmp_path, source)
    damaged = bytearray(FILES[file])
    damaged[len(damaged) // 2] ^= 1
    (raw / file).write_bytes(damaged)
    network.files = dict(FILES)
    with pytest.raises(RuntimeError, match="not the official file") as caught:
        datasets.load(name, data_root=str(tmp_path), validation=10, test=None)
    assert str(raw / file) in str(caught.value)
    assert network.asked == []  # what a user put there is not replaced unasked
    assert (raw / file).read_bytes() == damaged


def test_missing_files_are_downloaded_once(
    name: str,
    source: type,
    network: Network,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    network.files = dict(FILES)
    root = tmp_path / "data"
    splits = datasets.load(name, data_root=str(root), validation=10, test=None)
    assert f"warning: data_root: {root} is not there: it is made" in capsys.readouterr().err
    assert _numbers(splits["train"]) == list(range(50))
    raw = root / source.__name__ / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == FILES
    asked = list(network.asked)
    assert sorted(url.rsplit("/", 1)[1] for url in asked) == sorted(FILES)
    assert all(url.startswith(source.mirrors[0]) for url in asked)
    datasets.load(name, data_root=str(root), validation=10, test=None)
    assert network.asked == asked and "data_root" not in capsys.readouterr().err


def test_only_the_missing_file_is_downloaded(
    name: str, source: type, network: Network, tmp_path: Path
) -> None:
    file = "t10k-labels-idx1-ubyte.gz"
    write_mnist(tmp_path, source, without=file)
    network.files = {file: FILES[file]}
    datasets.load(name, data_root=str(tmp_path), validation=10, test=None)
    assert network.asked == [source.mirrors[0] + file]


def test_next_mirror_is_tried(network: Network, source: type, name: str, tmp_path: Path) -> None:
    network.files = dict(FILES)
    good = network.download_url

    def down_at_first(url: str, *rest: str) -> None:
        if url.startswith("http://down/"):
            raise URLError("down")
        good(url, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "mirrors", ["http://down/", "http://up/"])
        patch.setattr(torchvision.datasets.utils, "download_url", down_at_first)
        datasets.load(name, data_root=str(tmp_path), validation=10, test=None)
    assert {url.split("/")[2] for url in network.asked} == {"up"}


def test_neither_file_nor_network_says_what_to_do(
    name: str, source: type, network: Network, tmp_path: Path
) -> None:
    raw = write_mnist(tmp_path, source, without="train-images-idx3-ubyte.gz")
    with pytest.raises(RuntimeError) as caught:
        datasets.load(name, data_root=str(tmp_path), validation=10, test=None)
    message = str(caught.value)
    assert str(raw) in message
    assert "train-images-idx3-ubyte.gz" in message
    assert "t10k" not in message  # these are there
    assert "no network" in message
    assert "data_root" in message
    assert len(list(raw.iterdir())) == 3  # no half file is left
    assert len(network.asked) == len(source.mirrors)


@pytest.mark.parametrize("there", ["", "data"])
def test_a_download_that_fails_leaves_no_folder_behind(
    there: str, name: str, network: Network, tmp_path: Path
) -> None:
    (tmp_path / there).mkdir(exist_ok=True)
    with pytest.raises(RuntimeError, match="the download failed"):
        datasets.load(name, data_root=str(tmp_path / "data"), validation=10, test=None)
    assert [place.name for place in tmp_path.rglob("*")] == ([there] if there else [])


def test_corrupt_download_is_not_kept(
    name: str, source: type, network: Network, tmp_path: Path
) -> None:
    network.files = FILES | {"t10k-images-idx3-ubyte.gz": b"an error page"}
    with pytest.raises(RuntimeError, match=r": t10k-images-idx3-ubyte\.gz, .* corrupted"):
        datasets.load(name, data_root=str(tmp_path), validation=10, test=None)
    assert not list(tmp_path.rglob("t10k-images*"))


def test_impossible_counts_are_refused(
    name: str, source: type, network: Network, tmp_path: Path
) -> None:
    write_mnist(tmp_path, source)
    for validation, test, complaint in (
        (60, None, "validation must have 1 to 59 images, not 60"),
        (0, None, "validation must have"),
        (10, 21, "test must have 1 to 20 images, not 21"),
    ):
        with pytest.raises(ValueError, match=complaint):
            datasets.load(name, data_root=str(tmp_path), validation=validation, test=test)


@pytest.mark.parametrize("root", ["typo/data", "file/data", "file"])
def test_misspelt_root_is_refused_before_any_download(
    name: str, network: Network, tmp_path: Path, root: str
) -> None:
    (tmp_path / "file").touch()
    network.files = dict(FILES)
    with pytest.raises(RuntimeError, match=f"data_root: {tmp_path / root} is .*correct data_root"):
        datasets.load(name, data_root=str(tmp_path / root), validation=10, test=None)
    assert network.asked == [] and [path.name for path in tmp_path.iterdir()] == ["file"]


def test_home_folder_is_meant_by_its_sign(
    name: str, source: type, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "data", source)
    monkeypatch.setenv("HOME", str(tmp_path))
    splits = datasets.load(name, data_root="~/data", validation=10, test=None)
    assert _numbers(splits["train"]) == list(range(50))


# --- users' own


def _own(**changes: Any) -> dict[str, Any]:
    """What a user's loader may return: 20 images a split, no two alike."""
    random = np.random.default_rng(0)
    splits: dict[str, Any] = {
        split: (random.random((20, 1, 6, 5), dtype=np.float32), np.arange(20) % 10)
        for split in ("train", "validation", "test")
    }
    return splits | changes


@pytest.fixture
def load_mine(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Loads what it is given as a user's own data set; returns the splits and the warnings."""

    def load(returned: Any, validation: int | None = 20, test: int | None = 20) -> tuple[Any, str]:
        module = ModuleType("my_own_images")
        module.load = lambda data_root, validation, test: returned  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        source = "my_own_images:load"
        made = datasets.load(source, data_root=".", validation=validation, test=test)
        return made, capfd.readouterr().err

    return load


def test_own_data_set_is_taken_as_it_is(load_mine: Any) -> None:
    mine = _own()
    for validation, test in ((20, 20), (5, None)):
        made, warnings = load_mine(mine, validation, test)
        assert made == mine and warnings == ""


IMAGES, LABELS = _own()["test"]
DAMAGED = np.where(np.arange(5) == 2, np.nan, IMAGES).astype(np.float32)
WRONG = {
    "no dict": ([1, 2, 3], "must return a dict with train, validation and test; got list"),
    "a part too few": ({"train": 1, "test": 2}, r"got \['test', 'train'\]"),
    "a part too many": (_own(extra=(IMAGES, LABELS)), r"got \['extra', 'test', "),
    "images alone": (_own(test=IMAGES), r"test: must be \(images, labels\); got ndarray"),
    "tensors": (_own(test=(torch.from_numpy(IMAGES), LABELS)), r"got a Tensor: call .numpy\(\)"),
    "a list": (_own(test=(IMAGES, LABELS.tolist())), "labels must be a NumPy array; got a list"),
    "no channels": (_own(test=(IMAGES[:, 0], LABELS)), r"\(20, 6, 5\): .* images\[:, None\]"),
    "flat": (_own(test=(IMAGES.reshape(20, -1), LABELS)), r"\(N, C, H, W\); got \(20, 30\)"),
    "channels last": (_own(test=(IMAGES.transpose(0, 2, 3, 1), LABELS)), "the channels look last"),
    "none": (_own(test=(IMAGES[:0], LABELS[:0])), "there is none"),
    "another shape": (_own(test=(IMAGES[:, :, :5], LABELS)), r"one shape .* \(1, 5, 5\) in test"),
    "bytes": (_own(test=(np.uint8(255 * IMAGES), LABELS)), r"float32; got uint8.*\) / 255"),
    "doubles": (_own(test=(IMAGES.astype(float), LABELS)), "float32; got float64"),
    "not divided": (_own(test=(255 * IMAGES, LABELS)), "in .0, 1.; got .*: divide them by 255"),
    "from -1": (_own(test=(2 * IMAGES - 1, LABELS)), r"got -0.*: write \(images \+ 1\) / 2"),
    "not finite": (_own(test=(DAMAGED, LABELS)), "120 values of the images are not finite"),
    "short labels": (_own(test=(IMAGES, np.int32(LABELS))), r"got int32 \(20,\): .*astype"),
    "one-hot": (_own(test=(IMAGES, np.eye(10, dtype=int)[LABELS])), r"\(20, 10\): take .argmax"),
    "labels too few": (_own(test=(IMAGES, LABELS[:19])), r"one for each image; got int64 \(19,\)"),
    "fewer than asked": (_own(test=(IMAGES[:19], LABELS[:19])), "test: 19 images, .* asks for 20"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_own_data_set_is_refused_with_its_remedy(case: str, load_mine: Any) -> None:
    returned, complaint = WRONG[case]
    with pytest.raises(ValueError, match=f"my_own_images:load.*{complaint}"):
        load_mine(returned)


def test_own_data_set_is_held_to_the_shape_that_it_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code = """
import numpy as np

from purification.datasets import source


@source(shape=(1, 6, 5), images={"train": 40, "test": 20}, classes=3)
def load(data_root, validation, test, size=(1, 6, 5)):
    random = np.random.default_rng(0)

    def split(count):
        return random.random((count, *size), dtype=np.float32), np.arange(count) % 3

    return {"train": split(20), "validation": split(20), "test": split(20)}
"""
    (tmp_path / "stated_images.py").write_text(code)
    name = "stated_images:load"
    made = datasets.load(name, data_root=".", validation=20, test=20)
    assert made["train"][0].shape == (20, 1, 6, 5)
    assert datasets.classes_of({"source": name}) == 3
    assert datasets.classes_of({"source": name, "classes": 4}) == 4
    (tmp_path / "stated_images.py").write_text(code.replace("shape=(1,", "shape=(3,"))
    with pytest.raises(ValueError, match=r"load states images of the shape \(3, 6, 5\); got \(1, "):
        datasets.load(name, data_root=".", validation=20, test=20)


def test_odd_own_data_set_is_warned_of(load_mine: Any) -> None:
    dark = _own(validation=(IMAGES / 255, LABELS))
    assert "load, validation: no pixel is above 0.0039" in load_mine(dark)[1]
    single = _own(train=(_own()["train"][0], np.full(20, 3)))
    assert "load, train: all 20 images are of the class 3" in load_mine(single)[1]
    images = _own()["train"][0].copy()
    images[4:7] = IMAGES[[1, 1, 2]]
    twice = load_mine(_own(train=(images, LABELS)))[1]
    assert "2 of 20 test images are among the train images, too" in twice
    assert twice.count("warning:") == 1


# --- the black-box attacker


@pytest.mark.parametrize("kind", [np.arange, torch.arange])
def test_attacker_and_evaluation_share_no_image(kind: type) -> None:
    assert attacker_list(kind(500)) == (list(range(150)), list(range(150, 500)))
    assert attacker_list(kind(151))[1] == [150]


def attacker_list(images: np.ndarray) -> tuple[list[int], list[int]]:
    return datasets.attacker_images(images).tolist(), datasets.evaluation_images(images).tolist()


def test_too_few_images_for_the_attacker() -> None:
    for take in (datasets.attacker_images, datasets.evaluation_images):
        with pytest.raises(ValueError, match="takes 150 test images, and there are only 150"):
            take(np.zeros(150))


# --- the real files


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fmnist", "FashionMNIST")])
def test_official_files_have_the_papers_splits(
    name: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (SHARED_DATA / folder / "raw").is_dir():
        pytest.skip(f"no official files in ../shared/data/{folder}/raw")
    monkeypatch.setattr("socket.socket", None)  # any use of the network fails
    splits = datasets.load(name, data_root=str(SHARED_DATA), validation=10_000, test=None)
    assert [len(labels) for _, labels in splits.values()] == [50_000, 10_000, 10_000]
    # The files' first labels, as printed in many places.
    first = {
        "mnist": ([5, 0, 4, 1, 9], [7, 2, 1, 0, 4]),
        "fmnist": ([9, 0, 0, 3, 0], [9, 2, 1, 1, 6]),
    }
    assert splits["train"][1][:5].tolist() == first[name][0]
    assert splits["test"][1][:5].tolist() == first[name][1]
    # Row ranges cannot overlap; that no image is there twice is a property of MNIST's files alone.
    if name == "mnist":
        everything = sum((_rows(images) for images, _ in splits.values()), Counter())
        assert max(everything.values()) == 1
    mean = splits["train"][0].mean(dtype=np.float64)
    assert mean == pytest.approx({"mnist": 0.1307, "fmnist": 0.2860}[name], abs=1e-3)


def test_import_is_light() -> None:
    code = """
import sys, purification.datasets
heavy = {"torch", "torchvision", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
