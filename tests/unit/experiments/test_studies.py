"""Papers as data, and tables of the user's own: every form is made, without any paper's numbers."""

import re
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    DEFAULT,
    REPOSITORY,
    SCHEMA,
    SMALL,
    digests,
    merged,
    micro_catalogue,
    read_yaml,
)
from made_up_measurements import COWBOY, FGSM, SIMPLE, measurement

from purification.experiments import (
    PAPERS,
    STUDIES,
    Catalogue,
    ConfigError,
    paper_comparison,
    paper_page,
    paper_table,
    worst_case,
)
from purification.experiments.config import check_study
from purification.experiments.papers import TABLE_FORMS, Study, read_papers, studies_of
from purification.reporting.long_tables import long_table, write_csv
from purification.reporting.markdown_tables import markdown_table
from purification.reporting.papers import known_of, paper_values, values_of
from purification.reporting.wide_tables import wide_table
from purification.text_tables import write_rows

HERE = {"datasets": ["digits"], "classifiers": ["D"], "attacks": ["fgsm"]}
SWEPT = {"datasets": ["digits_black_box"]}
OWN: dict[str, dict[str, Any]] = {
    "direct": HERE | {"defenses": ["defense_gan", "magnet", "bought"]},
    "searches": HERE
    | {"defenses": ["defense_gan"], "searches": {"steps": [2], "restarts": [1, 2]}},
    "unseen": HERE | {"trained_on": {"everything": {"fgsm": "defense_vae_rec"}}},
    "transferred": SWEPT
    | {"pairs": ["D/E"], "attacks": ["fgsm"], "defenses": ["magnet"], "oracle": "classifier"},
    "over_epsilon": SWEPT | {"epsilons": [0.1, 0.17], "steps": 3, "restarts": 2},
    "over_steps": SWEPT | {"steps": [2, 5], "restarts": 2},
    "over_restarts": SWEPT | {"steps": 2, "restarts": [1, 4]},
    "search_times": {"datasets": ["digits"], "defense": "defense_gan", "steps": [3]}
    | {"restarts": [1], "repeats": 1, "largest_batch": 4},
    "run_times": {"datasets": ["digits"], "classifier": "D", "defense": "defense_vae"}
    | {"search": "defense_gan", "steps": [3], "restarts": [1], "repeats": 1}
    | {"images": 4, "batch": 4, "search_images": 4},
}
BOUGHT = {"method": "magnet", "latent": 8, "width": 4, "epochs": 1, "batch_size": 50}
BOUGHT |= {"learning_rate": 0.001, "noise": 0.1, "classifier": "originals"}
BOUGHT |= {"threat_models": ["white_box", "gray_box"]}


def own_catalogue(tables: Mapping[str, Any], **changes: Any) -> Catalogue:
    return micro_catalogue(tables=tables, defenses={"bought": BOUGHT}, **changes)


def test_every_form_of_table_is_open_to_a_users_own() -> None:
    assert set(OWN) == set(TABLE_FORMS)
    named = {f"mine_{form}": {"form": form, **settings} for form, settings in OWN.items()}
    catalogue = own_catalogue(named)
    known: set[str] = set()
    for name in named:
        table = paper_table(catalogue, name)
        assert [table.path, *(part.path for part in table.parts)] == [
            f"results/{name}.{suffix}" for suffix in ("csv", "long.csv", "md")
        ]
        assert (table.study.title, table.study.paper, table.papers) == (name, "", "")
        assert table.measurements
        assert not any("he paper" in note for note in table.notes), table.notes
        files = digests(table)
        assert len(files) > 2
        # What tables share has one digest; what they measure themselves has a place of its own.
        own = {made.path for made in table.measurements if "/sweep/" not in made.path}
        assert not own & known
        known |= own
    direct = paper_table(catalogue, "mine_direct")
    assert {"bought", "magnet"} <= {
        cell.labels["defense"] for made in direct.measurements for cell in made.cells
    }


def test_a_table_of_ones_own_changes_no_papers() -> None:
    """But for the sweeps, which are searched for the cells of all that are cut from them."""
    forms = [form for form in OWN if not form.startswith("over_")]
    catalogue = own_catalogue({f"mine_{form}": {"form": form, **OWN[form]} for form in forms})
    before = micro_catalogue()
    for key in PAPERS:
        assert paper_page(catalogue, key).job.digest == paper_page(before, key).job.digest
    swept = own_catalogue({"mine": {"form": "over_steps", **OWN["over_steps"]}})
    [own] = {made.path for made in paper_table(swept, "mine").measurements} & {
        made.path for made in paper_table(swept, "table8").measurements if "none" in made.path
    }
    assert own.endswith("/sweep/D/none.csv")
    assert paper_table(swept, "table8").cells == paper_table(before, "table8").cells


