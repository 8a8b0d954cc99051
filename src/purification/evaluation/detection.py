"""Detecting attacked images by a score: ROC, operating points, and their bootstrap intervals.

Higher scores are more suspect. Source: Defense-GAN, section 4.1.3: an image is flagged when its
reconstruction error is above a threshold (equation 9); ROC from the test images and their attacked
versions. The paper does not say where a threshold would come from: here, from clean validation
images alone. scikit-learn is imported inside the functions: it takes longer to load than most jobs'
own work.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from purification.randomness import generator

LEAST_DROP = 0.2  # of accuracy, by the attack from whose images `adversarial_threshold` is made


def roc_curve(clean_scores: Any, attacked_scores: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ROC of telling attacked images from clean ones by a threshold on their scores.

    Args:
        clean_scores, attacked_scores: (N,) and (M,) finite numbers.

    Returns:
        (false_positive_rate, true_positive_rate, thresholds), each (K,) float64: the shares of
        clean and of attacked images with a score of at least the threshold, from (0, 0), whose
        threshold is infinite, to (1, 1). Points on a straight line between others are left out.

    Raises ValueError: scores of another shape, none, or one that is not finite.
    """
    from sklearn.metrics import roc_curve

    return roc_curve(*_labelled(clean_scores, attacked_scores))


