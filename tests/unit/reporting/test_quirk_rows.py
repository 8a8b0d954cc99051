"""Rows that hang on quirks of published code: in tables, on pages, in figures, and counted."""

from pathlib import Path

import pandas as pd
import pytest
from made_up_measurements import FGSM, PAPERS, REC, TABLE4, measurement, write_long
from test_comparison import Compare, compare, section

from purification import provenance
from purification.evaluation.flags import flagged
from purification.experiments.artifacts import Recipe
from purification.reporting.comparison import cell_table, comparison_page
from purification.reporting.csv_files import write_formatted
from purification.reporting.figures import paper_figure
from purification.reporting.long_tables import long_table, read_long_table
from purification.reporting.markdown_tables import markdown_table
from purification.reporting.page import PageTable, agreement
from purification.reporting.papers import paper_values
from purification.reporting.wide_tables import wide_table
from purification.text_tables import read_page, write_page

__all__ = ["compare"]
NO_GRADIENT, KEPT = {"quirks": "no_gradient"}, {"quirks": "keep_probability"}
PREDICTED = FGSM | {"attack": "predicted", "paper_attack": "fgsm", "quirks": "predicted_labels"}
KEPT_B = KEPT | {"classifier": "B_kept", "paper_classifier": "B"}
MEASURED = [
    *TABLE4,
    measurement(980, **FGSM | REC | NO_GRADIENT | {"zero_gradient_share": 1.0}),  # printed: 0.988
    measurement(300, **PREDICTED),  # printed: 0.217
    measurement(965, **KEPT_B),  # printed: 0.962
    measurement(985, classifier="B"),
]


def long_of(rows: list[dict[str, object]], path: Path) -> pd.DataFrame:
    file = path / "rows.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return long_table([file], paper_values("defense_gan", "Table 4", PAPERS))


def test_a_row_with_quirks_is_one_of_its_own_beside_the_papers_number(tmp_path: Path) -> None:
    long = long_of(MEASURED, tmp_path)
    told = long[long["quirks"] != ""]
    assert list(told["paper_value"]) == [0.962, 0.988, 0.217]
    assert list(told["quirks"]) == ["keep_probability", "no_gradient", "predicted_labels"]
    path = tmp_path / "table.long.csv"
    write_long(MEASURED, "defense_gan", "Table 4", path)
    read = read_long_table(path)
    assert list(read["quirks"]) == list(long["quirks"])
    assert list(read["paper_classifier"]) == list(long["paper_classifier"])


def test_columns_and_rows_of_the_wide_table_tell_them(tmp_path: Path) -> None:
    long = long_of(MEASURED, tmp_path)
    wide = wide_table(long)
    found = wide.set_index(["attack", "classifier"])
    assert found["defense_gan_rec"].dropna().to_dict() == {("fgsm", "A"): 0.5}
    assert found["defense_gan_rec+no_gradient"].dropna().to_dict() == {("fgsm", "A"): 0.98}
    assert found["quirks"].to_dict() == {
        ("none", "B"): "",
        ("none", "B_kept"): "keep_probability",
        ("fgsm", "A"): "",
        ("predicted", "A"): "predicted_labels",
    }
    assert list(wide).index("defense_gan_rec") < list(wide).index("defense_gan_rec+no_gradient")
    text = markdown_table(long, wide, title="T")
    assert "| attack | epsilon | classifier | quirks |" in text
    assert "| predicted | 0.3 | A | predicted_labels |" in text and "| fgsm | 0.3 | A |  |" in text
    assert "| B_kept | keep_probability |" in text
    # Without any there is no such column.
    plain = long_of(TABLE4, tmp_path)
    assert "quirks" not in wide_table(plain)
    assert "quirks" not in markdown_table(plain, wide_table(plain), title="T")


def test_flags_compare_what_has_the_same_quirks_but_for_the_attacks(tmp_path: Path) -> None:
    batch = REC | {"quirks": "test_batch_statistics"}
    attacked = batch | FGSM | {"quirks": "test_batch_statistics;predicted_labels"}
    rows = [
        measurement(900, **REC),
        measurement(700, **batch),
        measurement(800, **attacked | {"threat_model": "gray_box"}),
        measurement(850, **FGSM | REC | NO_GRADIENT),
    ]
    above = flagged(long_of(rows, tmp_path))["above_clean"]
    assert [(row.accuracy, row.accuracy_clean) for row in above.itertuples()] == [(0.8, 0.7)]


