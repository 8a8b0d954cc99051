"""MagNet's reformer (Meng and Chen 2017) without its detector, as Defense-GAN compares with it."""

from torch import Tensor, nn

from purification.purifiers.base import Purifier


class MagNet(Purifier):
    """One pass through an autoencoder trained on clean images (Defense-GAN, Table 7)."""

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.autoencoder(images)
