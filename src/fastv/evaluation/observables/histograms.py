"""Histograms of the observables and the separation power between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hist
import numpy as np
from numpy.typing import NDArray

from fastv.evaluation.observables.observe import Observables, alpha_layers
from fastv.evaluation.statistics.measured import beyond_rounding

F64 = NDArray[np.float64]

PER_LAYER = {
    "layer energy": "layer_energies",
    "EC_eta": "centre_x",
    "EC_phi": "centre_y",
    "EC_r": "centre_r",
    "width_eta": "width_x",
    "width_phi": "width_y",
    "width_r": "width_r",
    "sparsity": "sparsity",
}
"""Observables with one value per layer: the CaloChallenge's name and the attribute of :class:`Observables`."""
PER_SHOWER = {
    "E_tot/E_inc": "visible_fraction",
    "longitudinal mean": "longitudinal_mean",
    "longitudinal width": "longitudinal_width",
    "lateral mean": "lateral_mean",
    "lateral width": "lateral_width",
}
"""Observables with one value per shower: name and attribute of :class:`Observables`."""
_ALPHA = {"EC_eta", "EC_phi", "width_eta", "width_phi"}


def histogram(values: NDArray[np.floating], edges: F64) -> hist.Hist[Any]:
    """Histogram of values (n,) with edges (K + 1,); the last bin is closed on both sides, as in ``numpy.histogram``.

    Example:
        >>> histogram(np.array([0.0, 0.5, 1.0, 2.0]), np.array([0.0, 0.5, 1.0])).values()
        array([1., 2.])
    """
    filled = hist.Hist(hist.axis.Variable(edges), storage=hist.storage.Double())
    x = np.asarray(values, dtype=np.float64)
    filled.fill(np.where(x == edges[-1], np.nextafter(edges[-1], -np.inf), x))
    return filled


def counts_histogram(counts: NDArray[np.integer], edges: F64) -> hist.Hist[Any]:
    """Histogram with given counts (K,) and edges (K + 1,)."""
    filled = hist.Hist(hist.axis.Variable(edges), storage=hist.storage.Double())
    filled.view()[...] = counts
    return filled


def voxel_spectrum(sample: Observables) -> hist.Hist[Any]:
    """Histogram of the voxel energies in MeV of all showers of a sample."""
    return counts_histogram(sample.voxel_counts.sum(axis=0), sample.voxel_edges)


def separation_power(a: hist.Hist[Any], b: hist.Hist[Any]) -> float:
    """Separation power of two histograms with the same edges: 0 if equal, 1 if disjoint.

    s = 1/2 sum_k (a_k - b_k)^2/(a_k + b_k + 1e-16), with a and b normalised to unit sum over their entries in range. It
    is 0 for two empty histograms and 1 for an empty and a filled one.

    Source: arXiv:2410.21611, section 4; Diefenbacher et al., arXiv:2009.03796.

    Example:
        >>> edges = np.array([0.0, 1.0, 2.0])
        >>> separation_power(histogram(np.array([0.5]), edges), histogram(np.array([1.5]), edges))
        1.0
    """
    p, q = a.values(), b.values()
    if p.sum() == 0 or q.sum() == 0:
        return 0.0 if p.sum() == q.sum() else 1.0
    p, q = p / p.sum(), q / q.sum()
    return float(0.5 * np.sum((p - q) ** 2 / (p + q + 1e-16)))


def expected_separation(a: hist.Hist[Any], b: hist.Hist[Any]) -> float:
    """Expected separation power of two samples of one distribution: (K - 1)/4 (1/N + 1/M).

    K is the number of bins filled in either sample, N and M are the numbers of entries in range; for N = M this is
    (K - 1)/(2N). It follows from var(a_k) = p_k (1 - p_k)/N and assumes independent entries.

    Example:
        >>> edges = np.array([0.0, 1.0, 2.0])
        >>> h = histogram(np.array([0.5, 1.5]), edges)
        >>> expected_separation(h, h)
        0.25
    """
    p, q = a.values(), b.values()
    if p.sum() == 0 or q.sum() == 0:
        return 0.0
    filled = int(np.count_nonzero(p + q))
    return float((filled - 1) / 4 * (1 / p.sum() + 1 / q.sum()))


def expected_voxel_separation(a: NDArray[np.integer], b: NDArray[np.integer]) -> float:
    """Expected separation power of two voxel spectra of one distribution, with correlations within each shower.

    1/2 sum_k (var a_k + var b_k)/(a_k + b_k), where the variances of the normalised bins come from the differences
    between showers: var a_k = sum_i (n_ik - a_k n_i)^2/(sum_i n_i)^2.

    Args:
        a, b: number of voxels per shower and bin, (N, K) and (M, K).
    """
    shares, variances = zip(*(_shares(counts) for counts in (a, b)), strict=True)
    total = shares[0] + shares[1]
    filled = total > 0
    return float(0.5 * np.sum((variances[0] + variances[1])[filled] / total[filled]))


