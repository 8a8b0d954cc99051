"""Attacking classifiers and defences as recipes say, and what is kept of it for each image.

Images are read, attacked, purified and written a batch at a time: no job's memory grows with their
number.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from purification.attacks import MaskedGradientError, attacked_parts
from purification.datasets import BLACK_BOX_HOLD_OUT, evaluation_images
from purification.evaluation.protocols import (
    AGGREGATED_BY,
    DRAWS_EACH,
    draw_group,
    judging_seed,
)
from purification.evaluation.purifiers import BatchSize, Files, fitted_purifier
from purification.evaluation.refusals import record_refusals
from purification.evaluation.summary import attack_summary
from purification.evaluation.threat_models import (
    attacked_model,
    knows_draws,
    stands_still,
    surrogate_model,
)
from purification.models.checkpoints import load_network, queries_of
from purification.models.prediction import predict
from purification.parts import Images
from purification.provenance import name_of
from purification.purifiers.aggregation import aggregation_of
from purification.purifiers.batches import purified_parts
from purification.randomness import derive_seed, draw_seeds, is_randomised
from purification.runtime import progress
from purification.storage import (
    ImageFile,
    NewSet,
    StoredImages,
    new_image_file,
    open_image_set,
    open_split,
)

ATTACK_FIELDS = ("success", "clean_predictions", "l2", "linf", "zero_gradient")
"""What is kept of an attack for each image, beside the images and the predictions for them."""
PURIFIED_FIELDS = ("score", "reconstruction_error")
TEST_BATCH_STATISTICS = "test_batch_statistics"
"""The quirk of published code by which images are purified with their own set's statistics."""

Fields = dict[str, np.ndarray]


class Growing:
    """Fields of `count` images, filled a part at a time.

    Their memory is taken at once. Of parts that are kept until the end each would lie between the
    large blocks of two batches, which the C library could then not give to the next one.
    """

    def __init__(self, count: int) -> None:
        self.count, self.rows = count, 0
        self.fields: Fields = {}

    def add(self, part: Fields) -> None:
        """The fields of the next images, (n,) each; always the same ones."""
        for name, values in part.items():
            if name not in self.fields:
                self.fields[name] = np.empty((self.count, *values.shape[1:]), values.dtype)
            self.fields[name][self.rows : self.rows + len(values)] = values
        self.rows += len(values)


@dataclass(frozen=True)
class Attacker:
    """A model under an attack of an `Attack` recipe. Random numbers come from `seed` and the `path`
    of the artifact that is made. Of a randomised model `judge` is the seed of the draws on which it
    is judged, which the attacker knows if they are `known`. `may_stand_still`: as of `run_attack`.
    """

    model: nn.Module
    attack: Mapping[str, Any]
    seed: int
    path: str
    batch_size: int
    judge: int | None = None
    known: bool = False
    may_stand_still: bool = False

    def attack_into(
        self, made: NewSet, name: str, images: Images, labels: np.ndarray, start: int = 0
    ) -> Fields:
        """Attack images, whose numbers begin at `start`, and write what comes of them into a set
        under that name. Returns what is known of each: `ATTACK_FIELDS` and `predictions`, (N,).
        Raises as `run_attack`."""
        found = Growing(len(images))
        known = (*ATTACK_FIELDS, "predictions")
        with progress(len(images), self.attack["name"], "image") as bar:
            for part in attacked_parts(
                self.attack["method"],
                self.model,
                images,
                torch.from_numpy(labels),
                indices=range(start, start + len(images)),
                seed=derive_seed(self.seed, name_of(self.path)),
                batch_size=self.batch_size,
                settings=self.attack["settings"],
                files=self.attack.get("files"),
                progress=bar,
                draws="fixed" if self.known else "fresh",
                judge=self.judge,
                may_stand_still=self.may_stand_still,
            ):
                made.append(name, part.images.numpy())
                found.add({name: getattr(part, name).numpy() for name in known})
        return found.fields


