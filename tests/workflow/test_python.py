"""The front door in Python on a finished run: what is loaded, checked and refused, and that
`evaluate` gives the answers of the workflow's cascade."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import MICRO, Workflow, merged, micro_catalogue, snakemake

from purification import (
    Defended,
    evaluate,
    load_classifier,
    load_defended,
    load_images,
    load_purifier,
)
from purification.evaluation.cascade import attack_adaptively
from purification.evaluation.checks import check_columns
from purification.experiments import ConfigError
from purification.provenance import DamagedFile, ForeignFile
from purification.randomness import derive_seed
from purification.storage import read_image_set

RUN = "results/digits/seed0"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(finished: Workflow) -> Path:
    """The folder of a finished run, which is read only."""
    return finished.folder / RUN


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """The files of a run alone, to change: nothing says by which config they were made."""
    shutil.copytree(run.parent, tmp_path / RUN.rpartition("/")[0])
    return tmp_path / RUN


def test_the_model_is_the_one_that_the_workflow_measured(run: Path) -> None:
    """Without a config that is named: the run has left its own."""
    model = load_defended(run, "defense_gan", "D")
    assert type(model) is Defended
    assert not model.training and not any(w.requires_grad for w in model.parameters())
    images, labels = load_images(run)
    assert images.shape == (40, 1, 28, 28) and labels.dtype == torch.int64
    with torch.no_grad():
        purified = load_purifier(run, "defense_gan")(images)
        logits = model(images)
    kept = read_image_set(run / "purified/clean/defense_gan/test.h5")
    np.testing.assert_allclose(purified.numpy(), kept.images, rtol=0, atol=1e-5)
    deployed = load_classifier(run, "D", defense="defense_gan")
    torch.testing.assert_close(deployed(purified), logits, rtol=0, atol=1e-4)
    plain = load_classifier(run, "D")
    assert not torch.equal(plain(purified), deployed(purified))
    # A defence without a purifier has a classifier of its own.
    trained = load_classifier(run, "D", defense="adv_training")
    assert not torch.equal(trained(images), plain(images))


def test_nothing_but_the_files_is_needed(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No notes of Snakemake, another working directory, and a folder above the one run."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = yaml.safe_load(MICRO.read_text())
    images, _ = load_images(own.parent, n=3, config=config)
    models = [load_defended(own.parent, "magnet", "D", given) for given in (config, MICRO)]
    with torch.no_grad():
        first, second = (model(images) for model in models)
    assert first.shape == (3, 10) and torch.equal(first, second)


STAGES = ("broken", "asked", "outside", "left", "accuracy", "passes")


@pytest.mark.parametrize("defense", ["none", "magnet", "defense_gan_redrawn"])
def test_evaluate_gives_the_answers_of_the_workflows_cascade(
    run: Path, defense: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default cascade on the same images by the same seed, the checks at its end included."""
    few = {"cascades": {"standard": {"images": 4, "randomised": {"selection_draws": 3}}}}
    catalogue = micro_catalogue(**few)
    asked = catalogue.cascade("digits", 0, "standard", defense, "D")
    files = {name: str(run.parents[2] / path) for name, path in asked.inputs.items()}
    monkeypatch.chdir(tmp_path)
    costs = attack_adaptively(asked.recipe, files, asked.path, 4, CPU)
    made = read_image_set(asked.path)

    monkeypatch.setattr("purification.api.evaluate.selection_draws", lambda _: 3)
    images, labels = load_images(run, n=4)
    loaded: Any = load_classifier(run, "D")
    if defense != "none":
        loaded = load_defended(run, defense, "D")
    seed = derive_seed(0, asked.path)
    report = evaluate(loaded, images, labels, epsilon=0.1, seed=seed, batch_size=4, progress=False)
    assert np.array_equal(report.images.numpy(), made.images)
    rows = report.frame[[*STAGES]].to_dict("records")
    kept = [cost for cost in costs if cost.get("kind") in (None, "doubled")]
    assert rows == [{name: cost[name] for name in STAGES} for cost in kept]
    assert len(rows) >= 6
    if defense == "defense_gan_redrawn":
        assert list(report.protocols["protocol"]) == ["one_shot", "evaluations"]
        assert "randomised" in report.flags
    else:
        assert report.accuracy == made.attributes["accuracy"]
        assert (report.broken.numpy() == (made.fields["found_by"] != -1)).all()
    checked = check_columns(json.loads(made.attributes["checks"]), 4)
    assert ";".join(report.flags) == checked["flags"]


