"""`evaluate` against closed forms; what a report says; what is refused before the work."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purification import Defended, Purifier, Report, evaluate
from purification.api.budgets import BUDGETS, stages_of
from purification.attacks import find_attack
from purification.evaluation.flags import MEANINGS
from purification.guests import GuestError
from purification.randomness import normal_of, uniform_of

SHAPE, COUNT = (1, 4, 4), 40


class Linear(nn.Module):
    """Two classes, of logits 0 and w.x + b."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.weights = nn.Parameter(torch.randn(16, generator=random))

    def forward(self, images: Tensor) -> Tensor:
        value = (images.flatten(1) - 0.5) @ self.weights
        return torch.stack([torch.zeros_like(value), value], dim=1)


class Shrink(Purifier):
    """Moves every pixel halfway to grey: behind it a linear model is half as steep."""

    def forward(self, images: Tensor) -> Tensor:
        return 0.25 + images / 2


class Noisy(Purifier):
    """Adds noise of its own to each image in each evaluation."""

    RANDOMISED = True

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        noise = normal_of(seeds, images.shape[1:]).to(images)
        return (images + self.deviation * noise).clamp(0, 1)


def some() -> tuple[Tensor, Tensor]:
    """Images away from 0 and 1, with the labels of `Linear`, of which each fifth is wrong."""
    random = torch.Generator().manual_seed(1)
    images = 0.2 + 0.6 * torch.rand(COUNT, *SHAPE, generator=random)
    labels = Linear()(images).argmax(dim=1)
    labels[::5] = 1 - labels[::5]
    return images, labels


def evaluated(model: nn.Module, **changed: Any) -> Report:
    images, labels = some()
    settings = {"epsilon": 0.05, "progress": False} | changed
    return evaluate(model, images, labels, **settings)


def within_reach(norm: str, epsilon: float) -> Tensor:
    """Images that are right and that no change in the ball makes wrong, of a linear model."""
    images, labels = some()
    weights = Linear().weights.detach()
    value = (images.flatten(1) - 0.5) @ weights
    dual = torch.linalg.vector_norm(weights, ord=1 if norm == "linf" else 2)
    right = (value > 0).long() == labels
    return right & (value.abs() > epsilon * dual)


@pytest.fixture(scope="module")
def report() -> Report:
    """Of a linear model behind a purifier."""
    return evaluated(Defended(Shrink(), Linear()), budget="quick")


def is_the_closed_form(report: Report, left: Tensor) -> None:
    assert 5 < left.sum() < 25
    assert torch.equal(~report.broken, left)
    assert report.accuracy == left.sum().item() / COUNT
    assert report.ci_low < report.accuracy < report.ci_high
    assert report.clean_accuracy == 0.8 and report.n == COUNT
    assert report.frame["accuracy"].iloc[0] == 0.8
    assert report.frame["accuracy"].iloc[-1] == report.accuracy
    change = (report.images - some()[0]).flatten(1)
    order = math.inf if report.norm == "linf" else 2
    reached = torch.linalg.vector_norm(change, ord=order, dim=1)
    assert reached.max() <= report.epsilon + 1e-5
    assert report.flags == ()


def test_of_a_linear_model_the_worst_case_is_the_closed_form(report: Report) -> None:
    """The purifier's derivative is a half everywhere, and no ball is cut by the range of a pixel:
    behind it the same images fall."""
    is_the_closed_form(report, within_reach("linf", 0.05))
    boxes = {"clean", "white_box", "white_box_bpda", "gray_box"}
    assert {*report.frame["threat_model"]} == boxes


def test_a_plain_classifier_in_the_l2_ball_too() -> None:
    report = evaluated(Linear(), norm="l2", epsilon=0.15)
    is_the_closed_form(report, within_reach("l2", 0.15))
    # Each attack once, on all of the model.
    assert {*report.frame["threat_model"]} == {"clean", "white_box"}
    assert not report.frame["attack"].duplicated().any()


def test_budgets_are_the_default_cascade_made_shorter_and_longer() -> None:
    def passes(budget: str, **kind: bool) -> list[int]:
        stages = stages_of(budget, "linf", 0.3, **kind)
        return [
            s.get("iterations", s.get("queries", 1))
            * s.get("restarts", 1)
            * s.get("expectation", 1)
            for s in (attack["settings"] for attack, *_ in stages)
        ]

    for kind in ({"purifies": True, "drawn": False}, {"purifies": True, "drawn": True}):
        quick, standard, full = (sum(passes(budget, **kind)) for budget in BUDGETS)
        assert 2 * quick < standard and 2 * standard < full
    # Lengths are in proportion to epsilon; at the config's own they are the config's.
    ((attack, *_), *_) = [s for s in stages_of("standard", "linf", 0.1, purifies=True, drawn=False)
                         if s[0]["name"] == "cascade_pgd_margin"]  # fmt: skip
    assert attack["settings"]["step_size"] == 0.04 and attack["settings"]["epsilon"] == 0.1
    for spec, *_ in stages_of("full", "l2", 2.0, purifies=True, drawn=False):
        assert spec["method"].endswith("_l2") and spec["settings"]["epsilon"] == 2.0
        assert spec["settings"].get("step_size", 0.8) == pytest.approx(0.8)
        allowed = {*find_attack(spec["method"]).settings, "labels"}
        assert {*spec["settings"]} <= allowed


