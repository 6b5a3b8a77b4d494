"""The layout of the original VAE data (Zenodo 6082201): ``<SiW|SciPb>/<SiW|SciPb>_angle_<degrees>.h5``.

Each file has one data set per incident energy, named by the energy as an integer in GeV, with visible energies in MeV,
(N, r, alpha, z), 18 x 50 x 45 in the public data. The angle is the polar angle of the particle.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.errors import FileFormatError, GeometryError, OutputError
from fastv.formats import hdf5
from fastv.formats.contract import Asked, Layout, Plan, Reader, Writer
from fastv.formats.note import Note, attributes_as_provenance
from fastv.showers import Showers
from fastv.storage.guard import check_stored
from fastv.storage.hdf5 import GrowingFile, damage_named, growing, open_hdf5
from fastv.storage.output import written_whole

DETECTORS = ("SiW", "SciPb")
"""The detectors of the layout, as written in the names of its files."""

_FILE = re.compile(rf"({'|'.join(DETECTORS)})_angle_(\d+)\.h5", re.ASCII)
_ENERGY = re.compile(r"[1-9]\d{0,8}", re.ASCII)


def recognises(layout: Layout) -> bool:
    """Whether a folder has files named by detector and angle, or a file has data sets named by energy."""
    if layout.kind == "folder":
        return bool(_files(layout.path))
    return bool(layout.items) and all(
        _ENERGY.fullmatch(name) and len(item.shape) == 4 for name, item in layout.items.items()
    )


def _files(folder: Path) -> list[Path]:
    """The files of the layout in a folder or its subfolders, sorted by detector and angle."""
    found = [path for pattern in ("*.h5", "*/*.h5") for path in folder.glob(pattern) if _FILE.fullmatch(path.name)]
    return sorted(found, key=lambda path: (_name_parts(path) or ("", 0), path))


def _name_parts(path: Path) -> tuple[str, int] | None:
    """Detector and angle in degrees from the name of a file."""
    match = _FILE.fullmatch(path.name)
    return (match[1], int(match[2])) if match else None


class _Reader(Reader):
    """Reader of the files of one detector, by increasing angle and energy."""

    def __init__(self, path: Path, asked: Asked) -> None:
        super().__init__(path)
        self._open = ExitStack()
        try:
            self._find(asked)
        except BaseException:
            self.close()
            raise

    def _find(self, asked: Asked) -> None:
        files = _files(self.path) if self.path.is_dir() else [self.path]
        if not files:
            names = " or ".join(f"{name}_angle_<degrees>.h5" for name in DETECTORS)
            msg = f"{self.path}: no file {names} in the folder or its subfolders"
            raise FileFormatError(msg)
        parts = [_name_parts(file) for file in files]
        detectors = sorted({part[0] for part in parts if part})
        if len(detectors) > 1:
            folders = " or ".join(str(self.path / name) for name in detectors)
            msg = (
                f"{self.path} contains showers of {' and '.join(detectors)}; convert one detector at a time: {folders}"
            )
            raise FileFormatError(msg)
        self._pieces: list[tuple[h5py.File, str, float | None]] = []
        shapes: dict[tuple[int, ...], str] = {}
        note: Note | None = None
        provenance: dict[str, Any] = {}
        for file, part in zip(files, parts, strict=True):
            opened = self._open.enter_context(open_hdf5(file))
            with damage_named(file):
                note = Note.of(opened.attrs, file) or note
                provenance |= attributes_as_provenance(opened.attrs)
                for name, dataset in sorted(opened.items(), key=lambda item: (len(item[0]), item[0])):
                    self._check(file, opened, name, dataset)
                    check_stored(file, dataset)
                    shapes.setdefault(dataset.shape[1:], f"{name!r} of {file}")
                    self._pieces.append((opened, name, math.radians(part[1]) if part else None))
        if len(shapes) > 1:
            described = " and ".join(f"{where} has {' x '.join(map(str, shape))}" for shape, where in shapes.items())
            msg = f"{self.path}: the showers have different cells: {described}"
            raise FileFormatError(msg)
        if not shapes:
            msg = f"{self.path}: the files contain no data sets"
            raise FileFormatError(msg)
        r, alpha, z = (int(cells) for cells in next(iter(shapes)))
        hint = detectors[0] if detectors else ""
        self.describe(asked, note, provenance, shape=(z, alpha, r), hint=hint)

    @staticmethod
    def _check(path: Path, file: h5py.File, name: str, dataset: Any) -> None:
        if not _ENERGY.fullmatch(name):
            msg = f"{path}: {name!r} is not an integer energy in GeV; the file contains: {hdf5.contents(file)}"
            raise FileFormatError(msg)
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 4 or dataset.dtype.kind not in "fiu":
            msg = f"{path}: {name!r} must be numbers (N, r, alpha, z); the file contains: {hdf5.contents(file)}"
            raise FileFormatError(msg)

    def __len__(self) -> int:
        return sum(int(file[name].shape[0]) for file, name, _ in self._pieces)

    def batches(self, size: int) -> Iterator[Showers]:
        """All showers, by increasing angle and energy."""
        start = 0
        for file, name, theta in self._pieces:
            for _, energies in hdf5.grid_batches(self.path, file[name], size):
                n = len(energies)
                angles = None if theta is None else np.full(n, theta)
                yield self.checked(start, np.full(n, 1000.0 * int(name)), energies, angles)
                start += n

    def close(self) -> None:
        """Close the files."""
        self._open.close()


def read(path: Path, asked: Asked) -> Reader:
    """Open one file, or all files of one detector in a folder.

    Raises:
        FileFormatError: there is no such file, its names or shapes are wrong, it is damaged, or the folder has two
            detectors.
        GeometryError: the detector is unknown or does not fit the file.
    """
    return _Reader(path, asked)


class _Writer:
    """Sorts showers into one file per angle and one data set per energy."""

    def __init__(self, folder: Path, name: str, plan: Plan, files: ExitStack) -> None:
        self._folder, self._name, self._plan, self._files = folder, name, plan, files
        self._open: dict[int, GrowingFile] = {}
        self._shape = plan.detector.mesh.shape
        self.not_kept: tuple[str, ...] = ()

    def __call__(self, showers: Showers) -> None:
        """Append one batch.

        Raises:
            OutputError: an energy is not an integer in GeV, or an angle is missing or not an integer in degrees.
        """
        if showers.theta is None:
            msg = "zenodo-vae needs theta for the names of its files, and the input has none; give `theta`, as in 90deg"
            raise OutputError(msg)
        optional = {"phi": showers.phi, "pdg": showers.pdg}
        lost = [f"incident_{name}" for name, column in optional.items() if column is not None]
        self.not_kept = (*lost, *showers.extra)
        energies = _whole(showers.incident_energies / 1000, "an incident energy", "GeV")
        angles = _whole(np.degrees(showers.theta), "theta", "degrees")
        for angle, energy in sorted(set(zip(angles.tolist(), energies.tolist(), strict=True))):
            rows = (angles == angle) & (energies == energy)
            self._file(angle).append(str(energy), hdf5.as_grid(showers.energies[rows], self._shape))

    def _file(self, angle: int) -> GrowingFile:
        if angle not in self._open:
            path = self._folder / f"{self._name}_angle_{angle}.h5"
            self._open[angle] = self._files.enter_context(growing(path, self._plan.note("zenodo-vae").texts()))
        return self._open[angle]


def _whole(values: NDArray[np.float64], what: str, unit: str) -> NDArray[np.int64]:
    """Values as integers, which they must be up to float32 rounding."""
    whole = np.rint(values)
    if (bad := np.abs(values - whole) > 1e-6 * np.abs(values)).any() or (bad := whole < (unit == "GeV")).any():
        msg = (
            f"zenodo-vae needs incident energies that are integers in GeV and angles that are integers in degrees; "
            f"{what} is {values[np.argmax(bad)]:.6g} {unit} (par04-h5 stores any)"
        )
        raise OutputError(msg)
    return whole.astype(np.int64)


def _short_name(detector: Detector) -> str:
    names = [name for name in DETECTORS if name.lower() in detector.name.lower()]
    if len(names) != 1:
        msg = f"zenodo-vae stores the detectors {' and '.join(DETECTORS)}, not {detector.name}; par04-h5 stores any"
        raise GeometryError(msg)
    return names[0]


@contextmanager
def written(path: Path, plan: Plan) -> Iterator[Writer]:
    """Write a folder with one file per angle, which cannot store phi, particles and extra columns.

    Raises:
        GeometryError: the mesh is not regular, or the detector is not one of the layout.
        OutputError: the output exists, an energy or an angle does not fit the layout, or the disk is full.
    """
    _ = plan.detector.mesh.shape  # raises for an irregular mesh
    name = _short_name(plan.detector)
    with written_whole(path, force=plan.force, kind="showers") as temporary:
        folder = temporary / name
        folder.mkdir(parents=True)
        with ExitStack() as files:
            yield _Writer(folder, name, plan, files)
