"""A command line of Snakemake, in a fork of a process that has imported Snakemake (conftest.py).

Arguments: the starter of the run's jobs, `snakemake` or `python -m snakemake`, and its words.

A job's script goes to that starter at once. A user's goes there by a Python of its own, which takes
longer than most of the tests' jobs: `Workflow.start` is a user's, and so are the jobs on SLURM.
"""

# Also what a dry run and a report import late. The starter reads these lines.
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docutils.core  # noqa: F401
import nbformat  # noqa: F401
import prepared  # noqa: F401
import pygments.formatters  # noqa: F401
import requests  # noqa: F401
import smart_open  # noqa: F401
import snakemake.assets
import snakemake.cli
import snakemake.persistence.file
import snakemake.profiles
import snakemake.report.html_reporter
import snakemake.storage
import snakemake_executor_plugin_slurm  # noqa: F401
import yte  # noqa: F401

from purification import command_line, hand_over, warm_start


class Job(hand_over.Fork):
    """The process of a job's script, as Snakemake waits for it."""

    def __init__(self, words: list[str], environment: Mapping[str, str]) -> None:
        super().__init__(
            environment[warm_start.VARIABLE],
            words,
            # Which Python puts first, and which stays below what a script itself adds.
            path=[str(Path(words[0]).parent), *sys.path],
            folder=Path.cwd(),
            environment=environment,
        )
        self.pid = self.process


def popen(command: str, **how: Any) -> Any:
    """What Snakemake calls for all that it runs."""
    words = shlex.split(command.rpartition(";")[2])
    if words[:1] == [sys.executable] and "/.snakemake/scripts/" in words[-1]:
        return Job(words[1:], how["env"])
    return subprocess.Popen(command, **how)


# The package has a class of the module's name.
sys.modules["snakemake.shell"].sp = SimpleNamespace(**vars(subprocess) | {"Popen": popen})
os.environ[warm_start.VARIABLE], command, *words = sys.argv[1:]
sys.argv[:] = ["snakemake", *words]
if command == "snakemake":
    command_line.main()
sys.path.insert(0, str(Path.cwd()))
snakemake.cli.main()
