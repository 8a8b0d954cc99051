"""The leaderboard: its rows from the sets of a cascade and of the papers' attacks, and the page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, micro_catalogue

from purification.evaluation.accuracy import wilson_interval
from purification.evaluation.cascade import CLEAN, LEFT
from purification.evaluation.leaderboard import LEADERBOARD_COLUMNS, leaderboard_rows
from purification.experiments import PAPERS, ConfigError, leaderboard
from purification.reporting.claims import CLAIM_COLUMNS, claim_of, printed_claims
from purification.reporting.leaderboard import answers, leaderboard_page
from purification.storage import ImageSet, read_image_set, write_image_set

Row = dict[str, Any]


def stage(name: str, broken: int, accuracy: float, number: int = 0, **more: Any) -> Row:
    return {
        **{"attack": name, "threat_model": "white_box", "broken": broken, "accuracy": accuracy},
        **{"stage": number, "passes": 30, "refused": None, **more},
    }


def attacked(
    folder: Path, name: str, found_by: list[int], stages: list[Row], checks: Row | None = None
) -> str:
    """A set as `attack_adaptively` writes it, with what its checks found if there were any."""
    n, fields = len(found_by), {"found_by": np.array(found_by)}
    attributes = {
        **{"norm": "linf", "epsilon": 0.1},
        "stages": json.dumps([stage("clean", 1, 0.9, -1), *stages]),
        "clean_correct": n - found_by.count(CLEAN),
    }
    attributes |= {} if checks is None else {"checks": json.dumps(checks)}
    images = np.zeros((n, 1, 2, 2), np.float32)
    path = folder / f"{name}.h5"
    write_image_set(path, ImageSet(images, np.zeros(n, np.int64), fields, attributes), {})
    return str(path)


def cell(
    folder: Path, attack: str, right: Sequence[int], box: str = "white_box", **more: Any
) -> Row:
    """A set under one of the papers' attacks: the images with a 1 are predicted rightly."""
    path = folder / f"{attack}_{box}_{len(list(folder.iterdir()))}.h5"
    predictions, images = 1 - np.array(right), np.zeros((len(right), 1, 2, 2), np.float32)
    labels = np.zeros(len(right), np.int64)
    write_image_set(path, ImageSet(images, labels, {"predictions": predictions}), {})
    named = {"attack": attack, "threat_model": box, **more}
    return {"labels": named, "images": str(path), "group": None, "classifier": "none"}


def row(path: str, defense: str, classifier: str = "A", **more: Any) -> Row:
    labels = {"dataset": "digits", "seed": 0, "classifier": classifier, "defense": defense}
    return {"labels": labels | {"variant": "", **more}, "attacked": path}


WEAK = [CLEAN, 0, 0, 1, LEFT]
WEAK_STAGES = [stage("fgsm", 2, 0.4), stage("pgd", 1, 0.2, 1), stage("square", 0, 0.2, 2)]


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    weak = attacked(tmp_path, "weak", WEAK, WEAK_STAGES)
    refused = stage("pgd", 0, 0.8, passes=2, refused="its gradient is zero")
    strong = attacked(tmp_path, "strong", [LEFT, LEFT, LEFT, LEFT, CLEAN], [refused])
    worse = attacked(tmp_path, "worse", [CLEAN, 0, 0, 0, 0], [stage("pgd", 4, 0.0)])
    return leaderboard_rows(
        [
            row(weak, "none"),
            row(worse, "magnet"),
            row(strong, "mine", iterations_L=25, restarts_R=2) | {"passes": 52.0},
            row(strong, "none", "B"),
        ]
    )


