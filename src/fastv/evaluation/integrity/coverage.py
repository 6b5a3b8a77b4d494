"""Does a generator make all kinds of showers? Coverage of the reference, and missing modes.

Showers are described by nine features, each as deviation from the reference's mean at the incident energy in units of
the reference's standard deviation there, so that showers of all energies can be analysed together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.spatial import KDTree
from scipy.stats import binom, norm
from sklearn.cluster import KMeans

from fastv.evaluation.integrity.findings import (
    SURE,
    Finding,
    energy_in_words,
    local_scale,
    shortfall_p_value,
    skipped,
)
from fastv.evaluation.observables.histograms import energy_edges
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.observables.shower_shape import quantity
from fastv.evaluation.statistics.comparison import Status
from fastv.evaluation.statistics.measured import ROUNDING
from fastv.wording import counted

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

MIN_SHOWERS = 200
_IN_BIN = 100
_TAIL = 0.02
_PER_CELL = 60
_MOST_CELLS = 40
_MISSING = 0.5
"""A mode is missing if the sample has less than this fraction of the expected showers."""
_CORRELATION = 2.0
"""Variance of a coverage over that for independent showers; samples of one distribution give 1 to 2."""

FEATURES = {
    "visible fraction": ("little visible energy", "much visible energy"),
    "shower start": ("early start", "late start"),
    "depth": ("shallow", "deep"),
    "length": ("short", "long"),
    "radius": ("narrow", "wide"),
    "lateral spread": ("compact core", "wide halo"),
    "occupied voxels": ("few voxels hit", "many voxels hit"),
    "core fraction": ("little energy in the core", "much energy in the core"),
    "distance from axis": ("centred", "off the axis"),
}
"""The features, with a description of showers at their low and high ends."""


@dataclass(frozen=True)
class Features:
    """Features of N showers.

    Attributes:
        deviations: deviations from the reference at the incident energy, in its standard deviations (N, 9).
        log_energies: ln of the incident energies in MeV (N,).
    """

    deviations: F64
    log_energies: F64

    def __len__(self) -> int:
        return len(self.log_energies)


class EnergyCoverage(BaseModel):
    """Coverage in one bin of incident energy [low, high) in MeV; values are None if ``skipped`` gives a reason."""

    model_config = ConfigDict(frozen=True)

    low: float
    high: float
    showers_reference: int
    showers_generated: int
    value: float | None = None
    error: float | None = None
    floor: float | None = None
    skipped: str | None = None


class Coverage(Finding):
    """Fraction of the reference showers that have a generated shower among their nearest neighbours.

    ``floor`` is the expectation for a sample of the reference's distribution; ``bins`` holds both in bins of incident
    energy, and ``worst`` is the index of the bin with the most negative pull.
    """

    bins: tuple[EnergyCoverage, ...] = ()
    worst: int | None = None


class Mode(BaseModel):
    """A kind of shower: a cell or a tail of the reference's features.

    ``share`` is its fraction of the reference, ``populated`` the number of generated showers in it over the expected
    one, with ``error``; ``p_value`` is corrected for the number of modes examined.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    share: float
    populated: float
    error: float
    p_value: float


class DroppedModes(Finding):
    """Kinds of showers that the generator makes too rarely.

    ``value`` is the population of the worst mode, generated over expected showers. ``missing`` lists the modes with
    significantly less than half of the expected showers. ``different`` is the fraction of the ``cells`` whose
    population differs at p below 0.05, and ``floor_different`` its expectation 0.05.
    """

    missing: tuple[Mode, ...] = ()
    worst: Mode | None = None
    cells: int = 0
    different: float | None = None
    floor_different: float | None = None