def _shares(counts: NDArray[np.integer]) -> tuple[F64, F64]:
    per_shower = counts.sum(axis=1, dtype=np.float64)
    total = max(1.0, float(per_shower.sum()))
    shares = counts.sum(axis=0) / total
    residuals = counts - per_shower[:, None] * shares
    return shares, (residuals**2).sum(axis=0) / total**2


@dataclass(frozen=True)
class Binning:
    """Edges of every histogram, determined from the reference and used for all samples.

    Attributes:
        per_shower: edges by observable.
        per_layer: edges for each layer by observable, None in layers without this observable.
    """

    per_shower: dict[str, F64]
    per_layer: dict[str, list[F64 | None]]


def binning(reference: Observables) -> Binning:
    """The CaloChallenge's binning, with data-dependent ranges taken from the reference.

    Layer energies: 40 logarithmic edges from the threshold to the largest energy of the layer. E_tot/E_inc: 100 bins
    from 0.5 to 1.5, or +-50 % around the median if that is not between 0.6 and 1.4. Centres, widths and sparsity: as
    for data sets 2 and 3; layers that extend beyond 45 mm or 1 m in r get wider ranges, as for data set 1. Moments of
    depth and radius: 100 bins over the central 99.8 % of the reference, extended by a tenth on both sides.

    Args:
        reference: observables of full simulation.

    Source: arXiv:2410.21611, section 4.
    """
    mesh = reference.detector.mesh
    threshold = reference.detector.threshold
    with_alpha = set(alpha_layers(mesh).tolist())
    per_layer: dict[str, list[F64 | None]] = {name: [] for name in PER_LAYER}
    for layer, block in enumerate(mesh.layers):
        largest = float(reference.layer_energies[:, layer].max())
        reach = block.r_edges[-1]
        centre, width = (30.0, 30.0) if reach <= 45 else (100.0, 100.0) if reach <= 1000 else (500.0, 400.0)
        centre_r, width_r = (42.0, 20.0) if reach <= 45 else (reach, width)
        edges = {
            "layer energy": _log_edges(threshold, largest, 40),
            "EC_eta": np.linspace(-centre, centre, 101),
            "EC_phi": np.linspace(-centre, centre, 101),
            "EC_r": np.linspace(0, centre_r, 101),
            "width_eta": np.linspace(0, width, 101),
            "width_phi": np.linspace(0, width, 101),
            "width_r": np.linspace(0, width_r, 101),
            "sparsity": np.linspace(0, 1, 21),
        }
        for name, values in edges.items():
            per_layer[name].append(values if name not in _ALPHA or layer in with_alpha else None)
    per_shower = {name: padded_edges(getattr(reference, field), 100) for name, field in PER_SHOWER.items()}
    centre_fraction = float(np.median(reference.visible_fraction))
    calibrated = 0.6 < centre_fraction < 1.4 or centre_fraction <= 0
    per_shower["E_tot/E_inc"] = np.linspace(0.5, 1.5, 101) * (1.0 if calibrated else centre_fraction)
    return Binning(per_shower, per_layer)


def energy_edges(energies: F64, bins: int = 10) -> F64:
    """Logarithmic bin edges (bins + 1,) over the range of the energies; one bin of +-1 % if all energies are equal.

    Example:
        >>> energy_edges(np.array([1e3, 1e6]), 3)
        array([   1000.,   10000.,  100000., 1000000.])
    """
    low, high = float(energies.min()), float(energies.max())
    if high / low < 1.001:
        return np.array([0.99 * low, 1.01 * high])
    edges = np.geomspace(low, high, bins + 1)
    edges[0], edges[-1] = low, high
    return edges


def padded_edges(values: NDArray[np.floating], bins: int) -> F64:
    """Edges (bins + 1,) over the central 99.8 % of the values, extended by a tenth on both sides.

    Values that are equal up to rounding (1e-6 of their size) get a range of half their size on both sides, or of 0.5 if
    they are 0.

    Args:
        values: (n,), n >= 1, any unit.
        bins: number of bins, of equal width.

    Example:
        >>> padded_edges(np.array([21.35, 21.350000000000001]), 2)
        array([10.675, 21.35 , 32.025])
    """
    low, high = np.quantile(np.asarray(values, dtype=np.float64), [0.001, 0.999])
    width = float(beyond_rounding(high - low, np.array([low, high])))
    margin = 0.1 * width or 0.5 * max(abs(low), abs(high)) or 0.5
    return np.linspace(low - margin, high + margin, bins + 1)


def _log_edges(low: float, high: float, n: int) -> F64:
    low = low or 1e-7 * high or 1e-3
    high = high if high > 1.001 * low else 10 * low
    edges = np.geomspace(low, high, n)
    # Rounding must not put the largest entry out of range.
    edges[0], edges[-1] = low, high
    return edges
