"""Numbers as CSV."""

from pathlib import Path

import pandas as pd

from purification.storage import atomic


def write_numbers(table: pd.DataFrame, path: Path) -> None:
    """Write a table: numbers of 6 significant digits, missing cells empty, infinity as `inf`.

    (Scores of attacked images and seconds of a search may be far below what four decimals show.)
    The file appears complete or not at all.
    """
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
