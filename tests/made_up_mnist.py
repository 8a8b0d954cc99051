"""MNIST's and Fashion-MNIST's official files in small: made-up images that carry their number."""

import gzip
import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torchvision

TRAIN, TEST = 60, 20  # images in the two parts
SOURCES = {"mnist": torchvision.datasets.MNIST, "fmnist": torchvision.datasets.FashionMNIST}


def made_up(train: int = TRAIN) -> dict[str, bytes]:
    """All files, of each the content. Image n has n in one corner, and white in the opposite one;
    its label is the last digit of n."""
    files = {}
    for prefix, numbers in (("train", range(train)), ("t10k", range(train, train + TEST))):
        images = np.zeros((len(numbers), 28, 28), np.uint8)
        images[:, 0, 0] = numbers
        images[:, 27, 27] = 255
        files[f"{prefix}-images-idx3-ubyte.gz"] = _idx(images)
        files[f"{prefix}-labels-idx1-ubyte.gz"] = _idx(np.array(numbers, np.uint8) % 10)
    return files


def _idx(values: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return gzip.compress(header + values.tobytes(), mtime=0)


FILES = made_up()


def write_mnist(
    data_root: Path,
    source: type[torchvision.datasets.MNIST],
    without: str = "",
    files: Mapping[str, bytes] = FILES,
) -> Path:
    """The folder of the files under `data_root`."""
    raw = data_root / source.__name__ / "raw"
    raw.mkdir(parents=True)
    for name, content in files.items():
        if name != without:
            (raw / name).write_bytes(content)
    return raw


def accept(
    patch: pytest.MonkeyPatch,
    source: type[torchvision.datasets.MNIST],
    files: Mapping[str, bytes] = FILES,
) -> None:
    """Let torchvision's class name the checksums of these files instead of the official ones."""
    md5s = [(name, hashlib.md5(content).hexdigest()) for name, content in sorted(files.items())]
    patch.setattr(source, "resources", md5s)
