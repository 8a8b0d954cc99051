"""The target `ae_gan` in miniature: what its files hold."""

import json
import re
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Workflow, micro_catalogue, rows

from purification.evaluation.detection import auc, threshold_at
from purification.models.checkpoints import load_network
from purification.storage import read_field, read_image_set, read_split

DATA = "digits_black_box"
RUN = f"results/{DATA}/seed0"
TABLES = {number: f"results/ae_gan/table{number}" for number in (1, 2, 3, 8, 9)}
STEPS = 4
DEFENSES = {
    ("ae_gan", "r", ""): "ae_gan_r",
    ("ae_gan", "rs", "2"): "ae_gan_rs@L2",
    ("ae_gan", "rs", "4"): "ae_gan_rs",
    ("ae_gan", "rs;rule", "4"): "ae_gan_rs_rule",
    ("ae_gan", "rs;latent=8", "4"): "ae_gan_rs",
    ("ae_gan", "rs;latent=6", "4"): "ae_gan_rs_20",
    ("adv_training", "pgd", ""): "adv_training_pgd",
}
"""The config's defence of a row's defense, variant and L."""


@pytest.fixture
def run(both_papers: Workflow) -> Path:
    return both_papers.folder / RUN


# The tables


@pytest.mark.parametrize("table", TABLES)
def test_accuracies_are_those_of_the_files(both_papers: Workflow, run: Path, table: int) -> None:
    long = rows(both_papers.folder / f"{TABLES[table]}.long.csv")
    for row in long:
        images, labels, classifier = classified(run, row)
        with torch.no_grad():
            model = load_network(run / f"classifiers/{classifier}/D.safetensors", "Classifier")
            found = model(torch.from_numpy(images)).argmax(dim=1).numpy()
        assert (int(row["n"]), int(row["correct"])) == (len(labels), (found == labels).sum()), row
        assert float(row["accuracy"]) == pytest.approx((found == labels).mean(), abs=5e-5)
    cells = [(r["attack"], r["threat_model"], *named(r), r.get("substitute")) for r in long]
    assert len(set(cells)) == len(cells)


def named(row: dict[str, str]) -> tuple[str, str, str]:
    return row["defense"], row["variant"], row["iterations_L"]


def classified(run: Path, row: dict[str, str]) -> tuple[np.ndarray, np.ndarray, str]:
    """The images that the classifier of a row is shown, their labels, and its training."""
    attack, bare = row["attack"], row["defense"] == "none"
    defense = "" if bare else DEFENSES[named(row)]
    purified = not bare and row["defense"] != "adv_training"
    training = defense if defense == "adv_training_pgd" else "plain"
    if attack == "none" and purified:
        found = read_image_set(run / f"purified/clean/{defense}/test.h5")
    elif attack == "none":
        return *read_split(run.parent / "dataset.h5", "test"), training
    elif row.get("substitute"):
        folder = f"purified/black_box/{defense}" if purified else "black_box"
        found = read_image_set(run / folder / f"plain/D/E/{attack}.h5")
    elif purified:
        path = run / f"attacked/{defense}/D/{attack}.h5"
        found = read_image_set(path, group=row["threat_model"])
    else:
        found = read_image_set(run / f"adversarial/{training}/D/{attack}.h5")
    return found.images, found.labels, training


def test_table1_has_direct_and_transferred_attacks_on_each_defense(both_papers: Workflow) -> None:
    for number in (1, 9):
        long = rows(both_papers.folder / f"{TABLES[number]}.long.csv")
        found = {(r["threat_model"], r["substitute"], *named(r)[:2]) for r in long}
        searched = [("ae_gan", "rs"), ("ae_gan", "rs;rule")]
        others = [("none", ""), ("adv_training", "pgd")]
        direct = {("gray_box", "", *d) for d in searched}
        direct |= {("white_box", "", *d) for d in (*searched, *others)}
        transferred = {("black_box", "E", *d) for d in (*searched, *others)}
        clean = {("none", "", *d) for d in (*searched, *others)}
        assert found == direct | transferred | clean
        # If all made the same of the images, the accuracies would say nothing of the files.
        assert len({r["correct"] for r in long if r["attack"] == "none"}) == 4


