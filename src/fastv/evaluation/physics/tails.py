"""Distributions of shower quantities, their tails, and quantiles of voxel energies."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, wasserstein_distance

from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.observables.shower_shape import QUANTITIES, quantity
from fastv.evaluation.physics.condition_bins import residuals
from fastv.evaluation.statistics.comparison import Comparison, Difference, compare, difference, skipped
from fastv.evaluation.statistics.measured import Measured, deviations_of, ks_p_value, mean, pull, quantile

F64 = NDArray[np.float64]

PROBABILITIES = (0.001, 0.01, 0.05, 0.5, 0.95, 0.99, 0.999)
VOXEL_PROBABILITIES = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
_LEAST_BEYOND = 5
"""Showers of the smaller sample that must be expected beyond a quantile."""
_LEAST = 100


def tail_p_value(beyond_a: int, n_a: int, beyond_b: int, n_b: int) -> float:
    """Probability that entries beyond a common cut divide at least as unevenly between two samples of one distribution.

    Of all n_a + n_b entries, k_a + k_b lie beyond the cut; under the null hypothesis k_a is hypergeometric. The p-value
    is two-sided, twice the smaller tail, and exact for any distribution.

    Args:
        beyond_a, beyond_b: entries k_a and k_b of each sample beyond the cut, a quantile of the pooled samples.
        n_a, n_b: sizes of the samples.

    Source: Fisher's exact test; Agresti, Categorical Data Analysis, section 3.5.

    Example:
        >>> tail_p_value(5, 1000, 5, 1000), round(tail_p_value(10, 1000, 0, 1000), 4)
        (1.0, 0.0019)
    """
    total = hypergeom(n_a + n_b, beyond_a + beyond_b, n_a)
    return min(1.0, 2 * min(float(total.cdf(beyond_a)), float(total.sf(beyond_a - 1))))


def distributions(reference: Observables, generated: Observables) -> Comparison:
    """Distribution of every shower quantity, by the Kolmogorov-Smirnov test.

    The dependence on the incident energy is removed first, see
    :func:`fastv.evaluation.physics.condition_bins.residuals`; otherwise the spread of the energies would hide a change
    at one of them. The difference is the Wasserstein distance in local standard deviations, the pull corresponds to the
    p-value of the test.

    Args:
        reference, generated: observables of (N,) and (M,) showers.

    Source: for the distance Villani, Optimal Transport, chapter 6.
    """
    name, title = "distributions", "Distributions of shower quantities"
    definition = "Kolmogorov-Smirnov test of each quantity, dependence on energy removed; Wasserstein distance"
    if min(len(reference), len(generated)) < _LEAST:
        return skipped(name, title, definition, f"{_LEAST} showers of both samples are needed")
    found = []
    for each in QUANTITIES:
        z, w = residuals(
            each.of(reference), each.of(generated), reference.incident_energies, generated.incident_energies
        )
        p_value = ks_p_value(z, w)
        a, b = mean(z), mean(w)
        distance = Measured(value=float(wasserstein_distance(z, w)), error=math.hypot(a.error, b.error))
        compared = difference(each.name, a, b, deviations=math.copysign(deviations_of(p_value), b.value - a.value))
        found.append(compared.model_copy(update={"difference": distance}))
    return compare(name, title, definition, found, unit="local standard deviations")


def quantity_tails(name: str, reference: Observables, generated: Observables) -> Comparison:
    """Quantiles of a shower quantity from 0.1 % to 99.9 %, with its dependence on energy removed, absolute difference.

    Errors of the quantiles come from order statistics; the pull is that of the exact test of :func:`tail_p_value` on
    the numbers of showers beyond the quantile of the pooled samples. Quantiles with fewer than five showers of the
    smaller sample expected beyond them are left out.

    Args:
        name: name of one of :data:`fastv.evaluation.observables.shower_shape.QUANTITIES`.
        reference, generated: observables of (N,) and (M,) showers.
    """
    of = quantity(name).of
    z, w = residuals(of(reference), of(generated), reference.incident_energies, generated.incident_energies)
    return _quantiles(
        f"tails of {name}",
        f"Tails of {name}",
        f"quantiles of {name}, dependence on incident energy removed",
        z,
        w,
        "local standard deviations",
    )


def response_quantiles(reference: Observables, generated: Observables) -> Comparison:
    """Quantiles of E_tot/E_inc from 0.1 % to 99.9 % over all incident energies, absolute difference.

    Errors and pulls as in :func:`quantity_tails`; the dependence on energy is not removed.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
    """
    definition = "quantiles of E_tot/E_inc over all incident energies"
    name, title = "visible fraction quantiles", "Quantiles of the visible fraction"
    return _quantiles(name, title, definition, reference.visible_fraction, generated.visible_fraction, "")


def voxel_quantiles(reference: Observables, generated: Observables) -> Comparison:
    """Quantiles of the energies of all voxels with a signal, from 0.1 % to 99.9 %, relative difference.

    They are computed from the voxel spectrum, assuming that entries are uniform in log E within a bin. Voxels of one
    shower are correlated, so the error of the fraction F below a cut is that of a ratio of sums over showers,
    var(F) = sum_i (k_i - F n_i)^2/(sum_i n_i)^2, and the error of the quantile is that divided by the density. The pull
    is that of the fractions below the reference's quantile. The last entry is the mean of the largest voxel energy of
    each shower over the incident energy.

    Args:
        reference, generated: observables of (N,) and (M,) showers, with the same ``voxel_edges``.
    """
    name, title = "voxel quantiles", "Tails of the voxel energies"
    definition = "quantiles of the energies of all voxels with a signal; largest voxel of a shower over E_inc"
    if not np.array_equal(reference.voxel_edges, generated.voxel_edges):
        return skipped(
            name,
            title,
            definition,
            "the samples were observed with different voxel edges; use observe(..., like=reference)",
        )
    if (
        min(len(reference), len(generated)) < _LEAST
        or min(int(s.voxel_counts.sum()) for s in (reference, generated)) == 0
    ):
        return skipped(name, title, definition, f"{_LEAST} showers with a signal are needed in both samples")
    found = []
    for p in VOXEL_PROBABILITIES:
        cut = _spectrum_quantile(reference, p)
        fractions = [_fraction_below(sample, cut) for sample in (reference, generated)]
        shift = Measured(
            value=fractions[1].value - fractions[0].value, error=math.hypot(fractions[0].error, fractions[1].error)
        )
        a, b = (_with_error(sample, p) for sample in (reference, generated))
        found.append(difference(_percent(p), a, b, relative=True, low=p, high=p, deviations=-pull(shift)))
    largest = [mean(sample.largest_voxels / sample.incident_energies) for sample in (reference, generated)]
    found.append(difference("largest voxel over E_inc, mean", *largest, relative=True))
    beyond = float(generated.largest_voxels.max()) / float(reference.voxel_edges[-1])
    notes = [f"largest voxel of all: {beyond:.3g} times that of the reference"]
    return compare(name, title, definition, found, relative=True, unit="MeV", axis="probability", notes=notes)


def _quantiles(name: str, title: str, definition: str, a: F64, b: F64, unit: str) -> Comparison:
    smaller = min(len(a), len(b))
    if smaller < _LEAST:
        return skipped(name, title, definition, f"{_LEAST} showers of both samples are needed")
    both = np.concatenate([a, b])
    found: list[Difference] = []
    left_out: list[str] = []
    for p in PROBABILITIES:
        if smaller * min(p, 1 - p) < _LEAST_BEYOND:
            left_out.append(_percent(p))
            continue
        cut = float(np.quantile(both, p))
        counts = [int((x <= cut).sum() if p <= 0.5 else (x > cut).sum()) for x in (a, b)]
        size = deviations_of(tail_p_value(counts[0], len(a), counts[1], len(b)))
        # More entries below a low cut, or fewer above a high one, mean a smaller quantile.
        more = counts[1] / len(b) - counts[0] / len(a)
        sign = -more if p <= 0.5 else more
        found.append(
            difference(_percent(p), quantile(a, p), quantile(b, p), low=p, high=p, deviations=math.copysign(size, sign))
        )
    notes = [f"too few showers beyond: {', '.join(left_out)}"] if left_out else []
    return compare(name, title, definition, found, unit=unit, axis="probability", notes=notes)


def _percent(p: float) -> str:
    return f"{100 * p:g} % quantile"


def _cumulative(sample: Observables) -> F64:
    counts = sample.voxel_counts.sum(axis=0, dtype=np.float64)
    cumulative: F64 = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    return cumulative


def _spectrum_quantile(sample: Observables, p: float) -> float:
    """Energy in MeV below which a fraction p of the voxels lies."""
    return float(np.exp(np.interp(p, _cumulative(sample), np.log(sample.voxel_edges))))


def _fraction_below(sample: Observables, cut: float) -> Measured:
    """Fraction of the voxels below a cut in MeV; its error accounts for correlations within a shower."""
    position = float(np.interp(math.log(cut), np.log(sample.voxel_edges), np.arange(len(sample.voxel_edges))))
    whole = min(int(position), sample.voxel_counts.shape[1] - 1)
    below = sample.voxel_counts[:, :whole].sum(axis=1, dtype=np.float64)
    below += (position - whole) * sample.voxel_counts[:, whole]
    numbers = sample.voxel_counts.sum(axis=1, dtype=np.float64)
    fraction = float(below.sum() / numbers.sum())
    error = math.sqrt(float(((below - fraction * numbers) ** 2).sum())) / float(numbers.sum())
    return Measured(value=fraction, error=error)


def _with_error(sample: Observables, p: float) -> Measured:
    """Quantile of the voxel energies in MeV; its error is that of the fraction, propagated through the spectrum."""
    value = _spectrum_quantile(sample, p)
    step = _fraction_below(sample, value).error
    low, high = (_spectrum_quantile(sample, min(1.0, max(0.0, p + sign * step))) for sign in (-1, 1))
    return Measured(value=value, error=(high - low) / 2)
