"""Wrong configs are refused before anything runs, with the place and what is allowed there."""

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from conftest import DEFAULT, REPOSITORY, SCHEMA, also, edit, merged, refusal

from purification.attacks import ATTACKS
from purification.datasets import BLACK_BOX_HOLD_OUT
from purification.experiments import (
    Catalogue,
    ConfigError,
    paper_table,
    table_notes,
)
from purification.experiments.artifacts import Dataset
from purification.experiments.image_counts import ATTACKERS_IMAGES
from purification.experiments.papers import ACCURACY_FORMS, STUDIES, named
from purification.facts import decorated
from purification.reach import too_short


@pytest.mark.parametrize(
    "overlays",
    [
        [],
        ["config/paper.yaml"],
        ["config/mnist_cpu.yaml"],
        ["config/mnist_cpu.yaml", "config/studies/mnist_more.yaml"],
        ["config/cifar10_cpu.yaml"],
        ["tests/micro.yaml"],
        ["tests/celeba.yaml"],
    ],
)
def test_committed_configs_are_right(overlays: list[str]) -> None:
    config = DEFAULT
    for overlay in overlays:
        config = merged(config, yaml.safe_load((REPOSITORY / overlay).read_text()))
    assert not refusal(config)
    # It is the same search, but for its starts.
    own = {"classifier", "threat_models", "redraw", "judged_draws"}
    known, redrawn = (config["defenses"][f"defense_gan{end}"].items() for end in ("", "_redrawn"))
    assert {key: value for key, value in known if key not in own} == {
        key: value for key, value in redrawn if key not in own
    }


SHIPPED = ("", "paper", "mnist_cpu", "mnist_quick", "cifar10_cpu")
EDITS: list[dict[str, Any]] = [
    {"step_size": 0.002},
    {"iterations": 30},
    {"epsilon": 0.12},
    {"published_reach": 0.5},
]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_papers_steps_are_not_warned_of_as_the_config_has_them(name: str) -> None:
    own = yaml.safe_load((REPOSITORY / f"config/{name}.yaml").read_text()) if name else {}
    catalogue = Catalogue(merged(DEFAULT, own), SCHEMA)
    attacks = catalogue.config["attacks"]
    assert len([catalogue.attack(attack) for attack in attacks]) > 20
    assert not catalogue.remarks
    # It says what is: that these steps do not cross.
    claims = {attack: entry.get("published_reach") for attack, entry in attacks.items()}
    short = {
        attack: found.travels / found.must
        for attack in attacks
        if (found := too_short((made := catalogue.attack(attack)).method, made.settings))
    }
    assert "pgd" in short and short == pytest.approx(
        {attack: claims[attack] for attack in short}, abs=0.01
    )


@pytest.mark.parametrize("change", EDITS, ids=str)
def test_a_users_own_steps_are_warned_of(change: dict[str, Any]) -> None:
    own = DEFAULT["attacks"]["pgd"] | change
    plain = {key: value for key, value in own.items() if key != "published_reach"}
    attacks = {"pgd": own, "mine": plain}
    catalogue = Catalogue(merged(DEFAULT, {"attacks": attacks}), SCHEMA)
    for attack in attacks:
        catalogue.attack(attack)
    assert [told.partition(" its steps travel ")[0] for told in catalogue.remarks.values()] == [
        "attacks.pgd:",
        "attacks.mine:",
    ]


def without(*place: str) -> Callable[[dict[str, Any]], None]:
    """Drop one key, or several of a defence."""

    def apply(config: dict[str, Any]) -> None:
        depth = 2 if place[0] == "defenses" else len(place) - 1
        for key in place[:depth]:
            config = config[key]
        for key in place[depth:]:
            del config[key]

    return apply


AGAIN = {"method": "redeployed", "classifier": "originals", "threat_models": ["gray_box"]}
FEW = {"gray_box": 10, "white_box": 5, "white_box_bpda": 5}
PGD = {"method": "pgd", "images": FEW, "epsilon": 0.3, "step_size": 0.01, "iterations": 40}
VAM = {"method": "vam", "images": FEW, "epsilon": 2.0, "xi": 0.01, "iterations": 1}
HALF_MASKED = {"method": "half_masked", "images": FEW, "half": "left", "fill": 0.0}
OWN = {
    "bim": {**PGD, "method": "bim", "labels": "predicted", "paper_name": "bim"},
    "pgd": {**PGD, "pixel_range": [-1, 1]},
    "mim": {**PGD, "method": "mim", "momentum": 0.0},
    "vam": {**VAM, "pixel_range": [-1, 1]},
    "half_masked": HALF_MASKED,
}


@pytest.mark.parametrize("name", OWN)
def test_attack_of_the_config_has_the_settings_that_the_library_asks_for(name: str) -> None:
    """The schema and `run_attack` agree: what passes the one is not refused by the other."""
    attack = Catalogue(merged(DEFAULT, {"attacks": {name: OWN[name]}}), SCHEMA).attack(name)
    own = set(attack.settings) - {"labels", "pixel_range"}
    entry = ATTACKS[attack.method]
    stated = decorated("attacks")[attack.method]
    assert own >= set(entry.required) == set(stated.required)
    assert set(entry.settings) - own == set(stated.defaults) - own


STRONG = {
    "pgd": {"restarts": 2, "loss": "targeted", "momentum": 0.75, "schedule": "cosine"},
    "apgd": {"method": "apgd", "images": FEW, "epsilon": 0.3, "iterations": 40, "loss": "dlr"},
    "fab": {"method": "fab_l2", "images": FEW, "epsilon": 2.0, "iterations": 40, "targeted": False},
}


def test_optional_settings_are_in_the_recipe_where_they_stand_in_the_config() -> None:
    """A recipe without them is that of a config without them, whatever their defaults: files that
    were made before there were any stay fresh."""
    plain = Catalogue(DEFAULT, SCHEMA)
    assert plain.attack("pgd").settings == {
        **{"epsilon": 0.1, "step_size": 0.0033, "iterations": 40, "labels": "ground_truth"}
    }
    catalogue = Catalogue(merged(DEFAULT, {"attacks": STRONG}), SCHEMA)
    assert catalogue.attack("pgd").settings == {**plain.attack("pgd").settings, **STRONG["pgd"]}
    for name in ("apgd", "fab"):
        settings = {k: v for k, v in STRONG[name].items() if k not in ("method", "images")}
        assert catalogue.attack(name).settings == settings


