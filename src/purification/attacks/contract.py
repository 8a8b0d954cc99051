"""What an attack states of itself: all that asks reads it there."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor

from purification.facts import lengths_among

NORMS = ("linf", "l2")
"""By which `epsilon` can bound the change of an image: its largest pixel, or its length."""
_Attack = TypeVar("_Attack", bound=Callable[..., Tensor])


def attack(
    *,
    norm: str | None = None,
    settings: Mapping[str, Any] | None = None,
    gradient_based: bool = True,
    model_free: bool = False,
    labels: bool = True,
    generator: bool = False,
    above: str | None = None,
    paper_name: str | None = None,
) -> Callable[[_Attack], _Attack]:
    """States what a function `(model, images, labels, *, settings...)` is as an attack. It stays
    that function. Before a run this is read from its source: literals alone (`purification.facts`).

    Args:
        norm: one of `NORMS`, by which its setting `epsilon` bounds it: it is refused where an image
            leaves that ball. None: it has no bound.
        settings: what each may be, by name (`purification.facts`). Those of the kinds `epsilon`
            (l-inf, at most 1) and `length` (any) are in pixel units, of which `pixel_range` can say
            that they are those of another range of images.
        gradient_based: it climbs the model's gradient, and is refused where all are zero.
        model_free: it looks at no model and no label, so that its images are the same for every
            attacker, and are measured in the gray box alone.
        labels: it climbs away from a label, of which the config's `labels` says which.
        generator: it searches the codes of a defence's generator (`purifiers.Purifier`). It has no
            bare classifier to attack, and is measured in the white box alone, of defences that have
            a generator.
        above: with a norm, the setting that `epsilon` must be above, a step that is part of it.
        paper_name: what papers call it, if that is not the function's name.

    Raises:
        ValueError: another norm, or one without `epsilon` among the settings.
    """
    if norm not in (None, *NORMS):
        raise ValueError(f"attack: norm must be one of {', '.join(NORMS)}, or None; got {norm!r}")
    if norm is not None and "epsilon" not in (settings or {}):
        raise ValueError(f"attack: with the norm {norm} it must state the setting epsilon")

    def stated(function: _Attack) -> _Attack:
        vars(function).update(norm=norm, lengths=lengths_among(settings or {}))
        vars(function).update(gradient_based=gradient_based and not model_free)
        return function

    return stated
