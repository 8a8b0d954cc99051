"""Attacks by name: those of this room's files that state what they are, and users' own."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import Tensor

from purification.facts import decorated
from purification.plugins import import_named

PIXEL_UNITS = ("epsilon", "alpha", "step_size", "xi")
"""Settings that are taken for lengths in pixel units, where a function does not state them."""
# Parameters that `run_attack` gives, not the config.
GIVEN = ("seed", "indices", "first_gradient", "begin_at", "files")


@dataclass(frozen=True)
class AttackEntry:
    """An attack as `run_attack` calls it.

    Attributes:
        function: `(model, images, labels, *, settings...) -> adversarial images`.
        stochastic: it takes `seed` and `indices` as well.
        settings: names of its settings.
        required: those of them that have no default.
        gradient_based: it climbs the model's gradient, so that it is refused where all are zero.
        takes_gradient: it has a parameter `first_gradient`, for the gradient at the images given,
            which the zero-gradient check computes anyway.
        takes_start: it has a parameter `begin_at`, for images from which its search begins.
        norm: by which `epsilon` bounds it, one of `contract.NORMS`, or None.
        lengths: those of its settings that are lengths in pixel units.
        ends_early: it leaves an image at its first success, or the settings with which it does.
    """

    function: Callable[..., Tensor]
    stochastic: bool
    settings: tuple[str, ...]
    required: tuple[str, ...]
    gradient_based: bool
    takes_gradient: bool
    takes_start: bool
    norm: str | None
    lengths: tuple[str, ...]
    ends_early: bool | Mapping[str, Any]

    @classmethod
    def of(cls, function: Callable[..., Tensor]) -> "AttackEntry":
        """Read from the signature, and from what `contract.attack` has made of the function; one
        without that may have the attribute `gradient_based` alone."""
        parameters = list(inspect.signature(function).parameters.values())[3:]
        names = {p.name for p in parameters}
        settings = [p for p in parameters if p.name not in GIVEN]
        lengths = tuple(p.name for p in settings if p.name in PIXEL_UNITS)
        norm = getattr(function, "norm", None)
        # Whose strength the config tells.
        strength = "epsilon" if norm else None
        return cls(
            function=function,
            stochastic=not names.isdisjoint(("seed", "indices")),
            settings=tuple(p.name for p in settings),
            required=tuple(p.name for p in settings if p.default is p.empty or p.name == strength),
            gradient_based=getattr(function, "gradient_based", True),
            takes_gradient="first_gradient" in names,
            takes_start="begin_at" in names,
            norm=norm,
            lengths=getattr(function, "lengths", lengths),
            ends_early=getattr(function, "ends_early", False),
        )


ATTACKS = {
    name: AttackEntry.of(getattr(import_module(f"purification.attacks.{facts.file.stem}"), name))
    for name, facts in decorated("attacks").items()
}


def find_attack(method: str) -> AttackEntry:
    """The attack of this name, or a user's own by "package.module:function".

    Raises:
        ValueError: no such attack (names the known ones), or the user's cannot be imported.
    """
    if method in ATTACKS:
        return ATTACKS[method]
    if ":" not in method:
        raise ValueError(
            f'unknown attack {method!r}; known: {", ".join(ATTACKS)}, or "package.module:function"'
        )
    return AttackEntry.of(import_named(method))
