"""Columns of a table compared image by image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from purification.evaluation.mcnemar import comparison_rows
from purification.evaluation.paired import cells_of, holm, paired_rows
from purification.experiments import paper_name
from purification.reporting.paired import paired_grids, paired_section, paired_tables, paired_text
from purification.storage import ImageSet, write_image_set

Make = Callable[..., dict[str, Any]]
LABELS = np.arange(10)


@pytest.fixture
def cell(tmp_path: Path) -> Make:
    """Makes a cell whose set is right on the images that it is told."""
    made = 0

    def make(
        right: str, defense: str, threat_model: str, classifier: str = "A", **more: Any
    ) -> Any:
        nonlocal made
        made += 1
        labels = more.pop("truth", LABELS)[: len(right)]
        predictions = np.where([mark == "+" for mark in right], labels, labels + 1)
        images = np.zeros((len(right), 1, 4, 4), np.float32)
        path = tmp_path / f"{made}.h5"
        image_set = ImageSet(images, labels, {"predictions": predictions})
        write_image_set(path, image_set, {"number": made}, seed=0)
        named = {"dataset": "digits", "seed": 0, "classifier": classifier, "attack": "fgsm"}
        named |= {"epsilon": 0.1, "threat_model": threat_model, "defense": defense, "variant": ""}
        place = {"images": str(path), "group": None, "split": None, "classifier": "unread"}
        return {"labels": named | more, **place}

    return make


def test_one_classifier_is_mcnemars_exact_test(cell: Make) -> None:
    first = cell("+++++++++-", "magnet", "white_box")
    second = cell("--------++", "none", "white_box")
    [row] = paired_rows([second, first])
    [known] = comparison_rows(
        [{"labels": {}, "first": {**first, "group": None}, "second": {**second, "group": None}}]
    )
    assert (row["defense"], row["other_defense"]) == ("none", "magnet")
    assert (row["n"], row["models"]) == (10, 1)
    assert (row["behind"], row["ahead"]) == (known["only_first"], known["only_second"]) == (8, 1)
    assert row["p_value"] == row["p_value_holm"] == known["p_value"]
    assert row["difference"] == pytest.approx(-known["difference"])


def test_an_image_counts_once_however_many_classifiers_see_it(cell: Make) -> None:
    """Image by image: ahead by 2, ahead by 1, equal, behind by 1, equal."""
    cells = [
        *(cell("++---", "magnet", "white_box", c) for c in ("A", "B")),
        *(cell(marks, "none", "white_box", c) for c, marks in (("A", "---+-"), ("B", "-+---"))),
        cell("+++++", "none", "white_box", "C"),  # which has no other column
    ]
    [row] = paired_rows(cells)
    assert (row["models"], row["n"]) == (2, 5)
    assert (row["behind"], row["ahead"]) == (2, 1)
    assert row["p_value"] == pytest.approx(binomtest(1, 3).pvalue)
    assert row["difference"] == pytest.approx(-(2 + 1 + 0 - 1) / 5 / 2)


def test_columns_of_one_threat_model_are_compared_on_what_they_share(cell: Make) -> None:
    cells = [
        cell("----------", "none", "white_box"),
        cell("++++++++++", "magnet", "gray_box"),
        cell("+++++", "magnet", "white_box"),
        cell("++++++----", "cowboy", "gray_box"),
        cell("+" * 10, "magnet", "none", attack="none", epsilon=None),
        cell("+" * 10, "drawn", "gray_box", protocol="one_shot"),
    ]
    rows = paired_rows(cells)
    found = [(r["threat_model"], r["defense"], r["other_defense"], r["n"]) for r in rows]
    assert sorted(found) == [
        ("gray_box", "magnet", "cowboy", 10),
        ("gray_box", "none", "cowboy", 10),
        ("gray_box", "none", "magnet", 10),
        ("white_box", "none", "magnet", 5),
    ]
    [table] = paired_tables(rows, paper_name)
    assert table.attacks == ["fgsm 0.1"]
    shown = {texts: paired_text(own[0], 10) for texts, own in table.rows}
    assert shown[("gray box", "MagNet", "no defense")] == "**+1.00** (10 : 0), p 0.002"
    assert shown[("gray box", "MagNet", "Cowboy")] == "+0.40 (4 : 0), p 0.12"
    assert shown[("white box", "MagNet", "no defense")] == "+1.00 (5 : 0), p 0.062, n = 5"
    section = paired_section(rows, paper_name, randomised=True)
    assert "### digits" in section and "left out" in section
    assert paired_section([], paper_name) == ""
    # As a page with all results reads it.
    page = f"# t\n\n## digits\n\nx\n\n## Paired comparisons\n\n{section}\n\n## Warnings\n\n| a |\n"
    how, [(dataset, header, lines)] = paired_grids(page)
    assert how.endswith("left out.") and dataset == "digits"
    assert header == ["threat model", "first", "second", "fgsm 0.1, n = 10"]
    assert {tuple(line[:3]): line[3] for line in lines} == shown
    assert paired_grids("# t\n\n## Warnings\n") == ("", [])


def test_other_images_are_refused(cell: Make) -> None:
    one = cell("+++", "none", "white_box")
    other = cell("+++", "magnet", "white_box", truth=LABELS[::-1].copy())
    with pytest.raises(ValueError, match=r"1\.h5 and .*2\.h5: expected the same images"):
        paired_rows([one, other])


def test_sets_that_are_gone_are_left_out_and_counted(cell: Make) -> None:
    clean = cell("++", "none", "none", attack="none")
    kept, gone = cell("++", "none", "white_box"), cell("+-", "magnet", "gray_box")
    measured = {"kind": "Measurement", "cells": [clean, kept, gone]}
    sources = {"m.csv": measured, kept["images"]: {"kind": "AdversarialSet"}}
    assert cells_of(sources) == ([kept], 1)
    assert paired_section([], paper_name, gone=1) == (
        "Numbers compared with none, because their images are gone: 1."
    )


def test_p_values_are_corrected_for_their_number() -> None:
    rows = [{"p_value": p} for p in (0.01, 0.04, 0.03, 0.005)]
    assert holm(rows) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([{"p_value": 0.9}, {"p_value": 0.8}]) == [1, 1]
    assert holm([]) == []
