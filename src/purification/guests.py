"""Users' own classifiers and purifiers behind a wall, and what is asked of all that they return.

A guest gets copies, so that one that works in place changes no image of the host's. What it returns
is checked and copied, and it is refused, by its name "package.module:name", where the host would
measure it wrongly: another type, shape or range, other results on a second call or in another
batch, probabilities in place of logits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from purification.randomness import draw_seeds, generator, is_randomised, isolated_rng

PROBES = 4
"""Images on which a guest is tried before the long work."""
_DRAWS = 8
"""Draws in which a randomised one must differ from its first, of one of these images at least."""
TOLERANCE = 1e-3
"""By how much a pixel may differ, in the mean over an image, between two batches.

Other batch sizes choose other kernels, whose float32 results differ by rounding: some 1e-6 a pixel
in one pass through a network, more where a search of many steps enlarges it. An 8-bit step is 4e-3,
and random numbers that change less in the mean than a quarter of one change nothing that was in the
images. The mean, and not the largest difference: one that rounds its pixels to levels
may turn rounding into a whole level, at a pixel or two that lie on the border of two."""
LOGIT_TOLERANCE = 1e-3
"""The same for logits, of the largest of their image, or of 1 where that is smaller."""
_SUM_TOLERANCE = 1e-3


class GuestError(RuntimeError):
    """A user's own code returned what cannot be measured; the message names it."""


class Guest(nn.Module):
    """A user's own module from a batch of images to something; what it has besides is reached
    through it, and its weights have their own names, so that a checkpoint does not show it."""

    def __init__(self, guest: nn.Module, place: str) -> None:
        super().__init__()
        if not isinstance(guest, nn.Module):
            raise GuestError(f"{place} returned {_described(guest)}, expected a torch module")
        self.guest = guest
        self.place = place

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            # Not what Python itself looks for, such as how to copy an object.
            if name.startswith("__"):
                raise
            return getattr(super().__getattr__("guest"), name)

    def state_dict(self, *arguments: Any, **keywords: Any) -> Any:
        return self.guest.state_dict(*arguments, **keywords)

    def load_state_dict(self, *arguments: Any, **keywords: Any) -> Any:
        return self.guest.load_state_dict(*arguments, **keywords)


