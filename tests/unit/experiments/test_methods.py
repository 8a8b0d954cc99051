"""Attacks, data sets and classifiers by what they state: the schema, the registries, users' own."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DEFAULT, REPOSITORY, SCHEMA, digests, merged, micro_catalogue, refusal

from purification.attacks import ATTACKS
from purification.datasets import SOURCES
from purification.evaluation.measure import NAMING_COLUMN
from purification.experiments import Catalogue, ConfigError, paper_table, worst_case
from purification.experiments.cells import NOT_AS_NAMED
from purification.experiments.entries import _wrong_kinds, misstated
from purification.experiments.methods import architectures, defenses
from purification.experiments.schema import read_schema
from purification.facts import decorated
from purification.models.classifiers import ARCHITECTURES, build_classifier

IMAGES = {"gray_box": 6, "white_box": 4, "white_box_bpda": 4}


# What is built in


def test_all_that_the_schema_allows_is_found() -> None:
    definitions = read_schema(SCHEMA)["$defs"]
    allowed = {
        name: definitions[name]["anyOf"][0]["enum"]
        for name in ("attack_method", "dataset_source", "architecture")
    }
    assert allowed["attack_method"] == list(ATTACKS) and len(ATTACKS) == 22
    assert allowed["dataset_source"] == list(SOURCES) and len(SOURCES) == 6
    assert allowed["architecture"] == list(ARCHITECTURES) == list(architectures())
    for name in allowed["architecture"]:
        network = build_classifier(name, input_shape=(1, 28, 28), classes=3).eval()
        assert network(torch.zeros(1, 1, 28, 28)).shape == (1, 3)
    assert NOT_AS_NAMED == NAMING_COLUMN


@pytest.mark.parametrize("room", ["attacks", "datasets"])
def test_what_is_built_in_states_what_it_is(room: str) -> None:
    for facts in decorated(room).values():
        place = f"purification.{room}.{facts.file.stem}:{facts.name}"
        key = "source" if room == "datasets" else "method"
        wrong = misstated(key, place, read_schema(SCHEMA))
        # Defaults of ours stand with the settings: a config may leave them out.
        assert [line for line in wrong if "no default can stand here" not in line] == []
        assert facts.summary
    for name, facts in defenses().items():
        assert list(_wrong_kinds(facts, read_schema(SCHEMA), name)) == []
    for name, entry in ATTACKS.items():
        settings = decorated("attacks")[name].settings
        assert set(settings) == set(entry.settings)
        assert all("description" in setting for setting in settings.values()), name
        assert (entry.norm is not None) == ("epsilon" in settings)


# A quirk of a paper's numbers, a place in a picture, adversarial training; the attacks that a
# budget of `evaluate` names in place of the default cascade's.
_BUDGETS = {"api/budgets.py"}
OTHER_MEANINGS = {
    **{f"{name}{norm}": _BUDGETS for name in ("apgd", "square") for norm in ("", "_l2")},
    "pgd_l2": _BUDGETS,
    "fgsm": {"api/available.py", "experiments/catalogue.py"},
    "pgd": {f"experiments/{name}.py" for name in ("catalogue", "cells", "studies")}
    | {"training/classifier.py", "schemas/config.schema.yaml"}
    | _BUDGETS,
    "half_masked": {"reporting/papers.py"},
    "random_signs": {"reporting/violins.py"},
    "celeba": {"reporting/papers.py"},
    "digits": {"schemas/config.schema.yaml"},
}
ALSO_SETTINGS = {"latent"}
"""Names that a network's setting has, too, in many files: there they stand behind no `method`."""


@pytest.mark.parametrize("name", [*decorated("attacks"), *decorated("datasets")])
def test_its_own_file_alone_knows_its_name(name: str) -> None:
    """Of the library and the workflow; beside them its test, the docs and the config do."""
    own = {**decorated("attacks"), **decorated("datasets")}[name].file
    found = set()
    for root in (REPOSITORY / "src/purification", REPOSITORY / "workflow"):
        for file in root.rglob("*.*"):
            if file == own or file.suffix not in (".py", ".smk", ".yaml"):
                continue
            text = re.sub(r'"""(.|\n)*?"""|#.*|description: .*', "", file.read_text())
            named = rf"\b{name}\b" if file.suffix == ".yaml" else rf"[\"']{name}[\"']"
            if name in ALSO_SETTINGS:
                named = rf"method\W+{name}\b"
            if re.search(named, text):
                found.add(f"{file.parent.name}/{file.name}")
    assert found <= OTHER_MEANINGS.get(name, set())


