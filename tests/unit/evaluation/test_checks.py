"""Checks of a cascade: small models that must raise each flag, and plain ones that must not."""

import cProfile
import json
import pstats
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cascade import Linear, attack, images_of
from torch import Tensor, nn

from purification.evaluation import looks
from purification.evaluation.cascade import CLEAN, LEFT, Found, Saved, Stage, run_cascade
from purification.evaluation.checks import CHECK_COLUMNS, check_columns
from purification.evaluation.judge import Selection
from purification.models.wgan import Generator
from purification.purifiers import Defended, StraightThrough, latent_search
from purification.purifiers.descent import SearchSettings
from purification.randomness import Streams

COUNT = 60
EPSILON = 0.04
FGSM = attack("fgsm", "fgsm", epsilon=EPSILON)
PGD = attack("pgd", "pgd", epsilon=EPSILON, iterations=4, step_size=0.03)
PGD["settings"] |= {"start": "image", "keep": "worst"}
SHORT = attack("short", "pgd", epsilon=EPSILON, iterations=2, step_size=0.006, start="image")
SQUARE = attack("square", "square", epsilon=EPSILON, queries=40)


class Net(nn.Module):
    """A small network with curvature: two classes, from two layers."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.first, self.last = nn.Linear(16, 24), nn.Linear(24, 2)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=random) / 3

    def forward(self, images: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(images.flatten(1) - 0.5)))


class Detached(nn.Module):
    """Takes the gradient away, of all images, or of those alone whose first pixel is above."""

    def __init__(self, above: float = 0.0) -> None:
        super().__init__()
        self.above = above

    def forward(self, images: Tensor) -> Tensor:
        kept = images.flatten(1)[:, 0] <= self.above
        return torch.where(kept.view(-1, 1, 1, 1), images, images.detach())


class Levels(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return (images * 64).round() / 64


class Noisy(nn.Module):
    """Draws from torch's global generator, and says nothing of it."""

    def forward(self, images: Tensor) -> Tensor:
        return images + 1e-6 * torch.randn_like(images)


class Declared(nn.Module):
    """Draws from the seeds that it is given, as a randomised purifier does."""

    randomised = True

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        return images + 1e-6 * Streams(seeds).normal(images.shape[1:])


class Turned(nn.Module):
    """The image itself, whose gradient points the wrong way."""

    def forward(self, images: Tensor) -> Tensor:
        return 2 * images.detach() - images


