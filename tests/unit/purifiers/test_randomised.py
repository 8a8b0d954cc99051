"""Randomised purifiers: their seeds, what stands behind them, and the wall around users' own."""

import warnings
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
import torch
from conftest import DEFAULT, SCHEMA, merged, refusal
from extend import example
from made_up_noise import Linear, Noise
from torch import Tensor, nn
from torch.nn import functional

from purification.attacks import run_attack
from purification.evaluation.protocols import EVALUATIONS, ONE_SHOT, share_under
from purification.experiments import Catalogue
from purification.facts import holds_for
from purification.guests import GuestError, GuestPurifier
from purification.models.checkpoints import save_network
from purification.models.wgan import Generator
from purification.purifiers import (
    Cowboy,
    Defended,
    DefenseGAN,
    DefenseVAE,
    MagNet,
    Purifier,
    SearchSettings,
    StraightThrough,
)
from purification.purifiers.batches import purify_images
from purification.purifiers.defense_gan import start_deviation
from purification.purifiers.fitting import fit_network
from purification.purifiers.latent_search import latent_search
from purification.purifiers.loading import load_purifier
from purification.randomness import Streams, draw_seeds, normal_of, uniform_of

CPU = torch.device("cpu")
SHAPE = (1, 28, 28)
PHI = NormalDist().cdf


def some_images(count: int = 6) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def generator() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Generator(8, 4, SHAPE)


def redrawn(generator: nn.Module, restarts: int = 2, **settings: Any) -> DefenseGAN:
    search = SearchSettings(3, **settings)
    return DefenseGAN(generator, torch.zeros(restarts, 8), search, redrawn=start_deviation(8))


# --- seeds and streams


def test_seeds_are_of_image_and_draw_alone() -> None:
    whole = draw_seeds(3, range(5), 2)
    assert whole.dtype == torch.int64
    assert len({*whole.tolist(), *draw_seeds(3, range(5), 1).tolist()}) == 10
    assert torch.equal(whole[[4, 1]], draw_seeds(3, [4, 1], [2, 2]))
    assert torch.equal(draw_seeds(3, [7, 7], [0, 5])[1:], draw_seeds(3, [7], 5))
    assert not set(whole.tolist()) & set(draw_seeds(4, range(5), 2).tolist())
    with pytest.raises(ValueError, match="shorter"):
        draw_seeds(3, [1, 2], [0])


def test_streams_go_on_and_know_nothing_of_the_batch() -> None:
    seeds = draw_seeds(0, range(4), 0)
    streams = Streams(seeds)
    first, second = streams.normal((3, 5)), streams.uniform((2,))
    assert torch.equal(first, normal_of(seeds, (3, 5)))
    assert not torch.equal(second, uniform_of(seeds, (2,)))
    alone = Streams(seeds[2:3])
    assert torch.equal(alone.normal((3, 5)), first[2:3])
    assert torch.equal(alone.uniform((2,)), second[2:3])
    many = normal_of(draw_seeds(0, range(2000), 0), (4,))
    assert abs(many.mean().item()) < 4 / sqrt(8000)
    assert many.std().item() == pytest.approx(1, abs=4 / sqrt(16000))
    assert abs(torch.corrcoef(many.T).triu(1).abs().max().item()) < 4.5 / sqrt(2000)


def test_what_is_stated_of_settings() -> None:
    stated = {"redraw": True}
    assert holds_for(True, {})
    assert holds_for(stated, {"redraw": True, "steps": 3})
    for settings in ({}, {"redraw": False}):
        assert not holds_for(stated, settings)
    assert not holds_for(None, {"redraw": True})
    assert not holds_for({**stated, "steps": 2}, {"redraw": True, "steps": 3})


# --- accuracies in closed form


