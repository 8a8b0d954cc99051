"""Networks that were trained once: found by their recipes, and taken where a job would train them.

`resources/networks/<dataset>/` has finished files of runs, byte for byte, each with the recipe that
made it inside, at the places that they had below the data set's results, and an index with a row
for each file. A network is taken where its recipe is exactly the one that is asked for, and nowhere
else. `python -m purification.networks` adds and checks them (`networks.shipping`).
"""

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from purification.provenance import DamagedFile, all_differences, digest_of

FOLDER = Path("resources/networks")
"""Where they lie in this repository."""
INDEX = "index.csv"
COLUMNS = ("file", "recipe", "bytes", "sha256", "config")
"""Of the index: place below its folder, digest of the recipe, size, SHA-256, and the config files
(below the repository, by blanks) whose networks these are."""
HISTORY, SNAPSHOTS, NETWORK = ".history.csv", ".snapshots.safetensors", ".safetensors"
"""What the names of a training's files end with."""
TRAINS = "`pretrained: false` in the config trains the network instead"


@dataclass(frozen=True)
class Kept:
    """A file of the folder, as the index has it. `recipe` is a digest, `file` its place in the
    folder of the data set; `config`: the config files that it belongs to, the last one on top."""

    path: Path
    file: str
    recipe: str
    bytes: int
    sha256: str
    config: tuple[str, ...]

    @property
    def of_config(self) -> str:
        """Those config files in words."""
        return " ".join(self.config) or "the default config"

    @property
    def kind(self) -> str:
        """`NETWORK`, `HISTORY` or `SNAPSHOTS`."""
        return kind_of(self.file)

    def verified(self, recipe: Mapping[str, Any] | None = None) -> Path:
        """Where it lies, once its content has been compared with the index and with a recipe.

        Raises DamagedFile, which names the file, if it is missing or another one, or if the recipe
        that it carries is not `recipe`, or not the index's if none is given.
        """
        if not self.path.is_file():
            raise DamagedFile(f"{self.path}: in {INDEX}, and not there. {TRAINS}")
        content = self.path.read_bytes()
        if len(content) != self.bytes or hashlib.sha256(content).hexdigest() != self.sha256:
            raise DamagedFile(
                f"{self.path}: damaged: its size or SHA-256 is not that of {INDEX}: restore both "
                f"(git restore). {TRAINS}"
            )
        if objection := self._objection(recipe):
            raise DamagedFile(f"{self.path}: its recipe is not the one that {objection}")
        return self.path

    def _objection(self, recipe: Mapping[str, Any] | None) -> str:
        from purification.storage import checkpoint_recipe
        from purification.text_tables import text_table_digest

        if self.kind == HISTORY:
            found = text_table_digest(self.path)
        else:
            carried = checkpoint_recipe(self.path)
            if recipe is not None and (lines := all_differences(carried, recipe)):
                return f"is asked for: {'; '.join(lines)}"
            found = digest_of(carried)
        return "" if found == self.recipe else f"{INDEX} has: {found}, not {self.recipe}"


def kind_of(path: str | Path) -> str:
    """What a file of a training is, by its name; "" of another one."""
    return next((kind for kind in (HISTORY, SNAPSHOTS, NETWORK) if str(path).endswith(kind)), "")


def home() -> Path:
    """The folder of a clone, in which the library lies; elsewhere that of the working directory."""
    clone = Path(__file__).resolve().parents[3] / FOLDER
    return clone if clone.is_dir() else FOLDER


def datasets(folder: str | Path | None = None) -> list[str]:
    """The data sets that have an index."""
    found = Path(home() if folder is None else folder).glob(f"*/{INDEX}")
    return sorted(index.parent.name for index in found)


