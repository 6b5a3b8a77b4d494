"""Plain CaloChallenge files: ``incident_energies`` (N, 1) and ``showers`` (N, V) in MeV, and nothing else.

Voxel energies are visible energies divided by the energy scale of the detector, 0.033 in data sets 2 and 3. A file
contains neither its mesh nor that scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fastv.detector.detector import Detector
from fastv.formats import hdf5
from fastv.formats.contract import Asked, Layout, Plan, Reader, Writer, resolve_scale
from fastv.formats.fastv import NativeReader
from fastv.formats.note import Note
from fastv.showers import Showers, ShowersFile
from fastv.storage.hdf5 import GrowingFile, damage_named, growing, open_hdf5
from fastv.storage.output import written_whole


def recognises(layout: Layout) -> bool:
    """Whether a file has flattened showers and incident energies under the names of CaloChallenge."""
    showers = layout.items.get("showers")
    return showers is not None and len(showers.shape) == 2 and "incident_energies" in layout.items


def read(path: Path, asked: Asked) -> Reader:
    """Open a file for reading.

    Raises:
        FileFormatError: a data set is missing or has the wrong shape, or the file is damaged.
        GeometryError: the detector is not given, is unknown, or does not fit the file.
        SettingsError: the user gives another energy scale than the file.
    """
    with open_hdf5(path) as file, damage_named(path):
        note = Note.of(file.attrs, path)
    named = Detector.named(asked.mesh) if isinstance(asked.mesh, str) else asked.mesh
    detector = note.detector if note and named is None else named
    showers = ShowersFile(path, detector, parameter="mesh")
    reader = NativeReader(path, showers)
    stored = note.energy_scale if note else None
    scale = resolve_scale(path, asked.energy_scale, stored=stored, default=showers.detector.energy_scale)
    reader.energy_scale = scale
    reader.detector = showers.detector.model_copy(update={"energy_scale": scale})
    reader.described = note is not None
    reader.provenance = note.provenance if note else showers.provenance
    return reader


class _PlainWriter:
    """Appends showers to a file."""

    def __init__(self, file: GrowingFile) -> None:
        self._file = file
        self.not_kept: tuple[str, ...] = ()

    def __call__(self, showers: Showers) -> None:
        optional = {"theta": showers.theta, "phi": showers.phi, "pdg": showers.pdg}
        lost = [f"incident_{name}" for name, column in optional.items() if column is not None]
        self.not_kept = (*lost, *showers.extra)
        incident = showers.incident_energies[:, None].astype(np.float32)
        hdf5.write_columns(self._file, {"incident_energies": incident, "showers": showers.energies})


@contextmanager
def written(path: Path, plan: Plan) -> Iterator[Writer]:
    """Write a file, which cannot store angles, particles and extra columns.

    Raises:
        OutputError: the output exists, or the disk is full.
    """
    with (
        written_whole(path, force=plan.force, kind="showers") as temporary,
        growing(temporary, plan.note("calochallenge").texts()) as file,
    ):
        yield _PlainWriter(file)
