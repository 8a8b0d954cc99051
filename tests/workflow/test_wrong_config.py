"""A wrong config ends a run of Snakemake at once."""

import time
from typing import Any

from conftest import Workflow


def test_snakemake_refuses_a_wrong_config_in_seconds(tmp_path: Any) -> None:
    workflow = Workflow(tmp_path / "workflow")
    workflow.config["attacks"]["fgsm"]["epsilonn"] = 0.1
    start = time.monotonic()
    result = workflow.run("results/table4.csv", check=False)
    assert result.returncode != 0
    assert "attacks.fgsm: unknown key 'epsilonn' (did you mean 'epsilon'?)" in result.stdout
    assert "Traceback" not in result.stdout
    assert time.monotonic() - start < 60
    assert not (workflow.folder / "results").exists()
