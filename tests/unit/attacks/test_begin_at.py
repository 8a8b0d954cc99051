"""Attacks that begin their search at other images than those that they attack."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from purification.attacks import ATTACKS, MaskedGradientError, run_attack
from purification.attacks.balls import L2Ball, LinfBall
from purification.randomness import derive_seed, isolated_rng

SHAPE = (2, 6, 6)
COUNT = 9
EPSILON = {"linf": 0.1, "l2": 0.5}
SETTINGS: dict[str, dict[str, Any]] = {
    "pgd": {"iterations": 3, "step_size": 0.02},
    "pgd_l2": {"iterations": 3, "step_size": 0.1},
    "apgd": {"iterations": 4},
    "apgd_l2": {"iterations": 4},
    "square": {"queries": 8, "p_init": 0.1},
    "square_l2": {"queries": 8, "p_init": 0.3},
}


class Shown(nn.Module):
    """A linear model that notes what it is shown, and errs on nothing in the balls."""

    def __init__(self) -> None:
        super().__init__()
        with isolated_rng(0):
            self.layer = nn.Linear(72, 3)
        self.layer.bias.data = torch.tensor([99.0, 0.0, 0.0])
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append(images.detach().clone())
        logits: Tensor = self.layer(images.flatten(1))
        return logits


def images_of(seed: int) -> Tensor:
    """Some near 0 and 1, where the range of pixels cuts the ball."""
    return torch.rand(COUNT, *SHAPE, generator=torch.Generator().manual_seed(seed))


GIVEN = images_of(1)
LABELS = torch.zeros(COUNT, dtype=torch.int64)


def attacked(
    method: str, begin_at: Tensor | None, *, batch_size: int = COUNT, **more: Any
) -> tuple[Tensor, list[Tensor]]:
    """What it makes of the images, and what it shows to the model."""
    model, norm = Shown(), ATTACKS[method].norm or ""
    settings = {"epsilon": EPSILON[norm], **SETTINGS[method], **more}
    run = {"indices": [*range(COUNT)], "seed": 4, "batch_size": batch_size, "settings": settings}
    made = run_attack(method, model, GIVEN, LABELS, begin_at=begin_at, **run).images
    return made, model.shown


def nearest(method: str, begin_at: Tensor) -> Tensor:
    """Of the images of the ball to those at which it is to begin."""
    norm = ATTACKS[method].norm or ""
    ball = {"linf": LinfBall, "l2": L2Ball}[norm]
    return ball(GIVEN, EPSILON[norm]).project(begin_at)


def at(shown: list[Tensor], images: Tensor) -> list[int]:
    """The numbers of the looks at these images."""
    return [number for number, one in enumerate(shown) if torch.equal(one, images)]


def test_these_can_and_no_others() -> None:
    """greedy_pixels looks at one image after another: test_greedy_pixels.py."""
    able = {name for name, one in ATTACKS.items() if one.takes_start}
    assert able == {*SETTINGS, "greedy_pixels"}


@pytest.mark.parametrize("method", SETTINGS)
def test_it_begins_there_in_the_ball_and_nowhere_else(method: str) -> None:
    begin_at = (GIVEN + 0.3 * (images_of(2) - 0.5)).clamp(0, 1)
    start = nearest(method, begin_at)
    assert not torch.equal(start, begin_at)
    alone, shown = attacked(method, None)
    assert not at(shown, start)
    made, shown = attacked(method, begin_at)
    first, *_ = at(shown, start)
    # Before it looks at the images as they are alone: the clean look, and what it compares with.
    assert all(torch.equal(one, GIVEN) for one in shown[:first])
    assert not torch.equal(made, alone)


@pytest.mark.parametrize("method", SETTINGS)
def test_an_image_begins_at_its_own_in_any_batch(method: str) -> None:
    begin_at = nearest(method, images_of(2))
    together, _ = attacked(method, begin_at, restarts=2)
    apart, _ = attacked(method, begin_at, restarts=2, batch_size=2)
    assert torch.allclose(together, apart, atol=1e-6)


@pytest.mark.parametrize("method", ["pgd", "apgd"])
def test_restarts_begin_where_they_would(method: str) -> None:
    """What is given is in the place of the first start alone."""
    ball = LinfBall(GIVEN, EPSILON["linf"])
    starts = [
        ball.project(ball.random(seed, range(COUNT)))
        for seed in (4, derive_seed(4, "restart", "1"))
    ]
    for begin_at, seen in ((None, [1, 1]), (nearest(method, images_of(2)), [0, 1])):
        _, shown = attacked(method, begin_at, restarts=2)
        assert [len(at(shown, start)) for start in starts] == seen


def test_pgd_begins_there_in_each_run_that_would_begin_at_the_image() -> None:
    begin_at = nearest("pgd", images_of(2))
    own = {"loss": "targeted", "start": "image", "restarts": 3}
    _, shown = attacked("pgd", begin_at, **own)
    assert len(at(shown, begin_at)) == 2  # two other classes; the third run begins at random
    _, shown = attacked("pgd", begin_at, **own | {"start": "random"})
    assert len(at(shown, begin_at)) == 1


def test_a_search_by_scores_goes_on_from_what_it_is_given() -> None:
    """From the best corner there is nothing to gain, and nothing is lost."""
    weights = Shown().layer.weight
    best = (GIVEN + EPSILON["linf"] * (weights[1] - weights[0]).sign().view(SHAPE)).clamp(0, 1)
    two = torch.where((weights[2] - weights[0] > 0).view(SHAPE), 1.0, -1.0)
    other = (GIVEN + EPSILON["linf"] * two).clamp(0, 1)
    logits = [Shown()(one) for one in (best, other)]
    margins = [(one[:, 1:].amax(dim=1) - one[:, 0]) for one in logits]
    best = torch.where((margins[0] > margins[1]).view(-1, 1, 1, 1), best, other)
    made, _ = attacked("square", best)
    assert torch.equal(made, best)


class Plateau(nn.Module):
    """Flat around the images, and steep beyond."""

    def forward(self, images: Tensor) -> Tensor:
        value = 100 * torch.relu(images.flatten(1).mean(dim=1) - 0.52)
        return torch.stack([torch.full_like(value, 2.0), value], dim=1)


def test_where_it_begins_it_may_move_though_the_images_have_no_gradient() -> None:
    images = torch.full((COUNT, *SHAPE), 0.5)
    settings = {"epsilon": 0.05, "iterations": 5, "step_size": 0.01, "start": "image"}
    run: dict[str, Any] = {"indices": [*range(COUNT)], "seed": 4, "batch_size": 2}
    for begin_at in (None, images + 0.01):
        with pytest.raises(MaskedGradientError, match="cannot move"):
            run_attack(
                "pgd", Plateau(), images, LABELS, settings=settings, begin_at=begin_at, **run
            )
    made = run_attack(
        "pgd", Plateau(), images, LABELS, settings=settings, begin_at=images + 0.03, **run
    )
    assert made.success.all() and made.zero_gradient.all()


def shifted(model: nn.Module, images: Tensor, labels: Tensor, *, begin_at: Tensor | None) -> Tensor:
    return images.clone() if begin_at is None else begin_at.mul_(1)


def test_a_users_own_that_takes_them_is_handed_copies_or_none() -> None:
    run = {"indices": [*range(COUNT)], "seed": 4, "batch_size": 2, "settings": {}}
    own = "test_begin_at:shifted"
    begin_at = images_of(2)
    kept = begin_at.clone()
    result = run_attack(own, Shown(), GIVEN, LABELS, begin_at=begin_at, **run)
    assert torch.equal(result.images, kept) and torch.equal(begin_at, kept)
    assert torch.equal(run_attack(own, Shown(), GIVEN, LABELS, **run).images, GIVEN)


@pytest.mark.parametrize(
    ("method", "begin_at", "complaint"),
    [
        ("fgsm", GIVEN, "'fgsm' cannot begin at other images .* these can: .*square"),
        ("pgd", GIVEN[:3], r"begin_at must be images \(9, 2, 6, 6\) in \[0, 1\]; got \(3, 2, 6, 6"),
        ("pgd", GIVEN + 1, "begin_at must be images"),
        ("square", GIVEN * float("nan"), "begin_at must be images"),
    ],
)
def test_what_it_cannot_begin_at_is_refused(method: str, begin_at: Tensor, complaint: str) -> None:
    settings = {"epsilon": 0.1, **SETTINGS.get(method, {})}
    run = {"indices": [*range(COUNT)], "seed": 4, "batch_size": COUNT, "settings": settings}
    with pytest.raises(ValueError, match=complaint):
        run_attack(method, Shown(), GIVEN, LABELS, begin_at=begin_at, **run)
