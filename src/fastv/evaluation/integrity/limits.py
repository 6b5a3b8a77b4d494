"""Unphysical showers: damaged voxels, energies below threshold, empty showers, too much energy.

All checks use :class:`fastv.evaluation.integrity.unchecked.UncheckedScan` and therefore include showers that reading a
showers file would refuse.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import fisher_exact, ks_2samp

from fastv.evaluation.integrity.findings import (
    SURE,
    Finding,
    at_energies_of,
    energy_in_words,
    exceedance_p_value,
    local_scale,
    skipped,
    too_few,
)
from fastv.evaluation.integrity.unchecked import UncheckedScan
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.statistics.comparison import Status
from fastv.evaluation.statistics.measured import ROUNDING
from fastv.wording import counted

F64 = NDArray[np.float64]

MIN_SHOWERS = 100
_FAR = 2.0
"""An energy sum this many times as far above the mean as any of the reference is not a fluctuation."""
_LEAST_BELOW = 1e-6


class DamagedVoxels(Finding):
    """Voxels that are NaN, infinite or negative, and incident energies that are not finite and positive.

    ``value`` is the number of damaged showers, ``first`` the row of the first one.
    """

    not_finite_voxels: int = 0
    negative_voxels: int = 0
    bad_incident_energies: int = 0
    first: int | None = None


class BelowThreshold(Finding):
    """Voxels above zero and below the readout threshold; ``value`` is their fraction of all voxels above zero."""

    voxels: int = 0
    showers: int = 0


class EmptyShowers(Finding):
    """Showers without a voxel at or above the readout threshold; ``value`` is their fraction."""

    showers: int = 0


class EnergySums(Finding):
    """Showers with an energy sum outside the range of full simulation at their incident energy.

    ``value`` is the fraction of showers above (``above``) or below (``below``) the reference's range, ``floor`` the
    expectation for a sample of the reference's distribution. ``extreme`` is E_tot/E_inc of the most extreme shower
    ``extreme_shower``, ``extreme_deviation`` its distance from the reference's mean at that energy in standard
    deviations, and ``reference_deviations`` the reference's smallest and largest such distance. ``impossible`` counts
    showers whose visible energy exceeds their incident energy, ``far`` those more than twice as far above the mean as
    any of the reference.
    """

    above: int = 0
    below: int = 0
    far: int = 0
    impossible: int = 0
    extreme: float | None = None
    extreme_shower: int | None = None
    extreme_incident_energy: float | None = None
    extreme_deviation: float | None = None
    reference_deviations: tuple[float, float] | None = None


class Unphysical(BaseModel):
    """Showers that no detector gives, of all kinds of evaluation.

    ``damaged`` of ``showers`` have voxels that are NaN, infinite or negative; the visible energy of ``impossible`` ones
    exceeds their incident energy, and of ``reference_impossible`` of ``reference_showers`` of the reference.
    """

    model_config = ConfigDict(frozen=True)

    showers: int
    damaged: int
    impossible: int
    reference_showers: int
    reference_impossible: int

    @property
    def number(self) -> int:
        """Number of unphysical showers."""
        return self.damaged + self.impossible

    @property
    def status(self) -> Status:
        """``differs`` if there are any; ``undecided`` if the reference has impossible ones too."""
        if self.damaged or (self.impossible and not self.reference_impossible):
            return "differs"
        return "undecided" if self.impossible else "agrees"

    @property
    def words(self) -> str:
        """The numbers of a kind in a sentence."""
        found = []
        if self.damaged:
            found.append(f"{_share(self.damaged, self.showers)} with voxels that are NaN, infinite or negative")
        if self.impossible:
            floor = ""
            if self.reference_impossible:
                floor = f" (of the reference {_share(self.reference_impossible, self.reference_showers)})"
            found.append(f"{_share(self.impossible, self.showers)} with more visible than incident energy{floor}")
        return (
            "; ".join(found) or "all voxels are finite, none is negative, no shower has more energy than its particle"
        )


def _share(number: int, showers: int) -> str:
    return f"{counted(number, 'shower')} ({100 * number / max(1, showers):.2g} %)"


def unphysical(generated: Observables, reference: Observables, *, damaged: int) -> Unphysical:
    """Count the unphysical showers of a sample, at any incident energy.

    Args:
        generated, reference: observables of the undamaged showers.
        damaged: number of generated showers that are damaged.
    """
    impossible = [
        int((sample.visible_fraction * sample.detector.energy_scale > 1 + ROUNDING).sum())
        for sample in (generated, reference)
    ]
    return Unphysical(
        showers=len(generated) + damaged,
        damaged=damaged,
        impossible=impossible[0],
        reference_showers=len(reference),
        reference_impossible=impossible[1],
    )


def damaged_voxels(generated: UncheckedScan, reference: UncheckedScan | None = None) -> DamagedVoxels:
    """Count NaN, infinite and negative voxels and incident energies that are not finite and positive.

    Args:
        generated: scan of the sample.
        reference: scan of full simulation, for the floor.

    Returns:
        ``differs`` if there is one.

    Example:
        >>> from fastv.evaluation.integrity.unchecked import scan
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     showers = file[:10]
        >>> showers.energies[3, 5] = np.nan
        >>> damaged_voxels(scan(showers)).words
        '1 of 10 showers is damaged, the first is shower 3: 1 voxel is NaN or infinite'
    """
    check = "damaged voxels"
    bad = ~generated.good
    found = int(bad.sum())
    voxels, negative = int(generated.not_finite.sum()), int(generated.negative.sum())
    with np.errstate(invalid="ignore"):
        incident = int((~(np.isfinite(generated.incident_energies) & (generated.incident_energies > 0))).sum())
    first = int(np.flatnonzero(bad)[0]) if found else None
    words = "all voxels are finite and none is negative"
    if found:
        parts = [
            f"{counted(number, *nouns)} {'is' if number == 1 else 'are'} {state}"
            for number, nouns, state in (
                (voxels, ("voxel",), "NaN or infinite"),
                (negative, ("voxel",), "negative"),
                (incident, ("incident energy", "incident energies"), "not finite and positive"),
            )
            if number
        ]
        verb = "is" if found == 1 else "are"
        words = f"{found} of {len(generated)} showers {verb} damaged, the first is shower {first}: {', '.join(parts)}"
    return DamagedVoxels(
        check=check,
        status="differs" if found else "agrees",
        words=words,
        value=float(found),
        error=0.0,
        floor=None if reference is None else float((~reference.good).sum()),
        not_finite_voxels=voxels,
        negative_voxels=negative,
        bad_incident_energies=incident,
        first=first,
    )


def below_threshold(generated: UncheckedScan, reference: UncheckedScan) -> BelowThreshold:
    """Count voxels above zero and below the readout threshold.

    Args:
        generated, reference: scans of the samples.

    Returns:
        ``differs`` if only the generated sample has such voxels; ``undecided`` if both have, so that the threshold was
        applied to neither; ``not judged`` for a detector without threshold.
    """
    check = "energies below the readout threshold"
    threshold = generated.detector.threshold
    if threshold == 0:
        found = skipped(check, "the detector has no readout threshold")
        return BelowThreshold(**found.model_dump())
    shares = []
    for sample in (generated, reference):
        below = int(sample.below_threshold.sum())
        shares.append(below / max(1, below + int(sample.hits.sum())))
    share, floor = shares
    voxels, showers = int(generated.below_threshold.sum()), int((generated.below_threshold > 0).sum())
    limit = f"the readout threshold of {threshold:.4g} MeV"
    status: Status = "agrees"
    words = f"no voxel with energy is below {limit}"
    if voxels:
        words = f"{100 * share:.2g} % of the voxels with energy are below {limit}, in {counted(showers, 'shower')}"
        status = "differs"
        if floor > _LEAST_BELOW:
            status = "undecided"
            words += f"; in the reference {100 * floor:.2g} %, so it was not applied there either"
    return BelowThreshold(
        check=check,
        status=status,
        words=words,
        value=share,
        error=0.0,
        floor=floor,
        voxels=voxels,
        showers=showers,
    )


def empty_showers(generated: UncheckedScan, reference: UncheckedScan) -> EmptyShowers:
    """Compare the fractions of empty showers by Fisher's exact test.

    Args:
        generated, reference: scans of the samples.

    Returns:
        ``differs`` if the generated sample has significantly more (p below 0.001), ``undecided`` if it has
        significantly fewer, ``not judged`` if a sample has no showers.
    """
    check = "empty showers"
    if not len(generated) or not len(reference):
        return EmptyShowers(**skipped(check, "a sample has no showers").model_dump())
    counts = [int(sample.empty.sum()) for sample in (generated, reference)]
    sizes = [len(generated), len(reference)]
    table = np.array([[counts[0], sizes[0] - counts[0]], [counts[1], sizes[1] - counts[1]]])
    p_value = float(fisher_exact(table).pvalue)
    value, floor = counts[0] / sizes[0], counts[1] / sizes[1]
    words = f"{counted(counts[0], 'shower')} of {sizes[0]} {'is' if counts[0] <= 1 else 'are'} empty"
    words += f", in full simulation {100 * floor:.2g} %"
    status: Status = "agrees"
    if p_value < SURE:
        status = "differs" if value > floor else "undecided"
    return EmptyShowers(
        check=check,
        status=status,
        words=words,
        value=value,
        error=float(np.sqrt(max(value * (1 - value), 1 / sizes[0]) / sizes[0])) if counts[0] else 0.0,
        p_value=p_value,
        floor=floor,
        showers=counts[0],
    )


def energy_sums(generated: UncheckedScan, reference: UncheckedScan, *, bound: float = 1.0) -> EnergySums:
    """Find showers with energy sums outside the range of full simulation at their incident energy.

    Let z be the deviation of E_tot/E_inc from the reference's mean at that energy, in its standard deviations there. If
    both samples have one distribution of any shape, the number of generated showers above the reference's largest z is
    beta-binomial (:func:`fastv.evaluation.integrity.findings.exceedance_p_value` with k = 1); likewise below the
    smallest. The visible energy, E_tot times the detector's energy scale, must not exceed the incident energy.

    Args:
        generated, reference: scans of the samples; damaged showers and generated showers outside the range of the
            reference's incident energies are ignored.
        bound: largest allowed ratio of visible to incident energy; 1 is conservation of energy (a positron adds two
            electron masses, relevant only below some hundred MeV).

    Returns:
        ``differs`` if a shower exceeds the bound, or is more than twice as far above the mean as any of the reference,
        or if significantly many are outside the range (p below 0.001); ``not judged`` below 100 showers of a sample.
    """
    check = "energy sums"
    ref_log, ref_fraction, _ = _fractions(reference)
    log_energies, fraction, rows = _fractions(generated)
    inside = at_energies_of(log_energies, ref_log)
    log_energies, fraction, rows = log_energies[inside], fraction[inside], rows[inside]
    if few := too_few(check, MIN_SHOWERS, len(rows), len(ref_log)):
        return EnergySums(**few.model_dump())
    n, m = len(rows), len(ref_log)
    rest = ref_fraction - local_scale(ref_log, ref_fraction, ref_log, "mean")

    def deviation(fractions: F64, at: F64) -> F64:
        expected = local_scale(ref_log, ref_fraction, at, "mean")
        # Of a response without fluctuations, what is only rounding must not become many standard deviations.
        smallest = np.maximum(ROUNDING * np.abs(expected), 1e-12)
        return (fractions - expected) / np.maximum(local_scale(ref_log, rest, at, "spread"), smallest)

    z, z_ref = deviation(fraction, log_energies), deviation(ref_fraction, ref_log)
    low, high = float(z_ref.min()), float(z_ref.max())
    above, below = int((z > high).sum()), int((z < low).sum())
    # Only the upper side: a shower occasionally loses most of its energy in a nuclear reaction, but gains none.
    far = int((z > _FAR * max(high, 1.0)).sum())
    impossible = int((fraction * generated.detector.energy_scale > bound * (1 + ROUNDING)).sum())
    p_value = min(1.0, 2 * min(exceedance_p_value(above, n, 1, m), exceedance_p_value(below, n, 1, m)))
    # The most extreme shower relative to the reference's extreme on the same side.
    worst = int(np.argmax(np.where(z > 0, z / max(high, 1e-12), z / min(low, -1e-12))))
    incident = float(np.exp(log_energies[worst]))
    most = f"the most extreme is shower {rows[worst]} of {energy_in_words(incident)} with E_tot/E_inc = "
    most += f"{fraction[worst]:.3g}, {z[worst]:+.1f} standard deviations; full simulation has {low:+.1f} to {high:+.1f}"
    failed = far > 0 or impossible > 0 or p_value < SURE
    if impossible:
        times = "the" if bound == 1 else f"{bound:g} times the"
        words = f"the visible energy of {counted(impossible, 'shower')} exceeds {times} incident energy; {most}"
    elif failed:
        words = f"{above} of {n} showers are above the range of full simulation and {below} below it; {most}"
    else:
        words = (
            f"compatible with full simulation: {above} of {n} showers are above its range and {below} below it; {most}"
        )
    return EnergySums(
        check=check,
        status="differs" if failed else "agrees",
        words=words,
        value=(above + below) / n,
        error=float(np.sqrt(above + below)) / n,
        p_value=p_value,
        floor=2 / (m + 1),
        above=above,
        below=below,
        far=far,
        impossible=impossible,
        extreme=float(fraction[worst]),
        extreme_shower=int(rows[worst]),
        extreme_incident_energy=incident,
        extreme_deviation=float(z[worst]),
        reference_deviations=(low, high),
    )


def incident_energies(generated: UncheckedScan, reference: UncheckedScan) -> Finding:
    """Compare the distributions of incident energies by the Kolmogorov-Smirnov test.

    Args:
        generated, reference: scans of the samples.

    Returns:
        ``undecided`` if p is below 0.01, since all quantities that depend on energy then differ for this reason alone;
        ``not judged`` below 100 showers of a sample.
    """
    check = "incident energies"
    a, b = (sample.incident_energies[sample.good] for sample in (generated, reference))
    if min(len(a), len(b)) < MIN_SHOWERS:
        return skipped(check, f"{MIN_SHOWERS} showers of each sample are needed, there are {len(a)} and {len(b)}")
    test = ks_2samp(a, b, method="asymp")
    p_value = float(test.pvalue)
    differ = p_value < 0.01
    at = energy_in_words(float(test.statistic_location))
    words = "both samples have the same distribution of incident energies"
    if differ:
        words = (
            f"the incident energies differ, most at {at}; generate showers with the incident energies of the reference"
        )
    return Finding(
        check=check,
        status="undecided" if differ else "agrees",
        words=words,
        value=float(test.statistic),
        p_value=p_value,
        # The mean of Kolmogorov's distribution: the expectation for two samples of one distribution.
        floor=float(np.sqrt(np.pi / 2) * np.log(2) * np.sqrt(1 / len(a) + 1 / len(b))),
    )


def _fractions(sample: UncheckedScan) -> tuple[F64, F64, NDArray[np.int64]]:
    rows = np.flatnonzero(sample.good)
    incident = sample.incident_energies[rows]
    return np.log(incident), sample.totals[rows] / incident, rows
