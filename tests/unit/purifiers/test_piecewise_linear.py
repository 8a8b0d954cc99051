"""The written-out derivatives of the latent search are autograd's, on a trained generator."""

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.models.ae_gan import AEGAN
from purification.models.bigan import BiGAN
from purification.models.gan import Discriminator
from purification.models.gan import Generator as TanhGenerator
from purification.models.wgan import Generator
from purification.purifiers import SearchSettings, descent, draw_starts, latent_search
from purification.purifiers import packed_convolution as packed
from purification.purifiers import piecewise_linear as module
from purification.purifiers.base import reconstruction_error
from purification.purifiers.cowboy import CleaningObjective
from purification.purifiers.piecewise_linear import PiecewiseLinear, piecewise_linear
from purification.purifiers.step_derivatives import step_derivatives
from purification.randomness import isolated_rng

LATENT = 6
KINDS: dict[str, Callable[[], nn.Module]] = {
    "wgan": lambda: Generator(LATENT, 4),
    "colour": lambda: Generator(LATENT, 4, (3, 32, 32)),
    "odd": lambda: Generator(LATENT, 4, (1, 27, 27)),
    "gan": lambda: TanhGenerator(LATENT, 4),
    "ae_gan": lambda: AEGAN(LATENT, 4).generator,
    "bigan": lambda: BiGAN(LATENT, 2).generator,
}


def random_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained(kind: str = "wgan", dtype: torch.dtype = torch.float32) -> nn.Module:
    return copy.deepcopy(fitted(kind)).to(dtype)


@cache
def fitted(kind: str) -> nn.Module:
    """Fitted to bright squares of many places and sizes, codes and weights together."""
    with isolated_rng(0):
        network = KINDS[kind]()
        codes = nn.Parameter(torch.randn(32, LATENT))
        shape = network.eval()(codes[:1]).shape[1:]
        pictures = torch.full((32, *shape), 0.1)
        for number, picture in enumerate(pictures):
            x, y, side = 2 * (number % 8), 3 * (number // 8), 6 + number % 5
            picture[:, y : y + side, x : x + side] = 0.9
        network.train()
        optimizer = torch.optim.Adam([codes, *network.parameters()], lr=0.01)
        for _ in range(60):
            optimizer.zero_grad()
            loss = (network(codes) - pictures).square().mean()
            loss.backward()
            optimizer.step()
    assert loss.item() < 0.07, "it learned nothing"
    return network.eval().requires_grad_(False)


def problem(network: nn.Module, count: int, restarts: int) -> tuple[Tensor, Tensor]:
    """Images near the network's, and starts."""
    made = network(random_of(count, LATENT))
    images = (made + 0.1 * random_of(*made.shape, seed=1)).clamp(0, 1)
    return images, 2 * draw_starts(restarts, LATENT, torch.Generator().manual_seed(2))


def unrolled(
    network: nn.Module, images: Tensor, starts: Tensor, settings: SearchSettings
) -> tuple[Tensor, Tensor]:
    """Reconstructions of the best restart and their objective, as a graph through all steps."""
    made, objectives = [], []
    for start in starts:
        z = start.expand(len(images), -1).clone().requires_grad_()
        v = torch.zeros_like(z)
        for step in range(settings.steps):
            each = (network(z) - images).square().flatten(1).mean(1)
            (gradient,) = torch.autograd.grad(each.sum(), z, create_graph=True)
            v = settings.momentum * v + gradient
            z = z - settings.step_size_at(step) * v
        made.append(network(z))
        objectives.append((made[-1] - images).square().flatten(1).mean(1))
    least = torch.stack(objectives).min(dim=0)
    return torch.stack(made)[least.indices, torch.arange(len(images))], least.values


def loss_of(images: Tensor) -> Tensor:
    return (images * random_of(*images.shape, seed=3)).sum()


# The network


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 3, 4, 21])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_both_derivatives_are_the_generators(
    kind: str, count: int, dtype: torch.dtype
) -> None:
    generator = trained(kind, dtype)
    network = piecewise_linear(generator)
    assert isinstance(network, PiecewiseLinear)
    z = random_of(count, LATENT).to(dtype).requires_grad_()
    weights = random_of(*generator(z).shape).to(dtype)

    def derivatives(made_by: nn.Module) -> list[Tensor]:
        images = made_by(z)
        (first,) = torch.autograd.grad((images**2 * weights).sum(), z, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), z)
        return [images, first, second]

    precision = 1e-4 if dtype == torch.float32 else 1e-10
    for ours, theirs in zip(derivatives(network), derivatives(generator), strict=True):
        scale = theirs.abs().max().item()
        assert scale > 0
        torch.testing.assert_close(ours, theirs, rtol=precision, atol=precision * scale)


@pytest.mark.parametrize("count", [1, 3, 4, 21])
def test_rows_lie_side_by_side_unless_they_are_few(count: int) -> None:
    network = piecewise_linear(trained())
    _, activations = network.logits(random_of(count, LATENT))
    shapes = {tuple(maps.shape[-1:]) for maps in activations if maps.dim() == 5}
    assert shapes == ({(count,)} if count >= 4 else set())


