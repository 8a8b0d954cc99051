"""How long purifiers take beside each other (Defense-VAE, Table 4), measured as `timing` does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from purification.evaluation.purifiers import fitted_purifier
from purification.evaluation.timing import batch_of, describe_images, quartiles, wall_seconds
from purification.guests import refuse_not_finite
from purification.runtime import progress
from purification.storage import read_split


@dataclass(frozen=True)
class Candidate:
    """A purifier to be timed on `images` images, `batch_size` at a time.

    `warm_up`: what runs on one batch before, unmeasured; where the purifier itself would take long,
    another that loads the same kernels.
    """

    purifier: nn.Module
    images: int
    batch_size: int
    warm_up: nn.Module


def time_purifiers(
    candidates: Mapping[str, Candidate], images: Tensor, *, repeats: int
) -> dict[str, tuple[float, ...]]:
    """Wall seconds of each candidate's purification of its images, `repeats` (at least 1) times.

    All are warmed up; then in each repeat all take their turn, in their order, so that what else
    the machine does meanwhile hits all of them, and the times of one repeat can be compared. Each
    repeat takes the next images of the set, (N, C, H, W) in [0, 1] on the candidates' device, from
    its beginning again at its end. The clock includes no classifier and no gradient.

    Raises:
        ValueError: there is no image, or a candidate has none to purify or an empty batch.
        FloatingPointError: a candidate's purified images are not finite.
        torch.OutOfMemoryError: a candidate's batch does not fit into the device's memory.
    """
    if not len(images):
        raise ValueError("no images to time purifiers on")
    for name, candidate in candidates.items():
        if candidate.images < 1 or candidate.batch_size < 1:
            raise ValueError(
                f"{name}: expected at least 1 image in batches of at least 1, got "
                f"{candidate.images} in batches of {candidate.batch_size}"
            )
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    with torch.no_grad(), progress((1 + repeats) * len(candidates), "timing", "turn") as bar:
        for name, candidate in candidates.items():
            first = min(candidate.images, candidate.batch_size)
            purified = candidate.warm_up(batch_of(images, 0, first))
            refuse_not_finite(purified, f"{name}: the purified images")
            bar.update(warm_up=name)
        for repeat in range(repeats):
            for name, candidate in candidates.items():
                batches = batch_of(images, repeat, candidate.images).split(candidate.batch_size)
                purified: list[Tensor] = []
                turn = partial(_purify, candidate.purifier, batches, purified)
                seconds[name].append(wall_seconds(turn, images.device))
                # Off the clock. Of a search that left the numbers no time means anything.
                refuse_not_finite(purified[-1], f"{name}: the purified images of its last batch")
                bar.update(purifier=name, seconds=seconds[name][-1])
    return {name: tuple(times) for name, times in seconds.items()}


def run_time_rows(
    recipe: Mapping[str, Any], dataset_file: str, device: torch.device
) -> list[dict[str, Any]]:
    """Defense-VAE's Table 4 of one data set: seconds for 1,000 images, a row for each job.

    Test images, clean ones: the paper's are attacked, which changes no purifier's time. All jobs
    run in one process, in turns (`time_purifiers`). Fewer images than 1,000 are scaled up, which
    the times of batches of one size allow.

    Args:
        recipe: plain JSON values: `dataset` with its `name`; `seed`; `repeats`, measured turns;
            `reference`, the name of the job whose speed is compared (Defense-VAE); and `jobs`, each
            with `name`, different in all; `purifier`, a `Purifier` recipe; `files`, the paths of
            its networks by name; `images`, how many are purified in a turn; `batch_size`; and, to
            time a latent search at other settings than the recipe's, `steps` and `restarts`.

    Returns:
        In the order of the jobs: dataset, seed, defense (the purifier's name), iterations_L and
        restarts_R (None without a search), reference (the defence that `speed_up` is of), images,
        batch, repeats, seconds_per_1000 with its quartiles _q1 and _q3, speed_up with quartiles:
        how many times longer than the reference in the same repeat; then what was timed and where:
        the networks' number of parameters, device, threads, torch, dtype, image_shape.

    Raises FileNotFoundError; ValueError: a file is broken, names of jobs repeat, or none is the
    reference; or as `time_purifiers`.
    """
    jobs = {job["name"]: job for job in recipe["jobs"]}
    if len(jobs) < len(recipe["jobs"]) or recipe["reference"] not in jobs:
        names = [job["name"] for job in recipe["jobs"]]
        raise ValueError(
            f"expected jobs of different names, one of them {recipe['reference']!r}, got {names}"
        )
    most = max(job["images"] for job in jobs.values())
    images, _ = read_split(dataset_file, "test", most)
    given = torch.from_numpy(images).to(device)
    candidates = {name: _candidate(job, device) for name, job in jobs.items()}
    times = time_purifiers(candidates, given, repeats=recipe["repeats"])
    per_1000 = {
        name: 1000 / candidates[name].images * np.array(seconds) for name, seconds in times.items()
    }
    reference = recipe["reference"]
    labels = {"dataset": recipe["dataset"]["name"], "seed": recipe["seed"]}
    facts = describe_images(given)
    return [
        {
            **labels,
            "defense": job["purifier"]["name"],
            "iterations_L": _search_setting(job, "steps"),
            "restarts_R": _search_setting(job, "restarts"),
            "reference": jobs[reference]["purifier"]["name"],
            "images": job["images"],
            "batch": min(job["batch_size"], job["images"]),
            "repeats": recipe["repeats"],
            **quartiles("seconds_per_1000", per_1000[name]),
            **quartiles("speed_up", per_1000[name] / per_1000[reference]),
            "parameters": sum(p.numel() for p in candidates[name].purifier.parameters()),
            **facts,
        }
        for name, job in jobs.items()
    ]


def _candidate(job: Mapping[str, Any], device: torch.device) -> Candidate:
    """The purifier of a job of `run_time_rows`; a search is warmed up by its first step."""
    recipe, files = job["purifier"], job["files"]
    own = {name: _search_setting(job, name) for name in ("steps", "restarts")}
    settings = {**recipe["settings"], **{k: v for k, v in own.items() if v is not None}}
    purifier = warm_up = fitted_purifier({**recipe, "settings": settings}, files).to(device)
    if "steps" in settings:
        once = {**recipe, "settings": {**settings, "steps": 1}}
        warm_up = fitted_purifier(once, files).to(device)
    return Candidate(purifier, job["images"], job["batch_size"], warm_up)


def _search_setting(job: Mapping[str, Any], name: str) -> int | None:
    """`steps` or `restarts` of a job: its own, else the purifier's."""
    return job.get(name, job["purifier"]["settings"].get(name))


def _purify(purifier: nn.Module, batches: Iterable[Tensor], last: list[Tensor]) -> None:
    """Purifies each batch; keeps the last one's images in `last`."""
    for batch in batches:
        last[:] = [purifier(batch)]