# Users' own attacks

LAB = '''
from purification.attacks import attack

AT_MOST = [1, 2, 3]


@attack(norm="l2", settings={"epsilon": "length", "steps": {"enum": AT_MOST}, "part": "length"},
        above="part", labels=False)
def mine(model, images, labels, *, epsilon, part=0.0, steps=1):
    """Moves images.

    Args:
        epsilon: l2 length of the change.
    """
    return images


@attack(model_free=True, gradient_based=False)
def noise(model, images, labels, *, size):
    return images


@attack(norm="linf", settings={"epsilon": "epsilon"})
def bounded(model, images, labels, *, epsilon=0.1):
    return images


def plain(model, images, labels, epsilon=0.1):
    return images


class Beside:
    MADE = dict(a=1)
'''


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's file with attacks of each kind, importable as `lab`."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lab.py").write_text(LAB)
    return tmp_path / "lab.py"


def entry(name: str = "mine", **settings: Any) -> dict[str, Any]:
    return {"method": f"lab:{name}", "images": IMAGES, "settings": settings}


def with_attack(attack: Mapping[str, Any], **further: Any) -> Catalogue:
    table = {"attacks": ["fgsm", "mine"], "defenses": ["magnet"]}
    return micro_catalogue(**merged({"attacks": {"mine": attack}, "table4": table}, further))


WRONG = {
    "misspelt": (
        entry(epsilon=0.3, stpes=1),
        "settings: unknown key 'stpes' .did you mean 'st",
    ),
    "no epsilon": (entry(steps=1), "settings: the key 'epsilon' is missing"),
    "no settings": ({"method": "lab:mine", "images": IMAGES}, "the key 'settings' is missing"),
    "no strength": (entry("bounded"), "settings: the key 'epsilon' is missing"),
    "another kind": (entry(epsilon="0.3"), "epsilon: must be of type number"),
    "another value": (entry(epsilon=0.3, steps=4), "settings.steps: got 4; allowed: 1, 2, 3"),
    "a label": ({**entry(epsilon=0.3), "labels": "predicted"}, "unknown key 'labels'"),
    "a part of it": (entry(epsilon=0.3, part=0.3), "part: must be below epsilon = 0.3"),
}


@pytest.mark.parametrize("case", WRONG)
def test_own_settings_are_checked_before_the_run(lab: Path, case: str) -> None:
    attack, complaint = WRONG[case]
    with pytest.raises(ConfigError, match=rf"attacks\.mine.*{complaint}"):
        with_attack(attack)


MISSTATED = {
    "norm": ('"l2"', '"l3"', "@attack.norm: got 'l3'; allowed: linf, l2"),
    "keyword": ("above=", "abvoe=", "unknown key 'abvoe' .did you mean 'above'"),
    "kind": ('"length"', '"lenght"', r"settings\.epsilon: got 'lenght' .did you mean 'length'"),
    "parameter": (
        "*, epsilon",
        "*, eps",
        "settings.epsilon: got .epsilon. .*; allowed: eps, ",
    ),
    "unstated": ("steps=1", "steps=1, rate", "settings: the parameter 'rate' is missing"),
    "no strength": ('"epsilon": "length", ', "", "settings: the key 'epsilon' is missing"),
    "no schema": ('"length", "steps"', '{"type": "nmber"}, "steps"', r"settings\.epsilon: 'nmber'"),
    "no kind": ('"length", "steps"', '3, "steps"', r"settings\.epsilon: must be of type string or"),
    "a default": (
        '"part": "length"',
        '"part": "length = 7"',
        r"lab.py: mine: @attack\.settings\.part: .*; give the parameter a default",
    ),
    "above": (
        'above="part"',
        'above="prat"',
        "lab.py: mine: @attack.above: got 'prat' .did you mean 'part'",
    ),
    "above nothing": ('norm="l2", ', "", "lab.py: mine: @attack: the key 'norm' is missing"),
    "not literal": (
        "[1, 2, 3]",
        "list(range(3))",
        r"lab.py, line \d+: mine: settings must be",
    ),
}


