"""L-BFGS in the latent search: its formula, what it reaches, its gradient, each row by itself."""

import copy
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from purification.purifiers import (
    Cowboy,
    DefenseGAN,
    EncoderSearch,
    SearchSettings,
    draw_starts,
    latent_search,
)
from purification.purifiers.descent import SearchResult
from purification.purifiers.latent_search import sweep_search
from purification.purifiers.lbfgs import MEMORY, Path, with_gradient
from purification.randomness import isolated_rng

LATENT = 12


def settings_of(steps: int, step_size: float = 10.0, **more: Any) -> SearchSettings:
    return SearchSettings(steps, step_size, momentum=0.0, optimizer="lbfgs", **more)


@cache
def digits() -> Tensor:
    return torch.from_numpy(load_digits().images / 16).view(-1, 1, 8, 8)


@cache
def trained_generator(latent: int = LATENT, hidden: int = 32) -> nn.Module:
    """The decoder of an autoencoder of the digits, smooth, in float64."""
    with isolated_rng(0):
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, latent), nn.Tanh()).double()
        layers = nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, 64), nn.Sigmoid()
        generator = nn.Sequential(*layers, nn.Unflatten(1, (1, 8, 8))).double()
        optimizer = torch.optim.Adam([*encoder.parameters(), *generator.parameters()], 0.01)
        for batch in digits()[:1500].split(50) * 20:
            optimizer.zero_grad()
            loss = (generator(encoder(batch)) - batch).square().mean()
            loss.backward()
            optimizer.step()
    assert loss < 0.04, "the generator has not learned"
    return generator.requires_grad_(False)


def images_of(count: int) -> Tensor:
    """Digits under noise, which the generator does not reach."""
    random = torch.Generator().manual_seed(5)
    noise = torch.randn(count, 1, 8, 8, generator=random, dtype=torch.float64)
    return (digits()[1500 : 1500 + count] + 0.1 * noise).clamp(0, 1)


def starts_of(restarts: int, spread: float = 1.0, latent: int = LATENT) -> Tensor:
    return draw_starts(restarts, latent, torch.Generator().manual_seed(3)).double() * spread


