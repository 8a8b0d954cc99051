"""Networks arranged for training: values, gradients and trainings beside the plain ones."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from purification.models.wgan import Critic, Generator
from purification.randomness import isolated_rng
from purification.training import training_network as module
from purification.training.training_network import training_network
from purification.training.wgan_gp import slope_penalty, train_wgan_gp

pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")

FAST = {"fast_convolutions": True}
HALF = {"precision": "bfloat16"}
SHAPES = [
    ((1, 28, 28), 50),
    ((1, 28, 28), 3),
    ((3, 32, 32), 30),
    ((3, 64, 64), 29),
    ((1, 27, 30), 5),
]


def networks(shape: tuple[int, int, int] = (1, 28, 28)) -> tuple[Generator, Critic]:
    with isolated_rng(7):
        pair = Generator(6, 4, shape), Critic(4, shape)
        for network in pair:  # biases start at zero: a forgotten one would not be seen
            for name, weight in network.named_parameters():
                if name.endswith("bias"):
                    nn.init.uniform_(weight, -0.1, 0.1)
    return pair


def losses_and_gradients(
    generator: Generator, critic: Critic, count: int, **arrangement: object
) -> dict[str, Tensor]:
    """Of a critic's and a generator's step, as `train_wgan_gp` makes them."""
    shape = tuple(generator(torch.zeros(1, 6)).shape[1:])
    random = torch.Generator().manual_seed(0)
    z, mix = torch.randn(count, 6, generator=random), torch.rand(count, 1, 1, 1, generator=random)
    real = torch.rand(count, *shape, generator=random)
    generate, judge = (training_network(n, **arrangement) for n in (generator, critic))
    judge_images = training_network(critic, weight_gradients=False, **arrangement)
    for network in (generator, critic):
        network.zero_grad()
    fake = generate(z)
    found = {"images": fake.detach()}
    found["scores"] = judge(torch.cat([real, fake.detach()]))
    found["penalty"] = slope_penalty(judge_images, real, fake.detach(), mix)
    (10 * found["penalty"] + (found["scores"] * torch.arange(2.0 * count)).mean()).backward()
    judge_images(fake).mean().backward(inputs=list(generator.parameters()))
    weights = {f"G.{name}": w for name, w in generator.named_parameters()}
    weights |= {f"D.{name}": w for name, w in critic.named_parameters()}
    return {key: value.detach() for key, value in found.items()} | {
        name: weight.grad.clone() for name, weight in weights.items()
    }


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(("shape", "count"), SHAPES)
def test_fast_convolutions_change_no_value_and_no_gradient(
    shape: tuple[int, int, int], count: int
) -> None:
    pair = networks(shape)
    expected, found = (
        losses_and_gradients(*pair, count, **arrangement) for arrangement in ({}, FAST)
    )
    for name, value in expected.items():
        assert value.norm() > 0, name
        assert found[name].shape == value.shape
        assert relative(found[name], value) < 2e-5, name


@pytest.mark.parametrize("arrangement", [HALF, FAST | HALF], ids=["plain", "fast"])
def test_bfloat16_rounds_the_convolutions_alone(arrangement: dict[str, object]) -> None:
    pair = networks()
    expected, found = (losses_and_gradients(*pair, 50, **made) for made in ({}, arrangement))
    for name, value in expected.items():
        assert found[name].dtype == torch.float32
        assert relative(found[name], value) < 0.15, name
    assert relative(found["scores"], expected["scores"]) > 1e-4
    # What the last layers, in float32, give is not to be had in 8 bits.
    for name in ("images", "scores"):
        assert (found[name].bfloat16() != found[name]).float().mean() > 0.9
    assert {weight.dtype for network in pair for weight in network.parameters()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("sides", [None, (7, 8)], ids=["convolution", "transposed"])
@pytest.mark.parametrize("row", [(), (3,)], ids=["images", "rows"])
def test_first_and_second_derivatives_agree_with_finite_differences(
    sides: tuple[int, int] | None, row: tuple[int, ...]
) -> None:
    random = torch.Generator().manual_seed(0)
    channels, size = (2, (7, 8)) if sides is None else (3, (4, 4))
    kernel = (3, 2, 5, 5, *[1] * len(row))
    outputs = 3 if sides is None else 2
    maps, weight, bias = (
        torch.randn(shape, dtype=torch.float64, generator=random, requires_grad=True)
        for shape in ((2, channels, *size, *row), kernel, (outputs,))
    )

    def convolve(*tensors: Tensor) -> Tensor:
        return module._Convolution.apply(*tensors, 2, 2, sides, True)

    assert gradcheck(convolve, (maps, weight, bias))
    assert gradgradcheck(convolve, (maps, weight, bias))


def test_without_weight_gradients_only_the_penalty_reaches_the_weights() -> None:
    _, critic = networks()
    judge = training_network(critic, fast_convolutions=True, weight_gradients=False)
    images = torch.rand(4, 1, 28, 28, requires_grad=True)
    judge(images).sum().backward()
    assert images.grad.norm() > 0
    convolutions = [layer for layer in critic.features if isinstance(layer, nn.Conv2d)]
    assert [layer.weight.grad for layer in convolutions] == [None] * 3
    slope_penalty(
        judge, images.detach(), torch.rand(4, 1, 28, 28), torch.rand(4, 1, 1, 1)
    ).backward()
    assert all(layer.weight.grad.norm() > 0 for layer in convolutions)


def test_it_is_the_network_itself_where_nothing_is_asked_for() -> None:
    generator, _ = networks()
    assert training_network(generator) is generator


def test_other_precisions_and_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\('float32', 'bfloat16'\), got 'float16'"):
        training_network(Critic(2), precision="float16")
    with pytest.raises(TypeError, match="for Generator and Critic, got Linear"):
        training_network(nn.Linear(2, 2), fast_convolutions=True)


def train(path: Path | None = None, iterations: int = 6, **settings: object) -> Tensor:
    pair = networks()
    train_wgan_gp(
        *pair, torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(1)),
        iterations=iterations, batch_size=8, critic_steps=2, gradient_penalty=10.0,
        learning_rate=1e-3, betas=(0.5, 0.9), seed=3, state_path=path, state_every=100,
        recipe_digest="digest", device="cpu", **settings,
    )  # fmt: skip
    assert all(weight.dtype == torch.float32 for network in pair for weight in network.parameters())
    return torch.cat([nn.utils.parameters_to_vector(n.parameters()).detach() for n in pair])


def test_training_goes_the_way_of_the_plain_one() -> None:
    # Adam's first steps are +-learning rate whatever the gradient: few, and all weights have moved.
    start, plain, fast, half = (
        train(**settings) for settings in ({"iterations": 0}, {}, FAST, FAST | HALF)
    )
    moved = (plain - start).norm()
    assert (fast - plain).norm() / moved < 0.01
    assert 0 < (half - plain).norm() / moved < 0.5


@pytest.mark.parametrize("settings", [FAST, FAST | HALF], ids=["float32", "bfloat16"])
def test_arranged_training_is_repeated_and_resumed_to_the_bit(
    settings: dict[str, object], tmp_path: Path
) -> None:
    whole = train(**settings)
    assert torch.equal(train(**settings), whole)
    train(tmp_path / "state.safetensors", iterations=4, **settings)
    assert torch.equal(train(tmp_path / "state.safetensors", **settings), whole)
