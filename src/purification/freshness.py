"""Whether files that lie where the workflow wants them are what it wants: by the recipes in them.

Snakemake keeps its own notes of the parameters that a file was made with, in `.snakemake`. A folder
of results that was copied has none, and a job that outlived its run writes what the notes do not
say. The files themselves know.
"""

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from purification.experiments.artifacts import File, Table
from purification.provenance import SHOWN, all_differences, digest_of


class Freshness:
    """Has files made again that lie where the config wants another content.

    Args:
        force: makes Snakemake make a file again, for the reason given, if it is not too late or too
            early for that: then it returns False.
        recorded: whether Snakemake's notes have the parameters that a file was made with.
        tell: shows a line to the user.
        place: from a file's path, which begins with `results`, to where it lies.
    """

    def __init__(
        self,
        force: Callable[[str, str], bool],
        recorded: Callable[[str], bool],
        tell: Callable[[str], None],
        place: Callable[[str], str] = str,
    ) -> None:
        self._force, self._recorded, self._tell, self._place = force, recorded, tell, place
        self._absent: set[str] = set()
        self._seen: set[tuple[str, str]] = set()
        self._told: set[str] = set()
        self._judged: dict[tuple[str, str], list[str]] = {}

    def look_at(self, file: File) -> None:
        """A file that the DAG may need, and all that it is made from."""
        path = self._place(file.path)
        if path in self._absent:
            return
        if not Path(path).exists():
            self._absent.add(path)
            # Snakemake misses no file that only finished ones were made of.
            why = "a damaged one was set aside"
            if Path(f"{path}.damaged").exists() and self._force(path, why):
                self._explain(path, [why])
        elif (key := (path, file.digest)) in self._seen:
            return
        else:
            objection = self._objection_to(file, path)
            if objection and not self._force(path, "; ".join(objection[:SHOWN])):
                return
            if objection:
                self._explain(path, objection)
            self._seen.add(key)
        for source in file.sources.values():
            self.look_at(source)

    def objections(self, file: File) -> list[str]:
        """Why a file that lies there is not what the config asks for, or something that it is made
        from, a line a reason; none if all is, as far as it lies there. Has nothing made again."""
        path = self._place(file.path)
        if not Path(path).exists():
            damaged = Path(f"{path}.damaged").exists()
            return [f"{path}: a damaged one was set aside"] if damaged else []
        key = (path, file.digest)
        if key not in self._judged:
            own = self._objection_to(file, path)
            sources = file.sources.values()
            below = (line for source in sources for line in self.objections(source))
            self._judged[key] = own or list(islice(below, SHOWN))
        return self._judged[key]

    def _objection_to(self, file: File, path: str) -> list[str]:
        """That to the file or to a further one of its job (what is missing Snakemake sees)."""
        parts = [self._place(part.path) for part in file.parts]
        for part in parts:
            if Path(part).exists() and (objection := objection_to(part, file.recipe)):
                return objection
        # A table in a paper's layout carries nothing: its parts answer for it.
        if isinstance(file, Table) and all(Path(part).exists() for part in parts):
            return []
        try:
            return objection_to(path, file.recipe)
        except LookupError:
            unknown = "neither the file nor Snakemake says what it was made with (a copied folder?)"
            return [] if self._recorded(path) else [unknown]

    def _explain(self, path: str, objection: list[str]) -> None:
        """Tell why, once for all files that differ in the same settings, wherever these stand."""
        news = [line for line in dict.fromkeys(map(_tail, objection)) if line not in self._told]
        if news:
            self._told.update(news)
            self._tell(
                f"{path} will be made again, and so will all other files with the same difference: "
                f"{'; '.join(news[:SHOWN])}{'; ...' if len(news) > SHOWN else ''}"
            )


def _tail(line: str) -> str:
    """A difference without what its key begins with: "settings.epsilon: 0.1 in the file, ..."."""
    key, colon, values = line.partition(": ")
    return ".".join(key.split(".")[-2:]) + colon + values if values.endswith(" asked") else line


def objection_to(path: str | Path, asked: Mapping[str, Any]) -> list[str]:
    """Why a file is not what the recipe `asked` makes, a line a reason; none if it is.

    Of large files no content is read. Raises LookupError if files of its kind carry no recipe.
    """
    try:
        found = found_recipe(path)
    except FileNotFoundError:
        return ["a part of it is missing"]
    except ValueError as error:
        return [str(error).removeprefix(f"{path}: ")]
    if isinstance(found, str):
        return [] if found == digest_of(asked) else ["made with other settings"]
    return all_differences(found, asked)


def found_recipe(path: str | Path) -> dict[str, Any] | str:
    """The recipe that a file carries, or a table's or page's digest of it; no more is read.

    Raises ValueError as the function that reads it, LookupError if files of its kind carry none.
    """
    # Here and not above: a run with nothing on the disk needs no HDF5.
    from purification.storage import checkpoint_recipe, image_recipe, picture_digest
    from purification.text_tables import page_digest, text_table_digest

    readers = {".h5": image_recipe, ".safetensors": checkpoint_recipe, ".csv": text_table_digest}
    readers |= {".md": page_digest, ".html": page_digest, ".png": picture_digest}
    if (read := readers.get(Path(path).suffix)) is None:
        raise LookupError(f"{path}: files of this kind carry no recipe")
    return read(path)
