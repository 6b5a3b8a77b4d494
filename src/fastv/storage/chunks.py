"""Rows of HDF5 data sets: compressed chunks are decompressed in several threads, outside the HDF5 library.

HDF5 decompresses one chunk after the other while it holds the lock that all its users share. Here it only hands out
the chunks as they are stored. Whatever is not plainly understood is left to HDF5, and so is what cannot be inflated:
the errors of damaged files are its own.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from h5py._objects import phil
from numpy.typing import NDArray

from fastv.processors import usable_processors

SPAN_BYTES = 2**28
"""Memory limit of a read that is enlarged so that a chunk is decompressed only once."""
_CACHED_BYTES = 2**20
"""Chunks of this size together are left to HDF5, which keeps so much decompressed for the next read."""
_LEAST_RUN = 64
_SHUFFLE, _DEFLATE = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE
_PLANES: dict[int, str] = {2: "<u2", 4: "<u4", 8: "<u8"}
"""Types of numbers that are put together from their bytes, the first byte being the lowest."""


def _of_isal() -> Any:
    try:
        from isal import igzip_lib
    except ImportError:
        return None
    return igzip_lib


_igzip: Any = _of_isal()
"""Decompression that is twice as fast as zlib; None where there is no isal."""

Rows = slice | NDArray[np.int64]
Places = tuple[Rows, ...]


class _NotUnderstoodError(Exception):
    """HDF5 must read these rows itself."""


def read_rows(dataset: h5py.Dataset, rows: Rows) -> NDArray[Any]:
    """Rows of a numeric data set, bit for bit those of ``dataset[rows]``.

    Compressed chunks are decompressed in as many threads as there are processors, or as ``OMP_NUM_THREADS`` says, or
    :func:`by_calling_threads`. Each is decompressed once, in whatever order its rows are asked for. In addition to the
    rows, at most :data:`SPAN_BYTES` are held.

    Args:
        dataset: numeric data set, (N, ...).
        rows: a slice, or indices (n,) from 0 to N - 1 in any order.

    Raises:
        OSError, RuntimeError, ...: the errors of HDF5 if the file is damaged.

    Example:
        >>> from fastv.sample import sample_path
        >>> with h5py.File(sample_path("test")) as file:
        ...     read_rows(file["showers"], np.array([7, 3])).shape
        (2, 6480)
    """
    packed = _Packed.of(dataset)
    if packed is not None:
        pieces = _in_slice(rows, packed.rows, len(dataset)) if isinstance(rows, slice) else _in_any(rows, packed.rows)
        if pieces is not None and packed.bytes_of(len(pieces)) > _CACHED_BYTES:
            n = len(range(*rows.indices(len(dataset)))) if isinstance(rows, slice) else len(rows)
            try:
                return packed.read(pieces, n)
            except _NotUnderstoodError:
                pass
    if isinstance(rows, slice):
        data: NDArray[Any] = dataset[rows]
        return data
    data = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
    for run, wanted in _runs(rows, dataset):
        data[wanted] = dataset[run][rows[wanted] - run.start]
    return data


@contextmanager
def by_calling_threads() -> Iterator[None]:
    """Let the present thread decompress what it reads, as do others of its kind: nothing is handed from one to another.

    Example:
        >>> from fastv.sample import sample_path
        >>> with h5py.File(sample_path("test")) as file, by_calling_threads():
        ...     read_rows(file["showers"], slice(0, 100)).shape
        (100, 6480)
    """
    before = getattr(_reading, "alone", False)
    _reading.alone = True
    try:
        yield
    finally:
        _reading.alone = before


@dataclass(frozen=True)
class _Piece:
    """Rows of one chunk: the first row of the chunk, which of its rows are wanted, and their places in the result."""

    start: int
    source: Rows
    target: Rows


def _in_slice(rows: slice, chunk_rows: int, length: int) -> list[_Piece] | None:
    start, stop, step = rows.indices(length)
    if step != 1:
        return None
    pieces = []
    for first in range(start - start % chunk_rows, stop, chunk_rows):
        low, high = max(first, start), min(first + chunk_rows, stop)
        pieces.append(_Piece(first, slice(low - first, high - first), slice(low - start, high - start)))
    return pieces


def _in_any(rows: NDArray[np.int64], chunk_rows: int) -> list[_Piece]:
    first = rows // chunk_rows * chunk_rows
    return [
        _Piece(int(first[wanted[0]]), rows[wanted] - first[wanted[0]], wanted) for wanted in _grouped(first, len(rows))
    ]


def _grouped(pieces: NDArray[np.int64], n: int) -> list[NDArray[np.int64]]:
    """The places (n,) of each number that occurs in ``pieces``, in the order of the numbers."""
    order = np.argsort(pieces, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(pieces[order])) + 1) if n else []


def _runs(rows: NDArray[np.int64], dataset: h5py.Dataset) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Ranges of a data set that together contain all given rows, each with the places of its rows in ``rows``.

    HDF5 reads scattered rows one by one and decompresses a chunk for each; a range is decompressed once.
    """
    step = max(int(dataset.chunks[0]) if dataset.chunks else 1, _LEAST_RUN)
    if step * dataset.dtype.itemsize * math.prod(dataset.shape[1:]) > SPAN_BYTES:
        step = _LEAST_RUN
    for wanted in _grouped(rows // step, len(rows)):
        run = rows[wanted]
        yield slice(int(run.min()), int(run.max()) + 1), wanted


@dataclass(frozen=True)
class _Packed:
    """The chunks of a data set whose filters are understood: byte shuffle and deflate, which h5py calls gzip."""

    dataset: h5py.Dataset
    chunk: tuple[int, ...]
    filters: tuple[int, ...]

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> _Packed | None:
        """The chunks of a data set; None if HDF5 must read it."""
        dtype = dataset.dtype
        if not dataset.chunks or dtype.kind not in "fiu" or dtype.itemsize not in (1, 2, 4, 8):
            return None
        if math.prod(dataset.chunks) * dtype.itemsize > SPAN_BYTES:
            return None
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(number) for number in range(plist.get_nfilters())]
        codes = tuple(each[0] for each in filters)
        if codes not in ((_DEFLATE,), (_SHUFFLE, _DEFLATE)):
            return None
        if codes[0] == _SHUFFLE and filters[0][2][:1] != (dtype.itemsize,):
            return None
        # The numbers are stored as numpy has them, so that nothing is to be converted.
        if h5py.h5t.py_create(dtype) != dataset.id.get_type():
            return None
        return cls(dataset, tuple(map(int, dataset.chunks)), codes)

    @property
    def rows(self) -> int:
        """Rows of a chunk."""
        return self.chunk[0]

    @property
    def size(self) -> int:
        """Bytes of a chunk when decompressed."""
        itemsize: int = self.dataset.dtype.itemsize
        return itemsize * math.prod(self.chunk)

    def bytes_of(self, pieces: int) -> int:
        """Bytes of all chunks of so many pieces, when decompressed."""
        sides = zip(self.dataset.shape[1:], self.chunk[1:], strict=True)
        corners: int = math.prod(-(-side // chunk) for side, chunk in sides)
        return pieces * corners * self.size

    def read(self, pieces: list[_Piece], n: int) -> NDArray[Any]:
        """Rows (n, ...) that consist of some pieces.

        Raises:
            _NotUnderstoodError: HDF5 must read them.
        """
        out = np.empty((n, *self.dataset.shape[1:]), self.dataset.dtype)
        threads = _threads()
        if threads == 1:
            for task in self._tasks(pieces):
                self._place(out, *task)
            return out
        most = max(1, min(2 * threads, SPAN_BYTES // (2 * self.size)))
        waiting: deque[Future[None]] = deque()
        try:
            for task in self._tasks(pieces):
                if len(waiting) >= most:
                    waiting.popleft().result()
                waiting.append(_pool().submit(self._place, out, *task))
            while waiting:
                waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
        return out

    def _tasks(self, pieces: list[_Piece]) -> Iterator[tuple[int, bytes, Places, Places]]:
        """Each chunk as it is stored: mask of the filters that it lacks, bytes, wanted numbers, and their places."""
        sides = list(zip(self.dataset.shape[1:], self.chunk[1:], strict=True))
        corners = list(itertools.product(*(range(0, side, chunk) for side, chunk in sides)))
        for piece in pieces:
            for corner in corners:
                try:
                    with phil:  # h5py before 3.16 does not take its lock here
                        mask, stored = self.dataset.id.read_direct_chunk((piece.start, *corner))
                except Exception as error:
                    raise _NotUnderstoodError from error
                ends = [min(at + chunk, side) for at, (side, chunk) in zip(corner, sides, strict=True)]
                source = tuple(slice(0, end - at) for at, end in zip(corner, ends, strict=True))
                target = tuple(slice(at, end) for at, end in zip(corner, ends, strict=True))
                yield mask, stored, (piece.source, *source), (piece.target, *target)

    def _place(self, out: NDArray[Any], mask: int, stored: bytes, source: Places, target: Places) -> None:
        """Decompress a chunk, and put the wanted numbers into their places."""
        missing = {code for bit, code in enumerate(self.filters) if mask >> bit & 1}
        content = stored if _DEFLATE in missing else _inflated(stored, self.size)
        if len(content) != self.size:
            raise _NotUnderstoodError
        itemsize = out.dtype.itemsize
        if _SHUFFLE not in self.filters or _SHUFFLE in missing or itemsize == 1:
            out[target] = np.frombuffer(content, out.dtype).reshape(self.chunk)[source]
            return
        planes = np.frombuffer(content, np.uint8).reshape(itemsize, *self.chunk)
        numbers = out.view(_PLANES[itemsize])
        if isinstance(target[0], slice):
            _join_bytes([plane[source] for plane in planes], numbers[target])
        else:
            chosen = [plane[source] for plane in planes]
            joined = np.empty(chosen[0].shape, numbers.dtype)
            _join_bytes(chosen, joined)
            numbers[target] = joined


def _join_bytes(planes: list[NDArray[np.uint8]], out: NDArray[Any]) -> None:
    """Numbers of their bytes, of which ``planes`` has the lowest first."""
    # Three times as fast as a transposition of the bytes.
    np.copyto(out, planes[-1])
    for plane in reversed(planes[:-1]):
        np.left_shift(out, 8, out=out)
        np.bitwise_or(out, plane, out=out)


def _inflated(stored: bytes, size: int) -> bytes:
    """Decompress a chunk, never to more than ``size`` bytes and one.

    Raises:
        _NotUnderstoodError: it is damaged, or of another size.
    """
    # With one byte more than the chunk has, the end of the stream and its checksum are seen.
    try:
        stream: Any = zlib.decompressobj() if _igzip is None else _igzip.IgzipDecompressor(flag=_igzip.DECOMP_ZLIB)
        content: bytes = stream.decompress(stored, size + 1)
    except Exception as error:
        raise _NotUnderstoodError from error
    if not stream.eof:
        raise _NotUnderstoodError
    return content


def _threads() -> int:
    """Number of threads: the usable processors, or fewer if ``OMP_NUM_THREADS`` says so, or the calling one."""
    if getattr(_reading, "alone", False):
        return 1
    cores = usable_processors()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(asked))) if asked.isdecimal() else cores


_reading = threading.local()
_lock = threading.Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    """The threads of this process; a process that was forked gets its own."""
    key = os.getpid(), _threads()
    with _lock:
        if key not in _pools:
            _pools.clear()
            _pools[key] = ThreadPoolExecutor(key[1], thread_name_prefix="chunks")
        return _pools[key]
