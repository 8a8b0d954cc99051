"""Accuracy against the settings of a search, Defense-GAN's Figures 3 and 8, from long tables.

Long tables have the columns of `purification.evaluation.measure`, and `paper_value` and `paper_std`
where there are printed numbers. Rows of other settings than a figure's are passed over, so that the
whole table of a sweep can be given. Seeds are put together: the mean accuracy, and Wilson's
interval of their pooled counts, which does not cover the spread between seeds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from purification.evaluation.accuracy import wilson_intervals
from purification.reporting.csv_files import NAMES, read_rows, write_formatted
from purification.reporting.figures import attack_name
from purification.reporting.papers import demand_numbers
from purification.reporting.roc import AccuracyPanel

_STEPS, _RESTARTS = "Gradient steps L", "Restarts R"
_PRINTED = ("paper_value", "paper_std")
_VARIANTS = {"rec": "Rec", "orig": "Orig"}
_BACKWARD = {
    "white_box": "True gradient",
    "white_box_bpda": "BPDA (identity as the search's gradient)",
}


def read_long(path: Path, dataset: str) -> pd.DataFrame:
    """The rows of one data set in a long table.

    Raises FileNotFoundError, or ValueError naming the file if it is no long table.
    """
    counts = ("iterations_L", "restarts_R", "n", "correct", "seed")
    numbers = ("epsilon", "accuracy", *_PRINTED)
    rows = read_rows(Path(path), text=NAMES, counts=counts, numbers=numbers)
    return rows[rows["dataset"] == dataset].reset_index(drop=True)


def write_panels(panels: Sequence[AccuracyPanel], path: Path) -> None:
    """Write what a figure draws as CSV: panel, line, the setting, accuracy, interval, the paper's.

    The file appears complete or not at all.
    """
    parts = [
        line.rename(columns={panel.x: "value"}).assign(
            panel=panel.title, line=name, setting=panel.x
        )
        for panel in panels
        for name, line in panel.lines.items()
    ]
    points = pd.concat(parts, ignore_index=True)
    columns = ["panel", "line", "setting", "value", "n", "accuracy", "ci_low", "ci_high"]
    columns += [name for name in _PRINTED if name in points]
    write_formatted(points[columns], path, "%.4f")


def figure3_panels(
    over_steps: pd.DataFrame, over_restarts: pd.DataFrame, *, steps: int, restarts: int
) -> list[AccuracyPanel]:
    """Defense-GAN's Figure 3: accuracy without attack and under black-box attack, Rec and Orig.

    Args:
        over_steps, over_restarts: long tables of one dataset, classifier, attack and defence (the
            paper's Tables 8 and 10, which print other numbers for the search that both have); see
            the module.
        steps: L of the right panel, over R (the paper: 100).
        restarts: R of the left panel, over L (the paper: 10).

    Returns the panels over L and over R, for `purification.reporting.roc.accuracy_lines`. Raises
    ValueError: a column is missing; nothing was measured at `steps` or at `restarts`; there are
    several datasets, classifiers, attacks or defences; or the seeds of a point have different
    numbers of images.
    """
    by_steps, by_restarts = (_lines(long) for long in (over_steps, over_restarts))
    return [
        _panel(f"R = {restarts}", "iterations_L", _STEPS, "restarts_R", restarts, by_steps),
        _panel(f"L = {steps}", "restarts_R", _RESTARTS, "iterations_L", steps, by_restarts),
    ]


def _lines(long: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each line of Figure 3."""
    rows = _searches(long, ("none", "black_box"))
    _check_one(rows, "dataset", "classifier", "defense")
    attacked = rows[rows["attack"] != "none"]
    _check_one(attacked, "attack", "epsilon")
    if attacked.empty:
        raise ValueError("no measurement under attack")
    attack = attack_name(*attacked.iloc[0][["attack", "epsilon"]])
    clean = rows[rows["attack"] == "none"]
    lines = {}
    for variant in sorted(rows["variant"].unique(), reverse=True):  # rec first, as in the paper
        name = _VARIANTS.get(variant, variant)
        lines[f"{name}, no attack"] = clean[clean["variant"] == variant]
        lines[f"{name}, {attack}"] = attacked[attacked["variant"] == variant]
    return lines


def figure8_panels(long: pd.DataFrame, *, restarts: int) -> list[AccuracyPanel]:
    """Defense-GAN's Figure 8: accuracy of several classifiers under white-box attack against L.

    `long` is a long table of one dataset, attack and defence (see the module), `restarts` R (the
    paper: 10). Returns the panels for the gradient through the search and, where it was measured,
    for its replacement by the identity, for `purification.reporting.roc.accuracy_lines`; a line for
    each classifier. Raises as `figure3_panels`.
    """
    rows = _searches(long, tuple(_BACKWARD))
    _check_one(rows, "dataset", "attack", "epsilon", "defense", "variant")
    panels = []
    for threat_model, title in _BACKWARD.items():
        here = rows[rows["threat_model"] == threat_model]
        if here.empty:
            continue
        names = sorted(here["classifier"].unique())
        lines = {f"Classifier {name}": here[here["classifier"] == name] for name in names}
        panels.append(_panel(title, "iterations_L", _STEPS, "restarts_R", restarts, lines))
    return panels


def _searches(long: pd.DataFrame, threat_models: tuple[str, ...]) -> pd.DataFrame:
    """The rows of defences with L and R in these threat models."""
    needed = ("dataset", "seed", "classifier", "attack", "epsilon", "threat_model", "defense")
    needed += ("variant", "iterations_L", "restarts_R", "n", "correct")
    missing = [column for column in needed if column not in long]
    if missing:
        raise ValueError(f"long table lacks the columns {', '.join(missing)}")
    searched = long["iterations_L"].notna() & long["restarts_R"].notna()
    rows = long[searched & long["threat_model"].isin(threat_models)]
    if rows.empty:
        raise ValueError(f"no measurement of a latent search in {', '.join(threat_models)}")
    demand_numbers(rows, "accuracy over the settings of a search")
    return rows


def _check_one(rows: pd.DataFrame, *columns: str) -> None:
    for column in columns:
        values = rows[column].drop_duplicates().tolist()
        if len(values) > 1:
            raise ValueError(f"a figure shows one {column}, the table has {values}")


def _panel(
    title: str, x: str, x_label: str, fixed: str, value: int, lines: Mapping[str, pd.DataFrame]
) -> AccuracyPanel:
    """A panel over `x` of the rows whose setting `fixed` has the value, without empty lines."""
    here = {name: rows[rows[fixed] == value] for name, rows in lines.items()}
    here = {name: _pooled(rows, x) for name, rows in here.items() if not rows.empty}
    if not here:
        raise ValueError(f"nothing was measured at {fixed} = {value}")
    return AccuracyPanel(title, x, x_label, here)


def _pooled(rows: pd.DataFrame, x: str) -> pd.DataFrame:
    """A row for each value of `x`, its seeds put together."""
    twice = rows.duplicated([x, "seed"])
    if twice.any():
        row = rows[twice].iloc[0]
        raise ValueError(f"several measurements of {x} = {row[x]}, seed {row['seed']}: {dict(row)}")
    printed = {name: (name, "first") for name in _PRINTED if name in rows}
    pooled = pooled_seeds(rows.sort_values(x), [x], [x, "seed", "n"], **printed)
    return pooled.astype({x: int, "correct": int, "n": int})


def pooled_seeds(
    rows: pd.DataFrame, key: list[str], shown: list[str], **further: tuple[str, str]
) -> pd.DataFrame:
    """A row for each point `key`: its seeds' counts as sums, their accuracy, and its interval.

    Raises ValueError, with the columns `shown`, where seeds have different numbers of images.
    """
    counts = {"correct": ("correct", "sum"), "n": ("n", "sum"), "sizes": ("n", "nunique")}
    pooled = rows.groupby(key, sort=False, dropna=False).agg(**further, **counts)
    if (pooled.pop("sizes") > 1).any():
        raise ValueError(f"seeds with different numbers of images: {rows[shown]}")
    # With equally many images the share of all is the mean over seeds.
    pooled["accuracy"] = (pooled["correct"] / pooled["n"]).astype(float)
    pooled[["ci_low", "ci_high"]] = wilson_intervals(pooled["correct"], pooled["n"])
    return pooled.reset_index()
