"""Attacks on randomised models: whose draw each look is, and what a success on one is worth."""

from collections import defaultdict
from collections.abc import Sequence
from math import sqrt
from typing import Any

import foolbox
import pytest
import torch
from made_up_noise import Linear, Noise
from torch import Tensor, nn

from purification.attacks import run_attack
from purification.attacks.drawn import Drawn, Draws
from purification.attacks.gradient import input_gradient, log_odds_against
from purification.attacks.moved import LastLook
from purification.attacks.watch import part_of_batch
from purification.guests import GuestError
from purification.purifiers import Defended, StraightThrough
from purification.randomness import derive_seed, draw_seeds, is_randomised

torch.set_num_threads(1)
COUNT, CLASSES = 6, 3
PGD = {"epsilon": 0.2, "step_size": 0.05, "iterations": 4}
CW = {"learning_rate": 0.05, "constant": 1.0, "iterations": 5}
CW |= {"binary_search_steps": 2, "confidence": 0.0}


class Square(nn.Module):
    """Logits (0, (w.x)^2)."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.linear = Linear(weights)

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = self.linear(images).square()
        return made


def some_images(count: int = COUNT) -> Tensor:
    return 0.2 + 0.6 * torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(4))


class Spy(nn.Module):
    """A randomised model that remembers the seeds with which it was asked about each image, which
    it knows by the hundreds of its first pixel."""

    randomised = True

    def __init__(self, right: Sequence[int] = ()) -> None:
        super().__init__()
        self.asked: dict[int, list[int]] = defaultdict(list)
        self.largest = 0
        self.right = set(right)

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        self.largest = max(self.largest, len(images))
        noise = Noise(0.01)(images, seeds)
        for image, seed in zip(images, seeds.tolist(), strict=True):
            self.asked[round(image[0, 0, 0].item() * 10)].append(seed)
        wrong = torch.tensor([seed not in self.right for seed in seeds.tolist()])
        sum_of = noise.flatten(1).sum(1)
        # The first class, or the second wherever it errs: by a constant, far beyond any step.
        logits = torch.stack([sum_of, 100 * wrong + 0 * sum_of, -sum_of], dim=1)
        return logits


def numbered(indices: Sequence[int]) -> Tensor:
    """Images whose first pixels are the tenths of their numbers."""
    images = torch.full((len(indices), 1, 2, 2), 0.5)
    images[:, 0, 0, 0] = torch.tensor(indices) / 10
    return images


def spied(method: str, spy: Spy, indices: Sequence[int], size: int, **more: Any) -> Any:
    given = {"indices": indices, "seed": 3, "batch_size": size}
    settings = {"epsilon": 0.01, "step_size": 0.001, "iterations": 3} | more.pop("settings", {})
    images, labels = numbered(indices), torch.zeros(len(indices), dtype=torch.int64)
    return run_attack(method, spy, images, labels, **given, settings=settings, **more)


# --- whose draw a look is


@pytest.mark.parametrize("expectation", [1, 2])
def test_the_kth_look_at_an_image_is_its_draw_k(expectation: int) -> None:
    indices = [5, 0, 9, 3, 7]
    looks = derive_seed(3, "looks")
    found = []
    for order, size in ((indices, 5), (indices, 2), (indices[::-1], 3)):
        spy = Spy()
        spied("bim", spy, order, size, judge=8, settings={"expectation": expectation})
        assert spy.largest <= max(size, expectation)
        for index in indices:
            first, last = [*range(expectation)], 3 * expectation
            clean = draw_seeds(derive_seed(3, "clean look"), [index] * expectation, first)
            own = draw_seeds(looks, [index] * last, range(last))
            judged = draw_seeds(8, [index], 0)
            assert spy.asked[index] == [*clean.tolist(), *own.tolist(), *judged.tolist()]
        found.append(dict(spy.asked))
    assert found[0] == found[1] == found[2]


def test_fixed_draws_are_those_of_the_judgement() -> None:
    spy = Spy()
    spied("bim", spy, [1, 4], 2, draws="fixed", judge=8, settings={"expectation": 5})
    for index in (1, 4):
        # One clean look, three steps and the judgement, of one draw each.
        assert spy.asked[index] == draw_seeds(8, [index] * 5, 0).tolist()


def test_rows_of_partial_batches_keep_their_draws() -> None:
    spy, images = Spy(), numbered([2, 5, 8])
    drawn = Drawn(spy, 7, [2, 5, 8], 1)
    drawn(images)
    rows = torch.tensor([2, 0, 2])
    drawn(part_of_batch(images[rows], rows))
    drawn(images)
    draws = {2: [0, 1, 2], 5: [0, 1], 8: [0, 1, 2, 3]}
    for index, own in draws.items():
        assert spy.asked[index] == draw_seeds(7, [index] * len(own), own).tolist()
    with pytest.raises(GuestError, match=r"about 2 images of a batch of 3.*part_of_batch"):
        drawn(images[:2])


def test_a_look_at_a_randomised_model_is_not_reused() -> None:
    images = some_images()
    model = Defended(Noise(0.5), Linear(torch.ones(4)))

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        return logits[:, 1]

    asked = {}
    for policy in ("fresh", "fixed"):
        look = LastLook(Draws(0, 1, policy).attacked(model, range(COUNT), "looks"), loss)
        look.at(images)
        before = look.logits
        asked[policy] = len(look.at(images.clone()))
        assert torch.equal(before, look.logits) == (policy == "fixed")
    assert asked == {"fresh": COUNT, "fixed": 0}


@pytest.mark.parametrize("draws", ["fresh", "fixed"])
@pytest.mark.parametrize(
    ("method", "settings"),
    [("pgd", PGD), ("cw_l2", CW), ("fgsm", {"epsilon": 0.1, "expectation": 3})],
)
def test_results_know_nothing_of_batch_and_order(
    method: str, settings: dict[str, Any], draws: Any
) -> None:
    weights = torch.tensor([1.0, -2.0, 0.5, 1.5])
    images, labels = some_images(), torch.arange(COUNT) % 2
    model = Defended(Noise(0.4), Square(weights))

    def attacked(order: list[int], size: int) -> Any:
        given = {"indices": order, "seed": 2, "batch_size": size, "settings": settings}
        return run_attack(method, model, images[order], labels[order], **given, draws=draws)

    whole = attacked([*range(COUNT)], COUNT)
    order = [3, 0, 5, 1, 4, 2]
    for size in (1, 4):
        other = attacked(order, size)
        for name in ("images", "predictions", "success", "clean_predictions", "zero_gradient"):
            assert torch.equal(getattr(other, name), getattr(whole, name)[order]), name


# --- expectation


def test_the_gradient_of_the_mean_is_the_mean_gradient() -> None:
    """Of (w.(x + sigma z))^2 that is 2 (w.x + sigma w.z) w for each draw z, and 2 w.x w for all."""
    weights, deviation = torch.tensor([1.0, -2.0, 0.5, 1.5], dtype=torch.float64), 0.3
    images, labels = some_images(3).double(), torch.ones(3, dtype=torch.int64)
    model = Defended(Noise(deviation), Square(weights))
    inner = (images.flatten(1) * weights).sum(1)
    for count, exact in ((7, True), (4000, False)):
        drawn = Draws(5, 0, expectation=count).attacked(model, [4, 6, 1], "looks")
        gradient = input_gradient(drawn, images, labels).flatten(1)
        # The log-odds against class 1 are minus its logit.
        noise = torch.zeros(3, dtype=torch.float64)
        if exact:
            seed = derive_seed(5, "looks")
            for row, index in enumerate((4, 6, 1)):
                seeds = draw_seeds(seed, [index] * count, range(count))
                made = Noise(deviation)(torch.zeros(count, 1, 2, 2, dtype=torch.float64), seeds)
                noise[row] = (made.flatten(1) * weights).sum(1).mean()
        expected = -2 * (inner + noise)[:, None] * weights
        bound = 1e-12 if exact else 4.5 * 2 * deviation * weights.norm() / sqrt(count)
        error = (gradient - expected).abs() / weights.abs()
        assert error.max() < bound, count
    # Behind the identity for the noise's backward pass that is the same, because it is one.
    bent = Defended(StraightThrough(Noise(deviation)), Square(weights))
    two = [
        input_gradient(Draws(5, 0, expectation=7).attacked(m, [4, 6, 1], "looks"), images, labels)
        for m in (model, bent)
    ]
    torch.testing.assert_close(*two)


def test_the_attack_sees_the_mean_of_the_logits() -> None:
    images, model = some_images(3), Defended(Noise(0.4), Square(torch.ones(4)))
    drawn = Draws(5, 0, expectation=3).attacked(model, range(3), "looks")
    seed = derive_seed(5, "looks")
    for look in range(2):
        each = [model(images, draw_seeds(seed, range(3), 3 * look + k)) for k in range(3)]
        torch.testing.assert_close(drawn(images), torch.stack(each).mean(0))


@pytest.mark.parametrize(
    ("settings", "draws", "message"),
    [
        ({"expectation": 2}, "fresh", "expectation is 2, and Linear is deterministic"),
        ({"expectation": 0}, "fresh", "expectation must be a number of draws, at least 1; got 0"),
        ({"expectation": 1.5}, "fresh", "at least 1; got 1.5"),
        ({}, "known", "draws must be one of fresh, fixed; got 'known'"),
    ],
)
def test_what_is_refused_of_a_deterministic_model(
    settings: dict[str, Any], draws: Any, message: str
) -> None:
    given: dict[str, Any] = {"indices": range(2), "seed": 0, "batch_size": 2, "draws": draws}
    images, labels = some_images(2), torch.zeros(2, dtype=torch.int64)
    model = Linear(torch.ones(4))
    with pytest.raises(ValueError, match=message):
        run_attack("fgsm", model, images, labels, settings={"epsilon": 0.1} | settings, **given)
    one = {"epsilon": 0.1, "expectation": 1}
    given["draws"] = "fresh"
    same = run_attack("fgsm", model, images, labels, settings=one, **given)
    del one["expectation"]
    other = run_attack("fgsm", model, images, labels, settings=one, **given)
    assert torch.equal(same.images, other.images)


class Spread(nn.Module):
    """A randomised classifier of two classes by the first two pixels: the logit of class 0 is
    2 - 10 x in one of three draws, and 20 - 10 x' in the others, which no step can break."""

    randomised = True

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        near = (seeds % 3 == 0).to(images)
        first, second = images.flatten(1)[:, :2].unbind(1)
        found = near * (2 - 10 * first) + (1 - near) * (20 - 10 * second)
        return torch.stack([found, torch.zeros_like(found)], dim=1)


