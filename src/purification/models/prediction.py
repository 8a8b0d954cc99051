"""What a classifier says of images, in batches."""

import torch
from torch import Tensor, nn

from purification.guests import name_of, refuse_not_finite


def predict(
    model: nn.Module, images: Tensor, *, batch_size: int = 500, device: torch.device | str
) -> Tensor:
    """Logits (N, classes) of `images`, on the CPU, computed in eval mode and without gradients.

    `model`, a classifier (N, C, H, W) -> logits, is moved to `device`; its mode is restored. The
    images are in [0, 1], on any device, `batch_size` of them a forward pass. Raises
    FloatingPointError for NaN or infinity among the logits, naming the model's class, or the place
    of a user's own, and the first such image by its number.
    """
    was_training = model.training
    model.to(device).eval()
    try:
        with torch.no_grad():
            logits = [model(batch.to(device)) for batch in images.split(batch_size)]
            found = torch.cat(logits).cpu()
        refuse_not_finite(found, f"{name_of(model)}: the logits")
        return found
    finally:
        model.train(was_training)
