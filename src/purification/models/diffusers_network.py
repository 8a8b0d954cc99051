"""Diffusion models that were trained with the library diffusers, which builds their network."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from purification.diffusers_folder import missing_package, signal_of, wrong_images
from purification.models.diffusion import Diffusion
from purification.models.wgan import Shape


class DiffusersModel(Diffusion):
    """A `Diffusion` whose network and schedule are those of a folder (`diffusers_folder`).

    The network may predict the noise, the image or the velocity (Salimans and Ho 2022): its noise
    follows from each. Its attention is written out, because torch's fused one has no second
    derivative.

    Args:
        unet, scheduler: as of `diffusers_folder.read_folder`.
        image_shape: (C, H, W).

    Raises ValueError: the package is not installed, or does not know the network's settings; or the
    network is for other images.
    """

    def __init__(
        self, unet: Mapping[str, Any], scheduler: Mapping[str, Any], image_shape: Shape
    ) -> None:
        nn.Module.__init__(self)
        for what in wrong_images(unet, tuple(image_shape)):
            raise ValueError(f"a diffusion model of diffusers: {what}")
        self.image_shape, self.latent = tuple(image_shape), math.prod(image_shape)
        self.network = _network(unet)
        self.signal, self.predicts = signal_of(scheduler), scheduler["prediction_type"]

    def noise(self, noisy: Tensor, levels: Tensor | int) -> Tensor:
        if isinstance(levels, int):
            levels = torch.tensor([levels], device=noisy.device)
        said: Tensor = self.network(noisy, levels - 1).sample
        if self.predicts == "epsilon":
            return said
        signal = noisy.new_tensor(self.signal)[levels].view(-1, 1, 1, 1)
        of_image, of_noise = signal.sqrt(), (1 - signal).sqrt()
        if self.predicts == "sample":
            return (noisy - of_image * said) / of_noise
        return of_image * said + of_noise * noisy


def _network(unet: Mapping[str, Any]) -> nn.Module:
    """The library's network, without weights of anybody."""
    if what := missing_package():
        raise ValueError(what)
    from diffusers import UNet2DModel
    from diffusers.models.attention_processor import Attention, AttnProcessor

    try:
        made: nn.Module = UNet2DModel(**unet)
    except (TypeError, ValueError) as error:
        raise ValueError(f"diffusers cannot build this network: {error}") from error
    for module in made.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor())
    return made
