"""The SLURM profile on a real SLURM (tests/slurm), started here and stopped at the end.

Two runs are submitted side by side: a small table4, and one with two faults, a script that raises
and a job whose memory is too small at first; then one whose job is preempted. Skipped, with the
reason, where SLURM is not installed or does not start.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import pandas
import pytest
import yaml
from conftest import REPOSITORY, Workflow, starters

from purification.hand_over import VARIABLE

pytestmark = pytest.mark.slurm

START, STOP = (REPOSITORY / f"tests/slurm/{name}-slurm.sh" for name in ("start", "stop"))
GPU_RULES = {
    *("train_classifier", "train_defense", "train_wgan_gp"),
    *("purify_images", "attack_defense"),
    "attacks",  # the group of the attacks on bare classifiers
}
PATIENCE = 7200  # seconds; only what hangs takes them, for SLURM can wait for ever
# What a test cannot leave as the profile has it: places, and waiting times made for a busy cluster.
LOCAL = [
    *("--slurm-partition-config", "profiles/slurm/partitions.yaml"),
    *("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10", "--jobs", "4"),
]
# No option shortens this wait: after each look in vain the executor waits 10 seconds more.
LOOK_OFTEN = """

import asyncio
from snakemake_executor_plugin_slurm import Executor
Executor.sleep = lambda executor: asyncio.sleep(2)
"""
FIRST_MEMORY, BALLAST = 1000, 1200  # MB: limit of the first attempt, and what the script takes
MOST_MINUTES = 180  # what the run with faults may ask for; twice `train_defense`'s would be 240


@dataclass(frozen=True)
class Job:
    """What SLURM's controller remembers of a job."""

    name: str
    state: str
    partition: str
    memory: str
    time: str
    cpus: int
    gpus: int


