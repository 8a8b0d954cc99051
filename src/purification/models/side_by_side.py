"""Images side by side, as the CPU library's convolutions like them best.

oneDNN's kernels work along the last spatial axis, and run half empty on rows of 4 or 7 pixels. Here
G images make a third axis of (N / G, C, H, W, G), along which the kernels have length 1. The pixels
of one place in G images are then neighbours in memory, and one block for the kernels. On the CPU
this takes 0.7 of the time; the same products are summed.
"""

import torch
from torch import Tensor
from torch.nn import functional

LENGTHS = (14, 32)  # images in a row: fewer fill no block of oneDNN's kernels


def side_by_side(images: Tensor) -> Tensor:
    """Images or maps (N, C, H, W) as (N / G, C, H, W, G), filled up with zeros to whole rows."""
    count = len(images)
    groups = _groups(count)
    filled = functional.pad(images, (0, 0, 0, 0, 0, 0, 0, -count % groups))
    rows = filled.view(groups, -1, *filled.shape[1:]).permute(0, 2, 3, 4, 1)
    return channels_last(rows)


def channels_last(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) or (N, C, H, W, G) with the numbers of one place side by side in memory."""
    order = torch.channels_last if maps.dim() == 4 else torch.channels_last_3d
    return maps.contiguous(memory_format=order)


def apart(rows: Tensor, count: int) -> Tensor:
    """The `count` images or maps (N, C, H, W) that `side_by_side` put into rows."""
    return rows.permute(0, 4, 1, 2, 3).flatten(0, 1)[:count]


def _groups(count: int) -> int:
    """Into how many groups the images go, with the least filling up.

    Two at least: for a single one torch takes a slow kernel of its own instead of oneDNN's.
    """
    least, most = LENGTHS
    fewest = max(2, -(-count // most))
    return min(range(fewest, max(fewest, count // least) + 1), key=lambda groups: -count % groups)
