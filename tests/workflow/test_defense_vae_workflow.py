"""The target `defense_vae` in miniature: what its files hold."""

import re
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import DEFAULT, Workflow, merged, rows

from purification.models.checkpoints import load_network
from purification.storage import read_checkpoint, read_image_set, read_split

TARGET = "defense_vae"
DATA = "digits_black_box"
RUN = f"results/{DATA}/seed0"
TABLES = {name: f"results/defense_vae/table{name}" for name in (1, 2, 3, 7, 8)}
FIGURES = ("figure1", "figure4", "figure5")
VAES = ("defense_vae", *(f"defense_vae_{n}" for n in ("without_fgsm", "without_cw")))
ACCURACIES = {1: 2 + 3 * 3, 2: 3 + 2 + 3, 3: 2 + 2 * 2, 7: 2 + 3, 8: 2 + 2}
"""How many there are: without defense, and of each defense without attack and in each threat
model; in Table 2 two choices of attacks for FGSM and three for CW."""
DEPLOYED = {"base": "defense_vae", "rec": "defense_vae_rec", "e2e": "defense_vae_e2e"}
"""The defence of a variant; that of a VAE that has not seen an attack is another."""
COPIES = {
    "fgsm": {"epsilon=0.1": 0.1, "epsilon=0.2": 0.2},
    "rand_fgsm": {f"epsilon={epsilon}": epsilon for epsilon in (0.083, 0.1, 0.117, 0.133)},
    "cw": {"learning_rate=10.0": None},
    "deepfool": {"copy": None},
}
"""The radius of each group."""


def columns(row: dict[str, str]) -> list[str]:
    """The accuracies of a wide table."""
    return [name.removesuffix("_n") for name in row if name.endswith("_n")]


# The copies


@pytest.mark.parametrize("attack", COPIES)
def test_copies_are_the_training_images_attacked_within_their_radius(
    papers: Workflow, attack: str
) -> None:
    path = papers.folder / RUN / f"copies/D/{attack}.h5"
    clean, labels = read_split(papers.folder / f"results/{DATA}/dataset.h5", "train")
    with h5py.File(path) as file:
        assert set(file) == set(COPIES[attack])
    for group, radius in COPIES[attack].items():
        copied = read_image_set(path, group=group)
        assert (copied.labels == labels).all() and copied.images.shape == clean.shape
        assert copied.images.min() >= 0 and copied.images.max() <= 1
        moved = np.abs(copied.images - clean).max(axis=(1, 2, 3))
        assert moved.max() > 0.01
        if radius:
            assert moved.max() <= radius + 1e-6
            # Somewhere a pixel is free to move the whole way.
            assert moved.max() == pytest.approx(radius, abs=1e-6)


def test_copies_are_made_against_the_plain_classifier(papers: Workflow) -> None:
    model = load_network(papers.folder / RUN / "classifiers/plain/D.safetensors", "Classifier")
    for attack, groups in COPIES.items():
        for group in groups:
            path = papers.folder / RUN / f"copies/D/{attack}.h5"
            copied = read_image_set(path, group=group)
            with torch.no_grad():
                found = model(torch.from_numpy(copied.images)).argmax(dim=1).numpy()
            assert (found == copied.fields["predictions"]).mean() > 0.98
            right = (copied.fields["clean_predictions"] == copied.labels).mean()
            assert (found == copied.labels).mean() < right - 0.05


# The networks


def test_a_vae_learns_from_the_copies_that_it_names(papers: Workflow) -> None:
    for defense in (*VAES, "defense_vae_with_deepfool"):
        _, metadata = read_checkpoint(papers.folder / RUN / f"vaes/{defense}/D.safetensors")
        found = [copies["name"] for copies in metadata["recipe"]["copies"]]
        assert found == paper_config(papers)["defenses"][defense]["copies"]
        history = rows(papers.folder / RUN / f"vaes/{defense}/D.history.csv")
        assert [row["epoch"] for row in history] == ["1", "2"]
        assert float(history[1]["loss"]) < float(history[0]["loss"])


def paper_config(papers: Workflow) -> dict[str, Any]:
    """All that the run was told, the default included."""
    return merged(DEFAULT, papers.config)


@pytest.mark.parametrize("defense", ["defense_vae_e2e", "defense_vae_e2e_scratch"])
def test_end_to_end_training_changes_both_networks(papers: Workflow, defense: str) -> None:
    run = papers.folder / RUN
    for kind, network, start in (
        ("DefenseVAE", "vae", "vaes/defense_vae/D"),
        ("Classifier", "classifier", "classifiers/defense_vae/D"),
    ):
        trained = run / f"end_to_end/{defense}/D.{network}.safetensors"
        weights = load_network(trained, kind).state_dict()
        begun = load_network(run / f"{start}.safetensors", kind).state_dict()
        assert set(weights) == set(begun)
        likeness = []
        for name in weights:
            ours, started = weights[name].flatten(), begun[name].flatten()
            assert "num_batches" in name or not torch.equal(ours, started), name
            if weights[name].dim() > 1:
                likeness.append(torch.corrcoef(torch.stack([ours, started]))[0, 1].item())
        # Finetuning is a few small steps from its start; new networks have nothing of it.
        assert max(likeness) < 0.5 if "scratch" in defense else min(likeness) > 0.8


