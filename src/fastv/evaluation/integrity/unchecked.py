"""Energy, hits, damaged voxels and a digest of every shower as stored, including showers that reading would refuse."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.evaluation.observables.streaming import TOO_LARGE, Reading, Source, UncheckedBatch

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class UncheckedScan:
    """Energy, hits, damaged voxels and a digest of each of N showers, as stored.

    Attributes:
        detector: the detector, with mesh and threshold.
        incident_energies: incident energies as stored (N,) MeV.
        totals: sums of the finite voxel energies at or above the readout threshold (N,) MeV.
        hits: numbers of these voxels (N,).
        not_finite: numbers of voxels that are NaN or infinite (N,).
        negative: numbers of finite voxels below zero (N,).
        below_threshold: numbers of voxels above zero and below the readout threshold (N,).
        digests: 64-bit digests of the voxel energies (N,), equal for equal showers.
    """

    detector: Detector
    incident_energies: F64
    totals: F64
    hits: I64
    not_finite: I64
    negative: I64
    below_threshold: I64
    digests: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.totals)

    @property
    def good(self) -> Flags:
        """Mask (N,) of showers without damaged voxels and with a finite, positive incident energy."""
        incident = self.incident_energies
        with np.errstate(invalid="ignore"):
            good: Flags = np.isfinite(incident) & (incident > 0) & (self.not_finite == 0) & (self.negative == 0)
        return good

    @property
    def empty(self) -> Flags:
        """Mask (N,) of showers without a voxel at or above the readout threshold."""
        empty: Flags = self.hits == 0
        return empty


_Columns = tuple[F64, F64, I64, I64, I64, I64, NDArray[np.uint64]]


class ScanCollector:
    """Collects an :class:`UncheckedScan`."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._parts: list[_Columns] = []

    def look(self, batch: UncheckedBatch) -> _Columns:
        """Scan one batch."""
        energies, bad = batch.stored.energies, ~batch.good
        # Allow for rounding of the threshold in float32.
        threshold = self._detector.threshold * (1 - 1e-6)
        with np.errstate(invalid="ignore"):
            positive = energies > 0
            hit = positive & (energies >= threshold)
            hits = hit.sum(axis=1)
            totals = np.einsum("ij,ij->i", energies, hit, dtype=np.float64)
        not_finite, negative = np.zeros(len(energies), dtype=np.int64), np.zeros(len(energies), dtype=np.int64)
        if bad.any():
            damaged = energies[bad]
            finite = np.abs(damaged) < TOO_LARGE  # false for NaN
            not_finite[bad] = (~finite).sum(axis=1)
            negative[bad] = (finite & (damaged < 0)).sum(axis=1)
            fine = hit[bad] & finite
            hits[bad] = fine.sum(axis=1)
            totals[bad] = np.where(fine, damaged, 0).sum(axis=1, dtype=np.float64)
        below = positive.sum(axis=1) - hit.sum(axis=1)
        digests = np.fromiter(
            (int.from_bytes(blake2b(row, digest_size=8).digest(), "little") for row in np.ascontiguousarray(energies)),
            dtype=np.uint64,
            count=len(energies),
        )
        return batch.stored.incident_energies.copy(), totals, hits, not_finite, negative, below, digests

    def keep(self, part: _Columns) -> None:
        """Add the scan of one batch."""
        self._parts.append(part)

    def result(self) -> UncheckedScan:
        """The scan of all batches so far."""
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)] or [np.empty(0)] * 7
        return UncheckedScan(self._detector, *columns)


def scan(source: Source, *, label: str = "scan") -> UncheckedScan:
    """Scan a sample without refusing damaged showers.

    Args:
        source: an open file or showers in memory.
        label: label of the progress bar on standard error.

    Raises:
        FileFormatError: the file is too damaged to be read.

    Example:
        >>> from fastv.detector.detector import Detector
        >>> from fastv.showers import Showers
        >>> detector = Detector.preset("par04-siw")
        >>> energies = np.zeros((2, 6480), dtype=np.float32)
        >>> energies[0, :3] = 5.0, np.nan, -1.0
        >>> found = scan(Showers(np.array([1e3, 1e3]), energies, detector))
        >>> found.totals, found.not_finite, found.negative, found.empty, found.good
        (array([5., 0.]), array([1, 0]), array([1, 0]), array([False,  True]), array([False,  True]))
    """
    collector = ScanCollector(source.detector)
    Reading(source, label=label).feed(collector, damaged="pass on")
    return collector.result()
