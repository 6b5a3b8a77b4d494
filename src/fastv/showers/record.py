"""Showers in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.record import Conditions, joined_conditions
from fastv.conditions.table import CONDITIONS
from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import FileFormatError, GeometryError, OutputError
from fastv.showers.checks import check_voxels
from fastv.showers.layout import attribute_text, write_file
from fastv.storage.output import check_free, written_whole
from fastv.wording import counted


@dataclass(frozen=True)
class Showers:
    """Showers in memory.

    Attributes:
        incident_energies: incident energies (N,) in MeV, float64.
        energies: voxel energies (N, V) in MeV, float32, flattened (layer, alpha, r), r fastest.
        detector: the detector; V is the number of voxels of its mesh.
        theta, phi: polar and azimuthal angles (N,) in rad, or None.
        pdg: PDG codes (N,) of the particles, or None.
        extra: extra columns with N rows, such as ``cpu_seconds``.
        provenance: how the showers were made (engine, version, physics, seed or model digest).

    Raises:
        GeometryError: the voxel energies do not fit the mesh.
        FileFormatError: a column does not have one row per shower.
    """

    incident_energies: NDArray[np.float64]
    energies: NDArray[np.float32]
    detector: Detector
    theta: NDArray[np.float64] | None = None
    phi: NDArray[np.float64] | None = None
    pdg: NDArray[np.int32] | None = None
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.energies.ndim != 2:
            msg = f"energies must have the shape (N, V), got {self.energies.shape}"
            raise GeometryError(msg)
        n, v = self.energies.shape
        if v != self.detector.mesh.n_voxels:
            needed = self.detector.mesh.n_voxels
            msg = f"showers have {counted(v, 'voxel')}; the mesh of {self.detector.name} has {needed}"
            raise GeometryError(msg)
        flat = {"incident_energies": self.incident_energies, "theta": self.theta, "phi": self.phi, "pdg": self.pdg}
        for name, column in flat.items():
            if column is not None and np.ndim(column) != 1:
                msg = f"{name} must have the shape (N,), got {np.shape(column)}"
                raise FileFormatError(msg)
        for name, column in {**flat, **self.extra}.items():
            if column is not None and len(column) != n:
                msg = f"{name} has {counted(len(column), 'row')} for {counted(n, 'shower')}"
                raise FileFormatError(msg)

    @classmethod
    def of(
        cls,
        conditions: Conditions,
        energies: NDArray[np.float32],
        detector: Detector,
        *,
        extra: Mapping[str, NDArray[Any]] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Showers:
        """Showers from conditions and voxel energies (N, V) in MeV; the other arguments are those of the class."""
        own = {each.attribute: conditions.get(name) for name, each in CONDITIONS.items() if each.attribute}
        further = {
            each.column: conditions.columns[name]
            for name, each in CONDITIONS.items()
            if each.column and not each.attribute and name in conditions.columns
        }
        columns: dict[str, Any] = {**own, "extra": {**further, **(extra or {})}, "provenance": provenance or {}}
        return cls(energies=energies, detector=detector, **columns)

    def __len__(self) -> int:
        return len(self.energies)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Showers:
        """Selected showers, by slice, mask or indices."""
        return replace(
            self,
            incident_energies=self.incident_energies[rows],
            energies=self.energies[rows],
            theta=None if self.theta is None else self.theta[rows],
            phi=None if self.phi is None else self.phi[rows],
            pdg=None if self.pdg is None else self.pdg[rows],
            extra={name: column[rows] for name, column in self.extra.items()},
        )

    @property
    def conditions(self) -> Conditions:
        """The conditions of the showers."""
        columns: dict[str, Any] = {
            name: getattr(self, each.attribute) if each.attribute else self.extra.get(each.column)
            for name, each in CONDITIONS.items()
        }
        return Conditions.of(**{**columns, "detector": self.detector.name})

    @property
    def mesh(self) -> ReadoutMesh:
        """The readout mesh."""
        return self.detector.mesh

    @property
    def grid(self) -> NDArray[np.float32]:
        """Voxel energies (N, layer, alpha, r) of a regular mesh, as a view."""
        return self.energies.reshape(-1, *self.mesh.shape)

    def write(self, path: str | Path, *, force: bool = False, gzip_level: int = 1) -> None:
        """Write a complete file.

        The compressed file is first made in memory; for larger samples use :class:`ShowersWriter`.

        Args:
            path: the showers file.
            force: replace an existing file.
            gzip_level: 1 to 9; 9 gives files about 10 % smaller than 1 and takes several times as long.

        Raises:
            OutputError: the file exists and ``force`` is false, a value is not physical, or the disk is full.
        """
        check_free(path, force=force, kind="showers")
        with written_whole(path, force=force, kind="showers") as temporary:
            write_showers(temporary, self, gzip_level=gzip_level)


def joined(parts: Sequence[Showers]) -> Showers:
    """Concatenate showers that have the same detector and columns.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("train")) as file:
        ...     len(joined([file[:2], file[5:6]]))
        3
    """
    first = parts[0]
    conditions = joined_conditions([part.conditions for part in parts])
    energies = np.concatenate([part.energies for part in parts])
    extra = {name: np.concatenate([part.extra[name] for part in parts]) for name in first.extra}
    return Showers.of(conditions, energies, first.detector, extra=extra, provenance=first.provenance)


def write_showers(path: Path, showers: Showers, *, gzip_level: int = 1, block_rows: int | None = None) -> None:
    """Write showers to a file under a temporary name; arguments as for :func:`fastv.showers.layout.write_file`.

    Raises:
        OutputError: a value is not physical.
        OSError: the disk is full or cannot be written.
    """
    _check_physical(showers)
    attribute = attribute_text(showers.detector, showers.provenance)
    write_file(path, _columns(showers), attribute, gzip_level=gzip_level, block_rows=block_rows)


def _columns(showers: Showers) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    for each in CONDITIONS.values():
        values = getattr(showers, each.attribute) if each.attribute else None
        if values is not None:
            columns[each.column] = values if each.dtype == "int32" else values[:, None].astype(np.float32)
        if each.name == "energy":
            columns["showers"] = showers.energies
    return {**columns, **{name: np.asarray(column) for name, column in showers.extra.items()}}


def _check_physical(showers: Showers) -> None:
    """Refuse to write values that no reader would accept."""
    try:
        showers.conditions.check("refused to write")
        check_voxels(showers.energies, "refused to write", range(len(showers)))
    except FileFormatError as error:
        raise OutputError(*error.args) from error
    own = {each.column for each in CONDITIONS.values() if each.attribute}
    if reserved := {"showers", *own} & set(showers.extra):
        msg = f"refused to write: an extra column cannot be called {', '.join(sorted(reserved))}"
        raise OutputError(msg)
