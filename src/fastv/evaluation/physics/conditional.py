"""Agreement in bins of incident energy and angle: where is the generator worse than on average?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.observables.shower_shape import QUANTITIES
from fastv.evaluation.physics.condition_bins import ConditionBin, not_filled, residuals
from fastv.evaluation.physics.tails import tail_p_value
from fastv.evaluation.statistics.comparison import Comparison, compare, difference, skipped
from fastv.evaluation.statistics.measured import Measured, deviations_of, ks_p_value, mean, smallest_of

F64 = NDArray[np.float64]


def conditional(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """The quantity that differs most in each bin of incident energy or angle, by the Kolmogorov-Smirnov test.

    Every quantity of :data:`fastv.evaluation.observables.shower_shape.QUANTITIES` is compared in every bin after
    removing its dependence on energy (:func:`fastv.evaluation.physics.condition_bins.residuals`). The entry of a bin is
    the quantity with the smallest p-value; its pull corresponds to that p-value corrected for the number of quantities,
    its difference is that of the means in local standard deviations.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy and of angles.
    """
    name, title = "conditional", "Agreement in bins of the condition"
    definition = "Kolmogorov-Smirnov test in bins of incident energy and angle, the shower quantity that differs most"
    filled = [each for each in bins if each.filled]
    if not filled:
        return skipped(name, title, definition, "no bin has enough showers of both samples")
    energies = reference.incident_energies, generated.incident_energies
    values = [(each, *residuals(each.of(reference), each.of(generated), *energies)) for each in QUANTITIES]
    found = []
    for bin_ in filled:
        tests: list[tuple[float, str, Measured, Measured]] = []
        for each, z, w in values:
            a, b = z[bin_.reference], w[bin_.generated]
            p_value = ks_p_value(a, b)
            tests.append((p_value, each.name, mean(a), mean(b)))
        p_value, worst, x, y = min(tests, key=lambda test: test[0])
        size = deviations_of(smallest_of(p_value, len(tests)))
        found.append(
            difference(
                f"{bin_.words}: {worst}",
                x,
                y,
                low=bin_.low,
                high=bin_.high,
                deviations=math.copysign(size, y.value - x.value),
            )
        )
    return compare(name, title, definition, found, unit="local standard deviations", notes=not_filled(bins))


def population(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """Fraction of the showers in each bin of incident energy and angle, absolute difference.

    It reveals different spectra, which spoil comparisons over all energies, and conditions without any showers. The
    pull is that of the exact test of :func:`fastv.evaluation.physics.tails.tail_p_value`.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy and of angles.
    """
    n, m = len(reference), len(generated)
    found = []
    for each in bins:
        ours, theirs = each.numbers
        size = deviations_of(tail_p_value(ours, n, theirs, m))
        a, b = _fraction(ours, n), _fraction(theirs, m)
        pull = math.copysign(size, b.value - a.value)
        found.append(difference(each.words, a, b, low=each.low, high=each.high, deviations=pull))
    definition = "fraction of the showers in bins of incident energy and angle"
    return compare("population", "Incident energies and angles", definition, found)


def _fraction(count: int, total: int) -> Measured:
    value = count / max(1, total)
    return Measured(value=value, error=math.sqrt(value * (1 - value) / max(1, total)))
