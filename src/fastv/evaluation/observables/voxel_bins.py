"""Counting voxel energies in bins, quickly and exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_LARGEST_TABLE = 2**20


class VoxelBins:
    """Bins [edge_k, edge_k+1) of voxel energies, the last one closed on both sides, as ``numpy.histogram`` has them.

    The bits of positive floating-point numbers, read as integers, rise with the numbers. Their leading bits are the
    index into a table, whose cells are so narrow that no more than one edge lies in any; one comparison with that edge
    then gives the bin. No logarithm and no search is needed, and no entry next to an edge is misplaced.

    Args:
        edges: (K + 1,) MeV, rising and above zero.

    Example:
        >>> bins = VoxelBins(np.array([1.0, 2.0, 4.0]))
        >>> bins.count(np.array([0.5, 1.0, 2.0, 4.0, 5.0], dtype=np.float32), np.array([2, 3])).tolist()
        [[1, 0], [0, 2]]
    """

    def __init__(self, edges: F64) -> None:
        self.edges = np.asarray(edges, dtype=np.float64)
        # An energy is at or above an edge where it is at or above the next single-precision number.
        rounded = self.edges.astype(np.float32)
        up = np.where(rounded < self.edges, np.nextafter(rounded, np.float32(np.inf)), rounded)
        # The largest energy belongs to the last bin: what is above it starts at the number after the last edge.
        last = np.float32(self.edges[-1])
        within = last if last <= self.edges[-1] else np.nextafter(last, np.float32(0))
        up[-1] = np.nextafter(within, np.float32(np.inf))
        self._bits = up.astype(np.float32).view(np.int32).astype(np.int64)
        self._shift = self._widest_shift()
        if self._shift is not None:
            first, last_cell = (int(bits) >> self._shift for bits in self._bits[[0, -1]])
            cells = np.arange(first, last_cell + 1) << self._shift
            # Bin 0 holds what is below the first edge, bin K + 1 what is above the last one.
            below = np.searchsorted(self._bits, cells - 1, side="right")
            self._first = np.int32(first)
            self._bin = below.astype(np.intp)
            self._edge = np.append(self._bits, 2**31 - 1)[below].astype(np.int32)

    def __len__(self) -> int:
        return len(self.edges) - 1

    def _widest_shift(self) -> int | None:
        """Bits that may be dropped; None where edges lie so close that the table would be large."""
        for shift in range(22, 0, -1):
            cells = self._bits >> shift
            if cells[-1] - cells[0] > _LARGEST_TABLE:
                return None
            if np.all(np.diff(cells) > 0):
                return shift
        return None

    def find(self, energies: F32) -> NDArray[np.intp]:
        """Bin of each energy (n,): 1 to K, 0 below the first edge, K + 1 above the last one."""
        bits = np.ascontiguousarray(energies, dtype=np.float32).view(np.int32)
        if self._shift is None:
            return np.searchsorted(self._bits, bits, side="right")
        cell = (bits >> self._shift) - self._first
        found = self._bin.take(cell, mode="clip")
        found += bits >= self._edge.take(cell, mode="clip")
        return found

    def count(self, energies: F32, hits: NDArray[np.integer]) -> NDArray[np.int32]:
        """Voxels of each shower in each bin (n, K).

        Args:
            energies: of all voxels above zero, shower after shower, MeV.
            hits: how many of them each shower has, (n,).
        """
        width = len(self) + 2
        found = self.find(energies)
        found += np.repeat(np.arange(len(hits)) * width, hits)
        counts = np.bincount(found, minlength=len(hits) * width).reshape(len(hits), width)
        return counts[:, 1:-1].astype(np.int32)
