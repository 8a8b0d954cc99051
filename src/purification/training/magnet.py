"""Training of MagNet's autoencoder (Meng and Chen 2017)."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from purification.models.autoencoder import MagNetAutoencoder
from purification.randomness import generator
from purification.training.draws import batches_with_draws
from purification.training.epochs import Losses, train_epochs, update
from purification.training.finite import Watch, mean_image_error, warn_if_mean_image

FirstOutput = Literal["gray", "mean"]


def train_autoencoder(
    model: MagNetAutoencoder,
    images: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    noise: float,
    first_output: FirstOutput = "gray",
    seed: int,
    device: torch.device | str,
    name: str = "MagNet autoencoder",
) -> list[dict[str, float | int]]:
    """Trains `model` in place to undo Gaussian noise, with Adam, and leaves it in eval mode.

    Defense-GAN does not say how it trained MagNet. MagNet itself (Meng and Chen 2017, section 5)
    minimises the squared error between the clean image and the output for the image with Gaussian
    noise of small deviation added, clipped to the range of pixels.

    Args:
        model: autoencoder, images -> images of the same shape.
        images: (N, C, H, W), in [0, 1].
        noise: standard deviation of the noise, in pixel units of [0, 1]; 0 for none.
        first_output: what the untrained decoder makes of a code of zeros. "gray": 0.5, its biases
            being zero. On images as dark as MNIST's all codes may then move together to darken the
            output until their tanh is saturated, and the output stays the mean image
            (docs/results/mnist/README.md). "mean": the mean pixel of `images`, so that they need
            not.

    Returns:
        A row an epoch: epoch (from 1), loss (squared error, mean over pixels and the epoch's
        images), seconds.

    Raises:
        ValueError: an unknown `first_output`.
    """
    if first_output not in get_args(FirstOutput):
        raise ValueError(
            f"first_output must be one of {get_args(FirstOutput)}, got {first_output!r}"
        )
    if first_output == "mean":
        model.start_from(images.mean().item())
    model.to(device, memory_format=torch.channels_last)
    images = images.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate, fused=True)
    order, noises = generator(seed, "order"), generator(seed, "noise")
    watch = Watch(name, {"autoencoder": model}, [optimizer], -(-len(images) // batch_size))

    def draw(size: int) -> tuple[Tensor]:
        return (noise * torch.randn(size, *images.shape[1:], generator=noises),)

    def batches(_: int) -> Iterator[tuple[Any, ...]]:
        shuffled = torch.randperm(len(images), generator=order)
        return batches_with_draws(shuffled, batch_size, draw, device)

    def step(chosen: Tensor, drawn: tuple[Tensor]) -> tuple[Losses, Losses, Tensor]:
        clean = images[chosen]
        loss = functional.mse_loss(model((clean + drawn[0]).clamp(0, 1)), clean)
        update(optimizer, loss)
        return {"reconstruction": loss}, {"loss": loss}, loss.detach() * len(chosen)

    def row(totals: Tensor) -> dict[str, float]:
        return {"loss": totals.item() / len(images)}

    history = train_epochs(watch, "MagNet autoencoder", epochs, batches, step, row)
    if history:
        pixels = images[0].numel()
        warn_if_mean_image(name, history[-1]["loss"], mean_image_error(images) / pixels)
    return history
