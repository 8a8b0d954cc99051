"""Tables of accuracies from measurement rows: long, wide, for reading.

A measurement row is one accuracy (`MEASUREMENT_COLUMNS`). The long table holds all of them with
the paper's value beside each; the wide table has the paper's layout; the Markdown is the wide table
with intervals, the paper's values, and warnings computed from the rows.

**Column names of the wide table.** They are derived from the rows, so a defence that a user adds
has its columns without a change here:

- undefended without attack ``no_attack``; undefended under attack ``no_defense``;
- otherwise the defence's name (``adv_training`` is the paper's ``adv_tr``), followed by its variant
  where it has one (``defense_gan_rec``). Adversarial training's variant is its strength and is left
  out for the strongest of a dataset, which the paper's Table 4 shows: ``adv_tr``; a weaker one
  stays ``adv_tr_eps=0.15``;
- the threat model is a suffix: none for ``white_box`` (where no row is white-box: for
  ``black_box``), ``_bpda`` for ``white_box_bpda``, ``_clean`` for no attack, else its own name
  (``_gray_box``).

Black-box rows have three more columns: ``substitute``, which is part of a row's identity,
``oracle`` and ``queries``; rows of an attack that the config gives in other units or under another
name than the paper's, ``paper_attack`` and ``pixel_range``; rows of what is not what its name says,
``not_as_named``; and rows whose attack was refused, with n = 0 and no accuracy, ``refused``, the
reason.

**Swept tables** (3 and 8 to 11) have defences at several L and R: each (L, R) is a row, and what
has neither, such as no defence, repeats.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from purification.evaluation.measure import ATTACK_COLUMNS, ATTACK_UNIT_COLUMNS, NAMING_COLUMN
from purification.evaluation.measure import COLUMNS as MEASUREMENT_COLUMNS
from purification.evaluation.refusals import REFUSED
from purification.reporting.csv_files import read_rows, write_formatted
from purification.reporting.papers import (
    ATTACHED_COLUMNS,
    attach_paper_values,
    epsilon_key,
)
from purification.text_tables import read_text_table

_TEXT = ("dataset", "classifier", "attack", "threat_model", "defense", "variant")
_FURTHER_TEXT = ("substitute", "oracle", *ATTACK_UNIT_COLUMNS, NAMING_COLUMN, REFUSED)
_COUNTS = ("iterations_L", "restarts_R", "n", "correct")
_NUMBERS = (
    *("epsilon", "accuracy", "ci_low", "ci_high"),
    *ATTACK_COLUMNS,
)

_VAE_VARIANTS = ("base", "rec", "e2e")
# The papers' columns, then ours; what is not listed follows in the order of the long table.
_COLUMN_ORDER = (
    *("no_attack", "no_defense", *(f"defense_vae_{variant}" for variant in _VAE_VARIANTS)),
    *("defense_gan_rec", "defense_gan_orig", "magnet", "adv_tr"),
    *(f"defense_vae_{variant}_gray_box" for variant in _VAE_VARIANTS),
    *("defense_gan_rec_gray_box", "defense_gan_rec_bpda", "magnet_gray_box"),
    *(f"defense_vae_{variant}_clean" for variant in _VAE_VARIANTS),
    *("defense_gan_rec_clean", "defense_gan_orig_clean", "magnet_clean", "adv_tr_clean"),
)
_DEFENSE_ORDER = ("none", "defense_gan", "magnet", "adv_training")
_THREAT_ORDER = ("none", "white_box", "gray_box", "white_box_bpda", "black_box")
_THREAT_SUFFIX = {"white_box": "", "white_box_bpda": "_bpda", "none": "_clean"}
_THREAT_MEANING = {
    "none": "no attack: accuracy on the untouched images, with the defense where one is named.",
    "white_box": "the attacker differentiates the classifier and the defense in front of it, "
    "through every step of a latent search (of one in bfloat16: the same steps in float32).",
    "gray_box": "the attacker differentiates the bare classifier and does not know the defense.",
    "white_box_bpda": "the attacker runs the defense forward and replaces its gradient by the "
    "identity (backward pass differentiable approximation, BPDA).",
    "black_box": "the attacker asks an oracle for labels (column `oracle` of the long table: "
    "`plain` is the bare classifier) and differentiates a substitute trained on them; success and "
    "norms are of the attack on the substitute.",
}
_PAPER_WHITE_BOX = (
    "The paper's white-box values of a defense with a latent search are not comparable with ours: "
    "in its published code no gradient passes the search, so the attack stood still."
)
_ROW = ("dataset", "attack", "epsilon", "classifier", "substitute")
_SEARCH = ("iterations_L", "restarts_R")
_KEY = ("dataset", "attack", "epsilon_key", "classifier", "substitute", *_SEARCH)
"""What names a row among the cells. Without a sweep all cells have the search settings -1."""
_WEAK_ATTACK = 0.05
_REFUSED = "no number: attack refused"
_OVER_SEEDS = {
    "accuracy": ("accuracy", "mean"),
    "std": ("accuracy", "std"),
    "seeds": ("accuracy", "count"),
    **{name: (name, "sum") for name in ("n", "correct")},
    **{name: (name, "mean") for name in ("success_rate", "mean_l2", "difference")},
    "zero_gradient_share": ("zero_gradient_share", "max"),
    **{
        name: (name, "first")
        for name in (
            *("epsilon", "threat_model", "defense", "variant", "ci_low", "ci_high"),
            *(name for name in ATTACHED_COLUMNS if name != "difference"),
        )
    },
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
        model, search settings and seed; columns `MEASUREMENT_COLUMNS` and what
        `purification.reporting.papers.attach_paper_values` adds.

    Raises:
        FileNotFoundError: a measurement file is missing.
        ValueError: no file given; a file lacks a column or holds text where a number belongs; an
            attack without threat model or the reverse; two rows for the same measurement.
    """
    files = list(measurement_files)
    if not files:
        raise ValueError("no measurement files: nothing to tabulate")
    rows = pd.concat([_read_measurements(Path(file)) for file in files], ignore_index=True)
    if searches is not None:
        rows = _of_searches(rows, searches)
    ranks = pd.DataFrame(
        {
            "dataset": _rank(rows["dataset"]),
            "attack": _rank(rows["attack"], first=("none",)),
            "epsilon": rows["epsilon"].fillna(-1.0),
            "classifier": rows["classifier"],
            "substitute": _substitutes(rows),
            "defense": _rank(rows["defense"], first=_DEFENSE_ORDER),
            "variant": rows["variant"],
            "threat_model": _rank(rows["threat_model"], first=_THREAT_ORDER),
            "iterations_L": rows["iterations_L"].fillna(-1),
            "restarts_R": rows["restarts_R"].fillna(-1),
            "seed": rows["seed"],
        }
    )
    if ranks.duplicated().any():
        twice = rows[ranks.duplicated(keep=False)].iloc[0]
        raise ValueError(f"two rows for one measurement: {_describe(twice)}, seed {twice['seed']}")
    order = ranks.sort_values(list(ranks.columns), kind="stable").index
    rows = rows.loc[order].reset_index(drop=True)
    for name in set(_FURTHER_TEXT) & set(rows):
        rows[name] = rows[name].fillna("")
    if "queries" in rows:
        rows["queries"] = pd.to_numeric(rows["queries"]).astype("Int64")
    further = [column for column in rows if column not in MEASUREMENT_COLUMNS]
    rows = rows[[*MEASUREMENT_COLUMNS, *further]]
    if paper_values is None:
        return rows.drop(columns=NAMING_COLUMN, errors="ignore")
    return attach_paper_values(rows, paper_values, same_search=searches is not None)


