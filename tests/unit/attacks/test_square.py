"""Square Attack against brute force, AutoAttack's own, and what it promises of its queries."""

import copy
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from pyautoattack.square import SquareAttack
from test_attacks import Masked, synthetic_digits, trained_cnn
from torch import Tensor, nn
from torch.nn import functional

from purification.attacks import MaskedGradientError, run_attack, square, square_l2
from purification.attacks.square import _bump
from purification.datasets import load

torch.set_num_threads(1)

COUNT = 20
BOTH = pytest.mark.parametrize(("attack", "epsilon"), [(square, 0.1), (square_l2, 1.0)])

AUTOATTACKS = [(square, "Linf", 0.1), (square_l2, "L2", 1.5)]


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return trained_cnn()


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    return synthetic_digits(COUNT, seed=2)


class Recorded(nn.Module):
    """A model, all images that it was shown, and which rows of the batch they were."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.shown: list[Tensor] = []
        self.rows: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append(images.clone())
        self.rows.append(images._rows)  # type: ignore[attr-defined]
        return self.model(images)

    def counts(self, images: int) -> list[int]:
        return torch.bincount(torch.cat(self.rows), minlength=images).tolist()


class Plane(nn.Module):
    """Two classes, logits (w.x + offset, 0)."""

    def __init__(self, weight: Tensor, offset: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.offset = offset

    def forward(self, images: Tensor) -> Tensor:
        score = images.flatten(1) @ self.weight + self.offset
        return torch.stack([score, torch.zeros_like(score)], dim=1)


def random_weight(pixels: int, seed: int = 0) -> Tensor:
    return torch.randn(pixels, generator=torch.Generator().manual_seed(seed))


# What it finds


def test_it_finds_the_best_corner_of_the_ball_by_brute_force() -> None:
    """Of 3x3 pixels there are 512 corners; a far offset keeps the label, so that none ends it."""
    model = Plane(random_weight(9), 50.0)
    given = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    given[0, 0, 0] = 0
    labels = torch.zeros(4, dtype=torch.int64)
    signs = torch.tensor([*itertools.product((-0.2, 0.2), repeat=9)]).view(-1, 1, 3, 3)
    corners = (given[:, None] + signs).clamp(0, 1)
    least = model(corners.flatten(0, 1))[:, 0].view(4, -1).min(dim=1).values
    found = square(model, given, labels, epsilon=0.2, queries=400, seed=0, indices=range(4))
    torch.testing.assert_close(model(found)[:, 0], least)


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 5, 8), (1, 1, 9)])
def test_in_l2_it_comes_near_the_best_step_against_a_plane(shape: tuple[int, int, int]) -> None:
    """The least margin in a ball inside the box is the plane's at x - epsilon w / |w|."""
    weight = random_weight(math.prod(shape))
    model, given = Plane(weight, 50.0), torch.full((4, *shape), 0.5)
    labels = torch.zeros(4, dtype=torch.int64)
    found = square_l2(model, given, labels, epsilon=0.4, queries=1500, seed=0, indices=range(4))
    gained = (model(given) - model(found))[:, 0] / (0.4 * weight.norm())
    assert gained.max() <= 1 + 1e-5
    # A random direction gains 1 / sqrt(pixels) of it: 0.09 to 0.33.
    assert gained.min() > 0.55


@pytest.mark.parametrize(("attack", "norm", "epsilon"), AUTOATTACKS)
def test_against_a_plane_it_gains_what_autoattacks_does(
    attack: Callable, norm: str, epsilon: float
) -> None:
    """Three channels: the mean gain in margin of 40 images, of which none ever leaves its label.
    AutoAttack draws the same squares for a whole batch, so that its images go one at a time."""
    model, given = Plane(random_weight(1200), 500.0), torch.full((40, 3, 20, 20), 0.5)
    labels = torch.zeros(40, dtype=torch.int64)
    with torch.no_grad(), torch.random.fork_rng():
        own = {"epsilon": epsilon, "queries": 200, "seed": 0, "indices": range(40)}
        found = attack(model, given, labels, **own)
        oracle = SquareAttack(model, norm=norm, n_queries=200, eps=epsilon)
        # It returns only what leaves the label; here is its search.
        oracle.init_hyperparam(given)
        torch.manual_seed(0)
        one = [oracle.attack_single_run(given[:1], labels[:1])[1] for _ in range(15)]
        margins = (model(images)[:, 0].mean().item() for images in (given, found, torch.cat(one)))
    clean, ours, theirs = margins
    assert clean - ours == pytest.approx(clean - theirs, rel=0.1)


