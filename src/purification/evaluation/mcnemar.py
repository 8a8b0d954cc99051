"""Two classifiers on the same images: the exact McNemar test, and the difference with an interval.

Two accuracies with an interval each say little of their difference when the images are the same:
those that both classify rightly, or both wrongly, tell nothing. Cowboy's question, whether the
discriminator's term helps (its Table 2: Cowboy beside Defense-GAN on the same attacked images), is
one of pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any

import numpy as np

from purification.evaluation.accuracy import wilson_interval
from purification.storage import read_field

COLUMNS = (
    *("n", "both", "only_first", "only_second", "neither"),
    *("accuracy_first", "accuracy_second", "difference", "difference_low", "difference_high"),
    "p_value",
)
"""Columns of `mcnemar_row` beside its labels. Accuracies and the difference, first minus second,
are shares; `difference_low` and `_high` are `paired_interval`'s at 95 %."""


@dataclass(frozen=True)
class PairedCounts:
    """How many images both classify rightly, only the first, only the second, and neither.

    Raises ValueError for a negative number, or no images.
    """

    both: int
    only_first: int
    only_second: int
    neither: int

    def __post_init__(self) -> None:
        counts = (self.both, self.only_first, self.only_second, self.neither)
        if min(counts) < 0 or not self.n:
            raise ValueError(f"expected counts of at least one image, none negative; got {counts}")

    @property
    def n(self) -> int:
        """All images."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """Accuracy of the first minus that of the second."""
        return (self.only_first - self.only_second) / self.n


def paired_counts(first_correct: Any, second_correct: Any) -> PairedCounts:
    """Counts from whether each classifier is right, (N,) booleans, of the same images in order.

    Raises ValueError for other types, different shapes or no images.
    """
    first, second = np.asarray(first_correct), np.asarray(second_correct)
    boolean = first.dtype == bool and second.dtype == bool
    if not boolean or first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            "expected two boolean arrays (N,) of the same images, got "
            f"{first.dtype} {first.shape} and {second.dtype} {second.shape}"
        )
    pairs = ((first & second), (first & ~second), (~first & second), ~(first | second))
    return PairedCounts(*(int(pair.sum()) for pair in pairs))


def exact_p_value(counts: PairedCounts) -> float:
    """The two-sided p-value of McNemar's exact test, in (0, 1].

    McNemar 1947, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12, in its exact form: if both classifiers are equally often right,
    each image that only one of them has right is the first's with probability 1/2; the p-value is
    the binomial probability of a split at least as uneven. 1 if there is no such image.
    """
    from scipy.stats import binomtest

    discordant = counts.only_first + counts.only_second
    if not discordant:
        return 1.0
    return float(binomtest(counts.only_first, discordant, 0.5).pvalue)


def paired_interval(counts: PairedCounts, confidence: float = 0.95) -> tuple[float, float]:
    """An interval (low, high) of a difference of accuracies on the same images, first less second.

    Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", Statistics in Medicine 17, method 10 (square and add): the distances of
    Wilson's bounds from both accuracies, added as if they were standard errors with correlation
    phi; phi is corrected for continuity. It keeps a width, also where no image is discordant, and
    stays in [-1, 1]. It is another method than the test's: at the edge one may exclude equality and
    the other not. Raises ValueError unless the coverage `confidence` is in (0, 1).
    """
    lengths = []  # from each accuracy down and up to its bounds
    for correct in (counts.both + counts.only_first, counts.both + counts.only_second):
        low, high = wilson_interval(correct, counts.n, confidence)
        lengths.append((correct / counts.n - low, high - correct / counts.n))
    (down_first, up_first), (down_second, up_second) = lengths
    phi = _correlation(counts)
    below = sqrt(down_first**2 - 2 * phi * down_first * up_second + up_second**2)
    above = sqrt(up_first**2 - 2 * phi * up_first * down_second + down_second**2)
    return counts.difference - below, counts.difference + above


def _correlation(counts: PairedCounts) -> float:
    """Phi of the two by two table, corrected for continuity where it is positive (method 10)."""
    product = float(counts.both + counts.only_first) * (counts.only_second + counts.neither)
    product *= float(counts.both + counts.only_second) * (counts.only_first + counts.neither)
    if not product:  # one of the classifiers is always right, or always wrong
        return 0.0
    excess = counts.both * counts.neither - counts.only_first * counts.only_second
    if excess > 0:
        excess = max(excess - counts.n / 2, 0)
    return excess / sqrt(product)


def mcnemar_row(first_correct: Any, second_correct: Any, labels: dict[str, Any]) -> dict[str, Any]:
    """A row of a table that compares two classifiers: `labels` (what they are), then `COLUMNS`.

    Takes (N,) booleans, of the same images in the same order. Raises ValueError as
    `paired_counts`, and for a label with the name of one of `COLUMNS`.
    """
    if taken := set(labels) & set(COLUMNS):
        raise ValueError(f"labels {sorted(taken)} are names of computed columns")
    counts = paired_counts(first_correct, second_correct)
    values = (
        *(counts.n, counts.both, counts.only_first, counts.only_second, counts.neither),
        *((counts.both + only) / counts.n for only in (counts.only_first, counts.only_second)),
        *(counts.difference, *paired_interval(counts), exact_p_value(counts)),
    )
    return {**labels, **dict(zip(COLUMNS, values, strict=True))}


def comparison_rows(pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each pair of attacked sets: `labels`, and `first` and `second`, each a file
    (`images`) and a `group` in it whose predictions are those of the classifier behind the defence.

    Raises FileNotFoundError, or ValueError naming the files if they do not hold the same images:
    other labels, or another number.
    """
    rows = []
    for pair in pairs:
        right, labels = [], []
        for place in (pair["first"], pair["second"]):
            read = partial(read_field, place["images"], group=place["group"])
            labels.append(read("labels"))
            right.append(read("predictions") == labels[-1])
        if not np.array_equal(*labels):
            files = " and ".join(pair[name]["images"] for name in ("first", "second"))
            raise ValueError(f"{files}: expected the same images, but their labels differ")
        rows.append(mcnemar_row(*right, dict(pair["labels"])))
    return rows
