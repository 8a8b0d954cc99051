"""HopSkipJump against closed forms and foolbox, and what it promises of queries and batches."""

import copy
import math
from collections.abc import Callable

import foolbox
import pytest
import torch
from test_attacks import foolbox_model, synthetic_digits, trained_cnn
from test_square import Levels, Plane, Recorded, random_weight
from torch import Tensor, nn

from purification.attacks import hop_skip_jump, hop_skip_jump_l2, run_attack

torch.set_num_threads(1)

COUNT = 20
BOTH = pytest.mark.parametrize(
    ("attack", "order"), [(hop_skip_jump, math.inf), (hop_skip_jump_l2, 2.0)]
)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return trained_cnn()


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    return synthetic_digits(COUNT, seed=2)


def distances(found: Tensor, images: Tensor, order: float) -> Tensor:
    return torch.linalg.vector_norm((found - images).flatten(1), ord=order, dim=1)


@BOTH
@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 4, 5)])
def test_it_ends_at_the_distance_of_a_plane(
    attack: Callable, order: float, shape: tuple[int, int, int]
) -> None:
    """|margin| / |w|_1 in l-inf and / |w|_2 in l2, for images from which the box is far."""
    weight = random_weight(math.prod(shape)).sign() * (1 + random_weight(math.prod(shape), 1).abs())
    generator = torch.Generator().manual_seed(2)
    given = 0.45 + 0.1 * torch.rand(8, *shape, generator=generator)
    model = Plane(weight, -0.5 * weight.sum().item())
    labels = model(given).argmax(1)
    dual = weight.abs().sum() if order == math.inf else weight.norm()
    exact = model(given)[:, 0].abs() / dual
    assert set(labels.tolist()) == {0, 1} and exact.max() < 0.2
    found = attack(model, given, labels, queries=4000, seed=0, indices=range(8))
    assert (model(found).argmax(1) != labels).all()
    ratio = distances(found, given, order) / exact
    assert ratio.min() > 1 - 1e-3
    assert ratio.median() < 1.03 and ratio.max() < 1.1


@BOTH
def test_it_comes_as_near_as_foolboxs(
    trained: nn.Module, images: tuple[Tensor, Tensor], attack: Callable, order: float
) -> None:
    """foolbox divides the gradients by their length over the whole batch, and so gets one image at
    a time. Ours may be nearer."""
    model, steps = Recorded(trained), 6
    constraint = "linf" if order == math.inf else "l2"
    oracle = foolbox.attacks.HopSkipJumpAttack(steps=steps, constraint=constraint)
    shown = []
    handle = trained.register_forward_hook(lambda _, given, __: shown.append(len(given[0])))
    known = []
    for row in range(COUNT):
        given, label = images[0][row : row + 1], images[1][row : row + 1]
        if trained(given).argmax(1) == label:
            with torch.random.fork_rng():
                torch.manual_seed(row)
                try:
                    known.append((row, oracle.run(foolbox_model(trained), given, label)))
                except ValueError:  # it found no start
                    continue
    handle.remove()
    rows = torch.tensor([row for row, _ in known])
    assert len(rows) >= 15
    theirs = distances(torch.cat([found for _, found in known]), images[0][rows], order).median()
    queries = int(sum(shown) / len(rows))
    found = attack(model, *images, queries=queries, seed=0, indices=range(COUNT))
    ours = distances(found, images[0], order)[rows].median()
    assert 0.7 * theirs < ours < 1.15 * theirs
    assert max(model.counts(COUNT)) <= queries + 1


@BOTH
@pytest.mark.parametrize("queries", [1, 3, 60, 200, 777])
def test_it_asks_no_more_than_it_may(
    trained: nn.Module, images: tuple[Tensor, Tensor], attack: Callable, order: float, queries: int
) -> None:
    model = Recorded(trained)
    found = attack(model, *images, queries=queries, seed=0, indices=range(COUNT))
    counts = torch.tensor(model.counts(COUNT)) - 1
    wrong = trained(images[0]).argmax(1) != images[1]
    assert wrong.any() and (counts[wrong] == 0).all()
    assert (counts[~wrong] > 0).all() and counts.max() <= queries
    if queries >= 200:
        assert counts[~wrong].float().mean() > 0.8 * queries
    # What is returned is the nearest of all that left the label.
    nearest = dict.fromkeys(range(COUNT), math.inf)
    for shown, rows in zip(model.shown, model.rows, strict=True):
        errs = trained(shown).argmax(1) != images[1][rows]
        lengths = distances(shown, images[0][rows], order)
        for row, length in zip(rows[errs].tolist(), lengths[errs].tolist(), strict=True):
            nearest[row] = min(nearest[row], length)
    expected = torch.tensor([0.0 if n == math.inf else n for n in nearest.values()])
    torch.testing.assert_close(distances(found, images[0], order), expected)


