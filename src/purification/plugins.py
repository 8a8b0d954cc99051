"""Users' own data sets, classifiers, attacks and purifiers, named "package.module:name", and the
files that they read.

A config's entry names such files with their paths, a recipe with their SHA-256: what a file holds
decides an artifact's content, where it lies does not. The Snakefile tells its jobs the paths by the
environment (`provide_files`), and a job looks its files up by their digests (`files_for`).
"""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from purification.guesses import did_you_mean

CODE_VARIABLE = "PURIFICATION_CODE"
"""The environment variable in which `provide_code` leaves the digests of places."""
FILES_VARIABLE = "PURIFICATION_FILES"
"""The environment variable in which `provide_files` leaves the places of files by their digests."""
_DIGESTS: dict[tuple[str, int, int], str] = {}


def import_named(place: str) -> Any:
    """The object of a place "package.module:name"; the working directory is looked in as well.
    Raises ValueError, with the reason, if there is none, or its file is another one than when the
    workflow was planned (`provide_code`): what is made would carry the digest of the older one."""
    module, _, name = place.partition(":")
    _look_in_working_directory()
    planned = json.loads(os.environ.get(CODE_VARIABLE, "{}")).get(place)
    if planned is not None and planned != source_digest(place):
        raise ValueError(
            f"{place!r}: {source_of(module)} was changed since the workflow was planned"
        )
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{place!r} cannot be imported: {error}") from error


def problem_with(place: str) -> str | None:
    """Why a place cannot be imported, as far as its file tells without running; None if it can."""
    module, _, name = place.partition(":")
    file = source_of(module)
    if file is None:
        return f"module {module!r} is neither installed nor in the current folder"
    try:
        names = _top_level_names(tree_of(file))
    except (SyntaxError, ValueError) as error:  # ValueError: a null byte
        return f"{file} is not Python: {error}"
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    if names is not None and name not in names:
        return f"{file} has no {name!r} at its top level{did_you_mean(name, sorted(names))}"
    return None


def tree_of(file: Path) -> ast.Module:
    """A file's code, parsed once a process for each state of the file. Not to be changed."""
    state = file.stat()
    return _tree(file, state.st_mtime_ns, state.st_size)


@cache
def _tree(file: Path, *_: int) -> ast.Module:
    # Of bytes Python itself heeds a byte-order mark or a line that names the coding.
    return ast.parse(file.read_bytes())


def source_digest(place: str) -> str:
    """SHA-256 of the file of a place, 16 hexadecimal digits, without importing it, and without what
    it imports in turn."""
    file = source_of(place.partition(":")[0])
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file else "missing"


def source_of(module: str) -> Path | None:
    """The file of a module; of its packages nothing is imported."""
    _look_in_working_directory()
    outermost, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(outermost)
    except ValueError:  # __main__
        return None
    if spec is None:
        return None
    if not inner:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        stem = Path(folder).joinpath(*inner)
        for file in (stem.with_suffix(".py"), stem / "__init__.py"):
            if file.is_file():
                return file
    return None


def _top_level_names(tree: ast.Module) -> set[str] | None:
    """What a module defines, as far as it is plain to see; None where it is not."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((a.asname or a.name).partition(".")[0] for a in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
        elif not isinstance(node, ast.Expr):
            return None  # a condition or loop may define anything
    return None if "*" in names or "__getattr__" in names else names


def _look_in_working_directory() -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def provide_code(places: Iterable[str]) -> None:
    """Have this process, and those that it starts, take the code of these places only as it is
    now. The Snakefile says so of all that the config names."""
    known = json.loads(os.environ.get(CODE_VARIABLE, "{}"))
    known |= {place: source_digest(place) for place in places}
    os.environ[CODE_VARIABLE] = json.dumps(known)


def place_of_file(path: str | Path) -> Path:
    """A file as the config names it, with `~` expanded."""
    return Path(path).expanduser()


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits; OSError if it cannot be read. It is read once a
    process for each path, size and time of change, at about a second a gigabyte."""
    place = place_of_file(path)
    state = place.stat()
    key = (str(place.absolute()), state.st_mtime_ns, state.st_size)
    if key not in _DIGESTS:
        with place.open("rb") as file:
            _DIGESTS[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _DIGESTS[key]


def provide_files(paths: Iterable[str | Path]) -> None:
    """Let this process, and those that it starts, find these files by their digests. The Snakefile
    does so for all that the config names; outside of the workflow call it before a classifier,
    purifier or attack that reads files is loaded. Raises OSError as `file_digest`."""
    known = _known_files()
    known |= {file_digest(path): str(place_of_file(path).absolute()) for path in paths}
    if known:
        os.environ[FILES_VARIABLE] = json.dumps(known)


def files_for(
    place: str, function: Callable[..., Any], digests: Mapping[str, str] | None
) -> dict[str, dict[str, str]]:
    """The keyword argument `files` for a user's `function`, named `place`: from the names of its
    files to their paths. Without files (`digests`, SHA-256 by name, is None or empty) no argument.

    Raises ValueError if the function takes no `files`, if one of them is not known to this process
    or is another one by now, or if it takes `files` and is given none.
    """
    takes, needs = _takes_files(function)
    if not digests:
        if needs:
            raise ValueError(f"{place} needs the files that it reads: name them as `files`")
        return {}
    if not takes:
        raise ValueError(
            f"{place} is given the files {', '.join(digests)}, but has no parameter `files`"
        )
    return {"files": {name: located(place, name, digest) for name, digest in digests.items()}}


def _takes_files(function: Callable[..., Any]) -> tuple[bool, bool]:
    """Whether a function takes the argument `files`, and whether it needs it."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of some that are not written in Python
        return True, False
    if "files" in parameters:
        return True, parameters["files"].default is inspect.Parameter.empty
    return any(p.kind is p.VAR_KEYWORD for p in parameters.values()), False


def located(place: str, name: str, digest: str) -> str:
    """Where the file with a SHA-256 lies that `place` calls `name`. Raises ValueError if none is
    known to this process, or it is another one by now."""
    path = _known_files().get(digest)
    if path is None:
        raise ValueError(
            f"{place} reads a file {name!r} with the SHA-256 {digest}, and none is known here: "
            "name it in the config or, outside of the workflow, call plugins.provide_files"
        )
    if file_digest(path) != digest:
        raise ValueError(f"{place}: {path} was changed since the workflow was planned")
    return path


def _known_files() -> dict[str, str]:
    known: dict[str, str] = json.loads(os.environ.get(FILES_VARIABLE, "{}"))
    return known
