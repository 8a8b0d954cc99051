"""How good each generator is, and what accuracy is left behind the defences that have it.

A table (columns `TABLE_COLUMNS`) has a row for each trained generator and each defence with it; for
the generators within the training of one (`snapshot`); and for real validation images, the floor of
the distance. Where the course of a training is measured (Cowboy's Figure 6), its snapshots and its
end have rows of that, `over_training`, whose classifier, attack and steps are the course's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from purification.evaluation.quality_columns import MEASURES, QUALITY_COLUMNS, REAL
from purification.reporting.csv_files import read_rows
from purification.reporting.figures import attack_name, legend_below, legend_entries, paper_figure
from purification.reporting.long_tables import SEARCH
from purification.reporting.markdown_tables import bounded, grid
from purification.reporting.papers import demand_numbers
from purification.reporting.roc import MARKERS, check_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SETS = ("clean", "gray_box")
_ACCURACIES = tuple(
    f"{name}{end}" for name in _SETS for end in ("_n", "", "_low", "_high", "_undefended")
)
DEFENSE_COLUMNS = (
    *("over_training", "defense", "classifier", "attack", "epsilon"),
    *("iterations_L", "restarts_R", *_ACCURACIES),
)
TABLE_COLUMNS = (*QUALITY_COLUMNS, *DEFENSE_COLUMNS)
"""Those of `quality_rows`; the defence; and, clean and under the attack in the gray box, the number
of images, the accuracy with its 95 % interval and that of the classifier without defence."""
_TEXT = ("dataset", "features", "generator", "kind")
_COUNTS = ("seed", "width", "latent", "iterations", "epochs", "n")
_MEASURES = tuple(f"{name}{end}" for name in MEASURES for end in ("", "_sd"))
_ALL_COUNTS = (*_COUNTS, "iterations_L", "restarts_R", *(f"{name}_n" for name in _SETS))
_RUN = ["dataset", "seed"]


def quality_table(content: Mapping[str, Any]) -> pd.DataFrame:
    """The table, columns `TABLE_COLUMNS`, from the files that `content` names (plain JSON values):

        {"attack": name, "defenses": {defense: generator, ...},
         "runs": [{"quality": file, "clean": file, "attacked": file, "course": None or
                   {"path": file, "defense": name, "generator": name, "classifier": name,
                    "attack": name, "epsilon": number or None, "cleaning_steps": count,
                    "restarts": count}}, ...]}

    `quality` is of `quality_rows`, `clean` and `attacked` of `measure`, the course's of
    `training_course`. Raises FileNotFoundError, or ValueError for a file without a column or a row
    that the content asks for.
    """
    rows = [row for run in content["runs"] for row in _of_run(run, content)]
    table = pd.DataFrame(rows, columns=TABLE_COLUMNS)
    return table.astype(dict.fromkeys(_ALL_COUNTS, "Int64"))


def read_quality_table(path: Path) -> pd.DataFrame:
    """The table as it was written.

    Raises FileNotFoundError, or ValueError naming the file if it is no such table.
    """
    text = (*_TEXT, "snapshot", "over_training", "defense", "classifier", "attack")
    numbers = (*_MEASURES, "epsilon", *(n for n in _ACCURACIES if n not in _ALL_COUNTS))
    table = read_rows(path, text=text, counts=_ALL_COUNTS, numbers=numbers)
    flags = {name: table[name] == "True" for name in ("snapshot", "over_training")}
    return table.assign(**flags)[list(TABLE_COLUMNS)]


def drawn_points(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that the figure shows: generators with a measured accuracy."""
    return table[table["gray_box"].notna()].reset_index(drop=True)


def quality_markdown(table: pd.DataFrame) -> str:
    """The table for reading, in GitHub's Markdown, a grid for each data set and seed."""
    parts = ["# Quality of generators", _NOTES]
    for (dataset, seed), rows in table.groupby(_RUN, sort=False):
        first = rows.iloc[0]
        parts += [
            f"## {dataset}, seed {seed}",
            f"Features: classifier {first['features']}. {rows['n'].iloc[-1]:,} real and as many "
            f"generated images; {first['n']:,} validation images. " + " ".join(_undefended(rows)),
            _grid(rows),
        ]
    return "\n\n".join(parts) + "\n"