def test_rows_say_what_the_sets_do(rows: list[Row]) -> None:
    assert [(one["classifier"], one["defense"]) for one in rows] == [
        *(("A", "mine"), ("A", "none"), ("A", "magnet"), ("B", "none"))
    ]
    mine, none, magnet, _ = rows
    assert all(tuple(one) == LEADERBOARD_COLUMNS for one in rows)
    numbers = [none[name] for name in ("n", "correct", "accuracy", "clean_accuracy")]
    assert numbers == [5, 1, 0.2, 0.8]
    assert (none["ci_low"], none["ci_high"]) == wilson_interval(1, 5)
    assert (none["attackers"], none["strongest"]) == (3, "fgsm white_box")
    assert none["passes_per_image"] == 18
    assert none["stages"] == "fgsm white_box 0.400; pgd white_box 0.200; square white_box 0.200"
    # What was refused is no attacker, and what broke nothing is not the strongest.
    assert (mine["attackers"], mine["strongest"], mine["accuracy"]) == (0, None, 0.8)
    assert mine["stages"] == "pgd white_box refused"
    assert [one["below_no_defense"] for one in rows] == [None, None, "yes", None]
    assert (mine["purification_passes"], magnet["purification_passes"]) == (52, None)


def test_the_papers_attacks_have_columns_and_count_in_the_worst_case(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    folder.mkdir()
    weak = attacked(tmp_path, "weak", WEAK, WEAK_STAGES)
    cells = [
        # Of the first image, which is misclassified as it is, a right answer counts nowhere.
        cell(folder, "fgsm", [1, 1, 0, 1, 1, 0, 0], again=True),
        cell(folder, "pgd", [1, 0, 1, 1]),
        cell(folder, "fgsm", [1, 1, 1, 1, 0, 1], "gray_box"),
    ]
    (found,) = leaderboard_rows([row(weak, "magnet") | {"cells": cells}])
    white = [found[f"white_box{end}"] for end in ("", "_n", "_attacks", "_ci_low")]
    assert white == [0.25, 4, "fgsm; pgd", wilson_interval(1, 4)[0]]
    assert [found[f"gray_box{end}"] for end in ("", "_n", "_attacks")] == [0.6, 5, "fgsm"]
    assert found["white_box_bpda"] is None and found["white_box_bpda_attacks"] is None
    # The gray box breaks the one image that the cascade left. FGSM was a stage of it.
    assert (found["correct"], found["accuracy"], found["attackers"]) == (0, 0, 3 + 2)
    assert found["stages"].endswith("square white_box 0.200; fgsm gray_box 0.000")
    assert found["strongest"] == "fgsm white_box"


def test_a_row_has_what_the_checks_of_its_cascade_found(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    folder.mkdir()
    checks = {"randomised": False, "optimises_in_forward": True, "zero_gradient": 0.2}
    checks |= {"transfer_beats_white_box": 0, "queries_beat_gradients": 1, "doubled": 1}
    stages = [*WEAK_STAGES, stage("pgd", 1, 0.0, 3, kind="doubled")]
    weak = attacked(tmp_path, "weak", [CLEAN, 0, 3, LEFT, LEFT], stages, checks)
    (found,) = leaderboard_rows([row(weak, "magnet")])
    assert found["flags"].split(";") == [
        *("zero_gradient", "optimises_in_forward", "queries_beat_gradients", "not_converged"),
    ]
    columns = ("randomised", "zero_gradient_share", "only_by_queries", "only_by_transfer")
    assert [found[name] for name in columns] == [False, 0.2, 1, 0]
    assert (found["taken_by_doubling"], found["larger_epsilon_leaves"]) == (1, None)
    assert found["attackers"] == 4
    assert found["stages"].endswith("square white_box 0.200; pgd doubled white_box 0.000")
    # What the papers' gray box breaks, and neither the cascade nor their white box.
    cells = [cell(folder, "fgsm", [1, 1, 1, 0, 0], "gray_box"), cell(folder, "pgd", [1, 1, 1, 0])]
    (found,) = leaderboard_rows([row(weak, "magnet") | {"cells": cells}])
    assert found["only_by_transfer"] == 1
    assert "transfer_beats_white_box" in found["flags"].split(";")
    (found,) = leaderboard_rows([row(weak, "magnet") | {"cells": [*cells[1:], cells[1]]}])
    assert found["only_by_transfer"] == 0


def test_sets_of_other_images_are_refused(tmp_path: Path) -> None:
    weak = attacked(tmp_path, "weak", WEAK, WEAK_STAGES)
    one = cell(tmp_path, "fgsm", [1, 1, 1])
    labels = np.ones(3, np.int64)
    images = ImageSet(np.zeros((3, 1, 2, 2), np.float32), labels, {"predictions": labels})
    write_image_set(one["images"], images, {})
    with pytest.raises(ValueError, match=r"the same first 3 images in all of .*fgsm_white_box"):
        leaderboard_rows([row(weak, "magnet") | {"cells": [one]}])


def test_without_the_papers_attacks_a_column_is_of_the_cascades_first_stages(
    tmp_path: Path,
) -> None:
    gray = {"threat_model": "gray_box"}
    stages = [stage("fgsm", 1, 0.6, 0, **gray), stage("pgd", 1, 0.4, 1, **gray)]
    later = [stage("pgd", 1, 0.2, 2), stage("square", 0, 0.2, 3, **gray)]
    first = attacked(tmp_path, "first", [CLEAN, 0, 1, 2, LEFT], [*stages, later[0]])
    again = attacked(tmp_path, "again", [CLEAN, 0, 1, 2, LEFT], [*stages, *later])
    one, other = leaderboard_rows([row(first, "magnet"), row(again, "mine")])
    assert [one[f"gray_box{end}"] for end in ("", "_n", "_attacks")] == [0.4, 5, "fgsm; pgd"]
    # What Square leaves of the image that PGD broke before it, nobody knows; nor what the white box
    # leaves of those that the gray box broke.
    assert (one["white_box"], other["gray_box"], other["white_box"]) == (None, None, None)


def test_the_page_has_a_line_for_each(rows: list[Row]) -> None:
    shown = [one | dict.fromkeys(CLAIM_COLUMNS) for one in rows]
    for one in shown:
        one["purification_passes"] = one["purification_passes"] or 0
    shown[0] |= {"flags": "not_converged;randomised", "randomised": True}
    shown[2] |= {"flags": "", "randomised": False}
    page = leaderboard_page(shown)
    lines = [line for line in page.splitlines() if line.startswith("| digits")]
    assert len(lines) == 4
    assert lines[0].startswith(
        "| digits | A | mine | 25, 2 | 0.1 | 5 | 0.800 |  |  |  |  | **0.800** ["
    )
    assert "] ⚑ | 0 |  | not_converged, randomised | 52 |" in lines[0]
    assert "| 3 | fgsm white_box | not checked | 0 | 18 |" in lines[1]
    assert "] ▼ |" in lines[2] and "] ▼ |" not in lines[1]
    assert "| none |" in lines[2]
    assert "- `not_converged`: twice the iterations" in page


# A cascade of every image

EACH = [
    stage("pgd", 2, 0.4),
    stage("apgd", 2, 0.2, 1),
    stage("pgd", 3, 0.2, 2, threat_model="gray_box"),
    # What it broke of those that were left, it did not by itself.
    stage("onward", 0, 0.2, 3, begin="strongest"),
]


def test_each_attack_by_itself_fills_the_columns(tmp_path: Path) -> None:
    folder = tmp_path / "each"
    folder.mkdir()
    path = attacked(folder, "each", [CLEAN, 0, 0, 1, LEFT], EACH)
    found = read_image_set(path)
    broken = np.array([[0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], bool)
    fields = found.fields | {"broken_by": broken}
    attributes = {k: v for k, v in found.attributes.items() if k not in ("recipe", "versions")}
    write_image_set(path, ImageSet(found.images, found.labels, fields, attributes), {})
    (made,) = leaderboard_rows([row(path, "magnet")])
    # Of the white box both attacks together, though the gray box was behind them.
    assert [made[f"white_box{end}"] for end in ("", "_n", "_attacks")] == [0.2, 5, "pgd; apgd"]
    assert (made["gray_box"], made["gray_box_attacks"]) == (0.2, "pgd")
    assert (made["white_box_bpda"], made["accuracy"]) == (None, 0.2)


def test_on_fresh_draws_the_best_attack_is_chosen_by_its_mean(tmp_path: Path) -> None:
    path = drawn(tmp_path)
    found = read_image_set(path)
    right = np.array([[1, 1, 1], [1, 0, 1], [1, 0, 0], [1, 1, 0]], bool)
    each = np.stack([~right, right, np.ones_like(right), np.zeros_like(right)], axis=2)
    stages = json.dumps(
        [
            stage("clean", 0, 0.975, -1),
            *(stage("pgd", 1, 0.9, n, threat_model="white_box") for n in (0, 1)),
            stage("eot", 0, 0.6, 2, threat_model="white_box_bpda", refused="zero"),
            # Which had only the images that were left.
            stage("onward", 0, 0.6, 3, threat_model="white_box", begin="strongest"),
        ]
    )
    attributes = {"norm": "linf", "epsilon": 0.1, "stages": stages}
    fields = found.fields | {"stage_predictions": np.where(each, 0, 1)}
    write_image_set(path, ImageSet(found.images, found.labels, fields, attributes), {})
    one, every = leaderboard_rows(
        [
            row(path, "redrawn", protocol="one_shot", evaluations=1, draws=3),
            row(path, "redrawn", protocol="evaluations", evaluations=3, draws=3),
        ]
    )
    # Chosen image by image it would be 0 on each draw.
    assert one["white_box"] == pytest.approx(4 / 12)
    assert every["white_box"] == 0
    assert (one["white_box_bpda"], one["white_box_bpda_attacks"]) == (None, "eot refused")


def test_below_no_defence_is_judged_on_the_same_images(tmp_path: Path) -> None:
    bare = attacked(tmp_path, "bare", [LEFT, 0, 0, 0, 0], [stage("pgd", 4, 0.2)])
    few = attacked(tmp_path, "few", [LEFT, 0], [stage("pgd", 1, 0.5)])
    worse = attacked(tmp_path, "worse", [0, 0], [stage("pgd", 2, 0.0)])
    rows = leaderboard_rows([row(bare, "none"), row(few, "magnet"), row(worse, "mine")])
    assert {one["defense"]: one["below_no_defense"] for one in rows} == {
        **{"none": None, "magnet": None, "mine": "yes"},
    }


def test_it_is_so_too_where_no_defence_is_of_fewer_images(tmp_path: Path) -> None:
    bare = attacked(tmp_path, "bare", [LEFT, 0], [stage("pgd", 1, 0.5)])
    same = attacked(tmp_path, "same", [LEFT, 0, 0, 0, 0], [stage("pgd", 4, 0.2)])
    worse = attacked(tmp_path, "worse", [0, 0, LEFT, LEFT, LEFT], [stage("pgd", 2, 0.6)])
    rows = leaderboard_rows([row(bare, "none"), row(same, "magnet"), row(worse, "mine")])
    assert {one["defense"]: one["below_no_defense"] for one in rows} == {
        **{"none": None, "magnet": None, "mine": "yes"},
    }


def test_on_a_single_fresh_draw_too_the_best_attack_is_chosen_by_its_mean(tmp_path: Path) -> None:
    path = drawn(tmp_path)
    found = read_image_set(path)
    each = np.array([[[1, 0]], [[0, 1]], [[1, 0]], [[1, 1]]], bool)  # 3 of 4, 2 of 4, 1 together
    stages = [stage("clean", 0, 1.0, -1), stage("pgd", 1, 0.75), stage("eot", 1, 0.5, 1)]
    one_draw = {k: found.fields[k][:, :1] for k in ("predictions", "clean_predictions")}
    fields = found.fields | one_draw | {"stage_predictions": np.where(each, 0, 1)}
    attributes = {"norm": "linf", "epsilon": 0.1, "stages": json.dumps(stages)}
    write_image_set(path, ImageSet(found.images, found.labels, fields, attributes), {})
    (made,) = leaderboard_rows([row(path, "redrawn", protocol="one_shot", evaluations=1, draws=1)])
    assert (made["white_box"], made["white_box_attacks"]) == (0.5, "pgd; eot")


def test_which_keep_most_for_their_time(rows: list[Row]) -> None:
    times = [{"purification_ms": ms, "device": None} for ms in (20.0, None, 0.5, None)]
    first, second = answers(rows, times)
    # 0.8 for 20 ms and 0.2 for nothing; magnet keeps nothing for half a millisecond.
    assert first.startswith("**digits, classifier A**: no other defense keeps more in less time")
    assert "none (0.200 [" in first and "; mine (0.800 [" in first and "magnet" not in first
    assert "clean 0.800, 20 ms)" in first
    assert "classifier B" in second


def test_only_defences_on_equally_many_images_are_compared(rows: list[Row]) -> None:
    times = [{"purification_ms": ms, "device": None} for ms in (20.0, None, 0.5, None)]
    fewer = {**rows[0], "defense": "few", "n": 2, "accuracy": 1.0, "protocol": "one_shot"}
    fewer |= {"evaluations": 1, "draws": 5, "variant": None}
    told = [*answers([*rows[:3], fewer], [*times[:3], {"purification_ms": 0.1, "device": None}])]
    assert [line.split("**")[1] for line in told] == [
        "digits, classifier A, n 5",
        "digits, classifier A, one-shot, 5 draws, n 2",
    ]
    assert "few (1.000" in told[1] and "few" not in told[0] and "mine" not in told[1]


# Randomised defences


def drawn(folder: Path) -> str:
    """A set of a randomised defence: four images on three draws, as `judge.judged_afresh` makes
    it. Which stage found an image says nothing of how it is judged."""
    truth = np.array([0, 0, 0, 0])
    right = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0]], bool)
    clean = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    fields = {
        "found_by": np.array([LEFT, 0, 1, LEFT]),
        "predictions": np.where(right, truth[:, None], 1),
        "clean_predictions": np.where(clean, truth[:, None], 1),
    }
    stages = [stage("clean", 0, 0.975, -1), stage("pgd", 1, 0.95), stage("eot", 0, 0.6, 1)]
    attributes = {"norm": "linf", "epsilon": 0.1, "stages": json.dumps(stages)}
    path = folder / "drawn.h5"
    made = ImageSet(np.zeros((4, 1, 2, 2), np.float32), truth, fields, attributes)
    write_image_set(path, made, {})
    return str(path)


