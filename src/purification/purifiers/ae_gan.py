"""AE-GAN+rs and its relatives (2020): encode, decode, and search from the encoder's code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from purification.purifiers.base import Purifier, reconstruction_error
from purification.purifiers.descent import SearchSettings
from purification.purifiers.latent_search import latent_search, refuse_transformed

_SEARCH = ("steps", "step_size", "doubling", "optimizer")


def absolute_error(reconstructions: Tensor, images: Tensor) -> Tensor:
    """Mean absolute difference per image: (N, C, H, W) twice -> (N,), in pixel units of [0, 1].

    The paper's alternative indicator, the L1 distance (appendix F, with a threshold of 0.06).
    """
    return (reconstructions - images).abs().flatten(1).mean(1)


INDICATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": reconstruction_error,
    "l1": absolute_error,
}


@dataclass(frozen=True)
class Reconstructed:
    """`images` (N, C, H, W); whether each was `searched` (N,), bool; and `evaluations` (N,), its
    passes through the generator, one for each step of a search and for each look at an image."""

    images: Tensor
    searched: Tensor
    evaluations: Tensor


class EncoderSearch(Purifier):
    """Replaces an image by one of a generator's, G(F(x)) or the end of a search from the code F(x).

    Source: AE-GAN+rs, sections 3.2, 3.4 and 4.4, and Algorithm 2; AE, AE-GAN, AE-GAN+r and BiGAN
    differ in their networks alone. Three variants:

    - `settings` None: one pass, G(F(x));
    - `settings` alone (+s): every image is searched, from the one start F(x);
    - `settings` and `threshold`, the inference rule: an image whose error after one pass, measured
      by `indicator`, is above the threshold is searched; the others get their one pass.

    Algorithm 2's search is `latent_search` with one start an image, momentum 0 and a doubling of 5.
    As printed its update has a plus sign, which would ascend the error it is to minimise, and its k
    is never incremented. The step that makes z[k] of z[k-1] is step k, so the first is k = 1, and
    the step size doubles after steps 5, 10, ... (of `doubling`). Codes are not projected back into
    the encoder's range (-1, 1): the paper's are not. The objective is the mean over pixels where
    the paper's is the sum, which the step size makes up for.

    All gradients are true ones: through encoder, search and generator. (L-BFGS has that of the
    minimum which it approaches, in which the encoder has no part: `lbfgs.with_gradient`.) Which
    images are searched is a discrete choice and has no gradient.

    Args:
        encoder: images -> codes (N, d).
        generator: codes -> images, in [0, 1].
        settings: of the search, or None.
        threshold: in the indicator's units, or None; see `evaluation.detection.threshold_at`.
        indicator: a key of `INDICATORS`; also the detection score of all variants.

    Raises:
        ValueError: a threshold without settings, or an unknown indicator.
    """

    METHOD = "ae_gan"
    GENERATORS = ("ae_gan", "bigan")
    FROM_ENCODER = True
    RULES = ("one_pass", "optimizer")
    UNFILLED = True
    QUIRKS = ("no_gradient",)
    SETTINGS = {
        "steps": "count = None: steps L of a search; without it there is one pass",
        "step_size": "positive = None: of the first steps",
        "step_sizes": "step_sizes = []: [steps, step_size] where so many steps need another",
        "doubling": "number_of_images = None: steps after which the step size doubles each time",
        "indicator": "mse|l1 = mse: the detection score",
        "rule": "inference_rule = None: search only images of a higher score than most clean ones",
        "optimizer": "gradient_descent|lbfgs = gradient_descent: of steps; lbfgs: doubling null",
    }
    CHEAPER = {
        "steps": {
            "type": "integer",
            "minimum": 0,
            "description": "at most so many steps, the first; 0: one pass, without a search",
        },
    }
    NEEDS = {
        "steps": ["step_size", "doubling"],
        **{"step_size": ["steps"], "doubling": ["steps"]},
        **{"step_sizes": ["steps"], "rule": ["steps"], "optimizer": ["steps"]},
    }

    def __init__(
        self,
        encoder: nn.Module,
        generator: nn.Module,
        settings: SearchSettings | None,
        threshold: float | None = None,
        indicator: str = "mse",
    ) -> None:
        super().__init__()
        if threshold is not None and settings is None:
            raise ValueError(f"threshold {threshold}: without a search there is nothing to start")
        if indicator not in INDICATORS:
            raise ValueError(f"indicator {indicator!r}: expected one of {', '.join(INDICATORS)}")
        self.encoder = encoder.eval().requires_grad_(False)
        self.generator = generator.eval().requires_grad_(False)
        self.settings = settings
        self.threshold = threshold
        self.indicator = INDICATORS[indicator]

    @classmethod
    def of_recipe(
        cls, recipe: Mapping[str, Any], networks: Mapping[str, nn.Module], image_shape: Any
    ) -> Self:
        """From an `AEGAN` or `BiGAN`, by these settings: `search` (bool); with it `steps`,
        `step_size`, `doubling` (steps, or None), `threshold` (or None: every image is searched),
        `optimizer`; and `indicator`. The last two, and `threshold`, may be left out."""
        settings, network, search = recipe["settings"], networks["generator"], None
        if settings["search"]:
            # No momentum: Algorithm 2 of AE-GAN+rs has none.
            own = {key: settings[key] for key in _SEARCH if key in settings}
            search = SearchSettings(**own, momentum=0.0)
        threshold, indicator = settings.get("threshold"), settings.get("indicator", "mse")
        return cls(network.encoder, network.generator, search, threshold, indicator)

    def train(self, mode: bool = True) -> Self:
        """Batch norm stays in evaluation mode, whatever mode a surrounding module is put into."""
        super().train(mode)
        self.encoder.eval()
        self.generator.eval()
        return self

    def forward(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        return self.reconstruct(images).images

    def network_passes(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        """Passes through the generator that each image costs, (N,)."""
        return self.reconstruct(images).evaluations

    def reconstruct(self, images: Tensor) -> Reconstructed:
        """Purified images (N, C, H, W), which of them were searched, and what each cost."""
        if self.threshold is not None:  # a choice of images: which, a transform does not tell
            refuse_transformed(images)
        codes = self.encoder(images)
        count = torch.ones(len(images), dtype=torch.int64, device=images.device)
        if self.settings is not None and self.threshold is None:
            found = latent_search(self.generator, images, codes[:, None], self.settings)
            return Reconstructed(found.reconstructions, count.bool(), found.evaluations)
        once = self.generator(codes)
        if self.threshold is None:
            return Reconstructed(once, ~count.bool(), count)
        searched = self.suspicious(self.indicator(once, images))
        (rows,) = searched.nonzero(as_tuple=True)
        if not len(rows):
            return Reconstructed(once, searched, count)
        found = latent_search(self.generator, images[rows], codes[rows, None], self.settings)
        result = once.index_put((rows,), found.reconstructions)
        return Reconstructed(result, searched, count.index_add(0, rows, found.evaluations))

    def cheaper(self, *, steps: int) -> "EncoderSearch":
        """The same search cut short, of the same images; with 0 `steps` one pass of all."""
        searches = steps > 0 and self.settings is not None
        settings = self.settings.shortened(steps, None) if searches else None
        threshold = self.threshold if searches else None
        made = EncoderSearch(self.encoder, self.generator, settings, threshold)
        made.indicator = self.indicator
        return made

    def latent_codes(self, images: Tensor) -> Tensor:
        """Those of `forward`'s images: the encoder's, or where the search from them ends. (N, C, H,
        W) -> (N, d)."""
        codes = self.encoder(images)
        if self.settings is None:
            return codes
        searched = torch.ones(len(images), dtype=torch.bool, device=images.device)
        if self.threshold is not None:
            searched = self.suspicious(self.indicator(self.generator(codes), images))
        (rows,) = searched.nonzero(as_tuple=True)
        if not len(rows):
            return codes
        found = latent_search(self.generator, images[rows], codes[rows, None], self.settings)
        return codes.index_put((rows,), found.latents)

    def generate(self, codes: Tensor) -> Tensor:
        """The generator's images, (N, d) -> (N, C, H, W) in [0, 1]."""
        return self.generator(codes)

    def suspicious(self, score: Tensor) -> Tensor:
        """Which images of detection scores (N,) the rule searches, (N,) bool. The scores may be
        those that a set of purified images was saved with.

        Raises ValueError if there is no threshold.
        """
        if self.threshold is None:
            raise ValueError("this purifier has no threshold: it searches all images, or none")
        return score.detach() > self.threshold

    def score_purified(self, images: Tensor, purified: Tensor) -> Tensor:
        """The indicator (N,) after one pass, also where a search made `purified` (section 4.4)."""
        if self.settings is None:
            return self.indicator(purified, images)
        return self.indicator(self.generator(self.encoder(images)), images)

    def score(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        return self.indicator(self.generator(self.encoder(images)), images)
