"""The figures of the sweeps: what is drawn, that it fits and can be read in grey."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from purification.reporting import roc
from purification.reporting.roc import (
    AccuracyPanel,
    RocCurve,
    RocPanel,
    accuracy_lines,
    roc_panels,
)

STEPS = (25, 50, 100, 200, 400, 800, 1600)


@pytest.fixture
def drawn(record_figures: Callable) -> list[Any]:
    return record_figures(roc)


def curve(label: str, bend: float, paper_auc: float | None = None) -> RocCurve:
    x = np.linspace(0, 1, 50)
    return RocCurve(label, x, x**bend, 1 / (1 + bend), paper_auc)


def roc_panel(curves: int = 7) -> RocPanel:
    return RocPanel("R = 10", [curve(f"L = {s}", 25 / s) for s in STEPS[:curves]])


def accuracies(**columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"iterations_L": STEPS, "accuracy": np.linspace(0.5, 0.9, 7)})
    frame["ci_low"], frame["ci_high"] = frame["accuracy"] - 0.04, frame["accuracy"] + 0.02
    return frame.assign(**columns)


def accuracy_panel(**lines: pd.DataFrame) -> AccuracyPanel:
    lines = lines or {name: accuracies() for name in ("Rec", "Orig", "Rec, FGSM", "Orig, FGSM")}
    return AccuracyPanel("R = 10", "iterations_L", "Steps L", lines)


def overhang(figure: Any) -> float:
    """By how many inches something of the figure lies outside the page."""
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    return max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)


def legend_texts(legend: Any) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


# ROC


def test_roc_panels_draw_each_curve_with_its_area(tmp_path: Path, drawn: list[Any]) -> None:
    second = RocPanel("L = 100", [curve("R = 1", 1.0, 0.794), curve("R = 20", 0.25)])
    roc_panels([roc_panel(), second], tmp_path / "r.png", tmp_path / "r.pdf")
    axes = drawn[0].axes
    assert [axis.get_title() for axis in axes] == ["R = 10", "L = 100"]
    assert legend_texts(axes[1].get_legend()) == ["R = 1: 0.500 (0.794)", "R = 20: 0.800"]
    assert axes[1].get_legend().get_title().get_text() == "AUC (the paper's)"
    assert axes[0].get_legend().get_title().get_text() == "AUC"
    _, *lines = axes[0].get_lines()
    for line, given in zip(lines, roc_panel().curves, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), given.false_positive_rate)
        np.testing.assert_array_equal(line.get_ydata(), given.true_positive_rate)
    assert [axis.get_xlabel() for axis in axes] == ["False positive rate"] * 2
    assert axes[0].get_ylabel() == "True positive rate"


@pytest.mark.slow
@pytest.mark.parametrize(("panels", "curves"), [(1, 8), (2, 1), (3, 7), (3, 8)])
def test_roc_panels_fit_the_page_and_are_square(
    tmp_path: Path, drawn: list[Any], panels: int, curves: int
) -> None:
    shown = RocPanel("t", [curve(f"L = {i}", 1.0, 0.5) for i in range(1600, 1600 + curves)])
    roc_panels([shown] * panels, tmp_path / "r.png", tmp_path / "r.pdf")
    [figure] = drawn
    assert overhang(figure) <= 0
    for axis in figure.axes:
        box = axis.get_window_extent()
        assert box.width == pytest.approx(box.height)
        assert box.width >= 1.8 * figure.dpi
        under = axis.xaxis.get_tightbbox().y0
        assert axis.get_legend().get_window_extent().y1 <= under + 1, "the legend hides the axis"


def test_curves_are_told_apart_without_colour(tmp_path: Path, drawn: list[Any]) -> None:
    roc_panels([roc_panel()], tmp_path / "r.png", tmp_path / "r.pdf")
    _, *lines = drawn[0].axes[0].get_lines()
    dashes = {str(line._unscaled_dash_pattern) for line in lines}
    assert len(dashes) == len(lines) == 7
    luminance = [np.dot(line.get_color()[:3], (0.299, 0.587, 0.114)) for line in lines]
    assert (np.diff(luminance) < -0.03).all(), "from light to dark"
    assert luminance[0] < 0.75, "a curve that is lost on white"


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ([], "1 to 3 panels, got 0"),
        ([roc_panel()] * 4, "1 to 3 panels, got 4"),
        ([RocPanel("empty", [])], "1 to 8 curves in 'empty', got 0"),
        ([RocPanel("full", [curve("a", 1)] * 9)], "1 to 8 curves in 'full', got 9"),
        ([RocPanel("t", [RocCurve("a", np.ones(3), np.ones(2), 1)])], "a: expected two rates"),
        ([RocPanel("t", [RocCurve("a", np.zeros(0), np.zeros(0), 1)])], "a: expected two rates"),
        ([RocPanel("t", [RocCurve("a", np.r_[0, np.nan, 1], np.r_[0, 1, 1], 1)])], "a: expected"),
        ([RocPanel("t", [RocCurve("a", np.r_[0, 1, 1], np.r_[1, 1, 0], 1)])], "a: expected"),
    ],
)
def test_what_is_no_roc_is_refused(tmp_path: Path, panels: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        roc_panels(panels, tmp_path / "r.png", tmp_path / "r.pdf")
    assert list(tmp_path.iterdir()) == []


# Accuracy


def bars(axis: Any) -> list[Any]:
    """The (marker line, caps, (bar lines,)) of each series, ours and the paper's."""
    return list(axis.containers)


