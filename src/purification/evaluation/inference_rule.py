"""What AE-GAN+rs's inference rule costs and saves, on clean and on attacked images.

Source: AE-GAN+rs, sections 3.2 and 4.4: an image whose error after one pass is above a threshold is
searched, the others get their one pass. Beside the rule stand its two ends, one pass for all images
and a search of all; the paper does not say which of them its tables show.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.purifiers import fitted_purifier
from purification.evaluation.reconstructions import read_source
from purification.evaluation.run_time import Candidate, time_purifiers
from purification.evaluation.timing import describe_images, quartiles
from purification.models.checkpoints import load_network
from purification.models.prediction import predict
from purification.purifiers.ae_gan import EncoderSearch, Reconstructed

WAYS = ("one_pass", "rule", "always")
SET_LABELS = ("set", "attack", "epsilon", "threat_model")


def three_ways(rule: EncoderSearch) -> dict[str, EncoderSearch]:
    """One pass for all images, the rule itself, and a search of all, with the same networks.

    Raises ValueError if the purifier has no threshold.
    """
    if rule.threshold is None:
        raise ValueError("expected a purifier with a threshold: without one there is no rule")
    return {
        "one_pass": EncoderSearch(rule.encoder, rule.generator, None),
        "rule": rule,
        "always": EncoderSearch(rule.encoder, rule.generator, rule.settings),
    }


def rule_rows(
    recipe: Mapping[str, Any], device: torch.device, batch_size: int
) -> list[dict[str, Any]]:
    """One row for each set of images: what the rule searches, and three accuracies and times.

    Attacked images are given to all three ways as they are: in the gray box, where the attacker
    knows none of them. Accuracy is over all images of a set. Seconds are of the first `images` in
    turns in this one process (see `time_purifiers`); with other images, or in another mixture, the
    rule takes other times.

    Args:
        recipe: plain JSON values: `dataset` with its `name`, `seed` and `classifier_name`, for the
            rows; `repeats` and `images`, measured turns and how many images each purifies;
            `purifier`, a `Purifier` recipe of the method `ae_gan` with a threshold, and `files`,
            the paths of its networks by name; `classifier`, the checkpoint behind it; and `sets`,
            each with `SET_LABELS`; `images`, a path; and either `split` of a data set, or `group`
            (or None) of a file of attacked images, which a field `adversarial` holds if there is
            one.

    Returns:
        In the order of the sets: dataset, seed, classifier, defense, indicator, the set's
        `SET_LABELS`, n, threshold (in the indicator's units), iterations_L, share_searched with its
        95 % interval, mean_evaluations (passes through the generator an image, the one pass before
        the decision included) and evaluations_always, those of a search of all; for each of `WAYS`
        accuracy_<way> with its interval and seconds_per_1000_<way> with quartiles; time_saved with
        quartiles, the share of the search of all that the rule saves in the same turn, below 0
        where it costs more; images_timed, batch, repeats, and `describe_images`.

    Raises FileNotFoundError; ValueError: a file is broken; the purifier is none of the method, or
    has no threshold; or as `time_purifiers`.
    """
    purifier = fitted_purifier(recipe["purifier"], recipe["files"])
    if not isinstance(purifier, EncoderSearch):
        raise ValueError(f"expected a purifier of the method ae_gan, got {type(purifier).__name__}")
    ways = {name: way.to(device) for name, way in three_ways(purifier).items()}
    classifier = load_network(recipe["classifier"], "Classifier").to(device)
    labels = {"dataset": recipe["dataset"]["name"], "seed": recipe["seed"]}
    labels |= {"classifier": recipe["classifier_name"], "defense": recipe["purifier"]["name"]}
    labels |= {"indicator": recipe["purifier"]["settings"].get("indicator", "mse")}
    return [
        labels
        | {name: wanted[name] for name in SET_LABELS}
        | _measured(ways, classifier, *_given(wanted, device), batch_size)
        | _timed(ways, _given(wanted, device)[0], recipe, batch_size)
        for wanted in recipe["sets"]
    ]


def _given(wanted: Mapping[str, Any], device: torch.device) -> tuple[Tensor, np.ndarray]:
    """Images (N, C, H, W) on the device, and their labels (N,)."""
    held = read_source(wanted)
    images = held.fields.get("adversarial", held.images)
    return torch.from_numpy(images).to(device), held.labels


def _measured(
    ways: Mapping[str, EncoderSearch],
    classifier: nn.Module,
    images: Tensor,
    labels: np.ndarray,
    batch_size: int,
) -> dict[str, Any]:
    """What the rule searches, and the three accuracies."""
    made = {name: _reconstructed(way, images, batch_size) for name, way in ways.items()}
    rule = ways["rule"]
    searched = made["rule"].searched
    row: dict[str, Any] = {"n": len(labels), "threshold": rule.threshold}
    row |= {"iterations_L": rule.settings.steps if rule.settings else None}
    row |= _share("share_searched", searched.cpu().numpy())
    for name, column in (("rule", "mean_evaluations"), ("always", "evaluations_always")):
        row[column] = float(made[name].evaluations.double().mean())
    for name, reconstructed in made.items():
        logits = predict(classifier, reconstructed.images, device=images.device)
        row |= _share(f"accuracy_{name}", logits.argmax(dim=1).cpu().numpy() == labels)
    return row


@torch.no_grad()
def _reconstructed(way: EncoderSearch, images: Tensor, batch_size: int) -> Reconstructed:
    parts = [way.reconstruct(batch) for batch in images.split(batch_size)]
    names = ("images", "searched", "evaluations")
    return Reconstructed(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _timed(
    ways: Mapping[str, EncoderSearch], images: Tensor, recipe: Mapping[str, Any], batch_size: int
) -> dict[str, Any]:
    """Seconds for 1,000 images of the three, and what the rule saves."""
    count, repeats = recipe["images"], recipe["repeats"]
    candidates = {name: Candidate(way, count, batch_size, way) for name, way in ways.items()}
    times = time_purifiers(candidates, images, repeats=repeats)
    seconds = {name: 1000 / count * np.array(times[name]) for name in WAYS}
    row: dict[str, Any] = {}
    for name in WAYS:
        row |= quartiles(f"seconds_per_1000_{name}", seconds[name])
    row |= quartiles("time_saved", 1 - seconds["rule"] / seconds["always"])
    counts = {"images_timed": count, "batch": min(batch_size, count), "repeats": repeats}
    return row | counts | describe_images(images)


def _share(name: str, chosen: np.ndarray) -> dict[str, float]:
    low, high = wilson_interval(int(chosen.sum()), len(chosen))
    return {name: float(chosen.mean()), f"{name}_low": low, f"{name}_high": high}
