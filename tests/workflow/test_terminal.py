"""A run on a terminal has a bar of all its jobs; what Snakemake prints is as it was."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def on_a_terminal(*words: str) -> str:
    """What a run shows on a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    line = "from purification.command_line import main; main()"
    command = [sys.executable, "-P", "-c", line, "--cores", "1", *words]
    shown = b""
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=theirs, stderr=theirs) as run:
        os.close(theirs)
        while True:
            try:
                read = os.read(ours, 1 << 16)
            except OSError:  # Linux says so at the end
                break
            if not read:
                break
            shown += read
    os.close(ours)
    assert run.returncode == 0, shown.decode()
    return shown.decode()


def test_a_bar_counts_the_jobs_of_a_run(tmp_path: Path) -> None:
    target = f"{tmp_path}/runs/digits/dataset.h5"
    shown = on_a_terminal("--config", f"results={tmp_path}/runs", "--", target)
    assert "0 of 1 jobs" in shown
    assert re.search(r"100%\|.*\| 1 of 1 jobs, \d\d:\d\d passed, about 00:00 left", shown)
    # Lines are whole, and the bar is gone at the end.
    lines = [line.rsplit("\r", 1)[-1] for line in shown.replace("\r\n", "\n").split("\n")]
    assert any("1 of 1 steps (100%) done" in line for line in lines)
    assert not lines[-1].strip()
