"""AE-GAN+rs and BiGAN: networks, losses by hand, trainings, the purifier and its rule."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from purification.evaluation.detection import threshold_at, true_positive_rate_at
from purification.models.ae_gan import AEGAN, Discriminator, draw_prior
from purification.models.bigan import BiGAN, JointDiscriminator, Maxout
from purification.models.checkpoints import load_network, save_network
from purification.purifiers import (
    Defended,
    EncoderSearch,
    SearchSettings,
    latent_search,
    reconstruction_error,
)
from purification.purifiers.ae_gan import absolute_error
from purification.purifiers.batches import purify_images
from purification.purifiers.latent_search import sweep_search
from purification.purifiers.loading import load_purifier
from purification.purifiers.piecewise_linear import PiecewiseLinear
from purification.purifiers.search_network import search_network
from purification.randomness import generator, isolated_rng
from purification.training.adversarial_game import discriminator_loss, generator_loss
from purification.training.ae_gan import reconstruction_loss, train_ae_gan
from purification.training.bigan import joint_losses, train_bigan

pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")
torch.set_num_threads(1)  # for the module's own fixtures, which come before that one

MNIST, CELEBA = (1, 28, 28), (3, 64, 64)
PAPER = SearchSettings(15, step_size=1.0, momentum=0.0, doubling=5)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """24 of scikit-learn's digits, as 28x28."""
    from sklearn.datasets import load_digits

    small = torch.from_numpy(load_digits().images[:24]).float()[:, None] / 16
    return nn.functional.interpolate(small, size=(28, 28), mode="bilinear")


def new_network(kind: type[nn.Module] = AEGAN) -> nn.Module:
    with isolated_rng(7):
        return kind(6, 4)


def with_statistics(network: nn.Module) -> nn.Module:
    """The network as after a training, with batch norms that are not the identity."""
    with isolated_rng(8):
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 2)
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, 0, 0.1)
    return network.eval()


def vector(*models: nn.Module) -> Tensor:
    values = [value for model in models for value in model.state_dict().values()]
    return torch.cat([value.flatten().double() for value in values])


def fit(
    network: nn.Module, discriminator: nn.Module | None, images: Tensor, **settings: object
) -> list[dict]:
    defaults = {
        "epochs": 1,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "betas": (0.5, 0.999),
        "noise_bound": 0.5,
        "seed": 3,
        "device": "cpu",
    }
    return train_ae_gan(network, discriminator, images, **{**defaults, **settings})


def fit_bigan(
    network: nn.Module, joint: nn.Module, images: Tensor, **settings: object
) -> list[dict]:
    defaults = {
        "epochs": 1,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "discriminator_learning_rate": 1e-3,
        "betas": (0.5, 0.999),
        "seed": 3,
        "device": "cpu",
    }
    return train_bigan(network, joint, images, **{**defaults, **settings})


