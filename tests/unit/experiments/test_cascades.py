"""Cascades in the config: what is refused, a defence's stages, and what an edit makes stale."""

from typing import Any

import pytest
import yaml
from conftest import DEFAULT, SCHEMA, SMALL, edit, merged, micro_catalogue, remade

from purification.evaluation import cascade as evaluation
from purification.experiments import Catalogue, ConfigError, cascades, paper_table, protocols
from purification.experiments.artifacts import AttackedAdaptively
from purification.experiments.layers import layered
from purification.experiments.schema import read_schema


def stage(attack: str, threat_model: str = "white_box") -> dict[str, str]:
    return {"attack": attack, "threat_model": threat_model}


def surrogate(attack: str = "fgsm", **settings: Any) -> dict[str, Any]:
    return {"attack": attack, "threat_model": "surrogate", "surrogate": settings}


def own(*stages: dict[str, str], **more: Any) -> dict[str, Any]:
    """A config with a cascade `mine` of these stages."""
    made = {"norm": "linf", "epsilon": 0.1, "images": 6, "stages": [*stages]} | more
    return merged(merged(DEFAULT, SMALL), {"cascades": {"mine": made}})


def cascade(
    config: dict[str, Any], defense: str = "magnet", name: str = "mine"
) -> AttackedAdaptively:
    return Catalogue(config, SCHEMA).cascade("digits", 0, name, defense, "D")


