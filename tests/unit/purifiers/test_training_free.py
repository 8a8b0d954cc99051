"""Purifiers that are not trained, against the libraries' results and closed forms."""

import io
from collections.abc import Callable
from math import comb, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from conftest import micro_catalogue
from made_up_noise import Linear, Noise
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from purification.attacks import MaskedGradientError, run_attack
from purification.evaluation.threat_models import attacked_model
from purification.experiments.methods import defenses
from purification.facts import class_that_states
from purification.purifiers import Defended, Purifier, StraightThrough
from purification.purifiers.aggregation import Aggregation, aggregation_of
from purification.purifiers.base import purified_by
from purification.purifiers.loading import load_purifier
from purification.purifiers.total_variation import differences, dual_step, transposed
from purification.randomness import draw_seeds, is_randomised

SHAPES = ((1, 28, 28), (3, 32, 32))
PHI = NormalDist().cdf
METHODS = {
    **{"jpeg": {}, "bit_depth": {"bits": 2}, "median": {}, "gaussian_blur": {}},
    **{"total_variation": {}, "resize_and_pad": {}, "gaussian_noise": {}},
}
WITHOUT_GRADIENT = {"jpeg", "bit_depth"}


def purifier(method: str, shape: tuple[int, ...] = SHAPES[0], **settings: Any) -> Purifier:
    """That of the recipe which the config's entry makes."""
    entry = {"method": method, "classifier": "originals", "threat_models": ["gray_box"], **settings}
    catalogue = micro_catalogue(defenses={"mine": entry})
    recipe = catalogue.purifier("digits", 0, "mine").recipe
    assert recipe["settings"].keys() == defenses()[method].settings.keys()
    return load_purifier(recipe, {}, shape)


def some_images(shape: tuple[int, ...] = SHAPES[0], count: int = 5) -> Tensor:
    """Smooth enough to compress, noisy enough to smooth; a black one and one of ones besides."""
    random = torch.Generator().manual_seed(3)
    small = torch.rand(count, shape[0], 7, 7, generator=random)
    images = nn.functional.interpolate(small, shape[1:], mode="bilinear")
    images = images + 0.1 * torch.randn(images.shape, generator=random)
    return torch.cat([images.clamp(0, 1), torch.zeros(1, *shape), torch.ones(1, *shape)])


def slope_error(made: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> float:
    """The largest relative difference of a directional derivative in float64 to the quotient of
    central differences, over three images without equal pixels, or any at the ends of the range."""
    random = torch.Generator().manual_seed(1)
    images = 0.1 + 0.8 * torch.rand(3, *shape, generator=random)
    given = images.double().requires_grad_()
    slopes, way = (torch.randn(images.shape, generator=random).double() for _ in range(2))
    (gradient,) = torch.autograd.grad((made(given) * slopes).sum(), given)
    ahead, behind = (made(images.double() + sign * 1e-6 * way) for sign in (1, -1))
    quotient = ((ahead - behind) * slopes).flatten(1).sum(1) / 2e-6
    exact = (gradient * way).flatten(1).sum(1)
    return ((exact - quotient).abs() / exact.abs().clamp(min=1e-3)).max().item()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_images_of_the_same_form_each_by_itself(method: str, shape: tuple[int, ...]) -> None:
    made, images = purifier(method, shape, **METHODS[method]), some_images(shape)
    seeds = draw_seeds(0, range(len(images)), 0)
    purified = purified_by(made, images, seeds)
    assert purified.shape == images.shape and purified.dtype == images.dtype
    assert purified.min() >= 0 and purified.max() <= 1
    assert not torch.equal(purified[:5], images[:5])
    for rows in ([3], [6, 0, 3]):
        assert torch.equal(purified_by(made, images[rows], seeds[rows]), purified[rows])
    if is_randomised(made):
        other = purified_by(made, images, draw_seeds(0, range(len(images)), 1))
        assert not torch.equal(other[:5], purified[:5])
    if method != "gaussian_noise":
        torch.testing.assert_close(purified[5:6], images[5:6])
    assert purified_by(made, images.double(), seeds).dtype == torch.float64


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_jpeg_is_pillows(shape: tuple[int, ...]) -> None:
    images = some_images(shape)
    for quality in (10, 75):
        made = purifier("jpeg", shape, quality=quality)(images)
        for image, found in zip(images, made, strict=True):
            levels = (image * 255).round().byte().movedim(0, 2).numpy()
            file = io.BytesIO()
            picture = Image.fromarray(levels[:, :, 0], "L") if shape[0] == 1 else levels
            picture = picture if shape[0] == 1 else Image.fromarray(levels, "RGB")
            picture.save(file, "JPEG", quality=quality)
            expected = np.asarray(Image.open(file)).reshape(levels.shape) / 255
            np.testing.assert_allclose(found.movedim(0, 2), expected, atol=1e-6)
    assert torch.equal(purifier("jpeg", shape)(images), made)
    with pytest.raises(ValueError, match="1 or 3 channels, got 2"):
        purifier("jpeg", (2, 28, 28))


def test_bit_depth_rounds_to_its_levels() -> None:
    values = torch.tensor([0.0, 0.16, 0.17, 0.49, 0.51, 1.0]).view(1, 1, 1, 6)
    assert purifier("bit_depth")(values).flatten().tolist() == [0, 0, 0, 0, 1, 1]
    expected = torch.tensor([0, 0, 1, 1, 2, 3]) / 3
    torch.testing.assert_close(purifier("bit_depth", bits=2)(values).flatten(), expected)
    eight = torch.arange(256).view(1, 1, 16, 16) / 255
    assert torch.equal(purifier("bit_depth", bits=8)(eight), eight)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5])
