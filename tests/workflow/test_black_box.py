"""Tables 1 and 2 in miniature: black-box attacks. Table 2's attacker asks what is deployed."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DEFAULT, SCHEMA, Workflow, merged

from purification.evaluation.measure import measure
from purification.experiments import Catalogue, measurement
from purification.models.checkpoints import load_network
from purification.storage import read_checkpoint, read_image_set, read_split

RUN = "results/digits_black_box/seed0"
TABLES = ("results/table1.csv", "results/table2.csv")
QUERIES = 2 * 150  # in two rounds: the attacker's images, and a new one of each
COLUMNS = [
    *("no_attack", "no_defense", "defense_gan_rec", "defense_gan_orig"),
    *("adv_tr", "adv_tr_eps=0.05"),
]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_have_the_papers_columns_over_the_evaluation_images(papers: Workflow) -> None:
    [row] = rows(papers.folder / TABLES[0])
    assert (row["attack"], row["classifier"], row["substitute"]) == ("fgsm", "D", "E")
    names = [name for name in list(row)[5:] if not name.endswith(("_n", "_std"))]
    assert names[: len(COLUMNS)] == COLUMNS
    assert all(name.endswith("_clean") for name in names[len(COLUMNS) :])
    for name in names:
        assert 0 <= float(row[name]) <= 1
        assert row[f"{name}_n"] == "30"  # 180 test images, without the attacker's 150


def test_long_table_names_oracle_and_queries(papers: Workflow) -> None:
    attacked = {}
    for number in "12":
        long = rows(papers.folder / f"results/table{number}.long.csv")
        assert {row["queries"] for row in long if row["attack"] == "none"} == {""}
        attacked[number] = [row for row in long if row["attack"] == "fgsm"]
        assert {row["queries"] for row in attacked[number]} == {str(QUERIES)}
        assert {row["threat_model"] for row in attacked[number]} == {"black_box"}
    assert {row["oracle"] for row in attacked["1"]} == {"plain"}
    asked = {row["variant"]: row["oracle"] for row in attacked["2"]}
    assert asked == {"": "plain", "rec": "defense_gan"}
    # All columns see the same images where the attacker asks the plain classifier.
    assert len({(row["success_rate"], row["mean_l2"]) for row in attacked["1"]}) == 1
    text = (papers.folder / "results/table1.md").read_text()
    assert "black-box attacks on the defenses" in text and "| fgsm | 0.1 | D | E |" in text


def test_accuracies_are_those_of_the_files(papers: Workflow) -> None:
    folder = papers.folder / RUN
    clean, labels = (values[150:] for values in read_split(folder.parent / "dataset.h5", "test"))
    attacked = read_image_set(folder / "black_box/plain/D/E/fgsm.h5")
    assert (attacked.labels == labels).all()
    assert abs(attacked.images - clean).max() == pytest.approx(0.1, abs=1e-6)
    purified = read_image_set(folder / "purified/black_box/defense_gan/plain/D/E/fgsm.h5")
    long = rows(papers.folder / "results/table1.long.csv")
    found = {(r["attack"], r["defense"], r["variant"]): int(r["correct"]) for r in long}

    def correct(training: str, images: np.ndarray) -> int:
        model = load_network(folder / f"classifiers/{training}/D.safetensors", "Classifier")
        with torch.no_grad():
            return int((model(torch.from_numpy(images)).argmax(dim=1).numpy() == labels).sum())

    assert found["none", "none", ""] == correct("plain", clean)
    assert found["fgsm", "none", ""] == correct("plain", attacked.images)
    assert found["fgsm", "adv_training", "eps=0.1"] == correct("adv_training", attacked.images)
    assert found["fgsm", "defense_gan", "rec"] == correct("defense_gan", purified.images)
    assert found["fgsm", "defense_gan", "orig"] == correct("plain", purified.images)
    assert purified.attributes["queries"] == attacked.attributes["queries"] == QUERIES


def test_substitutes_record_their_oracle_and_queries(papers: Workflow) -> None:
    for oracle, purifier in (("plain", None), ("defense_gan", "defense_gan")):
        file = papers.folder / RUN / f"substitutes/{oracle}/D/E.safetensors"
        _, metadata = read_checkpoint(file)
        recipe = metadata["recipe"]
        assert metadata["queries"] == str(QUERIES)
        assert (recipe["purifier"] or {}).get("name") == purifier
        assert recipe["classifier"]["training"] == oracle
        history = rows(file.with_suffix(".history.csv"))
        assert [row["queries"] for row in history] == ["150", "300"]


def test_redeployed_purifier_is_neither_trained_nor_searched_twice(papers: Workflow) -> None:
    made = [path.relative_to(papers.folder / RUN) for path in papers.folder.glob(f"{RUN}/**/*")]
    assert not [path for path in made if "defense_gan_orig" in str(path)]
    of_classifiers = Counter(path.parts[1] for path in made if path.match("classifiers/*/D.saf*"))
    assert set(of_classifiers.values()) == {1}
    trainings = {"plain", "defense_gan", "adv_training", "adv_training_weak"}
    of_vaes = {name for name in of_classifiers if name.startswith("defense_vae")}
    assert set(of_classifiers) == trainings | of_vaes


def test_a_set_without_images_beyond_the_attackers_is_refused(
    papers: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(papers.folder)
    cell = {
        **{"labels": {}, "group": None, "split": None, "hold_out": True},
        "classifier": f"{RUN}/classifiers/plain/D.safetensors",
        "images": f"{RUN}/black_box/plain/D/E/fgsm.h5",
    }
    with pytest.raises(ValueError, match="there are only 30"):
        measure([cell])


def test_redeployed_defense_has_a_place_of_its_own_under_attack(papers: Workflow) -> None:
    """In Table 4 Rec and Orig of one purifier are attacked on their own."""
    every = {"threat_models": ["white_box", "gray_box", "white_box_bpda"]}
    own = {
        "table4": {"defenses": ["defense_gan", "defense_gan_orig"]},
        "defenses": {"defense_gan_orig": every},
    }
    config = merged(merged(DEFAULT, papers.config), own)
    cells = measurement(Catalogue(config, SCHEMA), "table4", "digits", 0, "D", "fgsm").cells
    names = [(c.labels["defense"], c.labels["variant"], c.labels["threat_model"]) for c in cells]
    assert len(set(names)) == len(names) == 7
    folders = {cell.images.path.split("/")[4] for cell in cells[1:]}
    assert folders == {"defense_gan", "defense_gan_orig"}


def test_redeployed_defense_that_is_the_same_makes_no_second_column(papers: Workflow) -> None:
    """Who makes `defense_gan` itself deploy the plain classifier need not touch the other entry."""
    own = {"defenses": {"defense_gan": {"classifier": "originals"}}}
    catalogue = Catalogue(merged(merged(DEFAULT, papers.config), own), SCHEMA)
    cells = measurement(catalogue, "table1", "digits_black_box", 0, "D", "fgsm").cells
    names = [(cell.labels["defense"], cell.labels["variant"]) for cell in cells]
    assert names.count(("defense_gan", "orig")) == 1 and len(set(names)) == len(names) == 4
