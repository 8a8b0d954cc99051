"""One search for a whole sweep over steps and restarts: every cell is that of its own search."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purification.evaluation.sweeps import sweep_images
from purification.models.checkpoints import save_network
from purification.models.wgan import Generator
from purification.purifiers import (
    SearchSettings,
    draw_starts,
    latent_search,
    reconstruction_error,
)
from purification.purifiers.descent import SearchResult
from purification.purifiers.latent_search import sweep_search
from purification.purifiers.loading import load_search
from purification.randomness import isolated_rng
from purification.storage import ImageSet, write_dataset, write_image_set

# Narrows twice on the way: 6 restarts to step 7, 4 to 20, 1 to 25.
CELLS = ((7, 4), (1, 6), (20, 1), (3, 4), (7, 6), (7, 1), (20, 4), (25, 1))
SETTINGS = SearchSettings(steps=0, step_size=1.0)


class SmallGenerator(nn.Module):
    """Smooth, with a sigmoid, and float64: other batch sizes change no digit that is compared."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.first = nn.Parameter(torch.randn(8, 3, generator=random, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(16, 8, generator=random, dtype=torch.float64))
        self.largest_batch = self.images = 0

    def forward(self, latents: Tensor) -> Tensor:
        self.largest_batch = max(self.largest_batch, len(latents))
        self.images += len(latents)
        return torch.sigmoid(torch.tanh(latents @ self.first.T) @ self.second.T).view(-1, 1, 4, 4)


def images_of(count: int) -> Tensor:
    random = torch.Generator().manual_seed(7)
    return torch.rand(count, 1, 4, 4, generator=random, dtype=torch.float64)


def starts_of(restarts: int) -> Tensor:
    """Far apart, so that the restarts end in different places."""
    return draw_starts(restarts, 3, torch.Generator().manual_seed(3)).double() * 6


Sweep = dict[tuple[int, int], SearchResult]


def sweep(images: Tensor, starts: Tensor, cells: object = CELLS) -> Sweep:
    return sweep_search(SmallGenerator(), images, starts, SETTINGS, cells)


def assert_equals_separate_searches(
    result: Sweep, generator: nn.Module, images: Tensor, starts: Tensor, tolerance: float
) -> None:
    for (steps, restarts), found in result.items():
        settings = SearchSettings(steps, SETTINGS.step_size)
        alone = latent_search(generator, images, starts[..., :restarts, :], settings)
        close = {"rtol": 0, "atol": tolerance, "msg": f"L={steps}, R={restarts}"}
        assert torch.equal(found.restart, alone.restart)
        torch.testing.assert_close(found.objective, alone.objective, **close)
        torch.testing.assert_close(found.latents, alone.latents, **close)
        torch.testing.assert_close(found.reconstructions, alone.reconstructions, **close)


def test_every_cell_equals_a_search_of_its_own() -> None:
    images, starts = images_of(12), starts_of(6)
    result = sweep(images, starts)
    assert set(result) == set(CELLS)
    assert_equals_separate_searches(result, SmallGenerator(), images, starts, 1e-12)
    # Cells that were all alike would agree with anything.
    assert result[7, 6].restart.unique().numel() > 2
    errors = torch.stack([found.objective for found in result.values()])
    assert errors.std(dim=0).min() > 0


def test_every_cell_equals_a_search_of_its_own_with_the_papers_network_in_float32() -> None:
    with isolated_rng(0):
        generator = Generator(latent=8, width=4, output_shape=(1, 28, 28)).eval()
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    starts = draw_starts(3, 8, torch.Generator().manual_seed(1))
    result = sweep_search(generator, images, starts, SETTINGS, [(30, 1), (5, 3), (5, 1), (30, 3)])
    assert result[5, 3].objective.dtype == torch.float32
    assert_equals_separate_searches(result, generator, images, starts, 1e-6)


def test_own_starts_for_each_image() -> None:
    images, starts = images_of(4), starts_of(24).view(4, 6, 3)
    assert_equals_separate_searches(sweep(images, starts), SmallGenerator(), images, starts, 1e-12)


