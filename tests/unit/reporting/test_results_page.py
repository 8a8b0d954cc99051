"""The page of a run, from made-up results, as text and in a real browser without a screen."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import WIDER, check_picture, ended, in_a_browser, in_a_phone, shot
from made_up_measurements import ADVERSARIAL, FGSM, REC, measurement
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from purification.evaluation.leaderboard import TIME_COLUMNS
from purification.experiments import paper_name
from purification.reporting.leaderboard import COLUMNS
from purification.reporting.long_tables import long_table, write_csv
from purification.reporting.results_page import run_page, smaller
from purification.reporting.wide_tables import wide_table
from purification.text_tables import write_page, write_rows

RECIPE = {"kind": "made up"}
BEHIND = FGSM | {"dataset": "digits", "n": 100}
EDITS = {"attacks.fgsm.epsilon": [0.3, 0.1], "defenses.magnet": [{"epochs": 2}, None]}
LEFT_OUT = [["results/table1.csv", "attack.settings.epsilon: 0.1 in the file, 0.2 asked"]]
END = (
    "start-up and imports: 0.1 s\nend of the job: {} s, {} s of CPU time, at most {} MB of memory\n"
)


def told(section: str, kind: str, title: str, *paths: str, **more: Any) -> dict[str, Any]:
    """What a job is told of a result."""
    said = {"section": section, "kind": kind, "group": "Defense-GAN", "title": title}
    named = {"paths": [f"results/{path}" for path in paths], "digest": "0123456789abcdef"}
    return said | named | {"swept": False, "notes": ["Seeds: 0."]} | more


PAIRED = """\
## Paired comparisons

How. Bold: below 0.05.

### digits

