"""The column of flags in long tables, and what reads tables with and without it."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from made_up_measurements import FGSM, PAPERS, REC, TABLE4, Rows, measurement
from test_swept_tables import FGSM as TRANSFERRED
from test_swept_tables import OVER_RESTARTS, OVER_STEPS, behind, swept_rows

from purification.experiments import PAPERS as BY_KEY
from purification.reporting.comparison import cell_table, comparison_page, read_compared_tables
from purification.reporting.cost_accuracy import read_measurements
from purification.reporting.long_tables import long_table, read_long_table, write_csv
from purification.reporting.markdown_tables import brief_table, markdown_table
from purification.reporting.page import paper_page, read_page_tables
from purification.reporting.papers import paper_values
from purification.reporting.sweeps import figure3_panels, read_long
from purification.reporting.wide_tables import wide_table
from purification.text_tables import read_text_table, write_text_table

WEAK = measurement(860, **FGSM | REC | {"success_rate": 0.14, "zero_gradient_share": 0.01})
MEASURED = [
    measurement(980),
    measurement(975, **REC),
    measurement(250, **FGSM),
    measurement(700, **FGSM | REC | {"threat_model": "gray_box"}),
    WEAK,
]
SEARCHES = (*OVER_STEPS, *OVER_RESTARTS)
RECIPE = {"kind": "made up"}

Tabulate = Callable[..., pd.DataFrame]


@pytest.fixture
def tabulate(tmp_path: Path) -> Tabulate:
    def make(rows: Rows, printed: str = "Table 4", searches: object = None) -> pd.DataFrame:
        pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
        values = paper_values("defense_gan", printed, PAPERS) if printed else None
        return long_table([tmp_path / "rows.csv"], values, searches)

    return make


@pytest.mark.parametrize("printed", ["Table 4", ""])
def test_flags_are_the_last_column_of_papers_tables_and_own(
    tabulate: Tabulate, tmp_path: Path, printed: str
) -> None:
    long = tabulate(MEASURED, printed)
    own = "difference" if printed else "zero_gradient_share"
    assert list(long)[-2:] == [own, "flags"]
    found = {row.flags for row in long.itertuples() if row.attack == "none"}
    assert found == {""}
    (flags,) = long.loc[long["accuracy"] == 0.86, "flags"]
    assert flags == "zero_gradient;weaker_than_gray_box"
    assert (long["flags"] != "").sum() == 1
    write_csv(long, tmp_path / "t.long.csv", RECIPE)
    header, *lines = (tmp_path / "t.long.csv").read_text().splitlines()
    assert header.endswith(f",{own},flags,recipe,check")
    assert [line.split(",")[-3] for line in lines] == list(long["flags"])
    again = read_long_table(tmp_path / "t.long.csv") if printed else None
    assert again is None or list(again["flags"]) == list(long["flags"])


def test_a_table_without_any_flag_is_read_as_it_was_written(
    tabulate: Tabulate, tmp_path: Path
) -> None:
    long = tabulate(MEASURED[:-1])
    write_csv(long, tmp_path / "t.long.csv", RECIPE)
    assert (
        list(read_long_table(tmp_path / "t.long.csv")["flags"]) == list(long["flags"]) == [""] * 4
    )


def test_the_wide_table_and_its_page_do_not_have_the_column(
    tabulate: Tabulate, tmp_path: Path
) -> None:
    long = tabulate(MEASURED)
    before = long.drop(columns="flags")
    write_csv(wide_table(long), tmp_path / "new.csv")
    write_csv(wide_table(before), tmp_path / "old.csv")
    assert (tmp_path / "new.csv").read_bytes() == (tmp_path / "old.csv").read_bytes()
    page = markdown_table(long, wide_table(long), title="t")
    assert page == markdown_table(before, wide_table(before), title="t")
    assert "flags" not in (tmp_path / "new.csv").read_text() + page
    assert "- mnist, fgsm 0.3, `defense_gan_rec`: A 0.0100" in page
    # The number itself is marked, and no other.
    assert ", paper 0.988 ⚑ |" in page
    assert page.count("⚑") == 1 + len(["what the mark means"])
    brief = brief_table(long, wide_table(long))
    assert brief.count("⚑") == 1
    assert "(paper 0.988, -0.128) ⚑ |" in brief


def test_rows_are_flagged_by_seed_and_pages_warn_of_pooled_seeds(tabulate: Tabulate) -> None:
    gray = FGSM | REC | {"threat_model": "gray_box"}
    rows: Rows = []
    for seed, correct in enumerate((760, 640, 640)):
        here = {"seed": seed}
        rows += [measurement(975, **REC | here), measurement(700, **gray | here)]
        rows.append(measurement(correct, **FGSM | REC | here))
    long = tabulate(rows)
    flagged = long[long["flags"] != ""]
    assert list(zip(flagged["seed"], flagged["flags"], strict=True)) == [
        (0, "weaker_than_gray_box")
    ]
    page = markdown_table(long, wide_table(long), title="t")
    assert "None of the checks found anything." in page


def test_in_a_swept_table_each_search_is_compared_with_its_own(tabulate: Tabulate) -> None:
    here = behind("rec", 25, 10)
    at = TRANSFERRED | here
    rows = [row for row in swept_rows() if not at.items() <= row.items()]
    rows.append(measurement(705, **at))
    # Above the 0.7 of its own search. The 0.7 of (100, 20) is above others' alone.
    long = tabulate(rows, "Table 8", SEARCHES)
    flagged = long[long["flags"] != ""]
    assert flagged[["iterations_L", "restarts_R"]].values.tolist() == [[25, 10]]
    assert list(flagged["flags"]) == ["above_clean"]


def test_in_other_tables_rows_are_compared_as_the_cells_of_the_page(tabulate: Tabulate) -> None:
    """A column has one search, and its page does not ask which."""
    rows = [row | {"iterations_L": 25} if row is WEAK else row for row in MEASURED]
    long = tabulate(rows)
    assert "zero_gradient;weaker_than_gray_box" in set(long["flags"])
    page = markdown_table(long, wide_table(long), title="t")
    assert "A 0.8600 > 0.7000 gray box" in page


# Tables of before


@pytest.fixture
def both(tabulate: Tabulate, tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """The same table as it is written now and as it was before, in folders of the same form."""

    def make(rows: Rows, printed: str, searches: object = None) -> tuple[Path, Path]:
        files = tuple(tmp_path / when / "table.long.csv" for when in ("now", "before"))
        for file in files:
            file.parent.mkdir(exist_ok=True)
        write_csv(tabulate(rows, printed, searches), files[0], RECIPE)
        lines = read_text_table(files[0]).splitlines()
        assert lines[0].endswith(",flags")
        write_text_table(files[1], "\n".join(x.rpartition(",")[0] for x in lines) + "\n", RECIPE)
        assert "flags" not in files[1].read_text()
        return files

    return make


def test_a_long_table_of_before_is_read(both: Callable[..., tuple[Path, Path]]) -> None:
    now, before = map(read_long_table, both(MEASURED, "Table 4"))
    pd.testing.assert_frame_equal(now.drop(columns="flags"), before)
    for made in (wide_table, lambda long: pd.Series(brief_table(long, wide_table(long)))):
        assert made(now).equals(made(before))
    pages = [markdown_table(long, wide_table(long), title="t") for long in (now, before)]
    assert pages[0] == pages[1]
    assert "0.8600 > 0.7000 gray box" in pages[1]


def test_a_long_table_of_before_is_compared_and_shown(
    both: Callable[..., tuple[Path, Path]],
) -> None:
    files = both([*TABLE4, WEAK | {"classifier": "B"}], "Table 4")
    compared = [
        read_compared_tables([("defense_gan", "Table 4", str(file))], BY_KEY) for file in files
    ]
    assert cell_table(compared[0]).equals(cell_table(compared[1]))
    assert comparison_page(compared[0]) == comparison_page(compared[1])
    shown = [
        read_page_tables([("Table 4", "c", False, str(file.with_name("table.csv")))], file.parent)
        for file in files
    ]
    pages = [paper_page("t", [], tables, [], []) for tables in shown]
    assert pages[0] == pages[1]
    assert "paper 0.217" in pages[1]


def test_a_long_table_of_before_is_drawn(both: Callable[..., tuple[Path, Path]]) -> None:
    """Figure 3, and with one that has the column, accuracy over its cost."""
    files = both(swept_rows(), "Table 8", SEARCHES)
    now, before = (read_long(file, "mnist") for file in files)
    panels = [
        {panel.title: panel.lines for panel in figure3_panels(long, long, steps=100, restarts=10)}
        for long in (now, before)
    ]
    for title, lines in panels[0].items():
        for name, line in lines.items():
            pd.testing.assert_frame_equal(line, panels[1][title][name])
    mixed, alone = read_measurements(files, "mnist"), read_measurements(files[1:], "mnist")
    pd.testing.assert_frame_equal(mixed, alone)
