"""The losses that attacks climb, against values by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from purification.attacks.losses import (
    dlr,
    left,
    likeliest_others,
    log_error,
    log_odds_against,
    margin,
    targeted_dlr,
    targeted_margin,
)

# Falling: 5, 3, 2, -1; the label is the largest, the second and the last.
LOGITS = torch.tensor([[5.0, 2.0, 3.0, -1.0]] * 3)
LABELS = torch.tensor([0, 2, 3])


def test_values_by_hand() -> None:
    torch.testing.assert_close(margin(LOGITS, LABELS), torch.tensor([-2.0, 2.0, 6.0]))
    # Over 5 - 2.
    torch.testing.assert_close(dlr(LOGITS, LABELS), torch.tensor([-2 / 3, 2 / 3, 2.0]))
    targets = torch.tensor([3, 1, 2])
    torch.testing.assert_close(
        targeted_margin(LOGITS, LABELS, targets), torch.tensor([-6.0, -1.0, 4.0])
    )
    # Over 5 - (2 - 1) / 2.
    expected = torch.tensor([-6 / 4.5, -1 / 4.5, 4 / 4.5])
    torch.testing.assert_close(targeted_dlr(LOGITS, LABELS, targets), expected)
    others = math.log(math.exp(2) + math.exp(3) + math.exp(-1))
    assert log_odds_against(LOGITS, LABELS)[0].item() == pytest.approx(others - 5)
    assert left(LOGITS, LABELS).tolist() == [False, True, True]


def test_the_log_error_is_of_each_draw() -> None:
    logits = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(5)).double()
    labels = torch.arange(6) % 4
    p = logits.softmax(2).gather(2, labels[:, None, None].expand(6, 5, 1)).squeeze(2)
    torch.testing.assert_close(log_error(logits, labels), (1 - p).log().mean(1))
    torch.testing.assert_close(log_error(logits[:, 0], labels), (1 - p[:, 0]).log())
    # A confident classifier's p rounds to 1.
    sure = torch.tensor([[300.0, 0.0]], requires_grad=True)
    assert log_error(sure, torch.tensor([0])).item() == -300
    (slope,) = torch.autograd.grad(log_error(sure, torch.tensor([0])).sum(), sure)
    assert slope.tolist() == [[-1.0, 1.0]]


def test_few_classes_by_hand() -> None:
    """The ratios of fewer than 3 or 4 classes are the margin."""
    three, label = torch.tensor([[1.0, 4.0, 2.0]]), torch.tensor([1])
    assert dlr(three, label).item() == pytest.approx(-2 / 3)
    assert targeted_dlr(three, label, torch.tensor([0])).item() == -3
    two = torch.tensor([[1.0, 4.0]])
    assert dlr(two, label).item() == margin(two, label).item() == -3
    assert targeted_dlr(two, label, torch.tensor([0])).item() == -3


def test_log_odds_are_those_of_the_probability() -> None:
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(50) % 7
    p = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
    torch.testing.assert_close(log_odds_against(logits, labels), ((1 - p) / p).log())
    cross_entropy = functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(log_odds_against(logits, labels).exp().log1p(), cross_entropy)


def test_the_ratios_ignore_shift_and_scale() -> None:
    logits = torch.randn(20, 6, generator=torch.Generator().manual_seed(1)).double()
    labels = torch.arange(20) % 6
    targets = (labels + 1) % 6
    torch.testing.assert_close(dlr(100 * logits - 7, labels), dlr(logits, labels))
    moved = targeted_dlr(100 * logits - 7, labels, targets)
    torch.testing.assert_close(moved, targeted_dlr(logits, labels, targets))


def test_likeliest_others() -> None:
    assert likeliest_others(LOGITS, LABELS, 2).tolist() == [[2, 1], [0, 1], [0, 2]]
    assert likeliest_others(LOGITS, LABELS, 9).tolist() == [[2, 1, 3], [0, 1, 3], [0, 2, 1]]
    assert likeliest_others(torch.tensor([[1.0, 2.0]]), torch.tensor([1]), 3).tolist() == [[0]]


LOSSES = {
    "log_odds": lambda logits, labels, targets: log_odds_against(logits, labels),
    "margin": lambda logits, labels, targets: margin(logits, labels),
    "log_error": lambda logits, labels, targets: log_error(logits, labels),
    "dlr": lambda logits, labels, targets: dlr(logits, labels),
    "targeted_margin": targeted_margin,
    "targeted_dlr": targeted_dlr,
}


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 10])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_and_climb_away(name: str, classes: int) -> None:
    """Also at logits that are all equal, far apart or in ties. All are classified correctly: there
    no loss stands still, and differences of logits bring the label's down."""
    logits = torch.randn(40, classes, generator=torch.Generator().manual_seed(2))
    logits[0] = 0
    logits[1] = 1e4 * logits[1]
    logits[2] = logits[2].round()
    logits[3] = 1e-4 * logits[3]
    labels = logits.argmax(1)
    targets = (labels + 1 + torch.arange(40) % (classes - 1)) % classes
    assert (targets != labels).all()
    given = logits.clone().requires_grad_()
    loss = LOSSES[name](given, labels, targets)
    (slopes,) = torch.autograd.grad(loss.sum(), given)
    assert loss.isfinite().all()
    assert slopes.isfinite().all()
    assert (slopes != 0).any(1).all()
    fewest = {"dlr": 3, "targeted_dlr": 4}.get(name, 11)
    if classes < fewest:  # a ratio may grow with the label's logit, as its scale does
        assert (slopes.gather(1, labels[:, None]) < 0).all()
    # Row by row: the others of the batch change nothing.
    alone = torch.cat(
        [LOSSES[name](logits[i : i + 1], labels[i : i + 1], targets[i : i + 1]) for i in range(40)]
    )
    assert torch.equal(alone, loss.detach())


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_central_differences(name: str) -> None:
    logits = torch.randn(30, 6, generator=torch.Generator().manual_seed(3)).double()
    labels = torch.arange(30) % 6
    targets = (labels + 2) % 6
    step = torch.randn(30, 6, generator=torch.Generator().manual_seed(4)).double()

    def loss(logits: Tensor) -> Tensor:
        return LOSSES[name](logits, labels, targets)

    given = logits.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(loss(given).sum(), given)
    ahead, behind = loss(logits + 1e-6 * step), loss(logits - 1e-6 * step)
    torch.testing.assert_close(
        (slopes * step).sum(1), (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-8
    )
