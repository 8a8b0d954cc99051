"""What an attack sees of a model, watched for numbers that are none.

The sign of NaN is 0 in torch, and NaN is neither zero nor above anything: an attack whose gradient
is NaN after some steps stands still, and its images count as robust.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from purification.guests import refuse_images


class Watch:
    """Whether the logits, and the gradients with respect to the images, of one batch were finite.

    Kept on the device, so that no step of an attack waits for it.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self._wrong = {
            name: torch.zeros(count, dtype=torch.bool, device=device)
            for name in ("logits", "gradients")
        }

    def note(self, name: str, values: Tensor, rows: Tensor | None) -> None:
        """Mark the images whose `values` (n, ...) are not finite.

        `rows`: int64 (n,), where they stand in the batch. None: they are the batch, or if there are
        more or fewer of them, an attack has taken some that are not known, and all are marked.
        """
        wrong = ~values.detach().isfinite().flatten(1).all(dim=1)
        kept = self._wrong[name]
        if rows is not None:
            # Of an image that stands in several rows one is enough.
            kept.index_put_((rows,), wrong, accumulate=True)
        else:
            kept |= wrong if wrong.shape == kept.shape else wrong.any()

    def refuse(self, attack: str, model: str, indices: Sequence[int]) -> None:
        """Raise FloatingPointError if there was a number that is not finite; waits for the device.

        `indices` are the numbers of the batch's images.
        """
        for name, wrong in self._wrong.items():
            if bool(wrong.any()):
                place = f"attack {attack!r}, in one of its steps: {model}: the {name}"
                refuse_images(wrong, f"{place} are not finite", indices)


def part_of_batch(images: Tensor, rows: Tensor | None) -> Tensor:
    """The same tensor, of which a `Watch` now knows that it is these rows of the batch under
    attack, int64 (n,) for images (n, C, H, W), each any number of times; None: unknown. A copy or
    view of it is not known."""
    images._rows = rows  # type: ignore[attr-defined]
    return images


@contextmanager
def watched(
    model: nn.Module, count: int, device: torch.device
) -> Iterator[tuple[nn.Module, Watch]]:
    """A model to be attacked on a batch of `count` images, watched inside the block, and the watch.

    It is the model itself, or a module around one that takes no hooks (TorchScript).
    """
    watch = Watch(count, device)
    shown = nn.Sequential(model) if isinstance(model, torch.jit.ScriptModule) else model

    def before(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        images = arguments[0]
        rows = getattr(images, "_rows", None)
        # Once a tensor: an attack may hand in the same one in every step.
        if images.requires_grad and not getattr(images, "_watched", False):
            images._watched = True
            images.register_hook(lambda slope: watch.note("gradients", slope, rows))

    def after(_: nn.Module, arguments: tuple[Any, ...], logits: Tensor) -> None:
        watch.note("logits", logits, getattr(arguments[0], "_rows", None))

    hooks = (shown.register_forward_pre_hook(before), shown.register_forward_hook(after))
    try:
        yield shown, watch
    finally:
        for hook in hooks:
            hook.remove()
