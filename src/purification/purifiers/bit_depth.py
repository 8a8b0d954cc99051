"""Fewer gray levels, the first feature squeezer of Xu et al. 2018."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from purification.models.wgan import Shape
from purification.purifiers.base import Purifier


class BitDepth(Purifier):
    """Rounds each value to one of 2^bits evenly spaced levels (Xu et al. 2018, section 3.1).

    Its true gradient is zero wherever it exists: it is attacked by BPDA.
    """

    METHOD = "bit_depth"
    SETTINGS = {
        "bits": {
            "type": "integer",
            "minimum": 1,
            "maximum": 8,
            "default": 1,
            "description": "bits of a value; the paper has 1 on MNIST, 4 and 5 on CIFAR-10",
        }
    }

    def __init__(self, settings: Mapping[str, Any], image_shape: Shape) -> None:
        super().__init__()
        self.steps = 2 ** settings["bits"] - 1

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.steps).round() / self.steps
