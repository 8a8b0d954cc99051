"""Where the workflow runs, and as whose: in another folder, as a module, for several studies."""

import os
import re
from pathlib import Path

import pandas
import pytest
import yaml
from conftest import MICRO, RUN, Workflow, environment, snakemake

OTHERS = """
rule all:
    input: "own.txt"
rule own:
    output: "own.txt"
    script: "own.py"
module one:
    snakefile: "{snakefile}"
    config: config["study"] | {{"results": "{results}"}}
use rule * from one as one_*
module two:
    snakefile: "{snakefile}"
    config: config["study"] | {{"results": "runs/two", "seeds": [1]}}
use rule * from two as two_*
onstart: two.onstart()
onerror: two.onerror()
"""


def others(folder: Path, snakefile: Path, results: str) -> None:
    """Another's workflow, in a folder of its own, which has this one as two modules."""
    folder.mkdir()
    (folder / "Snakefile").write_text(OTHERS.format(snakefile=snakefile, results=results))
    (folder / "own.py").write_text("open(snakemake.output[0], 'w')\n")
    study = yaml.safe_load(MICRO.read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({"study": study}))


def run(folder: Path, *words: str, status: int = 0) -> str:
    """Runs Snakemake in a folder; what it says."""
    result = snakemake(folder, *RUN, *words, environment=environment())
    assert result.returncode == status, result.stdout
    return result.stdout


def test_another_workflow_runs_it_as_modules(finished: Workflow, tmp_path: Path) -> None:
    folder = tmp_path / "others"
    here = finished.copy(tmp_path / "workflow").folder
    others(folder, here / "Snakefile", str(here / "results"))
    dry = ("-n", "--configfile", "config.yaml")
    table = f"{here}/results/table4.csv"
    # Other rules keep Snakemake's triggers, and its default target.
    run(folder, "--configfile", "config.yaml")
    assert (folder / "own.txt").exists()
    for script in (folder / "own.py", here / "workflow/scripts/train_classifier.py"):
        os.utime(script)
    assert "Nothing to be done" in run(folder, *dry, "--", table)
    assert "one_train_classifier" in run(
        folder, *dry, "--rerun-triggers", "mtime", "code", "--", table
    )
    both = run(folder, *dry, "--", "all", "runs/two/table4.csv")
    assert "runs/two/digits/seed1/classifiers/plain/D.safetensors" in both
    assert re.search(r"^own ", both, re.MULTILINE) and "one_" not in both
    # A job has the module's config, and a failed one is explained by the module's handler.
    script = here / "workflow/scripts/prepare_dataset.py"
    kill = "\nimport os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    script.write_text(script.read_text() + kill)
    failed = run(
        folder, "--configfile", "config.yaml", "--", "runs/two/digits/dataset.h5", status=1
    )
    log = "runs/two/logs/prepare_dataset/digits.log"
    assert f"{log}: the job was killed" in failed
    # Paths below a prefix would be others than the recipes'.
    text = (folder / "Snakefile").read_text()
    (folder / "Snakefile").write_text(text.replace("module two:", 'module two:\n    prefix: "x"'))
    assert "results: FOLDER" in run(folder, *dry, status=1)


def same(one: Path, other: Path) -> bool:
    """Whether two results agree to the bit; of a table's columns all but measured time, and
    the check of the whole."""
    if one.suffix != ".csv":
        return one.read_bytes() == other.read_bytes()
    found = [pandas.read_csv(path, dtype=str, na_filter=False) for path in (one, other)]
    return (
        len({table.drop(columns=["seconds", "check"], errors="ignore").to_csv() for table in found})
        == 1
    )


def test_numbers_are_the_same_in_another_folder(finished: Workflow, tmp_path: Path) -> None:
    """Also in one below that of another study."""
    workflow = Workflow(tmp_path / "workflow")
    workflow.config["results"] = "results/eps8/"
    workflow.run("all")
    made, there = finished.folder / "results", workflow.folder / "results/eps8"
    files = [path.relative_to(there) for path in sorted(there.rglob("*")) if path.is_file()]
    results = [path for path in files if "logs" not in path.parts]
    assert {*results} == {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    assert [str(path) for path in results if not same(made / path, there / path)] == []
    assert len(results) > 30 and len(results) < len(files)
    assert not (workflow.folder / "logs").exists()
    assert sorted(p.name for p in (workflow.folder / "results").iterdir()) == ["eps8"]
    assert workflow.stale("all").rules == {}
    # What lies there under another name is known by its recipes.
    (there / "table4.md").unlink()
    there.rename(workflow.folder / "moved")
    workflow.config["results"] = str(workflow.folder / "moved")
    assert workflow.stale("all").rules == {"paper_table": 1}


@pytest.mark.parametrize("how", ["-s", "--directory"])
def test_started_elsewhere(how: str, tmp_path: Path) -> None:
    """The defaults and the papers' numbers lie beside the Snakefile, results in the working
    directory."""
    workflow, elsewhere = Workflow(tmp_path / "workflow"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    table, dry = "results/table4.csv", ("-n", "--configfile", str(MICRO))
    if how == "-s":
        output = run(elsewhere, "-s", "../workflow/Snakefile", *dry, "--", table)
    else:
        output = run(workflow.folder, *dry, "--directory", str(elsewhere), "--", table)
    assert re.search(r"^paper_table +1$", output, re.MULTILINE)
    assert (elsewhere / ".snakemake").exists() and not (workflow.folder / ".snakemake").exists()
    # Nothing would be looked for in vain.
    (workflow.folder / "resources/papers/defense_gan.csv").unlink()
    output = run(workflow.folder, *dry, "--directory", str(elsewhere), "--", table, status=1)
    assert "../workflow/resources/papers/defense_gan.csv" in output
    # A default that is missing is named.
    (workflow.folder / "config/config.yaml").unlink()
    output = run(workflow.folder, *dry, "--", table, status=1)
    assert "config/config.yaml: there is no such config file" in output


@pytest.mark.parametrize("folder", [".", "", "a b", "runs/{x}"])
def test_a_folder_that_cannot_be_one(folder: str, tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    workflow.config["results"] = folder
    result = workflow.run("results/table4.csv", options=("-n",), check=False)
    assert result.returncode and "results: " in result.stdout
