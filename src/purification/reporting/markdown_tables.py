"""The wide table for reading: with intervals, the paper's values, and warnings of what its rows
show."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from purification.evaluation.measure import NAMING_COLUMN, QUIRKS_COLUMN
from purification.evaluation.protocols import EVALUATIONS, FIXED, ONE_SHOT
from purification.evaluation.refusals import REFUSED
from purification.reporting.digits import interval_text, share_text
from purification.reporting.long_tables import SEARCH, THREAT_ORDER, epsilon_text, text_of
from purification.reporting.threat_models import MEANING
from purification.reporting.wide_tables import (
    KEY,
    OF_DEFENSES,
    main_threat_model,
    table_cells,
)

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
    paired: str = "",
) -> str:
    """The wide table for reading, in GitHub's Markdown.

    Each cell is one line: the accuracy (mean ± standard deviation over seeds where there are
    several) with as many digits as n bears (`digits`), the 95 % Wilson interval in short form (of
    the counts pooled over seeds), n where it is not that of the heading, the mean l2 norm of an
    attack without a strength, the paper's value where there is one, and `MARK` where it is flagged
    (`purification.evaluation.flags`): the warnings tell by what. A legend explains the threat
    models that occur. There are also warnings of attacks that were refused, with the reason, whose
    cells have no number, and of what is not what its name says, beside which no paper's value
    stands.

    `wide`, the `wide_table` of `long`, gives the rows and columns shown; `notes` are paragraphs on
    the settings, at the end; `paired` is a section of comparisons (`paired_tables`); `swept` and
    errors as for `wide_table`.
    """
    cells = _flagged_cells(long, swept)
    shown = table_parts(long, wide, swept=swept)
    parts = [f"# {title}", *_sections(shown, _cell_text, top=2)]
    parts += ["## Paired comparisons", paired] if paired else []
    parts += ["## How to read this", _legend(cells), "## Warnings", _warnings(cells)]
    parts += ["## Settings", *notes] if notes else []
    return "\n\n".join(parts) + "\n"


def brief_table(long: pd.DataFrame, wide: pd.DataFrame, *, swept: bool = False) -> str:
    """The tables of `markdown_table` alone, their cells in one line: accuracy, half the width of
    its interval, and the paper's value with our difference from it where there is one, and `MARK`
    where it is flagged.

    Arguments and errors as there; headings begin at the third level.
    """
    return "\n\n".join(
        _sections(table_parts(long, wide, swept=swept), _brief_text, 3, with_n=False)
    )


def _flagged_cells(long: pd.DataFrame, swept: bool) -> pd.DataFrame:
    cells = table_cells(long, swept)
    return cells.assign(**{FLAGS: flag_column(cells)})


@dataclass(frozen=True)
class TablePart:
    """A part of a table that is read by itself: of one data set, with a `heading` such as "Other
    threat models". `labels` name the first columns, `columns` the others as in the wide table. Each
    of `rows` has the texts of the labels and a cell of each column, or None; of a column `n` is the
    number of images that most of its cells have."""

    dataset: str
    heading: str
    labels: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[tuple[Sequence[str], Sequence[Any]]]

    @property
    def n(self) -> dict[str, int]:
        found = {}
        for i, name in enumerate(self.columns):
            counts = [cell.n for _, cells in self.rows if (cell := cells[i]) and cell.seeds]
            found[name] = max(dict.fromkeys(counts), key=counts.count) if counts else 0
        return found


def table_parts(long: pd.DataFrame, wide: pd.DataFrame, *, swept: bool = False) -> list[TablePart]:
    """The parts of a table: of each data set the paper's columns, other threat models, no attack.
    Arguments and errors as for `markdown_table`."""
    cells = _flagged_cells(long, swept)
    names = [name for name in wide if name in set(cells["column"])]
    clean = set(cells.loc[cells["attack"] == "none", "column"])
    main = main_threat_model(long)
    paper_layout = {"no_attack"} | set(cells.loc[cells["threat_model"] == main, "column"])
    sections = [
        (f"No defense, and {main.replace('_', '-')} attacks on the defenses", paper_layout, False),
        ("Other threat models", set(names) - paper_layout - clean, False),
        ("Without attack", clean, True),
    ]
    found = {(*(getattr(row, name) for name in KEY), row.column): row for row in cells.itertuples()}
    parts = []
    for dataset in wide["dataset"].unique():
        rows = wide[wide["dataset"] == dataset]
        for heading, wanted, without_attack in sections:
            columns = [name for name in names if name in wanted]
            labels, lines = _lines(rows, columns, found, clean, without_attack)
            # What this data set did not measure would be an empty column.
            kept = [i for i in range(len(columns)) if any(own[i] for _, own in lines)]
            named = [i for i in range(len(labels)) if any(left[i] for left, _ in lines)]
            if lines:
                shown = [([left[i] for i in named], [own[i] for i in kept]) for left, own in lines]
                head = [labels[i] for i in named], [columns[i] for i in kept]
                parts.append(TablePart(dataset, heading, *head, shown))
    return parts


def _lines(
    rows: pd.DataFrame,
    columns: Sequence[str],
    found: Mapping[tuple, Any],
    clean: set[str],
    without_attack: bool,
) -> tuple[Sequence[str], list[tuple[Sequence[str], list[Any]]]]:
    """The names of the first columns, and of each row their texts and its cells, if it has any."""
    labels: Sequence[str] = ("attack", "epsilon", "classifier", "substitute", "quirks", "L", "R")
    if without_attack:
        labels = ("classifier", "quirks", "L", "R")
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
            cells.append(found.get((*key, *search, name)) or found.get((*key, -1, -1, name)))
        shown_search = tuple("" if value < 0 else str(value) for value in search)
        left = (row.attack, epsilon_text(row.epsilon), row.classifier, substitute)
        left = (row.classifier,) if without_attack else left
        left = (*left, _quirks_of_line(cells))
        if any(cells):
            lines.append(([*left, *shown_search], cells))
    return labels, lines


def _quirks_of_line(cells: Iterable[Any]) -> str:
    """The quirks of published code of a line's numbers that its columns' names do not tell."""
    own = (getattr(cell, QUIRKS_COLUMN, "").split(";") for cell in cells if cell)
    return ", ".join(sorted({q for quirks in own for q in quirks if q} - {*OF_DEFENSES}))


def _sections(
    parts: Iterable[TablePart], text: Callable[[Any, int], str], top: int, with_n: bool = True
) -> list[str]:
    """Headings and tables. `text` makes that of a cell, of it and of its column's n, which stands
    in the heading `with_n`."""
    shown, dataset = [], None
    for part in parts:
        if part.dataset != dataset:
            dataset = part.dataset
            shown.append(f"{'#' * top} {dataset}")
        header = [*part.labels, *(f"{k}, n = {n}" if with_n else k for k, n in part.n.items())]
        rows = [
            [
                *left,
                *(
                    text(cell, n) if cell else ""
                    for cell, n in zip(cells, part.n.values(), strict=True)
                ),
            ]
            for left, cells in part.rows
        ]
        shown += [f"{'#' * (top + 1)} {part.heading}", grid(header, rows)]
    return shown


def _cell_text(cell: Any, n: int) -> str:
    if not cell.seeds:
        return f"{_REFUSED} {MARK}" if cell.flags else _REFUSED
    accuracy = share_text(cell.accuracy, cell.n)
    if cell.seeds > 1:
        accuracy += f" ± {share_text(cell.std, cell.n)}"
    text = f"**{accuracy}** {interval_text(cell.ci_low, cell.ci_high, cell.n)}".strip()
    parts = [text, *(_protocol_parts(cell))]
    parts += [f"n = {cell.n}"] if cell.n != n else []
    parts += [f"{cell.seeds} seeds"] if cell.seeds > 1 else []
    # Without a strength the norm is what an attack cost.
    unbounded = cell.attack != "none" and pd.isna(cell.epsilon)
    parts += [f"l2 {cell.mean_l2:.2g}"] if unbounded and pd.notna(cell.mean_l2) else []
    if pd.notna(getattr(cell, "paper_value", None)):
        parts.append(f"paper {cell.paper_value:g}")
    return ", ".join(parts) + (f" {MARK}" if cell.flags else "")


def _protocol_parts(cell: Any) -> list[str]:
    """How a randomised defence was judged."""
    protocol = getattr(cell, "protocol", "")
    if protocol == FIXED:
        return ["known draw"]
    if protocol == EVALUATIONS:
        return [f"all of {cell.evaluations} draws"]
    if protocol == ONE_SHOT:
        spread = f" ± {share_text(cell.spread, cell.n)}" if pd.notna(cell.spread) else ""
        return [f"{cell.draws} draws{spread}"]
    return []


def _brief_text(cell: Any, _: int) -> str:
    if not cell.seeds:
        return _REFUSED
    text = f"{cell.accuracy:.3f}"
    if pd.notna(cell.ci_low):
        text += f" ± {(cell.ci_high - cell.ci_low) / 2:.3f}"
    if pd.notna(cell.paper_value):
        text += f" (paper {cell.paper_value:.3f}, {cell.accuracy - cell.paper_value:+.3f})"
    return f"{text} {MARK}" if cell.flags else text


def _legend(cells: pd.DataFrame) -> str:
    present = set(cells["threat_model"])
    names = [name for name in THREAT_ORDER if name in present]
    lines = [
        "Each cell: accuracy, its 95 % Wilson interval"
        + (", the paper's printed value" if _is_printed(cells).any() else "")
        + ". The number of images n is that of the heading, or stands in the cell. The long table "
        "has all digits, and the attacks' success rates and norms"
        + (
            "; of attacks without a strength the mean l2 norm stands here, too: of the "
            "perturbations that succeeded."
            if (cells["epsilon"].isna() & (cells["attack"] != "none")).any()
            else "."
        )
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
    searched &= ~text_of(cells, QUIRKS_COLUMN).str.contains("no_gradient")
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
