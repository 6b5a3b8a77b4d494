"""Files with the hits of a fast simulation, linked to particles and events.

The file is HDF5, with four groups of columns:

* ``events``, a row an event: energies in MeV, see :data:`ACCOUNTS`, and ``first_particle``, the row of the first of its
  particles in ``particles``, followed by the number of all.
* ``primaries``, a row a primary particle: ``event``, ``primary`` (its number in the event), ``pdg``, kinetic ``energy``
  (MeV), ``position`` (mm), ``direction``, ``time`` (ns).
* ``particles``, a row a particle that enters the calorimeter: the same columns, ``primary`` being the one that it comes
  from; ``fate``, see :class:`fastv.fast_simulation.choice.Fate`; ``first_hit``, the row of its first hit in ``hits``,
  followed by the number of all.
* ``hits``, a row a hit: ``particle`` (its row), ``cell`` (the voxel in the mesh of that particle), ``energy`` (MeV, on
  the scale of voxel energies in a showers file), ``position`` (mm), ``time`` (ns) and ``fast``.

The attribute ``fastv`` is a JSON text with format version, detector and provenance.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fastv.conditions.record import Conditions
from fastv.detector.detector import Detector
from fastv.errors import FileFormatError
from fastv.fast_simulation.particles import PARTICLE_TYPES, Particles
from fastv.records import first_problem
from fastv.showers import Showers
from fastv.simulation.messages import packed_arrays, unpacked_arrays
from fastv.storage.documents import DocumentError, parse_json
from fastv.storage.guard import check_stored
from fastv.storage.hdf5 import GrowingFile, damage_named, growing, open_hdf5
from fastv.wording import counted

FORMAT_VERSION = 1

ACCOUNTS: Mapping[str, str] = {
    "incident": "of the primary particles",
    "front": "deposited in front of the calorimeter",
    "missed": "of particles that leave without entering the calorimeter",
    "declared": "of particles that enter and are left to the model",
    "simulated": "of particles that enter and are simulated",
    "generated": "of all hits of the model",
    "full": "of all hits of full simulation",
    "outside": "deposited in active material in full simulation, but outside of the mesh or below the threshold",
    "leaked": "of particles that leave the calorimeter in full simulation, backwards too",
}
"""The energies of an event in MeV. The first five are what particles can deposit: their kinetic energy, for positrons
with twice the mass of the electron; incident = front + missed + declared + simulated. So is ``leaked``. ``generated``,
``full`` and ``outside`` are on the scale of voxel energies, which add up to about the energy of the particle."""

_COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "events": {**dict.fromkeys(ACCOUNTS, np.float64), "first_particle": np.int64},
    "primaries": PARTICLE_TYPES,
    "particles": {**PARTICLE_TYPES, "fate": np.uint8, "first_hit": np.int64},
    "hits": {
        "particle": np.int64,
        "cell": np.int32,
        "energy": np.float32,
        "position": np.float32,
        "time": np.float32,
        "fast": np.uint8,
    },
}
_VECTORS = ("position", "direction")
_LINKS = (
    ("events", "first_particle", "particles"),
    ("particles", "first_hit", "hits"),
    ("hits", "particle", "particles"),
)
"""Columns that hold rows of other groups."""
_COUNTED = {
    **{(group, name): of for group, name, of in _LINKS},
    **{(group, "event"): "events" for group in ("primaries", "particles")},
}
"""The same, and those that hold numbers of events."""
_CHUNK_ROWS = 20_000


Columns = Mapping[str, Mapping[str, NDArray[Any]]]
"""The columns of a file of hits by group and name; rows, and numbers of events, are counted from 0."""


def columns_of(
    events: range,
    accounts: Mapping[str, NDArray[Any]],
    primaries: Particles,
    entered: Particles,
    fate: NDArray[np.uint8],
    hits: Mapping[str, NDArray[Any]],
) -> Columns:
    """The columns of a file of some events.

    Args:
        events: their numbers.
        accounts: the columns (n,) of :data:`ACCOUNTS`.
        primaries: primary particles of the events.
        entered: particles that enter the calorimeter, in the order of the events.
        fate: their :class:`~fastv.fast_simulation.choice.Fate`.
        hits: the columns of ``hits`` in the order of the particles, whose rows are those of ``entered``.
    """

    def counted(particles: Particles) -> Mapping[str, NDArray[Any]]:
        return {**particles.columns, "event": particles.event - events.start}

    first_particle = np.searchsorted(entered.event, np.arange(events.start, events.stop + 1))
    first_hit = np.searchsorted(hits["particle"], np.arange(len(entered) + 1))
    return {
        "events": {**{name: accounts[name] for name in ACCOUNTS}, "first_particle": first_particle},
        "primaries": counted(primaries),
        "particles": {**counted(entered), "fate": fate, "first_hit": first_hit},
        "hits": hits,
    }


def write_block(path: Path, columns: Columns) -> None:
    """Write the columns of a few events to a file that only :func:`read_block` reads: faster than HDF5.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    arrays = {
        f"{group}/{name}": columns[group][name].astype(dtype, copy=False)
        for group, types in _COLUMNS.items()
        for name, dtype in types.items()
    }
    path.write_bytes(packed_arrays(arrays))


