"""Robust accuracy over what a purification costs, in passes through the generator an image.

AE-GAN+rs (abstract, section 4.3) claims Defense-GAN's accuracy for 15 of its 2,000 steps. The paper
prints a few cells; here the claim is a curve for each defence. What a figure shows, in plain JSON
values:

    {"dataset": name, "classifier": name, "attack": name, "epsilon": number or None,
     "threat_models": [...],                 # a panel each
     "lines": [{"label": text, column: value, ...}, ...],
     "reference": label,                     # the line whose best accuracy is to be reached
     "one_pass": {column: value, ...}}       # the defence without a search

A line's further keys are columns of the long tables and what they hold, such as `defense`,
`variant` and `restarts_R`. Rows of other settings are passed over. Seeds are put together, as in
`reporting.sweeps`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from purification.reporting.csv_files import NAMES, all_rows, read_rows
from purification.reporting.figures import attack_name, legend_entries, paper_figure
from purification.reporting.papers import demand_numbers, epsilon_key
from purification.reporting.roc import MARKERS, check_number, draw_line
from purification.reporting.sweeps import pooled_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WITHIN = 0.01
"""How near the reference's best accuracy counts as reaching it: 1 point."""
PAPER_SHARE = 15 / 2000
"""The paper's claim: steps of AE-GAN+rs over those of Defense-GAN, 200 of each of 10 restarts."""
COLUMNS = (
    *("threat_model", "line", "iterations_L", "restarts_R", "evaluations", "n", "correct"),
    *("accuracy", "ci_low", "ci_high", "share_of_reference", "within_1_point", "paper_share"),
)
"""Columns of a figure's points. `share_of_reference`: evaluations over those of the reference at
its best; `within_1_point`: accuracy no more than `WITHIN` below that best."""
TITLES = {"gray_box": "Gray box", "white_box": "White box", "white_box_bpda": "White box (BPDA)"}
TITLES |= {"surrogate": "Surrogate"}
NO_DEFENSE, CLEAN = "No defence", "clean"
_COUNTS = ("seed", "iterations_L", "restarts_R", "n", "correct")
_NEEDED = (*NAMES, *_COUNTS, "epsilon")
_LINE = 145  # characters of the text below the panels
_IDENTITY = ["threat_model", "line", "iterations_L", "restarts_R"]


@dataclass(frozen=True)
class Reached:
    """What a line says of the claim in a threat model: `first`, its cheapest point within 1 point
    of the reference's `best`, or None; both are rows of the points."""

    threat_model: str
    line: str
    best: pd.Series
    first: pd.Series | None


def evaluations(steps: int | None, restarts: int | None) -> int:
    """Passes through the generator that a purified image costs, as `SearchResult` counts them.

    Each restart takes `steps` passes, with a gradient each, and one last look at its image. Without
    a search (steps None or 0) an image is generated once. Encoder and classifier are not counted.
    """
    if pd.isna(steps) or not steps:
        return 1
    return (1 if pd.isna(restarts) else int(restarts)) * (int(steps) + 1)


def read_measurements(files: Iterable[Path], dataset: str) -> pd.DataFrame:
    """The rows of one data set in files of `purification.evaluation.measure` or in long tables,
    each measurement once, for `cost_points`.

    Tables share measurements; what else they say of them, such as a paper's number, is left out.
    Raises as `all_rows`.
    """
    read = partial(read_rows, text=NAMES, counts=_COUNTS, numbers=("epsilon",))
    long = all_rows(files, read, "no files with measurements: nothing to draw")
    kept = [*_NEEDED, *(name for name in ("evaluations",) if name in long)]
    return long.loc[long["dataset"] == dataset, kept].drop_duplicates(ignore_index=True)


def cost_points(long: pd.DataFrame, content: Mapping[str, Any]) -> pd.DataFrame:
    """The points of a figure, columns `COLUMNS`, by threat model, line and evaluations.

    Two lines beside the content's, the same in every threat model: `NO_DEFENSE`, without
    evaluations, attacked in its white box; and `CLEAN` plus the one-pass defence's accuracy without
    attack.

    In `long`, of `read_measurements`, a column `evaluations`, such as the inference rule's measured
    mean, goes before what L and R say. Raises ValueError: a column is missing; a line has no row in
    a threat model; several rows for one point and seed; seeds with different numbers of images; no
    such reference.
    """
    _check(long, content)
    here = long[
        (long["dataset"] == content["dataset"]) & (long["classifier"] == content["classifier"])
    ]
    strength = epsilon_key(pd.Series([content["epsilon"]], dtype=float))[0]
    attacked = (here["attack"] == content["attack"]) & (epsilon_key(here["epsilon"]) == strength)
    # The bare classifier has one threat model, its own white box, whatever the panel's.
    bare = attacked & (here["defense"] == "none") & (here["threat_model"] == "white_box")
    parts = []
    for threat_model in content["threat_models"]:
        rows = here[attacked & (here["threat_model"] == threat_model)]
        chosen = {line["label"]: _chosen(rows, line) for line in content["lines"]}
        chosen[NO_DEFENSE] = here[bare]
        chosen[f"One pass, {CLEAN}"] = _chosen(here[here["attack"] == "none"], content["one_pass"])
        for name, found in chosen.items():
            if found.empty:
                raise ValueError(f"no measurement of {name!r} in {threat_model}")
            demand_numbers(found, "accuracy over cost")
            parts.append(found.assign(threat_model=threat_model, line=name))
    points = _pooled(pd.concat(parts, ignore_index=True))
    return _beside_reference(points, content["reference"])