@pytest.fixture(scope="module")
def real() -> tuple[nn.Module, Tensor, Tensor]:
    """A network trained on the digits, and 100 test images."""
    splits = load("digits", data_root="", validation=147, test=500)
    images, labels = map(torch.from_numpy, splits["train"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = nn.Conv2d(1, 8, 5, 2, 2), nn.Conv2d(8, 16, 5, 2, 2)
        layers = [first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(16 * 49, 10)]
        model = nn.Sequential(*layers)
        optimizer = torch.optim.Adam(model.parameters(), 2e-3)
        for _ in range(200):
            chosen = torch.randint(len(images), (50,))
            optimizer.zero_grad()
            functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
    test, test_labels = map(torch.from_numpy, splits["test"])
    return model.eval(), test[:100], test_labels[:100]


@pytest.mark.parametrize(("attack", "norm", "epsilon"), AUTOATTACKS)
def test_as_many_are_left_as_by_autoattacks(
    real: tuple[nn.Module, Tensor, Tensor], attack: Callable, norm: str, epsilon: float
) -> None:
    """Mean of three seeds: at most 3 of 100 images more, at most 6 fewer (signs that would change
    nothing are not asked about here)."""
    model, given, labels = real
    queries = 250
    left = {"ours": 0.0, "theirs": 0.0}
    for seed in range(3):
        own = {"epsilon": epsilon, "queries": queries, "seed": seed, "indices": range(100)}
        with torch.no_grad(), torch.random.fork_rng():
            oracle = SquareAttack(model, norm=norm, n_queries=queries, eps=epsilon, seed=seed)
            found = {"ours": attack(model, given, labels, **own)}
            found["theirs"] = oracle.perturb(given.clone(), labels.clone())
            for name, those in found.items():
                left[name] += (model(those).argmax(1) == labels).sum().item() / 3
    clean = (model(given).argmax(1) == labels).sum().item()
    assert left["theirs"] - 6 <= left["ours"] <= left["theirs"] + 3
    assert left["ours"] < clean - 5


def test_the_bump_is_as_the_papers_equation_2() -> None:
    """For a side of 5: halves of 2 and 3 rows, sums of 1 / (j + 1)^2 from the middle outwards."""
    one, two, three = 1.0, 1 / 4, 1 / 9
    inner, ring, edge = one + two + three, two + three, three
    upper = torch.tensor([[edge, ring, ring, ring, edge], [edge, ring, inner, ring, edge]])
    lower = torch.cat([upper, upper[:1]])
    expected = torch.cat([upper / upper.norm(), -lower / lower.norm()])
    torch.testing.assert_close(_bump(5), expected / 2**0.5)


# What it shows to the model


@BOTH
@pytest.mark.parametrize(("queries", "restarts"), [(1, 1), (30, 1), (12, 3)])
def test_an_image_that_stands_costs_all_queries_and_one_look(
    images: tuple[Tensor, Tensor], attack: Callable, epsilon: float, queries: int, restarts: int
) -> None:
    weight = torch.ones(64)
    model = Recorded(Plane(weight, 100.0))
    labels = torch.zeros(COUNT, dtype=torch.int64)
    own = {"epsilon": epsilon, "queries": queries, "restarts": restarts}
    attack(model, images[0], labels, **own, seed=0, indices=range(COUNT))
    assert model.counts(COUNT) == [1 + queries * restarts] * COUNT


@BOTH
def test_an_image_is_shown_until_it_leaves_its_label(
    trained: nn.Module, images: tuple[Tensor, Tensor], attack: Callable, epsilon: float
) -> None:
    model = Recorded(trained)
    found = attack(model, *images, epsilon=epsilon, queries=60, seed=0, indices=range(COUNT))
    done: set[int] = set()
    last: dict[int, Tensor] = {}
    for shown, rows in zip(model.shown, model.rows, strict=True):
        assert done.isdisjoint(rows.tolist())
        wrong = trained(shown).argmax(1) != images[1][rows]
        last |= dict(zip(rows.tolist(), shown, strict=True))
        done |= set(rows[wrong].tolist())
    assert 3 < len(done) < COUNT
    assert all(torch.equal(found[row], last[row]) for row in done)
    counts = model.counts(COUNT)
    wrong = trained(images[0]).argmax(1) != images[1]
    assert wrong.any() and {counts[row] for row in wrong.nonzero().flatten()} == {1}
    assert torch.equal(found[wrong], images[0][wrong])
    assert {counts[row] for row in range(COUNT) if row not in done} == {61}


@BOTH
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 4), (3, 1, 1), (2, 2, 9)])
def test_all_that_it_shows_is_in_the_ball_and_in_the_box(
    attack: Callable, epsilon: float, shape: tuple[int, int, int]
) -> None:
    given = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0)).mul(2).sub(0.5)
    given = given.clamp(0, 1)
    model = Recorded(Plane(random_weight(math.prod(shape)), 100.0))
    own = {"epsilon": epsilon, "queries": 200, "seed": 0, "indices": range(6)}
    found = attack(model, given, torch.zeros(6, dtype=torch.int64), **own)
    order = math.inf if attack is square else 2.0
    for shown in (*model.shown, found):
        assert 0 <= shown.min() <= shown.max() <= 1
        change = (shown - given).flatten(1)
        assert torch.linalg.vector_norm(change, ord=order, dim=1).max() <= epsilon + 1e-6
    assert (found != given).flatten(1).any(1).all()


