"""From what a user calls a run to where its files lie."""

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from purification import networks
from purification.experiments.artifacts import File
from purification.provenance import RESULTS

Place = str | PathLike[str]
_SEED = re.compile(r"seed(0|[1-9]\d*)")
_SHOWN = 10
"""Runs that a message names."""


@dataclass(frozen=True)
class Run:
    """One data set and one seed of a folder of results, which recipes call `results`; or of the
    networks that come with the repository (`kept`), which lie at the same places."""

    results: Path
    dataset: str
    seed: int
    kept: bool = False

    @property
    def names(self) -> tuple[str, int]:
        """What the catalogue calls it."""
        return self.dataset, self.seed

    def place(self, file: File) -> Path:
        """Where a file lies that recipes call `results/...`."""
        return self.results / Path(file.path).relative_to(RESULTS)


def find_run(run: Place) -> Run:
    """The run that is meant by a folder: `results/digits/seed0`, or one above it that holds a
    single run, such as `results/digits` with one seed. Relative to the working directory. Where
    there is no such folder, the name of a data set, "mnist", is that of its networks that come with
    the repository (`purification.networks`).

    Raises FileNotFoundError if there is no such folder, ValueError if it holds no run or several;
    both name the runs that are there.
    """
    folder, kept = Path(run).expanduser().absolute(), False
    if not folder.is_dir():
        folder, kept = _of_kept(run) or folder, True
    if not folder.is_dir():
        # Perhaps the reader stands elsewhere.
        made = f" at {folder}; a run makes it: snakemake --cores all results/table4.csv"
        there = _nearest(folder) or made
        names = ", ".join(networks.datasets())
        come = f"; networks of {names} come with the repository" if names else ""
        raise FileNotFoundError(f"{run}: no such folder{there}{come}")
    found = [folder] if _is_run(folder) else _runs_below(folder)
    if not found:
        raise ValueError(
            f"{run}: no folder of a finished run, such as results/digits/seed0{_nearest(folder)}"
        )
    if len(found) > 1:
        names = _listed([Path(run) / one.relative_to(folder) for one in found])
        raise ValueError(f"{run} holds several runs, name one of them: {names}")
    (own,) = found
    return Run(own.parent.parent, own.parent.name, int(own.name.removeprefix("seed")), kept)


def _of_kept(run: Place) -> Path | None:
    """The folder of networks that come with the repository, by its data set, or that and a seed."""
    first, *_ = (*Path(run).parts, "")
    return networks.home().absolute() / run if first in networks.datasets() else None


def _is_run(folder: Path) -> bool:
    return bool(_SEED.fullmatch(folder.name)) and folder.is_dir()


def _runs_below(folder: Path) -> list[Path]:
    """The runs of a data set's folder, or else of a folder of results."""
    for pattern in ("seed*", "*/seed*"):
        if found := sorted(filter(_is_run, folder.glob(pattern))):
            return found
    return []


def _nearest(folder: Path) -> str:
    """The runs in the nearest folder above that has any, in words; "" if none of three has."""
    for above in (folder, *folder.parents[:3]):
        if above.is_dir() and (found := _runs_below(above)):
            return f"; in {above} there are {_listed([one.relative_to(above) for one in found])}"
    return ""


def _listed(paths: list[Path]) -> str:
    shown = ", ".join(map(str, paths[:_SHOWN]))
    return f"{shown} and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else shown
