"""The best of several attackers for each image, in the workflow."""

import numpy as np
import pytest
from conftest import Workflow, rows

from purification.experiments.worst_case import THREAT_MODELS
from purification.storage import read_field


def test_rows_are_of_the_sets_of_the_run(workflow: Workflow) -> None:
    workflow.config["worst_case"] = {"tables": ["table4"]}
    workflow.run("results/worst_case.csv")
    found = rows(workflow.folder / "results/worst_case.csv")
    by_defense = {row["defense"]: row for row in found}
    assert set(by_defense) == {"none", "defense_gan", "magnet", "adv_training"}
    file = workflow.folder / "results/digits/seed0/attacked/defense_gan/D/fgsm.h5"
    right = [
        (read_field(file, "predictions", group=name) == read_field(file, "labels", group=name))[:6]
        for name in THREAT_MODELS
    ]
    row = by_defense["defense_gan"]
    assert (row["n"], row["attackers"]) == ("6", "3")
    assert int(row["correct"]) == int(np.logical_and.reduce(right).sum())
    assert float(row["strongest_accuracy"]) == pytest.approx(min(map(np.mean, right)), abs=1e-5)
    page = (workflow.folder / "results/worst_case.md").read_text()
    assert page.count("\n| digits |") == len(found)
    workflow.config["worst_case"] = {"tables": ["table4", "table12"]}
    assert workflow.stale("results/worst_case.csv").rules == {}
    workflow.config["attacks"]["fgsm"]["epsilon"] = 0.07
    assert workflow.stale("results/worst_case.csv").rules.keys() >= {"worst_case", "attack_defense"}
