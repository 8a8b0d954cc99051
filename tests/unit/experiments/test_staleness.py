"""What an edit of the config makes stale, by the recipes. That Snakemake lists just these jobs is
tested in tests/workflow."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import yaml
from conftest import PAPERS, SMALL, Remade, merged, remade

from purification.experiments import (
    Catalogue,
    File,
    paper_page,
    paper_table,
)

OF_PAPERS = merged(SMALL, yaml.safe_load(PAPERS.read_text()))
"""All of Defense-GAN and Defense-VAE on one data set."""
RUN = "results/digits_black_box/seed0"


def tables(*names: str) -> Callable[[Catalogue], Sequence[File]]:
    return lambda catalogue: [paper_table(catalogue, name) for name in names]


# Table 4


def of_table4(**edit: Any) -> Remade:
    return remade(tables("table4"), SMALL, edit)


@pytest.mark.parametrize(("key", "value"), [("steps", 5), ("restarts", 3)])
def test_search_settings_concern_no_generator(key: str, value: int) -> None:
    found = of_table4(defenses={"defense_gan": {key: value}})
    assert found.kinds == {
        "PurifiedImages": 2,
        "Classifier": 1,  # Rec is trained on what the search makes of the training images
        "AttackedDefense": 2,
        "Measurement": 3,
        "Table": 1,
    }
    assert "results/digits/seed0/classifiers/defense_gan/D.safetensors" in found.paths
    assert not any("magnet" in path for path in found.paths)


def test_orig_search_settings_concern_no_training_at_all() -> None:
    before = merged(SMALL, {"defenses": {"defense_gan": {"classifier": "originals"}}})
    found = remade(tables("table4"), before, {"defenses": {"defense_gan": {"steps": 5}}})
    assert found.kinds == {
        "PurifiedImages": 1,
        "AttackedDefense": 2,
        "Measurement": 3,
        "Table": 1,
    }


def test_redeploying_the_plain_classifier_trains_nothing() -> None:
    found = of_table4(defenses={"defense_gan": {"classifier": "originals"}})
    assert found.kinds == {"AttackedDefense": 2, "Measurement": 3, "Table": 1}


def test_a_classifiers_epochs_concern_its_line_and_no_generator() -> None:
    found = of_table4(classifiers={"D": {"epochs": 4}})
    assert found.kinds == {
        "Classifier": 3,
        "AdversarialSet": 4,
        "AttackedDefense": 4,
        "Measurement": 3,
        "Table": 1,
    }
    measured = {
        f"results/digits/seed0/measurements/table4/D/{a}.csv" for a in ("none", "fgsm", "cw")
    }
    assert found.paths >= measured | {"results/table4.csv"}


def test_another_classifiers_epochs_concern_nothing() -> None:
    assert of_table4(classifiers={"A": {"epochs": 99}}) == Remade({}, set())


def test_a_cw_constant_concerns_cw_only() -> None:
    found = of_table4(attacks={"cw": {"constant": 50.0}})
    assert found.kinds == {"AdversarialSet": 2, "AttackedDefense": 2, "Measurement": 1, "Table": 1}
    assert not any("fgsm" in path for path in found.paths)


def test_the_gans_iterations_concern_the_gan_and_its_users() -> None:
    found = of_table4(generators={"wgan_gp": {"iterations": 14}})
    assert found.kinds == {
        "Generator": 1,
        "PurifiedImages": 2,
        "Classifier": 1,
        "AttackedDefense": 2,
        "Measurement": 3,
        "Table": 1,
    }
    assert not any("magnet" in path for path in found.paths)


def test_table13_times_its_own_steps_and_not_the_defenses() -> None:
    def of_table13(**edit: Any) -> Remade:
        return remade(tables("table13"), SMALL, edit)

    assert of_table13(defenses={"defense_gan": {"steps": 5}}) == Remade({}, set())
    assert of_table13(table13={"repeats": 3}).kinds == {"Timing": 1, "Table": 1}


# The black box


BLACK_BOX = ("table1", "table2")
AFTER = {"BlackBoxSet": 1, "PurifiedBlackBox": 1, "Measurement": 1, "Table": 1}
"""What comes after a substitute of Table 1."""


def of_black_box(*names: str, **edit: Any) -> Remade:
    return remade(tables(*names), OF_PAPERS, edit)


def test_the_substitutes_settings_concern_what_comes_after_it() -> None:
    found = of_black_box(*BLACK_BOX, substitute={"step": 0.05})
    assert found.kinds == {
        "Substitute": 2,
        "BlackBoxSet": 2,
        "PurifiedBlackBox": 2,
        "Measurement": 2,
        "Table": 2,
    }


def test_a_substitutes_training_as_a_classifier_does_not_concern_it() -> None:
    assert of_black_box(*BLACK_BOX, classifiers={"E": {"epochs": 99}}) == Remade({}, set())


def test_the_attack_concerns_no_substitute() -> None:
    assert of_black_box("table1", attacks={"fgsm": {"epsilon": 0.2}}).kinds == AFTER


def test_search_settings_concern_the_plain_classifiers_substitute_in_nothing() -> None:
    edit = {"defenses": {"defense_gan": {"steps": 5}}}
    rec = {"PurifiedImages": 2, "Classifier": 1, "PurifiedBlackBox": 1}
    assert of_black_box("table1", **edit).kinds == {**rec, "Measurement": 2, "Table": 1}
    asked = {"Substitute": 1, "BlackBoxSet": 1}
    assert of_black_box("table2", **edit).kinds == {**rec, **asked, "Measurement": 2, "Table": 1}


def test_another_oracle_makes_its_substitutes_and_keeps_the_others() -> None:
    # Table 2 has the substitute, the images and what the purifier makes of them.
    found = of_black_box(*BLACK_BOX, table1={"oracle": "defense_gan"})
    assert found.kinds == {"Measurement": 1, "Table": 1}
    found = of_black_box(*BLACK_BOX, table1={"oracle": "adv_training"})
    assert found.kinds == AFTER | {"Substitute": 1}


def test_weaker_adversarial_training_concerns_its_column() -> None:
    found = of_black_box("table1", defenses={"adv_training_weak": {"epsilon": 0.03}})
    assert found.kinds == {"Classifier": 1, "Measurement": 2, "Table": 1}


# Defense-GAN


def of_defense_gan(**edit: Any) -> Remade:
    return remade(lambda catalogue: paper_page(catalogue, "defense_gan").shown, OF_PAPERS, edit)


def test_another_number_of_steps_is_searched_with_all_others_and_concerns_nothing_upstream() -> (
    None
):
    # Epsilon 0.2 stands in no table over L: its search stays.
    found = of_defense_gan(table8={"steps": [1, 6, 12]})
    # Figures 3 to 7.
    assert found.kinds == {"Sweep": 3, "Measurement": 2, "Table": 5, "Figure": 5, "Detection": 1}


def test_another_epsilon_concerns_one_attack_and_one_search() -> None:
    found = of_defense_gan(table3={"epsilons": [0.1, 0.2, 0.3]})
    assert found.kinds == {
        **{"BlackBoxSet": 1, "Sweep": 1, "Measurement": 1, "Table": 1, "Detection": 1},
    }
    assert f"{RUN}/measurements/sweep/D/fgsm@0.3.csv" in found.paths


def test_the_defenses_own_steps_concern_no_sweeps_search() -> None:
    """The sweeps' Rec classifier is trained on what the defence makes of the training images."""
    found = of_defense_gan(defenses={"defense_gan": {"steps": 5, "restarts": 2}})
    assert found.kinds == {
        **{"PurifiedImages": 3, "Classifier": 1, "PurifiedBlackBox": 2},
        # Table 2's attacker asks the defence.
        **{"Substitute": 1, "BlackBoxSet": 1},
        # L = 5, and L = 2 and 4 of Figure 8, behind which stands that classifier.
        "AttackedDefense": 3,
        # Tables 1, 2, 4 and 12 twice, the sweeps thrice, Figure 8 once.
        **{"Measurement": 12, "Table": 9, "Detection": 1},
        # Figures 3 and 8.
        "Figure": 2,
    }