class Searching(nn.Module):
    """Descends to a smoother image by autograd."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.enable_grad():
            found = images.detach().clone().requires_grad_()
            for _ in range(2):
                distance = (found - images.detach()).square().sum() + 0.01 * found.square().sum()
                (slope,) = torch.autograd.grad(distance, found)
                found = found - 0.1 * slope
        return images + (found - images).detach()


def whole(purifier: nn.Module, network: nn.Module, *attacks: dict[str, Any]) -> list[Stage]:
    return [Stage(one, "white_box", Defended(purifier, network)) for one in attacks]


def bpda(purifier: nn.Module, network: nn.Module, *attacks: dict[str, Any]) -> list[Stage]:
    model = Defended(StraightThrough(purifier), network)
    return [Stage(one, "white_box_bpda", model) for one in attacks]


def gray(network: nn.Module, *attacks: dict[str, Any]) -> list[Stage]:
    return [Stage(one, "gray_box", network) for one in attacks]


def checked(
    model: nn.Module, *stages: Stage, images: Tensor | None = None, **more: Any
) -> tuple[Found, dict[str, Any]]:
    """What a cascade with checks finds on images of which `model` is right about all but every
    tenth, and its columns."""
    images = images_of(COUNT) if images is None else images
    labels = model(images).argmax(dim=1)
    labels[::10] = 1 - labels[::10]
    settings = {"norm": "linf", "epsilon": EPSILON, "seed": 3, "batch_size": 40, "checks": True}
    found = run_cascade(model, stages, images, labels, **settings | more)
    # As from a file.
    return found, check_columns(json.loads(json.dumps(found.checked)), len(images))


def steps(found: Found, check: str) -> list[dict[str, Any]]:
    return [cost for cost in found.costs if cost.get("kind") == check]


@pytest.mark.parametrize("network", [Linear(), Net()])
def test_a_plain_network_raises_none(network: nn.Module) -> None:
    """What faster attacks break, gradient attacks break, too, when they are handed it."""
    same = nn.Identity()
    stages = [
        *gray(network, FGSM),
        *whole(same, network, SQUARE, PGD),
        *bpda(same, network, PGD),
    ]
    found, columns = checked(Defended(same, network), *stages)
    assert {*columns} == {*CHECK_COLUMNS}
    larger = columns.pop("larger_epsilon_leaves")
    assert columns == {
        **{"flags": "", "randomised": False, "optimises_in_forward": False},
        **{"zero_gradient_share": 0.0, "only_by_queries": 0, "only_by_transfer": 0},
        "taken_by_doubling": 0,
    }
    assert larger < -10
    others = (found.found_by == 0) | (found.found_by == 1)
    first, *rest = steps(found, "control")
    assert (first["asked"], first["broken"]) == (int(others.sum()),) * 2
    assert first["asked"] > 10
    assert {step["asked"] for step in rest} == {0}
    # A model as it is has no larger ball, no attack to double and no control.
    _, columns = checked(network, *whole(same, network, FGSM), epsilon=1.0)
    assert columns["flags"] == ""
    assert [columns[name] for name in CHECK_COLUMNS[4:]] == [None] * 4


def test_without_checks_there_are_no_flags_and_no_steps() -> None:
    network = Linear()
    found, _ = checked(network, *whole(nn.Identity(), network, PGD), checks=False)
    assert (len(found.costs), found.checked) == (2, {})
    assert check_columns(None, COUNT) == dict.fromkeys(CHECK_COLUMNS) | {"flags": ""}


# --- looks


@pytest.mark.parametrize(
    ("purifier", "noisy"),
    [(Noisy(), True), (Declared(), True), (nn.Identity(), False), (Searching(), False)],
)
def test_one_whose_logits_differ_from_call_to_call_is_randomised(
    purifier: nn.Module, noisy: bool
) -> None:
    network = Linear()
    model, images = Defended(purifier, network), images_of(12)
    before = torch.random.get_rng_state()
    assert looks.is_noisy(model, images, 5) is noisy
    assert torch.equal(torch.random.get_rng_state(), before)
    if not isinstance(purifier, Declared):
        _, columns = checked(model, *whole(purifier, network, PGD), images=images_of(12))
        assert columns["randomised"] is noisy
        assert ("randomised" in columns["flags"].split(";")) is noisy


class Stated(nn.Identity):
    optimises = True


@pytest.mark.parametrize(
    ("purifier", "seen"),
    [(Searching(), True), (Stated(), True), (nn.Identity(), False)],
)
def test_one_that_optimises_while_it_classifies_is_seen_to(purifier: nn.Module, seen: bool) -> None:
    network = Linear()
    model, images = Defended(purifier, network), images_of(12)
    assert looks.optimises(model, images, 5) is seen
    _, columns = checked(model, *bpda(purifier, network, PGD), images=images)
    assert columns["optimises_in_forward"] is seen
    assert ("optimises_in_forward" in columns["flags"].split(";")) is seen


def test_a_latent_search_whose_derivatives_are_written_out_is_seen() -> None:
    class Search(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator = Generator(2, 2, (1, 8, 8))

        def forward(self, images: Tensor) -> Tensor:
            settings = SearchSettings(steps=2, step_size=1.0, momentum=0.0)
            found = latent_search(self.generator, images, torch.zeros(1, 2), settings)
            return found.reconstructions

    images = images_of(3).repeat(1, 1, 2, 2)
    assert looks.optimises(Search(), images, 2)
    assert not looks.optimises(nn.Identity(), images, 2)


def test_a_profiler_goes_on_behind_the_look() -> None:
    """Of Python's own two, one is a function and one, in C, is none."""
    model, images = Defended(Searching(), Linear()), images_of(4)
    profiler = cProfile.Profile()
    profiler.enable()
    assert looks.optimises(model, images, 4)
    images_of(4)
    profiler.disable()
    assert any(name == "images_of" for _, _, name in pstats.Stats(profiler).stats)

    seen: list[str] = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: seen.append(frame.f_code.co_name))
    try:
        assert looks.optimises(model, images, 4)
        images_of(4)
    finally:
        sys.setprofile(before)
    assert "images_of" in seen


