"""How a job runs: its device and threads, its log, and what is seen of it while it works."""

import atexit
import ctypes
import faulthandler
import io
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from purification import disk, memory

if TYPE_CHECKING:
    import torch

ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], None]

LOG_INTERVAL = 5.0  # seconds between two progress lines of a log
TERMINAL_INTERVAL = 0.5  # the same on a terminal; each drawn figure waits for the GPU once
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h; the latter is 32 MB at most
TAIL_LINES = 15  # last lines of the log that a failed job shows
TAIL_BYTES = 2**16  # how far back in the log these lines are looked for

_original_stderr: TextIO | None = None  # where stderr led before `start` sent it to the log
_failed = False  # whether an exception has ended the job


def find_gpus() -> tuple[list[str], str]:
    """The names of the GPUs that this machine's driver offers to a program, NVIDIA's or else AMD's,
    and where there are none, why. torch would be slow to ask.

    The driver is asked, and no device file looked for: WSL has other ones, a container may have
    them without a driver, and CUDA_VISIBLE_DEVICES may hide every GPU.
    """
    names, why = _cuda_gpus()
    if names:
        return names, ""
    names = _amd_gpus()
    return names, "" if names else f"{why}, and no AMD GPU"


_CUDA = ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1")
"""NVIDIA's driver, as programs load it; WSL has it where not every loader looks."""
_AMD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")


def _cuda_gpus(load: Callable[[str], Any] = ctypes.CDLL) -> tuple[list[str], str]:
    """Those of CUDA's driver interface, or why there are none."""
    driver = None
    for name in _CUDA:
        with suppress(OSError):
            driver = load(name)
            break
    if driver is None:
        return [], "no NVIDIA driver"
    if error := driver.cuInit(0):
        hidden = "the NVIDIA driver offers no GPU"
        return [], hidden if error == _NO_DEVICE else f"NVIDIA's driver failed (error {error})"
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return [], "the NVIDIA driver offers no GPU"
    names = []
    for number in range(count.value):
        text = ctypes.create_string_buffer(256)
        known = driver.cuDeviceGetName(text, len(text), number) == 0
        names.append(text.value.decode(errors="replace") if known else "an NVIDIA GPU")
    return names, ""


_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def _amd_gpus(nodes: Path = _AMD_NODES) -> list[str]:
    """Those of the kernel's driver: of its nodes, processors too, that have a number as a GPU."""
    if "" in (os.environ.get("HIP_VISIBLE_DEVICES"), os.environ.get("ROCR_VISIBLE_DEVICES")):
        return []
    found = []
    for node in sorted(nodes.glob("*/gpu_id")):
        with suppress(OSError):
            found += ["an AMD GPU"] if node.read_text().strip() not in ("", "0") else []
    return found


GPUS_VARIABLE = "PURIFICATION_GPUS"
"""In the environment of a job on the machine of its Snakemake: how many GPUs that asks for."""


def gpus_for_jobs() -> tuple[int, str]:
    """How many GPUs a job may ask for where the config says `auto`, and a line on what was found:
    "" in a job, whose Snakemake has asked the driver already (`grant_gpus`)."""
    if granted := os.environ.get(GPUS_VARIABLE, ""):
        return int(granted), ""
    names, why = find_gpus()
    return min(1, len(names)), told_gpus(names, why)


def grant_gpus(count: int) -> None:
    """Called by Snakemake's main process before its jobs: they ask for as many, whatever there
    is."""
    os.environ[GPUS_VARIABLE] = str(count)


