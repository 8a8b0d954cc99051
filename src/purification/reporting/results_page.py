"""The page of a run, `index.html`: all results that lie there, in one file for any browser.

Its job is told (`experiments.results_page`) what is `shown`, what is `left_out` and why, the
`edits` of the config, and the `logs` of the jobs that made it. Every file that is shown is compared
with the recipe that the config asks for before it is read.
"""

import html
import io
import json
import math
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from purification.evaluation.flags import FLAGS, MEANINGS
from purification.evaluation.leaderboard import BOXES, NAMED
from purification.evaluation.protocols import EVALUATIONS, FIXED, ONE_SHOT
from purification.provenance import check_recipe, place_of
from purification.reporting import web
from purification.reporting.digits import interval_text, share_text
from purification.reporting.headline import Named
from purification.reporting.leaderboard import (
    CALLED,
    called,
    leaderboard_meanings,
    leaderboard_section,
)
from purification.reporting.long_tables import read_long_table
from purification.reporting.markdown_tables import MARK, TablePart, table_parts
from purification.reporting.paired import paired_grids
from purification.reporting.threat_models import MEANING
from purification.reporting.wide_tables import wide_table
from purification.storage import picture_digest
from purification.text_tables import read_page, read_text_table

Flagged = tuple[str, str, str]
"""A number that is warned of: in which result, where there, and its flags."""
TITLE = "Results"
PICTURE_PIXELS = 1400
"""Pictures are made no wider than that for the page."""
PICTURE_WIDTH = 840
"""CSS pixels that a picture of 7 inches is shown in."""
_DPI = 300
_LONG = 40  # rows of a table that are folded
_LIBRARIES = ("purification", "torch", "numpy", "h5py", "pandas", "scikit-learn", "Snakemake")
_THREATS = {
    **{"white_box": "white box", "gray_box": "gray box", "white_box_bpda": "BPDA"},
    **{"white_box_fixed": "white box, known draw", "white_box_bpda_fixed": "BPDA, known draw"},
    **{"none": "clean", "black_box": "black box"},
}
_END = re.compile(
    r"^end of the job: ([\d.]+) s, ([\d.]+) s of CPU time, at most (\d+) MB", re.MULTILINE
)


def run_page(content: Mapping[str, Any], results: str, named: Named, libraries: Path) -> str:
    """The page as HTML.

    Args:
        content: what the job is told.
        results: the folder of the results.
        named: what a defence is called.
        libraries: a folder of this project's source, of which git knows the commit.

    Raises ForeignFile or DamagedFile for a result that is not what the config asks for.
    """
    shown = content["shown"]
    for one in shown:
        _check(one)
    flags: list[Flagged] = []
    sections = {
        "Leaderboard": _leaderboard(shown, named, flags),
        "Tables": _tables(shown, named, flags),
        "Figures": _pictures(shown, "Figures"),
        "Pictures": _pictures(shown, "Pictures"),
        "Flags": _flags(shown, flags),
        "How to read this": _reading(),
        "Provenance": _provenance(content, results, libraries),
        "Cost": _cost(content["logs"], results),
    }
    sections = {name: text for name, text in sections.items() if text}
    parts = [f"<header>\n<h1>{TITLE}</h1>", _lead(content, results), _links(sections), "</header>"]
    parts += [_left_out(content["left_out"], results)]
    for name, text in sections.items():
        parts.append(f'<section id="{_anchor(name)}">\n<h2>{name}</h2>\n{text}\n</section>')
    return web.page(TITLE, "\n".join(filter(None, parts)))


def _check(one: Mapping[str, Any]) -> None:
    """Compare what its files carry with what is asked for. Raises as `run_page`."""
    for path in one["paths"]:
        if path.endswith(".png"):
            check_recipe(path, picture_digest(place_of(path)))
        elif path.endswith((".md", ".html")):
            # That of a table, too, which stands beside it: it has no marks of its own.
            read_page(place_of(path))


