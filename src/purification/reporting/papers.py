"""The papers' printed numbers, and their place beside ours.

The numbers live in one CSV a paper (``resources/papers/<paper>.csv``), and what is known of them
beside what is printed in a YAML; the README there explains both. Every function takes that folder
as an argument, so that the library works wherever it is installed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from purification.evaluation.measure import NAMING_COLUMN
from purification.evaluation.protocols import ONE_SHOT
from purification.evaluation.refusals import REFUSED
from purification.provenance import in_a_job
from purification.reporting.csv_files import typed_rows

MATCH_COLUMNS = ("dataset", "threat_model", "attack", "epsilon", "classifier", "defense", "variant")
_PRINTED = {"value": "paper_value", "std": "paper_std"}
_PRINTED |= {name: f"paper_{name}" for name in ("iterations_L", "restarts_R")}
ATTACHED_COLUMNS = (*_PRINTED.values(), "difference")

_TEXT = (
    *(column for column in MATCH_COLUMNS if column != "epsilon"),
    *("paper", "table", "norm", "substitute", "metric", "note"),
)
_COUNTS = ("iterations_L", "restarts_R")
_NUMBERS = ("epsilon", "value", "std")
CHECKSUMS = "SHA256SUMS"
"""The list of a folder's files with their digests, as sha256sum writes it."""
_KNOWN = "known"


def demand_numbers(rows: pd.DataFrame, shown: str) -> None:
    """Raise ValueError if one of the measurement rows has no number, its attack having been refused
    (`evaluation.refusals`): a figure has no way to show that."""
    refused = rows[rows["n"] == 0]
    if not refused.empty:
        row = refused.iloc[0]
        reason = row.get(REFUSED) or "the attack was refused; the measurements say why"
        raise ValueError(
            f"{shown}: no number of {row['defense']} before {row['classifier']} under "
            f"{row['attack']}, {row['threat_model']}: {reason}"
        )


def epsilon_key(epsilon: pd.Series) -> pd.Series:
    """Attack strengths as text that is equal when they agree to 1e-6; empty where there is none."""
    return epsilon.map("{:.6f}".format).where(epsilon.notna(), "")


def values_of(file: str | Sequence[str], table: str) -> pd.DataFrame | None:
    """`paper_values` of a job's input file; None where there is none: a table of the user's own."""
    path = Path(str(file))
    return paper_values(path.stem, table, path.parent) if file else None


def paper_values(paper: str, table: str, folder: Path) -> pd.DataFrame:
    """The numbers printed in one table of one paper.

    Args:
        paper: ``defense_gan``, ``cowboy``, ``ae_gan`` or ``defense_vae``: the file's name.
        table: as printed, such as ``"Table 4"``.
        folder: where the CSV files are (``resources/papers`` in the repository).

    Returns:
        One row a number, in the order of the file; accuracies are fractions in [0, 1]. A paper
        prints a classifier's clean accuracy again on the row of every attack and of every
        substitute; here it stands once, without substitute. What the paper's YAML knows of them
        is with them, for `attach_paper_values`.

    Raises FileNotFoundError, naming the place and the papers there; ValueError: the file lacks a
    column, has no such table (the message lists its tables), or is another than `CHECKSUMS` lists.
    """
    everything = _printed(paper, folder)
    values = everything[everything["table"] == table].copy()
    if values.empty:
        known, path = ", ".join(everything["table"].unique()), Path(folder) / f"{paper}.csv"
        raise ValueError(f"{path} has no table {table!r}; it has: {known}")
    clean = values["attack"] == "none"
    values.loc[clean, "substitute"] = ""
    identity = [column for column in values.columns if column != "note"]
    repeated = clean & values.duplicated(identity)
    values = values[~repeated].reset_index(drop=True)
    values.attrs[_KNOWN] = known_of(paper, folder)
    return values


def printed_accuracies(paper: str, folder: Path) -> pd.DataFrame:
    """All accuracies that a paper prints, a row each, in the order of the file, whatever the table.
    Raises as `paper_values`."""
    everything = _printed(paper, folder)
    return everything[everything["metric"] == "accuracy"].reset_index(drop=True)


