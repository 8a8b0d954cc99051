"""Accuracy over generator evaluations: what a purification costs, and the claimed ratio."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from purification.evaluation.measure import COLUMNS as MEASURED
from purification.purifiers.descent import SearchSettings
from purification.purifiers.latent_search import latent_search
from purification.reporting import cost_accuracy as module
from purification.reporting.cost_accuracy import (
    COLUMNS,
    claim,
    claim_lines,
    cost_accuracy,
    cost_points,
    evaluations,
    read_measurements,
)
from purification.reporting.csv_files import write_numbers

CONTENT: dict[str, Any] = {
    **{"dataset": "digits", "classifier": "A", "attack": "fgsm", "epsilon": 0.1},
    **{"threat_models": ["gray_box", "white_box"], "reference": "Defense-GAN"},
    "lines": [
        {"label": "Defense-GAN", "defense": "defense_gan", "variant": "rec", "restarts_R": 10},
        {"label": "AE-GAN+rs", "defense": "ae_gan", "variant": "rs"},
        {"label": "BiGAN+s", "defense": "bigan", "variant": "s"},
    ],
    "one_pass": {"defense": "ae_gan", "variant": "r"},
}
CORRECT = {  # of 100, in the gray box; undefended in the white box
    ("none", "", None, None): 20,
    ("defense_gan", "rec", 25, 10): 80,
    ("defense_gan", "rec", 200, 10): 90,
    ("defense_gan", "rec", 100, 10): 90,
    ("defense_gan", "rec", 25, 2): 99,
    ("defense_gan", "orig", 25, 10): 99,
    ("ae_gan", "rs", 15, None): 89,
    ("ae_gan", "rs", 5, None): 88,
    ("ae_gan", "rs", 60, None): 95,
    ("bigan", "s", 60, None): 70,
    ("ae_gan", "r", None, None): 50,
}


def row(setting: tuple, threat_model: str, correct: int, seed: int = 0) -> dict[str, Any]:
    attacked = threat_model != "none"
    return dict.fromkeys(MEASURED) | {
        **{"dataset": "digits", "seed": seed, "classifier": "A"},
        **{"attack": "fgsm" if attacked else "none", "epsilon": 0.1 if attacked else None},
        **dict(zip(("defense", "variant", "iterations_L", "restarts_R"), setting, strict=True)),
        **{"threat_model": threat_model, "n": 100, "correct": correct, "accuracy": correct / 100},
    }


def measured() -> list[dict[str, Any]]:
    bare = ("none", "", None, None)
    defended = {setting: correct for setting, correct in CORRECT.items() if setting != bare}
    rows = [row(setting, "gray_box", correct) for setting, correct in defended.items()]
    rows += [row(setting, "white_box", correct // 2) for setting, correct in defended.items()]
    rows.append(row(bare, "white_box", CORRECT[bare]))  # what it has in the long tables
    rows.append(row(("ae_gan", "r", None, None), "none", 96))
    others = row(("bigan", "s", 5, None), "gray_box", 1)
    return [*rows, others | {"dataset": "mnist"}, others | {"epsilon": 0.3}]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two tables that share the rows of one defence."""
    rows = measured()
    shared = [each for each in rows if each["defense"] == "ae_gan"]
    for name, held in (("a.csv", rows), ("b.csv", shared)):
        pd.DataFrame(held).to_csv(tmp_path / name, index=False)
    return [tmp_path / "a.csv", tmp_path / "b.csv"]


@pytest.fixture
def points(files: list[Path]) -> pd.DataFrame:
    return cost_points(read_measurements(files, "digits"), CONTENT)


