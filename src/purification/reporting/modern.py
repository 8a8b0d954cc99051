"""The figures around the leaderboard of later purifiers, and the page of the study of t*."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from purification.evaluation.cleaned import ATTACKED, CLEAN, PURIFIED
from purification.evaluation.protocol_points import (
    DRAW_COLUMNS,
    EVALUATION_COLUMNS,
    KNOWN,
    LINES,
    draw_points,
    evaluation_points,
)
from purification.evaluation.protocols import EVALUATIONS, FIXED, ONE_SHOT
from purification.reporting.figures import (
    legend_below,
    legend_entries,
    paper_figure,
    purification_examples,
)
from purification.reporting.headline import Named
from purification.reporting.leaderboard import rows_and_times
from purification.reporting.markdown_tables import grid
from purification.reporting.roc import DASHES, MARKERS, AccuracyPanel, accuracy_lines
from purification.storage import read_image_set

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = 3  # side by side
_RUN = ("dataset", "classifier")
COST_COLUMNS = (
    *("dataset", "seed", "classifier", "defense", "variant", "panel", "number", "n"),
    *("norm", "epsilon", "clean_accuracy", "accuracy", "ci_low", "ci_high", "passes", "ms"),
)
"""Columns of `cost_points`: number is that in the figure; passes and ms are of one evaluation."""
PICTURE_COLUMNS = ("part", "row", "image", "label", "prediction", "right")
_ONE_SHOT, _EVERY = "One evaluation", "All evaluations"


def _name(row: Mapping[str, Any], named: Named) -> str:
    """A row's defence, such as "Defense-GAN-Rec"."""
    variant = row.get("variant")
    return named(row["defense"], variant if isinstance(variant, str) else "")


# Accuracy over evaluations


