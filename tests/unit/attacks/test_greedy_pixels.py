"""Greedy search over single pixels: against brute force, and what it promises of its queries."""

import itertools
from typing import Any

import pytest
import torch
from test_attacks import synthetic_digits, trained_cnn
from torch import Tensor, nn

from purification.attacks import greedy_pixels, run_attack, square

torch.set_num_threads(1)


class Scores(nn.Module):
    """Two classes, logits (score of the rounded pixels, 0), and how often each row was shown."""

    def __init__(self, weight: Tensor, offset: float, pair: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.offset, self.pair = offset, pair
        self.rows: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.rows.append(images._rows)  # type: ignore[attr-defined]
        pixels = images.flatten(1).round()
        score = pixels @ self.weight + self.offset + self.pair * pixels[:, 0] * pixels[:, 1]
        return torch.stack([score, torch.zeros_like(score)], dim=1)

    def counts(self, images: int) -> list[int]:
        return torch.bincount(torch.cat(self.rows), minlength=images).tolist()


class Rounded(nn.Module):
    """A model behind one bit a pixel: its gradient is zero."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images.round())
        return logits


def found_by(model: nn.Module, images: Tensor, **more: Any) -> Tensor:
    labels = torch.zeros(len(images), dtype=torch.int64)
    own = {"epsilon": 0.2, "queries": 200, "seed": 0, "indices": range(len(images)), **more}
    return greedy_pixels(model, images, labels, **own)


def images_of(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def test_it_finds_the_best_corner_of_the_ball_by_brute_force() -> None:
    """A far offset keeps the label, so that nothing ends the search. Some pixels cannot cross a
    half, some are there already."""
    weight = torch.randn(9, generator=torch.Generator().manual_seed(0))
    model, given = Scores(weight, 50.0), images_of(4, 1, 3, 3)
    signs = torch.tensor([*itertools.product((-0.2, 0.2), repeat=9)]).view(-1, 1, 3, 3)
    corners = (given[:, None] + signs).clamp(0, 1).flatten(2).round()
    least = (corners @ weight + 50).min(dim=1).values
    found = found_by(model, given)
    torch.testing.assert_close(found.flatten(1).round() @ weight + 50, least)
    assert ((found - given).abs() <= 0.2 + 1e-6).all()


def test_two_pixels_that_help_together_alone_are_found_by_a_kick() -> None:
    """Each of the two raises the margin by one; both lower it by ten."""
    weight = torch.tensor([1.0, 1.0, 0.0, 0.0])
    model, given = Scores(weight, 5.0, pair=-12.0), torch.full((6, 1, 2, 2), 0.45)
    found = found_by(model, given, epsilon=0.1)
    assert (found.flatten(1)[:, :2].round() == 1).all()
    # The first round alone leaves them.
    assert torch.equal(found_by(model, given, epsilon=0.1, queries=8).round(), given.round())


@pytest.mark.parametrize("queries", [1, 7, 18, 19, 60])
def test_an_image_that_stands_costs_all_queries_and_one_look(queries: int) -> None:
    model, given = Scores(torch.ones(9), 50.0), images_of(5, 1, 3, 3)
    found_by(model, given, queries=queries)
    assert model.counts(5) == [1 + queries] * 5


def test_pixels_that_change_nothing_are_asked_about_once() -> None:
    """One pixel of 100 can cross a half: two queries for each pixel, and then only of this one. It
    ends where none counts at all."""
    given = torch.full((1, 1, 10, 10), 0.1)
    model = Scores(torch.ones(100), 50.0)
    found_by(model, given, queries=1000)
    assert model.counts(1) == [2 + 200]
    given[0, 0, 4, 4] = 0.6
    model = Scores(torch.ones(100), 50.0)
    assert found_by(model, given, queries=1000)[0, 0, 4, 4].item() == pytest.approx(0.4)
    assert model.counts(1) == [1 + 1000]


def test_a_success_ends_it_and_a_wrong_image_stays() -> None:
    given = torch.full((2, 1, 3, 3), 0.45)
    given[1] = 0.1
    model = Scores(-torch.ones(9), 2.5)
    found = found_by(model, given)
    assert model(_of_nobody(found)).argmax(dim=1).tolist() == [1, 0]
    # Look, start, 18 changes, and the groups of nine, four, two and one at once.
    assert torch.bincount(torch.cat(model.rows[:-1]))[0].item() == 1 + 1 + 18 + 4
    wrong = Scores(torch.ones(9), -9.5)
    assert torch.equal(found_by(wrong, given), given)
    assert wrong.counts(2) == [1, 1]


def _of_nobody(images: Tensor) -> Tensor:
    images._rows = torch.zeros(0, dtype=torch.int64)  # type: ignore[attr-defined]
    return images


def test_it_begins_where_it_is_told() -> None:
    """A pixel that cannot be improved stays, and an image outside the ball is brought into it."""
    given, start = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), 0.9)
    model = Scores(torch.zeros(4), 50.0)
    # No query beyond the look and the start.
    assert torch.allclose(found_by(model, given, queries=1, begin_at=start), given + 0.2)


def test_it_leaves_fewer_than_squares_before_a_model_that_rounds() -> None:
    """As many queries for both; no image depends on the others."""
    model = Rounded(trained_cnn()).eval()
    images, labels = synthetic_digits(60, seed=2)
    right = model(images).argmax(1) == labels
    own = {"epsilon": 0.3, "queries": 600, "seed": 0, "indices": range(60)}
    found = greedy_pixels(model, images, labels, **own)
    squares = square(model, images, labels, **own)
    left, theirs = ((model(made).argmax(1) == labels).sum().item() for made in (found, squares))
    assert left < theirs < right.sum().item()
    alone = greedy_pixels(model, images[7:9], labels[7:9], **{**own, "indices": [7, 8]})
    torch.testing.assert_close(alone, found[7:9])


def test_it_is_refused_before_a_model_that_draws_anew() -> None:
    class Noisy(nn.Module):
        randomised = True

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(9, 2)

        def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
            logits: Tensor = self.layer(images.flatten(1))
            return logits

    images = images_of(3, 1, 3, 3)
    run = {"indices": range(3), "seed": 0, "batch_size": 3, "settings": {"epsilon": 0.1}}
    with pytest.raises(ValueError, match="ends at an image's first success"):
        run_attack("greedy_pixels", Noisy(), images, torch.zeros(3, dtype=torch.int64), **run)


@pytest.mark.parametrize("wrong", [{"epsilon": -0.1}, {"queries": 0}, {"indices": [1]}])
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="greedy_pixels"):
        found_by(Scores(torch.ones(9), 5.0), images_of(4, 1, 3, 3), **wrong)