def test_median_is_scipys(window: int) -> None:
    images = some_images(SHAPES[1])
    expected = ndimage.median_filter(images.numpy(), (1, 1, window, window), mode="nearest")
    made = purifier("median", SHAPES[1], window=window)
    assert torch.equal(made(images), torch.from_numpy(expected))
    assert slope_error(made, SHAPES[1]) < 1e-5


@pytest.mark.parametrize("deviation", [0.4, 1.0, 2.5])
def test_gaussian_blur_is_scipys(deviation: float) -> None:
    images = some_images(SHAPES[1]).double()
    made = purifier("gaussian_blur", SHAPES[1], deviation=deviation)
    reach = int(np.ceil(3 * deviation))
    both = {"sigma": (0, 0, deviation, deviation), "mode": "mirror", "radius": (0, 0, reach, reach)}
    expected = ndimage.gaussian_filter(images.numpy(), **both)
    np.testing.assert_allclose(made(images), expected, atol=1e-6)
    assert slope_error(made, SHAPES[1]) < 1e-5


def test_a_blur_beyond_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"deviations of 9\.4 pixels reach across .* 28x28"):
        purifier("gaussian_blur", deviation=9.4)


# --- total variation


def test_total_variation_of_a_step_has_a_closed_form() -> None:
    """An edge between two flat halves of n columns draws both towards one another by weight / n;
    when they meet, all is the mean."""
    image = torch.zeros(1, 1, 6, 10).double()
    image[..., 5:] = 0.8
    for weight in (0.1, 1.0):
        expected = image.clone()
        expected[..., :5] += weight / 5
        expected[..., 5:] -= weight / 5
        made = purifier("total_variation", (1, 6, 10), weight=weight, iterations=150)(image)
        torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)
    made = purifier("total_variation", (1, 6, 10), weight=3.0, iterations=150)(image)
    torch.testing.assert_close(made, torch.full_like(made, 0.4), atol=5e-3, rtol=0)


def test_total_variation_reaches_its_minimum() -> None:
    """By the gap between the problem and its dual, which bounds the distance to the minimum."""
    images, weight, dual = some_images().double(), 0.1, torch.zeros(2, 7, 1, 28, 28).double()
    given = torch.randn_like(dual)
    assert (given * differences(images)).sum().item() == pytest.approx(
        (transposed(given) * images).sum().item()
    )
    for _ in range(300):
        dual = dual_step(images, dual, weight)
    gaps = []
    for iterations in (10, 50, 200):
        made = purifier("total_variation", weight=weight, iterations=iterations)(images)
        lengths = torch.linalg.vector_norm(differences(made), dim=0).flatten(1).sum(1)
        primal = (made - images).square().flatten(1).sum(1) / 2 + weight * lengths
        back = images - weight * transposed(dual)
        bound = (images.square() - back.square()).flatten(1).sum(1) / 2
        gaps.append((primal - bound).max().item())
    # Of 784 pixels; at 50 iterations a pixel is within 0.01 of the minimum, on average.
    assert gaps[0] > gaps[1] > gaps[2] > -1e-9
    assert gaps[2] < 1e-3 and sqrt(2 * gaps[1] / 784) < 0.01
    torch.testing.assert_close(made.mean((2, 3)), images.mean((2, 3)), atol=1e-3, rtol=0)


