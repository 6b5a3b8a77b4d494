"""Par04's HDF5: ``incident_energy`` (N,) in MeV and ``showers`` (N, r, alpha, z) of visible energy in MeV.

The converters of Geant4's example Par04 write ``incident_energy``; others write ``incident_energies``. FastV reads both
and writes one data set under both names. ``incident_theta`` and ``incident_phi`` (N,) in rad are optional. PDG codes
and extra columns are stored in further data sets, which other readers ignore.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fastv.errors import FileFormatError, OutputError
from fastv.formats import hdf5
from fastv.formats.contract import Asked, Layout, Plan, Reader, Writer
from fastv.formats.note import Note, attributes_as_provenance
from fastv.showers import Showers
from fastv.storage.guard import check_stored
from fastv.storage.hdf5 import GrowingFile, damage_named, growing, open_hdf5
from fastv.storage.output import written_whole

SPELLINGS = {
    "showers": ("showers", "shower"),
    "energy": ("incident_energy", "incident_energies"),
    "theta": ("incident_theta", "incident_thetas"),
    "phi": ("incident_phi", "incident_phis"),
    "pdg": ("incident_pdg", "incident_pdgs"),
}
_KNOWN = {name for names in SPELLINGS.values() for name in names}


def recognises(layout: Layout) -> bool:
    """Whether a file has showers on a grid (N, r, alpha, z)."""
    return any(name in layout.items and len(layout.items[name].shape) == 4 for name in SPELLINGS["showers"])


class GridReader(Reader):
    """Reader of showers (N, r, alpha, z) in one HDF5 file.

    Args:
        path: the file.
        asked: what the user states about it.
        angles: whether the format requires both angles.

    Raises:
        FileFormatError: a data set is missing or has the wrong shape, or the file is damaged.
        GeometryError: the detector is not given, is unknown, or does not fit the file.
    """

    def __init__(self, path: Path, asked: Asked, *, angles: bool = False) -> None:
        super().__init__(path)
        self._file = open_hdf5(path)
        try:
            with damage_named(path):
                self._open(asked, angles)
        except BaseException:
            self.close()
            raise

    def _open(self, asked: Asked, angles: bool) -> None:
        file, path = self._file, self.path
        showers = hdf5.find(path, file, *SPELLINGS["showers"])
        if showers.ndim != 4 or showers.dtype.kind not in "fiu":
            msg = f"{path}: {showers.name[1:]!r} must be numbers (N, r, alpha, z), got {showers.dtype} {showers.shape}"
            raise FileFormatError(msg)
        check_stored(path, showers)
        self._showers = showers
        required = ("energy", "theta", "phi") if angles else ("energy",)
        found = {
            what: (hdf5.find if what in required else hdf5.find_optional)(path, file, *SPELLINGS[what])
            for what in ("energy", "theta", "phi", "pdg")
        }
        self._columns = {what: dataset for what, dataset in found.items() if dataset is not None}
        for column in self._columns.values():
            hdf5.check_column(path, column, len(self))
        self._extra = hdf5.extra_columns(path, file, len(self), _KNOWN)
        r, alpha, z = (int(cells) for cells in showers.shape[1:])
        note, provenance = Note.of(file.attrs, path), attributes_as_provenance(file.attrs)
        self.describe(asked, note, provenance, shape=(z, alpha, r))

    def __len__(self) -> int:
        return int(self._showers.shape[0])

    def batches(self, size: int) -> Iterator[Showers]:
        """All showers in order."""
        for rows, energies in hdf5.grid_batches(self.path, self._showers, size):
            columns = {what: hdf5.read_column(self.path, data, rows) for what, data in self._columns.items()}
            extra = {name: hdf5.read_column(self.path, data, rows) for name, data in self._extra.items()}
            yield self.checked(
                rows.start,
                columns["energy"],
                energies,
                columns.get("theta"),
                columns.get("phi"),
                columns.get("pdg"),
                extra,
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path, asked: Asked) -> Reader:
    """Open a file for reading; see :class:`GridReader`."""
    return GridReader(path, asked)


class GridWriter:
    """Appends showers to a file of this format."""

    not_kept: tuple[str, ...] = ()

    def __init__(self, file: GrowingFile, plan: Plan) -> None:
        self._file = file
        self._shape = plan.detector.mesh.shape

    def __call__(self, showers: Showers) -> None:
        """Append one batch.

        Raises:
            OutputError: an extra column has the name of a data set of the format.
        """
        if taken := sorted(_KNOWN & set(showers.extra)):
            msg = f"the extra column {taken[0]!r} has the name of a data set of the format; rename it"
            raise OutputError(msg)
        new = "incident_energy" not in self._file.file
        hdf5.write_columns(
            self._file,
            {
                "incident_energy": showers.incident_energies.astype(np.float32),
                "incident_theta": None if showers.theta is None else showers.theta.astype(np.float32),
                "incident_phi": None if showers.phi is None else showers.phi.astype(np.float32),
                "showers": hdf5.as_grid(showers.energies, self._shape),
                "incident_pdg": showers.pdg,
                **{name: np.asarray(column) for name, column in showers.extra.items()},
            },
        )
        if new:
            self._file.file["incident_energies"] = self._file.file["incident_energy"]


@contextmanager
def written(path: Path, plan: Plan, format_name: str = "par04-h5") -> Iterator[Writer]:
    """Write a file.

    Raises:
        GeometryError: the mesh is not regular.
        OutputError: the output exists, or the disk is full.
    """
    _ = plan.detector.mesh.shape  # raises for an irregular mesh
    with (
        written_whole(path, force=plan.force, kind="showers") as temporary,
        growing(temporary, plan.note(format_name).texts()) as file,
    ):
        yield GridWriter(file, plan)
