"""MNIST and Fashion-MNIST from their official files, downloaded where they are missing."""

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from purification.datasets.official import OfficialFile, ensure_official
from purification.datasets.splits import Split, check_count

if TYPE_CHECKING:
    from torchvision.datasets import MNIST


def load_mnist(name: str, data_root: Path, validation: int, test: int | None) -> dict[str, Split]:
    """The splits of "mnist" or "fmnist", images (N, 1, 28, 28).

    Validation is the end of the official training file, train the rest (with 10,000 the
    50,000/10,000 of Defense-GAN, sec. 4), test the beginning of the official test file or, if None,
    all of it. Files are looked for in `data_root`/MNIST/raw and `data_root`/FashionMNIST/raw, as
    torchvision keeps them, and downloaded if missing. Only the .gz files are used, and only if
    their checksums are the official ones; nothing but a download is written to `data_root`.

    Raises ValueError for impossible numbers of images, RuntimeError, naming places and files, if a
    file is missing and cannot be had, or is not the official one.
    """
    from torchvision import datasets

    source = {"mnist": datasets.MNIST, "fmnist": datasets.FashionMNIST}[name]
    raw = data_root / source.__name__ / "raw"
    files = [
        OfficialFile(filename, md5, [mirror + filename for mirror in source.mirrors])
        for filename, md5 in source.resources
    ]
    ensure_official(source.__name__, raw, files, f"{source.__name__}/raw")
    with _extracted(source, raw) as root:
        images, labels = _arrays(source(root, train=True))
        test_images, test_labels = _arrays(source(root, train=False))
    check_count(name, "validation", validation, len(labels) - 1)
    test = len(test_labels) if test is None else test
    check_count(name, "test", test, len(test_labels))
    return {
        "train": (images[:-validation], labels[:-validation]),
        "validation": (images[-validation:], labels[-validation:]),
        "test": (test_images[:test], test_labels[:test]),
    }


def _arrays(parsed: "MNIST") -> Split:
    images = parsed.data.numpy()[:, None].astype(np.float32) / np.float32(255)
    return images, parsed.targets.numpy().astype(np.int64)


@contextmanager
def _extracted(source: "type[MNIST]", raw: Path) -> Iterator[str]:
    """A temporary root in torchvision's layout: `data_root` may be read-only, and extracted files
    that lie there have no checksums to be verified by."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, source.__name__, "raw")
        folder.mkdir(parents=True)
        for filename, _ in source.resources:
            with (
                gzip.open(raw / filename) as packed,
                (folder / Path(filename).stem).open("wb") as f,
            ):
                shutil.copyfileobj(packed, f)
        yield root
