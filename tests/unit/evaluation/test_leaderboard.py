"""The leaderboard: its rows from the sets of a cascade, their order, and the page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purification.evaluation.cascade import CLEAN, LEFT
from purification.evaluation.leaderboard import LEADERBOARD_COLUMNS, leaderboard_rows
from purification.reporting.leaderboard import leaderboard_page
from purification.storage import ImageSet, write_image_set


def stage(name: str, broken: int, accuracy: float, **more: Any) -> dict[str, Any]:
    return {
        **{"attack": name, "threat_model": "white_box", "broken": broken, "accuracy": accuracy},
        **{"passes": 30, "refused": None, **more},
    }


def attacked(folder: Path, name: str, found_by: list[int], stages: list[dict[str, Any]]) -> str:
    """A set as `attack_adaptively` writes it."""
    n, fields = len(found_by), {"found_by": np.array(found_by)}
    attributes = {
        **{"norm": "linf", "epsilon": 0.1, "stages": json.dumps([stage("clean", 1, 0.9), *stages])},
        "clean_correct": n - found_by.count(CLEAN),
    }
    images = np.zeros((n, 1, 2, 2), np.float32)
    path = folder / f"{name}.h5"
    write_image_set(path, ImageSet(images, np.zeros(n, np.int64), fields, attributes), {})
    return str(path)


def drawn(folder: Path) -> str:
    """A set of a randomised defence: four images on three draws, as `judge.judged_afresh` makes
    it. Which stage found an image says nothing of how it is judged."""
    truth = np.array([0, 0, 0, 0])
    right = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0]], bool)
    clean = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    fields = {
        "found_by": np.array([LEFT, 0, 1, LEFT]),
        "predictions": np.where(right, truth[:, None], 1),
        "clean_predictions": np.where(clean, truth[:, None], 1),
    }
    stages = [stage("clean", 0, 0.975), stage("pgd", 1, 0.95), stage("eot", 0, 0.6)]
    attributes = {"norm": "linf", "epsilon": 0.1, "stages": json.dumps(stages)}
    path = folder / "drawn.h5"
    made = ImageSet(np.zeros((4, 1, 2, 2), np.float32), truth, fields, attributes)
    write_image_set(path, made, {})
    return str(path)


def row(path: str, defense: str, classifier: str = "A", **more: Any) -> dict[str, Any]:
    labels = {"dataset": "digits", "seed": 0, "classifier": classifier, "defense": defense}
    return {"labels": labels | {"variant": "", **more}, "attacked": path}


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    weak = attacked(
        *(tmp_path, "weak", [CLEAN, 0, 0, 1, LEFT]),
        [stage("fgsm", 2, 0.4), stage("pgd", 1, 0.2), stage("square", 0, 0.2)],
    )
    refused = stage("pgd", 0, 0.8, passes=2, refused="its gradient is zero")
    strong = attacked(tmp_path, "strong", [LEFT, LEFT, LEFT, LEFT, CLEAN], [refused])
    return leaderboard_rows(
        [
            row(weak, "none"),
            row(strong, "mine", iterations_L=25, restarts_R=2),
            row(strong, "none", "B"),
        ]
    )


def test_rows_say_what_the_sets_do(rows: list[dict[str, Any]]) -> None:
    assert [(one["classifier"], one["defense"]) for one in rows] == [
        *(("A", "mine"), ("A", "none"), ("B", "none"))
    ]
    mine, none, _ = rows
    assert all(tuple(one) == LEADERBOARD_COLUMNS for one in rows)
    assert (none["n"], none["correct"], none["accuracy"], none["clean_accuracy"]) == (
        5,
        1,
        0.2,
        0.8,
    )
    assert none["ci_low"] < 0.2 < none["ci_high"]
    assert (none["attackers"], none["strongest"]) == (3, "fgsm white_box")
    assert none["passes_per_image"] == 18
    assert none["stages"] == "fgsm white_box 0.400; pgd white_box 0.200; square white_box 0.200"
    # What was refused is no attacker, and what broke nothing is not the strongest.
    assert (mine["attackers"], mine["strongest"], mine["accuracy"]) == (0, None, 0.8)
    assert mine["stages"] == "pgd white_box refused"


def test_the_page_has_a_line_for_each(rows: list[dict[str, Any]]) -> None:
    page = leaderboard_page(rows)
    lines = [line for line in page.splitlines() if line.startswith("| digits")]
    assert len(lines) == 3
    assert lines[0].startswith("| digits | A | mine | 25, 2 |  | 0.1 | 5 | 0.800 | **0.800** [")
    assert "| 3 | fgsm white_box | 18 |" in lines[1]


def test_a_randomised_defence_has_a_row_for_each_protocol(tmp_path: Path) -> None:
    fresh, known = drawn(tmp_path), attacked(tmp_path, "known", [LEFT, 0, 0, 0, LEFT], [])
    named = {"iterations_L": 25, "restarts_R": 2, "evaluations": 1, "draws": 3}
    made = leaderboard_rows(
        [
            row(fresh, "redrawn", protocol="one_shot", **named),
            row(fresh, "redrawn", protocol="evaluations", **named | {"evaluations": 3}),
            row(known, "redrawn", protocol="fixed", **named | {"draws": 1}),
        ]
    )
    one_shot, fixed, every = made
    assert [one["protocol"] for one in made] == ["one_shot", "fixed", "evaluations"]
    assert (one_shot["correct"], one_shot["accuracy"]) == (7, pytest.approx(7 / 12))
    assert one_shot["clean_accuracy"] == pytest.approx(11 / 12)
    assert one_shot["spread"] == pytest.approx(np.std([3 / 4, 2 / 4, 2 / 4], ddof=1))
    assert (every["correct"], every["accuracy"], every["clean_accuracy"]) == (1, 0.25, 0.75)
    assert (fixed["correct"], fixed["accuracy"], fixed["clean_accuracy"]) == (2, 0.4, 1.0)
    assert every["spread"] is fixed["spread"] is None
    # It took most accuracy, though it broke fewer on all draws of the selection.
    assert one_shot["strongest"] == "eot white_box"
    page = leaderboard_page(made)
    assert "selects among the images that all attacks made by draws of its own" in page
    start = "| digits | A | redrawn | 25, 2 |"
    lines = [line for line in page.splitlines() if line.startswith("| digits")]
    assert lines[0].startswith(f"{start} one-shot, 3 draws | 0.1 | 4 | 0.917 | **0.583** ± 0.144 [")
    assert lines[1].startswith(f"{start} known draw | 0.1 | 5 | 1.000 | **0.400** [")
    assert lines[2].startswith(f"{start} all of 3 draws | 0.1 | 4 | 0.750 | **0.250** [")


def test_without_one_the_page_says_nothing_of_draws(rows: list[dict[str, Any]]) -> None:
    assert "randomised" not in leaderboard_page(rows)
