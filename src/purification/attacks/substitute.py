"""New images for the black-box attacker's substitute (Papernot et al. 2017)."""

import torch
from torch import Tensor, nn

from purification.attacks.losses import log_odds_against
from purification.guests import name_of, refuse_not_finite


def jacobian_augmentation(
    model: nn.Module, images: Tensor, labels: Tensor, *, step: float
) -> Tensor:
    """clip(x + step * sign(grad_x p_y(x)), 0, 1): one new image for each old one.

    p_y is the probability that the substitute gives to the oracle's label y of x. Papernot et al.
    2017, "Practical black-box attacks against machine learning", section 4: the new points are
    those where the substitute's answer for that label changes fastest, so that the oracle's labels
    there teach it most about the oracle's boundary.

    The paper's formula and the code that Defense-GAN used (CleverHans) do not clip: images leave
    [0, 1] by up to 0.1 a round, where neither oracle nor purifier ever saw one. Here they are
    clipped, so that a query is an image. Both step along +sign in every round, as here; CleverHans'
    own tutorial starts with three rounds of the opposite sign, which a negative step gives.

    Args:
        model: substitute, (N, C, H, W) -> logits (N, classes); differentiated in the mode that it
            is in, and no gradient is added to its parameters.
        images: (N, C, H, W), in [0, 1].
        labels: int64 (N,), the oracle's.
        step: the paper's lambda, in pixel units of [0, 1].

    Returns:
        New images, (N, C, H, W) in [0, 1], in the order of the old ones, detached. A pixel whose
        gradient is exactly zero stays.

    Raises:
        RuntimeError: the logits do not depend differentiably on the images.
        FloatingPointError: the gradient is not finite, whose sign would be none.
    """
    # The caller may be under no_grad; the gradient needs the graph all the same.
    with torch.enable_grad():
        inputs = images.detach().requires_grad_()
        logits = model(inputs)
        # The log-odds fall as p rises, so that their gradient has the opposite signs. That of p
        # itself loses them to rounding where p is 1 in float32: for E on the digits, in the fifth
        # round, in half of the images, which makes 4 % of all signs wrong.
        against = log_odds_against(logits, labels).sum()
        (gradient,) = torch.autograd.grad(-against, inputs)
    refuse_not_finite(gradient, f"{name_of(model)}: the gradients of the log-odds")
    return (images.detach() + step * gradient.sign()).clamp(0, 1)
