"""HDF5 files of other projects: opened with clear errors, read column by column, and written by appending.

HDF5 brings the whole process down when a disk fills up under a file that it has open. So a :class:`GrowingFile` takes
the space for a batch from the disk before HDF5 sees the batch, and has HDF5 write all of it before the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fastv.errors import FileFormatError
from fastv.formats.contract import Item, Layout, Plan
from fastv.formats.note import NOTE, Note
from fastv.storage.output import hdf5_written, reserve

_CHUNK_BYTES = 2**20
_CHUNK_ROWS = 1000
_READ_BYTES = 2**25
_SPAN_BYTES = 2**27
"""Memory that may be taken to unpack chunks that are longer than a batch only once."""
_MOST_ATTRIBUTE = 60_000
"""HDF5 keeps attributes of up to 64 KiB."""
_MOST_PACKED = 2000
"""More than gzip packs zeros."""
_MARGIN = 2**20
"""Space for what HDF5 writes besides the data of a batch: headers and the index of chunks."""

_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError, AttributeError)
"""What HDF5 and numpy raise at damaged files."""


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn whatever HDF5 raises at a damaged file into one clear line.

    Raises:
        FileFormatError: the block raised one of its errors.
    """
    try:
        yield
    except _ERRORS as error:
        lines = str(error).splitlines()
        reason = f" ({lines[0]})" if lines and not isinstance(error, MemoryError) else ""
        msg = f"{path}: the file is damaged or truncated{reason}"
        raise FileFormatError(msg) from error


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading.

    Raises:
        FileFormatError: it is missing, no HDF5 file, or truncated.
    """
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        reason = "it is truncated or no HDF5 file"
        if isinstance(error, OSError) and error.errno is not None and error.strerror and "HDF5" not in str(error):
            reason = error.strerror.splitlines()[0]
        msg = f"{path}: cannot open: {reason}"
        raise FileFormatError(msg) from error


def layout_of(path: Path) -> Layout:
    """What an HDF5 file holds, without reading data.

    Raises:
        FileFormatError: it is no HDF5 file, or damaged.
    """
    with open_hdf5(path) as file, damage_named(path):
        items = {
            name: Item(tuple(item.shape), item.dtype.kind)
            for name, item in file.items()
            if isinstance(item, h5py.Dataset) and item.shape is not None
        }
        noted = Note.read(file.attrs[NOTE], path).format if NOTE in file.attrs else None
        return Layout(path, "hdf5", items, frozenset(file.attrs), noted)


def contents(file: h5py.File) -> str:
    """The names in a file with their shapes, for messages.

    Example:
        >>> file = h5py.File.in_memory()
        >>> file["energy"] = [1.0, 2.0]
        >>> contents(file)
        'energy (2,)'
    """
    told = [f"{name} {getattr(item, 'shape', 'group')}" for name, item in file.items()]
    return ", ".join(told[:12]) + (f" and {len(told) - 12} more" if len(told) > 12 else "") or "nothing"


def find(path: Path, file: h5py.File, *spellings: str) -> h5py.Dataset:
    """The data set that has one of several spellings of a name.

    Raises:
        FileFormatError: none is there, it is no data set, or two spellings are there and differ.
    """
    dataset = find_optional(path, file, *spellings)
    if dataset is None:
        msg = f"{path}: no data set {' or '.join(map(repr, spellings))}; the file holds: {contents(file)}"
        raise FileFormatError(msg)
    return dataset


def find_optional(path: Path, file: h5py.File, *spellings: str) -> h5py.Dataset | None:
    """As :func:`find`, and None where there is none.

    Raises:
        FileFormatError: it is no data set, or two spellings are there and differ.
    """
    found = [name for name in spellings if name in file]
    if not found:
        return None
    dataset = file[found[0]]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        msg = f"{path}: {found[0]!r} is no data set of numbers; the file holds: {contents(file)}"
        raise FileFormatError(msg)
    if len(found) > 1 and file[found[1]] != dataset:
        msg = f"{path}: holds both {' and '.join(map(repr, found))}, and they are not the same data; remove one"
        raise FileFormatError(msg)
    return dataset


def check_filled(path: Path, dataset: h5py.Dataset) -> None:
    """Make sure that a data set of showers holds what its shape tells: a damaged shape may tell of any number.

    Raises:
        FileFormatError: the data are far too few, however well they are packed.
    """
    told, stored = dataset.dtype.itemsize * int(np.prod(dataset.shape, dtype=object)), dataset.id.get_storage_size()
    if told > _MOST_PACKED * (stored + 2**16):
        msg = f"{path}: damaged: {dataset.name[1:]!r} is {dataset.shape} by its shape, and has {stored} bytes of data"
        raise FileFormatError(msg)


def check_column(path: Path, dataset: h5py.Dataset, rows: int) -> None:
    """Make sure that a data set has one number a shower, (N,) or (N, 1).

    Raises:
        FileFormatError: it has another shape, or holds no numbers.
    """
    if dataset.shape not in ((rows,), (rows, 1)) or dataset.dtype.kind not in "fiu":
        msg = (
            f"{path}: {dataset.name[1:]!r} must hold one number for each of {rows} showers, "
            f"it is {dataset.dtype} {dataset.shape}"
        )
        raise FileFormatError(msg)


def read_column(path: Path, dataset: h5py.Dataset, rows: slice) -> NDArray[Any]:
    """Some rows of a data set; one with a single value a row comes as (n,).

    Raises:
        FileFormatError: the file is damaged.
    """
    with damage_named(path):
        data: NDArray[Any] = dataset[rows]
    return data[:, 0] if data.ndim == 2 and data.shape[1] == 1 else data


def extra_columns(file: h5py.File, rows: int, known: set[str]) -> dict[str, h5py.Dataset]:
    """Further data sets with one row of numbers a shower."""
    return {
        name: item
        for name, item in file.items()
        if name not in known
        and isinstance(item, h5py.Dataset)
        and item.shape is not None
        and item.ndim in (1, 2)
        and item.shape[0] == rows
        and item.dtype.kind in "fiub"
    }


def grid_batches(path: Path, dataset: h5py.Dataset, size: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """All showers (N, r, alpha, z) in order: rows, and voxel energies (n, V), flattened (layer, alpha, r).

    Every chunk is unpacked once, as far as memory allows: a batch is of whole chunks, or, where chunks are longer than
    ``size``, several batches are read together.

    Args:
        path: the file, for messages.
        dataset: the showers.
        size: most showers of a batch.

    Raises:
        FileFormatError: the file is damaged.
    """
    total, chunk = dataset.shape[0], dataset.chunks[0] if dataset.chunks else 1
    if chunk <= size:
        size = span = size // chunk * chunk
    else:
        span = max(size, min(chunk, _SPAN_BYTES // max(1, 4 * int(np.prod(dataset.shape[1:])))))
    for start in range(0, total, span):
        energies = _read_grid(path, dataset, slice(start, min(start + span, total)))
        for first in range(0, len(energies), size):
            batch = energies[first : first + size]
            yield slice(start + first, start + first + len(batch)), batch


def _read_grid(path: Path, dataset: h5py.Dataset, rows: slice) -> NDArray[np.float32]:
    """Some showers, read in slabs of r if they are large, so that memory is not needed twice."""
    n, (r, alpha, z) = rows.stop - rows.start, dataset.shape[1:]
    out = np.empty((n, z, alpha, r), dtype=np.float32)
    cut = dataset.chunks[1] if dataset.chunks else 1
    slab = max(1, _READ_BYTES // max(1, dataset.dtype.itemsize * n * alpha * z * cut)) * cut
    with damage_named(path):
        for first in range(0, r, slab):
            out[..., first : first + slab] = dataset[rows, first : first + slab].transpose(0, 3, 2, 1)
    return out.reshape(n, -1)


def as_grid(energies: NDArray[np.float32], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Voxel energies (n, V) as showers (n, r, alpha, z).

    Args:
        energies: flattened (layer, alpha, r).
        shape: (layer, alpha, r) of the mesh.

    Example:
        >>> as_grid(np.arange(12, dtype=np.float32).reshape(1, 12), (3, 2, 2))[0, 1, 0].tolist()
        [1.0, 5.0, 9.0]
    """
    return np.ascontiguousarray(energies.reshape(-1, *shape).transpose(0, 3, 2, 1))


