"""A cascade on randomised models: what selects, what judges, and that they are not the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_up_noise import Noise
from test_cascade import (
    COUNT,
    RECIPE,
    Linear,
    attack,
    files_in,
    images_of,
    job,
    on,
    raise_pixel,
)
from torch import Tensor, nn

from purification.evaluation import cascade
from purification.evaluation.cascade import (
    CLEAN,
    LEFT,
    Found,
    Saved,
    Stage,
    finish_cascade,
    run_cascade,
)
from purification.evaluation.checks import check_columns
from purification.evaluation.judge import Selection
from purification.evaluation.protocols import judging_seed, share_under
from purification.purifiers import Defended, StraightThrough
from purification.randomness import derive_seed, draw_seeds, normal_of, uniform_of
from purification.storage import read_image_set

BALL = {"norm": "linf", "epsilon": 0.1, "batch_size": 7}
SELECTION = Selection(seed=5, draws=10)


class Recorded(Noise):
    """Notes whose draws it was asked for."""

    def __init__(self, deviation: float) -> None:
        super().__init__(deviation)
        self.asked: list[int] = []

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        self.asked += seeds.tolist()
        return super().forward(images, seeds)


class Luck(nn.Module):
    """Whether it errs on an image is a coin of the image's content and the draw: no attack that
    makes another image can do more than toss once more."""

    randomised = True

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        content = (images.detach().flatten(1).sum(dim=1) * 1e4).round().long()
        coins = uniform_of(seeds ^ (content * 7919), (1,)) - 0.5
        pixel = images.flatten(1)[:, :1]
        # Its gradient has no meaning, and is not zero.
        return torch.cat([torch.zeros_like(coins), coins + pixel - pixel.detach()], dim=1)


def run(
    defended: nn.Module, stages: list[Stage], images: Tensor, labels: Tensor, **more: Any
) -> Found:
    settings = {**BALL, "seed": 3, "selection": SELECTION} | more
    return run_cascade(defended, stages, images, labels, **settings)


def attack_many(count: int) -> list[dict[str, Any]]:
    """Attacks that each make another image, whatever the model says."""
    return [raise_pixel(pixel, 0.01 + 0.001 * pixel) for pixel in range(count)]


def judged(defended: nn.Module, images: Tensor, labels: Tensor, draws: int = 5) -> np.ndarray:
    seeds = [draw_seeds(99, range(len(images)), draw) for draw in range(draws)]
    with torch.no_grad():
        classes = [defended(images, seed).argmax(dim=1) for seed in seeds]
    return (torch.stack(classes, dim=1) == labels[:, None]).numpy()


def test_an_attacker_who_has_only_luck_gains_nothing_where_it_is_judged() -> None:
    """Of eight images the one is selected that errs on most of the selecting draws: some 7.2 of 10.
    On draws of the judgement it errs on half, as any other image."""
    images, model = images_of(200), Luck()
    labels = torch.zeros(200, dtype=torch.int64)
    found = run(model, on(model, *attack_many(8)), images, labels)
    assert found.costs[0]["accuracy"] == pytest.approx(0.5, abs=0.04)
    assert found.costs[-1]["accuracy"] < 0.33  # the attacker's opinion
    right = judged(model, found.images, labels)
    assert right.mean() == pytest.approx(0.5, abs=0.05)  # 1,000 coins: three deviations
    # The state says what was selected.
    errors = sum(
        model(found.images, draw_seeds(5, range(200), draw))[:, 1] > 0 for draw in range(10)
    )
    assert torch.equal(errors, found.errors)
    assert (found.made_by >= 0).sum() > 150
    assert (found.errors[found.found_by == LEFT] < 10).all()


def test_an_attack_that_has_only_luck_is_not_told_to_go_on() -> None:
    """Twice the iterations are another toss, by which the selection gains and nothing else."""
    images, model = images_of(200), Luck()
    labels = torch.zeros(200, dtype=torch.int64)
    settings = {"epsilon": 0.1, "iterations": 2, "step_size": 0.02, "start": "image"}
    stages = on(model, attack("pgd", "pgd", **settings))
    found = run(model, stages, images, labels, checks=True)
    (doubled,) = (cost for cost in found.costs if "doubled" in cost.values())
    before = found.costs[found.costs.index(doubled) - 1]
    assert 200 * (before["accuracy"] - doubled["accuracy"]) > 5  # the attacker's opinion
    assert abs(found.checked["doubled"]) < 3 * found.checked["doubled_error"]
    assert "not_converged" not in check_columns(found.checked, 200)["flags"]


def test_an_attack_that_is_too_short_is_told_so_on_draws_too() -> None:
    model, _, images, labels = noisy_linear()
    short = attack("short", "pgd", **EOT | {"iterations": 2, "step_size": 0.01})
    found = run(model, on(model, short), images, labels, checks=True)
    assert found.checked["doubled"] > 2 * found.checked["doubled_error"] + 0.6
    assert "not_converged" in check_columns(found.checked, COUNT)["flags"]


def test_no_success_but_on_all_selecting_draws_ends_an_attack() -> None:
    """An image of a value that errs with a known chance: it is asked until it errs on all draws."""

    class Threshold(nn.Module):
        randomised = True

        def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
            value = images.flatten(1)[:, 0] - 0.5 + 0.1 * (uniform_of(seeds, ()).to(images) - 0.5)
            return torch.stack([torch.zeros_like(value), value], dim=1)

    values = torch.tensor([0.40, 0.44, 0.48, 0.50, 0.53, 0.56])
    images = torch.full((6, 1, 4, 4), 0.3)
    images.flatten(1)[:, 0] = values
    labels, model = torch.zeros(6, dtype=torch.int64), Threshold()

    def errors(by: float) -> Tensor:
        drawn = torch.stack([uniform_of(draw_seeds(5, range(6), d), ()) for d in range(10)])
        return (values + by - 0.5 + 0.1 * (drawn - 0.5) > 0).sum(dim=0)

    ups = [raise_pixel(0, by) | {"name": f"up{by}"} for by in (0.02, 0.04, 0.09)]
    found = run(model, on(model, *ups), images, labels)
    everywhere = [errors(by) == 10 for by in (0.0, 0.02, 0.04, 0.09)]
    # Some err on a few draws of each stage, and are asked on.
    assert ((errors(0.02) > 0) & ~everywhere[1]).any()
    asked = [cost["asked"] for cost in found.costs]
    assert asked == [6, *(int((~wrong).sum()) for wrong in everywhere[:3])]
    expected = torch.full((6,), LEFT)
    for stage in (2, 1, 0):
        expected[everywhere[stage + 1]] = stage
    expected[everywhere[0]] = CLEAN
    assert len(expected.unique()) > 3
    assert torch.equal(found.found_by, expected)
    last = found.found_by == LEFT
    assert torch.equal(found.errors[last], errors(0.09)[last])
    assert found.costs[-1]["accuracy"] == (60 - found.errors.sum().item()) / 60
    assert found.costs[-1]["left"] == int(last.sum())


def noisy_linear() -> tuple[Defended, Defended, Tensor, Tensor]:
    """A model, the same with BPDA, and images with labels that are mostly right."""
    network, images = Linear(), images_of()
    noise = Noise(0.1)
    labels = network(images).argmax(dim=1)
    return Defended(noise, network), Defended(StraightThrough(noise), network), images, labels


EOT = {
    **{"epsilon": 0.1, "iterations": 3, "step_size": 0.05, "loss": "margin", "start": "image"},
    "expectation": 2,
}


def test_the_batch_and_the_other_images_play_no_part_on_draws_either() -> None:
    model, bpda, images, labels = noisy_linear()
    stages = [
        Stage(attack("eot", "pgd", **EOT), "white_box", model),
        Stage(attack("eot", "pgd", **EOT), "white_box_bpda", bpda),
    ]
    found = run(model, stages, images, labels)
    assert 0.1 < found.costs[-1]["accuracy"] < found.costs[0]["accuracy"] - 0.1
    other = run(model, stages, images, labels, batch_size=60)
    torch.testing.assert_close(other.images, found.images, rtol=0, atol=1e-5)
    assert torch.equal(other.errors, found.errors)
    begun = run(model, stages, images[:25], labels[:25])
    torch.testing.assert_close(begun.images, found.images[:25], rtol=0, atol=1e-5)
    assert torch.equal(begun.errors, found.errors[:25])
    # A stage with K draws a look costs K passes: three looks, the first one, and the judgements.
    [_, cost, _] = found.costs
    assert cost["passes"] == cost["asked"] * (2 * (3 + 1) + 1 + SELECTION.draws)


def test_on_known_draws_it_is_as_on_a_deterministic_model() -> None:
    """The model with each image's draw built in, which numbers its images by a pixel."""
    model, _, images, labels = noisy_linear()
    known = Selection(seed=8, draws=1, known=True)
    early = attack("early", "pgd", **EOT | {"keep": "first_success", "expectation": 1})
    found = run(model, [Stage(early, "white_box_fixed", model)], images, labels, selection=known)
    noise = 0.1 * normal_of(draw_seeds(8, range(COUNT), 0), images.shape[1:])

    def logits(candidates: Tensor) -> Tensor:
        return model.classifier(candidates + noise)

    assert torch.equal(found.predictions, logits(found.images).argmax(dim=1))
    assert torch.equal(found.predictions != labels, found.found_by != LEFT)
    # Against the closed form: the noisy image moved by the whole of epsilon.
    moved = images - 0.1 * (2 * labels[:, None, None, None] - 1) * Linear().weights.sign().view(
        1, 1, 4, 4
    )
    assert torch.equal(logits(moved).argmax(dim=1) != labels, found.found_by != LEFT)
    assert 5 < int((found.found_by == 0).sum()) < 55
    # Whoever attacks another draw than that on which is judged breaks fewer.
    blind = run(
        model, [Stage(early, "white_box_fixed", model)], images, labels, selection=SELECTION
    )
    assert blind.costs[-1]["left"] > found.costs[-1]["left"]


