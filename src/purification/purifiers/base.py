"""What a purifier is, and what a classifier behind one is."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

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

    A defence of the config is a subclass that is built by `Mine(settings, image_shape)`, from the
    config's settings with their defaults, and (C, H, W). It may take `networks` (under "generator"
    the one that the config names) and `files` (paths by the config's names) besides. It states of
    itself, in literals that are read without running the file (`purification.facts`): SETTINGS,
    what each may be; LEARNS_FROM; COLUMN, its name in tables, if not its key in the config; and
    RANDOMISED, which is refused so far.

    One with LEARNS_FROM, of "images", "copies", "classifier" and "networks", is trained in a job
    that keeps its `state_dict`, by `fit(images, labels, *, seed, device)`; both are on the CPU.
    Keywords of the further names are given where it has them: `copies`, attacked versions of all
    images, of the setting `copies`; the bare `classifier`; `networks`. With copies or a classifier
    there is one for each classifier. torch's global generators are seeded. It returns its history:
    rows, mappings from names to numbers.

    One whose images are a generator's says so by two more methods, which the attack on its codes
    (`attacks.latent`) asks for: `latent_codes(images)`, (N, d), those at which it arrives, and
    `generate(codes)`, their images (N, C, H, W) in [0, 1], differentiable in the codes, each a
    function of its own code alone.
    """

    METHOD: ClassVar[str]  # of those of this library: its name in the config
    SETTINGS: ClassVar[Mapping[str, Any]]
    LEARNS_FROM: ClassVar[tuple[str, ...]] = ()
    WEIGHTS: ClassVar[str] = "weights"  # what they are called among a recipe's networks
    snapshots: ClassVar[Mapping[int, Mapping[str, Tensor]]] = {}

    @property
    def trained(self) -> nn.Module:
        """The module whose weights `fit` trains and a checkpoint holds."""
        return self

    @classmethod
    def of_recipe(
        cls, recipe: Mapping[str, Any], networks: Mapping[str, nn.Module], image_shape: Any
    ) -> Self:
        """That of a `Purifier` recipe which is not trained itself."""
        return cls(recipe["settings"], image_shape)  # type: ignore[call-arg]

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

    def __getattr__(self, name: str) -> Any:
        """Its generator is the purifier's (`Purifier`)."""
        if name in ("latent_codes", "generate"):
            return getattr(super().__getattr__("purifier"), name)
        return super().__getattr__(name)
