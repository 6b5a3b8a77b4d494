"""Estimates with their statistical errors: means, resolutions, ratios.

All errors are one standard deviation and follow from the samples alone (delta method), so that they repeat exactly.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import norm

Floats = NDArray[np.floating]

_LOWER_68, _UPPER_68 = (1 - 0.6827) / 2, (1 + 0.6827) / 2


class Measured(BaseModel):
    """A value and its statistical error, in the same unit."""

    model_config = ConfigDict(frozen=True)

    value: float
    error: float

    def __sub__(self, constant: float) -> Measured:
        return Measured(value=self.value - constant, error=self.error)


def mean(values: Floats) -> Measured:
    """Mean and its error s/sqrt(n).

    Args:
        values: (n,), any unit, n >= 2.

    Example:
        >>> mean(np.array([1.0, 3.0]))
        Measured(value=2.0, error=1.0)
    """
    x = np.asarray(values, dtype=np.float64)
    return Measured(value=float(x.mean()), error=float(x.std(ddof=1) / math.sqrt(len(x))))


def spread(values: Floats) -> Measured:
    """Standard deviation s with its error, var(s) = (m4 - s^4 (n - 3)/(n - 1))/(4 n s^2).

    Args:
        values: (n,), any unit, n >= 4; m4 is their fourth central moment.

    Source: Kenney and Keeping, Mathematics of Statistics, variances of sample moments.

    Example:
        >>> spread(np.array([1.0, 1.0, 1.0, 1.0]))
        Measured(value=0.0, error=0.0)
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    s = float(x.std(ddof=1))
    if s == 0:
        return Measured(value=0.0, error=0.0)
    m4 = float(((x - x.mean()) ** 4).mean())
    return Measured(value=s, error=math.sqrt(max(0.0, (m4 - s**4 * (n - 3) / (n - 1)) / (4 * n * s**2))))


def resolution(values: Floats) -> Measured:
    """Relative width std/mean with its error.

    With s the standard deviation, its error from :func:`spread`, m the mean and m3 the third central moment,
    cov(m, s) = m3/(2 n s), so that tails and skewness count in the error.

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
    """Robust relative width: half of the central 68.27 % interval over the mean, with its error.

    The error of a quantile q_p is sqrt(p(1 - p)/n)/f(q_p); the density f comes from the neighbouring quantiles at
    p +- sqrt(p(1 - p)/n). Tails do not move this figure; for a normal distribution it equals std/mean.

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
    width = float(high - low) / 2
    # By symmetry both quantiles have the same binomial step.
    step = math.sqrt(_LOWER_68 * (1 - _LOWER_68) / n)
    around = np.quantile(x, np.clip([_LOWER_68 - step, _LOWER_68 + step, _UPPER_68 - step, _UPPER_68 + step], 0, 1))
    error_low, error_high = (around[1] - around[0]) / 2, (around[3] - around[2]) / 2
    correlation = _LOWER_68 / (1 - _LOWER_68)
    variance = float(error_low**2 + error_high**2 - 2 * correlation * error_low * error_high) / 4
    if width == 0:
        return Measured(value=0.0, error=0.0)
    relative = variance / width**2 + (centre.error / centre.value) ** 2
    return Measured(value=width / centre.value, error=width / centre.value * math.sqrt(relative))


def ratio(a: Measured, b: Measured) -> Measured:
    """a/b of two independent estimates, errors added in quadrature; 1 +- 0 for 0/0.

    Example:
        >>> ratio(Measured(value=2.0, error=0.0), Measured(value=4.0, error=0.4))
        Measured(value=0.5, error=0.05)
    """
    if b.value == 0:
        return Measured(value=1.0 if a.value == 0 else math.nan, error=0.0)
    value = a.value / b.value
    return Measured(value=value, error=math.hypot(a.error / b.value, value * b.error / b.value))


def fractions_of_total(parts: Floats, totals: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fractions F_l = sum_i parts_il / sum_i totals_i and each shower's relative pull on them.

    Args:
        parts: (n, L), such as layer energies in MeV.
        totals: (n,), such as incident energies in MeV.

    Returns:
        F (L,) and influences u (n, L) with u_il = (parts_il - F_l totals_i)/sum_i parts_il: the relative variance of
        F_l is sum_i u_il^2, and correlations between samples can be kept by combining u before squaring.
    """
    sums = parts.sum(axis=0, dtype=np.float64)
    fractions = sums / totals.sum(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        influences = np.where(sums > 0, (parts - totals[:, None] * fractions) / sums, 0.0)
    return fractions, influences


def allowance(comparisons: int) -> float:
    """Standard deviations that the largest of several normal deviates exceeds by chance with 5 % probability.

    The two-sided Bonferroni bound: norm.isf(0.025/comparisons).

    Example:
        >>> round(allowance(1), 2), round(allowance(10), 2)
        (1.96, 2.81)
    """
    return float(norm.isf(0.025 / max(1, comparisons)))
