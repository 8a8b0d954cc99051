"""The wide table of accuracies, in a paper's layout, from the long one.

**Column names of the wide table.** They are derived from the rows, so a defence that a user adds
has its columns without a change here:

- undefended without attack ``no_attack``; undefended under attack ``no_defense``;
- otherwise the defence's name (``adv_training`` is the paper's ``adv_tr``), followed by its variant
  where it has one (``defense_gan_rec``). Adversarial training's variant is its strength and is left
  out for the strongest of a dataset, which the paper's Table 4 shows: ``adv_tr``; a weaker one
  stays ``adv_tr_eps=0.15``;
- the threat model is a suffix: none for ``white_box`` (where no row is white-box: for
  ``black_box``), ``_bpda`` for ``white_box_bpda``, ``_clean`` for no attack, ``_fixed`` and
  ``_bpda_fixed`` where the attacker knows the draw, else its own name (``_gray_box``);
- the protocol by which a randomised defence is judged follows: none for one-shot and for known
  draws, ``_5_evaluations``, and ``_fixed_fresh`` for images that were made for a known draw and are
  judged on others;
- the quirks of published code that a defence has come last, each after a ``+``:
  ``defense_gan_rec+no_gradient``. Those of a row's classifier and attack stand in its own column
  ``quirks``, if a row of the table has one.

**Swept tables** (3 and 8 to 11) have defences at several L and R: each (L, R) is a row, and what
has neither, such as no defence, repeats.
"""

import re

import pandas as pd

from purification.evaluation.measure import QUIRKS_COLUMN
from purification.evaluation.protocols import EVALUATIONS, ONE_SHOT
from purification.reporting.long_tables import SEARCH, described, over_seeds, text_of
from purification.reporting.papers import epsilon_key

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
_THREAT_SUFFIX = {"white_box": "", "white_box_bpda": "_bpda", "none": "_clean"}
_THREAT_SUFFIX |= {"white_box_fixed": "_fixed", "white_box_bpda_fixed": "_bpda_fixed"}
_ROW = ("dataset", "attack", "epsilon", "classifier", "substitute")
OF_DEFENSES = ("no_gradient", "test_batch_statistics")
"""Quirks that a name of a column tells."""
KEY = ("dataset", "attack", "epsilon_key", "classifier", "substitute", *SEARCH)
"""What names a row among the cells. Without a sweep all cells have the search settings -1."""


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

    Raises ValueError: two settings of one defence (say, two L) fall into the same cell, or a
    defence's name makes two columns of the same name.
    """
    return _widen(table_cells(long, swept))


def table_cells(long: pd.DataFrame, swept: bool) -> pd.DataFrame:
    """One row a cell of the wide table: the rows of `long` with their seeds put together."""
    strength = epsilon_key(long["epsilon"]).where(long["attack"] != "none", "")
    rows = long.assign(
        column=_column_names(long),
        epsilon_key=strength,
        substitute=text_of(long, "substitute"),
        **{name: long[name].fillna(-1).astype(int) if swept else -1 for name in SEARCH},
    )
    key = [*KEY, "column"]
    twice = rows.duplicated([*key, "seed"], keep=False)
    if twice.any():
        row = rows[twice].iloc[0]
        raise ValueError(
            f"several measurements for column {row['column']!r}: {described(row)}, seed "
            f"{row['seed']}; a table holds one L and R of each defense, and one defense a column"
        )
    taken = {name + suffix for name in rows["column"] for suffix in ("_n", "_std")}
    taken |= {*_ROW, *SEARCH, QUIRKS_COLUMN}
    if taken & set(rows["column"]):
        name = min(taken & set(rows["column"]))
        raise ValueError(f"a defense makes a second column {name!r}: give it another name")
    return over_seeds(rows, key)


def main_threat_model(long: pd.DataFrame) -> str:
    """The threat model of the paper's columns."""
    present = set(long["threat_model"])
    return "black_box" if "black_box" in present and "white_box" not in present else "white_box"


