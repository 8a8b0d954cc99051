"""The toy of Cowboy's Figures 1 and 2: a classifier and a GAN of two Gaussians in the plane.

The paper (sections 3.1 and 3.3) gives the centres (3, 3) and (-3, -3) and the variance 1, and
nothing else: networks, optimiser, steps and numbers of points are chosen here.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from purification.randomness import derive_seed, generator, isolated_rng
from purification.runtime import progress
from purification.training.adversarial_game import discriminator_loss, generator_loss
from purification.training.epochs import update
from purification.training.finite import COLLAPSE_SAMPLES, Watch, warn_at_chance, warn_if_collapsed

CENTRES = ((3.0, 3.0), (-3.0, -3.0))
"""Of class 0 and class 1; both have the identity as covariance."""
EXTENT = 10.0
"""The surfaces are of the square from -EXTENT to EXTENT."""
BETAS = (0.5, 0.999)
"""Of the GAN's Adam, as DCGAN has them (Radford et al. 2016)."""
DISTANCES = (0.0, 1.0, 2.0, 3.0, 5.0, float("inf"))
"""Borders of the rings of `distance_rows`. Of a Gaussian's points 39 % lie within 1 of its centre,
86 % within 2, 98.9 % within 3; of 2,000 points one in 100 draws lies beyond 5."""


@dataclass(frozen=True)
class Toy:
    """What the toy's networks answer, and the points they were trained on; all float64.

    points: (N, 2), the training points of both classes. labels: (N,), 0 or 1, int64.
    axis: (K,), from -EXTENT to EXTENT, the coordinates of both surfaces' rows (y) and columns (x).
    probability: (K, K), the classifier's probability of class 1 at (axis[column], axis[row]).
    score: (K, K), D there, the discriminator's probability that a point is real.
    samples: (N, 2), points of the generator.
    """

    points: np.ndarray
    labels: np.ndarray
    axis: np.ndarray
    probability: np.ndarray
    score: np.ndarray
    samples: np.ndarray


def train_toy(
    *,
    seed: int,
    points: int = 2000,
    classifier_steps: int = 300,
    gan_steps: int = 3000,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    width: int = 32,
    saturating: bool = False,
    side: int = 121,
) -> Toy:
    """Trains the toy's classifier and GAN, and evaluates them on a grid.

    Both learn from the same points, half of each Gaussian. Classifier, generator (of a standard
    normal code in the plane) and discriminator have two hidden layers of ReLUs. The GAN plays the
    standard game (equation 1) without anything that would stabilise it. The same seed gives the
    same result on the same kind of machine.

    Args:
        points: training points, an even number.
        classifier_steps, gan_steps: steps of Adam; one of the discriminator to one of the
            generator.
        batch_size: points a step, drawn with replacement.
        learning_rate: Adam's, of all networks.
        width: units of a hidden layer.
        saturating: whether the generator minimises log(1 - D(G(z))), as equation 1 reads, or
            -log D(G(z)), whose gradient does not vanish where the discriminator is sure.
        side: K, points along a side of the surfaces.

    Raises:
        ValueError: an odd number of points, or one below 2.
    """
    if points < 2 or points % 2:
        raise ValueError(f"expected an even number of points, at least 2, got {points}")
    labels = torch.arange(points) % 2
    noise = torch.randn(points, 2, generator=generator(seed, "points"))
    real = torch.tensor(CENTRES)[labels] + noise
    with isolated_rng(derive_seed(seed, "weights")):
        classifier, maker, discriminator = _mlp(width, 1), _mlp(width, 2), _mlp(width, 1)
    with progress(classifier_steps + gan_steps, "toy") as bar:
        optimizer = torch.optim.Adam(classifier.parameters(), learning_rate)
        watch = Watch("the toy's classifier", {"classifier": classifier}, [optimizer])
        for batch in _batches(points, batch_size, classifier_steps, seed, "classifier"):
            logits, truth = classifier(real[batch])[:, 0], labels[batch].float()
            loss = functional.binary_cross_entropy_with_logits(logits, truth)
            update(optimizer, loss)
            watch.step(classifier=loss)
            bar.update()
        watch.check()
        networks = {"discriminator": discriminator, "generator": maker}
        adam = torch.optim.Adam
        optimizers = [adam(each.parameters(), learning_rate, BETAS) for each in networks.values()]
        watch = Watch("the toy's GAN", networks, optimizers)
        codes = generator(seed, "codes")
        for batch in _batches(points, batch_size, gan_steps, seed, "gan"):
            fake = maker(torch.randn(batch_size, 2, generator=codes))
            judged = discriminator(torch.cat([real[batch], fake.detach()]))[:, 0]
            losses = [discriminator_loss(*judged.split(batch_size))]
            update(optimizers[0], losses[0])
            losses.append(generator_loss(discriminator(fake)[:, 0], saturating))
            update(optimizers[1], losses[1])
            watch.step(discriminator=losses[0], generator=losses[1])
            bar.update()
        watch.check()
    with torch.no_grad():
        right = ((classifier(real)[:, 0] > 0) == labels).double().mean().item()
    warn_at_chance("the toy's classifier", right, labels, "its points")
    looked_at = torch.randn(COLLAPSE_SAMPLES, 2, generator=generator(seed, "collapse"))
    warn_if_collapsed("the toy's GAN", maker, looked_at, real)
    axis = torch.linspace(-EXTENT, EXTENT, side)
    with torch.no_grad():
        samples = maker(torch.randn(points, 2, generator=generator(seed, "samples")))
    return Toy(
        points=real.double().numpy(),
        labels=labels.numpy(),
        axis=axis.double().numpy(),
        probability=_surface(classifier, axis),
        score=_surface(discriminator, axis),
        samples=samples.double().numpy(),
    )