def test_end_to_end_history_begins_with_the_start(papers: Workflow) -> None:
    run = papers.folder / RUN
    for defense, epochs in (("defense_vae_e2e", 2), ("defense_vae_e2e_scratch", 3)):
        history = rows(run / f"end_to_end/{defense}/D.history.csv")
        assert [int(row["epoch"]) for row in history] == list(range(epochs + 1))
        start = history[0]
        assert start["loss"] == "" and float(history[1]["loss"]) > 0
        for images in ("attacked", "clean"):
            assert all(0 <= float(row[f"accuracy_{images}"]) <= 1 for row in history)
    # The finetuned pair begins as Defense-VAE-REC, and ends as the defence that the tables show.
    [rec] = long_rows(papers, 1, "fgsm", "gray_box", "rec")
    history = rows(run / "end_to_end/defense_vae_e2e/D.history.csv")
    assert float(history[0]["accuracy_attacked"]) == pytest.approx(float(rec["accuracy"]), abs=5e-5)
    [e2e] = long_rows(papers, 1, "fgsm", "gray_box", "e2e")
    assert float(history[-1]["accuracy_attacked"]) == pytest.approx(
        float(e2e["accuracy"]), abs=5e-5
    )


def long_rows(
    papers: Workflow, table: int, attack: str, threat_model: str, variant: str
) -> list[dict[str, str]]:
    wanted = {"attack": attack, "threat_model": threat_model, "variant": variant}
    found = rows(papers.folder / f"{TABLES[table]}.long.csv")
    return [row for row in found if wanted.items() <= row.items()]


# The tables


def test_tables_of_attacks_have_both_threat_models_of_each_variant(papers: Workflow) -> None:
    for number, variants in ((1, ("base", "rec", "e2e")), (7, ("base",))):
        [row] = rows(papers.folder / f"{TABLES[number]}.csv")
        assert (row["dataset"], row["attack"], row["classifier"]) == (DATA, "fgsm", "D")
        suffixes = ("", "_gray_box", "_clean")
        expected = [f"defense_vae_{v}{suffix}" for suffix in suffixes for v in variants]
        assert columns(row) == ["no_attack", "no_defense", *expected]
        numbers = {"_clean": "180", "_gray_box": "6", "": "4"}
        for variant in variants:
            for suffix, number_of_images in numbers.items():
                assert row[f"defense_vae_{variant}{suffix}_n"] == number_of_images
        assert (row["no_attack_n"], row["no_defense_n"]) == ("180", "6")


def test_tables_say_which_of_ours_is_the_papers_white_box(papers: Workflow) -> None:
    for number, path in TABLES.items():
        text = (papers.folder / f"{path}.md").read_text()
        assert ("stand beside our gray box" in text) == (number not in (3, 8))


def test_table2_has_a_column_for_each_choice_of_attacks(papers: Workflow) -> None:
    fgsm, cw = rows(papers.folder / f"{TABLES[2]}.csv")
    assert (fgsm["attack"], cw["attack"]) == ("fgsm", "cw")
    seen = {
        name: f"defense_vae_rec;trained_on={name}_gray_box"
        for name in ("all_three", "other_two", "other_two+deepfool")
    }
    assert set(columns(fgsm)) == {"no_attack", "no_defense", *seen.values()}
    assert fgsm[seen["other_two+deepfool"]] == "" and fgsm[f"{seen['other_two']}_n"] == "6"
    assert all(cw[f"{column}_n"] == "6" for column in seen.values())


def test_black_box_tables_are_over_the_evaluation_images(papers: Workflow) -> None:
    for number, variants in ((3, ("base", "rec")), (8, ("base",))):
        [row] = rows(papers.folder / f"{TABLES[number]}.csv")
        assert (row["classifier"], row["substitute"]) == ("D", "E")
        names = {f"defense_vae_{v}{suffix}" for v in variants for suffix in ("", "_clean")}
        assert set(columns(row)) == names | {"no_attack", "no_defense"}
        assert {row[f"{name}_n"] for name in columns(row)} == {"30"}


@pytest.mark.parametrize("table", TABLES)
def test_accuracies_are_those_of_the_files(papers: Workflow, table: int) -> None:
    seen = set()
    for row in rows(papers.folder / f"{TABLES[table]}.long.csv"):
        images, labels = classified(papers, table, row)
        model = load_network(papers.folder / RUN / classifier_file(row), "Classifier")
        with torch.no_grad():
            found = model(torch.from_numpy(images)).argmax(dim=1).numpy()
        assert int(row["correct"]) == (found == labels).sum(), row
        assert int(row["n"]) == len(labels)
        assert float(row["accuracy"]) == pytest.approx((found == labels).mean(), abs=5e-5)
        seen.add((row["attack"], row["threat_model"], row["variant"]))
    assert len(seen) == ACCURACIES[table]


