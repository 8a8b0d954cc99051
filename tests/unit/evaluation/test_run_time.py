"""Purifiers timed in turns: what is run and counted (no time is asserted), and Table 4."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from torch import Tensor, nn

from purification.evaluation import run_time, timing
from purification.evaluation.run_time import Candidate, run_time_rows, time_purifiers
from purification.models.checkpoints import save_network
from purification.models.vae import VAE
from purification.models.wgan import Generator
from purification.randomness import isolated_rng
from purification.reporting.csv_files import write_numbers
from purification.reporting.papers import paper_values
from purification.reporting.run_time import (
    long_run_times,
    run_time_markdown,
    wide_run_times,
)
from purification.storage import write_dataset

pytestmark = pytest.mark.usefixtures("one_thread_and_one_seed")
CPU = torch.device("cpu")


class Recorder(nn.Module):
    """Returns its images, and notes its name and the values of their first pixels."""

    def __init__(self, name: str, calls: list[tuple[str, list[int]]]) -> None:
        super().__init__()
        self.name, self.calls = name, calls

    def forward(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.calls.append((self.name, images[:, 0, 0, 0].int().tolist()))
        return images


def numbered(count: int) -> Tensor:
    return torch.arange(count).float()[:, None, None, None].expand(-1, 1, 2, 2)


# The turns


def test_candidates_take_turns_on_the_next_images_after_a_warm_up() -> None:
    calls: list[tuple[str, list[int]]] = []
    fast, slow, short = (Recorder(name, calls) for name in ("fast", "slow", "short"))
    candidates = {"a": Candidate(fast, 3, 2, fast), "b": Candidate(slow, 1, 5, short)}
    times = time_purifiers(candidates, numbered(4), repeats=2)
    assert calls == [
        *(("fast", [0, 1]), ("short", [0])),
        *(("fast", [0, 1]), ("fast", [2]), ("slow", [0])),
        *(("fast", [3, 0]), ("fast", [1]), ("slow", [1])),
    ]
    assert list(times) == ["a", "b"]
    assert all(len(t) == 2 and min(t) > 0 for t in times.values())


def test_clock_waits_for_a_gpu_around_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(timing, "_wait_for", lambda device: calls.append("wait"))
    purifier = Recorder("p", calls)
    time_purifiers({"p": Candidate(purifier, 2, 1, purifier)}, numbered(2), repeats=1)
    assert calls == [("p", [0]), "wait", ("p", [0]), ("p", [1]), "wait"]


@pytest.mark.parametrize(("images", "batch"), [(0, 1), (1, 0)])
def test_nothing_to_time_is_refused(images: int, batch: int) -> None:
    purifier = Recorder("p", [])
    with pytest.raises(ValueError, match=f"p: .* got {images} in batches of {batch}"):
        time_purifiers({"p": Candidate(purifier, images, batch, purifier)}, numbered(2), repeats=1)
    with pytest.raises(ValueError, match="no images"):
        time_purifiers({}, numbered(0), repeats=1)


# The rows


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    """A small VAE and a small generator, in files, and the jobs of a small Table 4."""
    networks = {
        "DefenseVAE": (VAE(4, 2), {"latent": 4, "width": 2}),
        "Generator": (Generator(3, 2, (1, 28, 28)), {"latent": 3, "width": 2}),
    }
    described = {}
    for kind, (network, settings) in networks.items():
        described[kind] = {"kind": kind, "settings": settings}
        save_network(tmp_path / f"{kind}.safetensors", network, described[kind], (1, 28, 28))
    images = np.random.default_rng(0).random((5, 1, 28, 28), np.float32)
    write_dataset(tmp_path / "data.h5", {"test": (images, np.zeros(5, np.int64))}, {})
    vae = {
        **{"name": "defense_vae", "seed": 0, "method": "defense_vae", "settings": {}},
        "networks": {"vae": described["DefenseVAE"]},
    }
    search = {"steps": 7, "restarts": 5, "step_size": 10.0, "momentum": 0.7}
    gan = {
        **{"name": "defense_gan", "seed": 0, "method": "defense_gan", "settings": search},
        "networks": {"generator": described["Generator"]},
    }
    vae_files = {"vae": str(tmp_path / "DefenseVAE.safetensors")}
    gan_files = {"generator": str(tmp_path / "Generator.safetensors")}
    gan_job = {"purifier": gan, "files": gan_files, "images": 2, "batch_size": 2}
    jobs = [
        {"name": "vae", "purifier": vae, "files": vae_files, "images": 10, "batch_size": 4},
        *(
            gan_job | {"name": f"L{steps}_R{restarts}", "steps": steps, "restarts": restarts}
            for steps, restarts in ((2, 1), (2, 3))
        ),
        gan_job | {"name": "own"},
    ]
    return {
        **{"dataset": {"name": "digits"}, "seed": 0, "repeats": 3, "reference": "vae"},
        **{"jobs": jobs, "file": str(tmp_path / "data.h5")},
    }


def test_rows_say_what_was_timed(recipe: dict[str, Any]) -> None:
    rows = pd.DataFrame(run_time_rows(recipe, recipe["file"], CPU))
    assert rows["defense"].tolist() == ["defense_vae", *["defense_gan"] * 3]
    searched = rows[["iterations_L", "restarts_R"]].iloc[1:].astype(int).values.tolist()
    assert searched == [[2, 1], [2, 3], [7, 5]]
    assert rows.loc[0, ["iterations_L", "restarts_R"]].isna().all()
    assert rows["images"].tolist() == [10, 2, 2, 2]
    assert rows["batch"].tolist() == [4, 2, 2, 2]
    assert set(rows["reference"]) == {"defense_vae"}
    assert rows.loc[0, ["speed_up", "speed_up_q1", "speed_up_q3"]].tolist() == [1, 1, 1]
    with isolated_rng(0):
        vae = VAE(4, 2)
    assert rows.loc[0, "parameters"] == sum(p.numel() for p in vae.parameters())
    for name in ("seconds_per_1000", "speed_up"):
        low, median, high = (rows[f"{name}{end}"] for end in ("_q1", "", "_q3"))
        assert ((low > 0) & (low <= median) & (median <= high)).all()


def test_seconds_are_scaled_and_compared_within_a_turn(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The machine becomes slower and slower, for all of them.
    clock = {"vae": (1, 2, 4), "L2_R1": (10, 20, 40), "L2_R3": (30, 60, 120), "own": (1, 2, 4)}
    monkeypatch.setattr(run_time, "time_purifiers", lambda *_, repeats: clock)
    rows = run_time_rows(recipe, recipe["file"], CPU)
    # 10 images of the VAE, 2 of the searches
    assert [row["seconds_per_1000"] for row in rows] == [200, 10_000, 30_000, 1000]
    assert [row["seconds_per_1000_q1"] for row in rows] == [150, 7500, 22_500, 750]
    for name in ("speed_up", "speed_up_q1", "speed_up_q3"):
        assert [row[name] for row in rows] == [1, 50, 150, 5]


def test_searches_have_their_steps_and_starts(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, Candidate] = {}

    def keep(candidates: dict[str, Candidate], images: Tensor, repeats: int) -> dict[str, tuple]:
        kept.update(candidates)
        return dict.fromkeys(candidates, (1.0,) * repeats)

    monkeypatch.setattr(run_time, "time_purifiers", keep)
    run_time_rows(recipe, recipe["file"], CPU)
    for name, steps, restarts in (("L2_R1", 2, 1), ("L2_R3", 2, 3), ("own", 7, 5)):
        assert kept[name].purifier.settings.steps == steps
        assert kept[name].purifier.starts.shape == (restarts, 3)
        assert kept[name].warm_up.settings.steps == 1
        assert kept[name].warm_up.starts.shape == (restarts, 3)
    assert kept["vae"].warm_up is kept["vae"].purifier


def test_wrong_jobs_are_refused(recipe: dict[str, Any]) -> None:
    twice = copy.deepcopy(recipe)
    twice["jobs"][2]["name"] = "L2_R1"
    with pytest.raises(ValueError, match=r"different names, .*'L2_R1', 'L2_R1'"):
        run_time_rows(twice, recipe["file"], CPU)
    with pytest.raises(ValueError, match="one of them 'magnet', got"):
        run_time_rows(recipe | {"reference": "magnet"}, recipe["file"], CPU)


# The table


def made_up(defense: str, *search: int | None, **changes: Any) -> dict[str, Any]:
    steps, restarts = search or (None, None)
    seconds = 0.001 * (steps or 10) * (restarts or 10)
    row = {
        **{"dataset": "digits", "seed": 0, "defense": defense, "iterations_L": steps},
        **{"restarts_R": restarts, "reference": "defense_vae", "images": 50, "batch": 25},
        **{"repeats": 3, "seconds_per_1000": seconds, "seconds_per_1000_q1": 0.99 * seconds},
        **{"seconds_per_1000_q3": 1.05 * seconds, "speed_up": seconds / 0.1},
        **{"speed_up_q1": 0.9 * seconds / 0.1, "speed_up_q3": 1.1 * seconds / 0.1},
        **{"parameters": 12345, "device": "Some CPU", "threads": 2, "torch": "2.8.0"},
        **{"dtype": "float32", "image_shape": "1x28x28"},
    }
    return row | changes


def table4(**changes: Any) -> list[dict[str, Any]]:
    searches = ((200, 10), (400, 10), (200, 20), (50, 4))
    rows = [made_up("defense_gan", *search, **changes) for search in searches]
    return [made_up("defense_vae", **changes), *rows]


@pytest.fixture
def tabulate(tmp_path: Path) -> Callable[..., pd.DataFrame]:
    def make(*files: list[dict[str, Any]]) -> pd.DataFrame:
        paths = [tmp_path / f"{i}.csv" for i in range(len(files))]
        for path, rows in zip(paths, files, strict=True):
            pd.DataFrame(rows).to_csv(path, index=False)
        printed = paper_values("defense_vae", "Table 4", REPOSITORY / "resources/papers")
        return long_run_times(paths, printed)

    return make


def test_papers_seconds_stand_beside_the_same_defence(tabulate: Callable) -> None:
    magnet = made_up("magnet")
    long = tabulate([*table4(), magnet], table4(dataset="celeba", image_shape="3x64x64"))
    printed = [9.03, 441.81, 875.48, 876.10, np.nan, np.nan]
    np.testing.assert_array_equal(long["paper_seconds_per_1000"].astype(float)[:6], printed)
    assert long["paper_seconds_per_1000"][6:].isna().all(), "images of another size"
    assert long["paper_speed_up"][1] == pytest.approx(48.93, abs=0.01)
    assert long["paper_device"].tolist() == [*["Titan Xp"] * 4, *[""] * 7]


def test_wide_table_is_written_as_read(tabulate: Callable, tmp_path: Path) -> None:
    write_numbers(wide_run_times(tabulate(table4())), tmp_path / "table4.csv")
    lines = (tmp_path / "table4.csv").read_text().splitlines()
    assert lines[1] == (
        "digits,0,defense_vae,,,0.1,0.099,0.105,1,0.9,1.1,9.03,1,Titan Xp,"
        "50,25,3,12345,Some CPU,2,2.8.0,float32"
    )
    assert lines[2].startswith("digits,0,defense_gan,200,10,2,1.98,2.1,20,18,22,441.81,48.9269,")


def test_markdown_has_a_row_for_each_search(tabulate: Callable) -> None:
    text = run_time_markdown(tabulate(table4()), title="T", notes=["Note."])
    assert text.startswith("# T\n\nNote.\n\n## digits\n\nSome CPU, CPU threads: 2, torch 2.8.0, ")
    assert "| speed-up of defense_vae | paper |" in text
    assert "| defense_vae |  |  | 50 | 25 | **0.1** [0.099, 0.105] | 9.03 | **1** [" in text
    gan = "| defense_gan | 200 | 10 | 50 | 25 | **2** [1.98, 2.1] | 441.81 | **20** [18, 22] | 48.9"
    assert gan in text
    assert (
        "| defense_gan | 50 | 4 | 50 | 25 | **0.2** [0.198, 0.21] |  | **2** [1.8, 2.2] |  |"
        in text
    )
    assert "Titan Xp" in text and "Not alone" not in text
    unsteady = table4(image_shape="3x32x32")
    unsteady[1] |= {"seconds_per_1000_q3": 9.0}
    text = run_time_markdown(tabulate(unsteady), title="T")
    assert (
        "apart, as when other work shares the machine: digits, defense_gan, L = 200, R = 10."
        in text
    )
    assert "Titan Xp" not in text


def test_broken_times_are_refused(tabulate: Callable) -> None:
    with pytest.raises(ValueError, match="no files with run times"):
        tabulate()
    with pytest.raises(ValueError, match=r"0\.csv: two rows for digits, defense_gan, L = 200, R"):
        tabulate([*table4(), made_up("defense_gan", 200, 10)])
    with pytest.raises(ValueError, match=r"0\.csv: no time of the reference defense_vae"):
        tabulate(table4()[1:])
    with pytest.raises(ValueError, match=r"0\.csv: .*soon"):
        tabulate(table4(seconds_per_1000="soon"))
    rows = table4()
    for row in rows:
        del row["parameters"]
    with pytest.raises(ValueError, match=r"0\.csv: missing columns: parameters"):
        tabulate(rows)
