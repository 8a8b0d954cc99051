"""Rules of the shared sections' entries that take more than one key: `rules` in the schema.

Each is given the entry, the config and the schema."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from purification.experiments.artifacts import CELEBA_IMAGES, TEST_IMAGES, TRAINING_IMAGES
from purification.experiments.references import Wrong, unknown
from purification.experiments.schema import wrong_form
from purification.plugins import place_of_file, problem_with

OWN_CODE = {
    "datasets": "source",
    "classifiers": "architecture",
    "generators": "architecture",
    "attacks": "method",
    "defenses": "method",
}
"""Sections whose entries may name a user's own code, and the key that does."""
CHECKPOINT_FORMATS = (".safetensors", ".pt", ".pth")


def own_code(entry: Mapping[str, Any], *_: Any) -> Wrong:
    """A user's own code can be loaded, and the files that it reads, and those of weights, are
    there."""
    key, code = next(((k, entry[k]) for k in OWN_CODE.values() if k in entry), ("", ""))
    if "files" in entry and ":" not in code:
        yield "files", f"only code of your own reads files, not {code!r}"
    files = {f"files.{own}": path for own, path in entry.get("files", {}).items()}
    for own, path in (files | checkpoints_of(entry)).items():
        file = place_of_file(path)
        if not file.is_file():
            what = "is no file" if file.exists() else "is not there"
            yield own, f"{file} {what} (from {Path.cwd()})"
        elif not os.access(file, os.R_OK):
            yield own, f"{file} cannot be read"
        elif own not in files and file.suffix not in CHECKPOINT_FORMATS:
            yield own, f"{file} is of no known format; allowed: {', '.join(CHECKPOINT_FORMATS)}"
    if ":" in code and (problem := problem_with(code)):
        yield key, problem


def checkpoints_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """The files of weights that a network's entry names, by their place in it."""
    others = {f"per_dataset.{name}.": own for name, own in entry.get("per_dataset", {}).items()}
    named = {"": entry, **others}.items()
    return {f"{at}checkpoint": own["checkpoint"] for at, own in named if "checkpoint" in own}


def splits(dataset: Mapping[str, Any], *_: Any) -> Wrong:
    """The splits of a data set: keys that its source has no use for, more images than it has."""
    if misplaced := list(_misplaced(dataset)):
        yield from misplaced
    elif dataset["source"] == "digits":
        if dataset["test"] is None:
            yield "test", "digits has no official test file: give a number"
        elif dataset["validation"] + dataset["test"] > 1797 - 10:
            yield "", "fewer than 10 of 1797 images are left to train on"
    elif dataset["source"] in TRAINING_IMAGES:
        n = TRAINING_IMAGES[dataset["source"]]
        if dataset["validation"] > n - 10:
            yield "", f"fewer than 10 of {n:,} images are left to train on"
        n = TEST_IMAGES[dataset["source"]]
        if (dataset["test"] or 0) > n:
            yield "test", f"there are {n:,} test images; got {dataset['test']}"
    elif dataset["source"] == "celeba":
        for split, n in CELEBA_IMAGES.items():
            if (dataset.get(split) or 0) > n:
                yield split, f"there are {n:,} images; got {dataset[split]}"


def _misplaced(dataset: Mapping[str, Any]) -> Wrong:
    if dataset["source"] != "celeba":
        if dataset["validation"] is None:
            yield "validation", "must be a number; only celeba has a part of its own"
        if "train" in dataset:
            yield "train", "only celeba takes a number of training images"
    if "classes" in dataset and ":" not in dataset["source"]:
        yield "classes", "only a source of your own names its number of classes"


def snapshots(generator: Mapping[str, Any], *_: Any) -> Wrong:
    """No network is kept after the end of its training."""
    for dataset, other in {"": {}, **generator.get("per_dataset", {})}.items():
        own = {**generator, **other}
        late = [n for n in own.get("snapshots", ()) if n > own["iterations"]]
        if late:
            place = f"per_dataset.{dataset}.snapshots" if dataset else "snapshots"
            yield place, f"must be at most the {own['iterations']} iterations; got {late[0]}"


def alpha(attack: Mapping[str, Any], *_: Any) -> Wrong:
    """RAND+FGSM's random step is within its strength."""
    if attack.get("alpha", 0) >= attack.get("epsilon", float("inf")):
        yield (
            "alpha",
            f"must be below epsilon = {attack['epsilon']}, because FGSM spends epsilon - alpha; "
            f"got {attack['alpha']}",
        )


def copies(
    entries: Mapping[str, Any], config: Mapping[str, Any], schema: Mapping[str, Any]
) -> Wrong:
    """What copies have otherwise is a number that their attack could have itself."""
    attacks = schema["properties"]["attacks"]["additionalProperties"]
    attacks = {"$defs": schema["$defs"], **attacks}
    for name, changes in entries.items():
        attack = config["attacks"][name]
        numbers = [k for k, v in attack.items() if isinstance(v, int | float)]
        if unknowns := [text for key in changes for text in unknown(key, numbers)]:
            yield from ((name, text) for text in unknowns)
            continue
        epsilons, alphas = (
            _as_list(changes.get(key, attack.get(key, ()))) for key in ("epsilon", "alpha")
        )
        if epsilons and alphas and min(epsilons) <= max(alphas):
            yield (
                f"{name}.epsilon",
                f"must be above alpha = {max(alphas)}, the random step that is part of it; got "
                f"{min(epsilons)}",
            )
        for key, values in changes.items():
            for value in _as_list(values):
                for text in wrong_form({**attack, key: value}, attacks, name):
                    where, _, what = text.partition(": ")
                    yield where, what


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def prune(defense: Mapping[str, Any], *_: Any) -> Wrong:
    """Restarts fall while steps rise."""
    steps = [0, *(step for step, _ in defense.get("prune", ())), defense["steps"]]
    kept = [defense["restarts"], *(restarts for _, restarts in defense.get("prune", ()))]
    if steps != sorted(set(steps)) or kept != sorted(set(kept), reverse=True):
        yield (
            "prune",
            f"must be [step, restarts] with steps rising below {defense['steps']} and restarts "
            f"falling below {defense['restarts']}; got {defense['prune']}",
        )


def training_labels(defense: Mapping[str, Any], *_: Any) -> Wrong:
    """PGD's training has no choice of labels."""
    if "labels" in defense and "attack" in defense:
        yield "labels", "PGD's training takes the true labels; leave this key out"


def one_pass(defense: Mapping[str, Any], config: Mapping[str, Any], *_: Any) -> Wrong:
    """The inference rule looks at one pass through the same networks, by the same indicator."""
    if "rule" not in defense:
        return
    generator, indicator = defense["generator"], defense.get("indicator", "mse")
    once = [
        name
        for name, other in config["defenses"].items()
        if other["method"] == "ae_gan"
        and "steps" not in other
        and (other["generator"], other.get("indicator", "mse")) == (generator, indicator)
    ]
    if once:
        texts = unknown(defense["rule"]["one_pass"], once)
        yield from (("rule.one_pass", text) for text in texts)
    else:
        yield (
            "rule.one_pass",
            "no defense of the method ae_gan is one pass through the generator "
            f"{generator!r} with the indicator {indicator}: add one",
        )
