"""What a run found, in one line: what is said at its end."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from purification.reporting.digits import interval_text, share_text

Named = Callable[[str, str], str]
"""What a defence is called, of its name and variant in a table."""
_BOXES = {"white_box": "white box", "gray_box": "gray box", "black_box": "black box"}
_BOXES |= {"white_box_bpda": "BPDA"}
_SHOWN = 3
"""Defences that a line names."""


def headline(files: Iterable[str | Path], named: Named) -> str:
    """One line on the leaderboard among these files, or else on the first table of accuracies (a
    long table), such as "digits, fgsm 0.1, classifier A: 0.446 [.403, .490] without defense;
    0.58 [.48, .67] Defense-GAN-Rec (white box)"; "" if there is none. `named` says what a defence
    is called, of its name and variant."""
    paths = [Path(file) for file in files]
    for path in paths:
        if path.name == "leaderboard.csv" and (rows := _rows(path)):
            return _of_leaderboard(rows, named)
    tables = (_rows(path) for path in paths if path.name.endswith(".long.csv"))
    lines = (_of_table(rows, named) for rows in tables if rows and "threat_model" in rows[0])
    return next(filter(None, lines), "")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _of_leaderboard(rows: Sequence[Mapping[str, str]], named: Named) -> str:
    first = rows[0]
    run = ("dataset", "seed", "classifier", "norm", "epsilon")
    own = [row for row in rows if all(row[name] == first[name] for name in run)]
    bare = [row for row in own if row["defense"] == "none"]
    others = [row for row in own if row["defense"] != "none"]
    shown = [f"{_share(row)} {named(row['defense'], row['variant'])}" for row in bare]
    shown += [f"{_share(row)} {named(row['defense'], row['variant'])}" for row in others[:_SHOWN]]
    further = f"; {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    where = f"{first['dataset']}, classifier {first['classifier']}, epsilon {first['epsilon']}"
    return f"Worst case, {where}: {'; '.join(shown)}{further}"


def _of_table(rows: Sequence[Mapping[str, str]], named: Named) -> str:
    attacked = [row for row in rows if row["attack"] != "none" and row["accuracy"]]
    if not attacked:
        return ""
    first = attacked[0]
    place = ("dataset", "seed", "attack", "epsilon", "classifier")
    own = [row for row in attacked if all(row[name] == first[name] for name in place)]
    bare = [f"{_share(row)} without defense" for row in own if row["defense"] == "none"][:1]
    others = [row for row in own if row["defense"] != "none"]
    # Of several threat models the one that knows the defence.
    strongest = next((box for box in _BOXES if any(r["threat_model"] == box for r in others)), "")
    others = [row for row in others if row["threat_model"] == strongest]
    shown = [f"{_share(row)} {named(row['defense'], row['variant'])}" for row in others[:_SHOWN]]
    shown += [f"{len(others) - _SHOWN} more"] if len(others) > _SHOWN else []
    box = f" ({_BOXES[strongest]})" if shown else ""
    attack = f"{first['attack']} {first['epsilon']}".strip()
    where = f"{first['dataset']}, {attack}, classifier {first['classifier']}"
    return f"{where}: {'; '.join([*bare, *shown])}{box}"


def _share(row: Mapping[str, str]) -> str:
    n = int(row["n"])
    bounds = (float(row[name] or "nan") for name in ("ci_low", "ci_high"))
    return f"{share_text(float(row['accuracy']), n)} {interval_text(*bounds, n)}"
