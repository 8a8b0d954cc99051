"""Accuracies, with what their sample size lets them say."""

from collections.abc import Iterable
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def wilson_interval(correct: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (low, high) of a proportion, without continuity correction.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference", JASA 22.
    Unlike the normal approximation it stays in [0, 1] and keeps a width at 0 and at n, where the
    accuracies of strong attacks and of clean images lie: 0 <= low <= correct / n <= high <= 1.
    `correct` may be a mean of several counts of the same n.

    Raises ValueError unless 0 <= correct <= n, n >= 1 and the coverage `confidence` is in (0, 1).
    """
    if not 0 <= correct <= n or n < 1:
        raise ValueError(f"expected 0 <= correct <= n and n >= 1, got correct={correct}, n={n}")
    if not 0 < confidence < 1:
        raise ValueError(f"expected confidence in (0, 1), got {confidence}")
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    centre = (correct + z2 / 2) / (n + z2)
    half_width = sqrt(z2 * (correct * (n - correct) / n + z2 / 4)) / (n + z2)
    # Exact in real numbers; in floats the bounds could miss 0, the proportion or 1 by an ulp.
    low = 0.0 if correct == 0 else min(centre - half_width, correct / n)
    high = 1.0 if correct == n else max(centre + half_width, correct / n)
    return low, high


def wilson_intervals(correct: Iterable[float], n: Iterable[int]) -> list[tuple[float, float]]:
    """The 95 % `wilson_interval` of each pair of counts."""
    return [wilson_interval(float(k), int(of)) for k, of in zip(correct, n, strict=True)]


def share(correct: "np.ndarray") -> dict[str, float | int]:
    """Of booleans (N,), N >= 1: `n`, `correct`, `accuracy` and its 95 % interval."""
    count, n = int(correct.sum()), len(correct)
    low, high = wilson_interval(count, n)
    return {"n": n, "correct": count, "accuracy": count / n, "ci_low": low, "ci_high": high}
