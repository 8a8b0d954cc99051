"""The target `cowboy` in miniature: what its files hold."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Workflow, rows

from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.detection import adversarial_threshold, auc
from purification.evaluation.mcnemar import PairedCounts, exact_p_value
from purification.models.checkpoints import load_network, load_snapshot
from purification.storage import ImageSet, read_field, read_image_set, read_split

DATA = "digits_black_box"
RUN = f"results/{DATA}/seed0"
SNAPSHOTS = (20, 60)
QUARTILES = torch.tensor([0.25, 0.75])
DEFENSES = {"cowboy": "cowboy", "defense_gan": "cowboy_reconstruction"}
"""The config's defence of a table's column."""


@pytest.fixture
def run(both_papers: Workflow) -> Path:
    return both_papers.folder / RUN


# The GAN


def test_last_snapshot_is_the_network_to_the_bit(run: Path) -> None:
    final = load_network(run / "gans/dcgan.safetensors", "GAN").state_dict()
    path = run / "gans/dcgan.snapshots.safetensors"
    early, last = (load_snapshot(path, step).state_dict() for step in SNAPSHOTS)
    assert set(final) == set(last) == set(early)
    assert all(torch.equal(final[name], last[name]) for name in final)
    assert not any(torch.equal(final[name], early[name]) for name in final if "weight" in name)
    history = rows(run / "gans/dcgan.history.csv")
    assert [int(row["iteration"]) for row in history] == list(range(1, 61))


def test_there_are_no_other_snapshots(run: Path) -> None:
    with pytest.raises(ValueError, match=r"no snapshot of step 6; .* steps \[20, 60\]"):
        load_snapshot(run / "gans/dcgan.snapshots.safetensors", 6)


# The tables


@pytest.mark.parametrize("table", [1, 2])
def test_accuracies_are_those_of_the_files(both_papers: Workflow, run: Path, table: int) -> None:
    long = rows(both_papers.folder / f"results/cowboy/table{table}.long.csv")
    model = load_network(run / "classifiers/plain/D.safetensors", "Classifier")
    for row in long:
        images, labels = classified(run, row)
        with torch.no_grad():
            found = model(torch.from_numpy(images)).argmax(dim=1).numpy()
        assert (int(row["n"]), int(row["correct"])) == (len(labels), (found == labels).sum()), row
        assert float(row["accuracy"]) == pytest.approx((found == labels).mean(), abs=5e-5)
    both = {("none", "none"), ("fgsm", "gray_box"), ("fgsm", "white_box")}
    models = {"none": {("none", "none"), ("fgsm", "white_box")}, "cowboy": both}
    models |= {"defense_gan": both} if table == 2 else {}
    found_models = {
        name: {(r["attack"], r["threat_model"]) for r in long if r["defense"] == name}
        for name in {r["defense"] for r in long}
    }
    assert found_models == models


def classified(run: Path, row: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    attack, defense = row["attack"], DEFENSES.get(row["defense"])
    if attack == "none" and not defense:
        return read_split(run.parent / "dataset.h5", "test")
    if attack == "none":
        found = read_image_set(run / f"purified/clean/{defense}/test.h5")
    elif defense:
        found = attacked(run, defense, row["threat_model"])
    else:
        found = read_image_set(run / "adversarial/plain/D/fgsm.h5")
    return found.images, found.labels


def attacked(run: Path, defense: str, group: str) -> ImageSet:
    return read_image_set(run / f"attacked/{defense}/D/fgsm.h5", group=group)


def test_both_defenses_clean_the_same_images_and_are_attacked_by_their_own(run: Path) -> None:
    both = [attacked(run, name, "gray_box") for name in DEFENSES.values()]
    bare = read_image_set(run / "adversarial/plain/D/fgsm.h5").images
    for made in both:
        np.testing.assert_array_equal(made.fields["adversarial"], bare)
    assert not np.allclose(both[0].images, both[1].images)
    white = [attacked(run, name, "white_box") for name in DEFENSES.values()]
    assert not np.allclose(*(made.fields["adversarial"] for made in white))
    for made in white:
        assert not made.fields["zero_gradient"].any()


def test_comparison_counts_the_predictions_in_the_files(both_papers: Workflow, run: Path) -> None:
    [row] = rows(both_papers.folder / "results/cowboy/mcnemar.csv")
    assert (row["first"], row["second"], row["attack"]) == (
        "cowboy",
        "cowboy_reconstruction",
        "fgsm",
    )
    right = []
    for name in DEFENSES.values():
        made = attacked(run, name, "gray_box")
        right.append(made.fields["predictions"] == made.labels)
    first, second = right
    counts = PairedCounts(
        int((first & second).sum()),
        int((first & ~second).sum()),
        int((~first & second).sum()),
        int((~first & ~second).sum()),
    )
    assert counts == PairedCounts(
        *(int(row[k]) for k in ("both", "only_first", "only_second", "neither"))
    )
    assert int(row["n"]) == 12
    assert float(row["difference"]) == pytest.approx(first.mean() - second.mean(), abs=1e-6)
    assert float(row["p_value"]) == pytest.approx(exact_p_value(counts), rel=1e-5)
    # The same accuracies as in the table.
    table = rows(both_papers.folder / "results/cowboy/table2.long.csv")
    gray = {r["defense"]: float(r["accuracy"]) for r in table if r["threat_model"] == "gray_box"}
    assert gray["cowboy"] == pytest.approx(float(row["accuracy_first"]), abs=5e-5)
    assert gray["defense_gan"] == pytest.approx(float(row["accuracy_second"]), abs=5e-5)


# Scores and detection


def test_scores_are_the_discriminators_of_both_splits(run: Path) -> None:
    scores = pd.read_csv(run / "scores/cowboy.csv")
    counted = scores.groupby(["split", "source"]).size().to_dict()
    assert counted == {
        **{("validation", "real"): 1500, ("validation", "fgsm"): 1500},
        **{("test", "real"): 180, ("test", "fgsm"): 12},
    }
    gan = load_network(run / "gans/dcgan.safetensors", "GAN")
    folders = {"test": "adversarial", "validation": "adversarial_validation"}
    for split, folder in folders.items():
        bare = read_image_set(run / f"{folder}/plain/D/fgsm.h5")
        clean = read_split(run.parent / "dataset.h5", split)[0]
        for source, images in (("real", clean), ("fgsm", bare.images)):
            here = scores[(scores["split"] == split) & (scores["source"] == source)]
            with torch.no_grad():
                logits = gan.discriminator(torch.from_numpy(images)).flatten().numpy()
            np.testing.assert_allclose(here["logit"], logits, atol=1e-5)
            np.testing.assert_allclose(here["score"], 1 / (1 + np.exp(-logits)), atol=1e-6)
            assert list(here["index"]) == list(range(len(images)))
            if source == "real":
                assert here[["correct", "clean_correct"]].isna().all(axis=None)
            else:
                assert (here["correct"] == (bare.fields["predictions"] == bare.labels)).all()


def test_detection_has_a_row_for_each_exponent(both_papers: Workflow, run: Path) -> None:
    found = rows(both_papers.folder / "results/cowboy/detection.csv")
    assert [(r["attack"], r["exponent"], r["n"]) for r in found] == [
        ("fgsm", "1", "12"),
        ("fgsm", "4", "12"),
    ]
    scores = pd.read_csv(run / "scores/cowboy.csv")
    of = dict(iter(scores.groupby(["split", "source"])))
    base = of[("validation", "fgsm")]
    drop = base["clean_correct"].mean() - base["correct"].mean()
    # Else there would be neither thresholds nor rates to look at.
    assert drop >= 0.2
    pair, flagged = of[("test", "real")]["score"][:12], of[("test", "fgsm")]["score"]
    for row, exponent in zip(found, (1, 4), strict=True):
        threshold = (base["score"] ** exponent).mean() ** (1 / exponent)
        assert threshold == pytest.approx(adversarial_threshold(base["score"], drop, exponent))
        assert float(row["threshold"]) == pytest.approx(threshold, rel=1e-5)
        assert float(row["accuracy_drop"]) == pytest.approx(drop, rel=1e-5)
        assert float(row["tpr"]) == pytest.approx((flagged < threshold).mean(), abs=1e-6)
        assert float(row["fpr"]) == pytest.approx((pair < threshold).mean(), abs=1e-6)
        assert float(row["auc"]) == pytest.approx(auc(-pair, -flagged), abs=1e-5)
        assert float(row["auc_low"]) <= float(row["auc"]) <= float(row["auc_high"])


# The course of the training


def test_course_ends_at_the_defense_of_the_tables(run: Path) -> None:
    cleaning = rows(run / "courses/cowboy.cleaning.csv")
    places = [(r["training_steps"], r["cleaning_steps"]) for r in cleaning[2:]]
    assert [(float(t), int(c)) for t, c in places] == [(t, c) for t in SNAPSHOTS for c in (2, 4)]
    made = attacked(run, "cowboy", "gray_box")
    accuracy = (made.fields["predictions"] == made.labels).mean()
    assert float(cleaning[-1]["accuracy"]) == pytest.approx(accuracy)
    bounds = wilson_interval(round(accuracy * 12), 12)
    assert [float(cleaning[-1][k]) for k in ("ci_low", "ci_high")] == pytest.approx(bounds)
    bare = read_image_set(run / "adversarial/plain/D/fgsm.h5")
    for row, name in zip(cleaning[:2], ("clean_predictions", "predictions"), strict=True):
        assert (row["training_steps"], row["cleaning_steps"], row["n"]) == ("", "0", "12")
        right = (bare.fields[name] == bare.labels).mean()
        assert float(row["accuracy"]) == pytest.approx(right)
    assert [row["attack"] for row in cleaning] == ["none", *["fgsm"] * 5]


def test_scores_of_the_course_are_those_of_each_snapshot(run: Path) -> None:
    path = run / "gans/dcgan.snapshots.safetensors"
    bare = read_image_set(run / "adversarial/plain/D/fgsm.h5").images
    clean = read_split(run.parent / "dataset.h5", "test", first=len(bare))[0]
    found = rows(run / "courses/cowboy.scores.csv")
    given = [(step, name) for step in SNAPSHOTS for name in ("real", "attack")]
    assert [(int(r["training_steps"]), r["source"]) for r in found] == given
    for row, (step, source) in zip(found, given, strict=True):
        images = torch.from_numpy({"real": clean, "attack": bare}[source])
        with torch.no_grad():
            scores = torch.sigmoid(load_snapshot(path, step).discriminator(images)).flatten()
        expected = [float(each) for each in (scores.mean(), *scores.quantile(QUARTILES))]
        assert [float(row[k]) for k in ("mean", "q25", "q75")] == pytest.approx(expected, abs=1e-5)


# Figures and the page


def test_figures_are_there_as_png_pdf_and_points(both_papers: Workflow) -> None:
    for number in range(1, 8):
        figure = both_papers.folder / f"results/cowboy/figure{number}"
        assert figure.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert figure.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert figure.with_suffix(".csv").exists() == (number in (2, 3, 6, 7))


def test_page_has_every_table_and_figure_and_its_links_lead_somewhere(
    both_papers: Workflow,
) -> None:
    page = both_papers.folder / "results/cowboy.md"
    text = page.read_text()
    headings = re.findall(r"^## (.+)", text, re.MULTILINE)
    named = {heading.split(":")[0] for heading in headings}
    tables, figures = ["Table 1", "Table 2"], [f"Figure {number}" for number in range(1, 8)]
    assert named == {"Agreement with the paper", "Cowboy", *tables, *figures}
    further = ["with and without the discriminator", "detection by the discriminator's score"]
    assert all(f"Cowboy: {heading}" in headings for heading in further)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == len(tables) + len(figures)
    for link in links:
        assert (page.parent / link).is_file(), link


def test_scores_of_attacked_sets_are_minus_the_logit_of_what_was_given(run: Path) -> None:
    path = run / "attacked/cowboy/D/fgsm.h5"
    gray = read_field(path, "score", group="gray_box")
    scores = pd.read_csv(run / "scores/cowboy.csv")
    test = scores[(scores["split"] == "test") & (scores["source"] == "fgsm")]
    np.testing.assert_allclose(-gray, test["logit"], atol=1e-5)


def test_the_report_of_this_paper_names_it_and_no_other(
    both_papers: Workflow, tmp_path: Path
) -> None:
    front, captions = both_papers.copy(tmp_path / "workflow").report("cowboy")
    assert '<h1 class="title">Adversarial purification: Cowboy</h1>' in front
    assert "Samangouei" not in front and "AE-GAN+rs" not in front
    assert front.count("<details") == 4  # Tables 1 and 2, the paired test, detection
    for number, shows in ((1, "attacked and cleaned"), (2, "Cowboy beside the same search")):
        about = captions[f"results/cowboy/table{number}.csv"]
        assert f"Cowboy, Table {number} (Santhanam and Grnarova, 2018): {shows}" in about
    for number in range(1, 8):
        assert f"Cowboy, Figure {number} (" in captions[f"results/cowboy/figure{number}.png"]
    assert "gray box: the attacker" in captions["results/cowboy/figure5.png"]
    assert "Threat models" not in captions["results/cowboy/figure1.png"]  # two Gaussians
