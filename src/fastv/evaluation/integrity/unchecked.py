"""Showers as they are stored, damaged ones too: what a file refuses to hand out is counted here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fastv.detector.detector import Detector
from fastv.evaluation.observables.observe import Source
from fastv.showers import Showers

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]

_BATCH_VOXELS = 6_500_000


@dataclass(frozen=True)
class RawBatch:
    """Consecutive showers of a sample, unchecked: incident energies (n,) and voxel energies (n, V) in MeV."""

    rows: slice
    incident_energies: F64
    energies: F32


def raw_batches(source: Source, *, rows: int | None = None, label: str = "showers") -> Iterator[RawBatch]:
    """All showers of a sample in order, unchecked, with a progress bar on standard error.

    Args:
        source: an open file or showers in memory.
        rows: showers a batch; by default some 6.5 million voxels.
        label: what the progress bar says.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("train")) as file:
        ...     [batch.rows for batch in raw_batches(file, rows=400)]
        [slice(0, 400, None), slice(400, 600, None)]
    """
    size = rows or max(50, _BATCH_VOXELS // source.detector.mesh.n_voxels // 50 * 50)
    pieces: Iterator[tuple[F64, F32]]
    if isinstance(source, Showers):
        starts = range(0, len(source), size)
        pieces = ((source.incident_energies[i : i + size], source.energies[i : i + size]) for i in starts)
    else:
        pieces = source.unchecked(size)
    start = 0
    with tqdm(total=len(source), desc=label, unit="shower", disable=None, leave=False) as progress:
        for incident, energies in pieces:
            batch = slice(start, start + len(energies))
            yield RawBatch(batch, incident, energies)
            start = batch.stop
            progress.update(len(energies))


@dataclass(frozen=True)
class RawScan:
    """What each of N showers holds, as it is stored.

    Attributes:
        detector: the detector, its mesh and threshold.
        incident_energies: as stored (N,) MeV.
        totals: sum of the voxels that are finite and at least at the readout threshold (N,) MeV.
        hits: how many these are (N,).
        not_finite: voxels that are NaN or infinite (N,).
        negative: voxels below zero (N,).
        below_threshold: voxels above zero and below the readout threshold (N,).
        digests: a 64-bit digest of the voxel energies (N,), equal for equal showers.
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
        """Showers (N,) without damaged voxels and with a finite incident energy above zero."""
        incident = self.incident_energies
        with np.errstate(invalid="ignore"):
            good: Flags = np.isfinite(incident) & (incident > 0) & (self.not_finite == 0) & (self.negative == 0)
        return good

    @property
    def empty(self) -> Flags:
        """Showers (N,) without a voxel at or above the readout threshold."""
        empty: Flags = self.hits == 0
        return empty


class RawScanner:
    """Builds a :class:`RawScan` batch by batch, for callers that do more with each batch than that."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._parts: list[tuple[F64, F64, I64, I64, I64, I64, NDArray[np.uint64]]] = []

    def add(self, batch: RawBatch) -> None:
        """Scan one batch."""
        energies = batch.energies
        # Thresholds are rounded when they are applied in float32.
        threshold = self._detector.threshold * (1 - 1e-6)
        with np.errstate(invalid="ignore"):
            positive = energies > 0
            hit = positive & (energies >= threshold)
            hits = hit.sum(axis=1)
            totals = np.einsum("ij,ij->i", energies, hit, dtype=np.float64)
            damaged = ~np.isfinite(totals)
            # One sum tells the usual case of no damage; NaN fails every comparison, so it is no hit.
            damaged |= ~np.isfinite(energies.sum(axis=1, dtype=np.float64))
        not_finite = np.zeros(len(energies), dtype=np.int64)
        if damaged.any():
            finite = np.isfinite(energies[damaged])
            not_finite[damaged] = (~finite).sum(axis=1)
            fine = hit[damaged] & finite
            hits[damaged] = fine.sum(axis=1)
            totals[damaged] = np.where(fine, energies[damaged], 0).sum(axis=1, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            negative = (energies < 0) & (energies > -np.inf)
        digests = np.fromiter(
            (int.from_bytes(blake2b(row, digest_size=8).digest(), "little") for row in np.ascontiguousarray(energies)),
            dtype=np.uint64,
            count=len(energies),
        )
        below = positive.sum(axis=1) - hit.sum(axis=1)
        incident = batch.incident_energies.copy()
        self._parts.append((incident, totals, hits, not_finite, negative.sum(axis=1), below, digests))

    def result(self) -> RawScan:
        """The scan of all batches so far."""
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)] or [np.empty(0)] * 7
        return RawScan(self._detector, *columns)


def scan(source: Source, *, label: str = "raw scan") -> RawScan:
    """Scan a sample for what is not physical, in one pass; nothing in it is refused.

    Args:
        source: an open file or showers in memory.
        label: what the progress bar on standard error says.

    Example:
        >>> from fastv.detector.detector import Detector
        >>> detector = Detector.preset("par04-siw")
        >>> energies = np.zeros((2, 6480), dtype=np.float32)
        >>> energies[0, :3] = 5.0, np.nan, -1.0
        >>> found = scan(Showers(np.array([1e3, 1e3]), energies, detector))
        >>> found.totals, found.not_finite, found.negative, found.empty, found.good
        (array([5., 0.]), array([1, 0]), array([1, 0]), array([False,  True]), array([False,  True]))
    """
    scanner = RawScanner(source.detector)
    for batch in raw_batches(source, label=label):
        scanner.add(batch)
    return scanner.result()


def undamaged(source: Source, scanned: RawScan, *, most: int, label: str = "undamaged showers") -> Showers:
    """The showers of a sample that are not damaged, in memory; of more than ``most`` some, spread evenly.

    Angles and further columns are left out.

    Args:
        source: an open file or showers in memory.
        scanned: its scan.
        most: number of showers at most.
        label: what the progress bar on standard error says.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     showers = file[:10]
        >>> showers.energies[3, 5] = np.nan
        >>> len(undamaged(showers, scan(showers), most=100))
        9
    """
    rows = np.flatnonzero(scanned.good)
    if len(rows) > most:
        rows = rows[np.arange(most) * len(rows) // most]
    energies = np.empty((len(rows), source.detector.mesh.n_voxels), dtype=np.float32)
    for batch in raw_batches(source, label=label):
        first, last = np.searchsorted(rows, [batch.rows.start, batch.rows.stop])
        energies[first:last] = batch.energies[rows[first:last] - batch.rows.start]
    return Showers(scanned.incident_energies[rows], energies, source.detector, provenance=source.provenance)
