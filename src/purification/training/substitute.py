"""Training of a substitute from an oracle's labels (Papernot et al. 2017, algorithm 1)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from purification.attacks.substitute import jacobian_augmentation
from purification.randomness import derive_seed
from purification.training.classifier import train_classifier
from purification.training.finite import warn_at_chance

AUGMENTATION_BATCH = 500  # images a gradient; no result depends on it


@dataclass(frozen=True)
class SubstituteResult:
    """What came of the training of a substitute; tensors on the CPU.

    Attributes:
        history: a row an epoch: round and epoch (both from 1), loss (mean over the epoch's images),
            agreement (share of the training images on which the substitute, as it was trained,
            dropout on, gave the label that it was to learn), queries (asked so far).
        queries: number of images that the oracle labelled.
        images: the last round's training images, (N, C, H, W) in [0, 1]: those given first, then
            each augmentation's in turn.
        labels: int64 (N,), those images' labels, the oracle's or, of the first, those given.
    """

    history: list[dict[str, float | int]]
    queries: int
    images: Tensor
    labels: Tensor


def train_substitute(
    substitute: nn.Module,
    oracle: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    rounds: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    step: float,
    initial_labels: Tensor | None,
    seed: int,
    device: torch.device | str,
    name: str = "substitute",
) -> SubstituteResult:
    """Trains `substitute` in place to answer as `oracle` does, and leaves it in eval mode.

    A round trains on all images so far; after each but the last, `jacobian_augmentation` makes a
    new image of every image, and the oracle labels the new ones. So rounds r train on N, 2N, ...,
    2**(r - 1) * N images: 150 to 4,800 in six.

    As in the published code of Defense-GAN, a round starts from the weights of the round before,
    but with a new Adam (CleverHans' `model_train` makes an optimizer at each call, and with
    `init_all=False` initialises nothing but its moments).

    Args:
        substitute: classifier, (N, C, H, W) -> logits (N, classes).
        oracle: new images (n, C, H, W) in [0, 1], on the CPU -> labels, int64 (n,). It is asked
            once about each image, and for nothing else: one query an image.
        images: the attacker's own, (N, C, H, W) in [0, 1]; 150 test images in Defense-GAN, which
            evaluation must leave out (`datasets.attacker_images`).
        rounds: 6 there.
        epochs: passes over the images a round; 10 there.
        batch_size: images a step; 50 there, as for its classifiers.
        learning_rate: Adam's; 1e-3 there.
        step: of the augmentation, in pixel units of [0, 1]; 0.1 there.
        initial_labels: int64 (N,), labels of `images` that cost no query; the published code takes
            the true ones. None: the oracle labels them too.

    Raises:
        ValueError: no image, no round, not one initial label an image, or the oracle's answer is
            not an int64 label for each image.
    """
    if rounds < 1 or len(images) == 0:
        raise ValueError(
            f"expected at least one round and one image, got {rounds} and {len(images)}"
        )
    if initial_labels is not None and len(initial_labels) != len(images):
        raise ValueError(f"{len(initial_labels)} initial labels for {len(images)} images")
    images, queries, history = images.detach().cpu(), 0, []
    if initial_labels is None:
        labels = _ask(oracle, images)
        queries += len(images)
    else:
        labels = initial_labels.cpu()
    for number in range(1, rounds + 1):
        rows = train_classifier(
            substitute,
            images,
            labels,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            adversarial_epsilon=None,
            seed=derive_seed(seed, "round", str(number)),
            validation=None,
            device=device,
            name=f"{name}, round {number}",
            may_warn=False,
        )
        history += [
            {
                "round": number,
                "epoch": row["epoch"],
                "loss": row["loss"],
                "agreement": row["accuracy"],
                "queries": queries,
            }
            for row in rows
        ]
        if number < rounds:
            parts = (part.split(AUGMENTATION_BATCH) for part in (images, labels))
            batches = (
                (batch.to(device), own.to(device)) for batch, own in zip(*parts, strict=True)
            )
            made = [jacobian_augmentation(substitute, *own, step=step).cpu() for own in batches]
            new = torch.cat(made)
            labels = torch.cat([labels, _ask(oracle, new)])
            images = torch.cat([images, new])
            queries += len(new)
    if history:
        warn_at_chance(name, history[-1]["agreement"], labels, "the images the oracle labelled")
    return SubstituteResult(history, queries, images, labels)


def _ask(oracle: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The oracle's labels, int64 (N,), on the CPU."""
    labels = oracle(images)
    if labels.shape != (len(images),) or labels.dtype != torch.int64:
        raise ValueError(
            f"the oracle answered {labels.dtype} {tuple(labels.shape)} for {len(images)} images; "
            "expected an int64 label an image"
        )
    return labels.cpu()
