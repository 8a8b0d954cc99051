"""Puts a finished leaderboard into the documents: its files into a folder of docs/results, and its
table into README.md, between the two lines that name that folder.

    python docs/leaderboard.py RESULTS docs/results/digits
"""

import csv
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from purification.experiments import paper_name

README = Path(__file__).resolve().parents[1] / "README.md"
FILES = ("leaderboard.csv", "leaderboard.times.csv", "leaderboard.md", "leaderboard.html")
BEGIN, END = "<!-- {}/leaderboard.csv -->", "<!-- end of it -->"
_BOXES = ("gray_box", "white_box_bpda", "white_box")
_HEADER = (
    *("defence", "clean", "its paper", "gray box", "BPDA", "white box", "worst case"),
    *("attackers", "passes of a purification", "flags"),
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
    header = [_HEADER[i] for i in kept]
    shown = [["data set, classifier", *header] if several else header]
    shown.append(["---"] * len(shown[0]))
    for (dataset, classifier), own in lines:
        named = [f"{dataset}, {classifier}"] if several else []
        shown += [[*named, *(line[i] for i in kept)] for line in own]
    return "\n".join(f"| {' | '.join(line)} |" for line in shown)


def _line(row: Mapping[str, str]) -> list[str]:
    # Of several strengths of training the leaderboard has one.
    variant = "" if row["variant"].startswith("eps=") else row["variant"]
    name = paper_name(row["defense"], variant) if row["defense"] != "none" else "none"
    if protocol := row.get("protocol"):
        draws = f" of {row['evaluations']}" if protocol == "evaluations" else ""
        name = f"{name}, {protocol.replace('_', ' ')}{draws}"
    interval = f"[{float(row['ci_low']):.2f}, {float(row['ci_high']):.2f}]"
    worst = f"**{float(row['accuracy']):.2f}** {interval}"
    return [
        name,
        *(_short(row.get(column, "")) for column in ("clean_accuracy", "claim", *_BOXES)),
        f"{worst} ▼" if row.get("below_no_defense") else worst,
        *(row["attackers"], row.get("purification_passes", "").removesuffix(".0")),
        row.get("flags", "").replace(";", ", ").replace("_", " "),
    ]


def _short(number: str) -> str:
    return f"{float(number):.2f}" if number else ""


def with_table(text: str, place: str, rows: Sequence[Mapping[str, str]]) -> str:
    """README.md's text with the table of a place. Raises ValueError if it has no lines for one."""
    begin = BEGIN.format(place)
    found = re.compile(f"({re.escape(begin)}\n\n).*?(\n\n{re.escape(END)})", re.DOTALL)
    if not found.search(text):
        raise ValueError(f"README.md: expected the line {begin!r}, and after it {END!r}")
    return found.sub(lambda match: match[1] + table(rows) + match[2], text)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main(results: str, place: str) -> None:
    for name in FILES:
        shutil.copy(Path(results, name), README.parent / place / name)
    rows = read(README.parent / place / FILES[0])
    README.write_text(with_table(README.read_text(), place, rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