def claim(points: pd.DataFrame, content: Mapping[str, Any]) -> list[Reached]:
    """For each threat model and each line, the reference's own too, where it reaches the
    reference's best accuracy; arguments as `cost_points` has them and makes them."""
    found = []
    for threat_model in content["threat_models"]:
        here = points[points["threat_model"] == threat_model]
        best = _best(here[here["line"] == content["reference"]])
        for line in content["lines"]:
            near = here[(here["line"] == line["label"]) & here["within_1_point"].fillna(False)]
            first = None if near.empty else near.loc[near["evaluations"].idxmin()]
            found.append(Reached(threat_model, line["label"], best, first))
    return found


def claim_lines(reached: Sequence[Reached]) -> list[str]:
    """Sentences on the `claim` in each threat model, such as "Gray box: the best of Defense-GAN is
    0.970 (L = 200, R = 10; 2,010 evaluations). No more than 1 point below it: AE-GAN+rs from L = 15
    (16 evaluations, 0.796 %); BiGAN+s at no measured cost."."""
    sentences = []
    for threat_model in dict.fromkeys(each.threat_model for each in reached):
        here = [each for each in reached if each.threat_model == threat_model]
        best = here[0].best
        sentences.append(
            f"{TITLES.get(threat_model, threat_model)}: the best of {best['line']} is "
            f"{best['accuracy']:.3f} ({_settings(best)}; {best['evaluations']:,.0f} evaluations). "
            f"No more than 1 point below it: {'; '.join(map(_from, here))}."
        )
    return sentences


def cost_accuracy(points: pd.DataFrame, content: Mapping[str, Any], *paths: Path) -> None:
    """Draw accuracy with its interval over evaluations, a panel for each threat model.

    The horizontal axes are logarithmic. Dashed: no defence; a star at one evaluation: clean images
    after one pass. Below stands what is measured of the paper's claim (`claim_lines`).

    `points` are of `cost_points`, `paths` as for `paper_figure`. Raises ValueError: more than two
    threat models, or more lines than can be told apart.
    """
    threat_models = content["threat_models"]
    check_number("threat models", len(threat_models), 2)
    labels = [line["label"] for line in content["lines"]]
    check_number("lines", len(labels), len(MARKERS) - 1)
    sentences = claim_lines(claim(points, content))
    sentences.append(
        f"The paper's claim: 15 of 2,000 steps, {100 * PAPER_SHARE:.2f} %. Points are compared, "
        "not their 95 % intervals, which the bars show."
    )
    text = [line for sentence in sentences for line in wrap(_unbroken(sentence), _LINE)]
    height = 2.5 + 0.12 * len(text)
    with paper_figure(2, height, *paths) as figure:
        axes = figure.subplots(1, len(threat_models), sharey=True, squeeze=False)[0]
        for axis, threat_model in zip(axes, threat_models, strict=True):
            _draw(axis, points[points["threat_model"] == threat_model], labels)
            axis.set_title(TITLES.get(threat_model, threat_model))
        attack = attack_name(content["attack"])
        strength = "" if content["epsilon"] is None else f", ε = {content['epsilon']:g}"
        axes[0].set_ylabel(f"Accuracy ({attack}{strength})")
        entries = legend_entries(axes[:1])
        place = {"loc": "outside upper center", "ncols": len(entries), "frameon": False}
        figure.legend(entries.values(), entries.keys(), **place)
        figure.supxlabel("\n".join(text), fontsize=6, x=0.01, ha="left")


