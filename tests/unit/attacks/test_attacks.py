"""Attacks against their formulas and foolbox, and what `run_attack` promises about any of them."""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import foolbox
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.attacks import (
    ATTACKS,
    AttackResult,
    MaskedGradientError,
    attacked_parts,
    cw_l2,
    deepfool,
    fgsm,
    input_gradient,
    rand_fgsm,
    run_attack,
)
from purification.attacks import attack as states
from purification.attacks.losses import log_odds_against

torch.set_num_threads(1)

COUNT = 60
FGSM = {"epsilon": 0.1}
RAND_FGSM = {"epsilon": 0.1, "alpha": 0.04}
BIM = {"epsilon": 0.1, "step_size": 0.03, "iterations": 6}
MIM = {**BIM, "momentum": 1.0}
VAM = {"epsilon": 1.5, "xi": 0.01, "iterations": 2}
STRONG_PGD = {
    **{"epsilon": 0.1, "step_size": 0.04, "iterations": 6, "restarts": 3, "loss": "targeted"},
    **{"momentum": 0.75, "schedule": "cosine", "start": "image", "keep": "first_success"},
}
APGD = {"epsilon": 0.1, "iterations": 12, "restarts": 2, "targets": 3}
FAB = {"epsilon": 0.1, "iterations": 5, "restarts": 2, "targets": 3}
TUNED_CW = {
    "learning_rate": 0.2,
    "constant": 1.0,
    "iterations": 80,
    "binary_search_steps": 4,
    "confidence": 0.0,
}
# Defense-GAN, section 4.1.4.
PAPERS_CW = {
    "learning_rate": 10.0,
    "constant": 100.0,
    "iterations": 100,
    "binary_search_steps": 1,
    "confidence": 0.0,
}


def synthetic_digits(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Ten noisy 8x8 patterns; like MNIST, many pixels are exactly 0 or exactly 1."""
    patterns = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (count,), generator=generator)
    noise = 0.6 * torch.randn(count, 1, 8, 8, generator=generator)
    return (0.25 + 0.5 * patterns[labels] + noise).clamp(0, 1), labels


class Scale(nn.Module):
    """Logits times a number: the same decisions, with more or less certainty."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: Tensor) -> Tensor:
        return self.factor * logits


def small_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8 * 4 * 4, 10),
    )


def trained_cnn() -> nn.Module:
    """A small classifier, eval mode, right on most images but not on all."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = small_cnn()
        images, labels = synthetic_digits(1000, seed=1)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        model.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return trained_cnn()


@pytest.fixture(scope="module")
def digits(trained: nn.Module) -> tuple[Tensor, Tensor]:
    """Test images and labels; some images are misclassified, many pixels lie on the bounds."""
    images, labels = synthetic_digits(COUNT, seed=2)
    wrong = trained(images).argmax(1) != labels
    assert 0 < wrong.sum() < 0.2 * COUNT
    assert (images == 0).float().mean() > 0.2
    assert (images == 1).float().mean() > 0.2
    return images, labels


def foolbox_model(model: nn.Module) -> foolbox.PyTorchModel:
    return foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")


def attack(
    method: str,
    model: nn.Module,
    digits: tuple[Tensor, Tensor],
    batch_size: int = 25,
    **settings: Any,
) -> AttackResult:
    images, labels = digits
    return run_attack(
        method,
        model,
        images,
        labels,
        indices=range(len(images)),
        seed=3,
        batch_size=batch_size,
        settings=settings,
    )


# --- gradient -------------------------------------------------------------------------------


def test_log_odds_gradient_is_the_cross_entropys_divided_by_the_error(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    model = copy.deepcopy(trained).double()
    images, labels = digits[0][:20].double().requires_grad_(), digits[1][:20]
    logits = model(images)
    cross_entropy = functional.cross_entropy(logits, labels, reduction="sum")
    (expected,) = torch.autograd.grad(cross_entropy, images)
    wrong = 1 - logits.detach().softmax(dim=1).gather(1, labels[:, None]).view(-1, 1, 1, 1)
    torch.testing.assert_close(input_gradient(model, images, labels), expected / wrong)


def test_fgsm_moves_images_of_a_model_that_is_certain_in_float32(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Probabilities of exactly 1 have no cross-entropy gradient; that is rounding, no defence."""
    certain = nn.Sequential(copy.deepcopy(trained), Scale(1000.0))
    images, labels = digits[0][:50].clone().requires_grad_(), digits[1][:50]
    loss = functional.cross_entropy(certain(images), labels, reduction="sum")
    (rounded,) = torch.autograd.grad(loss, images)
    assert (rounded == 0).flatten(1).all(1).float().mean() > 0.5
    exact = fgsm(copy.deepcopy(certain).double(), images.double(), labels, epsilon=0.1)
    ours = fgsm(certain, images, labels, epsilon=0.1)
    assert ((ours - exact).abs() > 1e-5).float().mean() < 1e-3
    assert (ours != images).flatten(1).any(1).all()