def accuracy_over_evaluations(points: pd.DataFrame, named: Named, *paths: Path) -> None:
    """Draw accuracy under N evaluations over N, a panel for each defence: of clean images, under
    attack, and of images that were made for a known draw; with 95 % intervals.

    `points`: of `evaluation.protocol_points.evaluation_points`; `paths` as for `paper_figure`.
    """
    panels = list(points.groupby([*_RUN, "defense", "variant"], sort=False, dropna=False))
    lines = -(-len(panels) // _PANELS)
    with paper_figure(2, 0.7 + 1.75 * lines, *paths) as figure:
        figure.suptitle(f"Under the whole cascade, {_balls(points)}", fontsize=8)
        axes = figure.subplots(lines, _PANELS, sharex=True, sharey=True, squeeze=False).ravel()
        for axis, ((dataset, *_), own) in zip(axes, panels, strict=False):
            for i, line in enumerate(LINES):
                _draw_line(axis, i, line, own[own["line"] == line])
            # In one line the longest names would run into their neighbours, or out of the figure.
            axis.set_title(f"{_name(own.iloc[0], named)}\n{dataset}, n = {own['n'].max()}")
            axis.set(ylim=(-0.02, 1.02))
            # A shared axis has no numbers above an empty place.
            axis.tick_params(labelbottom=True)
            axis.xaxis.set_major_locator(_whole_numbers())
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        for axis in axes[::_PANELS]:
            axis.set_ylabel("Accuracy under all of N")
        for axis in axes[: len(panels)]:
            axis.set_xlabel("Evaluations N")
        legend_below(figure, legend_entries(axes), ncols=2)


def _balls(points: pd.DataFrame) -> str:
    """The balls of the attacks, such as "l-inf, ε = 0.1"."""
    norms = {"linf": "l-inf"}
    found = points[["norm", "epsilon"]].drop_duplicates().itertuples(index=False)
    return "; ".join(f"{norms.get(norm, norm)}, ε = {epsilon:g}" for norm, epsilon in found)


def _whole_numbers() -> Any:
    from purification.reporting.plotting import MaxNLocator

    return MaxNLocator(integer=True)


def _draw_line(axis: "Axes", i: int, label: str, points: pd.DataFrame) -> None:
    bars = [points["accuracy"] - points["ci_low"], points["ci_high"] - points["accuracy"]]
    axis.errorbar(
        # Beside one another, so that bars can be told apart.
        points["evaluations"] + 0.06 * (i - 1.5),
        points["accuracy"],
        # Wilson's interval of 0 or 1 may round past it.
        yerr=np.clip(np.array(bars, dtype=float), 0, None),
        **{"color": f"C{i}", "marker": MARKERS[i], "markersize": 4, "capsize": 1.5},
        **{"elinewidth": 0.6, "label": label},
        linestyle="none" if label == KNOWN else DASHES[i],
    )


# Accuracy over costs


def cost_points(
    rows: Sequence[Mapping[str, Any]], times: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The points of accuracy over the cost of an evaluation, `COST_COLUMNS`: what the worst case of
    each row and protocol leaves, by `reporting.leaderboard.rows_and_times`. A panel has one
    evaluation, the other all of a randomised defence's; a deterministic one is in both. Known draws
    are left out."""
    numbers: dict[tuple[str, str], int] = {}
    points = []
    for row, own in zip(rows, times, strict=True):
        name = (row["defense"], row["variant"])
        numbers.setdefault(name, len(numbers) + 1)
        for panel in _panels_of(row["protocol"]):
            points.append(
                {
                    **{key: row[key] for key in COST_COLUMNS if key in row},
                    **{"panel": panel, "number": numbers[name]},
                    **{"passes": row["purification_passes"], "ms": own["purification_ms"]},
                }
            )
    return [{key: point[key] for key in COST_COLUMNS} for point in points]


def _panels_of(protocol: str | None) -> tuple[str, ...]:
    known = {ONE_SHOT: (_ONE_SHOT,), EVALUATIONS: (_EVERY,), FIXED: ()}
    return known[protocol] if protocol else (_ONE_SHOT, _EVERY)


_DISC = 8.5  # points across


def accuracy_over_costs(points: pd.DataFrame, named: Named, *paths: Path) -> None:
    """Draw accuracy over milliseconds of a purification: a row for each data set and classifier,
    with a panel for one evaluation and one for all. A defence is a numbered disc with its 95 %
    interval, and a diamond at what it keeps of clean images; what purifies nothing is a horizontal
    line.

    `points`: of `cost_points`; `paths` as for `paper_figure`.
    """
    runs = list(points.groupby(list(_RUN), sort=False))
    names = {int(number): _name(row, named) for number, row in _first_of_each(points)}
    text_lines = -(-len(names) // 3)
    with paper_figure(2, 0.62 + 2.9 * len(runs) + 0.14 * (text_lines + 1), *paths) as figure:
        figure.suptitle(
            f"Discs: under the whole cascade, {_balls(points)}; diamonds: clean.\n"
            "The numbers of discs that hide one another stand above them.",
            fontsize=8,
        )
        axes = figure.subplots(len(runs), 2, sharey=True, squeeze=False)
        for row, ((dataset, classifier), here) in zip(axes, runs, strict=True):
            for axis, panel in zip(row, (_ONE_SHOT, _EVERY), strict=True):
                _draw_costs(axis, here[here["panel"] == panel], named)
                axis.set_title(f"{dataset}, classifier {classifier}: {panel.lower()}")
                axis.set_xlabel("Milliseconds of a purification, an image")
            row[0].set_ylabel("Accuracy")
        legend_below(figure, legend_entries(axes.ravel()), ncols=3, fontsize=6)


def _first_of_each(points: pd.DataFrame) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    for number, own in points.groupby("number"):
        yield number, own.iloc[0].to_dict()


def _draw_costs(axis: "Axes", points: pd.DataFrame, named: Named) -> None:
    bare = points[points["ms"].isna()]
    for i, (_, row) in enumerate(bare.sort_values("number").iterrows()):
        label = f"{row['number']:.0f} {_name(row, named)} (no purification)"
        axis.axhline(
            row["accuracy"],
            **{"color": "0.3", "linestyle": DASHES[(1 + i) % len(DASHES)], "linewidth": 0.9},
            label=label,
        )
    priced = points[points["ms"].notna()].sort_values("number")
    for _, row in priced.iterrows():
        colour = f"C{(int(row['number']) - 1) % 10}"
        axis.plot([row["ms"]] * 2, [row["ci_low"], row["ci_high"]], color=colour, linewidth=0.8)
        axis.plot(
            *(row["ms"], row["clean_accuracy"]),
            **{"marker": "D", "markersize": 3, "color": colour, "linestyle": "none"},
        )
        label = f"{row['number']:.0f} {_name(row, named)} (n = {row['n']:.0f})"
        axis.plot(
            *(row["ms"], row["accuracy"]),
            **{"marker": "o", "markersize": _DISC, "color": colour, "linestyle": "none"},
            # Black on white can be read in every colour of the ring.
            **{"markerfacecolor": "white", "markeredgewidth": 1.3, "label": label},
        )
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8}
    for numbers, ms, accuracy in _overlapping(priced):
        several = len(numbers) > 1
        axis.annotate(
            ", ".join(map(str, numbers)),
            (ms, accuracy),
            xytext=(0, _DISC if several else 0),
            textcoords="offset points",
            **{"ha": "center", "va": "center_baseline", "fontsize": 5.5},
            bbox=paper if several else None,
        )
    axis.set_xscale("log")
    axis.set_ylim(-0.04, 1.04)


def _overlapping(points: pd.DataFrame) -> list[tuple[list[int], float, float]]:
    """The numbers of discs that hide one another, and where these are to stand: in the disc of one
    that is alone, above the highest of several. Sizes are those of a panel in print."""
    places = np.log10(points["ms"].to_numpy(dtype=float))
    heights = points["accuracy"].to_numpy(dtype=float)
    # A panel is some 190 points wide and 130 high.
    decades = float(np.ptp(places)) if len(places) else 0.0
    width = 1.1 * _DISC / 190 * max(decades, 1.0)
    height = 1.1 * _DISC / 130
    left = list(range(len(points)))
    groups = []
    while left:
        group = [left.pop(0)]
        for one in group:  # It grows.
            near = [
                other
                for other in left
                if np.hypot(
                    (places[one] - places[other]) / width, (heights[one] - heights[other]) / height
                )
                < 1
            ]
            group += near
            left = [other for other in left if other not in near]
        groups.append(sorted(group))
    numbers = points["number"].astype(int).tolist()
    return [
        (
            [numbers[i] for i in group],
            float(10 ** places[group].mean()),
            float(heights[group].max()),
        )
        for group in groups
    ]


# Accuracy over the draws of a look


def accuracy_over_draws(points: pd.DataFrame, named: Named, *paths: Path) -> None:
    """Draw what an attack leaves over K, the draws whose mean it climbs in a look: a panel for one
    evaluation and one for all, a line for each defence, with 95 % intervals.

    `points`: of `evaluation.protocol_points.draw_points`; `paths` as for `paper_figure`. Raises
    ValueError as `accuracy_lines`.
    """
    panels = []
    for protocol in (ONE_SHOT, EVALUATIONS):
        here = points[points["protocol"] == protocol]
        number = int(here["evaluations"].max())
        lines = {
            _line_name(own, named): own
            for _, own in here.groupby([*_RUN, "defense", "variant"], sort=False, dropna=False)
        }
        attacks = ", ".join(dict.fromkeys(here["attack"]))
        title = _ONE_SHOT if protocol == ONE_SHOT else f"All of {number} evaluations"
        title += f"; white box, {_balls(here)}\n({attacks})"
        panels.append(AccuracyPanel(title, "expectation", "Draws of a look, K", lines))
    accuracy_lines(panels, *paths)


def _line_name(points: pd.DataFrame, named: Named) -> str:
    row = points.iloc[0]
    return f"{row['dataset']}: {_name(row, named)} (n = {row['n']})"


# These three by their names


def figure_points(name: str, rows: Sequence[Mapping[str, Any]], threads: int = 1) -> pd.DataFrame:
    """What the figure of that name shows, one of `DRAWN`. `rows`: what its job is told of."""
    columns, points = {
        "modern_evaluations": (EVALUATION_COLUMNS, evaluation_points),
        "modern_costs": (COST_COLUMNS, lambda rows: cost_points(*rows_and_times(rows, threads))),
        "modern_draws": (DRAW_COLUMNS, draw_points),
    }[name]
    return pd.DataFrame(points(rows), columns=list(columns))


DRAWN = {
    "modern_evaluations": accuracy_over_evaluations,
    "modern_costs": accuracy_over_costs,
    "modern_draws": accuracy_over_draws,
}
"""What draws the points of a figure, by its name."""


# Pictures


def cleaned_pictures(parts: Sequence[Mapping[str, Any]], paths: Sequence[Path]) -> pd.DataFrame:
    """Draw the same images clean, attacked, and as each defence cleans them, with the class that
    its classifier names (a wrong one red and bold, behind a cross, its image in a frame), the
    `parts` below one another; and return what they show, `PICTURE_COLUMNS`.

    A part has a `title`, the place of its images, `cleaned` (`evaluation.cleaned`), and the
    `defenses` from top to bottom, with what each is called. `paths`: the PNG and the PDF. Raises
    FileNotFoundError, ValueError: a file is not what it should be.
    """
    rows: list[tuple[str, np.ndarray]] = []
    seen: list[list[int]] = []
    said: list[dict[str, Any]] = []
    titles, truth = [], list[int]()
    for part in parts:
        titles.append(part["title"])
        for group in (CLEAN, ATTACKED, *(f"{PURIFIED}{name}" for name in part["defenses"])):
            found = read_image_set(part["cleaned"], group=group)
            label = group.removeprefix(PURIFIED)
            classes = [int(one) for one in found.fields["predictions"]]
            rows.append((part["defenses"].get(label, label), found.images))
            seen.append(classes)
            if truth not in ([], found.labels.tolist()):
                raise ValueError(f"{part['cleaned']}: {group}: images of other classes than above")
            truth = found.labels.tolist()
            for i, (own, one) in enumerate(zip(truth, classes, strict=True)):
                numbers = (part["title"], label, i, own, one, own == one)
                said.append(dict(zip(PICTURE_COLUMNS, numbers, strict=True)))
    first, *further = paths
    purification_examples(
        rows, first, predictions=seen, truth=truth, title=" ".join(titles), further=further
    )
    return pd.DataFrame(said, columns=list(PICTURE_COLUMNS))


# The study of t*


def time_page(rows: Sequence[Mapping[str, Any]], named: Named) -> str:
    """Rows of `evaluation.protocol_points.time_rows` as GitHub's Markdown."""
    header = (
        *("data set", "classifier", "defense", "t*", "noise's deviation", "epsilon", "n"),
        *("clean", "attacked", "clean, all draws", "attacked, all draws"),
    )
    lines = []
    for row in rows:
        time = f"**{row['time']:g}** (the config's)" if row["is_default"] else f"{row['time']:g}"
        lines.append(
            [
                *(row["dataset"], row["classifier"], _name(row, named), time),
                *(f"{row['deviation']:.3f}", f"{row['epsilon']:g}", row["n"]),
                *(f"{row['clean']:.3f}", _with_interval(row, "attacked")),
                *(f"{row['clean_all']:.3f}", _with_interval(row, "attacked_all")),
            ]
        )
    draws = max(row["draws"] for row in rows)
    parts = [
        "# How much noise a diffusion purifier adds",
        grid(header, lines),
        "The first n *validation* images, clean and under an adaptive attack, judged on "
        f"{draws} draws that no attack saw: on one of them (the mean), and under all. t* is a "
        "share of the model's noise levels, and means another noise under another schedule; the "
        "noise's standard deviation beside the image, in pixel units of [0, 1], does not. In "
        "brackets Wilson's 95 % intervals.",
        "\n".join(f"- {line}" for line in _chosen(rows, named)),
    ]
    return "\n\n".join(parts) + "\n"


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:.3f} [{row[f'{name}_ci_low']:.3f}, {row[f'{name}_ci_high']:.3f}]"


def _chosen(rows: Sequence[Mapping[str, Any]], named: Named) -> Iterator[str]:
    """Of each defence: which t* keeps most under attack, and which cannot be told from it."""
    runs: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        runs.setdefault(tuple(row[name] for name in (*_RUN, "defense", "variant")), []).append(row)
    for own in runs.values():
        best = max(own, key=lambda row: (row["attacked_all"], -row["time"]))
        # Inside the best one's interval: the images are too few to tell them apart.
        low = best["attacked_all_ci_low"]
        near = [f"{r['time']:g}" for r in own if r is not best and r["attacked_all"] >= low]
        yield (
            f"{best['dataset']}, {_name(best, named)}: under all draws most is left at t* = "
            f"{best['time']:g} (deviation {best['deviation']:.3f}): "
            f"{_with_interval(best, 'attacked_all')}. In that interval lie also "
            f"{', '.join(near) or 'no others'}."
        )
