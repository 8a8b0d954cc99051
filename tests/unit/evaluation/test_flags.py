"""Which rows of a table of accuracies have which flag."""

from typing import Any

import pandas as pd
import pytest
from made_up_measurements import FGSM, REC, measurement

from purification.evaluation.flags import flag_column, flagged

GRAY = {"threat_model": "gray_box"}
BPDA = {"threat_model": "white_box_bpda"}
CW = {"attack": "cw", "epsilon": None}
SOFT = {"epsilon": 0.1}
TINY = {"n": 10, "ci_low": 0.69, "ci_high": 1.0, "accuracy": 0.97}


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    numbers = ["epsilon", "success_rate", "zero_gradient_share"]
    frame[numbers] = frame[numbers].apply(pd.to_numeric)
    searches = ["iterations_L", "restarts_R"]
    return frame.astype(dict.fromkeys(searches, object)).replace({"": None})


def rec(correct: int, **changes: Any) -> dict[str, Any]:
    """Defense-GAN-Rec under FGSM in the white box, with an attack that works."""
    return measurement(correct, **FGSM | REC | {"zero_gradient_share": 0.0} | changes)


CLEAN = measurement(970, **REC)
UNTOUCHED = [measurement(990), CLEAN, rec(800, **GRAY), measurement(200, **FGSM)]
"""Without attack, and what the row under test is compared with."""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        # Above the accuracy without attack, of the same model alone (others have 0.99).
        ({"correct": 971} | GRAY | CW, "above_clean"),
        ({"correct": 970} | GRAY | CW, ""),
        ({"correct": 971, "classifier": "B"}, ""),
        ({"correct": 971, "dataset": "fmnist"}, ""),
        ({"correct": 971, "seed": 1}, ""),
        ({"correct": 971, "variant": "orig"}, ""),
        ({"correct": 971, "iterations_L": 100} | GRAY, ""),
        ({"correct": 971, "threat_model": "black_box"}, "above_clean"),
        # Images without gradient.
        ({"zero_gradient_share": 0.001}, "zero_gradient"),
        ({"zero_gradient_share": None}, ""),
        # Attacks that rarely succeed.
        ({"success_rate": 0.0499}, "low_success"),
        ({"success_rate": 0.05}, ""),
        ({"success_rate": None}, ""),
        # Above the gray box (0.8, up to 0.8236): the interval, not the accuracy, of the same
        # model, attack and strength.
        ({"correct": 860}, "weaker_than_gray_box"),
        ({"correct": 860} | BPDA, "weaker_than_gray_box"),
        ({"correct": 847}, ""),
        ({"correct": 848}, "weaker_than_gray_box"),
        ({"correct": 860, "epsilon": 0.30000001192}, "weaker_than_gray_box"),
        ({"correct": 860, "epsilon": 0.3001}, ""),
        ({"correct": 860} | CW, ""),
        ({"correct": 860} | SOFT, ""),
        ({"correct": 860, "classifier": "B"}, ""),
        ({"correct": 860, "seed": 1}, ""),
        ({"correct": 860, "restarts_R": 1}, ""),
        ({"correct": 860, "threat_model": "black_box"}, ""),
        # Several, in their order.
        (
            {"correct": 860, "zero_gradient_share": 0.5},
            "zero_gradient;weaker_than_gray_box",
        ),
        (
            {"correct": 1000, "success_rate": 0.0, "zero_gradient_share": 1.0},
            "above_clean;zero_gradient;low_success;weaker_than_gray_box",
        ),
    ],
)
def test_flags_of_a_row(changes: dict[str, Any], expected: str) -> None:
    changes = dict(changes)
    row = rec(changes.pop("correct", 500), **changes)
    rows = table(*UNTOUCHED, row)
    assert flag_column(rows) == ["", "", "", "", expected]
    # Wherever it stands, and whatever the rows' labels are.
    assert flag_column(rows.set_index(pd.Index([7, 3, 5, 9, 4]))) == ["", "", "", "", expected]
    assert flag_column(rows.iloc[[4, 0, 3, 1, 2]]) == [expected, "", "", "", ""]


def test_attacks_without_strength_are_compared() -> None:
    rows = [CLEAN, rec(500, **CW | GRAY), rec(600, **CW)]
    assert flag_column(table(*rows)) == ["", "", "weaker_than_gray_box"]