def told_gpus(names: Sequence[str], why: str) -> str:
    """What `gpu: auto` found, in one line."""
    if not names:
        return f"gpu: auto found no GPU ({why}): all jobs compute on the CPU"
    kinds = [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
    listed = ", ".join(kinds) if len(names) > 1 else names[0]
    return f"gpu: auto found {listed}: training, attacks and purification ask for one each"


def log_to(log: str) -> None:
    """Sends what is printed from now on, by Python, native libraries, child processes, to `log`.

    Folders are made, an older log is overwritten. An uncaught exception leaves its traceback in the
    log, and shows the log's last lines and its place on the stderr of before; a full disk or want
    of memory comes before them in plain words. A log that has neither an error nor the line of the
    job's end is one of a job that was killed (`memory.explain_killed`). For jobs that do not
    compute with torch; the others call `start`. Raises OSError if the log cannot be written.
    """
    if _original_stderr is None:
        atexit.register(_tell_end)
    _redirect_output(Path(log))
    sys.excepthook = _failure_reporter(Path(log).absolute(), shown_as=log)
    faulthandler.enable()  # a crash in native code raises nothing, but can leave a traceback
    print(f"{memory.START} {_age():.2f} s", file=sys.stderr)  # for benchmarks/overhead.py


def warn(message: str) -> None:
    """Prints a warning where the user sees it (`tell`)."""
    tell(f"warning: {message}")


def tell(message: str) -> None:
    """Prints a line where the user sees it: in the log, and on the stderr of before it."""
    streams = [sys.stderr] if _original_stderr is None else [sys.stderr, _original_stderr]
    for stream in streams:
        print(message, file=stream, flush=True)


def start(log: str | None, threads: int, gpus: int = 0) -> "torch.device":
    """Prepares the process of a job; each workflow script calls it first. With a `log`, output goes
    there as `log_to` says; without one (`None`), it stays where it is.

    `threads` (>= 1) is the number of CPU threads that torch uses in an operation. On CUDA the
    deterministic kernels are chosen and TF32 is off, so that float32 means float32 and a run can be
    repeated bit for bit on the same kind of device; matrix products of bfloat16 add up in float32.

    Returns `cuda` if `gpus` > 0 and CUDA is there, else `cpu`. Raises OSError if the log cannot be
    written, RuntimeError if `threads` is below 1.
    """
    if log is not None:
        log_to(log)
    import torch

    _keep_freed_memory()
    torch.set_num_threads(threads)
    device = torch.device("cuda" if gpus > 0 and torch.cuda.is_available() else "cpu")
    name = device.type
    if device.type == "cuda":
        _make_cuda_deterministic()
        name = f"cuda ({torch.cuda.get_device_name(device)})"
    elif gpus > 0:
        name = "cpu (a GPU was granted, but torch finds none)"
    print(f"device: {name}, threads: {torch.get_num_threads()}", file=sys.stderr)
    return device


def _keep_freed_memory() -> None:
    """Has glibc keep freed blocks for the next ones, of up to 32 MB each and 256 MB together.

    As it comes, it hands activations of some MB back to the kernel in every step of a loop and
    takes them anew, page by page: a tenth of a latent search's CPU time.
    """
    with suppress(OSError, AttributeError):  # another C library
        set_option = ctypes.CDLL(None).mallopt
        for option, size in ((M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 256 << 20)):
            set_option(option, size)


def _age() -> float:
    """Seconds from the birth of this process to now."""
    # As the kernel counts them, in hundredths. By the clock, which is psutil's way, the birth lies
    # up to a second too early, because the clock's time of the last boot is told in whole seconds.
    if sys.platform == "linux":
        after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        born = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - born
    import psutil

    return time.time() - psutil.Process().create_time()


def peak_memory() -> float:
    """The largest resident memory of this process so far, in MB."""
    # Linux hands getrusage's maximum on to the programs that a process starts: a small one that a
    # large one has started seems as large.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    peak = getrusage(RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes there, else kB


def _tell_end() -> None:
    if _failed:
        return
    # Snakemake's own `benchmark` looks from outside, a few times a minute, and at another process
    # where the job runs in a fork (`warm_start`).
    own, children = (getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN))
    cpu = sum(used.ru_utime + used.ru_stime for used in (own, children))
    used = f"{_age():.1f} s, {cpu:.1f} s of CPU time, at most {peak_memory():.0f} MB of memory"
    print(f"{memory.END}: {used}", file=sys.stderr)


def _redirect_output(log: Path) -> None:
    global _original_stderr
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    if _original_stderr is None:
        _original_stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    # Line by line, so that the log can be followed, and both streams keep their order in it.
    sys.stdout = _line_stream(1)
    sys.stderr = _line_stream(2)


class _LogFile(io.FileIO):
    """A log on a full disk loses lines. They are no reason to end a training."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in disk.FULL:
                raise
            return len(data)


def _line_stream(descriptor: int) -> TextIO:
    file = io.BufferedWriter(_LogFile(descriptor, "w", closefd=False))
    return io.TextIOWrapper(file, "utf-8", "backslashreplace", line_buffering=True)


def _failure_reporter(log: Path, shown_as: str) -> ExceptHook:
    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if trace is not None and trace.tb_frame.f_code.co_name != "<module>":
            # h5py's objects that cannot be closed any more (a full disk): not what ended the job.
            print(f"(also: {kind.__name__}: {str(error).splitlines()[:1]})", file=sys.stderr)
            return
        global _failed
        _failed = True
        advice = _advice(error, shown_as)
        traceback.print_exception(kind, error, trace)
        if advice and not isinstance(error, disk.FullDiskError):  # which has said the same
            print(*advice, sep="\n", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        lines, own = _last_lines(log), "".join(traceback.format_exception_only(error)).splitlines()
        if own[-1] not in lines:  # the log's disk is full, or the log was removed
            lines += own
        print(*advice, *lines, f"full log: {shown_as}", sep="\n", file=_original_stderr)
        if disk.number_of(error) is not None:
            # HDF5 2.0 can crash at exit over files that it could not write, after pages of errors.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)

    return report


def _advice(error: BaseException, log: str) -> list[str]:
    """What ends a job is said in plain words where it is a full disk or want of memory."""
    number = disk.number_of(error)
    if number is not None:
        named = [one for one in disk.chain(error) if isinstance(one, disk.FullDiskError)]
        return [str(named[0] if named else disk.full_disk(getattr(error, "filename", None) or log))]
    if memory.is_out_of_memory(error):
        return [memory.OUT_OF_MEMORY + memory.advice(memory.rule_of(log))]
    return []


def _last_lines(log: Path) -> list[str]:
    """None of a log that was removed or cannot be read any more."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace").splitlines()[-TAIL_LINES:]
    except OSError:
        return []


