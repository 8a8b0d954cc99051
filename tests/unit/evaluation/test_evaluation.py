"""Wilson's interval against published and computed numbers, and its properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from purification.evaluation.accuracy import wilson_interval


# Newcombe 1998, "Two-sided confidence intervals for the single proportion", Statistics in Medicine
# 17, table I, method 3 (score method without continuity correction), 95 %.
@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_equals_newcombes_table(
    correct: int, n: int, low: float, high: float
) -> None:
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("correct", "n"), [(0, 1), (1, 1), (10, 20), (347, 360), (9850, 10000)])
def test_wilson_interval_equals_scipys(correct: int, n: int, confidence: float) -> None:
    oracle = binomtest(correct, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(correct, n, confidence) == pytest.approx(tuple(oracle), abs=1e-9)


counts = st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
confidences = st.floats(0.01, 0.999)


@given(counts, confidences)
def test_wilson_interval_contains_the_proportion_within_zero_and_one(
    count: tuple[int, int], confidence: float
) -> None:
    correct, n = count
    low, high = wilson_interval(correct, n, confidence)
    assert 0 <= low <= correct / n <= high <= 1
    assert low < high


@given(counts, st.integers(2, 100), confidences)
def test_wilson_interval_shrinks_with_n_and_grows_with_confidence(
    count: tuple[int, int], factor: int, confidence: float
) -> None:
    def width(correct: int, n: int, confidence: float) -> float:
        low, high = wilson_interval(correct, n, confidence)
        return high - low

    correct, n = count
    assert width(factor * correct, factor * n, confidence) < width(correct, n, confidence)
    assert width(correct, n, confidence) < width(correct, n, confidence + (1 - confidence) / 2)


@given(counts)
def test_wilson_interval_of_errors_mirrors_that_of_successes(count: tuple[int, int]) -> None:
    correct, n = count
    low, high = wilson_interval(correct, n)
    assert wilson_interval(n - correct, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(
    ("correct", "n", "confidence"),
    [(0, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0), (1, 5, 1)],
)
def test_wilson_interval_refuses_what_is_no_proportion(
    correct: int, n: int, confidence: float
) -> None:
    with pytest.raises(ValueError, match="expected"):
        wilson_interval(correct, n, confidence)
