"""How jobs of SLURM end, also where the executor does not know it. Without a SLURM."""

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY

# Job states of squeue(1) in which a job does not run any more.
ENDS = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL")
ENDS += ("OUT_OF_MEMORY", "PREEMPTED", "RECONFIG_FAIL", "TIMEOUT")
# Those that snakemake-executor-plugin-slurm 2.8.0 takes for an end.
KNOWN = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"}
KNOWN |= {"TIMEOUT", "ERROR"}


@pytest.fixture
def count_every_end() -> Callable[..., None]:
    names: dict = {}
    exec((REPOSITORY / "workflow/rules/slurm.smk").read_text(), names)
    return names["count_every_end"]


def executor_that_sees(states: dict[str, str] | None) -> SimpleNamespace:
    async def query_job_status(command: str, logger: logging.Logger) -> tuple:
        assert command == "squeue"
        return (None, None) if states is None else (dict(states), 0.1)

    return SimpleNamespace(query_job_status=query_job_status)


def asked(executor: SimpleNamespace) -> tuple:
    return asyncio.run(executor.query_job_status("squeue", logging.getLogger("test")))


def test_every_end_is_one_that_the_executor_knows(
    count_every_end: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    states = dict(enumerate(ENDS)) | {"by": "CANCELLED by 1000", "r": "RUNNING", "p": "PENDING"}
    executor = executor_that_sees(states)
    count_every_end(SimpleNamespace(no_requeue=True), executor)
    for _ in range(2):
        seen, seconds = asked(executor)
        assert seconds == 0.1
        assert {seen[job] for job in range(len(ENDS))} <= KNOWN
        for job, state in enumerate(ENDS):
            assert seen[job] == (state if state in KNOWN else "FAILED")
        assert (seen["by"], seen["r"], seen["p"]) == ("CANCELLED", "RUNNING", "PENDING")
    assert sorted(record.message.split()[5].strip(".") for record in caplog.records) == [
        *("LAUNCH_FAILED", "PREEMPTED", "RECONFIG_FAIL")
    ]


def test_a_query_that_fails_stays_one(count_every_end: Callable[..., None]) -> None:
    executor = executor_that_sees(None)
    count_every_end(SimpleNamespace(no_requeue=True), executor)
    assert asked(executor) == (None, None)


def test_nothing_changes_where_slurm_requeues_or_is_not_used(
    count_every_end: Callable[..., None],
) -> None:
    for settings in (SimpleNamespace(no_requeue=False), None):
        executor = executor_that_sees({"1": "PREEMPTED"})
        before = executor.query_job_status
        count_every_end(settings, executor)
        assert executor.query_job_status is before
    count_every_end(None, None)
