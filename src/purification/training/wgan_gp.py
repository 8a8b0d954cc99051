"""WGAN training with gradient penalty (Gulrajani et al. 2017, algorithm 1)."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from purification import randomness
from purification.runtime import progress
from purification.training.draws import draws_on_device
from purification.training.finite import COLLAPSE_SAMPLES, Watch, warn_if_collapsed
from purification.training.precision import Precision
from purification.training.states import SavedState
from purification.training.training_network import training_network
from purification.training.written_out import WrittenOut

HISTORY_EVERY = 10  # iterations; fixed, so that a continued training leaves the same rows


def train_wgan_gp(
    generator: nn.Module,
    critic: nn.Module,
    images: Tensor,
    *,
    iterations: int,
    batch_size: int,
    critic_steps: int,
    gradient_penalty: float,
    learning_rate: float,
    betas: tuple[float, float],
    seed: int,
    state_path: Path | None,
    state_every: int,
    recipe_digest: str,
    device: torch.device | str,
    precision: Precision = "float32",
    fast_convolutions: bool = False,
    name: str = "WGAN-GP",
) -> list[dict[str, float | int]]:
    """Trains both networks in place; an interrupted training goes on from its last saved state.

    All random numbers of iteration i come from (seed, i) alone. So a resumed training draws what
    an uninterrupted one draws, and its weights are the same to the last bit (on the same kind of
    device). Batches are drawn from the images with replacement.

    The published code of Defense-GAN takes the penalty's norm over one axis of the batch of
    gradients, hence of every (column, channel) apart. That is not the Lipschitz constraint of
    Gulrajani et al. 2017, eq. 3; here the norm is over the whole image.

    Args:
        generator: z (N, generator.latent) -> images; z is standard normal.
        critic: images -> scores (N,), unbounded; no batch normalisation, because real and
            generated images share a batch.
        images: (N, C, H, W), in [0, 1], the generator's range.
        iterations: generator steps in all, those of former runs included; 200,000 in the
            published code.
        batch_size: real and generated images a step; 50 there.
        critic_steps: critic steps a generator step; 5 there.
        gradient_penalty: weight lambda of the penalty; 10 there.
        learning_rate: Adam's, of both networks; 1e-4 there.
        betas: Adam's, of both networks; (0.5, 0.9) there.
        state_path: file of the `SavedState`, written every `state_every` iterations and at the
            end, and read at the start if its digest is `recipe_digest`, it is not beyond
            `iterations` and its numbers are finite; otherwise it is overwritten. So a larger
            `iterations` continues a finished training. None: nothing is kept.
        state_every: iterations between states.
        recipe_digest: identifies everything that the weights depend on, but `iterations`.
        precision: of the convolutions in training, see `training_network`; what is trained are
            float32 networks like any other.
        fast_convolutions: gradients by `WrittenOut` instead of autograd: the same up to rounding,
            in less time. Whoever changes this or the precision changes the weights' bits, hence
            both belong to what `recipe_digest` identifies.

    Returns:
        About 200 rows, evenly spaced: iteration (from 1), wasserstein (estimate of the distance:
        mean score of the real minus that of the generated images), penalty (not yet times
        lambda), critic_loss (-wasserstein + lambda * penalty; these three at the iteration's last
        critic step), generator_loss (minus the mean score of generated images).

    Raises:
        FloatingPointError: a loss or a weight is not finite any more; the message names the
            iteration. The last state is one from before.
    """
    generator.to(device, memory_format=torch.channels_last).train()
    critic.to(device, memory_format=torch.channels_last).train()
    images = images.to(device, memory_format=torch.channels_last)
    differentiate = WrittenOut if fast_convolutions else _ByAutograd
    gradients = differentiate(generator, critic, precision)
    networks = {"generator": generator, "critic": critic}
    optimizers = {
        name: torch.optim.Adam(network.parameters(), learning_rate, betas, fused=True)
        for name, network in networks.items()
    }
    saved = SavedState(state_path, recipe_digest, networks, optimizers)
    done, history = saved.resume(iterations, name)
    watch = Watch(name, networks, list(optimizers.values()), done=done)
    steps, numbers = (critic_steps, batch_size), range(done + 1, iterations + 1)
    draw = partial(_draw, len(images), steps, generator.latent, seed)
    drawn = draws_on_device(draw, numbers, device)
    shown = f"WGAN-GP from iteration {done}" if done else "WGAN-GP"
    with progress(iterations - done, shown) as bar:
        for iteration, (chosen, mixes, noise) in zip(numbers, drawn, strict=True):
            # The generator rests during the critic's steps: one pass makes the images of them all.
            fakes = gradients.images(noise[:-1].flatten(0, 1)).unflatten(0, steps)
            critic_losses = []
            for batch, fake, mix in zip(chosen, fakes, mixes, strict=True):
                optimizers["critic"].zero_grad()
                wasserstein, penalty = gradients.critic_step(
                    images[batch], fake, mix, gradient_penalty
                )
                optimizers["critic"].step()
                critic_losses.append(gradient_penalty * penalty - wasserstein)

            optimizers["generator"].zero_grad()
            generator_loss = gradients.generator_step(noise[-1])
            optimizers["generator"].step()

            watch.step(critic=torch.stack(critic_losses), generator=generator_loss)
            losses = torch.stack([wasserstein, penalty, generator_loss])
            bar.update(wasserstein=losses[0], penalty=losses[1], generator_loss=losses[2])
            if iteration % HISTORY_EVERY == 0:
                distance, slope, loss = losses.tolist()
                row = {"iteration": iteration, "wasserstein": distance, "penalty": slope}
                row["critic_loss"] = gradient_penalty * slope - distance
                history.append(watch.row(row | {"generator_loss": loss}))
            if state_path is not None and (iteration % state_every == 0 or iteration == iterations):
                watch.check()
                saved.save(iteration, history)
    watch.check()
    for network in networks.values():
        network.to(memory_format=torch.contiguous_format).eval()
    random = randomness.generator(seed, "collapse")
    codes = torch.randn(COLLAPSE_SAMPLES, generator.latent, generator=random)
    warn_if_collapsed(name, generator, codes, images)
    return history


class _ByAutograd:
    """The plain counterpart of `WrittenOut`, whose docstrings say what these do."""

    def __init__(self, generator: nn.Module, critic: nn.Module, precision: Precision) -> None:
        self._weights = list(generator.parameters())
        self._generate = training_network(generator, precision=precision)
        self._judge = training_network(critic, precision=precision)

    @torch.no_grad()
    def images(self, noise: Tensor) -> Tensor:
        return self._generate(noise)

    def critic_step(
        self, real: Tensor, fake: Tensor, mix: Tensor, gradient_penalty: float
    ) -> tuple[Tensor, Tensor]:
        real_scores, fake_scores = self._judge(torch.cat([real, fake])).chunk(2)
        wasserstein = real_scores.mean() - fake_scores.mean()
        penalty = slope_penalty(self._judge, real, fake, mix)
        (gradient_penalty * penalty - wasserstein).backward()
        return wasserstein.detach(), penalty.detach()

    def generator_step(self, noise: Tensor) -> Tensor:
        loss = -self._judge(self._generate(noise)).mean()
        # Only the generator's weights: those of the critic stay out of the backward pass.
        loss.backward(inputs=self._weights)
        return loss.detach()


def _draw(
    count: int, steps: tuple[int, int], latent: int, seed: int, iteration: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of (seed, iteration) alone, for K critic steps of batches of n, `steps` (K, n): numbers of
    real images (K, n), the penalty's mixtures (K, n, 1, 1, 1), codes (K + 1, n, latent)."""
    random = randomness.generator(seed, "wgan_gp", str(iteration))
    chosen = torch.randint(count, steps, generator=random)
    mixes = torch.rand(*steps, 1, 1, 1, generator=random)
    return chosen, mixes, torch.randn(steps[0] + 1, steps[1], latent, generator=random)


def slope_penalty(critic: nn.Module, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Mean over images of (||gradient of the critic at the mixed image||_2 - 1)^2.

    Gulrajani et al. 2017, eq. 3 and algorithm 1, lines 6-7, without lambda.

    Args:
        critic: images -> scores (N,), each from its own image alone.
        real, fake: (N, C, H, W).
        mix: (N, 1, 1, 1) in [0, 1]; 1 gives the real image, 0 the generated one.

    Returns:
        Scalar, differentiable with respect to the critic's weights.
    """
    mixed = torch.lerp(fake, real, mix).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    slopes = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (slopes - 1).square().mean()
