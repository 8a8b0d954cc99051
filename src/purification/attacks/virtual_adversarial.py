"""The virtual adversarial method: along the direction in which the prediction changes most."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.attacks.balls import of_unit_l2
from purification.attacks.contract import attack
from purification.attacks.gradient import loss_gradient
from purification.attacks.noise import per_image_noise

SETTINGS = {"epsilon": "length", "xi": "length", "iterations": "count"}


@attack(norm="l2", settings=SETTINGS, labels=False)
def vam(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    xi: float,
    iterations: int,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    """clip(x + epsilon d), d the unit direction in which the prediction at x changes fastest.

    Miyato et al. 2016, "Distributional smoothing with virtual adversarial training", sec. 3.2: d is
    the largest eigenvector of the Hessian of KL(p(x) || p(x + r)) at r = 0, found by power
    iteration from a random unit vector, d <- the gradient of the KL at r = xi d, of unit length.

    xi must be small beside the curvature of the KL and large beside rounding. The 1e-6 of the paper
    and of CleverHans moves a pixel of float32 by less than its last digit: on a CNN of the enlarged
    digits the median cosine between the direction in float32 and that in float64 is -0.1 with 1e-6,
    and above 0.999 with 0.01, where that in float64 has its limit for xi -> 0 to the same digits.
    So 0.01 is the paper's method. Larger values, 1 and more, are a stronger attack of another kind:
    a Hessian does not tell d from -d, so that half of the images go the harmless way, and the third
    order that a large xi sees prefers the other one.

    The KL's gradient is computed so that a confident classifier has one (`_kl_slope`). Where it is
    zero (a masked gradient, or xi lost to rounding), an image is returned as it is.

    Args:
        epsilon: l2 length of the perturbation before the clip to [0, 1], in pixel units of [0, 1].
            Cowboy states none; CleverHans 2.1.0, for orientation, has 2.0.
        xi: l2 length at which the gradient is taken, in the same units; 0.01 (above).
        iterations: of the power method, a forward and a backward pass each; 1 in the paper and in
            CleverHans.
    """
    if not (0 <= epsilon < math.inf and 0 < xi < math.inf and iterations >= 1):
        raise ValueError(
            "vam: epsilon must not be negative, xi must be positive, iterations at least 1; got "
            f"{epsilon}, {xi}, {iterations}"
        )
    images = images.detach()
    with torch.no_grad():
        clean = model(images)

    def divergence(moved: Tensor) -> Tensor:
        """Not the KL, but with a multiple of its gradient."""
        return (_kl_slope(moved.detach(), clean) * moved).sum(dim=1)

    direction = of_unit_l2(per_image_noise(torch.randn, images, seed, indices))
    for _ in range(iterations):
        _, gradient = loss_gradient(model, images + xi * direction, divergence)
        direction = of_unit_l2(gradient)
    return (images + epsilon * direction).clamp(0, 1)


def _kl_slope(moved: Tensor, clean: Tensor) -> Tensor:
    """For each row of logits (N, K) a positive multiple of KL(clean || moved)'s gradient in moved.

    That is softmax(moved) - softmax(clean). Where the prediction is nearly certain, its entry is
    the difference of two numbers that round to 1, and the others may be too small for float32. But
    all sum to zero, so that the others give it; and as the power method takes any length away, they
    can be in units of the largest of them.
    """
    top = functional.one_hot(clean.argmax(dim=1), clean.shape[1]).bool()
    moved, clean = (z.log_softmax(dim=1).masked_fill(top, -math.inf) for z in (moved, clean))
    unit = torch.maximum(moved, clean).amax(dim=1, keepdim=True)
    others = (moved - unit).exp() - (clean - unit).exp()
    return torch.where(top, -others.sum(dim=1, keepdim=True), others)
