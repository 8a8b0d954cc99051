"""Every faster way of the latent search gives the reference search's result."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from purification.models.wgan import Generator
from purification.purifiers import SearchSettings, draw_starts, latent_search
from purification.purifiers.batches import in_batches
from purification.purifiers.piecewise_linear import PiecewiseLinear
from purification.purifiers.search_network import (
    matrix_precision,
    search_network,
)
from purification.randomness import isolated_rng

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
BFLOAT16_TOLERANCE = 0.02  # of an image's reconstruction error


def generator_of(width: int = 8, shape: tuple[int, int, int] = (1, 28, 28)) -> Generator:
    with isolated_rng(0):
        network = Generator(16, width, shape).eval()
        for weight in network.parameters():  # so that biases are not zero
            weight.data += 0.05 * torch.randn_like(weight)
    return network.requires_grad_(False)


def images_of(count: int, shape: tuple[int, int, int] = (1, 28, 28)) -> Tensor:
    """Near the generator's range, as real images are: made by it, with noise."""
    random = torch.Generator().manual_seed(3)
    made = generator_of(shape=shape)(torch.randn(count, 16, generator=random))
    return (made + 0.05 * torch.randn(made.shape, generator=random)).clamp(0, 1)


def starts_of(restarts: int) -> Tensor:
    return draw_starts(restarts, 16, torch.Generator().manual_seed(1))


def reference(
    generator: nn.Module, images: Tensor, starts: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """The search as its formula says, restart after restart; least errors and their restarts."""
    errors = []
    for start in starts:
        z = start.expand(len(images), -1).clone().requires_grad_()
        optimizer = torch.optim.SGD([z], lr=10.0, momentum=0.7)
        for _ in range(steps):
            optimizer.zero_grad()
            (generator(z) - images).square().flatten(1).mean(1).sum().backward()
            optimizer.step()
        errors.append((generator(z) - images).square().flatten(1).mean(1).detach())
    least = torch.stack(errors).min(dim=0)
    return least.values, least.indices


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_float32_search_is_the_reference_search_in_any_batch_and_order(batch: int) -> None:
    generator, images, starts = generator_of(), images_of(40), starts_of(4)
    expected, which = reference(generator, images, starts, steps=12)
    assert which.unique().numel() > 1
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    found = [
        latent_search(generator, part, starts, SearchSettings(12))
        for part in images[order].split(batch)
    ]
    errors = torch.cat([part.objective for part in found])
    torch.testing.assert_close(errors, expected[order], rtol=1e-4, atol=0)
    assert torch.equal(torch.cat([part.restart for part in found]), which[order])


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 40])
def test_bfloat16_search_finds_nearly_the_same_error(batch: int) -> None:
    generator, images, starts = generator_of(), images_of(40), starts_of(4)
    exact = latent_search(generator, images, starts, SearchSettings(12))
    settings = SearchSettings(12, precision="bfloat16")
    found = [latent_search(generator, part, starts, settings) for part in images.split(batch)]
    errors = torch.cat([part.objective for part in found])
    assert errors.dtype == torch.float32
    torch.testing.assert_close(errors, exact.objective, rtol=BFLOAT16_TOLERANCE, atol=0)
    assert not torch.equal(errors, exact.objective), "nothing was computed in bfloat16"
    # Judged and returned in float32: the image is the generator's at the latent code returned.
    latents = torch.cat([part.latents for part in found])
    made = torch.cat([part.reconstructions for part in found])
    torch.testing.assert_close(made, generator(latents), rtol=0, atol=1e-6)


@pytest.mark.parametrize("restarts", [1, 3])
def test_gradient_of_a_bfloat16_search_is_that_of_the_float32_one(restarts: int) -> None:
    generator, starts = generator_of(), starts_of(restarts)
    gradients, restart = {}, {}
    for precision in ("float32", "bfloat16"):
        images = images_of(6).requires_grad_()
        settings = SearchSettings(12, precision=precision)
        found = latent_search(generator, images, starts, settings)
        weight = torch.linspace(0.5, 1.5, found.reconstructions.numel())
        loss = (weight.view_as(found.reconstructions) * found.reconstructions).sum()
        (gradients[precision],) = torch.autograd.grad(loss, images)
        restart[precision] = found.restart
        # An attacker sees the values of the search that is deployed, to the last bit.
        with torch.no_grad():
            deployed = latent_search(generator, images, starts, settings)
        assert torch.equal(found.reconstructions, deployed.reconstructions)
    same = restart["float32"] == restart["bfloat16"]  # rounding may name another winner
    assert same.sum() >= 5
    assert gradients["float32"].abs().amax(dim=(1, 2, 3)).min() > 0
    torch.testing.assert_close(
        gradients["bfloat16"][same], gradients["float32"][same], rtol=1e-3, atol=1e-7
    )


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 20, 28)])
@pytest.mark.parametrize("count", [1, 2, 17, 45])
def test_arranged_network_has_the_generators_values_and_gradients(
    shape: tuple[int, int, int], count: int
) -> None:
    generator = generator_of(shape=shape)
    network = search_network(generator)
    assert isinstance(network, PiecewiseLinear)
    z = torch.randn(count, 16, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))

    def derivatives(made_by: Callable[[Tensor], Tensor]) -> list[Tensor]:
        variable = z.clone().requires_grad_()
        images = made_by(variable)
        (first,) = torch.autograd.grad((images**2 * weights).sum(), variable, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), variable)
        return [images, first, second]

    for ours, theirs in zip(derivatives(network), derivatives(generator), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())
    assert not any(weight.requires_grad for weight in network.parameters())


