"""Auto-PGD against pyautoattack's, a written-out run of one image, and the closed form."""

import copy
import math

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from test_attacks import Scale
from torch import Tensor, nn
from torch.nn import functional
from trained_digits import (
    COUNT,
    Counting,
    Linear,
    digits,
    digits_network,
    distances_to_boundaries,
    inner_images,
)

from purification.attacks import apgd, apgd_l2, pgd, run_attack
from purification.attacks.apgd import checkpoints
from purification.attacks.balls import Ball, L2Ball, LinfBall
from purification.attacks.losses import dlr, left, likeliest_others, margin, targeted_dlr

torch.set_num_threads(1)

APGD = {"linf": apgd, "l2": apgd_l2}
RANDOM = {"seed": 3, "indices": range(COUNT)}
BOTH_NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return digits_network()


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    return digits()


def lengths(change: Tensor, norm: str) -> Tensor:
    order = math.inf if norm == "linf" else 2
    return torch.linalg.vector_norm(change.flatten(1), ord=order, dim=1)


# --- pyautoattack -------------------------------------------------------------------------------


@BOTH_NORMS
@pytest.mark.parametrize("loss", ["cross_entropy", "dlr", "targeted_dlr"])
def test_as_many_are_left_as_under_pyautoattacks(
    network: nn.Module, data: tuple[Tensor, Tensor], norm: str, loss: str
) -> None:
    images, labels = data
    left_over = []
    for epsilon in (0.03, 0.05, 0.08) if norm == "linf" else (0.3, 0.5, 0.8):
        result = APGD[norm](
            network, images, labels, epsilon=epsilon, iterations=30, loss=loss, targets=4, **RANDOM
        )
        assert lengths(result - images, norm).max() <= epsilon + 1e-6
        given = {"n_iter": 30, "norm": {"linf": "Linf", "l2": "L2"}[norm], "eps": epsilon}
        if loss == "targeted_dlr":
            oracle = APGDAttack_targeted(network, **given, n_target_classes=4, device="cpu")
        else:
            name = {"cross_entropy": "ce", "dlr": "dlr"}[loss]
            oracle = APGDAttack(network, **given, loss=name, device="cpu")
        with torch.random.fork_rng():
            theirs = oracle.perturb(images, labels).detach()
        ours_left, theirs_left = (int((~left(network(x), labels)).sum()) for x in (result, theirs))
        assert abs(ours_left - theirs_left) <= 2, (epsilon, ours_left, theirs_left)
        left_over.append(ours_left)
    assert left_over[0] > left_over[1] > left_over[2]
    assert 90 > left_over[1] > 3


# --- algorithm 1, written out -------------------------------------------------------------------


def test_checkpoints_by_hand() -> None:
    """p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99."""
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(10) == [3, 5, 6, 7, 8, 9, 10]
    assert checkpoints(1) == [1]


def run_alone(
    model: nn.Module, image: Tensor, label: Tensor, ball: Ball, start: Tensor, steps: int, loss: str
) -> list[Tensor]:
    """The iterates of algorithm 1 in its own variables, up to the first that is misclassified, and
    as its loss the cross-entropy, not the log-odds."""
    target = likeliest_others(model(image), label, 1)[0]

    def f(x: Tensor) -> Tensor:
        logits = model(x)
        if loss == "cross_entropy":
            return functional.cross_entropy(logits, label)
        if loss == "targeted_dlr":
            return targeted_dlr(logits, label, target).sum()
        return {"dlr": dlr, "margin": margin}[loss](logits, label).sum()

    def climbed(x: Tensor, length: float) -> Tensor:
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(f(x), x)
        unit = slope.sign() if isinstance(ball, LinfBall) else slope / slope.norm()
        return ball.project(x.detach() + length * unit)

    eta, w_last = 2 * ball.epsilon, 0
    x = [ball.project(start)]
    x.append(climbed(x[0], eta))
    seen = list(x)
    values = [f(x[0]).item(), f(x[1]).item()]
    largest, at_largest = max(values), x[values.index(max(values))]
    largest_by_step = [values[0], largest]
    etas = {0: eta}
    rises = [values[1] > values[0]]
    for k in range(1, steps):
        z = climbed(x[k], eta)
        x.append(ball.project(x[k] + 0.75 * (z - x[k]) + 0.25 * (x[k] - x[k - 1])))
        seen.append(x[-1])
        values.append(f(x[-1]).item())
        rises.append(values[-1] > values[-2])
        if values[-1] > largest:
            largest, at_largest = values[-1], x[-1]
        largest_by_step.append(largest)
        if k in checkpoints(steps):
            etas[k] = eta
            few = sum(rises[w_last:k]) < 0.75 * (k - w_last)
            same = etas[w_last] == etas[k] and largest_by_step[w_last] == largest_by_step[k]
            if few or same:
                eta /= 2
                x[-1], values[-1] = at_largest, largest
            w_last = k
    wrong = [bool(left(model(point), label)) for point in seen]
    return seen[: wrong.index(True) + 1] if any(wrong) else seen


