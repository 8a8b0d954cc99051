"""The best of several attackers for each image, in the workflow."""

import numpy as np
import pytest
from conftest import Workflow, rows

from purification.experiments.worst_case import THREAT_MODELS
from purification.storage import read_field

RADIUS, MEASURED = 2.0, "l2_measured"


def test_rows_are_of_the_sets_of_the_run(workflow: Workflow) -> None:
    workflow.config["worst_case"] = {"tables": ["table4"], "l2": [RADIUS]}
    workflow.config["accuracy_l2"] = {"tables": ["table4"], "largest_radius": 2 * RADIUS}
    workflow.run("results/worst_case.csv", "results/figures/accuracy_l2.png")
    both = rows(workflow.folder / "results/worst_case.csv")
    found = [row for row in both if row["norm"] != MEASURED]
    by_defense = {row["defense"]: row for row in found}
    assert set(by_defense) == {"none", "defense_gan", "magnet", "adv_training"}
    file = workflow.folder / "results/digits/seed0/attacked/defense_gan/D/fgsm.h5"
    right = [
        (read_field(file, "predictions", group=name) == read_field(file, "labels", group=name))[:6]
        for name in THREAT_MODELS[:3]
    ]
    row = by_defense["defense_gan"]
    assert (row["n"], row["attackers"]) == ("6", "3")
    assert int(row["correct"]) == int(np.logical_and.reduce(right).sum())
    assert float(row["strongest_accuracy"]) == pytest.approx(min(map(np.mean, right)), abs=1e-5)
    page = (workflow.folder / "results/worst_case.md").read_text()
    assert page.count("\n| digits |") == len(both) == 2 * len(found)
    # CW, whose norms are saved, at a radius; the figure's points have the same.
    file = file.with_name("cw.h5")
    left = [
        (read_field(file, "predictions", group=name) == read_field(file, "labels", group=name))[:5]
        | (read_field(file, "l2", group=name)[:5] > RADIUS)
        for name in THREAT_MODELS[:3]
    ]
    [row] = [one for one in both if (one["norm"], one["defense"]) == (MEASURED, "defense_gan")]
    assert (row["n"], row["attackers"], float(row["epsilon"])) == ("5", "3", RADIUS)
    assert int(row["correct"]) == int(np.logical_and.reduce(left).sum())
    points = rows(workflow.folder / "results/figures/accuracy_l2.csv")
    [point] = [
        one
        for one in points
        if (one["defense"], one["attack"]) == ("defense_gan", "all")
        and float(one["radius"]) == RADIUS
    ]
    assert (point["n"], point["correct"]) == (row["n"], row["correct"])
    assert {one["attack"] for one in points} == {"cw", "all"}
    for end in ("png", "pdf"):
        assert (workflow.folder / f"results/figures/accuracy_l2.{end}").stat().st_size > 2000
    workflow.config["worst_case"] = {"tables": ["table4", "table12"], "l2": [RADIUS]}
    assert workflow.stale("results/worst_case.csv").rules == {}
    workflow.config["attacks"]["fgsm"]["epsilon"] = 0.07
    assert workflow.stale("results/worst_case.csv").rules.keys() >= {"worst_case", "attack_defense"}
