"""Puts a finished leaderboard into the documents: its files into a folder of docs/results. README's
table, between the two lines that name the digits' one, is of those of `SHOWN["leaderboard"]` beside
one another, and its picture of the first. With the name `modern` that of later purifiers, with its
figures; the table of docs/modern.md is of those of `SHOWN["modern"]`.

    python docs/leaderboard.py RESULTS docs/results/digits
    python docs/leaderboard.py RESULTS docs/results/mnist/quick
    python docs/leaderboard.py RESULTS docs/results/digits modern
    python docs/leaderboard.py RESULTS docs/results/mnist/fashion modern

Without RESULTS it makes table and picture again from the committed files.
"""

import csv
import hashlib
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from purification.experiments import paper_name

README = Path(__file__).resolve().parents[1] / "README.md"
PICTURE = "docs/images/leaderboard.png"
"""README's picture."""
DIGITS = "docs/results/digits"
SHOWN = {
    "leaderboard": {"digits": DIGITS, "MNIST": "docs/results/mnist/quick"},
    "modern": {
        "digits": DIGITS,
        "MNIST": "docs/results/mnist",
        "Fashion-MNIST": "docs/results/mnist/fashion",
    },
}
"""The leaderboards of a document's table, and where their files lie."""
PAGES = {"leaderboard": README, "modern": README.parent / "docs/modern.md"}
"""Which document has the table of which leaderboard."""
KINDS = (".csv", ".times.csv", ".md", ".html")
BEGIN, END = "<!-- {}/{}.csv -->", "<!-- end of it -->"
PROTOCOLS = {"one_shot": "one-shot", "evaluations": "all of {} draws", "fixed": "known draw"}
_PAPERS_ATTACKS = {"gray box": "gray_box", "white box": "white_box"}
_CLAIMED = {"its paper": "claim"}


def side_by_side(boards: Mapping[str, Sequence[Mapping[str, str]]]) -> str:
    """The leaderboards of several data sets beside one another: a row for each defence and
    protocol, in the order of the first board that has it. Where milliseconds of a purification
    were read (`read_board`), these and the number of images stand in the place of what papers
    print."""
    timed = any("ms" in row for rows in boards.values() for row in rows)
    own = {name: {name_of(row): row for row in rows} for name, rows in boards.items()}
    header, lines = ["defence"], {name: [name] for rows in own.values() for name in rows}
    for number, (name, rows) in enumerate(own.items()):
        # The first board is of digits, of which no paper has numbers, and has the papers' attacks.
        papers = {} if timed else _CLAIMED if number else _PAPERS_ATTACKS
        shown = {"clean": "clean_accuracy", **papers}
        header += [f"{name}: clean", *papers, "worst case", *(("n", "ms") if timed else ())]
        for defence, line in lines.items():
            row = rows.get(defence)
            line += [_short(row[column]) if row else "" for column in shown.values()]
            line.append(_worst(row) if row else "")
            if timed:
                line += [row["n"], _two_digits(row["ms"])] if row else ["", ""]
    header += ["passes of a purification", "flags"]
    for defence, line in lines.items():
        found = {name: rows[defence] for name, rows in own.items() if defence in rows}
        passes = {n: row["purification_passes"].removesuffix(".0") for n, row in found.items()}
        first = next(iter(passes.values()))
        other = [f"{n} {count}" for n, count in passes.items() if count != first]
        flags: dict[str, list[str]] = {}
        for name, row in found.items():
            for flag in filter(None, row["flags"].replace("_", " ").split(";")):
                flags.setdefault(flag, []).append(name)
        told = (
            flag if len(names) == len(found) else f"{flag} ({', '.join(names)})"
            for flag, names in flags.items()
        )
        line += [" ".join([first, *([f"({', '.join(other)})"] if other else [])]), ", ".join(told)]
    rows_of = [header, ["---"] * len(header), *lines.values()]
    return "\n".join(f"| {' | '.join(line)} |" for line in rows_of)


def name_of(row: Mapping[str, str]) -> str:
    """What the documents call a row's defence."""
    # Of several strengths of training the leaderboard has one.
    variant = "" if row["variant"].startswith("eps=") else row["variant"]
    name = paper_name(row["defense"], variant) if row["defense"] != "none" else "none"
    if protocol := row.get("protocol"):
        return f"{name}: {PROTOCOLS[protocol].format(row['evaluations'])}"
    return name


def _worst(row: Mapping[str, str]) -> str:
    interval = f"[{float(row['ci_low']):.2f}, {float(row['ci_high']):.2f}]"
    worst = f"**{float(row['accuracy']):.2f}** {interval}"
    return f"{worst} ▼" if row.get("below_no_defense") else worst


def _short(number: str) -> str:
    return f"{float(number):.2f}" if number else ""


def _two_digits(number: str) -> str:
    """Of 124.3 "120", of 0.1265 "0.13"; nothing of nothing."""
    rounded = float(f"{float(number):.2g}") if number else None
    return "" if rounded is None else f"{rounded:g}"


def with_table(text: str, place: str, made: str, name: str = "leaderboard") -> str:
    """A document's text with a table at its place. Raises as `split_at`."""
    before, after = split_at(text, place, name)
    return before + made + after


