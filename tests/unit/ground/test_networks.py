"""The folder of networks that were trained once: what may lie there, how it is found, and the
networks that do lie in this repository's."""

import csv
import json
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY, Workflow
from safetensors.torch import save_file

from purification import networks
from purification.experiments import leaderboard
from purification.experiments.artifacts import Recipe
from purification.networks import shipping
from purification.networks.__main__ import main
from purification.provenance import DamagedFile
from purification.storage import read_state, write_checkpoint
from purification.text_tables import read_page, write_page, write_rows

QUICK, CPU = str(REPOSITORY / "config/mnist_quick.yaml"), str(REPOSITORY / "config/mnist_cpu.yaml")
PLACE = "seed0/classifiers/plain/D.safetensors"
DATA = [REPOSITORY.parent / "shared/data", REPOSITORY / "resources/data"]


def recipe(**changes: Any) -> dict[str, Any]:
    """That of the default config's classifier D on the digits."""
    made = shipping.network_at(shipping.catalogue_of(()), "digits", 0, PLACE.split("/", 1)[1])
    return {**made.recipe, **changes}


def finished(
    results: Path, made_by: dict[str, Any], value: float = 0.0, seed: int = 0, **facts: str
) -> Path:
    """A network's file with that recipe, and the history beside it."""
    path = results / "digits" / PLACE.replace("seed0", f"seed{seed}")
    write_checkpoint(path, {"weight": torch.full((3,), value)}, made_by, **facts)
    write_rows(path.with_name("D.history.csv"), [{"epoch": 1, "loss": 0.5}], made_by)
    return path


def test_a_network_is_added_once_and_found_by_its_recipe(tmp_path: Path) -> None:
    folder, path = tmp_path / "networks", finished(tmp_path / "results", recipe())
    said = shipping.add(folder, [], [path])
    assert [line.split(":")[0] for line in said[:2]] == ["added", "added"]
    assert networks.datasets(folder) == ["digits"]
    found = networks.find("digits", recipe(), folder)
    assert found == folder / "digits" / PLACE
    assert found.read_bytes() == path.read_bytes()
    history = networks.find("digits", recipe(), folder, networks.HISTORY)
    assert history == found.with_name("D.history.csv")
    assert networks.find("digits", recipe(seed=1), folder) is None
    assert networks.find("mnist", recipe(), folder) is None
    with (folder / "digits/index.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert rows[PLACE]["bytes"] == str(path.stat().st_size)
    index = (folder / "digits/index.csv").read_bytes()
    # Again, by its folder: nothing changes. Trained anew: it is replaced.
    again = shipping.add(folder, [], [tmp_path / "results"])
    assert [line.split(":")[0] for line in again[:2]] == ["there", "there"]
    assert (folder / "digits/index.csv").read_bytes() == index
    finished(tmp_path / "results", recipe(), value=1.0)
    assert shipping.add(folder, [], [path])[0].startswith("replaced: ")
    assert torch.equal(read_state(found)[0]["weight"], torch.ones(3))
    assert networks.find("digits", recipe(), folder) == found
    shipping.remove(folder, [found])
    assert networks.find("digits", recipe(), folder) is None and not found.exists()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: save_file({"weight": torch.zeros(3)}, path), "expected a checkpoint with"),
        (lambda path: path.with_name("D.history.csv").unlink(), "without D.history.csv"),
        (lambda path: finished_by(path, recipe(seed=1)), "seed: 1 in the file, 0 asked"),
        (lambda path: finished_by(path, recipe(), taken="{}"), "taken from such a folder"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\7"), "its digest is not that"),
        (lambda path: other_history(path), "D.history.csv: not of the recipe of D.safetensors"),
    ],
)
def test_what_cannot_be_kept_is_named_and_nothing_is_written(
    tmp_path: Path, spoil: Any, complaint: str
) -> None:
    path = finished(tmp_path / "results", recipe())
    spoil(path)
    with pytest.raises(shipping.Refused, match="nothing was added") as refused:
        shipping.add(tmp_path / "networks", [], [path])
    assert complaint in str(refused.value) and str(path.parent) in str(refused.value)
    assert not (tmp_path / "networks").exists()


def finished_by(path: Path, made_by: dict[str, Any], **facts: str) -> None:
    finished(path.parents[4], made_by, **facts)


def other_history(path: Path) -> None:
    write_rows(path.with_name("D.history.csv"), [{"epoch": 1}], recipe(seed=1))


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = finished(tmp_path / "results", recipe())
    for limit in ("LARGEST_FILE", "LARGEST_FOLDER"):
        with monkeypatch.context() as patched:
            patched.setattr(shipping, limit, 100)
            with pytest.raises(shipping.Refused, match=r"more than 0\.00 MB"):
                shipping.add(tmp_path / "networks", [], [path])
        assert not (tmp_path / "networks").exists()
    shipping.add(tmp_path / "networks", [], [path])
    monkeypatch.setattr(shipping, "LARGEST_FILE", 100)
    assert "more than 0.00 MB" in str(shipping.check(tmp_path / "networks"))


