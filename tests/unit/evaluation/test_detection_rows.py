"""Detectors measured from files: thresholds, pairs and intervals; their table and ROC panels."""

import copy
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from purification.evaluation import detection_rows as module
from purification.evaluation.detection import auc, bootstrap_interval, true_positive_rate_at
from purification.evaluation.detection_rows import (
    COLUMNS,
    detection_rows,
    paired_auc_interval,
    read_scores,
)
from purification.reporting.csv_files import write_numbers
from purification.reporting.detection import (
    POINT_COLUMNS,
    attach_paper_auc,
    detection_table,
    roc_figure,
    write_detection,
)
from purification.reporting.papers import paper_values
from purification.reporting.roc import roc_panels
from purification.storage import ImageSet, write_image_set, write_image_sets

HELD_OUT = 150
LABELS = {
    **{"dataset": "fmnist", "seed": 0, "classifier": "F", "attack": "fgsm", "epsilon": 0.3},
    **{"threat_model": "black_box", "defense": "defense_gan"},
    **{"iterations_L": 100, "restarts_R": 10},
}
Score = Callable[[str, np.ndarray], np.ndarray]


def image_set(scores: np.ndarray, first: int = 0, **fields: np.ndarray) -> ImageSet:
    """Blank images with these scores; the label of a row says which test image it is of."""
    labels = np.arange(first, first + len(scores), dtype=np.int64) % 7
    images = np.zeros((len(scores), 1, 2, 2), np.float32)
    return ImageSet(images, labels, {"score": scores.astype(np.float32), **fields})


def write_job(folder: Path, score: Score, *, pairs: int = 40, **labels: Any) -> dict[str, Any]:
    """A job on a sweep's files: 120 validation images, 200 test images, `pairs` attacked ones."""
    sets = {
        "validation": image_set(score("validation", np.arange(120))),
        "clean": image_set(score("clean", np.arange(200))),
        "attacked": image_set(score("attacked", HELD_OUT + np.arange(pairs)), HELD_OUT),
    }
    job: dict[str, Any] = {"labels": LABELS | labels}
    for name, held in sets.items():
        path = folder / f"{name}.h5"
        other = image_set(np.full(len(held.labels), 99.0))
        write_image_sets(path, {"L100_R10": held, "L25_R1": other}, {"kind": "test"})
        job[name] = {"images": str(path), "group": "L100_R10"}
    job["clean"]["hold_out"] = True
    return job


def noise(kind: str, rows: np.ndarray) -> np.ndarray:
    seed = ("validation", "clean", "attacked").index(kind)
    return np.random.default_rng(seed).normal(seed == 2, 1, 1000)[rows]


def perfect(kind: str, rows: np.ndarray) -> np.ndarray:
    return rows / 1000 + (kind == "attacked")


def useless(kind: str, rows: np.ndarray) -> np.ndarray:
    return np.ones(len(rows))


# Reading


def test_rows_are_paired_with_the_test_images_that_the_attacker_lacks(tmp_path: Path) -> None:
    job = write_job(tmp_path, lambda kind, rows: rows * (2.0 if kind == "attacked" else 1.0))
    scores = read_scores(job)
    assert scores.clean.tolist() == list(range(HELD_OUT, HELD_OUT + 40))
    assert scores.attacked.tolist() == (2 * scores.clean).tolist()
    assert scores.validation.tolist() == list(range(120))


def test_files_of_a_single_set_are_read_without_hold_out(tmp_path: Path) -> None:
    job = write_job(tmp_path, noise)
    for kind, n in (("clean", 30), ("attacked", 50)):
        path = tmp_path / f"single_{kind}.h5"
        write_image_set(path, image_set(np.arange(n) * 1.0), {"kind": "test"})
        job[kind] = {"images": str(path), "group": None}
    scores = read_scores(job)
    assert scores.clean.tolist() == scores.attacked.tolist() == list(range(30))