def test_a_selection_and_its_model_belong_together() -> None:
    model, _, images, labels = noisy_linear()
    with pytest.raises(ValueError, match="a selection is for a randomised model; got a determinis"):
        run(Linear(), [], images, labels)
    with pytest.raises(ValueError, match="got a randomised one and None"):
        run(model, [], images, labels, selection=None)


# --- from a recipe

EOT_STAGE = {"attack": attack("eot", "pgd", **EOT | {"epsilon": 0.05})}
DRAWN = RECIPE | {
    **{"defense": "noisy", "purifier": {"name": "noise", "networks": {}}},
    **{"selection_draws": 4, "judged_draws": 3, "others": {}},
    "stages": [
        {"attack": attack("fgsm", "fgsm", epsilon=0.05), "threat_model": "gray_box"},
        {"attack": attack("eot", "pgd", **EOT | {"epsilon": 0.05}), "threat_model": "white_box"},
        {
            "attack": attack("eot", "pgd", **EOT | {"epsilon": 0.05}),
            "threat_model": "white_box_bpda",
        },
    ],
}
MADE, STATE = "results/adaptive/D.h5", "results/adaptive/D.state.safetensors"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return files_in(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread_and_one_seed: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    made = Recorded(0.2)
    monkeypatch.setattr(cascade, "fitted_purifier", lambda *_: made)
    return made


def test_no_attack_and_no_selection_sees_the_draws_of_the_judgement(
    files: dict[str, str], folder: Path, noise: Recorded
) -> None:
    costs = job(files, DRAWN)
    seed = judging_seed(DRAWN)
    judging = {int(s) for draw in range(3) for s in draw_seeds(seed, range(12), draw)}
    before, after = noise.asked[:-72], noise.asked[-72:]
    assert {*after} == judging
    assert not judging & {*before}
    # Nor does an attack see those of the selection, which are asked for each candidate.
    own = Selection.of(DRAWN, derive_seed(0, MADE))
    assert own is not None
    selecting = {int(s) for draw in range(4) for s in draw_seeds(own.seed, range(12), draw)}
    looks = len([seed for seed in before if seed not in selecting])
    asked = [cost["asked"] for cost in costs]
    assert len(before) - looks == 4 * sum(asked)
    assert looks == 9 * (asked[2] + asked[3])


def test_the_file_says_by_which_protocols_it_is_judged(
    files: dict[str, str], folder: Path, noise: Recorded
) -> None:
    costs = job(files, DRAWN)
    made = read_image_set(MADE)
    right = {
        name: made.fields[name] == made.labels[:, None]
        for name in ("predictions", "clean_predictions")
    }
    assert right["predictions"].shape == (12, 3)
    classifier = cascade.load_network(files["classifier"], "Classifier")
    for draw in range(3):
        seeds = draw_seeds(judging_seed(DRAWN), range(12), draw)
        classes = classifier(noise(torch.from_numpy(made.images), seeds)).argmax(dim=1)
        assert np.array_equal(classes.numpy(), made.fields["predictions"][:, draw])
    one_shot, every = json.loads(made.attributes["protocols"])
    for said, protocol, number in ((one_shot, "one_shot", 1), (every, "evaluations", 3)):
        expected = share_under(protocol, number, right["predictions"])
        assert {name: said[name] for name in expected} == expected
        clean = share_under(protocol, number, right["clean_predictions"])["accuracy"]
        assert (said["protocol"], said["evaluations"], said["draws"]) == (protocol, number, 3)
        assert said["clean_accuracy"] == clean
    assert every["accuracy"] < one_shot["accuracy"] < one_shot["clean_accuracy"]
    assert made.attributes["selection_draws"] == 4
    # An accuracy without its protocol there is not.
    assert not {"accuracy", "correct", "clean_correct"} & {*made.attributes}
    assert {(cost["draws"], cost["known"]) for cost in costs} == {(4, False)}
    assert costs[-1]["accuracy"] == (48 - made.fields["errors"].sum()) / 48
    # One draw has no other protocol.
    finish_cascade(STATE)
    job(files, DRAWN | {"judged_draws": 1})
    (alone,) = json.loads(read_image_set(MADE).attributes["protocols"])
    assert (alone["protocol"], alone["spread"]) == ("one_shot", None)


def test_the_file_of_known_draws_has_one_protocol(
    files: dict[str, str], folder: Path, noise: Recorded
) -> None:
    recipe = {k: v for k, v in DRAWN.items() if not k.endswith("_draws")} | {"known_draw": True}
    early = attack("early", "pgd", **EOT | {"epsilon": 0.05, "keep": "first_success"})
    del early["settings"]["expectation"]
    recipe["stages"] = [{"attack": early, "threat_model": "white_box_bpda_fixed"}]
    costs = job(files, recipe)
    made = read_image_set(MADE)
    seed = judging_seed(recipe, known=True)
    known = draw_seeds(seed, range(12), 0)
    assert {*noise.asked} == {*known.tolist()}
    classifier = cascade.load_network(files["classifier"], "Classifier")
    classes = classifier(noise(torch.from_numpy(made.images), known)).argmax(dim=1).numpy()
    assert np.array_equal(classes, made.fields["predictions"])
    assert made.attributes["protocol"] == "fixed"
    assert made.attributes["correct"] == (classes == made.labels).sum()
    assert made.attributes["correct"] < made.attributes["clean_correct"]
    assert {(cost["draws"], cost["known"]) for cost in costs} == {(1, True)}


@pytest.mark.parametrize("after", [1, 3])
def test_a_cascade_on_draws_is_taken_up_and_ends_with_the_same_bits(
    files: dict[str, str],
    folder: Path,
    noise: Recorded,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    job(files, DRAWN)
    whole = Path(MADE).read_bytes()
    Path(MADE).unlink()
    finish_cascade(STATE)
    _interrupted(monkeypatch, after, lambda: job(files, DRAWN))
    assert not Path(MADE).exists()
    job(files, DRAWN)
    assert Path(MADE).read_bytes() == whole


def _interrupted(monkeypatch: pytest.MonkeyPatch, after: int, begun: Callable[[], Any]) -> None:
    """Runs a cascade that ends when so many of its states are saved."""
    save, saves = Saved.save, []

    def save_and_stop(saved: Saved, found: Any) -> None:
        save(saved, found)
        saves.append(found)
        if len(saves) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Saved, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            begun()
