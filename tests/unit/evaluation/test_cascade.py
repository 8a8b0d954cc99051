"""A cascade of attacks: what it breaks, against closed forms; its costs; its state and its file."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purification.attacks import run_attack
from purification.evaluation import cascade
from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.cascade import (
    CLEAN,
    COST_COLUMNS,
    LEFT,
    Found,
    Saved,
    Stage,
    attack_adaptively,
    change,
    finish_cascade,
    run_cascade,
)
from purification.models.checkpoints import load_network, save_network
from purification.models.classifiers import build_classifier
from purification.models.vae import VAE
from purification.purifiers import Defended, Purifier, StraightThrough
from purification.purifiers.loading import load_purifier
from purification.randomness import derive_seed, isolated_rng
from purification.storage import read_image_set, read_split, write_dataset

SHAPE = (1, 4, 4)
COUNT = 60


# --- models and attacks whose outcome is known


class Linear(nn.Module):
    """Two classes, of logits 0 and w.x + b."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.weights = nn.Parameter(torch.randn(16, generator=random))
        self.bias = nn.Parameter(-0.5 * self.weights.detach().sum())

    def forward(self, images: Tensor) -> Tensor:
        value = images.flatten(1) @ self.weights + self.bias
        return torch.stack([torch.zeros_like(value), value], dim=1)


