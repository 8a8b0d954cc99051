"""Random numbers that belong to one step, or to one image, and never to the global state.

A run has one seed. Every stochastic step derives its own from that seed and the step's name, so
adding, removing or reordering steps leaves the numbers of all other steps as they were.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch


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
