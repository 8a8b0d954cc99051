"""Puts a finished leaderboard into the documents: its files into a folder of docs/results. README's
table, between the two lines that name the digits' one, is of those of `SHOWN` beside one another,
and its picture of the first. With the name `modern` that of later purifiers, its table into
docs/modern.md, and its figures beside it.

    python docs/leaderboard.py RESULTS docs/results/digits
    python docs/leaderboard.py RESULTS docs/results/mnist/quick
    python docs/leaderboard.py RESULTS docs/results/digits modern

Without RESULTS it draws the picture again from the committed files.
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
SHOWN = {"digits": DIGITS, "MNIST": "docs/results/mnist/quick"}
"""README's leaderboards, and where their files lie."""
PAGES = {"leaderboard": README, "modern": README.parent / "docs/modern.md"}
"""Which document has the table of which leaderboard."""
KINDS = (".csv", ".times.csv", ".md", ".html")
BEGIN, END = "<!-- {}/{}.csv -->", "<!-- end of it -->"
PROTOCOLS = {"one_shot": "one-shot", "evaluations": "all of {} draws", "fixed": "known draw"}
_BOXES = ("gray_box", "white_box_bpda", "white_box")
_PAPERS_ATTACKS = {"gray box": "gray_box", "white box": "white_box"}
_CLAIMED = {"its paper": "claim"}
_HEADER = (
    *("defence", "n", "clean", "its paper", "gray box", "BPDA", "white box", "worst case"),
    *("attackers", "passes of a purification", "ms", "flags"),
)


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows of a leaderboard's CSV as README.md has them: a table for each run, without columns
    that are empty in all rows, or that its run did not have yet."""
    runs = dict.fromkeys((row["dataset"], row["classifier"]) for row in rows)
    lines = [
        (run, [_line(r) for r in rows if (r["dataset"], r["classifier"]) == run]) for run in runs
    ]
    several = len(runs) > 1
    kept = [i for i, _ in enumerate(_HEADER) if any(line[i] for _, own in lines for line in own)]
    if len({row["n"] for row in rows}) == 1:  # the text above it says how many
        kept.remove(_HEADER.index("n"))
    header = [_HEADER[i] for i in kept]
    shown = [["data set, classifier", *header] if several else header]
    shown.append(["---"] * len(shown[0]))
    for (dataset, classifier), own in lines:
        named = [f"{dataset}, {classifier}"] if several else []
        shown += [[*named, *(line[i] for i in kept)] for line in own]
    return "\n".join(f"| {' | '.join(line)} |" for line in shown)


def side_by_side(boards: Mapping[str, Sequence[Mapping[str, str]]]) -> str:
    """The leaderboards of several data sets as README has them: a row for each defence, in the
    order of the first board that has it."""
    own = {name: {name_of(row): row for row in rows} for name, rows in boards.items()}
    header, lines = ["defence"], {name: [name] for rows in own.values() for name in rows}
    for number, (name, rows) in enumerate(own.items()):
        # The first board is of digits, of which no paper has numbers, and has the papers' attacks.
        shown = {"clean": "clean_accuracy", **(_CLAIMED if number else _PAPERS_ATTACKS)}
        header += [f"{name}: clean", *list(shown)[1:], "worst case"]
        for defence, line in lines.items():
            row = rows.get(defence)
            line += [_short(row[column]) if row else "" for column in shown.values()]
            line.append(_worst(row) if row else "")
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


def _line(row: Mapping[str, str]) -> list[str]:
    return [
        name_of(row),
        row["n"],
        *(_short(row.get(column, "")) for column in ("clean_accuracy", "claim", *_BOXES)),
        _worst(row),
        *(row["attackers"], row.get("purification_passes", "").removesuffix(".0")),
        f"{float(row['ms']):.2g}" if row.get("ms") else "",
        row.get("flags", "").replace(";", ", ").replace("_", " "),
    ]


def _worst(row: Mapping[str, str]) -> str:
    interval = f"[{float(row['ci_low']):.2f}, {float(row['ci_high']):.2f}]"
    worst = f"**{float(row['accuracy']):.2f}** {interval}"
    return f"{worst} ▼" if row.get("below_no_defense") else worst


def _short(number: str) -> str:
    return f"{float(number):.2f}" if number else ""


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


def read_modern(folder: Path) -> list[dict[str, str]]:
    """The rows of later purifiers, each with the milliseconds of one purification (`ms`)."""

    def key(row: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(row[name] for name in ("dataset", "classifier", "defense", "variant"))

    times = {key(row): row["purification_ms"] for row in read(folder / "modern.times.csv")}
    return [{**row, "ms": times[key(row)]} for row in read(folder / "modern.csv")]


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
    at = place if name == "modern" else DIGITS
    text = page.read_text()
    # Before anything is copied: files beside an old table would be a lie.
    split_at(text, at, name)
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
    if name == "modern":
        page.write_text(with_table(text, at, table(read_modern(folder)), name))
        return
    boards = {shown: read(README.parent / own / "leaderboard.csv") for shown, own in SHOWN.items()}
    page.write_text(with_table(text, at, side_by_side(boards), name))
    draw(boards["digits"], README.parent / PICTURE)


if __name__ == "__main__":
    main(*sys.argv[1:])
