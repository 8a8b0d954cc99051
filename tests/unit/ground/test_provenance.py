"""Files do not trust names: whoever reads one compares its recipe with the recipe asked for."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from purification import provenance, runs
from purification.experiments.artifacts import Recipe, told
from purification.freshness import Freshness, objection_to
from purification.provenance import DamagedFile, ForeignFile, differences, digest_of, expect
from purification.storage import (
    ImageSet,
    atomic,
    read_checkpoint,
    read_field,
    read_image_set,
    read_split,
    read_state,
    write_checkpoint,
    write_dataset,
    write_image_set,
    write_image_sets,
)
from purification.text_tables import read_page, read_text_table, write_page, write_text_table

RECIPE = {"kind": "AdversarialSet", "attack": {"settings": {"epsilon": 0.1}}, "seed": 0}
OTHER = {"kind": "AdversarialSet", "attack": {"settings": {"epsilon": 0.2}}, "seed": 0}
IMAGES = np.random.default_rng(0).random((40, 1, 6, 6), dtype=np.float32)
LABELS = np.arange(40) % 10


def _image_set() -> ImageSet:
    return ImageSet(IMAGES, LABELS, {"success": LABELS > 4, "l2": LABELS.astype(np.float32)})


def _rows() -> str:
    return "n,correct,accuracy\n" + "".join(f"100,{c},{c / 100}\n" for c in range(30))


KINDS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "set.h5": (lambda path, recipe: write_image_set(path, _image_set(), recipe), read_image_set),
    "sets.h5": (
        lambda path, recipe: write_image_sets(path, {"white": _image_set()}, recipe),
        lambda path: read_image_set(path, group="white"),
    ),
    "field.h5": (
        lambda path, recipe: write_image_set(path, _image_set(), recipe),
        lambda path: read_field(path, "success"),
    ),
    "data.h5": (
        lambda path, recipe: write_dataset(path, {"test": (IMAGES, LABELS)}, recipe),
        lambda path: read_split(path, "test"),
    ),
    "net.safetensors": (
        lambda path, recipe: write_checkpoint(path, {"w": torch.randn(50)}, recipe),
        read_checkpoint,
    ),
    "rows.csv": (lambda path, recipe: write_text_table(path, _rows(), recipe), read_text_table),
    "page.md": (lambda path, recipe: write_page(path, "# Page\n\ntext", recipe), read_page),
}
"""Every kind of file, with how it is written and read."""


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What a test's job expects is not what the next one does."""
    yield
    provenance._allowed = provenance._made = None


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_another_recipe_is_refused_with_key_and_values(name: str, tmp_path: Path) -> None:
    write, read = KINDS[name]
    path = tmp_path / name
    write(path, RECIPE)
    read(path)  # outside of a job nothing is compared
    expect({str(path): RECIPE})
    read(path)
    expect({str(path): OTHER})
    carries_digest_alone = path.suffix in (".csv", ".md")
    key = r"attack\.settings\.epsilon: 0\.1 in .*0\.2"
    told = digest_of(OTHER) if carries_digest_alone else key
    with pytest.raises(ForeignFile, match=rf"{name}: made by another recipe(?s:.*){told}") as error:
        read(path)
    assert "makes it again" in str(error.value)
    expect({})
    with pytest.raises(ForeignFile, match=f"{name}: not among the files"):
        read(path)


