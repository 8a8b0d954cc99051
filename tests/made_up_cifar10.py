"""CIFAR-10's official files in small: python batches of made-up images that carry their number."""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

BATCH = 6  # images in each of the six batches
FOLDER, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def label_of(number: int) -> int:
    """The class of image `number`; in no simple rhythm."""
    return number * number % 10


def _batch(first: int) -> bytes:
    """Image n has red n, green 255 and blue 0; its first row is black but for blue in column 1."""
    images = np.zeros((BATCH, 3, 32, 32), np.uint8)
    images[:, 0] = np.arange(first, first + BATCH)[:, None, None]
    images[:, 1] = 255
    images[:, :, 0] = 0
    images[:, 2, 0, 1] = 255
    content = {
        "batch_label": "made up",
        "labels": [label_of(number) for number in range(first, first + BATCH)],
        "data": images.reshape(BATCH, 3072),
        "filenames": [f"{number}.png" for number in range(first, first + BATCH)],
    }
    return pickle.dumps(content, protocol=2)


FILES = {name: _batch(BATCH * place) for place, name in enumerate(NAMES)}
FILES["batches.meta"] = pickle.dumps({"label_names": [str(n) for n in range(10)]}, protocol=2)


def packed() -> bytes:
    """The archive of all files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in FILES.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


PACKED = packed()


def write_cifar10(data_root: Path, without: str = "") -> Path:
    """The folder of batches under `data_root`."""
    folder = data_root / FOLDER
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        if name != without:
            (folder / name).write_bytes(content)
    return folder


def accept(patch: pytest.MonkeyPatch, files: Mapping[str, bytes], archive: bytes) -> None:
    """Let torchvision's class name the checksums of these files instead of the official ones."""
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    patch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in NAMES[:5]])
    patch.setattr(CIFAR10, "test_list", [[name, md5[name]] for name in NAMES[5:]])
    patch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5["batches.meta"]})
    patch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive).hexdigest())
