"""The tables, the papers' numbers beside ours, and the pictures."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up_measurements import ADVERSARIAL, FGSM, PAPERS, REC, measurement

from purification.evaluation.accuracy import wilson_interval
from purification.reporting import figures
from purification.reporting.digits import interval_text
from purification.reporting.long_tables import MEASUREMENT_COLUMNS, long_table, write_csv
from purification.reporting.markdown_tables import markdown_table
from purification.reporting.papers import attach_paper_values, paper_values
from purification.reporting.wide_tables import wide_table

Tabulate = Callable[[list[dict[str, object]]], pd.DataFrame]


GRAY = {"threat_model": "gray_box"}
BPDA = {"threat_model": "white_box_bpda"}


def complete_rows(**changes: object) -> list[dict[str, object]]:
    """Every column of the default table, for one classifier and one attack."""
    attack = FGSM | changes
    return [
        measurement(990, **changes | {"epsilon": ""}),
        measurement(970, **REC | changes | {"epsilon": ""}),
        measurement(960, **{"defense": "magnet"} | changes | {"epsilon": ""}),
        measurement(985, **ADVERSARIAL | changes | {"epsilon": ""}),
        measurement(200, **attack),
        measurement(500, **attack | REC),
        measurement(190, **attack | {"defense": "magnet"}),
        measurement(650, **attack | ADVERSARIAL),
        measurement(800, **attack | REC | GRAY),
        measurement(600, **attack | REC | BPDA),
        measurement(400, **attack | GRAY | {"defense": "magnet"}),
    ]


@pytest.fixture
def tabulate(tmp_path: Path) -> Tabulate:
    def make(rows: list[dict[str, object]]) -> pd.DataFrame:
        files = []
        for i, row in enumerate(rows):
            files.append(tmp_path / f"{i}.csv")
            pd.DataFrame([row]).to_csv(files[-1], index=False)
        return long_table(files, paper_values("defense_gan", "Table 4", PAPERS))

    return make


# The papers' numbers


def test_printed_numbers_are_found_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = paper_values("defense_gan", "Table 4", PAPERS)
    # 2 datasets x 4 classifiers x 3 attacks x 4 columns, and 8 clean accuracies printed 3 times.
    assert len(values) == 96 + 8
    assert (values["attack"] == "none").sum() == 8
    assert os.fspath(tmp_path) not in os.fspath(PAPERS)


@pytest.mark.parametrize("paper", ["defense_gan", "cowboy", "ae_gan", "defense_vae"])
def test_every_table_of_every_paper_is_readable(paper: str) -> None:
    for table in pd.read_csv(PAPERS / f"{paper}.csv")["table"].unique():
        values = paper_values(paper, table, PAPERS)
        assert values["value"].notna().all()


def test_defended_clean_accuracies_are_not_taken_for_repetitions() -> None:
    assert len(paper_values("defense_gan", "Table 8", PAPERS)) == 28


def test_unknown_paper_and_table_are_refused_with_what_there_is() -> None:
    with pytest.raises(FileNotFoundError, match=r"defence_gan\.csv.*ae_gan, cowboy, defense_gan"):
        paper_values("defence_gan", "Table 4", PAPERS)
    with pytest.raises(ValueError, match=r"no table 'Table 5'; it has: Table 1, Table 2"):
        paper_values("defense_gan", "Table 5", PAPERS)


def test_a_paper_file_without_a_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("paper,table\nmine,Table 1\n")
    with pytest.raises(ValueError, match=r"mine\.csv: .*dataset"):
        paper_values("mine", "Table 1", tmp_path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (FGSM, 0.217),
        (FGSM | REC, 0.988),
        (FGSM | {"defense": "magnet"}, 0.191),
        (FGSM | ADVERSARIAL, 0.651),
        (FGSM | {"epsilon": float(np.float32(0.3))}, 0.217),
        (FGSM | {"attack": "cw", "epsilon": ""}, 0.141),
        ({}, 0.997),
        ({"classifier": "B"}, 0.962),
        # Not in the paper:
        (FGSM | {"epsilon": 0.1}, None),
        (FGSM | {"epsilon": 0.3001}, None),
        (FGSM | {"dataset": "digits"}, None),
        ({"dataset": "digits"}, None),
        (FGSM | REC | GRAY, None),
        (FGSM | REC | BPDA, None),
        (FGSM | {"attack": "cw_tuned", "epsilon": ""}, None),
        (FGSM | ADVERSARIAL | {"variant": "eps=0.15"}, None),
        (REC, None),  # clean accuracy with the defence
    ],
)
def test_paper_value_beside_ours(tabulate: Tabulate, changes: dict, expected: float | None) -> None:
    [row] = tabulate([measurement(500, **changes)]).to_dict("records")
    if expected is None:
        assert pd.isna(row["paper_value"])
        assert pd.isna(row["difference"])
    else:
        assert row["paper_value"] == expected
        assert row["difference"] == pytest.approx(0.5 - expected)
    assert pd.isna(row["paper_std"])
    has_search = expected is not None and changes.get("defense") == "defense_gan"
    assert (row["paper_iterations_L"] == 200) if has_search else pd.isna(row["paper_iterations_L"])


PUBLISHED = {"attack": "fgsm_published", "paper_attack": "fgsm", "pixel_range": "[-1, 1]"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (FGSM | PUBLISHED, 0.0870),
        (FGSM | PUBLISHED | REC | {"restarts_R": 2}, 0.9255),
        # The same strength, named in our units.
        (FGSM | {"epsilon": 0.15}, 0.0870),
        (FGSM | PUBLISHED | ADVERSARIAL | {"variant": "eps=0.15"}, 0.1225),
        ({}, 0.9652),
        ({"attack": "cw", "threat_model": "white_box"}, 0.0460),
        # 0.3 of [0, 1] is twice what the paper attacked with, or trained against.
        (FGSM, None),
        (FGSM | PUBLISHED | ADVERSARIAL, None),
        (FGSM | PUBLISHED | {"paper_attack": ""}, None),
        (FGSM | PUBLISHED | {"epsilon": 0.15}, None),
    ],
)
def test_paper_values_of_celeba_are_in_units_of_its_range(
    tmp_path: Path, changes: dict, expected: float | None
) -> None:
    rows = [measurement(500, **{"dataset": "celeba"} | changes)]
    # Files of attacks in our own units do not have the columns.
    rows.append(measurement(500, dataset="celeba", classifier="B", **FGSM))
    files = [tmp_path / "0.csv", tmp_path / "1.csv"]
    for row, file in zip(rows, files, strict=True):
        pd.DataFrame([row]).to_csv(file, index=False)
    values = paper_values("defense_gan", "Table 12", PAPERS)
    long = long_table(files, values).set_index("classifier")
    assert pd.isna(long.loc["B", "paper_value"])
    found = long.loc["A", "paper_value"]
    assert pd.isna(found) if expected is None else found == expected
    if "epsilon" in changes:  # as the config has it
        assert long.loc["A", "epsilon"] == changes["epsilon"]


RS = {"defense": "ae_gan", "variant": "rs", "iterations_L": 15, "restarts_R": 1}
TRANSFERRED = FGSM | {"threat_model": "black_box", "oracle": "plain", "queries": 4800}
MASKED = {"attack": "half_masked", "threat_model": "gray_box"}


@pytest.mark.parametrize(
    ("table", "changes", "expected"),
    [
        # Its B and C are our B_ae_gan and D; Defense-GAN's of these letters are other networks.
        (1, TRANSFERRED | {"substitute": "B_ae_gan"}, 0.701),
        (1, TRANSFERRED | {"substitute": "D"} | RS, 0.933),
        (1, TRANSFERRED | {"substitute": "B"}, None),
        (1, TRANSFERRED | {"substitute": "C"} | RS, None),
        # Its Defense-GAN stands before the same classifier as the others: Orig.
        (1, TRANSFERRED | {"substitute": "B_ae_gan"} | REC | {"variant": "orig"}, 0.928),
        (1, TRANSFERRED | {"substitute": "B_ae_gan"} | REC, None),
        (1, TRANSFERRED | {"substitute": "B_ae_gan"} | RS | {"variant": "rs;rule"}, None),
        # Half-masked images are its threat model without attack, and our attack.
        (3, MASKED | {"defense": "ae", "variant": "base"}, 0.552),
        (3, MASKED | {"defense": "bigan", "variant": "s"}, 0.590),
        (3, MASKED | {"defense": "ae", "variant": "base", "threat_model": "white_box"}, None),
        (3, {"defense": "ae", "variant": "base"}, None),
        (3, FGSM | GRAY | {"defense": "ae_gan", "variant": "rs"}, 0.832),
    ],
)
def test_ae_gans_numbers_stand_beside_what_they_mean(
    tmp_path: Path, table: int, changes: dict, expected: float | None
) -> None:
    found = beside(tmp_path, "ae_gan", table, changes)
    assert pd.isna(found) if expected is None else found == expected


SIMPLE = {"classifier": "simple_cnn"}
COWBOY = {"defense": "cowboy", "iterations_L": 100, "restarts_R": 1}


@pytest.mark.parametrize(
    ("table", "changes", "expected"),
    [
        # At whatever strength ours has.
        (1, FGSM | GRAY | COWBOY, 0.78),
        (1, FGSM | GRAY | COWBOY | {"epsilon": 0.1}, 0.78),
        (2, FGSM | GRAY | {"defense": "defense_gan", "iterations_L": 100}, 0.74),
        # What the paper calls nothing is a white box of the bare classifier, and our gray box.
        (1, FGSM, 0.12),
        (1, FGSM | GRAY, None),
        (1, FGSM | COWBOY, None),
        (1, {}, 0.97),
        (1, FGSM | GRAY | COWBOY | {"variant": "rec"}, None),
        (1, FGSM | GRAY | COWBOY | {"classifier": "A"}, None),
    ],
)
def test_cowboys_numbers_stand_beside_ours_of_any_strength(
    tmp_path: Path, table: int, changes: dict, expected: float | None
) -> None:
    found = beside(tmp_path, "cowboy", table, SIMPLE | changes)
    assert pd.isna(found) if expected is None else found == expected


VAE = {"defense": "defense_vae", "variant": "base"}


@pytest.mark.parametrize(
    ("paper", "table", "changes", "expected"),
    [
        ("defense_vae", 1, {"classifier": "B_vae"}, "B"),
        ("defense_vae", 1, {"classifier": "C_published"} | FGSM | GRAY | VAE, "C"),
        ("defense_vae", 1, {"classifier": "D_vae"} | FGSM, "D"),
        ("defense_gan", 4, {"classifier": "D_published"}, "D"),
        # A network of another paper's stands beside nothing.
        ("defense_gan", 4, {"classifier": "D_vae"}, None),
        ("ae_gan", 1, {"classifier": "C_published"}, None),
    ],
)
def test_a_papers_own_networks_stand_beside_its_letters(
    tmp_path: Path, paper: str, table: int, changes: dict, expected: str | None
) -> None:
    found = beside(tmp_path, paper, table, changes)
    if expected is None:
        assert pd.isna(found)
    else:
        letter = beside(tmp_path, paper, table, changes | {"classifier": expected})
        assert found == letter > 0


def beside(folder: Path, paper: str, table: int, changes: dict) -> float:
    """The printed number beside a row of ours."""
    pd.DataFrame([measurement(500, **changes)]).to_csv(folder / "rows.csv", index=False)
    values = paper_values(paper, f"Table {table}", PAPERS)
    return long_table([folder / "rows.csv"], values)["paper_value"][0]


def test_several_printed_numbers_for_one_measurement_are_refused(tabulate: Tabulate) -> None:
    swept = paper_values("defense_gan", "Table 8", PAPERS)
    long = tabulate([measurement(900, **REC | {"classifier": "F"})])
    with pytest.raises(ValueError, match=r"several numbers.*classifier=F.*defense=defense_gan"):
        attach_paper_values(long, swept)
    # A row that the paper's table does not speak of is no trouble.
    assert attach_paper_values(long.assign(classifier="A"), swept)["paper_value"].isna().all()


def test_paper_value_beside_our_pair_of_target_and_substitute(tmp_path: Path) -> None:
    black_box = FGSM | {"threat_model": "black_box", "oracle": "plain", "queries": 4800}
    rows = [
        measurement(990),
        *(measurement(600, **black_box | {"substitute": name}) for name in "BE"),
        measurement(930, **black_box | REC | {"substitute": "E"}),
        measurement(920, **black_box | ADVERSARIAL | {"substitute": "E"}),
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    values = paper_values("defense_gan", "Table 1", PAPERS)
    long = long_table([tmp_path / "rows.csv"], values)
    found = list(zip(long["defense"], long["substitute"], long["paper_value"], strict=True))
    assert found == [
        ("none", "", 0.997),
        ("none", "B", 0.6343),
        ("none", "E", 0.5432),
        ("defense_gan", "E", 0.9139),
        ("adv_training", "E", 0.9668),
    ]
    wide = wide_table(long)
    assert wide["substitute"].tolist() == ["B", "E"]
    assert wide["no_attack"].tolist() == [0.99, 0.99]
    assert wide["no_defense"].tolist() == [0.6, 0.6]
    assert wide["adv_tr"].tolist()[1] == 0.92
    text = markdown_table(long, wide, title="t")
    assert "| fgsm | 0.3 | A | E |" in text and "paper 0.9139" in text
    assert "Warnings" in text and "A/E" not in text


# The long table


def test_long_table_order_is_stable_and_given_orders_are_kept(tabulate: Tabulate) -> None:
    rows = [
        measurement(1, **FGSM | {"dataset": "mnist", "attack": "rand_fgsm", "seed": 1}),
        measurement(2, **FGSM | {"dataset": "mnist", "attack": "rand_fgsm", "seed": 0}),
        measurement(3, **FGSM | REC | GRAY),
        measurement(4, **FGSM | REC),
        measurement(5, **FGSM | {"defense": "aardvark"}),
        measurement(6, **FGSM | {"classifier": "B"}),
        measurement(7),
        measurement(8, **FGSM | {"dataset": "digits"}),
    ]
    assert tabulate(rows)["correct"].tolist() == [7, 2, 1, 4, 3, 5, 6, 8]
    assert tuple(tabulate(rows))[: len(MEASUREMENT_COLUMNS)] == MEASUREMENT_COLUMNS


def test_long_table_refuses_broken_measurements(tabulate: Tabulate, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no measurement files"):
        tabulate([])
    with pytest.raises(ValueError, match=r"two rows for one measurement: mnist, attack fgsm 0\.3"):
        tabulate([measurement(1, **FGSM), measurement(2, **FGSM)])
    with pytest.raises(ValueError, match=r"0\.csv: attack 'fgsm' with threat model 'none'"):
        tabulate([measurement(1, attack="fgsm")])
    without = measurement(1)
    del without["accuracy"]
    with pytest.raises(ValueError, match=r"0\.csv: .*accuracy"):
        tabulate([without])
    with pytest.raises(ValueError, match=r"0\.csv: .*many"):
        tabulate([measurement(1, n=10) | {"n": "many"}])
    with pytest.raises(FileNotFoundError, match="absent"):
        long_table([tmp_path / "absent.csv"], paper_values("defense_gan", "Table 4", PAPERS))


# The wide table


def test_wide_table_has_the_papers_layout(tabulate: Tabulate) -> None:
    wide = wide_table(tabulate(complete_rows()))
    expected = {
        **{"no_attack": 0.99, "no_defense": 0.2, "defense_gan_rec": 0.5, "magnet": 0.19},
        **{"adv_tr": 0.65, "defense_gan_rec_gray_box": 0.8, "defense_gan_rec_bpda": 0.6},
        **{"magnet_gray_box": 0.4, "defense_gan_rec_clean": 0.97, "magnet_clean": 0.96},
        "adv_tr_clean": 0.985,
    }
    header = ["dataset", "attack", "epsilon", "classifier"]
    for name in expected:
        header += [name, f"{name}_n", f"{name}_std"]
    assert list(wide) == header
    [row] = wide.to_dict("records")
    assert [row[c] for c in header[:4]] == ["mnist", "fgsm", 0.3, "A"]
    for name, value in expected.items():
        assert row[name] == pytest.approx(value)
        assert row[f"{name}_n"] == 1000
        assert pd.isna(row[f"{name}_std"])


def test_wide_table_averages_seeds(tabulate: Tabulate) -> None:
    rows = [
        measurement(correct, n=n, seed=seed, **FGSM)
        for seed, (correct, n) in enumerate([(80, 100), (90, 100), (190, 200)])
    ]
    long = tabulate([*rows, measurement(99, n=100, classifier="A")])
    [row] = wide_table(long).to_dict("records")
    assert row["no_defense"] == pytest.approx((0.8 + 0.9 + 0.95) / 3)
    assert row["no_defense_std"] == pytest.approx(np.std([0.8, 0.9, 0.95], ddof=1))
    assert row["no_defense_n"] == 400
    assert pd.isna(row["no_attack_std"])
    low, high = wilson_interval(360, 400)
    text = markdown_table(long, wide_table(long), title="t")
    assert f"| **0.883 ± 0.076** {interval_text(low, high, 400)}" in text
    assert "no_defense, n = 400 |" in text


def test_missing_cells_stay_empty_and_missing_defenses_have_no_column(
    tabulate: Tabulate,
    tmp_path: Path,
) -> None:
    rows = [
        measurement(990),
        measurement(950, classifier="B"),
        measurement(940, classifier="E"),
        measurement(200, **FGSM),
        measurement(500, **FGSM | REC),
        measurement(100, **FGSM | {"classifier": "B"}),
        measurement(300, **FGSM | {"attack": "cw", "epsilon": ""}),
    ]
    wide = wide_table(tabulate(rows))
    assert [c for c in wide if c.startswith(("magnet", "adv_tr"))] == []
    by_row = wide.set_index(["attack", "classifier"])
    # A classifier that no attack met still shows its clean accuracy; others have no such row.
    assert set(by_row.index) == {("fgsm", "A"), ("fgsm", "B"), ("cw", "A"), ("none", "E")}
    assert by_row.loc[("none", "E"), "no_attack"] == 0.94
    assert pd.isna(by_row.loc[("none", "E"), "no_defense"])
    assert pd.isna(by_row.loc[("fgsm", "B"), "defense_gan_rec"])
    assert pd.isna(by_row.loc[("fgsm", "B"), "defense_gan_rec_n"])
    assert by_row.loc[("cw", "A"), "no_attack"] == 0.99
    write_csv(wide, tmp_path / "table4.csv")
    lines = (tmp_path / "table4.csv").read_text().splitlines()
    assert "mnist,fgsm,0.3,A,0.9900,1000,,0.2000,1000,,0.5000,1000," in lines
    assert "mnist,cw,,A,0.9900,1000,,0.3000,1000,,,," in lines


def test_a_users_defense_gets_its_own_columns_after_ours(tabulate: Tabulate) -> None:
    mine = {"defense": "diffusion", "variant": "steps=50"}
    rows = [
        *complete_rows(),
        measurement(900, **mine),
        measurement(700, **FGSM | mine),
        measurement(720, **FGSM | mine | {"threat_model": "surrogate"}),
        measurement(640, **FGSM | ADVERSARIAL | {"variant": "eps=0.15"}),
    ]
    long = tabulate(rows)
    wide = wide_table(long)
    names = [c for c in wide.columns[4:] if not c.endswith(("_n", "_std"))]
    assert names[4:6] == ["adv_tr", "adv_tr_eps=0.15"]
    assert names[11] == "adv_tr_clean"
    assert set(names[12:]) == {
        *("diffusion_steps=50_clean", "diffusion_steps=50", "diffusion_steps=50_surrogate"),
    }
    assert wide["diffusion_steps=50"].tolist() == [0.7]
    assert wide["adv_tr"].tolist() == [0.65]
    text = markdown_table(long, wide, title="t")
    assert "**0.720** [" in text
    assert "- `surrogate`: the attacker differentiates the classifier and a cheaper version" in text


def test_each_dataset_has_its_own_strength_of_adversarial_training(tabulate: Tabulate) -> None:
    weaker = {"dataset": "digits", "epsilon": 0.1}
    long = tabulate(
        [
            measurement(650, **FGSM | ADVERSARIAL),
            measurement(750, **FGSM | ADVERSARIAL | weaker | {"variant": "eps=0.1"}),
        ]
    )
    assert wide_table(long)["adv_tr"].tolist() == [0.65, 0.75]


def test_wide_table_refuses_two_settings_in_one_cell(tabulate: Tabulate) -> None:
    rows = [measurement(1, **FGSM | REC), measurement(2, **FGSM | REC | {"iterations_L": 25})]
    with pytest.raises(ValueError, match="several measurements for column 'defense_gan_rec'"):
        wide_table(tabulate(rows))
    rows = [
        measurement(1, **FGSM | GRAY | {"defense": "magnet"}),
        measurement(2, **FGSM | {"defense": "magnet_gray_box"}),
    ]
    with pytest.raises(ValueError, match="several measurements for column 'magnet_gray_box'"):
        wide_table(tabulate(rows))
    rows = [
        measurement(1, **FGSM | {"defense": "magnet"}),
        measurement(2, **FGSM | {"defense": "magnet", "variant": "n"}),
    ]
    with pytest.raises(ValueError, match="second column 'magnet_n'"):
        wide_table(tabulate(rows))


# The table for reading


def test_markdown_shows_interval_n_and_paper(tabulate: Tabulate) -> None:
    long = tabulate(complete_rows())
    text = markdown_table(long, wide_table(long), title="Table 4", notes=["Made up."])
    assert text.startswith("# Table 4\n\n## mnist\n")
    assert text.endswith("## Settings\n\nMade up.\n")
    low, high = wilson_interval(500, 1000)
    assert f"| **0.500** {interval_text(low, high, 1000)}, paper 0.988 |" in text
    names = ("no_attack", "no_defense", "defense_gan_rec")
    columns = " | ".join(f"{name}, n = 1000" for name in names)
    assert f"| attack | epsilon | classifier | {columns} |" in text
    assert "not comparable" in text
    assert "- `gray_box`: the attacker differentiates the bare classifier" in text
    assert "None of the checks found anything." in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) == 9  # three tables of a header, a rule and a row


def test_markdown_legend_speaks_only_of_what_is_there(tabulate: Tabulate) -> None:
    digits = tabulate(complete_rows(dataset="digits", epsilon=0.1))
    text = markdown_table(digits, wide_table(digits), title="t")
    assert "not comparable" not in text
    assert "paper 0." not in text
    bare = tabulate([measurement(990), measurement(200, **FGSM)])
    text = markdown_table(bare, wide_table(bare), title="t")
    assert "`gray_box`" not in text
    assert "bpda" not in text


def test_markdown_leaves_out_columns_a_dataset_lacks(tabulate: Tabulate) -> None:
    rows = [
        *complete_rows(),
        measurement(980, dataset="digits"),
        measurement(250, **FGSM | {"dataset": "digits"}),
    ]
    long = tabulate(rows)
    text = markdown_table(long, wide_table(long), title="t")
    digits = text.split("## digits")[1].split("## How to read this")[0]
    assert "no_defense" in digits
    assert "magnet" not in digits
    assert "Other threat models" not in digits


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            measurement(975, **FGSM | REC | GRAY),
            "- mnist, fgsm 0.3, `defense_gan_rec_gray_box`: "
            "A 0.9750 (n = 1000) > 0.9700 (n = 1000)",
        ),
        (
            measurement(500, **FGSM | REC | {"zero_gradient_share": 0.02}),
            "- mnist, fgsm 0.3, `defense_gan_rec`: A 0.0200",
        ),
        (
            measurement(200, **FGSM | {"success_rate": 0.049}),
            "- mnist, fgsm 0.3, `no_defense`: A 0.0490",
        ),
        (
            measurement(860, **FGSM | REC),
            "- mnist, fgsm 0.3, `defense_gan_rec`: A 0.8600 > 0.8000 gray box",
        ),
        (
            measurement(860, **FGSM | REC | BPDA),
            "- mnist, fgsm 0.3, `defense_gan_rec_bpda`: A 0.8600 > 0.8000 gray box",
        ),
        (measurement(840, **FGSM | REC), None),  # above gray box, but the intervals overlap
        (measurement(200, **FGSM | {"success_rate": 0.05}), None),
        (measurement(500, **FGSM | REC | {"zero_gradient_share": 0.0}), None),
        (measurement(970, **FGSM | REC | GRAY), None),  # as accurate as without attack
    ],
)
def test_warnings_are_computed(tabulate: Tabulate, changed: dict, expected: str | None) -> None:
    identity = ("classifier", "attack", "threat_model", "defense", "variant")
    rows = [
        changed if all(row[c] == changed[c] for c in identity) else row for row in complete_rows()
    ]
    assert rows.count(changed) == 1
    long = tabulate(rows)
    warnings = markdown_table(long, wide_table(long), title="t").split("## Warnings")[1]
    lines = [line for line in warnings.splitlines() if line.startswith("- ")]
    assert lines == ([expected] if expected else [])


# The pictures


def ramp(n: int, channels: int = 1) -> np.ndarray:
    """Images that differ: image i is a horizontal ramp up to (i + 1) / n."""
    ramps = np.linspace(0, 1, 28, dtype=np.float32)[None] * (np.arange(n)[:, None] + 1) / n
    return np.broadcast_to(ramps[:, None, None], (n, channels, 28, 28)).astype(np.float32)


def read_png(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)[..., :3]


@pytest.mark.parametrize("channels", [1, 3])
def test_sample_grid_holds_each_image_in_its_place(tmp_path: Path, channels: int) -> None:
    import torch

    images = ramp(5, channels)
    figures.sample_grid(torch.from_numpy(images), tmp_path / "grid.png", columns=3)
    picture = read_png(tmp_path / "grid.png")
    assert picture.shape == ((2 * 30 + 2) * 3, (3 * 30 + 2) * 3, 3)
    for i, image in enumerate(images):
        top, left = 3 * (2 + 30 * (i // 3)), 3 * (2 + 30 * (i % 3))
        shown = picture[top : top + 84 : 3, left : left + 84 : 3]
        assert np.abs(shown - image.transpose(1, 2, 0)).max() <= 1 / 255
    assert np.ptp(picture[-80:-10, -80:-10]) == 0  # the sixth place is ground


def test_same_pictures_same_bytes(tmp_path: Path) -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [1.0, 0.5, 0.4]})
    for name in ("a", "b"):
        figures.sample_grid(ramp(4), tmp_path / f"grid_{name}.png", columns=2)
        figures.loss_curve(
            history, tmp_path / f"loss_{name}.png", "t", x="epoch", panels={"Loss": ["loss"]}
        )
    for kind in ("grid", "loss"):
        pictures = [(tmp_path / f"{kind}_{name}.png").read_bytes() for name in ("a", "b")]
        assert pictures[0] == pictures[1]


def test_loss_curve_draws_what_is_asked(tmp_path: Path) -> None:
    history = pd.DataFrame(
        {
            "epoch": range(1, 11),
            "loss": np.linspace(2, 0.1, 10),
            "accuracy": np.linspace(0.3, 0.98, 10),
            "validation_accuracy": [None] * 10,
        }
    )

    def draw(**panels: list[str]) -> np.ndarray:
        figures.loss_curve(history, tmp_path / "h.png", "History", x="epoch", panels=panels)
        return read_png(tmp_path / "h.png")

    one, two = draw(Loss=["loss"]), draw(Loss=["loss"], Accuracy=["accuracy"])
    assert two.shape[0] > one.shape[0]
    assert two.shape[1] == one.shape[1] == round(3.35 * 300)
    # A column that was never measured adds neither a line nor a legend.
    unmeasured = draw(Loss=["loss"], Accuracy=["accuracy", "validation_accuracy"])
    assert np.array_equal(unmeasured, two)
    with pytest.raises(ValueError, match=r"missing columns \['penalty'\]; the history has"):
        draw(Penalty=["penalty"])
    with pytest.raises(ValueError, match="0 panels"):
        draw()


def test_purification_examples_show_rows_and_predictions(tmp_path: Path) -> None:
    rows = [("original", ramp(4)), ("adversarial", 1 - ramp(4)), ("purified", ramp(4) * 0.5)]
    figures.purification_examples(rows, tmp_path / "bare.png")
    figures.purification_examples(rows, tmp_path / "named.png", [[1, 2, 3, 4], [5] * 4, None])
    bare, named = read_png(tmp_path / "bare.png"), read_png(tmp_path / "named.png")
    assert bare.shape[1] == named.shape[1] == round(3.35 * 300)
    assert named.shape[0] > bare.shape[0]
    # Just inside the right edge of the last image: the ramp's end, its inverse, and its half.
    edge = bare[:, -14:-9].mean(axis=(1, 2))
    third = len(edge) // 3
    assert edge[third // 2] > 0.9 > 0.1 > edge[third + third // 2]
    assert edge[2 * third + third // 2] == pytest.approx(0.5, abs=0.05)


def test_a_wrong_class_has_a_cross_and_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not colour alone: in grey it is as plain."""
    drawn, finished = [], figures._figure

    @contextmanager
    def keep(*arguments: Any) -> Iterator[Any]:
        with finished(*arguments) as figure:
            drawn.append(figure)
            yield figure

    monkeypatch.setattr(figures, "_figure", keep)
    rows = [("original", ramp(3)), ("fgsm", ramp(3))]
    named, title = [[0, 1, 2], [0, 7, 2]], "fgsm, ε = 0.1 (pixels in [0, 1]). " + "Gray box. " * 9
    path = tmp_path / "p.png"
    figures.purification_examples(rows, path, named, truth=[0, 1, 2], title=title)
    figures.purification_examples(rows, path, named)
    marked, plain = ([text.get_text() for text in figure.texts] for figure in drawn)
    assert [text for text in marked if "✗" in text] == ["✗7"]
    assert not any("✗" in text for text in plain)
    assert marked[0].replace("\n", " ") == title.strip() and "\n" in marked[0]
    framed = [all(s.get_visible() for s in a.spines.values()) for a in drawn[0].axes]
    assert framed == [False] * 4 + [True, False]
    assert not any(s.get_visible() for a in drawn[1].axes for s in a.spines.values())
    # The title has a place of its own.
    assert drawn[0].get_size_inches()[1] > drawn[1].get_size_inches()[1]
    with pytest.raises(ValueError, match="do not agree"):
        figures.purification_examples(rows, path, named, truth=[0])


