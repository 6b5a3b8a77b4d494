"""Voxels of many showers in memory, in the form used by precision and recall and by low-level classifiers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastv.errors import FileFormatError
from fastv.evaluation.observables.streaming import Source, UncheckedBatch
from fastv.showers import Showers

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

ZERO_VOXEL = 0.1
"""MeV, the value of a voxel without energy before the logarithm."""
_RUN = 250
"""Consecutive showers that are read together."""


def log_voxels(source: Source, most: int | None = 10_000) -> tuple[F32, F64]:
    """log10 of the voxel energies in MeV (n, V), with 0.1 MeV for empty voxels, and incident energies (n,) in MeV.

    The readout threshold is applied first. From a larger sample, evenly spaced runs of 250 showers are taken, the same
    rows for samples of the same size. Memory is 4 V bytes per shower.

    Args:
        source: an open file or showers in memory, (N, V) MeV.
        most: approximate largest number of showers; None takes all.

    Raises:
        FileFormatError: a voxel energy is NaN, infinite or negative.

    Source: arXiv:2410.21611.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     voxels, energies = log_voxels(file, most=250)
        >>> voxels.shape, energies.shape, round(float(np.median(voxels)), 3)
        ((250, 6480), (250,), -1.0)
    """
    runs = _runs(len(source), most)
    n = sum(run.stop - run.start for run in runs)
    voxels, energies = np.empty((n, source.detector.mesh.n_voxels), dtype=np.float32), np.empty(n)
    for here, values, hit, incident in _read(source, runs):
        energies[here] = incident
        voxels[here] = np.log10(values, where=hit, out=np.full_like(values, np.log10(ZERO_VOXEL)))
    return voxels, energies


def low_level_inputs(source: Source, most: int | None = None) -> F32:
    """Inputs (n, 1 + V) of the low-level classifiers: log10 E_inc with E_inc in MeV, and voxel energies over E_inc.

    Threshold, choice of showers and memory as in :func:`log_voxels`.

    Args:
        source: an open file or showers in memory, (N, V) MeV.
        most: approximate largest number of showers; None takes all.

    Raises:
        FileFormatError: a voxel energy is NaN, infinite or negative.

    Source: arXiv:2410.21611.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     low_level_inputs(file, most=250).shape
        (250, 6481)
    """
    runs = _runs(len(source), most)
    n = sum(run.stop - run.start for run in runs)
    inputs = np.empty((n, 1 + source.detector.mesh.n_voxels), dtype=np.float32)
    for here, values, hit, incident in _read(source, runs):
        inputs[here, 0] = np.log10(incident)
        inputs[here, 1:] = np.where(hit, values, 0) / incident[:, None]
    return inputs


@dataclass(frozen=True)
class ChosenShowers:
    """Some showers of a sample, in memory.

    Attributes:
        rows: their rows in the sample (n,), increasing.
        total: number of showers in the sample.
        showers: the n showers.
    """

    rows: I64
    total: int
    showers: Showers

    @classmethod
    def all_of(cls, showers: Showers) -> ChosenShowers:
        """All showers of a sample in memory."""
        return cls(np.arange(len(showers)), len(showers), showers)

    def spread(self, most: int) -> Showers:
        """About ``most`` of the showers, spread over the sample: those that :func:`log_voxels` takes from it.

        Example:
            >>> from fastv.sample import sample_path
            >>> from fastv.showers import ShowersFile
            >>> with ShowersFile(sample_path("test")) as file:
            ...     showers = file[:600]
            >>> ChosenShowers.all_of(showers).spread(500).incident_energies[250] == showers.incident_energies[350]
            np.True_
        """
        wanted = np.isin(self.rows, _spread_rows(self.total, most))
        return self.showers if wanted.all() else self.showers[wanted]


class ChosenCollector:
    """Collects the undamaged showers of one or several selections spread over a sample.

    Args:
        source: the sample.
        sizes: sizes of the selections, see :meth:`ChosenShowers.spread`.
    """

    def __init__(self, source: Source, sizes: Sequence[int]) -> None:
        self._source = source
        self._wanted = np.unique(np.concatenate([_spread_rows(len(source), most) for most in sizes]))
        self._rows = np.empty_like(self._wanted)
        self._incident = np.empty(len(self._wanted))
        self._energies = np.empty((len(self._wanted), source.detector.mesh.n_voxels), dtype=np.float32)
        self._kept = 0

    def look(self, batch: UncheckedBatch) -> tuple[I64, Showers]:
        """Rows and undamaged showers of the selections in a batch."""
        rows = self._wanted[slice(*np.searchsorted(self._wanted, [batch.rows.start, batch.rows.stop]))]
        rows = rows[batch.good[rows - batch.rows.start]]
        return rows, batch.stored[rows - batch.rows.start]

    def keep(self, part: tuple[I64, Showers]) -> None:
        """Add the selected showers of a batch."""
        rows, showers = part
        here = slice(self._kept, self._kept + len(rows))
        self._kept = here.stop
        self._rows[here], self._incident[here], self._energies[here] = rows, showers.incident_energies, showers.energies

    def result(self) -> ChosenShowers:
        """The selected showers read so far."""
        n = self._kept
        showers = Showers(self._incident[:n], self._energies[:n], self._source.detector)
        return ChosenShowers(self._rows[:n], len(self._source), showers)


def _spread_rows(total: int, most: int) -> I64:
    return np.unique(np.concatenate([np.arange(run.start, run.stop) for run in _runs(total, most)]))


def _runs(total: int, most: int | None) -> list[slice]:
    starts = range(0, total, _RUN)
    if most is not None and total > most:
        starts = np.linspace(0, total - _RUN, max(1, most // _RUN)).astype(int).tolist()
    return [slice(start, min(total, start + _RUN)) for start in starts]


def _read(source: Source, runs: list[slice]) -> Iterator[tuple[slice, F32, NDArray[np.bool_], F64]]:
    """Rows of the result, voxels (n, V), their mask of hits (n, V), and incident energies (n,), run by run."""
    threshold = source.detector.threshold
    start = 0
    for run in runs:
        showers = source[run]
        here = slice(start, start + len(showers))
        start = here.stop
        values = showers.energies
        if not (values.min() >= 0 and values.max() < np.inf):  # comparisons with NaN are false
            msg = f"showers {run.start} to {run.stop - 1}: a voxel energy is NaN, infinite or negative"
            raise FileFormatError(msg)
        yield here, values, values > 0 if threshold == 0 else values >= threshold, showers.incident_energies
