"""Mixed precision of training: bfloat16 layers around float32 weights, logits and losses."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from purification.models import half_precision

Precision = Literal["float32", "bfloat16"]


def in_precision(classifier: nn.Module, precision: Precision) -> nn.Module:
    """The classifier itself for "float32"; for "bfloat16" one that shares its weights and whose
    convolutions and linear layers take and give bfloat16, if its device computes in bfloat16
    (`models.half_precision`).

    Weights, images (N, C, H, W) and logits (N, classes) stay float32, and so does what an optimizer
    does with the weights: what is trained is a float32 network like any other.

    Raises:
        ValueError: another precision.
    """
    return classifier if in_float32(precision, classifier) else _MixedPrecision(classifier)


def in_float32(precision: Precision, network: nn.Module) -> bool:
    """Whether a network is trained in float32: asked for, or all that its device computes in.

    Raises:
        ValueError: another precision.
    """
    check_precision(precision)
    if precision == "float32":
        return True
    device = next(network.parameters()).device
    return half_precision.usable(precision, device) == "float32"


def check_precision(precision: str) -> None:
    """Raises ValueError unless `precision` is one of `Precision`."""
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {get_args(Precision)}, got {precision!r}")


class _MixedPrecision(nn.Module):
    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            return self.classifier(images).float()
