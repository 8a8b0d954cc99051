"""A generator as affine maps with rectifiers between them, and its derivatives written out.

Between two kinks of its ReLUs such a network is J z + c, and J's products need the signs of the
activations alone: J w is one pass of the linear maps in which rectifiers multiply by their slopes,
J^T g one pass back. The latent search takes nothing else. So it needs no autograd; and the product
of its Hessian and a vector, which torch gets by differentiating a backward pass, is one pass each
way.

Activations of M rows are maps (M, C, H, W), or (1, C, H, W, M) with the rows side by side. oneDNN's
kernels work along the last spatial axis, and run half empty on 4 or 7 pixels. Side by side the M
pixels of one place are neighbours in memory and one block for them; the kernels have length 1 along
that axis. In memory the channels come last in both, which all layers take and give.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from purification.models.ae_gan import Decoder
from purification.models.bigan import ALIGenerator
from purification.models.gan import UnitTanh
from purification.models.side_by_side import channels_last
from purification.models.wgan import Generator
from purification.purifiers.packed_convolution import Convolution, convolution, packs

SIDE_BY_SIDE_FROM = 4  # rows; fewer fill no block of the kernels


class PiecewiseLinear(nn.Module):
    """z (M, d) -> images (M, C, H, W): `maps` with `rectifiers` between them, then `ending`.

    Weights are constants, and the values those of the generator up to rounding. `forward` is
    differentiable twice in z, for objectives of any kind.

    Args:
        maps: the first takes codes (M, d), the last gives images (M, C, H, W).
        rectifiers: slopes below zero, one between each two maps: 0 is ReLU, 1 is none.
        ending: of the pixels, one by one.
    """

    def __init__(
        self, maps: Sequence["_Map"], rectifiers: Sequence[float], ending: "Ending"
    ) -> None:
        super().__init__()
        self.maps = nn.ModuleList(maps)
        self.rectifiers = tuple(rectifiers)
        self.ending = ending

    def forward(self, z: Tensor) -> Tensor:
        return self.ending.value(_Logits.apply(z, self))

    def logits(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images (M, C, H, W) before the ending, and the rectified activations before each map but
        the first."""
        x, activations = self.maps[0](z), []
        for slope, layer in zip(self.rectifiers, self.maps[1:], strict=True):
            if slope != 1:
                x = functional.leaky_relu_(x, slope) if slope else x.relu_()
            activations.append(x)
            x = layer(x)
        return x, activations

    def tangent(self, weight: Tensor, signs: Sequence[Tensor]) -> Tensor:
        """J w, (M, C, H, W), of w (M, d). `signs` are positive where the activations were."""
        x = self.maps[0](weight, linear=True)
        for slope, layer, sign in zip(self.rectifiers, self.maps[1:], signs, strict=True):
            x = layer(_times_slopes(x, sign, slope), linear=True)
        return x

    def transposed(self, gradient: Tensor, signs: Sequence[Tensor]) -> Tensor:
        """J^T g, (M, d), of g (M, C, H, W)."""
        backwards = zip(self.rectifiers[::-1], self.maps[:0:-1], signs[::-1], strict=True)
        for slope, layer, sign in backwards:
            gradient = _times_slopes(layer.transposed(gradient), sign, slope)
        return self.maps[0].transposed(gradient)

    @staticmethod
    def rows_of(maps: Tensor, rows: Tensor) -> Tensor:
        """Some of the rows of maps in K steps, (K, M, C, H, W) or (K, 1, C, H, W, M), as maps of a
        batch of these rows."""
        chosen = maps[:, rows] if maps.dim() == 5 else maps[:, 0].movedim(4, 1)[:, rows]
        if maps.dim() == 5 or len(rows) < SIDE_BY_SIDE_FROM:
            return chosen.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        return chosen.permute(0, 3, 4, 1, 2).contiguous().permute(0, 4, 1, 2, 3)[:, None]


class Ending(NamedTuple):
    """The last activation e, and by its values y: g -> e' g, and e''."""

    value: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]  # (g, y)
    curvature: Callable[[Tensor], Tensor]


