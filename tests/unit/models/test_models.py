"""Shapes, parameter counts and layers of the networks, against computation by hand."""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from purification.models.autoencoder import MagNetAutoencoder
from purification.models.classifiers import ARCHITECTURES, build_classifier
from purification.models.vae import VAE
from purification.models.wgan import Critic, Generator, LeakyReLU
from purification.randomness import isolated_rng


@pytest.fixture(autouse=True)
def same_weights_every_time() -> Iterator[None]:
    with isolated_rng(0):
        yield


# Weights and biases, layer by layer, for 28x28 images in one channel.
CLASSIFIER_PARAMETERS = {
    # 28 -> 28 -> 12 (5x5, stride 2, unpadded)
    "A": (25 * 64 + 64) + (25 * 64 * 64 + 64) + (12 * 12 * 64 * 128 + 128) + (128 * 10 + 10),
    # 28 -> 14 -> 5 -> 1
    "B": (64 * 64 + 64) + (36 * 64 * 128 + 128) + (25 * 128 * 128 + 128) + (128 * 10 + 10),
    # 28 -> 28 -> 13 (3x3, stride 2, unpadded)
    "C": (9 * 128 + 128) + (9 * 128 * 64 + 64) + (13 * 13 * 64 * 128 + 128) + (128 * 10 + 10),
    # 28 -> 28 -> 12 (5x5, stride 2, unpadded)
    "C_published": (9 * 128 + 128)
    + (25 * 128 * 64 + 64)
    + (12 * 12 * 64 * 128 + 128)
    + (128 * 10 + 10),
    "D": (784 * 200 + 200) + (200 * 200 + 200) + (200 * 10 + 10),
}
CLASSIFIER_PARAMETERS |= dict.fromkeys(["F", "B_ae_gan"], CLASSIFIER_PARAMETERS["B"])
# 28 -> 16 -> 6 -> 2: only what follows the last convolution is larger than B's.
CLASSIFIER_PARAMETERS["B_vae"] = CLASSIFIER_PARAMETERS["B"] + (2 * 2 - 1) * 128 * 10
# 28 -> 14 -> 7 by pooling; two of each map in a batch norm
CLASSIFIER_PARAMETERS["simple_cnn"] = (
    (9 * 32 + 32 + 2 * 32)
    + (9 * 32 * 64 + 64 + 2 * 64)
    + (7 * 7 * 64 * 128 + 128)
    + (128 * 10 + 10)
)
CLASSIFIER_PARAMETERS |= dict.fromkeys(["E", "D_published", "D_vae"], CLASSIFIER_PARAMETERS["D"])


def count_parameters(model: nn.Module) -> int:
    return sum(weights.numel() for weights in model.parameters())


def sizes_after(model: nn.Module, kind: type | tuple[type, ...], inputs: torch.Tensor) -> list:
    """Output shapes, without the batch, of the layers of one kind in the order they run."""
    shapes = []
    for layer in model.modules():
        if isinstance(layer, kind):
            layer.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    model(inputs)
    return shapes


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_classifier_shapes_and_parameters(architecture: str) -> None:
    model = build_classifier(architecture)
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 10)
    assert count_parameters(model) == CLASSIFIER_PARAMETERS[architecture]


def test_classifiers_return_logits_not_probabilities() -> None:
    logits = build_classifier("F")(torch.rand(20, 1, 28, 28))
    assert logits.min() < 0
    assert not torch.allclose(logits.sum(dim=1), torch.ones(20))


def test_other_image_sizes_and_classes() -> None:
    for architecture in ARCHITECTURES:
        model = build_classifier(architecture, input_shape=(3, 32, 32), classes=7)
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    # An odd side makes SAME padding uneven: 29 -> ceil(29 / 2) = 15.
    model = build_classifier("B", input_shape=(1, 29, 29))
    assert sizes_after(model, nn.Conv2d, torch.rand(1, 1, 29, 29))[0] == (64, 15, 15)
    with pytest.raises(ValueError, match="too small"):
        build_classifier("B", input_shape=(1, 8, 8))


