"""The GAN of Cowboy (Santhanam and Grnarova 2018, section 4): DCGAN's family, without batch norm.

The paper states that much, no dropout, Xavier's initial weights, and inputs in [-1, 1]; its
architectures were in a supplement that is not published with it. The layers are therefore those of
Defense-GAN's networks (`models.wgan`), which are of that family (strided convolutions of 5x5, no
pooling, LeakyReLU in the discriminator), so that the two papers' defences differ in loss and
objective more than in size.

The range [-1, 1] is inside: images are in [0, 1] at both networks' ends.
"""

import torch
from torch import Tensor, nn

from purification.models import wgan
from purification.models.initialisation import xavier
from purification.models.wgan import MNIST, Shape


class UnitTanh(nn.Module):
    """(tanh(x) + 1) / 2, DCGAN's last layer brought from [-1, 1] to [0, 1]; it is sigmoid(2 x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(2 * x)


class Generator(wgan.Generator):
    """z (N, latent) -> images (N, *output_shape) in (0, 1).

    `models.wgan.Generator` with a tanh at its end, and other initial weights.
    """

    def __init__(self, latent: int = 128, width: int = 64, output_shape: Shape = MNIST) -> None:
        super().__init__(latent, width, output_shape)
        self.upsample[-1] = UnitTanh()
        self.apply(xavier)


class Discriminator(wgan.Critic):
    """images (N, C, H, W) in [0, 1] -> logits (N,) of being real; D(x) is their sigmoid.

    Logits, because log D(x) and log(1 - D(x)) of a sigmoid that rounds to 0 or 1 are lost.
    `models.wgan.Critic` of images brought to [-1, 1], and other initial weights.
    """

    def __init__(self, width: int = 64, input_shape: Shape = MNIST) -> None:
        super().__init__(width, input_shape)
        self.apply(xavier)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(2 * images - 1)


class GAN(nn.Module):
    """`generator` and `discriminator` of one game, which a checkpoint keeps together.

    Codes are standard normal in training; the paper states neither that nor their length.
    """

    def __init__(self, latent: int = 128, width: int = 64, image_shape: Shape = MNIST) -> None:
        super().__init__()
        self.latent = latent
        self.generator = Generator(latent, width, image_shape)
        self.discriminator = Discriminator(width, image_shape)

    def forward(self, z: Tensor) -> Tensor:
        """Generated images, as `generator`."""
        return self.generator(z)
