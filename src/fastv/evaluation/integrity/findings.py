"""The result of an integrity check: a value, its floor, a status and a sentence; and distribution-free tests."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import betabinom

from fastv.evaluation.statistics.comparison import Status

SURE = 1e-3
"""A p-value below which chance is not accepted as the explanation; a report contains about twenty of them."""
F64 = NDArray[np.float64]


class Finding(BaseModel):
    """The result of one integrity check.

    ``value`` is measured on the generated sample, ``floor`` is the same for full simulation; ``error`` is one standard
    deviation of the value, ``p_value`` the probability of a value at least as bad if the generator were full simulation
    itself. Each may be None. ``agrees``: no fault was found. ``undecided``: something was found that has a harmless
    explanation or may be due to chance. ``differs``: a fault was found; ``words`` names it. ``not judged``: the check
    could not be made; ``words`` says why.
    """

    model_config = ConfigDict(frozen=True)

    check: str
    status: Status
    words: str
    value: float | None = None
    error: float | None = None
    p_value: float | None = None
    floor: float | None = None


def skipped(check: str, reason: str) -> Finding:
    """The finding of a check that could not be made, with the reason.

    Example:
        >>> skipped("coverage", "100 showers are needed, there are 12").words
        'not judged: 100 showers are needed, there are 12'
    """
    return Finding(check=check, status="not judged", words=f"not judged: {reason}")


def at_energies_of(log_energies: F64, reference: F64) -> NDArray[np.bool_]:
    """Which showers are within the range of the reference's incident energies, from ln E of both.

    Example:
        >>> at_energies_of(np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0])).tolist()
        [False, True, False]
    """
    if not len(reference):
        return np.zeros(len(log_energies), dtype=bool)
    inside: NDArray[np.bool_] = (log_energies >= reference.min() - 1e-6) & (log_energies <= reference.max() + 1e-6)
    return inside


def too_few(check: str, least: int, generated: int, reference: int) -> Finding | None:
    """The finding of a check for which a sample has too few showers at the same incident energies, else None."""
    if min(generated, reference) >= least:
        return None
    few = f"{least} showers of each sample are needed at the same incident energies, there are "
    return skipped(check, f"{few}{generated} and {reference}")


def exceedance_p_value(count: int, n: int, beyond_in_floor: int, n_floor: int) -> float:
    """Probability that ``count`` or more of ``n`` values lie beyond the k-th most extreme of ``n_floor`` others.

    If both samples come from one continuous distribution of any shape, the number beyond the k-th most extreme value of
    the floor is beta-binomial with parameters (n, k, n_floor + 1 - k). This includes the uncertainty of the floor's
    quantile.

    Args:
        count: number of values of the sample beyond that of the floor.
        n: size of the sample.
        beyond_in_floor: k, 1 for the most extreme value of the floor.
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

    The other tail of :func:`exceedance_p_value`, with the same arguments.

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
    """Mean, median or standard deviation of values as a function of incident energy.

    The mean is a continuous, piecewise linear function of ln E, fitted by least squares; median and standard deviation
    are computed in equally populated bins and interpolated. Outside the range of the energies all are constant.

    Args:
        log_energies: ln E (n,) of a sample.
        values: its values (n,), any unit.
        at: ln E (m,) at which to evaluate.
        statistic: ``mean``, ``median``, or ``spread`` for the standard deviation.
        per_bin: smallest number of values per bin.
        most_bins: largest number of bins.

    Returns:
        The statistic (m,) in the unit of the values.

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
        # Hat functions overlap only their neighbours: the normal equations are well conditioned, and much smaller.
        heights = np.linalg.lstsq(basis.T @ basis, basis.T @ values, rcond=None)[0]
        return np.asarray(np.interp(at, knots, heights), dtype=np.float64)
    order = np.argsort(log_energies, kind="stable")
    parts = np.array_split(order, bins)
    centres = np.array([log_energies[part].mean() for part in parts])
    compute = np.median if statistic == "median" else np.std
    scales = np.array([float(compute(values[part])) for part in parts])
    # Of bins of one energy the first counts.
    rising = np.concatenate([[True], np.diff(centres) > 1e-9])
    return np.asarray(np.interp(at, centres[rising], scales[rising]), dtype=np.float64)


def energy_in_words(mev: float) -> str:
    """An energy, given in MeV, as text, in GeV from 1000 MeV.

    Example:
        >>> energy_in_words(50_000.0), energy_in_words(250.0)
        ('50 GeV', '250 MeV')
    """
    return f"{mev / 1000:.3g} GeV" if mev >= 1000 else f"{mev:.3g} MeV"
