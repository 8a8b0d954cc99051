"""Training of a denoising diffusion model (Ho et al. 2020, algorithm 1)."""

from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from purification import randomness
from purification.models.diffusion import LEVELS, SIGNAL, Diffusion
from purification.runtime import progress
from purification.training.draws import draws_on_device
from purification.training.epochs import update
from purification.training.finite import COLLAPSE_SAMPLES, Watch, warn_if_collapsed
from purification.training.states import SavedState

HISTORY_EVERY = 10  # iterations; fixed, so that a continued training leaves the same rows


def train_diffusion(
    model: Diffusion,
    images: Tensor,
    *,
    iterations: int,
    batch_size: int,
    learning_rate: float,
    ema: float,
    seed: int,
    state_path: Path | None = None,
    state_every: int = 1000,
    recipe_digest: str = "",
    device: torch.device | str,
    name: str = "diffusion model",
) -> list[dict[str, float | int]]:
    """Trains `model` in place to predict noise, with Adam; what is left are the averaged weights.

    The loss is the mean square of the noise's error at a level drawn uniformly from 1 to T (Ho et
    al., equation 14). An interrupted training goes on from its last saved state, and leaves the
    same weights, to the last bit on the same kind of device, because all random numbers of
    iteration i come from (seed, i) alone. Batches are drawn from the images with replacement.

    Args:
        images: (N, C, H, W), in [0, 1]; to the network they are in [-1, 1].
        iterations: steps in all, those of former runs included.
        ema: decay of the weights' exponential moving average, 0.9999 in the paper; less at first,
            (1 + i) / (10 + i) in step i, so that the initial weights are forgotten soon.
        state_path, state_every, recipe_digest: of the saved state, as of `SavedState`. States are
            saved at the ends of the history's rows.

    Returns:
        A row for each 10 iterations: iteration (from 1, the last one of the row) and loss, the mean
        over them. A network that predicts no noise has a loss of 1.

    Raises:
        FloatingPointError: a loss or a weight is not finite any more; the message names the
            iteration.
    """
    model.to(device, memory_format=torch.channels_last).requires_grad_().train()
    averaged = deepcopy(model).requires_grad_(False)
    images = images.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate, fused=True)
    networks = {"network": model, "averaged": averaged}
    saved = SavedState(state_path, recipe_digest, networks, {"network": optimizer})
    done, history = saved.resume(iterations, name)
    watch = Watch(name, {"network": model}, [optimizer], done=done)
    signal = torch.tensor(SIGNAL, dtype=torch.float32, device=device)
    numbers = range(done + 1, iterations + 1)
    draw = partial(_draw, len(images), batch_size, images.shape[1:], seed)
    total, due = torch.zeros((), device=device), False
    with progress(
        iterations - done, f"diffusion from iteration {done}" if done else "diffusion"
    ) as bar:
        drawn = draws_on_device(draw, numbers, device)
        for iteration, (chosen, levels, noise) in zip(numbers, drawn, strict=True):
            share = signal[levels].view(-1, 1, 1, 1)
            noisy = share.sqrt() * (2 * images[chosen] - 1) + (1 - share).sqrt() * noise
            loss = functional.mse_loss(model.noise(noisy, levels), noise)
            update(optimizer, loss)
            decay = min(ema, (1 + iteration) / (10 + iteration))
            with torch.no_grad():
                for kept, weight in zip(averaged.parameters(), model.parameters(), strict=True):
                    kept.lerp_(weight, 1 - decay)
            loss = loss.detach()
            watch.step(noise=loss)
            total += loss
            bar.update(loss=loss)
            due |= iteration % state_every == 0
            if iteration % HISTORY_EVERY == 0:
                row = {"iteration": iteration, "loss": total.item() / HISTORY_EVERY}
                history.append(watch.row(row))
                total.zero_()
                if due or iterations - iteration < HISTORY_EVERY:
                    watch.check()
                    saved.save(iteration, history)
                    due = False
    watch.check()
    model.load_state_dict(averaged.state_dict())
    model.to(memory_format=torch.contiguous_format).eval()
    random = randomness.generator(seed, "collapse")
    codes = torch.randn(COLLAPSE_SAMPLES, model.latent, generator=random)
    warn_if_collapsed(name, model, codes, images)
    return history


def _draw(
    count: int, batch_size: int, shape: tuple[int, ...], seed: int, iteration: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of (seed, iteration) alone: numbers of images (n,), levels (n,), noise (n, C, H, W)."""
    random = randomness.generator(seed, "diffusion", str(iteration))
    chosen = torch.randint(count, (batch_size,), generator=random)
    levels = torch.randint(1, LEVELS + 1, (batch_size,), generator=random)
    return chosen, levels, torch.randn(batch_size, *shape, generator=random)
