"""The state of an interrupted training: networks, optimizers and history in a file of its own."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from purification.provenance import DamagedFile
from purification.runtime import warn
from purification.storage import read_state, write_checkpoint
from purification.training.finite import not_finite

History = list[dict[str, float | int]]


@dataclass(frozen=True)
class SavedState:
    """Where a training keeps its state, and what is in it.

    Attributes:
        path: a safetensors file. None: nothing is kept.
        digest: identifies everything that the weights depend on, but the number of iterations.
        networks: by their names.
        optimizers: by the name of the network whose weights they move.
    """

    path: Path | None
    digest: str
    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Adam]

    def save(self, iteration: int, history: History) -> None:
        if self.path is None:
            return
        state = {
            f"{name}.{key}": value
            for name, network in self.networks.items()
            for key, value in network.state_dict().items()
        }
        for name, optimizer in self.optimizers.items():
            for index, moments in optimizer.state_dict()["state"].items():
                state |= {f"{name}_adam.{index}.{key}": value for key, value in moments.items()}
        rows = json.dumps(history)
        digest = {"digest": self.digest}
        write_checkpoint(self.path, state, digest, iteration=str(iteration), history=rows)

    def resume(self, iterations: int, training: str) -> tuple[int, History]:
        """Loads the state if it is this training's, not beyond so many `iterations`, and finite;
        returns its iteration and history, or 0 and []. A damaged one is set aside, and `training`
        names it in the warning."""
        if self.path is None or not self.path.exists():
            return 0, []
        try:
            state, metadata = read_state(self.path)
        except DamagedFile as error:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            self.path.replace(aside)
            warn(f"{training}: {error}. It is now {aside}; the training begins anew")
            return 0, []
        known = metadata["recipe"].get("digest") == self.digest
        if not known or int(metadata["iteration"]) > iterations:
            return 0, []
        history = json.loads(metadata["history"])
        numbers = (value for row in history for value in row.values())
        if not_finite(state.items()) or not all(map(math.isfinite, numbers)):
            why = "holds numbers that are not finite"
            warn(f"{training}: {self.path} {why}; the training begins anew")
            return 0, []
        for name, network in self.networks.items():
            network.load_state_dict({key: state[f"{name}.{key}"] for key in network.state_dict()})
        for name, optimizer in self.optimizers.items():
            for index, weight in enumerate(self.networks[name].parameters()):
                own = f"{name}_adam.{index}"
                # Fused Adam wants the moments in the memory layout of their weights.
                optimizer.state[weight] = {
                    "step": state[f"{own}.step"].to(weight.device),
                    "exp_avg": torch.empty_like(weight).copy_(state[f"{own}.exp_avg"]),
                    "exp_avg_sq": torch.empty_like(weight).copy_(state[f"{own}.exp_avg_sq"]),
                }
        return int(metadata["iteration"]), history