@pytest.mark.parametrize("case", MISSTATED)
def test_what_is_stated_wrongly_is_told(lab: Path, case: str) -> None:
    old, new, complaint = MISSTATED[case]
    lab.write_text(LAB.replace(old, new))
    with pytest.raises(ConfigError, match=rf"attacks\.mine\.method: .*{complaint}"):
        with_attack(entry(epsilon=0.3))


def test_own_attack_with_a_norm_does_what_built_in_ones_do(lab: Path) -> None:
    catalogue = with_attack(
        entry(epsilon=2.0, part=0.1),
        copies={"mine": {"epsilon": [0.5, 2.0]}},
        ae_gan_figure3={"attack": "mine", "epsilons": [0.5]},
    )
    assert catalogue.study("ae_gan_figure3").settings["attack"] == "mine"
    assert catalogue.attack_at("mine", 3.0) == "mine@3.0"
    assert catalogue.attack("mine@3.0").settings == {"epsilon": 3.0, "part": 0.1}
    with pytest.raises(ConfigError, match=r"no epsilon for attacks\.mine"):
        catalogue.attack("mine@0.1")
    assert dict(catalogue.copies("digits", 0, "D", "mine").attacks)["epsilon=0.5"].settings == {
        "epsilon": 0.5,
        "part": 0.1,
    }
    cells = [c for m in paper_table(catalogue, "table4").measurements for c in m.cells]
    assert {c.labels["epsilon"] for c in cells if c.labels["attack"] == "mine"} == {2.0}
    norms = {
        (cell["labels"]["attack"], cell.get("norm")) for cell in worst_case(catalogue).job["cells"]
    }
    assert norms == {("fgsm", None), ("mine", "l2")}
    with pytest.raises(ConfigError, match=r"copies\.mine\.epsilon: must be above part = 0\.1"):
        with_attack(entry(epsilon=2.0, part=0.1), copies={"mine": {"epsilon": [0.1]}})
    with pytest.raises(ConfigError, match=r"copies\.mine\.steps: got 7; allowed: 1, 2, 3"):
        with_attack(entry(epsilon=2.0, steps=1), copies={"mine": {"steps": [7]}})


def test_units_of_another_range_are_told(lab: Path) -> None:
    catalogue = with_attack(entry(epsilon=2.0, pixel_range=[-1, 1]))
    (cell, *_) = (
        c
        for m in paper_table(catalogue, "table4").measurements
        for c in m.cells
        if c.labels["attack"] == "mine"
    )
    assert (cell.labels["epsilon"], cell.labels["pixel_range"]) == (2.0, "[-1, 1]")


def test_own_attack_that_looks_at_no_model_is_in_the_gray_box_alone(lab: Path) -> None:
    catalogue = with_attack(entry("noise", size=0.1))
    assert set(catalogue.attacked_defense("digits", 0, "magnet", "D", "mine").threat_models) == {
        "gray_box"
    }


CODES = {
    **{"method": "latent", "images": IMAGES, "epsilon": 0.1, "iterations": 3},
    **{"learning_rate": 0.05, "restarts": 1, "confidence": 20.0},
}
BEHIND = ["defense_gan", "magnet", "adv_training", "ae_gan_rs_rule", "cowboy", "defense_vae"]
OWN_GENERATOR = """
from purification.purifiers import Purifier
from purification.purifiers.defense_gan import DefenseGAN


class Mine(DefenseGAN):
    SETTINGS = {}
    LEARNS_FROM = ()


class Filter(Purifier):
    SETTINGS = {}
"""


def test_an_attack_on_codes_has_the_white_box_of_defences_with_a_generator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lab.py").write_text(OWN_GENERATOR)
    own = {"classifier": "originals", "threat_models": ["white_box", "gray_box"]}
    mine = {name: {"method": f"lab:{name}", **own} for name in ("Mine", "Filter")}
    catalogue = micro_catalogue(
        attacks={"mine": CODES},
        defenses=mine,
        table4={"attacks": ["fgsm", "mine"], "defenses": [*BEHIND, *mine]},
    )
    cells = [c for m in paper_table(catalogue, "table4").measurements for c in m.cells]
    found = {
        (cell.labels["defense"], cell.labels["threat_model"])
        for cell in cells
        if cell.labels["attack"] == "mine"
    }
    names = {"defense_gan", "cowboy", "defense_vae", "Mine"}
    assert found >= {(name, "white_box") for name in names} and len(found) == len(names) + 1
    attacked = catalogue.attacked_defense("digits", 0, "defense_gan", "D", "mine")
    assert attacked.gray is None and attacked.threat_models == {"white_box": 4}


