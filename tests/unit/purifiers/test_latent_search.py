"""The shared latent search: what it finds, that its gradient is the true one, what it keeps."""

import weakref
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from purification.models.checkpoints import save_network
from purification.models.wgan import Generator
from purification.purifiers import (
    Defended,
    DefenseGAN,
    SearchSettings,
    StraightThrough,
    draw_starts,
    latent_search,
    reconstruction_error,
)
from purification.purifiers.loading import load_search
from purification.randomness import isolated_rng


class LinearGenerator(nn.Module):
    """images = matrix z + offset, shaped (N, 1, 4, 4)."""

    def __init__(self, latent: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.matrix = nn.Parameter(torch.randn(16, latent, generator=random, dtype=dtype))
        self.offset = nn.Parameter(torch.rand(16, generator=random, dtype=dtype))

    def forward(self, latents: Tensor) -> Tensor:
        return (latents @ self.matrix.T + self.offset).view(-1, 1, 4, 4)


class SmallGenerator(nn.Module):
    """A smooth two-layer generator with a sigmoid, so that its second derivatives are not zero."""

    def __init__(self, latent: int = 3, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.first = nn.Parameter(torch.randn(8, latent, generator=random, dtype=dtype))
        self.second = nn.Parameter(torch.randn(16, 8, generator=random, dtype=dtype))

    def forward(self, latents: Tensor) -> Tensor:
        hidden = torch.tanh(latents @ self.first.T)
        return torch.sigmoid(hidden @ self.second.T).view(-1, 1, 4, 4)


def images_of(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(7), dtype=dtype)


def starts_of(restarts: int, latent: int) -> Tensor:
    return draw_starts(restarts, latent, torch.Generator().manual_seed(3)).double()


def test_search_on_a_linear_generator_is_the_least_squares_solution() -> None:
    generator = LinearGenerator(latent=5)
    images = images_of(6)
    settings = SearchSettings(steps=3000, step_size=0.3, momentum=0.7)
    found = latent_search(generator, images, starts_of(2, 5), settings)
    residual = (images.flatten(1) - generator.offset).T
    expected = torch.linalg.lstsq(generator.matrix, residual).solution.T
    torch.testing.assert_close(found.latents, expected.detach(), atol=1e-8, rtol=0)
    torch.testing.assert_close(
        found.objective, reconstruction_error(generator(expected), images).detach()
    )


def test_one_step_follows_the_formula() -> None:
    generator = LinearGenerator(latent=2)
    image, start = images_of(1), starts_of(1, 2)
    settings = SearchSettings(steps=2, step_size=0.1, momentum=0.7)
    found = latent_search(generator, image, start, settings)
    z, v = start.clone(), torch.zeros_like(start)
    for _ in range(2):
        residual = z @ generator.matrix.T + generator.offset - image.flatten(1)
        gradient = 2 / 16 * residual @ generator.matrix
        v = 0.7 * v + gradient
        z = z - 0.1 * v
    torch.testing.assert_close(found.latents, z.detach())
    torch.testing.assert_close(found.reconstructions, generator(z).detach())


def test_best_restart_wins_and_more_restarts_never_hurt() -> None:
    generator, images, starts = SmallGenerator(), images_of(12), starts_of(8, 3) * 6
    settings = SearchSettings(steps=5, step_size=1.0)
    alone = torch.stack(
        [latent_search(generator, images, starts[[r]], settings).objective for r in range(8)]
    )
    best, which = alone.min(dim=0)
    together = latent_search(generator, images, starts, settings)
    torch.testing.assert_close(together.objective, best)
    assert torch.equal(together.restart, which)
    assert which.unique().numel() > 1, "the restarts should not all end in the same place"
    fewer = latent_search(generator, images, starts[:3], settings)
    assert (together.objective <= fewer.objective + 1e-12).all()


def test_a_larger_number_of_restarts_begins_with_the_smaller() -> None:
    assert torch.equal(starts_of(20, 4)[:5], starts_of(5, 4))
    spread = draw_starts(4000, 16, torch.Generator().manual_seed(0))
    assert spread.std().item() == pytest.approx(16**-0.5, rel=0.02)


def test_starts_of_the_prior_are_the_published_ones_scaled() -> None:
    published, prior = (
        draw_starts(5, 16, torch.Generator().manual_seed(0), kind)
        for kind in ("published", "prior")
    )
    torch.testing.assert_close(prior, 4 * published)
    with pytest.raises(ValueError, match=r"starts must be one of .*prior.*, got 'wide'"):
        draw_starts(1, 16, torch.Generator(), "wide")


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_unrolled_gradient_agrees_with_finite_differences(steps: int, momentum: float) -> None:
    generator, starts = SmallGenerator(), starts_of(3, 3) * 4
    settings = SearchSettings(steps=steps, step_size=0.8, momentum=momentum)
    weights = torch.randn(16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    def loss(images: Tensor) -> Tensor:
        purified = latent_search(generator, images, starts, settings).reconstructions
        return (purified.flatten(1).square() @ weights).sum()

    images = images_of(2).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(images), images)
    flat = images.detach().flatten()
    numeric = torch.zeros_like(flat)
    for i in range(len(flat)):
        nudge = torch.zeros_like(flat)
        nudge[i] = 1e-6
        numeric[i] = (
            loss((flat + nudge).view_as(images)) - loss((flat - nudge).view_as(images))
        ) / 2e-6
    torch.testing.assert_close(gradient.flatten(), numeric, rtol=1e-5, atol=1e-8)
    assert gradient.abs().max() > 1e-4, "a gradient that is nearly zero proves nothing"


def test_gradient_is_that_of_plain_autograd_through_all_steps() -> None:
    generator, start = SmallGenerator(), starts_of(1, 3)
    images = images_of(3).requires_grad_()
    settings = SearchSettings(steps=9, step_size=0.8)
    purified = latent_search(generator, images, start, settings).reconstructions
    (ours,) = torch.autograd.grad(purified.square().sum(), images)
    z, v = start.expand(3, -1).clone().requires_grad_(), torch.zeros(3, 3, dtype=torch.float64)
    for _ in range(9):
        objective = reconstruction_error(generator(z), images).sum()
        (gradient,) = torch.autograd.grad(objective, z, create_graph=True)
        v = 0.7 * v + gradient
        z = z - 0.8 * v
    (naive,) = torch.autograd.grad(generator(z).square().sum(), images)
    torch.testing.assert_close(ours, naive)


def live_saved_bytes(steps: int, restarts: int) -> tuple[int, int]:
    """(held between forward and backward, peak in both) bytes of tensors saved for backward."""
    live = peak = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal live, peak
            self.tensor = tensor
            size = tensor.nbytes
            live += size
            peak = max(peak, live)
            weakref.finalize(self, release, size)

    def release(size: int) -> None:
        nonlocal live
        live -= size

    generator, starts = SmallGenerator(latent=3), starts_of(restarts, 3)
    images = images_of(20).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        purified = latent_search(
            generator, images, starts, SearchSettings(steps=steps, step_size=0.5)
        ).reconstructions
        held = live
        peak = live
        torch.autograd.grad(purified.sum(), images)
    return held, peak


def test_gradient_memory_is_flat_in_restarts_and_grows_only_by_latent_codes() -> None:
    held_short, peak_short = live_saved_bytes(steps=4, restarts=2)
    held_many, peak_many = live_saved_bytes(steps=4, restarts=16)
    held_long, peak_long = live_saved_bytes(steps=64, restarts=2)
    assert (held_many, peak_many) == (held_short, peak_short)
    codes = 60 * 20 * 3 * 8  # 60 more steps, 20 images, 3 float64 numbers a latent code
    assert held_long - held_short <= codes
    assert peak_long - peak_short <= codes


def test_an_image_is_purified_alike_alone_and_in_any_batch() -> None:
    generator, starts = SmallGenerator(dtype=torch.float32), starts_of(4, 3).float()
    purifier = DefenseGAN(generator, starts, SearchSettings(steps=20, step_size=2.0))
    images = images_of(9, torch.float32)
    # A product of matrices of another size may be summed in another order (by oneDNN on some CPUs).
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-5)
    together = purifier(images)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    close(purifier(images[order]), together[order])
    close(torch.cat([purifier(image[None]) for image in images]), together)


def test_purifier_works_under_no_grad_and_computes_no_weight_gradients() -> None:
    generator = SmallGenerator(dtype=torch.float32)
    purifier = DefenseGAN(generator, starts_of(2, 3).float(), SearchSettings(steps=3))
    assert not any(p.requires_grad for p in purifier.parameters())
    images = images_of(4, torch.float32)
    with torch.no_grad():
        quiet = purifier(images)
    loud = purifier(images.requires_grad_())
    assert loud.requires_grad and not quiet.requires_grad
    torch.testing.assert_close(quiet, loud.detach())
    loud.sum().backward()
    assert all(p.grad is None for p in purifier.parameters())


def test_straight_through_has_the_purifiers_value_and_the_identitys_gradient() -> None:
    generator = SmallGenerator(dtype=torch.float32)
    purifier = DefenseGAN(generator, starts_of(2, 3).float(), SearchSettings(steps=3))
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    images = images_of(5, torch.float32).requires_grad_()
    bent = Defended(StraightThrough(purifier), classifier)(images)
    assert torch.equal(bent, Defended(purifier, classifier)(images.detach()))
    (gradient,) = torch.autograd.grad(bent[:, 3].sum(), images)
    expected = classifier[1].weight[3].view(1, 1, 4, 4).expand_as(gradient)
    torch.testing.assert_close(gradient, expected)


def test_wrong_starts_are_refused() -> None:
    with pytest.raises(ValueError, match="starts must be"):
        latent_search(
            SmallGenerator(), images_of(2), starts_of(6, 3).view(3, 2, 3), SearchSettings(1)
        )


def test_own_starts_for_each_image() -> None:
    generator, images = SmallGenerator(), images_of(2)
    starts = starts_of(4, 3).view(2, 2, 3)
    both = latent_search(generator, images, starts, SearchSettings(2, step_size=1.0))
    second = latent_search(generator, images[1:], starts[1], SearchSettings(2, step_size=1.0))
    torch.testing.assert_close(both.latents[1:], second.latents)


def test_starts_of_the_prior_are_the_published_ones_farther_out(tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    with isolated_rng(0):
        network = Generator(16, 4, (1, 28, 28))
    made_by = {"kind": "Generator", "settings": {"latent": 16, "width": 4}}
    save_network(path, network, made_by, (1, 28, 28))
    recipe = {"name": "search", "seed": 0, "networks": {"generator": made_by}}
    files = {"generator": str(path)}
    found = {
        starts: load_search(recipe | {"settings": settings}, files, 5, 3)[1]
        for starts, settings in {
            "unnamed": {},
            "published": {"starts": "published"},
            "prior": {"starts": "prior"},
        }.items()
    }
    assert torch.equal(found["unnamed"], found["published"])
    torch.testing.assert_close(found["prior"], found["published"] * 4)