def test_over_latent_names_the_length_of_the_code() -> None:
    settings = HERE | {"form": "direct", "defenses": ["ae_gan_rs_20", "ae_gan_rs"]}
    table = paper_table(own_catalogue({"mine": settings | {"over_latent": True}}), "mine")
    variants = {cell.labels["variant"] for made in table.measurements for cell in made.cells}
    assert {"rs;latent=6", "rs;latent=8"} <= variants
    with pytest.raises(ConfigError, match="have one column"):
        paper_table(own_catalogue({"mine": settings}), "mine")


SUBSTITUTES = {"transferred": ["fgsm"], "oracle": "classifier"} | SWEPT
MINE = {"form": "direct", **HERE, "defenses": ["magnet"]}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a papers table": ({"tables": {"table4": MINE}}, "tables: the name 'table4' is taken"),
    "a papers page": ({"tables": {"Cowboy": MINE}}, "tables: the name 'Cowboy' is taken"),
    "another result": ({"tables": {"worst_case": MINE}}, "tables: the name 'worst_case' is taken"),
    "a file beside": ({"tables": {"mine.long": MINE}}, "tables: the name 'mine.long' cannot"),
    "capital letters": (
        {"tables": {"mine": MINE, "Mine": MINE}},
        "tables: the name 'Mine' differs",
    ),
    "no form": ({"tables": {"mine": HERE}}, "tables.mine: the key 'form' is missing"),
    "unknown form": (
        {"tables": {"mine": MINE | {"form": "direkt"}}},
        r"tables.mine.form: got 'direkt' \(did you mean 'direct'\?\); allowed: ",
    ),
    "unknown key": (
        {"tables": {"mine": MINE | {"pair": ["D/E"]}}},
        "tables.mine: unknown key 'pair'",
    ),
    "unknown defence": (
        {"tables": {"mine": MINE | {"defenses": ["magnit"]}}},
        r"tables.mine.defenses: got 'magnit' \(did you mean 'magnet'\?\)",
    ),
    "a target of no row": (
        {"tables": {"mine": MINE | SUBSTITUTES | {"pairs": ["D/E", "A/E"]}}},
        "tables.mine.pairs: 'A/E': A is none of the table's classifiers: D",
    ),
    "compared with a paper": (
        {"tables": {"mine": MINE}, "comparison": {"tables": ["mine"]}},
        "comparison.tables: .*'mine'",
    ),
    "no worst case": (
        {"tables": {"mine": MINE | {"form": "over_steps", **OWN["over_steps"]}}}
        | {"worst_case": {"tables": ["mine"]}},
        "mine",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_of_ones_own_are_refused(case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        catalogue = micro_catalogue(**changes)
        for name in changes["tables"]:
            paper_table(catalogue, name)
        paper_comparison(catalogue)
        worst_case(catalogue)


def test_a_removed_table_of_ones_own_is_gone() -> None:
    catalogue = micro_catalogue(tables={"mine": None})
    with pytest.raises(ConfigError, match="mine"):
        paper_table(catalogue, "mine")


def test_worst_cases_are_of_tables_of_ones_own_too() -> None:
    changes = {"comparison": {"tables": ["table4"]}, "worst_case": {"tables": ["mine"]}}
    made = worst_case(own_catalogue({"mine": {"form": "direct", **OWN["direct"]}}, **changes))
    assert {cell["labels"]["defense"] for cell in made.job["cells"]} >= {"bought", "magnet"}


def test_own_tables_have_no_column_line_or_warning_of_papers(tmp_path: Path) -> None:
    rows = [
        measurement(980),
        measurement(250, **FGSM),
        measurement(195, **FGSM | {"defense": "magnet", "not_as_named": "defense magnet is mine"}),
        measurement(195, **FGSM | {"defense": "magnet", "seed": 1}),
    ]
    file = tmp_path / "rows.csv"
    write_rows(file, rows, {"kind": "made up"}, list({key: None for row in rows for key in row}))
    long = long_table([file], None)
    write_csv(long, tmp_path / "long.csv")
    text = markdown_table(long, wide_table(long), title="mine")
    assert text.startswith("# mine\n") and "0.195" in text
    for written in (text, (tmp_path / "long.csv").read_text()):
        assert "paper" not in written and "not_as_named" not in written
        assert "Not what their names say" not in written
    # With a paper's numbers all of these are there.
    values = paper_values("defense_gan", "Table 4", REPOSITORY / "resources/papers")
    text = markdown_table(long := long_table([file], values), wide_table(long), title="t")
    assert "paper 0.217" in text and "defense magnet is mine" in text


# A new table of a paper: a line in papers.py, numbers, a section of the config.

TABLE3 = (
    "cowboy,Table 3,mnist,none,none,,,simple_cnn,,none,,,,accuracy,0.97,,\n"
    "cowboy,Table 3,mnist,gray_box,fgsm,,linf,simple_cnn,,cowboy,,,,accuracy,0.81,,\n"
)


@pytest.fixture
def with_table3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    for part in ("workflow/schemas", "resources/papers"):
        shutil.copytree(REPOSITORY / part, tmp_path / part)
    folder = tmp_path / "resources/papers"
    (folder / "SHA256SUMS").unlink()
    with (folder / "cowboy.csv").open("a") as numbers:
        numbers.write(TABLE3)
    data = (folder / "cowboy.yaml").read_text()
    line = "  - {name: cowboy_table3, form: direct, caption: made up}\n"
    (folder / "cowboy.yaml").write_text(data.replace("studies:\n", f"studies:\n{line}"))
    cowboy = read_papers(folder)["cowboy"]
    monkeypatch.setitem(PAPERS, "cowboy", cowboy)  # type: ignore[arg-type]
    monkeypatch.setitem(STUDIES, "cowboy_table3", cowboy.studies[0])  # type: ignore[arg-type]
    config = merged(DEFAULT, SMALL)
    config["cowboy_table3"] = config["cowboy_table1"] | {"defenses": ["cowboy"]}
    config["comparison"] = {"tables": ["cowboy_table3"]}
    return Catalogue(config, tmp_path / "workflow/schemas/config.schema.yaml")


def test_a_new_table_of_a_paper_is_a_line_its_numbers_and_a_section(
    with_table3: Catalogue, tmp_path: Path
) -> None:
    table = paper_table(with_table3, "cowboy_table3")
    assert table.path == "results/cowboy/table3.csv"
    assert table.study.title == "Cowboy, Table 3"
    assert any("names no strength" in note for note in table.notes)
    page = paper_page(with_table3, "cowboy")
    assert page.job["tables"][0] == ["Table 3", "made up", False, table.path]
    [[paper, printed, _]] = paper_comparison(with_table3).job["tables"]
    assert (paper, printed) == ("cowboy", "Table 3")
    rows = [
        measurement(965, **SIMPLE),
        measurement(820, **FGSM | SIMPLE | COWBOY | {"threat_model": "gray_box"}),
    ]
    write_rows(tmp_path / "rows.csv", rows, {"kind": "made up"}, list(FGSM | rows[0]))
    values = values_of(str(tmp_path / "resources/papers/cowboy.csv"), printed)
    long = long_table([tmp_path / "rows.csv"], values)
    assert list(long["paper_value"]) == [0.97, 0.81]


@pytest.mark.parametrize("key", PAPERS)
def test_what_is_known_of_printed_numbers_is_listed_and_used(key: str) -> None:
    """Its keys are those that the README explains; a typing error would silently do nothing."""
    folder = REPOSITORY / "resources/papers"
    readme = (folder / "README.md").read_text()
    known = known_of(key, folder)
    assert known["page"]
    for name in known:
        assert f"| `{name}` |" in readme
    assert set(known.get("tables", {}).get("forms", ())) <= set(TABLE_FORMS)


def test_a_revision_of_what_is_known_makes_tables_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: paper_table(micro_catalogue(), name) for name in ("cowboy_table1", "table4")}
    cowboy = PAPERS["cowboy"]
    revised = replace(cowboy, known=cowboy.known | {"revision": 2})  # type: ignore[operator]
    monkeypatch.setitem(PAPERS, "cowboy", revised)  # type: ignore[arg-type]
    after = {name: paper_table(micro_catalogue(), name) for name in before}
    assert after["cowboy_table1"].digest != before["cowboy_table1"].digest
    assert after["table4"].digest == before["table4"].digest


# What is said to be allowed


FORM = read_yaml(SCHEMA)
NAMING = ("defense", "defenses", "oracle", "attack", "attacks", "transferred", "one_pass", "search")


def refused(catalogue: Catalogue, study: Study, key: str, name: str) -> str:
    """What is wrong with a study that names this alone under a key; "" if nothing is."""
    named: Any = [name] if isinstance(study.settings[key], list) else name
    changed = replace(study, settings=study.settings | {key: named})
    try:
        check_study(catalogue.config, FORM, changed)
    except ConfigError as error:
        return str(error)
    return ""


def test_what_a_study_is_said_to_take_it_takes() -> None:
    """A name in place of another is refused for another key's sake alone."""
    catalogue, seen, looked_at = micro_catalogue(), set(), Counter[str]()
    for study in studies_of(catalogue.config):
        keys = [key for key in NAMING if key in study.settings and (study.form, key) not in seen]
        seen |= {(study.form, key) for key in keys}
        for key in keys:
            told = refused(catalogue, study, key, "nonesuch")
            for name in re.search(r"allowed: (.*)$", told, re.MULTILINE)[1].split(", "):
                again = refused(catalogue, study, key, name)
                places = (f"{study.name}.{key}:", f"attacks.{name}.", f"defenses.{name}.")
                assert not [place for place in places if f"\n  {place}" in again], again
                looked_at[key] += 1
    assert set(looked_at) == set(NAMING) and looked_at.total() > 500, looked_at
