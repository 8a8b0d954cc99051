"""SVHN's official files in small: MATLAB files of made-up images that carry their number."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from torchvision.datasets import SVHN

FOLDER = "svhn"
TRAIN, TEST = 30, 6  # images in the two files


def label_of(number: int) -> int:
    """The digit of image `number`; in no simple rhythm, and each of the ten among the first 30."""
    return (number * number + number // 10) % 10


def mat_file(numbers: range) -> bytes:
    """MATLAB 5 as the official files: X (32, 32, 3, N) and y (N, 1) with 10 for the digit 0.

    Image n has red n, green 255 and blue 0; its first row is black but for blue in column 1.
    """
    images = np.zeros((32, 32, 3, len(numbers)), np.uint8)
    images[:, :, 0] = np.array(numbers)
    images[:, :, 1] = 255
    images[0] = 0
    images[0, 1, 2] = 255
    labels = np.array([[label_of(number) or 10] for number in numbers], np.uint8)
    content = io.BytesIO()
    savemat(content, {"X": images, "y": labels}, format="5", do_compression=True)
    return content.getvalue()


FILES = {
    "train_32x32.mat": mat_file(range(TRAIN)),
    "test_32x32.mat": mat_file(range(TRAIN, TRAIN + TEST)),
}


def write_svhn(data_root: Path, without: str = "") -> Path:
    """The folder of the files under `data_root`."""
    folder = data_root / FOLDER
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        if name != without:
            (folder / name).write_bytes(content)
    return folder


def accept(patch: pytest.MonkeyPatch) -> None:
    """Let torchvision's class name the checksums of these files instead of the official ones."""
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in FILES.items()}
    made_up = {
        split: [url, filename, md5.get(filename, official)]
        for split, (url, filename, official) in SVHN.split_list.items()
    }
    patch.setattr(SVHN, "split_list", made_up)
