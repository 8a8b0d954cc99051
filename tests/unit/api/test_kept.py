"""Networks that come with the repository, opened by the name of their data set."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPOSITORY

from purification import (
    Defended,
    load_classifier,
    load_defended,
    load_images,
    load_purifier,
    networks,
)
from purification.api import loading
from purification.experiments import ConfigError
from purification.provenance import DamagedFile
from purification.storage import read_state

QUICK = "config/mnist_quick.yaml"
IMAGES = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_a_defence_is_its_kept_networks() -> None:
    model = load_defended("mnist", "magnet", "A")
    assert type(model) is Defended and not model.training
    weights, _ = read_state(
        REPOSITORY / networks.FOLDER / "mnist/seed0/classifiers/plain/A.safetensors"
    )
    own = model.classifier.state_dict()
    assert own.keys() == weights.keys()
    assert all(torch.equal(own[name], weights[name]) for name in own)
    # By the seed, and by parts.
    parts = load_purifier("mnist/seed0", "magnet"), load_classifier("mnist", "A")
    with torch.no_grad():
        assert torch.equal(parts[1](parts[0](IMAGES)), model(IMAGES))


@pytest.mark.parametrize(
    ("defense", "config"),
    [
        *((name, None) for name in ("defense_gan", "defense_vae", "ae_gan_rs", "cowboy")),
        # Built from the shape of the images, which no file of theirs tells.
        ("bit_depth", None),
        # The same recipes by another config.
        ("defense_gan", "config/mnist_cpu.yaml"),
    ],
)
def test_each_kept_defence_classifies(defense: str, config: str | None) -> None:
    model = load_defended("mnist", defense, "A", config)
    with torch.no_grad():
        logits = model(IMAGES[:1])
    assert logits.shape == (1, 10) and logits.isfinite().all()


def test_images_are_of_the_data_sets_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def made_up(source: str, **settings: Any) -> dict[str, Any]:
        asked.update(settings, source=source)
        images = np.full((7, 1, 28, 28), 0.5, np.float32)
        return {name: (images, np.arange(7)) for name in ("train", "validation", "test")}

    monkeypatch.setattr(loading, "load", made_up)
    images, labels = load_images("mnist", n=5, data_root="~/data")
    assert images.shape == (5, 1, 28, 28) and labels.tolist() == [0, 1, 2, 3, 4]
    assert (asked["source"], asked["test"], asked["data_root"]) == ("mnist", 1000, "~/data")
    load_images("mnist")
    assert asked["data_root"] == str(REPOSITORY / "resources/data")
    with pytest.raises(ValueError, match="8 images asked for, and its test split has 7"):
        load_images("mnist", n=8)


def test_a_run_of_ones_own_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnist/seed0").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="missing, by the default config"):
        load_classifier("mnist", "A")


@pytest.mark.parametrize(
    ("asked", "error", "complaint"),
    [
        (
            ("mnist", "defense_gan", "B"),
            FileNotFoundError,
            r"B\.safetensors: no such file of .*quick",
        ),
        (
            ("mnist/seed1", "defense_gan", "A"),
            FileNotFoundError,
            "networks of fmnist, mnist come with",
        ),
        (
            ("mnits", "defense_gan", "A"),
            FileNotFoundError,
            "no such folder.*networks of fmnist, mnist come",
        ),
        (("mnist", "defense_gan", "A", "config/paper.yaml"), FileNotFoundError, "no such file of"),
        (("mnist", "nothing", "A"), ConfigError, "nothing"),
    ],
)
def test_what_is_not_kept_is_named(
    asked: tuple[str, ...], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        load_defended(*asked)


def test_a_run_has_its_images_itself(tmp_path: Path) -> None:
    (tmp_path / "results/digits/seed0").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"data_root: the images of .* lie in its own files"):
        load_images(tmp_path / "results/digits/seed0", data_root="data")


def test_kept_networks_are_compared_with_their_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "networks"
    shutil.copytree(REPOSITORY / networks.FOLDER, folder)
    monkeypatch.setattr(networks, "home", lambda: folder)
    load_classifier("mnist", "A")
    path = folder / "mnist/seed0/classifiers/plain/A.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"A\.safetensors: damaged"):
        load_classifier("mnist", "A")
    # Of two configs none is guessed.
    index = folder / "mnist" / networks.INDEX
    lines = index.read_text().splitlines()
    index.write_text(
        "\n".join([*lines[:-1], lines[-1].replace(QUICK, "config/mnist_cpu.yaml"), ""])
    )
    with pytest.raises(ConfigError, match="of several configs, name one"):
        load_classifier("mnist", "A")
