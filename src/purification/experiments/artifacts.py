"""What the workflow makes: each artifact as a small frozen dataclass with its path and recipe.

A recipe is everything that decides an artifact's content: its own settings, the seed, the version
of the code that makes it, and the recipes of all that it is made from. Rules put it into their
`params`, so that Snakemake remakes exactly what a change of the config concerns.

`VERSION` of a kind is raised by hand when the library code changes what such an artifact contains.
Settings that cannot change a result (batch sizes of attacks, threads, device) belong to no recipe.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar


@dataclass(frozen=True)
class Artifact:
    """Something with a recipe. Subclasses' fields are settings, or other artifacts (upstream)."""

    VERSION: ClassVar[int] = 1

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """All settings that decide the content, upstream included, as plain JSON values."""
        own = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        return {"kind": type(self).__name__, "version": self.VERSION, **own}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the recipe, 16 hexadecimal digits."""
        text = json.dumps(self.recipe, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, Artifact):
        return value.recipe
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


class File(Artifact):
    """An artifact that is a file."""

    @property
    def path(self) -> str:
        raise NotImplementedError

    @property
    def inputs(self) -> dict[str, str]:
        """The files it is made from, by the name its script calls them."""
        return {}


@dataclass(frozen=True)
class Dataset(File):
    """Train, validation and test images of one dataset."""

    name: str
    settings: Mapping[str, Any]

    @property
    def path(self) -> str:
        return f"results/{self.name}/dataset.h5"


@dataclass(frozen=True)
class OfRun(File):
    """A file of one run (dataset and seed)."""

    dataset: Dataset
    seed: int

    @property
    def folder(self) -> str:
        return f"results/{self.dataset.name}/seed{self.seed}"


@dataclass(frozen=True)
class Generator(OfRun):
    """A WGAN-GP trained on the training images."""

    name: str
    settings: Mapping[str, Any]

    @property
    def path(self) -> str:
        return f"{self.folder}/generators/{self.name}.safetensors"

    @property
    def resume_digest(self) -> str:
        """Equal for trainings that differ in length only: a longer one continues a shorter one."""
        settings = {k: v for k, v in self.settings.items() if k != "iterations"}
        return replace(self, settings=settings).digest

    @property
    def inputs(self) -> dict[str, str]:
        return {"dataset": self.dataset.path}


@dataclass(frozen=True)
class Autoencoder(OfRun):
    """MagNet's autoencoder, trained on the training images."""

    name: str
    settings: Mapping[str, Any]

    @property
    def path(self) -> str:
        return f"{self.folder}/autoencoders/{self.name}.safetensors"

    @property
    def inputs(self) -> dict[str, str]:
        return {"dataset": self.dataset.path}


@dataclass(frozen=True)
class Purifier(Artifact):
    """A purifier: its settings and the networks it is made of. Not a file: it is built when used.

    `name` is the defence's key in the config, and the purifier's folder; it seeds the starts.
    """

    name: str
    seed: int
    method: str
    settings: Mapping[str, Any]
    networks: Mapping[str, File]

    @property
    def inputs(self) -> dict[str, str]:
        return {name: network.path for name, network in self.networks.items()}


@dataclass(frozen=True)
class PurifiedImages(OfRun):
    """Images of a split, purified. `images` is how many of its first ones; None: all."""

    split: str
    images: int | None
    purifier: Purifier

    @property
    def path(self) -> str:
        return f"{self.folder}/purified/clean/{self.purifier.name}/{self.split}.h5"

    @property
    def inputs(self) -> dict[str, str]:
        return {"dataset": self.dataset.path, **self.purifier.inputs}


@dataclass(frozen=True)
class Classifier(OfRun):
    """A trained classifier. `training` names the folder: "plain", or the defence it belongs to."""

    training: str
    name: str
    settings: Mapping[str, Any]
    adversarial_epsilon: float | None = None
    reconstructions: PurifiedImages | None = None

    @property
    def path(self) -> str:
        return f"{self.folder}/classifiers/{self.training}/{self.name}.safetensors"

    @property
    def inputs(self) -> dict[str, str]:
        training = {"reconstructions": self.reconstructions.path} if self.reconstructions else {}
        return {"dataset": self.dataset.path, **training}


