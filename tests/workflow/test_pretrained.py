"""Networks that were trained once, added to a folder and taken by another run."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Workflow, edit

from purification import networks
from purification.networks import shipping
from purification.storage import read_state, taken_from

RUN = "results/digits/seed0"
END_TO_END = f"{RUN}/end_to_end/defense_vae_e2e/D"
GAN = f"{RUN}/gans/dcgan"
TARGETS = ("results/table4.csv", f"{END_TO_END}.vae.safetensors", f"{GAN}.safetensors")
TRAININGS = "train_|keep_snapshots"


@pytest.fixture(scope="module")
def trained(finished: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A run that trains all that it needs, networks of every kind of job among it."""
    workflow = finished.copy(tmp_path_factory.mktemp("trained") / "workflow")
    workflow.config["table4"] |= {"attacks": ["fgsm"], "defenses": ["defense_gan", "adv_training"]}
    workflow.run(*TARGETS)
    return workflow


@pytest.fixture(scope="module")
def folder(trained: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All networks of that run, but without the snapshots of the GAN."""
    made = tmp_path_factory.mktemp("networks") / "networks"
    config = str(trained.folder / "config/test.yaml")
    shipping.add(made, [config], [trained.folder / RUN])
    shipping.remove(made, [made / f"digits/seed0/gans/dcgan{networks.SNAPSHOTS}"])
    return made


@pytest.fixture(scope="module")
def taken(
    trained: Workflow, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workflow, str]:
    """An empty folder with the same config, and these networks; with what its run printed."""
    workflow = Workflow(tmp_path_factory.mktemp("taken") / "workflow")
    workflow.config = with_networks(trained, folder)
    return workflow, workflow.run(*TARGETS).stdout


def with_networks(workflow: Workflow, folder: Path) -> dict[str, Any]:
    """The config of a run, with other networks to take."""
    return {**copy.deepcopy(workflow.config), "networks": str(folder)}


def places(workflow: Workflow) -> list[str]:
    """All networks of a run, by their places."""
    found = (workflow.folder / RUN).rglob("*.safetensors")
    return sorted(str(p.relative_to(workflow.folder)) for p in found if ".state." not in p.name)


def test_what_is_taken_is_what_was_trained(
    trained: Workflow, taken: tuple[Workflow, str], folder: Path
) -> None:
    workflow, printed = taken
    made = places(workflow)
    assert {f"{END_TO_END}.classifier.safetensors", f"{GAN}.safetensors"} <= set(made)
    assert f"{RUN}/classifiers/defense_gan/D.safetensors" in made
    for place in made:
        state, header = read_state(workflow.folder / place)
        own, facts = read_state(trained.folder / place)
        assert state.keys() == own.keys()
        assert all(torch.equal(state[name], own[name]) for name in own), place
        note = json.loads(header.pop("taken"))
        assert header == facts
        assert note["versions"] == facts["versions"]
        assert note == taken_from(workflow.folder / place)
        assert note["file"] == place.removeprefix("results/")
        assert taken_from(trained.folder / place) is None
        # Said on the terminal and in the log of the job.
        assert f"{place}: taken from {folder / note['file']}, not trained here" in printed
        stem = re.sub(r"(\.vae|\.classifier)?\.safetensors$", "", place)
        history = f"{stem}.history.csv"
        assert (workflow.folder / history).read_bytes() == (trained.folder / history).read_bytes()
    log = workflow.folder / "logs/train_classifier/digits/seed0/plain/D.log"
    assert "taken from" in log.read_text()


def test_nothing_is_trained_nor_made_for_a_training(taken: tuple[Workflow, str]) -> None:
    workflow, _ = taken
    run = workflow.folder / RUN
    assert not (run / "purified/clean/defense_gan/train.h5").exists()
    assert not (run / "copies").exists()
    assert not [*run.rglob("*.state.safetensors")]
    logs = workflow.folder.glob("logs/train_*/**/*.log")
    assert all("taken from" in log.read_text() for log in logs)


def test_the_table_is_the_same_and_says_what_was_taken(
    trained: Workflow, taken: tuple[Workflow, str]
) -> None:
    workflow, _ = taken
    tables = ("results/table4.csv", "results/table4.long.csv")
    for table in tables:
        assert (workflow.folder / table).read_bytes() == (trained.folder / table).read_bytes()
    page, own = ((each.folder / "results/table4.md").read_text() for each in (workflow, trained))
    assert "## Networks" not in own
    said = page.split("## Networks")[1]
    for name in ("classifiers/plain/D", "classifiers/adv_training/D", "generators/wgan_gp"):
        assert f"`digits/seed0/{name}`" in said
    assert "end_to_end" not in said  # no network of this table


def test_a_switch_of_pretrained_makes_nothing_stale(
    trained: Workflow, taken: tuple[Workflow, str], folder: Path, tmp_path: Path
) -> None:
    own = trained.copy(tmp_path / "trained")
    own.config["networks"] = str(folder)
    assert own.stale(*TARGETS).rules == {}
    other = taken[0].copy(tmp_path / "taken")
    other.config["pretrained"] = False
    assert other.stale(*TARGETS).rules == {}
    # What is trained from then on, by force or because it is gone, gets what it is made from.
    retrained = f"{RUN}/classifiers/defense_gan/D.safetensors"
    forced = other.run(retrained, options=("-n", "--cores", "2", "-R", "train_classifier")).stdout
    assert re.search(r"^purify_images +1$", forced, re.MULTILINE), forced
    (other.folder / retrained).unlink()
    assert other.stale(retrained).rules == {"train_classifier": 1, "purify_images": 1}


def test_only_the_very_recipe_is_taken(trained: Workflow, folder: Path, tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    workflow.config = with_networks(trained, folder)
    place = f"{RUN}/classifiers/plain/D.safetensors"
    jobs = workflow.stale(place)
    assert jobs.rules == {"train_classifier": 1}  # and no data set
    assert "Trained before, taken and not trained: networks of 1 jobs." in jobs.printed
    edit("classifiers", "D", "epochs", value=1)(workflow.config)
    assert workflow.stale(place).rules == {"train_classifier": 1, "prepare_dataset": 1}
    workflow.run(place)
    assert taken_from(workflow.folder / place) is None


def test_without_pretrained_all_is_trained(trained: Workflow, folder: Path, tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    workflow.config = with_networks(trained, folder) | {"pretrained": False}
    place = f"{RUN}/classifiers/plain/D.safetensors"
    workflow.run(place)
    state, header = read_state(workflow.folder / place)
    own, facts = read_state(trained.folder / place)
    assert header == facts
    assert all(torch.equal(state[name], own[name]) for name in own)


def test_a_damaged_network_is_refused_by_name(
    trained: Workflow, folder: Path, tmp_path: Path
) -> None:
    workflow, own = Workflow(tmp_path / "workflow"), tmp_path / "networks"
    shutil.copytree(folder, own)
    workflow.config = with_networks(trained, own)
    path = own / "digits/seed0/classifiers/plain/D.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    place = f"{RUN}/classifiers/plain/D.safetensors"
    failed = workflow.run(place, check=False)
    assert failed.returncode
    assert f"{path}: damaged: its size or SHA-256 is not that of index.csv" in failed.stdout
    assert "`pretrained: false`" in failed.stdout
    assert not (workflow.folder / place).exists()
    index = own / "digits/index.csv"
    index.write_text(index.read_text().replace("sha256", "md5"))
    failed = workflow.run(place, check=False)
    assert f"{index}: expected the columns file,recipe,bytes,sha256,config" in failed.stdout


def test_snapshots_of_a_gan_that_is_taken_come_of_its_training_again(
    trained: Workflow, taken: tuple[Workflow, str], tmp_path: Path
) -> None:
    workflow = taken[0].copy(tmp_path / "workflow")
    place = f"{GAN}.snapshots.safetensors"
    assert not (workflow.folder / place).exists()
    assert workflow.stale(place).rules == {"keep_snapshots": 1}
    workflow.run(place)
    assert (workflow.folder / place).read_bytes() == (trained.folder / place).read_bytes()
    assert taken_from(workflow.folder / f"{GAN}.safetensors")
    workflow.config["pretrained"] = False
    assert workflow.stale(f"{GAN}.safetensors", place).rules == {}