def _lead(content: Mapping[str, Any], results: str) -> str:
    kinds = [one["kind"] for one in content["shown"]]
    tables = sum(kind != "picture" for kind in kinds)
    counts = [_counted(tables, "table"), _counted(len(kinds) - tables, "picture")]
    text = f"Made from what lies in <code>{html.escape(results)}</code>: {' and '.join(counts)}."
    if not kinds:
        first = f"`snakemake --cores all {results}/table4.csv`"
        text += web.coded(f" Nothing to show yet: {first} makes the first table.")
    text += " A click on a heading sorts; on a wide screen a number that is pointed at shows more."
    pages = "; ".join(
        f'<a href="{html.escape(_link(page))}">{html.escape(Path(page).name)}</a>'
        for page in content["pages"]
    )
    text += f" Each paper by itself: {pages}." if pages else ""
    return f'<p class="lead">{text}</p>'


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _links(sections: Iterable[str]) -> str:
    items = "".join(f'<li><a href="#{_anchor(name)}">{name}</a></li>' for name in sections)
    return f'<nav aria-label="Parts of this page"><ul>{items}</ul></nav>'


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _left_out(pairs: Sequence[Sequence[str]], results: str) -> str:
    """What lies there and is not what the config asks for."""
    if not pairs:
        return ""
    items = "".join(
        f"<li><code>{html.escape(_place(path, results))}</code>: {html.escape(why)}</li>"
        for path, why in pairs
    )
    first = f"`snakemake --cores all {_place(pairs[0][0], results)}`"
    again = web.coded(f"Made again, such as by {first}, they stand on the next page.")
    return (
        '<div class="warn" role="note"><b>Not shown, because it is not what this config asks for'
        f"</b><ul>{items}</ul><p>{again}</p></div>"
    )


def _place(path: str, results: str) -> str:
    return f"{results}/{path.removeprefix('results/')}"


def _link(path: str) -> str:
    """From the page, which lies in the results' folder, to a result."""
    return path.removeprefix("results/")


# Tables


def _of(shown: Iterable[Mapping[str, Any]], section: str) -> dict[str, list[Mapping[str, Any]]]:
    """What is shown in a section, by its group."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in shown:
        if one["section"] == section:
            groups.setdefault(one["group"], []).append(one)
    return groups


def _leaderboard(shown: Sequence[Mapping[str, Any]], named: Named, flags: list[Flagged]) -> str:
    found = [one for one in shown if one["kind"] == "leaderboard"]
    if not found:
        return ""
    csv = place_of(next(path for path in found[0]["paths"] if path.endswith("board.csv")))
    rows, times = (
        called(_read_leaderboard(csv), named),
        _read_leaderboard(csv.with_suffix(".times.csv")),
    )
    for row in rows:
        listed = ", ".join(filter(None, (row[FLAGS] or "").split(";")))
        if listed:
            whom = f"{row['dataset']}, {row['classifier']}, {row[CALLED]}"
            flags.append(("Leaderboard", whom, listed))
    meanings = web.folded("What the columns mean", leaderboard_meanings(rows, times))
    return "\n".join([leaderboard_section(rows, times), meanings, _files(found[0])])


_WHOLE = ("seed", "iterations_L", "restarts_R", "evaluations", "draws", "n", "attackers", "threads")


def _read_leaderboard(path: Path) -> list[dict[str, Any]]:
    """Its rows with the types that they had when they were written."""
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    whole = [*_WHOLE, *(f"{box}_n" for box in BOXES)]
    named = [name for name in whole if name in table]
    rows = table.astype(dict.fromkeys(named, "Int64")).astype(object).to_dict("records")
    texts = {name for name in (*NAMED, FLAGS) if name not in whole}
    return [{name: _typed(name, value, texts) for name, value in row.items()} for row in rows]


def _typed(name: str, value: Any, texts: set[str]) -> Any:
    if pd.isna(value):
        return "" if name in texts else None
    return int(value) if isinstance(value, np.integer) else value


def _tables(shown: Sequence[Mapping[str, Any]], named: Named, flags: list[Flagged]) -> str:
    parts = []
    for group, results in _of(shown, "Tables").items():
        for one in results:
            heading = ": ".join(filter(None, [group, one["title"]]))
            parts.append(f"<h3>{html.escape(heading)}</h3>")
            if one["kind"] == "accuracies":
                parts.append(_accuracies(one, named, flags))
            else:
                parts.append(_numbers(one))
            parts.append(_files(one))
    return "\n".join(parts)


def _files(one: Mapping[str, Any]) -> str:
    """Links to a result's files, and when they were made."""
    links = ", ".join(
        f'<a href="{html.escape(_link(path))}">{html.escape(Path(path).name)}</a>'
        for path in one["paths"]
    )
    settings = web.listed(one["notes"])
    notes = web.folded("Settings", settings) if one["notes"] else ""
    return f'<p class="small">{links}. Made {_made(one)}.</p>\n{notes}'


