"""Does a generator repeat the showers it was trained on? Nearest-neighbour tests with full simulation as the floor.

A generator that has learned the distribution is as far from its training showers as new showers of full simulation
are; one that has learned the showers is nearer. The tests need the neighbours of both samples, found by
:func:`fastv.evaluation.integrity.neighbours.nearest`: those of the generated showers in the training file, and, as the
floor, those of the reference, which must be showers that the generator was not trained on.

Two scales are used. The distance to the nearest training shower is divided by the floor's median at that incident
energy. And the ratio r of nearest over second nearest distance is turned into a gap -ln r, divided by the floor's mean
at that energy: where the density is smooth the gap follows an exponential distribution whatever the density (Facco et
al., Scientific Reports 7 (2017) 12140), so it sees single copies even where all distances shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import ks_2samp, norm, rankdata

from fastv.evaluation.integrity.findings import SURE, Finding, counted, exceedance_p_value, local_scale
from fastv.evaluation.integrity.neighbours import Neighbours
from fastv.evaluation.statistics.comparison import Status

F64 = NDArray[np.float64]
Flags = NDArray[np.bool_]

MIN_SHOWERS = 100
CLOSE = 0.01
"""A shower is close if it is nearer than this quantile of the floor."""
_COPY_GAP = 3.0
"""A copy is close and has a gap of this many times the largest of the floor: for exponential gaps n/m^3 by chance."""
_COPY_DISTANCE = 0.5
"""Or it has a distance of less than this times the smallest of the floor, as where the bank holds duplicates."""
_SINGLE_COPIES = 1e-3
_EFFECT = 0.03
"""A shift of the probability to be nearer that is of any concern; 0.5 would be the largest."""


class Copy(BaseModel):
    """A shower that is the copy of another, and what turns one into the other.

    ``distance`` is that of their shapes, ``usual`` what full simulation has at this energy.
    """

    model_config = ConfigDict(frozen=True)

    shower: int
    of: int
    turned_cells: int
    mirrored: bool
    scale: float
    distance: float
    usual: float

    def in_words(self, shower: str, of: str) -> str:
        """The copy in words."""
        how = []
        if self.mirrored:
            how.append("mirrored")
        if self.turned_cells:
            how.append(f"turned by {counted(self.turned_cells, 'cell')}")
        if abs(self.scale - 1) > 5e-4:
            how.append(f"scaled by {self.scale:.3f}")
        changed = f" {', '.join(how)}" if how else ""
        return (
            f"{shower} {self.shower} is {of} {self.of}{changed} (distance {self.distance:.2g}, usual {self.usual:.2g})"
        )


class Copies(Finding):
    """Showers that are nearer to a bank than full simulation is.

    ``value`` is the fraction of close showers: nearer than the nearest 1 % of the floor, by distance or by gap,
    whichever is more; ``floor`` is 1 %. ``copies`` are so near that no shower of the floor comes close to them;
    ``examples`` names the nearest. The Kolmogorov-Smirnov p-values compare the whole distributions.
    """

    showers: int = 0
    floor_showers: int = 0
    alone: int = 0
    close: int = 0
    copies: int = 0
    examples: tuple[Copy, ...] = ()
    distance_ks_p_value: float | None = None
    gap_ks_p_value: float | None = None
    median_ratio: float | None = None
    floor_median_ratio: float | None = None


class DataCopying(Finding):
    """Whether generated showers lie on the side of the training file.

    ``value`` is the fraction of generated showers whose nearest shower, among those of the training file and of the
    reference, is a training shower; ``floor`` the same fraction for showers of the reference (without themselves).
    ``leaning`` is the fraction of the sample that would have to be drawn towards training showers to explain the
    difference, with its error. ``nearer`` is the probability that a generated shower is nearer to the training file
    than one of the reference, 0.5 for full simulation, and ``c_t`` the statistic of Meehan et al., below -3 if nearer:
    both move with too little or too much fluctuation as well, ``value`` does not.
    """

    leaning: float | None = None
    leaning_error: float | None = None
    nearer: float | None = None
    nearer_error: float | None = None
    c_t: float | None = None


@dataclass(frozen=True)
class RelativeDistances:
    """Distances on the floor's scale, for plots and tests.

    Attributes:
        distance, floor_distance: nearest distance over the floor's median at that energy (n,) and (m,).
        gap, floor_gap: -ln(nearest/second nearest) over the floor's mean at that energy (n,) and (m,).
    """

    distance: F64
    gap: F64
    floor_distance: F64
    floor_gap: F64


def relative_distances(found: Neighbours, floor: Neighbours) -> RelativeDistances:
    """Distances and gaps of a sample and of its floor, both on the floor's scale.

    Args:
        found: neighbours (n,) of the sample to be judged.
        floor: neighbours (m,) of full simulation in the same bank.

    Source: the gap is Facco et al., Scientific Reports 7 (2017) 12140, equation 2.
    """
    at = floor.log_energies, found.log_energies
    gaps = [-np.log(np.maximum(x.ratio, 1e-9)) for x in (floor, found)]
    medians = [local_scale(at[0], floor.distance, e, "median") for e in at]
    means = [np.maximum(local_scale(at[0], gaps[0], e, "mean"), 1e-12) for e in at]
    return RelativeDistances(
        distance=found.distance / np.maximum(medians[1], 1e-12),
        gap=gaps[1] / means[1],
        floor_distance=floor.distance / np.maximum(medians[0], 1e-12),
        floor_gap=gaps[0] / means[0],
    )


def copies(
    found: Neighbours,
    floor: Neighbours,
    *,
    check: str = "copies of training showers",
    shower: str = "generated shower",
    of: str = "training shower",
) -> Copies:
    """Find showers of a sample that are copies of a bank's, with noise, turned, mirrored or rescaled.

    A fraction q of the floor is nearer than its own q-quantile, and of a sample of the same distribution about as many;
    the p-value is the beta-binomial one of :func:`fastv.evaluation.integrity.findings.exceedance_p_value`, for the more
    extreme of the two scales with a factor two for the choice.

    Args:
        found: neighbours (n,) of the sample in the bank.
        floor: neighbours (m,) of full simulation in the same bank, or in an equally large one.
        check, shower, of: how the sentence names the check, a shower of the sample and one of the bank.

    Returns:
        ``differs`` if more than one shower in a thousand is a copy; ``undecided`` if there is a single copy, or if far
        more showers are close than in the floor; ``not judged`` below 100 showers in either.

    Source: the close fraction follows the idea of the authenticity score, Alaa et al., arXiv:2102.08921, section 3,
    with full simulation as the scale in place of distances within the training file.
    """
    n, m = len(found), len(floor)
    if min(n, m) < MIN_SHOWERS:
        few = f"of {n} and {m} showers with neighbours of similar energy; {MIN_SHOWERS} are needed on both sides"
        return Copies(check=check, status="not judged", words=f"not judged: {few}", showers=n, floor_showers=m)
    relative = relative_distances(found, floor)
    k = max(1, round(CLOSE * m))
    near = relative.distance < np.partition(relative.floor_distance, k - 1)[k - 1]
    apart = relative.gap > np.partition(relative.floor_gap, m - k)[m - k]
    close = max(int(near.sum()), int(apart.sum()))
    p_value = min(1.0, 2 * exceedance_p_value(close, n, k, m))
    # Rare showers, far from all others, may have one like them that is near in comparison: they are not close.
    is_copy = near & (relative.gap > _COPY_GAP * relative.floor_gap.max())
    is_copy |= relative.distance < _COPY_DISTANCE * relative.floor_distance.min()
    usual = local_scale(floor.log_energies, floor.distance, found.log_energies, "median")
    order = np.flatnonzero(is_copy)[np.argsort(found.distance[is_copy], kind="stable")]
    examples = tuple(
        Copy(
            shower=int(found.rows[i]),
            of=int(found.index[i]),
            turned_cells=int(found.turn[i]),
            mirrored=bool(found.mirrored[i]),
            scale=float(found.scale[i]),
            distance=float(found.distance[i]),
            usual=float(usual[i]),
        )
        for i in order[:10]
    )
    fraction = close / n
    error = float(np.sqrt(max(fraction * (1 - fraction), 1 / n) / n))
    many = p_value < SURE and fraction > CLOSE + _EFFECT
    percent = f"{100 * fraction:.2g} % of {n} {shower}s are nearer to a {of} than the nearest {100 * k / m:.2g} % of "
    percent += "full simulation"
    found_copies = len(order)
    if found_copies:
        first = examples[0].in_words(shower, of)
        noun = "is a copy" if found_copies == 1 else "are copies"
        words = f"{found_copies} of {n} {shower}s {noun} of {of}s: {first}"
    elif many:
        words = f"no outright copy of a {of}, but {percent}"
    else:
        words = f"no copy of a {of}: {percent}"
    failed = found_copies > max(1, _SINGLE_COPIES * n)
    return Copies(
        check=check,
        status="differs" if failed else "undecided" if found_copies or many else "agrees",
        words=words,
        value=fraction,
        error=error,
        p_value=p_value,
        floor=k / m,
        showers=n,
        floor_showers=m,
        alone=found.alone,
        close=close,
        copies=found_copies,
        examples=examples,
        distance_ks_p_value=_ks(relative.distance, relative.floor_distance),
        gap_ks_p_value=_ks(relative.gap, relative.floor_gap),
        median_ratio=float(np.median(found.ratio)),
        floor_median_ratio=float(np.median(floor.ratio)),
    )


@dataclass(frozen=True)
class Nearness:
    """Probability that a shower of a sample is nearer to a bank than one of the floor, at the same energy.

    ``error`` is that of two samples of one distribution, ``z`` the pull on 0.5, positive for nearer; ``c_t`` the
    statistic of Meehan et al., negative for nearer.
    """

    probability: float
    error: float
    z: float
    c_t: float


def nearness(found: Neighbours, floor: Neighbours, cells: int = 8) -> Nearness | None:
    """Compare two sets of distances to one bank by their ranks, in cells of incident energy.

    With U_c the number of pairs in cell c, of n_c showers of the sample and m_c of the floor, where the sample's is
    nearer (ties count half), the probability is sum U_c / sum n_c m_c; var U_c = n_c m_c (n_c + m_c + 1)/12 if both are
    of one distribution. C_T is the mean of the cells' pulls -(U_c - n_c m_c/2)/sqrt(var U_c), weighted by m_c.

    Args:
        found: neighbours (n,) of the sample.
        floor: neighbours (m,) of full simulation in the same bank.
        cells: cells of incident energy, equally full of the floor.

    Returns:
        None if no cell has ten showers of both.

    Source: Meehan, Chaudhuri and Dasgupta, arXiv:2004.05675, sections 3 and 4, with cells in energy.
    """
    relative = relative_distances(found, floor)
    edges = np.quantile(floor.log_energies, np.linspace(0, 1, min(cells, max(1, len(floor) // 25)) + 1))
    edges[0], edges[-1] = edges[0] - 1e-6, edges[-1] + 1e-6
    wins = pairs = variance = weighted = weight = 0.0
    for low, high in pairwise(edges):
        x = relative.distance[(found.log_energies > low) & (found.log_energies <= high)]
        y = relative.floor_distance[(floor.log_energies > low) & (floor.log_energies <= high)]
        n, m = len(x), len(y)
        if min(n, m) < 10:
            continue
        ranks = rankdata(np.concatenate([x, y]))[:n]
        u = n * m - float(ranks.sum() - n * (n + 1) / 2)
        var = n * m * (n + m + 1) / 12
        wins, pairs, variance = wins + u, pairs + n * m, variance + var
        weighted, weight = weighted - m * (u - n * m / 2) / np.sqrt(var), weight + m
    if not pairs:
        return None
    error = float(np.sqrt(variance)) / pairs
    probability = wins / pairs
    return Nearness(probability, error, (probability - 0.5) / error, float(weighted / weight))


def preference(to_first: Neighbours, to_second: Neighbours) -> tuple[float, int]:
    """Fraction of showers that are nearer to the first bank than to the second, and of how many (ties count half).

    If both banks are samples of one distribution, of sizes n and m, the fraction is n/(n + m) whatever the showers are:
    each of the n + m is the nearest with equal probability.

    Args:
        to_first, to_second: neighbours of the same showers in two banks; showers without neighbours in either are left
            out.
    """
    _, i, j = np.intersect1d(to_first.rows, to_second.rows, assume_unique=True, return_indices=True)
    a, b = to_first.distance[i], to_second.distance[j]
    return (float(np.mean((a < b) + 0.5 * (a == b))) if len(i) else float("nan")), len(i)


def data_copying(
    found: Neighbours,
    floor: Neighbours,
    control: Neighbours,
    control_floor: Neighbours,
    *,
    check: str = "nearness to training showers",
) -> DataCopying:
    """Is the generated sample as a whole drawn towards the training file?

    This sees what has no single copy: mixtures of training showers, or copies with so much noise that each might be
    chance. The reference serves as a second bank, of showers that nobody was trained on: a generator of whatever
    quality has no reason to be nearer to the one than to the other, beyond what their sizes give.

    Args:
        found: neighbours of the generated showers in the training file.
        floor: neighbours of the reference in the training file.
        control: neighbours of the generated showers in the reference.
        control_floor: neighbours of the reference in itself.
        check: how the record names the check.

    Returns:
        ``differs`` if the sample is drawn to the training file; ``undecided`` if it is nearer than full simulation to
        both, which is too little fluctuation, or drawn to the reference; ``not judged`` below 100 showers on either
        side.

    Source: :func:`preference` is the nearest-neighbour two-sample test of Schilling, Journal of the American
    Statistical Association 81 (1986) 799, with k = 1; ``nearer`` and ``c_t`` see :func:`nearness`.
    """
    share, n = preference(found, control)
    expected, m = preference(floor, control_floor)
    near = nearness(found, floor) if min(n, m) >= MIN_SHOWERS else None
    if near is None:
        words = f"not judged: of {n} and {m} showers with neighbours of similar energy; {MIN_SHOWERS} are needed"
        return DataCopying(check=check, status="not judged", words=words)
    pooled = (share * n + expected * m) / (n + m)
    deviation = float(np.sqrt(max(pooled * (1 - pooled), 1 / (n + m)) * (1 / n + 1 / m)))
    z = (share - expected) / deviation
    room = max(1 - expected, 1 / m)
    leaning, leaning_error = (share - expected) / room, deviation / room
    sides = f"{100 * share:.1f} % of the generated showers are nearer to a training shower than to one of the reference"
    sides += f", {100 * expected:.1f} +- {100 * deviation:.1f} % expected"
    by_chance = norm.sf(abs(z)) >= SURE
    smooth = near.probability - 0.5 > _EFFECT and norm.sf(near.z) < SURE
    status: Status = "agrees"
    words = f"not drawn towards training showers: {sides}"
    if not by_chance and leaning > _EFFECT:
        status, words = "differs", f"drawn towards training showers: {sides}"
    elif not by_chance and leaning < -_EFFECT:
        status, words = "undecided", f"drawn towards the reference, as if trained on it: {sides}"
    elif smooth:
        status = "undecided"
        words = (
            f"nearer than full simulation to all showers, seen in training or not, so too smooth, not copied: {sides}"
        )
    return DataCopying(
        check=check,
        status=status,
        words=words,
        value=share,
        error=float(np.sqrt(max(share * (1 - share), 1 / n) / n)),
        p_value=float(norm.sf(z)),
        floor=expected,
        leaning=leaning,
        leaning_error=leaning_error,
        nearer=near.probability,
        nearer_error=near.error,
        c_t=near.c_t,
    )


def _ks(a: F64, b: F64) -> float:
    return float(ks_2samp(a, b, method="asymp").pvalue)