@pytest.mark.parametrize("other", ["add", "remove"])
def test_of_two_at_once_none_loses_what_the_other_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """A second one begins where the first has read the index, and not written it yet."""
    folder, there = tmp_path / "networks", finished(tmp_path / "before", recipe(seed=1), seed=1)
    first, second = finished(tmp_path / "results", recipe()), tmp_path / "second"
    shipping.add(folder, [], [there])
    late = finished(second, recipe(seed=2), seed=2)
    paths = {"add": [late], "remove": [folder / "digits/seed1"]}[other]
    arguments = {"add": (folder, [], paths), "remove": (folder, paths)}[other]
    waits_or_has_ended, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            getattr(shipping, other)(*arguments)
        except BaseException as error:
            failed.append(error)
        waits_or_has_ended.set()

    concurrent = threading.Thread(target=work)
    lock, write = shipping.fcntl.flock, shipping._write_index

    def told_lock(*words: Any) -> None:
        if threading.current_thread() is concurrent:
            waits_or_has_ended.set()
        lock(*words)

    def late_write(*words: Any) -> None:
        if threading.current_thread() is not concurrent:
            concurrent.start()
            waits_or_has_ended.wait()
        write(*words)

    monkeypatch.setattr(shipping.fcntl, "flock", told_lock)
    monkeypatch.setattr(shipping, "_write_index", late_write)
    shipping.add(folder, [], [first])
    concurrent.join()
    assert not failed
    seeds = {kept.file.split("/")[0] for kept in networks.places("digits", folder)}
    assert seeds == {"seed0", *({"add": ["seed1", "seed2"], "remove": []}[other])}
    assert shipping.check(folder) == []
    assert not (folder / ".lock").exists()


def test_places_that_are_none_of_a_run_or_of_the_config(tmp_path: Path) -> None:
    path = finished(tmp_path / "results", recipe())
    for place in ("digits/plain/D.safetensors", "digits/seed0/classifiers/plain/G.safetensors"):
        other = tmp_path / place
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other)
        with pytest.raises(shipping.Refused, match=other.name):
            shipping.add(tmp_path / "networks", [], [other])


def test_the_check_finds_what_is_wrong(tmp_path: Path) -> None:
    folder, path = tmp_path / "networks", finished(tmp_path / "results", recipe())
    shipping.add(folder, [], [path])
    assert shipping.check(folder) == []
    kept = folder / "digits" / PLACE
    content = kept.read_bytes()
    kept.write_bytes(content[:-1] + b"\7")
    (folder / "digits/stray.txt").touch()
    stray, damaged = shipping.check(folder)
    assert stray.endswith("stray.txt: in no index.csv") and damaged.startswith(f"{kept}: damaged")
    with pytest.raises(DamagedFile, match="damaged: its size or SHA-256"):
        networks.find("digits", recipe(), folder)
    kept.unlink()
    with pytest.raises(DamagedFile, match=r"in index.csv, and not there"):
        networks.find("digits", recipe(), folder)
    # Of a config that has been edited since.
    kept.write_bytes(content)
    (folder / "digits/stray.txt").unlink()
    index = folder / "digits/index.csv"
    text = index.read_text()
    index.write_text(
        "".join(f"{line}own.yaml\n" for line in text.splitlines()).replace(
            "configown.yaml", "config"
        )
    )
    (tmp_path / "own.yaml").write_text("classifiers: {D: {epochs: 7}}")
    (line,) = shipping.check(folder, tmp_path)
    assert "own.yaml asks for another: settings.epochs: 30 in the file, 7 asked" in line
    # One row of another config than the others.
    _, row, *_ = text.splitlines()
    index.write_text(f"{text}{row.replace('seed0/', 'seed0/other/')}own.yaml\n")
    assert any(
        line
        == f"{folder / 'digits'}: of several configs: the default one; own.yaml. Add them with one"
        for line in shipping.check(folder, tmp_path)
    )


@pytest.mark.parametrize("edit", [("sha256", "md5"), (",", ";"), ("seed0/", "../")])
def test_a_wrong_index_is_named(tmp_path: Path, edit: tuple[str, str]) -> None:
    folder, path = tmp_path / "networks", finished(tmp_path / "results", recipe())
    shipping.add(folder, [], [path])
    index = folder / "digits/index.csv"
    index.write_text(index.read_text().replace(*edit))
    with pytest.raises(DamagedFile, match=r"index\.csv"):
        networks.places("digits", folder)


def test_a_part_of_a_training_is_not_taken(tmp_path: Path) -> None:
    folder, path = tmp_path / "networks", finished(tmp_path / "results", recipe())
    shipping.add(folder, [], [path])
    shipping.remove(folder, [folder / "digits/seed0/classifiers/plain/D.history.csv"])
    outputs = {str(tmp_path / f"D{end}"): recipe() for end in (".safetensors", ".history.csv")}
    config = {"pretrained": True, "networks": str(folder)}
    with pytest.raises(DamagedFile, match=r"no file for .*D.history.csv"):
        networks.take(outputs, config)
    snapshots = {str(tmp_path / "D.snapshots.safetensors"): recipe()}
    assert not networks.take(outputs | snapshots, config)
    assert not networks.take(outputs, config | {"pretrained": False})


