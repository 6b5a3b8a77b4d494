"""The intrinsic dimension of showers against their energy: of full simulation and of generators."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.errors import SettingsError
from fastv.evaluation.metrics.features import feature_matrix
from fastv.evaluation.observables.streaming import FirstOfFile
from fastv.progress import Bar
from fastv.representation.components import observed, roots
from fastv.representation.discriminants import On, check_same_cells, names_of
from fastv.representation.intrinsic_dimension import IntrinsicDimension, at_scales, distinct
from fastv.representation.pictures import dimension_picture, write_picture
from fastv.storage.output import check_free, written_whole
from fastv.suggestions import unknown
from fastv.wording import counted

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

LEAST = 50
"""Showers of a file in a bin that are needed."""


@dataclass(frozen=True)
class Manifold:
    """Intrinsic dimensions of the showers of files in bins of the incident energy.

    Attributes:
        names: of the files (F).
        edges: of the bins (B + 1,) in MeV.
        scales: of each file (F) and bin (B) the dimensions of as many showers for all files, and of a half, a quarter,
            ... of them, the largest number first.
        empty: showers of each file (F) without energy, which are left out.
        repeated: showers of each file (F) that are the same as an earlier one in their bin, which are left out.
    """

    names: tuple[str, ...]
    edges: F64
    scales: list[list[list[IntrinsicDimension]]]
    empty: tuple[int, ...]
    repeated: tuple[int, ...]

    def differences(self, file: int) -> F64:
        """How far the dimension of a file is above that of the first one in each bin (B,), in units of the error."""
        pairs = zip(self.scales[file], self.scales[0], strict=True)
        return np.array([(a.value - b.value) / np.hypot(a.error, b.error) for (a, *_), (b, *_) in pairs])

    def as_dict(self) -> dict[str, Any]:
        """What a machine reads."""
        return {
            "edges": self.edges.tolist(),
            "files": [
                {
                    "name": name,
                    "empty": self.empty[place],
                    "repeated": self.repeated[place],
                    "dimension": [bins[0].value for bins in self.scales[place]],
                    "error": [bins[0].error for bins in self.scales[place]],
                    "difference_from_first": self.differences(place).tolist(),
                    "scales": [[each._asdict() for each in bins] for bins in self.scales[place]],
                }
                for place, name in enumerate(self.names)
            ],
        }


def manifold(
    files: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    bins: int = 5,
    on: On = "observables",
    showers: int = 10_000,
    mesh: str | Detector | None = None,
    force: bool = False,
) -> Manifold:
    """Estimate the intrinsic dimension of showers in bins of energy, and write it with a picture into a folder.

    The two-NN estimate (:func:`~fastv.representation.intrinsic_dimension.two_nearest`) is that of as many showers of
    each file, because it depends on how many there are. The bins have as many showers of the first file each; showers
    of other energies than its are not used. Give a second file of the same full simulation to see what chance does.
    Showers without energy and repeated ones are left out and counted.

    Args:
        files: showers files; the others are compared with the first.
        output: the folder to make.
        bins: number of bins of the incident energy.
        on: ``observables``, those of distances between samples but for the incident energy, in units of their spread
            over the first file's showers of the bin, or ``voxels``, the roots of E_v / E_inc.
        showers: use the first so many of each file.
        mesh: detector or its name, for plain CaloChallenge files.
        force: replace an existing analysis.

    Raises:
        SettingsError: a file has fewer than 50 showers in a bin that differ and have energy, or some are damaged.
        GeometryError: the files differ in their cells.
        FileFormatError: a file is damaged.
        OutputError: the folder exists, or cannot be written.

    Source: Facco et al., Sci. Rep. 7 (2017) 12140.

    Example:
        >>> import tempfile
        >>> from fastv.sample import sample_path
        >>> folder = Path(tempfile.mkdtemp()) / "manifold"
        >>> found = manifold(sample_path("test"), folder, bins=2, showers=300)
        >>> [round(bins[0].value) > 5 for bins in found.scales[0]]
        [True, True]
    """
    if on not in get_args(On):
        raise SettingsError(unknown("kind of features", str(on), get_args(On)))
    for name, value, least in (("bins", bins, 1), ("showers", showers, LEAST)):
        if value < least:
            msg = f"`{name}` must be at least {least}, got {value}"
            raise SettingsError(msg)
    check_free(output, force=force, kind="analysis")
    paths = [Path(path) for path in ([files] if isinstance(files, str | Path) else files)]
    with ExitStack() as stack:
        opened = [stack.enter_context(FirstOfFile(path, mesh, showers=showers, parameter="mesh")) for path in paths]
        check_same_cells(opened)
        edges = _edges(opened[0], bins)
        # Those of voxels are read when they are needed: of one file they may be gigabytes.
        features = [_Features(file, on) for file in opened]
        found = _measured(opened, features, edges)
    with written_whole(output, force=force, kind="analysis") as folder:
        folder.mkdir()
        told = {"files": [path.name for path in paths], "on": on, **found.as_dict()}
        (folder / "manifold.json").write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        write_picture(folder / "manifold.png", dimension_picture(found.names, found.edges, found.scales))
    return found


def _edges(file: FirstOfFile, bins: int) -> F64:
    """Edges of bins with as many showers each; fewer bins if many energies are the same."""
    if not len(file):
        msg = f"{file.path}: there are no showers"
        raise SettingsError(msg)
    edges = np.unique(np.quantile(file.incident_energies, np.linspace(0, 1, bins + 1)))
    return edges if len(edges) > 1 else np.repeat(edges, 2)


def _bin_of(energies: F64, edges: F64) -> NDArray[np.int64]:
    """The bin of each shower (N,); -1 outside of all."""
    found = np.searchsorted(edges[1:-1], energies, side="right")
    return np.where((energies >= edges[0]) & (energies <= edges[-1]), found, -1)


class _Features:
    """The points of a file's showers in which neighbours are sought."""

    def __init__(self, file: FirstOfFile, on: On) -> None:
        self.file, self.on = file, on
        found = observed(file)
        self.filled = found.total_energy > 0
        self.columns = feature_matrix(found)[:, 1:] if on == "observables" else None

    def of(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The points (n, D) of some rows."""
        return roots(self.file[rows]) if self.columns is None else self.columns[rows]


def _measured(files: Sequence[FirstOfFile], features: Sequence[_Features], edges: F64) -> Manifold:
    labels = [_bin_of(file.incident_energies, edges) for file in files]
    scales: list[list[list[IntrinsicDimension]]] = [[] for _ in files]
    repeated = [0] * len(files)
    with Bar(total=len(files) * (len(edges) - 1), unit="bin", desc="dimensions") as bar:
        for number, ends in enumerate(pairwise(edges.tolist())):
            points: list[F32] = []
            spread = np.ones(1)
            for place, (file, label, each) in enumerate(zip(files, labels, features, strict=True)):
                rows = np.flatnonzero((label == number) & each.filled)
                _check_enough(file, len(rows), 0, ends)
                found = each.of(rows)
                if each.columns is not None:
                    spread = found.std(axis=0) if place == 0 else spread
                    found = found[:, spread > 0] / spread[spread > 0]
                found = found.astype(np.float32)
                kept = distinct(found)
                _check_enough(file, len(kept), len(found) - len(kept), ends)
                repeated[place] += len(found) - len(kept)
                points.append(found[kept])
            n = min(map(len, points))
            for place in range(len(files)):
                scales[place].append(at_scales(points[place][:n], LEAST))
                bar.update(1)
    empty = tuple(int((~each.filled).sum()) for each in features)
    return Manifold(names_of(files), edges, scales, empty, tuple(repeated))


def _check_enough(file: FirstOfFile, number: int, repeated: int, ends: tuple[float, float]) -> None:
    if number < LEAST:
        where = f"from {ends[0] / 1000:.3g} to {ends[1] / 1000:.3g} GeV"
        besides = f" besides {counted(repeated, 'repeated one')}" if repeated else ""
        what = f"{counted(number, 'shower')} with energy {where}{besides}"
        how = "take fewer bins, see `bins=...`, or showers of these energies"
        msg = f"{file.path}: there {'is' if number < 2 else 'are'} {what}; at least {LEAST} are needed: {how}"
        raise SettingsError(msg)
