"""A cascade of attacks in the workflow: its files, a run that is taken up, and what is stale."""

import json
from pathlib import Path

import numpy as np
import pytest
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
LISTED = ["magnet", "defense_gan", "defense_gan_redrawn"]
"""The defences of the leaderboard."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Cascades, and the leaderboard of some, run. Shared: copy it before changing anything."""
    workflow = Workflow(tmp_path_factory.mktemp("cascade") / "workflow")
    eot = [
        {"attack": "cascade_pgd_eot", "threat_model": name} for name in ("gray_box", "white_box")
    ]
    workflow.config["cascades"] = {
        "small": CASCADE | {"checks": True, "randomised": {"selection_draws": 3, "stages": eot}}
    }
    own = {
        "cascade_pgd_margin": STRONG,
        "cascade_square": {"queries": 9},
        "cascade_pgd_eot": STRONG,
    }
    workflow.config["attacks"] |= own
    workflow.config["defenses"]["defense_gan_redrawn"]["judged_draws"] = 2
    workflow.config["leaderboard"] = {
        **{"datasets": ["digits"], "classifiers": ["D"], "cascade": "small"},
        "defenses": LISTED,
        "paper_attacks": ["fgsm"],
    }
    said = workflow.run(*FILES, "results/leaderboard.md").stdout
    # Once, of what is used alone.
    told = "warning: attacks.cascade_pgd_margin: its steps travel 0.063 at most, and from the image"
    assert said.count(told) == 1
    assert "attacks.pgd: its steps" not in said
    return workflow


def test_a_cascade_from_the_config_to_its_files(made: Workflow, tmp_path: Path) -> None:
    workflow = made.copy(tmp_path / "workflow")
    place = workflow.folder / FOLDER
    found = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
    # No state is left.
    assert found == sorted(
        f"{defense}/D.{end}"
        for defense in ("none", "adv_training", *LISTED)
        for end in ("costs.csv", "h5")
    )
    images, labels = read_split(workflow.folder / "results/digits/dataset.h5", "test", 6)
    for defense, stages in (("none", 3), ("magnet", 4), ("adv_training", 3)):
        found, costs = (
            read_image_set(place / defense / "D.h5"),
            rows(place / defense / "D.costs.csv"),
        )
        assert np.array_equal(found.labels, labels)
        assert np.abs(found.images - images).max() <= 0.1 + 1e-6
        right = (found.fields["predictions"] == labels).sum()
        assert int(costs[-1]["left"]) == right == (found.fields["found_by"] == -1).sum()
        costs = [cost for cost in costs if not cost["kind"]]  # the checks come after them
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


def test_the_leaderboard_has_a_row_for_each_defence_and_protocol(
    made: Workflow, tmp_path: Path
) -> None:
    workflow = made.copy(tmp_path / "workflow")
    results = workflow.folder / "results"
    written = rows(results / "leaderboard.csv")
    found = {(row["defense"], row["protocol"]): row for row in written}
    redrawn = [("defense_gan_redrawn", name) for name in ("one_shot", "evaluations", "fixed")]
    assert found.keys() == {("none", ""), ("magnet", ""), ("defense_gan", ""), *redrawn}
    _check_rows(workflow, found)
    _check_judged_draws(workflow, [found[name] for name in redrawn[:2]])
    page = (results / "leaderboard.md").read_text()
    assert ": one-shot, 2 draws |" in page
    assert ": known draw |" in page
    _check_checks(workflow, found)
    _check_times(workflow)

    assert workflow.stale("results/leaderboard.md").rules == {}
    workflow.config["attacks"]["cascade_square"]["queries"] = 8
    stale = {"attack_adaptively": 3, "attack_known_draws": 1, "leaderboard": 1}
    assert workflow.stale("results/leaderboard.md").rules == stale
    workflow.config["attacks"]["cascade_square"]["queries"] = 9
    workflow.config["cascades"]["small"]["randomised"]["selection_draws"] = 4
    stale = {"attack_adaptively": 1, "leaderboard": 1}
    assert workflow.stale("results/leaderboard.md").rules == stale


