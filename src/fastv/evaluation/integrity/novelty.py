"""Has a generator memorised its training showers? Nearest-neighbour tests with full simulation as the floor.

Showers of a generator that has learned the distribution are as far from its training showers as new showers of full
simulation; those of a generator that has memorised them are nearer. The tests use neighbours from
:func:`fastv.evaluation.integrity.neighbours.nearest`: those of the generated showers among the training showers and, as
the floor, those of reference showers, on which the generator must not have been trained.

Two measures are used: the distance to the nearest training shower over the floor's median at that incident energy, and
the gap -ln r over the floor's mean at that energy, where r is the ratio of the nearest to the second nearest distance.
For a locally uniform density, the gap is exponentially distributed whatever the density (Facco et al., Scientific
Reports 7 (2017) 12140), so it reveals single copies even if all distances are shifted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import ks_2samp, norm, rankdata

from fastv.evaluation.integrity.findings import SURE, Finding, exceedance_p_value, local_scale
from fastv.evaluation.integrity.neighbours import Neighbours
from fastv.evaluation.statistics.comparison import Status
from fastv.wording import counted

F64 = NDArray[np.float64]
Flags = NDArray[np.bool_]

MIN_SHOWERS = 100
CLOSE = 0.01
"""A shower is close if it is nearer than this quantile of the floor."""
_COPY_GAP = 3.0
"""A close shower is a copy if its gap is this many times the largest of the floor; by chance about n/m^3 are."""
_COPY_DISTANCE = 0.5
"""It is also a copy below this fraction of the floor's smallest distance; duplicates in a bank leave no gap."""
_SINGLE_COPIES = 1e-3
_EFFECT = 0.03
"""Smallest relevant shift of a probability of being nearer or of a fraction of close showers."""


class Copy(BaseModel):
    """A shower ``shower`` that is a copy of the shower ``of``, and the transformation between them.

    ``turned_cells`` and ``mirrored`` are as in :meth:`fastv.evaluation.integrity.neighbours.ShapeSpace.similarity`,
    ``scale`` is the ratio of the energy sums, ``distance`` the Hellinger distance of the shapes and ``usual`` the
    floor's median at this energy.
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
        """The copy in words.

        Args:
            shower, of: what the two showers are called, such as ``generated shower`` and ``training shower``.
        """
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
    """Showers that are nearer to a bank than showers of full simulation.

    ``value`` is the fraction of ``close`` showers, nearer than the nearest 1 % of the floor by distance or by gap,
    whichever gives more; ``floor`` is this 1 %. ``copies`` counts showers far nearer than any of the floor, see
    :func:`copies`; ``examples`` lists the nearest ten. ``median_ratio`` is the median of nearest over second nearest
    distance. The Kolmogorov-Smirnov p-values compare the distributions of distances and of gaps.
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
    """Whether generated showers are nearer to the training showers than to the reference.

    ``value`` is the fraction of generated showers whose nearest shower, among training and reference showers, is a
    training shower; ``floor`` is the same fraction for reference showers, each without itself. ``leaning`` is the
    fraction of the sample that would have to come from training showers to explain the difference. ``nearer`` is the
    probability that a generated shower is nearer to the training showers than a reference shower, 0.5 for full
    simulation, and ``c_t`` the statistic of Meehan et al., below -3 if nearer. These two also respond to too small or
    too large fluctuations of the showers; ``value`` does not.
    """

    leaning: float | None = None
    leaning_error: float | None = None
    nearer: float | None = None
    nearer_error: float | None = None
    c_t: float | None = None


@dataclass(frozen=True)
class RelativeDistances:
    """Distances and gaps relative to the floor.

    Attributes:
        distance, floor_distance: nearest distance over the floor's median at that energy (n,) and (m,).
        gap, floor_gap: -ln(nearest/second nearest distance) over the floor's mean at that energy (n,) and (m,).
    """

    distance: F64
    gap: F64
    floor_distance: F64
    floor_gap: F64


