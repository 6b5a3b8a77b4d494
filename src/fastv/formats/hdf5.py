"""HDF5 files of other projects: their contents, and reading and writing columns and grids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fastv.errors import FileFormatError
from fastv.formats.contract import Item, Layout
from fastv.formats.note import Note
from fastv.storage.guard import check_stored
from fastv.storage.hdf5 import GrowingFile, damage_named, is_column, open_hdf5, spans

_READ_BYTES = 2**25


def layout_of(path: Path) -> Layout:
    """The contents of an HDF5 file, found without reading data.

    Raises:
        FileFormatError: the file is not HDF5, or damaged.
    """
    with open_hdf5(path) as file, damage_named(path):
        items = {
            name: Item(tuple(item.shape), item.dtype.kind)
            for name, item in file.items()
            if isinstance(item, h5py.Dataset) and item.shape is not None
        }
        note = Note.of(file.attrs, path)
        return Layout(path, "hdf5", items, frozenset(file.attrs), note.format if note else None)


def contents(file: h5py.File) -> str:
    """The items of a file with their shapes, for messages.

    Example:
        >>> file = h5py.File.in_memory()
        >>> file["energy"] = [1.0, 2.0]
        >>> contents(file)
        'energy (2,)'
    """
    described = [f"{name} {getattr(item, 'shape', 'group')}" for name, item in file.items()]
    return ", ".join(described[:12]) + (f" and {len(described) - 12} more" if len(described) > 12 else "") or "nothing"


def find(path: Path, file: h5py.File, *spellings: str) -> h5py.Dataset:
    """Find a data set whose name has several spellings.

    Raises:
        FileFormatError: there is none, it is not a data set, or two spellings exist with different data.
    """
    dataset = find_optional(path, file, *spellings)
    if dataset is None:
        msg = f"{path}: no data set {' or '.join(map(repr, spellings))}; the file contains: {contents(file)}"
        raise FileFormatError(msg)
    return dataset


def find_optional(path: Path, file: h5py.File, *spellings: str) -> h5py.Dataset | None:
    """As :func:`find`, but None if there is no such data set.

    Raises:
        FileFormatError: it is not a data set, or two spellings exist with different data.
    """
    found = [name for name in spellings if name in file]
    if not found:
        return None
    dataset = file[found[0]]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        msg = f"{path}: {found[0]!r} is not a data set of numbers; the file contains: {contents(file)}"
        raise FileFormatError(msg)
    if len(found) > 1 and file[found[1]] != dataset:
        msg = f"{path}: contains both {' and '.join(map(repr, found))} with different data; remove one"
        raise FileFormatError(msg)
    return dataset


def check_column(path: Path, dataset: h5py.Dataset, rows: int) -> None:
    """Check that a data set has one number per shower, (N,) or (N, 1), and holds all of them.

    Raises:
        FileFormatError: the data set has another shape, is not numeric, or was never written.
    """
    if dataset.shape not in ((rows,), (rows, 1)) or dataset.dtype.kind not in "fiu":
        msg = (
            f"{path}: {dataset.name[1:]!r} must have one number for each of {rows} showers, "
            f"got {dataset.dtype} {dataset.shape}"
        )
        raise FileFormatError(msg)
    check_stored(path, dataset)


def read_column(path: Path, dataset: h5py.Dataset, rows: slice) -> NDArray[Any]:
    """Read rows of a data set; with one value per row, the shape is (n,).

    Raises:
        FileFormatError: the file is damaged.
    """
    with damage_named(path):
        data: NDArray[Any] = dataset[rows]
    return data[:, 0] if data.ndim == 2 and data.shape[1] == 1 else data


def extra_columns(path: Path, file: h5py.File, rows: int, known: set[str]) -> dict[str, h5py.Dataset]:
    """The other numeric data sets with one row per shower, by name.

    Raises:
        FileFormatError: one of them was never written.
    """
    found = {name: item for name, item in file.items() if name not in known and is_column(item, rows)}
    for item in found.values():
        check_stored(path, item)
    return found


def grid_batches(path: Path, dataset: h5py.Dataset, size: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """All showers in order, in batches.

    A batch has whole chunks; if chunks are longer than ``size``, several batches are read together. So every chunk is
    decompressed once, within a memory limit.

    Args:
        path: the file, for messages.
        dataset: the showers (N, r, alpha, z).
        size: maximum number of showers per batch.

    Yields:
        The rows of the batch, and its voxel energies (n, V), flattened (layer, alpha, r).

    Raises:
        FileFormatError: the file is damaged.
    """
    if dataset.chunks and dataset.chunks[0] <= size:
        size -= size % dataset.chunks[0]
    for span in spans(dataset, size):
        energies = _read_grid(path, dataset, span)
        for first in range(0, len(energies), size):
            batch = energies[first : first + size]
            yield slice(span.start + first, span.start + first + len(batch)), batch


def _read_grid(path: Path, dataset: h5py.Dataset, rows: slice) -> NDArray[np.float32]:
    """Read showers, in slabs of r if they are large, to avoid a second copy in memory."""
    n, (r, alpha, z) = rows.stop - rows.start, dataset.shape[1:]
    out = np.empty((n, z, alpha, r), dtype=np.float32)
    cut = dataset.chunks[1] if dataset.chunks else 1
    slab = max(1, _READ_BYTES // max(1, dataset.dtype.itemsize * n * alpha * z * cut)) * cut
    with damage_named(path):
        for first in range(0, r, slab):
            out[..., first : first + slab] = dataset[rows, first : first + slab].transpose(0, 3, 2, 1)
    return out.reshape(n, -1)


def as_grid(energies: NDArray[np.float32], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Reorder voxel energies (n, V) into showers (n, r, alpha, z).

    Args:
        energies: voxel energies, flattened (layer, alpha, r).
        shape: (layer, alpha, r) of the mesh.

    Example:
        >>> as_grid(np.arange(12, dtype=np.float32).reshape(1, 12), (3, 2, 2))[0, 1, 0].tolist()
        [1.0, 5.0, 9.0]
    """
    return np.ascontiguousarray(energies.reshape(-1, *shape).transpose(0, 3, 2, 1))


def write_columns(file: GrowingFile, columns: Mapping[str, NDArray[Any] | None]) -> None:
    """Append rows to several data sets; a column that is None is skipped."""
    for name, column in columns.items():
        if column is not None:
            file.append(name, column)