def names(made: AttackedAdaptively) -> list[str]:
    return [f"{stage.attack.name} {stage.threat_model}" for stage in made.stages]


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (
            own(stage("fgsn")),
            r"cascades\.mine\.stages\.attack: got 'fgsn' \(did you mean 'fgsm'\?\); allowed: ",
        ),
        (
            own(stage("fgsm"), stage("fgsm", "white_bx")),
            r"cascades\.mine\.stages\.1\.threat_model: got 'white_bx' \(did you mean "
            r"'white_box'\?\); allowed: white_box, white_box_bpda, classifier, gray_box, "
            "surrogate, transfer:",
        ),
        (
            own(stage("fgsm", "transfer:magnat")),
            r"stages\.0\.threat_model: got 'transfer:magnat' \(did you mean 'transfer:magnet'",
        ),
        (
            own(stage("fgsm"), epsilon=0.2),
            r"cascades\.mine\.stages\.0\.attack: attacks\.fgsm\.epsilon is 0\.1, and "
            r"cascades\.mine\.epsilon is 0\.2: name an attack of that strength",
        ),
        (
            own(stage("vam")),
            r"stages\.0\.attack: attacks\.vam is bounded in the norm l2, and cascades\.mine\.norm "
            "is linf: name an attack of that norm, or one without a bound",
        ),
        (own(), r"cascades\.mine\.stages: \[\] should be non-empty"),
        (own(stage("fgsm"), stage("fgsm")), r"cascades\.mine\.stages: .* has non-unique elements"),
        (own({"attack": "fgsm"}), r"cascades\.mine\.stages\.0: the key 'threat_model' is missing"),
        (own(stage("fgsm"), norm="l1"), r"cascades\.mine\.norm: got 'l1'.*; allowed: linf, l2"),
        (own(stage("deepfool"), epsilon=1.5), r"cascades\.mine\.epsilon: must be at most 1"),
        (own(stage("fgsm"), epsilon="0.1"), r"cascades\.mine\.epsilon: must be of type number"),
        (
            own(stage("fgsm"), images=41),
            r"cascades\.mine\.images: must be at most datasets\.digits\.test = 40",
        ),
        (
            own(stage("pgd") | {"begin": "strongest"}),
            r"cascades\.mine\.stages\.0\.begin: there is no stage before the first one",
        ),
        (
            own(stage("pgd"), stage("fgsm") | {"begin": "strongest"}),
            r"stages\.1\.begin: attacks\.fgsm has a method that cannot begin at other images; "
            "these can: apgd, apgd_l2, greedy_pixels, pgd, pgd_l2, square, square_l2, and a "
            "function of your own",
        ),
        (
            own(stage("fgsm"), stage("pgd") | {"begin": "strong"}),
            r"stages\.1\.begin: got 'strong'.*; allowed: strongest",
        ),
        (own(stage("fgsm"), stagess=[]), r"cascades\.mine: unknown key 'stagess'"),
        (
            own(stage("fgsm", "surrogate")),
            r"stages\.0\.surrogate: the key is missing: the settings of the cheaper ",
        ),
        (
            own(stage("fgsm") | {"surrogate": {"steps": 2}}),
            r"stages\.0\.surrogate: is for the threat model surrogate; got white_box",
        ),
        (
            own(surrogate(step=2)),
            r"stages\.0\.surrogate: got 'step' \(did you mean 'steps'\?\); allowed: steps, ",
        ),
        (own(surrogate(restarts=0)), r"\.0\.surrogate\.restarts: 0 is less than the minimum"),
        (own(surrogate(winner=1)), r"\.0\.surrogate\.winner: must be of type boolean; got 1"),
        (own(surrogate(steps=-1)), r"stages\.0\.surrogate\.steps: -1 is less than the minimum"),
        (own(surrogate()), r"stages\.0\.surrogate: {} should be non-empty"),
        (
            own(stage("fgsm", "transfer:@seed01")),
            r"threat_model: got 'transfer:@seed01' \(did you mean 'transfer:@seed1'\?\); allowed",
        ),
        (
            own(stage("fgsm", "transfer:@seed1:generator")),
            r"threat_model: got 'transfer:@seed1:gen",
        ),
    ],
)
def test_what_is_wrong_is_said_before_the_run(config: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        cascade(config)
    # It hinders nobody who asks for something else.
    paper_table(Catalogue(config, SCHEMA), "table4")


def test_a_cascade_that_is_not_there() -> None:
    config = own(stage("fgsm"))
    with pytest.raises(ConfigError, match=r"no 'mien' .*mean 'mine'\?\): standard, .*mine"):
        cascade(config, name="mien")
    config = layered([("a", config), ("b", {"cascades": dict.fromkeys(config["cascades"])})])
    with pytest.raises(ConfigError, match="no 'mine' under cascades in the config: none"):
        cascade(config)
    del config["cascades"]
    with pytest.raises(ConfigError, match="no 'mine' under cascades in the config: none"):
        cascade(config)
    with pytest.raises(ConfigError, match="cascades: the name 'a b' cannot be used here"):
        micro_catalogue(cascades={"a b": {}})
    with pytest.raises(ConfigError, match=r"cascades: .* differs from 'standard' in capital"):
        micro_catalogue(cascades={"Standard": {}})


# Randomised defences

LATENT = {
    **{"method": "latent", "epsilon": 0.1, "iterations": 5, "learning_rate": 0.05},
    **{"restarts": 1, "confidence": 5.0},
    "images": {"gray_box": 1, "white_box": 1, "white_box_bpda": 1},
}


def drawn(*stages: dict[str, str], known: Any = (), **more: Any) -> dict[str, Any]:
    """A config with a cascade `mine` that has these stages for randomised defences."""
    mine = {"randomised": {"stages": [*stages], **more}}
    config = own(*(known or [stage("fgsm")]), **mine)
    edit("attacks", "codes", value=LATENT)(config)
    return config


def of_draws(config: dict[str, Any], known_draw: bool = False) -> AttackedAdaptively:
    run = ("digits", 0, "mine", "defense_gan_redrawn", "D")
    return Catalogue(config, SCHEMA).cascade(*run, known_draw=known_draw)


def test_a_randomised_defence_has_stages_and_draws_of_its_own() -> None:
    stages = [
        stage(attack, threat_model)
        for attack, threat_model in (
            *(("cascade_pgd_margin", "gray_box"), ("cascade_pgd_eot", "gray_box")),
            *(("cascade_pgd_eot", "white_box"), ("cascade_pgd_eot", "white_box_bpda")),
            ("cascade_pgd_margin", "transfer:magnet"),
        )
    ]
    known = [stage("cascade_pgd_margin"), stage("cascade_pgd_eot", "white_box_bpda")]
    known += [stage("codes"), stage("fgsm", "gray_box")]
    known += [{**stage("cascade_pgd_margin", "surrogate"), "surrogate": {"steps": 2}}]
    config = drawn(*stages, known=known, selection_draws=7)
    fresh, fixed = of_draws(config), of_draws(config, known_draw=True)
    assert names(fresh) == [
        *("cascade_pgd_margin gray_box", "cascade_pgd_eot gray_box", "cascade_pgd_eot white_box"),
        *("cascade_pgd_eot white_box_bpda", "cascade_pgd_margin transfer:magnet"),
    ]
    # What is deterministic has no draws to take the mean of.
    assert [one.attack.settings.get("expectation") for one in fresh.stages] == [
        *(None, None, 4, 4, None)
    ]
    assert (fresh.selection_draws, fresh.judged_draws, fresh.known_draw) == (7, 5, False)
    # The codes at which it arrives are others in each draw: no stage for it.
    assert names(fixed) == [
        *("cascade_pgd_margin white_box_fixed", "cascade_pgd_eot white_box_bpda_fixed"),
        *("fgsm gray_box", "cascade_pgd_margin surrogate:steps=2_fixed"),
    ]
    assert all("expectation" not in one.attack.settings for one in fixed.stages)
    assert (fixed.selection_draws, fixed.judged_draws, fixed.known_draw) == (None, None, True)
    end = "mine/defense_gan_redrawn/D"
    assert fresh.path == f"results/digits/seed0/adaptive/{end}.h5"
    assert fixed.path == f"results/digits/seed0/adaptive_fixed/{end}.h5"
    assert [part.path for part in fixed.parts] == [
        f"results/digits/seed0/adaptive_fixed/{end}.costs.csv"
    ]
    # The others have what they had.
    others = (
        merged(made, {"cascades": {"mine": {"stages": known[:1]}}}) for made in (config, own())
    )
    assert len({cascade(other, "magnet").digest for other in others}) == 1
    assert fresh.digest != of_draws(drawn(*stages, selection_draws=8)).digest
    assert of_draws(drawn(*stages)).selection_draws == protocols.SELECTION_DRAWS
    form = read_schema(SCHEMA)["properties"]["cascades"]["additionalProperties"]["properties"]
    stated = form["randomised"]["properties"]["selection_draws"]["default"]
    assert stated == protocols.SELECTION_DRAWS


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (
            drawn(stage("cascade_pgd_margin")),
            r"cascades\.mine\.randomised\.stages\.0\.attack: 'cascade_pgd_margin' ends at an "
            "image's first success, which on one draw of a randomised defense is luck",
        ),
        (drawn(stage("fgsm", "gray_box"), stage("deepfool", "white_box_bpda")), "1.attack: 'deep"),
        (drawn(stage("cascade_pgd_margin", "transfer:@seed1")), "0.attack: 'cascade_pgd_margin' e"),
        (
            drawn({**stage("deepfool", "surrogate"), "surrogate": {"steps": 2}}),
            r"randomised\.stages\.0\.attack: 'deepfool' ends at an image's first success",
        ),
        (
            drawn(stage("codes")),
            "'codes' searches the codes at which a defense arrives, and a rand",
        ),
        (
            own(stage("cascade_pgd_margin", "transfer:defense_gan_redrawn")),
            r"mine\.stages\.0\.attack: 'cascade_pgd_margin' ends at an image's first success",
        ),
        (drawn(stage("fgsm", "white_bx")), r"randomised\.stages\.0\.threat_model: got 'white_bx'"),
        (drawn(stage("vam")), r"randomised\.stages\.0\.attack: attacks\.vam is bounded in the no"),
        (drawn(stage("fgsn")), r"mine\.randomised\.stages\.attack: got 'fgsn' \(did you mean 'fgs"),
        (drawn(), r"cascades\.mine\.randomised\.stages: \[\] should be non-empty"),
        (drawn(stage("fgsm"), selection_draws=0), r"randomised\.selection_draws: 0 is less than"),
        (drawn(stage("fgsm"), draws=1), r"mine\.randomised: unknown key 'draws'"),
        (
            own(stage("fgsm")),
            r"cascades\.mine: 'defense_gan_redrawn' is randomised, and this cascade has no stages",
        ),
    ],
)
def test_what_is_wrong_before_draws_is_said_before_the_run(
    config: dict[str, Any], complaint: str
) -> None:
    edit("attacks", "codes", value=LATENT)(config)
    with pytest.raises(ConfigError, match=complaint):
        of_draws(config)