def test_cells_with_quirks_are_counted_beside_those_without(compare: Compare) -> None:
    tables = compare(("defense_gan", "Table 4", MEASURED))
    cells = cell_table(tables)
    still = cells[cells["quirks"] == "no_gradient"].iloc[0]
    assert still["counted"] and still["why_not"] == "" and still["clean_value"] == 0.975
    assert cells.loc[cells["quirks"] == "keep_probability", "clean_value"].item() == 0.965
    page = comparison_page(tables)
    # As without them, and B's own: 0.985 to the printed 0.962 is within 5.
    assert "| Defense-GAN | 5 | 2 | 4 | 1 | 1 | 0 | 1 |" in page
    assert section(page, "With quirks of published code")[2:] == [
        "| paper | data set | defense | threat model | quirks | cells | within 2 points "
        "| within 5 points | beyond | mean difference | mean size of it | cells without "
        "| without: within 2 points | without: within 5 points | without: beyond "
        "| without: mean difference | without: mean size of it |",
        "| --- " * 17 + "|",
        "| Defense-GAN | mnist | none | none | keep_probability | 1 | 1 | 1 | 0 | +0.003 | 0.003 "
        "| 1 | 0 | 1 | 0 | +0.023 | 0.023 |",
        "| Defense-GAN | mnist | defense_gan rec | white_box | no_gradient | 1 | 1 | 1 | 0 "
        "| -0.008 | 0.008 | 1 | 0 | 0 | 1 | -0.488 | 0.488 |",
        "| Defense-GAN | mnist | none | white_box | predicted_labels | 1 | 0 | 0 | 1 "
        "| +0.083 | 0.083 | 1 | 0 | 1 | 0 | +0.033 | 0.033 |",
    ]
    lines = section(page, "Left out of the counts")
    assert len(lines) == 5 and "| 1 | -0.488 |" in lines[-1]
    assert "| B_kept | none | none | keep_probability |" in page


def test_a_page_without_quirks_has_no_such_section(compare: Compare) -> None:
    page = comparison_page(compare(("defense_gan", "Table 4", TABLE4)))
    assert "quirks" not in page
    alone = comparison_page(compare(("defense_gan", "Table 4", [measurement(965, **KEPT_B)])))
    assert "| all | 0 | 0 | 0 | 0 | 0 | 0 | 0 |" in alone
    assert "| keep_probability | 1 | 1 | 1 | 0 | +0.003 | 0.003 | 0 |  |  |  |  |  |" in alone


def test_a_papers_page_counts_them_apart(tmp_path: Path) -> None:
    long = long_of(MEASURED, tmp_path)
    text = agreement([PageTable("Table 4", "", long, False, "table4.md")])
    assert text.splitlines()[2:] == [
        "| Table 4 | 5 | 2 | 4 | 1 |",
        "| all | 5 | 2 | 4 | 1 |",
        "| Table 4, with quirks of published code | 3 | 2 | 2 | 1 |",
    ]


@pytest.fixture
def quirky_job(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A job whose results hang on a quirk."""
    recipe = Recipe({"kind": "T"})
    recipe.__dict__["quirks"] = {"no_gradient": "no gradient <passes>"}
    for name in ("_allowed", "_made", "_quirks", "_results"):
        monkeypatch.setattr(provenance, name, getattr(provenance, name))
    provenance.start_job(recipe, "results")
    return recipe


def test_all_that_a_job_writes_for_readers_tells_them(tmp_path: Path, quirky_job: Recipe) -> None:
    write_formatted(pd.DataFrame({"a": [1, 2]}), tmp_path / "a.csv", None)
    assert (tmp_path / "a.csv").read_text() == "a,quirks\n1,no_gradient\n2,no_gradient\n"
    own = pd.DataFrame({"quirks": ["", "no_gradient"]})
    write_formatted(own, tmp_path / "b.csv", None)
    assert (tmp_path / "b.csv").read_text() == 'quirks\n""\nno_gradient\n'
    with paper_figure(1, 2, tmp_path / "f.png") as figure:
        figure.subplots()
    said = "With quirks of published code: no_gradient"
    assert [text.get_text() for text in figure.texts] == [said]
    provenance._allowed = None
    write_page(tmp_path / "p.md", "# T\n", quirky_job)
    said = (
        "Made with these, which the config turns on. What hangs on one is no measure of a defense."
    )
    assert read_page(tmp_path / "p.md") == (
        f"# T\n\n## Quirks of published code\n\n{said}\n\n`no_gradient`: no gradient <passes>.\n"
    )
    write_page(tmp_path / "p.html", "<body>\n</body>\n", quirky_job)
    page = read_page(tmp_path / "p.html")
    assert "<p>no_gradient: no gradient &lt;passes&gt;.</p>" in page