@BOTH
def test_more_queries_come_nearer(
    trained: nn.Module, images: tuple[Tensor, Tensor], attack: Callable, order: float
) -> None:
    few, many = (
        distances(
            attack(trained, *images, queries=q, seed=0, indices=range(COUNT)), images[0], order
        )
        for q in (200, 1500)
    )
    assert many.median() < 0.8 * few.median()
    assert (many <= few + 1e-6).float().mean() > 0.9


class OneClass(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0]).expand(len(images), 2)


@BOTH
def test_without_a_start_the_image_is_returned_and_is_no_success(
    attack: Callable, order: float
) -> None:
    given, labels = torch.rand(3, 1, 5, 7), torch.zeros(3, dtype=torch.int64)
    model = Recorded(OneClass())
    found = attack(model, given, labels, queries=1000, seed=0, indices=range(3))
    assert torch.equal(found, given)
    assert model.counts(3) == [101] * 3
    result = run_attack(
        *(attack.__name__, OneClass(), given, labels),
        **{"indices": range(3), "seed": 0, "batch_size": 2, "settings": {"queries": 50}},
    )
    assert not result.success.any() and (result.l2 == 0).all()


@BOTH
def test_no_image_depends_on_its_batch(
    trained: nn.Module, images: tuple[Tensor, Tensor], attack: Callable, order: float
) -> None:
    """In float64. A decision is a step: only a point within rounding of the boundary may fall to
    the other side."""
    model, given = copy.deepcopy(trained).double(), images[0].double()
    common = {"seed": 0, "settings": {"queries": 300}}
    whole = run_attack(
        *(attack.__name__, model, given, images[1]),
        **{"indices": range(COUNT), "batch_size": COUNT, **common},
    )
    order_of = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    parts = run_attack(
        *(attack.__name__, model, given[order_of], images[1][order_of]),
        **{"indices": order_of.tolist(), "batch_size": 3, **common},
    )
    torch.testing.assert_close(parts.images, whole.images[order_of], rtol=0, atol=1e-9)
    assert whole.success.all() and parts.success.all()


@BOTH
def test_what_it_finds_is_a_success_in_other_batches_too(
    trained: nn.Module, images: tuple[Tensor, Tensor], attack: Callable, order: float
) -> None:
    """In float32, where what it returns lies within some 1e-6 of the boundary."""
    result = run_attack(
        *(attack.__name__, trained, *images),
        **{"indices": range(COUNT), "seed": 0, "batch_size": COUNT, "settings": {"queries": 500}},
    )
    assert result.success.all()
    alone = torch.cat([trained(image) for image in result.images.split(1)])
    assert (alone.argmax(1) != images[1]).all()


@BOTH
def test_a_masked_gradient_hides_nothing_from_it(
    trained: nn.Module, images: tuple[Tensor, Tensor], attack: Callable, order: float
) -> None:
    """Levels that are finer than its steps."""
    model = Levels(trained, 4095)
    common = {"indices": range(COUNT), "seed": 0, "batch_size": 7, "settings": {"queries": 1000}}
    result, plain = (run_attack(attack.__name__, m, *images, **common) for m in (model, trained))
    assert result.zero_gradient.all() and result.success.all()
    medians = [distances(r.images, images[0], order).median() for r in (result, plain)]
    assert medians[0] < 1.3 * medians[1]


def test_numbers_that_are_none_are_refused_for_the_image_that_has_them(
    trained: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    """Of the five rows that each image has in the first noise, the first image's first is NaN."""

    class Breaks(nn.Module):
        calls = 0

        def forward(self, shown: Tensor) -> Tensor:
            self.calls += 1
            logits = trained(shown).clone()
            if self.calls == 3:
                logits[0] = math.nan
            return logits

    with pytest.raises(FloatingPointError, match=r"logits are not finite for 1 of 2.*image 7"):
        # The first call looks at the gradients, the second is the attack's look at the images.
        rows = (trained(images[0]).argmax(1) == images[1]).nonzero().flatten()[:2]
        run_attack(
            *("hop_skip_jump", Breaks(), images[0][rows], images[1][rows]),
            **{"indices": [7, 8], "seed": 0, "batch_size": 2, "settings": {"queries": 100}},
        )


@BOTH
def test_wrong_settings_are_refused(attack: Callable, order: float) -> None:
    given, labels = torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=f"{attack.__name__}: queries must be at least 1"):
        attack(OneClass(), given, labels, queries=0, seed=0, indices=range(2))
    with pytest.raises(ValueError, match="3 indices for 2 images"):
        attack(OneClass(), given, labels, queries=5, seed=0, indices=range(3))
