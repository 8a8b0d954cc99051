"""A randomised defence whose accuracies and gradients have closed forms."""

import torch
from torch import Tensor, nn

from purification.purifiers import Purifier
from purification.randomness import normal_of


class Noise(Purifier):
    """Adds Gaussian noise of a standard deviation, and leaves [0, 1]."""

    RANDOMISED = True

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        return images + self.deviation * normal_of(seeds, images.shape[1:]).to(images)


class Linear(nn.Module):
    """Logits (0, w.x), without a product of matrices, whose rounding depends on the batch."""

    weights: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, images: Tensor) -> Tensor:
        margin = (images.flatten(1) * self.weights).sum(1)
        return torch.stack([torch.zeros_like(margin), margin], dim=1)
