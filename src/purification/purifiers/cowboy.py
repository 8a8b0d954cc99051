"""Cowboy (Santhanam and Grnarova 2018): a search near the image and where D takes it for real."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from torch import Tensor, nn
from torch.nn import functional

from purification import randomness
from purification.purifiers.defense_gan import (
    CHEAPER_SEARCH,
    DefenseGAN,
    draw_codes,
    search_settings,
)
from purification.purifiers.descent import SearchSettings


class CleaningObjective(nn.Module):
    """||G(z) - x||^2 / (2 sigma^2) - weight * log D(G(z)), Cowboy's equation 4 (weight 1).

    The squared norm is a sum over pixels, in the units of the paper's images, [-1, 1]: four times
    that of ours in [0, 1]. D, unlike the image, is not looked at with a weight of 0.

    Args:
        discriminator: images (M, C, H, W) in [0, 1] -> logits (M,). Log D is computed from them.
        sigma: positive, in pixel units of [-1, 1]; not stated in the paper.
        weight: of the discriminator's term: 1 in the paper, 0 for the "Defense-GAN" of its Table 2.

    Raises:
        ValueError: sigma or weight out of range.
    """

    def __init__(self, discriminator: nn.Module, sigma: float, weight: float) -> None:
        super().__init__()
        if not (0 < sigma < math.inf and 0 <= weight < math.inf):
            raise ValueError(
                "cowboy: sigma must be positive and discriminator_weight not negative; "
                f"got {sigma} and {weight}"
            )
        self.discriminator = discriminator
        self.sigma = sigma
        self.weight = weight

    def forward(self, reconstructions: Tensor, images: Tensor) -> Tensor:
        """(M, C, H, W) twice, in [0, 1] -> (M,)."""
        distance = 4 * (reconstructions - images).square().flatten(1).sum(1)
        likelihood = distance / (2 * self.sigma**2)
        if not self.weight:
            return likelihood
        return likelihood - self.weight * functional.logsigmoid(self.discriminator(reconstructions))


class Cowboy(DefenseGAN):
    """Replaces an image by the generator's after L steps on `CleaningObjective`; detects by D.

    Sections 3.3 and 3.5, Algorithm 1: Defense-GAN's search with another objective, from a start
    that is drawn from the prior (`draw_codes`). The paper has one start, here one set of R starts
    shared by all images, of which the least objective wins.

    Its momentum is 0 in Algorithm 1; step size and sigma are not stated there. Doubling the
    objective is doubling the step size, so that a step size says nothing without its sigma.

    The detection score is minus the logit of D at the image as given, before any search: higher is
    more suspect, and D(x) = sigmoid(-score). Unlike D(x) itself it does not round to 1.

    Args:
        generator: z (M, d) -> images (M, C, H, W) in [0, 1].
        discriminator: images in [0, 1] -> logits (M,).
        starts: (R, d).
        settings: of the search; its objective is replaced. Of its precisions "tf32" is the
            discriminator's as well, "bfloat16" the generator's alone.
        sigma, discriminator_weight: of `CleaningObjective`.
        redrawn: as of `DefenseGAN`.

    Raises:
        ValueError: as `CleaningObjective`.
    """

    METHOD = "cowboy"
    GENERATORS = ("gan",)
    RULES = ("optimizer",)
    UNFILLED = True
    RANDOMISED = {"redraw": True}
    CHEAPER = CHEAPER_SEARCH
    SETTINGS = {
        "steps": "count: steps L of the search",
        "restarts": "count: starts R of the search",
        "step_size": "positive: of the descent; it has to fit sigma",
        "momentum": "fraction: of the descent",
        "sigma": "positive: the images' deviation, in pixel units of [-1, 1]",
        "discriminator_weight": "not_negative: of its term; 0 in Table 2's Defense-GAN, else 1",
        "optimizer": "gradient_descent|lbfgs = gradient_descent: of the steps; lbfgs: momentum 0",
        "redraw": "boolean = False: starts are drawn anew for each image and evaluation",
    }

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        starts: Tensor,
        settings: SearchSettings,
        *,
        sigma: float,
        discriminator_weight: float = 1.0,
        redrawn: float | None = None,
    ) -> None:
        frozen = discriminator.eval().requires_grad_(False)
        objective = CleaningObjective(frozen, sigma, discriminator_weight)
        super().__init__(generator, starts, replace(settings, objective=objective), redrawn)
        self.objective = objective  # a module of this one, which goes along to a device

    @classmethod
    def of_recipe(
        cls, recipe: Mapping[str, Any], networks: Mapping[str, nn.Module], image_shape: Any
    ) -> Self:
        """From a `GAN`, or a snapshot of one.

        The starts come from the recipe's seed alone, not from its name: both columns of Table 2,
        and all snapshots, start from the same codes, so that differences are not those of a single
        start.
        """
        settings, network = recipe["settings"], networks["generator"]
        random = randomness.generator(recipe["seed"], "cowboy", "starts")
        return cls(
            network.generator,
            network.discriminator,
            draw_codes(settings["restarts"], network.latent, random),
            # A sweep's steps are its own.
            search_settings(settings, settings.get("steps", 0)),
            sigma=settings["sigma"],
            discriminator_weight=settings["discriminator_weight"],
            redrawn=1.0 if settings.get("redraw") else None,
        )

    def searching(self, starts: Tensor, settings: SearchSettings) -> DefenseGAN:
        own = self.objective
        return Cowboy(
            *(self.generator, own.discriminator, starts, settings),
            sigma=own.sigma,
            discriminator_weight=own.weight,
            redrawn=self.redrawn,
        )

    def score_purified(self, images: Tensor, purified: Tensor) -> Tensor:
        """Minus the logit of D(images), (N,); `purified` has no part in it."""
        return self.score(images)

    def score(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        return -self.objective.discriminator(images)
