"""The papers' numbers beside ours: every cell, the counts, and which tables are compared."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import micro_catalogue
from made_up_measurements import ADVERSARIAL, COWBOYS, FGSM, REC, TABLE4, measurement, write_long
from test_swept_tables import FGSM as TRANSFERRED
from test_swept_tables import OVER_STEPS, F, behind

from purification.evaluation.accuracy import wilson_interval
from purification.experiments import ACCURACY_FORMS, PAPERS, paper_comparison
from purification.experiments.papers import named
from purification.reporting.comparison import (
    CELL_COLUMNS,
    ComparedTable,
    cell_table,
    comparison_page,
    read_compared_tables,
)

Rows = list[dict[str, object]]
Compare = Callable[..., list[ComparedTable]]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Makes tables as the workflow would from (paper, printed name, rows)."""

    def make(*tables: tuple[str, str, Rows], **searches: object) -> list[ComparedTable]:
        specifications = []
        for place, (paper, printed, measured) in enumerate(tables):
            file = tmp_path / f"{place}.long.csv"
            write_long(measured, paper, printed, file, **searches)
            specifications.append((paper, printed, str(file)))
        return read_compared_tables(specifications, PAPERS)

    return make


@pytest.fixture
def both(compare: Compare) -> list[ComparedTable]:
    return compare(("defense_gan", "Table 4", TABLE4), ("cowboy", "Table 1", COWBOYS))


def section(page: str, heading: str) -> list[str]:
    """The lines below a heading, down to the next of its level."""
    return page.split(f"## {heading}\n\n")[1].split("\n\n## ")[0].splitlines()


def test_each_printed_number_that_was_measured_has_a_row(both: list[ComparedTable]) -> None:
    cells = cell_table(both)
    assert tuple(cells) == CELL_COLUMNS
    assert list(cells["paper_value"]) == [0.997, 0.217, 0.988, 0.191, 0.651, 0.97, 0.12, 0.78]
    assert list(cells["value"]) == [0.98, 0.25, 0.5, 0.195, 0.5, 0.965, 0.102, 0.82]
    low, high = wilson_interval(250, 1000)
    bare = cells.iloc[1].to_dict()
    searches = {"iterations_L", "restarts_R"}
    unknown = {"paper_std", *searches, *(f"paper_{name}" for name in searches)}
    assert {name for name, value in bare.items() if pd.isna(value)} == unknown
    assert {name: value for name, value in bare.items() if name not in unknown} == {
        **{"paper": "defense_gan", "table": "Table 4", "dataset": "mnist", "attack": "fgsm"},
        **{"epsilon": 0.3, "classifier": "A", "substitute": "", "defense": "none", "variant": ""},
        **{"threat_model": "white_box", "quirks": "", "paper_value": 0.217, "value": 0.25},
        **{"low": round(low, 4), "high": round(high, 4), "n": 1000, "seeds": 1},
        **{"difference": 0.033, "counted": True, "why_not": "", "clean_value": 0.98},
    }
    searched = cells.iloc[2]
    assert [searched[name] for name in ("iterations_L", "restarts_R")] == [200, 10]
    assert [searched[f"paper_{name}"] for name in ("iterations_L", "restarts_R")] == [200, 10]


def test_white_box_of_searches_does_not_count(both: list[ComparedTable]) -> None:
    cells = cell_table(both)
    assert list(cells["counted"]) == [True, True, False, True, True, True, True, True]
    assert cells.loc[2, "why_not"].endswith("no gradient passes the search")
    assert (cells["why_not"] != "").sum() == 1
    page = comparison_page(both)
    assert section(page, "Left out of the counts")[4:] == [
        "| Defense-GAN | mnist | defense_gan rec | white_box | 1 | -0.488 | 0.488 "
        "| in its published code no gradient passes the search | 1 | 1 | 0 | -0.013 | 0.013 |"
    ]
    assert "| 0.988 | 0.500 ± 0.031 (1000) | -0.488, not counted |" in page


