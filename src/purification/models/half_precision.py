"""Whether a device computes in bfloat16, or only imitates it in many times the time."""

import warnings
from functools import cache
from typing import TypeVar

import torch

Precision = TypeVar("Precision", bound=str)


def usable(precision: Precision, device: torch.device) -> Precision:
    """`precision` itself, or "float32" for "bfloat16" where the device does not compute in it.

    PyTorch imitates it there, and warns of nothing: on a CPU of 2021 without it (Zen 3) a step of
    classifier A's training takes 10 times as long as in float32, and a search in the latent space
    of Defense-GAN 18 times (`benchmarks/bfloat16.py`). float32 is more exact and faster.
    """
    if precision != "bfloat16" or computes_in_bfloat16(device.type):
        return precision
    _warn_once(device.type)
    return "float32"  # type: ignore[return-value]


@cache
def computes_in_bfloat16(kind: str) -> bool:
    """Whether devices of this type, such as "cpu", have instructions for bfloat16."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return True
    try:
        return torch.backends.mkldnn.is_available() and bool(
            torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )
    except (AttributeError, RuntimeError):  # it is not documented, and may be gone one day
        return True


@cache
def _warn_once(kind: str) -> None:
    warnings.warn(
        f"this {kind} does not compute in bfloat16: float32 takes its place, which is faster here",
        stacklevel=4,
    )
