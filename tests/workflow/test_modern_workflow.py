"""The page of later purifiers with its figures, and the study of t*, in the workflow."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Workflow, rows, shared_run

from purification.evaluation.protocol_points import LINES
from purification.models.diffusion import deviation_at
from purification.storage import read_image_set

FOLDER = "results/digits/seed0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    return shared_run(tmp_path_factory, "modern", "modern", "results/modern_time.md")


def test_each_attack_has_a_column_by_each_protocol(made: Workflow) -> None:
    results = made.folder / "results"
    found = {(row["defense"], row["protocol"]): row for row in rows(results / "modern.csv")}
    drawn = [("one_step", name) for name in ("one_shot", "evaluations", "fixed")]
    assert found.keys() == {("none", ""), ("jpeg", ""), ("magnet", ""), *drawn}
    for name, row in found.items():
        # Dear ones are attacked on fewer images, and the row says so.
        assert row["n"] == ("4" if name[0] == "one_step" else "5")
        boxes = {box: row[box] for box in ("gray_box", "white_box_bpda", "white_box")}
        if name[0] in ("magnet", "one_step"):
            # BPDA on a known draw is not asked of those.
            there = {box for box, left in boxes.items() if left}
            assert there == {*boxes} - ({"white_box_bpda"} if name[1] == "fixed" else set()), name
            if name[1] in ("", "fixed"):
                assert float(row["accuracy"]) <= min(float(boxes[box]) for box in there)
    refused = found["jpeg", ""]["white_box_attacks"].split("; ")
    assert len(refused) == 4 and all(attack.endswith(" refused") for attack in refused)
    fresh = read_image_set(made.folder / f"{FOLDER}/adaptive/modern_few/one_step/D.h5")
    right = fresh.fields["stage_predictions"] == fresh.labels[:, None, None]
    shown = [found["one_step", "one_shot"][box] for box in ("white_box", "white_box_bpda")]
    left = [right[:, :, k].mean() for k in range(4)]
    # Of two losses the better one, then BPDA, then the gray box.
    assert list(map(float, shown)) == pytest.approx([min(left[:2]), left[2]])
    page = (results / "modern.md").read_text()
    assert "- **digits, classifier D, all of 5 draws, n 4**: no other defense keeps more" in page
    assert "| passes of a purification | ms of it |" in page


def test_the_figures_have_the_points_of_the_sets(made: Workflow) -> None:
    figures = made.folder / "results/figures"
    for name in ("evaluations", "costs", "draws", "pictures"):
        for end in ("png", "pdf", "csv"):
            assert (figures / f"modern_{name}.{end}").stat().st_size > 0
    points = rows(figures / "modern_evaluations.csv")
    assert {row["line"] for row in points} == {*LINES}
    known = read_image_set(made.folder / f"{FOLDER}/adaptive_fixed/modern_few/one_step/D.h5")
    moved = (known.fields["fresh_predictions"] == known.labels[:, None]).all(axis=1).mean()
    (own,) = (r for r in points if r["line"] == LINES[2] and r["evaluations"] == "5")
    assert float(own["accuracy"]) == moved
    draws = rows(figures / "modern_draws.csv")
    assert [row["expectation"] for row in draws] == ["1", "1", "2", "2", "3", "3"]
    costs = {(row["defense"], row["panel"]): row for row in rows(figures / "modern_costs.csv")}
    assert len(costs) == 8 and costs["none", "One evaluation"]["ms"] == ""
    assert float(costs["one_step", "All evaluations"]["passes"]) == 1


def test_all_clean_the_same_images(made: Workflow) -> None:
    """The first of each class, and for the gray box those that the attack made of them."""
    path = made.folder / f"{FOLDER}/cleaned/D/modern_pgd.h5"
    attacked = read_image_set(made.folder / f"{FOLDER}/adversarial/plain/D/modern_pgd.h5")
    chosen = [int(np.flatnonzero(attacked.labels == k)[0]) for k in range(3)]
    given = read_image_set(path, group="attacked")
    assert np.array_equal(given.images, attacked.images[chosen])
    shown = rows(made.folder / "results/figures/modern_pictures.csv")
    assert [row["row"] for row in shown[::3]] == ["clean", "attacked", "jpeg", "one_step", "magnet"]
    for name in ("jpeg", "one_step", "magnet"):
        own = read_image_set(path, group=f"purified {name}")
        named = [int(row["prediction"]) for row in shown if row["row"] == name]
        assert own.fields["predictions"].tolist() == named


def test_the_study_of_the_noise_is_on_validation_images(made: Workflow, tmp_path: Path) -> None:
    table = rows(made.folder / "results/modern_time.csv")
    assert [(row["time"], row["is_default"]) for row in table] == [
        ("0.1", "False"),
        ("0.3", "True"),
    ]
    for row in table:
        expected = deviation_at(round(1000 * float(row["time"])))
        assert float(row["deviation"]) == pytest.approx(expected, rel=1e-4)
    assert (
        "| **0.3** (the config's) | 0.260 |" in (made.folder / "results/modern_time.md").read_text()
    )
    there = made.folder / f"{FOLDER}/adaptive/modern_time"
    assert sorted(path.name for path in there.iterdir()) == ["one_step", "one_step@t0.1"]
    workflow = made.copy(tmp_path / "workflow")
    workflow.config["modern_time"] = {**workflow.config["modern_time"], "times": [0.1, 0.2, 0.3]}
    assert workflow.stale("results/modern_time.md").rules == {
        "attack_adaptively": 1,
        "time_study": 1,
    }
