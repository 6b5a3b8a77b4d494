"""Showers in memory and in their HDF5 file, read lazily and written in blocks that survive a kill.

The file is a superset of the CaloChallenge layout: ``incident_energies`` (N, 1) and ``showers`` (N, V) in MeV, optional
``incident_theta``, ``incident_phi`` (N, 1) in rad and ``incident_pdg`` (N,), any other data set with N rows of numbers
as an extra column (what has no N rows is not read), and an attribute ``fastv`` with a JSON text: format version,
detector (with mesh, energy scale, threshold) and provenance.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fastv.detector.detector import PRESETS, Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import FastVError, FileFormatError, GeometryError, OutputError, SettingsError
from fastv.records import first_problem
from fastv.storage.output import check_free, hdf5_written, readable_os_errors, reserve, written_whole

if sys.platform != "win32":
    import fcntl

FORMAT_VERSION = 2
"""Version 2 tells the detector's material as a stack; version 1 had four fields for it, which are still read."""
BLOCK_ROWS = 1000
"""Showers a block of :class:`ShowersWriter` by default; the unit in which work is done, kept and resumed."""

_CONDITIONS = ("incident_theta", "incident_phi", "incident_pdg")
_REQUIRED = ("incident_energies", "showers")
_READ_BYTES = 2**28
"""Memory that one read may take to meet the chunks of a file halfway."""