def _made(one: Mapping[str, Any]) -> str:
    return _when(place_of(one["paths"][0]).stat().st_mtime)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %z")


def _accuracies(one: Mapping[str, Any], named: Named, flags: list[Flagged]) -> str:
    path = next(path for path in one["paths"] if path.endswith(".long.csv"))
    long = read_long_table(place_of(path))
    table, parts = wide_table(long, swept=one["swept"]), []
    found, dataset = table_parts(long, table, swept=one["swept"]), None
    for part in found:
        if part.dataset != dataset:
            dataset = part.dataset
            parts.append(f"<h4>{html.escape(dataset)}</h4>")
        parts.append(_part(part, named))
        headings = _headings(part, named)
        for left, cells in part.rows:
            for cell, heading in zip(cells, headings, strict=True):
                if cell and cell.flags:
                    where = ", ".join(filter(None, [part.dataset, *left, heading]))
                    flags.append(
                        (f"{one['group']}: {one['title']}", where, cell.flags.replace(";", ", "))
                    )
    return "\n".join([*parts, _paired(one)])


def _paired(one: Mapping[str, Any]) -> str:
    """The columns compared image by image, as the table's page has them."""
    path = next(path for path in one["paths"] if path.endswith(".md"))
    how, grids = paired_grids(read_page(place_of(path)))
    if not grids:
        return ""
    parts = [f"<p>{html.escape(how.replace('Bold:', 'With an asterisk:').replace('`', ''))}</p>"]
    for dataset, header, lines in grids:
        columns = [web.Column(k, number=i > 2) for i, k in enumerate(header)]
        rows = [
            web.Row(
                html.escape(line[0]),
                [*(web.Cell(None, text) for text in line[1:3]), *map(_difference, line[3:])],
            )
            for line in lines
        ]
        parts += [f"<h4>{html.escape(dataset)}</h4>", web.table(columns, [web.Body(rows)])]
    return web.folded("Columns compared image by image", "\n".join(parts))


def _difference(text: str) -> web.Cell:
    """A difference, the images that it rests on, and its p-value."""
    if not text:
        return web.Cell(None, "")
    difference, _, further = text.partition(" ")
    value = difference.strip("*")
    return web.Cell(float(value), f"{value}{'*' * ('**' in difference)} {further}")


def _part(part: TablePart, named: Named) -> str:
    """A part of a table of accuracies."""
    names = [{"epsilon": "ε"}.get(name, name) for name in part.labels]
    labels = [web.Column(name, number=name in ("ε", "L", "R"), classes="label") for name in names]
    headings = _headings(part, named)
    about = [f"Column {name} of the CSV" for name in part.columns]
    counts = [
        Counter(cell.n for cell in own if cell is not None and cell.seeds)
        for own in zip(*(cells for _, cells in part.rows), strict=True)
    ]
    most = [max(own, key=lambda n: (own[n], n), default=None) for own in counts]
    seeds = max(
        (cell.seeds for _, cells in part.rows for cell in cells if cell is not None), default=1
    )
    under = [_under(own, n, seeds) for own, n in zip(counts, most, strict=True)]
    told = zip(headings, about, under, strict=True)
    columns = [*labels, *(web.Column(h, about=a, under=u) for h, a, u in told)]
    rows = [
        web.Row(
            _head(names, left),
            [*(_label(text) for text in left[1:]), *map(_accuracy, cells, most)],
        )
        for left, cells in part.rows
    ]
    return f'<p class="small">{html.escape(part.heading)}</p>\n' + web.table(
        columns, [web.Body(rows)]
    )


