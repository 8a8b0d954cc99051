"""ROC, operating points and bootstrap intervals: known answers, and what must always hold."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purification.evaluation.detection import (
    adversarial_threshold,
    auc,
    bootstrap_interval,
    roc_curve,
    true_positive_rate_at,
)

# Few different values, so that ties are common.
scores = st.lists(st.integers(-20, 20).map(lambda k: k / 8), min_size=1, max_size=30)
rates = st.floats(0, 0.999)


def share_of_pairs(clean: list[float], attacked: list[float]) -> float:
    """The Mann-Whitney statistic: the AUC without any curve."""
    clean, attacked = np.array(clean)[:, None], np.array(attacked)
    return float((attacked > clean).mean() + (attacked == clean).mean() / 2)


# ROC


def test_roc_of_a_worked_example() -> None:
    # Descending: attacked 4, clean 3, attacked 2 and 2 with clean 2, clean 1.
    false_positive, true_positive, thresholds = roc_curve([3, 2, 1], [4, 2, 2])
    np.testing.assert_allclose(false_positive, [0, 0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(true_positive, [0, 1 / 3, 1 / 3, 1, 1])
    np.testing.assert_allclose(thresholds, [np.inf, 4, 3, 2, 1])
    assert auc([3, 2, 1], [4, 2, 2]) == pytest.approx((3 + 1.5 + 1.5) / 9)


@pytest.mark.parametrize(
    ("clean", "attacked", "expected"),
    [([0, 1], [2, 3], 1.0), ([2, 3], [0, 1], 0.0), ([1, 1], [1, 1], 0.5), ([0, 2], [1], 0.5)],
)
def test_auc_of_scores_that_tell_all_or_nothing(
    clean: list[float], attacked: list[float], expected: float
) -> None:
    assert auc(clean, attacked) == expected


@settings(deadline=None)  # the first call loads scikit-learn
@given(scores, scores)
def test_roc_rises_from_nothing_to_all_and_says_what_each_threshold_flags(
    clean: list[float], attacked: list[float]
) -> None:
    false_positive, true_positive, thresholds = roc_curve(clean, attacked)
    assert (false_positive[0], true_positive[0]) == (0, 0)
    assert (false_positive[-1], true_positive[-1]) == (1, 1)
    assert (np.diff(false_positive) >= 0).all()
    assert (np.diff(true_positive) >= 0).all()
    for x, y, threshold in zip(false_positive, true_positive, thresholds, strict=True):
        assert x == pytest.approx(np.mean(np.array(clean) >= threshold))
        assert y == pytest.approx(np.mean(np.array(attacked) >= threshold))


@settings(deadline=None)  # the first call loads scikit-learn
@given(scores, scores)
def test_auc_is_the_area_the_share_of_pairs_and_blind_to_any_rising_transform(
    clean: list[float], attacked: list[float]
) -> None:
    area = auc(clean, attacked)
    false_positive, true_positive, _ = roc_curve(clean, attacked)
    assert area == pytest.approx(np.trapezoid(true_positive, false_positive))
    assert area == pytest.approx(share_of_pairs(clean, attacked))
    assert area == pytest.approx(1 - auc(attacked, clean))
    assert area == pytest.approx(auc(np.exp(clean), np.exp(attacked)))


# Operating points


def test_operating_point_of_a_worked_example() -> None:
    validation = np.arange(1, 101) / 100  # 0.01 .. 1.00
    attacked, clean = [0.94, 0.95, 0.96, 2.0], [0.5, 0.951, 0.2, 3.0, 0.95]
    threshold, found, achieved = true_positive_rate_at(validation, attacked, clean, 0.05)
    assert threshold == 0.95  # 0.96 .. 1.00 are above it, 5 of 100
    assert found == 2 / 4  # 0.95 itself is not above
    assert achieved == 2 / 5


@pytest.mark.parametrize(("rate", "flagged"), [(0, 0), (0.009, 0), (0.01, 1), (0.29, 29)])
def test_threshold_flags_exactly_the_wanted_share_of_validation(rate: float, flagged: int) -> None:
    validation = np.random.default_rng(0).permutation(100)
    threshold, _, _ = true_positive_rate_at(validation, [0], [0], rate)
    assert (validation > threshold).sum() == flagged


@settings(deadline=None)  # the first call loads scikit-learn
@given(scores, scores, scores, rates)
def test_threshold_keeps_to_the_wanted_rate_and_is_the_lowest_that_does(
    validation: list[float], attacked: list[float], clean: list[float], rate: float
) -> None:
    threshold, found, achieved = true_positive_rate_at(validation, attacked, clean, rate)
    given_scores = np.array(validation)
    assert np.mean(given_scores > threshold) <= rate + 1e-9
    lower = given_scores[given_scores < threshold]
    if len(lower):
        assert np.mean(given_scores > lower.max()) > rate
    assert found == np.mean(np.array(attacked) > threshold)
    assert achieved == np.mean(np.array(clean) > threshold)


@settings(deadline=None)  # the first call loads scikit-learn
@given(scores, scores, scores, scores, rates)
def test_no_test_image_moves_the_threshold(
    validation: list[float],
    attacked: list[float],
    clean: list[float],
    other: list[float],
    rate: float,
) -> None:
    threshold, _, _ = true_positive_rate_at(validation, attacked, clean, rate)
    assert true_positive_rate_at(validation, other, [x + 9 for x in other], rate)[0] == threshold


@settings(deadline=None)  # the first call loads scikit-learn
@given(scores, scores, scores, rates, rates)
def test_more_false_positives_never_find_less(
    validation: list[float], attacked: list[float], clean: list[float], one: float, two: float
) -> None:
    low, high = (
        true_positive_rate_at(validation, attacked, clean, rate) for rate in sorted((one, two))
    )
    assert low[0] >= high[0]
    assert low[1] <= high[1]
    assert low[2] <= high[2]


def test_achieved_rate_is_near_the_wanted_one_for_fresh_images_of_the_same_kind() -> None:
    random = np.random.default_rng(0)
    validation, clean = random.exponential(size=(2, 20_000))
    _, _, achieved = true_positive_rate_at(validation, clean + 1, clean, 0.05)
    assert achieved == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("rate", [-0.1, 1, float("nan")])
def test_a_rate_that_no_threshold_has_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        true_positive_rate_at([1], [1], [1], rate)


@pytest.mark.parametrize("function", [roc_curve, auc])
@pytest.mark.parametrize(
    ("clean", "attacked", "message"),
    [
        ([], [1], r"clean scores: expected .* got shape \(0,\)"),
        ([1], [], r"attacked scores: expected .* got shape \(0,\)"),
        ([1], [[1, 2]], r"attacked scores: expected .* got shape \(1, 2\)"),
        ([1, np.nan], [1], "clean scores: 1 values are not finite"),
        ([1], [np.inf], "attacked scores: 1 values are not finite"),
    ],
)
def test_what_are_no_scores_is_refused(
    function: Callable[..., object], clean: list, attacked: list, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        function(clean, attacked)


def test_the_refusal_says_which_of_three_scores_is_wrong() -> None:
    for i, name in enumerate(("clean validation", "attacked", "clean test")):
        arguments = [[1.0], [1.0], [1.0]]
        arguments[i] = []
        with pytest.raises(ValueError, match=f"^{name} scores"):
            true_positive_rate_at(*arguments, 0.05)


# Bootstrap


def test_interval_of_a_mean_is_the_normal_one() -> None:
    sample = np.random.default_rng(0).normal(size=2000)
    for confidence, z in ((0.95, 1.96), (0.8, 1.2816)):
        low, high = bootstrap_interval(np.mean, sample, repeats=2000, seed=1, confidence=confidence)
        half = z * sample.std() / np.sqrt(len(sample))
        assert (low, high) == pytest.approx((sample.mean() - half, sample.mean() + half), abs=0.006)


@pytest.mark.slow
def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for i in range(200):
        # AUC of N(1, 1) against N(0, 1), independent: Phi(1 / sqrt 2) = 0.7602.
        clean, attacked = random.normal(size=60), random.normal(loc=1, size=60)
        low, high = bootstrap_interval(share_of_pairs, clean, attacked, repeats=200, seed=i)
        hits += low <= 0.7602 <= high
    assert 0.90 <= hits / 200 <= 0.99


def difference_of_means(one: np.ndarray, two: np.ndarray) -> float:
    return float(two.mean() - one.mean())


def test_paired_arrays_are_resampled_by_the_same_images_and_others_are_not() -> None:
    sample = np.random.default_rng(0).normal(size=400)
    paired = bootstrap_interval(difference_of_means, (sample, sample + 1), repeats=200, seed=0)
    assert paired == pytest.approx((1, 1), abs=1e-12)
    low, high = bootstrap_interval(difference_of_means, sample, sample + 1, repeats=500, seed=0)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(2 / 400), rel=0.15)


def test_a_pair_and_a_sample_of_its_own_reach_the_statistic_in_order() -> None:
    validation, attacked, clean = np.arange(3), np.arange(10, 15), np.arange(20, 25)

    def check(v: np.ndarray, a: np.ndarray, c: np.ndarray) -> float:
        assert set(v) <= set(validation)
        assert len(v) == 3
        np.testing.assert_array_equal(a + 10, c)
        return float(len(set(a)))

    low, high = bootstrap_interval(check, validation, (attacked, clean), repeats=50, seed=0)
    assert 1 <= low < high < 5, "drawn with replacement"


def test_same_seed_same_interval() -> None:
    sample = np.random.default_rng(0).normal(size=50)
    one, two, other = (
        bootstrap_interval(np.mean, sample, repeats=100, seed=seed) for seed in (4, 4, 5)
    )
    assert one == two != other


@settings(max_examples=30, deadline=None)
@given(scores, st.integers(0, 2**40), st.floats(0.1, 0.95))
def test_interval_lies_within_what_resamples_can_give_and_grows_with_confidence(
    sample: list[float], seed: int, confidence: float
) -> None:
    def interval(confidence: float) -> tuple[float, float]:
        return bootstrap_interval(np.max, sample, repeats=20, seed=seed, confidence=confidence)

    low, high = interval(confidence)
    assert min(sample) <= low <= high <= max(sample)
    wide_low, wide_high = interval((1 + confidence) / 2)
    assert wide_low <= low
    assert high <= wide_high


@pytest.mark.parametrize(
    ("samples", "changes", "message"),
    [
        ([], {}, r"one or more samples .* got shapes \[\]"),
        ([[]], {}, "one or more images"),
        ([[1.0], 3.0], {}, "one or more images"),
        ([()], {}, "one or more images"),
        ([([1, 2], [1, 2, 3])], {}, r"equal lengths, got shapes \[\(2,\), \(3,\)\]"),
        ([[1.0]], {"repeats": 0}, "repeats >= 1"),
        ([[1.0]], {"confidence": 1}, "confidence in"),
        ([[1.0]], {"confidence": 0}, "confidence in"),
        ([[1.0, np.nan]], {}, r"not finite in \d+ of 10 resamples"),
    ],
)
def test_what_cannot_be_resampled_is_refused(samples: list, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(
            lambda *s: np.mean(s[0]), *samples, **{"repeats": 10, "seed": 0} | changes
        )


# Cowboy's threshold


def test_adversarial_threshold_is_the_power_mean() -> None:
    scores = [0.2, 0.4, 0.9]
    assert adversarial_threshold(scores, 0.5) == pytest.approx(0.5)
    assert adversarial_threshold(scores, 0.5, 2) == pytest.approx(((0.04 + 0.16 + 0.81) / 3) ** 0.5)
    assert adversarial_threshold(scores, 0.5, 1000) == pytest.approx(0.9, rel=2e-3)
    assert adversarial_threshold([1e-200, 3e-200], 0.5, 3) == pytest.approx(14 ** (1 / 3) * 1e-200)
    assert adversarial_threshold([0.0, 0.0], 0.5, 2) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(1, 50), st.floats(1, 50))
def test_adversarial_threshold_rises_with_the_exponent(
    scores: list[float], one: float, other: float
) -> None:
    low, high = (adversarial_threshold(scores, 1, p) for p in sorted([one, other]))
    assert np.mean(scores) - 1e-9 <= low <= high + 1e-9 <= max(scores) + 2e-9


def test_adversarial_threshold_wants_an_attack_that_costs_20_points() -> None:
    assert adversarial_threshold([0.5], 0.97 - 0.77) == 0.5
    for drop in (0.199, -0.5, float("nan")):
        with pytest.raises(ValueError, match=r"costs at least 0\.2 of accuracy"):
            adversarial_threshold([0.5], drop)
    for exponent in (0.5, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="exponent of at least 1"):
            adversarial_threshold([0.5], 0.5, exponent)
    for scores in ([1.5], [-3.0], [], [float("nan")]):
        with pytest.raises(ValueError, match="discriminator's scores"):
            adversarial_threshold(scores, 0.5)
