"""Pages of HTML: one file each, which asks for nothing else, with tables that sort themselves.

The frame, the style and the script are `web.html`, `web.css` and `web.js`; `web_cards.css` turns
the rows of a table into cards where a window is too narrow for it. Text that is given to these
functions is escaped, unless it is said to be HTML.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

_FILES = Path(__file__).parent
CARDS_BELOW = {"few": "48rem", "many": "76rem"}
"""The width of the window below which a table of few or many columns becomes cards."""
MANY = 7
"""Columns of a table that has many."""


@dataclass(frozen=True)
class Column:
    """A column: its heading, whether it is of numbers, what is said of it when the pointer is above
    the heading, and the classes of its cells, which the style knows: `strong`; `long`, a text that
    needs room; `label`, which a card has in its head. `under`: what stands below the heading, where
    there is one."""

    heading: str
    number: bool = True
    about: str = ""
    classes: str = ""
    under: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell: its number for sorting (None: it has none), what it shows, and what it shows beside
    when it is pointed at: `more`, in print and on a phone always, and `detail`, which stands
    elsewhere, too. `bar`: HTML in front."""

    value: Any
    text: Any
    more: str = ""
    detail: str = ""
    bar: str = ""


@dataclass(frozen=True)
class Row:
    """A row: its first cell, `head`, as HTML, and the other cells, one for each further column.
    What is of the class `also` in the head is shown in a card alone."""

    head: str
    cells: Sequence[Cell]
    classes: str = ""


@dataclass(frozen=True)
class Body:
    """Rows that are sorted among themselves, below a heading, or none."""

    rows: Sequence[Row]
    heading: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture that is shown: the bytes of a PNG, its width and height there in pixels, the width
    that it is shown in (CSS pixels), a text in its place, and what stands below, as HTML."""

    png: bytes = field(repr=False)
    size: tuple[int, int]
    width: int
    alternative: str
    caption: str


def page(title: str, body: str) -> str:
    """A whole page with that title; `body` is HTML."""
    cards = _read("web_cards.css")
    folded = "\n".join(
        Template(cards).substitute(kind=kind, limit=limit) for kind, limit in CARDS_BELOW.items()
    )
    return Template(_read("web.html")).substitute(
        title=escape(title),
        style=_read("web.css").replace("/* cards */", folded).rstrip(),
        body=body,
        script=_read("web.js").rstrip(),
    )


def table(columns: Sequence[Column], bodies: Iterable[Body]) -> str:
    """A table that sorts itself by a click on a heading. Without scripts it is a plain one."""
    kind = "many" if len(columns) >= MANY else "few"
    headings = "\n".join(map(_heading, columns))
    rows = "\n".join(_body(columns, body) for body in bodies)
    return (
        f'<div class="scroll"><table class="sortable {kind}">\n<thead><tr>\n{headings}\n'
        f"</tr></thead>\n{rows}\n</table></div>"
    )


def _heading(column: Column) -> str:
    kind = "number" if column.number else "text"
    about = f' title="{escape(column.about)}"' if column.about else ""
    under = f"<small>{escape(column.under)}</small>" if column.under else ""
    return f'<th scope="col" data-kind="{kind}"{about}>{broken(column.heading)}{under}</th>'


def _body(columns: Sequence[Column], body: Body) -> str:
    lines = []
    if body.heading:
        span = f'colspan="{len(columns)}" scope="rowgroup"'
        lines = [f'<tr class="run"><th {span}>{escape(body.heading)}</th></tr>']
    for row in body.rows:
        own = f' class="{row.classes}"' if row.classes else ""
        cells = (_cell(*pair) for pair in zip(columns[1:], row.cells, strict=True))
        head = f'<th scope="row">{row.head}</th>'
        lines.append(f"<tr{own}>\n" + "\n".join([head, *cells]) + "\n</tr>")
    return "<tbody>\n" + "\n".join(lines) + "\n</tbody>"


def _cell(column: Column, cell: Cell) -> str:
    number = "" if missing(cell.value) else f' data-value="{cell.value:.9g}"'
    classes = " ".join(filter(None, ["" if column.number else "text", column.classes]))
    own = f' class="{classes}"' if classes else ""
    further = f'<span class="more">{escape(cell.more)}</span>' if cell.more else ""
    further += f'<span class="detail">{escape(cell.detail)}</span>' if cell.detail else ""
    further = f' <span class="beside">{further}</span>' if further else ""
    focus = ' tabindex="0"' if further else ""
    return (
        f'<td data-label="{escape(column.heading)}"{own}{number}{focus}>'
        f"{cell.bar}<span>{broken(cell.text)}</span>{further}</td>"
    )


def broken(text: Any) -> str:
    """Text as HTML in which a long name of the config may be broken at its parts."""
    return escape(str(text)).replace("_", "_<wbr>")


def missing(value: Any) -> bool:
    """Whether a cell has no value."""
    return value is None or bool(pd.isna(value))


def listed(lines: Iterable[str]) -> str:
    """A list; what stands between backticks as code."""
    items = "\n".join(f"<li>{coded(line)}</li>" for line in lines)
    return f"<ul>\n{items}\n</ul>"


def coded(text: str) -> str:
    """Text as HTML, with what stands between backticks as code."""
    parts = escape(text).split("`")
    if len(parts) % 2 == 0:  # one that has no other
        return escape(text)
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def defined(meanings: Mapping[str, str], brief: bool = False) -> str:
    """Terms, and what each means; beside one another where that is `brief`."""
    terms = "\n".join(f"<dt>{escape(k)}</dt><dd>{coded(v)}</dd>" for k, v in meanings.items())
    own = ' class="brief"' if brief else ""
    return f"<dl{own}>\n{terms}\n</dl>"


def folded(summary: str, content: str) -> str:
    """HTML that is shown when its summary is clicked; in print always."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def figure(picture: Picture) -> str:
    """A picture in the page itself, with its caption."""
    import base64

    data = base64.b64encode(picture.png).decode()
    width, height = picture.size
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(picture.alternative)}" '
        f'width="{width}" height="{height}" style="width:{picture.width}px">'
        f"<figcaption>{picture.caption}</figcaption></figure>"
    )


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")
