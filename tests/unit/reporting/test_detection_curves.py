"""Detection by AE-GAN+rs's indicators: computed scores, the numbers of a figure, its panels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY

from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.detection import auc, error_rates, threshold_at
from purification.evaluation.detection_rows import indicator_scores, read_scores
from purification.reporting import detection_curves as module
from purification.reporting.csv_files import write_numbers
from purification.reporting.detection_curves import (
    COLUMNS,
    detection_curves,
    detection_figure,
)
from purification.reporting.papers import paper_values
from purification.storage import ImageSet, write_dataset, write_image_set, write_image_sets

LABELS = {
    **{"dataset": "mnist", "seed": 0, "classifier": "A", "attack": "fgsm"},
    **{"threat_model": "gray_box", "defense": "ae_gan", "iterations_L": None, "restarts_R": None},
}
N = {"validation": 40, "test": 60}
STRENGTHS = (0.05, 0.1, 0.2)


def errors_of(split: str) -> np.ndarray:
    """How far the purified form of each clean image is from it, everywhere."""
    return np.linspace(0.02, 0.1, N[split], dtype=np.float32)


def flat(values: np.ndarray) -> np.ndarray:
    return np.broadcast_to(values[:, None, None, None], (len(values), 1, 4, 4)).copy()


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """A data set of grey images, their purified forms, and sets attacked at three strengths: the
    error of an attacked image is that of its clean one and the strength."""
    data = str(tmp_path / "data.h5")
    labels = {split: np.arange(n) % 7 for split, n in N.items()}
    splits = {
        split: (np.full((n, 1, 4, 4), 0.5, np.float32), labels[split]) for split, n in N.items()
    }
    write_dataset(data, splits, {})
    sources = {}
    for split in N:
        path = str(tmp_path / f"{split}.h5")
        purified = ImageSet(flat(0.5 + errors_of(split)), labels[split])
        write_image_set(path, purified, {})
        sources[split] = {"images": path, "group": None, "dataset": data, "split": split}
    jobs = []
    for strength in STRENGTHS:
        adversarial = flat(np.full(N["test"], 0.5, np.float32))
        fields = {"adversarial": adversarial, "predictions": labels["test"].copy()}
        fields["predictions"][: int(200 * strength)] = 9  # of the weakest errors: wrong
        purified = flat(0.5 + errors_of("test") + np.float32(strength))
        path = tmp_path / f"attacked{strength}.h5"
        write_image_sets(path, {"gray_box": ImageSet(purified, labels["test"], fields)}, {})
        attacked = {"images": str(path), "group": "gray_box"}
        given = {"validation": sources["validation"], "clean": sources["test"]}
        job = {name: dict(source) for name, source in {**given, "attacked": attacked}.items()}
        jobs.append({"labels": LABELS | {"epsilon": strength}} | job)
    return with_indicator(
        {
            **{"jobs": jobs, "false_positive_rate": 0.05, "paper_threshold": 0.06},
            **{"accuracy": True, "seed": 0, "repeats": 30},
        },
        "l1",
    )


def with_indicator(content: dict[str, Any], indicator: str) -> dict[str, Any]:
    for job in content["jobs"]:
        for name in ("validation", "clean", "attacked"):
            job[name]["indicator"] = indicator
    return content | {"indicator": indicator}


# Scores


def test_indicators_are_mean_square_and_mean_absolute_error(content: dict[str, Any]) -> None:
    for indicator, power in (("l1", 1), ("mse", 2)):
        job = with_indicator(content, indicator)["jobs"][1]
        scores = read_scores(job)
        for found, errors in (
            (scores.validation, errors_of("validation")),
            (scores.clean, errors_of("test")),
            (scores.attacked, errors_of("test") + 0.1),
        ):
            np.testing.assert_allclose(found, errors**power, rtol=1e-5)


def test_computed_scores_are_those_that_the_purifier_saves(tmp_path: Path) -> None:
    import torch

    from purification.models.ae_gan import AEGAN
    from purification.purifiers.ae_gan import INDICATORS, EncoderSearch
    from purification.randomness import isolated_rng

    images = np.random.default_rng(0).random((5, 1, 28, 28), np.float32)
    with isolated_rng(0):
        network = AEGAN(3, 2, (1, 28, 28))
    for indicator in INDICATORS:
        purifier = EncoderSearch(network.encoder, network.generator, None, indicator=indicator)
        with torch.no_grad():
            purified = purifier(torch.from_numpy(images))
            score = purifier.score_purified(torch.from_numpy(images), purified)
        held = ImageSet(purified.numpy(), np.zeros(5, np.int64), {"adversarial": images})
        write_image_set(tmp_path / "set.h5", held, {})
        source = {"images": tmp_path / "set.h5", "group": None, "indicator": indicator}
        np.testing.assert_array_equal(indicator_scores(source)[0], score.numpy())


def test_sources_that_cannot_be_scored_are_refused(content: dict[str, Any]) -> None:
    clean, attacked = (content["jobs"][0][name] for name in ("clean", "attacked"))
    with pytest.raises(ValueError, match="indicator 'l2': expected one of mse, l1"):
        indicator_scores(clean | {"indicator": "l2"})
    with pytest.raises(ValueError, match=r"test\.h5: no field 'adversarial'"):
        indicator_scores(clean | {"dataset": None})
    with pytest.raises(ValueError, match=r"test\.h5: expected to be made from .*validation row"):
        indicator_scores(clean | {"split": "validation"})
    with pytest.raises(ValueError, match=r"data\.h5: expected an image set"):
        indicator_scores(attacked | {"images": clean["dataset"]})


def test_error_rates_are_shares_of_missed_and_of_clean_images() -> None:
    missed, alarms = error_rates([1, 2, 3, 4], [3, 5], [0, 2, 3, 4, 9])
    assert missed.tolist() == [0, 0, 0.5, 0.5, 1]
    assert alarms.tolist() == [1, 0.5, 0.25, 0, 0]


# The figure's numbers


def test_numbers_at_the_thresholds(content: dict[str, Any]) -> None:
    _, table = detection_figure(content)
    assert list(table) == list(COLUMNS)
    threshold = threshold_at(errors_of("validation"), 0.05)
    test = errors_of("test")
    rows = table.set_index(["measure", "epsilon", "threshold_from"])["value"]
    assert set(table.loc[table["threshold_from"] == "paper", "threshold"]) == {0.06}
    for strength in STRENGTHS:
        found = test + strength > threshold
        right = np.arange(N["test"]) >= int(200 * strength)
        assert rows["detected", strength, "validation"] == pytest.approx(found.mean())
        assert rows["fnr", strength, "validation"] == pytest.approx(1 - found.mean())
        assert rows["correct", strength, "validation"] == pytest.approx(right.mean())
        either = rows["detected_or_correct", strength, "validation"]
        assert either == pytest.approx((found | right).mean())
        paper = rows["fnr", strength, "paper"]
        assert paper == pytest.approx((test + strength <= 0.06).mean())
    # 10 of 60 images are wrong at 0.05, and it is the weakest errors' that are not detected.
    assert rows["detected_or_correct", 0.05, "validation"] < 1
    alarms = table[table["measure"] == "fpr"].set_index("threshold_from")
    at = alarms.loc[["validation", "paper"]]
    assert at["value"].tolist() == pytest.approx([(test > t).mean() for t in at["threshold"]])
    assert at["ci_low"].iloc[1] == wilson_interval(int((test > 0.06).sum()), 60)[0]
    assert (alarms["attack"] == "none").all()
    assert alarms["epsilon"].isna().all()


def test_areas_have_intervals_and_the_papers_beside_at_equal_settings(
    content: dict[str, Any],
) -> None:
    papers = paper_values("ae_gan", "Figure 6", REPOSITORY / "resources/papers")
    figure, table = detection_figure(content, papers)
    areas = table[table["measure"] == "auc"].set_index("epsilon")
    for strength in STRENGTHS:
        row = areas.loc[strength]
        assert row["value"] == auc(errors_of("test"), errors_of("test") + np.float32(strength))
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
    assert areas["paper_value"].notna().tolist() == [False, False, True]
    assert areas.loc[0.2, "paper_value"] == 1
    assert [curve.paper_auc for curve in figure.roc.curves] == [None, None, 1]
    for job in content["jobs"]:
        job["labels"]["dataset"] = "digits"
    assert detection_figure(content, papers)[1]["paper_value"].isna().all()


def test_curves_are_the_rates_over_the_threshold(content: dict[str, Any], tmp_path: Path) -> None:
    figure, table = detection_figure(content)
    write_numbers(table, tmp_path / "points.csv")
    read = pd.read_csv(tmp_path / "points.csv")
    grid = read[read["threshold_from"] == "grid"]
    for strength, name in zip(STRENGTHS, figure.rates.missed, strict=True):
        curve = grid[(grid["measure"] == "fnr") & (grid["epsilon"] == strength)]
        np.testing.assert_allclose(curve["value"], figure.rates.missed[name], rtol=1e-5)
        assert (np.diff(curve["value"]) >= 0).all()
    alarms = grid[grid["measure"] == "fpr"]["value"]
    assert alarms.iloc[0] == 1
    assert alarms.iloc[-1] == 0


def test_jobs_with_other_clean_images_are_refused(content: dict[str, Any]) -> None:
    job = content["jobs"][0]
    job["validation"] = job["clean"]
    with pytest.raises(ValueError, match="the same validation images for every strength"):
        detection_figure(content)


# The picture


@pytest.mark.parametrize("accuracy", [True, False])
def test_panels_and_legends(
    content: dict[str, Any], accuracy: bool, tmp_path: Path, record_figures: Callable
) -> None:
    drawn = record_figures(module)
    figure, _ = detection_figure(content | {"accuracy": accuracy})
    detection_curves(figure, tmp_path / "d.png", tmp_path / "d.pdf")
    assert (tmp_path / "d.pdf").stat().st_size > 1000
    [page] = drawn
    assert len(page.axes) == (3 if accuracy else 2)
    legends = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in page.axes]
    assert legends[0][0].startswith("ε = 0.05: ")
    assert legends[1] == [
        *(f"FNR, ε = {strength:g}" for strength in STRENGTHS),
        *("FPR", "η: 5 % FPR, validation images", "η = 0.06, the paper's"),
    ]
    for roc_line, rate_line in zip(page.axes[0].lines[1:], page.axes[1].lines[:3], strict=True):
        assert np.array_equal(roc_line.get_color(), rate_line.get_color())
    if accuracy:
        assert legends[2][2].startswith("Either (least: 0.")
        assert legends[2][2].endswith("ε = 0.05)")
    box = page.get_tightbbox()
    width, height = page.get_size_inches()
    assert max(-box.x0, -box.y0, box.x1 - width, box.y1 - height) < 0.01
