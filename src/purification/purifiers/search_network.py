"""A generator arranged for the latent search: same function, less time a pass.

The search differentiates in z alone, thousands of times with the same weights. So the weights are
frozen, their layout is chosen once, and what the CPU libraries do badly is written otherwise.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from purification.guests import Guest
from purification.models.gan import UnitTanh
from purification.models.phases import FEW_MAPS, interleaved
from purification.models.side_by_side import apart, side_by_side
from purification.models.wgan import Generator

Precision = Literal["float32", "tf32", "bfloat16"]


def search_network(generator: nn.Module, precision: Precision = "float32") -> nn.Module:
    """`generator` (z (M, d) -> images (M, C, H, W)) with frozen weights, arranged for speed.

    A copy, unless there is nothing to change. Its float32 values are the generator's up to
    rounding. With "bfloat16" linear layers and convolutions take and give bfloat16 (sums are in
    float32 inside), a sigmoid or tanh at the end computes in float32, and so is the image.
    "float32" and "tf32" give the same network, to be called within `matrix_precision`. Raises
    ValueError for another name.
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
    # oneDNN has no float64.
    interleave = all(
        weight.device.type == "cpu" and weight.dtype == torch.float32
        for weight in generator.parameters()
    )
    if not half and not any(isinstance(m, nn.ConvTranspose2d) for m in generator.modules()):
        return generator
    network = copy.deepcopy(generator).requires_grad_(False).to(memory_format=torch.channels_last)
    _fold_batch_norms(network)
    _rearrange(network, interleave)
    if isinstance(network, Generator):
        network.project = _MapsProjection(network.project, network._start)
    return _Bfloat16(network) if half else network


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


class SubPixelConvTranspose2d(nn.Module):
    """A transposed convolution as a convolution to the s*s phases of its output, interleaved.

    Output pixel s*a + p is a sum over the inputs near a with the kernel's taps k = p + padding
    modulo s. Padded to kernels of one size the phases take more multiplications than the
    transposed convolution (9 * 4 for 25 with kernel 5, stride 2), but libraries compute 16 maps for
    one anyway, and here s*s of them are used. For a layer to few maps this is the faster form.
    """

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.stride = layer.stride[0]
        # Of n input rows come stride * n - missing output rows.
        self.missing = tuple(self.stride - size for size in _last_block(layer))
        weight = _phases(layer)
        self.padding = weight.shape[-1] // 2
        bias = layer.bias if layer.bias is not None else weight.new_zeros(layer.out_channels)
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias.detach().repeat_interleave(self.stride**2))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), or (N, C, H, W, G) of `Interleaved`."""
        extra, padding = x.dim() - 4, self.padding
        weight = self.weight[..., None] if extra else self.weight
        phases = _FrozenConvolution.apply(x, weight, self.bias, (padding, padding, 0)[: 2 + extra])
        sides = (
            self.stride * side - less for side, less in zip(x.shape[2:4], self.missing, strict=True)
        )
        return interleaved(phases, self.stride, tuple(sides))


class Interleaved(nn.Module):
    """Transposed convolutions and pointwise layers over images `side_by_side`."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        return apart(self.layers(side_by_side(x)), len(x))


class _FrozenConvTranspose2d(nn.Module):
    """A ConvTranspose2d without gradients of its weights, over (N, C, H, W) or (N, C, H, W, G)."""

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())
        self.sizes = (layer.stride, layer.padding, layer.output_padding, layer.dilation)
        self.groups = layer.groups

    def forward(self, x: Tensor) -> Tensor:
        # Nothing happens along G: length 1, stride 1, no padding.
        flat = x.dim() == 5
        weight = self.weight[..., None] if flat else self.weight
        stride, padding, extra, dilation = (
            (*size, neutral) if flat else size
            for size, neutral in zip(self.sizes, (1, 0, 0, 1), strict=True)
        )
        return _FrozenConvTranspose.apply(
            x, weight, self.bias, stride, padding, extra, self.groups, dilation
        )


class _FrozenConvTranspose(torch.autograd.Function):
    """A transposed convolution whose derivative is a convolution, written out as one.

    torch's double backward of a convolution also computes the gradient of its weights when nobody
    wants it: two fifths of the time of a gradient through the search.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *sizes: tuple[int, ...] | int,
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.sizes, ctx.dtype = sizes, x.dtype
        return _OF_DIMENSION[x.dim()][1](x, weight, bias, *sizes)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Any, ...]:
        (weight,) = ctx.saved_tensors
        stride, padding, _, groups, dilation = ctx.sizes
        convolve = _OF_DIMENSION[gradient.dim()][0]
        gradient = convolve(gradient, weight, None, stride, padding, dilation, groups)
        return gradient.to(ctx.dtype), *[None] * 7


class _FrozenConvolution(torch.autograd.Function):
    """The same for a convolution of stride 1."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        padding: tuple[int, ...],
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.padding, ctx.dtype = padding, x.dtype
        return _OF_DIMENSION[x.dim()][0](x, weight, bias, padding=padding)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Any, ...]:
        (weight,) = ctx.saved_tensors
        transposed = _OF_DIMENSION[gradient.dim()][1]
        gradient = transposed(gradient, weight, padding=ctx.padding)
        # In the order of the maps below: their ReLU is slow on gradients in another one.
        gradient = gradient.contiguous(memory_format=_CHANNELS_LAST[gradient.dim()])
        return gradient.to(ctx.dtype), None, None, None


