"""Jobs that begin with their libraries loaded.

A job of this workflow is a Python process of its own, and imports torch, HDF5 or seaborn before
its first line of work: seconds of CPU time, more than many a job computes. So beside Snakemake
runs one process more, the starter, which imports what the scripts import, each library once, and
then forks: a job hands its script over before it imports anything itself (`hand_over`), and waits.
The script runs in the fork with the job's environment, folder and streams, and the job ends as it
ends.

For jobs on this machine, on Linux. All others start as usual: those on a cluster, and any for which
there is no starter. What a job used is the last line of its log; a rule's `benchmark` would measure
the process that waits.

Several attacks in one job would save starts, too. But one file would then be stale with another's
settings, and only these jobs would gain. A fork is refused where a library has started threads, and
it ends without freeing what the libraries hold.
"""

import ast
import atexit
import ctypes
import gc
import importlib
import io
import json
import os
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple, NoReturn

from purification.hand_over import VARIABLE, end_as, received

PR_SET_PDEATHSIG = 1
FINALIZERS: list[Mapping[Any, Any]] = []
"""In a job: those that were registered before the fork."""
LATE = {
    # The values that Snakemake gives a script, recipes among them, and the log's last line.
    "purification.runtime": ("purification.experiments", "snakemake.io", "psutil"),
    "purification.attacks": ("torch.fx.experimental.symbolic_shapes",),
    "purification.training": ("torch._dynamo",),
    "purification.reporting.figures": (
        "purification.reporting.plotting",
        "matplotlib.backends.backend_pdf",
    ),
}
"""What is imported late, by what jobs import that all come to it: when their values are read, by
torch itself at the first gradient of given outputs and at the first optimizer, by pictures at the
first figure. Each takes a quarter of a second or more."""
LATE_BY_SCRIPT = {
    "purification.datasets": ("torch", "sklearn.datasets"),
    "purification.evaluation.detection_rows": ("sklearn.metrics",),
    "purification.evaluation.discriminator": ("sklearn.metrics",),
    "purification.reporting.detection": ("sklearn.metrics",),
    "purification.reporting.detection_curves": ("sklearn.metrics",),
}
"""The same, by what a script itself imports: others come to these modules, too, and never call what
needs more, the digits or the area under a curve."""


def open_starter() -> None:
    """Called by Snakemake's main process before its jobs, which find the starter by their
    environment. Runs to which their environment gives one already share that."""
    place = os.environ.get(VARIABLE)
    if place == "" or not hasattr(os, "pidfd_open") or (place and Path(place).is_socket()):
        return
    try:
        starter = Starter()
    except OSError:  # too long a path for a socket, or a file system without any
        return
    os.environ[VARIABLE] = starter.place
    atexit.register(starter.close)


class Starter:
    """A process that forks for each script that is handed over. It ends with the process that opens
    it, or with its last fork if that process was killed.

    Raises OSError where there can be no socket.
    """

    place: str
    """Its socket."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="purification-"))  # for this user alone
        self.place = str(folder / "starter")
        with socket.socket(socket.AF_UNIX) as listener:
            try:
                listener.bind(self.place)
            except OSError:
                folder.rmdir()
                raise
            listener.listen(128)
            # No threads: there must be none when it forks. torch has its number of threads from
            # the job.
            names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
            code = "from purification.warm_start import serve; serve()"
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, self.place, str(listener.fileno())],
                stdin=subprocess.PIPE,  # its end is that of this process
                stdout=subprocess.DEVNULL,
                env=os.environ | dict.fromkeys(names, "1"),
                pass_fds=[listener.fileno()],
            )

    def close(self) -> None:
        """Waits for it, so that what it used counts as this process's."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # a job is left
            self._process.wait(timeout=5)
        shutil.rmtree(Path(self.place).parent, ignore_errors=True)


