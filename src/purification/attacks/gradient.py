"""The gradient that attacks climb by its signs, and that tells a robust model from a masked one."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.attacks.watch import part_of_batch


def per_image(values: Tensor, images: Tensor) -> Tensor:
    """Values (N,) shaped to broadcast over images (N, C, H, W)."""
    return values.view(-1, *[1] * (images.dim() - 1))


def log_odds_against(logits: Tensor, labels: Tensor) -> Tensor:
    """log((1 - p) / p) of each label's probability p: logits (N, K), int64 labels (N,) -> (N,).

    Cross-entropy is log(1 + exp(log-odds)), so their gradients are parallel: that of cross-entropy
    is (1 - p) times this one. In float32 a confident classifier's p rounds to 1, and then
    cross-entropy has no gradient, or one whose signs are noise, where this still has the true one.
    """
    is_label = functional.one_hot(labels, logits.shape[1]).bool()
    others = logits.masked_fill(is_label, -math.inf)
    return others.logsumexp(dim=1) - logits.gather(1, labels[:, None]).squeeze(1)


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
    model: nn.Module,
    images: Tensor,
    loss: Callable[[Tensor], Tensor],
    rows: Tensor | None = None,
    *,
    may_be_flat: bool = False,
) -> tuple[Tensor, Tensor]:
    """`logits_and_input_gradient` for another loss of the logits: (N, classes) -> (N,).

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
