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

    A defence of the config is a subclass that is built by `Mine(settings, image_shape)`: from the
    config's settings, defaults filled in, and the (C, H, W) of the images. `__init__` may take two
    keywords more: `networks`, of which "generator" is the one that the config's entry names, and
    `files`, the paths of the files that it names. The class states of itself, in literals that are
    read without running the file (`purification.facts`):

    - SETTINGS: what each setting may be. Without it any settings are passed on.
    - LEARNS_FROM: what `fit` learns from, of "images", "copies", "classifier" and "networks".
    - COLUMN: its name in tables; without it that is its key in the config.
    - RANDOMISED: whether it draws random numbers in `forward`. Such a purifier is refused so far.

    One with LEARNS_FROM is trained in a job of its own, which keeps its `state_dict`:

        def fit(self, images, labels, *, seed, device) -> history

    The training images (N, C, H, W) and labels (N,) are on the CPU. By LEARNS_FROM `fit` is given
    further keywords: `copies`, a list of attacked versions of the images, all in their order
    (the setting `copies` names attacks of the config's `copies`; there is a purifier for each
    classifier that they attack); `classifier`, the plain one (here too there is a purifier for each
    classifier); `networks`, as above. It moves itself to `device`, and draws from `seed`, or from
    torch's global generators, which are seeded by it. It returns rows, mappings from names to
    numbers, of which the file beside its weights is made. `runtime.progress` shows how far it is.
    """

    METHOD: ClassVar[str]
    """Of those of this library: its name in the config."""
    SETTINGS: ClassVar[Mapping[str, Any]]
    LEARNS_FROM: ClassVar[tuple[str, ...]] = ()
    RANDOMISED: ClassVar[bool] = False
    WEIGHTS: ClassVar[str] = "weights"
    """What a trained one's weights are called among its inputs."""

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
