"""A randomised Defense-GAN in a table, judged by its protocols."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Jobs, Workflow, rows

from purification.evaluation.protocols import judging_seed
from purification.models.checkpoints import load_network
from purification.models.prediction import predict
from purification.purifiers import Defended
from purification.purifiers.batches import purify_images
from purification.purifiers.loading import load_purifier
from purification.randomness import draw_seeds
from purification.storage import (
    read_attributes,
    read_field,
    read_image_set,
    read_split,
    read_state,
)

REDRAWN = {
    **{"method": "defense_gan", "generator": "wgan_gp", "steps": 3, "restarts": 2},
    **{"step_size": 10.0, "momentum": 0.7, "starts": "prior", "classifier": "originals"},
    **{"threat_models": ["gray_box", "white_box", "white_box_fixed"], "clean_images": 20},
    **{"redraw": True, "judged_draws": 3},
}
FIXED = {**REDRAWN, "threat_models": ["gray_box", "white_box"]}
del FIXED["redraw"], FIXED["judged_draws"]
VOTED = {
    **{"method": "gaussian_noise", "deviation": 0.4, "draws": 3, "aggregation": "vote"},
    **{"classifier": "originals", "threat_models": ["gray_box", "white_box", "white_box_fixed"]},
    **{"clean_images": 20, "judged_draws": 2},
}
DIFFUSED = {
    **{"method": "diffpure", "generator": "diffusion", "time": 0.3, "denoising_steps": 2},
    **{"classifier": "originals", "threat_models": ["gray_box", "white_box", "white_box_bpda"]},
    **{"clean_images": 20, "judged_draws": 2},
}
TABLE = {"form": "direct", "datasets": ["digits"], "classifiers": ["D"], "attacks": ["eot"]}
PLACE = "results/digits/seed0"


@pytest.fixture
def drawn(tmp_path: Path) -> Workflow:
    workflow = Workflow(tmp_path / "workflow")
    attack = {**{"method": "fgsm", "epsilon": 0.1, "expectation": 2}}
    attack["images"] = {"gray_box": 12, "white_box": 6, "white_box_bpda": 6}
    workflow.config["attacks"]["eot"] = attack
    workflow.config["defenses"] |= {"redrawn": REDRAWN, "same": FIXED, "voted": VOTED}
    workflow.config["defenses"]["diffused"] = DIFFUSED
    defenses = ["redrawn", "same", "voted", "diffused"]
    workflow.config["tables"] = {"mine": {**TABLE, "defenses": defenses}}
    return workflow


def test_a_randomised_defense_stands_in_a_table(drawn: Workflow) -> None:
    pictures = [f"{PLACE}/diffusions/diffusion.{one}.png" for one in ("samples", "curve")]
    drawn.run("results/mine.csv", *pictures)
    _diffused(drawn)
    results = drawn.folder / "results"
    found = [row for row in rows(results / "mine.long.csv") if row["defense"] == "redrawn"]
    judged = {(row["threat_model"], row["protocol"]): row for row in found}
    fresh, every = ("one_shot", "1", "3"), ("evaluations", "3", "3")
    said = [
        (row["threat_model"], row["protocol"], row["evaluations"], row["draws"]) for row in found
    ]
    assert said == [
        *(("none", *fresh), ("none", *every)),
        *(("white_box", *fresh), ("white_box", *every)),
        *(("white_box_fixed", *fresh), ("white_box_fixed", "fixed", "1", "1")),
        *(("gray_box", *fresh), ("gray_box", *every)),
    ]

    # Each number from the predictions of the files.
    file = drawn.folder / PLACE / "attacked/redrawn/D/eot.h5"
    for name in ("white_box", "gray_box", "white_box_fixed"):
        labels, drawn_classes = (read_field(file, f, group=name) for f in ("labels", "predictions"))
        assert drawn_classes.shape == (len(labels), 3)
        right = drawn_classes == labels[:, None]
        row = judged[name, "one_shot"]
        assert float(row["accuracy"]) == pytest.approx(right.mean(), abs=1e-4)
        assert int(row["correct"]) == right.sum()
        assert float(row["spread"]) == pytest.approx(right.mean(0).std(ddof=1), abs=1e-4)
        if name != "white_box_fixed":
            row = judged[name, "evaluations"]
            assert int(row["correct"]) == right.all(axis=1).sum()
            assert row["spread"] == ""
    known = read_field(file, "known_predictions", group="white_box_fixed")
    labels = read_field(file, "labels", group="white_box_fixed")
    assert int(judged["white_box_fixed", "fixed"]["correct"]) == (known == labels).sum()
    # The attack's own success is on the known draw, too.
    success = read_field(file, "success", group="white_box_fixed")
    assert (success == (known != labels)).all()
    clean = drawn.folder / PLACE / "purified/clean/redrawn/test.h5"
    assert set(read_attributes(clean)) == {"draw1", "draw2", "draw3"}
    first, second = (read_field(clean, "images", group=f"draw{k}") for k in (1, 2))
    assert not np.array_equal(first, second)

    _computed_again(drawn, file, clean)

    _voted_again(
        drawn, [row for row in rows(results / "mine.long.csv") if row["defense"] == "voted"]
    )

    # The deterministic one beside it has one row each, and no protocol.
    same = [row for row in rows(results / "mine.long.csv") if row["defense"] == "same"]
    assert [row["threat_model"] for row in same] == ["none", "white_box", "gray_box"]
    assert {row[name] for row in same for name in ("protocol", "draws", "spread")} == {""}
    (wide,) = rows(results / "mine.csv")
    for column in ("redrawn", "redrawn_3_evaluations", "redrawn_fixed", "redrawn_fixed_fresh"):
        assert wide[column.replace("redrawn", "redrawn_orig")] != "", column
    for column in ("redrawn_orig_clean", "redrawn_orig_clean_3_evaluations", "same_orig"):
        assert wide[column] != "", column
    page = (results / "mine.md").read_text()
    assert ", all of 3 draws" in page and ", 3 draws ± " in page

    # Of the bare classifier and of the deterministic defence the expectation is no setting.
    assert drawn.stale("results/mine.csv") == Jobs({}, set())
    drawn.config["attacks"]["eot"]["expectation"] = 3
    assert drawn.stale("results/mine.csv").rules == {
        **{"attack_defense": 3, "measure": 1, "paper_table": 1}
    }
    drawn.config["attacks"]["eot"]["expectation"] = 2
    drawn.config["defenses"]["redrawn"]["judged_draws"] = 2
    assert drawn.stale("results/mine.csv").rules == {
        **{"attack_defense": 1, "purify_images": 1, "measure": 2, "paper_table": 1}
    }


def _diffused(workflow: Workflow) -> None:
    """A diffusion model's files, and the rows of a purifier on it."""
    run = workflow.folder / PLACE / "diffusions"
    history = rows(run / "diffusion.history.csv")
    assert [row["iteration"] for row in history] == ["10", "20"]
    assert all(0 < float(row["loss"]) < 5 for row in history)
    state, metadata = read_state(run / "diffusion.state.safetensors")
    assert metadata["iteration"] == "20" and any(name.startswith("averaged.") for name in state)
    model = load_network(run / "diffusion.safetensors", "Diffusion")
    averaged = state["averaged.network.first.weight"]
    assert torch.equal(model.network.first.weight.detach(), averaged)
    found = rows(workflow.folder / "results/mine.long.csv")
    said = [(row["threat_model"], row["protocol"]) for row in found if row["defense"] == "diffused"]
    models = ("none", "white_box", "gray_box", "white_box_bpda")
    assert said == [(name, one) for name in models for one in ("one_shot", "evaluations")]
    # A longer training goes on from the state, and remakes what was made of the shorter one.
    workflow.config["generators"]["diffusion"]["iterations"] = 30
    stale = workflow.stale("results/mine.csv").rules
    assert stale["train_diffusion"] == 1 and stale["attack_defense"] == 1
    workflow.config["generators"]["diffusion"]["iterations"] = 20


