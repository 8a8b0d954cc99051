"""Tables over L, R and epsilon, and the page that collects all tables of a paper."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import pytest
from made_up_measurements import PAPERS, measurement

from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.measure import BLACK_BOX_COLUMNS
from purification.reporting.long_tables import long_table, read_long_table, write_csv
from purification.reporting.markdown_tables import brief_table, markdown_table
from purification.reporting.page import (
    PageTable,
    agreement,
    detection_summary,
    further_section,
    paper_page,
)
from purification.reporting.papers import ATTACHED_COLUMNS, paper_values
from purification.reporting.wide_tables import wide_table
from purification.text_tables import write_page

Rows = list[dict[str, object]]
Tabulate = Callable[[Rows, str, Iterable[tuple[int, int]]], pd.DataFrame]
F = {"classifier": "F"} | dict.fromkeys(BLACK_BOX_COLUMNS, "")
FGSM = F | {"attack": "fgsm", "epsilon": 0.3, "threat_model": "black_box", "substitute": "E"}
FGSM |= {"oracle": "plain", "queries": 4800, "success_rate": 0.9}


def behind(variant: str, steps: int, restarts: int) -> dict[str, object]:
    """The columns of Defense-GAN with a search."""
    return {
        **{"defense": "defense_gan", "variant": variant},
        **{"iterations_L": steps, "restarts_R": restarts},
    }


OVER_STEPS, OVER_RESTARTS = ((25, 10), (1600, 10)), ((100, 1), (100, 20))
PRINTED = {
    **{(25, 10): (0.9273, 0.9141, 0.7955, 0.7998), (1600, 10): (0.9963, 0.9967, 0.9081, 0.9008)},
    **{(100, 1): (0.7035, 0.6436, 0.5329, 0.5011), (100, 20): (0.9966, 0.9753, 0.9456, 0.9310)},
}
"""Tables 8 and 10 of the paper (MNIST): Rec and Orig without attack, Rec and Orig under attack."""
COLUMNS = [
    *("no_attack", "no_defense", "defense_gan_rec", "defense_gan_orig"),
    *("defense_gan_rec_clean", "defense_gan_orig_clean"),
]


def swept_rows(**changes: object) -> Rows:
    """The measurements that Tables 8 and 10 are cut from."""
    rows = [measurement(990, **F | changes), measurement(300, **FGSM | changes)]
    for steps, restarts in (*OVER_STEPS, *OVER_RESTARTS):
        for place, variant in enumerate(("rec", "orig")):
            here = behind(variant, steps, restarts) | changes
            correct = 500 + 10 * restarts + place
            rows += [measurement(correct + 100, **F | here), measurement(correct, **FGSM | here)]
    return rows


@pytest.fixture
def tabulate(tmp_path: Path) -> Tabulate:
    def make(rows: Rows, table: str, searches: Iterable[tuple[int, int]]) -> pd.DataFrame:
        pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
        values = paper_values("defense_gan", table, PAPERS)
        return long_table([tmp_path / "rows.csv"], values, searches)

    return make


def printed(long: pd.DataFrame) -> list[tuple]:
    """L, R, and the paper's Rec and Orig clean, Rec and Orig attacked, for each search."""
    searched = long[long["defense"] == "defense_gan"]
    found = []
    for search, rows in searched.groupby(["iterations_L", "restarts_R"]):
        by_column = rows.set_index(["attack", "variant"])["paper_value"]
        keys = [(attack, variant) for attack in ("none", "fgsm") for variant in ("rec", "orig")]
        found.append((search, tuple(by_column[key] for key in keys)))
    return found


@pytest.mark.parametrize(
    ("table", "searches"), [("Table 8", OVER_STEPS), ("Table 10", OVER_RESTARTS)]
)
def test_papers_values_stand_beside_the_same_search_alone(
    tabulate: Tabulate, table: str, searches: tuple
) -> None:
    long = tabulate(swept_rows(), table, searches)
    # Other tables' searches are left out; what has none stays.
    assert len(long) == 2 + 4 * len(searches)
    assert printed(long) == [(search, PRINTED[search]) for search in sorted(searches)]
    # The paper's tables over L and R print no undefended accuracies.
    assert long.loc[long["defense"] == "none", "paper_value"].isna().all()
    expected = long["accuracy"] - long["paper_value"]
    pd.testing.assert_series_equal(long["difference"], expected, check_names=False)


