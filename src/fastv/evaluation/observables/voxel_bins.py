"""Fast and exact counting of voxel energies in bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_LARGEST_TABLE = 2**20


class VoxelBins:
    """Bins [edge_k, edge_k+1) of voxel energies; the last one is closed on both sides, as in ``numpy.histogram``.

    The bit patterns of positive floating-point numbers, read as integers, are ordered like the numbers. Their leading
    bits index a table with cells so narrow that none contains more than one edge; a comparison with that edge gives the
    bin. This needs no logarithm and no search, and is exact next to the edges.

    Args:
        edges: (K + 1,) MeV, increasing and positive.

    Example:
        >>> bins = VoxelBins(np.array([1.0, 2.0, 4.0]))
        >>> bins.count(np.array([0.5, 1.0, 2.0, 4.0, 5.0], dtype=np.float32), np.array([2, 3])).tolist()
        [[1, 0], [0, 2]]
    """

    def __init__(self, edges: F64) -> None:
        self.edges = np.asarray(edges, dtype=np.float64)
        # A single-precision energy is at or above an edge if it is at or above the edge rounded up to single precision.
        rounded = self.edges.astype(np.float32)
        up = np.where(rounded < self.edges, np.nextafter(rounded, np.float32(np.inf)), rounded)
        # The last bin includes its upper edge, so the overflow starts at the next single-precision number.
        last = np.float32(self.edges[-1])
        within = last if last <= self.edges[-1] else np.nextafter(last, np.float32(0))
        up[-1] = np.nextafter(within, np.float32(np.inf))
        self._bits = up.astype(np.float32).view(np.int32).astype(np.int64)
        self._shift = self._widest_shift()
        if self._shift is not None:
            first, last_cell = (int(bits) >> self._shift for bits in self._bits[[0, -1]])
            cells = np.arange(first, last_cell + 1) << self._shift
            # Bin 0 is the underflow, bin K + 1 the overflow.
            below = np.searchsorted(self._bits, cells - 1, side="right")
            self._first = np.int32(first)
            self._bin = below.astype(np.intp)
            self._edge = np.append(self._bits, 2**31 - 1)[below].astype(np.int32)

    def __len__(self) -> int:
        return len(self.edges) - 1

    def _widest_shift(self) -> int | None:
        """Number of trailing bits that can be dropped; None if edges are so close that the table would be too large."""
        for shift in range(22, 0, -1):
            cells = self._bits >> shift
            if cells[-1] - cells[0] > _LARGEST_TABLE:
                return None
            if np.all(np.diff(cells) > 0):
                return shift
        return None

    def find(self, energies: F32) -> NDArray[np.intp]:
        """Bin of each energy (n,) in MeV: 1 to K, 0 below the first edge, K + 1 above the last one."""
        bits = np.ascontiguousarray(energies, dtype=np.float32).view(np.int32)
        if self._shift is None:
            return np.searchsorted(self._bits, bits, side="right")
        cell = (bits >> self._shift) - self._first
        found = self._bin.take(cell, mode="clip")
        found += bits >= self._edge.take(cell, mode="clip")
        return found

    def count(self, energies: F32, hits: NDArray[np.integer]) -> NDArray[np.int32]:
        """Number of voxels of each shower in each bin (n, K).

        Args:
            energies: energies of all voxels above zero, shower after shower, MeV.
            hits: number of these voxels in each shower (n,).
        """
        width = len(self) + 2
        found = self.find(energies)
        found += np.repeat(np.arange(len(hits)) * width, hits)
        counts = np.bincount(found, minlength=len(hits) * width).reshape(len(hits), width)
        return counts[:, 1:-1].astype(np.int32)
