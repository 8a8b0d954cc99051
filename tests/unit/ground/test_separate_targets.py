"""The words of a command line: targets, values and config files told apart."""

import pytest

from purification.command_line import config_files, separate_targets


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "--cores 8 --resources gpu=1 results/table4.csv",
            "--cores 8 --resources gpu=1 -- results/table4.csv",
        ),
        (
            "--configfile my.yaml results/table4.csv --cores 2",
            "--configfile my.yaml --cores 2 -- results/table4.csv",
        ),
        ("--configfile a.yaml b.yaml all -n", "--configfile a.yaml b.yaml -n -- all"),
        ("--config gpu=0 seeds=[1] all more", "--config gpu=0 seeds=[1] -- all more"),
        ("results/table4.csv --cores 8 --resources gpu=1", None),
        ("-n --cores 2 --config gpu=0 -- all", None),
        ("--profile profiles/slurm results/table4.csv", None),
        ("--configfile my_config -n", None),
        ("", None),
    ],
)
def test_targets_are_told_from_values(line: str, expected: str | None) -> None:
    words = line.split()
    assert separate_targets(words) == (words if expected is None else expected.split())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--configfile a.yaml b.yaml -n -- all", ["a.yaml", "b.yaml"]),
        ("--configfiles=a.yaml --cores 2", ["a.yaml"]),
        ("--cores 2 --configfile a.yaml --config seeds=[0] --configfile b", ["a.yaml", "b"]),
        ("results/table4.csv --cores 2", []),
    ],
)
def test_config_files_are_found_in_a_line(line: str, expected: list[str]) -> None:
    assert config_files(line.split()) == expected
