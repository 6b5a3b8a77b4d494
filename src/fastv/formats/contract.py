"""The interface of a format's module: recognise a file, read it in batches, and write one.

Readers yield and writers accept :class:`~fastv.showers.Showers`, with voxel energies flattened (layer, alpha, r) on the
energy scale of their own file; the conversion between the scales is done in between.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.record import Conditions, checked
from fastv.conditions.table import CONDITIONS
from fastv.detector.detector import Detector
from fastv.detector.of_file import resolve_detector
from fastv.errors import MissingExtraError, SettingsError
from fastv.formats.note import Note
from fastv.installation import how_to_install
from fastv.showers import Showers
from fastv.showers.checks import check_voxels


@dataclass(frozen=True)
class Item:
    """A data set of an HDF5 file: its shape and its numpy kind (``O`` for lists)."""

    shape: tuple[int, ...]
    kind: str


@dataclass(frozen=True)
class Layout:
    """The contents of a file, found without reading its data.

    Attributes:
        path: the file or folder.
        kind: type of the container.
        items: data sets at the top level of an HDF5 file, by name.
        attributes: names of the attributes of an HDF5 file.
        noted: the format named in FastV's note, if FastV wrote the file.
    """

    path: Path
    kind: Literal["hdf5", "root", "folder", "other"]
    items: Mapping[str, Item] = field(default_factory=dict)
    attributes: frozenset[str] = frozenset()
    noted: str | None = None


@dataclass(frozen=True)
class Asked:
    """What the user states about an input file.

    Attributes:
        mesh: the detector, or its name, see :meth:`fastv.detector.detector.Detector.named`.
        energy_scale: factor by which visible energies were divided.
        axes: order of the axes of a shower, as in ``layer,alpha,r``.
        energy_unit, voxel_unit: units of incident energies and of voxel energies; MeV if None.
    """

    mesh: Detector | str | None = None
    energy_scale: float | None = None
    axes: str | None = None
    energy_unit: str | None = None
    voxel_unit: str | None = None


@dataclass
class Outside:
    """Number of deposits outside the mesh, and their energy in MeV on the energy scale of the file."""

    deposits: int = 0
    energy: float = 0.0


class Reader(ABC):
    """An open file of some format, read in batches.

    Attributes:
        path: the file.
        detector: the detector of the showers.
        energy_scale: factor by which visible energies were divided before they were written.
        described: whether the file itself contains detector and energy scale, because FastV wrote it.
        provenance: how the showers were made, as far as the file contains it.
        not_kept: names of contents of the file that are not read.
        outside: deposits outside the mesh, omitted so far.
    """

    path: Path
    detector: Detector
    energy_scale: float
    described: bool
    provenance: Mapping[str, Any]
    not_kept: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outside = Outside()

    def describe(
        self,
        asked: Asked,
        note: Note | None,
        provenance: Mapping[str, Any],
        *,
        shape: tuple[int, ...] | None = None,
        hint: str = "",
    ) -> None:
        """Set detector, energy scale and provenance, from FastV's note or else from the user and the file.

        Args:
            asked: what the user states.
            note: FastV's note in the file, if there is one.
            provenance: provenance to use without a note.
            shape: (layer, alpha, r) of the showers in the file, if they are on a grid, or (V,).
            hint: part of the detector's name, if the format gives one.

        Raises:
            GeometryError: the detector is not given, is unknown, or does not fit the file.
            SettingsError: the user gives another energy scale than the file.
        """
        self.described = note is not None
        self.provenance = note.provenance if note else provenance
        self.detector = resolve_detector(
            self.path, asked.mesh, stored=note.detector if note else None, cells=shape, hint=hint
        )
        stored = note.energy_scale if note else None
        self.energy_scale = resolve_scale(self.path, asked.energy_scale, stored=stored, default=1.0)

    def checked(
        self,
        start: int,
        incident_energies: NDArray[Any],
        energies: NDArray[np.float32],
        theta: NDArray[Any] | None = None,
        phi: NDArray[Any] | None = None,
        pdg: NDArray[Any] | None = None,
        extra: Mapping[str, NDArray[Any]] | None = None,
    ) -> Showers:
        """Make the showers of a batch, checking that all values are physical.

        Args:
            start: number of the first shower.
            incident_energies: incident energies (n,) in MeV; conditions may have any numeric type.
            energies: voxel energies (n, V) in MeV.
            theta, phi: angles (n,) in rad.
            pdg: PDG codes (n,).
            extra: extra columns with n rows.

        Raises:
            FileFormatError: a voxel energy is NaN, infinite or negative, an incident energy is not above zero, an angle
                is not in rad, or a PDG code is not an integer; the message names file, shower and voxel.
        """
        where = str(self.path)
        rows = range(start, start + len(energies))
        columns = {"energy": incident_energies, "theta": theta, "phi": phi, "particle": pdg}
        conditions = Conditions(
            {
                name: checked(CONDITIONS[name], column, where, rows)
                for name, column in columns.items()
                if column is not None
            }
        )
        check_voxels(energies, where, rows)
        return Showers.of(conditions, energies, self.detector, extra=extra, provenance=self.provenance)

    @abstractmethod
    def __len__(self) -> int:
        """Number of showers."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[Showers]:
        """All showers in order, in batches of at most ``size``, checked to be physical.

        Raises:
            FileFormatError: the file is damaged, or a value is not physical.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Plan:
    """What a writer needs to know before it gets the first shower.

    Attributes:
        total: number of showers.
        detector: detector of the showers.
        energy_scale: factor by which the visible energies are divided.
        provenance: how the showers were made and converted.
        force: replace an existing output.
    """

    total: int
    detector: Detector
    energy_scale: float
    provenance: Mapping[str, Any]
    force: bool = False

    def note(self, format_name: str) -> Note:
        """The note that FastV stores in a file of the named format."""
        return Note(
            format=format_name,
            energy_scale=self.energy_scale,
            detector=self.detector,
            provenance=dict(self.provenance),
        )


class Writer(Protocol):
    """Writes the showers of a file, batch by batch."""

    def __call__(self, showers: Showers) -> None:
        """Write one batch; all batches have the same columns.

        Raises:
            OutputError: the format cannot store these showers, or the disk is full.
        """

    @property
    def not_kept(self) -> tuple[str, ...]:
        """Names of columns that the format cannot store."""


class FormatModule(Protocol):
    """The interface of a format's module."""

    recognises: Callable[[Layout], bool]
    """Whether a file is of this format."""
    read: Callable[[Path, Asked], Reader]
    """Open a file for reading."""
    written: Callable[[Path, Plan], AbstractContextManager[Writer]]
    """Write a file, which appears under its final name when the block ends without an error."""