def test_one_that_optimises_for_some_images_is_seen_in_any_batch() -> None:
    class Rule(Searching):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) if bool((images[:, 0, 0, 0] > 0.75).any()) else images

    images = images_of(12)
    images[:, 0, 0, 0] = 0.3
    assert not looks.optimises(Rule(), images, 5)
    images[11, 0, 0, 0] = 0.8
    assert looks.optimises(Rule(), images, 5)


def test_a_gradient_that_is_taken_behind_the_forward_pass_is_no_optimisation() -> None:
    """Nor does one that is taken in another call of the same functions count."""
    network, images = Linear(), images_of(4)
    assert not looks.optimises(network, images, 4)
    assert looks.zero_gradient_share(network, images, torch.zeros(4).long(), 4) == 0
    assert not looks.optimises(network, images, 4)


def test_images_without_gradient_are_counted() -> None:
    network, images = Linear(), images_of(COUNT)
    share = float((images[:, 0, 0, 0] > 0.5).double().mean())
    assert 0.3 < share < 0.7
    purifier = Detached(0.5)
    _, columns = checked(Defended(purifier, network), *whole(purifier, network, PGD))
    assert columns["zero_gradient_share"] == share
    assert "zero_gradient" in columns["flags"].split(";")
    for masked in (Detached(), Levels()):
        found, columns = checked(Defended(masked, network), *whole(masked, network, PGD))
        assert columns["zero_gradient_share"] == 1
        assert columns["flags"] == "zero_gradient"
        # No attack to be doubled or compared: it could not be made.
        assert columns["taken_by_doubling"] is columns["larger_epsilon_leaves"] is None
        assert all(cost["refused"] for cost in steps(found, "doubled"))
    # By BPDA alone nobody has asked for the exact gradient.
    _, columns = checked(Defended(masked, network), *bpda(masked, network, PGD))
    assert (columns["zero_gradient_share"], columns["flags"]) == (None, "")


# --- what gradient attacks miss


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("purifier", [Levels(), Turned()])
def test_a_score_attack_that_breaks_more_than_gradients_is_told(
    purifier: nn.Module, first: bool
) -> None:
    """Wherever it stands. BPDA finds what the masked gradient hides: then there is none."""
    network = Linear()
    model = Defended(purifier, network)
    masked = whole(purifier, network, PGD)
    stages = [*whole(purifier, network, SQUARE), *masked] if first else masked
    stages = stages if first else [*stages, *whole(purifier, network, SQUARE)]
    found, columns = checked(model, *stages)
    number = 0 if first else 1
    assert columns["only_by_queries"] == int((found.found_by == number).sum()) > 10
    assert "queries_beat_gradients" in columns["flags"].split(";")
    assert columns["only_by_transfer"] is None
    _, columns = checked(model, *stages, *bpda(purifier, network, PGD))
    assert columns["only_by_queries"] == 0
    assert "queries_beat_gradients" not in columns["flags"].split(";")