@pytest.mark.parametrize(
    "changes", [{"dataset": "digits"}, {"classifier": "A"}, {"iterations_L": 26}]
)
def test_other_settings_have_no_papers_value(tabulate: Tabulate, changes: dict) -> None:
    rows = [measurement(500, **FGSM | behind("rec", 25, 10) | changes)]
    assert tabulate(rows, "Table 8", [(25, 10), (26, 10)])["paper_value"].isna().all()


def test_wide_table_has_a_row_for_each_search(tabulate: Tabulate) -> None:
    wide = wide_table(tabulate(swept_rows(), "Table 8", OVER_STEPS), swept=True)
    names = ["dataset", "attack", "epsilon", "classifier", "substitute"]
    header = [*names, "iterations_L", "restarts_R"]
    for name in COLUMNS:
        header += [name, f"{name}_n", f"{name}_std"]
    assert list(wide) == header
    assert wide[["iterations_L", "restarts_R"]].to_numpy().tolist() == [[25, 10], [1600, 10]]
    # What has no search repeats on each row.
    assert wide["no_attack"].tolist() == [0.99, 0.99]
    assert wide["no_defense"].tolist() == [0.3, 0.3]
    assert wide["defense_gan_rec"].tolist() == [0.6, 0.6]
    assert wide["defense_gan_orig"].tolist() == [0.601, 0.601]
    assert wide["defense_gan_rec_clean"].tolist() == [0.7, 0.7]
    wide = wide_table(tabulate(swept_rows(), "Table 10", OVER_RESTARTS), swept=True)
    assert wide["defense_gan_rec"].tolist() == [0.51, 0.7]


def test_a_table_over_epsilon_has_a_row_for_each(tabulate: Tabulate) -> None:
    search = behind("rec", 400, 10)
    rows = [measurement(990, **F), measurement(980, **F | search)]
    for epsilon, correct in ((0.3, 100), (0.1, 300)):
        rows.append(measurement(correct, **FGSM | {"epsilon": epsilon}))
        rows.append(measurement(correct + 500, **FGSM | search | {"epsilon": epsilon}))
    wide = wide_table(tabulate(rows, "Table 3", [(400, 10)]), swept=True)
    assert wide["epsilon"].tolist() == [0.1, 0.3]
    assert wide["no_defense"].tolist() == [0.3, 0.1]
    assert wide["defense_gan_rec"].tolist() == [0.8, 0.6]
    assert wide["defense_gan_rec_clean"].tolist() == [0.98, 0.98]


def test_several_searches_are_refused_where_a_table_has_one(tabulate: Tabulate) -> None:
    long = tabulate(swept_rows(), "Table 8", OVER_STEPS)
    with pytest.raises(ValueError, match="a table holds one L and R of each defense"):
        wide_table(long)


def test_seeds_are_put_together_for_each_search(tabulate: Tabulate) -> None:
    rows = [
        {**row, "seed": seed, "correct": min(row["correct"] + 20 * seed, 1000),
         "accuracy": min(row["correct"] + 20 * seed, 1000) / 1000}
        for seed in (0, 1)
        for row in swept_rows()
    ]  # fmt: skip
    long = tabulate(rows, "Table 10", OVER_RESTARTS)
    wide = wide_table(long, swept=True)
    assert wide["defense_gan_rec"].tolist() == pytest.approx([0.52, 0.71])
    assert wide["defense_gan_rec_n"].tolist() == [2000, 2000]
    assert wide["defense_gan_rec_std"].tolist() == pytest.approx([0.0002**0.5] * 2)
    # Each seed's row has the paper's value; the page compares the mean, once.
    assert len(long[long["paper_value"].notna()]) == 2 * 8
    low, high = wilson_interval(1040, 2000)
    text = brief_table(long, wide, swept=True)
    assert f"0.520 ± {(high - low) / 2:.3f} (paper 0.533, -0.013)" in text