def test_counts_by_paper(both: list[ComparedTable]) -> None:
    assert section(comparison_page(both), "By paper") == [
        "| paper | compared | within 2 points | within 5 points | beyond "
        "| paper's number in our interval | of fewer than 100 images | left out |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| Defense-GAN | 4 | 2 | 3 | 1 | 1 | 0 | 1 |",
        "| Cowboy | 3 | 2 | 3 | 0 | 2 | 0 | 0 |",
        "| all | 7 | 4 | 6 | 1 | 3 | 0 | 1 |",
        "| all of 100 images or more | 7 | 4 | 6 | 1 | 3 | 0 | 1 |",
    ]


def test_counts_of_a_papers_own_defense_are_without_its_baselines(
    both: list[ComparedTable],
) -> None:
    assert section(comparison_page(both), "By paper, its own defense alone")[2:] == [
        "| Defense-GAN | 0 | 0 | 0 | 0 | 0 | 0 | 1 |",
        "| Cowboy | 1 | 0 | 1 | 0 | 0 | 0 | 0 |",
        "| all | 1 | 0 | 1 | 0 | 0 | 0 | 1 |",
        "| all of 100 images or more | 1 | 0 | 1 | 0 | 0 | 0 | 1 |",
    ]


def test_what_two_tables_print_of_one_measurement_counts_once(compare: Compare) -> None:
    page = comparison_page(
        compare(("cowboy", "Table 1", COWBOYS), ("cowboy", "Table 2", COWBOYS[2:]))
    )
    assert "| Cowboy | 3 | 2 | 3 | 0 | 2 | 0 | 0 |" in page
    assert page.count("| cowboy | gray_box |") == 3  # by defence, and in each table


def test_cells_of_few_images_are_counted_apart_too(compare: Compare) -> None:
    few = measurement(10, n=20, **FGSM)  # 0.217: beyond.
    page = comparison_page(compare(("defense_gan", "Table 4", [measurement(980), few])))
    assert "| Defense-GAN | 2 | 1 | 1 | 1 | 0 | 1 | 0 |" in page
    assert "| all of 100 images or more | 1 | 1 | 1 | 0 | 0 | 0 | 0 |" in page


def test_counts_and_mean_differences_by_defense(compare: Compare) -> None:
    # 0.651 printed under FGSM, 0.774 under RAND+FGSM: -0.001 and +0.066.
    tables = compare(
        (
            *("defense_gan", "Table 4"),
            [
                measurement(650, **FGSM | ADVERSARIAL),
                measurement(840, **FGSM | ADVERSARIAL | {"attack": "rand_fgsm"}),
                measurement(217, **FGSM),
            ],
        )
    )
    # In the order of the table: FGSM without defence first.
    assert section(comparison_page(tables), "By defense")[2:] == [
        "| Defense-GAN | mnist | none | white_box | 1 | 1 | 1 | 0 | 1 | +0.000 | 0.000 |",
        "| Defense-GAN | mnist | adv_training eps=0.3 | white_box | 2 | 1 | 1 | 1 | 1 "
        "| +0.033 | 0.034 |",
    ]


def test_nothing_is_said_of_left_out_cells_where_there_are_none(compare: Compare) -> None:
    page = comparison_page(compare(("cowboy", "Table 1", COWBOYS)))
    assert "Left out" not in page and "not counted" not in page


def test_seeds_are_put_together(compare: Compare) -> None:
    seeds = [measurement(n, **FGSM, seed=seed) for seed, n in enumerate((160, 180, 260))]
    tables = compare(("defense_gan", "Table 4", seeds))
    [cell] = cell_table(tables).to_dict("records")
    assert (cell["n"], cell["seeds"]) == (3000, 3)
    assert cell["value"] == pytest.approx(0.2) and cell["difference"] == pytest.approx(-0.017)
    assert (cell["low"], cell["high"]) == pytest.approx(wilson_interval(600, 3000))
    assert "| 0.217 | 0.200 ± 0.014 (3000, 3 seeds) | -0.017 |" in comparison_page(tables)


