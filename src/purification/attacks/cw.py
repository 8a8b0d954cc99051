"""The l2 attack of Carlini and Wagner, "Towards evaluating the robustness of neural networks"."""

import math

import torch
from torch import Tensor, nn

from purification.attacks.contract import attack
from purification.attacks.gradient import per_image
from purification.attacks.losses import margin
from purification.attacks.moved import LastLook

# The authors' code shrinks images by this factor before atanh, which is infinite at exact 0 and 1
# (half of MNIST's pixels), and lets no constant grow beyond the second number.
_OPEN_BOX = 0.999999
_LARGEST_CONSTANT = 1e10
_BETA1, _BETA2, _ADAM_EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba 2015, algorithm 1


@attack(
    settings={
        "learning_rate": "positive",
        "constant": "positive",
        "iterations": "count",
        "binary_search_steps": "count",
        "confidence": "not_negative",
    },
    paper_name="cw",
)
def cw_l2(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    learning_rate: float,
    constant: float,
    iterations: int,
    binary_search_steps: int,
    confidence: float,
) -> Tensor:
    """Smallest l2 perturbation that leaves `labels`.

    min over w of |x' - x|^2 + c max(0, margin + confidence) with x' = (tanh(w) + 1) / 2, by Adam;
    margin is the logit of the label minus the largest other logit (Carlini and Wagner 2017,
    sec. V and VI). Defense-GAN (sec. 2.1, eq. 4; sec. 4.1.4) uses learning rate 10, constant 100
    and 100 iterations, its published code one search step and confidence 0. That code also stops
    when the summed loss of the batch stalls; here nothing stops early, as an image's result must
    not depend on its batch.

    At most `iterations` forward and backward passes a search step; the predictions come from the
    same passes, so the start counts as the first iterate and the last update is not looked at. What
    is returned is the success of smallest l2 norm of all iterates, or the image if there was none.

    The model is asked again only about images whose x' has changed (`moved.LastLook` says what that
    assumes). With Defense-GAN's learning rate tanh saturates within some five steps, and x' stands
    still, to the bit, for nine of ten images and steps; all gains come before. w moves on, so that
    an image may wake up again. Where the margin is won for all that are asked about, there is no
    backward pass: the second term has no slope.

    Args:
        learning_rate: Adam's, in tanh space.
        constant: the (first) c.
        iterations: Adam steps of each search step.
        binary_search_steps: 1 keeps c; more bisect it for each image between the largest that
            failed and the smallest that succeeded, times 10 while none has; with 10 or more, the
            last step repeats the smallest that succeeded (the authors' code).
        confidence: margin (in logits) by which another class must win.
    """
    if not (learning_rate > 0 and constant > 0 and confidence >= 0):
        raise ValueError(
            "cw_l2: learning_rate and constant must be positive, confidence not negative; got "
            f"{learning_rate}, {constant}, {confidence}"
        )
    if iterations < 1 or binary_search_steps < 1:
        raise ValueError(
            "cw_l2: iterations and binary_search_steps must be at least 1; got "
            f"{iterations}, {binary_search_steps}"
        )
    images = images.detach()
    settings = (learning_rate, iterations, confidence)
    best, best_norm = images, images.new_full((len(images),), math.inf)
    constants = images.new_full((len(images),), constant)
    lower, upper = torch.zeros_like(constants), torch.full_like(constants, math.inf)
    for search_step in range(binary_search_steps):
        if binary_search_steps >= 10 and search_step == binary_search_steps - 1:
            constants = upper.clamp(max=_LARGEST_CONSTANT)
        found, norm = _descend(model, images, labels, constants, *settings)
        best = torch.where(per_image(norm < best_norm, images), found, best)
        best_norm = torch.minimum(norm, best_norm)
        success = norm.isfinite()
        upper = torch.where(success, constants, upper)
        lower = torch.where(success, lower, constants)
        larger = (10 * constants).clamp(max=_LARGEST_CONSTANT)
        constants = torch.where(upper.isinf(), larger, (lower + upper) / 2)
    return best


def _descend(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    constants: Tensor,
    learning_rate: float,
    iterations: int,
    confidence: float,
) -> tuple[Tensor, Tensor]:
    """One search step at fixed constants (N,): the closest success and its l2 norm, inf if none."""
    w = torch.atanh(_OPEN_BOX * (2 * images - 1))
    # The distance term is measured from the shrunk image, whose gradient vanishes at the start; the
    # norm that decides is measured from the image itself.
    start = (torch.tanh(w) + 1) / 2
    # Adam written out: torch.optim's first step imports a compiler, for longer than many an attack.
    mean, square = torch.zeros_like(images), torch.zeros_like(images)
    best, best_norm = images.clone(), constants.new_full(constants.shape, math.inf)

    def lead(logits: Tensor, rows: Tensor) -> Tensor:
        """By how much the label still wins, the confidence included."""
        return confidence - margin(logits, labels[rows])

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        return constants[rows] * lead(logits, rows).clamp(min=0)

    look = LastLook(model, loss)
    for step in range(1, iterations + 1):
        squashed = torch.tanh(w)
        candidates = (squashed + 1) / 2
        rows = look.at(candidates)
        if len(rows):
            found = candidates[rows]
            norm = torch.linalg.vector_norm((found - images[rows]).flatten(1), dim=1)
            # Strict: at a tie argmax may still name the label.
            closer = (lead(look.logits[rows], rows) < 0) & (norm < best_norm[rows])
            best[rows] = torch.where(per_image(closer, images), found, best[rows])
            best_norm[rows] = torch.where(closer, norm, best_norm[rows])

        # The distance term's gradient is 2 (x' - start), and dx' / dw is (1 - tanh(w)^2) / 2. As w
        # goes on where x' is saturated, all this is done for all images; it costs next to nothing.
        gradient = (candidates - start).mul_(2).add_(look.gradients)
        gradient.div_(2).mul_(squashed.square_().neg_().add_(1))
        mean.lerp_(gradient, 1 - _BETA1)
        square.lerp_(gradient.square_(), 1 - _BETA2)
        spread = (square / (1 - _BETA2**step)).sqrt_().add_(_ADAM_EPSILON)
        w -= learning_rate * (mean / (1 - _BETA1**step)).div_(spread)
    return best, best_norm
