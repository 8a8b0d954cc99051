"""Purifiers from their recipes, and purifying whole sets of images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from purification import randomness
from purification.models.checkpoints import load_network
from purification.plugins import import_named
from purification.purifiers.base import reconstruction_error
from purification.purifiers.defense_gan import DefenseGAN, draw_starts
from purification.purifiers.defense_vae import DefenseVAE
from purification.purifiers.latent_search import SearchSettings
from purification.purifiers.magnet import MagNet
from purification.runtime import progress


def load_purifier(recipe: Mapping[str, Any], files: Mapping[str, str]) -> nn.Module:
    """The purifier of a `Purifier` recipe, with its networks read from `files` (by name).

    A method "package.module:build" is a user's own: `build(settings, networks, seed)` must return a
    module that maps images (N, C, H, W) in [0, 1] to images of the same shape and range.
    """
    method, settings = recipe["method"], recipe["settings"]
    if method == "defense_gan":
        return DefenseGAN(*load_search(recipe, files, settings["steps"], settings["restarts"]))
    networks = {
        name: load_network(files[name], network["kind"]).requires_grad_(False)
        for name, network in recipe["networks"].items()
    }
    if method == "magnet":
        return MagNet(networks["autoencoder"])
    if method == "defense_vae":
        return DefenseVAE(networks["vae"])
    purifier = import_named(method)(settings, networks, recipe["seed"])
    if not isinstance(purifier, nn.Module):
        raise TypeError(f"{method} must return a torch module, got {type(purifier).__name__}")
    return purifier.eval().requires_grad_(False)


def load_search(
    recipe: Mapping[str, Any], files: Mapping[str, str], steps: int, restarts: int
) -> tuple[nn.Module, Tensor, SearchSettings]:
    """Generator, starts (restarts, latent) and settings of a `Purifier` recipe's latent search.

    The starts of fewer restarts are the first of those of more.
    """
    generator = load_network(files["generator"], "Generator").requires_grad_(False)
    settings = recipe["settings"]
    search = SearchSettings(steps, settings["step_size"], settings["momentum"])
    random = randomness.generator(recipe["seed"], recipe["name"], "starts")
    latent = recipe["networks"]["generator"]["settings"]["latent"]
    return generator, draw_starts(restarts, latent, random), search


@dataclass(frozen=True)
class Purified:
    """Purified images (N, C, H, W) in [0, 1]; per image its detection score and its reconstruction
    error (mean square, squared pixel units), both (N,). All on the CPU."""

    images: Tensor
    score: Tensor
    reconstruction_error: Tensor


def purify_images(
    purifier: nn.Module, images: Tensor, *, batch_size: int, device: torch.device
) -> Purified:
    """Purify `images` (N, C, H, W), `batch_size` at a time.

    Raises ValueError if the purifier (a user's own, say) returns another shape or range.
    """
    purifier = purifier.to(device)
    score_of = getattr(purifier, "score_purified", _reconstruction_score)
    purified, scores, errors = [], [], []
    with torch.no_grad(), progress(len(images), "purifying", "image") as bar:
        for batch in images.split(batch_size):
            given = batch.to(device)
            result = purifier(given)
            _check(result, given, purifier)
            error = reconstruction_error(result, given)
            purified.append(result.cpu())
            scores.append(score_of(given, result).cpu())
            errors.append(error.cpu())
            bar.update(len(batch), reconstruction_error=error.mean())
    return Purified(torch.cat(purified), torch.cat(scores), torch.cat(errors))


def _check(result: Tensor, given: Tensor, purifier: nn.Module) -> None:
    name = type(purifier).__name__
    if result.shape != given.shape:
        raise ValueError(f"{name} returned shape {tuple(result.shape)} for {tuple(given.shape)}")
    if not bool(((result >= 0) & (result <= 1)).all()):
        raise ValueError(f"{name} returned values that are not in [0, 1]")


def _reconstruction_score(images: Tensor, purified: Tensor) -> Tensor:
    return reconstruction_error(purified, images)
