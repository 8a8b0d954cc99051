"""Random draws of a training, made on the CPU, where they are the same for every device."""

from collections.abc import Callable, Iterator
from itertools import groupby

import torch
from torch import Tensor

AT_ONCE = 50  # steps; a copy to the GPU in every step would wait for all that it still has to do


def draws_on_device(
    draw: Callable[[int], tuple[Tensor, ...]], steps: range, device: torch.device | str
) -> Iterator[tuple[Tensor, ...]]:
    """What `draw` gives for each of `steps`, in their order, on `device`. Those of one shape in a
    row (all but the last batch of an epoch) are moved for many steps at once; the tensors of a
    place have one type."""
    for first in range(0, len(steps), AT_ONCE):
        drawn = (draw(step) for step in steps[first : first + AT_ONCE])
        for _, alike in groupby(drawn, lambda tensors: [tensor.shape for tensor in tensors]):
            rows = list(alike)
            moved = [torch.stack(place).to(device) for place in zip(*rows, strict=True)]
            # Without a place there is nothing to move, and a step all the same.
            yield from zip(*moved, strict=True) if moved else rows


def batches_with_draws(
    order: Tensor,
    batch_size: int,
    draw: Callable[[int], tuple[Tensor, ...]],
    device: torch.device | str,
) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
    """An epoch: `order` (N,) in batches on `device`, each with what `draw` gives for its length."""
    batches = order.to(device).split(batch_size)
    drawn = draws_on_device(lambda step: draw(len(batches[step])), range(len(batches)), device)
    yield from zip(batches, drawn, strict=True)