def test_reconstruction_error_never_rises_with_restarts() -> None:
    images = images_of(40)
    cells = [(20, restarts) for restarts in range(1, 7)]
    result = sweep(images, starts_of(6), cells)
    errors = torch.stack([result[cell].objective for cell in cells])
    assert (errors.diff(dim=0) <= 0).all(), "more restarts made some image worse"
    assert (errors.diff(dim=0) < 0).any(dim=1).all(), "a restart that never wins"
    for found in result.values():
        torch.testing.assert_close(
            reconstruction_error(found.reconstructions, images), found.objective
        )


def test_the_objective_of_the_settings_chooses_the_winner() -> None:
    def largest_difference(reconstructions: Tensor, images: Tensor) -> Tensor:
        return (reconstructions - images).abs().flatten(1).amax(1)

    images, starts = images_of(12), starts_of(6)
    settings = SearchSettings(0, step_size=0.1, objective=largest_difference)
    result = sweep_search(SmallGenerator(), images, starts, settings, [(4, 6)])[4, 6]
    own = SearchSettings(4, step_size=0.1, objective=largest_difference)
    alone = latent_search(SmallGenerator(), images, starts, own)
    torch.testing.assert_close(result.objective, alone.objective)
    assert torch.equal(result.restart, alone.restart)


def test_order_repetition_and_form_of_the_cells_change_none() -> None:
    images, starts = images_of(5), starts_of(6)
    result = sweep(images, starts)
    # YAML has lists.
    other = sweep(images, starts, [list(cell) for cell in (*CELLS[::-1], CELLS[0])])
    assert set(other) == set(result)
    for cell, found in result.items():
        assert torch.equal(other[cell].reconstructions, found.reconstructions)


def test_a_sweep_costs_the_area_under_its_cells() -> None:
    generator = SmallGenerator()
    sweep_search(generator, images_of(5), starts_of(9), SETTINGS, CELLS)
    assert generator.largest_batch == 5 * 6, "starts beyond the largest R were searched"
    looks = 3 * 6 + 4 + 1  # at L = 1, 3, 7, then 20, then 25
    assert generator.images == 5 * (7 * 6 + 13 * 4 + 5 * 1 + looks)


def test_nothing_of_a_sweep_is_differentiable() -> None:
    for found in sweep(images_of(2).requires_grad_(), starts_of(6)).values():
        assert not found.objective.requires_grad
        assert not found.reconstructions.requires_grad


@pytest.mark.parametrize(
    ("cells", "wrong"),
    [
        ([], r"\[\]"),
        ([(5, 1), (0, 1)], r"\[\(0, 1\)\]"),
        ([(5, 0)], r"\[\(5, 0\)\]"),
        ([(5, 7), (5, 6)], r"\[\(5, 7\)\]"),
    ],
)
def test_what_is_no_sweep_is_refused(cells: list[tuple[int, int]], wrong: str) -> None:
    with pytest.raises(ValueError, match=f"R from 1 to 6, .* got {wrong}"):
        sweep(images_of(2), starts_of(6), cells)


def test_wrong_starts_are_refused() -> None:
    with pytest.raises(ValueError, match="starts must be"):
        sweep(images_of(2), starts_of(6).view(3, 2, 3), [(1, 1)])


# The sweep of a recipe's images


@pytest.fixture
def recipe() -> dict[str, Any]:
    """Of 11 validation images, in a small generator of the paper's form."""
    network = {
        "kind": "Generator",
        "settings": {"latent": 8, "width": 4},
        "dataset": {"settings": {"source": "digits"}},
    }
    purifier = {
        **{"name": "defense_gan", "seed": 0, "method": "defense_gan"},
        **{"settings": {"step_size": 10.0, "momentum": 0.7}, "networks": {"generator": network}},
    }
    cells = {"L2_R3": [2, 3], "L6_R1": [6, 1], "L6_R3": [6, 3]}
    given = {"attacked": None, "split": "validation", "images": 11}
    return {"seed": 0, "purifier": purifier, "cells": cells, **given}


