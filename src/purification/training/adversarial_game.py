"""The game of a GAN (Goodfellow et al. 2014), from the discriminator's logits:

    min over G, max over D of  E log D(x) + E log(1 - D(G(z))).

Cowboy's equation 1, AE-GAN+rs's equation 3.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.training.epochs import update


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-(E log D(x) + E log(1 - D(G(z)))), from D's logits (N,) of both; a scalar."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def generator_loss(fake: Tensor, saturating: bool) -> Tensor:
    """E log(1 - D(G(z))), as the game has it, or -E log D(G(z)), from D's logits (N,); a scalar."""
    if saturating:
        return -functional.softplus(fake).mean()
    return functional.softplus(-fake).mean()


def play(
    discriminator: nn.Module,
    optimizer: torch.optim.Optimizer,
    real: Tensor,
    fake: Tensor,
    saturating: bool,
) -> Tensor:
    """A step of the discriminator; its loss, and then the generator's, differentiable: (2,).

    The `optimizer` is the discriminator's, which maps images (N, C, H, W) to logits (N,). The
    generator plays with the same `fake` images after the step. The second entry's backward pass
    must be asked for the generator's weights alone.
    """
    loss = discriminator_loss(discriminator(real), discriminator(fake.detach()))
    update(optimizer, loss)
    return torch.stack([loss.detach(), generator_loss(discriminator(fake), saturating)])
