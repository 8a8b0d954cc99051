"""Pages in a real browser without a screen. Where there is no Chromium the tests that ask for one
are skipped, and say so; .ci/run installs it."""

import json
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
in_a_browser = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser: none of {', '.join(BROWSERS)} is installed"
)
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--no-first-run", "--hide-scrollbars", "--virtual-time-budget=2000"),
)


class Page(HTMLParser):
    """What stands in the cells of the tables of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.title, self._in_title = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title"
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False

    @property
    def defenses(self) -> list[str]:
        """The first word of each row."""
        return [row[0].split()[0] for row in self.rows[1:]]


def browse(page: Path, *options: str) -> str:
    """What the browser writes of a page that it has run."""
    assert BROWSER is not None
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [BROWSER, *OPTIONS, profile, *options, page.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return ended.stdout


def ended(page: Path, name: str, script: str, *options: str) -> Any:
    """What a script at the end of a page returns, in a browser, and how often something failed."""
    run = (
        "<script>var failed = 0; onerror = function () { failed += 1; };"
        f"addEventListener('load', function () {{ var found = (function () {{ {script} }})();"
        "document.title = JSON.stringify({found: found, failed: failed}); });</script></body>"
    )
    copy = page.with_name(f"{name}.html")
    copy.write_text(page.read_text().replace("</body>", run), encoding="utf-8")
    said = json.loads(Page(browse(copy, *options)).title)
    assert said["failed"] == 0
    return said["found"]


def shot(picture: Path, width: int, height: int) -> tuple[str, ...]:
    """What makes a picture of a window, and prints the page as it is when that is done."""
    return (f"--window-size={width},{height}", f"--screenshot={picture}", "--dump-dom")


def check_picture(picture: Path, width: int, height: int) -> None:
    """It has that size, and is not of one colour."""
    from PIL import Image

    with Image.open(picture) as image:
        assert image.size == (width, height)
        # A page with text: most of it is paper, and much is ink.
        shades = image.convert("L").histogram()
    assert sum(shade > width for shade in shades) > 2 and max(shades) < 0.995 * width * height


def in_a_phone(page: Path, height: int = 1600) -> Path:
    """A page in a frame of a phone's width: no window is as narrow."""
    outer = page.with_name("phone.html")
    inside = escape(page.read_text(encoding="utf-8"))
    frame = f'<iframe style="border:0" width="390" height="{height}" srcdoc="{inside}"></iframe>'
    text = f'<title></title><body style="margin:0">{frame}</body>'
    outer.write_text(text, encoding="utf-8")
    return outer


WIDER = """(function (page) {
  var boxes = [page].concat(Array.from(page.querySelectorAll(".scroll")));
  var beyond = boxes.map(function (box) { return box.scrollWidth - box.clientWidth; });
  return Math.max.apply(null, beyond);
})"""
"""By how many pixels a page, or a table in it, is wider than its window."""
