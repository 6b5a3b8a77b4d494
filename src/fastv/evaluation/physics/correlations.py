"""Correlations of all pairs of layers and of voxels, with errors valid for any distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from fastv.evaluation.observables.coarse_cells import coarse_labels
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.physics.condition_bins import energy_bins
from fastv.evaluation.physics.profiles import MIN_SHARE
from fastv.evaluation.statistics.comparison import Comparison, Difference, compare, difference, skipped
from fastv.evaluation.statistics.measured import Measured, beyond_rounding

F64 = NDArray[np.float64]

OCCUPIED = 0.5
"""Fraction of the showers that must have energy in a layer or voxel; below, errors of correlations are unreliable."""
_SHOWN = 100
_LEAST = 300
_BINS = 3
_LARGEST = 0.9999
"""Largest absolute correlation in Fisher's z, which diverges at 1."""


@dataclass(frozen=True)
class Correlations:
    """Pearson correlations ``r`` of all pairs of K variables and their errors ``error``, each (K, K).

    Differences are closer to normally distributed in ``fisher``, z = artanh(r), with ``fisher_error``.
    """

    r: F64
    error: F64

    @property
    def fisher(self) -> F64:
        """Fisher's z = artanh(r), (K, K); 0 on the diagonal."""
        z: F64 = np.arctanh(np.clip(self.r, -_LARGEST, _LARGEST))
        return np.where(np.eye(len(z), dtype=bool), 0.0, z)

    @property
    def fisher_error(self) -> F64:
        """Error of z, s_r/(1 - r^2), (K, K)."""
        return self.error / (1 - np.clip(self.r, -_LARGEST, _LARGEST) ** 2)


def correlations(values: NDArray[np.floating]) -> Correlations:
    """Pearson correlations of all pairs of columns, with errors that do not assume normal distributions.

    With standardised columns u, r_ij = <u_i u_j>. The influence of a shower is u_i u_j - r_ij (u_i^2 + u_j^2)/2, so

        n var(r_ij) = <u_i^2 u_j^2> - r_ij (<u_i^3 u_j> + <u_i u_j^3>)
                      + r_ij^2 (<u_i^4> + 2 <u_i^2 u_j^2> + <u_j^4>)/4,

    from three matrix products. For normal variables this is (1 - r^2)^2, which gives Fisher's 1/sqrt(n - 3). A constant
    column has r = 0 with error 0.

    Args:
        values: (n, K), any units.

    Source: Fisher, Metron 1 (1921) 3, for z; Browne, British Journal of Mathematical and Statistical Psychology 37
    (1984) 62, for the distribution-free variance.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(10_000, 2))
        >>> found = correlations(np.stack([x[:, 0], x.sum(axis=1)], axis=1))
        >>> round(float(found.r[0, 1]), 2), round(float(found.error[0, 1]), 3)
        (0.7, 0.005)
    """
    u = _standardised(values)
    n = len(u)
    square = u**2
    r = u.T @ u / n
    both = square.T @ square / n
    third = (square * u).T @ u / n
    fourth = np.diag(both)
    variance = both - r * (third + third.T) + r**2 / 4 * (fourth[:, None] + 2 * both + fourth)
    return Correlations(r=np.clip(r, -1, 1), error=np.sqrt(np.maximum(0.0, variance) / n))


