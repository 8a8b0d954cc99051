"""A model under the cascade of the leaderboard, from Python."""

import math
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from purification.api.budgets import budget_of, judged_draws, selection_draws, stages_of
from purification.api.report import Report, report_of
from purification.attacks.contract import NORMS
from purification.evaluation.cascade import Stage, Tell, run_cascade
from purification.evaluation.judge import Judge, Selection, judged_afresh
from purification.evaluation.threat_models import attacked_model
from purification.guests import Guest, GuestClassifier, GuestError, GuestPurifier
from purification.models.prediction import predict
from purification.purifiers.base import Defended
from purification.randomness import derive_seed, draw_seeds, is_randomised
from purification.runtime import progress_shown_by
from purification.storage import ImageSet

if TYPE_CHECKING:
    Array = Tensor | np.ndarray[Any, np.dtype[Any]]

_TRIED = 4
"""Images on which a user's own modules are tried."""
_TICK, _TICK_IN_A_FILE = 1.0, 60.0
"""Seconds from one drawing of the bar to the next while nothing moves it: in place, as on a
terminal, and where each is a line of its own."""


def evaluate(
    model: nn.Module,
    images: "Array",
    labels: "Array",
    *,
    norm: Literal["linf", "l2"] = "linf",
    epsilon: float,
    budget: Literal["quick", "standard", "full"] = "standard",
    seed: int = 0,
    batch_size: int = 100,
    progress: bool = True,
) -> Report:
    """What is left of a classifier, or of a purifier before one, under a cascade of attacks.

    Attacks run one after the other, each on the images that are right under all before it, by an
    attacker who knows the whole model (`evaluation.cascade`). An image counts as right only if it
    is so under every attack. Checks at the end tell whether the attacks or the model explain what
    is left: `Report.flags` (`evaluation.flags`).

    A `Defended` is attacked through its purifier by the true gradient and by BPDA, and its
    classifier by itself; of the same stages the answers are those of the workflow's cascade. Any
    other module is attacked as one classifier. A randomised purifier is attacked on fresh draws of
    its random numbers, and what its attacker selects is judged on others
    (`evaluation.protocols`).

    Args:
        model: images (N, C, H, W), float32 in [0, 1], to logits (N, classes): no probabilities.
            Each image must be treated by itself, and the same each time; a purifier that draws
            random numbers states RANDOMISED (`purifiers.base.Purifier`). It stays on its device.
        images: (N, C, H, W), float32 in [0, 1], tensor or array. Accuracies have a 95 % interval:
            of 100 images it is up to 0.2 wide.
        labels: (N,), integers from 0.
        norm: of the ball around each image: "linf", the largest change of a pixel, or "l2".
        epsilon: its radius, in pixel units of [0, 1], such as 8 / 255.
        budget: "quick", a short version for a first look; "standard", the cascade of the
            leaderboard; "full", with more iterations, restarts, targets and queries.
        seed: of the attacks' random numbers. The same arguments give the same report.
        batch_size: images at a time. Changes speed and memory, and no result but by rounding.
        progress: show a bar.

    Raises:
        ValueError: arguments that are not what they should be.
        GuestError: the model or its purifier returns something else, or depends on more than each
            image (and its seed).
        FloatingPointError: a logit or gradient is not finite.
    """
    budget_of(budget)
    images, labels = _checked_images(images), _checked_labels(labels)
    _check_arguments(images, labels, norm, epsilon, batch_size, seed)
    _try_out(model, images, labels)
    drawn, purifies = is_randomised(model), isinstance(model, Defended)
    models = _attacked(model)
    specs = stages_of(budget, norm, epsilon, purifies=purifies, drawn=drawn)
    stages = [Stage(attack, box, models[box], goes_on) for attack, box, goes_on in specs]
    selection = None
    if drawn:
        selection = Selection(derive_seed(seed, "selection"), selection_draws(budget))
    with _bar(progress) as tell:
        found = run_cascade(
            *(model, stages, images, labels),
            norm=norm,
            epsilon=epsilon,
            seed=seed,
            batch_size=batch_size,
            counted=_counted(models),
            selection=selection,
            checks=True,
            tell=tell,
        )
    made = None
    if selection is not None:
        fresh = Selection(derive_seed(seed, "judgement"), judged_draws())
        judge = Judge(model, images, labels, norm, epsilon, batch_size, fresh)
        kept = ImageSet(found.images.numpy(), labels.numpy())
        made = judged_afresh(kept, judge, selection.draws)
    return report_of(found, made, norm=norm, epsilon=epsilon, budget=budget, seed=seed)


def _attacked(model: nn.Module) -> dict[str, nn.Module]:
    """What each attacker has, by the threat model."""
    if not isinstance(model, Defended):
        return {"white_box": model}
    bpda = attacked_model("white_box_bpda", model.purifier, model.classifier)
    return {"white_box": model, "white_box_bpda": bpda, "gray_box": model.classifier}


def _counted(models: Mapping[str, nn.Module]) -> dict[str, list[nn.Module]]:
    """The modules whose passes are counted, as the workflow's."""
    whole = models["white_box"]
    parts = [whole.purifier] if isinstance(whole, Defended) else []
    classifiers = [models.get("gray_box", whole)]
    passes = [one for name, one in models.items() if name != "gray_box"]
    return {"passes": passes, "purifier_passes": parts, "classifier_passes": classifiers}


# --- what is asked of the arguments


