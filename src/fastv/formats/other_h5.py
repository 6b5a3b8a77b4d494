"""HDF5 files of other codes, which are only read: any order of axes, one data set a layer, or compound data sets.

Voxels are ``showers`` (or ``shower``, ``voxels``) with the axes that the user names, with axes of length 1 left out; or
flattened (N, V) as (layer, alpha, r); or one data set a layer, ``layer_0``, ``layer_1`` and so on. Incident energies
are a column, or the first column of ``gen_info``. All of these may be fields of one compound data set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fastv.detector.detector import PRESETS, Detector
from fastv.detector.of_file import axes_that_fit
from fastv.errors import FileFormatError, GeometryError, SettingsError
from fastv.formats.contract import Asked, Layout, Reader, resolve_scale
from fastv.formats.note import attributes_as_provenance
from fastv.showers import Showers
from fastv.storage.guard import check_stored
from fastv.storage.hdf5 import damage_named, is_column, open_hdf5, spans

NAMES = {
    "showers": ("showers", "shower", "voxels"),
    "energy": ("incident_energies", "incident_energy", "energy", "energies"),
    "theta": ("incident_theta", "incident_thetas", "theta"),
    "phi": ("incident_phi", "incident_phis", "phi"),
    "pdg": ("incident_pdg", "incident_pdgs", "pdg"),
}
"""Names of data sets or fields, in the order in which they are looked for."""
_TABLE = "gen_info"
_LAYER = re.compile(r"layer_?(\d{1,4})", re.ASCII)
_AXES = {"layer": "layer", "z": "layer", "alpha": "alpha", "phi": "alpha", "r": "r", "rho": "r"}
_MESH_AXES = ("layer", "alpha", "r")


def recognises(layout: Layout) -> bool:
    """Whether a file has showers and incident energies, each in one of the ways that the reader knows."""
    items = layout.items
    if any(item.kind == "V" for item in items.values()):
        return True
    showers = any(len(items[name].shape) >= 2 for name in NAMES["showers"] if name in items)
    energies = any(name in items for name in (*NAMES["energy"], _TABLE))
    return energies and (showers or any(_LAYER.fullmatch(name) for name in items))


def parse_axes(text: str) -> tuple[str, ...]:
    """The axes of a shower in the order of a file.

    Raises:
        SettingsError: the text is not a list of layer, alpha and r, each once.

    Example:
        >>> parse_axes("layer,alpha,r"), parse_axes("rho, phi, z")
        (('layer', 'alpha', 'r'), ('r', 'alpha', 'layer'))
    """
    axes = tuple(_AXES.get(word.strip().lower(), word.strip()) for word in text.split(","))
    if sorted(axes) not in (sorted(_MESH_AXES), ["alpha", "r"]):
        msg = f"`axes` {text!r} must name layer, alpha and r once each, in the order of the file, as in layer,alpha,r"
        raise SettingsError(msg)
    return axes


class _Column:
    """A data set, or one field of a compound data set."""

    def __init__(self, dataset: h5py.Dataset, field: str | None = None) -> None:
        self.dataset, self._field = dataset, field
        self.name = field or str(dataset.name).lstrip("/")
        dtype = dataset.dtype[field] if field else dataset.dtype
        self.dtype, inner = dtype.subdtype or (dtype, ())
        self.shape = (*dataset.shape, *inner)

    def read(self, rows: slice) -> NDArray[Any]:
        data: NDArray[Any] = (self.dataset.fields(self._field) if self._field else self.dataset)[rows]
        return data


class _Reader(Reader):
    """Reader of one file."""

    def __init__(self, path: Path, asked: Asked) -> None:
        super().__init__(path)
        self._file = open_hdf5(path)
        try:
            with damage_named(path):
                self._open(asked)
        except BaseException:
            self.close()
            raise

    def _open(self, asked: Asked) -> None:
        contents = self._contents()
        self._find_columns(contents, asked)
        self._find_showers(contents)
        for column in (*self._columns.values(), *self._parts, *self._extra.values()):
            check_stored(self.path, column.dataset)
        self.described, self.provenance = False, attributes_as_provenance(self._file.attrs)
        self._arrange(asked)
        self.energy_scale = resolve_scale(self.path, asked.energy_scale, stored=None, default=1.0)

    def _contents(self) -> dict[str, _Column]:
        """All data sets, and the fields of compound ones, by name."""
        found: dict[str, _Column] = {}
        for name, item in self._file.items():
            if not isinstance(item, h5py.Dataset) or not item.shape:
                continue
            if item.dtype.names:
                found |= {field: _Column(item, field) for field in item.dtype.names}
            else:
                found.setdefault(name, _Column(item))
        return found

    def _missing(self, what: str, names: tuple[str, ...], contents: Mapping[str, _Column]) -> str:
        has = ", ".join(f"{name} {column.shape}" for name, column in list(contents.items())[:12])
        return f"{self.path}: no {what} {' or '.join(names)}; the file contains: {has or 'nothing'}"

    def _find_columns(self, contents: Mapping[str, _Column], asked: Asked) -> None:
        found = {
            what: next((contents[name] for name in names if name in contents), None)
            for what, names in NAMES.items()
            if what != "showers"
        }
        if found["energy"] is None and _TABLE in contents:
            found["energy"] = contents[_TABLE]
            if asked.energy_unit is None:
                msg = (
                    f"{self.path}: {_TABLE!r} does not tell the unit of its first column, the incident energy; give "
                    "`energy_unit='GeV'` or `energy_unit='MeV'`"
                )
                raise SettingsError(msg)
        if found["energy"] is None:
            raise FileFormatError(self._missing("incident energies", (*NAMES["energy"], _TABLE), contents))
        self._rows = int(found["energy"].shape[0])
        self._columns = {what: column for what, column in found.items() if column is not None}
        for column in self._columns.values():
            wide = (self._rows, *column.shape[1:2]) if column.name == _TABLE else (self._rows, 1)
            if column.shape not in ((self._rows,), wide) or column.dtype.kind not in "fiu":
                msg = (
                    f"{self.path}: {column.name!r} must have one number for each of {self._rows} showers, "
                    f"got {column.dtype} {column.shape}"
                )
                raise FileFormatError(msg)
        used = {column.name for name, column in self._columns.items() if column.name != _TABLE}
        self._extra = {
            name: column
            for name, column in contents.items()
            if name not in used
            and not _LAYER.fullmatch(name)
            and name not in NAMES["showers"]
            and (is_column(column.dataset, self._rows) or (column.dataset.dtype.names and column.dtype.kind in "fiub"))
            and len(column.shape) <= 2
        }

    def _find_showers(self, contents: Mapping[str, _Column]) -> None:
        whole = next((contents[name] for name in NAMES["showers"] if name in contents), None)
        layers = sorted((int(match[1]), name) for name in contents if (match := _LAYER.fullmatch(name)))
        self._layered = whole is None
        self._parts = [whole] if whole is not None else [contents[name] for _, name in layers]
        if not self._parts:
            raise FileFormatError(self._missing("showers", (*NAMES["showers"], "layer_0, layer_1 ..."), contents))
        for part in self._parts:
            if part.dtype.kind not in "fiu" or len(part.shape) < 2 or part.shape[0] != self._rows:
                msg = (
                    f"{self.path}: {part.name!r} must be numbers of {self._rows} showers, as many as there are "
                    f"incident energies, got {part.dtype} {part.shape}"
                )
                raise FileFormatError(msg)

    def _arrange(self, asked: Asked) -> None:
        """Set the detector and the order of the axes."""
        axes = parse_axes(asked.axes) if asked.axes is not None else None
        own = Asked(asked.mesh)
        if self._layered:
            self._axes = tuple(axis for axis in axes or ("alpha", "r") if axis != "layer")
            self.describe(own, None, self.provenance, shape=(sum(math.prod(part.shape[1:]) for part in self._parts),))
            self._check_layers(asked)
            return
        shape = _cells(self._parts[0].shape[1:])
        if len(shape) == 1:
            self._axes = axes or _MESH_AXES
            self.describe(own, None, self.provenance, shape=shape)
            if self._axes == _MESH_AXES:
                return
            mesh = dict(zip(_MESH_AXES, self.detector.mesh.shape, strict=True))
            self._sizes = tuple(mesh[axis] for axis in self._axes)
        elif len(shape) == 3:
            if axes is None:
                raise SettingsError(self._which_axes(shape, asked.mesh))
            self._axes, self._sizes = axes, shape
        else:
            msg = f"{self.path}: {self._parts[0].name!r} has the shape {self._parts[0].shape}, not (N, three axes)"
            raise FileFormatError(msg)
        if len(self._axes) != 3:
            msg = f"`axes` must name layer, alpha and r here, got {asked.axes}"
            raise SettingsError(msg)
        by_name = dict(zip(self._axes, self._sizes, strict=True))
        self.describe(own, None, self.provenance, shape=(by_name["layer"], by_name["alpha"], by_name["r"]))

    def _which_axes(self, shape: tuple[int, ...], mesh: Detector | str | None) -> str:
        named = Detector.named(mesh) if isinstance(mesh, str) else mesh
        known = [named] if named else PRESETS.values()
        fitting = ((axes_that_fit(shape, one.mesh), one.name) for one in known)
        order, name = next(((order, name) for order, name in fitting if order), ("layer,alpha,r", ""))
        words, fits = f"`axes='{order}'`", f" (which fits {name})" if name else ""
        return (
            f"{self.path}: a shower of {self._parts[0].name!r} has {' x '.join(map(str, shape))} cells; name the order "
            f"of its axes, as in {words}{fits}"
        )

    def _check_layers(self, asked: Asked) -> None:
        layers = self.detector.mesh.layers
        if len(layers) != len(self._parts):
            msg = f"{self.path}: {len(self._parts)} layers; the mesh of {self.detector.name} has {len(layers)}"
            raise GeometryError(msg)
        for part, layer in zip(self._parts, layers, strict=True):
            sizes = {"alpha": layer.alpha_cells, "r": layer.r_cells}
            expected = tuple(sizes[axis] for axis in self._axes)
            shape = _cells(part.shape[1:], 2)
            if shape not in (expected, (math.prod(expected),)):
                hint = "" if asked.axes or shape != expected[::-1] else "; is the order `axes='r,alpha'`?"
                msg = (
                    f"{self.path}: {part.name!r} has {' x '.join(map(str, shape))} cells; the mesh of "
                    f"{self.detector.name} has {' x '.join(self._axes)} = {' x '.join(map(str, expected))}{hint}"
                )
                raise GeometryError(msg)

    def __len__(self) -> int:
        return self._rows

    def batches(self, size: int) -> Iterator[Showers]:
        """All showers in order."""
        for span in spans(self._parts[0].dataset, size):
            with damage_named(self.path):
                energies = self._voxels(span)
                columns = {what: self._column(column, span) for what, column in self._columns.items()}
                extra = {name: self._values(column, span) for name, column in self._extra.items()}
            for first in range(0, len(energies), size):
                rows = slice(first, first + size)
                theta, phi, pdg = (columns[name][rows] if name in columns else None for name in ("theta", "phi", "pdg"))
                kept = {name: column[rows] for name, column in extra.items()}
                yield self.checked(span.start + first, columns["energy"][rows], energies[rows], theta, phi, pdg, kept)

    @staticmethod
    def _values(column: _Column, rows: slice) -> NDArray[Any]:
        data = column.read(rows)
        return data[:, 0] if data.ndim == 2 and data.shape[1] == 1 else data

    def _column(self, column: _Column, rows: slice) -> NDArray[Any]:
        data = column.read(rows)
        return data.reshape(len(data), -1)[:, 0]

    def _voxels(self, rows: slice) -> NDArray[np.float32]:
        """Voxel energies (n, V), flattened (layer, alpha, r)."""
        order = [self._axes.index(axis) for axis in _MESH_AXES if axis in self._axes]
        parts = []
        for part, layer in zip(self._parts, self.detector.mesh.layers, strict=False):
            data = part.read(rows).astype(np.float32, copy=False)
            if self._layered:
                sizes = {"alpha": layer.alpha_cells, "r": layer.r_cells}
                shape = tuple(sizes[axis] for axis in self._axes)
            elif self._axes == _MESH_AXES:
                return data.reshape(len(data), -1)
            else:
                shape = self._sizes
            turned = data.reshape(len(data), *shape).transpose(0, *(1 + place for place in order))
            parts.append(turned.reshape(len(data), -1))
        return np.concatenate(parts, axis=1) if len(parts) > 1 else np.ascontiguousarray(parts[0])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _cells(shape: tuple[int, ...], most: int = 3) -> tuple[int, ...]:
    """The shape of a shower, with axes of length 1 left out from the first on until ``most`` axes are left."""
    cells = list(shape)
    while (len(cells) > most or (len(cells) == 2 and most == 3)) and 1 in cells:
        cells.remove(1)
    return tuple(cells)


def read(path: Path, asked: Asked) -> Reader:
    """Open a file for reading.

    Raises:
        FileFormatError: showers or incident energies are missing or have the wrong shape, or the file is damaged.
        GeometryError: the detector is not given, is unknown, or does not fit the file.
        SettingsError: the order of axes or the unit of energies is not given.
    """
    return _Reader(path, asked)
