"""The leaderboard as a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from purification.evaluation.protocols import EVALUATIONS, FIXED, ONE_SHOT
from purification.reporting.markdown_tables import grid

_HEADER = (
    *("data set", "classifier", "defense", "L, R", "judged", "epsilon", "n", "clean"),
    "worst case",
    *("attacks", "broke most", "passes an image"),
)
_LEGEND = (
    "Worst-case accuracy: an image counts only if it is classified correctly as it is and under "
    "every attack of the cascade, with Wilson's 95 % interval. Each attack is run on the images "
    "that those before it have left, by an attacker who knows the whole defense, its random "
    "numbers included; `epsilon` is the largest change of a pixel in [0, 1], or an l2 norm where "
    "it says so. `broke most` names the attack that took most accuracy in its place in the "
    "cascade, which says little of the later ones; `passes an image` are passes of the defended "
    "model that all attacks took. `leaderboard.csv` has what is left after each. A defense below "
    "the line `none` makes its classifier easier to attack. What no attack here has broken a "
    "better one may."
)
_DRAWN = (
    "A randomised defense draws anew in each evaluation, and has a row for each protocol, named "
    "under `judged`. One-shot: its attacker does not know the draws, selects among the images that "
    "all attacks made by draws of its own, and the selected ones are judged on others, which no "
    "attack and no selection saw; mean over the draws, with the standard deviation over them. All "
    "of so many draws: an image counts only if it is right in each of these; the clean accuracy is "
    "by the same rule. Known draw: the attacker knows the one on which the image is judged."
)


def leaderboard_page(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of `evaluation.leaderboard.leaderboard_rows` as GitHub's Markdown, legend included."""
    lines = [_line(row) for row in rows]
    legend = [_LEGEND, *([_DRAWN] if any(row["protocol"] for row in rows) else [])]
    parts = ["# What is left under a cascade of attacks", *legend, grid(_HEADER, lines)]
    return "\n\n".join(parts) + "\n"


def _line(row: Mapping[str, Any]) -> list[Any]:
    seed = f" (seed {row['seed']})" if row["seed"] else ""
    spread = "" if row["spread"] is None else f" ± {row['spread']:.3f}"
    search = ", ".join(str(row[name]) for name in ("iterations_L", "restarts_R") if row[name])
    return [
        *(f"{row['dataset']}{seed}", row["classifier"]),
        *(f"{row['defense']} {row['variant'] or ''}".strip(), search, _judged(row)),
        *(f"{row['epsilon']:g}{'' if row['norm'] == 'linf' else ' (l2)'}", row["n"]),
        f"{row['clean_accuracy']:.3f}",
        f"**{row['accuracy']:.3f}**{spread} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]",
        *(row["attackers"], row["strongest"] or "", f"{row['passes_per_image']:.0f}"),
    ]


def _judged(row: Mapping[str, Any]) -> str:
    """By which protocol, in words."""
    draws = row["draws"]
    return {
        None: "",
        ONE_SHOT: f"one-shot, {draws} draws" if draws != 1 else "one-shot",
        EVALUATIONS: f"all of {draws} draws",
        FIXED: "known draw",
    }[row["protocol"]]