class FirstTwo(nn.Module):
    """Two classes: whether the larger of the first two pixels is above 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Tensor:
        value = self.scale * (images.flatten(1)[:, :2].amax(dim=1) - 0.5)
        return torch.stack([torch.zeros_like(value), value], dim=1)


def images_of(count: int = COUNT, seed: int = 1) -> Tensor:
    """Away from 0 and 1, so that no ball of radius 0.1 is cut by the range of pixels."""
    return 0.2 + 0.6 * torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


ASKED: list[list[int]] = []


def raised(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    pixel: int,
    by: float,
    seed: int,
    indices: Iterable[int],
) -> Tensor:
    """A pixel is raised, whatever the model says. Notes whom it was asked about."""
    ASKED.append(list(indices))
    moved = images.clone()
    moved.flatten(1)[:, pixel] += by
    return moved


raised.gradient_based = False  # type: ignore[attr-defined]


def attack(name: str, method: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "method": method, "settings": settings}


def raise_pixel(pixel: int, by: float) -> dict[str, Any]:
    return attack(f"raise{pixel}", "test_cascade:raised", pixel=pixel, by=by)


def on(model: nn.Module, *attacks: dict[str, Any]) -> list[Stage]:
    return [Stage(one, "white_box", model) for one in attacks]


def run(
    model: nn.Module, stages: list[Stage], images: Tensor, labels: Tensor, **changed: Any
) -> Found:
    settings = {"norm": "linf", "epsilon": 0.1, "seed": 3, "batch_size": 7} | changed
    return run_cascade(model, stages, images, labels, **settings)


def distances(model: Linear, images: Tensor, dual: float) -> Tensor:
    """Of each image to the boundary of a linear model, in the norm whose dual is given, float64."""
    weights = model.weights.detach().double()
    value = images.flatten(1).double() @ weights + model.bias.detach().double()
    return value.abs() / torch.linalg.vector_norm(weights, ord=dual)


@pytest.mark.parametrize(("norm", "dual", "epsilon"), [("linf", 1, 0.02), ("l2", 2, 0.08)])
def test_of_a_linear_model_the_accuracy_is_the_closed_form(
    norm: str, dual: float, epsilon: float
) -> None:
    model, images = Linear(), images_of(200)
    labels = model(images).argmax(dim=1)
    labels[::10] = 1 - labels[::10]  # wrong without any attack
    method = {"linf": "pgd", "l2": "pgd_l2"}[norm]
    own = {"epsilon": epsilon, "iterations": 5, "step_size": epsilon}
    weak = attack("weak", method, **own, loss="margin", start="random")
    strong = attack("strong", method, **own, loss="margin", start="image", keep="worst")
    found = run(model, on(model, weak, strong), images, labels, norm=norm, epsilon=epsilon)
    distance = distances(model, images, dual)
    assert ((distance - epsilon).abs() > 1e-5).all()  # no image's fate is a matter of rounding
    clean_error = torch.arange(200) % 10 == 0
    assert torch.equal(found.found_by == CLEAN, clean_error)
    assert torch.equal(found.found_by == LEFT, ~clean_error & (distance > epsilon))
    right = int((~clean_error & (distance > epsilon)).sum())
    assert 20 < right < 160
    assert found.costs[-1]["left"] == right
    assert found.costs[-1]["accuracy"] == right / 200
    # The strongest image of those that withstand: the far end of the ball, in closed form.
    left = found.left
    reached = (distance[left] - epsilon) * torch.linalg.vector_norm(
        model.weights.detach().double(), ord=dual
    )
    torch.testing.assert_close(found.margin[left].double(), -reached, rtol=0, atol=1e-4)


def test_a_cascade_of_every_image_tells_what_each_attack_leaves_by_itself(
    tmp_path: Path,
) -> None:
    model, labels = FirstTwo(), torch.zeros(6, dtype=torch.int64)
    far = raise_pixel(0, 0.2)  # leaves the ball
    stages = on(model, *BOTH, far)
    saved = Saved(tmp_path / "state.safetensors", "digest")
    ASKED.clear()
    found = run(model, stages, PAIRS, labels, every_image=True, saved=saved, batch_size=6)
    # All but image 4, which is wrong as it is.
    assert ASKED == [[0, 1, 2, 3, 5]] * 3
    assert found.found_by.tolist() == [0, 1, 0, LEFT, CLEAN, 0]
    assert found.broke.int().tolist() == [[1, 0, 1, 0, 0, 1], [0, 1, 1, 0, 0, 0], [0] * 6]
    assert [cost["broken"] for cost in found.costs] == [1, 3, 2, 0]
    assert [cost["left"] for cost in found.costs] == [5, 2, 1, 1]
    # What each made, in the ball; what it did not attack is as it was.
    moved = found.tried - PAIRS
    assert moved[0].flatten(1)[:, 0].tolist() == pytest.approx([0.09] * 4 + [0, 0.09])
    assert moved[2].count_nonzero() == 0
    loaded = saved.load()
    assert loaded is not None
    assert torch.equal(loaded.tried, found.tried)
    assert torch.equal(loaded.broke, found.broke)
    # Other cascades keep nothing of it.
    assert len(run(model, stages, PAIRS, labels).tried) == 0


def test_an_unbounded_attack_counts_where_its_image_lies_in_the_ball() -> None:
    """DeepFool's images of a linear model are 1.02 times as far as the boundary."""
    model, images = Linear(), images_of(200)
    labels, epsilon = model(images).argmax(dim=1), 0.08
    deepfool = attack("deepfool", "deepfool", iterations=50, overshoot=0.02, candidates=2)
    found = run(model, on(model, deepfool), images, labels, norm="l2", epsilon=epsilon)
    reached = 1.02 * distances(model, images, 2)
    assert ((reached - epsilon).abs() > 2e-4).all()
    assert torch.equal(found.found_by == 0, reached <= epsilon)
    [_, cost] = found.costs
    assert (cost["broken"], cost["outside"]) == (
        int((reached <= epsilon).sum()),
        int((reached > epsilon).sum()),
    )
    # What lies outside of the ball is not kept either.
    assert torch.equal(found.images[found.left], images[found.left])
    assert change(found.images, images, "l2").max() <= epsilon + 1e-5


# --- several attacks together


def pixels(*pairs: tuple[float, float]) -> Tensor:
    images = torch.full((len(pairs), *SHAPE), 0.3)
    images.flatten(1)[:, :2] = torch.tensor(pairs)
    return images


PAIRS = pixels((0.45, 0.1), (0.1, 0.45), (0.45, 0.45), (0.1, 0.1), (0.1, 0.6), (0.45, 0.2))
BOTH = (raise_pixel(0, 0.09), raise_pixel(1, 0.09))