# Weights and biases for 64x64 images in three channels and two classes.
CELEBA_PARAMETERS = {
    # 64 -> 64 -> 30 (5x5, stride 2, unpadded)
    "A": (75 * 64 + 64) + (25 * 64 * 64 + 64) + (30 * 30 * 64 * 128 + 128) + (128 * 2 + 2),
    # 64 -> 32 -> 14 -> 10
    "B": (192 * 64 + 64) + (36 * 64 * 128 + 128) + (25 * 128 * 128 + 128) + (10 * 10 * 128 * 2 + 2),
    # 64 -> 64 -> 31 (3x3, stride 2, unpadded)
    "C": (27 * 128 + 128) + (9 * 128 * 64 + 64) + (31 * 31 * 64 * 128 + 128) + (128 * 2 + 2),
    "D": (3 * 64 * 64 * 200 + 200) + (200 * 200 + 200) + (200 * 2 + 2),
}
# 64 -> 64 -> 30
CELEBA_PARAMETERS["C_published"] = (
    (27 * 128 + 128) + (25 * 128 * 64 + 64) + (30 * 30 * 64 * 128 + 128) + (128 * 2 + 2)
)
# 64 -> 34 -> 15 -> 11
CELEBA_PARAMETERS["B_vae"] = CELEBA_PARAMETERS["B"] + (11 * 11 - 10 * 10) * 128 * 2
CELEBA_PARAMETERS |= dict.fromkeys(["E", "D_vae"], CELEBA_PARAMETERS["D"])
CELEBA_PARAMETERS |= dict.fromkeys(["F", "B_ae_gan"], CELEBA_PARAMETERS["B"])


@pytest.mark.parametrize("architecture", CELEBA_PARAMETERS)
def test_classifiers_for_celeba(architecture: str) -> None:
    model = build_classifier(architecture, input_shape=(3, 64, 64), classes=2)
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 2)
    assert count_parameters(model) == CELEBA_PARAMETERS[architecture]


# Weights and biases for 32x32 images in three channels and ten classes.
CIFAR10_PARAMETERS = {
    # 32 -> 32 -> 14 (5x5, stride 2, unpadded)
    "A": (75 * 64 + 64) + (25 * 64 * 64 + 64) + (14 * 14 * 64 * 128 + 128) + (128 * 10 + 10),
    # 32 -> 16 -> 6 -> 2
    "B": (192 * 64 + 64) + (36 * 64 * 128 + 128) + (25 * 128 * 128 + 128) + (2 * 2 * 1280 + 10),
    # 32 -> 18 -> 7 -> 3
    "B_vae": (192 * 64 + 64) + (36 * 64 * 128 + 128) + (25 * 128 * 128 + 128) + (3 * 3 * 1280 + 10),
    # 32 -> 32 -> 15 (3x3, stride 2, unpadded)
    "C": (27 * 128 + 128) + (9 * 128 * 64 + 64) + (15 * 15 * 64 * 128 + 128) + (128 * 10 + 10),
    # 32 -> 32 -> 14 (5x5, stride 2, unpadded)
    "C_published": (27 * 128 + 128)
    + (25 * 128 * 64 + 64)
    + (14 * 14 * 64 * 128 + 128)
    + (128 * 10 + 10),
    "D": (3 * 32 * 32 * 200 + 200) + (200 * 200 + 200) + (200 * 10 + 10),
}
CIFAR10_PARAMETERS |= dict.fromkeys(["E", "D_vae"], CIFAR10_PARAMETERS["D"])
CIFAR10_PARAMETERS |= dict.fromkeys(["F", "B_ae_gan"], CIFAR10_PARAMETERS["B"])


@pytest.mark.parametrize("architecture", CIFAR10_PARAMETERS)
def test_classifiers_for_cifar10(architecture: str) -> None:
    model = build_classifier(architecture, input_shape=(3, 32, 32), classes=10)
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 10)
    assert count_parameters(model) == CIFAR10_PARAMETERS[architecture]


def test_b_of_defense_vae_runs_28_16_6_2() -> None:
    model = build_classifier("B_vae")
    shapes = sizes_after(model, nn.Conv2d, torch.rand(1, 1, 28, 28))
    assert shapes == [(64, 16, 16), (128, 6, 6), (128, 2, 2)]


@pytest.mark.parametrize("architecture", ["B", "B_ae_gan", "F"])
def test_b_runs_28_14_5_1(architecture: str) -> None:
    model = build_classifier(architecture)
    shapes = sizes_after(model, nn.Conv2d, torch.rand(1, 1, 28, 28))
    assert shapes == [(64, 14, 14), (128, 5, 5), (128, 1, 1)]