def serve() -> NoReturn:
    """The starter's work, until Snakemake and its jobs have ended, and in a fork the job's."""
    place, listener = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    # Ctrl-C reaches all processes of a terminal. The jobs end by it, and then this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs: set[_Job] = set()
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(0, selectors.EVENT_READ)
    while jobs or listener.fileno() >= 0:
        for key, _ in selector.select():
            if key.fileobj == 0:  # Snakemake has ended
                selector.unregister(0)
                selector.unregister(listener)
                listener.close()
                shutil.rmtree(Path(place).parent, ignore_errors=True)
            elif key.fileobj is listener and listener.fileno() >= 0:
                connection, _ = listener.accept()
                request = _request(connection)
                process = os.fork() if _loaded(request) else None
                if process == 0:
                    selector.close()
                    for one in (listener, connection, *(job.connection for job in jobs)):
                        one.close()
                    for job in jobs:
                        os.close(job.pidfd)
                    _run(_as_the_job(request))
                for stream in request["streams"]:
                    os.close(stream)
                if process is None:
                    connection.close()
                    continue
                job = _Job(process, os.pidfd_open(process), connection)
                jobs.add(job)
                for end in (job.pidfd, connection):
                    selector.register(end, selectors.EVENT_READ, data=job)
                _send(connection, process.to_bytes(4, signed=True))
            elif key.data not in jobs:  # told of in the same breath as its end
                continue
            elif key.fileobj is key.data.connection:  # who waits for the job was killed
                selector.unregister(key.fileobj)
                os.kill(key.data.process, signal.SIGKILL)
            else:
                jobs.remove(key.data)
                _tell_end(selector, key.data)
    atexit._run_exitfuncs()
    os._exit(0)


def _tell_end(selector: selectors.BaseSelector, job: "_Job") -> None:
    """Of a job's process that has ended: to who waits for it."""
    selector.unregister(job.pidfd)
    os.close(job.pidfd)
    if job.connection in selector.get_map():
        selector.unregister(job.connection)
    _, status = os.waitpid(job.process, 0)
    _send(job.connection, os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))
    job.connection.close()


class _Job(NamedTuple):
    """A job in a fork: its process, what is readable at its end, and the connection to who waits
    for it."""

    process: int
    pidfd: int
    connection: socket.socket


