"""A discriminator's scores as a detector, their tables and pictures, and a rule's threshold."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from purification.evaluation import training_course as course_module
from purification.evaluation.detection import threshold_at
from purification.evaluation.discriminator import (
    DETECTION_COLUMNS,
    SCORE_COLUMNS,
    discriminator_detection,
    discriminator_scores,
)
from purification.evaluation.purifiers import fitted_purifier
from purification.evaluation.training_course import training_course
from purification.models.ae_gan import AEGAN
from purification.models.checkpoints import (
    classifier_of,
    load_network,
    load_snapshot,
    network_of,
    save_network,
    save_snapshots,
)
from purification.models.prediction import predict
from purification.purifiers.cowboy import Cowboy
from purification.randomness import isolated_rng
from purification.reporting import figures
from purification.reporting.cowboy import (
    detection_of,
    read_scores,
    score_extremes,
    test_and_real_scores,
    write_comparison,
    write_discriminator_detection,
)
from purification.reporting.figures import labelled_images
from purification.storage import ImageSet, read_image_set, write_dataset, write_image_set

test_and_real_scores.__test__ = False  # type: ignore[attr-defined]  # a function of the library
pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")
CPU = torch.device("cpu")
SHAPE = (1, 28, 28)
GAN = {"kind": "GAN", "settings": {"latent": 3, "width": 2}}


def scores_of(drop: float = 0.5) -> pd.DataFrame:
    """20 images a source and split. Attacked test images have the lower logits, `weak` ones equal
    them; of the validation images FGSM costs the classifier `drop`."""
    parts = []
    for split in ("validation", "test"):
        for source, shift in (("real", 0.0), ("fgsm", -4.0), ("weak", 0.0)):
            logit = np.linspace(-1, 1, 20) + shift
            part = pd.DataFrame({"index": range(20), "logit": logit, "score": sigmoid(logit)})
            if source != "real":
                cost = drop if source == "fgsm" else 0
                part["clean_correct"] = [1] * 19 + [0]
                part["correct"] = [0] * round(20 * cost) + [1] * (19 - round(20 * cost)) + [0]
            parts.append(part.assign(split=split, source=source))
    return pd.concat(parts, ignore_index=True).reindex(columns=SCORE_COLUMNS)


def sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def detected(scores: pd.DataFrame, **changes: Any) -> list[dict[str, Any]]:
    settings = {"threshold_attack": "fgsm", "exponents": [1, 4], "repeats": 20, "seed": 0}
    return discriminator_detection(scores, **(settings | changes))


def test_a_row_for_each_attack_and_exponent() -> None:
    found = detected(scores_of())
    assert [(r["attack"], r["exponent"]) for r in found] == [
        *(("fgsm", 1), ("fgsm", 4), ("weak", 1), ("weak", 4)),
    ]
    assert all(tuple(row) == DETECTION_COLUMNS and row["n"] == 20 for row in found)
    strong, weak = found[0], found[2]
    assert (strong["auc"], strong["auc_low"], strong["auc_high"]) == (1, 1, 1)
    assert weak["auc"] == pytest.approx(0.5) and weak["tpr"] == weak["fpr"]


def test_threshold_is_the_mean_of_validation_scores_under_the_attack_named() -> None:
    scores = scores_of()
    base = scores[(scores["split"] == "validation") & (scores["source"] == "fgsm")]["score"]
    mean, fourth = detected(scores)[:2]
    assert mean["threshold"] == pytest.approx(base.mean())
    assert fourth["threshold"] == pytest.approx((base**4).mean() ** 0.25)
    assert mean["tpr"] == pytest.approx((base < base.mean()).mean()) and mean["fpr"] == 0
    # No test image has a say.
    moved = scores.assign(score=scores["score"].where(scores["split"] == "validation", 0.9))
    assert detected(moved)[0]["threshold"] == mean["threshold"]


@pytest.mark.parametrize(("drop", "there"), [(0.5, True), (0.2, True), (0.15, False)])
def test_an_attack_that_costs_too_little_makes_no_threshold(drop: float, there: bool) -> None:
    for row in detected(scores_of(drop)):
        assert row["accuracy_drop"] == pytest.approx(drop)
        assert [row[name] is not None for name in ("threshold", "tpr", "fpr")] == [there] * 3


def test_attacked_images_are_paired_with_what_they_were_made_from() -> None:
    scores = scores_of()
    few = (scores["split"] != "test") | (scores["source"] != "fgsm") | (scores["index"] < 5)
    row = detected(scores[few])[0]
    assert row["n"] == 5
    # The five clean images of the lowest logits, -1 to -0.58, are all above -5 to -4.58.
    assert row["auc"] == 1 and row["fpr"] == 0


def test_unknown_threshold_attack_is_named() -> None:
    with pytest.raises(ValueError, match="no scores of 'pgd'; attacks there: fgsm, weak"):
        detected(scores_of(), threshold_attack="pgd")


def test_a_threshold_needs_validation_images() -> None:
    scores = scores_of()
    test_alone = (scores["split"] == "test") | (scores["source"] != "fgsm")
    with pytest.raises(ValueError, match="no scores of validation images under 'fgsm'"):
        detected(scores[test_alone], threshold_attack="fgsm")


# From the files


@pytest.fixture
def job(tmp_path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Recipe and files of scores and of a course: a GAN with two snapshots, seven images a split,
    five of them attacked."""
    random = np.random.default_rng(0)
    with isolated_rng(0):
        early, final = (network_of(GAN, SHAPE) for _ in range(2))
        classifier = {"kind": "Classifier", "settings": {"architecture": "C", "dropout": "paper"}}
        save_network(tmp_path / "c.st", classifier_of(classifier, SHAPE), classifier, SHAPE)
    states = {3: early.state_dict(), 9: final.state_dict()}
    save_snapshots(tmp_path / "s.st", states, GAN, SHAPE)
    save_network(tmp_path / "g.st", final, GAN, SHAPE)
    parts, files = {}, {"gan": "g.st", "snapshots": "s.st", "classifier": "c.st"}
    for split in ("validation", "test"):
        labels = random.integers(0, 10, 7)
        parts[split] = (random.random((7, *SHAPE), np.float32), labels)
        fields = {"predictions": (labels[:5] + 1) % 10, "clean_predictions": labels[:5]}
        attacked = random.random((5, *SHAPE), np.float32)
        write_image_set(tmp_path / f"{split}.h5", ImageSet(attacked, labels[:5], fields), {})
        files[f"fgsm_{split}"] = f"{split}.h5"
    write_dataset(tmp_path / "data.h5", parts, {})
    files |= {"dataset": "data.h5", "attacked": "test.h5"}
    settings = {"steps": 4, "restarts": 2, "step_size": 0.02, "momentum": 0.0}
    settings |= {"sigma": 1.0, "discriminator_weight": 1.0}
    purifier = {"method": "cowboy", "name": "cowboy", "seed": 0, "settings": settings}
    recipe = {
        "purifier": {**purifier, "networks": {"generator": GAN}},
        "dataset": {"name": "digits"},
        "attacked": {"fgsm": {"validation": "digest", "test": "digest"}},
    }
    return recipe, {name: str(tmp_path / path) for name, path in files.items()}