def split_at(text: str, place: str, name: str) -> tuple[str, str]:
    """A document's text before and after the table of a place. Raises ValueError if it has no lines
    for one."""
    begin = BEGIN.format(place, name)
    inside = re.search(f"(?<={re.escape(begin)}\n\n).*?(?=\n\n{re.escape(END)})", text, re.DOTALL)
    if not inside:
        raise ValueError(f"{PAGES[name]}: expected the line {begin!r}, and after it {END!r}")
    return text[: inside.start()], text[inside.end() :]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_board(folder: Path, name: str) -> list[dict[str, str]]:
    """The rows of a committed leaderboard; those of later purifiers with the milliseconds of one
    purification (`ms`)."""
    rows = read(folder / f"{name}.csv")
    if name != "modern":
        return rows

    def key(row: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(row[name] for name in ("dataset", "classifier", "defense", "variant"))

    times = {key(row): row["purification_ms"] for row in read(folder / f"{name}.times.csv")}
    return [{**row, "ms": times[key(row)]} for row in rows]


def read_shown(name: str) -> dict[str, list[dict[str, str]]]:
    """The leaderboards of a document's table, by the names of their data sets there."""
    root = README.parent
    return {shown: read_board(root / place, name) for shown, place in SHOWN[name].items()}


def state(rows: Sequence[Mapping[str, str]]) -> str:
    """A digest of what the picture shows of a leaderboard, which stands in its metadata."""
    return hashlib.sha256(repr([_marks(row) for row in rows]).encode()).hexdigest()[:16]


def _marks(row: Mapping[str, str]) -> tuple[str, float, float | None, float, float, float]:
    """Name, clean accuracy, that after FGSM if it comes first, worst case and its interval."""
    attack, _, left = row["stages"].split(";")[0].split()
    first = float(left) if "fgsm" in attack else None
    clean, worst = float(row["clean_accuracy"]), float(row["accuracy"])
    return name_of(row), clean, first, worst, float(row["ci_low"]), float(row["ci_high"])


def _each(rows: Sequence[Mapping[str, str]], column: str) -> str:
    return " or ".join(sorted({row[column] for row in rows}, key=float))


def draw(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """README's picture: what each defence keeps of clean images, under FGSM alone (of a purifier:
    against the bare classifier) and in the worst case."""
    from purification.reporting.plotting import Figure, FigureCanvasAgg, only_style

    marks = [_marks(row) for row in reversed(rows)]
    places = range(len(marks))
    with only_style({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(7.0, 0.9 + 0.32 * len(marks)), layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        for place, (_, clean, first, worst, low, high) in zip(places, marks, strict=True):
            axis.plot([worst, clean], [place, place], color="#cccccc", linewidth=2, zorder=1)
            axis.plot([low, high], [place, place], color="#b2182b", linewidth=5, alpha=0.25)
            axis.plot(clean, place, "o", color="white", markeredgecolor="#222222", markersize=7)
            if first is not None:
                axis.plot(first, place, "D", color="#4393c3", markersize=6)
            axis.plot(worst, place, "o", color="#b2182b", markersize=7)
        (bare,) = [mark for mark in marks if mark[0] == "none"]
        axis.axvline(bare[3], color="#b2182b", linestyle=":", linewidth=1, zorder=0)
        names = ["no defence" if mark[0] == "none" else mark[0] for mark in marks]
        axis.set_yticks(list(places), names)
        axis.set_xlim(-0.03, 1.03)
        counts, radii = (_each(rows, name) for name in ("n", "epsilon"))
        axis.set_xlabel(f"accuracy on the first {counts} test digits, epsilon {radii}")
        legend = {"o": ("clean images", "white"), "D": ("one attack (FGSM)", "#4393c3")}
        for marker, (label, colour) in legend.items():
            edge = "#222222" if colour == "white" else colour
            axis.plot([], [], marker, color=colour, markeredgecolor=edge, label=label)
        axis.plot([], [], "o", color="#b2182b", label="worst case, 95 % interval")
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Software": None, "leaderboard": state(rows)})


def main(results: str = "", place: str = DIGITS, name: str = "leaderboard") -> None:
    folder, page = README.parent / place, PAGES[name]
    text = page.read_text()
    # Before anything is copied: files beside an old table would be a lie.
    split_at(text, DIGITS, name)
    if results:
        files = [Path(results, f"{name}{kind}") for kind in KINDS]
        if missing := [str(file) for file in files if not file.is_file()]:
            raise FileNotFoundError(f"no {', '.join(missing)}: nothing was copied")
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, folder / file.name)
        for figure in Path(results, "figures").glob(f"{name}_*"):
            if figure.suffix in (".png", ".csv"):
                (folder / name).mkdir(exist_ok=True)
                shutil.copy(figure, folder / name / figure.name)
    boards = read_shown(name)
    page.write_text(with_table(text, DIGITS, side_by_side(boards), name))
    if name == "leaderboard":
        draw(boards["digits"], README.parent / PICTURE)


if __name__ == "__main__":
    main(*sys.argv[1:])
