"""What an integrity check found: a figure, its floor, a judgement and a sentence; and tests by ranks alone."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import betabinom

Judgement = Literal["passed", "suspicious", "failed", "skipped"]

SURE = 1e-3
"""A p-value below which chance is no explanation; a report has some twenty of them."""
F64 = NDArray[np.float64]


class Finding(BaseModel):
    """The result of one integrity check.

    ``value`` is the figure of the generated sample and ``floor`` what full simulation gives for the same figure;
    ``error`` is one standard deviation of the value, ``p_value`` the probability of a value as bad or worse if the
    generator were full simulation itself. What does not exist is None. ``passed``: nothing was found. ``suspicious``:
    something was found that has an innocent explanation too, or that chance may still explain. ``failed``: a fault
    was found; ``words`` names it. ``skipped``: the check could not be made; ``words`` says why.
    """

    model_config = ConfigDict(frozen=True)

    check: str
    judgement: Judgement
    words: str
    value: float | None = None
    error: float | None = None
    p_value: float | None = None
    floor: float | None = None


def skipped(check: str, reason: str) -> Finding:
    """A check that could not be made, and why.

    Example:
        >>> skipped("coverage", "it needs 100 showers, there are 12").words
        'not judged: it needs 100 showers, there are 12'
    """
    return Finding(check=check, judgement="skipped", words=f"not judged: {reason}")


def exceedance_p_value(count: int, n: int, beyond_in_floor: int, n_floor: int) -> float:
    """Probability that ``count`` or more of ``n`` values lie beyond the k-th most extreme of ``n_floor`` others.

    If both samples come from one continuous distribution, whatever it is, the number beyond the k-th extreme value of
    the floor is beta-binomial with parameters (n, k, n_floor + 1 - k): the uncertainty of the floor's own quantile is
    included.

    Args:
        count: values of the sample beyond that of the floor.
        n: size of the sample.
        beyond_in_floor: k, counted from 1 for the most extreme value of the floor.
        n_floor: size of the floor.

    Source: Wilks, Annals of Mathematical Statistics 12 (1941) 91, tolerance limits by order statistics.

    Example:
        >>> round(exceedance_p_value(1, 1, 1, 9), 12)  # the largest of ten values, whichever it is
        0.1
        >>> round(exceedance_p_value(0, 50, 1, 9), 12)
        1.0
    """
    return float(betabinom.sf(count - 1, n, beyond_in_floor, n_floor + 1 - beyond_in_floor))


def shortfall_p_value(count: int, n: int, beyond_in_floor: int, n_floor: int) -> float:
    """Probability that ``count`` or fewer of ``n`` values lie beyond the k-th most extreme of ``n_floor`` others.

    The other tail of :func:`exceedance_p_value`.

    Example:
        >>> round(shortfall_p_value(0, 1, 1, 9), 12)
        0.9
    """
    return float(betabinom.cdf(count, n, beyond_in_floor, n_floor + 1 - beyond_in_floor))


def local_scale(
    log_energies: F64,
    values: F64,
    at: F64,
    statistic: Literal["mean", "median", "spread"],
    *,
    per_bin: int = 50,
    most_bins: int = 20,
) -> F64:
    """A statistic of values as a function of incident energy.

    The mean is a continuous, piecewise linear function of ln E, fitted by least squares; median and spread are taken in
    bins of equal population and interpolated. Outside the energies of the values all are constant.

    Args:
        log_energies: ln E (n,) of the sample that sets the scale.
        values: its values (n,).
        at: ln E (m,) where the scale is wanted.
        statistic: mean, median, or ``spread``, the standard deviation.
        per_bin: values a bin at least.
        most_bins: bins at most.

    Returns:
        The scale (m,).

    Example:
        >>> x = np.linspace(0.0, 1.0, 1001)
        >>> local_scale(x, 3 + x, np.array([0.25, 0.5]), "mean").round(3)
        array([3.25, 3.5 ])
    """
    bins = int(np.clip(len(values) // per_bin, 1, most_bins))
    if statistic == "mean":
        knots = np.unique(np.quantile(log_energies, np.linspace(0, 1, bins + 1)))
        hats = np.eye(len(knots))
        basis = np.stack([np.interp(log_energies, knots, hat) for hat in hats], axis=1)
        # Hats overlap their neighbours only: the normal equations are well conditioned, and much smaller.
        heights = np.linalg.lstsq(basis.T @ basis, basis.T @ values, rcond=None)[0]
        return np.asarray(np.interp(at, knots, heights), dtype=np.float64)
    order = np.argsort(log_energies, kind="stable")
    parts = np.array_split(order, bins)
    centres = np.array([log_energies[part].mean() for part in parts])
    compute = np.median if statistic == "median" else np.std
    scales = np.array([float(compute(values[part])) for part in parts])
    return np.asarray(np.interp(at, centres, scales), dtype=np.float64)


def energy_in_words(mev: float) -> str:
    """An energy in MeV as a text, in GeV from 1000 MeV on.

    Example:
        >>> energy_in_words(50_000.0), energy_in_words(250.0)
        ('50 GeV', '250 MeV')
    """
    return f"{mev / 1000:.3g} GeV" if mev >= 1000 else f"{mev:.3g} MeV"


def counted(n: int, singular: str, plural: str | None = None) -> str:
    """A number and its noun.

    Example:
        >>> counted(1, "shower"), counted(0, "shower"), counted(2, "copy", "copies")
        ('1 shower', 'no shower', '2 copies')
    """
    if n == 0:
        return f"no {singular}"
    return f"{n} {singular if n == 1 else plural or singular + 's'}"