def places(dataset: str, folder: str | Path | None = None) -> tuple[Kept, ...]:
    """All files that are kept for a data set (its name in the config); none if there is no index.
    `folder`: another than `home`. Raises DamagedFile, with the line, for an index that is wrong."""
    index = Path(home() if folder is None else folder) / dataset / INDEX
    if not index.is_file():
        return ()
    state = index.stat()
    return _entries(index, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _entries(index: Path, changed: int, size: int) -> tuple[Kept, ...]:
    """The content of an index as it was then."""
    try:
        return tuple(_parsed(index))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DamagedFile(f"{index}: no table of text: {error}") from error


def _parsed(index: Path) -> Iterator[Kept]:
    with index.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        if next(rows, None) != list(COLUMNS):
            raise DamagedFile(f"{index}: expected the columns {','.join(COLUMNS)}")
        for number, row in enumerate(rows, 2):
            try:
                name, recipe, size, digest, config = row
                inside = kind_of(name) and not {"", ".", ".."} & set(name.split("/"))
                if not (inside and re.fullmatch("[0-9a-f]{16}", recipe)):
                    raise ValueError("the place of a network's file and a recipe's digest")
                if not re.fullmatch("[0-9a-f]{64}", digest):
                    raise ValueError("a SHA-256")
                yield Kept(
                    index.parent / name, name, recipe, int(size), digest, tuple(config.split())
                )
            except ValueError as error:
                raise DamagedFile(f"{index}, line {number}: expected {error}") from error


def listed(
    dataset: str, recipe: str, kind: str = NETWORK, folder: str | Path | None = None
) -> Kept | None:
    """The file of a kind that was made by the recipe of that digest, as the index has it; its
    content is not looked at."""
    found = (k for k in places(dataset, folder) if (k.recipe, k.kind) == (recipe, kind))
    return next(found, None)


def find(
    dataset: str,
    recipe: Mapping[str, Any],
    folder: str | Path | None = None,
    kind: str = NETWORK,
) -> Path | None:
    """Where a network lies that was trained once by just this recipe; None if there is none.

    `recipe` is an artifact's (`experiments.artifacts.File.recipe`), `dataset` the name of its data
    set. `purification.models.checkpoints.load_network` loads what is found. Raises DamagedFile,
    naming the file, if it is not what the index says.
    """
    kept = listed(dataset, digest_of(recipe), kind, folder)
    return None if kept is None else kept.verified(recipe)


def is_a_copy(path: str | Path, recipe: str) -> bool:
    """Whether a result is a network that was taken, and of the recipe of that digest, or of a joint
    training of it. Not one that is missing or damaged."""
    from purification.storage import checkpoint_recipe, taken_from

    try:
        if not Path(path).is_file() or taken_from(path) is None:
            return False
        found = checkpoint_recipe(path)
    except ValueError:
        return False
    return recipe in (digest_of(found), digest_of(found.get("end_to_end") or {}))


def take(outputs: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> bool:
    """Put the outputs of a training's job (path -> recipe) in place, if the config wants that and
    all of them were made before. Returns whether they are there; the job has no more to do.

    A network's file is of the same tensors, recipe and facts, with a note of where it was taken
    from (`storage.taken_from`); a history is the same bytes. Raises DamagedFile if a file is not
    what the index says, or if that has a part of the training only.
    """
    if not config["pretrained"]:
        return False
    folder, found, missing = config["networks"], {}, []
    for path, recipe in outputs.items():
        dataset = recipe["dataset"]["name"]
        if kept := listed(dataset, digest_of(recipe), kind_of(path), folder):
            found[path] = kept
        else:
            missing.append(path)
    # Snapshots are too large to be kept: a job that makes them trains.
    if not found or any(kind_of(path) == SNAPSHOTS for path in missing):
        return False
    if missing:
        raise DamagedFile(
            f"{next(iter(found.values())).path.parent}: the folder's index has no file for "
            f"{', '.join(missing)}, which the same training makes: add its files again. {TRAINS}"
        )
    for path, kept in found.items():
        _put(kept, path, outputs[path])
    return True


def _put(kept: Kept, path: str, recipe: Mapping[str, Any]) -> None:
    from purification.runtime import tell
    from purification.storage import atomic, read_state, write_checkpoint

    source = kept.verified(recipe)
    if kept.kind == HISTORY:
        with atomic(path) as temporary:
            shutil.copyfile(source, temporary)
        return
    tell(f"{path}: taken from {source}, not trained here ({kept.of_config})")
    state, header = read_state(source)
    file = f"{recipe['dataset']['name']}/{kept.file}"
    note = {"file": file, "sha256": kept.sha256, "config": kept.of_config}
    note["versions"] = header["versions"]
    facts = {k: v for k, v in header.items() if k not in ("recipe", "versions")}
    write_checkpoint(path, state, recipe, **facts, taken=json.dumps(note, sort_keys=True))
