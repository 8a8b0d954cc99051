"""Users' own attacks, purifiers and classifiers that would make the host's numbers wrong."""

import copy
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, merged, micro_catalogue
from torch import Tensor, nn

from purification import provenance
from purification.attacks import MaskedGradientError, bim, run_attack
from purification.evaluation import adversarial
from purification.evaluation.detection_rows import columns_of as detection_columns
from purification.evaluation.detection_rows import detection_rows
from purification.evaluation.measure import columns_of, measure
from purification.evaluation.oracle import label_oracle
from purification.evaluation.refusals import refusal
from purification.evaluation.worst_case import worst_case_rows
from purification.experiments import PAPERS, ConfigError, paper_table
from purification.experiments.cells import NOT_AS_NAMED
from purification.guests import GuestClassifier, GuestError, GuestPurifier
from purification.models.classifiers import build_classifier
from purification.models.prediction import predict
from purification.plugins import FILES_VARIABLE, file_digest, provide_files
from purification.purifiers import Defended, StraightThrough
from purification.purifiers.batches import purify_images
from purification.purifiers.loading import load_purifier
from purification.reporting.comparison import (
    cell_table,
    compared_cells,
    comparison_page,
    read_compared_tables,
)
from purification.reporting.detection import attach_paper_auc, detection_table
from purification.reporting.long_tables import long_table, read_long_table, write_csv
from purification.reporting.markdown_tables import brief_table, markdown_table
from purification.reporting.page import detection_summary
from purification.reporting.papers import paper_values
from purification.reporting.sweeps import figure3_panels, figure8_panels
from purification.reporting.wide_tables import wide_table
from purification.reporting.worst_case import worst_case_page
from purification.storage import (
    ImageSet,
    read_attributes,
    write_dataset,
    write_image_set,
    write_image_sets,
)
from purification.text_tables import write_rows
from purification.training.classifier import train_classifier

