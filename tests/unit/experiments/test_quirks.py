"""Quirks of published code: where they stand in the config, what they decide, and what tells."""

import copy
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from conftest import DEFAULT, SMALL, merged, micro_catalogue, refusal, remade
from test_staleness import tables

from purification.evaluation import adversarial, measure, threat_models
from purification.experiments import Catalogue, paper_comparison, paper_table, worst_case
from purification.experiments.quirks import (
    CONCERNED,
    KEY,
    NO_GRADIENT,
    QUIRKS,
    TEST_BATCH_STATISTICS,
)
from purification.models.classifiers import ARCHITECTURES, READ_OTHERWISE, build_classifier
from purification.reporting import wide_tables

RUN = ("digits", 0)
KEPT = {"quirks": ["keep_probability"]}
BLOCKED = {
    "method": "redeployed",
    "purifier": "defense_gan",
    "classifier": "originals",
    "threat_models": ["white_box"],
    "quirks": ["no_gradient"],
}
BATCH = {
    "method": "redeployed",
    "purifier": "defense_vae",
    "classifier": "originals",
    "threat_models": ["gray_box"],
    "quirks": ["test_batch_statistics"],
}


def told(catalogue: Catalogue, table: str) -> dict[tuple[str, str, str, str], set[str]]:
    """The quirks of each cell of a table, by attack, threat model, defence and variant."""
    names = ("attack", "threat_model", "defense", "variant")
    return {
        tuple(cell.labels[name] for name in names): {*cell.labels.get("quirks", "").split(";")}
        - {""}
        for measured in paper_table(catalogue, table).measurements
        for cell in measured.cells
    }


def test_all_rooms_call_them_the_same() -> None:
    assert measure.QUIRKS_COLUMN == KEY
    assert threat_models.NO_GRADIENT == NO_GRADIENT
    assert adversarial.TEST_BATCH_STATISTICS == TEST_BATCH_STATISTICS
    assert set(wide_tables.OF_DEFENSES) == set(CONCERNED) < set(QUIRKS)


def test_networks_that_are_others_by_their_keep_probabilities_are_known() -> None:
    def rates(architecture: str, dropout: str) -> list[float]:
        model = build_classifier(architecture, input_shape=(1, 28, 28), dropout=dropout)
        return [layer.p for layer in model if hasattr(layer, "p")]

    others = [n for n in ARCHITECTURES if rates(n, "paper") != rates(n, "keep_probability")]
    assert tuple(others) == READ_OTHERWISE


# What they are


def test_a_quirk_is_the_setting_that_it_means() -> None:
    kept, meant = (
        micro_catalogue(classifiers={"A": own}).classifier(*RUN, "plain", "A")
        for own in (KEPT, {"dropout": "keep_probability"})
    )
    assert kept.digest == meant.digest and "quirks" not in kept.settings
    assert kept.all_quirks == {"keep_probability"}
    predicted, meant = (
        micro_catalogue(attacks={"fgsm": own}).attack("fgsm")
        for own in ({"quirks": ["predicted_labels"]}, {"labels": "predicted"})
    )
    assert predicted.digest == meant.digest and predicted.all_quirks == {"predicted_labels"}
    # FGSM training by predicted labels is no attack, and no mistake.
    trained = micro_catalogue(defenses={"adv_training": {"labels": "predicted"}})
    assert not trained.classifier(*RUN, "adv_training", "D").all_quirks


def test_the_top_level_turns_them_on_where_they_concern_something() -> None:
    config = micro_catalogue(quirks=list(QUIRKS)).config
    named = {
        (section, name)
        for section in ("classifiers", "attacks", "defenses")
        for name, entry in config[section].items()
        if "quirks" in entry
    }
    classifiers = {name for section, name in named if section == "classifiers"}
    assert classifiers == {"A", "B", "C"}
    assert {("attacks", "fgsm"), ("attacks", "cw"), ("attacks", "cascade_square")} < named
    assert not {("attacks", "vam"), ("attacks", "half_masked"), ("defenses", "magnet")} & named
    searches = {"defense_gan", "defense_gan_orig", "defense_gan_redrawn", "ae_gan_rs", "bigan_s"}
    assert {("defenses", name) for name in (*searches, "defense_vae", "defense_vae_e2e")} < named
    assert not {("defenses", name) for name in ("ae_gan_r", "cowboy", "adv_training")} & named
    assert config["defenses"]["defense_vae_rec"]["quirks"] == ["test_batch_statistics"]


def test_without_quirks_nothing_is_another() -> None:
    plain, empty = micro_catalogue(), micro_catalogue(quirks=[])
    for name in ("table4", "table1", "defense_vae_table1"):
        assert paper_table(plain, name).digest == paper_table(empty, name).digest
        assert paper_table(plain, name).job.quirks == {}
        assert not any(told(plain, name).values())


# What they decide


