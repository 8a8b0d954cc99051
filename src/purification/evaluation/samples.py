"""What generators make of their priors: pictures (AE-GAN+rs's Figure 4), and how good it is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from purification.evaluation.reconstructions import Block, Column
from purification.models.ae_gan import draw_prior
from purification.models.checkpoints import load_network
from purification.provenance import name_of
from purification.randomness import generator


def _normal(count: int, latent: int, random: torch.Generator) -> Tensor:
    return torch.randn(count, latent, generator=random)


PRIORS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "BiGAN": _normal,
    "Generator": _normal,
    "GAN": _normal,
    "AEGAN": draw_prior,
    "Diffusion": _normal,
}
"""What codes (count, latent) the generator of each kind of network was trained to make images of:
standard normal ones of the BiGAN's (ALI, Algorithm 1), the WGAN-GP's, Cowboy's and a diffusion
model's; of an `AEGAN`
uniform ones, which its discriminator judges. Without one (AE) it has no prior."""


def generated_samples(path: str, kind: str, count: int, seed: int) -> np.ndarray:
    """Images (count, C, H, W) float32 in [0, 1] of a trained network's generator.

    Their codes are drawn from its prior by the run's `seed`. `path` is its checkpoint, `kind` a key
    of `PRIORS`. Raises FileNotFoundError, or ValueError for no checkpoint of that kind, or a kind
    without a known prior.
    """
    return _images_of(path, kind, count, generator(seed, "samples"), torch.channels_last)


def first_samples(path: str, kind: str, count: int, seed: int) -> np.ndarray:
    """As `generated_samples`, of codes that are each network's own: drawn by its name too
    (`results/...`, see `provenance.name_of`)."""
    # In the order in memory that the network had when its training ended: the same rounding.
    random = generator(seed, name_of(path), "samples")
    return _images_of(path, kind, count, random, torch.contiguous_format)


def _images_of(
    path: str, kind: str, count: int, random: torch.Generator, order: torch.memory_format
) -> np.ndarray:
    if kind not in PRIORS:
        raise ValueError(f"samples of a {kind}: the prior is known of {', '.join(PRIORS)}")
    network = load_network(path, kind).to(memory_format=order)
    # Where a checkpoint is more than a generator, this is a part of it.
    make = getattr(network, "generator", network)
    codes = PRIORS[kind](count, network.latent, random)
    with torch.no_grad():
        return make(codes).numpy()


def sample_blocks(panels: Sequence[Mapping[str, Any]], rows: int, columns: int) -> list[Block]:
    """Grids of samples side by side, for `purification.reporting.reconstructions`.

    Panels, from left to right, are plain JSON values: `title`, and `images` (a path), `kind` and
    `seed` of a network, as `generated_samples` takes them; errors as there.
    """
    return [
        Block(panel["title"], _columns(_samples(panel, rows * columns), columns))
        for panel in panels
    ]


def _samples(panel: Mapping[str, Any], count: int) -> np.ndarray:
    return generated_samples(panel["images"], panel["kind"], count, panel["seed"])


def _columns(samples: np.ndarray, columns: int) -> list[Column]:
    """The samples line by line, as they are read."""
    return [Column("", samples[i::columns]) for i in range(columns)]
