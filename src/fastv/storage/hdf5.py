"""HDF5 files: reading with clear errors, compressed chunks, and writing by appending.

HDF5 aborts the process when the disk fills up while a file is open. A :class:`GrowingFile` therefore reserves the disk
space for a batch before HDF5 gets it, and flushes it before the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fastv.errors import FastVError, FileFormatError
from fastv.storage.chunks import SPAN_BYTES
from fastv.storage.guard import check_contents, check_regular
from fastv.storage.output import hdf5_written, reserve

_CHUNK_BYTES = 2**20
_CHUNK_ROWS = 1000
_HELD_BYTES = 2**18
"""Bytes of a column that are collected before they are written: each time HDF5 writes something of its own, too."""
_MOST_ATTRIBUTE = 60_000
"""Longest text of an attribute of fixed length; HDF5 allows up to 64 KiB."""
_MARGIN = 2**20
"""Bytes reserved for what HDF5 writes in addition to the data of a batch: headers and the index of chunks."""

HDF5_ERRORS = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    MemoryError,
    OverflowError,
    AttributeError,
    SystemError,
)
"""Exceptions that h5py and numpy raise for damaged files."""


@contextmanager
def damage_named(path: Path, errors: tuple[type[Exception], ...] = HDF5_ERRORS) -> Iterator[None]:
    """Turn the exceptions that a library raises for a damaged file into one clear line.

    Args:
        path: the file.
        errors: exceptions of the library, by default those of h5py.

    Raises:
        FileFormatError: the block raised one of these errors.
    """
    try:
        yield
    except FastVError:
        raise
    except errors as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f" ({lines[0]})" if lines and not isinstance(error, MemoryError) else ""
        msg = f"{path}: the file is damaged or truncated{reason}"
        raise FileFormatError(msg) from error


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading: the only way in which FastV opens one that it did not just write.

    What it holds is checked first, see :mod:`fastv.storage.guard`; afterwards all that h5py reads from the top level
    comes from this file. Before a data set is read, :func:`fastv.storage.guard.check_stored` checks its size.

    Raises:
        FileFormatError: the file is missing, not a regular file, truncated, not HDF5, or cannot be read; or it points
            to other files, or is damaged.
    """
    check_regular(path)
    try:
        file = h5py.File(path, "r")
    except PermissionError as error:
        msg = f"{path}: cannot open: permission denied"
        raise FileFormatError(msg) from error
    except BlockingIOError as error:
        msg = f"{path}: cannot open: another program is writing it"
        raise FileFormatError(msg) from error
    except HDF5_ERRORS as error:
        reason = _what_it_is(path)
        if isinstance(error, OSError) and error.errno is not None and error.strerror and "HDF5" not in str(error):
            reason = error.strerror.splitlines()[0]
        msg = f"{path}: cannot open: {reason}"
        raise FileFormatError(msg) from error
    try:
        with damage_named(path):
            check_contents(path, file)
    except BaseException:
        file.close()
        raise
    return file


