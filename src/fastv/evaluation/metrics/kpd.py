"""Kernel physics distance: the maximum mean discrepancy of two samples in the space of their features."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fastv.errors import TooFewShowersError
from fastv.evaluation.metrics.fpd import barely_filled, check_features, normalised, of_barely_filled
from fastv.evaluation.statistics.chance import Chance, judge_by_chance, shuffled_labels
from fastv.evaluation.statistics.measured import Measured
from fastv.evaluation.threads import each_in_threads

F64 = NDArray[np.float64]

CHALLENGE_BATCH = 10_000
"""Showers per batch in the CaloChallenge, whose samples have 100,000 showers."""
_BATCHES = 10
_SEED = 42
_SEED_STEP = 1000
_CENTRAL = (16.275, 83.725)
_TILE = 1024
"""Rows of a tile of the kernel, 8 MB, so that it stays in the processor's cache."""
_CHANCE_SHOWERS = 5000
_MIN_SHOWERS = 10


class Kpd(BaseModel):
    """Kernel physics distance of a generated sample from a reference.

    ``kpd`` is the median of the values ``batches``, with half of their central 67.45 % interval as error, as in the
    CaloChallenge; ``batch`` is the number of showers drawn with replacement for each. ``chance`` is the unbiased MMD^2
    of the samples themselves, without draws, compared with its values for shuffled labels. ``as_in_challenge`` is true
    if sizes and seed are those of the CaloChallenge; otherwise ``note`` states the sizes of both. Published tables
    quote the value x 1e3.
    """

    model_config = ConfigDict(frozen=True)

    kpd: Measured
    batches: tuple[float, ...]
    batch: int
    showers_reference: int
    showers_generated: int
    columns: int
    as_in_challenge: bool
    note: str | None
    chance: Chance | None


def kpd(
    reference: F64,
    generated: F64,
    *,
    batch: int | None = None,
    relabellings: int = 100,
    energies: tuple[F64, F64] | None = None,
    seed: int = _SEED,
    threads: int | None = None,
) -> Kpd:
    r"""Kernel physics distance of features.

    Every column of both samples is divided by its largest absolute value in the reference. For 10 batches of n showers
    of each sample, drawn with replacement, the unbiased estimate of MMD^2 with the kernel k(x, y) = (x.y/F + 1)^4 is

    .. math:: \frac{1}{n(n-1)} \sum_{i \ne j} [k(x_i, x_j) + k(y_i, y_j)] - \frac{2}{n^2} \sum_{ij} k(x_i, y_j)

    KPD is their median. Batch i is drawn by ``default_rng(seed + 1000 i)``, reference first, as in jetnet; the results
    agree with it to rounding. The kernel is computed once for each pair of showers, with the multiplicities of the
    draws as weights: for samples of 10,000 showers this is 15 times less work.

    A shower drawn twice in a batch counts as a pair of equal showers, which biases the value upwards by about
    2 <k(x, x) - k(x, x')>/N for samples of N: this is the floor of KPD, larger for smaller samples. The distance in
    ``chance`` does not have this bias.

    Args:
        reference: features (N, F) of full simulation, see :func:`fastv.evaluation.metrics.features.feature_matrix`.
        generated: features (M, F).
        batch: showers n per batch; by default 10,000, or the size of the smaller sample if that is less.
        relabellings: number of shuffled labellings for ``chance``; 0 omits it. For this, at most 5000 evenly spaced
            showers of each sample are used.
        energies: incident energies (N,) and (M,), to shuffle labels only among showers of similar energy, see
            :func:`fastv.evaluation.statistics.chance.shuffled_labels`.
        seed: seed of draws and labels.
        threads: number of threads, by default :func:`fastv.evaluation.threads.matrix_threads`.

    Raises:
        TooFewShowersError: a sample has fewer than 10 showers.
        NotMeasuredError: features are infinite or too large.

    Source: Kansal et al., Phys. Rev. D 107 (2023) 076017, arXiv:2211.10295; Gretton et al., JMLR 13 (2012) 723;
    arXiv:2410.21611 for the batches.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> result = kpd(rng.normal(0, 1, (300, 2)), rng.normal(1, 1, (300, 2)), relabellings=20)
        >>> bool(result.kpd.value > 5 * result.kpd.error), result.chance.p_value < 0.05
        (True, True)
    """
    n, m = len(reference), len(generated)
    if min(n, m) < _MIN_SHOWERS:
        msg = f"KPD needs at least {_MIN_SHOWERS} showers in each sample, got {n} and {m}"
        raise TooFewShowersError(msg)
    size = batch or min(CHALLENGE_BATCH, n, m)
    a, b = normalised(reference, generated)
    check_features("KPD", a, b)
    pool = np.concatenate([a, b])
    drawn = _drawn(n, m, size, seed)
    # Separate batches have fewer pairs than the pooled samples only if the samples are much larger than a batch.
    if (n + m) ** 2 <= _BATCHES * (2 * size) ** 2:
        values = _estimates(pool, drawn, size, threads, "KPD")
    else:
        values = []
        for i in range(0, len(drawn), 2):
            used = np.flatnonzero(drawn[i] + drawn[i + 1])
            values += _estimates(pool[used], drawn[i : i + 2, used], size, threads, f"KPD {i // 2 + 1}/{_BATCHES}")
    chance = None
    if relabellings:
        rows, others = _spaced(n), _spaced(m)
        near = None if energies is None else (energies[0][rows], energies[1][others])
        chance = _chance(a[rows], b[others], relabellings, near, seed, threads)
    low, high = np.percentile(values, _CENTRAL)
    barely = int(barely_filled(reference, generated).sum())
    as_in_challenge = size == CHALLENGE_BATCH and min(n, m) >= 100_000 and seed == _SEED and not barely
    note = f"{n} and {m} showers and batches of {size}; the CaloChallenge uses 100,000 and {CHALLENGE_BATCH}"
    return Kpd(
        kpd=Measured(value=float(np.median(values)), error=float(high - low) / 2),
        batches=tuple(values),
        batch=size,
        showers_reference=n,
        showers_generated=m,
        columns=reference.shape[1],
        as_in_challenge=as_in_challenge,
        note=None if as_in_challenge else note + of_barely_filled(barely),
        chance=chance,
    )


