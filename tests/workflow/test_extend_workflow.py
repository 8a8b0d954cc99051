"""The examples of docs/extend.md, run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Workflow, merged, rows
from extend import blocks, example

from purification.storage import read_field

TABLE = "A table of your own"
SECTIONS = ("An attack of your own", "A data set of your own", "A classifier of your own")


def test_the_examples_go_through_the_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = Workflow(tmp_path / "workflow")
    for section in SECTIONS:
        workflow.config = merged(workflow.config, example(section, workflow.folder))
    workflow.config["table4"] |= {"defenses": ["magnet"]}
    workflow.config["attacks"]["gradient_step"]["images"] = dict.fromkeys(
        ("gray_box", "white_box", "white_box_bpda"), 8
    )
    mine = example(TABLE, workflow.folder)
    workflow.config["defenses"] |= mine["defenses"]
    workflow.config["defenses"]["denoiser"]["settings"]["epochs"] = 1
    workflow.config["tables"] = mine["tables"]
    workflow.config["tables"]["mine"]["classifiers"] = ["two_layers"]
    (denoiser,) = (code for code in blocks("A defence of your own", "python") if "fit(" in code)
    (workflow.folder / "lab.py").write_text(denoiser)
    workflow.config["worst_case"] = {"tables": ["table4"]}
    cheap = example("A cheaper version for attackers", workflow.folder)
    workflow.config["defenses"] |= cheap["defenses"]
    workflow.config["tables"]["mine"]["defenses"].append("repeated")
    workflow.run("results/table4.csv", "results/worst_case.md", "results/mine.md")
    fgsm, step = rows(workflow.folder / "results/mine.csv")
    assert [row["attack"] for row in (fgsm, step)] == ["fgsm", "gradient_step"]
    cheaper = ("repeated_gray_box", "repeated", "repeated_surrogate")
    for name in (
        *("no_defense", "magnet", "magnet_gray_box", "denoiser", "denoiser_gray_box"),
        *cheaper,
    ):
        assert all(0 <= float(row[name]) <= 1 for row in (fgsm, step))
    # Against the cheaper version another image is made than against the whole.
    file = workflow.folder / "results/digits/seed0/attacked/repeated/two_layers/gradient_step.h5"
    made = {
        name: read_field(file, "adversarial", group=name) for name in ("white_box", "surrogate")
    }
    assert not np.allclose(made["white_box"], made["surrogate"], atol=1e-3)
    (row,) = rows(workflow.folder / "results/table4.csv")
    named = [row[name] for name in ("dataset", "attack", "epsilon", "classifier")]
    assert named == ["bars", "gradient_step", "6", "two_layers"]
    assert float(row["no_attack"]) > 0.9
    assert float(row["no_defense"]) < 0.6
    assert 0 <= float(row["magnet"]) <= 1
    assert "| 6 (l2) |" in (workflow.folder / "results/worst_case.md").read_text()
    file = workflow.folder / "my_attacks.py"
    code = file.read_text()
    assert workflow.stale().rules == {}
    file.write_text(code + "# An edit.\n")
    stale = {"attack_classifier": 1, "attack_defense": 1, "measure": 1, "paper_table": 1}
    assert workflow.stale().rules == stale
    again = {"attack_classifier": 1, "attack_defense": 3, "measure": 1, "paper_table": 1}
    assert workflow.stale("results/mine.md").rules == again
    file.write_text(code)
    workflow.config["attacks"]["gradient_step"]["settings"]["epsilon"] = 5.0
    assert workflow.stale().rules == stale
    # As from Python.
    monkeypatch.syspath_prepend(workflow.folder)
    from purification.models.classifiers import build_classifier

    network = build_classifier("my_networks:TwoLayers", input_shape=(1, 28, 28), classes=3)
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 3)
