"""Results as HTML, for the report: the Markdown that the workflow writes, and CSV tables."""

import csv
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from purification.text_tables import read_page, read_text_table


def result_html(path: str | Path) -> str:
    """A page or a table of results.

    Args:
        path: a page as `write_page` writes it, or a CSV, with or without marks.

    Raises FileNotFoundError, or ValueError, naming the file: as `read_page`, `read_text_table`; a
    file of another kind.
    """
    if Path(path).suffix == ".csv":
        header, *rows = csv.reader(read_text_table(path).splitlines())
        return _table(header, rows)
    if Path(path).suffix == ".md":
        return markdown_html(read_page(path))
    raise ValueError(f"{path}: neither a page of Markdown nor a CSV")


def markdown_html(text: str) -> str:
    """Of Markdown what tables' pages have: headings, paragraphs, lists, tables, bold and code; no
    other HTML than line breaks."""
    return "\n".join(map(_block, re.split(r"\n{2,}", text.strip())))


def _block(block: str) -> str:
    lines = block.split("\n")
    if heading := re.fullmatch(r"(#+) (.*)", block):
        level = len(heading[1])
        return f"<h{level}>{_inline(heading[2])}</h{level}>"
    if lines[0].startswith("| "):
        header, _, *rows = (line[2:-2].split(" | ") for line in lines)
        return _table(header, rows)
    if lines[0].startswith("- "):
        items = re.split(r"^- ", block, flags=re.MULTILINE)[1:]
        return f"<ul>{''.join(f'<li>{_inline(item.strip())}</li>' for item in items)}</ul>"
    return f"<p>{_inline(block)}</p>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{_inline(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<table><thead>{row(header, 'th')}</thead><tbody>{body}</tbody></table>"


def _inline(text: str) -> str:
    text = html.escape(text, quote=False).replace("&lt;br&gt;", "<br>")
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