class GuestClassifier(Guest):
    """A user's own classifier: images (N, C, H, W) -> logits (N, `classes`).

    Tried on made-up images at once, before any training: GuestError unless it is a function of each
    image alone, and returns logits. One that is `randomised` is tried with seeds, as a
    `GuestPurifier` is, if it is `drawn`, and else refused.
    """

    def __init__(
        self,
        guest: nn.Module,
        place: str,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        drawn: bool = False,
    ) -> None:
        super().__init__(guest, place)
        if is_randomised(guest) and not drawn:
            raise GuestError(
                f"{place} is randomised: a classifier must be a function of the image alone. A "
                "purifier may draw (docs/extend.md)"
            )
        self.classes = classes
        self._seen_in_training = False
        self.training = guest.training
        modes = [(module, module.training) for module in self.modules()]
        noise = torch.rand(PROBES, *image_shape, generator=generator(0, "guests"))
        noise = noise.to(next((weight.device for weight in guest.parameters()), noise.device))
        try:
            self.eval()
            seeds = _seeds_of(noise) if is_randomised(guest) else [None]
            _try(self, self, noise, self._check_logits, LOGIT_TOLERANCE, seeds[0], relative=True)
            if seeds[0] is not None:
                _refuse_one_draw(self, self, noise, seeds)
        finally:
            for module, mode in modes:
                module.training = mode

    def forward(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        logits = self.guest(images.clone(), *([] if seeds is None else [seeds.clone()]))
        # Mixed precision has the layers return bfloat16.
        mixed = torch.is_autocast_enabled(images.device.type) and isinstance(logits, Tensor)
        dtype = logits.dtype if mixed and logits.is_floating_point() else images.dtype
        check_tensor(self.place, logits, (len(images), self.classes), dtype, images.device)
        # A module may do in training what it does not do else.
        if self.training and not self._seen_in_training:
            self._seen_in_training = True
            self._check_logits(logits.detach())
        return logits.clone()

    def _check_logits(self, logits: Tensor) -> None:
        refuse_not_finite(logits, f"{self.place}: its logits")
        # Log-probabilities are logits: softmax and log-odds of both are the same.
        sums = logits.float().sum(dim=1)
        if bool((logits >= 0).all() & ((sums - 1).abs() < _SUM_TOLERANCE).all()):
            raise GuestError(
                f"{self.place} returned probabilities (none negative, and of each image the sum is "
                "1), expected logits: leave the softmax out. Attacks on logits hardly move through "
                "a softmax, and the model would look robust"
            )


class GuestPart(Guest):
    """A user's own generator, encoder or discriminator: (N, *given) -> (N, *made)."""

    def __init__(
        self, guest: nn.Module, place: str, given: tuple[int, ...], made: tuple[int, ...]
    ) -> None:
        super().__init__(guest, place)
        self._given, self._made = given, made

    def forward(self, batch: Tensor) -> Tensor:
        result: Tensor = self.guest(batch)
        check_tensor(self.place, result, (len(batch), *self._made), batch.dtype, batch.device)
        return result

    def try_out(self) -> None:
        """Raise GuestError unless it is a function of each code or image alone, makes images in
        [0, 1] and has two derivatives, which a search and its white box take."""
        draw = torch.randn if len(self._given) == 1 else torch.rand
        batch = draw(PROBES, *self._given, generator=generator(0, "guests"))
        try:
            _try(self, self, batch, self._check, TOLERANCE, relative=True)
            batch.requires_grad_()
            (first,) = torch.autograd.grad(self(batch).square().sum(), batch, create_graph=True)
            torch.autograd.grad(first.square().sum(), batch)
        except (GuestError, FloatingPointError):
            raise
        except Exception as error:
            raise GuestError(
                f"{self.place} fails on {_described(batch)} or has no two derivatives: {error}"
            ) from error
        if not first.any():
            raise GuestError(f"{self.place}: its gradient is zero, which leads no search")

    def _check(self, result: Tensor) -> None:
        refuse_not_finite(result, f"{self.place}: its results")
        low, high = result.min().item(), result.max().item()
        if len(self._made) == 3 and not 0 <= low <= high <= 1:
            raise GuestError(
                f"{self.place} made images in [{low:.6g}, {high:.6g}], expected [0, 1]: let "
                "forward return (x + 1) / 2 of what a tanh gives"
            )


class GuestPair(Guest):
    """A user's own module of several `GuestPart`s: by name, what each is given and makes."""

    def __init__(
        self,
        guest: nn.Module,
        place: str,
        parts: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
    ) -> None:
        super().__init__(guest, place)
        for name, forms in parts.items():
            part: Any = getattr(guest, name, None)
            setattr(self, name, GuestPart(part, f"{place}.{name}", *forms))


class GuestPurifier(Guest):
    """A user's own purifier: images (N, C, H, W) in [0, 1] -> images of the same shape and range.
    Any call that returns something else raises GuestError.

    Tried on a few of the first images that it is given: it must be a function of each image alone,
    or, of one that is `randomised`, of each image and its seed; and then not of the image alone.
    """

    def __init__(self, guest: nn.Module, place: str) -> None:
        super().__init__(guest, place)
        self._tried = False

    def forward(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        if not self._tried:
            given = images.detach()
            batch = torch.cat([given, given.flip(-1), given.flip(-2), 1 - given])[:PROBES]
            self._try_on(batch, seeds is not None)
            self._tried = True
        return self._purified(images, seeds)

    def _try_on(self, batch: Tensor, drawn: bool) -> None:
        if not drawn:
            _try(self, self._purified, batch, self._check_images, TOLERANCE)
            return
        seeds = _seeds_of(batch)
        _try(self, self._purified, batch, self._check_images, TOLERANCE, seeds[0])
        _refuse_one_draw(self, self._purified, batch, seeds)

    def _purified(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        given = () if seeds is None else (seeds.clone(),)
        purified = self.guest(images.clone(), *given)
        check_tensor(self.place, purified, images.shape, images.dtype, images.device)
        return purified.clone()

    def _check_images(self, purified: Tensor) -> None:
        check_images(self.place, purified, purified)

    def score_purified(self, images: Tensor, purified: Tensor) -> Tensor:
        """The guest's own detection score (N,), or else the mean square of what it changed."""
        own = getattr(self.guest, "score_purified", None)
        if own is None:
            return (purified - images).square().flatten(1).mean(1)
        score = own(images.clone(), purified.clone())
        place = f"{self.place}: score_purified"
        check_tensor(place, score, (len(images),), images.dtype, images.device)
        return score.clone()


def name_of(model: nn.Module) -> str:
    """What a message calls a model: a guest's place, or the name of its class."""
    return model.place if isinstance(model, Guest) else type(model).__name__


def check_tensor(
    name: str, result: Any, shape: Sequence[int], dtype: torch.dtype, device: torch.device
) -> None:
    """Raise GuestError unless `result`, which `name` returned, is such a tensor. Its values are not
    looked at, so that a GPU need not be waited for."""
    right = isinstance(result, Tensor) and (result.shape, result.dtype) == (tuple(shape), dtype)
    if not right:
        expected = f"{_type_of(dtype)} {tuple(shape)}"
        raise GuestError(f"{name} returned {_described(result)}, expected {expected}")
    if result.device != device:
        raise GuestError(f"{name} returned a tensor on {result.device}, expected one on {device}")


def check_images(
    name: str, result: Any, given: Tensor, indices: Sequence[int] | None = None
) -> None:
    """Raise GuestError unless `result` is images in [0, 1], as many and as large as those `given`.
    `indices`: what a message calls the images, if not by their numbers from 0."""
    check_tensor(name, result, given.shape, given.dtype, given.device)
    # Written so that NaN fails too.
    right = ((result >= 0) & (result <= 1)).flatten(1).all(dim=1)
    if not bool(right.all()):
        at = int((~right).nonzero()[0])
        image = result[at]
        found = "values that are not finite"
        if bool(image.isfinite().all()):
            found = f"values in [{image.min().item():.6g}, {image.max().item():.6g}]"
        number = at if indices is None else indices[at]
        raise GuestError(
            f"{name} returned values that are not in [0, 1]: {found} for image {number}"
        )


def refuse_not_finite(values: Tensor, what: str, indices: Sequence[int] | None = None) -> None:
    """Raise FloatingPointError if `values` (N, ...), one entry an image, hold NaN or infinity.

    What is computed from such values looks like a number: torch's argmax takes NaN for the largest,
    and its sign is 0. The message begins with `what`; `indices` as of `check_images`.
    """
    wrong = ~values.isfinite().reshape(len(values), -1).all(dim=1)
    if bool(wrong.any()):
        refuse_images(wrong, f"{what} are not finite", indices)


def refuse_images(wrong: Tensor, complaint: str, indices: Sequence[int] | None = None) -> None:
    """Raise FloatingPointError for the images that `wrong`, bool (N,), marks."""
    rows = wrong.nonzero().flatten().tolist()
    first = rows[0] if indices is None else indices[rows[0]]
    raise FloatingPointError(
        f"{complaint} for {len(rows)} of {len(wrong)} images, first for image {first}"
    )


def _try(
    guest: Guest,
    call: Callable[..., Tensor],
    images: Tensor,
    check: Callable[[Tensor], None],
    tolerance: float,
    seeds: Tensor | None = None,
    *,
    relative: bool = False,
) -> None:
    """Call a guest with `images` (at least 2), and with their `seeds` if it is randomised, check
    the result, call it again and with parts of them. Raises GuestError if the results differ by
    more than rounding: on the CPU, where the same call is the same arithmetic, a second call by
    anything at all."""

    def called(rows: slice) -> Tensor:
        return call(images[rows]) if seeds is None else call(images[rows], seeds[rows])

    # One global state for all calls, so that each draws other numbers; and none of the host's.
    with torch.no_grad(), isolated_rng(0):
        whole = called(slice(None))
        check(whole)
        again = called(slice(None))
        try:
            parts = torch.cat([called(slice(1)), called(slice(1, None))])
        except (GuestError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise GuestError(
                f"{guest.place} failed on a part of a batch that it had taken whole: {error}"
            ) from error
    whole, again, parts = (found.reshape(len(images), -1) for found in (whole, again, parts))
    unit = whole.abs().amax(1).clamp(min=1) if relative else 1.0
    same = 0.0 if images.device.type == "cpu" else tolerance
    seen = "each image alone" if seeds is None else "each image and its seed alone"
    way_out = " One that draws states RANDOMISED (docs/extend.md)" if seeds is None else ""
    for other, allowed, when in (
        (again, same, "on a second call with the same images"),
        (parts, tolerance, "for the same images in batches of other sizes"),
    ):
        difference = (other - whole).abs().mean(1) / unit
        # Written so that NaN fails too.
        if not bool((difference <= allowed).all()):
            raise GuestError(
                f"{guest.place} returned other results {when} (mean difference up to "
                f"{difference.max().item():.3g}): what it returns must depend on {seen}, not on "
                "other random numbers, earlier calls or the rest of the batch (batch norm in "
                f"training mode).{way_out}"
            )


def _seeds_of(batch: Tensor) -> list[Tensor]:
    """Of some draws of each image."""
    return [draw_seeds(0, range(len(batch)), draw) for draw in range(_DRAWS)]


def _refuse_one_draw(
    guest: Guest, call: Callable[..., Tensor], images: Tensor, seeds: Sequence[Tensor]
) -> None:
    """Raise GuestError if one that is randomised returns the same whatever the seeds are."""
    with torch.no_grad(), isolated_rng(0):
        first, *others = (call(images, own) for own in seeds)
    if all(torch.equal(first, other) for other in others):
        raise GuestError(
            f"{guest.place} is randomised and returned the same for {len(seeds)} different "
            "seeds of each image: let what it draws be a function of `seeds`, or state nothing"
        )


def _described(result: Any) -> str:
    if isinstance(result, Tensor):
        return f"{_type_of(result.dtype)} {tuple(result.shape)}"
    if result is None:
        return "None"
    kind = type(result)
    if kind.__module__ == "numpy":
        return f"a NumPy {kind.__name__}, {result.dtype} {result.shape}"
    return f"a {kind.__name__}"


def _type_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
