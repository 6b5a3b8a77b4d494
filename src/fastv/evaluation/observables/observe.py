"""Shower observables, computed while a sample is read batch by batch.

Definitions are those of the CaloChallenge (arXiv:2410.21611, section 4 and its public scripts), with x = r cos(alpha),
called eta there, and y = r sin(alpha), called phi there, both in mm. The readout threshold is applied first. Values are
stored per shower, so that any subset (an energy bin, a half) is a slice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.record import joined_conditions
from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.evaluation.observables.coarse_cells import coarse_blocks
from fastv.evaluation.observables.layer_kernel import LayerKernel, Piece, at_or_above, centre_and_width, empty_columns
from fastv.evaluation.observables.streaming import Reading, UncheckedBatch
from fastv.evaluation.observables.streaming import Source as Source
from fastv.evaluation.observables.voxel_bins import VoxelBins
from fastv.showers import Conditions, Showers

VOXEL_BINS = 49
HOT_VOXELS = 48
"""Number of voxels whose energies are stored for each shower: those with most energy on average."""
_KEPT_BYTES = 3 * 2**28
"""Bytes of voxel energies held until the largest one, and with it the binning, is known; beyond, a second pass."""
_FIRST_SHOWERS = 1000
_NORMAL = 0.02
"""rad, showers nearer to normal incidence than this are symmetric."""

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Observables:
    """Observables of N showers in L layers, energies in MeV, lengths in mm, angles in rad.

    Attributes:
        detector: the detector, its mesh and threshold.
        conditions: of the showers, (N,) each.
        layer_energies: (N, L).
        centre_x, centre_y, centre_r: centres of energy per layer (N, L); the first two are 0 in layers with one alpha
            cell, which :func:`alpha_layers` leaves out.
        width_x, width_y, width_r: energy-weighted standard deviations per layer (N, L).
        cos_alpha, sin_alpha: energy-weighted means of the cosine and the sine of alpha per layer (N, L); 0 in layers
            with one alpha cell.
        sparsity: fraction of voxels below threshold (N, L).
        ring_energies: energy in each ring of :func:`ring_edges`, summed over layers, (N, R).
        radial_mean, radial_width: energy-weighted mean and standard deviation of the radius (N,).
        voxel_counts: number of voxels in each bin of ``voxel_edges`` (N, K).
        voxel_edges: edges of the voxel spectrum (K + 1,) MeV.
        largest_voxels: largest voxel energy of each shower (N,).
        coarse_cells: energies in about a hundred groups of voxels (N, C), see
            :mod:`fastv.evaluation.observables.coarse_cells`.
        hot_voxels: indices of the voxels with most energy on average (H,), increasing.
        hot_energies: their energies (N, H).
        lateral_map: energy summed over layers (N, alpha, r) of a regular mesh, else None.
        image: mean energy per layer and ring (L, R) of all showers; None for a subset.
    """

    detector: Detector
    conditions: Conditions
    layer_energies: F32
    centre_x: F32
    centre_y: F32
    centre_r: F32
    width_x: F32
    width_y: F32
    width_r: F32
    cos_alpha: F32
    sin_alpha: F32
    sparsity: F32
    ring_energies: F32
    radial_mean: F32
    radial_width: F32
    voxel_counts: NDArray[np.int32]
    voxel_edges: F64
    largest_voxels: F32
    coarse_cells: F32
    hot_voxels: NDArray[np.int64]
    hot_energies: F32
    lateral_map: F32 | None = None
    image: F64 | None = None

    def __len__(self) -> int:
        return len(self.conditions)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Observables:
        """The observables of selected showers: a slice, mask or indices."""
        shared = {"detector", "voxel_edges", "hot_voxels", "image"}
        names = [f.name for f in fields(self) if f.name not in shared and getattr(self, f.name) is not None]
        cut = {name: getattr(self, name)[rows] for name in names}
        return replace(self, **cut, image=None)

    @property
    def incident_energies(self) -> F64:
        """Incident energies (N,) in MeV."""
        return self.conditions.energy

    @property
    def theta(self) -> F64 | None:
        """Polar angles (N,) in rad, or None if the sample has none."""
        return self.conditions.theta

    @property
    def phi(self) -> F64 | None:
        """Azimuthal angles (N,) in rad, or None if the sample has none."""
        return self.conditions.phi

    @property
    def inclined(self) -> bool:
        """Whether showers are known to enter at an angle, so that they need not be symmetric around their axis.

        Normal incidence is theta = 90 degrees on a barrel and 0 on planes, or, where the detector's stack is unknown,
        either of them for all showers; within 0.02 rad.
        """
        if self.theta is None or not len(self):
            return False
        stack = self.detector.stack
        normal = (0.0, math.pi / 2) if stack is None else (stack.right_angle,)
        return not any(bool(np.all(np.abs(self.theta - angle) < _NORMAL)) for angle in normal)

    @property
    def total_energy(self) -> F64:
        """E_tot (N,) in MeV, float64."""
        total: F64 = self.layer_energies.sum(axis=1, dtype=np.float64)
        return total

    @property
    def visible_fraction(self) -> F64:
        """E_tot/E_inc (N,)."""
        return self.total_energy / self.incident_energies

    @property
    def hit_multiplicity(self) -> NDArray[np.int64]:
        """Number of voxels at or above threshold (N,)."""
        cells = np.diff(self.detector.mesh.layer_boundaries)
        hits: F64 = np.rint((1 - self.sparsity.astype(np.float64)) * cells).sum(axis=1)
        return hits.astype(np.int64)

    @cached_property
    def _depth_moments(self) -> tuple[F64, F64]:
        z = self.detector.mesh.layer_z
        energies = self.layer_energies.astype(np.float64)
        centre, width = centre_and_width(self.total_energy, energies @ z, energies @ z**2)
        # In single precision, in which the energies are stored: the depth of a single layer is then one number.
        return centre.astype(np.float32).astype(np.float64), width

    @property
    def longitudinal_mean(self) -> F64:
        """First moment of the depth, sum_l z_l E_l/E_tot (N,), in mm, or in layers if the mesh has no thicknesses."""
        return self._depth_moments[0]

    @property
    def longitudinal_width(self) -> F64:
        """Square root of the second central moment of the depth (N,), in the unit of the first moment."""
        return self._depth_moments[1]

    @property
    def lateral_mean(self) -> F32:
        """First moment of the radius, sum_v r_v E_v/E_tot (N,), mm."""
        return self.radial_mean

    @property
    def lateral_width(self) -> F32:
        """Square root of the second central moment of the radius (N,), mm."""
        return self.radial_width


def alpha_layers(mesh: ReadoutMesh) -> NDArray[np.int64]:
    """Indices of the layers with more than one alpha cell; only these have centres and widths in x and y.

    Example:
        >>> alpha_layers(Detector.preset("par04-siw").mesh).size
        45
    """
    return np.flatnonzero([layer.alpha_cells > 1 for layer in mesh.layers])


def ring_edges(mesh: ReadoutMesh) -> F64:
    """Edges (R + 1,) in mm of the rings of the lateral profile: the union of the r edges of all layers.

    If layers differ, the energy of a voxel is shared among the rings it covers in proportion to their width in r.
    """
    return np.unique(np.concatenate([block.r_edges for block in mesh.blocks]))


def default_voxel_edges(threshold: float, largest: float) -> F64:
    """Edges (50,) of the voxel spectrum, logarithmic from the threshold to the largest voxel energy, all in MeV.

    Without a threshold the spectrum starts seven decades below the largest voxel energy.

    Example:
        >>> default_voxel_edges(0.015, 1500.0)[[0, -1]]
        array([1.5e-02, 1.5e+03])
    """
    low = threshold or largest * 1e-7
    high = largest if largest > 1.001 * low else 10 * low
    edges = np.geomspace(low, high, VOXEL_BINS + 1) if low > 0 else np.geomspace(1e-3, 1e3, VOXEL_BINS + 1)
    return np.asarray(edges, dtype=np.float64)


def hottest_voxels(showers: Showers, number: int = HOT_VOXELS) -> NDArray[np.int64]:
    """Indices (H,) of the voxels with the largest mean fraction of the incident energy, increasing."""
    shares = (1 / showers.incident_energies).astype(np.float32) @ showers.energies
    return np.sort(np.argsort(-shares, kind="stable")[:number]).astype(np.int64)


def observe(
    source: Source,
    *,
    like: Observables | None = None,
    voxel_edges: F64 | None = None,
    batch_rows: int | None = None,
    workers: int | None = None,
    label: str = "observables",
) -> Observables:
    """Compute all observables of a sample; see :class:`ObservablesCollector` for a pass shared with other collectors.

    Per layer with energies E_i >= threshold, S = sum E_i: layer energy S; centre EC_q = sum q_i E_i/(S + 1e-16) for
    q = x, y, r; width sqrt(max(0, sum q_i^2 E_i/(S + 1e-16) - EC_q^2)); sparsity: fraction of voxels below threshold.

    Args:
        source: an open file or showers in memory, (N, V) MeV.
        like: observables of the sample to compare with, usually the reference; its ``voxel_edges`` and ``hot_voxels``
            are used.
        voxel_edges: edges of the voxel spectrum in MeV; by default those of ``like``, or
            :func:`default_voxel_edges` up to the sample's own largest voxel energy.
        batch_rows: showers read at a time, see :class:`fastv.evaluation.observables.streaming.Reading`.
        workers: number of threads, by default :func:`fastv.evaluation.threads.matrix_threads`.
        label: label of the progress bar on standard error.

    Raises:
        FileFormatError: a voxel energy is NaN, infinite or negative.

    Source: arXiv:2410.21611 and the challenge's ``HighLevelFeatures``.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     observables = observe(file[:50])
        >>> observables.layer_energies.shape, bool((observables.sparsity <= 1).all())
        ((50, 45), True)
    """
    reading = Reading(source, rows=batch_rows, label=label)
    collector = ObservablesCollector(reading, like=like, voxel_edges=voxel_edges)
    reading.feed(collector, workers=workers)
    return collector.result()


class ObservablesCollector:
    """Collects the observables of all undamaged showers of a sample.

    Without given edges of the voxel spectrum, the energies of all hits stay in memory until the largest one is known. A
    sample with more than 768 MiB of them, about 200 million hits, is read a second time for its voxel spectrum.

    Args:
        reading: the pass over the sample; without ``like`` its first 1000 showers determine ``hot_voxels``.
        like, voxel_edges: see :func:`observe`.

    Raises:
        FileFormatError: ``like`` is None and the file is damaged.
    """

    def __init__(self, reading: Reading, *, like: Observables | None = None, voxel_edges: F64 | None = None) -> None:
        self._source = reading.source
        self._edges = like.voxel_edges if voxel_edges is None and like is not None else voxel_edges
        self._hot = hottest_voxels(reading.first(_FIRST_SHOWERS)) if like is None else like.hot_voxels
        bins = None if self._edges is None else VoxelBins(self._edges)
        self._kernel = _Kernel(self._source.detector, self._hot, bins)
        self._columns: dict[str, NDArray[Any]] = {}
        self._conditions: list[Conditions] = []
        self._showers = 0
        self._image: F64 | float = 0.0
        self._hits = _KeptHits()

    def look(self, batch: UncheckedBatch) -> _Found:
        """The observables of one batch."""
        return self._kernel(batch.undamaged)

    def keep(self, part: _Found) -> None:
        """Add the observables of a batch to those of the sample."""
        here = slice(self._showers, self._showers + part.showers)
        self._showers = here.stop
        self._conditions.append(part.conditions)
        for name, values in part.columns.items():
            if name not in self._columns:
                self._columns[name] = np.zeros((len(self._source), *values.shape[1:]), dtype=values.dtype)
            self._columns[name][here] = values
        self._image = self._image + part.image
        self._hits.keep(part.hits)

    def result(self) -> Observables:
        """The observables of all undamaged showers read so far."""
        if not self._columns:
            self.keep(self._kernel(self._source[:0]))
        columns = {name: values[: self._showers] for name, values in self._columns.items()}
        edges = self._edges
        if edges is None:
            largest = float(columns["largest_voxels"].max(initial=0.0))
            edges = default_voxel_edges(self._source.detector.threshold, largest)
            columns["voxel_counts"] = self._counts(VoxelBins(edges))
        return Observables(
            detector=self._source.detector,
            conditions=joined_conditions(self._conditions),
            **columns,
            voxel_edges=edges,
            hot_voxels=self._hot,
            image=np.asarray(self._image) / max(1, self._showers),
        )

    def _counts(self, bins: VoxelBins) -> NDArray[np.int32]:
        if self._hits.complete:
            counts = [bins.count(*pair) for pair in self._hits.pairs]
        else:
            counter = _CountsCollector(bins)
            Reading(self._source, label="voxel spectrum").feed(counter, damaged="pass on")
            counts = counter.counts
        return np.concatenate([np.zeros((0, len(bins)), np.int32), *counts])


class _CountsCollector:
    """Collects the number of voxels of each shower in each bin."""

    def __init__(self, bins: VoxelBins) -> None:
        self._bins = bins
        self.counts: list[NDArray[np.int32]] = []

    def look(self, batch: UncheckedBatch) -> NDArray[np.int32]:
        energies = batch.undamaged.energies
        hit = at_or_above(energies, batch.stored.detector.threshold)
        return self._bins.count(energies[hit], hit.sum(axis=1))

    def keep(self, part: NDArray[np.int32]) -> None:
        self.counts.append(part)


Hits = tuple[F32, NDArray[np.integer]]
"""Energies of the voxels at or above threshold, shower after shower, and their number in each shower."""


class _KeptHits:
    """Hits kept until the edges of the voxel spectrum are known, so that the file is read only once."""

    def __init__(self) -> None:
        self.pairs: list[Hits] = []
        self.complete = True
        self._bytes = 0

    def keep(self, hits: Hits | None) -> None:
        if hits is None or not self.complete:
            return
        self.pairs.append(hits)
        self._bytes += hits[0].nbytes
        if self._bytes > _KEPT_BYTES:
            self.complete = False
            self.pairs.clear()


@dataclass(frozen=True)
class _Found:
    """Observables of one batch: columns with a row per shower, the summed image, and hits not yet counted in bins."""

    conditions: Conditions
    columns: dict[str, NDArray[Any]]
    image: F64
    hits: Hits | None
    showers: int


class _Kernel:
    """Computes all observables of one batch; thread-safe."""

    def __init__(self, detector: Detector, hot_voxels: NDArray[np.int64], bins: VoxelBins | None) -> None:
        self._layers = LayerKernel(detector)
        self._blocks = _blocks(detector.mesh)
        self._n_rings = len(ring_edges(detector.mesh)) - 1
        self._hot = hot_voxels
        self._bins = bins

    def __call__(self, batch: Showers) -> _Found:
        n, mesh = len(batch), batch.mesh
        layers = empty_columns(batch)
        columns: dict[str, NDArray[Any]] = {
            "largest_voxels": np.zeros(n, np.float32),
            "coarse_cells": np.empty((n, sum(block.n_coarse for block in self._blocks)), np.float32),
            "hot_energies": np.empty((n, len(self._hot)), np.float32),
            "ring_energies": np.zeros((n, self._n_rings), np.float32),
            "radial_mean": np.empty(n, np.float32),
            "radial_width": np.empty(n, np.float32),
        }
        if mesh.is_regular:
            columns["lateral_map"] = np.zeros((n, *mesh.shape[1:]), np.float32)
        if self._bins is not None:
            columns["voxel_counts"] = np.empty((n, len(self._bins)), np.int32)
        summed = np.zeros(mesh.n_voxels)
        voxels: list[F32] = []
        numbers: list[NDArray[np.int64]] = []
        for piece in self._layers.pieces(batch, layers):
            rows = piece.rows
            columns["largest_voxels"][rows] = piece.above.max(axis=1)
            columns["hot_energies"][rows] = piece.above[:, self._hot]
            columns["radial_mean"][rows], columns["radial_width"][rows] = centre_and_width(*piece.radial)
            self._group(piece, columns)
            summed += np.ones(len(piece.double)) @ piece.double
            found, hits = piece.energies[piece.hit], piece.hits.sum(axis=1, dtype=np.int64)
            if self._bins is None:
                voxels.append(found)
                numbers.append(hits)
            else:
                columns["voxel_counts"][rows] = self._bins.count(found, hits)
        image = np.zeros((mesh.n_layers, self._n_rings))
        for block in self._blocks:
            per_layer = summed[block.voxels].reshape(-1, *block.cells).sum(axis=1)
            image[block.layers] = per_layer @ block.ring_shares
        waiting = (np.concatenate(voxels), np.concatenate(numbers)) if voxels else None
        return _Found(batch.conditions, {**layers, **columns}, image, waiting, n)

    def _group(self, piece: Piece, columns: dict[str, NDArray[Any]]) -> None:
        """Fill coarse cells, lateral map and rings, all from sums over groups of layers."""
        n, rows = len(piece.above), piece.rows
        first = 0
        for block in self._blocks:
            cells = piece.above[:, block.voxels].reshape(n, -1, block.n_cells)
            if block.equal_groups:
                grouped = cells.reshape(n, len(block.groups), -1, block.n_cells).sum(axis=2)
            else:
                grouped = np.stack([cells[:, group].sum(axis=1) for group in block.groups], axis=1)
            last = first + block.n_coarse
            columns["coarse_cells"][rows, first:last] = (grouped.reshape(-1, block.n_cells) @ block.coarse).reshape(
                n, -1
            )
            first = last
            lateral = grouped.sum(axis=1).reshape(n, *block.cells)
            columns["ring_energies"][rows] += lateral.sum(axis=1) @ block.ring_shares
            if "lateral_map" in columns:
                columns["lateral_map"][rows] += lateral


@dataclass(frozen=True)
class _Block:
    """Layers of equal segmentation, with the weights that sum cells into coarse cells and rings.

    ``coarse`` is (cells, coarse cells of a group), ``ring_shares`` (r cells, R).
    """

    layers: slice
    voxels: slice
    cells: tuple[int, int]
    groups: tuple[slice, ...]
    coarse: F32
    ring_shares: F64

    @property
    def n_cells(self) -> int:
        return self.cells[0] * self.cells[1]

    @property
    def n_coarse(self) -> int:
        return len(self.groups) * int(self.coarse.shape[1])

    @property
    def equal_groups(self) -> bool:
        return len({group.stop - group.start for group in self.groups}) == 1


def _blocks(mesh: ReadoutMesh) -> list[_Block]:
    edges = ring_edges(mesh)
    blocks: list[_Block] = []
    layer = 0
    for block, coarse in zip(mesh.blocks, coarse_blocks(mesh), strict=True):
        layers = slice(layer, layer + block.layers)
        low, high = np.asarray(block.r_edges[:-1])[:, None], np.asarray(block.r_edges[1:])[:, None]
        overlap = np.clip(np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1]), 0, None)
        blocks.append(
            _Block(
                layers=layers,
                voxels=slice(int(mesh.layer_boundaries[layers.start]), int(mesh.layer_boundaries[layers.stop])),
                cells=(block.alpha_cells, block.r_cells),
                groups=coarse.groups,
                coarse=coarse.membership,
                ring_shares=overlap / (high - low),
            )
        )
        layer = layers.stop
    return blocks
