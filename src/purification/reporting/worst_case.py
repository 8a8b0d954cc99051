"""The worst case over attackers as a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from purification.evaluation.worst_case import MEASURED
from purification.reporting.markdown_tables import grid

_HEADER = (
    *("data set", "classifier", "defense", "L, R", "epsilon", "n", "attackers"),
    *("left by the strongest alone", "left by all"),
)


def worst_case_page(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of `evaluation.worst_case.worst_case_rows` as GitHub's Markdown, legend included.

    Raises ValueError if there are none.
    """
    if not rows:
        raise ValueError("no attacks of a bounded strength: nothing to join (config: worst_case)")
    lines = [_line(row) for row in rows]
    return f"# The best of several attackers\n\n{_LEGEND}\n\n{grid(_HEADER, lines)}\n"


def _line(row: Mapping[str, Any]) -> list[Any]:
    seed = f" (seed {row['seed']})" if row["seed"] else ""
    search = ", ".join(str(row[name]) for name in ("iterations_L", "restarts_R") if row[name])
    units = f" of {row['pixel_range']}" if row["pixel_range"] else ""
    units += {"linf": "", "l2": " (l2)", MEASURED: " (l2, measured)"}.get(
        row["norm"], " (of no known norm)"
    )
    alone, all_of_them = "none", "none"
    if row["n"]:
        alone = f"{row['strongest_accuracy']:.3f} ({row['strongest']})"
        all_of_them = f"{row['accuracy']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
    refused = [text for text in row["attacks"].split("; ") if text.endswith(" refused")]
    return [
        *(f"{row['dataset']}{seed}", row["classifier"]),
        *(f"{row['defense']} {row['variant'] or ''}".strip(), search),
        *(f"{row['epsilon']:g}{units}", row["n"]),
        "; ".join([str(row["attackers"]), *refused]),
        *(alone, all_of_them),
    ]


_LEGEND = (
    "Every accuracy under one attack is an upper bound. Here an attacker of the strength `epsilon` "
    "(largest change of a pixel, or an l2 norm where it says so) has several attacks, in the gray "
    "box, in the white box by the true gradient and by BPDA, and succeeds on an image if one of "
    "them does. All of a line are of the same n images, as many as the shortest attack has; `left "
    "by all` is the share that the defense gets right under every attacker, with Wilson's 95 % "
    "interval. More attackers leave less: compare lines of the same number. `worst_case.csv` names "
    "them all, with what each leaves alone. An attack without a bound, such as CW, stands in lines "
    "`l2, measured` alone (config: `worst_case.l2`): there an image is broken by an attack whose "
    "image errs and is no farther than that l2 norm away. One that was refused is in none, because "
    "the gradient is zero everywhere, which says nothing of how robust a defense is."
)