SHAPE, CLASSES, COUNT = (1, 6, 6), 4, 10
LAB = """
import numpy as np
import torch
from torch import nn
from torch.nn import functional


# --- attacks

def in_place(model, images, labels, *, size):
    labels += 1
    return images.add_(size * (0.5 - images).sign()).clamp_(0, 1)

def greedy(model, images, labels, *, sizes):
    step = sizes.pop()  # the settings are the recipe's
    return (images + step * (0.5 - images).sign()).clamp(0, 1)

def reused(model, images, labels, *, size, kept=[]):
    kept = kept or [torch.empty_like(images)]
    kept[0].copy_((images + size * (0.5 - images).sign()).clamp(0, 1))
    return kept[0]

def wakes(model, images, labels):
    model.train()
    return images

def trains(model, images, labels):
    with torch.no_grad():
        next(model.parameters()).add_(1)
    return images

def as_float64(model, images, labels): return images.double()
def as_none(model, images, labels): return None
def as_tuple(model, images, labels): return images, labels
def as_numpy(model, images, labels): return images.numpy()
def as_nan(model, images, labels): return torch.where(images > 0, float("nan"), images)
def cropped(model, images, labels): return images[:, :, 1:]
def outside(model, images, labels): return images + 2

def with_files(model, images, labels, *, files):
    step = float(open(files["step"]).read())
    return (images + step * (0.5 - images).sign()).clamp(0, 1)


# --- purifiers

class Purifier(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return self.function(self, images)

def purifier(function):
    return lambda settings, networks, seed: Purifier(function)

def noisy(module, images): return (images + 0.05 * torch.rand_like(images)).clamp(0, 1)
def numpy_noise(module, images):
    return (images + 0.05 * torch.rand(1) * np.random.rand()).float().clamp(0, 1)
def counting(module, images): return (images + module.calls / 100).clamp(0, 1)
def normed(module, images):
    return functional.batch_norm(images, None, None, training=True).sigmoid()
def seeded(module, images):
    torch.manual_seed(0)
    return (images + 0.05 * torch.rand_like(images)).clamp(0, 1)

def softened(module, images): return images.mul_(0.5).add_(0.25)
half = purifier(softened)
def shared(module, images):
    if getattr(module, "kept", None) is None or module.kept.shape != images.shape:
        module.kept = torch.empty_like(images)
    with torch.no_grad():
        return module.kept.copy_(images * 0.5)

random, numpy_random, remembering = purifier(noisy), purifier(numpy_noise), purifier(counting)
batch_normed, seeded_by_place = purifier(normed), purifier(seeded)
one_buffer = purifier(shared)
rounding = purifier(lambda module, images: (4 * images).round() / 4)
returns = {
    "float64": lambda m, x: x.double(), "none": lambda m, x: None, "tuple": lambda m, x: (x, x),
    "numpy": lambda m, x: x.numpy(), "nan": lambda m, x: x * float("nan"),
    "cropped": lambda m, x: x[:, :, 1:], "outside": lambda m, x: x + 2,
}
def returning(settings, networks, seed): return Purifier(returns[settings.pop("what")])
def no_module(settings, networks, seed): return lambda images: images
def from_file(settings, networks, seed, files):
    factor = float(open(files["factor"]).read())
    return Purifier(lambda module, images: images * factor)


# --- classifiers

class Linear(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.layer = nn.Linear(int(np.prod(input_shape)), classes)

    def forward(self, images):
        return self.layer(images.flatten(1))

class InPlace(Linear):
    def forward(self, images): return super().forward(images.sub_(0.5))

class Softmax(Linear):
    def forward(self, images): return super().forward(images).softmax(1)

class SoftmaxInTraining(Linear):
    def forward(self, images):
        logits = super().forward(images)
        return logits.softmax(1) if self.training else logits

class LogSoftmax(Linear):
    def forward(self, images): return super().forward(images).log_softmax(1)

class Dropping(Linear):
    def forward(self, images): return super().forward(functional.dropout(images, 0.5))

class Normed(Linear):
    def forward(self, images):
        return functional.batch_norm(super().forward(images), None, None, training=True)

def classifier(function):
    class Returning(Linear):
        def forward(self, images): return function(super().forward(images))
    return Returning

logits_float64 = classifier(lambda z: z.double())
logits_none = classifier(lambda z: None)
logits_tuple = classifier(lambda z: (z, z))
logits_numpy = classifier(lambda z: z.detach().numpy())
logits_nan = classifier(lambda z: z * float("nan"))
one_class_more = classifier(lambda z: torch.cat([z, z[:, :1]], dim=1))
def no_classifier(input_shape, classes): return 3
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of a user's module."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "unruly_lab.py").write_text(LAB)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield "unruly_lab"


@pytest.fixture
def model() -> nn.Module:
    random = torch.Generator().manual_seed(0)
    made = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, CLASSES))
    with torch.no_grad():
        for weights in made.parameters():
            weights.copy_(torch.randn(weights.shape, generator=random))
    return made


@pytest.fixture
def images() -> Tensor:
    return torch.rand(COUNT, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels(model: nn.Module, images: Tensor) -> Tensor:
    return model(images).argmax(1)


def attacked(method: str, model: nn.Module, images: Tensor, labels: Tensor, **more: Any) -> Any:
    files, size = more.pop("files", None), more.pop("batch_size", 4)
    common = {"indices": range(100, 100 + len(images)), "seed": 3, "batch_size": size}
    return run_attack(method, model, images, labels, **common, settings=more, files=files)


def purifier(lab: str, name: str, **settings: Any) -> nn.Module:
    recipe = {"method": f"{lab}:{name}", "settings": settings, "networks": {}, "seed": 0}
    return load_purifier(recipe, {})


def own_classifier(lab: str, name: str) -> nn.Module:
    return build_classifier(f"{lab}:{name}", input_shape=SHAPE, classes=CLASSES)


# --- copies


def test_attack_that_works_in_place_changes_nothing_of_the_hosts(
    lab: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    given = images.clone(), labels.clone()
    result = attacked(f"{lab}:in_place", model, images, labels, size=0.1)
    assert torch.equal(images, given[0])
    assert torch.equal(labels, given[1])
    assert torch.allclose(result.linf, torch.full((COUNT,), 0.1))
    assert torch.equal(result.success, result.predictions != labels)


def test_attack_gets_its_own_settings_for_each_batch(
    lab: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    sizes = [0.1]
    result = attacked(f"{lab}:greedy", model, images, labels, sizes=sizes)
    assert sizes == [0.1]
    assert torch.allclose(result.linf, torch.full((COUNT,), 0.1))


def test_attack_that_returns_the_same_memory_each_time(
    lab: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    result = attacked(f"{lab}:reused", model, images, labels, size=0.1, batch_size=5)
    assert torch.allclose(result.linf, torch.full((COUNT,), 0.1))


def test_attack_that_puts_the_model_into_training_mode(
    lab: str, images: Tensor, labels: Tensor, model: nn.Module
) -> None:
    dropping = nn.Sequential(model, nn.Dropout(0.9)).eval()
    result = attacked(f"{lab}:wakes", dropping, images, labels)
    assert torch.equal(result.predictions, result.clean_predictions)
    assert not any(module.training for module in dropping.modules())


def test_attack_that_changes_the_model_is_refused(
    lab: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(GuestError, match=f"{lab}:trains.*changed the weights"):
        attacked(f"{lab}:trains", model, images, labels)


@pytest.mark.parametrize(("name", "expected"), [("half", (0.5, 0.25)), ("one_buffer", (0.5, 0.0))])
def test_purifier_that_works_in_place_or_on_one_buffer(
    lab: str, images: Tensor, name: str, expected: tuple[float, float]
) -> None:
    given = images.clone()
    made = purify_images(purifier(lab, name), images, batch_size=5, device=torch.device("cpu"))
    assert torch.equal(images, given)
    right = images * expected[0] + expected[1]
    assert torch.equal(made.images, right)
    assert torch.allclose(made.reconstruction_error, (right - images).square().flatten(1).mean(1))
    assert torch.equal(made.score, made.reconstruction_error)


def test_white_box_through_a_purifier_that_works_in_place(
    lab: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    class Half(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images * 0.5 + 0.25

    settings = {"epsilon": 0.1, "step_size": 0.05, "iterations": 3}
    ours = attacked("bim", Defended(Half(), model), images, labels, **settings)
    own = attacked("bim", Defended(purifier(lab, "half"), model), images, labels, **settings)
    assert torch.equal(ours.images, own.images)


def test_own_classifier_is_the_network_that_it_was(lab: str, images: Tensor) -> None:
    """Its checkpoint has its own names; in place it works as the same without."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wall = own_classifier(lab, "InPlace")
    assert isinstance(wall, GuestClassifier)
    assert list(wall.state_dict()) == ["layer.weight", "layer.bias"]
    given = images.clone()
    logits = predict(wall, images, device="cpu")
    assert torch.equal(images, given)
    assert torch.equal(logits, wall.layer((images - 0.5).flatten(1)).detach())
    again = own_classifier(lab, "InPlace")
    again.load_state_dict(wall.state_dict())
    assert torch.equal(predict(again, images, device="cpu"), logits)
    assert torch.equal(predict(copy.deepcopy(wall), images, device="cpu"), logits)