def write_attacked(
    file: ImageFile, attacker: Attacker, images: Images, labels: np.ndarray, group: str = ""
) -> None:
    """Attack images, and write them to a file as a set, with what `AttackResult` says of each and
    their summary as attributes. Raises as `run_attack`."""
    made = file.new_set(len(labels), group)
    fields = attacker.attack_into(made, "images", images, labels)
    made.finish(labels, fields, attack_summary(fields, labels))


def attack_network(
    recipe: Mapping[str, Any], files: Files, path: str, batch_size: int, device: torch.device
) -> None:
    """Writes adversarial images against one network to `path`, as an `AdversarialSet` or
    `BlackBoxSet` recipe says.

    Of a bare classifier its `predictions` are kept; of a substitute, which is not what the set is
    made for, as `substitute_predictions`, and as an attribute the `queries` that it cost. A
    `BlackBoxSet` has the first of those test images that the black-box attacker does not have.

    `files` are the recipe's inputs by name. Raises as `run_attack`.
    """
    black_box = recipe["kind"] == "BlackBoxSet"
    model = load_network(files["classifier"], recipe["classifier"]["kind"]).to(device)
    attacker = Attacker(model, recipe["attack"], recipe["seed"], path, batch_size)
    with new_image_file(path, recipe, recipe["seed"]) as file:
        if not black_box:
            split = recipe.get("split", "test")
            given = open_split(files["dataset"], split, first=recipe["images"])
            write_attacked(file, attacker, given.images, given.labels)
            return
        given, start = open_split(files["dataset"], "test"), BLACK_BOX_HOLD_OUT
        labels = evaluation_images(given.labels)[: recipe["images"]]
        images = given.images.part(start, recipe["images"])
        made = file.new_set(len(labels))
        fields = attacker.attack_into(made, "images", images, labels, start)
        attributes = attack_summary(fields, labels) | {"queries": queries_of(files["classifier"])}
        fields["substitute_predictions"] = fields.pop("predictions")
        made.finish(labels, fields, attributes)


def purify_set(
    recipe: Mapping[str, Any], files: Files, path: str, batch_size: BatchSize, device: torch.device
) -> None:
    """Writes purified images of a split or of a black-box set to `path`, as a `PurifiedImages` or
    `PurifiedBlackBox` recipe says; what the black-box set says of each image is kept.

    Of a randomised purifier that is judged, there is a set for each of the recipe's `judged_draws`
    (`draw_group`), and no other; of one that is not, as for training images, its first draw alone.
    Where the purifier is evaluated on several draws (its `aggregation`), there are as many sets for
    each judged draw, one after the other, and attributes that say how they are put together. With
    the quirk `TEST_BATCH_STATISTICS` they are purified with the statistics of their set.

    `files` are the recipe's inputs by name.
    """
    if recipe["kind"] == "PurifiedBlackBox":
        given = open_image_set(files["attacked"])
    else:
        given = open_split(files["dataset"], recipe["split"], first=recipe["images"])
    purifier = fitted_purifier(recipe["purifier"], files)
    purifier = _for_set(purifier, given.images, recipe, device)
    draws, own = recipe.get("judged_draws"), derive_seed(recipe["seed"], name_of(path))
    judge = own if draws is None else judging_seed(recipe)
    numbers, how = range(len(given.labels)), aggregation_of(purifier)
    sets: list[tuple[str, torch.Tensor | None]] = [("", None)]
    if is_randomised(purifier):
        sets = [("", draw_seeds(judge, numbers, 0))]
    if draws is not None:
        judged = [how.seeds(draw_seeds(judge, numbers, draw)) for draw in range(draws)]
        each = [seeds for own in judged for seeds in own.unbind(1)]
        sets = [(draw_group(draw), seeds) for draw, seeds in enumerate(each)]
    put_together = {} if how.draws == 1 else {DRAWS_EACH: how.draws, AGGREGATED_BY: how.by}
    with new_image_file(path, recipe, recipe["seed"]) as file:
        for group, seeds in sets:
            made = file.new_set(len(given.labels), group)
            fields = purify_into(made, purifier, given.images, batch_size, device, seeds=seeds)
            attributes = given.attributes | purified_means(fields) | put_together
            made.finish(given.labels, given.fields | fields, attributes)


