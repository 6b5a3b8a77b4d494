"""Voxels of many showers in memory, as precision and recall and the low-level classifiers want them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fastv.errors import FileFormatError
from fastv.evaluation.observables.observe import Source

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

ZERO_VOXEL = 0.1
"""MeV, in place of a voxel without energy before the logarithm."""
_RUN = 250
"""Showers that are read in one piece."""


def log_voxels(source: Source, most: int | None = 10_000) -> tuple[F32, F64]:
    """log10 of the voxel energies in MeV (n, V), zeros replaced by 0.1 MeV, and incident energies (n,) in MeV.

    The readout threshold is applied first. Of a larger sample, evenly spaced runs of 250 showers are taken, the same
    rows of any two samples of one size. It takes 4 V bytes a shower.

    Args:
        source: an open file or showers in memory, (N, V) MeV.
        most: about how many showers to take at most; None takes all.

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
    """Inputs (n, 1 + V) of the low-level classifiers: log10 E_inc, and voxel energies over E_inc.

    Energies in MeV; threshold, choice of showers and memory as in :func:`log_voxels`.

    Args:
        source: an open file or showers in memory, (N, V) MeV.
        most: about how many showers to take at most; None takes all.

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


def _runs(total: int, most: int | None) -> list[slice]:
    starts = range(0, total, _RUN)
    if most is not None and total > most:
        starts = np.linspace(0, total - _RUN, max(1, most // _RUN)).astype(int).tolist()
    return [slice(start, min(total, start + _RUN)) for start in starts]


def _read(source: Source, runs: list[slice]) -> Iterator[tuple[slice, F32, NDArray[np.bool_], F64]]:
    """Rows of the result, voxels (n, V), which of them are hit (n, V), and incident energies (n,)."""
    threshold = source.detector.threshold
    start = 0
    for run in runs:
        showers = source[run]
        here = slice(start, start + len(showers))
        start = here.stop
        values = showers.energies
        if not (values.min() >= 0 and values.max() < np.inf):  # NaN fails every comparison
            msg = f"showers {run.start} to {run.stop - 1}: a voxel energy is NaN, infinite or negative"
            raise FileFormatError(msg)
        yield here, values, values > 0 if threshold == 0 else values >= threshold, showers.incident_energies
