"""A command line of Snakemake, in a fork of a process that has imported Snakemake (conftest.py).

Arguments: the starter of the run's jobs, `snakemake` or `python -m snakemake`, and its words.
"""

# Also what a dry run and a report import late. The starter reads these lines.
import os
import sys
from pathlib import Path

import docutils.core  # noqa: F401
import nbformat  # noqa: F401
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
import yaml
import yte  # noqa: F401

from purification import (  # noqa: F401
    command_line,
    config_files,
    edits,
    experiments,
    freshness,
    memory,
    plugins,
    runs,
    runtime,
    warm_start,
)

# Snakemake reads config files by yaml's own loader; libyaml's says the same in a tenth of the time.
yaml.FullLoader = getattr(yaml, "CFullLoader", yaml.FullLoader)
os.environ[warm_start.VARIABLE], command, *words = sys.argv[1:]
sys.argv[:] = ["snakemake", *words]
if command == "snakemake":
    command_line.main()
sys.path.insert(0, str(Path.cwd()))
snakemake.cli.main()