def test_input_gradient_equals_central_differences(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    model = copy.deepcopy(trained).double()
    images, labels = digits[0][:5].double(), digits[1][:5]
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(4)).double()

    def loss(step: float) -> Tensor:
        return log_odds_against(model(images + step * direction), labels)

    slope = (input_gradient(model, images, labels) * direction).flatten(1).sum(1)
    torch.testing.assert_close(slope, (loss(1e-7) - loss(-1e-7)) / 2e-7, rtol=1e-5, atol=1e-7)


def test_input_gradient_leaves_the_model_alone_and_works_under_no_grad(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    with torch.no_grad():
        gradient = input_gradient(trained, *digits)
    assert not gradient.requires_grad
    assert gradient.abs().flatten(1).amax(1).min() > 0
    assert all(p.grad is None for p in trained.parameters())
    assert not digits[0].requires_grad


# --- FGSM -----------------------------------------------------------------------------------


def test_fgsm_equals_its_formula_on_a_linear_classifier() -> None:
    """Two classes, logits (w.x, 0), label 0: the loss falls with w.x, so x moves by -sign(w)."""
    weight = torch.tensor([1.0, -2.0, 0.0, 3.0])
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    model[1].weight.data = torch.stack([weight, torch.zeros(4)])
    image = torch.tensor([0.5, 0.5, 0.5, 0.1]).view(1, 1, 2, 2)
    result = fgsm(model, image, torch.tensor([0]), epsilon=0.2)
    torch.testing.assert_close(result.flatten(), torch.tensor([0.3, 0.7, 0.5, 0.0]))


@pytest.mark.parametrize("epsilon", [0.05, 0.3])
def test_fgsm_equals_foolboxs(
    trained: nn.Module, digits: tuple[Tensor, Tensor], epsilon: float
) -> None:
    _, oracle, _ = foolbox.attacks.LinfFastGradientAttack()(
        foolbox_model(trained), *digits, epsilons=epsilon
    )
    result = fgsm(trained, *digits, epsilon=epsilon)
    torch.testing.assert_close(result, oracle, rtol=0, atol=1e-5)
    assert not torch.equal(result, digits[0])


def test_fgsm_bites(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    result = attack("fgsm", trained, digits, epsilon=0.3)
    clean_errors = (result.clean_predictions != digits[1]).float().mean()
    assert result.success.float().mean() > clean_errors + 0.5


# --- RAND+FGSM ------------------------------------------------------------------------------


def test_rand_fgsm_is_fgsm_from_the_noisy_image(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """alpha = epsilon leaves the noise alone, which is the start of the full attack."""
    noisy = rand_fgsm(trained, *digits, epsilon=0.04, alpha=0.04, seed=3, indices=range(COUNT))
    result = rand_fgsm(trained, *digits, epsilon=0.1, alpha=0.04, seed=3, indices=range(COUNT))
    gradient = input_gradient(trained, noisy, digits[1])
    expected = (noisy + (0.1 - 0.04) * gradient.sign()).clamp(0, 1)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-7)


def test_rand_fgsm_noise_is_a_clipped_fair_sign(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images = torch.full_like(digits[0], 0.5)
    images[:, :, 0] = 0
    noisy = rand_fgsm(trained, images, digits[1], epsilon=0.1, alpha=0.1, seed=3, indices=range(60))
    change = (noisy - images)[:, :, 1:]
    torch.testing.assert_close(change.abs(), torch.full_like(change, 0.1))
    # 3,360 fair signs: the mean's standard deviation is 0.017.
    assert change.sign().mean().abs() < 0.07
    assert set(noisy[:, :, 0].unique().tolist()) == {0.0, torch.tensor(0.1).item()}


def test_rand_fgsm_stays_in_the_ball_and_the_box(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    result = attack("rand_fgsm", trained, digits, epsilon=0.3, alpha=0.05)
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    assert 0.3 - 1e-6 < result.linf.max() < 0.3 + 1e-6


def test_rand_fgsm_noise_depends_on_seed_and_index_alone(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Bit for bit: batches of 1, 7 or 60, any order, whatever the global random state."""
    images, labels = digits

    def noise(rows: list[int], seed: int = 3) -> Tensor:
        return rand_fgsm(
            trained, images[rows], labels[rows], epsilon=0.1, alpha=0.1, seed=seed, indices=rows
        )

    whole = noise(list(range(COUNT)))
    for size in (1, 7):
        parts = [noise(list(range(COUNT))[i : i + size]) for i in range(0, COUNT, size)]
        assert torch.equal(torch.cat(parts), whole)
    state = torch.get_rng_state()
    torch.rand(3)
    assert torch.equal(noise([41, 5, 17]), whole[[41, 5, 17]])
    torch.set_rng_state(state)
    noise([0])
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(noise(list(range(COUNT)), seed=4), whole)
    # Different images get different noise.
    gray = torch.full_like(images, 0.5)
    a, b = rand_fgsm(trained, gray[:2], labels[:2], epsilon=0.1, alpha=0.1, seed=3, indices=[0, 1])
    assert not torch.equal(a, b)


# --- Carlini-Wagner -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(TUNED_CW, id="tuned"),
        pytest.param(PAPERS_CW, id="paper"),
        pytest.param({**TUNED_CW, "confidence": 1.5}, id="confident"),
        pytest.param(
            {**TUNED_CW, "constant": 1e-3, "iterations": 25, "binary_search_steps": 10},
            id="ten search steps",
        ),
        # Nine steps fail up to 1e-4; only the repetition, at the largest constant, succeeds.
        pytest.param(
            {**TUNED_CW, "constant": 1e-12, "iterations": 25, "binary_search_steps": 10},
            id="last of ten search steps",
        ),
        pytest.param(
            {**TUNED_CW, "constant": 0.02, "binary_search_steps": 1}, id="constant too small"
        ),
    ],
)
def test_cw_agrees_with_foolboxs(
    trained: nn.Module, digits: tuple[Tensor, Tensor], settings: dict
) -> None:
    images, labels = digits
    oracle_attack = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=settings["binary_search_steps"],
        steps=settings["iterations"],
        stepsize=settings["learning_rate"],
        initial_const=settings["constant"],
        confidence=settings["confidence"],
        abort_early=False,
    )
    # Foolbox returns black images where it fails, and may call them successes.
    oracle, _, _ = oracle_attack(foolbox_model(trained), images, labels, epsilons=None)
    oracle_found = oracle.flatten(1).amax(1) > 0
    result = cw_l2(trained, images, labels, **settings)
    found = (result != images).flatten(1).any(1)

    assert torch.equal(found, oracle_found)
    norm = (result - images)[found].flatten(1).norm(dim=1)
    oracle_norm = (oracle - images)[found].flatten(1).norm(dim=1)
    assert norm.mean() == pytest.approx(oracle_norm.mean().item(), rel=0.01)
    assert norm.mean() > 0.05
    # The settings were chosen so that each case means something.
    assert found.all() != (settings["constant"] == 0.02)


def test_cw_without_success_returns_the_clean_image(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Too small a constant: bits of the input, success False, and the others are moved."""
    result = attack(
        "cw_l2", trained, digits, **{**TUNED_CW, "constant": 0.02, "binary_search_steps": 1}
    )
    failed = ~result.success
    assert 0 < failed.sum() < COUNT
    assert torch.equal(result.images[failed], digits[0][failed])
    assert (result.l2[failed] == 0).all()
    assert (result.linf[failed] == 0).all()
    assert (result.l2[result.success] > 0).all()


def test_cw_moves_pixels_that_are_exactly_zero_or_one(trained: nn.Module) -> None:
    images, labels = synthetic_digits(20, seed=5)
    images = images.round()
    labels = trained(images).argmax(1)
    result = cw_l2(trained, images, labels, **TUNED_CW)
    assert result.isfinite().all()
    assert result.min() >= 0
    assert result.max() <= 1
    assert (trained(result).argmax(1) != labels).all()
    # Far more than the 5e-7 that shrinking into the open box costs.
    for bound in (0, 1):
        moved = (result - images).abs()[images == bound]
        assert (moved > 0.01).float().mean() > 0.1


def test_cw_confidence_is_a_margin_in_logits(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    settings = {**TUNED_CW, "confidence": 1.5}
    logits = trained(cw_l2(trained, *digits, **settings))
    own = logits.gather(1, digits[1][:, None])
    assert (logits.amax(1, keepdim=True) - own).min() > 1.5 - 1e-4


@pytest.mark.slow
def test_cw_search_finds_closer_images_than_one_large_constant(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    def mean_norm(steps: int) -> float:
        settings = {**TUNED_CW, "constant": 100.0, "binary_search_steps": steps}
        return (
            (cw_l2(trained, *digits, **settings) - digits[0]).flatten(1).norm(dim=1).mean().item()
        )

    assert mean_norm(8) < 0.95 * mean_norm(1)


class Counting(nn.Module):
    """Counts forward and backward passes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.forwards, self.backwards = model, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += 1
        if images.requires_grad:
            images.register_hook(self._count)
        return self.model(images)

    def _count(self, gradient: Tensor) -> None:
        self.backwards += 1


def test_cw_calls_the_model_once_an_iteration(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    model = Counting(trained)
    cw_l2(model, *digits, **{**TUNED_CW, "iterations": 7, "binary_search_steps": 3})
    assert (model.forwards, model.backwards) == (21, 21)


@pytest.mark.parametrize(
    ("method", "settings", "backwards"),
    [("fgsm", {"epsilon": 0.1}, 1), ("rand_fgsm", {"epsilon": 0.1, "alpha": 0.05}, 2)],
)
def test_fgsm_takes_the_gradient_of_the_zero_gradient_check(
    trained: nn.Module,
    digits: tuple[Tensor, Tensor],
    method: str,
    settings: dict,
    backwards: int,
) -> None:
    model = Counting(trained)
    result = attack(method, model, digits, batch_size=COUNT, **settings)
    assert (model.forwards, model.backwards) == (backwards + 1, backwards)
    if method == "fgsm":
        assert torch.equal(result.images, fgsm(trained, *digits, epsilon=0.1))


# --- DeepFool -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"candidates": 3}, {"overshoot": 0.2}, {"iterations": 1}],
    ids=["default", "three candidates", "large overshoot", "one iteration"],
)
def test_deepfool_agrees_with_foolboxs(
    trained: nn.Module, digits: tuple[Tensor, Tensor], settings: dict
) -> None:
    images, labels = digits
    model, images = copy.deepcopy(trained).double(), images.double()
    oracle_attack = foolbox.attacks.L2DeepFoolAttack(
        steps=settings.get("iterations", 50),
        candidates=settings.get("candidates", 10),
        overshoot=settings.get("overshoot", 0.02),
    )
    oracle, _, _ = oracle_attack(foolbox_model(model), images, labels, epsilons=None)
    result = deepfool(model, images, labels, **settings)
    # The same image, not only one of the same norm: the algorithm leaves no choice.
    torch.testing.assert_close(result, oracle, rtol=0, atol=1e-6)
    norm = (result - images).flatten(1).norm(dim=1)
    wrong = model(images).argmax(1) != labels
    assert (norm[wrong] == 0).all()
    assert norm[~wrong].min() > 0.001
    assert norm.mean() > 0.05


@pytest.mark.slow
def test_deepfool_succeeds_with_less_than_cw_of_one_constant(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Nearly all images, at a norm near that of the tuned CW and far below the paper's CW."""
    result = attack("deepfool", trained, digits)
    assert result.success.float().mean() > 0.98
    moved = result.l2 > 0
    assert torch.equal(moved, result.clean_predictions == digits[1])
    tuned, papers = (attack("cw_l2", trained, digits, **cw) for cw in (TUNED_CW, PAPERS_CW))
    assert result.l2[moved].mean() < 1.3 * tuned.l2[moved].mean()
    assert result.l2[moved].mean() < 0.5 * papers.l2[moved].mean()


def test_deepfool_lands_on_the_nearest_boundary_of_a_linear_classifier() -> None:
    """Logits (0, x1 - 0.6, x2 - 0.9) at (0.5, 0.5), label 0: 0.1 along x1 is nearer than 0.4."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
    model[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    model[1].bias.data = torch.tensor([0.0, -0.6, -0.9])
    image = torch.tensor([0.5, 0.5]).view(1, 1, 1, 2)
    result = deepfool(model, image, torch.tensor([0]), overshoot=0.5)
    # One step of 0.1 (and 1e-4), half of it more.
    torch.testing.assert_close(result.flatten(), torch.tensor([0.5 + 1.5 * 0.1001, 0.5]))


def test_deepfool_leaves_alone_what_is_done(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Images leave the batch as they are done, and the attack ends when none is left."""
    sizes = []
    handle = trained.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    deepfool(trained, *digits)
    handle.remove()
    assert sizes[0] == COUNT
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < COUNT
    assert sizes[-1] < COUNT / 2
    assert len(sizes) < 30


# --- what holds for every attack ---------------------------------------------------------------

EVERY_ATTACK = pytest.mark.parametrize(
    ("method", "settings"),
    [
        *(("fgsm", FGSM), ("rand_fgsm", RAND_FGSM), ("cw_l2", TUNED_CW), ("deepfool", {})),
        *(("bim", BIM), ("pgd", BIM), ("mim", MIM), ("vam", VAM)),
        *(("pgd", STRONG_PGD), ("pgd_l2", STRONG_PGD | {"epsilon": 1.0, "step_size": 0.4})),
        *(("apgd", APGD), ("apgd_l2", APGD | {"epsilon": 1.0, "loss": "targeted_dlr"})),
        *(("fab", FAB), ("fab_l2", FAB | {"epsilon": 1.0, "targeted": False})),
    ],
    ids=[
        *("fgsm", "rand_fgsm", "cw_l2", "deepfool", "bim", "pgd", "mim", "vam", "strong pgd"),
        *("pgd_l2", "apgd", "apgd_l2", "fab", "fab_l2"),
    ],
)


def test_every_registered_attack_is_tested_here() -> None:
    parameters = EVERY_ATTACK.mark.args[1]
    assert {name for name, entry in ATTACKS.items() if entry.gradient_based} == {
        method for method, _ in parameters
    }
    further = set(ATTACKS) - {method for method, _ in parameters}
    # The others have files of their own: tests of scores, of decisions, and of a generator's codes.
    assert further == {
        *("half_masked", "random_signs", "square", "square_l2", "greedy_pixels"),
        *("hop_skip_jump", "hop_skip_jump_l2", "latent", "latent_l2"),
    }


@EVERY_ATTACK
def test_no_result_depends_on_the_batch(
    trained: nn.Module, digits: tuple[Tensor, Tensor], method: str, settings: dict
) -> None:
    """In float64, so that what is left of the batch is rounding: sizes 1, 7, 20 and shuffled."""
    if method == "cw_l2":
        settings = {**settings, "iterations": 20}
    model, images, labels = copy.deepcopy(trained).double(), digits[0][:20].double(), digits[1][:20]
    whole = attack(method, model, (images, labels), batch_size=20, **settings)
    assert whole.images.dtype == torch.float64
    order = torch.randperm(20, generator=torch.Generator().manual_seed(6))
    for size in (1, 7):
        shuffled = run_attack(
            method,
            model,
            images[order],
            labels[order],
            indices=order.tolist(),
            seed=3,
            batch_size=size,
            settings=settings,
        )
        torch.testing.assert_close(shuffled.images, whole.images[order], rtol=0, atol=1e-8)
        torch.testing.assert_close(shuffled.l2, whole.l2[order], rtol=0, atol=1e-8)
        assert torch.equal(shuffled.success, whole.success[order])
        assert torch.equal(shuffled.clean_predictions, whole.clean_predictions[order])


@EVERY_ATTACK
def test_result_is_what_the_model_says_of_the_returned_images(
    trained: nn.Module, digits: tuple[Tensor, Tensor], method: str, settings: dict
) -> None:
    images, labels = digits
    result = attack(method, trained, digits, **settings)
    assert result.images.shape == images.shape
    assert result.images.dtype == torch.float32
    assert not result.images.requires_grad
    assert 0 <= result.images.min() <= result.images.max() <= 1
    batches = [trained(b).argmax(1) for b in result.images.split(25)]
    assert torch.equal(result.predictions, torch.cat(batches))
    assert torch.equal(result.success, result.predictions != labels)
    assert torch.equal(result.clean_predictions, trained(images).argmax(1))
    change = (result.images - images).flatten(1)
    torch.testing.assert_close(result.l2, change.square().sum(1).sqrt())
    torch.testing.assert_close(result.linf, change.abs().amax(1))
    assert not result.zero_gradient.any()
    clean_accuracy = (result.clean_predictions == labels).float().mean()
    assert (~result.success).float().mean() < clean_accuracy - 0.1


class Observed(nn.Module):
    """Dropout that a forward pass in train mode would use, and a frozen parameter."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.model[0].bias.requires_grad_(False)
        self.seen: set[tuple[bool, ...]] = set()

    def forward(self, images: Tensor) -> Tensor:
        modes = [m.training for m in self.modules()]
        self.seen.add((any(modes), any(p.requires_grad for p in self.parameters())))
        return self.model(images)


@pytest.mark.parametrize("fails", [False, True])
def test_model_is_frozen_in_eval_mode_and_restored(
    trained: nn.Module, digits: tuple[Tensor, Tensor], fails: bool
) -> None:
    model = Observed(trained).train()
    model.model[0].eval()
    modes = [m.training for m in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    assert len(set(modes)) == len(set(flags)) == 2
    if fails:
        with pytest.raises(ValueError, match="epsilon"):
            attack("fgsm", model, digits, epsilon=-1.0)
    else:
        attack("fgsm", model, digits, epsilon=0.1)
    assert model.seen == {(False, False)}
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())


def test_attacks_run_under_no_grad(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    settings = {**TUNED_CW, "iterations": 10}
    expected = attack("cw_l2", trained, digits, **settings).images
    assert not torch.equal(expected, digits[0])
    with torch.no_grad():
        assert torch.equal(attack("cw_l2", trained, digits, **settings).images, expected)


def test_predicted_labels_drive_misclassified_images_away_from_the_prediction(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    true = attack("fgsm", trained, digits, labels="ground_truth", epsilon=0.1)
    predicted = attack("fgsm", trained, digits, labels="predicted", epsilon=0.1)
    wrong = true.clean_predictions != digits[1]
    assert torch.equal(true.images, attack("fgsm", trained, digits, epsilon=0.1).images)
    assert torch.equal(true.images[~wrong], predicted.images[~wrong])
    expected = fgsm(trained, digits[0][wrong], true.clean_predictions[wrong], epsilon=0.1)
    torch.testing.assert_close(predicted.images[wrong], expected)
    assert not torch.equal(true.images[wrong], predicted.images[wrong])
    # Success is judged by the true label: leaving a wrong prediction can undo an error.
    assert torch.equal(predicted.success, predicted.predictions != digits[1])
    assert true.success[wrong].all()
    assert not predicted.success[wrong].all()


class Figures:
    """A progress bar that remembers."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.rates: list[float] = []

    def update(self, n: int = 1, **figures: Tensor) -> None:
        self.steps.append(n)
        self.rates.append(float(figures["success"]))


def test_progress_is_told_of_images_and_success(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    bar = Figures()
    result = run_attack(
        "fgsm",
        trained,
        images,
        labels,
        indices=range(COUNT),
        seed=3,
        batch_size=25,
        settings=FGSM,
        progress=bar,
    )
    assert bar.steps == [25, 25, 10]
    assert bar.rates == pytest.approx([b.float().mean().item() for b in result.success.split(25)])


# --- gradients that are exactly zero ---------------------------------------------------------


class Masked(nn.Module):
    """The published code's white box, for some images: the classifier sees a detached copy."""

    def __init__(self, model: nn.Module, threshold: float) -> None:
        super().__init__()
        self.model, self.threshold = model, threshold

    def forward(self, images: Tensor) -> Tensor:
        masked = images[:, :, :1, :1] > self.threshold
        return self.model(torch.where(masked, images.detach(), images))


@EVERY_ATTACK
def test_masked_gradients_are_recorded(
    trained: nn.Module, digits: tuple[Tensor, Tensor], method: str, settings: dict
) -> None:
    result = attack(method, Masked(trained, 0.5), digits, **settings)
    masked = digits[0][:, 0, 0, 0] > 0.5
    assert 0 < masked.sum() < COUNT
    assert torch.equal(result.zero_gradient, masked)
    if method in ("fgsm", "bim", "mim", "vam"):
        assert (result.linf[masked] == 0).all()
        assert (result.linf[~masked] > 0).all()
    if method == "cw_l2":
        assert torch.equal(result.success[masked], (result.clean_predictions != digits[1])[masked])


class Constant(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.arange(10.0).expand(len(images), 10)


class Flat(nn.Module):
    """Connected to the image, with slope zero."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.arange(10.0) + 0 * images.flatten(1)[:, :10]


@EVERY_ATTACK
@pytest.mark.parametrize("kind", ["constant", "flat", "detached"])
def test_attack_that_cannot_move_is_refused(
    trained: nn.Module, digits: tuple[Tensor, Tensor], kind: str, method: str, settings: dict
) -> None:
    model = {"constant": Constant(), "flat": Flat(), "detached": Masked(trained, -1.0)}[kind]
    with pytest.raises(RuntimeError, match=f"{method}.*cannot move"):
        attack(method, model, digits, **settings)


@EVERY_ATTACK
def test_first_batches_without_gradient_are_no_refusal(
    trained: nn.Module, digits: tuple[Tensor, Tensor], method: str, settings: dict
) -> None:
    """Whether all gradients are zero, all batches decide together: here the first three are."""
    first = int((digits[0][:, 0, 0, 0] <= 0.5).nonzero()[0])
    order = torch.tensor([*(digits[0][:, 0, 0, 0] > 0.5).nonzero().flatten()[:6], first])
    given = (digits[0][order], digits[1][order])
    model = Masked(trained, 0.5)
    whole, parts = (attack(method, model, given, batch_size=size, **settings) for size in (7, 2))
    assert parts.zero_gradient.tolist() == [True] * 6 + [False]
    assert torch.equal(whole.zero_gradient, parts.zero_gradient)
    torch.testing.assert_close(parts.images, whole.images, rtol=0, atol=1e-4)


@EVERY_ATTACK
def test_nothing_is_returned_before_it_is_known_that_one_can_move(
    trained: nn.Module, digits: tuple[Tensor, Tensor], method: str, settings: dict
) -> None:
    common = {"indices": range(COUNT), "seed": 3, "batch_size": 25, "settings": settings}
    with pytest.raises(MaskedGradientError, match=f"for all {COUNT} images"):
        next(attacked_parts(method, Flat(), *digits, **common))
    parts = attacked_parts(method, trained, *digits, **common)
    assert len(next(parts).images) == 25
    parts.close()
    assert all(parameter.requires_grad for parameter in trained.parameters())


# --- names and settings ----------------------------------------------------------------------

OWN_ATTACKS = """
import torch

def brighten(model, images, labels, *, amount=0.25):
    return (images + amount).clamp(0, 1)

brighten.gradient_based = False

def noise(model, images, labels, *, size, seed, indices):
    values = torch.tensor([seed + i for i in indices]) / 1000
    return (images + size * values.view(-1, 1, 1, 1)).clamp(0, 1)

def climbing(model, images, labels):
    return images

def downhill(model, images, labels, *, rate, first_gradient):
    return (images - rate * first_gradient).clamp(0, 1)

def outside(model, images, labels):
    return images + 2

def cropped(model, images, labels):
    return images[:, :, 1:]

def broken(model, images, labels):
    return images * float("nan")

from purification.attacks import attack

@attack(norm="linf", settings={"epsilon": "epsilon"}, gradient_based=False)
def further(model, images, labels, *, epsilon, factor=1.0, seed, indices):
    step = epsilon * torch.tensor([factor if i == 7 else 1.0 for i in indices])
    return (images - step.view(-1, 1, 1, 1)).clamp(0, 1)

@attack(norm="l2", settings={"epsilon": "length"}, gradient_based=False)
def longer(model, images, labels, *, epsilon, factor=1.0):
    step = torch.where(images > 0.5, -1.0, 1.0)
    return images + factor * epsilon * step / step[0].numel() ** 0.5
"""


@pytest.fixture
def own_attacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an importable package.module that defines attacks of a user."""
    package = tmp_path / "users_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "attacks.py").write_text(OWN_ATTACKS)
    monkeypatch.syspath_prepend(tmp_path)
    return "users_package.attacks"


def test_users_own_attack_is_imported(
    trained: nn.Module, digits: tuple[Tensor, Tensor], own_attacks: str
) -> None:
    images = digits[0]
    result = attack(f"{own_attacks}:brighten", trained, digits)
    assert torch.equal(result.images, (images + 0.25).clamp(0, 1))
    result = attack(f"{own_attacks}:brighten", trained, digits, amount=0.5)
    assert torch.equal(result.images, (images + 0.5).clamp(0, 1))


def test_users_own_stochastic_attack_gets_seed_and_indices(
    trained: nn.Module, digits: tuple[Tensor, Tensor], own_attacks: str
) -> None:
    result = attack(f"{own_attacks}:noise", trained, digits, size=1.0)
    values = (3 + torch.arange(COUNT)) / 1000
    assert torch.equal(result.images, (digits[0] + values.view(-1, 1, 1, 1)).clamp(0, 1))


def test_users_own_attack_gets_the_first_gradient(
    trained: nn.Module, digits: tuple[Tensor, Tensor], own_attacks: str
) -> None:
    result = attack(f"{own_attacks}:downhill", trained, digits, rate=0.5)
    expected = (digits[0] - 0.5 * input_gradient(trained, *digits)).clamp(0, 1)
    assert torch.equal(result.images, expected)
    assert not torch.equal(result.images, digits[0])


def test_users_own_attack_may_do_without_gradients_if_it_says_so(
    digits: tuple[Tensor, Tensor], own_attacks: str
) -> None:
    assert attack(f"{own_attacks}:brighten", Constant(), digits).zero_gradient.all()
    with pytest.raises(RuntimeError, match="cannot move"):
        attack(f"{own_attacks}:climbing", Constant(), digits)


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        ("outside", "not in"),
        ("broken", "not in"),
        ("cropped", r"returned float32 \(25, 1, 7, 8\), expected float32 \(25, 1, 8, 8\)"),
    ],
)
def test_users_own_attack_must_return_images(
    trained: nn.Module,
    digits: tuple[Tensor, Tensor],
    own_attacks: str,
    function: str,
    complaint: str,
) -> None:
    with pytest.raises(RuntimeError, match=f"{function}.*{complaint}"):
        attack(f"{own_attacks}:{function}", trained, digits)


@pytest.mark.parametrize("name", ["further", "longer"])
def test_an_attack_that_leaves_its_ball_is_refused(
    trained: nn.Module, digits: tuple[Tensor, Tensor], own_attacks: str, name: str
) -> None:
    method, settings = f"{own_attacks}:{name}", {"epsilon": 0.1}
    assert attack(method, trained, digits, **settings).linf.max() > 0.01
    assert attack(method, trained, digits, **settings, factor=1 + 5e-5).linf.max() > 0.01
    norm, first = ("linf", 7) if name == "further" else ("l2", 0)
    complaint = rf"{name}' left its ball: the {norm} norm .* is 0\.101 for image {first}"
    with pytest.raises(RuntimeError, match=complaint):
        attack(method, trained, digits, **settings, factor=1.01)
    # In units of [-1, 1] the ball is half as large.
    half = attack(method, trained, digits, **settings, pixel_range=[-1, 1])
    assert float(getattr(half, norm).max()) == pytest.approx(0.05, abs=1e-5)


def test_a_strength_that_the_config_does_not_tell_is_refused(
    trained: nn.Module, digits: tuple[Tensor, Tensor], own_attacks: str
) -> None:
    with pytest.raises(ValueError, match="missing settings epsilon"):
        attack(f"{own_attacks}:further", trained, digits)


@pytest.mark.parametrize(
    ("keywords", "complaint"),
    [
        ({"norm": "l1"}, "norm must be one of linf, l2"),
        ({"norm": "linf"}, "with the norm linf it must state the setting epsilon"),
        ({"norm": "linf", "settings": {"radius": "epsilon"}}, "must state the setting epsilon"),
    ],
)
def test_a_norm_bounds_epsilon(keywords: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        states(**keywords)


@pytest.mark.parametrize("method", ["fgms", "no_such_package.attacks:f", "math:no_such_name", ":"])
def test_unknown_attack_is_refused(
    trained: nn.Module, digits: tuple[Tensor, Tensor], method: str
) -> None:
    allowed = (
        "cw_l2, deepfool, .*fgsm, rand_fgsm.*package.module:function"
        if ":" not in method
        else "imported"
    )
    with pytest.raises(ValueError, match=f"{method}.*{allowed}"):
        attack(method, trained, digits)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("fgsm", {"epsilon": 0.1, "eps": 1}, "unknown settings eps; allowed: epsilon, labels"),
        ("fgsm", {}, "missing settings epsilon; allowed: epsilon, labels"),
        ("rand_fgsm", {**RAND_FGSM, "seed": 1}, "unknown settings seed; allowed: epsilon, alpha,"),
        ("cw_l2", FGSM, "unknown settings epsilon; allowed: learning_rate, constant, iterations,"),
        ("fgsm", {**FGSM, "labels": "guessed"}, "ground_truth, predicted; got 'guessed'"),
        ("cw_l2", {**TUNED_CW, "pixel_range": [-1, 1]}, "unknown settings pixel_range"),
        ("fgsm", {**FGSM, "pixel_range": [1, -1]}, "pixel_range must ascend"),
        ("fgsm", {"epsilon": -0.1}, "epsilon must not be negative"),
        ("rand_fgsm", {"epsilon": 0.1, "alpha": 0.2}, r"alpha must be in \[0, epsilon=0.1\]"),
        ("cw_l2", {**TUNED_CW, "iterations": 0}, "at least 1"),
        ("cw_l2", {**TUNED_CW, "binary_search_steps": 0}, "at least 1"),
        ("cw_l2", {**TUNED_CW, "learning_rate": 0.0}, "must be positive"),
        ("cw_l2", {**TUNED_CW, "constant": 0.0}, "must be positive"),
        ("cw_l2", {**TUNED_CW, "confidence": -1.0}, "not negative"),
        ("bim", FGSM, "missing settings step_size, iterations; allowed: epsilon, step_size, iter"),
        ("pgd", {**BIM, "random_start": True}, "unknown settings random_start"),
        ("mim", BIM, "missing settings momentum"),
        ("vam", {**BIM, "xi": 0.1}, "unknown settings step_size; allowed: epsilon, xi, iterations"),
        *(
            (method, {**BIM, "epsilon": -0.1}, "epsilon must not be neg")
            for method in ("bim", "pgd")
        ),
        ("mim", {**MIM, "step_size": 0.0}, "mim: .*step_size must be positive"),
        ("pgd", {**BIM, "iterations": 0}, "pgd: .*iterations at least 1"),
        ("mim", {**MIM, "momentum": -1.0}, "momentum must not be negative"),
        ("vam", {**VAM, "xi": 0.0}, "xi must be positive"),
        ("vam", {**VAM, "epsilon": -1.0}, "epsilon must not be negative"),
        ("vam", {**VAM, "iterations": 0}, "iterations at least 1"),
        ("half_masked", {"half": "middle", "fill": 0.0}, "top, bottom, left, right.*'middle'"),
        ("half_masked", {"half": "top", "fill": 1.5}, r"fill in \[0, 1\].*1.5"),
        ("half_masked", {"half": "top"}, "missing settings fill"),
        ("deepfool", FGSM, "unknown settings epsilon; allowed: iterations, overshoot, candidates,"),
        ("deepfool", {"iterations": 0}, "iterations must be at least 1"),
        ("deepfool", {"candidates": 1}, "candidates at least 2"),
        ("deepfool", {"overshoot": -0.1}, "overshoot not negative"),
    ],
)
def test_wrong_settings_are_refused(
    trained: nn.Module,
    digits: tuple[Tensor, Tensor],
    method: str,
    settings: dict,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        attack(method, trained, digits, **settings)


def test_wrong_images_are_refused(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits

    def run(images: Tensor, labels: Tensor, indices: Iterable[int], batch_size: int = 5) -> None:
        run_attack(
            "fgsm",
            trained,
            images,
            labels,
            indices=list(indices),
            seed=3,
            batch_size=batch_size,
            settings=FGSM,
        )

    for bad in (-0.01, 1.01, float("nan")):
        broken = images.clone()
        broken[0, 0, 0, 0] = bad
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            run(broken, labels, range(COUNT))
    with pytest.raises(ValueError, match="as many"):
        run(images, labels[1:], range(COUNT))
    with pytest.raises(ValueError, match="as many"):
        run(images, labels, range(COUNT - 1))
    with pytest.raises(ValueError, match="at least one"):
        run(images[:0], labels[:0], [])
    with pytest.raises(ValueError, match="batch_size"):
        run(images, labels, range(COUNT), batch_size=0)
    with pytest.raises(ValueError, match="2 indices for 3 images"):
        rand_fgsm(trained, images[:3], labels[:3], epsilon=0.1, alpha=0.1, seed=3, indices=[0, 1])


@pytest.mark.parametrize(
    ("method", "given", "same"),
    [
        ("fgsm", {"epsilon": 0.3}, {"epsilon": 0.15}),
        ("rand_fgsm", {"epsilon": 0.3, "alpha": 0.05}, {"epsilon": 0.15, "alpha": 0.025}),
        *(
            (method, {"epsilon": 0.3, "step_size": 0.125} | own, {"epsilon": 0.15} | half | own)
            for half in [{"step_size": 0.0625}]
            for method, own in [
                *(("bim", {"iterations": 6}), ("pgd", {"iterations": 6})),
                ("mim", {"iterations": 6, "momentum": 1.0}),
            ]
        ),
    ],
)
def test_strength_in_units_of_another_range(
    trained: nn.Module, digits: tuple[Tensor, Tensor], method: str, given: dict, same: dict
) -> None:
    result = attack(method, trained, digits, **given, pixel_range=[-1, 1])
    assert torch.equal(result.images, attack(method, trained, digits, **same).images)
    assert result.linf.max() == pytest.approx(0.15, abs=1e-6)
    ours = attack(method, trained, digits, **given)
    assert torch.equal(
        attack(method, trained, digits, **given, pixel_range=[0, 1]).images, ours.images
    )
    assert ours.linf.max() == pytest.approx(0.3, abs=1e-6)
