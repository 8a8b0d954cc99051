"""BIM, PGD, MIM and VAM against foolbox and their papers' formulas, and half-masked images."""

import copy
from collections.abc import Iterable
from typing import Any

import eagerpy
import foolbox
import pytest
import torch
from test_attacks import Masked, Scale, foolbox_model, synthetic_digits, trained_cnn
from torch import Tensor, nn
from torch.nn import functional

from purification.attacks import (
    bim,
    fgsm,
    half_masked,
    input_gradient,
    mim,
    pgd,
    random_signs,
    run_attack,
    vam,
)
from purification.attacks.noise import per_image_noise

torch.set_num_threads(1)

COUNT = 60
STEPS = {"epsilon": 0.1, "step_size": 0.03, "iterations": 8}
XI = 0.01
"""What the docstring of `vam` and config/README.md recommend."""


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return trained_cnn()


@pytest.fixture(scope="module")
def precise(trained: nn.Module) -> nn.Module:
    """The same in float64, where two right implementations do not differ by a gradient's sign."""
    return copy.deepcopy(trained).double()


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    return synthetic_digits(COUNT, seed=2)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    return (model(images).argmax(1) == labels).float().mean().item()


# --- BIM and PGD ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [STEPS, {"epsilon": 0.3, "step_size": 0.05, "iterations": 10}, {**STEPS, "iterations": 1}],
    ids=["small", "CleverHans", "one step"],
)
def test_bim_equals_foolboxs(
    precise: nn.Module, digits: tuple[Tensor, Tensor], settings: dict
) -> None:
    images, labels = digits[0].double(), digits[1]
    oracle_attack = foolbox.attacks.LinfBasicIterativeAttack(
        abs_stepsize=settings["step_size"], steps=settings["iterations"], random_start=False
    )
    _, oracle, _ = oracle_attack(
        foolbox_model(precise), images, labels, epsilons=settings["epsilon"]
    )
    result = bim(precise, images, labels, **settings)
    torch.testing.assert_close(result, oracle, rtol=0, atol=1e-12)
    assert (result != images).flatten(1).any(1).all()


