"""Numbers as CSV: written, and read with what they must agree with."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from purification.evaluation.measure import QUIRKS_COLUMN
from purification.evaluation.refusals import REFUSED
from purification.provenance import expected_of, quirks_of_job
from purification.storage import atomic
from purification.text_tables import read_text_table, write_text_table

NAMES = ("dataset", "classifier", "attack", "threat_model", "defense", "variant")
"""The columns that name a measured accuracy."""


def write_numbers(table: pd.DataFrame, path: Path, recipe: Mapping[str, Any] | None = None) -> None:
    """Write a table: numbers of 6 significant digits, missing cells empty, infinity as `inf`.

    (Scores of attacked images and seconds of a search may be far below what four decimals show.)
    As for `write_formatted`.
    """
    write_formatted(table, path, "%.6g", recipe)


def write_formatted(
    table: pd.DataFrame,
    path: Path,
    float_format: str | None,
    recipe: Mapping[str, Any] | None = None,
) -> None:
    """Write a table, its numbers in that format (None: all digits); with a recipe, as
    `write_text_table` does, for another job to read. The file appears complete or not at all.

    A job whose results hang on quirks of published code names them in a last column of all that it
    writes, unless the table has that column, which says of each row on which.
    """
    if (quirks := quirks_of_job()) and QUIRKS_COLUMN not in table:
        table = table.assign(**{QUIRKS_COLUMN: ";".join(quirks)})
    text = table.to_csv(index=False, float_format=float_format, lineterminator="\n")
    if recipe is not None:
        write_text_table(path, text, recipe)
        return
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_rows(
    path: Path, *, text: Sequence[str], counts: Sequence[str], numbers: Sequence[str]
) -> pd.DataFrame:
    """Read a CSV of ours with the types that its columns mean.

    The `text` columns are read as strings: an empty cell is the empty string, and a cell ``none``
    the word, not a missing value. The `counts` are whole numbers (Int64), the `numbers` floats;
    both may be empty. Further columns are kept as pandas reads them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `read_text_table`; a column is missing, or a cell is no number where one is
            needed; an accuracy is not correct / n; or, in a job, the rows of a measurement are not
            the cells that its recipe names. The message names the file.
    """
    rows = typed_rows(path, read_text_table(path), text=text, counts=counts, numbers=numbers)
    if {"n", "correct", "accuracy"} <= set(rows):
        _check_counts(path, rows)
    asked = expected_of(path)
    if asked is not None and asked.get("kind") == "Measurement":
        _check_cells(path, rows, asked)
    return rows


def all_rows(
    files: Iterable[Path], read: Callable[[Path], pd.DataFrame], without: str
) -> pd.DataFrame:
    """The rows of all files, as `read` reads each, in their order.

    Raises FileNotFoundError or ValueError as `read_rows`, and ValueError(`without`) for no file.
    """
    parts = [read(Path(file)) for file in files]
    if not parts:
        raise ValueError(without)
    return pd.concat(parts, ignore_index=True)


def typed_rows(
    path: Path, content: str, *, text: Sequence[str], counts: Sequence[str], numbers: Sequence[str]
) -> pd.DataFrame:
    """The rows of a CSV's `content`, otherwise as `read_rows`; `path` is for messages."""
    try:
        rows = pd.read_csv(
            io.StringIO(content),
            keep_default_na=False,
            na_values={column: [""] for column in (*counts, *numbers)},
            dtype=dict.fromkeys(text, str) | dict.fromkeys((*counts, *numbers), "float64"),
        )
        missing = [column for column in (*text, *counts, *numbers) if column not in rows]
        if missing:
            raise ValueError(f"missing columns: {', '.join(missing)}")
        return rows.astype(dict.fromkeys(counts, "Int64"))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def judgements(rows: pd.DataFrame) -> pd.Series:
    """How often each image of a row was judged, each time counted in `correct`: once, or on each of
    a randomised defence's draws (`evaluation.protocols`)."""
    if "draws" not in rows:
        return pd.Series(1, rows.index)
    draws, evaluations = (pd.to_numeric(rows[name]) for name in ("draws", "evaluations"))
    return (draws.astype(float) / evaluations.astype(float)).fillna(1).astype(int)


def _check_counts(path: Path, rows: pd.DataFrame) -> None:
    """Raise ValueError, naming file and row, where an accuracy is not correct / n."""
    # A reader that has no use for one of the columns has not asked for its type.
    rows = rows.assign(**{name: pd.to_numeric(rows[name]) for name in ("n", "correct", "accuracy")})
    judged = rows["n"] * judgements(rows)
    whole = (rows["n"] >= 1) & (rows["correct"] >= 0) & (rows["correct"] <= judged)
    # Four decimals, as a long table has them, are enough to tell a wrong one.
    right = (rows["accuracy"] - rows["correct"] / judged).abs() < 1e-4
    # A refused attack has no number, and says why (`evaluation.refusals`).
    reasons = rows[REFUSED].fillna("") if REFUSED in rows else pd.Series("", rows.index)
    refused = (rows["n"] == 0) & rows["accuracy"].isna() & (reasons != "")
    wrong = ~((whole & right).fillna(False).astype(bool) | refused)
    if wrong.any():
        row = rows[wrong].iloc[0]
        raise ValueError(
            f"{path}: {_described(row)}: expected n >= 1 and accuracy = correct / n, got n = "
            f"{row['n']}, correct = {row['correct']}, accuracy = {row['accuracy']}"
        )


def _check_cells(path: Path, rows: pd.DataFrame, asked: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the file, if its rows are not the cells of its recipe, in their
    order."""
    names = [name for name in NAMES if name in rows]
    cells = [tuple(cell["labels"].get(name, "") for name in names) for cell in asked["cells"]]
    found = list(rows[names].fillna("").astype(str).itertuples(index=False, name=None))
    if found != cells:
        missing = [cell for cell in cells if cell not in found] or cells
        listed = ", ".join(part for part in missing[0] if part)
        raise ValueError(
            f"{path}: expected {len(cells)} rows, of the cells that its recipe names, got "
            f"{len(found)}; of {listed} there is none in its place"
        )


def _described(row: pd.Series) -> str:
    return ", ".join(str(row[name]) for name in NAMES if row.get(name))
