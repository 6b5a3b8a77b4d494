"""Fréchet physics distance: the distance of two samples, approximated by Gaussians in the space of their features."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.optimize import OptimizeWarning, curve_fit, nnls

from fastv.errors import NotMeasuredError, TooFewShowersError
from fastv.evaluation.statistics.chance import Chance, judge_by_chance, shuffled_labels
from fastv.evaluation.statistics.measured import Measured
from fastv.evaluation.threads import each_in_threads

F64 = NDArray[np.float64]

CHALLENGE_SIZES = (10_000, 50_000)
"""Smallest and largest number of showers per draw in the CaloChallenge, whose samples have 100,000 showers."""
_POINTS = 10
_DRAWS = 20
_SEED = 42
_SHARE_OF_SAMPLE = (10, 2)
"""The CaloChallenge's sizes are 1/10 and 1/2 of its samples; smaller samples use the same fractions."""
_SHOWERS_PER_COLUMN = 3
"""With much smaller draws, covariances are nearly singular and the distance is no longer linear in 1/N."""
_WELL_CONDITIONED = 1e-6
_CHANCE_SHOWERS = 20_000
_LARGEST = 1e30
_CONVERGED = 1e-3
"""A fit has converged if its sum of squares exceeds that of the exact solution by less than this fraction."""
_BARELY_FILLED = 0.1
"""A column whose largest value in the reference is below this fraction of the generated one is hardly filled there."""


class Fpd(BaseModel):
    """Fréchet physics distance of a generated sample from a reference.

    ``fpd`` is the intercept a of the fit a + ``slope``/N to the mean distances ``means`` of draws of ``sizes`` showers,
    with the error of the fit. That error does not include how the value varies between samples; for that, see
    ``chance``, the distance of the whole samples compared with its values for shuffled labels. ``as_in_challenge`` is
    true if sizes, draws and seed are those of the CaloChallenge; otherwise ``note`` states the sizes of both. Published
    tables quote the value x 1e3.
    """

    model_config = ConfigDict(frozen=True)

    fpd: Measured
    slope: float
    sizes: tuple[int, ...]
    means: tuple[float, ...]
    draws: int
    showers_reference: int
    showers_generated: int
    columns: int
    as_in_challenge: bool
    note: str | None
    chance: Chance | None


def normalised(reference: F64, generated: F64) -> tuple[F64, F64]:
    """Both samples (N, F) and (M, F), every column divided by its largest absolute value in the reference.

    A column that is zero throughout the reference is not changed. One that the reference hardly fills
    (:func:`barely_filled`) is divided by a tenth of its largest absolute value in the generated sample instead: one or
    two showers would otherwise set the scale of everything.

    Source: arXiv:2211.10295 and its implementation, jetnet, which has no such exception; it does not concern samples
    of like distributions.

    Example:
        >>> a, b = normalised(np.array([[-4.0, 0.0]]), np.array([[2.0, 3.0]]))
        >>> a.tolist(), b.tolist()
        ([[-1.0, 0.0]], [[0.5, 3.0]])
    """
    scale = np.abs(reference).max(axis=0)
    scale = np.where(barely_filled(reference, generated), _BARELY_FILLED * np.abs(generated).max(axis=0), scale)
    scale[scale == 0] = 1
    return reference / scale, generated / scale


def barely_filled(reference: F64, generated: F64) -> NDArray[np.bool_]:
    """Columns (F,) whose largest absolute value in the reference is above 0 and below a tenth of the generated one.

    Example:
        >>> barely_filled(np.array([[1.0, 1e-3, 0.0]]), np.array([[2.0, 1.0, 1.0]]))
        array([False,  True, False])
    """
    filled = np.abs(reference).max(axis=0)
    barely: NDArray[np.bool_] = (filled > 0) & (filled < _BARELY_FILLED * np.abs(generated).max(axis=0))
    return barely