@dataclass(frozen=True)
class Showers:
    """Showers in memory.

    Attributes:
        incident_energies: (N,) MeV, float64.
        energies: voxel energies (N, V) MeV, float32, flattened (layer, alpha, r), r fastest.
        detector: the detector whose mesh gives V its meaning.
        theta, phi: (N,) rad, or None.
        pdg: (N,) particle codes, or None.
        extra: further columns with N rows, such as ``cpu_seconds``.
        provenance: how the showers were made (engine, version, physics, seed or model digest).
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
            msg = f"energies must have the shape (N, V), they have {self.energies.shape}"
            raise GeometryError(msg)
        n, v = self.energies.shape
        if v != self.detector.mesh.n_voxels:
            msg = f"showers have {v} voxels, the mesh of {self.detector.name} has {self.detector.mesh.n_voxels}"
            raise GeometryError(msg)
        flat = {"incident_energies": self.incident_energies, "theta": self.theta, "phi": self.phi, "pdg": self.pdg}
        for name, column in flat.items():
            if column is not None and np.ndim(column) != 1:
                msg = f"{name} must have the shape (N,), it has {np.shape(column)}"
                raise FileFormatError(msg)
        for name, column in {**flat, **self.extra}.items():
            if column is not None and len(column) != n:
                msg = f"{name} has {len(column)} rows, showers have {n}"
                raise FileFormatError(msg)

    def __len__(self) -> int:
        return len(self.energies)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Showers:
        """Some of the showers, by slice, mask or indices."""
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
    def mesh(self) -> ReadoutMesh:
        """The readout mesh."""
        return self.detector.mesh

    @property
    def grid(self) -> NDArray[np.float32]:
        """Voxel energies (N, layer, alpha, r) of a regular mesh, a view."""
        return self.energies.reshape(-1, *self.mesh.shape)

    def write(self, path: str | Path, *, force: bool = False, gzip_level: int = 1) -> None:
        """Write one complete file.

        ``gzip_level`` 9 packs some 10 % denser than 1 and takes several times as long. The packed file is made in
        memory first; :class:`ShowersWriter` writes what does not fit there.

        Raises:
            OutputError: the file exists and ``force`` is false, a value is not physical, or the disk is full.
        """
        check_free(path, force=force)
        with written_whole(path, force=force) as temporary:
            _write_file(temporary, self, gzip_level)


def joined(parts: Sequence[Showers]) -> Showers:
    """Several showers of the same detector and columns as one.

    Example:
        >>> from fastv.sample import sample_path
        >>> with ShowersFile(sample_path("train")) as file:
        ...     len(joined([file[:2], file[5:6]]))
        3
    """
    first = parts[0]
    columns: dict[str, Any] = {
        name: None if getattr(first, name) is None else np.concatenate([getattr(part, name) for part in parts])
        for name in ("incident_energies", "energies", "theta", "phi", "pdg")
    }
    extra = {name: np.concatenate([part.extra[name] for part in parts]) for name in first.extra}
    return replace(first, **columns, extra=extra)


class ShowersFile:
    """A showers file, opened lazily: only what is sliced is read.

    Args:
        path: the HDF5 file.
        detector: the detector, or its name (see :meth:`Detector.named`), for a plain CaloChallenge file without the
            ``fastv`` attribute.

    Raises:
        FileFormatError: the file is missing, truncated, or not of this format.
        GeometryError: the mesh is not known or does not have as many voxels as the file.

    Example:
        >>> from fastv.sample import sample_path
        >>> with ShowersFile(sample_path("test")) as file:
        ...     first = file[:10]
        >>> first.grid.shape
        (10, 45, 16, 9)
    """

    def __init__(self, path: str | Path, detector: Detector | str | None = None) -> None:
        self.path = Path(path)
        self._file = _open(self.path)
        self._held: NDArray[Any] | None = None
        try:
            with _damage_named(self.path):
                self._check_layout()
                self.format_version, stored, self.provenance = _read_attribute(self.path, self._file)
            self.detector = self._resolve_detector(stored, detector)
        except BaseException:
            with suppress(Exception):
                self._file.close()
            raise

    def _check_layout(self) -> None:
        items = dict(self._file.items())
        found = ", ".join(sorted(items)) or "nothing"
        for name in _REQUIRED:
            if not isinstance(items.get(name), h5py.Dataset):
                what = "is a group, not a data set" if name in items else "is missing"
                msg = f"{self.path}: {name!r} {what}; the file holds: {found}"
                raise FileFormatError(msg)
        showers = items["showers"]
        if showers.shape is None or showers.ndim != 2 or showers.dtype.kind != "f":
            msg = f"{self.path}: 'showers' must be floating-point (N, V), it is {showers.dtype} {showers.shape}"
            raise FileFormatError(msg)
        rows = int(showers.shape[0])
        for name in ("incident_energies", *_CONDITIONS):
            if name not in items:
                continue
            dataset = items[name]
            if not _is_column(dataset, rows) or dataset.size != rows:
                what = f"{dataset.dtype} {dataset.shape}" if isinstance(dataset, h5py.Dataset) else "no data set"
                msg = f"{self.path}: {name!r} must hold one number for each of {rows} showers (N, 1), it is {what}"
                raise FileFormatError(msg)
        self._rows = rows
        self._columns = [name for name, item in items.items() if name != "showers" and _is_column(item, rows)]
        self._chunk_rows = int(showers.chunks[0]) if showers.chunks else 1

    def _resolve_detector(self, stored: Detector | None, given: Detector | str | None) -> Detector:
        named = Detector.named(given) if isinstance(given, str) else given
        detector = stored or named
        voxels = int(self._file["showers"].shape[1])
        if detector is None:
            fitting = [name for name, preset in PRESETS.items() if preset.mesh.n_voxels == voxels]
            known = f"--mesh {' or '.join(fitting)}" if fitting else f"none of {', '.join(PRESETS)} has so many"
            msg = f"{self.path}: a plain CaloChallenge file does not tell its mesh; name it ({voxels} voxels: {known})"
            raise GeometryError(msg)
        if stored and named and stored.mesh != named.mesh:
            msg = f"{self.path}: the file is of {stored.name}, whose mesh is not that of {named.name}"
            raise GeometryError(msg)
        if voxels != detector.mesh.n_voxels:
            msg = (
                f"{self.path}: wrong voxel count: the file has {voxels} voxels a shower, "
                f"the mesh of {detector.name} has {detector.mesh.n_voxels}"
            )
            raise GeometryError(msg)
        return detector

    @property
    def columns(self) -> list[str]:
        """Names of all data sets with a row per shower, but ``showers``."""
        return list(self._columns)

    @property
    def mesh(self) -> ReadoutMesh:
        """The readout mesh."""
        return self.detector.mesh

    def __len__(self) -> int:
        return self._rows

    def _read(self, name: str, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Rows of one data set; a column with one value a row comes as (N,)."""
        if not self._file:
            msg = f"{self.path}: the file is closed"
            raise ValueError(msg)
        with _damage_named(self.path):
            dataset = self._file[name]
            data: NDArray[Any]
            if name == "showers" and self._held is not None:
                data = self._held[rows]
            elif isinstance(rows, slice):
                data = dataset[rows]
            else:
                data = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
                for run, wanted in self._runs(rows, dataset):
                    data[wanted] = dataset[run][rows[wanted] - run.start]
            if name != "showers" and data.ndim == 2 and data.shape[1] == 1:
                data = data[:, 0]
            return data

    def _runs(self, rows: NDArray[np.int64], dataset: h5py.Dataset) -> Iterator[tuple[slice, NDArray[np.int64]]]:
        """Consecutive pieces of a data set that hold all wanted rows, and which of them each holds.

        HDF5 selects scattered rows one by one and unpacks their chunks again and again; a piece is unpacked once.
        """
        step = max(self._chunk_rows, 64)
        if step * dataset.dtype.itemsize * int(np.prod(dataset.shape[1:])) > _READ_BYTES:
            step = 64
        order = np.argsort(rows, kind="stable")
        pieces = rows[order] // step
        for wanted in np.split(order, np.flatnonzero(np.diff(pieces)) + 1) if rows.size else []:
            yield slice(int(rows[wanted[0]]), int(rows[wanted[-1]]) + 1), wanted

    @cached_property
    def incident_energies(self) -> NDArray[np.float64]:
        """All incident energies (N,) in MeV, checked to be finite and above zero.

        Raises:
            FileFormatError: an energy is not, or the file is damaged.
        """
        # Piece by piece: a damaged file may claim more rows than fit into memory, and the first false one is enough.
        pieces = [np.empty(0)]
        for start in range(0, len(self), 2**20):
            energies = self._read("incident_energies", slice(start, start + 2**20)).reshape(-1).astype(np.float64)
            _check_incident(energies, str(self.path), start)
            pieces.append(energies)
        return np.concatenate(pieces)

    def hold(self, most: int) -> bool:
        """Keep all voxel energies in memory, if they take at most so many bytes: what passes often unpacks them once.

        Whatever reads the file has the same results; slices are then views that cannot be written to.

        Returns:
            Whether they are kept.

        Raises:
            FileFormatError: the file is damaged.

        Example:
            >>> from fastv.sample import sample_path
            >>> with ShowersFile(sample_path("test")) as file:
            ...     file.hold(10**6), file.hold(10**8)
            (False, True)
        """
        dataset = self._file["showers"]
        if self._held is None and dataset.size * dataset.dtype.itemsize <= most:
            self._held = self._read("showers", slice(None))
            self._held.flags.writeable = False
        return self._held is not None

    def column(self, name: str) -> NDArray[Any]:
        """One whole data set other than ``showers``: (N,), or (N, k) where a shower has several values.

        Raises:
            FileFormatError: there is no such column; the message lists those there are.
        """
        if name not in self._columns:
            msg = f"{self.path}: no column {name!r}; the file has: {', '.join(self._columns)}"
            raise FileFormatError(msg)
        return self._read(name, slice(None))

    def __getitem__(self, rows: slice | NDArray[Any]) -> Showers:
        """Read showers by slice, mask (N,) or indices in any order; energies are checked.

        Raises:
            FileFormatError: a voxel is NaN, infinite or negative, an incident energy is not above zero, an angle is not
                in rad, or the file is damaged.
            IndexError: an index lies outside the file.
        """
        if not isinstance(rows, slice):
            rows = _as_indices(rows, len(self))
        elif rows.step is not None and rows.step < 0:
            rows = np.arange(len(self))[rows]
        incident_energies = self.incident_energies[rows]
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused
            energies = self._read("showers", rows).astype(np.float32, copy=False)
        if bad := _bad_voxel(energies):
            row, voxel = bad
            shower = int(np.arange(len(self))[rows][row])
            msg = (
                f"{self.path}: voxel {voxel} of shower {shower} is {energies[row, voxel]} MeV; "
                "voxel energies must be finite and not negative"
            )
            raise FileFormatError(msg)
        columns = {name: self._read(name, rows) for name in self._columns if name != "incident_energies"}
        theta, phi, pdg = (columns.pop(name, None) for name in _CONDITIONS)
        _check_angles(theta, phi, str(self.path))
        return Showers(
            incident_energies=incident_energies,
            energies=energies,
            detector=self.detector,
            theta=None if theta is None else theta.astype(np.float64),
            phi=None if phi is None else phi.astype(np.float64),
            pdg=None if pdg is None else _as_codes(pdg, str(self.path)),
            extra=columns,
            provenance=self.provenance,
        )

    def batches(self, size: int = BLOCK_ROWS) -> Iterator[Showers]:
        """All showers in order, ``size`` at a time.

        Chunks longer than ``size`` are not unpacked anew for every batch: within some memory, several batches are read
        at once.
        """
        for span in self._spans(size):
            read = self[span]
            yield from (read[first : first + size] for first in range(0, len(read), size))

    def unchecked(self, size: int = BLOCK_ROWS) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float32]]]:
        """Incident energies (n,) and voxel energies (n, V) as they are stored, damaged ones too, ``size`` at a time.

        For checks that count what :meth:`batches` refuses.
        """
        for span in self._spans(size):
            incident = self._read("incident_energies", span).reshape(-1).astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                energies = self._read("showers", span).astype(np.float32, copy=False)
            for first in range(0, len(energies), size):
                yield incident[first : first + size], energies[first : first + size]

    def _spans(self, size: int) -> Iterator[slice]:
        """All rows in spans that are read at once: whole batches that, memory allowing, hold a chunk of the file."""
        if size < 1:
            msg = f"a batch must have at least one shower, got {size}"
            raise ValueError(msg)
        several = -(-self._chunk_rows // size)
        if several * size * self.mesh.n_voxels * 4 > _READ_BYTES:
            several = 1
        for start in range(0, len(self), several * size):
            yield slice(start, start + several * size)

    def close(self) -> None:
        """Close the file, and let go of what is held."""
        self._file.close()
        self._held = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ShowersWriter:
    """Write a showers file block by block, so that a kill at any moment loses no finished block.

    Finished blocks lie in ``.<name>.parts`` beside the output. :meth:`finish` joins them, without packing the data
    again, into a temporary file, renames it and removes the blocks. ``request`` describes what is being written; blocks
    of another request are never mixed in. Only one writer at a time holds an output.

    Blocks may be written in any order. How large they were is seen in the file only where they are smaller than its
    usual chunks, or do not divide :data:`BLOCK_ROWS`: then its chunks are cut or placed in another way.

    Args:
        path: the final file.
        total: number of showers; block i holds the showers from ``i * block_rows`` on.
        request: what makes this output what it is (model digest, seed, conditions), as JSON data.
        block_rows: showers a block, :data:`BLOCK_ROWS` by default; fewer where each one is expensive. A resumed run
            needs that of the interrupted one, which :meth:`left_behind` tells.
        resume: continue blocks left by an interrupted run; one that was killed after its file was complete has nothing
            missing.
        force: replace an existing output and forget blocks left behind (unless ``resume``).

    Raises:
        OutputError: the output exists; or blocks are left and neither ``resume`` nor ``force`` is given; or the blocks
            left are of another request; or another program is writing this output.
        SettingsError: ``total`` or ``block_rows`` is below one.

    Example:
        >>> import tempfile
        >>> from fastv.sample import sample_path
        >>> path = Path(tempfile.mkdtemp()) / "copy.h5"
        >>> with ShowersFile(sample_path("train")) as file:
        ...     writer = ShowersWriter(path, total=len(file), request={"copy of": file.path.name})
        ...     for block in writer.missing():
        ...         writer.write_block(block, file[writer.rows(block)])
        ...     writer.finish()
        >>> len(ShowersFile(path))
        600
    """

    def __init__(
        self,
        path: str | Path,
        total: int,
        request: Mapping[str, Any],
        *,
        block_rows: int | None = None,
        resume: bool = False,
        force: bool = False,
    ) -> None:
        self._lock: int | None = None
        self.total = total
        self.block_rows = BLOCK_ROWS if block_rows is None else block_rows
        for what, number in {"the number of showers": total, "the number of showers a block": self.block_rows}.items():
            if number < 1:
                msg = f"{what} must be at least 1, got {number}"
                raise SettingsError(msg)
        text = _json({"total": total, "block_rows": self.block_rows, **request}, sort_keys=True)
        self._complete = resume and not force and _is_left_complete(Path(path), text)
        self.path = check_free(path, force=force or self._complete)
        self._force = force
        self._parts = _parts_of(self.path)
        note = self._parts / "request.json"
        with readable_os_errors(self.path):
            found = self._parts.exists()
            self._parts.mkdir(exist_ok=True)
            self._lock = _locked(self._parts / "lock", self.path)
            try:
                if found and not resume:
                    if not force and note.exists():
                        msg = (
                            f"{self.path}: an interrupted run left finished showers; "
                            "--resume continues, --force starts over"
                        )
                        raise OutputError(msg)
                    self._forget()
                if not note.exists():
                    _write_text(note, text)
                elif note.read_text(encoding="utf-8") != text:
                    msg = f"{self.path}: {self._difference(request)}; use them with --resume, or --force"
                    raise OutputError(msg)
                self._drop_damaged()
            except BaseException:
                self.close()
                raise

    @staticmethod
    def left_behind(path: str | Path) -> dict[str, Any] | None:
        """What an interrupted run was writing to ``path``: its request, ``total`` and ``block_rows``; None without one.

        Example:
            >>> ShowersWriter.left_behind("never-written.h5") is None
            True
        """
        try:
            left = json.loads((_parts_of(Path(path)) / "request.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return left if isinstance(left, dict) else None

    def _difference(self, request: Mapping[str, Any]) -> str:
        left = self.left_behind(self.path) or {}
        mine = json.loads(_json({"total": self.total, **request}))
        if {**left, "block_rows": self.block_rows} == {**mine, "block_rows": self.block_rows}:
            return f"the interrupted run had blocks of {left['block_rows']} showers, not of {self.block_rows}"
        return "the interrupted run had other settings"

    def _forget(self, keep: Sequence[str] = ("lock",)) -> None:
        """Remove what a run has left, but for the lock that we hold."""
        for left in self._parts.iterdir():
            if left.name not in keep:
                left.unlink()

    def _drop_damaged(self) -> None:
        """Forget blocks that a crash of the machine has damaged, and temporary files of a killed run."""
        for left in self._parts.glob("*.part"):
            left.unlink()
        for block in range(self.n_blocks):
            path = self._block_path(block)
            if not path.exists():
                continue
            rows = self.rows(block)
            try:
                with ShowersFile(path) as part:
                    whole = len(part) == rows.stop - rows.start
            except FastVError:
                whole = False
            if not whole:
                path.unlink()

    @property
    def n_blocks(self) -> int:
        """Number of blocks of the whole output."""
        return -(-self.total // self.block_rows)

    def rows(self, block: int) -> slice:
        """The showers of a block."""
        return slice(block * self.block_rows, min((block + 1) * self.block_rows, self.total))

    def missing(self) -> list[int]:
        """Blocks still to be written."""
        if self._complete:
            return []
        return [block for block in range(self.n_blocks) if not self._block_path(block).exists()]

    def _block_path(self, block: int) -> Path:
        return self._parts / f"{block:06d}.h5"

    def write_block(self, block: int, showers: Showers) -> None:
        """Keep one finished block.

        Raises:
            OutputError: the disk is full, or a value is not physical.
            ValueError: the output has no such block, or it has another number of showers.
        """
        rows = self.rows(block)
        if not 0 <= block < self.n_blocks or len(showers) != rows.stop - rows.start:
            wanted = f"has {rows.stop - rows.start} showers" if 0 <= block < self.n_blocks else "does not exist"
            msg = f"block {block} {wanted}, got {len(showers)} showers"
            raise ValueError(msg)
        path = self._block_path(block)
        temporary = path.with_suffix(".part")
        try:
            with readable_os_errors(self.path):
                _write_file(temporary, showers, block_rows=self.block_rows)
                temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def finish(self) -> None:
        """Join the blocks, give the file its final name and remove the blocks.

        Raises:
            OutputError: blocks are missing or do not fit together, or the disk is full; the blocks are kept.
        """
        if missing := self.missing():
            msg = f"{self.path}: {len(missing)} blocks are missing, the first is {missing[0]}"
            raise OutputError(msg)
        if not self._complete:
            joined = self._parts / "joined.part"
            with written_whole(self.path, force=self._force, temporary=joined):
                _join([self._block_path(block) for block in range(self.n_blocks)], joined, self.total, self.block_rows)
        with suppress(OSError):
            # The request goes last: a kill before that leaves what tells the next run that all is done.
            self._forget(keep=("lock", "request.json"))
            shutil.rmtree(self._parts)
        self.close()

    def close(self) -> None:
        """Let go of the output; finished blocks stay for a later ``resume``."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __del__(self) -> None:
        self.close()


def _parts_of(path: Path) -> Path:
    """The folder of the blocks of an output."""
    path = path.resolve() if path.is_symlink() else path
    return path.with_name(f".{path.name}.parts")


def _is_left_complete(path: Path, request: str) -> bool:
    """Whether a run of this request was killed between giving its file the final name and cleaning up."""
    parts = _parts_of(path)
    try:
        if not path.is_file() or (parts / "request.json").read_text(encoding="utf-8") != request:
            return False
        # The file may be an older one that the killed run was about to replace: what it holds decides.
        with ShowersFile(path) as whole:
            if len(whole) != json.loads(request)["total"] or (parts / "joined.part").exists():
                return False
            left = next(parts.glob("*.h5"), None)
            if left is None:
                return True
            with ShowersFile(left) as block:
                return whole.provenance == block.provenance and whole.detector == block.detector
    except (OSError, ValueError, FastVError):
        return False


def _locked(path: Path, output: Path) -> int | None:
    """Hold a lock that ends with this process, however it ends; None where the system has none."""
    if sys.platform == "win32":
        return None
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        os.close(lock)
        msg = f"{output}: another program is writing it"
        raise OutputError(msg) from error
    except OSError:  # a file system without locks
        pass
    return lock


_HDF5_ERRORS = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    MemoryError,
    OverflowError,
    AttributeError,
)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn whatever HDF5 throws at a damaged file into one clear line."""
    try:
        yield
    except _HDF5_ERRORS as error:
        lines = str(error).splitlines()
        reason = f" ({lines[0]})" if lines and not isinstance(error, MemoryError) else ""
        msg = f"{path}: the file is damaged or truncated{reason}"
        raise FileFormatError(msg) from error


def _open(path: Path) -> h5py.File:
    try:
        if not path.exists():
            msg = f"{path}: no such file"
            raise FileFormatError(msg)
        if path.is_dir():
            msg = f"{path}: is a folder, not a showers file"
            raise FileFormatError(msg)
        return h5py.File(path, "r")
    except PermissionError as error:
        msg = f"{path}: cannot open: permission denied"
        raise FileFormatError(msg) from error
    except BlockingIOError as error:
        msg = f"{path}: cannot open: another program is writing it"
        raise FileFormatError(msg) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = "it is truncated or no HDF5 file"
        if isinstance(error, OSError) and error.errno is not None and error.strerror and "HDF5" not in str(error):
            reason = error.strerror.splitlines()[0]
        msg = f"{path}: cannot open: {reason}"
        raise FileFormatError(msg) from error


def _is_column(item: object, rows: int) -> bool:
    return (
        isinstance(item, h5py.Dataset)
        and item.shape is not None
        and item.ndim in (1, 2)
        and item.shape[0] == rows
        and item.dtype.kind in "fiub"
    )


def _as_indices(rows: NDArray[Any], length: int) -> NDArray[np.int64]:
    rows = np.asarray(rows)
    if rows.dtype == np.bool_:
        if rows.shape != (length,):
            msg = f"a mask must have the shape ({length},), it has {rows.shape}"
            raise IndexError(msg)
        return np.flatnonzero(rows)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        msg = f"showers are chosen by a slice, a mask or whole-number indices (n,), got {rows.dtype} {rows.shape}"
        raise IndexError(msg)
    rows = rows.astype(np.int64)
    rows = np.where(rows < 0, rows + length, rows)
    if rows.size and (rows.min() < 0 or rows.max() >= length):
        msg = f"an index lies outside the {length} showers"
        raise IndexError(msg)
    return rows


def _bad_voxel(energies: NDArray[np.float32]) -> tuple[int, int] | None:
    """Row and voxel of the first energy that is NaN, infinite or negative."""
    # One pass over the data decides the usual case: the sum is finite only if every voxel is.
    with np.errstate(invalid="ignore"):
        fine = not energies.size or (np.isfinite(energies.sum(dtype=np.float64)) and energies.min() >= 0)
    if fine:
        return None
    row, voxel = np.argwhere(~(np.isfinite(energies) & (energies >= 0)))[0]
    return int(row), int(voxel)


def _check_incident(energies: NDArray[np.float64], where: str, start: int = 0) -> None:
    bad = np.flatnonzero(~(np.isfinite(energies) & (energies > 0)))
    if bad.size:
        shower, energy = start + bad[0], energies[bad[0]]
        msg = f"{where}: incident energy of shower {shower} is {energy} MeV; it must be finite and above zero"
        raise FileFormatError(msg)


def _check_angles(theta: NDArray[Any] | None, phi: NDArray[Any] | None, where: str) -> None:
    """Polar angles lie in 0 to pi and azimuths within a turn; degrees do not."""
    for name, angle, low, high in (("theta", theta, 0.0, np.pi), ("phi", phi, -2 * np.pi, 2 * np.pi)):
        if angle is None:
            continue
        bad = np.flatnonzero(~((angle >= low - 1e-6) & (angle <= high + 1e-6)))
        if bad.size:
            msg = f"{where}: {name} of a shower is {angle[bad[0]]}; angles are in rad, from {low:.4g} to {high:.4g}"
            raise FileFormatError(msg)


def _as_codes(pdg: NDArray[Any], where: str) -> NDArray[np.int32]:
    with np.errstate(invalid="ignore"):
        codes = pdg.astype(np.int32)
    bad = np.flatnonzero(codes != pdg)
    if bad.size:
        msg = f"{where}: {pdg[bad[0]]} is no particle code"
        raise FileFormatError(msg)
    return codes


class _Description(BaseModel):
    """The attribute ``fastv``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = Field(ge=1)
    detector: Detector
    provenance: dict[str, Any] = {}


def _read_attribute(path: Path, file: h5py.File) -> tuple[int | None, Detector | None, dict[str, Any]]:
    if "fastv" not in file.attrs:
        # What `fastv convert` notes in foreign files is for its own way back.
        return None, None, {name: str(value) for name, value in file.attrs.items() if name != "fastv_conversion"}
    try:
        content = json.loads(file.attrs["fastv"])
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"{path}: the attribute 'fastv' is no valid JSON ({error})"
        raise FileFormatError(msg) from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        msg = f"{path}: format version {version} is newer than this FastV reads ({FORMAT_VERSION}); update fastv-hep"
        raise FileFormatError(msg)
    try:
        description = _Description.model_validate(content)
    except ValidationError as error:
        msg = f"{path}: bad attribute 'fastv' at {first_problem(error)}"
        raise FileFormatError(msg) from error
    return description.format_version, description.detector, description.provenance


def _json(content: Mapping[str, Any], *, sort_keys: bool = False) -> str:
    """JSON of settings, with numpy's numbers and paths as plain ones."""

    def plain(value: object) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        if isinstance(value, Path):
            return str(value)
        msg = f"{type(value).__name__} cannot be written as JSON"
        raise TypeError(msg)

    return json.dumps(content, sort_keys=sort_keys, default=plain)


def _attribute(showers: Showers) -> str:
    content = {
        "format_version": FORMAT_VERSION,
        "detector": showers.detector.model_dump(mode="json"),
        "provenance": dict(showers.provenance),
    }
    return _json(content)


def _columns(showers: Showers) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {
        "incident_energies": showers.incident_energies[:, None].astype(np.float32),
        "showers": showers.energies,
    }
    if showers.theta is not None:
        columns["incident_theta"] = showers.theta[:, None].astype(np.float32)
    if showers.phi is not None:
        columns["incident_phi"] = showers.phi[:, None].astype(np.float32)
    if showers.pdg is not None:
        columns["incident_pdg"] = showers.pdg
    return {**columns, **{name: np.asarray(column) for name, column in showers.extra.items()}}


def _check_physical(showers: Showers) -> None:
    """Refuse at the time of writing what no reader accepts."""
    try:
        _check_incident(showers.incident_energies, "refused to write")
        _check_angles(showers.theta, showers.phi, "refused to write")
    except FileFormatError as error:
        raise OutputError(*error.args) from error
    if bad := _bad_voxel(showers.energies):
        msg = (
            f"refused to write: voxel {bad[1]} of shower {bad[0]} is {showers.energies[bad]} MeV; "
            "voxel energies must be finite and not negative"
        )
        raise OutputError(msg)
    if reserved := {"showers", "incident_energies", *_CONDITIONS} & set(showers.extra):
        msg = f"refused to write: an extra column cannot be called {', '.join(sorted(reserved))}"
        raise OutputError(msg)


def _chunk_rows(n_voxels: int, block_rows: int) -> int:
    """Rows of a chunk: a divisor of ``block_rows``, so that blocks join chunk by chunk, of at most 2 MiB."""
    sizes = (1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100)
    fitting = [rows for rows in sizes if rows * n_voxels * 4 <= 2**21 and block_rows % rows == 0]
    return max(fitting, default=1)


def _create(
    file: h5py.File,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    gzip_level: int = 1,
    block_rows: int | None = None,
) -> h5py.Dataset:
    rows = _chunk_rows(shape[1], block_rows or BLOCK_ROWS) if name == "showers" else BLOCK_ROWS
    chunks = (rows, *shape[1:])
    # gzip with byte shuffle is readable everywhere, without a plug-in.
    return file.create_dataset(
        name,
        shape,
        dtype,
        chunks=chunks,
        maxshape=(None, *shape[1:]),
        compression="gzip",
        compression_opts=gzip_level,
        shuffle=True,
    )


def _write_file(path: Path, showers: Showers, gzip_level: int = 1, block_rows: int | None = None) -> None:
    _check_physical(showers)
    with hdf5_written(path) as file:
        for name, data in _columns(showers).items():
            _create(file, name, data.shape, data.dtype, gzip_level, block_rows)[...] = data
        file.attrs["fastv"] = _attribute(showers)


def _join(blocks: Sequence[Path], path: Path, total: int, block_rows: int) -> None:
    """Join files of equal layout; their chunks of showers are copied as they are packed."""
    with hdf5_written(path) as out, h5py.File(blocks[0], "r") as first:
        out.attrs["fastv"] = first.attrs["fastv"]
        layout = {name: (data.shape[1:], data.dtype) for name, data in first.items()}
        for name, (shape, dtype) in layout.items():
            _create(out, name, (total, *shape), dtype, block_rows=block_rows)
    # HDF5 must not find the disk full: take the space first, with 2 % and 1 MiB for the index of the chunks.
    packed_size = sum(block.stat().st_size for block in blocks)
    reserve(path, packed_size + packed_size // 50 + 2**20)
    with h5py.File(path, "r+") as out:
        held: dict[str, list[NDArray[Any]]] = {name: [] for name in layout if name != "showers"}
        for i, block in enumerate(blocks):
            with h5py.File(block, "r") as part:
                if {name: (data.shape[1:], data.dtype) for name, data in part.items()} != layout:
                    msg = f"block {i} has other columns than the first; all showers of a file need the same"
                    raise OutputError(msg)
                _copy_packed(part["showers"], out["showers"], i * block_rows)
                for name, rows in held.items():
                    rows.append(part[name][...])
                    _write_held(rows, out[name], i * block_rows + len(rows[-1]))


def _copy_packed(data: h5py.Dataset, target: h5py.Dataset, first: int) -> None:
    """Copy chunks, without unpacking them, to the rows from ``first`` on."""
    for chunk in data.iter_chunks():
        start = chunk[0].start
        mask, packed = data.id.read_direct_chunk((start, 0))
        target.id.write_direct_chunk((first + start, 0), packed, filter_mask=mask)


def _write_held(held: list[NDArray[Any]], target: h5py.Dataset, end: int) -> None:
    """Write the rows before ``end`` when they fill a chunk, which blocks may be too small to do, or are the last."""
    count = sum(map(len, held))
    if count >= target.chunks[0] or end == len(target):
        target[end - count : end] = np.concatenate(held)
        held.clear()


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + f".{os.getpid()}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
