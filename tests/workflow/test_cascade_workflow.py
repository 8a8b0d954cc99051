"""A cascade of attacks in the workflow: its files, a run that is taken up, and what is stale."""

from pathlib import Path

import numpy as np
from conftest import Workflow, rows

from purification.evaluation.cascade import COST_COLUMNS, LEFT
from purification.storage import read_image_set, read_split

FOLDER = "results/digits/seed0/adaptive/small"
FILES = [f"{FOLDER}/{defense}/D.h5" for defense in ("none", "magnet", "adv_training")]
STRONG = {"iterations": 3}
CASCADE = {
    **{"norm": "linf", "epsilon": 0.1, "images": 6},
    "stages": [
        {"attack": "cascade_fgsm", "threat_model": "gray_box"},
        {"attack": "cascade_pgd_margin", "threat_model": "white_box"},
        {"attack": "cascade_pgd_margin", "threat_model": "white_box_bpda"},
        {"attack": "cascade_square", "threat_model": "white_box"},
    ],
}
STATE = "D.state.safetensors"


def test_a_cascade_from_the_config_to_its_files(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    workflow.config["cascades"] = {"small": CASCADE}
    workflow.config["attacks"] |= {"cascade_pgd_margin": STRONG, "cascade_square": {"queries": 9}}
    made = workflow.run(*FILES)
    # Told once, of what is used alone; the default `pgd` cannot cross its ball either.
    assert made.stdout.count("its steps travel") == 1
    told = "warning: attacks.cascade_pgd_margin: its steps travel 0.063 at most, and from the image"
    assert told in made.stdout
    place = workflow.folder / FOLDER
    found = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
    # No state is left.
    assert found == sorted(
        f"{defense}/D.{end}"
        for defense in ("none", "magnet", "adv_training")
        for end in ("costs.csv", "h5")
    )
    images, labels = read_split(workflow.folder / "results/digits/dataset.h5", "test", 6)
    for defense, stages in (("none", 3), ("magnet", 4), ("adv_training", 3)):
        made, costs = (
            read_image_set(place / defense / "D.h5"),
            rows(place / defense / "D.costs.csv"),
        )
        assert np.array_equal(made.labels, labels)
        assert np.abs(made.images - images).max() <= 0.1 + 1e-6
        right = (made.fields["predictions"] == labels).sum()
        assert int(costs[-1]["left"]) == right == (made.fields["found_by"] == -1).sum()
        assert [int(cost["stage"]) for cost in costs] == [*range(-1, stages)]
        assert [cost["asked"] for cost in costs[1:]] == [cost["left"] for cost in costs[:-1]]
        assert {cost["defense"] for cost in costs} == {defense}
        assert {*costs[0]} == {*COST_COLUMNS, "recipe", "check"}
    assert workflow.stale(*FILES).rules == {}
    bytes_before = {file: (workflow.folder / file).read_bytes() for file in FILES}
    workflow.config["attacks"]["cascade_pgd_margin"] = {"iterations": 4}
    assert workflow.stale(*FILES).rules == {"attack_adaptively": 3}
    workflow.config["attacks"]["cascade_pgd_margin"] = STRONG
    workflow.config["batch_size"]["attack"] = 5
    assert workflow.stale(*FILES).rules == {}
    for file in FILES:
        (workflow.folder / file).unlink()
    workflow.config["batch_size"]["attack"] = 4
    workflow.run(*FILES)
    assert {file: (workflow.folder / file).read_bytes() for file in FILES} == bytes_before


def test_a_wrong_cascade_is_told_without_a_trace(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    wrong = [{"attack": "cascade_fgsn", "threat_model": "white_box"}]
    workflow.config["cascades"] = {"small": CASCADE | {"stages": wrong}}
    failed = workflow.run(FILES[0], options=("-n", "--cores", "1"), check=False)
    assert failed.returncode
    assert "cascades.small.stages.attack: got 'cascade_fgsn' (did you mean" in failed.stdout
    assert "Traceback" not in failed.stdout


def test_the_leaderboard_has_a_row_for_each_defence(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    workflow.config["cascades"] = {"small": CASCADE}
    workflow.config["attacks"] |= {"cascade_pgd_margin": STRONG, "cascade_square": {"queries": 9}}
    workflow.config["leaderboard"] = {
        **{"datasets": ["digits"], "classifiers": ["D"], "cascade": "small"},
        "defenses": ["magnet"],
    }
    workflow.run("results/leaderboard.md")
    found = {row["defense"]: row for row in rows(workflow.folder / "results/leaderboard.csv")}
    assert found.keys() == {"none", "magnet"}
    for defense, row in found.items():
        made = read_image_set(workflow.folder / f"{FOLDER}/{defense}/D.h5")
        assert int(row["correct"]) == (made.fields["found_by"] == LEFT).sum()
        assert float(row["accuracy"]) <= float(row["clean_accuracy"])
    assert workflow.stale("results/leaderboard.md").rules == {}
    workflow.config["attacks"]["cascade_square"]["queries"] = 8
    stale = {"attack_adaptively": 2, "leaderboard": 1}
    assert workflow.stale("results/leaderboard.md").rules == stale
