"""Diffusion models in a folder of the library diffusers: what is read, what is refused, and, where
the library is installed, the same numbers as its own."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import micro_catalogue
from torch import Tensor

from purification.diffusers_folder import PACKAGE, read_folder, signal_of, weights_of
from purification.experiments import ConfigError
from purification.models.diffusers_network import DiffusersModel
from purification.models.diffusion import SIGNAL, level_of
from purification.plugins import file_digest, provide_files

INSTALLED = importlib.util.find_spec(PACKAGE) is not None
library = pytest.mark.skipif(not INSTALLED, reason="diffusers is not installed")
UNET: dict[str, Any] = {
    **{"_class_name": "UNet2DModel", "_diffusers_version": "0.42.1", "sample_size": 28},
    **{"in_channels": 1, "out_channels": 1, "layers_per_block": 1, "norm_num_groups": 4},
    **{"block_out_channels": [4, 8], "down_block_types": ["DownBlock2D", "AttnDownBlock2D"]},
    **{"up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "attention_head_dim": 4},
}
SCHEDULER: dict[str, Any] = {
    **{"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear"},
    **{"beta_start": 0.0001, "beta_end": 0.02, "prediction_type": "epsilon"},
}


def folder(
    place: Path, unet: Any = UNET, scheduler: Any = SCHEDULER, *, inner: str = "unet"
) -> Path:
    """A folder whose weights are no network's."""
    network = place / inner
    network.mkdir(parents=True, exist_ok=True)
    (network / "config.json").write_text(json.dumps(unet))
    weights_of(place).write_bytes(b"weights")
    (place / "scheduler").mkdir(exist_ok=True)
    (place / "scheduler/scheduler_config.json").write_text(json.dumps(scheduler))
    return place


def test_a_folder_says_what_decides_the_model(tmp_path: Path) -> None:
    for name, inner in (("pipeline", "unet"), ("network", ".")):
        made = read_folder(folder(tmp_path / name, inner=inner))
        assert made["unet"] == {k: v for k, v in UNET.items() if k[0] != "_"}
        assert made["scheduler"] == {
            **{k: v for k, v in SCHEDULER.items() if k[0] != "_"},
            "trained_betas": None,
        }


def test_the_noise_levels_are_those_of_the_closed_forms() -> None:
    linear = signal_of({**SCHEDULER, "trained_betas": None})
    betas = torch.linspace(0.0001, 0.02, 1000, dtype=torch.float64)
    assert linear[0] == 1 and len(linear) == 1001
    torch.testing.assert_close(torch.tensor(linear[1:]).double(), (1 - betas).cumprod(0))
    scaled = signal_of({**SCHEDULER, "beta_schedule": "scaled_linear", "trained_betas": None})
    roots = torch.linspace(0.0001**0.5, 0.02**0.5, 1000, dtype=torch.float64)
    torch.testing.assert_close(torch.tensor(scaled[1:]).double(), (1 - roots**2).cumprod(0))
    # The cosine is our own.
    cosine = {**SCHEDULER, "beta_schedule": "squaredcos_cap_v2", "trained_betas": None}
    assert signal_of(cosine) == pytest.approx(SIGNAL, rel=1e-9)
    assert signal_of({**SCHEDULER, "trained_betas": [0.5, 0.5]}) == (1, 0.5, 0.25)
    assert level_of(0.3, linear) == 300