def test_users_own_generator_is_used_as_it_is() -> None:
    class Own(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z.sigmoid().view(-1, 1, 4, 4)

    own = Own()
    assert search_network(own) is own
    found = latent_search(own, torch.rand(2, 1, 4, 4), starts_of(2), SearchSettings(3))
    assert found.reconstructions.shape == (2, 1, 4, 4)
    before = generator_of()
    state = {name: value.clone() for name, value in before.state_dict().items()}
    search_network(before, "bfloat16")
    assert all(torch.equal(state[name], value) for name, value in before.state_dict().items())


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"precision must be one of .* got 'half'"):
        latent_search(
            generator_of(), images_of(1), starts_of(1), SearchSettings(1, precision="half")
        )


# Less work


def test_pruning_keeps_the_restarts_of_least_error() -> None:
    generator, images, starts = generator_of(), images_of(12), starts_of(6)
    settings = SearchSettings(15, prune=((4, 3), (9, 1)))
    found = latent_search(generator, images, starts, settings)
    assert found.evaluations.tolist() == [4 * 6 + 5 * 3 + 6 * 1 + 1] * 12
    assert found.steps.tolist() == [15] * 12
    # By hand: the errors at the step before each look, of searches of each restart alone.
    alone = {
        steps: torch.stack(
            [
                latent_search(generator, images, start[None], SearchSettings(steps)).objective
                for start in starts
            ]
        )
        for steps in (3, 8, 15)
    }
    for image in range(12):
        three = alone[3][:, image].topk(3, largest=False).indices
        best = three[alone[8][three, image].argmin()]
        assert found.restart[image] == best
        torch.testing.assert_close(found.objective[image], alone[15][best, image])


def test_converged_images_stop_alike_in_any_batch() -> None:
    generator, images, starts = generator_of(), images_of(20), starts_of(3)
    settings = SearchSettings(60, tolerance=0.02, patience=5, prune=((10, 2),))
    found = latent_search(generator, images, starts, settings)
    assert found.steps.unique().numel() > 1
    assert (found.steps % 5 == 0).all()
    assert (found.evaluations < 60 * 3).any()
    for part in range(0, 20, 4):
        own = latent_search(generator, images[part : part + 4], starts, settings)
        assert torch.equal(own.steps, found.steps[part : part + 4])
        torch.testing.assert_close(own.objective, found.objective[part : part + 4])
    # Stopping changes nothing before the stop.
    image = int(found.steps.argmin())
    plain = SearchSettings(
        int(found.steps[image]), prune=((10, 2),) if found.steps[image] > 10 else ()
    )
    same = latent_search(generator, images[image : image + 1], starts, plain)
    torch.testing.assert_close(same.objective[0], found.objective[image])


def test_gradient_of_pruned_and_stopped_search_is_that_of_the_winner() -> None:
    generator, starts = generator_of().double(), starts_of(3).double()
    images = images_of(6).double().requires_grad_()
    settings = SearchSettings(40, tolerance=0.02, patience=5, prune=((6, 2),))
    found = latent_search(generator, images, starts, settings)
    (ours,) = torch.autograd.grad(found.reconstructions.square().sum(), images)
    assert found.steps.unique().numel() > 1
    for image, (steps, restart) in enumerate(zip(found.steps, found.restart, strict=True)):
        own = images[image : image + 1].detach().requires_grad_()
        alone = latent_search(generator, own, starts[restart][None], SearchSettings(int(steps)))
        (expected,) = torch.autograd.grad(alone.reconstructions.square().sum(), own)
        torch.testing.assert_close(ours[image], expected[0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"prune": ((5, 2), (3, 1))},
        {"prune": ((5, 2), (7, 2))},
        {"prune": ((0, 2),)},
        {"prune": ((10, 2),)},
        {"prune": ((5, 0),)},
        {"tolerance": -0.1},
        {"patience": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SearchSettings(10, **wrong)


# Batches


def test_batches_are_halved_when_memory_runs_out() -> None:
    seen = []

    def work(batch: Tensor) -> Tensor:
        if len(batch) > 3:
            raise torch.OutOfMemoryError("as on a GPU")
        seen.append(len(batch))
        return 2 * batch

    images = torch.arange(10.0)
    result = torch.cat(list(in_batches(work, images, 7, torch.device("cpu"))))
    assert torch.equal(result, 2 * images)
    assert seen == [3, 3, 3, 1]
    seen.clear()
    assert torch.equal(
        torch.cat(list(in_batches(work, images, "auto", torch.device("cpu")))), 2 * images
    )


def test_no_room_for_one_image_is_an_error() -> None:
    def work(batch: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        list(in_batches(work, torch.zeros(4), 4, torch.device("cpu")))


@pytest.mark.parametrize("size", [0, "all"])
def test_wrong_batch_size_is_refused(size: int | str) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be .*{size}"):
        list(in_batches(lambda batch: batch, torch.zeros(4), size, torch.device("cpu")))


# CUDA


@CUDA
def test_cuda_graph_gives_the_result_of_single_steps() -> None:
    generator, images, starts = generator_of(), images_of(20), starts_of(3)
    expected, _ = reference(generator, images, starts, steps=30)
    found = latent_search(
        generator.cuda(), images.cuda(), starts.cuda(), SearchSettings(30, cuda_graph=True)
    )
    torch.testing.assert_close(found.objective.cpu(), expected, rtol=1e-4, atol=0)


@CUDA
def test_matrix_precision_is_restored() -> None:
    before = torch.backends.cudnn.allow_tf32
    with matrix_precision("tf32"):
        assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before