def test_nobody_knows_a_draw_of_a_deterministic_defence() -> None:
    catalogue = Catalogue(drawn(stage("fgsm")), SCHEMA)
    for defense in ("magnet", "none", "adv_training"):
        with pytest.raises(ConfigError, match=f"{defense} is not randomised: no attacker knows"):
            catalogue.cascade("digits", 0, "mine", defense, "D", known_draw=True)


def test_images_of_a_randomised_defence_are_transferred_from_fresh_looks() -> None:
    made = cascade(own(stage("cascade_pgd_eot", "transfer:defense_gan_redrawn")))
    assert made.stages[0].attack.settings["expectation"] == 4
    assert "transfer_defense_gan_redrawn_generator" in made.inputs


def test_both_rooms_call_a_transfer_the_same() -> None:
    assert cascades.TRANSFER == evaluation.TRANSFER


def test_strengths_are_compared_in_one_unit() -> None:
    config = own(stage("doubled"))
    doubled = {**config["attacks"]["fgsm"], "epsilon": 0.2, "pixel_range": [-1, 1]}
    edit("attacks", "doubled", value=doubled)(config)
    assert names(cascade(config)) == ["doubled white_box"]
    edit("attacks", "doubled", "epsilon", value=0.1)(config)
    with pytest.raises(ConfigError, match=r"is 0\.1 \(0\.05 in pixel units of \[0, 1\]\), and"):
        cascade(config)
    # What has no bound goes with any.
    assert len(cascade(own(stage("deepfool"), stage("cw"), epsilon=0.3)).stages) == 2