def _make_cuda_deterministic() -> None:
    import torch

    # cuBLAS repeats its sums only with a workspace of fixed size, chosen before its first call.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # An operation that has no deterministic kernel is named in the log; it does not end the job.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, for debugging only
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


Show = Callable[[int], None]
_shown_by: Callable[[str, int], Show] | None = None


@contextmanager
def progress_shown_by(show: Callable[[str, int], Show]) -> Iterator[None]:
    """Inside the block no loop of `progress` draws a bar of its own: `show(description, total)` is
    called at its beginning, and what that returns with the number of steps done, at each update."""
    global _shown_by
    before, _shown_by = _shown_by, show
    try:
        yield
    finally:
        _shown_by = before


class Progress:
    """The state of a long loop; `progress` makes it and draws it."""

    def __init__(self, bars: list[tuple[tqdm, float]], show: Show | None = None) -> None:
        """`bars`: each with its least number of seconds between two drawings. `show`: told of the
        steps that are done."""
        self._bars = bars
        self._show = show
        self._drawn = [monotonic()] * len(bars)
        self._done = 0
        self._figures: dict[str, float | torch.Tensor] = {}

    def update(self, n: int = 1, **figures: "float | torch.Tensor") -> None:
        """Counts `n` more steps, and shows the figures, such as `loss=loss`, with the next drawing.
        A tensor of one element is read, which waits for its device, only if a line is really drawn,
        so that this may be called in every step."""
        self._done += n
        if self._show is not None:
            self._show(self._done)
        # Detached: else the last loss would keep its graph, and its memory, through the next step.
        self._figures |= {
            name: figure.detach() if hasattr(figure, "detach") else figure
            for name, figure in figures.items()
        }
        now = monotonic()
        for number, (bar, interval) in enumerate(self._bars):
            if now - self._drawn[number] >= interval:
                self._drawn[number] = now
                self._show_figures(bar)
                bar.update(self._done - bar.n)

    def _show_figures(self, bar: tqdm) -> None:
        bar.set_postfix({k: _figure_text(v) for k, v in self._figures.items()}, refresh=False)

    def _close(self) -> None:
        for bar, _ in self._bars:
            self._show_figures(bar)
            bar.n = self._done
            bar.close()  # draws once more, with the mean throughput of the whole loop


def _figure_text(figure: "float | torch.Tensor") -> str:
    number = figure.item() if hasattr(figure, "item") else figure
    return f"{number:.4g}" if isinstance(number, float) else str(number)


class _LogLines:
    """tqdm redraws one line in place; a log has a line of its own for each drawing."""

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            print(line, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()


@contextmanager
def progress(total: int, description: str, unit: str = "it") -> Iterator[Progress]:
    """Shows how far a loop of `total` steps is: share, time left, throughput, and its figures.

    With a log (see `start`) a line is written there at the beginning, then at most every five
    seconds, and at the end, also when the loop is left by an exception. If the stderr of before is
    a terminal, a live bar stands there while the loop runs. Without a log there is only the live
    bar, and only on a terminal.

        with progress(iterations, "training", unit="step") as bar:
            for _ in range(iterations):
                ...
                bar.update(loss=loss)
    """
    if _shown_by is not None:
        yield Progress([], _shown_by(description, total))
        return
    # miniters, mininterval: tqdm draws at each of its updates; `Progress` decides when these come.
    # position: tqdm would put the second bar under the first, although it is in another file.
    settings = {"total": total, "desc": description, "unit": unit, "miniters": 1, "mininterval": 0}
    bars = []
    if _original_stderr is not None:
        layout = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}"
        lines = tqdm(file=_LogLines(), bar_format=layout + "{postfix}]", position=0, **settings)
        bars.append((lines, LOG_INTERVAL))
    terminal = _original_stderr or sys.stderr
    if terminal.isatty():
        live = tqdm(file=terminal, dynamic_ncols=True, leave=False, position=0, **settings)
        bars.append((live, TERMINAL_INTERVAL))
    state = Progress(bars)
    try:
        yield state
    finally:
        state._close()