def test_accuracies_of_noise_before_a_linear_classifier() -> None:
    """An image whose margin is m is right in one draw with probability Phi(m / (sigma |w|)), and in
    N draws with its Nth power."""
    count, draws, deviation = 800, 4, 0.3
    weights = torch.tensor([0.5, -1.0, 0.25, 2.0])
    direction = weights / weights.square().sum()
    margins = torch.linspace(-0.5, 1.5, count)
    images = (margins[:, None] * direction).view(count, 1, 2, 2)
    classifier = Linear(weights)
    model = Defended(Noise(deviation), classifier)
    right = torch.stack(
        [model(images, draw_seeds(5, range(count), k)).argmax(1) == 1 for k in range(draws)], dim=1
    ).numpy()
    norm = weights.norm().item()
    each = [PHI(margin / (deviation * norm)) for margin in margins.tolist()]
    for power, made in (
        (1, share_under(ONE_SHOT, 1, right)),
        (draws, share_under(EVALUATIONS, draws, right)),
    ):
        expected = [p**power for p in each]
        error = sqrt(sum(p * (1 - p) for p in expected) / (draws if power == 1 else 1)) / count
        assert abs(made["accuracy"] - sum(expected) / count) < 4 * error, power
        assert made["n"] == count
        assert made["ci_low"] < made["accuracy"] < made["ci_high"]
    assert made["accuracy"] < right.mean() - 0.1
    by_draw = share_under(ONE_SHOT, 1, right)
    # Draws differ by the binomial spread of their images.
    spread = sqrt(sum(p * (1 - p) for p in each)) / count
    assert 0.2 * spread < by_draw["spread"] < 3 * spread


# --- Defended


def test_defended_counts_its_draws() -> None:
    images = torch.rand(4, 1, 2, 2)
    model = Defended(Noise(0.5), Linear(torch.ones(4)), seed=3)
    first, second = model(images), model(images)
    assert not torch.equal(first, second)
    model.restart_draws()
    assert torch.equal(model(images), first)
    # Images are counted, not calls.
    model.restart_draws()
    assert torch.equal(torch.cat([model(images[:1]), model(images[1:])]), first)
    assert torch.equal(Defended(Noise(0.5), Linear(torch.ones(4)), seed=3)(images), first)
    other = Defended(Noise(0.5), Linear(torch.ones(4)))
    assert not torch.equal(other(images), first)
    bent = Defended(StraightThrough(Noise(0.5)), Linear(torch.ones(4)), seed=3)
    assert bent.randomised
    assert torch.allclose(bent(images), first)
    assert not Defended(nn.Identity(), Linear(torch.ones(4))).randomised


