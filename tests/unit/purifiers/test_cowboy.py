"""Cowboy: its GAN, the training, the objective by hand, the purifier and its gradient."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from purification.attacks import fgsm, pgd
from purification.models.checkpoints import (
    load_network,
    load_snapshot,
    save_network,
    save_snapshots,
)
from purification.models.classifiers import build_classifier
from purification.models.gan import GAN, Discriminator, UnitTanh
from purification.purifiers import (
    Cowboy,
    Defended,
    DefenseGAN,
    SearchSettings,
    latent_search,
)
from purification.purifiers.batches import purify_images
from purification.purifiers.cowboy import CleaningObjective
from purification.purifiers.defense_gan import draw_codes, draw_starts
from purification.purifiers.loading import load_purifier
from purification.purifiers.piecewise_linear import PiecewiseLinear
from purification.purifiers.search_network import search_network
from purification.randomness import generator, isolated_rng
from purification.training.adversarial_game import play
from purification.training.gan import train_gan

pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")

MNIST = (1, 28, 28)
SEARCH = SearchSettings(6, step_size=0.05, momentum=0.3)


def new_gan(shape: tuple[int, int, int] = MNIST, dtype: torch.dtype = torch.float32) -> GAN:
    with isolated_rng(7):
        network = GAN(6, 4, shape)
        for weights in network.parameters():  # so that biases are not zero
            weights.data += 0.05 * torch.randn_like(weights)
    return network.eval().to(dtype)


def images_of(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Near the generator's range, as real images are: made by it, with noise."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        made = new_gan().generator(torch.randn(count, 6, generator=random))
        made = made + 0.05 * torch.randn(made.shape, generator=random)
    return made.clamp(0, 1).to(dtype)


def new_cowboy(network: GAN, restarts: int = 1, sigma: float = 5.0, weight: float = 1.0) -> Cowboy:
    starts = draw_codes(restarts, 6, torch.Generator().manual_seed(1))
    starts = starts.to(next(network.parameters()))
    return Cowboy(
        network.generator,
        network.discriminator,
        starts,
        SEARCH,
        sigma=sigma,
        discriminator_weight=weight,
    )


def fit(network: GAN, images: Tensor, **settings: object) -> tuple[list[dict], dict]:
    defaults = {
        "iterations": 4,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "betas": (0.5, 0.999),
        "saturating": False,
        "snapshots": (),
        "seed": 3,
        "device": "cpu",
    }
    return train_gan(network, images, **{**defaults, **settings})


def vector(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in state.values()])


# Networks


@pytest.mark.parametrize("shape", [MNIST, (3, 32, 32), (3, 64, 64)])
def test_networks_have_images_in_01_at_both_ends(shape: tuple[int, int, int]) -> None:
    network = GAN(6, 4, shape)
    images = network(torch.randn(5, 6) * 500)
    assert images.shape == (5, *shape)
    assert 0 <= images.min() < 0.1
    assert 0.9 < images.max() <= 1
    logits = network.discriminator(50 * images)
    assert logits.shape == (5,)
    assert logits.min() < 0 or logits.max() > 1, "a probability is no logit"
    kinds = {type(layer).__name__ for layer in network.modules()}
    assert not {kind for kind in kinds if "Norm" in kind or "Dropout" in kind}


def test_last_layer_is_a_tanh_and_the_discriminator_sees_its_range() -> None:
    x = torch.linspace(-4, 4, 9, dtype=torch.float64)
    torch.testing.assert_close(UnitTanh()(x), (torch.tanh(x) + 1) / 2)
    discriminator, seen = Discriminator(4), []
    discriminator.features.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    image = torch.rand(1, *MNIST)
    discriminator(image)
    torch.testing.assert_close(seen[0], 2 * image - 1)


def test_initial_weights_are_xaviers() -> None:
    network = GAN(64, 32)
    fans = {
        network.generator.project: 64 + 4 * 32 * 16,
        network.generator.upsample[1]: 25 * (128 + 64),
        network.generator.upsample[5]: 25 * (32 + 1),
        network.discriminator.features[0]: 25 * (1 + 32),
        network.discriminator.features[4]: 25 * (64 + 128),
        network.discriminator.score: 4 * 4 * 128 + 1,
    }
    for layer, fan in fans.items():
        limit = math.sqrt(6 / fan)
        assert 0.97 * limit < layer.weight.abs().max().item() <= limit
        assert layer.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.1)
        assert not layer.bias.any()


@pytest.mark.parametrize("shape", [MNIST, (3, 32, 32)])
def test_arranged_generator_has_its_values_and_gradients(shape: tuple[int, int, int]) -> None:
    original = new_gan(shape).generator
    arranged = search_network(original)
    assert isinstance(arranged, PiecewiseLinear)
    z = torch.randn(9, 6).requires_grad_()

    def derivatives(network: nn.Module) -> list[Tensor]:
        images = network(z)
        (first,) = torch.autograd.grad(images.pow(3).sum(), z, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), z)
        return [images, first, second]

    for ours, theirs in zip(derivatives(arranged), derivatives(original), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())
    half = search_network(original, "bfloat16")(z)
    torch.testing.assert_close(half, original(z), rtol=0, atol=0.02)
    above = half[half > 0.5]
    assert not torch.equal(above, above.bfloat16().float()), "the image is not in bfloat16's steps"


# Training


def test_training_plays_the_game_by_hand() -> None:
    images = images_of(8)
    for saturating in (True, False):
        network = GAN(6, 4)
        own = copy.deepcopy(network)
        history, _ = fit(network, images, iterations=1, saturating=saturating)
        random = generator(3, "gan", "1")
        real = images[torch.randint(8, (8,), generator=random)]
        fake = own.generator(torch.randn(8, 6, generator=random))
        scores = torch.sigmoid(own.discriminator(real)), torch.sigmoid(own.discriminator(fake))
        loss = -(scores[0].log().mean() + (1 - scores[1]).log().mean())
        assert history[0]["discriminator"] == pytest.approx(loss.item(), rel=1e-4)
        adam = torch.optim.Adam(own.discriminator.parameters(), 1e-3, (0.5, 0.999))
        loss.backward(inputs=list(own.discriminator.parameters()), retain_graph=True)
        adam.step()
        after = torch.sigmoid(own.discriminator(fake))
        game = (1 - after).log().mean() if saturating else -after.log().mean()
        assert history[0]["generator"] == pytest.approx(game.item(), rel=1e-4)


def test_play_moves_the_discriminator_towards_telling_them_apart() -> None:
    network, real, fake = GAN(6, 4), torch.rand(8, *MNIST), torch.rand(8, *MNIST).sqrt()
    optimizer = torch.optim.Adam(network.discriminator.parameters(), 1e-3)
    losses = [play(network.discriminator, optimizer, real, fake, True)[0] for _ in range(10)]
    assert losses[-1] < 0.9 * losses[0]


def test_snapshots_are_shorter_trainings_and_the_seed_decides() -> None:
    images = images_of(16)
    network = GAN(6, 4)
    start = copy.deepcopy(network)
    history, kept = fit(network, images, iterations=4, snapshots=[2, 4])
    assert sorted(kept) == [2, 4]
    assert [row["iteration"] for row in history] == [1, 2, 3, 4]
    assert torch.equal(vector(kept[4]), vector(network.state_dict()))
    shorter = copy.deepcopy(start)
    fit(shorter, images, iterations=2)
    assert torch.equal(vector(kept[2]), vector(shorter.state_dict()))
    other = copy.deepcopy(start)
    fit(other, images, iterations=2, seed=4)
    assert not torch.equal(vector(kept[2]), vector(other.state_dict()))
    assert not network.training


def test_training_learns_the_images_brightness() -> None:
    images = torch.full((32, *MNIST), 0.05)
    network = GAN(6, 4)
    before = network(torch.randn(50, 6)).mean().item()
    fit(network, images, iterations=60, learning_rate=2e-3)
    after = network(torch.randn(50, 6)).mean().item()
    assert before == pytest.approx(0.5, abs=0.1)
    assert after < 0.25


def test_training_refuses_what_it_cannot_reach() -> None:
    with pytest.raises(ValueError, match=r"snapshots from 1 to 4, got 8 and \[0, 5\]"):
        fit(GAN(6, 4), images_of(8), snapshots=[5, 2, 0])
    with pytest.raises(ValueError, match="at least one image"):
        fit(GAN(6, 4), images_of(8)[:0])


# Files


def test_checkpoint_and_snapshots_come_back(tmp_path: Path) -> None:
    recipe = {"kind": "GAN", "settings": {"latent": 6, "width": 4}}
    network = new_gan()
    _, kept = fit(network, images_of(8), iterations=12, snapshots=[1, 2, 12])
    path, steps = tmp_path / "gan.safetensors", tmp_path / "snapshots.safetensors"
    save_network(path, network, recipe, MNIST)
    save_snapshots(steps, kept, recipe, MNIST)
    whole = load_network(path, "GAN")
    for step, state in kept.items():
        loaded = load_snapshot(steps, step)
        assert not loaded.training
        assert torch.equal(vector(loaded.state_dict()), vector(state))
    assert torch.equal(vector(whole.state_dict()), vector(kept[12]))
    with pytest.raises(ValueError, match=r"snapshots.*no snapshot of step 3.*\[1, 2, 12\]"):
        load_snapshot(steps, 3)
    with pytest.raises(ValueError, match=r"gan\.safetensors: expected snapshots"):
        load_snapshot(path, 1)


# Objective


def test_objective_by_hand() -> None:
    class Fixed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).sum(1)  # logits

    made = torch.tensor([[0.0, 1.0], [0.5, 0.5]]).view(2, 1, 1, 2)
    image = torch.tensor([[0.5, 1.0], [0.5, 0.0]]).view(2, 1, 1, 2)
    # In [-1, 1] both differ by 1 in one pixel; D(made) = sigmoid(1).
    log_d = math.log(1 / (1 + math.exp(-1)))
    for sigma, weight in ((0.5, 1.0), (2.0, 0.0), (2.0, 0.5)):
        expected = 1 / (2 * sigma**2) - weight * log_d
        found = CleaningObjective(Fixed(), sigma, weight)(made, image)
        assert found.tolist() == pytest.approx([expected] * 2)


def test_log_d_is_safe_where_d_rounds_to_zero_or_one() -> None:
    class Sure(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return 400 * images.flatten(1).sum(1)

    image = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).requires_grad_()
    values = CleaningObjective(Sure(), 1.0, 1.0)(image, image.detach())
    torch.testing.assert_close(values.detach(), torch.tensor([400.0, 0.0]))
    (gradient,) = torch.autograd.grad(values.sum(), image)
    torch.testing.assert_close(gradient.flatten(), torch.tensor([-400.0, 0.0]))


@pytest.mark.parametrize(
    ("sigma", "weight"), [(0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, -1.0), (1.0, math.inf)]
)
def test_objective_refuses_settings_without_sense(sigma: float, weight: float) -> None:
    with pytest.raises(ValueError, match="sigma must be positive"):
        CleaningObjective(nn.Identity(), sigma, weight)


# Purifier


def test_search_is_algorithm_1_by_hand() -> None:
    network, x = new_gan(dtype=torch.float64), images_of(3, torch.float64)
    purifier = new_cowboy(network)
    z = purifier.starts.expand(3, -1).clone().requires_grad_()
    sgd = torch.optim.SGD([z], lr=0.05, momentum=0.3)
    for _ in range(6):
        sgd.zero_grad()
        made = network.generator(z)
        distance = ((2 * made - 1) - (2 * x - 1)).square().sum((1, 2, 3)) / (2 * 5.0**2)
        (distance - torch.sigmoid(network.discriminator(made)).log()).sum().backward()
        sgd.step()
    expected = network.generator(z).detach()
    torch.testing.assert_close(purifier(x), expected)
    assert not torch.allclose(purifier(x), new_cowboy(network, weight=0.0)(x))


def test_weight_0_is_defense_gan_with_its_step_size_in_other_units() -> None:
    network, x, sigma = new_gan(dtype=torch.float64), images_of(4, torch.float64), 3.0
    ours = new_cowboy(network, restarts=3, sigma=sigma, weight=0.0)
    # Sum of squares in [-1, 1] over 2 sigma^2 is this often the mean square in [0, 1].
    factor = 4 * 28 * 28 / (2 * sigma**2)
    settings = SearchSettings(6, step_size=0.05 * factor, momentum=0.3)
    torch.testing.assert_close(ours(x), DefenseGAN(network.generator, ours.starts, settings)(x))


def test_discriminator_raises_d_of_what_is_returned() -> None:
    network, x = new_gan(), images_of(12)
    plain = new_cowboy(network, sigma=20.0, weight=0.0)
    guided = new_cowboy(network, sigma=20.0, weight=1.0)
    d = [network.discriminator(purifier(x)) for purifier in (plain, guided)]
    assert (d[1] > d[0]).all()


def test_an_images_result_does_not_depend_on_its_batch() -> None:
    purifier, x = new_cowboy(new_gan(), restarts=3), images_of(9)
    together = purifier(x)
    for i in range(9):
        torch.testing.assert_close(purifier(x[i : i + 1])[0], together[i], rtol=0, atol=1e-5)
    torch.testing.assert_close(purifier(x.flip(0)), together.flip(0), rtol=0, atol=1e-5)
    assert torch.equal(purifier(x), together)


class SmoothGenerator(nn.Module):
    """z (N, 3) -> images (N, 1, 4, 4) in (0, 1), with second derivatives that are not zero."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.first = nn.Parameter(torch.randn(3, 8, generator=random, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(8, 16, generator=random, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(torch.tanh(z @ self.first) @ self.second).view(-1, 1, 4, 4)


class SmoothDiscriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(2)
        self.matrix = nn.Parameter(torch.randn(16, 5, generator=random, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        return 3 * torch.tanh((2 * images - 1).flatten(1) @ self.matrix).sum(1)


@pytest.mark.parametrize("restarts", [1, 3])
def test_white_box_gradient_agrees_with_finite_differences(restarts: int) -> None:
    starts = draw_codes(restarts, 3, torch.Generator().manual_seed(3)).double()
    settings = SearchSettings(7, step_size=0.1, momentum=0.5)
    purifier = Cowboy(SmoothGenerator(), SmoothDiscriminator(), starts, settings, sigma=1.0)
    random = torch.Generator().manual_seed(5)
    images = torch.rand(2, 1, 4, 4, generator=random, dtype=torch.float64).requires_grad_()
    weights = torch.randn(16, generator=random, dtype=torch.float64)

    def loss(x: Tensor) -> Tensor:
        return (purifier(x).flatten(1).square() @ weights).sum()

    (gradient,) = torch.autograd.grad(loss(images), images)
    numeric = torch.empty(32, dtype=torch.float64)
    for i in range(32):
        nudge = 1e-6 * torch.eye(32, dtype=torch.float64)[i].view_as(images)
        numeric[i] = (loss(images + nudge) - loss(images - nudge)).detach() / 2e-6
    torch.testing.assert_close(gradient.flatten(), numeric, rtol=1e-5, atol=1e-8)
    assert gradient.abs().max() > 1e-3, "a gradient that is nearly zero proves nothing"


def test_white_box_gradient_is_that_of_the_unrolled_search() -> None:
    """Through the networks themselves: transposed convolutions, and the critic's LeakyReLU."""
    network, x = new_gan(dtype=torch.float64), images_of(2, torch.float64).requires_grad_()
    purifier = new_cowboy(network)
    (ours,) = torch.autograd.grad(purifier(x).square().sum(), x)
    z, v = purifier.starts.expand(2, -1).clone().requires_grad_(), 0.0
    for _ in range(6):
        made = network.generator(z)
        distance = 4 * (made - x).square().sum() / (2 * 5.0**2)
        objective = distance - network.discriminator(made).sigmoid().log().sum()
        (gradient,) = torch.autograd.grad(objective, z, create_graph=True)
        v = 0.3 * v + gradient
        z = z - 0.05 * v
    (naive,) = torch.autograd.grad(network.generator(z).square().sum(), x)
    torch.testing.assert_close(ours, naive)
    assert naive.abs().max() > 1e-6
    assert all(weights.grad is None for weights in network.parameters())
    assert not any(weights.requires_grad for weights in network.parameters())


def test_score_is_minus_the_logit_of_the_given_image() -> None:
    network, x = new_gan(), images_of(5)
    purifier = new_cowboy(network)
    score = purifier.score(x)
    torch.testing.assert_close(torch.sigmoid(-score), network.discriminator(x).sigmoid())
    assert torch.equal(score, purifier.score_purified(x, torch.zeros_like(x)))
    purified = purify_images(purifier, x, batch_size=2, device=torch.device("cpu"))
    torch.testing.assert_close(purified.score, score)


def test_copy_has_its_own_discriminator() -> None:
    purifier, x = new_cowboy(new_gan()), images_of(2)
    twin = copy.deepcopy(purifier)
    assert twin.settings.objective is twin.objective
    assert twin.objective is not purifier.objective
    assert torch.equal(twin(x), purifier(x))


def test_start_is_drawn_from_the_prior() -> None:
    codes = draw_codes(2000, 16, torch.Generator().manual_seed(0))
    assert codes.std().item() == pytest.approx(1, rel=0.02)
    torch.testing.assert_close(
        draw_starts(5, 16, torch.Generator().manual_seed(0)), codes[:5] / 4, rtol=0, atol=0
    )


def test_purifier_from_its_recipe(tmp_path: Path) -> None:
    network, path = new_gan(), tmp_path / "gan.safetensors"
    gan = {"kind": "GAN", "settings": {"latent": 6, "width": 4}}
    save_network(path, network, gan, MNIST)
    settings = {
        **{"steps": 5, "restarts": 2, "step_size": 0.02, "momentum": 0.0},
        **{"sigma": 4.0, "discriminator_weight": 1.0},
    }
    recipe = {
        **{"method": "cowboy", "name": "cowboy", "seed": 5},
        **{"settings": settings, "networks": {"generator": gan}},
    }
    purifier = load_purifier(recipe, {"generator": str(path)})
    starts = draw_codes(2, 6, generator(5, "cowboy", "starts"))
    expected = Cowboy(
        network.generator,
        network.discriminator,
        starts,
        SearchSettings(5, 0.02, 0.0),
        sigma=4.0,
        discriminator_weight=1.0,
    )
    x = images_of(4)
    torch.testing.assert_close(purifier(x), expected(x), rtol=0, atol=1e-5)
    # The Defense-GAN of Table 2 starts from the same codes; so does a snapshot.
    settings = {**settings, "discriminator_weight": 0.0}
    changed = {**recipe, "name": "reconstruction", "settings": settings}
    plain = Cowboy.of_recipe(changed, {"generator": network}, None)
    assert torch.equal(plain.starts, purifier.starts)
    found = latent_search(network.generator, x, starts, plain.settings)
    torch.testing.assert_close(plain(x), found.reconstructions)


# Classifier


def test_attacks_go_through_simple_cnn_in_evaluation_mode() -> None:
    model = build_classifier("simple_cnn").eval()
    statistics = model[1].running_mean.clone()
    x, y = torch.rand(6, *MNIST), torch.arange(6)
    single = fgsm(model, x[2:3], y[2:3], epsilon=0.1)
    torch.testing.assert_close(fgsm(model, x, y, epsilon=0.1)[2:3], single)
    settings = {"epsilon": 0.1, "step_size": 0.02, "iterations": 3, "seed": 0}
    attacked = pgd(model, x, y, **settings, indices=range(6))
    assert (attacked - x).abs().max() > 0.05
    assert torch.equal(model[1].running_mean, statistics)
    defended = Defended(new_cowboy(new_gan()), model)
    attacked = fgsm(defended, x, y, epsilon=0.1)
    assert (attacked - x).abs().flatten(1).amax(1).min() > 0.05
