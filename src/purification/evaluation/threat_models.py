"""Threat models by their right names: what the attacker differentiates.

`classifier`: the bare classifier. An attacker who knows the classifier and no defence; its images
are the gray box of any purifier that is later put before the classifier (AE-GAN, section 3.1).
`white_box`: purifier and classifier, by the true gradient of both, through all steps of a search.
`white_box_bpda`: the same, the purifier's backward pass replaced by the identity (Athalye et al.
2018), for comparison with the attacks in the literature.
`surrogate`: classifier and a cheaper version of the purifier, by the true gradient of both, for an
attacker to whom the whole is too dear (Lee and Kim 2023); the whole one judges what comes of it.
`white_box_fixed`, `white_box_bpda_fixed`: the same models of a randomised purifier, by an attacker
who knows the draw of each image (the defence's seed) on which the image is judged. In the two above
every look is another draw.

The published Defense-GAN code's "white box" had no gradient at all through the search, which is why
the paper's white-box numbers beat the gray- and black-box ones. The quirk `NO_GRADIENT` does so,
too.
"""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from purification.purifiers import Defended, NoGradient, StraightThrough
from purification.purifiers.loading import cheaper_version

NO_GRADIENT = "no_gradient"
"""The quirk of published code by which no gradient passes a search."""
KNOWN = "_fixed"
"""The end of the names of those whose attacker knows the draws."""


def attacked_model(
    threat_model: str,
    purifier: nn.Module | None,
    classifier: nn.Module,
    quirks: Collection[str] = (),
) -> nn.Module:
    """The differentiable model that an attacker of this threat model has; of a surrogate, see
    `surrogate_model`. `quirks`: with `NO_GRADIENT` among them the white box has no gradient.

    Raises ValueError for an unknown threat model, or one that needs a purifier where none is given.
    """
    if threat_model == "classifier":
        return classifier
    if purifier is None:
        raise ValueError(f"the threat model {threat_model!r} needs a purifier")
    if stands_still(threat_model, quirks):
        return Defended(NoGradient(purifier), classifier)
    if threat_model in ("white_box", "white_box_fixed"):
        return Defended(purifier, classifier)
    if threat_model in ("white_box_bpda", "white_box_bpda_fixed"):
        return Defended(StraightThrough(purifier), classifier)
    raise ValueError(
        f"unknown threat model {threat_model!r}; known: classifier, white_box, white_box_bpda, "
        "white_box_fixed, white_box_bpda_fixed"
    )


def stands_still(threat_model: str, quirks: Collection[str]) -> bool:
    """Whether an attacker by gradients has none, and is meant to have none."""
    return NO_GRADIENT in quirks and threat_model in ("white_box", "white_box_fixed")


def surrogate_model(
    purifier: nn.Module, classifier: nn.Module, settings: Mapping[str, Any], images: Tensor
) -> nn.Module:
    """What the attacker of a surrogate has, by settings of the purifier's CHEAPER, to attack
    `images` (N, C, H, W). Raises as `cheaper_version`."""
    return Defended(cheaper_version(purifier, settings, images), classifier)


def knows_draws(threat_model: str) -> bool:
    """Whether an attacker knows the draws of a randomised defence."""
    return threat_model.endswith(KNOWN)
