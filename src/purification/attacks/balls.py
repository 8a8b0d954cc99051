"""The balls around images in which bounded attacks move: projection, steps and random points."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from purification.attacks.gradient import per_image
from purification.attacks.noise import per_image_noise

_LARGEST_EXPONENT = 126  # 2 to which, and to its negative, is a float32


def of_unit_l1(vectors: Tensor) -> Tensor:
    """Vectors (N, C, H, W), each divided by its l1 norm; one of zero stays zero."""
    return _of_unit(vectors, 1)


def of_unit_l2(vectors: Tensor) -> Tensor:
    """The same by the l2 norm."""
    return _of_unit(vectors, 2)


def exponents(vectors: Tensor) -> Tensor:
    """That e of each of N vectors (N, ...) with which its largest value is in [0.5, 1) once it is
    divided by 2^e, which rounds nothing; int32 (N,), and 0 of a vector of zero."""
    largest = vectors.flatten(1).abs().amax(dim=1)
    return torch.frexp(largest).exponent.clamp(-_LARGEST_EXPONENT, _LARGEST_EXPONENT)


def _of_unit(vectors: Tensor, order: int) -> Tensor:
    # Squares of a gradient of 1e-23 are 0 in float32, those of 1e20 infinite.
    vectors = torch.ldexp(vectors, per_image(-exponents(vectors), vectors))
    flat = vectors.flatten(1)
    lengths = flat.abs().sum(dim=1) if order == 1 else torch.linalg.vector_norm(flat, dim=1)
    lengths = per_image(lengths, vectors)
    return torch.where(lengths > 0, vectors / lengths, 0)


@dataclass(frozen=True)
class LinfBall:
    """Images in [0, 1] no pixel of which differs by more than `epsilon` from that of `images`
    (N, C, H, W), pixel units of [0, 1]. One ball for each image."""

    images: Tensor
    epsilon: float

    def part(self, rows: Tensor) -> Self:
        """The balls of some of the images, int64 (n,)."""
        return type(self)(self.images[rows], self.epsilon)

    def project(self, points: Tensor) -> Tensor:
        """The nearest points in the balls. Ball and box are both boxes: one clip to their
        intersection is the projection onto it."""
        return points.clamp(*self._bounds)

    @cached_property
    def _bounds(self) -> tuple[Tensor, Tensor]:
        lowest = (self.images - self.epsilon).clamp(min=0)
        return lowest, (self.images + self.epsilon).clamp(max=1)

    def normalised(self, gradients: Tensor) -> Tensor:
        """Gradients as momentum adds them up: of l1 norm 1 (MIM, eq. 6)."""
        return of_unit_l1(gradients)

    def step(self, direction: Tensor) -> Tensor:
        """The step of length 1 in the ball's norm that gains most along a direction."""
        return direction.sign()

    def random(self, seed: int, indices: Iterable[int]) -> Tensor:
        """A point of each ball, uniform before it is clipped to the box, which `project` does."""
        noise = per_image_noise(torch.rand, self.images, seed, indices)
        return self.images + self.epsilon * (2 * noise - 1)


@dataclass(frozen=True)
class L2Ball:
    """The same of the l2 norm of an image's whole change."""

    images: Tensor
    epsilon: float

    def part(self, rows: Tensor) -> Self:
        """The balls of some of the images, int64 (n,)."""
        return type(self)(self.images[rows], self.epsilon)

    def project(self, points: Tensor) -> Tensor:
        """Points in the balls, those that are there as they are: first drawn back onto the ball,
        then clipped to the box.

        The box comes last, and the ball still holds: the image is in the box, so that the clip
        brings each pixel nearer to the image's or leaves it. It is not the nearest point of the
        intersection where both bounds are active.
        """
        change = points - self.images
        lengths = torch.linalg.vector_norm(change.flatten(1), dim=1)
        drawn_back = self.images + per_image(self.epsilon / lengths, points) * change
        inside = per_image(lengths <= self.epsilon, points)
        return torch.where(inside, points, drawn_back).clamp(0, 1)

    def normalised(self, gradients: Tensor) -> Tensor:
        """Gradients as momentum adds them up: of l2 norm 1."""
        return of_unit_l2(gradients)

    def step(self, direction: Tensor) -> Tensor:
        """The step of length 1 in the ball's norm that gains most along a direction."""
        return of_unit_l2(direction)

    def random(self, seed: int, indices: Iterable[int]) -> Tensor:
        """A point of each ball, uniform before it is clipped to the box, which `project` does."""
        return self.images + self.epsilon * per_image_noise(
            _in_unit_ball, self.images, seed, indices
        )


Ball = LinfBall | L2Ball


def _in_unit_ball(shape: torch.Size, *, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """A uniform point of the l2 ball of radius 1: a random direction, and a radius of which the
    d-th power is uniform in d dimensions."""
    direction = torch.randn(shape, generator=generator, dtype=dtype)
    radius = torch.rand((), generator=generator, dtype=dtype) ** (1 / math.prod(shape))
    length: Tensor = torch.linalg.vector_norm(direction)
    return radius * direction / length