def _column_names(long: pd.DataFrame) -> pd.Series:
    """The wide column of each row (rule: see the module)."""
    strength = long["variant"].str.removeprefix("eps=").where(long["defense"] == "adv_training")
    strength = pd.to_numeric(strength, errors="coerce")
    strongest = strength.notna() & (strength == strength.groupby(long["dataset"]).transform("max"))
    suffixes = _THREAT_SUFFIX | {main_threat_model(long): ""}
    names = []
    protocols = _protocol_suffixes(long)
    quirks = text_of(long, QUIRKS_COLUMN).str.split(";")
    told = ["".join(f"+{q}" for q in own if q in OF_DEFENSES) for own in quirks]
    columns = (long[name] for name in ("defense", "variant", "threat_model"))
    for defense, variant, threat_model, hide, *ends in zip(
        *columns, strongest, protocols, told, strict=True
    ):
        if defense == "none" and threat_model == "none":
            names.append("no_attack")
            continue
        name = {"none": "no_defense", "adv_training": "adv_tr"}.get(defense, defense)
        name += f"_{variant}" if variant and not hide else ""
        names.append("".join([name, suffixes.get(threat_model, f"_{threat_model}"), *ends]))
    return pd.Series(names, long.index, dtype=str)


def _protocol_suffixes(long: pd.DataFrame) -> list[str]:
    """What a row's protocol adds to the name of its column."""
    if "protocol" not in long:
        return [""] * len(long)
    suffixes = []
    columns = (long[name] for name in ("threat_model", "protocol", "evaluations"))
    for threat_model, protocol, evaluations in zip(*columns, strict=True):
        suffix = "_fresh" if protocol == ONE_SHOT and threat_model.endswith("_fixed") else ""
        suffixes.append(f"_{evaluations}_evaluations" if protocol == EVALUATIONS else suffix)
    return suffixes


def _widen(cells: pd.DataFrame) -> pd.DataFrame:
    attacked = cells[cells["attack"] != "none"]
    clean = cells[cells["attack"] == "none"]
    index = cells[[*_ROW, *SEARCH, "epsilon_key"]].drop_duplicates(list(KEY))
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
    for name in sorted(cells["column"].drop_duplicates(), key=_column_rank):
        # A column is either wholly without attack, and repeats, or wholly under attack.
        repeats = name in set(clean["column"])
        source = cells[cells["column"] == name]
        key = ["dataset", "classifier"]
        key += [] if repeats else ["attack", "epsilon_key", "substitute"]
        key += list(SEARCH) if (source["iterations_L"] >= 0).any() else []
        source = source.set_index(key)[["accuracy", "n", "std"]]
        values = source.reindex(pd.MultiIndex.from_frame(wide[key]))
        for column, suffix in (("accuracy", ""), ("n", "_n"), ("std", "_std")):
            wide[name + suffix] = values[column].array
    bare = [] if wide["substitute"].any() else ["substitute"]
    if QUIRKS_COLUMN in cells:
        wide.insert(len(_ROW), QUIRKS_COLUMN, _quirks_of_rows(wide, cells))
    return wide.drop(columns=["epsilon_key", *bare, *(() if swept else SEARCH)])


def _quirks_of_rows(wide: pd.DataFrame, cells: pd.DataFrame) -> list[str]:
    """The quirks of the numbers in each row that its columns' names do not tell."""
    cells = cells.assign(bare=cells["attack"] == "none")
    found = []
    for row in wide.itertuples():
        here = (cells["dataset"] == row.dataset) & (cells["classifier"] == row.classifier)
        same = cells["attack"] == row.attack
        same &= (cells["epsilon_key"] == row.epsilon_key) & (cells["substitute"] == row.substitute)
        own = cells.loc[here & (same | cells["bare"]), QUIRKS_COLUMN].str.split(";").sum()
        kept = dict.fromkeys(q for q in own if q and q not in OF_DEFENSES)
        found.append(";".join(sorted(kept)))
    return found


def _column_rank(name: str) -> tuple[int, bool]:
    """Place of a wide column; those that are not ours come last."""
    base = re.sub(r"_eps=[0-9.e-]+", "", name.partition("+")[0])
    known = base in _COLUMN_ORDER
    return (_COLUMN_ORDER.index(base) if known else len(_COLUMN_ORDER), base != name)
