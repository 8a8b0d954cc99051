"""Encoder and decoder of Defense-VAE (Li and Ji 2019, "Defense-VAE", appendix A, Table 6).

The table's last layer, ConvT(64, 64, 5, 1, 2) with batch norm and ReLU, leaves 64 maps, and no
layer to an image is printed. In the published code (white_box/vae_models.py, class VAE18) that
layer is ConvT(64, 1, 5, 1, 2) followed by a sigmoid alone, and so it is here. Also from there:
convolutions have no bias, and no batch norm follows the decoder's linear layer.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from purification.models.wgan import MNIST, Shape


class VAE(nn.Module):
    """images (N, C, H, W) in [0, 1] -> images of the same shape in [0, 1], by the code's mean.

    Encoder: a 5x5 convolution to `width` maps, then 4x4 convolutions of stride 2 to width,
    2 * width, 4 * width, ... maps, each with batch norm and ReLU: 28 -> 28 -> 16 -> 8 -> 4; two
    linear layers, to the mean and the log-variance of q(z|x). The decoder mirrors it. The paper has
    a `latent` of 128 and a `width` of 64.

    The paper makes the networks of CIFAR-10 and CelebA one or two layers deeper, and prints
    neither. Here larger images are halved down to 2x2, which is one layer more for 32x32
    (32 -> 16 -> 8 -> 4 -> 2) and two for 64x64.

    Initial weights as in the paper: N(0, 0.02) for convolutions, N(1, 0.02) for batch norm, whose
    bias is zero; linear layers have torch's. Drawn from the global RNG. Raises ValueError if a side
    is odd or below 4.
    """

    def __init__(self, latent: int = 128, width: int = 64, input_shape: Shape = MNIST) -> None:
        super().__init__()
        self.latent = latent
        channels, *sides = input_shape
        if min(sides) < 4 or any(side % 2 for side in sides):
            raise ValueError(f"VAE: sides must be even and at least 4, got {tuple(sides)}")
        # 28 is padded to 32 on its way to 16; then all halve evenly.
        powers = [1 << (side - 1).bit_length() for side in sides]
        padding = tuple(1 + (power - side) // 2 for power, side in zip(powers, sides, strict=True))
        halvings = min(sides).bit_length() - 2
        paddings = [padding, *[(1, 1)] * (halvings - 1)]
        maps = [width, *(width << i for i in range(halvings))]
        self._smallest = (maps[-1], *(power >> halvings for power in powers))
        features = self._smallest[0] * self._smallest[1] * self._smallest[2]

        layers = _normalised(nn.Conv2d(channels, width, 5, padding=2, bias=False))
        for (inputs, outputs), pad in zip(pairwise(maps), paddings, strict=True):
            layers += _normalised(nn.Conv2d(inputs, outputs, 4, 2, pad, bias=False))
        self.encoder = nn.Sequential(*layers, nn.Flatten())
        self.mean = nn.Linear(features, latent)
        self.log_variance = nn.Linear(features, latent)

        self.project = nn.Sequential(nn.Linear(latent, features), nn.ReLU())
        layers = []
        for (inputs, outputs), pad in zip(pairwise(maps[::-1]), paddings[::-1], strict=True):
            layers += _normalised(nn.ConvTranspose2d(inputs, outputs, 4, 2, pad, bias=False))
        last = nn.ConvTranspose2d(width, channels, 5, padding=2, bias=False)
        self.decoder = nn.Sequential(*layers, last, nn.Sigmoid())
        self.apply(_initialise)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), (N, latent) each."""
        features = self.encoder(images)
        return self.mean(features), self.log_variance(features)

    def decode(self, codes: Tensor) -> Tensor:
        """z (N, latent) -> images (N, C, H, W) in [0, 1]."""
        return self.decoder(self.project(codes).view(-1, *self._smallest))

    def forward(self, images: Tensor) -> Tensor:
        return self.decode(self.encode(images)[0])


def _normalised(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]


@torch.no_grad()
def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        layer.weight.normal_(0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        layer.weight.normal_(1, 0.02)
        layer.bias.zero_()
