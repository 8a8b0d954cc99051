"""Rows of randomised defences in the long and wide tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up_measurements import FGSM, PAPERS, REC, measurement

from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.protocols import PROTOCOL_COLUMNS, share_under
from purification.reporting.comparison import compared_cells
from purification.reporting.digits import interval_text, share_text
from purification.reporting.long_tables import long_table, read_long_table, write_csv
from purification.reporting.markdown_tables import brief_table, markdown_table
from purification.reporting.papers import paper_values
from purification.reporting.wide_tables import wide_table

N, D = 200, 4
Tabulate = Callable[..., pd.DataFrame]


def judged(protocol: str, share: float, threat_model: str = "none", **more: Any) -> dict[str, Any]:
    """The row of a randomised Defense-GAN-Rec whose draws are right with that probability."""
    random = np.random.default_rng(more.pop("random", 0))
    evaluations = D if protocol == "evaluations" else 1
    right = random.random((N, D if protocol != "fixed" else 1)) < share
    attack = FGSM | {"threat_model": threat_model} if threat_model != "none" else {}
    said = {"protocol": protocol, "evaluations": evaluations, "draws": right.shape[1]}
    made = share_under(protocol, evaluations, right)
    return measurement(0) | REC | attack | said | made | more


@pytest.fixture
def tabulate(tmp_path: Path) -> Tabulate:
    def make(rows: list[dict[str, Any]], printed: bool = True) -> pd.DataFrame:
        pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
        values = paper_values("defense_gan", "Table 4", PAPERS) if printed else None
        return long_table([tmp_path / "rows.csv"], values)

    return make


MEASURED = [
    measurement(195, 200),
    measurement(60, 200, **FGSM),
    measurement(50, 200, **FGSM | {"defense": "magnet"}),
    judged("one_shot", 0.95),
    judged("evaluations", 0.95),
    judged("one_shot", 0.7, "white_box"),
    judged("evaluations", 0.7, "white_box"),
    judged("fixed", 0.3, "white_box_fixed"),
    judged("one_shot", 0.8, "white_box_fixed"),
]


def test_each_protocol_is_a_row_and_a_column(tabulate: Tabulate, tmp_path: Path) -> None:
    long = tabulate(MEASURED)
    wide = wide_table(long)
    (row,) = wide.to_dict("records")
    expected = {
        "no_attack": MEASURED[0],
        "no_defense": MEASURED[1],
        "magnet": MEASURED[2],
        "defense_gan_rec_clean": MEASURED[3],
        "defense_gan_rec_clean_4_evaluations": MEASURED[4],
        "defense_gan_rec": MEASURED[5],
        "defense_gan_rec_4_evaluations": MEASURED[6],
        "defense_gan_rec_fixed": MEASURED[7],
        "defense_gan_rec_fixed_fresh": MEASURED[8],
    }
    for name, measured in expected.items():
        assert row[name] == pytest.approx(measured["accuracy"]), name
        assert row[f"{name}_n"] == 200
    # One-shot alone stands beside the paper.
    printed = long[long["paper_value"].notna()]
    assert set(printed["protocol"]) == {"", "one_shot"}
    assert set(printed["threat_model"]) == {"none", "white_box"}
    assert set(PROTOCOL_COLUMNS) < set(long)
    write_csv(long, tmp_path / "t.long.csv", {"kind": "made up"})
    again = read_long_table(tmp_path / "t.long.csv")
    pd.testing.assert_frame_equal(wide_table(again), wide, check_exact=False, atol=1e-4)
    page = markdown_table(long, wide, title="t")
    spread = MEASURED[5]["spread"]
    for text in (
        f", 4 draws ± {share_text(spread, N)}",
        ", all of 4 draws",
        ", known draw",
        "A randomised defense draws anew in each evaluation",
        "`white_box_fixed`: as `white_box`, by an attacker who knows",
    ):
        assert text in page, text
    assert "defense_gan_rec_4_evaluations" in brief_table(long, wide)
    beside = compared_cells(again).set_index(["defense", "threat_model"])
    assert beside.loc[("defense_gan", "white_box"), "accuracy"] == pytest.approx(
        MEASURED[5]["accuracy"], abs=1e-4
    )
    assert beside.loc[("defense_gan", "white_box"), "clean_value"] == pytest.approx(
        MEASURED[3]["accuracy"], abs=1e-4
    )


def test_tables_without_randomised_defenses_have_no_word_of_them(tabulate: Tabulate) -> None:
    long = tabulate(MEASURED[:3])
    assert not set(PROTOCOL_COLUMNS) & set(long)
    assert "randomised" not in markdown_table(long, wide_table(long), title="t")


def test_seeds_are_pooled_by_images(tabulate: Tabulate) -> None:
    two = [judged("one_shot", 0.7, "white_box", seed=seed, random=seed) for seed in (0, 1)]
    page = markdown_table(long := tabulate(two, False), wide_table(long), title="t")
    mean = (two[0]["accuracy"] + two[1]["accuracy"]) / 2
    low, high = wilson_interval(mean * 2 * N, 2 * N)
    assert f", n = {2 * N} |" in page
    assert f"**{share_text(mean, 2 * N)} ± " in page and interval_text(low, high, 2 * N) in page


def test_flags_compare_like_with_like(tabulate: Tabulate) -> None:
    def flags(*more: dict[str, Any]) -> dict[tuple[str, str], str]:
        long = tabulate([MEASURED[3], MEASURED[4], *more])
        named = zip(long["threat_model"], long["protocol"], long["flags"], strict=True)
        return {(model, protocol): text for model, protocol, text in named if model != "none"}

    # Clean accuracy is 0.95 in one evaluation and 0.8 in all of four.
    assert flags(judged("one_shot", 0.9, "white_box")) == {("white_box", "one_shot"): "randomised"}
    found = flags(judged("evaluations", 0.99, "white_box"))
    assert found == {("white_box", "evaluations"): "above_clean;randomised"}
    gray = judged("one_shot", 0.5, "gray_box"), judged("evaluations", 0.5, "gray_box")
    found = flags(*gray, judged("evaluations", 0.8, "white_box"))
    assert found["white_box", "evaluations"] == "randomised;weaker_than_gray_box"
    assert flags(*gray, judged("fixed", 0.8, "white_box_fixed"))["white_box_fixed", "fixed"] == (
        "randomised;weaker_than_gray_box"
    )
    # What was made for a known draw is no attack on others.
    found = flags(*gray, judged("one_shot", 0.8, "white_box_fixed"))
    assert found["white_box_fixed", "one_shot"] == "randomised"


@pytest.mark.parametrize("change", [{"correct": 3}, {"draws": 2}, {"evaluations": 2}])
def test_rows_that_contradict_themselves_are_refused(
    tabulate: Tabulate, change: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match="accuracy = correct / n"):
        tabulate([MEASURED[0], MEASURED[5] | change])


def test_fewer_draws_than_evaluations_are_refused() -> None:
    with pytest.raises(ValueError, match="5 evaluations need as many draws, got 4"):
        share_under("evaluations", 5, np.ones((3, 4), bool))
    one = share_under("one_shot", 1, np.array([[True], [False]]))
    assert (one["accuracy"], one["correct"], one["spread"]) == (0.5, 1, None)