def _voted_again(workflow: Workflow, found: list[dict[str, str]]) -> None:
    """Votes of several draws, by the model that an attacker attacks, at the judgement's seeds."""
    run = workflow.folder / PLACE
    file, clean = run / "attacked/voted/D/eot.h5", run / "purified/clean/voted/test.h5"
    with h5py.File(file) as held:
        recipe = json.loads(held.attrs["recipe"])
    network = load_network(run / "classifiers/plain/D.safetensors", "Classifier")
    model = Defended(load_purifier(recipe["purifier"], {}, (1, 28, 28)), network)
    assert len(read_attributes(clean)) == 6

    def right(images: np.ndarray, labels: np.ndarray, draw: int, known: bool = False) -> np.ndarray:
        seeds = draw_seeds(judging_seed(recipe, known), range(len(images)), draw)
        with torch.no_grad():
            return model(torch.from_numpy(images), seeds).argmax(1).numpy() == labels

    images, labels = read_split(workflow.folder / "results/digits/dataset.h5", "test", 20)
    expected = {"none": np.stack([right(images, labels, draw) for draw in range(2)])}
    for name in ("white_box", "gray_box", "white_box_fixed"):
        attacked = read_image_set(file, group=name)
        given = (attacked.fields["adversarial"], attacked.labels)
        expected[name] = np.stack([right(*given, draw) for draw in range(2)])
    expected["fixed"] = right(*given, 0, known=True)[None]
    for row in found:
        one_shot = row["protocol"] == "one_shot"
        made = expected["fixed" if row["protocol"] == "fixed" else row["threat_model"]]
        assert int(row["correct"]) == (made.sum() if one_shot else made.all(axis=0).sum()), row
    assert len(found) == 8
    # One draw alone is another defence.
    singles = [read_image_set(clean, group=f"draw{k}").images for k in (1, 4)]
    alone = [predict(network, torch.from_numpy(one), device="cpu").argmax(1) for one in singles]
    assert (np.stack(alone) == labels).sum() != expected["none"].sum()


