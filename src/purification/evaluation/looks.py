"""Looks at a defended model that attack nothing, and show why attacks on it may say little.

A defence that draws random numbers, that optimises while it classifies, or that has no gradient is
not broken by an attack that assumes the opposite (Athalye et al. 2018, "Obfuscated gradients give a
false sense of security"; Croce et al. 2021, "RobustBench", which admits neither of the first two,
and 2022, "Evaluating the adversarial robustness of adaptive test-time defenses").
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from purification.attacks.drawn import Draws
from purification.attacks.gradient import logits_and_input_gradient
from purification.attacks.run import frozen
from purification.guests import LOGIT_TOLERANCE, name_of, refuse_not_finite
from purification.purifiers.latent_search import latent_search
from purification.randomness import isolated_rng

CALLS = 5
"""Calls with the same images whose logits are compared."""
_OPTIMISERS = {one.__code__ for one in (torch.autograd.grad, torch.autograd.backward)}
_OPTIMISERS |= {latent_search.__code__}  # which has its derivatives written out
_SEED = 0


def is_noisy(model: nn.Module, images: Tensor, batch_size: int) -> bool:
    """Whether logits differ between `CALLS` calls with the same images, whatever the model says of
    itself: on the CPU, where the same call is the same arithmetic, by anything at all; on a GPU by
    more than `LOGIT_TOLERANCE` of the largest logit of their image, or of 1 if that is smaller.

    `model`: (N, C, H, W) in [0, 1] -> logits (N, classes); one that takes seeds is given other ones
    in each call. torch's global random state is as it was. Raises FloatingPointError for logits
    that are not finite.
    """
    with frozen(model), torch.no_grad(), isolated_rng(_SEED):
        return any(
            _differ([shown(batch) for _ in range(CALLS)], numbers, model)
            for shown, batch, numbers in _batches(model, images, batch_size)
        )


def _differ(logits: Sequence[Tensor], numbers: Sequence[int], model: nn.Module) -> bool:
    for one in logits:
        refuse_not_finite(one, f"{name_of(model)}: the logits", numbers)
    first, *others = logits
    unit = first.abs().amax(dim=1, keepdim=True).clamp(min=1)
    allowed = 0.0 if first.device.type == "cpu" else LOGIT_TOLERANCE
    return any(bool(((other - first).abs() > allowed * unit).any()) for other in others)


def optimises(model: nn.Module, images: Tensor, batch_size: int) -> bool:
    """Whether a forward pass without gradients takes gradients inside, or searches a latent space:
    seen as it runs, in this thread. A module whose optimisation cannot be seen, because it has its
    derivatives written out, states `optimises = True`.

    Arguments, randomness and errors as for `is_noisy`.
    """
    if any(getattr(module, "optimises", False) is True for module in model.modules()):
        return True
    with frozen(model), torch.no_grad(), isolated_rng(_SEED):
        for shown, batch, numbers in _batches(model, images, batch_size):
            with _calls_of_optimisers() as seen:
                logits = shown(batch)
            refuse_not_finite(logits, f"{name_of(model)}: the logits", numbers)
            if seen:
                return True
    return False


@contextmanager
def _calls_of_optimisers() -> Iterator[list[str]]:
    """The names of those of `_OPTIMISERS` that are called inside the block, by whatever name they
    were imported. (AutoAttack looks for such calls too, by `sys.settrace`.)"""
    seen: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code in _OPTIMISERS:
            seen.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield seen
    finally:
        if hasattr(before, "enable"):  # one written in C, such as cProfile's, is no function
            before.enable()
        else:
            sys.setprofile(before)


def zero_gradient_share(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> float:
    """Share of images at which the gradient of the label's log-odds is exactly zero: an attack that
    climbs it cannot move them. Arguments, with labels int64 (N,), and errors as for `is_noisy`, for
    gradients too."""
    zero = 0
    with frozen(model), isolated_rng(_SEED):
        for shown, batch, numbers in _batches(model, images, batch_size):
            own = labels[numbers.start : numbers.stop].to(batch.device)
            logits, gradient = logits_and_input_gradient(shown, batch, own)
            for what, values in (("logits", logits), ("gradients of the log-odds", gradient)):
                refuse_not_finite(values, f"{name_of(model)}: the {what}", numbers)
            zero += int((gradient == 0).flatten(1).all(dim=1).sum())
    return zero / len(images)


def _batches(
    model: nn.Module, images: Tensor, batch_size: int
) -> Iterator[tuple[nn.Module, Tensor, range]]:
    """The images a batch at a time on the model's device, with their numbers, and the model for
    them: each of its calls is another draw of a randomised one."""
    device = next((p.device for p in model.parameters()), images.device)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size].to(device)
        numbers = range(start, start + len(batch))
        yield Draws(_SEED, _SEED).attacked(model, numbers, "look"), batch, numbers
