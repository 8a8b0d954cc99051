"""Quirks of published code in a table, beside the same without, in miniature."""

from pathlib import Path

import numpy as np
from conftest import Workflow, rows

from purification.storage import read_attributes, read_field, read_split

PREDICTED = {"method": "fgsm", "epsilon": 0.1, "quirks": ["predicted_labels"]}
PREDICTED |= {"images": {"gray_box": 6, "white_box": 4, "white_box_bpda": 4}}
BLOCKED = {"method": "redeployed", "purifier": "defense_gan", "classifier": "originals"}
BLOCKED |= {"threat_models": ["white_box"], "quirks": ["no_gradient"]}


def test_a_number_with_a_quirk_is_told_wherever_it_stands(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    workflow.config["attacks"]["predicted"] = PREDICTED
    workflow.config["defenses"]["blocked"] = BLOCKED
    table = {"datasets": ["digits"], "classifiers": ["D"], "attacks": ["predicted"]}
    workflow.config["table4"] = {**table, "defenses": ["defense_gan_orig", "blocked"]}
    workflow.run("results/table4.md")

    results = workflow.folder / "results"
    long = {
        (row["threat_model"], row["defense"], row["quirks"]): row
        for row in rows(results / "table4.long.csv")
    }
    predicted, both = "predicted_labels", "no_gradient;predicted_labels"
    attacked = {("white_box", "none"), ("white_box", "defense_gan"), ("gray_box", "defense_gan")}
    attacked |= {("white_box_bpda", "defense_gan")}
    assert {key[:2] for key in long if key[2] == predicted} == attacked
    assert {key[:2] for key in long if not key[2]} == {("none", "none"), ("none", "defense_gan")}
    still = long["white_box", "defense_gan", both]
    assert float(still["zero_gradient_share"]) == 1 and "zero_gradient" in still["flags"]
    [line] = rows(results / "table4.csv")
    assert line["quirks"] == predicted and line["defense_gan_orig"] != ""
    assert line["defense_gan_orig+no_gradient"] == still["accuracy"]
    page = (results / "table4.md").read_text()
    assert "\n## Quirks of published code\n" in page and "\n`no_gradient`: no gradient" in page
    assert "quirks ['predicted_labels']" in page and "quirks ['no_gradient']" in page

    # FGSM without a gradient gives back the images that it was given, and nothing refuses it.
    path = results / "digits/seed0/attacked/blocked/D/predicted.h5"
    assert list(read_attributes(path)) == ["white_box"]
    given = read_split(results / "digits/dataset.h5", "test")[0][:4]
    np.testing.assert_array_equal(read_field(path, "adversarial", group="white_box"), given)
