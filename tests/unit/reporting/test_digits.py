"""Shares with as many digits as their number of images bears, and the line at a run's end."""

from pathlib import Path

import pytest
from conftest import DEFAULT, SCHEMA

from purification.experiments import Catalogue, paper_name
from purification.experiments.cells import shown_name
from purification.reporting.digits import difference_text, interval_text, share_text
from purification.reporting.headline import headline


@pytest.mark.parametrize(
    ("n", "share", "interval"),
    [
        (20, "0.58", "[.48, .67]"),
        (100, "0.58", "[.48, .67]"),
        (500, "0.580", "[.482, .672]"),
        (10_000, "0.580", "[.482, .672]"),
    ],
)
def test_digits_by_the_number_of_images(n: int, share: str, interval: str) -> None:
    assert share_text(0.58, n) == share
    assert interval_text(0.4821, 0.6720, n) == interval


def test_bounds_and_differences_in_short_form() -> None:
    assert interval_text(0, 0.037, 100) == "[0, .04]"
    assert interval_text(0.963, 1, 500) == "[.963, 1]"
    assert interval_text(-0.02, 0.0849, 500) == "[-.020, .085]"
    assert share_text(float("nan"), 100) == "" == interval_text(float("nan"), 1, 100)
    found = [difference_text(number, 100) for number in (0.131, -0.13, 0.001, -0.001)]
    assert found == ["+0.13", "-0.13", "0.00", "0.00"]


TABLE = """\
dataset,seed,classifier,attack,epsilon,threat_model,defense,variant,n,accuracy,ci_low,ci_high
digits,0,A,none,,none,none,,500,0.986,0.9714,0.9932
digits,0,A,fgsm,0.1,white_box,none,,500,0.446,0.403,0.4898
digits,0,A,fgsm,0.1,gray_box,magnet,,500,0.638,0.595,0.6789
digits,0,A,fgsm,0.1,white_box,magnet,,100,0.44,0.3467,0.5377
digits,0,A,fgsm,0.1,white_box,defense_gan,rec,100,0.58,0.4821,0.672
digits,0,B,fgsm,0.1,white_box,none,,500,0.5,0.4,0.6
"""
LEADERBOARD = """\
dataset,seed,classifier,defense,variant,norm,epsilon,n,accuracy,ci_low,ci_high
digits,0,A,adv_training,pgd,linf,0.1,100,0.65,0.5525,0.7364
digits,0,A,none,,linf,0.1,100,0.23,0.1586,0.3218
"""


def test_the_headline_of_a_table_and_of_the_leaderboard(tmp_path: Path) -> None:
    table, leaderboard = tmp_path / "table4.long.csv", tmp_path / "leaderboard.csv"
    table.write_text(TABLE)
    leaderboard.write_text(LEADERBOARD)
    (tmp_path / "sweep.long.csv").write_text("iterations_L,seconds\n25,0.1\n")
    assert headline([tmp_path / "sweep.long.csv"], paper_name) == ""
    assert headline([tmp_path / "sweep.long.csv", table], paper_name) == (
        "digits, fgsm 0.1, classifier A: 0.446 [.403, .490] without defense; "
        "0.44 [.35, .54] MagNet; 0.58 [.48, .67] Defense-GAN-Rec (white box)"
    )
    assert headline([table, leaderboard], paper_name) == (
        "Worst case, digits, classifier A, epsilon 0.1: 0.23 [.16, .32] no defense; "
        "0.65 [.55, .74] PGD training"
    )


def test_what_the_papers_call_a_defense() -> None:
    assert paper_name("none") == "no defense"
    assert paper_name("defense_gan", "rec") == "Defense-GAN-Rec"
    assert paper_name("ae_gan", "rs;latent=20") == "AE-GAN+rs, latent 20"
    assert paper_name("adv_training", "eps=0.1") == "FGSM training, ε = 0.1"
    assert paper_name("one_step") == "one-step denoising"
    assert paper_name("mine", "") == "mine"


def test_every_defense_of_the_default_boards_has_a_name_for_readers() -> None:
    catalogue = Catalogue(DEFAULT, SCHEMA)
    for board in ("leaderboard", "modern", "modern_pictures"):
        for name in DEFAULT[board]["defenses"]:
            assert shown_name(catalogue, name) != name