def test_gradient_through_total_variation() -> None:
    assert slope_error(purifier("total_variation", iterations=20), SHAPES[0]) < 1e-4


# --- random ones


def test_resize_and_pad_takes_all_sizes_and_places() -> None:
    made, count = purifier("resize_and_pad", (1, 8, 8), smallest=0.75), 400
    images = torch.ones(count, 1, 8, 8)
    found = made(images, draw_seeds(0, range(count), 0))[:, 0]
    sides = [(int(one.any(0).sum()), int(one.any(1).sum())) for one in found]
    assert all(wide == high for wide, high in sides)
    assert all(one.sum() == side**2 for one, (side, _) in zip(found, sides, strict=True))
    assert {side for side, _ in sides} == {6, 7, 8}
    places = {
        (side, *one.nonzero()[0].tolist()) for one, (side, _) in zip(found, sides, strict=True)
    }
    assert places == {(s, t, lft) for s in (6, 7, 8) for t in range(9 - s) for lft in range(9 - s)}
    for size in (6, 7, 8):
        share = sum(side == size for side, _ in sides) / count
        assert abs(share - 1 / 3) < 4 * sqrt(2 / 9 / count)
    whole = purifier("resize_and_pad", (1, 8, 8), smallest=1.0)
    noise = torch.rand(4, 1, 8, 8)
    assert torch.equal(whole(noise, draw_seeds(0, range(4), 0)), noise)
    seeds = draw_seeds(1, range(3), 0)
    larger = purifier("resize_and_pad", (1, 16, 12))
    assert slope_error(lambda x: larger(x, seeds), (1, 16, 12)) < 1e-5


def test_noise_has_its_deviation() -> None:
    made = purifier("gaussian_noise", deviation=0.1)
    gray = torch.full((50, *SHAPES[0]), 0.5)
    change = made(gray, draw_seeds(0, range(50), 0)) - gray
    assert change.std().item() == pytest.approx(0.1, rel=0.02)
    assert abs(change.mean().item()) < 0.002


# --- several draws


@pytest.mark.parametrize("by", ["mean", "vote"])
def test_accuracy_over_several_draws_has_a_closed_form(by: str) -> None:
    """With a margin m before a linear classifier: the mean of K draws is right with probability
    Phi(m sqrt(K) / (sigma |w|)), a vote as often as most of K independent draws are."""
    count, each, deviation = 1500, 5, 0.3
    weights = torch.tensor([0.5, -1.0, 0.25, 2.0])
    margins = torch.linspace(-0.5, 1.0, count)
    images = (margins[:, None] * weights / weights.square().sum()).view(count, 1, 2, 2)
    noise = Noise(deviation)
    noise.aggregation = Aggregation(each, by)
    model = Defended(noise, Linear(weights))
    assert model.passes == each
    seeds = draw_seeds(5, range(count), 0)
    right = model(images, seeds).argmax(1) == 1
    expected = []
    for margin in margins.tolist():
        spread = deviation * weights.norm().item()
        once = PHI(margin / spread)
        majority = [comb(each, k) * once**k * (1 - once) ** (each - k) for k in range(3, 6)]
        expected.append(PHI(margin * sqrt(each) / spread) if by == "mean" else sum(majority))
    error = sqrt(sum(p * (1 - p) for p in expected)) / count
    assert abs(right.float().mean().item() - sum(expected) / count) < 4 * error
    one = Defended(Noise(deviation), Linear(weights))
    assert abs(right.float().mean() - (one(images, seeds).argmax(1) == 1).float().mean()) > 0.02
    # In any batch, and behind BPDA.
    assert torch.equal(model(images[7:9], seeds[7:9]).argmax(1) == 1, right[7:9])
    bent = Defended(StraightThrough(noise), Linear(weights))
    torch.testing.assert_close(bent(images, seeds), model(images, seeds))


