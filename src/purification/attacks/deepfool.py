"""DeepFool's l2 attack (Moosavi-Dezfooli et al. 2016)."""

import torch
from torch import Tensor, nn

from purification.attacks.balls import exponents
from purification.attacks.contract import attack
from purification.attacks.gradient import logit_differences, per_image
from purification.attacks.losses import likeliest_others
from purification.attacks.watch import part_of_batch

# Added to each step's length, and to gradients' norms before division: the authors' code and
# foolbox have the same first number, foolbox the second. It carries steps past a flat boundary.
_EXTRA_LENGTH, _SMALLEST_NORM = 1e-4, 1e-8
# Powers of 2 between which the largest value of a gradient is taken as it is: below them the
# smallest norm outweighs it, above them its square may be no float32.
_SMALLEST_EXPONENT, _LARGEST_EXPONENT = -40, 50
_LARGEST_DIFFERENCE = 1e30


@attack(
    ends_early=True,
    settings={
        "iterations": "count",
        "overshoot": "not_negative",
        "candidates": {"type": "integer", "minimum": 2},
    },
)
def deepfool(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    iterations: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
) -> Tensor:
    """A small l2 perturbation that leaves `labels`, by steps to the nearest linearised boundary.

    Moosavi-Dezfooli et al. 2016, "DeepFool: a simple and accurate method to fool deep neural
    networks", algorithm 2: with f_k the logits' difference to the label's and w_k its gradient, the
    step is |f_l| / ||w_l||^2 w_l for the class l of least |f_l| / ||w_l||; the steps r add up, and
    the iterate is x + (1 + overshoot) r, clipped to [0, 1] (as foolbox does; the paper has no box).

    An image is done when another class wins, and then leaves the batch. To know this costs one more
    forward pass and one wait for the device an iteration; to go on with it would cost a backward
    pass a candidate. An image whose r a step left as it was, to the bit, leaves too, as when its
    gradients are zero: the model being deterministic, all further steps would be the same. What is
    returned is the first iterate that leaves the label, the image itself if it is misclassified, or
    the last one.

    Args:
        iterations: largest number of steps; 50 in the authors' code.
        overshoot: 0.02 in the paper.
        candidates: classes of largest logits on the image itself, the label among them, to which
            the steps may lead; more than there are means all.
    """
    if iterations < 1 or candidates < 2 or overshoot < 0:
        raise ValueError(
            "deepfool: iterations must be at least 1, candidates at least 2, overshoot not "
            f"negative; got {iterations}, {candidates}, {overshoot}"
        )
    images = images.detach()
    result = images.clone()
    active = torch.arange(len(images), device=images.device)
    current, total, others = images, torch.zeros_like(images), None
    moving = torch.ones_like(labels, dtype=torch.bool)
    for _ in range(iterations):
        with torch.no_grad():
            logits = model(part_of_batch(current, active))
        if others is None:
            others = likeliest_others(logits, labels, candidates - 1)
        staying = ((logits.argmax(dim=1) == labels[active]) & moving).nonzero().squeeze(1)
        if len(staying) == 0:
            break
        active, total, others = active[staying], total[staying], others[staying]
        given = part_of_batch(current[staying].requires_grad_(), active)
        differences, gradients = logit_differences(model, given, labels[active], others)
        before, total = total, total + _nearest_step(differences, gradients)
        moving = (total != before).flatten(1).any(dim=1)
        current = (images[active] + (1 + overshoot) * total).clamp(0, 1)
        result[active] = current
    return result


def _nearest_step(differences: Tensor, gradients: Tensor) -> Tensor:
    """The shortest step (N, C, H, W) to where one of the K linearised differences is zero."""
    differences, gradients = _of_usual_size(differences, gradients)
    norms = torch.linalg.vector_norm(gradients.flatten(2), dim=2).T + _SMALLEST_NORM
    distance, nearest = (differences.abs() / norms).min(dim=1)
    rows = torch.arange(len(nearest), device=nearest.device)
    length = (distance + _EXTRA_LENGTH) / norms[rows, nearest]
    return per_image(length, gradients[0]) * gradients[nearest, rows]


def _of_usual_size(differences: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Differences (N, K) and their gradients (K, N, C, H, W), both divided by a power of 2 where
    the gradient is very small or very large, as through a long search: the step is the same, and
    its squares are float32. All others to the bit."""
    size = exponents(gradients.flatten(0, 1)).view(gradients.shape[:2])
    unusual = (size < _SMALLEST_EXPONENT) | (size > _LARGEST_EXPONENT)
    shift = torch.where(unusual, -size, 0)
    scaled = torch.ldexp(differences, shift.T).clamp(-_LARGEST_DIFFERENCE, _LARGEST_DIFFERENCE)
    differences = torch.where(unusual.T, scaled, differences)
    return differences, torch.ldexp(gradients, shift[..., None, None, None])
