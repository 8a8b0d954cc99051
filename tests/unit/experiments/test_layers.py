"""Config files laid over one another: lists that are changed without restating them."""

import copy
from typing import Any

import pytest
import yaml
from conftest import DEFAULT, REPOSITORY, SCHEMA, merged, refusal

from purification.experiments import DEFAULT_FILES, PAPERS, Catalogue, ConfigError, layered

BASE = {"table4": {"attacks": ["fgsm", "cw"], "datasets": ["digits"]}, "seeds": [0]}


def attacks(*layers: Any) -> list[str]:
    """The attacks of Table 4 after these changes of it."""
    files = [(f"{n}.yaml", {"table4": layer}) for n, layer in enumerate(layers)]
    return layered([("base.yaml", BASE), *files])["table4"]["attacks"]


def test_lists_are_changed_in_the_order_of_the_files() -> None:
    before = copy.deepcopy(BASE)
    assert attacks({"attacks+": ["mine"]}) == ["fgsm", "cw", "mine"]
    assert attacks({"attacks-": ["fgsm"]}) == ["cw"]
    # Of two files both count, where Snakemake's own merging knows the last alone.
    assert attacks({"attacks+": ["b"]}, {"attacks+": ["a"]}) == ["fgsm", "cw", "b", "a"]
    assert attacks({"attacks+": ["a"]}, {"attacks-": ["a", "cw"]}) == ["fgsm"]
    # A later list replaces all, changes of it included; in one file the list goes before.
    assert attacks({"attacks+": ["a"]}, {"attacks": ["b"]}) == ["b"]
    assert attacks({"attacks+": ["a"], "attacks": ["b"]}) == ["b", "a"]
    # What goes, goes before what comes: an entry moves to the end.
    assert attacks({"attacks+": ["fgsm"], "attacks-": ["fgsm"]}) == ["cw", "fgsm"]
    assert layered([("", BASE), ("", {"seeds+": [1]})])["seeds"] == [0, 1]
    assert before == BASE


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"attacks+": ["cw"]}, "mine.yaml: table4.attacks+: 'cw' is in the list already"),
        ({"attacks-": ["fgms"]}, "table4.attacks-: 'fgms' is not in the list (did you mean 'fgsm'"),
        ({"attacks-": ["pgd"]}, "'pgd' is not in the list; it has fgsm, cw"),
        ({"attack+": ["pgd"]}, "table4.attack+: there is no list 'attack' to change"),
        (
            {"attacks+": "pgd"},
            "mine.yaml: table4.attacks+: must be a list, such as [pgd]; got 'pgd'",
        ),
        ({"attacks-": None}, "mine.yaml: table4.attacks-: must be a list; got None"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(change: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        layered([("base.yaml", BASE), ("mine.yaml", {"table4": change})])
    assert expected in str(refused.value)


def test_other_keys_that_end_in_a_sign_are_keys() -> None:
    """Names may do so, and users' own settings may be anything."""
    odd = {"attacks": {"fgsm-": {"epsilon": 0.1}}, "defenses": {"mine": {"settings": {"a+": [1]}}}}
    assert layered([("", odd)]) == odd
    odd["defenses"]["mine"]["settings"] = {"a+": 1, "a": [1]}
    assert layered([("", odd)]) == odd


def test_changes_come_to_the_tables_and_to_copies() -> None:
    change = {
        "table4": {"attacks+": ["pgd"], "attacks-": ["cw"]},
        "copies": {"fgsm": {"epsilon+": [0.15]}},
    }
    catalogue = Catalogue(merged(DEFAULT, change), SCHEMA)
    assert catalogue.study("table4").settings["attacks"] == ["fgsm", "rand_fgsm", "cw_tuned", "pgd"]
    names = [name for name, _ in catalogue.copies("digits", 0, "A", "fgsm").attacks]
    assert len(names) == 5 and names[-1] == "epsilon=0.15"


def test_an_entry_that_is_removed_can_come_back() -> None:
    layers = [("", DEFAULT), ("", {"defenses": {"magnet": None}})]
    again = {"defenses": {"magnet": DEFAULT["defenses"]["magnet_20"]}}
    assert "got 'magnet'" in refusal(layered(layers), "table4")
    assert not refusal(layered([*layers, ("", again)]), "table4")
    assert "table12" not in Catalogue(merged(DEFAULT, {"table12": None}), SCHEMA).config


def test_each_paper_has_a_file_of_its_own() -> None:
    files = sorted(path.stem for path in (REPOSITORY / "config/papers").glob("*.yaml"))
    assert files == sorted(PAPERS)
    taken: dict[str, str] = {}
    for file in DEFAULT_FILES:
        content = yaml.safe_load((REPOSITORY / file).read_text())
        for section, entries in content.items():
            shared = ("classifiers", "generators", "attacks", "defenses", "cascades")
            names = entries if section in shared else [""]
            for name in names:
                place = f"{section}.{name}"
                assert taken.setdefault(place, file) == file, f"{place} is in {file} too"