def test_same_padding_of_the_first_convolution() -> None:
    for architecture, maps in {"A": 64, "C": 128, "C_published": 128}.items():
        model = build_classifier(architecture)
        shapes = sizes_after(model, nn.Conv2d, torch.rand(1, 1, 28, 28))
        assert shapes[0] == (maps, 28, 28)


# Rates as Table 5 (Defense-VAE: appendix A; AE-GAN+rs: appendix B) prints them, in order.
PRINTED_DROPOUT = {
    "A": [0.25, 0.5],
    "B": [0.2, 0.5],
    "C": [0.25, 0.5],
    "C_published": [0.25, 0.5],
    "D": [0.5, 0.5],
    "D_published": [0.5],
    "B_vae": [0.2, 0.5],
    "B_ae_gan": [0.5],
    "D_vae": [0.5, 0.25],
    "E": [],
    "F": [],
    "simple_cnn": [0.5],
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dropout_rates_both_ways(architecture: str) -> None:
    printed = PRINTED_DROPOUT[architecture]
    for meaning, expected in {
        "paper": printed,
        "keep_probability": [1 - rate for rate in printed],
    }.items():
        model = build_classifier(architecture, dropout=meaning)
        rates = [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)]
        assert rates == expected


def test_keep_probability_keeps_a_fifth_of_the_pixels_of_b() -> None:
    dropout = build_classifier("B", dropout="keep_probability")[0]
    with isolated_rng(0):
        kept = (dropout(torch.ones(100_000)) > 0).float().mean()
    assert kept == pytest.approx(0.2, abs=0.01)


def test_dropout_comes_before_the_first_and_after_the_last_convolution_of_b() -> None:
    kinds = [type(layer) for layer in build_classifier("B")]
    assert kinds[0] is nn.Dropout
    assert kinds[-2:] == [nn.Dropout, nn.Linear]
    # AE-GAN+rs prints the last one alone.
    kinds = [type(layer) for layer in build_classifier("B_ae_gan")]
    assert kinds[0] is nn.Conv2d
    assert kinds[-2:] == [nn.Dropout, nn.Linear]
    d, published = build_classifier("D"), build_classifier("D_published")
    assert [type(layer) for layer in d].count(nn.Dropout) == 2
    assert [type(layer) for layer in published][:4] == [nn.Flatten, nn.Linear, nn.ReLU, nn.Dropout]


def test_initial_weights_have_unit_norm_per_unit() -> None:
    model = build_classifier("A")
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 4
    for layer in layers:
        norms = layer.weight.detach().flatten(1).norm(dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms))
        assert not layer.bias.any()


def test_simple_cnn_begins_with_xaviers_weights_and_in_training_mode() -> None:
    model = build_classifier("simple_cnn")
    assert all(layer.training for layer in model.modules())
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in model) == 2
    hidden = model[9]
    limit = math.sqrt(6 / (7 * 7 * 64 + 128))
    assert hidden.weight.abs().max().item() == pytest.approx(limit, rel=1e-3)
    assert not hidden.bias.any()
    with pytest.raises(ValueError, match="too small"):
        build_classifier("simple_cnn", input_shape=(1, 3, 3))