def paired_error(a: NDArray[np.floating], b: NDArray[np.floating]) -> F64:
    """Error (K, K) of r_b - r_a if row i of both samples has the same condition.

    var(r_b - r_a) = var(r_a) + var(r_b) - 2 cov, with the covariance from products of the influences in
    :func:`correlations`. Variation common to both samples, such as the spread of the incident energies, cancels.

    Args:
        a, b: (n, K) each, row i of both a pair.
    """
    u, v = _standardised(a), _standardised(b)
    n = len(u)
    r, s = u.T @ u / n, v.T @ v / n
    product = u * v
    shared = product.T @ product / n
    first = (u * v**2).T @ u / n  # <u_i v_i^2 u_j>
    second = (v * u**2).T @ v / n
    squares = (u**2).T @ (v**2) / n
    own = np.diag(squares)
    covariance = (
        shared
        - s / 2 * (first + first.T)
        - r / 2 * (second + second.T)
        + r * s / 4 * (own[:, None] + squares + squares.T + own)
    )
    variance = (correlations(a).error ** 2 + correlations(b).error ** 2) * n - 2 * covariance
    return np.sqrt(np.maximum(0.0, variance) / n)


def layer_correlations(reference: Observables, generated: Observables) -> Comparison:
    """Pearson correlation of the energies of all pairs of layers, over all incident energies, absolute difference.

    This is the correlation that the CaloChallenge publishes; it is mostly due to the spread of the incident energies.
    Only layers with more than 1 % of the reference's energy are used, since a few deep showers determine the
    correlations of the others. If both samples have the same incident energies, shower by shower, the errors are
    those of :func:`paired_error`.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
    """
    labels = [f"layer {layer}" for layer in reference.detector.mesh.layer_ids]
    a, b = reference.layer_energies, generated.layer_energies
    name, title = "layer correlations", "Correlations of layer energies"
    definition = "Pearson correlation of layer energies, all pairs of layers, all incident energies"
    energy = a.sum(axis=0, dtype=np.float64)
    kept = np.intersect1d(_occupied([a, b]), np.flatnonzero(energy > MIN_SHARE * energy.sum()))
    if len(kept) < 2 or min(len(a), len(b)) < _LEAST:
        return skipped(name, title, definition, _reason(len(kept), len(a), len(b)))
    paired = same_energies(reference.incident_energies, generated.incident_energies)
    pairs = _Pairs("", [labels[i] for i in kept], a[:, kept], b[:, kept], paired=paired)
    return _compare_all(name, title, definition, [pairs])


def fraction_correlations(reference: Observables, generated: Observables) -> Comparison:
    """Correlation of the normal scores of E_layer/E_inc for all pairs of layers, in bins of incident energy.

    The remaining dependence on the incident energy is subtracted, so that only the fluctuations between showers of one
    energy contribute. See :func:`normal_scores`.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
    """
    labels = [f"layer {layer}" for layer in reference.detector.mesh.layer_ids]
    name, title = "layer fraction correlations", "Correlations of layer fractions"
    definition = "correlation of normal scores of E_layer/E_inc, all pairs of layers, in bins of incident energy"
    parts = (reference.layer_energies, generated.layer_energies)
    return _in_bins(name, title, definition, labels, parts, reference, generated)


def same_energies(a: F64, b: F64) -> bool:
    """Whether two samples have the same incident energies, shower by shower, to a relative precision of 1e-5."""
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-5, atol=0))


def normal_scores(values: NDArray[np.floating]) -> F64:
    """Normal scores (n, K) of each column: the normal quantiles of its ranks.

    u = Phi^-1((rank - 1/2)/n), where equal values share their mean rank. The Pearson correlation of normal scores is
    invariant under increasing functions of a variable, and no single shower can dominate it. Energies of late layers
    and of voxels have such long tails that two halves of one sample would otherwise differ by more than five standard
    deviations.

    Args:
        values: (n, K), any units.

    Source: van der Waerden, Indagationes Mathematicae 14 (1952) 453; Klaassen and Wellner, Bernoulli 3 (1997) 55, for
    the correlation.

    Example:
        >>> normal_scores(np.array([[1.0], [100.0], [10.0]])).round(2).ravel()
        array([-0.97,  0.97,  0.  ])
    """
    x = np.asarray(values, dtype=np.float64)
    # The ranks of what is only rounding would be random numbers.
    x = np.where(beyond_rounding(np.ptp(x, axis=0), x) > 0, x, 0.0)
    return np.asarray(norm.ppf((rankdata(x, axis=0) - 0.5) / len(x)), dtype=np.float64)