def test_resamples_concern_detection_alone() -> None:
    assert of_defense_gan(detection={"repeats": 30}).kinds == {"Detection": 1}


def test_number_of_validation_images_concerns_thresholds() -> None:
    found = of_defense_gan(sweep={"validation_images": 50})
    assert found.kinds == {"Sweep": 1, "Figure": 2, "Detection": 1}
    figures = {f"results/figures/figure{number}.png" for number in (4, 5)}
    assert found.paths >= figures


def test_figure8s_steps_concern_its_own_attacks() -> None:
    found = of_defense_gan(figure8={"steps": [2, 3, 4]})
    assert found.kinds == {"AttackedDefense": 1, "Measurement": 1, "Figure": 1}
    assert f"{RUN}/attacked/defense_gan@L3/D/fgsm.h5" in found.paths


def test_a_cell_that_a_table_has_is_not_searched_again_for_a_figure() -> None:
    found = of_defense_gan(figure6={"over_restarts": {"steps": 2, "restarts": [1, 2, 3]}})
    assert found == Remade({"Figure": 1}, {"results/figures/figure6.png"})


# Defense-VAE


FIGURES = {f"results/defense_vae/figure{number}.png" for number in (1, 4, 5)}
AFTER_VAE = {"PurifiedBlackBox": 1, "Measurement": 10, "RunTimes": 1, "Table": 6, "Figure": 3}
"""Table 1, 3, 7 and 8 clean and under FGSM, Table 2 under both attacks; Table 4's times."""


