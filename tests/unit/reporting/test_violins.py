"""Figure 3 of Cowboy: the summary of the scores by hand, and what the picture shows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from purification.reporting import violins
from purification.reporting.csv_files import write_numbers
from purification.reporting.violins import (
    SUMMARY_COLUMNS,
    score_summary,
    score_violins,
)

ATTACKS = ("fgsm", "rand_fgsm", "pgd", "bim", "mim", "vam")


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Attacked images first: the figure has the real ones first all the same."""
    random = np.random.default_rng(0)
    parts = []
    for place, source in enumerate((*ATTACKS, "real")):
        for dataset, slope in (("digits", 0.3), ("svhn", 0.8)):
            logits = random.normal(2 - slope * (5 - place) * (source != "real"), 1.5, 80)
            score = 1 / (1 + np.exp(-logits))
            parts.append(pd.DataFrame({"dataset": dataset, "source": source, "score": score}))
    return pd.concat(parts, ignore_index=True)


def test_summary_by_hand(tmp_path: Path) -> None:
    real, attacked = [0.5, 0.7, 0.8, 0.9, 1.0], [0.1, 0.2, 0.8, 0.9, 2e-7]
    scores = pd.DataFrame(
        {"dataset": "digits", "source": ["real"] * 5 + ["fgsm"] * 5, "score": real + attacked}
    )
    summary = score_summary(scores)
    assert list(summary.columns) == list(SUMMARY_COLUMNS)
    first, second = summary.to_dict("records")
    assert (first["source"], first["n"], first["median"]) == ("real", 5, 0.8)
    assert (first["q25"], first["q75"], first["min"], first["max"]) == (0.7, 0.9, 0.5, 1.0)
    assert first["mean"] == pytest.approx(0.78)
    assert first["below_real_median"] == 0.4
    assert second["below_real_median"] == 0.6 and second["median"] == 0.2
    write_numbers(summary, tmp_path / "s.csv")
    written = pd.read_csv(tmp_path / "s.csv")
    assert written["min"].tolist() == [0.5, 2e-7]


def test_real_images_of_each_data_set_are_the_measure(scores: pd.DataFrame) -> None:
    summary = score_summary(scores).set_index(["dataset", "source"])
    for dataset in ("digits", "svhn"):
        here = scores[scores["dataset"] == dataset].groupby("source")["score"]
        middle = here.get_group("real").median()
        below = (here.get_group("bim") < middle).mean()
        assert summary.loc[(dataset, "bim"), "below_real_median"] == below


def test_picture(scores: pd.DataFrame, tmp_path: Path, record_figures: Callable) -> None:
    kept = record_figures(violins)
    score_violins(scores, tmp_path / "v.png", tmp_path / "v.pdf")
    summary = score_summary(scores).set_index(["dataset", "source"])
    panels = kept[0].axes
    assert [axis.get_title() for axis in panels] == ["digits", "svhn"]
    for axis in panels:
        labels = [label.get_text().split("\n") for label in axis.get_xticklabels()]
        order = ["real", *ATTACKS]
        assert [name for name, _, _ in labels] == [
            *("real", "FGSM", "RAND-FGSM", "PGD", "BIM", "MIM", "VAM"),
        ]
        assert {n for _, n, _ in labels} == {"n=80"}
        medians = [float(median) for _, _, median in labels]
        expected = [summary.loc[(axis.get_title(), source), "median"] for source in order]
        assert medians == pytest.approx(expected, rel=0.06)
        bodies = [body.get_paths()[0].vertices[:, 1] for body in axis.collections]
        assert len(bodies) == len(order)
        for source, body in zip(order, bodies, strict=True):
            row = summary.loc[(axis.get_title(), source)]
            assert (body.min(), body.max()) == pytest.approx((row["min"], row["max"]))
        faces = [tuple(body.get_facecolor()[0]) for body in axis.collections]
        assert faces[0] not in faces[1:] and len(set(faces)) == 2
    assert imread(tmp_path / "v.png").shape[1] == 7.0 * 300
    assert (tmp_path / "v.pdf").read_bytes().startswith(b"%PDF")


def test_one_and_four_data_sets(scores: pd.DataFrame, tmp_path: Path) -> None:
    one = scores[(scores["dataset"] == "digits") & scores["source"].isin(["real", "fgsm"])]
    score_violins(one, tmp_path / "one.png", tmp_path / "one.pdf")
    assert imread(tmp_path / "one.png").shape[1] == 3.35 * 300
    many = pd.concat([one.assign(dataset=str(number)) for number in range(5)])
    four = many[many["dataset"] != "4"]
    score_violins(four, tmp_path / "four.png", tmp_path / "four.pdf")
    with pytest.raises(ValueError, match="1 to 4 data sets, got 0, 1, 2, 3, 4"):
        score_violins(many, tmp_path / "many.png", tmp_path / "many.pdf")
    assert not (tmp_path / "many.png").exists()


def test_wrong_scores_are_refused(scores: pd.DataFrame) -> None:
    for wrong, message in (
        (scores.drop(columns="score"), r"missing columns \['score'\]"),
        (scores[:0], "0 rows"),
        (scores.assign(score=scores["score"] * 3 - 1), r"in \[0, 1\]"),
        (scores.assign(score=scores["score"].where(scores.index > 3)), r"in \[0, 1\]"),
        (
            scores[(scores["source"] != "real") | (scores["dataset"] != "svhn")],
            "no scores of source 'real' of svhn",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            score_summary(wrong)
