"""Weights that were trained elsewhere, into a network that is built here."""

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep a state_dict beside an epoch or an optimizer."""
PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before all names."""


def load_weights(network: nn.Module, path: str | Path, called: str) -> None:
    """Put the weights of a file into a network, bit for bit.

    They must have the network's names, shapes and types. A state_dict under one of `WRAPPERS` and
    names that all begin with one of `PREFIXES` are understood.

    Args:
        path: a safetensors file; otherwise what `torch.save` made of a state_dict, of which nothing
            but tensors and plain values is unpickled.
        called: what messages call the network.

    Raises:
        ValueError: the file holds something else, or other weights. The message names the file and
            the first weights that are missing, not expected, or of another shape or type.
    """
    found, wanted = _tensors(path), network.state_dict()
    for prefix in PREFIXES:
        if all(n.startswith(prefix) for n in found) and not any(
            n.startswith(prefix) for n in wanted
        ):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    others = (
        f"{name} is {_form(found[name])}, expected {_form(wanted[name])}"
        for name in wanted
        if name in found and _form(found[name]) != _form(wanted[name])
    )
    problems = {
        "missing": [name for name in wanted if name not in found],
        "not expected": [name for name in found if name not in wanted],
        "of another form": list(others),
    }
    told = "; ".join(f"{what}: {_few(names)}" for what, names in problems.items() if names)
    if told:
        raise ValueError(f"{path}: these are not the weights of {called}; {told}")
    network.load_state_dict(found)


def _tensors(path: str | Path) -> dict[str, Tensor]:
    hint = "save model.state_dict() alone, with torch.save or safetensors"
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        # A whole module is refused with pages of advice that end in running any code of the file.
        first = str(error).partition("\n")[0][:200]
        raise ValueError(f"{path}: not a file of weights alone ({first}): {hint}") from error
    while isinstance(found, Mapping):
        inner = [found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)]
        if not inner:
            break
        found = inner[0]
    if not isinstance(found, Mapping) or not all(isinstance(t, Tensor) for t in found.values()):
        what = (
            f"the keys {_few(found)}" if isinstance(found, Mapping) else f"a {type(found).__name__}"
        )
        raise ValueError(f"{path}: expected tensors by their names, found {what}: {hint}")
    return dict(found)


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _few(names: Iterable[Any]) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
