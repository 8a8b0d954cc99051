"""Defences, their parts and images of a finished run, from its files alone.

No Snakemake is needed, and no working directory. Each file carries the recipe by which it was made
(`purification.provenance`), and is compared with what the config asks for before it is read.
"""

import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from os import PathLike
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from purification import networks, shipped
from purification.api.configs import Config, Setup, setup_of
from purification.api.places import Place, Run, find_run
from purification.datasets import Split, load
from purification.evaluation.purifiers import fitted_purifier, takes_shape
from purification.experiments import ConfigError
from purification.experiments.artifacts import BuiltPurifier, Classifier, Dataset, File
from purification.experiments.methods import stated
from purification.experiments.names import NONE, PLAIN
from purification.freshness import found_recipe, objection_to
from purification.models.checkpoints import load_network
from purification.provenance import DamagedFile, ForeignFile, all_differences
from purification.purifiers.base import Defended
from purification.storage import SPLITS, read_split

DATASET = "dataset"


def load_defended(run: Place, defense: str, classifier: str, config: Config = None) -> Defended:
    """A defence of a finished run: purifier and classifier as one plain torch classifier.

    It maps images (N, C, H, W), float32 in [0, 1], to logits (N, classes), and lets gradients
    through, so that any attack library takes it. It is on the CPU, in evaluation mode, its weights
    frozen; `.to("cuda")` moves it. It is the model that the workflow attacks as the white box.

    Args:
        run: the folder of a data set and a seed, such as "results/digits/seed0", or one above it
            that holds a single run. Or the name of a data set whose networks come with the
            repository, "mnist" (docs/networks.md): then nothing needs to be made before.
        defense: its key under `defenses` in the config, such as "defense_gan"; `available()` lists
            them. A varied one, "defense_gan@L50", too.
        classifier: its key under `classifiers`, such as "A".
        config: the config of the run: a file, several, or what one holds, laid over the default
            config. None: that of the latest run that Snakemake made in this folder of results, if
            it left one, else the default config.

    Raises:
        FileNotFoundError: there is no such run, or a network is missing; names the file and the
            command that makes it.
        ValueError: the config has no such name (lists what it has), the defence has no purifier, or
            a file was made by another recipe (`ForeignFile`, with the first difference) or is
            damaged (`DamagedFile`).
    """
    opened = _Opened.of(run, config)
    purifier = opened.purifier(defense, classifier)
    deployed = opened.setup.catalogue.deployed(*opened.run.names, defense, classifier)
    # Both before either is read: a message names all that is missing.
    opened.check({**opened.files_of(purifier), "classifier": deployed})
    return Defended(opened.built(purifier), opened.network(deployed))


def load_purifier(
    run: Place, defense: str, config: Config = None, *, classifier: str | None = None
) -> nn.Module:
    """A defence's purifier: images (N, C, H, W) in [0, 1] to images of the same shape and range.

    A randomised one takes `seeds` (N,), int64, beside them (`purifiers.base.Purifier`).
    `classifier` is for a defence that learns one for each classifier, such as "defense_vae".
    Otherwise as `load_defended`.
    """
    opened = _Opened.of(run, config)
    purifier = opened.purifier(defense, classifier)
    opened.check(opened.files_of(purifier))
    return opened.built(purifier)


def load_classifier(
    run: Place, name: str, config: Config = None, *, defense: str | None = None
) -> nn.Module:
    """A classifier of a finished run: images (N, C, H, W) in [0, 1] to logits (N, classes).

    `defense` names the defence behind which it stands, which may have trained it anew: as
    "adv_training" does, which has no purifier. None: the plain one, trained on the images.
    Otherwise as `load_defended`.
    """
    opened = _Opened.of(run, config)
    deployed = opened.setup.catalogue.deployed(*opened.run.names, defense or PLAIN, name)
    opened.check({"classifier": deployed})
    return opened.network(deployed)


