"""Purifiers from their recipes, and purifying whole sets of images."""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from inspect import signature
from typing import Any

from torch import Tensor, nn

from purification.facts import class_that_states, holds_for
from purification.guests import GuestPurifier, name_of
from purification.models.checkpoints import Shape, load_network
from purification.plugins import files_for, import_named
from purification.purifiers.base import Purifier
from purification.purifiers.defense_gan import search_of
from purification.purifiers.descent import SearchSettings
from purification.randomness import is_randomised

VALIDATION = "validation"
"""Among a recipe's networks, what is none: purified validation images, whose scores a threshold is
fitted on before the purifier is loaded (`evaluation.purifiers`)."""


def load_purifier(
    recipe: Mapping[str, Any], files: Mapping[str, str], image_shape: Shape | None = None
) -> nn.Module:
    """The purifier of a `Purifier` recipe, with its networks read from `files` (by name).

    A method "package.module:Mine" is a user's own: a `Purifier`, or a function
    `build(settings, networks, seed)` that returns a module from images (N, C, H, W) in [0, 1] to
    images of the same shape and range. It stands behind a wall (`guests.GuestPurifier`). Where the
    recipe has `files`, their SHA-256 by name, it is given their paths as `files` too.

    image_shape: (C, H, W), for a class that is neither trained nor built `from_recipe`.

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
    elif from_recipe(recipe["method"], build):
        purifier = build.of_recipe(recipe, networks, image_shape)
    else:
        purifier = new_purifier(build, networks, recipe, image_shape)
    if ":" in recipe["method"]:
        purifier = GuestPurifier(purifier, recipe["method"])
    return purifier.eval().requires_grad_(False)


def purifier_class(method: str) -> Any:
    """What a method of the config builds its purifier with: a class, or a user's function."""
    return import_named(method) if ":" in method else class_that_states("purifiers", method=method)


def from_recipe(method: str, build: Any) -> bool:
    """Whether a class builds itself from its whole recipe: searches of this library, whose starts
    are drawn by the recipe's seed and name."""
    return ":" not in method and hasattr(build, "of_recipe")


def new_purifier(
    build: Any, networks: Mapping[str, nn.Module], recipe: Mapping[str, Any], image_shape: Any
) -> Any:
    """The purifier of a recipe with `settings` and perhaps `files`, untrained; of a user's own
    function, what it returns."""
    # A copy: the recipe is written to the files that are made.
    settings = deepcopy(dict(recipe["settings"]))
    own = ":" in (method := recipe.get("method", ""))
    further = files_for(method, build, recipe.get("files")) if own else {}
    # A copy again: whoever is built may change its settings.
    randomised = holds_for(getattr(build, "RANDOMISED", False), dict(recipe["settings"]))
    if own and not (isinstance(build, type) and issubclass(build, Purifier)):
        made = build(settings, networks, recipe["seed"], **further)
    else:
        if "networks" in signature(build).parameters:
            further["networks"] = networks
        made = build(settings, tuple(image_shape), **further)
    if is_randomised(made) and not isinstance(build, type):
        raise ValueError(
            f"{method} returned a randomised purifier. Name its class in the config, which states "
            "RANDOMISED, so that it is measured as one"
        )
    if randomised or is_randomised(made):
        made.randomised = randomised
    return made


def cheaper_version(purifier: nn.Module, settings: Mapping[str, Any], images: Tensor) -> nn.Module:
    """A purifier that an attacker differentiates instead of this one, which states CHEAPER
    (`Purifier`): by these settings, near `images` (N, C, H, W), those that are attacked.

    A user's own stands behind the wall as the purifier does. Raises ValueError of one that has no
    cheaper version; GuestError if it is no purifier.
    """
    own = purifier.guest if isinstance(purifier, GuestPurifier) else purifier
    if not callable(make := getattr(own, "cheaper", None)):
        raise ValueError(f"{name_of(purifier)} has no cheaper version: no method `cheaper`")
    further = {"images": images} if "images" in signature(make).parameters else {}
    made = make(**further, **deepcopy(dict(settings)))
    if own is not purifier:
        made = GuestPurifier(made, f"{name_of(purifier)}.cheaper")
    return made.eval().requires_grad_(False)


def load_search(
    recipe: Mapping[str, Any], files: Mapping[str, str], steps: int, restarts: int
) -> tuple[nn.Module, Tensor, SearchSettings]:
    """As `search_of`, with the generator read from `files`."""
    generator = load_network(files["generator"], "Generator").requires_grad_(False)
    return search_of(recipe, generator, steps, restarts)
