"""Showers in batches: the calling thread reads while others compute on what was read before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fastv.errors import FileFormatError
from fastv.evaluation.threads import each_in_threads
from fastv.showers import Showers, ShowersFile

Source = ShowersFile | Showers
Result = TypeVar("Result")

_BATCH_VOXELS = 6_500_000


def batches(source: Source, rows: int | None = None) -> Iterator[Showers]:
    """All showers in order, ``rows`` at a time, by default some 6.5 million voxels; energies are checked.

    Raises:
        FileFormatError: a voxel energy is NaN, infinite or negative, or an incident energy is not above zero.

    Example:
        >>> from fastv.sample import sample_path
        >>> with ShowersFile(sample_path("test")) as file:
        ...     [len(batch) for batch in batches(file)]
        [1000, 400]
    """
    for start, batch in _slices(source, rows):
        if isinstance(source, Showers):
            check_physical(batch.energies, batch.incident_energies, start)
        yield batch


def each_batch(
    work: Callable[[Showers, int], Result],
    source: Source,
    collect: Callable[[Showers, int, Result], None],
    *,
    rows: int | None = None,
    workers: int | None = None,
    label: str = "showers",
) -> None:
    """Give every batch to ``work`` in one of several threads, and its result to ``collect``, in order.

    The calling thread reads and collects. ``work`` must not change anything shared; it gains where it releases the
    interpreter's lock, as array operations do. No more than ``workers + 1`` batches are in memory at a time. Showers
    in memory are not checked here: ``work`` does that while it has them in the cache.

    Args:
        work: a function of a batch and the number of its first shower.
        source: an open file or showers in memory.
        collect: called with each batch, the number of its first shower, and the result.
        rows: showers a batch, see :func:`batches`.
        workers: threads that compute, see :func:`fastv.evaluation.threads.matrix_threads`.
        label: what the progress bar on standard error says.

    Raises:
        FileFormatError: a file is damaged or its energies are not physical.

    Example:
        >>> from fastv.sample import sample_path
        >>> with ShowersFile(sample_path("test")) as file:
        ...     each_batch(lambda batch, _: len(batch), file[:90], lambda *found: print(found[1:]), rows=50)
        (0, 50)
        (50, 40)
    """
    with tqdm(total=len(source), desc=label, unit="shower", disable=None, leave=False) as progress:

        def compute(task: tuple[int, Showers]) -> tuple[Showers, int, Result]:
            start, batch = task
            return batch, start, work(batch, start)

        def take(found: tuple[Showers, int, Result]) -> None:
            collect(*found)
            progress.update(len(found[0]))

        each_in_threads(compute, _slices(source, rows), take, threads=workers)


def _slices(source: Source, rows: int | None) -> Iterator[tuple[int, Showers]]:
    """Batches with the number of their first shower; those of a file are checked by the file."""
    size = rows or max(50, _BATCH_VOXELS // source.detector.mesh.n_voxels // 50 * 50)
    if isinstance(source, ShowersFile):
        yield from zip(count(0, size), source.batches(size), strict=False)
    else:
        yield from ((start, source[start : start + size]) for start in range(0, len(source), size))


def check_physical(energies: NDArray[np.float32], incident_energies: NDArray[np.float64], start: int = 0) -> None:
    """Refuse showers whose energies are not finite and at least zero: those in memory have not passed a file's checks.

    Args:
        energies: voxel energies (n, V), MeV, of at least one shower.
        incident_energies: (n,) MeV.
        start: number of the first shower, for the message.

    Raises:
        FileFormatError: there is one; the message gives its number.

    Example:
        >>> check_physical(np.ones((1, 3), dtype=np.float32), np.array([1e3]))
    """
    extremes = energies.min(), energies.max(), incident_energies.min(), incident_energies.max()
    # NaN fails every comparison, and the extremes need no copy of the data.
    if extremes[0] >= 0 and extremes[1] < np.inf and extremes[2] > 0 and extremes[3] < np.inf:
        return
    bad = ~(np.isfinite(energies) & (energies >= 0)).all(axis=1)
    bad |= ~(np.isfinite(incident_energies) & (incident_energies > 0))
    msg = f"shower {start + int(np.flatnonzero(bad)[0])} has energies that are not finite and at least zero"
    raise FileFormatError(msg)