@contextmanager
def needs_extra(what: str, packages: str, extra: str) -> Iterator[None]:
    """Turn a failed import into an error that names the extra to install.

    Raises:
        MissingExtraError: the block raised an ImportError.

    Example:
        >>> with needs_extra("par04-root", "uproot and awkward", "root"):
        ...     import no_such_package
        Traceback (most recent call last):
        fastv.errors.MissingExtraError: par04-root needs uproot and awkward; pip install 'awkward>=2.6' 'uproot>=5.3'
    """
    try:
        yield
    except ImportError as error:
        msg = f"{what} needs {packages}; {how_to_install(extra)}"
        raise MissingExtraError(msg) from error


def resolve_scale(path: Path, asked: float | None, *, stored: float | None, default: float) -> float:
    """The energy scale of a file: the stored one, or else the one that the user gives, or else the format's default.

    Args:
        path: the file, for the message.
        asked: the scale that the user gives.
        stored: the scale that the file contains.
        default: the usual scale of the format.

    Raises:
        SettingsError: the user gives another scale than the file.
    """
    if asked is not None and stored is not None and asked != stored:
        msg = f"{path} contains its energy scale, {stored:g}; leave `input_scale` out (got {asked:g})"
        raise SettingsError(msg)
    return next(scale for scale in (stored, asked, default) if scale is not None)


def scaled(energies: NDArray[Any], factor: float) -> NDArray[np.float32]:
    """Multiply energies by a factor in double precision and round once to float32.

    Example:
        >>> scaled(np.array([[1.0, 2.0]], dtype=np.float32), 0.5).tolist()
        [[0.5, 1.0]]
    """
    if factor == 1.0:
        return energies.astype(np.float32, copy=False)
    out = np.empty(energies.shape, dtype=np.float32)
    np.multiply(energies, factor, out=out, dtype=np.float64, casting="same_kind")
    return out
