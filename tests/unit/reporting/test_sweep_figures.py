"""Figures 3 and 8: which rows of the long tables make which line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from purification.evaluation.accuracy import wilson_interval
from purification.reporting.roc import accuracy_lines
from purification.reporting.sweeps import figure3_panels, figure8_panels

STEPS, RESTARTS = (25, 100, 400), (1, 10)


def measured(correct: int, **changes: Any) -> dict[str, Any]:
    row = {
        **{"dataset": "mnist", "seed": 0, "classifier": "F", "attack": "fgsm", "epsilon": 0.3},
        **{"threat_model": "black_box", "defense": "defense_gan", "variant": "rec"},
        **{"iterations_L": 100, "restarts_R": 10, "n": 200, "correct": correct},
        **{"accuracy": correct / 200, "paper_value": np.nan, "paper_std": np.nan},
    }
    return row | changes


def clean(correct: int, **changes: Any) -> dict[str, Any]:
    none = {"attack": "none", "epsilon": np.nan, "threat_model": "none"}
    return measured(correct, **none | changes)


def table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows).astype({"iterations_L": "Int64", "restarts_R": "Int64"})


def sweep() -> list[dict[str, Any]]:
    """The grid of L and R, Rec and Orig, clean and attacked; correct says which cell it is."""
    rows = []
    for i, steps in enumerate(STEPS):
        for j, restarts in enumerate(RESTARTS):
            for k, variant in enumerate(("orig", "rec")):
                at = {"iterations_L": steps, "restarts_R": restarts, "variant": variant}
                rows.append(measured(10 * i + 5 * j + k, **at))
                rows.append(clean(100 + 10 * i + 5 * j + k, **at))
    return rows


def undefended() -> list[dict[str, Any]]:
    none = {"defense": "none", "variant": "", "iterations_L": None, "restarts_R": None}
    return [measured(1, **none), clean(199, **none)]


def test_figure3_has_four_lines_a_panel_and_only_its_settings() -> None:
    long = table(undefended() + sweep())
    left, right = figure3_panels(long, long, steps=100, restarts=10)
    assert (left.title, right.title) == ("R = 10", "L = 100")
    assert (left.x, right.x) == ("iterations_L", "restarts_R")
    names = ["Rec, no attack", "Rec, FGSM 0.3", "Orig, no attack", "Orig, FGSM 0.3"]
    assert list(left.lines) == list(right.lines) == names
    for name, base in zip(names, (101, 1, 100, 0), strict=True):
        points = left.lines[name]
        assert points["iterations_L"].tolist() == list(STEPS)
        assert points["accuracy"].tolist() == [(base + 10 * i + 5) / 200 for i in range(3)]
        points = right.lines[name]
        assert points["restarts_R"].tolist() == list(RESTARTS)
        assert points["accuracy"].tolist() == [(base + 10 + 5 * j) / 200 for j in range(2)]


def test_each_panel_has_the_papers_values_of_its_own_table() -> None:
    """The paper prints L = 100, R = 10 twice, in Tables 8 and 10, with different numbers."""
    tables = [table([measured(180, paper_value=value)]) for value in (0.8953, 0.8956)]
    left, right = figure3_panels(*tables, steps=100, restarts=10)
    printed = [panel.lines["Rec, FGSM 0.3"]["paper_value"].tolist() for panel in (left, right)]
    assert printed == [[0.8953], [0.8956]]


def test_seeds_are_put_together() -> None:
    seeds = [measured(correct, seed=s) for s, correct in enumerate((100, 110, 150))]
    seeds[1] |= {"paper_value": 0.9, "paper_std": 0.01}
    left, _ = figure3_panels(table(seeds), table(seeds), steps=100, restarts=10)
    [point] = left.lines["Rec, FGSM 0.3"].to_dict("records")
    assert point["accuracy"] == pytest.approx(np.mean([0.5, 0.55, 0.75]))
    assert (point["ci_low"], point["ci_high"]) == wilson_interval(360, 600)
    assert (point["paper_value"], point["paper_std"]) == (0.9, 0.01)


def test_a_table_without_papers_values_will_do(tmp_path: Path) -> None:
    long = table(sweep()).drop(columns=["paper_value", "paper_std"])
    accuracy_lines(
        figure3_panels(long, long, steps=100, restarts=10), tmp_path / "a.png", tmp_path / "a.pdf"
    )
    assert (tmp_path / "a.png").stat().st_size > 10_000


def white(correct: int, **changes: Any) -> dict[str, Any]:
    return measured(correct, **{"threat_model": "white_box"} | changes)


def test_figure8_has_a_line_a_classifier_and_a_panel_a_gradient(tmp_path: Path) -> None:
    rows = [
        white(i + 10 * j, classifier=name, iterations_L=steps, threat_model=model)
        for i, name in enumerate(("B", "A"))
        for j, steps in enumerate(STEPS)
        for model in ("white_box", "white_box_bpda", "gray_box")
    ]
    rows.append(white(99, classifier="A", iterations_L=25, restarts_R=1))
    rows[9] |= {"paper_value": 0.947}
    panels = figure8_panels(table(rows), restarts=10)
    assert [panel.title for panel in panels] == [
        *("True gradient", "BPDA (identity as the search's gradient)"),
    ]
    for panel in panels:
        assert list(panel.lines) == ["Classifier A", "Classifier B"]
        assert panel.lines["Classifier A"]["accuracy"].tolist() == [1 / 200, 11 / 200, 21 / 200]
    printed = [panel.lines["Classifier A"]["paper_value"].tolist()[0] for panel in panels]
    assert printed[0] == 0.947
    assert np.isnan(printed[1])
    accuracy_lines(panels, tmp_path / "a.png", tmp_path / "a.pdf")
    one = figure8_panels(table([white(1)]), restarts=10)
    assert [panel.title for panel in one] == ["True gradient"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (undefended(), "no measurement of a latent search in none, black_box"),
        ([clean(1)], "no measurement under attack"),
        ([measured(1, restarts_R=3, iterations_L=3)], "nothing was measured at restarts_R = 10"),
        ([measured(1), measured(1, dataset="fmnist")], "one dataset, .*'mnist', 'fmnist'"),
        ([measured(1), measured(1, epsilon=0.1)], "one epsilon"),
        ([measured(1), measured(1, defense="mine")], "one defense"),
        ([measured(1), measured(2)], "several measurements of iterations_L = 100, seed 0"),
        ([measured(1), measured(2, seed=1, n=100)], "different numbers of images"),
    ],
)
def test_what_is_no_figure3_is_refused(rows: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figure3_panels(table(rows), table(rows), steps=100, restarts=10)


def test_what_is_no_figure8_is_refused() -> None:
    with pytest.raises(ValueError, match="white_box, white_box_bpda"):
        figure8_panels(table([measured(1)]), restarts=10)
    with pytest.raises(ValueError, match="one variant"):
        figure8_panels(table([white(1), white(1, variant="orig")]), restarts=10)
    with pytest.raises(ValueError, match="lacks the columns correct"):
        figure8_panels(table([white(1)]).drop(columns="correct"), restarts=10)
