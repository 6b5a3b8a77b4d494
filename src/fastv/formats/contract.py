"""What a format's module offers: recognise a file, read it in batches, write one.

Voxel energies pass between reader and writer as :class:`~fastv.showers.Showers`, flattened (layer, alpha, r), divided
by the energy scale that each side tells: a reader yields what its file holds, a writer gets what its file shall hold.
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

from fastv.conditions import CONDITIONS
from fastv.detector.detector import Detector
from fastv.detector.of_file import resolve_detector
from fastv.errors import MissingExtraError, SettingsError
from fastv.formats.note import Note
from fastv.showers import Showers
from fastv.showers.checks import check_voxels
from fastv.showers.conditions import Conditions, checked


@dataclass(frozen=True)
class Item:
    """One data set of an HDF5 file: its shape, and the kind of its numbers as numpy calls it (``O``: lists)."""

    shape: tuple[int, ...]
    kind: str


@dataclass(frozen=True)
class Layout:
    """What can be told of a file without reading its data.

    Attributes:
        path: the file or folder.
        kind: of the container.
        items: data sets at the top of an HDF5 file.
        attributes: names of the attributes of an HDF5 file.
        noted: the format that FastV itself noted when it wrote the file.
    """

    path: Path
    kind: Literal["hdf5", "root", "folder", "other"]
    items: Mapping[str, Item] = field(default_factory=dict)
    attributes: frozenset[str] = frozenset()
    noted: str | None = None


@dataclass(frozen=True)
class Asked:
    """What the user says of an input that does not tell it.

    Attributes:
        mesh: detector, or its name as :meth:`fastv.detector.detector.Detector.named` takes it.
        energy_scale: what the visible energy was divided by.
    """

    mesh: Detector | str | None = None
    energy_scale: float | None = None


@dataclass
class Outside:
    """Deposits that a file has outside the mesh, and their energy in the units of the file."""

    deposits: int = 0
    energy: float = 0.0


class Reader(ABC):
    """An open file of some format, read in batches.

    Attributes:
        path: the file.
        detector: whose mesh the voxels are of.
        energy_scale: what the visible energy was divided by before it was written.
        described: whether the file itself tells detector and energy scale, since FastV wrote it.
        provenance: how the showers were made, as far as the file tells.
        not_kept: names of what the file holds and a showers file cannot.
        outside: deposits outside the mesh that were read so far and left out.
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
        shape: tuple[int, int, int] | None = None,
        hint: str = "",
    ) -> None:
        """Set detector, energy scale and provenance, from FastV's note or from what the user and the file tell.

        Args:
            asked: what the user says.
            note: FastV's note in the file.
            provenance: what the file tells without a note.
            shape: (layer, alpha, r) of the showers in the file, if they are on a grid.
            hint: part of the name of the detector, where a format tells it.

        Raises:
            GeometryError: the mesh is not known or does not fit.
            SettingsError: the user says what the file tells otherwise.
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
        """The showers of a batch, if all of their values are physical.

        Args:
            start: number of the first shower.
            incident_energies: (n,) MeV, of any type of numbers, as what follows.
            energies: (n, V) MeV.
            theta, phi: (n,) rad.
            pdg: (n,) particle codes.
            extra: further columns.

        Raises:
            FileFormatError: a voxel is NaN, infinite or negative, an incident energy is not above zero, an angle is not
                in rad, or a particle code is no whole number; the message names file, shower and voxel.
        """
        where = str(self.path)
        rows = range(start, start + len(energies))
        told = {"energy": incident_energies, "theta": theta, "phi": phi, "particle": pdg}
        conditions = Conditions(
            {
                name: checked(CONDITIONS[name], column, where, rows)
                for name, column in told.items()
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
        """All showers in order, at most ``size`` at a time, checked to be physical.

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
    """What a writer needs to know before the first shower.

    Attributes:
        total: number of showers that will come.
        detector: of the showers.
        energy_scale: what the visible energy of the showers is divided by.
        provenance: how the showers were made, and the conversion.
        force: replace an existing output.
    """

    total: int
    detector: Detector
    energy_scale: float
    provenance: Mapping[str, Any]
    force: bool = False

    def note(self, format_name: str) -> Note:
        """The note that FastV leaves in a file of some format."""
        return Note(
            format=format_name,
            energy_scale=self.energy_scale,
            detector=self.detector,
            provenance=dict(self.provenance),
        )


class Writer(Protocol):
    """Takes the showers of a file, one batch after another."""

    def __call__(self, showers: Showers) -> None:
        """Write one batch; the columns of all batches are the same.

        Raises:
            OutputError: the format cannot hold these showers, or the disk is full.
        """

    @property
    def not_kept(self) -> tuple[str, ...]:
        """Names of columns that the format has no place for."""


class FormatModule(Protocol):
    """The module of a format."""

    recognises: Callable[[Layout], bool]
    """Whether a file is of this format."""
    read: Callable[[Path, Asked], Reader]
    """Open a file for reading."""
    written: Callable[[Path, Plan], AbstractContextManager[Writer]]
    """Write a file, which appears under its name when the block ends without an error."""


@contextmanager
def needs_extra(what: str, packages: str, extra: str) -> Iterator[None]:
    """Turn a failed import into the error that names the extra to install.

    Raises:
        MissingExtraError: the block raised an ImportError.

    Example:
        >>> with needs_extra("par04-root", "uproot and awkward", "root"):
        ...     import no_such_package
        Traceback (most recent call last):
        fastv.errors.MissingExtraError: par04-root needs uproot and awkward; pip install 'fastv-hep[root]'
    """
    try:
        yield
    except ImportError as error:
        msg = f"{what} needs {packages}; pip install 'fastv-hep[{extra}]'"
        raise MissingExtraError(msg) from error


def resolve_scale(path: Path, asked: float | None, *, stored: float | None, default: float) -> float:
    """The energy scale of a file: what it tells itself, what the user says, or what is usual for its format.

    Raises:
        SettingsError: the user says what the file tells otherwise.
    """
    if asked is not None and stored is not None and asked != stored:
        msg = f"{path} tells its energy scale itself, {stored:g}; leave `input_scale` out, it says {asked:g}"
        raise SettingsError(msg)
    return next(scale for scale in (stored, asked, default) if scale is not None)


def scaled(energies: NDArray[Any], factor: float) -> NDArray[np.float32]:
    """Energies times a factor, multiplied in double precision and rounded once to float32.

    Example:
        >>> scaled(np.array([[1.0, 2.0]], dtype=np.float32), 0.5).tolist()
        [[0.5, 1.0]]
    """
    if factor == 1.0:
        return energies.astype(np.float32, copy=False)
    out = np.empty(energies.shape, dtype=np.float32)
    np.multiply(energies, factor, out=out, dtype=np.float64, casting="same_kind")
    return out
