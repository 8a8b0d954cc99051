"""What a data set states of itself: all that asks reads it there."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from purification.datasets.splits import Split

_Loader = TypeVar("_Loader", bound=Callable[..., dict[str, Split]])


def source(
    *,
    shape: tuple[int, int, int],
    images: Mapping[str, int],
    classes: int = 10,
    name: str | None = None,
) -> Callable[[_Loader], _Loader]:
    """States what a function `(data_root, validation, test)` loads. It stays that function. Before
    a run this is read from its source: literals alone (`purification.facts`).

    Args:
        shape: channels, height and width of an image.
        images: how many there are, by the parts in which they are published, of "train",
            "validation" and "test". Where "validation" is none of them, it is the end of "train",
            and where "test" is none, all splits are cut from "train". One with "validation" has all
            of a part where the config has null; such a built-in one takes `train` as well.
        classes: their number.
        name: of a built-in one, its name in the config.
    """
    return lambda function: function
