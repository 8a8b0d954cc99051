"""The wide table for reading: with intervals, the paper's values, and warnings of what its rows
show."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from purification.evaluation.flags import (
    FLAGS,
    LARGER_EPSILON,
    RANDOMISED,
    ZERO_GRADIENT,
    flag_column,
    flagged,
)
from purification.evaluation.measure import NAMING_COLUMN
from purification.evaluation.protocols import EVALUATIONS, FIXED, ONE_SHOT
from purification.evaluation.refusals import REFUSED
from purification.reporting.long_tables import SEARCH, THREAT_ORDER, epsilon_text, text_of
from purification.reporting.threat_models import MEANING
from purification.reporting.wide_tables import KEY, main_threat_model, table_cells

_PAPER_WHITE_BOX = (
    "The paper's white-box values of a defense with a latent search are not comparable with ours: "
    "in its published code no gradient passes the search, so the attack stood still."
)
_PROTOCOLS = (
    "A randomised defense draws anew in each evaluation. Its columns are, by protocol: one-shot "
    "(without a further name), each image judged once on a draw that no look of the attack was, as "
    "the mean over several such draws ± their sample standard deviation; `*_evaluations`, right in "
    "all of so many draws, to be read beside the accuracy without attack under as many; `*_fixed`, "
    "the attacker knows the draw, and the image is judged on it; `*_fixed_fresh`, the same images "
    "on draws that they were not made for."
)
_REFUSED = "no number: attack refused"
MARK = "⚑"
"""Marks a number that is warned of."""
_WARNINGS = {
    REFUSED: ("The attack was refused, and there is no number", ": {0.refused}"),
    "above_clean": (
        "Accuracy under attack above the same model's accuracy without attack "
        "(on a subset of the images where n is smaller)",
        " {0.accuracy:.4f} (n = {0.n}) > {0.accuracy_clean:.4f} (n = {0.n_clean})",
    ),
    RANDOMISED: (
        "Randomised defenses: each evaluation is another draw, so that one says little of others, "
        "and the gradient of one draw little of their mean",
        "",
    ),
    ZERO_GRADIENT: (
        "Images whose gradient is exactly zero: the attack cannot move them, "
        "so the accuracy may be too high",
        " {0.zero_gradient_share:.4f}",
    ),
    "low_success": (
        "Attacks that succeed on under 5 % of the images: robust, or an attack that fails",
        " {0.success_rate:.4f}",
    ),
    "weaker_than_gray_box": (
        "The attacker who knows the defense does worse than the one who does not, beyond both "
        "95 % intervals: the gradient is blocked or the attack badly tuned",
        " {0.accuracy:.4f} > {0.accuracy_gray:.4f} gray box",
    ),
    LARGER_EPSILON: (
        "The same attack leaves less of as many images in a smaller ball, which the larger one "
        "holds: the attack, not the defense, explains the number",
        " {0.accuracy:.4f} > {0.accuracy_smaller:.4f} at epsilon {0.epsilon_smaller:.6g}",
    ),
}
"""What is warned of: a heading, and what stands behind the name of each cell."""


def grid(header: Sequence[Any], rows: Iterable[Sequence[Any]], *, filled: bool = False) -> str:
    """A table in GitHub's Markdown; `filled` leaves out the columns that are empty in all rows."""
    header, rows = list(header), [list(map(str, row)) for row in rows]
    kept = [i for i in range(len(header)) if not filled or any(row[i] for row in rows)]
    lines = [[line[i] for i in kept] for line in (header, ["---"] * len(header), *rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def bounded(row: pd.Series, name: str) -> str:
    """A number with its interval, columns `name`, `name`_low and `name`_high; empty for none."""
    if pd.isna(row[name]):
        return ""
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def markdown_table(
    long: pd.DataFrame,
    wide: pd.DataFrame,
    *,
    title: str,
    notes: Sequence[str] = (),
    swept: bool = False,
) -> str:
    """The wide table for reading, in GitHub's Markdown.

    Each cell holds the accuracy (mean ± standard deviation over seeds where there are several), the
    95 % Wilson interval (of the counts pooled over seeds), n, and the paper's value where there is
    one; and, behind `MARK`, its flags (`purification.evaluation.flags`), of which the warnings tell
    more. A legend explains the threat models that occur. There are also warnings of attacks that
    were refused, with the reason, whose cells have no number, and of what is not what its name
    says, beside which no paper's value stands.

    `wide`, the `wide_table` of `long`, gives the rows and columns shown; `notes` are paragraphs
    below the heading `title`; `swept` and errors as for `wide_table`.
    """
    cells = _flagged_cells(long, swept)
    parts = [f"# {title}", *notes, *_sections(cells, long, wide, _cell_text, top=2)]
    parts += ["## How to read this", _legend(cells), "## Warnings", _warnings(cells)]
    return "\n\n".join(parts) + "\n"


def brief_table(long: pd.DataFrame, wide: pd.DataFrame, *, swept: bool = False) -> str:
    """The tables of `markdown_table` alone, their cells in one line: accuracy, half the width of
    its interval, and the paper's value with our difference from it where there is one, and `MARK`
    where it is flagged.

    Arguments and errors as there; headings begin at the third level.
    """
    return "\n\n".join(_sections(_flagged_cells(long, swept), long, wide, _brief_text, top=3))


def _flagged_cells(long: pd.DataFrame, swept: bool) -> pd.DataFrame:
    cells = table_cells(long, swept)
    return cells.assign(**{FLAGS: flag_column(cells)})


def _sections(
    cells: pd.DataFrame, long: pd.DataFrame, wide: pd.DataFrame, text: Callable[..., str], top: int
) -> list[str]:
    """Headings and tables of each data set: the paper's columns, other threat models, no attack."""
    names = [name for name in wide if name in set(cells["column"])]
    clean = set(cells.loc[cells["attack"] == "none", "column"])
    main = main_threat_model(long)
    paper_layout = {"no_attack"} | set(cells.loc[cells["threat_model"] == main, "column"])
    sections = [
        (f"No defense, and {main.replace('_', '-')} attacks on the defenses", paper_layout, False),
        ("Other threat models", set(names) - paper_layout - clean, False),
        ("Without attack", clean, True),
    ]
    texts = {
        (*(getattr(row, name) for name in KEY), row.column): text(row) for row in cells.itertuples()
    }
    parts = []
    for dataset in wide["dataset"].unique():
        parts.append(f"{'#' * top} {dataset}")
        rows = wide[wide["dataset"] == dataset]
        for heading, wanted, without_attack in sections:
            columns = [name for name in names if name in wanted]
            table = _markdown_table(rows, columns, texts, clean, without_attack)
            if table:
                parts += [f"{'#' * (top + 1)} {heading}", table]
    return parts


def _cell_text(cell: tuple) -> str:
    if not cell.seeds:
        return _REFUSED
    accuracy = f"{cell.accuracy:.4f}"
    if cell.seeds > 1:
        accuracy += f" ± {cell.std:.4f}"
    lines = [f"**{accuracy}**"]
    if pd.notna(cell.ci_low):
        lines.append(f"[{cell.ci_low:.4f}, {cell.ci_high:.4f}]")
    lines.append(f"n = {cell.n}" + (f", {cell.seeds} seeds" if cell.seeds > 1 else ""))
    lines += _protocol_lines(cell)
    if pd.notna(cell.mean_l2):
        lines.append(f"l2 = {cell.mean_l2:.2f}")
    if pd.notna(getattr(cell, "paper_value", None)):
        lines.append(f"paper {cell.paper_value:.4f}")
    if cell.flags:
        lines.append(f"{MARK} {cell.flags.replace(';', ', ')}")
    return "<br>".join(lines)


def _protocol_lines(cell: Any) -> list[str]:
    """How a randomised defence was judged."""
    protocol = getattr(cell, "protocol", "")
    if protocol == FIXED:
        return ["known draw"]
    if protocol == EVALUATIONS:
        return [f"right in all of {cell.evaluations} draws"]
    if protocol == ONE_SHOT:
        spread = f" ± {cell.spread:.4f}" if pd.notna(cell.spread) else ""
        return [f"mean over {cell.draws} draws{spread}"]
    return []


def _brief_text(cell: Any) -> str:
    if not cell.seeds:
        return _REFUSED
    text = f"{cell.accuracy:.3f}"
    if pd.notna(cell.ci_low):
        text += f" ± {(cell.ci_high - cell.ci_low) / 2:.3f}"
    if pd.notna(cell.paper_value):
        text += f" (paper {cell.paper_value:.3f}, {cell.accuracy - cell.paper_value:+.3f})"
    return f"{text} {MARK}" if cell.flags else text


def _markdown_table(
    rows: pd.DataFrame,
    columns: Sequence[str],
    texts: dict[tuple, str],
    clean: set[str],
    without_attack: bool,
) -> str:
    labels = ("attack", "epsilon", "classifier", "substitute", "L", "R")
    if without_attack:
        labels = ("classifier", "L", "R")
        rows = rows.drop_duplicates(["classifier", *(name for name in SEARCH if name in rows)])
    lines = []
    for row in rows.itertuples():
        epsilon = "" if pd.isna(row.epsilon) else f"{row.epsilon:.6f}"
        substitute = getattr(row, "substitute", "")
        search = tuple(getattr(row, name, -1) for name in SEARCH)
        bare, attacked = ("none", "", row.classifier, ""), (row.attack, epsilon, row.classifier)
        cells = []
        for name in columns:
            key = (row.dataset, *(bare if name in clean else (*attacked, substitute)))
            cells.append(texts.get((*key, *search, name)) or texts.get((*key, -1, -1, name), ""))
        shown_search = tuple("" if value < 0 else str(value) for value in search)
        left = (row.attack, epsilon_text(row.epsilon), row.classifier, substitute)
        left = (row.classifier,) if without_attack else left
        if any(cells):
            lines.append((*left, *shown_search, *cells))
    # What this dataset did not measure would be an empty column.
    return grid((*labels, *columns), lines, filled=True) if lines else ""


def _legend(cells: pd.DataFrame) -> str:
    present = set(cells["threat_model"])
    names = [name for name in THREAT_ORDER if name in present]
    lines = [
        "Each cell: accuracy, 95 % Wilson interval, number of images n, mean l2 norm of the "
        "perturbations that succeeded"
        + (", the paper's printed value." if _is_printed(cells).any() else ".")
    ]
    if (cells["seeds"] > 1).any():
        lines[0] += (
            " With several seeds: mean ± sample standard deviation over seeds; n and the interval "
            "pool the seeds' counts, so the interval does not cover the spread between seeds."
        )
    if (cells[FLAGS] != "").any():
        lines[0] += f" {MARK}: what is warned of below."
    lines.append("")
    for name in (*names, *sorted(present - set(names))):
        columns = {"none": " (columns `no_attack`, `*_clean`)", "white_box_bpda": " (`*_bpda`)"}
        meaning = MEANING.get(name, "as the configuration defines it.")
        lines.append(f"- `{name}`{columns.get(name, '')}: {meaning}")
    if (text_of(cells, "protocol") != "").any():
        lines += ["", _PROTOCOLS]
    searched = (cells["defense"] == "defense_gan") & (cells["threat_model"] == "white_box")
    if _is_printed(cells[searched]).any():
        lines += ["", _PAPER_WHITE_BOX]
    return "\n".join(lines)


def _is_printed(cells: pd.DataFrame) -> pd.Series:
    """Where a paper has a number."""
    return cells.reindex(columns=["paper_value"])["paper_value"].notna()


def _pair(cell: tuple) -> str:
    """The classifier, with the substitute that the attack came from."""
    pair = f"{cell.classifier}/{cell.substitute}" if cell.substitute else cell.classifier
    return f"{pair} L={cell.iterations_L} R={cell.restarts_R}" if cell.iterations_L >= 0 else pair


def _warnings(cells: pd.DataFrame) -> str:
    found = {REFUSED: cells[text_of(cells, REFUSED) != ""], **flagged(cells)}
    parts, place = [], ["dataset", "attack", "epsilon_key", "column"]
    for name, (heading, text) in _WARNINGS.items():
        if found[name].empty:
            continue
        lines = [f"**{heading}:**", ""]
        for (dataset, attack, _, column), group in found[name].groupby(place, sort=False):
            attack = f"{attack} {epsilon_text(group['epsilon'].iloc[0])}".strip()
            listed = "; ".join(_pair(cell) + text.format(cell) for cell in group.itertuples())
            lines.append(f"- {dataset}, {attack}, `{column}`: {listed}")
        parts.append("\n".join(lines))
    other = sorted({text for text in text_of(cells, NAMING_COLUMN) if text})
    if other:
        lines = ["**Not what their names say, so that no paper's value stands beside:**", ""]
        parts.append("\n".join([*lines, *(f"- {text}" for text in other)]))
    return "\n\n".join(parts) if parts else "None of the checks found anything."
