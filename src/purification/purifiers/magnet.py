"""MagNet's reformer (Meng and Chen 2017) without its detector, as Defense-GAN compares with it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from purification.models.autoencoder import MagNetAutoencoder
from purification.models.wgan import Shape
from purification.purifiers.base import Purifier
from purification.training.magnet import train_autoencoder


class MagNet(Purifier):
    """One pass through an autoencoder trained on clean images (Defense-GAN, Table 7)."""

    METHOD = "magnet"
    KIND = "Autoencoder"
    WEIGHTS = "autoencoder"
    UNFILLED = True
    LEARNS_FROM = ("images",)
    SETTINGS = {
        "latent": "count: length of the code",
        "width": "count: maps of the first convolution",
        "epochs": "count: passes over the training images",
        "batch_size": "count: images a step",
        "learning_rate": "positive: Adam's",
        "noise": "not_negative: deviation of the noise to be removed, in pixel units",
        "first_output": "gray|mean = gray: what the untrained decoder makes of a code of zeros",
    }

    def __init__(self, settings: Mapping[str, Any], image_shape: Shape) -> None:
        super().__init__()
        self.training_settings = dict(settings)
        size = [self.training_settings.pop(key) for key in ("latent", "width")]
        self.autoencoder = MagNetAutoencoder(*size, image_shape)

    @property
    def trained(self) -> nn.Module:
        return self.autoencoder

    def forward(self, images: Tensor) -> Tensor:
        return self.autoencoder(images)

    def fit(
        self, images: Tensor, labels: Tensor, *, seed: int, device: Any, name: str
    ) -> list[dict[str, Any]]:
        own = {**self.training_settings, "seed": seed, "device": device, "name": name}
        return train_autoencoder(self.autoencoder, images, **own)