def load_images(
    run: Place,
    n: int | None = None,
    split: str = "test",
    config: Config = None,
    *,
    data_root: str | PathLike[str] | None = None,
) -> tuple[Tensor, Tensor]:
    """The first `n` images of a split of a run's data set, and their labels; None: all of them.

    Returns images, float32 (N, C, H, W) in [0, 1], and labels, int64 (N,), on the CPU. `split` is
    "train", "validation" or "test". `run` and `config` as of `load_defended`. Of a data set whose
    networks come with the repository, the images are read from its own files, or downloaded, in
    `data_root`; None: that of the config, in the repository.

    Raises as `load_defended`; ValueError for another split, or more images than there are.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    if n is not None and (not isinstance(n, Integral) or n < 1):
        raise ValueError(f"n must be an integer of at least 1, or None for all images; got {n!r}")
    opened = _Opened.of(run, config)
    dataset = opened.setup.catalogue.dataset(opened.run.dataset)
    if opened.run.kept:
        images, labels = (of[:n] for of in opened.splits(dataset, data_root)[split])
    elif data_root is not None:
        raise ValueError(f"data_root: the images of {run} lie in its own files; leave it out")
    else:
        opened.check({DATASET: dataset if split == "test" else dataset.for_training})
        images, labels = read_split(opened.run.place(dataset), split, n)
    if n is not None and len(images) < n:
        raise ValueError(f"{run}: {n} images asked for, and its {split} split has {len(images)}")
    return torch.from_numpy(images), torch.from_numpy(labels)


class _Opened:
    """A run, with the config by which it is read."""

    def __init__(self, run: Run, setup: Setup) -> None:
        self.run, self.setup = run, setup

    @classmethod
    def of(cls, run: Place, config: Config) -> "_Opened":
        found = find_run(run)
        setup = setup_of(found, config)
        if found.dataset not in setup.catalogue.config["datasets"]:
            known = ", ".join(setup.catalogue.config["datasets"])
            raise ConfigError(
                f"{run}: the folder is of a data set {found.dataset!r}, and {setup.said} has "
                f"{known}. Name the config that the run was made with: config=..."
            )
        return cls(found, setup)

    def purifier(self, defense: str, classifier: str | None) -> BuiltPurifier:
        """What the config says of a defence's purifier."""
        catalogue = self.setup.catalogue
        if defense in (NONE, PLAIN) or not catalogue.purifies(defense):
            own = "" if defense in (NONE, PLAIN) else f", defense={defense!r}"
            folder = self.run.results / self.run.dataset / f"seed{self.run.seed}"
            raise ValueError(
                f"{defense} has no purifier, only a classifier of its own: "
                f"load_classifier({str(folder)!r}, {classifier or 'A'!r}{own})"
            )
        named = defense if classifier is None else catalogue.for_classifier(defense, classifier)
        made = catalogue.purifier(*self.run.names, named)
        if self.setup.guessed:
            self._compare_settings(made, named)
        return made

    def _compare_settings(self, made: BuiltPurifier, defense: str) -> None:
        """Refuse a config that nobody named if the run itself purified with other settings. The
        networks do not tell: what a search does is in no file of theirs."""
        for split in SPLITS:
            images = self.setup.catalogue.purified_images(*self.run.names, defense, split)
            place = self.run.place(images)
            if not place.is_file():
                continue
            recipe = self._recipe_of(images)
            found = recipe.get("purifier", {}) if isinstance(recipe, Mapping) else {}
            if differing := all_differences(found, made.recipe):
                self._refuse(place, differing, [images])

    def files_of(self, purifier: BuiltPurifier) -> dict[str, File]:
        """What a purifier is built from, by name."""
        files: dict[str, File] = dict(purifier.networks)
        if takes_shape(purifier.method) and not self.run.kept:
            files[DATASET] = self.setup.catalogue.dataset(self.run.dataset)
        return files

    def built(self, purifier: BuiltPurifier) -> nn.Module:
        files = {name: str(self.run.place(file)) for name, file in self.files_of(purifier).items()}
        shape = None
        if self.run.kept:
            source = self.setup.catalogue.config["datasets"][self.run.dataset]["source"]
            shape = stated("datasets", source)["shape"]
        return fitted_purifier(purifier.recipe, files, shape)

    def splits(self, dataset: Dataset, data_root: str | PathLike[str] | None) -> dict[str, Split]:
        """Those of a data set that no job has prepared."""
        own = dataset.recipe["settings"]
        counts = {name: own.get(name) for name in ("validation", "test", "train", "files")}
        root = data_root or shipped.ROOT / self.setup.catalogue.config["data_root"]
        return load(own["source"], data_root=os.fspath(root), **counts)

    def network(self, classifier: Classifier) -> nn.Module:
        return load_network(self.run.place(classifier), "Classifier").requires_grad_(False)

    def check(self, files: Mapping[str, File]) -> None:
        """Raise FileNotFoundError, with the command, unless all are there; DamagedFile or
        ForeignFile for the first that cannot be read, or that was made by another recipe."""
        wanted = list({file.path: file for file in files.values()}.values())
        if self.run.kept:
            self._check_kept(wanted)
            return
        missing = [file for file in wanted if not self.run.place(file).is_file()]
        if missing:
            are, them = ("are", "them") if len(missing) > 1 else ("is", "it")
            names = ", ".join(str(self.run.place(file)) for file in missing)
            raise FileNotFoundError(
                f"{names} {are} missing, by {self.setup.said}. {self._command(missing, them)}"
            )
        for file in wanted:
            place = self.run.place(file)
            self._recipe_of(file)
            if objection := objection_to(place, file.recipe):
                self._refuse(place, objection, [file])

    def _check_kept(self, wanted: Sequence[File]) -> None:
        """The same of networks that come with the repository, which are compared with their index,
        too (DamagedFile)."""
        dataset, folder = self.run.dataset, self.run.results
        missing = [one for one in wanted if networks.find(dataset, one.recipe, folder) is None]
        if missing:
            names = ", ".join(one.path.removeprefix("results/") for one in missing)
            targets = " ".join(one.path for one in missing)
            option = self.setup.option(shipped.ROOT)
            raise FileNotFoundError(
                f"{names}: no such file of {self.setup.said} comes with the repository "
                f"({folder / dataset}). Make it, and load it from its run: "
                f"snakemake {targets} --cores all --resources gpu=1{option}"
            )

    def _recipe_of(self, file: File) -> Mapping[str, Any] | str:
        """That which a file carries. Raises DamagedFile, with the command that makes it again."""
        try:
            return found_recipe(self.run.place(file))
        except ValueError as error:
            again = self._command([file], "it", again=True)
            raise DamagedFile(f"{error}. {again}") from error

    def _refuse(self, place: object, lines: list[str], files: list[File]) -> NoReturn:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        name = " Name the config that it was made with, config=...," if self.setup.guessed else ""
        made = self._command(files, "it", again=True)
        raise ForeignFile(
            f"{place} is not what {self.setup.said} makes: {lines[0]}{more}.{name}"
            f"{' or make it again.' if name else ''} {made}"
        )

    def _command(self, files: list[File], them: str, *, again: bool = False) -> str:
        """The command that makes files, and where it is run."""
        configured = str(self.setup.catalogue.config.get("results", "results"))
        above = [f for f in self.run.results.parents if f / configured == self.run.results]
        folder, renamed = above[0] if above else self.run.results.parent, ""
        if not above:
            configured = self.run.results.name
            renamed = f" --config results={configured}"
        targets = " ".join(file.path.replace("results/", f"{configured}/", 1) for file in files)
        command = (
            f"snakemake {targets} --cores all --resources gpu=1{renamed}{self.setup.option(folder)}"
        )
        return f"In {folder} this makes {them}{' again' if again else ''}: {command}"
