"""Figures 1 and 2 of Cowboy: the toy's surfaces, what is measured of them, and the pictures."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from purification.reporting import toy as pictures
from purification.reporting.toy import classifier_surface, discriminator_surface
from purification.training.toy import CENTRES, DISTANCES, EXTENT, Toy, distance_rows, train_toy

QUICK = {"points": 400, "classifier_steps": 200, "gan_steps": 30, "side": 41}


@pytest.fixture(scope="module")
def toy() -> Toy:
    return train_toy(seed=0, **QUICK)


def test_points_are_two_gaussians() -> None:
    toy = train_toy(seed=3, points=20_000, classifier_steps=1, gan_steps=1, side=3)
    assert np.bincount(toy.labels).tolist() == [10_000, 10_000]
    for label, centre in enumerate(CENTRES):
        here = toy.points[toy.labels == label]
        assert here.mean(axis=0) == pytest.approx(centre, abs=0.05)
        assert np.cov(here.T) == pytest.approx(np.eye(2), abs=0.05)


def test_surfaces_are_of_the_square(toy: Toy) -> None:
    assert (toy.axis[0], toy.axis[-1], len(toy.axis)) == (-EXTENT, EXTENT, 41)
    for surface in (toy.probability, toy.score):
        assert surface.shape == (41, 41) and ((surface >= 0) & (surface <= 1)).all()
    assert toy.samples.shape == toy.points.shape == (400, 2)


def test_classifier_separates_and_is_sure_where_it_saw_nothing(toy: Toy) -> None:
    place = {value: i for i, value in enumerate(toy.axis)}
    assert toy.probability[place[3.0], place[3.0]] < 0.01  # class 0
    assert toy.probability[place[-3.0], place[-3.0]] > 0.99
    # Seven units from any centre, and surer than most of the way between the classes.
    assert toy.probability[place[8.0], place[8.0]] < 0.001
    assert toy.probability[place[-8.0], place[-8.0]] > 0.999
    assert [row["distance_from"] for row in distance_rows(toy)] == list(DISTANCES[:-1])
    far = distance_rows(toy)[-1]
    assert far["distance_from"] == 5 and far["confident"] > 0.5


def test_orientation_of_the_surfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are y: a network that answers x has surfaces that change along the columns."""
    from purification.training import toy as training

    class First(torch.nn.Module):
        def forward(self, points: torch.Tensor) -> torch.Tensor:
            return points[:, :1]

    axis = torch.linspace(-1, 1, 5)
    surface = training._surface(First(), axis)
    assert np.allclose(surface, 1 / (1 + np.exp(-axis.numpy()))[None])


def test_discriminator_learns_the_samples_are_not_real() -> None:
    """Against a generator that has not moved yet, whose points lie near 0, it is right."""
    toy = train_toy(seed=0, points=400, classifier_steps=1, gan_steps=60, side=41)
    middle, centre = toy.score[20, 20], toy.score[26, 26]
    assert (toy.axis[20], toy.axis[26]) == (0, 3)
    assert middle < 0.5 < centre


def test_same_seed_same_toy_and_no_global_state(toy: Toy) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = train_toy(seed=0, **QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    for field in dataclasses.fields(Toy):
        assert np.array_equal(getattr(again, field.name), getattr(toy, field.name)), field.name
    other = train_toy(seed=1, **QUICK | {"classifier_steps": 1, "gan_steps": 1})
    assert not np.array_equal(other.points, toy.points)


def test_losses_of_the_generator_differ() -> None:
    few = QUICK | {"classifier_steps": 1, "gan_steps": 20}
    one, other = (train_toy(seed=0, saturating=saturating, **few) for saturating in (True, False))
    assert np.array_equal(one.probability, other.probability)
    assert not np.array_equal(one.samples, other.samples)


def test_distance_rows_by_hand(toy: Toy) -> None:
    axis = np.array([-10.0, -3.0, 0.0, 3.0, 10.0])
    probability, score = np.full((5, 5), 0.5), np.full((5, 5), 0.2)
    probability[3, 3], score[3, 3] = 0.001, 0.9  # at one centre
    probability[1, 1], score[1, 1] = 0.7, 0.7  # at the other
    probability[0, 0], score[0, 0] = 0.995, 0.6  # far
    made = dataclasses.replace(toy, axis=axis, probability=probability, score=score)
    rows = distance_rows(made)
    assert [row["distance_from"] for row in rows] == [0, 3, 5], "no grid point is 1 to 3 away"
    near, _, far = rows
    assert near == {
        **{"distance_from": 0.0, "distance_to": 1.0, "n": 2, "confident": 0.5, "accepted": 1.0},
        **{"confidence": pytest.approx((0.999 + 0.7) / 2), "score": pytest.approx(0.8)},
    }
    # (0, 0), (3, 0) and the like are 3 to 5 from the nearer centre; of 25 points 18 are further.
    assert [row["n"] for row in rows] == [2, 5, 18]
    assert far["confident"] == pytest.approx(1 / 18) == far["accepted"]
    assert far["score"] == pytest.approx((17 * 0.2 + 0.6) / 18)


def test_odd_numbers_of_points_are_refused() -> None:
    for points in (0, 7):
        with pytest.raises(ValueError, match=f"even number of points, at least 2, got {points}"):
            train_toy(seed=0, points=points)


# --- pictures


def draw_both(toy: Toy, folder: Path, **changes: Any) -> None:
    toy = dataclasses.replace(toy, **changes)
    classifier_surface(
        *(toy.axis, toy.probability, toy.points, toy.labels, folder / "1.png", folder / "1.pdf")
    )
    discriminator_surface(
        *(toy.axis, toy.score, toy.points, toy.samples, folder / "2.png", folder / "2.pdf")
    )


@pytest.mark.slow
def test_pictures(toy: Toy, tmp_path: Path, record_figures: Callable) -> None:
    kept = record_figures(pictures)
    draw_both(toy, tmp_path)
    for figure, surface, names in zip(
        kept,
        (toy.probability, toy.score),
        (["Class 0", "Class 1"], ["Real", "Generated"]),
        strict=True,
    ):
        axes = figure.axes[0]
        [image] = axes.images
        assert np.array_equal(image.get_array(), surface) and image.origin == "lower"
        assert image.get_clim() == (0, 1)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == names
        assert axes.get_xlim() == axes.get_ylim() == (-EXTENT, EXTENT)
    clouds = [cloud.get_offsets() for cloud in kept[0].axes[0].collections[-2:]]
    for label, cloud in enumerate(clouds):
        assert np.allclose(cloud, toy.points[toy.labels == label])
    for name in ("1", "2"):
        assert imread(tmp_path / f"{name}.png").shape[1] == 3.35 * 300
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_flat_surfaces_can_be_drawn(toy: Toy, tmp_path: Path) -> None:
    flat = np.full((41, 41), 0.5)
    draw_both(toy, tmp_path, probability=flat, score=flat)
    assert (tmp_path / "2.png").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probability": np.zeros((3, 4))}, r"values \(K, K\), got \(41,\) and \(3, 4\)"),
        ({"probability": np.full((41, 41), np.nan)}, r"outside \[0, 1\]"),
        ({"score": np.full((41, 41), 1.5)}, r"outside \[0, 1\]"),
        ({"labels": np.full(400, 2)}, "expected 400 of 0 and 1"),
        ({"labels": np.zeros(3)}, r"got shape \(3,\)"),
        ({"samples": np.zeros((4, 3))}, r"points \(N, 2\), got shape \(4, 3\)"),
    ],
)
def test_what_is_no_toy_is_refused(toy: Toy, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_both(toy, tmp_path, **changes)
