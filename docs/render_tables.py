"""Tables for reading, written anew from the numbers beside them, in the form of today's runs.

    python docs/render_tables.py docs/results

For each `table.md` of an older form, below that folder, that has a `table.long.csv`. Its title and
its paragraphs on the settings stay. Older runs compared no columns image by image, so that this
section is missing.
"""

import sys
from pathlib import Path

from purification.experiments.papers import STUDIES, SWEPT_FORMS
from purification.reporting.long_tables import read_long_table
from purification.reporting.markdown_tables import markdown_table
from purification.reporting.wide_tables import wide_table

OLD = "<br>"
"""Cells of several lines are of the older form."""
SWEPT = {study.title for study in STUDIES.values() if study.form in (*SWEPT_FORMS, "searches")}
"""Titles of tables with a row for each L and R."""


def render(page: Path, numbers: Path) -> str:
    """The page in today's form."""
    head, _, _ = page.read_text(encoding="utf-8").partition("\n## ")
    title, *notes = (part.strip() for part in head.split("\n\n"))
    title = title.removeprefix("# ")
    long, swept = read_long_table(numbers), title in SWEPT
    wide = wide_table(long, swept=swept)
    return markdown_table(long, wide, title=title, notes=notes, swept=swept)


def main(folder: str) -> None:
    """The command line."""
    for page in sorted(Path(folder).rglob("table*.md")):
        numbers = page.with_suffix(".long.csv")
        if numbers.exists() and OLD in page.read_text(encoding="utf-8"):
            page.write_text(render(page, numbers), encoding="utf-8")
            print(page)


if __name__ == "__main__":
    main(sys.argv[1])