def _what_it_is(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        head = b""
    if head == b"root":
        return "it is a ROOT file; ROOT files of Par04 are read by `fastv.convert`"
    return "it is empty" if path.stat().st_size == 0 else "it is truncated or not an HDF5 file"


def is_column(item: object, rows: int) -> bool:
    """Whether an item of a file is a numeric data set, (N,) or (N, k), with one row for each of ``rows`` showers."""
    return (
        isinstance(item, h5py.Dataset)
        and item.shape is not None
        and item.ndim in (1, 2)
        and item.shape[0] == rows
        and item.dtype.kind in "fiub"
    )


def spans(
    dataset: h5py.Dataset, size: int, *, whole_batches: bool = False, start: int = 0, stop: int | None = None
) -> Iterator[slice]:
    """Consecutive rows of a data set that are read at once, for batches of ``size`` rows.

    A span is as long as a chunk, within :data:`~fastv.storage.chunks.SPAN_BYTES`, so that a chunk is not decompressed
    for every batch.

    Args:
        dataset: numeric data set, (N, ...).
        size: rows per batch; a span has at least as many.
        whole_batches: whether the length of a span must be a multiple of ``size``.
        start, stop: the rows that are read, by default all.

    Raises:
        ValueError: ``size`` is below one.
    """
    if size < 1:
        msg = f"a batch must have at least one shower, got {size}"
        raise ValueError(msg)
    row_bytes = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:])))
    chunk = dataset.chunks[0] if dataset.chunks else 1
    span = max(size, min(chunk, SPAN_BYTES // row_bytes))
    if whole_batches:
        span = -(-span // size) * size
    stop = len(dataset) if stop is None else min(stop, len(dataset))
    for first in range(start, stop, span):
        yield slice(first, min(first + span, stop))


def create_packed(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], chunk_rows: int, gzip_level: int = 1
) -> h5py.Dataset:
    """Create a growable data set in chunks of whole rows, with gzip and byte shuffle, which every HDF5 can read."""
    return file.create_dataset(
        name,
        shape,
        dtype,
        chunks=(chunk_rows, *shape[1:]),
        maxshape=(None, *shape[1:]),
        compression="gzip",
        compression_opts=gzip_level,
        shuffle=True,
    )


def copy_packed(data: h5py.Dataset, target: h5py.Dataset, first: int) -> None:
    """Copy chunks, without decompressing them, to the rows of ``target`` from ``first`` on."""
    for chunk in data.iter_chunks():
        start = chunk[0].start
        mask, packed = data.id.read_direct_chunk((start, 0))
        target.id.write_direct_chunk((first + start, 0), packed, filter_mask=mask)


def write_text(file: h5py.File, name: str, text: str) -> None:
    """Write an ASCII text as an attribute."""
    # Of fixed length if possible: for variable lengths HDF5 follows references unchecked, even in damaged files.
    file.attrs[name] = np.bytes_(text.encode("ascii")) if len(text) < _MOST_ATTRIBUTE else text


def take_space(path: Path, file: h5py.File, size: int) -> None:
    """Reserve disk space for ``size`` more bytes of data, with 2 % and 1 MiB for headers and indices.

    Raises:
        OSError: there is not enough space.
    """
    reserve(path, int(file.id.get_filesize()) + size + size // 50 + _MARGIN)


class GrowingFile:
    """An HDF5 file to which rows are appended in batches and written in whole chunks; see :func:`growing`."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self.file = file
        self._sets: dict[str, h5py.Dataset] = {}
        self._chunk_rows: dict[str, int] = {}
        self._held: dict[str, list[NDArray[Any]]] = {}

    def append(self, name: str, rows: NDArray[Any], most_chunk_rows: int = _CHUNK_ROWS) -> None:
        """Append rows (n, ...) to a data set, which is created if needed, in chunks of so many rows at most.

        Raises:
            OSError: there is no space on the disk; the file remains valid.
        """
        if name not in self._sets:
            row_bytes = max(1, rows.dtype.itemsize * int(np.prod(rows.shape[1:])))
            take_space(self.path, self.file, _MARGIN)
            chunk_rows = max(1, min(most_chunk_rows, _CHUNK_BYTES // row_bytes))
            self._sets[name] = create_packed(self.file, name, (0, *rows.shape[1:]), rows.dtype, chunk_rows)
            self._chunk_rows[name] = chunk_rows
            self.file.flush()
        held = self._held.setdefault(name, [])
        held.append(rows)
        count = sum(map(len, held))
        whole = count - count % self._chunk_rows[name]
        if whole and sum(part.nbytes for part in held) >= _HELD_BYTES:
            joined = np.concatenate(held)
            self._write(name, joined[:whole])
            # A view would keep the whole batch in memory.
            self._held[name] = [joined[whole:].copy()] if count > whole else []

    def _write(self, name: str, rows: NDArray[Any]) -> None:
        dataset = self._sets[name]
        chunk_bytes = rows.dtype.itemsize * int(np.prod(dataset.chunks))
        take_space(self.path, self.file, max(rows.nbytes, chunk_bytes))
        first = len(dataset)
        dataset.resize(first + len(rows), axis=0)
        dataset[first:] = rows
        self.file.flush()

    def finish(self) -> None:
        """Write the remaining rows, which do not fill a chunk.

        Raises:
            OSError: there is no space on the disk.
        """
        for name, held in self._held.items():
            if held:
                self._write(name, np.concatenate(held))
        self._held.clear()


@contextmanager
def growing(path: Path, texts: Mapping[str, str]) -> Iterator[GrowingFile]:
    """Create an HDF5 file with texts as attributes, and yield it for appending rows.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    with hdf5_written(path) as file:
        for name, text in texts.items():
            write_text(file, name, text)
    reserve(path, path.stat().st_size + _MARGIN)
    with h5py.File(path, "r+") as file:
        grown = GrowingFile(path, file)
        yield grown
        grown.finish()
    give_back(path)


def give_back(path: Path) -> None:
    """Free the disk space that was reserved for an HDF5 file and is not used."""
    # On closing, HDF5 truncates a file that was longer than needed when it was opened.
    with h5py.File(path, "r+"):
        pass