def test_same_seed_same_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        with isolated_rng(seed):
            return nn.utils.parameters_to_vector(build_classifier("E").parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_unknown_names_are_refused_with_the_allowed_ones() -> None:
    with pytest.raises(ValueError, match=r"'G'.*A, B, C, D, E, F, C_published, D_published"):
        build_classifier("G")
    with pytest.raises(ValueError, match=r"'drop'.*paper, keep_probability"):
        build_classifier("A", dropout="drop")


class OwnClassifier(nn.Module):
    def __init__(self, input_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.arguments = (input_shape, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, : self.arguments[1]]


def test_users_own_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    module = ModuleType("someones_models")
    module.OwnClassifier = OwnClassifier
    monkeypatch.setitem(sys.modules, "someones_models", module)
    model = build_classifier("someones_models:OwnClassifier", input_shape=(3, 8, 8), classes=4)
    assert model.arguments == ((3, 8, 8), 4)
    for place in ("someones_models:Absent", "no_such_module_at_all:Net", ":Net"):
        with pytest.raises(ValueError, match=f"{place}.*cannot be imported"):
            build_classifier(place)


@pytest.mark.parametrize(("latent", "width"), [(128, 64), (20, 8)])
def test_generator_shapes_and_parameters(latent: int, width: int) -> None:
    generator = Generator(latent, width)
    images = generator(torch.randn(3, latent))
    assert images.shape == (3, 1, 28, 28)
    assert images.min() > 0
    assert images.max() < 1
    w = width
    expected = (
        (latent * 16 * 4 * w + 16 * 4 * w)
        + (25 * 4 * w * 2 * w + 2 * w)
        + (25 * 2 * w * w + w)
        + (25 * w * 1 + 1)
    )
    assert count_parameters(generator) == expected


def test_generator_runs_4_7_14_28() -> None:
    generator = Generator(16, 4)
    shapes = sizes_after(generator, nn.ConvTranspose2d, torch.randn(1, 16))
    assert shapes == [(8, 7, 7), (4, 14, 14), (1, 28, 28)]
    assert generator.project.out_features == 4 * 4 * 16
    assert Generator().project.out_features == 4096  # as Table 6 prints


def test_seven_is_eight_cropped() -> None:
    # The published code computes 8x8 (stride 2, output twice the input) and keeps [:7, :7].
    first = Generator(16, 4).upsample[1]
    maps = torch.randn(2, 16, 4, 4)
    full = nn.functional.conv_transpose2d(
        maps, first.weight, first.bias, stride=2, padding=2, output_padding=1
    )
    assert full.shape[-2:] == (8, 8)
    torch.testing.assert_close(first(maps), full[..., :7, :7])


def test_generator_nonlinearities_lie_between_all_layers() -> None:
    kinds = [type(layer) for layer in Generator(16, 4).upsample]
    assert kinds == [nn.ReLU, nn.ConvTranspose2d] * 3 + [nn.Sigmoid]


def test_networks_of_cifar10s_size() -> None:
    w, latent, images = 4, 16, torch.rand(2, 3, 32, 32)
    shapes = sizes_after(
        Generator(latent, w, (3, 32, 32)), nn.ConvTranspose2d, torch.randn(1, latent)
    )
    assert shapes == [(2 * w, 8, 8), (w, 16, 16), (3, 32, 32)]
    critic = Critic(w, (3, 32, 32))
    assert sizes_after(critic, nn.Conv2d, images) == [(w, 16, 16), (2 * w, 8, 8), (4 * w, 4, 4)]
    assert critic.score.in_features == 4 * 4 * 4 * w


@pytest.mark.parametrize("kind", [MagNetAutoencoder, VAE])
def test_purifying_networks_of_cifar10s_size(kind: type[nn.Module]) -> None:
    network = kind(16, 4, (3, 32, 32)).eval()
    images = torch.rand(3, 3, 32, 32, requires_grad=True)
    purified = network(images)
    assert purified.shape == images.shape
    assert purified.min() >= 0 and purified.max() <= 1
    torch.testing.assert_close(network(images[1:2]), purified[1:2])
    # Every colour enters, from one border to the other.
    gradient = torch.autograd.grad(purified.square().sum(), images)[0]
    for border in (gradient[..., 0], gradient[..., -1], gradient[..., 0, :], gradient[..., -1, :]):
        assert (border.abs().amax(dim=-1) > 0).all()


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 64, 64), (1, 29, 35)])
def test_gan_of_other_image_sizes(shape: tuple[int, int, int]) -> None:
    images = Generator(8, 4, shape)(torch.randn(2, 8))
    assert images.shape == (2, *shape)
    assert Critic(4, shape)(images).shape == (2,)


def test_generator_of_celebas_size_runs_4_8_16_32_64() -> None:
    w, latent = 4, 16
    generator = Generator(latent, w, (3, 64, 64))
    shapes = sizes_after(generator, nn.ConvTranspose2d, torch.randn(1, latent))
    assert shapes == [(2 * w, 8, 8), (w, 16, 16), (w, 32, 32), (3, 64, 64)]
    assert generator.project.out_features == 4 * 4 * 4 * w
    kinds = [type(layer) for layer in generator.upsample]
    assert kinds == [nn.ReLU, nn.ConvTranspose2d] * 4 + [nn.Sigmoid]


def test_critic_of_celebas_size_gives_one_score_an_image() -> None:
    critic, images = Critic(4, (3, 64, 64)), torch.rand(2, 3, 64, 64)
    shapes = sizes_after(critic, nn.Conv2d, images)[:3]
    assert shapes == [(4, 32, 32), (8, 16, 16), (16, 8, 8)]
    assert critic.score.in_features == 16 * 8 * 8
    assert critic(images).shape == (2,)


