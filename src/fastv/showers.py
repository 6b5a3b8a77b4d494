"""Showers in memory and in their HDF5 file, read lazily and written in blocks that survive a kill.

The file is a superset of the CaloChallenge layout: ``incident_energies`` (N, 1) and ``showers`` (N, V) in MeV, optional
``incident_theta``, ``incident_phi`` (N, 1) in rad and ``incident_pdg`` (N,), any other data set with N rows as an
extra column, and an attribute ``fastv`` with a JSON text: format version, detector (with mesh, energy scale, threshold)
and provenance.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fastv.errors import FileFormatError, GeometryError, OutputError
from fastv.geometry import Detector, ReadoutMesh
from fastv.output import check_free, readable_os_errors, written_whole

FORMAT_VERSION = 1
BLOCK_ROWS = 1000
"""Showers a block of :class:`ShowersWriter`; the unit in which work is done, kept and resumed."""

_CONDITIONS = ("incident_theta", "incident_phi", "incident_pdg")
_REQUIRED = ("incident_energies", "showers")


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
        n, v = self.energies.shape
        if v != self.detector.mesh.n_voxels:
            msg = f"showers have {v} voxels, the mesh of {self.detector.name} has {self.detector.mesh.n_voxels}"
            raise GeometryError(msg)
        columns = {"theta": self.theta, "phi": self.phi, "pdg": self.pdg, **self.extra}
        for name, column in {"incident_energies": self.incident_energies, **columns}.items():
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

        ``gzip_level`` 9 packs some 10 % denser than 1 and takes several times as long.

        Raises:
            OutputError: the file exists and ``force`` is false, or the disk is full.
        """
        with written_whole(path, force=force) as temporary:
            _write_file(temporary, self, gzip_level)


