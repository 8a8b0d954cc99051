"""Defense-GAN (Samangouei et al., ICLR 2018): the nearest image on a WGAN's range."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from purification.purifiers.base import Purifier
from purification.purifiers.latent_search import SearchSettings, latent_search

Starts = Literal["published", "prior"]


class DefenseGAN(Purifier):
    """Replaces an image by the closest image of a generator, found from R starts by L steps.

    `starts` is (R, latent): one set, shared by all images, so that an image's result depends on
    nothing but the image, and an attacker who knows the seed knows every start (the paper's third
    threat model, section 2.1). R starts are the first R of any larger set from the same generator
    of random numbers.
    """

    def __init__(self, generator: nn.Module, starts: Tensor, settings: SearchSettings) -> None:
        super().__init__()
        self.generator = generator.eval().requires_grad_(False)
        self.register_buffer("starts", starts)
        self.settings = settings

    def forward(self, images: Tensor) -> Tensor:
        return latent_search(self.generator, images, self.starts, self.settings).reconstructions


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
