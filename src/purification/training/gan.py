"""Training of a GAN as Cowboy does it (Santhanam and Grnarova 2018, eq. 1 and section 4)."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from purification import randomness
from purification.runtime import progress
from purification.training.adversarial_game import play
from purification.training.draws import draws_on_device
from purification.training.epochs import update
from purification.training.finite import COLLAPSE_SAMPLES, Watch, warn_if_collapsed

HISTORY_ROWS = 200


def train_gan(
    network: nn.Module,
    images: Tensor,
    *,
    iterations: int,
    batch_size: int,
    learning_rate: float,
    betas: tuple[float, float],
    saturating: bool,
    snapshots: Sequence[int],
    seed: int,
    device: torch.device | str,
    name: str = "GAN",
) -> tuple[list[dict[str, float | int]], dict[int, dict[str, Tensor]]]:
    """Trains generator and discriminator in place; leaves both in eval mode.

    An iteration is a step of the discriminator and then one of the generator, on the same generated
    images. Batches are drawn with replacement, codes from a standard normal distribution, both from
    (seed, iteration) alone; so the snapshot of step s is what a training of s iterations leaves.
    There is no regularisation, and none in the paper.

    Args:
        network: `models.gan.GAN`, or what has its `generator`, `discriminator` (images -> logits)
            and `latent`.
        images: (N, C, H, W), in [0, 1].
        iterations: steps of each network; 2,000 in the paper (MNIST, F-MNIST) and 40,000
            (CIFAR-10, SVHN).
        batch_size: real images a step, and as many generated ones; the paper does not state it.
        learning_rate: Adam's, of both networks. The paper states no optimizer; Adam is DCGAN's
            (Radford et al. 2016), with 2e-4.
        betas: Adam's, of both networks; (0.5, 0.999) in DCGAN.
        saturating: whether the generator minimises log(1 - D(G(z))), as equation 1 has it, or
            -log D(G(z)), whose gradient does not vanish where the discriminator is sure.
        snapshots: steps, from 1 to `iterations`, after which all weights are copied.

    Returns:
        About 200 rows, evenly spaced: iteration (from 1, the last one of the row), discriminator
        and generator (their losses, means over the row's iterations, the generator's after the
        discriminator's step). And step -> weights, on the CPU.

    Raises:
        ValueError: no images, or a snapshot that the training does not reach.
    """
    beyond = sorted(step for step in snapshots if not 1 <= step <= iterations)
    if not len(images) or beyond:
        raise ValueError(
            f"expected at least one image and snapshots from 1 to {iterations}, "
            f"got {len(images)} and {beyond}"
        )
    generator, discriminator = network.generator, network.discriminator
    network.to(device, memory_format=torch.channels_last).requires_grad_().train()
    images = images.to(device, memory_format=torch.channels_last)
    optimizers = [
        torch.optim.Adam(each.parameters(), learning_rate, betas, fused=True)
        for each in (discriminator, generator)
    ]
    every = max(1, iterations // HISTORY_ROWS)
    history, kept, totals = [], {}, torch.zeros(2, device=device)
    numbers = range(1, iterations + 1)
    draw = partial(_draw, len(images), batch_size, network.latent, seed)
    drawn = draws_on_device(draw, numbers, device)
    watch, contiguous = Watch(name, {"network": network}, optimizers), torch.contiguous_format
    with progress(iterations, "GAN") as bar:
        for iteration, (chosen, codes) in zip(numbers, drawn, strict=True):
            real = images[chosen]
            losses = play(discriminator, optimizers[0], real, generator(codes), saturating)
            # Only the generator's weights: the discriminator has had its step.
            update(optimizers[1], losses[1], list(generator.parameters()))
            losses = losses.detach()
            watch.step(discriminator=losses[0], generator=losses[1])
            totals += losses
            bar.update(discriminator=losses[0], generator=losses[1])
            if iteration % every == 0:
                means = (totals / every).tolist()
                row = {"iteration": iteration, "discriminator": means[0], "generator": means[1]}
                history.append(watch.row(row))
                totals.zero_()
            if iteration in snapshots:
                watch.check()
                kept[iteration] = {
                    key: weights.detach().to("cpu", copy=True, memory_format=contiguous)
                    for key, weights in network.state_dict().items()
                }
    watch.check()
    network.to(memory_format=contiguous).eval()
    random = randomness.generator(seed, "collapse")
    codes = torch.randn(COLLAPSE_SAMPLES, network.latent, generator=random)
    warn_if_collapsed(name, generator, codes, images)
    return history, kept


def _draw(
    count: int, batch_size: int, latent: int, seed: int, iteration: int
) -> tuple[Tensor, Tensor]:
    """Of (seed, iteration) alone: numbers of real images (n,), codes (n, latent)."""
    random = randomness.generator(seed, "gan", str(iteration))
    chosen = torch.randint(count, (batch_size,), generator=random)
    return chosen, torch.randn(batch_size, latent, generator=random)
