"""Guided diffusion purification (Wang et al. 2022)."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from purification.models.wgan import Shape
from purification.purifiers.diffpure import (
    CHEAPER_DIFFUSION,
    DIFFUSED,
    DiffPure,
    at_level,
)
from purification.purifiers.recomputation import recomputed


class GuidedDiffPure(DiffPure):
    """DiffPure whose backward steps are drawn to the image as it was given.

    Each ancestral step moves, in units of its own variance, against the gradient of half the
    squared distance between the noisy image and the given one with new noise of the same level
    (Wang et al. 2022, section 3.2, who name the mean square; their factor of it depends on the
    level, ours is one number). The image then keeps its content at a level of noise which a
    perturbation does not survive. All of it can be done several times in a row.

    The gradient is exact, with respect to the guide, too.
    """

    METHOD = "guided_diffpure"
    GENERATORS = ("diffusion",)
    RANDOMISED = True
    CHEAPER = CHEAPER_DIFFUSION
    SETTINGS = {
        **DIFFUSED,
        "guidance": "not_negative: the factor of that gradient; 0 is `diffpure`",
        "rounds": "count = 1: how often noise is added and taken out",
    }

    def __init__(
        self, settings: Mapping[str, Any], image_shape: Shape, networks: Mapping[str, nn.Module]
    ) -> None:
        super().__init__({**settings, "backward": "ancestral"}, image_shape, networks)
        self.guidance, self.rounds = settings["guidance"], settings["rounds"]

    def backward(self, images: Tensor, draw: Callable[[], Tensor]) -> Tensor:
        found = images
        for _ in range(self.rounds):
            noisy = at_level(found, self.signal[self.steps[0][0]], draw())
            for level, following in self.steps:
                guide = at_level(images, self.signal[level], draw())
                noise = draw() if following else None
                noisy = recomputed(self.guided, noisy, level, following, noise, guide)
            found = noisy
        return found

    def guided(
        self, noisy: Tensor, level: int, following: int, noise: Tensor | None, guide: Tensor
    ) -> Tensor:
        """One backward step, drawn to `guide`; the last one, without noise, has no variance."""
        made = self.step(noisy, level, following, noise)
        variance = self.posterior(level, following)[2] ** 2
        return made - self.guidance * variance * (noisy - guide)
