"""Official files of a data set: downloaded against their checksums, verified where they lie."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from purification.storage import atomic

DOWNLOAD_TIMEOUT = 60.0  # seconds without an answer; a cluster's nodes may drop what goes outside
DOWNLOAD_ERRORS = (OSError, RuntimeError, HTTPException)


def download(urls: list[str], path: Path, md5: str) -> None:
    """Download the file `path` from the first of `urls` that has it with this checksum.

    Raises one of DOWNLOAD_ERRORS, the last address's, if none has; then nothing is left there.
    """
    from torchvision.datasets.utils import download_url

    with _timeout():
        for url in urls:
            try:
                with atomic(path) as temporary:
                    download_url(url, temporary.parent, temporary.name, md5)
                return
            except DOWNLOAD_ERRORS:
                if url == urls[-1]:
                    raise


def check_md5(path: Path, md5: str, title: str) -> None:
    """Raise RuntimeError, naming the file, if it is not the official one of `title`."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise RuntimeError(
            f"{path.absolute()}: not the official file of {title} "
            f"(md5 {found}, expected {md5}). Remove it to have it downloaded again."
        )


@contextmanager
def _timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # torchvision sets none
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
