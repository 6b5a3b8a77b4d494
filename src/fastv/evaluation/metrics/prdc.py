"""Precision, recall, density and coverage, from nearest neighbours within and between two samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fastv.errors import TooFewShowersError
from fastv.evaluation.statistics.chance import Chance, judge_by_chance, shuffled_labels
from fastv.evaluation.statistics.measured import Measured, mean
from fastv.evaluation.threads import each_in_threads
from fastv.progress import Bar

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

CHALLENGE_NEIGHBOURS = 5
_SEED = 42
_TILE = 1024
_PAIRS = 256
_SPARE = 4
_ROUNDING = 4e-8
"""Relative tolerance of a squared distance per sqrt(voxels), ten times the rounding observed in single precision."""


class Prdc(BaseModel):
    """Precision, recall, density and coverage of a generated sample.

    The ball of a shower extends to its k-th nearest neighbour in its own sample, k = ``neighbours``. ``precision`` is
    the fraction of generated showers inside the ball of any reference shower, ``recall`` the fraction of reference
    showers inside the ball of any generated one, ``density`` the mean number of reference balls that contain a
    generated shower, over k, and ``coverage`` the fraction of reference balls that contain a generated shower. Errors
    are those of a mean over showers with fixed balls.

    Precision, recall and coverage are not 1 for equal distributions, and precision and recall depend strongly on the
    numbers of showers. Compare each with its value for shuffled labels, ``chance`` by name, or with a floor of the same
    sizes.
    """

    model_config = ConfigDict(frozen=True)

    precision: Measured
    recall: Measured
    density: Measured
    coverage: Measured
    neighbours: int
    showers_reference: int
    showers_generated: int
    chance: dict[str, Chance] | None


_NAMES = ("precision", "recall", "density", "coverage")


def prdc(
    reference: F32,
    generated: F32,
    *,
    neighbours: int = CHALLENGE_NEIGHBOURS,
    relabellings: int = 100,
    energies: tuple[F64, F64] | None = None,
    seed: int = _SEED,
    threads: int | None = None,
) -> Prdc:
    r"""Precision, recall, density and coverage with Euclidean distances.

    With B(x_i) the open ball around a shower up to its k-th nearest neighbour in its own sample,

    .. math::
        \text{precision} = \frac1M \sum_j 1[y_j \in \bigcup_i B(x_i)], \quad
        \text{recall} = \frac1N \sum_i 1[x_i \in \bigcup_j B(y_j)]

        \text{density} = \frac1{kM} \sum_j \sum_i 1[y_j \in B(x_i)], \quad
        \text{coverage} = \frac1N \sum_i 1[\exists j: y_j \in B(x_i)]

    All four, and their values for shuffled labels, follow from the nearest neighbours of every shower in both samples.
    Distances are computed tile by tile from matrix products in single precision, and again in double precision wherever
    rounding could change a decision, so the result is that of double precision. The full matrix of distances is never
    stored: besides the samples, memory is about 200 bytes per shower and 60 MB per thread.

    Args:
        reference: logarithms of the voxel energies (N, V), see :func:`fastv.evaluation.metrics.voxels.log_voxels`.
        generated: the same (M, V).
        neighbours: k, 5 in the CaloChallenge.
        relabellings: number of shuffled labellings for ``chance``; 0 omits it.
        energies: incident energies (N,) and (M,), to shuffle labels only among showers of similar energy, see
            :func:`fastv.evaluation.statistics.chance.shuffled_labels`.
        seed: seed of the labels.
        threads: number of threads, by default :func:`fastv.evaluation.threads.matrix_threads`.

    Raises:
        TooFewShowersError: a sample has at most 2 k showers.

    Source: Kynkäänniemi et al., arXiv:1904.06991 (precision, recall); Naeem et al., arXiv:2002.09797 (density,
    coverage); arXiv:2410.21611 for k and the voxels.

    Example:
        >>> x = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
        >>> far = prdc(x, x + 100, relabellings=0)
        >>> far.precision.value, far.coverage.value
        (0.0, 0.0)
    """
    n, m, k = len(reference), len(generated), neighbours
    if min(n, m) <= 2 * k:
        msg = f"precision and recall with {k} neighbours need more than {2 * k} showers in each sample, got {n} and {m}"
        raise TooFewShowersError(msg)
    pool = _Pool(reference, generated)
    lists = _Nearest(n + m, _list_length(n, m, k) if relabellings else k + _SPARE)
    total = math.comb(len(pool.tiles) + 1, 2)
    with Bar(total=total, desc="precision and recall", leave=False) as bar:
        _fill_own(pool, lists, threads, bar)
        radii = _exact_radii(pool, lists, k, threads)
        times_held, holds = _hold(pool, lists if relabellings else None, radii, threads, bar)
    found = _values(times_held[n:], times_held[:n] > 0, holds[:n], k)
    chance = None
    if relabellings:
        nearest = lists.sorted()
        shuffled = shuffled_labels(n, m, relabellings, energies=energies, seed=seed)
        values = np.array([[x.value for x in _relabelled(nearest, labels, k)] for labels in shuffled])
        chance = {
            name: judge_by_chance(value.value, values[:, i], two_sided=True, within_energies=energies is not None)
            for i, (name, value) in enumerate(zip(_NAMES, found, strict=True))
        }
    return Prdc(
        **dict(zip(_NAMES, found, strict=True)),
        neighbours=k,
        showers_reference=n,
        showers_generated=m,
        chance=chance,
    )


def _values(
    times_held: I64, recalled: NDArray[np.bool_], holds: NDArray[np.bool_], k: int
) -> tuple[Measured, Measured, Measured, Measured]:
    """The four values, given the number of reference balls that contain each generated shower (M,), and for each
    reference shower (N,) whether a generated ball contains it and whether its ball contains a generated shower."""
    precision, recall, density, coverage = (
        mean(values.astype(np.float64)) for values in (times_held > 0, recalled, times_held / k, holds)
    )
    return precision, recall, density, coverage


def _relabelled(nearest: I32, labels: NDArray[np.bool_], k: int) -> tuple[Measured, Measured, Measured, Measured]:
    """The four values for shuffled labels (P,), from the nearest neighbours (P, L) of every pooled shower."""
    own = labels[nearest] == labels[:, None]
    inside = ~own & (own.cumsum(axis=1) < k)
    around_reference = inside[labels]
    times_held = np.bincount(nearest[labels][around_reference], minlength=len(labels))[~labels]
    recalled = np.zeros(len(labels), dtype=np.bool_)
    recalled[nearest[~labels][inside[~labels]]] = True
    return _values(times_held, recalled[labels], around_reference.any(axis=1), k)


def _list_length(n: int, m: int, k: int) -> int:
    """Length of the neighbour lists, such that with shuffled labels k neighbours almost always share the label."""
    share = min(n, m) / (n + m)
    return min(n + m - 1, math.ceil((k + 4 * math.sqrt(k) + 4) / share))


class _Pool:
    """Both samples pooled without copying them, reference first, and squared distances between their showers."""

    def __init__(self, reference: F32, generated: F32) -> None:
        self._parts = (reference, generated)
        self.n, self.total = len(reference), len(reference) + len(generated)
        self.samples = [
            [slice(start, min(start + _TILE, stop)) for start in range(first, stop, _TILE)]
            for first, stop in ((0, self.n), (self.n, self.total))
        ]
        self.tiles = [tile for sample in self.samples for tile in sample]
        # Centring reduces the rounding errors of single precision.
        sums = sum((part.sum(axis=0, dtype=np.float64) for part in self._parts), np.zeros(reference.shape[1]))
        self._middle = (sums / self.total).astype(np.float32)
        self.squares = np.empty(self.total, dtype=np.float32)
        for tile in self.tiles:
            rows = self._centred(tile)
            self.squares[tile] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        self._rounding = _ROUNDING * math.sqrt(reference.shape[1])

    def _centred(self, rows: slice) -> F32:
        part, offset = (self._parts[0], 0) if rows.start < self.n else (self._parts[1], self.n)
        centred: F32 = part[rows.start - offset : rows.stop - offset] - self._middle
        return centred

    def rough(self, rows: slice, others: slice) -> F32:
        """Squared distances (r, o) of two tiles, in single precision."""
        distances = self._centred(rows) @ self._centred(others).T
        distances *= -2
        distances += self.squares[rows, None]
        distances += self.squares[others]
        return distances

    def tolerance(self, rows: slice | I64, others: slice | I64) -> F32:
        """Largest error (r,) of :meth:`rough` for each of the rows."""
        largest: np.float32 = self.squares[others].max()
        return np.float32(self._rounding) * (self.squares[rows] + largest)

    def exact(self, rows: I64, others: I64) -> F64:
        """Squared distances (n,) of pairs of rows, in double precision."""
        result = np.empty(len(rows))
        for start in range(0, len(rows), _PAIRS):
            piece = slice(start, start + _PAIRS)
            difference = self._gather(rows[piece]) - self._gather(others[piece])
            result[piece] = np.einsum("ij,ij->i", difference, difference)
        return result

    def _gather(self, rows: I64) -> F64:
        reference, generated = self._parts
        result = np.empty((len(rows), reference.shape[1]))
        first = rows < self.n
        result[first], result[~first] = reference[rows[first]], generated[rows[~first] - self.n]
        return result


class _Nearest:
    """The nearest neighbours of every shower found so far."""

    def __init__(self, total: int, length: int) -> None:
        self.length = length
        self.squared = np.full((total, length), np.inf, dtype=np.float32)
        self.index = np.zeros((total, length), dtype=np.int32)

    def nearest_in(self, distances: F32, others: slice) -> tuple[F32, I32]:
        """The nearest (r, L or fewer) in a tile (r, o)."""
        if distances.shape[1] <= self.length:
            index = np.broadcast_to(np.arange(distances.shape[1]), distances.shape)
        else:
            index = np.argpartition(distances, self.length - 1, axis=1)[:, : self.length]
        return np.take_along_axis(distances, index, axis=1), (index + others.start).astype(np.int32)

    def merge(self, rows: slice, squared: F32, index: I32) -> None:
        """Keep the nearest of the known and the given neighbours."""
        all_squared = np.concatenate([self.squared[rows], squared], axis=1)
        all_index = np.concatenate([self.index[rows], index], axis=1)
        keep = np.argpartition(all_squared, self.length - 1, axis=1)[:, : self.length]
        self.squared[rows] = np.take_along_axis(all_squared, keep, axis=1)
        self.index[rows] = np.take_along_axis(all_index, keep, axis=1)

    def sorted(self) -> I32:
        """Neighbours (P, L), nearest first."""
        return np.take_along_axis(self.index, np.argsort(self.squared, axis=1), axis=1)


_Found = list[tuple[slice, F32, I32]]


def _found(lists: _Nearest, rows: slice, others: slice, distances: F32) -> _Found:
    found = [(rows, *lists.nearest_in(distances, others))]
    if rows != others:
        found.append((others, *lists.nearest_in(np.ascontiguousarray(distances.T), rows)))
    return found


def _fill_own(pool: _Pool, lists: _Nearest, threads: int | None, bar: Bar) -> None:
    """Find the nearest neighbours of every shower in its own sample."""

    def work(pair: tuple[slice, slice]) -> _Found:
        rows, others = pair
        distances = pool.rough(rows, others)
        if rows == others:
            np.fill_diagonal(distances, np.inf)
        return _found(lists, rows, others, distances)

    def collect(found: _Found) -> None:
        for part in found:
            lists.merge(*part)
        bar.update()

    pairs = ((a, b) for tiles in pool.samples for a in tiles for b in tiles if a.start <= b.start)
    each_in_threads(work, pairs, collect, threads=threads)


def _exact_radii(pool: _Pool, lists: _Nearest, k: int, threads: int | None) -> F64:
    """Squared distance (P,) of every shower to its k-th nearest neighbour in its own sample."""
    radii = np.empty(pool.total)

    def work(tile: slice) -> tuple[slice, F64]:
        rows = np.arange(tile.start, tile.stop)
        order = np.argsort(lists.squared[tile], axis=1)
        rough = np.take_along_axis(lists.squared[tile], order, axis=1)
        index = np.take_along_axis(lists.index[tile], order, axis=1)
        # Only neighbours that rounding may have put on the wrong side of the k-th are computed exactly.
        margin = 2 * pool.tolerance(tile, index.astype(np.int64))
        close = np.abs(rough - rough[:, k - 1, None]) <= margin[:, None]
        squared = rough.astype(np.float64)
        which, _ = np.nonzero(close)
        squared[close] = pool.exact(rows[which], index[close].astype(np.int64))
        return tile, np.partition(squared, k - 1, axis=1)[:, k - 1]

    def collect(found: tuple[slice, F64]) -> None:
        radii[found[0]] = found[1]

    each_in_threads(work, pool.tiles, collect, threads=threads)
    return radii


@dataclass(frozen=True)
class _Balls:
    """The balls around one tile of showers, and the showers that they contain of a tile of the other sample."""

    centres: slice
    others: slice
    times_held: I64
    """Number of the balls that contain each of the others."""
    holds: NDArray[np.bool_]
    """Whether each of the balls contains any of the others."""


def _hold(
    pool: _Pool, lists: _Nearest | None, radii: F64, threads: int | None, bar: Bar
) -> tuple[I64, NDArray[np.bool_]]:
    """Number of balls of the other sample that contain each shower (P,), and whether its own ball contains any (P,).

    Also adds neighbours from the other sample to the lists.
    """
    times_held = np.zeros(pool.total, dtype=np.int64)
    holds = np.zeros(pool.total, dtype=np.bool_)

    def balls(centres: slice, others: slice, distances: F32) -> _Balls:
        limits = radii[centres, None]
        within = distances < limits
        centre, other = np.nonzero(np.abs(distances - limits) <= pool.tolerance(centres, others)[:, None])
        rows = centre + centres.start
        within[centre, other] = pool.exact(rows, other + others.start) < radii[rows]
        return _Balls(centres, others, within.sum(axis=0, dtype=np.int64), np.asarray(within.any(axis=1)))

    def work(pair: tuple[slice, slice]) -> tuple[list[_Balls], _Found]:
        rows, others = pair
        distances = pool.rough(rows, others)
        both = [balls(rows, others, distances), balls(others, rows, distances.T)]
        return both, [] if lists is None else _found(lists, rows, others, distances)

    def collect(result: tuple[list[_Balls], _Found]) -> None:
        for each in result[0]:
            times_held[each.others] += each.times_held
            holds[each.centres] |= each.holds
        if lists is not None:
            for part in result[1]:
                lists.merge(*part)
        bar.update()

    each_in_threads(work, ((a, b) for a in pool.samples[0] for b in pool.samples[1]), collect, threads=threads)
    return times_held, holds
