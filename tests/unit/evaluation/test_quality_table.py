"""Quality of a run's generators, measured, and beside the accuracies behind their defences."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import DEFAULT, REPOSITORY, SCHEMA, digests, merged, micro_catalogue

from purification.evaluation.generator_quality import classifier_features, frechet_distance
from purification.evaluation.quality_rows import QUALITY_COLUMNS, REAL, quality_rows
from purification.experiments import (
    Catalogue,
    ConfigError,
    generator_quality,
    measurement,
    quality_table,
)
from purification.models.ae_gan import AEGAN
from purification.models.checkpoints import save_network, save_snapshots
from purification.models.classifiers import build_classifier
from purification.models.diffusion import Diffusion
from purification.models.gan import GAN
from purification.models.wgan import Generator
from purification.randomness import generator
from purification.reporting import generator_quality as module
from purification.reporting.csv_files import write_numbers
from purification.storage import write_dataset

DATA = "digits_black_box"
SHAPE = (1, 28, 28)
SECTION = {"datasets": [DATA], "classifier": "D", "draws": 2}
DEFENSES = {"defense_gan_plain": "wgan_gp", "ae_gan_rs": "ae_gan_r", "cowboy": "dcgan"}
SECTION["defenses"] = list(DEFENSES)
CPU = torch.device("cpu")


def catalogue(**changes: Any) -> Catalogue:
    return micro_catalogue(**merged({"generator_quality": SECTION}, changes))


# Artifacts


def test_each_generator_is_measured_once_and_with_its_snapshots() -> None:
    twice = [*SECTION["defenses"], "cowboy_reconstruction"]
    made = generator_quality(catalogue(generator_quality={"defenses": twice}), DATA, 0)
    assert made.path == f"results/{DATA}/seed0/measurements/generator_quality.csv"
    run = f"results/{DATA}/seed0"
    assert made.inputs == {
        "dataset": f"results/{DATA}/dataset.h5",
        "classifier": f"{run}/classifiers/plain/D.safetensors",
        "generator_wgan_gp": f"{run}/generators/wgan_gp.safetensors",
        "generator_ae_gan_r": f"{run}/ae_gans/ae_gan_r.safetensors",
        "generator_dcgan": f"{run}/gans/dcgan.safetensors",
        "snapshots_dcgan": f"{run}/gans/dcgan.snapshots.safetensors",
    }
    assert [g["name"] for g in made.recipe["generators"]] == list(DEFENSES.values())


def stale(**changes: Any) -> set[str]:
    """What an edit remakes of quality and measurements ("table" for what both end in)."""

    def files(found: Catalogue) -> dict[str, str]:
        made = [generator_quality(found, DATA, 0)]
        cells = [measurement(found, "generator_quality", DATA, 0, "D", a) for a in ("none", "fgsm")]
        return digests(made, cells) | {"table": quality_table(found).digest}

    before, after = files(catalogue()), files(catalogue(**changes))
    changed = {path for path in after if before.get(path) != after[path]}
    return {Path(path).stem if "measurements" in path else path for path in changed} & {
        *("generator_quality", "none", "fgsm", "table"),
    }


def test_an_edit_remakes_what_it_concerns() -> None:
    assert stale(generator_quality={"draws": 3}) == {"generator_quality", "table"}
    assert stale(defenses={"cowboy": {"sigma": 3.0}}) == {"none", "fgsm", "table"}
    assert stale(cowboy_figure6={"cleaning_steps": [2, 5]}) == {"table"}
    everything = {"generator_quality", "none", "fgsm", "table"}
    assert stale(generators={"wgan_gp": {"iterations": 13}}) == everything
    assert not stale(attacks={"pgd": {"iterations": 3}})


def test_cells_are_the_gray_box_of_each_defense_by_its_key() -> None:
    clean, attacked = (
        measurement(catalogue(), "generator_quality", DATA, 0, "D", attack)
        for attack in ("none", "fgsm")
    )
    assert [cell.labels["defense"] for cell in clean.cells] == ["none", *DEFENSES]
    assert [cell.labels["defense"] for cell in attacked.cells] == ["none", *DEFENSES]
    assert [cell.group for cell in attacked.cells] == [None, *["gray_box"] * 3]
    assert {cell.classifier.path for cell in attacked.cells} == {
        f"results/{DATA}/seed0/classifiers/plain/D.safetensors"
    }
    with pytest.raises(ConfigError, match=r"classifier is 'D': nothing is measured of A"):
        measurement(catalogue(), "generator_quality", DATA, 0, "A", "fgsm")


def test_the_course_is_shown_where_there_is_one() -> None:
    [run] = quality_table(catalogue()).content["runs"]
    named = {"defense": "cowboy", "generator": "dcgan", "classifier": "D", "attack": "fgsm"}
    assert run["course"].items() >= (named | {"cleaning_steps": 4, "restarts": 1}).items()
    figure = quality_table(catalogue(generator_quality={"defenses": ["ae_gan_rs"]}))
    assert figure.content["runs"][0]["course"] is None
    assert not any("courses" in path for path in figure.inputs)
    both = quality_table(catalogue(seeds=[0, 1])).content["runs"]
    assert [run["course"] is None for run in both] == [False, True]


@pytest.mark.parametrize(
    ("overlays", "lengths"),
    [
        (["generator_quality"], [50, 100, 150, 600]),
        (["../mnist_cpu", "generator_quality_mnist"], [500, 2000, 6000, 12000]),
    ],
)
def test_studies_have_shorter_trainings_of_the_same_generator_and_search(
    overlays: list[str], lengths: list[int]
) -> None:
    config = DEFAULT
    for name in overlays:
        path = REPOSITORY / f"config/studies/{name}.yaml"
        config = merged(config, yaml.safe_load(path.read_text()))
    found = Catalogue(config, SCHEMA)
    [dataset] = config["generator_quality"]["datasets"]
    names = [n for n in config["generator_quality"]["defenses"] if n.startswith("defense_gan")]
    purifiers = [found.purifier(dataset, 0, name) for name in names]
    networks = [purifier.networks["generator"].settings for purifier in purifiers]
    assert [settings["iterations"] for settings in networks] == lengths
    assert all(
        settings | {"iterations": 0} == networks[0] | {"iterations": 0} for settings in networks
    )
    assert all(purifier.settings == purifiers[0].settings for purifier in purifiers)


# Measuring


@pytest.fixture
def run(tmp_path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """A recipe of two generators, and its files."""
    rng = np.random.default_rng(0)
    splits = {
        name: (rng.random((n, *SHAPE), np.float32), np.zeros(n, np.int64))
        for name, n in (("train", 2), ("validation", 6), ("test", 9))
    }
    names = ("dataset", "classifier", "generator_w", "generator_g", "snapshots_g")
    files = {name: str(tmp_path / name) for name in names}
    write_dataset(files["dataset"], splits, {})
    settings = {"architecture": "A", "dropout": "paper"}
    own = {"kind": "Classifier", "settings": settings}
    save_network(files["classifier"], build_classifier("A"), own, SHAPE)
    size = {"latent": 3, "width": 2, "iterations": 40}
    wgan = {"kind": "Generator", "name": "w", "seed": 0, "settings": size}
    gan = {"kind": "GAN", "name": "g", "seed": 0, "settings": size | {"snapshots": [10, 40]}}
    save_network(files["generator_w"], Generator(3, 2), wgan, SHAPE)
    network = GAN(3, 2)
    save_network(files["generator_g"], network, gan, SHAPE)
    begun = GAN(3, 2).state_dict()
    save_snapshots(files["snapshots_g"], {10: begun, 40: network.state_dict()}, gan, SHAPE)
    recipe = {"dataset": {"name": "d"}, "seed": 0, "classifier": {"name": "A"}, "draws": 2}
    return recipe | {"generators": [wgan, gan], "images": None}, files


@pytest.mark.usefixtures("one_thread_and_one_seed")
def test_rows_are_real_images_and_each_generator(
    run: tuple[dict[str, Any], dict[str, str]],
) -> None:
    recipe, files = run
    rows = quality_rows(recipe, files, CPU)
    assert all(tuple(row) == QUALITY_COLUMNS for row in rows)
    named = [(r["kind"], r["generator"], r["iterations"], r["snapshot"], r["n"]) for r in rows]
    assert named == [
        (REAL, None, None, False, 6),
        ("wgan_gp", "w", 40, False, 9),
        ("gan", "g", 10, True, 9),
        ("gan", "g", 40, False, 9),
    ]
    assert rows[0]["frechet_distance_sd"] is None
    assert all(0 <= row["precision"] <= 1 and row["frechet_distance"] > 0 for row in rows)
    assert rows[2]["frechet_distance"] != rows[3]["frechet_distance"]
    assert quality_rows(recipe, files, CPU) == rows
    assert {row["n"] for row in quality_rows(recipe | {"images": 5}, files, CPU)} == {5}


@pytest.mark.usefixtures("one_thread_and_one_seed")
def test_numbers_are_mean_and_deviation_over_draws_of_the_prior(
    run: tuple[dict[str, Any], dict[str, str]],
) -> None:
    from purification.models.checkpoints import load_network
    from purification.storage import read_split

    recipe, files = run
    row = quality_rows(recipe, files, CPU)[1]
    classifier = load_network(files["classifier"], "Classifier")
    network = load_network(files["generator_w"], "Generator")
    images = torch.from_numpy(read_split(files["dataset"], "test")[0])
    real = classifier_features(classifier, images, device="cpu")
    distances = []
    for draw in ("0", "1"):
        codes = torch.randn(9, 3, generator=generator(0, "quality", "w", draw))
        with torch.no_grad():
            found = classifier_features(classifier, network(codes), device="cpu")
        distances.append(frechet_distance(real, found))
    assert row["frechet_distance"] == pytest.approx(np.mean(distances), rel=1e-4)
    assert row["frechet_distance_sd"] == pytest.approx(np.std(distances, ddof=1), rel=1e-2)


@pytest.mark.usefixtures("one_thread_and_one_seed")
def test_an_ae_gan_has_codes_only_with_a_discriminator(
    run: tuple[dict[str, Any], dict[str, str]], tmp_path: Path
) -> None:
    recipe, files = run
    settings = {"latent": 3, "width": 2, "epochs": 1, "adversarial": "minimax"}
    made = {"kind": "AEGAN", "name": "a", "seed": 0, "settings": settings}
    files["generator_a"] = str(tmp_path / "a")
    save_network(files["generator_a"], AEGAN(3, 2), made, SHAPE)
    row = quality_rows(recipe | {"generators": [made]}, files, CPU)[1]
    assert (row["kind"], row["epochs"], row["iterations"]) == ("ae_gan", 1, None)
    alone = {**made, "settings": settings | {"adversarial": "none"}}
    with pytest.raises(ValueError, match="generator a: no codes are known"):
        quality_rows(recipe | {"generators": [alone]}, files, CPU)


@pytest.mark.usefixtures("one_thread_and_one_seed")
def test_a_diffusion_model_stands_beside_gans(
    run: tuple[dict[str, Any], dict[str, str]], tmp_path: Path
) -> None:
    """Its codes are noise images; the accuracy behind it is one-shot, the mean over the draws."""
    recipe, files = run
    settings = {"width": 8, "iterations": 3, "batch_size": 2, "learning_rate": 0.1, "ema": 0.5}
    made = {"kind": "Diffusion", "name": "d", "seed": 0, "settings": settings}
    files["generator_d"], network = str(tmp_path / "d"), Diffusion(8)
    save_network(files["generator_d"], network, made, SHAPE)
    _, gan, row = quality_rows(recipe | {"generators": [recipe["generators"][0], made]}, files, CPU)
    assert (row["kind"], row["iterations"], row["latent"]) == ("diffusion", 3, None)
    assert row["frechet_distance"] > 0 and row["width"] == 8 and gan["kind"] == "wgan_gp"
    found = catalogue(generator_quality={"defenses": ["one_step", "defense_gan_plain"]})
    assert [g.KIND for g in generator_quality(found, DATA, 0).generators] == [
        "Diffusion",
        "Generator",
    ]
    for attack, model in (("none", "none"), ("fgsm", "gray_box")):
        cells = measurement(found, "generator_quality", DATA, 0, "D", attack).cells
        said = {c.labels["defense"]: c.labels.get("protocol") for c in cells}
        assert said == {"none": None, "one_step": "one_shot", "defense_gan_plain": None}
        assert cells[1].labels["draws"] == 5 and cells[1].labels["threat_model"] == model


# The table and the figure


def write(path: Path, rows: list[Mapping[str, Any]]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """Two generators, one with a snapshot and a course."""
    common = {"dataset": "digits", "seed": 0, "features": "A", "n": 20, "precision": 0.5}
    common |= {"recall": 0.25, "precision_sd": 0.01, "recall_sd": 0.02, "frechet_distance_sd": 2.0}
    size = {"width": 4, "latent": 8}
    quality = [
        {"kind": "real", "snapshot": False, "frechet_distance": 3.0, "frechet_distance_sd": None},
        {"generator": "w", "kind": "wgan_gp", "iterations": 600, "frechet_distance": 30.0, **size},
        {"generator": "g", "kind": "gan", "iterations": 10, "frechet_distance": 900.0, **size},
        {"generator": "g", "kind": "gan", "iterations": 40, "frechet_distance": 60.0, **size},
    ]
    empty = dict.fromkeys(QUALITY_COLUMNS)
    rows = [{**empty, **common, "snapshot": row.get("iterations") == 10, **row} for row in quality]

    def measured(attack: str, right: dict[str, int]) -> list[dict[str, Any]]:
        named = {"classifier": "A", "attack": attack, "n": 100, "restarts_R": None}
        named["epsilon"] = None if attack == "none" else 0.1
        return [
            {**named, "defense": d, "iterations_L": None if d == "none" else 5}
            | {"accuracy": n / 100, "ci_low": n / 100 - 0.05, "ci_high": n / 100 + 0.05}
            for d, n in right.items()
        ]

    interval = {"n": 100, "ci_low": 0.1, "ci_high": 0.9}
    course = [
        {"attack": a, "training_steps": t, "cleaning_steps": c, "accuracy": v, **interval}
        for a, t, c, v in (
            *(("none", None, 0, 0.97), ("pgd", None, 0, 0.4)),
            *(("pgd", 10, 2, 0.2), ("pgd", 10, 4, 0.3), ("pgd", 40, 2, 0.6), ("pgd", 40, 4, 0.7)),
        )
    ]
    clean = {"none": 98, "d": 95, "c": 90}
    attacked = {"none": 45, "d": 70, "c": 60}
    named = {"defense": "c", "generator": "g", "classifier": "B", "attack": "pgd", "epsilon": 0.2}
    run = {
        "quality": write(tmp_path / "quality.csv", rows),
        "clean": write(tmp_path / "clean.csv", measured("none", clean)),
        "attacked": write(tmp_path / "attacked.csv", measured("fgsm", attacked)),
        "course": named | {"cleaning_steps": 4, "restarts": 1},
    }
    run["course"]["path"] = write(tmp_path / "course.csv", course)
    return {"attack": "fgsm", "defenses": {"d": "w", "c": "g"}, "runs": [run]}


def test_table_has_each_defense_beside_its_generator(content: dict[str, Any]) -> None:
    table = module.quality_table(content)
    shown = ["kind", "iterations", "defense", "classifier", "clean", "gray_box", "over_training"]
    nan = pytest.approx(np.nan, nan_ok=True)
    assert [tuple(row) for row in table[shown].astype(object).to_numpy()] == [
        ("real", pd.NA, nan, nan, nan, nan, False),
        ("wgan_gp", 600, "d", "A", 0.95, 0.7, False),
        ("gan", 10, "c", "B", nan, 0.3, True),
        ("gan", 40, "c", "A", 0.9, 0.6, False),
        ("gan", 40, "c", "B", nan, 0.7, True),
    ]
    own, course = table.iloc[3], table.iloc[4]
    assert (own["clean_undefended"], own["gray_box_undefended"]) == (0.98, 0.45)
    assert (course["clean_undefended"], course["gray_box_undefended"]) == (0.97, 0.4)
    assert (own["gray_box_n"], own["gray_box_low"]) == (100, pytest.approx(0.55))
    assert (own["epsilon"], course["epsilon"], course["iterations_L"]) == (0.1, 0.2, 4)


def test_a_defense_that_was_not_measured_is_named(content: dict[str, Any]) -> None:
    content["defenses"]["e"] = "w"
    with pytest.raises(ValueError, match=r"clean\.csv: no row of the defense 'e'"):
        module.quality_table(content)


def test_table_comes_back_from_its_file(content: dict[str, Any], tmp_path: Path) -> None:
    table, path = module.quality_table(content), tmp_path / "table.csv"
    write_numbers(table, path)
    texts = ("generator", "defense", "classifier", "attack")
    expected = table.fillna(dict.fromkeys(texts, ""))
    pd.testing.assert_frame_equal(module.read_quality_table(path), expected, check_dtype=False)


def test_page_has_a_line_for_each_row(content: dict[str, Any]) -> None:
    text = module.quality_markdown(module.quality_table(content))
    line = "| w | wgan_gp | 4 | 8 | 600 iterations | 30 ± 2 | 0.500 ± 0.010 | 0.250 ± 0.020 |"
    assert f"{line} d | A | 0.950 [0.900, 1.000] | 0.700 [0.650, 0.750] |" in text
    assert "| (real validation images) |  |  |  |  | 3 |" in text
    assert "B without defense: 0.970 clean, 0.400 under pgd." in text


def test_figure_has_a_marker_for_each_defense_and_a_line_for_the_course(
    content: dict[str, Any], tmp_path: Path, record_figures: Callable
) -> None:
    figures = record_figures(module)
    table = module.quality_table(content)
    module.accuracy_over_quality(table, tmp_path / "f.png", tmp_path / "f.pdf")
    assert len(module.drawn_points(table)) == 4
    [figure] = figures
    gray, clean = figure.axes
    assert (gray.get_title(), clean.get_title()) == ("digits, FGSM 0.1, gray box", "digits, clean")
    assert gray.get_xscale() == "log"
    drawn = {
        label: lines[0].get_xydata().tolist()
        for lines, label in zip(*gray.get_legend_handles_labels(), strict=True)
        if label not in ("no defense", "real images (20)")
    }
    assert drawn == {
        "d": [[30, 0.7]],
        "c": [[60, 0.6]],
        "c over training (B, PGD, L = 4; 0.40 without)": [[900, 0.3], [60, 0.7]],
    }