def test_pgd_equals_foolboxs_from_the_same_start(
    precise: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits[0].double(), digits[1]
    start = 0.1 * (2 * per_image_noise(torch.rand, images, 3, range(COUNT)) - 1)

    class FromOurStart(foolbox.attacks.LinfProjectedGradientDescentAttack):
        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            return x0 + eagerpy.astensor(start)

    oracle_attack = FromOurStart(abs_stepsize=0.03, steps=8)
    _, oracle, _ = oracle_attack(foolbox_model(precise), images, labels, epsilons=0.1)
    result = pgd(precise, images, labels, **STEPS, seed=3, indices=range(COUNT))
    torch.testing.assert_close(result, oracle, rtol=0, atol=1e-12)
    assert not torch.equal(result, bim(precise, images, labels, **STEPS))


def test_one_full_step_of_bim_is_fgsm(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    result = bim(trained, *digits, epsilon=0.1, step_size=0.1, iterations=1)
    torch.testing.assert_close(result, fgsm(trained, *digits, epsilon=0.1), rtol=0, atol=1e-7)


class Linear(nn.Module):
    """Two classes, logits (w.x, 0): the loss of label 0 falls with w.x."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        score = images.flatten(1) @ self.weight
        return torch.stack([score, torch.zeros_like(score)], dim=1)


def test_bim_equals_its_formula_on_a_linear_classifier() -> None:
    """Two steps of 0.15 against sign(w), to a ball of 0.2 and to the box; slope 0 stays."""
    model = Linear(torch.tensor([1.0, -2.0, 0.0, 3.0]))
    image = torch.tensor([0.5, 0.5, 0.5, 0.1]).view(1, 1, 2, 2)
    result = bim(model, image, torch.tensor([0]), epsilon=0.2, step_size=0.15, iterations=2)
    torch.testing.assert_close(result.flatten(), torch.tensor([0.3, 0.7, 0.5, 0.0]))


def random_starts(images: Tensor, indices: Iterable[int], seed: int = 3) -> Tensor:
    """PGD that cannot move from its start: no step changes a number of float32."""
    model = Linear(torch.ones(images[0].numel()))
    labels = torch.zeros(len(images), dtype=torch.int64)
    own = {"epsilon": 0.1, "step_size": 1e-30, "iterations": 1}
    return pgd(model, images, labels, **own, seed=seed, indices=indices)


def test_pgd_starts_uniformly_in_the_ball_and_the_box() -> None:
    images = torch.full((COUNT, 1, 8, 8), 0.5)
    images[:, :, 0] = 0
    change = random_starts(images, range(COUNT)) - images
    inner = change[:, :, 1:]
    assert 0.0995 < inner.abs().max() <= 0.1 + 1e-7
    # 3,360 uniform numbers: the standard deviations are 0.001 of the mean, 0.0005 of the spread.
    assert inner.mean().abs() < 0.004
    assert inner.std() == pytest.approx(0.1 / 3**0.5, abs=0.002)
    # At the bound of the box the lower half is clipped.
    assert change[:, :, 0].min() == 0
    assert (change[:, :, 0] == 0).float().mean() == pytest.approx(0.5, abs=0.1)


def test_pgds_start_depends_on_seed_and_index_alone() -> None:
    images = torch.full((COUNT, 1, 8, 8), 0.5)
    whole = random_starts(images, range(COUNT))
    state = torch.get_rng_state()
    assert torch.equal(random_starts(images[:3], [41, 5, 17]), whole[[41, 5, 17]])
    assert torch.equal(torch.get_rng_state(), state)
    assert len({tuple(start.flatten().tolist()) for start in whole}) == COUNT
    assert not torch.equal(random_starts(images, range(COUNT), seed=4), whole)


# --- MIM --------------------------------------------------------------------------------------


class PapersMIM(foolbox.attacks.LinfMomentumIterativeFastGradientMethod):
    """foolbox's loop with the paper's normalisation in place of the gradient's sign."""

    def normalize(self, gradients: Any, *, x: Any, bounds: Any) -> Any:
        norms = eagerpy.norms.l1(gradients.reshape((len(gradients), -1)), axis=-1)
        return gradients / norms.reshape((-1, 1, 1, 1))


@pytest.mark.parametrize("momentum", [1.0, 0.5])
def test_mim_equals_foolboxs_with_the_papers_normalisation(
    precise: nn.Module, digits: tuple[Tensor, Tensor], momentum: float
) -> None:
    images, labels = digits[0].double(), digits[1]
    settings = {"momentum": momentum, "abs_stepsize": 0.03, "steps": 8}
    oracle, signs = (
        kind(**settings)(foolbox_model(precise), images, labels, epsilons=0.1)[1]
        for kind in (PapersMIM, foolbox.attacks.LinfMomentumIterativeFastGradientMethod)
    )
    result = mim(precise, images, labels, **STEPS, momentum=momentum)
    torch.testing.assert_close(result, oracle, rtol=0, atol=1e-12)
    # foolbox's own is another attack.
    assert not torch.allclose(result, signs, rtol=0, atol=0.01)


def test_mim_is_its_formula_written_out(precise: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    """By the cross-entropy, as the paper has it, for one image."""
    image, label = digits[0][:1].double(), digits[1][:1]
    current, accumulated = image, torch.zeros_like(image)
    for _ in range(8):
        x = current.clone().requires_grad_()
        (slope,) = torch.autograd.grad(functional.cross_entropy(precise(x), label), x)
        accumulated = 1.0 * accumulated + slope / slope.abs().sum()
        current = (current + 0.03 * accumulated.sign()).clamp(image - 0.1, image + 0.1).clamp(0, 1)
    result = mim(precise, image, label, **STEPS, momentum=1.0)
    torch.testing.assert_close(result, current, rtol=0, atol=1e-12)


def test_mim_without_momentum_is_bim(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    result = mim(trained, *digits, **STEPS, momentum=0.0)
    assert torch.equal(result, bim(trained, *digits, **STEPS))
    assert not torch.equal(result, mim(trained, *digits, **STEPS, momentum=1.0))


def test_mim_goes_on_where_the_gradient_vanishes() -> None:
    """A label's loss that rises to x = 0.45 and is flat from there: the second step is g's."""

    class Ramp(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            x = images.flatten(1)
            return torch.cat([-x.clamp(max=0.45), torch.zeros_like(x)], dim=1)

    image, label = torch.full((1, 1, 1, 1), 0.4), torch.tensor([0])
    settings = {"epsilon": 0.3, "step_size": 0.1, "iterations": 2}
    assert mim(Ramp(), image, label, **settings, momentum=1.0).item() == pytest.approx(0.6)
    assert bim(Ramp(), image, label, **settings).item() == pytest.approx(0.5)


# --- what holds for all three -------------------------------------------------------------------

ITERATED = pytest.mark.parametrize(
    ("attack", "extra"),
    [
        (bim, {}),
        (pgd, {"seed": 3, "indices": range(COUNT)}),
        (mim, {"momentum": 1.0}),
    ],
    ids=["bim", "pgd", "mim"],
)


@ITERATED
def test_images_stay_in_the_ball_and_the_box(
    trained: nn.Module, digits: tuple[Tensor, Tensor], attack: Any, extra: dict
) -> None:
    images, labels = digits
    result = attack(trained, images, labels, epsilon=0.3, step_size=0.2, iterations=5, **extra)
    assert result.min() >= 0 and result.max() <= 1
    assert 0.3 - 1e-6 < (result - images).abs().max() < 0.3 + 1e-6
    still = attack(trained, images, labels, epsilon=0.0, step_size=0.2, iterations=5, **extra)
    assert torch.equal(still, images)


@ITERATED
def test_iterated_attacks_are_stronger_than_fgsm(
    trained: nn.Module, attack: Any, extra: dict
) -> None:
    """By little, as a small classifier of noisy patterns is nearly linear."""
    images, labels = synthetic_digits(200, seed=7)
    extra = extra | ({"indices": range(200)} if extra.get("indices") else {})
    settings = {"epsilon": 0.1, "step_size": 0.0125, "iterations": 20}
    ours = attack(trained, images, labels, **settings, **extra)
    once = fgsm(trained, images, labels, epsilon=0.1)
    loss, loss_once = (functional.cross_entropy(trained(x), labels).item() for x in (ours, once))
    assert loss > 1.01 * loss_once
    assert accuracy(trained, ours, labels) < accuracy(trained, once, labels)
    assert accuracy(trained, ours, labels) < 0.5 * accuracy(trained, images, labels)


@ITERATED
def test_a_certain_classifier_is_attacked_as_a_doubtful_one(
    precise: nn.Module, digits: tuple[Tensor, Tensor], attack: Any, extra: dict
) -> None:
    """1000 times the logits have the same signs; in float32 their cross-entropy has none."""
    certain = nn.Sequential(copy.deepcopy(precise).float(), Scale(1000.0))
    exact = attack(
        nn.Sequential(precise, Scale(1000.0)), digits[0].double(), digits[1], **STEPS, **extra
    )
    ours = attack(certain, *digits, **STEPS, **extra)
    assert ((ours - exact).abs() > 1e-5).float().mean() < 0.01
    assert (ours != digits[0]).flatten(1).any(1).all()


# --- VAM --------------------------------------------------------------------------------------


def cosines(a: Tensor, b: Tensor) -> Tensor:
    return functional.cosine_similarity(a.flatten(1).double(), b.flatten(1).double(), dim=1)


def directions(model: nn.Module, images: Tensor, xi: float, iterations: int = 1) -> Tensor:
    """Perturbations of length 1e-3, of images that lie so far from the box's walls."""
    own = {"epsilon": 1e-3, "xi": xi, "iterations": iterations}
    labels = torch.zeros(len(images), dtype=torch.int64)
    return vam(model, images, labels, **own, seed=3, indices=range(len(images))) - images


@pytest.fixture(scope="module")
def inner(digits: tuple[Tensor, Tensor]) -> Tensor:
    return 0.1 + 0.8 * digits[0]


@pytest.mark.parametrize(("xi", "iterations"), [(1e-6, 1), (XI, 1), (0.1, 3)])
def test_vam_equals_foolboxs_from_the_same_vector(
    precise: nn.Module, digits: tuple[Tensor, Tensor], xi: float, iterations: int
) -> None:
    images, labels = digits[0].double(), digits[1]
    start = per_image_noise(torch.randn, images, 3, range(COUNT))
    oracle_attack = foolbox.attacks.VirtualAdversarialAttack(steps=iterations, xi=xi)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eagerpy, "normal", lambda x, **_: eagerpy.astensor(start))
        _, oracle, _ = oracle_attack(foolbox_model(precise), images, labels, epsilons=1.5)
    own = {"epsilon": 1.5, "xi": xi, "iterations": iterations}
    result = vam(precise, images, labels, **own, seed=3, indices=range(COUNT))
    # At 1e-6 foolbox' difference of probabilities loses digits even in float64.
    torch.testing.assert_close(result, oracle, rtol=0, atol=1e-6 if xi < XI else 1e-9)
    assert (result != images).flatten(1).any(1).all()


def test_vams_recommended_xi_works_in_float32_and_the_papers_does_not(
    trained: nn.Module, precise: nn.Module, inner: Tensor
) -> None:
    limit = directions(precise, inner.double(), 1e-6)
    papers, ours = (cosines(directions(trained, inner, xi), limit) for xi in (1e-6, XI))
    assert ours.mean() > 0.99
    assert ours.median() > 0.999
    assert papers.mean() < 0.9
    # By itself: rounding alone, not the distance from the limit, separates float32 and float64.
    same = cosines(directions(trained, inner, XI), directions(precise, inner.double(), XI))
    assert same.min() > 0.999


def test_vam_finds_the_first_eigenvector_of_the_kls_hessian(
    precise: nn.Module, inner: Tensor
) -> None:
    """The Hessian at 0 is J^T (diag(p) - p p^T) J, J the logits' Jacobian."""
    images = inner[:5].double()
    found = directions(precise, images, 1e-5, iterations=60)
    for image, direction in zip(images, found, strict=True):
        jacobian = torch.func.jacrev(precise)(image[None]).view(10, -1)
        p = precise(image[None])[0].softmax(0)
        hessian = jacobian.T @ (p.diag() - p.outer(p)) @ jacobian
        values, vectors = torch.linalg.eigh(hessian.detach())
        assert values[-1] > 1.05 * values[-2]
        cosine = torch.dot(vectors[:, -1], direction.flatten()) / direction.norm()
        assert cosine.abs() > 0.99


def test_vam_moves_images_of_a_model_that_is_certain_in_float32(
    trained: nn.Module, precise: nn.Module, inner: Tensor
) -> None:
    certain = nn.Sequential(copy.deepcopy(trained), Scale(30.0))
    images = inner[certain(inner).softmax(1).amax(1) == 1]
    assert len(images) > COUNT / 3
    exact = directions(nn.Sequential(precise, Scale(30.0)), images.double(), XI)
    ours = directions(certain, images, XI)
    torch.testing.assert_close(
        ours.flatten(1).norm(dim=1), torch.full((len(images),), 1e-3), rtol=1e-3, atol=0
    )
    assert cosines(ours, exact).median() > 0.999


def test_vam_looks_at_no_label_and_lowers_accuracy(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    own = {"epsilon": 2.0, "xi": XI, "iterations": 1, "seed": 3, "indices": range(COUNT)}
    result = vam(trained, images, labels, **own)
    assert torch.equal(result, vam(trained, images, 9 - labels, **own))
    assert accuracy(trained, result, labels) < accuracy(trained, images, labels) - 0.2
    norms = (result - images).flatten(1).norm(dim=1)
    assert norms.max() <= 2 + 1e-5
    assert norms.min() > 0.5


def test_vam_returns_masked_images_as_they_are(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    own = {"epsilon": 2.0, "xi": XI, "iterations": 2, "seed": 3, "indices": range(COUNT)}
    assert torch.equal(vam(Masked(trained, -1.0), *digits, **own), digits[0])


def test_vams_vector_depends_on_seed_and_index_alone(trained: nn.Module, inner: Tensor) -> None:
    labels = torch.zeros(3, dtype=torch.int64)
    own = {"epsilon": 1.0, "xi": XI, "iterations": 1}
    same = inner[:1].expand(3, -1, -1, -1)
    one, other, again = vam(trained, same, labels, **own, seed=3, indices=[0, 1, 0])
    torch.testing.assert_close(one, again, rtol=0, atol=1e-5)
    assert (one - other).abs().max() > 0.01
    state = torch.get_rng_state()
    reseeded = vam(trained, same[:1], labels[:1], **own, seed=4, indices=[0])[0]
    assert (one - reseeded).abs().max() > 0.01
    assert torch.equal(torch.get_rng_state(), state)


def test_vams_lengths_are_in_units_of_the_range(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    common = {"indices": range(COUNT), "seed": 3, "batch_size": 60}
    wide, own = (
        run_attack("vam", trained, images, labels, **common, settings=settings).images
        for settings in (
            {"epsilon": 1.0, "xi": 0.5, "iterations": 1, "pixel_range": [-1, 1]},
            {"epsilon": 0.5, "xi": 0.25, "iterations": 1},
        )
    )
    assert torch.equal(wide, own)


@pytest.mark.parametrize("method", ["bim", "pgd", "mim", "vam"])
def test_same_seed_same_bits(
    trained: nn.Module, digits: tuple[Tensor, Tensor], method: str
) -> None:
    settings: dict[str, Any] = {**STEPS} | ({"momentum": 1.0} if method == "mim" else {})
    if method == "vam":
        settings = {"epsilon": 1.0, "xi": XI, "iterations": 2}

    def attacked(seed: int) -> Tensor:
        common = {"indices": range(COUNT), "seed": seed, "batch_size": 20}
        return run_attack(method, trained, *digits, **common, settings=settings).images

    first = attacked(3)
    torch.rand(3)
    assert torch.equal(attacked(3), first)
    assert torch.equal(attacked(4), first) == (method in ("bim", "mim"))


# --- half-masked images -------------------------------------------------------------------------


@pytest.mark.parametrize("half", ["top", "bottom", "left", "right"])
@pytest.mark.parametrize("size", [8, 7])
def test_half_of_the_pixels_are_masked(trained: nn.Module, half: str, size: int) -> None:
    images = 0.25 + 0.5 * torch.rand(3, 2, size, size, generator=torch.Generator().manual_seed(0))
    given = images.clone()
    labels = torch.zeros(3, dtype=torch.int64)
    result = half_masked(trained, images, labels, half=half, fill=0.125)
    masked = result == 0.125
    position = torch.arange(size) - (size - 1) / 2
    wanted = (position < 0) if half in ("top", "left") else (position > 0)
    # Of seven, the middle line stays.
    if half in ("top", "bottom"):
        wanted = wanted[:, None]
    assert torch.equal(masked, wanted.expand(3, 2, size, size))
    assert torch.equal(result[~masked], images[~masked])
    assert torch.equal(images, given)


def test_masking_needs_no_gradient(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    common = {"indices": range(COUNT), "seed": 3, "batch_size": 25}
    settings = {"half": "left", "fill": 0.0}
    model = Masked(trained, -1.0)
    result = run_attack("half_masked", model, *digits, **common, settings=settings)
    assert (result.images[:, :, :, :4] == 0).all()
    assert torch.equal(result.images[:, :, :, 4:], digits[0][:, :, :, 4:])
    assert input_gradient(model, *digits).abs().max() == 0


def test_random_signs_move_every_pixel_that_can_move() -> None:
    images = torch.full((3, 1, 5, 5), 0.5)
    images[:, :, 0] = 0.0
    noisy = random_signs(nn.Identity(), images, None, epsilon=0.25, seed=7, indices=range(3))
    assert ((noisy - images)[:, :, 1:].abs() == 0.25).all()
    assert set(noisy[:, :, 0].unique().tolist()) == {0.0, 0.25}, "clipped below"
    # An image's signs are its own, whatever its batch.
    again = random_signs(nn.Identity(), images[2:], None, epsilon=0.25, seed=7, indices=[2])
    assert torch.equal(again[0], noisy[2]) and not torch.equal(noisy[1], noisy[2])
