"""The defence of docs/extend.md, as it stands there."""

import csv
import re

import pytest
import yaml
from conftest import REPOSITORY, Workflow

DOCUMENT = (REPOSITORY / "docs/extend.md").read_text()
WEIGHTS = "results/digits/seed0/defenses/denoiser.safetensors"


def block(name: str) -> str:
    found = re.search(rf"<!-- file: {name} -->\n```\w+\n(.*?)```", DOCUMENT, re.S)
    assert found, name
    return found[1]


@pytest.fixture
def own(workflow: Workflow) -> Workflow:
    """Added to a finished run, so that its own jobs alone are left."""
    (workflow.folder / "lab.py").write_text(block("lab.py"))
    added = yaml.safe_load(block("config/lab.yaml"))
    workflow.config["defenses"] |= added["defenses"]
    workflow.config["table4"] |= added["table4"] | {"attacks": ["fgsm"]}
    return workflow


def test_the_denoiser_of_the_documentation(own: Workflow) -> None:
    lines = [line for line in block("lab.py").splitlines() if line.strip()]
    assert len(lines) <= 30
    own.run("results/table4.csv")
    with (own.folder / "results/table4.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    columns = ("denoiser", "denoiser_gray_box", "denoiser_clean")
    assert all(0 <= float(row[name]) <= 1 for name in columns)
    with (own.folder / WEIGHTS).with_name("denoiser.history.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert (
        "denoiser"
        in (own.folder / "logs/train_defense/digits/seed0/defenses/denoiser.log").read_text()
    )

    # With new settings, and with an edit of its file, it is trained again; with another place of
    # deployment, batch size or comment in the config it is not.
    assert own.stale().rules == {}
    after = {
        "train_defense": 1,
        "purify_images": 1,
        "attack_defense": 1,
        "measure": 2,
        "paper_table": 1,
    }
    own.config["defenses"]["denoiser"]["settings"]["epochs"] = 4
    assert own.stale().rules == after
    own.config["defenses"]["denoiser"]["settings"]["epochs"] = 3
    (own.folder / "lab.py").write_text(block("lab.py").replace("0.005", "0.004"))
    assert own.stale().rules == after
    # A failed training leaves nothing behind.
    (own.folder / "lab.py").write_text(
        block("lab.py").replace("return history", "return [{'loss': float('nan')}]")
    )
    failed = own.run("results/table4.csv", check=False)
    assert "lab:Denoiser: loss of its history's row 1 is nan" in failed.stdout
    assert not (own.folder / WEIGHTS).exists()