def read_block(path: Path) -> Columns:
    """Read the columns of a file of :func:`write_block`, whose checksum must have been checked."""
    arrays = unpacked_arrays(path.read_bytes())
    return {group: {name: arrays[f"{group}/{name}"] for name in types} for group, types in _COLUMNS.items()}


class HitsWriter:
    """Appends events to a file; see :func:`hits_file`."""

    def __init__(self, file: GrowingFile) -> None:
        self._file = file
        self._rows = dict.fromkeys(("events", "particles", "hits"), 0)
        for group, columns in _COLUMNS.items():
            for name, dtype in columns.items():
                self._append(group, name, np.empty((0, 3) if name in _VECTORS else 0, dtype))

    def append(self, columns: Columns) -> None:
        """Append the events of :func:`columns_of`."""
        before = dict(self._rows)
        for group, types in _COLUMNS.items():
            for name in types:
                rows = columns[group][name]
                if name.startswith("first_"):
                    rows = rows[:-1]
                if (counted := _COUNTED.get((group, name))) is not None:
                    rows = rows + before[counted]
                self._append(group, name, rows)
            if group in before:
                self._rows[group] += len(rows)

    def finish(self) -> None:
        """Write what ends the columns of first rows."""
        self._append("events", "first_particle", np.array([self._rows["particles"]]))
        self._append("particles", "first_hit", np.array([self._rows["hits"]]))

    def _append(self, group: str, name: str, rows: NDArray[Any]) -> None:
        self._file.append(f"{group}/{name}", rows.astype(_COLUMNS[group][name], copy=False), _CHUNK_ROWS)


