"""Estimates with their statistical errors: means, resolutions, ratios.

All errors are one standard deviation, derived analytically from the samples, without random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.special import kolmogorov
from scipy.stats import norm

Floats = NDArray[np.floating]

_LOWER_68, _UPPER_68 = (1 - 0.6827) / 2, (1 + 0.6827) / 2
ROUNDING = 1e-6
"""Relative size of what is rounding: energies are stored in single precision, which resolves 6e-8.

A statistical error of this relative size would need 10^12 showers.
"""


class Measured(BaseModel):
    """A value and its statistical error, in the same unit."""

    model_config = ConfigDict(frozen=True)

    value: float
    error: float

    def __sub__(self, constant: float) -> Measured:
        return Measured(value=self.value - constant, error=self.error)


def beyond_rounding(widths: Floats, values: Floats) -> NDArray[np.float64]:
    """Widths of values, 0 where they are only rounding: at most 1e-6 of the largest absolute value.

    Args:
        widths: standard deviations, ranges or others of each column (...), in the unit of the values.
        values: (n, ...).

    Example:
        >>> values = np.array([[21.35, 1.0], [21.350000000000001, 2.0], [21.35, 3.0]])
        >>> beyond_rounding(values.std(axis=0), values).round(2)
        array([0.  , 0.82])
    """
    scale = np.abs(values).max(axis=0, initial=0.0)
    return np.where(widths > ROUNDING * scale, widths, 0.0).astype(np.float64)


def mean(values: Floats) -> Measured:
    """Mean and its error s/sqrt(n).

    Args:
        values: (n,), any unit, n >= 2.

    Example:
        >>> mean(np.array([1.0, 3.0]))
        Measured(value=2.0, error=1.0)
    """
    x = np.asarray(values, dtype=np.float64)
    return Measured(value=float(x.mean()), error=float(beyond_rounding(x.std(ddof=1), x) / math.sqrt(len(x))))


def spread(values: Floats) -> Measured:
    """Standard deviation s and its error, var(s) = (m4 - s^4 (n - 3)/(n - 1))/(4 n s^2); both 0 for equal values.

    Args:
        values: (n,), any unit, n >= 4, with fourth central moment m4.

    Source: Kenney and Keeping, Mathematics of Statistics, variances of sample moments.

    Example:
        >>> spread(np.array([1.0, 1.0, 1.0, 1.0]))
        Measured(value=0.0, error=0.0)
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    s = float(beyond_rounding(x.std(ddof=1), x))
    if s == 0:
        return Measured(value=0.0, error=0.0)
    m4 = float(((x - x.mean()) ** 4).mean())
    return Measured(value=s, error=math.sqrt(max(0.0, (m4 - s**4 * (n - 3) / (n - 1)) / (4 * n * s**2))))


def resolution(values: Floats) -> Measured:
    """Relative width std/mean and its error.

    The error combines those of the mean m and of the standard deviation s (:func:`spread`) with their covariance
    m3/(2 n s), where m3 is the third central moment: it includes tails and skewness.

    Args:
        values: (n,), any unit, n >= 4, with a mean above zero.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> r = resolution(rng.normal(1.0, 0.1, 20_000))
        >>> round(r.value, 3), round(r.error * 20_000**0.5, 2)
        (0.1, 0.07)
    """
    x = np.asarray(values, dtype=np.float64)
    centre, width = mean(x), spread(x)
    m, s = centre.value, width.value
    if s == 0:
        return Measured(value=0.0, error=0.0)
    cov = float(((x - m) ** 3).mean()) / (2 * len(x) * s)
    relative = (width.error / s) ** 2 + (centre.error / m) ** 2 - 2 * cov / (s * m)
    return Measured(value=s / m, error=s / m * math.sqrt(max(0.0, relative)))