def test_no_gradient_concerns_the_attacked_defense_alone() -> None:
    found = remade(
        tables("table4"), SMALL, {"defenses": {"defense_gan": {"quirks": [NO_GRADIENT]}}}
    )
    assert found.kinds == {"AttackedDefense": 2, "Measurement": 2, "Table": 1}
    # An attack by scores needs none.
    few = {"images": {"gray_box": 6, "white_box": 6, "white_box_bpda": 6}}
    square = {"attacks": {"cascade_square": few}, "table4": {"attacks": ["cascade_square"]}}
    found = remade(
        tables("table4"),
        merged(SMALL, square),
        {"defenses": {"defense_gan": {"quirks": [NO_GRADIENT]}}},
    )
    assert found.kinds == {"Table": 1}  # whose notes tell the defence's entry


def test_batch_statistics_concern_the_test_images_alone() -> None:
    edit = {"defenses": {"defense_vae": {"quirks": [TEST_BATCH_STATISTICS]}}}
    found = remade(tables("defense_vae_table1"), SMALL, edit)
    # The VAE's own, and those of REC; the classifiers and VAEs that are trained stay.
    assert found.kinds == {"PurifiedImages": 1, "AttackedDefense": 2, "Measurement": 2, "Table": 1}
    black_box = remade(tables("defense_vae_table3"), SMALL, edit)
    assert black_box.kinds["PurifiedBlackBox"] == 1


def test_a_redeployed_defense_has_files_of_its_own_where_it_purifies_otherwise() -> None:
    catalogue = micro_catalogue(defenses={"blocked": BLOCKED, "batch": BATCH})
    name = catalogue.for_classifier("batch", "D")
    clean = catalogue.purified_images(*RUN, name, "test")
    assert clean.path == "results/digits/seed0/purified/clean/batch@D/test.h5"
    assert clean.quirks == (TEST_BATCH_STATISTICS,)
    own = catalogue.purified_images(*RUN, "defense_vae@D", "test")
    assert own.purifier == clean.purifier and own.quirks == () and own.path != clean.path
    for split in ("train", "validation"):
        purified = (catalogue.purified_images(*RUN, n, split) for n in (name, "defense_vae@D"))
        assert len({made.path for made in purified}) == 1
    # No gradient changes no purified image.
    same = (catalogue.purified_images(*RUN, n, "test") for n in ("blocked", "defense_gan"))
    assert len({made.digest for made in same}) == 1
    attacked = catalogue.attacked_defense(*RUN, "blocked", "D", "fgsm")
    assert attacked.path == "results/digits/seed0/attacked/blocked/D/fgsm.h5"
    assert attacked.recipe["quirks"] == [NO_GRADIENT]


# What tells


def test_each_cell_tells_what_it_hangs_on() -> None:
    catalogue = micro_catalogue(quirks=list(QUIRKS), table4={"classifiers": ["A"]})
    found, base = told(catalogue, "table4"), {"keep_probability", "predicted_labels"}
    assert {key for key, quirks in found.items() if NO_GRADIENT in quirks} == {
        (attack, "white_box", "defense_gan", "rec") for attack in ("fgsm", "cw")
    }
    for (attack, *_), quirks in found.items():
        assert quirks - {NO_GRADIENT} == (base if attack != "none" else {"keep_probability"})
    # A VAE that has learned from such attacks, on whatever images.
    vae = told(catalogue, "defense_vae_table1")
    clean = vae["none", "none", "defense_vae", "base"]
    assert clean == {"predicted_labels", TEST_BATCH_STATISTICS}
    assert TEST_BATCH_STATISTICS in vae["fgsm", "gray_box", "defense_vae", "rec"]
    assert TEST_BATCH_STATISTICS not in vae["fgsm", "white_box", "defense_vae", "rec"]


def test_a_substitute_and_its_attack_tell() -> None:
    catalogue = micro_catalogue(classifiers={"B": KEPT}, table1={"pairs": ["D/B"]})
    assert told(catalogue, "table1")["fgsm", "black_box", "none", ""] == {"keep_probability"}
    assert told(catalogue, "table1")["none", "none", "none", ""] == set()
    assert "Classifier `B`: quirks ['keep_probability']." in paper_table(catalogue, "table1").notes


def test_with_and_without_stand_in_one_table() -> None:
    defenses = {"blocked": BLOCKED, "batch": BATCH}
    own = {"classifiers": ["D"], "attacks": ["fgsm"]}
    catalogue = micro_catalogue(
        defenses=defenses,
        table4=own | {"defenses": ["defense_gan_orig", "blocked"]},
    )
    cells = [c for m in paper_table(catalogue, "table4").measurements for c in m.cells]
    gans = [cell for cell in cells if cell.labels["defense"] == "defense_gan"]
    rows = [(c.labels["threat_model"], c.labels.get("quirks", "")) for c in gans]
    assert sorted(rows) == [
        ("gray_box", ""),
        ("none", ""),
        ("white_box", ""),
        ("white_box", NO_GRADIENT),
        ("white_box_bpda", ""),
    ]
    job = paper_table(catalogue, "table4").job
    assert pickle.loads(pickle.dumps(job)).quirks == {NO_GRADIENT: QUIRKS[NO_GRADIENT]}


