"""The black-box attacker: formula, numbers of images and queries, and that the attack transfers."""

import inspect
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from purification import datasets
from purification.attacks import fgsm
from purification.attacks.substitute import jacobian_augmentation
from purification.evaluation.oracle import label_oracle
from purification.models.classifiers import build_classifier
from purification.models.prediction import predict
from purification.models.wgan import Generator
from purification.purifiers import Defended
from purification.purifiers.defense_gan import DefenseGAN, draw_starts
from purification.purifiers.descent import SearchSettings
from purification.randomness import generator, isolated_rng
from purification.training import substitute as substitute_module
from purification.training.classifier import train_classifier
from purification.training.substitute import SubstituteResult, train_substitute

pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")


def linear(weights: Tensor) -> nn.Module:
    """Logits images @ weights; weights: (pixels, classes)."""
    layer = nn.Linear(*weights.shape, bias=False, dtype=weights.dtype)
    nn.utils.vector_to_parameters(weights.T.flatten(), layer.parameters())
    return nn.Sequential(nn.Flatten(), layer)


def new_classifier(architecture: str = "E", seed: int = 7) -> nn.Module:
    with isolated_rng(seed):
        return build_classifier(architecture)


def noise(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


class Oracle:
    """Says which of ten stripes of the image is the brightest, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        assert not images.requires_grad
        self.asked.append(images.clone())
        return images[:, 0, :, 4:24].unflatten(2, (10, 2)).mean(dim=(1, 3)).argmax(dim=1)


def fit(
    oracle: Callable[[Tensor], Tensor],
    images: Tensor,
    model: nn.Module | None = None,
    **changes: object,
) -> SubstituteResult:
    defaults = {
        "rounds": 3,
        "epochs": 1,
        "batch_size": 50,
        "learning_rate": 1e-3,
        "step": 0.1,
        "initial_labels": None,
        "seed": 3,
        "device": "cpu",
    }
    return train_substitute(model or new_classifier(), oracle, images, **{**defaults, **changes})


# Augmentation


def test_augmentation_steps_along_the_gradient_by_hand() -> None:
    # The last pixel is of no class: its gradient is zero, and it stays.
    weights = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0], [0.5, 0.5, 1.0], [0.0, 0.0, 0.0]])
    images = torch.full((3, 1, 2, 2), 0.5)
    labels = torch.tensor([0, 1, 2])
    # The gradient of p_y of a softmax of logits x @ W is p_y (w_y - sum over k of p_k w_k).
    probabilities = torch.softmax(images.flatten(1) @ weights, dim=1)
    gradient = weights.T[labels] - probabilities @ weights.T
    expected = images + 0.1 * gradient.sign().view_as(images)
    model = linear(weights)
    with torch.no_grad():  # as the caller may be
        new = jacobian_augmentation(model, images, labels, step=0.1)
    torch.testing.assert_close(new, expected)
    assert new[0].flatten().tolist() == pytest.approx([0.6, 0.4, 0.4, 0.5])
    assert not new.requires_grad and all(p.grad is None for p in model.parameters())


def probability_signs(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """sign(grad_x p_y(x)), by the book."""
    inputs = images.clone().requires_grad_()
    probabilities = model(inputs).softmax(dim=1)
    chosen = probabilities.gather(1, labels[:, None]).sum()
    return torch.autograd.grad(chosen, inputs)[0].sign()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_augmentation_follows_the_probability_of_the_given_label(seed: int) -> None:
    model = new_classifier("E", seed).double()
    images = 0.2 + 0.6 * noise(4, seed).double()
    labels = torch.randint(10, (4,), generator=torch.Generator().manual_seed(seed))
    expected = images + 0.1 * probability_signs(model, images, labels)
    torch.testing.assert_close(jacobian_augmentation(model, images, labels, step=0.1), expected)
    other = jacobian_augmentation(model, images, (labels + 1) % 10, step=0.1)
    assert not torch.equal(other, expected)


def test_augmentation_keeps_its_signs_where_the_probability_is_rounded_to_one() -> None:
    # The first pixel speaks for label 0, but less clearly than the others' weights are large.
    weights = torch.tensor([[10.0, 9.0, 9.0], [50.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    images, label = torch.full((1, 1, 2, 2), 0.5), torch.tensor([0])
    model = linear(weights)
    assert model(images).softmax(dim=1)[0, 0] == 1
    assert probability_signs(model, images, label).flatten().tolist() == [-1, 0, -1, 0]
    exact = probability_signs(linear(weights.double()), images.double(), label)
    assert exact.flatten().tolist() == [1, 1, -1, 0]
    new = jacobian_augmentation(model, images, label, step=0.1)
    torch.testing.assert_close(new, images + 0.1 * exact.float())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(-1, 1))
def test_augmented_images_stay_in_the_range_of_pixels(seed: int, step: float) -> None:
    images = noise(3, seed).round(decimals=1)  # some pixels at 0 and 1
    new = jacobian_augmentation(new_classifier(), images, torch.tensor([1, 2, 3]), step=step)
    assert new.shape == images.shape
    assert new.min() >= 0 and new.max() <= 1
    assert (new - images).abs().max() <= abs(step) + 1e-6


def test_each_new_image_depends_on_its_old_one_alone() -> None:
    images, labels, model = noise(6), torch.arange(6), new_classifier("D").eval()
    together = jacobian_augmentation(model, images, labels, step=0.1)
    one = torch.cat(
        [
            jacobian_augmentation(model, images[i : i + 1], labels[i : i + 1], step=0.1)
            for i in range(6)
        ]
    )
    torch.testing.assert_close(together, one)


# Training


@pytest.mark.parametrize(("given_labels", "queries"), [(True, 4650), (False, 4800)])
def test_150_images_become_4800_and_each_is_asked_about_once(
    given_labels: bool, queries: int
) -> None:
    images, oracle = noise(150), Oracle()
    # Labels that the oracle would not give, to know them again.
    initial = (Oracle()(images) + 1) % 10 if given_labels else None
    result = fit(oracle, images, rounds=6, initial_labels=initial, batch_size=500)
    assert result.images.shape == (4800, 1, 28, 28)
    assert result.labels.shape == (4800,)
    sizes = [len(asked) for asked in oracle.asked]
    assert sizes == ([] if given_labels else [150]) + [150, 300, 600, 1200, 2400]
    assert result.queries == sum(sizes) == queries
    asked = torch.cat(oracle.asked)
    assert torch.equal(asked, result.images[-queries:])
    assert len(asked.flatten(1).unique(dim=0)) == queries
    assert torch.equal(result.images[:150], images)
    assert torch.equal(result.labels[-queries:], Oracle()(asked))
    if initial is not None:
        assert torch.equal(result.labels[:150], initial)
    assert result.images.min() >= 0 and result.images.max() <= 1
    rounds = [(row["round"], row["epoch"]) for row in result.history]
    assert rounds == [(number, 1) for number in range(1, 7)]


def test_rounds_train_on_all_images_so_far_from_the_last_rounds_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By hand, in two rounds; and the new images come from the substitute in eval mode."""
    calls = []

    def spy(model: nn.Module, images: Tensor, labels: Tensor, **rest: object) -> list[dict]:
        calls.append((len(images), len(labels), vector(model), rest["seed"]))
        rows = train_classifier(model, images, labels, **rest)
        calls.append(vector(model))
        return rows

    monkeypatch.setattr(substitute_module, "train_classifier", spy)
    model, images = new_classifier("D"), noise(40)  # D has dropout
    result = fit(Oracle(), images, model, rounds=2, epochs=2, step=0.2)
    (first, _, start, seed), after_first, (second, labels, again, other_seed), end = calls
    assert (first, second, labels) == (40, 80, 80)
    assert torch.equal(start, vector(new_classifier("D")))
    assert torch.equal(again, after_first) and not torch.equal(start, after_first)
    assert torch.equal(end, vector(model)) and not model.training
    assert seed != other_seed
    between = new_classifier("D").eval()
    nn.utils.vector_to_parameters(after_first, between.parameters())
    expected = jacobian_augmentation(between, images, Oracle()(images), step=0.2)
    torch.testing.assert_close(result.images[40:], expected)
    assert [row["round"] for row in result.history] == [1, 1, 2, 2]
    assert [row["epoch"] for row in result.history] == [1, 2, 1, 2]
    assert all(0 <= row["agreement"] <= 1 and row["loss"] > 0 for row in result.history)


def vector(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def test_substitute_follows_from_the_seed_alone() -> None:
    def run(seed: int) -> tuple[Tensor, SubstituteResult]:
        model = new_classifier("D")
        result = fit(Oracle(), noise(60), model, seed=seed, rounds=2)
        return vector(model), result

    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    weights, result = run(0)
    assert torch.equal(torch.random.get_rng_state(), before), "global random state was used"
    torch.manual_seed(2)
    repeated, repeated_result = run(0)
    assert torch.equal(repeated, weights)
    assert torch.equal(repeated_result.images, result.images)
    assert repeated_result.history == result.history
    assert not torch.equal(run(1)[0], weights)


def test_agreement_with_the_oracle_rises() -> None:
    def striped(n: int, seed: int) -> Tensor:
        images = 0.5 * noise(n, seed)
        for number, image in enumerate(images):
            stripe = 4 + 2 * (number % 10)
            image[0, :, stripe : stripe + 2] += 0.2
        return images

    model, unseen = new_classifier(), striped(500, seed=1)
    truth = Oracle()(unseen)
    before = (predict(model, unseen, device="cpu").argmax(1) == truth).float().mean()
    history = fit(Oracle(), striped(150, seed=2), model, rounds=3, epochs=10).history
    after = (predict(model, unseen, device="cpu").argmax(1) == truth).float().mean()
    assert after > before + 0.4
    assert history[9]["agreement"] > history[0]["agreement"] + 0.3
    assert history[-1]["agreement"] > 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "at least one round"),
        ({"initial_labels": torch.zeros(3, dtype=torch.int64)}, "3 initial labels for 20 images"),
    ],
)
def test_impossible_arguments_are_refused(changes: dict, message: str) -> None:
    oracle = Oracle()
    with pytest.raises(ValueError, match=message):
        fit(oracle, noise(20), **changes)
    assert not oracle.asked, "queries spent on a run that cannot be"


