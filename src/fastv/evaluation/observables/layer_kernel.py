"""Energy, centre, width and sparsity of every layer, from one matrix product.

Definitions are those of the CaloChallenge (arXiv:2410.21611, section 4 and its public scripts), see
:func:`layer_observables`. Showers are processed in pieces small enough for all intermediate results to stay in the
processor's cache; all sums are in double precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.evaluation.observables.streaming import Reading, UncheckedBatch
from fastv.showers import Showers

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

LAYER_OBSERVABLES = (
    "layer_energies",
    "centre_x",
    "centre_y",
    "centre_r",
    "width_x",
    "width_y",
    "width_r",
    "cos_alpha",
    "sin_alpha",
    "sparsity",
)
_TINY = 1e-16
"""MeV, added to layer energies in denominators as in the CaloChallenge: empty layers have centre and width 0."""
_ROUNDING = 1e-12
"""Relative rounding of sums in double precision over the cells of a layer, generously.

The square of a width is the difference of two such sums. Two hits of which one has a millionth of the energy, a
hundredth of the radius apart, still have a square of 1e-10 of the sums.
"""
_PIECE_VOXELS = 330_000


def layer_observables(showers: Showers, workers: int | None = None) -> dict[str, F32]:
    """The observables of every layer, arrays (N, L) by the names of ``LAYER_OBSERVABLES``.

    With energies E_i >= threshold, S = sum E_i: layer energy S; centre EC_q = sum q_i E_i/(S + 1e-16) for q = x, y, r;
    width sqrt(max(0, sum q_i^2 E_i/(S + 1e-16) - EC_q^2)); alpha moments sum cos(alpha_i) E_i/(S + 1e-16), and with the
    sine; sparsity: fraction of voxels below threshold. An empty layer has centre, width and alpha moments 0 and
    sparsity 1. Centres and widths that are only rounding are 0, so that a single hit has no width. Energies in MeV,
    lengths in mm.

    Args:
        showers: (N, V).
        workers: number of threads, by default :func:`fastv.evaluation.threads.matrix_threads`.

    Raises:
        FileFormatError: a voxel energy is NaN, infinite or negative.

    Source: arXiv:2410.21611 and the challenge's ``HighLevelFeatures``.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     layers = layer_observables(file[:50])
        >>> layers["width_r"].shape, bool((layers["width_r"] <= 20.93).all())
        ((50, 45), True)
    """
    collector = _LayersCollector(showers)
    Reading(showers, label="layers").feed(collector, workers=workers)
    return collector.columns


class _LayersCollector:
    """Collects the layer observables of a whole sample."""

    def __init__(self, showers: Showers) -> None:
        self._kernel = LayerKernel(showers.detector)
        self.columns = empty_columns(showers)

    def look(self, batch: UncheckedBatch) -> tuple[slice, dict[str, F32]]:
        return batch.rows, self._kernel.whole_batch(batch.stored)

    def keep(self, part: tuple[slice, dict[str, F32]]) -> None:
        rows, found = part
        for name, values in found.items():
            self.columns[name][rows] = values


@dataclass(frozen=True)
class Piece:
    """Some consecutive showers of a batch; the next piece overwrites its arrays.

    Attributes:
        rows: their rows in the batch.
        energies: voxel energies before the threshold (n, V), MeV.
        hit: mask of voxels at or above threshold (n, V).
        above: voxel energies, zero below threshold (n, V), MeV.
        double: ``above`` in double precision.
        hits: number of voxels at or above threshold in each layer (n, L).
        radial: sums over all voxels of E, r E and r^2 E (3, n), MeV and mm.
    """

    rows: slice
    energies: F32
    hit: NDArray[np.bool_]
    above: F32
    double: F64
    hits: F32
    radial: F64


class LayerKernel:
    """Computes the observables of all layers, piece by piece; thread-safe.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     batch = file[:100]
        >>> sum(len(piece.hits) for piece in LayerKernel(batch.detector).pieces(batch, empty_columns(batch)))
        100
    """

    def __init__(self, detector: Detector) -> None:
        self.mesh, self.threshold = detector.mesh, detector.threshold
        self._blocks = _block_weights(detector.mesh)
        self._cells = np.diff(detector.mesh.layer_boundaries).astype(np.float64)

    def whole_batch(self, batch: Showers) -> dict[str, F32]:
        """The layer observables (n, L) of a batch, by name."""
        columns = empty_columns(batch)
        for _ in self.pieces(batch, columns):
            pass
        return columns

    def pieces(self, batch: Showers, columns: dict[str, F32]) -> Iterator[Piece]:
        """Fill the columns piece by piece, and yield each piece as input for further observables.

        Args:
            batch: undamaged showers (n, V), MeV.
            columns: arrays to fill, see :func:`empty_columns`.
        """
        step = max(1, _PIECE_VOXELS // self.mesh.n_voxels)
        shape = (min(step, len(batch)), self.mesh.n_voxels)
        # Allocating new arrays for every piece would take longer than the sums.
        hit, double = np.empty(shape, np.bool_), np.empty(shape, np.float64)
        ones, above = np.empty(shape, np.float32), np.empty(shape, np.float32)
        for first in range(0, len(batch), step):
            rows = slice(first, min(first + step, len(batch)))
            n = rows.stop - first
            energies = batch.energies[rows]
            at_or_above(energies, self.threshold, out=hit[:n])
            ones[:n] = hit[:n]
            np.multiply(energies, ones[:n], out=above[:n])
            double[:n] = above[:n]
            hits, radial = self._fill(double[:n], ones[:n], rows, columns)
            yield Piece(rows, energies, hit[:n], above[:n], double[:n], hits, radial)

    def _fill(self, double: F64, ones: F32, rows: slice, columns: dict[str, F32]) -> tuple[F32, F64]:
        n = len(double)
        hits = np.empty((n, self.mesh.n_layers), np.float32)
        radial = np.zeros((3, n))
        for block in self._blocks:
            cells = double[:, block.voxels].reshape(n * block.n_layers, -1)
            found = (block.weights @ cells.T).reshape(len(block.weights), n, block.n_layers)
            energy, radius, radius2, x, y, x2, y2, cos, sin = found
            inverse = 1 / (energy + _TINY)
            columns["layer_energies"][rows, block.layers] = energy
            for name, first, second in (("x", x, x2), ("y", y, y2), ("r", radius, radius2)):
                centre, width = _centre_and_width(inverse, first, second)
                columns[f"centre_{name}"][rows, block.layers] = centre
                columns[f"width_{name}"][rows, block.layers] = width
            for name, moment in (("cos_alpha", cos * inverse), ("sin_alpha", sin * inverse)):
                moment[np.abs(moment) <= _ROUNDING] = 0
                columns[name][rows, block.layers] = moment
            counted = ones[:, block.voxels].reshape(len(cells), -1) @ np.ones(cells.shape[1], np.float32)
            hits[:, block.layers] = counted.reshape(n, -1)
            radial += [part.sum(axis=1) for part in (energy, radius, radius2)]
        columns["sparsity"][rows] = 1 - hits / self._cells
        return hits, radial


def empty_columns(batch: Showers) -> dict[str, F32]:
    """Uninitialised arrays (n, L) for the layer observables of a batch, by name."""
    shape = (len(batch), batch.mesh.n_layers)
    return {name: np.empty(shape, np.float32) for name in LAYER_OBSERVABLES}


def at_or_above(energies: F32, threshold: float, out: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Mask of voxels at or above threshold; for a threshold of 0, of voxels above zero. All in MeV."""
    if threshold == 0:
        return np.greater(energies, 0, out=out)
    return np.greater_equal(energies, np.float32(threshold), out=out)


