"""What is said of an edited config: which settings, and how many jobs each makes stale."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, merged, micro_catalogue

from purification.edits import FOLDER, KEPT, explained_edits, remember, remembered
from purification.experiments import Catalogue, all_made, paper_table
from purification.experiments.artifacts import File, Recipe
from purification.text_tables import write_page

pytestmark = pytest.mark.slow  # each looks at a whole study

SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"
Config = Mapping[str, Any]


def table4(config: Config) -> dict[str, File]:
    """Table 4 and all that it is made from, by their paths."""
    found = all_made([paper_table(Catalogue(config, SCHEMA), "table4")])
    return {file.path: file for file in found}


def differing(old: Config, new: Config) -> int:
    """How many files of today's Table 4 the old config does not make, or makes otherwise."""
    before, now = table4(old), table4(new)
    return sum(path not in before or before[path].digest != now[path].digest for path in now)


class Results:
    """A folder in which runs were; a page with the recipe stands for each file of them."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}

    def made(self, config: Config, *, only: str = "") -> None:
        """A run made Table 4, or of its files those with `only` in their path."""
        remember(config)
        for path, file in table4(config).items():
            if only in path:
                self.pages.setdefault(path, f"{len(self.pages)}.md")
                write_page(self.pages[path], "A file.", file.recipe)

    def explained(self, config: Config) -> list[str]:
        """What is said before Table 4 is made by another config."""
        wanted = list(table4(config))

        def recipes(other: Config) -> list[Recipe]:
            found = table4(other)
            return [found[path].job if path in found else Recipe({}) for path in wanted]

        outputs = [[self.pages.get(path, path)] for path in wanted]
        return explained_edits(config, outputs, recipes(config), recipes)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    monkeypatch.chdir(tmp_path)
    return Results()


OLD = micro_catalogue().config
EDITS: dict[str, Any] = {
    "attacks.fgsm.epsilon: 0.1 -> 0.15": {"attacks": {"fgsm": {"epsilon": 0.15}}},
    "defenses.magnet.epochs: 1 -> 2": {"defenses": {"magnet": {"epochs": 2}}},
    "defenses.defense_gan.steps: 4 -> 5": {"defenses": {"defense_gan": {"steps": 5}}},
    "generators.wgan_gp.width: 4 -> 8": {"generators": {"wgan_gp": {"width": 8}}},
    'generators.wgan_gp.per_dataset: nothing -> {"digits": {"batch_size": 10}}': {
        "generators": {"wgan_gp": {"per_dataset": {"digits": {"batch_size": 10}}}}
    },
    "classifiers.D.epochs: 3 -> 4": {"classifiers": {"D": {"epochs": 4}}},
    "datasets.digits.test: 40 -> 41": {"datasets": {"digits": {"test": 41}}},
    "seeds: [0] -> [0, 1]": {"seeds": [0, 1]},
    'table4.attacks: ["fgsm", "cw"] -> ["fgsm"]': {"table4": {"attacks": ["fgsm"]}},
    'table4.attacks: ["fgsm", "cw"] -> ["fgsm", "cw", "half_masked"]': {
        "table4": {"attacks": ["fgsm", "cw", "half_masked"]}
    },
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_named_as_it_stands_in_the_config(edit: str, results: Results) -> None:
    results.made(OLD)
    new = merged(OLD, EDITS[edit])
    count = differing(OLD, new)
    assert results.explained(new) == [f"{edit}: {count} job{'s' if count > 1 else ''}"]


def test_each_of_several_edits_is_counted_by_itself(results: Results) -> None:
    results.made(OLD)
    both = ["attacks.fgsm.epsilon: 0.1 -> 0.15", "defenses.magnet.epochs: 1 -> 2"]
    new = OLD
    for edit in both:
        new = merged(new, EDITS[edit])
    # What neither Table 4 nor any file of it is made by.
    new = merged(new, {"batch_size": {"attack": 5}, "attacks": {"bim": {"step_size": 0.02}}})
    counts = [differing(OLD, merged(OLD, EDITS[edit])) for edit in both]
    assert results.explained(new) == [f"{e}: {n} jobs" for e, n in zip(both, counts, strict=True)]
    assert sum(counts) > differing(OLD, new)  # the table and its measurements are stale twice


@pytest.mark.parametrize("renamed", [False, True])
def test_a_setting_that_names_a_new_entry_is_counted_with_it(
    renamed: bool, results: Results
) -> None:
    """Neither is right without the other where the old entry is gone as well."""
    first = {**OLD["attacks"]["fgsm"], "epsilon": 0.2}
    old = merged(OLD, {"attacks": {"first": first}, "table4": {"attacks": ["first", "cw"]}})
    results.made(old)
    second = {"first": None} if renamed else {}
    second["second"] = {**first, "epsilon": 0.3}
    new = merged(old, {"attacks": second, "table4": {"attacks": ["second", "cw"]}})
    new = Catalogue(new, SCHEMA).config
    *_, line = results.explained(new)
    count = differing(old, new)
    assert line == f'table4.attacks: ["first", "cw"] -> ["second", "cw"]: {count} jobs'


def test_a_setting_that_is_right_only_after_another_is_counted_after_it(results: Results) -> None:
    results.made(OLD)
    # Of 40 test images no 41 can be attacked.
    grown = {"datasets": {"digits": {"test": 41}}, "attacks": {"cw": {"images": {"gray_box": 41}}}}
    new = merged(OLD, grown)
    count = differing(merged(OLD, EDITS["datasets.digits.test: 40 -> 41"]), new)
    assert set(results.explained(new)) == {
        f"attacks.cw.images.gray_box: 12 -> 41: {count} jobs",
        f"datasets.digits.test: 40 -> 41: {differing(OLD, new)} jobs",
    }


def test_many_edits_are_one_line(results: Results) -> None:
    results.made(OLD)
    new = merged(OLD, {"attacks": {"fgsm": {"epsilon": 0.15}}})
    new = merged(new, {"classifiers": {name: {"epochs": 77} for name in "ABCDEF"}})
    new = merged(new, {"generators": {n: {"latent": 9} for n in ("wgan_gp", "ae", "ae_gan")}})
    new = merged(new, {"seeds": [1]})
    [line] = results.explained(new)
    assert line.startswith("11 settings (") and "seeds" in line
    assert line.endswith(f", ...): {differing(OLD, new)} jobs")


def test_an_interrupted_run_does_not_hide_the_edit_before_it(results: Results) -> None:
    """The latest config is today's, and made some of the files; the others are of one before."""
    results.made(OLD)
    new = merged(OLD, EDITS["attacks.fgsm.epsilon: 0.1 -> 0.15"])
    results.made(new, only="adversarial")
    count = differing(OLD, new) - 2
    assert results.explained(new) == [f"attacks.fgsm.epsilon: 0.1 -> 0.15: {count} jobs"]
    # Files of two configs: each is explained by its own.
    newer = merged(OLD, {"attacks": {"fgsm": {"epsilon": 0.2}}})
    assert results.explained(newer) == [
        "attacks.fgsm.epsilon: 0.15 -> 0.2: 2 jobs",
        f"attacks.fgsm.epsilon: 0.1 -> 0.2: {count} jobs",
    ]