def _printed(paper: str, folder: Path) -> pd.DataFrame:
    """All numbers of a paper, a row each."""
    path = Path(folder) / f"{paper}.csv"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in Path(folder).glob("*.csv"))) or "none"
        raise FileNotFoundError(f"no printed numbers at {path}; papers in that folder: {known}")
    content = checked_content(path).decode()
    return typed_rows(path, content, text=_TEXT, counts=_COUNTS, numbers=_NUMBERS)


def known_of(paper: str, folder: Path) -> dict[str, Any]:
    """What is known of a paper's numbers (``<paper>.yaml`` in that folder); empty if there is no
    such file. Raises as `checked_content`."""
    path = Path(folder) / f"{paper}.yaml"
    return yaml.safe_load(checked_content(path)) if path.is_file() else {}


def checked_content(path: Path) -> bytes:
    """The bytes of a file that `CHECKSUMS` in its folder lists with their SHA-256.

    Outside of a job a folder without that list is taken as it is.

    Raises ValueError, naming the file, if the list lacks it or has another digest: of an edit that
    was meant, the list must be made anew.
    """
    content, sums = path.read_bytes(), path.with_name(CHECKSUMS)
    if not sums.is_file() and not in_a_job():
        return content
    if not sums.is_file():
        raise ValueError(f"{sums}: no such file; expected the digests of the papers' numbers")
    listed = dict(
        reversed(line.split(maxsplit=1))
        for line in sums.read_text().splitlines()
        if len(line.split(maxsplit=1)) == 2
    )
    if listed.get(path.name) != hashlib.sha256(content).hexdigest():
        raise ValueError(
            f"{path}: not the file that {sums} lists. If it was changed on purpose, make the list "
            f"anew: (cd {path.parent} && sha256sum *.csv *.yaml > {CHECKSUMS})"
        )
    return content


def attach_paper_values(
    long: pd.DataFrame, values: pd.DataFrame, *, same_search: bool = False
) -> pd.DataFrame:
    """Put the printed accuracy beside each of our measurements.

    A row matches when dataset, threat model, attack, epsilon (to 1e-6; empty matches empty),
    classifier, defense and variant agree, and the substitute where ours have one. What a paper did
    not measure stays empty: our threat models ``gray_box`` and ``white_box_bpda``, attacks such as
    ``cw_tuned``, the digits dataset.

    Strengths, also those of adversarial training in its variant, are compared in units of [0, 1]:
    ours are converted from the row's ``pixel_range``, printed ones by the paper's `pixel_ranges`.
    So what Defense-GAN prints for CelebA at 0.3 stands beside our 0.3 of [-1, 1] (or 0.15 of
    [0, 1]), not beside our 0.3 of [0, 1]. A row with a ``paper_attack`` or a ``paper_classifier``
    matches by it instead of its own name, and the networks of the paper's `own_classifiers` by its
    letter. A row that is something else than its names say (`evaluation.measure.NAMING_COLUMN` is
    not empty) matches nothing; of a randomised defence only its one-shot accuracy does.

    A difference on Defense-GAN's ``white_box`` rows is no error of either side. The paper (sec. 3,
    Table 4) describes an attacker who differentiates through the L search steps; in the code
    published with it no gradient passes the search, whose state is assigned. FGSM then changes
    nothing and CW returns the clean image, which fits the printed numbers: they lie near the clean
    accuracy and above the paper's own black box. Ours has the true gradient, and must be expected
    far below.

    Args:
        long: measurement rows; needs ``MATCH_COLUMNS`` and ``accuracy``, and may have
            ``substitute``, ``paper_attack``, ``paper_classifier``, ``pixel_range`` and
            ``not_as_named``.
        values: rows of `paper_values`; only those with metric ``accuracy`` are used.
        same_search: L and R must agree too (Tables 8 to 11, where they vary).

    Returns a copy of `long`, same rows and order, with `ATTACHED_COLUMNS`; ``difference`` is ours
    less the paper's. Raises ValueError, naming the row, if the paper has several different numbers
    for one of ours (such as Tables 8 to 11, where L and R vary).
    """
    match = [*MATCH_COLUMNS, *(["substitute"] if "substitute" in long else [])]
    match += ["iterations_L", "restarts_R"] if same_search else []
    known = values.attrs[_KNOWN]
    if not known.get("strengths", True):
        match.remove("epsilon")
    printed = in_our_units(values[values["metric"] == "accuracy"], known)
    values = printed[list(_PRINTED)].rename(columns=_PRINTED)
    printed = values.assign(key=_keys(printed, match)).drop_duplicates()
    keys = _keys(as_in_paper(long, known), match)
    if NAMING_COLUMN in long:
        keys = keys.where(long[NAMING_COLUMN] == "", "")
    if "protocol" in long:
        keys = keys.where(long["protocol"].isin(("", ONE_SHOT)), "")
    ambiguous = printed.loc[printed["key"].duplicated() & printed["key"].isin(keys), "key"]
    if not ambiguous.empty:
        cell = ", ".join(
            f"{name}={part}" for name, part in zip(match, ambiguous.iloc[0].split("|"), strict=True)
        )
        raise ValueError(f"the paper has several numbers for one measurement: {cell}")
    beside = printed.drop_duplicates("key").set_index("key").reindex(keys)
    result = long.copy()
    for column in beside.columns:
        result[column] = beside[column].array
    result["difference"] = result["accuracy"] - result["paper_value"]
    return result


