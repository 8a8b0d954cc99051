"""A denoising diffusion model (Ho et al. 2020) with a small U-Net of its own.

Images have T = 1000 noise levels: x_s = sqrt(a_s) x + sqrt(1 - a_s) noise, with x in [-1, 1], the
noise standard normal and a_s of the cosine schedule (Nichol and Dhariwal 2021, equation 17). Level
0 is the image itself. The network predicts the noise. A model that was trained elsewhere has a
schedule of its own (`models.diffusers_folder`).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.models.wgan import MNIST, Shape

LEVELS = 1000
"""T: the noise level of which nothing of the image is left."""
SAMPLING_STEPS = 25
"""Of the generator: passes through the network for each image."""
_GROUPS = 8


def _cosine_schedule() -> tuple[float, ...]:
    """a_0 .. a_T. No step takes more than 0.999 of the variance, as there."""
    curve = [math.cos((s / LEVELS + 0.008) / 1.008 * math.pi / 2) ** 2 for s in range(LEVELS + 1)]
    signal = [1.0]
    for before, after in pairwise(curve):
        signal.append(signal[-1] * max(after / before, 0.001))
    return tuple(signal)


SIGNAL = _cosine_schedule()
"""a_s by the level s: the share of the variance that is the image's."""


def level_of(time: float, signal: Sequence[float] = SIGNAL) -> int:
    """The noise level at a share of T, at least 1. `signal`: a schedule, as `SIGNAL`."""
    return max(1, round(time * (len(signal) - 1)))


def deviation_at(level: int, signal: Sequence[float] = SIGNAL) -> float:
    """The standard deviation of a level's noise beside the image, in pixel units of [0, 1].

    A share of T means another noise under another schedule; this does not.
    """
    return math.sqrt((1 - signal[level]) / signal[level]) / 2


def strided(start: int, steps: int) -> list[tuple[int, int]]:
    """The steps from a level down to 0, evenly spaced: (from, to), no more than there are levels
    between."""
    count = min(steps, start)
    return [*pairwise(round(start * (1 - k / count)) for k in range(count + 1))]


class Diffusion(nn.Module):
    """What predicts an image's noise; and, as a generator, codes (N, latent) -> images in [0, 1].

    A code is the noise at level T, of as many numbers as the image, and its image what the
    deterministic sampler (DDIM, Song et al. 2021) makes of it, in `SAMPLING_STEPS` steps of the
    same length. Sides must be multiples of 4: ValueError for others.

    `signal` has a_0 .. a_T by the level, as `SIGNAL`.

    Args:
        width: maps of the U-Net's upper level, a multiple of 8.
        image_shape: (C, H, W).
    """

    signal: tuple[float, ...] = SIGNAL

    def __init__(self, width: int = 32, image_shape: Shape = MNIST) -> None:
        super().__init__()
        if any(side % 4 for side in image_shape[1:]):
            raise ValueError(
                "a diffusion model needs images whose sides are multiples of 4, got "
                f"{image_shape[1]}x{image_shape[2]}"
            )
        self.image_shape, self.latent = tuple(image_shape), math.prod(image_shape)
        self.network: nn.Module = UNet(width, image_shape[0])

    def noise(self, noisy: Tensor, levels: Tensor | int) -> Tensor:
        """The noise in images of these levels, (N, C, H, W) twice: one level, or int64 (N,)."""
        if isinstance(levels, int):
            levels = torch.tensor([levels], device=noisy.device)
        made: Tensor = self.network(noisy, levels)
        return made

    def clean(self, noisy: Tensor, level: int) -> Tensor:
        """The image that is left when the noise is taken out at once, about in [-1, 1]."""
        signal = self.signal[level]
        noise = self.noise(noisy, level)
        return (noisy - math.sqrt(1 - signal) * noise) / math.sqrt(signal)

    def forward(self, codes: Tensor) -> Tensor:
        noisy = codes.view(-1, *self.image_shape)
        for level, following in strided(len(self.signal) - 1, SAMPLING_STEPS):
            # Clipped as in DDPM's code: near T a small error of the noise is a large one here.
            image = self.clean(noisy, level).clamp(-1, 1)
            noisy = less_noisy(noisy, image, level, following, self.signal)
        return ((noisy + 1) / 2).clamp(0, 1)


def less_noisy(
    noisy: Tensor, image: Tensor, level: int, following: int, signal: Sequence[float] = SIGNAL
) -> Tensor:
    """The same noise at a lower level, beside the image that was found (DDIM without noise, Song et
    al. 2021, equation 12)."""
    before, after = signal[level], signal[following]
    scale = math.sqrt((1 - after) / (1 - before))
    return scale * noisy + (math.sqrt(after) - scale * math.sqrt(before)) * image


class UNet(nn.Module):
    """Predicts noise: images (N, C, H, W) and levels, int64 (N,) or (1,), -> (N, C, H, W).

    Each 2x2 pixels are a pixel of four times as many maps. So 28x28 images are 14x14 and, with
    twice the maps, 7x7 inside: convolutions of large maps are what such networks cost.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.width, embedding = width, 4 * width
        self.time = nn.Sequential(
            nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.first = nn.Conv2d(4 * channels, width, 3, padding=1)
        self.down = Block(width, width, embedding)
        self.shrink = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.middle = nn.ModuleList([Block(2 * width, 2 * width, embedding) for _ in range(3)])
        self.grow = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.up = Block(2 * width, width, embedding)
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.last = _nothing_yet(nn.Conv2d(width, 4 * channels, 3, padding=1))

    def forward(self, noisy: Tensor, levels: Tensor) -> Tensor:
        half = self.width // 2
        rates = torch.exp(torch.arange(half, device=noisy.device) * (-math.log(1e4) / half))
        angles = levels[:, None] * rates
        time = self.time(torch.cat([angles.sin(), angles.cos()], dim=1).to(noisy.dtype))
        skip = self.down(self.first(functional.pixel_unshuffle(noisy, 2)), time)
        maps = self.shrink(skip)
        for block in self.middle:
            maps = block(maps, time)
        maps = self.up(torch.cat([skip, self.grow(maps)], dim=1), time)
        maps = self.last(functional.silu(self.norm(maps)))
        return functional.pixel_shuffle(maps, 2)


class Block(nn.Module):
    """Two convolutions, beside their input; the time is added between them."""

    def __init__(self, given: int, made: int, embedding: int) -> None:
        super().__init__()
        self.before = nn.Sequential(
            nn.GroupNorm(_GROUPS, given), nn.SiLU(), nn.Conv2d(given, made, 3, padding=1)
        )
        self.time = nn.Linear(embedding, made)
        last = _nothing_yet(nn.Conv2d(made, made, 3, padding=1))
        self.after = nn.Sequential(nn.GroupNorm(_GROUPS, made), nn.SiLU(), last)
        self.skip = nn.Conv2d(given, made, 1) if given != made else nn.Identity()

    def forward(self, maps: Tensor, time: Tensor) -> Tensor:
        between = self.before(maps) + self.time(time)[:, :, None, None]
        return self.skip(maps) + self.after(between)


def _nothing_yet(layer: nn.Conv2d) -> nn.Conv2d:
    """A layer that begins as zero, as DDPM's last ones."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
