"""Paired comparison of two classifiers: by hand, against published numbers, and at the edges."""

from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pytest

from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.mcnemar import (
    COLUMNS,
    PairedCounts,
    comparison_rows,
    exact_p_value,
    mcnemar_row,
    paired_counts,
    paired_interval,
)
from purification.storage import ImageSet, write_image_sets


def test_counts_of_pairs() -> None:
    first = np.array([1, 1, 1, 0, 0, 0, 1, 0, 0, 0], bool)
    second = np.array([1, 1, 0, 1, 1, 1, 1, 0, 0, 1], bool)
    assert paired_counts(first, second) == PairedCounts(3, 1, 4, 2)
    assert paired_counts(second, first) == PairedCounts(3, 4, 1, 2)


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 5, 1.0),
        (1, 4, 2 * (1 + 5) / 2**5),  # 0.375
        (6, 0, 2 / 2**6),  # 0.03125: the first uneven enough split for 5 %
        (2, 10, 2 * (1 + 12 + 66) / 2**12),
        (400, 300, 2 * sum(comb(700, k) for k in range(301)) / 2**700),
    ],
)
def test_exact_p_value_is_the_binomial_tail(
    only_first: int, only_second: int, expected: float
) -> None:
    counts = PairedCounts(70, only_first, only_second, 20)
    assert exact_p_value(counts) == pytest.approx(expected, rel=1e-9)
    swapped = PairedCounts(70, only_second, only_first, 20)
    assert exact_p_value(swapped) == pytest.approx(expected, rel=1e-9)


def test_interval_equals_published_numbers() -> None:
    """Complete response before and after consolidation therapy: Fagerland, Lydersen and Laake,
    "Statistical Analysis of Contingency Tables" (2017), chapter 8, and its R package's tests."""
    counts = PairedCounts(59, 6, 16, 80)
    assert counts.difference == pytest.approx(-0.0621, abs=5e-5)
    assert paired_interval(counts) == pytest.approx((-0.1186, -0.0046), abs=5e-5)


def test_interval_by_hand() -> None:
    # 8 of 10 and 5 of 10: e = 5, f = 3, g = 0, h = 2; eh - fg = 10, less n / 2 = 5.
    (low1, high1), (low2, high2) = wilson_interval(8, 10), wilson_interval(5, 10)
    phi = 5 / (8 * 2 * 5 * 5) ** 0.5
    below = (0.8 - low1) ** 2 - 2 * phi * (0.8 - low1) * (high2 - 0.5) + (high2 - 0.5) ** 2
    above = (high1 - 0.8) ** 2 - 2 * phi * (high1 - 0.8) * (0.5 - low2) + (0.5 - low2) ** 2
    low, high = paired_interval(PairedCounts(5, 3, 0, 2))
    assert (low, high) == pytest.approx((0.3 - below**0.5, 0.3 + above**0.5), rel=1e-12)


def test_interval_is_ordered_and_antisymmetric() -> None:
    for counts in product((0, 1, 7, 500), repeat=4):
        if not sum(counts):
            continue
        both, first, second, neither = counts
        pair = PairedCounts(*counts)
        low, high = paired_interval(pair)
        assert -1 <= low <= pair.difference <= high <= 1, counts
        swapped = paired_interval(PairedCounts(both, second, first, neither))
        assert swapped == pytest.approx((-high, -low), abs=1e-12)


def test_interval_covers_the_true_difference() -> None:
    random = np.random.default_rng(0)
    shares = (0.6, 0.08, 0.04, 0.28)
    drawn = random.multinomial(300, shares, size=2000)
    intervals = [paired_interval(PairedCounts(*counts)) for counts in drawn.tolist()]
    covered = [low <= 0.04 <= high for low, high in intervals]
    assert 0.935 <= np.mean(covered) <= 0.98