def centre_and_width(energy: F64, first: F64, second: F64) -> tuple[F64, F64]:
    """Energy-weighted centre and width in q from the sums of E, q E and q^2 E, of one shape; both 0 where E is 0.

    What is only rounding of these sums is 0: a single hit has no width, an even ring no centre.

    Example:
        >>> centre, width = centre_and_width(np.array([2.0]), np.array([2.0]), np.array([4.0]))
        >>> float(centre[0]), float(width[0])
        (1.0, 1.0)
    """
    return _centre_and_width(1 / (energy + _TINY), first, second)


def _centre_and_width(inverse: F64, first: F64, second: F64) -> tuple[F64, F64]:
    """The same from 1/(E + 1e-16)."""
    centre = first * inverse
    mean_square = second * inverse
    # The 1e-16 MeV in the denominator spoil the difference of layers with next to no energy too.
    rounding = mean_square * (_ROUNDING + 2 * _TINY * inverse)
    square = mean_square - centre * centre
    square[square <= rounding] = 0
    centre[np.abs(centre) <= np.sqrt(mean_square) * _ROUNDING] = 0
    return centre, np.sqrt(square, out=square)


@dataclass(frozen=True)
class _BlockWeights:
    """Layers of equal segmentation, and weights (9, cells): 1, r, r^2, x, y, x^2, y^2, cosine and sine of alpha."""

    layers: slice
    n_layers: int
    voxels: slice
    weights: F64


def _block_weights(mesh: ReadoutMesh) -> list[_BlockWeights]:
    blocks: list[_BlockWeights] = []
    layer = 0
    for block in mesh.blocks:
        layers = slice(layer, layer + block.layers)
        voxels = slice(int(mesh.layer_boundaries[layers.start]), int(mesh.layer_boundaries[layers.stop]))
        first = mesh.layer_slice(layer)
        x, y, r = mesh.voxel_centres[first, 0], mesh.voxel_centres[first, 1], mesh.voxel_r[first]
        # The cosine of 90 degrees is 6e-17 in double precision.
        cos, sin = (np.where(np.abs(q) > _ROUNDING * r, q / r, 0.0) for q in (x, y))
        x, y = r * cos, r * sin
        # Without alpha cells a voxel is a full ring, centred on the axis: x and y are 0.
        planar = np.stack([x, y, x**2, y**2, cos, sin]) * (block.alpha_cells > 1)
        blocks.append(
            _BlockWeights(
                layers=layers,
                n_layers=block.layers,
                voxels=voxels,
                weights=np.concatenate([np.stack([np.ones_like(r), r, r**2]), planar]),
            )
        )
        layer = layers.stop
    return blocks
