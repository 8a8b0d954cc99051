"""The BiGAN that AE-GAN+rs compares with: convolutional ALI (Dumoulin et al. 2017, Table 3).

AE-GAN+rs (appendix A) takes ALI's architecture for CIFAR-10 with one input channel instead of
three, and does not say what becomes of the sides. Here the two 5x5 layers are padded by 2 for
28x28. That is the published architecture on images with a border of two zeros, 32x32, and the
middle 28x28 of what it generates.
"""

import torch
from torch import Tensor, nn

from purification.models.wgan import Shape

SLOPE, PIECES = 0.1, 2  # of LeakyReLU, of maxout


class BiGAN(nn.Module):
    """images (N, C, H, W) in [0, 1] -> images of the same shape in (0, 1), by the code's mean.

    `encoder`: images -> means of the codes (N, latent), 64 long in ALI; `generator`: codes ->
    images. `width` are the maps of the first convolution, 32 in ALI.

    Initial weights are torch's, drawn from the global RNG. ALI's are N(0, 0.01), with which the
    narrow networks of the digits learned nothing: at width 8, with a deviation that keeps the gain
    of width 32, the samples' deviation over images was 0.02 after 22 epochs, 0.21 with torch's, and
    0.19 is that of the digits. Raises ValueError if the sides are not 28, 30 or 32, both the same.
    """

    def __init__(self, latent: int = 64, width: int = 32, image_shape: Shape = (1, 28, 28)) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = ALIEncoder(latent, width, image_shape)
        self.generator = ALIGenerator(latent, width, image_shape)

    def forward(self, images: Tensor) -> Tensor:
        return self.generator(self.encoder(images))

    @torch.no_grad()
    def start_at(self, images: Tensor) -> None:
        """Set the generator's last bias to the log-odds of the images' mean in each channel.

        ALI's published code (experiments/ali_cifar10.py) does so before training, for each pixel.
        """
        mean = images.mean(dim=(0, 2, 3)).clamp(0.01, 0.99)
        self.generator.layers[-2].bias.copy_(mean.logit())


class ALIEncoder(nn.Module):
    """images (N, C, H, W) -> mean (N, latent) of q(z|x): 32 -> 28 -> 13 -> 10 -> 4 -> 1."""

    def __init__(self, latent: int, width: int, image_shape: Shape) -> None:
        super().__init__()
        channels = image_shape[0]
        self.layers = nn.Sequential(
            *_normalised(nn.Conv2d(channels, width, 5, 1, _padding(image_shape), bias=False)),
            *_normalised(nn.Conv2d(width, 2 * width, 4, 2, bias=False)),
            *_normalised(nn.Conv2d(2 * width, 4 * width, 4, 1, bias=False)),
            *_normalised(nn.Conv2d(4 * width, 8 * width, 4, 2, bias=False)),
            *_normalised(nn.Conv2d(8 * width, 16 * width, 4, 1, bias=False)),
            *_normalised(nn.Conv2d(16 * width, 16 * width, 1, bias=False)),
            nn.Conv2d(16 * width, 2 * latent, 1),
            nn.Flatten(),
        )

    def distribution(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), (N, latent) each."""
        mean, log_variance = self.layers(images).chunk(2, dim=1)
        return mean, log_variance

    def forward(self, images: Tensor) -> Tensor:
        return self.distribution(images)[0]


class ALIGenerator(nn.Module):
    """z (N, latent) -> images (N, C, H, W) in (0, 1): 1 -> 4 -> 10 -> 13 -> 28 -> 32."""

    def __init__(self, latent: int, width: int, image_shape: Shape) -> None:
        super().__init__()
        channels, padding = image_shape[0], _padding(image_shape)
        self.layers = nn.Sequential(
            *_normalised(nn.ConvTranspose2d(latent, 8 * width, 4, 1, bias=False)),
            *_normalised(nn.ConvTranspose2d(8 * width, 4 * width, 4, 2, bias=False)),
            *_normalised(nn.ConvTranspose2d(4 * width, 2 * width, 4, 1, bias=False)),
            *_normalised(nn.ConvTranspose2d(2 * width, width, 4, 2, bias=False)),
            *_normalised(nn.ConvTranspose2d(width, width, 5, 1, padding, bias=False)),
            *_normalised(nn.Conv2d(width, width, 1, bias=False)),
            nn.Conv2d(width, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


class JointDiscriminator(nn.Module):
    """images (N, C, H, W) and codes (N, latent) -> logits (N,) of (x, E(x)) against (G(z), z).

    Features of the image and of the code, 16 * width each, side by side into a third network.
    Maxout of two pieces; dropout of each layer's input, 0.2 for images and codes and 0.5 after
    them. The number of maps is that after maxout: Table 3's joint network has 1,024 inputs. The
    last sigmoid is left to the loss. Arguments and errors as `BiGAN`.
    """

    def __init__(self, latent: int = 64, width: int = 32, image_shape: Shape = (1, 28, 28)) -> None:
        super().__init__()
        channels = image_shape[0]
        self.of_image = nn.Sequential(
            *_maxout(0.2, nn.Conv2d(channels, PIECES * width, 5, 1, _padding(image_shape))),
            *_maxout(0.5, nn.Conv2d(width, PIECES * 2 * width, 4, 2, bias=False)),
            *_maxout(0.5, nn.Conv2d(2 * width, PIECES * 4 * width, 4, 1, bias=False)),
            *_maxout(0.5, nn.Conv2d(4 * width, PIECES * 8 * width, 4, 2, bias=False)),
            *_maxout(0.5, nn.Conv2d(8 * width, PIECES * 16 * width, 4, 1, bias=False)),
            nn.Flatten(),
        )
        self.of_code = nn.Sequential(
            *_maxout(0.2, nn.Linear(latent, PIECES * 16 * width, bias=False)),
            *_maxout(0.5, nn.Linear(16 * width, PIECES * 16 * width, bias=False)),
        )
        self.of_both = nn.Sequential(
            *_maxout(0.5, nn.Linear(32 * width, PIECES * 32 * width)),
            *_maxout(0.5, nn.Linear(32 * width, PIECES * 32 * width)),
            nn.Dropout(0.5),
            nn.Linear(32 * width, 1),
        )

    def forward(self, images: Tensor, codes: Tensor) -> Tensor:
        both = torch.cat([self.of_image(images), self.of_code(codes)], dim=1)
        return self.of_both(both).squeeze(1)


class Maxout(nn.Module):
    """(N, PIECES * M, ...) -> (N, M, ...), the greatest of each M's pieces (Goodfellow 2013)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, PIECES)).amax(dim=2)


def _padding(image_shape: Shape) -> int:
    """Of the 5x5 layers: what makes the published 32x32 of the image."""
    _, height, width = image_shape
    if height != width or height not in (28, 30, 32):
        raise ValueError(f"BiGAN: images must be 28x28, 30x30 or 32x32, got {height}x{width}")
    return (32 - height) // 2


def _normalised(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.LeakyReLU(SLOPE)]


def _maxout(dropout: float, layer: nn.Module) -> list[nn.Module]:
    return [nn.Dropout(dropout), layer, Maxout()]
