"""Which settings of the config were edited since files were made, and how many jobs each concerns.

Files carry recipes, which do not say where in a config a value stands. So each run leaves its
config behind, and an edit is found by comparing configs: the one by which a file's recipe is what
the file carries, and today's. What one edit concerns is found by making it alone.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from purification.experiments.artifacts import Recipe
from purification.experiments.config import ConfigError
from purification.freshness import found_recipe
from purification.provenance import digest_of

FOLDER = Path(".snakemake/purification_configs")
"""The configs of the latest runs in a working directory."""
KEPT = 10
"""Configs that are kept there."""
LISTED = 10
"""Edited settings that have a line each; of more there is one line for all."""
_WIDTH = 60
Config = Mapping[str, Any]
Recipes = Sequence[Recipe | None]
"""Of each job what it is told under a config; None where that config has no such job."""
Edit = tuple[tuple[str, ...], Any, Any]
"""The place of a setting, its value before, and its value now; `_absent` where there is none."""
_absent = object()


@dataclass(frozen=True)
class Planned:
    """A job that will run, by the places of its outputs."""

    outputs: tuple[str, ...]

    @property
    def found(self) -> set[str]:
        """Digests of the recipes that its files carry, as far as they are there and can be read."""
        digests = set()
        for path in self.outputs:
            try:
                recipe = found_recipe(path)
            except (OSError, ValueError, LookupError):
                continue
            digests.add(recipe if isinstance(recipe, str) else digest_of(recipe))
        return digests


def remember(config: Config) -> None:
    """Leaves the config of a run that begins in `FOLDER`, as its latest."""
    text = yaml.safe_dump(config, sort_keys=False)
    place = FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.yaml"
    FOLDER.mkdir(parents=True, exist_ok=True)
    whole = place.with_suffix(".part")
    whole.write_text(text)
    whole.replace(place)
    for old in _latest_first()[KEPT:]:
        old.unlink(missing_ok=True)


def remembered() -> Iterator[Config]:
    """The configs of the latest runs, the latest first."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in _latest_first():
        yield yaml.load(path.read_text(), Loader=loader)


def _latest_first() -> list[Path]:
    return sorted(FOLDER.glob("*.yaml"), key=lambda path: path.stat().st_mtime_ns, reverse=True)


def edits_explained(
    jobs: Sequence[Planned], config: Config, recipes_under: Callable[[Config], Recipes]
) -> list[str]:
    """A line for each edited setting that makes some of the jobs stale, such as
    "attacks.fgsm.epsilon: 0.1 -> 0.15: 25 jobs".

    A job that two edits concern is counted for both. Files that are missing count where only the
    edit asks for them, such as those of a new seed. Jobs whose files none of the remembered configs
    makes are in no line.

    Args:
        jobs: all that will run.
        config: today's.
        recipes_under: what each of the jobs is told under another config; raises ConfigError if
            that one is wrong.
    """
    lines: list[str] = []
    found = [job.found for job in jobs]
    today = recipes_under(config)
    stale = {i for i, now in enumerate(today) if found[i] and now and now.digest not in found[i]}
    for old in remembered():
        if not stale:
            break
        try:
            before = recipes_under(old)
        except ConfigError:  # of another version of the project
            continue
        own = {i for i in stale if (recipe := before[i]) and recipe.digest in found[i]}
        if own:
            missing = {p: i for i, job in enumerate(jobs) if not found[i] for p in job.outputs}
            lines += _lines(old, config, before, today, own, missing, recipes_under)
        stale -= own
    return lines


def _lines(
    old: Config,
    config: Config,
    before: Recipes,
    today: Recipes,
    stale: set[int],
    missing: Mapping[str, int],
    recipes_under: Callable[[Config], Recipes],
) -> list[str]:
    """Those of all edits between two configs, by which the jobs are told `before` and `today`.

    stale: the jobs whose files the old one made.
    missing: the jobs that make files which are not there, by these.
    """
    edits = list(_edits(old, config))
    if len(edits) > LISTED:
        named = ", ".join(".".join(place) for place, *_ in edits[:LISTED])
        count = len(stale | _asked_anew(stale, before, today, missing))
        return [f"{len(edits)} settings ({named}, ...): {_jobs(count)}"]
    concerned: dict[int, set[int]] = {}
    for number, (place, was, now) in enumerate(edits):
        try:
            first, then = before, recipes_under(_with(old, place, now))
        except ConfigError:  # right only after another edit
            try:
                first, then = recipes_under(_with(config, place, was)), today
            except ConfigError:
                continue
        changed = {i for i in stale if _digest(first[i]) != _digest(then[i])}
        concerned[number] = changed | _asked_anew(changed, first, then, missing)
    rest = stale.difference(*concerned.values())
    together = rest | _asked_anew(rest, before, today, missing)
    counts = {n: len(concerned.get(n, together)) for n in range(len(edits))}
    return [_line(edit, counts[n]) for n, edit in enumerate(edits) if counts[n]]


def _asked_anew(
    changed: set[int], before: Recipes, after: Recipes, missing: Mapping[str, int]
) -> set[int]:
    """The jobs that make what the changed ones read now and did not read before, and so on."""
    waiting = [
        path for i in changed for path in _sources(after[i]) if path not in _sources(before[i])
    ]
    found: set[int] = set()
    while waiting:
        job = missing.get(waiting.pop())
        if job is not None and job not in found:
            found.add(job)
            waiting += _sources(after[job])
    return found


def _sources(recipe: Recipe | None) -> Mapping[str, Any]:
    return recipe.sources if recipe else {}


def _digest(recipe: Recipe | None) -> str:
    return recipe.digest if recipe else ""


def _edits(old: Any, new: Any, place: tuple[str, ...] = ()) -> Iterator[Edit]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*new, *old]):
            yield from _edits(old.get(key, _absent), new.get(key, _absent), (*place, key))
    # 1 and 1.0 are equal in Python, and print two digests.
    elif type(old) is not type(new) or old != new:
        yield place, old, new


def _with(config: Config, place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at a place."""
    key, *rest = place
    if rest:
        value = _with(config.get(key, {}), tuple(rest), value)
    changed = {name: own for name, own in config.items() if name != key or value is not _absent}
    return changed if value is _absent else changed | {key: value}


def _line(edit: Edit, count: int) -> str:
    place, was, now = edit
    values = f"{_shown(was)} -> {_shown(now)}"
    if isinstance(was, list) and isinstance(now, list) and len(values) > 2 * _WIDTH:
        # What long lists begin with says nothing.
        out, into = ([x for x in a if x not in b] for a, b in ((was, now), (now, was)))
        values = f"without {_shown(out)}, with {_shown(into)}"
    return f"{'.'.join(map(str, place))}: {values}: {_jobs(count)}"


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"


def _shown(value: Any) -> str:
    """As it stands in a config."""
    if value is _absent:
        return "nothing"
    text = yaml.safe_dump([value], default_flow_style=True, width=float("inf")).strip()[1:-1]
    return text if len(text) <= 2 * _WIDTH else f"{text[: 2 * _WIDTH - 3]}..."
