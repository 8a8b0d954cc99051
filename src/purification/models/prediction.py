"""What a classifier says of images, in batches."""

import torch
from torch import Tensor, nn

from purification.guests import name_of, refuse_not_finite
from purification.parts import Images


def predict(
    model: nn.Module,
    images: Images,
    *,
    batch_size: int = 500,
    device: torch.device | str,
    first: int = 0,
    seeds: Tensor | None = None,
) -> Tensor:
    """Logits (N, classes) of `images`, on the CPU, computed in eval mode and without gradients.

    `model`, a classifier (N, C, H, W) -> logits, is moved to `device`; its mode and those of its
    parts are restored. The images are in [0, 1], on any device, `batch_size` of them a forward
    pass; a randomised model is given `seeds` (N,), int64, beside them (`purifiers.base.Defended`).
    Raises FloatingPointError for NaN or infinity among the logits, naming the model's class, or the
    place of a user's own, and the first such image by its number, which counts from `first`.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.to(device).eval()
    try:
        with torch.no_grad():
            parts = [slice(i, i + batch_size) for i in range(0, len(images), batch_size)]
            drawn = [() if seeds is None else (seeds[i],) for i in parts]
            given = zip(parts, drawn, strict=True)
            found = torch.cat([model(images[i].to(device), *own) for i, own in given]).cpu()
        numbers = range(first, first + len(found))
        refuse_not_finite(found, f"{name_of(model)}: the logits", numbers)
        return found
    finally:
        # Each its own: a frozen part of a model in training mode is in evaluation mode.
        for module, mode in modes:
            module.training = mode
