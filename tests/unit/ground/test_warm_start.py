"""Scripts that run in a fork of a process which has their libraries."""

import gzip
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import psutil
import pytest

from purification.experiments.artifacts import Recipe
from purification.warm_start import VARIABLE

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
# As Snakemake's: jobs are started with its environment, one word a line.
SNAKEMAKE = """
import os, sys
from purification.warm_start import open_starter
open_starter()
print(os.environ.get("PURIFICATION_STARTER"), flush=True)
sys.stdin.read()
"""
PREAMBLE = "import sys; sys.path.append('added'); import pickle; snakemake = 1\n"


MODULES = {
    "loaded_by": "import os; PROCESS = os.getpid()",
    "with_thread": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()",
    "with_temporary_folder": "import os, tempfile\n"
    "PLACE = tempfile.TemporaryDirectory(dir=os.path.dirname(__file__), prefix='kept')",
    "with_folder": "import atexit, os, shutil\n"
    "PLACE = os.path.join(os.path.dirname(__file__), 'made')\n"
    "os.mkdir(PLACE); atexit.register(shutil.rmtree, PLACE)",
}


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[str]:
    """The socket of a starter, which a process like Snakemake has opened."""
    for name, code in MODULES.items():
        (tmp_path / f"{name}.py").write_text(code)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    process = subprocess.Popen(
        [sys.executable, "-c", SNAKEMAKE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment | {"PYTHONPATH": path},
    )
    place = process.stdout.readline().strip()
    assert Path(place).is_socket()
    yield place
    process.communicate()
    assert process.returncode == 0
    assert not Path(place).parent.exists()
    assert not (tmp_path / "made").exists() and not [*tmp_path.glob("kept*")]


@pytest.fixture
def job(tmp_path: Path, starter: str) -> Callable[..., subprocess.Popen[str]]:
    """Starts a script as Snakemake does."""

    def start(
        body: str, *words: str, before: str = "", place: str = starter
    ) -> subprocess.Popen[str]:
        script = tmp_path / "scripts/tmp.job.py"
        script.parent.mkdir(exist_ok=True)
        imports = "from purification import runs\n"
        script.write_text(PREAMBLE + before + imports + textwrap.dedent(body))
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {VARIABLE: place, "OWN": "ö", "PYTHONPATH": path}
        return subprocess.Popen(
            [sys.executable, script, *words], cwd=tmp_path, env=environment, text=True, **streams
        )

    return start


SHOW = f"""
import json, os
print(json.dumps({{
    "name": __name__, "file": __file__, "words": sys.argv[1:], "folder": os.getcwd(),
    "own": os.environ["OWN"], "again": os.environ.get({VARIABLE!r}), "path": sys.path,
    "process": os.getpid(), "parent": os.getppid(), "said": sys.stdin.read(),
    "names": sorted(n for n in globals() if not n.startswith("__")), "random": random.random(),
}}))
"""


def test_a_script_runs_in_a_fork_as_in_its_own_process(job: Callable, tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        process = job("import random\n" + SHOW, "a", "b c")
        out, err = process.communicate("told")
        assert (process.returncode, err) == (0, "")
        found.append(json.loads(out))
        assert found[-1]["process"] != process.pid and found[-1]["parent"] != os.getpid()
    one, other = found
    assert one["parent"] == other["parent"] and one["process"] != other["process"]
    assert one["name"] == "__main__" and one["file"] == str(tmp_path / "scripts/tmp.job.py")
    assert one["words"] == ["a", "b c"] and one["folder"] == str(tmp_path)
    assert one["own"] == "ö" and one["said"] == "told" and one["again"] is None
    assert one["path"][0] == str(tmp_path / "scripts") and "added" in one["path"]
    names = ["json", "os", "pickle", "random", "runs", "snakemake", "sys"]
    assert one["names"] == names
    assert one["random"] != other["random"]


def test_what_a_script_imports_is_loaded_before_the_fork(job: Callable) -> None:
    processes = []
    for _ in range(2):
        process = job("import os, loaded_by; print(loaded_by.PROCESS, os.getppid())")
        processes += map(int, process.communicate()[0].split())
    assert len(set(processes)) == 1  # the starter, and it alone


def test_a_folder_that_a_library_made_is_there_for_all_jobs(job: Callable) -> None:
    """As that of matplotlib, where the user has none that can be written. A job's own temporary
    folder goes with it."""
    body = """
        import os, tempfile, with_folder, with_temporary_folder
        places = with_folder.PLACE, with_temporary_folder.PLACE.name
        own = tempfile.TemporaryDirectory()
        print(*map(os.path.isdir, places), own.name)
    """
    for _ in range(3):
        told, wrong = job(body).communicate()
        *there, own = told.split()
        assert (there, wrong) == (["True", "True"], "") and not Path(own).exists()


@pytest.mark.slow
def test_what_is_imported_late_is_loaded_before_the_fork(job: Callable) -> None:
    recipe = pickle.dumps(Recipe({"kind": "Table"}))
    body = f"""
        import sys
        from pathlib import Path
        import torch
        from purification.datasets import load
        from purification.runtime import start
        from purification.training import epochs
        from purification.attacks import gradient
        from purification.reporting.figures import paper_figure
        before = set(sys.modules)
        pickle.loads({recipe!r})
        load("digits", data_root="", validation=1, test=1)
        weight = torch.ones(2, requires_grad=True)
        torch.autograd.grad(2 * weight, weight, torch.ones(2))
        torch.optim.Adam([weight])
        with paper_figure(1, 2, Path("figure.png"), Path("figure.pdf")) as figure:
            figure.subplots().set_title("words")
        print(*set(sys.modules) - before)
    """
    told, wrong = job(body).communicate()
    assert wrong == "" and len(told.split()) < 40, told  # of 1,800


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit(-1)", 255, ""),
        ("sys.exit(None)", 0, ""),
        ("sys.exit('told')", 1, "told"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt"),
        ("raise ValueError('told')", 1, "ValueError: told"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("import a_module_that_is_not_there", 1, "ModuleNotFoundError"),
        ("import atexit; atexit.register(print, 'at the end', file=sys.stderr)", 0, "at the end"),
        (
            "import threading, time; end = lambda: (time.sleep(0.3), print(1, file=sys.stderr))\n"
            "threading.Thread(target=end).start()",
            *(0, "1"),
        ),
        ("import ctypes; ctypes.CDLL(None).printf(b'of a library')", 0, ""),
        ("sys.stdout.write('no line end'); sys.excepthook = print; 1 / 0", 1, ""),
        ("sys.stdout = None", 0, ""),
        ("sys.excepthook = lambda *_: [][1]\n1 / 0", 1, "Original exception was:"),
    ],
)
def test_a_job_ends_as_its_script(job: Callable, body: str, code: int, told: str) -> None:
    """And as it would in a process of its own."""
    forked, own = job(body), job(body, place="")
    (out, err), expected = forked.communicate(), own.communicate()
    assert (forked.returncode, own.returncode) == (code, code)
    assert told in err and bool(told) == bool(err)
    assert err == expected[1]
    # An address of a traceback is another in each process.
    assert re.sub("0x[0-9a-f]+", "", out) == re.sub("0x[0-9a-f]+", "", expected[0])


def gone(process: int) -> bool:
    """Whether a process ends soon."""
    for _ in range(600):
        if not psutil.pid_exists(process):
            return True
        time.sleep(0.1)
    return False


LONG = "import os, time; print(os.getpid(), flush=True); time.sleep(3600)"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_that_is_killed_takes_its_fork_along(job: Callable, number: int) -> None:
    process = job(LONG)
    fork = int(process.stdout.readline())
    process.send_signal(number)
    assert process.wait() == -number
    assert gone(fork)


def test_a_killed_starter_ends_its_jobs_and_the_next_starts_by_itself(job: Callable) -> None:
    process = job(LONG)
    fork = psutil.Process(int(process.stdout.readline()))
    fork.parent().kill()
    _, err = process.communicate()
    assert process.returncode == 1 and "the process that started this job has ended" in err
    assert gone(fork.pid)
    process = job("import os; print(os.getpid())")
    assert int(process.communicate()[0]) == process.pid


def test_ctrl_c_is_left_to_the_script(job: Callable) -> None:
    """It reaches both; the job ends when the script has cleaned up."""
    process = job("""
        import os, time
        try:
            print(os.getpid(), flush=True)
            time.sleep(3600)
        except KeyboardInterrupt:
            time.sleep(0.5)
            print("cleaned", flush=True)
            sys.exit(5)
    """)
    fork = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    os.kill(fork, signal.SIGINT)
    assert process.communicate()[0] == "cleaned\n" and process.returncode == 5


def test_a_script_that_has_begun_goes_on_where_it_is(job: Callable) -> None:
    process = job("import os; print(os.getpid(), begun)", before="begun = 1\n")
    assert process.communicate()[0] == f"{process.pid} 1\n"


def test_no_fork_of_a_process_with_threads(job: Callable) -> None:
    """A lock that such a thread holds would be held for ever in the fork."""
    process = job("import os, with_thread; print(os.getpid())")
    assert int(process.communicate()[0]) == process.pid


def test_none_is_opened_where_a_user_wants_none() -> None:
    code = SNAKEMAKE.replace("sys.stdin.read()", "")
    environment = os.environ | {VARIABLE: ""}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment) == b"\n"


def test_runs_share_the_starter_that_their_environment_gives(starter: str) -> None:
    code = SNAKEMAKE.replace("sys.stdin.read()", "")
    for place, kept in ((starter, True), (f"{starter}_gone", False)):
        environment = os.environ | {VARIABLE: place}
        told = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
        assert (told.strip() == place) is kept


def test_none_is_opened_where_no_socket_can_be(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)  # a socket's path has at most 107 bytes
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    code = SNAKEMAKE.replace("sys.stdin.read()", "")
    environment |= {"TMPDIR": str(folder)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment) == b"None\n"
    assert [*folder.iterdir()] == []


OPENED = {
    "words.txt": "one = open('words.txt', 'w'); one.write('told')",
    "words.gz": "import gzip; one = gzip.open('words.gz', 'wb'); one.write(b'told')",
    "words.zip": "import zipfile; one = zipfile.ZipFile('words.zip', 'w'); one.writestr('a', 'b')",
    "words.h5": "import h5py; one = h5py.File('words.h5', 'w'); one['a'] = [1.0, 2.0]",
}


@pytest.mark.parametrize("where", ["script", "module", "library"])
@pytest.mark.parametrize("end", ["", "1 / 0"])
def test_files_left_open_are_written(job: Callable, tmp_path: Path, where: str, end: str) -> None:
    """By a script, by a module of a user's, and by what a library holds."""
    lines = [*OPENED.values(), "import tempfile; last = tempfile.NamedTemporaryFile(dir='.')"]
    if where == "library":
        lines = [line for line in lines[:-1] if "zipfile" not in line]
        lines = [f"{line}; kept.append(one)" for line in lines]
        lines = ["import random; kept = random.kept = []", *lines]
    if where == "module":
        (tmp_path / "of_a_user.py").write_text("\n".join(lines))
        lines = ["import importlib; importlib.import_module('of_a_user')"]  # as the workflow does
    process = job("\n".join([*lines, end]))
    _, err = process.communicate()
    assert (process.returncode, "ZeroDivisionError" in err) == ((1, True) if end else (0, False))
    assert (tmp_path / "words.txt").read_text() == "told"
    with gzip.open(tmp_path / "words.gz") as words:
        assert words.read() == b"told"
    with h5py.File(tmp_path / "words.h5") as file:
        assert file["a"][:].tolist() == [1, 2]
    if where != "library":
        assert zipfile.ZipFile(tmp_path / "words.zip").read("a") == b"b"
    assert not [*tmp_path.glob("tmp*")]


def test_torch_draws_other_numbers_in_each_job_where_nobody_seeds_it(job: Callable) -> None:
    found = {job("import torch; print(torch.rand(1).item())").communicate()[0] for _ in range(3)}
    assert len(found) == 3


def test_a_library_of_another_environment_is_left_whole_at_the_end(
    job: Callable, tmp_path: Path
) -> None:
    """One outside of this Python's folder, as by `pip install --user`, is not taken for a module of
    the user's, which is emptied: its own objects still find what they need to close."""
    folder = tmp_path / "elsewhere/site-packages"
    folder.mkdir(parents=True)
    (folder / "a_library.py").write_text(
        "import io, pathlib\n"
        "class Words(io.IOBase):\n"
        "    def close(self):\n"
        "        pathlib.Path('closed').write_text('told')\n"
        "one = Words()\n"
    )
    process = job(f"sys.path.append({str(folder)!r})\nimport a_library\n")
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert (tmp_path / "closed").read_text() == "told"
