"""docs/config.md says of every key of the config what it means, and is what the schema says."""

import sys

from conftest import REPOSITORY, SCHEMA

from purification.experiments import methods
from purification.experiments.papers import STUDIES
from purification.experiments.schema import read_schema

sys.path.insert(0, str(REPOSITORY / "docs"))
from key_reference import keys, reference, sections

ROOT = read_schema(SCHEMA)
BUILT_IN = {
    word
    for name in ("attack_method", "defense_method")
    for word in ROOT["$defs"][name]["anyOf"][0]["enum"]
}


def test_every_key_has_a_description() -> None:
    """Of a built-in method's own settings those count that its file states."""
    stated = {*methods.attacks(), *methods.defenses(), "adversarial_training", "redeployed"}
    for heading, description, found in sections(ROOT):
        assert description or heading.startswith(("### ", "## Top level")), heading
        bare = [key.place for key in found if not key.meaning]
        unstated = any(f"`{name}`" in heading for name in BUILT_IN - stated)
        assert not bare or ("`method`" in heading and unstated), (heading, bare)
    [key] = keys({"properties": {"mine": {"type": "string"}}}, {})
    assert key.meaning == ""


def test_every_section_and_form_stands_in_it() -> None:
    text = "\n".join(heading for heading, _, _ in sections(ROOT))
    text += "".join(key.place for _, _, found in sections(ROOT) for key in found)
    for name in ROOT["properties"]:
        assert f"`{name}`" in text, name
    assert {study.form for study in STUDIES.values()} == set(ROOT["$defs"]["forms"])


def test_the_reference_is_that_of_the_schema() -> None:
    assert (REPOSITORY / "docs/config.md").read_text() == reference(ROOT), "run `make docs`"
