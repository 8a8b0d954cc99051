"""What several tests share: the repository's workflow in a folder of its own, and running it."""

import atexit
import copy
import csv
import fcntl
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from purification.experiments import DEFAULT_FILES, Catalogue, ConfigError, all_made, layered
from purification.experiments.artifacts import Artifact, File, Part
from purification.experiments.papers import studies_of
from purification.hand_over import Fork
from purification.warm_start import Starter

ENVIRONMENT = dict(os.environ)
if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests in several processes would wait for each other's threads. Before torch is imported.
    os.environ["OMP_NUM_THREADS"] = "1"
TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent
MICRO, PAPERS = TESTS / "micro.yaml", TESTS / "papers.yaml"
RUN = ("--cores", "2", "--max-threads", "1")
"""How Snakemake runs here: on networks this small a second thread waits more than it computes."""
SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"


def read_yaml(path: Path) -> Any:
    """A file's content, by libyaml's loader where it is, which takes a tenth of the time."""
    return yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


DEFAULT = layered((file, read_yaml(REPOSITORY / file)) for file in DEFAULT_FILES)
SMALL = read_yaml(MICRO)


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


def refusal(config: Mapping[str, Any], *studies: str) -> str:
    """What is wrong in the shared sections of a config, or else where any of these studies is asked
    for (none named: all that it has); "" if nothing is."""
    try:
        catalogue = Catalogue(config, SCHEMA)
    except ConfigError as error:
        return str(error)
    messages = []
    for name in studies or [study.name for study in studies_of(catalogue.config)]:
        try:
            catalogue.study(name)
        except ConfigError as error:
            messages.append(str(error))
    return "\n".join(messages)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that parallel runs end together. A file's tests stay
    side by side."""
    places = ("slurm", "workflow", "unit")
    items.sort(key=lambda item: places.index(item.path.relative_to(TESTS).parts[0]))


@pytest.fixture(autouse=True, scope="session")
def _bfloat16_is_computed_where_it_is_asked_for() -> Iterator[None]:
    """So that tests of it mean something on a CPU that only imitates it. In this process alone;
    `test_half_precision` has what users get."""
    from purification.models import half_precision  # imports torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(half_precision, "usable", lambda precision, device: precision)
        yield


@pytest.fixture(autouse=True)
def _no_module_of_a_test_outlives_it() -> Iterator[None]:
    """Another test's `lab` lies elsewhere, and would be taken for this one's."""
    before = {*sys.modules}
    yield
    for name in {*sys.modules} - before:
        if "pytest-of-" in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def rows(path: Path) -> list[dict[str, str]]:
    """A CSV file's rows by its header."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def micro_catalogue(**changes: Any) -> Catalogue:
    """The catalogue of the micro config, with changes laid over it."""
    return Catalogue(merged(merged(DEFAULT, SMALL), changes), SCHEMA)


def digests(*found: Any) -> dict[str, str]:
    """The files among artifacts and all that they are made from, each path with its digest."""
    files: dict[str, str] = {}
    for value in found:
        if isinstance(value, File):
            files[value.path] = value.digest
        if isinstance(value, Artifact):
            value = [getattr(value, one.name) for one in fields(value)]
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, list | tuple):
            files |= digests(*value)
    return files


def remade(find: Callable[[Catalogue], Sequence[File]], config: Any, edit: Any) -> "Remade":
    """What an edit of a config on top of the default one makes stale: of the files that `find`
    names, and all that they are made from, those that get another recipe or another place.

    A dry run lists the jobs of just these, for the rules hand the recipes to Snakemake:
    tests/workflow compares the two.
    """
    before, after = (
        {file.path: file for file in all_made(find(_catalogue(json.dumps(own))))}
        for own in (config, merged(config, edit))
    )
    changed = [
        file
        for path, file in after.items()
        if path not in before or before[path].digest != file.digest
    ]
    # A job's further files go with its first.
    jobs = {file.whole.path: file.whole for file in changed if isinstance(file, Part)}
    jobs |= {file.path: file for file in changed if not isinstance(file, Part)}
    kinds = Counter(str(job.recipe.get("kind", path)) for path, job in jobs.items())
    return Remade(dict(kinds), set(jobs))


