"""Training of AE, AE-GAN and AE-GAN+r ("Encoder-Assisted Search in the Latent Coding Space", 2020).

Equations 2, 4 and 5 and Algorithm 1 of that paper.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.models.ae_gan import draw_prior
from purification.randomness import generator
from purification.training.adversarial_game import play
from purification.training.draws import batches_with_draws
from purification.training.epochs import Losses, train_epochs, update
from purification.training.finite import (
    COLLAPSE_SAMPLES,
    Watch,
    mean_image_error,
    warn_if_collapsed,
    warn_if_mean_image,
)


def train_ae_gan(
    network: nn.Module,
    discriminator: nn.Module | None,
    images: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    betas: tuple[float, float],
    noise_bound: float,
    reconstruction_weight: float = 1.0,
    saturating: bool = True,
    seed: int,
    device: torch.device | str,
    name: str = "AE-GAN",
) -> list[dict[str, float | int | None]]:
    """Trains `network`, and its discriminator if it has one, in place; leaves both in eval mode.

    Without a discriminator: AE, equation 2. With one: AE-GAN, equation 4, and with a noise bound
    above 0 AE-GAN+r, equation 5:

        min over F, G, max over D of
        E log D(x) + E_z log(1 - D(G(z))) + E ||G(F(x + eta)) - x||^2,

    eta ~ N(0, sigma^2) with a sigma drawn from U(0, noise_bound) for each batch. Algorithm 1, which
    says how, is misprinted in three places, and equation 5 is followed where they differ:

    - it draws eta with the bound for a deviation, and does not use the sigma drawn before;
    - its error compares F(z) with x + e; equation 5 compares G(F(x + e)) with the clean x;
    - its decoder's step has the prior's z in that error, which is the encoder's argument; the codes
      in the error are the encoder's, those in log(1 - D(G(z))) the prior's.

    Algorithm 1's steps of decoder and of encoder are one here: log(1 - D(G(z))) has no gradient in
    the encoder, so the sum of both losses gives each its own. The generator makes images of prior
    and encoder codes in one batch, so that batch norm has the same statistics for both, and those
    that it keeps for later.

    The paper does not name the prior: U(-1, 1)^latent, the range of the encoder's tanh.

    Args:
        network: `models.ae_gan.AEGAN`, or what has its `encoder`, `generator` and `latent`.
        discriminator: images -> logits (N,), `models.ae_gan.Discriminator`; None for AE.
        images: (N, C, H, W), in [0, 1].
        epochs: passes over the images, each in a new random order; 60 in the paper (CelebA 100).
        batch_size: images a step; 100 in the paper (CelebA 64).
        learning_rate: Adam's, of all networks; 2e-4 in the paper.
        betas: Adam's, of all networks; the paper does not state them.
        noise_bound: largest deviation of the noise, in pixel units of [0, 1]; 0 for none. The paper
            does not state it. The noisy image is not clipped.
        reconstruction_weight: factor of the squared error, a sum over pixels; 1 in the paper.
        saturating: whether the generator minimises log(1 - D(G(z))), as printed, or -log D(G(z)),
            whose gradient does not vanish where the discriminator is sure.

    Returns:
        A row an epoch: epoch (from 1), reconstruction (squared error: sum over pixels, mean over
        images), discriminator (its loss), adversarial (the generator's loss in this game, after the
        discriminator's step); the last two None without one; and seconds.

    Raises:
        ValueError: no images, or a negative noise bound.
    """
    if not len(images) or noise_bound < 0:
        raise ValueError(
            "expected at least one image and a noise bound of at least 0, "
            f"got {len(images)} and {noise_bound}"
        )
    networks = [network] if discriminator is None else [network, discriminator]
    for each in networks:
        each.to(device, memory_format=torch.channels_last).requires_grad_()
    images = images.to(device, memory_format=torch.channels_last)
    optimizers = [
        torch.optim.Adam(each.parameters(), learning_rate, betas, fused=True) for each in networks
    ]
    random = {name: generator(seed, name) for name in ("order", "noise", "prior")}
    named = dict(zip(("network", "discriminator"), networks, strict=False))
    watch = Watch(name, named, optimizers, -(-len(images) // batch_size))

    def draw(size: int) -> tuple[Tensor, ...]:
        """eta of equation 5, with one sigma for the batch, and codes of the prior; where used."""
        drawn = []
        if noise_bound:
            sigma = noise_bound * torch.rand((), generator=random["noise"])
            drawn += [sigma * torch.randn(size, *images.shape[1:], generator=random["noise"])]
        if discriminator is not None:
            drawn += [draw_prior(size, network.latent, random["prior"])]
        return tuple(drawn)

    def batches(epoch: int) -> Iterator[tuple[Any, ...]]:
        order = torch.randperm(len(images), generator=random["order"])
        return batches_with_draws(order, batch_size, draw, device)

    def step(chosen: Tensor, drawn: tuple[Tensor, ...]) -> tuple[Losses, Losses, Tensor]:
        clean = images[chosen]
        codes = network.encoder(clean + drawn[0] if noise_bound else clean)
        if discriminator is None:
            outputs, game = network.generator(codes), clean.new_zeros(2)
        else:
            made = network.generator(torch.cat([drawn[-1], codes]))
            fake, outputs = made.split(len(clean))
            game = play(discriminator, optimizers[1], clean, fake, saturating)
        error = reconstruction_loss(outputs, clean)
        # Only the network's weights: the discriminator has had its step.
        update(optimizers[0], reconstruction_weight * error + game[1], list(network.parameters()))
        losses = torch.stack([error, *game]).detach()
        watched = dict(zip(("reconstruction", "discriminator", "adversarial"), losses, strict=True))
        return watched, {"reconstruction": error}, losses * len(chosen)

    def row(totals: Tensor) -> dict[str, float | None]:
        error, *game = (totals / len(images)).tolist()
        played = game if discriminator is not None else (None, None)
        return {"reconstruction": error, "discriminator": played[0], "adversarial": played[1]}

    history = train_epochs(watch, "AE-GAN", epochs, batches, step, row)
    if history:
        warn_if_mean_image(name, history[-1]["reconstruction"], mean_image_error(images))
    if discriminator is not None:
        codes = draw_prior(COLLAPSE_SAMPLES, network.latent, generator(seed, "collapse"))
        warn_if_collapsed(name, network.generator, codes, images)
    return history


def reconstruction_loss(outputs: Tensor, clean: Tensor) -> Tensor:
    """E ||G(F(x + eta)) - x||^2 of equations 2, 4 and 5: the sum over pixels, mean over images.

    Both are (N, C, H, W). Returns a scalar.
    """
    return functional.mse_loss(outputs, clean, reduction="sum") / len(clean)
