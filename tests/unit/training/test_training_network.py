"""Networks arranged for training and gradients written out: both beside the plain ones."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from purification.models.wgan import Critic, Generator
from purification.randomness import isolated_rng
from purification.training import wgan_gp, written_out
from purification.training.training_network import training_network
from purification.training.wgan_gp import slope_penalty, train_wgan_gp
from purification.training.written_out import WrittenOut

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


def step_inputs(generator: Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, real images and the penalty's mixtures."""
    dtype = generator.project.weight.dtype
    shape = generator(torch.zeros(1, generator.latent, dtype=dtype)).shape[1:]
    random = torch.Generator().manual_seed(0)
    z = torch.randn(count, generator.latent, generator=random)
    mix = torch.rand(count, 1, 1, 1, generator=random)
    return z.to(dtype), torch.rand(count, *shape, generator=random).to(dtype), mix.to(dtype)


def losses_and_gradients(
    generator: Generator, critic: Critic, count: int, **arrangement: object
) -> dict[str, Tensor]:
    """Of a critic's and a generator's step by autograd."""
    z, real, mix = step_inputs(generator, count)
    generate, judge = (training_network(n, **arrangement) for n in (generator, critic))
    for network in (generator, critic):
        network.zero_grad()
    fake = generate(z)
    found = {"images": fake}
    real_scores, fake_scores = judge(real), judge(fake.detach())
    found["wasserstein"] = real_scores.mean() - fake_scores.mean()
    found["penalty"] = slope_penalty(judge, real, fake.detach(), mix)
    (10 * found["penalty"] - found["wasserstein"]).backward()
    found["generator's loss"] = -judge(fake).mean()
    found["generator's loss"].backward(inputs=list(generator.parameters()))
    return gathered(found, generator, critic)


def written_out_losses_and_gradients(
    generator: Generator, critic: Critic, count: int, **arrangement: object
) -> dict[str, Tensor]:
    """The same by `WrittenOut`."""
    z, real, mix = step_inputs(generator, count)
    steps = WrittenOut(generator, critic, **arrangement)
    found = {"images": steps.images(z)}
    losses = steps.critic_step(real, found["images"], mix, 10.0)
    found["wasserstein"], found["penalty"] = losses
    found["generator's loss"] = steps.generator_step(z)
    return gathered(found, generator, critic)


def gathered(found: dict[str, Tensor], generator: Generator, critic: Critic) -> dict[str, Tensor]:
    weights = {f"G.{name}": w for name, w in generator.named_parameters()}
    weights |= {f"D.{name}": w for name, w in critic.named_parameters()}
    assert all(weight.grad.shape == weight.shape for weight in weights.values())
    return {key: value.detach() for key, value in found.items()} | {
        name: weight.grad.clone() for name, weight in weights.items()
    }


