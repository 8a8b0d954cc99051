"""Training as recipes say: generative models, and defences that learn.

Both are a class that is built from settings and the shape of an image, whose `fit` trains its
module `trained`: a `purifiers.base.Purifier`, or a `training.generative.Generative`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from purification.facts import class_that_states
from purification.guests import PROBES, GuestError, GuestPurifier
from purification.provenance import name_of
from purification.purifiers.base import Purifier
from purification.purifiers.loading import new_purifier, purifier_class
from purification.randomness import derive_seed, isolated_rng
from purification.training.finite import not_finite


@dataclass(frozen=True)
class Fitted:
    """The module that was trained, a row for each part of the training, and the weights after some
    of its steps, where they are kept."""

    network: nn.Module
    history: Sequence[Mapping[str, Any]]
    snapshots: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict)


def fit_network(
    recipe: Mapping[str, Any],
    images: Tensor,
    labels: Tensor,
    *,
    path: str,
    device: torch.device,
    **given: Any,
) -> Fitted:
    """Train what a recipe of a `TrainedNetwork` describes.

    Args:
        recipe: its own.
        images, labels: the training images (N, C, H, W) in [0, 1], and (N,).
        path: of the file that is made, by whose name its random numbers are drawn.
        device: where to train.
        given: what `fit` may take besides, such as `copies`; it is given what it names.

    Raises:
        GuestError: a user's own `fit` returned no rows, or its purifier is refused.
        FloatingPointError: a weight, buffer or row is not finite.
    """
    seed, method, name = recipe["seed"], recipe.get("method"), name_of(path)
    own = method is not None and ":" in method
    if method is None:
        build = class_that_states("purifiers", "training", kind=recipe["kind"])
    else:
        build = purifier_class(method)
    with isolated_rng(derive_seed(seed, name, "weights")):
        made = new_purifier(build, recipe, given.get("networks", {}), images.shape[1:])
    if own and not isinstance(made, Purifier):
        raise GuestError(f"{method}: to be trained it must be a purification.purifiers.Purifier")
    begun = not_finite(made.trained.state_dict())
    training = derive_seed(seed, name, "training")
    offered = {**given, "seed": training, "device": device, "name": path}
    taken = {k: v for k, v in offered.items() if k in signature(made.fit).parameters}
    with isolated_rng(training):
        history = made.fit(images, labels, **taken)
    if own:
        _check_history(method, history)
        # A mask may well be full of -inf.
        if wrong := [n for n in not_finite(made.trained.state_dict()) if n not in begun]:
            raise FloatingPointError(f"{method}: fit left {', '.join(wrong[:3])} not finite")
        GuestPurifier(made.to(device).eval(), method)(images[:PROBES].to(device))
    return Fitted(made.trained, history, getattr(made, "snapshots", {}))


def _check_history(place: str, history: Any) -> None:
    rows = isinstance(history, Sequence) and all(isinstance(row, Mapping) for row in history)
    if not rows or not history:
        raise GuestError(f"{place}: fit returned {history!r:.100}, expected a list of rows (dicts)")
    for number, row in enumerate(history, 1):
        for key, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise FloatingPointError(f"{place}: {key} of its history's row {number} is {value}")
