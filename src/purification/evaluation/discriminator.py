"""What a GAN's discriminator says of clean and attacked images, and how well that tells them apart.

Cowboy (Santhanam and Grnarova 2018, sections 3.3 and 3.4).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from purification.evaluation.detection import adversarial_threshold, auc, costs_enough
from purification.evaluation.detection_rows import paired_auc_interval
from purification.evaluation.purifiers import BatchSize, Files
from purification.guests import refuse_not_finite
from purification.models.checkpoints import load_network
from purification.purifiers.batches import in_batches
from purification.storage import read_image_set, read_split

REAL = "real"
"""The source of images that nobody attacked."""
SCORE_COLUMNS = ("split", "source", "index", "logit", "score", "correct", "clean_correct")
"""Columns of a file of scores: `score` is D(x) in [0, 1], the sigmoid of `logit`. `index` counts
the images of the split; `correct` and `clean_correct` (0, 1, or missing for real images) say
whether the classifier is right about the image and about what it was made from."""
DETECTION_COLUMNS = (
    *("attack", "n", "auc", "auc_low", "auc_high", "threshold_attack", "accuracy_drop"),
    *("exponent", "threshold", "tpr", "fpr"),
)


def discriminator_scores(
    recipe: Mapping[str, Any], files: Files, batch_size: BatchSize, device: torch.device
) -> list[dict[str, Any]]:
    """A row (`SCORE_COLUMNS`) for each image of a `DiscriminatorScores` recipe: the validation and
    the test images as they are, and under each attack.

    `files` are the recipe's inputs by name. Raises as `read_image_set`.
    """
    discriminator = load_network(files["gan"], "GAN").discriminator.to(device)
    rows = []
    for split in ("validation", "test"):
        images, _ = read_split(files["dataset"], split)
        clean = discriminator_logits(discriminator, images, batch_size, device)
        rows += _rows(split, REAL, clean)
        for attack, splits in recipe["attacked"].items():
            if split not in splits:
                continue
            attacked = read_image_set(files[f"{attack}_{split}"])
            right = {
                "correct": attacked.fields["predictions"] == attacked.labels,
                "clean_correct": attacked.fields["clean_predictions"] == attacked.labels,
            }
            logits = discriminator_logits(discriminator, attacked.images, batch_size, device)
            rows += _rows(split, attack, logits, **right)
    return rows


def discriminator_logits(
    discriminator: nn.Module, images: np.ndarray, batch_size: BatchSize, device: torch.device
) -> np.ndarray:
    """Logits (N,) float64 of D for images (N, C, H, W) in [0, 1].

    Raises FloatingPointError, naming the first image, if one is not finite.
    """

    def of_batch(batch: torch.Tensor) -> torch.Tensor:
        return discriminator(batch.to(device)).cpu()

    with torch.no_grad():
        parts = in_batches(of_batch, torch.from_numpy(images), batch_size, device)
        logits = torch.cat(list(parts))
    refuse_not_finite(logits, "the discriminator: the logits")
    return logits.double().numpy()


def _rows(split: str, source: str, logits: np.ndarray, **right: np.ndarray) -> list[dict[str, Any]]:
    scores = 1 / (1 + np.exp(-logits))
    return [
        {
            **{"split": split, "source": source, "index": index},
            **{"logit": float(logit), "score": float(score)},
            **{name: int(right[name][index]) if right else None for name in _RIGHT},
        }
        for index, (logit, score) in enumerate(zip(logits, scores, strict=True))
    ]


_RIGHT = ("correct", "clean_correct")


def discriminator_detection(
    scores: pd.DataFrame,
    threshold_attack: str,
    exponents: Sequence[float],
    *,
    repeats: int,
    seed: int,
) -> list[dict[str, Any]]:
    """How well D tells each attack's test images from the clean ones they were made from.

    The paper prints neither rates nor areas. The area under the ROC curve needs no threshold; its
    interval is a bootstrap over pairs (`paired_auc_interval`). The paper's threshold is an L^p
    mean, p >= 1 of `exponents`, of D over the validation images under `threshold_attack`, a source
    of `scores` (`SCORE_COLUMNS`). Where that attack costs the classifier less than the paper asks,
    there is none, and no rate.

    Returns rows (`DETECTION_COLUMNS`) for each attack and exponent; `tpr` and `fpr` are the shares
    of attacked and of clean test images with D(x) below the threshold. Raises ValueError: no such
    source, or none of its validation images.
    """
    if threshold_attack not in set(scores["source"]):
        known = ", ".join(sorted(set(scores["source"]) - {REAL}))
        raise ValueError(f"no scores of {threshold_attack!r}; attacks there: {known}")
    test = scores[scores["split"] == "test"]
    clean = test[test["source"] == REAL]
    base = scores[(scores["split"] == "validation") & (scores["source"] == threshold_attack)]
    if base.empty:  # its drop would be NaN, and so no threshold, as if the attack cost too little
        raise ValueError(f"no scores of validation images under {threshold_attack!r}")
    drop = float(base["clean_correct"].mean() - base["correct"].mean())
    enough = costs_enough(drop)
    thresholds = {
        p: adversarial_threshold(base["score"], drop, p) if enough else None for p in exponents
    }
    rows = []
    for attack in (name for name in test["source"].unique() if name != REAL):
        attacked = test[test["source"] == attack]
        pair = clean.iloc[: len(attacked)]
        high = tuple(-each["logit"].to_numpy() for each in (pair, attacked))
        low_end, high_end = paired_auc_interval(*high, repeats=repeats, seed=seed)
        area = {"auc": auc(*high), "auc_low": low_end, "auc_high": high_end}
        named = {"attack": attack, "n": len(attacked), **area, "threshold_attack": threshold_attack}
        for exponent, threshold in thresholds.items():
            row = named | {"accuracy_drop": drop, "exponent": exponent, "threshold": threshold}
            for rate, group in (("tpr", attacked), ("fpr", pair)):
                below = None if threshold is None else float((group["score"] < threshold).mean())
                row[rate] = below
            rows.append(row)
    return rows
