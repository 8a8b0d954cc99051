"""Gaussian noise with a vote: randomized smoothing (Cohen et al. 2019) as a purifier."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from purification.models.wgan import Shape
from purification.purifiers.aggregation import AGGREGATED, Aggregation
from purification.purifiers.base import Purifier
from purification.randomness import normal_of


class GaussianNoise(Purifier):
    """Adds Gaussian noise; with a vote over draws it is the smoothed classifier's prediction.

    Cohen et al. (2019, section 3.2.2) train the classifier on noisy images, which the config's
    `classifier: reconstructions` does, and take the class that most draws are given. Images stay in
    [0, 1] here, and so are clipped, which theirs are not: their certificate is not claimed.
    """

    METHOD = "gaussian_noise"
    RANDOMISED = True
    SETTINGS = {
        "deviation": "positive = 0.25: of the noise, in pixel units of [0, 1]",
        **AGGREGATED,
    }

    def __init__(self, settings: Mapping[str, Any], image_shape: Shape) -> None:
        super().__init__()
        self.deviation = settings["deviation"]
        self.aggregation = Aggregation.of(settings)

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        noise = normal_of(seeds, images.shape[1:]).to(images)
        return (images + self.deviation * noise).clamp(0, 1)
