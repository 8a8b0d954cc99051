"""Defense-GAN (Samangouei et al., ICLR 2018): the nearest image on a WGAN's range."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from purification import randomness
from purification.purifiers.base import Purifier
from purification.purifiers.descent import SearchResult, SearchSettings
from purification.purifiers.latent_search import latent_search, refuse_transformed

Starts = Literal["published", "prior"]
_SEARCH = ("step_size", "momentum", "precision", "tolerance", "patience", "optimizer")
CHEAPER_SEARCH = {
    "steps": "count = None: at most so many steps, the first",
    "restarts": "count = None: at most so many restarts, the first",
    "winner": {
        "type": "boolean",
        "default": False,
        "known_draws": True,
        "description": "that restart alone which wins for the image as it is given",
    },
    "end_steps": "count = None: the images of the search, but the gradient of so many steps more",
}
"""What the surrogates of searches from random starts take."""


class DefenseGAN(Purifier):
    """Replaces an image by the closest image of a generator, found from R starts by L steps.

    `starts` is (R, latent): one set, shared by all images, so that an image's result depends on
    nothing but the image, and an attacker who knows the seed knows every start (the paper's third
    threat model, section 2.1). R starts are the first R of any larger set from the same generator
    of random numbers.

    Args:
        generator: z (M, d) -> images (M, C, H, W) in [0, 1].
        starts: (R, latent).
        settings: of the search.
        redrawn: None, or the standard deviation of starts that are drawn anew for each image from
            its seed, as many and as long as `starts`, whose values then have no part: a randomised
            purifier, whose starts an attacker does not know.
    """

    METHOD = "defense_gan"
    GENERATORS = ("wgan_gp",)
    SWEPT = True
    RULES = ("prune", "optimizer")
    UNFILLED = True
    VARIANTS = {"reconstructions": "rec", "originals": "orig"}
    RANDOMISED = {"redraw": True}
    CHEAPER = CHEAPER_SEARCH
    QUIRKS = ("no_gradient",)
    SETTINGS = {
        "steps": "count: steps L of the search",
        "restarts": "count: starts R of the search",
        "step_size": "positive: of the descent",
        "momentum": "fraction: of the descent",
        "starts": "published|prior = published: their deviation is sqrt(1 / latent), or 1",
        "precision": "float32|tf32|bfloat16 = float32: of the generator during the descent",
        "prune": "pairs_of_counts = []: [step, restarts]: after it only so many restarts go on",
        "tolerance": "fraction = 0.0: a search ends whose objective falls by no larger share",
        "patience": "count = 10: steps between two looks at the tolerance",
        "optimizer": "gradient_descent|lbfgs = gradient_descent: of the steps; lbfgs: momentum 0",
        "redraw": "boolean = False: starts are drawn anew for each image and evaluation",
    }
    starts: Tensor

    def __init__(
        self,
        generator: nn.Module,
        starts: Tensor,
        settings: SearchSettings,
        redrawn: float | None = None,
    ) -> None:
        super().__init__()
        self.generator = generator.eval().requires_grad_(False)
        self.register_buffer("starts", starts)
        self.settings = settings
        self.redrawn = redrawn
        self.randomised = redrawn is not None

    @classmethod
    def of_recipe(
        cls, recipe: Mapping[str, Any], networks: Mapping[str, nn.Module], image_shape: Any
    ) -> Self:
        own = recipe["settings"]
        search = search_of(recipe, networks["generator"], own["steps"], own["restarts"])
        deviation = start_deviation(search[1].shape[1], own.get("starts", "published"))
        return cls(*search, redrawn=deviation if own.get("redraw") else None)

    def forward(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        return self.search(images, seeds).reconstructions

    def network_passes(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        """Passes through the generator that each image costs, (N,), as `SearchResult` has them."""
        return self.search(images, seeds).evaluations

    def search(self, images: Tensor, seeds: Tensor | None = None) -> SearchResult:
        """What is found for each image (N, C, H, W); seeds (N,) if starts are redrawn."""
        return latent_search(self.generator, images, self.starts_of(seeds), self.settings)

    def starts_of(self, seeds: Tensor | None) -> Tensor:
        """The starts (R, latent) of all images or, redrawn, those (N, R, latent) of `seeds` (N,):
        fewer restarts have the first of more. Raises ValueError without the seeds that it needs."""
        if self.redrawn is None:
            return self.starts
        if seeds is None:
            raise ValueError("starts that are redrawn need seeds, one for each image")
        streams, (restarts, latent) = randomness.Streams(seeds), self.starts.shape
        codes = torch.stack([streams.normal((latent,)) for _ in range(restarts)], dim=1)
        return self.redrawn * codes

    def cheaper(
        self,
        images: Tensor,
        *,
        steps: int | None = None,
        restarts: int | None = None,
        winner: bool = False,
        end_steps: int | None = None,
    ) -> Purifier:
        """The same search cut short, from the first restarts; as `winner` from that one of them
        alone which wins in all steps for the image as it is given: `images`, from which the attack
        sets out. With `end_steps` its images have the gradient of so many steps more (`SearchEnd`).

        Raises ValueError for the winner of starts that are redrawn, and for both at once.
        """
        starts = self.starts[:restarts]
        shorter = self.settings.shortened(steps, len(starts))
        if winner and end_steps is not None:
            raise ValueError("a surrogate of a search has either winner or end_steps")
        if end_steps is not None:
            return SearchEnd(self.searching(starts, shorter), end_steps)
        if not winner:
            return self.searching(starts, shorter)
        if self.redrawn is not None:
            raise ValueError("starts that are redrawn have another winner in each draw")
        whole = self.searching(starts, self.settings.shortened(None, len(starts)))
        return WinnerSearch(whole, images, shorter.shortened(None, 1))

    def searching(self, starts: Tensor, settings: SearchSettings) -> "DefenseGAN":
        """The same of other starts and settings."""
        return DefenseGAN(self.generator, starts, settings, self.redrawn)

    def latent_codes(self, images: Tensor) -> Tensor:
        """Where the search of each image ends: (N, C, H, W) -> (N, latent)."""
        return latent_search(self.generator, images, self.starts, self.settings).latents

    def generate(self, codes: Tensor) -> Tensor:
        """The generator's images, (N, latent) -> (N, C, H, W) in [0, 1]."""
        return self.generator(codes)


