"""Randomised defences in the config: where they can stand, and what their recipes have."""

from pathlib import Path
from typing import Any

import pytest
from conftest import DEFAULT, merged, micro_catalogue, refusal

from purification.evaluation import protocols as judged
from purification.experiments import ConfigError
from purification.experiments import protocols as planned
from purification.experiments.artifacts import Measurement
from purification.experiments.tables import paper_table
from purification.experiments.worst_case import worst_case

SEARCH = {
    **{"method": "defense_gan", "generator": "wgan_gp", "steps": 3, "restarts": 2},
    **{"step_size": 10.0, "momentum": 0.7, "classifier": "originals"},
    "threat_models": ["white_box", "gray_box"],
}
CODES = {
    **{"method": "latent", "epsilon": 0.1, "iterations": 3, "learning_rate": 0.1, "restarts": 0},
    **{"confidence": 1.0, "labels": "ground_truth"},
    "images": {"gray_box": 12, "white_box": 6, "white_box_bpda": 5},
}
DRAWN = {**SEARCH, "redraw": True}
EOT = {
    **{"method": "fgsm", "epsilon": 0.1, "expectation": 4},
    "images": {"gray_box": 12, "white_box": 6, "white_box_bpda": 5},
}
MINE = {"form": "direct", "datasets": ["digits"], "classifiers": ["D"], "attacks": ["fgsm"]}


def config(defenses: Any = None, table: Any = None, **more: Any) -> dict[str, Any]:
    own = {"defenses": {"drawn": DRAWN} | (defenses or {}), "attacks": {"eot": EOT}}
    own["tables"] = {"mine": {**MINE, "defenses": ["drawn"], **(table or {})}}
    made: dict[str, Any] = merged(merged(DEFAULT, own), more)
    return made


def test_the_rooms_agree_in_the_names_of_protocols() -> None:
    for name in ("ONE_SHOT", "EVALUATIONS", "FIXED"):
        assert getattr(judged, name) == getattr(planned, name)


def test_a_randomised_defense_in_a_table_is_right() -> None:
    assert refusal(config(), "mine") == ""
    assert refusal(config(table={"attacks": ["eot"]}), "mine") == ""
    known = {"drawn": DRAWN | {"threat_models": ["white_box_fixed", "white_box_bpda_fixed"]}}
    assert refusal(config(known), "mine") == ""
    deployed = {
        "again": {**{"method": "redeployed", "purifier": "drawn", "classifier": "reconstructions"}}
        | {"threat_models": ["white_box_fixed"]}
    }
    assert refusal(config(deployed, {"defenses": ["drawn", "again"]}), "mine") == ""


