"""A job that was killed is explained at the end of the run."""

import os
from pathlib import Path

import pytest
from conftest import Workflow

DATASET = "results/digits/dataset.h5"


@pytest.mark.parametrize("targets", [[DATASET], [DATASET, "results/digits_black_box/dataset.h5"]])
def test_a_killed_job_is_explained_at_the_end_of_the_run(
    targets: list[str], tmp_path: Path
) -> None:
    """Of one job, which Snakemake runs itself, and of several."""
    workflow = Workflow(tmp_path / "workflow")
    script = workflow.folder / "workflow/scripts/prepare_dataset.py"
    tell = "import sys\nopen(snakemake.log[0] + '.by', 'w').write(str(sys.orig_argv))\n"
    kill = f"\n{tell}import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    script.write_text(script.read_text() + kill)
    options = ("--cores", "2", "--keep-going")
    if len(targets) == 1:  # with a starter of its own
        process = workflow.start(*targets, options=options)
        printed, status = process.communicate()[0], process.returncode
    else:
        failed = workflow.run(*targets, options=options, check=False)
        printed, status = failed.stdout, failed.returncode
    assert status != 0
    for target in targets:
        log = f"logs/prepare_dataset/{target.split('/')[1]}.log"
        assert printed.count(f"{log}: the job was killed") == 1, printed
        if hasattr(os, "pidfd_open"):
            assert "warm_start" in (workflow.folder / f"{log}.by").read_text()
    assert "on SLURM ask for more: --set-resources prepare_dataset:mem_mb=" in printed
    script.write_text(script.read_text().replace(kill, "\nraise ValueError('told')\n"))
    failed = workflow.run(DATASET, check=False)
    assert "ValueError: told" in failed.stdout and "the job was killed" not in failed.stdout