def test_smaller_images_keep_three_layers_and_their_weights() -> None:
    """Files of these networks are there already: names, order and shapes must stay."""
    for shape, start in {(1, 28, 28): (4, 4), (3, 32, 32): (4, 4), (1, 29, 56): (4, 7)}.items():
        state = Generator(8, 4, shape).state_dict()
        expected = {"project.weight": (16 * math.prod(start), 8)}
        expected |= {"upsample.1.weight": (16, 8, 5, 5), "upsample.3.weight": (8, 4, 5, 5)}
        expected |= {"upsample.5.weight": (4, shape[0], 5, 5)}
        weights = {k: tuple(v.shape) for k, v in state.items() if k.endswith("weight")}
        assert list(weights.items()) == list(expected.items()), shape


@pytest.mark.parametrize("width", [64, 8])
def test_critic_shapes_and_parameters(width: int) -> None:
    critic = Critic(width)
    assert critic(torch.rand(3, 1, 28, 28)).shape == (3,)
    w = width
    expected = (
        (25 * w + w) + (25 * w * 2 * w + 2 * w) + (25 * 2 * w * 4 * w + 4 * w) + (4 * 4 * 4 * w + 1)
    )
    assert count_parameters(critic) == expected
    shapes = sizes_after(critic, nn.Conv2d, torch.rand(1, 1, 28, 28))
    assert shapes == [(w, 14, 14), (2 * w, 7, 7), (4 * w, 4, 4)]


def test_critic_score_is_linear_and_unbounded() -> None:
    critic, images = Critic(8).double(), torch.rand(5, 1, 28, 28, dtype=torch.float64)
    scores = critic(images)
    for scale in (1e6, -1e6):
        scaled_critic = copy.deepcopy(critic)
        with torch.no_grad():
            scaled_critic.score.weight *= scale
        scaled = scaled_critic(images)
        torch.testing.assert_close(scaled, scale * scores)
        assert scaled.abs().max() > 1  # a sigmoid, or a tanh, would keep it below


def test_critic_scores_each_image_alone() -> None:
    critic, images = Critic(8), torch.rand(6, 1, 28, 28)
    torch.testing.assert_close(critic(images)[2:3], critic(images[2:3]))


def test_leaky_relu_equals_torch() -> None:
    # Exactly zero too: black borders give it while the biases are zero.
    inputs = torch.tensor([-3.0, -0.5, 0.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    results = []
    for layer in (LeakyReLU(), nn.LeakyReLU(0.2)):
        outputs = layer(inputs)
        results.append((outputs, torch.autograd.grad(outputs.sum(), inputs)[0]))
    torch.testing.assert_close(results[0], results[1])


def test_gan_initial_weights() -> None:
    # Uniform with the standard deviations of the published code; a stride of 2 divides the fan of
    # the strided side by 4.
    generator, critic = Generator(128, 64), Critic(64)
    expected = {
        generator.project: math.sqrt(2 / (128 + 4096)),
        generator.upsample[1]: math.sqrt(4 / (256 * 25 / 4 + 128 * 25)),
        critic.features[2]: math.sqrt(4 / (64 * 25 + 128 * 25 / 4)),
        critic.score: math.sqrt(2 / (4096 + 1)),
    }
    for layer, deviation in expected.items():
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.03)
        assert layer.weight.abs().max().item() <= 1.00001 * math.sqrt(3) * deviation  # float32
        assert not layer.bias.any()


@pytest.mark.parametrize(("latent", "width"), [(128, 64), (20, 8)])
def test_magnet_shapes_and_parameters(latent: int, width: int) -> None:
    model = MagNetAutoencoder(latent, width)
    images = torch.rand(2, 1, 28, 28)
    codes = model.encoder(images)
    assert codes.shape == (2, latent)
    assert codes.abs().max() < 1
    outputs = model(images)
    assert outputs.shape == images.shape
    assert outputs.min() > 0
    assert outputs.max() < 1
    # The critic's convolutions, one linear layer to the code, and the generator.
    critic_head = 16 * 4 * width + 1
    expected = (
        count_parameters(Critic(width))
        - critic_head
        + (16 * 4 * width * latent + latent)
        + count_parameters(Generator(latent, width))
    )
    assert count_parameters(model) == expected
