"""FAB against pyautoattack's, the closed form and an optimiser's projections."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from pyautoattack.fab_pt import FABAttack_PT
from scipy.optimize import linprog, minimize
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

from purification.attacks import deepfool, fab, fab_l2, run_attack
from purification.attacks.losses import left
from purification.attacks.planes import to_plane

torch.set_num_threads(1)

FAB = {"linf": fab, "l2": fab_l2}
ORDER = {"linf": math.inf, "l2": 2.0}
EVERYTHING = {"linf": 1.0, "l2": 14.0}
"""The box as a ball around any image of 14x14 pixels."""
RANDOM = {"seed": 3, "indices": range(COUNT)}
BOTH_NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return digits_network()


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    return digits()


def lengths(change: Tensor, norm: str) -> Tensor:
    return torch.linalg.vector_norm(change.flatten(1), ord=ORDER[norm], dim=1)


# --- projection onto a plane in the box ---------------------------------------------------------


def shortest(point: np.ndarray, value: float, slope: np.ndarray, norm: str) -> float:
    """The length of the shortest step, by a general optimiser; inf if the box has none."""
    count, low, high = len(point), -point, 1 - point
    eye = np.eye(count)
    largest = -np.ones((count, 1))
    found = linprog(
        np.r_[np.zeros(count), 1],
        A_eq=[np.r_[slope, 0]],
        b_eq=[-value],
        A_ub=np.r_[np.c_[eye, largest], np.c_[-eye, largest]],
        b_ub=np.zeros(2 * count),
        bounds=[*zip(low, high, strict=True), (0, None)],
    )
    if not found.success:
        return math.inf
    if norm == "linf":
        return found.fun
    plane = {"type": "eq", "fun": lambda d: slope @ d + value, "jac": lambda d: slope}
    nearest = minimize(
        *(lambda d: d @ d, found.x[:-1]),
        jac=lambda d: 2 * d,
        bounds=[*zip(low, high, strict=True)],
        constraints=plane,
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return math.sqrt(nearest.fun)


@BOTH_NORMS
def test_steps_to_planes_are_the_shortest_in_the_box(norm: str) -> None:
    random = torch.Generator().manual_seed(0)
    points = torch.rand(40, 1, 2, 4, generator=random, dtype=torch.float64)
    points[::2, :, 0] = 0
    points[::3, :, 1, 0] = 1
    slopes = torch.randn(40, 1, 2, 4, generator=random, dtype=torch.float64)
    slopes[1, 0, 0, 1] = 0
    slopes[39] = 0
    values = 1.5 * torch.randn(40, generator=random, dtype=torch.float64)
    values[5], values[6] = 0, 50
    steps = to_plane(points, values, slopes, ORDER[norm])
    assert ((points + steps).min() >= -1e-12) and ((points + steps).max() <= 1 + 1e-12)
    after = values + (slopes * steps).flatten(1).sum(1)
    reached, bounded = 0, 0
    for i in range(40):
        flat = (x[i].flatten().numpy() for x in (points, slopes))
        point, slope = flat
        oracle = shortest(point, values[i].item(), slope, norm)
        if math.isinf(oracle):  # as far as the box goes
            direction = -values[i].sign() * slopes[i].sign()
            corner = torch.where(direction > 0, 1 - points[i], -points[i]) * (direction != 0)
            torch.testing.assert_close(steps[i], corner)
            continue
        reached += 1
        assert abs(after[i]) < 1e-9
        assert lengths(steps[i : i + 1], norm).item() == pytest.approx(oracle, abs=1e-6)
        free = values[i].abs() / torch.linalg.vector_norm(
            slopes[i].flatten(), ord=1 if norm == "linf" else 2
        )
        bounded += oracle > free.item() + 1e-6
    assert reached > 25 and bounded > 8 and reached < 39


# --- closed form --------------------------------------------------------------------------------


@BOTH_NORMS
@pytest.mark.parametrize("targeted", [True, False])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_distance_of_a_linear_model_is_the_closed_form(
    norm: str, targeted: bool, classes: int
) -> None:
    model = Linear(20, classes, seed=5)
    images = inner_images(40, 20, seed=6)
    labels = model(images).argmax(1)
    distances = distances_to_boundaries(model, images, labels, 1 if norm == "linf" else 2).amin(1)
    own = {"iterations": 10, "targeted": targeted, "seed": 3, "indices": range(40)}
    result = FAB[norm](model, images, labels, epsilon=1.0, **own)
    assert result.min() > 0 and result.max() < 1
    assert left(model(result), labels).all()
    found = lengths(result - images, norm)
    assert (found >= distances - 1e-9).all()
    assert (found <= distances * 1.0005 + 1e-9).all()
    # Bounded, what is left is exact, and what is farther is on the way there.
    epsilon = distances.median().item() * 1.001
    bounded = FAB[norm](model, images, labels, epsilon=epsilon, **own)
    near = found <= epsilon
    assert torch.equal(bounded[near], result[near])
    assert torch.equal(left(model(bounded), labels), near)
    assert lengths(bounded - images, norm)[~near].sub(epsilon).abs().max() < 1e-9


# --- pyautoattack -------------------------------------------------------------------------------


@BOTH_NORMS
@pytest.mark.parametrize("targeted", [True, False])
def test_distances_are_pyautoattacks(
    network: nn.Module, data: tuple[Tensor, Tensor], norm: str, targeted: bool
) -> None:
    images, labels = (x[:50] for x in data)
    own = {"iterations": 15, "targeted": targeted, "targets": 4, "seed": 3, "indices": range(50)}
    result = FAB[norm](network, images, labels, epsilon=EVERYTHING[norm], **own)
    assert left(network(result), labels).all()
    ours = lengths(result - images, norm)
    name = {"linf": "Linf", "l2": "L2"}[norm]
    oracle = FABAttack_PT(network, norm=name, n_iter=15, eps=EVERYTHING[norm], device="cpu")
    theirs = torch.full_like(ours, math.inf)
    for rank in range(2, 6) if targeted else [2]:
        oracle.target_class = rank
        with torch.random.fork_rng():
            found = oracle.attack_single_run(
                images, labels, use_rand_start=False, is_targeted=targeted
            )
        wrong = left(network(found), labels)
        theirs = torch.where(wrong, lengths(found - images, norm).minimum(theirs), theirs)
    theirs = theirs.where(left(network(images), labels).logical_not(), 0)
    assert theirs.isfinite().all()
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), rel=0.02)
    assert (ours > 0).sum() > 40
    assert ((ours - theirs).abs() <= 0.05 * theirs).float().mean() > 0.9


# --- what is returned ---------------------------------------------------------------------------


@BOTH_NORMS
def test_the_accuracy_left_is_that_of_the_smallest_norms(
    network: nn.Module, data: tuple[Tensor, Tensor], norm: str
) -> None:
    model, images, labels = copy.deepcopy(network).double(), data[0].double(), data[1]
    own = {"iterations": 8, "targets": 3, **RANDOM}
    smallest = FAB[norm](model, images, labels, epsilon=EVERYTHING[norm], **own)
    distances = lengths(smallest - images, norm)
    for share in (0.3, 0.6):
        epsilon = distances.quantile(share).item()
        result = FAB[norm](model, images, labels, epsilon=epsilon, **own)
        assert lengths(result - images, norm).max() <= epsilon + 1e-9
        near = distances <= epsilon
        torch.testing.assert_close(result[near], smallest[near], rtol=0, atol=1e-9)
        assert (left(model(result), labels) == near).float().mean() >= 0.99


def test_misclassified_images_stay_and_cost_one_pass(
    network: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    images = data[0]
    wrong = (network(images).argmax(1) + 1) % 10
    counting = Counting(network)
    result = fab(counting, images, wrong, epsilon=0.1, iterations=5, **RANDOM)
    assert torch.equal(result, images)
    assert (counting.forwards, counting.backwards) == (COUNT, 0)


def test_passes_are_as_stated(network: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    """Two forward passes and a backward pass a step and target; three of the final search, and one
    to know where it begins."""
    labels = network(data[0]).argmax(1)
    counting = Counting(network)
    fab(counting, data[0], labels, epsilon=0.1, iterations=4, targets=3, **RANDOM)
    assert counting.backwards == COUNT * 4 * 3
    assert COUNT * (1 + 2 * 4 * 3) < counting.forwards <= COUNT * (1 + 2 * 4 * 3 + 4)


def test_further_runs_find_nothing_farther(network: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    """They begin at random, and have to forget it: a tenth of the way to the image a step."""
    images, labels = (x[:40] for x in data)
    own: dict[str, Any] = {"epsilon": 14.0, "iterations": 20, "targeted": False, "seed": 3}
    own["indices"] = range(40)
    once, again = (fab_l2(network, images, labels, **own, restarts=n) for n in (1, 4))
    norms = [lengths(x - images, "l2") for x in (once, again)]
    assert (norms[1] <= norms[0] + 1e-3).all()
    assert (norms[1] < norms[0] - 1e-3).any()


def test_fab_in_l2_is_nearer_than_deepfool(network: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    ours = fab_l2(network, *data, epsilon=14.0, iterations=15, targets=3, **RANDOM) - data[0]
    theirs = deepfool(network, *data) - data[0]
    assert lengths(ours, "l2").mean() < lengths(theirs, "l2").mean()


@pytest.mark.parametrize("method", ["fab", "fab_l2"])
@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"restarts": 0}, {"targets": 0}])
def test_wrong_settings_are_refused(
    network: nn.Module, data: tuple[Tensor, Tensor], method: str, wrong: dict
) -> None:
    settings = {"epsilon": 0.1, "iterations": 2, **wrong}
    with pytest.raises(ValueError, match=f"{method}: .*at least 1"):
        run_attack(
            *(method, network, *data), indices=range(COUNT), seed=3, batch_size=9, settings=settings
        )
