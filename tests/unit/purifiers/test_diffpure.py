"""Purification by diffusion: closed forms of Gaussian images, exact gradients, flat memory."""

import gc
import itertools
import math
from typing import Any

import pytest
import torch
import yaml
from conftest import DEFAULT, REPOSITORY, SCHEMA, merged, micro_catalogue, refusal
from torch import Tensor, nn

from purification.evaluation.costs import passes_of
from purification.experiments import Catalogue, ConfigError, leaderboard
from purification.experiments.methods import defenses, is_cheaper
from purification.models.diffusion import SIGNAL, Diffusion, deviation_at, level_of
from purification.purifiers import Defended
from purification.purifiers.diffpure import DiffPure, at_level, posterior
from purification.purifiers.loading import cheaper_version
from purification.randomness import Streams, draw_seeds

SHAPE = (1, 8, 8)
SETTINGS: dict[str, Any] = {
    **{"time": 0.3, "denoising_steps": 4, "backward": "ancestral"},
    **{"draws": 1, "aggregation": "mean"},
}


class Gaussian(Diffusion):
    """The exact model of images whose pixels, in [-1, 1], are independent and normal."""

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__(8, SHAPE)
        self.mean, self.variance = mean, deviation**2

    def noise(self, noisy: Tensor, levels: Tensor | int) -> Tensor:
        assert isinstance(levels, int)
        signal = SIGNAL[levels]
        spread = signal * self.variance + 1 - signal
        return math.sqrt(1 - signal) * (noisy - math.sqrt(signal) * self.mean) / spread