def _under(counts: Counter[int], most: int | None, seeds: int) -> str:
    """On how many images a column's numbers are, of all seeds together."""
    further = f" of {seeds} seeds" if seeds > 1 else ""
    further += ", or in brackets" if len(counts) > 1 else ""
    return "" if most is None else f"n = {most}{further}"


def _head(names: Sequence[str], texts: Sequence[str]) -> str:
    """The first of a row's labels; on a card the others stand with it."""
    further = [f"{k} {v}" for k, v in zip(names[1:], texts[1:], strict=True) if v]
    also = f' <span class="also">{html.escape(", ".join(further))}</span>' if further else ""
    return web.broken(texts[0]) + also


def _label(text: str) -> web.Cell:
    try:
        return web.Cell(float(text), text)
    except ValueError:
        return web.Cell(None, text)


def _headings(part: TablePart, named: Named) -> list[str]:
    """What the columns are called: as the papers call the defence, and by whom it is attacked."""
    texts = []
    for i, name in enumerate(part.columns):
        cell = next(cells[i] for _, cells in part.rows if cells[i])
        threat = _THREATS.get(cell.threat_model, cell.threat_model.replace("_", " "))
        if cell.defense == "none":
            texts.append("no attack" if cell.threat_model == "none" else "no defense")
            continue
        protocol = {FIXED: "", EVALUATIONS: f", all of {getattr(cell, 'evaluations', '')} draws"}
        further = protocol.get(getattr(cell, "protocol", ""), "")
        further += ", other draws" if name.endswith("_fixed_fresh") else ""
        texts.append(f"{named(cell.defense, cell.variant)}, {threat}{further}")
    # Two of one name, such as a defence that the config has twice, are told apart by the CSV's.
    return [
        name if texts.count(text) > 1 else text
        for text, name in zip(texts, part.columns, strict=True)
    ]


def _accuracy(cell: Any, most: int | None) -> web.Cell:
    """A cell of a column most of whose numbers are on `most` images."""
    if cell is None:
        return web.Cell(None, "")
    if not cell.seeds:
        return web.Cell(None, "refused", detail="The attack was refused, and there is no number.")
    text = share_text(cell.accuracy, cell.n)
    if cell.seeds > 1:
        text += f" ± {share_text(cell.std, cell.n)}"
    if cell.n != most:
        text += f" ({cell.n})"
    # An attack without a bound is told by how far it goes.
    if pd.isna(cell.epsilon) and pd.notna(cell.mean_l2):
        text += f", l2 {cell.mean_l2:.2g}"
    more = [interval_text(cell.ci_low, cell.ci_high, cell.n), f"n = {cell.n}"]
    more += [f"{cell.seeds} seeds"] if cell.seeds > 1 else []
    detail = []
    if getattr(cell, "protocol", "") == ONE_SHOT:
        detail.append(f"mean over {cell.draws} draws ± {share_text(cell.spread, cell.n)}")
    if pd.notna(cell.success_rate):
        detail.append(f"the attack succeeds on {100 * cell.success_rate:.3g} %")
    if pd.notna(cell.mean_l2):
        detail.append(f"mean l2 norm {cell.mean_l2:.2f}")
    if pd.notna(getattr(cell, "paper_value", None)):
        detail.append(f"the paper: {cell.paper_value:g} ({cell.accuracy - cell.paper_value:+.3f})")
    if cell.flags:
        text += f" {MARK}"
        detail += [f"{flag}: {MEANINGS.get(flag, '')}" for flag in cell.flags.split(";")]
    return web.Cell(cell.accuracy, text, ", ".join(filter(None, more)), "\n".join(detail))