def test_a_missing_file_counts_where_something_stale_is_made_of_it(results: Results) -> None:
    results.made(OLD)
    new = merged(OLD, EDITS["attacks.fgsm.epsilon: 0.1 -> 0.15"])
    count = differing(OLD, new)
    # One that the edit concerns, as after a job that failed; one that it does not; an unused one.
    for name in ("adversarial/plain/D/fgsm.h5", "classifiers/plain/D.safetensors", "magnet.h5"):
        results.pages.pop(f"results/digits/seed0/{name}", None)
    assert results.explained(new) == [f"attacks.fgsm.epsilon: 0.1 -> 0.15: {count + 1} jobs"]
    del results.pages["results/digits/seed0/attacked/magnet/D/cw.h5"]  # read by another row alone
    assert results.explained(new) == [f"attacks.fgsm.epsilon: 0.1 -> 0.15: {count + 1} jobs"]


def test_nothing_is_said_of_what_no_remembered_config_made(results: Results) -> None:
    results.made(OLD)
    assert results.explained(OLD) == []
    for file in FOLDER.iterdir():
        file.unlink()
    assert results.explained(merged(OLD, {"seeds": [1]})) == []
    # One that is wrong today, as after an upgrade, is passed over.
    remember({**OLD, "no_such_key": 1})
    assert results.explained(merged(OLD, EDITS["classifiers.D.epochs: 3 -> 4"])) == []


def test_the_latest_configs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    configs = [{"seeds": [n], "step_sizes": {60: 1.0e-5}} for n in range(KEPT + 2)]
    for config in configs:
        remember(config)
    remember(configs[5])
    kept = list(remembered())
    assert kept[0] == configs[5] and len(kept) == KEPT
    assert kept[1:] == [c for c in configs[:1:-1] if c != configs[5]]
