"""Which run of Snakemake a job belongs to: one whose run is gone puts no result in place.

A killed Snakemake leaves its jobs running. One of them may end after the config was edited and the
next run has made the same file: it would put the old result in place of the new.
"""

import os
import socket
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

VARIABLE = "PURIFICATION_RUN"
"""In the environment of a job: host, process and its birth, the mark of its run and that mark's
file, by spaces."""
MARK = Path(".snakemake/purification_run")
"""The mark of the latest run in a working directory; runs with other folders of results, which can
go on at the same time, have others beside it."""


class RunEnded(RuntimeError):
    """The run that a job was started by is over, or another one has begun since."""


def begin(results: str = "results") -> None:
    """Called by Snakemake's main process before its jobs: they inherit who started them.

    results: the folder that they write to.
    """
    mark = uuid4().hex
    own = "" if results == "results" else "_" + sha256(results.encode()).hexdigest()[:16]
    file = MARK.with_name(MARK.name + own)
    file.parent.mkdir(exist_ok=True)
    file.write_text(mark)
    os.environ[VARIABLE] = f"{here()} {os.getpid()} {_birth(os.getpid())} {mark} {file}"


def here() -> str:
    """This machine, as far as process numbers mean the same: containers have their own. A text
    without blanks, slashes and dots."""
    try:
        space = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:  # no Linux
        space = ""
    return f"{socket.gethostname()[:40]}{space}".replace(".", "_")


def in_a_run() -> bool:
    """Whether this process is a job of a run."""
    return VARIABLE in os.environ


def check_run(path: str | Path) -> None:
    """Raise RunEnded, naming the result `path`, if nobody waits for it any more.

    On the machine of Snakemake its process is looked for; on another one (a SLURM node) the mark
    of a later run in the working directory. Outside of a run nothing is checked.
    """
    if not in_a_run():
        return
    host, process, birth, mark, place = os.environ[VARIABLE].split(" ")
    if host == here():
        if _birth(int(process)) == birth:
            return
        reason = f"its Snakemake (process {process}) has ended"
    else:
        # A folder without mark is no folder of Snakemake's any more.
        file = Path(place)
        if file.is_file() and file.read_text() == mark:
            return
        reason = "another run has begun in its folder"
    raise RunEnded(f"{path}: not put in place, because this job's run is over: {reason}")


def process_runs(process: int) -> bool:
    """Whether there is a process of that number on this machine."""
    return _birth(process) != ""


def _birth(process: int) -> str:
    """When a process began, as a text without blanks; empty if there is none of that number."""
    import psutil

    try:
        found = psutil.Process(process)
        # A dead process of a parent that does not ask for it is still listed.
        if found.status() == psutil.STATUS_ZOMBIE:
            return ""
        return f"{found.create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""
