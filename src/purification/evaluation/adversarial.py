"""Attacking classifiers and defences as recipes say, and what is kept of it for each image."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from purification.attacks import AttackResult, MaskedGradientError, run_attack
from purification.datasets import BLACK_BOX_HOLD_OUT, evaluation_images
from purification.evaluation.purifiers import Files, fitted_purifier
from purification.evaluation.refusals import record_refusals
from purification.evaluation.summary import attack_summary
from purification.evaluation.threat_models import attacked_model
from purification.models.checkpoints import load_network, queries_of
from purification.models.prediction import predict
from purification.provenance import name_of
from purification.purifiers.batches import Purified, purify_images
from purification.randomness import derive_seed
from purification.runtime import progress
from purification.storage import ImageSet, read_image_set, read_split

ATTACK_FIELDS = ("success", "clean_predictions", "l2", "linf", "zero_gradient")
"""What is kept of an attack for each image, beside the images and the predictions for them."""


def attack_split(
    model: nn.Module,
    attack: Mapping[str, Any],
    dataset: str,
    first: int | None,
    seed: int,
    path: str,
    batch_size: int,
    *,
    hold_out: bool = False,
    split: str = "test",
) -> tuple[AttackResult, np.ndarray]:
    """Attack the `first` test images (None: all) of the file `dataset` as an `Attack` recipe says,
    or those of another split.

    With `hold_out` the first of those that the black-box attacker does not have. Returns the result
    and the true labels (N,). Random numbers come from `seed` and the `path` of the artifact that is
    made. Raises as `run_attack`.
    """
    start = 0
    if hold_out:
        start = BLACK_BOX_HOLD_OUT
        images, labels = (evaluation_images(a)[:first] for a in read_split(dataset, "test"))
    else:
        images, labels = read_split(dataset, split, first=first)
    with progress(len(images), attack["name"], "image") as bar:
        result = run_attack(
            attack["method"],
            model,
            torch.from_numpy(images),
            torch.from_numpy(labels),
            indices=range(start, start + len(images)),
            seed=derive_seed(seed, name_of(path)),
            batch_size=batch_size,
            settings=attack["settings"],
            files=attack.get("files"),
            progress=bar,
        )
    return result, labels


def adversarial_set(result: AttackResult, labels: np.ndarray) -> ImageSet:
    """Adversarial images with what `AttackResult` says of each; their summary as attributes."""
    fields = {name: getattr(result, name).numpy() for name in (*ATTACK_FIELDS, "predictions")}
    return ImageSet(result.images.numpy(), labels, fields, attack_summary(fields, labels))


def purified_set(purified: Purified, labels: np.ndarray) -> ImageSet:
    """Purified images with their scores and reconstruction errors; the means as attributes."""
    names = ("score", "reconstruction_error")
    fields = {name: getattr(purified, name).numpy() for name in names}
    means = {f"mean_{name}": float(values.mean()) for name, values in fields.items()}
    return ImageSet(purified.images.numpy(), labels, fields, means)


def attack_network(
    recipe: Mapping[str, Any], files: Files, path: str, batch_size: int, device: torch.device
) -> ImageSet:
    """Adversarial images against one network, as an `AdversarialSet` or `BlackBoxSet` recipe says.

    Of a bare classifier its `predictions` are kept; of a substitute, which is not what the set is
    made for, as `substitute_predictions`, and as an attribute the `queries` that it cost.

    `files` are the recipe's inputs by name, `path` the file that is made. Raises as `run_attack`.
    """
    black_box = recipe["kind"] == "BlackBoxSet"
    model = load_network(files["classifier"], recipe["classifier"]["kind"]).to(device)
    given = (recipe["attack"], files["dataset"], recipe["images"], recipe["seed"], path, batch_size)
    split = recipe.get("split", "test")
    result, labels = attack_split(model, *given, hold_out=black_box, split=split)
    made = adversarial_set(result, labels)
    if black_box:
        made.fields["substitute_predictions"] = made.fields.pop("predictions")
        made.attributes["queries"] = queries_of(files["classifier"])
    return made


def purify_set(
    recipe: Mapping[str, Any], files: Files, batch_size: int, device: torch.device
) -> ImageSet:
    """Purified images of a split or of a black-box set, as a `PurifiedImages` or `PurifiedBlackBox`
    recipe says; what the black-box set says of each image is kept.

    `files` are the recipe's inputs by name.
    """
    if recipe["kind"] == "PurifiedBlackBox":
        given = read_image_set(files["attacked"])
    else:
        given = ImageSet(*read_split(files["dataset"], recipe["split"], first=recipe["images"]))
    purifier = fitted_purifier(recipe["purifier"], files)
    images = torch.from_numpy(given.images)
    purified = purify_images(purifier, images, batch_size=batch_size, device=device)
    kept = purified_set(purified, given.labels)
    attributes = given.attributes | kept.attributes
    return ImageSet(kept.images, kept.labels, given.fields | kept.fields, attributes)


def attack_defense(
    recipe: Mapping[str, Any], files: Files, path: str, batch_size: int, device: torch.device
) -> dict[str, ImageSet]:
    """A purifier and its classifier under one attack, as an `AttackedDefense` recipe says.

    Returns for each threat model the *purified* images, with per image: `adversarial`, the image
    given to the purifier; `predictions` of the classifier behind it; score and reconstruction
    error; and what `ATTACK_FIELDS` says of the attack against the model that it attacked (in the
    gray box that is the plain classifier).

    A threat model in which the attack cannot move, its gradient masked, has no images; why, all
    sets say (`refusals`). Where there is no other, this raises MaskedGradientError.

    `files` are the recipe's inputs by name, `path` the file that is made. Raises as `run_attack`.
    """
    classifier = load_network(files["classifier"], "Classifier").to(device)
    purifier = fitted_purifier(recipe["purifier"], files).to(device)
    sets, refused = {}, {}
    for threat_model, number in recipe["threat_models"].items():
        if threat_model == "gray_box":
            attacked = read_image_set(files["gray_box"])
        else:
            model = attacked_model(threat_model, purifier, classifier)
            place = f"{path}:{threat_model}"
            given = (recipe["attack"], files["dataset"], number, recipe["seed"], place, batch_size)
            try:
                result, labels = attack_split(model, *given)
            except MaskedGradientError as error:
                refused[threat_model] = f"{error}{_WAY_OUT.get(threat_model, '')}"
                print(f"{threat_model}: {refused[threat_model]}", file=sys.stderr)
                continue
            attacked = adversarial_set(result, labels)
        sets[threat_model] = _purify(attacked, purifier, classifier, batch_size, device)
    if not sets:
        raise MaskedGradientError(" ".join(refused.values()))
    record_refusals(sets, refused)
    return sets


_WAY_OUT = {
    "white_box": " Of a purifier that has no gradient by its nature, such as one that rounds "
    "pixels or compresses: drop `white_box` from the defense's `threat_models` in the config, and "
    "take `white_box_bpda`."
}


def _purify(
    attacked: ImageSet,
    purifier: nn.Module,
    classifier: nn.Module,
    batch_size: int,
    device: torch.device,
) -> ImageSet:
    """The set that `attack_defense` keeps of adversarial images and their purified forms."""
    # Batches as in the attack: CW ends on the decision boundary, where the last bit decides.
    images = torch.from_numpy(attacked.images)
    purified = purify_images(purifier, images, batch_size=batch_size, device=device)
    logits = predict(classifier, purified.images, batch_size=batch_size, device=device)
    kept = purified_set(purified, attacked.labels)
    own = {name: attacked.fields[name] for name in ATTACK_FIELDS}
    fields = {**kept.fields, **own, "predictions": logits.argmax(dim=1).numpy()}
    fields["adversarial"] = attacked.images
    attributes = kept.attributes | attack_summary(own, attacked.labels)
    return ImageSet(kept.images, attacked.labels, fields, attributes)