DIRECT = "drawn' is randomised, and is judged in tables of the forms direct and searches alone"
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "draws of a deterministic one": (
        config({"same": SEARCH | {"judged_draws": 3}}),
        "mine",
        "defenses.same.judged_draws: the defense is not randomised: leave this key out",
    ),
    "draws of a method that has none": (
        config(defenses={"magnet": {**DEFAULT["defenses"]["magnet"], "judged_draws": 3}}),
        "mine",
        "defenses.magnet: unknown key 'judged_draws'",
    ),
    "known draws of a deterministic one": (
        config({"same": SEARCH | {"threat_models": ["white_box_bpda_fixed"]}}),
        "mine",
        "defenses.same.threat_models: got 'white_box_bpda_fixed', which is of a randomised defense "
        "whose draws the attacker knows; this one has none: write white_box_bpda",
    ),
    "no number": (
        config({"drawn": DRAWN | {"judged_draws": 0}}),
        "mine",
        "defenses.drawn.judged_draws: 0 is less than the minimum of 1",
    ),
    "expectation without draws": (
        config({"same": SEARCH}, {"attacks": ["eot"], "defenses": ["same"]}),
        "mine",
        "attacks.eot.expectation: tables.mine has no randomised defense, of which there are draws",
    ),
    "expectation that is none": (
        config(attacks={"eot": {"expectation": 0}}),
        "mine",
        "attacks.eot.expectation: 0 is less than the minimum of 1",
    ),
    "ends early": (
        config(table={"attacks": ["deepfool"]}),
        "mine",
        "tables.mine.attacks: 'deepfool' ends at an image's first success, which on one draw of "
        "'drawn' is luck; that is randomised, and measured in white_box",
    ),
    "ends early by a setting": (
        config(attacks={"pgd": {"keep": "first_success"}}, table={"attacks": ["pgd"]}),
        "mine",
        "tables.mine.attacks: 'pgd' ends at an image's first success",
    ),
    "codes": (
        config(attacks={"codes": CODES}, table={"attacks": ["fgsm", "codes"]}),
        "mine",
        "tables.mine.attacks: 'codes' searches the codes at which a defense arrives, and 'drawn'",
    ),
    "transferred": (
        config(table={"pairs": ["D/E"], "transferred": ["fgsm"], "oracle": "classifier"})
        | {"classifiers": DEFAULT["classifiers"]},
        "mine",
        "tables.mine.pairs: 'drawn' is randomised, and is not judged on transferred attacks",
    ),
    "table of transferred attacks": (
        config(table1={"defenses": ["drawn"]}),
        "table1",
        f"table1.defenses: '{DIRECT}",
    ),
    "oracle": (config(table1={"oracle": "drawn"}), "table1", f"table1.oracle: '{DIRECT}"),
    "sweep": (config(sweep={"defenses": ["drawn"]}), "table8", f"sweep.defenses: '{DIRECT}"),
    "time": (config(table13={"defense": "drawn"}), "table13", f"table13.defense: '{DIRECT}"),
    "accuracy over L": (
        config(figure8={"defense": "drawn"}),
        "figure8",
        f"figure8.defense: '{DIRECT}",
    ),
    "cost": (
        config(cost_accuracy={"lines": {"drawn": {"steps": [3], "restarts": [2]}}}),
        "cost_accuracy",
        f"cost_accuracy.lines: '{DIRECT}",
    ),
    "detection": (
        config(table4={"defenses": ["drawn"]}),
        "detection",
        "table4.defenses: detection looks at all of them, and 'drawn' is randomised",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_measured_yet_is_refused(case: str) -> None:
    wrong, study, expected = REFUSED[case]
    message = refusal(wrong, study)
    assert expected in message, message


def drawn_catalogue(**more: Any) -> Any:
    own = {"defenses": {"drawn": DRAWN, "same": SEARCH}, "attacks": {"eot": EOT}}
    own["tables"] = {"mine": {**MINE, "attacks": ["eot"], "defenses": ["drawn", "same"]}}
    return micro_catalogue(**merged(own, more))


def test_files_that_are_asked_for_by_their_places_are_refused_too() -> None:
    catalogue = drawn_catalogue(datasets={"digits": {"test": 180}})
    run = ("digits", 0)
    black_box = {"classifier": "D", "oracle": "plain", "substitute": "E", "attack": "fgsm"}
    for what, ask in (
        ("be asked for labels", lambda: catalogue.substitute(*run, "drawn", "D", "E")),
        (
            "be judged on transferred attacks",
            lambda: catalogue.purified_black_box(*run, "drawn", **black_box),
        ),
        ("be swept", lambda: catalogue.clean_sweep(*run, "drawn", "test")),
        ("be timed", lambda: catalogue.timing(*run, "drawn")),
    ):
        with pytest.raises(ConfigError, match=f"defenses.drawn is randomised, and cannot {what}"):
            ask()


def test_recipes_have_what_decides_them() -> None:
    catalogue = drawn_catalogue()
    drawn, same = (
        catalogue.attacked_defense("digits", 0, name, "D", "eot") for name in ("drawn", "same")
    )
    assert drawn.recipe["judged_draws"] == 5
    assert drawn.attack.settings["expectation"] == 4
    assert drawn.purifier.settings["redraw"] is True
    assert "judged_draws" not in same.recipe
    assert "expectation" not in same.attack.settings
    for made in (drawn.gray, catalogue.copies("digits", 0, "D", "fgsm")):
        assert "expectation" not in str(made.recipe)
    clean, train = (
        catalogue.purified_images("digits", 0, "drawn", split) for split in ("test", "train")
    )
    assert clean.recipe["judged_draws"] == 5
    assert "judged_draws" not in train.recipe
    # Whoever does not redraw has the recipe that they had.
    before = micro_catalogue(defenses={"same": SEARCH})
    after = micro_catalogue(defenses={"same": SEARCH | {"redraw": False}})
    digests = [
        found.attacked_defense("digits", 0, "same", "D", "fgsm").digest for found in (before, after)
    ]
    assert digests[0] != digests[1]  # it is written there, as of all optional settings
    assert "redraw" not in str(before.attacked_defense("digits", 0, "same", "D", "fgsm").recipe)


def test_known_draws_are_of_as_many_images() -> None:
    models = ["white_box", "white_box_fixed", "white_box_bpda_fixed", "gray_box"]
    catalogue = drawn_catalogue(defenses={"drawn": {"threat_models": models}})
    made = catalogue.attacked_defense("digits", 0, "drawn", "D", "eot")
    assert made.threat_models == {
        **{"white_box": 6, "gray_box": 12, "white_box_fixed": 6, "white_box_bpda_fixed": 5}
    }


@pytest.mark.parametrize("draws", [1, 3])
def test_cells_say_their_protocols(draws: int) -> None:
    models = ["white_box", "white_box_fixed"]
    settings = {"threat_models": models, "judged_draws": draws}
    catalogue = drawn_catalogue(defenses={"drawn": settings})
    cells = [
        cell.labels
        for measurement in paper_table(catalogue, "mine").measurements
        if isinstance(measurement, Measurement)
        for cell in measurement.cells
        if cell.labels["defense"] == "drawn"
    ]
    found = [
        tuple(labels[name] for name in ("threat_model", "protocol", "evaluations", "draws"))
        for labels in cells
    ]
    every = [("none", "evaluations", draws, draws)] if draws > 1 else []
    attacked = [("white_box", *every[0][1:])] if draws > 1 else []
    assert found == [
        *(("none", "one_shot", 1, draws), *every),
        *(("white_box", "one_shot", 1, draws), *attacked),
        *(("white_box_fixed", "fixed", 1, 1), ("white_box_fixed", "one_shot", 1, draws)),
    ]


def test_the_worst_case_leaves_randomised_defenses_out() -> None:
    catalogue = drawn_catalogue(worst_case={"tables": ["mine"]})
    cells = worst_case(catalogue).content["cells"]
    assert {cell["labels"]["defense"] for cell in cells} == {"none", "same"}


OWN = """
from purification.purifiers import Purifier


class Mine(Purifier):
    SETTINGS = {"level": "positive = 0.1", "draws": "boolean = True"}
    RANDOMISED = {"draws": True}

    def __init__(self, settings, image_shape): ...

    def forward(self, images, seeds=None): ...
"""


def test_a_users_own_is_holds_for_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawing_lab.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    own: dict[str, Any] = {"method": "drawing_lab:Mine", "classifier": "originals"}
    own["threat_models"] = ["white_box"]
    found = micro_catalogue(
        defenses={
            "default": own,
            "never": own | {"settings": {"draws": False}},
            "often": own | {"settings": {"draws": True}, "judged_draws": 9},
            "again": {**own, "method": "redeployed", "purifier": "often"},
        }
    )
    names = ("default", "never", "often", "again")
    assert [found.judged_draws(name) for name in names] == [5, None, 9, 9]
