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


def test_one_denoising_in_the_place_of_all_steps() -> None:
    """Of Gaussian images the denoised one is linear in the image, with a slope in closed form. It
    has the level and the noise that the first step of the whole has."""
    mean, deviation = 0.2, 0.5
    images, model = 0.3 + 0.4 * some_images().double(), Gaussian(mean, deviation)
    model.noise = exact_noise(mean, deviation)  # type: ignore[method-assign]
    seeds, whole = draw_seeds(0, range(3), 0), likelier(model)
    once = cheaper_version(whole, {"once": True}, images)
    streams = Streams(seeds)
    signal = torch.tensor(SIGNAL).double()[1 + (400 * streams.uniform((1,))[:, 0]).long()]
    signal, noise = signal.view(-1, 1, 1, 1), streams.normal(SHAPE).double()
    noisy = signal.sqrt() * (2 * images - 1) + (1 - signal).sqrt() * noise
    spread = signal * deviation**2 + 1 - signal
    expected = mean + signal.sqrt() * deviation**2 / spread * (noisy - signal.sqrt() * mean)
    expected = ((expected + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(once(images, seeds), expected, atol=1e-6, rtol=0)
    inside = (expected > 0) & (expected < 1)
    slope = torch.where(inside, signal * deviation**2 / spread, 0.0)
    found = gradient(once, images, seeds, torch.ones_like(images))
    torch.testing.assert_close(found, slope, atol=1e-6, rtol=1e-6)
    # With a classifier it gets a seed for each image, as the whole does.
    logits = Defended(once, nn.Flatten())(images, seeds)
    assert torch.equal(logits, once(images, seeds).flatten(1))