class Submission:
    """A snakemake that submits a workflow through the profile, running until `wait` returns."""

    def __init__(self, workflow: Workflow, environment: dict[str, str], *arguments: str) -> None:
        self.folder, self._environment = workflow.folder, environment
        self._output = workflow.folder / "submission.out"
        command = [sys.executable, "-u", "-m", "snakemake", "--profile", "profiles/slurm"]
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                [*command, *LOCAL, "--configfile", "config/test.yaml", *arguments],
                cwd=workflow.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, seconds: float) -> None:
        try:
            self.status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {seconds:.0f} s:\n{self.output}", pytrace=False)

    def stop(self) -> None:
        """Ends the process if it still runs; its SLURM jobs end with the SLURM."""
        if self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return self._output.read_text()

    def jobs(self) -> list[Job]:
        """The jobs of this run in the order of their submission, as the controller shows them."""
        (run,) = set(re.findall(r"^SLURM run ID: (\S+)", self.output, flags=re.MULTILINE))
        shown = subprocess.run(
            ["scontrol", "show", "job", "--oneliner"],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        ).stdout.splitlines()
        jobs = []
        for line in shown:
            field = dict(re.findall(r"(\w+)=(\S*)", line))
            gpus = re.search(r"TresPerJob=gres[:/]gpu:(\d+)", line)
            if field["JobName"] == run:
                jobs.append(
                    Job(
                        field["Comment"],
                        field["JobState"],
                        field["Partition"],
                        field["MinMemoryNode"],
                        field["TimeLimit"],
                        int(field["NumCPUs"]),
                        int(gpus[1]) if gpus else 0,
                    )
                )
        return jobs

    def jobs_of(self, rule: str) -> list[Job]:
        return [job for job in self.jobs() if job.name.startswith(f"rule_{rule}")]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A running SLURM: the environment in which its commands reach it."""
    state = tmp_path_factory.mktemp("slurm")
    # In SLURM's books only: the runs' jobs are to wait for each other, not for a CPU or a card.
    settings = os.environ | {"SLURM_TEST_CPUS": "8", "SLURM_TEST_GPUS": "4"}
    start = subprocess.run(
        [START, state],
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=(state / "start.out").open("w"),  # no pipe: the daemons would keep it open
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
    )
    try:
        if start.returncode:
            reason = (state / "start.out").read_text().strip()
            pytest.skip(f"no SLURM here: {reason}")
        yield os.environ | {
            "SLURM_CONF": f"{state}/slurm.conf",
            "PATH": f"{state}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
    finally:
        subprocess.run([STOP, state], stdin=subprocess.DEVNULL, timeout=PATIENCE)


def submit_table4(folder: Path, environment: dict[str, str]) -> Submission:
    """A corner of the micro config's table4, from nothing. Its scripts run in forks of the tests'
    starter, which lies on the same machine; those of the other runs import all that they need."""
    workflow = Workflow(folder)
    workflow.config["table4"] |= {"attacks": ["fgsm"], "defenses": ["magnet", "adv_training"]}
    write_config(workflow)
    forking = environment | {VARIABLE: starters()[1]}
    return Submission(workflow, forking, "--", "results/table4.csv")


def submit_faults(workflow: Workflow, environment: dict[str, str]) -> Submission:
    """Two networks and what needs them: one training raises, the other is short of memory."""
    rules = workflow.folder / "workflow/rules/generators.smk"
    head = "use rule train_network as train_defense with:"
    before, defense = rules.read_text().split(head)
    defense, changes = re.subn(
        r"mem_mb=memory\([^)]*\),\n( +)runtime=growing\([^)]*\)",
        rf"mem_mb=growing({FIRST_MEMORY}),\n\1runtime=growing(120)",
        defense,
        count=1,
    )
    assert changes == 1
    rules.write_text(before + head + defense)
    script = workflow.folder / "workflow/scripts/train_network.py"
    script.write_text(
        f"if snakemake.rule == 'train_defense':\n    import time\n"
        f"    ballast = b'x' * ({BALLAST} << 20)\n"
        # Until SLURM has looked, and ended it.
        f"    while snakemake.resources.mem_mb == {FIRST_MEMORY}:\n        time.sleep(1)\n"
        f"    del ballast\n{script.read_text()}\n"
        "if snakemake.rule == 'train_wgan_gp':\n    raise RuntimeError('broken on purpose')\n"
    )
    results = workflow.folder / "results/digits/seed0"
    for made in ("generators", "autoencoders", "purified/clean"):
        shutil.rmtree(results / made)
    write_config(workflow)
    run = "results/digits/seed0"
    targets = [f"{run}/purified/clean/{defense}/test.h5" for defense in ("magnet", "defense_gan")]
    limits = ("--resources", "turn=1", f"runtime={MOST_MINUTES}")
    return Submission(workflow, environment, "--retries", "1", *limits, "--", *targets)


def write_config(workflow: Workflow) -> None:
    (workflow.folder / "config/test.yaml").write_text(yaml.safe_dump(workflow.config))
    with (workflow.folder / "Snakefile").open("a") as file:
        file.write(LOOK_OFTEN)


@pytest.fixture(scope="module")
def submitted(
    slurm: dict[str, str], finished: Workflow, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Submission]]:
    """Both runs, ended."""
    folder = tmp_path_factory.mktemp("submitted")
    runs = {}
    try:
        runs["table4"] = submit_table4(folder / "table4", slurm)
        runs["faults"] = submit_faults(finished.copy(folder / "faults"), slurm)
        end = monotonic() + PATIENCE
        for run in runs.values():
            run.wait(end - monotonic())
        yield runs
    finally:
        for run in runs.values():
            run.stop()


@pytest.fixture
def table4(submitted: dict[str, Submission]) -> Submission:
    return submitted["table4"]


@pytest.fixture
def faults(submitted: dict[str, Submission]) -> Submission:
    return submitted["faults"]


def test_table4_is_what_the_local_run_makes(table4: Submission, finished: Workflow) -> None:
    assert table4.status == 0, table4.output
    local, submitted = (
        pandas.read_csv(run.folder / "results/table4.csv", dtype=str) for run in (finished, table4)
    )
    assert len(submitted) == 1
    assert {"no_attack", "no_defense", "magnet", "adv_tr"} < set(submitted.columns)
    expected = local.loc[local["attack"] == "fgsm", submitted.columns]
    pandas.testing.assert_frame_equal(submitted, expected.reset_index(drop=True))


def test_every_job_went_through_slurm(table4: Submission) -> None:
    jobs = table4.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    submitted = re.findall(r"^Job \S+ has been submitted with SLURM jobid", table4.output, re.M)
    assert len(jobs) == len(submitted) > 0
    # One SLURM job for each step, but one for all steps of a group.
    steps = dict(re.findall(r"^(\w+) +(\d+)$", table4.output, flags=re.MULTILINE))
    grouped = {"attack_classifier", "measure"}
    single = {rule: int(n) for rule, n in steps.items() if rule not in {*grouped, "total"}}
    assert {rule: len(table4.jobs_of(f"{rule}_")) for rule in single} == single
    for group in ("attacks", "measurements"):
        assert len(table4.jobs_of(f"{group}_")) == 1
    assert len(jobs) == sum(single.values()) + 2


def test_gpu_rules_get_a_gpu_and_its_partition(table4: Submission, faults: Submission) -> None:
    seen = set()
    for job in [*table4.jobs(), *faults.jobs()]:
        rules = [rule for rule in GPU_RULES if job.name.startswith(f"rule_{rule}_")]
        seen.update(rules)
        assert (job.gpus, job.partition) == ((1, "gpu") if rules else (0, "cpu")), job
    assert seen == GPU_RULES
    # And the jobs on the nodes know it, wherever snakemake was started.
    log = table4.folder / "logs/train_defense/digits/seed0/autoencoders/magnet.log"
    assert re.search(r"device: cuda|device: cpu \(a GPU was granted", log.read_text())


def test_group_asks_for_the_time_of_all_and_the_rest_of_one(table4: Submission) -> None:
    (attacks,) = table4.jobs_of("attacks_")
    assert (attacks.cpus, attacks.memory, attacks.time) == (1, "2500M", "04:00:00")
    assert attacks.gpus == 1


def test_failed_job_is_reported_with_its_log(faults: Submission) -> None:
    assert faults.status == 1
    assert "Error in rule train_wgan_gp" in faults.output
    assert "RuntimeError: broken on purpose" in faults.output
    assert "logs/train_wgan_gp/digits/seed0/generators/wgan_gp.log" in faults.output
    assert [job.state for job in faults.jobs_of("train_wgan_gp")] == ["FAILED", "FAILED"]


def test_the_rest_goes_on(faults: Submission) -> None:
    purified = faults.folder / "results/digits/seed0/purified/clean"
    assert (purified / "magnet/test.h5").exists()
    assert not (purified / "defense_gan/test.h5").exists()
    assert [job.state for job in faults.jobs_of("purify_images")] == ["COMPLETED"]


def test_job_out_of_memory_is_resubmitted_with_more(faults: Submission) -> None:
    killed, repeated = faults.jobs_of("train_defense")
    assert (killed.memory, repeated.memory) == (f"{FIRST_MEMORY}M", f"{2 * FIRST_MEMORY}M")
    assert killed.state in ("FAILED", "OUT_OF_MEMORY", "CANCELLED")
    assert repeated.state == "COMPLETED"
    assert (killed.time, repeated.time) == ("02:00:00", "03:00:00")
    # That it was the memory, SLURM says in its log of the job; a failed job's is kept, and named.
    (log,) = faults.folder.glob("logs/slurm/rule_train_defense/*/*.log")
    assert "memory limit" in log.read_text()
    assert str(log) in faults.output


def test_preempted_job_is_submitted_again(slurm: dict[str, str], tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "workflow")
    script = workflow.folder / "workflow/scripts/prepare_dataset.py"
    begun = workflow.folder / "begun"
    wait = "import time\nfrom pathlib import Path\nplace = Path('begun')\n"
    wait += "if not place.exists():\n    place.touch()\n    time.sleep(86400)\n"
    script.write_text(wait + script.read_text())
    write_config(workflow)
    run = Submission(workflow, slurm, "--", "results/digits/dataset.h5")
    try:
        end = monotonic() + PATIENCE
        while not begun.exists():
            assert run.running and monotonic() < end, run.output
            sleep(0.5)
        urgent = ["sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null"]
        subprocess.run([*urgent, "--wrap=sleep 1"], env=slurm, check=True, timeout=PATIENCE)
        run.wait(PATIENCE)
    finally:
        run.stop()
    assert run.status == 0, run.output
    first, second = run.jobs()
    assert (first.state, second.state) == ("PREEMPTED", "COMPLETED")
    assert run.output.count(" ended as PREEMPTED. It counts as failed.") == 1
