"""How well a generator's images match real ones, as numbers: Frechet distance, precision, recall.

All are computed on features of a classifier of this project: what its last linear layer is given.
Heusel et al. 2017 ("GANs trained by a two time-scale update rule", FID) take an Inception network
of ImageNet. So a distance from here is *not* an Inception-FID: it compares generators on the same
data set and classifier only. Precision tells whether generated images look real, recall whether all
kinds of real images are generated; a Frechet distance mixes both.
"""

import math

import torch
from torch import Tensor, nn

from purification.evaluation.purifiers import BatchSize
from purification.models.prediction import predict
from purification.purifiers.batches import in_batches

ROWS = 1000  # of a matrix of distances, at a time


def classifier_features(
    classifier: nn.Module, images: Tensor, *, batch_size: int = 500, device: torch.device | str
) -> Tensor:
    """What the last linear layer of `classifier` is given, in eval mode: (N, features) on the CPU.

    Of classifier A these are the 128 outputs of its hidden layer after the ReLU. The classifier,
    (N, C, H, W) in [0, 1] -> logits, is moved to `device`; its mode is restored. Raises ValueError
    if it has no linear layer.
    """
    linear = [module for module in classifier.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(classifier).__name__} has no linear layer, and so no features")
    kept: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda _, given: kept.append(given[0].cpu()))
    try:
        predict(classifier, images, batch_size=batch_size, device=device)
    finally:
        hook.remove()
    return torch.cat(kept)


def generated_images(
    generator: nn.Module,
    codes: Tensor,
    *,
    batch_size: BatchSize = 500,
    device: torch.device | str,
) -> Tensor:
    """Images (N, C, H, W) of codes (N, latent), on the CPU; `generator` is moved to `device`."""
    generator.to(device)
    with torch.no_grad():
        images = in_batches(lambda z: generator(z.to(device)).cpu(), codes, batch_size, device)
        return torch.cat(list(images))


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """Frechet distance between Gaussians fitted to two sets of features, at least 0.

    |m - m'|^2 + trace(C + C' - 2 (C C')^(1/2)) with means m and covariances C (Dowson and Landau
    1982; Heusel et al. 2017, eq. 6). It has the square of the features' unit. Its estimate falls
    with the number of images (the covariances are estimates): compare equal numbers.

    The sets are (N, d) and (M, d), at least 2 rows each, finite. Raises ValueError for others, or
    a distance that is not finite.
    """
    real, generated = _checked(real, generated, at_least=2)
    root = _square_root(real.T.cov())
    # (C C')^(1/2) and (C^(1/2) C' C^(1/2))^(1/2) have one trace; the latter is symmetric.
    mixed = torch.linalg.eigvalsh(root @ generated.T.cov() @ root).clamp(min=0).sqrt().sum()
    spread = real.var(dim=0).sum() + generated.var(dim=0).sum() - 2 * mixed
    shift = (real.mean(dim=0) - generated.mean(dim=0)).square().sum()
    distance = (shift + spread).item()
    if not math.isfinite(distance):  # max(0.0, nan) would be 0: a perfect generator
        raise ValueError(f"features too large: their Frechet distance is {distance}")
    return max(0.0, distance)


def precision_and_recall(
    real: Tensor, generated: Tensor, neighbours: int = 3
) -> tuple[float, float]:
    """(Precision, recall) of Kynkaanniemi et al. 2019 (eq. 1 and 2), both in [0, 1].

    A set's manifold is the union of the balls around its features that reach to the k-th nearest
    other one. Precision is the share of the generated images on the manifold of the real ones,
    recall that of the real ones on the manifold of the generated.

    The features are (N, d) and (M, d), finite; N and M above `neighbours` (k; 3 in the paper).
    Both numbers depend on N and M: compare equal numbers of images. Raises ValueError for others.
    """
    if neighbours < 1:
        raise ValueError(f"expected at least 1 neighbour, got {neighbours}")
    real, generated = _checked(real, generated, at_least=neighbours + 1)
    return _share_on(real, generated, neighbours), _share_on(generated, real, neighbours)


def _share_on(manifold: Tensor, others: Tensor, neighbours: int) -> float:
    """The share of `others` (M, d) inside one of the balls around the rows of `manifold`."""
    # The nearest of all is the feature itself, at distance 0.
    radii = torch.cat(
        [
            _distances(rows, manifold).kthvalue(neighbours + 1, dim=1).values
            for rows in manifold.split(ROWS)
        ]
    )
    inside = [(_distances(rows, manifold) <= radii).any(dim=1) for rows in others.split(ROWS)]
    return torch.cat(inside).double().mean().item()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # By differences: the faster way by products rounds distances near 0 away from it.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _square_root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _checked(real: Tensor, generated: Tensor, at_least: int) -> tuple[Tensor, Tensor]:
    for name, features in (("real", real), ("generated", generated)):
        if features.dim() != 2 or len(features) < at_least:
            raise ValueError(
                f"{name} features: expected (N, d) with N at least {at_least}, "
                f"got {tuple(features.shape)}"
            )
        if not bool(features.isfinite().all()):
            raise ValueError(f"{name} features: not all are finite")
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            f"expected features of one length, got {real.shape[1]} and {generated.shape[1]}"
        )
    return real.double(), generated.double()
