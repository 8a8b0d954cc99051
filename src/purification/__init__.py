"""Adversarial purification with generative models, and honest attacks on it.

    from purification import evaluate, load_defended, load_images

    model = load_defended("results/digits/seed0", "defense_gan", "A")
    images, labels = load_images("results/digits/seed0", n=100)
    report = evaluate(model, images, labels, epsilon=0.1, budget="quick")

What is named here is imported when it is first used: the workflow loads this package on every run,
and each of its jobs only the rooms that it needs. A script of the workflow goes on in a process
that has its libraries already (`purification.warm_start`).
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if os.environ.get("PURIFICATION_STARTER"):
    from purification.hand_over import hand_over

    hand_over()

if TYPE_CHECKING:
    from purification.api.available import available
    from purification.api.evaluate import evaluate
    from purification.api.loading import (
        load_classifier,
        load_defended,
        load_images,
        load_purifier,
    )
    from purification.api.report import Report
    from purification.attacks.run import run_attack
    from purification.purifiers.base import Defended, Purifier

__version__ = "0.2.0"
__all__ = [
    "Defended",
    "Purifier",
    "Report",
    "__version__",
    "available",
    "evaluate",
    "load_classifier",
    "load_defended",
    "load_images",
    "load_purifier",
    "run_attack",
]
_MODULES = {
    "Defended": "purifiers.base",
    "Purifier": "purifiers.base",
    "Report": "api.report",
    "available": "api.available",
    "evaluate": "api.evaluate",
    "load_classifier": "api.loading",
    "load_defended": "api.loading",
    "load_images": "api.loading",
    "load_purifier": "api.loading",
    "run_attack": "attacks.run",
}
"""Where each name comes from."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__]
