"""What no detector could have measured: damaged voxels, energy below threshold, empty showers, too much energy.

All checks work on :class:`fastv.evaluation.integrity.unchecked.UncheckedScan`, so they count what a showers file
refuses to hand out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact, ks_2samp

from fastv.evaluation.integrity.findings import (
    SURE,
    Finding,
    counted,
    energy_in_words,
    exceedance_p_value,
    local_scale,
    skipped,
)
from fastv.evaluation.integrity.unchecked import UncheckedScan
from fastv.evaluation.statistics.comparison import Status

F64 = NDArray[np.float64]

MIN_SHOWERS = 100
_FAR = 2.0
"""A sum this many times further above the mean than any of the reference is no fluctuation."""
_LEAST_BELOW = 1e-6


class DamagedVoxels(Finding):
    """Voxels that are NaN, infinite or negative, and incident energies that are not above zero.

    ``value`` is the number of damaged showers; ``first`` the row of the first.
    """

    not_finite_voxels: int = 0
    negative_voxels: int = 0
    bad_incident_energies: int = 0
    first: int | None = None


class BelowThreshold(Finding):
    """Voxels that read more than zero and less than the readout threshold; ``value`` is their share of all hits."""

    voxels: int = 0
    showers: int = 0


class EmptyShowers(Finding):
    """Showers without a voxel above the readout threshold; ``value`` is their fraction."""

    showers: int = 0


class EnergySums(Finding):
    """Showers whose summed energy full simulation does not reach at their incident energy.

    ``value`` is the fraction of the showers beyond the reference's highest or lowest; ``floor`` what is expected of a
    sample of the reference's distribution. ``extreme`` is the visible fraction E_tot/E_inc of the most extreme shower
    ``extreme_shower``, ``extreme_deviation`` its distance from the reference's mean at that energy in standard
    deviations, and ``reference_deviations`` the reference's lowest and highest. ``impossible`` counts showers whose
    visible energy exceeds their incident energy, ``far`` those twice as far above the mean as any of the reference.
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


