"""Figures 6 and 7 of Cowboy: what is read of the tables, and that the pictures show it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from purification.evaluation.accuracy import wilson_interval
from purification.reporting import roc, training_steps
from purification.reporting.roc import accuracy_lines
from purification.reporting.training_steps import (
    ACCURACY_COLUMNS,
    SCORE_COLUMNS,
    cleaning_panels,
    mean_score_curves,
    read_mean_scores,
)

TRAINED = (250, 500, 1000, 2000)
CLEANED = {25: (100, 130, 160, 170), 400: (120, 160, 190, 230)}
N = 300


def accuracy_rows(dataset: str = "digits") -> list[dict[str, Any]]:
    points = [("none", None, 0, 288), ("rand_fgsm", None, 0, 60)]
    for steps, correct in CLEANED.items():
        points += [("rand_fgsm", t, steps, k) for t, k in zip(TRAINED, correct, strict=True)]
    return [
        dict(
            zip(ACCURACY_COLUMNS, (dataset, a, t, s, N, k / N, *wilson_interval(k, N)), strict=True)
        )
        for a, t, s, k in points
    ]


def score_rows(dataset: str = "digits") -> list[dict[str, Any]]:
    means = {"real": (0.55, 0.6, 0.7, 0.8), "attack": (0.5, 0.4, 0.3, 0.1)}
    return [
        dict(zip(SCORE_COLUMNS, (dataset, "fgsm", t, source, N, m, m - 0.1, m + 0.1), strict=True))
        for source, line in means.items()
        for t, m in zip(TRAINED, line, strict=True)
    ]


def write(rows: list[dict[str, Any]], path: Path) -> Path:
    # Shuffled: nothing may depend on the order of rows within a line.
    pd.DataFrame(rows).sample(frac=1, random_state=0).to_csv(path, index=False)
    return path


# --- Figure 6


def test_lines_and_levels(tmp_path: Path) -> None:
    [panel] = cleaning_panels(write(accuracy_rows(), tmp_path / "a.csv"))
    assert panel.title == "digits, RAND-FGSM"
    assert panel.levels == pytest.approx({"Clean images": 0.96, "Attacked, not cleaned": 0.2})
    assert list(panel.lines) == ["25 cleaning steps", "400 cleaning steps"]
    line = panel.lines["400 cleaning steps"].sort_values("training_steps")
    assert line["training_steps"].tolist() == list(TRAINED)
    assert line["accuracy"].tolist() == pytest.approx([k / N for k in CLEANED[400]])


def test_figure6_has_a_line_for_each_and_two_levels(
    tmp_path: Path, record_figures: Callable
) -> None:
    kept = record_figures(roc)
    rows = accuracy_rows("digits") + accuracy_rows("svhn")
    accuracy_lines(
        cleaning_panels(write(rows, tmp_path / "a.csv")), tmp_path / "a.png", tmp_path / "a.pdf"
    )
    assert len(kept[0].axes) == 2
    for axis in kept[0].axes:
        drawn = [container.lines[0] for container in axis.containers]
        for line, correct in zip(drawn, CLEANED.values(), strict=True):
            assert line.get_ydata() == pytest.approx(np.array(correct) / N)
            assert np.abs(np.log(line.get_xdata() / np.array(TRAINED))).max() < 0.2
        level = {line.get_linestyle(): line.get_ydata() for line in axis.lines[-2:]}
        assert level["-"] == pytest.approx([0.96] * 2) and level["--"] == pytest.approx([0.2] * 2)
    assert [text.get_text() for text in kept[0].legends[0].get_texts()] == [
        *("25 cleaning steps", "400 cleaning steps", "Clean images", "Attacked, not cleaned"),
    ]
    assert imread(tmp_path / "a.png").shape[1] == 7.0 * 300


def test_broken_accuracies_are_refused(tmp_path: Path) -> None:
    rows = accuracy_rows()
    for wrong, message in (
        (rows[1:], r"a\.csv: no row of digits, attack 'none', without training_steps"),
        ([rows[0], *rows[2:]], "no row of digits, attack 'rand_fgsm', without"),
        (rows[:2], "no rows with training_steps"),
        ([*rows, rows[-1]], "two rows of .*'training_steps': 2000, 'cleaning_steps': 400"),
        ([rows[0], rows[0], *rows[1:]], "two rows of"),
        ([{k: v for k, v in row.items() if k != "n"} for row in rows], "missing columns: n"),
    ):
        with pytest.raises(ValueError, match=message):
            cleaning_panels(write(wrong, tmp_path / "a.csv"))
    with pytest.raises(FileNotFoundError):
        cleaning_panels(tmp_path / "none.csv")
    rows[0]["accuracy"] = 1.2
    panels = cleaning_panels(write(rows, tmp_path / "a.csv"))
    with pytest.raises(ValueError, match=r"digits, RAND-FGSM, Clean images: 1\.2 is no accuracy"):
        accuracy_lines(panels, tmp_path / "a.png", tmp_path / "a.pdf")


# --- Figure 7


def test_figure7_shows_means_and_quartiles(tmp_path: Path, record_figures: Callable) -> None:
    kept = record_figures(training_steps)
    rows = read_mean_scores(write(score_rows("digits") + score_rows("svhn"), tmp_path / "s.csv"))
    mean_score_curves(rows, tmp_path / "s.png", tmp_path / "s.pdf")
    assert sorted(axis.get_title() for axis in kept[0].axes) == ["digits, FGSM", "svhn, FGSM"]
    for axis in kept[0].axes:
        real, attacked = axis.lines
        assert real.get_xdata().tolist() == list(TRAINED)
        assert real.get_ydata().tolist() == [0.55, 0.6, 0.7, 0.8]
        assert attacked.get_ydata().tolist() == [0.5, 0.4, 0.3, 0.1]
        red, _, blue = to_rgb(real.get_color())
        assert red > blue, "real is orange"
        red, _, blue = to_rgb(attacked.get_color())
        assert red < blue, "adversarial is blue"
        heights = axis.collections[0].get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx((0.45, 0.9))
    mean_score_curves(rows[rows["dataset"] == "svhn"], tmp_path / "1.png", tmp_path / "1.pdf")
    assert imread(tmp_path / "1.png").shape[1] == 3.35 * 300


def test_broken_scores_are_refused(tmp_path: Path) -> None:
    rows, path = score_rows(), tmp_path / "s.csv"
    for changes, message in (
        ({"source": "fake"}, r"s\.csv: source \['fake'\]: expected real or attack"),
        ({"training_steps": 0}, "training_steps must be positive"),
        ({"mean": 1.5}, r"scores in \[0, 1\]"),
        ({"q25": ""}, r"scores in \[0, 1\]"),
        ({"q25": 0.9, "q75": 0.8}, "q25 <= q75"),
        ({"training_steps": 500}, "two rows of"),
    ):
        with pytest.raises(ValueError, match=message):
            read_mean_scores(write([rows[0] | changes, *rows[1:]], path))
    with pytest.raises(ValueError, match="must be positive, got"):
        pd.DataFrame(columns=list(SCORE_COLUMNS)).to_csv(path, index=False)
        read_mean_scores(path)
    three = [row for name in "abc" for row in score_rows(name)]
    with pytest.raises(ValueError, match="1 or 2 pairs of data set and attack"):
        mean_score_curves(
            read_mean_scores(write(three, path)), tmp_path / "p.png", tmp_path / "p.pdf"
        )
