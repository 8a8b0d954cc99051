"""The best of several attackers for each image: its arithmetic, its sets, and the page."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEFAULT, micro_catalogue

from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.accuracy_l2 import ACCURACY_L2_COLUMNS, accuracy_l2_rows
from purification.evaluation.worst_case import WORST_CASE_COLUMNS, worst_case_rows
from purification.experiments import ConfigError, accuracy_l2, worst_case
from purification.experiments.papers import ATTACKED_FORMS, studies_of
from purification.experiments.worst_case import THREAT_MODELS
from purification.reporting.worst_case import worst_case_page
from purification.storage import ImageSet, write_image_sets

Attacked = Callable[..., dict[str, Any]]
LABELS = np.array([3, 1, 4, 1, 5])


@pytest.fixture
def attacked(tmp_path: Path) -> Attacked:
    """Makes a set under attack, of which the images with a 1 are predicted rightly; its cell."""

    def make(
        right: Sequence[int],
        labels: np.ndarray = LABELS,
        l2: Sequence[float] | None = None,
        **named: object,
    ) -> dict[str, Any]:
        labels = labels[: len(right)]
        predictions = np.where(np.array(right, bool), labels, (labels + 1) % 10)
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.h5"
        images = np.zeros((len(right), 1, 2, 2), np.float32)
        fields = {"predictions": predictions}
        fields |= {} if l2 is None else {"l2": np.array(l2, np.float32)}
        sets = {"set": ImageSet(images, labels, fields)}
        write_image_sets(file, sets, recipe={})
        cell = {"dataset": "digits", "seed": 0, "classifier": "A", "defense": "magnet"}
        cell |= {"variant": "", "iterations_L": None, "restarts_R": None, "epsilon": 0.1}
        cell |= {"attack": "fgsm", "threat_model": "white_box"} | named
        of_set = {"images": str(file), "group": "set", "split": None, "classifier": "none"}
        return {"labels": cell, **of_set}

    return make


def test_an_image_counts_if_it_withstands_every_attacker(attacked: Attacked) -> None:
    cells = [
        attacked([1, 1, 0, 1, 0]),
        attacked([1, 0, 1, 1, 1], threat_model="gray_box"),
        attacked([0, 1, 1, 1, 0], attack="pgd"),
    ]
    (row,) = worst_case_rows(cells)
    assert tuple(row) == WORST_CASE_COLUMNS
    assert (row["n"], row["attackers"], row["correct"], row["accuracy"]) == (5, 3, 1, 0.2)
    assert (row["ci_low"], row["ci_high"]) == wilson_interval(1, 5)
    assert (row["strongest"], row["strongest_accuracy"]) == ("fgsm white_box", 0.6)
    assert row["attacks"] == "fgsm white_box 0.600; pgd white_box 0.600; fgsm gray_box 0.800"


def test_all_attackers_are_compared_on_the_images_that_all_have(attacked: Attacked) -> None:
    few = attacked([1, 1], attack="pgd")
    (row,) = worst_case_rows([attacked([0, 1, 0, 0, 0]), few])
    assert (row["n"], row["accuracy"], row["strongest_accuracy"]) == (2, 0.5, 0.5)


def test_other_defenses_strengths_and_units_are_other_rows(attacked: Attacked) -> None:
    named = ({}, {"defense": "none"}, {"epsilon": 0.2}, {"pixel_range": "[-1, 1]"}, {"seed": 1})
    found = worst_case_rows([attacked([1, 0], **name) for name in named])
    assert [row["attackers"] for row in found] == [1] * len(named)
    page = worst_case_page(found)
    assert "| digits | A | none |  | 0.1 | 2 | 1 | 0.500 (fgsm white_box) | 0.500 [" in page
    assert "| 0.1 of [-1, 1] |" in page
    assert "| digits (seed 1) |" in page


def test_two_sets_of_one_attacker_are_one_attacker(attacked: Attacked) -> None:
    (row,) = worst_case_rows([attacked([1, 0, 1, 1]), attacked([0, 1, 1]), attacked([1, 1, 1, 1])])
    assert (row["n"], row["attackers"], row["correct"]) == (3, 1, 1)


def cw(attacked: Attacked, right: Sequence[int], l2: Sequence[float], **named: Any) -> Any:
    named = {"attack": "cw", "epsilon": None} | named
    return attacked(right, l2=l2, **named) | {"norm": "none"}


def test_at_a_radius_stand_attackers_whose_changes_are_measured(attacked: Attacked) -> None:
    """An image is broken by one whose image errs and is no farther away; the first is wrong as it
    is, and what is no error breaks nothing however near it is."""
    cells = [
        cw(attacked, [0, 0, 0, 1, 1], [0.0, 1.0, 2.0, 0.1, 0.0]),
        cw(attacked, [1, 1, 0, 0], [0.0, 0.0, 0.5, 3.0], attack="deepfool"),
        attacked([1, 1, 1, 0], attack="vam", l2=[1.5, 1.5, 1.5, 1.5]) | {"norm": "l2"},
        attacked([0, 0, 0, 0]),  # of another norm
        cw(attacked, [0], [0.7], defense="none"),
    ]
    found = worst_case_rows(cells, radii=[1.0, 1.6])
    bounded = [row for row in found if row["norm"] != "l2_measured"]
    assert [row["norm"] for row in bounded] == ["l2", "linf"]
    assert bounded == worst_case_rows(cells)
    measured = [row for row in found if row["norm"] == "l2_measured"]
    named = [(row["defense"], row["epsilon"], row["n"], row["attackers"]) for row in measured]
    assert named == [("magnet", r, 4, 3) for r in (1.0, 1.6)] + [
        ("none", r, 1, 1) for r in (1.0, 1.6)
    ]
    assert [row["correct"] for row in measured] == [1, 0, 0, 0]
    assert measured[0]["attacks"] == (
        "cw white_box 0.500; deepfool white_box 0.750; vam white_box 1.000"
    )
    assert "| 1.6 (l2, measured) | 4 | 3 |" in worst_case_page(found)


def test_accuracy_over_the_radius(attacked: Attacked) -> None:
    cells = [
        cw(attacked, [0, 0, 0, 1, 1], [0.0, 1.0, 2.0, 0.1, 0.0]),
        cw(attacked, [1, 1, 0, 0], [0.0, 0.0, 0.5, 3.0], attack="deepfool"),
    ]
    made = accuracy_l2_rows(cells, 4.0)
    assert {tuple(row) for row in made} == {ACCURACY_L2_COLUMNS}
    for attack, n, attackers, falls in (
        ("cw", 5, 1, (0.0, 1.0, 2.0)),
        ("deepfool", 4, 1, (0.5, 3.0)),
        ("all", 4, 2, (0.0, 0.5, 1.0, 3.0)),
    ):
        line = [row for row in made if row["attack"] == attack]
        assert [row["radius"] for row in line] == pytest.approx(np.linspace(0, 4, 101))
        assert {(row["n"], row["attackers"]) for row in line} == {(n, attackers)}
        expected = [n - sum(fall <= row["radius"] + 1e-9 for fall in falls) for row in line]
        assert [row["correct"] for row in line] == expected
        assert line[0]["accuracy"] == expected[0] / n
        assert (line[9]["ci_low"], line[9]["ci_high"]) == wilson_interval(expected[9], n)
    other = cw(attacked, [0, 1], [0.1, 0.2], labels=LABELS[::-1], attack="deepfool")
    with pytest.raises(ValueError, match="expected the same first 2 images"):
        accuracy_l2_rows([cells[0], other], 4.0)
    with pytest.raises(ValueError, match="no attacks without a bound"):
        accuracy_l2_rows([], 4.0)


def test_which_attacks_have_no_bound() -> None:
    """CW and DeepFool; not what has an epsilon, and not what looks at no model."""
    attacks = ["fgsm", "cw", "deepfool", "half_masked", "vam"]
    mine = {"form": "direct", "datasets": ["digits"], "classifiers": ["D"], "defenses": ["magnet"]}
    few = {"images": {"gray_box": 9, "white_box": 5, "white_box_bpda": 5}}
    catalogue = micro_catalogue(
        tables={"mine": {**mine, "attacks": attacks}},
        attacks={"deepfool": few, "vam": few},
        accuracy_l2={"tables": ["mine"], "largest_radius": 4.0},
        worst_case={"tables": ["mine"]},
    )
    cells = accuracy_l2(catalogue).job["cells"]
    assert {cell["labels"]["attack"] for cell in cells} == {"cw", "deepfool"}
    assert {cell["norm"] for cell in cells} == {"none"}
    bounded = worst_case(catalogue).job
    assert {cell["labels"]["attack"] for cell in bounded["cells"]} == {"fgsm", "vam"}
    assert "radii" not in bounded
    catalogue.config["worst_case"]["l2"] = [1.0]
    joined = worst_case(catalogue).job
    attacks = {cell["labels"]["attack"] for cell in joined["cells"]}
    assert attacks == {"fgsm", "vam", "cw", "deepfool"}
    assert joined["radii"] == [1.0]


def test_strengths_of_other_norms_are_not_joined(attacked: Attacked) -> None:
    cells = [attacked([1, 0], attack=name) for name in ("fgsm", "vam", "mine")]
    cells[1]["norm"], cells[2]["norm"] = "l2", "unknown"
    found = worst_case_rows(cells)
    assert [row["norm"] for row in found] == ["linf", "l2", "unknown"]
    assert [row["attackers"] for row in found] == [1, 1, 1]
    page = worst_case_page(found)
    assert "| 0.1 |" in page and "| 0.1 (l2) |" in page and "| 0.1 (of no known norm) |" in page


def test_sets_of_other_images_are_refused(attacked: Attacked) -> None:
    other = attacked([1, 1, 1], labels=LABELS[::-1].copy(), attack="pgd")
    with pytest.raises(ValueError, match=r"the same first 3 images in all of .*0\.h5"):
        worst_case_rows([attacked([1, 1, 1]), other])


def test_a_page_without_attacks_is_refused() -> None:
    with pytest.raises(ValueError, match="worst_case"):
        worst_case_page([])


# What is joined


def test_each_bounded_attack_of_the_tables_is_joined_once() -> None:
    once = worst_case(micro_catalogue(worst_case={"tables": ["table4"]})).job
    twice = worst_case(micro_catalogue(worst_case={"tables": ["table4", "table12"]})).job
    assert once == twice
    labels = [cell["labels"] for cell in once["cells"]]
    assert {label["threat_model"] for label in labels} == {*THREAT_MODELS} - {"surrogate"}
    assert {label["attack"] for label in labels} == {"fgsm"}


def joined(**settings: Any) -> set[tuple[str, str]]:
    """The data sets and files that the worst case looks at."""
    job = worst_case(micro_catalogue(**settings)).job
    return {(cell["labels"]["dataset"], cell["images"]) for cell in job["cells"]}


def test_all_tables_of_attacks_on_defenses_are_joined_by_default() -> None:
    """Those of the forms direct and searches, one's own included, on all of their data sets."""
    own = {"form": "direct", "datasets": ["digits"], "classifiers": ["E"], "attacks": ["fgsm"]}
    own |= {"defenses": ["magnet"]}
    everything = joined(tables={"mine": own})
    assert {dataset for dataset, _ in everything} == {"digits", "digits_black_box"}
    folder = "results/digits/seed0/attacked"
    for place in ("magnet/E/fgsm", "defense_gan/D/fgsm", "defense_vae_rec/D/fgsm"):
        assert ("digits", f"{folder}/{place}.h5") in everything
    # Without a table its images are not looked at, whatever else there is of it.
    without = joined(cowboy_table1=None, cowboy_table2=None)
    assert not any("/cowboy/" in image for _, image in without)
    assert without < everything


def test_other_data_sets_are_left_out_with_their_tables() -> None:
    wanted = {"datasets": ["digits_black_box"]}
    broken = {"defenses": ["nobody"]}
    found = joined(worst_case=wanted, defense_vae_table1=broken)
    assert {dataset for dataset, _ in found} == {"digits_black_box"}


def test_without_tables_there_is_nothing_to_join() -> None:
    names = {s.name: None for s in studies_of(DEFAULT, *ATTACKED_FORMS)}
    with pytest.raises(ConfigError, match="worst_case: the config has no table of the form direct"):
        joined(**names)


def test_other_tables_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"worst_case\.tables: got 'table1'.*; allowed: table4, "):
        worst_case(micro_catalogue(worst_case={"tables": ["table1"]}))
