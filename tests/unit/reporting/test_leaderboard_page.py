"""The leaderboard's page, in a real browser without a screen: it loads without the network, sorts
when a heading is clicked, fits wide and narrow windows, and prints. Where there is no Chromium the
tests are skipped, and say so; .ci/run installs it."""

import json
from pathlib import Path
from typing import Any

import pytest
from browser import WIDER, Page, check_picture, ended, in_a_browser, in_a_phone, shot

from purification.evaluation.leaderboard import BOX_ENDS, BOXES, NAMED, TIME_COLUMNS
from purification.experiments import paper_name
from purification.reporting.leaderboard import (
    COLUMNS,
    called,
    leaderboard_html,
    leaderboard_page,
)
from purification.text_tables import page_digest, write_page


def made(defense: str, accuracy: float, *, classifier: str = "A", **more: Any) -> dict[str, Any]:
    """A row, of which "none" and "adv_training" purify nothing."""
    row = dict.fromkeys(COLUMNS) | {"dataset": "digits", "seed": 0, "classifier": classifier}
    row |= {"defense": defense, "variant": "", "norm": "linf", "epsilon": 0.1, "n": 100}
    row |= {"clean_accuracy": 0.98, "accuracy": accuracy, "attackers": 9, "stages": "pgd 0.1; x 0"}
    row |= {"ci_low": max(accuracy - 0.1, 0), "ci_high": accuracy + 0.1, "flags": ""}
    row |= {"strongest": "cascade_pgd_margin white_box", "passes_per_image": 250.0}
    purifies = defense not in ("none", "adv_training")
    row |= {"purification_passes": 52.0 if purifies else 0, "no_claim": "no paper <prints> it"}
    for box in BOXES if purifies else BOXES[-1:]:
        numbers = (accuracy + 0.1, accuracy, accuracy + 0.2, 100, "fgsm; pgd")
        row |= dict(zip((f"{box}{end}" for end in BOX_ENDS), numbers, strict=True))
    return row | more


def timed(row: dict[str, Any], ms: float | None) -> dict[str, Any]:
    times = {name: row[name] for name in NAMED} | dict.fromkeys(TIME_COLUMNS[len(NAMED) :])
    if ms is not None:
        quartiles = {f"purification_ms{end}": ms for end in ("", "_q1", "_q3")}
        times |= quartiles | {"device": "a CPU", "threads": 2, "torch": "2"}
    return times | {"attack_seconds": 1.25}


