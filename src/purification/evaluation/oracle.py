"""A classifier as a black box: images in, labels out."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from purification.runtime import progress


def label_oracle(
    model: nn.Module, batch_size: int, device: torch.device | str
) -> Callable[[Tensor], Tensor]:
    """All that a black-box attacker has of a classifier: its labels.

    The published code of Defense-GAN always asks the defended classifier, even for its rows
    without a defence.

    Args:
        model: the bare classifier, or a `Defended` one; (N, C, H, W) -> logits (N, classes). Moved
            to `device` and put into eval mode at each call.
        batch_size: images a forward pass; no label depends on it.
        device: where to compute.

    Returns:
        A function: images (N, C, H, W) in [0, 1] on any device, N at least 1 -> labels int64 (N,)
        on the CPU.
    """

    def labels(images: Tensor) -> Tensor:
        model.to(device).eval()
        found = []
        # no_grad, not inference_mode: a purifier that optimises inside must be able to undo it.
        with torch.no_grad(), progress(len(images), "asking the oracle", "image") as bar:
            for batch in images.split(batch_size):
                found.append(model(batch.to(device)).argmax(dim=1).cpu())
                bar.update(len(batch))
        return torch.cat(found)

    return labels