def test_the_union_of_what_attacks_break_is_broken_in_any_order_and_batch() -> None:
    model, labels = FirstTwo(), torch.zeros(6, dtype=torch.int64)
    ASKED.clear()
    found = run(model, on(model, *BOTH), PAIRS, labels, batch_size=6)
    assert found.found_by.tolist() == [0, 1, 0, LEFT, CLEAN, 0]
    # Each on those that are right, by their own numbers: image 4 is wrong from the beginning.
    assert ASKED == [[0, 1, 2, 3, 5], [1, 3]]
    assert [cost["asked"] for cost in found.costs] == [6, 5, 2]
    assert [cost["broken"] for cost in found.costs] == [1, 3, 1]
    assert [cost["left"] for cost in found.costs] == [5, 2, 1]
    for size in (1, 4):
        other = run(model, on(model, *BOTH), PAIRS, labels, batch_size=size)
        assert torch.equal(other.found_by, found.found_by)
        assert torch.equal(other.images, found.images)
        assert torch.equal(other.margin, found.margin)
    turned = run(model, on(model, *BOTH[::-1]), PAIRS, labels)
    assert turned.found_by.tolist() == [1, 0, 0, LEFT, CLEAN, 1]
    # Each image alone: no other one plays a part.
    for number in (0, 1, 2, 3, 5):
        alone = run(model, on(model, *BOTH), PAIRS[number : number + 1], labels[:1])
        assert alone.found_by[0] == found.found_by[number]
        assert torch.equal(alone.images[0], found.images[number])


def test_random_numbers_belong_to_images_and_stages() -> None:
    """What the second attack does to an image is the same whether or not there was a first, and
    however many images are left."""
    model, images = Linear(), images_of()
    labels, epsilon = model(images).argmax(dim=1), 0.04
    random = attack("random", "pgd", epsilon=epsilon, iterations=1, step_size=0.03)
    first = attack("first", "fgsm", epsilon=0.01)
    alone = run(model, on(model, random), images, labels, epsilon=epsilon)
    after = run(model, on(model, first, random), images, labels, epsilon=epsilon, batch_size=60)
    begun = run(model, on(model, random), images[:25], labels[:25], epsilon=epsilon)
    asked = (after.found_by != 0).nonzero().squeeze(1)
    assert 0 < int((after.found_by == 0).sum()) < COUNT
    broken = asked[(alone.found_by[asked] == 0)]
    assert len(broken) > 1
    torch.testing.assert_close(after.images[broken], alone.images[broken], rtol=0, atol=1e-6)
    torch.testing.assert_close(begun.images, alone.images[:25], rtol=0, atol=1e-6)
    assert torch.equal(begun.found_by, alone.found_by[:25])
    # Of another name it draws others.
    other = run(model, on(model, random | {"name": "other"}), images, labels, epsilon=epsilon)
    assert not torch.allclose(other.images[broken], alone.images[broken], rtol=0, atol=1e-4)


def test_of_an_image_that_withstands_the_candidate_of_greatest_margin_is_kept() -> None:
    model, images = FirstTwo(), pixels((0.2, 0.1), (0.3, 0.1), (0.35, 0.1))
    labels = torch.zeros(3, dtype=torch.int64)
    ups = [raise_pixel(0, by) for by in (0.05, 0.09, -0.05, 0.02)]
    stages = [Stage(up | {"name": f"up{i}"}, "white_box", model) for i, up in enumerate(ups)]
    for order in (stages, stages[::-1]):
        found = run(model, order, images, labels)
        assert (found.found_by == LEFT).all()
        torch.testing.assert_close(
            found.images.flatten(1)[:, 0], images.flatten(1)[:, 0] + 0.09, rtol=0, atol=1e-6
        )
        assert torch.equal(found.margin, model(found.images)[:, 1])
        assert (found.predictions == 0).all()
    # The image itself is a candidate.
    found = run(model, on(model, raise_pixel(0, -0.05)), images, labels)
    assert torch.equal(found.images, images)


def onward(
    model: nn.Module, images: Tensor, labels: Tensor, *, by: float, begin_at: Tensor | None = None
) -> Tensor:
    """The first pixel is raised, of the image or of that at which it is to begin."""
    start = images if begin_at is None else begin_at
    return raised(model, start, labels, pixel=0, by=by, seed=0, indices=range(len(start)))