def accuracy_over_quality(table: pd.DataFrame, *paths: Path) -> None:
    """Draw gray-box and clean accuracy over the Frechet distance, a line of panels a data set.

    A marker for each trained generator and defence, with the accuracy's 95 % interval and the
    distance's standard deviation over draws; the course of a training is a line through its
    snapshots. The horizontal axis is logarithmic. Dotted: real images. Dashed: the classifier of
    the markers without defence.

    `paths` are as for `paper_figure`. Raises ValueError: nothing to draw, or more defences than can
    be told apart.
    """
    points = drawn_points(table)
    points = points.assign(label=[_label(row) for _, row in points.iterrows()])
    labels = list(dict.fromkeys(points.sort_values("over_training", kind="stable")["label"]))
    check_number("defenses", len(labels), len(MARKERS))
    datasets = list(dict.fromkeys(points["dataset"]))
    height = 0.4 + 2.0 * len(datasets) + 0.15 * -(-(len(labels) + 2) // 3)
    with paper_figure(2, height, *paths) as figure:
        axes = figure.subplots(len(datasets), 2, sharex="row", sharey=True, squeeze=False)
        for line, dataset in zip(axes, datasets, strict=True):
            own = points[points["dataset"] == dataset]
            first = own.iloc[0]
            x_label = f"Frechet distance (classifier {first['features']}, {first['n']:,} images)"
            real = table[(table["dataset"] == dataset) & (table["kind"] == REAL)]
            for axis, name in zip(line, ("gray_box", "clean"), strict=True):
                _draw(axis, own, name, labels)
                _draw_levels(axis, own, name, real)
                axis.set(title=_title(own, name), xlabel=x_label)
            line[0].set_ylabel("Accuracy")
        legend_below(figure, legend_entries(axes.ravel()), ncols=3)


def _of_run(run: Mapping[str, Any], content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    quality = read_rows(Path(run["quality"]), text=_TEXT, counts=_COUNTS, numbers=_MEASURES)
    accuracies = _accuracies(run, content)
    course = _course(run["course"]) if run["course"] else {}
    for _, found in quality.iterrows():
        row = found[list(QUALITY_COLUMNS)].to_dict()
        beside = []
        if not row["snapshot"]:
            having = [d for d, own in content["defenses"].items() if own == row["generator"]]
            beside += [accuracies[defense] for defense in having]
        # The course has the end of the training only if that is one of the snapshots.
        if course and row["generator"] == run["course"]["generator"]:
            beside += [course[n] for n in (row["iterations"],) if n in course]
        for own in beside or [{"over_training": False}]:
            yield row | own


def _accuracies(run: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The columns of each defence, from the measurements."""
    measured = {name: _measured(run[name]) for name in ("clean", "attacked")}
    found = {}
    for defense in content["defenses"]:
        row = {"over_training": False, "defense": defense}
        for name, key in zip(_SETS, ("clean", "attacked"), strict=True):
            missing = {defense, "none"} - set(measured[key].index)
            if missing:
                raise ValueError(f"{run[key]}: no row of the defense {sorted(missing)[0]!r}")
            undefended = measured[key].loc["none", "accuracy"]
            row |= _accuracy(name, measured[key].loc[defense], undefended)
        attacked, named = measured["attacked"].loc[defense], ("classifier", "attack", "epsilon")
        found[defense] = row | {name: attacked[name] for name in (*named, *SEARCH)}
    return found


def _measured(path: str) -> pd.DataFrame:
    """The rows of a file of `measure`, by defence."""
    text, counts = ("classifier", "attack", "defense"), ("iterations_L", "restarts_R", "n")
    numbers = ("epsilon", "accuracy", "ci_low", "ci_high")
    rows = read_rows(Path(path), text=text, counts=counts, numbers=numbers)
    demand_numbers(rows, path)
    if rows["defense"].duplicated().any():
        raise ValueError(f"{path}: two rows of one defense: {rows['defense'].tolist()}")
    return rows.set_index("defense")


def _accuracy(name: str, row: pd.Series, undefended: float) -> dict[str, Any]:
    values = {"_n": row["n"], "": row["accuracy"], "_low": row["ci_low"], "_high": row["ci_high"]}
    return {f"{name}{end}": value for end, value in (values | {"_undefended": undefended}).items()}


def _course(course: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The columns at each number of training steps, with the most cleaning steps."""
    counts, numbers = ("training_steps", "cleaning_steps", "n"), ("accuracy", "ci_low", "ci_high")
    rows = read_rows(Path(course["path"]), text=("attack",), counts=counts, numbers=numbers)
    bare = rows[rows["training_steps"].isna()].set_index("attack")["accuracy"]
    steps = rows["training_steps"].notna() & (rows["cleaning_steps"] == course["cleaning_steps"])
    named = {key: course[key] for key in ("defense", "classifier", "attack", "epsilon")}
    named |= {"iterations_L": course["cleaning_steps"], "restarts_R": course["restarts"]}
    named |= {"over_training": True, "clean_undefended": bare["none"]}
    return {
        int(row["training_steps"]): named | _accuracy("gray_box", row, bare[course["attack"]])
        for _, row in rows[steps].iterrows()
    }


def _label(row: pd.Series) -> str:
    if row["over_training"]:
        return (
            f"{row['defense']} over training ({row['classifier']}, {attack_name(row['attack'])}, "
            f"L = {row['iterations_L']}; {row['gray_box_undefended']:.2f} without)"
        )
    return row["defense"]


def _title(points: pd.DataFrame, name: str) -> str:
    """Of a panel: the data set, and what the markers' classifier is given."""
    row = points[~points["over_training"]].iloc[0]
    given = "clean"
    if name == "gray_box":
        given = f"{attack_name(row['attack'], row['epsilon'])}, gray box"
    return f"{row['dataset']}, {given}"


def _draw(axis: "Axes", points: pd.DataFrame, name: str, labels: Sequence[str]) -> None:
    from purification.reporting.plotting import LogLocator, NullFormatter, seaborn

    colors = seaborn.color_palette("colorblind", len(MARKERS))
    for label, marker, color in zip(labels, MARKERS, colors, strict=False):
        here = points[(points["label"] == label) & points[name].notna()]
        if here.empty:
            continue
        here = here.sort_values("iterations")
        course = bool(here["over_training"].any())
        axis.errorbar(
            *(here["frechet_distance"], here[name]),
            xerr=here["frechet_distance_sd"].fillna(0),
            yerr=[here[name] - here[f"{name}_low"], here[f"{name}_high"] - here[name]],
            **{"color": color, "marker": marker, "linestyle": "-" if course else "none"},
            **{"label": label, "markersize": 3.6, "elinewidth": 0.7, "linewidth": 0.9},
        )
        if course:
            _name_steps(axis, here, name)
    axis.set_xscale("log")
    # Also where no power of ten is in sight.
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(-0.02, 1.02)


def _name_steps(axis: "Axes", line: pd.DataFrame, name: str) -> None:
    """Training steps beside the points of a line, but where one would cover another."""
    last = 0.0
    for _, row in line.sort_values("frechet_distance").iterrows():
        if row["frechet_distance"] > 1.1 * last:
            last = row["frechet_distance"]
            place = {"xytext": (4, 2), "textcoords": "offset points", "fontsize": 5}
            axis.annotate(f"{row['iterations']:,}", (last, row[name]), **place)


def _draw_levels(axis: "Axes", points: pd.DataFrame, name: str, real: pd.DataFrame) -> None:
    """The distance of real images, and the accuracy of the markers' classifier without defence."""
    look = {"color": "0.4", "linewidth": 0.9, "zorder": 0}
    label = f"real images ({'/'.join(f'{n:,}' for n in real['n'].unique())})"
    axis.axvline(real["frechet_distance"].mean(), linestyle=":", label=label, **look)
    level = points.loc[~points["over_training"], f"{name}_undefended"].mean()
    axis.axhline(level, linestyle="--", label="no defense", **look)


def _undefended(rows: pd.DataFrame) -> list[str]:
    """A sentence on each classifier without defence."""
    named = rows[rows["defense"].notna() & (rows["defense"] != "")]
    own = named.drop_duplicates(["classifier", "attack"])
    return [
        f"{row['classifier']} without defense: {row['clean_undefended']:.3f} clean, "
        f"{row['gray_box_undefended']:.3f} under {row['attack']}."
        for _, row in own.iterrows()
    ]


def _grid(rows: pd.DataFrame) -> str:
    header = ["generator", "kind", "width", "latent", "training"]
    header += ["Frechet distance", "precision", "recall", "defense", "classifier", "clean"]
    lines = []
    for _, row in rows.iterrows():
        real = row["kind"] == REAL
        cells = ["(real validation images)" if real else row["generator"]]
        named = [row[name] for name in ("kind", "width", "latent")]
        cells += ["" if real or pd.isna(value) else value for value in named]
        units = [unit for unit in ("iterations", "epochs") if pd.notna(row[unit])]
        cells.append(f"{row[units[0]]:,} {units[0]}" if units else "")
        cells += [_spread(row, "frechet_distance", ".4g", ".2g")]
        cells += [_spread(row, name, ".3f", ".3f") for name in ("precision", "recall")]
        cells += ["" if pd.isna(row[name]) else row[name] for name in ("defense", "classifier")]
        lines.append(cells + [bounded(row, name) for name in _SETS])
    return grid([*header, "gray box"], lines)


def _spread(row: pd.Series, name: str, form: str, form_sd: str) -> str:
    deviation = row[f"{name}_sd"]
    return f"{row[name]:{form}}" + ("" if pd.isna(deviation) else f" ± {deviation:{form_sd}}")


_NOTES = (
    "Distance between Gaussians fitted to a classifier's features of real test images and of "
    "generated ones (Heusel et al. 2017); precision, does what is generated look real, and recall, "
    "is all that is real generated (Kynkaanniemi et al. 2019, k = 3). Precision alone says little: "
    "a generator of one image may have 1. The features are those of a classifier of this run: the "
    "distance is no Inception-FID, and compares generators on one data set and classifier only. "
    "All three depend on the number of images. ±: standard deviation over draws of generated "
    "images. Real validation images instead of generated ones are the floor; fewer of them than of "
    "generated ones make it too high. Codes are drawn as in training: standard normal of wgan_gp, "
    "gan, bigan and diffusion, whose codes are noise images; of ae_gan uniform in (-1, 1), which "
    "its discriminator judges, although the defense searches from its encoder's codes. Accuracies, "
    "with 95 % intervals, of the classifier that was attacked without defense, behind the defense; "
    "of a randomised one they are means over its draws. Rows without clean accuracy are the "
    "course of a training (Cowboy's Figure 6), with a classifier and an attack of their own."
)
