"""Defense-GAN's Table 12 on CelebA in miniature."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY, Workflow
from made_up_celeba import write_celeba

from purification.storage import read_checkpoint, read_image_set


@pytest.fixture(scope="module")
def table12(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("table12") / "workflow")
    workflow.config = yaml.safe_load((REPOSITORY / "tests/celeba.yaml").read_text())
    write_celeba(workflow.folder / "data")
    workflow.run("results/table12.csv")
    return workflow


def rows(workflow: Workflow, name: str) -> list[dict[str, str]]:
    with (workflow.folder / "results" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_table12_has_a_row_for_each_unit(table12: Workflow) -> None:
    ours, published = rows(table12, "table12.csv")
    assert [(r["dataset"], r["attack"], r["epsilon"]) for r in (ours, published)] == [
        ("celeba", "fgsm", "0.3"),
        ("celeba", "fgsm_published", "0.3"),
    ]
    for row in (ours, published):
        for column in ("no_attack", "no_defense", "defense_gan_rec"):
            assert 0 <= float(row[column]) <= 1 and int(row[f"{column}_n"]) in (4, 12)
    # The label is the colour of the picture: two classes are learnt in an instant, ten guessed.
    assert float(ours["no_attack"]) >= 0.75
    text = (table12.folder / "results/table12.md").read_text()
    assert "epsilon is in units of images in [-1, 1]: 0.3 is 0.15 in those of our images" in text
    assert "# Defense-GAN, Table 12" in text


def test_paper_values_stand_beside_the_published_units_only(table12: Workflow) -> None:
    long = rows(table12, "table12.long.csv")
    beside = {
        (r["attack"], r["threat_model"], r["defense"]): r["paper_value"]
        for r in long
        if r["paper_value"]
    }
    assert beside == {
        ("none", "none", "none"): "0.9476",
        ("fgsm_published", "white_box", "none"): "0.0605",
        ("fgsm_published", "white_box", "defense_gan"): "0.9205",
    }
    assert {(r["attack"], r["pixel_range"]) for r in long} == {
        *(("none", ""), ("fgsm", ""), ("fgsm_published", "[-1, 1]")),
    }
    assert {r["epsilon"] for r in long if r["attack"] != "none"} == {"0.3"}


def test_published_strength_is_half_of_it_in_our_range(table12: Workflow) -> None:
    attacked = table12.folder / "results/celeba/seed0/adversarial/plain/D"
    for attack, strength in (("fgsm", 0.3), ("fgsm_published", 0.15)):
        linf = read_image_set(attacked / f"{attack}.h5").fields["linf"]
        assert linf == pytest.approx(np.full(12, strength), abs=1e-6)


def test_classifiers_have_two_classes(table12: Workflow) -> None:
    from purification.models.checkpoints import load_network

    folder = table12.folder / "results/celeba/seed0/classifiers"
    for training in ("plain", "defense_gan_celeba"):
        path = folder / training / "D.safetensors"
        assert read_checkpoint(path)[1]["classes"] == "2"
        assert load_network(path, "Classifier")[-1].out_features == 2


def test_missing_files_are_named_before_anything_else_runs(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    workflow.config = yaml.safe_load((REPOSITORY / "tests/celeba.yaml").read_text())
    failed = workflow.run("results/table12.csv", check=False)
    assert failed.returncode != 0
    assert "img_align_celeba/ (or img_align_celeba.zip), list_attr_celeba.txt" in failed.stdout
    assert str(workflow.folder / "data/celeba") in failed.stdout
    assert not list((workflow.folder / "results").rglob("*.safetensors"))