def _send(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # nobody waits any more
        connection.sendall(data)


def _request(connection: socket.socket) -> dict[str, Any]:
    """What a job asks for, with its `streams`; these alone if it has gone."""
    connection.settimeout(10)
    streams: list[int] = []
    try:
        size, streams, _, _ = socket.recv_fds(connection, 8, 3)
        message = received(connection, int.from_bytes(size))
        return json.loads(message) | {"streams": streams}
    except (OSError, ValueError):
        return {"streams": streams}


def _loaded(request: dict[str, Any]) -> bool:
    """Imports what the job's script imports. False if there is nothing to fork for, or that would
    not be safe: where a library has started threads of its own."""
    if "arguments" not in request:
        return False
    try:
        script = Path(request["arguments"][0])
        tree = ast.parse(script.read_text(), script)
        request["code"] = compile(tree, script, "exec")
        names = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        names |= {
            one.name for node in tree.body if isinstance(node, ast.Import) for one in node.names
        }
    except (OSError, SyntaxError, ValueError):
        return False
    before = len(sys.modules)
    for name in sorted(filter(None, names)):
        try:
            importlib.import_module(name)
        except Exception:  # the job will meet it, too, and say so in its log
            continue
    late = [late for early, late in LATE.items() if early in sys.modules]
    late += [late for early, late in LATE_BY_SCRIPT.items() if early in names]
    for modules in late:
        for name in modules:
            with suppress(ImportError):  # of another version of torch
                importlib.import_module(name)
    if len(sys.modules) > before:
        gc.collect()
        gc.freeze()  # else the collector would touch, and so copy, all pages that the jobs share
    return len([*Path("/proc/self/task").iterdir()]) == 1


def _as_the_job(request: dict[str, Any]) -> CodeType:
    """Makes a fork what the job's own process would be, up to its script."""
    # Should the starter be killed, nobody would tell of this job's end.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number, stream in enumerate(request["streams"]):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    os.environ.pop(VARIABLE, None)
    sys.argv[:], sys.path[:] = request["arguments"], request["path"] or sys.path
    # What a library has made when it was imported, as matplotlib where it has no folder of the
    # user's, is for all jobs, and the starter removes it.
    atexit.unregister(shutil.rmtree)
    # So are finalizers, such as a temporary folder's. torch has hundreds, for its operators: to run
    # them would touch 40 MB that the jobs share. Kept, because to free them would as well.
    FINALIZERS.append(weakref.finalize._registry)
    weakref.finalize._registry = {}
    # As in any new process, these differ from job to job where nobody seeds them.
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()  # of the CPU; CUDA is not in use yet
    main = vars(sys.modules["__main__"])
    for name in [name for name in main if not name.startswith("__")]:
        del main[name]
    main["__file__"] = sys.argv[0]
    code: CodeType = request["code"]
    return code


def _run(code: CodeType) -> NoReturn:
    """Executes a script at the top of `__main__`, and ends the process as Python would, but for one
    thing: what the libraries have made is not freed. To take that apart costs a third of a second a
    job, and those written with nanobind (triton) call a leak what `gc.freeze` put away.
    """
    status, interrupted, libraries = 0, False, frozenset(sys.modules)
    try:
        exec(code, vars(sys.modules["__main__"]))
    except SystemExit as end:
        status = _status_of(end)
    except BaseException as error:
        status, interrupted = 1, isinstance(error, KeyboardInterrupt)
        # Without this function.
        _show(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
    threading._shutdown()  # waits for the script's threads
    atexit._run_exitfuncs()
    _close_files(libraries)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # None, full, closed
            stream.flush()
    ctypes.CDLL(None).fflush(None)  # and those of libraries
    if interrupted:
        end_as(-signal.SIGINT)
    os._exit(status)


def _show(error: BaseException) -> None:
    """As Python shows what ends a script, also where the script's own hook fails at it."""
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except Exception as wrong:
        print("Error in sys.excepthook:", file=sys.stderr)
        trace = wrong.__traceback__ and wrong.__traceback__.tb_next
        traceback.print_exception(type(wrong), wrong, trace, chain=False)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, error.__traceback__)


def _close_files(libraries: frozenset[str]) -> None:
    """What a script and users' modules have left open is written to the end, as where Python frees
    it. `libraries`: the modules that were there before the script."""
    threading.excepthook = lambda _: None  # of daemon threads, which find nothing any more
    own, installed = [sys.modules["__main__"]], _installed()
    for name in sys.modules.keys() - libraries:
        file = getattr(sys.modules[name], "__file__", None)
        if file and not file.startswith(installed):
            own.append(sys.modules[name])
    for module in own:
        vars(module).clear()
    gc.collect()
    # What is held elsewhere. Those written in Python (gzip) first: they write to others.
    # The class in C that all are of. `io.IOBase` is abstract, and asks each of its subclasses about
    # each type that it meets first, which takes 50 ms.
    base = io.IOBase.__base__
    left = [one for one in gc.get_objects() if issubclass(type(one), base)]
    for one in sorted(left, key=lambda file: type(file).__module__ == "_io"):
        in_python = type(one).__module__ != "_io" and not isinstance(one, io.RawIOBase)
        with suppress(Exception):  # closed, or full: nobody is told then by Python either
            one.close() if in_python else one.flush()
    if "h5py" in sys.modules:
        h5py = sys.modules["h5py"]
        for number in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE):
            with suppress(Exception):
                h5py.File(number).close()


def _installed() -> tuple[str, ...]:
    """Where libraries lie, which end by themselves: of this Python, and wherever else it finds what
    was installed (for a user alone, or in the environment that this one lies over)."""
    found = [place for place in sys.path if Path(place).name in ("site-packages", "dist-packages")]
    return (sys.prefix, sys.base_prefix, str(Path(__file__).parent), *found)


def _status_of(end: SystemExit) -> int:
    """The exit status; a message is printed."""
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    print(end.code, file=sys.stderr)
    return 1
