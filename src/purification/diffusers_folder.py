"""A diffusion model in a folder as the library diffusers saves it: what its files say.

The folder of a pipeline has the network in `unet/`; that of a network alone has it at the top. Its
`config.json` and `diffusion_pytorch_model.safetensors` are read, and `scheduler_config.json`, in
`scheduler/` or at the top, which says how noisy each level is. Pure Python: neither torch nor
diffusers is imported.
"""

import json
import math
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

PACKAGE = "diffusers"
WEIGHTS = "diffusion_pytorch_model.safetensors"
NETWORK = "UNet2DModel"
SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
PREDICTIONS = ("epsilon", "sample", "v_prediction")
_SCHEDULER = {
    **{"num_train_timesteps": 1000, "beta_schedule": None, "beta_start": 0.0001, "beta_end": 0.02},
    **{"trained_betas": None, "prediction_type": "epsilon"},
}
"""What decides the levels and what the network says, with the library's defaults."""
_LARGEST_BETA = 0.999  # of the cosine schedule


def is_folder(checkpoint: str | Path) -> bool:
    """Whether a checkpoint of the config is a folder, and no file of weights."""
    return Path(checkpoint).expanduser().is_dir()


def weights_of(checkpoint: str | Path) -> Path:
    """The file of weights of a checkpoint: itself, or that of a folder, which may not be there."""
    place = Path(checkpoint).expanduser()
    return _network_folder(place) / WEIGHTS if place.is_dir() else place


def _network_folder(folder: Path) -> Path:
    return folder / "unet" if (folder / "unet").is_dir() else folder


def read_folder(folder: str | Path) -> dict[str, Any]:
    """What decides the model beside its weights, as plain JSON values: `unet`, the settings of the
    network, and `scheduler`, those of `_SCHEDULER`. Raises ValueError, which names the file and
    what is wrong there, if it is no diffusion model that can purify here."""
    place = Path(folder).expanduser()
    network = _network_folder(place)
    unet, scheduler = _read(network / "config.json"), _read(_scheduler_file(place))
    if not (weights := network / WEIGHTS).is_file():
        raise ValueError(f"{weights} is not there: expected the network's weights")
    for file, wrong in (
        (network / "config.json", _wrong_unet(unet)),
        (_scheduler_file(place), _wrong_scheduler(scheduler)),
    ):
        for what in wrong:
            raise ValueError(f"{file}: {what}")
    return {
        "unet": {key: value for key, value in unet.items() if key[:1] != "_"},
        "scheduler": {key: scheduler.get(key, own) for key, own in _SCHEDULER.items()},
    }


def _scheduler_file(folder: Path) -> Path:
    name = "scheduler_config.json"
    return folder / name if (folder / name).is_file() else folder / "scheduler" / name


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ValueError(f"{file} is not there: expected a folder as {PACKAGE} saves it")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file}: expected a mapping; got {type(found).__name__}")
    return found


def _wrong_unet(unet: Mapping[str, Any]) -> Iterator[str]:
    """Why a network cannot purify here."""
    if unet.get("_class_name") != NETWORK:
        yield f"_class_name must be {NETWORK}; got {unet.get('_class_name')!r}"
    elif unet.get("class_embed_type") or unet.get("num_class_embeds"):
        yield "the network is told a class (class_embed_type, num_class_embeds); expected none"
    elif unet.get("in_channels", 3) != unet.get("out_channels", 3):
        yield (
            f"out_channels must be in_channels, {unet.get('in_channels', 3)}; got "
            f"{unet.get('out_channels', 3)} (a network that predicts variances, too, is not read)"
        )
    elif unet.get("time_embedding_type", "positional") == "fourier":
        yield "time_embedding_type must be positional or learned, of numbered levels; got 'fourier'"


def _wrong_scheduler(scheduler: Mapping[str, Any]) -> Iterator[str]:
    """Why a schedule cannot be read."""
    own = {key: scheduler.get(key, default) for key, default in _SCHEDULER.items()}
    steps = own["num_train_timesteps"]
    if not isinstance(steps, int) or steps < 1:
        yield f"num_train_timesteps must be a whole number of at least 1; got {steps!r}"
    elif own["trained_betas"] is None and own["beta_schedule"] not in SCHEDULES:
        yield f"beta_schedule must be one of {', '.join(SCHEDULES)}; got {own['beta_schedule']!r}"
    elif own["prediction_type"] not in PREDICTIONS:
        yield (
            f"prediction_type must be one of {', '.join(PREDICTIONS)}; got "
            f"{own['prediction_type']!r}"
        )
    elif scheduler.get("rescale_betas_zero_snr"):
        yield "rescale_betas_zero_snr: nothing of the image is left at the end; expected false"
    else:
        try:
            betas = _betas(own)
            right = len(betas) == steps and all(0 < beta < 1 for beta in betas)
        except (TypeError, ValueError):
            right = False
        if not right:
            yield f"expected {steps} betas between 0 and 1"


def signal_of(scheduler: Mapping[str, Any]) -> tuple[float, ...]:
    """a_0 .. a_T by the level, as `models.diffusion.SIGNAL`: the share of the variance that is the
    image's. Level s is the library's time step s - 1. `scheduler`: as of `read_folder`."""
    return (1.0, *accumulate((1 - beta for beta in _betas(scheduler)), mul))


def _betas(scheduler: Mapping[str, Any]) -> list[float]:
    """The share of the variance that each level's noise takes."""
    if scheduler["trained_betas"] is not None:
        return [float(beta) for beta in scheduler["trained_betas"]]
    steps, schedule = scheduler["num_train_timesteps"], scheduler["beta_schedule"]
    if schedule == "squaredcos_cap_v2":
        curve = [math.cos((s / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for s in range(steps + 1)]
        return [min(1 - curve[s + 1] / curve[s], _LARGEST_BETA) for s in range(steps)]
    power = 0.5 if schedule == "scaled_linear" else 1
    first, last = scheduler["beta_start"] ** power, scheduler["beta_end"] ** power
    step = (last - first) / (steps - 1) if steps > 1 else 0.0
    return [(first + s * step) ** (1 / power) for s in range(steps)]


def wrong_images(unet: Mapping[str, Any], shape: tuple[int, ...]) -> Iterator[str]:
    """Why a network is not for images of that shape, (C, H, W)."""
    size = unet.get("sample_size")
    sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
    wanted = (unet.get("in_channels", 3), *(shape[1:] if size is None else sides))
    if wanted != tuple(shape):
        of, got = ("x".join(map(str, one)) for one in (wanted, shape))
        yield f"it is for images of {of} (channels, height, width), and these have {got}"


def missing_package() -> str | None:
    """What to do where the library that builds such networks is not installed; None where it is."""
    if find_spec(PACKAGE):
        return None
    return (
        f"such a folder needs the package {PACKAGE}, which is not installed: pip install {PACKAGE}"
    )
