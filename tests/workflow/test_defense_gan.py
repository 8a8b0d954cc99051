"""The target `defense_gan` in miniature: what its files hold."""

import csv
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Workflow

from purification.models.checkpoints import load_network
from purification.purifiers import reconstruction_error
from purification.purifiers.loading import load_purifier
from purification.storage import ImageSet, read_field, read_image_set, read_split

TARGET = "defense_gan"
DATA = "digits_black_box"
RUN = f"results/{DATA}/seed0"
CLEAN = {(1, 2), (12, 2), (3, 2), (2, 1), (2, 3)}
"""Tables 8, 3 and 10; Tables 9 and 11 and Figures 4 and 5 want the same."""
WANTED = {
    "clean/test": CLEAN,
    "clean/validation": CLEAN,
    # Figure 6's too.
    "black_box/plain/D/E/fgsm": CLEAN | {(1, 1), (12, 1), (2, 2)},
    "black_box/plain/D/E/fgsm@0.2": {(3, 2)},
}
"""The (L, R) in each file of a sweep."""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def sweep_file(papers: Workflow, name: str) -> Path:
    return papers.folder / RUN / f"sweeps/defense_gan/{name}.h5"


def cell_of(group: str) -> tuple[int, int]:
    steps, restarts = re.fullmatch(r"L(\d+)_R(\d+)", group).groups()
    return int(steps), int(restarts)


def group_of(cell: tuple[int, int]) -> str:
    return f"L{cell[0]}_R{cell[1]}"


def errors(path: Path) -> dict[tuple[int, int], np.ndarray]:
    """The reconstruction errors (N,) of each (L, R) in a sweep's file."""
    with h5py.File(path) as file:
        groups = list(file)
    return {cell_of(g): read_field(path, "reconstruction_error", group=g) for g in groups}


# The sweeps


@pytest.mark.parametrize("name", WANTED)
def test_a_sweeps_file_has_the_cells_that_are_wanted_of_its_images(
    papers: Workflow, name: str
) -> None:
    number = 60 if name.endswith("validation") else 180 if name.startswith("clean") else 30
    found = errors(sweep_file(papers, name))
    assert set(found) == WANTED[name]
    assert {len(values) for values in found.values()} == {number}


@pytest.mark.parametrize("name", WANTED)
def test_every_cell_is_what_the_defense_with_that_search_makes(papers: Workflow, name: str) -> None:
    torch.set_num_threads(1)
    path, given = sweep_file(papers, name), searched_images(papers, name)
    with h5py.File(path) as file:
        recipe = json.loads(file.attrs["recipe"])["purifier"]
    assert not {"steps", "restarts"} & set(recipe["settings"])
    files = {"generator": str(papers.folder / RUN / "generators/wgan_gp.safetensors")}
    for steps, restarts in WANTED[name]:
        found = read_image_set(path, group=group_of((steps, restarts)))
        own = recipe["settings"] | {"steps": steps, "restarts": restarts}
        defense = load_purifier(recipe | {"settings": own}, files)
        images = torch.from_numpy(given.images)
        purified = defense(images)
        torch.testing.assert_close(torch.from_numpy(found.images), purified, atol=1e-4, rtol=0)
        error = torch.from_numpy(found.fields["reconstruction_error"])
        torch.testing.assert_close(error, reconstruction_error(purified, images), rtol=1e-4, atol=0)
        assert (found.fields["score"] == found.fields["reconstruction_error"]).all()
        assert (found.labels == given.labels).all()
        assert found.fields["restart"].max() < restarts


def searched_images(papers: Workflow, name: str) -> ImageSet:
    """What was given to the search of a sweep's file."""
    place, _, rest = name.partition("/")
    if place == "black_box":
        return read_image_set(papers.folder / RUN / f"black_box/{rest}.h5")
    dataset = papers.folder / f"results/{DATA}/dataset.h5"
    return ImageSet(*read_split(dataset, rest, 60 if rest == "validation" else None))


@pytest.mark.parametrize("name", WANTED)
def test_reconstruction_error_never_rises_with_restarts(papers: Workflow, name: str) -> None:
    found, compared = errors(sweep_file(papers, name)), 0
    for steps, restarts in found:
        for other in (r for length, r in found if length == steps and r > restarts):
            assert (found[steps, other] <= found[steps, restarts]).all()
            compared += int((found[steps, other] < found[steps, restarts]).any())
    # One search has a single cell, all others some image that more restarts bring nearer.
    assert compared or len(found) == 1


@pytest.mark.parametrize("name", [name for name, cells in WANTED.items() if len(cells) > 1])
def test_mean_reconstruction_error_falls_with_steps(papers: Workflow, name: str) -> None:
    found = errors(sweep_file(papers, name))
    by_steps = [found[cell].mean() for cell in sorted(found) if cell[1] == 2]
    assert len(by_steps) >= 3
    assert (np.diff(by_steps) < 0).all(), by_steps


# The tables