def features(sample: Observables, reference: Observables) -> Features:
    """Nine features of each shower, as deviations from the reference.

    The features are visible fraction E_tot/E_inc; shower start, the depth that contains 5 % of the energy; mean and
    standard deviation of depth and of radius; fraction of voxels hit, averaged over layers; fraction of the energy in
    the innermost ring; distance of the centre of energy from the axis. From each the reference's mean at the incident
    energy is subtracted, and the difference divided by the reference's standard deviation there and clipped to +-20.

    Args:
        sample: observables (N,).
        reference: observables (M,) of full simulation.

    Example:
        >>> from fastv.evaluation.observables.observe import observe
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     reference = observe(file[:300])
        >>> features(reference, reference).deviations.shape
        (300, 9)
    """
    own, ref = _raw_features(sample), _raw_features(reference)
    at, ref_at = np.log(sample.incident_energies), np.log(reference.incident_energies)
    columns = []
    for i in range(own.shape[1]):
        rest = ref[:, i] - local_scale(ref_at, ref[:, i], ref_at, "mean")
        expected = local_scale(ref_at, ref[:, i], at, "mean")
        difference = own[:, i] - expected
        rounding = ROUNDING * np.maximum(np.abs(own[:, i]), np.abs(expected))
        scale = np.maximum(local_scale(ref_at, rest, at, "spread"), np.maximum(rounding, 1e-12))
        # Of a feature that is constant in the reference, differences of rounding size must not become large.
        columns.append(np.where(np.abs(difference) > rounding, difference / scale, 0.0))
    # Clipping limits the influence of grossly wrong showers.
    return Features(np.clip(np.stack(columns, axis=1), -20, 20), at)


def _raw_features(sample: Observables) -> F64:
    total = np.maximum(sample.total_energy, 1e-16)
    energies = sample.layer_energies.astype(np.float64)
    centre = [(energies * getattr(sample, name)).sum(axis=1) / total for name in ("centre_x", "centre_y")]
    columns = [
        sample.visible_fraction,
        quantity("shower start").of(sample),
        sample.longitudinal_mean,
        sample.longitudinal_width,
        sample.radial_mean,
        sample.radial_width,
        1 - sample.sparsity.mean(axis=1),
        sample.ring_energies[:, 0] / total,
        np.hypot(*centre),
    ]
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def expected_coverage(reference: int, generated: int, k: int = 5) -> float:
    """Expected coverage of n showers by m others of the same distribution: 1 - prod_{i<k} (n - 1 - i)/(n - 1 + m - i).

    A shower is not covered if the nearest k of the n - 1 + m other, exchangeable showers all belong to the reference.

    Args:
        reference, generated: n and m.
        k: neighbours that define the radius around each reference shower.

    Source: Naeem et al., arXiv:2002.09797, section 3.4.

    Example:
        >>> round(expected_coverage(10_000, 10_000), 3)
        0.969
    """
    i = np.arange(k)
    return float(1 - np.prod(np.maximum(0, reference - 1 - i) / (reference - 1 + generated - i)))


def covered(reference: F64, generated: F64, k: int = 5) -> NDArray[np.bool_]:
    """Mask (n,) of reference points (n, d) with a generated point (m, d) no farther than their k-th nearest neighbour.

    Neighbours are those among the reference points.

    Source: Naeem et al., arXiv:2002.09797, equation 10.

    Example:
        >>> points = np.arange(10.0)[:, None]
        >>> covered(points, points[:5] + 0.1, k=1)
        array([ True,  True,  True,  True,  True,  True, False, False, False, False])
    """
    radius = np.asarray(KDTree(reference).query(reference, k=[k + 1])[0])[:, 0]
    nearest = np.asarray(KDTree(generated).query(reference, k=[1])[0])[:, 0]
    inside: NDArray[np.bool_] = nearest <= radius
    return inside


