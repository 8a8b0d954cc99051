"""Defense-GAN (Samangouei et al., ICLR 2018): the nearest image on a WGAN's range."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from purification import randomness
from purification.purifiers.base import Purifier
from purification.purifiers.descent import SearchSettings
from purification.purifiers.latent_search import latent_search

Starts = Literal["published", "prior"]
_SEARCH = ("step_size", "momentum", "precision", "tolerance", "patience", "optimizer")


class DefenseGAN(Purifier):
    """Replaces an image by the closest image of a generator, found from R starts by L steps.

    `starts` is (R, latent): one set, shared by all images, so that an image's result depends on
    nothing but the image, and an attacker who knows the seed knows every start (the paper's third
    threat model, section 2.1). R starts are the first R of any larger set from the same generator
    of random numbers.
    """

    METHOD = "defense_gan"
    GENERATORS = ("wgan_gp",)
    SWEPT = True
    RULES = ("prune", "optimizer")
    UNFILLED = True
    VARIANTS = {"reconstructions": "rec", "originals": "orig"}
    SETTINGS = {
        "steps": "count: steps L of the search",
        "restarts": "count: starts R of the search",
        "step_size": "positive: of the descent",
        "momentum": "fraction: of the descent",
        "starts": "published|prior = published: their deviation is sqrt(1 / latent), or 1",
        "precision": "float32|tf32|bfloat16 = float32: of the generator during the descent",
        "prune": "pairs_of_counts = []: [step, restarts]: after it only so many restarts go on",
        "tolerance": "fraction = 0.0: a search ends whose objective falls by no larger share",
        "patience": "count = 10: steps between two looks at the tolerance",
        "optimizer": "gradient_descent|lbfgs = gradient_descent: of the steps; lbfgs: momentum 0",
    }

    def __init__(self, generator: nn.Module, starts: Tensor, settings: SearchSettings) -> None:
        super().__init__()
        self.generator = generator.eval().requires_grad_(False)
        self.register_buffer("starts", starts)
        self.settings = settings

    @classmethod
    def of_recipe(
        cls, recipe: Mapping[str, Any], networks: Mapping[str, nn.Module], image_shape: Any
    ) -> Self:
        own = recipe["settings"]
        return cls(*search_of(recipe, networks["generator"], own["steps"], own["restarts"]))

    def forward(self, images: Tensor) -> Tensor:
        return latent_search(self.generator, images, self.starts, self.settings).reconstructions

    def latent_codes(self, images: Tensor) -> Tensor:
        """Where the search of each image ends: (N, C, H, W) -> (N, latent)."""
        return latent_search(self.generator, images, self.starts, self.settings).latents

    def generate(self, codes: Tensor) -> Tensor:
        """The generator's images, (N, latent) -> (N, C, H, W) in [0, 1]."""
        return self.generator(codes)


def search_of(
    recipe: Mapping[str, Any], generator: nn.Module, steps: int, restarts: int
) -> tuple[nn.Module, Tensor, SearchSettings]:
    """Generator, starts (restarts, latent) and settings of a `Purifier` recipe's latent search.

    The starts of fewer restarts are the first of those of more. Which ones (`draw_starts`), the
    setting `starts` says: "published" if it is not there.
    """
    random = randomness.generator(recipe["seed"], recipe["name"], "starts")
    latent = recipe["networks"]["generator"]["settings"]["latent"]
    wanted = recipe["settings"].get("starts", "published")
    starts = draw_starts(restarts, latent, random, wanted)
    return generator, starts, search_settings(recipe["settings"], steps)


def search_settings(settings: Mapping[str, Any], steps: int) -> SearchSettings:
    """Those of a recipe's settings that are the search's."""
    own = {key: settings[key] for key in _SEARCH if key in settings}
    prune = tuple(tuple(pair) for pair in settings.get("prune", ()))
    return SearchSettings(steps, prune=prune, **own)


def draw_starts(
    restarts: int, latent: int, random: torch.Generator, starts: Starts = "published"
) -> Tensor:
    """(R, latent) starts; a larger R only appends.

    "published": from N(0, 1/latent), as in the published code. "prior": from N(0, 1), of which the
    codes were that the generator was trained with. Either kind is the other one scaled.
    """
    drawn = draw_codes(restarts, latent, random)
    if starts == "prior":
        return drawn
    if starts == "published":
        return drawn / math.sqrt(latent)
    raise ValueError(f"starts must be one of {get_args(Starts)}, got {starts!r}")


def draw_codes(count: int, latent: int, random: torch.Generator) -> Tensor:
    """(count, latent) codes from N(0, 1), a GAN's prior; a larger count only appends."""
    return torch.stack([torch.randn(latent, generator=random) for _ in range(count)])
