"""The inference rule measured: what is searched, its cost and accuracies; its table. No time is
asserted."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from purification.evaluation import inference_rule as module
from purification.evaluation.inference_rule import rule_rows, three_ways
from purification.models.ae_gan import AEGAN
from purification.models.checkpoints import classifier_of, load_network, save_network
from purification.models.prediction import predict
from purification.purifiers.batches import purify_images
from purification.purifiers.loading import load_purifier
from purification.reporting.csv_files import write_numbers
from purification.reporting.inference_rule import rule_markdown, rule_table
from purification.storage import ImageSet, write_dataset, write_image_set, write_image_sets

pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")
CPU = torch.device("cpu")
STEPS = 3


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    """A small AE-GAN whose threshold is its median score on clean images, and two attacked sets."""
    shape, random = (1, 28, 28), np.random.default_rng(0)
    network = {"kind": "AEGAN", "settings": {"latent": 3, "width": 2}}
    save_network(tmp_path / "ae.safetensors", AEGAN(3, 2, shape), network, shape)
    classifier = {"kind": "Classifier", "settings": {"architecture": "C", "dropout": "paper"}}
    save_network(tmp_path / "c.safetensors", classifier_of(classifier, shape), classifier, shape)
    images, labels = random.random((8, *shape), np.float32), random.integers(0, 10, 8)
    write_dataset(tmp_path / "data.h5", {"test": (images, labels)}, {})
    attacked = random.random((6, *shape), np.float32)
    write_image_set(tmp_path / "plain.h5", ImageSet(attacked, labels[:6]), {})
    held = ImageSet(attacked * 0, labels[:6], {"adversarial": attacked})
    write_image_sets(tmp_path / "defended.h5", {"gray_box": held}, {})
    settings = {"search": True, "steps": STEPS, "step_size": 1.0, "doubling": 5}
    purifier = {
        **{"name": "ae_gan_rs", "seed": 0, "method": "ae_gan", "settings": settings},
        "networks": {"generator": network},
    }
    files = {"generator": str(tmp_path / "ae.safetensors")}
    score = load_purifier(purifier, files).score(torch.from_numpy(images))
    settings["threshold"] = float(score.detach().median())
    gray = {"attack": "fgsm", "epsilon": 0.1, "threat_model": "gray_box", "set": "attacked"}
    clean = {"attack": "none", "epsilon": None, "threat_model": "none", "set": "clean test"}
    return {
        **{"dataset": {"name": "digits"}, "seed": 0, "classifier_name": "C"},
        **{"repeats": 2, "images": 4, "purifier": purifier, "files": files},
        "classifier": str(tmp_path / "c.safetensors"),
        "sets": [
            clean | {"images": str(tmp_path / "data.h5"), "split": "test"},
            gray | {"images": str(tmp_path / "plain.h5"), "group": None},
            gray | {"images": str(tmp_path / "defended.h5"), "group": "gray_box", "set": "again"},
        ],
    }


def test_rows_say_what_the_rule_searches(recipe: dict[str, Any]) -> None:
    rows = rule_rows(recipe, CPU, batch_size=3)
    clean = rows[0]
    searched = 4 / 8  # those above the (lower) median
    assert clean["share_searched"] == searched
    assert clean["mean_evaluations"] == 1 + searched * (STEPS + 1)
    assert clean["evaluations_always"] == STEPS + 1
    assert [row["n"] for row in rows] == [8, 6, 6]
    assert [row["set"] for row in rows] == ["clean test", "attacked", "again"]
    columns = [name for name in clean if "seconds" not in name and "time_saved" not in name]
    same = [{name: row[name] for name in columns if name != "set"} for row in rows[1:]]
    assert same[0] == same[1], "a defence's file holds the attacked images as a field"


def test_shares_and_accuracies_are_those_of_the_saved_sets(recipe: dict[str, Any]) -> None:
    images = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    ways = three_ways(load_purifier(recipe["purifier"], recipe["files"]))
    classifier = load_network(recipe["classifier"], "Classifier")
    labels = np.arange(8) % 10
    row = module._measured(ways, classifier, images, labels, 3)
    for name, way in ways.items():
        purified = purify_images(way, images, batch_size=8, device=CPU)
        right = predict(classifier, purified.images, device=CPU).argmax(1).numpy() == labels
        assert row[f"accuracy_{name}"] == right.mean()
        if name == "rule":
            assert row["share_searched"] == float(way.suspicious(purified.score).float().mean())


def test_a_purifier_without_threshold_is_refused(recipe: dict[str, Any]) -> None:
    del recipe["purifier"]["settings"]["threshold"]
    with pytest.raises(ValueError, match="without one there is no rule"):
        rule_rows(recipe, CPU, batch_size=3)


def test_table(recipe: dict[str, Any], tmp_path: Path) -> None:
    rows = rule_rows(recipe, CPU, batch_size=3)
    for way in module.WAYS:
        low, median, high = (rows[0][f"seconds_per_1000_{way}{end}"] for end in ("_q1", "", "_q3"))
        assert 0 < low <= median <= high
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    table = rule_table([tmp_path / "rows.csv"])
    write_numbers(table, tmp_path / "rule.csv")
    assert rule_table([tmp_path / "rule.csv"]).shape == table.shape
    text = rule_markdown(table, title="Rule")
    assert "## digits, ae_gan_rs, classifier C, seed 0" in text
    assert "| clean test | 8 | 50.0 % | 3.00 | 4.00 | " in text
    assert "| attacked by fgsm 0.1 | 6 | " in text
    with pytest.raises(ValueError, match="two rows for one set of images"):
        rule_table([tmp_path / "rows.csv"] * 2)
    with pytest.raises(ValueError, match="no files"):
        rule_table([])