def test_sets_of_other_images_are_refused(tmp_path: Path) -> None:
    job = write_job(tmp_path, noise)
    job["clean"]["hold_out"] = False
    with pytest.raises(ValueError, match=r"attacked\.h5 L100_R10: .*clean\.h5.* of 40 rows differ"):
        read_scores(job)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": "nowhere.h5"}, FileNotFoundError, "nowhere.h5: no such file"),
        ({"group": "L9_R9"}, ValueError, r"attacked\.h5: .*'L9_R9/score'"),
    ],
)
def test_missing_files_and_groups_are_named(
    tmp_path: Path, change: dict, error: type[Exception], message: str
) -> None:
    job = write_job(tmp_path, noise)
    job["attacked"] |= change
    with pytest.raises(error, match=message):
        detection_rows([job], seed=0, repeats=2)


def test_scores_that_are_no_numbers_an_image_are_refused(tmp_path: Path) -> None:
    job = write_job(tmp_path, noise)
    path = tmp_path / "wide.h5"
    held = image_set(np.zeros(40), HELD_OUT)
    held.fields["score"] = np.zeros((40, 2), np.float32)
    write_image_set(path, held, {"kind": "test"})
    job["attacked"] = {"images": str(path), "group": None}
    with pytest.raises(ValueError, match=r"wide\.h5: expected scores .* \(40, 2\)"):
        read_scores(job)


def test_no_image_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = write_job(tmp_path, noise)
    read = []

    def note(path: Any, name: str, **keywords: Any) -> np.ndarray:
        read.append(name)
        return original(path, name, **keywords)

    original = module.read_field
    monkeypatch.setattr(module, "read_field", note)
    read_scores(job)
    assert sorted(set(read)) == ["labels", "score"]


# Rows


def test_a_row_says_what_the_scores_say(tmp_path: Path) -> None:
    job = write_job(tmp_path, noise)
    [row] = detection_rows([job], seed=5, repeats=200)
    assert tuple(row) == COLUMNS
    scores = read_scores(job)
    pair = (scores.clean, scores.attacked)
    assert row["auc"] == auc(*pair)
    interval = bootstrap_interval(auc, pair, repeats=200, seed=5)
    assert (row["auc_low"], row["auc_high"]) == pytest.approx(interval)
    assert row["auc_low"] < row["auc"] < row["auc_high"]
    assert (row["n_validation"], row["n"]) == (120, 40)
    for name, rate in (("1pct", 0.01), ("5pct", 0.05)):
        point = true_positive_rate_at(scores.validation, scores.attacked, scores.clean, rate)
        assert tuple(row[f"{k}_{name}"] for k in ("threshold", "tpr", "fpr")) == point
        assert np.mean(scores.validation > row[f"threshold_{name}"]) <= rate
        assert row[f"tpr_low_{name}"] <= row[f"tpr_{name}"] <= row[f"tpr_high_{name}"]
    assert row["tpr_low_5pct"] < row["tpr_high_5pct"]
    assert row["threshold_5pct"] < row["threshold_1pct"]


def test_no_test_image_moves_a_threshold(tmp_path: Path) -> None:
    def other(kind: str, rows: np.ndarray) -> np.ndarray:
        return noise(kind, rows) + (0 if kind == "validation" else rows / 10)

    def moved(kind: str, rows: np.ndarray) -> np.ndarray:
        return noise(kind, rows) + (kind == "validation")

    rows = [
        detection_rows([write_job(tmp_path / str(i), score)], seed=0, repeats=2)[0]
        for i, score in enumerate((noise, other, moved))
    ]
    for name in ("threshold_1pct", "threshold_5pct"):
        assert rows[0][name] == rows[1][name] != rows[2][name]
    assert rows[0]["auc"] != rows[1]["auc"]
    assert rows[0]["auc"] == rows[2]["auc"], "validation images have no say in the area"


def test_a_perfect_and_a_useless_detector(tmp_path: Path) -> None:
    jobs = [write_job(tmp_path / score.__name__, score) for score in (perfect, useless)]
    best, worst = detection_rows(jobs, seed=0, repeats=50)
    assert [best[name] for name in ("auc", "auc_low", "auc_high", "tpr_1pct")] == [1, 1, 1, 1]
    assert [worst[name] for name in ("auc", "auc_low", "auc_high")] == [0.5, 0.5, 0.5]
    assert worst["tpr_5pct"] == worst["fpr_5pct"] == 0


