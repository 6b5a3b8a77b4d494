"""Full simulation as everything is measured against: its observables, and what it gives against itself, the floor."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastv.evaluation.metrics.classifier_records import ClassifierSettings
from fastv.evaluation.metrics.measure import MOST_VOXELS, Metrics, measure
from fastv.evaluation.observables.histograms import Binning, binning
from fastv.evaluation.observables.observe import Observables, Source, observe
from fastv.evaluation.physics.comparisons import Physics, compare_physics
from fastv.evaluation.statistics.chance import matched_halves
from fastv.evaluation.verdict import TARGETS

QUICK = {*TARGETS, "ring energies"}
"""Comparisons of a quick evaluation: what targets and plots need."""


class Baseline:
    """A reference with its floor; what is asked for is made once, for any number of generated samples.

    Args:
        reference: full simulation.
        floor: a second, independent sample of it; by default the reference is cut into halves of matched energies.
        floor_name: what the floor is called.
        energy_bins: logarithmic bins of incident energy, at most.
    """

    def __init__(
        self, reference: Source, floor: Source | None = None, *, floor_name: str = "", energy_bins: int = 10
    ) -> None:
        self.source, self.floor = reference, floor
        self.observables = observe(reference, label="reference")
        if floor is None:
            self.first, self.second = halves(self.observables)
            self._words = (
                f"two halves of the reference, {len(self.first)} and {len(self.second)} showers of matched incident "
                "energies"
            )
        else:
            self.first = self.observables
            self.second = observe(floor, like=self.observables, label="floor")
            self._words = f"the reference, {len(self.first)} showers, and {floor_name}, {len(self.second)} showers"
        self.edges: Binning = binning(self.observables)
        self.energy_bins = energy_bins
        self._physics: dict[bool, Physics] = {}

    def words(self, generated: Observables) -> str:
        """What the floor compares, and how its errors compare to those of a generated sample."""
        # Errors go with the root of 1/n + 1/m.
        floor = 1 / len(self.first) + 1 / len(self.second)
        scale = math.sqrt(floor / (1 / len(self.observables) + 1 / len(generated)))
        return f"{self._words}; statistical errors {scale:.2g} times those of reference against generated"

    def compare(self, generated: Observables, *, quick: bool = False) -> Physics:
        """The physics of a sample compared with that of the reference.

        Args:
            generated: the sample.
            quick: only what targets and plots need.
        """
        return self._compare(self.observables, generated, quick=quick, label="physics")

    def physics(self, *, quick: bool = False) -> Physics:
        """The floor of :meth:`compare`: full simulation against full simulation."""
        if quick not in self._physics:
            self._physics[quick] = self._compare(self.first, self.second, quick=quick, label="physics of the floor")
        return self._physics[quick]

    def _compare(self, first: Observables, second: Observables, *, quick: bool, label: str) -> Physics:
        only = QUICK if quick else None
        return compare_physics(
            first, second, edges=self.edges, only=only, most_energy_bins=self.energy_bins, label=label
        )

    def metrics(self, classifiers: ClassifierSettings | None, keep: Path | None) -> Metrics:
        """The floor of the metrics; arguments as :func:`measure`."""
        if classifiers is None:
            return self._metrics
        return self._measure(classifiers, keep)

    @cached_property
    def _metrics(self) -> Metrics:
        return self._measure(None, None)

    def _measure(self, classifiers: ClassifierSettings | None, keep: Path | None) -> Metrics:
        voxels: tuple[Source, Source] | None = None
        if self.floor is not None:
            voxels = self.source, self.floor
        elif classifiers is not None:  # those that see voxels need the halves themselves
            first, second = (self._spread(rows) for rows in half_rows(self.observables))
            voxels = self.source[first], self.source[second]
        return measure(self.first, self.second, voxels, chance=False, classifiers=classifiers, keep=keep)

    def _spread(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """As many of the rows as are held in memory at once."""
        spread: NDArray[np.int64] = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_VOXELS)).astype(int)]
        return spread


def half_rows(sample: Observables) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rising row numbers of the two :func:`halves`."""
    first, second = matched_halves(sample.incident_energies)
    return np.sort(first), np.sort(second)


def halves(sample: Observables) -> tuple[Observables, Observables]:
    """Two halves of a sample with matched incident energies.

    See :func:`fastv.evaluation.statistics.chance.matched_halves`.
    """
    first, second = half_rows(sample)
    return sample[first], sample[second]