def test_accuracy_lines_draw_values_and_intervals(tmp_path: Path, drawn: list[Any]) -> None:
    rows = accuracies().sample(frac=1, random_state=0)
    accuracy_lines([accuracy_panel(Rec=rows)], tmp_path / "a.png", tmp_path / "a.pdf")
    [axis] = drawn[0].axes
    line, _, (intervals,) = bars(axis)[0]
    np.testing.assert_allclose(line.get_ydata(orig=False), accuracies()["accuracy"])
    np.testing.assert_allclose(line.get_xdata(orig=False), STEPS, rtol=0.2)
    ends = np.array([segment[:, 1] for segment in intervals.get_segments()])
    np.testing.assert_allclose(ends, accuracies()[["ci_low", "ci_high"]])
    assert axis.get_xscale() == "log"
    assert [tick.get_text() for tick in axis.get_xticklabels()] == [str(s) for s in STEPS]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("Steps L", "Accuracy")
    assert legend_texts(drawn[0].legends[0]) == ["Rec"], "no paper, no entry for it"


def test_papers_values_stand_beside_ours_where_they_are_printed(
    tmp_path: Path, drawn: list[Any]
) -> None:
    printed = [0.8, None, 0.9, None, None, None, None]
    rows = accuracies(paper_value=printed, paper_std=[0.01, None, None, *[None] * 4])
    without_std = accuracies(paper_value=printed)
    panel = accuracy_panel(Rec=rows, Orig=without_std, Clean=accuracies(paper_value=np.nan))
    accuracy_lines([panel], tmp_path / "a.png", tmp_path / "a.pdf")
    [axis] = drawn[0].axes
    ours, paper, other, other_paper, clean = (found[0] for found in bars(axis))
    np.testing.assert_allclose(paper.get_ydata(orig=False), [0.8, 0.9])
    np.testing.assert_allclose(other_paper.get_ydata(orig=False), [0.8, 0.9])
    intervals = bars(axis)[1][2][0].get_segments()
    np.testing.assert_allclose([s[:, 1] for s in intervals], [[0.79, 0.81], [0.9, 0.9]])
    assert paper.get_marker() == ours.get_marker() != other.get_marker() != clean.get_marker()
    assert paper.get_markerfacecolor() == "white" != ours.get_markerfacecolor()
    assert paper.get_linestyle() == "None"
    places = [line.get_xdata()[0] for line in (ours, paper, other, other_paper, clean)]
    assert len(set(places)) == 5
    assert all(25 / 1.25 < place < 25 * 1.25 for place in places)
    assert legend_texts(drawn[0].legends[0]) == ["Rec", "Orig", "Clean", "hollow: the paper's"]


def test_a_line_looks_the_same_in_both_panels(tmp_path: Path, drawn: list[Any]) -> None:
    first = accuracy_panel(Rec=accuracies(), Orig=accuracies())
    second = accuracy_panel(New=accuracies(), Orig=accuracies())
    accuracy_lines([first, second], tmp_path / "a.png", tmp_path / "a.pdf")
    left, right = ([found[0] for found in bars(axis)] for axis in drawn[0].axes)
    looks = [
        (line.get_marker(), line.get_color(), str(line._unscaled_dash_pattern))
        for line in (*left, *right)
    ]
    rec, orig, again, new = looks  # drawn in the order of the legend
    assert orig == again
    for i in range(3):
        assert len({look[i] for look in (rec, orig, new)}) == 3
    assert legend_texts(drawn[0].legends[0]) == ["Rec", "Orig", "New"]


