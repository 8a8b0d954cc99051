"""Purification by diffusion (DiffPure, Nie et al. 2022), and denoising in one step."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from purification.models.diffusion import less_noisy, level_of, strided
from purification.models.wgan import Shape
from purification.purifiers.aggregation import AGGREGATED, Aggregation
from purification.purifiers.base import Purifier
from purification.purifiers.recomputation import recomputed
from purification.randomness import Streams

TIME = {
    "type": "number",
    "exclusiveMinimum": 0,
    "maximum": 1,
    "description": "t*: up to which noise level, as a share of the model's (1,000 of our own)",
}
DIFFUSED = {
    "time": TIME,
    "denoising_steps": "count: backward steps, and passes through the model",
    **AGGREGATED,
}
"""Settings of all purifiers that add noise and take it out again."""
CHEAPER_DIFFUSION = {
    "denoising_steps": "count = None: at most so many backward steps, from the same level",
    "draws": "count = None: at most so many draws of an evaluation",
}


class DiffPure(Purifier):
    """Adds noise up to the level t*, and takes it out again by a diffusion model's backward steps.

    `ancestral` steps are DDPM's on a strided grid (Ho et al. 2020, equation 7, with the variance of
    the posterior between the two levels, which is not the sum of those in between). Nie et al. 2022
    (section 3) solve the stochastic differential equation whose discrete form they are.
    `deterministic` steps are DDIM's (Song et al. 2021), the probability flow's; the noise that is
    added stays random. One step is one-step denoising (Carlini et al. 2023), by either.

    The gradient is the exact one through all steps. Each step's inner results are computed again in
    the backward pass, so that memory does not grow with their number.

    Args:
        networks: the `Diffusion` model, as `generator`.
    """

    METHOD = "diffpure"
    GENERATORS = ("diffusion",)
    RANDOMISED = True
    CHEAPER = CHEAPER_DIFFUSION
    SETTINGS = {
        **DIFFUSED,
        "backward": "ancestral|deterministic = ancestral: with noise between the steps, or without",
    }

    def __init__(
        self, settings: Mapping[str, Any], image_shape: Shape, networks: Mapping[str, nn.Module]
    ) -> None:
        super().__init__()
        self.model = networks["generator"].eval().requires_grad_(False)
        self.settings, self.image_shape = dict(settings), tuple(image_shape)
        self.signal: Sequence[float] = self.model.signal
        start = level_of(settings["time"], self.signal)
        self.steps = strided(start, settings["denoising_steps"])
        self.ancestral = settings["backward"] == "ancestral"
        self.aggregation = Aggregation.of(settings)

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        streams = Streams(seeds)

        def draw() -> Tensor:
            return streams.normal(images.shape[1:]).to(images)

        return ((self.backward(2 * images - 1, draw) + 1) / 2).clamp(0, 1)

    def backward(self, images: Tensor, draw: Callable[[], Tensor]) -> Tensor:
        """Images in [-1, 1], with noise added and taken out; `draw` gives noise of their shape."""
        noisy = at_level(images, self.signal[self.steps[0][0]], draw())
        for level, following in self.steps:
            # No noise is added in the last step, whose image is level 0.
            noise = draw() if self.ancestral and following else None
            noisy = recomputed(self.step, noisy, level, following, noise)
        return noisy

    def cheaper(
        self, *, denoising_steps: int | None = None, draws: int | None = None
    ) -> "DiffPure":
        """The same with fewer backward steps, which a surrogate of Lee and Kim (2023) has, or with
        fewer draws."""
        most = {"denoising_steps": denoising_steps, "draws": draws}
        fewer = {k: min(v, self.settings[k]) for k, v in most.items() if v is not None}
        return type(self)({**self.settings, **fewer}, self.image_shape, {"generator": self.model})

    def step(self, noisy: Tensor, level: int, following: int, noise: Tensor | None) -> Tensor:
        """One backward step, ancestral with `noise`."""
        image = self.model.clean(noisy, level)
        if noise is None:
            return less_noisy(noisy, image, level, following, self.signal)
        of_image, of_noisy, deviation = self.posterior(level, following)
        return of_image * image + of_noisy * noisy + deviation * noise

    def posterior(self, level: int, following: int) -> tuple[float, float, float]:
        """As the function, of levels of the model."""
        return posterior(self.signal[level], self.signal[following])


def at_level(images: Tensor, signal: float, noise: Tensor) -> Tensor:
    """Images in [-1, 1] with noise, so that this share of the variance is theirs."""
    return math.sqrt(signal) * images + math.sqrt(1 - signal) * noise


def posterior(before: float, after: float) -> tuple[float, float, float]:
    """Of a lower level, given the image and a higher level (Ho et al. 2020, equation 7): the
    factors of both in the mean, and the standard deviation. `before` and `after`: the share of the
    variance that is the image's, at the higher and the lower level."""
    kept = before / after
    of_image = math.sqrt(after) * (1 - kept) / (1 - before)
    of_noisy = math.sqrt(kept) * (1 - after) / (1 - before)
    return of_image, of_noisy, math.sqrt((1 - kept) * (1 - after) / (1 - before))
