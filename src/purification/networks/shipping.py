"""Adding finished networks of a run to the folder of those that come with the project, and
checking what lies there."""

import csv
import fcntl
import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from purification import shipped
from purification.config_files import read_files
from purification.experiments import DEFAULT_FILES, Catalogue, ConfigError, layered
from purification.experiments.artifacts import File
from purification.networks import (
    COLUMNS,
    HISTORY,
    INDEX,
    NETWORK,
    SNAPSHOTS,
    Kept,
    datasets,
    kind_of,
    places,
)
from purification.provenance import all_differences, digest_of
from purification.storage import atomic, checkpoint_recipe, read_state, taken_from
from purification.text_tables import text_table_digest

LARGEST_FILE, LARGEST_FOLDER = 6_000_000, 45_000_000
"""Bytes of a file, and of all files of all data sets."""
REPOSITORY = shipped.ROOT.resolve()
"""Below it are config files: a clone, or what an installed package has of one."""
_GENERATORS = ("generators", "ae_gans", "bigans", "gans", "diffusions")
_LEARNED = ("autoencoders", "vaes", "defenses")


class Refused(ValueError):
    """Files cannot be kept; the message names each, with the reason."""


@dataclass(frozen=True)
class Offered:
    """A file of a run that is to be kept: where it lies, its data set, its place in that one's
    folder and the digest of its recipe."""

    source: Path
    dataset: str
    file: str
    recipe: str


@cache
def catalogue_of(configs: tuple[str, ...]) -> Catalogue:
    """The artifacts of the default config with these files on top. Raises ConfigError or
    `config_files.ConfigFileError`."""
    layers = read_files([*(REPOSITORY / file for file in DEFAULT_FILES), *configs])
    config = layered((name, layer) for name, layer in layers if layer is not None)
    return Catalogue(config, REPOSITORY / "workflow/schemas/config.schema.yaml")


def network_at(catalogue: Catalogue, dataset: str, seed: int, place: str) -> File:
    """The network whose file lies at a place below the folder of a run, such as
    `classifiers/plain/A.safetensors`. Raises ConfigError if the config has none there."""
    folder, *names = place.removesuffix(NETWORK).split("/")
    run = (dataset, seed)
    if folder in _GENERATORS and len(names) == 1:
        return catalogue.generator(*run, names[0])
    if folder in _LEARNED and len(names) in (1, 2):
        return catalogue.trained(*run, *names)
    if folder == "classifiers" and len(names) == 2:
        return catalogue.classifier(*run, *names)
    if folder == "substitutes" and len(names) == 3:
        return catalogue.substitute(*run, *names)
    if folder == "end_to_end" and len(names) == 2:
        classifier, _, part = names[1].rpartition(".")
        if part == "vae":
            return catalogue.end_to_end_vae(*run, names[0], classifier)
        return catalogue.classifier(*run, names[0], classifier)
    raise ConfigError(f"no network of a run lies at {place}")


def add(folder: str | Path, configs: Sequence[str], paths: Iterable[str | Path]) -> list[str]:
    """Keep the networks of finished runs, with the histories of their trainings, in `folder`.

    Args:
        configs: the config files that they were made by, on top of the default one.
        paths: their files, or folders of which all networks are meant, below
            `<dataset>/seed<seed>/` of a run's results.

    What was there at the same place is replaced; the same file again changes nothing. Of two
    processes one waits for the other. Returns a line for each file. Raises Refused, before anything
    is written, for a file that is too large, damaged, without a recipe or history, of another
    recipe than the configs', trained elsewhere or itself taken, and where the folder would become
    too large.
    """
    folder, catalogue = Path(folder), catalogue_of(tuple(configs))
    offered: list[Offered] = []
    wrong: list[str] = []
    said: list[str] = []
    for path in _networks_of(paths):
        try:
            offered += _offered(catalogue, path, said)
        except (ValueError, OSError) as error:
            wrong.append(str(error))
    if not (offered or wrong):
        wrong.append("no network among the files that are given")
    added = {
        (one.dataset, one.file): _kept(folder, one, one.source.read_bytes(), configs)
        for one in offered
    }
    for one in offered:
        if (size := added[one.dataset, one.file].bytes) > LARGEST_FILE:
            wrong.append(f"{one.source}: {_shown(size)}, more than {_shown(LARGEST_FILE)}")
    with _alone(folder):
        there = _there(folder)
        made = there | added
        total = sum(kept.bytes for kept in made.values())
        if total > LARGEST_FOLDER:
            limit = _shown(LARGEST_FOLDER)
            wrong.append(f"{folder}: it would hold {_shown(total)}, more than {limit}")
        if wrong:
            raise Refused("nothing was added:\n" + "\n".join(f"  {line}" for line in wrong))
        for one in offered:
            new, old = made[one.dataset, one.file], there.get((one.dataset, one.file))
            said.append(_placed(one, new, old))
        for dataset in {one.dataset for one in offered}:
            _write_index(folder, dataset, [k for (name, _), k in made.items() if name == dataset])
    return [*said, f"{folder}: {len(made)} files, {_shown(total)}"]