def test_pages_name_the_networks_that_were_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    note = {"file": f"digits/{PLACE}", "sha256": "", "config": "config/a&b.yaml", "versions": {}}
    finished(Path("results"), recipe(), taken=json.dumps(note))
    network = shipping.network_at(shipping.catalogue_of(()), "digits", 0, PLACE.split("/", 1)[1])
    told_of = Recipe({"kind": "Table"}, [network])
    assert told_of.networks == [f"results/digits/{PLACE}"]
    write_page("table.md", "# Table\n", told_of)
    said = "Taken as they come with the project, and not trained in this run"
    named = f"{said} (config/a&b.yaml): `digits/{PLACE.removesuffix('.safetensors')}`."
    assert read_page("table.md") == f"# Table\n\n## Networks\n\n{named}\n"
    write_page("page.html", "<html><body>\n<p>1</p>\n</body></html>\n", pickle_of(told_of))
    page = read_page("page.html")
    assert f"<p>{said} (config/a&amp;b.yaml): digits/seed0/classifiers/plain/D.</p>" in page
    assert page.endswith("</footer>\n</body></html>\n")
    # Trained here, or not there: nothing is said.
    finished(Path("results"), recipe())
    write_page("table.md", "# Table\n", told_of)
    assert read_page("table.md") == "# Table\n"


def pickle_of(told_of: Recipe) -> Recipe:
    """As a job's process is given it."""
    return pickle.loads(pickle.dumps(told_of))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, path = tmp_path / "networks", finished(tmp_path / "results", recipe())
    words = ["--folder", str(folder)]
    assert main([*words, "add", str(path)]) == 0
    assert main([*words, "check"]) == 0
    assert main([*words, "list"]) == 0
    assert f"digits/{PLACE}" in capsys.readouterr().out
    path.with_name("D.history.csv").unlink()
    assert main([*words, "add", str(path)]) == 1
    assert "without D.history.csv" in capsys.readouterr().err
    (folder / "digits" / PLACE).unlink()
    assert main([*words, "check"]) == 1


# --- what lies in this repository


def test_what_lies_there_is_what_its_indexes_say() -> None:
    """Sizes of each and of all, checksums, recipes of the configs as they are now."""
    assert shipping.check(REPOSITORY / networks.FOLDER) == []


def test_the_quick_leaderboard_has_the_networks_of_mnist_cpu() -> None:
    quick, cpu = (shipping.catalogue_of((config,)) for config in (QUICK, CPU))
    places = [path.removeprefix("results/mnist/seed0/") for path in leaderboard(quick).job.networks]
    assert len(places) >= 8
    made = {place: shipping.network_at(quick, "mnist", 0, place).digest for place in places}
    assert made == {place: shipping.network_at(cpu, "mnist", 0, place).digest for place in places}
    if "mnist" in networks.datasets():
        assert [p for p, digest in made.items() if not networks.listed("mnist", digest)] == []


@pytest.mark.slow
def test_a_network_that_lies_there_is_trained_again(tmp_path: Path) -> None:
    """On the processor and libraries that trained it, to the last bit; elsewhere to one as good."""
    [*raw] = [data for data in DATA if any((data / "MNIST/raw").glob("train-images*"))]
    place = "seed0/autoencoders/magnet.safetensors"  # a quarter of a minute
    [*kept] = [one for one in networks.places("mnist") if one.file == place]
    if not (raw and kept):
        pytest.skip("no MNIST in resources/data or ../shared/data, or no network of it is kept")
    workflow = Workflow(tmp_path / "workflow")
    workflow.config = {"pretrained": False, "data_root": str(raw[0])}
    configs = [str(REPOSITORY / config) for config in kept[0].config]
    for number, config in enumerate(configs):
        shutil.copy(config, workflow.folder / f"config/{number}.yaml")
    layers = [f"config/{number}.yaml" for number in range(len(configs))]
    options = ("--cores", "1", "--configfile", *layers, "config/test.yaml")
    path = workflow.folder / f"results/mnist/{place}"
    workflow.run(f"results/mnist/{place}", options=options)
    state, header = read_state(path)
    own, facts = read_state(kept[0].verified())
    assert header["recipe"] == facts["recipe"]
    if all(torch.equal(weights, own[name]) for name, weights in state.items()):
        return
    losses = [last_loss(file) for file in (path, kept[0].path)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def last_loss(path: Path) -> float:
    """Of the history beside a network."""
    with path.with_name(path.name.replace(networks.NETWORK, networks.HISTORY)).open() as file:
        *_, last = csv.DictReader(file)
    return float(last["loss"])
