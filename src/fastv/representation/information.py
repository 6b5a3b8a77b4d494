"""What a dimension of a code tells: its divergence, whether it is in use, and its rank correlation with quantities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fastv.inference import CodeGroup

F64 = NDArray[np.float64]

ACTIVE_VARIANCE = 0.01
"""Variance over showers of the posterior mean above which a dimension is active (Burda et al., arXiv 1509.00519)."""


def deviations(group: CodeGroup) -> F64 | None:
    """Standard deviations (N, K) of each number of a code under its posterior; None if the code is exact."""
    if group.scale is None:
        return None
    scale = group.scale.astype(np.float64)
    found: F64 = scale if scale.ndim == 2 else np.sqrt(np.square(scale).sum(axis=2))
    return found


def divergences(group: CodeGroup) -> F64 | None:
    r"""KL divergence (N, K) in nats of each number of a code from the unit Gaussian; None if the code is exact.

    KL(N(mu, s^2) || N(0, 1)) = (mu^2 + s^2 - 1)/2 - log s, of the marginal posterior of each number. Of a posterior
    with correlations the sum over dimensions is less than :func:`divergence`.

    Source: Kingma and Welling, arXiv 1312.6114, appendix B.

    Example:
        >>> group = CodeGroup(np.array([[0.0, 2.0]], np.float32), np.array([[1.0, 1.0]], np.float32))
        >>> divergences(group).tolist()
        [[0.0, 2.0]]
    """
    spread = deviations(group)
    if spread is None:
        return None
    found: F64 = (np.square(group.mean.astype(np.float64)) + np.square(spread) - 1) / 2 - np.log(spread)
    return found


def divergence(group: CodeGroup) -> F64 | None:
    """KL divergence (N,) in nats of the posterior of a group from the unit Gaussian; None if the code is exact.

    Example:
        >>> factor = np.array([[[1.0, 0.0], [0.6, 0.8]]], np.float32)  # unit variances, correlation 0.6
        >>> group = CodeGroup(np.zeros((1, 2), np.float32), factor)
        >>> float(divergence(group)[0].round(4)), bool(np.abs(divergences(group)).max() < 1e-6)
        (0.2231, True)
    """
    each, spread = divergences(group), deviations(group)
    if each is None or spread is None or group.scale is None:
        return None
    found: F64 = each.sum(axis=1)
    if group.scale.ndim == 3:
        # What correlations add: the logarithm of the determinant is less than that of independent numbers.
        diagonal = np.diagonal(group.scale, axis1=1, axis2=2).astype(np.float64)
        found = found + np.log(np.maximum(spread, 1e-30)).sum(axis=1) - np.log(diagonal).sum(axis=1)
    return found


def rank_correlations(codes: NDArray[np.floating], values: F64, given: F64 | None = None) -> F64:
    r"""Spearman's correlations (K, Q) of codes (N, K) with values (N, Q), NaN where one of both is constant.

    With a third quantity z ``given`` they are partial correlations of the ranks, what is left at a fixed z:

        (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2) (1 - r_yz^2)) .

    Args:
        codes, values: see above.
        given: values (N,), not constant.

    Source: Spearman, Am. J. Psychol. 15 (1904) 72.

    Example:
        >>> x = np.linspace(1.0, 2.0, 50)
        >>> rank_correlations(np.stack([np.exp(x), -x, 0 * x], axis=1), x[:, None] ** 3)[:, 0].tolist()
        [1.0, -1.0, nan]
    """
    x, y = _ranks(codes), _ranks(values)
    found: F64 = x.T @ y
    if given is not None:
        z = _ranks(given[:, None])
        to_x, to_y = x.T @ z, (y.T @ z).T
        left = (1 - np.square(to_x)) * (1 - np.square(to_y))
        found = np.divide(
            found - to_x * to_y, np.sqrt(np.maximum(left, 0)), out=np.full_like(found, np.nan), where=left > 1e-9
        )
    return np.clip(np.round(found, 9), -1, 1)


def _ranks(values: NDArray[np.floating]) -> F64:
    """Ranks of columns (N, K), centred and of unit length; NaN for a constant column."""
    from scipy.stats import rankdata

    ranks: F64 = rankdata(values, axis=0).astype(np.float64)
    ranks -= ranks.mean(axis=0)
    length = np.sqrt(np.square(ranks).sum(axis=0))
    found: F64 = np.divide(ranks, length, out=np.full_like(ranks, np.nan), where=length > 0)
    return found


def known(names: Sequence[str], values: F64) -> dict[str, float | None]:
    """Numbers by name for JSON, which has no NaN."""
    return {
        name: round(float(value), 6) if np.isfinite(value) else None for name, value in zip(names, values, strict=True)
    }


def strongest(correlations: Mapping[str, float | None]) -> tuple[str, float] | None:
    """The quantity with the largest absolute correlation, and that; None if there is none.

    Example:
        >>> strongest({"hits": 0.2, "lateral mean": -0.7, "theta": None})
        ('lateral mean', -0.7)
    """
    there = {name: value for name, value in correlations.items() if value is not None}
    name = max(there, key=lambda each: abs(there[each]), default=None)
    return None if name is None else (name, there[name])
