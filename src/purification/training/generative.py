"""What a kind of generative model is to the job that trains it."""

from collections.abc import Mapping
from typing import Any, ClassVar

from purification.models.checkpoints import network_of


class Generative:
    """An untrained generative model of the config, and how it is trained.

    A subclass stands beside its training. It is built and fitted as a `purifiers.Purifier` that
    learns is, and one job trains both.

    Attributes:
        KIND: of its recipe, by which it is found.
        trained: the network that is kept, in eval mode once it is fitted.
        training: the settings that are not the network's own.
    """

    KIND: ClassVar[str]

    def __init__(self, settings: Mapping[str, Any], image_shape: tuple[int, int, int]) -> None:
        self.trained = network_of({"kind": self.KIND, "settings": settings}, image_shape)
        self.training = {k: v for k, v in settings.items() if k not in ("latent", "width")}
