"""Generator and critic in mixed precision for training: same weights, less time a step.

`written_out` is the counterpart without autograd, `purifiers.search_network` that for frozen
weights.
"""

import copy

from torch import Tensor, nn
from torch.nn import functional

from purification.models.wgan import Critic, Generator
from purification.training.precision import Precision, in_float32


def training_network(network: nn.Module, *, precision: Precision = "float32") -> nn.Module:
    """A `Generator` or `Critic` for use in training: a view that shares its weights, or itself.

    Args:
        network: its weights stay float32, and so do inputs and outputs.
        precision: "bfloat16" lets the convolutions take and give bfloat16 (sums are in float32
            inside), with weights converted in each pass, where the device computes in it. Linear
            layers and the last sigmoid are float32.

    Raises:
        ValueError: another precision.
        TypeError: another network: how to arrange it is not known here.
    """
    in_full = in_float32(precision, network)
    place = {Generator: "upsample", Critic: "features"}.get(type(network))
    if place is None and precision != "float32":
        raise TypeError(f"precision is for Generator and Critic, got {type(network).__name__}")
    if place is None or in_full:
        return network
    view = copy.copy(network)
    view._modules = dict(network._modules)
    setattr(view, place, _InBfloat16(getattr(network, place)))
    return view


class _InBfloat16(nn.Module):
    """Convolutions and pointwise layers, and at the end the one layer that takes float32."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) -> what the last layer makes of (N, C', H', W'); float32."""
        maps = maps.bfloat16()
        for layer in self.layers[:-1]:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                maps = self._convolve(layer, maps)
            else:
                maps = layer(maps)
        return self.layers[-1](maps.float())

    def _convolve(self, layer: nn.Conv2d | nn.ConvTranspose2d, maps: Tensor) -> Tensor:
        """The layer, 5x5 with stride 2 and padding 2 as all of these two networks."""
        weight, bias = layer.weight.bfloat16(), layer.bias.bfloat16()
        if isinstance(layer, nn.Conv2d):
            return functional.conv2d(maps, weight, bias, 2, 2)
        return functional.conv_transpose2d(maps, weight, bias, 2, 2, layer.output_padding)
