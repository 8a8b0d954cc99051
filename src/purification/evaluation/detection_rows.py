"""How well a purifier's score tells attacked images from clean ones, as rows of a table.

A job says where the scores are, in plain JSON values:

    {"labels": {...},                                    # keys: LABEL_COLUMNS
     "validation": {"images": path, "group": name or None},
     "clean": {"images": path, "group": name or None, "hold_out": bool},
     "attacked": {"images": path, "group": name or None}}

The scores are the saved ones, the field `score`. Where a source also says

    {"indicator": "mse" or "l1", "dataset": path, "split": name}

they are computed instead: that indicator of AE-GAN+rs between the images of the set, which one pass
must have made (section 4.4), and what they were made from. That is the field `adversarial`, or,
where there is a `dataset`, the first images of its `split`.

Row i of the attacked set was made from row i of the clean set, which with `hold_out` begins after
the images that the black-box attacker has. Every attacked image counts, also one that fools
nobody: Defense-GAN's ROC is over "every test image and its FGSM version" (section 4.1.3). There is
no area over successful attacks alone, because what `success` in the files speaks of changes with
the threat model (the plain classifier, the defended one, a substitute).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from purification.datasets import evaluation_images
from purification.evaluation.detection import auc, bootstrap_interval, true_positive_rate_at
from purification.evaluation.measure import NAMING_COLUMN
from purification.evaluation.refusals import REFUSED, refusal
from purification.purifiers.ae_gan import INDICATORS
from purification.storage import read_field, read_image_set, read_split

Job = Mapping[str, Any]

FALSE_POSITIVE_RATES = {"1pct": 0.01, "5pct": 0.05}
"""Ends of the columns' names, and the rates on clean validation images that set the thresholds."""
LABEL_COLUMNS = (
    *("dataset", "seed", "classifier", "attack", "epsilon", "threat_model", "defense"),
    *("iterations_L", "restarts_R"),
)
COLUMNS = (
    *LABEL_COLUMNS,
    *("n_validation", "n", "auc", "auc_low", "auc_high"),
    *(
        f"{name}_{rate}"
        for rate in FALSE_POSITIVE_RATES
        for name in ("threshold", "tpr", "tpr_low", "tpr_high", "fpr")
    ),
)
"""Columns of a detection file. n: pairs of a clean and an attacked test image. `threshold_1pct`:
above it lies at most 1 % of the clean validation scores; `tpr_1pct` and `fpr_1pct`: the shares of
attacked and of clean test images above it. `_low`, `_high`: 95 % bootstrap interval."""