class SmoothEncoder(nn.Module):
    """images (N, 1, 4, 4) -> codes (N, 3), with second derivatives that are not zero."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(2)
        self.matrix = nn.Parameter(torch.randn(16, 3, generator=random, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        return torch.tanh(images.flatten(1) @ self.matrix)


class SmoothGenerator(nn.Module):
    """codes (N, 3) -> images (N, 1, 4, 4) in (0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.first = nn.Parameter(torch.randn(3, 8, generator=random, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(8, 16, generator=random, dtype=torch.float64))

    def forward(self, latents: Tensor) -> Tensor:
        return torch.sigmoid(torch.tanh(latents @ self.first) @ self.second).view(-1, 1, 4, 4)


def small_images(count: int) -> Tensor:
    return torch.rand(
        count, 1, 4, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64
    )


def gradients(network: nn.Module) -> Tensor:
    return torch.cat([weight.grad.flatten().clone() for weight in network.parameters()])


def numeric_gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Central differences."""
    flat, step = at.detach().flatten(), 1e-6
    result = torch.empty_like(flat)
    for i in range(len(flat)):
        nudge = torch.zeros_like(flat)
        nudge[i] = step
        above, below = ((flat + sign * nudge).view_as(at) for sign in (1, -1))
        result[i] = (loss(above) - loss(below)).detach() / (2 * step)
    return result.view_as(at)


# Networks


@pytest.mark.parametrize("shape", [MNIST, CELEBA, (3, 32, 32)])
def test_ae_gan_shapes_and_ranges(shape: tuple[int, int, int]) -> None:
    network, discriminator, x = AEGAN(10, 4, shape), Discriminator(4, shape), torch.rand(3, *shape)
    outputs, codes = network(x), network.encoder(x)
    assert outputs.shape == x.shape
    assert outputs.min() > 0
    assert outputs.max() < 1
    assert codes.shape == (3, 10)
    assert codes.abs().max() < 1
    assert discriminator(x).shape == (3,)
    torch.testing.assert_close(network.eval()(x), network.generator(network.encoder(x)))


def test_decoder_grows_from_1024_units_as_the_paper_has_it() -> None:
    network, sides = AEGAN(), []
    for layer in network.generator.upsample:
        if isinstance(layer, nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _, given, out: sides.append(tuple(out.shape[1:])))
    network(torch.rand(2, 1, 28, 28))
    assert network.generator.project[0].out_features == 1024
    assert sides == [(128, 7, 7), (64, 14, 14), (1, 28, 28)]


def test_parameters_are_those_of_table_6() -> None:
    convolutions = 25 * (1 * 64 + 64 * 128 + 128 * 256)
    norms = 2 * (128 + 256)
    encoder = convolutions + (64 + 128 + 256) + norms + (4096 * 128 + 128)
    decoder = convolutions + (128 + 64 + 1) + 2 * (128 + 64) + (128 * 1024 + 1024)
    assert sum(w.numel() for w in AEGAN().parameters()) == encoder + decoder
    discriminator = convolutions + (64 + 128 + 256) + norms + 4096 + 1
    assert sum(w.numel() for w in Discriminator().parameters()) == discriminator


def test_networks_for_celeba_are_defense_gans_without_batch_norm() -> None:
    layers = [*AEGAN(8, 4, CELEBA).modules(), *Discriminator(4, CELEBA).modules()]
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in layers)
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in layers) == 4


@pytest.mark.parametrize("shape", [MNIST, (3, 32, 32)])
def test_bigan_shapes_are_those_of_alis_table_3(shape: tuple[int, int, int]) -> None:
    network, joint, x = BiGAN(6, 4, shape), JointDiscriminator(6, 4, shape), torch.rand(3, *shape)
    seen = []
    for layer in [*network.encoder.layers, *network.generator.layers]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _, given, out: seen.append(tuple(out.shape[1:3])))
    outputs = network(x)
    assert outputs.shape == x.shape
    assert outputs.min() > 0
    assert outputs.max() < 1
    side, channels = shape[1], shape[0]
    down = [(4, 28), (8, 13), (16, 10), (32, 4), (64, 1), (64, 1), (12, 1)]
    up = [(32, 4), (16, 10), (8, 13), (4, 28), (4, side), (4, side), (channels, side)]
    assert seen == down + up
    mean, log_variance = network.encoder.distribution(x)
    assert mean.shape == log_variance.shape == (3, 6)
    assert joint(x, mean).shape == (3,)
    assert [layer.p for layer in joint.modules() if isinstance(layer, nn.Dropout)] == [
        *(0.2, 0.5, 0.5, 0.5, 0.5),
        *(0.2, 0.5),
        *(0.5, 0.5, 0.5),
    ]


def test_padding_is_a_border_of_zeros_around_the_published_bigan() -> None:
    small = with_statistics(new_network(BiGAN))
    with isolated_rng(0):
        large = BiGAN(6, 4, (1, 32, 32)).eval()
    large.load_state_dict(small.state_dict())
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    codes = large.encoder(nn.functional.pad(x, (2, 2, 2, 2)))
    torch.testing.assert_close(small.encoder(x), codes)
    torch.testing.assert_close(small.generator(codes), large.generator(codes)[..., 2:-2, 2:-2])


def test_bigan_refuses_other_sides() -> None:
    with pytest.raises(ValueError, match="28x28, 30x30 or 32x32, got 64x64"):
        BiGAN(6, 4, CELEBA)
    with pytest.raises(ValueError, match="got 28x32"):
        JointDiscriminator(6, 4, (1, 28, 32))


def test_maxout_takes_the_greater_of_two_pieces() -> None:
    x = torch.tensor([[1.0, 5.0, -2.0, -3.0]])
    assert Maxout()(x).tolist() == [[5.0, -2.0]]


def test_bigan_starts_at_the_images_mean() -> None:
    with isolated_rng(0):
        network = BiGAN(6, 4, (3, 32, 32))
    x = torch.tensor([0.2, 0.5, 0.0]).view(1, 3, 1, 1).expand(2, 3, 32, 32)
    network.start_at(x)
    bias = network.generator.layers[-2].bias
    torch.testing.assert_close(bias.sigmoid(), torch.tensor([0.2, 0.5, 0.01]))


@pytest.mark.parametrize("kind", [AEGAN, BiGAN])
def test_search_network_of_batch_normed_generators_has_their_values(kind: type[nn.Module]) -> None:
    original = with_statistics(new_network(kind)).generator
    arranged = search_network(original)
    assert isinstance(arranged, PiecewiseLinear)
    assert any(isinstance(module, nn.BatchNorm2d) for module in original.modules())
    z = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(arranged(z), original(z), rtol=1e-4, atol=1e-5)
    # In float64, where rounding puts no activation on the other side of its kink.
    z, original = z.double().requires_grad_(), original.double()
    (ours,) = torch.autograd.grad(search_network(original)(z).square().sum(), z)
    (theirs,) = torch.autograd.grad(original(z).square().sum(), z)
    torch.testing.assert_close(ours, theirs)


def test_batch_norm_in_training_mode_is_not_folded() -> None:
    generator = new_network().generator.train()
    assert search_network(generator) is generator


# Losses


def test_losses_by_hand() -> None:
    # D = sigmoid(logit): logits log 3 and -log 3 are D = 3/4 and 1/4.
    real, fake = torch.tensor([math.log(3), 0.0]), torch.tensor([-math.log(3), math.log(3)])
    expected = -(math.log(3 / 4) + math.log(1 / 2)) / 2 - (math.log(3 / 4) + math.log(1 / 4)) / 2
    assert discriminator_loss(real, fake).item() == pytest.approx(expected)
    printed = (math.log(3 / 4) + math.log(1 / 4)) / 2
    assert generator_loss(fake, True).item() == pytest.approx(printed)
    assert generator_loss(fake, False).item() == pytest.approx(-printed)
    assert generator_loss(fake[:1], False).item() == pytest.approx(-math.log(1 / 4))
    clean = torch.zeros(2, 1, 2, 2)
    outputs = torch.tensor([[1.0, 0, 0, 2], [0, 0, 3, 0]]).view(2, 1, 2, 2)
    assert reconstruction_loss(outputs, clean).item() == pytest.approx((5 + 9) / 2)
    of_discriminator, of_others = joint_losses(real, fake)
    assert of_discriminator.item() == pytest.approx(expected)
    swapped = -(math.log(1 / 4) + math.log(1 / 2)) / 2 - (math.log(1 / 4) + math.log(3 / 4)) / 2
    assert of_others.item() == pytest.approx(swapped)


def test_prior_fills_the_encoders_range() -> None:
    codes = draw_prior(500, 20, generator(0, "prior"))
    assert -1 <= codes.min() < -0.99
    assert 0.99 < codes.max() <= 1
    assert codes.mean().item() == pytest.approx(0, abs=0.02)


# Trainings


def test_autoencoder_learns_and_repeats_itself_to_the_bit(images: Tensor) -> None:
    runs = [new_network(), new_network(), new_network()]
    histories = [
        fit(network, None, images, epochs=15, learning_rate=5e-3, seed=seed)
        for network, seed in zip(runs, (3, 3, 4), strict=True)
    ]
    assert torch.equal(vector(runs[0]), vector(runs[1]))
    assert not torch.equal(vector(runs[0]), vector(runs[2]))
    losses = [row["reconstruction"] for row in histories[0]]
    assert losses[-1] < 0.6 * losses[0]
    assert histories[0][0]["discriminator"] is None
    assert [row["epoch"] for row in histories[0]] == list(range(1, 16))
    assert not runs[0].training


def test_one_step_is_that_of_equation_5(images: Tensor) -> None:
    """Its gradients by hand, which the training leaves behind; sigma and noise from the streams.

    Not the weights: Adam makes a step of the learning rate's size of a gradient that is all
    rounding, as those of biases before a batch norm are.
    """
    count, bound = 8, 0.5
    network, discriminator = new_network(), Discriminator(4)
    by_hand, judge = new_network(), Discriminator(4)
    judge.load_state_dict(discriminator.state_dict())
    fit(network, discriminator, images[:count], noise_bound=bound, learning_rate=1e-3)

    noises, order = generator(3, "noise"), torch.randperm(count, generator=generator(3, "order"))
    clean = images[order]
    sigma = bound * torch.rand((), generator=noises)
    noisy = clean + sigma * torch.randn(clean.shape, generator=noises)
    prior = 2 * torch.rand(count, 6, generator=generator(3, "prior")) - 1
    made = by_hand.generator(torch.cat([prior, by_hand.encoder(noisy)]))
    fake, outputs = made[:count], made[count:]
    real_odds, fake_odds = judge(clean).sigmoid(), judge(fake.detach()).sigmoid()
    optimizer = torch.optim.Adam(judge.parameters(), 1e-3, (0.5, 0.999))
    (-real_odds.log().mean() - (1 - fake_odds).log().mean()).backward()
    expected = gradients(judge)
    optimizer.step()
    error = (outputs - clean).square().sum() / count
    ((1 - judge(fake).sigmoid()).log().mean() + error).backward()
    torch.testing.assert_close(gradients(discriminator), expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(gradients(network), gradients(by_hand), rtol=1e-3, atol=1e-3)
    assert gradients(network).abs().max() > 1


def test_noise_changes_the_training_and_is_one_sigma_a_batch(images: Tensor) -> None:
    seen = []

    class Listening(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = new_network()
            self.latent = self.inner.latent
            self.generator = self.inner.generator

        def encoder(self, x: Tensor) -> Tensor:
            seen.append(x.detach().clone())
            return self.inner.encoder(x)

    flat = torch.full((40, 1, 28, 28), 0.5)
    fit(Listening(), None, flat, noise_bound=0.0)
    assert all(torch.equal(batch, flat[:8]) for batch in seen)
    seen.clear()
    fit(Listening(), None, flat, noise_bound=0.4, epochs=4)
    deviations = torch.stack([(batch - 0.5).flatten(1).std(dim=1) for batch in seen])
    batches = deviations.mean(dim=1)
    assert (deviations / batches[:, None] - 1).abs().max() < 0.15, "one sigma for a batch"
    assert batches.max() < 0.42
    assert batches.std() > 0.05, "drawn anew for each batch"


def test_each_loss_reaches_the_network(images: Tensor) -> None:
    def trained(discriminator: nn.Module | None, **settings: object) -> Tensor:
        network = new_network()
        with isolated_rng(1):
            discriminator = discriminator and Discriminator(4)
        fit(network, discriminator, images, noise_bound=0.0, **settings)
        return vector(network)

    some = Discriminator(4)
    runs = [trained(None), trained(some), trained(some, saturating=False)]
    runs.append(trained(some, reconstruction_weight=0.01))
    for i, first in enumerate(runs):
        assert not any(torch.equal(first, second) for second in runs[i + 1 :])


def test_training_refuses_what_makes_no_sense(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"noise bound of at least 0, got 24 and -0.1"):
        fit(new_network(), None, images, noise_bound=-0.1)
    for train in (fit, fit_bigan):
        with pytest.raises(ValueError, match="at least one image"):
            train(new_network(), None, images[:0])


def test_bigan_trains_both_networks_and_repeats_itself(images: Tensor) -> None:
    results = []
    for seed in (3, 3, 4):
        network = new_network(BiGAN)
        with isolated_rng(1):
            joint = JointDiscriminator(6, 4)
        before = [vector(network.encoder), vector(network.generator), vector(joint)]
        state = torch.random.get_rng_state()
        history = fit_bigan(network, joint, images, epochs=2, seed=seed)
        assert torch.equal(torch.random.get_rng_state(), state), "global random state moved"
        after = [vector(network.encoder), vector(network.generator), vector(joint)]
        assert not any(torch.equal(*pair) for pair in zip(before, after, strict=True))
        results.append(torch.cat(after))
        assert not (network.training or joint.training)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[0]["discriminator"] == pytest.approx(2 * math.log(2), rel=0.05)


# Search: schedule and gradient


def test_step_size_doubles_after_every_five_steps() -> None:
    assert [PAPER.step_size_at(k) for k in range(11)] == [1.0] * 5 + [2.0] * 5 + [4.0]
    assert SearchSettings(15, step_size=3.0).step_size_at(14) == 3.0
    with pytest.raises(ValueError, match=r"doubling must be .* got 0"):
        SearchSettings(5, doubling=0)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_search_follows_algorithm_2(momentum: float) -> None:
    decoder, x = SmoothGenerator(), small_images(3)
    start = SmoothEncoder()(x).detach()
    found = latent_search(decoder, x, start[:, None], SearchSettings(12, 0.4, momentum, doubling=5))
    z, v, size = start.clone(), torch.zeros_like(start), 0.4
    for k in range(1, 13):
        z.requires_grad_()
        (gradient,) = torch.autograd.grad(reconstruction_error(decoder(z), x).sum(), z)
        v = momentum * v + gradient
        z = (z - size * v).detach()
        if k % 5 == 0:
            size *= 2
    torch.testing.assert_close(found.latents, z)
    assert found.evaluations.tolist() == [13] * 3


def test_sweep_and_stopped_search_keep_the_schedule() -> None:
    decoder, x = SmoothGenerator(), small_images(4)
    starts = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    settings = SearchSettings(0, 0.4, 0.5, doubling=3)
    cells = [(2, 3), (4, 2), (7, 3), (13, 1)]
    for (steps, restarts), found in sweep_search(decoder, x, starts, settings, cells).items():
        alone = latent_search(
            decoder, x, starts[:restarts], SearchSettings(steps, 0.4, 0.5, doubling=3)
        )
        torch.testing.assert_close(found.latents, alone.latents)
    pruned = SearchSettings(13, 0.4, 0.5, doubling=3, prune=((5, 2), (8, 1)))
    won = latent_search(decoder, x, starts, pruned)
    for i in range(4):
        alone = latent_search(
            decoder,
            x[i : i + 1],
            starts[won.restart[i]][None],
            SearchSettings(13, 0.4, 0.5, doubling=3),
        )
        torch.testing.assert_close(won.latents[i], alone.latents[0])


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("steps", [1, 7, 12])
def test_gradients_in_image_and_start_agree_with_finite_differences(
    steps: int, restarts: int
) -> None:
    decoder, x = SmoothGenerator(), small_images(2)
    random = torch.Generator().manual_seed(4)
    starts = torch.randn(2, restarts, 3, generator=random, dtype=torch.float64)
    weights = torch.randn(16, generator=random, dtype=torch.float64)
    settings = SearchSettings(steps, 0.3, 0.5, doubling=5)

    def loss(given: Tensor, begin: Tensor) -> Tensor:
        made = latent_search(decoder, given, begin, settings).reconstructions
        return (made.flatten(1).square() @ weights).sum()

    given, begin = x.clone().requires_grad_(), starts.clone().requires_grad_()
    ours = torch.autograd.grad(loss(given, begin), (given, begin))
    numeric = (
        numeric_gradient(lambda v: loss(v, starts), x),
        numeric_gradient(lambda v: loss(x, v), starts),
    )
    for mine, expected in zip(ours, numeric, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-8)
        assert mine.abs().max() > 1e-3, "a gradient that is nearly zero proves nothing"
    # Each alone, the other a constant.
    (alone,) = torch.autograd.grad(loss(x, begin), begin)
    torch.testing.assert_close(alone, ours[1])
    (alone,) = torch.autograd.grad(loss(given, starts), given)
    torch.testing.assert_close(alone, ours[0])


@pytest.mark.parametrize("rule", [False, True])
def test_white_box_gradient_goes_through_encoder_and_search(rule: bool) -> None:
    x, classifier = small_images(6), nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    networks = SmoothEncoder(), SmoothGenerator()
    settings = SearchSettings(12, 0.3, 0.0, doubling=5)
    threshold = EncoderSearch(*networks, None).score(x).quantile(0.5).item() if rule else None
    purifier = EncoderSearch(*networks, settings, threshold)
    assert purifier.reconstruct(x).searched.sum() == (3 if rule else 6)
    defended = Defended(purifier, classifier)

    def loss(given: Tensor) -> Tensor:
        return defended(given).log_softmax(dim=1)[:, 0].sum()

    given = x.clone().requires_grad_()
    (ours,) = torch.autograd.grad(loss(given), given)
    torch.testing.assert_close(ours, numeric_gradient(loss, x), rtol=1e-5, atol=1e-9)
    # Without the way through the encoder it would be another gradient.
    codes = purifier.encoder(x).detach()
    blind = latent_search(purifier.generator, given, codes[:, None], purifier.settings)
    (less,) = torch.autograd.grad(
        classifier(blind.reconstructions).log_softmax(dim=1)[:, 0].sum(), given
    )
    assert (ours - less).abs().max() > 1e-3


def test_small_constant_steps_never_leave_the_error_larger() -> None:
    """Descent of a smooth objective with a step below 2 / its curvature, wherever it starts."""
    decoder, x = SmoothGenerator(), small_images(20)
    codes = SmoothEncoder()(x).detach()
    before = reconstruction_error(decoder(codes), x)
    found = latent_search(decoder, x, codes[:, None], SearchSettings(20, 0.05, momentum=0.0))
    assert (found.objective <= before).all()
    assert (found.objective < before).any()


# Purifier


def digits_purifier(**settings: object) -> EncoderSearch:
    network = with_statistics(new_network())
    return EncoderSearch(network.encoder, network.generator, **settings)


def test_three_variants(images: Tensor) -> None:
    plain, always = digits_purifier(settings=None), digits_purifier(settings=PAPER)
    once = plain.generator(plain.encoder(images))
    result = plain.reconstruct(images)
    torch.testing.assert_close(result.images, once)
    assert not result.searched.any()
    assert result.evaluations.tolist() == [1] * 24
    found = always.reconstruct(images)
    assert found.searched.all()
    assert found.evaluations.tolist() == [16] * 24
    score = plain.score(images)
    threshold = score.median().item()
    rule = digits_purifier(settings=PAPER, threshold=threshold)
    mixed = rule.reconstruct(images)
    searched = score > threshold
    assert 0 < searched.sum() < 24
    assert torch.equal(mixed.searched, searched)
    expected = torch.where(searched[:, None, None, None], found.images, once)
    torch.testing.assert_close(mixed.images, expected, rtol=0, atol=1e-6)
    assert mixed.evaluations.tolist() == [17 if s else 1 for s in searched]
    # The share that is searched can be told from what a purified set is saved with.
    for purifier in (always, rule):
        saved = purifier.score_purified(images, purifier(images))
        torch.testing.assert_close(saved, score)
    assert torch.equal(rule.suspicious(score), searched)
    nobody = digits_purifier(settings=PAPER, threshold=10.0).reconstruct(images)
    torch.testing.assert_close(nobody.images, once)
    assert not nobody.searched.any()


def test_indicators(images: Tensor) -> None:
    l1 = digits_purifier(settings=None, indicator="l1")
    expected = (l1(images) - images).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(l1.score(images), expected)
    torch.testing.assert_close(l1.score_purified(images, l1(images)), expected)
    a, b = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.5, 0.5]]]])
    assert absolute_error(a, b).item() == 0.5
    with pytest.raises(ValueError, match="'l2': expected one of mse, l1"):
        digits_purifier(settings=None, indicator="l2")
    with pytest.raises(ValueError, match=r"threshold 0.1: without a search"):
        digits_purifier(settings=None, threshold=0.1)
    with pytest.raises(ValueError, match="no threshold"):
        l1.suspicious(expected)


@pytest.mark.parametrize("share", [None, 0.5])
def test_an_image_is_purified_alike_alone_and_in_any_batch(
    images: Tensor, share: float | None
) -> None:
    threshold = None
    if share is not None:
        threshold = digits_purifier(settings=None).score(images).quantile(share).item() + 1e-5
    purifier = digits_purifier(settings=PAPER, threshold=threshold)
    together = purifier(images)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    shuffled = torch.empty_like(together)
    shuffled[order] = torch.cat([purifier(part) for part in images[order].split(7)])
    torch.testing.assert_close(shuffled, together, rtol=0, atol=1e-5)


def test_batch_norm_stays_in_evaluation_mode_and_weights_get_no_gradient(images: Tensor) -> None:
    purifier = digits_purifier(settings=PAPER)
    quiet = purifier(images)
    Defended(purifier, nn.Flatten()).train()
    assert not any(m.training for m in [*purifier.encoder.modules(), *purifier.generator.modules()])
    loud = purifier(images.clone().requires_grad_())
    torch.testing.assert_close(loud.detach(), quiet, rtol=0, atol=1e-6)
    loud.sum().backward()
    assert not any(w.requires_grad or w.grad is not None for w in purifier.parameters())


# Threshold and files


def test_threshold_flags_at_most_its_share() -> None:
    scores = [0.1 * i for i in range(1, 101)]
    for rate in (0.0, 0.05, 0.29, 0.5):
        threshold = threshold_at(scores, rate)
        assert sum(s > threshold for s in scores) == round(100 * rate)
        assert true_positive_rate_at(scores, scores, scores, rate)[0] == threshold
    with pytest.raises(ValueError, match="false-positive rate in"):
        threshold_at(scores, 1.0)


@pytest.mark.parametrize("kind", ["AEGAN", "BiGAN"])
@pytest.mark.parametrize("search", [False, True])
def test_purifier_from_its_recipe(images: Tensor, tmp_path: Path, kind: str, search: bool) -> None:
    network = with_statistics(new_network({"AEGAN": AEGAN, "BiGAN": BiGAN}[kind]))
    path = tmp_path / "network.safetensors"
    made_by = {"kind": kind, "settings": {"latent": 6, "width": 4}}
    save_network(path, network, made_by, MNIST)
    x = images[:4]
    torch.testing.assert_close(load_network(path, kind)(x), network(x), rtol=0, atol=1e-6)
    settings = {"search": search, "steps": 6, "step_size": 1.0, "doubling": 5, "threshold": None}
    recipe = {"method": "ae_gan", "settings": settings, "networks": {"generator": made_by}}
    purifier = load_purifier(recipe, {"generator": str(path)})
    given = SearchSettings(6, 1.0, 0.0, doubling=5) if search else None
    expected = EncoderSearch(network.encoder, network.generator, given)
    purified = purify_images(purifier, x, batch_size=3, device=torch.device("cpu"))
    torch.testing.assert_close(purified.images, expected(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(purified.score, reconstruction_error(network(x), x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_captured_steps_keep_the_schedule(images: Tensor) -> None:
    """From 20 steps on a step is a CUDA graph, whose numbers would stay as they were captured."""
    settings = SearchSettings(30, 2.0, 0.0, doubling=5, cuda_graph=True)
    network = with_statistics(new_network())
    found = []
    for device in ("cpu", "cuda"):
        purifier = EncoderSearch(network.encoder, network.generator, settings).to(device)
        found.append(purifier(images.to(device)).cpu())
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)
    constant = EncoderSearch(network.encoder, network.generator, SearchSettings(30, 2.0, 0.0))
    assert (constant(images.to("cuda")).cpu() - found[0]).abs().max() > 1e-2