_sigmoid_backward = torch.ops.aten.sigmoid_backward
ENDINGS: dict[type[nn.Module], Ending] = {
    nn.Sigmoid: Ending(torch.sigmoid, _sigmoid_backward, lambda y: y * (1 - y) * (1 - 2 * y)),
    UnitTanh: Ending(
        lambda x: torch.sigmoid(2 * x),
        lambda g, y: _sigmoid_backward(g, y).mul_(2),
        lambda y: 4 * y * (1 - y) * (1 - 2 * y),
    ),
}


def piecewise_linear(
    generator: nn.Module, dtype: torch.dtype | None = None
) -> PiecewiseLinear | None:
    """`generator` as a `PiecewiseLinear` with weights of `dtype`, its own by default.

    None if it is not of that kind: a network other than those of this library, or one of them with
    layers of other kinds, with hooks, or with batch norm in training mode, where rows would depend
    on each other. In evaluation mode norms are folded into their convolutions.
    """
    described = _layers(generator)
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in generator.modules())
    if described is None or hooked:
        return None
    start, layers = described
    layers = _without_norms(layers)
    ending = ENDINGS.get(type(layers.pop()))
    if ending is None:
        return None
    maps: list[_Map] = []
    rectifiers: list[float] = []
    if not isinstance(layers[0], nn.Linear):  # of an `ALIGenerator`
        maps.append(_AsMaps(layers[0].weight))
        rectifiers.append(1.0)
    for number, layer in enumerate(layers):
        if type(layer) is nn.ReLU or type(layer) is nn.LeakyReLU:
            if len(rectifiers) == len(maps):
                return None  # one behind another
            rectifiers.append(getattr(layer, "negative_slope", 0.0))
            continue
        if len(rectifiers) < len(maps):
            rectifiers.append(1.0)
        if type(layer) is nn.Linear and not maps:
            maps.append(_Projection(layer, start))
        elif type(layer) in (nn.Conv2d, nn.ConvTranspose2d) and _Convolution.fits(layer):
            last = number == len(layers) - 1
            maps.append(_Taps(layer) if last else _Convolution(layer))
        else:
            return None
    if len(maps) < 2 or not isinstance(maps[-1], _Taps):
        return None
    return PiecewiseLinear(maps, rectifiers, ending).to(dtype)


def _layers(generator: nn.Module) -> tuple[tuple[int, int, int], list[nn.Module]] | None:
    """The shape (C, H, W) that its first layer's outputs are given, and its layers in order."""
    forward = type(generator).forward
    if isinstance(generator, Generator) and forward is Generator.forward:
        return generator._start, [generator.project, *generator.upsample]
    if isinstance(generator, Decoder) and forward is Decoder.forward:
        return generator._start, [*generator.project, *generator.upsample]
    if isinstance(generator, ALIGenerator) and forward is ALIGenerator.forward:
        return (generator.layers[0].in_channels, 1, 1), [*generator.layers]
    return None


def _without_norms(layers: list[nn.Module]) -> list[nn.Module]:
    """Convolutions have the batch norms behind them folded in, where these are in evaluation mode:
    a factor and a shift of each map."""
    folded: list[nn.Module] = []
    for layer in layers:
        before = folded[-1] if folded else None
        if (
            type(layer) is nn.BatchNorm2d
            and isinstance(before, nn.Conv2d | nn.ConvTranspose2d)
            and layer.running_mean is not None
            and not (layer.training or before.training)
        ):
            transpose = isinstance(before, nn.ConvTranspose2d)
            folded[-1] = fuse_conv_bn_eval(before, layer, transpose=transpose)
        else:
            folded.append(layer)
    return folded


