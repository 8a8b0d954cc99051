"""Random draws of a training, made on the CPU, where they are the same for every device."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

AT_ONCE = 50  # steps; a copy to the GPU in every step would wait for all that it still has to do


def draws_on_device(
    draw: Callable[[int], tuple[Tensor, ...]], steps: range, device: torch.device | str
) -> Iterator[tuple[Tensor, ...]]:
    """What `draw` gives for each of `steps`, in their order, on `device`. The tensors of a place
    must have one shape and type in all steps; they are moved for many steps at once."""
    for first in range(0, len(steps), AT_ONCE):
        drawn = [draw(step) for step in steps[first : first + AT_ONCE]]
        together = (torch.stack(tensors).to(device) for tensors in zip(*drawn, strict=True))
        yield from zip(*together, strict=True)