FURTHER_COLUMNS = (NAMING_COLUMN, REFUSED)
"""Further columns, where a row has them: why no paper's number stands beside it
(`measure.NAMING_COLUMN`), and why it has no numbers, n being 0: the attack was refused."""


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of the file that holds these rows of `detection_rows`."""
    return [*COLUMNS, *(name for name in FURTHER_COLUMNS if any(name in row for row in rows))]


@dataclass(frozen=True)
class Scores:
    """Scores of clean validation images (V,), and of test images before and after the attack, (N,)
    each, row by row the same images."""

    validation: np.ndarray
    clean: np.ndarray
    attacked: np.ndarray


def read_scores(job: Job) -> Scores:
    """The scores of a job's files, saved or computed; of saved ones no image is decoded.

    The shorter of the clean and the attacked set decides how many pairs there are: either may hold
    only the first images.

    Raises FileNotFoundError; ValueError: a file lacks the group or the scores, the labels of clean
    and attacked images do not agree, so that they cannot be the same images; `indicator_scores`.
    """
    clean, attacked = (_scores_and_labels(job[kind]) for kind in ("clean", "attacked"))
    n = min(len(clean[0]), len(attacked[0]))
    differ = np.flatnonzero(clean[1][:n] != attacked[1][:n])
    if len(differ):
        raise ValueError(
            f"{_place(job['attacked'])}: expected to be made from {_place(job['clean'])} row by "
            f"row, but the labels of {len(differ)} of {n} rows differ, first of row {differ[0]}"
        )
    validation, _ = _scores_and_labels(job["validation"])
    return Scores(validation, clean[0][:n], attacked[0][:n])


def detection_rows(jobs: Sequence[Job], *, seed: int, repeats: int = 1000) -> list[dict[str, Any]]:
    """One row (keys: `columns_of`) for each job (see the module).

    Thresholds come from validation scores alone. Intervals are percentile bootstraps over
    `repeats` resamples: pairs of test images are drawn together, validation images by themselves
    (see `bootstrap_interval`). The `seed` is the same for all jobs, so that detectors with equally
    many images are compared on the same resamples.

    Raises as `read_scores`, and ValueError for labels that lack a column.
    """
    return [_row(job, seed, repeats) for job in jobs]


def paired_auc_interval(
    clean: np.ndarray, attacked: np.ndarray, *, repeats: int, seed: int
) -> tuple[float, float]:
    """`bootstrap_interval(auc, (clean, attacked), ...)`, sorted once instead of at each resample.

    The area is the share of (clean, attacked) pairs with the higher score on the attacked side,
    ties counted half. In a resample each image has a weight, the number of times it was drawn, and
    the weight of the clean images below each attacked one is read off a running sum.

    `clean` and `attacked` are (N,) finite scores, row i of both of the same image; the resamples
    are those of `bootstrap_interval`. Returns (low, high) of the 95 % interval.
    """
    n = len(clean)
    order = np.argsort(clean)
    below, through = (np.searchsorted(clean[order], attacked, side) for side in ("left", "right"))

    def area(drawn: np.ndarray) -> float:
        weights = np.bincount(drawn, minlength=n)
        running = np.concatenate([[0], np.cumsum(weights[order])])
        return float(weights @ (running[below] + running[through])) / (2 * n * n)

    return bootstrap_interval(area, np.arange(n), repeats=repeats, seed=seed)


def _row(job: Job, seed: int, repeats: int) -> dict[str, Any]:
    missing = [column for column in LABEL_COLUMNS if column not in job["labels"]]
    if missing:
        raise ValueError(f"detection job: labels {dict(job['labels'])} lack {', '.join(missing)}")
    row = {name: job["labels"][name] for name in LABEL_COLUMNS}
    row |= {name: job["labels"][name] for name in (NAMING_COLUMN,) if name in job["labels"]}
    if reason := refusal(job["attacked"]["images"], job["attacked"]["group"]):
        empty = dict.fromkeys(COLUMNS[len(LABEL_COLUMNS) :])
        return row | empty | {"n_validation": 0, "n": 0, REFUSED: reason}
    scores = read_scores(job)
    pair = (scores.clean, scores.attacked)
    low, high = paired_auc_interval(*pair, repeats=repeats, seed=seed)
    row |= {"n_validation": len(scores.validation), "n": len(scores.clean)}
    row |= {"auc": auc(*pair), "auc_low": low, "auc_high": high}
    for name, rate in FALSE_POSITIVE_RATES.items():
        point = operating_point(scores, rate, seed=seed, repeats=repeats)
        row |= {f"{column}_{name}": value for column, value in point.items()}
    return row


def operating_point(
    scores: Scores, rate: float, *, seed: int, repeats: int = 1000
) -> dict[str, float]:
    """The threshold that at most the share `rate` of the validation scores exceeds, and the shares
    above it: `threshold`, `tpr` with its 95 % interval `tpr_low` and `tpr_high`, and `fpr` of the
    clean test images. Arguments as `detection_rows`; errors as `true_positive_rate_at`."""

    def found(validation: np.ndarray, attacked: np.ndarray, clean: np.ndarray) -> float:
        return true_positive_rate_at(validation, attacked, clean, rate)[1]

    samples = (scores.validation, (scores.attacked, scores.clean))
    threshold, share, false = true_positive_rate_at(samples[0], *samples[1], rate)
    low, high = bootstrap_interval(found, *samples, repeats=repeats, seed=seed)
    return {"threshold": threshold, "tpr": share, "tpr_low": low, "tpr_high": high, "fpr": false}


def indicator_scores(source: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N,) that a source has computed (see the module), and labels (N,).

    Raises FileNotFoundError; ValueError: another indicator, a set without `adversarial` where no
    data set is named, or one whose images have other labels or another shape than the data set's.
    """
    if source["indicator"] not in INDICATORS:
        known = ", ".join(INDICATORS)
        raise ValueError(f"indicator {source['indicator']!r}: expected one of {known}")
    purified = read_image_set(source["images"], group=source["group"])
    if source.get("dataset"):
        given, labels = read_split(source["dataset"], source["split"], first=len(purified.labels))
        origin = f"{source['dataset']} {source['split']}"
    else:
        if "adversarial" not in purified.fields:
            raise ValueError(f"{_place(source)}: no field 'adversarial', and no data set is named")
        given, labels = purified.fields["adversarial"], purified.labels
        origin = "its field 'adversarial'"
    if not np.array_equal(labels, purified.labels) or given.shape != purified.images.shape:
        raise ValueError(
            f"{_place(source)}: expected to be made from {origin} row by row, but labels or shapes "
            f"differ: {purified.images.shape} of {given.shape}"
        )
    indicator = INDICATORS[source["indicator"]]
    return indicator(*map(torch.from_numpy, (purified.images, given))).numpy(), labels


def _scores_and_labels(source: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N,) and labels (N,) of a file's set, of the black-box evaluation if it says so."""
    if source.get("indicator"):
        scores, labels = indicator_scores(source)
    else:
        scores, labels = (
            read_field(source["images"], name, group=source["group"])
            for name in ("score", "labels")
        )
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"{_place(source)}: expected scores and labels (N,), got shapes {scores.shape} and "
            f"{labels.shape}"
        )
    if source.get("hold_out"):
        return evaluation_images(scores), evaluation_images(labels)
    return scores, labels


def _place(source: Mapping[str, Any]) -> str:
    return f"{source['images']} {source['group']}" if source["group"] else str(source["images"])
