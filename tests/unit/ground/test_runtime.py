"""The start of a job, its log, what a failure shows, and progress lines; in real processes."""

import ctypes
import os
import pty
import re
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import as_job

from purification import memory, runtime


def _code(script: str) -> str:
    return "from purification.runtime import progress, start\n" + textwrap.dedent(script)


def _run(script: str, folder: Path, stderr: int | None = None) -> subprocess.CompletedProcess[str]:
    """As a job on this machine: in a fork."""
    return as_job(_code(script), folder=folder, stderr=stderr)


def _run_by_itself(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As a job on a cluster: in a process that begins with nothing."""
    command = [sys.executable, "-c", _code(script)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_everything_printed_goes_to_the_log_in_order(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/deep.log").write_text("of an older run\n")
    script = """
        import os, subprocess, sys, torch
        early = sys.stderr
        device = start("logs/deep.log", threads=2)
        print("python out ü")
        print("python err", file=sys.stderr)
        print("held since before", file=early, flush=True)
        os.write(1, b"native out\\n")
        os.write(2, b"native err\\n")
        subprocess.run(["sh", "-c", "echo child out; echo child err >&2"])
        print(device, torch.get_num_threads())
    """
    done = _run_by_itself(script, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    first, *lines, last = (tmp_path / "logs/deep.log").read_text("utf-8").splitlines()
    assert re.fullmatch(r"start-up and imports: \d+\.\d\d s", first)
    used = r"end of the job: (\S+) s, (\S+) s of CPU time, at most (\d+) MB of memory"
    seconds, cpu, peak = (float(number) for number in re.fullmatch(used, last).groups())
    assert cpu > 0 and 0 < seconds < 600 and 50 < peak < 5000  # torch alone takes some 300
    assert lines == [
        "device: cpu, threads: 2",
        "python out ü",
        "python err",
        "held since before",
        "native out",
        "native err",
        "child out",
        "child err",
        "cpu 2",
    ]


@pytest.mark.slow
def test_log_folder_is_made_and_a_missing_gpu_is_said(tmp_path: Path) -> None:
    script = """
        import torch
        torch.cuda.is_available = lambda: False
        print(start("a/b/job.log", threads=1, gpus=1).type)
    """
    assert _run(script, tmp_path).returncode == 0
    assert (tmp_path / "a/b/job.log").read_text().splitlines()[1:-1] == [
        "device: cpu (a GPU was granted, but torch finds none), threads: 1",
        "cpu",
    ]


@pytest.mark.slow
def test_without_log_nothing_is_redirected_and_progress_needs_a_terminal(tmp_path: Path) -> None:
    script = """
        with progress(2, "before start") as bar:
            bar.update(loss=1.0)
        start(None, threads=1)
        with progress(2, "after start") as bar:
            bar.update(loss=1.0)
        print("here")
    """
    done = _run(script, tmp_path)
    assert (done.stdout, done.stderr) == ("here\n", "device: cpu, threads: 1\n")


@pytest.mark.slow
def test_failure_shows_the_end_of_the_log_and_its_place(tmp_path: Path) -> None:
    script = """
        import os
        start("job.log", threads=1)
        for number in range(40):
            print("line", number)
        os.chdir("/")
        raise RuntimeError("the generator is missing")
    """
    done = _run(script, tmp_path)
    log = (tmp_path / "job.log").read_text().splitlines()
    assert done.returncode == 1
    assert "Traceback (most recent call last):" in log
    assert log[-1] == "RuntimeError: the generator is missing"
    assert done.stderr.splitlines() == [*log[-15:], "full log: job.log"]
    assert done.stderr.count("RuntimeError: the generator") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("MemoryError()", "out of memory: Lower batch_size.attack (no result depends on it)"),
        ("torch.OutOfMemoryError('CUDA out of memory.')", "out of memory: Lower batch_size.attack"),
        ("RuntimeError('std::bad_alloc')", "out of memory: Lower batch_size.attack"),
        ("OSError(28, 'No space left on device', '/dev/shm/x')", "the file system "),
    ],
)
def test_want_of_memory_and_a_full_disk_come_first(
    error: str, expected: str, tmp_path: Path
) -> None:
    script = f"""
        import torch
        start("logs/attack_defense/job.log", threads=1)
        for number in range(40):
            print("line", number)
        try:
            raise {error}
        except Exception as error:
            raise ValueError("what came of it") from error
    """
    done = _run(script, tmp_path)
    log = (tmp_path / "logs/attack_defense/job.log").read_text().splitlines()
    first, *others = done.stderr.splitlines()
    assert first.startswith(expected) and log[-1] == first
    assert others == [*log[-15:], "full log: logs/attack_defense/job.log"]


@pytest.mark.slow
def test_an_error_shows_where_the_log_cannot_be_written(tmp_path: Path) -> None:
    script = """
        import os
        start("job.log", threads=1)
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, 1)
        os.dup2(full, 2)
        with progress(2, "on a full disk") as bar:
            bar.update(2)
        print("x" * 100_000)
        raise RuntimeError("the generator is missing")
    """
    done = _run(script, tmp_path)
    assert done.returncode == 1
    *_, error, place = done.stderr.splitlines()
    assert (error, place) == ("RuntimeError: the generator is missing", "full log: job.log")


@pytest.mark.slow
def test_an_error_shows_where_the_log_was_removed(tmp_path: Path) -> None:
    script = """
        import os
        start("job.log", threads=1)
        os.remove("job.log")
        raise RuntimeError("the generator is missing")
    """
    done = _run(script, tmp_path)
    assert done.returncode == 1
    told = ["RuntimeError: the generator is missing", "full log: job.log"]
    assert done.stderr.splitlines() == told


def test_last_lines_of_short_and_of_huge_logs(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    for text, expected in (
        ("", []),
        ("one\ntwo\n", ["one", "two"]),
        ("x" * 2 * runtime.TAIL_BYTES + "ü\nend\n", ["end"]),
    ):
        log.write_text(text, encoding="utf-8")
        lines = runtime._last_lines(log)
        assert lines[-len(expected) :] == expected
        assert sum(len(line) for line in lines) <= runtime.TAIL_BYTES


@pytest.mark.slow
def test_native_crash_leaves_a_traceback_in_the_log(tmp_path: Path) -> None:
    script = """
        import faulthandler
        start("job.log", threads=1)
        faulthandler._sigsegv()
    """
    assert _run_by_itself(script, tmp_path).returncode < 0
    assert "Segmentation fault" in (tmp_path / "job.log").read_text()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_is_used_only_when_granted_and_repeats_its_bits(tmp_path: Path) -> None:
    script = """
        import torch
        assert start("job.log", threads=1, gpus=0).type == "cpu"
        device = start("job.log", threads=1, gpus=1)
        assert device.type == "cuda"
        a = torch.rand(512, 512, generator=torch.Generator().manual_seed(0))
        exact = a.double() @ a.double()
        assert ((a.to(device) @ a.to(device)).cpu() - exact).abs().max() < 1e-3  # TF32: about 0.03
        print("done")
    """
    assert _run(script, tmp_path).returncode == 0
    assert "\ndone\nend of the job: " in (tmp_path / "job.log").read_text()


@pytest.mark.slow
def test_progress_is_live_on_the_terminal_and_in_lines_in_the_log(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    script = """
        from purification import runtime
        runtime.TERMINAL_INTERVAL = 0
        start("job.log", threads=1)
        with progress(3, "training", unit="step") as bar:
            for step in range(3):
                bar.update(loss=step / 2)
    """
    done = _run(script, tmp_path, stderr=follower)
    shown = os.read(leader, 2**16).decode()
    os.close(follower)
    os.close(leader)
    assert done.returncode == 0
    assert "training:  67%" in shown
    assert "step/s, loss=0.5" in shown
    lines = (tmp_path / "job.log").read_text().splitlines()
    assert len(lines) == 5  # start-up, device, beginning, end: it took less than five seconds
    assert lines[2].startswith("training:   0% 0/3 [")
    assert lines[3].startswith("training: 100% 3/3 [")
    assert lines[3].endswith("step/s, loss=1]")
    assert lines[4].startswith("end of the job: ")


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class _Counted(torch.Tensor):
    """A tensor that counts how often its value is read, which on CUDA is a wait."""

    reads = 0

    def detach(self) -> "_Counted":
        return self

    def item(self) -> float:
        type(self).reads += 1
        return super().item()

    def __float__(self) -> float:
        return self.item()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Clock]:
    """A process that has a log (the captured stderr), no terminal, and a clock set by the test."""
    clock = _Clock()
    with Path(os.devnull).open("w") as nowhere:
        monkeypatch.setattr(runtime, "_original_stderr", nowhere)
        monkeypatch.setattr(runtime, "monotonic", clock)
        yield clock


def test_log_has_a_line_each_five_seconds_and_the_last(
    clock: _Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with runtime.progress(100, "search", unit="batch") as bar:
        for step in range(100):
            clock.now += 0.25
            bar.update(error=step, mean=0.123456)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[2] for line in lines] == [
        *("0/100", "20/100", "40/100", "60/100", "80/100", "100/100"),
        "100/100",
    ]
    assert "error=19, mean=0.1235]" in lines[1]
    assert all("<" in line and "batch" in line for line in lines)  # time left and throughput


def test_figures_are_read_only_for_drawn_lines(
    clock: _Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    _Counted.reads = 0
    with runtime.progress(1000, "training") as bar:
        for _ in range(1000):
            clock.now += 0.009  # nine seconds in all: one line on the way, one at the end
            bar.update(loss=torch.tensor(0.5).as_subclass(_Counted))
    assert _Counted.reads == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("loss=0.5]")


def test_progress_lets_go_of_the_graph(clock: _Clock) -> None:
    weight = torch.ones(3, requires_grad=True)
    with runtime.progress(1, "training") as bar:
        bar.update(loss=(weight**2).sum())
        assert not bar._figures["loss"].requires_grad


def test_last_line_tells_where_an_error_came(
    clock: _Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="bad"), runtime.progress(10, "training") as bar:
        bar.update(3)
        bar.update(4)
        raise ValueError("bad")
    assert " 7/10 " in capsys.readouterr().err.splitlines()[-1]


def test_progress_over_nothing(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with runtime.progress(0, "nothing"):
        pass
    assert "nothing" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
@pytest.mark.slow
def test_freed_memory_is_kept_for_the_next_step(tmp_path: Path) -> None:
    """20 MB are no mapping of their own, which would go back to the kernel when they are freed, but
    a part of the heap; and when they are freed the heap stays as large as it was."""
    script = """
        import ctypes, torch
        class Used(ctypes.Structure):  # of glibc's malloc.h
            _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "o", "s", "hblks", "hblkhd")]
            _fields_ += [("others", ctypes.c_size_t * 5)]
        used = ctypes.CDLL(None).mallinfo2
        used.restype = Used
        start("job.log", threads=1)
        before = used()
        block = torch.ones(5_000_000)
        within = used()
        del block
        print(within.hblks - before.hblks, within.arena - before.arena, used().arena - within.arena)
    """
    assert _run_by_itself(script, tmp_path).returncode == 0
    mappings, grown, shrunk = map(int, (tmp_path / "job.log").read_text().splitlines()[2].split())
    assert (mappings, shrunk) == (0, 0) and grown > 19e6


@pytest.mark.slow
def test_a_warning_is_in_the_log_and_where_stderr_was(tmp_path: Path) -> None:
    script = """
        from purification.runtime import warn
        warn("before")
        start("job.log", threads=1)
        warn("after")
    """
    done = _run(script, tmp_path)
    assert (done.returncode, done.stderr) == (0, "warning: before\nwarning: after\n")
    *_, line, last = (tmp_path / "job.log").read_text().splitlines()
    assert line == "warning: after" and last.startswith(memory.END)


@pytest.mark.slow
def test_peak_memory_is_that_of_the_process_itself(tmp_path: Path) -> None:
    script = """
        import subprocess, sys
        from purification.runtime import peak_memory
        before = peak_memory()
        block = b"x" * 300_000_000
        del block
        print(before, peak_memory(), flush=True)
        small = "from purification.runtime import peak_memory; print(peak_memory())"
        subprocess.run([sys.executable, "-c", small], check=True)
    """
    before, large, small = map(float, _run(script, tmp_path).stdout.split())
    assert large - before > 295 and small < before + 30


@pytest.mark.slow
def test_seconds_of_a_job_are_those_since_its_birth(tmp_path: Path) -> None:
    script = """
        import time
        time.sleep(0.3)
        start("job.log", threads=1)
        time.sleep(0.2)
    """
    before = time.monotonic()
    assert _run_by_itself(script, tmp_path).returncode == 0
    passed = time.monotonic() - before
    log = (tmp_path / "job.log").read_text()
    begun, ended = (
        float(re.search(rf"{said}:? ([0-9.]+) s", log)[1]) for said in (memory.START, memory.END)
    )
    assert 0.3 < begun < passed and begun + 0.1 < ended < passed + 0.1  # one decimal


# What `gpu: auto` finds


class Driver:
    """NVIDIA's driver interface as far as it is asked, on a machine with these GPUs."""

    def __init__(self, *names: str, error: int = 0) -> None:
        self._names, self._error = names, error

    def cuInit(self, flags: int) -> int:
        return self._error

    def cuDeviceGetCount(self, count: object) -> int:
        count._obj.value = len(self._names)
        return 0

    def cuDeviceGetName(self, text: ctypes.Array, length: int, number: int) -> int:
        text.value = self._names[number].encode()
        return 0