def test_markdown_and_brief_have_a_line_for_each_search(tabulate: Tabulate) -> None:
    long = tabulate(swept_rows(), "Table 8", OVER_STEPS)
    wide = wide_table(long, swept=True)
    attacked = "| attack | epsilon | classifier | substitute | L | R | no_attack | no_defense |"
    text = markdown_table(long, wide, title="Table 8", swept=True)
    without_n = text.replace(", n = 1000", "")
    assert attacked in without_n
    assert "| classifier | L | R | no_attack | defense_gan_rec_clean |" in without_n
    assert "black-box attacks on the defenses" in text
    for steps, value in ((25, 0.7955), (1600, 0.9081)):
        [line] = [x for x in text.splitlines() if x.startswith(f"| fgsm | 0.3 | F | E | {steps} |")]
        assert line.count("**") == 2 * 4
        assert f", paper {value:g}" in line
    brief = brief_table(long, wide, swept=True)
    assert brief.startswith("### mnist\n\n#### No defense") and attacked in brief
    low, high = wilson_interval(600, 1000)
    half = (high - low) / 2
    line = f"| fgsm | 0.3 | F | E | 25 | 10 | 0.990 ± 0.006 | 0.300 ± 0.028 | 0.600 ± {half:.3f} "
    assert f"{line}(paper {0.7955:.3f}, {0.6 - 0.7955:+.3f}) |" in brief


def test_warnings_name_the_search(tabulate: Tabulate) -> None:
    rows = swept_rows()
    here = behind("rec", 1600, 10)
    rows = [row for row in rows if not (row["attack"] == "fgsm" and row["iterations_L"] == 1600
                                        and row["variant"] == "rec")]  # fmt: skip
    long = tabulate([*rows, measurement(900, **FGSM | here)], "Table 8", OVER_STEPS)
    text = markdown_table(long, wide_table(long, swept=True), title="t", swept=True)
    lines = [line for line in text.split("## Warnings")[1].splitlines() if line.startswith("- ")]
    assert lines == [
        "- mnist, fgsm 0.3, `defense_gan_rec`: F/E L=1600 R=10 0.9000 (n = 1000) > 0.7000 "
        "(n = 1000)"
    ]


def test_a_written_table_is_read_with_its_types(tabulate: Tabulate, tmp_path: Path) -> None:
    long = tabulate(swept_rows(), "Table 8", OVER_STEPS)
    write_csv(long, tmp_path / "table8.long.csv")
    again = read_long_table(tmp_path / "table8.long.csv")
    pd.testing.assert_frame_equal(
        wide_table(again, swept=True), wide_table(long, swept=True), atol=1e-4
    )
    assert printed(again) == printed(long)


# The page


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """Makes a long table whose numbers lie so far from the paper's, over L."""

    def make(differences: list[float], seeds: int = 1) -> pd.DataFrame:
        rows = [
            measurement(0, **FGSM | behind("rec", steps, 10), seed=seed)
            | dict.fromkeys(ATTACHED_COLUMNS, "")
            | {"paper_value": 0.9, "difference": difference + shift}
            for steps, difference in enumerate(differences, start=1)
            # Seeds that differ by more than the limit, but not in their mean.
            for seed, shift in zip(
                range(seeds), (0.04, -0.04) if seeds == 2 else (0.0,), strict=True
            )
        ]
        pd.DataFrame(rows).to_csv(tmp_path / "compared.csv", index=False)
        return read_long_table(tmp_path / "compared.csv")

    return make


def page_table(name: str, long: pd.DataFrame) -> PageTable:
    file = name.lower().replace(" ", "")
    return PageTable(name, "made up", long, True, f"{file}.md")