class Quadratic(nn.Module):
    """images = matrix z, so that the mean square error is a quadratic in z."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        matrix = torch.randn(16, 5, generator=random, dtype=torch.float64)
        self.register_buffer("matrix", matrix * torch.tensor([0.1, 0.5, 1, 2, 4]))

    def forward(self, latents: Tensor) -> Tensor:
        return (latents @ self.matrix.T).view(-1, 1, 4, 4)


def test_direction_is_that_of_the_dense_bfgs_update() -> None:
    random = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    rows, factor = 4, draw(LATENT, LATENT)
    curved = factor @ factor.T + torch.eye(LATENT)
    path = Path.start(draw(rows, LATENT), 0.5).after(draw(rows).abs(), draw(rows, LATENT))
    inverse = 0.5 * torch.eye(LATENT, dtype=torch.float64).repeat(rows, 1, 1)
    pairs: list[tuple[Tensor, Tensor]] = []
    for k in range(1, MEMORY + 4):
        move = draw(rows, LATENT)
        change = move @ curved
        change[k % rows] *= -1  # negative curvature: this row leaves the pair out
        pairs.append((move, change))
        path = path._replace(trial=path.best + move)
        path = path.after(path.value - 1, path.gradient + change)
    for row in range(rows):
        kept = [(s[row], y[row]) for s, y in pairs[-MEMORY:]]
        kept = [(s, y) for s, y in kept if s @ y > 0]
        assert len(kept) < MEMORY
        s, y = kept[-1]
        inverse = (s @ y / (y @ y)) * torch.eye(LATENT, dtype=torch.float64)
        for s, y in kept:
            reflect = torch.eye(LATENT, dtype=torch.float64) - torch.outer(y, s) / (s @ y)
            inverse = reflect.T @ inverse @ reflect + torch.outer(s, s) / (s @ y)
        expected = path.best[row] - inverse @ path.gradient[row]
        torch.testing.assert_close(path.trial[row], expected)


def test_quadratic_is_solved_in_few_evaluations() -> None:
    generator = Quadratic()
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(2)).double()
    starts = draw_starts(2, 5, torch.Generator().manual_seed(3)).double()
    found = latent_search(generator, images, starts, settings_of(40, step_size=0.3))
    expected = torch.linalg.lstsq(generator.matrix, images.flatten(1).T).solution.T
    torch.testing.assert_close(found.latents, expected, rtol=0, atol=1e-6)
    assert found.evaluations.tolist() == [2 * 41] * 6


def test_trained_generator_is_searched_in_a_fraction_of_the_evaluations() -> None:
    generator, images, starts = trained_generator(), images_of(40), starts_of(3)
    long = latent_search(generator, images, starts, SearchSettings(200, 10.0))
    short = latent_search(generator, images, starts, settings_of(24))
    assert short.objective.mean() < long.objective.mean()
    assert (short.evaluations * 8 < long.evaluations + 8).all()


@pytest.mark.parametrize("step_size", [10.0, 1e4])
def test_objective_falls_from_one_number_of_steps_to_the_next(step_size: float) -> None:
    generator, images, starts = trained_generator(), images_of(10), starts_of(1, 3.0)
    cells = [(steps, 1) for steps in range(1, 40)]
    found = sweep_search(generator, images, starts, settings_of(0, step_size), cells)
    objectives = torch.stack([found[cell].objective for cell in cells])
    change = objectives.diff(dim=0)
    assert (change <= 1e-12).all()
    # Both kinds of iterations were there: accepted, and failed ones that leave the row where it is.
    assert (change[:10] < 0).any() and (change[:10] == 0).any()
    # A first step far too long is made up for.
    assert (objectives[-1] < 0.6 * objectives[0]).all()


def plainly(
    generator: nn.Module, image: Tensor, start: Tensor, settings: SearchSettings
) -> tuple[Tensor, int]:
    """The best code of one image (1, C, H, W) from one start (d,), as the method is defined: with
    numbers and lists. And how many trials failed."""
    best, trial, gradient = start, start, torch.zeros_like(start)
    value, scale = torch.inf, settings.step_size
    pairs: list[Any] = []
    failed = 0
    for _ in range(settings.steps):
        variable = trial.clone().requires_grad_()
        found = settings.objective(generator(variable[None]), image).sum()
        (there,) = torch.autograd.grad(found, variable)
        s, y = trial - best, there - gradient
        curved = bool(s @ y > 1e-3 * s.norm() * y.norm())
        pairs.append((s, y) if value < torch.inf and curved else None)
        if pairs[-1]:
            scale = s @ y / (y @ y)
        if found.item() >= value:
            trial, failed = best + s / 2, failed + 1
            continue
        value, best, gradient = found.item(), trial, there
        direction, factors = gradient, []
        known = [pair for pair in pairs[-MEMORY:] if pair]
        for s, y in reversed(known):
            factors.append(s @ direction / (s @ y))
            direction = direction - factors[-1] * y
        direction = scale * direction
        for s, y in known:
            direction = direction + (factors.pop() - y @ direction / (s @ y)) * s
        trial = best - direction
    return best, failed


CASES = {"plain": (15, 10.0), "a long first step": (17, 30.0), "beyond the memory": (26, 10.0)}


@pytest.mark.parametrize(("steps", "step_size"), CASES.values(), ids=CASES)
def test_search_is_that_of_the_plain_form(steps: int, step_size: float) -> None:
    generator, starts, images = trained_generator(), starts_of(3), images_of(4)
    settings = settings_of(steps, step_size)
    found = latent_search(generator, images, starts, settings)
    failures = 0
    for i, restart in enumerate(found.restart):
        latent, failed = plainly(generator, images[i : i + 1], starts[restart], settings)
        torch.testing.assert_close(found.latents[i], latent)
        failures += failed
    assert failures > 0


def finite_differences(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Of `loss` (M, ...) -> (M,), of which no row sees another, at one row."""
    size = 3e-4  # the search finds a minimum to the square root of float64's rounding
    nudges = size * torch.eye(at.numel(), dtype=at.dtype).view(-1, *at.shape)
    return ((loss(at + nudges) - loss(at - nudges)) / (2 * size)).view_as(at)