def test_images_of_another_model_that_gradients_do_not_find_are_told() -> None:
    network, purifier = Linear(), Turned()
    model, masked = Defended(purifier, network), whole(purifier, network, PGD)
    found, columns = checked(model, *gray(network, FGSM), *masked)
    broken = int((found.found_by == 0).sum())
    assert columns["only_by_transfer"] == broken > 10
    assert columns["flags"] == "transfer_beats_white_box"
    assert columns["only_by_queries"] is None
    # It is the gradient attacks' own merit that counts, in any order.
    for stages in (
        [*gray(network, FGSM), *masked, *bpda(purifier, network, PGD)],
        [*bpda(purifier, network, PGD), *masked, *gray(network, FGSM)],
    ):
        _, columns = checked(model, *stages)
        assert columns["only_by_transfer"] == 0
        assert columns["flags"] == ""


def test_a_control_asks_only_what_was_not_asked_before() -> None:
    """An image that fell to Square had been before the first gradient attack, and is handed to the
    second alone."""
    network, purifier = Linear(), Turned()
    weak = attack("weak", "fgsm", epsilon=0.004)
    stages = [
        *gray(network, weak),
        *whole(purifier, network, PGD, SQUARE),
        *whole(nn.Identity(), network, PGD),
    ]
    found, columns = checked(Defended(purifier, network), *stages)
    by_gray, by_square = (int((found.found_by == number).sum()) for number in (0, 2))
    assert min(by_gray, by_square) > 0
    first, second, doubled = steps(found, "control")
    assert [first["stage"], first["asked"], first["broken"]] == [1, by_gray, 0]
    assert [second["stage"], second["asked"]] == [3, by_gray + by_square]
    assert second["broken"] == second["asked"]
    assert (doubled["stage"], doubled["asked"]) == (4, 0)
    assert columns["only_by_queries"] == 0


def test_a_control_and_the_larger_ball_do_not_go_on_from_what_others_broke() -> None:
    """It would begin at images that are broken already."""
    network, purifier = Linear(), Turned()
    model, masked = Defended(purifier, network), whole(purifier, network, PGD)
    onward = [replace(stage, goes_on=True) for stage in masked]
    found, columns = checked(model, *gray(network, FGSM), *onward)
    assert columns["only_by_transfer"] == int((found.found_by == 0).sum()) > 10
    assert columns["flags"] == "transfer_beats_white_box"
    assert not steps(found, "larger_epsilon")
    found, _ = checked(model, *gray(network, FGSM), *masked, *onward)
    (cost,) = steps(found, "larger_epsilon")
    assert cost["stage"] == 1
    # Twice its iterations it goes on.
    assert len(steps(found, "doubled")) == 1


# --- twice the iterations


def test_an_attack_that_is_too_short_has_not_converged() -> None:
    network = Linear()
    found, columns = checked(network, *whole(nn.Identity(), network, SHORT))
    (cost,) = steps(found, "doubled")
    taken = int((found.found_by == 1).sum())
    assert columns["taken_by_doubling"] == cost["broken"] == taken > 2
    assert columns["flags"] == "not_converged"
    # What it breaks is broken, and its images are kept.
    assert found.costs[-1]["left"] == len(found.left) == cost["left"] == cost["asked"] - taken
    assert (network(found.images).argmax(dim=1) == found.predictions).all()
    twice = attack("short", "pgd", **SHORT["settings"] | {"iterations": 4})
    alone, _ = checked(network, *whole(nn.Identity(), network, twice), checks=False)
    assert torch.equal(alone.left, found.left)


def test_a_point_more_or_less_is_not_told() -> None:
    columns = check_columns({"doubled": 1}, 100)
    assert (columns["taken_by_doubling"], columns["flags"]) == (1, "")
    assert check_columns({"doubled": 2}, 100)["flags"] == "not_converged"
    assert check_columns({"queries_beat_gradients": 2}, 1000)["flags"] == ""
    beaten = {"queries_beat_gradients": 3, "transfer_beats_white_box": 1}
    assert check_columns(beaten, 1000)["flags"] == "queries_beat_gradients"


# --- draws