def test_table2_has_each_search_and_table3_its_own_steps(both_papers: Workflow) -> None:
    two = rows(both_papers.folder / f"{TABLES[2]}.long.csv")
    assert {named(r) for r in two} == {("none", "", ""), *(("ae_gan", "rs", n) for n in "24")}
    assert {r["restarts_R"] for r in two} == {"", "1"}
    three = rows(both_papers.folder / f"{TABLES[3]}.long.csv")
    assert {named(r) for r in three} == {
        ("none", "", ""),
        ("ae_gan", "r", ""),
        ("ae_gan", "rs", "2"),
    }
    assert {r["attack"] for r in three} == {"none", "fgsm", "half_masked"}


def test_white_box_goes_through_encoder_and_search(run: Path) -> None:
    """An attack that no gradient reached would leave the images; one on the bare classifier would
    equal the gray box."""
    for defense in ("ae_gan_rs", "ae_gan_rs_rule", "bigan_s"):
        path = run / f"attacked/{defense}/D/fgsm.h5"
        white, gray = (read_image_set(path, group=name) for name in ("white_box", "gray_box"))
        assert not white.fields["zero_gradient"].any()
        clean, labels = read_split(run.parent / "dataset.h5", "test", first=len(white.labels))
        assert (white.labels == labels).all()
        moved = np.abs(white.fields["adversarial"] - clean).max(axis=(1, 2, 3))
        np.testing.assert_allclose(moved, 0.1, atol=1e-6)
        bare = gray.fields["adversarial"][: len(labels)]
        assert not np.allclose(white.fields["adversarial"], bare)
        np.testing.assert_array_equal(
            gray.fields["adversarial"], read_image_set(run / "adversarial/plain/D/fgsm.h5").images
        )


# The inference rule


def test_rule_searches_what_lies_above_the_threshold_of_validation(
    both_papers: Workflow, run: Path
) -> None:
    validation = read_field(run / "purified/clean/ae_gan_r/validation.h5", "score")
    threshold = threshold_at(validation, 0.05)
    attacked = run / "attacked/ae_gan_rs_rule/D/fgsm.h5"
    found = {row["set"]: row for row in rows(both_papers.folder / "results/ae_gan/rule.csv")}
    scores = {
        "clean validation": validation,
        "clean test": read_field(run / "purified/clean/ae_gan_rs_rule/test.h5", "score"),
        "attacked": read_field(attacked, "score", group="gray_box"),
    }
    assert set(found) == set(scores)
    for name, score in scores.items():
        row, share = found[name], (score > threshold).mean()
        assert float(row["threshold"]) == pytest.approx(threshold, rel=1e-4)
        assert float(row["share_searched"]) == pytest.approx(share, abs=1e-6)
        assert float(row["mean_evaluations"]) == pytest.approx(1 + share * (STEPS + 1), abs=1e-4)
        assert float(row["evaluations_always"]) == STEPS + 1
    assert 0 < float(found["clean test"]["share_searched"]) < 1
    assert float(found["clean validation"]["share_searched"]) == pytest.approx(0.05, abs=1e-6)


def test_rule_gives_one_pass_or_the_search(run: Path) -> None:
    once, searched, rule = (
        read_image_set(run / f"purified/clean/{name}/test.h5")
        for name in ("ae_gan_r", "ae_gan_rs", "ae_gan_rs_rule")
    )
    validation = read_field(run / "purified/clean/ae_gan_r/validation.h5", "score")
    suspicious = rule.fields["score"] > threshold_at(validation, 0.05)
    near = partial(np.testing.assert_allclose, atol=1e-5, rtol=0)
    near(rule.images[suspicious], searched.images[suspicious])
    near(rule.images[~suspicious], once.images[~suspicious])
    near(rule.fields["score"], once.fields["score"])
    # The two differ, or the above says nothing.
    assert np.abs(searched.images - once.images).max() > 1e-3


# Figures, cost and the page


