"""Networks that were trained elsewhere: looked at once, before anything is made with them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from purification.models.checkpoints import adopted_network
from purification.models.prediction import predict
from purification.randomness import generator
from purification.training.finite import finite, warn_at_chance, warn_if_collapsed

_SAMPLES = 64
_REMEDY = "weights of this data set, with its range [0, 1] of pixels and its order of classes"


def adopt_classifier(
    recipe: Mapping[str, Any],
    images: Tensor,
    labels: Tensor,
    *,
    classes: int,
    device: torch.device,
    name: str,
) -> nn.Module:
    """The classifier of a recipe with the weights of its checkpoint, on the CPU.

    Its accuracy on `images` (N, C, H, W) with `labels` (N,) is printed, and warned of at chance.

    Args:
        classes: of the data set.
        device: where the images are classified.
        name: in messages.

    Raises:
        ValueError, GuestError: as `adopted_network`.
        FloatingPointError: a logit is not finite.
    """
    network = adopted_network(recipe, tuple(images.shape[1:]), classes=classes)
    right = predict(network, images, device=device).argmax(dim=1) == labels
    accuracy = right.double().mean().item()
    print(f"accuracy on {len(labels)} validation images: {accuracy:.4f}")
    warn_at_chance(name, accuracy, labels, "validation images", _REMEDY)
    return network.cpu()


@torch.no_grad()
def adopt_generator(recipe: Mapping[str, Any], images: Tensor, name: str) -> nn.Module:
    """The generative network of a recipe with the weights of its checkpoint, on the CPU.

    Warns if it makes nearly one image of 64 codes: of its encoder's for `images` (N, C, H, W), or
    of normal ones. Raises as `adopt_classifier`.
    """
    network = adopted_network(recipe, tuple(images.shape[1:]))
    if not finite(network.state_dict()):
        raise FloatingPointError(f"{name}: not all weights of the checkpoint are finite")
    codes = torch.randn(_SAMPLES, network.latent, generator=generator(recipe["seed"], "adoption"))
    if hasattr(network, "encoder"):
        codes = network.encoder(images[:_SAMPLES])
    warn_if_collapsed(name, getattr(network, "generator", network), codes, images, _REMEDY)
    return network