def test_a_randomised_purifier_is_judged_on_draws_that_no_attack_saw() -> None:
    """Noise that drowns every attack: what selection by luck would make of it is far less."""
    model, (images, labels) = Defended(Noisy(0.6), Linear()), some()
    few = {"epsilon": 0.05, "budget": "quick", "progress": False}
    report = evaluate(model, images[:12], labels[:12], **few)
    assert list(report.protocols["protocol"]) == ["one_shot", "evaluations"]
    assert {*report.protocols["draws"]} == {5}
    one_shot, every = report.protocols["accuracy"]
    assert report.accuracy == one_shot > every
    assert report.spread is not None
    assert "randomised" in report.flags
    assert "judged on fresh draws" in report.markdown()
    assert "right in all of 5" in report.markdown()
    # The same call, the same numbers: draws that other calls have taken do not matter.
    model(images)
    again = evaluate(model, images[:12], labels[:12], batch_size=7, **few)
    assert torch.equal(again.images, report.images)
    assert again.protocols.equals(report.protocols)


class NoisyLinear(Linear):
    """A randomised model that is no `Defended`; `by` makes noise (N, 16) of images and seeds."""

    randomised = True

    def __init__(self, by: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.by = by

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        return super().forward(images + 0.1 * self.by(images, seeds).view_as(images))


def test_a_randomised_model_without_a_purifier_is_tried_on_its_seeds() -> None:
    images, labels = (of[:6] for of in some())
    few: dict[str, Any] = {"epsilon": 0.05, "budget": "quick", "progress": False}
    report = evaluate(NoisyLinear(lambda x, s: normal_of(s, (16,)).to(x)), images, labels, **few)
    assert list(report.protocols["protocol"]) == ["one_shot", "evaluations"]
    for by, complaint in (
        (lambda x, s: normal_of(s, (16,)).to(x).cumsum(0), "each image and its seed alone"),
        (lambda x, s: torch.randn(len(x), 16), "each image and its seed alone"),
        (lambda x, s: 0 * x, "NoisyLinear is randomised and returned the same"),
    ):
        with pytest.raises(GuestError, match=complaint):
            evaluate(NoisyLinear(by), images, labels, **few)
    behind = Defended(Shrink(), NoisyLinear(lambda x, s: 0 * x))
    with pytest.raises(GuestError, match="fails on images"):
        evaluate(behind, images, labels, **few)


class Masked(nn.Module):
    """Right on these images, without any gradient."""

    def forward(self, images: Tensor) -> Tensor:
        return Linear()(images.detach().round(decimals=2)) + 0 * images.sum()


def test_a_report_says_what_speaks_against_its_attacks(capsys: pytest.CaptureFixture[str]) -> None:
    report = evaluated(Masked(), budget="quick")
    assert {"zero_gradient", "queries_beat_gradients"} <= {*report.flags}
    assert report.checks["zero_gradient_share"] == 1.0
    page = report.markdown()
    for flag in report.flags:
        assert f"- `{flag}`: {MEANINGS[flag]}" in page
    refused = report.frame[report.frame["refused"].notna()]
    assert {*refused["attack"]} == {"pgd_margin", "apgd", "pgd_margin (doubled)"}
    assert "zero for all" in page or "gradient" in refused["refused"].iloc[0]
    assert str(report) == report._repr_markdown_() == page
    printed = capsys.readouterr()
    assert not printed.out and not printed.err


def test_a_bar_goes_from_nothing_to_all(capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = some()
    evaluate(Linear(), images[:2], labels[:2], epsilon=0.02, budget="quick")
    printed = capsys.readouterr()
    assert "evaluated: 100%" in printed.err and "left" in printed.err
    assert not printed.out


@pytest.mark.parametrize("terminal", [True, False])
def test_the_clock_of_the_bar_goes_on_in_a_long_pass_on_a_terminal(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Linear):
        def forward(self, images: Tensor) -> Tensor:
            time.sleep(0.2)
            return super().forward(images)

    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules["purification.api.evaluate"], "_TICK", 0.01)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    images, labels = some()
    evaluate(Slow(), images[:2], labels[:2], epsilon=0.02, budget="quick")
    printed = capsys.readouterr().err
    assert (printed.count("clean:   0%") > 5) is terminal
    assert "evaluated: 100%" in printed
    assert terminal or printed.count("%") < 6  # a line each, in a file


def test_a_picture_has_a_bar_for_each_attack_and_the_worst_case(report: Report) -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert report.plot(axes) is axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == "clean" and names[-1] == "worst case" and "pgd_margin, BPDA" in names
    lengths = [bar.get_width() for bar in axes.patches]
    assert lengths == [*report.frame["accuracy"], report.accuracy]
    assert "l-inf 0.05" in axes.get_xlabel()


def test_arrays_are_taken_and_the_model_stays_as_it_was() -> None:
    images, labels = some()
    model = Linear().train()
    given = (images.numpy(), labels.numpy().astype(np.int32))
    few = {"epsilon": 0.02, "budget": "quick", "progress": False}
    report = evaluate(model, *given, **few)
    assert torch.equal(report.images, evaluate(Linear(), images, labels, **few).images)
    assert model.training and model.weights.requires_grad
    # A finished classifier stays what it was, in whatever it was put.
    frozen = nn.Sequential(nn.Identity(), nn.Dropout().eval(), Linear())
    evaluate(frozen, images[:2], labels[:2], **few)
    assert [part.training for part in frozen.modules()] == [True, True, False, True]


class Softened(Linear):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(dim=1)


class Dropping(Linear):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(images, 0.5, training=True))


