"""Defense-VAE in the catalogue, and its paper's numbers beside ours."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import DEFAULT, REPOSITORY, SCHEMA

from purification.evaluation.measure import COLUMNS
from purification.experiments import Catalogue
from purification.reporting.long_tables import long_table
from purification.reporting.papers import paper_values


@pytest.fixture
def catalogue() -> Catalogue:
    """The default config's."""
    return Catalogue(DEFAULT, SCHEMA)


def test_each_classifier_has_a_vae_of_its_own(catalogue: Catalogue) -> None:
    one, other = (catalogue.trained("digits", 0, "defense_vae", name) for name in "AD")
    assert one.path != other.path and one.digest != other.digest
    assert {copies.classifier.name for copies in one.copies} == {"A"}
    assert sum(len(copies.attacks) for copies in one.copies) == 12
    purifiers = [catalogue.for_classifier("defense_vae_rec", name) for name in "AD"]
    assert purifiers == ["defense_vae@A", "defense_vae@D"]
    for purifier, vae in zip(purifiers, (one, other), strict=True):
        assert catalogue.purifier("digits", 0, purifier).inputs == {"vae": vae.path}
    assert catalogue.for_classifier("defense_gan", "A") == "defense_gan"


MNIST = dict.fromkeys(COLUMNS, "") | {"dataset": "mnist", "seed": 0, "classifier": "A"}
MNIST |= {"n": 500, "correct": 450, "accuracy": 0.9, "ci_low": 0.87, "ci_high": 0.93}
FGSM = {"attack": "fgsm", "epsilon": 0.3}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"defense": "defense_vae", "variant": "base", "threat_model": "gray_box"}, 0.9829),
        ({"defense": "defense_vae", "variant": "rec", "threat_model": "gray_box"}, 0.9898),
        ({"defense": "defense_vae", "variant": "e2e", "threat_model": "gray_box"}, 0.9928),
        ({"defense": "none", "threat_model": "white_box"}, 0.1465),
        # Copied by the paper from another, where it is the white box.
        ({"defense": "magnet", "threat_model": "white_box"}, 0.191),
        ({"defense": "magnet", "threat_model": "gray_box"}, None),
        # The paper has no attack through the VAE.
        *(
            ({"defense": "defense_vae", "variant": variant, "threat_model": model}, None)
            for variant in ("base", "rec", "e2e")
            for model in ("white_box", "white_box_bpda")
        ),
        ({"defense": "defense_vae", "variant": "e2e_scratch", "threat_model": "gray_box"}, None),
    ],
)
def test_the_papers_white_box_stands_beside_our_gray_box(
    tmp_path: Path, changes: dict[str, str], expected: float | None
) -> None:
    pd.DataFrame([MNIST | FGSM | changes]).to_csv(tmp_path / "rows.csv", index=False)
    printed = paper_values("defense_vae", "Table 1", REPOSITORY / "resources/papers")
    [row] = long_table([tmp_path / "rows.csv"], printed).to_dict("records")
    if expected is None:
        assert pd.isna(row["paper_value"])
    else:
        assert row["paper_value"] == expected
        assert row["difference"] == pytest.approx(0.9 - expected)
