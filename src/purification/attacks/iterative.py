"""Iterated gradient signs in an l-inf ball: BIM, PGD and MIM."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from purification.attacks.contract import attack
from purification.attacks.gradient import log_odds_against, per_image
from purification.attacks.moved import LastLook
from purification.attacks.noise import per_image_noise

SETTINGS = {"epsilon": "epsilon", "step_size": "epsilon", "iterations": "count"}


@attack(norm="linf", settings=SETTINGS)
def bim(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step_size: float,
    iterations: int,
) -> Tensor:
    """x[t+1] = clip(x[t] + step_size * sign(grad CE(model(x[t]), labels))), x[0] the image.

    Kurakin et al. 2017, "Adversarial examples in the physical world", eq. 2: FGSM repeated, clipped
    after each step to the epsilon ball and to [0, 1]. The signs are those of the label's log-odds,
    as FGSM's (`gradient`). It has no random start: that is PGD's.

    The last iterate is returned, whether it is misclassified or an earlier one was; nothing stops
    early, so that no image depends on its batch. At most `iterations` forward and backward passes:
    in a step that has not moved an image (its gradient is zero, or each pixel stands against a
    bound) the model is not asked about it again (`moved.LastLook` says what that assumes). A pixel
    whose gradient is exactly zero in a step does not move in it.

    Args:
        epsilon: l-inf radius, in pixel units of [0, 1]. Cowboy states no setting of its attacks;
            CleverHans 2.1.0, for orientation, has 0.3.
        step_size: l-inf length of a step, in the same units; CleverHans 0.05, the paper 1 / 255.
        iterations: steps; CleverHans 10, the paper min(255 epsilon + 4, 1.25 * 255 epsilon).
    """
    _check("bim", epsilon, step_size, iterations)
    return _iterate(model, images, labels, images, epsilon, step_size, iterations)


@attack(norm="linf", settings=SETTINGS)
def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step_size: float,
    iterations: int,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    """`bim` from a random point of the epsilon ball around each image.

    Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", sec. 2.1:
    projected gradient descent on the negative loss. The start is uniform in the ball, then clipped
    to [0, 1]; one start, without restarts.

    Args:
        epsilon: l-inf radius, in pixel units of [0, 1]; 0.3 in the paper (MNIST), in AE-GAN and in
            CleverHans 2.1.0.
        step_size: l-inf length of a step, in the same units; 0.01 in the paper and in CleverHans.
            AE-GAN states neither it nor the number of steps.
        iterations: steps; 40 in the paper and in CleverHans.
    """
    _check("pgd", epsilon, step_size, iterations)
    noise = per_image_noise(torch.rand, images, seed, indices)
    start = images.detach() + epsilon * (2 * noise - 1)
    return _iterate(model, images, labels, start, epsilon, step_size, iterations)


@attack(norm="linf", settings={**SETTINGS, "momentum": "not_negative"})
def mim(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step_size: float,
    iterations: int,
    momentum: float,
) -> Tensor:
    """`bim` along the sign of g[t+1] = momentum * g[t] + J / ||J||_1, J the gradient, g[0] = 0.

    Dong et al. 2018, "Boosting adversarial attacks with momentum", algorithm 1, eq. 6 and 7, with
    an image's own l1 norm. Their code and CleverHans' divide by the mean of the absolute values
    instead, a constant factor on g, which its sign does not show. foolbox differs: it adds up the
    gradients' signs. The gradient of the label's log-odds stands for the cross-entropy's here too:
    the two are parallel (`gradient`), and the norm takes their lengths away. An image whose
    gradient is exactly zero in a step goes on along g.

    Args:
        epsilon: l-inf radius, in pixel units of [0, 1]; 16 / 255 in the paper, 0.3 in CleverHans.
        step_size: l-inf length of a step, in the same units; epsilon / iterations in the paper,
            0.06 in CleverHans 2.1.0.
        iterations: steps; 10 in both.
        momentum: the decay mu of g; 1.0 in both. 0 is `bim`.
    """
    _check("mim", epsilon, step_size, iterations)
    if not momentum >= 0:
        raise ValueError(f"mim: momentum must not be negative, got {momentum}")
    return _iterate(model, images, labels, images, epsilon, step_size, iterations, momentum)


def _check(method: str, epsilon: float, step_size: float, iterations: int) -> None:
    if not (0 <= epsilon < math.inf and 0 < step_size < math.inf and iterations >= 1):
        raise ValueError(
            f"{method}: epsilon must not be negative, step_size must be positive, iterations at "
            f"least 1; got {epsilon}, {step_size}, {iterations}"
        )


def _iterate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    start: Tensor,
    epsilon: float,
    step_size: float,
    iterations: int,
    momentum: float = 0.0,
) -> Tensor:
    """`mim` from `start` (N, C, H, W), which is clipped as the iterates are."""
    images = images.detach()
    # Ball and box are both boxes: one clip to their intersection is the projection onto it.
    lowest, highest = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    current = start.detach().clamp(lowest, highest)
    direction = torch.zeros_like(images)
    look = LastLook(model, lambda logits, rows: log_odds_against(logits, labels[rows]))
    for _ in range(iterations):
        look.at(current)
        direction = momentum * direction + _of_unit_l1(look.gradients)
        current = (current + step_size * direction.sign()).clamp(lowest, highest)
    return current


def _of_unit_l1(gradients: Tensor) -> Tensor:
    """Gradients (N, C, H, W), each divided by its l1 norm; one of zero stays zero."""
    norms = per_image(gradients.flatten(1).abs().sum(dim=1), gradients)
    return torch.where(norms > 0, gradients / norms, 0)