def test_gradient_of_a_converged_search_agrees_with_finite_differences() -> None:
    """Through the whole search. After a few steps it is another one."""
    latent = 4
    generator, starts = trained_generator(latent), starts_of(2, latent=latent)
    weights = torch.linspace(-1, 1, 64, dtype=torch.float64)

    def loss(images: Tensor, steps: int = 150) -> Tensor:
        made = latent_search(generator, images, starts, settings_of(steps)).reconstructions
        return made.flatten(1).square() @ weights

    for image in images_of(6):
        own = image[None].clone().requires_grad_()
        (ours,) = torch.autograd.grad(loss(own).sum(), own)
        theirs = finite_differences(loss, image)
        size = theirs.abs().max().item()
        assert size > 1e-3, "a gradient that is nearly zero proves nothing"
        torch.testing.assert_close(ours[0], theirs, rtol=1e-3, atol=3e-4 * size)
        (early,) = torch.autograd.grad(loss(own, 3).sum(), own)
        assert (early[0] - theirs).abs().max() > 1e-2 * size


def test_gradient_is_none_in_directions_that_make_no_difference_and_large_nowhere() -> None:
    generator = nn.Sequential(Part(), trained_generator())
    images, starts = images_of(5).requires_grad_(), starts_of(2, latent=LATENT + 3)
    found = latent_search(generator, images, starts, settings_of(20))
    (gradient,) = torch.autograd.grad(found.reconstructions.square().sum(), images)
    within = images.detach().requires_grad_()
    same_codes = replace(found, latents=found.latents[:, :LATENT].detach())
    made = with_gradient(trained_generator(), within, same_codes, settings_of(20))
    (expected,) = torch.autograd.grad(made.reconstructions.square().sum(), within)
    torch.testing.assert_close(gradient, expected)
    assert 1e-3 < gradient.abs().max() < 1e3


class Part(nn.Module):
    """Drops what a code has beyond LATENT numbers."""

    def forward(self, latents: Tensor) -> Tensor:
        return latents[:, :LATENT]


def test_attacker_sees_the_values_of_the_deployed_search() -> None:
    generator, starts = copy.deepcopy(trained_generator()).float(), starts_of(3)
    for precision in ("float32", "bfloat16"):
        settings = settings_of(10, precision=precision)
        images = images_of(5).float().requires_grad_()
        found = latent_search(generator, images, starts, settings)
        with torch.no_grad():
            deployed = latent_search(generator, images, starts, settings)
        assert torch.equal(found.reconstructions, deployed.reconstructions)
        assert torch.equal(found.evaluations, deployed.evaluations)
        assert found.reconstructions.requires_grad


def held_bytes(steps: int, restarts: int) -> int:
    """Of all that a graph keeps for its backward pass."""
    kept: weakref.WeakSet[Any] = weakref.WeakSet()

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor
            kept.add(self)

    images = images_of(3).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda held: held.tensor):
        found = latent_search(trained_generator(), images, starts_of(restarts), settings_of(steps))
    assert found.reconstructions.requires_grad
    return sum(held.tensor.nbytes for held in kept)


def test_memory_of_the_gradient_is_flat_in_steps_and_restarts() -> None:
    assert held_bytes(6, 2) == held_bytes(24, 2) == held_bytes(6, 8) > 0


def same(one: SearchResult, other: SearchResult) -> None:
    assert torch.equal(one.restart, other.restart)
    assert torch.equal(one.steps, other.steps)
    for name in ("objective", "latents", "reconstructions"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=1e-9)