@contextmanager
def hits_file(path: Path, detector: Detector, provenance: Mapping[str, Any]) -> Iterator[HitsWriter]:
    """Yield a writer of a file under a temporary name.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    with growing(path, {"fastv": note_of(detector, provenance)}) as file:
        writer = HitsWriter(file)
        yield writer
        writer.finish()


def note_of(detector: Detector, provenance: Mapping[str, Any]) -> str:
    """The attribute ``fastv``: format version, detector and provenance as JSON."""
    content = {
        "format_version": FORMAT_VERSION,
        "detector": detector.model_dump(mode="json"),
        "provenance": dict(provenance),
    }
    return json.dumps(content)


@dataclass(frozen=True)
class Hits:
    """The hits of a fast simulation in memory.

    Attributes:
        detector: the detector.
        provenance: how they were made.
        events, primaries, particles, hits: the columns of the file by name.
    """

    detector: Detector
    provenance: Mapping[str, Any]
    events: Mapping[str, NDArray[Any]]
    primaries: Mapping[str, NDArray[Any]]
    particles: Mapping[str, NDArray[Any]]
    hits: Mapping[str, NDArray[Any]]

    @property
    def columns(self) -> Columns:
        """All columns by group."""
        return {group: getattr(self, group) for group in _COLUMNS}

    def showers(self, *, fast: bool | None = None) -> Showers:
        """The particles that enter the calorimeter as showers, each in its own mesh, to be evaluated or viewed.

        Args:
            fast: only generated ones, or only simulated ones; by default all.
        """
        of_model = self.particles["fate"] == 0
        rows = np.flatnonzero(np.ones_like(of_model) if fast is None else of_model == fast)
        found = Particles.of(**self.particles)[rows]
        energies = np.zeros((len(rows), self.detector.mesh.n_voxels), dtype=np.float32)
        place = np.full(len(of_model), -1)
        place[rows] = np.arange(len(rows))
        where = place[self.hits["particle"]]
        energies[where[where >= 0], self.hits["cell"][where >= 0]] = self.hits["energy"][where >= 0]
        conditions = Conditions.of(
            energy=found.energy, theta=found.theta, phi=found.phi, particle=found.pdg, detector=self.detector.name
        )
        extra = {"event": found.event}
        return Showers.of(conditions, energies, self.detector, extra=extra, provenance=dict(self.provenance))


def totals(path: str | Path) -> tuple[Counter[int], dict[str, float]]:
    """How many particles of a file have which fate, and the sums of :data:`ACCOUNTS` in MeV.

    Raises:
        FileFormatError: the file is missing, damaged, or holds no hits.
    """
    path = Path(path)
    with open_hdf5(path) as file, damage_named(path):
        _described(path, file)
        fate = _data(path, file, "particles", "fate")[...]
        sums = {name: float(_data(path, file, "events", name)[...].sum()) for name in ACCOUNTS}
    return Counter(dict(enumerate(np.bincount(fate).tolist()))), sums


def read_hits(path: str | Path) -> Hits:
    """Read a file of hits.

    Raises:
        FileFormatError: the file is missing, damaged, or holds no hits.
    """
    return next(read_in_spans(path))


def read_in_spans(path: str | Path, size: int | None = None) -> Iterator[Hits]:
    """Read a file of hits, ``size`` events at a time; rows that columns point to are counted within each span.

    Args:
        path: the file.
        size: number of events; by default all.

    Raises:
        FileFormatError: the file is missing, damaged, or holds no hits.
    """
    path = Path(path)
    with open_hdf5(path) as file, damage_named(path):
        detector, provenance = _described(path, file)
        sets = {group: {name: _data(path, file, group, name) for name in _COLUMNS[group]} for group in _COLUMNS}
        first_particle = _firsts(path, sets["events"]["first_particle"], len(sets["particles"]["pdg"]))
        first_hit = _firsts(path, sets["particles"]["first_hit"], len(sets["hits"]["cell"]))
        event_of_primary = sets["primaries"]["event"][...]
        events = len(first_particle) - 1
        for start in range(0, max(events, 1), size or max(events, 1)):
            stop = min(start + (size or events), events)
            rows = {"events": slice(start, stop), "particles": slice(*first_particle[[start, stop]].tolist())}
            rows["primaries"] = slice(*np.searchsorted(event_of_primary, (start, stop)).tolist())
            rows["hits"] = slice(*first_hit[[rows["particles"].start, rows["particles"].stop]].tolist())
            groups = {
                group: {name: _column(path, data, rows[group], name) for name, data in columns.items()}
                for group, columns in sets.items()
            }
            for group, name, of in _LINKS:
                groups[group][name] = groups[group][name] - rows[of].start
            _check_range(path, "hits/particle", groups["hits"]["particle"], len(groups["particles"]["pdg"]))
            _check_range(path, "hits/cell", groups["hits"]["cell"], detector.mesh.n_voxels)
            yield Hits(detector, provenance, **groups)


def _described(path: Path, file: h5py.File) -> tuple[Detector, Mapping[str, Any]]:
    """The detector and the provenance in the attribute of a file."""
    text = file.attrs.get("fastv")
    try:
        note = parse_json(text if isinstance(text, str | bytes) else "")
        if not isinstance(note, dict) or note.get("format_version") != FORMAT_VERSION or "hits" not in file:
            msg = f"its attribute 'fastv' and its group 'hits' are not those of format version {FORMAT_VERSION}"
            raise DocumentError(msg)
        detector = Detector.model_validate(note.get("detector"))
    except (DocumentError, ValidationError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else str(error)
        msg = f"{path}: not a file of hits: {reason}"
        raise FileFormatError(msg) from error
    provenance = note.get("provenance")
    return detector, provenance if isinstance(provenance, dict) else {}


def _data(path: Path, file: h5py.File, group: str, name: str) -> h5py.Dataset:
    """A column of the right type and shape, not larger than what is stored, whose length fits to the others."""
    data, wanted = file.get(f"{group}/{name}"), np.dtype(_COLUMNS[group][name])
    axes = 2 if name in _VECTORS else 1
    if (
        not isinstance(data, h5py.Dataset)
        or data.dtype != wanted
        or data.ndim != axes
        or data.shape[1:] not in ((), (3,))
    ):
        msg = f"{path}: damaged hits: {group}/{name} is not {wanted} of shape {'(N, 3)' if axes == 2 else '(N,)'}"
        raise FileFormatError(msg)
    check_stored(path, data)
    rows = len(file[f"{group}/{next(iter(_COLUMNS[group]))}"]) + name.startswith("first_")
    if len(data) != rows:
        msg = f"{path}: damaged hits: {group}/{name} has {counted(len(data), 'row')}, not {rows}"
        raise FileFormatError(msg)
    return data


def _column(path: Path, data: h5py.Dataset, rows: slice, name: str) -> NDArray[Any]:
    column: NDArray[Any] = data[rows.start : rows.stop + name.startswith("first_")]
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        msg = f"{path}: damaged hits: {data.name[1:]} contains NaN or infinite values"
        raise FileFormatError(msg)
    return column


def _firsts(path: Path, data: h5py.Dataset, count: int) -> NDArray[np.int64]:
    """A column of first rows in another group, which has ``count`` rows."""
    first: NDArray[np.int64] = data[...]
    if first[0] != 0 or first[-1] != count or np.any(np.diff(first) < 0):
        msg = f"{path}: damaged hits: {data.name[1:]} must rise from 0 to the number of rows, {count}"
        raise FileFormatError(msg)
    return first


def _check_range(path: Path, name: str, column: NDArray[Any], limit: int) -> None:
    if column.size and (column.min() < 0 or column.max() >= limit):
        msg = f"{path}: damaged hits: {name} must be from 0 to {limit - 1}"
        raise FileFormatError(msg)
