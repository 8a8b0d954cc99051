"""What damage, and killed runs, can do to results: counts of what was noticed and what was not.

    python benchmarks/damage.py flips [--trials 1000] [--results DIR]
    python benchmarks/damage.py kills [--trials 20]

**flips**: files of each kind, those of a finished run in `--results` or made up here, are damaged
in one place each (a bit turned over, 16 zeros, a block of 512 zeros, 64 random bytes, a cut) and
read as a job reads them. Counted: refused by a ValueError that names the file; harmless (the
damage lies where nothing is read from: all values are as before); silent (values changed, no word);
unnamed (another error, or one that does not name the file); hangs (no answer in 20 seconds).

**kills**: the micro workflow of the tests trains a classifier; its Snakemake is killed by SIGKILL,
but not its job; the config is edited, the folder unlocked, the workflow run again to its end; then
the job of the first run ends. Counted: runs after which the file is of the new config, of the old,
half, or left a temporary file behind; and whether Snakemake has then anything left to do.
"""

import argparse
import multiprocessing
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import yaml
from overhead import copy_workflow

from purification import provenance
from purification.freshness import found_recipe
from purification.reporting.papers import checked_content
from purification.storage import (
    ImageSet,
    read_checkpoint,
    read_image_set,
    read_split,
    write_checkpoint,
    write_dataset,
    write_image_set,
    write_image_sets,
)
from purification.text_tables import read_page, read_text_table, write_page, write_text_table

REPOSITORY = Path(__file__).parent.parent
PATIENCE = 20.0  # seconds; reading takes milliseconds
OUTCOMES = ("refused", "harmless", "silent", "unnamed", "hangs")
RECIPE = {"kind": "Trial", "attack": {"name": "fgsm", "settings": {"epsilon": 0.1}}, "seed": 0}
Read = Callable[[Path], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["flips", "kills"])
    parser.add_argument("--trials", type=int, help="default: 1000 of each kind, 20 kills")
    parser.add_argument("--results", type=Path, help="a finished run whose files are damaged")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "flips":
            flips(Path(folder), options.trials or 1000, options.results, options.seed)
        else:
            kills(Path(folder), options.trials or 20)


# --- flips


def flips(folder: Path, trials: int, results: Path | None, seed: int) -> None:
    found = of_results(results) if results else made_up(folder)
    print(f"{'kind':<28} {'files':>5} {'trials':>6} " + " ".join(f"{o:>8}" for o in OUTCOMES))
    total: Counter[str] = Counter()
    for kind, (files, read) in found.items():
        counts = trial(kind, files, read, folder, trials, seed)
        numbers = " ".join(f"{counts[o]:>8}" for o in OUTCOMES)
        print(f"{kind:<28} {len(files):>5} {trials:>6} {numbers}", flush=True)
        total += counts
    print(f"{'all':<28} {'':>5} {total.total():>6} " + " ".join(f"{total[o]:>8}" for o in OUTCOMES))
    if any(total[name] for name in ("silent", "unnamed", "hangs")):
        sys.exit("not all damage was refused by name")


def made_up(folder: Path) -> dict[str, tuple[list[Path], Read]]:
    """A file of each kind as the workflow writes them."""
    random_numbers = np.random.default_rng(0)
    grey = random_numbers.integers(0, 17, (200, 1, 28, 28)).astype(np.float32) / 16
    labels = random_numbers.integers(0, 10, 200)
    fields = {
        "predictions": labels.copy(),
        "success": labels > 4,
        "l2": random_numbers.random(200, dtype=np.float32),
        "adversarial": random_numbers.random((200, 1, 28, 28), dtype=np.float32),
    }
    image_set = ImageSet(grey, labels, fields, {"success_rate": 0.5})
    write_image_set(folder / "set.h5", image_set, RECIPE, seed=0)
    write_image_sets(folder / "sets.h5", {"white_box": image_set, "gray_box": image_set}, RECIPE)
    write_dataset(folder / "dataset.h5", {"test": (grey, labels), "train": (grey, labels)}, RECIPE)
    weights = {f"layer{n}.weight": torch.randn(64, 32) for n in range(4)}
    write_checkpoint(folder / "net.safetensors", weights, RECIPE, classes="10")
    rows = "".join(f"digits,0,A,fgsm,0.1,{n},{n},{n / 100}\n" for n in range(40))
    header = "dataset,seed,classifier,attack,epsilon,n,correct,accuracy\n"
    write_text_table(folder / "rows.csv", header + rows, RECIPE)
    write_page(folder / "page.md", "# Table\n\n" + "| 0.5 | 0.25 |\n" * 40, RECIPE)
    for name in ("defense_gan.csv", "SHA256SUMS"):
        shutil.copy(REPOSITORY / "resources/papers" / name, folder)
    return {
        "HDF5, one set": ([folder / "set.h5"], read_image_set),
        "HDF5, several sets": ([folder / "sets.h5"], _read_groups),
        "HDF5, data set": ([folder / "dataset.h5"], _read_splits),
        "safetensors": ([folder / "net.safetensors"], read_checkpoint),
        "CSV": ([folder / "rows.csv"], read_text_table),
        "Markdown": ([folder / "page.md"], read_page),
        "papers' CSV": ([folder / "defense_gan.csv"], checked_content),
    }