def test_the_log_error_pulls_no_further_at_draws_that_err() -> None:
    """In the l2 ball around 0 the pixels end where their slopes are in proportion to them: of the
    margin of the mean the first is half the second, of the log-error s(2 - 10 x) / 2 of it, s the
    logistic function."""
    images, labels = torch.zeros(8, 1, 2, 2), torch.zeros(8, dtype=torch.int64)
    own = {"epsilon": 1.0, "step_size": 0.1, "iterations": 200, "start": "image"}
    own |= {"schedule": "cosine", "expectation": 30}
    given: dict[str, Any] = {"indices": range(8), "seed": 1, "batch_size": 240}
    reached = {}
    for loss in ("margin", "log_error"):
        found = run_attack(
            "pgd_l2", Spread(), images, labels, settings={**own, "loss": loss}, **given
        )
        first, second = found.images.flatten(1)[:, :2].mean(0).tolist()
        assert first**2 + second**2 == pytest.approx(1, abs=0.01)
        reached[loss] = first / second
    assert reached["margin"] == pytest.approx(0.5, abs=0.05)
    assert reached["log_error"] == pytest.approx(0.226, abs=0.03)


@pytest.mark.parametrize("draws", ["fresh", "fixed"])
def test_the_log_error_knows_nothing_of_batch_and_order(draws: Any) -> None:
    model = Defended(Noise(0.4), Square(torch.tensor([1.0, -2.0, 0.5, 1.5])))
    images, labels = some_images(), torch.arange(COUNT) % 2
    settings = {**PGD, "loss": "log_error", "expectation": 3, "keep": "worst", "restarts": 2}

    def attacked(order: list[int], size: int) -> Tensor:
        given: dict[str, Any] = {"indices": order, "seed": 2, "batch_size": size, "draws": draws}
        return run_attack(
            "pgd", model, images[order], labels[order], settings=settings, **given
        ).images

    whole, order = attacked([*range(COUNT)], 3 * COUNT), [3, 0, 5, 1, 4, 2]
    for size in (1, 7):
        assert torch.equal(attacked(order, size), whole[order])