def wide_table(long: pd.DataFrame, *, swept: bool = False) -> pd.DataFrame:
    """The paper's layout: a row for each dataset, attack, epsilon and classifier (and substitute,
    where there is one), and for each L and R in a `swept` table.

    A column for each defence and threat model in `long` (naming: see the module), the paper's
    columns first, then ours, then users' own; a weaker adversarial training stands after the
    strongest. Each is followed by ``<column>_n``, the images behind it (summed over seeds), and
    ``<column>_std``, the sample standard deviation over seeds (empty for one seed). The value is
    the mean accuracy over seeds, a fraction in [0, 1]; a cell that was not measured is empty.
    Accuracies without attack repeat on each row of their classifier; a classifier without any
    attack has one row, attack ``none``.

    Raises:
        ValueError: two settings of one defence (say, two L) fall into the same cell, or a defence's
            name makes two columns of the same name.
    """
    return _widen(_cells(long, swept))


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
    one. A legend explains the threat models that occur. The warnings are computed from `long`:
    accuracy under attack above the same model's clean accuracy; images whose gradient is exactly
    zero; attacks that succeed on under 5 % of the images; white box above gray box beyond both
    intervals; and, with the reason, attacks that were refused, whose cells have no number, and
    what is not what its name says, beside which no paper's value stands.

    Args:
        long: as `long_table` returns it.
        wide: `wide_table` of it; gives the rows and columns shown.
        title: heading.
        notes: paragraphs below the heading.
        swept: as for `wide_table`.

    Raises:
        ValueError: as `wide_table`.
    """
    cells = _cells(long, swept)
    parts = [f"# {title}", *notes, *_sections(cells, long, wide, _cell_text, level=2)]
    parts += ["## How to read this", _legend(cells)]
    parts += ["## Warnings", _warnings(cells)]
    return "\n\n".join(parts) + "\n"


def brief_table(long: pd.DataFrame, wide: pd.DataFrame, *, swept: bool = False) -> str:
    """The tables of `markdown_table` alone, their cells in one line: accuracy, half the width of
    its interval, and the paper's value with our difference from it where there is one.

    Arguments and errors as there; headings begin at the third level.
    """
    return "\n\n".join(_sections(_cells(long, swept), long, wide, _brief_text, level=3))


def read_long_table(path: Path) -> pd.DataFrame:
    """The long table that `write_csv` wrote, with the types that `long_table` gives.

    Raises FileNotFoundError, or ValueError naming the file if it is no long table.
    """
    header = read_text_table(path).partition("\n")[0].split(",")
    text = (*_TEXT, "substitute") if "substitute" in header else _TEXT
    numbers = (*_NUMBERS, "paper_value", "paper_std", "difference")
    counts = (*_COUNTS, "seed", "paper_iterations_L", "paper_restarts_R")
    return read_rows(path, text=text, counts=counts, numbers=numbers)


def write_csv(table: pd.DataFrame, path: Path, recipe: Mapping[str, Any] | None = None) -> None:
    """Write the long or the wide table: 4 decimals, epsilon as short as it is, missing cells empty.

    As for `write_formatted`; a long table, which pages read, is given its recipe.
    """
    written = table.copy()
    if "epsilon" in written:
        written["epsilon"] = written["epsilon"].map(_epsilon_text)
    write_formatted(written, path, "%.4f", recipe)


def _sections(
    cells: pd.DataFrame,
    long: pd.DataFrame,
    wide: pd.DataFrame,
    text: Callable[[Any], str],
    level: int,
) -> list[str]:
    """Headings and tables of each data set: the paper's columns, other threat models, no attack."""
    names = [name for name in wide if name in set(cells["column"])]
    clean = set(cells.loc[cells["attack"] == "none", "column"])
    main = _main_threat_model(long)
    paper_layout = {"no_attack"} | set(cells.loc[cells["threat_model"] == main, "column"])
    adjective = main.replace("_", "-")
    sections = [
        (f"No defense, and {adjective} attacks on the defenses", paper_layout, False),
        ("Other threat models", set(names) - paper_layout - clean, False),
        ("Without attack", clean, True),
    ]
    texts = {
        (*(getattr(row, name) for name in _KEY), row.column): text(row)
        for row in cells.itertuples()
    }
    parts = []
    for dataset in wide["dataset"].unique():
        parts.append(f"{'#' * level} {dataset}")
        rows = wide[wide["dataset"] == dataset]
        for heading, wanted, without_attack in sections:
            columns = [name for name in names if name in wanted]
            table = _markdown_table(rows, columns, texts, clean, without_attack)
            if table:
                parts += [f"{'#' * (level + 1)} {heading}", table]
    return parts


