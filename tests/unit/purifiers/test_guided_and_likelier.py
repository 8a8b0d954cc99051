"""Guided purification and likelihood maximisation, on models whose answers have closed forms."""

import math
from typing import Any

import pytest
import torch
from test_diffpure import SHAPE, Gaussian, gradient, network, some_images
from torch import Tensor, nn

from purification.models.diffusion import SIGNAL
from purification.purifiers.base import Defended, Purifier
from purification.purifiers.diffpure import DiffPure, at_level, posterior
from purification.purifiers.guided_diffpure import GuidedDiffPure
from purification.purifiers.likelihood_maximisation import LikelihoodMaximisation
from purification.purifiers.loading import cheaper_version
from purification.randomness import Streams, draw_seeds

SEVERAL = {"draws": 1, "aggregation": "mean"}
GUIDED = {"time": 0.3, "denoising_steps": 3, "guidance": 2.0, "rounds": 1, **SEVERAL}
LIKELIER = {"time": 0.4, "ascent_steps": 3, "step_size": 0.02, "budget": 0.05, **SEVERAL}


def made(build: Any, model: Any, **settings: Any) -> Any:
    base = GUIDED if build is GuidedDiffPure else LIKELIER
    return build({**base, **settings}, SHAPE, {"generator": model}).eval()


def likelier(model: Any, **settings: Any) -> LikelihoodMaximisation:
    return made(LikelihoodMaximisation, model, **settings)


@pytest.mark.parametrize("rounds", [1, 2])
def test_guided_steps_are_drawn_to_the_image(rounds: int) -> None:
    """Computed again: the posterior's mean, less its variance times the distance to the guide."""
    images, model = some_images(), network()
    seeds = draw_seeds(0, range(3), 0)
    streams, given = Streams(seeds), 2 * images - 1
    found = given
    for _ in range(rounds):
        found = at_level(found, SIGNAL[300], streams.normal(SHAPE))
        for level, following in ((300, 200), (200, 100), (100, 0)):
            guide = at_level(given, SIGNAL[level], streams.normal(SHAPE))
            of_image, of_noisy, deviation = posterior(SIGNAL[level], SIGNAL[following])
            mean = of_image * model.clean(found, level) + of_noisy * found
            distance = (found - guide).detach().requires_grad_()
            (slope,) = torch.autograd.grad(distance.square().sum() / 2, distance)
            found = mean - 2.0 * deviation**2 * slope
            found = found + deviation * streams.normal(SHAPE) if following else found
    purified = made(GuidedDiffPure, model, rounds=rounds)(images, seeds)
    torch.testing.assert_close(purified, ((found + 1) / 2).clamp(0, 1), atol=1e-5, rtol=1e-5)


def test_a_strong_guide_keeps_more_of_the_image() -> None:
    model, images = Gaussian(0.0, 0.5), some_images(40)
    seeds = draw_seeds(0, range(40), 0)
    changes = [
        (
            made(GuidedDiffPure, model, guidance=g, denoising_steps=20, time=0.5)(images, seeds)
            - images
        )
        .square()
        .mean()
        .item()
        for g in (0.0, 5.0, 20.0)
    ]
    assert changes[0] > 1.2 * changes[1] > 1.2**2 * changes[2]
    # Without a guide it is DiffPure, but for the guide's draws.
    own = {**GUIDED, "denoising_steps": 20, "time": 0.5, "backward": "ancestral"}
    plain = DiffPure(own, SHAPE, {"generator": model})(images, seeds)
    assert changes[0] == pytest.approx((plain - images).square().mean().item(), rel=0.05)


def test_likelihood_is_maximised_within_the_budget() -> None:
    """Of Gaussian images the loss pulls each pixel to the mean, by a slope in closed form."""
    mean, deviation = 0.2, 0.3
    images, model = some_images().double(), Gaussian(mean, deviation)
    model.noise = exact_noise(mean, deviation)  # type: ignore[method-assign]
    seeds = draw_seeds(0, range(3), 0)
    purifier = likelier(model, ascent_steps=1)
    streams = Streams(seeds)
    levels = 1 + (400 * streams.uniform((1,))[:, 0]).long()
    noise = streams.normal(SHAPE).double()
    signal = torch.tensor(SIGNAL).double()[levels].view(-1, 1, 1, 1)
    spread = signal * deviation**2 + 1 - signal
    noisy = signal.sqrt() * (2 * images - 1) + (1 - signal).sqrt() * noise
    error = (1 - signal).sqrt() * (noisy - signal.sqrt() * mean) / spread - noise
    slope = error * (1 - signal).sqrt() * signal.sqrt() / spread
    step = 0.02 * slope / slope.abs().mean((1, 2, 3), keepdim=True)
    expected = (images - step).clamp(0, 1)
    expected = torch.minimum(torch.maximum(expected, images - 0.05), images + 0.05)
    torch.testing.assert_close(purifier(images, seeds), expected, atol=1e-6, rtol=0)
    far = likelier(model, ascent_steps=40)(images, seeds)
    assert (far - images).abs().max() < 0.05 + 1e-6
    # Most pixels end nearer to the mean than they began.
    middle = (mean + 1) / 2
    nearer = (far - middle).abs() < (images - middle).abs()
    assert nearer.double().mean() > 0.8


