"""Purifiers from their recipes, and purifying whole sets of images."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from purification import randomness
from purification.guests import GuestPurifier, check_images, name_of, refuse_not_finite
from purification.models.checkpoints import load_network
from purification.plugins import files_for, import_named
from purification.purifiers.ae_gan import EncoderSearch
from purification.purifiers.base import reconstruction_error
from purification.purifiers.cowboy import Cowboy
from purification.purifiers.defense_gan import DefenseGAN, draw_codes, draw_starts
from purification.purifiers.defense_vae import DefenseVAE
from purification.purifiers.latent_search import SearchSettings
from purification.purifiers.magnet import MagNet
from purification.runtime import progress

Result = TypeVar("Result")
_SEARCH = ("step_size", "momentum", "precision", "tolerance", "patience")
VALIDATION = "validation"
"""Among a recipe's networks, what is none: purified validation images, whose scores a threshold is
fitted on before the purifier is loaded (`evaluation.purifiers`)."""
PROBE = 16  # images of the first batch where the batch size is "auto"
ON_CPU = 250  # images a batch there: a search's memory does not grow with them
# Of a batch on a large GPU: a search with R=10 at full width has 5e8 numbers in one layer's maps
# then, and many kernels cannot count beyond 2^31.
AT_MOST = 4096


def load_purifier(recipe: Mapping[str, Any], files: Mapping[str, str]) -> nn.Module:
    """The purifier of a `Purifier` recipe, with its networks read from `files` (by name).

    A method "package.module:build" is a user's own: `build(settings, networks, seed)` must return a
    module that maps images (N, C, H, W) in [0, 1] to images of the same shape and range; it stands
    behind a wall (`guests.GuestPurifier`). Where the recipe has `files`, their SHA-256 by name, it
    is called with their paths as `files` too.

    Raises ValueError if a user's own cannot be imported or its files are not found, GuestError if
    it builds something else.
    """
    method, settings = recipe["method"], recipe["settings"]
    if method == "defense_gan":
        return DefenseGAN(*load_search(recipe, files, settings["steps"], settings["restarts"]))
    networks = {
        name: load_network(files[name], network["kind"]).requires_grad_(False)
        for name, network in recipe["networks"].items()
        if name != VALIDATION
    }
    if method == "magnet":
        return MagNet(networks["autoencoder"])
    if method == "defense_vae":
        return DefenseVAE(networks["vae"])
    if method == "ae_gan":
        return encoder_search(networks["generator"], settings)
    if method == "cowboy":
        return cowboy(networks["generator"], recipe)
    build = import_named(method)
    # A copy: the recipe is written to the files that are made.
    own = deepcopy(dict(settings))
    purifier = build(own, networks, recipe["seed"], **files_for(method, build, recipe.get("files")))
    return GuestPurifier(purifier, method).eval().requires_grad_(False)


def encoder_search(network: nn.Module, settings: Mapping[str, Any]) -> EncoderSearch:
    """The purifier of an `AEGAN` or `BiGAN`, by the settings of the method `ae_gan`.

    `search` (bool); with it `steps`, `step_size`, `doubling` (steps, or None), `threshold` (or
    None: every image is searched); and `indicator`, "mse" if it is not there. A threshold is in
    the indicator's units.
    """
    search = None
    if settings["search"]:
        # No momentum: Algorithm 2 of AE-GAN+rs has none.
        search = SearchSettings(
            settings["steps"], settings["step_size"], momentum=0.0, doubling=settings["doubling"]
        )
    indicator = settings.get("indicator", "mse")
    threshold = settings.get("threshold")
    return EncoderSearch(network.encoder, network.generator, search, threshold, indicator)


def cowboy(network: nn.Module, recipe: Mapping[str, Any]) -> Cowboy:
    """The purifier of a `GAN`, or of a snapshot of one, by a recipe of the method `cowboy`.

    Its settings: `steps`, `restarts`, `step_size`, `momentum`, `sigma`, `discriminator_weight` (1,
    or 0 for the Defense-GAN of Table 2); and, optionally, others of the search (`load_search`).

    The starts come from the recipe's seed alone, not from its name: both columns of Table 2, and
    all snapshots, start from the same codes, so that differences are not those of a single start.
    """
    settings = recipe["settings"]
    random = randomness.generator(recipe["seed"], "cowboy", "starts")
    starts = draw_codes(settings["restarts"], network.latent, random)
    return Cowboy(
        network.generator,
        network.discriminator,
        starts,
        # A sweep's steps are its own.
        _search_settings(settings, settings.get("steps", 0)),
        sigma=settings["sigma"],
        discriminator_weight=settings["discriminator_weight"],
    )


def load_search(
    recipe: Mapping[str, Any], files: Mapping[str, str], steps: int, restarts: int
) -> tuple[nn.Module, Tensor, SearchSettings]:
    """Generator, starts (restarts, latent) and settings of a `Purifier` recipe's latent search.

    The starts of fewer restarts are the first of those of more. Which ones (`draw_starts`), the
    setting `starts` says: "published" if it is not there.
    """
    generator = load_network(files["generator"], "Generator").requires_grad_(False)
    search = _search_settings(recipe["settings"], steps)
    random = randomness.generator(recipe["seed"], recipe["name"], "starts")
    latent = recipe["networks"]["generator"]["settings"]["latent"]
    wanted = recipe["settings"].get("starts", "published")
    return generator, draw_starts(restarts, latent, random, wanted), search


def _search_settings(settings: Mapping[str, Any], steps: int) -> SearchSettings:
    own = {key: settings[key] for key in _SEARCH if key in settings}
    prune = tuple(tuple(pair) for pair in settings.get("prune", ()))
    return SearchSettings(steps, prune=prune, **own)


@dataclass(frozen=True)
class Purified:
    """Purified images (N, C, H, W) in [0, 1]; per image its detection score and its reconstruction
    error (mean square, squared pixel units), both (N,). All on the CPU."""

    images: Tensor
    score: Tensor
    reconstruction_error: Tensor


def purify_images(
    purifier: nn.Module,
    images: Tensor,
    *,
    batch_size: int | Literal["auto"],
    device: torch.device,
) -> Purified:
    """Purify `images` (N, C, H, W), `batch_size` at a time, as `in_batches` has it.

    Raises GuestError if the purifier returns something else than images of the same shape in
    [0, 1], FloatingPointError if a score is not finite; both name the first such image.
    """
    purifier = purifier.to(device)
    score_of = getattr(purifier, "score_purified", _reconstruction_score)
    name, parts = name_of(purifier), []

    def purify(batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        begin = sum(len(part[0]) for part in parts)
        numbers = range(begin, begin + len(batch))
        given = batch.to(device)
        result = purifier(given)
        check_images(name, result, given, numbers)
        error = reconstruction_error(result, given)
        score = score_of(given, result)
        refuse_not_finite(score, f"{name}: the detection scores", numbers)
        return result.cpu(), score.cpu(), error.cpu()

    with torch.no_grad(), progress(len(images), "purifying", "image") as bar:
        for part in in_batches(purify, images, batch_size, device):
            parts.append(part)
            bar.update(len(part[0]), reconstruction_error=part[2].mean())
    return Purified(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def in_batches(
    work: Callable[[Tensor], Result],
    images: Tensor,
    batch_size: int | Literal["auto"],
    device: torch.device,
) -> Iterator[Result]:
    """`work(batch)` for batch after batch of `images`, in their order.

    A batch for which the memory is too small is halved, and so are all after it. With "auto" a GPU
    takes a first batch of 16 images, and then as many as its free memory holds by what they needed,
    4,096 at most; a CPU takes 250. So `work` must treat each image by itself. Raises
    torch.OutOfMemoryError if there is no room for one image, ValueError for a batch size below 1 or
    another word.
    """
    if batch_size != "auto" and (isinstance(batch_size, str) or batch_size < 1):
        raise ValueError(f'batch_size must be at least 1, or "auto", got {batch_size!r}')
    size = batch_size
    probe = batch_size == "auto" and torch.device(device).type == "cuda"
    if batch_size == "auto":
        size = PROBE if probe else ON_CPU
    start = 0
    while start < len(images):
        batch = images[start : start + size]
        if probe:
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
        try:
            result = work(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            result = None
        # Outside of the handler, where the traceback still held what was allocated.
        if result is None:
            size, probe = len(batch) // 2, False
            torch.cuda.empty_cache()
            continue
        if probe:
            each = (torch.cuda.max_memory_allocated(device) - before) / len(batch)
            size, probe = _that_fit(each, device), False
        start += len(batch)
        yield result


def _that_fit(bytes_each: float, device: torch.device) -> int:
    """How many images of that need the free memory of a GPU holds, one fifth of it left over;
    from `PROBE` to `AT_MOST`."""
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return min(max(PROBE, int(0.8 * free / max(bytes_each, 1))), AT_MOST)


def _reconstruction_score(images: Tensor, purified: Tensor) -> Tensor:
    return reconstruction_error(purified, images)
