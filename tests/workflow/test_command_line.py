"""The commands in the documentation as they stand there, and config values given with them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, Workflow, snakemake
from extend import tutorial_files

from purification.storage import read_split

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "config/*.md", "profiles/**/*.md", "docs/**/*.md")
    for path in REPOSITORY.glob(pattern)
    if path.name != "extend.md"  # run in test_extend_workflow.py
)
USERS_FILES = {"my.yaml": "seeds: [0]", "eps8.yaml": "results: runs/eps8"}
"""What the documentation says to write."""
ELSEWHERE = ("~/", "/scratch/", "--directory ")
"""In commands for another folder, which test_shared_runs.py runs."""


def commands_of(text: str) -> set[str]:
    """The commands of a page, those over several lines in one."""
    text = re.sub(r" \\\n +", " ", text)
    found = re.findall(r"^    ((?:snakemake|make) .*)$", text, re.MULTILINE)
    return {line.split("#")[0].strip() for line in found}


COMMANDS = sorted(set().union(*(commands_of(path.read_text()) for path in DOCUMENTS)))


def dry_run(workflow: Workflow, *words: str, front: bool = True) -> tuple[int, str]:
    """By the `snakemake` of this environment, or by the plain one."""
    done = snakemake(workflow.folder, "-n", *words, environment=workflow.environment, front=front)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "there is no such config file in"),
        ("seeds: [0", ": no YAML: "),
        ("seeds: [0]\nseeds: [1]", "my.yaml, line 2: 'seeds', which line 1 has already"),
    ],
)
def test_unusable_config_file_is_named(content: str | None, complaint: str, tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    if content is not None:
        (workflow.folder / "my.yaml").write_text(content)
    code, output = dry_run(workflow, "--configfile", "my.yaml", "--", "results/table4.csv")
    assert code and "my.yaml" in output and complaint in output
    assert "Traceback" not in output


def test_files_are_read_strictly_by_the_plain_command_too(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    default = workflow.folder / "config/config.yaml"
    whole = default.read_text()
    for place, text in ((default, whole + "threads: 2\n"), (default, whole + "x: [\n")):
        place.write_text(text)
        code, output = dry_run(workflow, "results/table4.csv", front=False)
        assert code and "config/config.yaml" in output and "line " in output
        assert "Traceback" not in output
    default.write_text(whole)
    own = workflow.folder / "my.yaml"
    own.write_text("attacks: {fgsm: {epsilon: 0.1, epsilon: 0.2}}\n")
    arguments = ("results/table4.csv", "--configfile", "my.yaml")
    code, output = dry_run(workflow, *arguments, front=False)
    assert code and "my.yaml, line 1: 'attacks.fgsm.epsilon'" in output


def test_lists_and_mappings_come_by_config(tmp_path: Path) -> None:
    """Typed as in a file, in the jobs too, which are given them again."""
    workflow = Workflow(tmp_path / "workflow")
    values = ["seeds=[0, 1]", "datasets={digits: {test: 600}, svhn: null}", "threads=1"]
    target = "results/digits/seed1/classifiers/plain/A.history.csv"
    code, output = dry_run(workflow, "--config", *values, "--", target)
    assert code == 0, output
    assert re.search(r"^train_classifier +1$", output, re.MULTILINE), output
    code, output = dry_run(workflow, "--config", "seeds=[0,1e30]", "--", target)
    assert code and "seeds.1: must be of type integer; got 1e+30" in output
    code, output = dry_run(workflow, "--config", "seeds=[0,", "--", target)
    assert code and "--config 'seeds=[0, 1]'" in output
    path = "results/digits/dataset.h5"
    words = ("--cores", "1", path, "--config", *values)
    made = snakemake(workflow.folder, *words, environment=workflow.environment)
    assert made.returncode == 0, made.stdout
    assert len(read_split(workflow.folder / path, "test")[1]) == 600


def test_scripts_are_given_the_config_as_it_was_checked(tmp_path: Path) -> None:
    """A user's loader is told the home folder, not its sign, and no folder of that name is made."""
    workflow = Workflow(tmp_path / "workflow")
    loader = (
        "import numpy as np\n"
        "def load(root, validation, test):\n"
        "    open('root.txt', 'w').write(root)\n"
        "    part = (np.ones((9, 1, 28, 28), np.float32), np.zeros(9, np.int64))\n"
        "    return dict.fromkeys(('train', 'validation', 'test'), part)\n"
    )
    (workflow.folder / "my_images.py").write_text(loader)
    workflow.config["data_root"] = "~/data"
    workflow.config["datasets"]["mine"] = {
        "source": "my_images:load",
        "validation": 9,
        "test": 9,
    }
    workflow.environment["HOME"] = str(tmp_path)
    output = workflow.run("results/mine/dataset.h5").stdout
    assert (workflow.folder / "root.txt").read_text() == f"{tmp_path}/data"
    # The user sees the warning, and the log keeps it.
    warning = "warning: my_images:load, train: all 9 images are of the class 0"
    assert warning in output
    assert warning in (workflow.folder / "logs/prepare_dataset/mine.log").read_text()


