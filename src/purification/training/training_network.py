"""Generator and critic arranged for training: same function, same weights, less time a step.

`purifiers.search_network` is the counterpart for frozen weights.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.models.phases import FEW_MAPS, interleaved
from purification.models.side_by_side import apart, side_by_side
from purification.models.wgan import Critic, Generator
from purification.training.precision import Precision, check_precision

Sides = tuple[int, ...]


def training_network(
    network: nn.Module,
    *,
    precision: Precision = "float32",
    fast_convolutions: bool = False,
    weight_gradients: bool = True,
) -> nn.Module:
    """A `Generator` or `Critic` for use in training: a view that shares its weights, or itself.

    Args:
        network: its weights stay float32, and so do inputs and outputs.
        precision: "bfloat16" lets the convolutions take and give bfloat16 (sums are in float32
            inside), with weights converted in each pass. Linear layers and the last sigmoid are
            float32.
        fast_convolutions: all derivatives of convolutions written out: torch's double backward,
            which the gradient penalty goes through, computes the gradient of a convolution's
            weights as a convolution with kernels of the size of its maps. On the CPU also images
            `side_by_side`, and convolutions from and to few maps as ones of stride 1 over the
            phases of the image. Values and gradients are the network's own up to rounding.
        weight_gradients: whether `fast_convolutions` give first derivatives in their weights.
            autograd does not tell them whether these are asked for; without, a pass that is only
            differentiated in its images costs less. Derivatives of such a derivative (the
            penalty's) in the weights come all the same.

    Raises:
        ValueError: another precision.
        TypeError: another network: how to arrange it is not known here.
    """
    check_precision(precision)
    if precision == "float32" and not fast_convolutions:
        return network
    place = {Generator: "upsample", Critic: "features"}.get(type(network))
    if place is None:
        name = type(network).__name__
        raise TypeError(f"precision and fast_convolutions are for Generator and Critic, got {name}")
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    view = copy.copy(network)
    view._modules = dict(network._modules)
    setattr(
        view, place, _Arranged(getattr(network, place), dtype, fast_convolutions, weight_gradients)
    )
    return view


class _Arranged(nn.Module):
    """Convolutions and pointwise layers, and at the end the one layer that takes float32."""

    def __init__(
        self, layers: nn.Sequential, dtype: torch.dtype, fast: bool, weight_gradients: bool
    ) -> None:
        super().__init__()
        self.layers = layers
        self.dtype, self.fast, self.weight_gradients = dtype, fast, weight_gradients

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) -> what the last layer makes of (N, C', H', W'); float32."""
        count, last = len(maps), self.layers[-1]
        in_rows = self.fast and maps.device.type == "cpu"
        maps = maps.to(self.dtype)
        if in_rows:
            maps = side_by_side(maps)
        for layer in self.layers[:-1]:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                maps = self._convolve(layer, maps)
            else:
                maps = layer(maps)
        if in_rows:
            maps = apart(_ChannelsLast.apply(maps), count)
        return last(maps.float())

    def _convolve(self, layer: nn.Conv2d | nn.ConvTranspose2d, maps: Tensor) -> Tensor:
        """The layer, 5x5 with stride 2 and padding 2 as all of these two networks."""
        weight, bias = layer.weight.to(self.dtype), layer.bias.to(self.dtype)
        in_rows = maps.dim() == 5
        if isinstance(layer, nn.Conv2d):
            if not self.fast:
                return functional.conv2d(maps, weight, bias, 2, 2)
            if in_rows and layer.in_channels <= FEW_MAPS:
                phases = _ChannelsLast.apply(_phases(maps))
                return self._pass(phases, _over_phases(weight), bias, 1, 1)
            return self._pass(maps, weight, bias, 2, 2)
        extra = layer.output_padding
        if not self.fast:
            return functional.conv_transpose2d(maps, weight, bias, 2, 2, extra)
        sides = tuple(
            2 * side - 1 + more for side, more in zip(maps.shape[2:4], extra, strict=True)
        )
        if in_rows and layer.out_channels <= FEW_MAPS:
            weight = _transposed_over_phases(weight)
            made = self._pass(maps, weight, bias.repeat_interleave(4), 1, 1)
            return interleaved(_ChannelsLast.apply(made), 2, sides)
        return self._pass(maps, weight, bias, 2, 2, sides)

    def _pass(
        self,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: int,
        padding: int,
        sides: Sides | None = None,
    ) -> Tensor:
        weight = weight[..., None] if maps.dim() == 5 else weight
        return _Convolution.apply(maps, weight, bias, stride, padding, sides, self.weight_gradients)


class _Convolution(torch.autograd.Function):
    """A convolution, or a transposed one, all of whose derivatives are convolutions of one pass.

    The derivative in the maps is the transposed of it with the same weights: this function again.
    Kernels are square; along the third axis of `side_by_side` they have length 1. Not transposed
    (`sides` None), weights are (maps out, maps in, k, k); transposed (maps in, maps out, k, k), and
    `sides` are the result's.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        padding: int,
        sides: Sides | None,
        weight_gradients: bool,
    ) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.settings = stride, padding, sides
        ctx.weight_gradients = weight_gradients
        strides, paddings, ones = _sizes(weight, stride, padding)
        extra = [0] * len(ones)
        if sides is not None:
            kernel = weight.shape[2]
            for axis, side in enumerate(sides):
                extra[axis] = side - ((maps.shape[2 + axis] - 1) * stride - 2 * padding + kernel)
        return torch.ops.aten.convolution(
            maps, weight, bias, strides, paddings, ones, sides is not None, extra, 1
        )

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Any, ...]:
        maps, weight = ctx.saved_tensors
        stride, padding, sides = ctx.settings
        of_maps = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            back = tuple(maps.shape[2:4]) if sides is None else None
            of_maps = _Convolution.apply(gradient, weight, None, stride, padding, back, True)
        if ctx.weight_gradients and ctx.needs_input_grad[1]:
            fine, coarse = (maps, gradient) if sides is None else (gradient, maps)
            strides, paddings, ones = _sizes(weight, stride, padding)
            of_weight = torch.ops.aten.convolution_backward(
                coarse, fine, weight, None, strides, paddings, ones, False, [0] * len(ones), 1,
                [False, True, False],
            )[1]  # fmt: skip
        if ctx.weight_gradients and ctx.needs_input_grad[2]:
            others = [axis for axis in range(gradient.dim()) if axis != 1]
            of_bias = gradient.sum(others)
        return of_maps, of_weight, of_bias, None, None, None, None


class _ChannelsLast(torch.autograd.Function):
    """Maps (N, C, H, W, G) with channels last in memory, and so their gradient.

    autograd passes a gradient through `contiguous` in the order in which it comes, and layers are
    slow on maps and gradients in two orders.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, maps: Tensor) -> Tensor:
        return maps.contiguous(memory_format=torch.channels_last_3d)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return _ChannelsLast.apply(gradient)


