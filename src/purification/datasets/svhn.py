"""SVHN's cropped digits from their official files (Netzer et al. 2011), or downloaded."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from purification.datasets.contract import source
from purification.datasets.official import OfficialFile, check_root, ensure_official
from purification.datasets.splits import Split, cut

if TYPE_CHECKING:
    from torchvision.datasets import SVHN

FOLDER = "svhn"


@source(name="svhn", shape=(3, 32, 32), images={"train": 73_257, "test": 26_032})
def load_svhn(data_root: Path, validation: int, test: int | None) -> dict[str, Split]:
    """The splits of SVHN, images (N, 3, 32, 32) float32 in [0, 1], RGB; labels 0 to 9, the digits.

    Validation is the end of the official training file (73,257 images), train the rest, test the
    beginning of the official test file (26,032) or, if None, all of it. The 531,131 images called
    "extra" are not used. (Cowboy, sec. 4, tests on the whole test file and names no validation.)

    The files are `data_root`/svhn/train_32x32.mat and test_32x32.mat (the folder is torchvision's
    root), downloaded if missing and used only if their checksums are the official ones; nothing but
    a download is written to `data_root`. Raises as `mnist.load_mnist`.
    """
    from torchvision.datasets import SVHN

    check_root(data_root)
    folder = data_root / FOLDER
    published = [SVHN.split_list[split] for split in ("train", "test")]
    files = [OfficialFile(filename, md5, [url]) for url, filename, md5 in published]
    ensure_official("SVHN", folder, files, FOLDER)
    parts = [_arrays(SVHN(folder, split=split)) for split in ("train", "test")]
    return cut("svhn", *parts, validation, test)


def _arrays(parsed: "SVHN") -> Split:
    # torchvision has made the files' label 10 the digit 0. Its images are a view of the file's
    # array, which has them along its last axis: in C order, each image lies in one piece. Divided
    # in place: another copy of all would be 0.9 GB.
    images = parsed.data.astype(np.float32, order="C")
    images /= np.float32(255)
    return images, parsed.labels
