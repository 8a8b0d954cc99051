"""Recipes: their digests, what differs between two, and which files a job may read.

A file that the workflow makes carries the recipe that it was made by. Whoever reads one compares:
a name says where a file should lie, not what it is. Results may have been copied, restored, or put
in place by a job of another run.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SHOWN = 4
"""Differing keys that a message names."""
PNG_MARK = "recipe"
"""The key of the digest of its recipe in the metadata of a picture."""
REMEDY = (
    "Snakemake, run again with the config that you want, makes it again; "
    "docs/reliability.md says how files come to differ."
)
RESULTS = "results"
"""The folder that a result's name begins with, whatever folder the config gives them."""
ABSENT = object()
Asked = Mapping[str, Any] | str
"""A recipe, or the digest of one."""
_made: str | None = None
_quirks: tuple[str, ...] = ()
_allowed: dict[str, Asked] | None = None  # by path; None: no job has said
_results = RESULTS  # where this job's results lie


class ForeignFile(ValueError):
    """A file was made by another recipe than the one that is asked for."""


class DamagedFile(ValueError):
    """A file does not hold what was written to it."""


def damaged(path: str | Path, complaint: str, otherwise: str = "") -> ValueError:
    """What to raise where a file is not what was written: a DamagedFile that names it. One that a
    job is made from is set aside, as `<name>.damaged`, so that the next run makes it again; of
    another one `otherwise` is said. One that cannot be read at all (permissions, a disk's error)
    stays, and is said to be just that."""
    place = Path(path)
    try:
        place.read_bytes()
    except OSError as error:
        return ValueError(f"{path}: cannot be read: {error.strerror}; {complaint}")
    if _allowed is not None and _absolute(path) in _allowed:
        aside = place.with_name(f"{place.name}.damaged")
        place.replace(aside)
        otherwise = f". It is now {aside}, and Snakemake, run again, makes it again"
    return DamagedFile(f"{path}: {complaint}{otherwise}")


def digest_of(recipe: Mapping[str, Any]) -> str:
    """SHA-256 of a recipe as JSON with sorted keys, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def expect(sources: Mapping[str, Asked]) -> None:
    """From now on this process may read the files of `sources` alone (path -> recipe), and each
    only if it was made by that recipe. Without this call nothing is compared."""
    global _allowed
    _allowed = {_absolute(_below_results(path)): recipe for path, recipe in sources.items()}


def start_job(recipe: Any, results: str) -> None:
    """What every job says first: it may read the files of the recipe's `sources` (`expect`), and
    what it draws carries the recipe's digest. `results`: the config's folder."""
    global _made, _quirks, _results
    _results = results
    expect(recipe.sources)
    _made = recipe.digest
    _quirks = tuple(getattr(recipe, "quirks", ()))


def place_of(path: str | Path) -> Path:
    """Where a result lies. Recipes call it `results/...`; in a job it lies below the folder that
    the config gives. Another path, or one that is a place already, stays as it is."""
    known = _allowed is not None and _absolute(path) in _allowed
    return Path(path if known else _below_results(path))


def name_of(path: str | Path) -> str:
    """The inverse of `place_of`: a result's name, which its random numbers are drawn by, so that
    they are the same in every folder."""
    path = str(path)
    inside = path.startswith(f"{_results}/")
    return f"{RESULTS}{path.removeprefix(_results)}" if inside else path


def digest_of_job() -> str | None:
    """The digest of what this job makes; None if the process is no job."""
    return _made


def quirks_of_job() -> tuple[str, ...]:
    """The quirks of published code that the results of this job hang on; none if the process is no
    job."""
    return _quirks


def expected_of(path: str | Path) -> Mapping[str, Any] | None:
    """The recipe that this job expects of a file; None if the process is no job, the file none of
    its own, or only a digest is known."""
    asked = None if _allowed is None else _allowed.get(_absolute(place_of(path)))
    return None if isinstance(asked, str) else asked


def in_a_job() -> bool:
    """Whether this process has said which files it may read."""
    return _allowed is not None


def check_recipe(path: str | Path, found: Asked) -> None:
    """Compare the recipe that a file carries, or its digest, with that which the job expects, if it
    has said so (`expect`).

    Raises ForeignFile if they differ, with the file, the keys, both values and what to do; and if
    the job has not named the file among those that it reads.
    """
    if _allowed is None:
        return
    if (asked := _allowed.get(_absolute(place_of(path)))) is None:
        raise ForeignFile(f"{path}: not among the files that this job is made from")
    if isinstance(found, str) or isinstance(asked, str):
        digests = [each if isinstance(each, str) else digest_of(each) for each in (found, asked)]
        if digests[0] != digests[1]:
            raise ForeignFile(
                f"{path}: made by another recipe than the one asked for (digest {digests[0]}, not "
                f"{digests[1]}). {REMEDY}"
            )
    elif differing := differences(found, asked):
        listed = "".join(f"\n  {line}" for line in differing)
        raise ForeignFile(
            f"{path}: made by another recipe than the one asked for:{listed}\n{REMEDY}"
        )


def differences(found: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """A line for each key in which two recipes differ, such as "attack.settings.epsilon: 0.1 in the
    file, 0.2 asked", the first `SHOWN` of them. No lines: the file serves.

    A data set's file holds all its splits. One who reads no test image asks without their number
    (`Dataset.for_training`), and any number serves.
    """
    lines = all_differences(found, asked)
    further = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return lines[:SHOWN] + further


def all_differences(found: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """As `differences`, all of them."""
    found, asked = (json.loads(json.dumps(recipe)) for recipe in (found, asked))
    if asked.get("kind") == found.get("kind") == "Dataset":
        settings = found.get("settings")
        if isinstance(settings, dict) and "test" not in asked["settings"]:
            settings.pop("test", None)
    return [
        f"{'.'.join(place)}: {shown(one)} in the file, {shown(other)} asked"
        for place, one, other in differing(found, asked)
    ]


def differing(
    one: Any, other: Any, place: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Where two plain values differ: the keys that lead there, and both values, `ABSENT` where one
    has none."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in dict.fromkeys([*other, *one]):
            yield from differing(one.get(name, ABSENT), other.get(name, ABSENT), (*place, name))
    # 1 and 1.0 are equal in Python, and print two digests.
    elif type(one) is not type(other) or one != other:
        yield place, one, other


def shown(value: Any) -> str:
    """A value of `differing` in a message, cut where it is long."""
    if value is ABSENT:
        return "nothing"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _below_results(path: str | Path) -> str:
    path = str(path)
    return f"{_results}{path.removeprefix(RESULTS)}" if path.startswith(f"{RESULTS}/") else path


def _absolute(path: str | Path) -> str:
    # Not resolved: results may lie behind a link.
    return str(Path.cwd() / path)
