"""Figure 4 of Defense-VAE: what is read of the histories, and that each line can be told apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread
from torch import nn

from purification.evaluation.accuracy import wilson_interval
from purification.models.vae import VAE
from purification.reporting import roc
from purification.reporting.finetuning import finetuning_curves, finetuning_panels
from purification.reporting.sweeps import write_panels
from purification.training.defense_vae import train_end_to_end

IMAGES = 200
CURVES = {
    ("Finetuned from REC", "Classifier A"): (170, 190, 192, 191),
    ("Finetuned from REC", "Classifier B"): (174, 186, 187, 190),
    ("From scratch", "Classifier A"): (20, 120, 170, 188),
}


def write_history(path: Path, correct: Any, **changes: Any) -> str:
    accuracy = np.array(correct) / IMAGES
    empty = [np.nan] * len(accuracy)
    columns = {"epoch": range(len(accuracy)), "loss": empty, "accuracy": empty}
    pd.DataFrame(columns | {"accuracy_fgsm": accuracy} | changes).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [
        {
            **{"panel": panel, "line": line, "images": IMAGES},
            "history": write_history(tmp_path / f"{i}.csv", correct),
        }
        for i, ((panel, line), correct) in enumerate(CURVES.items())
    ]


def test_panels_have_accuracies_and_intervals(lines: list) -> None:
    finetuned, scratch = finetuning_panels(lines, "fgsm")
    assert (finetuned.title, scratch.title) == ("Finetuned from REC", "From scratch")
    assert list(finetuned.lines) == ["Classifier A", "Classifier B"]
    points = finetuned.lines["Classifier B"]
    assert points["epoch"].tolist() == [0, 1, 2, 3]
    assert points["accuracy"].tolist() == [0.87, 0.93, 0.935, 0.95]
    assert points["n"].tolist() == [IMAGES] * 4
    interval = (points["ci_low"][1], points["ci_high"][1])
    assert interval == wilson_interval(186, IMAGES)


def test_points_are_written(lines: list, tmp_path: Path) -> None:
    write_panels(finetuning_panels(lines, "fgsm"), tmp_path / "points.csv")
    written = (tmp_path / "points.csv").read_text().splitlines()
    assert written[0] == "panel,line,setting,value,n,accuracy,ci_low,ci_high"
    assert written[1].startswith("Finetuned from REC,Classifier A,epoch,0,200,0.8500,0.79")
    assert len(written) == 1 + 3 * 4


def test_a_training_s_own_history_is_read(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(12, 1, 8, 8, generator=random)
    labels = torch.arange(12) % 3
    history = train_end_to_end(
        VAE(2, 2, (1, 8, 8)),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 3)),
        [images],
        images,
        labels,
        **{"epochs": 2, "batch_size": 6, "learning_rate": 1e-3, "reconstruction": "bce"},
        **{"kl_weight": 0.0, "classifier_weight": 1.0, "seed": 0, "device": "cpu"},
        evaluated={"fgsm": (images[:7], labels[:7])},
    )
    pd.DataFrame(history).to_csv(tmp_path / "h.csv", index=False)
    line = {"panel": "p", "line": "l", "history": str(tmp_path / "h.csv"), "images": 7}
    [panel] = finetuning_panels([line], "fgsm")
    expected = [row["accuracy_fgsm"] for row in history]
    assert panel.lines["l"]["accuracy"].tolist() == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"h\.csv: accuracy_fgsm are no shares of 6 images"):
        finetuning_panels([line | {"images": 6}], "fgsm")


def test_picture_has_a_look_for_each_line(
    lines: list, tmp_path: Path, record_figures: Callable
) -> None:
    kept = record_figures(roc)
    panels = finetuning_panels(lines, "fgsm")
    finetuning_curves(panels, tmp_path / "f.png", tmp_path / "f.pdf")
    left, right = kept[0].axes
    drawn = [container.lines[0] for axis in (left, right) for container in axis.containers]
    looks = [(line.get_marker(), line.get_linestyle(), line.get_color()) for line in drawn]
    assert looks[0] == looks[2], "A looks the same in both panels"
    assert looks[0][0] != looks[1][0]
    for line, (accuracies, label) in zip(
        drawn, [(c, k[1]) for k, c in CURVES.items()], strict=True
    ):
        assert line.get_ydata().tolist() == [c / IMAGES for c in accuracies], label
        assert np.abs(line.get_xdata() - np.arange(4)).max() < 0.2
    assert left.get_ylim()[0] > 0.7, "finetuning is not on the scale of a training from scratch"
    assert [text.get_text() for text in kept[0].legends[0].get_texts()] == [
        *("Classifier A", "Classifier B"),
    ]
    assert imread(tmp_path / "f.png").shape[1] == 7.0 * 300
    finetuning_curves(panels[:1], tmp_path / "one.png", tmp_path / "one.pdf")
    assert (tmp_path / "one.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": [1, 2, 3, 4]}, r"expected epochs 0, 1, 2, \.\.\., got \[1, 2, 3, 4\]"),
        ({"epoch": [0, 1, 1, 2]}, "expected epochs"),
        ({"accuracy_fgsm": [0.5, 0.5, np.nan, 0.5]}, "no shares of 200 images"),
        ({"accuracy_fgsm": [0.5, 0.5, 1.5, 0.5]}, "no shares of 200 images"),
        ({"accuracy_fgsm": [0.5, 0.5, 0.5012, 0.5]}, "no shares of 200 images"),
        ({"accuracy_fgsm": "high"}, "high"),
    ],
)
def test_broken_histories_are_refused(
    lines: list, tmp_path: Path, changes: dict, message: str
) -> None:
    write_history(tmp_path / "1.csv", CURVES["From scratch", "Classifier A"], **changes)
    with pytest.raises(ValueError, match=rf"1\.csv: .*{message}"):
        finetuning_panels(lines, "fgsm")


def test_wrong_lines_are_refused(lines: list, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no histories"):
        finetuning_panels([], "fgsm")
    with pytest.raises(ValueError, match=r"0\.csv: missing columns: accuracy_cw"):
        finetuning_panels(lines, "cw")
    with pytest.raises(ValueError, match="two lines 'Classifier A' in panel 'From scratch'"):
        finetuning_panels([*lines, lines[2]], "fgsm")
    paths = tmp_path / "f.png", tmp_path / "f.pdf"
    three = [line | {"panel": str(i)} for i, line in enumerate(lines)]
    with pytest.raises(ValueError, match="1 to 2 panels, got 3"):
        finetuning_curves(finetuning_panels(three, "fgsm"), *paths)
    many = [lines[0] | {"line": str(i)} for i in range(9)]
    with pytest.raises(ValueError, match="1 to 8 lines, got 9"):
        finetuning_curves(finetuning_panels(many, "fgsm"), *paths)
    assert not paths[0].exists()