@pytest.mark.parametrize(
    ("unet", "scheduler", "why"),
    [
        ({"_class_name": "UNet2DConditionModel"}, {}, "must be UNet2DModel; got 'UNet2DCond"),
        ({"num_class_embeds": 10}, {}, "the network is told a class"),
        ({"out_channels": 2}, {}, "out_channels must be in_channels, 1; got 2"),
        ({"time_embedding_type": "fourier"}, {}, "time_embedding_type must be positional"),
        ({}, {"beta_schedule": "sigmoid"}, "beta_schedule must be one of linear, scaled_linear"),
        ({}, {"prediction_type": "flow"}, "prediction_type must be one of epsilon, sample"),
        ({}, {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr: nothing of the image"),
        ({}, {"trained_betas": [0.1]}, "expected 1000 betas between 0 and 1"),
        ({}, {"num_train_timesteps": 0}, "num_train_timesteps must be a whole number"),
    ],
)
def test_what_cannot_purify_is_refused_with_its_file(
    tmp_path: Path, unet: Any, scheduler: Any, why: str
) -> None:
    made = folder(tmp_path / "mine", {**UNET, **unet}, {**SCHEDULER, **scheduler})
    with pytest.raises(ValueError, match=r"config\.json: ") as refused:
        read_folder(made)
    assert why in str(refused.value)


def entry(**settings: Any) -> Any:
    return micro_catalogue(
        generators={"mine": {"kind": "diffusion", **settings}},
        defenses={"one_step": {"generator": "mine"}},
    )


def test_a_folder_stands_in_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("purification.diffusers_folder.find_spec", lambda _: True)
    made = folder(tmp_path / "mine")
    catalogue = entry(checkpoint=str(made))
    network = catalogue.purifier("digits", 0, "one_step").networks["generator"]
    assert network.adopted and network.parts == []
    recipe = network.recipe["settings"]
    assert recipe["checkpoint"] == file_digest(made / "unet/diffusion_pytorch_model.safetensors")
    assert (recipe["unet"], recipe["scheduler"]) == tuple(read_folder(made).values())
    # Another schedule is another model, and another place or version of the library is not.
    moved = folder(tmp_path / "other", {**UNET, "_diffusers_version": "0.1"}, inner=".")
    assert entry(checkpoint=str(moved)).generator("digits", 0, "mine").digest == network.digest
    slower = folder(tmp_path / "slower", scheduler={**SCHEDULER, "beta_end": 0.01})
    assert entry(checkpoint=str(slower)).generator("digits", 0, "mine").digest != network.digest
    with pytest.raises(ConfigError, match=r"for images of 1x28x28 .*these have 3x32x32"):
        catalogue.generator("cifar10", 0, "mine")


def test_a_wrong_folder_is_told_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = folder(tmp_path / "mine")
    monkeypatch.setattr("purification.diffusers_folder.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"mine\.checkpoint: .*not installed: pip install diff"):
        entry(checkpoint=str(made))
    monkeypatch.setattr("purification.diffusers_folder.find_spec", lambda _: True)
    with pytest.raises(ConfigError, match=r"mine\.width: the folder says itself how wide"):
        entry(checkpoint=str(made), width=8)
    (made / "scheduler/scheduler_config.json").unlink()
    with pytest.raises(
        ConfigError, match=r"mine\.checkpoint: .*scheduler_config.json is not there"
    ):
        entry(checkpoint=str(made))
    (tmp_path / "file.safetensors").touch()
    with pytest.raises(ConfigError, match=r"generators\.mine: the key 'width' is missing"):
        entry(checkpoint=str(tmp_path / "file.safetensors"))


# --- with the library


def saved(place: Path, scheduler: Any) -> Any:
    """A network of random weights, saved by the library with its scheduler."""
    from diffusers import DDPMScheduler, UNet2DModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet2DModel(**{k: v for k, v in UNET.items() if k[0] != "_"}).eval()
    network.save_pretrained(place / "unet")
    given = {k: v for k, v in scheduler.items() if k[0] != "_"}
    DDPMScheduler(**given).save_pretrained(place / "scheduler")
    return network


def adopted(place: Path) -> Any:
    from purification.models.checkpoints import adopted_network

    provide_files([weights_of(place)])
    settings = {"checkpoint": file_digest(weights_of(place)), **read_folder(place)}
    return adopted_network({"kind": "Diffusion", "name": "mine", "settings": settings}, (1, 28, 28))


@library
@pytest.mark.parametrize("predicts", ["epsilon", "sample", "v_prediction"])
def test_it_takes_the_noise_out_as_the_library_does(tmp_path: Path, predicts: str) -> None:
    from diffusers import DDPMScheduler

    settings = {**SCHEDULER, "prediction_type": predicts, "clip_sample": False}
    network = saved(tmp_path, settings)
    said = read_folder(tmp_path)
    model = DiffusersModel(said["unet"], said["scheduler"], (1, 28, 28)).eval()
    model.network.load_state_dict(network.state_dict())
    schedule = DDPMScheduler.from_pretrained(tmp_path / "scheduler")
    assert model.signal[1:] == pytest.approx(schedule.alphas_cumprod.tolist(), rel=1e-4)
    noisy = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    level = 300
    with torch.no_grad():
        answer: Tensor = network(noisy, level - 1).sample
        clean = schedule.step(answer, level - 1, noisy).pred_original_sample
        torch.testing.assert_close(model.clean(noisy, level), clean, rtol=1e-3, atol=1e-3)
        several = torch.tensor([300, 20])
        each = torch.cat([model.noise(noisy[i : i + 1], int(several[i])) for i in range(2)])
        torch.testing.assert_close(model.noise(noisy, several), each, rtol=1e-4, atol=1e-4)


@library
def test_purifiers_differentiate_it_twice_and_it_comes_back_from_its_file(tmp_path: Path) -> None:
    from purification.models.checkpoints import load_network, save_network
    from purification.purifiers.diffpure import DiffPure
    from purification.purifiers.likelihood_maximisation import LikelihoodMaximisation
    from purification.randomness import draw_seeds

    saved(tmp_path, SCHEDULER)
    settings = {"checkpoint": file_digest(weights_of(tmp_path)), **read_folder(tmp_path)}
    recipe = {"kind": "Diffusion", "name": "mine", "settings": settings}
    save_network(tmp_path / "kept", adopted(tmp_path), recipe, (1, 28, 28))
    model = load_network(tmp_path / "kept", "Diffusion")
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    seeds, common = draw_seeds(0, range(2), 0), {"draws": 1, "aggregation": "mean", "time": 0.2}
    diffused = {"denoising_steps": 2, "backward": "ancestral", **common}
    ascending = {"ascent_steps": 1, "step_size": 0.03, "budget": 0.1, **common}
    for build, own in ((DiffPure, diffused), (LikelihoodMaximisation, ascending)):
        given = images.clone().requires_grad_()
        made = build(own, (1, 28, 28), {"generator": model})(given, seeds)
        (slope,) = torch.autograd.grad(made.square().sum(), given)
        assert math.isfinite(slope.abs().sum().item()) and slope.abs().amax((1, 2, 3)).min() > 0
