"""The random numbers of stochastic attacks."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from purification.randomness import per_image_generators


def per_image_noise(
    draw: Callable[..., Tensor], images: Tensor, seed: int, indices: Iterable[int]
) -> Tensor:
    """Numbers for each image that depend on (seed, index) alone, never on the rest of the batch.

    They get shape, type and device of the images (N, C, H, W), and are what `draw`, such as
    `torch.randn`, makes of an image's shape and a generator. Raises ValueError if there is not one
    index an image.
    """
    generators = per_image_generators(seed, indices)
    if len(generators) != len(images):
        raise ValueError(f"noise: {len(generators)} indices for {len(images)} images")
    # Drawn on the CPU and in float32, so that a GPU and float64 get the same numbers.
    noise = [draw(images.shape[1:], generator=g, dtype=torch.float32) for g in generators]
    return torch.stack(noise).to(images)
