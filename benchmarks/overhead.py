"""How much of a run is Snakemake, interpreter start-up and imports; its wall time and memory.

    python benchmarks/overhead.py [--cores N] [--output FILE.csv] [--folder NEW] [snakemake
    arguments ...]

Runs the workflow (default: results/table4.csv of the default config) from nothing in a temporary
copy, and prints a table by rule, from what each job's log says: start-up is the seconds from the
birth of its process until it begins to compute. Core seconds are the CPU time of all processes of
the run; what is left of them beside the jobs is Snakemake's and its starter's, which imports for
the jobs (`purification.warm_start`; PURIFICATION_STARTER= turns it off). Memory is the largest sum
of proportional set sizes (shared pages counted once) of all processes, sampled twice a second.
"""

import argparse
import csv
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import nullcontext, suppress
from pathlib import Path

import psutil

from purification import memory

REPOSITORY = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=psutil.cpu_count())
    parser.add_argument("--output", type=Path, help="write the table by rule here as well, as CSV")
    parser.add_argument("--folder", type=Path, help="run in this new folder and keep it")
    options, snakemake = parser.parse_known_args()
    if options.folder:
        options.folder.mkdir(parents=True)
    with nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_workflow(folder)
        wall, cpu, peak = run(folder, options.cores, snakemake or ["results/table4.csv"])
        rules = by_rule(folder)
    report(rules, wall, cpu, peak, options.cores)
    if options.output:
        with options.output.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(
                ["rule", "jobs", "job_seconds", "start_up_seconds", "cpu_seconds", "max_rss_mb"]
            )
            writer.writerows([rule, *numbers] for rule, numbers in rules.items())


def copy_workflow(folder: Path) -> None:
    """All of the repository that a run needs, in a folder of its own."""
    for part in ("Snakefile", "workflow", "profiles", "config", "resources/papers"):
        source, target = REPOSITORY / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)


def run(folder: Path, cores: int, arguments: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory in MB of all processes."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), *arguments]
    start = time.monotonic()
    before, peak = cpu_seconds(), 0.0
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            root = psutil.Process(process.pid)
            while not done.wait(0.5):
                used = 0
                with suppress(psutil.NoSuchProcess):
                    for one in (root, *root.children(recursive=True)):
                        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                            used += one.memory_full_info().pss
                peak = max(peak, used / 1e6)

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        done.set()
        watcher.join()
    wall = time.monotonic() - start
    if code:
        sys.exit((folder / "run.log").read_text()[-3000:] + "\nthe run failed")
    return wall, cpu_seconds() - before, peak


def cpu_seconds() -> float:
    """Of all processes that were started from here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def by_rule(folder: Path) -> dict[str, tuple[int, float, float, float, float]]:
    """For each rule: jobs, their wall, start-up and CPU seconds, largest memory in MB."""
    number = r"([\d.]+)"
    said = re.compile(
        rf"{memory.START} {number} s.*"
        rf"{memory.END}: {number} s, {number} s of CPU time, at most {number} MB",
        re.DOTALL,
    )
    found: dict[str, list[list[float]]] = defaultdict(list)
    for log in sorted((folder / "logs").rglob("*.log")):
        if told := said.search(log.read_text()):
            found[log.relative_to(folder / "logs").parts[0]].append(
                [float(n) for n in told.groups()]
            )
    rules = {}
    for rule, jobs in found.items():
        start_up, seconds, cpu, peak = zip(*jobs, strict=True)
        rules[rule] = (len(jobs), sum(seconds), sum(start_up), sum(cpu), max(peak))
    return rules


def report(
    rules: dict[str, tuple[int, float, float, float, float]],
    wall: float,
    cpu: float,
    peak: float,
    cores: int,
) -> None:
    columns = ("rule", "jobs", "seconds", "start-up", "CPU", "max RSS MB")
    print("{:<20} {:>5} {:>9} {:>9} {:>9} {:>11}".format(*columns))
    for rule, numbers in sorted(rules.items(), key=lambda r: -r[1][3]):
        print("{:<20} {:>5} {:>9.1f} {:>9.1f} {:>9.1f} {:>11.0f}".format(rule, *numbers))
    jobs, seconds, start_up, in_jobs = (sum(r[i] for r in rules.values()) for i in range(4))
    print(f"{'all':<20} {jobs:>5} {seconds:>9.1f} {start_up:>9.1f} {in_jobs:>9.1f}")
    print(f"wall time: {wall:.0f} s on {cores} cores")
    print(
        f"core seconds of all processes: {cpu:.0f}, of which outside of jobs: {cpu - in_jobs:.0f}"
    )
    print(f"peak memory of all processes: {peak:.0f} MB")


if __name__ == "__main__":
    main()
