"""MagNet's autoencoder as Defense-GAN compares with it (Samangouei et al. 2018, Table 7)."""

import math

from torch import Tensor, nn

from purification.models.wgan import MNIST, Generator, Shape, downsampling, initialise


class MagNetAutoencoder(nn.Module):
    """images (N, C, H, W) in [0, 1] -> images of the same shape in (0, 1).

    Encoder as Table 7: the critic's convolutions, linear to `latent` (128 in the paper), tanh. The
    paper gives no decoder; here it mirrors the encoder, which makes it the generator of Table 6.
    `width` are the maps of the first convolution, 64 in the paper.
    """

    def __init__(self, latent: int = 128, width: int = 64, input_shape: Shape = MNIST) -> None:
        super().__init__()
        features, count = downsampling(width, input_shape)
        self.encoder = nn.Sequential(features, nn.Linear(count, latent), nn.Tanh())
        self.decoder = Generator(latent, width, input_shape)
        self.encoder.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images))

    def start_from(self, pixel: float) -> None:
        """Sets the bias of the decoder's last convolution so that without any other input its
        pixels are `pixel`, in (0, 1)."""
        layers = [m for m in self.decoder.modules() if isinstance(m, nn.ConvTranspose2d)]
        nn.init.constant_(layers[-1].bias, math.log(pixel / (1 - pixel)))