def test_scores_are_the_same_in_any_batch_and_of_both_splits(job: tuple) -> None:
    recipe, files = job
    found = pd.DataFrame(discriminator_scores(recipe, files, 3, CPU))
    assert tuple(found) == SCORE_COLUMNS
    counted = found.groupby(["split", "source"], sort=False).size().to_dict()
    assert counted == {
        (s, k): n for s in ("validation", "test") for k, n in (("real", 7), ("fgsm", 5))
    }
    whole = pd.DataFrame(discriminator_scores(recipe, files, 100, CPU))
    np.testing.assert_allclose(found["logit"], whole["logit"], atol=1e-6)
    np.testing.assert_allclose(found["score"], sigmoid(found["logit"].to_numpy()))
    attacked = found[found["source"] == "fgsm"]
    assert (attacked["correct"] == 0).all() and (attacked["clean_correct"] == 1).all()


def test_each_point_of_a_course_is_that_snapshots_purifier(
    job: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With that many steps; the images, too: an untrained classifier would not see another."""
    classified = []

    def kept(model: torch.nn.Module, images: torch.Tensor, **settings: Any) -> torch.Tensor:
        classified.append(images)
        return predict(model, images, **settings)

    monkeypatch.setattr(course_module, "predict", kept)
    recipe, files = job
    recipe = recipe | {
        **{"attacked": {"attack": {"name": "fgsm"}}, "training_steps": [3, 9]},
        "cleaning_steps": [2, 4],
    }
    cleaning, scores = training_course(recipe, files, 3, CPU)
    assert [(row["training_steps"], row["cleaning_steps"]) for row in cleaning] == [
        *((None, 0), (None, 0), (3, 2), (3, 4), (9, 2), (9, 4)),
    ]
    # The file says that the classifier is right before the attack and wrong after it.
    assert [row["accuracy"] for row in cleaning[:2]] == [1, 0]
    given = read_image_set(files["attacked"])
    model = load_network(files["classifier"], "Classifier")
    for row, images in zip(cleaning[2:], classified, strict=True):
        network = load_snapshot(files["snapshots"], row["training_steps"])
        own = recipe["purifier"]["settings"] | {"steps": row["cleaning_steps"]}
        changed = recipe["purifier"] | {"settings": own}
        purifier = Cowboy.of_recipe(changed, {"generator": network}, None)
        purified = purifier(torch.from_numpy(given.images)).detach()
        torch.testing.assert_close(images, purified, rtol=0, atol=1e-5)
        logits = predict(model, purified, device=CPU)
        right = (logits.argmax(dim=1).numpy() == given.labels).mean()
        assert row["accuracy"] == pytest.approx(right) and row["n"] == 5
    assert {row["n"] for row in scores} == {5}
    assert all(0 <= row["q25"] <= row["q75"] <= 1 and 0 <= row["mean"] <= 1 for row in scores)
    assert not any(torch.allclose(*two, atol=1e-4) for two in combinations(classified, 2))


# Tables and pictures


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A file of scores where the workflow has it: below data set and seed."""
    path = tmp_path / "digits/seed0/scores/cowboy.csv"
    path.parent.mkdir(parents=True)
    scores_of().to_csv(path, index=False)
    return path


def test_figure3_shows_real_validation_and_attacked_test_images(written: Path) -> None:
    shown = test_and_real_scores([written])
    assert list(shown) == ["dataset", "source", "score"]
    assert set(shown["dataset"]) == {"digits"}
    assert shown.groupby("source").size().to_dict() == {"real": 20, "fgsm": 20, "weak": 20}
    scores = scores_of()
    fgsm = scores[(scores["split"] == "test") & (scores["source"] == "fgsm")]["score"]
    np.testing.assert_allclose(shown[shown["source"] == "fgsm"]["score"], fgsm)


def test_files_without_a_column_are_refused(written: Path) -> None:
    scores_of().drop(columns=["logit", "split"]).to_csv(written, index=False)
    with pytest.raises(ValueError, match=r"cowboy\.csv: missing columns: split, logit"):
        read_scores(written)
    with pytest.raises(FileNotFoundError):
        read_scores(written.with_name("none.csv"))


def test_extremes_are_the_validation_images_of_the_lowest_and_highest_scores(
    written: Path,
) -> None:
    scores = scores_of()
    real = (scores["split"] == "validation") & (scores["source"] == "real")
    order = np.random.default_rng(0).permutation(20)
    scores.loc[real, "logit"] = np.linspace(-1, 1, 20)[order]
    scores.loc[real, "score"] = sigmoid(np.linspace(-1, 1, 20)[order])
    scores.to_csv(written, index=False)
    images = np.full((20, *SHAPE), 0, np.float32) + (np.arange(20) / 20)[:, None, None, None]
    path = written.parents[2] / "dataset.h5"
    images = images.astype(np.float32)
    write_dataset(path, {"validation": (images, np.zeros(20, int))}, {})
    low, high = score_extremes([str(written)], [str(path)], 3)
    assert (low[0], high[0]) == ("digits, lowest scores", "digits, highest scores")
    # The image whose place in the order is 0 has the lowest logit.
    places = np.argsort(order)
    np.testing.assert_array_equal(low[1], images[places[:3]])
    np.testing.assert_array_equal(high[1], images[places[-3:]])
    assert low[2] == [f"{s:.3g}" for s in sigmoid(np.linspace(-1, 1, 20))[:3]]


def test_table_of_detection_leaves_empty_what_there_is_not(written: Path, tmp_path: Path) -> None:
    scores_of(0.1).to_csv(written, index=False)
    labels = {"dataset": "digits", "seed": 0, "classifier": "D"}
    settings = {"threshold_attack": "fgsm", "exponents": [1], "repeats": 5}
    table = detection_of([{"labels": labels, "scores": str(written)}], settings)
    assert list(table) == [*labels, *DETECTION_COLUMNS] and len(table) == 2
    csv, markdown = tmp_path / "t.csv", tmp_path / "t.md"
    write_discriminator_detection(table, csv, markdown, {"kind": "trial"})
    again = pd.read_csv(csv)
    assert again[["threshold", "tpr", "fpr"]].isna().all(axis=None) and again["auc"].notna().all()
    lines = [line for line in markdown.read_text().splitlines() if line.startswith("| digits")]
    assert len(lines) == 2 and all(line.endswith("|  |  |  |") for line in lines)
    assert "nan" not in markdown.read_text()


def test_comparison_is_written_for_reading_and_for_computing(tmp_path: Path) -> None:
    row = {"first": "cowboy", "second": "b", "n": 12, "difference": 1 / 3, "p_value": 0.04}
    csv, markdown = tmp_path / "m.csv", tmp_path / "m.md"
    write_comparison([row], csv, markdown, {"kind": "trial"})
    assert pd.read_csv(csv).to_dict("records") == [row | {"difference": 0.333333}]
    assert markdown.read_text().splitlines()[-3] == "| cowboy | b | 12 | 0.3333 | 0.04 |"


def test_labelled_images_stand_above_their_labels(tmp_path: Path, record_figures: Callable) -> None:
    drawn = record_figures(figures)
    gray, colour = np.random.default_rng(0).random((2, 3, 3, 8, 8), np.float32)
    rows = [("gray", gray[:, :1], ["a", "b", "c"]), ("colour", colour[:2], ["d", "e"])]
    labelled_images(rows, tmp_path / "f.png", tmp_path / "f.pdf")
    [figure] = drawn
    axes = figure.axes
    assert [axis.get_title() for axis in axes] == ["a", "b", "c", "d", "e", ""]
    shown = [axis.images[0].get_array() for axis in axes[:5]]
    np.testing.assert_array_equal(shown[1], gray[1, 0])
    np.testing.assert_array_equal(shown[4], colour[1].transpose(1, 2, 0))
    assert not axes[5].images
    assert [part.get_suptitle() for part in figure.subfigs] == ["gray", "colour"]


@pytest.mark.parametrize("rows", [[], [("short", np.zeros((2, 1, 8, 8)), ["a"])]])
def test_labelled_images_without_labels_are_refused(tmp_path: Path, rows: list) -> None:
    with pytest.raises(ValueError, match="at least one row, and a label for each image"):
        labelled_images(rows, tmp_path / "f.png", tmp_path / "f.pdf")
    assert not list(tmp_path.iterdir())


# The threshold of an inference rule


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_a_rules_threshold_is_fitted_on_validation_scores(tmp_path: Path, rate: float) -> None:
    with isolated_rng(0):
        network = {"kind": "AEGAN", "settings": {"latent": 3, "width": 2}}
        save_network(tmp_path / "ae.st", AEGAN(3, 2, SHAPE), network, SHAPE)
    scores = np.random.default_rng(0).random(40)
    images = np.zeros((40, *SHAPE), np.float32)
    held = ImageSet(images, np.zeros(40, int), {"score": scores})
    write_image_set(tmp_path / "v.h5", held, {})
    settings = {"search": True, "steps": 2, "step_size": 1.0, "doubling": 5}
    recipe = {
        **{"name": "rule", "seed": 0, "method": "ae_gan"},
        "settings": settings | {"false_positive_rate": rate},
        "networks": {"generator": network, "validation": {"kind": "PurifiedImages"}},
    }
    files = {"generator": str(tmp_path / "ae.st"), "validation": str(tmp_path / "v.h5")}
    purifier = fitted_purifier(recipe, files)
    assert purifier.threshold == threshold_at(scores, rate)
    assert (scores > purifier.threshold).sum() == 40 * rate
    assert "threshold" not in recipe["settings"]
    # Without validation images there is no rule: every image is searched.
    plain = recipe | {"settings": settings, "networks": {"generator": network}}
    assert fitted_purifier(plain, files).threshold is None
