"""Point clouds in the files of the ``showerdata`` library, read and written through its API.

A shower is a list of points: x and y in mm, index of the layer, visible energy in GeV, and optionally a time. Voxels
become points at their centres. Points are assigned to the voxels that contain them, so x and y must be measured from
the shower axis. Times are not kept.

Directions in the library are relative to the cloud, whose third axis is the depth. FastV's meshes follow the particle,
so its clouds have the direction (0, 0, 1); the angles in the detector are stored separately, as ``incident_theta`` and
``incident_phi`` in rad.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.particles import PDG_CODES
from fastv.errors import FileFormatError
from fastv.formats import hdf5
from fastv.formats.contract import (
    Asked,
    Layout,
    Plan,
    Reader,
    Writer,
    needs_extra,
)
from fastv.formats.note import NOTE, Note, attributes_as_provenance
from fastv.formats.pointclouds import voxel_points, voxels_of
from fastv.showers import Showers
from fastv.storage.guard import check_stored
from fastv.storage.hdf5 import damage_named, give_back, open_hdf5, take_space, write_text
from fastv.storage.output import reserve, written_whole

_DATASETS = {
    "showers": ("O", 1),
    "energies": ("f", 2),
    "directions": ("f", 2),
    "pdg": ("iu", 1),
    "shower_ids": ("iu", 1),
    "num_points": ("iu", 1),
    "shape": ("iu", 1),
}
"""The data sets that the library's reader needs: numpy kinds and numbers of dimensions."""
_ANGLES = ("incident_theta", "incident_phi")
_BATCH_BYTES = 2**24
_MARGIN = 2**20
_HEAP_BYTES = 4096 + 64
"""Space that HDF5 may need for a list in addition to its numbers."""
_REOPEN_ROWS = 5000
"""Rows after which the file is reopened: HDF5 keeps data about every list in memory until it is closed."""
_ROW_BYTES = 64
"""Bytes per shower in the data sets whose space is allocated for all rows at once."""


def _library() -> Any:
    """Import the library.

    Raises:
        MissingExtraError: it is not installed.
    """
    with needs_extra("showerdata", "the showerdata library", "pointclouds"):
        import showerdata
    return showerdata


def recognises(layout: Layout) -> bool:
    """Whether a file has lists of points and incident energies."""
    showers = layout.items.get("showers")
    return showers is not None and showers.kind == "O" and "energies" in layout.items