class WinnerSearch(Purifier):
    """A search from one start an image: that which wins a whole search for the nearest of some
    known images, as an attacker near one of them knows it. (Another start may win for an attacked
    image; then this is another purifier, and only the whole search says what comes of it.)

    Its cost is that of one restart, and once the whole search of each known image that is needed.
    A function of the image alone, and of the known ones.

    Args:
        search: the whole one, whose start is chosen.
        known: (N, C, H, W).
        settings: of the search from that start.
    """

    def __init__(self, search: DefenseGAN, known: Tensor, settings: SearchSettings) -> None:
        super().__init__()
        self.search, self.known, self.settings = search, known.detach(), settings
        self._winners: dict[int, int] = {}

    def forward(self, images: Tensor) -> Tensor:
        starts = self.search.starts[self.winners(images)][:, None]
        return latent_search(self.search.generator, images, starts, self.settings).reconstructions

    def winners(self, images: Tensor) -> Tensor:
        """The numbers (M,) of the restarts that images (M, C, H, W) are searched from."""
        refuse_transformed(images)
        distances = torch.cdist(
            *(images.detach().flatten(1), self.known.to(images).flatten(1)),
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        nearest = distances.argmin(dim=1).tolist()
        if unknown := sorted({*nearest} - self._winners.keys()):
            search = self.search
            with torch.no_grad():
                found = latent_search(
                    *(search.generator, self.known[unknown].to(images), search.starts),
                    search.settings,
                )
            self._winners |= zip(unknown, found.restart.tolist(), strict=True)
        return torch.tensor([self._winners[row] for row in nearest], device=images.device)


class SearchEnd(Purifier):
    """A search whose gradient is that of some more steps from where it ends.

    Its images are those of the search, to the last bit. A gradient through a whole search from
    random starts leads nowhere in particular where it is chaotic, and the identity (BPDA) leaves
    the generator out. From the code that was found the search hardly moves: how that code moves
    with the image is what an attacker near it wants to know. The steps are plain gradient descent,
    without momentum.

    Args:
        whole: the search.
        steps: so many more, at least 1.
    """

    def __init__(self, whole: DefenseGAN, steps: int) -> None:
        super().__init__()
        self.whole, self.randomised = whole, whole.randomised
        own = whole.settings
        self.settings = SearchSettings(
            steps, step_size=own.step_size, momentum=0.0, objective=own.objective
        )

    def forward(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            found = self.whole.search(images, seeds)
        if not (torch.is_grad_enabled() and images.requires_grad):
            return found.reconstructions
        codes = found.latents[:, None]
        again = latent_search(self.whole.generator, images, codes, self.settings).reconstructions
        return found.reconstructions + (again - again.detach())


def search_of(
    recipe: Mapping[str, Any], generator: nn.Module, steps: int, restarts: int
) -> tuple[nn.Module, Tensor, SearchSettings]:
    """Generator, starts (restarts, latent) and settings of a `Purifier` recipe's latent search.

    The starts of fewer restarts are the first of those of more. Which ones (`draw_starts`), the
    setting `starts` says: "published" if it is not there.
    """
    random = randomness.generator(recipe["seed"], recipe["name"], "starts")
    latent = recipe["networks"]["generator"]["settings"]["latent"]
    wanted = recipe["settings"].get("starts", "published")
    starts = draw_starts(restarts, latent, random, wanted)
    return generator, starts, search_settings(recipe["settings"], steps)


def search_settings(settings: Mapping[str, Any], steps: int) -> SearchSettings:
    """Those of a recipe's settings that are the search's."""
    own = {key: settings[key] for key in _SEARCH if key in settings}
    prune = tuple(tuple(pair) for pair in settings.get("prune", ()))
    return SearchSettings(steps, prune=prune, **own)


def draw_starts(
    restarts: int, latent: int, random: torch.Generator, starts: Starts = "published"
) -> Tensor:
    """(R, latent) starts; a larger R only appends.

    "published": from N(0, 1/latent), as in the published code. "prior": from N(0, 1), of which the
    codes were that the generator was trained with. Either kind is the other one scaled.
    """
    return draw_codes(restarts, latent, random) / _divisor(latent, starts)


def start_deviation(latent: int, starts: Starts = "published") -> float:
    """The standard deviation of the starts of `draw_starts`."""
    return 1 / _divisor(latent, starts)


def _divisor(latent: int, starts: Starts) -> float:
    divisors = {"published": math.sqrt(latent), "prior": 1.0}
    if starts not in divisors:
        raise ValueError(f"starts must be one of {get_args(Starts)}, got {starts!r}")
    return divisors[starts]


def draw_codes(count: int, latent: int, random: torch.Generator) -> Tensor:
    """(count, latent) codes from N(0, 1), a GAN's prior; a larger count only appends."""
    return torch.stack([torch.randn(latent, generator=random) for _ in range(count)])
