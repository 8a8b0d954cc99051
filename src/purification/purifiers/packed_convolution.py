"""Convolutions with constant weights in the order of memory that oneDNN wants for them.

Torch hands oneDNN the weights in its own order, and oneDNN puts them into another one in each call.
For few images that takes longer than the convolution: at one image a layer of 256 to 128 maps of
4x4 takes three times as long. Torch's compiler lays constant weights out once ("freezing"), by the
operators that are used here. The products and their sums are the same.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from purification.models import half_precision

Convolution = Callable[[Tensor, Tensor | None], Tensor]
"""(maps (M, C, H, W), bias or None) -> maps."""
Size = tuple[int, ...]


def convolution(
    weight: Tensor, like: Tensor, upwards: bool, stride: Size, padding: Size, extra: Size
) -> Convolution:
    """For maps of the shape, type and place of `like`: a convolution with `weight`, or `upwards` a
    transposed one with `extra` as output padding. Packed on the CPU where this torch can."""
    if like.numel() and packs(like.device.type, like.dtype):
        return _packed(weight, list(like.shape), upwards, stride, padding, extra)
    one, none = (1,) * len(stride), (0,) * len(stride)
    more = extra if upwards else none
    return lambda x, bias: torch.convolution(
        x, weight, bias, stride, padding, one, upwards, more, 1
    )


@cache
def packs(device: str, dtype: torch.dtype) -> bool:
    """Whether convolutions of such maps are packed. The operators are not documented: they are
    tried, and not used where one is missing or refuses."""
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if dtype != torch.float32 and dtype != torch.bfloat16:
        return False
    try:
        if dtype == torch.bfloat16 and not half_precision.computes_in_bfloat16(device):
            return False
        for more in (0, 1):  # one image by itself, and four side by side
            maps, weight = (
                torch.ones(shape, dtype=dtype)
                for shape in ((1, 16, 4, 4, *[4] * more), (16, 16, 3, 3, *[1] * more))
            )
            sizes = (2, 2, *[1] * more), *[(1, 1, *[0] * more)] * 2
            for upwards in (False, True):
                _packed(weight, list(maps.shape), upwards, *sizes)(maps, maps.new_ones(16))
    except (AttributeError, RuntimeError, TypeError):
        return False
    return True


def _packed(
    weight: Tensor, shape: list[int], upwards: bool, stride: Size, padding: Size, extra: Size
) -> Convolution:
    one, rest = (1,) * len(stride), ("none", [], "")
    if upwards:
        packed = torch.ops.mkldnn._reorder_convolution_transpose_weight(
            weight, padding, extra, stride, one, 1, shape
        )
        run = torch.ops.mkldnn._convolution_transpose_pointwise
        return lambda x, bias: run(x, packed, bias, padding, extra, stride, one, 1, *rest)
    reorder = getattr(torch._C._nn, f"mkldnn_reorder_conv{len(stride)}d_weight")
    packed = reorder(weight.to_mkldnn(), padding, stride, one, 1, shape)
    run = torch.ops.mkldnn._convolution_pointwise
    return lambda x, bias: run(x, packed, bias, padding, stride, one, 1, *rest)
