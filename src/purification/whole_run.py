"""A bar of a whole Snakemake run, on a terminal, below what Snakemake prints."""

import atexit
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

_LAYOUT = "{percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} jobs, {elapsed} passed{postfix}"
_BETWEEN = 1.0
"""Seconds from one look at the clock to the next."""


class AboveBar:
    """A text stream whose whole lines are written above all bars."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = ""

    def write(self, text: str) -> int:
        # Snakemake writes a message and the end of its line in pieces, between which no bar is to
        # be drawn.
        self._begun += text
        if self._begun.endswith("\n"):
            tqdm.write(self._begun, file=self._stream, end="")
            self._begun = ""
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class TimeLeft:
    """An estimate from the jobs of a run that are finished: a job takes the mean of its rule, or
    of all if none of its rule is finished, and as many run at a time as did so far.

    Args:
        rules: of the jobs to be run, the name of the rule of each by the job's number.
    """

    def __init__(self, rules: Mapping[int, str]) -> None:
        self._rules = dict(rules)
        self._left = Counter(self._rules.values())
        self._began: dict[int, float] = {}
        self._took: dict[str, list[float]] = defaultdict(list)

    def start(self, job: int, now: float) -> None:
        self._began[job] = now

    def finish(self, job: int, now: float) -> None:
        began, rule = self._began.pop(job, None), self._rules.get(job)
        if rule is None:
            return
        self._left[rule] -= 1
        if began is not None:
            self._took[rule].append(now - began)

    def seconds(self, begin: float, now: float) -> float | None:
        """From `now` to the end of a run that began at `begin`; None as long as no job is
        finished."""
        every = [seconds for own in self._took.values() for seconds in own]
        if not every or now <= begin:
            return None
        running = {job: now - began for job, began in self._began.items()}
        mean = sum(every) / len(every)
        means = {rule: sum(own) / len(own) for rule, own in self._took.items()}
        work = sum(count * means.get(rule, mean) for rule, count in self._left.items())
        work -= sum(
            min(seconds, means.get(self._rules.get(job, ""), mean))
            for job, seconds in running.items()
        )
        at_once = (sum(every) + sum(running.values())) / (now - begin)
        return work / max(at_once, 1e-9)


class WholeRun(logging.Handler):
    """Moves a bar by the records that Snakemake logs of its jobs."""

    def __init__(self, rules: Mapping[int, str], stream: TextIO) -> None:
        super().__init__()
        self._left = TimeLeft(rules)
        self._begin = time.monotonic()
        self._end = threading.Event()
        self._bar: tqdm[Any] = tqdm(
            *(), total=len(rules), file=stream, bar_format=_LAYOUT, leave=False, dynamic_ncols=True
        )
        # A job may take an hour, in which nothing is logged.
        self._clock = threading.Thread(target=self._tick, daemon=True)
        self._clock.start()

    def emit(self, record: logging.LogRecord) -> None:
        event, now = getattr(record, "event", None), time.monotonic()
        name = getattr(event, "name", "")
        if name == "JOB_STARTED":
            for job in getattr(record, "jobs", ()):
                self._left.start(job, now)
        elif name == "JOB_FINISHED":
            self._left.finish(getattr(record, "job_id", -1), now)
        elif name == "PROGRESS":
            self._bar.total, self._bar.n = record.total, record.done  # type: ignore[attr-defined]
            self._show()

    def close(self) -> None:
        self._end.set()
        self._bar.close()
        super().close()

    def _tick(self) -> None:
        while not self._end.wait(_BETWEEN):
            self._show()

    def _show(self) -> None:
        seconds = self._left.seconds(self._begin, time.monotonic())
        if seconds is not None:
            left = tqdm.format_interval(max(seconds, 0))
            self._bar.set_postfix_str(f"about {left} left", refresh=False)
        self._bar.refresh()


def show_whole_run(logger: logging.Logger, rules: Mapping[int, str]) -> WholeRun | None:
    """Show the bar where the logger of a run writes to a terminal; elsewhere nothing.

    Args:
        logger: Snakemake's.
        rules: as `TimeLeft`.
    """
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream.isatty():
            bar = WholeRun(rules, handler.stream)
            handler.stream = AboveBar(handler.stream)
            logger.addHandler(bar)
            atexit.register(bar.close)
            return bar
    return None
