"""The attack in the latent space of a defence's generator (Jalal et al. 2017)."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from purification.attacks import losses
from purification.attacks.balls import Ball, L2Ball, LinfBall
from purification.attacks.contract import attack
from purification.attacks.drawn import Drawn
from purification.attacks.gradient import per_image
from purification.guests import check_tensor, name_of, refuse_images
from purification.randomness import is_randomised, per_image_generators

SETTINGS = {
    "iterations": "count",
    "learning_rate": "positive",
    "restarts": {"type": "integer", "minimum": 0},
    "confidence": "not_negative",
}
_BETA1, _BETA2, _ADAM_EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba 2015, algorithm 1


@attack(
    norm="linf",
    settings={"epsilon": "epsilon", **SETTINGS},
    gradient_based=False,
    generator=True,
)
def latent(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    iterations: int = 100,
    learning_rate: float = 0.05,
    restarts: int = 1,
    confidence: float = 20.0,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    """A code whose image another class wins, as near to the epsilon ball as can be.

    After Jalal et al. 2017, "The Robust Manifold Defense: adversarial training using generative
    models", whose attack on Defense-GAN ("overpowered") descends in the generator's codes. A
    defence that replaces images by a generator's cannot clean away what the generator itself can
    draw. Adam minimises for each start

        max(0, margin(classifier(G(z))) + confidence) + |G(z) - P(G(z))|_2

    in z, where the margin is the label's logit minus the largest other one, and P the nearest point
    of the ball around the image; the second term is the excess over the ball. The image that is
    returned is P(G(z)) for the least of this. No gradient passes the defence's search or encoder.

    Starts are the code at which the defence itself arrives for the image, and `restarts` random
    ones, normal and in the mean as long as it. Of the images that they end at, and the image as it
    is given, the one of least margin under the whole defence is returned: `restarts` + 2 passes
    through it, and `iterations` through generator and classifier for each start.

    The model must be a `Defended` whose purifier has `latent_codes` and `generate`
    (`purifiers.Purifier`), or ValueError is raised.

    Args:
        epsilon: l-inf radius, in pixel units of [0, 1].
        iterations: Adam steps from each start.
        learning_rate: Adam's, in units of the codes.
        restarts: random starts beside the defence's own; 0 for none.
        confidence: margin, in logits, by which another class must win. The defence's search does
            not end exactly at the code that was found, so that a small one is lost: before
            Defense-GAN on the digits (L=25, R=2, classifier A, epsilon 0.1, 100 images) 0.89 were
            left with 0, 0.84 with 3 and 0.69 with 10.
    """
    search = _LatentAttack("latent", model, images, labels, LinfBall(images.detach(), epsilon))
    return search.run(epsilon, iterations, learning_rate, restarts, confidence, seed, indices)


@attack(
    norm="l2",
    settings={"epsilon": "length", **SETTINGS},
    gradient_based=False,
    generator=True,
)
def latent_l2(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    iterations: int = 100,
    learning_rate: float = 0.05,
    restarts: int = 1,
    confidence: float = 20.0,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    """`latent` in an l2 ball, as Jalal et al. 2017 have it.

    The excess is max(0, |G(z) - x|_2 - epsilon). Where it is zero, the image returned is G(z)
    itself.

    Args:
        epsilon: l2 radius, in pixel units of [0, 1].
        iterations: Adam steps from each start.
        learning_rate: Adam's, in units of the codes.
        restarts: random starts beside the defence's own; 0 for none.
        confidence: margin, in logits, by which another class must win.
    """
    search = _LatentAttack("latent_l2", model, images, labels, L2Ball(images.detach(), epsilon))
    return search.run(epsilon, iterations, learning_rate, restarts, confidence, seed, indices)


class _LatentAttack:
    def __init__(
        self, method: str, model: nn.Module, images: Tensor, labels: Tensor, ball: Ball
    ) -> None:
        self._method, self._model, self._ball = method, model, ball
        self._images, self._labels = images.detach(), labels
        self._purifier, self._classifier = _parts_of(method, model)

    def run(
        self,
        epsilon: float,
        iterations: int,
        learning_rate: float,
        restarts: int,
        confidence: float,
        seed: int,
        indices: Iterable[int],
    ) -> Tensor:
        lengths = 0 <= epsilon < math.inf and 0 < learning_rate < math.inf
        if not (lengths and iterations >= 1 and restarts >= 0 and confidence >= 0):
            raise ValueError(
                f"{self._method}: epsilon, restarts and confidence must not be negative, "
                "learning_rate must be positive, iterations at least 1; got "
                f"{epsilon}, {restarts}, {confidence}, {learning_rate}, {iterations}"
            )
        indices = list(indices)
        if len(indices) != len(self._images):
            count = len(self._images)
            raise ValueError(f"{self._method}: {len(indices)} indices for {count} images")
        with torch.no_grad():
            best, least = self._images, -losses.margin(self._model(self._images), self._labels)
        for codes in self._starts(restarts, seed, indices):
            codes = self._descend(codes, iterations, learning_rate, confidence, indices)
            with torch.no_grad():
                found = self._ball.project(self._generated(codes))
                margin = -losses.margin(self._model(found), self._labels)
            better = margin < least
            best = torch.where(per_image(better, found), found, best)
            least = torch.where(better, margin, least)
        return best

    def _starts(self, restarts: int, seed: int, indices: list[int]) -> Iterable[Tensor]:
        """Codes (N, d), the defence's own and then random ones."""
        with torch.no_grad():
            own = self._purifier.latent_codes(self._images)
        shape = (len(self._images), own.shape[-1] if isinstance(own, Tensor) else 0)
        name = f"{name_of(self._purifier)}: latent_codes"
        check_tensor(name, own, shape, self._images.dtype, self._images.device)
        yield own.detach()
        generators = per_image_generators(seed, indices)
        scale = own.square().mean(dim=1, keepdim=True).sqrt()
        for _ in range(restarts):
            # Drawn on the CPU and in float32, so that a GPU and float64 get the same numbers.
            drawn = torch.stack([torch.randn(own.shape[1], generator=g) for g in generators])
            yield scale * drawn.to(own)

    def _descend(
        self,
        codes: Tensor,
        iterations: int,
        learning_rate: float,
        confidence: float,
        indices: list[int],
    ) -> Tensor:
        """Those codes (N, d) on Adam's way from `codes` whose objective is least."""
        # Adam written out: torch.optim's first step imports a compiler, for longer than many an
        # attack.
        mean, square = torch.zeros_like(codes), torch.zeros_like(codes)
        best, least = codes, codes.new_full((len(codes),), math.inf)
        wrong = torch.zeros_like(self._labels, dtype=torch.bool)
        for step in range(1, iterations + 2):
            objective, gradient = self._objective(codes, confidence)
            wrong |= ~(objective.isfinite() & gradient.isfinite().all(dim=1))
            better = objective < least
            best = torch.where(better[:, None], codes, best)
            least = torch.where(better, objective, least)
            mean = mean.lerp(gradient, 1 - _BETA1)
            square = square.lerp(gradient.square(), 1 - _BETA2)
            spread = (square / (1 - _BETA2**step)).sqrt() + _ADAM_EPSILON
            codes = codes - learning_rate * mean / (1 - _BETA1**step) / spread
        place = f"attack {self._method!r}: {name_of(self._purifier)} and its classifier"
        if bool(wrong.any()):
            refuse_images(wrong, f"{place}: logits or gradients are not finite", indices)
        return best

    def _objective(self, codes: Tensor, confidence: float) -> tuple[Tensor, Tensor]:
        """Its values (N,) and its gradient (N, d)."""
        # The caller may be under no_grad; the attack needs the graph all the same.
        with torch.enable_grad():
            codes = codes.detach().requires_grad_()
            generated = self._generated(codes)
            margin = -losses.margin(self._classifier(generated), self._labels)
            excess = generated - self._ball.project(generated).detach()
            # The nearest point's own motion has no part in the distance's gradient.
            distance = torch.linalg.vector_norm(excess.flatten(1), dim=1)
            objective = (margin + confidence).clamp(min=0) + distance
            (gradient,) = torch.autograd.grad(objective.sum(), codes)
        return objective.detach(), gradient

    def _generated(self, codes: Tensor) -> Tensor:
        made: Tensor = self._purifier.generate(codes)
        shape, name = self._images.shape, f"{name_of(self._purifier)}: generate"
        check_tensor(name, made, shape, self._images.dtype, self._images.device)
        return made


def _parts_of(method: str, model: nn.Module) -> tuple[Any, nn.Module]:
    """The purifier with a generator, and the classifier behind it, of a `Defended`."""
    if isinstance(model, Drawn) or is_randomised(model):
        raise ValueError(
            f"attack {method!r} searches the codes at which a defence arrives, and a randomised "
            "one arrives at others in each draw: expected a deterministic defence"
        )
    purifier, classifier = (getattr(model, name, None) for name in ("purifier", "classifier"))
    if purifier is None or classifier is None:
        raise ValueError(
            f"attack {method!r} searches the codes of a defence's generator; expected a "
            f"Defended(purifier, classifier), got {name_of(model)}"
        )
    if not all(callable(getattr(purifier, name, None)) for name in ("latent_codes", "generate")):
        inner = getattr(purifier, "purifier", purifier)
        raise ValueError(
            f"attack {method!r} searches the codes of a defence's generator, and {name_of(inner)} "
            "has none: a purifier that has one states it by its methods latent_codes and generate"
        )
    return purifier, classifier
