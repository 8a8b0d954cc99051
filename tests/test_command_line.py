"""The commands in the documentation, as they stand there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, Workflow

from purification.command_line import separate_targets

DOCUMENTS = ("README.md", "config/README.md", "profiles/slurm/README.md")
COMMANDS = sorted(
    {
        line.split("#")[0].strip()
        for document in DOCUMENTS
        for line in re.findall(
            r"^    ((?:snakemake|make) .*)$", (REPOSITORY / document).read_text(), re.MULTILINE
        )
    }
)


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


def test_documents_have_commands() -> None:
    for target in ("results/table4.csv", "defense_gan"):
        assert f"snakemake --cores 8 --resources gpu=1 {target}" in COMMANDS
    assert {"make results/table4.csv", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("snakemake")])
def test_documented_command_runs_as_it_stands(command: str, tmp_path: Path) -> None:
    """As a dry run, by the `snakemake` of this environment."""
    workflow = Workflow(tmp_path / "workflow")
    (workflow.folder / "my.yaml").write_text("seeds: [0]\n")
    if "--report" in command:
        pytest.skip("needs a finished run: tested in test_workflow.py")
    program, *words = shlex.split(command)
    executable = Path(sys.executable).with_name(program)
    result = subprocess.run(
        [executable, "-n", *words],
        cwd=workflow.folder,
        env=workflow.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout
    planned = r"^(paper_table|plot_roc|generator_quality_table) +[1-9]\d*$"
    assert re.search(planned, result.stdout, re.MULTILINE), result.stdout


def test_make_passes_the_target_and_the_arguments() -> None:
    arguments = "SNAKEMAKE_ARGS=--configfile config/paper.yaml"
    result = subprocess.run(
        ["make", "-n", "results/table4.csv", arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if "snakemake" in line]
    words = shlex.split(line.partition("snakemake ")[2])
    assert words[0] == "results/table4.csv"
    assert words[-2:] == ["--configfile", "config/paper.yaml"]
