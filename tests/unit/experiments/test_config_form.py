"""The config's form: values, names, entries that are removed, numbers of images."""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import DEFAULT, REPOSITORY, SCHEMA, also, digests, edit, merged, refusal

from purification.experiments import Catalogue, ConfigError, inference_rules, paper_table
from purification.experiments.config_form import FILES_BESIDE, SUFFIXES
from purification.experiments.layers import NAMED_ENTRIES
from purification.experiments.papers import TABLE_FORMS
from purification.experiments.schema import OURS, of_form, read_schema
from purification.storage import ImageSet, read_image_set, write_image_set

FGSM = DEFAULT["attacks"]["fgsm"]
MAGNET = DEFAULT["defenses"]["magnet"]
OWN_ATTACK = {"method": "my_lab:attack", "images": FGSM["images"], "settings": {}}
LIMIT = 2**63 - 1  # of a seed


def changed(*edits: Any) -> dict[str, Any]:
    config = copy.deepcopy(DEFAULT)
    also(*edits)(config)
    return config


def named(section: str, name: Any, value: Any = None) -> Any:
    """An edit that gives an entry of the default another name, beside it."""
    value = value or next(iter(DEFAULT[section].values()))
    return edit(section, name, value=value)


WRONG = {
    "whole number with a point": (
        edit("classifiers", "A", "epochs", value=4.0),
        ["classifiers.A.epochs: must be of type integer; got 4.0 of type float (write 4)"],
    ),
    "whole number as a power of ten": (
        edit("generators", "wgan_gp", "iterations", value=2e5),
        ["generators.wgan_gp.iterations: ", "(write 200000)"],
    ),
    "whole number with a point in a list": (
        edit("seeds", value=[0, 1.0]),
        ["seeds.1: must be of type integer; got 1.0 of type float (write 1)"],
    ),
    "whole number with a point among choices": (
        edit("gpu", value=1.0),
        ["gpu: got 1.0; allowed: auto, 0, 1"],
    ),
    "whole numbers with points in a choice": (
        edit("attacks", "fgsm", "pixel_range", value=[0.0, 1.0]),
        ["attacks.fgsm.pixel_range: got [0.0, 1.0] (did you mean '[0, 1]'?); allowed: [0, 1], [-"],
    ),
    "whole number or a word": (
        edit("batch_size", "purification", value=250.0),
        ["batch_size.purification: got 250.0 (write 250); allowed: auto, or of type integer"],
    ),
    "copies of a whole number with a point": (
        edit("copies", "cw", "iterations", value=4.0),
        ["copies.cw.iterations: must be of type integer; got 4.0 of type float (write 4)"],
    ),
    "whole number as text": (
        edit("threads", value="4"),
        ["threads: must be of type integer; got '4' of type str (write 4, without quotes)"],
    ),
    "whole number as text in powers of ten": (
        edit("generators", "wgan_gp", "iterations", value="2e5"),
        ["(write 200000, without quotes)"],
    ),
    "fraction": (
        edit("attacks", "fgsm", "epsilon", value="8/255"),
        ["attacks.fgsm.epsilon: must be of type number; ", "does not divide: write 0.03137)"],
    ),
    "fraction in a list": (
        edit("table3", "epsilons", value=["16 / 255"]),
        ["table3.epsilons.0: ", "write 0.06275)"],
    ),
    "list that the shell has cut": (
        edit("seeds", value="[0,"),
        ["seeds: must be of type array; ", "--config 'seeds=[0, 1]'"],
    ),
    "seed beyond 64 bits": (
        edit("seeds", value=[0, LIMIT + 1]),
        [f"seeds.1: {LIMIT + 1} is greater than the maximum of {LIMIT}"],
    ),
    "no number": (
        edit("classifiers", "A", "learning_rate", value=float("nan")),
        ["classifiers.A.learning_rate: must be a finite number; got nan"],
    ),
    "no number in a list": (
        edit("figure7", "epsilons", value=[0.1, float("nan")]),
        ["figure7.epsilons.1: must be a finite number; got nan"],
    ),
    "infinity in a list of lists": (
        edit("defenses", "ae_s", "step_sizes", value=[[60, float("inf")]]),
        ["defenses.ae_s.step_sizes.0.1: must be a finite number; got inf"],
    ),
    "infinity in a user's settings": (
        named("attacks", "own", {**OWN_ATTACK, "settings": {"sizes": [{"step": -float("inf")}]}}),
        ["attacks.own.settings.sizes.0.step: must be a finite number; got -inf"],
    ),
    "date": (
        named("attacks", "own", {**OWN_ATTACK, "settings": yaml.safe_load("since: 2020-01-01")}),
        ["attacks.own.settings.since: YAML reads '2020-01-01' as a date: put it in quotes"],
    ),
    "name that is a number": (
        named("classifiers", 1),
        ["classifiers: the key 1 is no text: put it in quotes"],
    ),
    "name that is a truth value": (
        edit("defense_vae_table2", "trained_on", True, value={}),
        ["defense_vae_table2.trained_on: the key True is no text: put it in quotes"],
    ),
    "reference that is a number": (
        edit("table4", "classifiers", value=[1]),
        ["table4.classifiers.0: must be of type string; got 1"],
    ),
    "name with a line end": (
        named("attacks", "fgsm\n"),
        ["attacks: the key 'fgsm\\n' has a line end", "attacks: the name 'fgsm\\n' cannot be used"],
    ),
    "name with a character that cannot be seen": (
        named("attacks", "fg\u200bsm"),
        ["attacks: the name 'fg\\u200bsm' cannot be used here", "letters, digits"],
    ),
    "name with a blank before it": (
        named("datasets", " digits"),
        ["datasets: the key ' digits' begins or ends with a blank"],
    ),
    "label with a line end": (
        edit("defense_vae_table2", "trained_on", "other\ntwo", value={}),
        ["defense_vae_table2.trained_on: the key 'other\\ntwo' has a line end"],
    ),
    "reference with a blank after it": (
        edit("sweep", "attack", value="fgsm "),
        ["sweep.attack: 'fgsm ' begins or ends with a blank: remove it"],
    ),
    "data root with a line end": (
        edit("data_root", value="data\n"),
        ["data_root: 'data\\n' has a line end"],
    ),
    "home folder of nobody": (
        edit("data_root", value="~no_such_user/data"),
        ["data_root: no home folder is known for '~no_such_user'"],
    ),
    "data root with a variable": (
        edit("data_root", value="$SCRATCH/data"),
        ["data_root: variables are not replaced in '$SCRATCH/data': write the path out"],
    ),
    "name that is too long": (
        named("attacks", "a" * 81),
        ["attacks: the name 'aaa", "cannot be used here (at most 80 letters"],
    ),
    "name that a job's input has": (
        named("attacks", "classifier"),
        ["attacks: the name 'classifier' cannot be used here (the workflow uses this word itself)"],
    ),
    "paper's name of an attack with a path": (
        edit("attacks", "deepfool", "paper_name", value="../../x"),
        ["attacks.deepfool.paper_name: the name '../../x' cannot be used here"],
    ),
    "own code by a module without name": (
        edit("datasets", "digits", "source", value="lab..data:load"),
        ["datasets.digits.source: got 'lab..data:load'", "package.module:name"],
    ),
    "own code with a line end": (
        edit("datasets", "digits", "source", value="lab:load\n"),
        ["datasets.digits.source: 'lab:load\\n' has a line end"],
    ),
    "pair with a path": (
        edit("table1", "pairs", value=["A/B/C"]),
        ["table1.pairs.0: the name 'A/B/C' cannot be used here (target/substitute, such as A/E)"],
    ),
    "more attacked images than there are": (
        edit("attacks", "cw", "images", "gray_box", value=501),
        ["attacks.cw.images.gray_box: must be at most 500, the test images of digits; got 501"],
    ),
    "more transferred images than there are": (
        edit("attacks", "fgsm", "images", "black_box", value=351),
        ["attacks.fgsm.images.black_box: must be at most 350", "without the 150 of the attacker"],
    ),
    "more images than the official ones": (
        also(
            edit("attacks", "cw_small", "images", "white_box", value=10_001),
            edit("table4", "datasets", value=["mnist"]),
            edit("table4", "attacks", value=["cw_small"]),
        ),
        ["attacks.cw_small.images.white_box: must be at most 10000, the test images of mnist"],
    ),
    "more clean images than there are": (
        edit("defenses", "magnet", "clean_images", value=501),
        ["defenses.magnet.clean_images: must be at most 500", "got 501 (null takes all)"],
    ),
    "more clean images than a redeployed purifier has": (
        also(
            edit("defenses", "far", value={**MAGNET, "clean_images": 501}),
            edit("defenses", "near", value={
                "method": "redeployed", "purifier": "far", "classifier": "reconstructions",
                "threat_models": ["gray_box"],
            }),
            edit("table4", "defenses", value=["near"]),
        ),
        ["defenses.far.clean_images: must be at most 500"],
    ),
    "more validation images than there are": (
        edit("sweep", "validation_images", value=148),
        ["sweep.validation_images: must be at most 147, the validation images of digits; got 148"],
    ),
    "a larger batch than a file has images": (
        also(
            edit("table13", "datasets", value=["svhn"]),
            edit("table13", "largest_batch", value=26_033),
        ),
        ["table13.largest_batch: must be at most datasets.svhn.test = 26032", "got 26033"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_form_is_refused_with_its_remedy(case: str) -> None:
    change, expected = WRONG[case]
    message = refusal(changed(change))
    for part in expected:
        assert part in message
    first = message.splitlines()[1]
    assert first.index("got ") < first.index("allowed") if "allowed" in first else True


def test_images_that_one_data_set_has_are_not_too_many() -> None:
    config = changed(
        edit("attacks", "fgsm", "images", "gray_box", value=2000),
        edit("table4", "datasets", value=["digits", "mnist"]),
    )
    assert not refusal(config)


def test_a_rule_is_timed_on_no_more_images_than_a_set_has() -> None:
    """Said when its table is asked for: who attacks fewer images need not change it."""
    few = {"attacks": {"pgd": {"images": {"gray_box": 99}}}}
    for config, limit in (
        (merged(DEFAULT, few), "attacks.pgd.images.gray_box = 99"),
        (merged(DEFAULT, {"inference_rule": {"images": 148}}), "datasets.digits.validation = 147"),
    ):
        catalogue = Catalogue(config, SCHEMA)
        with pytest.raises(ConfigError, match=f"inference_rule.images: must be at most {limit}"):
            inference_rules(catalogue)


def test_largest_seed_comes_back_from_files_and_tables(tmp_path: Path) -> None:
    catalogue = Catalogue(changed(edit("seeds", value=[0, LIMIT])), SCHEMA)
    assert catalogue.classifier("digits", LIMIT, "plain", "A").recipe["seed"] == LIMIT
    images = ImageSet(np.zeros((1, 1, 2, 2), np.float32), np.zeros(1, np.int64))
    write_image_set(tmp_path / "set.h5", images, {"seed": LIMIT}, LIMIT)
    assert read_image_set(tmp_path / "set.h5").attributes["seed"] == LIMIT
    # One more, and seeds below and above it are rounded where tables are put together.
    for seed, kind in ((LIMIT, "int64"), (LIMIT + 1, "float64")):
        both = pd.concat([pd.DataFrame({"seed": [s]}) for s in (0, seed)])
        assert both["seed"].dtype == kind


# --- names


@pytest.mark.slow
@pytest.mark.parametrize(
    "section", ["datasets", "classifiers", "generators", "attacks", "defenses"]
)
def test_no_name_is_another_file_s(section: str) -> None:
    for end in (*FILES_BESIDE, *SUFFIXES):
        message = refusal(changed(named(section, f"own.{end}")))
        assert f"{section}: the name 'own.{end}' cannot be used here" in message
        assert f"write own_{end}" in message
    for name in ("own", "own.2", "fgsm_0.05", "a" * 80):
        Catalogue(changed(named(section, name)), SCHEMA)
    twin = next(iter(DEFAULT[section]))
    twin = twin.swapcase()
    assert "in capital letters alone" in refusal(changed(named(section, twin)))


def test_words_of_the_workflow_are_no_defense_in_capital_letters_either() -> None:
    for name in ("plain", "none"):
        assert "the workflow has a column or folder" in refusal(changed(named("defenses", name)))
        message = refusal(changed(named("defenses", name.title())))
        assert f"'{name.title()}' differs from '{name}', which the workflow has" in message


def paths() -> list[str]:
    """What the rules call their files: with a wildcard in it."""
    rules = sorted((REPOSITORY / "workflow/rules").glob("*.smk"))
    text = "".join(path.read_text() for path in rules)
    found = re.findall(r'"((?:results|logs)/[^"]+)"', text)
    # Not those that are put together from code, such as a prefix without the name of a file.
    return [path for path in found if "{" in path and not re.search(r"\{[^}]*[.( ][^}]*\}$", path)]


def test_reserved_endings_are_those_of_the_rules() -> None:
    files = [path.rsplit("/", 1)[1] for path in paths()]
    parts = {tuple(file.rsplit("}", 1)[1].strip(".").split(".")) for file in files if "}" in file}
    assert {end for *_, end in parts} <= SUFFIXES and {"tsv", "safetensors"} <= SUFFIXES
    beside = {word for *words, _ in parts for word in words if word}
    assert beside == FILES_BESIDE


def test_longest_names_fit_into_a_file_name() -> None:
    longest = "a" * yaml.safe_load(SCHEMA.read_text())["$defs"]["name"]["maxLength"]
    for path in paths():
        for part in path.split("/"):
            # Two names in one, as `defense_vae@A`, and what `atomic` puts before it.
            name = re.sub(r"\{\w+\}", f"{longest}@{longest}", part)
            assert len(name) + len(".-") + 32 <= 255


# --- entries that an overlay removes


ROOT = read_schema(SCHEMA)


def named_entries(schema: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Places of the schema's mappings that may have any key."""
    parts = [schema, *(part.get("then", {}) for part in schema.get("allOf", ()))]
    for part in parts:
        while "$ref" in part:
            target: Any = ROOT
            for step in part["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            part = {**target, **{k: v for k, v in part.items() if k != "$ref"}}
        for key, inner in part.get("properties", {}).items():
            if isinstance(inner, dict):
                yield from named_entries(inner, f"{place}.{key}".strip("."))
        if isinstance(inner := part.get("additionalProperties"), dict):
            yield place
            yield from named_entries(inner, f"{place}.*")


def test_entries_can_be_removed_wherever_keys_are_names() -> None:
    own = {p for form in TABLE_FORMS for p in named_entries(of_form(ROOT, form), "tables.*")}
    assert {*named_entries(ROOT), *own} == set(NAMED_ENTRIES)


def removals() -> list[tuple[str, str]]:
    sections = ("datasets", "classifiers", "generators", "attacks", "copies", "defenses")
    return [(section, name) for section in sections for name in DEFAULT[section]]


@pytest.mark.slow
def test_a_removed_entry_is_gone_or_refused_where_it_is_named() -> None:
    gone = 0
    for section, name in removals():
        config = merged(DEFAULT, {section: {name: None}})
        if message := refusal(config):
            lines = [line for line in message.splitlines() if line != "the config is wrong:"]
            assert all(re.match(r"  [\w.+]+: .*", line) for line in lines), lines
            assert any(f": got {name!r}" in line for line in lines), lines
        else:
            gone += 1
            assert name not in Catalogue(config, SCHEMA).config[section]
            assert config[section][name] is None  # the config itself is left as it was
    assert gone >= 5


def test_what_names_a_removed_defense_is_told_with_its_place() -> None:
    message = refusal(merged(DEFAULT, {"defenses": {"magnet": None}}))
    for place in ("table1.defenses", "table4.defenses", "defense_vae_table1.defenses"):
        assert f"{place}: got 'magnet'" in message


def test_removal_leaves_the_rest_as_it_was() -> None:
    removed = {"datasets": {"svhn": None}, "copies": {"cw": {"learning_rate": None}}}
    before, after = (Catalogue(c, SCHEMA) for c in (DEFAULT, merged(DEFAULT, removed)))
    assert digests(paper_table(before, "table4")) == digests(paper_table(after, "table4"))
    assert after.config["copies"]["cw"] == {"iterations": 4}


def test_null_elsewhere_is_a_value() -> None:
    assert Catalogue(DEFAULT, SCHEMA).config["datasets"]["mnist"]["test"] is None
    assert "seeds: must be of type array" in refusal(merged(DEFAULT, {"seeds": None}))
    message = refusal(merged(DEFAULT, {"classifiers": {"A": {"epochs": None}}}))
    assert "classifiers.A.epochs: must be of type integer" in message


# --- what comes after


def test_home_folder_is_put_for_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    catalogue = Catalogue(changed(edit("data_root", value="~/data")), SCHEMA)
    assert catalogue.config["data_root"] == "/home/me/data"
    assert Catalogue(DEFAULT, SCHEMA).config["data_root"] == DEFAULT["data_root"]


VALUES = [None, "", -1, 4.0, True, [], ["x"], [[]], {"x": 1}, {"x": None}, float("nan")]


@pytest.mark.slow
@pytest.mark.parametrize("value", VALUES, ids=json.dumps)
def test_no_value_ends_in_another_error(value: Any) -> None:
    """Whatever stands for sections, entries and settings is refused or right."""
    places = [(section,) for section in DEFAULT]
    places += [(s, k) for s, c in DEFAULT.items() if isinstance(c, dict) for k in list(c)[:2]]
    # Several at a time, and each of them with others: one check costs a tenth of a second.
    for start in range(16):
        config = copy.deepcopy(DEFAULT)
        for place in places[start::16]:
            if isinstance(config[place[0]], dict) or len(place) == 1:
                edit(*place, value=copy.deepcopy(value))(config)
        assert refusal(config)


def keywords_below(schema: Any, whole: Mapping[str, Any]) -> Iterator[str]:
    """All keys in a part of a schema and in what it refers to."""
    for key, value in schema.items() if isinstance(schema, dict) else ():
        yield key
        if key == "$ref":
            yield from keywords_below(whole["$defs"][value.split("/")[2]], whole)
        yield from keywords_below(value, whole)
    for part in schema if isinstance(schema, list) else ():
        yield from keywords_below(part, whole)


def alternatives(schema: Any) -> Iterator[Any]:
    """What a value may hold to, or is asked without being held to it."""
    for key, value in schema.items() if isinstance(schema, dict) else ():
        if key in ("if", "not", "anyOf", "oneOf", "contains"):
            yield value
        yield from alternatives(value)
    for part in schema if isinstance(schema, list) else ():
        yield from alternatives(part)


def test_no_condition_or_alternative_has_a_keyword_that_is_read_later() -> None:
    """Where one stands is found by errors, so that it would make a condition false."""
    schema = read_schema(SCHEMA)
    found = [{*keywords_below(part, schema)} & {*OURS} for part in alternatives(schema)]
    assert len(found) > 50 and not any(found)
    assert [*keywords_below({"anyOf": [{"$ref": "#/$defs/attack"}]}, schema)].count("names") == 1
