"""What a user may call a run, and by which config it is read."""

from pathlib import Path

import pytest
import yaml

from purification import shipped
from purification.api.configs import setup_of
from purification.api.places import Run, find_run
from purification.config_files import ConfigFileError


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for run in ("digits/seed0", "mnist/seed0", "mnist/seed10", "figures"):
        (tmp_path / "results" / run).mkdir(parents=True)
    return tmp_path / "results"


def test_a_run_is_a_folder_or_the_only_one_below_it(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = Run(results, "digits", 0)
    assert find_run(results / "digits/seed0") == digits
    assert find_run(str(results / "digits")) == digits
    assert find_run(results / "mnist/seed10") == Run(results, "mnist", 10)
    monkeypatch.chdir(results)
    assert find_run("digits/seed0/") == digits
    monkeypatch.chdir(results / "digits/seed0")
    assert find_run(".") == digits
    (results / "mnist/seed10").rmdir()
    (results / "mnist/seed0").rmdir()
    assert find_run(results) == digits


@pytest.mark.parametrize(
    ("run", "error", "expected"),
    [
        ("results", ValueError, "several runs.*results/digits/seed0, results/mnist/seed0"),
        ("results/mnist", ValueError, "several runs.*: results/mnist/seed0, results/mnist/seed10"),
        ("results/figures", ValueError, "no folder of a finished run.*digits/seed0, mnist/seed0"),
        (
            "results/digit/seed0",
            FileNotFoundError,
            "no such folder; in .*results there are digits/",
        ),
        ("results/digits/seed1", FileNotFoundError, "no such folder; in .*/digits there are seed0"),
        (
            "nothing",
            FileNotFoundError,
            "nothing: no such folder at /.*/nothing; a run makes it: snakemake",
        ),
    ],
)
def test_what_is_no_run_is_told_with_the_runs_that_are_there(
    results: Path, run: str, error: type[Exception], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(results.parent)
    with pytest.raises(error, match=expected):
        find_run(run)


def test_a_config_is_the_latest_runs_or_the_default_or_laid_over_it(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(results, "digits", 0)
    assert setup_of(run, None).said == "the default config"
    own = {"classifiers": {"A": {"epochs": 3}}}
    file, further = tmp_path / "own.yaml", tmp_path / "further.yaml"
    file.write_text(yaml.safe_dump(own))
    further.write_text("classifiers: {A: {batch_size: 7}}")
    for given in (own, file, str(file), [file]):
        setup = setup_of(run, given)
        entry = setup.catalogue.config["classifiers"]["A"]
        assert (entry["epochs"], entry["batch_size"]) == (3, 50)
        assert not setup.guessed
    both = setup_of(run, [file, further])
    assert both.catalogue.config["classifiers"]["A"]["batch_size"] == 7
    assert both.option(tmp_path) == " --configfile own.yaml further.yaml"
    assert both.option(results) == f" --configfile {file} {further}"
    # A config of the repository, wherever one is.
    monkeypatch.chdir(tmp_path)
    study = "config/studies/vae_loss.yaml"
    assert setup_of(None, study).option(tmp_path) == f" --configfile {shipped.ROOT / study}"
    # The latest run's, if it is of this folder of results.
    left = tmp_path / ".snakemake/purification_configs"
    left.mkdir(parents=True)
    whole = setup_of(run, own).catalogue.config
    (left / "own.yaml").write_text(yaml.safe_dump({**whole, "results": "results"}))
    found = setup_of(run, None)
    assert found.guessed and found.catalogue.config["classifiers"]["A"]["epochs"] == 3
    assert found.option(tmp_path) == " --configfile .snakemake/purification_configs/own.yaml"
    other = Run(tmp_path / "other", "digits", 0)
    assert setup_of(other, None).said == "the default config"
    # One that another version left says nothing.
    (left / "own.yaml").write_text("results: results\nold_key: 1\n")
    assert setup_of(run, None).said == "the default config"
    with pytest.raises(ConfigFileError, match="no such config file"):
        setup_of(run, "none.yaml")