def table_rows(papers: Workflow, table: str) -> list[tuple[str, int, int]]:
    found = rows(papers.folder / f"results/{table}.csv")
    return [(r["epsilon"], int(r["iterations_L"]), int(r["restarts_R"])) for r in found]


def test_swept_tables_have_a_row_for_each_setting(papers: Workflow) -> None:
    assert table_rows(papers, "table3") == [("0.1", 3, 2), ("0.2", 3, 2)]
    for table in ("table8", "table9"):
        assert table_rows(papers, table) == [("0.1", 1, 2), ("0.1", 12, 2)]
    for table in ("table10", "table11"):
        assert table_rows(papers, table) == [("0.1", 2, 1), ("0.1", 2, 3)]


@pytest.mark.parametrize("table", ["table3", "table8", "table9", "table10", "table11"])
def test_swept_tables_have_the_papers_columns_over_the_evaluation_images(
    papers: Workflow, table: str
) -> None:
    for row in rows(papers.folder / f"results/{table}.csv"):
        assert (row["dataset"], row["attack"]) == (DATA, "fgsm")
        assert (row["classifier"], row["substitute"]) == ("D", "E")
        names = [name for name in list(row)[7:] if not name.endswith(("_n", "_std"))]
        assert names == [
            *("no_attack", "no_defense", "defense_gan_rec", "defense_gan_orig"),
            *("defense_gan_rec_clean", "defense_gan_orig_clean"),
        ]
        for name in names:
            assert 0 <= float(row[name]) <= 1
            assert row[f"{name}_n"] == "30"  # 180 test images, without the attacker's 150


@pytest.mark.parametrize("table", ["table3", "table8", "table9", "table10", "table11"])
def test_swept_accuracies_are_those_of_the_files(papers: Workflow, table: str) -> None:
    run = papers.folder / RUN
    clean, labels = (part[150:] for part in read_split(run.parent / "dataset.h5", "test"))
    long = rows(papers.folder / f"results/{table}.long.csv")
    searches = {(row["iterations_L"], row["restarts_R"]) for row in long}
    assert searches == {("", "")} | {(str(s), str(r)) for _, s, r in table_rows(papers, table)}
    seen = set()
    for row in long:
        named = "fgsm@0.2" if row["epsilon"] == "0.2" else "fgsm"
        images, hold_out = clean, 150 if row["attack"] == "none" else 0
        if row["defense"] == "defense_gan":
            search = group_of((int(row["iterations_L"]), int(row["restarts_R"])))
            name = "clean/test" if hold_out else f"black_box/plain/D/E/{named}"
            images = read_image_set(sweep_file(papers, name), group=search).images[hold_out:]
        elif not hold_out:
            images = read_image_set(run / f"black_box/plain/D/E/{named}.h5").images
        training = "defense_gan" if row["variant"] == "rec" else "plain"
        assert int(row["correct"]) == correct(run, training, images, labels)
        assert int(row["n"]) == len(labels)
        assert float(row["accuracy"]) == pytest.approx(int(row["correct"]) / 30, abs=5e-5)
        seen.add((row["attack"], row["epsilon"], row["variant"]))
    assert len(seen) == 3 * (3 if table == "table3" else 2)


def correct(run: Path, training: str, images: np.ndarray, labels: np.ndarray) -> int:
    model = load_network(run / f"classifiers/{training}/D.safetensors", "Classifier")
    with torch.no_grad():
        return int((model(torch.from_numpy(images)).argmax(dim=1).numpy() == labels).sum())


# Detection


def test_detection_has_every_detector_of_the_sweeps_and_of_table_4(papers: Workflow) -> None:
    found = [
        (r["threat_model"], r["epsilon"], int(r["iterations_L"]), int(r["restarts_R"]))
        for r in rows(papers.folder / "results/detection.csv")
    ]
    swept = {("black_box", "0.1", *cell) for cell in CLEAN} | {("black_box", "0.2", 3, 2)}
    models = ("gray_box", "white_box", "white_box_bpda")
    assert set(found) == swept | {(name, "0.1", 4, 2) for name in models}
    assert len(found) == len(set(found))


def test_thresholds_come_from_validation_images_and_rates_from_test_images(
    papers: Workflow,
) -> None:
    run = papers.folder / RUN
    for row in rows(papers.folder / "results/detection.csv"):
        group = f"L{row['iterations_L']}_R{row['restarts_R']}"
        if row["threat_model"] == "black_box":
            named = "fgsm@0.2" if row["epsilon"] == "0.2" else "fgsm"
            files = ("clean/validation", "clean/test", f"black_box/plain/D/E/{named}")
            scores = [read_field(sweep_file(papers, f), "score", group=group) for f in files]
            scores[1] = scores[1][150:]
        else:
            purified = run / "purified/clean/defense_gan"
            scores = [read_field(purified / f"{s}.h5", "score") for s in ("validation", "test")]
            attacked = run / "attacked/defense_gan/D/fgsm.h5"
            scores.append(read_field(attacked, "score", group=row["threat_model"]))
            scores[1] = scores[1][: len(scores[2])]
        validation, clean, attacked_scores = scores
        assert int(row["n_validation"]) == len(validation)
        assert int(row["n"]) == len(clean) == len(attacked_scores)
        higher = attacked_scores[:, None] - clean
        area = (higher > 0).mean() + (higher == 0).mean() / 2
        assert float(row["auc"]) == pytest.approx(area, abs=5e-5)
        assert float(row["auc_low"]) <= area + 5e-5 and area - 5e-5 <= float(row["auc_high"])
        for name, rate in (("1pct", 0.01), ("5pct", 0.05)):
            threshold = np.sort(validation)[::-1][int(rate * len(validation))]
            assert float(row[f"threshold_{name}"]) == pytest.approx(threshold, rel=1e-5)
            for column, of in (("tpr", attacked_scores), ("fpr", clean)):
                share = (of > threshold).mean()
                assert float(row[f"{column}_{name}"]) == pytest.approx(share, abs=5e-5)