_ENDS = {("_low", "_high"): "95 % interval", ("_q1", "_q3"): "quartiles"}
_SPREADS = ("_std", "_sd")
_SETUP = (
    *("seed", "classifier", "indicator", "features", "images", "images_timed", "batch", "repeats"),
    *("device", "threads", "torch"),
)
_HIDDEN = ("recipe", "check", "dtype", "image_shape")


def _numbers(one: Mapping[str, Any]) -> str:
    """Any other table: its CSV."""
    path = next(p for p in one["paths"] if p.endswith(".csv") and not p.endswith(".long.csv"))
    place = place_of(path)
    beside = any(p.endswith(".md") for p in one["paths"])
    # One that is vouched for by its page has no marks.
    text = place.read_text(encoding="utf-8") if beside else read_text_table(place)
    table = pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""])
    content = _frame(table.drop(columns=[n for n in _HIDDEN if n in table]))
    if len(table) > _LONG:
        return web.folded(f"The table, {len(table)} rows", content)
    return content


def _frame(table: pd.DataFrame) -> str:
    """A CSV as a table: its intervals, quartiles and spreads stand behind their numbers, n, too."""
    table = table.loc[:, table.notna().any()]
    # What is the same in all rows, and no result, is said once.
    same = [name for name in _SETUP if name in table and table[name].nunique(dropna=False) == 1]
    said = [f"{name.replace('_', ' ')} {_shown(table[name].iloc[0])}" for name in same]
    table = table.drop(columns=same)
    folded, behind = set(), {}
    for name in table:
        for (low, high), what in _ENDS.items():
            # auc, auc_low, auc_high; of an accuracy ci_low and ci_high; tpr_1pct, tpr_low_1pct.
            for one, other in _bounds(name, low, high):
                if one in table and other in table and one != name:
                    behind.setdefault(name, []).append((what, one, other))
                    folded |= {one, other}
        for end in (*_SPREADS, "_n"):
            if f"{name}{end}" in table:
                behind.setdefault(name, []).append((end.strip("_"), f"{name}{end}", ""))
                folded.add(f"{name}{end}")
    names = [name for name in table if name not in folded]
    columns = [
        web.Column(str(name).replace("_", " "), number=_is_number(table[name])) for name in names
    ]
    rows = [
        web.Row(web.broken(_shown(row[names[0]])), [_value(row, n, behind) for n in names[1:]])
        for row in table.to_dict("records")
    ]
    lead = f'<p class="small">{html.escape(", ".join(said))}.</p>\n' if said else ""
    return lead + web.table(columns, [web.Body(rows)])


def _bounds(name: str, low: str, high: str) -> list[tuple[str, str]]:
    pairs = [(f"{name}{low}", f"{name}{high}")]
    pairs += [("ci_low", "ci_high")] if name == "accuracy" and low == "_low" else []
    pairs += [("low", "high")] if name == "value" and low == "_low" else []
    start, _, end = name.rpartition("_")
    return [*pairs, *([(f"{start}{low}_{end}", f"{start}{high}_{end}")] if start else [])]


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column)) and column.dtype != bool


def _shown(value: Any) -> str:
    if web.missing(value):
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"
    return str(value)


def _value(row: Mapping[str, Any], name: str, behind: Mapping[str, list[Any]]) -> web.Cell:
    value, more = row[name], []
    for what, one, other in behind.get(name, ()):
        if not web.missing(row[one]):
            pair = f"[{_shown(row[one])}, {_shown(row[other])}]" if other else _shown(row[one])
            more.append(f"{what} {pair}" if what != "n" else f"n = {pair}")
    if more and f"{name}_n" not in row and not web.missing(row.get("n")):
        more.append(f"n = {_shown(row['n'])}")
    number = isinstance(value, int | float) and not isinstance(value, bool) and not _is_nan(value)
    finite = number and math.isfinite(value)
    return web.Cell(value if finite else None, _shown(value), ", ".join(more))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