def test_trying_a_guest_draws_none_of_the_hosts_random_numbers(lab: str, images: Tensor) -> None:
    state = torch.random.get_rng_state()
    with pytest.raises(GuestError):
        purifier(lab, "random")(images)
    purifier(lab, "half")(images)
    assert torch.equal(torch.random.get_rng_state(), state)


# --- what comes back

RETURNED = {
    "float64": "returned float64 .*, expected float32",
    "none": "returned None, expected float32",
    "tuple": "returned a tuple, expected float32",
    "numpy": "returned a NumPy ndarray, float32 .*, expected float32",
}


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        *((f"as_{name}", what) for name, what in RETURNED.items()),
        ("as_nan", "not finite for image 100"),
        ("cropped", r"returned float32 \(4, 1, 5, 6\), expected float32 \(4, 1, 6, 6\)"),
        ("outside", r"not in \[0, 1\].*image 100"),
    ],
)
def test_attack_must_return_images(
    lab: str, model: nn.Module, images: Tensor, labels: Tensor, function: str, complaint: str
) -> None:
    with pytest.raises(
        GuestError, match=f"{lab}:{function}' {complaint}|{function}' .*{complaint}"
    ):
        attacked(f"{lab}:{function}", model, images, labels)


@pytest.mark.parametrize(
    ("what", "complaint"),
    [
        *RETURNED.items(),
        ("nan", "not finite for image 0"),
        ("cropped", r"returned float32 \(4, 1, 5, 6\), expected float32 \(4, 1, 6, 6\)"),
        ("outside", r"not in \[0, 1\].*image 0"),
    ],
)
def test_purifier_must_return_images(lab: str, images: Tensor, what: str, complaint: str) -> None:
    settings = {"what": what}
    made = purifier(lab, "returning", **settings)
    with pytest.raises(GuestError, match=f"{lab}:returning.*{complaint}"):
        purify_images(made, images, batch_size=5, device=torch.device("cpu"))


def test_purifier_must_be_a_module_and_keeps_its_settings_to_itself(lab: str) -> None:
    with pytest.raises(GuestError, match=f"{lab}:no_module returned a function, expected a torch"):
        purifier(lab, "no_module")
    recipe = {"method": f"{lab}:returning", "settings": {"what": "nan"}, "networks": {}, "seed": 0}
    load_purifier(recipe, {})
    assert recipe["settings"] == {"what": "nan"}


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        *((f"logits_{name}", what) for name, what in RETURNED.items()),
        ("logits_nan", "logits are not finite"),
        ("one_class_more", r"returned float32 \(4, 5\), expected float32 \(4, 4\)"),
        ("no_classifier", "returned a int, expected a torch module"),
        ("Softmax", "returned probabilities.*leave the softmax out"),
        ("Dropping", "other results on a second call"),
        ("Normed", "failed on a part of a batch"),
    ],
)
def test_classifier_is_refused_before_it_is_trained(lab: str, name: str, complaint: str) -> None:
    kind = FloatingPointError if name == "logits_nan" else GuestError
    with pytest.raises(kind, match=f"{lab}:{name}.*{complaint}"):
        own_classifier(lab, name)


def test_softmax_in_training_alone_is_refused_in_the_first_step(
    lab: str, images: Tensor, labels: Tensor
) -> None:
    made = own_classifier(lab, "SoftmaxInTraining")
    before = copy.deepcopy(made.state_dict())
    with pytest.raises(GuestError, match=r"SoftmaxInTraining.*leave the softmax out"):
        train_classifier(
            made,
            images,
            labels,
            epochs=1,
            batch_size=5,
            learning_rate=0.1,
            adversarial_epsilon=None,
            seed=0,
            validation=None,
            device="cpu",
        )
    assert all(torch.equal(made.state_dict()[name], value) for name, value in before.items())


