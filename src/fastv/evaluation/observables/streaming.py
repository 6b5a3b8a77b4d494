"""One pass over a sample: showers are read once, batch by batch, and handed to all collectors.

The calling thread reads while other threads process the batches already read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.record import Conditions, checked
from fastv.conditions.table import CONDITIONS
from fastv.detector.detector import Detector
from fastv.errors import FileFormatError
from fastv.evaluation.threads import each_in_threads
from fastv.progress import Bar
from fastv.showers import Showers, ShowersFile, joined
from fastv.showers.checks import first_bad_voxel

Source = ShowersFile | Showers
Part = TypeVar("Part")

_BATCH_VOXELS = 6_500_000
TOO_LARGE = 1e30
"""MeV, a voxel energy from which on sums in single precision may be infinite; it counts as infinite itself."""


@dataclass(frozen=True)
class UncheckedBatch:
    """Consecutive showers of a sample, as stored.

    Attributes:
        rows: their rows in the sample.
        stored: the showers; their energies are not checked.
    """

    rows: slice
    stored: Showers

    def __len__(self) -> int:
        return len(self.stored)

    @cached_property
    def good(self) -> NDArray[np.bool_]:
        """Mask (n,) of showers with finite, non-negative voxel energies and a finite, positive incident energy.

        Energies of :data:`TOO_LARGE` and more count as infinite.
        """
        energies, incident = self.stored.energies, self.stored.incident_energies
        with np.errstate(invalid="ignore"):
            good: NDArray[np.bool_] = np.isfinite(incident) & (incident > 0)
            # Comparisons with NaN are false, so checking the extremes suffices for an undamaged batch.
            if energies.size and not (energies.min() >= 0 and energies.max() < TOO_LARGE):
                good &= ((energies < TOO_LARGE) & (energies >= 0)).all(axis=1)
        return good

    @cached_property
    def undamaged(self) -> Showers:
        """The showers selected by ``good``."""
        return self.stored if self.good.all() else self.stored[self.good]


class Collector(Protocol[Part]):
    """Computes something from every batch of a sample.

    Most collectors have a method ``result``, to be called after the pass.
    """

    def look(self, batch: UncheckedBatch) -> Part:
        """Compute the contribution of one batch; called in one of several threads, so it must not modify shared state.

        Threads run in parallel only while the interpreter's lock is released, as in array operations.
        """

    def keep(self, part: Part, /) -> None:
        """Add the contribution of one batch; called in the reading thread, in the order of the showers."""


class FirstOfFile(ShowersFile):
    """The first showers of a file, read lazily like the whole file.

    Args:
        path: the HDF5 file.
        detector, parameter: see :class:`fastv.showers.ShowersFile`.
        showers: their number, at most that of the file.

    Example:
        >>> from fastv.sample import sample_path
        >>> with FirstOfFile(sample_path("test"), showers=500) as file:
        ...     len(file), len(file[:]), len(file.incident_energies)
        (500, 500, 500)
    """

    def __init__(
        self, path: str | Path, detector: Detector | str | None = None, *, showers: int, parameter: str = "detector"
    ) -> None:
        super().__init__(path, detector, parameter=parameter)
        self.in_file = len(self)
        self._rows = min(showers, self.in_file)

    @property
    def energies_in_file(self) -> NDArray[np.float64]:
        """Incident energies of all showers of the file, as stored."""
        return super()._read("incident_energies", slice(None)).astype(np.float64)

    def _read(self, name: str, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        return super()._read(name, slice(*rows.indices(len(self))) if isinstance(rows, slice) else rows)


class Reading:
    """One pass over a sample.

    Args:
        source: an open file or showers in memory.
        rows: showers per batch, by default about 6.5 million voxels.
        label: label of the progress bar on standard error.

    Example:
        >>> class Sums:
        ...     def __init__(self) -> None:
        ...         self.values: list[float] = []
        ...
        ...     def look(self, batch: UncheckedBatch) -> float:
        ...         return float(batch.undamaged.energies.sum())
        ...
        ...     def keep(self, part: float) -> None:
        ...         self.values.append(part)
        >>> from fastv.sample import sample_path
        >>> sums = Sums()
        >>> with ShowersFile(sample_path("test")) as file:
        ...     reading = Reading(file)
        ...     shown = len(reading.first(10))
        ...     reading.feed(sums)
        >>> shown, len(sums.values)
        (10, 2)
    """

    def __init__(self, source: Source, *, rows: int | None = None, label: str = "showers") -> None:
        self.source = source
        self._label = label
        self._batches = unchecked_batches(source, rows)
        self._ahead: list[UncheckedBatch] = []
        self._damaged: list[NDArray[np.int64]] = []

    def first(self, showers: int) -> Showers:
        """The undamaged showers among the first ``showers``; :meth:`feed` does not read them again."""
        while sum(map(len, self._ahead)) < showers and (batch := next(self._batches, None)) is not None:
            self._ahead.append(batch)
        if not self._ahead:
            return self.source[:0]
        stored = [batch.stored for batch in self._ahead]
        whole = stored[0] if len(stored) == 1 else joined(stored)
        return UncheckedBatch(slice(0, min(showers, len(whole))), whole[:showers]).undamaged

    def feed(
        self,
        *collectors: Collector[Any],
        damaged: Literal["refuse", "pass on"] = "refuse",
        workers: int | None = None,
    ) -> None:
        """Read all showers and hand every batch to all collectors; to be called once.

        At most ``workers + 1`` batches are in memory at a time, besides those read by :meth:`first`.

        Args:
            collectors: collectors of the batches.
            damaged: whether damaged showers raise an error or are passed on, for the collectors to count or leave out.
            workers: number of threads, by default :func:`fastv.evaluation.threads.matrix_threads`.

        Raises:
            FileFormatError: the file is damaged, or a shower is damaged and ``damaged`` is ``refuse``.
        """
        where = "showers in memory" if isinstance(self.source, Showers) else str(self.source.path)
        ahead, self._ahead = self._ahead, []

        def look(batch: UncheckedBatch) -> tuple[UncheckedBatch, list[Any]]:
            if damaged == "refuse":
                _refuse_damaged(batch, where)
            return batch, [collector.look(batch) for collector in collectors]

        with Bar(total=len(self.source), desc=self._label, unit="shower", leave=False) as progress:

            def keep(found: tuple[UncheckedBatch, list[Any]]) -> None:
                batch, parts = found
                self._damaged.append(batch.rows.start + np.flatnonzero(~batch.good))
                for collector, part in zip(collectors, parts, strict=True):
                    collector.keep(part)
                progress.update(len(batch))

            each_in_threads(look, chain(_emptied(ahead), self._batches), keep, threads=workers)

    @property
    def damaged(self) -> NDArray[np.int64]:
        """Rows of the damaged showers found by :meth:`feed`, increasing."""
        return np.concatenate([np.empty(0, np.int64), *self._damaged])


def unchecked_batches(source: Source, rows: int | None = None) -> Iterator[UncheckedBatch]:
    """All showers of a sample in order; of a file only the conditions other than energy are checked.

    Args:
        source: an open file or showers in memory.
        rows: showers per batch; by default about 6.5 million voxels.

    Raises:
        FileFormatError: the file is damaged, or a condition other than the energy is not valid.

    Example:
        >>> from fastv.sample import sample_path
        >>> with ShowersFile(sample_path("train")) as file:
        ...     [batch.rows for batch in unchecked_batches(file, rows=400)]
        [slice(0, 400, None), slice(400, 600, None)]
    """
    size = rows or max(50, _BATCH_VOXELS // source.detector.mesh.n_voxels // 50 * 50)
    if isinstance(source, Showers):
        for start in range(0, len(source), size):
            yield UncheckedBatch(slice(start, min(start + size, len(source))), source[start : start + size])
        return
    columns = {
        name: checked(condition, source.column(condition.column), str(source.path), range(len(source)))
        for name, condition in CONDITIONS.items()
        if name != "energy" and condition.column in source.columns
    }
    start = 0
    for incident, energies in source.unchecked(size):
        here = slice(start, start + len(energies))
        start = here.stop
        conditions = Conditions.of(energy=incident, **{name: column[here] for name, column in columns.items()})
        yield UncheckedBatch(here, Showers.of(conditions, energies, source.detector))


def _emptied(batches: list[UncheckedBatch]) -> Iterator[UncheckedBatch]:
    """Yield batches one by one without keeping references to them."""
    while batches:
        yield batches.pop(0)


def _refuse_damaged(batch: UncheckedBatch, where: str) -> None:
    if batch.good.all():
        return
    start, energies = batch.rows.start, batch.stored.energies
    batch.stored.conditions.check(where, start)
    bad = first_bad_voxel(energies)
    if bad is None:
        row, voxel = np.argwhere(energies >= TOO_LARGE)[0]
        bad = int(row), int(voxel)
    msg = (
        f"{where}: voxel {bad[1]} of shower {start + bad[0]} is {energies[bad]} MeV; "
        "voxel energies must be finite and not negative"
    )
    raise FileFormatError(msg)
