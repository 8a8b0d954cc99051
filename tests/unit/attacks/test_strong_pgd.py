"""PGD's further settings in both norms, and the warning of steps that cannot cross the ball."""

import copy
import inspect
import math
from itertools import pairwise
from typing import Any

import foolbox
import pytest
import torch
import yaml
from test_attacks import Scale, foolbox_model
from torch import Tensor, nn
from trained_digits import (
    COUNT,
    Counting,
    Linear,
    digits,
    digits_network,
    distances_to_boundaries,
    inner_images,
)

from purification.attacks import ATTACKS, input_gradient, pgd, pgd_l2, run_attack
from purification.attacks.balls import L2Ball
from purification.attacks.losses import (
    dlr,
    left,
    likeliest_others,
    log_odds_against,
    margin,
    targeted_margin,
)
from purification.attacks.noise import per_image_noise
from purification.facts import decorated
from purification.randomness import derive_seed
from purification.reach import step_sizes, too_short

torch.set_num_threads(1)

EPSILON = {"linf": 0.05, "l2": 0.5}
RANDOM = {"seed": 3, "indices": range(COUNT)}
PGD = {"linf": pgd, "l2": pgd_l2}
BOTH_NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return digits_network()


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    return digits()


def right(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return ~left(model(images), labels)


def lengths(change: Tensor, norm: str) -> Tensor:
    order = math.inf if norm == "linf" else 2
    return torch.linalg.vector_norm(change.flatten(1), ord=order, dim=1)


# --- what stays ---------------------------------------------------------------------------------


def test_the_defaults_are_the_plain_loop_to_the_bit(
    network: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    images, labels = data
    low, high = (images - 0.05).clamp(min=0), (images + 0.05).clamp(max=1)
    noise = per_image_noise(torch.rand, images, 3, range(COUNT))
    current = (images + 0.05 * (2 * noise - 1)).clamp(low, high)
    for _ in range(7):
        signs = input_gradient(network, current, labels).sign()
        current = (current + 0.011 * signs).clamp(low, high)
    settings = {"epsilon": 0.05, "step_size": 0.011, "iterations": 7}
    assert torch.equal(pgd(network, images, labels, **settings, **RANDOM), current)


def test_stated_defaults_are_those_of_the_functions() -> None:
    """Recipes leave them out: what is stated is what is done."""
    checked = 0
    for name, facts in decorated("attacks").items():
        parameters = inspect.signature(ATTACKS[name].function).parameters
        for key, value in facts.defaults.items():
            assert parameters[key].default == value, (name, key)
            checked += 1
    assert checked > 20


# --- the l2 ball --------------------------------------------------------------------------------


def test_pgd_l2_equals_foolboxs_from_the_same_start(
    network: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    """Foolbox clips to the ball and the box in this order too."""
    model, images, labels = copy.deepcopy(network).double(), data[0].double(), data[1]
    oracle_attack = foolbox.attacks.L2ProjectedGradientDescentAttack(
        abs_stepsize=0.15, steps=6, random_start=False
    )
    _, oracle, _ = oracle_attack(foolbox_model(model), images, labels, epsilons=0.5)
    settings = {"epsilon": 0.5, "step_size": 0.15, "iterations": 6, "start": "image"}
    result = pgd_l2(model, images, labels, **settings, **RANDOM)
    torch.testing.assert_close(result, oracle, rtol=0, atol=1e-9)
    assert (result != images).flatten(1).any(1).all()


def test_the_ball_holds_after_the_box(data: tuple[Tensor, Tensor]) -> None:
    images = data[0]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    reached = L2Ball(images, 0.7).project(images + noise)
    assert reached.min() == 0 and reached.max() == 1
    found = lengths(reached - images, "l2")
    assert found.max() <= 0.7 + 1e-6
    assert found.min() < 0.65, "the box has cut some"
    inside = images.clamp(0.3, 0.7)
    moved = inside + 1e-3 * noise
    torch.testing.assert_close(L2Ball(inside, 0.7).project(moved), moved)
    torch.testing.assert_close(
        lengths(L2Ball(inside, 0.1).project(inside + noise) - inside, "l2"),
        torch.full((COUNT,), 0.1),
    )
    assert torch.equal(L2Ball(images, 0.0).project(images), images)


def test_l2_starts_are_uniform_in_the_ball() -> None:
    images = torch.full((2000, 1, 1, 3), 0.5)
    starts = L2Ball(images, 0.2).random(7, range(2000)) - images
    radii = lengths(starts, "l2") / 0.2
    assert radii.max() <= 1
    # The cube of a uniform radius in three dimensions is uniform: mean 1/2, deviation 0.006.
    assert (radii**3).mean().item() == pytest.approx(0.5, abs=0.03)
    assert (starts.mean(0).abs() < 0.01).all()
    again = L2Ball(images[:2], 0.2).random(7, [5, 1999]) - images[:2]
    assert torch.equal(again, starts[[5, 1999]])


@BOTH_NORMS
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("loss", ["log_odds", "margin", "dlr", "targeted"])
def test_what_is_left_of_a_linear_model_is_the_closed_form(
    norm: str, classes: int, loss: str
) -> None:
    """The box is not in the way. Enough runs for each class; untargeted ones may climb to another
    class than the nearest, so that they are held to it with two classes alone."""
    model = Linear(20, classes, seed=5)
    images = inner_images(40, 20, seed=6)
    labels = model(images).argmax(1)
    nearest = distances_to_boundaries(model, images, labels, 1 if norm == "linf" else 2).amin(1)
    epsilon = nearest.median().item()
    settings = {"epsilon": epsilon, "iterations": 60, "schedule": "cosine", "loss": loss}
    settings |= {"start": "image", "keep": "first_success", "restarts": classes}
    reached = PGD[norm](
        *(model, images, labels), **settings, step_size=epsilon, seed=3, indices=range(40)
    )
    assert lengths(reached - images, norm).max() <= epsilon + 1e-9
    assert reached.min() > 0 and reached.max() < 1
    # The image of median distance lies on the ball.
    sure = (nearest - epsilon).abs() > 1e-3 * epsilon
    broken = left(model(reached), labels)
    if loss == "targeted" or classes == 2:
        assert torch.equal(broken[sure], (nearest < epsilon)[sure])
    else:
        assert not broken[sure & (nearest > epsilon)].any()
        assert broken.sum() >= 0.7 * (nearest < epsilon).sum()


# --- the written-out form -----------------------------------------------------------------------

LOSSES = {"log_odds": log_odds_against, "margin": margin, "dlr": dlr}


def climbed_alone(
    model: nn.Module, image: Tensor, label: Tensor, norm: str, loss: str, index: int
) -> tuple[Tensor, int]:
    """Two runs of one image as the docstring of `pgd` has them, with momentum, cosine, a random
    start and the worst iterate, looked at one by one; and the images that were looked at."""
    epsilon, seen = EPSILON[norm], [image]
    other = likeliest_others(model(image), label, 2)[0]
    for run in range(2):
        seed = 3 if run == 0 else derive_seed(3, "restart", "1")
        if norm == "linf":
            low, high = (image - epsilon).clamp(min=0), (image + epsilon).clamp(max=1)
            noise = per_image_noise(torch.rand, image, seed, [index])
            current = (image + epsilon * (2 * noise - 1)).clamp(low, high)
        else:
            ball = L2Ball(image, epsilon)
            current = ball.project(ball.random(seed, [index]))
        gathered = torch.zeros_like(image)
        for step in range(5):
            seen.append(current)
            x = current.clone().requires_grad_()
            logits = model(x)
            if loss == "targeted":
                value = targeted_margin(logits, label, other[run : run + 1])
            else:
                value = LOSSES[loss](logits, label)
            (slope,) = torch.autograd.grad(value.sum(), x)
            length = 0.4 * epsilon * (0.05 + 0.95 * (1 + math.cos(math.pi * step / 4)) / 2)
            if norm == "linf":
                gathered = 0.75 * gathered + slope / slope.abs().sum()
                current = (current + length * gathered.sign()).clamp(low, high)
            else:
                gathered = 0.75 * gathered + slope / slope.norm()
                current = ball.project(current + length * gathered / gathered.norm())
        seen.append(current)
    measure = LOSSES.get(loss, margin)
    ranks = [(bool(left(model(x), label)), measure(model(x), label).item()) for x in seen]
    return seen[max(range(len(seen)), key=ranks.__getitem__)], len(seen)


@BOTH_NORMS
@pytest.mark.parametrize("loss", ["log_odds", "margin", "dlr", "targeted"])
def test_the_settings_together_are_their_written_out_form(
    network: nn.Module, data: tuple[Tensor, Tensor], norm: str, loss: str
) -> None:
    model, images, labels = copy.deepcopy(network).double(), data[0][:15].double(), data[1][:15]
    settings = {"epsilon": EPSILON[norm], "step_size": 0.4 * EPSILON[norm], "iterations": 5}
    settings |= {"restarts": 2, "momentum": 0.75, "schedule": "cosine", "keep": "worst"}
    counting = Counting(model)
    own = {"loss": loss, "seed": 3, "indices": range(15)}
    result = PGD[norm](counting, images, labels, **settings, **own)
    for i in range(15):
        alone, looks = climbed_alone(model, images[i : i + 1], labels[i : i + 1], norm, loss, i)
        torch.testing.assert_close(result[i : i + 1], alone, rtol=0, atol=1e-9)
    assert (counting.forwards, counting.backwards) == (15 * looks, 15 * 10)


def test_cosine_and_the_length_that_is_left_out() -> None:
    given = step_sizes(0.1, 0.04, 25, "cosine")
    assert given[0] == pytest.approx(0.04) and given[-1] == pytest.approx(0.002)
    assert given == sorted(given, reverse=True)
    assert step_sizes(0.1, 0.03, 4, "constant") == [0.03] * 4
    assert step_sizes(0.1, None, 40, "constant") == pytest.approx([2.5 * 0.1 / 40] * 40)
    assert sum(step_sizes(0.1, None, 40, "cosine")) == pytest.approx(0.25)
    assert step_sizes(0.1, 0.03, 1, "cosine") == [0.03]


# --- what stops, and what is kept ---------------------------------------------------------------


@BOTH_NORMS
def test_the_first_success_ends_an_image(
    network: nn.Module, data: tuple[Tensor, Tensor], norm: str
) -> None:
    """It is the first misclassified iterate of a run that goes on otherwise; the passes are those
    up to there; and nothing is looked at again in a further run."""
    images, labels = data
    settings = {"epsilon": EPSILON[norm], "iterations": 10, "start": "image"}
    iterates = [
        PGD[norm](
            network,
            images,
            labels,
            **settings | {"iterations": n},
            **RANDOM,
            step_size=0.2 * EPSILON[norm],
        )
        for n in range(1, 11)
    ]
    iterates = [images, *iterates]
    wrong = torch.stack([~right(network, x, labels) for x in iterates])
    first = torch.where(wrong.any(0), wrong.int().argmax(0), 10)
    assert 20 < wrong.any(0).sum() < 95
    counting = Counting(network)
    result = PGD[norm](
        *(counting, images, labels),
        **settings,
        **RANDOM,
        step_size=0.2 * EPSILON[norm],
        keep="first_success",
    )
    stopped = wrong.any(0)
    for i in stopped.nonzero().flatten().tolist():
        torch.testing.assert_close(result[i], iterates[first[i]][i], rtol=0, atol=1e-5)
    looks = torch.where(stopped, first + 1, 11)
    assert abs(counting.forwards - int(looks.sum())) <= 2  # of other batches, rounding may decide
    more = Counting(network)
    again = PGD[norm](
        *(more, images, labels),
        **settings,
        **RANDOM,
        step_size=0.2 * EPSILON[norm],
        keep="first_success",
        restarts=2,
    )
    torch.testing.assert_close(again[stopped], result[stopped])
    survivors = int((~stopped).sum())
    assert counting.forwards < more.forwards <= counting.forwards + 11 * survivors + 2


@BOTH_NORMS
def test_worse_is_kept(network: nn.Module, data: tuple[Tensor, Tensor], norm: str) -> None:
    images, labels = data
    settings = {"epsilon": EPSILON[norm], "step_size": 3 * EPSILON[norm], "iterations": 6}
    last, worst = (
        PGD[norm](network, images, labels, **settings, **RANDOM, keep=keep)
        for keep in ("last", "worst")
    )
    losses = [log_odds_against(network(x), labels) for x in (last, worst)]
    errs = [left(network(x), labels) for x in (last, worst)]
    assert not (errs[0] & ~errs[1]).any()
    alike = errs[0] == errs[1]
    assert (losses[1] >= losses[0] - 1e-4)[alike].all()
    assert (losses[1] > losses[0] + 1e-3).sum() > 5, "steps this long overshoot"


@pytest.mark.parametrize("keep", ["last", "worst", "first_success"])
def test_more_restarts_leave_no_more(
    network: nn.Module, data: tuple[Tensor, Tensor], keep: str
) -> None:
    settings = {"epsilon": 0.05, "step_size": 0.02, "iterations": 4, "keep": keep}
    results = [
        pgd(network, *data, **settings, **RANDOM, restarts=restarts) for restarts in (1, 2, 6)
    ]
    broken = [~right(network, result, data[1]) for result in results]
    for fewer, more in pairwise(broken):
        assert not (fewer & ~more).any()
    losses = [log_odds_against(network(result), data[1]) for result in results]
    if keep != "first_success":
        both = broken[0] == broken[2]
        assert (losses[2] >= losses[0] - 1e-4)[both].all()
    assert (losses[2] > losses[0] + 1e-4).sum() > 20


def test_targets_of_two_classes_come_round_from_random_starts() -> None:
    """From the image a second run towards the only other class would be the first one again."""
    model = Linear(20, 2, seed=5)
    images = inner_images(10, 20, seed=6)
    labels = model(images).argmax(1)
    far = distances_to_boundaries(model, images, labels, 1).amin().item() / 2
    settings = {"epsilon": far, "step_size": far / 8, "iterations": 3, "loss": "targeted"}
    settings |= {"start": "image", "keep": "worst"}
    own = {"seed": 3, "indices": range(10)}
    once, twice = (
        pgd(model, images, labels, **settings, **own, restarts=restarts) for restarts in (1, 20)
    )
    assert not torch.equal(once, twice)
    assert (margin(model(twice), labels) >= margin(model(once), labels)).all()


def test_a_certain_network_is_attacked_as_a_doubtful_one(
    network: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    certain = nn.Sequential(network, Scale(1000.0))
    settings = {"epsilon": 0.05, "iterations": 10, "loss": "dlr", "keep": "first_success"}
    ours, scaled = (pgd(model, *data, **settings, **RANDOM) for model in (network, certain))
    broken = [~right(network, x, data[1]) for x in (ours, scaled)]
    assert (broken[0] != broken[1]).sum() <= 1
    assert broken[0].sum() > 20


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pgd", "pgd_l2"])
@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (
            {"loss": "cw"},
            "loss must be one of log_odds, margin, dlr, log_error, targeted; got 'cw'",
        ),
        ({"schedule": "linear"}, "schedule must be one of constant, cosine"),
        ({"start": "zero"}, "start must be one of random, image"),
        ({"keep": "best"}, "keep must be one of last, worst, first_success"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"momentum": 1.0}, "momentum from 0 to below 1"),
        ({"step_size": 0.0}, "step_size must be positive"),
    ],
)
def test_wrong_settings_are_refused(
    network: nn.Module,
    data: tuple[Tensor, Tensor],
    method: str,
    wrong: dict[str, Any],
    complaint: str,
) -> None:
    settings = {"epsilon": 0.1, "iterations": 2, **wrong}
    with pytest.raises(ValueError, match=f"{method}: .*{complaint}"):
        run_attack(
            *(method, network, *data), indices=range(COUNT), seed=3, batch_size=9, settings=settings
        )


def test_a_step_left_out_is_in_units_of_the_range(
    network: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    common = {"indices": range(COUNT), "seed": 3, "batch_size": 50}
    results = [
        run_attack("pgd", network, *data, **common, settings={"iterations": 5, **own}).images
        for own in (
            {"epsilon": 0.1},
            {"epsilon": 0.1, "step_size": None},
            {"epsilon": 0.2, "pixel_range": [-1, 1]},
            {"epsilon": 0.2, "step_size": None, "pixel_range": [-1, 1]},
            {"epsilon": 0.1, "step_size": 0.05},
        )
    ]
    for result in results[1:]:
        assert torch.equal(result, results[0])


# --- steps that cannot cross the ball -----------------------------------------------------------

CROSSING = {
    "default config": ("pgd", {"step_size": 0.0033, "iterations": 40}, "0.132", "0.2"),
    "Madry's": ("pgd", {"epsilon": 0.3, "step_size": 0.01, "iterations": 40}, "0.4", "0.6"),
    "bim": ("bim", {"step_size": 0.009, "iterations": 10}, "0.09", "0.1"),
    "mim": ("mim", {"step_size": 0.009, "iterations": 10, "momentum": 1.0}, "0.09", "0.1"),
    "cosine": ("pgd", {"step_size": 0.01, "iterations": 20, "schedule": "cosine"}, "0.105", "0.2"),
    "from the image": (
        "pgd",
        {"step_size": 0.009, "iterations": 10, "start": "image"},
        "0.09",
        "0.1",
    ),
    "l2": ("pgd_l2", {"epsilon": 2.0, "step_size": 0.1, "iterations": 20}, "2", "4"),
}


@pytest.mark.parametrize("name", CROSSING)
def test_steps_that_cannot_cross_the_ball_are_told(name: str) -> None:
    """With what would suffice, which does: as it is written, and no less."""
    method, settings, travels, must = CROSSING[name]
    settings = {"epsilon": 0.1, **settings}
    told = str(short := too_short(method, settings))
    assert f"travel {travels} at most" in told and f"up to {must} to the far side" in told
    ways_out = [yaml.safe_load(text) for text in short.ways_out]
    changes = [way for way in ways_out if isinstance(way, dict)]
    assert {key for way in changes for key in way} >= {"step_size", "iterations"}
    for change in changes:
        assert too_short(method, settings | change) is None
    few, small = changes[1]["iterations"] - 1, changes[0]["step_size"] * 0.98
    for change in ({"iterations": few}, {"step_size": small}):
        assert too_short(method, settings | change) is not None
    chosen = {key: value for key, value in settings.items() if key != "step_size"}
    assert (method.startswith("pgd")) == any(isinstance(way, str) for way in ways_out)
    if method.startswith("pgd"):
        assert too_short(method, chosen) is None
    starts = {"start": "image"} in changes
    can_start = method.startswith("pgd") and settings.get("start") != "image"
    assert starts == (can_start and too_short(method, settings | {"start": "image"}) is None)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("pgd", {"iterations": 40}),
        ("pgd", {"iterations": 40, "schedule": "cosine"}),
        ("pgd", {"iterations": 40, "step_size": 0.005}),
        ("pgd", {"iterations": 40, "step_size": 0.0033, "start": "image"}),
        ("pgd", {"iterations": 40, "step_size": 0.005, "pixel_range": [-1, 1]}),
        ("bim", {"iterations": 40, "step_size": 0.0025}),
        ("apgd", {"iterations": 40}),
        ("fgsm", {}),
        ("mine:attack", {"iterations": 1, "step_size": 0.001}),
    ],
)
def test_steps_that_can_are_not(method: str, settings: dict[str, Any]) -> None:
    assert too_short(method, {"epsilon": 0.1, **settings}) is None
