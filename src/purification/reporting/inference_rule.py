"""The inference rule of AE-GAN+rs, `rule.csv` and `rule.md`: what it searches, costs and saves.

A row is one set of images (`purification.evaluation.inference_rule.rule_rows`).
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from purification.evaluation.inference_rule import SET_LABELS, WAYS
from purification.reporting.csv_files import all_rows, read_rows
from purification.reporting.markdown_tables import bounded, grid
from purification.reporting.timing import machine, three_digits

_TEXT = ("dataset", "classifier", "defense", "indicator", "set", "attack", "threat_model")
_TEXT += ("device", "torch", "dtype", "image_shape")
_COUNTS = ("seed", "n", "iterations_L", "images_timed", "batch", "repeats", "threads")
_WITH_BOUNDS = ("share_searched", *(f"accuracy_{way}" for way in WAYS))
_WITH_QUARTILES = (*(f"seconds_per_1000_{way}" for way in WAYS), "time_saved")
_NUMBERS = ("epsilon", "threshold", "mean_evaluations", "evaluations_always")
_NUMBERS += tuple(f"{name}{end}" for name in _WITH_BOUNDS for end in ("", "_low", "_high"))
_NUMBERS += tuple(f"{name}{end}" for name in _WITH_QUARTILES for end in ("", "_q1", "_q3"))
_CELL = ["dataset", "seed", "classifier", "defense", *SET_LABELS]


def rule_table(files: Iterable[Path]) -> pd.DataFrame:
    """All rows of the files of `rule_rows`, in their order.

    Raises as `all_rows`, and ValueError for two rows of one set of images.
    """
    read = partial(read_rows, text=_TEXT, counts=_COUNTS, numbers=_NUMBERS)
    rows = all_rows(files, read, "no files of the inference rule: nothing to tabulate")
    twice = rows.duplicated(_CELL)
    if twice.any():
        raise ValueError(f"two rows for one set of images: {dict(rows.loc[twice, _CELL].iloc[0])}")
    return rows


def rule_markdown(table: pd.DataFrame, *, title: str, notes: Sequence[str] = ()) -> str:
    """The table for reading, in GitHub's Markdown, a grid for each run; `notes` are paragraphs
    below the heading."""
    parts = [f"# {title}", *notes]
    for (dataset, seed, classifier, defense), rows in table.groupby(_CELL[:4], sort=False):
        first = rows.iloc[0]
        parts += [
            f"## {dataset}, {defense}, classifier {classifier}, seed {seed}",
            f"Threshold {first['threshold']:.4g} ({first['indicator']}), "
            f"L = {first['iterations_L']}. Times: {machine(first)}, "
            f"{first['images_timed']:,} images in batches of {first['batch']}, medians of "
            f"{first['repeats']} turns.",
            _grid(rows),
        ]
    return "\n\n".join([*parts, "## How to read this", _LEGEND]) + "\n"


def _grid(rows: pd.DataFrame) -> str:
    header = ["images", "n", "searched", "evaluations", "always"]
    for shown in ("accuracy", "seconds for 1,000"):
        header += [f"{shown}, {way.replace('_', ' ')}" for way in WAYS]
    lines = []
    for _, row in rows.iterrows():
        attack = "" if row["attack"] == "none" else f" by {row['attack']}"
        strength = "" if pd.isna(row["epsilon"]) else f" {row['epsilon']:g}"
        lines.append(
            [
                f"{row['set']}{attack}{strength}",
                f"{row['n']:,}",
                _percent(row["share_searched"]),
                *(f"{row[name]:.2f}" for name in ("mean_evaluations", "evaluations_always")),
                *(bounded(row, f"accuracy_{way}") for way in WAYS),
                *(three_digits(row[f"seconds_per_1000_{way}"]) for way in WAYS),
                _percent(row["time_saved"]),
            ]
        )
    return grid([*header, "time saved"], lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


_LEGEND = (
    "An image whose error after one pass is above the threshold is searched (AE-GAN+rs, sections "
    "3.2 and 4.4). `searched`: the share of them; of clean images these are false alarms. "
    "`evaluations`: mean passes through the generator an image under the rule, the first pass "
    "included; beside it those of a search of every image. Accuracies of the classifier after one "
    "pass, under the rule and after a search of every image, with 95 % intervals. `time saved`: "
    "what the rule saves of the time of searching every image, median over turns of one process; "
    "below 0 it costs more. Wall times of one machine: no seed repeats them. Attacked images are "
    "the gray box's."
)
