"""Fast gradient sign method, plain and after a random step (Samangouei et al. 2018, eq. 1-3)."""

from collections.abc import Iterable

from torch import Tensor, nn

from purification.attacks.contract import attack
from purification.attacks.gradient import input_gradient
from purification.attacks.random_signs import random_signs


@attack(norm="linf", settings={"epsilon": "epsilon"})
def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    first_gradient: Tensor | None = None,
) -> Tensor:
    """x + epsilon * sign(grad_x CE(model(x), labels)), clipped to [0, 1].

    Goodfellow et al. 2015, "Explaining and harnessing adversarial examples"; Defense-GAN
    (Samangouei et al. 2018), sec. 2.1, eq. 1. A pixel whose gradient is exactly zero stays.

    Args:
        epsilon: l-inf radius, in pixel units of [0, 1].
        first_gradient: `input_gradient` of the same arguments, where the caller has it already.
    """
    if epsilon < 0:
        raise ValueError(f"fgsm: epsilon must not be negative, got {epsilon}")
    if first_gradient is None:
        first_gradient = input_gradient(model, images, labels)
    return (images.detach() + epsilon * first_gradient.sign()).clamp(0, 1)


@attack(norm="linf", settings={"epsilon": "epsilon", "alpha": "epsilon"}, above="alpha")
def rand_fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    alpha: float,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    """A random step of alpha, then FGSM of epsilon - alpha from there; both clipped to [0, 1].

    RAND+FGSM of Tramer et al. 2018, "Ensemble adversarial training"; Defense-GAN, sec. 2.1,
    eq. 2-3: x' = x + alpha * sign(N(0, I)). The paper does not mention the clipping of x'; the
    published code (whitebox.py) clips it. The result stays in the epsilon ball around the images.

    Args:
        epsilon: l-inf radius of both steps together, in pixel units of [0, 1].
        alpha: l-inf length of the random step, 0 <= alpha <= epsilon.
    """
    if not 0 <= alpha <= epsilon:
        raise ValueError(f"rand_fgsm: alpha must be in [0, epsilon={epsilon}], got {alpha}")
    start = random_signs(model, images, labels, epsilon=alpha, seed=seed, indices=indices)
    return fgsm(model, start, labels, epsilon=epsilon - alpha)
