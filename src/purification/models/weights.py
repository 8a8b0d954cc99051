"""Weights that were trained elsewhere."""

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
PREFIXES = ("_orig_mod.", "module.", "_orig_mod.")
"""What torch.compile and DataParallel put before all names, in either order."""


def load_weights(network: nn.Module, path: str | Path, called: str) -> None:
    """Put the weights of a file into `network`, bit for bit. A message calls it `called`.

    The file is safetensors or a state_dict by `torch.save`, perhaps under one of `WRAPPERS`, its
    names perhaps behind one of `PREFIXES`. Raises ValueError, naming the file, if it is neither, or
    the first weights whose name, type or shape is not the network's, with those expected.
    """
    found, wanted = _tensors(path), network.state_dict()
    for prefix in PREFIXES:
        if not any(name.startswith(prefix) for name in wanted):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    given, expected = (
        [f"{name} {str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for name, t in s.items()]
        for s in (found, wanted)
    )
    missing = [x for x in expected if x not in given]
    surplus = [x for x in given if x not in expected]
    if missing or surplus:
        raise ValueError(
            f"{path}: not the weights of {called}; expected and not there: {_few(missing)}; "
            f"there and not expected: {_few(surplus)}"
        )
    network.load_state_dict(found)


def _tensors(path: str | Path) -> dict[str, Tensor]:
    hint = "save model.state_dict() alone, with torch.save or safetensors"
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        # Of a whole module torch's message goes on with how to run any code in the file.
        start = str(error).partition("\n")[0][:160]
        raise ValueError(f"{path}: not a file of weights alone ({start}): {hint}") from error
    while isinstance(found, Mapping):
        inner = [found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)]
        if not inner:
            break
        found = inner[0]
    tensors = dict(found) if isinstance(found, Mapping) else {type(found).__name__: found}
    if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ValueError(f"{path}: expected tensors by name, found {_few(tensors)}: {hint}")
    return tensors


def _few(names: Iterable[Any]) -> str:
    shown = [str(name) for name in names]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return (", ".join(shown[:3]) or "nothing") + more
