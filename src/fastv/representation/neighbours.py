"""The intrinsic dimension of points from the distances of each to its two nearest neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

CENSORED = 0.1
"""Share of the points with the largest ratios, of which only that they are large is used, as in the source."""
SUBSETS = 4
"""Disjoint subsets of a size, at most, of which the mean is taken."""


class Dimension(NamedTuple):
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


def two_nearest(points: NDArray[np.float32]) -> Dimension:
    r"""The two-NN estimate of the intrinsic dimension of distinct points.

    Where the density is constant over the distances r1 and r2 of a point to its two nearest neighbours, the ratio mu =
    r2 / r1 has the density d mu^(-d-1), whatever the density and the dimension D of the space. So ln mu is exponential
    with mean 1/d. Of the n points, the tenth with the largest ratios, for which the density is least constant, is
    censored; with the m smallest ratios the maximum of the likelihood is

        d = m / sum_i min(ln mu_i, ln mu_m)

    The ratios of neighbours are not independent. With s_i = [i <= m] - d min(ln mu_i, ln mu_m), the error is

        d / m (sum_i s_i^2 + 2 sum_{i j} s_i s_j)^(1/2)

    where the second sum is over the pairs of which one is the other's nearest neighbour. In many dimensions points are
    too few for a constant density, and the estimate is too low, the more so the fewer: compare samples of as many.

    Args:
        points: coordinates (N, D) of at least three points that all differ.

    Source: Facco et al., Sci. Rep. 7 (2017) 12140 (the ratio, and leaving out a tenth); Epstein and Sobel, J. Amer.
    Statist. Assoc. 48 (1953) 486 (the exponential censored).

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
    distances, nearest = NearestNeighbors(n_neighbors=2, algorithm=method).fit(centred).kneighbors()
    logs = np.log(distances[:, 1] / distances[:, 0])
    n = len(logs)
    limit = np.sort(logs)[n - int(CENSORED * n) - 1]
    kept, used = logs <= limit, np.minimum(logs, limit)
    value = kept.sum() / used.sum()
    scores = kept - value * used
    # Each pair of neighbours once: in some the second is the first one's nearest, and the first the second's.
    pairs = np.unique(np.sort(np.stack([np.arange(n), nearest[:, 0]], axis=1), axis=1), axis=0)
    together = 2 * (scores[pairs[:, 0]] * scores[pairs[:, 1]]).sum()
    error = value / kept.sum() * np.sqrt((scores**2).sum() + max(together, 0.0))
    return Dimension(n, float(value), float(error), float(np.median(distances[:, 0])))


def at_scales(points: NDArray[np.float32], least: int) -> list[Dimension]:
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
        value, error, distance = (float(np.mean([getattr(each, name) for each in some])) for name in Dimension._fields[1:])
        found.append(Dimension(size, value, error / len(some) ** 0.5, distance))
        parts *= 2
    return found