def test_log_probabilities_are_logits(lab: str, images: Tensor) -> None:
    """Softmax, predictions and log-odds of both are the same."""
    made = own_classifier(lab, "LogSoftmax")
    plain = own_classifier(lab, "Linear")
    plain.load_state_dict(made.state_dict())
    both = [predict(each, images, device="cpu") for each in (made, plain)]
    assert torch.allclose(both[0].softmax(1), both[1].softmax(1))


# --- functions of each image alone


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("random", "on a second call"),
        ("numpy_random", "on a second call"),
        ("remembering", "on a second call"),
        ("batch_normed", "for the same images in batches of other sizes"),
        ("seeded_by_place", "for the same images in batches of other sizes"),
    ],
)
@pytest.mark.parametrize("count", [1, COUNT])
@pytest.mark.parametrize("use", ["purify", "white_box", "white_box_bpda", "oracle"])
def test_purifier_that_is_no_function_of_an_image_is_refused(
    lab: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    name: str,
    complaint: str,
    count: int,
    use: str,
) -> None:
    made, cpu = purifier(lab, name), torch.device("cpu")
    given = images[:count]
    with pytest.raises(GuestError, match=f"{lab}:{name} returned other results {complaint}"):
        if use == "purify":
            purify_images(made, given, batch_size=5, device=cpu)
        elif use == "oracle":
            label_oracle(Defended(made, model), 5, cpu)(given)
        else:
            front = made if use == "white_box" else StraightThrough(made)
            attacked("fgsm", Defended(front, model), given, labels[:count], epsilon=0.1)


def test_rounding_between_batch_sizes_is_no_randomness(images: Tensor) -> None:
    class Rounded(nn.Module):
        """As float32 rounds: by an amount that depends on the batch size, never on chance."""

        def forward(self, images: Tensor) -> Tensor:
            return (images + 1e-5 * len(images)).clamp(0, 1)

    GuestPurifier(Rounded(), "lab:rounded")(images)


# --- numbers that are none


class Breaking(nn.Module):
    """A model whose logits, or whose gradient, is NaN where the first pixel is above a bound."""

    def __init__(self, model: nn.Module, what: str, bound: float) -> None:
        super().__init__()
        self.model, self.what, self.bound = model, what, bound

    def forward(self, images: Tensor) -> Tensor:
        broken = images[:, 0, 0, 0] > self.bound
        if self.what == "logits":
            return torch.where(broken[:, None], torch.nan, self.model(images))
        given = images.clone()
        if given.requires_grad:
            given.register_hook(
                lambda slope: slope.masked_fill(broken.view(-1, 1, 1, 1), torch.nan)
            )
        return self.model(given)


@pytest.mark.parametrize("what", ["logits", "gradient"])
@pytest.mark.parametrize("method", ["fgsm", "rand_fgsm", "bim", "mim", "pgd", "cw_l2", "deepfool"])
def test_attack_on_numbers_that_are_none_is_refused(
    model: nn.Module, images: Tensor, labels: Tensor, what: str, method: str
) -> None:
    settings: dict[str, Any] = {"epsilon": 0.1}
    settings |= {"alpha": 0.05} if method == "rand_fgsm" else {}
    settings |= {"step_size": 0.05, "iterations": 2} if method in ("bim", "mim", "pgd") else {}
    settings |= {"momentum": 1.0} if method == "mim" else {}
    if method == "cw_l2":
        settings = {"learning_rate": 0.1, "constant": 1.0, "iterations": 2}
        settings |= {"binary_search_steps": 1, "confidence": 0.0}
    settings = {"iterations": 2} if method == "deepfool" else settings
    images[:, 0, 0, 0] = 0.1
    images[7, 0, 0, 0] = 0.9
    complaint = f"Breaking: the {what}.*1 of 4 images, first for image 107"
    with pytest.raises(FloatingPointError, match=complaint):
        attacked(method, Breaking(model, what, 0.5), images, labels, **settings)


@pytest.mark.parametrize("what", ["logits", "gradient"])
def test_a_step_that_leaves_the_numbers_is_refused(
    model: nn.Module, images: Tensor, labels: Tensor, what: str
) -> None:
    """At the images given all is well: it breaks where the attack has moved them to."""
    images[:, 0, 0, 0] = 0.5
    settings = {"epsilon": 0.2, "step_size": 0.1, "iterations": 3}
    moved = attacked("bim", model, images, labels, **settings).images[:, 0, 0, 0] > 0.55
    assert 0 < moved.sum() < COUNT
    first = 100 + int(moved.nonzero()[0])
    with pytest.raises(FloatingPointError, match=f"'bim', in one of its steps.*image {first}"):
        attacked("bim", Breaking(model, what, 0.55), images, labels, **settings)


