"""Purifiers from their recipes, and purifying whole sets of images."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from purification.facts import class_that_states
from purification.guests import GuestPurifier, check_images, name_of, refuse_not_finite
from purification.models.checkpoints import Shape, load_network
from purification.plugins import files_for, import_named
from purification.purifiers.base import Purifier, reconstruction_error
from purification.purifiers.defense_gan import search_of
from purification.purifiers.latent_search import SearchSettings
from purification.runtime import progress

Result = TypeVar("Result")
VALIDATION = "validation"
"""Among a recipe's networks, what is none: purified validation images, whose scores a threshold is
fitted on before the purifier is loaded (`evaluation.purifiers`)."""
PROBE = 16  # images of the first batch where the batch size is "auto"
ON_CPU = 250  # images a batch there: a search's memory does not grow with them
# Of a batch on a large GPU: a search with R=10 at full width has 5e8 numbers in one layer's maps
# then, and many kernels cannot count beyond 2^31.
AT_MOST = 4096


def load_purifier(
    recipe: Mapping[str, Any], files: Mapping[str, str], image_shape: Shape | None = None
) -> nn.Module:
    """The purifier of a `Purifier` recipe, with its networks read from `files` (by name).

    A method "package.module:Mine" is a user's own: a `Purifier`, or a function
    `build(settings, networks, seed)` that returns a module from images (N, C, H, W) in [0, 1] to
    images of the same shape and range. It stands behind a wall (`guests.GuestPurifier`). Where the
    recipe has `files`, their SHA-256 by name, it is given their paths as `files` too.

    image_shape: (C, H, W), for a user's own class that is not trained.

    Raises ValueError if a user's own cannot be imported or its files are not found, or if a
    checkpoint is not its own; GuestError if it builds something else.
    """
    build, made = purifier_class(recipe["method"]), recipe["networks"]
    weights = build.WEIGHTS if getattr(build, "LEARNS_FROM", ()) else None
    networks = {
        name: load_network(files[name], network["kind"]).requires_grad_(False)
        for name, network in made.items()
        if name not in (VALIDATION, weights)
    }
    if weights is not None:
        if weights not in made:
            raise ValueError(
                f"{recipe['method']} learns from {', '.join(build.LEARNS_FROM)}, and its weights "
                "are none of the recipe's: state LEARNS_FROM in the class itself"
            )
        again = partial(new_purifier, build, networks)
        purifier = load_network(files[weights], made[weights]["kind"], again)
    elif ":" in recipe["method"]:
        purifier = new_purifier(build, networks, recipe, image_shape)
    else:
        purifier = build.of_recipe(recipe, networks, image_shape)
    if ":" in recipe["method"]:
        purifier = GuestPurifier(purifier, recipe["method"])
    return purifier.eval().requires_grad_(False)


def purifier_class(method: str) -> Any:
    """What a method of the config builds its purifier with: a class, or a user's function."""
    return import_named(method) if ":" in method else class_that_states("purifiers", method=method)


def new_purifier(
    build: Any, networks: Mapping[str, nn.Module], recipe: Mapping[str, Any], image_shape: Any
) -> Any:
    """The purifier of a recipe with `settings` and perhaps `files`, untrained; of a user's own
    function, what it returns."""
    # A copy: the recipe is written to the files that are made.
    settings = deepcopy(dict(recipe["settings"]))
    own = ":" in (method := recipe.get("method", ""))
    further = files_for(method, build, recipe.get("files")) if own else {}
    if own and not (isinstance(build, type) and issubclass(build, Purifier)):
        return build(settings, networks, recipe["seed"], **further)
    if "networks" in signature(build).parameters:
        further["networks"] = networks
    return build(settings, tuple(image_shape), **further)


def load_search(
    recipe: Mapping[str, Any], files: Mapping[str, str], steps: int, restarts: int
) -> tuple[nn.Module, Tensor, SearchSettings]:
    """As `search_of`, with the generator read from `files`."""
    generator = load_network(files["generator"], "Generator").requires_grad_(False)
    return search_of(recipe, generator, steps, restarts)


@dataclass(frozen=True)
class Purified:
    """Purified images (N, C, H, W) in [0, 1]; per image its detection score and its reconstruction
    error (mean square, squared pixel units), both (N,). All on the CPU."""

    images: Tensor
    score: Tensor
    reconstruction_error: Tensor


def purify_images(
    purifier: nn.Module, images: Tensor, *, batch_size: int | Literal["auto"], device: torch.device
) -> Purified:
    """Purify `images` (N, C, H, W), `batch_size` at a time, as `in_batches` has it.

    Raises GuestError if the purifier returns something else than images of the same shape in
    [0, 1], FloatingPointError if a score is not finite; both name the first such image.
    """
    purifier = purifier.to(device)
    score_of, name, parts = getattr(purifier, "score_purified", None), name_of(purifier), []

    def purify(batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        begin = sum(len(part[0]) for part in parts)
        numbers = range(begin, begin + len(batch))
        given = batch.to(device)
        result = purifier(given)
        check_images(name, result, given, numbers)
        error = reconstruction_error(result, given)
        score = error if score_of is None else score_of(given, result)
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
    start, size, probe = 0, batch_size, False
    if size == "auto":
        probe = torch.device(device).type == "cuda"
        size = PROBE if probe else ON_CPU
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
            torch.cuda.empty_cache()
            free, _ = torch.cuda.mem_get_info(device)
            # One fifth is left over.
            size, probe = min(max(PROBE, int(0.8 * free / max(each, 1))), AT_MOST), False
        start += len(batch)
        yield result