@functools.lru_cache(maxsize=8)
def _catalogue(config: str) -> Catalogue:
    """That of a config on top of the default one. Many edits are of the same."""
    return Catalogue(merged(DEFAULT, json.loads(config)), SCHEMA)


@dataclass(frozen=True)
class Remade:
    """Files that an edit makes stale: how many of each kind of artifact, and their places."""

    kinds: dict[str, int]
    paths: set[str]


def environment() -> dict[str, str]:
    """A user's, with the programs of this environment before all others."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{ENVIRONMENT['PATH']}"
    return ENVIRONMENT | {"PATH": path}


def snakemake(
    folder: Path, *words: str, environment: Mapping[str, str], front: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run snakemake in a folder; its output, both streams together, is in `stdout`.

    It runs in a fork of a process that has imported Snakemake, and its jobs in forks of another, so
    that a test does not pay for what all import. `front`: the environment's `snakemake`, otherwise
    `python -m snakemake`.
    """
    of_snakemake, of_jobs = starters()
    name = "snakemake" if front else "python -m snakemake"
    arguments = (str(TESTS / "snakemake_fork.py"), of_jobs, name, *words)
    done = in_fork(of_snakemake, *arguments, folder=folder, environment=environment)
    return subprocess.CompletedProcess([name, *words], done.returncode, done.stdout)


