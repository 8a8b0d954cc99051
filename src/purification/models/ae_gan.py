"""Networks of AE-GAN+rs ("Encoder-Assisted Search in the Latent Coding Space", 2020), Table 6.

The decoder's first layer has 1,024 units for 256 maps, hence a start of 2x2. From it 28 is reached
with uneven paddings: 2 -> 7 (none), then 7 -> 14 -> 28 (padding 2, output padding 1). The paper
prints no paddings. LeakyReLU's slope, printed for the first layer only, is 0.2 in all.

Table 6 is for 28x28. For CelebA (appendix G) the paper takes Defense-GAN's networks, with an
encoder that is the discriminator but for its top layer; so do these for all other sizes. Those have
no batch norm. Initial weights, which the paper does not state, are Defense-GAN's.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from purification.models.wgan import MNIST, Generator, Shape, downsampling, initialise

SIDES = (28, 28)  # of Table 6
SLOPE = 0.2


class AEGAN(nn.Module):
    """images (N, C, H, W) in [0, 1] -> images of the same shape in (0, 1); AE, AE-GAN, AE-GAN+r.

    These differ in their training alone (`training.ae_gan`). `encoder`: images -> codes (N,
    latent) in (-1, 1); `generator`: codes -> images. A code is 128 long in the paper, and 20 in its
    Table 8; `width` are the maps of the first convolution, 64 in the paper.
    """

    def __init__(self, latent: int = 128, width: int = 64, image_shape: Shape = MNIST) -> None:
        super().__init__()
        self.latent = latent
        features, count = _convolutions(width, image_shape)
        self.encoder = nn.Sequential(features, nn.Linear(count, latent), nn.Tanh())
        self.encoder.apply(initialise)
        channels, *sides = image_shape
        if tuple(sides) == SIDES:
            self.generator = Decoder(latent, width, channels)
        else:
            self.generator = Generator(latent, width, image_shape)

    def forward(self, images: Tensor) -> Tensor:
        return self.generator(self.encoder(images))


class Decoder(nn.Module):
    """z (N, latent) -> images (N, channels, 28, 28) in (0, 1), as Table 6.

    Linear to 4 * width maps of 2x2 with ReLU (1,024 units at the paper's width of 64); transposed
    convolutions (5x5, stride 2) to 2 * width, width and `channels` maps, with batch norm and ReLU
    between them and a sigmoid at the end.
    """

    def __init__(self, latent: int = 128, width: int = 64, channels: int = 1) -> None:
        super().__init__()
        self.latent = latent
        self._start = (4 * width, 2, 2)
        self.project = nn.Sequential(nn.Linear(latent, math.prod(self._start)), nn.ReLU())
        self.upsample = nn.Sequential(
            nn.ConvTranspose2d(4 * width, 2 * width, 5, 2),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 5, 2, padding=2, output_padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 5, 2, padding=2, output_padding=1),
            nn.Sigmoid(),
        )
        self.apply(initialise)

    def forward(self, z: Tensor) -> Tensor:
        return self.upsample(self.project(z).view(-1, *self._start))


class Discriminator(nn.Module):
    """images (N, C, H, W) -> logits (N,) of being real; Table 6's sigmoid is left to the loss."""

    def __init__(self, width: int = 64, image_shape: Shape = MNIST) -> None:
        super().__init__()
        self.features, count = _convolutions(width, image_shape)
        self.logit = nn.Linear(count, 1)
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        return self.logit(self.features(images)).squeeze(1)


def draw_prior(count: int, latent: int, random: torch.Generator) -> Tensor:
    """(count, latent) codes from U(-1, 1), on the CPU: the range of the encoder's tanh."""
    return 2 * torch.rand(count, latent, generator=random) - 1


def _convolutions(width: int, image_shape: Shape) -> tuple[nn.Sequential, int]:
    """What encoder and discriminator share, flattened, and the number of features.

    5x5, stride 2, to width, 2 * width, 4 * width maps: 28 -> 14 -> 7 -> 4.
    """
    channels, *sides = image_shape
    if tuple(sides) != SIDES:
        return downsampling(width, image_shape)
    layers = [nn.Conv2d(channels, width, 5, 2, padding=2), nn.LeakyReLU(SLOPE)]
    for inputs, outputs in pairwise([width, 2 * width, 4 * width]):
        layers += [nn.Conv2d(inputs, outputs, 5, 2, padding=2), nn.BatchNorm2d(outputs)]
        layers.append(nn.LeakyReLU(SLOPE))
    return nn.Sequential(*layers, nn.Flatten()), 4 * width * 4 * 4
