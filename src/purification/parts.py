"""Sets of images a part at a time: what is read so, and parts put together."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")


class Images(Protocol):
    """Images (N, C, H, W) in [0, 1], of which a slice without a step is a tensor: a tensor itself,
    or what reads each slice from its file (`storage.StoredImages`)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...

    @property
    def device(self) -> Any:
        """Where its slices are."""


def joined(parts: Iterable[Part]) -> Part:
    """Dataclasses of tensors (n, ...), one row an image, as one of them (N, ...), in their order.
    At least one."""
    first, *others = parts
    made = {
        field.name: torch.cat([getattr(part, field.name) for part in (first, *others)])
        for field in fields(first)  # type: ignore[arg-type]
    }
    return type(first)(**made)
