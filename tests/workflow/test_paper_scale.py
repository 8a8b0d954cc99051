"""config/paper.yaml in miniature: jobs of all kinds of the four papers' targets, on made-up files
in the forms of the official ones. Every length in the config is short, all else is as it was.

    PURIFICATION_EVERY_JOB=1 python -m pytest tests/workflow/test_paper_scale.py

runs not one job of each kind, but all: some five CPU minutes.
"""

import json
import os
import re
from typing import Any

import pytest
from conftest import TESTS, Workflow, in_fork, merged, starters
from miniature import miniature, paper_in_miniature

from purification.experiments import PAPERS

EVERY_JOB = bool(os.environ.get("PURIFICATION_EVERY_JOB"))
MOST = 13
"""Jobs that an example of a kind may need."""
SUMMARIES = re.compile(r"measure.*|plot_.*|.*_table|.*detection|paper_page")
"""Rules of what is read from the files of many jobs. Tests on the digits have each of them."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of the jobs that were run (`in_one_process`)."""
    workflow = Workflow(tmp_path_factory.mktemp("paper") / "workflow")
    workflow.config = paper_in_miniature()
    words = workflow._words(*PAPERS, options=("-n", "--quiet", "all", "--cores", "1"))
    script, told = str(TESTS / "in_one_process.py"), workflow.folder / "told.json"
    done = in_fork(
        *(starters()[1], script, str(told), "0" if EVERY_JOB else str(MOST), *words),
        folder=workflow.folder,
        environment=workflow.environment,
    )
    if done.returncode:
        pytest.fail(done.stdout, pytrace=False)
    return json.loads(told.read_text())


@pytest.mark.slow
def test_jobs_of_every_kind_run(told: dict[str, Any]) -> None:
    kinds, run, left_out = (
        {tuple(kind[:3]) for kind in told[key]} for key in ("kinds", "kinds_run", "left_out")
    )
    assert run | left_out == kinds and not run & left_out
    assert told["run"] <= told["jobs"]
    if EVERY_JOB:
        assert told["run"] == told["jobs"] and not left_out
    # A job that trains, attacks or purifies is always among them.
    assert [kind for kind in sorted(left_out) if not SUMMARIES.fullmatch(kind[0])] == []
    data = {kind for rule, kind, _ in run if rule == "prepare_dataset"}
    assert {"mnist", "fmnist", "cifar10", "svhn", "celeba"} <= data


def test_a_number_that_may_be_a_length_is_told() -> None:
    config = {"generators": {"wgan_gp": {"iterations": 200_000, "latent": 128}}}
    assert miniature(config)["generators"]["wgan_gp"]["iterations"] <= 10
    with pytest.raises(KeyError, match=r"sleeps: 8: .*does not say whether it is a length"):
        miniature(merged(config, {"generators": {"wgan_gp": {"sleeps": 8}}}))