def test_a_randomised_defence_has_a_row_for_each_protocol(tmp_path: Path) -> None:
    gray = stage("pgd", 3, 0.4, threat_model="gray_box")
    known = attacked(tmp_path, "known", [LEFT, 0, 0, 0, LEFT], [gray])
    named = {"iterations_L": 25, "restarts_R": 2, "evaluations": 1, "draws": 3}
    made = leaderboard_rows(
        [
            row(drawn(tmp_path), "redrawn", protocol="one_shot", **named),
            row(drawn(tmp_path), "redrawn", protocol="evaluations", **named | {"evaluations": 3}),
            row(known, "redrawn", protocol="fixed", **named | {"draws": 1}),
        ]
    )
    one_shot, fixed, every = made
    assert [one["protocol"] for one in made] == ["one_shot", "fixed", "evaluations"]
    assert (one_shot["correct"], one_shot["accuracy"]) == (7, pytest.approx(7 / 12))
    assert one_shot["clean_accuracy"] == pytest.approx(11 / 12)
    assert one_shot["spread"] == pytest.approx(np.std([3 / 4, 2 / 4, 2 / 4], ddof=1))
    assert (every["correct"], every["accuracy"], every["clean_accuracy"]) == (1, 0.25, 0.75)
    assert (fixed["correct"], fixed["accuracy"], fixed["clean_accuracy"]) == (2, 0.4, 1.0)
    assert every["spread"] is fixed["spread"] is None
    # It took most accuracy, though it broke fewer on all draws of the selection.
    assert one_shot["strongest"] == "eot white_box"
    # What a threat model's stages leave is known on a known draw alone.
    assert [one["gray_box"] for one in made] == [None, 0.4, None]
    assert one_shot["white_box"] is every["white_box"] is None

    shown = [one | dict.fromkeys(CLAIM_COLUMNS) | {"purification_passes": 52} for one in made]
    page = leaderboard_page(shown)
    assert "selects among the images that all attacks made by draws of its own" in page
    lines = [line for line in page.splitlines() if line.startswith("| digits")]
    ends = (
        ("one-shot, 3 draws | 25, 2 | 0.1 | 4 | 0.917 ", "| **0.583** ± 0.144 ["),
        ("known draw | 25, 2 | 0.1 | 5 | 1.000 ", "| **0.400** ["),
        ("all of 3 draws | 25, 2 | 0.1 | 4 | 0.750 ", "| **0.250** ["),
    )
    for line, (start, worst) in zip(lines, ends, strict=True):
        assert line.startswith(f"| digits | A | redrawn: {start}")
        assert worst in line