def _kept(folder: Path, one: Offered, content: bytes, configs: Iterable[str]) -> Kept:
    return Kept(
        folder / one.dataset / one.file,
        one.file,
        one.recipe,
        len(content),
        hashlib.sha256(content).hexdigest(),
        tuple(map(_below_repository, configs)),
    )


def _there(folder: Path) -> dict[tuple[str, str], Kept]:
    """All files of the indexes, by data set and place."""
    return {(name, kept.file): kept for name in datasets(folder) for kept in places(name, folder)}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """A block in which no other process adds or removes: what one reads of an index is still there
    when it writes. It waits for those before it. The folder is made, and removed again if nothing
    was put there. Raises OSError where a file cannot be locked."""
    place = folder / ".lock"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = place.open("w")
        except FileNotFoundError:  # the folder was removed again in this moment
            continue
        fcntl.flock(file, fcntl.LOCK_EX)
        # Who had the lock before has removed its file: the next one may lock a new one.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), place.stat()):
                break
        file.close()
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        file.close()
        with suppress(OSError):  # it has something
            folder.rmdir()


def _networks_of(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Each file, and all networks in a folder."""
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        for file in sorted(path.rglob(f"*{NETWORK}")):
            state = file.name.endswith(".state.safetensors") or file.name.startswith(".")
            if kind_of(file) == NETWORK and not state:
                yield file


def _offered(catalogue: Catalogue, path: Path, said: list[str]) -> Iterator[Offered]:
    """A network with what belongs to it, once it is known to be what the config asks for."""
    found = re.search(r"(?:^|/)([^/]+)/(seed(\d+)/(.+\.safetensors))$", path.as_posix())
    if not found or kind_of(path) != NETWORK:
        raise Refused(f"{path}: expected a network at <dataset>/seed<seed>/...{NETWORK}")
    dataset, file, seed, place = found.groups()
    if taken_from(path) is not None:
        raise Refused(f"{path}: taken from such a folder, and not trained in this run")
    recipe = read_state(path)[1]["recipe"]
    try:
        asked = network_at(catalogue, dataset, int(seed), place)
    except ConfigError as error:
        raise Refused(f"{path}: not of this config: {error}") from error
    if lines := all_differences(recipe, asked.recipe):
        raise Refused(f"{path}: of another recipe than the config's: {'; '.join(lines[:4])}")
    if "checkpoint" in recipe.get("settings", ()):
        raise Refused(f"{path}: trained elsewhere (a `checkpoint`), and so not by its recipe")
    yield Offered(path, dataset, file, digest_of(recipe))
    joint = recipe.get("end_to_end")
    for part in (".vae", ".classifier") if joint else ():
        if not path.with_name(_stem(path, joint) + part + NETWORK).is_file():
            raise Refused(f"{path}: without the {part[1:]} that was trained with it")
    history = path.with_name(_stem(path, joint) + HISTORY)
    if not history.is_file():
        raise Refused(f"{path}: without {history.name}, the history of its training, beside it")
    if text_table_digest(history) != digest_of(joint or recipe):
        raise Refused(f"{history}: not of the recipe of {path.name}")
    inner = file.removesuffix(path.name)
    yield Offered(history, dataset, inner + history.name, digest_of(joint or recipe))
    snapshots = path.with_name(_stem(path, joint) + SNAPSHOTS)
    if not snapshots.is_file():
        return
    if snapshots.stat().st_size > LARGEST_FILE:
        size = _shown(snapshots.stat().st_size)
        said.append(f"left out: {snapshots} ({size}), which is made again where it is asked for")
    elif differing := all_differences(checkpoint_recipe(snapshots), recipe):
        raise Refused(f"{snapshots}: not of the recipe of {path.name}: {differing[0]}")
    else:
        yield Offered(snapshots, dataset, inner + snapshots.name, digest_of(recipe))


def _stem(path: Path, joint: Mapping[str, Any] | None) -> str:
    """What the names of a training's files have in common."""
    name = path.name.removesuffix(NETWORK)
    return name.rpartition(".")[0] if joint else name


def _placed(one: Offered, new: Kept, old: Kept | None) -> str:
    """Put a file there, unless it is there."""
    target = new.path
    if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == new.sha256:
        return f"there: {target}"
    with atomic(target) as temporary:
        shutil.copyfile(one.source, temporary)
    return f"{'replaced' if old else 'added'}: {target} ({_shown(new.bytes)})"


def _write_index(folder: Path, dataset: str, kept: Iterable[Kept]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in sorted(kept, key=lambda one: one.file):
        writer.writerow([one.file, one.recipe, one.bytes, one.sha256, " ".join(one.config)])
    with atomic(folder / dataset / INDEX) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def remove(folder: str | Path, paths: Iterable[str | Path]) -> list[str]:
    """Take files, or all in a folder, out of `folder` and its indexes. Returns a line for each.
    Raises Refused for a path of which an index has nothing."""
    folder = Path(folder)
    gone: list[Kept] = []
    with _alone(folder):
        for path in map(Path, paths):
            own = [kept for kept in _there(folder).values() if _is_below(kept.path, path)]
            if not own:
                raise Refused(f"{path}: nothing of an index in {folder}")
            gone += own
        for dataset in datasets(folder):
            _write_index(folder, dataset, [k for k in places(dataset, folder) if k not in gone])
        for kept in gone:
            kept.path.unlink(missing_ok=True)
    return [f"removed: {kept.path}" for kept in gone]


def _is_below(path: Path, folder: Path) -> bool:
    return folder.absolute() in (path.absolute(), *path.absolute().parents)


def check(folder: str | Path, configs_from: str | Path = REPOSITORY) -> list[str]:
    """What is wrong in the folder, a line each: sizes, checksums, recipes, files that no index has,
    networks whose config (below `configs_from`) asks for another recipe by now, and those of a data
    set that are of several configs: Python's front door then does not know which is meant."""
    folder, wrong, total = Path(folder), list[str](), 0
    for dataset in datasets(folder):
        kept = places(dataset, folder)
        listed = {one.path for one in kept} | {folder / dataset / INDEX}
        total += sum(one.bytes for one in kept)
        for path in sorted((folder / dataset).rglob("*")):
            if path.is_file() and path not in listed:
                wrong.append(f"{path}: in no {INDEX}")
        for one in kept:
            wrong += _wrong(one, dataset, Path(configs_from))
        configs = {" ".join(one.config) or "the default one": None for one in kept}
        if len(configs) > 1:
            told = "; ".join(configs)
            wrong.append(f"{folder / dataset}: of several configs: {told}. Add them with one")
    if total > LARGEST_FOLDER:
        wrong.append(f"{folder}: {_shown(total)}, more than {_shown(LARGEST_FOLDER)}")
    return wrong


def _wrong(one: Kept, dataset: str, configs_from: Path) -> Iterator[str]:
    if one.bytes > LARGEST_FILE:
        yield f"{one.path}: {_shown(one.bytes)}, more than {_shown(LARGEST_FILE)}"
    try:
        one.verified()
        if one.kind != NETWORK:
            return
        recipe = read_state(one.path)[1]["recipe"]
        _, seed, place = re.split(r"^seed(\d+)/", one.file)
        catalogue = catalogue_of(tuple(str(configs_from / config) for config in one.config))
        asked = network_at(catalogue, dataset, int(seed), place)
        if lines := all_differences(recipe, asked.recipe):
            yield f"{one.path}: {' '.join(one.config)} asks for another: {'; '.join(lines[:4])}"
    except ValueError as error:
        yield str(error)


def _below_repository(config: str) -> str:
    """A config file as the index names it."""
    path = Path(config).resolve()
    inside = path.is_relative_to(REPOSITORY)
    return path.relative_to(REPOSITORY).as_posix() if inside else Path(config).as_posix()


def _shown(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
