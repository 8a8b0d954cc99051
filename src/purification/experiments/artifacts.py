"""What the workflow makes: each artifact as a small frozen dataclass with its path and recipe.

A recipe is everything that decides an artifact's content: its own settings, the seed, the version
of the code that makes it (`VERSION`, raised by hand), and the recipes of all that it is made from.
Rules put it into their `params`, so that Snakemake remakes exactly what a change of the config
concerns. Settings that cannot change a result (batch sizes of attacks, threads) are in no recipe.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar

from purification.experiments.papers import Study
from purification.experiments.quirks import (
    CONCERNED,
    KEEP_PROBABILITY,
    KEY,
    PREDICTED_LABELS,
    QUIRKS,
    is_kept,
    ordered,
)
from purification.facts import facts_at
from purification.provenance import digest_of


def later(default: Any, **metadata: str) -> Any:
    """A field that its kind got after there were files of it. While it has the default it stands in
    no recipe, so that those files stay fresh."""
    return field(default=default, metadata={"left_out": default, **metadata})


@dataclass(frozen=True)
class Artifact:
    """Something with a recipe. Subclasses' fields are settings, or other artifacts (upstream)."""

    KIND: ClassVar[str] = ""
    """What recipes call it; without one that is the class's name."""
    VERSION: ClassVar[int] = 1

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """All settings that decide the content, upstream included, as plain JSON values."""
        kind = self.KIND or type(self).__name__
        return {"kind": kind, "version": self.VERSION, **self.content_recipe()}

    def content_recipe(self) -> dict[str, Any]:
        """The recipe without kind and version: all fields. A kind of many parts has their digests
        instead."""
        return {
            f.name: _plain(value)
            for f in fields(self)
            if (value := getattr(self, f.name)) != f.metadata.get("left_out", _NEVER)
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the recipe, 16 hexadecimal digits."""
        return digest_of(self.recipe)

    @property
    def own_quirks(self) -> frozenset[str]:
        """The quirks of published code (`experiments.quirks`) that its own settings are."""
        return frozenset(getattr(self, "quirks", ()))

    @cached_property
    def all_quirks(self) -> frozenset[str]:
        """Those that decide its content: its own, and those of what it is made from."""
        return self.own_quirks.union(*(_quirks_in(getattr(self, f.name)) for f in fields(self)))


def _quirks_in(value: Any) -> frozenset[str]:
    """The quirks of all artifacts in a field."""
    if isinstance(value, Artifact):
        return value.all_quirks
    if isinstance(value, Recipe):
        return frozenset(value.quirks)
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return frozenset()
    return frozenset().union(*map(_quirks_in, value))


_NEVER = object()


def _plain(value: Any, stands_for: Callable[[Any], Any] = lambda artifact: artifact.recipe) -> Any:
    """Plain JSON values, with what stands for each artifact."""
    if isinstance(value, Artifact):
        return stands_for(value)
    if isinstance(value, Mapping):
        return {key: _plain(item, stands_for) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, stands_for) for item in value]
    return value


class File(Artifact):
    """An artifact that is a file. `PATH` is the format of its path, of which it is the argument."""

    PATH: ClassVar[str]

    @property
    def path(self) -> str:
        return self.PATH.format(self)

    @property
    def sources(self) -> dict[str, "File"]:
        """The files it is made from, by the name its script calls them; those without a name of
        their own by their path. Unless a kind says otherwise, those among its fields, each by the
        field's name or the `source` of its metadata, and the networks of its purifiers."""
        found: dict[str, File] = {}
        for own in fields(self):
            match getattr(self, own.name):
                case File() as file:
                    found[own.metadata.get("source", own.name)] = file
                case BuiltPurifier(networks=networks):
                    found |= networks
        return found

    @property
    def inputs(self) -> dict[str, str]:
        """The places of `sources`."""
        return {name: file.path for name, file in self.sources.items()}

    @property
    def files(self) -> list[str]:
        """The places alone."""
        return list(self.inputs.values())

    @property
    def parts(self) -> list["Part"]:
        """Further files of the same job that carry its recipe."""
        return []

    @cached_property
    def job(self) -> "Recipe":
        """What the job that makes it is told: its recipe, and those of the files it reads."""
        return Recipe(self.recipe, self.sources.values())

    def quirks_in(self, group: str | None) -> frozenset[str]:
        """The quirks that decide one of its sets."""
        return self.all_quirks

    def shown(self, header: str) -> dict[str, Any]:
        """A column of its images in a picture, as `evaluation.reconstructions` wants it."""
        return {"header": header, "images": self, "digest": self.digest}


class Recipe(dict[str, Any]):
    """A recipe as it is handed to a job, with those of the files that this reads, by their paths.

    Snakemake compares parameters as they are printed. This one prints as its digest, in which the
    order of keys does not count: swapping two lines of the config remakes nothing.
    """

    def __init__(self, content: Mapping[str, Any], files: Iterable[File] = ()) -> None:
        super().__init__(content)
        self._files = tuple(files)
        self.sources = {file.path: file.recipe for file in self._files}

    @cached_property
    def networks(self) -> list[str]:
        """The places of all networks that the job's result hangs on, those upstream included: its
        page tells which of them were not trained here."""
        made = all_made(self._files)
        found = {file.path for file in made if file.path.endswith(".safetensors")}
        return sorted(found.union(*(f.content.networks for f in made if isinstance(f, Made))))

    @cached_property
    def quirks(self) -> dict[str, str]:
        """The quirks of published code that the job's result hangs on, with what each does: what it
        writes for a reader says so."""
        return {name: QUIRKS[name] for name in ordered(_quirks_in(self._files))}

    def __getstate__(self) -> dict[str, Any]:
        """For the job's own process, which needs no artifacts."""
        return {"sources": self.sources, "networks": self.networks, "quirks": self.quirks}

    @cached_property
    def digest(self) -> str:
        """As of an artifact."""
        return digest_of(self)

    def __repr__(self) -> str:
        return f"<{self.get('kind', 'recipe')} {self.digest}>"


def told(content: Mapping[str, Any], further: Iterable[File] = ()) -> Recipe:
    """What a job is told that makes no artifact: `content`, in which files stand for their paths,
    with the recipes of these files and of `further`, all of which it reads."""
    return Recipe(placed(content), [*files_in(content), *further])


def placed(value: Any) -> Any:
    """Plain JSON values, each file by its path."""
    return _plain(value, lambda file: file.path)


def files_in(value: Any) -> list[File]:
    """All files that stand somewhere in a value, in their order."""
    if isinstance(value, File):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [file for item in value for file in files_in(item)]
    return []


def all_made(files: Iterable[File]) -> list[File]:
    """Files and all that they are made from, one of each place."""
    found: dict[str, File] = {}
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file.path not in found:
            found[file.path] = file
            waiting += file.sources.values()
    return list(found.values())


def _by_path(files: Iterable[File]) -> dict[str, File]:
    return {file.path: file for file in files}


@dataclass(frozen=True)
class Made(File):
    """A file of a job that makes no artifact: its recipe is what the job is told."""

    PATH = "{0.place}"

    place: str
    content: Recipe

    @property
    def files(self) -> list[str]:
        return list(self.content.sources)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        return self.content

    @cached_property
    def job(self) -> Recipe:
        return self.content


@dataclass(frozen=True)
class Part(File):
    """A further file that the job of an artifact writes: of the same recipe, at another place."""

    PATH = "{0.place}"

    whole: File
    place: str

    @property
    def sources(self) -> dict[str, File]:
        return self.whole.sources

    @cached_property
    def recipe(self) -> dict[str, Any]:
        return self.whole.recipe


@dataclass(frozen=True)
class Dataset(File):
    """Train, validation and test images of one dataset."""

    PATH = "results/{0.name}/dataset.h5"

    name: str
    settings: Mapping[str, Any]

    @property
    def for_training(self) -> "Dataset":
        """The same file to one who reads no test image of it: where these have a file or list of
        their own, their number decides nothing about the other splits, and must not make a trained
        network stale. (What a user's own makes of that number is unknown.)"""
        source = self.settings["source"]
        if ":" in source or "test" not in facts_at("datasets", source).stated["images"]:
            return self
        return replace(self, settings={k: v for k, v in self.settings.items() if k != "test"})

    @cached_property
    def megabytes(self) -> int:
        """What all its images take, as float32. 0 for a user's own that does not state it."""
        stated = facts_at("datasets", self.settings["source"]).stated
        images = stated.get("images", {}).items()
        count = sum(self.settings.get(split) or n for split, n in images)
        return int(-(-count * math.prod(stated.get("shape", ())) * 4 // 10**6))


@dataclass(frozen=True)
class OfRun(File):
    """A file of one run (dataset and seed)."""

    dataset: Dataset
    seed: int

    @property
    def folder(self) -> str:
        return f"results/{self.dataset.name}/seed{self.seed}"


PICTURED = {"generators": "wgan_gp", "gans": "gan", "diffusions": "diffusion"}
"""Folders of the networks of which samples and a loss curve are drawn, and their kinds."""


@dataclass(frozen=True)
class TrainedNetwork(OfRun):
    """A network, or several in one file, trained on the training images."""

    PATH = "{0.stem}.safetensors"
    FOLDER: ClassVar[str]

    name: str
    settings: Mapping[str, Any]

    @property
    def stem(self) -> str:
        """What its files have in common."""
        return f"{self.folder}/{self.FOLDER}/{self.name}"

    @property
    def adopted(self) -> bool:
        """Whether its weights were trained elsewhere: then there is no history."""
        return "checkpoint" in self.settings

    @property
    def history(self) -> "Part":
        """Its losses over the training."""
        return Part(self, f"{self.stem}.history.csv")

    @property
    def parts(self) -> list["Part"]:
        return [] if self.adopted else [self.history]

    @property
    def pictures(self) -> list["Part"]:
        """What is drawn of it: samples and loss curve of those in `PICTURED`."""
        drawn = ("samples",) if self.adopted else ("samples", "curve")
        return [Part(self, f"{self.stem}.{one}.png") for one in drawn if self.FOLDER in PICTURED]


@dataclass(frozen=True)
class ResumedNetwork(TrainedNetwork):
    """One whose interrupted training goes on from its last saved state."""

    @property
    def resume_digest(self) -> str:
        """Equal for trainings that differ in length only: a longer one continues a shorter one."""
        settings = {k: v for k, v in self.settings.items() if k != "iterations"}
        return replace(self, settings=settings).digest


@dataclass(frozen=True)
class TrainedGenerator(ResumedNetwork):
    """A WGAN-GP's generator."""

    KIND = "Generator"

    FOLDER = "generators"


@dataclass(frozen=True)
class TrainedDiffusion(ResumedNetwork):
    """A diffusion model: what predicts the noise of an image."""

    KIND = "Diffusion"

    FOLDER = "diffusions"


@dataclass(frozen=True)
class TrainedAEGAN(TrainedNetwork):
    """Encoder and generator of AE, AE-GAN or AE-GAN+r."""

    KIND = "AEGAN"

    FOLDER = "ae_gans"


@dataclass(frozen=True)
class TrainedBiGAN(TrainedNetwork):
    """Encoder and generator of a BiGAN."""

    KIND = "BiGAN"

    FOLDER = "bigans"


@dataclass(frozen=True)
class TrainedGAN(TrainedNetwork):
    """Generator and discriminator of Cowboy's GAN; and, in a second file, what they were after
    fewer iterations (`snapshots` of the settings)."""

    KIND = "GAN"

    FOLDER = "gans"

    @property
    def parts(self) -> list["Part"]:
        return [] if self.adopted else [self.history, self.snapshots_file]

    @property
    def snapshots_file(self) -> "Part":
        return Part(self, f"{self.stem}.snapshots.safetensors")


@dataclass(frozen=True)
class BuiltPurifier(Artifact):
    """A purifier: its settings and the networks it is made of. Not a file: it is built when used.
    `name` is the defence's key in the config, and the purifier's folder; it seeds the starts."""

    KIND = "Purifier"

    name: str
    seed: int
    method: str
    settings: Mapping[str, Any]
    networks: Mapping[str, File]
    code: str = later("")
    arithmetic: int = later(1)
    files: Mapping[str, str] | None = later(None)

    @property
    def inputs(self) -> dict[str, str]:
        return {name: network.path for name, network in self.networks.items()}


@dataclass(frozen=True)
class PurifiedImages(OfRun):
    """Images of a split, purified. `images` is how many of its first ones; None: all. `deployment`
    is the defence's key in the config where that is another than the purifier's. `judged_draws`: of
    a randomised one, draws of each image, a set for each (`draw1`, ...); None: there is one set."""

    split: str
    images: int | None
    purifier: BuiltPurifier
    deployment: str | None = later(None)
    judged_draws: int | None = later(None)
    quirks: tuple[str, ...] = later(())

    @property
    def path(self) -> str:
        place = self.deployment or self.purifier.name
        return f"{self.folder}/purified/clean/{place}/{self.split}.h5"


@dataclass(frozen=True)
class Classifier(OfRun):
    """A trained classifier. `training` names the folder: "plain", or the defence it belongs to."""

    training: str
    name: str
    settings: Mapping[str, Any]
    adversarial_epsilon: float | None = None
    reconstructions: PurifiedImages | None = None
    adversarial_pgd: Mapping[str, Any] | None = later(None)
    adversarial_labels: str = later("ground_truth")
    end_to_end: "EndToEnd | None" = later(None)  # noqa: RUF009 (a string hides that it is frozen)

    @property
    def path(self) -> str:
        if self.end_to_end:
            return f"{self.end_to_end.stem}.classifier.safetensors"
        return f"{self.folder}/classifiers/{self.training}/{self.name}.safetensors"

    @property
    def sources(self) -> dict[str, File]:
        return self.end_to_end.sources if self.end_to_end else super().sources

    @property
    def own_quirks(self) -> frozenset[str]:
        return frozenset([KEEP_PROBABILITY] if is_kept(self.settings) else [])


@dataclass(frozen=True)
class Attack(Artifact):
    """An attack's method and settings; `name` is its key in the config. As in every artifact of a
    user's own code, `code` is the digest of its file, `files` are those of what it reads, by name.
    """

    name: str
    method: str
    settings: Mapping[str, Any]
    code: str = later("")
    files: Mapping[str, str] | None = later(None)

    @property
    def own_quirks(self) -> frozenset[str]:
        predicted = self.settings.get("labels") == "predicted"
        return frozenset([PREDICTED_LABELS] if predicted else [])


@dataclass(frozen=True)
class AdversarialSet(OfRun):
    """Adversarial images against a bare classifier: the first `images` (None: all) of a split. Of
    the plain one they are the gray box of every purifier that is put before it."""

    attack: Attack
    images: int | None
    classifier: Classifier
    split: str = later("test")

    @property
    def path(self) -> str:
        victim = f"{self.classifier.training}/{self.classifier.name}"
        place = "adversarial" if self.split == "test" else f"adversarial_{self.split}"
        return f"{self.folder}/{place}/{victim}/{self.attack.name}.h5"


@dataclass(frozen=True)
class AdversarialCopies(OfRun):
    """Copies of all training images, attacked through a bare classifier: one for each of `attacks`,
    by the name of its group in the file. `name` is the attack's key in the config."""

    PATH = "{0.folder}/copies/{0.classifier.name}/{0.name}.h5"

    name: str
    attacks: tuple[tuple[str, Attack], ...]
    classifier: Classifier


@dataclass(frozen=True)
class TrainedDefense(TrainedNetwork):
    """What a defence has learned. Where that is from `copies` or from the classifier itself
    (`victim`), there is one for each `classifier`. `networks` are those that it is built with."""

    FOLDER = "defenses"

    method: str = later("")
    code: str = later("")
    files: Mapping[str, str] | None = later(None)  # type: ignore[assignment]  # so in recipes
    classifier: str = later("")
    copies: tuple[AdversarialCopies, ...] = later(())
    victim: Classifier | None = later(None, source="classifier")  # noqa: RUF009 (it is frozen)
    networks: Mapping[str, TrainedNetwork] | None = later(None)

    @property
    def stem(self) -> str:
        return f"{super().stem}/{self.classifier}" if self.classifier else super().stem

    @property
    def sources(self) -> dict[str, File]:
        return {**super().sources, **_copies_sources(self.copies), **(self.networks or {})}


@dataclass(frozen=True)
class TrainedAutoencoder(TrainedDefense):
    """MagNet's autoencoder."""

    KIND = "Autoencoder"

    FOLDER = "autoencoders"


@dataclass(frozen=True)
class TrainedVAE(TrainedDefense):
    """A VAE that turns attacked images of one classifier into clean ones."""

    KIND = "DefenseVAE"

    FOLDER = "vaes"

    copies: tuple[AdversarialCopies, ...] = ()
    end_to_end: "EndToEnd | None" = None

    @property
    def path(self) -> str:
        return f"{self.end_to_end.stem}.vae.safetensors" if self.end_to_end else super().path

    @property
    def parts(self) -> list["Part"]:
        return [] if self.end_to_end else super().parts

    @property
    def sources(self) -> dict[str, File]:
        return self.end_to_end.sources if self.end_to_end else super().sources


@dataclass(frozen=True)
class EndToEnd(OfRun):
    """Joint training of a VAE and a classifier, which begins with the weights of `vae` and
    `classifier` or, `from_scratch`, with new ones of their kind. `curve`: images on which the pair
    is measured after each epoch."""

    PATH = "{0.stem}.history.csv"

    name: str
    vae: TrainedVAE
    classifier: Classifier
    from_scratch: bool
    settings: Mapping[str, Any]
    curve: AdversarialSet

    @property
    def stem(self) -> str:
        """What its three files have in common. Its own is the history, of the training alone."""
        return f"{self.folder}/end_to_end/{self.name}/{self.classifier.name}"

    @property
    def sources(self) -> dict[str, File]:
        begin = {"vae": self.vae, "classifier": self.classifier}
        given = {"dataset": self.dataset, "curve": self.curve}
        return {**given, **_copies_sources(self.vae.copies), **({} if self.from_scratch else begin)}


def _copies_sources(copies: tuple[AdversarialCopies, ...]) -> dict[str, File]:
    return {f"copies_{made.name}": made for made in copies}


@dataclass(frozen=True)
class AttackedDefense(OfRun):
    """A purifier and the classifier behind it under one attack, in each threat model: the
    adversarial images, and what the purifier makes of them.

    `threat_models` maps what the attacker differentiates to the number of images attacked (None:
    all): `white_box` (through purifier and classifier), `white_box_bpda` (the same, with the
    identity for the purifier's backward pass), `gray_box` (the images of `gray`, made by one who
    knows of no defence). One file for all: a job for each would spend more time on starting than
    on computing. `deployment`: as of `PurifiedImages`. `judged_draws`: of a randomised one,
    the draws on which it is judged; there are `white_box_fixed` and `white_box_bpda_fixed` of it,
    too, in which the attacker knows the draw. `surrogate`: the settings of the cheaper version of
    the purifier that the threat model of that name differentiates. `again`: threat models that have
    the set of another, because the attack sees the same in both, by whose. `quirks`: those of
    published code with which it is attacked and judged, each in the threat models that it concerns.
    """

    attack: Attack
    threat_models: Mapping[str, int | None]
    classifier: Classifier
    purifier: BuiltPurifier
    gray: AdversarialSet | None = field(metadata={"source": "gray_box"})
    deployment: str | None = later(None)
    judged_draws: int | None = later(None)
    surrogate: Mapping[str, Any] | None = later(None)
    again: Mapping[str, str] | None = later(None)
    quirks: tuple[str, ...] = later(())

    @property
    def sets(self) -> dict[str, str]:
        """The threat models that are measured, and the name of the set of each in the file."""
        return {**{name: name for name in self.threat_models}, **(self.again or {})}

    @property
    def path(self) -> str:
        defended = f"{self.deployment or self.purifier.name}/{self.classifier.name}"
        return f"{self.folder}/attacked/{defended}/{self.attack.name}.h5"

    def quirks_in(self, group: str | None) -> frozenset[str]:
        others = replace(self, quirks=()).all_quirks
        return others.union(name for name in self.quirks if group in CONCERNED[name])


@dataclass(frozen=True)
class CascadeStage(Artifact):
    """An attack of a cascade on what the attacker of a threat model has; `surrogate`: the settings
    of the cheaper version of the defence, if it is that; `begin`: "strongest", if it goes on from
    what the stages before found."""

    attack: Attack
    threat_model: str
    surrogate: Mapping[str, Any] | None = later(None)
    begin: str | None = later(None)


@dataclass(frozen=True)
class OtherDefense(Artifact):
    """What a defence deploys whose images are transferred: a classifier, and the purifier before
    it, if there is one."""

    classifier: Classifier
    purifier: BuiltPurifier | None


@dataclass(frozen=True)
class AttackedAdaptively(OfRun):
    """A defence under a cascade of attacks, each on the images that those before have left: the
    strongest image that was found for each of the first `images` (None: all) of a `split`. `norm`
    and `epsilon`: of the ball. `defense` is its key in the config, "none" of the plain classifier.

    `gray` is the plain classifier where a stage attacks it and it is not the deployed one; `others`
    are the defences that stages attack, by name. What the stages cost is in a file of its own,
    because part of it is measured time. A randomised defence is attacked on a draw of each image
    that the attacker knows (`known_draw`), or the attacker selects by `selection_draws` of its own
    and the images are judged on `judged_draws` others. `checks`: whether it is looked into what the
    stages may have missed. `every_image`: whether each stage that does not go on attacks all images
    that are right as they are, and what it leaves by itself is kept; images that were made for
    known draws are then judged on `judged_draws` fresh ones, too.
    """

    PATH = "{0.stem}.h5"

    cascade: str
    defense: str
    norm: str
    epsilon: float
    images: int | None
    stages: tuple[CascadeStage, ...]
    classifier: Classifier
    purifier: BuiltPurifier | None
    gray: Classifier | None = field(metadata={"source": "gray_box"})
    others: Mapping[str, OtherDefense]
    selection_draws: int | None = later(None)
    judged_draws: int | None = later(None)
    known_draw: bool = later(False)
    checks: bool = later(False)
    every_image: bool = later(False)
    split: str = later("test")

    @property
    def stem(self) -> str:
        """What its files have in common."""
        folder = "adaptive_fixed" if self.known_draw else "adaptive"
        return f"{self.folder}/{folder}/{self.cascade}/{self.defense}/{self.classifier.name}"

    @property
    def parts(self) -> list["Part"]:
        return [self.costs]

    @property
    def costs(self) -> "Part":
        """What each stage cost."""
        return Part(self, f"{self.stem}.costs.csv")

    @property
    def sources(self) -> dict[str, File]:
        found = super().sources
        for name, other in self.others.items():
            networks = other.purifier.networks if other.purifier else {}
            parts = {"classifier": other.classifier, **networks}
            found |= {f"transfer_{name}_{part}": file for part, file in parts.items()}
        return found


@dataclass(frozen=True)
class Substitute(OfRun):
    """The black-box attacker's own classifier, trained on labels of an oracle: `classifier`, behind
    `purifier` if there is one. `oracle` names it: "plain", or the defence that is deployed.
    `settings` are the network's, `training` what `train_substitute` takes. The images are the
    attacker's test images and what grows from them."""

    PATH = "{0.folder}/substitutes/{0.pair}.safetensors"

    oracle: str
    classifier: Classifier
    purifier: BuiltPurifier | None
    name: str
    settings: Mapping[str, Any]
    training: Mapping[str, Any]

    @property
    def pair(self) -> str:
        """The part of a path that tells one substitute of a run from the others."""
        return f"{self.oracle}/{self.classifier.name}/{self.name}"

    @property
    def own_quirks(self) -> frozenset[str]:
        return frozenset([KEEP_PROBABILITY] if is_kept(self.settings) else [])


@dataclass(frozen=True)
class BlackBoxSet(AdversarialSet):
    """Adversarial images against a substitute: the first `images` (None: all) of the test images
    that the attacker does not have."""

    classifier: Substitute  # type: ignore[assignment]

    @property
    def pair(self) -> str:
        """The part of a path that tells one set of a run from the others."""
        return f"black_box/{self.classifier.pair}/{self.attack.name}"

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.pair}.h5"


@dataclass(frozen=True)
class PurifiedBlackBox(OfRun):
    """What a purifier makes of a black-box set, with what that set says of each image: one file for
    all classifiers behind it, because the search is what takes time."""

    attacked: BlackBoxSet
    purifier: BuiltPurifier
    deployment: str | None = later(None)
    quirks: tuple[str, ...] = later(())

    @property
    def path(self) -> str:
        pair, attack = self.attacked.classifier.pair, self.attacked.attack.name
        place = self.deployment or self.purifier.name
        return f"{self.folder}/purified/black_box/{place}/{pair}/{attack}.h5"

    @property
    def sources(self) -> dict[str, File]:
        return {"attacked": self.attacked, **self.purifier.networks}


@dataclass(frozen=True)
class Sweep(OfRun):
    """What one latent search makes of the same images for several steps L and restarts R at once:
    `cells`, by the name of their group in the file. Its purifier is without L and R. The images are
    the first `images` (None: all) of a clean `split`, or those of `attacked`. `defense` names the
    folder."""

    defense: str
    purifier: BuiltPurifier
    cells: Mapping[str, tuple[int, int]]
    split: str | None = None
    images: int | None = None
    attacked: BlackBoxSet | None = None

    @property
    def path(self) -> str:
        images = self.attacked.pair if self.attacked else f"clean/{self.split}"
        return f"{self.folder}/sweeps/{self.defense}/{images}.h5"

    @property
    def sources(self) -> dict[str, File]:
        given = {"attacked": self.attacked} if self.attacked else {"dataset": self.dataset}
        return {**given, **self.purifier.networks}


@dataclass(frozen=True)
class DiscriminatorScores(OfRun):
    """What a GAN's discriminator says of clean validation and test images, and of attacked ones:
    for each attack its sets. `defense` names the folder."""

    PATH = "{0.folder}/scores/{0.defense}.csv"

    defense: str
    gan: TrainedGAN
    attacked: Mapping[str, tuple[AdversarialSet, ...]]

    def content_recipe(self) -> dict[str, Any]:
        sets = {name: {s.split: s.digest for s in found} for name, found in self.attacked.items()}
        return {"gan": self.gan.recipe, "attacked": sets}

    @property
    def sources(self) -> dict[str, File]:
        sets = {f"{name}_{s.split}": s for name, found in self.attacked.items() for s in found}
        return super().sources | sets


@dataclass(frozen=True)
class TrainingCourse(OfRun):
    """How well a purifier cleans one attack's images, and what its discriminator says of them,
    with its GAN after fewer training iterations, for several numbers of search steps."""

    PATH = "{0.folder}/courses/{0.purifier.name}.cleaning.csv"

    purifier: BuiltPurifier
    attacked: AdversarialSet
    training_steps: tuple[int, ...]
    cleaning_steps: tuple[int, ...]

    @property
    def parts(self) -> list[Part]:
        return [self.scores_file]

    @property
    def scores_file(self) -> Part:
        return Part(self, f"{self.folder}/courses/{self.purifier.name}.scores.csv")

    @property
    def sources(self) -> dict[str, File]:
        [gan] = self.purifier.networks.values()
        assert isinstance(gan, TrainedGAN)
        return {
            "dataset": self.dataset,
            "snapshots": gan.snapshots_file,
            "attacked": self.attacked,
            "classifier": self.attacked.classifier,
        }


@dataclass(frozen=True)
class GeneratorQuality(OfRun):
    """How well the images of some generators match real ones, by the features of a classifier.
    `images`: of each set, at most (None: as many as there are test images). `draws`: of codes."""

    PATH = "{0.folder}/measurements/generator_quality.csv"

    classifier: Classifier
    generators: tuple[TrainedNetwork, ...]
    images: int | None
    draws: int

    @property
    def sources(self) -> dict[str, File]:
        networks: dict[str, File] = {f"generator_{made.name}": made for made in self.generators}
        networks |= {
            f"snapshots_{made.name}": made.snapshots_file
            for made in self.generators
            if isinstance(made, TrainedGAN) and not made.adopted
        }
        return super().sources | networks


def cell_group(steps: int, restarts: int) -> str:
    """The group of a `Sweep` file that holds one (L, R)."""
    return f"L{steps}_R{restarts}"


@dataclass(frozen=True)
class Cell(Artifact):
    """One number of a table: the accuracy of `classifier` on the images of a file: of its set
    `group`, or of a data set's `split`. `labels` are the columns that name it in the long table.
    `hold_out`: without the first images, which the black-box attacker has."""

    labels: Mapping[str, Any]
    classifier: Classifier
    images: File
    group: str | None = None
    split: str | None = None
    hold_out: bool = later(False)

    @cached_property
    def all_quirks(self) -> frozenset[str]:
        return self.classifier.all_quirks | self.images.quirks_in(self.group)

    @property
    def summary(self) -> dict[str, Any]:
        """What its measurement needs, and a digest of all that decides it."""
        return {
            "labels": dict(self.labels),
            "classifier": self.classifier.path,
            "images": self.images.path,
            "group": self.group,
            "split": self.split,
            "digest": self.digest,
            **({"hold_out": True} if self.hold_out else {}),
        }


def files_of(cells: Iterable[Cell]) -> dict[str, File]:
    """All files that the cells are computed from, each once, in a stable order, by their paths."""
    return _by_path(file for cell in cells for file in (cell.classifier, cell.images))


@dataclass(frozen=True)
class Measurement(File):
    """The numbers of one table that share dataset, seed, classifier and attack."""

    PATH = "{0.folder}/measurements/{0.table}/{0.classifier}/{0.attack}.csv"

    folder: str
    table: str
    classifier: str
    attack: str
    cells: tuple[Cell, ...]

    def content_recipe(self) -> dict[str, Any]:
        return {"cells": [cell.summary for cell in self.cells]}

    @property
    def sources(self) -> dict[str, File]:
        return files_of(self.cells)


@dataclass(frozen=True)
class Timing(OfRun):
    """How long a defence's latent search takes, over numbers of steps and of restarts. Of measured
    wall time the same recipe gives other numbers each time. `search`: its own other settings;
    `settings`: the lists of steps and restarts, `repeats`, `largest_batch`. `place`: its name in
    that folder."""

    defense: str
    search: Mapping[str, Any]
    generator: TrainedNetwork
    settings: Mapping[str, Any]
    place: str | None = later(None)

    @property
    def path(self) -> str:
        return f"{self.folder}/timings/{self.place or self.defense}.csv"


@dataclass(frozen=True)
class RunTimes(OfRun):
    """How long a one-pass purifier takes for 1,000 images, and a search at several settings:
    measured wall time. `searches`: steps and restarts by the name of each measurement; `settings`:
    numbers of images and of repeats. `place`: as of `Timing`."""

    defense: str
    purifier: BuiltPurifier
    search: BuiltPurifier
    searches: Mapping[str, Mapping[str, int]]
    settings: Mapping[str, Any]
    place: str | None = later(None)

    @property
    def path(self) -> str:
        return f"{self.folder}/run_times/{self.place or self.defense}.csv"

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """What is timed, as `evaluation.run_time.run_time_rows` wants it; a search in one batch."""
        once = {"purifier": self.purifier.recipe, "files": self.purifier.inputs}
        once |= {"images": self.settings["images"], "batch_size": self.settings["batch"]}
        jobs = [{"name": self.defense, **once}]
        search = {"purifier": self.search.recipe, "files": self.search.inputs}
        search |= dict.fromkeys(("images", "batch_size"), self.settings["search_images"])
        return [*jobs, *({"name": n, **search, **own} for n, own in self.searches.items())]


@dataclass(frozen=True)
class PurificationCosts(OfRun):
    """What the purification of an image costs each of several purifiers before one classifier:
    passes through its network, and measured wall time, of `images` images, `repeats` times. As of
    `Timing`, the same recipe gives other times. `purifiers` by the names of their defences.
    `board`: the leaderboard that they are of, if it is not the first."""

    PATH = "{0.folder}/purification_costs/{0.of}.csv"

    classifier: str
    purifiers: Mapping[str, BuiltPurifier]
    images: int
    repeats: int
    board: str = later("")

    @property
    def of(self) -> str:
        """The part of the path that tells one from the others of a run."""
        return f"{self.board}/{self.classifier}" if self.board else self.classifier

    @property
    def sources(self) -> dict[str, File]:
        networks = {
            f"{defense}_{part}": file
            for defense, purifier in self.purifiers.items()
            for part, file in purifier.networks.items()
        }
        return super().sources | networks


@dataclass(frozen=True)
class CleanedByEach(OfRun):
    """The same attacked images, and what each of several purifiers makes of them: the first of each
    of `images` classes. `purifiers` and the `classifiers` behind them by the names of their
    defences."""

    PATH = "{0.folder}/cleaned/{0.attacked.classifier.name}/{0.attacked.attack.name}.h5"

    attacked: AdversarialSet
    images: int
    purifiers: Mapping[str, BuiltPurifier]
    classifiers: Mapping[str, Classifier]

    @property
    def sources(self) -> dict[str, File]:
        found = {**super().sources, "classifier": self.attacked.classifier}
        for defense, purifier in self.purifiers.items():
            parts = {"classifier": self.classifiers[defense], **purifier.networks}
            found |= {f"{defense}_{part}": file for part, file in parts.items()}
        return found


@dataclass(frozen=True)
class InferenceRule(OfRun):
    """What a purifier that searches suspicious images alone searches, costs and saves, on clean
    images and on those of `attacked`. As of `Timing`, part of the content is measured wall time."""

    PATH = "{0.folder}/inference_rules/{0.purifier.name}.csv"

    purifier: BuiltPurifier
    classifier: Classifier
    attacked: tuple[AdversarialSet, ...]
    settings: Mapping[str, Any]

    @property
    def sources(self) -> dict[str, File]:
        return super().sources | {made.attack.name: made for made in self.attacked}

    @property
    def measured(self) -> dict[str, Any]:
        """What is measured, as `evaluation.inference_rule.rule_rows` wants it."""
        clean = {"attack": "none", "epsilon": None, "threat_model": "none"}
        sets: list[dict[str, Any]] = [
            {"set": f"clean {split}", **clean, "images": self.dataset.path, "split": split}
            for split in ("validation", "test")
        ]
        for made in self.attacked:
            labels: dict[str, Any] = {
                "set": "attacked",
                "attack": made.attack.name,
                "threat_model": "gray_box",
            }
            labels |= {"epsilon": made.attack.settings.get("epsilon")}
            sets.append({**labels, "images": made.path, "group": None})
        return {
            "dataset": {"name": self.dataset.name},
            "seed": self.seed,
            "classifier_name": self.classifier.name,
            **self.settings,
            "purifier": self.purifier.recipe,
            "files": self.purifier.inputs,
            "classifier": self.classifier.path,
            "sets": sets,
        }


@dataclass(frozen=True)
class Table(File):
    """A study's table and its measurements. `cells`: of a swept table, the (L, R) that it shows.
    `notes`: what its reader is told; `papers`: the digest of the file of the paper's numbers."""

    PATH = "results/{0.study.place}.csv"

    study: Study
    measurements: tuple[Measurement | Timing | RunTimes, ...]
    cells: tuple[tuple[int, int], ...] | None = None
    notes: tuple[str, ...] = ()
    papers: str = ""

    @property
    def long(self) -> Part:
        """Its file with a row for each number."""
        return Part(self, f"results/{self.study.place}.long.csv")

    @property
    def parts(self) -> list[Part]:
        """The page answers for the table in the paper's layout, too."""
        return [self.long, Part(self, f"results/{self.study.place}.md")]

    def content_recipe(self) -> dict[str, Any]:
        digests = {measurement.path: measurement.digest for measurement in self.measurements}
        swept = {"cells": [list(cell) for cell in self.cells]} if self.cells else {}
        said = {"name": self.study.name, "notes": list(self.notes), "papers": self.papers}
        return {"digests": digests, **swept, **said}

    @property
    def sources(self) -> dict[str, File]:
        return _by_path(self.measurements)

    @property
    def compared(self) -> list[tuple["Measurement", File]]:
        """The attacked sets whose columns its page compares image by image, and the classifiers of
        those that hold no predictions, each with the measurement that is made of it, too. A swept
        table compares none. They decide nothing that the measurements do not, and are in no
        recipe."""
        found: list[tuple[Measurement, File]] = []
        for made in self.measurements if self.cells is None else ():
            if not isinstance(made, Measurement):
                continue
            for cell in made.cells:
                passed_over = "protocol" in cell.labels or KEY in cell.labels
                if cell.labels["attack"] == "none" or passed_over:
                    continue
                found.append((made, cell.images))
                if cell.labels["threat_model"] == "black_box":
                    found.append((made, cell.classifier))
        return found

    def comparing(self, files: Iterable[File]) -> Recipe:
        """What the job is told that compares those files of `compared`."""
        return Recipe(self.recipe, [*self.measurements, *files])


@dataclass(frozen=True)
class Examples(OfRun):
    """A picture of the same few test images clean, attacked and purified. `rows`, from the top, are
    cells whose label `row` stands beside them, and whose classifiers name each image's class."""

    VERSION = 2
    PATH = "{0.folder}/figures/examples/{0.classifier}/{0.attack}.png"

    classifier: str
    attack: str
    columns: int
    rows: tuple[Cell, ...]
    title: str

    def content_recipe(self) -> dict[str, Any]:
        rows = [row.summary for row in self.rows]
        return {"title": self.title, "columns": self.columns, "rows": rows}

    @property
    def sources(self) -> dict[str, File]:
        return files_of(self.rows)


@dataclass(frozen=True)
class Scored(Artifact):
    """Images whose detection scores a file holds; `group` and `hold_out` as in `Cell`."""

    images: File
    group: str | None = None
    hold_out: bool = False


@dataclass(frozen=True)
class Detector(Artifact):
    """A purifier's score as a detector of one attack: clean validation images set the threshold,
    clean and attacked test images are told apart. `labels` name it in the table."""

    labels: Mapping[str, Any]
    validation: Scored
    clean: Scored
    attacked: Scored

    @property
    def job(self) -> dict[str, Any]:
        """What its row needs, and a digest of all that decides it."""
        sets = {"validation": self.validation, "clean": self.clean, "attacked": self.attacked}
        places = {
            name: {f.name: getattr(scored, f.name) for f in fields(scored)}
            for name, scored in sets.items()
        }
        return {"labels": dict(self.labels), **places, "digest": self.digest}


@dataclass(frozen=True)
class Detection(OfRun):
    """How well each detector of a run does, with intervals from `repeats` resamples."""

    PATH = "{0.folder}/measurements/detection.csv"

    repeats: int
    detectors: tuple[Detector, ...]

    def content_recipe(self) -> dict[str, Any]:
        jobs = placed([detector.job for detector in self.detectors])
        return {"seed": self.seed, "repeats": self.repeats, "jobs": jobs}

    @property
    def sources(self) -> dict[str, File]:
        return _by_path(files_in([detector.job for detector in self.detectors]))


@dataclass(frozen=True)
class Figure(File):
    """A study's figure. `content` is all that its script is told: plain JSON values with the
    digests of what it shows, and the files that it is drawn from, which the script finds there by
    their paths. `further`: files that are not in it."""

    PATH = "results/{0.study.place}.png"

    study: Study
    content: Mapping[str, Any]
    further: tuple[File, ...] = ()

    def content_recipe(self) -> dict[str, Any]:
        return {"name": self.study.name, **placed(self.content)}

    @property
    def sources(self) -> dict[str, File]:
        return _by_path([*files_in(self.content), *self.further])