def test_defended_is_in_evaluation_mode_and_warns_once() -> None:
    purifier, classifier = nn.Dropout(0.5), nn.Sequential(nn.Flatten(), nn.Dropout(0.5))
    model = Defended(purifier, classifier)
    assert not any(module.training for module in (model, purifier, classifier[1]))
    images = 255 * torch.rand(2, 1, 2, 2)
    with pytest.warns(UserWarning, match=r"images in \[0, 1\] are expected"):
        model(images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(images)
        Defended(purifier, classifier)(torch.ones(2, 1, 2, 2))


def test_a_randomised_purifier_needs_its_seeds(generator: nn.Module) -> None:
    images = some_images(3)
    for seeds, got in ((None, "none"), (draw_seeds(0, range(2), 0), r"shape \(2,\)")):
        with pytest.raises(ValueError, match=rf"seeds of shape \(3,\).*{got}"):
            purify_images(redrawn(generator), images, batch_size=3, device=CPU, seeds=seeds)


def test_modes_and_transforms_of_torch(generator: nn.Module) -> None:
    """What the docstring of `Defended` says."""
    images, labels = some_images(2), torch.tensor([0, 1])
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
    search = DefenseGAN(generator, torch.zeros(2, 8), SearchSettings(2))
    random = redrawn(generator)
    for purifier in (search, random, Noise(0.1)):
        model = Defended(purifier, classifier)
        seeds = draw_seeds(0, range(2), 0)
        with torch.inference_mode():
            inference = model(images, seeds)
        assert torch.equal(inference, model(images, seeds).detach())

    def gradients(model: nn.Module) -> Tensor:
        def loss(image: Tensor, label: Tensor) -> Tensor:
            return functional.cross_entropy(model(image[None]), label[None])

        made: Tensor = torch.func.vmap(torch.func.grad(loss))(images, labels)
        return made

    def batched(model: nn.Module) -> Tensor:
        given = images.clone().requires_grad_()
        slopes = torch.eye(3)[:, None].expand(3, 2, 3)
        return torch.autograd.grad(model(given), given, slopes, is_grads_batched=True)[0]

    for purifier in (search, random, StraightThrough(search), Noise(0.1)):
        with pytest.raises(NotImplementedError, match=r"torch\.func"):
            gradients(Defended(purifier, classifier))
    for purifier in (search, random):
        with pytest.raises(NotImplementedError, match="batched gradients"):
            batched(Defended(purifier, classifier))
    for purifier in (StraightThrough(search), Noise(0.1)):
        model = Defended(purifier, classifier)
        weights = classifier[1].weight.detach().view(3, 1, *SHAPE).expand(3, 2, *SHAPE)
        torch.testing.assert_close(batched(model), weights)
    for plain in (
        nn.Sequential(nn.Flatten(), nn.Linear(784, 784), nn.Sigmoid(), nn.Unflatten(1, SHAPE)),
        MagNet({"latent": 4, "width": 2}, SHAPE),
        DefenseVAE({"latent": 4, "width": 2}, SHAPE),
    ):
        model = Defended(plain, classifier)
        given = images.clone().requires_grad_()
        loss = functional.cross_entropy(model(given), labels, reduction="sum")
        expected = torch.autograd.grad(loss, given)[0]
        torch.testing.assert_close(gradients(model), expected, rtol=1e-4, atol=1e-6)
        with torch.inference_mode():
            inference = model(images)
        assert torch.equal(inference, model(images).detach())


# --- Defense-GAN with redrawn starts


def test_redrawn_starts_are_of_each_images_seed(generator: nn.Module) -> None:
    images, purifier = some_images(), redrawn(generator)
    seeds = draw_seeds(0, range(6), 0)
    starts = torch.stack(
        [torch.stack([s.normal((8,))[0] for _ in range(2)]) for s in map(Streams, seeds.split(1))]
    )
    assert torch.equal(purifier.starts_of(seeds), starts * start_deviation(8))
    found = latent_search(generator, images, purifier.starts_of(seeds), SearchSettings(3))
    made = purifier(images, seeds)
    assert torch.equal(made, found.reconstructions)
    assert not torch.allclose(made, purifier(images, draw_seeds(0, range(6), 1)), atol=1e-4)
    # The first of more.
    more = redrawn(generator, restarts=5)
    assert torch.equal(more.starts_of(seeds)[:, :2], purifier.starts_of(seeds))
    order = [4, 0, 3, 1, 5, 2]
    shuffled = purify_images(
        purifier, images[order], batch_size=4, device=CPU, seeds=seeds[order]
    ).images
    torch.testing.assert_close(shuffled, made[order], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="redrawn need seeds"):
        purifier(images)


@pytest.mark.parametrize("settings", [{}, {"prune": ((1, 1),)}], ids=["all", "pruned"])
def test_gradient_with_redrawn_starts_is_that_of_these_starts(
    generator: nn.Module, settings: dict[str, Any]
) -> None:
    images, seeds = some_images(3), draw_seeds(0, range(3), 4)
    purifier, slopes = redrawn(generator, **settings), torch.randn(3, *SHAPE)
    given = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(purifier(given, seeds), given, slopes)
    for row, starts in enumerate(purifier.starts_of(seeds)):
        fixed = DefenseGAN(generator, starts, purifier.settings)
        alone = images[row : row + 1].clone().requires_grad_()
        (expected,) = torch.autograd.grad(fixed(alone), alone, slopes[row : row + 1])
        assert expected.any()
        torch.testing.assert_close(gradient[row : row + 1], expected, atol=1e-6, rtol=1e-4)


def test_recipes_say_whether_starts_are_redrawn(generator: nn.Module) -> None:
    settings = {"steps": 2, "restarts": 3, "step_size": 10.0, "momentum": 0.7, "starts": "prior"}
    latent = {"generator": {"settings": {"latent": 8}}}
    recipe: dict[str, Any] = {"seed": 1, "name": "mine", "networks": latent}

    def built(**more: Any) -> DefenseGAN:
        own = recipe | {"settings": settings | more}
        return DefenseGAN.of_recipe(own, {"generator": generator}, SHAPE)

    before, same, drawn = built(), built(redraw=False), built(redraw=True)
    assert torch.equal(before.starts, same.starts)
    assert not before.randomised
    assert not same.randomised
    assert drawn.randomised
    assert drawn.redrawn == 1.0
    assert built(redraw=True, starts="published").redrawn == pytest.approx(1 / sqrt(8))
    assert {*before.state_dict()} == {*drawn.state_dict()}
    assert issubclass(Cowboy, DefenseGAN)
    assert not DefenseVAE.randomised


# --- users' own


class Drawing(Purifier):
    RANDOMISED = True

    def __init__(self, make: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.make = make

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        return (images / 2 + self.make(images, seeds) / 2).clamp(0, 1)


def test_a_randomised_guest_is_a_function_of_image_and_seed() -> None:
    images, seeds = some_images(5), draw_seeds(0, range(5), 0)
    guest = GuestPurifier(Drawing(lambda x, seeds: uniform_of(seeds, x.shape[1:])), "lab:mine")
    assert torch.equal(guest(images, seeds), images / 2 + uniform_of(seeds, SHAPE) / 2)
    wrong: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {
        "global": (lambda x, _: torch.rand_like(x), "other results on a second call"),
        "first": (
            lambda x, seeds: uniform_of(seeds[:1], SHAPE).expand_as(x),
            "in batches of other sizes.*each image and its seed alone",
        ),
        "none": (lambda x, _: x, "is randomised and returned the same"),
    }
    for name, (make, message) in wrong.items():
        with pytest.raises(GuestError, match=f"lab:{name} .*{message}"):
            GuestPurifier(Drawing(make), f"lab:{name}")(images, seeds)


LAB = """
import torch
from purification.purifiers import Purifier
from purification.randomness import uniform_of


class Mixed(Purifier):
    RANDOMISED = {"draws": True}
    SETTINGS = {"draws": "boolean = False"}

    def __init__(self, settings, image_shape):
        super().__init__()
        self.share = settings["share"]

    def forward(self, images, seeds=None):
        if seeds is None:
            return images
        return (1 - self.share) * images + self.share * uniform_of(seeds, images.shape[1:])


class Module(torch.nn.Module):
    RANDOMISED = True

    def __init__(self, settings, networks, seed):
        super().__init__()

    def forward(self, images, seeds):
        return uniform_of(seeds, images.shape[1:])


class Trained(Purifier):
    RANDOMISED = True
    LEARNS_FROM = ("images",)
    SETTINGS = {}

    def __init__(self, settings, image_shape):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(image_shape))

    def forward(self, images, seeds):
        return (images + self.mean + uniform_of(seeds, images.shape[1:])) / 3

    def fit(self, images, labels, *, seed, device):
        with torch.no_grad():
            self.mean.copy_(images.mean(0))
        return [{"epoch": 1}]


class Forgetful(Trained):
    def forward(self, images, seeds):
        return (images + self.mean + torch.rand_like(images)) / 3


def build(settings, networks, seed):
    return Mixed({"share": 0.5, "draws": True}, None).requires_grad_(False)


def drawing(settings, networks, seed):
    made = build(settings, networks, seed)
    made.randomised = True
    return made
"""


def test_what_is_loaded_knows_whether_it_is_randomised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawn_lab.py").write_text(LAB)
    monkeypatch.syspath_prepend(tmp_path)
    images, seeds = some_images(), draw_seeds(0, range(6), 0)

    def loaded(name: str, **settings: Any) -> nn.Module:
        recipe = {"method": f"drawn_lab:{name}", "settings": settings, "networks": {}, "seed": 0}
        return load_purifier(recipe, {}, SHAPE)

    random = loaded("Mixed", share=0.25, draws=True)
    expected = 0.75 * images + 0.25 * uniform_of(seeds, SHAPE)
    made = purify_images(random, images, batch_size=2, device=CPU, seeds=seeds)
    torch.testing.assert_close(made.images, expected)
    assert torch.equal(random.score(images, seeds), made.score)
    assert Defended(random, nn.Flatten()).randomised
    fixed = loaded("Mixed", share=0.25, draws=False)
    assert torch.equal(purify_images(fixed, images, batch_size=2, device=CPU).images, images)
    module = purify_images(loaded("Module"), images, batch_size=2, device=CPU, seeds=seeds)
    assert torch.equal(module.images, uniform_of(seeds, SHAPE))
    assert not Defended(loaded("build"), nn.Flatten()).randomised
    with pytest.raises(ValueError, match="Name its class in the config"):
        loaded("drawing")


def test_the_documentations_purifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = example("A randomised purifier", tmp_path)
    config = merged(merged(DEFAULT, config), {"seeds": [0]})
    assert refusal(config, "drawn") == ""
    catalogue = Catalogue(config, SCHEMA)
    assert catalogue.judged_draws("own_step") == 5
    attacked = catalogue.attacked_defense("digits", 0, "own_step", "A", "bim_eot")
    trained, seeds = attacked.purifier.networks["weights"], draw_seeds(0, range(4), 0)
    settings = {**trained.settings, "epochs": 80, "width": 4}
    images, gray = some_images(4), torch.full((20, *SHAPE), 0.5)
    recipe = {**trained.recipe, "settings": settings}
    learned, history = fit_network(recipe, gray, gray, path=trained.path, device=CPU)
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    weights = tmp_path / "weights.safetensors"
    save_network(weights, learned.trained, recipe, SHAPE)
    own = {**attacked.purifier.recipe, "networks": {"weights": recipe}}
    purifier = load_purifier(own, {"weights": str(weights)})
    # Of the images that it knows it finds most of the noise.
    made = purify_images(purifier, gray[:4], batch_size=3, device=CPU, seeds=seeds).images
    assert (made - 0.5).square().mean() < 0.5 * 0.25**2
    assert not torch.equal(made[0], made[1])
    model = Defended(purifier, Linear(torch.linspace(-1, 1, 784)))
    labels = model(images).argmax(1)
    given: dict[str, Any] = {"indices": range(4), "seed": 0, "batch_size": 4}
    result = run_attack("bim", model, images, labels, settings=attacked.attack.settings, **given)
    assert result.success.all()


def test_one_that_is_trained_is_tried_with_its_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trained_lab.py").write_text(LAB)
    monkeypatch.syspath_prepend(tmp_path)
    images = some_images()

    def fitted(name: str) -> Any:
        recipe = {"kind": "TrainedDefense", "method": f"trained_lab:{name}", "settings": {}}
        given: dict[str, Any] = {"path": "results/a.safetensors", "device": CPU}
        return fit_network(recipe | {"seed": 0}, images, torch.zeros(6), **given)[0]

    made = fitted("Trained")
    assert made.randomised
    assert torch.equal(made.mean, images.mean(0))
    with pytest.raises(GuestError, match="trained_lab:Forgetful returned other results on a sec"):
        fitted("Forgetful")
