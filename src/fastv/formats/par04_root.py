"""Ntuples of the Geant4 example Par04 in a ROOT file.

Tree ``global``: ``EnergyMC`` in MeV and ``SimTime`` in s. Tree ``virtualReadout``: for each cell with energy,
``EnergyCell`` (visible energy in MeV) and the integers ``rhoCell``, ``phiCell`` and ``zCell``. A file does not contain
its mesh. FastV also reads and writes ``ThetaMC`` and ``PhiMC`` in rad, ``PdgMC``, and extra columns, all in ``global``.

uproot writes lists as C arrays with a counter (``EnergyCell[nEnergyCell]``), whereas Geant4 writes ``std::vector``.
uproot, ``RDataFrame`` and ``TTreeReaderArray`` read both; ``SetBranchAddress`` with a vector reads only the latter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.errors import FileFormatError
from fastv.formats.contract import (
    Asked,
    Layout,
    Plan,
    Reader,
    Writer,
    needs_extra,
)
from fastv.formats.note import NOTE, Note
from fastv.showers import Showers
from fastv.storage.hdf5 import damage_named
from fastv.storage.output import written_whole

_CELLS = ("EnergyCell", "rhoCell", "phiCell", "zCell")
_COLUMNS = ("EnergyMC", "ThetaMC", "PhiMC", "PdgMC")
_TIME = "sim_seconds"
"""The column of a showers file that holds ``SimTime``."""
_ERRORS = (Exception,)
"""uproot parses bytes without checks, so that damage may raise almost any exception."""


def _packages() -> tuple[Any, Any]:
    """Import uproot and awkward.

    Raises:
        MissingExtraError: they are not installed.
    """
    with needs_extra("par04-root", "uproot and awkward", "root"):
        import awkward
        import uproot
    return uproot, awkward


def recognises(layout: Layout) -> bool:
    """Whether a file is a ROOT file."""
    return layout.kind == "root"


class _Reader(Reader):
    """Reader of the two trees."""

    def __init__(self, path: Path, asked: Asked) -> None:
        super().__init__(path)
        uproot, self._awkward = _packages()
        with damage_named(path, _ERRORS):
            self._file = uproot.open(path)
        try:
            with damage_named(path, _ERRORS):
                self._read_head(uproot, asked)
        except BaseException:
            self.close()
            raise

    def _read_head(self, uproot: Any, asked: Asked) -> None:
        names = [name.split(";")[0] for name in self._file.keys()]  # noqa: SIM118  it is not a dict
        note = Note.read(str(self._file[NOTE]), self.path) if NOTE in names else None
        trees: dict[str, Any] = {}
        for tree in ("global", "virtualReadout"):
            trees[tree] = self._file[tree] if tree in names else None
            if not isinstance(trees[tree], uproot.TTree):
                kinds = (f"{name} ({self._file[name].classname})" for name in dict.fromkeys(names))
                msg = f"{self.path}: no tree {tree!r}; the file contains: {', '.join(kinds) or 'nothing'}"
                raise FileFormatError(msg)
        self._cells = trees["virtualReadout"]
        self._need(self._cells, "virtualReadout", _CELLS)
        self._need(trees["global"], "global", ("EnergyMC",))
        self._rows = int(self._cells.num_entries)
        if int(trees["global"].num_entries) != self._rows:
            msg = (
                f"{self.path}: 'global' has {trees['global'].num_entries} events, 'virtualReadout' has {self._rows}; "
                "both must have one entry per event"
            )
            raise FileFormatError(msg)
        self._read_columns(trees["global"])
        self.describe(asked, note, {})
        _ = self.detector.mesh.shape  # raises for an irregular mesh

    def _need(self, tree: Any, name: str, branches: tuple[str, ...]) -> None:
        for branch in branches:
            if branch not in tree:
                msg = f"{self.path}: no branch {branch!r} in {name!r}; it has: {', '.join(tree.keys()) or 'nothing'}"
                raise FileFormatError(msg)

    def _read_columns(self, tree: Any) -> None:
        """Read the columns with one number per event."""
        columns: dict[str, NDArray[Any]] = {}
        for name in tree.keys():  # noqa: SIM118  it is not a dict
            data = tree[name].array(library="np")
            if data.shape == (self._rows,) and data.dtype.kind in "fiub":
                columns[name] = data.astype(data.dtype.newbyteorder("="))
            elif name in _COLUMNS:
                msg = f"{self.path}: {name!r} must have one number per event, got {data.dtype} {data.shape}"
                raise FileFormatError(msg)
            else:
                self.not_kept = (*self.not_kept, name)
        self._conditions = [columns.get(name) for name in _COLUMNS]
        extra = {name: data for name, data in columns.items() if name not in _COLUMNS}
        if (time := extra.pop("SimTime", None)) is not None and not np.isnan(time.astype(np.float64)).all():
            extra[_TIME] = time
        self._extra = extra

    def __len__(self) -> int:
        return self._rows

    def batches(self, size: int) -> Iterator[Showers]:
        """All showers in order."""
        start = 0
        pieces = self._cells.iterate(list(_CELLS), step_size=size, library="ak")
        while start < self._rows:
            with damage_named(self.path, _ERRORS):
                cells = next(pieces)
                rows = slice(start, start + len(cells))
                energies = self._fill(cells)
            energy, theta, phi, pdg = (None if column is None else column[rows] for column in self._conditions)
            assert energy is not None  # checked when the file was opened
            extra = {name: data[rows] for name, data in self._extra.items()}
            yield self.checked(start, energy, energies, theta, phi, pdg, extra)
            start = rows.stop

    def _fill(self, cells: Any) -> NDArray[np.float32]:
        """Voxel energies (n, V) from lists of cells; cells outside the mesh are omitted and counted."""
        ak = self._awkward
        counts = ak.to_numpy(ak.num(cells["EnergyCell"]))
        for name in _CELLS[1:]:
            if not np.array_equal(ak.to_numpy(ak.num(cells[name])), counts):
                msg = f"{self.path}: {name!r} and 'EnergyCell' have different numbers of cells"
                raise FileFormatError(msg)
        flat = {name: ak.to_numpy(ak.flatten(cells[name])) for name in _CELLS}
        energy = flat["EnergyCell"].astype(np.float64)
        layers, alphas, radii = self.detector.mesh.shape
        limits = {"rhoCell": radii, "phiCell": alphas, "zCell": layers}
        inside = np.ones(len(energy), dtype=bool)
        for name, limit in limits.items():
            # Par04 writes -1 or an index beyond the mesh for a cell outside.
            inside &= (flat[name] >= 0) & (flat[name] < limit)
        r, alpha, z = (flat[name][inside].astype(np.int64) for name in limits)
        row = np.repeat(np.arange(len(counts)), counts)[inside]
        energies = np.zeros((len(counts), self.detector.mesh.n_voxels), dtype=np.float32)
        np.add.at(energies, (row, (z * alphas + alpha) * radii + r), energy[inside].astype(np.float32))
        self.outside.deposits += int(len(inside) - inside.sum())
        self.outside.energy += float(energy[~inside].sum())
        return energies

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path, asked: Asked) -> Reader:
    """Open a file for reading.

    Raises:
        MissingExtraError: uproot is not installed.
        FileFormatError: a tree or branch is missing or has the wrong shape, or the file is damaged.
        GeometryError: the detector is not given, is unknown, or its mesh is not regular.
    """
    return _Reader(path, asked)


class _Writer:
    """Appends batches to both trees."""

    def __init__(self, file: Any, plan: Plan, awkward: Any) -> None:
        self._file, self._plan, self._awkward = file, plan, awkward
        self._trees: tuple[Any, Any] | None = None
        self.not_kept: tuple[str, ...] = ()

    def __call__(self, showers: Showers) -> None:
        columns = self._columns(showers)
        if self._trees is None:
            types = {name: column.dtype for name, column in columns.items()}
            cell_types = {name: f"var * {'float64' if name == 'EnergyCell' else 'int32'}" for name in _CELLS}
            self._trees = self._file.mktree("global", types), self._file.mktree("virtualReadout", cell_types)
        for tree, content in zip(self._trees, (columns, self._lists(showers)), strict=True):
            tree.extend(content)

    def _columns(self, showers: Showers) -> dict[str, NDArray[Any]]:
        extra = {name: np.asarray(column) for name, column in showers.extra.items()}
        time = extra.pop(_TIME, None)
        kept = {name: column for name, column in extra.items() if column.ndim == 1 and name not in _COLUMNS}
        self.not_kept = tuple(name for name in extra if name not in kept)
        columns = {
            "EnergyMC": showers.incident_energies.astype(np.float64),
            "SimTime": np.full(len(showers), np.nan) if time is None else time.astype(np.float64),
        }
        for name, column in (("ThetaMC", showers.theta), ("PhiMC", showers.phi), ("PdgMC", showers.pdg)):
            if column is not None:
                columns[name] = column
        return {**columns, **kept}

    def _lists(self, showers: Showers) -> dict[str, Any]:
        """Lists of the cells with energy."""
        ak = self._awkward
        row, voxel = np.nonzero(showers.energies)
        ends = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(showers)))])
        _, alphas, radii = self._plan.detector.mesh.shape
        flat = {
            "EnergyCell": showers.energies[row, voxel].astype(np.float64),
            "rhoCell": (voxel % radii).astype(np.int32),
            "phiCell": (voxel // radii % alphas).astype(np.int32),
            "zCell": (voxel // (radii * alphas)).astype(np.int32),
        }
        offsets = ak.index.Index64(ends.astype(np.int64))
        return {
            name: ak.Array(ak.contents.ListOffsetArray(offsets, ak.contents.NumpyArray(data)))
            for name, data in flat.items()
        }


@contextmanager
def written(path: Path, plan: Plan) -> Iterator[Writer]:
    """Write a file; ``SimTime`` holds the column ``sim_seconds``, or NaN without it.

    Raises:
        MissingExtraError: uproot is not installed.
        GeometryError: the mesh is not regular.
        OutputError: the output exists, or the disk is full.
    """
    uproot, awkward = _packages()
    _ = plan.detector.mesh.shape  # raises for an irregular mesh
    with written_whole(path, force=plan.force, kind="showers") as temporary:
        file = uproot.recreate(temporary)
        try:
            file[NOTE] = plan.note("par04-root").text()
            yield _Writer(file, plan, awkward)
        except BaseException:
            with suppress(Exception):  # only the first error is reported
                file.close()
            raise
        file.close()