def test_without_one_the_page_says_nothing_of_draws(rows: list[Row]) -> None:
    shown = [one | dict.fromkeys(CLAIM_COLUMNS) | {"purification_passes": 1} for one in rows]
    assert "one-shot" not in leaderboard_page(shown)


# The papers' claims


@pytest.fixture(scope="module")
def printed() -> dict[str, pd.DataFrame]:
    return printed_claims(PAPERS, REPOSITORY / "resources/papers")


MNIST = {"dataset": "mnist", "classifier": "A", "norm": "linf", "epsilon": 0.3, "variant": ""}
CLAIMS = {
    "the lowest of its white box": (
        {"defense": "ae_gan", "variant": "rs"},
        (0.982, "AE-GAN+rs, Table 1: pgd, white box, L 15, R 1"),
    ),
    "white box before black box": (
        {"defense": "defense_gan", "variant": "rec"},
        (0.988, "Defense-GAN, Table 4: fgsm, white box, L 200, R 10"),
    ),
    "of its own paper alone, though another prints it in a white box": (
        {"defense": "defense_gan", "variant": "orig"},
        (0.9221, "Defense-GAN, Table 1: fgsm, black box, L 200, R 10"),
    ),
    "by its paper's word for our gray box": (
        {"defense": "defense_vae", "variant": "base"},
        (0.9829, "Defense-VAE, Table 1: fgsm, white box (our gray box)"),
    ),
    "of nobody's own the first paper's": (
        {"defense": "magnet"},
        (0.171, "Defense-GAN, Table 4: rand_fgsm, white box"),
    ),
    "of any strength where the paper states none": (
        {"defense": "cowboy", "classifier": "simple_cnn", "epsilon": 0.15},
        (0.15, "Cowboy, Table 1: bim, gray box, L 5000"),
    ),
    "another data set": ({"defense": "magnet", "dataset": "digits"}, "no paper prints .* digits"),
    "another classifier": ({"defense": "cowboy"}, "none before classifier A"),
    "another strength": ({"defense": "magnet", "epsilon": 0.2}, "this variant, norm and strength"),
    "another norm": ({"defense": "magnet", "norm": "l2"}, "this variant, norm and strength"),
    "not on this data set": (
        {"defense": "ae_gan", "variant": "rs", "dataset": "cifar10"},
        "no ae_gan on cifar10",
    ),
    "something else by its name": (
        {"defense": "magnet", "not_as_named": "defense magnet is lab:Mine"},
        "not what it is called: defense magnet is lab:Mine",
    ),
}


