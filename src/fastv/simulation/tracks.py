"""Files with the tracks of one event, for a display.

The file is HDF5. Data sets with one row per track: ``pdg``, ``energy`` (MeV), ``process``, ``number``, ``parent``; and
``first``, the row of its first point, followed by the number of all points. Data sets with one row per point:
``points`` and ``detector_points`` (mm), ``energies`` (MeV), ``times`` (ns). The attribute ``fastv`` is a JSON text with
format version, number of the event, detector and provenance. The names have the same meaning as in
:class:`fastv.simulation.transport.Track`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fastv.errors import FileFormatError
from fastv.storage.documents import DocumentError, parse_json
from fastv.storage.guard import check_stored
from fastv.storage.hdf5 import damage_named, open_hdf5, write_text
from fastv.storage.output import hdf5_written, written_whole

if TYPE_CHECKING:
    from fastv.detector.detector import Detector
    from fastv.simulation.transport import Track

FORMAT_VERSION = 1

_TRACK: Mapping[str, Any] = {
    "pdg": np.int32,
    "energy": np.float32,
    "process": "S",
    "number": np.int64,
    "parent": np.int64,
}
_CORNER: Mapping[str, Any] = {
    "points": np.float32,
    "detector_points": np.float32,
    "energies": np.float32,
    "times": np.float32,
}


@dataclass(frozen=True)
class Tracks:
    """All tracks of an event, as a few arrays.

    Attributes:
        columns: the data sets of the file by name.
    """

    columns: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, tracks: Sequence[Track]) -> Tracks:
        """Collect single tracks."""
        columns: dict[str, NDArray[Any]] = {
            name: np.array([getattr(track, name) for track in tracks], dtype=kind) for name, kind in _TRACK.items()
        }
        columns["first"] = np.cumsum([0, *(len(track.points) for track in tracks)], dtype=np.int64)
        for name in _CORNER:
            width = (3,) if name.endswith("points") else ()
            corners = [getattr(track, name) for track in tracks]
            columns[name] = np.concatenate([np.empty((0, *width)), *corners]).astype(np.float32)
        return cls(columns)

    def __len__(self) -> int:
        return len(self.columns["pdg"])

    def corners(self, track: int, *, detector: bool = False) -> NDArray[np.float32]:
        """Points (k, 3) of the track with index ``track`` in mm, in the frame of the shower or of the detector."""
        first, last = self.columns["first"][track : track + 2]
        points: NDArray[np.float32] = self.columns["detector_points" if detector else "points"][first:last]
        return points

    def write(
        self, path: str | Path, detector: Detector, event: int, provenance: Mapping[str, Any], *, force: bool = False
    ) -> None:
        """Write the tracks to a file.

        Args:
            path: the file.
            detector: the detector of the event.
            event: number of the event.
            provenance: how the event was simulated.
            force: replace an existing file.

        Raises:
            OutputError: the file exists and ``force`` is false, or the disk is full.
        """
        note = {
            "format_version": FORMAT_VERSION,
            "event": event,
            "detector": detector.model_dump(mode="json"),
            "provenance": dict(provenance),
        }
        with written_whole(path, force=force, kind="tracks") as temporary, hdf5_written(temporary) as file:
            for name, column in self.columns.items():
                file.create_dataset(name, data=column, compression="gzip" if len(column) else None)
            write_text(file, "fastv", json.dumps(note))


def read_tracks(path: str | Path) -> tuple[Tracks, dict[str, Any]]:
    """Read the tracks of a file and its attribute ``fastv``.

    Raises:
        FileFormatError: the file is missing, damaged, or holds no tracks.
    """
    path = Path(path)
    with open_hdf5(path) as file, damage_named(path):
        columns: dict[str, NDArray[Any]] = {}
        for name in (*_TRACK, "first", *_CORNER):
            data = file.get(name)
            if not isinstance(data, h5py.Dataset):
                msg = f"{path}: not a file of tracks: it has no {name!r}"
                raise FileFormatError(msg)
            columns[name] = _column(path, name, data)
        _check_together(path, columns)
        text = file.attrs.get("fastv")
        try:
            note = parse_json(text if isinstance(text, str | bytes) else "")
        except DocumentError as error:
            msg = f"{path}: the attribute 'fastv' of the tracks is damaged: {error}"
            raise FileFormatError(msg) from error
        if not isinstance(note, dict) or note.get("format_version") != FORMAT_VERSION:
            msg = f"{path}: the attribute 'fastv' of the tracks has no format version {FORMAT_VERSION}"
            raise FileFormatError(msg)
        return Tracks(columns), note


def _column(path: Path, name: str, data: h5py.Dataset) -> NDArray[Any]:
    """One data set as it was written: of the right kind and number of axes, and not larger than what is stored."""
    wanted = np.dtype({**_TRACK, **_CORNER, "first": np.int64}[name])
    width = (3,) if name.endswith("points") else ()
    fits = data.dtype.kind == wanted.kind and (wanted.kind == "S" or data.dtype.itemsize <= wanted.itemsize)
    if not fits or data.shape is None or data.ndim != 1 + len(width) or data.shape[1:] != width:
        came, shape = f"{data.dtype} of shape {data.shape}", "(N, 3)" if width else "(N,)"
        msg = f"{path}: damaged tracks: {name!r} is {came}, not {wanted} of shape {shape}"
        raise FileFormatError(msg)
    check_stored(path, data)
    column: NDArray[Any] = data[...]
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        msg = f"{path}: damaged tracks: {name!r} contains NaN or infinite values"
        raise FileFormatError(msg)
    return column


def _check_together(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Check that every track has one row in each of its columns, and its points in each of theirs."""
    tracks, corners = len(columns["pdg"]), len(columns["points"])
    for name, rows in {**dict.fromkeys(_TRACK, tracks), "first": tracks + 1, **dict.fromkeys(_CORNER, corners)}.items():
        if len(columns[name]) != rows:
            msg = f"{path}: damaged tracks: {name!r} has {len(columns[name])} rows where {rows} are needed"
            raise FileFormatError(msg)
    first = columns["first"]
    if first[0] != 0 or first[-1] != corners or np.any(np.diff(first) < 0):
        msg = f"{path}: damaged tracks: 'first' must rise from 0 to the number of points, {corners}"
        raise FileFormatError(msg)