def differences(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Of each value and gradient, relative to its norm."""
    # The loss does not depend on it: real and generated images' shares cancel out.
    rest = expected.keys() - {"D.score.bias"}
    assert found["D.score.bias"].abs() < 1e-7
    assert expected["D.score.bias"].abs() < 1e-6
    assert found.keys() == expected.keys()
    return {name: relative(found[name], expected[name]) for name in rest}


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(("shape", "count"), SHAPES)
def test_fast_convolutions_change_no_value_and_no_gradient(
    shape: tuple[int, int, int], count: int
) -> None:
    pair = networks(shape)
    expected = losses_and_gradients(*pair, count)
    assert all(value.norm() > 0 for name, value in expected.items() if name != "D.score.bias")
    found = written_out_losses_and_gradients(*pair, count)
    for name, difference in differences(found, expected).items():
        assert difference < 2e-5, name


@pytest.mark.slow
def test_fast_convolutions_change_no_gradient_of_trained_networks() -> None:
    """Those of autograd in float64, of which its own float32 ones may be further off."""
    with isolated_rng(7):
        pair = Generator(6, 8), Critic(8)
    train(pair=pair, iterations=60)
    exact = [copy.deepcopy(network).double() for network in pair]
    expected = losses_and_gradients(*exact, 50)
    found = written_out_losses_and_gradients(*exact, 50)
    assert max(differences(found, expected).values()) < 1e-11
    # By CPU some 1e-5 to 3e-5, from units that float32 rounds to the other side of their kink.
    rounded = written_out_losses_and_gradients(*pair, 50)
    assert max(differences(rounded, expected).values()) < 1e-4


def test_gradients_written_out_are_those_of_finite_differences() -> None:
    """In float64, along a random direction of all weights of a network."""
    generator, critic = (network.double() for network in networks((1, 12, 12)))
    steps = WrittenOut(generator, critic)
    z, real, mix = step_inputs(generator, 6)
    fake = steps.images(z)

    def critic_loss() -> Tensor:
        wasserstein, penalty = steps.critic_step(real, fake, mix, 10.0)
        return 10 * penalty - wasserstein

    for network, loss in ((critic, critic_loss), (generator, lambda: steps.generator_step(z))):
        weights = list(network.parameters())
        directions = [torch.randn_like(weight) for weight in weights]
        loss()
        slope = sum(
            (weight.grad * direction).sum().item()
            for weight, direction in zip(weights, directions, strict=True)
        )
        values = []
        for step in (1e-7, -2e-7):
            with torch.no_grad():
                for weight, direction in zip(weights, directions, strict=True):
                    weight.add_(direction, alpha=step)
            values.append(loss().item())
        assert (values[0] - values[1]) / 2e-7 == pytest.approx(slope, rel=1e-5)


def test_an_image_without_a_slope_has_no_derivative_of_its_norm() -> None:
    pair = networks()
    nn.init.zeros_(pair[1].features[0].weight)
    expected = losses_and_gradients(*pair, 3)
    found = written_out_losses_and_gradients(*pair, 3)
    assert found["penalty"] == expected["penalty"] == 1
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "gradients", [losses_and_gradients, written_out_losses_and_gradients], ids=["plain", "fast"]
)
def test_bfloat16_rounds_the_convolutions_alone(
    gradients: Callable[..., dict[str, Tensor]],
) -> None:
    pair = networks()
    expected, found = losses_and_gradients(*pair, 50), gradients(*pair, 50, **HALF)
    assert {value.dtype for value in found.values()} == {torch.float32}
    for name, difference in differences(found, expected).items():
        assert difference < 0.15, name
    assert relative(found["penalty"], expected["penalty"]) > 1e-6
    # What the last layers, in float32, give is not to be had in 8 bits.
    assert (found["images"].bfloat16() != found["images"]).float().mean() > 0.9
    assert {weight.dtype for network in pair for weight in network.parameters()} == {torch.float32}


def test_gradients_lie_in_memory_as_their_weights() -> None:
    """Fused Adam on the CPU takes it for granted."""
    pair = [network.to(memory_format=torch.channels_last) for network in networks()]
    for precision in ("float32", "bfloat16"):
        written_out_losses_and_gradients(*pair, 8, precision=precision)
        for network in pair:
            for name, weight in network.named_parameters():
                assert weight.grad.stride() == weight.stride(), name


@pytest.mark.parametrize(
    ("arrange", "back"),
    [
        (written_out._over_phases, written_out._from_over_phases),
        (written_out._transposed_over_phases, written_out._from_transposed_over_phases),
    ],
    ids=["convolution", "transposed"],
)
def test_gradients_over_phases_are_brought_back(
    arrange: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]
) -> None:
    weight = torch.randn(6, 3, 5, 5, requires_grad=True)
    arranged = arrange(weight)
    gradient = torch.randn_like(arranged)
    (expected,) = torch.autograd.grad(arranged, weight, gradient)
    assert torch.equal(back(gradient), expected)


def test_it_is_the_network_itself_where_nothing_is_asked_for() -> None:
    generator, _ = networks()
    assert training_network(generator) is generator


def test_other_precisions_and_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\('float32', 'bfloat16'\), got 'float16'"):
        training_network(Critic(2), precision="float16")
    with pytest.raises(ValueError, match=r"\('float32', 'bfloat16'\), got 'float16'"):
        WrittenOut(Generator(3, 2), Critic(2), "float16")
    with pytest.raises(TypeError, match="for Generator and Critic, got Linear"):
        training_network(nn.Linear(2, 2), precision="bfloat16")
    with pytest.raises(TypeError, match="for Generator and Critic, got Generator and Linear"):
        WrittenOut(Generator(3, 2), nn.Linear(2, 2))


def train(
    path: Path | None = None,
    iterations: int = 6,
    pair: tuple[Generator, Critic] | None = None,
    **settings: object,
) -> Tensor:
    pair = pair or networks()
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


def test_without_the_option_it_is_autograd_to_the_bit() -> None:
    """Checkpoints of a recipe stay what they are: the steps in plain words beside the training."""
    networks_of_loop = [network.to(memory_format=torch.channels_last) for network in networks()]
    generator, critic = networks_of_loop
    images = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    images = images.to(memory_format=torch.channels_last)
    optimizers = [
        torch.optim.Adam(network.parameters(), 1e-3, (0.5, 0.9), fused=True)
        for network in networks_of_loop
    ]
    for iteration in range(1, 7):
        chosen, mixes, noise = wgan_gp._draw(40, (2, 8), 6, 3, iteration)
        with torch.no_grad():
            fakes = generator(noise[:-1].flatten(0, 1)).unflatten(0, (2, 8))
        for batch, fake, mix in zip(chosen, fakes, mixes, strict=True):
            real_scores, fake_scores = critic(torch.cat([images[batch], fake])).chunk(2)
            penalty = slope_penalty(critic, images[batch], fake, mix)
            loss = 10 * penalty - (real_scores.mean() - fake_scores.mean())
            optimizers[1].zero_grad()
            loss.backward()
            optimizers[1].step()
        optimizers[0].zero_grad()
        (-critic(generator(noise[-1])).mean()).backward(inputs=list(generator.parameters()))
        optimizers[0].step()
    for network in networks_of_loop:
        network.to(memory_format=torch.contiguous_format)
    vectors = [nn.utils.parameters_to_vector(n.parameters()).detach() for n in networks_of_loop]
    assert torch.equal(train(), torch.cat(vectors))
