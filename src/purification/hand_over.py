"""How a job that has begun hands its script over to a starter (`warm_start`), and waits.

Every job comes by here, so that this imports little: what takes longest is that.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

VARIABLE = "PURIFICATION_STARTER"
"""In the environment of a job: the socket of its starter. Where a user sets it to nothing, there is
none."""
BEFORE_A_SCRIPT = {"sys", "pickle", "snakemake", "logger", "Snakemake"}
"""The names in `__main__` that Snakemake's preamble brings; one of its values can import us."""


class Fork:
    """The process of a script in a fork of the starter at `place`.

    arguments: the script's place and its words. It has that search path (by default the starter's),
    working directory, environment and, by their numbers, streams.

    Raises OSError if there is no starter, or if it does not fork for this script.
    """

    process: int
    """Its number."""

    def __init__(
        self,
        place: str,
        arguments: Sequence[str],
        *,
        path: Sequence[str] | None = None,
        folder: str | os.PathLike[str],
        environment: Mapping[str, str],
        streams: tuple[int, int, int] = (0, 1, 2),
    ) -> None:
        request = {
            **{"arguments": arguments, "path": path, "folder": str(folder)},
            "environment": dict(environment),
        }
        message = json.dumps(request).encode()
        self._starter = socket.socket(socket.AF_UNIX)
        try:
            self._starter.connect(place)
            socket.send_fds(self._starter, [len(message).to_bytes(8)], streams)
            self._starter.sendall(message)
            self.process = self._number("it does not fork for this script")
        except OSError:
            self._starter.close()
            raise

    def wait(self) -> int:
        """How it ended, as `subprocess` says it: its exit status, or minus the number of a signal.

        Raises OSError if the starter has ended, and the fork with it.
        """
        with self._starter:
            return self._number("the process that started this job has ended, and the job with it")

    def _number(self, otherwise: str) -> int:
        data = received(self._starter, 4)
        if len(data) < 4:
            raise ConnectionError(otherwise)
        return int.from_bytes(data, signed=True)


def hand_over() -> None:
    """In a Snakemake script that has not begun yet: runs it in a fork of the starter, and ends as
    that ended. Returns if there is none."""
    place = os.environ.get(VARIABLE)
    begun = {name for name in vars(sys.modules["__main__"]) if not name.startswith("__")}
    folder = sys.argv[0].split(os.sep)[-2:-1]  # noqa: PTH206 (pathlib takes longer to import than all else here)
    if not place or folder != ["scripts"] or begun - BEFORE_A_SCRIPT:
        return
    # Ctrl-C reaches the fork as well, and how it ends is what this process waits for.
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        here = os.getcwd()  # noqa: PTH109 (nor here)
        fork = Fork(place, sys.argv, path=sys.path, folder=here, environment=os.environ)
    except OSError:
        signal.signal(signal.SIGINT, interrupted)
        return
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(fork.process, number))
    try:
        end_as(fork.wait())
    except OSError as error:
        sys.exit(str(error))


def end_as(code: int) -> NoReturn:
    """Ends this process with an exit status, or by a signal if that is negative."""
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 1)


def received(connection: socket.socket, size: int) -> bytes:
    """So many bytes, fewer if there come no more."""
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data
