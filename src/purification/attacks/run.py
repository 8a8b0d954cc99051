"""The one function that runs any attack on a set of images, and what it holds each to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn

from purification.attacks.drawn import Draws, Policy
from purification.attacks.gradient import logits_and_input_gradient
from purification.attacks.registry import ATTACKS, AttackEntry, find_attack
from purification.attacks.watch import watched
from purification.facts import holds_for
from purification.guests import GuestError, check_images, name_of, refuse_not_finite
from purification.parts import Images, joined
from purification.plugins import files_for
from purification.randomness import derive_seed, is_randomised
from purification.runtime import Progress

LABEL_CHOICES = ("ground_truth", "predicted")
ROUNDING = 1e-5
"""By how much an image may leave the ball of radius 1 or less: float32 rounds a pixel by 6e-8, the
l2 norm of 12,288 of them by up to 7e-6. An 8-bit step is 4e-3."""


@dataclass(frozen=True)
class AttackResult:
    """What an attack did to N images; all on the CPU.

    Attributes:
        images: adversarial images, (N, C, H, W) in [0, 1].
        success: bool (N,), the model errs on the returned image; against the true label, whichever
            label the attack climbed away from. True also where it erred on the clean image already.
        predictions: int64 (N,), classes of the returned images, from a forward pass of their own.
        clean_predictions: int64 (N,), classes of the images given.
        l2: (N,), norm of the perturbation.
        linf: (N,), largest absolute change of a pixel, in pixel units of [0, 1].
        zero_gradient: bool (N,), the gradient of the label's log-odds at the image given is exactly
            zero everywhere: a masked gradient, not robustness.

    Of a randomised model `predictions` and `success` are of the first draw of the judgement, which
    no look of the attack was, unless the draws are fixed; `clean_predictions` and `zero_gradient`
    of a look of its own, the mean over `expectation` draws.
    """

    images: Tensor
    success: Tensor
    predictions: Tensor
    clean_predictions: Tensor
    l2: Tensor
    linf: Tensor
    zero_gradient: Tensor


class MaskedGradientError(RuntimeError):
    """The gradient is exactly zero for every image: an attack that climbs it cannot move."""


def run_attack(
    method: str,
    model: nn.Module,
    images: Images,
    labels: Tensor,
    *,
    indices: Sequence[int],
    seed: int,
    batch_size: int,
    settings: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    draws: Policy = "fresh",
    judge: int | None = None,
    may_stand_still: bool = False,
    begin_at: Tensor | None = None,
) -> AttackResult:
    """Attack images in batches and say what came of it.

    The model is attacked in eval mode with frozen parameters, on the device of its parameters, and
    is afterwards as it was. The attack gets copies of images, labels and settings. The
    zero-gradient check costs one forward and backward pass of each image, which an attack that
    `takes_gradient` need not repeat, the final predictions one forward pass.

    Args:
        method: a key of `ATTACKS` or "package.module:function".
        model: classifier, (N, C, H, W) in [0, 1] -> logits (N, classes).
        images: (N, C, H, W), in [0, 1].
        labels: int64 (N,), true labels.
        indices: N numbers, one an image, from which a stochastic attack draws the image's noise.
        seed: seed of a stochastic attack.
        batch_size: images at a time; no result depends on it.
        settings: the attack's own settings, and `labels`: "ground_truth" (default) climbs away from
            the true label, "predicted" from the model's prediction, as the published Defense-GAN
            code does (an image that was misclassified may then return to its true class); and
            `pixel_range`, the range of images in whose units its `lengths` are: [0, 1] (default),
            or another such as [-1, 1], where 0.3 means 0.15 of ours; and `expectation`, the number
            K of draws of a randomised model whose mean logits are one look of the attack (1 is the
            default): attacks by gradients, scores and decisions alike see the classifier of these
            logits (expectation over transformation; Athalye et al. 2018, section 4.2). Then there
            are K times fewer images in a batch.
        files: of a user's own attack, the SHA-256 of each file that it reads, by name; it is given
            their paths (`plugins.files_for`).
        progress: told of the images done and, as `success`, of the last batch's success rate.
        draws: of a randomised model (`attacks.drawn`): "fresh", each look at an image is another
            draw; or "fixed", all are the one on which it is judged: known random numbers.
        judge: the seed of the draws of the judgement; None: one of this attack's own.
        may_stand_still: attack also where the gradient is zero for every image, as published code
            did without a warning: what comes of it is then where the attack starts.
        begin_at: (N, C, H, W) in [0, 1], where the search for each image begins, such as what an
            earlier attack made of it; an attack of a norm brings it into its ball. None: where the
            attack begins by itself.

    Raises:
        ValueError: unknown attack, unknown or missing setting (names the allowed), images outside
            [0, 1], arguments of different lengths, or files that are not found; an `expectation`
            of more than one draw of a deterministic model; an attack that ends at an image's
            first success, on fresh draws; or `begin_at` for one that takes no such images.
        MaskedGradientError: the gradient is zero for every image, so that the attack cannot move,
            and it is not said that it `may_stand_still`.
        FloatingPointError: a logit of the model, or a gradient through it, is not finite, at the
            images given, in a step of the attack or at the images returned; names the first image.
        GuestError: the attack returned something else than images in [0, 1] of the same shape and
            type, left the ball of its norm and `epsilon`, or changed the model's weights.
    """
    return joined(
        attacked_parts(
            *(method, model, images, labels),
            indices=indices,
            seed=seed,
            batch_size=batch_size,
            settings=settings,
            files=files,
            progress=progress,
            draws=draws,
            judge=judge,
            may_stand_still=may_stand_still,
            begin_at=begin_at,
        )
    )


def attacked_parts(
    method: str,
    model: nn.Module,
    images: Images,
    labels: Tensor,
    *,
    indices: Sequence[int],
    seed: int,
    batch_size: int,
    settings: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    draws: Policy = "fresh",
    judge: int | None = None,
    may_stand_still: bool = False,
    begin_at: Tensor | None = None,
) -> Iterator[AttackResult]:
    """As `run_attack`, each batch as it is made: of more images than fit into memory.

    Where the gradient is zero for all images, there is no first part. The model is as it was when
    the iterator has ended or is closed, and frozen before.
    """
    entry = find_attack(method)
    own_settings, climbed, expectation = _split_settings(method, entry, settings)
    judge = derive_seed(seed, "judgement") if judge is None else judge
    drawn = Draws(seed, judge, draws, expectation)
    _check_draws(method, entry, own_settings, model, drawn)
    indices = [int(index) for index in indices]
    _check_inputs(images, labels, indices, batch_size)
    _check_start(method, entry, images, begin_at)
    # A model that makes several passes of an image says so (`purifiers.base.Defended`).
    batch_size = max(batch_size // (drawn.passes * getattr(model, "passes", 1)), 1)
    device = next((p.device for p in model.parameters()), images.device)
    batches = [slice(i, i + batch_size) for i in range(0, len(images), batch_size)]

    given_files = {} if method in ATTACKS else files_for(method, entry.function, files)
    name = f"attack {method!r}"

    with frozen(model):
        looks: Iterable[_CleanLook] = (
            _clean_look(model, images, labels, i, device, climbed, indices, drawn) for i in batches
        )
        if not entry.takes_gradient:
            # All images first: a long attack should fail at once where a number is not finite.
            looks = _without_gradients(looks, batches, len(images))
        if entry.gradient_based and not may_stand_still:
            # Where it begins elsewhere, it may move from there.
            elsewhere = (
                _clean_look(model, begin_at, labels, i, device, climbed, indices, drawn)
                for i in batches
                if begin_at is not None
            )
            looks = _unless_all_zero(method, looks, elsewhere)
        for batch, look in zip(batches, looks, strict=True):
            numbers, given = indices[batch], images[batch].to(device)
            keywords = {"seed": seed, "indices": list(numbers)} if entry.stochastic else {}
            if entry.takes_gradient:
                zero = look.gradient is None
                keywords["first_gradient"] = torch.zeros_like(given) if zero else look.gradient
            if entry.takes_start:
                at_first = None if begin_at is None else begin_at[batch].to(device).clone()
                keywords["begin_at"] = at_first
            climbed_labels = labels[batch] if climbed == "ground_truth" else look.predictions
            weights = _versions(model)
            asked = drawn.attacked(model, numbers, "looks")
            with watched(asked, len(given), device) as (shown, watch):
                # Copies: on the CPU these are the caller's own images and labels.
                result = entry.function(
                    shown,
                    given.detach().clone(),
                    climbed_labels.to(device).clone(),
                    **keywords,
                    **given_files,
                    **deepcopy(own_settings),
                )
            if _versions(model) != weights:
                raise GuestError(f"{name} changed the weights of the model that it attacked")
            watch.refuse(method, name_of(model), numbers)
            result = result.detach().clone() if isinstance(result, Tensor) else result
            check_images(name, result, given, numbers)
            if entry.norm is not None:
                _refuse_outside(name, entry.norm, own_settings["epsilon"], result - given, numbers)
            model.eval()  # whatever the attack has made of it
            with torch.no_grad():
                logits = drawn.judged(model, result, numbers)
            refuse_not_finite(logits, f"{name}: the logits of its images", numbers)
            predictions, found = logits.argmax(dim=1).cpu(), result.cpu()
            wrong = predictions != labels[batch].cpu()
            if progress is not None:
                progress.update(len(given), success=wrong.float().mean())
            change = found - given.detach().cpu()
            yield AttackResult(
                images=found,
                success=wrong,
                predictions=predictions,
                clean_predictions=look.predictions,
                l2=lengths_of(change, "l2"),
                linf=lengths_of(change, "linf"),
                zero_gradient=look.zero_gradient,
            )


def _split_settings(
    method: str, entry: AttackEntry, settings: Mapping[str, Any]
) -> tuple[dict[str, Any], str, int]:
    """The attack's own settings, checked by name, in units of [0, 1]; the choice of labels; and the
    draws of a look."""
    own = dict(settings)
    climbed = own.pop("labels", "ground_truth")
    # One with a setting of that name is told it as its own.
    general = "expectation" not in entry.settings
    expectation = own.pop("expectation", 1) if general else 1
    if not isinstance(expectation, int) or expectation < 1:
        raise ValueError(
            f"attack {method!r}: expectation must be a number of draws, at least 1; got "
            f"{expectation!r}"
        )
    # An attack without such settings, or with a setting of that name, is told as it was.
    measured = bool(entry.lengths) and "pixel_range" not in entry.settings
    low, high = own.pop("pixel_range", (0, 1)) if measured else (0, 1)
    if not low < high:
        raise ValueError(f"attack {method!r}: pixel_range must ascend; got [{low}, {high}]")
    if climbed not in LABEL_CHOICES:
        raise ValueError(
            f"attack {method!r}: labels must be one of {', '.join(LABEL_CHOICES)}; got {climbed!r}"
        )
    further = [*(["pixel_range"] if measured else []), *(["expectation"] if general else [])]
    allowed = ", ".join((*entry.settings, "labels", *further))
    unknown = [name for name in own if name not in entry.settings]
    missing = [name for name in entry.required if name not in own]
    for what, names in (("unknown", unknown), ("missing", missing)):
        if names:
            text = f"{what} settings {', '.join(names)}; allowed: {allowed}"
            raise ValueError(f"attack {method!r}: {text}")
    # Not divided in [0, 1], so that the settings of such an attack reach it as they are.
    width = high - low
    if width != 1:
        given = [name for name in entry.lengths if own.get(name) is not None]
        own |= {name: own[name] / width for name in given}
    return own, climbed, expectation


def _check_draws(
    method: str,
    entry: AttackEntry,
    settings: Mapping[str, Any],
    model: nn.Module,
    drawn: Draws,
) -> None:
    if drawn.policy not in get_args(Policy):
        known = ", ".join(get_args(Policy))
        raise ValueError(f"attack {method!r}: draws must be one of {known}; got {drawn.policy!r}")
    if drawn.expectation > 1 and not is_randomised(model):
        raise ValueError(
            f"attack {method!r}: expectation is {drawn.expectation}, and {name_of(model)} is "
            "deterministic: all draws of it are the same. Leave expectation out"
        )
    early = holds_for(entry.ends_early, settings)
    if early and is_randomised(model) and drawn.policy == "fresh":
        raise ValueError(
            f"attack {method!r} ends at an image's first success, which on one draw of the "
            f"randomised {name_of(model)} is luck and proves nothing of another: take another "
            'attack, or draws="fixed", draws that the attacker knows'
        )


def _check_inputs(images: Images, labels: Tensor, indices: list[int], batch_size: int) -> None:
    if len(images) == 0 or not len(images) == len(labels) == len(indices):
        raise ValueError(
            "expected as many images, labels and indices, at least one; got "
            f"{len(images)}, {len(labels)}, {len(indices)}"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    # What a file holds is checked as it is read.
    for batch in images.split(batch_size) if isinstance(images, Tensor) else ():
        # Written so that NaN fails too.
        if not bool(((batch >= 0) & (batch <= 1)).all()):
            raise ValueError("images must be in [0, 1]")


def _check_start(method: str, entry: AttackEntry, images: Images, begin_at: Tensor | None) -> None:
    if begin_at is None:
        return
    if not entry.takes_start:
        able = ", ".join(name for name, one in ATTACKS.items() if one.takes_start)
        raise ValueError(
            f"attack {method!r} cannot begin at other images than those that it attacks; these "
            f"can: {able}, and a function of your own with the parameter begin_at"
        )
    shape = (len(images), *images[:1].shape[1:])
    # Written so that NaN fails too.
    if begin_at.shape != shape or not bool(((begin_at >= 0) & (begin_at <= 1)).all()):
        raise ValueError(
            f"attack {method!r}: begin_at must be images {shape} in [0, 1]; got "
            f"{tuple(begin_at.shape)}"
        )


class _CleanLook(NamedTuple):
    """A batch as it was given: predictions (n,), gradient (n, C, H, W) of the log-odds of the
    labels that are climbed away from, and whether that is exactly zero (n,). The gradient is not
    kept where no attack asks for it, or where it is zero for the whole batch."""

    predictions: Tensor
    zero_gradient: Tensor
    gradient: Tensor | None


def _clean_look(
    model: nn.Module,
    images: Images,
    labels: Tensor,
    batch: slice,
    device: torch.device,
    climbed: str,
    indices: Sequence[int],
    drawn: Draws,
) -> _CleanLook:
    asked = drawn.attacked(model, indices[batch], "clean look")
    label = labels[batch].to(device) if climbed == "ground_truth" else None
    logits, gradient = logits_and_input_gradient(asked, images[batch].to(device), label)
    for what, values in (("logits", logits), ("gradients of the log-odds", gradient)):
        refuse_not_finite(values, f"{name_of(model)}: the {what}", indices[batch])
    zero = (gradient == 0).flatten(1).all(dim=1)
    return _CleanLook(logits.argmax(dim=1).cpu(), zero.cpu(), gradient)


def _without_gradients(
    looks: Iterable[_CleanLook], batches: Sequence[slice], count: int
) -> list[_CleanLook]:
    """All looks at `count` images. They are parts of two tensors: small ones of their own would lie
    between the large ones of the batches, whose memory the C library could then not use again."""
    predictions = torch.empty(count, dtype=torch.int64)
    zero_gradient = torch.empty(count, dtype=torch.bool)
    for batch, look in zip(batches, looks, strict=True):
        predictions[batch], zero_gradient[batch] = look.predictions, look.zero_gradient
    return [_CleanLook(predictions[batch], zero_gradient[batch], None) for batch in batches]


def _unless_all_zero(
    method: str, looks: Iterable[_CleanLook], elsewhere: Iterable[_CleanLook]
) -> Iterator[_CleanLook]:
    """The same looks, none of them before it is known that one of them, or else one of those where
    the search begins, has a gradient: raises MaskedGradientError where none has."""
    looks = iter(looks)
    still: list[_CleanLook] = []
    for look in looks:
        if not bool(look.zero_gradient.all()):
            yield from (*still, look)
            yield from looks
            return
        still.append(look._replace(gradient=None))
    if any(not bool(look.zero_gradient.all()) for look in elsewhere):
        yield from still
        return
    count = sum(len(look.zero_gradient) for look in still)
    raise MaskedGradientError(
        f"attack {method!r} cannot move: the gradient of the labels' log-odds with respect "
        f"to the images is exactly zero for all {count} images. The model is not "
        "robust but its gradient masked (a detached tensor, or saturated outputs)."
    )


def lengths_of(change: Tensor, norm: str) -> Tensor:
    """The norm of each image's change (N, C, H, W), (N,)."""
    order = {"l2": 2.0, "linf": float("inf")}[norm]
    lengths: Tensor = torch.linalg.vector_norm(change.flatten(1), ord=order, dim=1)
    return lengths


def within_ball(lengths: Tensor, epsilon: float) -> Tensor:
    """Which changes of these norms (N,) are no longer than `epsilon`, up to what float32 rounds."""
    return lengths <= epsilon + ROUNDING * max(1.0, epsilon)


def _refuse_outside(
    name: str, norm: str, epsilon: float, change: Tensor, indices: Sequence[int]
) -> None:
    lengths = lengths_of(change, norm)
    outside = (~within_ball(lengths, epsilon)).nonzero().flatten().tolist()
    if outside:
        raise GuestError(
            f"{name} left its ball: the {norm} norm of the change is "
            f"{lengths[outside[0]].item():.6g} for image {indices[outside[0]]}, and epsilon is "
            f"{epsilon:.6g} in pixel units of [0, 1]"
        )


def _versions(model: nn.Module) -> list[int]:
    """How often each weight and buffer of a model was changed in place."""
    tensors = (*model.parameters(), *model.buffers())
    return [t._version for t in tensors if not t.is_inference()]


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no parameter gradients inside; the model's own state after."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in flags:  # scripted modules have no requires_grad_ of their own
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
