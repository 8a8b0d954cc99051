"""The figures around the leaderboard `modern`, and the study of t*: what they are made from."""

from collections.abc import Callable
from typing import Any

import pytest
from conftest import micro_catalogue

from purification.experiments import (
    ConfigError,
    costs_figure,
    draws_figure,
    evaluations_figure,
    pictures_figure,
    time_table,
)

PLACE = "results/digits/seed0"


def test_a_purifier_by_diffusion_is_named_by_its_time() -> None:
    catalogue = micro_catalogue()
    made, plain = (catalogue.purifier("digits", 0, f"diffpure{at}") for at in ("@t0.2", ""))
    # By its name its starts are drawn, and that is the plain one's.
    assert (made.name, made.settings) == ("diffpure", plain.settings | {"time": 0.2})
    assert catalogue.judged_draws("diffpure@t0.2") == 5
    for name, why in (
        ("diffpure@t0.3", "with this time it is called 'diffpure'"),
        ("diffpure@t0.20", "with this time it is called 'diffpure@t0.2'"),
        ("diffpure@t1.5", "'1.5' is no time for defenses.diffpure"),
        ("jpeg@t0.2", "nothing of defenses.jpeg can vary so"),
    ):
        with pytest.raises(ConfigError, match=why):
            catalogue.purifier("digits", 0, name)


def test_what_the_figures_are_made_from() -> None:
    catalogue = micro_catalogue(modern={"classifiers": ["D"]}, seeds=[0, 1])
    (row,) = evaluations_figure(catalogue).content["rows"]
    assert row["fresh"] == f"{PLACE}/adaptive/modern_few/one_step/D.h5"
    assert row["known"] == f"{PLACE}/adaptive_fixed/modern_few/one_step/D.h5"
    assert "protocol" not in row["labels"]
    # Of the first seed alone.
    assert len(costs_figure(catalogue).content["rows"]) == 6  # one_step by three protocols
    (draws,) = draws_figure(catalogue).content["rows"]
    assert draws["expectations"] == {"1": 0, "2": 1, "3": 2}
    rows = time_table(catalogue).content["rows"]
    assert [row["attacked"].rsplit("/", 2)[1] for row in rows] == ["one_step@t0.1", "one_step"]
    recipe = catalogue.cascade("digits", 0, "modern_time", "one_step", "D").recipe
    assert recipe["split"] == "validation"


EXACT = {"attack": "modern_pgd", "threat_model": "white_box"}


@pytest.mark.parametrize(
    ("find", "changes", "why"),
    [
        (evaluations_figure, {"modern": {"defenses": ["jpeg"]}}, "none of them is randomised"),
        (
            evaluations_figure,
            {"cascades": {"modern_few": {"every_image": False}}},
            r"cascades\.modern_few: .* it needs `every_image: true`",
        ),
        (
            draws_figure,
            {"modern_draws": {"defenses": ["jpeg"]}},
            r"modern_draws\.defenses: got 'jpeg'; allowed: defense_gan_redrawn, ",
        ),
        (
            draws_figure,
            {"cascades": {"modern_draws": {"randomised": {"stages": [EXACT]}}}},
            "expected at least two stages of `randomised` in the white box",
        ),
        (
            draws_figure,
            {"attacks": {"modern_pgd_eot": {"expectation": 3}}},
            "two stages of `randomised` in the white box have the same expectation, 3",
        ),
        (
            pictures_figure,
            {"modern_pictures": {"defenses": ["adv_training"]}},
            r"modern_pictures\.defenses: got 'adv_training'; allowed: defense_gan, ",
        ),
        (
            time_table,
            {"cascades": {"modern_time": {"split": "test"}}},
            r"cascades\.modern_time\.split is test: a setting is chosen on validation images",
        ),
        (
            time_table,
            {"cascades": {"modern_time": {"images": 5000}}},
            r"cascades\.modern_time\.images: must be at most datasets\.digits\.validation = 1500",
        ),
        (time_table, {"modern_time": {"defenses": ["jpeg"]}}, r"modern_time\.defenses: got 'jpeg'"),
    ],
)
def test_what_goes_not_together_is_told(
    find: Callable[..., Any], changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        find(micro_catalogue(**changes))