def _check(long: pd.DataFrame, content: Mapping[str, Any]) -> None:
    keys = {key for line in (*content["lines"], content["one_pass"]) for key in line} - {"label"}
    missing = [name for name in (*_NEEDED, *sorted(keys)) if name not in long]
    if missing:
        raise ValueError(f"long table lacks the columns {', '.join(missing)}")
    labels = [line["label"] for line in content["lines"]]
    if content["reference"] not in labels or len(set(labels)) < len(labels):
        raise ValueError(
            f"expected lines of different labels, one of them {content['reference']!r}: {labels}"
        )


def _chosen(rows: pd.DataFrame, wanted: Mapping[str, Any]) -> pd.DataFrame:
    """The rows that hold these values; None finds missing ones."""
    for column, value in wanted.items():
        if column != "label":
            holds = rows[column].isna() if value is None else rows[column] == value
            rows = rows[holds.fillna(False)]
    return rows


def _pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each point, its seeds put together."""
    counted = [
        evaluations(steps, restarts)
        for steps, restarts in zip(rows["iterations_L"], rows["restarts_R"], strict=True)
    ]
    measured = rows["evaluations"] if "evaluations" in rows else pd.Series(pd.NA, rows.index)
    costs = pd.to_numeric(measured).astype(float).fillna(pd.Series(counted, rows.index))
    rows = rows.assign(evaluations=costs)
    twice = rows.duplicated([*_IDENTITY, "seed"])
    if twice.any():
        raise ValueError(f"two measurements of one point: {dict(rows[twice].iloc[0])}")
    pooled = pooled_seeds(rows, _IDENTITY, [*_IDENTITY, "n"], evaluations=("evaluations", "mean"))
    order = [pd.factorize(pooled[name])[0] for name in ("threat_model", "line")]
    ranks = pd.DataFrame({"t": order[0], "l": order[1], "e": pooled["evaluations"]})
    return pooled.loc[ranks.sort_values(["t", "l", "e"]).index].reset_index(drop=True)


def _beside_reference(points: pd.DataFrame, reference: str) -> pd.DataFrame:
    """The columns that compare with the reference's best; attacked images of a defence alone."""
    beside = points.assign(share_of_reference=float("nan"), within_1_point=pd.NA)
    for _, here in points.groupby("threat_model", sort=False):
        best = _best(here[here["line"] == reference])
        compared = here[(here["line"] != NO_DEFENSE) & ~here["line"].str.endswith(CLEAN)]
        shares = compared["evaluations"] / best["evaluations"]
        beside.loc[compared.index, "share_of_reference"] = shares
        # In floats 0.97 - 0.01 is a hair above 0.96.
        near = compared["accuracy"] >= best["accuracy"] - WITHIN - 1e-9
        beside.loc[compared.index, "within_1_point"] = near
    beside.loc[points["line"] == NO_DEFENSE, "evaluations"] = 0
    return beside.assign(paper_share=PAPER_SHARE)[list(COLUMNS)]


def _best(points: pd.DataFrame) -> pd.Series:
    """The most accurate of a line's points, of equals the cheapest."""
    return points.sort_values(["accuracy", "evaluations"], ascending=[False, True]).iloc[0]


def _from(each: Reached) -> str:
    """Such as "AE-GAN+rs from L = 15 (16 evaluations, 0.796 %)"."""
    if each.first is None:
        return f"{each.line} at no measured cost"
    cost, share = (each.first[name] for name in ("evaluations", "share_of_reference"))
    settings = _settings(each.first)
    return f"{each.line} from {settings} ({cost:,.4g} evaluations, {100 * share:.3g} %)"


def _unbroken(sentence: str) -> str:
    """No line ends within "L = 25"."""
    return sentence.replace(" = ", "\u00a0=\u00a0")


def _settings(point: pd.Series) -> str:
    """Such as "L = 200, R = 10"."""
    names = {"iterations_L": "L", "restarts_R": "R"}
    shown = [f"{s} = {point[n]:g}" for n, s in names.items() if pd.notna(point[n])]
    return ", ".join(shown) or "one pass"


def _draw(axis: "Axes", points: pd.DataFrame, labels: Sequence[str]) -> None:
    for i, label in enumerate(labels):
        here = points[points["line"] == label]
        draw_line(axis, i, here["evaluations"], here, label=label)
    [none] = points.loc[points["line"] == NO_DEFENSE, "accuracy"]
    axis.axhline(none, color="0.4", linestyle="--", linewidth=0.8, label=NO_DEFENSE, zorder=0)
    [clean] = points.loc[points["line"].str.endswith(CLEAN), "accuracy"]
    [name] = points.loc[points["line"].str.endswith(CLEAN), "line"]
    axis.plot([1], [clean], "*", color="0.2", markersize=6, linestyle="none", label=name)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    ticks = np.linspace(0, 1, 6)
    axis.set(xlabel="Generator evaluations an image", ylim=(-0.02, 1.02), yticks=ticks)