def coarse_correlations(reference: Observables, generated: Observables) -> Comparison:
    """Correlation of the normal scores of E/E_inc for all pairs of coarse cells, in bins of incident energy.

    Coarse cells are groups of layers, sectors of alpha and ranges of r, see
    :mod:`fastv.evaluation.observables.coarse_cells`; for the correlation see :func:`fraction_correlations`.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
    """
    labels = coarse_labels(reference.detector.mesh)
    name, title = "coarse cell correlations", "Correlations across the shower"
    definition = "correlation of normal scores of E/E_inc of groups of voxels, all pairs, in bins of incident energy"
    parts = (reference.coarse_cells, generated.coarse_cells)
    return _in_bins(name, title, definition, labels, parts, reference, generated)


def voxel_correlations(reference: Observables, generated: Observables) -> Comparison:
    """Correlation of the normal scores of E/E_inc for all pairs of the hottest voxels, in bins of incident energy.

    The voxels are the ``hot_voxels`` of the reference, which ``observe(generated, like=reference)`` uses too; for the
    correlation see :func:`fraction_correlations`.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
    """
    mesh = reference.detector.mesh
    name, title = "voxel correlations", "Correlations of single voxels"
    number = len(reference.hot_voxels)
    definition = f"correlation of normal scores of E/E_inc of the {number} hottest voxels, all pairs, in bins of energy"
    if not np.array_equal(reference.hot_voxels, generated.hot_voxels):
        return skipped(
            name,
            title,
            definition,
            "the samples were observed with different hot voxels; use observe(..., like=reference)",
        )
    labels = []
    for voxel in reference.hot_voxels:
        layer = int(mesh.voxel_layer[voxel])
        alpha, r = divmod(int(voxel - mesh.layer_boundaries[layer]), mesh.layers[layer].r_cells)
        labels.append(f"layer {mesh.layer_ids[layer]} alpha {alpha} r {r}")
    parts = (reference.hot_energies, generated.hot_energies)
    return _in_bins(name, title, definition, labels, parts, reference, generated)


@dataclass(frozen=True)
class _Pairs:
    """Variables of both samples, (N, K) and (M, K), whose pairs are compared at one place."""

    place: str
    labels: Sequence[str]
    reference: NDArray[np.floating]
    generated: NDArray[np.floating]
    paired: bool = False


def _in_bins(
    name: str,
    title: str,
    definition: str,
    labels: Sequence[str],
    parts: tuple[NDArray[np.float32], NDArray[np.float32]],
    reference: Observables,
    generated: Observables,
) -> Comparison:
    fractions = [
        part / e[:, None]
        for part, e in zip(parts, (reference.incident_energies, generated.incident_energies), strict=True)
    ]
    groups, notes = [], []
    for each in energy_bins(reference, generated, most=_BINS, at_least=_LEAST):
        if min(each.numbers) < _LEAST:
            n, m = each.numbers
            notes.append(f"{each.words}: not compared, {n} and {m} showers, {_LEAST} of each are needed")
            continue
        inside = fractions[0][each.reference], fractions[1][each.generated]
        kept = _occupied(inside)
        if len(kept) < 2:
            continue
        energies = reference.incident_energies[each.reference], generated.incident_energies[each.generated]
        scores = [_detrended(normal_scores(x[:, kept]), e) for x, e in zip(inside, energies, strict=True)]
        groups.append(_Pairs(f"{each.words}: ", [labels[i] for i in kept], scores[0], scores[1]))
    if not groups:
        return skipped(name, title, definition, notes[0] if notes else "no pair has energy in most showers")
    found = _compare_all(name, title, definition, groups)
    return found.model_copy(update={"notes": (*found.notes, *notes)})


