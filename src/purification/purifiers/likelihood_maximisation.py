"""Likelihood maximisation at test time, by a diffusion model (after Chen et al. 2023)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from purification.models.diffusion import level_of
from purification.models.wgan import Shape
from purification.purifiers.aggregation import AGGREGATED, Aggregation
from purification.purifiers.base import Purifier
from purification.purifiers.diffpure import TIME
from purification.purifiers.recomputation import recomputed
from purification.randomness import Streams

Move = Callable[[Tensor, Tensor, Tensor], Tensor]
"""An image after a step, of the image, levels (N,) and noise."""


class LikelihoodMaximisation(Purifier):
    """Moves an image by gradient descent to where the diffusion model finds it likelier.

    Each step is down the gradient of the model's loss, the mean square of the noise's error, for a
    new noise at a level drawn from those up to t*: an estimate of the bound on minus the
    log-likelihood (Chen et al. 2023, section 3.3, who put a classifier made of the same model
    behind it). The change stays within `budget` of the image. A step has this length in the mean
    over the pixels' absolute values, whatever the gradient's, because the loss of an image says
    little about its scale.

    The gradient is exact through all steps, second derivatives of the network included.

    Args:
        networks: the `Diffusion` model, as `generator`.
    """

    METHOD = "likelihood_maximisation"
    GENERATORS = ("diffusion",)
    RANDOMISED = True
    CHEAPER = {
        "ascent_steps": "count = None: at most so many steps",
        "draws": "count = None: at most so many draws of an evaluation",
        "denoised": "share = None: its images, but the gradient of steps that go so far to the "
        "denoised image",
    }
    SETTINGS = {
        "time": TIME,
        "ascent_steps": "count: steps, each of which is a pass forward and back",
        "step_size": "epsilon: mean absolute change of a pixel in a step, in units of [0, 1]",
        "budget": "epsilon: l-inf radius that the image stays in, in pixel units of [0, 1]",
        **AGGREGATED,
    }

    def __init__(
        self, settings: Mapping[str, Any], image_shape: Shape, networks: Mapping[str, nn.Module]
    ) -> None:
        super().__init__()
        self.model = networks["generator"].eval().requires_grad_(False)
        self.settings, self.image_shape = dict(settings), tuple(image_shape)
        self.highest = level_of(settings["time"], self.model.signal)
        self.aggregation = Aggregation.of(settings)

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        return self.moved_by(self.moved, images, seeds)

    def moved_by(self, move: Move, images: Tensor, seeds: Tensor) -> Tensor:
        """The images after all steps, each of them made by `move`."""
        if not torch.is_inference_mode_enabled():
            return self._steps(move, images, seeds)
        # Its own gradients need tensors that inference mode does not make.
        with torch.inference_mode(False), torch.no_grad():
            return self._steps(move, images.clone(), seeds)

    def _steps(self, move: Move, images: Tensor, seeds: Tensor) -> Tensor:
        streams, made = Streams(seeds), images
        for _ in range(self.settings["ascent_steps"]):
            shares = streams.uniform((1,))[:, 0]
            levels = 1 + (self.highest * shares).long().to(images.device)
            noise = streams.normal(images.shape[1:]).to(images)
            made = self.within_budget(move(made, levels, noise), images)
        return made

    def moved(self, made: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """`made` after a step, before it is held near the images; levels (N,)."""
        return recomputed(self.step, made, levels, noise)

    def step(self, made: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """As `moved`, with all that its gradient needs in memory."""
        wanted = torch.is_grad_enabled() and made.requires_grad
        with torch.enable_grad():
            variable = made if made.requires_grad else made.detach().requires_grad_()
            noisy, _ = self.noisy(variable, levels, noise)
            loss = (self.model.noise(noisy, levels) - noise).square().flatten(1).mean(1).sum()
            (gradient,) = torch.autograd.grad(loss, variable, create_graph=wanted)
        length = gradient.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-12)
        return made - self.settings["step_size"] * gradient / length

    def noisy(self, made: Tensor, levels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """`made` with noise, in the model's units, and the image's share (N, 1, 1, 1) of its
        variance."""
        signal = made.new_tensor(self.model.signal)[levels].view(-1, 1, 1, 1)
        return signal.sqrt() * (2 * made - 1) + (1 - signal).sqrt() * noise, signal

    def within_budget(self, moved: Tensor, images: Tensor) -> Tensor:
        low, high = (images + sign * self.settings["budget"] for sign in (-1, 1))
        return moved.clamp(low.clamp(min=0), high.clamp(max=1))

    def cheaper(
        self,
        *,
        ascent_steps: int | None = None,
        draws: int | None = None,
        denoised: float | None = None,
    ) -> Purifier:
        """The same with fewer steps or fewer draws, or with another gradient (`TowardDenoised`)."""
        most = {"ascent_steps": ascent_steps, "draws": draws}
        fewer = {k: min(v, self.settings[k]) for k, v in most.items() if v is not None}
        own = {**self.settings, **fewer}, self.image_shape, {"generator": self.model}
        whole = type(self)(*own)
        return whole if denoised is None else TowardDenoised(whole, denoised)


class TowardDenoised(Purifier):
    """Likelihood maximisation with a gradient that an attacker can climb.

    Its images are those of the whole, to the last bit. The exact gradient is one through normalised
    gradients, and leads hardly anywhere. But a step goes roughly to the image that the model sees
    below the noise, because the loss is lower there. So the gradient of each is that of a move
    of a fixed share of the way to this image.

    Args:
        whole: the purifier.
        share: of the way, in [0, 1]; 0 is BPDA.
    """

    def __init__(self, whole: LikelihoodMaximisation, share: float) -> None:
        super().__init__()
        self.whole, self.share = whole, share
        self.randomised, self.aggregation = whole.randomised, whole.aggregation

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        return self.whole.moved_by(self.moved, images, seeds)

    def moved(self, made: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """As `LikelihoodMaximisation.moved`."""
        moved = self.whole.step(made.detach(), levels, noise)
        if not (torch.is_grad_enabled() and made.requires_grad):
            return moved
        way = made + self.share * (recomputed(self.denoised, made, levels, noise) - made)
        return moved.detach() + (way - way.detach())

    def denoised(self, made: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """What the model sees below the noise, in [0, 1] and around it."""
        noisy, signal = self.whole.noisy(made, levels, noise)
        error = self.whole.model.noise(noisy, levels)
        clean: Tensor = (noisy - (1 - signal).sqrt() * error) / signal.sqrt()
        return (clean + 1) / 2