def test_pairing_narrows_the_interval(tmp_path: Path) -> None:
    """An attack that adds the same to every score: pairs go up and down together."""
    clean = np.random.default_rng(0).normal(size=400)
    attacked = clean + 1
    low, high = paired_auc_interval(clean, attacked, repeats=300, seed=0)
    apart = bootstrap_interval(auc, clean, attacked, repeats=60, seed=0)
    assert high - low < 0.7 * (apart[1] - apart[0])


few = st.integers(-3, 3).map(lambda k: k / 4)


@settings(max_examples=15, deadline=None)  # the first call loads scikit-learn
@given(st.lists(st.tuples(few, few), min_size=1, max_size=12), st.integers(0, 2**40))
def test_quick_interval_is_that_of_the_area_on_the_same_resamples(
    pairs: list[tuple[float, float]], seed: int
) -> None:
    clean, attacked = np.array(pairs).T
    # One resample: the interval is the area of just that one.
    for repeats in (1, 5):
        quick = paired_auc_interval(clean, attacked, repeats=repeats, seed=seed)
        slow = bootstrap_interval(auc, (clean, attacked), repeats=repeats, seed=seed)
        assert quick == pytest.approx(slow, abs=1e-12)


def test_same_seed_same_rows_and_another_seed_other_intervals(tmp_path: Path) -> None:
    job = write_job(tmp_path, noise)
    [one], [two], [other] = (detection_rows([job], seed=s, repeats=50) for s in (1, 1, 2))
    assert one == two
    assert one["auc"] == other["auc"]
    assert one["auc_low"] != other["auc_low"]


def test_labels_that_lack_a_column_are_refused(tmp_path: Path) -> None:
    job = write_job(tmp_path, noise)
    del job["labels"]["defense"]
    with pytest.raises(ValueError, match="lack defense"):
        detection_rows([job], seed=0, repeats=2)


# Table


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(**changes: Any) -> dict[str, Any]:
    numbers = {name: 0.123456789 for name in COLUMNS if name not in LABELS}
    return LABELS | numbers | {"n": 350, "n_validation": 147} | changes


@pytest.fixture
def figure5() -> pd.DataFrame:
    return paper_values("defense_gan", "Figure 5", REPOSITORY / "resources/papers")