def network(seed: int = 0) -> Diffusion:
    """One of random weights, none of them zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = Diffusion(8, SHAPE)
        for weight in made.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.5 / math.sqrt(weight[0].numel()))
    return made.eval()


def diffpure(model: nn.Module, **settings: Any) -> DiffPure:
    return DiffPure({**SETTINGS, **settings}, SHAPE, {"generator": model}).eval()


def some_images(count: int = 3) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(2))


# --- what it computes


def test_the_posterior_is_that_of_bayes() -> None:
    """Of x_u given x_0 and x_s, from the joint normal distribution of the three."""
    for level, following in ((300, 240), (300, 10), (2, 1), (1000, 999), (70, 0)):
        before, after = SIGNAL[level], SIGNAL[following]
        # x_u = sqrt(a_u) x_0 + noise; x_s = sqrt(a_s / a_u) x_u + more noise.
        kept = before / after
        variance = 1 - after
        gain = math.sqrt(kept) * variance / (kept * variance + 1 - kept)
        of_image = math.sqrt(after) - gain * math.sqrt(before)
        deviation = math.sqrt(max(variance - gain * math.sqrt(kept) * variance, 0))
        assert posterior(SIGNAL[level], SIGNAL[following]) == pytest.approx(
            (of_image, gain, deviation), abs=1e-9
        )
    # Down to the image nothing of the noise is left.
    assert posterior(SIGNAL[300], 1.0) == pytest.approx((1, 0, 0))


def spread_after(steps: int, deviation: float, *, ancestral: bool) -> float:
    """The deviation that the steps from level 500 leave of images of the model's own: all is
    linear, and so each step makes a variance of a variance."""
    variance = 1 - SIGNAL[500] + SIGNAL[500] * deviation**2
    levels = [500 * (steps - k) // steps for k in range(steps + 1)]
    for level, following in itertools.pairwise(levels):
        before, after = SIGNAL[level], SIGNAL[following]
        # Of the image that is found, in the noisy one.
        found = math.sqrt(before) * deviation**2 / (before * deviation**2 + 1 - before)
        scale = math.sqrt((1 - after) / (1 - before))
        of_image, of_noisy, added = math.sqrt(after) - scale * math.sqrt(before), scale, 0.0
        if ancestral:
            of_image, of_noisy, added = posterior(SIGNAL[level], SIGNAL[following])
        variance = (of_image * found + of_noisy) ** 2 * variance + added**2
    return math.sqrt(variance)


@pytest.mark.parametrize("steps", [1, 4, 50])
@pytest.mark.parametrize("backward", ["ancestral", "deterministic"])
def test_images_of_the_models_distribution_stay_in_it(backward: str, steps: int) -> None:
    """The mean of what comes out is the model's, and its deviation that of a linear map. One step
    gives the mean of all images that a noisy one may be, which is less spread; with many small
    steps nothing of the spread is lost."""
    mean, deviation, count = 0.1, 0.2, 600
    made = diffpure(Gaussian(mean, deviation), backward=backward, denoising_steps=steps, time=0.5)
    random = torch.Generator().manual_seed(1)
    values = mean + deviation * torch.randn(count, *SHAPE, generator=random)
    found = 2 * made(((values + 1) / 2).double(), draw_seeds(3, range(count), 0)) - 1
    expected = spread_after(steps, deviation, ancestral=backward == "ancestral")
    sampled = 3 / math.sqrt(found.numel())
    assert found.mean().item() == pytest.approx(mean, abs=deviation * sampled)
    assert found.std().item() == pytest.approx(expected, rel=sampled)
    assert spread_after(1, deviation, ancestral=True) < 0.6 * deviation
    whole = spread_after(500, deviation, ancestral=backward == "ancestral")
    assert whole == pytest.approx(deviation, rel=0.02)


def test_one_step_is_denoising_at_once() -> None:
    """Carlini et al. 2023, algorithm 1, in pixel units of [0, 1]."""
    images, model = some_images(), network()
    seeds, level = draw_seeds(0, range(3), 0), level_of(0.3)
    noisy = images + deviation_at(level) * Streams(seeds).normal(SHAPE)
    scaled = math.sqrt(SIGNAL[level]) * (2 * noisy - 1)
    expected = ((model.clean(scaled, level) + 1) / 2).clamp(0, 1)
    for backward in ("ancestral", "deterministic"):
        made = diffpure(model, denoising_steps=1, backward=backward)(images, seeds)
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)


def test_ancestral_steps_add_noise_and_deterministic_ones_do_not() -> None:
    images, model = some_images(), network()
    seeds = draw_seeds(0, range(3), 0)
    streams = Streams(seeds)
    noisy = at_level(2 * images - 1, SIGNAL[300], streams.normal(SHAPE))
    without = noisy
    for level, following in ((300, 225), (225, 150), (150, 75), (75, 0)):
        image = model.clean(noisy, level)
        of_image, of_noisy, deviation = posterior(SIGNAL[level], SIGNAL[following])
        noisy = of_image * image + of_noisy * noisy
        noisy = noisy + deviation * streams.normal(SHAPE) if following else noisy
        noise = model.noise(without, level)
        signal, after = SIGNAL[level], SIGNAL[following]
        image = (without - math.sqrt(1 - signal) * noise) / math.sqrt(signal)
        without = math.sqrt(after) * image + math.sqrt(1 - after) * noise
    for backward, expected in (("ancestral", noisy), ("deterministic", without)):
        made = diffpure(model, backward=backward)(images, seeds)
        wanted = ((expected + 1) / 2).clamp(0, 1)
        torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-5)


def test_an_image_and_its_seed_alone_decide() -> None:
    images, made = some_images(5), diffpure(network())
    seeds = draw_seeds(0, range(5), 0)
    whole = made(images, seeds)
    for rows in ([3], [4, 0]):
        part = made(images[rows], seeds[rows])
        torch.testing.assert_close(part, whole[rows], atol=1e-5, rtol=0)
    assert torch.equal(made(images, seeds), whole)
    assert not torch.allclose(made(images, draw_seeds(0, range(5), 1)), whole, atol=1e-3)


# --- its gradient


def gradient(made: DiffPure, images: Tensor, seeds: Tensor, slopes: Tensor) -> Tensor:
    given = images.clone().requires_grad_()
    return torch.autograd.grad((made(given, seeds) * slopes).sum(), given)[0]


@pytest.mark.parametrize("backward", ["ancestral", "deterministic"])
def test_the_gradient_is_exact(backward: str, monkeypatch: Any) -> None:
    """That of autograd, to the bit, and in float64 that of finite differences."""
    images, seeds = some_images().double(), draw_seeds(0, range(3), 0)
    made = diffpure(network().double(), backward=backward)
    random = torch.Generator().manual_seed(4)
    slopes, way = (torch.randn(images.shape, generator=random).double() for _ in range(2))
    exact = gradient(made, images, seeds, slopes)
    assert (exact.flatten(1).abs().max(1).values > 1e-3).all()
    ahead, behind = (made(images + sign * 1e-6 * way, seeds) for sign in (1, -1))
    quotient = ((ahead - behind) * slopes).flatten(1).sum(1) / 2e-6
    torch.testing.assert_close((exact * way).flatten(1).sum(1), quotient, rtol=1e-6, atol=1e-7)
    monkeypatch.setattr("purification.purifiers.diffpure.recomputed", lambda step, *a: step(*a))
    assert torch.equal(gradient(made, images, seeds, slopes), exact)


def test_memory_does_not_grow_with_the_steps() -> None:
    """What is kept for the backward pass, in numbers, all tensors of one step counted once."""

    def kept(steps: int) -> int:
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
            return tensor

        made = diffpure(network(), denoising_steps=steps)
        given = some_images(8).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            made(given, draw_seeds(0, range(8), 0))
        gc.collect()
        return sum(sizes.values())

    image = 8 * math.prod(SHAPE)
    few, many = kept(2), kept(22)
    # Of each further step its state, and its noise; a pass through the network is hundreds.
    assert many - few < 20 * 6 * image


def test_no_graph_where_no_gradient_is_asked_for() -> None:
    made, calls = diffpure(network()), []
    made.model.network.register_forward_pre_hook(lambda *_: calls.append(1))
    images, seeds = some_images(), draw_seeds(0, range(3), 0)
    with torch.inference_mode():
        inference = made(images, seeds)
    assert not made(images, seeds).requires_grad
    assert torch.equal(inference, made(images, seeds)) and len(calls) == 12
    gradient(made, images, seeds, torch.ones_like(images))
    assert len(calls) == 20  # once more in the backward pass


# --- what it costs, and what is cheaper


def test_a_cheaper_version_has_fewer_steps_of_the_same_draw() -> None:
    images, model = some_images(), network()
    seeds, made = draw_seeds(0, range(3), 0), diffpure(model, denoising_steps=6, draws=4)
    fewer = cheaper_version(made, {"denoising_steps": 2}, images)
    assert torch.equal(fewer(images, seeds), diffpure(model, denoising_steps=2)(images, seeds))
    assert (fewer.aggregation.draws, fewer.randomised) == (4, True)
    both = cheaper_version(made, {"denoising_steps": 1, "draws": 9}, images)
    assert (len(both.steps), both.aggregation.draws) == (1, 4)
    assert cheaper_version(made, {"draws": 2}, images).aggregation.draws == 2


def test_its_passes_are_those_of_all_draws() -> None:
    images = some_images(2)
    assert passes_of(diffpure(network()), images) == 4
    assert passes_of(diffpure(network(), draws=3), images) == 12


# --- in the config


def test_it_is_a_defence_of_the_config() -> None:
    catalogue = micro_catalogue()
    recipe = catalogue.purifier("digits", 0, "diffpure").recipe
    assert recipe["networks"]["generator"]["kind"] == "Diffusion"
    assert "arithmetic" not in recipe
    assert catalogue.judged_draws("diffpure") == 5
    entry = {**catalogue.config["defenses"]["diffpure"], "draws": 3, "aggregation": "vote"}
    other = micro_catalogue(defenses={"diffpure": entry}).purifier("digits", 0, "diffpure")
    assert other.recipe["settings"]["draws"] == 3
    made = DiffPure(other.recipe["settings"], SHAPE, {"generator": network()})
    model = Defended(made, nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    assert model.passes == 3 and model.randomised
    votes = model(some_images(), draw_seeds(0, range(3), 0))
    assert (votes.floor().sum(1) == 3).all()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"time": 0}, r"defenses\.diffpure\.time: 0 is less than or equal to"),
        ({"time": 1.5}, r"defenses\.diffpure\.time: 1\.5 is greater than"),
        ({"denoising_steps": 0}, r"defenses\.diffpure\.denoising_steps: 0 is less than"),
        ({"backward": "ddpm"}, r"got 'ddpm'; allowed: ancestral, deterministic"),
        ({"generator": "wgan_gp"}, r"defenses\.diffpure\.generator: got 'wgan_gp'"),
        ({"steps": 3}, r"defenses\.diffpure: unknown key 'steps'"),
    ],
)
def test_wrong_settings_are_told(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        micro_catalogue(defenses={"diffpure": changes})


def test_all_stand_on_the_page_and_may_stand_on_the_leaderboard() -> None:
    """And a generator's quality may be asked for beside the GANs'."""
    late = yaml.safe_load((REPOSITORY / "config/modern.yaml").read_text())["defenses"]
    config = merged(DEFAULT, {"leaderboard": {"defenses": [*late]}})
    for board in ("modern", "leaderboard"):
        rows = leaderboard(Catalogue(config, SCHEMA), board).content["rows"]
        found = {row["labels"]["defense"] for row in rows}
        papers = {"defense_gan", "defense_vae", "ae_gan"} if board == "modern" else set()
        assert found >= {"none", *papers, *late}
    assert refusal(merged(DEFAULT, {"generator_quality": {"defenses": ["one_step"]}})) == ""


def test_surrogates_of_it() -> None:
    facts, entry = defenses()["diffpure"], micro_catalogue().config["defenses"]["diffpure"]
    assert is_cheaper(facts, entry, {"denoising_steps": 2}, drawn=True)
    assert not is_cheaper(facts, entry, {"denoising_steps": 5}, drawn=True)
