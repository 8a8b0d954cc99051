"""Random numbers that belong to one step, or to one image, and never to the global state.

A run has one seed. Every stochastic step derives its own from that seed and the step's name, so
adding, removing or reordering steps leaves the numbers of all other steps as they were.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def derive_seed(seed: int, *names: str) -> int:
    """Seed of the step called `names` in the run with `seed`.

    Returns an integer in [0, 2**63), equal on every machine and in every Python session. The names
    are an ordered path: ("a", "b"), ("b", "a") and ("ab",) give three different seeds.
    """
    # JSON keeps the borders between the names, which plain concatenation would lose.
    path = json.dumps([int(seed), *names], ensure_ascii=True).encode()
    return int.from_bytes(hashlib.sha256(path).digest()[:8], "big") >> 1


def generator(seed: int, *names: str) -> torch.Generator:
    """CPU generator seeded by `derive_seed(seed, *names)`.

    It lives on the CPU also when the work is done on a GPU: CUDA draws other numbers from the same
    seed, so only numbers drawn here and then moved are equal on both. (torch's CPU engine keeps
    the low 32 bits of a seed: any two names meet in one stream with probability 2**-32.)
    """
    return torch.Generator().manual_seed(derive_seed(seed, *names))


def per_image_generators(seed: int, indices: Iterable[int]) -> list[torch.Generator]:
    """One CPU generator for each image, in the order of `indices`.

    `indices` are the images' positions in their data set (not in the batch): an image draws the
    same numbers whichever batch it is in, and whatever the batch size. Python integers, NumPy
    integers and the elements of an integer tensor give the same generators.
    """
    return [generator(seed, "image", str(int(index))) for index in indices]


def draw_seeds(seed: int, indices: Iterable[int], draws: int | Iterable[int]) -> Tensor:
    """The seeds (N,), int64 on the CPU, of images' draws: functions of (seed, image, draw) alone.

    `indices` as of `per_image_generators`, N of them; `draws`: which draw of each image this is,
    from 0, one number or N. So the seeds of a batch are those of its images, in any batch.
    """
    numbers = [int(index) for index in indices]
    counted = [draws] * len(numbers) if isinstance(draws, int) else [int(draw) for draw in draws]
    pairs = zip(numbers, counted, strict=True)
    made = [derive_seed(seed, "image", str(index), "draw", str(draw)) for index, draw in pairs]
    return torch.tensor(made, dtype=torch.int64)


def is_randomised(module: nn.Module) -> bool:
    """Whether a purifier, or a model with one, takes seeds beside its images."""
    return bool(getattr(module, "randomised", False))


class Streams:
    """A stream of random numbers for each of N images, by `seeds` (N,), int64, as of `draw_seeds`.

    What is drawn goes on where the draw before ended, for each image by itself: row i of all that
    is drawn is a function of seeds[i] and of what was asked for before. Numbers are drawn on the
    CPU in float32, so that a GPU and float64 get the same ones.
    """

    def __init__(self, seeds: Tensor) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]

    def normal(self, shape: Sequence[int]) -> Tensor:
        """(N, *shape) from N(0, 1)."""
        return torch.stack([torch.randn(tuple(shape), generator=g) for g in self._generators])

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """(N, *shape), uniform in [0, 1)."""
        return torch.stack([torch.rand(tuple(shape), generator=g) for g in self._generators])


def normal_of(seeds: Tensor, shape: Sequence[int]) -> Tensor:
    """(N, *shape) from N(0, 1), row i a function of seeds[i] alone: `Streams`' first draw."""
    return Streams(seeds).normal(shape)


def uniform_of(seeds: Tensor, shape: Sequence[int]) -> Tensor:
    """The same, uniform in [0, 1)."""
    return Streams(seeds).uniform(shape)


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Seeds torch's global CPU and CUDA generators inside the block, restores them after it.

    For what cannot take a generator: the initialisation of layers, and dropout. The former states
    come back also when the block raises. CUDA that is not in use yet has no state to come back; to
    ask for one would occupy every GPU of the machine, and fail where one has no room.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
