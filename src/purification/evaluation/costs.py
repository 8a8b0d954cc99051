"""What the purification of an image costs: passes through the purifier's network, and time."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from purification.evaluation.purifiers import Files, fitted_purifier
from purification.evaluation.run_time import Candidate, time_purifiers
from purification.evaluation.timing import describe_images, quartiles
from purification.purifiers.aggregation import aggregation_of
from purification.purifiers.base import purified_by
from purification.randomness import draw_seeds, is_randomised
from purification.storage import read_split

COST_COLUMNS = (
    *("dataset", "seed", "classifier", "purifier", "passes", "images", "repeats"),
    *("ms", "ms_q1", "ms_q3", "device", "threads", "torch", "dtype", "image_shape"),
)
"""Columns of `cost_rows`. passes: of an image through the purifier's network, the mean over the
images; ms: milliseconds an image, median and quartiles over the repeats."""


class OnDraws(nn.Module):
    """A purifier without seeds: one that is randomised gets those of the images' places in the
    batch, and purifies all draws of an evaluation (`purifiers.aggregation`)."""

    def __init__(self, purifier: nn.Module, seed: int) -> None:
        super().__init__()
        self.purifier, self.seed = purifier, seed

    def forward(self, images: Tensor) -> Tensor:
        seeds, how = _seeds(self.purifier, images, self.seed), aggregation_of(self.purifier)
        if seeds is None or how.draws == 1:
            return purified_by(self.purifier, images, seeds)
        copies = images.repeat_interleave(how.draws, dim=0)
        return purified_by(self.purifier, copies, how.seeds(seeds).flatten())


@torch.no_grad()
def passes_of(purifier: nn.Module, images: Tensor, seed: int = 0) -> float:
    """Passes of an image through a purifier's network.

    A search says itself how often it looks at its generator (`evaluations`): the mean over `images`
    (N, C, H, W). Of another purifier they are the calls of its largest layer, by its own
    parameters, for the first image; 0 without any. A randomised one is run on a draw of `seed`; of
    several draws in an evaluation each costs as many.
    """
    draws = aggregation_of(purifier).draws if is_randomised(purifier) else 1
    if hasattr(purifier, "evaluations"):
        once = purifier.evaluations(images, _seeds(purifier, images, seed)).double().mean()
        return draws * float(once)
    run, one = OnDraws(purifier, seed), images[:1]
    run(one)  # a user's own is tried when it is first called
    sizes = {m: sum(p.numel() for p in m.parameters(recurse=False)) for m in purifier.modules()}
    largest = max(sizes, key=lambda module: sizes[module])
    calls: list[None] = []
    hook = largest.register_forward_pre_hook(lambda *_: calls.append(None))
    try:
        run(one)
    finally:
        hook.remove()
    return float(draws * len(calls)) if sizes[largest] else 0.0


def _seeds(purifier: nn.Module, images: Tensor, seed: int) -> Tensor | None:
    """The seeds (N,) of a randomised purifier."""
    return draw_seeds(seed, range(len(images)), 0) if is_randomised(purifier) else None


def cost_rows(
    recipe: Mapping[str, Any], files: Files, device: torch.device
) -> list[dict[str, Any]]:
    """The rows of a `PurificationCosts` recipe's file, one for each of its purifiers: of the first
    test images, all in one batch, in turns (`time_purifiers`), which nothing should disturb.

    `files` are the paths of `dataset` and, as `<purifier>_<part>`, of the networks. Raises
    FileNotFoundError; ValueError: a file is broken; or as `time_purifiers`.
    """
    count, repeats, seed = (recipe[name] for name in ("images", "repeats", "seed"))
    images, _ = read_split(files["dataset"], "test", count)
    given = torch.from_numpy(images).to(device)
    purifiers = {}
    for name, own in recipe["purifiers"].items():
        parts = {part: files[f"{name}_{part}"] for part in own["networks"]}
        made = fitted_purifier(own, {"dataset": files["dataset"], **parts})
        purifiers[name] = OnDraws(made.to(device).eval(), seed)
    passes = {name: passes_of(one.purifier, given, seed) for name, one in purifiers.items()}
    candidate = partial(Candidate, images=count, batch_size=count)
    candidates = {name: candidate(one, warm_up=one) for name, one in purifiers.items()}
    seconds = time_purifiers(candidates, given, repeats=repeats)
    labels = {"dataset": recipe["dataset"]["name"], "seed": seed}
    labels |= {"classifier": recipe["classifier"]}
    return [
        {
            **labels,
            **{"purifier": name, "passes": passes[name], "images": count, "repeats": repeats},
            **quartiles("ms", 1000 / count * np.array(seconds[name])),
            **describe_images(given),
        }
        for name in purifiers
    ]
