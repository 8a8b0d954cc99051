"""Smoothing filters: the median, the second feature squeezer of Xu et al. 2018, and a Gaussian."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from purification.models.wgan import Shape
from purification.purifiers.base import Purifier


class Median(Purifier):
    """Replaces each value by the median of a square window (Xu et al. 2018, section 3.2.1).

    As `scipy.ndimage.median_filter` with mode "nearest": of an even window the upper median, the
    pixel in the lower right of its centre, and beyond the edge its own pixels again. The gradient
    is that of the pixel which is the median.
    """

    METHOD = "median"
    SETTINGS = {"window": "count = 3: side of the window in pixels; the paper has 2 and 3"}

    def __init__(self, settings: Mapping[str, Any], image_shape: Shape) -> None:
        super().__init__()
        self.window = settings["window"]

    def forward(self, images: Tensor) -> Tensor:
        before = self.window // 2
        after = self.window - 1 - before
        padded = functional.pad(images, (before, after, before, after), mode="replicate")
        windows = padded.unfold(2, self.window, 1).unfold(3, self.window, 1).flatten(4)
        return windows.kthvalue(self.window**2 // 2 + 1, dim=4).values


class GaussianBlur(Purifier):
    """Convolves with a Gaussian, cut off after three deviations; edges are mirrored.

    Smoothing as Xu et al. 2018 (section 3.2) have it by the median, but linear: its true gradient
    is dense and never masked.

    Args:
        image_shape: (C, H, W); ValueError if three deviations reach across the image.
    """

    METHOD = "gaussian_blur"
    SETTINGS = {"deviation": "positive = 1.0: of the Gaussian, in pixels"}

    def __init__(self, settings: Mapping[str, Any], image_shape: Shape) -> None:
        super().__init__()
        self.deviation = settings["deviation"]
        self.reach = math.ceil(3 * self.deviation)
        if self.reach >= min(image_shape[1:]):
            raise ValueError(
                f"gaussian_blur: three deviations of {self.deviation:g} pixels reach across images "
                f"of {image_shape[1]}x{image_shape[2]}"
            )

    def forward(self, images: Tensor) -> Tensor:
        size = 2 * self.reach + 1
        # Rounding: the kernel's sum may be above 1 by a bit of the last place.
        return gaussian_blur(images, [size, size], [self.deviation] * 2).clamp(0, 1)