SHARES = {10: 2, 50: 4, 200: 8, 500: 16, 1000: 32, 2000: 64, 4000: 128, 6000: 256, 8000: 512}


@pytest.mark.parametrize("channels", [1, 3])
def test_each_query_changes_a_square_of_the_schedules_size(channels: int) -> None:
    """From one iterate to the next proposal: one square, to the ball's bounds, in each channel to
    one of them; and never nothing."""
    queries, epsilon, size = 500, 0.1, 12
    given = torch.full((1, channels, size, size), 0.5)
    model = Recorded(Plane(random_weight(channels * size * size), 100.0))
    labels = torch.zeros(1, dtype=torch.int64)
    square(model, given, labels, epsilon=epsilon, queries=queries, seed=0, indices=[0])
    current, sides = model.shown[1], set()
    # Stripes: all rows of a channel are the same.
    assert (current == current[:, :, :1]).all() and len(current.unique()) == 2
    for query, proposal in enumerate(model.shown[2:], start=1):
        passed = [share for at, share in SHARES.items() if query / queries * 10_000 > at]
        side = max(round((0.8 / max([1, *passed]) * size * size) ** 0.5), 1)
        changed = (proposal != current)[0]
        assert changed.any()
        where = changed.any(dim=0).nonzero()
        low, high = where.min(dim=0).values, where.max(dim=0).values
        assert (high - low).max() < side
        for values in proposal[0][:, low[0] : high[0] + 1, low[1] : high[1] + 1]:
            assert set((values - 0.5).abs().mul(1e4).round().unique().tolist()) == {1000}
        for before, after, moved in zip(current[0], proposal[0], changed, strict=True):
            assert len(after[moved].unique()) <= 1 and len(before[moved].unique()) <= 1
        sides.add(side)
        if model.model(proposal)[0, 0] < model.model(current)[0, 0]:
            current = proposal
    assert len(sides) > 5 and min(sides) == 1