def _checked_images(images: "Array") -> Tensor:
    made = torch.as_tensor(images).detach().cpu()
    if made.ndim != 4 or not made.is_floating_point() or not len(made):
        hint = "; divide by 255" if made.dtype == torch.uint8 else ""
        hint += "; for images of one channel give images[:, None]" if made.ndim == 3 else ""
        raise ValueError(
            "images must be floating-point (N, C, H, W) in [0, 1], at least one; got "
            f"{_described(made)}{hint}"
        )
    made = made.float()
    low, high = made.min().item(), made.max().item()
    if not 0 <= low <= high <= 1:  # NaN fails too
        hint = ": divide by 255" if high > 2 else ""
        raise ValueError(f"images must be in [0, 1]; got values in [{low:.4g}, {high:.4g}]{hint}")
    return made


def _checked_labels(labels: "Array") -> Tensor:
    made = torch.as_tensor(labels).detach().cpu()
    if made.ndim != 1 or not _is_integer(made.dtype):
        raise ValueError(f"labels must be integers (N,); got {_described(made)}")
    return made.long()


def _channels_last(images: Tensor) -> str:
    """A hint, where the last axis may be that of the channels."""
    if images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        return ". Are the images (N, H, W, C)? Then give images.permute(0, 3, 1, 2)"
    return ""


def _is_integer(dtype: torch.dtype) -> bool:
    return not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool)


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _check_arguments(
    images: Tensor, labels: Tensor, norm: str, epsilon: float, batch_size: int, seed: int
) -> None:
    if len(images) != len(labels):
        raise ValueError(f"as many images as labels, please; got {len(images)} and {len(labels)}")
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}; got {norm!r}")
    if not isinstance(epsilon, Real):
        raise ValueError(f"epsilon must be a number, such as 8 / 255; got {epsilon!r}")
    if not 0 < epsilon < math.inf or (norm == "linf" and epsilon > 1):
        most = ", and at most 1" if norm == "linf" else " and finite"
        hint = "; for 8 of 255 say 8 / 255" if 1 < epsilon < math.inf else ""
        raise ValueError(
            f"epsilon must be above 0{most}, in pixel units of [0, 1]; got {epsilon}{hint}"
        )
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise ValueError(f"batch_size must be an integer of at least 1; got {batch_size!r}")
    if not isinstance(seed, Integral):
        raise ValueError(f"seed must be an integer; got {seed!r}")


def _try_out(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Ask of a user's own modules what the workflow asks of them, on a few images, before the long
    work. What this library has made is known."""
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model must be a torch module from images to logits; got a {type(model).__name__}"
        )
    some, name = images[:_TRIED], type(model).__name__
    device = next((weight.device for weight in model.parameters()), some.device)
    seeds = draw_seeds(0, range(len(some)), 0) if is_randomised(model) else None
    some = some.to(device)
    given = some.clone()
    try:
        if isinstance(model, Defended) and not _known(model.purifier):
            guest = GuestPurifier(model.purifier, type(model.purifier).__name__).eval()
            with torch.no_grad():
                guest(some, seeds)
        logits = predict(model, given, device=device, seeds=seeds)
    except (GuestError, FloatingPointError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise GuestError(
            f"{name} fails on images {_described(some)}, where it must return logits "
            f"(N, classes): {error}{_channels_last(some)}"
        ) from error
    # Each attack would be made on, and measured from, images that it changed.
    if not torch.equal(given, some):
        raise GuestError(f"{name} changes the images that it is given: let it work on a copy")
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            f"{name} returned {_described(logits)} for {len(some)} images; expected logits "
            "(N, classes) of two classes or more"
        )
    classifier = model.classifier if isinstance(model, Defended) else model
    if not _known(classifier):
        shape, own = (images.shape[1], images.shape[2], images.shape[3]), type(classifier).__name__
        GuestClassifier(classifier, own, shape, logits.shape[1], drawn=classifier is model)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(
            f"labels must be in 0..{logits.shape[1] - 1}, as the model has {logits.shape[1]} "
            f"classes; got {low}..{high}"
        )


def _known(module: nn.Module) -> bool:
    """Whether this library has made a module, or has looked at it."""
    return isinstance(module, Guest) or type(module).__module__.startswith("purification.")


# --- what is seen meanwhile


@contextmanager
def _bar(wanted: bool) -> Iterator[Tell]:
    """A bar over all steps of a cascade, which a long attack moves on within its step."""
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        # In a notebook without widgets it is drawn as text, which it warns of.
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm

        # How long is left, one attack says little of: the next one may be of another length.
        layout = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}{postfix}]"
        bar: tqdm[Any] = tqdm(total=1, desc="clean", bar_format=layout, disable=not wanted)
    # In a file each look is a line of its own. A notebook's widget moves on in its place.
    in_place = sys.stderr.isatty() or hasattr(bar, "container")
    pace = _TICK if in_place else _TICK_IN_A_FILE
    if not in_place:
        bar.mininterval = pace
    done, ended = 0, threading.Event()

    def tick() -> None:
        # Before a search the first batch alone may take minutes.
        while not ended.wait(pace):
            bar.refresh()

    def moved_to(place: float) -> None:
        if place > bar.n:
            bar.update(place - bar.n)

    def show(description: str, total: int) -> Any:
        bar.set_description_str(description.removeprefix("cascade_"))
        return lambda steps: moved_to(done + steps / (total + 1))

    def tell(line: str, steps: int, total: int) -> None:
        nonlocal done
        # The clean pass is the first step.
        bar.total, done = total + 1, steps + 1
        left = line.partition("left ")[2].partition(",")[0]
        bar.set_postfix_str(f"left {left}", refresh=False)
        moved_to(done)

    clock = threading.Thread(target=tick, daemon=True)
    try:
        if wanted:
            clock.start()
        with progress_shown_by(show):
            yield tell
        bar.set_description_str("evaluated")
    finally:
        ended.set()
        if clock.ident is not None:
            clock.join()
        bar.close()