def auc(clean_scores: Any, attacked_scores: Any) -> float:
    """The area under `roc_curve`, in [0, 1], 0.5 for scores that tell nothing.

    It is the share of (clean, attacked) pairs in which the attacked image has the higher score,
    ties counted half. Arguments and errors as `roc_curve`.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_labelled(clean_scores, attacked_scores)))


def threshold_at(clean_validation_scores: Any, false_positive_rate: float) -> float:
    """The lowest clean validation score above which lies at most that share of them, in [0, 1).

    It is also the threshold of AE-GAN+rs's inference rule (section 3.2): an image with a higher
    score is searched, so at most that share of clean images is searched in vain. With fewer than
    1 / false_positive_rate scores none may be flagged, and the threshold is their maximum.

    Raises ValueError: a rate out of range, or scores as `roc_curve` refuses them.
    """
    if not 0 <= false_positive_rate < 1:
        raise ValueError(f"expected a false-positive rate in [0, 1), got {false_positive_rate}")
    validation = np.sort(_checked(clean_validation_scores, "clean validation scores"))
    # In floats 0.29 * 100 is a hair below 29.
    flagged = int(np.floor(false_positive_rate * len(validation) + 1e-9))
    return float(validation[len(validation) - 1 - flagged])


def true_positive_rate_at(
    clean_validation_scores: Any,
    attacked_scores: Any,
    clean_test_scores: Any,
    false_positive_rate: float,
) -> tuple[float, float, float]:
    """What a detector finds whose threshold was set to a false-positive rate beforehand.

    The threshold is `threshold_at`'s; an image is flagged when its score is above it. No test
    image, clean or attacked, has a say in it, so the rate achieved on clean test images differs
    from the wanted one by chance, and by more than chance where the two sets differ.

    Scores are (V,), (M,) and (N,) finite numbers, the rate in [0, 1). Returns (threshold,
    true-positive rate, false-positive rate on the clean test images). Raises as `threshold_at`.
    """
    threshold = threshold_at(clean_validation_scores, false_positive_rate)
    attacked = _checked(attacked_scores, "attacked scores")
    clean = _checked(clean_test_scores, "clean test scores")
    return threshold, float((attacked > threshold).mean()), float((clean > threshold).mean())


def costs_enough(accuracy_drop: float) -> bool:
    """Whether an attack costs what Cowboy asks of one that sets a threshold (footnote 2)."""
    # 0.97 - 0.77 is a hair below 0.2.
    return accuracy_drop >= LEAST_DROP - 1e-9


def adversarial_threshold(
    discriminator_scores: Any, accuracy_drop: float, exponent: float = 1.0
) -> float:
    """Cowboy's threshold on D(x), below which an image is flagged: the mean, or L^p mean, of D over
    attacked images.

    Santhanam and Grnarova 2018, section 3.4, which takes the images "for each (or a subset) data
    point"; give validation images, so that no test image has a say. Footnote 2 calls samples
    adversarial that cost at least 20 % accuracy, "arbitrarily chosen"; here 20 points of it. The
    paper prints ((1/p) sum D^p)^(1/p); between average and maximum, where it wants to be, lies
    (mean D^p)^(1/p). The files' scores are minus the logit of D: D = sigmoid(-score).

    Args:
        discriminator_scores: D(x) in [0, 1] of attacked images, (M,), whether fooled or not.
        accuracy_drop: the classifier's accuracy before the attack minus that after it, in [-1, 1].
        exponent: p; 1 is the mean, and infinity would be the maximum.

    Raises ValueError: a drop below 0.2, an exponent below 1 or infinite, or scores as `roc_curve`
    refuses them, or outside [0, 1].
    """
    if not costs_enough(accuracy_drop):
        raise ValueError(
            f"expected an attack that costs at least {LEAST_DROP} of accuracy, as a threshold's "
            f"images must; got {accuracy_drop:.3f}"
        )
    if not 1 <= exponent < np.inf:
        raise ValueError(f"expected an exponent of at least 1, and finite; got {exponent}")
    scores = _checked(discriminator_scores, "discriminator's scores")
    if scores.min() < 0 or scores.max() > 1:
        raise ValueError(
            "discriminator's scores: expected values in [0, 1], "
            f"got [{scores.min():.9g}, {scores.max():.9g}]"
        )
    largest = scores.max()
    if not largest:
        return 0.0
    # Of the largest one: powers of small numbers would be zero.
    return float(largest * np.mean((scores / largest) ** exponent) ** (1 / exponent))


def error_rates(
    clean_scores: Any, attacked_scores: Any, thresholds: Any
) -> tuple[np.ndarray, np.ndarray]:
    """What a detector misses, and its false alarms, at each threshold.

    An image is flagged when its score is above the threshold (AE-GAN+rs, section 4.4). For (N,)
    and (M,) finite scores and (K,) thresholds, returns (false-negative rate, false-positive rate),
    (K,) float64 each: the share of attacked images that are not flagged, which rises with the
    threshold, and that of clean ones that are. Raises ValueError as `roc_curve`.
    """
    clean, attacked = (
        np.sort(_checked(scores, name))
        for scores, name in ((clean_scores, "clean scores"), (attacked_scores, "attacked scores"))
    )
    missed = np.searchsorted(attacked, thresholds, side="right") / len(attacked)
    passed = np.searchsorted(clean, thresholds, side="right") / len(clean)
    return missed, 1 - passed


def bootstrap_interval(
    statistic: Callable[..., float],
    *samples: Any,
    repeats: int,
    seed: int,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of a statistic of one or more samples.

    Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13. What is drawn again
    is the image. So arrays with a value for each of the same images are resampled together,
    paired: give them as a tuple. Samples of different images are resampled each by itself,
    unpaired. A detector's clean test scores and attacked scores belong in one tuple, because each
    attacked image was made from one of the clean ones and their scores go up and down together;
    validation scores are a sample of their own.

        bootstrap_interval(auc, (clean, attacked), repeats=1000, seed=0)
        bootstrap_interval(found, validation, (attacked, clean), repeats=1000, seed=0)

    At the edge of its range the interval is too short: a statistic that is 1 in every resample,
    such as the AUC of scores that do not overlap, has the interval (1, 1).

    Args:
        statistic: from as many arrays as were given, tuples unpacked, in their order, to a number.
        samples: arrays with the images along the first axis, or tuples of such of equal length.
        repeats: number of resamples, at least 1; a 95 % interval wants about 1000.
        seed: the same gives the same resamples of samples of equal size, so that two detectors,
            one after the other, are compared on the same images.
        confidence: coverage, in (0, 1).

    Raises ValueError: no samples, an empty one, paired arrays of different lengths, an argument
    out of range, or a statistic that is not finite.
    """
    if repeats < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"expected repeats >= 1 and confidence in (0, 1), got {repeats} and {confidence}"
        )
    groups = [
        tuple(np.asarray(array) for array in (sample if isinstance(sample, tuple) else (sample,)))
        for sample in samples
    ]
    _check_groups(groups)
    random = generator(seed, "bootstrap")
    values = np.empty(repeats)
    for i in range(repeats):
        drawn = []
        for group in groups:
            n = len(group[0])
            again = torch.randint(n, (n,), generator=random).numpy()
            drawn += [array[again] for array in group]
        values[i] = statistic(*drawn)
    if not np.isfinite(values).all():
        raise ValueError(
            f"the statistic is not finite in {(~np.isfinite(values)).sum()} of {repeats} resamples"
        )
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _checked(scores: Any, name: str) -> np.ndarray:
    """Scores as (N,) float64, or ValueError."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"{name}: expected (N,) with N >= 1, got shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{name}: {(~np.isfinite(scores)).sum()} values are not finite")
    return scores


def _labelled(clean_scores: Any, attacked_scores: Any) -> tuple[np.ndarray, np.ndarray]:
    """(labels, scores) of all images; an attacked one is 1."""
    clean = _checked(clean_scores, "clean scores")
    attacked = _checked(attacked_scores, "attacked scores")
    labels = np.repeat([0, 1], [len(clean), len(attacked)])
    return labels, np.concatenate([clean, attacked])


def _check_groups(groups: Sequence[tuple[np.ndarray, ...]]) -> None:
    shapes = [[array.shape for array in group] for group in groups]
    if not groups or any(
        not group or () in group or 0 in {s[0] for s in group} for group in shapes
    ):
        raise ValueError(f"expected one or more samples of one or more images, got shapes {shapes}")
    for group in shapes:
        if len({shape[0] for shape in group}) > 1:
            raise ValueError(f"paired arrays must have equal lengths, got shapes {group}")