# --- what is refused


def test_a_missing_network_is_named_with_the_command_that_makes_it(
    finished: Workflow, tmp_path: Path
) -> None:
    workflow = finished.copy(tmp_path / "workflow")
    (workflow.folder / RUN / "generators/wgan_gp.safetensors").unlink()
    with pytest.raises(FileNotFoundError) as refused:
        load_defended(workflow.folder / RUN, "defense_gan", "D")
    message = str(refused.value)
    assert f"{RUN}/generators/wgan_gp.safetensors is missing" in message
    assert f"In {workflow.folder} this makes it: snakemake {RUN}/generators/" in message
    words = message.partition("this makes it: snakemake ")[2].split()
    said = snakemake(workflow.folder, *words, "-n", environment=workflow.environment)
    assert not said.returncode and "train_wgan_gp" in said.stdout, said.stdout


def test_a_file_of_another_config_is_refused_with_the_difference(own: Path) -> None:
    with pytest.raises(ForeignFile) as refused:
        load_defended(own, "defense_gan_orig", "D")
    message = str(refused.value)
    assert "is not what the default config makes" in message
    assert " in the file, " in message and " asked" in message and "config=..." in message
    # An edit of one setting is the one that is named.
    edit = {"generators": {"wgan_gp": {"iterations": 13}}}
    config = merged(yaml.safe_load(MICRO.read_text()), edit)
    with pytest.raises(ForeignFile, match=r"settings.iterations: 12 in the file, 13 asked\. "):
        load_purifier(own, "defense_gan", config)
    with pytest.raises(ForeignFile, match=r"dataset.h5 .*settings.validation: 1500 in the file"):
        load_images(own)


@pytest.mark.parametrize(
    ("left", "told"), [(0, "is empty"), (-1, r"is cut off after [\d,]+ bytes")]
)
def test_a_file_that_is_not_whole_is_none_of_another_config(
    own: Path, left: int, told: str
) -> None:
    path = own / "generators/wgan_gp.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(
        DamagedFile, match=rf"wgan_gp\.safetensors: .*the file {told}\. In "
    ) as error:
        load_defended(own, "defense_gan_orig", "D", yaml.safe_load(MICRO.read_text()))
    assert f"this makes it again: snakemake {RUN}/generators/" in str(error.value)


def test_a_search_of_other_settings_than_the_runs_is_refused_unless_it_is_asked_for(
    finished: Workflow, tmp_path: Path
) -> None:
    """The networks of two searches are the same, so that other files of the run must tell."""
    workflow = finished.copy(tmp_path / "workflow")
    config = merged(workflow.config, {"defenses": {"defense_gan": {"steps": 5}}})
    (left,) = (workflow.folder / ".snakemake/purification_configs").glob("*.yaml")
    latest = yaml.safe_load(left.read_text())
    latest["defenses"]["defense_gan"]["steps"] = 5
    left.write_text(yaml.safe_dump(latest, sort_keys=False))
    with pytest.raises(ForeignFile, match=r"settings.steps: 4 in the file, 5 asked"):
        load_defended(workflow.folder / RUN, "defense_gan", "D")
    load_purifier(workflow.folder / RUN, "defense_gan", config)


def test_a_damaged_file_is_refused(own: Path) -> None:
    place = own / "autoencoders/magnet.safetensors"
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)
    with pytest.raises(DamagedFile, match="magnet"):
        load_purifier(own, "magnet", MICRO)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda run: load_defended(run, "defens_gan", "D"), "did you mean 'defense_gan'"),
        (lambda run: load_defended(run, "magnet", "Z"), "no 'Z' under classifiers .*: A, B"),
        (lambda run: load_purifier(run, "adv_training"), "load_classifier.*'adv_training'"),
        (lambda run: load_defended(run, "none", "D"), "has no purifier"),
        (lambda run: load_purifier(run, "defense_vae"), "defense_vae@A"),
        (lambda run: load_images(run, n=41), "41 images asked for, and its test split has 40"),
        (lambda run: load_images(run, n=0), "at least 1"),
        (lambda run: load_images(run, n=2.5), "n must be an integer"),
        (lambda run: load_images(run, split="tset"), "train, validation, test; got 'tset'"),
        (lambda run: load_images(run, config="no.yaml"), "no.yaml: there is no such config file"),
        (lambda run: load_images(run, config={"sedes": [0]}), "sedes"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(run: Path, call: Any, expected: str) -> None:
    with pytest.raises((ValueError, ConfigError), match=expected):
        call(run)