def _read_measurements(path: Path) -> pd.DataFrame:
    rows = read_rows(path, text=_TEXT, counts=_COUNTS, numbers=_NUMBERS)
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
    pairs = zip(*(rows[name].fillna(-1) for name in _SEARCH), strict=True)
    kept = [pair in wanted or pair == (-1, -1) for pair in pairs]
    return rows[kept].reset_index(drop=True)


def _substitutes(rows: pd.DataFrame) -> pd.Series:
    """The substitute of each row; empty where there is none."""
    return rows["substitute"].fillna("") if "substitute" in rows else pd.Series("", rows.index)


def _main_threat_model(long: pd.DataFrame) -> str:
    """The threat model of the paper's columns."""
    present = set(long["threat_model"])
    return "black_box" if "black_box" in present and "white_box" not in present else "white_box"


def _rank(values: pd.Series, first: Sequence[str] = ()) -> pd.Series:
    order = {value: rank for rank, value in enumerate(dict.fromkeys((*first, *values)))}
    return values.map(order)


def _describe(row: pd.Series) -> str:
    defense = f"{row['defense']} {row['variant']}".strip()
    return (
        f"{row['dataset']}, attack {row['attack']} {_epsilon_text(row['epsilon'])}, classifier "
        f"{row['classifier']}, defense {defense}, {row['threat_model']}"
    )


