"""A generator arranged for the latent search: same function, less time a pass."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from purification.guests import Guest
from purification.models import half_precision
from purification.models.gan import UnitTanh
from purification.purifiers.piecewise_linear import piecewise_linear

Precision = Literal["float32", "tf32", "bfloat16"]


def search_network(generator: nn.Module, precision: Precision = "float32") -> nn.Module:
    """`generator` (z (M, d) -> images (M, C, H, W)) with frozen weights, arranged for speed.

    The generators of this library become a `PiecewiseLinear`, whose float32 values are the
    generator's up to rounding. Any other is returned as it is, and the search differentiates it by
    autograd. With "bfloat16" linear layers and convolutions take and give bfloat16 (sums are in
    float32 inside), a sigmoid or tanh at the end computes in float32, and so is the image.
    A device that does not compute in bfloat16 does it in float32 (`models.half_precision`).
    "float32" and "tf32" give the same network, to be called within `matrix_precision`.

    Raises:
        ValueError: for another precision, or bfloat16 for a generator of the user's own.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {get_args(Precision)}, got {precision!r}")
    half = precision == "bfloat16"
    if isinstance(generator, Guest):  # it may call its layers in any way
        if half:
            raise ValueError(
                f"{generator.place}: a generator of your own has no search in bfloat16"
            )
        return generator
    if half:
        device = next(generator.parameters()).device
        half = half_precision.usable(precision, device) == "bfloat16"
    arranged = piecewise_linear(generator, torch.bfloat16 if half else None)
    if arranged is not None:
        return arranged
    return _Bfloat16(copy.deepcopy(generator).requires_grad_(False)) if half else generator


@contextmanager
def matrix_precision(precision: Precision) -> Iterator[None]:
    """Matrix products and convolutions of CUDA in float32 proper, or with TF32's 10-bit mantissas.

    Neither is PyTorch's default, which has TF32 in convolutions alone. Without CUDA: nothing.
    """
    if not torch.cuda.is_available():
        yield
        return
    allow = precision != "float32"
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allow
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


class _InFloat32(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        # Autocast would leave it in bfloat16, whose step just below 1 is that of 8-bit images.
        return self.activation(x.float())


class _Bfloat16(nn.Module):
    """A network whose linear layers and convolutions run in bfloat16; z and images are float32.

    Their weights are converted once: autocast by itself would do it in every pass.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for module in list(network.modules()):
            if isinstance(module, _MATRIX_LAYERS):
                module.to(torch.bfloat16)
            for name, child in module.named_children():
                if isinstance(child, nn.Sigmoid | UnitTanh):
                    setattr(module, name, _InFloat32(child))
        self.network = network

    def forward(self, z: Tensor) -> Tensor:
        # The cache is for weights with gradients, and must not outlive the capture of a CUDA graph.
        with torch.autocast(z.device.type, torch.bfloat16, cache_enabled=False):
            return self.network(z).float()


_MATRIX_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
