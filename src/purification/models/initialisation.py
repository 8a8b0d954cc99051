"""Initial weights that networks of several papers share."""

import torch
from torch import nn


@torch.no_grad()
def xavier(layer: nn.Module) -> None:
    """Glorot and Bengio 2010, eq. 16, in place: weights U(-a, a), a = sqrt(6 / (fan_in + fan_out)),
    biases zero, of a linear layer or a convolution; others are left alone.

    A fan of a convolution is its maps times its kernel's size, whatever the stride, as in
    TensorFlow's `xavier_initializer`. Drawn from the global RNG.
    """
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
