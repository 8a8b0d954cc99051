"""Logits and gradients of any size that a float32 has: no attack stands still because the square of
a gradient, as through a long search, is too large or too small for one."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from purification.attacks import run_attack
from purification.attacks.balls import of_unit_l1, of_unit_l2
from purification.attacks.deepfool import _of_usual_size

torch.set_num_threads(1)

COUNT = 20
L2 = {"epsilon": 1.0, "iterations": 6}
ATTACKS = {
    "pgd_l2": {**L2, "loss": "margin"},
    "apgd_l2": {**L2, "loss": "margin"},
    "apgd": {"epsilon": 0.1, "iterations": 6, "loss": "margin"},
    "fab": {"epsilon": 0.3, "iterations": 6},
    "fab_l2": {**L2, "targeted": False},
    "deepfool": {"iterations": 20},
}


class Scaled(nn.Module):
    """The same network times a power of 2, which rounds nothing."""

    def __init__(self, power: int) -> None:
        super().__init__()
        weights = torch.randn(16, 5, generator=torch.Generator().manual_seed(3))
        self.weights, self.power = nn.Parameter(weights), power

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1) @ self.weights).tanh() * 2.0**self.power


def attacked(method: str, power: int) -> tuple[Tensor, float]:
    images = torch.rand(COUNT, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model = Scaled(power)
    settings: dict[str, Any] = ATTACKS[method]
    found = run_attack(
        *(method, model, images, model(images).argmax(dim=1)),
        **{"indices": range(COUNT), "seed": 0, "batch_size": COUNT, "settings": settings},
    )
    return found.images, found.success.double().mean().item()


@pytest.mark.parametrize("power", [-80, 90])
@pytest.mark.parametrize("method", ATTACKS)
def test_a_models_scale_changes_no_image(method: str, power: int) -> None:
    expected, success = attacked(method, 0)
    found, _ = attacked(method, power)
    assert success > 0.3
    # DeepFool adds 1e-8 to the norm of a gradient of the usual size alone.
    tolerance = 1e-5 if method == "deepfool" else 0
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_deepfool_rescales_no_gradient_of_the_usual_size() -> None:
    random = torch.Generator().manual_seed(0)
    gradients = torch.randn(3, 4, 1, 2, 2, generator=random)
    gradients *= torch.tensor([1e-11, 1.0, 1e14])[:, None, None, None, None]
    gradients[0, 0] = 0
    given = torch.randn(4, 3, generator=random), gradients
    for found, expected in zip(_of_usual_size(*given), given, strict=True):
        assert torch.equal(found, expected)
    differences, scaled = _of_usual_size(torch.full((4, 3), 1e25), gradients * 1e-30)
    assert bool(scaled.isfinite().all() & differences.isfinite().all())
    assert scaled.flatten(2).abs().amax(dim=2)[1:].min() >= 0.5


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-23, 1.0, 1e20, 3e38])
def test_unit_vectors_of_any_size(size: float) -> None:
    directions = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]]).view(2, 1, 1, 3)
    vectors = (directions.double() * (size / 4)).float()
    exact = vectors.double()
    for found, order in ((of_unit_l1(vectors), 1), (of_unit_l2(vectors), 2)):
        expected = exact[0] / torch.linalg.vector_norm(exact[0].flatten(), ord=order)
        torch.testing.assert_close(found[0].double(), expected, rtol=1e-6, atol=0)
        assert bool((found[1] == 0).all())