@pytest.mark.parametrize(("steps", "restarts"), [(1, 1), (3, 2)])
def test_evaluations_are_those_that_the_search_counts(steps: int, restarts: int) -> None:
    def generator(z: Tensor) -> Tensor:
        calls.append(len(z))
        return z[:, :, None, None]

    class Network(torch.nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return generator(z)

    calls: list[int] = []
    images, starts = torch.rand(1, 4, 1, 1), torch.zeros(restarts, 4)
    found = latent_search(Network(), images, starts, SearchSettings(steps))
    assert evaluations(steps, restarts) == int(found.evaluations[0]) == sum(calls)


def test_a_defence_without_search_generates_an_image_once() -> None:
    assert evaluations(None, None) == evaluations(0, None) == evaluations(pd.NA, pd.NA) == 1
    assert evaluations(15, None) == 16
    assert evaluations(200, 10) == 2010


def test_points_of_each_line(points: pd.DataFrame) -> None:
    assert list(points) == list(COLUMNS)
    gray = points[points["threat_model"] == "gray_box"]
    lines = {name: rows["evaluations"].tolist() for name, rows in gray.groupby("line")}
    assert lines == {
        **{"Defense-GAN": [260, 1010, 2010], "AE-GAN+rs": [6, 16, 61], "BiGAN+s": [61]},
        **{"No defence": [0], "One pass, clean": [1]},
    }
    at = gray.set_index(["line", "evaluations"])
    assert at.loc[("AE-GAN+rs", 16), "accuracy"] == 0.89
    assert at.loc[("One pass, clean", 1), "accuracy"] == 0.96
    assert (
        (points["ci_low"] < points["accuracy"]) & (points["accuracy"] < points["ci_high"])
    ).all()


def test_the_claim_is_against_the_cheapest_of_the_best(points: pd.DataFrame) -> None:
    at = points[points["threat_model"] == "gray_box"].set_index(["line", "evaluations"])
    assert at.loc[("AE-GAN+rs", 16), "share_of_reference"] == pytest.approx(16 / 1010)
    near = at["within_1_point"].dropna()
    assert near[near].index.tolist() == [
        *(("Defense-GAN", 1010), ("Defense-GAN", 2010), ("AE-GAN+rs", 16), ("AE-GAN+rs", 61)),
    ]
    assert at.loc["No defence", "within_1_point"].isna().all()
    assert (points["paper_share"] == 15 / 2000).all()
    reached = claim(points, CONTENT)
    assert [each.first is None for each in reached] == [False, False, True] * 2
    assert claim_lines(reached)[0] == (
        "Gray box: the best of Defense-GAN is 0.900 (L = 100, R = 10; 1,010 evaluations). "
        "No more than 1 point below it: Defense-GAN from L = 100, R = 10 (1,010 evaluations, "
        "100 %); AE-GAN+rs from L = 15 (16 evaluations, 1.58 %); BiGAN+s at no measured cost."
    )


def test_seeds_are_put_together() -> None:
    rows = measured() + [each | {"seed": 1} for each in measured()]
    [bare] = [each for each in rows if each["defense"] == "none" and each["seed"] == 1]
    bare["correct"] = 40
    points = cost_points(pd.DataFrame(rows), CONTENT)
    [none] = points[points["line"] == "No defence"].iloc[:1].to_dict("records")
    assert none["n"] == 200
    assert none["accuracy"] == 0.3


def test_measured_evaluations_go_before_those_of_the_settings() -> None:
    rows = pd.DataFrame(measured())
    rule = (rows["defense"] == "ae_gan") & (rows["iterations_L"] == 15)
    points = cost_points(rows.assign(evaluations=pd.Series(4.5, rows.index[rule])), CONTENT)
    line = points[points["line"] == "AE-GAN+rs"]["evaluations"]
    assert line.tolist() == [4.5, 6, 61] * 2


def test_what_was_not_measured_is_named(files: list[Path]) -> None:
    long = read_measurements(files, "digits")
    with pytest.raises(ValueError, match="no measurement of 'BiGAN\\+s' in gray_box"):
        cost_points(long[long["defense"] != "bigan"], CONTENT)
    with pytest.raises(ValueError, match="one of them 'x'"):
        cost_points(long, CONTENT | {"reference": "x"})
    with pytest.raises(ValueError, match="lacks the columns correct"):
        cost_points(long.drop(columns="correct"), CONTENT)
    with pytest.raises(ValueError, match="two measurements of one point"):
        cost_points(pd.concat([long, long.assign(correct=1)]), CONTENT)
    with pytest.raises(ValueError, match="no files"):
        read_measurements([], "digits")


def test_figure(points: pd.DataFrame, tmp_path: Path, record_figures: Callable) -> None:
    drawn = record_figures(module)
    cost_accuracy(points, CONTENT, tmp_path / "c.png", tmp_path / "c.pdf")
    write_numbers(points, tmp_path / "c.csv")
    assert len(pd.read_csv(tmp_path / "c.csv")) == len(points)
    [page] = drawn
    assert [axis.get_title() for axis in page.axes] == ["Gray box", "White box"]
    assert all(axis.get_xscale() == "log" for axis in page.axes)
    [legend] = page.legends
    texts = {text.get_text() for text in legend.get_texts()}
    assert texts == {"Defense-GAN", "AE-GAN+rs", "BiGAN+s", "No defence", "One pass, clean"}
    assert "0.75 %" in page.get_supxlabel()
    box = page.get_tightbbox()
    width, height = page.get_size_inches()
    assert max(-box.x0, -box.y0, box.x1 - width, box.y1 - height) < 0.01