def test_an_attack_on_codes_is_refused_where_there_is_no_defence() -> None:
    catalogue = micro_catalogue(
        attacks={"mine": CODES}, table4={"attacks": ["mine"]}, copies={"mine": {"restarts": [0, 1]}}
    )
    run = ("digits", 0)
    for made in (
        lambda: catalogue.attacked_classifier(*run, "plain", "D", "mine"),
        lambda: catalogue.copies(*run, "D", "mine"),
        lambda: catalogue.black_box(*run, "plain", "D", "E", "mine"),
    ):
        with pytest.raises(ConfigError, match=r"attacks\.mine searches the codes .*form `direct`"):
            made()


def test_without_gradients_bpda_is_the_white_box_and_shares_its_set() -> None:
    few = {"gray_box": 9, "white_box": 5, "white_box_bpda": 5}
    square = {"method": "square", "epsilon": 0.1, "queries": 5, "p_init": 0.5, "restarts": 1}
    attacks = {
        "square": {**square, "images": few},
        "more": {**square, "images": {**few, "white_box_bpda": 7}},
    }
    catalogue = micro_catalogue(
        attacks=attacks,
        table4={"attacks": ["fgsm", *attacks]},
        cascades={
            "mine": {
                "norm": "linf",
                "epsilon": 0.1,
                "images": 5,
                "stages": [
                    {"attack": attack, "threat_model": model}
                    for attack in ("fgsm", "square")
                    for model in ("white_box", "white_box_bpda")
                ],
            }
        },
    )
    groups = {
        (cell.labels["attack"], cell.labels["threat_model"]): cell.group
        for measurement in paper_table(catalogue, "table4").measurements
        for cell in measurement.cells
        if cell.labels["defense"] == "defense_gan" and cell.labels["attack"] != "none"
    }
    both = ("white_box", "white_box_bpda")
    assert groups == {(a, m): m for a in ("fgsm", "more") for m in ("gray_box", *both)} | {
        ("square", "gray_box"): "gray_box",
        ("square", "white_box"): "white_box",
        ("square", "white_box_bpda"): "white_box",
    }
    made = catalogue.attacked_defense("digits", 0, "defense_gan", "D", "square")
    assert made.threat_models == {"white_box": 5, "gray_box": 9}
    # Where there is no white box, nothing is left out; and the best of both is one attacker's.
    only = micro_catalogue(
        attacks=attacks, defenses={"defense_gan": {"threat_models": ["white_box_bpda"]}}
    )
    made = only.attacked_defense("digits", 0, "defense_gan", "D", "square")
    assert made.threat_models == {"white_box_bpda": 5}
    cells = worst_case(catalogue).job["cells"]
    joined = [
        cell["labels"]["threat_model"]
        for cell in cells
        if (cell["labels"]["defense"], cell["labels"]["attack"]) == ("defense_gan", "square")
    ]
    assert joined == ["white_box", "gray_box"]
    stages = catalogue.cascade("digits", 0, "mine", "defense_gan", "D").stages
    assert [(stage.attack.name, stage.threat_model) for stage in stages] == [
        ("fgsm", "white_box"),
        ("fgsm", "white_box_bpda"),
        ("square", "white_box"),
    ]


def test_a_plain_function_is_an_attack_of_unknown_norm(lab: Path) -> None:
    catalogue = with_attack(entry("plain", epsilon=0.2))
    cells = worst_case(catalogue).job["cells"]
    assert {c.get("norm") for c in cells if c["labels"]["attack"] == "mine"} == {"unknown"}
    with pytest.raises(ConfigError, match=r"nothing of attacks\.mine can vary so"):
        catalogue.attack("mine@0.3")
    shown = with_attack(entry("plain", epsilon=0.2), ae_gan_figure3={"attack": "mine"})
    with pytest.raises(ConfigError, match=r"ae_gan_figure3\.attack: got 'mine'"):
        shown.study("ae_gan_figure3")