@pytest.mark.parametrize(
    "answer",
    [
        lambda images: torch.zeros(len(images), 10),
        lambda images: torch.zeros(len(images)),
        lambda images: torch.zeros(1, dtype=torch.int64),
    ],
    ids=["logits", "floats", "one label"],
)
def test_an_oracle_that_answers_no_labels_is_refused(answer: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="the oracle answered"):
        fit(answer, noise(20))


# Oracle


def test_label_oracle_gives_labels_and_nothing_else() -> None:
    images, model = noise(23), new_classifier("D").train()
    labels = label_oracle(model, 10, "cpu")(images.requires_grad_())
    assert labels.dtype == torch.int64 and labels.shape == (23,)
    assert images.grad is None and all(p.grad is None for p in model.parameters())
    assert torch.equal(labels, model.eval()(images).argmax(dim=1))
    assert list(inspect.signature(label_oracle(model, 10, "cpu")).parameters) == ["images"]


def test_label_oracle_asks_the_defended_classifier() -> None:
    """Its purifier takes gradients of its own inside, though the oracle gives none."""
    with isolated_rng(1):
        purifier = DefenseGAN(
            Generator(5, 2), draw_starts(2, 5, generator(0)), SearchSettings(3, 10.0, 0.7)
        )
    images, bare = noise(7), new_classifier()
    labels = label_oracle(Defended(purifier, bare), 3, "cpu")(images)
    assert torch.equal(labels, label_oracle(bare, 3, "cpu")(purifier(images)))


