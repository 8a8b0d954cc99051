"""A full disk, said plainly: which file system, how much is free there, and which file did not fit.

The libraries that write say it each in their own way, h5py in many lines.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = {
    errno.ENOSPC: "the file system {mount} is full: no room for {path}",
    errno.EDQUOT: "the quota of the file system {mount} is used up: no room for {path}",
    errno.EFBIG: "the file system {mount}, or a limit of this process (ulimit -f), lets no file be "
    "so large: {path}",
}
"""Errors of a write for which there is no room, and what to say of them."""
# HDF5 ("errno = 28") and safetensors ("os error 28") tell the number in their message alone.
_NUMBER = re.compile(r"\b(?:errno = |os error )(\d+)")


class FullDiskError(OSError):
    """No room for a file. `errno` is one of `FULL`, `filename` the file."""

    def __str__(self) -> str:
        return str(self.strerror)


def number_of(error: BaseException) -> int | None:
    """The key of `FULL` that an error, or one that it came of, is about; None: it is another."""
    for one in chain(error):
        numbers = [one.errno] if isinstance(one, OSError) else []
        numbers += map(int, _NUMBER.findall(str(one)))
        for number in numbers:
            if number in FULL:
                return number
    return None


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it came of."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def full_disk(path: str | Path, number: int = errno.ENOSPC) -> FullDiskError:
    """What to raise where there is no room for the file `path`, with what is free there now;
    `number` is a key of `FULL`."""
    folder = Path(path).absolute().parent
    while not folder.is_dir():
        folder = folder.parent
    mount = folder
    while not mount.is_mount():
        mount = mount.parent
    now = os.statvfs(folder)
    free, size = now.f_bavail * now.f_frsize, now.f_blocks * now.f_frsize
    text = FULL[number].format(path=path, mount=mount)
    text += f" ({free:,} bytes free of {size:,})"
    if now.f_files and not now.f_favail:  # some file systems have no fixed number, and say 0 of 0
        text += "; it can hold no further file, of whatever size"
    return FullDiskError(number, text, str(path))


@contextmanager
def full_disk_named(path: str | Path) -> Iterator[None]:
    """Raises FullDiskError, which names `path`, for whatever a library raises in the block where
    there is no room for what it writes. Other errors pass."""
    try:
        yield
    except Exception as error:
        number = number_of(error)
        if number is None or isinstance(error, FullDiskError):
            raise
        raise full_disk(path, number) from error
