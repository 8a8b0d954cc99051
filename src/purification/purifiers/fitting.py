"""Training as recipes say: generative models, and defences that learn."""

import math
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from purification.facts import class_that_states
from purification.guests import PROBES, GuestError, GuestPurifier
from purification.models.ae_gan import Discriminator
from purification.models.bigan import JointDiscriminator
from purification.models.checkpoints import Shape, network_of
from purification.models.wgan import Critic
from purification.provenance import name_of
from purification.purifiers.base import Purifier
from purification.purifiers.loading import new_purifier, purifier_class
from purification.randomness import derive_seed, isolated_rng
from purification.training.ae_gan import train_ae_gan
from purification.training.bigan import train_bigan
from purification.training.finite import not_finite
from purification.training.gan import train_gan
from purification.training.wgan_gp import train_wgan_gp

TRAININGS: dict[str, tuple[Callable[..., Any], Callable[..., nn.Module] | None]] = {
    "Generator": (train_wgan_gp, lambda latent, width, shape: Critic(width, shape)),
    "AEGAN": (train_ae_gan, lambda latent, width, shape: Discriminator(width, shape)),
    "BiGAN": (train_bigan, JointDiscriminator),
    "GAN": (train_gan, None),
}
"""Of the kinds of generative models: how one is trained, and against which network."""


class Generative:
    """A generative model of the config, which is fitted as a `Purifier` that learns is."""

    def __init__(self, recipe: Mapping[str, Any], image_shape: Shape) -> None:
        self.trained, self.settings = network_of(recipe, image_shape), dict(recipe["settings"])
        self.train, opponent = TRAININGS[recipe["kind"]]
        size = [self.settings.pop(key) for key in ("latent", "width")]
        self.networks: list[nn.Module | None] = [self.trained]
        self.networks += [opponent(*size, image_shape)] if opponent else []
        self.snapshots: Mapping[int, Mapping[str, Tensor]] = {}

    def fit(
        self, images: Tensor, labels: Tensor, *, resume: Any, seed: int, device: Any, name: str
    ) -> Any:
        own = {**self.settings, "seed": seed, "device": device, "name": name}
        if game := own.pop("adversarial", None):
            own["saturating"] = game == "minimax"
            if game == "none":
                self.networks[1] = None
        if self.train is train_wgan_gp:
            own |= resume
        made = self.train(*self.networks, images, **own)
        history, self.snapshots = made if isinstance(made, tuple) else (made, {})
        return history


def fit_network(
    recipe: Mapping[str, Any],
    images: Tensor,
    labels: Tensor,
    *,
    path: str,
    device: torch.device,
    **given: Any,
) -> tuple[Any, Sequence[Mapping[str, Any]]]:
    """Train what the recipe of a `TrainedNetwork` describes, on images (N, C, H, W) and labels.

    Its random numbers are drawn by the name of the file that is made, `path`. `given` is what `fit`
    may take besides, such as `copies`. Returns what has the module to keep as `trained`, and rows.
    Raises GuestError or FloatingPointError where a user's own leaves nothing that can be kept.
    """
    seed, method, name = recipe["seed"], recipe.get("method", ""), name_of(path)
    made: Any
    with isolated_rng(derive_seed(seed, name, "weights")):
        if recipe["kind"] in TRAININGS:
            made = Generative(recipe, tuple(images.shape[1:]))
        else:
            kind = {"kind": recipe["kind"]}
            build = purifier_class(method) if method else class_that_states("purifiers", **kind)
            made = new_purifier(build, given.get("networks", {}), recipe, images.shape[1:])
    if ":" in method and not isinstance(made, Purifier):
        raise GuestError(f"{method}: to be trained it must be a purification.purifiers.Purifier")
    begun = not_finite(made.trained.state_dict().items())
    training = derive_seed(seed, name, "training")
    given |= {"seed": training, "device": device, "name": path}
    taken = signature(made.fit).parameters
    with isolated_rng(training):
        history = made.fit(images, labels, **{k: v for k, v in given.items() if k in taken})
    if ":" in method:
        _check_history(method, history)
        # A mask may well be full of -inf.
        if wrong := set(not_finite(made.trained.state_dict().items())).difference(begun):
            raise FloatingPointError(f"{method}: fit left {', '.join(sorted(wrong))} not finite")
        GuestPurifier(made.to(device).eval(), method)(images[:PROBES].to(device))
    return made, history


def _check_history(place: str, history: Any) -> None:
    rows = isinstance(history, Sequence) and all(isinstance(row, Mapping) for row in history)
    if not rows or not history:
        raise GuestError(f"{place}: fit returned {history!r:.100}, expected a list of rows (dicts)")
    for number, row in enumerate(history, 1):
        for key, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise FloatingPointError(f"{place}: {key} of its history's row {number} is {value}")