class _Logits(torch.autograd.Function):
    """`PiecewiseLinear.logits` for autograd. Its Jacobian is constant between two kinks, so the
    derivative of the backward pass is `tangent` alone."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, z: Tensor, network: PiecewiseLinear
    ) -> Tensor:
        logits, activations = network.logits(z)
        ctx.network = network
        ctx.save_for_backward(*activations)
        return logits

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return _Transposed.apply(gradient, ctx.network, *ctx.saved_tensors), None


class _Transposed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        gradient: Tensor,
        network: PiecewiseLinear,
        *activations: Tensor,
    ) -> Tensor:
        ctx.network = network
        ctx.save_for_backward(*activations)
        return network.transposed(gradient, activations)

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, weight: Tensor) -> tuple[Any, ...]:
        tangent = ctx.network.tangent(weight, ctx.saved_tensors)
        return tangent, None, *[None] * len(ctx.saved_tensors)


def _times_slopes(x: Tensor, sign: Tensor, slope: float) -> Tensor:
    """The rectifier's derivative at activations of this `sign`, times x; in place."""
    if slope == 1:
        return x
    sign = sign.to(x.dtype)
    if slope:
        return torch.ops.aten.leaky_relu_backward.grad_input(x, sign, slope, True, grad_input=x)
    return torch.ops.aten.threshold_backward.grad_input(x, sign, 0, grad_input=x)


class _Map(nn.Module):
    """x -> W x + b, or W x where `linear`; `transposed`: g -> W^T g. What they give is new memory,
    which the rectifiers change in place."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, outputs: int) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())
        bias = weight.new_zeros(outputs) if bias is None else bias
        self.register_buffer("bias", bias.detach())


class _Projection(_Map):
    """A linear layer from codes (M, d) to maps, its outputs in the order of their memory."""

    def __init__(self, linear: nn.Linear, start: tuple[int, int, int]) -> None:
        channels, *self.sides = start
        super().__init__(linear.weight, linear.bias, linear.out_features)
        weight = self.weight.view(channels, -1, linear.in_features)
        self.weight = weight.transpose(0, 1).flatten(0, 1)
        self.bias = self.bias.view(channels, -1).T.flatten()

    def forward(self, z: Tensor, linear: bool = False) -> Tensor:
        maps = functional.linear(
            z.to(self.weight.dtype), self.weight, None if linear else self.bias
        )
        return _arranged(maps.unflatten(1, (*self.sides, -1)).permute(0, 3, 1, 2))

    def transposed(self, gradient: Tensor) -> Tensor:
        maps = _apart(gradient).permute(0, 2, 3, 1).reshape(-1, len(self.weight))
        return (maps @ self.weight).to(_exact(maps.dtype))


class _AsMaps(_Map):
    """Codes (M, d) as d maps of one pixel; no layer of its own, so no rectifier is behind it."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight.new_ones(()), None, 0)

    def forward(self, z: Tensor, linear: bool = False) -> Tensor:
        return _arranged(z.to(self.weight.dtype)[:, :, None, None])

    def transposed(self, gradient: Tensor) -> Tensor:
        return _apart(gradient).flatten(1).to(_exact(gradient.dtype))


