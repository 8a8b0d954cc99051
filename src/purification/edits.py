"""Which settings of the config were edited since files were made, and how many jobs each concerns.

Files carry recipes, which do not say where in a config a value stands. So each run leaves its
config behind, and an edit is found by comparing configs: the one by which a file's recipe is what
the file carries, and today's. What one edit concerns is found by making it alone.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from purification.experiments import ConfigError
from purification.experiments.artifacts import Recipe
from purification.freshness import found_recipe
from purification.provenance import ABSENT, differing, digest_of, shown
from purification.runs import MARK

FOLDER = MARK.with_name("purification_configs")
"""The configs of the latest runs in a working directory."""
KEPT = 10
"""Configs that are kept there."""
LISTED = 10
"""Edited settings that have a line each; of more there is one line for all."""
_LONG = 8  # entries of two lists; what longer ones have in common says nothing
Config = Mapping[str, Any]
Place = tuple[str, ...]
_Told = tuple[Config, Sequence[Recipe]]  # a config, and what jobs are told under it


def remember(config: Config) -> None:
    """Leaves the config of a run that begins in `FOLDER`, as its latest."""
    text = yaml.safe_dump(config, sort_keys=False)
    place = FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.yaml"
    place.parent.mkdir(parents=True, exist_ok=True)
    whole = place.with_suffix(".part")
    whole.write_text(text)
    whole.replace(place)
    for old in _latest_first()[KEPT:]:
        old.unlink(missing_ok=True)


def remembered() -> Iterator[Config]:
    """The configs of the latest runs, the latest first."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return (yaml.load(path.read_text(), Loader=loader) for path in _latest_first())


def _latest_first() -> list[Path]:
    return sorted(FOLDER.glob("*.yaml"), key=lambda path: path.stat().st_mtime_ns, reverse=True)


@dataclass(frozen=True)
class Explainer:
    """Explains why jobs are stale.

    outputs: the places of each job's files, of all jobs that will run.
    today: what each is told.
    recipes_under: from a config to what each of the jobs is told under it; an empty recipe where it
        has no such job. Raises ConfigError if the config is wrong.
    place: from a file's path in a recipe to where it lies.
    """

    outputs: Sequence[Sequence[str]]
    today: Sequence[Recipe]
    recipes_under: Callable[[Config], Sequence[Recipe]]
    place: Callable[[str], str] = str

    def lines(self, config: Config) -> list[str]:
        """A line for each setting in which `config` differs from that of the files, if it makes
        some of the jobs stale: "attacks.fgsm.epsilon: 0.1 -> 0.15: 25 jobs".

        A job that two edits concern is counted for both. Files that are missing, such as those of
        a new seed, count where what is stale is made of them. Jobs whose files none of the
        remembered configs makes are in no line.
        """
        lines: list[str] = []
        found = [_carried(paths) for paths in self.outputs]
        missing = {p: i for i, paths in enumerate(self.outputs) if not found[i] for p in paths}
        stale = {i for i, now in enumerate(self.today) if found[i] and now.digest not in found[i]}
        for old in remembered():
            if not stale:
                break
            try:
                before = self.recipes_under(old)
            except ConfigError:  # of another version of the project
                continue
            own = {i for i in stale if before[i].digest in found[i]}
            if own:
                lines += self._counted((old, before), (config, self.today), own, missing)
            stale -= own
        return lines

    def _counted(
        self, old: _Told, new: _Told, stale: set[int], missing: Mapping[str, int]
    ) -> list[str]:
        """The lines of all edits between two configs. `stale`: the jobs whose files the old one
        made; `missing`: those that make files which are not there, by these."""

        def changed(first: Sequence[Recipe], then: Sequence[Recipe]) -> set[int]:
            jobs = {i for i in stale if first[i].digest != then[i].digest}
            # What is missing is made because these are made of it.
            waiting = [path for i in jobs for path in then[i].sources]
            while waiting:
                job = missing.get(self.place(waiting.pop()))
                if job is not None and job not in jobs:
                    jobs.add(job)
                    waiting += then[job].sources
            return jobs

        edits, every = list(differing(old[0], new[0])), changed(old[1], new[1])
        if len(edits) > LISTED:
            named = ", ".join(_name(place) for place, *_ in edits[:LISTED])
            return [f"{len(edits)} settings ({named}, ...): {_jobs(every)}"]
        counted = {}
        for place, was, now in edits:
            # Right only together with others are counted together.
            with suppress(ConfigError):
                try:
                    pair = old[1], self._all_told(_with(old[0], place, now), stale)
                except ConfigError:  # right only after another
                    pair = self._all_told(_with(new[0], place, was), stale), new[1]
                counted[place] = changed(*pair)
        rest = every.difference(*counted.values())
        jobs = {place: counted.get(place, rest) for place, *_ in edits}
        return [
            f"{_name(place)}: {_values(was, now)}: {_jobs(jobs[place])}"
            for place, was, now in edits
            if jobs[place]
        ]

    def _all_told(self, config: Config, jobs: set[int]) -> Sequence[Recipe]:
        """What jobs are told. ConfigError also where one of `jobs` is not to be had."""
        told = self.recipes_under(config)
        if not all(told[i] for i in jobs):
            raise ConfigError("a table that was asked for is wrong")
        return told


def _carried(paths: Iterable[str]) -> set[str]:
    """Digests of the recipes that a job's files carry, as far as they are there and readable."""
    digests = set()
    for path in filter(os.path.exists, paths):
        try:
            recipe = found_recipe(path)
        except (OSError, ValueError, LookupError):
            continue
        digests.add(recipe if isinstance(recipe, str) else digest_of(recipe))
    return digests


def _with(config: Config, place: Place, value: Any) -> dict[str, Any]:
    """A copy with another value at a place."""
    key, *rest = place
    if rest:
        value = _with(config.get(key, {}), tuple(rest), value)
    changed = {**config, key: value}
    return {name: own for name, own in changed.items() if own is not ABSENT}


def _name(place: Place) -> str:
    return ".".join(map(str, place))


def _jobs(jobs: set[int]) -> str:
    return "1 job" if len(jobs) == 1 else f"{len(jobs)} jobs"


def _values(was: Any, now: Any) -> str:
    if isinstance(was, list) and isinstance(now, list) and len(was) + len(now) > _LONG:
        less, more = ([x for x in a if x not in b] for a, b in ((was, now), (now, was)))
        return f"without {shown(less)}, with {shown(more)}"
    return f"{shown(was)} -> {shown(now)}"
