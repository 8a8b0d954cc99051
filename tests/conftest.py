"""What several tests share: the repository's workflow in a folder of its own, and running it."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from purification.experiments import Catalogue
from purification.experiments.artifacts import Artifact, File

REPOSITORY = Path(__file__).resolve().parent.parent
MICRO = REPOSITORY / "tests/micro.yaml"
SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"
DEFAULT = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
PATIENCE = 1800  # seconds for a run; on a quiet machine none takes a minute


def merged(base: Any, overlay: Any) -> Any:
    """As Snakemake lays one config file over another."""
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    return base | {key: merged(base.get(key), value) for key, value in overlay.items()}


def edit(*place: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """What sets one key of a config."""

    def apply(config: dict[str, Any]) -> None:
        for key in place[:-1]:
            config = config[key]
        config[place[-1]] = value

    return apply


def also(*edits: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Several edits, one after the other."""

    def apply(config: dict[str, Any]) -> None:
        for one in edits:
            one(config)

    return apply


def rows(path: Path) -> list[dict[str, str]]:
    """A CSV file's rows by its header."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def micro_catalogue(**changes: Any) -> Catalogue:
    """The catalogue of the micro config, with changes laid over it."""
    return Catalogue(merged(merged(DEFAULT, yaml.safe_load(MICRO.read_text())), changes), SCHEMA)


def digests(*found: Any) -> dict[str, str]:
    """The files among artifacts and all that they are made from, each path with its digest."""
    files: dict[str, str] = {}
    for value in found:
        if isinstance(value, File):
            files[value.path] = value.digest
        if isinstance(value, Artifact):
            value = [getattr(value, field.name) for field in fields(value)]
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, list | tuple):
            files |= digests(*value)
    return files


class Workflow:
    """A copy of the workflow in `folder`, run by the Snakemake of this environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Snakefile", "workflow", "config", "resources/papers", "profiles"):
            source, target = REPOSITORY / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, target)
        self.config = yaml.safe_load(MICRO.read_text())
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        }

    def copy(self, folder: Path) -> "Workflow":
        """The same workflow, config and results in another folder."""
        shutil.copytree(self.folder, folder)
        other = object.__new__(Workflow)
        other.folder, other.environment = folder, self.environment
        other.config = yaml.safe_load(yaml.safe_dump(self.config))
        return other

    def run(
        self, *targets: str, options: Sequence[str] = ("--cores", "2"), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run snakemake; its output, both streams together, is in `stdout`."""
        process = self.start(*targets, options=options)
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        result = subprocess.CompletedProcess(process.args, process.returncode, output)
        if check and result.returncode:
            pytest.fail(f"{process.args}\n{result.stdout}", pytrace=False)
        return result

    def start(self, *targets: str, options: Sequence[str]) -> subprocess.Popen[str]:
        """Start snakemake, with the config as it is now."""
        own = self.folder / "config/test.yaml"
        own.write_text(yaml.safe_dump(self.config))
        # Options before targets: --configfile takes all words that follow.
        command = [sys.executable, "-m", "snakemake", "--configfile", "config/test.yaml"]
        return subprocess.Popen(
            [*command, *options, "--", *targets],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def report(self, target: str) -> tuple[str, dict[str, str]]:
        """Snakemake's report of a finished target: its front page, and its results' captions."""
        self.run(target, options=("--report", "report.html"))
        page = (self.folder / "report.html").read_text()
        front, results = (
            json.loads(re.search(rf'^ *var {name} = (["{{].*?);?$', page, re.MULTILINE)[1])
            for name in ("workflow_desc", "results")
        )
        return front, {path: result["caption"] for path, result in results.items()}

    def stale(self, *targets: str) -> "Jobs":
        """The job list of a dry run."""
        targets = targets or ("results/table4.csv",)
        output = self.run(*targets, options=("-n", "--cores", "2")).stdout
        messages = re.findall(r"^ *Job \d+: (.*)$", output, flags=re.MULTILINE)
        stats = re.search(r"^Job stats:\n.*\n-.*\n((?:.+\n)+)", output, flags=re.MULTILINE)
        counts = dict(line.split() for line in stats[1].splitlines()) if stats else {}
        targets = ("total", "all", "defense_gan", "defense_vae", "ae_gan", "cowboy")
        rules = {rule: int(count) for rule, count in counts.items() if rule not in targets}
        assert sum(rules.values()) == len(messages), output
        assert stats or "Nothing to be done" in output, output
        return Jobs(rules, set(messages))


@dataclass(frozen=True)
class Jobs:
    """A dry run's job list: how many of each rule, and the message of each job."""

    rules: dict[str, int]
    messages: set[str]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The micro config run through the whole DAG. Shared: copy it before changing anything."""
    workflow = Workflow(tmp_path_factory.mktemp("micro") / "workflow")
    workflow.run("all")
    return workflow


@pytest.fixture(scope="session")
def both_papers(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """All of AE-GAN+rs and Cowboy in miniature; they share classifier and attacked images. Shared:
    copy it before changing anything."""
    workflow = Workflow(tmp_path_factory.mktemp("both") / "workflow")
    workflow.run("ae_gan", "cowboy")
    return workflow


@pytest.fixture
def workflow(finished: Workflow, tmp_path: Path) -> Workflow:
    """A finished micro run of one's own."""
    return finished.copy(tmp_path / "workflow")


@pytest.fixture
def one_thread_and_one_seed() -> Iterator[None]:
    """For tests that train: one torch thread, and global random numbers from a fixed seed."""
    import torch

    from purification.randomness import isolated_rng

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with isolated_rng(0):
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def record_figures(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], list[Any]]:
    """From a module of `reporting` to the list of figures that it draws from then on, as they are
    when they are written."""
    from purification.reporting.figures import paper_figure

    def record(module: ModuleType) -> list[Any]:
        kept = []

        @contextmanager
        def keep(*arguments: Any) -> Iterator[Any]:
            with paper_figure(*arguments) as figure:
                kept.append(figure)
                yield figure

        monkeypatch.setattr(module, "paper_figure", keep)
        return kept

    return record
