"""Users' own data sets, classifiers, attacks and purifiers, named "package.module:name"."""

import ast
import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any


def import_named(place: str) -> Any:
    """The object of a place "package.module:name"; the working directory is looked in as well.

    Raises ValueError, with the reason, if there is no such module or it has no such name.
    """
    module, _, name = place.partition(":")
    _look_in_working_directory()
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{place!r} cannot be imported: {error}") from error


def problem_with(place: str) -> str | None:
    """Why a place cannot be imported, as far as its file tells without running; None if it can."""
    module, _, name = place.partition(":")
    file = _source(module)
    if file is None:
        return f"module {module!r} is neither installed nor in the current folder"
    try:
        # Of bytes Python itself heeds a byte-order mark or a line that names the coding.
        names = _top_level_names(ast.parse(file.read_bytes()))
    except (SyntaxError, ValueError) as error:  # ValueError: a null byte
        return f"{file} is not Python: {error}"
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    if names is not None and name not in names:
        return f"{file} has no {name!r} at its top level"
    return None


def source_digest(place: str) -> str:
    """SHA-256 of the file of a place, 16 hexadecimal digits, without importing it.

    Only that file: what it imports in turn is not seen.
    """
    file = _source(place.partition(":")[0])
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file else "missing"


def _source(module: str) -> Path | None:
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