class _Convolution(_Map):
    """A convolution of stride 1, or a transposed one."""

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
        weight = layer.weight.contiguous(memory_format=torch.channels_last)
        super().__init__(weight, layer.bias, layer.out_channels)
        self.stride, self.padding = layer.stride, layer.padding
        self.output_padding = layer.output_padding
        self.upwards = isinstance(layer, nn.ConvTranspose2d)
        # Each way the convolution for the shape that was last seen.
        self.prepared: dict[bool, tuple[torch.Size, Convolution]] = {}

    @staticmethod
    def fits(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
        stride_fits = isinstance(layer, nn.ConvTranspose2d) or layer.stride == (1, 1)
        plain = layer.dilation == (1, 1) and layer.groups == 1 and layer.padding_mode == "zeros"
        return stride_fits and plain and not isinstance(layer.padding, str)

    def forward(self, x: Tensor, linear: bool = False) -> Tensor:
        return self._run(x, self.upwards, None if linear else self.bias)

    def transposed(self, gradient: Tensor) -> Tensor:
        return self._run(gradient, not self.upwards, None)

    def _run(self, x: Tensor, upwards: bool, bias: Tensor | None) -> Tensor:
        """As a transposed convolution (`upwards`) or as a convolution with the same weights."""
        found = self.prepared.get(upwards)
        if found is None or found[0] != x.shape:
            weight, sizes = self.weight, (self.stride, self.padding, self.output_padding)
            if x.dim() == 5:  # nothing happens along M: length 1, stride 1, no padding
                weight = weight[..., None]
                sizes = tuple((*size, more) for size, more in zip(sizes, (1, 0, 0), strict=True))
            found = x.shape, convolution(weight, x, upwards, *sizes)
            self.prepared[upwards] = found
        return channels_last(found[1](x, bias))


class _Taps(_Map):
    """The last layer, to images (M, C, H, W): a product for each tap of its kernel, and sums.

    Libraries' convolutions compute 8 or 16 maps at least, so that most of one to a single map is
    waste. Here the k * k taps are the rows of one matrix, and `fold` adds them up at their places.
    A convolution of stride 1 is the transposed one with its kernel turned around.
    """

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__(layer.weight, layer.bias, layer.out_channels)
        self.padding = layer.padding
        if isinstance(layer, nn.Conv2d):
            self.weight = self.weight.transpose(0, 1).flip(2, 3)
            self.padding = tuple(
                k - 1 - p for k, p in zip(layer.kernel_size, layer.padding, strict=True)
            )
        self.bias = self.bias.view(-1, 1, 1)
        self.weight = self.weight.flatten(1).T.contiguous()  # (C_out * k * k, C_in)
        self.kernel, self.stride = layer.kernel_size, layer.stride
        sizes = (layer.kernel_size, self.padding, layer.output_padding)
        # To stride * n of n input rows and columns.
        self.more = [
            k - 2 * p + extra - s for s, k, p, extra in zip(self.stride, *sizes, strict=True)
        ]

    def forward(self, x: Tensor, linear: bool = False) -> Tensor:
        sizes = zip(self.stride, x.shape[2:4], self.more, strict=True)
        sides = [s * n + more for s, n, more in sizes]
        taps = self.weight @ _apart(x).flatten(2)
        images = functional.fold(
            taps.to(_exact(taps.dtype)), sides, self.kernel, 1, self.padding, self.stride
        )
        return images if linear else images.add_(self.bias)

    def transposed(self, gradient: Tensor) -> Tensor:
        sizes = zip(self.stride, gradient.shape[2:], self.more, strict=True)
        sides = [(side - more) // s for s, side, more in sizes]
        taps = functional.unfold(gradient, self.kernel, 1, self.padding, self.stride)
        taps = taps.to(self.weight.dtype)
        if not _goes_side_by_side(len(taps), taps):
            return (taps.mT @ self.weight).unflatten(1, sides).permute(0, 3, 1, 2)
        # (H * W * M, k * k * C_out), so that the product has its maps in order.
        taps = taps.permute(2, 0, 1).flatten(0, 1)
        maps = (taps @ self.weight).view(1, *sides, -1, self.weight.shape[1])
        return maps.permute(0, 4, 1, 2, 3)


def _goes_side_by_side(count: int, like: Tensor) -> bool:
    """Whether so many rows lie side by side. Unless its convolutions are packed, torch has slow
    ones for a single row of images."""
    return count >= SIDE_BY_SIDE_FROM and packs(like.device.type, like.dtype)


def _arranged(maps: Tensor) -> Tensor:
    """Maps (M, C, H, W) as activations."""
    if not _goes_side_by_side(len(maps), maps):
        return channels_last(maps)
    return channels_last(maps.permute(1, 2, 3, 0)[None])


def _apart(activations: Tensor) -> Tensor:
    """Activations as maps (M, C, H, W), without a copy."""
    return activations if activations.dim() == 4 else activations[0].movedim(3, 0)


def _exact(dtype: torch.dtype) -> torch.dtype:
    """float32 for bfloat16: of codes, images and sums."""
    return torch.promote_types(dtype, torch.float32)