@pytest.mark.parametrize(
    ("count", "chosen"), [(2, [1]), (3, [2, 0]), (9, [5]), (9, [8, 3, 1, 4, 0])]
)
def test_rows_of_activations_are_those_of_a_batch_of_these_rows(
    count: int, chosen: list[int]
) -> None:
    network = piecewise_linear(trained())
    z, rows = random_of(count, LATENT), torch.tensor(chosen)
    _, of_all = network.logits(z)
    _, of_few = network.logits(z[rows])
    for maps, expected in zip(of_all, of_few, strict=True):
        found = network.rows_of(torch.stack([maps, -maps]), rows)
        assert found.shape[1:] == expected.shape
        torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[1], -expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra"),
    [(5, 2, 2, 1), (5, 2, 2, 0), (4, 2, 1, 0), (3, 1, 1, 0), (5, 3, 2, 0), (2, 3, 0, 1)],
)
@pytest.mark.parametrize("count", [2, 7])
@pytest.mark.parametrize("upwards", [True, False])
def test_layers_and_their_transposes_are_torchs(
    kernel: int, stride: int, padding: int, extra: int, count: int, upwards: bool
) -> None:
    with isolated_rng(0):
        if upwards:
            layer = nn.ConvTranspose2d(6, 3, kernel, stride, padding, extra)
        else:
            layer = nn.Conv2d(6, 3, kernel, 1, padding)
    x = random_of(count, 6, 5, 4)
    made, back = torch.func.vjp(layer, x)
    weights = random_of(*made.shape)
    (expected,) = back(weights)
    arranged = module._arranged(x)
    for ours, given in (
        (module._Convolution(layer), module._arranged(weights)),
        (module._Taps(layer), weights),
    ):
        torch.testing.assert_close(module._apart(ours(arranged)), made, rtol=1e-4, atol=1e-5)
        without_bias = made - layer.bias[:, None, None]
        linear = module._apart(ours(arranged, linear=True))
        torch.testing.assert_close(linear, without_bias, rtol=1e-4, atol=1e-5)
        found = module._apart(ours.transposed(given))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class OtherForward(Generator):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z).square()


def with_another_activation() -> nn.Module:
    network = Generator(LATENT, 4)
    network.upsample[2] = nn.Softplus()
    return network


def with_a_hook() -> nn.Module:
    network = Generator(LATENT, 4)
    network.upsample.register_forward_hook(lambda layer, given, made: made / 2)
    return network


def without_an_ending() -> nn.Module:
    network = Generator(LATENT, 4)
    network.upsample[-1] = nn.Identity()
    return network


@pytest.mark.parametrize(
    "other",
    [
        lambda: nn.Sequential(Generator(LATENT, 4)),
        lambda: OtherForward(LATENT, 4),
        with_another_activation,
        with_a_hook,
        without_an_ending,
        lambda: KINDS["ae_gan"]().train(),
    ],
)
def test_other_networks_are_left_to_autograd(other: Callable[[], nn.Module]) -> None:
    with isolated_rng(0):
        network = other().requires_grad_(False)
    assert piecewise_linear(network) is None
    images, starts = torch.full((2, 1, 28, 28), 0.5).requires_grad_(), random_of(1, LATENT)
    settings = SearchSettings(3)
    found = latent_search(network, images, starts, settings)
    (ours,) = torch.autograd.grad(loss_of(found.reconstructions), images)
    expected, _ = unrolled(network, images, starts, settings)
    (theirs,) = torch.autograd.grad(loss_of(expected), images)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


# The derivatives of a step


@pytest.mark.parametrize("kind", ["wgan", "gan", "ae_gan"])
def test_products_of_a_step_are_autograds(kind: str) -> None:
    generator = trained(kind, torch.float64)
    network = piecewise_linear(generator)
    images, _ = (part.double() for part in problem(trained(kind), 5, 1))
    z, weight = random_of(5, LATENT).double(), random_of(5, LATENT, seed=4).double()
    ours = step_derivatives(network, images, reconstruction_error)
    # Another function, if of the same values, is not taken for it.
    theirs = step_derivatives(network, images, lambda x, y: reconstruction_error(x, y))
    assert type(ours) is not type(theirs)
    plain = step_derivatives(generator, images, reconstruction_error)
    assert type(plain) is type(theirs)
    each, gradient, kept = ours.gradient(z)
    signs = kept[0], *(part > 0 for part in kept[1:])
    for other in (theirs, plain):
        expected = other.gradient(z)
        torch.testing.assert_close((each, gradient), expected[:2])
        for passed in (kept, signs, ()):
            found = ours.products(z, weight, passed)
            torch.testing.assert_close(found, other.products(z, weight, ()))