def check_features(name: str, *samples: F64) -> None:
    """Check that normalised features are numbers of which double precision holds the eighth power.

    Args:
        name: name of the metric, for the message.
        samples: features (n, F) each.

    Raises:
        NotMeasuredError: one is NaN, infinite or above 1e30.
    """
    # Comparisons with NaN are false.
    if not all(bool((np.abs(sample) < _LARGEST).all()) for sample in samples):
        msg = (
            f"{name} is not a number: a feature is NaN, infinite, or more than {_LARGEST:g} times that of the reference"
        )
        raise NotMeasuredError(msg)


def frechet_distance(mean_a: F64, covariance_a: F64, mean_b: F64, covariance_b: F64) -> float:
    r"""Squared Fréchet (2-Wasserstein) distance of two Gaussians.

    d^2 = |m_a - m_b|^2 + tr(C_a) + tr(C_b) - 2 tr (C_a C_b)^{1/2}. With C = L L^T for both, the eigenvalues of C_a C_b
    are the squared singular values of L_a^T L_b, so the last trace is the sum of these singular values. This avoids the
    square root of a non-symmetric matrix and works for singular covariances.

    Args:
        mean_a, mean_b: means (F,).
        covariance_a, covariance_b: covariances (F, F), symmetric and positive semidefinite.

    Source: Dowson and Landau, J. Multivar. Anal. 12 (1982) 450.

    Example:
        >>> unit = np.eye(2)
        >>> frechet_distance(np.zeros(2), unit, np.array([3.0, 0.0]), 4 * unit)
        11.0
    """
    difference = mean_a - mean_b
    (a, well_a), (b, well_b) = _factor(covariance_a), _factor(covariance_b)
    product = a.T @ b
    if well_a and well_b:
        # Three times faster than singular values, and as accurate if none of them is tiny.
        values = scipy.linalg.eigvalsh(product @ product.T, driver="evr", overwrite_a=True, check_finite=False)
        root = np.sqrt(np.maximum(values, 0)).sum()
    else:
        root = np.linalg.svd(product, compute_uv=False).sum()
    return float(difference @ difference + np.trace(covariance_a) + np.trace(covariance_b) - 2 * root)


def _factor(covariance: F64) -> tuple[F64, bool]:
    """L with C = L L^T, and whether C is well conditioned."""
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        root: F64 = vectors * np.sqrt(np.maximum(values, 0))
        return root, False
    diagonal = np.diagonal(factor)
    return np.asarray(factor, dtype=np.float64), bool(diagonal.min() > _WELL_CONDITIONED * diagonal.max())


