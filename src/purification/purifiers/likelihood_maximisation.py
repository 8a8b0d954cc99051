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
        "once": {
            "type": "boolean",
            "default": False,
            "description": "one denoising from a random level in the place of its steps",
        },
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
            made = recomputed(self.step, made, images, *self.drawn(streams, images))
        return made

    def drawn(self, streams: Streams, images: Tensor) -> tuple[Tensor, Tensor]:
        """Levels (N,) up to t*, and noise for the images, of one step."""
        shares = streams.uniform((1,))[:, 0]
        levels = 1 + (self.highest * shares).long().to(images.device)
        return levels, streams.normal(images.shape[1:]).to(images)

    def step(self, made: Tensor, images: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """One step of `made`, which stays near `images`; levels (N,)."""
        wanted = torch.is_grad_enabled() and made.requires_grad
        with torch.enable_grad():
            variable = made if made.requires_grad else made.detach().requires_grad_()
            noisy, _ = self.noisy(variable, levels, noise)
            loss = (self.model.noise(noisy, levels) - noise).square().flatten(1).mean(1).sum()
            (gradient,) = torch.autograd.grad(loss, variable, create_graph=wanted)
        length = gradient.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-12)
        moved = made - self.settings["step_size"] * gradient / length
        low, high = (images + sign * self.settings["budget"] for sign in (-1, 1))
        return moved.clamp(low.clamp(min=0), high.clamp(max=1))

    def noisy(self, images: Tensor, levels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Images with noise, in the model's units, and their share (N, 1, 1, 1) of its variance."""
        signal = images.new_tensor(self.model.signal)[levels].view(-1, 1, 1, 1)
        return signal.sqrt() * (2 * images - 1) + (1 - signal).sqrt() * noise, signal

    def cheaper(
        self, *, ascent_steps: int | None = None, draws: int | None = None, once: bool = False
    ) -> Purifier:
        """The same with fewer steps or fewer draws, or one denoising (`DenoisedOnce`)."""
        most = {"ascent_steps": ascent_steps, "draws": draws}
        fewer = {k: min(v, self.settings[k]) for k, v in most.items() if v is not None}
        own = {**self.settings, **fewer}
        whole = type(self)(own, self.image_shape, {"generator": self.model})
        return DenoisedOnce(whole) if once else whole


class DenoisedOnce(Purifier):
    """What the model sees below the noise, of a level drawn as those of likelihood maximisation.

    A surrogate of it. The exact gradient is one through normalised gradients, dear, and on MNIST it
    leads hardly anywhere. But a step goes roughly to the denoised image, because the model's loss
    is lower there. Who climbs this one instead breaks as many images of the whole or more, for a
    fifth to a twentieth of the cost (docs/modern.md).

    Args:
        whole: whose model, levels and draws it has.
    """

    def __init__(self, whole: LikelihoodMaximisation) -> None:
        super().__init__()
        self.whole = whole
        self.randomised, self.aggregation = whole.randomised, whole.aggregation

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        levels, noise = self.whole.drawn(Streams(seeds), images)
        noisy, signal = self.whole.noisy(images, levels, noise)
        error = self.whole.model.noise(noisy, levels)
        clean: Tensor = (noisy - (1 - signal).sqrt() * error) / signal.sqrt()
        return ((clean + 1) / 2).clamp(0, 1)