def test_a_defence_without_search_is_compared() -> None:
    magnet = {"defense": "magnet", "variant": "", "iterations_L": None, "restarts_R": None}
    clean = measurement(950, defense="magnet")
    rows = [clean, rec(300, **magnet | GRAY), rec(960, **magnet)]
    assert flag_column(table(*rows)) == ["", "", "above_clean;weaker_than_gray_box"]


def test_accuracies_without_attack_and_refused_attacks_have_none() -> None:
    numbers = ("accuracy", "ci_low", "ci_high", "success_rate", "zero_gradient_share")
    refused = rec(1, n=1) | {"n": 0, "correct": 0} | dict.fromkeys(numbers)
    assert flag_column(table(*UNTOUCHED, refused)) == [""] * 5
    # Nor is anything compared with one that was refused.
    rows = [CLEAN, refused | GRAY, rec(860)]
    assert flag_column(table(*rows)) == ["", "", ""]
    assert flag_column(table(measurement(990), CLEAN)) == ["", ""]
    assert flag_column(table(rec(990))) == [""]  # no accuracy without attack to compare with


def test_each_seed_is_compared_with_its_own() -> None:
    seeds = [
        {**row, "seed": seed}
        for seed, correct in enumerate((860, 500))
        for row in (CLEAN, rec(800, **GRAY), rec(correct))
    ]
    assert flag_column(table(*seeds)) == ["", "", "weaker_than_gray_box", "", "", ""]


def test_what_was_compared_stands_beside_the_row() -> None:
    found = flagged(table(CLEAN | TINY, rec(800, **GRAY), rec(980)))
    assert list(found) == [
        *("above_clean", "randomised", "zero_gradient", "low_success", "weaker_than_gray_box"),
        "larger_epsilon_leaves_more",
    ]
    (above,) = found["above_clean"].to_dict("records")
    assert (above["accuracy"], above["n"], above["accuracy_clean"]) == (0.98, 1000, 0.97)
    assert (above["n_clean"], above["row"]) == (10, 2)
    (weaker,) = found["weaker_than_gray_box"].to_dict("records")
    assert (weaker["accuracy"], weaker["accuracy_gray"], weaker["row"]) == (0.98, 0.8, 2)
    assert weaker["ci_low"] > weaker["ci_high_gray"]


# What several rows under one attack say


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "larger_epsilon_leaves_more"),
        ({"correct": 702}, ""),  # 0.2 points
        ({"correct": 703}, "larger_epsilon_leaves_more"),
        ({"correct": 600}, ""),
        ({"epsilon": 0.1}, ""),  # a smaller one leaves more, as it should
        ({"epsilon": 0.2}, ""),
        ({"n": 900}, ""),  # of other images
        *(({name: "other"}, "") for name in ("dataset", "classifier", "variant", "attack")),
        (GRAY, ""),
        (BPDA, ""),
        ({"seed": 1}, ""),
        ({"restarts_R": 1}, ""),
        ({"substitute": "E"}, ""),
        ({"oracle": "defense_gan"}, ""),
        ({"protocol": "fixed"}, "randomised"),
    ],
)
def test_a_larger_ball_holds_the_smaller(changes: dict[str, Any], expected: str) -> None:
    names = {"substitute": "B", "oracle": "plain", "protocol": ""}
    small = rec(700, **names | {"epsilon": 0.2})
    larger = rec(
        changes.get("correct", 800), **names | {k: v for k, v in changes.items() if k != "correct"}
    )
    assert flag_column(table(CLEAN, small, larger)) == ["", "", expected]


def test_the_smaller_ball_that_leaves_least_is_named() -> None:
    rows = [
        rec(correct, epsilon=epsilon) for correct, epsilon in ((720, 0.3), (650, 0.2), (640, 0.1))
    ]
    found = flagged(table(*rows, rec(900, **CW)))["larger_epsilon_leaves_more"]
    assert found[["row", "epsilon_smaller", "accuracy_smaller"]].to_numpy().tolist() == [
        [0, 0.1, 0.64],
        [1, 0.1, 0.64],
    ]


def test_a_randomised_defence_is_one_with_a_protocol() -> None:
    drawn = {"protocol": "one_shot", "evaluations": 1}
    rows = [CLEAN | drawn, rec(700) | drawn, rec(800, **GRAY) | {"protocol": "", "evaluations": 1}]
    assert flag_column(table(*rows)) == ["", "randomised", ""]