@pytest.mark.parametrize("changes, claim", CLAIMS.values(), ids=CLAIMS)
def test_claims(
    printed: dict[str, pd.DataFrame], changes: Row, claim: str | tuple[float, str]
) -> None:
    found = claim_of(MNIST | changes, PAPERS, printed)
    assert tuple(found) == CLAIM_COLUMNS
    if isinstance(claim, str):
        assert found["claim"] is None and found["claim_source"] is None
        assert pd.Series([found["no_claim"]]).str.contains(claim).all(), found
    else:
        assert (found["claim"], found["claim_source"], found["no_claim"]) == (*claim, None)


# What it is made from

BALL = {"norm": "linf", "epsilon": 0.1, "images": 6}
STAGES = [
    {"attack": "cascade_fgsm", "threat_model": "gray_box"},
    {"attack": "cascade_pgd_margin", "threat_model": "white_box"},
]
STAGE_L2 = {"attack": "vam", "threat_model": "white_box"}


def asked(*attacks: str, **changes: Any) -> Any:
    board = {"datasets": ["digits"], "classifiers": ["D"], "cascade": "small"}
    board |= {"defenses": ["magnet", "defense_gan_orig", "adv_training"]}
    board |= {"paper_attacks": list(attacks)}
    cascades = {"small": BALL | {"stages": STAGES}}
    return leaderboard(micro_catalogue(leaderboard=board, cascades=cascades, **changes))


