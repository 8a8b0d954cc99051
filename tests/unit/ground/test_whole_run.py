"""The bar of a whole run: what it estimates, and what it leaves of a terminal's lines."""

import io
import logging
from collections.abc import Iterator
from enum import Enum
from typing import Any

import pytest

from purification.whole_run import AboveBar, TimeLeft, show_whole_run

Event = Enum("Event", ["JOB_STARTED", "JOB_FINISHED", "PROGRESS"])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.Logger("a run's", logging.INFO)
    yield logger
    for handler in logger.handlers:
        handler.close()


def tell(logger: logging.Logger, event: Event, **more: Any) -> None:
    logger.info(event.name.lower(), extra={"event": event, **more})


def test_the_time_left_is_of_rules_and_of_how_many_run_at_a_time() -> None:
    left = TimeLeft({1: "train", 2: "train", 3: "attack", 4: "attack", 5: "table"})
    assert left.seconds(0, 5) is None
    left.start(1, 0)
    left.start(3, 0)
    left.finish(3, 10)
    # One job of 10 s: each of the four others is taken for it, and 10 s of the first are done. In
    # these 10 s two ran at a time.
    assert left.seconds(0, 10) == pytest.approx((4 * 10 - 10) / 2)
    left.finish(1, 40)
    # Rules by their own means, 40 and 10 s, the table by that of all; 50 s of work in 40 s.
    assert left.seconds(0, 40) == pytest.approx((40 + 10 + 25) / (50 / 40))
    left.start(2, 40)
    # One that runs for longer than its rule's mean has nothing left, not less.
    assert left.seconds(0, 100) == pytest.approx((10 + 25) / (110 / 100))
    for job in (2, 4, 5):
        left.finish(job, 120)
    assert left.seconds(0, 120) == 0


def test_a_job_that_a_run_did_not_plan_changes_nothing() -> None:
    left = TimeLeft({1: "train", 2: "train"})
    left.start(7, 0)
    left.finish(7, 1)
    left.start(1, 0)
    left.finish(1, 4)
    assert left.seconds(0, 4) == pytest.approx(4)


def test_lines_in_pieces_stay_whole(logger: logging.Logger) -> None:
    screen = Terminal()
    logger.addHandler(logging.StreamHandler(screen))
    assert show_whole_run(logger, {1: "train"}) is not None
    stream = AboveBar(screen)
    assert stream.isatty()
    before = len(screen.getvalue())
    for piece in ("\033[32m", "a line", "\033[0m"):
        stream.write(piece)
    assert len(screen.getvalue()) == before
    stream.write("\n")
    assert "\033[32ma line\033[0m\n" in screen.getvalue()[before:]


def test_the_bar_follows_the_records(logger: logging.Logger) -> None:
    screen = Terminal()
    logger.addHandler(logging.StreamHandler(screen))
    bar = show_whole_run(logger, {1: "train", 2: "train", 3: "table"})
    assert bar is not None
    assert "0 of 3 jobs" in screen.getvalue() and "left" not in screen.getvalue()
    tell(logger, Event.JOB_STARTED, jobs=[1])
    tell(logger, Event.JOB_FINISHED, job_id=1)
    tell(logger, Event.PROGRESS, done=1, total=3)
    *_, last = screen.getvalue().split("\r")
    assert "33%" in last and "1 of 3 jobs" in last and "about" in last
    assert "job_started\n" in screen.getvalue()
    # A checkpoint, say, has made the run longer.
    tell(logger, Event.PROGRESS, done=2, total=8)
    assert "25%" in screen.getvalue().split("\r")[-1]
    bar.close()
    # Nothing of it stays.
    assert not screen.getvalue().split("\r")[-1].strip()


def test_without_a_terminal_nothing_is_shown(logger: logging.Logger) -> None:
    file = io.StringIO()
    logger.addHandler(logging.StreamHandler(file))
    assert show_whole_run(logger, {1: "train"}) is None
    logger.info("a line")
    assert file.getvalue() == "a line\n"