onward.gradient_based = False  # type: ignore[attr-defined]


def test_a_stage_that_goes_on_begins_at_the_strongest_image_of_all_before() -> None:
    images = images_of(4)
    images.flatten(1)[:, :2] = torch.tensor([[0.48, 0.2], [0.44, 0.2], [0.42, 0.2], [0.44, 0.2]])
    model, labels = FirstTwo(), torch.zeros(4, dtype=torch.int64)
    onwards = attack("onward", "test_cascade:onward", by=0.05)
    stages = on(model, raise_pixel(0, 0.03), raise_pixel(0, 0.01), onwards)
    found = run(model, stages, images, labels)
    assert found.found_by.tolist() == [0, LEFT, LEFT, LEFT]
    stages[2] = Stage(onwards, "white_box", model, goes_on=True)
    went = run(model, stages, images, labels)
    assert went.found_by.tolist() == [0, 2, LEFT, 2]
    # 0.03 of the first stage, not 0.01 of the second, and 0.05.
    assert torch.allclose(went.images[:, 0, 0, 0], torch.tensor([0.51, 0.52, 0.5, 0.52]))
    # By itself, and in any batch.
    parts = [run(model, stages, images[i : i + 2], labels[i : i + 2]) for i in (0, 2)]
    assert torch.equal(torch.cat([part.images for part in parts]), went.images)
    # Behind nothing it begins at the image.
    first = run(model, stages[2:], images, labels)
    assert torch.allclose(first.images[1:, 0, 0, 0], images[1:, 0, 0, 0] + 0.05)


def test_a_stage_that_goes_on_attacks_only_what_is_left_in_a_cascade_of_every_image() -> None:
    model, labels = FirstTwo(), torch.zeros(6, dtype=torch.int64)
    onward = Stage(attack("onward", "test_cascade:onward", by=0.005), "white_box", model, True)
    stages = [*on(model, *BOTH), onward]
    found = run(model, stages, PAIRS, labels, every_image=True, batch_size=6)
    by_itself = run(model, stages[:2], PAIRS, labels, every_image=True, batch_size=6)
    assert by_itself.left.tolist() == [3]
    assert [cost["asked"] for cost in found.costs] == [6, 5, 5, 1]
    assert [cost.get("begin") for cost in found.costs] == [None, None, None, "strongest"]
    # It is not among those who were asked about every image, and has a place of its own.
    assert torch.equal(found.tried[:2], by_itself.tried)
    assert torch.equal(found.broke[:2], by_itself.broke)
    strongest = by_itself.images[3, 0, 0, 0]
    assert torch.isclose(found.tried[2, 3, 0, 0, 0], strongest + 0.005)
    assert torch.equal(found.tried[2, :3], PAIRS[:3])
    assert not found.broke[2, [0, 1, 2, 4, 5]].any()


def test_a_transferred_image_is_judged_by_the_defended_model() -> None:
    """FGSM breaks another model, whose weights have the other sign: here it helps the label."""
    model, other, images = Linear(), Linear(), images_of()
    with torch.no_grad():
        other.weights *= -1
        other.bias *= -1
    labels = model(images).argmax(dim=1)
    stage = Stage(attack("fgsm", "fgsm", epsilon=0.1), "gray_box", other)
    found = run(model, [stage], images, labels)
    assert (found.found_by == LEFT).all()
    assert torch.equal(found.images, images)  # nothing that it made is stronger than the image


def test_a_masked_gradient_costs_its_stage_alone() -> None:
    class Rounding(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images * 64).round() / 64

    network, images = Linear(), images_of()
    rounding = Rounding()
    model, bpda = Defended(rounding, network), Defended(StraightThrough(rounding), network)
    labels, fgsm = model(images).argmax(dim=1), attack("fgsm", "fgsm", epsilon=0.1)
    stages = [Stage(fgsm, "white_box", model), Stage(fgsm, "white_box_bpda", bpda)]
    found = run(model, stages, images, labels)
    _, refused, after = found.costs
    assert "exactly zero for all 60 images" in refused["refused"]
    assert (refused["asked"], refused["broken"], refused["left"]) == (60, 0, 60)
    assert after["refused"] is None
    assert after["broken"] > 30
    assert set(found.found_by.tolist()) <= {1, LEFT}