def _epsilon_text(epsilon: float) -> str:
    return "" if pd.isna(epsilon) else f"{epsilon:.6g}"


def _column_names(long: pd.DataFrame) -> pd.Series:
    """The wide column of each row (rule: see the module)."""
    strength = long["variant"].str.removeprefix("eps=").where(long["defense"] == "adv_training")
    strength = pd.to_numeric(strength, errors="coerce")
    strongest = strength.notna() & (strength == strength.groupby(long["dataset"]).transform("max"))
    suffixes = _THREAT_SUFFIX | {_main_threat_model(long): ""}
    names = []
    for defense, variant, threat_model, hide in zip(
        long["defense"], long["variant"], long["threat_model"], strongest, strict=True
    ):
        if defense == "none" and threat_model == "none":
            names.append("no_attack")
            continue
        name = {"none": "no_defense", "adv_training": "adv_tr"}.get(defense, defense)
        name += f"_{variant}" if variant and not hide else ""
        names.append(name + suffixes.get(threat_model, f"_{threat_model}"))
    return pd.Series(names, long.index, dtype=str)


def _cells(long: pd.DataFrame, swept: bool) -> pd.DataFrame:
    """One row a cell of the wide table: the rows of `long` with their seeds put together."""
    strength = epsilon_key(long["epsilon"]).where(long["attack"] != "none", "")
    rows = long.assign(
        column=_column_names(long),
        epsilon_key=strength,
        substitute=_substitutes(long),
        **{name: long[name].fillna(-1).astype(int) if swept else -1 for name in _SEARCH},
    )
    key = [*_KEY, "column"]
    twice = rows.duplicated([*key, "seed"], keep=False)
    if twice.any():
        row = rows[twice].iloc[0]
        raise ValueError(
            f"several measurements for column {row['column']!r}: {_describe(row)}, seed "
            f"{row['seed']}; a table holds one L and R of each defense, and one defense a column"
        )
    taken = {name + suffix for name in rows["column"] for suffix in ("_n", "_std")}
    taken |= {*_ROW, *_SEARCH}
    if taken & set(rows["column"]):
        name = min(taken & set(rows["column"]))
        raise ValueError(f"a defense makes a second column {name!r}: give it another name")
    return over_seeds(rows, key)


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
    made |= {name: (name, "max") for name in (NAMING_COLUMN, REFUSED) if name in rows}
    cells = rows.groupby(list(key), sort=False, dropna=False).agg(**made).reset_index()
    pooled = cells["seeds"] > 1
    if pooled.any():
        from purification.evaluation.accuracy import wilson_interval

        intervals = [
            wilson_interval(int(correct), int(n))
            for correct, n in zip(cells.loc[pooled, "correct"], cells.loc[pooled, "n"], strict=True)
        ]
        cells.loc[pooled, ["ci_low", "ci_high"]] = intervals
    return cells


