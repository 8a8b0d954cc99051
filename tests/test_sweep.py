"""One search for a whole sweep over steps and restarts: every cell is that of its own search."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from purification.models.wgan import Generator
from purification.purifiers import (
    SearchSettings,
    draw_starts,
    latent_search,
    reconstruction_error,
)
from purification.purifiers.latent_search import SweepResult, sweep_search
from purification.randomness import isolated_rng

STEPS, RESTARTS = (7, 1, 20, 3), (4, 1, 6)
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


def sweep(images: Tensor, starts: Tensor, **changes: object) -> SweepResult:
    arguments = {"steps": STEPS, "restarts": RESTARTS, "keep": list(product(STEPS, RESTARTS))}
    return sweep_search(SmallGenerator(), images, starts, SETTINGS, **(arguments | changes))


def assert_equals_separate_searches(
    result: SweepResult, generator: nn.Module, images: Tensor, starts: Tensor, tolerance: float
) -> None:
    for (i, steps), (j, restarts) in product(enumerate(result.steps), enumerate(result.restarts)):
        settings = SearchSettings(steps, SETTINGS.step_size)
        alone = latent_search(generator, images, starts[..., :restarts, :], settings)
        close = {"rtol": 0, "atol": tolerance, "msg": f"L={steps}, R={restarts}"}
        torch.testing.assert_close(result.errors[:, i, j], alone.objective, **close)
        assert torch.equal(result.restart[:, i, j], alone.restart)
        kept = result.reconstructions[steps, restarts]
        torch.testing.assert_close(kept, alone.reconstructions, **close)


def test_every_cell_equals_a_search_of_its_own() -> None:
    images, starts = images_of(12), starts_of(6)
    result = sweep(images, starts)
    assert result.errors.shape == result.restart.shape == (12, 4, 3)
    assert_equals_separate_searches(result, SmallGenerator(), images, starts, 1e-12)
    # Cells that were all alike would agree with anything.
    assert result.restart[:, 0, 2].unique().numel() > 2
    assert result.errors.std(dim=1).min() > 0


def test_every_cell_equals_a_search_of_its_own_with_the_papers_network_in_float32() -> None:
    with isolated_rng(0):
        generator = Generator(latent=8, width=4, output_shape=(1, 28, 28)).eval()
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    starts = draw_starts(3, 8, torch.Generator().manual_seed(1))
    kept = list(product((30, 5), (3, 1)))
    result = sweep_search(
        generator, images, starts, SETTINGS, steps=(30, 5), restarts=(3, 1), keep=kept
    )
    assert result.errors.dtype == torch.float32
    assert_equals_separate_searches(result, generator, images, starts, 1e-6)


def test_own_starts_for_each_image() -> None:
    images, starts = images_of(4), starts_of(24).view(4, 6, 3)
    assert_equals_separate_searches(sweep(images, starts), SmallGenerator(), images, starts, 1e-12)


def test_errors_are_those_of_the_kept_reconstructions_and_never_rise_with_restarts() -> None:
    images = images_of(40)
    result = sweep(images, starts_of(6), restarts=(1, 2, 3, 4, 5, 6), keep=[[20, 6], (1, 2)])
    assert (result.errors.diff(dim=2) <= 0).all(), "more restarts made some image worse"
    assert (result.errors.diff(dim=2) < 0).any(dim=0).all(), "a restart that never wins"
    # Only what was asked for, also where a pair is a list, as YAML has it.
    assert set(result.reconstructions) == {(20, 6), (1, 2)}
    for (steps, restarts), kept in result.reconstructions.items():
        cell = result.errors[:, STEPS.index(steps), restarts - 1]
        torch.testing.assert_close(reconstruction_error(kept, images), cell)


def test_the_objective_of_the_settings_chooses_the_winner() -> None:
    def largest_difference(reconstructions: Tensor, images: Tensor) -> Tensor:
        return (reconstructions - images).abs().flatten(1).amax(1)

    images, starts = images_of(12), starts_of(6)
    settings = SearchSettings(0, step_size=0.1, objective=largest_difference)
    result = sweep_search(SmallGenerator(), images, starts, settings, steps=[4], restarts=[6])
    own = SearchSettings(4, step_size=0.1, objective=largest_difference)
    alone = latent_search(SmallGenerator(), images, starts, own)
    torch.testing.assert_close(result.errors[:, 0, 0], alone.objective)
    assert torch.equal(result.restart[:, 0, 0], alone.restart)


def test_order_and_repetition_of_what_is_asked_for_change_no_cell() -> None:
    images, starts = images_of(5), starts_of(6)
    result = sweep(images, starts)
    other = sweep(images, starts, steps=(1, 3, 7, 20, 7), restarts=(6, 4, 1, 4))
    assert other.steps == (1, 3, 7, 20, 7)
    assert other.restarts == (6, 4, 1, 4)
    rows = [STEPS.index(steps) for steps in other.steps]
    columns = [RESTARTS.index(restarts) for restarts in other.restarts]
    assert torch.equal(other.errors, result.errors[:, rows][:, :, columns])
    for pair, kept in result.reconstructions.items():
        assert torch.equal(other.reconstructions[pair], kept)


def test_a_sweep_costs_its_largest_cell() -> None:
    generator = SmallGenerator()
    sweep_search(generator, images_of(5), starts_of(9), SETTINGS, steps=STEPS, restarts=RESTARTS)
    assert generator.largest_batch == 5 * 6, "starts beyond the largest R were searched"
    assert generator.images == (20 + len(STEPS)) * 5 * 6


def test_nothing_of_a_sweep_is_differentiable() -> None:
    result = sweep(images_of(2).requires_grad_(), starts_of(6))
    assert not result.errors.requires_grad
    assert not any(kept.requires_grad for kept in result.reconstructions.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": ()}, r"steps must be .* got \[\]"),
        ({"steps": (5, 0)}, r"steps must be .* got \[5, 0\]"),
        ({"restarts": ()}, r"restarts must be .* got \[\]"),
        ({"restarts": (0, 2)}, r"restarts must be .* got \[0, 2\]"),
        ({"restarts": (1, 7)}, r"from 1 to 6, .* got \[1, 7\]"),
        ({"keep": [(20, 6), (20, 2)]}, r"keep has \(L, R\) = \[\(20, 2\)\]"),
        ({"keep": [(2, 6)]}, r"keep has \(L, R\) = \[\(2, 6\)\]"),
    ],
)
def test_what_is_no_sweep_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep(images_of(2), starts_of(6), **changes)


def test_wrong_starts_are_refused() -> None:
    with pytest.raises(ValueError, match="starts must be"):
        sweep(images_of(2), starts_of(6).view(3, 2, 3), restarts=[1])
