"""The artifacts of the target ae_gan in miniature, and what an edit changes in their recipes."""

from itertools import combinations
from typing import Any

import pytest
from conftest import digests, micro_catalogue

from purification.experiments import (
    PAPERS,
    Catalogue,
    ConfigError,
    cost_measurements,
    inference_rules,
    paper_figure,
    paper_table,
)
from purification.experiments.ae_gan import cost_content

DATA = "digits_black_box"
RUN = f"results/{DATA}/seed0"
TABLES = {number: f"results/ae_gan/table{number}" for number in (1, 2, 3, 8, 9)}
DEFENSES = {
    ("ae_gan", "r", ""): "ae_gan_r",
    ("ae_gan", "rs", "2"): "ae_gan_rs@L2",
    ("ae_gan", "rs", "4"): "ae_gan_rs",
    ("ae_gan", "rs;rule", "4"): "ae_gan_rs_rule",
    ("ae_gan", "rs;latent=8", "4"): "ae_gan_rs",
    ("ae_gan", "rs;latent=6", "4"): "ae_gan_rs_20",
    ("adv_training", "pgd", ""): "adv_training_pgd",
}
"""The config's defence of a row's defense, variant and L."""


def test_a_search_from_an_encoder_has_one_restart() -> None:
    catalogue = micro_catalogue(
        ae_gan_table2={
            "defenses": ["ae_gan_rs", "defense_gan"],
            "searches": {"steps": [2, 4], "restarts": [1, 2]},
        }
    )
    table = paper_table(catalogue, "ae_gan_table2")
    assert table.cells == ((2, 1), (4, 1), (2, 2), (4, 2))
    clean = next(m for m in table.measurements if m.attack == "none")
    found = [
        tuple(cell.labels[k] for k in ("defense", "iterations_L", "restarts_R"))
        for cell in clean.cells
    ]
    assert found == [
        ("none", None, None),
        *(("ae_gan", steps, 1) for steps in (2, 4)),
        *(("defense_gan", steps, restarts) for restarts in (1, 2) for steps in (2, 4)),
    ]


def test_attacks_that_are_not_transferred_have_no_substitute() -> None:
    catalogue = micro_catalogue(ae_gan_table1={"attacks": ["fgsm", "pgd"]})
    by_attack = {m.attack: m for m in paper_table(catalogue, "ae_gan_table1").measurements}
    substitutes = {
        attack: {cell.labels.get("substitute", "") for cell in made.cells} - {""}
        for attack, made in by_attack.items()
    }
    assert substitutes == {"none": set(), "fgsm": {"E"}, "pgd": set()}


def test_cost_lines_have_names_of_their_own_in_an_order_that_no_overlay_changes() -> None:
    catalogue = micro_catalogue(
        cost_accuracy={
            "lines": {"defense_gan_plain": {"restarts": [1, 2]}, "ae_s": {"steps": [3]}}
        },
        defenses={"ae_s": {"threat_models": ["gray_box", "white_box"]}},
    )
    content = cost_content(catalogue)
    labels = [line["label"] for line in content["lines"]]
    assert labels == [
        *("AE-GAN+rs", "AE+s", "BiGAN+s", "Defense-GAN-Orig, R = 1", "Defense-GAN-Orig, R = 2"),
    ]
    assert (
        content["reference"] == "Defense-GAN-Orig, R = 2" and content["one_pass"]["variant"] == "r"
    )
    measured = [cell.labels for m in cost_measurements(catalogue) for cell in m.cells]
    for one, other in combinations(content["lines"], 2):
        assert not any(on_line(one, c) and on_line(other, c) for c in measured)
    for line in content["lines"]:
        assert any(on_line(line, c) for c in measured)


def on_line(line: dict[str, Any], labels: dict[str, Any]) -> bool:
    return all(labels[name] == value for name, value in line.items() if name != "label")


def test_a_figure_of_an_unknown_attack_is_refused() -> None:
    catalogue = micro_catalogue()
    with pytest.raises(ConfigError, match="no 'spsa' under attacks"):
        catalogue.attacked_defense(DATA, 0, "ae_gan_r", "D", "spsa")