_OF_DIMENSION = {
    4: (functional.conv2d, functional.conv_transpose2d),
    5: (functional.conv3d, functional.conv_transpose3d),
}
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def _phases(layer: nn.ConvTranspose2d) -> Tensor:
    """The (C_out * s * s, C_in, k, k) convolution, k odd, that makes the phases of the output.

    Output stride * a + p and input i meet in tap p + padding + stride * (a - i).
    """
    weight, stride = layer.weight.detach(), layer.stride[0]
    (kernel, _), (padding, _) = layer.kernel_size, layer.padding
    taps = {
        (phase, shift): tap
        for phase in range(stride)
        for shift in range(-kernel, kernel + 1)
        if 0 <= (tap := phase + padding + stride * shift) < kernel
    }
    reach = max(abs(shift) for _, shift in taps)
    inputs, outputs = weight.shape[:2]
    side = 2 * reach + 1
    phases = weight.new_zeros(outputs, stride, stride, inputs, side, side)
    for (row, down), y in taps.items():
        for (column, right), x in taps.items():
            phases[:, row, column, :, reach - down, reach - right] = weight[:, :, y, x].T
    return phases.view(outputs * stride**2, inputs, side, side)


def _last_block(layer: nn.ConvTranspose2d) -> tuple[int, ...]:
    """How many rows and columns of output the last input row and column add to stride * (n - 1)."""
    sizes = (layer.kernel_size, layer.padding, layer.output_padding)
    return tuple(k - 2 * padding + extra for k, padding, extra in zip(*sizes, strict=True))


def _better_form(module: nn.Module) -> bool:
    """Whether it is a transposed convolution to few maps that the sub-pixel form can express."""
    if not isinstance(module, nn.ConvTranspose2d) or module.out_channels > FEW_MAPS:
        return False
    square = all(
        len(set(size)) == 1 for size in (module.stride, module.kernel_size, module.padding)
    )
    plain = module.groups == 1 and module.dilation == (1, 1)
    fits = all(0 < size <= module.stride[0] for size in _last_block(module))
    return square and plain and fits and module.stride[0] > 1


def _fold_batch_norms(network: nn.Module) -> None:
    """Replaces, in place, a transposed convolution and the batch norm behind it by one convolution.

    In evaluation mode the norm is a factor and a shift of each map; `Interleaved` has room for
    neither. In training mode, where rows would depend on each other, nothing is folded.
    """
    for parent in list(network.modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        for i, (layer, norm) in reversed(list(enumerate(pairwise(parent)))):
            if (
                isinstance(layer, nn.ConvTranspose2d)
                and isinstance(norm, nn.BatchNorm2d)
                and norm.running_mean is not None
                and not (layer.training or norm.training)
            ):
                parent[i] = fuse_conv_bn_eval(layer, norm, transpose=True)
                del parent[i + 1]


def _rearrange(network: nn.Module, interleave: bool) -> None:
    """Replaces, in place, what has a faster form."""
    for name, child in network.named_children():
        if _better_form(child):
            child = SubPixelConvTranspose2d(child)
        elif isinstance(child, nn.ConvTranspose2d):
            child = _FrozenConvTranspose2d(child)
        else:
            _rearrange(child, interleave)
        if interleave and _can_interleave(child):
            child = Interleaved(child)
        setattr(network, name, child)


def _can_interleave(module: nn.Module) -> bool:
    pointwise = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, UnitTanh, nn.Identity)
    known = (*pointwise, _FrozenConvTranspose2d, SubPixelConvTranspose2d)
    return (
        isinstance(module, nn.Sequential)
        and any(isinstance(layer, _FrozenConvTranspose2d) for layer in module)
        and all(isinstance(layer, known) for layer in module)
    )


class _MapsProjection(nn.Module):
    """The linear layer of a `Generator` with its outputs in the order of channels-last maps.

    The transposed convolution behind it then finds its input in its own layout, and copies nothing.
    """

    def __init__(self, linear: nn.Linear, start: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = start
        order = torch.arange(math.prod(start)).view(channels, height * width).T.flatten()
        self.start = (height, width, channels)
        self.register_buffer("weight", linear.weight.detach()[order.to(linear.weight.device)])
        self.register_buffer("bias", linear.bias.detach()[order.to(linear.bias.device)])

    def forward(self, z: Tensor) -> Tensor:
        maps = functional.linear(z, self.weight, self.bias).view(-1, *self.start)
        return maps.permute(0, 3, 1, 2)


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


_MATRIX_LAYERS = (
    nn.Linear, nn.Conv2d, SubPixelConvTranspose2d, _FrozenConvTranspose2d, _MapsProjection
)  # fmt: skip