def test_votes_are_counted_and_ties_go_to_the_likelier_class() -> None:
    # Three draws: two say class 0 narrowly, one says class 1 strongly; then a tie of four.
    narrow, strong = torch.tensor([0.1, 0.0, -9.0]), torch.tensor([0.0, 50.0, -9.0])
    vote = Aggregation(3, "vote").logits(torch.stack([narrow, narrow, strong])[None])
    assert vote[0].argmax() == 0 and vote[0].floor().tolist() == [2, 1, 0]
    tie = Aggregation(4, "vote").logits(torch.stack([narrow, narrow, strong, strong])[None])
    assert tie[0].argmax() == 1 and tie[0].floor().tolist() == [2, 2, 0]
    mean = Aggregation(3).logits(torch.stack([narrow, narrow, strong])[None])
    assert mean[0].argmax() == 1
    one = torch.randn(4, 1, 6)
    assert torch.equal(Aggregation().logits(one), one[:, 0])


def test_the_gradient_of_a_vote_is_that_of_the_mean_probability() -> None:
    given = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    slopes = torch.randn(2, 3, dtype=torch.float64)
    made = Aggregation(4, "vote").logits(given)
    (gradient,) = torch.autograd.grad((made * slopes).sum(), given, retain_graph=True)
    log_mean = given.softmax(2).mean(1).log()
    (expected,) = torch.autograd.grad((log_mean * slopes).sum(), given)
    torch.testing.assert_close(gradient, expected)
    # Draws that are all sure have a gradient too.
    sure = torch.tensor([[[90.0, 0.0], [95.0, 0.0]]], requires_grad=True)
    made = Aggregation(2, "vote").logits(sure)
    (gradient,) = torch.autograd.grad(made[0, 0] - made[0, 1], sure)
    assert (gradient[0, :, 0] > 0.001).all()


def test_seeds_of_several_draws() -> None:
    seeds = draw_seeds(0, range(4), 0)
    several = Aggregation(3).seeds(seeds)
    assert torch.equal(several[:, 0], seeds) and len({*several.flatten().tolist()}) == 12
    assert torch.equal(Aggregation(5).seeds(seeds[2:])[:, :3], several[2:])
    assert torch.equal(Aggregation().seeds(seeds), seeds[:, None])
    # An attribute of that name which is none of ours.
    other = Noise(0.1)
    other.aggregation = "median"
    assert aggregation_of(other) == Aggregation()


# --- attacked


class Edge(nn.Module):
    """Logits by the difference of an image's halves; gray images have a margin of 0."""

    def forward(self, images: Tensor) -> Tensor:
        first, second = (half.mean((1, 2, 3)) for half in images.chunk(2, dim=3))
        return torch.stack([20 * first, 20 * second], dim=1)


@pytest.mark.parametrize("method", METHODS)
def test_white_box_and_bpda(method: str) -> None:
    """Those without a gradient refuse the white box, and by BPDA all of them are broken."""
    made = purifier(method, **METHODS[method])
    images = torch.full((4, *SHAPES[0]), 0.45)
    images[..., 14:] = 0.53
    labels = torch.tensor([1, 1, 1, 1])
    asked = {"indices": range(4), "seed": 0, "batch_size": 3}
    asked["settings"] = {"epsilon": 0.3, "step_size": 0.1, "iterations": 4}
    model = Edge()
    assert (model(images).argmax(1) == labels).all()
    if method in WITHOUT_GRADIENT:
        with pytest.raises(MaskedGradientError):
            run_attack("bim", attacked_model("white_box", made, model), images, labels, **asked)
    else:
        found = run_attack("bim", attacked_model("white_box", made, model), images, labels, **asked)
        assert found.success.all() and not found.zero_gradient.any()
    bent = attacked_model("white_box_bpda", made, model)
    assert run_attack("bim", bent, images, labels, **asked).success.all()


def test_each_is_of_this_list() -> None:
    """All built-in defences that learn nothing and have no generator."""
    found = {
        name
        for name, facts in defenses().items()
        if not {"learns_from", "generators"} & facts.stated.keys()
    }
    assert found == set(METHODS)
    assert all(class_that_states("purifiers", method=name) for name in METHODS)