def test_documents_have_commands() -> None:
    for target in ("results/table4.csv", "defense_gan"):
        assert f"snakemake --cores 8 --resources gpu=1 {target}" in COMMANDS
    assert {"make results/table4.csv", "make results/leaderboard.html"} <= set(COMMANDS)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("snakemake")])
def test_documented_command_runs_as_it_stands(command: str, tmp_path: Path) -> None:
    """As a dry run, by the `snakemake` of this environment."""
    workflow = Workflow(tmp_path / "workflow")
    for name, text in USERS_FILES.items():
        (workflow.folder / name).write_text(text)
    for name, text in tutorial_files().items():
        (workflow.folder / name).write_text(text)
    if "--report" in command:
        pytest.skip("needs a finished run: tested in test_workflow.py")
    if any(place in command for place in ELSEWHERE):
        pytest.skip("for another folder: tested in test_shared_runs.py")
    program, *words = shlex.split(command)
    assert program == "snakemake"
    if "--touch" in words:
        pytest.skip("needs a finished run: tested in test_tutorial.py")
    code, output = dry_run(workflow, *words)
    assert code == 0, output
    planned = r"^total +[1-9]"
    assert re.search(planned, output, re.MULTILINE), output


def test_make_takes_configs_by_their_names() -> None:
    """As what it would run. Each that the documentation names is there."""
    documents = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), REPOSITORY / "Makefile"]
    named = re.findall(r"CONFIG=(\w+)", " ".join(path.read_text() for path in documents))
    assert "mnist_quick" in named
    assert [name for name in named if not (REPOSITORY / f"config/{name}.yaml").is_file()] == []
    for config, options in (
        ("", ""),
        ("mnist_quick", "--configfile config/mnist_quick.yaml"),
        (
            "mnist_cpu studies/sigma.yaml",
            "--configfile config/mnist_cpu.yaml config/studies/sigma.yaml",
        ),
    ):
        words = [
            "make",
            "--no-print-directory",
            "-n",
            "results/table4.csv",
            f"CONFIG={config}",
            "SNAKEMAKE_ARGS=-n",
        ]
        run = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        command = run.stdout.splitlines()[-1].split("--resources gpu=1")
        assert " ".join(command[1].split()) == f"{options} -n".strip()


def test_the_snakemake_of_this_environment_takes_a_target_behind_an_option(tmp_path: Path) -> None:
    """The executable; what it calls ran the commands above."""
    workflow = Workflow(tmp_path / "workflow")
    executable = Path(sys.executable).with_name("snakemake")
    words = ("-n", "--cores", "8", "--resources", "gpu=1", "results/table4.csv")
    result = subprocess.run(
        [executable, *words],
        cwd=workflow.folder,
        env=workflow.environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r"^paper_table +1$", result.stdout, re.MULTILINE), result.stdout


def test_make_passes_the_target_and_the_arguments() -> None:
    arguments = "SNAKEMAKE_ARGS=--configfile config/paper.yaml"
    result = subprocess.run(
        ["make", "-n", "-o", ".venv/.ready", "results/table4.csv", arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if "snakemake" in line]
    words = shlex.split(line.partition("snakemake ")[2])
    assert words[0] == "results/table4.csv"
    assert words[-2:] == ["--configfile", "config/paper.yaml"]
