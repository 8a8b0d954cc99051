"""The leaderboard for reading: as Markdown, and as one page that sorts itself in a browser.

All numbers are those of its CSV, but for measured times, which no run repeats: they stand in a CSV
of their own, and on the page in the browser.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from purification.evaluation.flags import FLAGS, MEANINGS, RANDOMISED
from purification.evaluation.leaderboard import (
    LEADERBOARD_COLUMNS,
    NAMED,
    RUN,
    TIME_COLUMNS,
    leaderboard_rows,
)
from purification.evaluation.measure import NAMING_COLUMN
from purification.evaluation.protocols import EVALUATIONS, FIXED, ONE_SHOT
from purification.reporting import web
from purification.reporting.claims import CLAIM_COLUMNS, claim_of, printed_claims
from purification.reporting.csv_files import read_rows
from purification.reporting.headline import Named
from purification.reporting.markdown_tables import MARK, grid

COLUMNS = (*LEADERBOARD_COLUMNS, *CLAIM_COLUMNS)
"""Columns of the CSV."""
CALLED = "called"
"""What a row's defence is called on a page (`called`)."""
BELOW = "▼"
"""Marks a defence below no defence."""
_BOXES = {"gray_box": "gray box", "white_box_bpda": "BPDA", "white_box": "white box"}
_HEADER = (
    *("data set", "classifier", "defense", "L, R", "epsilon", "n", "clean", "paper's claim"),
    *(*_BOXES.values(), "worst case", "attackers", "broke most", "flags"),
    *("passes of a purification", "of the attack"),
)
_MEANINGS = {
    "clean": "Accuracy on the n images as they are, the first of the test set.",
    "paper's claim": (
        "The lowest accuracy that the defense's own paper prints for the same data set, classifier "
        "and strength, in its white box if it has one, else in its gray box, else in its black "
        "box; of no defense, MagNet and adversarial training, in the first of the four papers that "
        "prints one. CW and DeepFool, whose strength is not bounded, are left out."
    ),
    "gray box, BPDA, white box": (
        "The share of the images (their number in brackets) that is right as it is and under each "
        "of the papers' attacks that were made on this defense: on the bare classifier, through "
        "the defense with the identity for its gradient, and through its true gradient. Where "
        "none was made, under the cascade's stages of this kind, if each attacks every image or no "
        "other came before them; of several before a randomised defense the best one. "
        "Empty: neither, as without a purifier there is no BPDA."
    ),
    "worst case": (
        "The share that is right as it is and under every attack, image by image: the papers', "
        "and a cascade of stronger ones, each on the images that are left, by an attacker who "
        "knows the whole defense, its random numbers included if it draws none anew. With "
        "Wilson's 95 % interval. "
        f"{BELOW} marks a defense that ends below no defense. What no attack here has broken a "
        "better one may."
    ),
    "attackers": "How many attacks there were, each in a threat model; refused ones left out.",
    "broke most": (
        "The attack that took most accuracy in its place: the cascade in its order, then the "
        "papers' attacks. It says little of the later ones."
    ),
    "flags": (
        "Signs that the attack, not the defense, may explain the worst case, by checks that the "
        f"cascade makes at its end; {MARK} marks the number, too. The CSV has what they measured."
    ),
    "passes of a purification": (
        "Of an image through the generator or network of the purifier, a mean over images."
    ),
    "passes of the attack": "Of the defended model, for the whole cascade, an image.",
}

_PROTOCOLS = {
    "one-shot, all of so many draws, known draw": (
        "The protocols of a randomised defense, which draws anew in each evaluation. Its attacker "
        "selects among the images that all attacks made by draws of its own, of which no success "
        "ends an attack; the selected images are judged on others, which no attack and no "
        "selection saw. One-shot: the mean over them, with the standard deviation (±). All of so "
        "many draws: an image counts only if it is right in each, the clean images by the same "
        "rule. Known draw: the attacker knows the one on which the image is judged."
    )
}
"""What the page says where there are such rows."""