def of_results(results: Path) -> dict[str, tuple[list[Path], Read]]:
    """The files of a finished run."""
    files = {
        "HDF5, one set": (sorted(results.glob("*/seed*/adversarial/**/*.h5")), read_image_set),
        "HDF5, several sets": (sorted(results.glob("*/seed*/attacked/**/*.h5")), _read_groups),
        "HDF5, data set": (sorted(results.glob("*/dataset.h5")), _read_splits),
        "safetensors": (sorted(results.glob("*/seed*/**/*.safetensors")), read_checkpoint),
        "CSV": (sorted(results.glob("*/seed*/**/*.csv")), read_text_table),
        "Markdown": (sorted(results.glob("**/*.md")), read_page),
    }
    return {kind: (found, read) for kind, (found, read) in files.items() if found}


def _read_groups(path: Path) -> dict[str, ImageSet]:
    from purification.storage import _readable

    with _readable(path, "sets") as file:
        groups = list(file)
    return {group: read_image_set(path, group=group) for group in groups}


def _read_splits(path: Path) -> dict[str, Any]:
    return {split: read_split(path, split) for split in ("train", "test")}


def trial(
    kind: str, files: list[Path], read: Read, folder: Path, trials: int, seed: int
) -> Counter[str]:
    dice = random.Random(f"{seed} {kind}")
    counts: Counter[str] = Counter()
    reader = Reader(read)
    for number in range(trials):
        source = dice.choice(files)
        whole = source.read_bytes()
        damaged = damage(whole, dice, number)
        if damaged == whole:
            counts["harmless"] += 1
            continue
        place = folder / "damaged" / source.name
        place.parent.mkdir(exist_ok=True)
        if read is checked_content:
            shutil.copy(source.with_name("SHA256SUMS"), place.parent)
        place.write_bytes(damaged)
        recipe = {} if read is checked_content else found_recipe(source)
        outcome = reader.outcome(source, place, recipe)
        counts[outcome] += 1
        if outcome in ("silent", "unnamed", "hangs"):
            print(f"  {outcome}: {kind}, {source}, trial {number}", flush=True)
    reader.stop()
    return counts


def damage(whole: bytes, dice: random.Random, number: int) -> bytes:
    """The bytes with damage of one of five kinds in one place."""
    damaged, place = bytearray(whole), dice.randrange(len(whole))
    match number % 5:
        case 0 | 1:
            damaged[place] ^= 1 << dice.randrange(8)
        case 2:
            damaged[place : place + 16] = bytes(len(damaged[place : place + 16]))
        case 3:
            place -= place % 512
            damaged[place : place + 512] = bytes(len(damaged[place : place + 512]))
        case 4 if dice.random() < 0.5:
            del damaged[place:]
        case _:
            damaged[place : place + 64] = dice.randbytes(len(damaged[place : place + 64]))
    return bytes(damaged)