def test_pictures_refuse_what_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    with pytest.raises(ValueError, match=r"images: expected .* got shape \(28, 28\)"):
        figures.sample_grid(ramp(1)[0, 0], path, columns=1)
    with pytest.raises(ValueError, match=r"values outside \[0, 1\]"):
        figures.sample_grid(ramp(2) * 2, path, columns=1)
    with pytest.raises(ValueError, match=r"values outside \[0, 1\]"):
        figures.sample_grid(ramp(2) * np.nan, path, columns=1)
    with pytest.raises(ValueError, match="columns must be"):
        figures.sample_grid(ramp(2), path, columns=0)
    with pytest.raises(ValueError, match="do not agree"):
        figures.purification_examples([("a", ramp(2)), ("b", ramp(3))], path)
    with pytest.raises(ValueError, match="do not agree"):
        figures.purification_examples([("a", ramp(2))], path, [["7"]])
    with pytest.raises(ValueError, match="no rows"):
        figures.purification_examples([], path)
    assert list(tmp_path.iterdir()) == []


DRAWING = """
import sys
from pathlib import Path
from typing import Any
import numpy as np, pandas as pd
from purification.reporting import figures, roc
if sys.argv[2:]:
    import matplotlib, seaborn
    seaborn.set_theme(context="talk", font="serif")
    matplotlib.rcParams["savefig.dpi"] = 40
folder, images = Path(sys.argv[1]), np.linspace(0, 1, 6 * 784).reshape(6, 1, 28, 28)
figures.sample_grid(images, folder / "grid.png", columns=3)
history = pd.DataFrame({"step": [1, 2, 3], "loss": [3.0, 1.0, 2.0], "other": [1.0, 2.0, 2.5]})
panels = {"Loss": ["loss", "other"], "Other": ["other"]}
figures.loss_curve(history, folder / "curve.png", "A title", x="step", panels=panels)
figures.purification_examples([("first", images), ("second", images)], folder / "rows.png")
rows = [("A title", images, list("abcdef"))]
figures.labelled_images(rows, folder / "labelled.png", folder / "labelled.pdf")
with figures.paper_figure(1, 2, folder / "paper.png", folder / "paper.pdf") as figure:
    axis = figure.subplots()
    axis.plot([0, 1], [1, 0], **roc.looks(3)[1], label="a line")
    axis.imshow(images[0, 0], cmap="vlag")
    axis.set_xlabel("rate $x^2$")
    axis.legend()
"""
SETTINGS = """
backend: module://of_a_notebook
font.family: serif
font.size: 30
savefig.dpi: 40
savefig.bbox: tight
figure.facecolor: yellow
image.lut: 4
text.usetex: True
pdf.compression: 0
lines.linewidth: 9
"""