def in_our_units(printed: pd.DataFrame, known: Mapping[str, Any]) -> pd.DataFrame:
    """Printed rows with their threat models by ours' names, and strengths in units of [0, 1]."""
    rows = printed.copy()
    for named in known.get("threat_models", ()):
        here = rows["threat_model"] == named["printed"]
        here &= rows["defense"] == named.get("defense", rows["defense"])
        rows.loc[here, "threat_model"] = named["meant"]
        rows.loc[here, "attack"] = named.get("attack", rows["attack"])
    for defense, meant in known.get("not_stated", {}).items():
        rows.loc[(rows["defense"] == defense) & (rows["variant"] == ""), "variant"] = meant
    for column in ("classifier", "substitute"):
        rows[column] = rows[column].replace(known.get("classifiers", {}))
    for dataset, units in known.get("pixel_ranges", {}).items():
        low, high = units["range"]
        here = (rows["dataset"] == dataset) & ~rows["defense"].isin(units.get("but", []))
        rows.loc[here, "epsilon"] /= high - low
        trained = here & rows["variant"].str.startswith("eps=")
        strengths = rows.loc[trained, "variant"].str.removeprefix("eps=").astype(float)
        rows.loc[trained, "variant"] = (strengths / (high - low)).map("eps={:g}".format)
    return rows


def as_in_paper(ours: pd.DataFrame, known: Mapping[str, Any]) -> pd.DataFrame:
    """Our rows with the paper's names of attacks and networks, and their strengths in units of
    [0, 1]."""
    rows = ours.copy()
    if "paper_classifier" in rows:
        named = rows["paper_classifier"] != ""
        rows.loc[named, "classifier"] = rows.loc[named, "paper_classifier"]
    for column in {"classifier", "substitute"} & set(rows):
        rows[column] = rows[column].replace(known.get("own_classifiers", {}))
    if "paper_attack" in rows:
        named = rows["paper_attack"] != ""
        rows.loc[named, "attack"] = rows.loc[named, "paper_attack"]
    if "pixel_range" in rows:
        for text in set(rows["pixel_range"]) - {""}:
            low, high = json.loads(text)
            rows.loc[rows["pixel_range"] == text, "epsilon"] /= high - low
    return rows


def _keys(rows: pd.DataFrame, match: Sequence[str]) -> pd.Series:
    parts = rows[list(match)].copy()
    # Without an attack there is no strength, whatever a file may say.
    if "epsilon" in match:
        parts["epsilon"] = epsilon_key(rows["epsilon"]).where(rows["attack"] != "none", "")
    for name in set(_COUNTS) & set(match):
        parts[name] = rows[name].astype("Int64").astype(str).where(rows[name].notna(), "")
    return pd.Series(list(map("|".join, parts.itertuples(index=False))), rows.index, dtype=str)
