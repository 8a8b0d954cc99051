"""Noise as large as an attack's, which attacks nothing: what a detector says of it is a control."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from purification.attacks.contract import attack
from purification.attacks.noise import per_image_noise


@attack(norm="linf", settings={"epsilon": "epsilon"}, model_free=True)
def random_signs(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    """The images with +epsilon or -epsilon added to each pixel at random, clipped to [0, 1].

    FGSM's perturbation without its direction; also the random step of RAND+FGSM. A detector of
    adversarial images should not flag these, and one that does detects noise.

    Args:
        epsilon: change of each pixel, in pixel units of [0, 1].
    """
    noise = per_image_noise(torch.randn, images, seed, indices)
    return (images.detach() + epsilon * noise.sign()).clamp(0, 1)
