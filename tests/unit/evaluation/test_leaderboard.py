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
    assert lines[0].startswith("| digits | A | mine | 25, 2 | 0.1 | 5 | 0.800 | **0.800** [")
    assert "| 3 | fgsm white_box | 18 |" in lines[1]
