"""Paired comparisons of a table's columns, for reading."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from purification.reporting.digits import difference_text
from purification.reporting.long_tables import epsilon_text
from purification.reporting.markdown_tables import grid

ALPHA = 0.05
"""Corrected p-values below it are marked."""
HOW = (
    "Two columns of one attack and threat model, image by image, on the images that both have (n); "
    "`no defense` is the bare classifier under the same attack, and in the gray box under the same "
    "images. A cell: accuracy of the first less that of the second, mean over classifiers and "
    "seeds; in brackets on how many images the first is right in more of these, and in fewer; and "
    "the p-value of the exact two-sided sign test of the two numbers. With one classifier and one "
    "seed that is McNemar's exact test. Bold: below 0.05 when corrected for all comparisons of "
    "this table (Holm). They say nothing of other trainings of the same networks."
)
_THREATS = {"white_box_bpda": "BPDA"}


@dataclass(frozen=True)
class PairedTable:
    """The comparisons on one data set: the `attacks` are its columns, and each of `rows` has its
    texts (threat model, first, second) and what is known of it under each attack, or None."""

    dataset: str
    attacks: Sequence[str]
    rows: Sequence[tuple[tuple[str, str, str], Sequence[Mapping[str, Any] | None]]]


def paired_tables(
    rows: Iterable[Mapping[str, Any]], named: Callable[[str, str], str]
) -> list[PairedTable]:
    """Rows of `evaluation.paired.paired_rows` as tables; `named` says what a defence is called, of
    its name and variant."""
    tables: dict[str, dict[tuple[str, str, str], dict[str, Any]]] = {}
    for row in rows:
        threat = _THREATS.get(row["threat_model"], row["threat_model"].replace("_", " "))
        first = named(row["defense"], row["variant"])
        second = named(row["other_defense"], row["other_variant"])
        # A defence stands before what it is compared with: no defence comes first among the rows.
        if row["defense"] == "none":
            row, first, second = _turned(row), second, first
        attack = f"{row['attack']} {epsilon_text(_number(row['epsilon']))}".strip()
        own = tables.setdefault(row["dataset"], {})
        own.setdefault((threat, first, second), {})[attack] = row
    return [
        PairedTable(
            dataset,
            attacks := list(dict.fromkeys(attack for own in lines.values() for attack in own)),
            [(key, [own.get(attack) for attack in attacks]) for key, own in lines.items()],
        )
        for dataset, lines in tables.items()
    ]


def _number(value: Any) -> float:
    return float("nan") if value is None or value == "" else float(value)


def _turned(row: Mapping[str, Any]) -> dict[str, Any]:
    """With the other one first."""
    other = {"difference": -row["difference"], "ahead": row["behind"], "behind": row["ahead"]}
    return {**row, **other}


def paired_text(row: Mapping[str, Any], n: int) -> str:
    """A cell, such as "**+0.13** (41 : 12), p 0.0001"."""
    difference = difference_text(row["difference"], row["n"])
    if row["p_value_holm"] < ALPHA:
        difference = f"**{difference}**"
    text = f"{difference} ({row['ahead']} : {row['behind']}), p {p_text(row['p_value'])}"
    return text if row["n"] == n else f"{text}, n = {row['n']}"


def p_text(p: float) -> str:
    """Such as "0.03"; below 0.0001 no more than that."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.995 else "1"


def paired_section(
    rows: Sequence[Mapping[str, Any]],
    named: Callable[[str, str], str],
    randomised: bool = False,
    gone: int = 0,
) -> str:
    """The section of a table's page; "" if there is nothing to compare. `randomised`: the table has
    such defences, which are left out. `gone`: numbers of it whose images lie there no more."""
    tables = paired_tables(rows, named)
    lost = [f"Numbers compared with none, because their images are gone: {gone}."] if gone else []
    if not tables:
        return lost[0] if lost else ""
    said = [HOW, *(["Randomised defenses are left out."] if randomised else []), *lost]
    parts = [" ".join(said)]
    for table in tables:
        counts = [
            [own[i]["n"] for _, own in table.rows if own[i]] for i in range(len(table.attacks))
        ]
        usual = [max(dict.fromkeys(each), key=each.count) for each in counts]
        header = ["threat model", "first", "second"]
        header += [f"{a}, n = {n}" for a, n in zip(table.attacks, usual, strict=True)]
        lines = [
            [*texts, *(paired_text(c, n) if c else "" for c, n in zip(own, usual, strict=True))]
            for texts, own in table.rows
        ]
        parts += [f"### {table.dataset}", grid(header, lines)]
    return "\n\n".join(parts)


HEADING = "Paired comparisons"


def paired_grids(page: str) -> tuple[str, list[tuple[str, list[str], list[list[str]]]]]:
    """What the page of a table says of its pairs: the paragraph above them, and of each data set
    its name, the headings and the rows; nothing if it has none."""
    _, found, section = page.partition(f"\n## {HEADING}\n")
    if not found:
        return "", []
    how, *parts = section.partition("\n## ")[0].strip().split("\n\n### ")
    grids = []
    for part in parts:
        dataset, *lines = part.strip().splitlines()
        header, _, *rows = [line[2:-2].split(" | ") for line in lines if line.startswith("| ")]
        grids.append((dataset, header, rows))
    return how, grids


def has_randomised(long: pd.DataFrame) -> bool:
    """Whether a long table has defences that draw anew in each evaluation."""
    return "protocol" in long and bool((long["protocol"].fillna("") != "").any())