def coverage(reference: Features, generated: Features, *, k: int = 5, energy_bins: int = 5) -> Coverage:
    """Fraction of the reference that the generated sample covers, in bins of incident energy and in total.

    Args:
        reference, generated: features of both samples.
        k: neighbours that define the radius around each reference shower, see :func:`covered`.
        energy_bins: largest number of logarithmic bins of incident energy, at most one per 200 showers; neighbours are
            searched within a bin.

    Returns:
        ``differs`` if the total coverage is significantly (p below 0.001) and by more than 5 % below its expectation;
        ``undecided`` if it is significantly lower by less, or in one bin; ``not judged`` if no bin has 100 showers of
        each sample.

    Source: Naeem et al., arXiv:2002.09797.
    """
    check = "coverage"
    few = max(1, min(len(reference), len(generated)) // MIN_SHOWERS)
    edges = energy_edges(np.exp(reference.log_energies), min(energy_bins, few))
    bins = []
    hits = expected = variance = total = 0.0
    for i, (low, high) in enumerate(pairwise(edges.tolist())):
        last = i == len(edges) - 2
        parts = []
        for sample in (reference, generated):
            energies = np.exp(sample.log_energies)
            top = energies <= high * (1 + 1e-9) if last else energies < high
            parts.append(sample.deviations[(energies >= low * (1 - 1e-9)) & top])
        n, m = map(len, parts)
        record = EnergyCoverage(low=low, high=high, showers_reference=n, showers_generated=m)
        if min(n, m) < _IN_BIN:
            bins.append(record.model_copy(update={"skipped": f"fewer than {_IN_BIN} showers in one sample"}))
            continue
        found = float(covered(parts[0], parts[1], k=k).mean())
        floor = expected_coverage(n, m, k)
        var = _CORRELATION * floor * (1 - floor) / n
        bins.append(record.model_copy(update={"value": found, "error": float(np.sqrt(var)), "floor": floor}))
        hits, expected, variance, total = hits + n * found, expected + n * floor, variance + n * n * var, total + n
    if not total:
        reason = f"no energy bin has {_IN_BIN} showers of both samples"
        return Coverage(**skipped(check, reason).model_dump() | {"bins": tuple(bins)})
    value, floor, error = hits / total, expected / total, float(np.sqrt(variance)) / total
    pulls = [np.inf if b.value is None else (b.value - b.floor) / b.error for b in bins]  # type: ignore[operator]
    worst = int(np.argmin(pulls))
    worst_p = min(1.0, float(norm.cdf(pulls[worst])) * int(np.isfinite(pulls).sum()))
    p_value = float(norm.cdf((value - floor) / error))
    status: Status = "agrees"
    if p_value < SURE and value < 0.95 * floor:
        status = "differs"
    elif min(p_value, worst_p) < SURE:
        status = "undecided"
    percent = f"{100 * value:.1f} +- {100 * error:.1f} % of the reference showers have a generated one nearby"
    words = f"{percent}, {100 * floor:.1f} % expected"
    if status != "agrees" and len(bins) > 1:
        b = bins[worst]
        where = f"{energy_in_words(b.low)} to {energy_in_words(b.high)}"
        words += f"; worst at {where}, {100 * (b.value or 0):.1f} % with {100 * (b.floor or 0):.1f} % expected"
    return Coverage(
        check=check,
        status=status,
        words=words,
        value=value,
        error=error,
        p_value=p_value,
        floor=floor,
        bins=tuple(bins),
        worst=worst,
    )


def dropped_modes(reference: Features, generated: Features, *, seed: int = 0) -> DroppedModes:
    """Find kinds of showers that the generated sample lacks.

    Modes are cells of the reference's features (k-means with at least 60 showers per cell on average, at most 40 cells)
    and the lowest and highest 2 % of every feature. The population of a mode with r of n reference and g of m generated
    showers is g n/(r m). In a cell, given r + g, g is binomial with probability m/(n + m); in a tail it is
    beta-binomial (:func:`fastv.evaluation.integrity.findings.shortfall_p_value`).

    Args:
        reference, generated: features of both samples.
        seed: seed of k-means.

    Returns:
        ``differs`` if a mode has significantly (p below 0.001 after correction for the number of modes) less than half
        of the expected showers; ``undecided`` if one has significantly too few but more than half; ``not judged`` below
        200 showers.

    Source: the cells are those of Richardson and Weiss, arXiv:1805.12462, section 3.
    """
    check = "dropped modes"
    n, m = len(reference), len(generated)
    if min(n, m) < MIN_SHOWERS:
        few = f"{MIN_SHOWERS} showers of each sample are needed, there are {n} and {m}"
        return DroppedModes(**skipped(check, few).model_dump())
    modes, p_cells = _cells(reference.deviations, generated.deviations, seed)
    cells = len(modes)
    modes += _tails(reference.deviations, generated.deviations)
    trials = len(modes)
    modes = [mode.model_copy(update={"p_value": min(1.0, trials * mode.p_value)}) for mode in modes]
    worst = min(modes, key=lambda mode: (mode.p_value, mode.populated))
    missing = sorted(
        (mode for mode in modes if mode.p_value < SURE and mode.populated < _MISSING), key=lambda mode: mode.populated
    )
    rare = worst.p_value < SURE
    status: Status = "differs" if missing else "undecided" if rare else "agrees"
    shown = missing[0] if missing else worst
    populated = f"{100 * shown.populated:.0f} +- {100 * shown.error:.0f} % of the expected showers"
    where = f"{shown.name}, {100 * shown.share:.1f} % of the reference"
    if missing:
        words = f"{counted(len(missing), 'mode is', 'modes are')} missing; the emptiest ({where}) has {populated}"
    elif rare:
        words = f"no mode is missing, but one is too rare ({where}): it has {populated}"
    else:
        words = f"no mode is missing: of {trials} kinds of showers the rarest ({where}) has {populated}"
    return DroppedModes(
        check=check,
        status=status,
        words=words,
        value=shown.populated,
        error=shown.error,
        p_value=shown.p_value,
        floor=1.0,
        missing=tuple(missing),
        worst=worst,
        cells=cells,
        different=float(np.mean(p_cells < 0.05)) if cells else None,
        floor_different=0.05 if cells else None,
    )


def _cells(reference: F64, generated: F64, seed: int) -> tuple[list[Mode], F64]:
    """Cells of the reference with one-sided p-values of a deficit, and two-sided p-values of any difference."""
    n, m = len(reference), len(generated)
    kinds = len(np.unique(reference.round(6), axis=0))
    k = min(kinds, int(np.clip(n // _PER_CELL, 2, _MOST_CELLS)))
    means = KMeans(k, n_init=1, random_state=seed).fit(reference)
    counts = [np.bincount(means.predict(x), minlength=k) for x in (reference, generated)]
    modes, both = [], []
    for i, (r, g) in enumerate(zip(*counts, strict=True)):
        if not r:
            continue
        low, high = binom.cdf(g, r + g, m / (n + m)), binom.sf(g - 1, r + g, m / (n + m))
        both.append(min(1.0, 2 * min(low, high)))
        modes.append(_mode(_name(means.cluster_centers_[i]), r, n, g, m, float(low)))
    return modes, np.array(both)


def _tails(reference: F64, generated: F64) -> list[Mode]:
    n, m = len(reference), len(generated)
    k = max(1, round(_TAIL * n))
    modes = []
    for i, ends in enumerate(FEATURES.values()):
        for sign, end in zip((1, -1), ends, strict=True):
            x, y = sign * reference[:, i], sign * generated[:, i]
            edge = np.partition(x, k - 1)[k - 1]
            # Equal values, such as those of empty showers, may prevent a tail of k showers.
            if (x <= edge).sum() != k:
                continue
            g = int((y <= edge).sum())
            modes.append(_mode(f"extreme: {end}", k, n, g, m, shortfall_p_value(g, m, k, n)))
    return modes


def _mode(name: str, r: int, n: int, g: int, m: int, p_value: float) -> Mode:
    populated = g * n / (r * m)
    error = n / (r * m) * float(np.sqrt(max(g, 1) + g * g / r))
    return Mode(name=name, share=r / n, populated=populated, error=error, p_value=p_value)


def _name(centre: F64) -> str:
    """The two features in which a cell deviates most, in words."""
    order = np.argsort(-np.abs(centre))[:2]
    ends = list(FEATURES.values())
    marks = [ends[i][int(centre[i] > 0)] for i in order if abs(centre[i]) > 0.5]
    return " and ".join(marks) or "average showers"
