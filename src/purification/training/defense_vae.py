"""Training of Defense-VAE (Li and Ji 2019): from attacked to clean images, alone or end to end.

The paper's REC variant needs nothing of its own: `train_classifier` on the purified images.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.randomness import derive_seed, generator, isolated_rng
from purification.training.classifier import accuracy_of
from purification.training.epochs import Losses, train_epochs, update
from purification.training.finite import Watch, mean_image_error, warn_at_chance, warn_if_mean_image
from purification.training.precision import Precision, in_precision

RECONSTRUCTION_LOSSES = ("bce", "mse")
NOISE_BATCHES = 50  # drawn and moved at once: a copy to the GPU in every step would wait for it


def train_defense_vae(
    vae: nn.Module,
    copies: Sequence[Tensor],
    clean: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    reconstruction: str,
    kl_weight: float,
    seed: int,
    device: torch.device | str,
    name: str = "Defense-VAE",
) -> list[dict[str, float | int]]:
    """Trains `vae` in place to turn attacked images into the clean ones; leaves it in eval mode.

    Loss (section 2.2): reconstruction of the clean image from a sample of the attacked one's code,
    plus `kl_weight` times KL(q(z|x) || N(0, I)); see `vae_losses`. Adam. The paper has the KL at
    full weight, and about 5 epochs, and names neither optimizer, rate nor batch. The published code
    (vae_conv_train_multi.py): "bce", KL weight 0, 5 epochs, batch 16, rate 5e-4.

    An epoch visits every copy of every image in a new random order across all copies. The pairs are
    held on the device, where they fit there, in the copies' own dtype (12 copies of MNIST in
    float32: 1.9 GB) and become float32 batch by batch. float16, which rounds by at most 1/16 of an
    8-bit step, halves that.

    Args:
        vae: `models.vae.VAE`, or what has its `encode`, `decode` and `latent`.
        copies: K tensors (N, C, H, W) in [0, 1], attacked versions of the N clean images in their
            order. 12 in the paper. Whether clean -> clean pairs belong to them it leaves open (the
            published code has none): give `clean` as one more copy to have them.
        clean: (N, C, H, W), in [0, 1].
        reconstruction: "bce" or "mse".
        kl_weight: factor of the KL term.

    Returns:
        A row an epoch: epoch (from 1), loss, reconstruction, kl (not yet weighted; these three
        means over the epoch's pairs), seconds.

    Raises:
        ValueError: no copies, copies of other shapes than the clean images, or an unknown
            reconstruction loss.
    """
    vae.to(device, memory_format=torch.channels_last)
    data = _Pairs(copies, clean, reconstruction, device)
    optimizer = torch.optim.Adam(vae.parameters(), learning_rate, fused=True)
    watch = Watch(name, {"vae": vae}, [optimizer], -(-data.count // batch_size))

    def step(pairs: Tensor, noise: Tensor) -> tuple[Losses, Losses, Tensor]:
        _, *losses = data.purify(vae, pairs, noise)
        loss = losses[0] + kl_weight * losses[1]
        update(optimizer, loss)
        parts = torch.stack([loss, *losses]).detach()
        return {"vae": parts}, {"loss": loss}, parts * len(pairs)

    def row(totals: Tensor) -> dict[str, float]:
        means = (totals / data.count).tolist()
        return dict(zip(("loss", "reconstruction", "kl"), means, strict=True))

    batches = data.batches(batch_size, vae.latent, seed)
    history = train_epochs(watch, "Defense-VAE", epochs, batches, step, row)
    if history:
        mean_image = mean_image_error(data.clean, reconstruction)
        warn_if_mean_image(name, history[-1]["reconstruction"], mean_image)
    return history


def train_end_to_end(
    vae: nn.Module,
    classifier: nn.Module,
    copies: Sequence[Tensor],
    clean: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    reconstruction: str,
    kl_weight: float,
    classifier_weight: float,
    evaluated: Mapping[str, tuple[Tensor, Tensor]],
    precision: Precision = "float32",
    seed: int,
    device: torch.device | str,
    name: str = "end to end",
) -> list[dict[str, float | int | None]]:
    """Trains all weights of both networks in place on one loss (E2E, eq. 5).

    Loss: that of `train_defense_vae` plus `classifier_weight` (the paper's lambda, whose value it
    does not give) times the cross-entropy of the classifier on the VAE's output for the attacked
    image. The classifier sees the same sampled reconstruction as the reconstruction term. One Adam
    for both. The paper finetunes a trained VAE and its REC classifier, and finds training from
    scratch almost as good: that is the same function, given new networks. It states no schedule,
    and the published code does not include E2E. Both networks are left in eval mode.

    Args:
        vae, copies, clean: as in `train_defense_vae`, as are the settings of the same names.
        classifier: (N, C, H, W) -> logits (N, classes).
        labels: int64 (N,), of the clean images.
        classifier_weight: factor of the cross-entropy.
        evaluated: sets of images (n, C, H, W) and labels by name, on which the accuracy of
            classifier behind VAE is measured before the first and after each epoch (Figure 4: the
            test images under FGSM 0.3). The images stay as they are while the networks change: a
            gray box.
        precision: of the classifier's part, as in `train_classifier`; the VAE's is float32.

    Returns:
        A row for the start, epoch 0, whose losses are None, and one an epoch: epoch, loss,
        reconstruction, kl, cross_entropy (means over the epoch's pairs, not yet weighted), accuracy
        (on the attacked training images as they were purified and classified, dropout on),
        accuracy_<name> of each evaluated set, seconds.

    Raises:
        ValueError: as `train_defense_vae`, not one label a clean image, or an unknown precision.
        FloatingPointError: as `train_defense_vae`, also of weights that are not finite to begin
            with.
    """
    deployed = in_precision(classifier, precision)
    if len(labels) != len(clean):
        raise ValueError(f"{len(labels)} labels for {len(clean)} clean images")
    for network in (vae, classifier):
        # A purifier freezes its network: unfrozen here, or finetuning would silently leave it.
        network.to(device, memory_format=torch.channels_last).requires_grad_()
    data, labels = _Pairs(copies, clean, reconstruction, device), labels.to(device)
    evaluated = {name: (x.to(device), y) for name, (x, y) in evaluated.items()}
    weights = [*vae.parameters(), *classifier.parameters()]
    optimizer = torch.optim.Adam(weights, learning_rate, fused=True)
    names = ("loss", "reconstruction", "kl", "cross_entropy", "accuracy")
    networks = {"vae": vae, "classifier": classifier}
    watch = Watch(name, networks, [optimizer], -(-data.count // batch_size))

    def accuracies() -> dict[str, float]:
        defended = nn.Sequential(vae, classifier)
        return {f"accuracy_{key}": accuracy_of(defended, *own) for key, own in evaluated.items()}

    def step(pairs: Tensor, noise: Tensor) -> tuple[Losses, Losses, Tensor]:
        purified, *losses = data.purify(vae, pairs, noise)
        logits, truth = deployed(purified), labels[pairs % len(labels)]
        losses.append(functional.cross_entropy(logits, truth))
        loss = losses[0] + kl_weight * losses[1] + classifier_weight * losses[2]
        update(optimizer, loss)
        right = (logits.argmax(dim=1) == truth).float().mean()
        parts = torch.stack([loss, *losses, right]).detach()
        return {"joint": parts}, {"loss": loss}, parts * len(pairs)

    def row(totals: Tensor) -> dict[str, float]:
        return dict(zip(names, (totals / data.count).tolist(), strict=True)) | accuracies()

    history = [{"epoch": 0, **dict.fromkeys(names), **accuracies(), "seconds": 0.0}]
    batches = data.batches(batch_size, vae.latent, seed)
    with isolated_rng(derive_seed(seed, "dropout")):
        history += train_epochs(watch, "end to end", epochs, batches, step, row)
    if epochs:
        last = history[-1]
        of = "attacked training images, purified"
        warn_at_chance(name, last["accuracy"], labels.repeat(len(copies)), of)
        mean_image = mean_image_error(data.clean, reconstruction)
        warn_if_mean_image(name, last["reconstruction"], mean_image)
    return history


def vae_losses(
    outputs: Tensor, clean: Tensor, mean: Tensor, log_variance: Tensor, reconstruction: str
) -> tuple[Tensor, Tensor]:
    """Reconstruction and KL term, both scalars: sums over an image, means over the batch.

    The published code sums over the batch too, which multiplies loss and gradient by a constant
    that Adam divides out again.

    Args:
        outputs, clean: (N, C, H, W), in [0, 1].
        mean, log_variance: (N, latent), of q(z|x).
        reconstruction: "mse", the squared error as in the paper; or "bce", the binary cross-entropy
            with the clean pixel as the probability, the published code's; NaN if an output is.
    """
    if reconstruction == "bce":
        # torch refuses NaN here, on CUDA with an assertion that ends the process. A training that
        # has diverged is to be stopped by its loss, which therefore becomes NaN.
        nan = outputs.isnan()
        known = outputs.masked_fill(nan, 0.5)
        error = functional.binary_cross_entropy(known, clean, reduction="sum")
        error = error.masked_fill(nan.any(), torch.nan)
    else:
        error = functional.mse_loss(outputs, clean, reduction="sum")
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
    return error / len(clean), kl / len(clean)


class _Pairs:
    """All pairs of an attacked and a clean image: K * N attacked ones, copy after copy.

    They are on the device, or in the host's memory where they would take more than half of a GPU's.
    Raises ValueError for copies or a reconstruction loss that `train_defense_vae` refuses.
    """

    def __init__(
        self,
        copies: Sequence[Tensor],
        clean: Tensor,
        reconstruction: str,
        device: torch.device | str,
    ) -> None:
        if reconstruction not in RECONSTRUCTION_LOSSES:
            raise ValueError(
                f"reconstruction loss {reconstruction!r}: expected one of "
                f"{', '.join(RECONSTRUCTION_LOSSES)}"
            )
        if len(copies) == 0 or len(clean) == 0:
            raise ValueError(
                "expected at least one attacked copy and one image, got "
                f"{len(copies)} and {len(clean)}"
            )
        for number, copy in enumerate(copies):
            if copy.shape != clean.shape:
                raise ValueError(
                    f"attacked copy {number} is {tuple(copy.shape)}, the clean images "
                    f"{tuple(clean.shape)}"
                )
        self.device, self.reconstruction = device, reconstruction
        self.count, self.clean = len(copies) * len(clean), clean.to(device)
        if torch.device(device).type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            device = device if 2 * sum(copy.nbytes for copy in copies) < free else "cpu"
        # Without a second set of them on the way.
        shape, dtype = (self.count, *clean.shape[1:]), copies[0].dtype
        self.attacked = torch.empty(shape, dtype=dtype, device=device)
        for part, copy in zip(self.attacked.split(len(clean)), copies, strict=True):
            part.copy_(copy)

    def batches(
        self, batch_size: int, latent: int, seed: int
    ) -> Callable[[int], Iterator[tuple[Tensor, Tensor]]]:
        """For `train_epochs`: numbers of pairs (n,) in a new order, and noise (n, latent)."""
        order, noises = generator(seed, "order"), generator(seed, "noise")

        def of_epoch(_: int) -> Iterator[tuple[Tensor, Tensor]]:
            shuffled = torch.randperm(self.count, generator=order)
            for block in shuffled.split(batch_size * NOISE_BATCHES):
                noise = torch.randn(len(block), latent, generator=noises)
                both = (part.to(self.device).split(batch_size) for part in (block, noise))
                yield from zip(*both, strict=True)

        return of_epoch

    def purify(self, vae: nn.Module, pairs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Purified images from sampled codes (reparameterised), and the two losses."""
        attacked = self.attacked[pairs.to(self.attacked.device)].to(pairs.device)
        mean, log_variance = vae.encode(attacked.float())
        purified = vae.decode(mean + (0.5 * log_variance).exp() * noise)
        clean = self.clean[pairs % len(self.clean)]
        return purified, *vae_losses(purified, clean, mean, log_variance, self.reconstruction)