def purify_into(
    made: NewSet | None,
    purifier: nn.Module,
    images: Images,
    batch_size: BatchSize,
    device: torch.device,
    classifier: nn.Module | None = None,
    seeds: torch.Tensor | None = None,
) -> Fields:
    """Purify images, a randomised purifier with `seeds` (N,), and write them into a set, or nowhere
    (None). Returns what is known of each: `PURIFIED_FIELDS`, and of a classifier behind the
    purifier its `logits`, (N, K). Raises as `purify_images` and `predict`."""
    found = Growing(len(images))
    sizes: dict[str, Any] = {"batch_size": batch_size, "device": device, "seeds": seeds}
    for part in purified_parts(purifier, images, **sizes):
        if made is not None:
            made.append("images", part.images.numpy())
        known = {name: getattr(part, name).numpy() for name in PURIFIED_FIELDS}
        if classifier is not None:
            size = {"batch_size": len(part.images), "first": found.rows}
            logits = predict(classifier, part.images, **size, device=device)
            known["logits"] = logits.numpy()
        found.add(known)
    return found.fields


def purified_means(fields: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The means of `PURIFIED_FIELDS`, as attributes of a set."""
    return {f"mean_{name}": float(fields[name].mean()) for name in PURIFIED_FIELDS}


def attack_defense(
    recipe: Mapping[str, Any], files: Files, path: str, batch_size: int, device: torch.device
) -> None:
    """Writes a purifier and its classifier under one attack to `path`, as an `AttackedDefense`
    recipe says.

    The file has for each threat model the *purified* images, with per image: `adversarial`, the
    image given to the purifier; `predictions` of the classifier behind it; score and reconstruction
    error; and what `ATTACK_FIELDS` says of the attack against the model that it attacked (in the
    gray box that is the plain classifier).

    Of a randomised purifier `predictions` are (N, D), one for each draw on which it is judged
    (`protocols`), none of which the attack saw, and the purified images are those of the first. A
    set whose attacker knew the draw has those of that draw, and `known_predictions` (N,) on it.
    `success` is on the first of the D draws, or on the known one.

    A threat model in which the attack cannot move, its gradient masked, has no images; why, all
    sets say (`refusals`). Where there is no other, this raises MaskedGradientError. With the quirk
    `threat_models.NO_GRADIENT` among the recipe's `quirks` the attack of the white box stands still
    instead; with `TEST_BATCH_STATISTICS` the images of the gray box are purified with the
    statistics of their set.

    `files` are the recipe's inputs by name. Raises as `run_attack`.
    """
    classifier = load_network(files["classifier"], "Classifier").to(device)
    purifier = fitted_purifier(recipe["purifier"], files).to(device)
    refused, quirks = {}, recipe.get("quirks", ())
    with new_image_file(path, recipe, recipe["seed"]) as file:
        for threat_model, number in recipe["threat_models"].items():
            judge = purifier
            if threat_model == "gray_box":
                given = open_image_set(files["gray_box"])
                made = file.new_set(len(given.labels), threat_model)
                known = given.fields
                attacked = _copied(made, "adversarial", given.images, batch_size)
                judge = _for_set(purifier, attacked, recipe, device)
            else:
                given = open_split(files["dataset"], "test", first=number)
                made = file.new_set(len(given.labels), threat_model)
                if threat_model == "surrogate":
                    images = given.images[:]
                    own = (recipe["surrogate"], images.to(device))
                    model = surrogate_model(purifier, classifier, *own)
                else:
                    model = attacked_model(threat_model, purifier, classifier, quirks)
                place = f"{path}:{threat_model}"
                judged: dict[str, Any] = {}
                if is_randomised(purifier):
                    fixed = knows_draws(threat_model)
                    judged = {"judge": judging_seed(recipe, fixed), "known": fixed}
                own = (model, recipe["attack"], recipe["seed"], place, batch_size)
                still = stands_still(threat_model, quirks)
                attacker = Attacker(*own, **judged, may_stand_still=still)
                try:
                    known = attacker.attack_into(made, "adversarial", given.images, given.labels)
                except MaskedGradientError as error:
                    refused[threat_model] = f"{error}{_WAY_OUT.get(threat_model, '')}"
                    print(f"{threat_model}: {refused[threat_model]}", file=sys.stderr)
                    continue
                attacked = made.complete("adversarial")
            # Batches as in the attack: CW ends on the boundary, where the last bit decides.
            sizes = (batch_size, device, classifier)
            kept, drawn = _judged(made, recipe, threat_model, judge, attacked, *sizes)
            attack = {name: known[name] for name in ATTACK_FIELDS}
            fields = {name: kept[name] for name in PURIFIED_FIELDS} | attack | drawn
            made.finish(
                given.labels, fields, purified_means(kept) | attack_summary(attack, given.labels)
            )
        if not file.sets:
            raise MaskedGradientError(" ".join(refused.values()))
        record_refusals(file.sets, refused)


def _judged(
    made: NewSet,
    recipe: Mapping[str, Any],
    threat_model: str,
    purifier: nn.Module,
    attacked: Images,
    batch_size: int,
    device: torch.device,
    classifier: nn.Module,
) -> tuple[Fields, Fields]:
    """What is known of the purified images that are written, and the predictions: (N,) of a
    deterministic purifier, all of `attack_defense` of a randomised one."""

    if not is_randomised(purifier):
        kept = purify_into(made, purifier, attacked, batch_size, device, classifier)
        return kept, {"predictions": kept["logits"].argmax(axis=1)}
    how, sizes = aggregation_of(purifier), (batch_size, device, classifier)

    def purified(known: bool, draw: int, written: NewSet | None) -> tuple[Fields, np.ndarray]:
        """What is known of an evaluation's first draw, and the predictions of all its draws."""
        seeds = draw_seeds(judging_seed(recipe, known), range(len(attacked)), draw)
        found = [
            purify_into(None if k else written, purifier, attacked, *sizes, own)
            for k, own in enumerate(how.seeds(seeds).unbind(1))
        ]
        logits = torch.stack([torch.from_numpy(one["logits"]) for one in found], dim=1)
        return found[0], how.logits(logits).argmax(dim=1).numpy()

    draws, fixed = range(recipe["judged_draws"]), knows_draws(threat_model)
    kept, first = purified(fixed, 0, made)
    found = [first] if not fixed else [purified(False, 0, None)[1]]
    found += [purified(False, draw, None)[1] for draw in draws[1:]]
    fields = {"predictions": np.stack(found, axis=1)}
    return kept, fields | ({"known_predictions": first} if fixed else {})


_WAY_OUT = {
    "white_box": " Of a purifier that has no gradient by its nature, such as one that rounds "
    "pixels or compresses: drop `white_box` from the defense's `threat_models` in the config, and "
    "take `white_box_bpda`."
}
_WAY_OUT["white_box_fixed"] = (
    _WAY_OUT["white_box"]
    .replace("`white_box`", "`white_box_fixed`")
    .replace("`white_box_bpda`", "`white_box_bpda_fixed`")
)


def _for_set(
    purifier: nn.Module, images: Images, recipe: Mapping[str, Any], device: torch.device
) -> nn.Module:
    """What purifies a whole set: with the quirk `TEST_BATCH_STATISTICS` a copy that normalises by
    the statistics of these images, else the purifier itself."""
    if TEST_BATCH_STATISTICS not in recipe.get("quirks", ()):
        return purifier
    made: nn.Module = purifier.to(device).with_statistics_of(images)
    return made


def _copied(made: NewSet, name: str, images: Images, batch_size: int) -> StoredImages:
    """Images of another file, written into a set under that name."""
    for start in range(0, len(images), batch_size):
        made.append(name, images[start : start + batch_size].numpy())
    return made.complete(name)