# Figures and the page


def test_figures_are_there_as_png_pdf_and_points(papers: Workflow) -> None:
    for number in range(3, 9):
        figure = papers.folder / f"results/figures/figure{number}"
        assert figure.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert figure.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert figure.with_suffix(".csv").exists() == (number not in (6, 7))


def test_figure3_draws_tables_8_and_10(papers: Workflow) -> None:
    points = rows(papers.folder / "results/figures/figure3.csv")
    drawn = sorted(float(point["accuracy"]) for point in points)
    tables = [rows(papers.folder / f"results/{name}.csv") for name in ("table8", "table10")]
    columns = [f"defense_gan_{name}" for name in ("rec", "orig", "rec_clean", "orig_clean")]
    expected = sorted(float(r[c]) for table in tables for r in table for c in columns)
    assert drawn == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("figure", ["figure4", "figure5"])
def test_roc_figures_have_the_areas_of_the_detectors(papers: Workflow, figure: str) -> None:
    detectors = {
        (r["epsilon"], r["iterations_L"], r["restarts_R"]): float(r["auc"])
        for r in rows(papers.folder / "results/detection.csv")
        if r["threat_model"] == "black_box"
    }
    curves = {
        (r["panel"], r["epsilon"], r["iterations_L"], r["restarts_R"]): float(r["auc"])
        for r in rows(papers.folder / f"results/figures/{figure}.csv")
    }
    assert {curve[:2] for curve in curves} == {
        *(("iterations_L", "0.1"), ("restarts_R", "0.1"), ("epsilon", "0.1"), ("epsilon", "0.2")),
    }
    assert len(curves) == 6
    for (_, *setting), area in curves.items():
        assert area == pytest.approx(detectors[tuple(setting)], abs=5e-5)


def test_figure8_draws_the_white_box_at_each_number_of_steps(papers: Workflow) -> None:
    attacked = papers.folder / RUN / "attacked"
    points = rows(papers.folder / "results/figures/figure8.csv")
    assert len(points) == 4
    for steps, defense in ((2, "defense_gan@L2"), (4, "defense_gan")):
        path = attacked / defense / "D/fgsm.h5"
        with h5py.File(path) as file:
            assert json.loads(file.attrs["recipe"])["purifier"]["settings"]["steps"] == steps
            assert "gray_box" in file, "which the figure leaves out"
        sets = [read_image_set(path, group=name) for name in ("white_box", "white_box_bpda")]
        accuracies = sorted(float((s.fields["predictions"] == s.labels).mean()) for s in sets)
        drawn = sorted(float(p["accuracy"]) for p in points if float(p["value"]) == steps)
        assert drawn == pytest.approx(accuracies, abs=1e-4)


def test_page_has_every_table_and_figure_and_its_links_lead_somewhere(papers: Workflow) -> None:
    page = papers.folder / "results/defense_gan.md"
    text = page.read_text()
    headings = re.findall(r"^## ([^:\n]+)", text, re.MULTILINE)
    tables = [f"Table {number}" for number in (1, 2, 3, 4, 8, 9, 10, 11, 12, 13)]
    figures = [f"Figure {number}" for number in range(3, 9)]
    assert sorted(headings) == sorted(["Agreement with the paper", *tables, "Detection", *figures])
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == 9 + 6  # Table 13 stands there whole
    for link in links:
        assert (page.parent / link).is_file(), link
    for name in ("table8", "table10"):
        for row in rows(papers.folder / f"results/{name}.csv"):
            start = f"| fgsm | 0.1 | D | E | {row['iterations_L']} | {row['restarts_R']} |"
            assert start in text
    assert "No number is compared" in text


# What an edit makes stale.


def test_a_file_that_the_config_does_not_name_is_refused(tmp_path: Path) -> None:
    """By the catalogue's error: all of them are in tests/unit/experiments/test_grids.py."""
    target = f"{RUN}/attacked/defense_gan@L4/D/fgsm.h5"
    workflow = Workflow(tmp_path / "workflow")
    refused = workflow.run(target, options=("-n", "--cores", "2"), check=False)
    assert refused.returncode != 0
    assert "with these steps it is called 'defense_gan'" in refused.stdout