def leaderboard_tables(
    rows: Iterable[Mapping[str, Any]], papers: Mapping[str, Any], folder: Path, threads: int = 1
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The leaderboard's rows (`COLUMNS`), and the measured times (`TIME_COLUMNS`) in their order.

    `rows` are as for `leaderboard_rows`, with the place of the cascade's `costs` and, if there is a
    purifier, that of the costs of a `purification` and its name there, `purifier`. `papers` and
    `folder` as of `printed_claims`. Raises as these, and as `read_rows`.
    """
    made, times = rows_and_times(rows, threads)
    printed = printed_claims(papers, folder)
    return [row | claim_of(row, papers, printed) for row in made], times


def rows_and_times(
    rows: Iterable[Mapping[str, Any]], threads: int = 1
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The same rows without claims (`LEADERBOARD_COLUMNS`), and the times."""
    rows = [{**row, **_costs(row)} for row in rows]
    made = leaderboard_rows(rows, threads)
    times = {_name(row["labels"]): row["times"] for row in rows}
    return made, [{name: row[name] for name in NAMED} | times[_name(row)] for row in made]


def _name(labels: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells a row from others of its leaderboard."""
    return tuple(labels.get(name) for name in NAMED)


def _costs(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the purification of an image costs, `passes`, and the measured `times`."""
    stages = read_rows(
        Path(row["costs"]), text=("attack",), counts=("stage", "asked"), numbers=("seconds",)
    )
    seconds = float(stages["seconds"].sum()) / int(stages["asked"].iloc[0])
    times = dict.fromkeys(TIME_COLUMNS[len(NAMED) :]) | {"attack_seconds": seconds}
    if "purification" not in row:
        return {"passes": 0, "times": times}
    costs = read_rows(
        Path(row["purification"]),
        text=("purifier", "device", "torch"),
        counts=("threads",),
        numbers=("passes", "ms", "ms_q1", "ms_q3"),
    )
    [own] = costs[costs["purifier"] == row["purifier"]].to_dict("records")
    times |= {f"purification_{name}": own[name] for name in ("ms", "ms_q1", "ms_q3")}
    times |= {name: own[name] for name in ("device", "threads", "torch")}
    return {"passes": own["passes"], "times": times}


def called(rows: Iterable[Mapping[str, Any]], named: Named) -> list[dict[str, Any]]:
    """The rows for a page, where their defences have the names that `named` gives them. Without
    they have those of the config, by which the CSV tells them apart."""
    return [{**row, CALLED: named(row["defense"], row["variant"] or "")} for row in rows]


# Markdown


def leaderboard_page(
    rows: Sequence[Mapping[str, Any]],
    times: Sequence[Mapping[str, Any]] | None = None,
    board: str = "leaderboard",
) -> str:
    """Rows of `leaderboard_tables` as GitHub's Markdown, legend included.

    With their `times` it has the milliseconds of a purification, and begins with which defences
    keep most for them (`answers`): then no two runs have the same page. `board`: the name of its
    files.
    """
    parts = ["# Leaderboard: what is left under attack"]
    lines, header = [_line(row) for row in rows], list(_HEADER)
    if times is not None:
        parts += [_listed(answers(rows, times))]
        place = header.index("passes of a purification") + 1
        header.insert(place, "ms of it")
        for line, own in zip(lines, times, strict=True):
            ms = own["purification_ms"]
            line.insert(place, "" if _missing(ms) else f"{ms:.3g}")
    parts += [grid(header, lines)]
    said = _said_of(rows) if times is None else {**_said_of(rows), "ms of it": _machines(times)}
    parts += [_listed(f"**{name}**: {text}" for name, text in said.items())]
    for heading, notes in _notes(rows).items():
        parts += [f"**{heading}:**", _listed(notes)]
    parts += [f"`{board}.csv` has all numbers with their intervals, {_TIMES.format(board)}"]
    return "\n\n".join(parts) + "\n"


_TIMES = (
    "and what is left after each attack. `{0}.times.csv` has the measured times, which no run "
    "repeats, and `{0}.html` shows both."
)


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def answers(rows: Sequence[Mapping[str, Any]], times: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Sentences on which defences keep most for the time of a purification, of each run and, by
    protocol: those that no other one beats in both the worst case and milliseconds. Deterministic
    defences stand among those of each protocol. Only defences on equally many images are compared,
    which are the same ones. Intervals are not looked at."""
    paired = list(zip(rows, times, strict=True))
    runs = [list(g) for _, g in groupby(paired, lambda pair: tuple(pair[0][n] for n in _GROUP))]
    for run in runs:
        protocols = dict.fromkeys(_protocol(row) for row, _ in run if _protocol(row))
        groups: dict[tuple[str, int], list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
        for protocol in protocols or [""]:
            among = [pair for pair in run if _protocol(pair[0]) in ("", protocol)]
            for n in dict.fromkeys(row["n"] for row, _ in among):
                group = [pair for pair in among if pair[0]["n"] == n]
                named = protocol if any(_protocol(row) for row, _ in group) else ""
                groups[named, n] = group
        several = len({n for _, n in groups}) > 1
        for (protocol, n), group in groups.items():
            where = f"{_dataset(run[0][0])}, classifier {run[0][0]['classifier']}"
            words = [where, *[protocol] * bool(protocol), *[f"n {n}"] * several]
            listed = "; ".join(_kept(row, own) for row, own in _front(group))
            compared = f"**{', '.join(words)}**"
            yield f"{compared}: no other defense keeps more in less time than {listed}."


def _front(
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """From the cheapest on, each that keeps more than all cheaper ones; no defence and adversarial
    training cost nothing."""
    front: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for row, own in sorted(pairs, key=lambda pair: (_ms(pair[1]), -pair[0]["accuracy"])):
        if not front or row["accuracy"] > front[-1][0]["accuracy"]:
            front.append((row, own))
    return front


def _ms(times: Mapping[str, Any]) -> float:
    """Milliseconds of a purification; 0 without one."""
    ms = times["purification_ms"]
    return 0.0 if _missing(ms) else float(ms)


def _kept(row: Mapping[str, Any], times: Mapping[str, Any]) -> str:
    name = _called(row)
    cost = f"{_ms(times):.3g} ms" if _ms(times) else "no purification"
    kept = f"{row['accuracy']:.3f} {_interval(row)}, clean {row['clean_accuracy']:.3f}"
    return f"{name} ({kept}, {cost})"


def _line(row: Mapping[str, Any]) -> list[Any]:
    worst = f"**{row['accuracy']:.3f}**{_spread(row)} {_interval(row)}"
    return [
        *(_dataset(row), row["classifier"], _defense(row), _search(row), _ball(row), row["n"]),
        f"{row['clean_accuracy']:.3f}",
        "" if _missing(row["claim"]) else f"{row['claim']:.3f}",
        *(_boxed(row, box) for box in _BOXES),
        " ".join([worst, *[BELOW] * bool(row["below_no_defense"]), *[MARK] * bool(_flags(row))]),
        *(row["attackers"], row["strongest"] or "", _flag_text(row)),
        *(f"{row['purification_passes']:.4g}", f"{row['passes_per_image']:.0f}"),
    ]


def _boxed(row: Mapping[str, Any], box: str) -> str:
    return "" if _missing(row[box]) else f"{row[box]:.3f} ({row[f'{box}_n']})"


def _notes(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What is said below the table: where the claims stand or why there are none, the attacks that
    the other columns are of, what is not what its name says, and the flags."""
    claims, other = _of_whom(rows, "claim_source"), _of_whom(rows, NAMING_COLUMN)
    claims |= {f"none: {why}": whom for why, whom in _of_whom(rows, "no_claim").items()}
    boxes = [
        f"{shown}: {attacks} ({whom})"
        for box, shown in _BOXES.items()
        for attacks, whom in _of_whom(rows, f"{box}_attacks").items()
    ]
    flags = dict.fromkeys(flag for row in rows for flag in _flags(row))
    notes = {
        "The papers' claims": [f"{what} ({whom})" for what, whom in claims.items()],
        "Attacks behind gray box, BPDA and white box": boxes,
        "Not what their names say": [f"{what} ({whom})" for what, whom in other.items()],
        "Flags": [f"`{flag}`: {MEANINGS.get(flag, 'see the CSV')}" for flag in flags],
    }
    return {heading: lines for heading, lines in notes.items() if lines}


def _of_whom(rows: Sequence[Mapping[str, Any]], column: str) -> dict[str, str]:
    """The texts of a column, and the rows that have each: "all" of them, or their names."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if not _missing(row.get(column)) and row[column]:
            found.setdefault(row[column], []).append(f"{_dataset(row)} {_defense(row)}")
    return {
        text: "all rows" if len(whom) == len(rows) else ", ".join(dict.fromkeys(whom))
        for text, whom in found.items()
    }


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA


def _dataset(row: Mapping[str, Any]) -> str:
    return f"{row['dataset']} (seed {row['seed']})" if row["seed"] else str(row["dataset"])


def _said_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What the columns mean, and the protocols if there are any."""
    return {**_MEANINGS, **(_PROTOCOLS if any(_protocol(row) for row in rows) else {})}


def _defense(row: Mapping[str, Any]) -> str:
    """Its name, and by which protocol it is judged, if it is randomised."""
    judged = f": {_protocol(row)}" if _protocol(row) else ""
    return _called(row) + judged


def _called(row: Mapping[str, Any]) -> str:
    return row.get(CALLED) or f"{row['defense']} {row['variant'] or ''}".strip()


def _protocol(row: Mapping[str, Any]) -> str:
    draws = row["draws"]
    words = {
        ONE_SHOT: f"one-shot, {draws} draws" if draws != 1 else "one-shot",
        EVALUATIONS: f"all of {draws} draws",
        FIXED: "known draw",
    }
    return words.get(row["protocol"], "")


def _spread(row: Mapping[str, Any]) -> str:
    return "" if _missing(row["spread"]) else f" ± {row['spread']:.3f}"


def _search(row: Mapping[str, Any]) -> str:
    return ", ".join(str(row[name]) for name in ("iterations_L", "restarts_R") if row[name])


def _ball(row: Mapping[str, Any]) -> str:
    return f"{row['epsilon']:g}{'' if row['norm'] == 'linf' else ' (l2)'}"


def _interval(row: Mapping[str, Any], name: str = "") -> str:
    low, high = (row[f"{name}_{end}" if name else end] for end in ("ci_low", "ci_high"))
    return f"[{low:.3f}, {high:.3f}]"


def _flag_text(row: Mapping[str, Any]) -> str:
    none = "not checked" if _missing(row[RANDOMISED]) else "none"
    return ", ".join(_flags(row)) or none


def _flags(row: Mapping[str, Any]) -> list[str]:
    return [flag for flag in (row[FLAGS] or "").split(";") if flag]


# In a browser


_SHOWN = (
    web.Column("Defense", number=False),
    web.Column("Clean", about=_MEANINGS["clean"]),
    web.Column("Paper’s claim", about=_MEANINGS["paper's claim"]),
    web.Column("Gray box", about="Right under the papers' attacks on the bare classifier"),
    web.Column("BPDA", about="Right under them with the identity for the defense's gradient"),
    web.Column("White box", about="Right under them through the defense's true gradient"),
    web.Column("Worst case", about="Right under every attack, image by image", classes="strong"),
    web.Column("Attackers", about=_MEANINGS["attackers"]),
    web.Column("Broke most", number=False, about=_MEANINGS["broke most"], classes="long"),
    web.Column("Flags", number=False, about=_MEANINGS["flags"], classes="long"),
    web.Column("Purifying: passes", about=_MEANINGS["passes of a purification"]),
    web.Column(
        "Purifying: ms", about="Measured: the purification of an image, alone on the machine"
    ),
    web.Column("Attack: passes", about=_MEANINGS["passes of the attack"]),
    web.Column("Attack: s", about="Measured: the whole cascade, an image"),
)
_TITLE = "Leaderboard: what is left under attack"
_LEAD = (
    "The share of images that a classifier still gets right, behind each defense and without one. "
    "Read the worst case: under one attack alone, an accuracy says what that attack could do. "
    f"{BELOW} marks a defense that ends below no defense, which the dotted line in the bars shows."
)


def leaderboard_html(rows: Sequence[Mapping[str, Any]], times: Sequence[Mapping[str, Any]]) -> str:
    """Rows and times of `leaderboard_tables` as one HTML page that needs no other file and no
    network, with a table that its reader can sort by each column: rows of one data set, seed,
    classifier and ball among themselves. Without scripts it is a plain table."""
    notes = [
        f"<h2>{escape(heading)}</h2>\n{web.listed(lines)}"
        for heading, lines in _notes(rows).items()
    ]
    meanings = f"<h2>What the columns mean</h2>\n{leaderboard_meanings(rows, times)}"
    parts = [f"<h1>{_TITLE}</h1>", leaderboard_section(rows, times), meanings, *notes]
    return web.page(_TITLE, "\n".join(parts))


def leaderboard_section(
    rows: Sequence[Mapping[str, Any]], times: Sequence[Mapping[str, Any]]
) -> str:
    """The table of `leaderboard_html`, and how to read it, for a page with other results, too."""
    paired = list(zip(rows, times, strict=True))
    bodies = [
        _body(list(own))
        for _, own in groupby(paired, lambda pair: tuple(pair[0][n] for n in _GROUP))
    ]
    return f'<p class="lead">{escape(_LEAD)}</p>\n{web.table(_SHOWN, bodies)}'


def leaderboard_meanings(
    rows: Sequence[Mapping[str, Any]], times: Sequence[Mapping[str, Any]]
) -> str:
    """What its columns mean."""
    return web.defined({**_said_of(rows), "ms, seconds": _machines(times)})


_GROUP = (*RUN, "norm", "epsilon")


def _machines(times: Sequence[Mapping[str, Any]]) -> str:
    """On what the times were taken."""
    found = dict.fromkeys(
        f"{row['device']}, {row['threads']} thread{'s' * (row['threads'] != 1)}, "
        f"torch {row['torch']}"
        for row in times
        if not _missing(row["device"])
    )
    where = f" on {'; '.join(found)}" if found else ""
    return (
        f"Measured{where}, for each image: of a purification alone on the machine, the median of "
        "several turns; of the whole cascade while other jobs may have run. No run repeats them: "
        "all other numbers of this page are the same in every run of the same config and seed."
    )


def _body(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> web.Body:
    """The rows of one run, below a heading."""
    first = pairs[0][0]
    norm = {"linf": "l-inf", "l2": "l2"}.get(first["norm"], first["norm"])
    numbers = sorted({row["n"] for row, _ in pairs})
    images = " or ".join(map(str, numbers))
    run = (
        f"{_dataset(first)}, classifier {first['classifier']}, {norm} ball of radius "
        f"{first['epsilon']:g}, {images} images"
    )
    none = next((row["accuracy"] for row, _ in pairs if row["defense"] == "none"), None)
    return web.Body([_html_row(row, times, none) for row, times in pairs], run)


def _html_row(row: Mapping[str, Any], times: Mapping[str, Any], none: float | None) -> web.Row:
    letters = (("L", row["iterations_L"]), ("R", row["restarts_R"]))
    search = ", ".join(f"{letter} {number}" for letter, number in letters if _there(number))
    name = escape(_defense(row)) + (f" <small>{search}</small>" if search else "")
    mark = f' <b class="mark">{BELOW} below no defense</b>' if row["below_no_defense"] else ""
    kinds = [k for k, is_so in (("none", row["defense"] == "none"), ("below", mark)) if is_so]
    ms = times["purification_ms"]
    quartiles = [times[f"purification_ms_{end}"] for end in ("q1", "q3")]
    spread = "" if _missing(ms) else "quartiles {:.3g}, {:.3g}".format(*quartiles)
    cells = [
        web.Cell(row["clean_accuracy"], f"{row['clean_accuracy']:.3f}", f"n = {row['n']}"),
        _claim_cell(row),
        *(_box_cell(row, box) for box in _BOXES),
        _worst_cell(row, none),
        web.Cell(row["attackers"], row["attackers"], detail=row["stages"].replace("; ", "\n")),
        web.Cell(None, row["strongest"] or ""),
        web.Cell(None, _flag_text(row), detail="\n".join(_flag_meanings(row))),
        web.Cell(row["purification_passes"], f"{row['purification_passes']:.4g}"),
        web.Cell(ms, "" if _missing(ms) else f"{ms:.3g}", detail=spread),
        web.Cell(row["passes_per_image"], f"{row['passes_per_image']:,.0f}"),
        web.Cell(times["attack_seconds"], f"{times['attack_seconds']:.3g}"),
    ]
    return web.Row(f"{name}{mark}", cells, " ".join(kinds))


def _there(number: Any) -> bool:
    return not _missing(number) and bool(number)


def _flag_meanings(row: Mapping[str, Any]) -> list[str]:
    return [f"{flag}: {MEANINGS[flag]}" for flag in _flags(row) if flag in MEANINGS]


def _claim_cell(row: Mapping[str, Any]) -> web.Cell:
    if _missing(row["claim"]):
        return web.Cell(None, "", row["no_claim"])
    return web.Cell(row["claim"], f"{row['claim']:.3f}", row["claim_source"])


def _box_cell(row: Mapping[str, Any], box: str) -> web.Cell:
    if _missing(row[box]):
        return web.Cell(None, "", row[f"{box}_attacks"] or "")
    more = f"{_interval(row, box)}, n = {row[f'{box}_n']}"
    return web.Cell(row[box], f"{row[box]:.3f}", more, row[f"{box}_attacks"])


def _worst_cell(row: Mapping[str, Any], none: float | None) -> web.Cell:
    """With a bar: the accuracy, its interval, and what no defence leaves."""
    low, width = (100 * row["ci_low"], 100 * (row["ci_high"] - row["ci_low"]))
    parts = [f'<i class="value" style="width:{100 * row["accuracy"]:.1f}%"></i>']
    parts += [f'<i class="interval" style="left:{low:.1f}%;width:{width:.1f}%"></i>']
    parts += [] if none is None else [f'<i class="bare" style="left:{100 * none:.1f}%"></i>']
    bar = f'<span class="bar" aria-hidden="true">{"".join(parts)}</span>'
    more = f"{_interval(row)}, n = {row['n']}"
    return web.Cell(row["accuracy"], f"{row['accuracy']:.3f}{_spread(row)}", more, bar=bar)