def test_objective_with_a_discriminator_has_its_gradient() -> None:
    generator = trained("gan", torch.float64)
    with isolated_rng(0):
        judge = Discriminator(4).double().eval().requires_grad_(False)
    objective = CleaningObjective(judge, sigma=1.0, weight=1.0)
    images, _ = (part.double() for part in problem(trained("gan"), 3, 1))
    z, weight = random_of(3, LATENT).double(), random_of(3, LATENT, seed=4).double()
    ours = step_derivatives(piecewise_linear(generator), images, objective)
    theirs = step_derivatives(generator, images, objective)
    torch.testing.assert_close(ours.gradient(z)[:2], theirs.gradient(z)[:2])
    torch.testing.assert_close(ours.products(z, weight, ()), theirs.products(z, weight, ()))


# The search's gradient


@pytest.mark.parametrize("kept", [0, 20_000, 2**28])
@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("count", [2, 25])
@pytest.mark.parametrize("doubling", [None, 2])
def test_gradient_is_that_of_autograd_through_all_steps(
    kept: int, restarts: int, count: int, doubling: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "KEPT_BYTES", kept)
    network = trained()
    images, starts = problem(network, count, restarts)
    settings = SearchSettings(6, step_size=3.0, doubling=doubling)
    images.requires_grad_()
    starts.requires_grad_()
    expected, objective = unrolled(network, images, starts, settings)
    theirs = torch.autograd.grad(loss_of(expected), (images, starts))
    found = latent_search(network, images, starts, settings)
    ours = torch.autograd.grad(loss_of(found.reconstructions), (images, starts))
    torch.testing.assert_close(found.objective, objective, rtol=1e-4, atol=0)
    for mine, other in zip(ours, theirs, strict=True):
        scale = other.abs().max().item()
        assert scale > 0
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4 * scale)
    with torch.no_grad():
        deployed = latent_search(network, images, starts, settings)
    assert torch.equal(found.restart, deployed.restart)
    assert torch.equal(found.evaluations, deployed.evaluations)
    torch.testing.assert_close(found.reconstructions, deployed.reconstructions)


@pytest.mark.parametrize("restarts", [1, 2])
def test_gradient_agrees_with_finite_differences(restarts: int) -> None:
    network = trained(dtype=torch.float64)
    images, starts = (part.double() for part in problem(trained(), 1, restarts))
    settings = SearchSettings(8, step_size=3.0)

    def loss(given: Tensor) -> Tensor:
        return loss_of(latent_search(network, given, starts, settings).reconstructions)

    variable = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(variable), variable)
    for seed in range(5):
        towards = random_of(*images.shape, seed=10 + seed).double()
        step = 1e-7 * towards
        numeric = (loss(images + step) - loss(images - step)) / 2e-7
        assert abs(numeric) > 1e-3
        torch.testing.assert_close((gradient * towards).sum(), numeric, rtol=1e-5, atol=1e-7)


def test_passes_are_kept_as_far_as_their_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    network = trained()
    images, starts = problem(network, 10, 2)
    images.requires_grad_()

    def kept_bytes(budget: int) -> int:
        monkeypatch.setattr(descent, "KEPT_BYTES", budget)
        saved: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            if tensor.dim() > 4:
                saved[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            latent_search(network, images, starts, SearchSettings(12))
        return sum(saved.values())

    everything = kept_bytes(2**28)
    assert 0 < kept_bytes(everything // 4) <= everything // 4
    with torch.no_grad():
        _, activations = piecewise_linear(network).logits(starts)
    signs = sum(
        maps[..., :1].numel() if maps.dim() == 5 else maps[0].numel() for maps in activations
    )
    pixels = 4 * images[0].numel()
    least = 12 * 10 * (signs + pixels)
    assert least <= everything < 2 * least, "the last pass is saved besides"


def test_search_finds_the_same_without_packed_convolutions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = trained()
    images, starts = problem(network, 9, 2)
    settings = SearchSettings(5, step_size=3.0)
    expected = latent_search(network, images, starts, settings)
    monkeypatch.setattr(packed, "packs", lambda device, dtype: False)
    monkeypatch.setattr(module, "packs", lambda device, dtype: False)
    found = latent_search(network, images, starts, settings)
    torch.testing.assert_close(found.latents, expected.latents, rtol=1e-3, atol=1e-4)


def test_no_images_are_no_error() -> None:
    images = torch.zeros(0, 1, 28, 28).requires_grad_()
    for restarts in (1, 2):
        found = latent_search(trained(), images, random_of(restarts, LATENT), SearchSettings(2))
        assert found.reconstructions.shape == images.shape


@pytest.mark.skipif(not packed.packs("cpu", torch.float32), reason="no packing in this torch")
@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_packed_convolution_has_torchs_values(upwards: bool, count: int) -> None:
    weight, maps = random_of(24, 24, 5, 5), random_of(count, 24, 7, 7)
    sizes = (2, 2), (2, 2), (1, 1)
    found = packed.convolution(weight, maps, upwards, *sizes)(maps, None)
    if upwards:
        expected = functional.conv_transpose2d(maps, weight, None, *sizes)
    else:
        expected = functional.conv2d(maps, weight, None, *sizes[:2])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
