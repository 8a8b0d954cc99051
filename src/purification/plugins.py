"""Users' own data sets, classifiers, attacks and purifiers, named "package.module:name"."""

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


def is_findable(place: str) -> bool:
    """Whether the outermost package of a place can be found, without importing anything."""
    _look_in_working_directory()
    return importlib.util.find_spec(place.partition(":")[0].partition(".")[0]) is not None


def _look_in_working_directory() -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