def test_a_defence_gets_the_stages_that_mean_something_for_it() -> None:
    every = ("gray_box", "classifier", "white_box", "white_box_bpda", "transfer:magnet")
    config = own(*(stage("fgsm", threat_model) for threat_model in every))
    # Before the plain classifier the gray box is the bare one.
    expected = {
        "magnet": ["gray_box", "white_box", "white_box_bpda"],
        "defense_gan": [*every],
        "adv_training": ["gray_box", "white_box", "transfer:magnet"],
        "none": ["white_box", "transfer:magnet"],
    }
    for defense, threat_models in expected.items():
        found = names(cascade(config, defense))
        assert found == [f"fgsm {threat_model}" for threat_model in threat_models], defense
    with pytest.raises(ConfigError, match=r"cascades\.mine: none of its stages is for none"):
        cascade(own(stage("fgsm", "white_box_bpda")), "none")


def test_a_stage_goes_on_where_one_is_before_it() -> None:
    onward = {"begin": "strongest"}
    bpda = stage("pgd", "white_box_bpda")
    found = cascade(own(bpda, stage("pgd") | onward))
    assert [one.begin for one in found.stages] == [None, "strongest"]
    assert [one.get("begin") for one in found.recipe["stages"]] == [None, "strongest"]
    assert "begin" not in found.recipe["stages"][0]
    # Without a purifier there is no BPDA, and then no stage before it.
    found = cascade(own(bpda, stage("pgd") | onward, stage("fgsm")), "none")
    assert [one.begin for one in found.stages] == [None, None]
    # It repeats none that begins by itself, and begins elsewhere once another was between.
    found = cascade(own(stage("pgd"), stage("pgd") | onward), "none")
    assert [one.begin for one in found.stages] == [None, "strongest"]
    square = stage("cascade_square") | onward
    again = stage("cascade_square", "white_box_bpda") | onward
    found = cascade(own(stage("fgsm"), square, again, stage("pgd") | onward))
    assert [one.attack.name for one in found.stages] == ["fgsm", "cascade_square", "pgd"]
    found = cascade(own(stage("fgsm"), square, stage("pgd") | onward, again))
    assert [one.attack.name for one in found.stages][1:] == [
        "cascade_square",
        "pgd",
        "cascade_square",
    ]


