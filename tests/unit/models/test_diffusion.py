"""The diffusion model: its schedule, its network, and its training."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DEFAULT, SCHEMA, merged, refusal
from torch import Tensor, nn

from purification.experiments import Catalogue, ConfigError
from purification.models.checkpoints import adopted_network, load_network, save_network
from purification.models.diffusion import (
    LEVELS,
    SAMPLING_STEPS,
    SIGNAL,
    Diffusion,
    UNet,
    deviation_at,
    less_noisy,
    level_of,
    strided,
)
from purification.plugins import provide_files
from purification.training.diffusion import train_diffusion

SHAPE = (1, 28, 28)
SETTINGS: dict[str, Any] = {"batch_size": 8, "learning_rate": 0.002, "ema": 0.9, "seed": 0}


def model(width: int = 8, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Diffusion:
    """One whose layers are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = Diffusion(width, shape)
        for weight in made.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.5 / math.sqrt(weight[0].numel()))
    return made.eval()


def bars(count: int = 40) -> Tensor:
    """Images with a bright bar at one of four places."""
    images = torch.zeros(count, *SHAPE)
    for i, image in enumerate(images):
        image[:, 6 * (i % 4) + 2 : 6 * (i % 4) + 6] = 1
    return images


# --- schedule


def test_the_schedule_is_the_cosine() -> None:
    assert (len(SIGNAL), SIGNAL[0]) == (LEVELS + 1, 1)
    assert all(after < before for before, after in itertools.pairwise(SIGNAL))
    first = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    for level in (1, 300, 990):
        angle = (level / LEVELS + 0.008) / 1.008 * math.pi / 2
        assert SIGNAL[level] == pytest.approx(math.cos(angle) ** 2 / first)
    # At T the curve would be 0, and nothing could be divided by it.
    assert 0 < SIGNAL[LEVELS] == pytest.approx(SIGNAL[LEVELS - 1] / 1000)


def test_noise_in_pixel_units() -> None:
    """Measured: what a noisy image differs by from the clean one, on the clean one's scale."""
    noise = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    for time, expected in ((0.2, 0.168), (0.3, 0.260), (0.4, 0.369)):
        level = level_of(time)
        image = torch.full_like(noise, 0.25)
        noisy = math.sqrt(SIGNAL[level]) * (2 * image - 1) + math.sqrt(1 - SIGNAL[level]) * noise
        spread = ((noisy / math.sqrt(SIGNAL[level]) + 1) / 2 - image).std().item()
        assert deviation_at(level) == pytest.approx(spread, rel=0.01)
        assert deviation_at(level) == pytest.approx(expected, abs=5e-4)
    assert (level_of(1e-9), level_of(1.0)) == (1, LEVELS)


def test_strided_steps_lead_down_to_the_image() -> None:
    assert strided(300, 5) == [(300, 240), (240, 180), (180, 120), (120, 60), (60, 0)]
    assert strided(300, 1) == [(300, 0)]
    assert strided(3, 8) == [(3, 2), (2, 1), (1, 0)]
    assert all(a > b for a, b in strided(1000, 7)) and len(strided(1000, 7)) == 7


def test_less_noise_keeps_the_image_and_the_noise() -> None:
    image, noise = torch.randn(2, 3, *SHAPE, dtype=torch.float64)
    for level, following in ((500, 200), (300, 0)):
        before, after = (
            math.sqrt(SIGNAL[s]) * image + math.sqrt(1 - SIGNAL[s]) * noise
            for s in (level, following)
        )
        torch.testing.assert_close(less_noisy(before, image, level, following), after)


# --- network


@pytest.mark.parametrize("shape", [SHAPE, (3, 32, 32), (3, 64, 64)], ids=str)
def test_noise_of_the_images_form_each_by_itself(shape: tuple[int, int, int]) -> None:
    made = model(shape=shape)
    noisy, levels = torch.randn(3, *shape), torch.tensor([1, 300, 1000])
    noise = made.noise(noisy, levels)
    assert noise.shape == noisy.shape
    for row in range(3):
        alone = made.noise(noisy[row : row + 1], int(levels[row]))
        torch.testing.assert_close(alone, noise[row : row + 1], atol=1e-5, rtol=1e-4)
    other = made.noise(noisy, torch.tensor([1, 301, 1000]))
    assert torch.equal(other[0], noise[0]) and not torch.equal(other[1], noise[1])
    clean = made.clean(noisy, 300)
    again = math.sqrt(SIGNAL[300]) * clean + math.sqrt(1 - SIGNAL[300]) * made.noise(noisy, 300)
    torch.testing.assert_close(again, noisy, atol=1e-5, rtol=1e-4)


def test_its_size_and_its_sides() -> None:
    assert 300_000 < sum(weight.numel() for weight in Diffusion(32).parameters()) < 450_000
    assert not UNet(8, 1)(torch.randn(1, *SHAPE), torch.tensor([5])).any()  # nothing yet
    with pytest.raises(ValueError, match="multiples of 4, got 30x28"):
        Diffusion(8, (1, 30, 28))