def test_a_step_size_may_be_left_out() -> None:
    settings = {k: v for k, v in PGD.items() if k != "step_size"}
    catalogue = Catalogue(merged(DEFAULT, {"attacks": {"mine": settings}}), SCHEMA)
    assert catalogue.attack("mine").settings == {"epsilon": 0.3, "iterations": 40}


WRONG = {
    "unknown key": (
        edit("classifiers", "A", "epoch", value=3),
        ["classifiers.A: unknown key 'epoch' (did you mean 'epochs'?)", "learning_rate"],
    ),
    "unknown key of a training on one data set": (
        edit("classifiers", "A", "per_dataset", value={"mnist": {"dropout": "paper"}}),
        ["classifiers.A.per_dataset.mnist: unknown key 'dropout'; allowed: batch_size, epochs"],
    ),
    "training on no data set": (
        edit("generators", "wgan_gp", "per_dataset", value={"minst": {"iterations": 30}}),
        ["generators.wgan_gp.per_dataset: got ", "allowed: digits", "did you mean 'mnist'?"],
    ),
    "snapshot after a shorter training": (
        edit("generators", "dcgan", "per_dataset", value={"svhn": {"iterations": 3}}),
        ["generators.dcgan.per_dataset.svhn.snapshots: must be at most the 3 iterations"],
    ),
    "a training without a row in its history": (
        edit("generators", "wgan_gp", "iterations", value=9),
        ["generators.wgan_gp.iterations: 9 is less than the minimum of 10"],
    ),
    "unknown section": (edit("atacks", value={}), ["the top level: unknown key 'atacks'"]),
    "wrong type": (
        edit("classifiers", "A", "epochs", value="ten"),
        ["classifiers.A.epochs: must be of type integer; got 'ten' of type str"],
    ),
    "number that YAML reads as text": (
        edit("classifiers", "A", "learning_rate", value="1e-3"),
        ["classifiers.A.learning_rate", "write 1.0e-4, without quotes"],
    ),
    "no integer": (
        edit("defenses", "defense_gan", "steps", value=2.5),
        ["defenses.defense_gan.steps: must be of type integer; got 2.5"],
    ),
    "out of range": (
        edit("attacks", "fgsm", "epsilon", value=8.0),
        ["attacks.fgsm.epsilon: 8.0 is greater than the maximum of 1"],
    ),
    "unknown attack method": (
        edit("attacks", "fgsm", "method", value="fgms"),
        ["attacks.fgsm.method: got ", "allowed: apgd, apgd_l2, cw_l2", "did you mean 'fgsm'?"],
    ),
    "attack without its settings": (
        edit("attacks", "fgsm", "method", value="pgd"),
        ["attacks.fgsm: the key 'iterations' is missing"],
    ),
    "momentum of an attack without": (
        edit("attacks", "own", value={**PGD, "method": "bim", "momentum": 1.0}),
        ["attacks.own: unknown key 'momentum'", "step_size"],
    ),
    "momentum that never fades": (
        edit("attacks", "own", value={**PGD, "momentum": 1.0}),
        ["attacks.own.momentum: 1.0 is greater than or equal to the maximum of 1"],
    ),
    "a loss that PGD does not climb": (
        edit("attacks", "own", value={**PGD, "loss": "targeted_dlr"}),
        ["attacks.own.loss: got 'targeted_dlr'", "allowed: log_odds, margin, dlr, log_error, t"],
    ),
    "MIM without momentum": (
        edit("attacks", "own", value={**PGD, "method": "mim"}),
        ["attacks.own: the key 'momentum' is missing"],
    ),
    "steps beyond a pixel's range": (
        edit("attacks", "own", value={**PGD, "step_size": 2.0}),
        ["attacks.own.step_size: 2.0 is greater than the maximum of 1"],
    ),
    "labels of an attack that looks at none": (
        edit("attacks", "own", value={**VAM, "labels": "predicted"}),
        ["attacks.own: unknown key 'labels'", "xi"],
    ),
    "VAM without difference": (
        edit("attacks", "own", value={**VAM, "xi": 0}),
        ["attacks.own.xi: 0 is less than or equal to the minimum of 0"],
    ),
    "half of an image that is none": (
        edit("attacks", "own", value={**HALF_MASKED, "half": "middle"}),
        ["attacks.own.half: got 'middle'", "allowed: top, bottom, left, right"],
    ),
    "copies that their attack could not make": (
        also(
            edit("attacks", "own", value=PGD),
            edit("copies", "own", value={"step_size": [0.1, 2.0]}),
        ),
        ["copies.own.step_size: 2.0 is greater than the maximum of 1"],
    ),
    "unknown architecture": (
        edit("classifiers", "A", "architecture", value="G"),
        ["classifiers.A.architecture: got ", "allowed: A, B, C, D, E, F", "package.module:name"],
    ),
    "unknown data set source": (
        edit("datasets", "digits", "source", value="minst"),
        ["datasets.digits.source: got ", "allowed: celeba, cifar10, d", "did you mean 'mnist'?"],
    ),
    "unknown defense method": (
        edit("defenses", "magnet", "method", value="mag"),
        ["defenses.magnet.method: got ", "allowed: adversarial_training, redeployed, ae_gan"],
    ),
    "unknown threat model": (
        edit("defenses", "magnet", "threat_models", value=["whitebox"]),
        ["defenses.magnet.threat_models.0", "white_box_bpda", "did you mean 'white_box'?"],
    ),
    "missing key": (
        lambda config: config["attacks"]["cw"].pop("constant"),
        ["attacks.cw: the key 'constant' is missing"],
    ),
    "a table's unknown attack": (
        edit("table4", "attacks", value=["spsa"]),
        ["table4.attacks: got ", "allowed: fgsm, rand_fgsm, cw", "got 'spsa'"],
    ),
    "a table's unknown classifier": (
        edit("table4", "classifiers", value=["Z"]),
        ["table4.classifiers: got ", "allowed: A, B, C, D, E, F", "got 'Z'"],
    ),
    "a table's unknown data set": (
        edit("table4", "datasets", value=["emnist"]),
        ["table4.datasets: got 'emnist'", "allowed: digits, mnist, fmnist, celeba, cifar10, svhn"],
    ),
    "a pair's unknown substitute": (
        edit("table1", "pairs", value=["A/Z"]),
        ["table1.pairs: got ", "allowed: A, B, C, D, E, F", "got 'Z'"],
    ),
    "a pair that is none": (
        edit("table2", "pairs", value=["AE"]),
        ["table2.pairs.0: the name 'AE' cannot be used here"],
    ),
    "unknown oracle": (
        edit("table1", "oracle", value="defend"),
        [
            "table1.oracle: got ",
            "allowed: classifier, defended, defense_gan",
            "did you mean 'defended'?",
        ],
    ),
    "too few images for the black box": (
        edit("datasets", "digits", "test", value=150),
        ["table1.datasets: the black-box attacker has the first 150 test images", "digits.test is"],
    ),
    "too few clean images for the black box": (
        edit("defenses", "defense_gan", "clean_images", value=100),
        ["table2.defenses: the black-box attacker has", "defenses.defense_gan.clean_images is 100"],
    ),
    "redeployed purifier of no purifier": (
        edit("defenses", "defense_gan_orig", "purifier", value="adv_training"),
        ["defenses.defense_gan_orig.purifier: got ", "allowed: defense_gan, defense_gan_redrawn, "],
    ),
    "unknown generator": (
        edit("defenses", "defense_gan", "generator", value="wgan"),
        ["defenses.defense_gan.generator: got 'wgan'", "allowed: wgan_gp"],
    ),
    "copies of an unknown attack": (
        edit("copies", "spsa", value={"epsilon": 0.1}),
        ["copies: got ", "allowed: fgsm, rand_fgsm, cw", "got 'spsa'"],
    ),
    "copies with another attack's setting": (
        edit("copies", "fgsm", value={"alpha": [0.1, 0.2]}),
        ["copies.fgsm: got 'alpha'", "allowed: epsilon"],
    ),
    "copies of the same strength": (
        edit("copies", "fgsm", value={"epsilon": [0.1, 0.1]}),
        ["copies.fgsm.epsilon: [0.1, 0.1] has non-unique elements"],
    ),
    "copies whose random step is beyond their strength": (
        edit("copies", "rand_fgsm", value={"epsilon": [0.1, 0.01]}),
        ["copies.rand_fgsm.epsilon: must be above alpha = 0.0167", "got 0.01"],
    ),
    "copies of a fraction of a step": (
        edit("copies", "cw", "iterations", value=2.5),
        ["copies.cw.iterations: must be of type integer; got 2.5"],
    ),
    "copies of a strength out of range": (
        edit("copies", "fgsm", "epsilon", value=[0.1, 8.0]),
        ["copies.fgsm.epsilon: 8.0 is greater than the maximum of 1"],
    ),
    "copies that the config does not have": (
        edit("defenses", "defense_vae", "copies", value=["fgsm", "cw_tuned"]),
        ["defenses.defense_vae.copies: got 'cw_tuned'", "allowed: fgsm, rand_fgsm, cw, deepfool"],
    ),
    "end to end from what is no Defense-VAE": (
        edit("defenses", "defense_vae_e2e", "start", value="magnet"),
        [
            "defenses.defense_vae_e2e.start: got ",
            "allowed: defense_vae, defense_vae_rec, ",
            "'magnet'",
        ],
    ),
    "end to end over the course of an unknown attack": (
        edit("defenses", "defense_vae_e2e", "curve", value="spsa"),
        ["defenses.defense_vae_e2e.curve: got ", "allowed: fgsm, "],
    ),
    "two end-to-end trainings in one column": (
        lambda config: (
            edit("defenses", "longer", value=DEFAULT["defenses"]["defense_vae_e2e"])(config),
            edit("defense_vae_table1", "defenses", value=["defense_vae_e2e", "longer"])(config),
        ),
        ["defense_vae_table1.defenses: 'defense_vae_e2e' and 'longer' have one column"],
    ),
    "an end-to-end training redeployed": (
        edit("defenses", "defense_vae_rec", "purifier", value="defense_vae_e2e"),
        ["defenses.defense_vae_rec.purifier: got ", "allowed: defense_gan, defense_gan_redrawn, "],
    ),
    "an unseen attack's unknown defense": (
        edit("defense_vae_table2", "trained_on", "other_two", "cw", value="defense_vae_no_cw"),
        [
            "defense_vae_table2.trained_on.other_two.cw: got ",
            "allowed: defense_vae, ",
            "'defense_vae_no_cw'",
        ],
    ),
    "an unseen attack's defense that is no Defense-VAE": (
        edit("defense_vae_table2", "trained_on", "other_two", "cw", value="defense_gan"),
        [
            "defense_vae_table2.trained_on.other_two.cw: got ",
            "allowed: defense_vae, ",
            "got 'defense_gan'",
        ],
    ),
    "an unseen attack that is unknown": (
        edit("defense_vae_table2", "trained_on", "all_three", "spsa", value="defense_vae_rec"),
        ["defense_vae_table2.trained_on.all_three: got ", "allowed: fgsm, ", "got 'spsa'"],
    ),
    "an unseen attack's defense without gray box": (
        edit("defenses", "defense_vae_without_cw", "threat_models", value=["white_box"]),
        ["defenses.defense_vae_without_cw.threat_models: defense_vae_table2.trained_on.other_two"],
    ),
    "run times of no Defense-VAE": (
        edit("defense_vae_table4", "defense", value="defense_vae_rec"),
        ["defense_vae_table4.defense: got ", "allowed: defense_vae, ", "got 'defense_vae_rec'"],
    ),
    "run times of no search": (
        edit("defense_vae_table4", "search", value="magnet"),
        ["defense_vae_table4.search: got 'magnet'", "allowed: defense_gan"],
    ),
    "run times before an unknown classifier": (
        edit("defense_vae_table4", "classifier", value="Z"),
        ["defense_vae_table4.classifier: got ", "allowed: A, B, C, D, E, F", "got 'Z'"],
    ),
    "run times of an unknown data set": (
        edit("defense_vae_table4", "datasets", value=["emnist"]),
        ["defense_vae_table4.datasets: got ", "allowed: digits, "],
    ),
    "run times of more images than there are": (
        edit("defense_vae_table4", "images", value=501),
        ["defense_vae_table4.images: must be at most datasets.digits.test = 500", "got 501"],
    ),
    "run times of more searched images than there are": (
        edit("defense_vae_table4", "search_images", value=501),
        ["defense_vae_table4.search_images: must be at most datasets.digits.test = 500"],
    ),
    "Defense-VAE's Figure 1 of an unknown data set": (
        edit("defense_vae_figure1", "datasets", value=["emnist"]),
        ["defense_vae_figure1.datasets: got ", "allowed: digits, "],
    ),
    "Defense-VAE's Figure 1 of an unknown classifier": (
        edit("defense_vae_figure1", "classifier", value="Z"),
        ["defense_vae_figure1.classifier: got ", "allowed: A, B, C, D, E, F", "got 'Z'"],
    ),
    "Defense-VAE's Figure 1 of an attack without epsilon": (
        edit("defense_vae_figure1", "attack", value="cw"),
        ["defense_vae_figure1.attack: got ", "allowed: fgsm, rand_fgsm", "got 'cw'"],
    ),
    "Defense-VAE's Figure 1 below the random step": (
        lambda config: (
            edit("defense_vae_figure1", "attack", value="rand_fgsm")(config),
            edit("defense_vae_figure1", "epsilons", value=[0.1, 0.01])(config),
        ),
        ["defense_vae_figure1.epsilons: 0.01 is not above attacks.rand_fgsm.alpha = 0.0167"],
    ),
    "Defense-VAE's Figure 1 of what purifies nothing": (
        edit("defense_vae_figure1", "defenses", value=["adv_training"]),
        ["defense_vae_figure1.defenses: got ", "allowed: defense_gan, ", "got 'adv_training'"],
    ),
    "Defense-VAE's Figure 1 without gray box": (
        edit("defenses", "defense_vae", "threat_models", value=["white_box"]),
        ["defenses.defense_vae.threat_models: defense_vae_figure1.defenses needs gray_box"],
    ),
    "Defense-VAE's Figure 4 of what is not trained end to end": (
        edit("defense_vae_figure4", "defenses", value=["defense_vae_rec"]),
        ["defense_vae_figure4.defenses: got ", "allowed: defense_vae_e2e, defense_vae_e2e_scratch"],
    ),
    "Defense-VAE's Figure 4 of an unknown classifier": (
        edit("defense_vae_figure4", "classifiers", value=["A", "Z"]),
        ["defense_vae_figure4.classifiers: got ", "allowed: A, B, C, D, E, F", "got 'Z'"],
    ),
    "Defense-VAE's Figure 4 with two equal lines": (
        lambda config: (
            edit("defenses", "longer", value=DEFAULT["defenses"]["defense_vae_e2e"])(config),
            edit("defense_vae_figure4", "defenses", value=["defense_vae_e2e", "longer"])(config),
        ),
        ["defense_vae_figure4.defenses: 'defense_vae_e2e' and 'longer' would be one line"],
    ),
    "Defense-VAE's Figure 5 of an unknown substitute": (
        edit("defense_vae_figure5", "pair", value="A/Z"),
        ["defense_vae_figure5.pair: got ", "allowed: A, B, C, D, E, F", "got 'Z'"],
    ),
    "Defense-VAE's Figure 5 of an unknown attack": (
        edit("defense_vae_figure5", "attack", value="spsa"),
        ["defense_vae_figure5.attack: got ", "allowed: fgsm, "],
    ),
    "Defense-VAE's Figure 5 of what purifies nothing": (
        edit("defense_vae_figure5", "defenses", value=["adv_training"]),
        ["defense_vae_figure5.defenses: got ", "allowed: defense_gan, ", "got 'adv_training'"],
    ),
    "too few images for Defense-VAE's Figure 5": (
        lambda config: (
            edit("datasets", "few", value={"source": "digits", "validation": 10, "test": 150})(
                config
            ),
            edit("defense_vae_figure5", "datasets", value=["few"])(config),
        ),
        ["defense_vae_figure5.datasets: the black-box attacker has the first 150", "few.test is 1"],
    ),
    "random step beyond epsilon": (
        edit("attacks", "rand_fgsm", "alpha", value=0.9),
        ["attacks.rand_fgsm.alpha: must be below epsilon"],
    ),
    "two purifiers in one column": (
        edit("defenses", "magnet", "column", value="defense_gan"),
        ["table12.defenses: 'defense_gan' and 'magnet' have one column, 'defense_gan'"],
    ),
    "a column that a table has already": (
        edit("defenses", "magnet", "column", value="adv_tr"),
        ["defenses.magnet.column"],
    ),
    "another pixel range": (
        edit("attacks", "fgsm", "pixel_range", value=[0, 255]),
        ["attacks.fgsm.pixel_range: got [0, 255]", "allowed: [0, 1], [-1, 1]"],
    ),
    "a pixel range without pixel units": (
        edit("attacks", "cw", "pixel_range", value=[-1, 1]),
        ["attacks.cw: unknown key 'pixel_range'"],
    ),
    "more images than CelebA has": (
        edit("datasets", "celeba", "test", value=20000),
        ["datasets.celeba.test: there are 19,962 images; got 20000"],
    ),
    "more images than CIFAR-10 has": (
        edit("datasets", "cifar10", "test", value=10_001),
        ["datasets.cifar10.test: there are 10,000 test images; got 10001"],
    ),
    "more images than SVHN has": (
        edit("datasets", "mnist", value={"source": "svhn", "validation": 7_325, "test": 26_033}),
        ["datasets.mnist.test: there are 26,032 test images; got 26033"],
    ),
    "no images of SVHN left to train on": (
        edit("datasets", "mnist", value={"source": "svhn", "validation": 73_248, "test": None}),
        ["datasets.mnist: fewer than 10 of 73,257 images are left"],
    ),
    "no images of CIFAR-10 left to train on": (
        edit("datasets", "cifar10", "validation", value=49_991),
        ["datasets.cifar10: fewer than 10 of 50,000 images are left"],
    ),
    "no validation images of MNIST": (
        edit("datasets", "mnist", "validation", value=None),
        ["datasets.mnist.validation: must be a number; only celeba"],
    ),
    "a number of MNIST's training images": (
        edit("datasets", "mnist", "train", value=100),
        ["datasets.mnist.train: only celeba takes"],
    ),
    "classes of a source that has its own": (
        edit("datasets", "celeba", "classes", value=2),
        ["datasets.celeba.classes: only a source of your own"],
    ),
    "no images left to train on": (
        edit("datasets", "digits", "validation", value=1500),
        ["datasets.digits", "fewer than 10 of 1,797 images are left"],
    ),
    "own module that is not there": (
        edit("defenses", "magnet", value={
            "method": "no_such_lab.defense:build",
            "classifier": "originals",
            "threat_models": ["gray_box"],
        }),
        ["defenses.magnet.method: module 'no_such_lab.defense' is neither installed nor"],
    ),
    "a sweep's unknown classifier": (
        edit("sweep", "classifier", value="Z"),
        ["sweep.classifier: got ", "allowed: A, B, C, D, E, F", "got 'Z'"],
    ),
    "a sweep's unknown substitute": (
        edit("sweep", "substitute", value="Z"),
        ["sweep.substitute: got ", "allowed: A, B, C, D, E, F", "got 'Z'"],
    ),
    "a sweep's unknown oracle": (
        edit("sweep", "oracle", value="defended"),
        [
            "sweep.oracle: got ",
            "allowed: classifier, defense_gan, defense_gan_orig, ",
        ],
    ),
    "a sweep's attack without epsilon": (
        edit("sweep", "attack", value="cw"),
        ["sweep.attack: got ", "allowed: fgsm, rand_fgsm", "got 'cw'"],
    ),
    "a sweep of a defense without search": (
        edit("sweep", "defenses", value=["magnet"]),
        [
            "sweep.defenses: got 'magnet'",
            "allowed: defense_gan, defense_gan_orig, defense_gan_plain",
        ],
    ),
    "a sweep of two searches": (
        edit("defenses", "defense_gan_orig", value=DEFAULT["defenses"]["defense_gan"]),
        ["sweep.defenses: one search serves them all, and these have 2"],
    ),
    "validation images that are no number": (
        edit("sweep", "validation_images", value="all"),
        ["sweep.validation_images: must be of type integer or null; got 'all'"],
    ),
    "a swept strength below the random step": (
        lambda config: (
            edit("sweep", "attack", value="rand_fgsm")(config),
            edit("figure7", "epsilons", value=[0.1, 0.01])(config),
        ),
        ["figure7.epsilons: 0.01 is not above attacks.rand_fgsm.alpha = 0.0167"],
    ),
    "a swept table's unknown data set": (
        edit("table9", "datasets", value=["emnist"]),
        ["table9.datasets: got ", "allowed: digits, mnist, fmnist", "got 'emnist'"],
    ),
    "too few images for a sweep": (
        lambda config: (
            edit("datasets", "few", value={"source": "digits", "validation": 10, "test": 150})(
                config
            ),
            edit("table3", "datasets", value=["few"])(config),
        ),
        ["table3.datasets: the black-box attacker has the first 150", "datasets.few.test is 150"],
    ),
    "too few images for detection": (
        lambda config: (
            edit("datasets", "few", value={"source": "digits", "validation": 10, "test": 150})(
                config
            ),
            edit("detection", "datasets", value=["few"])(config),
        ),
        ["detection.datasets: the black-box attacker has", "datasets.few.test is 150"],
    ),
    "a table over L with several R": (
        edit("table8", "restarts", value=[1, 2]),
        ["table8.restarts: must be of type integer; got [1, 2]"],
    ),
    "a table over R with several L": (
        edit("table10", "steps", value=[1, 2]),
        ["table10.steps: must be of type integer; got [1, 2]"],
    ),
    "a table over epsilon without one": (
        lambda config: config["table3"].pop("epsilons"),
        ["table3: the key 'epsilons' is missing"],
    ),
    "a strength out of range": (
        edit("figure5", "epsilons", value=[0.1, 3]),
        ["figure5.epsilons.1: 3 is greater than the maximum of 1"],
    ),
    "Tables 8 and 10 of different data sets": (
        edit("table10", "datasets", value=["mnist"]),
        ["table10.datasets: Figure 3 shows a data set of Tables 8 and 10; none is in both"],
    ),
    "a figure of two data sets": (
        edit("figure4", "datasets", value=["digits", "mnist"]),
        ["figure4.datasets: ['digits', 'mnist'] is too long"],
    ),
    "pictures over L with several R": (
        edit("figure6", "over_steps", "restarts", value=[1]),
        ["figure6.over_steps.restarts: must be of type integer; got [1]"],
    ),
    "a figure's unknown key": (
        edit("figure7", "step", value=3),
        ["figure7: unknown key 'step' (did you mean 'steps'?)"],
    ),
    "Figure 8 of no search": (
        edit("figure8", "defense", value="magnet"),
        ["figure8.defense: got 'magnet'", "allowed: defense_gan"],
    ),
    "Figure 8's unknown classifier": (
        edit("figure8", "classifiers", value=["Z"]),
        ["figure8.classifiers: got ", "allowed: A, B, C, D, E, F", "got 'Z'"],
    ),
    "Figure 8's unknown attack": (
        edit("figure8", "attack", value="spsa"),
        ["figure8.attack: got ", "allowed: fgsm, rand_fgsm, cw", "got 'spsa'"],
    ),
    "no resamples": (
        edit("detection", "repeats", value=0),
        ["detection.repeats: 0 is less than the minimum of 1"],
    ),
    "an inference rule over another network's one pass": (
        edit("defenses", "ae_gan_rs_rule", "rule", "one_pass", value="ae"),
        ["defenses.ae_gan_rs_rule.rule.one_pass: got 'ae'", "allowed: ae_gan_r"],
    ),
    "an inference rule over a search": (
        edit("defenses", "ae_gan_rs_rule", "rule", "one_pass", value="ae_gan_rs"),
        ["defenses.ae_gan_rs_rule.rule.one_pass: got 'ae_gan_rs'", "allowed: ae_gan_r"],
    ),
    "an inference rule by an indicator without one pass": (
        edit("defenses", "ae_gan_rs_rule", "indicator", value="l1"),
        ["defenses.ae_gan_rs_rule.rule.one_pass: no defense", "'ae_gan_r' with the indicator l1"],
    ),
    "an inference rule without search": (
        without("defenses", "ae_gan_rs_rule", "steps", "step_size", "doubling"),
        ["defenses.ae_gan_rs_rule: 'rule' needs the key 'steps', which is missing"],
    ),
    "steps of an encoder's search without doubling": (
        without("defenses", "ae_gan_rs", "doubling"),
        ["defenses.ae_gan_rs: 'steps' needs the key 'doubling', which is missing"],
    ),
    "L-BFGS with Defense-GAN's momentum": (
        edit("defenses", "defense_gan", "optimizer", value="lbfgs"),
        ["defenses.defense_gan.momentum: the optimizer lbfgs has none: must be 0.0; got 0.7"],
    ),
    "L-BFGS with Cowboy's momentum": (
        edit("defenses", "cowboy", "optimizer", value="lbfgs"),
        ["defenses.cowboy.momentum: the optimizer lbfgs has none: must be 0.0; got 0.7"],
    ),
    "L-BFGS with AE-GAN+rs's doubling": (
        edit("defenses", "ae_gan_rs", "optimizer", value="lbfgs"),
        ["defenses.ae_gan_rs.doubling: the optimizer lbfgs has none: must be null; got 5"],
    ),
    "L-BFGS without a search": (
        edit("defenses", "ae_gan_r", "optimizer", value="lbfgs"),
        ["defenses.ae_gan_r: 'optimizer' needs the key 'steps', which is missing"],
    ),
    "an unknown optimizer": (
        edit("defenses", "defense_gan", "optimizer", value="newton"),
        ["defenses.defense_gan.optimizer: ", "gradient_descent, lbfgs", "'newton'"],
    ),
    "training by PGD without step size": (
        without("defenses", "adv_training_pgd", "step_size"),
        ["defenses.adv_training_pgd: 'attack' needs the key 'step_size', which is missing"],
    ),
    "step size of a training without PGD": (
        without("defenses", "adv_training_pgd", "attack"),
        ["defenses.adv_training_pgd: 'step_size' needs the key 'attack', which is missing"],
    ),
    "pairs without transferred attacks": (
        without("ae_gan_table1", "transferred"),
        ["ae_gan_table1: pairs, transferred and oracle go together"],
    ),
    "transferred attacks without pairs": (
        without("ae_gan_table9", "pairs"),
        ["ae_gan_table9: pairs, transferred and oracle go together"],
    ),
    "a transferred attack that the table does not have": (
        edit("ae_gan_table1", "transferred", value=["bim"]),
        ["ae_gan_table1.transferred: got 'bim'", "allowed: fgsm, pgd, cw, cw_tuned"],
    ),
    "a table over searches of one pass": (
        edit("ae_gan_table2", "defenses", value=["ae_gan"]),
        ["ae_gan_table2.defenses: got ", "allowed: defense_gan, ", "got 'ae_gan'"],
    ),
    "one toy in two figures": (
        edit("cowboy_figure2", value={"gan_steps": 50}),
        ["cowboy_figure1: cowboy_figure1 and cowboy_figure2 show one training", "got {'cowboy_"],
    ),
    "detection by a search": (
        edit("ae_gan_figure3", "defense", value="ae_gan_rs"),
        ["ae_gan_figure3.defense: got 'ae_gan_rs'", "allowed: ae, ae_gan, ae_gan_r, bigan"],
    ),
    "detection by a redeployed search": (
        also(
            edit("defenses", "again", value={**AGAIN, "purifier": "ae_gan_rs"}),
            edit("ae_gan_figure6", "defense", value="again"),
        ),
        ["ae_gan_figure6.defense: got 'again'", "allowed: ae, ae_gan, ae_gan_r, bigan"],
    ),
    "detection of an attack without epsilon": (
        edit("ae_gan_figure3", "attack", value="cw"),
        [
            "ae_gan_figure3.attack: got ",
            "allowed: fgsm, rand_fgsm, pgd, bim, mim, vam, random_signs",
        ],
    ),
    "detection below the random step": (
        also(
            edit("ae_gan_figure3", "attack", value="rand_fgsm"),
            edit("ae_gan_figure3", "epsilons", value=[0.01]),
        ),
        ["ae_gan_figure3.epsilons: 0.01 is not above attacks.rand_fgsm.alpha = 0.0167"],
    ),
    "detection on two data sets": (
        edit("ae_gan_figure3", "datasets", value=["digits", "mnist"]),
        ["ae_gan_figure3.datasets: ['digits', 'mnist'] is too long"],
    ),
    "samples of no BiGAN": (
        edit("ae_gan_figure4", "generator", value="ae_gan"),
        ["ae_gan_figure4.generator: got 'ae_gan'", "allowed: bigan"],
    ),
    "pictures of no encoder": (
        edit("ae_gan_figure5", "defenses", value=["magnet"]),
        ["ae_gan_figure5.defenses: got ", "allowed: ae, ae_s, ", "got 'magnet'"],
    ),
    "pictures of an unknown data set and attack": (
        edit("ae_gan_figure5", "panels", value=[{"dataset": "emnist", "attack": "spsa"}]),
        [
            "ae_gan_figure5.panels.dataset: got ",
            "allowed: ",
            "ae_gan_figure5.panels.attack: got ",
            "allowed: ",
        ],
    ),
    "accuracy over cost of random starts without restarts": (
        without("cost_accuracy", "lines", "defense_gan_plain", "restarts"),
        ["cost_accuracy.lines.defense_gan_plain: this search needs restarts"],
    ),
    "accuracy over cost of an encoder's search with restarts": (
        edit("cost_accuracy", "lines", "ae_gan_rs", "restarts", value=[1]),
        ["cost_accuracy.lines.ae_gan_rs: this search has no restarts"],
    ),
    "accuracy over cost of no search": (
        edit("cost_accuracy", "lines", "magnet", value={"steps": [1]}),
        ["cost_accuracy.lines: got ", "allowed: defense_gan, ", "got 'magnet'"],
    ),
    "accuracy over cost in a threat model that a defense lacks": (
        edit("cost_accuracy", "threat_models", value=["white_box_bpda"]),
        ["defenses.ae_gan_rs.threat_models: cost_accuracy needs white_box_bpda; got white_box, "],
    ),
    "accuracy over cost beside what is no line": (
        edit("cost_accuracy", "reference", value={"defense": "magnet"}),
        ["cost_accuracy.reference.defense: got ", "allowed: defense_gan_plain, ae_gan_rs, bigan_s"],
    ),
    "accuracy over cost beside restarts that are no line": (
        edit("cost_accuracy", "reference", "restarts", value=10),
        ["cost_accuracy.reference.restarts: must be one of [2]; got 10"],
    ),
    "accuracy over cost beside restarts of a search without": (
        edit("cost_accuracy", "reference", value={"defense": "ae_gan_rs", "restarts": 1}),
        ["cost_accuracy.reference.restarts: must be left out, as in its line; got 1"],
    ),
    "accuracy over cost with a search for one pass": (
        edit("cost_accuracy", "one_pass", value="ae_gan_rs"),
        ["cost_accuracy.one_pass: got 'ae_gan_rs'", "allowed: ae, ae_gan, ae_gan_r, bigan"],
    ),
    "the rule's table of a defense without rule": (
        edit("inference_rule", "defense", value="ae_gan_rs"),
        ["inference_rule.defense: got 'ae_gan_rs'", "allowed: ae_gan_rs_rule"],
    ),
    "snapshots beyond the training": (
        edit("generators", "dcgan", "snapshots", value=[50, 1501]),
        ["generators.dcgan.snapshots: must be at most the 1000 iterations; got 1501"],
    ),
    "an unknown kind of generator": (
        edit("generators", "dcgan", "kind", value="dcgan"),
        ["generators.dcgan.kind: got 'dcgan'", "allowed: wgan_gp, ae_gan, bigan, gan"],
    ),
    "a precision that training does not have": (
        edit("generators", "wgan_gp", "precision", value="tf32"),
        ["generators.wgan_gp.precision: got 'tf32'", "allowed: float32, bfloat16"],
    ),
    "Cowboy with a generator that has no discriminator": (
        edit("defenses", "cowboy", "generator", value="wgan_gp"),
        ["defenses.cowboy.generator: got 'wgan_gp'", "allowed: dcgan"],
    ),
    "an encoder's search with a generator without one": (
        edit("defenses", "ae_gan_rs", "generator", value="dcgan"),
        ["defenses.ae_gan_rs.generator: got ", "allowed: ae, ae_gan, ae_gan_r, ", "got 'dcgan'"],
    ),
    "scores of no Cowboy": (
        edit("cowboy_figure3", "defense", value="defense_gan"),
        ["cowboy_figure3.defense: got 'defense_gan'", "allowed: cowboy, cowboy_reconstruction"],
    ),
    "a course of no Cowboy": (
        edit("cowboy_figure6", "defense", value="ae_gan_rs"),
        ["cowboy_figure6.defense: got 'ae_gan_rs'", "allowed: cowboy, cowboy_reconstruction"],
    ),
    "images of low score without scores": (
        edit("cowboy_figure4", "datasets", value=["mnist"]),
        ["cowboy_figure4.datasets: got 'mnist'", "allowed: digits"],
    ),
    "scores over a training that is not followed": (
        edit("cowboy_figure7", "datasets", value=["mnist"]),
        ["cowboy_figure7.datasets: got 'mnist'", "allowed: digits"],
    ),
    "a threshold from an attack without scores": (
        edit("cowboy_detection", "threshold_attack", value="deepfool"),
        [
            "cowboy_detection.threshold_attack: got ",
            "allowed: fgsm, pgd, bim, mim, vam, random_signs",
        ],
    ),
    "a comparison of one defense": (
        edit("cowboy_table2", "defenses", value=["cowboy"]),
        ["cowboy_table2.defenses: two are compared; got ['cowboy']"],
    ),
    "a comparison with what purifies nothing": (
        edit("cowboy_table2", "defenses", value=["cowboy", "adv_training"]),
        [
            "cowboy_table2.defenses: got ",
            "allowed: cowboy, cowboy_reconstruction",
            "got 'adv_training'",
        ],
    ),
    "a comparison without gray box": (
        edit("defenses", "cowboy_reconstruction", "threat_models", value=["white_box"]),
        ["defenses.cowboy_reconstruction.threat_models: cowboy_table2.defenses needs gray_box"],
    ),
    "quality of unknown generators": (
        also(
            edit("generator_quality", "datasets", value=["emnist"]),
            edit("generator_quality", "classifier", value="Z"),
            edit("generator_quality", "attack", value="spsa"),
            edit("generator_quality", "defenses", value=["magnet", "adv_training"]),
        ),
        [
            "generator_quality.datasets: got ", "allowed: digits, ",
            "generator_quality.classifier: got ", "allowed: A, ",
            "generator_quality.attack: got ", "allowed: fgsm, ",
            "generator_quality.defenses: got ", "allowed: defense_gan_orig, ",
            "got 'magnet'",
            "got 'adv_training'",
        ],
    ),
    "quality of a generator before a retrained classifier": (
        edit("generator_quality", "defenses", value=["defense_gan"]),
        ["defenses.defense_gan.classifier: generator_quality.defenses needs originals", "got rec"],
    ),
    "quality of a generator without gray box": (
        edit("defenses", "cowboy", "threat_models", value=["white_box"]),
        ["defenses.cowboy.threat_models: generator_quality.defenses needs gray_box; got white_box"],
    ),
    "quality of an autoencoder": (
        edit("generator_quality", "defenses", value=["ae_s"]),
        ["generator_quality.defenses: 'ae_s' has the generator 'ae', which was trained without"],
    ),
    "quality without draws": (
        edit("generator_quality", "draws", value=0),
        ["generator_quality.draws: 0 is less than the minimum of 1"],
    ),
    "a comparison of an unknown table": (
        edit("comparison", "tables", value=["table4", "tabel1"]),
        ["comparison.tables: got 'tabel1' (did you mean 'table1'?); allowed: table1, "],
    ),
    "a comparison of a table of times": (
        edit("comparison", "tables", value=["table13"]),
        ["comparison.tables: got ", "allowed: table1, ", "got 'table13'"],
    ),
    "a comparison of one table twice": (
        edit("comparison", "tables", value=["table4", "table4"]),
        ["comparison.tables: ['table4', 'table4'] has non-unique elements"],
    ),
    "a comparison of no table": (
        edit("comparison", "tables", value=[]),
        ["comparison.tables: [] should be non-empty"],
    ),
    "name that is no folder": (
        edit("attacks", "a/b", value=DEFAULT["attacks"]["fgsm"]),
        ["attacks: the name 'a/b' cannot be used here"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_config_is_refused_with_its_place(case: str) -> None:
    change, expected = WRONG[case]
    config = copy.deepcopy(DEFAULT)
    change(config)
    message = refusal(config)
    for part in expected:
        assert part in message


def test_a_table_is_looked_at_when_it_is_asked_for() -> None:
    """`digits.test: 100` concerns none but those that need more, whatever else the config has."""
    few = merged(DEFAULT, {"datasets": {"digits": {"test": 100}}})
    assert not refusal(few, "table4", "defense_vae_table1", "figure8")
    for study in ("table1", "sweep", "figure3", "detection", "ae_gan_table1"):
        message = refusal(few, study)
        assert message.count("\n") == (study != "sweep"), message
    assert "table8.datasets: the black-box attacker has" in refusal(few, "figure3")
    worse = merged(few, dict.fromkeys(("table1", "table8", "cowboy_figure3", "comparison"), 3))
    assert not refusal(worse, "table4")
    assert "table1: must be of type object; got 3" in refusal(worse, "table1")
    # The sweeps are one search, of which each table says a part.
    assert "table8: must be of type object; got 3" in refusal(worse, "table9")
    assert "cowboy_figure3: must be of type object" in refusal(worse, "cowboy_figure4")
    with pytest.raises(ConfigError, match=r"unknown key 'tabel4' \(did you mean 'table4'\?\)"):
        Catalogue(merged(DEFAULT, {"tabel4": {}}), SCHEMA)


def test_a_table_that_the_config_does_not_have_is_refused_when_it_is_asked_for() -> None:
    config = {k: v for k, v in DEFAULT.items() if k not in STUDIES}
    catalogue = Catalogue(config | {"table4": DEFAULT["table4"]}, SCHEMA)
    assert catalogue.study("table4").settings == DEFAULT["table4"]
    for name in ("table1", "figure3", "cowboy_figure4", "cowboy_figure1", "cowboy_mcnemar"):
        with pytest.raises(ConfigError, match="is asked for, and the config has no such section"):
            catalogue.study(name)
    with pytest.raises(ConfigError, match="did you mean 'table4'"):
        catalogue.study("tabel4")
    # Removed by an overlay, too: then the sweeps do without.
    gone = merged(DEFAULT, {"table8": None, "figure4": None})
    assert not refusal(gone, "table10", "figure5")
    assert "'table8' is asked for" in refusal(gone, "figure3")


def test_a_table_of_ones_own_is_checked_as_those_of_its_form() -> None:
    mine = {"form": "direct", **DEFAULT["table4"]}
    assert not refusal(merged(DEFAULT, {"tables": {"mine": mine}}), "mine")
    for change, expected in (
        ({"attacks": ["spsa"]}, "tables.mine.attacks: got 'spsa'; allowed: fgsm"),
        ({"pairs": ["A/B"]}, "tables.mine: pairs, transferred and oracle go together"),
        ({"step": 1}, "tables.mine: unknown key 'step' (did you mean 'steps'?)"),
        ({"form": "dircet"}, "tables.mine.form: got 'dircet' (did you mean 'direct'?)"),
    ):
        config = merged(DEFAULT, {"tables": {"mine": {**mine, **change}}})
        assert expected in refusal(config, "mine")
        assert ("form" in change) or not refusal(config, "table4")
    for name, expected in (("Table4", "is taken"), ("a/b", "cannot be used here")):
        assert expected in refusal(merged(DEFAULT, {"tables": {name: mine}}), "table4")
    assert not refusal(
        merged(DEFAULT, {"tables": {"mine": mine}, "worst_case": {"tables": ["mine"]}})
    )


def test_attackers_images_are_as_many_as_the_library_holds_out() -> None:
    assert ATTACKERS_IMAGES == BLACK_BOX_HOLD_OUT


def test_every_mistake_is_listed() -> None:
    config = copy.deepcopy(DEFAULT)
    config["classifiers"]["A"]["epochs"] = 0
    config["gpu"] = "yes"
    with pytest.raises(ConfigError) as refused:
        Catalogue(config, SCHEMA)
    assert "classifiers.A.epochs" in str(refused.value) and "gpu: got 'yes'" in str(refused.value)


def test_table12_shares_all_artifacts_with_table4_by_default() -> None:
    catalogue = Catalogue(DEFAULT, SCHEMA)
    of4, of12 = (
        {cell.digest for m in paper_table(catalogue, table).measurements for cell in m.cells}
        for table in ("table4", "table12")
    )
    assert of12 and of12 < of4


def test_keys_that_name_a_unit_or_a_paper_change_no_other_recipe() -> None:
    config = merged(DEFAULT, yaml.safe_load((REPOSITORY / "config/paper.yaml").read_text()))
    catalogue = Catalogue(config, SCHEMA)
    assert set(catalogue.attack("fgsm").recipe["settings"]) == {"epsilon", "labels"}
    published = catalogue.attack("fgsm_published").recipe["settings"]
    assert published == {"epsilon": 0.3, "pixel_range": [-1, 1], "labels": "ground_truth"}
    purifier = catalogue.purifier("celeba", 0, "defense_gan_celeba").recipe
    assert "column" not in purifier["settings"] and purifier["name"] == "defense_gan_celeba"


def test_a_training_is_other_on_the_data_sets_that_name_one() -> None:
    other = {
        "generators": {"dcgan": {"per_dataset": {"svhn": {"iterations": 4000}}}},
        "classifiers": {"A": {"per_dataset": {"svhn": {"epochs": 77}}}},
    }
    before, after = (Catalogue(c, SCHEMA) for c in (DEFAULT, merged(DEFAULT, other)))
    for make in (
        lambda catalogue, dataset: catalogue.generator(dataset, 0, "dcgan"),
        lambda catalogue, dataset: catalogue.classifier(dataset, 0, "plain", "A"),
    ):
        assert make(before, "digits").recipe == make(after, "digits").recipe
        changed = make(after, "svhn").recipe["settings"]
        longer = {"iterations": 4000} if "iterations" in changed else {"epochs": 77}
        assert changed == make(before, "svhn").recipe["settings"] | longer


def test_notes_name_the_trainings_on_the_data_sets_of_their_table() -> None:
    config = merged(DEFAULT, yaml.safe_load((REPOSITORY / "config/paper.yaml").read_text()))
    catalogue = Catalogue(config, SCHEMA)
    notes = {table: " ".join(table_notes(catalogue, table)) for table in named(*ACCURACY_FORMS)}
    assert "On svhn: iterations 40000" in notes["cowboy_table1"]
    assert "On celeba: batch_size 64, epochs 100" in notes["ae_gan_table9"]
    assert "On celeba" not in notes["ae_gan_table1"] and "On " not in notes["table3"]


def test_cifar10s_test_images_concern_no_training() -> None:
    few = merged(DEFAULT, {"datasets": {"cifar10": {"test": 10}}})
    one, other = (Catalogue(c, SCHEMA).dataset("cifar10") for c in (DEFAULT, few))
    assert one.for_training == other.for_training and one != other
    # 60,000 and 50,010 images of 3 x 32 x 32 floats.
    assert [one.megabytes, other.megabytes] == [738, 615]


def test_svhn_s_test_images_concern_no_training() -> None:
    settings = {"source": "svhn", "validation": 7_325, "test": None}
    one, other = (Dataset("svhn", settings | {"test": test}) for test in (None, 10))
    assert one.for_training == other.for_training and one != other
    # 99,289 and 73,267 images of 3 x 32 x 32 floats.
    assert [one.megabytes, other.megabytes] == [1221, 901]


def test_celebas_test_images_concern_no_training() -> None:
    few = merged(DEFAULT, {"datasets": {"celeba": {"test": 10}}})
    one, other = (
        Catalogue(c, SCHEMA).classifier("celeba", 0, "plain", "A") for c in (DEFAULT, few)
    )
    assert one.recipe == other.recipe
    fewer = merged(DEFAULT, {"datasets": {"celeba": {"train": 10}}})
    assert Catalogue(fewer, SCHEMA).classifier("celeba", 0, "plain", "A").recipe != one.recipe


def test_names_that_the_config_does_not_define_are_refused() -> None:
    catalogue = Catalogue(DEFAULT, SCHEMA)
    with pytest.raises(ConfigError, match="no 'Z' under classifiers in the config: A, B"):
        catalogue.classifier("digits", 0, "plain", "Z")


def test_the_snakefile_needs_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, purification.experiments;"
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
