"""Draws the pictures of docs/answers.md from the committed CSVs that the page names.

python docs/answers.py
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from purification.experiments import paper_name
from purification.reporting.plotting import Figure, FigureCanvasAgg, only_style

RESULTS = Path(__file__).resolve().parent / "results"
IMAGES = Path(__file__).resolve().parent / "images"
CLEAN, ONE, WORST, OTHER = "#222222", "#4393c3", "#b2182b", "#f4a582"
_NETWORKS = ("A_10_epochs", "A_10_epochs", "prior", "free", "500")
_SEARCH = ("25", "4", "10", "0.7")
Rows = Sequence[Mapping[str, str]]


def main() -> None:
    answers = read("digits/answers.csv")
    lengths, quick = read("mnist/search_length.csv"), read("mnist/quick/leaderboard.csv")
    save("answers_length.png", 2, lambda left, right: length(left, right, answers, lengths))
    save("answers_generator.png", 2, lambda left, right: generator(left, right, answers))
    save("answers_starts.png", 2, lambda left, right: starts(left, right, answers, quick))
    save("answers_headlines.png", 1, lambda axis: headlines(axis, quick))


def read(name: str) -> Rows:
    with (RESULTS / name).open(newline="") as file:
        return list(csv.DictReader(file))


def save(name: str, panels: int, draw: Callable[..., None]) -> None:
    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with only_style(style):
        figure = Figure(figsize=(7.4, 3.1), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, panels, squeeze=False)[0]
        draw(*axes)
        figure.savefig(IMAGES / name, dpi=150, metadata={"Software": None})


def of(answers: Rows, names: Iterable[str], protocol: str = "") -> list[Mapping[str, str]]:
    """The rows of these defences, in their order."""
    found = {(row["defense"], row["protocol"]): row for row in answers}
    return [found[name, protocol] for name in names]


def first_left(row: Mapping[str, str]) -> float:
    """What the first stage leaves, FGSM on the bare classifier."""
    return float(row["stages"].split(";")[0].split()[-1])


def curves(axis: Any, places: Sequence[float], rows: Rows) -> None:
    axis.plot(places, [float(row["clean_accuracy"]) for row in rows], "o-", color=CLEAN)
    axis.plot(places, [first_left(row) for row in rows], "D-", color=ONE)
    band(axis, places, rows, WORST, "o-")
    axis.set_ylim(-0.02, 1.02)
    axis.set_ylabel("accuracy")


def band(axis: Any, places: Sequence[float], rows: Rows, colour: str, style: str) -> None:
    """Worst cases with their 95 % intervals."""
    numbers = {
        name: [float(row[name]) for row in rows] for name in ("accuracy", "ci_low", "ci_high")
    }
    axis.plot(places, numbers["accuracy"], style, color=colour)
    axis.fill_between(places, numbers["ci_low"], numbers["ci_high"], color=colour, alpha=0.15)


def length(left: Any, right: Any, answers: Rows, lengths: Rows) -> None:
    steps = [5, 10, 25, 100]
    curves(left, steps, of(answers, [f"L{step}_R2" for step in steps]))
    left.set_xscale("log")
    left.set_xticks(steps, [str(step) for step in steps])
    left.set_xlabel("L, steps of the search (digits, R = 2)")
    for label, colour, marker in (
        ("clean images", CLEAN, "o"),
        ("FGSM on the classifier", ONE, "D"),
        ("worst case", WORST, "o"),
    ):
        left.plot([], [], marker=marker, color=colour, label=label)
    left.legend(frameon=False, loc="lower left")
    attacked = [
        row
        for row in lengths
        if (row["dataset"], row["restarts"], row["prune"]) == ("mnist", "10", "")
        and float(row["epsilon"]) > 0
    ]
    attacked.sort(key=lambda row: int(row["steps"]))
    at = [int(row["steps"]) for row in attacked]
    for column, label, colour in (
        ("error", "to the attacked image", WORST),
        ("error_to_clean", "to the clean image", CLEAN),
    ):
        right.plot(at, [float(row[column]) for row in attacked], "o-", color=colour, label=label)
    distance = float(attacked[0]["clean_error"])
    right.axhline(distance, color="#888888", linestyle=":", label="from clean to attacked")
    right.set_xscale("log")
    right.set_xticks(at, [str(step) for step in at])
    right.minorticks_off()
    right.set_ylim(0, None)
    right.set_xlabel("L (MNIST, R = 10, FGSM 0.3)")
    right.set_ylabel("mean square of what was found")
    right.legend(frameon=False)


def generator(left: Any, right: Any, answers: Rows) -> None:
    iterations = [150, 600, 2400]
    curves(left, iterations, of(answers, ["generator_150", "L25_R2", "generator_2400"]))
    ticks(left, iterations)
    left.set_xlabel("iterations of the generator (digits)")
    trained = {}
    for row in read("mnist/ablation.csv"):
        kind, _, at = row["generator"].partition("/")
        same = [row[name] for name in ("attacked", "classifier", "starts", "codes", "images")]
        search = [row[name] for name in ("steps", "restarts", "step_size", "momentum")]
        alike = [*same, *search] == [*_NETWORKS, *_SEARCH]
        if kind == "w32d64" and at.isdigit() and alike:
            trained[int(at), float(row["epsilon"])] = float(row["accuracy"])
    places = sorted({at for at, _ in trained})
    for epsilon, colour, marker, label in (
        (0.0, CLEAN, "o", "clean images"),
        (0.3, ONE, "D", "FGSM on the classifier"),
    ):
        right.plot(
            places,
            [trained[at, epsilon] for at in places],
            marker=marker,
            color=colour,
            label=label,
        )
    ticks(right, places)
    right.plot([], [], "o-", color=WORST, label="worst case")
    right.set_ylim(-0.02, 1.02)
    right.set_xlabel("iterations (MNIST, L = 25, R = 4)")
    right.legend(frameon=False, loc="lower right")


def ticks(axis: Any, places: Sequence[int]) -> None:
    axis.set_xscale("log")
    axis.set_xticks(places, [str(place) for place in places])
    axis.minorticks_off()


def starts(left: Any, right: Any, answers: Rows, quick: Rows) -> None:
    restarts = [1, 2, 8]
    band(left, restarts, of(answers, [f"L25_R{r}" for r in restarts]), WORST, "o-")
    redrawn = [f"L25_R{r}_redrawn" for r in restarts]
    band(left, restarts, of(answers, redrawn, "one_shot"), ONE, "D-")
    band(left, restarts, of(answers, redrawn, "evaluations"), OTHER, "s-")
    ticks(left, restarts)
    left.set_ylim(-0.02, 1.02)
    left.set_ylabel("accuracy, worst case")
    left.set_xlabel("R, restarts (digits, epsilon 0.1)")
    for label, colour, marker in (
        ("starts that the attacker knows", WORST, "o"),
        ("redrawn, one draw", ONE, "D"),
        ("redrawn, all of five draws", OTHER, "s"),
    ):
        left.plot([], [], marker=marker, color=colour, label=label)
    left.legend(frameon=False)
    rows = [
        *of(quick, ["defense_gan_redrawn"], "fixed"),
        *of(quick, ["defense_gan_redrawn"], "one_shot"),
        *of(quick, ["defense_gan_redrawn"], "evaluations"),
    ]
    for place, (row, colour) in enumerate(zip(rows, (WORST, ONE, OTHER), strict=True)):
        bar(right, place, row, colour)
    right.set_xticks(range(3), ["known", "redrawn,\none draw", "redrawn,\nall of five"])
    right.set_ylim(-0.02, 1.02)
    right.set_xlabel("MNIST, R = 10, epsilon 0.3 (o: clean)")


def bar(axis: Any, place: float, row: Mapping[str, str], colour: str) -> None:
    worst, low, high = (float(row[name]) for name in ("accuracy", "ci_low", "ci_high"))
    axis.bar(place, worst, 0.6, color=colour)
    axis.plot([place, place], [low, high], color="#444444", linewidth=1.5)
    axis.plot(place, float(row["clean_accuracy"]), "o", color="white", markeredgecolor=CLEAN)


def headlines(axis: Any, quick: Rows) -> None:
    rows = [row for row in quick if row["claim"] and row["defense"] != "none"]
    rows.sort(key=lambda row: float(row["claim"]))
    for place, row in enumerate(rows):
        worst, low, high = (float(row[name]) for name in ("accuracy", "ci_low", "ci_high"))
        axis.plot([worst, float(row["claim"])], [place, place], color="#cccccc", linewidth=2)
        axis.plot([low, high], [place, place], color=WORST, linewidth=5, alpha=0.25)
        axis.plot(float(row["claim"]), place, "D", color=ONE)
        axis.plot(worst, place, "o", color=WORST)
    names = [
        paper_name(row["defense"], "" if "eps" in row["variant"] else row["variant"])
        for row in rows
    ]
    axis.set_yticks(range(len(rows)), names)
    axis.set_xlim(-0.03, 1.03)
    axis.set_xlabel("accuracy on MNIST, classifier A, epsilon 0.3")
    axis.plot([], [], "D", color=ONE, label="its paper, the lowest number that it prints for this")
    axis.plot([], [], "o", color=WORST, label="worst case here, 50 images")
    axis.figure.legend(loc="outside upper center", ncols=2, frameon=False)


if __name__ == "__main__":
    main()