def test_its_file_its_settings_and_its_files_decide_what_is_made(lab: Path) -> None:
    def made(**settings: Any) -> dict[str, str]:
        catalogue = with_attack(entry(epsilon=2.0, **settings))
        return digests(catalogue.attacked_defense("digits", 0, "magnet", "D", "mine"))

    before = made()
    assert made() == before
    attacked = {path for path in before if path.endswith("/mine.h5")}
    assert len(attacked) == 2
    after = made(steps=2)
    assert {path for path in before if before[path] != after[path]} == attacked
    lab.write_text(LAB.replace("return images", "return images.clone()"))
    after = made()
    assert {path for path in before if before[path] != after[path]} == attacked


# Users' own data sets

STATED = """
from purification.datasets import source


@source(shape=(3, 32, 32), images={"train": 400, "test": 100}, classes=3)
def stated(data_root, validation, test):
    raise RuntimeError("not called")


def plain(data_root, validation, test):
    raise RuntimeError("not called")
"""


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lab.py").write_text(STATED)
    return tmp_path / "lab.py"


def test_own_data_set_states_its_size(own_data: Path) -> None:
    settings = {"source": "lab:stated", "validation": 50, "test": 100}
    plain = {**settings, "source": "lab:plain", "classes": 3}
    catalogue = Catalogue(merged(DEFAULT, {"datasets": {"own": settings, "plain": plain}}), SCHEMA)
    # 500 images of 3 x 32 x 32 floats.
    assert (catalogue.dataset("own").megabytes, catalogue.dataset("plain").megabytes) == (7, 0)
    # What its loader makes of the number of test images is not known.
    assert catalogue.dataset("own").for_training == catalogue.dataset("own")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"test": 101}, r"datasets\.own\.test: there are 100 test images; got 101"),
        ({"validation": 391}, r"datasets\.own: fewer than 10 of 400 images are left"),
        ({"validation": None}, r"datasets\.own\.validation: must be a number"),
        ({"train": 10}, r"datasets\.own\.train: only celeba takes"),
        ({"classes": 4}, r"datasets\.own\.classes: only a source of your own that states none"),
    ],
)
def test_own_data_set_is_held_to_what_it_states(
    own_data: Path, changes: dict[str, Any], complaint: str
) -> None:
    settings = {"source": "lab:stated", "validation": 50, "test": 100, **changes}
    with pytest.raises(ConfigError, match=complaint):
        micro_catalogue(datasets={"own": settings})


def test_what_a_data_set_states_wrongly_is_told(own_data: Path) -> None:
    own_data.write_text(STATED.replace('"train"', '"training"').replace("shape=", "size="))
    with pytest.raises(ConfigError) as refused:
        micro_catalogue(datasets={"own": {"source": "lab:stated", "validation": 1, "test": 1}})
    place = f"datasets.own.source: {own_data}: stated: @source"
    assert f"{place}: unknown key 'size'" in str(refused.value)
    assert f"{place}: the key 'shape' is missing" in str(refused.value)
    assert f"{place}.images: unknown key 'training' (did you mean 'train'?)" in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("(3, 32, 32)", "(32, 32)", r".shape: must have 3 entries; got [32, 32]"),
        ("(3, 32, 32)", "(3, 32, 0)", ".shape.2: 0 is less than the minimum of 1"),
        ("(3, 32, 32)", '"3x32x32"', ".shape: must be of type array; got '3x32x32'"),
        ("data_root, validation, test", "", ": it must take data_root, validation and test; it "),
        ("data_root, validation, test", "data_root", "it takes data_root"),
        ("data_root, validation, test", "*given", ""),
    ],
)
def test_shape_and_parameters_of_a_loader_are_checked(
    own_data: Path, old: str, new: str, complaint: str
) -> None:
    own_data.write_text(STATED.replace(old, new, 1))
    told = refusal(
        merged(DEFAULT, {"datasets": {"own": {"source": "lab:stated", "validation": 1, "test": 1}}})
    )
    assert complaint in told
    assert (f"datasets.own.source: {own_data}: stated: @source" in told) == bool(complaint)
