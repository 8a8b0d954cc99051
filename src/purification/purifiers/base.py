"""What a purifier is, and what a classifier behind one is."""

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from purification.purifiers.aggregation import ONE_DRAW, Aggregation, aggregation_of
from purification.randomness import draw_seeds, is_randomised


def reconstruction_error(reconstructions: Tensor, images: Tensor) -> Tensor:
    """Mean square difference per image: (N, C, H, W) twice -> (N,), in squared pixel units.

    Defense-GAN's equation 9 has the sum over pixels; the mean differs by the constant C*H*W, and
    is what the published code minimises.
    """
    return (reconstructions - images).square().flatten(1).mean(1)


class Purifier(nn.Module):
    """Maps images to purified images, both (N, C, H, W) float32 in [0, 1].

    A subclass implements `forward`. It must treat each image by itself and let gradients through to
    its input (a purifier that optimises inside opens `torch.enable_grad()` itself, because attack
    libraries call models under `no_grad`). It is deterministic, or it states RANDOMISED and takes
    `forward(images, seeds)`: `seeds` (N,), int64 on the CPU, is a number for each image, and all
    that is random for image i is a function of seeds[i] alone (`randomness.Streams`). At equal
    seeds it is deterministic, too.

    A defence of the config is a subclass that is built by `Mine(settings, image_shape)`, from the
    config's settings with their defaults, and (C, H, W). It may take `networks` (under "generator"
    the one that the config names) and `files` (paths by the config's names) besides. It states of
    itself, in literals that are read without running the file (`purification.facts`): SETTINGS,
    what each may be; LEARNS_FROM; COLUMN, its name in tables, if not its key in the config;
    CHEAPER; and RANDOMISED, True or the settings that make it so: {"redraw": True}, all of which
    must hold. Of one that is loaded by its recipe `randomised` says whether they do; `__init__` may
    set it.

    One with LEARNS_FROM, of "images", "copies", "classifier" and "networks", is trained in a job
    that keeps its `state_dict`, by `fit(images, labels, *, seed, device)`; both are on the CPU.
    Keywords of the further names are given where it has them: `copies`, attacked versions of all
    images, of the setting `copies`; the bare `classifier`; `networks`. With copies or a classifier
    there is one for each classifier. torch's global generators are seeded. It returns its history:
    rows, mappings from names to numbers.

    A randomised one may be evaluated on several draws of an image: it has as `aggregation` what the
    classifier's logits of them become (`aggregation.Aggregation`, `Defended`). It purifies one draw
    at a time all the same.

    One of which an attacker can differentiate a cheaper version states CHEAPER, as SETTINGS what
    that takes ({"steps": "count = None: at most so many"}), and has a method `cheaper(**these)`,
    which returns that version: a purifier of the same networks. The method may take `images`, too:
    those that are attacked, (N, C, H, W), as they are. A key that is also a setting says at most
    how much of it there is; a value that is no less leaves the purifier as it is. A kind with
    `"known_draws": True` is not for one that is randomised.

    One whose images are a generator's says so by two more methods, which the attack on its codes
    (`attacks.latent`) asks for: `latent_codes(images)`, (N, d), those at which it arrives, and
    `generate(codes)`, their images (N, C, H, W) in [0, 1], differentiable in the codes, each a
    function of its own code alone. One that searches may say what each image costs it:
    `network_passes(images, seeds)`, (N,), passes through its network (`evaluation.costs`).
    """

    METHOD: ClassVar[str]  # of those of this library: its name in the config
    SETTINGS: ClassVar[Mapping[str, Any]]
    LEARNS_FROM: ClassVar[tuple[str, ...]] = ()
    RANDOMISED: ClassVar[bool | Mapping[str, Any]] = False
    CHEAPER: ClassVar[Mapping[str, Any]] = {}
    WEIGHTS: ClassVar[str] = "weights"  # what they are called among a recipe's networks
    snapshots: ClassVar[Mapping[int, Mapping[str, Tensor]]] = {}
    randomised: bool = False
    aggregation: Aggregation = ONE_DRAW
    optimises: bool = False
    """States of one that optimises while it purifies by derivatives that are written out: calls of
    autograd, and of `latent_search`, are seen as it runs (`evaluation.looks`)."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "randomised" not in vars(cls):
            cls.randomised = cls.RANDOMISED is True

    @property
    def trained(self) -> nn.Module:
        """The module whose weights `fit` trains and a checkpoint holds."""
        return self

    def forward(self, *images: Any, **seeds: Any) -> Tensor:
        taken = "images, seeds" if self.randomised else "images"
        raise NotImplementedError(f"{type(self).__name__} must implement forward({taken})")

    def score_purified(self, images: Tensor, purified: Tensor) -> Tensor:
        """Detection score (N,) of `images` whose purified form is known; higher = more suspect."""
        return reconstruction_error(purified, images)

    def score(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        """Detection score (N,) of `images`; higher = more likely adversarial. `seeds`: of one that
        is randomised."""
        return self.score_purified(images, purified_by(self, images, seeds))


NO_TRANSFORMS = "call the model on whole batches, with torch.autograd.grad"


def is_transformed(tensor: Tensor) -> bool:
    """Whether a tensor is one within a transform of `torch.func`, or a batched gradient."""
    kinds = torch._C._functorch
    return kinds.is_functorch_wrapped_tensor(tensor) or kinds.is_legacy_batchedtensor(tensor)


def purified_by(purifier: nn.Module, images: Tensor, seeds: Tensor | None) -> Tensor:
    """What a purifier makes of images (N, C, H, W), a randomised one with `seeds` (N,), which no
    other is given. Raises ValueError if a randomised one gets none, or not one an image."""
    if not is_randomised(purifier):
        made: Tensor = purifier(images)
        return made
    if seeds is None or seeds.shape != images.shape[:1]:
        got = "none" if seeds is None else f"shape {tuple(seeds.shape)}"
        raise ValueError(
            f"a randomised purifier needs seeds of shape ({len(images)},), one an image; got {got}"
        )
    made = purifier(images, seeds)
    return made


class Defended(nn.Module):
    """A classifier behind a purifier: again a plain classifier, (N, C, H, W) -> logits (N, K).

    foolbox, AutoAttack or a user's own attack take it as they take any classifier. It is in
    evaluation mode when it is made, purifier and classifier included. Images must be in [0, 1]:
    where those of its first call are above, as in 0..255, it warns.

    **Randomised purifiers.** Each call draws anew: the images of all calls are counted from 0, and
    the draw of image number i is a function of (`seed`, i). So the same calls in the same order
    give the same results, and `restart_draws` begins again. A caller who knows better gives `seeds`
    (N,), int64, as of `randomness.draw_seeds`: then nothing is counted. `attacks.run_attack` does
    so, and gives each image its draws by its number, in whatever batch it is. Where the purifier
    has an `aggregation` of several draws, a seed is that of all of them, and a pass of one image
    costs as many.

    **torch's modes and transforms.** It gives the same values under `torch.no_grad` and
    `torch.inference_mode`, also with a search. Those of `torch.func` (`vmap(grad(...))`) and
    batched gradients (`is_grads_batched`, `torch.autograd.functional.jacobian(vectorize=True)`)
    work where the purifier is a plain network, such as MagNet's or a VAE. Before a search, and
    those of `torch.func` before a randomised purifier, whose images would share one draw, they
    raise NotImplementedError: call `torch.autograd.grad` for batch after batch. Behind
    `StraightThrough`, whose way back is the identity, batched gradients work too.
    """

    def __init__(self, purifier: nn.Module, classifier: nn.Module, seed: int = 0) -> None:
        super().__init__()
        for name, part in (("purifier", purifier), ("classifier", classifier)):
            if not isinstance(part, nn.Module):
                given = type(part).__name__
                raise ValueError(f"Defended: the {name} must be a torch module; got a {given}")
        self.purifier = purifier
        self.classifier = classifier
        self.seed = seed
        self._counted = 0
        self._looked_at_range = False
        self.eval()

    @property
    def randomised(self) -> bool:
        """Whether its purifier is: then it takes seeds."""
        return is_randomised(self.purifier)

    @property
    def passes(self) -> int:
        """Of an image through purifier and classifier, in one evaluation."""
        return aggregation_of(self.purifier).draws if self.randomised else 1

    def restart_draws(self) -> None:
        """Begin again with the draws of the first call."""
        self._counted = 0

    def forward(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        if not is_transformed(images):
            self._warn_of_range(images)
        elif self.randomised:
            raise NotImplementedError(
                "a randomised purifier is not to be had under torch.func's transforms, where the "
                f"images of a batch would share one draw: {NO_TRANSFORMS}"
            )
        if self.randomised and seeds is None:
            numbers = range(self._counted, self._counted + len(images))
            self._counted = numbers.stop
            seeds = draw_seeds(self.seed, numbers, 0)
        return self._logits(images, seeds)

    def _logits(self, images: Tensor, seeds: Tensor | None) -> Tensor:
        logits: Tensor
        how = aggregation_of(self.purifier)
        if seeds is None or self.passes == 1:
            logits = self.classifier(purified_by(self.purifier, images, seeds))
            return logits
        copies = images.repeat_interleave(how.draws, dim=0)
        purified = purified_by(self.purifier, copies, how.seeds(seeds).flatten())
        return how.logits(self.classifier(purified).unflatten(0, (len(images), how.draws)))

    def _warn_of_range(self, images: Tensor) -> None:
        """Once, because a GPU must be waited for."""
        if self._looked_at_range or not images.numel():
            return
        self._looked_at_range = True
        if (largest := images.detach().amax().item()) > _ABOVE_RANGE:
            warnings.warn(
                f"images in [0, 1] are expected, and the largest value given is {largest:.4g}: "
                "divide images in 0..255 by 255",
                stacklevel=3,
            )


_ABOVE_RANGE = 1.001
"""A little above 1, which rounding may pass."""


class NoGradient(nn.Module):
    """A purifier whose gradient is zero everywhere: a quirk of published code, whose search assigns
    its codes, so that none passes it."""

    def __init__(self, purifier: nn.Module) -> None:
        super().__init__()
        self.purifier = purifier

    @property
    def randomised(self) -> bool:
        """Whether the purifier is."""
        return is_randomised(self.purifier)

    def forward(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            purified = purified_by(self.purifier, images.detach(), seeds)
        return purified + self.way_back(images)

    def way_back(self, images: Tensor) -> Tensor:
        """Zeros, whose gradient in the images is that of the purifier's images."""
        return 0 * images

    def __getattr__(self, name: str) -> Any:
        """Its generator and its aggregation are the purifier's (`Purifier`)."""
        if name in ("latent_codes", "generate", "aggregation"):
            return getattr(super().__getattr__("purifier"), name)
        return super().__getattr__(name)


class StraightThrough(NoGradient):
    """A purifier whose backward pass is the identity (BPDA, Athalye et al. 2018, section 4.1)."""

    def way_back(self, images: Tensor) -> Tensor:
        # As a difference of its own it is zero, bit for bit, and the purified images stay exact.
        return images - images.detach()
