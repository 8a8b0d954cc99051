"""Tables and pages that say which recipe made them, and notice what was lost or changed.

A table is plain CSV with two more columns at the end, the same in each row: `recipe`, the digest of
the recipe, and `check`, a digest of that and of all other columns of all rows. A page is Markdown
with both in a comment at its end.
"""

import csv
import hashlib
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from purification.provenance import check_recipe, damaged, digest_of, in_a_job, place_of
from purification.storage import EARLIER, atomic, existing, taken_from

MARKS = ("recipe", "check")
"""The last columns."""
_END = "," + ",".join(MARKS)
_COMMENT = "<!-- recipe {} check {} with {} -->"


def write_rows(
    path: str | Path,
    rows: Sequence[Mapping[str, Any]],
    recipe: Mapping[str, Any],
    columns: Iterable[str] | None = None,
) -> None:
    """Writes rows as CSV, as `write_text_table`. `columns`: in their order; those of the first row
    if not given. A key that a row lacks, and None, leave the cell empty; numbers are written with
    all their digits. ValueError without rows and columns, or if a row has another key."""
    if columns is None and not rows:
        raise ValueError(f"{path}: neither rows nor columns")
    text = io.StringIO()
    names = list(rows[0] if columns is None else columns)
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_table(path, text.getvalue(), recipe)


def write_text_table(path: str | Path, text: str, recipe: Mapping[str, Any]) -> None:
    """Writes the text of a CSV, a row a line, with two more columns, the same in each row. Raises
    ValueError if a cell goes over several lines, or if a column has one of their names."""
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
    """The text that was given to `write_text_table`. Outside of a job a CSV without marks, such as
    one of docs/results, is read as it is.

    Raises FileNotFoundError, or ValueError, naming the file: one of its kind without rows, cut
    short or changed; or of another recipe than the job expects.
    """
    if not in_a_job() and Path(path).is_file():
        text = Path(path).read_bytes().decode("utf-8", errors="replace")
        if not text.partition("\n")[0].endswith(_END):
            return text
    digest, lines = _verified_table(path)
    check_recipe(path, digest)
    return "\n".join(lines) + "\n"


def text_table_digest(path: str | Path) -> str:
    """The digest of the recipe that a table carries, whatever the job expects."""
    return _verified_table(path)[0]


def _verified_table(path: str | Path) -> tuple[str, list[str]]:
    """The digest of its recipe, and its lines without the marks."""
    expected = f"a CSV with the columns {' and '.join(MARKS)} at its end"
    path = existing(path, expected)
    try:
        header, *rows = _text_of(path).split("\n")
        if not header.endswith(_END):
            raise ValueError(EARLIER if "," in header else "no such header")
        if len(rows) < 2 or rows.pop() != "":
            raise ValueError("cut short: its last row has no end")
        (digest, check), *others = {tuple(row.rsplit(",", len(MARKS))[1:]) for row in rows}
        lines = [line.rsplit(",", len(MARKS))[0] for line in (header, *rows)]
        if others or check != _text_check(digest, lines):
            raise ValueError("damaged: its check is not that of its rows")
    except (ValueError, OSError) as error:
        raise damaged(path, f"expected {expected}; {error}") from error
    return digest, lines


def write_page(
    path: str | Path, text: str, recipe: Mapping[str, Any], beside: str | Path | None = None
) -> None:
    """Writes Markdown with the digest of its recipe, and of its text, in a comment at its end; that
    of the text is over the content of a file `beside` it, too, which has no marks, such as a table
    in a paper's layout. A job's recipe knows the networks that the page's numbers hang on: those
    that were taken and not trained are named at the end (`purification.networks`); and before them
    the quirks of published code that they hang on."""
    text = _with_quirks(text, getattr(recipe, "quirks", {}))
    text = _with_taken(text, getattr(recipe, "networks", ())).rstrip("\n")
    digest = digest_of(recipe)
    with atomic(path) as temporary:
        check = _text_check(digest, [text, *_content_of(beside)])
        comment = _COMMENT.format(digest, check, Path(beside).name if beside else "nothing")
        temporary.write_text(f"{text}\n\n{comment}\n", encoding="utf-8")


def _with_quirks(text: str, quirks: Mapping[str, str]) -> str:
    """A page with what is said of the quirks of published code that its numbers hang on."""
    lead = (
        "Made with these, which the config turns on. What hangs on one is no measure of a defense"
    )
    said = [(lead, [], "."), *(("", [name], f": {what}.") for name, what in quirks.items())]
    return _ended(text, "Quirks of published code", said) if quirks else text


def _with_taken(text: str, networks: Iterable[str]) -> str:
    """A page with what is said of its networks that were not trained here."""
    by_config: dict[str, list[str]] = {}
    for path in networks:
        if place_of(path).is_file() and (note := taken_from(place_of(path))):
            name = path.removeprefix("results/").removesuffix(".safetensors")
            by_config.setdefault(note["config"], []).append(name)
    lead = "Taken as they come with the project, and not trained in this run"
    said = [(f"{lead} ({config}): ", names, ".") for config, names in sorted(by_config.items())]
    return _ended(text, "Networks", said) if said else text


def _ended(text: str, heading: str, said: Iterable[tuple[str, Sequence[str], str]]) -> str:
    """A page, Markdown or HTML, with a last section. A paragraph of it is what stands before some
    names, these, and what stands behind them."""
    if "</body>" in text:
        lines = "".join(
            f"<p>{html.escape(before + ', '.join(names) + behind)}</p>\n"
            for before, names, behind in said
        )
        start, end, rest = text.rpartition("</body>")
        return f"{start}<footer>\n<h2>{heading}</h2>\n{lines}</footer>\n{end}{rest}"
    listed = [
        before + ", ".join(f"`{name}`" for name in names) + behind for before, names, behind in said
    ]
    return "\n\n".join([text.rstrip("\n"), f"## {heading}", *listed])


def read_page(path: str | Path) -> str:
    """The text that was given to `write_page`, with one line end at its end. Raises
    FileNotFoundError, or ValueError, naming the file: no such page, a changed one, or of another
    recipe than the job expects."""
    digest, text = _verified_page(path)
    check_recipe(path, digest)
    return text + "\n"


def page_digest(path: str | Path) -> str:
    """The digest of the recipe that a page carries, whatever the job expects."""
    return _verified_page(path)[0]


def _verified_page(path: str | Path) -> tuple[str, str]:
    """The digest of its recipe, and its text."""
    expected = "a page of Markdown that ends with its digests"
    path = existing(path, expected)
    try:
        text, _, comment = _text_of(path).rpartition("\n\n")
        found = re.fullmatch(_COMMENT.format("(.*)", "(.*)", "(.*)") + "\n", comment)
        if found is None:
            raise ValueError("no such end")
        digest, check, name = found.groups()
        beside = None if name == "nothing" else path.with_name(name)
        if check != _text_check(digest, [text, *_content_of(beside)]):
            raise ValueError("damaged: its check is not that of its text and what belongs to it")
    except (ValueError, OSError) as error:
        raise damaged(path, f"expected {expected}; {error}") from error
    return digest, text


def _text_of(path: Path) -> str:
    if not (text := path.read_bytes().decode("utf-8")):
        raise ValueError("the file is empty")
    return text


def _content_of(beside: str | Path | None) -> list[str]:
    return [] if beside is None else [hashlib.sha256(Path(beside).read_bytes()).hexdigest()]


def _text_check(digest: str, lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join((digest, *lines)).encode()).hexdigest()[:16]