@pytest.mark.parametrize("seeds", [1, 2])
def test_agreement_counts_each_number_once(
    compared: Callable[..., pd.DataFrame], seeds: int
) -> None:
    long = compared([0.0, 0.92 - 0.9, -0.021, 0.05, -0.051, 0.5], seeds)
    uncompared = compared([0.3]).assign(paper_value=None)
    tables = [
        page_table("Table 8", long),
        page_table("Table 9", uncompared),
        page_table("Table 10", compared([-0.01], seeds)),
    ]
    assert agreement(tables).splitlines() == [
        "| table | compared | within 2 points | within 5 points | beyond |",
        "| --- | --- | --- | --- | --- |",
        "| Table 8 | 6 | 2 | 4 | 2 |",
        "| Table 10 | 1 | 1 | 1 | 0 |",
        "| all | 7 | 3 | 5 | 2 |",
    ]


def test_agreement_says_so_where_nothing_is_compared(
    compared: Callable[..., pd.DataFrame],
) -> None:
    tables = [page_table("Table 8", compared([0.1]).assign(paper_value=None))]
    assert agreement(tables).startswith("No number is compared")


@pytest.mark.parametrize("notes", ["", "Notes.\n\n"])
def test_a_further_sections_headings_are_a_level_lower(tmp_path: Path, notes: str) -> None:
    path = tmp_path / "rule.md"
    text = f"# The rule\n\n{notes}## digits\n\ntext\n\n## How to read this\n\ntext\n"
    write_page(path, text, {"kind": "Page"})
    heading, text = further_section(path)
    assert heading == "The rule"
    assert text == f"{notes}### digits\n\ntext\n\n### How to read this\n\ntext"


def test_page_has_its_parts_in_order(tabulate: Tabulate) -> None:
    long = tabulate(swept_rows(), "Table 8", OVER_STEPS)
    page = paper_page(
        "A paper",
        ["Made up."],
        [PageTable("Table 8", "over L", long, True, "table8.md")],
        [("Figure 3", "accuracy", "figures/figure3.png")],
        [("Detection", "| a |")],
    )
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == [
        *("## Agreement with the paper", "## Table 8: over L", "## Detection"),
        "## Figure 3: accuracy",
    ]
    assert page.startswith("# A paper\n\nMade up.\n\n")
    assert "| Table 8 | 8 | 0 | 0 | 8 |" in page
    assert "[table8.md](table8.md)" in page and "![Figure 3](figures/figure3.png)" in page


def detector(**changes: object) -> dict[str, object]:
    rates = {"tpr_1pct": 0.2, "tpr_5pct": 0.6, "fpr_1pct": 0.01, "fpr_5pct": 0.04}
    labels = {"dataset": "fmnist", "seed": 0, "classifier": "F", "attack": "fgsm", "epsilon": 0.3}
    labels |= {"threat_model": "black_box", "defense": "defense_gan", "iterations_L": 100}
    own = {"restarts_R": 10, "n": 350, "auc": 0.9, "paper_auc": None}
    return labels | own | rates | changes


def test_detection_summary_has_means_over_classifiers_and_seeds() -> None:
    searched = [detector(paper_auc=0.89), detector(paper_auc=0.89, seed=1, auc=0.8, tpr_1pct=0.4)]
    without = {"defense": "magnet", "iterations_L": None, "restarts_R": None, "epsilon": None}
    table = pd.DataFrame([*searched, detector(**without, attack="cw", n=20)])
    counts = dict.fromkeys(("iterations_L", "restarts_R"), "Int64")
    lines = detection_summary(table.astype(counts | {"paper_auc": float})).splitlines()
    assert lines[0].startswith("| data set | attack | epsilon | threat model | defense | L | R |")
    assert lines[2:] == [
        "| fmnist | fgsm | 0.3 | black_box | defense_gan | 100 | 10 | 0.850 (paper 0.890) "
        "| 0.300 | 0.010 | 0.600 | 0.040 | 2 | 700 |",
        "| fmnist | cw |  | black_box | magnet |  |  | 0.900 | 0.200 | 0.010 | 0.600 | 0.040 "
        "| 1 | 20 |",
    ]
