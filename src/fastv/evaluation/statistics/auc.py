"""Area under the ROC curve of a classifier's scores, with its error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from fastv.evaluation.statistics.measured import Measured

Floats = NDArray[np.floating]


def area_under_curve(first: Floats, second: Floats) -> Measured:
    """Probability that a shower of the first class scores higher than one of the second, ties counting half.

    AUC = (1/NM) sum_ij [1(s_i > t_j) + 1(s_i = t_j)/2]. With V_i the mean over j and W_j the mean over i of the same
    terms, its variance is var(V)/N + var(W)/M (DeLong). Scores that do not separate the samples give 0.5.

    Args:
        first: scores (N,) of the class that should score high, such as the reference, N >= 2.
        second: scores (M,) of the other class, such as generated showers, M >= 2.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837; by ranks as in Sun and Xu, IEEE Signal
    Process. Lett. 21 (2014) 1389.

    Example:
        >>> round(area_under_curve(np.array([0.8, 0.4, 0.9]), np.array([0.1, 0.4])).value, 4)
        0.9167
    """
    n, m = len(first), len(second)
    ranks = rankdata(np.concatenate([first, second]))
    above = (ranks[:n] - rankdata(first)) / m
    below = 1 - (ranks[n:] - rankdata(second)) / n
    error = np.sqrt(above.var(ddof=1) / n + below.var(ddof=1) / m)
    return Measured(value=float(above.mean()), error=float(error))


def chance_of_separation(auc: Measured) -> tuple[float, float]:
    """Pull (AUC - 0.5)/error and the probability of at least this AUC if the samples follow one distribution.

    One-sided: on showers that it was not trained on, a classifier falls below 0.5 only by chance.

    Example:
        >>> pull, p_value = chance_of_separation(Measured(value=0.52, error=0.01))
        >>> round(pull, 2), round(p_value, 3)
        (2.0, 0.023)
    """
    # Scores without any overlap have an estimated error of zero.
    pull = (auc.value - 0.5) / max(auc.error, 1e-6)
    return pull, float(norm.sf(pull))