ROWS = [
    made("adv_training", 0.65, variant="eps=0.1"),
    made("defense_gan", 0.44, variant="rec", iterations_L=25, restarts_R=2, flags="not_converged"),
    made("none", 0.23, claim=0.217, claim_source="Defense-GAN, Table 4: fgsm", no_claim=None),
    made("magnet", 0.03, below_no_defense="yes"),
    made("none", 0.5, classifier="B"),
    made("<script>alert(1)</script>", 0.4, classifier="B", below_no_defense="yes"),
]
TIMES = [timed(row, ms) for row, ms in zip(ROWS, (None, 5.25, None, 0.5, None, 12.0), strict=True)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "leaderboard.html"
    file.write_text(leaderboard_html(ROWS, TIMES), encoding="utf-8")
    return file


def test_without_scripts_it_is_a_plain_table(page: Path) -> None:
    found = Page(page.read_text())
    assert found.defenses == [
        *("digits,", "adv_training", "defense_gan", "none", "magnet"),
        *("digits,", "none", "<script>alert(1)</script>"),
    ]
    rows = [[" ".join(cell.split()) for cell in row] for row in found.rows]
    head, run, _, searched, none, below = rows[:6]
    assert len(head) == 14 and head[6] == "Worst case"
    assert run == ["digits, classifier A, l-inf ball of radius 0.1, 100 images"]
    assert searched[0] == "defense_gan rec L 25, R 2"
    assert searched[6] == "0.440 [0.340, 0.540], n = 100"
    assert searched[9].startswith("not_converged")
    assert none[2] == "0.217 Defense-GAN, Table 4: fgsm"
    assert none[3:5] == ["", ""] and "▼ below no defense" in below[0]
    assert [row[11].split()[0] for row in (searched, below)] == ["5.25", "0.5"]
    text = page.read_text()
    for told in ("a CPU, 2 threads, torch 2", "twice the iterations break", "no paper &lt;prints"):
        assert told in text


def test_it_asks_for_nothing_else(page: Path) -> None:
    text = page.read_text()
    assert (
        "<link" not in text and "src=" not in text and "://" not in text and "@import" not in text
    )
    assert "default-src 'none'" in text
    assert "<script>alert" not in text


def test_its_numbers_are_those_of_the_other_page() -> None:
    """And it says which recipe made it, as a page of Markdown does."""
    text, markdown = leaderboard_html(ROWS, TIMES), leaderboard_page(ROWS)
    for number in ("0.440", "[0.340, 0.540]", "0.217"):
        assert number in text and number in markdown
    # Times alone are not in what every run must repeat.
    assert "5.25" in text and "5.25" not in markdown


def test_defenses_have_the_papers_names_on_both_pages() -> None:
    shown = called(ROWS, paper_name)
    html, markdown = leaderboard_html(shown, TIMES), leaderboard_page(shown, TIMES)
    for name in ("Defense-GAN-Rec", "FGSM training, ε = 0.1", "no defense"):
        assert name in html and f"| A | {name} |" in markdown
    assert "adv_training" not in markdown and "defense_gan rec" not in markdown
    assert "no other defense keeps more in less time than FGSM training" in markdown
    # By which the CSV tells rows apart.
    assert [row["defense"] for row in shown] == [row["defense"] for row in ROWS]


def test_it_carries_its_recipe(tmp_path: Path) -> None:
    table = tmp_path / "leaderboard.csv"
    table.write_text("x\n1\n")
    write_page(tmp_path / "leaderboard.html", leaderboard_html(ROWS, TIMES), {"a": 1}, table)
    assert len(page_digest(tmp_path / "leaderboard.html")) == 16
    table.write_text("x\n2\n")
    with pytest.raises(ValueError, match="damaged"):
        page_digest(tmp_path / "leaderboard.html")


CLICKS = """
var table = document.querySelector("table"), seen = [];
%s.forEach(function (text) {
  var heads = Array.from(table.tHead.rows[0].cells);
  var head = heads.filter(function (h) { return h.textContent === text; })[0];
  head.querySelector("button").click();
  var names = Array.from(table.rows).map(function (row) {
    return row.cells[0].textContent.split(/[ ,]/)[0];
  });
  var sorted = heads.map(function (h) { return h.getAttribute("aria-sort"); }).filter(Boolean);
  seen.push([names.slice(1, 6), sorted]);
});
return [seen, heights(table), %s(document.documentElement)];
"""
HEIGHTS = """
function heights(table) {
  return Array.from(table.rows).map(function (row) { return row.offsetHeight; });
}
"""
SORTS = (
    # By a number from the largest on, and again from the smallest; a row without one comes last.
    ("Worst case", "descending", ["adv_training", "defense_gan", "none", "magnet"]),
    ("Worst case", "ascending", ["magnet", "none", "defense_gan", "adv_training"]),
    ("Purifying: ms", "descending", ["defense_gan", "magnet", "none", "adv_training"]),
    ("Purifying: ms", "ascending", ["magnet", "defense_gan", "none", "adv_training"]),
    # By text from A on.
    ("Defense", "ascending", ["adv_training", "defense_gan", "magnet", "none"]),
)


@in_a_browser
def test_a_click_on_a_heading_sorts_each_run(page: Path, tmp_path: Path) -> None:
    clicks = json.dumps([text for text, *_ in SORTS])
    size = (1280, 900)
    script, picture = HEIGHTS + CLICKS % (clicks, WIDER), tmp_path / "wide.png"
    seen, heights, wider = ended(page, "sorted", script, *shot(picture, *size))
    # The heading of a run stays above its rows, of which none goes to another run.
    expected = [[["digits", *rows], [order]] for _, order, rows in SORTS]
    assert seen == expected
    assert min(heights) > 10 and wider <= 0
    check_picture(picture, *size)


@in_a_browser
def test_it_fits_a_phone(page: Path, tmp_path: Path) -> None:
    """In a frame: no window is as narrow."""
    script = f"""
    var inside = document.querySelector("iframe").contentDocument;
    var cell = inside.querySelector("td[data-label='Worst case']");
    var style = inside.defaultView.getComputedStyle;
    return [{WIDER}(inside.documentElement), style(cell, "::before").content,
      style(cell.querySelector(".more")).display, style(cell).display];
    """
    outer, size, picture = in_a_phone(page), (390, 1600), tmp_path / "narrow.png"
    wider, label, interval, display = ended(outer, "narrow", script, *shot(picture, *size))
    assert wider <= 0
    assert label == '"Worst case"'  # a card for each row
    assert interval != "none" and display == "grid"
    check_picture(picture, *size)
