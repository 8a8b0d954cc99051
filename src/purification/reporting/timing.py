"""Times of a latent search (Defense-GAN's Table 13): long, wide and for reading.

A row of times is one search over one batch (the file that the rule `time_search` writes): for each
number of steps L and of restarts R a "latency", a single image, and a "throughput", the batch from
which a larger one makes hardly more images a second.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from purification.reporting.csv_files import all_rows, read_rows
from purification.reporting.long_tables import SEARCH
from purification.reporting.markdown_tables import grid

_CELL = ("dataset", "seed", "defense", *SEARCH)
_TEXT = (
    *("dataset", "defense", "measurement", "batches_tried", "images_per_second_tried", "stopped"),
    *("device", "torch", "dtype", "image_shape"),
)
_COUNTS = ("seed", "iterations_L", "restarts_R", "batch", "repeats", "threads", "latent", "width")
_SECONDS = ("seconds_per_image", "seconds_per_image_q1", "seconds_per_image_q3")
_RATE = ("images_per_second", "images_per_second_q1", "images_per_second_q3")
_PAPER = ("paper_seconds_per_image", "paper_std", "paper_device")
_FACTS = ("repeats", "device", "threads", "torch", "dtype")
STEADY = 0.25
PAPER_DEVICE = "GTX Titan X"


def long_timings(timing_files: Iterable[Path], paper_values: pd.DataFrame | None) -> pd.DataFrame:
    """All times of the CSV files of the rule `time_search`, a row each, with the paper's beside the
    latencies of the same L and R.

    The paper's seconds are of MNIST and Fashion-MNIST together, whose images have the size of our
    digits; they stand beside every data set. Its batch size is not stated.

    `paper_values` are rows of `purification.reporting.papers.paper_values`, Table 13; None for a
    table of the user's own, which gets no columns of them: ``paper_seconds_per_image``,
    ``paper_std``, both in seconds, and ``paper_device``, empty where the paper has no such L and R.

    Raises as `all_rows`, and ValueError, naming the file, for two rows of one measurement or a
    latency without throughput.
    """
    long = all_rows(timing_files, _read, "no files with times: nothing to tabulate")
    if paper_values is None:
        return long
    printed = paper_values[paper_values["metric"] == "seconds_per_image"]
    latency = long["measurement"] == "latency"
    for column, name in (("value", _PAPER[0]), ("std", "paper_std")):
        long[name] = of_search(printed, column, long).where(latency)
    return long.assign(paper_device=long[_PAPER[0]].notna().map({True: PAPER_DEVICE, False: ""}))


def of_search(printed: pd.DataFrame, column: str, long: pd.DataFrame) -> pd.Series:
    """A printed column, by the L and R of each row of `long`."""
    by_search = printed.set_index(list(SEARCH))[column]
    found = by_search.reindex(pd.MultiIndex.from_frame(long[list(SEARCH)]))
    return pd.Series(found.array, long.index)


def wide_timings(long: pd.DataFrame) -> pd.DataFrame:
    """A row for each data set, L and R: seconds of a single image, images a second and the batch
    that they are of (``best_batch``), each median with its quartiles, what the paper has, and what
    the times were taken on."""
    cell = list(_CELL)
    latency = long[long["measurement"] == "latency"].drop(columns=list(_RATE))
    throughput = long[long["measurement"] == "throughput"].rename(columns={"batch": "best_batch"})
    wide = latency.merge(throughput[[*cell, *_RATE, "best_batch"]], on=cell, validate="1:1")
    paper = [name for name in _PAPER if name in wide]
    return wide[[*cell, *_SECONDS, *_RATE, "best_batch", *paper, *_FACTS]]


def read_timings(path: Path) -> pd.DataFrame:
    """The long table that `write_numbers` wrote. Raises as `long_timings`, for one file."""
    rows = _read(path)
    paper = ["paper_seconds_per_image", "paper_std"]
    return rows.assign(**{name: pd.to_numeric(rows[name]) for name in paper})


def timing_grids(long: pd.DataFrame) -> str:
    """The tables of `timing_markdown`, headings from the third level."""
    return "\n\n".join(_grids(wide_timings(long), level=3))


def timing_markdown(long: pd.DataFrame, *, title: str, notes: Sequence[str] = ()) -> str:
    """The times for reading, in GitHub's Markdown: L downwards and R across, as in the paper.

    Each cell holds the median, the quartiles and, below a latency, the paper's value where it has
    one. Searches whose quartiles lie far apart are named: something else ran beside them. `notes`
    are paragraphs below the heading.
    """
    wide = wide_timings(long)
    parts = [f"# {title}", *notes]
    parts += _grids(wide, level=2)
    parts += ["## How to read this", _legend(wide), *_unsteady(wide)]
    return "\n\n".join(parts) + "\n"


def _grids(wide: pd.DataFrame, level: int) -> list[str]:
    parts = []
    for dataset, rows in wide.groupby("dataset", sort=False):
        first = rows.iloc[0]
        parts += [
            f"{'#' * level} {dataset}",
            f"{machine(first)}, {first['dtype']}; medians of {first['repeats']} searches after a "
            "warm-up, with quartiles.",
            f"{'#' * (level + 1)} Seconds for an image, one at a time",
            _grid(rows, _SECONDS, paper=_PAPER[0] in rows),
            f"{'#' * (level + 1)} Images a second, at the best batch",
            _grid(rows, _RATE, paper=False),
        ]
    return parts


def _read(path: Path) -> pd.DataFrame:
    rows = read_rows(path, text=_TEXT, counts=_COUNTS, numbers=(*_SECONDS, *_RATE))
    identity = [*_CELL, "measurement"]
    if rows.duplicated(identity).any():
        row = rows[rows.duplicated(identity)].iloc[0]
        raise ValueError(
            f"{path}: two rows for {row['measurement']}, L = {row['iterations_L']}, "
            f"R = {row['restarts_R']}"
        )
    kinds = rows.groupby(list(_CELL), sort=False)["measurement"].agg(set)
    if not (kinds == {"latency", "throughput"}).all():
        raise ValueError(f"{path}: expected a latency and a throughput for each L and R")
    return rows


def _grid(rows: pd.DataFrame, columns: Sequence[str], *, paper: bool) -> str:
    restarts = list(rows["restarts_R"].unique())
    lines = []
    for steps, cells in rows.groupby("iterations_L", sort=False):
        texts = {row["restarts_R"]: _cell_text(row, columns, paper) for _, row in cells.iterrows()}
        lines.append([steps, *(texts.get(r, "") for r in restarts)])
    return grid(["L", *(f"R = {r}" for r in restarts)], lines)


def machine(row: pd.Series) -> str:
    """What the times of a row were taken on."""
    return f"{row['device']}, CPU threads: {row['threads']}, torch {row['torch']}"


def with_quartiles(row: pd.Series, columns: Sequence[str]) -> list[str]:
    """Median, and quartiles in brackets."""
    median, low, high = (three_digits(row[column]) for column in columns)
    return [f"**{median}**", f"[{low}, {high}]"]


def _cell_text(row: pd.Series, columns: Sequence[str], paper: bool) -> str:
    lines = with_quartiles(row, columns)
    if columns == _RATE:
        lines.append(f"batch {row['best_batch']}")
    elif paper and pd.notna(row["paper_seconds_per_image"]):
        lines.append(f"paper {row['paper_seconds_per_image']:.3f}")
    return "<br>".join(lines)


def three_digits(number: float) -> str:
    """Three significant digits without an exponent."""
    return np.format_float_positional(number, precision=3, fractional=False, trim="-")


def _unsteady(wide: pd.DataFrame) -> list[str]:
    """`not_alone`, of the cells whose quartiles of either measurement lie far apart."""
    far = [
        (wide[high] - wide[low]) / wide[median] > STEADY for median, low, high in (_SECONDS, _RATE)
    ]
    cells = [
        f"{row['dataset']}, L = {row['iterations_L']}, R = {row['restarts_R']}"
        for _, row in wide[far[0] | far[1]].iterrows()
    ]
    return not_alone(cells)


def not_alone(rows: Sequence[str], remark: str = "") -> list[str]:
    """A paragraph on the rows whose times lie far apart, if any."""
    apart = (
        f"**Not alone?** Quartiles more than {STEADY:.0%} of the median apart, as when other work "
        f"shares the machine: {'; '.join(rows)}.{remark}"
    )
    return [apart] if rows else []


def _legend(wide: pd.DataFrame) -> str:
    legend = (
        "The clock runs from images on the device to purified images on the device: L steps from R "
        "starts side by side, and the choice of the best; no classifier. The batch is doubled, at "
        "the least L for each R, until twice as many images are less than 5 % faster; the long "
        "table has every batch tried and why no larger one was (`stopped`: `gain`, `memory`, or "
        "`limit`, the config's `largest_batch`). Wall times of one machine: no seed repeats them."
    )
    if _PAPER[0] in wide and wide[_PAPER[0]].notna().any():
        legend += (
            f"\n\nThe paper's seconds are of MNIST and Fashion-MNIST together, on one "
            f"{PAPER_DEVICE}, with the restarts in parallel; its batch size, its number of "
            "repeats, and so what its standard deviations are of, it does not say."
        )
    return legend