@pytest.mark.parametrize("name", KINDS)
def test_damage_is_noticed_and_named(name: str, tmp_path: Path) -> None:
    """A byte turned over, sixteen zeros, and a cut, anywhere in the file."""
    write, read = KINDS[name]
    path = tmp_path / name
    write(path, RECIPE)
    expect({str(path): RECIPE})
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    before = read(path)
    for number in range(60):
        damaged, place = bytearray(whole), int(random.integers(len(whole)))
        if number % 3 == 0:
            damaged[place] ^= 1 << int(random.integers(8))
        elif number % 3 == 1:
            damaged[place : place + 16] = bytes(len(damaged[place : place + 16]))
        else:
            del damaged[place:]
        if damaged == whole:
            continue
        path.write_bytes(damaged)
        try:
            after = read(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            # Bytes that nothing is read from.
            assert _same(before, after), f"silent: byte {place} of {len(whole)}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, ImageSet):
        return _same(vars(one), vars(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, tuple):
        return all(map(_same, one, other))
    return bool(np.array_equal(one, other))


@pytest.mark.parametrize("name", KINDS)
def test_files_have_the_permissions_of_the_umask(name: str, tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        KINDS[name][0](tmp_path / name, RECIPE)
    finally:
        os.umask(old)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o640


def test_a_block_of_zeros_is_no_black_image(tmp_path: Path) -> None:
    """As a sparse hole after a power failure: HDF5's own checksum of zeros is zero."""
    noise = np.random.default_rng(0).integers(0, 2**32, 4096, dtype=np.uint32)
    images = np.zeros((1024, 1, 2, 2), np.float32)
    # Which gzip cannot make smaller, and leaves as it is.
    fields = {"noise": noise.reshape(1024, 4)}
    write_image_set(tmp_path / "set.h5", ImageSet(images, np.zeros(1024, np.int64), fields), RECIPE)
    raw = (tmp_path / "set.h5").read_bytes()
    place = raw.find(noise.tobytes()[:64])
    assert place > 0, "stored in another form: choose other noise"
    hole = raw[:place] + bytes(noise.nbytes + 4) + raw[place + noise.nbytes + 4 :]
    (tmp_path / "set.h5").write_bytes(hole)
    with pytest.raises(DamagedFile, match=r"set\.h5"):
        read_image_set(tmp_path / "set.h5")


def test_files_of_before_are_refused_with_the_remedy(tmp_path: Path) -> None:
    import h5py
    from safetensors.torch import save_file

    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["images"], file["labels"], file.attrs["recipe"] = IMAGES, LABELS, json.dumps(RECIPE)
    header = {"purification": json.dumps({"recipe": RECIPE, "versions": {}})}
    save_file({"w": torch.ones(3)}, tmp_path / "net.safetensors", metadata=header)
    (tmp_path / "rows.csv").write_text(_rows())
    expect({str(tmp_path / "rows.csv"): RECIPE})
    for name, read in (
        ("set.h5", read_image_set),
        ("net.safetensors", read_state),
        ("rows.csv", read_text_table),
    ):
        with pytest.raises(DamagedFile, match=f"{name}.*earlier version"):
            read(tmp_path / name)


@pytest.mark.parametrize("name", KINDS)
def test_a_jobs_damaged_file_is_set_aside_so_that_the_next_run_makes_it(
    name: str, tmp_path: Path
) -> None:
    write, read = KINDS[name]
    path = tmp_path / name
    write(path, RECIPE)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedFile):
        read(path)
    assert path.exists()  # a reader that is no job's changes nothing
    expect({str(path): RECIPE})
    with pytest.raises(DamagedFile, match=rf"{name}.*{name}\.damaged.*makes it again"):
        read(path)
    assert [left.name for left in tmp_path.iterdir()] == [f"{name}.damaged"]


def test_a_file_that_cannot_be_read_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set.h5"
    write_image_set(path, _image_set(), RECIPE)
    expect({str(path): RECIPE})

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    monkeypatch.setattr("h5py.File", fail)
    with pytest.raises(ValueError, match=r"set\.h5: cannot be read: Input/output error") as error:
        read_image_set(path)
    assert not isinstance(error.value, DamagedFile) and path.exists()


def test_a_page_answers_for_the_table_beside_it(tmp_path: Path) -> None:
    table, page = tmp_path / "table4.csv", tmp_path / "table4.md"
    table.write_text("a\n1\n")
    write_page(page, "# Table", RECIPE, table)
    assert objection_to(page, RECIPE) == []
    table.write_text("a\n2\n")
    assert "what belongs to it" in str(objection_to(page, RECIPE))


def test_a_picture_carries_the_recipe_of_its_job(tmp_path: Path) -> None:
    from purification.reporting.figures import paper_figure

    path = tmp_path / "figure.png"
    provenance.start_job(Recipe(RECIPE), "results")
    with paper_figure(1, 1.0, path, tmp_path / "figure.pdf"):
        pass
    assert objection_to(path, RECIPE) == []
    assert objection_to(path, OTHER)
    path.write_bytes(path.read_bytes().replace(b"tEXtrecipe", b"tEXtnothin"))
    assert "without the digest" in str(objection_to(path, RECIPE))


def test_a_strange_further_file_has_the_whole_job_made_again(tmp_path: Path) -> None:
    network, history = tmp_path / "net.safetensors", tmp_path / "history.csv"
    write_checkpoint(network, {"w": torch.ones(2)}, RECIPE)
    write_text_table(history, _rows(), OTHER)
    forced: list[str] = []
    file = _File(network, RECIPE)
    file.parts = [_File(history, RECIPE)]
    force = lambda path, reason: forced.append(path) or True  # noqa: E731
    Freshness(force, lambda path: True, print).look_at(file)  # type: ignore[arg-type]
    assert forced == [str(network)]


def test_a_field_that_is_gone_is_missed(tmp_path: Path) -> None:
    import h5py

    write_image_set(tmp_path / "set.h5", _image_set(), RECIPE)
    with h5py.File(tmp_path / "set.h5", "r+") as file:
        del file["success"]
    with pytest.raises(DamagedFile, match=r"set\.h5.*success"):
        read_image_set(tmp_path / "set.h5")


def test_each_field_has_the_filter_that_makes_it_small(tmp_path: Path) -> None:
    import h5py

    grey = np.random.default_rng(0).integers(0, 256, (400, 1, 8, 8)).astype(np.float32) / 255
    fields = {"smooth": np.linspace(0, 1, 40_000).reshape(400, 100)}
    made = ImageSet(grey, np.zeros(400, np.int64), fields)
    write_image_set(tmp_path / "set.h5", made, RECIPE)
    with h5py.File(tmp_path / "set.h5") as file:
        assert not file["images"].shuffle and file["smooth"].shuffle
        assert all(dataset.fletcher32 for dataset in file.values())


def test_recipes_are_compared_by_meaning() -> None:
    assert differences({"a": 1, "b": {"c": [1, 2]}}, {"b": {"c": (1, 2)}, "a": 1}) == []
    assert differences({"a": 1}, {"a": 1.0}) == ["a: 1 in the file, 1.0 asked"]
    assert differences({"a": 1}, {"b": None}) == [
        "b: nothing in the file, null asked",
        "a: 1 in the file, nothing asked",
    ]
    many = differences({str(n): n for n in range(9)}, {str(n): -n - 1 for n in range(9)})
    assert len(many) == 5 and many[-1] == "and 5 more"


def test_a_dataset_serves_whoever_does_not_ask_for_test_images() -> None:
    whole = {"kind": "Dataset", "settings": {"source": "mnist", "validation": 5, "test": 7}}
    training = {"kind": "Dataset", "settings": {"source": "mnist", "validation": 5}}
    assert differences(whole, training) == []
    assert differences(training, whole) == ["settings.test: nothing in the file, 7 asked"]
    training["settings"]["validation"] = 6
    assert differences(whole, training) == ["settings.validation: 5 in the file, 6 asked"]


def test_a_jobs_recipe_prints_alike_in_any_order_of_keys() -> None:
    one = Recipe({"kind": "Attack", "a": 1, "b": {"c": 2, "d": 3}})
    other = Recipe({"b": {"d": 3, "c": 2}, "a": 1, "kind": "Attack"})
    assert repr(one) == repr(other) == f"<Attack {one.digest}>"
    assert repr(Recipe({"kind": "Attack", "a": 2})) != repr(one)
    again = pickle.loads(pickle.dumps(told({"x": 1})))
    assert (again, again.sources, again.digest) == ({"x": 1}, {}, digest_of({"x": 1}))


# --- what lies there before a run


class _File:
    """A file as `Freshness` looks at it."""

    def __init__(self, path: Path, recipe: dict[str, Any], *sources: "_File") -> None:
        self.path, self.recipe, self.digest = str(path), recipe, digest_of(recipe)
        self.sources = {source.path: source for source in sources}
        self.parts: list[_File] = []


@pytest.mark.parametrize("name", KINDS)
def test_a_strange_or_damaged_file_is_made_again(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    forced: list[str] = []
    told: list[str] = []

    def look(recipe: dict[str, Any]) -> list[str]:
        forced.clear()
        force = lambda path, reason: forced.append(path) or True  # noqa: E731
        freshness = Freshness(force, lambda path: True, told.append)
        user = _File(tmp_path / "user.h5", {"kind": "User"}, _File(path, recipe))
        freshness.look_at(user)  # type: ignore[arg-type]
        freshness.look_at(user)  # type: ignore[arg-type]
        return forced

    assert look(RECIPE) == []  # nothing there
    KINDS[name][0](path, RECIPE)
    assert look(RECIPE) == [] and not told
    assert look(OTHER) == [str(path)]
    assert len(told) == 1 and name in told[0]
    path.write_bytes(path.read_bytes()[: 3 if path.suffix != ".md" else 0])
    assert look(RECIPE) == [str(path)]
    assert objection_to(path, RECIPE)


def test_what_carries_no_recipe_is_made_again_unless_snakemake_knows_it(tmp_path: Path) -> None:
    path = tmp_path / "figure.pdf"
    path.write_bytes(b"picture")
    for recorded in (True, False):
        forced: list[str] = []
        force = lambda path, reason: forced.append(path) or True  # noqa: B023, E731
        freshness = Freshness(force, lambda path: recorded, print)  # noqa: B023
        freshness.look_at(_File(path, RECIPE))  # type: ignore[arg-type]
        assert forced == ([] if recorded else [str(path)])


def test_what_was_set_aside_is_made_again_and_why_is_told_once_in_few_words(
    tmp_path: Path,
) -> None:
    forced: list[str] = []
    told: list[str] = []
    force = lambda path, reason: forced.append(path) or True  # noqa: E731
    freshness = Freshness(force, lambda path: True, told.append)
    (tmp_path / "gone.h5.damaged").write_bytes(b"")
    freshness.look_at(_File(tmp_path / "gone.h5", RECIPE))  # type: ignore[arg-type]
    assert forced == [str(tmp_path / "gone.h5")] and "set aside" in told.pop()
    nested = {"kind": "Measured", "attack": OTHER["attack"], "of": {"attack": OTHER["attack"]}}
    asked = {"kind": "Measured", "attack": RECIPE["attack"], "of": {"attack": RECIPE["attack"]}}
    for name in ("one.safetensors", "other.safetensors"):
        write_checkpoint(tmp_path / name, {}, nested)
        freshness.look_at(_File(tmp_path / name, asked))  # type: ignore[arg-type]
    assert len(forced) == 3
    assert told == [
        f"{tmp_path}/one.safetensors will be made again, and so will all other files with the same "
        "difference: settings.epsilon: 0.2 in the file, 0.1 asked"
    ]


# --- jobs whose run is over


def test_a_job_whose_run_is_over_puts_nothing_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    birth = runs._birth(main.pid)
    monkeypatch.setenv(runs.VARIABLE, f"{runs.here()} {main.pid} {birth} mark {runs.MARK}")
    path = tmp_path / "result.txt"
    with atomic(path) as temporary:
        temporary.write_text("of a run that goes on")
    with pytest.raises(runs.RunEnded, match=rf"result\.txt.*process {main.pid}"):  # noqa: SIM117
        with atomic(path) as temporary:
            temporary.write_text("late")
            main.communicate(b"\n")
    assert path.read_text() == "of a run that goes on"
    assert list(tmp_path.iterdir()) == [path]


def test_on_another_machine_the_mark_of_a_later_run_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(runs.VARIABLE, "")  # put back afterwards, whatever `begin` sets
    runs.begin()
    host, *rest = os.environ[runs.VARIABLE].split(" ")
    monkeypatch.setenv(runs.VARIABLE, " ".join(["login-node", *rest]))
    runs.check_run("x.h5")
    monkeypatch.setenv(runs.VARIABLE, " ".join([host, *rest]))
    runs.begin()
    monkeypatch.setenv(runs.VARIABLE, " ".join(["login-node", *rest]))
    with pytest.raises(runs.RunEnded, match=r"x\.h5.*another run"):
        runs.check_run("x.h5")


def test_what_a_dead_job_left_is_removed_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    script = """
import os, sys
from purification.storage import atomic
with atomic(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(flush=True)
    os.kill(os.getpid(), 9) if sys.argv[2] == "dies" else input()
"""
    path = tmp_path / "result.txt"

    def writer(how: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", script, str(path), how]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    writer("dies").wait()
    living = writer("lives")
    (tmp_path / ".result-other-note.txt").write_text("no temporary file of ours")
    assert len(list(tmp_path.glob(".result-*"))) == 2  # the note, and the living one's
    with atomic(path) as temporary:
        temporary.write_text("whole")
    assert len(list(tmp_path.glob(".result-*"))) == 2
    living.communicate(b"\n")
    assert path.read_text() == "half" and living.returncode == 0
    assert [p.name for p in tmp_path.glob(".result-*")] == [".result-other-note.txt"]


def test_runs_with_other_folders_go_on_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(runs.VARIABLE, "")
    runs.begin("runs/one")
    _, *rest = os.environ[runs.VARIABLE].split(" ")
    runs.begin("runs/two")
    runs.begin()
    monkeypatch.setenv(runs.VARIABLE, " ".join(["login-node", *rest]))
    runs.check_run("x.h5")
    runs.begin("runs/one")
    monkeypatch.setenv(runs.VARIABLE, " ".join(["login-node", *rest]))
    with pytest.raises(runs.RunEnded, match="another run"):
        runs.check_run("x.h5")


# --- another folder of results


@pytest.mark.parametrize("folder", ["results", "runs/eps8", "results/eps8", "/scratch/results"])
def test_a_name_and_its_place(folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("_results", "_allowed", "_made"):
        monkeypatch.setattr(provenance, name, getattr(provenance, name))
    job = Recipe(RECIPE)
    job.sources = {"results/digits/dataset.h5": RECIPE}
    provenance.start_job(job, folder)
    place = f"{folder}/digits/dataset.h5"
    assert str(provenance.place_of("results/digits/dataset.h5")) == place
    assert str(provenance.place_of(place)) == place
    assert provenance.name_of(place) == "results/digits/dataset.h5"
    for path in ("results/digits/dataset.h5", place):
        assert provenance.expected_of(path) == RECIPE
        provenance.check_recipe(path, RECIPE)
    assert provenance.name_of("x.h5") == str(provenance.place_of("x.h5")) == "x.h5"
