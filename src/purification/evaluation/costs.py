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
from purification.guests import name_of
from purification.purifiers.aggregation import aggregation_of
from purification.purifiers.base import purified_by
from purification.randomness import draw_seeds, is_randomised
from purification.storage import read_split

COST_COLUMNS = (
    *("dataset", "seed", "classifier", "purifier", "passes", "images", "repeats"),
    *("ms", "ms_q1", "ms_q3", "device", "threads", "torch", "dtype", "image_shape"),
)
"""Columns of `cost_rows`, of one evaluation of each defence. passes: of an image through the
purifier's network, the mean over the images; ms: milliseconds an image, median and quartiles over
the repeats."""


class Evaluation(nn.Module):
    """The purifications of an evaluation of a defence, without seeds: (N, C, H, W) to the same. A
    randomised purifier is given draws of the images' places in the batch; one that is evaluated on
    several draws (`aggregation`) purifies each, and the last are returned."""

    def __init__(self, purifier: nn.Module, seed: int) -> None:
        super().__init__()
        self.purifier, self.seed = purifier, seed

    def forward(self, images: Tensor) -> Tensor:
        for seeds in self.draws(len(images)):
            purified = purified_by(self.purifier, images, seeds)
        return purified

    def draws(self, count: int) -> list[Tensor | None]:
        """The seeds (N,) of each draw of so many images; of a deterministic one None, once."""
        if not is_randomised(self.purifier):
            return [None]
        seeds = draw_seeds(self.seed, range(count), 0)
        return list(aggregation_of(self.purifier).seeds(seeds).unbind(1))


@torch.no_grad()
def passes_of(purifier: nn.Module, images: Tensor, seed: int = 0) -> float:
    """Passes of an image through a purifier's network, in one evaluation of its defence.

    A search says itself how often it looks at its generator (`network_passes`): the mean over
    `images` (N, C, H, W). Of another purifier they are the calls of its largest layer, by its own
    parameters, for the first image; 0 without any. A randomised one is run on draws of `seed`.

    Raises ValueError if what a purifier says itself are not N numbers.
    """
    run, one = Evaluation(purifier, seed), images[:1]
    if callable(own := getattr(purifier, "network_passes", None)):
        said = [own(images, seeds) for seeds in run.draws(len(images))]
        return sum(_mean(purifier, passes, len(images)) for passes in said)
    run(one)  # a user's own is tried when it is first called
    sizes = {m: sum(p.numel() for p in m.parameters(recurse=False)) for m in purifier.modules()}
    largest = max(sizes, key=lambda module: sizes[module])
    calls: list[None] = []
    hook = largest.register_forward_pre_hook(lambda *_: calls.append(None))
    try:
        run(one)
    finally:
        hook.remove()
    return float(len(calls)) if sizes[largest] else 0.0


def _mean(purifier: nn.Module, passes: Any, count: int) -> float:
    right = isinstance(passes, Tensor) and passes.shape == (count,)
    if not (right and bool((passes >= 0).all()) and bool(passes.isfinite().all())):
        raise ValueError(
            f"{name_of(purifier)}: network_passes returned {passes!r}, expected a tensor of "
            f"{count} numbers, one an image"
        )
    return float(passes.double().mean())


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
        purifiers[name] = Evaluation(made.to(device).eval(), seed)
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