def _detrended(values: F64, energies: F64) -> F64:
    """Values (n, K) minus a fitted parabola in log E, since a trend within a wide bin would add correlation."""
    x = np.log(energies)
    x = (x - x.mean()) / max(float(x.std()), 1e-12)
    powers = np.stack([np.ones_like(x), x, x**2], axis=1)
    trend: F64 = powers @ np.linalg.lstsq(powers, values, rcond=None)[0]
    return values - trend


def _compare_all(name: str, title: str, definition: str, groups: Sequence[_Pairs]) -> Comparison:
    """Compare all pairs in all groups; the pairs with the largest pulls are listed."""
    found: list[Difference] = []
    compared, notes = 0, []
    for group in groups:
        a, b = correlations(group.reference), correlations(group.generated)
        error = _error_of_difference(group)
        shift = b.fisher - a.fisher
        rows, columns = np.triu_indices(len(a.r), 1)
        defined = (a.error[rows, columns] > 0) & (b.error[rows, columns] > 0) & (error[rows, columns] > 0)
        rows, columns = rows[defined], columns[defined]
        if not rows.size:
            continue
        pulls = shift[rows, columns] / error[rows, columns]
        compared += len(rows)
        change = b.r[rows, columns] - a.r[rows, columns]
        scatter = np.sqrt(np.mean(a.error[rows, columns] ** 2 + b.error[rows, columns] ** 2))
        chance = "" if group.paired else f", about {scatter:.3g} expected by chance"
        notes.append(f"{group.place}{len(rows)} pairs, rms difference {np.sqrt(np.mean(change**2)):.3g}{chance}")
        for k in np.argsort(-np.abs(pulls), kind="stable")[:_SHOWN]:
            i, j = rows[k], columns[k]
            found.append(
                difference(
                    f"{group.place}{group.labels[i]} with {group.labels[j]}",
                    Measured(value=float(a.r[i, j]), error=float(a.error[i, j])),
                    Measured(value=float(b.r[i, j]), error=float(b.error[i, j])),
                    deviations=float(pulls[k]),
                )
            )
    found.sort(key=lambda d: -abs(d.pull))
    return compare(name, title, definition, found[:_SHOWN], compared=compared, notes=notes)


def _error_of_difference(group: _Pairs) -> F64:
    """Error (K, K) of the difference of Fisher's z.

    For independent samples it comes from the pooled sample, each part standardised: with long tails, a sample that
    happens to lack the rarest showers underestimates its error.
    """
    if group.paired:
        r, s = correlations(group.reference).r, correlations(group.generated).r
        scale = np.sqrt((1 - np.clip(r, -_LARGEST, _LARGEST) ** 2) * (1 - np.clip(s, -_LARGEST, _LARGEST) ** 2))
        paired: F64 = paired_error(group.reference, group.generated) / scale
        return paired
    n, m = len(group.reference), len(group.generated)
    both = correlations(np.concatenate([_standardised(group.reference), _standardised(group.generated)]))
    return both.fisher_error * math.sqrt((n + m) * (1 / n + 1 / m))


def _standardised(values: NDArray[np.floating]) -> F64:
    x = np.asarray(values, dtype=np.float64)
    spread = beyond_rounding(x.std(axis=0), x)
    x = x - x.mean(axis=0)
    result: F64 = np.divide(x, spread, out=np.zeros_like(x), where=spread > 0)
    return result


def _occupied(samples: Sequence[NDArray[np.floating]]) -> NDArray[np.int64]:
    """Columns with energy in most showers of at least one sample."""
    return np.flatnonzero(np.any([(values > 0).mean(axis=0) > OCCUPIED for values in samples], axis=0))


def _reason(columns: int, n: int, m: int) -> str:
    if columns < 2:
        return "fewer than two layers have more than 1 % of the energy and energy in most showers"
    return f"{n} and {m} showers, {_LEAST} of each are needed"