| threat model | first | second | fgsm 0.3, n = 100 |
| --- | --- | --- | --- |
| white box | MagNet | no defense | **-0.12** (4 : 16), p 0.012 |
"""
SHOWN = [
    told("Leaderboard", "leaderboard", "left", "leaderboard.csv", "leaderboard.md"),
    told(
        "Tables", "accuracies", "Table 4: white box", "table4.csv", "table4.long.csv", "table4.md"
    ),
    told("Tables", "numbers", "detection", "detection.csv"),
    told("Figures", "picture", "Figure 3: <ramps>", "figures/figure3.png", "figures/figure3.pdf"),
    told("Pictures", "picture", "digits: samples", "digits/small.png"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made_up_results(folder / "results")
        logs = ["train/a.log", "train/b.log", "measure/c.log", "measure/gone.log"]
        for log, numbers in zip(logs, ((10, 9.5, 300), (5, 4.5, 500), (1, 0.5, 100)), strict=False):
            path = folder / "logs" / log
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(END.format(*numbers))
        content = {"shown": SHOWN, "left_out": LEFT_OUT, "edits": EDITS, "logs": logs}
        text = run_page(content | {"pages": []}, "results", paper_name, folder)
        write_page(folder / "results/index.html", text, RECIPE)
        yield folder / "results/index.html"


def made_up_results(results: Path) -> None:
    for place in ("figures", "digits", "files"):
        (results / place).mkdir(parents=True)
    rows = [
        measurement(99, dataset="digits", n=100),
        *(
            measurement(right, **BEHIND | own)
            for right, own in (
                (45, {}),
                (58, REC),
                (44, {"defense": "magnet", "success_rate": 0.01}),
                (76, ADVERSARIAL | {"variant": "eps=0.1"}),
                (30, {"classifier": "B"}),
                (70, REC | {"classifier": "B"}),
            )
        ),
    ]
    write_rows(results / "files/0.csv", rows, RECIPE, dict.fromkeys(k for r in rows for k in r))
    long = long_table([results / "files/0.csv"], None)
    write_csv(long, results / "table4.long.csv", RECIPE)
    write_csv(wide_table(long), results / "table4.csv")
    write_page(results / "table4.md", f"# Table 4\n\n{PAIRED}", RECIPE, results / "table4.csv")
    detected = {
        "dataset": "digits",
        "seed": 0,
        "n": 350,
        "auc": 0.70184,
        "auc_low": 0.68,
        "auc_high": 0.72,
    }
    write_rows(results / "detection.csv", [detected, detected | {"auc": 0.9}], RECIPE)
    board = [made(d, a) for d, a in (("defense_gan", 0.44), ("none", 0.23), ("magnet", 0.03))]
    pd.DataFrame(board, columns=list(COLUMNS)).to_csv(results / "leaderboard.csv", index=False)
    times = [{**dict.fromkeys(TIME_COLUMNS), "attack_seconds": 1.5} for _ in board]
    table = pd.DataFrame(times, columns=list(TIME_COLUMNS))
    table.to_csv(results / "leaderboard.times.csv", index=False)
    write_page(results / "leaderboard.md", "# L", RECIPE, results / "leaderboard.csv")
    ramp = np.tile(np.arange(2100, dtype=np.uint16) % 256, (600, 1)).astype(np.uint8)
    mark = PngInfo()
    mark.add_text("recipe", "0123456789abcdef")
    Image.fromarray(ramp).save(results / "figures/figure3.png", pnginfo=mark)
    Image.fromarray(ramp[:90, :90]).save(results / "digits/small.png", pnginfo=mark)


def made(defense: str, accuracy: float) -> dict[str, Any]:
    row = dict.fromkeys(COLUMNS) | {"dataset": "digits", "seed": 0, "classifier": "A"}
    row |= {"defense": defense, "norm": "linf", "epsilon": 0.1, "n": 100, "accuracy": accuracy}
    row |= {"clean_accuracy": 0.98, "ci_low": 0.0, "ci_high": accuracy + 0.1, "attackers": 9}
    row |= {"stages": "pgd 0.1", "passes_per_image": 250.0, "purification_passes": 52.0}
    flags = "not_converged" if defense == "magnet" else ""
    return row | {"no_claim": "no paper prints it", "flags": flags}


def test_it_shows_all_results_with_n_and_intervals(page: Path) -> None:
    text = page.read_text()
    cell = re.search(r'<td data-label="Defense-GAN-Rec, white box"[^>]*>.*?</td>', text)
    assert cell is not None
    assert 'data-value="0.58"' in cell[0] and "<span>0.58</span>" in cell[0]
    assert "[.48, .67], n = 100" in cell[0]
    pair = re.search(r'<td data-label="fgsm 0.3, n = 100".*?</td>', text)
    assert pair is not None and 'data-value="-0.12"' in pair[0]
    assert "<span>-0.12* (4 : 16), p 0.012</span>" in pair[0]
    auc = re.search(r'<td data-label="auc".*?</td>', text)
    assert auc is not None and "0.7018" in auc[0] and "[0.68, 0.72], n = 350" in auc[0]
    assert '<p class="small">seed 0.</p>' in text
    for part in ("MagNet, white box", "FGSM training", "Figure 3: &lt;ramps&gt;", "Seeds: 0."):
        assert part in text, part
    assert [*re.findall(r'<section id="(.*?)">', text)] == [
        *("leaderboard", "tables", "figures", "pictures", "flags"),
        *("how-to-read-this", "provenance", "cost"),
    ]


def test_it_says_what_it_does_not_show_and_what_speaks_against_a_number(page: Path) -> None:
    text = page.read_text()
    assert "<code>results/table1.csv</code>: attack.settings.epsilon: 0.1 in the file" in text
    flags = text[text.index('<section id="flags">') :].replace("<wbr>", "")
    text_cell = r"\n<td[^>]*><span>(.*?)</span></td>"
    flagged = re.findall(r'scope="row">([^<]*)</th>' + 2 * text_cell, flags)
    assert (
        "Defense-GAN: Table 4: white box",
        "digits, fgsm, 0.3, A, MagNet, white box",
        "low_success",
    ) in flagged
    assert ("Leaderboard", "digits, A, MagNet", "not_converged") in flagged


def test_it_says_what_it_was_made_from_and_what_that_cost(page: Path) -> None:
    text = page.read_text()
    for part in ("attacks.fgsm.epsilon", "0123456789abcdef", "<dt>commit</dt>", "<dt>torch</dt>"):
        assert part.replace("_", "_<wbr>") in text, part
    assert "3 jobs that made what stands here" in text and "16 s one after the other" in text
    assert "1 further job left no log here" in text
    row = re.search(r'<th scope="row">train</th>.*?</tr>', text, re.DOTALL)
    assert row is not None
    assert re.findall(r"<span>(.*?)</span>", row[0]) == ["2", "15.0", "14.0", "500"]


def test_it_asks_for_nothing_else(page: Path) -> None:
    text = page.read_text()
    assert "<link" not in text and "://" not in text and "@import" not in text
    sources = re.findall(r'src="(.{22})', text)
    assert len(sources) == 2 and set(sources) == {"data:image/png;base64,"}
    assert "default-src 'none'; img-src data:" in text


def test_pictures_are_as_large_as_the_page_needs(page: Path) -> None:
    figure, small = (page.parent / p for p in ("figures/figure3.png", "digits/small.png"))
    png, size, width = smaller(figure.read_bytes())
    assert size == (1400, 400) and width == 840 and len(png) <= figure.stat().st_size
    assert smaller(small.read_bytes()) == (small.read_bytes(), (90, 90), 90)


def test_a_run_without_results_says_how_to_make_one(tmp_path: Path) -> None:
    content = {"shown": [], "left_out": [], "edits": {}, "logs": [], "pages": []}
    text = run_page(content, "runs/eps8", paper_name, tmp_path)
    assert "snakemake --cores all runs/eps8/table4.csv" in text
    assert "The default config, unchanged" in text and '<section id="tables"' not in text


CLICK = """
var tables = Array.from(document.querySelectorAll("table.sortable"));
var table = tables.filter(function (t) { return t.textContent.indexOf("fgsm") >= 0; })[0];
var heads = Array.from(table.tHead.rows[0].cells);
var names = heads.map(function (h) { return h.textContent; });
var named = /^Defense-GAN-Rec, white box.*n = 100/;
var column = names.findIndex(function (name) { return named.test(name); });
function shown() {
  return Array.from(table.tBodies[0].rows).map(function (row) {
    return row.cells[column].querySelector("span").textContent;
  });
}
var before = shown();
heads[column].querySelector("button").click();
var cell = table.tBodies[0].rows[0].cells[column];
cell.focus({preventScroll: true});
var tip = document.getElementById("tip");
return [before, shown(), heads[column].getAttribute("aria-sort"), tip.textContent,
  getComputedStyle(tip).display, %s(document.documentElement)];
