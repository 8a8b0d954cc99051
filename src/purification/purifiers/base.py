"""What a purifier is, and what a classifier behind one is."""

import torch
from torch import Tensor, nn


def reconstruction_error(reconstructions: Tensor, images: Tensor) -> Tensor:
    """Mean square difference per image: (N, C, H, W) twice -> (N,), in squared pixel units.

    Defense-GAN's equation 9 has the sum over pixels; the mean differs by the constant C*H*W, and
    is what the published code minimises.
    """
    return (reconstructions - images).square().flatten(1).mean(1)


class Purifier(nn.Module):
    """Maps images to purified images, both (N, C, H, W) float32 in [0, 1].

    A subclass implements `forward`. It must be deterministic, treat each image by itself, and let
    gradients through to its input (a purifier that optimises inside opens `torch.enable_grad()`
    itself, because attack libraries call models under `no_grad`).
    """

    def forward(self, images: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must implement forward(images)")

    def score_purified(self, images: Tensor, purified: Tensor) -> Tensor:
        """Detection score (N,) of `images` whose purified form is known; higher = more suspect."""
        return reconstruction_error(purified, images)

    def score(self, images: Tensor) -> Tensor:
        """Detection score (N,) of `images`; higher = more likely adversarial."""
        return self.score_purified(images, self(images))


class Defended(nn.Module):
    """A classifier behind a purifier: again a plain classifier, (N, C, H, W) -> logits (N, K).

    foolbox, AutoAttack or a user's own attack take it as they take any classifier.
    """

    def __init__(self, purifier: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.purifier = purifier
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.purifier(images))


class StraightThrough(nn.Module):
    """A purifier whose backward pass is the identity (BPDA, Athalye et al. 2018, section 4.1)."""

    def __init__(self, purifier: nn.Module) -> None:
        super().__init__()
        self.purifier = purifier

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            purified = self.purifier(images.detach())
        # The parentheses keep the value exact: images - images.detach() is zero, bit for bit.
        return purified + (images - images.detach())