# --- success


def test_success_on_one_draw_does_not_count() -> None:
    """A model that errs in each look of the attack and is right in the judgement."""
    indices = [1, 2, 6]
    judged = draw_seeds(8, indices, 0).tolist()
    for method, settings in (("bim", {}), ("cw_l2", CW)):
        spy = Spy(judged)
        own = {"settings": settings, "judge": 8}
        if method == "cw_l2":
            images, labels = numbered(indices), torch.zeros(3, dtype=torch.int64)
            given: dict[str, Any] = {"indices": indices, "seed": 3, "batch_size": 3}
            result = run_attack("cw_l2", spy, images, labels, **given, **own)
        else:
            result = spied(method, spy, indices, 2, **own)
        assert (result.clean_predictions == 1).all()
        assert not result.success.any()
        assert (result.predictions == 0).all()
    # With the other seed it is the other way round: right in no draw of the judgement.
    assert spied("bim", Spy(judged), indices, 2, judge=9).success.all()


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("apgd", {"epsilon": 0.01, "iterations": 7}),
        ("apgd_l2", {"epsilon": 0.01, "iterations": 7, "loss": "targeted_dlr", "targets": 1}),
        ("pgd", {"epsilon": 0.01, "iterations": 7, "keep": "worst"}),
        ("square", {"epsilon": 0.01, "queries": 9}),
    ],
)
def test_success_on_one_draw_ends_nothing(method: str, settings: dict[str, Any]) -> None:
    """A model that errs in each look is asked to the end, and of one with known draws no more."""
    indices = [1, 2, 6]
    images, labels = numbered(indices), torch.zeros(3, dtype=torch.int64)
    given: dict[str, Any] = {"indices": indices, "seed": 3, "batch_size": 3, "settings": settings}
    asked = {}
    for policy in ("fresh", "fixed"):
        spy = Spy()
        run_attack(method, spy, images, labels, **given, draws=policy)
        asked[policy] = [len(seeds) for seeds in spy.asked.values()]
    assert min(asked["fresh"]) >= 9
    if method != "pgd":
        assert max(asked["fixed"]) <= 4


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("pgd", {"epsilon": 0.1, "iterations": 2, "keep": "first_success"}),
        ("pgd_l2", {"epsilon": 0.1, "iterations": 2, "keep": "first_success"}),
        ("fab", {"epsilon": 0.1, "iterations": 2}),
        ("fab_l2", {"epsilon": 0.1, "iterations": 2}),
        ("hop_skip_jump", {"queries": 20}),
    ],
)
def test_what_builds_on_single_successes_is_refused_on_fresh_draws(
    method: str, settings: dict[str, Any]
) -> None:
    indices = [1, 2, 6]
    images, labels = numbered(indices), torch.zeros(3, dtype=torch.int64)
    given: dict[str, Any] = {"indices": indices, "seed": 3, "batch_size": 3, "settings": settings}
    with pytest.raises(ValueError, match=f"'{method}' ends at an image's first success"):
        run_attack(method, Spy(), images, labels, **given)
    run_attack(method, Spy(), images, labels, **given, draws="fixed")


