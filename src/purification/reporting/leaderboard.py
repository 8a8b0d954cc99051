"""The leaderboard as a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from purification.reporting.markdown_tables import grid

_HEADER = (
    *("data set", "classifier", "defense", "L, R", "epsilon", "n", "clean", "worst case"),
    *("attacks", "broke most", "passes an image"),
)
_LEGEND = (
    "Worst-case accuracy: an image counts only if it is classified correctly as it is and under "
    "every attack of the cascade, with Wilson's 95 % interval. Each attack is run on the images "
    "that those before it have left, by an attacker who knows the whole defense, its random "
    "numbers included; `epsilon` is the largest change of a pixel in [0, 1], or an l2 norm where "
    "it says so. `broke most` names the attack that broke most images in its place in the "
    "cascade, which says little of the later ones; `passes an image` are passes of the defended "
    "model that all attacks took. `leaderboard.csv` has what is left after each. A defense below "
    "the line `none` makes its classifier easier to attack. What no attack here has broken a "
    "better one may."
)


def leaderboard_page(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of `evaluation.leaderboard.leaderboard_rows` as GitHub's Markdown, legend included."""
    lines = [_line(row) for row in rows]
    return f"# What is left under a cascade of attacks\n\n{_LEGEND}\n\n{grid(_HEADER, lines)}\n"


def _line(row: Mapping[str, Any]) -> list[Any]:
    seed = f" (seed {row['seed']})" if row["seed"] else ""
    search = ", ".join(str(row[name]) for name in ("iterations_L", "restarts_R") if row[name])
    return [
        *(f"{row['dataset']}{seed}", row["classifier"]),
        *(f"{row['defense']} {row['variant'] or ''}".strip(), search),
        *(f"{row['epsilon']:g}{'' if row['norm'] == 'linf' else ' (l2)'}", row["n"]),
        f"{row['clean_accuracy']:.3f}",
        f"**{row['accuracy']:.3f}** [{row['ci_low']:.3f}, {row['ci_high']:.3f}]",
        *(row["attackers"], row["strongest"] or "", f"{row['passes_per_image']:.0f}"),
    ]
