"""Official files of a data set: downloaded against their checksums, verified where they lie."""

import hashlib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from purification.runtime import warn
from purification.storage import atomic

DOWNLOAD_TIMEOUT = 60.0  # seconds without an answer; a cluster's nodes may drop what goes outside
DOWNLOAD_ERRORS = (OSError, RuntimeError, HTTPException)


@dataclass(frozen=True)
class OfficialFile:
    """A file that a data set is published as: its name, checksum, and addresses that have it."""

    name: str
    md5: str
    urls: list[str]


def check_root(data_root: Path) -> None:
    """Raise RuntimeError for a `data_root` that is misspelt rather than new.

    One that is missing is made by the first download, and warned of; a path of several missing
    folders, or below a file, is no place that anybody means to fill.
    """
    place = data_root.absolute()
    if place.is_dir():
        return
    if place.parent.is_dir() and not place.exists():
        warn(f"data_root: {place} is not there: it is made, and the data set downloaded into it")
        return
    what = "is no folder" if place.exists() else f"is not there, nor is {place.parent}"
    raise RuntimeError(
        f"data_root: {place} {what}: correct data_root in the config, or make the folder"
    )


def ensure_official(title: str, folder: Path, files: Sequence[OfficialFile], layout: str) -> None:
    """Download those of a data set's `files` that `folder` lacks; verify all of them.

    `title` is the data set's name in messages, `layout` the folder's place under data_root.

    Raises RuntimeError, naming places and files, if a file is missing and cannot be had, or is not
    the official one. (What lies there is not replaced unasked.)
    """
    try:
        for file in _missing(folder, files):
            download(file.urls, folder / file.name, file.md5)
    except DOWNLOAD_ERRORS as error:
        missing = ", ".join(file.name for file in _missing(folder, files))
        raise RuntimeError(
            f"{title}: {missing} not in {folder.absolute()}, and the download failed ({error}). "
            f"Put the official files there, or set data_root to the folder that has {layout} with "
            "them."
        ) from error
    for file in files:
        check_md5(folder / file.name, file.md5, title)


def _missing(folder: Path, files: Sequence[OfficialFile]) -> list[OfficialFile]:
    return [file for file in files if not (folder / file.name).is_file()]


def download(urls: list[str], path: Path, md5: str) -> None:
    """Download the file `path` from the first of `urls` that has it with this checksum.

    Raises one of DOWNLOAD_ERRORS, the last address's, if none has; then nothing is left there, nor
    any folder that was made for it.
    """
    from torchvision.datasets.utils import download_url

    with _timeout(), _no_empty_folder_left(path.parent):
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
def _no_empty_folder_left(folder: Path) -> Iterator[None]:
    """Of `folder` and those above it, none that was not there before is left empty by an error."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except BaseException:
        with suppress(OSError):  # another run has put something there
            for place in missing:
                place.rmdir()
        raise


@contextmanager
def _timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # torchvision sets none
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