def _not_there(name: str) -> Driver:
    raise OSError(name)


@pytest.mark.parametrize(
    ("load", "found"),
    [
        (lambda _: Driver("H200", "H200"), (["H200", "H200"], "")),
        (lambda _: Driver(), ([], "the NVIDIA driver offers no GPU")),
        (lambda _: Driver(error=100), ([], "the NVIDIA driver offers no GPU")),
        (lambda _: Driver(error=3), ([], "NVIDIA's driver failed (error 3)")),
        (_not_there, ([], "no NVIDIA driver")),
        # WSL has it at a place of its own.
        (lambda name: Driver("RTX") if "/wsl/" in name else _not_there(name), (["RTX"], "")),
    ],
)
def test_the_driver_says_which_gpus_there_are(load: object, found: tuple[list[str], str]) -> None:
    assert runtime._cuda_gpus(load) == found


def test_amds_driver_numbers_its_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for node, number in (("0", "0\n"), ("1", "51966\n")):
        (tmp_path / node).mkdir()
        (tmp_path / node / "gpu_id").write_text(number)
    assert runtime._amd_gpus(tmp_path) == ["an AMD GPU"]
    assert runtime._amd_gpus(tmp_path / "missing") == []
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "")
    assert runtime._amd_gpus(tmp_path) == []


def test_jobs_ask_for_what_their_snakemake_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "find_gpus", lambda: (["H200", "H200"], ""))
    monkeypatch.setenv(runtime.GPUS_VARIABLE, "")
    count, told = runtime.gpus_for_jobs()
    assert count == 1 and told.startswith("gpu: auto found 2 x H200")
    runtime.grant_gpus(0)
    assert runtime.gpus_for_jobs() == (0, "")


def test_what_was_found_is_told_in_one_line() -> None:
    found = "gpu: auto found 2 x H200: training, attacks and purification ask for one each"
    assert runtime.told_gpus(["H200", "H200"], "") == found
    none = "gpu: auto found no GPU (no NVIDIA driver): all jobs compute on the CPU"
    assert runtime.told_gpus([], "no NVIDIA driver") == none