def test_table_is_sorted_and_has_the_papers_areas(tmp_path: Path, figure5: pd.DataFrame) -> None:
    files = [
        write_rows(
            tmp_path / "b.csv", [row(restarts_R=r, seed=s) for r in (10, 2) for s in (1, 0)]
        ),
        write_rows(
            tmp_path / "a.csv",
            [row(dataset="digits"), row(defense="magnet", iterations_L=None, restarts_R=None)],
        ),
    ]
    table = detection_table(files, figure5)
    assert table["dataset"].tolist() == ["fmnist"] * 5 + ["digits"]
    assert table["restarts_R"].tolist()[:5] == [2, 2, 10, 10, pd.NA]
    assert table["seed"].tolist()[:4] == [0, 1, 0, 1]
    assert table["paper_auc"].fillna(0).tolist() == [0.876, 0.876, 0.965, 0.965, 0, 0]
    write_detection(table, tmp_path / "out/detection.csv")
    lines = (tmp_path / "out/detection.csv").read_text().splitlines()
    assert lines[0] == ",".join((*COLUMNS, "paper_auc"))
    assert lines[1].startswith("fmnist,0,F,fgsm,0.3,black_box,defense_gan,100,2,147,350,0.1235,")
    assert lines[1].endswith(",0.8760")
    assert ",0.123457," in lines[1], "thresholds need more digits: errors are small"
    assert ",magnet,,,147,350," in lines[5]
    write_detection(table, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text().splitlines() == lines


@pytest.mark.parametrize(
    "changes",
    [
        *({"dataset": "mnist"}, {"epsilon": 0.2}, {"iterations_L": 200}, {"restarts_R": 3}),
        *({"threat_model": "white_box"}, {"classifier": "A"}, {"defense": "magnet"}),
        {"attack": "rand_fgsm"},
    ],
)
def test_papers_area_stands_beside_nothing_else(changes: dict, figure5: pd.DataFrame) -> None:
    rows = pd.DataFrame([row(), row(**changes)])
    found = attach_paper_auc(rows, figure5)["paper_auc"]
    assert found.tolist()[0] == 0.965
    assert np.isnan(found.tolist()[1])


def test_contradicting_papers_are_refused(figure5: pd.DataFrame) -> None:
    twice = pd.concat([figure5, figure5.assign(value=0.1)])
    with pytest.raises(ValueError, match="several areas"):
        attach_paper_auc(pd.DataFrame([row()]), twice)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row()], "two rows for one detector"),
        ([row(auc="high")], r"d\.csv"),
    ],
)
def test_broken_row_files_are_refused(tmp_path: Path, rows: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detection_table([write_rows(tmp_path / "d.csv", rows)])


def test_no_files_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no detection files"):
        detection_table([])
    with pytest.raises(FileNotFoundError):
        detection_table([tmp_path / "none.csv"])


# ROC panels


def relabelled(job: dict[str, Any], **labels: Any) -> dict[str, Any]:
    return copy.deepcopy(job) | {"labels": job["labels"] | labels}


@pytest.mark.slow
def test_panels_of_the_figure_and_their_points(tmp_path: Path, figure5: pd.DataFrame) -> None:
    job, best = (write_job(tmp_path / s.__name__, s) for s in (noise, perfect))
    panels, points = roc_figure(
        [
            ("restarts_R", [relabelled(best, restarts_R=20), relabelled(job, restarts_R=1)]),
            ("epsilon", [relabelled(job, epsilon=0.3), relabelled(job, epsilon=0.1, attack="f1")]),
        ],
        figure5,
    )
    assert [panel.title for panel in panels] == ["L = 100, ε = 0.3", "L = 100, R = 10"]
    labels = [[curve.label for curve in panel.curves] for panel in panels]
    assert labels == [["R = 1", "R = 20"], ["ε = 0.1", "ε = 0.3"]]
    areas = [[curve.paper_auc for curve in panel.curves] for panel in panels]
    assert areas == [[0.794, None], [None, 0.965]]
    assert tuple(points) == POINT_COLUMNS
    assert points["panel"].unique().tolist() == ["restarts_R", "epsilon"]
    [first] = points.query("panel == 'restarts_R' and restarts_R == 1")["auc"].unique()
    scores = read_scores(job)
    assert first == auc(scores.clean, scores.attacked)
    perfect_points = points[points["restarts_R"] == 20]
    assert np.isinf(perfect_points["threshold"].iloc[0])
    for point in points[np.isfinite(points["threshold"])].itertuples():
        held = read_scores(best if point.restarts_R == 20 else job)
        assert point.false_positive_rate == np.mean(held.clean >= point.threshold)
        assert point.true_positive_rate == np.mean(held.attacked >= point.threshold)
    write_numbers(points, tmp_path / "points.csv")
    again = pd.read_csv(tmp_path / "points.csv")
    pd.testing.assert_frame_equal(again, points, rtol=1e-5, check_dtype=False)
    roc_panels(panels, tmp_path / "roc.png", tmp_path / "roc.pdf")
    assert (tmp_path / "roc.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("varied", "changes", "message"),
    [
        ("restarts_R", [{"seed": 0}, {"seed": 1}], r"restarts_R \[10, 10\] and different \['seed'"),
        ("restarts_R", [{}, {"restarts_R": 2, "epsilon": 0.1}], "different .*epsilon"),
        ("restarts_R", [{}, {"restarts_R": None}], "one curve for each value"),
        ("restarts_R", [], "0 curves"),
        ("defense", [{}], "a panel is over one of iterations_L"),
    ],
)
def test_what_is_no_panel_is_refused(
    tmp_path: Path, varied: str, changes: list[dict], message: str
) -> None:
    job = write_job(tmp_path, noise)
    with pytest.raises(ValueError, match=message):
        roc_figure([(varied, [relabelled(job, **change) for change in changes])])
    with pytest.raises(ValueError, match="no panels"):
        roc_figure([])
