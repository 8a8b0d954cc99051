"""Random draws that are moved to the device for many steps at once."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from purification.randomness import generator
from purification.training.draws import AT_ONCE, batches_with_draws, draws_on_device


def codes_and_images(seed: int) -> Callable[[int], tuple[Tensor, ...]]:
    """Draws of two shapes from one stream."""
    random = generator(seed, "draws")
    return lambda size: (
        torch.randn(size, 3, generator=random),
        torch.rand(size, 2, 2, generator=random),
    )


@pytest.mark.parametrize("steps", [0, 1, AT_ONCE, 2 * AT_ONCE + 3])
def test_each_step_has_the_draws_that_it_would_make_itself(steps: int) -> None:
    draw = codes_and_images(0)
    drawn = list(draws_on_device(lambda step: draw(4), range(steps), "cpu"))
    alone = codes_and_images(0)
    assert len(drawn) == steps
    for found in drawn:
        assert all(map(torch.equal, found, alone(4)))


def test_a_shorter_last_batch_has_its_own_draws() -> None:
    order = torch.randperm(5 * AT_ONCE + 2, generator=generator(0, "order"))
    alone, seen = codes_and_images(1), []
    for chosen, found in batches_with_draws(order, 5, codes_and_images(1), "cpu"):
        assert all(map(torch.equal, found, alone(len(chosen))))
        seen.append(chosen)
    assert len(seen[-1]) == 2
    assert torch.equal(torch.cat(seen), order)


def test_a_training_without_draws_has_all_its_batches() -> None:
    batches = list(batches_with_draws(torch.arange(7), 3, lambda size: (), "cpu"))
    assert [(chosen.tolist(), drawn) for chosen, drawn in batches] == [
        ([0, 1, 2], ()),
        ([3, 4, 5], ()),
        ([6], ()),
    ]
