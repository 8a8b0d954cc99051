"""Attacks that ask the model only about images that moved, against those that always ask."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from test_attacks import PAPERS_CW, TUNED_CW, synthetic_digits, trained_cnn
from torch import Tensor, nn
from torch.nn import functional

from purification.attacks import cw_l2, deepfool, run_attack
from purification.attacks.gradient import loss_gradient
from purification.attacks.losses import log_odds_against
from purification.attacks.moved import LastLook
from purification.attacks.watch import part_of_batch, watched
from purification.purifiers import Defended, DefenseGAN, SearchSettings, draw_starts

torch.set_num_threads(1)

COUNT = 40
THREE_SEARCHES = {**TUNED_CW, "iterations": 30, "binary_search_steps": 3, "confidence": 0.5}
CW = pytest.mark.parametrize(
    "settings",
    [PAPERS_CW, TUNED_CW | {"binary_search_steps": 1}, THREE_SEARCHES],
    ids=["paper", "tuned", "three searches"],
)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return trained_cnn().requires_grad_(False)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    return synthetic_digits(COUNT, seed=2)


@pytest.fixture(scope="module")
def defended(trained: nn.Module) -> Defended:
    """The classifier behind Defense-GAN, whose generator was trained as an autoencoder's decoder:
    two steps from two starts, so that the true gradient goes through a search."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 12))
        generator = nn.Sequential(
            *(nn.Linear(12, 64), nn.Tanh(), nn.Linear(64, 64), nn.Sigmoid()),
            nn.Unflatten(1, (1, 8, 8)),
        )
        images, _ = synthetic_digits(500, seed=1)
        optimizer = torch.optim.Adam([*encoder.parameters(), *generator.parameters()], 1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            functional.mse_loss(generator(encoder(images)), images).backward()
            optimizer.step()
    starts = draw_starts(2, 12, torch.Generator().manual_seed(0), "prior")
    return Defended(DefenseGAN(generator, starts, SearchSettings(4)), trained)


@contextmanager
def rows_of(model: nn.Module) -> Iterator[list[int]]:
    """How many images each forward pass of the model has."""
    rows: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    yield rows
    handle.remove()


# --- the plain attacks


def plain_cw(
    model: nn.Module, images: Tensor, labels: Tensor, **settings: Any
) -> tuple[Tensor, int]:
    """Carlini and Wagner's l2 attack by autograd and torch's Adam; and in how many steps an image
    was another one than in the step before, all images and search steps added up."""
    others = ~functional.one_hot(labels, 10).bool()
    best, best_norm = images.clone(), torch.full((len(images),), math.inf)
    constants = torch.full((len(images),), settings["constant"])
    lower, upper = torch.zeros_like(constants), torch.full_like(constants, math.inf)
    moved = 0
    for _ in range(settings["binary_search_steps"]):
        w = torch.atanh(0.999999 * (2 * images - 1)).requires_grad_()
        optimizer = torch.optim.Adam([w], settings["learning_rate"])
        start = ((torch.tanh(w) + 1) / 2).detach()
        success, before = torch.zeros(len(images), dtype=torch.bool), None
        for _ in range(settings["iterations"]):
            candidates = (torch.tanh(w) + 1) / 2
            logits = model(candidates)
            margin = logits.gather(1, labels[:, None])[:, 0]
            margin = margin - logits.masked_fill(~others, -math.inf).amax(1)
            margin = margin + settings["confidence"]
            distance = (candidates - start).square().flatten(1).sum(1)
            optimizer.zero_grad()
            (distance + constants * margin.relu()).sum().backward()
            optimizer.step()
            candidates = candidates.detach()
            moved += len(images) if before is None else int(differing(candidates, before).sum())
            before = candidates
            norm = (candidates - images).flatten(1).norm(dim=1)
            closer = (margin < 0) & (norm < best_norm)
            best[closer], best_norm[closer] = candidates[closer], norm[closer]
            success |= margin < 0
        upper = torch.where(success, constants, upper)
        lower = torch.where(success, lower, constants)
        constants = torch.where(upper.isinf(), 10 * constants, (lower + upper) / 2)
    return best, moved


def differing(images: Tensor, others: Tensor) -> Tensor:
    return (images != others).flatten(1).any(1)


# --- CW


@CW
@pytest.mark.parametrize("behind", ["nothing", "Defense-GAN"])
def test_cw_equals_the_plain_attack_by_autograd(
    trained: nn.Module,
    defended: Defended,
    digits: tuple[Tensor, Tensor],
    settings: dict[str, Any],
    behind: str,
) -> None:
    """Also in the number of images that the model is run for: those that moved, and no more."""
    model, count = (trained, COUNT) if behind == "nothing" else (defended, 12)
    images, labels = (part[:count] for part in digits)
    expected, moved = plain_cw(model, images, labels, **settings)
    with rows_of(model) as rows:
        found = cw_l2(model, images, labels, **settings)
    steps = settings["iterations"] * settings["binary_search_steps"]
    assert sum(rows) == pytest.approx(moved, rel=0.02)
    assert sum(rows) < (0.15 if settings is PAPERS_CW else 1.0) * count * steps
    assert torch.equal(differing(found, images), differing(expected, images))
    assert differing(found, images).float().mean() > 0.5
    norm, expected_norm = ((each - images).flatten(1).norm(dim=1) for each in (found, expected))
    torch.testing.assert_close(norm, expected_norm, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_cw_takes_no_gradient_where_all_that_are_asked_about_are_won(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """The loss has no slope there. The image wins, loses again, and is the plain attack's."""
    settings = {**TUNED_CW, "constant": 5.0, "binary_search_steps": 1}
    images, labels = (part[7:8] for part in digits)
    expected, _ = plain_cw(trained, images, labels, **settings)
    won, gradients = [], []

    class Counted(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            images.register_hook(lambda _: gradients.append(len(won)))
            logits = trained(images)
            won.append(bool(logits.argmax(1) != labels))
            return logits

    found = cw_l2(Counted(), images, labels, **settings)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert gradients == [step for step, each in enumerate(won, 1) if not each]
    assert won != sorted(won)


def test_cw_behind_a_purifier_depends_on_no_batch(
    defended: Defended, digits: tuple[Tensor, Tensor]
) -> None:
    """In float64, so that what is left of the batch is rounding."""
    model, images = copy.deepcopy(defended).double(), digits[0][:12].double()
    whole = cw_l2(model, images, digits[1][:12], **PAPERS_CW)
    for first, last in ((0, 1), (1, 8), (8, 12)):
        part = cw_l2(model, images[first:last], digits[1][first:last], **PAPERS_CW)
        torch.testing.assert_close(part, whole[first:last], rtol=0, atol=1e-8)


@pytest.mark.parametrize("made", ["scripted", "traced"])
def test_cw_of_a_model_in_torchscript(
    trained: nn.Module, digits: tuple[Tensor, Tensor], made: str
) -> None:
    def attacked(model: nn.Module) -> Tensor:
        return run_attack(
            *("cw_l2", model, *digits),
            **{"indices": range(COUNT), "seed": 0, "batch_size": 15, "settings": PAPERS_CW},
        ).images

    own = copy.deepcopy(trained)
    other = torch.jit.script(own) if made == "scripted" else torch.jit.trace(own, digits[0])
    torch.testing.assert_close(attacked(other), attacked(trained), rtol=0, atol=1e-6)


def test_cw_of_a_model_without_gradient_asks_once(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    class Detached(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return trained(images.detach())

    model, images = Detached(), digits[0]
    labels = trained(images).argmax(1)
    with rows_of(model) as rows:
        assert torch.equal(cw_l2(model, images, labels, **PAPERS_CW), images)
    assert rows == [COUNT]


# --- the other attacks


class Partly(nn.Module):
    """A model whose gradient is zero for images with a dark first pixel."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        dark = (images[:, :1, :1, :1] < 0.5).detach()
        return self.model(torch.where(dark, images.detach(), images))


def test_deepfool_asks_no_more_about_images_without_gradient(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images = digits[0].clone()
    images[:, 0, 0, 0] = 0.9
    labels = trained(images).argmax(1)
    plain = deepfool(trained, images, labels, iterations=12)
    masked = torch.arange(COUNT) % 3 == 0
    images[masked, 0, 0, 0] = 0.1
    labels = trained(images).argmax(1)
    model = Partly(trained)
    with rows_of(model) as rows:
        found = deepfool(model, images, labels, iterations=12)
    assert torch.equal(found[masked], images[masked])
    torch.testing.assert_close(found[~masked], plain[~masked], rtol=0, atol=1e-5)
    # Of DeepFool's three passes the third one, a forward pass, finds them standing still.
    assert rows[0] == COUNT
    assert max(rows[3:]) <= int((~masked).sum())


# --- what is remembered


def test_the_last_look_is_what_the_model_says_of_each_image(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Whichever images move: some, others, all, none, the last one alone, in one pixel."""
    images, labels = digits
    random = torch.Generator().manual_seed(0)
    look = LastLook(trained, lambda logits, rows: log_odds_against(logits, labels[rows]))
    assert torch.equal(look.at(images), torch.arange(COUNT))
    for moving in ([3, 7, 8, 30], [0, 7, 39], list(range(COUNT)), [], [COUNT - 1]):
        images = images.clone()
        if len(moving) == 1:
            images[moving, 0, 4, 4] = 1 - images[moving, 0, 4, 4]
        else:
            images[moving] = torch.rand(len(moving), 1, 8, 8, generator=random)
        with rows_of(trained) as rows:
            asked = look.at(images)
        assert asked.tolist() == moving
        assert rows == ([len(moving)] if moving else [])
        logits, gradients = loss_gradient(trained, images, lambda z: log_odds_against(z, labels))
        torch.testing.assert_close(look.logits, logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(look.gradients, gradients, rtol=0, atol=1e-5)
        # No two images have gradients as near to one another as that.
        distance = torch.cdist(gradients.flatten(1), gradients.flatten(1)).fill_diagonal_(1)
        assert distance.min() > 1e-3


def test_a_number_that_is_none_is_asked_about_again() -> None:
    look = LastLook(nn.Flatten(), lambda logits, rows: logits.sum(1))
    images = torch.zeros(3, 1, 2, 2)
    images[1, 0, 0, 0] = math.nan
    look.at(images)
    assert look.at(images.clone()).tolist() == [1]


def test_what_was_handed_out_is_not_changed_later(trained: nn.Module) -> None:
    images, labels = synthetic_digits(4, seed=3)
    look = LastLook(trained, lambda logits, rows: log_odds_against(logits, labels[rows]))
    look.at(images)
    logits, gradients = look.logits, look.gradients
    kept = logits.clone(), gradients.clone()
    other = images.clone()
    other[1] = 0.5
    look.at(other)
    assert torch.equal(logits, kept[0])
    assert torch.equal(gradients, kept[1])


# --- the watch


class BreaksWhereMoved(nn.Module):
    """NaN logits, or a NaN gradient, of a marked image (first pixel above a half, which the
    classifier does not see) that is no longer as it was in its other pixels."""

    def __init__(self, model: nn.Module, marked: Tensor, what: str) -> None:
        super().__init__()
        self.model, self.original, self.what = model, marked[:, 1:], what

    def forward(self, images: Tensor) -> Tensor:
        changed = (images.flatten(1)[:, 1:] - self.original).abs().amax(1) > 0.01
        broken = (changed & (images[:, 0, 0, 0] > 0.5)).detach()
        seen = torch.cat([torch.zeros_like(images[..., :1, :1]), images[..., :1, 1:]], dim=3)
        seen = torch.cat([seen, images[..., 1:, :]], dim=2)
        if self.what == "logits":
            return torch.where(broken[:, None], math.nan, self.model(seen))
        if seen.requires_grad:
            seen.register_hook(lambda slope: slope.masked_fill(broken.view(-1, 1, 1, 1), math.nan))
        return self.model(seen)


@pytest.mark.parametrize("what", ["logits", "gradients"])
def test_a_part_of_a_batch_that_leaves_the_numbers_is_named(
    trained: nn.Module, digits: tuple[Tensor, Tensor], what: str
) -> None:
    """CW runs the model for the images that moved; the one that breaks then is not where it was in
    the batch, because an image before it is misclassified from the start and stands still."""
    images = digits[0].clone()
    images[:, 0, 0, 0] = 0.0
    labels = trained(images).argmax(1)
    still, breaking = 2, 9
    labels[still] = (labels[still] + 1) % 10
    images[breaking, 0, 0, 0] = 0.9
    model = BreaksWhereMoved(trained, images[breaking : breaking + 1].flatten(1), what)
    complaint = f"'cw_l2', in one of its steps.*the {what} are.*1 of 20 images, first for image 109"
    with rows_of(model) as rows, pytest.raises(FloatingPointError, match=complaint):
        run_attack(
            *("cw_l2", model, images[:20], labels[:20]),
            **{"indices": range(100, 120), "seed": 0, "batch_size": 20},
            settings={**PAPERS_CW, "learning_rate": 0.2, "iterations": 2},
        )
    assert rows == [20, 20, 19]


def test_the_watch_knows_which_images_are_shown() -> None:
    """Rows that are told are marked; all for a part whose are not; a whole batch by position."""
    model = nn.Flatten()
    images = torch.zeros(2, 1, 2, 2)
    images[1] = math.nan
    batch = torch.zeros(4, 1, 2, 2)
    batch[0] = math.inf
    for given, wrong in (
        (part_of_batch(images.clone(), torch.tensor([0, 3])), "1 of 4 images, first for image 13"),
        (part_of_batch(images.clone(), torch.tensor([3, 2])), "1 of 4 images, first for image 12"),
        (images, "4 of 4 images, first for image 10"),
        (batch, "1 of 4 images, first for image 10"),
    ):
        with watched(model, 4, torch.device("cpu")) as (shown, watch):
            shown(given)
        with pytest.raises(FloatingPointError, match=f"the logits.*{wrong}"):
            watch.refuse("mine", "model", [10, 11, 12, 13])
