"""The reference and its floor: the same results for full simulation against full simulation."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.errors import SettingsError
from fastv.evaluation.collected import Collected, collect
from fastv.evaluation.integrity.checks import most_compared
from fastv.evaluation.integrity.duplicates import duplicates_between
from fastv.evaluation.integrity.unchecked import scan
from fastv.evaluation.metrics.classifier_records import ClassifierSettings
from fastv.evaluation.metrics.measure import MOST_NEIGHBOURS, MOST_VOXELS, Metrics, measure
from fastv.evaluation.metrics.voxels import ChosenShowers
from fastv.evaluation.observables.histograms import Binning, binning
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.observables.streaming import Reading, Source
from fastv.evaluation.physics.comparisons import Physics, compare_physics
from fastv.evaluation.statistics.chance import matched_halves
from fastv.evaluation.verdict import AT_AN_ANGLE, TARGETS

QUICK = {*TARGETS, *AT_AN_ANGLE, "ring energies"}
"""Comparisons of a quick evaluation: those that targets and plots need."""


class ReferenceAndFloor:
    """A reference with its floor, and the options of evaluations against them.

    Results are computed when first needed and shared by all generated samples, except for the floor of neural
    classifiers. Every sample is read once; only neural classifiers, for a reference of more than 10,000 showers and no
    second sample, read some showers of its halves again.

    Args:
        reference: full simulation.
        floor: a second, independent sample of it; by default the floor compares two halves of the reference with
            matched incident energies.
        floor_name: name of the second sample.
        train: the showers on which the generators were trained.
        classifiers: settings of the neural classifiers; None omits them.
        energy_bins: largest number of bins of incident energy; None: as many as the samples allow.
        quick: omit metrics and integrity checks, and make only the comparisons in :data:`QUICK`.

    Raises:
        FileFormatError: a file or a shower of the reference or the floor is damaged.
        SettingsError: fewer than one bin of energy.
    """

    def __init__(
        self,
        reference: Reading,
        floor: Reading | None = None,
        *,
        floor_name: str = "",
        train: Source | None = None,
        classifiers: ClassifierSettings | None = None,
        energy_bins: int | None = None,
        quick: bool = False,
    ) -> None:
        if energy_bins is not None and energy_bins < 1:
            msg = f"`energy_bins={energy_bins}`: at least 1, or leave it out for as many as the samples allow"
            raise SettingsError(msg)
        self.train, self.classifiers, self.quick = train, classifiers, quick
        self.reference = self._collect(reference, scanned=quick and train is not None)
        self.floor = None
        if floor is None:
            self.first, self.second = halves(self.observables)
            self._words = (
                f"two halves of the reference, {len(self.first)} and {len(self.second)} showers of matched incident "
                "energies"
            )
        else:
            self.floor = collect(floor, like=self.observables, voxels=self._voxels)
            self.first, self.second = self.observables, self.floor.observables
            self._words = f"the reference, {len(self.first)} showers, and {floor_name}, {len(self.second)} showers"
        self.edges: Binning = binning(self.observables)
        self.energy_bins = energy_bins

    @property
    def observables(self) -> Observables:
        """Observables of the reference."""
        return self.reference.observables

    @cached_property
    def overlap(self) -> str:
        """What a quick evaluation finds the reference and the training file to have in common, in words, or nothing.

        Otherwise the integrity checks find it, which read the training file anyway.
        """
        if self.train is None or self.reference.scan is None:
            return ""
        train = scan(self.train, label="training showers")
        found = duplicates_between(self.reference.scan, train, name="reference", other_name="training")
        return found.words if found.status == "differs" else ""

    @property
    def _voxels(self) -> tuple[int, ...]:
        if self.quick:
            return ()
        return (MOST_NEIGHBOURS,) if self.classifiers is None else (MOST_NEIGHBOURS, MOST_VOXELS)

    def _collect(self, reading: Reading, **options: Any) -> Collected:
        compared = None if self.quick else most_compared(self.train)
        return collect(reading, compared=compared, voxels=self._voxels, **options)

    def collect(self, generated: Reading) -> Collected:
        """Read a generated sample; damaged showers are left out of everything but the integrity checks."""
        return self._collect(generated, like=self.observables, damaged="pass on")

    def words(self, generated: Observables) -> str:
        """The samples of the floor in words, with the ratio of its statistical errors to those of ``generated``."""
        # Errors are proportional to sqrt(1/n + 1/m).
        floor = 1 / len(self.first) + 1 / len(self.second)
        scale = math.sqrt(floor / (1 / len(self.observables) + 1 / len(generated)))
        return f"{self._words}; statistical errors {scale:.2g} times those of reference against generated"

    def compare(self, generated: Observables) -> Physics:
        """The physics of a sample compared with that of the reference."""
        return self._compare(self.observables, generated, "physics")

    @cached_property
    def physics(self) -> Physics:
        """The floor of :meth:`compare`: full simulation against full simulation."""
        return self._compare(self.first, self.second, "physics of the floor")

    def _compare(self, first: Observables, second: Observables, label: str) -> Physics:
        only = QUICK if self.quick else None
        return compare_physics(
            first, second, edges=self.edges, only=only, most_energy_bins=self.energy_bins, label=label
        )

    def metrics(self, keep: Path | None = None) -> Metrics:
        """The floor of the metrics; ``keep`` as in :func:`fastv.evaluation.metrics.measure.measure`."""
        if self.classifiers is None:
            return self._metrics
        return self._measure(keep)

    @cached_property
    def _metrics(self) -> Metrics:
        return self._measure(None)

    def _measure(self, keep: Path | None) -> Metrics:
        voxels: tuple[ChosenShowers, ChosenShowers] | None = None
        if self.floor is not None and self.reference.voxels is not None and self.floor.voxels is not None:
            voxels = self.reference.voxels, self.floor.voxels
        elif self.classifiers is not None:  # low-level classifiers need the voxels of the halves
            first, second = (self._spread(rows) for rows in half_rows(self.observables))
            voxels = self._showers(first), self._showers(second)
        return measure(self.first, self.second, voxels, chance=False, classifiers=self.classifiers, keep=keep)

    def _showers(self, rows: NDArray[np.int64]) -> ChosenShowers:
        held = self.reference.voxels
        whole = held is not None and len(held.rows) == held.total
        return ChosenShowers.all_of(held.showers[rows] if held is not None and whole else self.reference.source[rows])

    def _spread(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """At most ``MOST_VOXELS`` of the rows, evenly spread."""
        spread: NDArray[np.int64] = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_VOXELS)).astype(int)]
        return spread


def half_rows(sample: Observables) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers of the two :func:`halves`, in a random order in which entries i of both have like energies.

    Classifiers, which split samples by position, keep such pairs together.
    """
    first, second = matched_halves(sample.incident_energies)
    pairs = min(len(first), len(second))
    order = np.random.default_rng(0).permutation(pairs)
    # One half may have one shower more.
    return np.concatenate([first[order], first[pairs:]]), np.concatenate([second[order], second[pairs:]])


def halves(sample: Observables) -> tuple[Observables, Observables]:
    """Two halves of a sample with matched incident energies.

    See :func:`fastv.evaluation.statistics.chance.matched_halves`.
    """
    first, second = half_rows(sample)
    return sample[first], sample[second]
