"""The intrinsic dimension of points from the distances of each to its two nearest neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

CENSORED = 0.1
"""Share of the points with the largest ratios, of which only that they are large is used, as in the source."""
GROUPS = 20
"""Groups of points of which the jackknife leaves out one at a time."""
NEAR = 10
"""Neighbours that are found, so that each point keeps two if a group is left out."""
SUBSETS = 4
"""Disjoint subsets of a size, at most, of which the mean is taken."""


class IntrinsicDimension(NamedTuple):
    """An estimate of an intrinsic dimension.

    Attributes:
        points: number of points.
        value, error: the dimension and its statistical error.
        distance: median distance of a point to its nearest neighbour, the scale on which the dimension is seen.
    """

    points: int
    value: float
    error: float
    distance: float


def distinct(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Rows (M,) of the points (N, D) that are not the same as an earlier one, increasing.

    Example:
        >>> distinct(np.array([[1, 2], [3, 4], [1, 2]], dtype=np.float32)).tolist()
        [0, 1]
    """
    first: dict[bytes, int] = {}
    for row, point in enumerate(points):
        first.setdefault(point.tobytes(), row)
    return np.array([*first.values()], dtype=np.int64)


def two_nearest(points: NDArray[np.float32]) -> IntrinsicDimension:
    r"""The two-NN estimate of the intrinsic dimension of distinct points.

    Where the density is constant over the distances r1 and r2 of a point to its two nearest neighbours, the ratio mu =
    r2 / r1 has the density d mu^(-d-1), whatever the density and the dimension D of the space. So ln mu is exponential
    with mean 1/d. Of the n points, the tenth with the largest ratios, for which the density is least constant, is
    censored; with the m smallest ratios the maximum of the likelihood is

        d = m / sum_i min(ln mu_i, ln mu_m)

    The ratios are not independent: pairs are each other's neighbours, and in many dimensions a few points are those of
    many. So the error is that of a jackknife in which one of 20 random groups of points is left out at a time; it is
    rather too large, for normal points 1.4 to 1.9 times their spread. In many dimensions points are too few for a
    constant density, and the estimate is too low, the more so the fewer: compare samples of as many points.

    Args:
        points: coordinates (N, D) of at least three points that all differ.

    Source: Facco et al., Sci. Rep. 7 (2017) 12140 (the ratio, and leaving out a tenth); Epstein and Sobel, J. Amer.
    Statist. Assoc. 48 (1953) 486 (the exponential censored);
    Efron and Stein, Ann. Statist. 9 (1981) 586 (the jackknife).

    Example:
        >>> plane = np.random.default_rng(1).normal(size=(2000, 2)).astype(np.float32)
        >>> found = two_nearest(np.concatenate([plane, plane**2], axis=1))
        >>> abs(found.value - 2) < 3 * found.error
        True
    """
    from sklearn.neighbors import NearestNeighbors

    # Differences of close points keep their digits if the coordinates are those from the middle.
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    method = "brute" if points.shape[1] > 15 else "auto"
    n = len(centred)
    near = NearestNeighbors(n_neighbors=min(NEAR, n - 1), algorithm=method).fit(centred)
    distances, rows = near.kneighbors()
    group = np.random.default_rng(0).permutation(n) % GROUPS
    others = [_dimension(distances[group != out], group[rows[group != out]] != out) for out in range(GROUPS)]
    error = np.sqrt((GROUPS - 1) * np.var(others))
    value = _dimension(distances, np.ones_like(rows, dtype=bool))
    return IntrinsicDimension(n, value, float(error), float(np.median(distances[:, 0])))


def _dimension(distances: F64, there: NDArray[np.bool_]) -> float:
    """The estimate from distances (N, K) of points to their nearest others, of which not all are there."""
    first, second = (np.take_along_axis(distances, place, 1) for place in _first_two(there))
    logs = np.sort(np.log(second / first)[:, 0])
    kept = len(logs) - int(CENSORED * len(logs))
    return float(kept / np.minimum(logs, logs[kept - 1]).sum())


def _first_two(there: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The columns (N, 1) of the first and second True of each row; there are at least two, but for one case in 1e8."""
    order = np.argsort(~there, axis=1, kind="stable")
    return [order[:, :1], order[:, 1:2]]


def at_scales(points: NDArray[np.float32], least: int) -> list[IntrinsicDimension]:
    """Dimensions of all points, and means over disjoint random subsets of a half, a quarter, ... of them.

    Fewer points are further apart, so smaller subsets see the shape on a larger scale.

    Args:
        points: coordinates (N, D) of points that all differ.
        least: points of the smallest subsets.

    Example:
        >>> points = np.random.default_rng(1).normal(size=(400, 3)).astype(np.float32)
        >>> [each.points for each in at_scales(points, 100)]
        [400, 200, 100]
    """
    order = np.random.default_rng(0).permutation(len(points))
    found = [two_nearest(points)]
    parts = 2
    while (size := len(points) // parts) >= least:
        some = [two_nearest(points[order[i * size : (i + 1) * size]]) for i in range(min(parts, SUBSETS))]
        value, error, distance = (
            float(np.mean([getattr(each, name) for each in some])) for name in IntrinsicDimension._fields[1:]
        )
        found.append(IntrinsicDimension(size, value, error / len(some) ** 0.5, distance))
        parts *= 2
    return found
