"""Training of a BiGAN (Donahue et al. 2017) as ALI does it (Dumoulin et al. 2017, Algorithm 1)."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.randomness import derive_seed, generator, isolated_rng
from purification.training.draws import batches_with_draws
from purification.training.epochs import Losses, train_epochs
from purification.training.finite import COLLAPSE_SAMPLES, Watch, warn_if_collapsed


def train_bigan(
    network: nn.Module,
    discriminator: nn.Module,
    images: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    discriminator_learning_rate: float,
    betas: tuple[float, float],
    seed: int,
    device: torch.device | str,
    name: str = "BiGAN",
) -> list[dict[str, float | int]]:
    """Trains both networks in place, and leaves them in eval mode.

    The discriminator tells (x, E(x)) from (G(z), z); encoder and generator make it tell the one for
    the other (`joint_losses`). E(x) is a sample, mean + deviation * noise, as in ALI, whose last
    layer gives both; z is standard normal. The gradients of both losses are taken before either
    step, as in ALI's Algorithm 1. AE-GAN+rs says nothing about this training but that its samples
    are fair. As in ALI's published code the generator begins at the images' mean brightness
    (`network.start_at`).

    Args:
        network: `models.bigan.BiGAN`, or what has its `encoder.distribution`, `generator`,
            `latent` and `start_at`.
        discriminator: (images, codes) -> logits (N,), without batch norm, because real and
            generated pairs share a batch.
        images: (N, C, H, W), in [0, 1].
        epochs: passes over the images, each in a new random order; 6,475 in ALI's Table 3.
        batch_size: images a step, and as many generated ones; 100 in ALI.
        learning_rate: Adam's, of encoder and generator; 1e-4 in ALI.
        discriminator_learning_rate: Adam's, of the discriminator; the same in ALI.
        betas: Adam's, of both networks; (0.5, 0.999) in ALI.

    Returns:
        A row an epoch: epoch (from 1), discriminator and generator (means of the losses), seconds.

    Raises:
        ValueError: no images.
    """
    if not len(images):
        raise ValueError("expected at least one image, got none")
    networks = [discriminator, network]
    for each in networks:
        each.to(device, memory_format=torch.channels_last).requires_grad_()
    images = images.to(device, memory_format=torch.channels_last)
    network.start_at(images)
    weights = [list(each.parameters()) for each in networks]
    rates = (discriminator_learning_rate, learning_rate)
    optimizers = [
        torch.optim.Adam(own, rate, betas, fused=True)
        for own, rate in zip(weights, rates, strict=True)
    ]
    order, noises = generator(seed, "order"), generator(seed, "noise")
    named = {"discriminator": discriminator, "network": network}
    watch = Watch(name, named, optimizers, -(-len(images) // batch_size))

    def draw(size: int) -> tuple[Tensor]:
        return (torch.randn(2, size, network.latent, generator=noises),)

    def batches(_: int) -> Iterator[tuple[Any, ...]]:
        shuffled = torch.randperm(len(images), generator=order)
        return batches_with_draws(shuffled, batch_size, draw, device)

    def step(chosen: Tensor, drawn: tuple[Tensor]) -> tuple[Losses, Losses, Tensor]:
        losses = joint_losses(*_logits(network, discriminator, images[chosen], *drawn[0]))
        for optimizer, loss, own in zip(optimizers, losses, weights, strict=True):
            optimizer.zero_grad()
            loss.backward(inputs=own, retain_graph=True)
        for optimizer in optimizers:
            optimizer.step()
        watched = {"discriminator": losses[0], "generator": losses[1]}
        return watched, watched, torch.stack(losses).detach() * len(chosen)

    def row(totals: Tensor) -> dict[str, float]:
        means = (totals / len(images)).tolist()
        return {"discriminator": means[0], "generator": means[1]}

    with isolated_rng(derive_seed(seed, "dropout")):
        history = train_epochs(watch, "BiGAN", epochs, batches, step, row)
    codes = torch.randn(COLLAPSE_SAMPLES, network.latent, generator=generator(seed, "collapse"))
    warn_if_collapsed(name, network.generator, codes, images)
    return history


def joint_losses(encoded: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
    """Losses of the discriminator, and of encoder and generator together; both scalars.

        discriminator: -E log D(x, E(x)) - E log(1 - D(G(z), z)),
        the others:    -E log(1 - D(x, E(x))) - E log D(G(z), z).

    ALI, Algorithm 1; the second is the non-saturating form of the game of BiGAN's equation 3.

    Args:
        encoded: D's logits (N,) of (x, E(x)).
        generated: D's logits (N,) of (G(z), z).
    """
    softplus = functional.softplus
    return (
        softplus(-encoded).mean() + softplus(generated).mean(),
        softplus(encoded).mean() + softplus(-generated).mean(),
    )


def _logits(
    network: nn.Module, discriminator: nn.Module, real: Tensor, noise: Tensor, prior: Tensor
) -> tuple[Tensor, Tensor]:
    """Of (x, E(x)) with the encoder's `noise`, and of (G(z), z) with z the `prior`'s."""
    mean, log_variance = network.encoder.distribution(real)
    codes = mean + (0.5 * log_variance).exp() * noise
    images, codes = torch.cat([real, network.generator(prior)]), torch.cat([codes, prior])
    encoded, generated = discriminator(images, codes).chunk(2)
    return encoded, generated
