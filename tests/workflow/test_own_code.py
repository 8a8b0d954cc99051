"""Users' own data set, classifier, attack and purifier, named in the config and nowhere else."""

import csv
from pathlib import Path

import pytest
from conftest import Workflow

MY_LAB = '''
"""A robustness researcher's own file, in the folder where snakemake is run."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def stripes(data_root, validation, test, files):
    random = np.random.default_rng(int(open(files["seed"]).read()))

    def split(count):
        labels = random.integers(0, 10, count)
        images = random.random((count, 1, 28, 28), dtype=np.float32) / 4
        images[np.arange(count), 0, 2 * labels + 4] = 1
        return images, labels.astype(np.int64)

    return {"train": split(300), "validation": split(validation), "test": split(test)}


class Linear(nn.Sequential):
    def __init__(self, input_shape, classes, files):
        super().__init__(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), classes))
        self.scale = float(open(files["scale"]).read())

    def forward(self, images):
        return self.scale * super().forward(images)


def noise(model, images, labels, *, strength, seed, indices, files):
    strength = strength * float(open(files["factor"]).read())
    rows = [np.random.default_rng((seed % 2**32, i)).normal(size=images.shape[1:]) for i in indices]
    step = torch.from_numpy(np.stack(rows)).to(images)
    return (images + strength * step.sign()).clamp(0, 1)


class Blur(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("kernel", torch.full((1, 1, width, width), 1 / width**2))

    def forward(self, images):
        blurred = functional.conv2d(images, self.kernel, padding=self.kernel.shape[-1] // 2)
        return blurred.clamp(0, 1)


def blur(settings, networks, seed, files):
    assert open(files["notes"]).read()
    return Blur(settings["width"])
'''


@pytest.fixture
def own(tmp_path: Path) -> Workflow:
    workflow = Workflow(tmp_path / "workflow")
    (workflow.folder / "my_lab.py").write_text(MY_LAB)
    for name in ("seed", "scale", "factor", "notes"):
        (workflow.folder / f"{name}.txt").write_text("1")
    images = {"gray_box": 20, "white_box": 10, "white_box_bpda": 10}
    stripes = {"source": "my_lab:stripes", "validation": 30, "test": 40}
    stripes["files"] = {"seed": "seed.txt"}
    workflow.config["datasets"]["stripes"] = stripes
    workflow.config["table4"] = {
        "datasets": ["stripes"],
        "classifiers": ["linear"],
        "attacks": ["noise"],
        "defenses": ["blur"],
    }
    workflow.config["classifiers"]["linear"] = {
        "architecture": "my_lab:Linear",
        "files": {"scale": str(workflow.folder / "scale.txt")},
        "dropout": "paper",
        "epochs": 3,
        "batch_size": 50,
        "learning_rate": 0.01,
    }
    workflow.config["attacks"]["noise"] = {
        "method": "my_lab:noise",
        "settings": {"strength": 0.2},
        "files": {"factor": "factor.txt"},
        "images": images,
    }
    workflow.config["defenses"]["blur"] = {
        "method": "my_lab:blur",
        "settings": {"width": 3},
        "files": {"notes": "notes.txt"},
        "classifier": "reconstructions",
        "threat_models": ["gray_box", "white_box"],
    }
    return workflow


def test_own_code_goes_through_the_whole_workflow(own: Workflow) -> None:
    own.run("all")
    with (own.folder / "results/table4.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["dataset"], row["attack"], row["classifier"]) == ("stripes", "noise", "linear")
    assert float(row["no_attack"]) > 0.9
    columns = {"no_defense", "blur_rec", "blur_rec_gray_box", "blur_rec_clean"}
    assert columns <= set(row)
    assert all(0 <= float(row[column]) <= 1 for column in columns)
    for name in ("seed", "scale", "factor", "notes"):
        (own.folder / f"{name}.txt").touch()
    assert own.stale().rules == {}
    # The purifier's file. What the others make stale, test_guests.py looks up in the recipes.
    (own.folder / "notes.txt").write_text("2")
    assert own.stale().rules == {
        "purify_images": 2,
        "train_classifier": 1,
        "attack_defense": 1,
        "measure": 2,
        "paper_table": 1,
    }


def test_own_code_that_is_missing_is_refused_before_anything_runs(own: Workflow) -> None:
    (own.folder / "my_lab.py").unlink()
    failed = own.run("all", check=False)
    assert failed.returncode != 0
    assert "defenses.blur.method: module 'my_lab' is neither installed nor" in failed.stdout
    assert not (own.folder / "results").exists()
