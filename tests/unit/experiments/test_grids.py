"""Which (L, R) are searched of which images, and the names of what differs from the config."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from conftest import DEFAULT, REPOSITORY, SCHEMA, merged

from purification.experiments import Catalogue, ConfigError, measurement, paper_table
from purification.experiments.grids import Grid, grids_of, sweep_cells, sweep_epsilons

PAPER = merged(DEFAULT, yaml.safe_load((REPOSITORY / "config/paper.yaml").read_text()))
EPSILONS = [0.1, 0.15, 0.2, 0.25, 0.3]
OVER_STEPS = [(steps, 10) for steps in (25, 50, 100, 200, 400, 800, 1600)]


def small(**changes: Any) -> dict[str, Any]:
    """A config whose figures 6 and 7 want other cells than its tables."""
    grid = {"datasets": ["digits"], "epsilons": [0.1, 0.2], "steps": 7, "restarts": 3}
    own = {
        "table3": grid,
        **{key: {"steps": [2, 4], "restarts": 3} for key in ("table8", "table9")},
        **{key: {"steps": 4, "restarts": [1, 3]} for key in ("table10", "table11")},
        **dict.fromkeys(("figure4", "figure5"), grid),
        "figure6": {
            "over_steps": {"steps": [2, 5], "restarts": 1},
            "over_restarts": {"steps": 2, "restarts": [1, 2]},
        },
        "figure7": grid | {"epsilons": [0.3], "steps": 6, "restarts": 2},
    }
    return merged(merged(copy.deepcopy(DEFAULT), own), changes)


def test_cells_are_the_union_of_what_tables_and_figures_want_in_rising_order() -> None:
    config = small()
    clean = [(2, 3), (4, 1), (4, 3), (7, 3)]
    # The pictures show attacked images only.
    assert sweep_cells(config, "digits", None) == clean
    assert sweep_cells(config, "digits", 0.1) == sorted([*clean, (2, 1), (2, 2), (5, 1)])
    assert sweep_cells(config, "digits", 0.2) == [(7, 3)]
    assert sweep_cells(config, "digits", 0.3) == [(6, 2)]
    assert sweep_cells(config, "digits", 0.4) == []
    assert sweep_epsilons(config, "digits") == [0.1, 0.2, 0.3]


def test_a_data_set_has_the_cells_of_what_names_it() -> None:
    config = small(table3={"datasets": ["digits", "mnist"]})
    assert sweep_cells(config, "mnist", None) == sweep_cells(config, "mnist", 0.2) == [(7, 3)]
    assert sweep_epsilons(config, "mnist") == [0.1, 0.2]
    assert sweep_cells(config, "fmnist", None) == sweep_epsilons(config, "fmnist") == []


def test_tables_over_the_search_have_the_attacks_own_strength() -> None:
    config = small(attacks={"fgsm": {"epsilon": 0.25}})
    assert grids_of(config, "table8") == [Grid("search", (0.25,), (2, 4), (3,))]
    assert sweep_epsilons(config, "digits") == [0.1, 0.2, 0.25, 0.3]
    assert sweep_cells(config, "digits", 0.1) == [(7, 3)]


def test_roc_figures_have_the_settings_of_their_tables() -> None:
    names = [(grid.name, grid.cells) for grid in grids_of(small(), "figure4")]
    assert names == [
        ("steps", [(2, 3), (4, 3)]),
        ("restarts", [(4, 1), (4, 3)]),
        ("epsilon", [(7, 3)]),
    ]


def test_papers_cells_of_mnist() -> None:
    clean = {*OVER_STEPS, *((100, r) for r in (1, 2, 5, 10, 20))}
    assert set(sweep_cells(PAPER, "mnist", None)) == clean
    pictures = {(steps, 1) for steps, _ in OVER_STEPS} | {(25, r) for r in (1, 2, 5, 10, 20)}
    assert set(sweep_cells(PAPER, "mnist", 0.3)) == clean | pictures | {(50, 15)}
    for epsilon in EPSILONS[:-1]:
        assert sweep_cells(PAPER, "mnist", epsilon) == [(50, 15), (400, 10)]
    assert sweep_epsilons(PAPER, "mnist") == sweep_epsilons(PAPER, "fmnist") == EPSILONS


def test_papers_cells_of_fashion_mnist() -> None:
    """Its ROC over epsilon (Figure 5) has L = 200, its Table 3 L = 400; Table 11 ends at R = 10."""
    clean = {*OVER_STEPS, *((100, r) for r in (1, 2, 5, 10))}
    assert set(sweep_cells(PAPER, "fmnist", None)) == clean
    for epsilon in EPSILONS[:-1]:
        assert sweep_cells(PAPER, "fmnist", epsilon) == [(50, 15), (200, 10), (400, 10)]
    assert (100, 20) not in sweep_cells(PAPER, "fmnist", 0.3)


def test_paper_tables_show_what_the_paper_prints() -> None:
    catalogue = Catalogue(PAPER, SCHEMA)
    assert list(paper_table(catalogue, "table8").cells) == OVER_STEPS
    assert paper_table(catalogue, "table11").cells == ((100, 1), (100, 2), (100, 5), (100, 10))
    table3 = paper_table(catalogue, "table3")
    assert table3.cells == ((400, 10),)
    files = [m.path for m in table3.measurements if "mnist/" in m.path]
    attacks = ["none", "fgsm@0.1", "fgsm@0.15", "fgsm@0.2", "fgsm@0.25", "fgsm"]
    assert files == [
        f"results/{dataset}/seed0/measurements/sweep/F/{attack}.csv"
        for dataset in ("mnist", "fmnist")
        for attack in attacks
    ]


# Varied names


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue(small(), SCHEMA)


def test_a_varied_name_differs_in_one_setting(catalogue: Catalogue) -> None:
    own, other = catalogue.attack("fgsm"), catalogue.attack("fgsm@0.15")
    assert other.settings == {**own.settings, "epsilon": 0.15} and other.method == own.method
    own, other = (catalogue.purifier("digits", 0, n) for n in ("defense_gan", "defense_gan@L50"))
    assert other.settings == {**own.settings, "steps": 50}
    # The name seeds the starts: they are the same.
    assert (other.name, other.networks) == (own.name, own.networks)


ITERATED = {"epsilon": 0.3, "step_size": 0.01, "iterations": 40}
METHODS = {
    "bim": ITERATED,
    "pgd": ITERATED,
    "mim": {**ITERATED, "momentum": 1.0},
    "vam": {"epsilon": 2.0, "xi": 0.01, "iterations": 1},
}


@pytest.mark.parametrize("method", METHODS)
def test_every_attack_with_an_epsilon_can_vary_in_it(method: str) -> None:
    images = DEFAULT["attacks"]["fgsm"]["images"]
    attack = {"method": method, "images": images, **METHODS[method]}
    catalogue = Catalogue(small(attacks={"own": attack}), SCHEMA)
    assert catalogue.attack("own").settings == METHODS[method]
    assert catalogue.attack("own@0.2").settings == {**METHODS[method], "epsilon": 0.2}
    made = catalogue.attacked_classifier("digits", 0, "plain", "A", "own@0.2")
    assert made.path == "results/digits/seed0/adversarial/plain/A/own@0.2.h5"
    # Only an l2 length may exceed the range of a pixel.
    if method == "vam":
        assert catalogue.attack("own@3.5").settings["epsilon"] == 3.5
    else:
        with pytest.raises(ConfigError, match=r"'3.5' is no epsilon for attacks.own"):
            catalogue.attack("own@3.5")
    for text in ("0", "-1.0", "inf", "nan"):
        with pytest.raises(ConfigError, match=f"'{text}' is no epsilon"):
            catalogue.attack(f"own@{text}")


def test_each_value_has_one_name(catalogue: Catalogue) -> None:
    for epsilon, name in (
        (0.1, "fgsm"),
        (0.15, "fgsm@0.15"),
        (1, "fgsm@1.0"),
        (1e-05, "fgsm@1e-05"),
    ):
        assert catalogue.attack_at("fgsm", epsilon) == name
        assert catalogue.attack(name).settings["epsilon"] == epsilon
    assert catalogue.defense_at("defense_gan", 25) == "defense_gan"
    assert catalogue.defense_at("defense_gan", 50) == "defense_gan@L50"


def test_a_varied_defense_is_attacked_before_the_classifier_of_its_own(
    catalogue: Catalogue,
) -> None:
    own, varied = (
        catalogue.attacked_defense("digits", 0, name, "A", "fgsm")
        for name in ("defense_gan", "defense_gan@L50")
    )
    assert varied.classifier == own.classifier
    assert list(own.threat_models) == ["white_box", "gray_box", "white_box_bpda"]
    assert varied.threat_models == own.threat_models and varied.gray == own.gray
    assert varied.path == "results/digits/seed0/attacked/defense_gan@L50/A/fgsm.h5"
    # The gray box of Table 4 is cut from a file of its own, whatever a sweep makes beside it.
    clean = catalogue.purified_images("digits", 0, "defense_gan@L50R1", "test")
    assert clean.path == "results/digits/seed0/purified/clean/defense_gan@L50R1/test.h5"
    assert (clean.purifier.settings["steps"], clean.purifier.settings["restarts"]) == (50, 1)
    assert clean.purifier.name == "defense_gan", "it seeds the starts, which are those of the base"


Asked = Callable[[Catalogue], object]
REFUSED: dict[str, tuple[Asked, str]] = {
    "the config's strength": (lambda c: c.attack("fgsm@0.1"), "it is called 'fgsm'"),
    "another spelling": (lambda c: c.attack("fgsm@0.150"), "it is called 'fgsm@0.15'"),
    "no number": (lambda c: c.attack("fgsm@much"), "'much' is no epsilon for attacks.fgsm"),
    "not finite": (lambda c: c.attack("fgsm@nan"), "'nan' is no epsilon"),
    "too strong": (lambda c: c.attack("fgsm@1.5"), "'1.5' is no epsilon"),
    "below its random step": (lambda c: c.attack("rand_fgsm@0.01"), "'0.01' is no epsilon"),
    "varied twice": (lambda c: c.attack("fgsm@0.2@0.3"), "'0.2@0.3' is no epsilon"),
    "an attack without strength": (lambda c: c.attack("cw@0.2"), "nothing of attacks.cw can"),
    "an attack that is none": (lambda c: c.attack("bin@0.2"), "no 'bin' under attacks"),
    "the config's steps": (
        lambda c: c.attacked_defense("digits", 0, "defense_gan@L25", "A", "fgsm"),
        "it is called 'defense_gan'",
    ),
    "other steps' spelling": (
        lambda c: c.purifier("digits", 0, "defense_gan@L050"),
        "it is called 'defense_gan@L50'",
    ),
    "no steps": (lambda c: c.purifier("digits", 0, "defense_gan@L0"), "'L0' is no L"),
    "neither steps nor restarts": (
        lambda c: c.purifier("digits", 0, "defense_gan@S5"),
        "'S5' is no L",
    ),
    "restarts where there are none": (
        lambda c: c.purifier("digits", 0, "ae_gan_rs@R5"),
        "'R5' is no L",
    ),
    "steps of one pass": (lambda c: c.purifier("digits", 0, "ae_gan_r@L5"), "can vary so"),
    "a purifier without steps": (lambda c: c.purifier("digits", 0, "magnet@L5"), "can vary so"),
    "a redeployed one": (
        lambda c: c.attacked_defense("digits", 0, "defense_vae_rec@L5", "A", "fgsm"),
        "no 'L5' under classifiers",
    ),
    "a varied data set": (lambda c: c.dataset("digits@2"), "nothing of datasets.digits can"),
    "a classifier for another search": (
        lambda c: c.classifier("digits", 0, "defense_gan@L50", "A"),
        "there are only purified images",
    ),
    "a sweep of another search": (
        lambda c: c.clean_sweep("digits", 0, "defense_gan@L50", "test"),
        "there are only purified images",
    ),
    "a sweep of no search": (
        lambda c: c.clean_sweep("digits", 0, "magnet", "test"),
        "defenses.magnet is no latent search",
    ),
    "a sweep of no table": (
        lambda c: c.clean_sweep("mnist", 0, "defense_gan", "test"),
        "no table or figure sweeps the clean images of mnist; epsilons swept there: none",
    ),
    "a sweep of another strength": (
        lambda c: measurement(c, "sweep", "digits", 0, "F", "fgsm@0.5"),
        "sweeps epsilon 0.5 of digits; epsilons swept there: 0.1, 0.2, 0.3",
    ),
    "a sweep without strength": (
        lambda c: c.black_box_sweep(
            "digits", 0, "defense_gan", oracle="plain", classifier="F", substitute="E", attack="cw"
        ),
        "attacks.cw has no epsilon",
    ),
    "a sweep of another classifier": (
        lambda c: measurement(c, "sweep", "digits", 0, "A", "fgsm"),
        "sweep.classifier is 'F': nothing is swept of 'A'",
    ),
    "a table's row of a varied attack": (
        lambda c: measurement(c, "table4", "digits", 0, "A", "fgsm@0.5"),
        "no 'fgsm@0.5' under attacks in the config: fgsm, rand_fgsm",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_name_that_makes_nothing_is_refused(catalogue: Catalogue, case: str) -> None:
    ask, expected = REFUSED[case]
    with pytest.raises(ConfigError) as refused:
        ask(catalogue)
    assert expected in str(refused.value)


def test_a_sweep_has_no_steps_and_restarts_of_its_own(catalogue: Catalogue) -> None:
    """So that an edit of the defence's own makes no search of the sweeps stale."""
    config = small(defenses={"defense_gan": {"steps": 11, "restarts": 9}})
    for split in ("test", "validation"):
        sweeps = [
            c.clean_sweep("digits", 0, "defense_gan", split)
            for c in (catalogue, Catalogue(config, SCHEMA))
        ]
        assert sweeps[0].recipe == sweeps[1].recipe
        assert sweeps[0].cells == {
            "L2_R3": (2, 3), "L4_R1": (4, 1), "L4_R3": (4, 3), "L7_R3": (7, 3),
        }  # fmt: skip


def test_a_sweep_has_the_starts_of_its_defense() -> None:
    def settings(**own: str) -> dict[str, Any]:
        catalogue = Catalogue(small(defenses={"defense_gan": own}), SCHEMA)
        sweep = catalogue.clean_sweep("digits", 0, "defense_gan", "test")
        return dict(sweep.purifier.settings)

    assert settings() == {"step_size": 10.0, "momentum": 0.7}
    assert settings(starts="prior") == settings() | {"starts": "prior"}