# What its result depends on


@BOTH
def test_restarts_only_help_and_the_least_margin_is_returned(
    trained: nn.Module, images: tuple[Tensor, Tensor], attack: Callable, epsilon: float
) -> None:
    def margins(restarts: int) -> Tensor:
        own = {"epsilon": epsilon / 2, "queries": 20, "restarts": restarts}
        logits = trained(attack(trained, *images, **own, seed=0, indices=range(COUNT)))
        label = logits.gather(1, images[1][:, None])[:, 0]
        return label - logits.scatter(1, images[1][:, None], -math.inf).amax(1)

    one, three = margins(1), margins(3)
    still = one > 0
    assert still.sum() > 3
    assert (three[still] <= one[still] + 1e-5).all() and (three < one - 1e-3).any()


@BOTH
def test_other_seeds_and_indices_draw_other_squares(
    trained: nn.Module, images: tuple[Tensor, Tensor], attack: Callable, epsilon: float
) -> None:
    given = images[0][:1].expand(2, -1, -1, -1).clone()
    labels = torch.zeros(2, dtype=torch.int64)
    model = Plane(random_weight(64), 100.0)
    own = {"epsilon": epsilon, "queries": 3}
    first = attack(model, given, labels, **own, seed=0, indices=[0, 1])
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first, attack(model, given, labels, **own, seed=0, indices=[0, 1]))
    other = attack(model, given, labels, **own, seed=1, indices=[0, 1])
    assert not torch.equal(first, other)
    with pytest.raises(ValueError, match="1 indices for 2 images"):
        attack(model, given, labels, **own, seed=0, indices=[0])


class Levels(nn.Module):
    """Pixels rounded to levels before a model: a gradient of zero everywhere."""

    def __init__(self, model: nn.Module, levels: int = 31) -> None:
        super().__init__()
        self.model, self.levels = copy.deepcopy(model), levels

    def forward(self, images: Tensor) -> Tensor:
        return self.model((self.levels * images).round() / self.levels)


def test_a_masked_gradient_stops_pgd_and_not_square(
    trained: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    model = Levels(trained)
    common = {"indices": range(COUNT), "seed": 0, "batch_size": 7}
    steps = {"epsilon": 0.3, "step_size": 0.05, "iterations": 10}
    with pytest.raises(MaskedGradientError, match="'pgd' cannot move"):
        run_attack("pgd", model, *images, settings=steps, **common)
    settings = {"epsilon": 0.3, "queries": 200}
    result = run_attack("square", model, *images, settings=settings, **common)
    assert result.zero_gradient.all()
    assert result.success.float().mean() > 0.8
    assert result.linf.max() < 0.3 + 1e-6


def test_numbers_that_are_none_are_refused(
    trained: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    class Breaks(nn.Module):
        """NaN for the image of a bright corner, once it has been moved."""

        def forward(self, shown: Tensor) -> Tensor:
            moved = (shown[:, 0, 0, 0] > 0.9) & (shown[:, 0, 0, 0] < 1)
            return torch.where(moved[:, None], math.nan, trained(shown))

    given, labels = images[0].clone(), trained(images[0]).argmax(1)
    given[:, 0, 0, 0], given[4, 0, 0, 0] = 0.2, 0.85
    labels = trained(given).argmax(1)
    with pytest.raises(FloatingPointError, match=r"logits are not finite for 1 of 20.*image 104"):
        run_attack(
            *("square", Breaks(), given, labels),
            **{"indices": range(100, 120), "seed": 0, "batch_size": COUNT},
            settings={"epsilon": 0.1, "queries": 30},
        )


def test_masked_images_are_attacked_too(trained: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    """What `Masked` hides from gradients it does not hide from scores."""
    own = {"epsilon": 0.2, "queries": 50, "seed": 0, "indices": range(COUNT)}
    hidden = square(Masked(trained, 0.5), *images, **own)
    assert torch.equal(hidden, square(trained, *images, **own))