"""


@in_a_browser
def test_a_click_sorts_and_focus_tells_interval_and_n(page: Path, tmp_path: Path) -> None:
    size, picture = (1280, 900), tmp_path / "wide.png"
    before, after, order, tip, display, wider = ended(
        page, "clicked", CLICK % WIDER, *shot(picture, *size)
    )
    assert (before, after, order) == (["0.58", "0.70"], ["0.70", "0.58"], "descending")
    assert "[.60, .78], n = 100" in tip and display == "block"
    assert wider <= 0
    check_picture(picture, *size)


@in_a_browser
def test_it_fits_a_phone(page: Path, tmp_path: Path) -> None:
    script = f"""
    var inside = document.querySelector("iframe").contentDocument;
    var cell = inside.querySelector("td[data-label='Defense-GAN-Rec, white box']");
    var interval = cell.querySelector(".more").getBoundingClientRect();
    var style = inside.defaultView.getComputedStyle;
    return [{WIDER}(inside.documentElement), interval.width, style(cell).display];
    """
    outer, size, picture = in_a_phone(page), (390, 1600), tmp_path / "narrow.png"
    wider, interval, display = ended(outer, "narrow", script, *shot(picture, *size))
    assert wider <= 0 and interval > 20 and display == "grid"
    check_picture(picture, *size)


@in_a_browser
def test_it_prints(page: Path, tmp_path: Path) -> None:
    """All rows, folded ones too; a PDF of several pages."""
    from browser import browse

    printed = tmp_path / "page.pdf"
    browse(page, f"--print-to-pdf={printed}", "--no-pdf-header-footer")
    assert printed.read_bytes().startswith(b"%PDF") and printed.stat().st_size > 20_000
