"""The optimizer of a latent search in recipes: there where the config names it, and only there."""

from typing import Any

import pytest
from conftest import DEFAULT, SCHEMA, merged

from purification.experiments import Catalogue

LBFGS: dict[str, dict[str, Any]] = {
    "defense_gan": {"optimizer": "lbfgs", "momentum": 0.0},
    "cowboy": {"optimizer": "lbfgs", "momentum": 0.0},
    "ae_gan_rs": {"optimizer": "lbfgs", "doubling": None},
}


def recipes(catalogue: Catalogue, defense: str) -> list[dict[str, Any]]:
    """Of all that searches as the defence says: its purifier, and its sweep and timing if any."""
    found = [catalogue.purifier("digits", 0, defense).recipe]
    if defense == "defense_gan":
        sweep = catalogue.clean_sweep("digits", 0, defense, "test").recipe["purifier"]
        found += [sweep, {"settings": catalogue.timing("digits", 0, defense).recipe["search"]}]
    return found


@pytest.mark.parametrize("defense", LBFGS)
def test_optimizer_is_in_the_recipes_that_search_with_it_and_in_no_other(defense: str) -> None:
    changed = merged(DEFAULT, {"defenses": {defense: LBFGS[defense]}})
    before, after = (recipes(Catalogue(config, SCHEMA), defense) for config in (DEFAULT, changed))
    for old, new in zip(before, after, strict=True):
        assert "optimizer" not in old["settings"]
        assert new["settings"] == {**old["settings"], **LBFGS[defense]}