def drawn(folder: Path, *words: str, **environment: str) -> dict[str, bytes]:
    """Pictures of each kind, drawn by a process of its own whose working directory is `folder`."""
    clean = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "MATPLOTLIBRC")}
    out = folder / "out"
    out.mkdir(parents=True)
    command = [sys.executable, "-c", DRAWING, str(out), *words]
    done = subprocess.run(
        command, cwd=folder, env=clean | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.slow
def test_pictures_do_not_depend_on_what_a_machine_has_set_for_other_programs(
    tmp_path: Path,
) -> None:
    right = drawn(tmp_path / "nothing set")
    assert len(right) == 7
    (tmp_path / "settings/matplotlib").mkdir(parents=True)
    settings = tmp_path / "settings/matplotlib/matplotlibrc"
    settings.write_text(SETTINGS)
    home = {"MPLCONFIGDIR": str(settings.parent)}
    # Of settings in the working directory, in a named file and at home the first that is found
    # counts, so that each would show if those before it were passed over.
    here = tmp_path / "everywhere"
    here.mkdir()
    (here / "matplotlibrc").write_text(SETTINGS)
    every = {"MATPLOTLIBRC": str(settings), **home}
    assert drawn(here, **every, MPLBACKEND="module://matplotlib_inline.backend_inline") == right
    # A process that has used matplotlib before, in a style of its own. What it has taken for good
    # while it was imported stays.
    settings.write_text(SETTINGS.replace("image.lut: 4\n", ""))
    assert drawn(tmp_path / "in use before", "in use", **home) == right
