"""Total variation minimisation, as Guo et al. 2018 purify by it."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from purification.models.wgan import Shape
from purification.purifiers.base import Purifier


class TotalVariation(Purifier):
    """Returns argmin over u of ||u - x||^2 / 2 + weight * TV(u), each channel by itself.

    TV is isotropic, the sum of the lengths of the forward differences (Rudin, Osher and Fatemi
    1992). Solved by the fast gradient projection of its dual (Beck and Teboulle 2009, section 4.2),
    differentiable through all iterations. Guo et al. (2018, section 4.3) drop random pixels
    besides, and leave them to TV; this form is deterministic.
    """

    METHOD = "total_variation"
    SETTINGS = {
        "weight": "positive = 0.1: of the total variation, beside half the squared change",
        "iterations": "count = 50: of the dual projection",
    }

    def __init__(self, settings: Mapping[str, Any], image_shape: Shape) -> None:
        super().__init__()
        self.weight, self.iterations = settings["weight"], settings["iterations"]

    def forward(self, images: Tensor) -> Tensor:
        dual = images.new_zeros(2, *images.shape)
        ahead, momentum = dual, 1.0
        for _ in range(self.iterations):
            step = dual_step(images, ahead, self.weight)
            faster = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ahead = step + (momentum - 1) / faster * (step - dual)
            dual, momentum = step, faster
        # Clamped for rounding: the minimum lies within the image's own range.
        return (images - self.weight * transposed(dual)).clamp(0, 1)


def dual_step(images: Tensor, dual: Tensor, weight: float) -> Tensor:
    """A projected step of the dual, (2, N, C, H, W): 8 bounds the squared norm of `differences`."""
    moved = dual + differences(images - weight * transposed(dual)) / (8 * weight)
    return moved / torch.linalg.vector_norm(moved, dim=0).clamp(min=1)


def differences(images: Tensor) -> Tensor:
    """Forward differences down and to the right, zero at the far edges: (2, *images.shape)."""
    down = torch.diff(images, dim=-2, append=images[..., -1:, :])
    right = torch.diff(images, dim=-1, append=images[..., -1:])
    return torch.stack([down, right])


def transposed(dual: Tensor) -> Tensor:
    """The adjoint of `differences`, minus a divergence: (2, N, C, H, W) -> (N, C, H, W)."""
    down = torch.nn.functional.pad(dual[0][..., :-1, :], (0, 0, 1, 1))
    right = torch.nn.functional.pad(dual[1][..., :-1], (1, 1))
    return -torch.diff(down, dim=-2) - torch.diff(right, dim=-1)