def _widen(cells: pd.DataFrame) -> pd.DataFrame:
    attacked = cells[cells["attack"] != "none"]
    clean = cells[cells["attack"] == "none"]
    index = cells[[*_ROW, *_SEARCH, "epsilon_key"]].drop_duplicates(list(_KEY))
    swept = bool((index["iterations_L"] >= 0).any())
    under_attack = set(zip(attacked["dataset"], attacked["classifier"], strict=True))
    keep = [
        (attack != "none" or (dataset, classifier) not in under_attack)
        # What has no search settings stands in the rows of those that have.
        and not (swept and steps < 0)
        for dataset, attack, classifier, steps in zip(
            *(index[name] for name in ("dataset", "attack", "classifier", "iterations_L")),
            strict=True,
        )
    ]
    wide = index[keep].reset_index(drop=True)
    by_appearance = cells["column"].drop_duplicates()
    columns = sorted(by_appearance, key=_column_rank)
    for name in columns:
        # A column is either wholly without attack, and repeats, or wholly under attack.
        repeats = name in set(clean["column"])
        source = cells[cells["column"] == name]
        key = ["dataset", "classifier"]
        key += [] if repeats else ["attack", "epsilon_key", "substitute"]
        key += list(_SEARCH) if (source["iterations_L"] >= 0).any() else []
        source = source.set_index(key)[["accuracy", "n", "std"]]
        values = source.reindex(pd.MultiIndex.from_frame(wide[key]))
        wide[name] = values["accuracy"].array
        wide[f"{name}_n"] = values["n"].array
        wide[f"{name}_std"] = values["std"].array
    bare = [] if wide["substitute"].any() else ["substitute"]
    return wide.drop(columns=["epsilon_key", *bare, *(() if swept else _SEARCH)])


def _column_rank(name: str) -> tuple[int, bool]:
    """Place of a wide column; those that are not ours come last."""
    base = re.sub(r"_eps=[0-9.e-]+", "", name)
    known = base in _COLUMN_ORDER
    return (_COLUMN_ORDER.index(base) if known else len(_COLUMN_ORDER), base != name)


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
    if pd.notna(cell.mean_l2):
        lines.append(f"l2 = {cell.mean_l2:.2f}")
    if pd.notna(getattr(cell, "paper_value", None)):
        lines.append(f"paper {cell.paper_value:.4f}")
    return "<br>".join(lines)


def _brief_text(cell: Any) -> str:
    if not cell.seeds:
        return _REFUSED
    text = f"{cell.accuracy:.3f}"
    if pd.notna(cell.ci_low):
        text += f" ± {(cell.ci_high - cell.ci_low) / 2:.3f}"
    if pd.notna(cell.paper_value):
        text += f" (paper {cell.paper_value:.3f}, {cell.accuracy - cell.paper_value:+.3f})"
    return text


def _markdown_table(
    rows: pd.DataFrame,
    columns: Sequence[str],
    texts: dict[tuple, str],
    clean: set[str],
    without_attack: bool,
) -> str:
    labels = ("classifier", "L", "R")
    labels = (
        labels if without_attack else ("attack", "epsilon", "classifier", "substitute", "L", "R")
    )
    if without_attack:
        rows = rows.drop_duplicates(["classifier", *(name for name in _SEARCH if name in rows)])
    lines = []
    for row in rows.itertuples():
        epsilon = "" if pd.isna(row.epsilon) else f"{row.epsilon:.6f}"
        substitute = getattr(row, "substitute", "")
        search = tuple(getattr(row, name, -1) for name in _SEARCH)
        bare, attacked = ("none", "", row.classifier, ""), (row.attack, epsilon, row.classifier)
        cells = []
        for name in columns:
            key = (row.dataset, *(bare if name in clean else (*attacked, substitute)))
            cells.append(texts.get((*key, *search, name)) or texts.get((*key, -1, -1, name), ""))
        shown_search = tuple("" if value < 0 else str(value) for value in search)
        left = (row.attack, _epsilon_text(row.epsilon), row.classifier, substitute)
        left = (row.classifier,) if without_attack else left
        if any(cells):
            lines.append((*left, *shown_search, *cells))
    # What this dataset did not measure would be an empty column.
    shown = [i for i in range(len(labels) + len(columns)) if any(line[i] for line in lines)]
    header = (*labels, *columns)
    table = [[header[i] for i in shown], ["---"] * len(shown)]
    table += [[line[i] for i in shown] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in table) if lines else ""


def _legend(cells: pd.DataFrame) -> str:
    present = set(cells["threat_model"])
    names = [name for name in _THREAT_ORDER if name in present]
    names += sorted(present - set(names))
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
    lines.append("")
    for name in names:
        columns = {"none": " (columns `no_attack`, `*_clean`)", "white_box_bpda": " (`*_bpda`)"}
        meaning = _THREAT_MEANING.get(name, "as the configuration defines it.")
        lines.append(f"- `{name}`{columns.get(name, '')}: {meaning}")
    searched = (cells["defense"] == "defense_gan") & (cells["threat_model"] == "white_box")
    if _is_printed(cells[searched]).any():
        lines += ["", _PAPER_WHITE_BOX]
    return "\n".join(lines)


