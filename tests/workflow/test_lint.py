"""Snakemake's own opinion of the workflow."""

import re
import subprocess
import sys

from conftest import REPOSITORY


def test_lint_complains_of_nothing_but_missing_containers() -> None:
    """The environment is pip's (requirements.txt), one for all rules: no conda line in each."""
    command = [sys.executable, "-m", "snakemake", "--lint"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    complaints = set(re.findall(r"^ +\* (.*)$", result.stdout + result.stderr, re.MULTILINE))
    assert complaints == {"Specify a conda environment or container for each rule.:"}
