"""Jobs that want more memory than there is: which key to lower, and whose log tells of none."""

import errno
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from purification.disk import chain

START, END = "start-up and imports:", "end of the job"
"""How a log begins, and its last line begins unless the job failed or was killed."""
OUT_OF_MEMORY = "out of memory: "
"""How the advice to a job begins that noticed itself."""
# RuntimeErrors of torch, on CPUs and on CUDA, and what C++ prints before it aborts.
_WORDS = re.compile(
    r"can't allocate memory|not enough memory|out of memory|bad_alloc|bad allocation"
    r"|Cannot allocate memory|_ALLOC_FAILED"
)
_ATTACK = "batch_size.attack (no result depends on it)"
_PURIFICATION = "batch_size.purification (no result depends on it)"
_KEYS = {
    "attack_": _ATTACK,
    "craft_": _ATTACK,
    "purify_": _PURIFICATION,
    "search_sweep": _PURIFICATION,
    "score_images": _PURIFICATION,
    "follow_training": _PURIFICATION,
    "train_substitute": f"{_PURIFICATION} or substitute.batch_size (another makes another network)",
    "train_": "the batch_size of this network (another makes another network)",
    "time_search": "table13.largest_batch",
    "measure_inference_rule": "inference_rule.batch",
}
"""Beginnings of the rules' names, and the key of the config that their memory grows with."""
# As Snakemake shows a failed job: the logs of the script and, on a cluster, of the batch system.
_FAILED_LOGS = re.compile(r"^ +log: (.+) \(check log file\(s\) for error details\)$", re.MULTILINE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it came of, is about memory: Python's, NumPy's or torch's."""
    return any(
        isinstance(one, MemoryError)
        or (isinstance(one, OSError) and one.errno == errno.ENOMEM)
        or (isinstance(one, RuntimeError) and bool(_WORDS.search(str(one))))
        for one in chain(error)
    )


def advice(rule: str) -> str:
    """What to change where a job of that rule wants more memory than there is."""
    [*keys] = (key for start, key in _KEYS.items() if rule.startswith(start))
    lower = f"Lower {keys[0]} in the config, or run" if keys else "Run"
    return (
        f"{lower} fewer jobs at a time (--cores, --resources mem_mb=...); on SLURM ask for more: "
        f"--set-resources {rule or 'RULE'}:mem_mb=..."
    )


def rule_of(log: str | Path) -> str:
    """The rule that writes the log `logs/<rule>/...`, or that below the results' folder; "" if it
    has another place."""
    # The last: the results' folder can have that name, too.
    *_, rule = "", *(rule for top, rule in pairwise(Path(log).parts[:-1]) if top == "logs")
    return rule


def explain_killed(run_logs: str | Iterable[str]) -> list[str]:
    """What to say at the end of a run, from Snakemake's own logs of it, of those failed jobs whose
    logs give no advice: that were killed, or that C++ aborted for want of memory. Two lines for
    each, with its log."""
    # The name of one log, or a list of them, by the version.
    paths = map(Path, [run_logs] if isinstance(run_logs, str) else run_logs)
    shown = "".join(path.read_text(errors="replace") for path in paths if path.is_file())
    logs = [log for found in _FAILED_LOGS.findall(shown) for log in found.split(", ")]
    reasons = {log: _reason(Path(log)) for log in logs}
    return [
        line
        for log, reason in reasons.items()
        if reason
        for line in (f"{log}: {reason}", advice(rule_of(log)))
    ]


def _reason(log: Path) -> str:
    """Why the job of a log ended, where the log does not say; otherwise ""."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    if not text.startswith(START) or OUT_OF_MEMORY in text:
        return ""
    if "Fatal Python error" in text:
        return "out of memory (std::bad_alloc)" if "bad_alloc" in text else ""
    if re.search(rf"^({END}|Traceback)", text, re.MULTILINE):
        return ""
    return (
        "the job was killed, and could say nothing itself. Unless somebody ended it, it most "
        "likely wanted more memory than there is (on SLURM: than it had asked for, or more time)."
    )