def _is_printed(cells: pd.DataFrame) -> pd.Series:
    """Where a paper has a number."""
    known = "paper_value" in cells
    return cells["paper_value"].notna() if known else pd.Series(False, cells.index)


def _pair(cell: tuple) -> str:
    """The classifier, with the substitute that the attack came from."""
    pair = f"{cell.classifier}/{cell.substitute}" if cell.substitute else cell.classifier
    return f"{pair} L={cell.iterations_L} R={cell.restarts_R}" if cell.iterations_L >= 0 else pair


def _text_of(cells: pd.DataFrame, name: str) -> pd.Series:
    """A further column of text; empty where there is none."""
    return cells[name].fillna("") if name in cells else pd.Series("", cells.index)


def _warnings(cells: pd.DataFrame) -> str:
    attacked = cells[cells["attack"] != "none"]
    same_model = ["dataset", "classifier", "defense", "variant", *_SEARCH]
    clean = cells.loc[cells["attack"] == "none", [*same_model, "accuracy", "n"]]
    above_clean = attacked.merge(clean, on=same_model, suffixes=("", "_clean"))
    above_clean = above_clean[above_clean["accuracy"] > above_clean["accuracy_clean"]]
    stronger = attacked[attacked["threat_model"].isin(("white_box", "white_box_bpda"))]
    gray = attacked[attacked["threat_model"] == "gray_box"]
    above_gray = stronger.merge(
        gray[[*same_model, "attack", "epsilon_key", "accuracy", "ci_high"]],
        on=[*same_model, "attack", "epsilon_key"],
        suffixes=("", "_gray"),
    )
    above_gray = above_gray[above_gray["ci_low"] > above_gray["ci_high_gray"]]
    kinds = [
        (
            "The attack was refused, and there is no number",
            cells[_text_of(cells, REFUSED) != ""],
            lambda c: f"{_pair(c)}: {getattr(c, REFUSED)}",
        ),
        (
            "Accuracy under attack above the same model's accuracy without attack "
            "(on a subset of the images where n is smaller)",
            above_clean,
            lambda c: (
                f"{_pair(c)} {c.accuracy:.4f} (n = {c.n}) > {c.accuracy_clean:.4f} "
                f"(n = {c.n_clean})"
            ),
        ),
        (
            "Images whose gradient is exactly zero: the attack cannot move them, "
            "so the accuracy may be too high",
            attacked[attacked["zero_gradient_share"] > 0],
            lambda c: f"{_pair(c)} {c.zero_gradient_share:.4f}",
        ),
        (
            "Attacks that succeed on under 5 % of the images: robust, or an attack that fails",
            attacked[attacked["success_rate"] < _WEAK_ATTACK],
            lambda c: f"{_pair(c)} {c.success_rate:.4f}",
        ),
        (
            "The attacker who knows the defense does worse than the one who does not, beyond both "
            "95 % intervals: the gradient is blocked or the attack badly tuned",
            above_gray,
            lambda c: f"{_pair(c)} {c.accuracy:.4f} > {c.accuracy_gray:.4f} gray box",
        ),
    ]
    parts = []
    for heading, found, text in kinds:
        if found.empty:
            continue
        lines = [f"**{heading}:**", ""]
        for (dataset, attack, _, column), group in found.groupby(
            ["dataset", "attack", "epsilon_key", "column"], sort=False
        ):
            name = f"{attack} {_epsilon_text(group['epsilon'].iloc[0])}".strip()
            listed = "; ".join(text(cell) for cell in group.itertuples())
            lines.append(f"- {dataset}, {name}, `{column}`: {listed}")
        parts.append("\n".join(lines))
    other = sorted({text for text in _text_of(cells, NAMING_COLUMN) if text})
    if other:
        lines = ["**Not what their names say, so that no paper's value stands beside:**", ""]
        parts.append("\n".join([*lines, *(f"- {text}" for text in other)]))
    return "\n\n".join(parts) if parts else "None of the checks found anything."
