"""Random resizing and padding (Xie et al. 2018)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from purification.models.wgan import Shape
from purification.purifiers.aggregation import AGGREGATED, Aggregation
from purification.purifiers.base import Purifier
from purification.randomness import uniform_of


class ResizeAndPad(Purifier):
    """Shrinks each image to a random size, and puts it at a random place on a black ground.

    Xie et al. (2018, section 3) enlarge 299x299 images to a random size below 331 and pad to 331,
    because their classifier takes images of any size. Ours take one, so the image becomes smaller.
    Bilinear, and differentiable, for each image by itself.
    """

    METHOD = "resize_and_pad"
    RANDOMISED = True
    SETTINGS = {
        "smallest": "share = 0.9: least side, as a share of the image's; the paper has 299 of 331",
        **AGGREGATED,
    }

    def __init__(self, settings: Mapping[str, Any], image_shape: Shape) -> None:
        super().__init__()
        self.sides = image_shape[1:]
        self.least = max(1, round(settings["smallest"] * min(self.sides)))
        self.aggregation = Aggregation.of(settings)

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        made = [self._moved(*pair) for pair in zip(images, uniform_of(seeds, (3,)), strict=True)]
        return torch.stack(made)

    def _moved(self, image: Tensor, drawn: Tensor) -> Tensor:
        """(C, H, W) twice; `drawn`: three numbers in [0, 1)."""
        size, *places = drawn.tolist()
        most = min(self.sides)
        least = self.least + int(size * (most - self.least + 1))
        inner = [max(1, side * least // most) for side in self.sides]
        small = functional.interpolate(image[None], inner, mode="bilinear", align_corners=False)[0]
        rooms = [side - own for side, own in zip(self.sides, inner, strict=True)]
        top, left = (int(share * (room + 1)) for share, room in zip(places, rooms, strict=True))
        # Rounding: a mean of ones may be above 1 by a bit of the last place.
        return functional.pad(small.clamp(0, 1), (left, rooms[1] - left, top, rooms[0] - top))