def test_equal_accuracies_with_and_without_discordant_images() -> None:
    """Pairs decide: the same two accuracies, and so the same Wilson intervals, in both."""
    agreeing = paired_interval(PairedCounts(80, 0, 0, 20))
    crossing = paired_interval(PairedCounts(65, 15, 15, 5))
    assert agreeing[1] < 0.03 < 0.09 < crossing[1]


def test_row() -> None:
    first, second = np.array([1, 1, 0, 1], bool), np.array([0, 1, 0, 0], bool)
    row = mcnemar_row(first, second, {"attack": "fgsm", "first": "cowboy"})
    assert list(row) == ["attack", "first", *COLUMNS]
    assert {name: row[name] for name in COLUMNS[:8]} == {
        **{"n": 4, "both": 1, "only_first": 2, "only_second": 0, "neither": 1},
        **{"accuracy_first": 0.75, "accuracy_second": 0.25, "difference": 0.5},
    }
    assert row["p_value"] == 0.5
    assert (row["difference_low"], row["difference_high"]) == paired_interval(
        PairedCounts(1, 2, 0, 1)
    )


def test_what_is_no_pair_is_refused() -> None:
    yes = np.ones(3, bool)
    for first, second in ((yes, yes[:2]), (yes, yes.astype(int)), (yes[None], yes[None])):
        with pytest.raises(ValueError, match=r"expected two boolean arrays \(N,\)"):
            paired_counts(first, second)
    with pytest.raises(ValueError, match="at least one image"):
        paired_counts(yes[:0], yes[:0])
    with pytest.raises(ValueError, match="none negative"):
        PairedCounts(5, -1, 2, 3)
    with pytest.raises(ValueError, match=r"\['n'\] are names of computed columns"):
        mcnemar_row(yes, yes, {"n": 3})
    with pytest.raises(ValueError, match="confidence"):
        paired_interval(PairedCounts(1, 1, 1, 1), 1.0)


def attacked_set(path: Path, labels: list[int], predictions: list[int]) -> dict[str, str]:
    """A file whose gray box has these predictions, and whose white box has all wrong."""
    truth, images = np.array(labels), np.zeros((len(labels), 1, 2, 2), np.float32)
    sets = {
        "gray_box": ImageSet(images, truth, {"predictions": np.array(predictions)}),
        "white_box": ImageSet(images, truth, {"predictions": truth + 1}),
    }
    write_image_sets(path, sets, {})
    return {"images": str(path), "group": "gray_box"}


def test_rows_are_counted_from_the_predictions_of_two_files(tmp_path: Path) -> None:
    labels = [0, 1, 2, 3, 4, 5]
    first = attacked_set(tmp_path / "a.h5", labels, [0, 1, 2, 9, 9, 9])
    second = attacked_set(tmp_path / "b.h5", labels, [0, 9, 9, 3, 9, 9])
    named = {"dataset": "digits", "first": "cowboy", "second": "without"}
    pair = {"labels": named, "first": first, "second": second}
    row, other = comparison_rows([pair, pair | {"second": second | {"group": "white_box"}}])
    assert list(row) == [*named, *COLUMNS]
    found = [row[name] for name in ("n", "both", "only_first", "only_second", "neither")]
    assert found == [6, 1, 2, 1, 2] and row["difference"] == pytest.approx(1 / 6)
    assert row["p_value"] == exact_p_value(PairedCounts(1, 2, 1, 2))
    assert other["accuracy_second"] == 0


def test_files_of_other_images_are_no_pair(tmp_path: Path) -> None:
    first = attacked_set(tmp_path / "a.h5", [0, 1], [0, 1])
    for labels in ([0, 2], [0]):
        second = attacked_set(tmp_path / "b.h5", labels, labels)
        with pytest.raises(ValueError, match=r"a\.h5 and .*b\.h5: expected the same images"):
            comparison_rows([{"labels": {}, "first": first, "second": second}])
    with pytest.raises(FileNotFoundError):
        gone = first | {"images": str(tmp_path / "none.h5")}
        comparison_rows([{"labels": {}, "first": first, "second": gone}])
