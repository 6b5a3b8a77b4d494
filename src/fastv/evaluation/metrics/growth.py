"""How the AUC of a trained classifier grows with the number of showers, and what to expect of larger samples.

Two forms that data bracket: growth of the AUC by the same amount with each doubling, which is a little too slow, and
growth of the separation d' = sqrt(2) Phi^-1(AUC) by a power law, which is too fast. Phi is the normal distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import norm

from fastv.evaluation.statistics.measured import Measured

F64 = NDArray[np.float64]

_POINTS = 3
"""Largest sizes that are fitted: over a wider range neither form is straight."""
_CLEAR = 4.0
"""Errors by which the AUC of all showers must be above 1/2."""
_MOST_AUC = 0.85
"""Above this both forms predict too much."""
_MOST_ERROR = 0.05
"""An expectation with a larger error says too little to be told."""
_MOST_EXPECTED = 0.9
"""Towards 1 both forms come together, and their difference is no error any more."""
_TIMES = (2, 4)
_STEP = 1e-3


class AucOfSize(BaseModel):
    """The AUC with so many showers of each sample; of samples of different sizes, the smaller number."""

    model_config = ConfigDict(frozen=True)

    showers: int
    auc: Measured


class Growth(BaseModel):
    """The AUC against the number of showers: ``measured``, and ``expected`` of larger samples by extrapolation.

    ``expected`` is empty where an extrapolation is not justified; ``reason`` says why. Nothing in it was measured.
    """

    model_config = ConfigDict(frozen=True)

    measured: tuple[AucOfSize, ...] = ()
    expected: tuple[AucOfSize, ...] = ()
    reason: str = ""


def growth(measured: Sequence[AucOfSize]) -> Growth:
    """The AUC of larger samples, twice and four times the largest, expected from those measured.

    Both forms of this module are fitted to the three largest sizes, straight lines of the AUC and of ln d' against the
    logarithm of the size. The expectation is the mean of both, but not below the last AUC measured; its error is the
    statistical one with half of the difference of the forms in quadrature. On a generator against Geant4, and on faults
    planted in its showers, the expectations for twice the size were 0.006 above what was then measured, with a spread
    of 0.013, and within about two of their errors.

    None is given for fewer than three sizes, for an AUC within four errors of 1/2 or above 0.85, where a smaller sample
    has no more than 1/2 plus its error, or for an expectation with an error above 0.05 or a value above 0.9.

    Args:
        measured: AUC by size, with increasing sizes.

    Example:
        >>> points = [AucOfSize(showers=n, auc=Measured(value=auc, error=0.005))
        ...           for n, auc in ((1225, 0.60), (2450, 0.635), (4900, 0.68))]
        >>> [(each.showers, round(each.auc.value, 2)) for each in growth(points).expected]
        [(9800, 0.73), (19600, 0.78)]
    """
    reason = _why_not(measured)
    if reason:
        return Growth(measured=tuple(measured), reason=reason)
    points = measured[-_POINTS:]
    sizes = np.log([each.showers for each in points])
    values, errors = np.transpose([(each.auc.value, each.auc.error) for each in points])
    expected = []
    for times in _TIMES:
        size = times * points[-1].showers
        value, forms = _both(sizes, values, errors, math.log(size))
        # The forms are smooth: derivatives by each AUC give the statistical error.
        slopes = [
            (_both(sizes, values + _STEP * one, errors, math.log(size))[0] - value) / _STEP for one in np.eye(_POINTS)
        ]
        error = math.hypot(float(np.linalg.norm(np.array(slopes) * errors)), forms / 2)
        if error > _MOST_ERROR or value > _MOST_EXPECTED:
            break
        auc = Measured(value=max(value, float(values[-1])), error=error)
        expected.append(AucOfSize(showers=size, auc=auc))
    reason = "" if expected else "it grows so fast that an extrapolation is too uncertain"
    return Growth(measured=tuple(measured), expected=tuple(expected), reason=reason)


def _why_not(measured: Sequence[AucOfSize]) -> str:
    """Why an extrapolation is not justified; empty if it is."""
    if len(measured) < _POINTS:
        return f"an extrapolation needs {_POINTS} sizes, there are {len(measured)}"
    points = measured[-_POINTS:]
    last = points[-1].auc
    if last.value - 0.5 < _CLEAR * last.error:
        return f"the AUC is within {_CLEAR:g} errors of chance"
    if last.value > _MOST_AUC:
        return f"the AUC is above {_MOST_AUC:g} already"
    if any(each.auc.value - 0.5 <= each.auc.error for each in points):
        return "smaller samples are not told apart"
    return ""


def _both(sizes: F64, values: F64, errors: F64, at: float) -> tuple[float, float]:
    """The mean of both forms at a logarithm of a size, and their difference."""
    values = np.clip(values, 0.5 + _STEP / 10, 1 - _STEP)
    by_amount = min(_line(sizes, values, errors, at), 1.0)
    separation = math.sqrt(2) * norm.ppf(values)
    # The error of ln d', from the slope of d' in the AUC.
    slope = math.sqrt(2) / norm.pdf(norm.ppf(values))
    by_power = float(
        norm.cdf(math.exp(_line(sizes, np.log(separation), errors * slope / separation, at)) / math.sqrt(2))
    )
    return (by_amount + by_power) / 2, abs(by_power - by_amount)


def _line(x: F64, y: F64, errors: F64, at: float) -> float:
    """A straight line by least squares, at one place."""
    weights = 1 / np.maximum(errors, 1e-6)
    slope, start = np.polyfit(x, y, 1, w=weights)
    return float(start + slope * at)
