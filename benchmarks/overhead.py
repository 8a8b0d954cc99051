"""How much of a run is Snakemake, interpreter start-up and imports; its wall time and memory.

    python benchmarks/overhead.py [--cores N] [--output FILE.csv] [--folder NEW] [snakemake
    arguments ...]

Runs the workflow (default: results/table4.csv of the default config) from nothing in a temporary
copy, and prints a table by rule. Start-up is what each job's log says: seconds from the birth of
its process until it begins to compute. The overhead share counts as overhead all of cores x wall
time in which no job computes: start-up and imports, Snakemake's own work, and cores left idle.
Memory is the largest sum of proportional set sizes (shared pages counted once) of all processes of
the run, sampled twice a second.
"""

import argparse
import csv
import re
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
        wall, own_cpu, peak = run(folder, options.cores, snakemake or ["results/table4.csv"])
        rules = by_rule(folder)
    report(rules, wall, own_cpu, peak, options.cores)
    if options.output:
        with options.output.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["rule", "jobs", "job_seconds", "start_up_seconds", "max_rss_mb"])
            writer.writerows([rule, *numbers] for rule, numbers in rules.items())


def copy_workflow(folder: Path) -> None:
    """All of the repository that a run needs, in a folder of its own."""
    for part in ("Snakefile", "workflow", "profiles", "config", "resources/papers"):
        source, target = REPOSITORY / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)


def run(folder: Path, cores: int, arguments: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds of the Snakemake process itself, and peak memory in MB."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), *arguments]
    start = time.monotonic()
    own_cpu = peak = 0.0
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        done = threading.Event()

        def watch() -> None:
            nonlocal own_cpu, peak
            root = psutil.Process(process.pid)
            while not done.wait(0.5):
                memory = 0
                with suppress(psutil.NoSuchProcess):
                    own_cpu = sum(root.cpu_times()[:2])
                    for one in (root, *root.children(recursive=True)):
                        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                            memory += one.memory_full_info().pss
                peak = max(peak, memory / 1e6)

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        done.set()
        watcher.join()
    wall = time.monotonic() - start
    if code:
        sys.exit((folder / "run.log").read_text()[-3000:] + "\nthe run failed")
    return wall, own_cpu, peak


def by_rule(folder: Path) -> dict[str, tuple[int, float, float, float]]:
    """For each rule: jobs, their wall seconds, their start-up seconds, largest memory in MB."""
    numbers: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for benchmark in sorted((folder / "logs").rglob("*.benchmark.tsv")):
        with benchmark.open(newline="") as file:
            row = next(csv.DictReader(file, delimiter="\t"))
        log = benchmark.with_name(benchmark.name.replace(".benchmark.tsv", ".log")).read_text()
        start_up = re.search(r"start-up and imports: ([\d.]+) s", log)
        memory = 0.0 if row["max_rss"] in ("-", "NA") else float(row["max_rss"])
        rule = benchmark.relative_to(folder / "logs").parts[0]
        numbers[rule].append((float(row["s"]), float(start_up[1]) if start_up else 0.0, memory))
    return {
        rule: (len(jobs), *(sum(column) for column in list(zip(*jobs, strict=True))[:2]),
               max(job[2] for job in jobs))
        for rule, jobs in numbers.items()
    }  # fmt: skip


def report(
    rules: dict[str, tuple[int, float, float, float]],
    wall: float,
    own_cpu: float,
    peak: float,
    cores: int,
) -> None:
    print(f"{'rule':<20} {'jobs':>5} {'seconds':>9} {'start-up':>9} {'max RSS MB':>11}")
    for rule, (jobs, seconds, start_up, memory) in sorted(rules.items(), key=lambda r: -r[1][1]):
        print(f"{rule:<20} {jobs:>5} {seconds:>9.1f} {start_up:>9.1f} {memory:>11.0f}")
    jobs = sum(r[0] for r in rules.values())
    seconds = sum(r[1] for r in rules.values())
    start_up = sum(r[2] for r in rules.values())
    available = cores * wall
    print(f"{'all':<20} {jobs:>5} {seconds:>9.1f} {start_up:>9.1f}")
    print(f"wall time: {wall:.0f} s on {cores} cores = {available:.0f} core seconds")
    print(f"peak memory of all processes: {peak:.0f} MB")
    print(f"start-up and imports:            {start_up / available:6.1%} of core seconds")
    print(f"Snakemake's own CPU time:        {own_cpu / available:6.1%}  ({own_cpu:.1f} s)")
    print(f"no job on a core (idle, Snakemake): {1 - seconds / available:.1%}")
    print(f"start-up, imports and Snakemake: {(start_up + own_cpu) / available:6.1%}")
    print(f"overhead share, idle included:   {1 - (seconds - start_up) / available:6.1%}")


if __name__ == "__main__":
    main()