def _sizes(weight: Tensor, stride: int, padding: int) -> tuple[list[int], list[int], list[int]]:
    """Stride, padding and dilation of each axis: nothing happens along that of `side_by_side`."""
    third = weight.dim() - 4
    return [stride] * 2 + [1] * third, [padding] * 2 + [0] * third, [1] * (2 + third)


def _phases(maps: Tensor) -> Tensor:
    """(N, C, H, W, G) as the 4 C maps of its even and odd rows and columns, half as high and wide.

    An odd side is filled up with zeros, as a convolution's padding does.
    """
    maps = functional.pad(maps, (0, 0, 0, maps.shape[3] % 2, 0, maps.shape[2] % 2))
    count, channels, height, width, row = maps.shape
    split = maps.view(count, channels, height // 2, 2, width // 2, 2, row)
    return split.permute(0, 1, 3, 5, 2, 4, 6).reshape(count, -1, height // 2, width // 2, row)


def _over_phases(weight: Tensor) -> Tensor:
    """Kernels (O, C, 5, 5), stride 2, padding 2, as (O, 4 C, 3, 3) over `_phases`, padding 1.

    Output a takes tap k of input 2 a + k - 2. That is phase k modulo 2 of the pair a + k // 2 - 1.
    """
    outputs, inputs = weight.shape[:2]
    taps = functional.pad(weight, (0, 1, 0, 1)).view(outputs, inputs, 3, 2, 3, 2)
    return taps.permute(0, 1, 3, 5, 2, 4).reshape(outputs, 4 * inputs, 3, 3)


def _transposed_over_phases(weight: Tensor) -> Tensor:
    """Transposed kernels (C, O, 5, 5) as the convolution (4 O, C, 3, 3) to the output's phases.

    Input a reaches output 2 b + p by tap p + 2 (b - a) + 2.
    """
    inputs, outputs = weight.shape[:2]
    taps = functional.pad(weight, (0, 1, 0, 1)).view(inputs, outputs, 3, 2, 3, 2).flip(2, 4)
    return taps.permute(1, 3, 5, 0, 2, 4).reshape(4 * outputs, inputs, 3, 3)
