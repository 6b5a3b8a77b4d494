"""Showers files, read lazily: only the selected rows are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from fastv.conditions.record import Conditions, checked
from fastv.conditions.table import CONDITIONS
from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.detector.of_file import resolve_detector
from fastv.errors import FileFormatError
from fastv.showers.checks import check_voxels, energies_in_doubt
from fastv.showers.layout import BLOCK_ROWS, REQUIRED_COLUMNS, read_attribute
from fastv.showers.record import Showers
from fastv.storage.ahead import read_ahead
from fastv.storage.chunks import read_rows
from fastv.storage.guard import check_stored
from fastv.storage.hdf5 import damage_named, is_column, open_hdf5, spans
from fastv.storage.kinds import kind_of

_OTHERS = "files of other projects are read by `fastv.convert`"
_FIRST_ROWS = 1000


class ShowersFile:
    """A showers file, read lazily: only the selected rows are read.

    Args:
        path: the HDF5 file.
        detector: the detector, or its name (see :meth:`Detector.named`), of a plain CaloChallenge file, which has no
            attribute ``fastv``. If the file describes its detector, both must have the same mesh.
        default: detector of a plain CaloChallenge file if ``detector`` is None; ignored if the file describes its own.
        parameter: name of ``detector`` in error messages, for functions that pass on a parameter of another name.

    Raises:
        FileFormatError: the file is missing, truncated, or not a showers file.
        GeometryError: the detector is not given, is unknown, or does not fit the file.

    Example:
        >>> from fastv.sample import sample_path
        >>> with ShowersFile(sample_path("test")) as file:
        ...     first = file[:10]
        >>> first.grid.shape
        (10, 45, 16, 9)
    """

    def __init__(
        self,
        path: str | Path,
        detector: Detector | str | None = None,
        *,
        default: Detector | None = None,
        parameter: str = "detector",
    ) -> None:
        self.path = Path(path)
        self._file = open_hdf5(self.path)
        try:
            with damage_named(self.path):
                self._check_layout()
                self.format_version, stored, self.provenance = read_attribute(self.path, self._file)
            named = detector if stored else detector or default
            voxels = int(self._file["showers"].shape[1])
            self.detector = resolve_detector(self.path, named, stored=stored, cells=(voxels,), parameter=parameter)
        except BaseException:
            with suppress(Exception):
                self._file.close()
            raise

    def _check_layout(self) -> None:
        items = dict(self._file.items())
        found = ", ".join(sorted(items)) or "nothing"
        for name in REQUIRED_COLUMNS:
            if not isinstance(items.get(name), h5py.Dataset):
                what = "is a group, not a data set" if name in items else "is missing"
                kind = kind_of(self._file)
                others = kind.told if kind and kind.told else _OTHERS
                msg = f"{self.path}: {name!r} {what}; the file contains: {found}; {others}"
                raise FileFormatError(msg)
        showers = items["showers"]
        if showers.shape is None or showers.ndim != 2 or showers.dtype.kind != "f":
            got = f"{showers.dtype} {showers.shape}"
            msg = f"{self.path}: 'showers' must be floating-point (N, V), got {got}; {_OTHERS}"
            raise FileFormatError(msg)
        rows = int(showers.shape[0])
        for name in (condition.column for condition in CONDITIONS.values()):
            if name not in items:
                continue
            dataset = items[name]
            if not is_column(dataset, rows) or dataset.size != rows:
                what = f"{dataset.dtype} {dataset.shape}" if isinstance(dataset, h5py.Dataset) else "a group"
                msg = f"{self.path}: {name!r} must have one number for each of {rows} showers (N, 1), got {what}"
                raise FileFormatError(msg)
        self._rows = rows
        self._columns = [name for name, item in items.items() if name != "showers" and is_column(item, rows)]
        for name in ("showers", *self._columns):
            check_stored(self.path, items[name])

    @property
    def columns(self) -> list[str]:
        """Names of all data sets with one row per shower, except ``showers``."""
        return list(self._columns)

    @property
    def mesh(self) -> ReadoutMesh:
        """The readout mesh."""
        return self.detector.mesh

    def __len__(self) -> int:
        return self._rows

    def _dataset(self, name: str) -> h5py.Dataset:
        if not self._file:
            msg = f"{self.path}: the file is closed"
            raise ValueError(msg)
        return self._file[name]

    def _read(self, name: str, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Rows of one data set; a column with one value per shower has the shape (N,)."""
        dataset = self._dataset(name)
        with damage_named(self.path):
            data = read_rows(dataset, rows)
            if name != "showers" and data.ndim == 2 and data.shape[1] == 1:
                data = data[:, 0]
            return data

    @cached_property
    def incident_energies(self) -> NDArray[np.float64]:
        """All incident energies (N,) in MeV, checked to be finite and above zero.

        Raises:
            FileFormatError: an energy is not physical, or the file is damaged.
        """
        # In pieces: a damaged file may claim more rows than fit into memory, and the first bad one ends the reading.
        pieces = [np.empty(0)]
        for start in range(0, len(self), 2**20):
            energies = self._read("incident_energies", slice(start, start + 2**20)).reshape(-1)
            showers = range(start, start + len(energies))
            pieces.append(checked(CONDITIONS["energy"], energies, str(self.path), showers))
        return np.concatenate(pieces)

    @cached_property
    def conditions(self) -> Conditions:
        """The conditions of all showers, checked to be physical; voxels are not read.

        Raises:
            FileFormatError: a condition is not physical, or the file is damaged.

        Example:
            >>> from fastv.sample import sample_path
            >>> with ShowersFile(sample_path("test")) as file:
            ...     conditions = file.conditions
            >>> len(conditions), conditions.detector[0]
            (200, np.str_('par04-siw'))
        """
        return self._conditions(slice(None))

    def _conditions(self, rows: slice | NDArray[np.int64]) -> Conditions:
        columns: dict[str, Any] = {"energy": self.incident_energies[rows], "detector": self.detector.name}
        showers = range(len(self))[rows] if isinstance(rows, slice) else rows
        for name, each in CONDITIONS.items():
            if each.column in self._columns and name not in columns:
                columns[name] = checked(each, self._read(each.column, rows), str(self.path), showers)
        return Conditions.of(**columns)

    def column(self, name: str) -> NDArray[Any]:
        """All rows of a data set other than ``showers``: (N,), or (N, k) if a shower has several values.

        Raises:
            FileFormatError: there is no such column; the message lists the existing ones.
        """
        if name not in self._columns:
            msg = f"{self.path}: no column {name!r}; the file has: {', '.join(self._columns)}"
            raise FileFormatError(msg)
        return self._read(name, slice(None))

    def __getitem__(self, rows: slice | NDArray[Any]) -> Showers:
        """Read showers by slice, mask (N,) or indices in any order.

        Raises:
            FileFormatError: a voxel energy is NaN, infinite or negative, a condition is not physical, or the file is
                damaged.
            IndexError: an index lies outside the file.
        """
        if not isinstance(rows, slice):
            rows = _as_indices(rows, len(self))
        elif rows.step is not None and rows.step < 0:
            rows = np.arange(len(self))[rows]
        conditions = self._conditions(rows)
        with np.errstate(over="ignore"):  # values too large for float32 become infinite and are refused
            energies = self._read("showers", rows).astype(np.float32, copy=False)
        check_voxels(energies, str(self.path), range(len(self))[rows] if isinstance(rows, slice) else rows)
        own = {each.column for each in CONDITIONS.values()}
        extra = {name: self._read(name, rows) for name in self._columns if name not in own}
        return Showers.of(conditions, energies, self.detector, extra=extra, provenance=self.provenance)

    def spans(self, size: int = BLOCK_ROWS, *, start: int = 0, stop: int | None = None) -> Iterator[slice]:
        """Rows that are best read at once: whole batches of ``size``, several of them if the file's chunks are longer.

        Args:
            size: showers of a batch.
            start, stop: the showers that are read, by default all.
        """
        yield from spans(self._dataset("showers"), size, whole_batches=True, start=start, stop=stop)

    def batches(self, size: int = BLOCK_ROWS) -> Iterator[Showers]:
        """All showers in order, in batches of ``size``; the last one may be smaller.

        If the chunks of the file are longer than ``size``, several batches are read at once, within a memory limit. The
        next ones are read while the present ones are used.

        Raises:
            FileFormatError: as for a slice.
        """
        for read in read_ahead(self[span] for span in self.spans(size)):
            yield from (read[first : first + size] for first in range(0, len(read), size))

    def energies_in_doubt(self) -> str | None:
        """A sentence if the first showers have far more energy than came in; see :mod:`fastv.showers.checks`."""
        incident, energies = self._unchecked(slice(0, _FIRST_ROWS))
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            ratios = energies.sum(axis=1, dtype=np.float64) / incident
        return energies_in_doubt(ratios, self.detector.energy_scale)

    def unchecked(self, size: int = BLOCK_ROWS) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float32]]]:
        """Incident energies (n,) and voxel energies (n, V) in MeV as stored, unphysical ones included, in batches.

        For checks that count the values which :meth:`batches` refuses.
        """
        blocks = map(self._unchecked, self.spans(size))
        for incident, energies in read_ahead(blocks):
            for first in range(0, len(energies), size):
                yield incident[first : first + size], energies[first : first + size]

    def _unchecked(self, rows: slice) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        incident = self._read("incident_energies", rows).reshape(-1).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            return incident, self._read("showers", rows).astype(np.float32, copy=False)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _as_indices(rows: NDArray[Any], length: int) -> NDArray[np.int64]:
    rows = np.asarray(rows)
    if rows.dtype == np.bool_:
        if rows.shape != (length,):
            msg = f"a mask must have the shape ({length},), got {rows.shape}"
            raise IndexError(msg)
        return np.flatnonzero(rows)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        msg = f"showers are selected by a slice, a mask or integer indices (n,), got {rows.dtype} {rows.shape}"
        raise IndexError(msg)
    rows = rows.astype(np.int64)
    rows = np.where(rows < 0, rows + length, rows)
    if rows.size and (rows.min() < 0 or rows.max() >= length):
        msg = f"an index lies outside the {length} showers"
        raise IndexError(msg)
    return rows
