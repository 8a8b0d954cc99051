"""A config in miniature: every length in it is short, and all else is as it was.

Which number is a length stands here. One of which it does not stand is an error, so that no new key
of the config makes a test long unseen.
"""

from collections.abc import Callable
from typing import Any

from conftest import DEFAULT, REPOSITORY, merged, read_yaml

SHORT = {
    **dict.fromkeys(("epochs", "critic_steps", "binary_search_steps", "ascent_steps", "rounds"), 1),
    **dict.fromkeys(("draws", "judged_draws", "selection_draws", "expectation", "repeats"), 2),
    **dict.fromkeys(("search_images", "batch", "queries", "denoising_steps"), 2),
    **{
        "images": 1,
        "batch_size": 8,
        "width": 8,
        "largest_batch": 8,
        "checkpoint_every": 5,
        "threads": 1,
    },
    **{"iterations": 2, "training": 10, "train": 10, "validation": 20, "test": 12},
}
"""Lengths that nothing else hangs on: at most so many."""
ALL = {"images": 2, "train": 10, "validation": None, "test": None, "validation_images": None}
"""What stands for all images, null in the config: made-up data sets have few."""
SCALES = {
    **dict.fromkeys(("steps", "cleaning_steps"), "steps"),
    **{"restarts": "restarts", "latent": "latent", "snapshots": "snapshots"},
}
"""Lengths that are compared or shared: two of a scale that differ still do. The shortest becomes 1,
the next 2."""
NO_LENGTHS = """
alpha betas bits budget candidates classifier_weight confidence constant deviation
discriminator_learning_rate discriminator_weight doubling ema epsilon epsilons exponents
false_positive_rate fill gradient_penalty guidance kl_weight largest_radius learning_rate
momentum noise noise_bound overshoot p_init pixel_range published_reach quality
reconstruction_weight seeds sigma smallest step step_size time times weight window xi
"""
Number = int | float | None


def miniature(config: dict[str, Any]) -> dict[str, Any]:
    """The config with every length short. Raises KeyError, with its key, for a number of which this
    file does not say whether it is a length."""
    found: dict[str, set[Number]] = {scale: set() for scale in SCALES.values()}

    def notice(key: str, number: Number) -> Number:
        if key in SCALES and number is not None:
            found[SCALES[key]].add(number)
        return number

    _changed(config, "", notice)
    ranks = {
        scale: {number: rank for rank, number in enumerate(sorted(numbers), 1)}
        for scale, numbers in found.items()
    }

    def shorten(key: str, number: Number) -> Number:
        if number is None and key in ALL:
            return ALL[key]
        if key in SCALES:
            return ranks[SCALES[key]][number]
        if key in SHORT:
            return min(number, SHORT[key])
        if key in NO_LENGTHS.split():
            return number
        raise KeyError(f"{key}: {number}: tests/miniature.py does not say whether it is a length")

    return _changed(config, "", shorten)


def _changed(
    value: Any, key: str, change: Callable[[str, Number], Number], generators: bool = False
) -> Any:
    """A config with each of its numbers and nulls changed, by its key. `generators`: within that
    section, where the last of a training's iterations is a snapshot, or there are at least ten."""
    if isinstance(value, dict):
        # A number for each of several threat models, or kinds of job.
        of_all = dict.fromkeys(value, key) if key in ("images", "batch_size") else {}
        if generators:
            of_all = {"iterations": "snapshots" if "snapshots" in value else "training"}
        return {
            name: _changed(item, of_all.get(name, name), change, generators or name == "generators")
            for name, item in value.items()
        }
    if key == "step_sizes":
        return [[change("steps", steps), size] for steps, size in value]
    if isinstance(value, list):
        return [_changed(item, key, change, generators) for item in value]
    return value if isinstance(value, bool | str) else change(key, value)


def paper_in_miniature() -> dict[str, Any]:
    """config/paper.yaml over the default config, for made-up data in `data`."""
    config = miniature(merged(DEFAULT, read_yaml(REPOSITORY / "config/paper.yaml")))
    # Lengths that the config leaves to the code.
    toy = {name: {"gan_steps": 100} for name in ("cowboy_figure1", "cowboy_figure2")}
    return config | toy | {"data_root": "data", "pretrained": False}
