"""The artifacts of the target cowboy in miniature, and what an edit changes in their recipes."""

from typing import Any

from conftest import DEFAULT, SCHEMA, digests, micro_catalogue

from purification.experiments import (
    PAPERS,
    Catalogue,
    detection_runs,
    discriminator_scores,
    mcnemar_table,
    paper_figure,
    paper_table,
    training_course,
)
from purification.experiments.cowboy import all_scores

DATA = "digits_black_box"
TABLES = [study.name for study in PAPERS["cowboy"].tables]
FIGURES = [study.name for study in PAPERS["cowboy"].figures]
RUN = f"results/{DATA}/seed0"


def test_validation_images_are_attacked_whole_and_apart_from_the_test_images() -> None:
    [scores] = all_scores(micro_catalogue())
    validation, test = scores.attacked["fgsm"]
    assert (validation.split, validation.images, test.split, test.images) == (
        *("validation", None),
        *("test", 12),
    )
    assert validation.path != test.path and validation.classifier == test.classifier
    assert set(scores.inputs) == {
        *("dataset", "gan", "fgsm_validation", "fgsm_test"),
    }


def test_a_row_of_the_comparison_for_each_attack_and_seed() -> None:
    catalogue = micro_catalogue(seeds=[0, 1], cowboy_table2={"attacks": ["fgsm", "pgd"]})
    found = mcnemar_table(catalogue).job["rows"]
    labels = [(row["labels"]["seed"], row["labels"]["attack"]) for row in found]
    assert labels == [(0, "fgsm"), (0, "pgd"), (1, "fgsm"), (1, "pgd")]
    for row in found:
        assert row["first"]["group"] == row["second"]["group"] == "gray_box"
        assert f"/attacked/{row['labels']['second']}/D/" in row["second"]["images"]
        assert f"seed{row['labels']['seed']}/" in row["first"]["images"]


def test_figures_show_the_first_seed_alone() -> None:
    catalogue = micro_catalogue(seeds=[3, 1])
    for name in FIGURES:
        figure = paper_figure(catalogue, name)
        assert all("seed3/" in path or path.endswith("dataset.h5") for path in figure.files)
    assert paper_figure(catalogue, "cowboy_figure1").content == {"seed": 3, "gan_steps": 100}
    # A default of the code is not in the recipe.
    assert paper_figure(Catalogue(DEFAULT, SCHEMA), "cowboy_figure1").content == {"seed": 0}
    assert len(detection_runs(catalogue).job["runs"]) == 2


def files_of(catalogue: Catalogue) -> dict[str, str]:
    """All that the target makes but the page, which has a digest of all of it."""
    tables = [paper_table(catalogue, name) for name in TABLES]
    figures = [paper_figure(catalogue, name) for name in FIGURES]
    course = training_course(catalogue, DATA, 0)
    compared, detected = mcnemar_table(catalogue), detection_runs(catalogue)
    further = {"cowboy/mcnemar.csv": compared.digest, "cowboy/detection.csv": detected.digest}
    scores = discriminator_scores(catalogue, DATA, 0)
    return digests(tables, figures, course, scores) | further


def stale(**changes: Any) -> set[str]:
    before, after = files_of(micro_catalogue()), files_of(micro_catalogue(**changes))
    assert set(before) == set(after)
    changed = [path for path in before if before[path] != after[path]]
    return {path.removeprefix(f"{RUN}/").removeprefix("results/") for path in changed}


OF_COWBOY = {
    *("purified/clean/cowboy/test.h5", "attacked/cowboy/D/fgsm.h5"),
    *("courses/cowboy.cleaning.csv", "courses/cowboy.scores.csv"),
    *(
        f"measurements/cowboy_table{n}/D/{attack}.csv"
        for n in (1, 2)
        for attack in ("none", "fgsm")
    ),
    *("cowboy/table1.csv", "cowboy/table2.csv", "cowboy/mcnemar.csv"),
    *(f"cowboy/figure{n}.png" for n in range(5, 8)),
}
"""What has the purifier `cowboy`."""
OF_SCORES = {
    *("scores/cowboy.csv", "cowboy/detection.csv", "cowboy/figure3.png", "cowboy/figure4.png"),
}
"""What has its discriminator alone."""


def test_sigma_concerns_cowboy_and_not_the_search_beside_it() -> None:
    assert stale(defenses={"cowboy": {"sigma": 3.0}}) == OF_COWBOY


def test_snapshots_concern_the_gan_and_all_that_is_made_with_it() -> None:
    """They are of the same training, and lie beside the network."""
    assert stale(generators={"dcgan": {"snapshots": [6, 60]}}) == OF_COWBOY | OF_SCORES | {
        *("gans/dcgan.safetensors", "purified/clean/cowboy_reconstruction/test.h5"),
        "attacked/cowboy_reconstruction/D/fgsm.h5",
    }


def test_the_search_beside_it_concerns_table_2() -> None:
    change = {"cowboy_reconstruction": {"step_size": 0.3}}
    assert stale(defenses=change) == {
        *("purified/clean/cowboy_reconstruction/test.h5",),
        *("attacked/cowboy_reconstruction/D/fgsm.h5", "cowboy/table2.csv", "cowboy/mcnemar.csv"),
        *(f"measurements/cowboy_table2/D/{attack}.csv" for attack in ("none", "fgsm")),
    }


def test_settings_of_detection_concern_it_alone() -> None:
    assert stale(cowboy_detection={"exponents": [2]}) == {"cowboy/detection.csv"}


def test_cleaning_steps_concern_the_course() -> None:
    course = {f"courses/cowboy.{name}.csv" for name in ("cleaning", "scores")}
    course |= {"cowboy/figure6.png", "cowboy/figure7.png"}
    assert stale(cowboy_figure6={"cleaning_steps": [2, 3]}) == course
