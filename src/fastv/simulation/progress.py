"""Progress of a production."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from fastv.progress import Bar
from fastv.wording import counted


class Progress:
    """Count of finished events, and a progress bar in units of energy, to which the time is proportional.

    Args:
        energies: incident energies of all events, MeV, shape (n,).

    Attributes:
        finished: number of events counted by :meth:`add`.
        energy: their total incident energy, MeV.
    """

    def __init__(self, energies: NDArray[np.float64]) -> None:
        self._energies = energies
        self._missing = np.zeros(len(energies), dtype=bool)
        self._lock = threading.Lock()
        self._bar: Bar | None = None
        self.finished = 0
        self.energy = 0.0

    @contextmanager
    def shown(self, missing: Sequence[slice]) -> Iterator[None]:
        """Show the bar while the events of these slices are simulated."""
        for rows in missing:
            self._missing[rows] = True
        self._there = len(self._energies) - int(self._missing.sum())
        gev = self._energies / 1e3
        with Bar(
            desc=self._description(),
            total=gev.sum(),
            initial=gev[~self._missing].sum(),
            unit="GeV",
            smoothing=0,  # blocks differ, so the mean rate predicts the rest better than the latest one
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.4g}/{total:.4g} GeV [{elapsed}<{remaining}, {rate_fmt}]",
        ) as self._bar:
            yield
        self._bar = None

    def add(self, event: int) -> None:
        """Count an event; repeated calls for an event have no effect. Safe to call from any thread."""
        with self._lock:
            if not self._missing[event]:
                return
            self._missing[event] = False
            self.finished += 1
            self.energy += float(self._energies[event])
            if self._bar is not None:
                self._bar.set_description_str(self._description(), refresh=False)
                self._bar.update(self._energies[event] / 1e3)

    def _description(self) -> str:
        return f"simulating, {self._there + self.finished} of {counted(len(self._energies), 'shower')}"
