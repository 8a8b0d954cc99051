"""What the purification of an image costs: passes through the network, and time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purification.evaluation import costs
from purification.evaluation.costs import COST_COLUMNS, cost_rows, passes_of
from purification.models.wgan import Generator
from purification.purifiers import DefenseGAN
from purification.purifiers.aggregation import Aggregation
from purification.purifiers.descent import SearchSettings
from purification.randomness import normal_of
from purification.storage import write_dataset

IMAGES = torch.linspace(0, 1, 5 * 28 * 28).view(5, 1, 28, 28)


class Steps(nn.Module):
    """A network that is run so many times on each image, with an activation that is run twice as
    often."""

    def __init__(self, steps: int, randomised: bool = False) -> None:
        super().__init__()
        self.steps, self.randomised = steps, randomised
        self.small, self.large = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 3, padding=1)
        self.activation = nn.ReLU()
        self.seeds: list[list[int]] = []

    def forward(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        assert (seeds is not None) == self.randomised
        if seeds is not None:
            self.seeds.append(seeds.tolist())
            images = images + normal_of(seeds, images.shape[1:])
        images = self.activation(self.small(images))
        for _ in range(self.steps):
            images = self.activation(self.activation(self.large(images)))
        return images.clamp(0, 1)


def search(**settings: Any) -> DefenseGAN:
    generator = Generator(latent=4, width=2, output_shape=(1, 28, 28))
    starts = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    return DefenseGAN(generator, starts, SearchSettings(steps=6, **settings))


def test_a_network_is_passed_as_often_as_its_largest_layer_is_called() -> None:
    assert [passes_of(Steps(n), IMAGES) for n in (1, 7)] == [1, 7]
    assert passes_of(Steps(3, randomised=True), IMAGES) == 3
    # Without a network there is none to pass.
    assert passes_of(nn.Identity(), IMAGES) == 0


def test_a_search_says_it_itself() -> None:
    assert passes_of(search(), IMAGES) == 3 * (6 + 1)
    # Three restarts for two steps, one for four, and a last look at it.
    assert passes_of(search(prune=((2, 1),)), IMAGES) == 3 * 2 + 1 * 4 + 1
    early = search(tolerance=0.9, patience=2)
    assert 3 * (2 + 1) <= passes_of(early, IMAGES) < 3 * (6 + 1)


def test_an_evaluation_on_several_draws_costs_as_many() -> None:
    several = Steps(3, randomised=True)
    several.aggregation = Aggregation(draws=4)
    assert passes_of(several, IMAGES) == 4 * 3
    # Each a draw of its own.
    assert len({tuple(seeds) for seeds in several.seeds}) == 4


def test_what_a_purifier_says_itself_is_looked_at() -> None:
    own = Steps(1)
    own.network_passes = lambda images, seeds: torch.arange(1, len(images) + 1)
    assert passes_of(own, IMAGES) == 3
    for wrong in (torch.ones(2), [1.0] * 5, torch.tensor([torch.nan] * 5), -torch.ones(5), None):
        own.network_passes = lambda images, seeds, wrong=wrong: wrong
        with pytest.raises(
            ValueError, match=r"Steps: network_passes returned .*, expected a tensor"
        ):
            passes_of(own, IMAGES)


def test_the_rows_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = IMAGES.numpy(), np.zeros(5, np.int64)
    file = tmp_path / "dataset.h5"
    write_dataset(file, dict.fromkeys(("train", "validation", "test"), (images, labels)), {})
    drawn = Steps(2, randomised=True)
    made = {"plain": Steps(1), "drawn": drawn}
    monkeypatch.setattr(costs, "fitted_purifier", lambda own, files: made[own["name"]])
    recipe = {
        **{"dataset": {"name": "digits"}, "seed": 0, "classifier": "A"},
        "purifiers": {name: {"name": name, "networks": {}} for name in made},
        **{"images": 4, "repeats": 3},
    }
    rows = cost_rows(recipe, {"dataset": str(file)}, torch.device("cpu"))
    assert [tuple(row) for row in rows] == [COST_COLUMNS] * 2
    assert [(row["purifier"], row["passes"], row["images"]) for row in rows] == [
        *(("plain", 1, 4), ("drawn", 2, 4))
    ]
    assert all(0 < row["ms_q1"] <= row["ms"] <= row["ms_q3"] for row in rows)
    # An image has a draw of its own, the same in each turn.
    assert len({tuple(seeds) for seeds in drawn.seeds if len(seeds) == 4}) == 1
    assert len(set(drawn.seeds[-1])) == 4