def resolution_68(values: Floats) -> Measured:
    """Robust relative width: half of the central 68.27 % interval over the mean, and its error.

    The error of a quantile q_p is sqrt(p(1 - p)/n)/f(q_p); the density f is estimated from the quantiles at
    p +- 2 sqrt(p(1 - p)/n). The width is insensitive to tails; for a normal distribution it equals std/mean.

    Args:
        values: (n,), any unit, n >= 4, with a mean above zero.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> r = resolution_68(rng.normal(1.0, 0.1, 20_000))
        >>> round(r.value, 2), round(r.error * 20_000**0.5, 1)
        (0.1, 0.1)
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    centre = mean(x)
    low, high = np.quantile(x, [_LOWER_68, _UPPER_68])
    width = float(beyond_rounding(high - low, np.array([low, high]))) / 2
    # By symmetry both quantiles have the same binomial step.
    step = math.sqrt(_LOWER_68 * (1 - _LOWER_68) / n)
    # A smaller offset would give a noisy estimate of the density.
    offset = 2 * step
    wanted = [_LOWER_68 - offset, _LOWER_68 + offset, _UPPER_68 - offset, _UPPER_68 + offset]
    around = np.quantile(x, np.clip(wanted, 0, 1))
    error_low, error_high = (around[1] - around[0]) / 4, (around[3] - around[2]) / 4
    correlation = _LOWER_68 / (1 - _LOWER_68)
    variance = float(error_low**2 + error_high**2 - 2 * correlation * error_low * error_high) / 4
    if width == 0:
        return Measured(value=0.0, error=0.0)
    relative = variance / width**2 + (centre.error / centre.value) ** 2
    return Measured(value=width / centre.value, error=width / centre.value * math.sqrt(relative))


def ratio(a: Measured, b: Measured) -> Measured:
    """a/b of two independent estimates, errors added in quadrature; 1 +- 0 for 0/0, NaN +- 0 for a/0.

    Example:
        >>> ratio(Measured(value=2.0, error=0.0), Measured(value=4.0, error=0.4))
        Measured(value=0.5, error=0.05)
    """
    if b.value == 0:
        return Measured(value=1.0 if a.value == 0 else math.nan, error=0.0)
    value = a.value / b.value
    return Measured(value=value, error=math.hypot(a.error / b.value, value * b.error / b.value))


def fractions_of_total(parts: Floats, totals: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fractions F_l = sum_i parts_il / sum_i totals_i and the influence of each shower on them.

    Args:
        parts: (n, L), such as layer energies in MeV.
        totals: (n,), such as incident energies in MeV.

    Returns:
        F (L,) and relative influences u (n, L), u_il = (parts_il - F_l totals_i)/sum_i parts_il. The relative variance
        of F_l is sum_i u_il^2; for correlated samples, combine their u before squaring.
    """
    sums = parts.sum(axis=0, dtype=np.float64)
    fractions = sums / totals.sum(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        influences = np.where(sums > 0, (parts - totals[:, None] * fractions) / sums, 0.0)
    return fractions, influences


def allowance(comparisons: int) -> float:
    """Limit in standard deviations that the largest of several normal deviates exceeds with at most 5 % probability.

    The two-sided Bonferroni bound, norm.isf(0.025/comparisons).

    Example:
        >>> round(allowance(1), 2), round(allowance(10), 2)
        (1.96, 2.81)
    """
    return float(norm.isf(0.025 / max(1, comparisons)))


def quantile(values: Floats, p: float) -> Measured:
    """The quantile q_p of a sample and its error from order statistics.

    The rank of the true quantile has the binomial standard deviation sqrt(n p (1 - p)); half of the distance between
    the values one such step below and above is the error. n p and n (1 - p) should be at least a few.

    Args:
        values: (n,), any unit.
        p: probability below the quantile, in (0, 1).

    Source: David and Nagaraja, Order Statistics, section 7.1.

    Example:
        >>> q = quantile(np.random.default_rng(0).uniform(size=10_000), 0.5)
        >>> round(q.value, 2), round(q.error, 3)
        (0.5, 0.006)
    """
    x = np.asarray(values, dtype=np.float64)
    step = math.sqrt(p * (1 - p) / len(x))
    low, centre, high = np.quantile(x, np.clip([p - step, p, p + step], 0, 1))
    return Measured(value=float(centre), error=float(beyond_rounding(high - low, np.array([low, high]))) / 2)


def pull(difference: Measured) -> float:
    """A difference in units of its error: 0 for a difference of 0, infinite for an error of 0, NaN for NaN.

    Example:
        >>> pull(Measured(value=0.02, error=0.01)), pull(Measured(value=0.0, error=0.0))
        (2.0, 0.0)
    """
    if difference.value == 0:
        return 0.0
    if math.isnan(difference.value) or math.isnan(difference.error):
        return math.nan
    return difference.value / difference.error if difference.error > 0 else math.copysign(math.inf, difference.value)


def two_sided(deviations: float) -> float:
    """Probability that the absolute value of a normal deviate exceeds that of ``deviations``.

    Example:
        >>> round(two_sided(1.96), 3)
        0.05
    """
    return float(2 * norm.sf(abs(deviations)))


def deviations_of(p_value: float) -> float:
    """Absolute normal deviate that is exceeded with this two-sided probability, the inverse of :func:`two_sided`.

    Example:
        >>> round(deviations_of(0.05), 2)
        1.96
    """
    return float(norm.isf(max(p_value, 1e-300) / 2)) if p_value < 1 else 0.0


def smallest_of(p_value: float, comparisons: int) -> float:
    """Probability that the smallest of n independent p-values is at most ``p_value``: 1 - (1 - p)^n.

    For positively correlated p-values it is an upper bound.

    Source: Sidak, Journal of the American Statistical Association 62 (1967) 626.

    Example:
        >>> round(smallest_of(0.01, 10), 3)
        0.096
    """
    return float(-math.expm1(comparisons * math.log1p(-min(p_value, 1 - 1e-16))))


def ks_p_value(a: Floats, b: Floats) -> float:
    """P-value of the two-sample Kolmogorov-Smirnov test from its asymptotic distribution.

    D = max |F_a - F_b|, p = Q(D sqrt(n m/(n + m))). With ties, as in counts, it is conservative.

    Args:
        a, b: samples (n,) and (m,), each of at least some tens of values.

    Source: Smirnov, Annals of Mathematical Statistics 19 (1948) 279.

    Example:
        >>> x = np.arange(100.0)
        >>> ks_p_value(x, x), round(ks_p_value(x, x + 20), 3)
        (1.0, 0.037)
    """
    x, y = np.sort(np.asarray(a, dtype=np.float64)), np.sort(np.asarray(b, dtype=np.float64))
    both = np.concatenate([x, y])
    steps = [np.searchsorted(each, both, side="right") / len(each) for each in (x, y)]
    distance = float(np.abs(steps[0] - steps[1]).max())
    return float(kolmogorov(distance * math.sqrt(len(x) * len(y) / (len(x) + len(y)))))


def of_both(estimate: Callable[[Floats], Measured], a: Floats, b: Floats) -> tuple[Measured, Measured]:
    """An estimate for each of two samples, with errors from their common shape.

    The error of a width depends on the fourth moment or on the density at a quantile; small samples determine these
    poorly, and pulls get long tails. The pooled sample, each part standardised to mean 0 and standard deviation 1,
    determines the shape better: the error for a sample of n is that of n + m values of this shape, scaled to the mean
    and standard deviation of the sample, times sqrt((n + m)/n).

    Args:
        estimate: such as :func:`spread` or :func:`resolution_68`.
        a, b: samples (n,) and (m,), in one unit.

    Returns:
        The estimates for a and for b.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = of_both(spread, rng.normal(0, 1, 500), rng.normal(5, 2, 500))
        >>> round(x.error * 1000**0.5, 1), round(y.error * 1000**0.5, 1)
        (1.1, 2.0)
    """
    samples = [np.asarray(each, dtype=np.float64) for each in (a, b)]
    moments = [(float(x.mean()), float(beyond_rounding(x.std(), x))) for x in samples]
    if min(width for _, width in moments) == 0:
        return estimate(samples[0]), estimate(samples[1])
    shape = np.concatenate([(x - centre) / width for x, (centre, width) in zip(samples, moments, strict=True)])
    found = []
    for x, (centre, width) in zip(samples, moments, strict=True):
        error = estimate(centre + width * shape).error * math.sqrt(len(shape) / len(x))
        found.append(Measured(value=estimate(x).value, error=error))
    return found[0], found[1]


def spreads_of_both(a: Floats, b: Floats) -> tuple[NDArray[np.float64], ...]:
    """Standard deviations of many quantities in two samples, with errors from their common shapes.

    Corresponds to :func:`of_both` with :func:`spread`, column by column.

    Args:
        a, b: samples (n, ...) and (m, ...).

    Returns:
        Standard deviations and errors of a, then those of b, each (...).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(1000, 2))
        >>> s, e, t, f = spreads_of_both(x, 2 * x)
        >>> bool(np.allclose(t, 2 * s)), bool(np.allclose(f, 2 * e))
        (True, True)
    """
    samples = [np.asarray(each, dtype=np.float64) for each in (a, b)]
    centred = [x - x.mean(axis=0) for x in samples]
    widths = [beyond_rounding(x.std(axis=0), x) for x in samples]
    total = sum(len(x) for x in samples)
    with np.errstate(divide="ignore", invalid="ignore"):
        fourth = sum(((x / w) ** 4).sum(axis=0) for x, w in zip(centred, widths, strict=True)) / total
        relative = np.sqrt(np.maximum(0.0, fourth - 1) / 4)
    # A sample of equal values has no shape; use that of the normal distribution.
    relative = np.where(np.isfinite(relative), relative, math.sqrt(0.5))
    found: list[NDArray[np.float64]] = []
    for x in samples:
        s = beyond_rounding(x.std(axis=0, ddof=1), x)
        found += [s, s * relative / math.sqrt(len(x))]
    return tuple(found)
