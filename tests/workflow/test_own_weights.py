"""Networks that were trained elsewhere, by the example of docs/extend.md as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import DEFAULT, REPOSITORY, Workflow, merged, rows

from purification.models.checkpoints import load_network
from purification.storage import read_split

FEW = {"images": {"gray_box": 20, "white_box": 3, "white_box_bpda": 3}}


def example() -> dict[str, str]:
    """The files of the example, by the names in their first lines."""
    text = (REPOSITORY / "docs/extend.md").read_text().split("## Weights of your own")[1]
    return dict(re.findall(r"```\w+\n# ([\w.]+)\n(.*?)```", text, re.DOTALL))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workflow, float]:
    """The example, run; and the accuracy that its own evaluation printed."""
    own = Workflow(tmp_path_factory.mktemp("own") / "workflow")
    files = example()
    for name in ("lab.py", "train.py"):
        (own.folder / name).write_text(files[name])
    command = [sys.executable, "train.py"]
    # One thread: on a busy machine several wait for one another.
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        command, cwd=own.folder, env=alone, check=True, stdout=subprocess.PIPE, text=True
    )
    own.config = merged(own.config, yaml.safe_load(files["mine.yaml"]))
    # The example's data set and table; of the micro config the short search and few images.
    own.config["datasets"]["digits"] = DEFAULT["datasets"]["digits"]
    own.config["attacks"]["fgsm"] = FEW
    own.config["defenses"]["defense_gan"] |= {"clean_images": 160, "steps": 4}
    own.run("results/table4.csv")
    return own, float(run.stdout)


@pytest.fixture
def own(made: tuple[Workflow, float], tmp_path: Path) -> Workflow:
    return made[0].copy(tmp_path / "workflow")


def test_the_table_has_the_accuracy_of_the_users_own_evaluation(
    made: tuple[Workflow, float],
) -> None:
    own, accuracy = made
    (row,) = rows(own.folder / "results/table4.csv")
    assert row["classifier"] == "mine"
    assert float(row["no_attack"]) == pytest.approx(accuracy, abs=1e-9)
    assert accuracy > 0.9
    assert "Classifier `mine` was trained elsewhere." in (
        (own.folder / "results/table4.md").read_text()
    )


def test_weights_and_statistics_are_the_users_bit_for_bit(
    made: tuple[Workflow, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, _ = made
    monkeypatch.chdir(own.folder)
    monkeypatch.syspath_prepend(own.folder)
    from lab import Generator, Net
    from safetensors.torch import load_file

    network = Net((1, 28, 28), 10)
    network.load_state_dict(load_file("net.safetensors"))
    run = "results/digits/seed0"
    kept = load_network(f"{run}/classifiers/plain/mine.safetensors", "Classifier")
    for name, weights in network.state_dict().items():
        assert torch.equal(kept.state_dict()[name], weights), name
    images = torch.from_numpy(read_split("results/digits/dataset.h5", "test")[0])
    kept.to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        assert torch.equal(kept(images), network.eval()(images))

    generator = Generator(16, (1, 28, 28))
    generator.load_state_dict(torch.load("generator.pt", weights_only=True))
    kept = load_network(f"{run}/generators/mine.safetensors", "Generator")
    codes = torch.randn(5, 16)
    with torch.no_grad():
        assert torch.equal(kept(codes), generator(codes))


def test_staleness_follows_the_content_of_the_weights(own: Workflow) -> None:
    assert own.stale().rules == {}
    for name in ("net.safetensors", "generator.pt"):
        (own.folder / name).touch()
    (own.folder / "weights").mkdir()
    shutil.move(own.folder / "net.safetensors", own.folder / "weights/my_net.safetensors")
    own.config["classifiers"]["mine"]["checkpoint"] = "weights/my_net.safetensors"
    assert own.stale().rules == {}
    state = torch.load(own.folder / "generator.pt", weights_only=True)
    state["0.bias"][0] += 1
    torch.save(state, own.folder / "generator.pt")
    assert own.stale().rules == {
        "adopt_generator": 1,
        "purify_images": 1,
        "attack_defense": 1,
        "measure": 2,
        "paper_table": 1,
    }
    torch.save(dict(torch.load(own.folder / "generator.pt")), own.folder / "generator.pt")
    state = own.folder / "weights/my_net.safetensors"
    state.write_bytes(state.read_bytes()[:-4] + b"\0\0\0\0")
    assert own.stale().rules == {
        "adopt_classifier": 1,
        "adopt_generator": 1,
        "purify_images": 1,
        "attack_classifier": 1,
        "attack_defense": 1,
        "measure": 2,
        "paper_table": 1,
    }


def test_weights_that_do_not_fit_end_in_the_short_job(own: Workflow) -> None:
    other = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3)).state_dict()
    torch.save({"state_dict": other}, own.folder / "other.pt")
    own.config["classifiers"]["mine"]["checkpoint"] = "other.pt"
    failed = own.run("results/table4.csv", check=False)
    assert failed.returncode
    assert "other.pt: not the weights of lab:Net for images (1, 28, 28); " in failed.stdout
    assert "0.weight float32 (16, 1, 3, 3)" in failed.stdout
    assert "0.weight float32 (8, 1, 3, 3)" in failed.stdout


def test_a_defense_that_trains_it_needs_the_settings_of_a_training(own: Workflow) -> None:
    own.config["table4"]["defenses"] = ["adv_training"]
    failed = own.run("results/table4.csv", options=("-n",), check=False)
    assert failed.returncode
    needed = "classifiers.mine: defenses.adv_training trains it; missing: "
    assert f"{needed}epochs, batch_size, learning_rate" in failed.stdout
    settings = {"epochs": 1, "batch_size": 50, "learning_rate": 0.001}
    own.config["classifiers"]["mine"] |= settings
    jobs = own.stale()
    assert jobs.rules["train_classifier"] == 1
    assert "adopt_classifier" not in jobs.rules
