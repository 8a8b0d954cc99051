"""Arrays in HDF5 as this project keeps them: compressed, each with a digest of its values, written
from the first row to the last by any number of parts. The parts decide no byte of the file."""

import hashlib
import zlib
from collections.abc import Iterator

import h5py
import numpy as np

CHUNK_BYTES = 2**18  # uncompressed; the first few images can be read without the rest
# Of HDF5: the first whose structure (headers, links, indices) has checksums of its own. Older
# formats read zeros, or never end, where a few bytes of the structure are damaged.
HDF5_FORMAT = ("v110", "v110")
COMPRESSION = 4  # gzip's level; h5py's default
CONTENT = "sha256"  # the attribute of an HDF5 dataset that holds the digest of its values
READ_BYTES = 2**24  # of a dataset that is read from end to end and not kept


class RowWriter:
    """A dataset of `count` rows, which are appended a few at a time. It is in the file when its
    first chunk is full, and complete when `finish` has returned it."""

    def __init__(self, file: h5py.Group, name: str, count: int) -> None:
        self.count, self.appended = count, 0
        self._file, self._name = file, name
        self._dataset: h5py.Dataset | None = None
        self._chunk = np.empty(0)
        self._filled = self._written = 0

    def append(self, values: np.ndarray) -> None:
        """The next rows (n, ...). All parts must have the type and the shape of the first's rows.
        Raises ValueError if they have not, or if there are more than `count`."""
        if not self.appended:
            self._begin(values)
        kept = self._chunk
        if (values.dtype, values.shape[1:]) != (kept.dtype, kept.shape[1:]):
            raise ValueError(
                f"{self._name}: rows {values.dtype} {values.shape[1:]} after rows "
                f"{kept.dtype} {kept.shape[1:]}"
            )
        self.appended += len(values)
        if self.appended > self.count:
            raise ValueError(f"{self._name}: more than the {self.count} rows announced")
        self._digest.update(_bytes_of(values))
        while len(values):
            # One chunk a time, so that the parts decide nothing about its place in the file.
            free = len(kept) - self._filled
            head, values = values[:free], values[free:]
            kept[self._filled : self._filled + len(head)] = head
            self._filled += len(head)
            if self._filled == len(kept):
                self._flush()

    def finish(self) -> h5py.Dataset:
        """The complete dataset, also when asked again. Raises ValueError if rows are missing."""
        if self._dataset is not None and CONTENT in self._dataset.attrs:
            return self._dataset
        if self.appended != self.count:
            raise ValueError(f"{self._name}: {self.appended} rows of the {self.count} announced")
        if self._filled:
            self._flush()
        assert self._dataset is not None
        self._dataset.attrs[CONTENT] = self._digest.hexdigest()
        # Else it would be written when Python forgets it, which places it elsewhere in the file.
        self._dataset.flush()
        self._chunk = np.empty(0)
        return self._dataset

    def _begin(self, values: np.ndarray) -> None:
        shape = (self.count, *values.shape[1:])
        self._digest = _digest_of(values.dtype, shape)
        row = values[:1].nbytes
        rows = min(self.count, max(1, CHUNK_BYTES // max(1, row)))
        self._chunk = np.empty((rows, *shape[1:]), values.dtype)

    def _flush(self) -> None:
        chunk = self._chunk[: self._filled]
        if self._dataset is None:
            self._dataset = self._file.create_dataset(
                self._name,
                shape=(self.count, *chunk.shape[1:]),
                dtype=chunk.dtype,
                chunks=self._chunk.shape,
                compression="gzip",
                compression_opts=COMPRESSION,
                shuffle=_is_smaller_shuffled(chunk),
                fletcher32=True,  # gzip checks its data too, but leaves out what it cannot compress
                track_times=False,  # the time of writing would make equal files differ
            )
        self._dataset[self._written : self._written + len(chunk)] = chunk
        self._written += len(chunk)
        self._filled = 0


def write_array(file: h5py.Group, name: str, values: np.ndarray) -> None:
    """A whole array (N, ...), N at least 1, as a dataset."""
    rows = RowWriter(file, name, len(values))
    rows.append(values)
    rows.finish()


def stored_parts(dataset: h5py.Dataset) -> Iterator[np.ndarray]:
    """All values of a dataset, from the first row to the last, some MB at a time. Raises
    ValueError after the last if they are not those of its digest."""
    digest = _digest_of(dataset.dtype, dataset.shape)
    row = dataset.nbytes // max(1, len(dataset))
    rows = dataset.chunks[0] * max(1, READ_BYTES // max(1, row * dataset.chunks[0]))
    for start in range(0, len(dataset), rows):
        values = dataset[start : start + rows]
        digest.update(_bytes_of(values))
        yield values
    refuse_other_content(dataset, digest.hexdigest())


def refuse_other_content(dataset: h5py.Dataset, found: str) -> None:
    """Raise ValueError if a digest is not that which stands beside the dataset's values."""
    if found != dataset.attrs[CONTENT]:
        raise ValueError(f"damaged: the values of {dataset.name!r} are not those of its digest")


def content_digest(values: np.ndarray) -> str:
    """SHA-256 of an array's type, shape and values, as it stands beside them."""
    found = _digest_of(values.dtype, values.shape)
    found.update(_bytes_of(values))
    return found.hexdigest()


def _digest_of(dtype: np.dtype, shape: tuple[int, ...]) -> "hashlib._Hash":
    return hashlib.sha256(f"{dtype.str} {shape};".encode())


def _bytes_of(values: np.ndarray) -> memoryview:
    return np.ascontiguousarray(values).view(np.uint8).data


def _is_smaller_shuffled(chunk: np.ndarray) -> bool:
    """Whether a chunk is smaller with its numbers' first bytes side by side, then the second, and
    so on: most floats are; images of few grey levels, each of which repeats, double in size."""
    plain = np.ascontiguousarray(chunk)
    shuffled = plain.view(np.uint8).reshape(-1, plain.itemsize).T
    packed = (len(zlib.compress(values.tobytes(), COMPRESSION)) for values in (plain, shuffled))
    return next(packed) > next(packed)