def in_fork(
    starter: str, *arguments: str, folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a script in a fork of a starter; its output, both streams together, is in `stdout`."""
    with tempfile.TemporaryFile("w+") as output, Path(os.devnull).open() as nothing:
        streams = (nothing.fileno(), output.fileno(), output.fileno())
        fork = Fork(starter, arguments, folder=folder, environment=environment, streams=streams)
        status = fork.wait()
        output.seek(0)
        return subprocess.CompletedProcess(arguments, status, output.read())


def as_job(
    code: str, *words: str, folder: Path, stderr: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run code as a job's script, in a fork of the starter of jobs: a test does not pay for torch's
    import. `stderr`: where its errors go instead of to the result."""
    with (
        tempfile.NamedTemporaryFile("w", suffix=".py", encoding="utf-8") as script,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
        Path(os.devnull).open() as nothing,
    ):
        script.write(code)
        script.flush()
        third = errors.fileno() if stderr is None else stderr
        streams = (nothing.fileno(), output.fileno(), third)
        arguments = (script.name, *words)
        fork = Fork(
            starters()[1], arguments, folder=folder, environment=environment(), streams=streams
        )
        status = fork.wait()
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(arguments, status, output.read(), errors.read())


STARTERS = "PURIFICATION_TESTS_STARTERS"
"""In the environment of the processes of a parallel test run: the sockets of their starters."""


@functools.cache
def starters() -> tuple[str, str]:
    """The sockets of two starters, for Snakemake and for its jobs."""
    if STARTERS in os.environ:
        one, other = os.environ[STARTERS].split()
        return one, other
    # The first imports `prepared` from here.
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        of_snakemake = Starter()
    opened = of_snakemake, Starter()
    for starter in opened:
        atexit.register(starter.close)
    return opened[0].place, opened[1].place


def pytest_configure(config: pytest.Config) -> None:
    """Before the processes of a parallel test run are started, which all have their environment
    from this one. Without work a starter costs as good as nothing."""
    if config.getoption("numprocesses", None):
        os.environ[STARTERS] = " ".join(starters())


class Workflow:
    """A copy of the workflow in `folder`, run by the Snakemake of this environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Snakefile", "workflow", "config", "resources/papers", "profiles"):
            source, target = REPOSITORY / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        self.config = copy.deepcopy(SMALL)
        self.environment = environment()

    @classmethod
    def at(cls, folder: Path) -> "Workflow":
        """One that lies in `folder` already, with the config of its last run."""
        workflow = object.__new__(cls)
        workflow.folder, workflow.environment = folder, environment()
        workflow.config = read_yaml(folder / "config/test.yaml")
        return workflow

    def copy(self, folder: Path) -> "Workflow":
        """The same workflow, config and results in another folder."""
        shutil.copytree(self.folder, folder)
        other = Workflow.at(folder)
        other.config = copy.deepcopy(self.config)
        return other

    def run(
        self, *targets: str, options: Sequence[str] = RUN, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run snakemake, as the function above does, with the config as it is now."""
        words = self._words(*targets, options=options)
        result = snakemake(self.folder, *words, environment=self.environment)
        if check and result.returncode:
            pytest.fail(f"{result.args}\n{result.stdout}", pytrace=False)
        return result

    def _words(self, *targets: str, options: Sequence[str]) -> list[str]:
        """The command line, after the config has been written."""
        own = self.folder / "config/test.yaml"
        own.write_text(yaml.safe_dump(self.config))
        # Options before targets: --configfile takes all words that follow.
        return ["--configfile", "config/test.yaml", *options, "--", *targets]

    def start(self, *targets: str, options: Sequence[str] = RUN) -> subprocess.Popen[str]:
        """Start snakemake as a user does, in a process of its own and with its own starter."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *self._words(*targets, options=options)],
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
        assert "system-message" not in page  # docutils' errors
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
        targets = ("total", "all", "defense_gan", "defense_vae", "ae_gan", "cowboy", "modern")
        rules = {rule: int(count) for rule, count in counts.items() if rule not in targets}
        assert sum(rules.values()) == len(messages), output
        assert stats or "Nothing to be done" in output, output
        return Jobs(rules, set(messages), output)

    def pending(self, *targets: str) -> set[str]:
        """All files that the jobs of a dry run would make."""
        summary = self.run(*targets, options=("--summary", "--cores", "2")).stdout.splitlines()
        lines = [line.split("\t") for line in summary]
        return {line[0] for line in lines if line[-1] == "update pending"}


@dataclass(frozen=True)
class Jobs:
    """A dry run's job list: how many of each rule, the message of each job, and all that was
    printed."""

    rules: dict[str, int]
    messages: set[str]
    printed: str = field(default="", compare=False, repr=False)


def shared_run(
    factory: pytest.TempPathFactory,
    name: str,
    *targets: str,
    by_itself: bool = False,
    **changes: Mapping[str, Any],
) -> Workflow:
    """The micro config, with changes, run once for all processes of a parallel test run: by the one
    that comes first, for which the others wait. `by_itself`: by `Workflow.start`."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, outcome = root / name, root / f"{name}.outcome"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not outcome.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
            workflow = Workflow(folder)
            workflow.config = merged(workflow.config, changes)
            if by_itself:
                process = workflow.start(*targets)
                printed, status = process.communicate()[0], process.returncode
            else:
                done = workflow.run(*targets, check=False)
                printed, status = done.stdout, done.returncode
            outcome.write_text(printed if status else "")
    if failed := outcome.read_text():
        pytest.fail(failed, pytrace=False)
    return Workflow.at(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The micro config run through the whole DAG, as a user does. Shared: copy it before changing
    anything."""
    return shared_run(tmp_path_factory, "finished", "all", by_itself=True)


@pytest.fixture(scope="session")
def both_papers(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """All of AE-GAN+rs and Cowboy in miniature; they share classifier and attacked images. Shared:
    copy it before changing anything."""
    return shared_run(tmp_path_factory, "both_papers", "ae_gan", "cowboy")


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """All of Defense-GAN and Defense-VAE in miniature, on one data set. Shared: copy it before
    changing anything."""
    changes = read_yaml(PAPERS)
    return shared_run(tmp_path_factory, "papers", "defense_gan", "defense_vae", **changes)


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