@BOTH_NORMS
@pytest.mark.parametrize("loss", ["cross_entropy", "dlr", "targeted_dlr", "margin"])
def test_it_is_algorithm_1(
    network: nn.Module, data: tuple[Tensor, Tensor], norm: str, loss: str
) -> None:
    model, images, labels = copy.deepcopy(network).double(), data[0][:20].double(), data[1][:20]
    epsilon = {"linf": 0.03, "l2": 0.4}[norm]
    kind = {"linf": LinfBall, "l2": L2Ball}[norm]
    counting = Counting(model)
    result = APGD[norm](
        *(counting, images, labels),
        **{"epsilon": epsilon, "iterations": 20, "loss": loss, "targets": 1},
        **{"seed": 3, "indices": range(20)},
    )
    forwards = backwards = halvings = 0
    for i in range(20):
        image, label = images[i : i + 1], labels[i : i + 1]
        forwards += 1
        if bool(left(model(image), label)):
            assert torch.equal(result[i : i + 1], image)
            continue
        ball = kind(image, epsilon)
        seen = run_alone(model, image, label, ball, ball.random(3, [i]), 20, loss)
        forwards += len(seen)
        backwards += min(len(seen), 20)
        if bool(left(model(seen[-1]), label)):
            best = seen[-1]
        else:
            halvings += 1
            values = [
                (
                    functional.cross_entropy
                    if loss == "cross_entropy"
                    else dlr
                    if loss == "dlr"
                    else margin
                )(model(x), label)
                .sum()
                .item()
                for x in [image, *seen]
            ]
            best = [image, *seen][values.index(max(values))]
        torch.testing.assert_close(result[i : i + 1], best, rtol=0, atol=1e-8)
    assert 3 < halvings < 18, "both some that went to the end and some that stopped"
    assert (counting.forwards, counting.backwards) == (forwards, backwards)


# --- closed form --------------------------------------------------------------------------------


@BOTH_NORMS
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("loss", ["cross_entropy", "dlr", "targeted_dlr", "margin"])
def test_what_is_left_of_a_linear_model_is_the_closed_form(
    norm: str, classes: int, loss: str
) -> None:
    """Where the box is not in the way. An untargeted loss may climb to another class than the
    nearest, so that it is held to it with two classes alone."""
    model = Linear(20, classes, seed=5)
    images = inner_images(40, 20, seed=6)
    labels = model(images).argmax(1)
    nearest = distances_to_boundaries(model, images, labels, 1 if norm == "linf" else 2).amin(1)
    epsilon = nearest.median().item()
    result = APGD[norm](
        *(model, images, labels),
        **{"epsilon": epsilon, "iterations": 40, "loss": loss, "seed": 3, "indices": range(40)},
    )
    assert lengths(result - images, norm).max() <= epsilon + 1e-9
    assert result.min() > 0 and result.max() < 1
    sure = (nearest - epsilon).abs() > 1e-3 * epsilon
    broken = left(model(result), labels)
    if loss == "targeted_dlr" or classes == 2:
        assert torch.equal(broken[sure], (nearest < epsilon)[sure])
    else:
        assert not broken[sure & (nearest > epsilon)].any()
        assert broken.sum() >= 0.7 * (nearest < epsilon).sum()


# --- what it is for -----------------------------------------------------------------------------


def test_it_is_no_weaker_than_pgd_of_as_many_passes(
    network: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    for epsilon in (0.03, 0.05, 0.08):
        settings = {"epsilon": epsilon, "iterations": 40}
        weak, ours, targeted = (
            int((~left(network(x), data[1])).sum())
            for x in (
                pgd(network, *data, **settings, **RANDOM),
                apgd(network, *data, **settings, **RANDOM),
                apgd(network, *data, **settings, **RANDOM, loss="targeted_dlr"),
            )
        )
        assert targeted <= ours <= weak + 1


def test_it_moves_images_of_a_network_that_is_certain_in_float32(
    network: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    certain = nn.Sequential(network, Scale(1000.0))
    settings = {"epsilon": 0.05, "iterations": 20}
    plain, scaled = (
        left(network(apgd(model, *data, **settings, **RANDOM)), data[1])
        for model in (network, certain)
    )
    assert (plain != scaled).sum() <= 1


def test_restarts_go_on_with_survivors_alone(
    network: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    once, twice = Counting(network), Counting(network)
    settings = {"epsilon": 0.05, "iterations": 10, "loss": "dlr"}
    first = apgd(once, *data, **settings, **RANDOM)
    second = apgd(twice, *data, **settings, **RANDOM, restarts=2)
    broken = left(network(first), data[1])
    assert torch.equal(first[broken], second[broken])
    survivors = int((~broken).sum())
    assert 20 < survivors < 80
    assert once.forwards < twice.forwards <= once.forwards + 11 * survivors
    assert not torch.equal(first, second)


@pytest.mark.parametrize("method", ["apgd", "apgd_l2"])
@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"loss": "ce"}, "loss must be one of cross_entropy, dlr, margin, targeted_dlr; got 'ce'"),
        ({"iterations": 0}, "at least 1"),
        ({"targets": 0}, "at least 1"),
        ({"restarts": 0}, "at least 1"),
        ({"epsilon": -0.1}, "epsilon must not be negative"),
    ],
)
def test_wrong_settings_are_refused(
    network: nn.Module, data: tuple[Tensor, Tensor], method: str, wrong: dict, complaint: str
) -> None:
    settings = {"epsilon": 0.1, "iterations": 2, **wrong}
    with pytest.raises(ValueError, match=f"{method}: .*{complaint}"):
        run_attack(
            *(method, network, *data), indices=range(COUNT), seed=3, batch_size=9, settings=settings
        )