def distance_rows(toy: Toy) -> list[dict[str, float | int]]:
    """How sure both networks are, by the distance to the nearer centre.

    What Figures 1 and 2 are to show, in numbers: a classifier knows of no manifold if it is
    confident far from the data; the discriminator knows of it if its score falls there.

    Returns:
        A row for each ring between two of `DISTANCES` that has points of the grid: its borders
        `distance_from` and `distance_to`; `n`, those points; `confidence`, the mean of the larger
        class probability, and `confident`, the share of points where it is above 0.99; `score`, the
        mean of D, and `accepted`, the share of points where it is above 0.5.
    """
    x, y = np.meshgrid(toy.axis, toy.axis)
    distance = np.min([np.hypot(x - cx, y - cy) for cx, cy in CENTRES], axis=0)
    confidence = np.maximum(toy.probability, 1 - toy.probability)
    rows = []
    for low, high in pairwise(DISTANCES):
        ring = (low <= distance) & (distance < high)
        if not ring.any():  # the grid is too coarse
            continue
        rows.append(
            {
                **{"distance_from": low, "distance_to": high, "n": int(ring.sum())},
                "confidence": float(confidence[ring].mean()),
                "confident": float((confidence[ring] > 0.99).mean()),
                "score": float(toy.score[ring].mean()),
                "accepted": float((toy.score[ring] > 0.5).mean()),
            }
        )
    return rows


def _mlp(width: int, outputs: int) -> nn.Sequential:
    hidden = (nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    return nn.Sequential(*hidden, nn.Linear(width, outputs))


def _batches(points: int, batch_size: int, steps: int, seed: int, name: str) -> Tensor:
    """(steps, batch_size) numbers of points."""
    return torch.randint(points, (steps, batch_size), generator=generator(seed, name, "batches"))


@torch.no_grad()
def _surface(network: nn.Module, axis: Tensor) -> np.ndarray:
    """The sigmoid of the network's answer on the grid, (K, K), rows from low to high y."""
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    logits = network(torch.stack([x, y], dim=-1).flatten(0, 1)).double()
    return logits.sigmoid().view(len(axis), len(axis)).numpy()