def test_watching_an_attack_changes_no_bit(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    settings = {"epsilon": 0.2, "step_size": 0.1, "iterations": 3}
    result = attacked("bim", model, images, labels, **settings, batch_size=COUNT)
    assert torch.equal(result.images, bim(model, images, labels, **settings))
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_scripted_models_are_watched_too(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    scripted = torch.jit.trace(model, images)
    ours, own = (
        attacked("bim", each, images, labels, epsilon=0.2, step_size=0.1, iterations=3)
        for each in (model, scripted)
    )
    assert torch.equal(ours.images, own.images)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_of_no_number_are_refused(
    model: nn.Module, images: Tensor, value: float
) -> None:
    images[6, 0, 2, 2] = value
    broken = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))
    with pytest.raises(FloatingPointError, match=r"Sequential.*logits.*first for image 6"):
        predict(broken, images, batch_size=4, device="cpu")
    with pytest.raises(FloatingPointError, match=r"oracle.*logits.*first for image 6"):
        label_oracle(broken, 4, "cpu")(images)


def test_scores_of_no_number_are_refused(images: Tensor) -> None:
    class Scoring(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images

        def score_purified(self, images: Tensor, purified: Tensor) -> Tensor:
            return torch.where(images[:, 0, 0, 0] > 0.5, torch.nan, images[:, 0, 0, 0])

    first = int((images[:, 0, 0, 0] > 0.5).nonzero()[0])
    for made, name in ((Scoring(), "Scoring"), (GuestPurifier(Scoring(), "lab:s"), "lab:s")):
        with pytest.raises(FloatingPointError, match=f"{name}.*scores.*first for image {first}$"):
            purify_images(made, images, batch_size=2, device=torch.device("cpu"))


# --- files that guests read


@pytest.fixture
def step_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(FILES_VARIABLE, raising=False)
    path = tmp_path / "step.txt"
    path.write_text("0.1")
    return path


def test_guests_get_the_files_of_their_recipe(
    lab: str, model: nn.Module, images: Tensor, labels: Tensor, step_file: Path
) -> None:
    digests = {"step": file_digest(step_file)}
    with pytest.raises(ValueError, match=f"{lab}:with_files reads a file 'step'.*none is known"):
        attacked(f"{lab}:with_files", model, images, labels, files=digests)
    provide_files([step_file])
    result = attacked(f"{lab}:with_files", model, images, labels, files=digests)
    assert torch.allclose(result.linf, torch.full((COUNT,), 0.1))
    recipe = {"method": f"{lab}:from_file", "settings": {}, "networks": {}, "seed": 0}
    made = load_purifier(recipe | {"files": {"factor": digests["step"]}}, {})
    assert torch.equal(made(images), images * 0.1)
    step_file.write_text("0.2")
    with pytest.raises(ValueError, match="was changed since the workflow was planned"):
        attacked(f"{lab}:with_files", model, images, labels, files=digests)


def test_guests_and_files_that_do_not_fit(
    lab: str, model: nn.Module, images: Tensor, labels: Tensor, step_file: Path
) -> None:
    provide_files([step_file])
    digests = {"step": file_digest(step_file)}
    with pytest.raises(ValueError, match=f"{lab}:as_none is given the files step, but has no"):
        attacked(f"{lab}:as_none", model, images, labels, files=digests)
    for run in (
        lambda: attacked(f"{lab}:with_files", model, images, labels),
        lambda: purifier(lab, "from_file"),
    ):
        with pytest.raises(ValueError, match="needs the files that it reads"):
            run()


OWN = {
    "datasets": {"own": {"source": "json:load", "validation": 10, "test": 10}},
    "classifiers": {
        "own": {
            **{"architecture": "json:load", "dropout": "paper"},
            **{"epochs": 1, "batch_size": 10, "learning_rate": 0.1},
        }
    },
    "attacks": {
        "own": {
            "method": "json:load",
            "images": {"gray_box": 5, "white_box": 5, "white_box_bpda": 5},
        }
    },
    "defenses": {
        "own": {
            "method": "json:load",
            "classifier": "originals",
            "threat_models": ["gray_box", "white_box"],
        }
    },
}


@pytest.mark.parametrize("section", OWN)
def test_a_file_decides_just_what_its_code_makes(tmp_path: Path, section: str) -> None:
    path = tmp_path / "weights.bin"

    def made(content: str | None) -> dict[str, Any]:
        entry = dict(OWN[section]["own"])
        if content is not None:
            path.write_text(content)
            entry["files"] = {"weights": str(path)}
        catalogue = micro_catalogue(**OWN)
        if content is not None:
            changes = {name: dict(entries) for name, entries in OWN.items()}
            changes[section] = {"own": entry}
            catalogue = micro_catalogue(**changes)
        network = catalogue.classifier("own", 0, "plain", "own")
        attack = catalogue.attacked_classifier("own", 0, "plain", "own", "own")
        defense = catalogue.attacked_defense("own", 0, "own", "own", "own")
        parts = {
            "datasets": catalogue.dataset("own"),
            "classifiers": network,
            "attacks": attack,
            "defenses": defense,
        }
        return {name: (part.digest, catalogue.own_files(part)) for name, part in parts.items()}

    order = list(OWN)
    without, first, second = made(None), made("a"), made("b")
    assert first == made("a")
    for name in OWN:
        uses = order.index(name) >= order.index(section)
        assert (first[name][0] != second[name][0]) == uses
        assert (first[name][0] != without[name][0]) == uses
        assert first[name][1] == ([str(path)] if uses else [])
        assert without[name][1] == []
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    path.write_text("a")
    path = path.rename(moved / "other_name.bin")
    assert {k: v[0] for k, v in made("a").items()} == {k: v[0] for k, v in first.items()}


@pytest.mark.parametrize("section", OWN)
def test_a_missing_file_is_refused_with_the_config(tmp_path: Path, section: str) -> None:
    for place, complaint in ((tmp_path / "none.bin", "is not there"), (tmp_path, "is no file")):
        entry = {**OWN[section]["own"], "files": {"weights": str(place)}}
        expected = rf"{section}\.own\.files\.weights: {place} {complaint}"
        with pytest.raises(ConfigError, match=expected):
            micro_catalogue(**{section: {"own": entry}})


def test_only_own_code_has_files(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(ConfigError, match=r"classifiers\.A\.files: only code of your own"):
        micro_catalogue(classifiers={"A": {"files": {"weights": str(tmp_path / "f")}}})


# --- masked gradients


def defended_job(
    lab: str,
    model: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    threat_models: tuple[str, ...],
) -> Path:
    """`attack_defense` of a purifier without gradient before a classifier: the file, if it is
    made."""
    images = np.random.default_rng(0).random((12, *SHAPE), dtype=np.float32)
    truth = model(torch.from_numpy(images)).argmax(1).numpy()
    result = attacked("fgsm", model, torch.from_numpy(images), torch.from_numpy(truth), epsilon=0.1)
    files = {name: str(tmp_path / f"{name}.h5") for name in ("dataset", "gray_box")}
    fields = {name: getattr(result, name).numpy() for name in adversarial.ATTACK_FIELDS}
    gray = ImageSet(result.images.numpy(), truth, fields)
    write_image_set(files["gray_box"], gray, {"kind": "test"})
    write_dataset(files["dataset"], {"test": (images, truth)}, {"kind": "test"})
    monkeypatch.setattr(adversarial, "load_network", lambda *_: model)
    recipe = {
        "threat_models": dict.fromkeys(threat_models, 8),
        "attack": {"name": "fgsm", "method": "fgsm", "settings": {"epsilon": 0.1}},
        "purifier": {
            **{"method": f"{lab}:rounding", "settings": {}, "networks": {}, "seed": 0},
        },
        "seed": 0,
    }
    made = tmp_path / "made.h5"
    given = files | {"classifier": ""}
    adversarial.attack_defense(recipe, given, str(made), 4, torch.device("cpu"))
    return made


def test_a_masked_gradient_takes_no_other_threat_model_down(
    lab: str, model: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ("white_box", "gray_box", "white_box_bpda")
    path = str(defended_job(lab, model, monkeypatch, tmp_path, names))
    assert list(read_attributes(path)) == ["gray_box", "white_box_bpda"]
    reason = refusal(path, "white_box")
    assert reason is not None
    assert "exactly zero for all 8 images" in reason
    assert "drop `white_box`" in reason
    assert "take `white_box_bpda`" in reason
    assert refusal(path, "gray_box") is None
    assert refusal(path, "no_such_group") is None
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "_allowed", None)
        provenance.expect({path: {"kind": "another"}})
        with pytest.raises(provenance.ForeignFile, match=r"made\.h5"):
            refusal(path, "white_box")

    labels = {"dataset": "digits", "seed": 0, "classifier": "A", "attack": "fgsm", "epsilon": 0.1}
    labels |= {"defense": "own", "variant": "", "iterations_L": None, "restarts_R": None}
    summaries = [
        {
            **{"labels": labels | {"threat_model": name}, "classifier": "", "images": path},
            **{"group": name, "split": None, "digest": ""},
        }
        for name in names
    ]
    rows = measure(summaries)
    assert [row["n"] for row in rows] == [0, 12, 8]
    assert rows[0]["accuracy"] is None
    assert rows[0]["refused"] == reason

    file = tmp_path / "rows.csv"
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, columns_of(rows), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    printed = paper_values("defense_gan", "Table 4", REPOSITORY / "resources/papers")
    long = long_table([file], printed)
    wide = wide_table(long)
    text = markdown_table(long, wide, title="T")
    assert wide["own"].isna().all()
    assert wide["own_n"].tolist() == [0]
    assert wide["own_bpda"].notna().all()
    assert "no number: attack refused" in text
    assert reason in text.split("## Warnings")[1]
    write_csv(long, tmp_path / "long.csv")
    assert reason.split(":")[0] in (tmp_path / "long.csv").read_text()

    (row,) = worst_case_rows(summaries)
    assert row["attackers"] == 2
    assert row["attacks"].endswith("; fgsm white_box refused")
    (row,) = worst_case_rows(summaries[:1])
    assert (row["n"], row["accuracy"]) == (0, None)
    assert "fgsm white_box refused" in worst_case_page([row])


def test_a_masked_gradient_in_the_only_threat_model_fails_the_job(
    lab: str, model: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(MaskedGradientError, match=r"drop `white_box`.*take `white_box_bpda`"):
        defended_job(lab, model, monkeypatch, tmp_path, ("white_box",))
    assert sorted(p.name for p in tmp_path.glob("*.h5")) == ["dataset.h5", "gray_box.h5"]


# --- what has a paper's name and is something else

NAMED = {
    "data set": ({"datasets": {"mnist": {"source": "digits"}}}, "data set mnist is digits"),
    "classifier": ({"classifiers": {"A": {"architecture": "B"}}}, "classifier A is B"),
    "attack": (
        {"attacks": {"fgsm": {"method": "pgd", "step_size": 0.1, "iterations": 2}}},
        "attack fgsm is pgd",
    ),
    "own attack": (
        {"attacks": {"own": OWN["attacks"]["own"] | {"paper_name": "fgsm"}}},
        "attack fgsm is json:load",
    ),
    "defense": (
        {"defenses": {"own": OWN["defenses"]["own"] | {"column": "magnet"}}},
        "defense magnet is json:load",
    ),
}


@pytest.mark.parametrize("kind", [None, *NAMED])
def test_papers_numbers_stand_beside_what_has_their_names(tmp_path: Path, kind: str | None) -> None:
    """The paper's classifier A under FGSM 0.3 on MNIST, undefended and behind MagNet."""
    changes, reason = NAMED.get(kind or "", ({}, None))
    mnist = {"source": "mnist", "validation": 300, "test": 300}
    fgsm = {"epsilon": 0.3}
    table = {"datasets": ["mnist"], "classifiers": ["A"], "attacks": ["fgsm"]}
    table["defenses"] = ["magnet"]
    if kind == "own attack":
        table["attacks"] = ["own"]
    if kind == "defense":
        table["defenses"] = ["own"]
    base: dict[str, Any] = {"datasets": {"mnist": mnist}, "attacks": {"fgsm": fgsm}}
    base |= {"table4": table}
    catalogue = micro_catalogue(**merged(base, changes))
    measured = [m for m in paper_table(catalogue, "table4").measurements if m.attack != "none"]
    rows = []
    for cell in measured[0].cells:
        labels = dict(cell.labels)
        labels["epsilon"] = 0.3  # an attack of one's own has none that the table knows
        numbers = {"n": 10, "correct": 5, "accuracy": 0.5, "ci_low": 0.2, "ci_high": 0.8}
        numbers |= {"success_rate": 0.5, "mean_l2": 1, "mean_linf": 0.3, "zero_gradient_share": 0}
        rows.append(labels | numbers)
    file = tmp_path / "rows.csv"
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, columns_of(rows), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    printed = paper_values("defense_gan", "Table 4", REPOSITORY / "resources/papers")
    long = long_table([file], printed).set_index(["defense", "threat_model"])
    page = markdown_table(long.reset_index(), wide_table(long.reset_index()), title="T")
    bare, magnet = long.loc[("none", "white_box")], long.loc[("magnet", "white_box")]
    if reason is None:
        assert "not_as_named" not in long
        assert (bare["paper_value"], magnet["paper_value"]) == (0.217, 0.191)
        assert "Not what their names say" not in page
        return
    assert magnet["not_as_named"] == reason
    assert np.isnan(magnet["paper_value"])
    assert np.isnan(bare["paper_value"]) == (kind != "defense")
    assert f"- {reason}" in page.split("Not what their names say")[1]


def test_areas_stand_beside_detectors_that_have_the_papers_names() -> None:
    labels = {"dataset": "mnist", "seed": 0, "classifier": "F", "attack": "fgsm", "epsilon": 0.3}
    labels |= {"threat_model": "black_box", "defense": "defense_gan"}
    labels |= {"iterations_L": 200, "restarts_R": 10}
    paper = paper_values("defense_gan", "Figure 5", REPOSITORY / "resources/papers")
    printed = paper[(paper["metric"] == "auc")].iloc[0]
    labels |= {name: printed[name] for name in labels if name != "seed"}
    rows = pd.DataFrame([labels, labels | {NOT_AS_NAMED: "data set mnist is digits"}])
    areas = attach_paper_auc(rows, paper)["paper_auc"]
    assert areas[0] == printed["value"]
    assert np.isnan(areas[1])


def refused_row(**labels: Any) -> dict[str, Any]:
    """A measurement row without a number, as `measure` makes it."""
    row = {"dataset": "mnist", "seed": 0, "classifier": "A", "attack": "fgsm", "epsilon": 0.3}
    row |= {"threat_model": "white_box", "defense": "magnet", "variant": ""}
    row |= {"iterations_L": None, "restarts_R": None, "n": 0, "correct": 0, "accuracy": None}
    row |= dict.fromkeys(("ci_low", "ci_high", "success_rate", "mean_l2", "mean_linf"))
    return row | {"zero_gradient_share": None, "refused": "it cannot move"} | labels


def measured_row(**labels: Any) -> dict[str, Any]:
    row = {k: v for k, v in refused_row().items() if k != "refused"}
    row |= {"n": 10, "correct": 5, "accuracy": 0.5, "ci_low": 0.24, "ci_high": 0.76}
    row |= {"success_rate": 0.5, "mean_l2": 2.0, "mean_linf": 0.3, "zero_gradient_share": 0.0}
    return row | labels


def tabulated(tmp_path: Path, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The long table, written and read again."""
    write_rows(tmp_path / "rows.csv", rows, {"kind": "test"}, columns_of(rows))
    printed = paper_values("defense_gan", "Table 4", REPOSITORY / "resources/papers")
    write_csv(long_table([tmp_path / "rows.csv"], printed), tmp_path / "long.csv")
    return read_long_table(tmp_path / "long.csv")


def test_a_refused_attack_is_compared_with_no_printed_number(tmp_path: Path) -> None:
    bare = measured_row(defense="none")
    long = tabulated(tmp_path, [bare, refused_row()])
    (refused,) = (row for row in compared_cells(long).itertuples() if row.defense == "magnet")
    assert (refused.paper_value, refused.counted, refused.seeds) == (0.191, False, 0)
    (table,) = read_compared_tables(
        [("defense_gan", "Table 4", str(tmp_path / "long.csv"))], PAPERS
    )
    row = cell_table([table]).set_index("defense").loc["magnet"]
    assert np.isnan(row["value"])
    assert row["why_not"] == "refused: it cannot move"
    page = comparison_page([table])
    assert "nan" not in page
    assert "attack refused" in page
    assert "refused: it cannot move" in page
    assert "no number: attack refused" in brief_table(long, wide_table(long))


def test_of_several_seeds_those_with_a_number_count(tmp_path: Path) -> None:
    long = tabulated(tmp_path, [measured_row(), refused_row(seed=1), measured_row(seed=2)])
    wide = wide_table(long)
    assert (wide["magnet"].item(), wide["magnet_n"].item()) == (0.5, 20)
    page = markdown_table(long, wide, title="T")
    assert "n = 20 |" in page and "2 seeds" in page
    assert "it cannot move" in page.split("## Warnings")[1]


@pytest.mark.parametrize("changed", [{"accuracy": 0.5}, {"refused": ""}, {"n": 3}])
def test_rows_without_a_number_say_why(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected n >= 1"):
        tabulated(tmp_path, [measured_row(defense="none"), refused_row(**changed)])


def test_a_detector_of_a_refused_attack_has_no_number(tmp_path: Path) -> None:
    images = np.zeros((4, *SHAPE), np.float32)
    made = ImageSet(images, np.arange(4), {"score": np.arange(4.0)}, {})
    made.attributes["refused_white_box"] = "it cannot move"
    path = str(tmp_path / "attacked.h5")
    write_image_sets(path, {"gray_box": made}, {"kind": "test"})
    labels = {"dataset": "digits", "seed": 0, "classifier": "A", "attack": "fgsm", "epsilon": 0.1}
    labels |= {"defense": "own", "iterations_L": None, "restarts_R": None}
    clean = {"images": path, "group": "gray_box"}
    jobs = [
        {
            **{"labels": labels | {"threat_model": name}, "validation": clean, "clean": clean},
            "attacked": {"images": path, "group": name},
        }
        for name in ("gray_box", "white_box")
    ]
    rows = detection_rows(jobs, seed=0, repeats=2)
    assert (rows[0]["n"], rows[1]["n"], rows[1]["auc"]) == (4, 0, None)
    write_rows(tmp_path / "d.csv", rows, {"kind": "test"}, detection_columns(rows))
    table = detection_table([tmp_path / "d.csv"]).set_index("threat_model")
    assert table.loc["white_box", "refused"] == "it cannot move"
    assert np.isnan(table.loc["white_box", "auc"])
    text = detection_summary(table.reset_index())
    assert "attack refused" in text
    assert "nan" not in text


@pytest.mark.parametrize("draw", [figure8_panels, figure3_panels])
def test_a_figure_of_a_refused_attack_is_refused(draw: Any) -> None:
    rows = pd.DataFrame([refused_row(iterations_L=10, restarts_R=2, threat_model="black_box")])
    settings = {"restarts": 2}
    arguments = [rows, rows]
    if draw is figure8_panels:
        rows["threat_model"], arguments = "white_box", [rows]
    else:
        settings["steps"] = 10
    with pytest.raises(ValueError, match=r"no number of magnet before A.*it cannot move"):
        draw(*arguments, **settings)