def of_defense_vae(**edit: Any) -> Remade:
    return remade(lambda catalogue: paper_page(catalogue, "defense_vae").shown, OF_PAPERS, edit)


def test_an_attacks_copies_concern_the_vaes_that_learn_from_them() -> None:
    found = of_defense_vae(copies={"cw": {"learning_rate": [6.0]}})
    assert found.kinds == AFTER_VAE | {
        # Of the two trainings end to end each has a classifier, and one a start.
        **{"AdversarialCopies": 1, "DefenseVAE": 3, "EndToEnd": 2, "Classifier": 3},
        # Both VAEs the training images, and the clean test images; those of end to end.
        "PurifiedImages": 4,
        # FGSM on base, REC, E2E, a VAE that has not seen it, and of Figure 1's strength; CW on REC.
        "AttackedDefense": 6,
    }
    assert FIGURES | {f"{RUN}/copies/D/cw.h5"} <= found.paths
    assert not any("without_cw" in path for path in found.paths)


def test_a_vaes_training_concerns_no_copies() -> None:
    """Nor a pair that is trained from scratch, nor VAEs of other names."""
    found = of_defense_vae(defenses={"defense_vae": {"kl_weight": 0.5}})
    assert found.kinds == AFTER_VAE | {
        **{"DefenseVAE": 2, "EndToEnd": 1, "Classifier": 2, "PurifiedImages": 3},
        "AttackedDefense": 5,
    }
    assert not any("scratch" in path or "without" in path for path in found.paths)


def test_a_vae_that_has_not_seen_an_attack_concerns_table2_alone() -> None:
    found = of_defense_vae(defenses={"defense_vae_without_cw": {"kl_weight": 0.5}})
    assert found.kinds == {
        **{"DefenseVAE": 1, "PurifiedImages": 1, "Classifier": 1, "AttackedDefense": 1},
        **{"Measurement": 1, "Table": 1},
    }
    assert "results/defense_vae/table2.csv" in found.paths


def test_end_to_end_training_concerns_itself_alone() -> None:
    found = of_defense_vae(defenses={"defense_vae_e2e": {"classifier_weight": 3.0}})
    assert found.kinds == {
        # One job with its two networks.
        **{"EndToEnd": 1, "DefenseVAE": 1, "Classifier": 1},
        **{"PurifiedImages": 1, "AttackedDefense": 1, "Measurement": 2, "Table": 1, "Figure": 1},
    }
    networks = {path for path in found.paths if path.endswith(".safetensors")}
    assert len(networks) == 2 and all("defense_vae_e2e" in path for path in networks)


def test_threat_models_concern_that_defenses_attacks() -> None:
    models = ["gray_box", "white_box", "white_box_bpda"]
    found = of_defense_vae(defenses={"defense_vae_rec": {"threat_models": models}})
    assert found.kinds == {"AttackedDefense": 2, "Measurement": 3, "Table": 2}
    assert f"{RUN}/attacked/defense_vae_rec/D/fgsm.h5" in found.paths


def test_steps_of_table4_are_timed_alone() -> None:
    found = of_defense_vae(defense_vae_table4={"steps": [2, 3]})
    assert found.kinds == {"RunTimes": 1, "Table": 1}
