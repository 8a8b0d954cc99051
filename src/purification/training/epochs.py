"""What trainings share: a step of an optimizer, and the loop over epochs."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from purification.runtime import progress
from purification.training.finite import Watch

Losses = dict[str, Tensor]


def update(
    optimizer: torch.optim.Optimizer, loss: Tensor, weights: Sequence[Tensor] | None = None
) -> None:
    """A step down the scalar `loss`, whose backward pass is for `weights` alone, if given."""
    optimizer.zero_grad()
    loss.backward(inputs=weights)
    optimizer.step()


def train_epochs(
    watch: Watch,
    shown: str,
    epochs: int,
    batches: Callable[[int], Iterable[tuple[Any, ...]]],
    step: Callable[..., tuple[Losses, Losses, Tensor]],
    row: Callable[[Tensor], Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Trains `watch.networks` in train mode, and leaves them in eval mode and contiguous layout.

    Args:
        watch: of this training, with `steps_in_epoch`.
        shown: what the progress bar says.
        epochs: how many.
        batches: epoch (from 1) -> its batches.
        step: takes a batch; returns its losses for the watch, what the bar shows, and what is
            summed up over the epoch, on the device: to read a number would wait for a GPU.
        row: those sums -> figures of the epoch's row.

    Returns:
        A row an epoch: epoch (from 1), the figures of `row`, seconds.
    """
    history = []
    with progress(epochs * watch.steps_in_epoch, shown) as bar:
        for epoch in range(1, epochs + 1):
            began = time.perf_counter()
            for network in watch.networks.values():
                network.train()
            totals: Any = 0.0
            for batch in batches(epoch):
                losses, figures, sums = step(*batch)
                watch.step(**losses)
                totals = totals + sums.detach()
                bar.update(**{name: figure.detach() for name, figure in figures.items()})
            watch.check()
            figures_of_row = row(totals)
            seconds = time.perf_counter() - began
            history.append(watch.row({"epoch": epoch, **figures_of_row, "seconds": seconds}))
    for network in watch.networks.values():
        # Channels-last only paid during training; files and users expect contiguous weights.
        network.to(memory_format=torch.contiguous_format).eval()
    return history
