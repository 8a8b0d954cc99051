"""How long a search takes: what is run and counted (no time is asserted), and Table 13."""

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import DEFAULT, REPOSITORY, SCHEMA, edit
from torch import Tensor, nn

from purification.evaluation.timing import (
    BestBatch,
    describe_device,
    find_best_batch,
    seconds_of,
    time_search,
)
from purification.experiments import Catalogue, ConfigError, paper_table, timing_notes
from purification.purifiers import SearchSettings
from purification.reporting.csv_files import write_numbers
from purification.reporting.papers import paper_values
from purification.reporting.timing import (
    long_timings,
    timing_markdown,
    wide_timings,
)

CPU = torch.device("cpu")


class CountingGenerator(nn.Module):
    """A small smooth generator that counts the latent codes it was given."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.matrix = torch.randn(16, 3, generator=random)
        self.codes = 0

    def forward(self, latents: Tensor) -> Tensor:
        self.codes += len(latents)
        return torch.sigmoid(latents @ self.matrix.T).view(-1, 1, 4, 4)


def images_of(count: int) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(2))


def timed(generator: nn.Module, images: Tensor, **changes: Any) -> list:
    settings = {"steps": [3, 1], "restarts": [2, 1], "repeats": 2, "largest_batch": 4}
    starts = torch.zeros(max(settings["restarts"]), 3)
    search = SearchSettings(steps=0, step_size=1.0)
    return time_search(generator, images, starts, search, **settings | changes)


# The clock and the batch


def test_warm_up_comes_first_and_is_not_counted() -> None:
    calls: list[object] = []
    seconds = seconds_of(
        calls.append, repeats=3, device=CPU, warm_up=lambda: calls.append("warm-up")
    )
    assert calls == ["warm-up", 0, 1, 2]
    assert len(seconds) == 3 and all(second > 0 for second in seconds)
    calls.clear()
    seconds_of(calls.append, repeats=1, device=CPU)
    assert calls == [0, 0]


def test_clock_waits_for_a_gpu_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append(device.type))
    seconds_of(calls.append, repeats=2, device=torch.device("cuda"))
    assert calls == [0, "cuda", 0, "cuda", "cuda", 1, "cuda"]


def test_batch_grows_while_it_pays() -> None:
    # A second for each call and one for every 8 images begun: 8 images cost no more than one.
    best = find_best_batch(lambda batch: 1 + -(-batch // 8), largest=1024)
    assert best.stopped == "gain"
    assert list(best.tried) == [2**i for i in range(len(best.tried))]
    assert best.batch == list(best.tried)[-2]
    rates = list(best.tried.values())
    assert rates[-1] < 1.05 * rates[-2]
    assert all(later >= 1.05 * rate for rate, later in pairwise(rates[:-1]))
    # No gain at all: the first doubling is the last.
    assert find_best_batch(float, largest=64) == BestBatch(1, {1: 1.0, 2: 1.0}, "gain")


@pytest.mark.parametrize(("largest", "tried"), [(1, [1]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_batch_stops_at_the_limit(largest: int, tried: list[int]) -> None:
    best = find_best_batch(lambda _: 1.0, largest)
    assert (best.batch, list(best.tried), best.stopped) == (largest, tried, "limit")


def test_batch_that_does_not_fit_is_taken_back() -> None:
    def seconds(batch: int) -> float:
        if batch > 5:
            raise torch.OutOfMemoryError("made up")
        return 1.0

    best = find_best_batch(seconds, 64)
    assert (best.batch, list(best.tried), best.stopped) == (4, [1, 2, 4], "memory")

    def never(batch: int) -> float:
        raise torch.OutOfMemoryError("made up")

    with pytest.raises(torch.OutOfMemoryError):
        find_best_batch(never, 64)


def test_every_cell_is_timed_one_by_one_and_in_the_best_batch() -> None:
    times = timed(CountingGenerator(), images_of(5))
    assert [(t.restarts, t.steps, t.measurement) for t in times] == [
        (restarts, steps, kind)
        for restarts in (2, 1)
        for steps in (3, 1)
        for kind in ("latency", "throughput")
    ]
    for time in times:
        assert len(time.seconds) == 2 and min(time.seconds) > 0
        assert time.batch == (1 if time.measurement == "latency" else time.best.batch)
        assert time.best.batch in time.best.tried and max(time.best.tried) <= 4
    assert len({id(time.best) for time in times}) == 2  # found once for each R


@pytest.mark.parametrize(("steps", "restarts"), [([2], [1]), ([4], [1]), ([2], [3]), ([5, 2], [2])])
def test_the_work_is_that_of_the_searches(steps: list[int], restarts: list[int]) -> None:
    """A search of L steps asks the generator L + 1 times for R images."""
    generator = CountingGenerator()
    starts = torch.zeros(3, 3)
    settings = SearchSettings(steps=0, step_size=1.0)
    time_search(
        *(generator, images_of(2), starts, settings),
        **{"steps": steps, "restarts": restarts, "repeats": 3, "largest_batch": 1},
    )
    [count], least = restarts, min(steps)
    expected = (1 + 3) * (least + 1)  # for the batch: a warm-up and the repeats
    expected += sum(2 * ((least + 1) + 3 * (length + 1)) for length in steps)
    assert generator.codes == count * expected


def test_too_few_images_or_starts_are_refused() -> None:
    with pytest.raises(ValueError, match="largest_batch is 4, but there are 3 images"):
        timed(CountingGenerator(), images_of(3))
    with pytest.raises(ValueError, match="5 restarts need as many starts, got 2"):
        timed(CountingGenerator(), images_of(4), restarts=[5])


def test_device_is_described() -> None:
    facts = describe_device(CPU)
    assert facts["device"] and facts["torch"] == torch.__version__
    assert facts["threads"] == torch.get_num_threads()


# The tables


def made_up(steps: int, restarts: int, measurement: str, **changes: Any) -> dict[str, Any]:
    batch = 1 if measurement == "latency" else 16
    seconds = 0.001 * steps * restarts / batch
    row = {
        **{"dataset": "digits", "seed": 0, "defense": "defense_gan"},
        **{"iterations_L": steps, "restarts_R": restarts, "measurement": measurement},
        **{"batch": batch, "repeats": 3, "seconds_per_image": seconds},
        **{"seconds_per_image_q1": 0.99 * seconds, "seconds_per_image_q3": 1.05 * seconds},
        **{"images_per_second": 1 / seconds, "images_per_second_q1": 1 / (1.05 * seconds)},
        **{"images_per_second_q3": 1 / (0.99 * seconds), "batches_tried": "1 2 4 8 16 32"},
        **{"images_per_second_tried": "1 2 3 4 5 5.1", "stopped": "gain", "device": "Some CPU"},
        **{"threads": 2, "torch": "2.8.0", "dtype": "float32", "image_shape": "1x28x28"},
        **{"latent": 64, "width": 16},
    }
    return row | changes


def grid(*cells: tuple[int, int], **changes: Any) -> list[dict[str, Any]]:
    kinds = ("latency", "throughput")
    return [made_up(*cell, kind, **changes) for cell in cells for kind in kinds]


@pytest.fixture
def tabulate(tmp_path: Path) -> Callable[..., pd.DataFrame]:
    def make(*files: list[dict[str, Any]]) -> pd.DataFrame:
        paths = [tmp_path / f"{i}.csv" for i in range(len(files))]
        for path, rows in zip(paths, files, strict=True):
            pd.DataFrame(rows).to_csv(path, index=False)
        printed = paper_values("defense_gan", "Table 13", REPOSITORY / "resources/papers")
        return long_timings(paths, printed)

    return make


def test_papers_seconds_stand_beside_latencies_of_the_same_search(tabulate: Callable) -> None:
    long = tabulate(grid((25, 2), (200, 20), (25, 3)))
    beside = long.set_index(["iterations_L", "restarts_R", "measurement"])
    assert beside.loc[(25, 2, "latency"), "paper_seconds_per_image"] == 0.067
    assert beside.loc[(200, 20, "latency"), "paper_seconds_per_image"] == 0.825
    assert beside.loc[(200, 20, "latency"), "paper_std"] == 0.022
    assert beside.loc[(200, 20, "latency"), "paper_device"] == "GTX Titan X"
    assert long["paper_seconds_per_image"].notna().sum() == 2
    assert (long["paper_device"] != "").sum() == 2


def test_wide_table_has_both_measurements_in_a_row(tabulate: Callable, tmp_path: Path) -> None:
    mnist = grid((10, 1), dataset="mnist", device="Some GPU")
    wide = wide_timings(tabulate(grid((10, 1), (10, 5), (50, 1)), mnist))
    assert wide[["dataset", "iterations_L", "restarts_R"]].values.tolist() == [
        *(["digits", 10, 1], ["digits", 10, 5], ["digits", 50, 1], ["mnist", 10, 1]),
    ]
    assert wide["seconds_per_image"].tolist() == pytest.approx([0.01, 0.05, 0.05, 0.01])
    assert wide["images_per_second"].tolist() == pytest.approx([1600, 320, 320, 1600])
    assert wide["best_batch"].tolist() == [16] * 4
    assert wide["paper_seconds_per_image"].tolist() == [0.043, 0.043, 0.137, 0.043]
    assert wide["device"].tolist() == [*(["Some CPU"] * 3), "Some GPU"]
    write_numbers(wide, tmp_path / "table13.csv")
    first = (tmp_path / "table13.csv").read_text().splitlines()[1]
    assert first == (
        "digits,0,defense_gan,10,1,0.01,0.0099,0.0105,1600,1523.81,1616.16,16,"
        "0.043,0.027,GTX Titan X,3,Some CPU,2,2.8.0,float32"
    )


def test_markdown_has_steps_down_and_restarts_across(tabulate: Callable) -> None:
    text = timing_markdown(tabulate(grid((10, 1), (10, 3), (50, 1))), title="T", notes=["Note."])
    assert text.startswith("# T\n\nNote.\n\n## digits\n\nSome CPU, CPU threads: 2, torch 2.8.0, ")
    assert "| L | R = 1 | R = 3 |" in text
    latency = "**0.01**<br>[0.0099, 0.0105]<br>paper 0.043"
    assert f"| 10 | {latency} | **0.03**<br>[0.0297, 0.0315] |" in text
    assert "| **1600**<br>[1520, 1620]<br>batch 16 |" in text.replace("| 10 |", "|")
    assert "GTX Titan X" in text and "Not alone" not in text
    unsteady = grid((10, 3), seconds_per_image_q3=0.5)
    text = timing_markdown(tabulate(unsteady), title="T")
    assert "Not alone" in text and "digits, L = 10, R = 3" in text
    assert "GTX Titan X" not in text


def test_broken_times_are_refused(tabulate: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no files with times"):
        tabulate()
    with pytest.raises(ValueError, match=r"0\.csv: two rows for latency, L = 10, R = 1"):
        tabulate([*grid((10, 1)), made_up(10, 1, "latency")])
    with pytest.raises(ValueError, match=r"0\.csv: expected a latency and a throughput"):
        tabulate([made_up(10, 1, "latency")])
    with pytest.raises(ValueError, match=r"0\.csv: .*soon"):
        tabulate(grid((10, 1), seconds_per_image="soon"))
    rows = grid((10, 1))
    for row in rows:
        del row["device"]
    with pytest.raises(ValueError, match=r"0\.csv: missing columns: device"):
        tabulate(rows)


# The config and the artifact


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (
            "defense",
            "defence_gan",
            "mean 'defense_gan'.* allowed: defense_gan$",
        ),
        ("defense", "magnet", "got 'magnet'; allowed: defense_gan$"),
        (
            "defense",
            "adv_training",
            "got 'adv_training'.*; allowed: defense_gan$",
        ),
        (
            "defense",
            "defense_gan_orig",
            "got 'defense_gan_orig'.*; allowed: defense_gan$",
        ),
        ("datasets", ["digit"], "allowed: digits, mnist, fmnist"),
        ("largest_batch", 501, r"must be at most datasets\.digits\.test = 500"),
        ("steps", [0], "0 is less than the minimum of 1"),
        ("restarts", [], "should be non-empty"),
        ("repeat", 3, "unknown key 'repeat'"),
    ],
)
def test_wrong_settings_are_refused(key: str, value: Any, expected: str) -> None:
    config = copy.deepcopy(DEFAULT)
    edit("table13", key, value=value)(config)
    with pytest.raises(ConfigError, match=f"table13.*{expected}"):
        Catalogue(config, SCHEMA).study("table13")


def test_a_timing_is_of_the_generator_and_the_search_but_not_of_the_defenses_own_l_and_r() -> None:
    def digest(*place: str, value: Any) -> str:
        config = copy.deepcopy(DEFAULT)
        edit(*place, value=value)(config)
        return paper_table(Catalogue(config, SCHEMA), "table13").digest

    same = paper_table(Catalogue(DEFAULT, SCHEMA), "table13").digest
    assert digest("defenses", "defense_gan", "steps", value=99) == same
    assert digest("defenses", "defense_gan", "restarts", value=9) == same
    assert digest("defenses", "defense_gan", "momentum", value=0.5) != same
    assert digest("generators", "wgan_gp", "width", value=8) != same
    assert digest("table13", "steps", value=[10]) != same
    [timing] = paper_table(Catalogue(DEFAULT, SCHEMA), "table13").measurements
    assert timing.path == "results/digits/seed0/timings/defense_gan.csv"
    assert set(timing.inputs) == {"dataset", "generator"}
    with pytest.raises(ConfigError, match=r"defenses\.magnet is no latent search"):
        Catalogue(DEFAULT, SCHEMA).timing("digits", 0, "magnet")
    [note] = timing_notes(Catalogue(DEFAULT, SCHEMA), "table13")
    assert "step_size 10.0" in note and "width 16" in note
