"""The figure of accuracy over evaluations."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from purification.evaluation.protocol_points import LINES
from purification.experiments import paper_name
from purification.reporting import modern
from purification.reporting.figures import paper_figure


def test_the_titles_of_panels_run_neither_into_one_another_nor_out_of_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest names of the shipped defences stand side by side, of 100 images each."""
    names = ("resize_and_pad", "gaussian_noise", "defense_gan_redrawn", "diffpure_flow")
    variants = {"defense_gan_redrawn": "orig"}
    rows = [
        {
            **{
                "dataset": "cifar10",
                "classifier": "A",
                "defense": name,
                "variant": variants.get(name),
            },
            **{"norm": "linf", "epsilon": 0.3, "line": line, "evaluations": 1, "n": 100},
            **{"accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6},
        }
        for name in names
        for line in LINES
    ]
    boxes: list[Any] = []
    page: list[Any] = []

    @contextmanager
    def looked_at(*arguments: Any) -> Iterator[Any]:
        with paper_figure(*arguments) as figure:
            yield figure
            figure.canvas.draw()
            titles = [axis.title for axis in figure.axes if axis.title.get_text()]
            boxes.extend(title.get_window_extent() for title in titles)
            page.append(figure.bbox)

    monkeypatch.setattr(modern, "paper_figure", looked_at)
    drawn = tmp_path / "drawn.png"
    modern.accuracy_over_evaluations(pd.DataFrame(rows), paper_name, drawn, tmp_path / "drawn.pdf")
    assert drawn.exists() and len(boxes) == len(names)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(page[0].x0 <= box.x0 and box.x1 <= page[0].x1 for box in boxes)


def test_discs_that_hide_one_another_are_named_above_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at one place, one so near that its disc reaches into theirs, one of the same time and
    another accuracy, and one far away. Each number stands once in a panel."""
    places = [(2.0, 0.1), (2.0, 0.1), (2.1, 0.12), (2.0, 0.6), (20.0, 0.1)]
    points = pd.DataFrame(
        {
            **{"dataset": "mnist", "classifier": "A", "defense": f"d{number}", "variant": ""},
            **{"panel": "One evaluation", "number": number, "n": 50, "norm": "linf"},
            **{"epsilon": 0.3, "ms": ms, "accuracy": accuracy, "clean_accuracy": 1.0},
            **{"ci_low": accuracy, "ci_high": accuracy},
        }
        for number, (ms, accuracy) in enumerate(places, 1)
    )
    said: list[tuple[str, float]] = []

    @contextmanager
    def watched(*arguments: Any) -> Iterator[Any]:
        with paper_figure(*arguments) as figure:
            yield figure
            axis = figure.axes[0]
            said.extend((text.get_text(), text.xy[1]) for text in axis.texts)

    monkeypatch.setattr(modern, "paper_figure", watched)
    modern.accuracy_over_costs(points, lambda defense, _: defense, tmp_path / "costs.png")
    assert sorted(said) == [("1, 2, 3", 0.12), ("4", 0.6), ("5", 0.1)]
