"""What a classifier says of images, in batches."""

import torch
from torch import Tensor, nn


def predict(
    model: nn.Module, images: Tensor, *, batch_size: int = 500, device: torch.device | str
) -> Tensor:
    """Logits of `images`, computed in eval mode and without gradients.

    Args:
        model: classifier, (N, C, H, W) -> logits; moved to `device`, its mode is restored.
        images: (N, C, H, W), in [0, 1], on any device.
        batch_size: images a forward pass.
        device: where to compute.

    Returns:
        Logits (N, classes) on the CPU.
    """
    was_training = model.training
    model.to(device).eval()
    try:
        with torch.no_grad():
            logits = [model(batch.to(device)) for batch in images.split(batch_size)]
            return torch.cat(logits).cpu()
    finally:
        model.train(was_training)
