"""Draws the pictures of docs/answers.md from the committed CSVs that the page names.

python docs/answers.py
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from leaderboard import name_of, read

from purification.reporting.plotting import Figure, FigureCanvasAgg, only_style

RESULTS = Path(__file__).resolve().parent / "results"
IMAGES = Path(__file__).resolve().parent / "images"
CLEAN, ONE, WORST, OTHER = "#222222", "#4393c3", "#b2182b", "#f4a582"
_NETWORKS = ("A_10_epochs", "A_10_epochs", "prior", "free", "500")
_SEARCH = ("25", "4", "10", "0.7")
Rows = Sequence[Mapping[str, str]]


SOURCES = {
    "answers_length": ("mnist/search_length.csv",),
    "answers_generator": ("mnist/ablation.csv",),
    "answers_starts": ("digits/leaderboard.csv", "mnist/quick/leaderboard.csv"),
    "answers_headlines": ("mnist/quick/leaderboard.csv", "mnist/fashion_quick/leaderboard.csv"),
}
"""Which committed CSVs, in docs/results, each picture is of."""


def main() -> None:
    draw: dict[str, Callable[..., None]] = {
        "answers_length": length,
        "answers_generator": generator,
        "answers_starts": starts,
        "answers_headlines": headlines,
    }
    for name, sources in SOURCES.items():
        rows = [read(RESULTS / source) for source in sources]
        style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
        with only_style(style):
            figure = Figure(figsize=(7.4, 3.1), layout="constrained")
            FigureCanvasAgg(figure)
            axes = figure.subplots(1, 2)
            draw[name](*axes, *rows)
            metadata = {"Software": None, "sources": state(name)}
            figure.savefig(IMAGES / f"{name}.png", dpi=150, metadata=metadata)


def state(name: str) -> str:
    """A digest of the files that a picture is of, which stands in its metadata."""
    found = b"".join((RESULTS / source).read_bytes() for source in SOURCES[name])
    return hashlib.sha256(found).hexdigest()[:16]


def length(left: Any, right: Any, lengths: Rows) -> None:
    for axis, (dataset, name) in zip(
        (left, right), (("mnist", "MNIST"), ("fmnist", "Fashion-MNIST")), strict=True
    ):
        attacked = [
            row
            for row in lengths
            if (row["dataset"], row["restarts"], row["prune"]) == (dataset, "10", "")
            and float(row["epsilon"]) > 0
        ]
        attacked.sort(key=lambda row: int(row["steps"]))
        at = [int(row["steps"]) for row in attacked]
        for column, label, colour in (
            ("error", "found image to attacked image", WORST),
            ("error_to_clean", "found image to clean image", CLEAN),
        ):
            axis.plot(at, [float(row[column]) for row in attacked], "o-", color=colour, label=label)
        distance = float(attacked[0]["clean_error"])
        axis.axhline(
            distance, color="#888888", linestyle=":", label="clean image to attacked image"
        )
        for step, row in zip(at, attacked, strict=True):
            place = (step, float(row["error"]))
            told = f"{float(row['accuracy']):.2f}"
            axis.annotate(told, place, (0, 6), textcoords="offset points", ha="center", color=WORST)
        ticks(axis, at)
        axis.set_xlim(20, 125)
        axis.set_ylim(0, 0.075)
        axis.set_xlabel(f"L, steps of the search ({name}, R = 10)")
    left.set_ylabel("mean square of a pixel")
    left.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 0.27), fontsize=7.5)


def generator(left: Any, right: Any, ablation: Rows) -> None:
    trained = {}
    for row in ablation:
        kind, _, at = row["generator"].partition("/")
        same = [row[name] for name in ("attacked", "classifier", "starts", "codes", "images")]
        search = [row[name] for name in ("steps", "restarts", "step_size", "momentum")]
        alike = [*same, *search] == [*_NETWORKS, *_SEARCH]
        if kind == "w32d64" and at.isdigit() and alike:
            trained[int(at), float(row["epsilon"])] = row
    places = sorted({at for at, _ in trained})
    for epsilon, colour, marker, label in (
        (0.0, CLEAN, "o", "clean images"),
        (0.3, ONE, "D", "FGSM 0.3 on the classifier"),
    ):
        rows = [trained[at, epsilon] for at in places]
        numbers = [[float(row[name]) for row in rows] for name in ("accuracy", "low", "high")]
        left.plot(places, numbers[0], marker=marker, color=colour, label=label)
        left.fill_between(places, *numbers[1:], color=colour, alpha=0.15)
        errors = [float(row["error_to_clean"]) for row in rows]
        right.plot(places, errors, marker=marker, color=colour, label=label)
    for axis in (left, right):
        ticks(axis, places)
        axis.set_xlabel("iterations of the generator (MNIST)")
    left.set_ylim(0, 1.02)
    left.set_ylabel("accuracy")
    right.set_ylim(0, None)
    right.set_ylabel("found image to clean image")
    left.legend(frameon=False, loc="lower right")


def ticks(axis: Any, places: Sequence[int]) -> None:
    axis.set_xscale("log")
    axis.set_xticks(places, [str(place) for place in places])
    axis.minorticks_off()


def starts(left: Any, right: Any, *boards: Rows) -> None:
    protocols = {
        "fixed": ("known", WORST),
        "one_shot": ("redrawn,\none draw", ONE),
        "evaluations": ("redrawn,\nall of five", OTHER),
    }
    for axis, board, name in zip(
        (left, right), boards, ("digits, epsilon 0.1", "MNIST, epsilon 0.3"), strict=True
    ):
        for place, (protocol, (_, colour)) in enumerate(protocols.items()):
            wanted = ("defense_gan_redrawn", protocol)
            (row,) = (one for one in board if (one["defense"], one["protocol"]) == wanted)
            worst, low, high = (float(row[name]) for name in ("accuracy", "ci_low", "ci_high"))
            axis.bar(place, worst, 0.6, color=colour)
            axis.plot([place, place], [low, high], color="#444444", linewidth=1.5)
            clean = float(row["clean_accuracy"])
            axis.plot(place, clean, "o", color="white", markeredgecolor=CLEAN)
        axis.set_xticks(range(3), [name for name, _ in protocols.values()])
        axis.set_ylim(0, 1.02)
        axis.set_xlabel(name)
    left.set_ylabel("worst case (circle: clean)")


def headlines(left: Any, right: Any, *boards: Rows) -> None:
    for axis, board, name in zip((left, right), boards, ("MNIST", "Fashion-MNIST"), strict=True):
        rows = [row for row in board if row["claim"] and row["defense"] != "none"]
        rows.sort(key=name_of, reverse=True)
        for place, row in enumerate(rows):
            worst, low, high = (float(row[key]) for key in ("accuracy", "ci_low", "ci_high"))
            axis.plot([worst, float(row["claim"])], [place, place], color="#cccccc", linewidth=2)
            axis.plot([low, high], [place, place], color=WORST, linewidth=5, alpha=0.25)
            axis.plot(float(row["claim"]), place, "D", color=ONE)
            axis.plot(worst, place, "o", color=WORST)
        names = [name_of(row) for row in rows]
        axis.set_yticks(range(len(rows)), names if axis is left else [""] * len(rows))
        axis.set_xlim(-0.03, 1.03)
        axis.set_xlabel(f"accuracy, {name}")
    left.plot([], [], "D", color=ONE, label="lowest number that a paper prints for it")
    left.plot([], [], "o", color=WORST, label="worst case here, 50 images")
    left.figure.legend(loc="outside upper center", ncols=2, frameon=False)


if __name__ == "__main__":
    main()