def relative_distances(found: Neighbours, floor: Neighbours) -> RelativeDistances:
    """Distances and gaps of a sample and of its floor, relative to the floor at the same incident energy.

    Args:
        found: neighbours of n showers of the sample to be judged.
        floor: neighbours of m showers of full simulation in the same bank.

    Source: the gap, Facco et al., Scientific Reports 7 (2017) 12140, equation 2.
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
    """Find showers of a sample that are copies of showers in a bank: with noise, rotated, reflected or rescaled.

    A shower is close if its distance is below the 1 % quantile of the floor, or its gap above the 99 % quantile. It is
    a copy if it has a close distance and a gap of more than three times the largest of the floor, or a distance below
    half of the smallest of the floor, all at the same incident energy. The p-value of the number of close showers is
    that of :func:`fastv.evaluation.integrity.findings.exceedance_p_value` for the more extreme of the two measures,
    times two for the choice.

    Args:
        found: neighbours of n showers of the sample in the bank.
        floor: neighbours of m showers of full simulation in the same bank, or in one of the same size.
        check: name of the check.
        shower, of: names of a shower of the sample and of one of the bank in the sentence.

    Returns:
        ``differs`` if there are at least two copies and more than one per thousand showers; ``undecided`` if there are
        fewer copies, or significantly more close showers (p below 0.001) by more than 3 % of the sample; ``not judged``
        below 100 showers of a sample.

    Source: the fraction of close showers follows the authenticity score of Alaa et al., arXiv:2102.08921, section 3,
    with full simulation instead of distances within the training file as the scale.
    """
    n, m = len(found), len(floor)
    if min(n, m) < MIN_SHOWERS:
        few = (
            f"{MIN_SHOWERS} showers of each sample with neighbours of similar energy are needed, there are {n} and {m}"
        )
        return Copies(check=check, status="not judged", words=f"not judged: {few}", showers=n, floor_showers=m)
    relative = relative_distances(found, floor)
    k = max(1, round(CLOSE * m))
    near = relative.distance < np.partition(relative.floor_distance, k - 1)[k - 1]
    apart = relative.gap > np.partition(relative.floor_gap, m - k)[m - k]
    close = max(int(near.sum()), int(apart.sum()))
    p_value = min(1.0, 2 * exceedance_p_value(close, n, k, m))
    # Rare showers, far from all others, may have a large gap by chance, so a copy must be close by distance as well.
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
        words = f"no exact copy of a {of}, but {percent}"
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
    """Probability that a shower of a sample is nearer to a bank than one of the floor at the same energy.

    ``error`` is that for two samples of one distribution, ``z`` = (probability - 0.5)/error, positive if nearer, and
    ``c_t`` the statistic of Meehan et al., negative if nearer.
    """

    probability: float
    error: float
    z: float
    c_t: float


def nearness(found: Neighbours, floor: Neighbours, cells: int = 8) -> Nearness | None:
    """Compare two sets of distances to one bank by their ranks, in cells of incident energy.

    Let U_c be the number of pairs of the n_c showers of the sample and m_c of the floor in cell c for which that of the
    sample is nearer (ties count half). The probability is sum U_c / sum n_c m_c; var U_c = n_c m_c (n_c + m_c + 1)/12
    for one distribution. C_T is the mean of -(U_c - n_c m_c/2)/sqrt(var U_c), weighted by m_c.

    Args:
        found: neighbours of n showers of the sample.
        floor: neighbours of m showers of full simulation in the same bank.
        cells: largest number of cells of incident energy, with equal numbers of showers of the floor.

    Returns:
        The comparison; None if no cell has ten showers of each.

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
    """Fraction of showers that are nearer to the first bank than to the second (ties count half), and their number.

    If the banks are samples of sizes n and m of one distribution, the expected fraction is n/(n + m) for any showers,
    since each of the n + m showers is the nearest with equal probability.

    Args:
        to_first, to_second: neighbours of the same showers in two banks; showers without neighbours in one of them are
            ignored.

    Returns:
        The fraction, NaN without showers, and the number of showers.
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
    """Test whether the generated sample as a whole is nearer to the training showers than to the reference.

    This detects memorisation without single copies: mixtures of training showers, or copies with so much noise that
    each could be due to chance. The reference is a second bank, of showers that were not used in training: a generator
    of any quality should be as near to one as to the other, apart from the effect of their sizes.

    Args:
        found: neighbours of the generated showers in the training file.
        floor: neighbours of the reference in the training file.
        control: neighbours of the generated showers in the reference.
        control_floor: neighbours of the reference in itself.
        check: name of the check.

    Returns:
        ``differs`` if the generated showers prefer the training showers by more than full simulation does (``leaning``
        above 3 %, p below 0.001); ``undecided`` if they prefer the reference, or if they are nearer to the training
        showers than full simulation without a preference, so that their fluctuations are too small; ``not judged``
        below 100 showers of a sample.

    Source: :func:`preference` is the nearest-neighbour two-sample test of Schilling, Journal of the American
    Statistical Association 81 (1986) 799, with k = 1; ``nearer`` and ``c_t`` see :func:`nearness`.
    """
    share, n = preference(found, control)
    expected, m = preference(floor, control_floor)
    near = nearness(found, floor) if min(n, m) >= MIN_SHOWERS else None
    if near is None:
        few = (
            f"{MIN_SHOWERS} showers of each sample with neighbours of similar energy are needed, there are {n} and {m}"
        )
        words = f"not judged: {few}"
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
            "nearer than full simulation to training and reference showers alike: fluctuations too small, not copied: "
            f"{sides}"
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
