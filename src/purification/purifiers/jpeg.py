"""JPEG compression as a defence (Dziugaite et al. 2016; Guo et al. 2018, section 4.2)."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from purification.models.wgan import Shape
from purification.purifiers.base import Purifier


class JPEG(Purifier):
    """Compresses each image, in 8 bits, to JPEG and back, by Pillow.

    Nothing of it is differentiable, and no gradient passes: it is attacked by BPDA.

    Args:
        image_shape: (C, H, W) with C of 1 or 3; ValueError for another.
    """

    METHOD = "jpeg"
    SETTINGS = {
        "quality": {
            "type": "integer",
            "minimum": 1,
            "maximum": 95,
            "default": 75,
            "description": "Pillow's quality; Guo et al. have 75",
        }
    }

    def __init__(self, settings: Mapping[str, Any], image_shape: Shape) -> None:
        super().__init__()
        if image_shape[0] not in (1, 3):
            raise ValueError(f"jpeg is for images of 1 or 3 channels, got {image_shape[0]}")
        self.quality = settings["quality"]

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        levels = (images * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
        found = np.stack([self._compressed(image) for image in levels])
        return (torch.from_numpy(found).permute(0, 3, 1, 2).to(images) / 255).contiguous()

    def _compressed(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W, C) twice."""
        file = io.BytesIO()
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(
            file, "JPEG", quality=self.quality
        )
        return np.asarray(Image.open(file)).reshape(image.shape)