class _Reader(Reader):
    """Reader of a file of the library."""

    def __init__(self, path: Path, asked: Asked) -> None:
        super().__init__(path)
        self._library = _library()
        open_hdf5(path).close()  # for its clear errors
        with damage_named(path):
            self._file = self._library.ShowerDataFile(path)
        try:
            with damage_named(path):
                self._read_head(asked)
        except BaseException:
            self.close()
            raise

    def _read_head(self, asked: Asked) -> None:
        file, path = self._file.file, self.path
        for name, (kinds, dimensions) in _DATASETS.items():
            dataset = hdf5.find(path, file, name)
            if dataset.dtype.kind not in kinds or dataset.ndim != dimensions:
                msg = f"{path}: {name!r} is {dataset.dtype} {dataset.shape}, not as the showerdata library writes it"
                raise FileFormatError(msg)
            check_stored(path, dataset)
        if file["shape"].shape != (3,):
            msg = f"{path}: 'shape' must be (showers, points, numbers per point), got shape {file['shape'].shape}"
            raise FileFormatError(msg)
        rows, self._most_points, self._features = (int(size) for size in self._file.shape)
        for name in _DATASETS:
            width = {"energies": (1,), "directions": (3,)}.get(name, ())
            if name != "shape" and file[name].shape != (rows, *width):
                msg = (
                    f"{path}: {name!r} has the shape {file[name].shape}; it must be {(rows, *width)} for {rows} showers"
                )
                raise FileFormatError(msg)
        longest = int(file["num_points"][...].max(initial=0))
        if self._features not in (4, 5) or longest > self._most_points:
            msg = (
                f"{path}: 'shape' says {self._most_points} points of {self._features} numbers; points have 4 or 5, "
                f"and the longest shower has {longest} points"
            )
            raise FileFormatError(msg)
        self._rows = rows
        note = Note.of(file.attrs, path)
        self.describe(asked, note, attributes_as_provenance(file.attrs))
        self._read_angles()
        known = {*_DATASETS, *_ANGLES}
        self._extra = [*hdf5.extra_columns(path, file, rows, known), *(() if self.described else ("shower_ids",))]
        self._has_pdg = bool(np.any(file["pdg"][...] != 0))
        self.not_kept = ("time",) if self._features == 5 else ()

    def _read_angles(self) -> None:
        """Read the angles of the particle, as stored by FastV, or else from directions that are not along the depth."""
        file = self._file.file
        kept = [hdf5.find_optional(self.path, file, name) for name in _ANGLES]
        for dataset in kept:
            if dataset is not None:
                hdf5.check_column(self.path, dataset, self._rows)
        theta, phi = (None if one is None else one[...].reshape(-1).astype(np.float64) for one in kept)
        directions = file["directions"][...].astype(np.float64)
        if theta is None and phi is None and np.any(directions != (0.0, 0.0, 1.0)):
            lengths = np.linalg.norm(directions, axis=1)
            if not np.all(np.isfinite(lengths) & (lengths > 0)):
                msg = f"{self.path}: 'directions' of shower {int(np.argmin(lengths > 0))} is not a direction"
                raise FileFormatError(msg)
            theta = np.arccos(np.clip(directions[:, 2] / lengths, -1, 1))
            phi = np.arctan2(directions[:, 1], directions[:, 0])
        self._theta, self._phi = theta, phi

    def __len__(self) -> int:
        return self._rows

    def batches(self, size: int) -> Iterator[Showers]:
        """All showers in order."""
        most = max(1, _BATCH_BYTES // max(1, self._most_points * self._features * 4))
        size = min(size, most)
        for start in range(0, self._rows, size):
            rows = slice(start, min(start + size, self._rows))
            with damage_named(self.path):
                if start // _REOPEN_ROWS > (start - size) // _REOPEN_ROWS:
                    self._file.close()
                    self._file = self._library.ShowerDataFile(self.path)
                cloud = self._file[rows]
                energies = self._bin(cloud.points, start)
            yield self.checked(
                start,
                1000.0 * cloud.energies[:, 0].astype(np.float64),
                energies,
                None if self._theta is None else self._theta[rows],
                None if self._phi is None else self._phi[rows],
                cloud.pdg if self._has_pdg else None,
                {name: hdf5.read_column(self.path, self._file.file[name], rows) for name in self._extra},
            )

    def _bin(self, points: NDArray[np.float32], start: int) -> NDArray[np.float32]:
        """Voxel energies (n, V) in MeV; points outside the mesh are omitted and counted."""
        row, point = np.nonzero(points[:, :, 3])
        flat = points[row, point]
        energy = 1000.0 * flat[:, 3].astype(np.float64)
        if not np.all(np.isfinite(energy) & (energy > 0)):
            bad = int(np.argmin(np.isfinite(energy) & (energy > 0)))
            msg = (
                f"{self.path}: point {point[bad]} of shower {start + row[bad]} has {flat[bad, 3]} GeV; "
                "energies must be finite and not negative"
            )
            raise FileFormatError(msg)
        voxel = voxels_of(self.detector.mesh, flat)
        inside = voxel >= 0
        energies = np.zeros((len(points), self.detector.mesh.n_voxels), dtype=np.float32)
        np.add.at(energies, (row[inside], voxel[inside]), energy[inside].astype(np.float32))
        self.outside.deposits += int(len(inside) - inside.sum())
        self.outside.energy += float(energy[~inside].sum())
        return energies

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path, asked: Asked) -> Reader:
    """Open a file for reading.

    Raises:
        MissingExtraError: the library is not installed.
        FileFormatError: a data set is missing or has the wrong shape, or the file is damaged.
        GeometryError: the detector is not given or is unknown.
    """
    return _Reader(path, asked)