def _computed_again(workflow: Workflow, file: Path, clean: Path) -> None:
    """Purified images and predictions of all draws, from the checkpoints that they were made from,
    in the batches in which they were made."""
    run = workflow.folder / PLACE
    with h5py.File(file) as held:
        recipe = json.loads(held.attrs["recipe"])
    files = {"generator": str(run / "generators/wgan_gp.safetensors")}
    purifier = load_purifier(recipe["purifier"], files)
    classifier = load_network(run / "classifiers/plain/D.safetensors", "Classifier")
    judged, known = judging_seed(recipe), judging_seed(recipe, known=True)
    assert judged != known

    def again(images: np.ndarray, seed: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
        seeds = draw_seeds(seed, range(len(images)), draw)
        given = {"batch_size": 4, "device": torch.device("cpu"), "seeds": seeds}
        made = purify_images(purifier, torch.from_numpy(images), **given).images
        classes = predict(classifier, made, batch_size=4, device="cpu").argmax(dim=1)
        return made.numpy(), classes.numpy()

    for name in ("white_box", "gray_box", "white_box_fixed"):
        attacked = read_image_set(file, group=name)
        adversarial = attacked.fields["adversarial"]
        found = [again(adversarial, judged, draw) for draw in range(3)]
        assert (np.stack([one[1] for one in found], 1) == attacked.fields["predictions"]).all()
        first = found[0]
        if name == "white_box_fixed":
            first = again(adversarial, known, 0)
            assert (first[1] == attacked.fields["known_predictions"]).all()
        np.testing.assert_allclose(first[0], attacked.images, atol=1e-5)
        if name != "gray_box":
            assert (attacked.fields["success"] == (first[1] != attacked.labels)).all()
    images, _ = read_split(workflow.folder / "results/digits/dataset.h5", "test", 20)
    for draw in range(3):
        stored = read_image_set(clean, group=f"draw{draw + 1}").images
        np.testing.assert_allclose(again(images, judged, draw)[0], stored, atol=1e-5)
