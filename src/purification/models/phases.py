"""The s * s phases of a map: its pixels by their row and column modulo a stride s.

A convolution from or to few maps is faster over phases: libraries compute 16 maps for one anyway.
"""

from torch import Tensor

FEW_MAPS = 4  # oneDNN computes 16 at least, cuDNN 8


def interleaved(phases: Tensor, stride: int, sides: tuple[int, ...]) -> Tensor:
    """Phases (N, C * s * s, H, W[, G]) as maps (N, C, s * H, s * W[, G]), cut to `sides`.

    As torch's pixel_shuffle, with a third axis where maps lie side by side.
    """
    count, _, *places = phases.shape
    # (N, C, s, s, H, W[, G]) -> (N, C, H, s, W, s[, G])
    split = phases.view(count, -1, stride, stride, *places).movedim((2, 3), (3, 5))
    height, width = (stride * side for side in places[:2])
    maps = split.reshape(count, -1, height, width, *places[2:])
    return maps[:, :, : sides[0], : sides[1]]