class Reader:
    """Reads files in a process of its own, which may hang or crash."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, self._read), daemon=True)
        self._process.start()

    def stop(self) -> None:
        self._process.kill()
        self._process.join()

    def outcome(self, whole: Path, damaged: Path, recipe: Mapping[str, Any] | str) -> str:
        self._here.send((whole, damaged, recipe))
        try:
            if self._here.poll(PATIENCE):
                return self._here.recv()
            result = "hangs"
        except EOFError:
            result = "unnamed"  # the process died
        self.stop()
        self._start()
        return result


def _serve(pipe: Connection, read: Read) -> None:
    while True:
        whole, damaged, recipe = pipe.recv()
        provenance.expect({str(path): recipe for path in (whole, damaged)})
        before = read(whole)
        try:
            after = read(damaged)
        except ValueError as error:
            pipe.send("refused" if str(damaged) in str(error) else "unnamed")
        except BaseException:
            pipe.send("unnamed")
        else:
            pipe.send("harmless" if same(before, after) else "silent")


def same(one: Any, other: Any) -> bool:
    """Whether two values that were read are equal, arrays and tensors bit for bit."""
    if isinstance(one, ImageSet):
        return same(vars(one), vars(other))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return one == other


# --- kills


def kills(folder: Path, trials: int) -> None:
    copy_workflow(folder)
    config = yaml.safe_load((REPOSITORY / "tests/micro.yaml").read_text())
    snakemake(folder, config, "results/digits/dataset.h5")
    counts: Counter[str] = Counter()
    for number in range(trials):
        counts += killed(folder, config, number)
        print(number + 1, dict(counts), flush=True)
    if counts["of the new config"] != trials or counts["nothing to do"] != trials:
        sys.exit("a job of a killed run decided what is there")


TARGET = "results/digits/seed0/classifiers/plain/D.safetensors"


def killed(folder: Path, config: dict[str, Any], number: int) -> Counter[str]:
    """A run whose Snakemake is killed while its job works, and the next one."""
    log = folder / "logs/train_classifier/digits/seed0/plain/D.log"
    log.unlink(missing_ok=True)
    rate = 1e-4 * (2 * number + 1)
    main = start(folder, with_rate(config, rate), TARGET)
    # The later it is killed, the nearer to its result is the job that lives on.
    while not (log.is_file() and "device" in log.read_text()):
        if main.poll() is not None:
            sys.exit(f"the run ended before its job began:\n{main.communicate()[0]}")
        time.sleep(0.02)
    orphans = psutil.Process(main.pid).children(recursive=True)
    time.sleep(0.1 * (number % 8))
    for each in orphans:  # so that it surely ends after the next run
        if each.is_running():
            each.suspend()
    main.kill()
    main.wait()
    new = 1e-4 * (2 * number + 2)
    snakemake(folder, with_rate(config, new), "--unlock")
    snakemake(folder, with_rate(config, new), TARGET)
    for each in orphans:
        if each.is_running():
            each.resume()
    psutil.wait_procs(orphans, timeout=120)
    recipe = found_recipe(folder / TARGET)
    assert isinstance(recipe, dict)
    found = recipe["settings"]["learning_rate"]
    counts = Counter({"of the new config" if found == new else "of the old config": 1})
    provenance.expect({str(folder / TARGET): recipe})
    read_checkpoint(folder / TARGET)
    left = [path for path in (folder / TARGET).parent.iterdir() if path.name.startswith(".")]
    counts["temporary files left"] = len(left)
    dry = snakemake(folder, with_rate(config, new), "-n", "--", TARGET)
    counts["nothing to do"] = int("Nothing to be done" in dry)
    return counts


def with_rate(config: dict[str, Any], rate: float) -> dict[str, Any]:
    classifiers = config["classifiers"]
    changed = {**classifiers["D"], "learning_rate": rate, "epochs": 10}
    return {**config, "classifiers": {**classifiers, "D": changed}}


def start(folder: Path, config: dict[str, Any], *arguments: str) -> subprocess.Popen[str]:
    (folder / "config/trial.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    command += ["--configfile", "config/trial.yaml", *arguments]
    if arguments[0] == TARGET or "/" in arguments[0]:
        command[-1:] = ["--", arguments[-1]]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def snakemake(folder: Path, config: dict[str, Any], *arguments: str) -> str:
    process = start(folder, config, *arguments)
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(output)
    return output


if __name__ == "__main__":
    main()