def challenge_like_sizes(showers: int, columns: int) -> tuple[int, int]:
    """Smallest and largest number of showers per draw, given the size of the smaller sample.

    10,000 and 50,000 for the 100,000 showers of the CaloChallenge; for smaller samples 1/10 and 1/2 of the sample, but
    at least 3 and 15 times the number of columns. Draws are with replacement, so they may be larger than the sample.

    Args:
        showers: size of the smaller sample.
        columns: number of features.

    Example:
        >>> challenge_like_sizes(100_000, 362), challenge_like_sizes(20_000, 362), challenge_like_sizes(1000, 362)
        ((10000, 50000), (2000, 10000), (1086, 5430))
    """
    small, large = CHALLENGE_SIZES
    share_small, share_large = _SHARE_OF_SAMPLE
    smallest = min(small, max(showers // share_small, _SHOWERS_PER_COLUMN * columns))
    return smallest, min(large, smallest * share_small // share_large)


def fpd(
    reference: F64,
    generated: F64,
    *,
    sizes: tuple[int, int] | None = None,
    draws: int = _DRAWS,
    relabellings: int = 50,
    energies: tuple[F64, F64] | None = None,
    seed: int = _SEED,
    threads: int | None = None,
) -> Fpd:
    """Fréchet physics distance of features.

    Every column of both samples is divided by its largest absolute value in the reference. For 10 sizes n, uniform in
    1/n, ``draws`` draws of n showers with replacement are made from each sample, and the Fréchet distance between
    Gaussians with their means and covariances is computed. The fit a + b/n with a, b >= 0 to the 10 means gives
    FPD = a and its error.

    Draws come from ``default_rng(seed)``, reference first, as in jetnet; the results agree with it to rounding. The
    draws enter as weights of the showers, so that a shower drawn several times is processed once.

    FPD is biased upwards by an amount proportional to the inverse size of the *samples*: the extrapolation removes only
    the bias of the draws. Compare it with a floor of the same sizes, or use ``chance``.

    Args:
        reference: features (N, F) of full simulation, see :func:`fastv.evaluation.metrics.features.feature_matrix`.
        generated: features (M, F).
        sizes: smallest and largest number of showers per draw; by default :func:`challenge_like_sizes`.
        draws: number of draws of each size, 20 in the CaloChallenge. With 10, the value changes by less than between
            two ways to divide a sample of full simulation.
        relabellings: number of shuffled labellings for ``chance``; 0 omits it. For this, at most 20,000 evenly spaced
            showers of each sample are used.
        energies: incident energies (N,) and (M,), to shuffle labels only among showers of similar energy, see
            :func:`fastv.evaluation.statistics.chance.shuffled_labels`.
        seed: seed of draws and labels.
        threads: number of threads, by default :func:`fastv.evaluation.threads.matrix_threads`.

    Raises:
        TooFewShowersError: a sample has at most two showers per column.
        NotMeasuredError: features are infinite or too large.

    Source: Kansal et al., Phys. Rev. D 107 (2023) 076017, arXiv:2211.10295; arXiv:2410.21611 for the sizes.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> result = fpd(rng.normal(0, 1, (500, 2)), rng.normal(1, 1, (500, 2)), relabellings=20)
        >>> bool(result.fpd.value > 5 * result.fpd.error), result.chance.p_value < 0.05
        (True, True)
    """
    n, m, columns = len(reference), len(generated), reference.shape[1]
    if min(n, m) <= 2 * columns:
        msg = f"FPD of {columns} columns needs more than {2 * columns} showers in each sample, got {n} and {m}"
        raise TooFewShowersError(msg)
    small, large = sizes or challenge_like_sizes(min(n, m), columns)
    # Truncated rather than rounded, as in jetnet.
    batches = (1 / np.linspace(1 / small, 1 / large, _POINTS)).astype(np.int32)
    a, b = normalised(reference, generated)
    check_features("FPD", a, b)
    # Centring avoids cancellation in the covariances and does not change distances.
    middle = a.mean(axis=0)
    a, b = a - middle, b - middle
    distances: list[float] = []
    each_in_threads(
        lambda weights: _weighted_distance(a, b, *weights),
        _drawn(n, m, batches, draws, seed),
        distances.append,
        threads=threads,
        total=_POINTS * draws,
        label="FPD",
    )
    means = np.asarray(distances).reshape(_POINTS, draws).mean(axis=1)
    found, slope = _extrapolated(batches, means)
    chance = None
    if relabellings:
        rows = _spaced(n), _spaced(m)
        near = None if energies is None else (energies[0][rows[0]], energies[1][rows[1]])
        chance = _chance(a[rows[0]], b[rows[1]], relabellings, near, seed, threads)
    barely = int(barely_filled(reference, generated).sum())
    as_in_challenge = (small, large, draws, seed) == (*CHALLENGE_SIZES, _DRAWS, _SEED) and min(n, m) >= 100_000
    as_in_challenge = as_in_challenge and not barely
    return Fpd(
        fpd=found,
        slope=slope,
        sizes=tuple(batches.tolist()),
        means=tuple(means.tolist()),
        draws=draws,
        showers_reference=n,
        showers_generated=m,
        columns=columns,
        as_in_challenge=as_in_challenge,
        note=None if as_in_challenge else _note(n, m, small, large) + of_barely_filled(barely),
        chance=chance,
    )


def _note(n: int, m: int, small: int, large: int) -> str:
    return (
        f"{n} and {m} showers and draws of {small} to {large}; the CaloChallenge uses 100,000 showers and draws of "
        f"{CHALLENGE_SIZES[0]} to {CHALLENGE_SIZES[1]}, so value and floor are larger here than published ones"
    )


def of_barely_filled(columns: int) -> str:
    """What a note says of the columns of :func:`barely_filled`; nothing if there are none."""
    return f"; {columns} columns that the reference hardly fills are scaled by the generated sample" if columns else ""


def _extrapolated(batches: NDArray[np.int32], means: F64) -> tuple[Measured, float]:
    """Intercept with its error, and slope, of the least-squares line a + b/n with a, b >= 0.

    By jetnet's iterative fit. It starts at a = b = 1 and does not get away from there if distances are far above or
    below 1; then by the exact solution.
    """
    terms = np.stack([np.ones(len(batches)), 1 / batches], axis=1)
    # Columns of one size: the squares of 1/n are lost beside 1.
    size = terms.max(axis=0)
    unit = float(means.max()) or 1.0
    scaled = terms / size
    solution, distance = nnls(scaled, means / unit)
    exact = solution / size * unit
    variance = distance**2 / (len(batches) - 2) * np.linalg.inv(scaled.T @ scaled)[0, 0] * unit**2
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)
            fitted, covariance = curve_fit(_line, 1 / batches, means, bounds=([0, 0], [np.inf, np.inf]))
    except (RuntimeError, ValueError):
        fitted, covariance = np.full(2, np.inf), np.full((2, 2), np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        excess = float(((terms @ (fitted - exact) / unit) ** 2).sum())
    if np.isfinite(covariance[0, 0]) and excess <= _CONVERGED * distance**2:
        exact, variance = fitted, covariance[0, 0]
    return Measured(value=float(exact[0]), error=math.sqrt(max(0.0, variance))), float(exact[1])


def _line(x: F64, intercept: float, slope: float) -> F64:
    return intercept + slope * x


def _drawn(
    n: int, m: int, batches: NDArray[np.int32], draws: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """Number of times each shower is drawn, (N,) and (M,), for every size and draw."""
    rng = np.random.default_rng(seed)
    for size in batches:
        for _ in range(draws):
            first = np.bincount(rng.choice(n, size=size), minlength=n)
            yield first, np.bincount(rng.choice(m, size=size), minlength=m)


def _weighted_distance(a: F64, b: F64, weights_a: NDArray[np.int64], weights_b: NDArray[np.int64]) -> float:
    return frechet_distance(*_gaussian(a, weights_a), *_gaussian(b, weights_b))


def _gaussian(x: F64, weights: NDArray[np.int64]) -> tuple[F64, F64]:
    """Mean (F,) and covariance (F, F) of rows with multiplicities ``weights`` (N,)."""
    drawn = np.flatnonzero(weights)
    times = weights[drawn]
    rows = x[drawn]
    mean = times @ rows / times.sum()
    rows *= np.sqrt(times)[:, None]
    return mean, _covariance(rows.T @ rows, mean, int(times.sum()))


def _covariance(squares: F64, mean: F64, n: int) -> F64:
    return (squares - n * np.outer(mean, mean)) / (n - 1)


def _spaced(n: int) -> NDArray[np.int64]:
    return np.linspace(0, n - 1, min(n, _CHANCE_SHOWERS)).astype(np.int64)


def _chance(
    a: F64, b: F64, relabellings: int, energies: tuple[F64, F64] | None, seed: int, threads: int | None
) -> Chance:
    n, m = len(a), len(b)
    pool = np.concatenate([a, b])
    sums, squares = pool.sum(axis=0), pool.T @ pool

    def distance(labels: NDArray[np.bool_]) -> float:
        rows = pool[labels]
        first, first_squares = rows.sum(axis=0), rows.T @ rows
        mean, other = first / n, (sums - first) / m
        return frechet_distance(
            mean, _covariance(first_squares, mean, n), other, _covariance(squares - first_squares, other, m)
        )

    labels = shuffled_labels(n, m, relabellings, energies=energies, seed=seed)
    values: list[float] = []
    each_in_threads(distance, labels, values.append, threads=threads, total=relabellings, label="FPD, shuffled")
    observed = distance(np.arange(n + m) < n)
    return judge_by_chance(observed, np.asarray(values), two_sided=False, within_energies=energies is not None)
