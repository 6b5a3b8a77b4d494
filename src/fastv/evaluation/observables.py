"""Shower observables, computed while the showers stream by.

Definitions are those of the CaloChallenge (arXiv:2410.21611, section 4 and its public scripts), with x = r cos(alpha),
called eta there, and y = r sin(alpha), called phi there, both in mm. The readout threshold is applied before
everything. All is kept per shower, so that any subset (an energy bin, a half) is a slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fastv.errors import FileFormatError
from fastv.geometry import Detector, ReadoutMesh
from fastv.showers import Showers, ShowersFile

VOXEL_BINS = 49
_TINY = 1e-16
"""Added to layer energies in denominators, as the challenge does: empty layers have centre and width 0."""
_BATCH_VOXELS = 4_000_000

Source = ShowersFile | Showers
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Observables:
    """Observables of N showers in L layers, energies in MeV, lengths in mm.

    Attributes:
        detector: the detector, its mesh and threshold.
        incident_energies: (N,).
        layer_energies: (N, L).
        centre_x, centre_y, centre_r: centres of energy per layer (N, L); the first two are 0 in layers with one alpha
            cell, which :func:`alpha_layers` leaves out.
        width_x, width_y, width_r: energy-weighted standard deviations per layer (N, L).
        sparsity: fraction of voxels below threshold (N, L).
        ring_energies: energy per r ring of :func:`ring_edges`, summed over layers, (N, R).
        voxel_counts: voxels per bin of ``voxel_edges`` (N, K).
        voxel_edges: (K + 1,) MeV.
        image: mean energy per layer and ring (L, R) of all showers; None for a subset.
    """

    detector: Detector
    incident_energies: F64
    layer_energies: F32
    centre_x: F32
    centre_y: F32
    centre_r: F32
    width_x: F32
    width_y: F32
    width_r: F32
    sparsity: F32
    ring_energies: F32
    radial_mean: F32
    radial_width: F32
    voxel_counts: NDArray[np.int32]
    voxel_edges: F64
    image: F64 | None = None

    def __len__(self) -> int:
        return len(self.incident_energies)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Observables:
        """Some of the showers, by slice, mask or indices."""
        shared = {"detector", "voxel_edges", "image"}
        cut = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in shared}
        return replace(self, **cut, image=None)

    @property
    def total_energy(self) -> F64:
        """E_tot (N,) in MeV, float64."""
        total: F64 = self.layer_energies.sum(axis=1, dtype=np.float64)
        return total

    @property
    def visible_fraction(self) -> F64:
        """E_tot/E_inc (N,)."""
        return self.total_energy / self.incident_energies

    def _depth_moment(self, power: int) -> F64:
        weights = self.detector.mesh.layer_z**power
        return (self.layer_energies @ weights) / (self.total_energy + _TINY)

    @property
    def longitudinal_mean(self) -> F64:
        """First moment of the depth, sum_l z_l E_l/E_tot (N,), mm (layers where the mesh tells no thickness)."""
        return self._depth_moment(1)

    @property
    def longitudinal_width(self) -> F64:
        """Square root of the second central moment of the depth (N,), unit as the first."""
        return np.sqrt(np.maximum(0.0, self._depth_moment(2) - self._depth_moment(1) ** 2))

    @property
    def lateral_mean(self) -> F32:
        """First moment of the radius, sum_v r_v E_v/E_tot (N,), mm."""
        return self.radial_mean

    @property
    def lateral_width(self) -> F32:
        """Square root of the second central moment of the radius (N,), mm."""
        return self.radial_width


def alpha_layers(mesh: ReadoutMesh) -> NDArray[np.int64]:
    """Indices of the layers with more than one alpha cell: only these have centres and widths in x and y.

    Example:
        >>> alpha_layers(Detector.preset("par04-siw").mesh).size
        45
    """
    return np.flatnonzero([layer.alpha_cells > 1 for layer in mesh.layers])


def ring_edges(mesh: ReadoutMesh) -> F64:
    """Edges (R + 1,) in mm of the r rings of the lateral profile: all r edges that any layer has.

    Where layers differ, the energy of a voxel is shared over the rings it covers in proportion to their width in r.
    """
    return np.unique(np.concatenate([block.r_edges for block in mesh.blocks]))


def default_voxel_edges(threshold: float, largest: float) -> F64:
    """Edges (50,) in MeV of the voxel spectrum: logspace(threshold, largest voxel of the reference).

    Without a threshold the spectrum starts seven decades below the largest voxel.

    Example:
        >>> default_voxel_edges(0.015, 1500.0)[[0, -1]]
        array([1.5e-02, 1.5e+03])
    """
    low = threshold or largest * 1e-7
    high = largest if largest > low else 10 * low
    edges = np.geomspace(low, high, VOXEL_BINS + 1) if low > 0 else np.geomspace(1e-3, 1e3, VOXEL_BINS + 1)
    return np.asarray(edges, dtype=np.float64)


def largest_voxel(source: Source) -> float:
    """Largest voxel energy in MeV of all showers, in one pass over the file."""
    return max((float(batch.energies.max()) for batch in _batches(source, None, "scan") if len(batch)), default=0.0)


def observe(
    source: Source,
    *,
    voxel_edges: F64 | None = None,
    batch_rows: int | None = None,
    label: str = "observables",
) -> Observables:
    """Compute all observables of a sample, batch by batch.

    Per layer with energies E_i >= threshold, S = sum E_i: layer energy S; centre EC_q = sum q_i E_i/(S + 1e-16) for
    q = x, y, r; width sqrt(max(0, sum q_i^2 E_i/(S + 1e-16) - EC_q^2)); sparsity = fraction of voxels that are zero.

    Args:
        source: an open file or showers in memory, (N, V) MeV.
        voxel_edges: edges of the voxel spectrum in MeV; by default those of :func:`default_voxel_edges`, which takes
            one more pass to find the largest voxel.
        batch_rows: showers a batch; by default about 4 million voxels.
        label: what the progress bar on standard error says.

    Raises:
        FileFormatError: a voxel energy is NaN, infinite or negative.

    Source: arXiv:2410.21611 and the challenge's ``HighLevelFeatures``.

    Example:
        >>> from fastv.sample import sample_path
        >>> with ShowersFile(sample_path("test")) as file:
        ...     observables = observe(file[:50])
        >>> observables.layer_energies.shape, bool((observables.sparsity <= 1).all())
        ((50, 45), True)
    """
    if voxel_edges is None:
        voxel_edges = default_voxel_edges(source.detector.threshold, largest_voxel(source))
    mesh, threshold = source.detector.mesh, source.detector.threshold
    blocks = _block_weights(mesh)
    n, n_layers, n_rings = len(source), mesh.n_layers, len(ring_edges(mesh)) - 1
    layers = {
        name: np.zeros((n, n_layers), dtype=np.float32)
        for name in ("layer_energies", "centre_x", "centre_y", "centre_r", "width_x", "width_y", "width_r", "sparsity")
    }
    incident = np.zeros(n)
    rings = np.zeros((n, n_rings), dtype=np.float32)
    radial = np.zeros((2, n), dtype=np.float32)
    counts = np.zeros((n, len(voxel_edges) - 1), dtype=np.int32)
    image = np.zeros((n_layers, n_rings))
    start = 0
    for batch in _batches(source, batch_rows, label):
        rows = slice(start, start + len(batch))
        start = rows.stop
        energies = batch.energies
        hit = energies > 0 if threshold == 0 else energies >= threshold
        cut = np.where(hit, energies, 0.0).astype(np.float64)
        incident[rows] = batch.incident_energies
        moments = np.zeros((2, len(batch)))
        for block in blocks:
            here = (rows, block.layers)
            cells = cut[:, block.voxels].reshape(len(batch), -1, block.weights.shape[0])
            sums = cells.reshape(-1, cells.shape[-1]) @ block.weights
            sums = sums.reshape(*cells.shape[:2], -1)  # (n, layers, r cells + 4)
            per_ring, planar = sums[..., :-4], sums[..., -4:]
            energy, radius, radius2 = per_ring.sum(axis=-1), per_ring @ block.r, per_ring @ block.r**2
            layers["layer_energies"][here] = energy
            for name, first, second in (
                ("x", planar[..., 0], planar[..., 2]),
                ("y", planar[..., 1], planar[..., 3]),
                ("r", radius, radius2),
            ):
                layers[f"centre_{name}"][here], layers[f"width_{name}"][here] = _centre_and_width(energy, first, second)
            n_hit = hit[:, block.voxels].reshape(cells.shape).sum(axis=-1, dtype=np.int64)
            layers["sparsity"][here] = 1 - n_hit / cells.shape[-1]
            shared = per_ring @ block.ring_shares
            rings[rows] += shared.sum(axis=1)
            image[block.layers] += shared.sum(axis=0)
            moments += radius.sum(axis=1), radius2.sum(axis=1)
        total = layers["layer_energies"][rows].sum(axis=1, dtype=np.float64)
        radial[:, rows] = _centre_and_width(total, *moments)
        counts[rows] = _count_voxels(energies, hit, voxel_edges)
    return Observables(
        detector=source.detector,
        incident_energies=incident,
        **layers,
        ring_energies=rings,
        radial_mean=radial[0],
        radial_width=radial[1],
        voxel_counts=counts,
        voxel_edges=voxel_edges,
        image=image / max(1, n),
    )


@dataclass(frozen=True)
class _BlockWeights:
    """Layers of equal segmentation: one matrix product gives the sums of all their observables."""

    layers: slice
    voxels: slice
    weights: F64  # (cells, r cells + 4): membership of each ring, x, y, x^2, y^2
    r: F64  # (r cells,) mm
    ring_shares: F64  # (r cells, R)


def _block_weights(mesh: ReadoutMesh) -> list[_BlockWeights]:
    edges = ring_edges(mesh)
    blocks: list[_BlockWeights] = []
    layer = 0
    for block in mesh.blocks:
        layers = slice(layer, layer + block.layers)
        voxels = slice(int(mesh.layer_boundaries[layers.start]), int(mesh.layer_boundaries[layers.stop]))
        first = mesh.layer_slice(layer)
        x, y, r = mesh.voxel_centres[first, 0], mesh.voxel_centres[first, 1], mesh.voxel_r[first]
        # A full ring has its centre on the axis: without alpha cells there is no x and y to speak of.
        planar = np.stack([x, y, x**2, y**2], axis=1) * (block.alpha_cells > 1)
        membership = np.tile(np.eye(block.r_cells), (block.alpha_cells, 1))
        low, high = np.asarray(block.r_edges[:-1])[:, None], np.asarray(block.r_edges[1:])[:, None]
        overlap = np.clip(np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1]), 0, None)
        blocks.append(
            _BlockWeights(
                layers=layers,
                voxels=voxels,
                weights=np.concatenate([membership, planar], axis=1),
                r=r[: block.r_cells],
                ring_shares=overlap / (high - low),
            )
        )
        layer = layers.stop
    return blocks


def _centre_and_width(energy: F64, first: F64, second: F64) -> tuple[F64, F64]:
    centre = first / (energy + _TINY)
    return centre, np.sqrt(np.maximum(0.0, second / (energy + _TINY) - centre**2))


def _count_voxels(energies: F32, hit: NDArray[np.bool_], edges: F64) -> NDArray[np.int64]:
    """Voxels above threshold per shower and bin (n, K), the last bin closed on both sides."""
    rows = np.repeat(np.arange(len(energies)), hit.sum(axis=1))
    values = energies[hit].astype(np.float64)
    n_bins = len(edges) - 1
    bins = np.searchsorted(edges, values, side="right") - 1
    bins[values == edges[-1]] = n_bins - 1
    inside = (bins >= 0) & (bins < n_bins)
    flat = np.bincount(rows[inside] * n_bins + bins[inside], minlength=len(energies) * n_bins)
    return flat.reshape(len(energies), n_bins)


def _batches(source: Source, rows: int | None, label: str) -> Iterator[Showers]:
    size = rows or max(50, _BATCH_VOXELS // source.detector.mesh.n_voxels // 50 * 50)
    with tqdm(total=len(source), desc=label, unit="shower", disable=None, leave=False) as progress:
        for start in range(0, len(source), size):
            batch = source[start : start + size]
            if isinstance(source, Showers):
                _check(batch, start)
            yield batch
            progress.update(len(batch))


def _check(showers: Showers, start: int) -> None:
    """Showers in memory have not passed the checks of a file."""
    bad = ~(np.isfinite(showers.energies) & (showers.energies >= 0)).all(axis=1)
    bad |= ~(np.isfinite(showers.incident_energies) & (showers.incident_energies > 0))
    if bad.any():
        msg = f"shower {start + int(np.flatnonzero(bad)[0])} has energies that are not finite and at least zero"
        raise FileFormatError(msg)