def test_detection_figures_tell_clean_from_attacked_by_their_indicator(
    both_papers: Workflow, run: Path
) -> None:
    made = read_image_set(run / "attacked/ae_gan_r/D/fgsm.h5", group="gray_box")
    given = made.fields["adversarial"]
    clean = read_split(run.parent / "dataset.h5", "test", first=len(given))[0]
    once = read_image_set(run / "purified/clean/ae_gan_r/test.h5", first=len(given)).images
    for number, power in ((3, 2), (6, 1), (7, 1), (8, 2)):
        scores = [
            (np.abs(before - after) ** power).mean(axis=(1, 2, 3))
            for before, after in ((clean, once), (given, made.images))
        ]
        points = rows(both_papers.folder / f"results/ae_gan/figure{number}.csv")
        [area] = [point for point in points if point["measure"] == "auc"]
        assert area["indicator"] == {1: "l1", 2: "mse"}[power] and area["epsilon"] == "0.1"
        assert float(area["value"]) == pytest.approx(auc(*scores), abs=1e-5)


def test_cost_counts_the_passes_of_each_search(both_papers: Workflow) -> None:
    points = rows(both_papers.folder / "results/figures/cost_accuracy.csv")
    costs = {(p["line"], p["iterations_L"]): float(p["evaluations"]) for p in points}
    assert costs[("Defense-GAN-Orig, R = 2", "4")] == 2 * 5
    assert costs[("AE-GAN+rs", "2")] == 3 and costs[("AE-GAN+rs", "4")] == 5
    assert costs[("BiGAN+s", "3")] == 4
    best = [p for p in points if p["line"] == "Defense-GAN-Orig, R = 2"]
    assert {float(p["share_of_reference"]) for p in best} == {1.0}


def test_figures_are_there_as_png_and_pdf(both_papers: Workflow) -> None:
    places = [*(f"ae_gan/figure{number}" for number in range(3, 11)), "figures/cost_accuracy"]
    for place in places:
        figure = both_papers.folder / f"results/{place}"
        assert figure.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert figure.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_page_has_every_table_and_figure_and_its_links_lead_somewhere(
    both_papers: Workflow,
) -> None:
    page = both_papers.folder / "results/ae_gan.md"
    text = page.read_text()
    headings = re.findall(r"^## ([^:\n]+)", text, re.MULTILINE)
    tables = [f"Table {number}" for number in TABLES]
    figures = [f"Figure {number}" for number in range(3, 11)]
    further = ["Agreement with the paper", "AE-GAN+rs, the inference rule", "Cost"]
    assert sorted(headings) == sorted([*tables, *figures, *further])
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == len(tables) + len(figures) + 1
    for link in links:
        assert (page.parent / link).is_file(), link


def test_files_carry_the_recipe_that_the_catalogue_gives_them(run: Path) -> None:
    made = micro_catalogue().attacked_defense(DATA, 0, "ae_gan_rs_rule", "D", "fgsm")
    with h5py.File(run.parents[2] / made.path) as file:
        assert json.loads(file.attrs["recipe"]) == json.loads(json.dumps(made.recipe))


# What an edit makes stale


def test_a_dry_run_finds_stale_what_the_recipes_say(both_papers: Workflow, tmp_path: Path) -> None:
    """One for both papers: the recipes of `stale` are in the rules' `params`, and nothing else of a
    finished run is remade."""
    edited = both_papers.copy(tmp_path / "workflow")
    rule = {"one_pass": "ae_gan_r", "false_positive_rate": 0.1}
    edited.config["defenses"]["ae_gan_rs_rule"]["rule"] = rule
    edited.config["cowboy_figure6"]["cleaning_steps"] = [2, 3]
    assert edited.stale("ae_gan", "cowboy").rules == {
        **{"attack_defense": 1, "purify_images": 1, "purify_black_box": 1, "measure": 4},
        **{"paper_table": 2, "measure_inference_rule": 1, "inference_rule_table": 1},
        **{"paper_page": 2, "follow_training": 1, "plot_cleaning_over_training": 1},
        **{"plot_scores_over_training": 1},
    }