def test_a_table_over_steps_has_a_cell_for_each_search(compare: Compare) -> None:
    measured = [measurement(300, **TRANSFERRED)]
    for steps, restarts in OVER_STEPS:
        here = behind("rec", steps, restarts)
        measured += [
            measurement(900, **F | here),
            measurement(700 + steps // 100, **TRANSFERRED | here),
        ]
    tables = compare(("defense_gan", "Table 8", measured), searches=OVER_STEPS)
    lines = section(comparison_page(tables), "Defense-GAN, Table 8")
    assert lines[2].startswith("| attack (epsilon) | classifier | substitute | defense | threat")
    assert "| fgsm (0.3) | F | E | defense_gan rec | black_box | 1600, 10 | 1600, 10 |" in lines[-1]
    # Beside it the paper's standard deviation.
    assert "| 0.908 ± 0.006 | 0.716 ± 0.028 (1000) | -0.192 |" in lines[-1]
    assert len(cell_table(tables)) == 4


def test_other_steps_than_the_papers_stand_beside_them(compare: Compare) -> None:
    few = FGSM | REC | {"iterations_L": 50, "restarts_R": 4}
    page = comparison_page(compare(("defense_gan", "Table 4", [measurement(500, **few)])))
    assert "| white_box | 50, 4 | 200, 10 | 0.988 |" in page
    assert "| all | 0 | 0 | 0 | 0 | 0 | 0 | 1 |" in page


def test_data_sets_without_printed_numbers_are_named(compare: Compare) -> None:
    digits = [row | {"dataset": "digits"} for row in TABLE4]
    page = comparison_page(compare(("defense_gan", "Table 4", [*TABLE4, *digits])))
    assert "Nothing to compare on digits: the paper prints no number" in page
    assert "| Defense-GAN | 4 | 2 | 3 | 1 | 1 | 0 | 1 |" in page and "### digits" not in page


def test_a_run_without_any_printed_number_says_so(compare: Compare) -> None:
    digits = [row | {"dataset": "digits"} for row in TABLE4]
    tables = compare(("defense_gan", "Table 4", digits), ("cowboy", "Table 1", digits))
    page = comparison_page(tables)
    assert "No number is compared" in page and "(data sets: digits)" in page
    assert "|" not in page
    assert tuple(cell_table(tables)) == CELL_COLUMNS and cell_table(tables).empty


def test_tables_with_and_without_cells_keep_their_types(compare: Compare) -> None:
    digits = [row | {"dataset": "digits"} for row in TABLE4]
    cells = cell_table(compare(("cowboy", "Table 1", digits), ("defense_gan", "Table 4", TABLE4)))
    assert cells["counted"].dtype == bool and cells["value"].dtype == float
    assert len(cells) == 5


# Which tables


def test_the_comparison_is_of_the_tables_that_the_config_names() -> None:
    config = {"tables": ["cowboy_table2", "table8"]}
    found = paper_comparison(micro_catalogue(comparison=config)).job
    assert found["tables"] == [
        ["cowboy", "Table 2", "results/cowboy/table2.long.csv"],
        ["defense_gan", "Table 8", "results/table8.long.csv"],
    ]
    tables = list(named(*ACCURACY_FORMS))
    every = paper_comparison(micro_catalogue(comparison={"tables": tables})).job
    assert len(set(every.sources)) == len(set(every["digests"])) == len(tables)


def test_an_edit_concerns_the_tables_that_it_is_in() -> None:
    tables = {"tables": ["table1", "table4"]}
    before, after = (
        paper_comparison(micro_catalogue(comparison=tables, **edit)).job["digests"]
        for edit in ({}, {"substitute": {"rounds": 3}})
    )
    assert before[0] != after[0] and before[1] == after[1]