def test_nothing_is_asked_when_nothing_is_left() -> None:
    model, labels = FirstTwo(), torch.zeros(2, dtype=torch.int64)
    found = run(model, on(model, *BOTH), pixels((0.6, 0.1), (0.45, 0.1)), labels)
    assert found.found_by.tolist() == [CLEAN, 0]
    last = found.costs[-1]
    assert (last["asked"], last["broken"], last["passes"], last["refused"]) == (0, 0, 0, None)


def test_passes_are_the_rows_that_the_modules_were_given() -> None:
    rows = {"purifier": 0, "network": 0}

    class Same(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            rows["purifier"] += len(images)
            return images * 1.0

    class Network(Linear):
        def forward(self, images: Tensor) -> Tensor:
            rows["network"] += len(images)
            return super().forward(images)

    same, network, images = Same(), Network(), images_of(20)
    model, bpda = Defended(same, network), Defended(StraightThrough(same), network)
    labels = network(images).argmax(dim=1)
    rows.update(network=0)
    fgsm = attack("fgsm", "fgsm", epsilon=0.001)
    counted = {
        **{"passes": [model, bpda], "purifier_passes": [same]},
        "classifier_passes": [network],
    }
    stages = [
        *(Stage(fgsm, "white_box", model), Stage(fgsm, "white_box_bpda", bpda)),
        Stage(fgsm, "classifier", network),
    ]
    found = run(model, stages, images, labels, counted=counted, epsilon=0.001)
    passes = {
        name: [cost[name] for cost in found.costs]
        for name in ("passes", "purifier_passes", "classifier_passes")
    }
    # FGSM has a gradient, and a look at its image; then it is judged.
    asked = [cost["asked"] for cost in found.costs[1:]]
    assert passes["passes"] == [20, 3 * asked[0], 3 * asked[1], asked[2]]
    assert passes["purifier_passes"] == passes["passes"]
    assert passes["classifier_passes"] == [20, *(3 * n for n in asked)]
    assert sum(passes["purifier_passes"]) == rows["purifier"]
    assert sum(passes["classifier_passes"]) == rows["network"]
    found = run(model, stages[:1], images, labels, epsilon=0.001)
    assert [cost["passes"] for cost in found.costs] == [20, 60]


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="norm must be one of linf, l2; got 'l1'"):
        run(Linear(), [], images_of(2), torch.zeros(2, dtype=torch.int64), norm="l1")


# --- from a recipe and files, taken up after a kill

