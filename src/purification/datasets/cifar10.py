"""CIFAR-10 from its official files (Krizhevsky 2009), downloaded where they are missing."""

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from purification.datasets.contract import source
from purification.datasets.official import DOWNLOAD_ERRORS, check_md5, check_root, download
from purification.datasets.splits import Split, cut

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10


@source(name="cifar10", shape=(3, 32, 32), images={"train": 50_000, "test": 10_000})
def load_cifar10(data_root: Path, validation: int, test: int | None) -> dict[str, Split]:
    """The splits of CIFAR-10, images (N, 3, 32, 32) float32 in [0, 1], RGB; labels 0 to 9.

    Validation is the end of the five official training batches, train the rest, test the beginning
    of the official test batch or, if None, all of it. (Defense-VAE, sec. 4, trains on all 50,000.)

    Files are looked for as torchvision keeps them: all batches in `data_root`/cifar-10-batches-py,
    or else `data_root`/cifar-10-python.tar.gz, downloaded if missing. They are used only if their
    checksums are the official ones; nothing but a download is written to `data_root`. Raises as
    `mnist.load_mnist`.
    """
    from torchvision.datasets import CIFAR10

    check_root(data_root)
    with _verified(CIFAR10, data_root) as root:
        parts = [_arrays(CIFAR10(root, train=train)) for train in (True, False)]
    return cut("cifar10", *parts, validation, test)


def _arrays(parsed: "CIFAR10") -> Split:
    # torchvision has the colours last. Divided in place: another copy of all would be 0.6 GB.
    images = parsed.data.transpose(0, 3, 1, 2).astype(np.float32)
    images /= np.float32(255)
    return images, np.array(parsed.targets, np.int64)


@contextmanager
def _verified(source: "type[CIFAR10]", data_root: Path) -> Iterator[str]:
    """A root in torchvision's layout with official files alone: `data_root`, or a temporary one
    with the archive's content, since `data_root` may be read-only."""
    folder, archive = data_root / source.base_folder, data_root / source.filename
    md5s = dict([*source.train_list, *source.test_list])
    md5s[source.meta["filename"]] = source.meta["md5"]
    missing = [filename for filename in md5s if not (folder / filename).is_file()]
    if not missing:
        # torchvision verifies them too, but does not say which is wrong. They are pickles: unknown
        # ones could run any code.
        for filename, md5 in md5s.items():
            check_md5(folder / filename, md5, source.__name__)
        yield str(data_root)
        return
    if not archive.is_file():
        _download_archive(source, data_root, missing)
    check_md5(archive, source.tgz_md5, source.__name__)
    with tempfile.TemporaryDirectory() as root:
        with tarfile.open(archive) as packed:
            # Python 3.11.4 and later; before it the archive's checksum must do.
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            packed.extractall(root, **safe)
        yield root


def _download_archive(source: "type[CIFAR10]", data_root: Path, missing: list[str]) -> None:
    folder, archive = data_root / source.base_folder, data_root / source.filename
    try:
        download([source.url], archive, source.tgz_md5)
    except DOWNLOAD_ERRORS as error:
        raise RuntimeError(
            f"CIFAR10: {archive.name} not in {data_root.absolute()}, {', '.join(missing)} not in "
            f"{folder.absolute()}, and the download failed ({error}). Put the official "
            f"{archive.name} there, or the folder {folder.name} extracted from it, or set "
            "data_root to the folder that has either."
        ) from error