class Outside(Purifier):
    def forward(self, images: Tensor) -> Tensor:
        return images + 1


class Unstated(Purifier):
    def forward(self, images: Tensor) -> Tensor:
        return (images + 0.1 * torch.rand_like(images)).clamp(0, 1)


class InPlace(Linear):
    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            images.mul_(0.5)
        return super().forward(images)


class Pair(Linear):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images), images


class OneForAll(Purifier):
    """Random, and the same for all images of a batch."""

    RANDOMISED = True

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        return (images + 0.1 * uniform_of(seeds[:1], images.shape[1:])).clamp(0, 1)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Softened(), "Softened returned probabilities .* leave the softmax out"),
        (Dropping(), "Dropping returned other results on a second call"),
        (Defended(Outside(), Linear()), r"Outside returned values that are not in \[0, 1\]"),
        (Defended(Unstated(), Linear()), "Unstated returned other results.*states RANDOMISED"),
        (Defended(OneForAll(), Linear()), "OneForAll returned other results .* batches"),
        (Defended(Shrink(), Softened()), "Softened returned probabilities"),
        (InPlace(), "InPlace changes the images that it is given"),
        (Pair(), r"Pair fails on images float32 .*must return logits \(N, classes\): expected T"),
        (Linear().double(), "Linear fails on images float32 .*dtype"),
    ],
)
def test_a_model_that_would_be_measured_wrongly_is_refused(model: nn.Module, expected: str) -> None:
    with pytest.raises(GuestError, match=expected):
        evaluated(model)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"epsilon": 8}, "epsilon must be above 0, and at most 1, .* say 8 / 255"),
        ({"epsilon": 0}, "epsilon must be above 0"),
        ({"epsilon": math.nan, "norm": "l2"}, "epsilon must be above 0 and finite, in pixel"),
        ({"norm": "l1"}, "norm must be one of linf, l2; got 'l1'"),
        ({"budget": "fast"}, "no budget 'fast'; there are 'quick', .*'standard', .*'full'"),
        ({"epsilon": math.inf, "norm": "l2"}, "epsilon must be above 0 and finite, in pixel"),
        ({"epsilon": "8/255"}, "epsilon must be a number, such as 8 / 255; got '8/255'"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"batch_size": 2.5}, "batch_size must be an integer of at least 1; got 2.5"),
        ({"seed": 1.5}, "seed must be an integer; got 1.5"),
        ({"labels": some()[1].to(torch.complex64)}, "labels must be integers"),
        ({"images": some()[0] * 255}, r"images must be in \[0, 1\]; .*divide by 255"),
        ({"images": (some()[0] * 255).byte()}, "floating-point .*; got uint8 .*divide by 255"),
        ({"images": some()[0][:, 0]}, r"for images of one channel give images\[:, None\]"),
        ({"images": some()[0][0]}, r"\(N, C, H, W\)"),
        ({"labels": some()[1][:3]}, "as many images as labels, please; got 40 and 3"),
        ({"labels": some()[1].float()}, "labels must be integers"),
        (
            {"labels": some()[1] + 1},
            "labels must be in 0..1, as .* 2 classes; got 1..2",
        ),
        ({"model": nn.Flatten(0)}, "Flatten returned float32"),
        ({"model": lambda images: images}, "model must be a torch module .*got a function"),
    ],
)
def test_wrong_arguments_are_told_before_the_work(changed: dict[str, Any], expected: str) -> None:
    images, labels = some()
    given = {"model": Linear(), "images": images, "labels": labels, "epsilon": 0.05} | changed
    with pytest.raises(ValueError, match=expected):
        evaluate(given.pop("model"), given.pop("images"), given.pop("labels"), **given)


def test_images_with_their_channels_last_are_told() -> None:
    class Convolving(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Conv2d(3, 2, 4), nn.Flatten(), nn.LazyLinear(2))

    images, labels = torch.rand(2, 8, 8, 3), torch.tensor([0, 1])
    with pytest.raises(GuestError, match=r"Then give images\.permute\(0, 3, 1, 2\)"):
        evaluate(Convolving(), images, labels, epsilon=0.05)