def test_a_randomised_defence_is_checked_on_the_draws_by_which_its_attacker_selects() -> None:
    """Whose noise is too small to matter: what is found is what is found without it."""
    network, purifier = Linear(), Declared()
    model = Defended(purifier, network)
    weak = attack("weak", "fgsm", epsilon=0.004)
    _, expected = checked(network, *gray(network, weak), *whole(nn.Identity(), network, SHORT))
    assert expected["taken_by_doubling"] > 2
    assert expected["flags"] == "not_converged"
    stages = [*gray(network, weak), *whole(purifier, network, SHORT)]
    _, fresh = checked(model, *stages, selection=Selection(7, 3))
    known = [replace(one, threat_model=f"{one.threat_model}_fixed") for one in stages[1:]]
    _, fixed = checked(model, stages[0], *known, selection=Selection(7, 1, known=True))
    for columns in (fresh, fixed):
        drawn = {"randomised": True, "flags": "randomised;not_converged"}
        assert columns == expected | drawn


# --- a larger ball


class Shell(nn.Module):
    """Errs where the first pixel is within 0.02 of 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Tensor:
        value = self.scale * (0.02 - (images.flatten(1)[:, 0] - 0.5).abs())
        return torch.stack([torch.zeros_like(value), value], dim=1)


def test_an_attack_that_jumps_over_what_it_looks_for_leaves_more_in_a_larger_ball() -> None:
    images = images_of(20)
    images[:, 0, 0, 0] = 0.47
    model = Shell()
    found, columns = checked(model, *whole(nn.Identity(), model, FGSM), images=images)
    assert int((found.found_by == 0).sum()) == 18
    (cost,) = steps(found, "larger_epsilon")
    assert (cost["epsilon"], cost["asked"], cost["broken"]) == (2 * EPSILON, 18, 0)
    assert columns["larger_epsilon_leaves"] == 18
    assert columns["flags"] == "larger_epsilon_leaves_more"
    # One that stays where it has succeeded leaves none.
    worst = attack("worst", "pgd", epsilon=EPSILON, iterations=4, step_size=0.02, keep="worst")
    _, columns = checked(model, *whole(nn.Identity(), model, worst), images=images)
    assert (columns["larger_epsilon_leaves"], columns["flags"]) == (0, "")


def test_the_larger_ball_is_for_the_images_that_the_attack_was_asked_about() -> None:
    network = Linear()
    found, columns = checked(network, *gray(network, FGSM), *whole(nn.Identity(), network, PGD))
    (cost,) = steps(found, "larger_epsilon")
    there = found.costs[2]
    assert (cost["asked"], cost["stage"]) == (there["asked"], 1)
    assert columns["larger_epsilon_leaves"] == there["broken"] - cost["broken"]
    assert cost["outside"] == 0


# --- a cascade that was interrupted


class Interrupted(Exception):
    pass


class Dies(Saved):
    """Ends after so many saves."""

    def save(self, found: Found) -> None:
        super().save(found)
        if len(found.costs) == DIES[0]:
            raise Interrupted


DIES = [0]


def test_a_cascade_goes_on_with_the_checks_that_were_not_made(tmp_path: Path) -> None:
    network, purifier = Net(), Turned()
    model = Defended(purifier, network)
    stages = [*gray(network, FGSM), *whole(purifier, network, SHORT, SQUARE)]
    small = {"images": images_of(20), "batch_size": 8}
    expected, columns = checked(model, *stages, **small)
    assert CLEAN in expected.found_by
    assert LEFT in expected.found_by
    for after in range(2, len(expected.costs) + 1):
        path = tmp_path / f"{after}.safetensors"
        DIES[0] = after
        with pytest.raises(Interrupted):
            checked(model, *stages, saved=Dies(path, "digest"), **small)
        found, again = checked(model, *stages, saved=Saved(path, "digest"), **small)
        assert again == columns
        assert found.checked == expected.checked
        assert torch.equal(found.found_by, expected.found_by)
        assert torch.equal(found.images, expected.images)
        timeless = [
            [{k: v for k, v in cost.items() if k != "seconds"} for cost in one.costs]
            for one in (found, expected)
        ]
        assert timeless[0] == timeless[1]