def damaged_voxels(generated: UncheckedScan, reference: UncheckedScan | None = None) -> DamagedVoxels:
    """Count NaN, infinite and negative voxels and incident energies that are not finite and above zero.

    Args:
        generated: the scanned sample.
        reference: full simulation, whose count is the floor.

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
            f"{counted(number, thing)} {'is' if number == 1 else 'are'} {state}"
            for number, thing, state in (
                (voxels, "voxel", "NaN or infinite"),
                (negative, "voxel", "negative"),
                (incident, "incident energy" if incident == 1 else "incident energie", "not above zero"),
            )
            if number
        ]
        noun = "is" if found == 1 else "are"
        words = f"{found} of {len(generated)} showers {noun} damaged, the first is shower {first}: {', '.join(parts)}"
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
    """Count voxels between zero and the readout threshold.

    Full simulation has none if the threshold was applied. ``undecided`` if both samples have them (a threshold that
    was applied to neither), ``differs`` if only the generated one has; ``not judged`` for a detector without threshold.
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
    words = f"no voxel reads less than {limit}"
    if voxels:
        words = f"{100 * share:.2g} % of the voxels with energy read less than {limit}, in {counted(showers, 'shower')}"
        status = "differs"
        if floor > _LEAST_BELOW:
            status = "undecided"
            words += f"; in the reference {100 * floor:.2g} %: it was not applied there either"
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

    ``differs`` if the sample has more than the reference and chance is no explanation (p below 0.001), ``undecided`` if
    it has far fewer.
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
    """Find showers with more, or less, energy than full simulation ever gives at their incident energy.

    With z the deviation of E_tot/E_inc from the reference's mean at that energy, in its standard deviations there, the
    number of generated showers beyond the reference's largest z is beta-binomial if both are of one distribution
    (:func:`fastv.evaluation.integrity.findings.exceedance_p_value` with k = 1), whatever its tails are; the same for
    the smallest. The visible energy, E_tot times the detector's energy scale, can never exceed the incident energy.

    Args:
        generated, reference: the scanned samples; damaged showers are left out, and generated ones outside the
            reference's incident energies.
        bound: largest visible energy allowed over incident energy; 1 is conservation of energy (a positron adds two
            electron masses, which matter below some hundred MeV only).

    Returns:
        ``differs`` if a shower is beyond the bound, or twice as far above the mean as any of the reference, or if more
        are outside than chance explains (p below 0.001); ``not judged`` below 100 showers on either side.
    """
    check = "energy sums"
    ref_log, ref_fraction, _ = _fractions(reference)
    log_energies, fraction, rows = _fractions(generated)
    if len(ref_log):
        inside = (log_energies >= ref_log.min() - 1e-6) & (log_energies <= ref_log.max() + 1e-6)
        log_energies, fraction, rows = log_energies[inside], fraction[inside], rows[inside]
    if min(len(rows), len(ref_log)) < MIN_SHOWERS:
        few = f"it needs {MIN_SHOWERS} showers of the same incident energies, there are {len(rows)} and {len(ref_log)}"
        return EnergySums(**skipped(check, few).model_dump())
    n, m = len(rows), len(ref_log)
    rest = ref_fraction - local_scale(ref_log, ref_fraction, ref_log, "mean")
    z, z_ref = (
        (f - local_scale(ref_log, ref_fraction, at, "mean"))
        / np.maximum(local_scale(ref_log, rest, at, "spread"), 1e-12)
        for f, at in ((fraction, log_energies), (ref_fraction, ref_log))
    )
    low, high = float(z_ref.min()), float(z_ref.max())
    above, below = int((z > high).sum()), int((z < low).sum())
    # A shower may lose most of its energy once in a while, in a nuclear reaction; none can gain any.
    far = int((z > _FAR * max(high, 1.0)).sum())
    impossible = int((fraction * generated.detector.energy_scale > bound).sum())
    p_value = min(1.0, 2 * min(exceedance_p_value(above, n, 1, m), exceedance_p_value(below, n, 1, m)))
    # The most extreme in units of the reference's own extreme on that side.
    worst = int(np.argmax(np.where(z > 0, z / max(high, 1e-12), z / min(low, -1e-12))))
    incident = float(np.exp(log_energies[worst]))
    most = f"the most extreme is shower {rows[worst]} of {energy_in_words(incident)} with E_tot/E_inc = "
    most += f"{fraction[worst]:.3g}, {z[worst]:+.1f} standard deviations; full simulation has {low:+.1f} to {high:+.1f}"
    failed = far > 0 or impossible > 0 or p_value < SURE
    if impossible:
        times = "the" if bound == 1 else f"{bound:g} times the"
        words = f"in {counted(impossible, 'shower')} more energy is visible than {times} incident energy; {most}"
    elif failed:
        words = f"{above} of {n} showers have more energy and {below} less than full simulation allows; {most}"
    else:
        words = (
            f"no more energy than full simulation allows: {above} of {n} showers above its range, {below} below; {most}"
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
    """Do the samples have the same distribution of incident energies (Kolmogorov-Smirnov)?

    ``undecided`` at p below 0.01: whatever depends on energy then differs for that reason alone.
    """
    check = "incident energies"
    a, b = (sample.incident_energies[sample.good] for sample in (generated, reference))
    if min(len(a), len(b)) < MIN_SHOWERS:
        return skipped(check, f"it needs {MIN_SHOWERS} showers, there are {len(a)} and {len(b)}")
    test = ks_2samp(a, b, method="asymp")
    p_value = float(test.pvalue)
    differ = p_value < 0.01
    at = energy_in_words(float(test.statistic_location))
    words = "both samples have the same distribution of incident energies"
    if differ:
        words = (
            f"the incident energies differ, most of all at {at}; generate showers like the reference, with its energies"
        )
    return Finding(
        check=check,
        status="undecided" if differ else "agrees",
        words=words,
        value=float(test.statistic),
        p_value=p_value,
        # The mean of Kolmogorov's distribution: what two equal distributions give by chance.
        floor=float(np.sqrt(np.pi / 2) * np.log(2) * np.sqrt(1 / len(a) + 1 / len(b))),
    )


def _fractions(sample: UncheckedScan) -> tuple[F64, F64, NDArray[np.int64]]:
    rows = np.flatnonzero(sample.good)
    incident = sample.incident_energies[rows]
    return np.log(incident), sample.totals[rows] / incident, rows
