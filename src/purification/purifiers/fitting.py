"""Training as recipes say: generative models, and defences that learn."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from inspect import signature
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from purification.facts import class_that_states
from purification.guests import PROBES, TOLERANCE, GuestError, GuestPurifier
from purification.models.ae_gan import Discriminator
from purification.models.bigan import JointDiscriminator
from purification.models.checkpoints import Shape, network_of
from purification.models.wgan import Critic
from purification.provenance import name_of
from purification.purifiers.base import Purifier, purified_by
from purification.purifiers.loading import new_purifier, purifier_class
from purification.randomness import derive_seed, draw_seeds, is_randomised, isolated_rng
from purification.runtime import warn
from purification.text_tables import MARKS
from purification.training.ae_gan import train_ae_gan
from purification.training.bigan import train_bigan
from purification.training.diffusion import train_diffusion
from purification.training.finite import not_finite
from purification.training.gan import train_gan
from purification.training.wgan_gp import train_wgan_gp

TRAININGS: dict[str, tuple[Callable[..., Any], Callable[..., nn.Module] | None]] = {
    "Generator": (train_wgan_gp, lambda latent, width, shape: Critic(width, shape)),
    "AEGAN": (train_ae_gan, lambda latent, width, shape: Discriminator(width, shape)),
    "BiGAN": (train_bigan, JointDiscriminator),
    "GAN": (train_gan, None),
    "Diffusion": (train_diffusion, None),
}
"""Of the kinds of generative models: how one is trained, and against which network."""


class Generative:
    """A generative model of the config, which is fitted as a `Purifier` that learns is."""

    def __init__(self, recipe: Mapping[str, Any], image_shape: Shape) -> None:
        self.trained, self.settings = network_of(recipe, image_shape), dict(recipe["settings"])
        self.train, opponent = TRAININGS[recipe["kind"]]
        size = [self.settings.pop(key, None) for key in ("latent", "width")]
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
        if "state_path" in signature(self.train).parameters:
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
    networks = given.get("networks", {})
    kept_networks = deepcopy(networks) if ":" in method else {}
    with isolated_rng(derive_seed(seed, name, "weights")):
        if recipe["kind"] in TRAININGS:
            made = Generative(recipe, tuple(images.shape[1:]))
        else:
            kind = {"kind": recipe["kind"]}
            build = purifier_class(method) if method else class_that_states("purifiers", **kind)
            made = new_purifier(build, networks, recipe, images.shape[1:])
    if ":" in method and not isinstance(made, Purifier):
        raise GuestError(f"{method}: to be trained it must be a purification.purifiers.Purifier")
    begun = not_finite(made.trained.state_dict().items())
    training = derive_seed(seed, name, "training")
    given |= {"seed": training, "device": device, "name": path}
    taken = signature(made.fit).parameters
    with isolated_rng(training):
        history = made.fit(images, labels, **{k: v for k, v in given.items() if k in taken})
    if ":" in method:
        history = _checked_rows(method, history)
        # A mask may well be full of -inf.
        if wrong := set(not_finite(made.trained.state_dict().items())).difference(begun):
            raise FloatingPointError(f"{method}: fit left {', '.join(sorted(wrong))} not finite")
        with isolated_rng(derive_seed(seed, name, "deployed")):
            deployed = new_purifier(build, kept_networks, recipe, images.shape[1:])
        _check_deployed(method, made, deployed, images[:PROBES].to(device))
    return made, history


def warn_of_another(path: str, network: nn.Module, trained: nn.Module) -> None:
    """Warn where a training that was done again does not end at the network of a file, as on
    another processor, where the last bits differ and with them what follows."""
    one, other = (module.cpu().state_dict() for module in (network, trained))
    if not all(torch.equal(weights, other[name]) for name, weights in one.items()):
        warn(
            f"{path}: trained again, it does not come out to the last bit (another processor, "
            "another torch?): its snapshots are those of the training here"
        )


def _check_deployed(place: str, made: Purifier, deployed: Purifier, images: Tensor) -> None:
    """Raise GuestError unless `deployed`, built anew, does with the weights of `made` what that one
    does; or as `GuestPurifier` if that one does what no purifier may."""
    rule = "what `fit` learns must be parameters or buffers that `__init__` has made"
    try:
        deployed.trained.load_state_dict(made.trained.state_dict())
    except RuntimeError as error:
        raise GuestError(f"{place}: its weights cannot be loaded: {rule}. {error}") from error
    results = []
    for purifier in (made, deployed):
        # Of one layout in memory, because another one rounds otherwise.
        purifier.to(images.device, memory_format=torch.contiguous_format)
        guest = GuestPurifier(purifier.eval(), place)
        seeds = draw_seeds(0, range(len(images)), 0) if is_randomised(guest) else None
        with torch.no_grad():
            purified = purified_by(guest, images, seeds)
            score = guest.score_purified(images, purified)
        results.append(torch.cat([purified.flatten(1), score[:, None]], 1).nan_to_num())
    allowed = 0.0 if images.device.type == "cpu" else TOLERANCE
    if not bool(((results[0] - results[1]).abs().mean(1) <= allowed).all()):
        raise GuestError(
            f"{place}: built again with the weights that are kept, it does not purify or score as "
            f"it did when it was trained: {rule}"
        )


def _checked_rows(place: str, history: Any) -> list[dict[str, Any]]:
    """The rows of a history, each with the keys of all: None where a row lacks one."""
    rows = isinstance(history, Sequence) and all(isinstance(row, Mapping) for row in history)
    if not rows or not any(history):
        raise GuestError(f"{place}: fit returned {history!r:.100}, expected a list of rows (dicts)")
    for number, row in enumerate(history, 1):
        for key, value in row.items():
            where = f"{place}: {key} of its history's row {number}"
            if not isinstance(key, str) or not key.isprintable() or key in MARKS:
                raise GuestError(
                    f"{where} cannot be the name of a column, which is a text of one line other "
                    f"than {' and '.join(MARKS)}: let fit call it otherwise"
                )
            if not isinstance(value, Real | None):
                raise GuestError(
                    f"{where} is {value!r:.100}: let fit return a number (of a tensor, .item())"
                )
            if value is not None and not math.isfinite(value):
                raise FloatingPointError(f"{where} is {value}")
    columns = dict.fromkeys(key for row in history for key in row)
    return [{key: row.get(key) for key in columns} for row in history]
