"""Trained networks from their checkpoints, which say themselves what they are."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from purification.guests import GuestClassifier, GuestPair, GuestPart
from purification.models.ae_gan import AEGAN
from purification.models.autoencoder import MagNetAutoencoder
from purification.models.bigan import BiGAN
from purification.models.classifiers import build_classifier
from purification.models.diffusion import Diffusion
from purification.models.gan import GAN
from purification.models.vae import VAE
from purification.models.weights import load_weights
from purification.models.wgan import Generator, Shape
from purification.plugins import import_named, located
from purification.storage import read_checkpoint, write_checkpoint


def save_network(
    path: str | Path,
    network: nn.Module,
    recipe: Mapping[str, Any],
    image_shape: Shape,
    **facts: str,
) -> None:
    """Write a network's weights with the recipe that made it, the (C, H, W) of its images and
    further facts: a classifier's number of `classes`, a substitute's `queries`."""
    shape = json.dumps(image_shape)
    write_checkpoint(path, network.state_dict(), recipe, image_shape=shape, **facts)


def queries_of(path: str | Path) -> int:
    """How many images an oracle labelled for the substitute of a checkpoint."""
    return int(read_checkpoint(path)[1]["queries"])


def classifier_of(recipe: Mapping[str, Any], image_shape: Shape, classes: int = 10) -> nn.Module:
    """An untrained classifier as a `Classifier` or `Substitute` recipe describes it."""
    settings = {"dropout": "paper", "files": None} | recipe["settings"]
    given = {name: settings[name] for name in ("architecture", "dropout", "files")}
    return build_classifier(**given, input_shape=image_shape, classes=classes)


def network_of(recipe: Mapping[str, Any], image_shape: Shape) -> nn.Module:
    """An untrained network, one of `SIZED`, as a recipe of that kind describes it; or in its place
    a user's own, called as `Name(latent, image_shape)`. Raises ValueError or GuestError if there is
    none, or it lacks a part."""
    settings = recipe["settings"]
    if place := settings.get("architecture"):
        own = import_named(place)(settings["latent"], image_shape)
        parts = _parts(recipe, image_shape)
        made = GuestPair(own, place, parts) if len(parts) > 1 else GuestPart(own, place, *parts[""])
        made.latent = settings["latent"]
        return made
    if unet := settings.get("unet"):
        from purification.models.diffusers_network import DiffusersModel

        return DiffusersModel(unet, settings["scheduler"], image_shape)
    return SIZED[recipe["kind"]](settings.get("latent", 0), settings["width"], image_shape)


SIZED: dict[str, Callable[[int, int, Shape], nn.Module]] = {
    "Generator": Generator,
    "Autoencoder": MagNetAutoencoder,
    "DefenseVAE": VAE,
    "AEGAN": AEGAN,
    "BiGAN": BiGAN,
    "GAN": GAN,
    "Diffusion": lambda _, width, shape: Diffusion(width, shape),
}
"""Networks that are built from the length of their code, their width and the shape of an image; a
diffusion model's code is as long as the image."""
BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "Classifier": classifier_of,
    "Substitute": classifier_of,
    **dict.fromkeys(SIZED, network_of),
}


def _parts(recipe: Mapping[str, Any], shape: Shape) -> dict[str, tuple[Any, Any]]:
    """The parts of a network of `SIZED` ("" is the whole), each with the form of what it is given
    and of what it makes."""
    code = (recipe["settings"].get("latent", math.prod(shape)),)
    if recipe["kind"] in ("Generator", "Diffusion"):
        return {"": (code, shape)}
    gan = recipe["kind"] == "GAN"
    other = {"discriminator": (shape, ())} if gan else {"encoder": (shape, code)}
    return {"generator": (code, shape), **other}


