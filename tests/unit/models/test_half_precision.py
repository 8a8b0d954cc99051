"""bfloat16 where the device does not compute in it."""

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor

from purification.models import half_precision
from purification.models.classifiers import build_classifier
from purification.models.wgan import Critic, Generator
from purification.purifiers.descent import SearchSettings
from purification.purifiers.latent_search import latent_search, sweep_search
from purification.training.precision import in_precision
from purification.training.training_network import training_network
from purification.training.written_out import WrittenOut

Work = Callable[[str], Tensor]
CPU = torch.device("cpu")


@pytest.fixture
def users_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module as users have it: the tests' others take bfloat16 everywhere (conftest)."""
    fresh = importlib.util.module_from_spec(half_precision.__spec__)
    half_precision.__spec__.loader.exec_module(fresh)
    monkeypatch.setattr(half_precision, "usable", fresh.usable)
    yield fresh


@pytest.fixture
def imitated(users_own: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(users_own, "computes_in_bfloat16", lambda kind: False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_float32_takes_its_place_and_is_told_once(
    users_own: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users_own, "computes_in_bfloat16", lambda kind: kind != "cpu")
    with pytest.warns(UserWarning, match="this cpu does not compute in bfloat16: float32") as told:
        found = [users_own.usable("bfloat16", CPU) for _ in range(3)]
    assert found == ["float32"] * 3
    assert len(told) == 1
    assert users_own.usable("bfloat16", torch.device("meta")) == "bfloat16"


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_other_precisions_stay_as_they_are(
    precision: str, computed: bool, users_own: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users_own, "computes_in_bfloat16", lambda kind: computed)
    assert users_own.usable(precision, CPU) == precision


def test_a_cpu_is_asked_and_taken_at_its_word(
    users_own: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert users_own.computes_in_bfloat16("cpu") == says
    for other in (True, False):
        users_own.computes_in_bfloat16.cache_clear()
        monkeypatch.setattr(
            torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda other=other: other
        )
        assert users_own.computes_in_bfloat16("cpu") == other


def test_where_torch_cannot_say_it_is_computed_as_asked(
    users_own: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> bool:
        raise AttributeError("no such operator")

    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", gone)
    assert users_own.computes_in_bfloat16("cpu")


def test_a_gpu_that_imitates_it_does_not_count(
    users_own: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert not users_own.computes_in_bfloat16("cuda")


def search(precision: str) -> Tensor:
    generator = Generator(latent=8, width=4)
    images = torch.rand(3, 1, 28, 28, generator=seeded())
    starts = torch.randn(4, 8, generator=seeded())
    settings = SearchSettings(5, prune=((2, 2),), precision=precision)
    return latent_search(generator, images, starts, settings).latents


def sweep(precision: str) -> Tensor:
    generator = Generator(latent=8, width=4)
    images = torch.rand(3, 1, 28, 28, generator=seeded())
    starts = torch.randn(4, 8, generator=seeded())
    found = sweep_search(
        generator, images, starts, SearchSettings(3, precision=precision), [(3, 2)]
    )
    return found[3, 2].latents


def classifier(precision: str) -> Tensor:
    images = torch.rand(3, 1, 28, 28, generator=seeded())
    return in_precision(build_classifier("D").eval(), precision)(images)


def generator_in_training(precision: str) -> Tensor:
    codes = torch.randn(3, 8, generator=seeded())
    return training_network(Generator(latent=8, width=4), precision=precision)(codes)


def written_out(precision: str) -> Tensor:
    codes = torch.randn(3, 8, generator=seeded())
    return WrittenOut(Generator(latent=8, width=4), Critic(width=4), precision).images(codes)


WORK = [search, sweep, classifier, generator_in_training, written_out]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def of_the_same_weights(work: Work, precision: str) -> Tensor:
    torch.manual_seed(0)
    return work(precision)


@pytest.mark.usefixtures("imitated")
@pytest.mark.parametrize("work", WORK)
def test_what_a_device_does_not_compute_is_bit_for_bit_that_of_float32(work: Work) -> None:
    asked, full = (of_the_same_weights(work, name) for name in ("bfloat16", "float32"))
    assert torch.equal(asked, full)


@pytest.mark.parametrize("work", WORK)
def test_what_it_computes_is_not(work: Work) -> None:
    asked, full = (of_the_same_weights(work, name) for name in ("bfloat16", "float32"))
    assert not torch.equal(asked, full)


@pytest.mark.usefixtures("imitated")
def test_an_unknown_precision_is_refused_all_the_same() -> None:
    with pytest.raises(ValueError, match="precision must be one of"):
        in_precision(build_classifier("D"), "float16")
    with pytest.raises(TypeError, match="precision is for Generator and Critic"):
        training_network(torch.nn.Linear(2, 2), precision="bfloat16")
