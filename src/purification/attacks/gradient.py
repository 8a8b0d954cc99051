"""The gradient that all one-step attacks climb, and that tells a robust model from a masked one."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def logits_and_input_gradient(
    model: nn.Module, images: Tensor, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Logits of a batch and the gradient of its cross-entropy, from one forward pass.

    Args:
        model: classifier, (N, C, H, W) -> logits (N, classes); its mode is left alone, and no
            gradient is added to its parameters.
        images: (N, C, H, W), in [0, 1].
        labels: int64 (N,); None takes the model's own predictions.

    Returns:
        Logits (N, classes) and gradient (N, C, H, W), both detached. The gradient is zero where
        the logits do not depend differentiably on the images.
    """
    # The caller may be under no_grad; the attack needs the graph all the same.
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        logits = model(images)
        if labels is None:
            labels = logits.detach().argmax(dim=1)
        # The sum, not the mean: an image's gradient must not depend on the batch size.
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        gradient = None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, images, allow_unused=True)
    return logits.detach(), torch.zeros_like(images) if gradient is None else gradient.detach()


def input_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the cross-entropy, summed over the batch, with respect to the images.

    Args:
        model: classifier, (N, C, H, W) -> logits (N, classes); its mode is left alone, and no
            gradient is added to its parameters.
        images: (N, C, H, W), in [0, 1].
        labels: int64 (N,).

    Returns:
        (N, C, H, W), detached; row i depends on image i alone (for a model in eval mode).
        Zero where the logits do not depend differentiably on the images.
    """
    return logits_and_input_gradient(model, images, labels)[1]