def test_a_kept_classifier_of_another_name_is_the_papers() -> None:
    kept = {"architecture": "B", "epochs": 1, "batch_size": 50, "learning_rate": 0.001, **KEPT}
    catalogue = micro_catalogue(classifiers={"B_kept": kept}, table4={"classifiers": ["B_kept"]})
    cells = [c for m in paper_table(catalogue, "table4").measurements for c in m.cells]
    assert {cell.labels["paper_classifier"] for cell in cells} == {"B"}


def test_a_page_tells_what_any_of_its_numbers_hang_on() -> None:
    catalogue = micro_catalogue(
        attacks={"fgsm": {"quirks": ["predicted_labels"]}},
        comparison={"tables": ["table4", "table1"]},
    )
    assert list(paper_comparison(catalogue).job.quirks) == ["predicted_labels"]


def test_the_worst_case_is_of_attackers_of_the_defense_itself() -> None:
    catalogue = micro_catalogue(
        defenses={"defense_gan": {"quirks": [NO_GRADIENT]}}, worst_case={"tables": ["table4"]}
    )
    cells = worst_case(catalogue).job["cells"]
    found = {(c["labels"]["defense"], c["labels"]["threat_model"]) for c in cells}
    assert ("defense_gan", "white_box") not in found and ("defense_gan", "gray_box") in found


# What is refused


def put(section: str, name: str, **entry: Any) -> Callable[[dict[str, Any]], None]:
    def apply(config: dict[str, Any]) -> None:
        config[section][name] = {**config[section].get(name, {}), **entry}

    return apply


def top(*quirks: str) -> Callable[[dict[str, Any]], None]:
    return lambda config: config.update(quirks=list(quirks))


NO_DIFFERENCE = "which makes no difference here"
WRONG: Mapping[str, tuple[Callable[[dict[str, Any]], None], tuple[str, ...]]] = {
    "unknown": (
        top("no_gradients"),
        ("quirks.0: got 'no_gradients' (did you mean 'no_gradient'?)", "test_batch_statistics"),
    ),
    "of a defence in a classifier": (
        put("classifiers", "A", quirks=["no_gradient"]),
        ("classifiers.A.quirks.0: got 'no_gradient'; allowed: keep_probability",),
    ),
    "a classifier that is the same with it": (
        put("classifiers", "D", **KEPT),
        ("classifiers.D.quirks: got 'keep_probability', ", NO_DIFFERENCE, "'D' is the same"),
    ),
    "neither dropout nor quirks": (
        lambda config: config["classifiers"]["A"].pop("dropout"),
        ("classifiers.A: the key 'dropout' is missing",),
    ),
    "an attack that looks at no label": (
        put("attacks", "vam", quirks=["predicted_labels"]),
        ("attacks.vam.quirks: got 'predicted_labels'", "'vam' looks at no label"),
    ),
    "a defence of other code": (
        put("defenses", "magnet", quirks=["no_gradient"]),
        ("defenses.magnet.quirks: got 'no_gradient'", "it is no quirk of 'magnet'"),
    ),
    "of another defence": (
        put("defenses", "defense_gan", quirks=["test_batch_statistics"]),
        ("defenses.defense_gan.quirks", "it is no quirk of 'defense_gan'"),
    ),
    "one pass": (
        put("defenses", "ae_gan_r", quirks=["no_gradient"]),
        ("defenses.ae_gan_r.quirks: got 'no_gradient'", "it searches nothing"),
    ),
    "without a white box": (
        put("defenses", "defense_gan", quirks=["no_gradient"], threat_models=["gray_box"]),
        ("defenses.defense_gan.quirks", "white_box and white_box_fixed alone"),
    ),
    "adversarial training": (
        put("defenses", "adv_training", quirks=["predicted_labels"]),
        ("defenses.adv_training: unknown key 'quirks'",),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_concerns_nothing_is_refused_by_its_name(case: str) -> None:
    change, expected = WRONG[case]
    config = copy.deepcopy(DEFAULT)
    change(config)
    message = refusal(config)
    for part in expected:
        assert part in message


def test_two_equal_rows_of_one_table_are_refused() -> None:
    config = copy.deepcopy(DEFAULT)
    config["defenses"]["blocked"] = {**BLOCKED, "threat_models": ["gray_box", "white_box"]}
    config["table4"]["defenses"] = ["defense_gan_orig", "blocked"]
    assert refusal(config, "table4") == (
        "the config is wrong:\n  defenses.blocked.threat_models: table4: 'defense_gan_orig' and "
        "'blocked' are one column but for their quirks, which do not concern gray_box: leave that "
        "to one of them"
    )
