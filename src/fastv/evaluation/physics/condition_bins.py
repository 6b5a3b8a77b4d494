"""Bins of incident energy and angle in which two samples are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.table import CONDITIONS
from fastv.evaluation.observables.histograms import energy_edges
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.statistics.measured import beyond_rounding

F64 = NDArray[np.float64]

AT_LEAST = 100
"""Showers of each sample that a bin needs; with fewer, errors of widths are not normally distributed."""

MOST_BINS = 10
"""Largest number of bins of a continuous spectrum, unless another is asked for."""
_MOST_DISCRETE = 64
_SHOWERS_PER_ENERGY = 10
_SAME_ENERGY = 1e-6
"""Relative difference of one energy in single and in double precision, generously."""
_HALF_WIDTH = 5e-4
"""Relative half width of the bin of a single energy."""
_EXPECTED = 1.3
"""Mean or expected number of showers in a bin, over the number it needs."""


@dataclass(frozen=True)
class ConditionBin:
    """A range of a condition and the showers of both samples in it.

    Attributes:
        axis: name of the condition.
        low, high: limits in MeV or rad.
        reference, generated: masks (N,) and (M,) of the showers.
    """

    axis: str
    low: float
    high: float
    reference: NDArray[np.bool_]
    generated: NDArray[np.bool_]

    @property
    def words(self) -> str:
        """The range as text, in GeV, MeV or degrees."""
        if self.axis == "energy":
            return energy_range(self.low, self.high)
        return f"{self.axis} {math.degrees(self.low):.3g} to {math.degrees(self.high):.3g} deg"

    @property
    def numbers(self) -> tuple[int, int]:
        """Numbers of reference and of generated showers."""
        return int(self.reference.sum()), int(self.generated.sum())

    @property
    def filled(self) -> bool:
        """Whether both samples have enough showers."""
        return min(self.numbers) >= AT_LEAST


def energy_range(low: float, high: float) -> str:
    """A range of energies, given in MeV, as text; a single energy if the bin is narrower than 5 %.

    Example:
        >>> energy_range(1e3, 2e3), energy_range(9.9e3, 1.01e4), energy_range(200.0, 2e3)
        ('1 to 2 GeV', '10 GeV', '0.2 to 2 GeV')
        >>> energy_range(2.0**22, 2.0**22), energy_range(2.0**8, 2.0**22)
        ('4.19 TeV', '0.256 to 4190 GeV')
    """
    if high / low < 1.05:
        low = high = math.sqrt(low * high)
    unit, name = (1e3, "GeV") if high >= 1e3 else (1.0, "MeV")
    if low > 1e6:
        unit, name = 1e6, "TeV"
    if low == high:
        return f"{_three_digits(low / unit)} {name}"
    return f"{_three_digits(low / unit)} to {_three_digits(high / unit)} {name}"


def _three_digits(value: float) -> str:
    """A number with three digits, without a power of ten up to a million."""
    return f"{float(f'{value:.3g}'):g}"


def energy_bins(
    reference: Observables, generated: Observables, most: int | None = None, at_least: int = AT_LEAST
) -> list[ConditionBin]:
    """Bins of incident energy: one for each energy of a reference with few energies, else logarithmic over its range.

    The number of logarithmic bins is such that the smaller sample has 1.3 ``at_least`` showers per bin on average.
    Adjacent bins are then merged until each has ``at_least`` reference showers, or 1.3 ``at_least`` expected showers of
    a smaller generated sample with the same spectrum. A bin that lacks generated showers is kept, see
    :attr:`ConditionBin.filled`.

    Test beams and the CaloChallenge's data set 1 have few energies (:func:`discrete_energies`). If there are more than
    ``most``, or if not even one has enough showers, neighbours share a bin.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        most: largest number of bins; by default 10 of a continuous spectrum, and one for each discrete energy.
        at_least: showers of each sample that a bin needs.
    """
    a, b = reference.incident_energies, generated.incident_energies
    own = discrete_energies(a)
    if len(own) and (most is None or len(own) <= most):
        bins = [_at_energy(float(energy), a, b) for energy in own]
        if any(min(each.numbers) >= at_least for each in bins):
            return bins
    number = int(np.clip(min(len(a), len(b)) / (_EXPECTED * at_least), 1, MOST_BINS if most is None else most))
    edges = energy_edges(a, number)
    if len(own) > 1:
        # Between energies, never at one: rounding would decide on which side its showers are.
        between = np.sqrt(own[1:] * own[:-1])
        nearest = np.abs(np.log(edges[1:-1, None] / between)).argmin(axis=1)
        edges = np.concatenate(
            [[own[0] * (1 - _HALF_WIDTH)], np.unique(between[nearest]), [own[-1] * (1 + _HALF_WIDTH)]]
        )
    return _bins("energy", edges, a, b, at_least)


def discrete_energies(incident_energies: F64) -> F64:
    """The energies (K,) of a sample that has few of them, increasing; none (0,) of a continuous spectrum.

    A sample has few if they are at most 64, more than 0.1 % apart, with at least ten showers each on average.

    Args:
        incident_energies: (N,) MeV.

    Example:
        >>> discrete_energies(np.repeat([1e4, 1e3, 5e4], 20)), discrete_energies(np.geomspace(1, 10, 60))
        (array([ 1000., 10000., 50000.]), array([], dtype=float64))
    """
    values = np.sort(incident_energies)
    own = values[np.diff(values, prepend=0.0) > _SAME_ENERGY * values]
    apart = not np.any(own[1:] < own[:-1] * (1 + 2 * _HALF_WIDTH))
    few = len(own) <= _MOST_DISCRETE and len(values) >= _SHOWERS_PER_ENERGY * len(own)
    return own if few and apart else own[:0]


def _at_energy(energy: float, a: F64, b: F64) -> ConditionBin:
    low, high = energy / (1 + _HALF_WIDTH), energy * (1 + _HALF_WIDTH)
    return ConditionBin("energy", low, high, (a >= low) & (a <= high), (b >= low) & (b <= high))


def angle_bins(reference: Observables, generated: Observables, most: int = 5) -> list[ConditionBin]:
    """Bins of each angle with equal numbers of reference showers.

    An angle has no bins if a sample does not contain it or has fewer than 200 showers, or if the reference covers less
    than 1 mrad of it.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        most: largest number of bins per angle.
    """
    found: list[ConditionBin] = []
    for axis in (name for name, condition in CONDITIONS.items() if condition.unit == "rad"):
        a, b = reference.conditions.get(axis), generated.conditions.get(axis)
        if a is None or b is None or min(len(a), len(b)) < 2 * AT_LEAST or np.ptp(a) < 1e-3:
            continue
        edges = np.unique(np.quantile(a, np.linspace(0, 1, most + 1)))
        found += _bins(axis, edges, a, b, AT_LEAST)
    return found


def _bins(axis: str, edges: F64, a: F64, b: F64, at_least: int) -> list[ConditionBin]:
    counts, _ = np.histogram(a, edges)
    if len(b) < len(a):
        at_least = math.ceil(_EXPECTED * at_least * len(a) / max(1, len(b)))
    kept, total = [edges[0]], 0
    for count, high in zip(counts, edges[1:], strict=True):
        total += count
        if total >= at_least:
            kept.append(high)
            total = 0
    if len(kept) == 1:
        kept.append(edges[-1])
    kept[-1] = edges[-1]
    bins = []
    for i, (low, high) in enumerate(pairwise(kept)):
        last = i == len(kept) - 2
        masks = [(x >= low) & ((x <= high) if last else (x < high)) for x in (a, b)]
        bins.append(ConditionBin(axis, float(low), float(high), *masks))
    return bins


def not_filled(bins: Sequence[ConditionBin]) -> list[str]:
    """A note for each bin with too few showers to compare.

    Example:
        >>> not_filled([])
        []
    """
    return [
        f"{each.words}: not compared, {each.numbers[0]} and {each.numbers[1]} showers, {AT_LEAST} of each are needed"
        for each in bins
        if not each.filled
    ]


def stratified(
    bins: Sequence[ConditionBin], reference: NDArray[np.floating], generated: NDArray[np.floating]
) -> tuple[F64, F64, F64, F64]:
    """Means over bins, weighted in both samples by the reference's number of showers: independent of the spectra.

    m = sum_b w_b m_b with w_b = n_b/sum_b n_b of the reference; errors come from the pooled variance of both samples
    within each bin.

    Args:
        bins: bins of a condition; those not filled are ignored.
        reference, generated: values (N, ...) and (M, ...), any unit.

    Returns:
        Mean and error of the reference, mean and error of the generated sample, each (...); NaN without a filled bin.
    """
    filled = [each for each in bins if each.filled]
    shape = reference.shape[1:]
    if not filled:
        nothing = np.full(shape, math.nan)
        return nothing, nothing, nothing, nothing
    weights = np.array([each.numbers[0] for each in filled], dtype=np.float64)
    weights /= weights.sum()
    sums = np.zeros((4, *shape))
    for weight, each in zip(weights, filled, strict=True):
        x, y = (np.asarray(v, dtype=np.float64) for v in (reference[each.reference], generated[each.generated]))
        n, m = len(x), len(y)
        # A sample that happens to lack the rarest showers would underestimate its error.
        variance = ((n - 1) * x.var(axis=0, ddof=1) + (m - 1) * y.var(axis=0, ddof=1)) / (n + m - 2)
        sums += np.stack(
            [weight * x.mean(axis=0), weight**2 * variance / n, weight * y.mean(axis=0), weight**2 * variance / m]
        )
    return sums[0], np.sqrt(sums[1]), sums[2], np.sqrt(sums[3])


def residuals(reference: F64, generated: F64, reference_energies: F64, generated_energies: F64) -> tuple[F64, F64]:
    """Residuals of a quantity from its mean at the incident energy, in units of its standard deviation there.

    z = (q - m(E))/s(E), where m and s are the mean and standard deviation of the pooled samples in at most 50 equally
    populated bins of log E, interpolated between the bin centres. Both samples are treated alike, so two samples of one
    distribution have residuals of one distribution.

    Args:
        reference, generated: the quantity (N,) and (M,), any unit.
        reference_energies, generated_energies: incident energies (N,) and (M,), MeV.

    Returns:
        Residuals (N,) and (M,), dimensionless.

    Example:
        >>> energies = np.geomspace(1e3, 1e6, 2000)
        >>> rng = np.random.default_rng(0)
        >>> x, y = (5 * np.log(energies) + rng.normal(0, 2, 2000) for _ in range(2))
        >>> z, w = residuals(x, y, energies, energies)
        >>> bool(abs(z.std() - 1) < 0.05), bool(abs(w.mean()) < 0.1)
        (True, True)
    """
    both = np.concatenate([reference, generated]).astype(np.float64)
    log_energy = np.log(np.concatenate([reference_energies, generated_energies]))
    parts = np.array_split(np.argsort(log_energy, kind="stable"), int(np.clip(len(both) // 200, 1, 50)))
    centres = np.array([log_energy[part].mean() for part in parts])
    rising = np.concatenate([[True], np.diff(centres) > 0])
    means = np.array([both[part].mean() for part in parts])
    deviations = both - np.interp(log_energy, centres[rising], means[rising])
    spreads = np.array([float(beyond_rounding(deviations[part].std(), both[part])) for part in parts])
    scale = np.interp(log_energy, centres[rising], spreads[rising])
    z = np.divide(deviations, scale, out=np.zeros_like(deviations), where=scale > 0)
    return z[: len(reference)], z[len(reference) :]