@pytest.fixture
def files(recipe: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    """The generator, 20 clean images, and an attacked set with what is known of it."""
    with isolated_rng(0):
        generator = Generator(latent=8, width=4, output_shape=(1, 28, 28))
    network = recipe["purifier"]["networks"]["generator"]
    paths = {name: str(tmp_path / name) for name in ("generator", "dataset", "attacked")}
    save_network(paths["generator"], generator, network, (1, 28, 28))
    images = np.random.default_rng(0).random((20, 1, 28, 28), dtype=np.float32)
    labels = np.arange(20) % 10
    write_dataset(paths["dataset"], {"validation": (images, labels)}, {})
    fields = {"success": np.arange(5) > 2}
    attacked = ImageSet(images[:5] ** 2, labels[:5], fields, {"queries": 300})
    write_image_set(paths["attacked"], attacked, {})
    return paths


def test_an_images_winner_depends_on_no_batch(recipe: dict, files: dict) -> None:
    sets = [sweep_images(recipe, files, size, torch.device("cpu")) for size in (3, 7)]
    assert set(sets[0]) == set(recipe["cells"])
    for name in recipe["cells"]:
        by_three, by_seven = (found[name] for found in sets)
        assert len(by_three.images) == 11
        assert (by_three.fields["restart"] == by_seven.fields["restart"]).all()
        assert abs(by_three.images - by_seven.images).max() < 1e-5
        errors = [found.fields["reconstruction_error"] for found in (by_three, by_seven)]
        np.testing.assert_allclose(*errors, rtol=1e-5)
    assert len(np.unique(sets[0]["L6_R3"].fields["restart"])) > 1


def test_a_sweep_starts_where_its_defense_does(recipe: dict, files: dict) -> None:
    images, starts = {}, {}
    for kind in ("published", "prior"):
        recipe["purifier"]["settings"]["starts"] = kind
        images[kind] = sweep_images(recipe, files, 11, torch.device("cpu"))["L2_R3"].images
        starts[kind] = load_search(recipe["purifier"], files, 2, 3)[1]
    torch.testing.assert_close(starts["prior"], starts["published"] * 8**0.5)
    assert abs(images["prior"] - images["published"]).max() > 1e-3


def test_a_sweep_keeps_what_was_known_of_attacked_images(recipe: dict, files: dict) -> None:
    recipe |= {"attacked": {"name": "fgsm"}, "split": None, "images": None}
    for found in sweep_images(recipe, files, 4, torch.device("cpu")).values():
        assert found.labels.tolist() == [0, 1, 2, 3, 4]
        assert found.fields["success"].tolist() == [False, False, False, True, True]
        assert found.attributes["queries"] == 300
        assert set(found.fields) == {"success", "score", "reconstruction_error", "restart"}


def test_clean_accuracy_rises_with_steps_and_restarts() -> None:
    """Images of the generator itself, told apart by the nearest of ten prototypes: the nearer the
    search comes, the more of them keep their class, and at its end nearly all do."""
    generator, random = SmallGenerator(), torch.Generator().manual_seed(5)
    with torch.no_grad():
        prototypes = generator(4 * torch.randn(10, 3, generator=random, dtype=torch.float64))
        images = generator(4 * torch.randn(100, 3, generator=random, dtype=torch.float64))

    def classes(given: Tensor) -> Tensor:
        return torch.cdist(given.flatten(1), prototypes.flatten(1)).argmin(dim=1)

    cells = [(steps, restarts) for steps in (1, 5, 25, 125) for restarts in (1, 4, 16)]
    settings = SearchSettings(steps=0, step_size=2.0)
    found = sweep_search(generator, images, starts_of(16), settings, cells)
    accuracy = {
        cell: (classes(result.reconstructions) == classes(images)).double().mean().item()
        for cell, result in found.items()
    }
    over_steps = [accuracy[steps, 16] for steps in (1, 5, 25, 125)]
    over_restarts = [accuracy[125, restarts] for restarts in (1, 4, 16)]
    for rising in (over_steps, over_restarts):
        assert rising == sorted(rising) and rising[-1] > rising[0] + 0.1, accuracy
    assert over_steps[-1] > 0.95, accuracy
