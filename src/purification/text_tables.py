"""Tables and pages that say which recipe made them, and notice what was lost or changed.

A table is plain CSV with two more columns at the end, the same in each row: `recipe`, the digest of
the recipe, and `check`, a digest of that and of all other columns of all rows. A page is Markdown
with both in a comment at its end.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from purification.provenance import DamagedFile, check_recipe, digest_of, in_a_job
from purification.storage import EARLIER, atomic

MARKS = ("recipe", "check")
"""The last columns."""
_END = "," + ",".join(MARKS)
_COMMENT = "<!-- recipe {} check {} -->"


def write_rows(
    path: str | Path,
    rows: Sequence[Mapping[str, Any]],
    recipe: Mapping[str, Any],
    columns: Iterable[str] | None = None,
) -> None:
    """Writes rows as CSV that says what it is and whether it is whole: see `write_text_table`.

    `columns`: in their order; those of the first row if not given. A key that a row lacks, and
    None, leave the cell empty; numbers are written with all their digits. Raises ValueError without
    rows and columns, or if a row has another key.
    """
    if columns is None and not rows:
        raise ValueError(f"{path}: neither rows nor columns")
    text = io.StringIO()
    names = list(rows[0] if columns is None else columns)
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_table(path, text.getvalue(), recipe)


def write_text_table(path: str | Path, text: str, recipe: Mapping[str, Any]) -> None:
    """Writes the text of a CSV, a row a line, with two more columns, the same in each row.

    Raises ValueError if a cell goes over several lines, or if a column has one of their names.
    """
    lines = text.removesuffix("\n").split("\n")
    header, *rows = csv.reader(lines)
    if len(rows) != len(lines) - 1 or any(len(row) != len(header) for row in rows):
        raise ValueError(f"{path}: expected rows of one line with {len(header)} cells each")
    if taken := set(MARKS) & set(header):
        raise ValueError(f"{path}: {', '.join(sorted(taken))} cannot be the name of a column")
    digest = digest_of(recipe)
    marks = [MARKS, *[(digest, _text_check(digest, lines))] * len(rows)]
    with atomic(path) as temporary:
        marked = (",".join((line, *mark)) for line, mark in zip(lines, marks, strict=True))
        temporary.write_text("\n".join(marked) + "\n", encoding="utf-8")


def read_text_table(path: str | Path) -> str:
    """The text that was given to `write_text_table`.

    Outside of a job a CSV without marks, such as one of docs/results, is read as it is.

    Raises FileNotFoundError, or ValueError, naming the file: one of its kind without rows, cut
    short or changed; or of another recipe than the job expects.
    """
    expected = f"a CSV with the columns {' and '.join(MARKS)} at its end"
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {expected}")
    try:
        header, *rows = Path(path).read_bytes().decode("utf-8").split("\n")
        if not header.endswith(_END):
            if not in_a_job():
                return "\n".join((header, *rows))
            raise ValueError(EARLIER if "," in header else "no such header")
        if len(rows) < 2 or rows.pop() != "":
            raise ValueError("cut short: its last row has no end")
        (digest, check), *others = {tuple(row.rsplit(",", len(MARKS))[1:]) for row in rows}
        lines = [line.rsplit(",", len(MARKS))[0] for line in (header, *rows)]
        if others or check != _text_check(digest, lines):
            raise ValueError("damaged: its check is not that of its rows")
    except ValueError as error:
        raise DamagedFile(f"{path}: expected {expected}; {error}") from error
    check_recipe(path, digest)
    return "\n".join(lines) + "\n"


def write_page(path: str | Path, text: str, recipe: Mapping[str, Any]) -> None:
    """Writes Markdown with the digest of its recipe, and of its text, in a comment at its end."""
    digest, text = digest_of(recipe), text.rstrip("\n")
    with atomic(path) as temporary:
        check = _text_check(digest, [text])
        temporary.write_text(f"{text}\n\n{_COMMENT.format(digest, check)}\n", encoding="utf-8")


def read_page(path: str | Path) -> str:
    """The text that was given to `write_page`, with one line end at its end.

    Raises FileNotFoundError, or ValueError, naming the file: no such page, or a changed one, or of
    another recipe than the job expects.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a page of Markdown")
    try:
        text, _, comment = Path(path).read_bytes().decode("utf-8").rpartition("\n\n")
    except UnicodeDecodeError as error:
        raise DamagedFile(f"{path}: expected a page of Markdown; {error}") from error
    digest = page_digest(path)
    if comment != _COMMENT.format(digest, _text_check(digest, [text])) + "\n":
        raise DamagedFile(f"{path}: damaged: its check is not that of its text")
    check_recipe(path, digest)
    return text + "\n"


def page_digest(path: str | Path) -> str:
    """The digest of the recipe that a page carries; nothing else is checked. Raises DamagedFile."""
    *_, last = Path(path).read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    words = last.split(" ")
    if len(words) != len(_COMMENT.split(" ")) or words[0] != "<!--":
        raise DamagedFile(f"{path}: expected a page of Markdown that ends with its digests")
    return words[2]


def text_table_digest(path: str | Path) -> str:
    """The digest of the recipe that a table carries; nothing else is checked. Raises
    DamagedFile."""
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        header, first = file.readline().rstrip("\n"), file.readline().rstrip("\n")
    cells = first.split(",")
    if not header.endswith(_END) or len(cells) < len(MARKS):
        raise DamagedFile(f"{path}: expected a CSV with the columns {' and '.join(MARKS)}")
    return cells[-len(MARKS)]


def _text_check(digest: str, lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join((digest, *lines)).encode()).hexdigest()[:16]
