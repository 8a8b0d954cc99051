"""The long table of accuracies: all measurements, a row each, with the paper's values beside them.

A measurement row is one accuracy (`MEASUREMENT_COLUMNS`). Black-box rows have three more columns:
``substitute``, which is part of a row's identity, ``oracle`` and ``queries``; rows of an attack
that the config gives in other units or under another name than the paper's, ``paper_attack`` and
``pixel_range``; rows of randomised defences those of `evaluation.protocols.PROTOCOL_COLUMNS`, of
which ``protocol`` is part of a row's identity; rows that hang on quirks of published code those of
`evaluation.measure.QUIRK_COLUMNS`, of which ``quirks`` is part of a row's identity; rows of what is
not what its name says, ``not_as_named``; and rows whose attack was refused, with n = 0 and no
accuracy, ``refused``, the reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from purification.evaluation.accuracy import wilson_intervals
from purification.evaluation.flags import FLAGS, flag_column
from purification.evaluation.measure import (
    ATTACK_COLUMNS,
    ATTACK_UNIT_COLUMNS,
    NAMING_COLUMN,
    QUIRK_COLUMNS,
    QUIRKS_COLUMN,
)
from purification.evaluation.measure import COLUMNS as MEASUREMENT_COLUMNS
from purification.evaluation.protocols import EVALUATIONS, FIXED, ONE_SHOT
from purification.evaluation.refusals import REFUSED
from purification.reporting.csv_files import (
    NAMES,
    all_rows,
    judgements,
    read_rows,
    write_formatted,
)
from purification.reporting.papers import ATTACHED_COLUMNS, attach_paper_values
from purification.text_tables import read_text_table

_FURTHER_TEXT = ("substitute", "oracle", *ATTACK_UNIT_COLUMNS, "protocol", *QUIRK_COLUMNS)
_FURTHER_TEXT += (NAMING_COLUMN, REFUSED)
_FURTHER_COUNTS = ("queries", "evaluations", "draws")
_PROTOCOLS = ("", ONE_SHOT, FIXED, EVALUATIONS)
_COUNTS = ("iterations_L", "restarts_R", "n", "correct")
_NUMBERS = ("epsilon", "accuracy", "ci_low", "ci_high", *ATTACK_COLUMNS)
_DEFENSE_ORDER = ("none", "defense_gan", "magnet", "adv_training")
THREAT_ORDER = (
    *("none", "white_box", "white_box_fixed", "gray_box"),
    *("white_box_bpda", "white_box_bpda_fixed", "surrogate", "black_box"),
)
SEARCH = ("iterations_L", "restarts_R")
_OVER_SEEDS = {
    "accuracy": ("accuracy", "mean"),
    "std": ("accuracy", "std"),
    "seeds": ("accuracy", "count"),
    **{name: (name, "sum") for name in ("n", "correct")},
    **{name: (name, "mean") for name in ("success_rate", "mean_l2", "difference", "spread")},
    **{name: (name, "first") for name in ("protocol", "evaluations", "draws")},
    "zero_gradient_share": ("zero_gradient_share", "max"),
    **{name: (name, "first") for name in ("epsilon", "threat_model", "defense", "variant")},
    **{name: (name, "first") for name in ("ci_low", "ci_high", *ATTACHED_COLUMNS[:-1])},
}
"""What is made of the rows of several seeds: from which column, and how."""


def long_table(
    measurement_files: Iterable[Path],
    paper_values: pd.DataFrame | None,
    searches: Iterable[Sequence[int]] | None = None,
) -> pd.DataFrame:
    """All measurements, a row each, with the paper's values beside them.

    Args:
        measurement_files: CSV files with `MEASUREMENT_COLUMNS`; further columns are kept. Their
            order is the order of datasets and attacks in every table.
        paper_values: rows of `purification.reporting.papers.paper_values`; None for a table of the
            user's own, which gets no columns of them.
        searches: of a swept table, the (L, R) that it shows. Other searches' rows are left out, and
            the paper's values are attached where L and R agree too.

    Returns:
        Rows sorted by dataset and attack (order of first appearance, no attack first), epsilon,
        classifier, defence (undefended, the paper's, users' own by appearance), variant, threat
        model, protocol, quirks, search settings and seed; columns `MEASUREMENT_COLUMNS`, what
        `purification.reporting.papers.attach_paper_values` adds, and last `FLAGS`, a seed's own.

    Raises as `all_rows`, and ValueError for an attack without threat model or the reverse, or two
    rows for the same measurement.
    """
    without = "no measurement files: nothing to tabulate"
    rows = all_rows(measurement_files, _read_measurements, without)
    if searches is not None:
        rows = _of_searches(rows, searches)
    ranks = pd.DataFrame(
        {
            "dataset": _rank(rows["dataset"]),
            "attack": _rank(rows["attack"], first=("none",)),
            "epsilon": rows["epsilon"].fillna(-1.0),
            "classifier": rows["classifier"],
            "substitute": text_of(rows, "substitute"),
            "defense": _rank(rows["defense"], first=_DEFENSE_ORDER),
            "variant": rows["variant"],
            "threat_model": _rank(rows["threat_model"], first=THREAT_ORDER),
            "protocol": _rank(text_of(rows, "protocol"), first=_PROTOCOLS),
            "quirks": _rank(text_of(rows, QUIRKS_COLUMN), first=("",)),
            **{name: rows[name].fillna(-1) for name in SEARCH},
            "seed": rows["seed"],
        }
    )
    if ranks.duplicated().any():
        twice = rows[ranks.duplicated(keep=False)].iloc[0]
        raise ValueError(f"two rows for one measurement: {described(twice)}, seed {twice['seed']}")
    rows = rows.loc[ranks.sort_values([*ranks], kind="stable").index].reset_index(drop=True)
    for name in set(_FURTHER_TEXT) & set(rows):
        rows[name] = rows[name].fillna("")
    for name in set(_FURTHER_COUNTS) & set(rows):
        rows[name] = pd.to_numeric(rows[name]).astype("Int64")
    if "spread" in rows:
        rows["spread"] = pd.to_numeric(rows["spread"])
    rows = rows[[*MEASUREMENT_COLUMNS, *(name for name in rows if name not in MEASUREMENT_COLUMNS)]]
    # As for the cells of its page: only in a swept table L and R tell a defence's rows apart.
    flags = flag_column(rows if searches is not None else rows.drop(columns=[*SEARCH]))
    if paper_values is None:
        rows = rows.drop(columns=NAMING_COLUMN, errors="ignore")
    else:
        rows = attach_paper_values(rows, paper_values, same_search=searches is not None)
    return rows.assign(**{FLAGS: flags})


def read_long_table(path: Path) -> pd.DataFrame:
    """The long table that `write_csv` wrote, with the types that `long_table` gives.

    Raises FileNotFoundError, or ValueError naming the file if it is no long table.
    """
    header = read_text_table(path).partition("\n")[0].split(",")
    known = ("substitute", "protocol", *ATTACK_UNIT_COLUMNS, *QUIRK_COLUMNS)
    text = (*NAMES, *(name for name in known if name in header))
    # A table of the user's own has no paper's values.
    printed = ("paper_value", "paper_std", "difference") if "paper_value" in header else ()
    numbers = (*_NUMBERS, *printed, *(("spread",) if "spread" in header else ()))
    counts = (*_COUNTS, "seed", *(("paper_iterations_L", "paper_restarts_R") if printed else ()))
    counts += tuple(name for name in ("evaluations", "draws") if name in header)
    return read_rows(path, text=text, counts=counts, numbers=numbers)


def write_csv(table: pd.DataFrame, path: Path, recipe: Mapping[str, Any] | None = None) -> None:
    """Write the long or the wide table: 4 decimals, epsilon as short as it is, missing cells empty.

    As for `write_formatted`; a long table, which pages read, is given its recipe.
    """
    written = table.copy()
    if "epsilon" in written:
        written["epsilon"] = written["epsilon"].map(epsilon_text)
    write_formatted(written, path, "%.4f", recipe)


def over_seeds(rows: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """The rows of a long table that agree in `key` put together, in the order of the first of each.

    Beside the columns of `key`: accuracy, success rate, l2 norm and difference from the paper as
    means, ``std`` the sample standard deviation (empty for one row), ``seeds`` the number of rows
    with an accuracy (an attack that was refused has none), n and correct as sums, and ``ci_low``
    and ``ci_high``: of one row its own, of several the 95 % Wilson interval of these sums, which
    does not cover the spread between seeds.
    """
    made = {n: how for n, how in _OVER_SEEDS.items() if n not in key and how[0] in rows}
    # The longest text is one that is not empty.
    text = (*ATTACK_UNIT_COLUMNS, *QUIRK_COLUMNS, NAMING_COLUMN, REFUSED)
    made |= {name: (name, "max") for name in text if name in rows and name not in key}
    cells = rows.groupby(list(key), sort=False, dropna=False).agg(**made).reset_index()
    pooled = cells["seeds"] > 1
    if pooled.any():
        several = cells[pooled]
        right = several["correct"] / judgements(several)
        cells.loc[pooled, ["ci_low", "ci_high"]] = wilson_intervals(right, several["n"])
    return cells


def text_of(rows: pd.DataFrame, name: str) -> pd.Series:
    """A further column of text, such as the substitute of each row; empty where there is none."""
    return rows[name].fillna("") if name in rows else pd.Series("", rows.index)


def described(row: pd.Series) -> str:
    defense = f"{row['defense']} {row['variant']}".strip()
    return (
        f"{row['dataset']}, attack {row['attack']} {epsilon_text(row['epsilon'])}, classifier "
        f"{row['classifier']}, defense {defense}, {row['threat_model']}"
    )


def epsilon_text(epsilon: float) -> str:
    return "" if pd.isna(epsilon) else f"{epsilon:.6g}"


def _read_measurements(path: Path) -> pd.DataFrame:
    rows = read_rows(path, text=NAMES, counts=_COUNTS, numbers=_NUMBERS)
    if "seed" not in rows:
        raise ValueError(f"{path}: missing columns: seed")
    contradiction = (rows["attack"] == "none") != (rows["threat_model"] == "none")
    if contradiction.any():
        row = rows[contradiction].iloc[0]
        raise ValueError(
            f"{path}: attack {row['attack']!r} with threat model {row['threat_model']!r}; "
            "both are 'none' or neither is"
        )
    return rows


def _of_searches(rows: pd.DataFrame, searches: Iterable[Sequence[int]]) -> pd.DataFrame:
    """The rows of these (L, R), and those of no search."""
    wanted = {tuple(search) for search in searches}
    pairs = zip(*(rows[name].fillna(-1) for name in SEARCH), strict=True)
    kept = [pair in wanted or pair == (-1, -1) for pair in pairs]
    return rows[kept].reset_index(drop=True)


def _rank(values: pd.Series, first: Sequence[str] = ()) -> pd.Series:
    order = {value: rank for rank, value in enumerate(dict.fromkeys((*first, *values)))}
    return values.map(order)
