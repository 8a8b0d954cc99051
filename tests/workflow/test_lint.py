"""Snakemake's own opinion of the workflow."""

import re

from conftest import REPOSITORY, environment, snakemake


def test_lint_complains_of_nothing_but_missing_containers() -> None:
    """The environment is pip's (requirements.txt), one for all rules: no conda line in each."""
    result = snakemake(REPOSITORY, "--lint", environment=environment())
    complaints = set(re.findall(r"^ +\* (.*)$", result.stdout, re.MULTILINE))
    assert complaints == {"Specify a conda environment or container for each rule.:"}