class ShowersFile:
    """A showers file, opened lazily: only what is sliced is read.

    Args:
        path: the HDF5 file.
        detector: the detector, or the name of a preset, for a plain CaloChallenge file without the ``fastv`` attribute.

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
        try:
            self._check_layout()
            self.format_version, stored, self.provenance = _read_attribute(self.path, self._file)
            self.detector = self._resolve_detector(stored, detector)
        except BaseException:
            self._file.close()
            raise

    def _check_layout(self) -> None:
        found = ", ".join(sorted(self._file)) or "nothing"
        for name in _REQUIRED:
            if not isinstance(self._file.get(name), h5py.Dataset):
                msg = f"{self.path}: no data set {name!r}; the file holds: {found}"
                raise FileFormatError(msg)
        showers = self._file["showers"]
        if showers.ndim != 2 or showers.dtype.kind != "f":
            msg = f"{self.path}: 'showers' must be floating-point (N, V), it is {showers.dtype} {showers.shape}"
            raise FileFormatError(msg)
        for name in self.columns:
            dataset = self._file[name]
            if dataset.shape[0] != showers.shape[0] or dataset.ndim > 2 or dataset.dtype.kind not in "fiu":
                msg = f"{self.path}: {name!r} does not fit {showers.shape[0]} showers: {dataset.dtype} {dataset.shape}"
                raise FileFormatError(msg)
        if self._file["incident_energies"].size != showers.shape[0]:
            shape = self._file["incident_energies"].shape
            msg = f"{self.path}: 'incident_energies' must have one energy a shower (N, 1), it has shape {shape}"
            raise FileFormatError(msg)

    def _resolve_detector(self, stored: Detector | None, given: Detector | str | None) -> Detector:
        named = Detector.preset(given) if isinstance(given, str) else given
        detector = stored or named
        if detector is None:
            msg = f"{self.path}: a plain CaloChallenge file does not tell its mesh; name it, as in --mesh par04-siw"
            raise GeometryError(msg)
        if stored and named and stored.mesh != named.mesh:
            msg = f"{self.path}: the file is of {stored.name}, whose mesh is not that of {named.name}"
            raise GeometryError(msg)
        voxels = self._file["showers"].shape[1]
        if voxels != detector.mesh.n_voxels:
            msg = (
                f"{self.path}: wrong voxel count: the file has {voxels} voxels a shower, "
                f"the mesh of {detector.name} has {detector.mesh.n_voxels}"
            )
            raise GeometryError(msg)
        return detector

    @property
    def columns(self) -> list[str]:
        """Names of all data sets but ``showers``."""
        return [name for name, item in self._file.items() if isinstance(item, h5py.Dataset) and name != "showers"]

    @property
    def mesh(self) -> ReadoutMesh:
        """The readout mesh."""
        return self.detector.mesh

    def __len__(self) -> int:
        return int(self._file["showers"].shape[0])

    def _read(self, name: str, rows: slice | NDArray[Any]) -> NDArray[Any]:
        try:
            data: NDArray[Any] = self._file[name][rows]
        except OSError as error:
            msg = f"{self.path}: cannot read {name!r}, the file is damaged or truncated"
            raise FileFormatError(msg) from error
        return data

    @cached_property
    def incident_energies(self) -> NDArray[np.float64]:
        """All incident energies (N,) in MeV, checked to be finite and above zero."""
        energies = self._read("incident_energies", slice(None)).reshape(-1).astype(np.float64)
        bad = np.flatnonzero(~(np.isfinite(energies) & (energies > 0)))
        if bad.size:
            msg = f"{self.path}: incident energy of shower {bad[0]} is {energies[bad[0]]} MeV; it must be above zero"
            raise FileFormatError(msg)
        return energies

    def column(self, name: str) -> NDArray[Any]:
        """One whole data set other than ``showers``, shape (N,)."""
        return self._read(name, slice(None)).reshape(len(self), -1)[:, 0]

    def __getitem__(self, rows: slice | NDArray[Any]) -> Showers:
        """Read showers by slice (any step above zero) or by sorted unique indices; energies are checked.

        Raises:
            FileFormatError: a voxel is NaN, infinite or negative, or an incident energy is not above zero.
        """
        energies = self._read("showers", rows).astype(np.float32, copy=False)
        # One pass decides the usual case: the sum is finite only if every voxel is, unless it overflows.
        if energies.size and not (np.isfinite(energies.sum(dtype=np.float64)) and energies.min() >= 0):
            bad = ~(np.isfinite(energies) & (energies >= 0))
            row, voxel = np.argwhere(bad)[0]
            shower = int(np.arange(len(self))[rows][row])
            msg = (
                f"{self.path}: voxel {voxel} of shower {shower} is {energies[row, voxel]} MeV; "
                "voxel energies must be finite and not negative"
            )
            raise FileFormatError(msg)
        columns = {
            name: self._read(name, rows).reshape(len(energies), -1)[:, 0]
            for name in self.columns
            if name != "incident_energies"
        }
        theta, phi, pdg = (columns.pop(name, None) for name in _CONDITIONS)
        return Showers(
            incident_energies=self.incident_energies[rows],
            energies=energies,
            detector=self.detector,
            theta=None if theta is None else theta.astype(np.float64),
            phi=None if phi is None else phi.astype(np.float64),
            pdg=None if pdg is None else pdg.astype(np.int32),
            extra=columns,
            provenance=self.provenance,
        )

    def batches(self, size: int = BLOCK_ROWS) -> Iterator[Showers]:
        """All showers in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ShowersWriter:
    """Write a showers file block by block, so that a kill at any moment loses no finished block.

    Finished blocks lie in ``.<name>.parts`` beside the output. :meth:`finish` joins them, without packing the data
    again, into a temporary file, renames it and removes the blocks. ``request`` describes what is being written; blocks
    of another request are never mixed in.

    Args:
        path: the final file.
        total: number of showers; block i holds the showers from ``i * BLOCK_ROWS`` on.
        request: what makes this output what it is (model digest, seed, conditions), as JSON data.
        resume: continue blocks left by an interrupted run.
        force: replace an existing output and forget blocks left behind.

    Raises:
        OutputError: the output exists; or blocks are left and neither ``resume`` nor ``force`` is given; or the blocks
            left are of another request.
    """

    def __init__(
        self,
        path: str | Path,
        total: int,
        request: Mapping[str, Any],
        *,
        resume: bool = False,
        force: bool = False,
    ) -> None:
        self.path = check_free(path, force=force)
        self.total = total
        self._force = force
        self._parts = self.path.with_name(f".{self.path.name}.parts")
        text = json.dumps({"total": total, "block_rows": BLOCK_ROWS, **request}, sort_keys=True)
        note = self._parts / "request.json"
        if self._parts.exists() and not resume:
            if not force:
                msg = f"{self.path}: an interrupted run left finished showers; --resume continues, --force starts over"
                raise OutputError(msg)
            shutil.rmtree(self._parts)
        with readable_os_errors(self.path):
            self._parts.mkdir(exist_ok=True)
            if not note.exists():
                _write_text(note, text)
            elif note.read_text() != text:
                msg = f"{self.path}: the interrupted run had other settings; use them with --resume, or --force"
                raise OutputError(msg)

    @property
    def n_blocks(self) -> int:
        """Number of blocks of the whole output."""
        return -(-self.total // BLOCK_ROWS)

    def rows(self, block: int) -> slice:
        """The showers of a block."""
        return slice(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, self.total))

    def missing(self) -> list[int]:
        """Blocks still to be written."""
        return [block for block in range(self.n_blocks) if not self._block_path(block).exists()]

    def _block_path(self, block: int) -> Path:
        return self._parts / f"{block:06d}.h5"

    def write_block(self, block: int, showers: Showers) -> None:
        """Keep one finished block.

        Raises:
            OutputError: the disk is full.
        """
        rows = self.rows(block)
        if len(showers) != rows.stop - rows.start:
            msg = f"block {block} has {rows.stop - rows.start} showers, got {len(showers)}"
            raise ValueError(msg)
        with written_whole(self._block_path(block), force=True) as temporary:
            _write_file(temporary, showers)

    def finish(self) -> None:
        """Join the blocks, give the file its final name and remove the blocks."""
        if missing := self.missing():
            msg = f"{self.path}: {len(missing)} blocks are missing, the first is {missing[0]}"
            raise OutputError(msg)
        with written_whole(self.path, force=self._force) as temporary:
            _join([self._block_path(block) for block in range(self.n_blocks)], temporary, self.total)
        shutil.rmtree(self._parts)