def files_of(catalogue: Catalogue) -> dict[str, str]:
    """All that the target makes but the page, which has a digest of all of it."""
    paper = PAPERS["ae_gan"]
    tables = [paper_table(catalogue, study.name) for study in paper.tables]
    figures = [paper_figure(catalogue, study.name) for study in paper.figures]
    shown = [attacked for name in DEFENSES.values() for attacked in pictured(catalogue, name)]
    return digests(tables, figures, shown, cost_measurements(catalogue), inference_rules(catalogue))


def pictured(catalogue: Catalogue, defense: str) -> list[Any]:
    """What figures are drawn from, which know it by its digest."""
    if defense != "ae_gan_r":
        return []
    validation = catalogue.purified_images(DATA, 0, defense, "validation")
    return [validation, catalogue.attacked_defense(DATA, 0, defense, "D", "fgsm")]


def stale(**changes: Any) -> set[str]:
    """Paths below the run (or below results) whose recipe an edit changes."""
    before, after = files_of(micro_catalogue()), files_of(micro_catalogue(**changes))
    assert set(before) == set(after)
    changed = [path for path in before if before[path] != after[path]]
    return {path.removeprefix(f"{RUN}/").removeprefix("results/") for path in changed}


def made_with(*defenses: str) -> set[str]:
    """Images that a purifier makes in the micro config."""
    files = files_of(micro_catalogue())
    places = [f"{folder}/{d}/" for d in defenses for folder in ("clean", "black_box", "attacked")]
    return {p.removeprefix(f"{RUN}/") for p in files if any(place in p for place in places)}


def test_a_generators_noise_concerns_what_has_that_generator() -> None:
    measurements = {
        f"measurements/{table}/D/{attack}.csv"
        for table in ("ae_gan_table1", "ae_gan_table2", "ae_gan_table8", "ae_gan_table9")
        for attack in ("none", "fgsm")
    }
    measurements |= {f"measurements/cost_accuracy/D/{attack}.csv" for attack in ("none", "fgsm")}
    measurements |= {
        f"measurements/ae_gan_table3/D/{attack}.csv" for attack in ("none", "fgsm", "half_masked")
    }
    expected = measurements | made_with("ae_gan_r", "ae_gan_rs", "ae_gan_rs@L2", "ae_gan_rs_rule")
    expected |= {"ae_gans/ae_gan_r.safetensors", "inference_rules/ae_gan_rs_rule.csv"}
    expected |= {f"ae_gan/table{number}.csv" for number in TABLES}
    expected |= {f"ae_gan/figure{number}.png" for number in (3, 5, 6, 7, 8, 9, 10)}
    assert stale(generators={"ae_gan_r": {"noise_bound": 0.1}}) == expected
    assert any("ae_gan_rs@L2" in path for path in expected)


def test_a_rules_rate_concerns_the_rule() -> None:
    rule = {"ae_gan_rs_rule": {"rule": {"false_positive_rate": 0.1}}}
    places = [f"measurements/ae_gan_table{n}/D/{a}.csv" for n in (1, 9) for a in ("none", "fgsm")]
    assert stale(defenses=rule) == {
        *made_with("ae_gan_rs_rule"),
        *places,
        *("ae_gan/table1.csv", "ae_gan/table9.csv", "inference_rules/ae_gan_rs_rule.csv"),
    }


def test_bigans_settings_concern_its_samples_and_its_search() -> None:
    assert stale(generators={"bigan": {"epochs": 2}}) == {
        *("bigans/bigan.safetensors", "attacked/bigan_s/D/fgsm.h5", "ae_gan/figure4.png"),
        "measurements/cost_accuracy/D/fgsm.csv",
    }


def test_settings_of_a_figure_concern_it_alone() -> None:
    changes = {"ae_gan_figure6": {"false_positive_rate": 0.01}}
    assert stale(**changes) == {"ae_gan/figure6.png"}
    assert stale(inference_rule={"repeats": 3}) == {"inference_rules/ae_gan_rs_rule.csv"}