def test_codes_are_searched_before_a_defence_that_has_them_and_tried_on_others() -> None:
    """On a randomised one, too, at whose own codes no image arrives twice."""
    transferred = [stage("codes", f"transfer:defense_gan{name}") for name in ("", "_orig")]
    found = of_draws(drawn(stage("fgsm", "gray_box"), *transferred))
    assert names(found) == [
        *("fgsm gray_box", "codes transfer:defense_gan", "codes transfer:defense_gan_orig")
    ]
    config = own(stage("fgsm"), *transferred)
    edit("attacks", "codes", value=LATENT)(config)
    # Not from a defence to itself.
    assert names(cascade(config, "defense_gan"))[1:] == ["codes transfer:defense_gan_orig"]
    assert names(cascade(config, "magnet"))[1:] == [*names(found)[1:]]
    for other in ("magnet", "defense_gan_redrawn", "@seed1"):
        wrong = merged(
            config, {"cascades": {"mine": {"stages": [stage("codes", f"transfer:{other}")]}}}
        )
        with pytest.raises(ConfigError, match=rf"threat_model: got 'transfer:{other}'"):
            cascade(wrong, "defense_gan")


def test_an_attack_on_codes_is_for_defences_with_a_generator() -> None:
    config = own(stage("fgsm"), stage("codes"))
    edit("attacks", "codes", value=LATENT)(config)
    assert names(cascade(config, "defense_gan")) == ["fgsm white_box", "codes white_box"]
    assert names(cascade(config, "magnet")) == ["fgsm white_box"]
    assert names(cascade(config, "none")) == ["fgsm white_box"]
    edit("cascades", "mine", "stages", value=[stage("codes", "gray_box")])(config)
    with pytest.raises(
        ConfigError, match=r"got 'gray_box'; allowed: white_box, transfer:defense_gan,"
    ):
        cascade(config, "defense_gan")


def test_a_surrogate_is_for_defences_that_have_a_cheaper_version() -> None:
    """The search of `SMALL` has 4 steps and 2 restarts."""
    five, once = surrogate(steps=5), surrogate(steps=0)
    one, known = surrogate(steps=5, restarts=1), surrogate(winner=True)
    config = own(stage("fgsm"), surrogate(steps=2), five, once, one, known)
    expected = {
        "defense_gan": ["steps=2", "restarts=1,steps=5", "winner=true"],
        "defense_gan_orig": ["steps=2", "restarts=1,steps=5", "winner=true"],
        "cowboy": ["steps=2", "winner=true"],
        "ae_gan_rs": ["steps=2", "steps=0"],
    }
    without = ("ae_gan_r", "magnet", "defense_vae", "adv_training", "none")
    expected |= {name: list[str]() for name in without}
    for defense, settings in expected.items():
        found = cascade(config, defense)
        assert names(found) == ["fgsm white_box", *(f"fgsm surrogate:{s}" for s in settings)]
        assert [one.surrogate for one in found.stages[1:]] == [
            {k: yaml.safe_load(v) for k, v in (pair.split("=") for pair in s.split(","))}
            for s in settings
        ]
    # Nothing of it stands in the recipe of a stage that is none.
    assert "surrogate" not in cascade(config).recipe["stages"][0]


def test_transfers_between_seeds() -> None:
    every = ("transfer:@seed1", "transfer:@seed1:purifier", "transfer:@seed1:classifier")
    config = own(stage("fgsm"), *(stage("fgsm", one) for one in every))
    made = cascade(config, "defense_gan")
    assert names(made) == ["fgsm white_box", *(f"fgsm {one}" for one in every)]
    run, other = "results/digits/seed0", "results/digits/seed1"
    parts = ("@seed1", "@seed1:purifier", "@seed1:classifier")
    assert made.inputs == {
        "dataset": "results/digits/dataset.h5",
        "classifier": f"{run}/classifiers/defense_gan/D.safetensors",
        "generator": f"{run}/generators/wgan_gp.safetensors",
        **{
            f"transfer_{part}_classifier": f"{seed}/classifiers/defense_gan/D.safetensors"
            for part, seed in zip(parts, (other, run, other), strict=True)
        },
        **{
            f"transfer_{part}_generator": f"{seed}/generators/wgan_gp.safetensors"
            for part, seed in zip(parts, (other, other, run), strict=True)
        },
    }
    # The starts of the search are another seed's, too.
    assert [made.others[part].purifier.seed for part in parts] == [1, 1, 0]
    # Without a purifier there is a classifier alone; and none is its own other.
    for defense in ("none", "adv_training"):
        assert names(cascade(config, defense)) == ["fgsm white_box", "fgsm transfer:@seed1"]
    found = Catalogue(config, SCHEMA).cascade("digits", 1, "mine", "defense_gan", "D")
    assert names(found) == ["fgsm white_box"]


