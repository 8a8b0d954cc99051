"""Steps of a long computation, of whose backward pass only one is in memory at a time."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(step: Callable[..., Tensor], state: Tensor, *arguments: Any) -> Tensor:
    """`step(state, *arguments)`, whose inner results are computed again in the backward pass.

    Values and gradients are those of the step itself, for a forward pass more. Of a chain of steps
    the states alone are kept, and the inner results of one. The step must be a function of its
    arguments alone, and return a tensor. Where no gradient is asked for, it is just called.
    """
    if not (torch.is_grad_enabled() and state.requires_grad):
        return step(state, *arguments)
    made: Tensor = checkpoint(
        step, state, *arguments, use_reentrant=False, preserve_rng_state=False
    )
    return made
