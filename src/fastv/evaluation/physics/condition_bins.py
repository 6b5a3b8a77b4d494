"""Bins of incident energy and angle in which two samples are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fastv.conditions import CONDITIONS
from fastv.evaluation.observables.histograms import energy_edges
from fastv.evaluation.observables.observe import Observables

F64 = NDArray[np.float64]

AT_LEAST = 100
"""Showers of either sample that a bin needs: estimates of spreads have no normal errors below."""


_EXPECTED = 1.3
"""Showers of a bin in the mean, or expected of a smaller sample, in units of those it needs."""


@dataclass(frozen=True)
class ConditionBin:
    """A range of a condition and the showers of both samples in it.

    Attributes:
        axis: name of the condition.
        low, high: MeV or rad.
        reference, generated: masks (N,) and (M,).
    """

    axis: str
    low: float
    high: float
    reference: NDArray[np.bool_]
    generated: NDArray[np.bool_]

    @property
    def words(self) -> str:
        """The range as a text."""
        if self.axis == "energy":
            return energy_range(self.low, self.high)
        return f"{self.axis} {math.degrees(self.low):.3g} to {math.degrees(self.high):.3g} deg"

    @property
    def numbers(self) -> tuple[int, int]:
        """Showers of the reference and of the generated sample."""
        return int(self.reference.sum()), int(self.generated.sum())

    @property
    def filled(self) -> bool:
        """Whether there are enough showers of both samples."""
        return min(self.numbers) >= AT_LEAST


def energy_range(low: float, high: float) -> str:
    """A range of energies in MeV as a text; one energy for a narrow bin.

    Example:
        >>> energy_range(1e3, 2e3), energy_range(9.9e3, 1.01e4), energy_range(200.0, 2e3)
        ('1 to 2 GeV', '10 GeV', '0.2 to 2 GeV')
    """
    if high / low < 1.05:
        low = high = math.sqrt(low * high)
    unit, name = (1e3, "GeV") if high >= 1e3 else (1.0, "MeV")
    if low == high:
        return f"{low / unit:.3g} {name}"
    return f"{low / unit:.3g} to {high / unit:.3g} {name}"


def energy_bins(
    reference: Observables, generated: Observables, most: int = 10, at_least: int = AT_LEAST
) -> list[ConditionBin]:
    """Logarithmic bins of incident energy over the range of the reference.

    As many as have 1.3 times ``at_least`` showers of the smaller sample in the mean; neighbours are joined until each
    has ``at_least`` of the reference, and as many are expected of a smaller generated sample with the same spectrum. A
    bin that the generated sample does not fill is kept: its absence is a finding, see :attr:`ConditionBin.filled`.

    Args:
        reference, generated: the two samples.
        most: bins at most.
        at_least: showers of either sample a bin.
    """
    number = int(np.clip(min(len(reference), len(generated)) / (_EXPECTED * at_least), 1, most))
    edges = energy_edges(reference.incident_energies, number)
    return _bins("energy", edges, reference.incident_energies, generated.incident_energies, at_least)


def angle_bins(reference: Observables, generated: Observables, most: int = 5) -> list[ConditionBin]:
    """Bins of equal population of the reference in each angle that both samples have and that varies."""
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
    """A note for each bin that has too few showers to compare.

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
    """Means over bins with the reference's share of showers as weights, so that different spectra do no harm.

    m = sum_b w_b m_b with w_b = n_b/sum_b n_b of the reference in both samples, and errors from the scatter of both
    samples together within the bins.

    Args:
        bins: those that are not filled are left out.
        reference, generated: values (N, ...) and (M, ...).

    Returns:
        Mean and error of the reference, mean and error of the generated sample (...), NaN without a filled bin.
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
        # A sample without the rarest showers would underestimate its error.
        variance = ((n - 1) * x.var(axis=0, ddof=1) + (m - 1) * y.var(axis=0, ddof=1)) / (n + m - 2)
        sums += np.stack(
            [weight * x.mean(axis=0), weight**2 * variance / n, weight * y.mean(axis=0), weight**2 * variance / m]
        )
    return sums[0], np.sqrt(sums[1]), sums[2], np.sqrt(sums[3])


def residuals(reference: F64, generated: F64, reference_energies: F64, generated_energies: F64) -> tuple[F64, F64]:
    """What is left of a quantity when its dependence on the incident energy is taken out, in units of its spread.

    z = (q - m(E))/s(E) with the local mean and standard deviation of both samples together, in at most 50 bins of
    equal population in log E, interpolated between their middles. Both samples enter alike, so that two samples of one
    distribution stay so.

    Args:
        reference, generated: the quantity (N,) and (M,).
        reference_energies, generated_energies: incident energies, MeV.

    Returns:
        Residuals (N,) and (M,) without unit.

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
    left = both - np.interp(log_energy, centres[rising], means[rising])
    spreads = np.array([left[part].std() for part in parts])
    scale = np.interp(log_energy, centres[rising], spreads[rising])
    z = np.divide(left, scale, out=np.zeros_like(left), where=scale > 0)
    return z[: len(reference)], z[len(reference) :]
