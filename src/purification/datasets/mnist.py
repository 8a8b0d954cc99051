"""MNIST and Fashion-MNIST from their official files, downloaded where they are missing."""

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from purification.datasets.contract import source
from purification.datasets.official import OfficialFile, check_root, ensure_official
from purification.datasets.splits import Split, cut

if TYPE_CHECKING:
    from torchvision.datasets import MNIST

SHAPE = (1, 28, 28)
IMAGES = {"train": 60_000, "test": 10_000}


@source(name="mnist", shape=SHAPE, images=IMAGES)
def load_mnist(data_root: Path, validation: int, test: int | None) -> dict[str, Split]:
    """The splits of MNIST, images (N, 1, 28, 28), labels 0 to 9.

    Validation is the end of the official training file, train the rest (with 10,000 the
    50,000/10,000 of Defense-GAN, sec. 4), test the beginning of the official test file or, if None,
    all of it. Files are looked for in `data_root`/MNIST/raw and `data_root`/FashionMNIST/raw, as
    torchvision keeps them, and downloaded if missing. Only the .gz files are used, and only if
    their checksums are the official ones; nothing but a download is written to `data_root`.

    Raises ValueError for impossible numbers of images, RuntimeError, naming places and files, if a
    file is missing and cannot be had, or is not the official one.
    """
    from torchvision.datasets import MNIST

    return _load("mnist", MNIST, data_root, validation, test)


@source(name="fmnist", shape=SHAPE, images=IMAGES)
def load_fashion_mnist(data_root: Path, validation: int, test: int | None) -> dict[str, Split]:
    """As `load_mnist`, of Fashion-MNIST."""
    from torchvision.datasets import FashionMNIST

    return _load("fmnist", FashionMNIST, data_root, validation, test)


def _load(
    name: str, official: "type[MNIST]", data_root: Path, validation: int, test: int | None
) -> dict[str, Split]:
    check_root(data_root)
    raw = data_root / official.__name__ / "raw"
    files = [
        OfficialFile(filename, md5, [mirror + filename for mirror in official.mirrors])
        for filename, md5 in official.resources
    ]
    ensure_official(official.__name__, raw, files, f"{official.__name__}/raw")
    with _extracted(official, raw) as root:
        parts = [_arrays(official(root, train=train)) for train in (True, False)]
    return cut(name, *parts, validation, test)


def _arrays(parsed: "MNIST") -> Split:
    images = parsed.data.numpy()[:, None].astype(np.float32) / np.float32(255)
    return images, parsed.targets.numpy().astype(np.int64)


@contextmanager
def _extracted(official: "type[MNIST]", raw: Path) -> Iterator[str]:
    """A temporary root in torchvision's layout: `data_root` may be read-only, and extracted files
    that lie there have no checksums to be verified by."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, official.__name__, "raw")
        folder.mkdir(parents=True)
        for filename, _ in official.resources:
            place = folder / Path(filename).stem
            with gzip.open(raw / filename) as packed, place.open("wb") as file:
                shutil.copyfileobj(packed, file)
        yield root
