"""Run times of purifiers beside each other (Defense-VAE's Table 4): long, wide and for reading.

A row of times is one purifier, or one number of steps L and of restarts R of a latent search, on
one data set (`purification.evaluation.run_time.run_time_rows`): seconds for 1,000 images, and how
many times longer than the reference, Defense-VAE, in the same run.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from purification.reporting.csv_files import all_rows, read_rows
from purification.reporting.long_tables import SEARCH
from purification.reporting.markdown_tables import grid
from purification.reporting.timing import STEADY, machine, not_alone, of_search, with_quartiles

_CELL = ("dataset", "seed", "defense", *SEARCH)
_SECONDS = ("seconds_per_1000", "seconds_per_1000_q1", "seconds_per_1000_q3")
_SPEED_UP = ("speed_up", "speed_up_q1", "speed_up_q3")
_PAPER = ("paper_seconds_per_1000", "paper_speed_up", "paper_device")
_TEXT = ("dataset", "defense", "reference", "device", "torch", "dtype", "image_shape")
_COUNTS = ("seed", *SEARCH, "images", "batch", "repeats", "parameters", "threads")
_FACTS = ("images", "batch", "repeats", "parameters", "device", "threads", "torch", "dtype")
_PAPER_SHAPE = "1x28x28"
PAPER_DEVICE = "Titan Xp"


def long_run_times(files: Iterable[Path], paper_values: pd.DataFrame | None) -> pd.DataFrame:
    """All times of the CSV `files` of `run_time_rows`, a row each, with the paper's beside.

    The paper's seconds are of Fashion-MNIST. They stand beside every data set of images of that
    size: Defense-VAE's beside the reference, Defense-GAN's beside searches of the same L and R.

    `paper_values` are rows of `purification.reporting.papers.paper_values`, Table 4; None for a
    table of the user's own, which gets no columns of them: ``paper_seconds_per_1000``,
    ``paper_speed_up``, which is computed from the former, and ``paper_device``; empty where the
    paper has no such row.

    Raises as `all_rows`, and ValueError, naming the file, for two rows of one measurement or no row
    of its reference.
    """
    long = all_rows(files, _read, "no files with run times: nothing to tabulate")
    if paper_values is None:
        return long
    printed = paper_values[paper_values["metric"] == "seconds_per_1000"]
    [own] = printed.loc[printed["defense"] == "defense_vae", "value"]
    seconds = of_search(printed[printed["defense"] == "defense_gan"], "value", long)
    seconds = seconds.mask(long["defense"] == long["reference"], own)
    long["paper_seconds_per_1000"] = seconds.where(long["image_shape"] == _PAPER_SHAPE)
    long["paper_speed_up"] = long["paper_seconds_per_1000"] / own
    return long.assign(paper_device=long[_PAPER[0]].notna().map({True: PAPER_DEVICE, False: ""}))


def wide_run_times(long: pd.DataFrame) -> pd.DataFrame:
    """What the table shows, without the rest: a row for each data set, defence, L and R, with the
    medians and quartiles, what the paper has, and what the times were taken on."""
    paper = [name for name in _PAPER if name in long]
    return long[[*_CELL, *_SECONDS, *_SPEED_UP, *paper, *_FACTS]].copy()


def run_time_grids(long: pd.DataFrame, *, level: int = 3) -> str:
    """The tables of `run_time_markdown`, headings from that level."""
    parts = []
    for dataset, rows in long.groupby("dataset", sort=False):
        first = rows.iloc[0]
        parts += [
            f"{'#' * level} {dataset}",
            f"{machine(first)}, {first['dtype']}, images {first['image_shape']}; medians of "
            f"{first['repeats']} turns after a warm-up, with quartiles.",
            _grid(rows),
        ]
    return "\n\n".join(parts)


def run_time_markdown(long: pd.DataFrame, *, title: str, notes: Sequence[str] = ()) -> str:
    """The times for reading, in GitHub's Markdown: a row for each defence, L and R.

    Times whose quartiles lie far apart are named: something else ran beside them. `notes` are
    paragraphs below the heading.
    """
    parts = [f"# {title}", *notes, run_time_grids(long, level=2)]
    parts += ["## How to read this", _legend(long), *_unsteady(long)]
    return "\n\n".join(parts) + "\n"


def _read(path: Path) -> pd.DataFrame:
    rows = read_rows(path, text=_TEXT, counts=_COUNTS, numbers=(*_SECONDS, *_SPEED_UP))
    repeated = rows[rows.duplicated(list(_CELL))]
    if not repeated.empty:
        raise ValueError(f"{path}: two rows for {_name(repeated.iloc[0])}")
    if not (rows["defense"] == rows["reference"]).any():
        references = ", ".join(rows["reference"].unique())
        raise ValueError(f"{path}: no time of the reference {references}")
    return rows


def _grid(rows: pd.DataFrame) -> str:
    reference = rows["reference"].iloc[0]
    paper = ["paper"] if _PAPER[0] in rows else []
    header = ["defense", "L", "R", "images timed", "batch", "seconds for 1,000", *paper]
    header += [f"speed-up of {reference}", *paper]
    lines = []
    for _, row in rows.iterrows():
        counts = ["" if pd.isna(row[name]) else str(row[name]) for name in _CELL[3:]]
        lines.append(
            [
                *(row["defense"], *counts, f"{row['images']:,}", str(row["batch"])),
                *(" ".join(with_quartiles(row, _SECONDS)), *_paper(row, _PAPER[0], "{:.2f}")),
                *(" ".join(with_quartiles(row, _SPEED_UP)), *_paper(row, _PAPER[1], "{:.1f}")),
            ]
        )
    return grid(header, lines)


def _paper(row: pd.Series, name: str, form: str) -> list[str]:
    if name not in row:
        return []
    return ["" if pd.isna(row[name]) else form.format(row[name])]


def _name(row: pd.Series) -> str:
    """Such as "digits, defense_gan, L = 200, R = 10"."""
    parts = [row["dataset"], row["defense"]]
    parts += [f"{n[-1]} = {row[n]}" for n in ("iterations_L", "restarts_R") if pd.notna(row[n])]
    return ", ".join(parts)


def _unsteady(long: pd.DataFrame) -> list[str]:
    """`not_alone`, of the rows whose quartiles lie far apart."""
    median, low, high = (long[name] for name in _SECONDS)
    names = [_name(row) for _, row in long[(high - low) / median > STEADY].iterrows()]
    return not_alone(names, " The speed-ups, of times one after the other, suffer less.")


def _legend(long: pd.DataFrame) -> str:
    legend = (
        "The clock runs from images on the device to purified images on the device; no classifier. "
        "All rows of a data set were timed by one process in turns, each turn all of them one "
        "after the other; a speed-up is the median over turns of the quotient within a turn, so "
        "it need not be exactly that of the two medians. Where fewer than 1,000 images were timed, "
        "the seconds are scaled up; where there are fewer test images, they were taken again from "
        "the first. The restarts of a search run side by side, its batches hold `batch` images "
        "with R codes each. Wall times of one machine: no seed repeats them."
    )
    if _PAPER[0] in long and long[_PAPER[0]].notna().any():
        legend += (
            f"\n\nThe paper's seconds are of 1,000 attacked images of Fashion-MNIST on a "
            f"{PAPER_DEVICE}; its batch sizes it does not say. Its speed-ups are the quotients of "
            "its seconds."
        )
    return legend