CLASSIFIER = {"kind": "Classifier", "settings": {"architecture": "D", "dropout": "paper"}}
FGSM = attack("fgsm", "fgsm", epsilon=0.05)
PGD = attack("pgd", "pgd", epsilon=0.05, iterations=4, step_size=0.03)
RECIPE: dict[str, Any] = {
    "kind": "AttackedAdaptively",
    "dataset": {"name": "digits"},
    **{"seed": 0, "cascade": "small", "defense": "none", "norm": "linf", "epsilon": 0.05},
    "images": 12,
    "stages": [
        {"attack": attack("weak", "fgsm", epsilon=0.01), "threat_model": "white_box"},
        {"attack": FGSM, "threat_model": "transfer:other"},
        {"attack": PGD, "threat_model": "gray_box"},
        {"attack": PGD, "threat_model": "white_box"},
    ],
    "classifier": CLASSIFIER | {"name": "D"},
    "purifier": None,
    "gray": CLASSIFIER,
    "others": {"other": {"classifier": CLASSIFIER, "purifier": None}},
}
MADE, STATE = "results/adaptive/D.h5", "results/adaptive/D.state.safetensors"
KILLED = """
import json, os, signal, sys
import torch
from purification.evaluation import cascade

torch.set_num_threads(1)
recipe, files, after = json.loads(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
save, saves = cascade.Saved.save, []

def save_and_die(saved, found):
    save(saved, found)
    saves.append(found)
    if len(saves) == after:
        os.kill(os.getpid(), signal.SIGKILL)

cascade.Saved.save = save_and_die
cascade.attack_adaptively(recipe, files, sys.argv[4], 5, torch.device("cpu"), sys.argv[5])
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return files_in(tmp_path_factory.mktemp("cascade"))


def files_in(folder: Path) -> dict[str, str]:
    """Three classifiers and a data set."""
    paths = {name: str(folder / f"{name}.safetensors") for name in ("classifier", "gray", "other")}
    for seed, path in enumerate(paths.values()):
        with isolated_rng(seed):
            network = build_classifier("D", input_shape=(1, 8, 8), classes=10)
        save_network(path, network, CLASSIFIER, (1, 8, 8), classes="10")
    random = np.random.default_rng(0)
    images = random.random((15, 1, 8, 8), np.float32)
    logits = load_network(paths["classifier"], "Classifier")(torch.from_numpy(images))
    labels = logits.argmax(dim=1).numpy()
    labels[3] = (labels[3] + 1) % 10
    dataset = str(folder / "dataset.h5")
    write_dataset(dataset, {"test": (images, labels)}, {})
    own = {"classifier": paths["classifier"], "gray_box": paths["gray"]}
    return {"dataset": dataset, **own, "transfer_other_classifier": paths["other"]}


def job(files: dict[str, str], recipe: dict[str, Any] = RECIPE, **more: Any) -> list[dict]:
    size = more.pop("batch_size", 5)
    return attack_adaptively(recipe, files, MADE, size, torch.device("cpu"), STATE, **more)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread_and_one_seed: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_has_all_that_a_leaderboard_needs(files: dict[str, str], folder: Path) -> None:
    costs = job(files)
    made = read_image_set(MADE)
    stages = json.loads(made.attributes["stages"])
    network = load_network(files["classifier"], "Classifier")
    with torch.no_grad():
        logits = network(torch.from_numpy(made.images)).numpy()
    assert np.array_equal(logits.argmax(1), made.fields["predictions"])
    others = np.where(np.eye(10, dtype=bool)[made.labels], -np.inf, logits).max(1)
    margin = others - logits[np.arange(12), made.labels]
    np.testing.assert_allclose(made.fields["margin"], margin, atol=1e-5)
    right = made.fields["found_by"] == LEFT
    assert np.array_equal(right, made.fields["predictions"] == made.labels)
    given = read_images(files)
    for norm, order in (("linf", np.inf), ("l2", 2)):
        lengths = np.linalg.norm((made.images - given).reshape(12, -1), ord=order, axis=1)
        np.testing.assert_allclose(made.fields[norm], lengths, atol=1e-6)
    assert made.fields["linf"].max() <= 0.05 + 1e-6
    # A row of a leaderboard.
    assert made.attributes["clean_correct"] == 11
    assert (made.attributes["correct"], made.attributes["accuracy"]) == (right.sum(), right.mean())
    interval = (made.attributes["ci_low"], made.attributes["ci_high"])
    assert interval == wilson_interval(int(right.sum()), 12)
    assert made.attributes["attackers"] == 4
    assert [s["left"] for s in stages] == [
        12 - sum((made.fields["found_by"] == k).sum() for k in (CLEAN, *range(n))) for n in range(5)
    ]
    assert [(s["attack"], s["threat_model"]) for s in stages[1:]] == [
        (s["attack"]["name"], s["threat_model"]) for s in RECIPE["stages"]
    ]
    # The costs are the same with seconds, and with what they are of.
    assert {*costs[0], "kind", "begin"} == {*COST_COLUMNS}
    assert [{k: c[k] for k in stages[0]} for c in costs] == stages
    assert all(c["seconds"] >= 0 and c["defense"] == "none" for c in costs)
    assert sum(c["broken"] for c in costs) == 12 - right.sum()
    assert sum(c["broken"] > 0 for c in costs) > 2
    assert costs[-1]["left"] > 0
    finish_cascade(STATE)
    assert [path.name for path in Path(MADE).parent.iterdir()] == ["D.h5"]


def read_images(files: dict[str, str]) -> np.ndarray:
    return read_split(files["dataset"], "test", 12)[0]


RUN = cascade._run


def noted(numbers: list[int], *arguments: Any, **named: Any) -> dict[str, Any]:
    """Runs a stage, and notes its number, which is the last argument."""
    numbers.append(arguments[-1])
    return RUN(*arguments, **named)


@pytest.mark.slow
def test_a_killed_cascade_is_taken_up_and_ends_with_the_same_bits(
    files: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(files)
    whole = Path(MADE).read_bytes()
    for after in (1, 3):
        place = folder / str(after)
        place.mkdir()
        monkeypatch.chdir(place)
        arguments = [json.dumps(RECIPE), json.dumps(files), str(after), MADE, STATE]
        killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=os.environ)
        assert killed.returncode == -signal.SIGKILL
        assert Path(STATE).is_file()
        assert not Path(MADE).exists()
        # An own list each time, of the stages that the rerun makes.
        monkeypatch.setattr(cascade, "_run", partial(noted, made := []))
        costs = job(files)
        assert made == [*range(after, 4)]
        assert len(costs) == 5
        assert Path(MADE).read_bytes() == whole


def test_equal_runs_give_equal_bytes_and_the_batch_size_plays_no_part(
    files: dict[str, str], folder: Path
) -> None:
    job(files)
    first, kept = Path(MADE).read_bytes(), read_image_set(MADE)
    finish_cascade(STATE)
    job(files)
    assert Path(MADE).read_bytes() == first
    finish_cascade(STATE)
    job(files, batch_size=2)
    other = read_image_set(MADE)
    assert other.attributes["stages"] == kept.attributes["stages"]
    assert np.array_equal(other.fields["found_by"], kept.fields["found_by"])
    np.testing.assert_allclose(other.images, kept.images, atol=1e-6)


def test_a_state_of_another_recipe_and_a_damaged_one_are_not_taken_up(
    files: dict[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(files)
    expected, state = Path(MADE).read_bytes(), Path(STATE).read_bytes()
    other = RECIPE | {"stages": RECIPE["stages"][:1], "epsilon": 0.05, "cascade": "other"}
    finish_cascade(STATE)
    job(files, other)
    assert Path(STATE).read_bytes() != state
    capsys.readouterr()
    job(files)  # begins anew, with the state of the other there
    assert "clean, clean: asked 12" in capsys.readouterr().out
    assert Path(MADE).read_bytes() == expected
    job(files)  # all is done
    assert "asked" not in capsys.readouterr().out
    assert Path(MADE).read_bytes() == expected
    Path(STATE).write_bytes(b"x" * 50)
    job(files)
    assert "the cascade begins anew" in capsys.readouterr().err
    assert Path(f"{STATE}.damaged").read_bytes() == b"x" * 50
    assert Path(MADE).read_bytes() == expected


def test_a_state_holds_what_was_found(tmp_path: Path) -> None:
    model, labels = FirstTwo(), torch.zeros(6, dtype=torch.int64)
    saved = Saved(tmp_path / "state.safetensors", "digest")
    found = run(model, on(model, *BOTH), PAIRS, labels, saved=saved)
    loaded = saved.load()
    assert loaded is not None
    assert loaded.costs == found.costs
    for name in ("images", "found_by", "predictions", "margin", "errors", "made_by"):
        assert torch.equal(getattr(loaded, name), getattr(found, name))
    assert Saved(saved.path, "another").load() is None
    assert Saved(tmp_path / "nowhere", "digest").load() is None


def test_each_threat_model_has_the_networks_of_its_name(
    files: dict[str, str], tmp_path: Path
) -> None:
    """The deployed classifier, the plain one, and another defence, with purifiers and without."""
    with isolated_rng(9):
        vae = VAE(3, 2, (1, 8, 8))
    size = {"kind": "DefenseVAE", "settings": {"latent": 3, "width": 2}}
    save_network(tmp_path / "vae", vae, size, (1, 8, 8))
    purifier = {"method": "defense_vae", "settings": {}, "networks": {"vae": size}, "seed": 0}
    purifier |= {"name": "vae"}
    given = files | {"vae": str(tmp_path / "vae"), "transfer_other_vae": str(tmp_path / "vae")}
    images = images_of(3).repeat(1, 1, 2, 2)
    own, gray, other = (
        load_network(given[name], "Classifier")
        for name in ("classifier", "gray_box", "transfer_other_classifier")
    )

    def defended(network: nn.Module) -> Tensor:
        return network(load_purifier(purifier, given)(images))

    for behind, before in ((None, None), (purifier, purifier), (purifier, None), (None, purifier)):
        others = {"other": {"classifier": CLASSIFIER, "purifier": before}}
        recipe = RECIPE | {"purifier": behind, "others": others}
        attackers = cascade._Attackers.of(recipe, given, torch.device("cpu"), images)
        expected = {
            "white_box": defended(own) if behind else own(images),
            "classifier": own(images),
            "gray_box": gray(images),
            "transfer:other": defended(other) if before else other(images),
        }
        if behind:
            names = ("white_box_bpda", "white_box_fixed", "white_box_bpda_fixed")
            expected |= dict.fromkeys(names, expected["white_box"])
        assert attackers.models.keys() == expected.keys()
        for name, logits in expected.items():
            assert torch.allclose(attackers.models[name](images), logits, atol=1e-5), name
        assert len(attackers.counted["passes"]) == (2 if behind else 1)
        assert len(attackers.counted["purifier_passes"]) == (behind is not None) + (
            before is not None
        )
        assert len(attackers.counted["classifier_passes"]) == 3


class Turned(Purifier):
    """Turns images round. Its cheaper version does not, so that what breaks that is of no use."""

    SETTINGS: ClassVar[dict[str, str]] = {}
    CHEAPER: ClassVar[dict[str, str]] = {"turns": "boolean = False: whether it turns them"}

    def __init__(self, settings: Any, image_shape: Any, turns: bool = True) -> None:
        super().__init__()
        self.turns = turns

    def forward(self, images: Tensor) -> Tensor:
        return images.flip(-1) if self.turns else images * 1.0

    def cheaper(self, *, turns: bool = False) -> Purifier:
        return Turned({}, (), turns)


def test_the_images_of_a_surrogate_are_judged_by_the_whole_defence(
    files: dict[str, str], folder: Path
) -> None:
    purifier = {"method": "test_cascade:Turned", "settings": {}, "networks": {}, "seed": 0}
    purifier |= {"name": "turned"}
    called = "surrogate:turns=false"
    stage = {"attack": PGD, "threat_model": called, "surrogate": {"turns": False}}
    recipe = RECIPE | {"purifier": purifier, "others": {}, "gray": None, "stages": [stage]}
    costs = job(files, recipe)
    made = read_image_set(MADE)
    network = load_network(files["classifier"], "Classifier")
    images, labels = map(torch.from_numpy, read_split(files["dataset"], "test", 12))
    with torch.no_grad():
        rows = (network(images.flip(-1)).argmax(1) == labels).nonzero().squeeze(1)
    # What the attack makes of the bare classifier, which is what this surrogate is of it.
    attacked = run_attack(
        *("pgd", network, images[rows], labels[rows]),
        indices=rows.tolist(),
        seed=derive_seed(derive_seed(0, MADE), "pgd", called),
        batch_size=5,
        settings=PGD["settings"],
    )
    with torch.no_grad():
        judged = network(attacked.images.flip(-1)).argmax(1)
    assert bool((judged != attacked.predictions).any())
    broken = {int(row) for row in rows[judged != labels[rows]]}
    assert {*(made.fields["found_by"] == 0).nonzero()[0].tolist()} == broken
    assert costs[1]["broken"] == len(broken) != int(attacked.success.sum())
    # The surrogate's passes are those of a purifier, and none of the defended model's.
    assert costs[1]["passes"] == len(rows)
    assert costs[1]["purifier_passes"] > 2 * len(rows)