def unbiased_mmd(reference: F64, generated: F64, *, threads: int | None = None) -> float:
    """Unbiased estimate of MMD^2 with the kernel (x.y/F + 1)^4, without normalisation of the features.

    Args:
        reference: features (N, F), N >= 2.
        generated: features (M, F), M >= 2.
        threads: number of threads, by default :func:`fastv.evaluation.threads.matrix_threads`.

    Source: Gretton et al., JMLR 13 (2012) 723, eq. 3.

    Example:
        >>> unbiased_mmd(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]]))
        -7.5
    """
    n, m = len(reference), len(generated)
    pool = np.concatenate([reference, generated])
    labels = np.zeros((2, n + m))
    labels[0, :n], labels[1, n:] = 1, 1
    sums, diagonal = _kernel_sums(pool, labels, threads, "MMD")
    own = [(sums[i, i] - diagonal @ labels[i]) / (size * (size - 1)) for i, size in enumerate((n, m))]
    return float(own[0] + own[1] - 2 * sums[0, 1] / (n * m))


def _drawn(n: int, m: int, size: int, seed: int) -> F64:
    """Number of times each pooled shower is drawn (2 B, N + M), with two rows per batch: reference, then generated."""
    weights = np.zeros((2 * _BATCHES, n + m))
    for i in range(_BATCHES):
        rng = np.random.default_rng(seed + _SEED_STEP * i)
        weights[2 * i, :n] = np.bincount(rng.choice(n, size=size), minlength=n)
        weights[2 * i + 1, n:] = np.bincount(rng.choice(m, size=size), minlength=m)
    return weights


def _estimates(pool: F64, weights: F64, size: int, threads: int | None, label: str) -> list[float]:
    """MMD^2 of each batch, two rows of the multiplicities ``weights`` (2 B, P)."""
    sums, diagonal = _kernel_sums(pool, weights, threads, label)
    # A drawn shower forms no pair with itself, so k(x, x) is subtracted once per draw.
    own = (np.diagonal(sums) - weights @ diagonal) / (size * (size - 1))
    across = np.diagonal(sums, offset=1)[::2] / size**2
    return [float(x) for x in own[::2] + own[1::2] - 2 * across]


def _kernel_sums(pool: F64, weights: F64, threads: int | None, label: str) -> tuple[F64, F64]:
    """W K W^T (S, S) for weights W (S, P) and the kernel K (P, P) of the pool, tile by tile; and diag K (P,)."""
    n, columns = pool.shape
    # Scaling the columns by 1/sqrt(F) and appending one of ones makes x.y/F + 1 a single product.
    scaled = np.concatenate([pool / math.sqrt(columns), np.ones((n, 1))], axis=1)
    starts = range(0, n, _TILE)
    columns_first = np.ascontiguousarray(weights.T)
    sums = np.zeros((len(weights), len(weights)))

    def tile(corner: tuple[int, int]) -> F64:
        rows, others = (slice(start, start + _TILE) for start in corner)
        kernel = scaled[rows] @ scaled[others].T
        np.square(kernel, out=kernel)
        np.square(kernel, out=kernel)
        found: F64 = columns_first[rows].T @ (kernel @ columns_first[others])
        return found if corner[0] == corner[1] else found + found.T

    def tiles() -> Iterator[tuple[int, int]]:
        return ((i, j) for i in starts for j in starts if i <= j)

    def add(found: F64) -> None:
        nonlocal sums
        sums += found

    each_in_threads(tile, tiles(), add, threads=threads, total=math.comb(len(starts) + 1, 2), label=label)
    return sums, np.einsum("ij,ij->i", scaled, scaled) ** 4


def _spaced(n: int) -> NDArray[np.int64]:
    return np.linspace(0, n - 1, min(n, _CHANCE_SHOWERS)).astype(np.int64)


def _chance(
    a: F64, b: F64, relabellings: int, energies: tuple[F64, F64] | None, seed: int, threads: int | None
) -> Chance:
    n, m = len(a), len(b)
    labels = np.concatenate(
        [(np.arange(n + m) < n)[None], shuffled_labels(n, m, relabellings, energies=energies, seed=seed)]
    )
    # Sums over the second sample follow from those over the first and over all, the last row of ones.
    weights = np.concatenate([labels, np.ones((1, n + m))])
    sums, diagonal = _kernel_sums(np.concatenate([a, b]), weights, threads, "KPD, shuffled")
    first, with_all, everything = np.diagonal(sums)[:-1], sums[:-1, -1], sums[-1, -1]
    second = everything - 2 * with_all + first
    trace = labels @ diagonal
    values = (
        (first - trace) / (n * (n - 1))
        + (second - (diagonal.sum() - trace)) / (m * (m - 1))
        - 2 * (with_all - first) / (n * m)
    )
    return judge_by_chance(float(values[0]), values[1:], two_sided=False, within_energies=energies is not None)
