"""Derivatives of a latent search's objective g(z, x) that its steps and their adjoint take."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from purification.purifiers.base import reconstruction_error
from purification.purifiers.piecewise_linear import PiecewiseLinear

Objective = Callable[[Tensor, Tensor], Tensor]
"""(reconstructions (M, C, H, W), images (M, C, H, W)) -> (M,), one value an image."""
Pass = tuple[Tensor, ...]
"""What is kept of a pass through the network for the products at the same z; or nothing."""


class StepDerivatives(Protocol):
    """At codes z (M, d) against images x that it was made for; g is the objective's gradient in z.

    Weights (M, d), and all is computed without a graph.
    """

    def gradient(self, latents: Tensor) -> tuple[Tensor, Tensor, Pass]:
        """Objective (M,), g (M, d), and what `products` may be given of this pass."""

    def products(self, latents: Tensor, weight: Tensor, kept: Pass) -> tuple[Tensor, Tensor]:
        """(dg/dz)^T w, (M, d), and (dg/dx)^T w, as the images."""


def step_derivatives(network: nn.Module, images: Tensor, objective: Objective) -> StepDerivatives:
    """Written out for the mean square error of a `PiecewiseLinear`, else by autograd."""
    if isinstance(network, PiecewiseLinear) and objective is reconstruction_error:
        return _WrittenOut(network, images)
    return _ByAutograd(network, images, objective)


class _ByAutograd:
    """For every network and objective, the products by a double backward pass."""

    def __init__(self, network: nn.Module, images: Tensor, objective: Objective) -> None:
        self.network, self.images, self.objective = network, images.detach(), objective

    def gradient(self, latents: Tensor) -> tuple[Tensor, Tensor, Pass]:
        with torch.enable_grad():
            variable = latents.detach().requires_grad_()
            each = self.objective(self.network(variable), self.images)
            (gradient,) = torch.autograd.grad(each.sum(), variable)
        return each.detach(), gradient, ()

    def products(self, latents: Tensor, weight: Tensor, kept: Pass) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            variable = latents.detach().requires_grad_()
            target = self.images.detach().requires_grad_()
            objective = self.objective(self.network(variable), target).sum()
            (gradient,) = torch.autograd.grad(objective, variable, create_graph=True)
            by_latent, by_image = torch.autograd.grad(gradient, (variable, target), weight)
        return by_latent, by_image


class _WrittenOut:
    """For the mean square of n pixels y = e(J z + c) with e the network's ending:

        g = J^T (2 / n) e' (y - x),
        (dg/dz)^T w = J^T (2 / n) (e'^2 + e'' (y - x)) J w,    (dg/dx)^T w = -(2 / n) e' J w.

    Of a pass y and the activations are kept, of which the products need the signs alone.
    """

    def __init__(self, network: PiecewiseLinear, images: Tensor) -> None:
        self.network, self.images = network, images.detach()
        self.scale = 2 / images.shape[1:].numel()

    @torch.no_grad()
    def gradient(self, latents: Tensor) -> tuple[Tensor, Tensor, Pass]:
        made, *activations = self._pass(latents)
        residual = made - self.images
        outer = self.network.ending.backward(residual, made)
        gradient = self.network.transposed(outer, activations).mul_(self.scale)
        return residual.square_().flatten(1).mean(1), gradient, (made, *activations)

    @torch.no_grad()
    def products(self, latents: Tensor, weight: Tensor, kept: Pass) -> tuple[Tensor, Tensor]:
        made, *signs = kept or self._pass(latents)
        ending = self.network.ending
        along = self.network.tangent(weight, signs).mul_(self.scale)
        by_image = ending.backward(along, made)
        bent = ending.curvature(made).mul_(made - self.images).mul_(along)
        outer = ending.backward(by_image, made).add_(bent)
        return self.network.transposed(outer, signs), by_image.neg_()

    def _pass(self, latents: Tensor) -> Pass:
        logits, activations = self.network.logits(latents)
        return self.network.ending.value(logits), *activations