# Pictures


def _pictures(shown: Sequence[Mapping[str, Any]], section: str) -> str:
    parts = []
    for group, results in _of(shown, section).items():
        figures = "\n".join(web.figure(_picture(one)) for one in results)
        parts.append(f'<h3>{html.escape(group)}</h3>\n<div class="pictures">\n{figures}\n</div>')
    return "\n".join(parts)


def _picture(one: Mapping[str, Any]) -> web.Picture:
    path = next(path for path in one["paths"] if path.endswith(".png"))
    png, size, width = smaller(place_of(path).read_bytes())
    links = ", ".join(
        f'<a href="{html.escape(_link(file))}">{html.escape(Path(file).suffix[1:])}</a>'
        for file in one["paths"]
    )
    title = html.escape(one["title"])
    caption = f'{title} <span class="small">({links}; made {_made(one)})</span>'
    return web.Picture(png, size, width, one["title"], caption)


def smaller(png: bytes) -> tuple[bytes, tuple[int, int], int]:
    """A picture of the size that the page needs: its bytes, its width and height in pixels, and the
    width that it is shown in. One that is small enough stays as it is."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        width, height = image.size
        shown = round(min(1, width / (7 * _DPI)) * PICTURE_WIDTH)
        if width <= PICTURE_PIXELS:
            return png, image.size, max(shown, min(width, 320))
        size = (PICTURE_PIXELS, round(height * PICTURE_PIXELS / width))
        reduced = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        written = io.BytesIO()
        reduced.save(written, "png", optimize=True)
        return min(written.getvalue(), png, key=len), size, shown


# What a reader must know


def _flags(shown: Sequence[Mapping[str, Any]], flags: Sequence[Flagged]) -> str:
    """All numbers that are warned of, and what the flags mean."""
    if not any(one["kind"] in ("accuracies", "leaderboard") for one in shown):
        return ""
    if not flags:
        return "<p>None of the checks found anything.</p>"
    raised = {flag for *_, own in flags for flag in own.split(", ")}
    known = {flag: text for flag, text in MEANINGS.items() if flag in raised}
    what = _counted(len(flags), "number")
    lead = f"<p>{what} that the attack may explain, and not the defense:</p>"
    columns = [web.Column(name, number=False) for name in ("result", "where", "flags")]
    rows = [
        web.Row(html.escape(result), [web.Cell(None, where), web.Cell(None, own)])
        for result, where, own in flags
    ]
    content = web.table(columns, [web.Body(rows)])
    listed = web.folded("All of them", content) if len(flags) > _LONG // 2 else content
    return "\n".join([lead, web.defined(known), listed])


def _reading() -> str:
    meanings = {
        "accuracy": (
            "The share of images that the classifier gets right, with the digits that their number "
            "n bears. Its interval is Wilson's, at 95 %. With several seeds: mean ± standard "
            "deviation over seeds, of which the interval knows nothing."
        ),
        "n": (
            "The number of images, below a heading. A number on fewer or more than the others of "
            "its column has its own behind it, in brackets."
        ),
        "l2": (
            "The mean l2 norm of the change, behind the number of an attack without a bound, such "
            "as CW. One that goes far leaves little of any classifier."
        ),
        **{
            _THREATS.get(name, name.replace("_", " ")): MEANING[name]
            for name in ("white_box", "gray_box", "white_box_bpda", "black_box")
        },
        MARK: "A number that is warned of: see the flags.",
    }
    return web.defined(meanings) + (
        "<p>One column is what one attack could do. Read the worst case of the leaderboard as "
        "robustness, and no single column.</p>"
    )


def _provenance(content: Mapping[str, Any], results: str, libraries: Path) -> str:
    edits = [
        web.Row(f"<code>{web.broken(key)}</code>", [_setting(was), _setting(now)])
        for key, (was, now) in content["edits"].items()
    ]
    columns = [
        web.Column("key", number=False),
        web.Column("default", number=False),
        web.Column("this run", number=False),
    ]
    changed = "<p>The default config, unchanged.</p>"
    if edits:
        changed = web.table(columns, [web.Body(edits)])
        changed = web.folded(f"{len(edits)} keys", changed) if len(edits) > 15 else changed
    columns = [
        *(web.Column(name, number=False) for name in ("result", "recipe", "made")),
    ]
    rows = [
        web.Row(
            f"<code>{web.broken(_place(one['paths'][0], results))}</code>",
            [web.Cell(None, one["digest"]), web.Cell(None, _made(one))],
        )
        for one in content["shown"]
    ]
    parts = ["<h3>The config, where it differs from the default</h3>", changed]
    if rows:
        parts += [
            "<h3>Recipes</h3>",
            "<p>The digest of all that decides a result: its settings, "
            "and those of all that it is made from. On one machine equal digests are equal "
            "results, but for measured times. "
            "<i>Made</i> is the time of the file.</p>",
            web.table(columns, [web.Body(rows)]),
        ]
    parts += ["<h3>Versions</h3>", web.defined(versions(libraries), brief=True)]
    return "\n".join(parts)


def _setting(value: Any) -> web.Cell:
    text = "" if value is None else json.dumps(value, ensure_ascii=False)
    return web.Cell(None, text if len(text) <= 120 else f"{text[:117]}...")


def versions(libraries: Path) -> dict[str, str]:
    """What this page was made with, and when."""
    found = {"this page": _when(datetime.now().timestamp()), "commit": _commit(libraries)}
    found["Python"] = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _commit(folder: Path) -> str:
    """That of the source, and whether files differ from it."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown: the source is in no git repository"
    return done.stdout.strip().replace("-dirty", ", with changes that are not committed")


