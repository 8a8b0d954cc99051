"""What stops a training that has diverged, and says so of one that has learned nothing.

Adam on a loss that is not finite makes all weights NaN, and a network of such weights still has an
argmax: without these checks it would train to its end, and its accuracy would look like a number.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from purification.runtime import warn
from purification.training.draws import AT_ONCE

WEIGHTS_EVERY = 10 * AT_ONCE
"""Steps. A loss tells of nearly all that is wrong with weights in the next step; to look at them
costs about as much as a twentieth of a small network's step."""
ONE_SIDED_95 = 1.645  # of the standard normal distribution
MEAN_IMAGE_SHARE = 0.99
"""Of the mean image's error. An output that does not depend on the image leaves at least all of it;
the hundredth is for rounding, and for outputs that hardly depend on it."""
COLLAPSE_SHARE = 0.01
"""Of the images' variance: samples that differ by less than a tenth of what images differ by. Of
samples that look like the images it is about 1; a single mode of ten leaves some tenths."""
COLLAPSE_SAMPLES = 64


class Watch:
    """Looks at the losses of every step of a training, and at its weights now and then.

    It only looks: what is trained is the same to the last bit. On the CPU a loss is read in its
    step. On another device that would wait for it, so the losses of `AT_ONCE` steps are read at
    once; the first that is not finite is named all the same. Weights are looked at every
    `WEIGHTS_EVERY` steps and where `check` is called. `epochs.train_epochs` shows its use.
    """

    def __init__(
        self,
        name: str,
        networks: Mapping[str, nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
        steps_in_epoch: int | None = None,
        done: int = 0,
    ) -> None:
        """Checks the weights as they are before the first step: FloatingPointError if not finite.

        Args:
            name: of the training, in messages.
            networks: all that are trained, on their device.
            optimizers: of their weights; their moments are checked with the weights.
            steps_in_epoch: with it a place is named by epoch and step, otherwise by iteration.
            done: steps of former runs.
        """
        self._name = name
        self.networks = dict(networks)
        self._optimizers = list(optimizers)
        self.steps_in_epoch = steps_in_epoch or 0
        self._steps = done
        self._pending: list[dict[str, Tensor]] = []
        device = self._optimizers[0].param_groups[0]["params"][0].device
        self._on_the_cpu = device.type == "cpu"
        # A mask may well be full of -inf; what a training has not made is no sign of divergence.
        self._constant: frozenset[str] = frozenset()
        bad = not_finite(self._tensors())
        buffers = {
            f"{name}.{key}"
            for name, network in self.networks.items()
            for key, _ in network.named_buffers()
        }
        if wrong := [name for name in bad if name not in buffers]:
            raise FloatingPointError(
                f"{self._name}: not finite before the first step: {_few(wrong)}"
            )
        self._constant = frozenset(bad)

    def step(self, **losses: Tensor) -> None:
        """To be called after each step of the optimizers, with all the step's losses by the names
        that a message gives them: of any shape, on the training's device.

        Raises FloatingPointError if one is NaN or infinite, on a device other than the CPU up to
        `AT_ONCE` steps later, and for weights as `check`.
        """
        self._steps += 1
        if self._on_the_cpu:
            for name, loss in losses.items():
                numbers = loss.reshape(-1).tolist() if loss.dim() else (loss.item(),)
                self._check_loss(self._steps, name, numbers)
        else:
            self._pending.append({name: loss.detach() for name, loss in losses.items()})
            if self._steps % AT_ONCE == 0:
                self._read_losses()
        if self._steps % WEIGHTS_EVERY == 0:
            self.check()

    def check(self) -> None:
        """To be called at each epoch's end, before anything is kept, and at the training's end.

        Raises FloatingPointError if a loss since the last check, a weight, a buffer (batch norm's
        statistics) or a moment of an optimizer is NaN or infinite. The message names the training,
        the place (of a weight: where it was seen) and the learning rate.
        """
        self._read_losses()
        if wrong := not_finite(self._tensors()):
            raise self._stopped(self._steps, f"not finite any more: {_few(wrong)}")

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of the history as it came; FloatingPointError if a value is NaN or infinite, such
        as a sum that has overflowed."""
        for key, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                self._read_losses()  # one of them may be why, and its step is known
                raise self._stopped(self._steps, f"{key} of the history is {value}")
        return row

    def _read_losses(self) -> None:
        pending, self._pending = self._pending, []
        losses = [loss for named in pending for loss in named.values()]
        if not losses:
            return
        sizes = [loss.numel() for loss in losses]
        numbers = iter(torch.cat([loss.reshape(-1) for loss in losses]).cpu().split(sizes))
        for step, named in enumerate(pending, self._steps - len(pending) + 1):
            for name in named:
                self._check_loss(step, name, next(numbers).tolist())

    def _check_loss(self, step: int, name: str, numbers: Iterable[float]) -> None:
        for number in numbers:
            if not math.isfinite(number):
                raise self._stopped(step, f"the {name} loss is {number}")

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All that must be finite, with names."""
        names = {}
        for network_name, network in self.networks.items():
            for key, weights in [*network.named_parameters(), *network.named_buffers()]:
                names[weights] = name = f"{network_name}.{key}"
                if name not in self._constant:
                    yield name, weights
        for optimizer in self._optimizers:
            for weights, moments in optimizer.state.items():
                for key, moment in moments.items():
                    # Not the number of steps, which is a tensor too.
                    if isinstance(moment, Tensor) and moment.dim():
                        yield f"{key} of {names.get(weights, 'a weight')}", moment

    def _stopped(self, step: int, what: str) -> FloatingPointError:
        rates = {group["lr"]: None for one in self._optimizers for group in one.param_groups}
        shown = " and ".join(f"{rate:g}" for rate in rates)
        hint = f"The likely remedy is a smaller learning_rate (here {shown})."
        if step <= 1:
            hint += " It is the first step: the images may be at fault, or the untrained network."
        return FloatingPointError(
            f"{self._name}: training stopped at {self._place(step)}: {what}. {hint}"
        )

    def _place(self, step: int) -> str:
        if not self.steps_in_epoch:
            return f"iteration {step}"
        epoch, before = divmod(max(step, 1) - 1, self.steps_in_epoch)
        return f"epoch {epoch + 1}, step {before + 1} of {self.steps_in_epoch}"


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity; one number is read from a device."""
    named = {
        name: tensor.detach()
        for name, tensor in tensors
        if tensor.is_floating_point() or tensor.is_complex()
    }
    # A sum is several times as fast as a look at each number, and finite only if they all are. It
    # may overflow besides.
    sums = [tensor.sum() for tensor in named.values()]
    if not sums or torch.stack(sums).isfinite().all():
        return []
    return [name for name, tensor in named.items() if not tensor.isfinite().all()]


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def warn_at_chance(name: str, accuracy: float, labels: Tensor, of: str) -> None:
    """Warns of a classifier that does no better than one that always names the same class.

    Chance is the share p of the most frequent label; no better is what is not above the one-sided
    95 % bound of the accuracy of a classifier that is right with probability p, whose deviation is
    sqrt(p (1 - p) / n). One that always names a class is never above p, hence always found. The
    `accuracy` is on the n images of `labels`, int64 (n,); the message has `name` of the training
    and `of`, what these images are.
    """
    chance = labels.unique(return_counts=True)[1].max().item() / len(labels)
    if accuracy <= chance + ONE_SIDED_95 * math.sqrt(chance * (1 - chance) / len(labels)):
        warn(
            f"{name}: accuracy {accuracy:.4f} on {of} ({len(labels)}) is no better than chance "
            f"({chance:.4f}: the most frequent class). The likely remedy is another learning_rate "
            "or more epochs; of a checkpoint, one for this data set, its pixels in [0, 1] and its "
            "order of classes."
        )


def mean_image_error(images: Tensor, loss: str = "mse") -> float:
    """What the mean image leaves of a reconstruction loss: a sum over pixels, a mean over images.

    No output that does not depend on the image has less. `images`: (N, C, H, W), in [0, 1]; `loss`:
    "mse", or "bce", the binary cross-entropy with the pixel as the probability.
    """
    if loss == "mse":
        return images.var(dim=0, correction=0).sum().item()
    mean = images.mean(dim=0).clamp(0, 1)
    return -(torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean)).sum().item()


def warn_if_mean_image(name: str, error: float, mean_image: float) -> None:
    """Warns of a reconstruction `error` that is no better than `mean_image`'s (see
    `mean_image_error`); both of the same images."""
    if error >= MEAN_IMAGE_SHARE * mean_image:
        warn(
            f"{name}: reconstruction error {error:.4g} in the last epoch is no better than that of "
            f"the mean image ({mean_image:.4g}). The likely remedy is another learning_rate or "
            "more epochs."
        )


@torch.no_grad()
def warn_if_collapsed(name: str, generator: nn.Module, codes: Tensor, images: Tensor) -> None:
    """Warns of a generator whose samples are all the same image, up to `COLLAPSE_SHARE`.

    The measure is their variance, summed over pixels, beside the images'. Samples of a few modes
    are not found by it. The `generator`, in eval mode and on the device of the `images` (N, ...)
    that it was trained on, makes samples of their shape from the `codes` of its prior, on the CPU.
    """
    samples = generator(codes.to(images.device))
    spread, expected = (x.var(dim=0, correction=0).sum().item() for x in (samples, images))
    if spread < COLLAPSE_SHARE * expected:
        warn(
            f"{name}: {len(samples)} samples are nearly the same image: their variance is "
            f"{spread:.3g}, that of the training images {expected:.3g}. The likely remedy is "
            "another learning_rate, or another number of steps."
        )
