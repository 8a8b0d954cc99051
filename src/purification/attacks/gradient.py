"""The gradient that attacks climb by its signs, and that tells a robust model from a masked one."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from purification.attacks.losses import log_odds_against
from purification.attacks.watch import part_of_batch


def per_image(values: Tensor, images: Tensor) -> Tensor:
    """Values (N,) shaped to broadcast over images (N, C, H, W)."""
    return values.view(-1, *[1] * (images.dim() - 1))


def logits_and_input_gradient(
    model: nn.Module, images: Tensor, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Logits of a batch and the gradient of its log-odds, from one forward pass.

    The model's mode is left alone, and no gradient is added to its parameters. Images are
    (N, C, H, W) in [0, 1], labels int64 (N,), or None for the model's own predictions. Logits
    (N, classes) and gradient (N, C, H, W), that of `log_odds_against` the labels, which has the
    sign of the cross-entropy's, are detached; it is zero where the logits do not depend
    differentiably on the images.
    """

    def log_odds(logits: Tensor) -> Tensor:
        own = logits.detach().argmax(dim=1) if labels is None else labels
        return log_odds_against(logits, own)

    return loss_gradient(model, images, log_odds)


def loss_gradient(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    loss: Callable[[Tensor], Tensor],
    rows: Tensor | None = None,
    *,
    may_be_flat: bool = False,
) -> tuple[Tensor, Tensor]:
    """`logits_and_input_gradient` for another loss of the logits: (N, classes) -> (N,), or what
    else the model returns of N images.

    `rows`: int64 (N,), where the images stand in the batch under attack, if they are a part of it.
    `may_be_flat`: wait for the device to see whether the loss has no slope in any logit of any
    image; then its gradient is zero without a backward pass through the model.
    """
    # The caller may be under no_grad; the attack needs the graph all the same.
    with torch.enable_grad():
        images = part_of_batch(images.detach().requires_grad_(), rows)
        logits = model(images)
        gradient = None
        if logits.requires_grad:
            variable = logits.detach().requires_grad_()
            # The sum, not the mean: an image's gradient must not depend on the batch size.
            (slope,) = torch.autograd.grad(loss(variable).sum(), variable)
            if not may_be_flat or bool(slope.any()):
                (gradient,) = torch.autograd.grad(logits, images, slope, allow_unused=True)
    return logits.detach(), torch.zeros_like(images) if gradient is None else gradient.detach()


def input_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of `logits_and_input_gradient` alone, (N, C, H, W), for int64 labels (N,).

    Row i depends on image i alone (for a model in eval mode).
    """
    return logits_and_input_gradient(model, images, labels)[1]


def logits_of(model: Callable[[Tensor], Tensor], images: Tensor, rows: Tensor) -> Tensor:
    """Logits (n, K), or what else the model returns, of images (n, C, H, W), those rows of the
    batch under attack, int64 (n,), by a forward pass without a graph."""
    with torch.no_grad():
        logits: Tensor = model(part_of_batch(images.detach(), rows))
    return logits


def logit_differences(
    model: nn.Module, images: Tensor, labels: Tensor, others: Tensor
) -> tuple[Tensor, Tensor]:
    """Differences (N, K) of other classes' logits to the label's, and gradients (K, N, C, H, W)
    in the images, a leaf that requires them."""
    # The caller may be under no_grad; the gradients need the graph all the same.
    with torch.enable_grad():
        logits = model(images)
        differences = logits.gather(1, others) - logits.gather(1, labels[:, None])
        gradients = [
            torch.autograd.grad(difference.sum(), images, retain_graph=True)[0]
            for difference in differences.unbind(1)
        ]
    return differences.detach(), torch.stack(gradients)