def test_its_sets_are_those_of_the_tables() -> None:
    made = asked("fgsm")
    found = {one["labels"]["defense"]: one for one in made.content["rows"]}
    boxes = {
        defense: [(c["labels"]["threat_model"], c["labels"].get("again")) for c in one["cells"]]
        for defense, one in found.items()
    }
    # The cascade's FGSM attacks the plain classifier, whose gray box its white box is.
    assert boxes == {
        "none": [("white_box", True)],
        "magnet": [("white_box", None), ("gray_box", True)],
        "defense_gan": [("white_box", None), ("gray_box", True), ("white_box_bpda", None)],
        "adv_training": [("white_box", None)],
    }
    assert "results/digits/seed0/attacked/magnet/D/fgsm.h5" in made.files
    assert [one.get("purifier") for one in found.values()] == [None, "magnet", "defense_gan", None]
    assert "results/digits/seed0/purification_costs/D.csv" in made.files


def test_the_papers_attacks_are_of_the_cascades_ball() -> None:
    for attack, why in (
        ("cw", r"attacks\.cw has no bound: name an attack with an epsilon and a norm"),
        ("vam", r"attacks\.vam is bounded in the norm l2, and cascades\.small\.norm is linf"),
        ("fgsm", r"attacks\.fgsm\.epsilon is 0\.2, and cascades\.small\.epsilon is 0\.1"),
    ):
        with pytest.raises(ConfigError, match=rf"leaderboard\.paper_attacks: {why}"):
            asked(attack, attacks={"fgsm": {"epsilon": 0.2}})


