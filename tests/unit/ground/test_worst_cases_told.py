"""Whoever reads an accuracy under attack in the documents reads the worst case beside it, and the
headline table is the leaderboard that is committed."""

import re
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "docs"))
from leaderboard import BEGIN, read, table, with_table

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


def test_the_headline_table_is_the_committed_leaderboard() -> None:
    text = README.read_text()
    places = re.findall(BEGIN.format("(docs/results/[^ ]+)", "leaderboard"), text)
    assert "docs/results/digits" in places
    for place in places:
        rows = read(REPOSITORY / place / "leaderboard.csv")
        assert with_table(text, place, rows) == text, (
            f"run: python docs/leaderboard.py RESULTS {place}"
        )
        # Of a number that is in no other column, it must be the row's own.
        none = next(line for line in table(rows).splitlines() if line.startswith("| none |"))
        (bare,) = [row for row in rows if row["defense"] == "none"]
        assert f"**{float(bare['accuracy']):.2f}**" in none


def test_a_document_without_a_place_for_it_is_told() -> None:
    with pytest.raises(ValueError, match=r"expected the line '<!-- docs/results/mine/leaderboard"):
        with_table("# Nothing\n", "docs/results/mine", [])