@pytest.mark.parametrize("panels", [1, 2])
def test_accuracy_lines_fit_the_page(tmp_path: Path, drawn: list[Any], panels: int) -> None:
    names = ("Rec, no attack", "Orig, no attack", "Rec, FGSM 0.3", "Orig, FGSM 0.3")
    panel = accuracy_panel(**{name: accuracies(paper_value=0.5) for name in names})
    accuracy_lines([panel] * panels, tmp_path / "a.png", tmp_path / "a.pdf")
    [figure] = drawn
    assert overhang(figure) <= 0
    assert all(axis.get_window_extent().height > 1.2 * figure.dpi for axis in figure.axes)
    inside = figure.legends[0].get_window_extent()
    assert inside.x0 >= 0
    assert inside.x1 <= figure.get_size_inches()[0] * figure.dpi


def test_a_single_setting_can_be_drawn(tmp_path: Path, drawn: list[Any]) -> None:
    one = accuracies().head(1)
    accuracy_lines([accuracy_panel(Rec=one)], tmp_path / "a.png", tmp_path / "a.pdf")
    assert bars(drawn[0].axes[0])[0][0].get_ydata() == [0.5]


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ([], "1 to 2 panels, got 0"),
        ([accuracy_panel()] * 3, "1 to 2 panels, got 3"),
        ([AccuracyPanel("t", "L", "L", {})], "1 to 8 lines, got 0"),
        ([accuracy_panel(), AccuracyPanel("t", "L", "L", {})], "1 to 8 lines in 't', got 0"),
        ([accuracy_panel(**{str(i): accuracies() for i in range(9)})], "1 to 8 lines, got 9"),
        ([accuracy_panel(a=accuracies().drop(columns="ci_low"))], r"R = 10, a: .*\['ci_low'\]"),
        ([accuracy_panel(a=accuracies().head(0))], "R = 10, a: 0 rows"),
        ([accuracy_panel(a=accuracies(iterations_L=0))], "iterations_L must be positive"),
        ([accuracy_panel(a=accuracies(ci_low=0.95))], "ci_low <= accuracy"),
        ([accuracy_panel(a=accuracies(accuracy=np.nan))], "ci_low <= accuracy"),
        ([accuracy_panel(a=accuracies(ci_high=1.1))], "ci_high <= 1"),
    ],
)
def test_what_are_no_accuracies_is_refused(tmp_path: Path, panels: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        accuracy_lines(panels, tmp_path / "a.png", tmp_path / "a.pdf")
    assert list(tmp_path.iterdir()) == []


# Files


@pytest.mark.slow
def test_both_files_are_written_and_the_same_again(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        roc_panels([roc_panel()] * 3, tmp_path / folder / "r.png", tmp_path / folder / "r.pdf")
        accuracy_lines([accuracy_panel()], tmp_path / folder / "a.png", tmp_path / folder / "a.pdf")
    for name in ("r.png", "r.pdf", "a.png", "a.pdf"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    written = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert written == ["a.pdf", "a.png", "r.pdf", "r.png"]
    from matplotlib.image import imread

    assert imread(tmp_path / "one/r.png").shape[1] == 7.0 * 300
    assert imread(tmp_path / "one/a.png").shape[1] == round(3.35 * 300)
    pdf = (tmp_path / "one/r.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_neither_file_is_touched_if_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    png, pdf = tmp_path / "r.png", tmp_path / "r.pdf"
    png.write_text("older")
    write = Figure.savefig

    def full_disk(figure: Figure, path: Path, **settings: Any) -> None:
        if settings["format"] == "pdf":
            raise OSError("no space left")
        write(figure, path, **settings)

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space"):
        roc_panels([roc_panel()], png, pdf)
    assert [path.name for path in tmp_path.iterdir()] == ["r.png"]
    assert png.read_text() == "older"


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png or \.pdf, not .*r\.svg"):
        roc_panels([roc_panel()], tmp_path / "r.png", tmp_path / "r.svg")
    assert list(tmp_path.iterdir()) == []