def exact_noise(mean: float, deviation: float) -> Any:
    def noise(noisy: Tensor, levels: Tensor) -> Tensor:
        signal = torch.tensor(SIGNAL).to(noisy)[levels].view(-1, 1, 1, 1)
        spread = signal * deviation**2 + 1 - signal
        return (1 - signal).sqrt() * (noisy - signal.sqrt() * mean) / spread

    return noise


@pytest.mark.parametrize("build", [GuidedDiffPure, LikelihoodMaximisation])
def test_gradients_are_exact_and_images_by_themselves(build: Any, monkeypatch: Any) -> None:
    images, seeds = 0.2 + 0.6 * some_images().double(), draw_seeds(0, range(3), 0)
    purifier: Purifier = made(build, network().double())
    random = torch.Generator().manual_seed(4)
    slopes, way = (torch.randn(images.shape, generator=random).double() for _ in range(2))
    exact = gradient(purifier, images, seeds, slopes)
    ahead, behind = (purifier(images + sign * 1e-6 * way, seeds) for sign in (1, -1))
    quotient = ((ahead - behind) * slopes).flatten(1).sum(1) / 2e-6
    torch.testing.assert_close((exact * way).flatten(1).sum(1), quotient, rtol=1e-5, atol=1e-6)
    name = build.__module__
    monkeypatch.setattr(f"{name}.recomputed", lambda step, *a: step(*a))
    torch.testing.assert_close(gradient(purifier, images, seeds, slopes), exact)
    whole = purifier(images, seeds)
    assert torch.equal(purifier(images, seeds), whole)
    torch.testing.assert_close(purifier(images[2:], seeds[2:]), whole[2:], atol=1e-8, rtol=0)
    with torch.inference_mode():
        assert torch.equal(purifier(images, seeds), whole)
    with torch.no_grad():
        assert not purifier(images, seeds).requires_grad
    assert 0 <= whole.min().item() <= whole.max().item() <= 1


def test_cheaper_versions() -> None:
    images, seeds = some_images(), draw_seeds(0, range(3), 0)
    model = network()
    guided = cheaper_version(made(GuidedDiffPure, model), {"denoising_steps": 1}, images)
    expected = made(GuidedDiffPure, model, denoising_steps=1)(images, seeds)
    assert torch.equal(guided(images, seeds), expected)
    shorter = cheaper_version(likelier(model), {"ascent_steps": 1}, images)
    assert torch.equal(shorter(images, seeds), likelier(model, ascent_steps=1)(images, seeds))
    assert math.isclose(shorter.settings["budget"], 0.05)


def test_the_gradient_toward_the_denoised_image_is_that_of_its_moves() -> None:
    """Of Gaussian images the denoised one is linear in the image, with a slope in closed form. At
    the budget the image itself moves the pixel."""
    deviation, share, budget = 0.3, 0.4, 0.05
    images, model = 0.2 + 0.6 * some_images().double(), Gaussian(0.2, deviation)
    model.noise = exact_noise(0.2, deviation)  # type: ignore[method-assign]
    seeds, whole = draw_seeds(0, range(3), 0), likelier(model, ascent_steps=1)
    surrogate = cheaper_version(whole, {"denoised": share}, images)
    made, ones = whole(images, seeds), torch.ones_like(images)
    assert torch.equal(surrogate(images, seeds), made)
    signal = torch.tensor(SIGNAL).double()[1 + (400 * Streams(seeds).uniform((1,))[:, 0]).long()]
    slope = signal * deviation**2 / (signal * deviation**2 + 1 - signal)
    free = (made - images).abs() < budget - 1e-9
    assert free.any() and not free.all()
    expected = torch.where(free, (1 + share * (slope - 1)).view(-1, 1, 1, 1), ones)
    found = gradient(surrogate, images, seeds, ones)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_its_images_are_those_of_all_steps_and_its_gradient_is_another(monkeypatch: Any) -> None:
    images, seeds = some_images(), draw_seeds(0, range(3), 0)
    whole = likelier(network(), ascent_steps=4)
    surrogate = cheaper_version(whole, {"denoised": 0.5}, images)
    variable = images.clone().requires_grad_()
    assert torch.equal(surrogate(variable, seeds), whole(images, seeds))
    with torch.inference_mode():
        assert torch.equal(surrogate(images, seeds), whole(images, seeds))
    slopes = torch.randn(images.shape, generator=torch.Generator().manual_seed(4))
    found = gradient(surrogate, images, seeds, slopes)
    assert not torch.allclose(found, gradient(whole, images, seeds, slopes), rtol=0.1)
    module = "purification.purifiers.likelihood_maximisation"
    monkeypatch.setattr(f"{module}.recomputed", lambda step, *a: step(*a))
    torch.testing.assert_close(gradient(surrogate, images, seeds, slopes), found)
    # With a classifier it gets a seed for each image, as the whole does.
    pixels = nn.Flatten()
    assert torch.equal(Defended(surrogate, pixels)(images, seeds), whole(images, seeds).flatten(1))
    fewer = cheaper_version(whole, {"denoised": 0.5, "ascent_steps": 2}, images)
    assert torch.equal(fewer(images, seeds), likelier(network(), ascent_steps=2)(images, seeds))
