"""Showers that look like none of full simulation: means, distances and classifiers hardly notice a few of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from fastv.evaluation.integrity.findings import (
    SURE,
    Finding,
    at_energies_of,
    energy_in_words,
    local_scale,
    too_few,
)
from fastv.evaluation.observables.observe import Observables
from fastv.wording import counted

F64 = NDArray[np.float64]

MIN_SHOWERS = 200
_FAR = 4.5
"""A shower this many times as far from the mean as any of full simulation is not a fluctuation."""
_IN_BIN = 100
_MOST_BINS = 20
_PER_SCALE = 40
_STRAY = 0.25
"""Of the energy of the voxel with most: a single particle that leaves so much anywhere is nothing unusual."""


class Outliers(Finding):
    """Showers farther from the mean than any of full simulation.

    ``value`` is their fraction of the ``showers``, ``floor`` the expectation for a sample of the reference's
    distribution, ``outlying`` their number and ``far`` that of those that cannot be fluctuations. ``extreme_shower`` is
    the row of the most extreme one, ``extreme_incident_energy`` in MeV, ``extreme_distance`` its distance from the mean
    in units of the largest of the reference. The part ``extreme_share`` of its energy is in ``extreme_place``, where
    ``reference_shares`` is the range of full simulation at this energy.
    """

    showers: int = 0
    outlying: int = 0
    far: int = 0
    extreme_shower: int | None = None
    extreme_incident_energy: float | None = None
    extreme_distance: float | None = None
    extreme_place: str = ""
    extreme_share: float | None = None
    reference_shares: tuple[float, float] | None = None


def outlying_showers(generated: Observables, reference: Observables, rows: NDArray[np.int64] | None = None) -> Outliers:
    r"""Find showers whose energy lies where that of no shower of full simulation does.

    With the parts f of the visible energy in each layer, in each ring, and in the voxel with most, let

        z = (sqrt(f) - m(E)) / s(E) ,

    m and s mean and standard deviation of one half of the reference at the incident energy, s at least half the root of
    the usual share of the voxel with most: a single particle may go anywhere. Each z is divided by the
    half's largest z, or if negative by its smallest; the largest of these numbers is the distance of a shower. If
    both samples have one distribution of any shape, the number of generated showers farther than all of the other half
    is beta-binomial (:func:`~fastv.evaluation.integrity.findings.exceedance_p_value` with k = 1). All this is done in
    up to 20 bins of incident energy, since in showers of few particles a single one is a large part, and the numbers
    are added.

    Args:
        generated, reference: observables of the samples; generated showers outside the range of the reference's
            incident energies, and empty showers, are ignored.
        rows: rows of the generated showers in their file, by default 0 to N - 1.

    Returns:
        ``differs`` if a shower is 4.5 times as far as any of the other half at its energy, or if significantly many
        are farther (p below 0.001); ``not judged`` below 200 showers of a sample.

    Example:
        >>> from dataclasses import replace
        >>> from fastv.evaluation.observables.observe import observe
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     showers = file[:600]
        >>> reference, sample = observe(showers[:300]), showers[300:]
        >>> outlying_showers(observe(sample), reference).status
        'agrees'
        >>> energies = sample.grid.copy()
        >>> energies[7] = energies[7, ::-1]
        >>> backwards = replace(sample, energies=energies.reshape(len(sample), -1))
        >>> outlying_showers(observe(backwards), reference).extreme_shower
        7
    """
    check = "outlying showers"
    ref_log, ref_shares, _ = _shares(reference)
    log_energies, shares, found = _shares(generated)
    rows = found if rows is None else rows[found]
    inside = at_energies_of(log_energies, ref_log)
    log_energies, shares, rows = log_energies[inside], shares[inside], rows[inside]
    if few := too_few(check, MIN_SHOWERS, len(rows), len(ref_log)):
        return Outliers(**few.model_dump())
    bins = np.array_split(np.argsort(ref_log, kind="stable"), int(np.clip(len(ref_log) // _IN_BIN, 1, _MOST_BINS)))
    starts = np.array([ref_log[each[0]] for each in bins])
    of_bin = np.maximum(np.searchsorted(starts, log_energies, side="right") - 1, 0)
    distances, places = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)
    chances = np.ones(1)
    floors = [_Floor(ref_log[each], ref_shares[each]) for each in bins]
    for number, floor in enumerate(floors):
        here = np.flatnonzero(of_bin == number)
        each = floor.distances(log_energies[here], shares[here])
        distances[here], places[here] = each.max(0), each.argmax(0)
        chances = np.convolve(chances, betabinom.pmf(np.arange(len(here) + 1), len(here), 1, floor.size))
    outlying, far, n = int((distances > 1).sum()), int((distances > _FAR).sum()), len(rows)
    p_value = float(chances[outlying:].sum())
    worst = int(np.argmax(distances))
    low, high = floors[of_bin[worst]].shares(places[worst], log_energies[worst])
    name, incident = _places(reference)[places[worst]], float(np.exp(log_energies[worst]))
    share = float(shares[worst, places[worst]] ** 2)
    example = f"the farthest is shower {rows[worst]} of {energy_in_words(incident)} with {100 * share:.3g} % of its "
    example += f"energy in {name}, full simulation has {100 * low:.2g} to {100 * high:.3g} % there"
    expected = sum(float((of_bin == number).sum()) / (floor.size + 1) for number, floor in enumerate(floors)) / n
    failed = far > 0 or p_value < SURE
    count = f"{counted(outlying, 'shower')} of {n} {'is' if outlying < 2 else 'are'} farther from the mean than any of "
    count += f"full simulation at that energy, {n * expected:.2g} expected"
    return Outliers(
        check=check,
        status="differs" if failed else "agrees",
        words=f"{count}; {example}" if failed else f"compatible with full simulation: {count}; {example}",
        value=outlying / n,
        error=float(np.sqrt(outlying)) / n,
        p_value=p_value,
        floor=expected,
        showers=n,
        outlying=outlying,
        far=far,
        extreme_shower=int(rows[worst]),
        extreme_incident_energy=incident,
        extreme_distance=float(distances[worst]),
        extreme_place=name,
        extreme_share=share,
        reference_shares=(low, high),
    )


class _Floor:
    """Distances of showers of full simulation from their mean, in a bin of incident energy.

    Args:
        log_energies: ln E (N,), in increasing order.
        roots: square roots of the shares (N, C).
    """

    def __init__(self, log_energies: F64, roots: F64) -> None:
        # Neighbours in energy are in different halves.
        stray = float(np.sqrt(_STRAY) * np.median(roots[::2, -1]))
        self._ranges = [_Range(log_energies[::2], column, stray) for column in roots[::2].T]
        self.size = len(log_energies[1::2])
        self._most = 1.0
        self._most = float(self.distances(log_energies[1::2], roots[1::2]).max())

    def distances(self, log_energies: F64, roots: F64) -> F64:
        """How far the shares (N, C) are from the mean, in units of the farthest of the second half, (C, N)."""
        return np.stack([one.distances(log_energies, roots[:, i]) for i, one in enumerate(self._ranges)]) / self._most

    def shares(self, column: int, log_energy: float) -> tuple[float, float]:
        """The range of the shares at ln E."""
        return self._ranges[column].shares(log_energy)


class _Range:
    """Where the square roots of a share (N,) lie in full simulation, as a function of ln E (N,); ``stray`` is the least
    standard deviation."""

    def __init__(self, log_energies: F64, roots: F64, stray: float) -> None:
        self._at, self._roots, self._stray = log_energies, roots, max(stray, 1e-6)
        self._rest = roots - self._scale(roots, log_energies, "mean")
        z = self._rest / self._spread(log_energies)
        # Nothing within one standard deviation is far.
        self.low, self.high = min(float(z.min()), -1.0), max(float(z.max()), 1.0)

    def _scale(self, values: F64, at: F64, statistic: Literal["mean", "spread"]) -> F64:
        return local_scale(self._at, values, at, statistic, per_bin=_PER_SCALE, most_bins=2)

    def _spread(self, at: F64) -> F64:
        return np.maximum(self._scale(self._rest, at, "spread"), self._stray)

    def distances(self, at: F64, roots: F64) -> F64:
        """Deviations in units of the largest or smallest of full simulation, (N,)."""
        z = (roots - self._scale(self._roots, at, "mean")) / self._spread(at)
        return np.where(z > 0, z / self.high, z / self.low)

    def shares(self, log_energy: float) -> tuple[float, float]:
        """The range of the share at ln E."""
        at = np.array([log_energy])
        mean, spread = float(self._scale(self._roots, at, "mean")[0]), float(self._spread(at)[0])
        return max(0.0, mean + self.low * spread) ** 2, max(0.0, mean + self.high * spread) ** 2


def _shares(sample: Observables) -> tuple[F64, F64, NDArray[np.int64]]:
    """ln E of the showers with energy, square roots of the shares (N, L + R + 1), and their rows."""
    rows = np.flatnonzero(sample.total_energy > 0)
    total = sample.total_energy[rows, None]
    parts = np.concatenate([sample.layer_energies, sample.ring_energies, sample.largest_voxels[:, None]], axis=1)
    return np.log(sample.incident_energies[rows]), np.sqrt(parts[rows] / total), rows


def _places(sample: Observables) -> list[str]:
    layers = [f"layer {number}" for number in sample.detector.mesh.layer_ids]
    return [*layers, *(f"ring {ring}" for ring in range(sample.ring_energies.shape[1])), "one voxel"]