# The attack


@pytest.mark.slow
def test_fgsm_of_the_substitute_transfers_to_the_oracle_on_digits() -> None:
    splits = datasets.load("digits", data_root="", validation=147, test=500)
    (train, train_labels), (test, labels) = (
        (torch.from_numpy(array) for array in splits[split]) for split in ("train", "test")
    )
    target, model = new_classifier("D", 1), new_classifier("E", 2)
    train_classifier(
        target,
        train,
        train_labels,
        epochs=15,
        batch_size=50,
        learning_rate=1e-3,
        adversarial_epsilon=None,
        seed=0,
        validation=None,
        device="cpu",
    )
    oracle = label_oracle(target, 500, "cpu")
    own = datasets.attacker_images
    result = fit(oracle, own(test), model, rounds=5, epochs=5, initial_labels=own(labels))
    assert result.queries == 150 * 15
    images, truth = datasets.evaluation_images(test), datasets.evaluation_images(labels)
    clean = (oracle(images) == truth).float().mean()
    attacked = oracle(fgsm(model, images, truth, epsilon=0.15))
    signs = noise(len(images)).sub(0.5).sign()
    random = oracle((images + 0.15 * signs).clamp(0, 1))
    assert clean > 0.9
    assert (attacked == truth).float().mean() < clean - 0.3
    # Not by mere noise of the same size.
    assert (random == truth).float().mean() > clean - 0.1