def _cost(logs: Sequence[str], results: str) -> str:
    """What the jobs took that made what is shown, by their logs."""
    root = Path("logs") if results == "results" else Path(results, "logs")
    used: dict[str, list[tuple[float, float, float]]] = {}
    without = 0
    for log in logs:
        path = root / log
        text = path.read_text(errors="replace") if path.is_file() else ""
        if ends := _END.findall(text):
            used.setdefault(log.partition("/")[0], []).append(tuple(map(float, ends[-1])))
        else:
            without += 1
    if not used:
        return "<p>No log of the jobs lies here.</p>" if logs else ""
    columns = [
        *(web.Column("jobs", number=False), web.Column("number"), web.Column("wall time, s")),
        *(web.Column("CPU time, s"), web.Column("most memory, MB")),
    ]
    rows = []
    for rule, own in sorted(used.items(), key=lambda pair: -sum(cpu for _, cpu, _ in pair[1])):
        wall, cpu = sum(w for w, _, _ in own), sum(c for _, c, _ in own)
        peak = max(memory for *_, memory in own)
        cells = [
            web.Cell(len(own), len(own)),
            *(web.Cell(t, f"{t:,.1f}") for t in (wall, cpu)),
            web.Cell(peak, f"{peak:,.0f}"),
        ]
        rows.append(web.Row(html.escape(rule.replace("_", " ")), cells))
    jobs = [job for own in used.values() for job in own]
    total = (
        f"<p>{_counted(len(jobs), 'job')} that made what stands here, by their logs: "
        f"{sum(w for w, _, _ in jobs):,.0f} s one after the other, "
        f"{sum(c for _, c, _ in jobs):,.0f} s of CPU time. Snakemake itself is not counted. "
        "Passes of the networks stand in the leaderboard.</p>"
    )
    if without:
        total += f"<p>{_counted(without, 'further job')} left no log here.</p>"
    return f"{total}\n{web.table(columns, [web.Body(rows)])}"