def adopted_network(recipe: Mapping[str, Any], image_shape: Shape, **classes: int) -> nn.Module:
    """A network with the weights whose digest its recipe has as `checkpoint`, in eval mode, tried.

    Raises ValueError as `plugins.located` and `load_weights`; GuestError or FloatingPointError if
    it is not what its kind should be.
    """
    settings, kind = recipe["settings"], recipe["kind"]
    called = settings.get("architecture", kind)
    network = BUILDERS[kind](recipe, image_shape, **classes).eval()
    path = located(recipe["name"], "checkpoint", settings["checkpoint"])
    # A folder of diffusers has the weights of the network alone.
    own = network.network if "unet" in settings else network
    load_weights(own, path, f"{called} for images {image_shape}")
    for name, forms in _parts(recipe, image_shape).items() if kind in SIZED else ():
        part = getattr(network, name) if name else network
        GuestPart(part, f"{path} as {called} {name}".strip(), *forms).try_out()
    if isinstance(network, GuestClassifier):
        GuestClassifier(network.guest, network.place, image_shape, network.classes)
    return network


def load_network(
    path: str | Path, kind: str, build: Callable[..., nn.Module] | None = None
) -> nn.Module:
    """The trained network of a checkpoint, on the CPU, in evaluation mode, in channels-last order.

    `kind` is a key of `BUILDERS`; or `build` makes of a recipe and (C, H, W) what has the network
    as its `trained`. Raises FileNotFoundError or ValueError, naming the file, if it is missing, no
    checkpoint, another kind or of other shapes.
    """
    state, metadata = read_checkpoint(path)
    got = metadata["recipe"].get("kind")
    if got != kind:
        raise ValueError(f"{path}: expected the checkpoint of a {kind}, got {got}")
    return _network(path, state, metadata, build)


def save_snapshots(
    path: str | Path,
    snapshots: Mapping[int, Mapping[str, Tensor]],
    recipe: Mapping[str, Any],
    image_shape: Shape,
) -> None:
    """Write a network's weights (`state_dict`) at several steps of its training to one file.

    The `kind` of its recipe is a key of `SIZED`; `image_shape` is the (C, H, W) of its images.
    """
    state = {f"{step}.{name}": w for step, held in snapshots.items() for name, w in held.items()}
    steps = json.dumps(sorted(snapshots))
    write_checkpoint(path, state, recipe, image_shape=json.dumps(image_shape), snapshots=steps)


def load_snapshot(path: str | Path, step: int) -> nn.Module:
    """The network as it was at a step of its training, from what `save_snapshots` wrote; otherwise
    as `load_network`.

    Raises FileNotFoundError or ValueError, naming the file, if it is missing, no file of snapshots,
    without that step or of other shapes.
    """
    state, metadata = read_checkpoint(path)
    if "snapshots" not in metadata:
        raise ValueError(f"{path}: expected snapshots of a training, got one network")
    steps = json.loads(metadata["snapshots"])
    if step not in steps:
        raise ValueError(f"{path}: no snapshot of step {step}; there are those of steps {steps}")
    start = f"{step}."
    own = {name.removeprefix(start): w for name, w in state.items() if name.startswith(start)}
    return _network(path, own, metadata)


def _network(
    path: str | Path,
    state: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    build: Callable[..., nn.Module] | None = None,
) -> nn.Module:
    """The network that a checkpoint's metadata describe, with the weights `state`."""
    recipe = metadata["recipe"]
    # Only classifiers' files say their classes, and none from before there were others than ten.
    classes = {"classes": int(metadata["classes"])} if "classes" in metadata else {}
    shape = tuple(json.loads(metadata["image_shape"]))
    network = (build or BUILDERS[recipe["kind"]])(recipe, shape, **classes)
    try:
        (network.trained if build else network).load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path}: weights do not fit the recipe in the file: {error}") from error
    # A user's own defence stays as it was trained.
    if ":" in recipe.get("method", ""):
        return network.eval()
    # Half the time of classifier C on CPUs; the values are the same but for rounding.
    return network.eval().to(memory_format=torch.channels_last)