class GrowingFile:
    """An HDF5 file to which rows are appended, batch by batch, whole chunks at a time; see :func:`growing`."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self.file = file
        self._held: dict[str, list[NDArray[Any]]] = {}

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Append rows (n, ...) to a data set, which the first ones create; gzip with byte shuffle, readable everywhere.

        Raises:
            OSError: there is no space on the disk; the file stays sound.
        """
        if name not in self.file:
            row_bytes = max(1, rows.dtype.itemsize * int(np.prod(rows.shape[1:])))
            chunk = (max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // row_bytes)), *rows.shape[1:])
            self.take(_MARGIN)
            self.file.create_dataset(
                name,
                shape=(0, *rows.shape[1:]),
                dtype=rows.dtype,
                maxshape=(None, *rows.shape[1:]),
                chunks=chunk,
                compression="gzip",
                compression_opts=1,
                shuffle=True,
            )
            self.file.flush()
        held = self._held.setdefault(name, [])
        held.append(rows)
        count = sum(map(len, held))
        whole = count - count % self.file[name].chunks[0]
        if whole:
            joined = np.concatenate(held)
            self._write(name, joined[:whole])
            # A view would keep the whole batch in memory.
            self._held[name] = [joined[whole:].copy()] if count > whole else []

    def _write(self, name: str, rows: NDArray[Any]) -> None:
        dataset = self.file[name]
        chunk_bytes = rows.dtype.itemsize * int(np.prod(dataset.chunks))
        self.take(max(rows.nbytes, chunk_bytes))
        first = len(dataset)
        dataset.resize(first + len(rows), axis=0)
        dataset[first:] = rows
        self.file.flush()

    def take(self, size: int) -> None:
        """Take the space for ``size`` bytes of data, with 2 % and 1 MiB for what comes with them, from the disk.

        Raises:
            OSError: there is none.
        """
        reserve(self.path, int(self.file.id.get_filesize()) + size + size // 50 + _MARGIN)

    def finish(self) -> None:
        """Write the rows that do not fill a chunk.

        Raises:
            OSError: there is no space on the disk.
        """
        for name, held in self._held.items():
            if held:
                self._write(name, np.concatenate(held))
        self._held.clear()


@contextmanager
def growing(path: Path, plan: Plan, format_name: str) -> Iterator[GrowingFile]:
    """Create an HDF5 file with FastV's note, to be filled by appending.

    Raises:
        OSError: the disk is full or refuses.
    """
    with hdf5_written(path) as file:
        write_note(file, Note.of(plan, format_name))
    reserve(path, path.stat().st_size + _MARGIN)
    with h5py.File(path, "r+") as file:
        grown = GrowingFile(path, file)
        yield grown
        grown.finish()
    give_back(path)


def write_note(file: h5py.File, note: Note) -> None:
    """Leave a note in a file."""
    text = note.text()
    # Of fixed length, if it may: HDF5 follows the references of other texts unchecked, also in damaged files.
    file.attrs[NOTE] = np.bytes_(text.encode("ascii")) if len(text) < _MOST_ATTRIBUTE else text


def give_back(path: Path) -> None:
    """Give back the space that was taken from the disk for an HDF5 file and is not used."""
    # HDF5 cuts a file to what it uses, if it was longer already when it was opened.
    with h5py.File(path, "r+"):
        pass


def write_columns(file: GrowingFile, columns: Mapping[str, NDArray[Any] | None]) -> None:
    """Append to several data sets, leaving out what is None."""
    for name, column in columns.items():
        if column is not None:
            file.append(name, column)
