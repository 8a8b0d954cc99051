"""Which settings of the config were edited since files were made, and how many jobs each concerns.

Files carry recipes, which do not say where in a config a value stands. So each run leaves its
config behind, and an edit is found by comparing configs: the one by which a file's recipe is what
the file carries, and today's. What one edit concerns is found by making it alone.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
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


def remember(config: Config) -> None:
    """Leaves the config of a run that begins in `FOLDER`, as its latest."""
    text = yaml.safe_dump(config, sort_keys=False)
    place = FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.yaml"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.with_suffix(".part").write_text(text)
    place.with_suffix(".part").replace(place)
    for old in _latest_first()[KEPT:]:
        old.unlink(missing_ok=True)


def remembered() -> Iterator[Config]:
    """The configs of the latest runs, the latest first; of those that can be read."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in _latest_first():
        with suppress(OSError, ValueError, yaml.YAMLError):
            config = yaml.load(path.read_text(), Loader=loader)
            if isinstance(config, dict):
                yield config


def _latest_first() -> list[Path]:
    return sorted(FOLDER.glob("*.yaml"), key=lambda path: path.stat().st_mtime_ns, reverse=True)


def explained_edits(
    config: Config,
    outputs: Sequence[Sequence[str]],
    today: Sequence[Recipe],
    recipes_under: Callable[[Config], Sequence[Recipe]],
    place: Callable[[str], str] = str,
) -> list[str]:
    """A line for each setting in which `config` differs from that of the files, if it makes some of
    the jobs stale: "attacks.fgsm.epsilon: 0.1 -> 0.15: 25 jobs". A job that two edits concern is
    counted for both. Files that are missing, such as those of a new seed, count where what is stale
    is made of them. Jobs whose files none of the remembered configs makes are in no line.

    Args:
        outputs: the files of each job, of all that will run.
        today: what each is told.
        recipes_under: from another config to the same; an empty recipe where it has no such job.
            Raises ConfigError if the config is wrong.
        place: from a file's path in a recipe to where it lies.
    """
    found = [_carried(paths) for paths in outputs]
    missing = {p: i for i, paths in enumerate(outputs) if not found[i] for p in paths}
    stale = {i for i, now in enumerate(today) if found[i] and now.digest not in found[i]}

    def told(other: Config, jobs: Iterable[int]) -> Sequence[Recipe]:
        recipes = recipes_under(other)
        if not all(recipes[i] for i in jobs):
            raise ConfigError("wrong in a table that is asked for")
        return recipes

    def changed(first: Sequence[Recipe], then: Sequence[Recipe], among: set[int]) -> set[int]:
        jobs = {i for i in among if first[i].digest != then[i].digest}
        waiting = [path for i in jobs for path in then[i].sources]
        while waiting:
            job = missing.get(place(waiting.pop()))
            if job is not None and job not in jobs:
                jobs.add(job)
                waiting += then[job].sources
        return jobs

    lines: list[str] = []
    for old in remembered() if stale else ():
        try:
            before = recipes_under(old)
        except (ConfigError, LookupError, TypeError, AttributeError):
            continue  # of another version of the project, or damaged: it explains nothing
        own = {i for i in stale if before[i].digest in found[i]}
        stale -= own
        edits, every, counted = list(differing(old, config)), changed(before, today, own), {}
        if own and len(edits) > LISTED:
            named = ", ".join(".".join(map(str, key)) for key, *_ in edits[:LISTED])
            lines.append(f"{len(edits)} settings ({named}, ...): {_jobs(every)}")
            continue
        for key, was, now in edits if own else ():
            # Right only together with others are counted together.
            with suppress(ConfigError):
                try:
                    counted[key] = changed(before, told(_with(old, key, now), own), own)
                except ConfigError:  # right only after another
                    counted[key] = changed(told(_with(config, key, was), own), today, own)
        rest = every.difference(*counted.values())
        for key, was, now in edits:
            if jobs := counted.get(key, rest):
                lines.append(f"{'.'.join(map(str, key))}: {_values(was, now)}: {_jobs(jobs)}")
    return lines


def _carried(paths: Iterable[str]) -> set[str]:
    """Digests of the recipes that a job's files carry, as far as they are there and readable."""
    digests = set()
    for path in filter(Path.exists, map(Path, paths)):
        with suppress(OSError, ValueError, LookupError):
            recipe = found_recipe(path)
            digests.add(recipe if isinstance(recipe, str) else digest_of(recipe))
    return digests


def _with(config: Config, key: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with another value there."""
    first, *rest = key
    if rest:
        value = _with(config.get(first, {}), tuple(rest), value)
    return {k: v for k, v in {**config, first: value}.items() if v is not ABSENT}


def _jobs(jobs: set[int]) -> str:
    return "1 job" if len(jobs) == 1 else f"{len(jobs)} jobs"


def _values(was: Any, now: Any) -> str:
    if isinstance(was, list) and isinstance(now, list) and len(was) + len(now) > _LONG:
        less, more = ([x for x in a if x not in b] for a, b in ((was, now), (now, was)))
        return f"without {shown(less)}, with {shown(more)}"
    return f"{shown(was)} -> {shown(now)}"