def _open(path: Path) -> h5py.File:
    if not path.exists():
        msg = f"{path}: no such file"
        raise FileFormatError(msg)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        reason = "permission denied" if isinstance(error, PermissionError) else "it is truncated or no HDF5 file"
        msg = f"{path}: cannot open: {reason}"
        raise FileFormatError(msg) from error


def _read_attribute(path: Path, file: h5py.File) -> tuple[int | None, Detector | None, dict[str, Any]]:
    if "fastv" not in file.attrs:
        return None, None, {name: str(value) for name, value in file.attrs.items()}
    try:
        content = json.loads(file.attrs["fastv"])
        version = int(content["format_version"])
        detector = Detector.model_validate(content["detector"])
        provenance = dict(content.get("provenance", {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        msg = f"{path}: bad attribute 'fastv' at detector.{where}: {first['msg']}"
        raise FileFormatError(msg) from error
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path}: the attribute 'fastv' is no valid description of showers ({error})"
        raise FileFormatError(msg) from error
    if version > FORMAT_VERSION:
        msg = f"{path}: format version {version} is newer than this FastV reads ({FORMAT_VERSION}); update fastv-hep"
        raise FileFormatError(msg)
    return version, detector, provenance


def _attribute(showers: Showers) -> str:
    content = {
        "format_version": FORMAT_VERSION,
        "detector": showers.detector.model_dump(mode="json"),
        "provenance": dict(showers.provenance),
    }
    return json.dumps(content)


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
    return {**columns, **showers.extra}


def _chunk_rows(n_voxels: int) -> int:
    """Rows of a chunk: a divisor of BLOCK_ROWS, so that blocks join chunk by chunk, of at most 2 MiB."""
    divisors = [rows for rows in (1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100) if rows * n_voxels * 4 <= 2**21]
    return max(divisors, default=1)


def _create(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], gzip_level: int = 1
) -> h5py.Dataset:
    chunks = (_chunk_rows(shape[1]) if name == "showers" else BLOCK_ROWS, *shape[1:])
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


def _write_file(path: Path, showers: Showers, gzip_level: int = 1) -> None:
    with h5py.File(path, "w") as file:
        for name, data in _columns(showers).items():
            _create(file, name, data.shape, data.dtype, gzip_level)[...] = data
        file.attrs["fastv"] = _attribute(showers)


def _join(blocks: Sequence[Path], path: Path, total: int) -> None:
    """Join files of equal layout by copying their packed chunks."""
    with h5py.File(path, "w") as out:
        for i, block in enumerate(blocks):
            with h5py.File(block, "r") as part:
                if i == 0:
                    out.attrs["fastv"] = part.attrs["fastv"]
                    for name, data in part.items():
                        _create(out, name, (total, *data.shape[1:]), data.dtype)
                for name, data in part.items():
                    target = out[name].id
                    for chunk in data.iter_chunks():
                        start = chunk[0].start
                        offset = (start, *(0 for _ in data.shape[1:]))
                        mask, packed = data.id.read_direct_chunk(offset)
                        target.write_direct_chunk((i * BLOCK_ROWS + start, *offset[1:]), packed, filter_mask=mask)


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + f".{os.getpid()}.part")
    temporary.write_text(text)
    temporary.replace(path)