def test_codes_of_a_randomised_defence_are_not_searched() -> None:
    images, labels = numbered([1, 2]), torch.zeros(2, dtype=torch.int64)
    given: dict[str, Any] = {"indices": [1, 2], "seed": 3, "batch_size": 2}
    for policy in ("fresh", "fixed"):
        with pytest.raises(ValueError, match=r"'latent' searches the codes.*deterministic"):
            run_attack(
                *("latent", Spy(), images, labels),
                **given,
                settings={"epsilon": 0.1},
                draws=policy,
            )


def test_an_attack_that_ends_at_its_first_success_is_refused_on_fresh_draws() -> None:
    images, labels = some_images(), torch.ones(COUNT, dtype=torch.int64)
    given: dict[str, Any] = {"indices": range(COUNT), "seed": 0, "batch_size": 4, "settings": {}}
    model = Defended(Noise(0.2), Linear(torch.tensor([1.0, -1.0, 0.5, 1.0])))
    with pytest.raises(ValueError, match=r"'deepfool' ends at an image's first success.*fixed"):
        run_attack("deepfool", model, images, labels, **given)
    assert is_randomised(model)
    known = run_attack("deepfool", model, images, labels, **given, draws="fixed", judge=1)
    # On the known draw it stands just beyond the boundary.
    logits = model(known.images, draw_seeds(1, range(COUNT), 0))
    assert torch.equal(known.predictions, logits.argmax(1))
    reached = known.success & (known.clean_predictions == 1)
    assert reached.any()
    assert (log_odds_against(logits, labels)[reached] < 0.1).all()


def test_foolbox_attacks_a_randomised_model_again_as_it_did() -> None:
    images, labels = some_images(), torch.ones(COUNT, dtype=torch.int64)
    model = Defended(Noise(0.4), Square(torch.tensor([1.0, -2.0, 0.5, 1.5])), seed=7)
    attack = foolbox.attacks.LinfPGD(rel_stepsize=0.2, steps=5, random_start=False)

    def attacked() -> Tensor:
        shown = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        found: Tensor = attack.run(
            shown, images, foolbox.criteria.Misclassification(labels), epsilon=0.3
        )
        return found

    first, second = attacked(), attacked()
    model.restart_draws()
    assert torch.equal(attacked(), first)
    assert not torch.equal(second, first)