class _Writer:
    """Writes batches of points into the file, whose number of showers is known."""

    def __init__(self, path: Path, file: Any, library: Any, plan: Plan) -> None:
        self._path, self._file, self._library = path, file, library
        self._points = voxel_points(plan.detector.mesh)
        self._total, self._done, self._most_points = plan.total, 0, 0
        self._take(_ROW_BYTES * plan.total)
        self._code = PDG_CODES.get(str(plan.provenance.get("particle")), 0)
        self.not_kept: tuple[str, ...] = ()

    def __call__(self, showers: Showers) -> None:
        # The library takes lists padded to one length; few showers at a time keep the memory small.
        step = max(1, _BATCH_BYTES // (16 * showers.energies.shape[1]))
        for first in range(0, len(showers), step):
            self._write(showers[first : first + step])

    def _write(self, showers: Showers) -> None:
        row, voxel = np.nonzero(showers.energies)
        counts = np.bincount(row, minlength=len(showers))
        place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        points = np.zeros((len(showers), max(1, int(counts.max(initial=0))), 4), dtype=np.float32)
        points[row, place, :3] = self._points[voxel]
        points[row, place, 3] = showers.energies[row, voxel].astype(np.float64) / 1000.0
        kept = {"incident_theta": showers.theta, "incident_phi": showers.phi, **showers.extra}
        columns = {name: np.asarray(column) for name, column in kept.items() if column is not None}
        # The library writes these data sets itself; it ignores columns of other names.
        self.not_kept = tuple(name for name in columns if name in _DATASETS)
        size = 16 * len(row) + _HEAP_BYTES * len(showers)
        self._take(size if self._done else size + _ROW_BYTES * self._total)
        rows = slice(self._done, self._done + len(showers))
        self._file[rows] = self._library.Showers(
            points=points,
            energies=(showers.incident_energies / 1000.0)[:, None],
            pdg=np.full(len(showers), self._code) if showers.pdg is None else showers.pdg,
            shower_ids=np.arange(rows.start, rows.stop),
            num_points=counts,
        )
        for name, column in columns.items():
            if name not in _DATASETS:
                self._write_column(name, column.astype(np.float32) if name in _ANGLES else column, rows)
        self._file.file.flush()
        self._done = rows.stop
        self._most_points = max(self._most_points, points.shape[1])

    def _write_column(self, name: str, column: NDArray[Any], rows: slice) -> None:
        file = self._file.file
        if name not in file:
            self._take(column.dtype.itemsize * self._total * int(np.prod(column.shape[1:])))
            file.create_dataset(name, (self._total, *column.shape[1:]), column.dtype)
        file[name][rows] = column

    def _take(self, size: int) -> None:
        """Reserve disk space before HDF5 needs it."""
        take_space(self._path, self._file.file, size)

    def finish(self) -> None:
        """Write the length of the longest shower, which is known only at the end."""
        self._file.file["shape"][1] = self._most_points


@contextmanager
def written(path: Path, plan: Plan) -> Iterator[Writer]:
    """Write a file.

    Raises:
        MissingExtraError: the library is not installed.
        GeometryError: the cells of the mesh are too thin for points in single precision.
        OutputError: the output exists, or the disk is full.
    """
    library = _library()
    with written_whole(path, force=plan.force, kind="showers") as temporary:
        temporary.touch()
        reserve(temporary, _ROW_BYTES * plan.total + _MARGIN)
        with library.ShowerDataFile(temporary, "w", shape=(plan.total, 0, 4)) as file:
            write = _Writer(temporary, file, library, plan)
            write_text(file.file, NOTE, plan.note("showerdata").text())
            yield write
            write.finish()
        give_back(temporary)
