"""Likelihood maximisation at test time, by a diffusion model (after Chen et al. 2023)."""

from collections.abc import Mapping
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
        if not torch.is_inference_mode_enabled():
            return self._likelier(images, seeds)
        # Its own gradients need tensors that inference mode does not make.
        with torch.inference_mode(False), torch.no_grad():
            return self._likelier(images.clone(), seeds)

    def _likelier(self, images: Tensor, seeds: Tensor) -> Tensor:
        streams, made = Streams(seeds), images
        for _ in range(self.settings["ascent_steps"]):
            shares = streams.uniform((1,))[:, 0]
            levels = 1 + (self.highest * shares).long().to(images.device)
            noise = streams.normal(images.shape[1:]).to(images)
            made = recomputed(self.step, made, images, levels, noise)
        return made

    def step(self, made: Tensor, images: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """One step of `made`, which stays near `images`; levels (N,)."""
        wanted = torch.is_grad_enabled() and made.requires_grad
        with torch.enable_grad():
            variable = made if made.requires_grad else made.detach().requires_grad_()
            signal = images.new_tensor(self.model.signal)[levels].view(-1, 1, 1, 1)
            noisy = signal.sqrt() * (2 * variable - 1) + (1 - signal).sqrt() * noise
            loss = (self.model.noise(noisy, levels) - noise).square().flatten(1).mean(1).sum()
            (gradient,) = torch.autograd.grad(loss, variable, create_graph=wanted)
        length = gradient.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-12)
        moved = made - self.settings["step_size"] * gradient / length
        low, high = (images + sign * self.settings["budget"] for sign in (-1, 1))
        return moved.clamp(low.clamp(min=0), high.clamp(max=1))

    def cheaper(
        self, *, ascent_steps: int | None = None, draws: int | None = None
    ) -> "LikelihoodMaximisation":
        """The same with fewer steps, or fewer draws."""
        most = {"ascent_steps": ascent_steps, "draws": draws}
        fewer = {k: min(v, self.settings[k]) for k, v in most.items() if v is not None}
        return type(self)({**self.settings, **fewer}, self.image_shape, {"generator": self.model})