def test_codes_become_images_by_the_deterministic_sampler(monkeypatch: Any) -> None:
    """With the noise of a distribution whose images are all the same, any code becomes this."""
    made, image = model(), torch.rand(SHAPE)
    asked = []

    def noise(noisy: Tensor, level: int) -> Tensor:
        asked.append(level)
        return (noisy - math.sqrt(SIGNAL[level]) * (2 * image - 1)) / math.sqrt(1 - SIGNAL[level])

    monkeypatch.setattr(made, "noise", noise)
    codes = torch.randn(3, made.latent, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(made(codes), image.double().expand(3, *SHAPE), atol=1e-4, rtol=0)
    assert asked[0] == LEVELS and len(asked) == SAMPLING_STEPS


# --- training


def trained(images: Tensor, iterations: int, **more: Any) -> tuple[Diffusion, list[Any]]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Diffusion(8)
    own = {**SETTINGS, "device": "cpu", **more}
    return made, train_diffusion(made, images, iterations=iterations, **own)


@pytest.fixture(scope="module")
def learned() -> tuple[Diffusion, list[Any]]:
    return trained(bars(), 300, ema=0.99, batch_size=16)


def test_it_learns_to_predict_noise(learned: tuple[Diffusion, list[Any]]) -> None:
    made, history = learned
    assert [row["iteration"] for row in history] == list(range(10, 301, 10))
    assert history[0]["loss"] > 0.8
    assert sum(row["loss"] for row in history[-5:]) / 5 < 0.25
    # And so finds the bar beneath it.
    noise = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(5))
    level, clean = 400, 2 * bars(8) - 1
    noisy = math.sqrt(SIGNAL[level]) * clean + math.sqrt(1 - SIGNAL[level]) * noise
    with torch.no_grad():
        error = (made.clean(noisy, level) - clean).square().mean()
    assert error < 0.3 * (noisy / math.sqrt(SIGNAL[level]) - clean).square().mean()
    assert not made.training


def test_what_is_left_is_the_average() -> None:
    """Without an average the last weights are left; of one of nearly all steps others are."""
    images = bars()
    last, _ = trained(images, 20, ema=0.0)
    averaged, _ = trained(images, 20, ema=0.9999)
    again, _ = trained(images, 20, ema=0.9999)
    one, two, three = (m.network.first.weight for m in (last, averaged, again))
    assert torch.equal(two, three)
    assert 1e-5 < (one - two).abs().max() < 0.1


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    images, place = bars(), tmp_path / "state.safetensors"
    own = {"state_path": place, "state_every": 12, "recipe_digest": "a"}
    whole, history = trained(images, 40)

    class Killed(Exception):
        pass

    def kill(_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 35:
            raise Killed

    calls, made = 0, None
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Diffusion(8)
    made.network.register_forward_hook(lambda *_: kill(_))
    with pytest.raises(Killed):
        train_diffusion(made, images, iterations=40, **SETTINGS, device="cpu", **own)
    assert place.exists()
    asked = []
    again, rows = trained(images, 40, **own)
    assert rows == history
    assert all(map(torch.equal, whole.state_dict().values(), again.state_dict().values()))
    # From the state, not from the beginning; and a longer one continues a shorter one.
    longer = Diffusion(8)
    longer.network.register_forward_hook(lambda _, given, made: asked.append(made))
    train_diffusion(longer, images, iterations=60, **SETTINGS, device="cpu", **own)
    in_sampling = SAMPLING_STEPS
    assert len(asked) == 20 + in_sampling
    # Of another recipe it begins anew.
    other, _ = trained(images, 40, **{**own, "recipe_digest": "b"})
    assert torch.equal(other.network.first.weight, whole.network.first.weight)


def test_a_loss_that_is_not_finite_ends_it() -> None:
    with pytest.raises(FloatingPointError, match="the noise loss is"):
        trained(bars(), 60, learning_rate=1e18)


# --- in the config


def test_its_settings_are_checked() -> None:
    def told(**changes: Any) -> str:
        entry = {**DEFAULT["generators"]["diffusion"], **changes}
        return refusal(merged(DEFAULT, {"generators": {"mine": entry}}))

    assert told() == ""
    assert "generators.mine: unknown key 'latent'" in told(latent=3)
    assert "generators.mine.width: 12 is not a multiple of 8" in told(width=12)
    assert "generators.mine.ema: 1 is" in told(ema=1)
    incomplete = {"kind": "diffusion", "width": 8}
    missing = refusal(merged(DEFAULT, {"generators": {"mine": incomplete}}))
    assert "generators.mine: the key 'iterations' is missing" in missing


def test_images_that_it_cannot_halve_are_refused(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "odd_data.py").write_text(
        "from purification.datasets import source\n\n\n"
        '@source(shape=(1, 30, 28), images={"train": 90, "test": 10})\n'
        "def odd(data_root, validation, test): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    odd = {"source": "odd_data:odd", "validation": 5, "test": 5}
    catalogue = Catalogue(merged(DEFAULT, {"datasets": {"odd": odd}}), SCHEMA)
    with pytest.raises(ConfigError, match=r"multiples of 4; datasets\.odd has 30x28"):
        catalogue.generator("odd", 0, "diffusion")
    made = catalogue.generator("cifar10", 0, "diffusion")
    assert made.path == "results/cifar10/seed0/diffusions/diffusion.safetensors"


def test_weights_that_were_trained_elsewhere(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "mine.safetensors"
    recipe = {"kind": "Diffusion", "settings": {"width": 8}, "seed": 0, "name": "mine"}
    save_network(path, model(), recipe, SHAPE)
    loaded = load_network(path, "Diffusion")
    assert torch.equal(loaded.network.last.weight, model().network.last.weight)
    entry = {"kind": "diffusion", "width": 8, "checkpoint": str(path)}
    catalogue = Catalogue(merged(DEFAULT, {"generators": {"mine": entry}}), SCHEMA)
    made = catalogue.generator("digits", 0, "mine")
    assert made.adopted and not made.parts
    provide_files([path])
    adopted = adopted_network(made.recipe, SHAPE)
    assert torch.equal(adopted.network.last.weight, model().network.last.weight)
    with pytest.raises(ConfigError, match="unknown key 'architecture'"):
        wrong = {**entry, "architecture": "lab:Net"}
        Catalogue(merged(DEFAULT, {"generators": {"mine": wrong}}), SCHEMA)
