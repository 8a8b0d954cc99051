"""Frechet distance, precision and recall on features of a classifier."""

import pytest
import torch
from torch import nn

from purification.evaluation.generator_quality import (
    classifier_features,
    frechet_distance,
    generated_images,
    precision_and_recall,
)
from purification.models.classifiers import build_classifier
from purification.models.wgan import Generator
from purification.randomness import generator, isolated_rng


def normal(count: int, dimensions: int, name: str = "a") -> torch.Tensor:
    return torch.randn(count, dimensions, generator=generator(0, name), dtype=torch.float64)


def test_identical_sets_have_distance_0_and_precision_and_recall_1() -> None:
    features = normal(200, 8)
    assert frechet_distance(features, features.clone()) == pytest.approx(0, abs=1e-9)
    assert precision_and_recall(features, features.clone()) == (1, 1)


def test_distance_of_a_shift_is_its_square() -> None:
    features, shift = normal(200, 4), torch.tensor([3.0, 0, 0, 4])
    assert frechet_distance(features, features + shift) == pytest.approx(25)


def test_distance_of_axis_parallel_gaussians_has_its_closed_form() -> None:
    """Columns that are uncorrelated in both sets: sum of (s - s')^2."""
    columns, _ = torch.linalg.qr(normal(100, 3) - normal(100, 3).mean(dim=0))
    columns -= columns.mean(dim=0)
    columns, _ = torch.linalg.qr(columns)  # of zero mean, and orthogonal
    unit = columns * 99**0.5  # variance 1 each
    a, b = unit * torch.tensor([1.0, 2, 3]), unit.flip(1) * torch.tensor([2.0, 2, 5])
    assert frechet_distance(a, b) == pytest.approx((1 - 2) ** 2 + 0 + (3 - 5) ** 2)


def test_distance_agrees_with_scipy_where_covariances_do_not_commute() -> None:
    scipy_linalg = pytest.importorskip("scipy.linalg")
    a, b = normal(300, 5), normal(250, 5, "b") @ normal(5, 5, "mix") + 0.3
    product = scipy_linalg.sqrtm((a.T.cov() @ b.T.cov()).numpy()).real
    expected = (a.mean(0) - b.mean(0)).square().sum() + (a.T.cov() + b.T.cov()).trace()
    assert frechet_distance(a, b) == pytest.approx(expected.item() - 2 * product.trace())


def test_distance_is_finite_where_a_feature_never_varies() -> None:
    features = normal(50, 3) * torch.tensor([1.0, 0, 2])
    assert frechet_distance(features, features + 1) == pytest.approx(3)


def test_a_distance_that_overflows_is_none() -> None:
    far = torch.full((5, 2), 1e200, dtype=torch.float64)
    with pytest.raises(ValueError, match="features too large: their Frechet distance is inf"):
        frechet_distance(0 * far, far)


def test_precision_and_recall_tell_collapse_from_garbage() -> None:
    """Real images of two kinds: a generator of one of them has no recall of the other; one that
    adds another kind is imprecise."""
    real = torch.cat([normal(200, 2), normal(200, 2, "b") + 100])
    one_kind = normal(200, 2, "c")
    precision, recall = precision_and_recall(real, one_kind)
    assert precision > 0.9
    assert 0.4 < recall <= 0.5
    with_garbage = torch.cat([real, normal(100, 2, "d") - 100])
    assert precision_and_recall(real, with_garbage) == (0.8, 1)


def test_a_shift_beyond_the_balls_leaves_nothing() -> None:
    features = normal(100, 4)
    assert precision_and_recall(features, features + 1000) == (0, 0)


def test_balls_reach_to_the_kth_neighbour() -> None:
    """On a line at 0, 1, 2, 3 the ball of an end reaches 1 with k = 1, and 2 with k = 2."""
    line, probe = torch.arange(4.0)[:, None], torch.tensor([[4.0], [4.5], [5.5], [9.0]])
    assert precision_and_recall(line, probe, neighbours=1)[0] == 1 / 4
    assert precision_and_recall(line, probe, neighbours=2)[0] == 2 / 4


def test_features_are_what_the_last_layer_is_given() -> None:
    with isolated_rng(0):
        model = build_classifier("A").train()
    images = torch.rand(7, 1, 28, 28, generator=generator(0, "images"))
    features = classifier_features(model, images, batch_size=3, device="cpu")
    assert model.training
    assert features.shape == (7, 128)
    with torch.no_grad():
        torch.testing.assert_close(model[-1](features), model.eval()(images))
    assert not model[-1]._forward_pre_hooks


def test_generated_images_do_not_depend_on_the_batch() -> None:
    with isolated_rng(0):
        network = Generator(8, 4)
    codes = torch.randn(5, 8, generator=generator(0, "z"))
    all_at_once, in_parts = (
        generated_images(network, codes, batch_size=size, device="cpu") for size in (5, 2)
    )
    assert all_at_once.shape == (5, 1, 28, 28)
    torch.testing.assert_close(all_at_once, in_parts)


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (torch.zeros(5, 3), torch.zeros(5, 2), "one length, got 3 and 2"),
        (torch.zeros(5, 3), torch.zeros(3, 3), r"generated features: expected .* at least 4"),
        (torch.full((5, 3), torch.nan), torch.zeros(5, 3), "real features: not all are finite"),
    ],
)
def test_bad_features_are_refused(
    real: torch.Tensor, generated: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        precision_and_recall(real, generated)


def test_a_classifier_without_a_linear_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="no linear layer"):
        classifier_features(nn.Flatten(), torch.zeros(1, 1, 2, 2), device="cpu")
