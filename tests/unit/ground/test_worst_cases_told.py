"""Whoever reads an accuracy under attack in the documents reads the worst case beside it, and the
tables of leaderboards are of those that are committed."""

import re
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "docs"))
from leaderboard import DIGITS, name_of, read, read_shown, side_by_side, with_table
from leaderboard import PAGES as TABLES

README = REPOSITORY / "README.md"
RESULTS = REPOSITORY / "docs/results"
PAGES = [
    *sorted([*RESULTS.rglob("README.md"), *RESULTS.rglob("ablation.md")]),
    *(README, REPOSITORY / "docs/search.md"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_page_with_robust_accuracies_tells_the_worst_case(page: Path) -> None:
    text = page.read_text()
    under_attack = re.search(r"FGSM|PGD|CW", text) and re.search(r"\b0\.\d\d", text)
    assert under_attack, "no accuracy under attack any more: take it out of PAGES"
    # Above the first number of a table.
    first = re.search(r"^\|.*\b0\.\d\d", text, re.MULTILINE)
    told = re.search(r"worst case", text, re.IGNORECASE)
    assert told and (first is None or told.start() < first.start())


def test_the_digits_pages_quote_the_committed_leaderboard() -> None:
    rows = {name_of(row): row for row in read(RESULTS / "digits/leaderboard.csv")}
    rows |= {"no defence": rows["none"]}
    rows |= {name: rows[f"Defense-GAN-{name}"] for name in ("Rec", "Orig")}
    names = "|".join(sorted(map(re.escape, rows), key=len, reverse=True)).replace(r"\ ", r"\s")
    found = 0
    for page in RESULTS.glob("digits/**/README.md"):
        # The sentence on the worst case, in a quotation or not.
        text = re.sub(r"\n(> )?", " ", page.read_text())
        told = re.search(r"orst case\*+ .*?\. ", text)
        assert told, page
        more = text[told.end() :].split(". ")[0] if "It is" in text[told.end() :][:6] else ""
        for name, value in re.findall(rf"(?<![\w-])({names}) (\d\.\d\d)", told.group() + more):
            found += 1
            assert value == f"{float(rows[name]['accuracy']):.2f}", f"{page}: {name} {value}"
    assert found >= 20


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_leaderboards_is_that_of_the_committed_ones(name: str) -> None:
    text = TABLES[name].read_text()
    boards = read_shown(name)
    made = side_by_side(boards)
    again = f"run: python docs/leaderboard.py '' {DIGITS} {name}"
    assert with_table(text, DIGITS, made, name) == text, again
    # A row for each defence and protocol of any, and the worst case of each board is told.
    names = {name_of(row) for rows in boards.values() for row in rows}
    header, _, *lines = made.splitlines()
    assert sorted(line.split(" | ")[0].removeprefix("| ") for line in lines) == sorted(names)
    assert {line.count(" | ") for line in lines} == {header.count(" | ")}
    none = next(line for line in lines if line.startswith("| none |"))
    for rows in boards.values():
        (bare,) = [row for row in rows if row["defense"] == "none"]
        assert f"**{float(bare['accuracy']):.2f}**" in none


def test_a_document_without_a_place_for_it_is_told() -> None:
    with pytest.raises(ValueError, match=r"expected the line '<!-- docs/results/mine/leaderboard"):
        with_table("# Nothing\n", "docs/results/mine", "")
