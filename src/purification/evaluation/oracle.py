"""A classifier as a black box: images in, labels out."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from purification.evaluation.purifiers import BatchSize, Files, fitted_purifier
from purification.guests import name_of, refuse_not_finite
from purification.models.checkpoints import load_network
from purification.purifiers import Defended
from purification.purifiers.batches import in_batches
from purification.runtime import progress


def load_oracle(
    recipe: Mapping[str, Any], files: Files, batch_size: BatchSize, device: torch.device | str
) -> Callable[[Tensor], Tensor]:
    """The oracle of a `Substitute` recipe: its classifier, behind its purifier if it has one.

    `files` are the recipe's inputs by name; otherwise as `label_oracle`.
    """
    model: nn.Module = load_network(files["classifier"], "Classifier")
    if recipe["purifier"]:
        model = Defended(fitted_purifier(recipe["purifier"], files), model)
    return label_oracle(model, batch_size, device)


def label_oracle(
    model: nn.Module, batch_size: BatchSize, device: torch.device | str
) -> Callable[[Tensor], Tensor]:
    """All that a black-box attacker has of a classifier: its labels.

    The published code of Defense-GAN always asks the defended classifier, even for its rows
    without a defence.

    `model`, (N, C, H, W) -> logits (N, classes), is moved to `device` and put into eval mode at
    each call; no label depends on `batch_size`. The function returned takes images (N, C, H, W) in
    [0, 1] on any device, N at least 1, to labels int64 (N,) on the CPU. It raises
    FloatingPointError if the model's logits are not finite.
    """

    def labels(images: Tensor) -> Tensor:
        model.to(device).eval()
        found: list[Tensor] = []

        def label(batch: Tensor) -> Tensor:
            logits = model(batch.to(device))
            begin = sum(map(len, found))
            numbers = range(begin, begin + len(batch))
            refuse_not_finite(logits, f"{name_of(model)}, the oracle: the logits", numbers)
            return logits.argmax(dim=1).cpu()

        # no_grad, not inference_mode: a purifier that optimises inside must be able to undo it.
        with torch.no_grad(), progress(len(images), "asking the oracle", "image") as bar:
            for part in in_batches(label, images, batch_size, device):
                found.append(part)
                bar.update(len(part))
        return torch.cat(found)

    return labels