@dataclass(frozen=True)
class Attack(Artifact):
    """An attack's method and settings; `name` is its key in the config."""

    name: str
    method: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class AdversarialSet(OfRun):
    """Adversarial images against a classifier, or against a classifier behind a purifier.

    `threat_model` says what the attacker differentiates: `classifier` (the bare classifier; this is
    the gray box of every purifier put before it), `white_box` (through all of purifier and
    classifier), `white_box_bpda` (the same, the purifier's backward pass replaced by the identity).
    """

    VERSION: ClassVar[int] = 1

    threat_model: str
    attack: Attack
    images: int | None
    classifier: Classifier
    purifier: Purifier | None = None

    @property
    def victim(self) -> str:
        owner = self.purifier.name if self.purifier else self.classifier.training
        return f"{self.threat_model}/{owner}/{self.classifier.name}/{self.attack.name}.h5"

    @property
    def path(self) -> str:
        return f"{self.folder}/adversarial/{self.victim}"

    @property
    def purified_path(self) -> str:
        """Where the attacked purifier's output on the adversarial images lies."""
        if self.purifier is None:
            raise ValueError(f"{self.path} was made against a bare classifier: nothing purifies it")
        return f"{self.folder}/purified/{self.victim}"

    @property
    def inputs(self) -> dict[str, str]:
        networks = self.purifier.inputs if self.purifier else {}
        return {"dataset": self.dataset.path, "classifier": self.classifier.path, **networks}


@dataclass(frozen=True)
class PurifiedSet(OfRun):
    """A gray-box adversarial set after a purifier that its attacker did not know."""

    adversarial: AdversarialSet
    purifier: Purifier

    @property
    def path(self) -> str:
        attack, classifier = self.adversarial.attack.name, self.adversarial.classifier.name
        return f"{self.folder}/purified/gray_box/{self.purifier.name}/{classifier}/{attack}.h5"

    @property
    def inputs(self) -> dict[str, str]:
        return {"adversarial": self.adversarial.path, **self.purifier.inputs}


@dataclass(frozen=True)
class Cell(Artifact):
    """One number of a table: the accuracy of `classifier` on the images at `images`.

    `labels` are the columns that name the number in the long table; `adversarial` is the set whose
    norms and success stand beside it (None: clean images).
    """

    labels: Mapping[str, Any]
    classifier: Classifier
    images: File
    images_path: str
    split: str | None = None
    adversarial: AdversarialSet | None = None

    @property
    def paths(self) -> dict[str, str | None]:
        """The files the number is computed from."""
        return {
            "classifier": self.classifier.path,
            "images": self.images_path,
            "adversarial": self.adversarial.path if self.adversarial else None,
        }


@dataclass(frozen=True)
class Measurement(File):
    """The numbers of one table that share dataset, seed, classifier and attack."""

    folder: str
    table: str
    classifier: str
    attack: str
    cells: tuple[Cell, ...]

    @property
    def path(self) -> str:
        return f"{self.folder}/measurements/{self.table}/{self.classifier}/{self.attack}.csv"

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """As every recipe, but with digests for its many cells."""
        cells = [
            {"labels": dict(cell.labels), "paths": cell.paths, "split": cell.split,
             "classifier": cell.classifier.recipe["settings"], "digest": cell.digest}
            for cell in self.cells
        ]  # fmt: skip
        return {"kind": "Measurement", "version": self.VERSION, "cells": cells}

    @property
    def inputs(self) -> list[str]:  # type: ignore[override]
        """All files, each once, in a stable order."""
        paths = [path for cell in self.cells for path in cell.paths.values() if path]
        return list(dict.fromkeys(paths))


@dataclass(frozen=True)
class Table(File):
    """A paper's table: its measurements, and what the reader is told of the settings."""

    name: str
    measurements: tuple[Measurement, ...]

    @property
    def path(self) -> str:
        return f"results/{self.name}.csv"

    @cached_property
    def recipe(self) -> dict[str, Any]:
        digests = {measurement.path: measurement.digest for measurement in self.measurements}
        return {"kind": "Table", "version": self.VERSION, "name": self.name, "digests": digests}

    @property
    def inputs(self) -> list[str]:  # type: ignore[override]
        return [measurement.path for measurement in self.measurements]


@dataclass(frozen=True)
class Examples(OfRun):
    """A picture of the same few test images clean, attacked and purified.

    `rows` are (label, path of the images, split of a dataset file or None, classifier that names
    the class below each image), from top to bottom.
    """

    classifier: str
    attack: str
    columns: int
    rows: tuple[tuple[str, str, str | None, str], ...]
    upstream: tuple[File, ...]

    @property
    def path(self) -> str:
        return f"{self.folder}/figures/examples/{self.classifier}/{self.attack}.png"

    @cached_property
    def recipe(self) -> dict[str, Any]:
        digests = [file.digest for file in self.upstream]
        return {"kind": "Examples", "version": self.VERSION, "columns": self.columns,
                "rows": [list(row) for row in self.rows], "digests": digests}  # fmt: skip

    @property
    def inputs(self) -> list[str]:  # type: ignore[override]
        paths = [path for _, images, _, classifier in self.rows for path in (images, classifier)]
        return list(dict.fromkeys(paths))
