"""What the papers claim of a defence: one printed accuracy for each row of the leaderboard.

The rule. The paper is the defence's own: of the four that whose defence has its name, and of others
(none, MagNet, adversarial training) the first that prints anything of it. In that paper: numbers
for the same data set, classifier, defence and variant, under attacks of the same norm and strength
(of any strength where the paper names none); of the threat models there, by the paper's own words,
white box before gray box before black box; the first table that has one; and the lowest in it,
because a leaderboard's other numbers are the lowest over attacks, too. The strengths of CW and
DeepFool are not bounded, and theirs are left out.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from purification.evaluation.measure import NAMING_COLUMN
from purification.reporting.papers import as_in_paper, epsilon_key, in_our_units, printed_accuracies

CLAIM_COLUMNS = ("claim", "claim_source", "no_claim")
"""Columns of `claim_of`: the printed accuracy, in [0, 1], and where it stands: paper, table, attack
and threat model, by its words and in brackets by ours, L and R; or else why there is none."""
_THREAT_MODELS = ("white_box", "gray_box", "black_box")
_IDENTITY = ("dataset", "classifier", "defense", "variant")


def claim_of(
    row: Mapping[str, Any], papers: Mapping[str, Any], printed: Mapping[str, pd.DataFrame]
) -> dict[str, Any]:
    """The claim on a leaderboard's row (`CLAIM_COLUMNS`).

    Args:
        row: of `evaluation.leaderboard.leaderboard_rows`.
        papers: by their keys, in the order in which they are asked (`experiments.PAPERS`).
        printed: of `printed_claims`.
    """
    nothing = dict.fromkeys(CLAIM_COLUMNS)
    if row.get(NAMING_COLUMN):
        return nothing | {"no_claim": f"not what it is called: {row[NAMING_COLUMN]}"}
    own = [row["defense"]] if row["defense"] in papers else [*papers]
    for key in own:
        found = _claims(row, printed[key], papers[key].known)
        if not found.empty:
            return nothing | _first(found, papers[key].title)
    return nothing | {"no_claim": _why_not(row, printed, own)}


def printed_claims(papers: Mapping[str, Any], folder: Path) -> dict[str, pd.DataFrame]:
    """What each of the papers prints under attack, in our vocabulary and units, and by the paper's
    own word for the threat model in `printed`. `folder` and errors as of `paper_values`."""
    claims = {}
    for key, paper in papers.items():
        rows = printed_accuracies(key, folder)
        rows = in_our_units(rows.assign(printed=rows["threat_model"]), paper.known)
        rows["number"] = rows["table"].map(_number)
        shown = rows["number"].notna() & rows["printed"].isin(_THREAT_MODELS)
        claims[key] = rows[shown & (rows["attack"] != "none")]
    return claims


def _claims(
    row: Mapping[str, Any], printed: pd.DataFrame, known: Mapping[str, Any]
) -> pd.DataFrame:
    """The printed rows for the same measurement."""
    own = {name: row[name] or "" for name in _IDENTITY}
    own = as_in_paper(pd.DataFrame([own]), known).iloc[0]
    found = printed[printed["norm"] == row["norm"]]
    for name in _IDENTITY:
        found = found[found[name] == own[name]]
    if known.get("strengths", True):
        [strength] = epsilon_key(pd.Series([row["epsilon"]], dtype=float))
        found = found[epsilon_key(found["epsilon"]) == strength]
    return found


def _first(found: pd.DataFrame, title: str) -> dict[str, Any]:
    """Of the printed rows the one that the rule chooses."""
    rank = found["printed"].map(_THREAT_MODELS.index)
    order = found.assign(rank=rank).sort_values(["rank", "number", "value"], kind="stable")
    claim = order.iloc[0]
    words = [claim["attack"], _threat_model(claim)]
    words += [
        f"{letter} {claim[name]:d}"
        for letter, name in (("L", "iterations_L"), ("R", "restarts_R"))
        if pd.notna(claim[name])
    ]
    return {
        "claim": float(claim["value"]),
        "claim_source": f"{title}, {claim['table']}: {', '.join(words)}",
    }


def _threat_model(claim: pd.Series) -> str:
    printed, ours = (claim[name].replace("_", " ") for name in ("printed", "threat_model"))
    return printed if printed == ours else f"{printed} (our {ours})"


def _why_not(row: Mapping[str, Any], printed: Mapping[str, pd.DataFrame], own: list[str]) -> str:
    """Why no paper's number stands in a row."""
    if not any((rows["dataset"] == row["dataset"]).any() for rows in printed.values()):
        return f"no paper prints numbers for {row['dataset']}"
    rows = pd.concat([printed[key] for key in own])
    rows = rows[rows["dataset"] == row["dataset"]]
    rows = rows[rows["defense"] == row["defense"]]
    if rows.empty:
        return f"its paper prints no {row['defense']} on {row['dataset']}"
    if not (rows["classifier"] == row["classifier"]).any():
        return f"its paper prints none before classifier {row['classifier']}"
    return "its paper prints none of this variant, norm and strength"


def _number(table: str) -> float | None:
    """Of "Table 4" the 4; None of what stands in a figure or in the text."""
    found = re.fullmatch(r"Table (\d+)", table)
    return float(found[1]) if found else None
