"""Guesses at wrong names."""

import pytest

from purification.guesses import did_you_mean

NAMES = ["defense_gan", "defense_gan_orig", "defense_vae_rec", "ae_gan_rs"]
NAMES += ["quick", "GaussianBlur"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("defence_gan", "defense_gan"),
        ("Defense-GAN", "defense_gan"),
        ("Defense-GAN-Orig", "defense_gan_orig"),
        ("Defense-GAN-Rec", "defense_gan"),
        ("defense_gan_orgi", "defense_gan_orig"),
        ("AE-GAN+rs", "ae_gan_rs"),
        ("quik", "quick"),
        ("Gaussianblur", "GaussianBlur"),
    ],
)
def test_a_name_for_readers_or_with_a_slip_is_guessed(name: str, meant: str) -> None:
    assert did_you_mean(name, NAMES) == f" (did you mean '{meant}'?)"


def test_what_is_like_none_is_not_guessed() -> None:
    assert did_you_mean("cowboy", NAMES) == ""
    assert did_you_mean("x", []) == did_you_mean("", NAMES) == did_you_mean("-", ["_"]) == ""
    assert did_you_mean("1.0", ["auto", "0", "1"]) == ""
    assert did_you_mean(5, NAMES) == did_you_mean(None, NAMES) == ""