@pytest.mark.parametrize(
    ("own", "other", "wrong"),
    [
        (
            {"split": "validation"},
            {},
            ["modern.cascade: cascades.own.split is validation: a leaderboard is of test images"],
        ),
        (
            {},
            {"split": "validation"},
            [
                "modern.cascades.magnet: cascades.other.split is validation: a leaderboard is of "
                "test images"
            ],
        ),
        (
            {"split": "validation"},
            {"norm": "l2", "epsilon": 2.0, "stages": [STAGE_L2]},
            [
                "modern.cascade: cascades.own.split is validation: a leaderboard is of test images",
                "modern.cascades.magnet: cascades.own.norm is linf, and cascades.other.norm is l2: "
                "rows that are compared are of one ball",
                "modern.cascades.magnet: cascades.own.epsilon is 0.1, and cascades.other.epsilon "
                "is 2.0: rows that are compared are of one ball",
            ],
        ),
    ],
)
def test_a_leaderboard_is_of_test_images_in_one_ball(
    own: dict[str, Any], other: dict[str, Any], wrong: list[str]
) -> None:
    board = {"datasets": ["digits"], "classifiers": ["D"], "cascade": "own"}
    board |= {"defenses": ["magnet"], "cascades": {"magnet": "other"}}
    both = BALL | {"stages": STAGES}
    catalogue = micro_catalogue(modern=board, cascades={"own": both | own, "other": both | other})
    with pytest.raises(ConfigError) as raised:
        leaderboard(catalogue, "modern")
    assert str(raised.value).splitlines() == ["the config is wrong:", *(f"  {w}" for w in wrong)]


def test_another_leaderboard_may_have_other_cascades_of_the_same_ball() -> None:
    few = {"few": BALL | {"images": 4, "stages": STAGES[1:]}}
    cascades = {"small": BALL | {"stages": STAGES}, **few}
    board = {"datasets": ["digits"], "classifiers": ["D"], "cascade": "small"}
    board |= {"defenses": ["magnet", "jpeg"], "cascades": {"jpeg": "few"}}
    made = leaderboard(micro_catalogue(modern=board, cascades=cascades), "modern")
    places = {one["labels"]["defense"]: one["attacked"] for one in made.content["rows"]}
    assert places["jpeg"] == "results/digits/seed0/adaptive/few/jpeg/D.h5"
    assert places["magnet"] == "results/digits/seed0/adaptive/small/magnet/D.h5"
    assert "results/digits/seed0/purification_costs/modern/D.csv" in made.files