PLANS = {
    "plain": {},
    "pruned": {"prune": ((4, 3), (9, 1))},
    "stopped": {"tolerance": 0.05, "patience": 4, "prune": ((6, 2),)},
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_an_image_is_searched_alike_alone_and_in_any_batch(plan: dict[str, Any]) -> None:
    generator, images, starts = trained_generator(), images_of(20), starts_of(4, 2.0)
    settings = settings_of(25, **plan)
    together = latent_search(generator, images, starts, settings)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    shuffled = latent_search(generator, images[order], starts, settings)
    for i, image in enumerate(images):
        alone = latent_search(generator, image[None], starts, settings)
        for found, place in ((together, i), (shuffled, int((order == i).nonzero()))):
            row = SearchResult(*(getattr(found, k)[place : place + 1] for k in vars(found)))
            same(alone, row)


def test_pruned_and_stopped_restarts_are_the_plain_ones_as_far_as_they_go() -> None:
    generator, images, starts = trained_generator(), images_of(12), starts_of(5, 2.0)
    settings = settings_of(24, prune=((4, 2),), tolerance=0.05, patience=6)
    found = latent_search(generator, images, starts, settings)
    assert found.steps.unique().numel() > 1
    early = [latent_search(generator, images, start[None], settings_of(4)) for start in starts]
    kept = torch.stack([one.objective for one in early]).topk(2, dim=0, largest=False).indices
    for i, (steps, restart) in enumerate(zip(found.steps, found.restart, strict=True)):
        assert restart in kept[:, i]
        both = latent_search(
            generator, images[i : i + 1], starts[kept[:, i].sort().values], settings_of(int(steps))
        )
        torch.testing.assert_close(found.objective[i : i + 1], both.objective)
        cost = 5 * 4 + 2 * (int(steps) - 4) + 2
        assert int(found.evaluations[i]) == cost


def test_every_cell_of_a_sweep_equals_a_search_of_its_own() -> None:
    generator, images, starts = trained_generator(), images_of(12), starts_of(6, 2.0)
    cells = ((7, 4), (1, 6), (20, 1), (3, 4), (7, 6), (7, 1), (14, 4), (25, 1))
    result = sweep_search(generator, images, starts, settings_of(0), cells)
    assert set(result) == set(cells)
    for (steps, restarts), found in result.items():
        same(found, latent_search(generator, images, starts[:restarts], settings_of(steps)))


def test_no_images_and_no_steps() -> None:
    generator, starts = trained_generator(), starts_of(2)
    found = latent_search(generator, images_of(0).requires_grad_(), starts, settings_of(3))
    assert found.reconstructions.shape == (0, 1, 8, 8)
    still = latent_search(generator, images_of(2), starts[:1], settings_of(0))
    assert torch.equal(still.latents, starts[:1].expand(2, -1))


@pytest.mark.parametrize(
    "wrong",
    [{"momentum": 0.7}, {"doubling": 5}, {"cuda_graph": True}, {"optimizer": "newton"}],
)
def test_what_it_has_not_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(settings_of(5), **wrong)


def test_defences_have_it_where_their_recipe_says_so_alone() -> None:
    """Of all three searches; the fields of a recipe that their constructors read."""
    made = {"generator": {"settings": {"latent": LATENT}}}
    recipe = {"name": "mine", "seed": 0, "networks": made}
    search = {"steps": 5, "step_size": 10.0, "momentum": 0.0}
    network = nn.Module()
    network.generator, network.encoder = trained_generator(), nn.Flatten()
    network.discriminator, network.latent = nn.Flatten(), LATENT
    forms: dict[type, tuple[dict[str, Any], nn.Module]] = {
        DefenseGAN: ({**search, "restarts": 2}, network.generator),
        Cowboy: ({**search, "restarts": 2, "sigma": 0.2, "discriminator_weight": 1.0}, network),
        EncoderSearch: ({"search": True, "steps": 5, "step_size": 3.0, "doubling": None}, network),
    }
    for form, (settings, generator) in forms.items():
        networks = {"generator": generator}
        found = [
            form.of_recipe({**recipe, "settings": own}, networks, None).settings.optimizer
            for own in (settings, {**settings, "optimizer": "lbfgs"})
        ]
        assert found == ["gradient_descent", "lbfgs"]