def _check_rows(workflow: Workflow, found: dict[tuple[str, str], dict[str, str]]) -> None:
    """What is left is what the cascade's set says, less what the papers' attacks break."""
    for (defense, protocol), row in found.items():
        lowest = [float(row[box]) for box in ("gray_box", "white_box") if row[box]]
        assert float(row["accuracy"]) <= min([float(row["clean_accuracy"]), *lowest])
        assert row["no_claim"] == "no paper prints numbers for digits"
        if protocol in ("", "fixed"):
            place = FOLDER.replace("adaptive", "adaptive_fixed") if protocol else FOLDER
            made = read_image_set(workflow.folder / f"{place}/{defense}/D.h5")
            left = (made.fields["found_by"] == LEFT).sum()
            assert int(row["correct"]) <= left
            assert (int(row["correct"]) == left) or not protocol
    passes = {defense: float(row["purification_passes"]) for (defense, _), row in found.items()}
    search = 2 * (4 + 1)
    expected = {"none": 0, "magnet": 1, "defense_gan": search, "defense_gan_redrawn": search}
    assert passes == expected
    assert found["defense_gan", ""]["white_box_bpda_attacks"] == "fgsm"
    known = found["defense_gan_redrawn", "fixed"]["white_box_bpda_attacks"]
    assert known in ("", "cascade_pgd_margin")


def _check_judged_draws(workflow: Workflow, judged: list[dict[str, str]]) -> None:
    """Rows of one-shot draws and of evaluations under all of them, from one set."""
    made = read_image_set(workflow.folder / f"{FOLDER}/defense_gan_redrawn/D.h5")
    assert made.attributes["selection_draws"] == 3
    said = {row["protocol"]: row for row in json.loads(made.attributes["protocols"])}
    right = made.fields["predictions"] == made.labels[:, None]
    one_shot, evaluations = judged
    assert int(one_shot["correct"]) == right.sum() == said["one_shot"]["correct"]
    assert int(evaluations["correct"]) == right.all(axis=1).sum()
    for row, count in ((one_shot, "1"), (evaluations, "2")):
        assert (row["evaluations"], row["draws"]) == (count, "2")
        clean = said[row["protocol"]]["clean_accuracy"]
        assert float(row["clean_accuracy"]) == pytest.approx(clean, abs=1e-4)
    costs = rows(workflow.folder / f"{FOLDER}/defense_gan_redrawn/D.costs.csv")
    assert {(cost["draws"], cost["known"]) for cost in costs} == {("3", "False")}


def _check_checks(workflow: Workflow, found: dict[tuple[str, str], dict[str, str]]) -> None:
    """All rows have been checked, and their costs have a row for each step."""
    for (defense, protocol), row in found.items():
        flags, drawn = row["flags"].split(";"), bool(protocol)
        assert row["randomised"] == str(drawn)
        assert ("randomised" in flags) == drawn
        searches = defense.startswith("defense_gan")
        assert row["optimises_in_forward"] == str(searches)
        assert ("optimises_in_forward" in flags) == searches
        assert float(row["zero_gradient_share"]) < 1
    costs = rows(workflow.folder / FOLDER / "magnet/D.costs.csv")
    kinds = [row["kind"] for row in costs if row["kind"]]
    assert kinds == ["doubled", *["control"] * 3, "larger_epsilon", "looks"]
    assert "| not checked |" not in (workflow.folder / "results/leaderboard.md").read_text()


def _check_times(workflow: Workflow) -> None:
    """Measured times are apart: a run that measures them again gives the same bytes in the rest."""
    results = workflow.folder / "results"
    times = {row["defense"]: row for row in rows(results / "leaderboard.times.csv")}
    assert all(float(row["attack_seconds"]) > 0 for row in times.values())
    purifiers = {"magnet", "defense_gan", "defense_gan_redrawn"}
    assert {name for name, row in times.items() if row["purification_ms"]} == purifiers
    shown = (results / "leaderboard.html").read_text()
    assert f"{float(times['magnet']['purification_ms']):.3g}" in shown
    files = [results / f"leaderboard.{end}" for end in ("csv", "md")]
    before = [file.read_bytes() for file in files]
    for name in ("digits/seed0/purification_costs/D.csv", "leaderboard.html"):
        (results / name).unlink()
    workflow.run("results/leaderboard.html")
    assert [file.read_bytes() for file in files] == before
    again = {row["defense"]: row for row in rows(results / "leaderboard.times.csv")}
    assert again["magnet"]["purification_ms"] != times["magnet"]["purification_ms"]
