"""Training of a classifier, plain or adversarial."""

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.attacks.fgsm import fgsm
from purification.attacks.gradient import logits_and_input_gradient
from purification.attacks.iterative import pgd
from purification.models.prediction import predict
from purification.randomness import derive_seed, generator, isolated_rng
from purification.training.epochs import Losses, train_epochs, update
from purification.training.finite import Watch, warn_at_chance
from purification.training.precision import Precision, in_precision

Labels = Literal["ground_truth", "predicted"]


def train_classifier(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    adversarial_epsilon: float | None,
    adversarial_labels: Labels = "ground_truth",
    adversarial_pgd: Mapping[str, float] | None = None,
    precision: Precision = "float32",
    seed: int,
    validation: tuple[Tensor, Tensor] | None,
    device: torch.device | str,
    name: str = "classifier",
    may_warn: bool = True,
) -> list[dict[str, float | int | None]]:
    """Trains `model` in place with Adam on the cross-entropy, and leaves it in eval mode.

    Every epoch visits all images in a new random order, the last batch may be smaller. The same
    seed and initial weights give the same weights again on the same kind of device.

    Adversarial training has two forms. Both craft images anew in every step, on the current
    weights:

    - `adversarial_epsilon`, as in the published code of Defense-GAN: the loss is the mean of that
      on the clean images and that on their FGSM versions. They are crafted in train mode, dropout
      included, as there: the network under attack is then the one that the step updates. Its code
      climbs away from the network's own predictions; from true labels a network may learn to read
      the label off the one step that was taken (label leaking; Kurakin et al. 2017, "Adversarial
      machine learning at scale", sec. 4.4).
    - `adversarial_pgd`, Madry et al. 2018, "Towards deep learning models resistant to adversarial
      attacks", eq. 2.1: the loss is that on PGD's images alone, from the true labels, each from a
      random start that is another one in every epoch. They are crafted in eval mode. The inner
      maximum is that of one network, and its networks of MNIST have no dropout; with dropout every
      iteration would climb the loss of another network, and the attacks that follow are on the one
      in eval mode. Batch norm would also take its statistics from every iterate.

    Args:
        model: classifier, (N, C, H, W) -> logits (N, classes).
        images: (N, C, H, W), in [0, 1]. For the paper's "Rec", the reconstructions.
        labels: int64 (N,).
        batch_size: clean images a step (with `adversarial_epsilon` a step has twice as many).
        learning_rate: Adam's; 1e-3 in the published code, its other settings are the defaults.
        adversarial_epsilon: l-inf radius of the FGSM versions in pixel units of [0, 1], or None.
        adversarial_labels: what these FGSM versions climb away from: "ground_truth", or
            "predicted", the network's predictions in the same forward pass.
        adversarial_pgd: `attacks.iterative.pgd`'s epsilon, step_size and iterations, or None; Madry
            et al. have 0.3, 0.01 and 40 on MNIST. AE-GAN+rs states the 0.3 alone.
        precision: "bfloat16" trains in mixed precision: convolutions and linear layers, also those
            that FGSM and PGD differentiate, take and give bfloat16; weights, logits, loss and Adam
            stay float32. The trained network is a float32 one like any other.
        validation: images and labels on which each epoch's accuracy is measured, or None.
        may_warn: whether it may warn. Not where a training is a part of another one.

    Returns:
        A row an epoch: epoch (from 1), loss (mean over the epoch's training images), accuracy (on
        the clean training images as they came, dropout on; with `adversarial_pgd` on PGD's, there
        being no others), validation_accuracy (on clean images; None without `validation`), seconds.

    Raises:
        ValueError: both forms of adversarial training, settings that the attack refuses, or an
            unknown precision.
    """
    if adversarial_epsilon is not None and adversarial_pgd is not None:
        raise ValueError("adversarial_epsilon and adversarial_pgd: expected one of them at most")
    network = in_precision(model, precision)
    model.to(device, memory_format=torch.channels_last)
    images, labels = images.to(device), labels.to(device)
    if validation is not None:
        validation = (validation[0].to(device), validation[1].to(device))
    optimizer = torch.optim.Adam(model.parameters(), learning_rate, fused=True)
    order = generator(seed, "order")
    plain = adversarial_epsilon is None and adversarial_pgd is None
    shown = "classifier" if plain else "classifier, adversarial"
    watch = Watch(name, {"classifier": model}, [optimizer], -(-len(images) // batch_size))

    def batches(epoch: int) -> Iterator[tuple[Tensor, int]]:
        shuffled = torch.randperm(len(images), generator=order).to(device)
        return ((chosen, epoch) for chosen in shuffled.split(batch_size))

    def step(chosen: Tensor, epoch: int) -> tuple[Losses, Losses, Tensor]:
        batch, truth = images[chosen], labels[chosen]
        if adversarial_pgd is not None:
            random = {"seed": derive_seed(seed, "pgd", str(epoch)), "indices": chosen.tolist()}
            model.eval()
            batch = pgd(network, batch, truth, **adversarial_pgd, **random)
            model.train()
        if adversarial_epsilon is not None:
            climbed = truth if adversarial_labels == "ground_truth" else None
            _, gradient = logits_and_input_gradient(network, batch, climbed)
            adversarial = fgsm(
                network, batch, truth, epsilon=adversarial_epsilon, first_gradient=gradient
            )
            # In one batch: its mean is the mean of the two losses.
            batch, truth = torch.cat([batch, adversarial]), truth.repeat(2)
        logits = network(batch)
        loss = functional.cross_entropy(logits, truth)
        update(optimizer, loss)
        first = slice(len(chosen))
        correct = (logits[first].argmax(dim=1) == truth[first]).sum()
        sums = torch.stack([loss.detach() * len(chosen), correct])
        return {"classifier": loss}, {"loss": loss}, sums

    def row(totals: Tensor) -> dict[str, float | None]:
        loss, accuracy = (total / len(images) for total in totals.tolist())
        validated = None if validation is None else accuracy_of(model, *validation)
        return {"loss": loss, "accuracy": accuracy, "validation_accuracy": validated}

    with isolated_rng(derive_seed(seed, "dropout")):
        history = train_epochs(watch, shown, epochs, batches, step, row)
    if may_warn and history:
        if validation is None:
            warn_at_chance(name, history[-1]["accuracy"], labels, "training images")
        else:
            accuracy = history[-1]["validation_accuracy"]
            warn_at_chance(name, accuracy, validation[1], "validation images")
    return history


def accuracy_of(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of `images` (N, C, H, W), on the model's device, that get their label (N,)."""
    logits = predict(model, images, device=images.device)
    return (logits.argmax(dim=1) == labels.cpu()).double().mean().item()