def test_what_a_cascade_is_made_from() -> None:
    config = own(stage("fgsm", "gray_box"), stage("fgsm", "transfer:defense_gan"))
    folder = "results/digits/seed0"
    made = cascade(config, "adv_training")
    assert made.path == f"{folder}/adaptive/mine/adv_training/D.h5"
    assert [part.path for part in made.parts] == [
        f"{folder}/adaptive/mine/adv_training/D.costs.csv"
    ]
    assert made.inputs == {
        "dataset": "results/digits/dataset.h5",
        "classifier": f"{folder}/classifiers/adv_training/D.safetensors",
        "gray_box": f"{folder}/classifiers/plain/D.safetensors",
        "transfer_defense_gan_classifier": f"{folder}/classifiers/defense_gan/D.safetensors",
        "transfer_defense_gan_generator": f"{folder}/generators/wgan_gp.safetensors",
    }
    assert cascade(own(stage("fgsm")), "none").inputs == {
        "dataset": "results/digits/dataset.h5",
        "classifier": f"{folder}/classifiers/plain/D.safetensors",
    }
    # A purifier of its own for each classifier.
    assert "vae" in cascade(own(stage("fgsm")), "defense_vae").inputs


def test_checks_stand_in_the_recipe_of_a_cascade_that_has_them_alone() -> None:
    without = cascade(own(stage("fgsm")))
    assert "checks" not in without.recipe
    assert cascade(own(stage("fgsm"), checks=False)).digest == without.digest
    assert cascade(own(stage("fgsm"), checks=True)).recipe["checks"] is True
    assert DEFAULT["cascades"]["standard"]["checks"] is True
    with pytest.raises(ConfigError, match=r"cascades\.mine\.checks: must be of type boolean"):
        cascade(own(stage("fgsm"), checks="doubled"))


def test_an_edited_stage_makes_the_cascade_stale_and_nothing_else() -> None:
    def files(catalogue: Catalogue) -> list[Any]:
        made = [catalogue.cascade("digits", 0, "standard", d, "D") for d in ("magnet", "none")]
        return [*made, paper_table(catalogue, "table4")]

    both = {f"results/digits/seed0/adaptive/standard/{d}/D.h5" for d in ("magnet", "none")}
    found = remade(files, SMALL, {"attacks": {"cascade_square": {"queries": 7}}})
    assert (found.kinds, found.paths) == ({"AttackedAdaptively": 2}, both)
    found = remade(files, SMALL, {"cascades": {"standard": {"images": 5}}})
    assert (found.kinds, found.paths) == ({"AttackedAdaptively": 2}, both)
    # How many images an attack has in tables plays no part, nor an attack of none of its stages.
    images = {"cascade_fgsm": {"images": {"gray_box": 3}}, "pgd": {"iterations": 3}}
    assert remade(files, SMALL, {"attacks": images}).kinds == {}
    bpda = [s for s in DEFAULT["cascades"]["standard"]["stages"] if "bpda" not in s["threat_model"]]
    found = remade(files, SMALL, {"cascades": {"standard": {"stages": bpda}}})
    assert found.paths == {"results/digits/seed0/adaptive/standard/magnet/D.h5"}
    found = remade(files, SMALL, {"defenses": {"magnet": {"epochs": 3}}})
    assert "results/digits/seed0/adaptive/standard/magnet/D.h5" in found.paths
    assert "results/digits/seed0/adaptive/standard/none/D.h5" not in found.paths


def test_the_default_cascade_stands_whatever_strength_other_attacks_get() -> None:
    changed = {name: {"epsilon": 0.3} for name in ("fgsm", "pgd", "bim", "mim")}
    config = merged(merged(DEFAULT, SMALL), {"attacks": changed})
    for defense in ("none", "adv_training", "magnet", "defense_gan", "defense_gan_orig"):
        found = cascade(config, defense, "standard")
        assert found.digest == cascade(merged(DEFAULT, SMALL), defense, "standard").digest
        assert len(found.stages) == {"none": 6, "adv_training": 7}.get(defense, 9)
        assert {stage.attack.settings["epsilon"] for stage in found.stages} == {0.1}