def defense_of(row: dict[str, str]) -> str:
    """The defence of the config that a row is about."""
    variant, _, seen = row["variant"].partition(";trained_on=")
    names = {"other_two": f"without_{row['attack']}", "other_two+deepfool": "with_deepfool"}
    return f"defense_vae_{names[seen]}" if seen in names else DEPLOYED[variant]


def classifier_file(row: dict[str, str]) -> str:
    if row["defense"] == "none" or row["variant"] == "base":
        return "classifiers/plain/D.safetensors"
    if row["variant"] == "e2e":
        return "end_to_end/defense_vae_e2e/D.classifier.safetensors"
    training = defense_of(row).removesuffix("_rec")
    return f"classifiers/{training}/D.safetensors"


def classified(papers: Workflow, table: int, row: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """The images that the classifier of a row is shown, from the files, and their labels."""
    run, attack, black_box = papers.folder / RUN, row["attack"], table in (3, 8)
    defended = row["defense"] != "none"
    purifier = f"{defense_of(row).removesuffix('_rec')}@D" if defended else ""
    if attack == "none":
        images, labels = read_split(run.parent / "dataset.h5", "test")
        if defended:
            images = read_image_set(run / f"purified/clean/{purifier}/test.h5").images
        return (images[150:], labels[150:]) if black_box else (images, labels)
    if black_box:
        folder = f"purified/black_box/{purifier}" if defended else "black_box"
        found = read_image_set(run / folder / f"plain/D/E/{attack}.h5")
    elif defended:
        path = run / f"attacked/{defense_of(row)}/D/{attack}.h5"
        found = read_image_set(path, group=row["threat_model"])
    else:
        found = read_image_set(run / f"adversarial/plain/D/{attack}.h5")
    return found.images, found.labels


def test_the_gray_box_is_of_the_undefended_columns_images(papers: Workflow) -> None:
    """What stands in the file is what the VAE makes of the images against the bare classifier."""
    torch.set_num_threads(1)
    run = papers.folder / RUN
    bare = read_image_set(run / "adversarial/plain/D/fgsm.h5")
    for variant, network in (
        ("rec", "vaes/defense_vae/D.safetensors"),
        ("e2e", "end_to_end/defense_vae_e2e/D.vae.safetensors"),
    ):
        path = run / f"attacked/{DEPLOYED[variant]}/D/fgsm.h5"
        vae = load_network(run / network, "DefenseVAE")
        with torch.no_grad():
            purified = vae(torch.from_numpy(bare.images))
        found = torch.from_numpy(read_image_set(path, group="gray_box").images)
        torch.testing.assert_close(found, purified, atol=1e-5, rtol=0)
        white = read_image_set(path, group="white_box")
        assert not np.allclose(white.fields["adversarial"], bare.images[: len(white.labels)])


def test_table4_has_the_vae_and_each_search_with_its_speed_up(papers: Workflow) -> None:
    found = rows(papers.folder / "results/defense_vae/table4.csv")
    places = [(r["defense"], r["iterations_L"], r["restarts_R"]) for r in found]
    assert places == [
        ("defense_vae@D", "", ""),
        ("defense_gan", "2", "1"),
        ("defense_gan", "2", "2"),
    ]
    assert [r["images"] for r in found] == ["8", "4", "4"]
    assert float(found[0]["speed_up"]) == 1
    assert all(float(r["speed_up"]) > 0 and float(r["seconds_per_1000"]) > 0 for r in found)


# Figures and the page


def test_figures_are_there_as_png_pdf_and_points(papers: Workflow) -> None:
    for number in (1, 4, 5):
        figure = papers.folder / f"results/defense_vae/figure{number}"
        assert figure.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert figure.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert figure.with_suffix(".csv").exists() == (number == 4)


def test_figure4_draws_the_histories(papers: Workflow) -> None:
    drawn = rows(papers.folder / "results/defense_vae/figure4.csv")
    histories = [
        float(row["accuracy_attacked"])
        for defense in ("defense_vae_e2e", "defense_vae_e2e_scratch")
        for row in rows(papers.folder / RUN / f"end_to_end/{defense}/D.history.csv")
    ]
    assert [float(point["accuracy"]) for point in drawn] == pytest.approx(histories, abs=1e-4)


def test_page_has_every_table_and_figure_and_its_links_lead_somewhere(papers: Workflow) -> None:
    page = papers.folder / "results/defense_vae.md"
    text = page.read_text()
    headings = re.findall(r"^## ([^:\n]+)", text, re.MULTILINE)
    tables = [f"Table {number}" for number in (1, 2, 3, 4, 7, 8)]
    figures = [f"Figure {number}" for number in (1, 4, 5)]
    assert sorted(headings) == sorted(["Agreement with the paper", *tables, *figures])
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == 5 + 3  # Table 4 stands there whole
    for link in links:
        assert (page.parent / link).is_file(), link


# What an edit makes stale.
